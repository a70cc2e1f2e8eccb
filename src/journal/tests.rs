//! The journal on a real disk and on one that fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::disk::{Disk, Fault, Faults};
use super::*;
use crate::audit::{Attempt, Class, Kind, Record, RecordId};
use crate::identity::principal::SessionId;

const SESSION: SessionId = SessionId(0x1234_5678_9ABC_DEF0);

fn attempt_id(number: u64) -> AttemptId {
    AttemptId {
        session: SESSION,
        number,
    }
}

fn attempt<'a>(number: u64, text: &'a str, tables: &'a [String]) -> Entry<'a> {
    let attempt = Attempt {
        id: attempt_id(number),
        principal: "agent-1",
        database: "shop",
        database_user: "app",
        text: text.as_bytes(),
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
    Entry {
        time: begun().after(Duration::from_micros(number)),
        session: Some(SESSION),
        body: Body::Attempt(attempt),
    }
}

fn outcome(number: u64) -> Entry<'static> {
    let outcome = StatementOutcome {
        attempt: attempt_id(number),
        kind: OutcomeKind::Ran,
        rows: Some(number),
        tag: "SELECT 1",
        sqlstate: "",
        message: "",
        request: None,
    };
    Entry {
        time: begun().after(Duration::from_micros(number)),
        session: Some(SESSION),
        body: Body::Outcome(outcome),
    }
}

/// When the first record was written. A log whose times lie years apart, and of which nothing is signed, is refused.
fn begun() -> Timestamp {
    static BEGUN: std::sync::OnceLock<Timestamp> = std::sync::OnceLock::new();
    *BEGUN.get_or_init(Timestamp::now)
}

fn settings(dir: &Path) -> Settings {
    Settings {
        segment_bytes: 64 << 10,
        ..Settings::in_dir(dir.join("journal"))
    }
}

fn open(dir: &Path) -> Journal {
    Journal::open(settings(dir)).expect("an empty or whole folder opens")
}

fn open_with(dir: &Path, faults: &Arc<Faults>) -> Journal {
    Journal::open_on(settings(dir), Disk::with_faults(Arc::clone(faults))).expect("no fault holds yet")
}

fn all(dir: &Path) -> Vec<Record> {
    let filter = LogFilter {
        order: Order::OldestFirst,
        limit: LIMIT_MAX,
        ..LogFilter::default()
    };
    pages(&Reader::open(&settings(dir).dir), filter)
}

fn pages(reader: &Reader, mut filter: LogFilter) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let page = reader.query(&filter).expect("the journal is whole");
        records.extend(page.records);
        match page.next_cursor {
            Some(cursor) => filter.cursor = Some(cursor),
            None => return records,
        }
    }
}

/// Numbers of the attempts, and of the results, with the word of each.
fn attempts_and_outcomes(records: &[Record]) -> (BTreeSet<u64>, Vec<(u64, String)>) {
    let number = |record: &Record| record.fields.attempt.map_or(0, |id| id.number);
    let attempts = records
        .iter()
        .filter(|record| record.kind == Kind::Attempt)
        .map(number)
        .collect();
    let outcomes = records.iter().filter(|record| record.kind == Kind::Outcome);
    let word = |record: &Record| record.fields.outcome.clone().unwrap_or_default();
    (
        attempts,
        outcomes.map(|record| (number(record), word(record))).collect(),
    )
}

/// Every attempt has exactly one result, every attempt has its text, and numbers have no gap.
fn check_truthful(records: &[Record]) {
    let (attempts, outcomes) = attempts_and_outcomes(records);
    let resolved: BTreeSet<u64> = outcomes.iter().map(|(number, _)| *number).collect();
    assert_eq!(attempts, resolved);
    assert_eq!(
        resolved.len(),
        outcomes.len(),
        "two results for one attempt: {outcomes:?}"
    );
    for record in records.iter().filter(|record| record.kind == Kind::Attempt) {
        let number = record.fields.attempt.map_or(0, |id| id.number);
        assert_eq!(record.fields.text.as_deref(), Some(text(number).as_bytes()));
    }
    for lane in [0, 1, JOURNAL_LANE] {
        let numbers: Vec<u64> = records
            .iter()
            .filter_map(|record| record.id)
            .filter(|id| id.lane == lane)
            .map(|id| id.number)
            .collect();
        assert_eq!(
            numbers,
            (0..numbers.len() as u64).collect::<Vec<_>>(),
            "lane {lane}"
        );
    }
}

