//! The language of the log: read, printed and read again; and on a real journal every query finds what going through
//! all records finds, page by page, with an index and without.

use std::net::{IpAddr, Ipv4Addr};

use countersign::api::export::Format;
use countersign::audit::{
    Attempt, Body, Class, Entry, Kind, OutcomeKind, PersonsDecision, Record, RecordId, StatementOutcome,
};
use countersign::clock::Timestamp;
use countersign::identity::principal::{AttemptId, SessionId};
use countersign::journal::query::{Clause, Key, Query, Wrong, parse, parse_words};
use countersign::journal::{Around, Journal, LogFilter, Order, Reader, Settings, TailFrom};
use proptest::prelude::*;

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

const PRINCIPALS: [&str; 3] = ["bot-1", "bot-2", "bot 3"];
const CLASSES: [Class; 4] = [Class::Read, Class::Write, Class::Ddl, Class::Grant];
const VERDICTS: [&str; 3] = ["allow", "hold", "deny"];
const LABELS: [&str; 2] = ["pii", "pci"];
const TABLES: [&str; 4] = ["public.orders", "audit.orders", "customers", "public.rare"];
const RULES: [&str; 3] = ["reads", "ddl-waits", "no \"grants\""];
const DATABASES: [&str; 2] = ["shop", "ware,house"];
const REQUESTS: [&str; 3] = ["7K3F9Q", "7K3F9R", "7K3F9S"];
const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];
const EVENTS: [&str; 3] = ["held", "expired", "withdrawn"];
const TEXTS: [&str; 5] = [
    "SELECT 1 FROM Orders",
    "DROP TABLE orders",
    "UPDATE customers SET name = 'Ärger'",
    "GRANT ALL ON orders TO bob",
    "SELECT \"a,b\" -- back\\slash",
];
const SESSIONS: [u64; 3] = [1, 77, u64::MAX];
const HOUR: i64 = 3_600_000_000;
const START: i64 = 1_700_000_000_000_000;
const RECORDS: usize = 1_500;

/// A journal of two lanes and many small segments; gives its folder.
fn journal(dice: &mut Dice) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let settings = Settings {
        segment_bytes: 12 << 10,
        ..Settings::in_dir(folder.path())
    };
    let journal = Journal::open(settings).expect("an empty folder");
    let mut lanes = [journal.lane(0), journal.lane(1)];
    for number in 0..RECORDS {
        let time = Timestamp::from_micros(START + number as i64 * HOUR / 100);
        let lane = dice.below(2);
        append(&mut lanes[lane], dice, number as u64, time);
    }
    drop(lanes);
    drop(journal);
    folder
}

fn append(lane: &mut countersign::journal::Lane, dice: &mut Dice, number: u64, time: Timestamp) {
    let session = SessionId(dice.one(&SESSIONS));
    let attempt = AttemptId { session, number };
    let labels: Vec<String> = (0..dice.below(2)).map(|_| dice.one(&LABELS).to_owned()).collect();
    let tables: Vec<String> = (0..dice.below(3)).map(|_| dice.one(&TABLES).to_owned()).collect();
    let request = (dice.below(4) == 0).then(|| dice.one(&REQUESTS));
    let body = match dice.below(10) {
        0 => Body::Login {
            principal: dice.one(&PRINCIPALS),
            source: IpAddr::V4(Ipv4Addr::new(10, 0, 0, dice.below(3) as u8)),
            success: true,
            reason: "",
        },
        1 => Body::Decision(PersonsDecision {
            event: "",
            request: dice.one(&REQUESTS),
            decision: if dice.below(2) == 0 { "approve" } else { "deny" },
            approver: dice.one(&PEOPLE),
            reason: "",
            channel: "api",
            digest: [3; 32],
            scope: "",
            method: "token",
            second_factor_at: None,
        }),
        2 => Body::RequestEvent {
            request: dice.one(&REQUESTS),
            event: dice.one(&EVENTS),
            by: (dice.below(2) == 0).then(|| dice.one(&PEOPLE)),
            detail: "",
        },
        3 => Body::Outcome(StatementOutcome {
            attempt,
            kind: dice.one(&OutcomeKind::ALL),
            rows: Some(1),
            tag: "",
            sqlstate: "",
            message: "",
            request,
        }),
        _most => Body::Attempt(Attempt {
            id: attempt,
            principal: dice.one(&PRINCIPALS),
            database: dice.one(&DATABASES),
            database_user: "app",
            text: dice.one(&TEXTS).as_bytes(),
            class: dice.one(&CLASSES),
            verdict: dice.one(&VERDICTS),
            rule: dice.one(&RULES),
            tables: &tables,
            column_labels: &labels,
            fingerprint: [dice.below(3) as u8; 32],
            parameters: &[],
            request,
            grant: None,
            protocol: "simple",
            read_as: "",
            claimed: &[],
        }),
    };
    let session = Some(session);
    lane.append(&[Entry { time, session, body }])
        .expect("the disk is well");
}

