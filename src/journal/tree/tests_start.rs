//! What the start does with a log that somebody cut or changed: it refuses, and signs nothing of it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::files::{notes, read_if_there};
use super::tests::{
    copy, forge, going_on, is_record, last_boot_detail, open, recorded, scratch, segments, settings,
    verified, write, write_at, write_late,
};
use super::*;
use crate::audit::merkle::Edge;
use crate::journal::segment::{Cut, Frames, Header};
use crate::journal::{Journal, JournalError, Settings};

/// Leaves the first `count` checkpoints.
fn keep_notes(dir: &Path, count: usize) {
    let path = Folder::of(&settings(dir).dir).file(CHECKPOINTS_FILE);
    let whole = fs::read_to_string(&path).expect("notes");
    let end = notes(&whole).take(count).last().map_or(0, |(_, end)| end);
    fs::write(&path, &whole[..end]).expect("fewer notes");
}

fn note_count(dir: &Path) -> usize {
    let path = Folder::of(&settings(dir).dir).file(CHECKPOINTS_FILE);
    notes(&fs::read_to_string(path).expect("notes")).count()
}

/// Puts an earlier checkpoint where the newest is kept outside the tree.
fn turn_trace_back(dir: &Path, place: usize) {
    let path = Folder::of(&settings(dir).dir).file(CHECKPOINTS_FILE);
    let whole = fs::read_to_string(path).expect("notes");
    let (note, _) = notes(&whole).nth(place).expect("so many");
    fs::write(dir.join(TRACE_FILE), note).expect("an older note");
}

fn remove_tree(dir: &Path) {
    fs::remove_dir_all(Folder::of(&settings(dir).dir).path()).expect("the tree");
}

fn forget_marks(dir: &Path) {
    fs::remove_file(settings(dir).dir.join("durable")).expect("it was there");
}

fn refusal(dir: &Path) -> JournalError {
    Journal::open(settings(dir)).expect_err("it was cut")
}

#[test]
fn checkpoints_that_were_cut_off_are_missed_at_the_start() {
    let dir = scratch();
    recorded(dir.path(), 240);
    let whole = note_count(dir.path());
    for left in 0..whole {
        let cut = scratch();
        copy(dir.path(), cut.path());
        keep_notes(cut.path(), left);
        let before = fs::read(Folder::of(&settings(cut.path()).dir).file(RUNS_FILE)).expect("runs");
        let error = refusal(cut.path());
        assert!(
            matches!(error, JournalError::Contradicted { .. }),
            "{left}: {error}"
        );
        assert!(error.next_step().contains("--accept-loss"));
        // What is refused is left as it was, for whoever looks into it.
        let after = fs::read(Folder::of(&settings(cut.path()).dir).file(RUNS_FILE)).expect("runs");
        assert_eq!(before, after);
        assert_eq!(note_count(cut.path()), left);
    }
    drop(open(dir.path()));
}

#[test]
fn log_without_its_tree_is_signed_anew_only_if_nothing_was_ever_signed() {
    let dir = scratch();
    recorded(dir.path(), 60);
    let secret = fs::read(dir.path().join(SIGNING_KEY_FILE)).expect("a key");
    let without = |files: &[&str]| {
        let cut = scratch();
        copy(dir.path(), cut.path());
        remove_tree(cut.path());
        for file in files {
            fs::remove_file(cut.path().join(file)).expect("it was there");
        }
        cut
    };
    for files in [&[][..], &[TRACE_FILE], &[TRACE_FILE, PUBLIC_KEY_FILE]] {
        let error = refusal(without(files).path());
        assert!(
            matches!(error, JournalError::Contradicted { .. }),
            "{files:?}: {error}"
        );
    }
    let all = [TRACE_FILE, PUBLIC_KEY_FILE, SIGNING_KEY_FILE];
    for files in [&[SIGNING_KEY_FILE][..], &[SIGNING_KEY_FILE, TRACE_FILE], &all] {
        let cut = without(files);
        let error = refusal(cut.path());
        assert!(
            matches!(error, JournalError::KeyMissing { .. }),
            "{files:?}: {error}"
        );
        assert!(!cut.path().join(SIGNING_KEY_FILE).exists(), "no new key is made");
    }
    // A folder from before there was a tree: no boot record speaks of checkpoints.
    let older = without(&all);
    forget_marks(older.path());
    for segment in segments(older.path()) {
        if segment.to_string_lossy().contains("lane-65535") {
            fs::remove_file(segment).expect("it was there");
        }
    }
    drop(open(older.path()));
    let report = verified(older.path());
    assert_eq!((report.finding, report.unsigned), (None, 0));
    assert!(report.hashed > 100);
    assert_ne!(
        fs::read(older.path().join(SIGNING_KEY_FILE)).expect("a new key"),
        secret
    );
}

