//! What a query of a long log costs: `cargo bench --bench log_query [RECORDS] [FOLDER]`. Prints figures and asserts
//! nothing. Without arguments it makes ten million records, 2 GB, in a scratch folder in `target`.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use countersign::api::evidence::Plan;
use countersign::api::evidence::check::{Request, check};
use countersign::audit::{Attempt, Body, Class, Entry, OutcomeKind, StatementOutcome};
use countersign::clock::Timestamp;
use countersign::identity::principal::{AttemptId, SessionId};
use countersign::journal::query::parse;
use countersign::journal::{Around, Journal, Lane, LogFilter, Order, Reader, Settings};

const LANES: u64 = 2;
/// Statements in one append.
const BATCH: u64 = 250;
/// What the API allows for one page.
const SEGMENTS_MAX: usize = 48;
const DAY: u64 = 86_400_000_000;
const DAYS: u64 = 90;

fn main() {
    // Cargo itself passes `--bench`.
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'));
    let records: u64 = arguments
        .next()
        .map_or(10_000_000, |number| number.parse().expect("a number of records"));
    let folder = arguments
        .next()
        .map_or_else(|| PathBuf::from("target/bench-log-query"), PathBuf::from);
    let _old = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    println!("{records} records in {}", folder.display());
    let end = Timestamp::now().micros() as u64;
    fill(&folder, records, end);
    reopen(&folder, "reopened, the index not yet built");
    let reader = Reader::open(&folder);
    let start = Instant::now();
    let segments = reader.catch_up(|| false).expect("the index is built");
    println!(
        "{:<58} {:>9.1?}  {segments} segments",
        "index built",
        start.elapsed()
    );
    reopen(&folder, "reopened");
    queries(&folder);
    evidence(&folder, end);
    let older = rusqlite::Connection::open(folder.join("index.sqlite")).expect("an index");
    older
        .pragma_update(None, "user_version", 1)
        .expect("it can be written");
    drop(older);
    reopen(&folder, "reopened, the index of an older version");
    std::fs::remove_dir_all(&folder).expect("the scratch folder is removed");
}

fn fill(folder: &Path, records: u64, end: u64) {
    let journal = Journal::open(Settings::in_dir(folder)).expect("an empty folder");
    let mut lanes: Vec<Lane> = (0..LANES).map(|number| journal.lane(number as u16)).collect();
    let statements = records / 2;
    let tenth = (statements / 10 / BATCH).max(1);
    let (mut times, all) = (Vec::new(), Instant::now());
    for batch in 0..statements / BATCH {
        let rows: Vec<Row> = (0..BATCH)
            .map(|place| Row::of(batch * BATCH + place, statements, end))
            .collect();
        let entries: Vec<Entry<'_>> = rows
            .iter()
            .flat_map(|row| [row.attempt(), row.outcome()])
            .collect();
        let start = Instant::now();
        lanes[(batch % LANES) as usize]
            .append(&entries)
            .expect("the disk is well");
        times.push(start.elapsed() / entries.len() as u32);
        if (batch + 1) % tenth == 0 {
            times.sort_unstable();
            println!(
                "{:<58} {:>9.1?}  99 of 100 below {:.1?}",
                format!("append, each record, {} there", (batch + 1) * BATCH * 2),
                times[times.len() / 2],
                times[times.len() * 99 / 100]
            );
            times.clear();
        }
    }
    let written = all.elapsed();
    drop((lanes, journal));
    println!(
        "{:<58} {written:>9.1?}  and {:.1?} to close",
        "all appended",
        all.elapsed() - written
    );
}

/// One statement and its result.
struct Row {
    number: u64,
    time: Timestamp,
    principal: String,
    tables: Vec<String>,
    text: String,
    class: Class,
    verdict: &'static str,
    request: Option<String>,
}