/// Every record, as going through all of them finds it; oldest first.
fn all(reader: &Reader) -> Vec<Record> {
    pages(reader, LogFilter::default(), Order::OldestFirst)
}

fn pages(reader: &Reader, filter: LogFilter, order: Order) -> Vec<Record> {
    let mut filter = LogFilter { order, ..filter };
    let mut records = Vec::new();
    loop {
        let page = reader.query(&filter).expect("the journal is whole");
        records.extend(page.records);
        assert!(page.looked_to.is_none() || page.next_cursor.is_some());
        match page.next_cursor {
            Some(cursor) => {
                assert_ne!(filter.cursor.as_ref(), Some(&cursor), "a page that gets nowhere");
                filter.cursor = Some(cursor);
            }
            None => return records,
        }
    }
}

/// What a clause means, told by the record as people see it.
fn says(record: &Record, clause: &Clause) -> bool {
    let fields = &record.fields;
    let one = |field: &Option<String>| field.iter().cloned().collect::<Vec<_>>();
    let said: Vec<String> = match clause.key {
        Key::Table => {
            let bare = fields.tables.iter().filter_map(|table| table.split_once('.'));
            let bare = bare.map(|(_, name)| name.to_owned());
            bare.chain(fields.tables.clone()).collect()
        }
        Key::By => [one(&fields.by), one(&fields.approver)].concat(),
        Key::Label => fields.column_labels.clone(),
        Key::Event => [one(&fields.event), one(&fields.decision), one(&fields.change)].concat(),
        Key::Text => {
            let text = fields.text.clone().unwrap_or_default();
            let text = String::from_utf8(text)
                .expect("they were written so")
                .to_lowercase();
            let mut values = clause.values.iter();
            return values.any(|value| text.contains(&value.to_lowercase())) != clause.is_not;
        }
        Key::Principal => one(&fields.principal),
        Key::Class => one(&fields.class),
        Key::Verdict => one(&fields.verdict),
        Key::Rule => one(&fields.rule),
        Key::Approver => one(&fields.approver),
        Key::Request => one(&fields.request),
        Key::Grant => one(&fields.grant),
        Key::Database => one(&fields.database),
        Key::Outcome => one(&fields.outcome),
        Key::Source => one(&fields.source),
        Key::Kind => vec![record.kind.as_str().to_owned()],
        Key::Session => fields.session.iter().map(ToString::to_string).collect(),
        Key::Fingerprint => {
            let hex = |print: &[u8; 32]| print.iter().map(|byte| format!("{byte:02x}")).collect();
            fields.fingerprint.iter().map(hex).collect()
        }
        Key::Since | Key::Until => panic!("times are compared by themselves"),
    };
    clause.values.iter().any(|value| said.contains(value)) != clause.is_not
}