fn text(number: u64) -> &'static str {
    let texts = [
        "SELECT 0 FROM orders",
        "SELECT 1",
        "TABLE customers",
        "SELECT now()",
        "SHOW search_path",
    ];
    texts[(number % 5) as usize]
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_was_appended_is_read_back_with_its_text() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let journal = open(dir.path());
    let mut lane = journal.lane(0);
    let tables = ["public.orders".to_owned()];
    let recorded = lane
        .append(&[attempt(1, text(1), &tables)])
        .expect("the disk is well");
    lane.stage(&outcome(1));
    assert!(lane.has_staged());
    lane.flush().expect("the disk is well");
    assert!(!lane.has_staged());
    let shown = journal
        .reader()
        .show(recorded.id())
        .expect("whole")
        .expect("it was recorded");
    assert_eq!(shown.fields.text.as_deref(), Some(text(1).as_bytes()));
    assert_eq!(shown.fields.tables, tables);
    check_truthful(&all(dir.path()));
}

#[test]
fn an_attempt_is_shown_with_its_result_even_segments_later() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let journal = open(dir.path());
    let mut lane = journal.lane(0);
    let slow = lane
        .append(&[attempt(0, text(0), &[])])
        .expect("the disk is well");
    for number in 1..1_000 {
        lane.append(&[attempt(number, text(number), &[]), outcome(number)])
            .expect("the disk is well");
    }
    let result = || {
        let shown = journal
            .reader()
            .show(slow.id())
            .expect("whole")
            .expect("it was recorded");
        shown.fields.result.and_then(|result| result.fields.outcome)
    };
    assert_eq!(result(), None);
    lane.append(&[outcome(0)]).expect("the disk is well");
    assert_eq!(result().as_deref(), Some("ran"));
}

#[test]
fn a_text_is_kept_once_per_segment() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let journal = open(dir.path());
    let mut lane = journal.lane(0);
    let long = "SELECT 1 FROM orders -- ".repeat(400);
    for number in 1..=20 {
        lane.append(&[attempt(number, &long, &[]), outcome(number)])
            .expect("the disk is well");
    }
    let file =
        fs::read(settings(dir.path()).dir.join("lane-00000-000000000000.seg")).expect("the first segment");
    let found = file
        .windows(long.len())
        .filter(|window| *window == long.as_bytes())
        .count();
    assert_eq!(found, 1);
    assert_eq!(
        all(dir.path())
            .iter()
            .filter(|record| record.fields.text.is_some())
            .count(),
        20
    );
}

#[test]
fn segments_roll_and_stay_readable_across_a_restart() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    for round in 0..3 {
        let journal = open(dir.path());
        let mut lane = journal.lane(0);
        for number in round * 1_000..(round + 1) * 1_000 {
            lane.append(&[attempt(number, text(number), &[]), outcome(number)])
                .expect("the disk is well");
        }
    }
    let records = all(dir.path());
    check_truthful(&records);
    assert_eq!(
        records
            .iter()
            .filter(|record| record.kind == Kind::Attempt)
            .count(),
        3_000
    );
    assert_eq!(
        records.iter().filter(|record| record.kind == Kind::Boot).count(),
        3
    );
    assert!(
        fs::read_dir(settings(dir.path()).dir)
            .expect("the folder")
            .count()
            > 10
    );
}

