//! Evidence bundles, made by the program from a real journal: what the tables say, and that whatever is changed in a bundle
//! is found, with its sums mended or not.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use countersign::api::evidence::check::{Finding, Report, Request, Stop, check};
use countersign::audit::{
    Attempt, Body, Class, Entry, GrantEvent, OutcomeKind, PersonsDecision, RulesChange, SignIn,
    StatementOutcome, TransactionOutcome,
};
use countersign::clock::Timestamp;
use countersign::identity::principal::{AttemptId, Peer, PersonName, PrincipalName, Profile, SessionId};
use countersign::journal::{Journal, Lane, Settings};
use sha2::{Digest as _, Sha256};

const RULES: &str = "[[rule]]\nname = \"ddl-waits\"\noutcome = \"hold\"\n";
const SESSION: SessionId = SessionId(77);

/// A data folder with a log in it, and the period that its statements are of.
struct House {
    folder: tempfile::TempDir,
    from: Timestamp,
    to: Timestamp,
}

impl House {
    fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let done = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(arguments)
            .current_dir(self.data_dir())
            .output()
            .expect("the program runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (
            done.status.code().unwrap_or(-1),
            text(done.stdout),
            text(done.stderr),
        )
    }

    /// The bundle of the period, in a folder.
    fn bundle(&self, name: &str) -> PathBuf {
        let (from, to) = (self.from.to_string(), self.to.to_string());
        let out = self.data_dir().join(name);
        let (out_text, dir) = (
            out.to_str().expect("a path"),
            self.data_dir().to_str().expect("a path"),
        );
        let arguments = [
            "log",
            "export",
            "--evidence",
            "--from",
            &from,
            "--to",
            &to,
            "--out",
            out_text,
            "--data-dir",
            dir,
        ];
        let (code, _, messages) = self.run(&arguments);
        assert_eq!(code, 0, "{messages}");
        out
    }
}

fn open(folder: &Path) -> Journal {
    let settings = Settings {
        key_dir: folder.to_owned(),
        segment_bytes: 16 << 10,
        ..Settings::in_dir(folder.join("journal"))
    };
    Journal::open(settings).expect("a journal")
}

fn put(lane: &mut Lane, body: Body<'_>) {
    put_of(lane, None, body);
}

fn put_of(lane: &mut Lane, session: Option<SessionId>, body: Body<'_>) {
    let time = Timestamp::now();
    let entry = Entry { time, session, body };
    lane.append(&[entry]).expect("written");
}

fn attempt<'a>(
    number: u64,
    class: Class,
    verdict: &'a str,
    text: &'a str,
    request: Option<&'a str>,
) -> Body<'a> {
    Body::Attempt(Attempt {
        id: AttemptId {
            session: SESSION,
            number,
        },
        principal: "bot",
        database: "shop",
        database_user: "app",
        text: text.as_bytes(),
        class,
        verdict,
        rule: "ddl-waits",
        tables: &[],
        column_labels: &[],
        fingerprint: [7; 32],
        parameters: &[],
        request,
        grant: None,
        protocol: "simple",
        read_as: "",
        claimed: &[],
    })
}

fn outcome(number: u64, kind: OutcomeKind, request: Option<&str>) -> Body<'_> {
    Body::Outcome(StatementOutcome {
        attempt: AttemptId {
            session: SESSION,
            number,
        },
        kind,
        rows: Some(3),
        tag: "",
        sqlstate: "",
        message: "",
        request,
    })
}

fn event<'a>(request: &'a str, event: &'a str) -> Body<'a> {
    Body::RequestEvent {
        request,
        event,
        by: None,
        detail: "",
    }
}

fn decision<'a>(request: &'a str, decision: &'a str, approver: &'a str, reason: &'a str) -> Body<'a> {
    Body::Decision(PersonsDecision {
        request,
        decision,
        event: "",
        approver,
        reason,
        channel: "cli",
        digest: [3; 32],
        scope: "",
        method: "passkey",
        second_factor_at: Some(Timestamp::from_micros(Timestamp::now().micros() - 40_500_000)),
    })
}