fn random_clause(dice: &mut Dice) -> Clause {
    let fingerprint = |byte: usize| format!("{byte:02x}").repeat(32);
    let (key, values): (Key, Vec<String>) = match dice.below(18) {
        0 => (Key::Principal, PRINCIPALS.map(str::to_owned).to_vec()),
        1 => (
            Key::Class,
            CLASSES.map(|class| class.as_str().to_owned()).to_vec(),
        ),
        2 => (Key::Verdict, VERDICTS.map(str::to_owned).to_vec()),
        3 => (
            Key::Table,
            ["orders", "public.orders", "customers", "rare", "nowhere"]
                .map(str::to_owned)
                .to_vec(),
        ),
        4 => (Key::Rule, RULES.map(str::to_owned).to_vec()),
        5 => (Key::Approver, PEOPLE.map(str::to_owned).to_vec()),
        6 => (Key::Request, REQUESTS.map(str::to_owned).to_vec()),
        7 => (
            Key::Session,
            SESSIONS.map(|id| SessionId(id).to_string()).to_vec(),
        ),
        8 => (
            Key::Kind,
            ["attempt", "login", "decision", "outcome", "boot"]
                .map(str::to_owned)
                .to_vec(),
        ),
        9 => (Key::Database, DATABASES.map(str::to_owned).to_vec()),
        10 => (Key::Fingerprint, [0, 1, 2].map(fingerprint).to_vec()),
        11 => (
            Key::Outcome,
            OutcomeKind::ALL.map(|kind| kind.as_str().to_owned()).to_vec(),
        ),
        12 => (
            Key::Source,
            ["10.0.0.0", "10.0.0.2", "10.9.9.9"].map(str::to_owned).to_vec(),
        ),
        13 => (Key::By, PEOPLE.map(str::to_owned).to_vec()),
        14 => (
            Key::Event,
            ["held", "approve", "deny", "loaded"].map(str::to_owned).to_vec(),
        ),
        15 => (Key::Grant, vec!["G-7K3F9Q".to_owned()]),
        16 => (Key::Label, LABELS.map(str::to_owned).to_vec()),
        _text => (
            Key::Text,
            [
                "drop table",
                "ORDERS",
                "ärger",
                "\"a,b\"",
                "back\\slash",
                "nowhere",
                "1",
            ]
            .map(str::to_owned)
            .to_vec(),
        ),
    };
    let count = 1 + dice.below(2);
    Clause {
        key,
        is_not: dice.below(4) == 0,
        values: (0..count).map(|_| dice.one(&values)).collect(),
    }
}

#[test]
fn every_query_finds_what_going_through_all_records_finds() {
    let mut dice = Dice(4711);
    let folder = journal(&mut dice);
    let reader = Reader::open(folder.path());
    let records = all(&reader);
    assert!(records.len() >= RECORDS, "{}", records.len());
    let mut found_some = 0;
    for round in 0..100 {
        if round == 50 {
            reader.catch_up(|| false).expect("an index");
        }
        let query = Query {
            clauses: (0..1 + dice.below(3)).map(|_| random_clause(&mut dice)).collect(),
        };
        let query = parse(&query.to_string()).expect("what was printed is read");
        let mut filter = query.filter(Timestamp::from_micros(START));
        let time = |dice: &mut Dice| Timestamp::from_micros(START + dice.below(RECORDS) as i64 * HOUR / 100);
        filter.since = (dice.below(3) == 0).then(|| time(&mut dice));
        filter.until = (dice.below(3) == 0).then(|| time(&mut dice));
        filter.limit = 1 + dice.below(300);
        filter.segments_max = (dice.below(2) == 0).then(|| 1 + dice.below(8));
        let wanted: Vec<&Record> = records
            .iter()
            .filter(|record| filter.since.is_none_or(|since| record.time >= since))
            .filter(|record| filter.until.is_none_or(|until| record.time < until))
            .filter(|record| query.clauses.iter().all(|clause| says(record, clause)))
            .collect();
        let ids: Vec<_> = wanted.iter().map(|record| record.id).collect();
        let found = |order| -> Vec<_> {
            let records = pages(&reader, filter.clone(), order);
            records.into_iter().map(|record| record.id).collect()
        };
        let oldest_first = found(Order::OldestFirst);
        assert!(
            oldest_first == ids,
            "round {round}: {query}: {}",
            oldest_first.len()
        );
        let mut newest_first = found(Order::NewestFirst);
        newest_first.reverse();
        assert!(
            newest_first == ids,
            "round {round}: {query}: {}",
            newest_first.len()
        );
        found_some += usize::from(!ids.is_empty());
        check_counts(&reader, &filter, &wanted, &query);
        check_overview(&reader, &filter, &ids);
    }
    assert!(found_some > 25, "only {found_some} queries found anything");
}

