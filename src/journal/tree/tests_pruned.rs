//! A log whose beginning is gone by retention: what stays is proved, what is missing is said, and nobody hides a deletion
//! behind it.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::files::Runs;
use super::proof::{self, ProofError};
use super::pruned::{BLOCK_LEAVES, Pruned};
use super::tests::{
    copy, forge, going_on, is_record, put_together, request, scratch, segments, settings, verified, write_at,
};
use super::verify::{Finding, Request, verify};
use super::*;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::merkle::{Edge, leaf_hash};
use crate::audit::{Body, Entry, Kind, Pruning, RecordId};
use crate::journal::prune::{NotPruned, Pruner, Step};
use crate::journal::segment::Header;
use crate::journal::{JOURNAL_LANE, Journal, JournalError, LogFilter, OnLoss, Order, Reader, Settings};

const DAY: Duration = Duration::from_secs(86_400);
const RETENTION: Duration = Duration::from_secs(30 * 86_400);
/// Two whole blocks of old records and some more.
const OLD_STATEMENTS: u64 = 4_700;
const GONE: u64 = 2 * BLOCK_LEAVES;

fn long_ago() -> Timestamp {
    ago(500)
}

fn ago(days: u32) -> Timestamp {
    let micros = i64::try_from((DAY * days).as_micros()).expect("some days");
    Timestamp::from_micros(Timestamp::now().micros() - micros)
}

fn next_month() -> Timestamp {
    Timestamp::now().after(40 * DAY)
}

fn keeping(dir: &Path, now: fn() -> Timestamp) -> Settings {
    Settings {
        retention: Some(RETENTION),
        now,
        ..settings(dir)
    }
}

/// Writes statements at a time, in three lanes, and signs them then.
fn recorded_at(dir: &Path, now: fn() -> Timestamp, statements: std::ops::Range<u64>) {
    let journal = Journal::open(Settings { now, ..settings(dir) });
    let journal = journal.expect("an empty or whole folder opens");
    let mut lanes: Vec<_> = (0..3).map(|number| journal.lane(number)).collect();
    for number in statements {
        write_at(&mut lanes[(number % 3) as usize], number, now());
    }
}

/// A log of records that are past retention and some that are not; made once.
fn aged() -> &'static Path {
    static AGED: OnceLock<tempfile::TempDir> = OnceLock::new();
    AGED.get_or_init(|| {
        let dir = scratch();
        recorded_at(dir.path(), long_ago, 0..10);
        recorded_at(dir.path(), long_ago, 10..OLD_STATEMENTS);
        recorded_at(dir.path(), Timestamp::now, OLD_STATEMENTS..OLD_STATEMENTS + 300);
        dir
    })
    .path()
}

/// The same without what is past retention, closed.
fn pruned() -> tempfile::TempDir {
    static PRUNED: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = PRUNED.get_or_init(|| {
        let dir = scratch();
        copy(aged(), dir.path());
        prune(dir.path(), Timestamp::now).expect("two blocks are past retention");
        dir
    });
    let dir = scratch();
    copy(made.path(), dir.path());
    dir
}

/// Opens the log, prunes it and closes it again.
fn prune(dir: &Path, now: fn() -> Timestamp) -> Option<Pruned> {
    let journal = Journal::open(Settings {
        retention: None,
        ..keeping(dir, now)
    });
    let journal = journal.expect("it opens");
    let pruner = Pruner::new(&journal.owner.shared, &journal.owner.tree, RETENTION);
    pruner.prune(|_| {}).expect("the disk is well")
}

fn gone(dir: &Path) -> Pruned {
    Pruned::of(&settings(dir).dir).expect("it is whole")
}

fn all(dir: &Path) -> Vec<RecordId> {
    let mut ids = Vec::new();
    let filter = LogFilter {
        order: Order::OldestFirst,
        ..LogFilter::default()
    };
    let reader = Reader::open(&settings(dir).dir);
    let read = reader.each(
        &filter,
        || false,
        |record| {
            ids.extend(record.id);
            true
        },
    );
    read.expect("the log is whole");
    ids
}

fn finding(dir: &Path) -> Finding {
    verified(dir).finding.expect("something was changed")
}

