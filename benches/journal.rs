//! What a record costs: `cargo bench --bench journal [FOLDER]`. Prints figures and asserts nothing.
//!
//! FOLDER should be on the disk that will hold the log; by default a scratch folder in `target`.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use countersign::audit::entry::text_sha256;
use countersign::audit::{Attempt, Body, Class, Entry, OutcomeKind, Record, StatementOutcome};
use countersign::clock::Timestamp;
use countersign::identity::principal::{AttemptId, SessionId};
use countersign::journal::{Journal, LogFilter, Reader, Settings};

const TEXT: &[u8] = b"SELECT abalance FROM pgbench_accounts WHERE aid = 123456;";

fn main() {
    // Cargo itself passes `--bench`.
    let folder = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let folder = folder.map_or_else(|| PathBuf::from("target/bench-journal"), PathBuf::from);
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    println!("journal in {}", folder.display());
    encoding();
    for batch in [1, 10, 100] {
        appending(&scratch(&folder), batch);
    }
    for threads in [1, 4, 16] {
        syncing(&scratch(&folder), threads);
    }
    reading(&folder);
}

fn encoding() {
    let tables = ["public.pgbench_accounts".to_owned()];
    let mut bytes = Vec::new();
    let time = per_call(200_000, |number| {
        bytes.clear();
        let entry = attempt(number, &tables);
        entry.encode(entry.time, &entry.seal(rand::random), &mut bytes);
        black_box(&bytes);
    });
    println!(
        "attempt: encode with its text's SHA-256 {time:>8.0?}, {} bytes",
        bytes.len()
    );
    println!(
        "attempt: SHA-256 of its text alone      {:>8.0?}",
        per_call(200_000, |_| {
            black_box(text_sha256(TEXT));
        })
    );
    let decode = per_call(100_000, |_| drop(black_box(Record::decode(&bytes))));
    println!("attempt: decode                         {decode:>8.0?}");
}

/// One append of `batch` attempts, together with the results of the batch before.
fn appending(dir: &Path, batch: u64) {
    let journal = Journal::open(Settings::in_dir(dir)).expect("an empty folder");
    let mut lane = journal.lane(0);
    let tables = ["public.pgbench_accounts".to_owned()];
    let mut slowest = Duration::ZERO;
    let time = per_call(300_000 / batch, |number| {
        let attempts: Vec<_> = (0..batch)
            .map(|place| attempt(number * batch + place, &tables))
            .collect();
        let start = Instant::now();
        lane.append(&attempts).expect("the disk is well");
        slowest = slowest.max(start.elapsed());
        for place in 0..batch {
            lane.stage(&outcome(number * batch + place));
        }
    });
    let each = time / u32::try_from(batch).unwrap_or(1);
    println!(
        "append and stage, batches of {batch:>3}: {each:>8.1?} a statement, slowest append {slowest:.0?}"
    );
}

/// Threads that each wait for every attempt of theirs to be on disk, all in one lane and each in its own.
fn syncing(dir: &Path, threads: u64) {
    const SYNCS: u64 = 300;
    let journal = Journal::open(Settings::in_dir(dir)).expect("an empty folder");
    for lanes in BTreeSet::from([1, threads]) {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let mut lane = journal.lane(u16::try_from(thread % lanes).unwrap_or(0));
                scope.spawn(move || {
                    for number in 0..SYNCS {
                        let recorded = lane
                            .append(&[attempt(thread * SYNCS + number, &[])])
                            .expect("the disk is well");
                        lane.sync_blocking(&recorded).expect("the disk is well");
                    }
                });
            }
        });
        let each = start.elapsed() / u32::try_from(SYNCS).unwrap_or(1);
        println!("sync, {threads:>2} threads in {lanes:>2} lanes: {each:>8.0?} until one is on disk");
    }
}

fn reading(folder: &Path) {
    let dir = scratch(folder);
    let journal = Journal::open(Settings::in_dir(&dir)).expect("an empty folder");
    let mut lane = journal.lane(0);
    let tables = ["public.pgbench_accounts".to_owned()];
    for number in 0..200_000 {
        let rare = ["public.rare".to_owned()];
        let tables = if number == 1_000 { &rare } else { &tables };
        lane.append(&[attempt(number, tables), outcome(number)])
            .expect("the disk is well");
    }
    drop((lane, journal));
    let reader = Reader::open(&dir);
    let rare = LogFilter {
        table: Some("rare".to_owned()),
        ..LogFilter::default()
    };
    let query = |filter: &LogFilter| {
        let start = Instant::now();
        let found = reader.query(filter).expect("the journal is whole").records.len();
        (start.elapsed(), found)
    };
    println!(
        "query of 400,000 records, newest 100:      {:?}",
        query(&LogFilter::default())
    );
    println!("query of 400,000 records, one, no index:   {:?}", query(&rare));
    let start = Instant::now();
    let segments = reader.catch_up(|| false).expect("the index is built");
    println!(
        "index built over {segments} segments:           {:?}",
        start.elapsed()
    );
    println!("query of 400,000 records, one, with index: {:?}", query(&rare));
    std::fs::remove_dir_all(folder).expect("the scratch folder is removed");
}

fn attempt(number: u64, tables: &[String]) -> Entry<'_> {
    let id = AttemptId {
        session: SessionId(42),
        number,
    };
    let attempt = Attempt {
        id,
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
        protocol: "extended",
        claimed: &[],
        read_as: "",
    };
    Entry {
        time: Timestamp::now(),
        session: Some(id.session),
        body: Body::Attempt(attempt),
    }
}

fn outcome(number: u64) -> Entry<'static> {
    let outcome = StatementOutcome {
        attempt: AttemptId {
            session: SessionId(42),
            number,
        },
        kind: OutcomeKind::Ran,
        rows: Some(1),
        tag: "SELECT 1",
        sqlstate: "",
        message: "",
        request: None,
    };
    Entry {
        time: Timestamp::now(),
        session: Some(SessionId(42)),
        body: Body::Outcome(outcome),
    }
}

fn scratch(folder: &Path) -> PathBuf {
    let dir = folder.join("scratch");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).expect("the scratch folder is removed");
    }
    dir
}

fn per_call(calls: u64, mut call: impl FnMut(u64)) -> Duration {
    let start = Instant::now();
    (0..calls).for_each(&mut call);
    start.elapsed() / u32::try_from(calls).unwrap_or(1)
}