/// Histogram and facets count the very records that the query finds.
fn check_counts(reader: &Reader, filter: &LogFilter, wanted: &[&Record], query: &Query) {
    let filter = LogFilter {
        segments_max: Some(usize::MAX),
        ..filter.clone()
    };
    let histogram = reader.histogram(&filter, 20).expect("the journal is whole");
    assert!(histogram.buckets.len() <= 21 && histogram.partial_before.is_none());
    let step = histogram.bucket_seconds as i64 * 1_000_000;
    for bucket in &histogram.buckets {
        let inside = |record: &&&Record| (0..step).contains(&(record.time.micros() - bucket.start.micros()));
        let of = |verdict: Option<&str>| {
            let records = wanted.iter().filter(inside);
            records
                .filter(|record| record.fields.verdict.as_deref() == verdict)
                .count() as u64
        };
        assert_eq!(
            [bucket.allow, bucket.hold, bucket.deny, bucket.other],
            [of(Some("allow")), of(Some("hold")), of(Some("deny")), of(None)],
            "{query} at {}",
            bucket.start
        );
    }
    let sum: u64 = histogram
        .buckets
        .iter()
        .map(|bucket| bucket.allow + bucket.hold + bucket.deny + bucket.other)
        .sum();
    assert_eq!(sum, wanted.len() as u64, "{query}");
    let facets = reader.facets(&filter).expect("the journal is whole");
    assert_eq!(facets.records, wanted.len() as u64);
    for facet in &facets.facets {
        for value in &facet.values {
            let clause = Clause::of(Key::parse(facet.key).expect("a key"), &value.value).expect("a value");
            let count = wanted.iter().filter(|record| says(record, &clause)).count() as u64;
            assert_eq!(value.records, count, "{query}: {clause}");
        }
    }
}

/// One reading gives what three give, and where it ends early the next page goes on without a gap.
fn check_overview(reader: &Reader, filter: &LogFilter, ids: &[Option<RecordId>]) {
    let filter = LogFilter {
        order: Order::NewestFirst,
        segments_max: Some(usize::MAX),
        ..filter.clone()
    };
    let whole = reader.overview(&filter, 20).expect("the journal is whole");
    let page = reader.query(&filter).expect("the journal is whole");
    assert_eq!(whole.page.records, page.records);
    assert_eq!(
        (whole.page.next_cursor, whole.page.looked_to),
        (page.next_cursor, None)
    );
    assert_eq!(
        whole.histogram,
        reader.histogram(&filter, 20).expect("the journal is whole")
    );
    assert_eq!(
        whole.facets,
        reader.facets(&filter).expect("the journal is whole")
    );
    let few = LogFilter {
        segments_max: Some(3),
        ..filter
    };
    let first = reader.overview(&few, 20).expect("the journal is whole").page;
    assert!(first.looked_to.is_none() || first.next_cursor.is_some());
    let mut found: Vec<_> = first.records.iter().map(|record| record.id).collect();
    if let Some(cursor) = first.next_cursor {
        let rest = LogFilter {
            cursor: Some(cursor),
            ..few
        };
        let rest = pages(reader, rest, Order::NewestFirst);
        found.extend(rest.iter().map(|record| record.id));
    }
    found.reverse();
    assert_eq!(found, ids);
}

#[test]
fn counts_without_conditions_come_out_of_the_index_and_are_whole() {
    let folder = journal(&mut Dice(7));
    let reader = Reader::open(folder.path());
    let records = all(&reader);
    let filter = LogFilter {
        until: Some(Timestamp::from_micros(START + 1_000 * HOUR / 100)),
        since: Some(Timestamp::from_micros(START)),
        segments_max: Some(12),
        ..LogFilter::default()
    };
    let few = LogFilter {
        segments_max: Some(3),
        ..filter.clone()
    };
    let partial = reader.facets(&few).expect("the journal is whole");
    assert!(partial.partial_before.is_some() && partial.records < 1_000);
    let partial = reader.histogram(&few, 3).expect("the journal is whole");
    assert!(partial.partial_before.is_some());
    reader.catch_up(|| false).expect("an index");
    let wanted: Vec<&Record> = records
        .iter()
        .filter(|record| (START..START + 1_000 * HOUR / 100).contains(&record.time.micros()))
        .collect();
    let whole = reader.facets(&filter).expect("the journal is whole");
    assert_eq!((whole.records, whole.partial_before), (wanted.len() as u64, None));
    assert_eq!(reader.histogram(&filter, 3).expect("whole").partial_before, None);
    check_counts(&reader, &filter, &wanted, &Query::default());
}

