//! The log's bytes stay what they are: golden vectors, read by this program and by one that shares no code with it.
//!
//! After a field was added on purpose, `COUNTERSIGN_GOLDEN=write cargo test --test golden` writes the vectors anew.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use countersign::audit::checkpoint::SigningKey;
use countersign::audit::merkle::{Edge, consistency_ranges, hash_of_range, inclusion_ranges, leaf_hash};
use countersign::audit::record::Values;
use countersign::audit::{
    Attempt, Body, Class, Entry, GrantEvent, GrantUse, LanePosition, NotificationEvent, OutcomeKind,
    ParameterRecord, PersonsDecision, Pruning, Record, RulesChange, SignIn, StatementOutcome,
    TransactionOutcome,
};
use countersign::clock::Timestamp;
use countersign::identity::principal::{AttemptId, Peer, PersonName, PrincipalName, Profile, SessionId};
use countersign::journal::{Journal, LogFilter, Order, Settings};

const TREE_VECTORS: &str = "tests/golden/tree.json";
const VECTORS: &str = "tests/golden/entries.jsonl";
const SESSION: SessionId = SessionId(0x0123_4567_89AB_CDEF);
const ATTEMPT: AttemptId = AttemptId {
    session: SESSION,
    number: 258,
};

#[test]
fn entries_encode_to_the_golden_bytes_and_back() {
    let mut lines = String::new();
    with_every_kind(|name, entry| {
        let (mut bytes, mut salt) = (Vec::new(), 0_u128);
        let seal = entry.seal(|| {
            salt += 1;
            salt.to_be_bytes()
        });
        entry.encode(entry.time, &seal, &mut bytes);
        let mut record = Record::decode(&bytes).expect("what was just encoded");
        let mut vector = serde_json::json!({ "name": name, "bytes": hex(&bytes) });
        if let Some(values) = entry.values(&seal) {
            let mut bytes = Vec::new();
            values.encode(entry.time, &mut bytes);
            vector["values"] = hex(&bytes).into();
            let values = Values::decode(&bytes).expect("what was just encoded");
            record.fields.join(Some(values)).expect("its own values");
        }
        vector["record"] = serde_json::to_value(&record).expect("JSON");
        lines.push_str(&format!("{vector}\n"));
    });
    if std::env::var("COUNTERSIGN_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(VECTORS, &lines).expect("the vectors are written");
    }
    let golden = std::fs::read_to_string(VECTORS).expect("the vectors are there");
    for (line, golden) in lines.lines().zip(golden.lines()) {
        assert_eq!(line, golden);
    }
    assert_eq!(lines.lines().count(), golden.lines().count());
}