#[test]
fn newest_first_is_oldest_first_backwards_page_by_page() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let journal = open(dir.path());
    let mut lanes = [journal.lane(0), journal.lane(1)];
    for number in 0..700 {
        let entries = [attempt(number, text(number), &[]), outcome(number)];
        lanes[(number % 2) as usize]
            .append(&entries)
            .expect("the disk is well");
    }
    let reader = journal.reader();
    let mut forwards = pages(
        &reader,
        LogFilter {
            order: Order::OldestFirst,
            limit: 33,
            ..LogFilter::default()
        },
    );
    let backwards = pages(
        &reader,
        LogFilter {
            limit: 47,
            ..LogFilter::default()
        },
    );
    forwards.reverse();
    assert_eq!(forwards, backwards);
    assert_eq!(forwards.len(), 1_401);
}

#[test]
fn record_times_never_go_backwards_within_a_lane() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let journal = open(dir.path());
    let mut lane = journal.lane(0);
    for number in [5, 3, 9, 1] {
        lane.append(&[attempt(number, text(number), &[])])
            .expect("the disk is well");
        lane.stage(&outcome(number));
    }
    lane.flush().expect("the disk is well");
    let times: Vec<_> = all(dir.path())
        .iter()
        .filter(|r| r.id.is_some_and(|id| id.lane == 0))
        .map(|r| r.time)
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(times.len(), 8);
}

#[test]
fn only_one_process_owns_the_folder() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let journal = open(dir.path());
    assert!(matches!(
        Journal::open(settings(dir.path())),
        Err(JournalError::Owned { .. })
    ));
    drop(journal);
    open(dir.path());
}

#[test]
fn attempts_without_a_result_get_the_result_unknown_once() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let journal = open(dir.path());
    let mut lane = journal.lane(0);
    let held = Attempt {
        request: Some("7K3F9Q"),
        verdict: "hold",
        ..as_attempt(&attempt(3, "SELECT 3 FROM orders", &[]))
    };
    let held = Entry {
        body: Body::Attempt(held),
        ..attempt(3, "", &[])
    };
    let entries = [
        attempt(1, text(1), &[]),
        attempt(2, text(2), &[]),
        held,
        outcome(2),
    ];
    lane.append(&entries).expect("the disk is well");
    drop((lane, journal));
    drop(open(dir.path()));
    drop(open(dir.path()));
    let (attempts, outcomes) = attempts_and_outcomes(&all(dir.path()));
    assert_eq!(attempts, BTreeSet::from([1, 2, 3]));
    assert_eq!(outcomes, [(2, "ran".to_owned()), (1, "unknown".to_owned())]);
}

fn as_attempt<'a>(entry: &Entry<'a>) -> Attempt<'a> {
    match entry.body {
        Body::Attempt(attempt) => attempt,
        _ => panic!("the entry is an attempt"),
    }
}

#[test]
fn an_old_attempt_is_found_open_many_segments_later() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let journal = open(dir.path());
    let mut lane = journal.lane(0);
    lane.append(&[attempt(0, text(0), &[])])
        .expect("the disk is well");
    for number in 1..2_000 {
        lane.append(&[attempt(number, text(number), &[]), outcome(number)])
            .expect("the disk is well");
    }
    drop((lane, journal));
    drop(open(dir.path()));
    check_truthful(&all(dir.path()));
}

/// Copies a journal folder as a power failure would leave it: what a checkpoint speaks of was on disk before, so each
/// file is copied before what it speaks of.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a scratch folder");
    let files = fs::read_dir(from).expect("the folder");
    let mut files: Vec<_> = files.map(|file| file.expect("a file of it").path()).collect();
    let place = |file: &Path| {
        let names = [tree::TRACE_FILE, tree::FOLDER, tree::CHECKPOINTS_FILE];
        let name = file.file_name().and_then(|name| name.to_str());
        names
            .iter()
            .position(|first| Some(*first) == name)
            .unwrap_or(names.len())
    };
    files.sort_by_key(|file| place(file));
    for file in files {
        let name = to.join(file.file_name().expect("a file has a name"));
        if file.is_dir() {
            copy(&file, &name);
        } else {
            fs::copy(&file, name).expect("a copy");
        }
    }
}