/// A journal of one lane and many small segments, all alike but the first: there alice's request was held, alice
/// looked, and one statement did not simply pass.
fn journal_with_a_rare_start() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let settings = Settings {
        segment_bytes: 12 << 10,
        ..Settings::in_dir(folder.path())
    };
    let journal = Journal::open(settings).expect("an empty folder");
    let mut lane = journal.lane(0);
    let session = SessionId(1);
    let mut append = |number: u64, body: Body<'_>| {
        let time = Timestamp::from_micros(START + number as i64 * HOUR);
        let session = Some(session);
        lane.append(&[Entry { time, session, body }])
            .expect("the disk is well");
    };
    for number in 0..RECORDS as u64 {
        let attempt = AttemptId { session, number };
        let (event, by) = if number < 5 {
            ("held", "alice")
        } else {
            ("expired", "bob")
        };
        append(
            number,
            match (number, number % 3) {
                (4, _) => Body::LogQuery { by, query: "" },
                (_, 0) => Body::RequestEvent {
                    request: "7K3F9Q",
                    event,
                    by: Some(by),
                    detail: "",
                },
                (_, 1) => Body::Attempt(Attempt {
                    id: attempt,
                    principal: "bot-1",
                    database: "shop",
                    database_user: "app",
                    text: b"SELECT 1",
                    class: Class::Read,
                    verdict: if number < 3 { "deny" } else { "allow" },
                    rule: "reads",
                    tables: &[],
                    column_labels: &[],
                    fingerprint: [0; 32],
                    parameters: &[],
                    request: None,
                    grant: None,
                    protocol: "simple",
                    read_as: "",
                    claimed: &[],
                }),
                _third => Body::Outcome(StatementOutcome {
                    attempt,
                    kind: OutcomeKind::Ran,
                    rows: None,
                    tag: "",
                    sqlstate: "",
                    message: "",
                    request: None,
                }),
            },
        );
    }
    folder
}

#[test]
fn what_is_rare_is_on_the_first_page_however_long_the_log_is() {
    let folder = journal_with_a_rare_start();
    let reader = Reader::open(folder.path());
    let segments = reader.catch_up(|| false).expect("an index");
    assert!(segments > 6, "{segments}");
    for (text, records) in [
        ("event:held", 2),
        ("by:alice", 3),
        ("kind:attempt -verdict:allow", 1),
        ("-kind:attempt,outcome,request_event,boot", 1),
        ("kind:attempt -verdict:allow,hold,deny", 0),
        ("event:granted", 0),
        ("kind:outcome -outcome:ran", 0),
    ] {
        let filter = LogFilter {
            segments_max: Some(2),
            ..parse(text).expect("a query").filter(Timestamp::from_micros(0))
        };
        let page = reader.query(&filter).expect("the journal is whole");
        assert_eq!((page.records.len(), page.looked_to), (records, None), "{text}");
    }
}

#[test]
fn an_index_of_an_older_program_is_left_alone_and_built_again() {
    let folder = journal_with_a_rare_start();
    let reader = Reader::open(folder.path());
    let segments = reader.catch_up(|| false).expect("an index");
    drop(reader);
    let older = rusqlite::Connection::open(folder.path().join("index.sqlite")).expect("an index");
    older
        .execute_batch("DELETE FROM term; PRAGMA user_version = 2;")
        .expect("it can be written");
    drop(older);
    let reader = Reader::open(folder.path());
    let held = parse("event:held")
        .expect("a query")
        .filter(Timestamp::from_micros(0));
    let found = || reader.query(&held).expect("the journal is whole").records.len();
    assert_eq!(found(), 2, "the segments themselves are read meanwhile");
    assert_eq!(reader.catch_up(|| false).expect("an index"), segments);
    assert_eq!(found(), 2);
}

#[test]
fn a_page_that_ends_early_says_how_far_it_looked() {
    let folder = journal(&mut Dice(8));
    let reader = Reader::open(folder.path());
    let filter = LogFilter {
        segments_max: Some(1),
        ..parse("text:nowhere")
            .expect("a query")
            .filter(Timestamp::from_micros(0))
    };
    let page = reader.query(&filter).expect("the journal is whole");
    assert!(page.records.is_empty() && page.next_cursor.is_some());
    let looked_to = page.looked_to.expect("it ended early");
    assert!(looked_to.micros() > START && looked_to < Timestamp::now());
    assert_eq!(pages(&reader, filter, Order::NewestFirst), []);
}

#[test]
fn records_around_one_are_its_neighbours() {
    let folder = journal(&mut Dice(9));
    let reader = Reader::open(folder.path());
    let records = all(&reader);
    let middle = &records[700];
    let id = middle.id.expect("read from a journal");
    let ids =
        |records: &[Record]| -> Vec<Option<RecordId>> { records.iter().map(|record| record.id).collect() };
    let around = reader.around(id, 5, Around::Everybody).expect("whole");
    assert_eq!(ids(&around), ids(&records[695..=705]));
    let of_session: Vec<Record> = records
        .iter()
        .filter(|record| record.fields.session == middle.fields.session)
        .cloned()
        .collect();
    let place = of_session
        .iter()
        .position(|record| record.id == middle.id)
        .expect("its own");
    let around = reader.around(id, 4, Around::Session).expect("whole");
    assert_eq!(ids(&around), ids(&of_session[place - 4..=place + 4]));
    let missing = RecordId {
        lane: 0,
        number: 1 << 40,
    };
    assert_eq!(reader.around(missing, 5, Around::Everybody).expect("whole"), []);
}