#[test]
fn trace_that_is_gone_or_of_another_log_is_missed_at_the_start() {
    let dir = scratch();
    recorded(dir.path(), 30);
    let other = scratch();
    recorded(other.path(), 30);
    let trace = dir.path().join(TRACE_FILE);
    for wrong in [
        fs::read(other.path().join(TRACE_FILE)).expect("a note"),
        Vec::new(),
        b"no note".to_vec(),
    ] {
        fs::write(&trace, wrong).expect("another");
        let error = refusal(dir.path());
        assert!(matches!(&error, JournalError::Contradicted { file, .. } if *file == trace));
        assert!(verified(dir.path()).finding.is_some());
    }
    fs::remove_file(&trace).expect("it was there");
    let error = refusal(dir.path());
    assert!(matches!(&error, JournalError::Contradicted { file, .. } if *file == trace));
}

#[test]
fn tail_that_should_have_been_signed_is_refused_and_accepted_on_purpose_only() {
    let dir = scratch();
    drop(open(dir.path()));
    let before = note_count(dir.path());
    for (number, late) in [(1, 0), (2, 70), (3, 140)] {
        let journal = open(dir.path());
        write_late(&mut journal.lane(0), number, Duration::from_secs(late));
    }
    // Records of 140 s stay, and what was signed of them goes, everywhere.
    let tampered = scratch();
    copy(dir.path(), tampered.path());
    turn_trace_back(tampered.path(), before - 1);
    keep_notes(tampered.path(), before);
    for segment in segments(tampered.path()) {
        // The boot records that speak of more: all but the first.
        let name = segment.to_string_lossy().into_owned();
        if name.contains("lane-65535") && !name.ends_with("000000000000.seg") {
            fs::remove_file(segment).expect("it was there");
        }
    }
    forget_marks(tampered.path());
    let finding = verified(tampered.path()).finding.expect("it is too old");
    assert!(
        finding.what.contains("settled") || finding.what.contains("are not signed"),
        "{finding:?}"
    );
    let error = refusal(tampered.path());
    assert!(matches!(error, JournalError::Unsigned { .. }), "{error}");
    drop(Journal::open(going_on(tampered.path())).expect("somebody looked"));
    let report = verified(tampered.path());
    assert_eq!((report.finding, report.set_aside), (None, 0));
    let detail = last_boot_detail(tampered.path());
    assert!(
        detail.contains("somebody looked") && detail.contains("never signed"),
        "{detail}"
    );
    drop(open(tampered.path()));
}

#[test]
fn tail_of_a_minute_is_signed_at_the_start() {
    let dir = scratch();
    let journal = open(dir.path());
    write_late(&mut journal.lane(0), 1, Duration::ZERO);
    write_late(&mut journal.lane(1), 2, Duration::from_secs(61));
    let killed = scratch();
    // Killed, not closed: what a checkpoint speaks of is copied after it.
    fs::create_dir_all(settings(killed.path()).dir).expect("a folder");
    for file in [TRACE_FILE, SIGNING_KEY_FILE, PUBLIC_KEY_FILE] {
        fs::copy(dir.path().join(file), killed.path().join(file)).expect("a copy");
    }
    std::thread::sleep(Duration::from_millis(500));
    copy(&settings(dir.path()).dir, &settings(killed.path()).dir);
    drop(journal);
    let left = open(killed.path());
    let signed = left.tree().signed.map(|(size, _)| size);
    // A boot record, two attempts and their results.
    assert!(signed >= Some(5), "{signed:?}");
    drop(left);
    assert_eq!(verified(killed.path()).finding, None);
}