impl Row {
    /// Times are spread evenly over the last days; what is rare is one in thousands, or one altogether.
    fn of(number: u64, statements: u64, end: u64) -> Self {
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31);
        let (class, verdict) = match mixed % 5_000 {
            0 => (Class::Ddl, "hold"),
            1 => (Class::Grant, "deny"),
            2..500 => (Class::Write, "allow"),
            _most => (Class::Read, "allow"),
        };
        let table = if number == statements / 3 {
            "public.needle".to_owned()
        } else {
            format!("public.table_{}", mixed % 97)
        };
        // A third of the statements have their literals in the text, as psql sends them.
        let literal = if mixed.is_multiple_of(3) {
            number
        } else {
            mixed % 7
        };
        Self {
            number,
            time: Timestamp::from_micros((end - DAYS * DAY + DAYS * DAY / statements * number) as i64),
            // One that works in the first half alone, and one in the second.
            principal: match (mixed % 40, number < statements / 2) {
                (0, true) => "agent-old".to_owned(),
                (0, false) => "agent-new".to_owned(),
                (other, _) => format!("agent-{other}"),
            },
            text: format!("SELECT name, price FROM {table} WHERE id = {literal} AND shop = 'north'"),
            tables: vec![table],
            class,
            verdict,
            request: (verdict == "hold").then(|| format!("{:06X}", mixed % 0xFF_FFFF)),
        }
    }

    fn id(&self) -> AttemptId {
        AttemptId {
            session: SessionId(1 + self.number / 1_000),
            number: self.number,
        }
    }

    fn entry<'a>(&self, body: Body<'a>) -> Entry<'a> {
        Entry {
            time: self.time,
            session: Some(self.id().session),
            body,
        }
    }

    fn attempt(&self) -> Entry<'_> {
        let mut fingerprint = [0; 32];
        fingerprint[0] = (self.number % 200) as u8;
        self.entry(Body::Attempt(Attempt {
            id: self.id(),
            principal: &self.principal,
            database: "shop",
            database_user: "app",
            text: self.text.as_bytes(),
            class: self.class,
            verdict: self.verdict,
            rule: "reads",
            tables: &self.tables,
            column_labels: &[],
            fingerprint,
            parameters: &[],
            request: self.request.as_deref(),
            grant: None,
            protocol: "simple",
            read_as: "",
            claimed: &[],
        }))
    }

    fn outcome(&self) -> Entry<'_> {
        self.entry(Body::Outcome(StatementOutcome {
            attempt: self.id(),
            kind: OutcomeKind::Ran,
            rows: Some(1),
            tag: "SELECT 1",
            sqlstate: "",
            message: "",
            request: self.request.as_deref(),
        }))
    }
}

fn reopen(folder: &Path, what: &str) {
    let start = Instant::now();
    let journal = Journal::open(Settings::in_dir(folder)).expect("the journal is whole");
    let ready = start.elapsed();
    drop(journal);
    println!(
        "{what:<58} {ready:>9.1?}  and {:.1?} to close",
        start.elapsed() - ready
    );
}