#[test]
fn the_same_words_follow_the_log() {
    let folder = journal(&mut Dice(10));
    let reader = Reader::open(folder.path());
    for text in [
        "class:ddl,grant -verdict:allow",
        "\"drop table\" principal:bot-1",
        "by:alice",
    ] {
        let filter = parse(text).expect("a query").filter(Timestamp::from_micros(0));
        let mut tail = reader.tail(TailFrom::Start, filter.clone()).expect("whole");
        let mut followed = Vec::new();
        loop {
            let batch = tail.next_batch(500).expect("whole");
            if batch.is_empty() {
                break;
            }
            followed.extend(batch.into_iter().map(|record| record.id));
        }
        followed.sort();
        let mut found: Vec<_> = pages(&reader, filter, Order::OldestFirst)
            .into_iter()
            .map(|record| record.id)
            .collect();
        found.sort();
        assert!(!found.is_empty());
        assert_eq!(followed, found, "{text}");
    }
}

#[test]
fn words_are_read_as_they_are_meant() {
    let read = |text: &str| parse(text).expect("a query").to_string();
    for (text, printed) in [
        ("", ""),
        ("class=ddl", "class:ddl"),
        (
            "  class:DDL,grant   table=orders ",
            "class:ddl,grant table:orders",
        ),
        ("-class:ddl class!=read", "-class:ddl -class:read"),
        ("-class!=ddl", "class:ddl"),
        ("drop", "drop"),
        ("text:drop", "drop"),
        ("text:drop,alter", "text:drop,alter"),
        ("\"drop table\" -\"if exists\"", "\"drop table\" -\"if exists\""),
        ("\"id=5\" --x 5>=4", "\"id=5\" \"--x\" 5>=4"),
        ("request:7k3f9q", "request:7K3F9Q"),
        ("principal:\"bot 3\",x", "principal:\"bot 3\",x"),
        ("since:7d until:2026-11-22", "since:7d until:2026-11-22"),
        (r#""say \"hi\" c:\dir""#, r#""say \"hi\" c:\\dir""#),
    ] {
        assert_eq!(read(text), printed, "{text}");
    }
    let words = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        parse_words(&words).expect("a query").to_string()
    };
    assert_eq!(
        words(&["text=drop table", "class=ddl"]),
        "\"drop table\" class:ddl"
    );
    assert_eq!(
        words(&["class=ddl table=orders", "since=7d"]),
        "class:ddl table:orders since:7d"
    );
}

#[test]
fn what_cannot_be_read_is_named_with_its_place_and_the_words_there_are() {
    for (text, word, column, what, hint) in [
        ("table:a clas:ddl", "clas:ddl", 9, Wrong::UnknownKey, "principal"),
        ("ä klasse:ddl", "klasse:ddl", 3, Wrong::UnknownKey, "class"),
        ("class:ddl,dll", "dll", 11, Wrong::Value(Key::Class), "export"),
        (
            "verdict:maybe",
            "maybe",
            9,
            Wrong::Value(Key::Verdict),
            "allow, hold, deny",
        ),
        ("kind:thing", "thing", 6, Wrong::Value(Key::Kind), "session_start"),
        ("since:yesterday", "yesterday", 7, Wrong::Value(Key::Since), "7d"),
        (
            "since:1d,2d",
            "since:1d,2d",
            1,
            Wrong::OneTime(Key::Since),
            "since:7d",
        ),
        (
            "-until:1d",
            "-until:1d",
            1,
            Wrong::OneTime(Key::Until),
            "until:7d",
        ),
        ("class:", "class:", 1, Wrong::NoValue, "class:ddl"),
        ("table:a,", "table:a,", 1, Wrong::NoValue, "class:ddl"),
        ("x \"abc", "\"abc", 3, Wrong::NotClosed, "quotes"),
        ("\"a\"b", "\"a\"b", 1, Wrong::BehindQuote, "blank"),
        ("session:abc", "abc", 9, Wrong::Value(Key::Session), "13"),
        ("fingerprint:12", "12", 13, Wrong::Value(Key::Fingerprint), "64"),
        ("source:here", "here", 8, Wrong::Value(Key::Source), "10.0.0.5"),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(
            (&error.word[..], error.column, error.what),
            (word, column, what),
            "{text}"
        );
        assert!(error.next_step().contains(hint), "{text}: {}", error.next_step());
    }
    let long = "a ".repeat(41);
    assert_eq!(parse(&long).expect_err("too many").what, Wrong::TooManyClauses);
    let long = format!("table:{}", vec!["a"; 51].join(","));
    assert_eq!(parse(&long).expect_err("too many").what, Wrong::TooManyValues);
    assert_eq!(
        parse(&"a".repeat(5_000)).expect_err("too long").what,
        Wrong::TooLong
    );
}