#[test]
fn killed_at_any_byte_the_journal_is_truthful() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let recorded = dir.path().join("recorded");
    let journal = open(dir.path());
    let mut lane = journal.lane(0);
    for number in 0..4 {
        lane.append(&[attempt(number, text(number), &[])])
            .expect("the disk is well");
        lane.stage(&outcome(number));
    }
    copy(&settings(dir.path()).dir, &recorded);
    // The checkpoint would call every shorter file a loss; `a_shorter_journal_is_reported` is about that.
    fs::remove_file(recorded.join(checkpoint::FILE_NAME)).expect("it was copied");
    let name = "lane-00000-000000000000.seg";
    let whole = fs::read(recorded.join(name)).expect("the segment");
    let used = whole
        .iter()
        .rposition(|byte| *byte != 0)
        .expect("it is not empty")
        + 1;
    let mut seen = BTreeSet::new();
    for bytes in 0..=used {
        let scratch = memory_folder();
        let folder = settings(scratch.path()).dir;
        copy(&recorded, &folder);
        let torn = [&whole[..bytes], &vec![0; (bytes % 2) * 512][..]].concat();
        fs::write(folder.join(name), torn).expect("a torn segment");
        let journal = open(scratch.path());
        let records = all(scratch.path());
        check_truthful(&records);
        seen.insert(attempts_and_outcomes(&records).0.len());
        let entries = [attempt(100, text(100), &[]), outcome(100)];
        journal.lane(0).append(&entries).expect("it goes on");
        check_truthful(&all(scratch.path()));
    }
    assert_eq!(seen, (0..=4).collect());
}

/// A folder that needs no disk where there is one, for tests that open a journal a thousand times.
fn memory_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a scratch folder")
}

#[test]
fn a_flipped_bit_in_a_sealed_segment_is_an_error_with_file_and_offset() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let journal = open(dir.path());
    let mut lane = journal.lane(0);
    lane.append(&[attempt(1, text(1), &[]), outcome(1)])
        .expect("the disk is well");
    drop((lane, journal));
    drop(open(dir.path()));
    let path = settings(dir.path()).dir.join("lane-00000-000000000000.seg");
    let whole = fs::read(&path).expect("the segment");
    for place in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        fs::write(&path, bytes).expect("a changed segment");
        let error = Journal::open(settings(dir.path())).expect_err("it is damaged");
        let names_it = match &error {
            JournalError::Damaged { file, .. } | JournalError::Shorter { file, .. } => {
                *file == path || place < 64
            }
            _ => false,
        };
        assert!(names_it, "byte {place}: {error}");
    }
}

#[test]
fn a_shorter_journal_is_reported_and_only_goes_on_when_told() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let journal = open(dir.path());
    let mut lane = journal.lane(0);
    lane.append(&[attempt(1, text(1), &[])])
        .expect("the disk is well");
    let short = fs::read(settings(dir.path()).dir.join("lane-00000-000000000000.seg")).expect("the segment");
    lane.append(&[outcome(1), attempt(2, text(2), &[])])
        .expect("the disk is well");
    drop((lane, journal));
    let path = settings(dir.path()).dir.join("lane-00000-000000000000.seg");
    fs::write(&path, short).expect("an older copy");
    let error = Journal::open(settings(dir.path())).expect_err("records are gone");
    assert!(
        matches!(
            error,
            JournalError::Shorter {
                lane: 0,
                durable: 3,
                found: 1,
                ..
            }
        ),
        "{error}"
    );
    fs::remove_file(&path).expect("it is there");
    let error = Journal::open(settings(dir.path())).expect_err("a lane is gone");
    assert!(
        matches!(
            error,
            JournalError::Shorter {
                lane: 0,
                durable: 3,
                found: 0,
                ..
            }
        ),
        "{error}"
    );
    drop(
        Journal::open(Settings {
            on_loss: OnLoss::Record {
                reason: "somebody looked".to_owned(),
            },
            ..settings(dir.path())
        })
        .expect("somebody looked"),
    );
    let boots: Vec<_> = all(dir.path())
        .into_iter()
        .filter(|record| record.kind == Kind::Boot)
        .collect();
    assert_eq!(boots.len(), 2);
    let lost = boots[1]
        .fields
        .positions
        .iter()
        .find(|position| position.lane == 0);
    assert_eq!(
        lost.map(|position| (position.durable, position.found)),
        Some((3, 0))
    );
}