fn rules<'a>(text: &'a str, change: &'a str) -> Body<'a> {
    Body::RulesChange(RulesChange {
        change,
        file: "rules.toml",
        generation: Sha256::digest(text).into(),
        by: "signal",
        detail: "",
        text,
    })
}

/// What there was before the period: rules, people, the agent's session.
fn before(lane: &mut Lane) {
    put(lane, rules(RULES, "loaded"));
    let detail = r#"{"roles":{"before":[],"after":["approver"]},"groups":{"before":[],"after":["dba"]}}"#;
    for name in ["alice", "bob"] {
        put(
            lane,
            Body::PeopleChange {
                what: "person_added",
                name,
                by: "admin",
                detail,
            },
        );
    }
    let peer = Peer {
        principal: PrincipalName::parse("bot").expect("a name"),
        owner: PersonName::parse("carol").expect("a name"),
        profile: Profile::Standard,
        source: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)),
        upstream: "pg".into(),
        database: "shop".into(),
        database_user: "app".into(),
        labels: BTreeMap::new(),
        session: SESSION,
    };
    let body = Body::SessionStart {
        peer: &peer,
        application_name: "psql",
        tls: "",
    };
    put_of(lane, Some(SESSION), body);
    // A statement that nobody had decided when the period began.
    put(
        lane,
        attempt(1, Class::Ddl, "hold", "DROP TABLE before", Some("7K3F9A")),
    );
}

/// The period itself, in two lanes.
fn during(wire: &mut Lane, desk: &mut Lane) {
    for number in 100..400 {
        put(
            wire,
            attempt(number, Class::Read, "allow", "SELECT secret_of_reads", None),
        );
        put(wire, outcome(number, OutcomeKind::Ran, None));
    }
    put(desk, decision("7K3F9A", "deny", "bob", "not now"));
    put(
        desk,
        attempt(2, Class::Ddl, "hold", "DROP TABLE orders", Some("7K3F9Q")),
    );
    put(desk, event("7K3F9Q", "held"));
    put(
        desk,
        decision("7K3F9Q", "approve", "alice", "ticket 4711; second line"),
    );
    put(desk, event("7K3F9Q", "finished"));
    put(desk, outcome(2, OutcomeKind::Ran, Some("7K3F9Q")));
    put(
        desk,
        Body::TransactionEnd {
            outcome: TransactionOutcome::Committed,
            requests: &["7K3F9Q"],
        },
    );
    put(
        wire,
        attempt(3, Class::Write, "allow", "=UPDATE orders SET paid = true", None),
    );
    put(wire, outcome(3, OutcomeKind::Failed, None));
    put(
        wire,
        attempt(4, Class::Read, "deny", "SELECT * FROM salaries", None),
    );
    put(
        desk,
        attempt(
            5,
            Class::Grant,
            "hold",
            "GRANT ALL ON orders TO eve",
            Some("7K3F9R"),
        ),
    );
    put(desk, event("7K3F9R", "held"));
    put(desk, event("7K3F9R", "expired"));
    put(
        desk,
        attempt(6, Class::Ddl, "hold", "DROP INDEX broken", Some("7K3F9B")),
    );
    put(
        desk,
        Body::Decision(PersonsDecision {
            request: "7K3F9B",
            decision: "approve",
            event: "break_glass",
            approver: "bob",
            reason: "the shop is down",
            channel: "cli",
            digest: [3; 32],
            scope: "",
            method: "token",
            second_factor_at: None,
        }),
    );
    put(desk, outcome(6, OutcomeKind::Ran, Some("7K3F9B")));
    let review = Body::RequestEvent {
        request: "7K3F9B",
        event: "reviewed",
        by: Some("alice"),
        detail: "it had to be",
    };
    put(desk, review);
    let used = GrantEvent {
        grant: "G-7K3F9Q",
        request: "7K3F9Q",
        decided_in: "7K3F9Q",
        event: "used",
        by: None,
        detail: "",
    };
    put(desk, Body::StandingGrant(used));
    put(desk, rules("[[rule]]\nname = \"two\"\n", "loaded"));
    put(
        desk,
        Body::PeopleChange {
            what: "person_deactivated",
            name: "bob",
            by: "admin",
            detail: "",
        },
    );
    let refused = SignIn {
        person: "alice",
        source: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)),
        event: "refused",
        method: "password",
        success: false,
        reason: "wrong password",
    };
    put(desk, Body::SignIn(refused));
    put(
        desk,
        Body::LogQuery {
            by: "carol",
            query: "query class=ddl",
        },
    );
}