/// A log that was left alone for a while: all that it holds is a checkpoint of then.
fn idle_since(dir: &Path, time: Timestamp) {
    let folder = Folder::of(&settings(dir).dir);
    fs::create_dir_all(folder.path()).expect("a folder");
    let key = key::make(dir, None).expect("a key");
    key::keep(dir, key.public()).expect("it has its name");
    let signed = key.sign(0, Edge::default().root(), time);
    fs::write(folder.file(CHECKPOINTS_FILE), format!("{}\n", signed.note)).expect("a note");
    trace::write(dir, &signed).expect("a trace");
}

/// A person was added offline; minutes later the proxy is started, writes that down and is killed at once.
#[test]
fn start_is_signed_before_anything_is_written_so_that_old_events_never_look_left_unsigned() {
    let minutes_ago = |minutes: i64| Timestamp::from_micros(Timestamp::now().micros() - minutes * 60_000_000);
    let dir = scratch();
    idle_since(dir.path(), minutes_ago(10));
    let journal = open(dir.path());
    let signed = journal.tree().signed.map(|(size, _)| size);
    assert_eq!(signed, Some(1), "the boot record");
    // Nothing is new in the tree, so it stands still while it is copied; what is written now is not signed yet.
    let killed = scratch();
    copy(dir.path(), killed.path());
    write_at(&mut journal.lane(0), 1, minutes_ago(5));
    for segment in segments(dir.path()) {
        let name = segment.file_name().expect("a name");
        fs::copy(&segment, settings(killed.path()).dir.join(name)).expect("a copy");
    }
    drop(journal);
    let report = verified(killed.path());
    assert_eq!((report.finding, report.hashed, report.unsigned), (None, 1, 2));
    drop(open(killed.path()));
    assert_eq!(verified(killed.path()).finding, None);
}

#[test]
fn anchor_that_was_emptied_or_cut_is_refused() {
    let dir = scratch();
    let file = dir.path().join("anchor");
    let anchored = || Settings {
        anchors: vec![Anchor::File(file.clone())],
        ..settings(dir.path())
    };
    for number in 0..3 {
        let journal = Journal::open(anchored()).expect("it goes on");
        write(&mut journal.lane(0), number);
    }
    let whole = fs::read_to_string(&file).expect("notes");
    let before_last = notes(&whole).count() - 1;
    let (_, end) = notes(&whole).take(before_last).last().expect("several");
    for left in [0, end] {
        fs::write(&file, &whole[..left]).expect("shorter");
        let error = Journal::open(anchored()).expect_err("it took more");
        assert!(matches!(&error, JournalError::Contradicted { file: named, .. } if *named == file));
    }
    fs::remove_file(&file).expect("it was there");
    let error = Journal::open(anchored()).expect_err("it took more");
    assert!(error.to_string().contains("not mounted"), "{error}");
    fs::write(&file, &whole).expect("as it was");
    drop(Journal::open(anchored()).expect("it is whole again"));
}