#[test]
fn a_record_of_a_newer_program_is_never_cut() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let recorded = dir.path().join("recorded");
    let journal = open(dir.path());
    journal
        .lane(0)
        .append(&[attempt(1, text(1), &[]), outcome(1)])
        .expect("the disk is well");
    copy(&settings(dir.path()).dir, &recorded);
    drop(journal);
    let path = recorded.join("lane-00000-000000000000.seg");
    let mut bytes = fs::read(&path).expect("the segment");
    let (header, checksum) = segment::Header::decode(&bytes).expect("it has a header");
    let mut frames = segment::Frames::behind_header(&bytes, checksum);
    while let segment::Cut::Record { .. } = frames.cut() {}
    let (end, checksum) = (frames.offset(), frames.checksum());
    let mut newer = Vec::new();
    segment::put_frame(&mut newer, |out| {
        out.extend_from_slice(&[2, 200, 0, 0, 0, 0, 0, 0, 0, 7])
    });
    segment::chain(&mut newer, checksum);
    bytes[end..end + newer.len()].copy_from_slice(&newer);
    fs::write(&path, &bytes).expect("a segment of a newer program");
    fs::remove_file(recorded.join(checkpoint::FILE_NAME)).expect("it was copied");
    let error = Journal::open(Settings::in_dir(&recorded)).expect_err("it is not understood");
    assert!(
        matches!(
            error,
            JournalError::Damaged {
                what: Damage::Record(_),
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(fs::read(&path).expect("the segment"), bytes);
    assert_eq!(header.lane, 0);
}

#[test]
fn a_full_disk_refuses_and_recovers_without_a_restart() {
    for fault in [Fault::Full, Fault::ReadOnly, Fault::FailWrite, Fault::ShortWrite] {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let faults = Arc::new(Faults::default());
        let journal = open_with(dir.path(), &faults);
        let mut lane = journal.lane(0);
        lane.append(&[attempt(1, text(1), &[])])
            .expect("the disk is well");
        lane.stage(&outcome(1));
        faults.hold(fault);
        for number in 2..5 {
            let refused = lane.append(&[attempt(number, text(number), &[])]);
            assert!(matches!(refused, Err(JournalError::Write { .. })), "{fault:?}");
        }
        assert!(!journal.is_healthy());
        assert!(lane.has_staged(), "a result is not lost");
        faults.clear();
        let recorded = lane
            .append(&[attempt(5, text(5), &[]), outcome(5)])
            .expect("the disk is well again");
        lane.sync_blocking(&recorded).expect("the disk is well again");
        wait_until("it is healthy again", || journal.is_healthy());
        drop((lane, journal));
        drop(open(dir.path()));
        let records = all(dir.path());
        check_truthful(&records);
        let (attempts, outcomes) = attempts_and_outcomes(&records);
        assert_eq!(attempts, BTreeSet::from([1, 5]), "{fault:?}");
        assert_eq!(
            outcomes,
            [(1, "ran".to_owned()), (5, "ran".to_owned())],
            "{fault:?}"
        );
    }
}

#[test]
fn health_comes_back_without_any_statement() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let faults = Arc::new(Faults::default());
    let journal = open_with(dir.path(), &faults);
    let mut lane = journal.lane(0);
    faults.hold(Fault::Full);
    lane.append(&[attempt(1, text(1), &[])])
        .expect_err("the disk is full");
    assert!(!journal.is_healthy());
    faults.clear();
    wait_until("it is healthy again", || journal.is_healthy());
}

#[test]
fn a_failed_sync_poisons_the_segment_and_its_tail_is_written_anew() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let faults = Arc::new(Faults::default());
    let journal = open_with(dir.path(), &faults);
    let mut lane = journal.lane(0);
    let recorded = lane
        .append(&[attempt(1, text(1), &[])])
        .expect("the disk is well");
    lane.sync_blocking(&recorded).expect("the disk is well");
    faults.hold(Fault::FailSync);
    let mut tail = journal
        .reader()
        .tail(TailFrom::Start, LogFilter::default())
        .expect("whole");
    let recorded = lane
        .append(&[outcome(1), attempt(2, text(1 + 1), &[])])
        .expect("writing works");
    assert!(matches!(
        lane.sync_blocking(&recorded),
        Err(JournalError::Sync { .. })
    ));
    assert!(!journal.is_healthy());
    let mut followed = tail.next_batch(100).expect("whole");
    faults.clear();
    // The text of attempt 6 is that of attempt 1, which stands in the poisoned segment alone.
    let recorded = lane
        .append(&[outcome(2), attempt(6, text(6), &[])])
        .expect("writing works");
    assert_eq!(recorded.id(), RecordId { lane: 0, number: 4 });
    lane.sync_blocking(&recorded).expect("a new segment is synced");
    assert!(recorded.position().segment > 0);
    lane.append(&[outcome(6)]).expect("the disk is well again");
    wait_until("it is healthy again", || journal.is_healthy());
    check_truthful(&all(dir.path()));
    followed.extend(tail.next_batch(100).expect("whole"));
    check_truthful(&followed);
    drop((lane, journal));
    faults.lose_power().expect("files are cut");
    drop(open(dir.path()));
    check_truthful(&all(dir.path()));
}