fn build() -> House {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let journal = open(folder.path());
    let mut lane = journal.lane(0);
    before(&mut lane);
    // Closing signs.
    drop((lane, journal));
    let from = Timestamp::now();
    let journal = open(folder.path());
    let (mut wire, mut desk) = (journal.lane(0), journal.lane(1));
    during(&mut wire, &mut desk);
    let to = Timestamp::from_micros(Timestamp::now().micros() + 1);
    std::thread::sleep(std::time::Duration::from_millis(2));
    put(
        &mut wire,
        attempt(9, Class::Ddl, "hold", "DROP TABLE after", None),
    );
    drop((wire, desk, journal));
    House { folder, from, to }
}

fn verify(bundle: &Path) -> Result<Report, Finding> {
    let request = Request {
        bundle: bundle.to_owned(),
        key: None,
        anchors: Vec::new(),
    };
    match check(&request, |_, _| {}) {
        Ok(report) => Ok(report),
        Err(Stop::Found(finding)) => Err(finding),
        Err(Stop::Failed(error)) => panic!("the bundle could not be read: {error}"),
    }
}

fn table(bundle: &Path, name: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(bundle.join(name)).expect("a table");
    reader.deserialize().map(|row| row.expect("a row")).collect()
}

/// Every file of a bundle by its name in it.
fn files(bundle: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in ["", "rules/", "earlier/"] {
        for entry in std::fs::read_dir(bundle.join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
                found.insert(format!("{folder}{name}"), std::fs::read(&path).expect("bytes"));
            }
        }
    }
    found
}

/// Writes a bundle with these files; the sums are made anew, or left as they are.
fn lay_down(bundle: &Path, mut files: BTreeMap<String, Vec<u8>>, mends_sums: bool) {
    if mends_sums {
        let line = |(name, bytes): (&String, &Vec<u8>)| {
            let hash: [u8; 32] = Sha256::digest(bytes).into();
            let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hex}  {name}\n")
        };
        let others = files.iter().filter(|(name, _)| *name != "SHA256SUMS");
        let sums: String = others.map(line).collect();
        files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    }
    if bundle.exists() {
        std::fs::remove_dir_all(bundle).expect("it goes");
    }
    for folder in ["rules", "earlier"] {
        std::fs::create_dir_all(bundle.join(folder)).expect("a folder");
    }
    for (name, bytes) in files {
        std::fs::write(bundle.join(name), bytes).expect("written");
    }
}

/// What bundles said of the column before decisions told how their approver had signed in.
/// The end of the README of format 1, as the last version that made such bundles wrote it.
const README_OF_FORMAT_1: &str = include_str!("golden/evidence_readme_1.md");

#[test]
fn a_bundle_of_the_first_format_verifies_and_one_of_the_next_does_not() {
    let house = build();
    let bundle = house.bundle("bundle");
    let files = files(&bundle);
    let with_format = |format: u32| {
        let mut files = files.clone();
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).expect("it is text");
        let manifest =
            text(&files["evidence.json"]).replace("\"format\": 2", &format!("\"format\": {format}"));
        files.insert("evidence.json".to_owned(), manifest.into_bytes());
        let readme = text(&files["README.md"]);
        let begin = README_OF_FORMAT_1.lines().next().expect("a line");
        let begin = readme.find(begin).expect("it is as it was up to there");
        let readme = readme[..begin].to_owned() + README_OF_FORMAT_1;
        files.insert("README.md".to_owned(), readme.into_bytes());
        let folder = bundle.with_file_name(format!("format-{format}"));
        lay_down(&folder, files, true);
        folder
    };
    assert!(verify(&bundle).is_ok());
    let first = verify(&with_format(1)).map_err(|finding| (finding.file, finding.what));
    assert!(first.is_ok(), "{:?}", first.err());
    let as_second = verify(&with_format(2)).expect_err("its README is that of another format");
    assert_eq!(as_second.file, "README.md");
    let next = verify(&with_format(3)).expect_err("nobody knows it yet");
    assert_eq!(next.file, "evidence.json");
}