#[test]
fn a_facet_replaces_what_stood_for_its_key() {
    let query = parse("class:ddl drop class:read").expect("a query");
    let clause = Clause::of(Key::Class, "grant").expect("a class");
    assert_eq!(query.with(clause).to_string(), "drop class:grant");
    assert_eq!(query.without(Key::Text).to_string(), "class:ddl class:read");
}

fn any_clause() -> impl Strategy<Value = Clause> {
    let free = prop_oneof![
        Just(Key::Principal),
        Just(Key::Table),
        Just(Key::Rule),
        Just(Key::Approver),
        Just(Key::Database),
        Just(Key::By),
        Just(Key::Event),
        Just(Key::Label),
        Just(Key::Text),
    ];
    let values = prop::collection::vec(prop_oneof!["[a-z\"\\\\,:=! -]{1,6}", "\\PC{1,8}"], 1..4);
    let free = (free, any::<bool>(), values).prop_map(|(key, is_not, values)| Clause { key, is_not, values });
    let closed = prop_oneof![
        Just(Key::Class),
        Just(Key::Verdict),
        Just(Key::Kind),
        Just(Key::Outcome)
    ];
    let closed = (
        closed,
        any::<bool>(),
        prop::collection::vec(any::<prop::sample::Index>(), 1..4),
    );
    let closed = closed.prop_map(|(key, is_not, places)| {
        let words = key.words().expect("a closed set");
        Clause {
            key,
            is_not,
            values: places
                .iter()
                .map(|place| (*place.get(&words)).to_owned())
                .collect(),
        }
    });
    let time = prop_oneof!["[1-9][0-9]{0,3}[smhdw]", Just("2026-11-22".to_owned())];
    let time = (prop_oneof![Just(Key::Since), Just(Key::Until)], time).prop_map(|(key, text)| Clause {
        key,
        is_not: false,
        values: vec![text],
    });
    let id = any::<u64>().prop_map(|id| Clause {
        key: Key::Session,
        is_not: false,
        values: vec![SessionId(id).to_string()],
    });
    prop_oneof![4 => free, 2 => closed, 1 => time, 1 => id]
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(clauses in prop::collection::vec(any_clause(), 0..6)) {
        let query = Query { clauses };
        let printed = query.to_string();
        prop_assert_eq!(parse(&printed).expect("what was printed is read"), query.clone(), "{}", printed);
        let url = reqwest::Url::parse(&format!("http://localhost/log?q={}", query.url_value())).expect("a URL");
        let (_, value) = url.query_pairs().next().expect("q");
        prop_assert_eq!(value.as_ref(), printed);
    }

    #[test]
    fn any_text_is_a_query_or_an_error_with_its_place(text in "[a-z:=,!\"\\\\ -]{0,30}|\\PC{0,40}") {
        match parse(&text) {
            Ok(query) => prop_assert_eq!(parse(&query.to_string()).expect("printed"), query),
            Err(error) => {
                prop_assert!(error.column <= text.chars().count() + 1);
                prop_assert!(!error.next_step().is_empty());
            }
        }
    }
}

#[test]
fn kinds_of_records_are_all_words_of_the_language() {
    for kind in Kind::ALL {
        assert!(parse(&format!("kind:{}", kind.as_str())).is_ok());
    }
}