#[test]
fn no_synced_record_is_lost_when_power_fails_at_any_step() {
    for operations in 0..40 {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let faults = Arc::new(Faults::default());
        let journal = open_with(dir.path(), &faults);
        let mut lane = journal.lane(0);
        faults.once_after(
            operations / 2,
            if operations % 2 == 0 {
                Fault::FailSync
            } else {
                Fault::ShortWrite
            },
        );
        let mut synced = BTreeSet::new();
        for number in 0..20 {
            let padded = attempt(number, text(number), &[]);
            let Ok(recorded) = lane.append(&[padded]) else {
                continue;
            };
            if lane.sync_blocking(&recorded).is_ok() {
                synced.insert(number);
            }
            lane.stage(&outcome(number));
        }
        // What a kill leaves behind: the journal is not closed, and only synced bytes are there.
        let killed = dir.path().join("killed");
        copy(&settings(dir.path()).dir, &killed);
        drop((lane, journal));
        faults.lose_power().expect("files are cut");
        drop(open(dir.path()));
        let records = all(dir.path());
        check_truthful(&records);
        let (attempts, _) = attempts_and_outcomes(&records);
        assert!(
            synced.is_subset(&attempts),
            "{operations}: {synced:?} of {attempts:?}"
        );
        let scratch = tempfile::tempdir().expect("a scratch folder");
        copy(&killed, &settings(scratch.path()).dir);
        drop(open(scratch.path()));
        let records = all(scratch.path());
        check_truthful(&records);
        assert!(
            synced.is_subset(&attempts_and_outcomes(&records).0),
            "{operations}"
        );
    }
}

#[test]
fn many_threads_share_syncs_and_keep_their_lanes_apart() {
    const THREADS: u64 = 4;
    const STATEMENTS: u64 = 200;
    let dir = tempfile::tempdir().expect("a scratch folder");
    let faults = Arc::new(Faults::default());
    let journal = open_with(dir.path(), &faults);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            // Two threads to a lane: the second handle is one that the contract does not foresee, and is safe.
            let mut lane = journal.lane((thread % 2) as u16);
            scope.spawn(move || {
                for number in thread * STATEMENTS..(thread + 1) * STATEMENTS {
                    let recorded = lane
                        .append(&[attempt(number, text(number), &[])])
                        .expect("the disk is well");
                    lane.sync_blocking(&recorded).expect("the disk is well");
                    lane.stage(&outcome(number));
                }
            });
        }
    });
    assert!(
        faults.syncs() < 2 * THREADS * STATEMENTS,
        "{} syncs",
        faults.syncs()
    );
    drop(journal);
    let records = all(dir.path());
    check_truthful(&records);
    assert_eq!(
        attempts_and_outcomes(&records).0.len() as u64,
        THREADS * STATEMENTS
    );
}