#[test]
fn a_bundle_tells_who_asked_who_approved_and_what_was_not_as_usual() {
    let house = build();
    let bundle = house.bundle("bundle");
    let population = table(&bundle, "population.csv");
    let statements: Vec<&str> = population.iter().map(|row| &row["statement"][..]).collect();
    let mut sorted = statements.clone();
    sorted.sort_unstable();
    let expected = [
        "'=UPDATE orders SET paid = true",
        "DROP INDEX broken",
        "DROP TABLE orders",
        "GRANT ALL ON orders TO eve",
        "SELECT * FROM salaries",
    ];
    assert_eq!(
        sorted, expected,
        "no read that passed, and nothing from before or after"
    );
    let of = |statement: &str| {
        &population[statements
            .iter()
            .position(|row| *row == statement)
            .expect("a row")]
    };
    let approved = of("DROP TABLE orders");
    for (column, value) in [
        ("requester", "bot"),
        ("owner", "carol"),
        ("source", "10.0.0.7"),
        ("class", "ddl"),
        ("request", "7K3F9Q"),
        ("approved_by", "alice"),
        ("approval_reasons", "ticket 4711; second line"),
        ("approval_channels", "cli"),
        ("approval_assurance", "passkey, second factor 40 s before"),
        ("state", "finished"),
        ("outcome", "ran"),
        ("rows", "3"),
        ("transaction", "committed"),
    ] {
        assert_eq!(approved[column], value, "{column}: {approved:?}");
    }
    let alone = of("DROP INDEX broken");
    assert_eq!(
        (&alone["approved_by"][..], &alone["break_glass"][..]),
        ("bob", "yes")
    );
    assert_eq!(alone["approval_assurance"], "token");
    assert_eq!(of("GRANT ALL ON orders TO eve")["outcome"], "not recorded");
    assert_eq!(of("GRANT ALL ON orders TO eve")["state"], "expired");

    let exceptions = table(&bundle, "exceptions.csv");
    let mut kinds: Vec<&str> = exceptions.iter().map(|row| &row["exception"][..]).collect();
    kinds.sort_unstable();
    let alone = exceptions.iter().find(|row| row["exception"] == "break_glass");
    let detail = &alone.expect("a row")["detail"];
    assert!(
        detail.starts_with("the shop is down; reviewed by alice at ") && detail.ends_with(": it had to be"),
        "{detail}"
    );
    let expected = [
        "break_glass",
        "carried_over",
        "expired",
        "no_outcome",
        "no_outcome",
        "sign_in_refused",
        "standing_grant_used",
    ];
    assert_eq!(kinds, expected, "{exceptions:?}");

    let versions = table(&bundle, "rules.csv");
    assert_eq!(versions.len(), 2, "{versions:?}");
    assert_eq!(versions[0]["in_force_to"], versions[1]["in_force_from"]);
    let text = std::fs::read_to_string(bundle.join(&versions[0]["text"])).expect("its text");
    assert_eq!(text, RULES);

    let people = table(&bundle, "approvers.csv");
    let of_bob: Vec<_> = people
        .iter()
        .filter(|row| row["person"] == "bob")
        .map(|row| (&row["roles"][..], &row["groups"][..], &row["active"][..]))
        .collect();
    assert_eq!(of_bob, [("approver", "dba", "yes"), ("approver", "dba", "no")]);
    let looks = table(&bundle, "log_readers.csv");
    assert_eq!((looks.len(), &looks[0]["person"][..]), (1, "carol"));

    let records = std::fs::read_to_string(bundle.join("records.ndjson")).expect("text");
    assert!(
        !records.contains("secret_of_reads"),
        "a read's statement is in the bundle"
    );
    let readme = std::fs::read_to_string(bundle.join("README.md")).expect("text");
    assert!(
        readme.contains("5 privileged statements") && readme.contains("is **whole**"),
        "{readme}"
    );
}

