//! `countersign policy`: shipped rules say what their cases say, what differs is shown with its line, and what is in the
//! log is judged again as far as the log tells.

use std::path::Path;
use std::process::{Command, Output};

use countersign::audit::{Attempt, Body, Class, Entry};
use countersign::clock::Timestamp;
use countersign::config::JOURNAL_FOLDER;
use countersign::identity::principal::{AttemptId, Peer, PersonName, PrincipalName, Profile, SessionId};
use countersign::journal::{Journal, Settings};
use serde_json::{Value, json};

const RULES: &str = r#"
[[rule]]
name = "night"
class = ["write"]
networks = ["10.0.0.0/8"]
hours = "22:00-06:00"
zone = "Europe/Berlin"
when = 'labels.team == "etl" && size(tables) == 1'
outcome = "allow"

[[rule]]
name = "reads"
class = ["read"]
outcome = "allow"

[[rule]]
name = "two-people"
outcome = "hold"
people = 2
reason = "ask the owners"
"#;

fn policy(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_countersign"))
        .current_dir(folder)
        .arg("policy")
        .args(arguments)
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// A folder with rules and these cases beside them.
fn folder(cases: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a scratch folder");
    std::fs::write(folder.path().join("shop.toml"), RULES).expect("rules");
    std::fs::write(folder.path().join("shop.cases.toml"), cases).expect("cases");
    folder
}

const RIGHT: &str = r#"
[given]
principal = "loader"
labels = { team = "etl" }
source = "::ffff:10.1.2.3"
at = "2026-11-22T21:00:00Z"

[[case]]
sql = "TRUNCATE stage.orders"
verdict = "hold"
rule = "two-people"
people = 2
reason = "ask the owners"

[[case]]
sql = "DELETE FROM stage.orders"
verdict = "allow"
rule = "night"

[[case]]
name = "an hour earlier"
sql = "DELETE FROM stage.orders"
given = { at = "2026-11-22T20:59:59Z" }
verdict = "hold"

[[case]]
name = "from elsewhere"
sql = "DELETE FROM stage.orders"
given = { source = "192.0.2.1" }
verdict = "hold"

[[case]]
name = "without a team the condition has no answer"
sql = "DELETE FROM stage.orders"
given = { labels = {} }
verdict = "hold"
reason = "has no answer: a key is missing"

[[case]]
session = ["PREPARE gone AS DELETE FROM stage.a USING stage.b"]
sql = "EXECUTE gone"
verdict = "hold"

[[case]]
sql = "SELECT 1"
verdict = "allow"
rule = "reads"
"#;

#[test]
fn shipped_rules_say_what_their_cases_say() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    for rules in ["default", "strict", "observe"] {
        let run = policy(scratch.path(), &["test", "--rules", rules]);
        assert_eq!(run.status.code(), Some(0), "{rules}: {}", text(&run.stdout));
        assert_eq!(text(&run.stderr), "", "{rules}: every rule is tried");
    }
    // The files in the repository are the ones that are built in.
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    for cases in ["default", "strict", "observe"] {
        let file = format!("{cases}.cases.toml");
        assert_eq!(policy(&rules, &["test", &file]).status.code(), Some(0), "{cases}");
    }
}

#[test]
fn the_cases_in_the_docs_hold_for_the_rules_in_the_docs() {
    let docs = include_str!("../docs/rules.md");
    let mut examples = docs.split("```toml\n").skip(1);
    let mut example = || {
        examples
            .next()
            .and_then(|rest| rest.split("```").next())
            .expect("an example")
    };
    let folder = tempfile::tempdir().expect("a scratch folder");
    std::fs::write(folder.path().join("docs.toml"), example()).expect("rules");
    std::fs::write(folder.path().join("docs.cases.toml"), example()).expect("cases");
    let run = policy(folder.path(), &["test", "--rules", "docs.toml"]);
    assert_eq!(
        run.status.code(),
        Some(0),
        "{} {}",
        text(&run.stdout),
        text(&run.stderr)
    );
    assert_eq!(text(&run.stderr), "no case is decided by: reads, rest\n");
}

#[test]
fn cases_that_hold_exit_0() {
    let folder = folder(RIGHT);
    for arguments in [
        &["test", "--rules", "shop.toml"][..],
        &["test", "shop.cases.toml"],
        &["test", "shop.cases.toml", "--rules", "shop.toml"],
    ] {
        let run = policy(folder.path(), arguments);
        assert_eq!(
            run.status.code(),
            Some(0),
            "{} {}",
            text(&run.stdout),
            text(&run.stderr)
        );
        assert_eq!(text(&run.stdout), "7 cases of shop.toml: all as expected\n");
    }
}