/// How to hide a DROP: put back everything as it was before. Nothing in the folder can tell; an anchor can.
#[test]
fn data_folder_turned_back_whole_is_found_by_an_anchor_and_in_part_by_itself() {
    let dir = scratch();
    let file = scratch();
    let anchor = file.path().join("anchor");
    let anchored = || Settings {
        anchors: vec![Anchor::File(anchor.clone())],
        ..settings(dir.path())
    };
    drop(Journal::open(anchored()).expect("a new log"));
    let before = scratch();
    copy(dir.path(), before.path());
    let journal = Journal::open(anchored()).expect("it goes on");
    write(&mut journal.lane(0), 1);
    drop(journal);
    let whole = verified(dir.path());
    let turned_back = |what: &[&str]| {
        let turned = scratch();
        copy(dir.path(), turned.path());
        for name in what {
            let (from, to) = (before.path().join(name), turned.path().join(name));
            if from.is_dir() {
                fs::remove_dir_all(&to).expect("it was there");
                copy(&from, &to);
            } else {
                fs::copy(from, to).expect("a copy");
            }
        }
        turned
    };
    for part in [
        &["journal"][..],
        &[TRACE_FILE],
        &["journal/tree"],
        &["journal/tree", TRACE_FILE],
        &["journal/durable"],
    ] {
        let turned = turned_back(part);
        let refused = Journal::open(settings(turned.path())).err();
        let signs_nothing_false = verified(turned.path()).finding.is_none();
        // Beside records that are all there, what is older is what a crash leaves, too: they are signed again.
        let harmless = [
            &[TRACE_FILE][..],
            &["journal/tree", TRACE_FILE],
            &["journal/durable"],
        ];
        let is_harmless = harmless.contains(&part);
        assert_eq!(refused.is_none(), is_harmless, "{part:?}: {refused:?}");
        assert_eq!(signs_nothing_false, is_harmless, "{part:?}");
        if is_harmless {
            let report = verified(turned.path());
            assert!(report.hashed + report.unsigned >= whole.hashed, "{part:?}");
        }
    }
    let turned = turned_back(&["journal", TRACE_FILE]);
    drop(Journal::open(settings(turned.path())).expect("nothing here can tell"));
    assert_eq!(verified(turned.path()).finding, None, "nor can this");
    let told = Settings {
        anchors: vec![Anchor::File(anchor.clone())],
        ..settings(turned.path())
    };
    let error = Journal::open(told).expect_err("the anchor can");
    assert!(
        matches!(&error, JournalError::Contradicted { file, .. } if *file == anchor),
        "{error}"
    );
}

#[test]
fn key_gets_its_name_when_it_has_signed() {
    let dir = scratch();
    recorded(dir.path(), 6);
    let (key, new) = (dir.path().join(SIGNING_KEY_FILE), dir.path().join("log.key.new"));
    // Killed between the first checkpoint and the name.
    fs::rename(&key, &new).expect("renamed");
    fs::remove_file(dir.path().join(PUBLIC_KEY_FILE)).expect("it was there");
    drop(open(dir.path()));
    assert!(key.exists() && !new.exists());
    assert_eq!(verified(dir.path()).finding, None);
    // Killed before the first checkpoint.
    let fresh = scratch();
    fs::copy(&key, fresh.path().join("log.key.new")).expect("a copy");
    drop(open(fresh.path()));
    assert_eq!(verified(fresh.path()).finding, None);
}

#[test]
fn running_owner_excuses_nothing_that_it_does_not_do() {
    let dir = scratch();
    recorded(dir.path(), 30);
    keep_notes(dir.path(), note_count(dir.path()) - 1);
    fs::remove_file(dir.path().join(TRACE_FILE)).expect("it was there");
    let lock = fs::File::open(settings(dir.path()).dir.join("lock")).expect("the lock");
    lock.lock().expect("nobody else has it");
    let finding = verified(dir.path()).finding.expect("a checkpoint is gone");
    assert!(finding.what.contains("settled"), "{}", finding.what);
    remove_tree(dir.path());
    let finding = verified(dir.path()).finding.expect("the tree is gone");
    assert!(finding.what.contains("the tree is missing"), "{}", finding.what);
}