#[test]
fn a_bundle_is_verified_by_itself_by_the_program() {
    let house = build();
    let bundle = house.bundle("bundle");
    let name = bundle.to_str().expect("a path");
    // Nothing but the bundle is there.
    let elsewhere = tempfile::tempdir().expect("a scratch folder");
    let moved = elsewhere.path().join("moved");
    std::fs::rename(&bundle, &moved).expect("moved");
    let moved = moved.to_str().expect("a path");
    let (code, told, messages) = house.run(&["log", "verify", "--evidence", moved]);
    assert_eq!(
        (code, told.lines().last()),
        (0, Some("VERIFIED")),
        "{told}{messages}"
    );
    assert!(told.contains("5 privileged"), "{told}");
    let (code, told, _) = house.run(&["log", "verify", "--evidence", moved, "--json"]);
    assert!(code == 0 && told.contains("\"whole\":true"), "{told}");

    let key = house.data_dir().join("log.pub");
    let anchor = house.data_dir().join("journal/tree/checkpoints");
    let (key, anchor) = (key.to_str().expect("a path"), anchor.to_str().expect("a path"));
    let by_key = [
        "log",
        "verify",
        "--evidence",
        moved,
        "--key",
        key,
        "--anchor",
        anchor,
    ];
    let (code, told, _) = house.run(&by_key);
    // How many checkpoints were signed on the way depends on the clock; the first and the last are always among them.
    let matched = told
        .lines()
        .find_map(|line| line.strip_prefix("anchors       ")?.strip_suffix(" match"));
    let matched: u64 = matched.and_then(|count| count.parse().ok()).unwrap_or(0);
    assert!(code == 0 && matched >= 2, "{told}");
    let other = build();
    let other_key = other.data_dir().join("log.pub");
    let by_other = [
        "log",
        "verify",
        "--evidence",
        moved,
        "--key",
        other_key.to_str().expect("a path"),
    ];
    let (code, told, _) = house.run(&by_other);
    assert!(code == 3 && told.contains("another key"), "{told}");

    // One proof alone, by the key in the bundle.
    let earlier = std::fs::read_dir(Path::new(moved).join("earlier")).expect("a folder");
    let proof = earlier
        .map(|entry| entry.expect("an entry").path())
        .next()
        .expect("a proof");
    let pub_key = format!("{moved}/log.pub");
    let proven = [
        "log",
        "verify",
        "--proof",
        proof.to_str().expect("a path"),
        "--key",
        &pub_key,
    ];
    assert_eq!(house.run(&proven).0, 0);

    // As an archive.
    let (from, to) = (house.from.to_string(), house.to.to_string());
    let archive = format!("{name}.zip");
    let dir = house.data_dir().to_str().expect("a path");
    let arguments = [
        "log",
        "export",
        "--evidence",
        "--from",
        &from,
        "--to",
        &to,
        "--out",
        &archive,
        "--data-dir",
        dir,
    ];
    assert_eq!(house.run(&arguments).0, 0);
    let (code, told, messages) = house.run(&["log", "verify", "--evidence", &archive]);
    assert_eq!(code, 0, "{told}{messages}");
    let report = verify(Path::new(&archive)).expect("it is verified");
    assert!(report.manifest.whole && report.statements == 5 && report.earlier == 4);
}

#[test]
fn a_changed_byte_is_found_in_every_file_with_its_sum_mended_or_not() {
    let house = build();
    let bundle = house.bundle("bundle");
    let whole = files(&bundle);
    verify(&bundle).expect("it is verified before");
    let changed = house.data_dir().join("changed");
    let mut dice = 4711_u64;
    for name in whole.keys() {
        for mends_sums in [false, true] {
            // The sums themselves are made anew.
            if mends_sums && name == "SHA256SUMS" {
                continue;
            }
            for _ in 0..4 {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let mut files = whole.clone();
                let bytes = files.get_mut(name).expect("a file");
                let place = (dice >> 33) as usize % bytes.len();
                bytes[place] ^= 1 << ((dice >> 20) % 8);
                lay_down(&changed, files, mends_sums);
                let found = verify(&changed);
                assert!(
                    found.is_err(),
                    "byte {place} of {name}, sums mended: {mends_sums}"
                );
            }
        }
    }
}