#[test]
fn a_case_that_differs_is_shown_with_its_line_and_exits_1() {
    let wrong = RIGHT.replacen(
        "verdict = \"hold\"\nrule = \"two-people\"\npeople = 2",
        "verdict = \"allow\"\nrule = \"night\"\npeople = 1",
        1,
    );
    let folder = folder(&wrong.replace(
        "sql = \"SELECT 1\"\nverdict = \"allow\"",
        "sql = \"SELECT 1 \\u001B[2J\"\nverdict = \"deny\"",
    ));
    let run = policy(folder.path(), &["test", "--rules", "shop.toml"]);
    assert_eq!(run.status.code(), Some(1));
    let shown = text(&run.stdout);
    for line in [
        "shop.cases.toml:9: TRUNCATE stage.orders\n  - allow by `night` by 1 people\n  + hold by `two-people` by 2 people\n",
        "      ask the owners\n",
        "SELECT 1 ⟦U+001B⟧[2J\n  - deny by `reads`\n",
        "7 cases of shop.toml: 2 not as expected\n",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    let run = policy(folder.path(), &["test", "--rules", "shop.toml", "--json"]);
    assert_eq!(run.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    assert_eq!(
        (&report["cases"], &report["failed"][0]["line"]),
        (&7.into(), &9.into())
    );
    assert_eq!(report["failed"][0]["expected"]["verdict"], "allow");
    assert_eq!(report["failed"][0]["found"]["verdict"], "hold");
    assert_eq!(report["failed"][0]["found"]["rule"], "two-people");
    assert_eq!(report["failed"].as_array().map(Vec::len), Some(2));
}

#[test]
fn rules_that_no_case_tries_are_told() {
    let folder = folder("[[case]]\nsql = \"SELECT 1\"\nverdict = \"allow\"\n");
    let run = policy(folder.path(), &["test", "--rules", "shop.toml"]);
    assert_eq!(run.status.code(), Some(0));
    assert_eq!(text(&run.stderr), "no case is decided by: night, two-people\n");
}

#[test]
fn mistakes_in_cases_are_told_with_their_place() {
    let case = "[[case]]\nsql = \"SELECT 1\"\nverdict = \"allow\"\n";
    for (cases, said) in [
        ("", "shop.cases.toml:1:1: has no case"),
        (
            "[[case]]\nsql = \"SELECT 1\"\n",
            "shop.cases.toml:1:1: missing field `verdict`",
        ),
        (
            "[[case]]\nsql = 1\nverdict = \"allow\"\n",
            "shop.cases.toml:2:7: ",
        ),
        (
            "[[case]]\nsql = \"SELECT 1\"\nverdict = \"alow\"\n",
            "shop.cases.toml:3:11: `alow` is not a verdict",
        ),
        (
            &format!("{case}rule = \"nights\"\n"),
            "shop.cases.toml:4:8: `nights` is no rule of the set",
        ),
        (
            &format!("{case}colour = 1\n"),
            "shop.cases.toml:4:1: unknown field `colour`",
        ),
        (
            &format!("{case}given = {{ principal = \"A B\" }}\n"),
            "shop.cases.toml:4:23: `A B` is the name of no principal",
        ),
        (
            &format!("{case}given = {{ owner = \"A B\" }}\n"),
            "shop.cases.toml:4:19: `A B` is the name of no person",
        ),
        (
            &format!("{case}given = {{ source = \"here\" }}\n"),
            "shop.cases.toml:4:20: `here` is not an address",
        ),
        (
            &format!("{case}given = {{ at = \"now\" }}\n"),
            "shop.cases.toml:4:16: `now` is not a time",
        ),
        (
            &format!("{case}given = {{ dialect = \"oracle\" }}\n"),
            "shop.cases.toml:4:21: `oracle` is not a dialect",
        ),
        (
            &format!("{case}given = {{ behind = [\"people\"] }}\n"),
            "shop.cases.toml:4:21: `people` has no schema",
        ),
    ] {
        let folder = folder(cases);
        let run = policy(folder.path(), &["test", "--rules", "shop.toml"]);
        assert_eq!(run.status.code(), Some(1), "{cases}");
        let shown = text(&run.stderr);
        assert!(shown.starts_with(&format!("error: {said}")), "{cases}: {shown}");
        assert!(shown.contains("\nhint: "), "{cases}: {shown}");
    }
}

#[test]
fn what_names_no_file_is_a_usage_error() {
    let folder = folder(RIGHT);
    for arguments in [
        &["test"][..],
        &["test", "shop.toml"],
        &["test", "cases.txt"],
        &["check"],
    ] {
        assert_eq!(
            policy(folder.path(), arguments).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
    for arguments in [
        &["test", "none.cases.toml"][..],
        &["test", "--rules", "none.toml"],
        &["test", "none.cases.toml", "--rules", "shop.toml"],
    ] {
        let run = policy(folder.path(), arguments);
        assert_eq!(run.status.code(), Some(1), "{arguments:?}");
        assert!(
            text(&run.stderr).contains("cannot be read"),
            "{arguments:?}: {}",
            text(&run.stderr)
        );
    }
}

const BEFORE: Timestamp = Timestamp::from_micros(1_795_300_000_000_000);
/// 2026-11-22T21:00:00Z, which is 22:00 in Berlin.
const NIGHT: Timestamp = Timestamp::from_micros(1_795_381_200_000_000);

/// Class and verdict on record of one attempt, then its text.
type Attempted<'a> = (Class, &'a str, &'a [u8]);

/// A log with one session for every peer, each of these attempts in it.
fn log(folder: &Path, sessions: &[(u64, Option<&Peer>, &[Attempted<'_>])]) {
    let journal = Journal::open(Settings::in_dir(folder.join(JOURNAL_FOLDER))).expect("an empty folder");
    let mut lane = journal.lane(0);
    let mut append = |time, session, body| {
        let entry = Entry {
            time,
            session: Some(SessionId(session)),
            body,
        };
        lane.append(&[entry]).expect("the disk is well");
    };
    for (session, peer, _) in sessions {
        if let Some(peer) = peer {
            let start = Body::SessionStart {
                peer,
                application_name: "",
                tls: "",
            };
            append(BEFORE, *session, start);
        }
    }
    for (session, _, attempts) in sessions {
        for (number, (class, verdict, text)) in attempts.iter().enumerate() {
            let attempt = Attempt {
                id: AttemptId {
                    session: SessionId(*session),
                    number: number as u64,
                },
                principal: "loader",
                database: "shop",
                database_user: "app",
                text,
                class: *class,
                verdict,
                rule: "old",
                tables: &[],
                column_labels: &[],
                fingerprint: [text.len() as u8; 32],
                parameters: &[],
                request: None,
                grant: None,
                protocol: "simple",
                claimed: &[],
                read_as: "",
            };
            append(NIGHT, *session, Body::Attempt(attempt));
        }
    }
}

fn loader(labels: &[(&str, &str)], source: &str) -> Peer {
    Peer {
        principal: PrincipalName::parse("loader").expect("a name"),
        owner: PersonName::parse("sam").expect("a name"),
        profile: Profile::Standard,
        labels: labels
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        session: SessionId(0),
        source: source.parse().expect("an address"),
        upstream: "main".to_owned(),
        database: "shop".to_owned(),
        database_user: "app".to_owned(),
    }
}

#[test]
fn logged_statements_are_judged_again_as_they_were_sent() {
    let folder = folder(RIGHT);
    let delete: (Class, &str, &[u8]) = (Class::Write, "hold", b"DELETE FROM stage.orders");
    let etl = loader(&[("team", "etl")], "::ffff:10.1.2.3");
    log(
        folder.path(),
        &[
            // By its labels, source and time, this one may.
            (
                1,
                Some(&etl),
                &[
                    delete,
                    delete,
                    (Class::Read, "allow", b"SELECT 1"),
                    (Class::Session, "allow", b"SET statement_timeout = '5s'"),
                ],
            ),
            (2, Some(&loader(&[], "10.1.2.3")), &[delete]),
            (3, Some(&loader(&[("team", "etl")], "192.0.2.1")), &[delete]),
            // A name that was prepared before; a password that the log does not have.
            (
                4,
                Some(&etl),
                &[
                    (Class::Write, "hold", b"PREPARE gone AS DELETE FROM stage.orders"),
                    (Class::Write, "hold", b"EXECUTE gone"),
                    (Class::Grant, "hold", b"ALTER ROLE app PASSWORD ********"),
                    (Class::Grant, "hold", b"ALTER ROLE app PASSWORD '********'"),
                ],
            ),
            // What cannot be judged again: its class, its text, its session.
            (
                5,
                Some(&etl),
                &[
                    (Class::Unknown, "hold", b"SELECT total FROM app.report"),
                    (Class::Unknown, "hold", b"SELECT '\xFF'"),
                ],
            ),
            (6, None, &[delete]),
        ],
    );
    let arguments = [
        "replay",
        "--rules",
        "shop.toml",
        "--data-dir",
        ".",
        "--since",
        "2026-11-22T20:00:00Z",
    ];
    let run = policy(folder.path(), &[&arguments[..], &["--json"]].concat());
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    let report: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    assert_eq!(
        (&report["statements"], &report["judged"]),
        (&json!(13), &json!(10)),
        "{report:#}"
    );
    let moves = json!([
        { "from": "allow", "to": "allow", "count": 1 },
        { "from": "allow", "to": "hold", "count": 1 },
        { "from": "hold", "to": "allow", "count": 4 },
        { "from": "hold", "to": "hold", "count": 4 },
    ]);
    assert_eq!(report["verdicts"], moves, "{report:#}");
    assert_eq!(
        report["decided_by"],
        json!({ "night": 4, "reads": 1, "two-people": 5 })
    );
    let first = &report["changed"][0];
    assert_eq!(
        (
            &first["count"],
            &first["from"],
            &first["rule_before"],
            &first["to"],
            &first["rule"]
        ),
        (
            &json!(2),
            &json!("hold"),
            &json!("old"),
            &json!("allow"),
            &json!("night")
        )
    );
    assert_eq!(first["example"]["text"], "DELETE FROM stage.orders");
    let missing = |why: &str| {
        let told = report["not_judged"].as_array().expect("a list").iter();
        let told = told.filter(|told| told["why"].as_str().is_some_and(|known| known.contains(why)));
        told.map(|told| told["count"].clone()).collect::<Vec<_>>()
    };
    for why in [
        "not in the log as text",
        "another class comes out",
        "start of the session",
    ] {
        assert_eq!(missing(why), [json!(1)], "{why}: {report:#}");
    }

    let run = policy(folder.path(), &arguments);
    let shown = text(&run.stdout);
    for line in [
        "13 statements since 2026-11-22T20:00:00Z, 10 of them judged again by shop.toml\n",
        "        4  hold -> allow\n",
        "        2  hold by `old` -> allow by `night`\n",
        "loader: DELETE FROM stage.orders\n",
        "        1  the text is not in the log as text\n",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    assert_eq!(text(&run.stderr), "", "no progress where there is no terminal");
}

#[test]
fn a_replay_says_which_rules_ask_for_what_the_log_does_not_hold() {
    let folder = folder(RIGHT);
    log(
        folder.path(),
        &[(
            1,
            Some(&loader(&[], "10.1.2.3")),
            &[(Class::Read, "allow", b"SELECT 1")],
        )],
    );
    let since = "3650d";
    let run = policy(
        folder.path(),
        &[
            "replay",
            "--rules",
            "default",
            "--data-dir",
            ".",
            "--since",
            since,
        ],
    );
    assert!(
        text(&run.stdout).contains("for which these rules ask: large-reads\n"),
        "{}",
        text(&run.stdout)
    );
    let until = [
        "replay",
        "--rules",
        "default",
        "--data-dir",
        ".",
        "--since",
        since,
        "--until",
        "2026-11-22T20:59:59Z",
    ];
    let run = policy(folder.path(), &until);
    assert!(
        text(&run.stdout).starts_with("0 statements since"),
        "{}",
        text(&run.stdout)
    );
}

#[test]
fn a_replay_without_rules_or_with_a_wrong_time_is_an_error() {
    let folder = folder(RIGHT);
    log(folder.path(), &[]);
    let replay = |arguments: &[&str]| {
        policy(folder.path(), &[&["replay"], arguments].concat())
            .status
            .code()
    };
    assert_eq!(replay(&["--data-dir", "."]), Some(2));
    assert_eq!(
        replay(&["--rules", "shop.toml", "--data-dir", ".", "--since", "last week"]),
        Some(2)
    );
    assert_eq!(replay(&["--rules", "none.toml", "--data-dir", "."]), Some(1));
    assert_eq!(
        replay(&["--rules", "shop.toml"]),
        Some(4),
        "the API wants a token"
    );
}