#[test]
fn sync_in_a_task_wakes_on_a_current_thread_runtime() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let journal = open(dir.path());
    let mut lane = journal.lane(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for number in 0..10 {
            let recorded = lane
                .append(&[attempt(number, text(number), &[])])
                .expect("the disk is well");
            let synced = lane.sync(&recorded).await.expect("the disk is well");
            assert_eq!(synced.position(), recorded.position());
        }
    });
}

#[test]
fn queries_find_by_every_term_with_and_without_the_index() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let journal = open(dir.path());
    let mut lane = journal.lane(0);
    let tables = ["public.orders".to_owned(), "customers".to_owned()];
    for number in 0..3_000 {
        let tables = if number == 1_500 { &tables[..] } else { &[] };
        lane.append(&[attempt(number, text(number), tables), outcome(number)])
            .expect("the disk is well");
    }
    drop((lane, journal));
    let journal = open(dir.path());
    let reader = journal.reader();
    let count = |filter: LogFilter| pages(&reader, filter).len();
    let by_table = |name: &str| LogFilter {
        table: Some(name.to_owned()),
        ..LogFilter::default()
    };
    let check = || {
        for (name, found) in [
            ("orders", 1),
            ("public.orders", 1),
            ("customers", 1),
            ("public.customers", 0),
        ] {
            assert_eq!(count(by_table(name)), found, "{name}");
        }
        assert_eq!(
            count(LogFilter {
                principal: Some("agent-1".to_owned()),
                ..LogFilter::default()
            }),
            3_000
        );
        assert_eq!(
            count(LogFilter {
                attempt: Some(attempt_id(77)),
                ..LogFilter::default()
            }),
            2
        );
        assert_eq!(
            count(LogFilter {
                session: Some(SESSION),
                kind: Some(Kind::Outcome),
                ..LogFilter::default()
            }),
            3_000
        );
        assert_eq!(
            count(LogFilter {
                verdict: Some("deny".to_owned()),
                ..LogFilter::default()
            }),
            0
        );
        let since = Some(begun().after(Duration::from_micros(100)));
        let until = Some(begun().after(Duration::from_micros(200)));
        assert_eq!(
            count(LogFilter {
                since,
                until,
                ..LogFilter::default()
            }),
            200
        );
        let order = Order::OldestFirst;
        assert_eq!(
            count(LogFilter {
                since,
                until,
                order,
                ..LogFilter::default()
            }),
            200
        );
    };
    check();
    assert!(reader.catch_up(|| false).expect("it is built") <= 20);
    assert_eq!(reader.catch_up(|| false).expect("it is built"), 0);
    check();
    // A ruined index is built again.
    drop((reader, journal));
    let folder = settings(dir.path()).dir;
    let ruin = "no database at all, though long enough to be looked at as one ".repeat(99);
    fs::write(folder.join(index::FILE_NAME), ruin).expect("it is there");
    for rest in ["index.sqlite-wal", "index.sqlite-shm"] {
        if folder.join(rest).exists() {
            fs::remove_file(folder.join(rest)).expect("it is there");
        }
    }
    let reader = Reader::open(&settings(dir.path()).dir);
    assert_eq!(pages(&reader, by_table("orders")).len(), 1);
    let built = reader.catch_up(|| false).expect("it is built again");
    assert!(built > 5, "{built}");
    assert_eq!(pages(&reader, by_table("orders")).len(), 1);
}