#[test]
fn nothing_can_be_left_out_of_a_bundle_or_added_to_it() {
    let house = build();
    let bundle = house.bundle("bundle");
    let whole = files(&bundle);
    let changed = house.data_dir().join("changed");
    let finding = |files: BTreeMap<String, Vec<u8>>| {
        lay_down(&changed, files, true);
        verify(&changed).expect_err("it is found")
    };
    for name in [
        "population.csv",
        "decisions.csv",
        "exceptions.csv",
        "approvers.csv",
        "rules.csv",
        "log_readers.csv",
    ] {
        let mut files = whole.clone();
        let text = String::from_utf8(files[name].clone()).expect("text");
        let (kept, _last_row) = text.trim_end().rsplit_once("\r\n").expect("rows");
        files.insert(name.to_owned(), format!("{kept}\r\n").into_bytes());
        let found = finding(files);
        assert_eq!(found.file, name, "{found:?}");
    }
    // A record, at the beginning, in the middle and at the end, and two that changed places.
    let lines: Vec<&str> = std::str::from_utf8(&whole["records.ndjson"])
        .expect("text")
        .split_inclusive('\n')
        .collect();
    for gone in [0, lines.len() / 2, lines.len() - 1] {
        let mut left = lines.clone();
        left.remove(gone);
        let mut files = whole.clone();
        files.insert("records.ndjson".to_owned(), left.concat().into_bytes());
        assert_eq!(finding(files).file, "records.ndjson");
    }
    let mut swapped = lines.clone();
    swapped.swap(10, 11);
    let mut swapped_files = whole.clone();
    swapped_files.insert("records.ndjson".to_owned(), swapped.concat().into_bytes());
    assert_eq!(finding(swapped_files).file, "records.ndjson");
    for name in whole.keys().filter(|name| *name != "SHA256SUMS") {
        let mut files = whole.clone();
        files.remove(name);
        finding(files);
    }
    let mut more = whole.clone();
    more.insert("rules/more.toml".to_owned(), b"x".to_vec());
    assert_eq!(finding(more).file, "rules/more.toml");
}

/// Who has no key cannot make the period begin or end elsewhere.
#[test]
fn another_period_is_found() {
    let house = build();
    let bundle = house.bundle("bundle");
    let whole = files(&bundle);
    let changed = house.data_dir().join("changed");
    let mut manifest: serde_json::Value = serde_json::from_slice(&whole["evidence.json"]).expect("JSON");
    let long_ago = Timestamp::from_micros(house.from.micros() - 3_600_000_000);
    manifest["from"] = long_ago.to_string().into();
    let mut bytes = serde_json::to_vec_pretty(&manifest).expect("JSON");
    bytes.push(b'\n');
    let mut files = whole.clone();
    files.insert("evidence.json".to_owned(), bytes);
    lay_down(&changed, files, true);
    let found = verify(&changed).expect_err("it is found");
    assert!(
        matches!(&found.file[..], "checkpoints" | "evidence.json"),
        "{found:?}"
    );
}

#[test]
fn a_period_that_is_not_over_is_told_as_not_whole() {
    let house = build();
    let later = House {
        to: Timestamp::from_micros(Timestamp::now().micros() + 3_600_000_000),
        ..house
    };
    let bundle = later.bundle("bundle");
    let report = verify(&bundle).expect("it is verified for what it says");
    assert!(!report.manifest.whole);
    let readme = std::fs::read_to_string(bundle.join("README.md")).expect("text");
    assert!(readme.contains("**not whole**"), "{readme}");
    let (code, _, messages) = later.run(&[
        "log",
        "export",
        "--evidence",
        "--from",
        "2026-10-02",
        "--to",
        "2026-10-01",
    ]);
    assert!(code == 2 && messages.contains("`to`"), "{messages}");
    let (code, _, messages) = later.run(&[
        "log",
        "export",
        "class=ddl",
        "--evidence",
        "--from",
        "2026-10-01",
        "--to",
        "2026-10-02",
    ]);
    assert!(code == 2 && messages.contains("nothing narrows it"), "{messages}");
}