#[test]
fn what_stays_is_proved_and_what_is_gone_is_said() {
    let before = all(aged());
    let dir = pruned();
    let (report, gone) = (verified(dir.path()), gone(dir.path()));
    assert_eq!(report.finding, None);
    assert_eq!(report.pruned.map(|(records, _)| records), Some(GONE));
    let size = report.last.expect("it was closed").size;
    assert_eq!(report.hashed, size - GONE);
    assert!(
        report.uncompared > 0,
        "checkpoints of before have no root any more"
    );
    assert!(segments(dir.path()).len() * 2 < segments(aged()).len());
    let hashes = fs::read(Folder::of(&settings(dir.path()).dir).level(0)).expect("hashes");
    assert!(hashes[..GONE as usize * 32].iter().all(|byte| *byte == 0));
    assert!(hashes[GONE as usize * 32..].iter().any(|byte| *byte != 0));
    // Nobody is shown what is gone, though a segment may still hold it; and everything else has the id it had.
    let reader = Reader::open(&settings(dir.path()).dir);
    let after = all(dir.path());
    let kept: Vec<_> = before.iter().filter(|id| !gone.holds(**id)).collect();
    assert_eq!(before.len() - kept.len(), GONE as usize);
    assert!(kept.iter().all(|id| after.contains(id)));
    assert!(after.iter().all(|id| !gone.holds(*id)));
    for id in before.iter().step_by(97) {
        let (shown, proof) = (reader.show(*id), proof_of(dir.path(), *id));
        if gone.holds(*id) {
            let error = shown.expect_err("it is gone").to_string();
            assert!(error.contains("under retention 30d"), "{error}");
            assert!(matches!(
                proof,
                Err(ProofError::Journal(JournalError::Pruned { .. }))
            ));
        } else {
            assert_eq!(shown.expect("whole").expect("kept").id, Some(*id));
            proof.expect("it is proved");
        }
    }
    let page = reader.query(&LogFilter::default()).expect("whole");
    assert_eq!(page.pruned, None, "there is more before the end");
    let old = LogFilter {
        until: Some(ago(400)),
        order: Order::OldestFirst,
        ..LogFilter::default()
    };
    assert!(reader.query(&old).expect("whole").pruned.is_some());
    let recent = LogFilter {
        since: Some(ago(2)),
        ..LogFilter::default()
    };
    assert_eq!(reader.query(&recent).expect("whole").pruned, None);
}

fn proof_of(dir: &Path, id: RecordId) -> Result<String, ProofError> {
    proof::prove(&Reader::open(&settings(dir).dir), &proof::public_key_in(dir), id)
}

#[test]
fn a_verifier_without_our_code_agrees_and_misses_what_is_missing() {
    let dir = pruned();
    let python = || {
        std::process::Command::new("python3")
            .args(["-B", "tests/golden/verify.py"])
            .arg(dir.path())
            .output()
            .expect("python3 runs")
    };
    let done = python();
    let (said, error) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(said.contains("8192 of them pruned"), "{said} {error}");
    fs::remove_file(&segments(dir.path())[0]).expect("it was there");
    assert!(!python().status.success());
}

#[test]
fn pruned_log_goes_on_and_is_pruned_again_by_the_newest_record() {
    let dir = pruned();
    recorded_at(dir.path(), Timestamp::now, 10_000..14_000);
    assert_eq!(verified(dir.path()).finding, None);
    assert_eq!(prune(dir.path(), Timestamp::now), None, "the rest is younger");
    let first = gone(dir.path()).said.expect("a record says so");
    let again = prune(dir.path(), next_month).expect("now it is older");
    assert!(
        again.leaves > first.leaf,
        "the record of the first pruning went with the others"
    );
    let last = again.said.expect("a record says so");
    assert_eq!((last.oldest, last.record.lane), (first.oldest, first.record.lane));
    let report = verified(dir.path());
    // This machine's clock is a month behind that of whoever pruned.
    let what = report.finding.expect("its time has not come").what;
    assert!(what.contains("by this machine's clock"), "{what}");
    assert!(all(dir.path()).contains(&last.record));
    Journal::open(settings(dir.path())).expect("the start believes the record");
}