#[test]
fn a_tail_follows_every_lane_across_segments() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let journal = open(dir.path());
    let mut lanes = [journal.lane(0), journal.lane(1)];
    let mut tail = journal
        .reader()
        .tail(TailFrom::Start, LogFilter::default())
        .expect("whole");
    let mut late = journal
        .reader()
        .tail(TailFrom::End, LogFilter::default())
        .expect("whole");
    let (mut seen, mut seen_late) = (Vec::new(), Vec::new());
    for number in 0..2_000 {
        let entries = [attempt(number, text(number), &[]), outcome(number)];
        lanes[(number % 2) as usize]
            .append(&entries)
            .expect("the disk is well");
        if number % 100 == 0 {
            seen.extend(tail.next_batch(150).expect("whole"));
            seen_late.extend(late.next_batch(10_000).expect("whole"));
        }
    }
    wait_until("all has been followed", || {
        seen.extend(tail.next_batch(1_000).expect("whole"));
        seen_late.extend(late.next_batch(1_000).expect("whole"));
        seen.len() >= 4_001 && seen_late.len() >= 4_000
    });
    check_truthful(&seen);
    assert_eq!((seen.len(), seen_late.len()), (4_001, 4_000));
}

#[test]
fn a_record_that_is_too_large_is_refused_alone() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let journal = open(dir.path());
    let mut lane = journal.lane(0);
    let huge = "x".repeat(17 << 20);
    let refused = lane.append(&[attempt(1, &huge, &[])]);
    assert!(matches!(refused, Err(JournalError::TooLarge { .. })));
    let large = "x".repeat(1 << 20);
    lane.append(&[attempt(2, &large, &[]), outcome(2)])
        .expect("a large text fits in a segment of its own");
    let reader = journal.reader();
    let found = pages(
        &reader,
        LogFilter {
            attempt: Some(attempt_id(2)),
            ..LogFilter::default()
        },
    );
    assert_eq!(
        found
            .iter()
            .filter_map(|record| record.fields.text_bytes)
            .sum::<u64>(),
        1 << 20
    );
}

#[test]
fn a_page_of_long_statements_ends_early_and_goes_on() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let journal = open(dir.path());
    let mut lane = journal.lane(0);
    let long = "x".repeat(1 << 20);
    for number in 0..20 {
        lane.append(&[attempt(number, &long, &[])])
            .expect("the disk is well");
    }
    let filter = LogFilter {
        kind: Some(Kind::Attempt),
        ..LogFilter::default()
    };
    let first = journal.reader().query(&filter).expect("whole");
    assert_eq!(first.records.len(), 16);
    assert_eq!(pages(&journal.reader(), filter).len(), 20);
    let mut tail = journal
        .reader()
        .tail(TailFrom::Start, LogFilter::default())
        .expect("whole");
    let mut followed = tail.next_batch(1_000).expect("whole");
    assert!(followed.len() < 20);
    for _ in 0..10 {
        followed.extend(tail.next_batch(1_000).expect("whole"));
    }
    assert_eq!(
        followed
            .iter()
            .filter(|record| record.kind == Kind::Attempt)
            .count(),
        20
    );
}

#[test]
fn a_scripted_fault_holds_while_its_line_is_there() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let script = dir.path().join("faults");
    let journal = Journal::open_on(
        settings(dir.path()),
        Disk::with_faults(Faults::from_script(script.clone())),
    );
    let journal = journal.expect("no fault holds yet");
    let mut lane = journal.lane(0);
    fs::write(&script, "fail-sync\n").expect("the script");
    let recorded = lane.append(&[attempt(1, text(1), &[])]).expect("writing works");
    assert!(matches!(
        lane.sync_blocking(&recorded),
        Err(JournalError::Sync { .. })
    ));
    fs::write(&script, "full\n").expect("the script");
    assert!(matches!(
        lane.append(&[attempt(2, text(2), &[])]),
        Err(JournalError::Write { .. })
    ));
    fs::remove_file(&script).expect("the script");
    lane.sync_blocking(&recorded).expect("the disk is well again");
    let list = fs::read_to_string(dir.path().join("faults.synced")).expect("syncs are listed");
    let synced = |line: &str| {
        line.split_once(' ')
            .is_some_and(|(bytes, path)| bytes != "0" && path.ends_with(".seg"))
    };
    assert!(list.lines().any(synced), "{list}");
}