/// One thing that somebody does to a log; `false`: there was nothing to do it to.
fn tamper(dir: &Path, random: &mut SmallRng) -> bool {
    let all = segments(dir);
    let place = random.random_range(0..all.len());
    let mut is_done = true;
    // Only what is still whole can be written anew.
    let first = if all.iter().all(|path| can_be_taken_apart(path)) {
        0
    } else {
        3
    };
    match random.random_range(first..10) {
        0 => forge(dir, place, |payloads| {
            let Some(last) = payloads.iter_mut().rfind(|payload| is_record(payload)) else {
                is_done = false;
                return;
            };
            let at = random.random_range(0..last.len());
            last[at] ^= 1 << random.random_range(0..8);
        }),
        1 => forge(dir, place, |payloads| is_done = payloads.pop().is_some()),
        2 => forge(dir, place, |payloads| {
            let records: Vec<usize> = (0..payloads.len())
                .filter(|at| is_record(&payloads[*at]))
                .collect();
            is_done = records.len() > 1;
            if is_done {
                payloads.swap(records[0], records[records.len() - 1]);
            }
        }),
        3 => fs::remove_file(&all[place]).expect("it was there"),
        4 => {
            let bytes = fs::read(&all[place]).expect("a segment");
            let length = random.random_range(0..bytes.len() * 3 / 4);
            fs::write(&all[place], &bytes[..length]).expect("shorter");
        }
        5 => keep_notes(dir, random.random_range(0..note_count(dir))),
        6 => remove_tree(dir),
        7 => {
            let path = Folder::of(&settings(dir).dir).file(RUNS_FILE);
            let bytes = fs::read(&path).expect("runs");
            let runs = random.random_range(0..bytes.len() / 32);
            fs::write(&path, &bytes[..runs * 32]).expect("fewer");
        }
        8 => turn_trace_back(dir, random.random_range(0..note_count(dir) - 1)),
        _ => forget_marks(dir),
    }
    is_done
}

fn can_be_taken_apart(path: &Path) -> bool {
    let bytes = fs::read(path).expect("a segment");
    let Some((_, checksum)) = Header::decode(&bytes) else {
        return false;
    };
    let mut frames = Frames::behind_header(&bytes, checksum);
    loop {
        match frames.cut() {
            Cut::Record { .. } => {}
            Cut::Seal | Cut::End => return true,
            Cut::Bad(_) => return false,
        }
    }
}

#[test]
fn nothing_that_was_tampered_with_at_random_is_started_and_signed_over() {
    let dir = scratch();
    recorded(dir.path(), 240);
    let roots: Vec<String> = {
        let path = Folder::of(&settings(dir.path()).dir).file(CHECKPOINTS_FILE);
        let whole = fs::read_to_string(path).expect("notes");
        notes(&whole).map(|(note, _)| note.to_owned()).collect()
    };
    let mut refused = 0;
    for seed in 0..150 {
        let mut random = SmallRng::seed_from_u64(seed);
        let tampered = scratch();
        copy(dir.path(), tampered.path());
        // Each is possible once the ones before it were done.
        for _ in 0..random.random_range(1..4) {
            let path = Folder::of(&settings(tampered.path()).dir).file(CHECKPOINTS_FILE);
            let has_notes = read_if_there(&path).is_ok_and(|bytes| !bytes.is_empty());
            let has_marks = settings(tampered.path()).dir.join("durable").exists();
            if !has_notes || note_count(tampered.path()) < 2 || !has_marks || !runs_are_there(tampered.path())
            {
                break;
            }
            tamper(tampered.path(), &mut random);
        }
        let Ok(journal) = Journal::open(settings(tampered.path())) else {
            refused += 1;
            continue;
        };
        drop(journal);
        // Whatever is started holds all that was signed, or says so afterwards.
        let report = verified(tampered.path());
        let path = Folder::of(&settings(tampered.path()).dir).file(CHECKPOINTS_FILE);
        let now = fs::read_to_string(path).expect("notes");
        let holds_all = roots.iter().all(|note| now.contains(note.as_str()));
        assert!(
            report.finding.is_some() || holds_all && report.hashed > roots.len() as u64,
            "seed {seed}: it was started, and {} records are signed now",
            report.hashed
        );
    }
    // What is left are older traces and marks beside a whole log, which harm nothing.
    assert!(refused > 90, "{refused} of 150 were refused");
}

fn runs_are_there(dir: &Path) -> bool {
    let path = Folder::of(&settings(dir).dir).file(RUNS_FILE);
    fs::metadata(path).is_ok_and(|file| file.len() >= 64)
}