#[test]
fn killed_between_any_two_steps_the_log_is_whole_and_pruned_the_next_time() {
    let dir = scratch();
    copy(aged(), dir.path());
    let mut killed = Vec::new();
    {
        let journal = Journal::open(settings(dir.path())).expect("it opens");
        let pruner = Pruner::new(&journal.owner.shared, &journal.owner.tree, RETENTION);
        let done = pruner.prune(|step| {
            killed.push((step, as_killed(dir.path())));
        });
        assert_eq!(
            done.expect("the disk is well").map(|done| done.leaves),
            Some(GONE)
        );
    }
    let steps: Vec<Step> = killed.iter().map(|(step, _)| *step).collect();
    let expected = [
        Step::Prepared,
        Step::Recorded,
        Step::Signed,
        Step::Committed,
        Step::Wiped,
        Step::Removed,
    ];
    assert_eq!(steps, expected);
    for (step, side) in killed {
        let before = segments(side.path()).len();
        let settings = match step {
            // Its record may not be signed yet, and is believed under the same retention alone; which prunes at once.
            Step::Recorded => keeping(side.path(), Timestamp::now),
            _ => settings(side.path()),
        };
        drop(Journal::open(settings).unwrap_or_else(|error| panic!("{step:?}: {error}")));
        let report = verified(side.path());
        assert_eq!(report.finding, None, "{step:?}");
        let is_gone = match step {
            Step::Recorded => report.pruned.is_some(),
            _ => matches!(step, Step::Committed | Step::Wiped | Step::Removed),
        };
        assert_eq!(report.pruned.is_some(), is_gone, "{step:?}");
        if matches!(step, Step::Committed | Step::Wiped) {
            assert!(
                segments(side.path()).len() < before,
                "{step:?}: the start does the rest"
            );
        }
        let again = prune(side.path(), Timestamp::now);
        assert_eq!(again.is_some(), !is_gone, "{step:?}");
        let report = verified(side.path());
        assert_eq!(report.finding, None, "{step:?}");
        assert_eq!(report.pruned.map(|(records, _)| records), Some(GONE), "{step:?}");
    }
}

/// The folder as a kill leaves it: nothing was signed while it was copied.
fn as_killed(dir: &Path) -> tempfile::TempDir {
    let folder = Folder::of(&settings(dir).dir);
    let signed = || {
        let files = [
            dir.join(TRACE_FILE),
            folder.file(CHECKPOINTS_FILE),
            folder.file(RUNS_FILE),
        ];
        (
            files.map(|file| fs::read(file).expect("a file")),
            fs::metadata(folder.level(0)).expect("hashes").len(),
        )
    };
    loop {
        let (before, side) = (signed(), scratch());
        copy(dir, side.path());
        if signed() == before {
            return side;
        }
    }
}