#[test]
fn a_decoder_without_our_code_reads_the_golden_bytes() {
    let done = Command::new("python3")
        .args(["tests/golden/decode.py", VECTORS])
        .output()
        .expect("python3 runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_decoder_without_our_code_reads_a_segment() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let journal = Journal::open(Settings::in_dir(dir.path())).expect("an empty folder");
    let mut lane = journal.lane(7);
    with_every_kind(|_, entry| {
        lane.append(&[*entry]).expect("the disk is well");
    });
    let segment = dir.path().join("lane-00007-000000000000.seg");
    let done = Command::new("python3")
        .arg("tests/golden/decode.py")
        .arg(segment)
        .output();
    let done = done.expect("python3 runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let printed = String::from_utf8(done.stdout).expect("JSON is UTF-8");
    let value = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    let read: Vec<_> = printed
        .lines()
        .map(value)
        .filter(|record| record["kind"] != "text")
        .collect();
    let filter = LogFilter {
        order: Order::OldestFirst,
        limit: 1_000,
        ..LogFilter::default()
    };
    let page = journal.reader().query(&filter).expect("the journal is whole");
    let ours = page
        .records
        .into_iter()
        .filter(|record| record.id.is_some_and(|id| id.lane == 7));
    let ours: Vec<_> = ours
        .map(|mut record| {
            record.id = None;
            record.fields.text = None;
            serde_json::to_value(record).expect("JSON")
        })
        .collect();
    assert_eq!(read.len(), ours.len());
    for (read, ours) in read.iter().zip(&ours) {
        assert_eq!(read, ours);
    }
}

/// The tree over a few small leaves: every root, every proof, a signed checkpoint.
#[test]
fn tree_and_checkpoint_are_the_golden_ones() {
    let leaves: Vec<Vec<u8>> = (0..11_u8)
        .map(|number| vec![number; usize::from(number)])
        .collect();
    let mut edge = Edge::default();
    let mut known = HashMap::new();
    let mut roots = vec![hex(&edge.root())];
    for leaf in &leaves {
        edge.append(leaf_hash(leaf), |subtree, hash| {
            known.insert(subtree, *hash);
        });
        roots.push(hex(&edge.root()));
    }
    let hashes = |ranges: Vec<std::ops::Range<u64>>| -> Vec<String> {
        let of = |range| hash_of_range(range, |subtree| known.get(&subtree).copied().ok_or(()));
        let all: Result<Vec<_>, ()> = ranges.into_iter().map(of).collect();
        all.expect("every subtree is known")
            .iter()
            .map(|hash| hex(hash))
            .collect()
    };
    let (mut inclusion, mut consistency) = (Vec::new(), Vec::new());
    for size in 1..=leaves.len() as u64 {
        for index in 0..size {
            let proof = hashes(inclusion_ranges(index, size));
            inclusion.push(serde_json::json!({ "index": index, "size": size, "proof": proof }));
        }
        for old in 1..size {
            let proof = hashes(consistency_ranges(old, size));
            consistency.push(serde_json::json!({ "old": old, "new": size, "proof": proof }));
        }
    }
    let key = SigningKey::from_seed("example.com/audit", &[7; 32]).expect("a key");
    let signed = key.sign(
        edge.size(),
        edge.root(),
        Timestamp::from_micros(1_795_328_400_123_400),
    );
    let vectors = serde_json::json!({
        "signing_key": key.encode(&[7; 32]),
        "public_key": key.public().encode(),
        "leaves": leaves.iter().map(|leaf| hex(leaf)).collect::<Vec<_>>(),
        "roots": roots,
        "inclusion": inclusion,
        "consistency": consistency,
        "checkpoint": signed.note,
    });
    let text = format!("{}\n", serde_json::to_string_pretty(&vectors).expect("JSON"));
    if std::env::var("COUNTERSIGN_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(TREE_VECTORS, &text).expect("the vectors are written");
    }
    assert_eq!(
        text,
        std::fs::read_to_string(TREE_VECTORS).expect("the vectors are there")
    );
    let done = Command::new("python3")
        .args(["-B", "tests/golden/verify.py", "--vectors", TREE_VECTORS])
        .output()
        .expect("python3 runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8_lossy(&done.stdout);
    assert_eq!(said.trim(), "12 roots, 66 proofs and a checkpoint agree");
}

fn with_every_kind(mut each: impl FnMut(&str, &Entry<'_>)) {
    let mut entry = |name: &str, session: Option<SessionId>, body: Body<'_>| {
        each(
            name,
            &Entry {
                time: Timestamp::from_micros(1_795_328_400_123_400),
                session,
                body,
            },
        );
    };
    let positions = [
        LanePosition {
            lane: 0,
            durable: 4_096,
            found: 4_100,
            cut: 17,
        },
        LanePosition {
            lane: u16::MAX,
            durable: 0,
            found: 0,
            cut: 0,
        },
    ];
    entry(
        "boot",
        None,
        Body::Boot {
            boot: "00000000deadbeef",
            version: "0.1.0",
            positions: &positions,
            detail: "",
        },
    );
    let peer = peer();
    let start = Body::SessionStart {
        peer: &peer,
        application_name: "psql",
        tls: "TLSv1.3",
    };
    entry("session start", Some(SESSION), start);
    let source = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let login = Body::Login {
        principal: "nobody",
        source,
        success: false,
        reason: "unknown agent",
    };
    entry("refused log-in", None, login);
    entry(
        "attempt without anything optional",
        Some(SESSION),
        Body::Attempt(bare_attempt()),
    );
    with_full_attempt(|attempt| entry("attempt with everything", Some(SESSION), Body::Attempt(attempt)));
    let outcome = StatementOutcome {
        attempt: ATTEMPT,
        kind: OutcomeKind::Ran,
        rows: Some(0),
        tag: "SELECT 0",
        sqlstate: "",
        message: "",
        request: None,
    };
    entry("outcome: ran", Some(SESSION), Body::Outcome(outcome));
    let failed = StatementOutcome {
        kind: OutcomeKind::Failed,
        rows: None,
        tag: "",
        sqlstate: "42P01",
        message: "relation \"ordres\" does not exist",
        request: Some("7K3F9Q"),
        ..outcome
    };
    entry("outcome: failed", Some(SESSION), Body::Outcome(failed));
    let requests = ["7K3F9Q", "000000"];
    let end = Body::TransactionEnd {
        outcome: TransactionOutcome::RolledBack,
        requests: &requests,
    };
    entry("transaction end", Some(SESSION), end);
    let event = Body::RequestEvent {
        request: "7K3F9Q",
        event: "withdrawn",
        by: Some("agent-1"),
        detail: "cancelled",
    };
    entry("request event", Some(SESSION), event);
    let decision = PersonsDecision {
        request: "7K3F9Q",
        decision: "deny",
        event: "",
        approver: "dba-1",
        reason: "drops a column that billing reads: données",
        channel: "cli",
        digest: [0xD1; 32],
        scope: "",
        method: "",
        second_factor_at: None,
    };
    entry("decision", None, Body::Decision(decision));
    let rules = RulesChange {
        change: "loaded",
        file: "rules/default.toml",
        generation: [0x6E; 32],
        by: "start",
        detail: "",
        text: "",
    };
    entry("rules change", None, Body::RulesChange(rules));
    let with_text = RulesChange {
        text: "[[rule]]\nname = \"données\"\n",
        ..rules
    };
    entry("rules change with its text", None, Body::RulesChange(with_text));
    entry(
        "people change",
        None,
        Body::PeopleChange {
            what: "agent_added",
            name: "agent-1",
            by: "admin-1",
            detail: "",
        },
    );
    let erased = Body::ValuesErased {
        by: "admin-1",
        reason: "on the customer's wish",
        record: "3.17",
    };
    entry("values erased", None, erased);
    entry(
        "change of a person's roles",
        None,
        Body::PeopleChange {
            what: "person_changed",
            name: "dba-1",
            by: "admin-1",
            detail: r#"{"roles":{"before":["approver"],"after":["approver","auditor"]}}"#,
        },
    );
    entry(
        "log query",
        None,
        Body::LogQuery {
            by: "auditor-1",
            query: "verdict=hold&limit=100",
        },
    );
    entry(
        "sign-in of a person",
        None,
        Body::SignIn(SignIn {
            person: "dba-1",
            source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            event: "refused",
            method: "password",
            success: false,
            reason: "unknown person or wrong password",
        }),
    );
    entry(
        "certificates change",
        None,
        Body::CertificatesChange {
            change: "rejected",
            section: "listen",
            by: "SIGHUP",
            detail: "`proxy.key` cannot be read as a private key",
        },
    );
    entry(
        "channel that wants nothing more",
        None,
        Body::Notification(NotificationEvent {
            channel: "ops",
            event: "disabled",
            request: None,
            by: None,
            detail: "it answered 410 Gone",
        }),
    );
    entry(
        "message that was given up",
        None,
        Body::Notification(NotificationEvent {
            channel: "ops",
            event: "given_up",
            request: Some("7K3F9Q"),
            by: None,
            detail: "request.held after 10 tries: it answered 500 Internal Server Error",
        }),
    );
    entry(
        "session end",
        Some(SESSION),
        Body::SessionEnd {
            reason: "the client hung up",
        },
    );
    let told = GrantEvent {
        grant: "G-7K3F9Q",
        request: "7K3F9R",
        decided_in: "7K3F9Q",
        event: "used",
        by: None,
        detail: "use 2 of 20",
    };
    entry(
        "use of a standing grant",
        Some(SESSION),
        Body::StandingGrant(told),
    );
    let used = Attempt {
        request: Some("7K3F9R"),
        grant: Some(GrantUse {
            grant: "G-7K3F9Q",
            decided_in: "7K3F9Q",
        }),
        verdict: "hold",
        ..bare_attempt()
    };
    entry("attempt by a standing grant", Some(SESSION), Body::Attempt(used));
    let wider = PersonsDecision {
        decision: "approve",
        reason: "",
        scope: "fingerprint, for this session, 30 min, 20 uses",
        ..decision
    };
    entry(
        "decision that makes a standing grant",
        None,
        Body::Decision(wider),
    );
    let labelled = Peer {
        labels: [("env", ""), ("team", "billing")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..peer
    };
    let start = Body::SessionStart {
        peer: &labelled,
        application_name: "",
        tls: "",
    };
    entry("session start with labels", Some(SESSION), start);
    let read_as = Attempt {
        protocol: "text",
        read_as: "mariadb 101119 utf8mb4 folded ANSI_QUOTES",
        ..bare_attempt()
    };
    entry(
        "attempt with what its text was read under",
        Some(SESSION),
        Body::Attempt(read_as),
    );
    let alone = PersonsDecision {
        decision: "approve",
        event: "break_glass",
        reason: "the shop is down and nobody answers",
        ..decision
    };
    entry("decision by one person alone", None, Body::Decision(alone));
    let assured = PersonsDecision {
        method: "passkey",
        second_factor_at: Some(Timestamp::from_micros(1_763_816_399_250_000)),
        ..decision
    };
    entry(
        "decision with how its approver had signed in",
        None,
        Body::Decision(assured),
    );
    let pruned = Pruning {
        by: "countersign",
        retention: "400d",
        leaves: 8_192,
        now: 4_096,
        segments: 3,
        oldest: Timestamp::from_micros(1_700_000_000_000_000),
        newest: Timestamp::from_micros(1_700_000_123_456_789),
        roots_sha256: [0xA5; 32],
    };
    entry("records past retention are gone", None, Body::Pruned(pruned));
    let labels = ["pii".to_owned()];
    // The value is there and must not be in the bytes, nor anything that could be found by trying values.
    let withheld = [ParameterRecord {
        index: 1,
        type_oid: 25,
        type_name: "text",
        format: "text",
        value: Some("078-05-1120"),
        hex: None,
        bytes: 16,
        redacted: &labels,
    }];
    let redacted = Attempt {
        column_labels: &labels,
        parameters: &withheld,
        ..bare_attempt()
    };
    entry(
        "attempt with a redacted value",
        Some(SESSION),
        Body::Attempt(redacted),
    );
}

fn peer() -> Peer {
    Peer {
        principal: PrincipalName::parse("agent-1").expect("a name"),
        owner: PersonName::parse("owner@example.org").expect("a name"),
        profile: Profile::Mcp,
        labels: [].into(),
        session: SESSION,
        source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        upstream: "main".to_owned(),
        database: "shop".to_owned(),
        database_user: "app".to_owned(),
    }
}

fn bare_attempt() -> Attempt<'static> {
    Attempt {
        id: AttemptId {
            session: SESSION,
            number: 0,
        },
        principal: "agent-1",
        database: "shop",
        database_user: "app",
        text: b"",
        class: Class::Read,
        verdict: "allow",
        rule: "reads",
        tables: &[],
        column_labels: &[],
        fingerprint: [0; 32],
        parameters: &[],
        request: None,
        grant: None,
        protocol: "simple",
        claimed: &[],
        read_as: "",
    }
}

fn with_full_attempt(each: impl FnOnce(Attempt<'_>)) {
    let parameter = |index, value, hex, bytes| ParameterRecord {
        index,
        type_oid: 25,
        type_name: "text",
        format: "text",
        value,
        hex,
        bytes,
        redacted: &[],
    };
    let parameters = [
        parameter(1, Some("42"), None, 2),
        parameter(2, None, None, 0),
        parameter(3, Some(""), None, 0),
        ParameterRecord {
            format: "binary",
            type_oid: 17,
            type_name: "bytea",
            ..parameter(4, None, Some("00ff"), 2)
        },
    ];
    let tables = ["public.orders".to_owned(), "Größe".to_owned()];
    each(Attempt {
        id: ATTEMPT,
        text: "DELETE FROM orders WHERE id = $1 -- ✂".as_bytes(),
        class: Class::Write,
        verdict: "hold",
        rule: "no-unbounded-delete",
        tables: &tables,
        column_labels: &[],
        fingerprint: [0xF1; 32],
        parameters: &parameters,
        request: Some("7K3F9Q"),
        protocol: "extended",
        claimed: &[("application_name", "cron"), ("purpose", "")],
        ..bare_attempt()
    });
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