fn queries(folder: &Path) {
    let reader = Reader::open(folder);
    for text in [
        "",
        "class:ddl",
        "class:ddl,grant since:7d",
        "table:needle",
        "principal:agent-7 table:table_5 since:30d",
        "principal:agent-old",
        "principal:agent-new verdict:deny",
        "class:ddl principal:agent-17",
        "-verdict:allow kind:attempt",
        "session:00000000001J5",
        "outcome:failed",
        "event:held",
        "by:nobody",
        "kind:outcome -outcome:ran",
        "rule:nowhere",
        "since:60d until:59d verdict:hold",
        "\"table_42 where id = 3 \"",
        "\"nowhere in any statement\"",
        "principal:agent-old since:40d",
    ] {
        let query = parse(text).expect("a query").filter(Timestamp::now());
        for order in [Order::NewestFirst, Order::OldestFirst] {
            let filter = LogFilter {
                order,
                segments_max: Some(SEGMENTS_MAX),
                ..query.clone()
            };
            let (time, page) = slowest(|| reader.query(&filter).expect("the journal is whole"));
            let more = page
                .looked_to
                .map_or(String::new(), |moment| format!(", looked to {moment}"));
            let order = if order == Order::NewestFirst {
                "newest"
            } else {
                "oldest"
            };
            println!(
                "{:<58} {time:>9.1?}  {} records{more}",
                format!("{order} first: {text}"),
                page.records.len()
            );
        }
        let (time, histogram) = slowest(|| reader.histogram(&query, 60).expect("the journal is whole"));
        let partial = |moment: Option<Timestamp>| if moment.is_some() { "partial" } else { "whole" };
        println!(
            "{:<58} {time:>9.1?}  {}",
            format!("histogram: {text}"),
            partial(histogram.partial_before)
        );
        let (time, facets) = slowest(|| reader.facets(&query).expect("the journal is whole"));
        println!(
            "{:<58} {time:>9.1?}  {}",
            format!("facets: {text}"),
            partial(facets.partial_before)
        );
        let filter = LogFilter {
            segments_max: Some(SEGMENTS_MAX),
            ..query.clone()
        };
        let (time, _) = slowest(|| reader.overview(&filter, 60).expect("the journal is whole"));
        println!("{:<58} {time:>9.1?}", format!("all three for the page: {text}"));
    }
    let needle = parse("table:needle").expect("a query").filter(Timestamp::now());
    let found = reader.query(&needle).expect("the journal is whole");
    if let Some(id) = found.records.first().and_then(|record| record.id) {
        let (time, _) = slowest(|| reader.show(id).expect("the journal is whole"));
        println!("{:<58} {time:>9.1?}", "show, with its result");
        for (whose, what) in [
            (Around::Everybody, "around it"),
            (Around::Session, "around it, its session"),
        ] {
            let (time, records) = slowest(|| reader.around(id, 10, whose).expect("the journal is whole"));
            println!("{what:<58} {time:>9.1?}  {} records", records.len());
        }
    }
}

/// The bundle of all records that there are, and its check.
fn evidence(folder: &Path, end: u64) {
    let file = folder.join("evidence.zip");
    let moment = |micros: u64| Timestamp::from_micros(micros as i64);
    forget_peak();
    let start = Instant::now();
    let key = folder.join("log.pub");
    let (from, to) = (moment(end - DAYS * DAY), moment(end + DAY));
    let plan = Plan::make(Reader::open(folder), &key, from, to).expect("it is signed");
    let out = BufWriter::new(File::create(&file).expect("the folder can be written"));
    let statements = plan.write(out, |_, _| {}).expect("it can be written");
    let bytes = std::fs::metadata(&file).map_or(0, |file| file.len());
    println!(
        "{:<58} {:>9.1?}  {statements} statements, {} MB, {}",
        "evidence of all of it",
        start.elapsed(),
        bytes / 1_000_000,
        peak()
    );
    forget_peak();
    let start = Instant::now();
    let request = Request {
        bundle: file,
        key: None,
        anchors: Vec::new(),
    };
    let report = check(&request, |_, _| {}).expect("it is as it was written");
    println!(
        "{:<58} {:>9.1?}  {} records, {}",
        "evidence verified",
        start.elapsed(),
        report.manifest.leaves,
        peak()
    );
}

/// The most memory used since `forget_peak`, where the system says so.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    format!("at most {} of memory", most.map_or("?", str::trim))
}

fn forget_peak() {
    // Elsewhere the figure is that of the whole run.
    let _unknown_there = std::fs::write("/proc/self/clear_refs", "5");
}

/// Of three calls, the slowest.
fn slowest<T>(call: impl Fn() -> T) -> (Duration, T) {
    let timed = || {
        let start = Instant::now();
        let value = call();
        (start.elapsed(), value)
    };
    let (mut worst, mut value) = timed();
    for _ in 0..2 {
        let (time, next) = timed();
        worst = worst.max(time);
        value = next;
    }
    (worst, value)
}