/// What the schema requires of Datastore Activity: attributes of the event and of its objects.
/// Source: schema.ocsf.io/1.8.0, requirement `required` and constraints `at_least_one`.
fn check_ocsf(event: &serde_json::Value) {
    let is_number = |name: &str| assert!(event[name].is_u64(), "{name}: {event}");
    for name in [
        "activity_id",
        "category_uid",
        "class_uid",
        "severity_id",
        "time",
        "type_uid",
    ] {
        is_number(name);
    }
    assert_eq!(
        (&event["class_uid"], &event["category_uid"]),
        (&6005.into(), &6.into())
    );
    let activity = event["activity_id"].as_u64().expect("checked above");
    assert!(activity <= 10 || activity == 99, "{event}");
    assert_eq!(event["type_uid"], 600_500 + activity);
    assert!((0..=6).contains(&event["severity_id"].as_u64().expect("checked above")));
    assert!([0, 1, 2].contains(&event["status_id"].as_u64().expect("a status")));
    let one_of = |object: &str, names: &[&str]| {
        let has = names
            .iter()
            .any(|name| event[object][name].is_string() || event[object][name].is_object());
        assert!(has, "{object} needs one of {names:?}: {event}");
    };
    assert_eq!(
        event["metadata"]["version"],
        countersign::api::export::OCSF_VERSION
    );
    assert!(event["metadata"]["product"]["name"].is_string());
    one_of("actor", &["user", "session", "app_name"]);
    one_of("src_endpoint", &["ip", "name", "svc_name"]);
    one_of("database", &["name", "uid"]);
    assert_eq!(event["database"]["type_id"], 1);
    if event.get("query_info").is_some() {
        one_of("query_info", &["query_string"]);
    }
    let control = (event["action_id"].as_u64(), event["disposition_id"].as_u64());
    let known = [(1, 1), (2, 2), (4, 14), (1, 8), (2, 25)];
    let is_known = known
        .iter()
        .any(|(action, disposition)| control == (Some(*action), Some(*disposition)));
    assert!(is_known || control == (None, None), "{event}");
}

fn exported(reader: &Reader, filter: &LogFilter, format: Format) -> String {
    let mut bytes = Vec::new();
    let written = countersign::api::export::write(reader, filter, format, |chunk, _| {
        bytes.extend(chunk);
        true
    });
    assert!(written.is_ok(), "{written:?}");
    String::from_utf8(bytes).expect("all formats are UTF-8")
}

#[test]
fn exports_hold_every_record_that_matches_in_each_format() {
    let folder = journal(&mut Dice(11));
    let reader = Reader::open(folder.path());
    let filter = parse("kind:attempt,decision,login,outcome -class:read")
        .expect("a query")
        .filter(Timestamp::from_micros(0));
    let records = pages(&reader, filter.clone(), Order::NewestFirst);
    let ids: Vec<String> = records
        .iter()
        .filter_map(|record| record.id)
        .map(|id| id.to_string())
        .collect();
    assert!(ids.len() > 450, "{}", ids.len());

    let of_json = |value: &serde_json::Value| value["id"].as_str().unwrap_or_default().to_owned();
    let list: Vec<serde_json::Value> =
        serde_json::from_str(&exported(&reader, &filter, Format::Json)).expect("one list");
    assert_eq!(list.iter().map(of_json).collect::<Vec<_>>(), ids);
    let lines = exported(&reader, &filter, Format::Ndjson);
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines, list);

    let table = exported(&reader, &filter, Format::Csv);
    let mut rows = csv::Reader::from_reader(table.as_bytes());
    let head = rows.headers().expect("a head").clone();
    let column = |name: &str| head.iter().position(|known| known == name).expect(name);
    let rows: Vec<csv::StringRecord> = rows
        .records()
        .map(|row| row.expect("a row of all columns"))
        .collect();
    let of_column =
        |name: &str| -> Vec<String> { rows.iter().map(|row| row[column(name)].to_owned()).collect() };
    assert_eq!(of_column("id"), ids);
    let text =
        |record: &Record| String::from_utf8(record.fields.text.clone().unwrap_or_default()).expect("UTF-8");
    assert_eq!(of_column("text"), records.iter().map(text).collect::<Vec<_>>());
    let tables = |record: &Record| record.fields.tables.join(",");
    assert_eq!(
        of_column("tables"),
        records.iter().map(tables).collect::<Vec<_>>()
    );

    let events = exported(&reader, &filter, Format::Ocsf);
    let events: Vec<serde_json::Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(
        events.len(),
        records.iter().filter(|record| record.kind != Kind::Login).count(),
        "log-ins that went well begin a session, which is the activity"
    );
    events.iter().for_each(check_ocsf);
    let empty = parse("rule:nowhere")
        .expect("a query")
        .filter(Timestamp::from_micros(0));
    assert_eq!(exported(&reader, &empty, Format::Json), "[\n]\n");
    assert_eq!(exported(&reader, &empty, Format::Csv).lines().count(), 1);
}
