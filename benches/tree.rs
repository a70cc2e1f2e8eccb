//! What the tree costs: `cargo bench --bench tree [RECORDS]`. Prints figures and asserts nothing.
//!
//! Writes a log of RECORDS records (2,000,000 by default) in four lanes, verifies it on one core, makes a proof and opens
//! it again.

use std::path::Path;
use std::time::Instant;

use countersign::audit::{Attempt, Body, Class, Entry, OutcomeKind, RecordId, StatementOutcome};
use countersign::clock::Timestamp;
use countersign::identity::principal::{AttemptId, SessionId};
use countersign::journal::tree::proof::prove;
use countersign::journal::tree::verify::{Request, verify};
use countersign::journal::{Journal, Settings};

const LANES: u16 = 4;
/// Statements of one append.
const BATCH: u64 = 100;
const TEXT: &[u8] = b"SELECT abalance FROM pgbench_accounts WHERE aid = 123456;";

fn main() {
    // Cargo itself passes `--bench`.
    let records = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    let records: u64 = records.unwrap_or(2_000_000);
    let dir = Path::new("target/bench-tree");
    if dir.exists() {
        std::fs::remove_dir_all(dir).expect("an old scratch folder");
    }
    let start = Instant::now();
    write(dir, records / 2);
    println!(
        "{records} records written and signed to the end: {:?}",
        start.elapsed()
    );
    let request = Request {
        journal: dir.to_owned(),
        key: None,
        key_dir: dir.to_owned(),
        anchors: Vec::new(),
        fetched: Vec::new(),
        retention: None,
    };
    for round in ["first", "second"] {
        let start = Instant::now();
        let report = verify(&request, |_, _| {}).expect("it can be read");
        let time = start.elapsed();
        let rate = report.hashed as f64 / time.as_secs_f64();
        println!(
            "verify, {round} time: {} records in {time:?}, {rate:.0} a second; {:?}",
            report.hashed, report.finding
        );
    }
    let start = Instant::now();
    let journal = Journal::open(Settings::in_dir(dir)).expect("it opens");
    println!("opened again: {:?}", start.elapsed());
    let id = RecordId {
        lane: 1,
        number: 1_000,
    };
    let start = Instant::now();
    let proof = prove(&journal.reader(), &journal.public_key_file(), id).expect("it is signed");
    println!(
        "proof of one record: {:?}, {} bytes",
        start.elapsed(),
        proof.len()
    );
    drop(journal);
    std::fs::remove_dir_all(dir).expect("the scratch folder is removed");
}

fn write(dir: &Path, statements: u64) {
    let journal = Journal::open(Settings::in_dir(dir)).expect("an empty folder");
    let mut lanes: Vec<_> = (0..LANES).map(|number| journal.lane(number)).collect();
    let tables = ["public.pgbench_accounts".to_owned()];
    for batch in 0..statements / BATCH {
        let entries: Vec<_> = (batch * BATCH..(batch + 1) * BATCH)
            .flat_map(|number| [attempt(number, &tables), outcome(number)])
            .collect();
        let lane = &mut lanes[(batch % u64::from(LANES)) as usize];
        lane.append(&entries).expect("the disk is well");
    }
}

fn entry(number: u64, body: Body<'_>) -> Entry<'_> {
    Entry {
        time: Timestamp::from_micros(1_795_328_400_000_000 + number as i64),
        session: Some(SessionId(7)),
        body,
    }
}

const fn id(number: u64) -> AttemptId {
    AttemptId {
        session: SessionId(7),
        number,
    }
}

fn attempt(number: u64, tables: &[String]) -> Entry<'_> {
    let attempt = Attempt {
        id: id(number),
        principal: "agent-1",
        database: "shop",
        database_user: "app",
        text: TEXT,
        class: Class::Read,
        verdict: "allow",
        rule: "reads",
        tables,
        column_labels: &[],
        fingerprint: [7; 32],
        parameters: &[],
        request: None,
        grant: None,
        protocol: "simple",
        claimed: &[],
        read_as: "",
    };
    entry(number, Body::Attempt(attempt))
}

fn outcome(number: u64) -> Entry<'static> {
    let outcome = StatementOutcome {
        attempt: id(number),
        kind: OutcomeKind::Ran,
        rows: Some(1),
        tag: "SELECT 1",
        sqlstate: "",
        message: "",
        request: None,
    };
    entry(number, Body::Outcome(outcome))
}