#[test]
fn open_journal_prunes_by_itself_and_its_status_and_index_know() {
    let dir = scratch();
    copy(aged(), dir.path());
    let reader = Reader::open(&settings(dir.path()).dir);
    reader.catch_up(|| false).expect("the index is built");
    let known = reader.index.known().len();
    let journal = Journal::open(keeping(dir.path(), Timestamp::now)).expect("it opens");
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while journal.tree().pruned == 0 || journal.tree().oldest.is_none() {
        assert!(std::time::Instant::now() < end, "never pruned");
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = journal.tree();
    assert_eq!((status.pruned, status.retention), (GONE, Some(RETENTION)));
    let gone = gone(dir.path());
    // Some of the oldest block that is not whole stay.
    assert!(status.oldest > gone.said.map(|said| said.oldest));
    let reader = journal.reader();
    reader.catch_up(|| false).expect("the index is kept");
    let left = reader.index.known();
    assert!(
        left.len() < known
            && left
                .keys()
                .all(|(lane, segment)| *segment >= gone.begin(*lane).segment)
    );
    drop(journal);
    assert_eq!(verified(dir.path()).finding, None);
}

#[test]
fn evidence_is_refused_for_a_period_that_is_gone_and_made_of_one_that_is_kept() {
    let dir = pruned();
    let (journal, key) = (settings(dir.path()).dir, proof::public_key_in(dir.path()));
    let error = span::Span::find(&journal, &key, ago(600), ago(400)).expect_err("it is gone");
    assert!(matches!(error, span::SpanError::Pruned { .. }), "{error}");
    let span = span::Span::find(&journal, &key, ago(300), Timestamp::now()).expect("it is kept");
    let mut leaves = 0;
    let read = span.each(|leaf| {
        assert!(leaf.leaf >= GONE);
        leaves += 1;
        Ok::<(), JournalError>(())
    });
    read.expect("the log is whole");
    assert!(leaves > 600, "{leaves}");
}

/// Puts a record behind the last checkpoint that says that two blocks were pruned, as whoever can write to the folder can;
/// beside a process that has pruned nothing.
fn say_pruned(dir: &Path, retention: &str) {
    let journal = Journal::open(settings(dir)).expect("it opens");
    let mut lane = journal.lane(JOURNAL_LANE);
    let entry = Entry {
        time: Timestamp::now(),
        session: None,
        body: Body::Pruned(Pruning {
            by: "countersign",
            retention,
            leaves: GONE,
            now: GONE,
            segments: 1,
            oldest: ago(500),
            newest: ago(500),
            roots_sha256: [7; 32],
        }),
    };
    let recorded = lane.append(&[entry]).expect("written");
    lane.sync_blocking(&recorded).expect("on disk");
    drop(lane);
    let before = journal.tree().signed;
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(
        journal.tree().signed,
        before,
        "it was signed beside a running process"
    );
}

#[test]
fn record_of_a_pruning_that_nobody_did_is_not_signed() {
    let dir = scratch();
    copy(aged(), dir.path());
    say_pruned(dir.path(), "1d");
    let with = |retention| Settings {
        retention,
        ..settings(dir.path())
    };
    for retention in [None, Some(RETENTION)] {
        let Err(error) = Journal::open(with(retention)) else {
            panic!("it was opened under {retention:?}");
        };
        assert!(matches!(error, JournalError::Contradicted { .. }), "{error}");
        assert!(
            error.to_string().contains("says that records were pruned"),
            "{error}"
        );
    }
    let report = verified(dir.path());
    assert_eq!((report.finding, report.unsigned), (None, 1), "it stays unsigned");
    // Somebody looks, and has in the log what they go on with.
    let reason = "the record was looked at".to_owned();
    let journal = Journal::open(Settings {
        on_loss: OnLoss::Record { reason },
        ..settings(dir.path())
    });
    drop(journal.expect("it goes on"));
    let filter = LogFilter {
        limit: 1,
        ..LogFilter::default()
    };
    let newest = Reader::open(&settings(dir.path()).dir)
        .query(&filter)
        .expect("whole");
    let detail = newest.records[0].fields.detail.clone().expect("a boot record");
    assert!(detail.contains("says that records were pruned"), "{detail}");
}

#[test]
fn pruning_under_a_shorter_retention_than_was_asked_for_is_found() {
    let dir = pruned();
    let asked = |days: u32| {
        let request = Request {
            retention: Some(DAY * days),
            ..request(dir.path())
        };
        verify(&request, |_, _| {}).expect("readable").finding
    };
    assert_eq!(asked(30), None);
    let what = asked(31).expect("it is shorter").what;
    assert!(
        what.contains("kept for 30d, and are to be kept for 31d"),
        "{what}"
    );
}

/// The attack is found, and such a log is not started.
fn is_found(attack: &str, change: impl FnOnce(&Path)) -> Finding {
    let dir = pruned();
    change(dir.path());
    let error = Journal::open(settings(dir.path())).err();
    let finding = verified(dir.path()).finding;
    let finding = finding.unwrap_or_else(|| panic!("{attack}: nothing is found"));
    assert!(error.is_some(), "{attack}: it was started");
    finding
}

fn changed(dir: &Path, change: impl FnOnce(&mut Pruned, &mut Vec<[u8; 32]>)) {
    let folder = Folder::of(&settings(dir).dir);
    let mut pruned = Pruned::read(&folder).expect("whole");
    let mut roots = pruned.roots(&folder).expect("whole");
    change(&mut pruned, &mut roots);
    pruned.prepare(&folder, &roots).expect("written");
    Pruned::commit(&folder).expect("renamed");
}

/// Of a segment that is kept for its younger records; which of them it was.
fn put_in_place_of_a_hidden_result(dir: &Path, gone: &Pruned, bytes: &[u8]) -> RecordId {
    let mut replaced = None;
    for (place, segment) in segments(dir).iter().enumerate() {
        let (header, _) = Header::decode(&fs::read(segment).expect("a segment")).expect("a header");
        forge(dir, place, |payloads| {
            let records = payloads.iter_mut().filter(|payload| is_record(payload));
            for (number, payload) in (header.first_record..).zip(records) {
                let id = RecordId {
                    lane: header.lane,
                    number,
                };
                if replaced.is_none() && gone.holds(id) && payload[1] == Kind::Outcome as u8 {
                    *payload = bytes.to_owned();
                    replaced = Some(id);
                }
            }
        });
    }
    replaced.expect("a result is hidden")
}

#[test]
fn no_deletion_hides_behind_a_pruning() {
    let first = is_found(
        "a segment was removed that holds what is gone and what is not",
        |dir| {
            fs::remove_file(&segments(dir)[0]).expect("it was there");
        },
    );
    assert_eq!(
        first.record,
        Some(RecordId {
            lane: 0,
            number: gone(pruned().path()).begin(0).record
        })
    );
    is_found("a segment in the middle was removed", |dir| {
        fs::remove_file(&segments(dir)[1]).expect("it was there");
    });
    is_found("the same, and lanes begin behind it", |dir| {
        fs::remove_file(&segments(dir)[0]).expect("it was there");
        changed(dir, |pruned, _| {
            if let Some(begin) = pruned.lanes.get_mut(&0) {
                begin.segment += 1;
            }
        });
    });
    is_found("the same, and its records too", |dir| {
        fs::remove_file(&segments(dir)[0]).expect("it was there");
        changed(dir, |pruned, _| {
            if let Some(begin) = pruned.lanes.get_mut(&0) {
                begin.segment += 1;
                begin.record += 200;
            }
        });
    });
    is_found("a root was changed", |dir| {
        changed(dir, |_, roots| roots[1][0] ^= 1)
    });
    is_found("more is said to be gone", |dir| {
        changed(dir, |pruned, roots| {
            pruned.leaves += BLOCK_LEAVES;
            roots.push([7; 32]);
        });
    });
    is_found("less is said to be gone", |dir| {
        changed(dir, |pruned, roots| {
            pruned.leaves -= BLOCK_LEAVES;
            roots.truncate(1);
        });
    });
    is_found("another record is to say so", |dir| {
        changed(dir, |pruned, _| {
            if let Some(said) = &mut pruned.said {
                said.record.number -= 1;
                said.leaf -= 1;
            }
        });
    });
    is_found("it is told of another time", |dir| {
        changed(dir, |pruned, _| {
            if let Some(said) = &mut pruned.said {
                said.newest = ago(499);
            }
        });
    });
    is_found("a record that is hidden is to say so", |dir| {
        let (gone, reader) = (gone(dir), Reader::open(&settings(dir).dir));
        let said = gone.said.expect("a record says so");
        let (bytes, _) = reader.bytes_of(said.record).expect("whole").expect("it is kept");
        let id = put_in_place_of_a_hidden_result(dir, &gone, &bytes);
        let leaf = proof::leaf_in(&runs(dir).runs, id).expect("it has one");
        changed(dir, |pruned, _| {
            if let Some(said) = &mut pruned.said {
                (said.record, said.leaf) = (id, leaf);
            }
        });
    });
    is_found("more is said to be gone than is signed", |dir| {
        changed(dir, |pruned, _| pruned.leaves = 1 << 40);
    });
    is_found("nothing says what is gone", |dir| {
        fs::remove_file(Folder::of(&settings(dir).dir).file("pruned")).expect("it was there");
    });
}

#[test]
fn nobody_prunes_what_is_younger_than_its_retention() {
    let dir = scratch();
    copy(aged(), dir.path());
    let in_three_years = || Timestamp::now().after(1_100 * DAY);
    recorded_at(dir.path(), Timestamp::now, 20_000..22_500);
    prune(dir.path(), in_three_years).expect("its clock says that all is old");
    let finding = finding(dir.path());
    assert!(
        finding.what.contains("by this machine's clock"),
        "{}",
        finding.what
    );
    assert!(finding.record.is_some_and(|record| record.number == 0));
}

#[test]
fn nothing_is_pruned_that_an_anchor_has_not_taken() {
    let dir = scratch();
    copy(aged(), dir.path());
    let anchored = |anchor: &Path| Settings {
        anchors: vec![Anchor::File(anchor.to_owned())],
        ..settings(dir.path())
    };
    let journal = Journal::open(anchored(&dir.path().join("not/mounted"))).expect("it opens");
    let pruner = Pruner::new(&journal.owner.shared, &journal.owner.tree, RETENTION);
    assert_eq!(pruner.prune(|_| {}).expect("the disk is well"), None);
    drop(journal);
    let anchor = dir.path().join("anchor");
    drop(Journal::open(anchored(&anchor)).expect("it opens"));
    let early = fs::read(&anchor).expect("it has taken one");
    let journal = Journal::open(anchored(&anchor)).expect("it opens");
    let pruner = Pruner::new(&journal.owner.shared, &journal.owner.tree, RETENTION);
    assert!(pruner.prune(|_| {}).expect("the disk is well").is_some());
    drop(journal);
    let mut request = request(dir.path());
    request.anchors = vec![anchor.clone()];
    assert_eq!(verify(&request, |_, _| {}).expect("read").finding, None);
    drop(Journal::open(anchored(&anchor)).expect("it agrees"));
    // The first checkpoint is over no records, so it vouches for nothing, but can be told; one in between cannot.
    fs::write(&anchor, early).expect("turned back");
    Journal::open(anchored(&anchor)).expect_err("it took more than it holds");
    let notes = fs::read_to_string(Folder::of(&settings(dir.path()).dir).file(CHECKPOINTS_FILE));
    let old = notes.expect("notes");
    let old: Vec<&str> = super::files::notes(&old).map(|(note, _)| note).collect();
    let below = old.iter().find(|note| {
        let size = crate::audit::checkpoint::Checkpoint::unverified(note).map_or(0, |read| read.size);
        size > 0 && size < GONE && !size.is_multiple_of(BLOCK_LEAVES)
    });
    fs::write(&anchor, format!("{}\n", below.expect("the first start's"))).expect("written");
    let what = verify(&request, |_, _| {})
        .expect("read")
        .finding
        .expect("it vouches for nothing");
    assert!(what.what.contains("kept since"), "{}", what.what);
}

#[test]
fn erasing_tailing_and_counting_go_on_over_a_pruned_log() {
    let dir = pruned();
    let gone = gone(dir.path());
    let journal = Journal::open(settings(dir.path())).expect("whole");
    let reader = journal.reader();
    let first = RecordId { lane: 0, number: 0 };
    let error = journal.erasable(first).expect_err("it is gone").to_string();
    assert!(error.contains("under retention"), "{error}");
    let filter = LogFilter {
        kind: Some(Kind::Attempt),
        limit: 400,
        ..LogFilter::default()
    };
    let page = reader.query(&filter).expect("whole");
    let with_values = page
        .records
        .iter()
        .find(|record| !record.fields.parameters.is_empty());
    let id = with_values.and_then(|record| record.id).expect("one has values");
    journal.erasable(id).expect("it is signed");
    journal.erase(id).expect("it has values");
    let everything = LogFilter::default();
    reader.catch_up(|| false).expect("the index is built");
    let kept = all(dir.path()).len() as u64;
    assert_eq!(reader.facets(&everything).expect("whole").records, kept);
    let bars = reader.histogram(&everything, 60).expect("whole");
    let counted: u64 = bars
        .buckets
        .iter()
        .map(|bar| bar.allow + bar.hold + bar.deny + bar.other)
        .sum();
    assert_eq!(counted, kept);
    let mut tail = reader
        .tail(crate::journal::TailFrom::Start, everything)
        .expect("whole");
    let mut followed = 0;
    loop {
        let batch = tail.next_batch(1_000).expect("whole");
        if batch.is_empty() {
            break;
        }
        assert!(
            batch
                .iter()
                .all(|record| record.id.is_some_and(|id| !gone.holds(id)))
        );
        followed += batch.len() as u64;
    }
    assert_eq!(followed, kept);
    drop(journal);
    let report = verified(dir.path());
    assert_eq!((report.finding, report.erased), (None, 1));
}

#[test]
fn pruned_log_that_is_contradicted_goes_on_on_purpose_and_stays_readable() {
    let dir = pruned();
    let kept = all(dir.path()).len();
    changed(dir.path(), |_, roots| roots[0][0] ^= 1);
    Journal::open(settings(dir.path())).expect_err("its roots are not those that were signed");
    drop(Journal::open(going_on(dir.path())).expect("somebody looked"));
    for _ in 0..2 {
        let report = verified(dir.path());
        assert_eq!((report.finding, report.set_aside), (None, 1));
        assert!(all(dir.path()).len() > kept, "and a boot record more");
        drop(Journal::open(settings(dir.path())).expect("it is one log again"));
    }
}

#[test]
fn any_change_to_a_pruned_log_at_random_is_found() {
    let base = pruned();
    let gone_bytes = |level: u32| (GONE >> level) as usize * 32;
    for seed in 0..120 {
        let mut random = SmallRng::seed_from_u64(seed);
        let dir = scratch();
        copy(base.path(), dir.path());
        let folder = Folder::of(&settings(dir.path()).dir);
        let all = segments(dir.path());
        let files = [
            all[random.random_range(0..all.len())].clone(),
            folder.file("pruned"),
            folder.file(RUNS_FILE),
            folder.level(0),
            folder.level(8),
            folder.file(CHECKPOINTS_FILE),
        ];
        let path = &files[random.random_range(0..files.len())];
        let mut bytes = fs::read(path).expect("a file");
        // Zeros that stand where hashes stood say nothing.
        let from = match path {
            _ if *path == folder.level(0) => gone_bytes(0),
            _ if *path == folder.level(8) => gone_bytes(8),
            _ => 0,
        };
        let how = random.random_range(0..4);
        match how {
            0 => {
                let at = random.random_range(from..bytes.len());
                bytes[at] ^= 1 << random.random_range(0..8);
                fs::write(path, &bytes).expect("flipped");
            }
            1 => fs::remove_file(path).expect("it was there"),
            2 => {
                let length = random.random_range(0..bytes.len() * 3 / 4);
                fs::write(path, &bytes[..length]).expect("shorter");
            }
            _ => {
                let other = &all[(all.iter().position(|one| one == path).unwrap_or(0) + 1) % all.len()];
                let behind = fs::read(other).expect("a segment");
                fs::write(path, behind).expect("swapped");
            }
        }
        let report = verify(&request(dir.path()), |_, _| {});
        let is_found = report.as_ref().map_or(true, |report| report.finding.is_some());
        assert!(
            is_found,
            "seed {seed}: {} was changed in way {how}",
            path.display()
        );
    }
}

fn runs(dir: &Path) -> Runs {
    Runs::read(&Folder::of(&settings(dir).dir).file(RUNS_FILE)).expect("the order of the leaves")
}

/// Changes a record, and the hashes of it that nobody signs.
fn change_with_its_hashes(dir: &Path) {
    let (header, _) = Header::decode(&fs::read(&segments(dir)[0]).expect("a segment")).expect("a header");
    let (mut number, mut hash) = (header.first_record, [0; 32]);
    forge(dir, 0, |payloads| {
        let is_outcome = |payload: &Vec<u8>| payload[1] == Kind::Outcome as u8;
        let at = payloads.iter().position(is_outcome).expect("a result");
        number += payloads[..at].iter().filter(|payload| is_record(payload)).count() as u64;
        *payloads[at].last_mut().expect("it is not empty") ^= 1;
        hash = leaf_hash(&payloads[at]);
    });
    let id = RecordId {
        lane: header.lane,
        number,
    };
    let leaf = proof::leaf_in(&runs(dir).runs, id).expect("it has one") as usize;
    let folder = Folder::of(&settings(dir).dir);
    let mut leaves = fs::read(folder.level(0)).expect("hashes");
    leaves[leaf * 32..][..32].copy_from_slice(&hash);
    let first = leaf & !255;
    let (hashes, _) = leaves[first * 32..][..256 * 32].as_chunks::<32>();
    let mut edge = Edge::default();
    hashes.iter().for_each(|hash| edge.append(*hash, |_, _| {}));
    let mut parents = fs::read(folder.level(8)).expect("hashes");
    parents[first / 256 * 32..][..32].copy_from_slice(&edge.root());
    fs::write(folder.level(0), leaves).expect("hashes");
    fs::write(folder.level(8), parents).expect("hashes");
}

#[test]
fn nothing_is_pruned_that_does_not_come_to_a_signed_root() {
    let dir = scratch();
    copy(aged(), dir.path());
    let side = scratch();
    copy(aged(), side.path());
    change_with_its_hashes(side.path());
    let journal = Journal::open(settings(dir.path())).expect("it opens");
    let files = segments(dir.path());
    for (path, original) in segments(side.path()).iter().zip(segments(aged())) {
        if fs::read(path).expect("a segment") != fs::read(original).expect("a segment") {
            let name = path.file_name().expect("a name");
            fs::copy(path, settings(dir.path()).dir.join(name)).expect("put in its place");
        }
    }
    for level in [0, 8] {
        let [from, to] = [side.path(), dir.path()].map(|dir| Folder::of(&settings(dir).dir).level(level));
        let (changed, mut bytes) = (fs::read(from).expect("hashes"), fs::read(&to).expect("hashes"));
        bytes[..changed.len()].copy_from_slice(&changed);
        fs::write(to, bytes).expect("put in their place");
    }
    let pruner = Pruner::new(&journal.owner.shared, &journal.owner.tree, RETENTION);
    let error = pruner.prune(|_| {}).expect_err("a record was changed");
    assert!(matches!(error, NotPruned::Unconfirmed(_)), "{error}");
    assert_eq!(segments(dir.path()), files, "what shows it is still there");
    let filter = LogFilter {
        kind: Some(Kind::Pruned),
        ..LogFilter::default()
    };
    let said = journal.reader().query(&filter).expect("whole").records;
    assert!(said.is_empty(), "no record says that it may go");
}

#[test]
fn damage_in_an_old_segment_stops_no_start_and_leaves_nothing_unsigned() {
    let dir = scratch();
    let large = || Settings {
        segment_bytes: 64 << 10,
        ..settings(dir.path())
    };
    let size = || {
        let file = Folder::of(&settings(dir.path()).dir).file(CHECKPOINTS_FILE);
        let note = super::files::last_note(&file).expect("read").expect("a note").0;
        Checkpoint::unverified(&note).expect("a checkpoint").size
    };
    let journal = Journal::open(large()).expect("an empty folder opens");
    let mut lane = journal.lane(0);
    let entry = || Entry {
        time: Timestamp::now(),
        session: None,
        body: Body::LogQuery {
            by: "auditor-1",
            query: "",
        },
    };
    // More than a start hashes again.
    for _ in 0..140 {
        let entries: Vec<_> = (0..1_000).map(|_| entry()).collect();
        lane.append(&entries).expect("the disk is well");
    }
    drop((lane, journal));
    let before = size();
    let oldest = &segments(dir.path())[0];
    let mut bytes = fs::read(oldest).expect("a segment");
    bytes[5_000] ^= 1;
    fs::write(oldest, bytes).expect("flipped");
    let journal = Journal::open(large()).expect("what was signed is not read again at each start");
    assert_eq!(journal.tree().pruned, 0);
    drop(journal);
    assert_eq!(size(), before + 1, "the boot record is signed");
    assert!(finding(dir.path()).record.is_some(), "and `log verify` names it");
}

#[test]
fn anchor_that_was_away_while_the_log_was_pruned_stops_no_start() {
    let dir = pruned();
    let notes = fs::read_to_string(Folder::of(&settings(dir.path()).dir).file(CHECKPOINTS_FILE));
    let notes = notes.expect("notes");
    let below = super::files::notes(&notes).map(|(note, _)| note).find(|note| {
        let size = Checkpoint::unverified(note).map_or(0, |read| read.size);
        size > 0 && size < GONE && !size.is_multiple_of(BLOCK_LEAVES)
    });
    let anchor = dir.path().join("anchor");
    fs::write(&anchor, format!("{}\n", below.expect("the first start's"))).expect("written");
    let anchored = || Settings {
        anchors: vec![Anchor::File(anchor.clone())],
        ..settings(dir.path())
    };
    let held = fs::metadata(&anchor).expect("a file").len();
    drop(Journal::open(anchored()).expect("nothing can be compared, and nothing contradicts"));
    assert!(
        fs::metadata(&anchor).expect("a file").len() > held,
        "it takes what is signed since"
    );
    drop(Journal::open(anchored()).expect("it agrees"));
    fs::write(&anchor, format!("{}\n", below.expect("the first start's"))).expect("turned back");
    Journal::open(anchored()).expect_err("it had taken more");
}

#[test]
fn log_whose_oldest_kept_segment_is_lost_goes_on_on_purpose() {
    let removed: fn(&Path) = |path| fs::remove_file(path).expect("it was there");
    let torn: fn(&Path) = |path| {
        let mut bytes = fs::read(path).expect("a segment");
        bytes[20] ^= 1;
        fs::write(path, bytes).expect("flipped");
    };
    for damage in [removed, torn] {
        let dir = pruned();
        damage(&segments(dir.path())[0]);
        let error = Journal::open(settings(dir.path())).expect_err("records are lost");
        assert!(matches!(error, JournalError::Contradicted { .. }), "{error}");
        drop(Journal::open(going_on(dir.path())).expect("somebody looked"));
        let report = verified(dir.path());
        assert_eq!((report.finding, report.set_aside), (None, 1));
        drop(Journal::open(settings(dir.path())).expect("it is one log again"));
    }
}

#[test]
fn lane_that_begins_at_the_last_number_there_is_ends_in_a_finding() {
    let dir = pruned();
    let said = gone(dir.path()).said.expect("a record says so").record;
    let (bytes, _) = Reader::open(&settings(dir.path()).dir)
        .bytes_of(said)
        .expect("whole")
        .expect("it is kept");
    let header = Header {
        lane: 7,
        continues: false,
        segment: 0,
        previous: None,
        first_record: u64::MAX,
        created: ago(1),
        open_from: 0,
    };
    let name = crate::journal::segment::file_name(header.lane, header.segment);
    let file = put_together(&header, &[bytes.clone(), bytes], true);
    fs::write(settings(dir.path()).dir.join(name), file).expect("written");
    changed(dir.path(), |pruned, _| {
        let begin = super::pruned::Begin {
            segment: 0,
            record: u64::MAX,
        };
        pruned.lanes.insert(header.lane, begin);
    });
    let what = finding(dir.path()).what;
    assert!(what.contains("number"), "{what}");
    let is_itself = Header {
        previous: Some((0, 64)),
        ..header
    };
    assert_eq!(
        Header::decode(&is_itself.encode()),
        None,
        "nobody goes round in it"
    );
}
