//! The tree as it grows, and what becomes of a log that somebody changed: also when all checksums were mended.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::files::{Runs, notes};
use super::proof::{self, ProofError};
use super::verify::{Report, Request, verify};
use super::*;
use crate::audit::{
    Attempt, Body, Class, Entry, OutcomeKind, ParameterRecord, PersonsDecision, RecordId, StatementOutcome,
};
use crate::identity::principal::{AttemptId, SessionId};
use crate::journal::segment::{self, Cut, FRAME_HEAD_BYTES, Frames, Header, SEAL_BYTES};
use crate::journal::{Journal, JournalError, Lane, OnLoss, Reader, Settings};

const SESSION: SessionId = SessionId(7);
const LANES: u16 = 3;

pub fn settings(dir: &Path) -> Settings {
    Settings {
        segment_bytes: 16 << 10,
        key_dir: dir.to_owned(),
        ..Settings::in_dir(dir.join("journal"))
    }
}

pub fn open(dir: &Path) -> Journal {
    Journal::open(settings(dir)).expect("an empty or whole folder opens")
}

pub fn request(dir: &Path) -> Request {
    Request {
        journal: settings(dir).dir,
        key: None,
        key_dir: dir.to_owned(),
        anchors: Vec::new(),
        fetched: Vec::new(),
        retention: None,
    }
}

pub fn verified(dir: &Path) -> Report {
    verify(&request(dir), |_, _| {}).expect("the files can be read")
}

pub fn write(lane: &mut Lane, number: u64) {
    write_late(lane, number, Duration::ZERO);
}

/// When the first record was written.
pub fn begun() -> Timestamp {
    static BEGUN: std::sync::OnceLock<Timestamp> = std::sync::OnceLock::new();
    *BEGUN.get_or_init(Timestamp::now)
}

pub fn write_late(lane: &mut Lane, number: u64, late: Duration) {
    write_at(lane, number, begun().after(late));
}

/// Of an event of that time, however long ago.
pub fn write_at(lane: &mut Lane, number: u64, time: Timestamp) {
    let text = format!("UPDATE orders SET state = $1 WHERE id = {}", number % 9);
    let value = number.to_string();
    let parameters = [ParameterRecord {
        index: 1,
        type_oid: 23,
        type_name: "int4",
        format: "text",
        bytes: value.len() as u64,
        redacted: &[],
        value: Some(&value),
        hex: None,
    }];
    let id = AttemptId {
        session: SESSION,
        number,
    };
    let attempt = Attempt {
        id,
        principal: "agent-1",
        database: "shop",
        database_user: "app",
        text: text.as_bytes(),
        class: Class::Write,
        verdict: "allow",
        rule: "writes",
        tables: &[],
        column_labels: &[],
        fingerprint: [7; 32],
        parameters: if number.is_multiple_of(4) {
            &parameters
        } else {
            &[]
        },
        request: None,
        grant: None,
        protocol: "extended",
        claimed: &[],
        read_as: "",
    };
    let outcome = StatementOutcome {
        attempt: id,
        kind: OutcomeKind::Ran,
        rows: Some(number),
        tag: "UPDATE 1",
        sqlstate: "",
        message: "",
        request: None,
    };
    let entry = |body| Entry {
        time: time.after(Duration::from_micros(number)),
        session: Some(SESSION),
        body,
    };
    lane.append(&[entry(Body::Attempt(attempt)), entry(Body::Outcome(outcome))])
        .expect("the disk is well");
}

/// A log of several lanes, segments, starts and checkpoints, closed.
pub fn recorded(dir: &Path, statements: u64) {
    for part in 0..3 {
        let journal = open(dir);
        let mut lanes: Vec<_> = (0..LANES).map(|number| journal.lane(number)).collect();
        for number in 0..statements / 3 {
            write(
                &mut lanes[(number % u64::from(LANES)) as usize],
                part * 1_000 + number,
            );
        }
    }
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a scratch folder");
    for file in fs::read_dir(from).expect("the folder") {
        let file = file.expect("a file of it").path();
        let target = to.join(file.file_name().expect("a name"));
        if file.is_dir() {
            copy(&file, &target);
        } else {
            fs::copy(&file, &target).expect("a copy");
        }
    }
}

pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a scratch folder")
}

pub fn segments(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(settings(dir).dir).expect("the folder");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    paths.sort();
    paths
}

/// Header, payloads and whether a seal follows.
fn take_apart(bytes: &[u8]) -> (Header, Vec<Vec<u8>>, bool) {
    let (header, checksum) = Header::decode(bytes).expect("a header");
    let mut frames = Frames::behind_header(bytes, checksum);
    let mut payloads = Vec::new();
    loop {
        match frames.cut() {
            Cut::Record { payload, .. } => payloads.push(payload.to_vec()),
            Cut::Seal => return (header, payloads, true),
            Cut::End => return (header, payloads, false),
            Cut::Bad(damage) => panic!("{damage}"),
        }
    }
}

/// The same file with other payloads and every checksum right: what an attacker with our code writes.
pub fn put_together(header: &Header, payloads: &[Vec<u8>], is_sealed: bool) -> Vec<u8> {
    let mut frames = Vec::new();
    for payload in payloads {
        segment::put_frame(&mut frames, |out| out.extend_from_slice(payload));
    }
    let checksum = segment::chain(&mut frames, header.checksum());
    let mut bytes = [&header.encode()[..], &frames].concat();
    if is_sealed {
        let is_record = |payload: &&Vec<u8>| segment::Held::of(payload) == segment::Held::Record;
        let count = payloads.iter().filter(is_record).count();
        let last = payloads.last().and_then(|last| segment::time_of(last).ok());
        let last = last.unwrap_or(header.created);
        bytes.extend_from_slice(&segment::seal(checksum, count as u32, last));
    }
    bytes
}

/// Changes the one segment and mends the lengths that later ones name, so that only the tree can tell.
pub fn forge(dir: &Path, place: usize, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let paths = segments(dir);
    let path = &paths[place];
    let (header, mut payloads, is_sealed) = take_apart(&fs::read(path).expect("a segment"));
    change(&mut payloads);
    let bytes = put_together(&header, &payloads, is_sealed);
    fs::write(path, &bytes).expect("a forged segment");
    let end = bytes.len() - if is_sealed { SEAL_BYTES } else { 0 };
    for path in &paths {
        let whole = fs::read(path).expect("a segment");
        let (mut other, payloads, sealed) = take_apart(&whole);
        if other.lane == header.lane && other.previous.is_some_and(|(number, _)| number == header.segment) {
            other.previous = Some((header.segment, end as u64));
            fs::write(path, put_together(&other, &payloads, sealed)).expect("a mended header");
        }
    }
}

pub fn is_record(payload: &[u8]) -> bool {
    segment::Held::of(payload) == segment::Held::Record
}

#[test]
fn untouched_log_verifies_with_every_record_signed() {
    let dir = scratch();
    recorded(dir.path(), 300);
    let report = verified(dir.path());
    assert_eq!(report.finding, None);
    let size = report.last.expect("it was closed").size;
    // Three boots, and two records for each statement.
    assert_eq!((size, report.hashed, report.unsigned), (603, 603, 0));
    assert!(report.checkpoints >= 3);
    assert_eq!(report.regressions, 0);
    let whole =
        fs::read_to_string(Folder::of(&settings(dir.path()).dir).file(CHECKPOINTS_FILE)).expect("notes");
    assert_eq!(notes(&whole).count() as u64, report.checkpoints);
}

#[test]
fn log_verifies_while_it_is_written() {
    let dir = scratch();
    let journal = open(dir.path());
    let mut lane = journal.lane(0);
    for number in 0..2_000 {
        write(&mut lane, number);
        if number % 100 == 0 {
            let report = verified(dir.path());
            assert_eq!(report.finding, None, "after {number}");
        }
    }
}

#[test]
fn decision_is_signed_within_a_second_and_a_half() {
    let dir = scratch();
    let journal = open(dir.path());
    let wait_for = |size: u64| {
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while journal.tree().signed.is_none_or(|(signed, _)| signed < size) {
            assert!(std::time::Instant::now() < end, "never signed");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    wait_for(1);
    let decision = PersonsDecision {
        event: "",
        request: "7K3F9Q",
        decision: "deny",
        approver: "dba-1",
        reason: "no",
        channel: "cli",
        digest: [1; 32],
        scope: "",
        method: "token",
        second_factor_at: None,
    };
    let entry = Entry {
        time: Timestamp::now(),
        session: None,
        body: Body::Decision(decision),
    };
    let mut lane = journal.lane(0);
    let recorded = lane.append(&[entry]).expect("the disk is well");
    lane.sync_blocking(&recorded).expect("the disk is well");
    let start = std::time::Instant::now();
    wait_for(2);
    // A second at most, and half of one for a machine that is busy with other tests.
    assert!(
        start.elapsed() < Duration::from_millis(1_500),
        "{:?}",
        start.elapsed()
    );
    write(&mut lane, 1);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(
        journal.tree().signed.map(|(size, _)| size),
        Some(2),
        "without a decision it is not yet time"
    );
}

#[test]
fn any_changed_bit_of_a_record_is_found_though_all_checksums_are_right() {
    let dir = scratch();
    recorded(dir.path(), 240);
    let mut random = SmallRng::seed_from_u64(11);
    for round in 0..120 {
        let forged = scratch();
        copy(dir.path(), forged.path());
        let place = random.random_range(0..segments(dir.path()).len());
        let mut changed = None;
        forge(forged.path(), place, |payloads| {
            if payloads.is_empty() {
                return;
            }
            let at = random.random_range(0..payloads.len());
            // The kind of a text or of values stays: without them a record of that kind would be one more.
            let from = if is_record(&payloads[at]) { 0 } else { 2 };
            let bit = random.random_range(from * 8..payloads[at].len() * 8);
            payloads[at][bit / 8] ^= 1 << (bit % 8);
            changed = Some((
                at,
                payloads[..at].iter().filter(|payload| is_record(payload)).count(),
            ));
        });
        let Some((at, records_before)) = changed else {
            continue;
        };
        let finding = verified(forged.path()).finding;
        let finding = finding.unwrap_or_else(|| panic!("round {round}: segment {place}, payload {at}"));
        let record = finding
            .record
            .unwrap_or_else(|| panic!("round {round}: {finding:?}"));
        let (header, _, _) = take_apart(&fs::read(&segments(dir.path())[place]).expect("a segment"));
        let expected = RecordId {
            lane: header.lane,
            number: header.first_record + records_before as u64,
        };
        assert_eq!(record, expected, "round {round}: {}", finding.what);
    }
}

#[test]
fn dropped_swapped_and_added_records_are_found_though_all_checksums_are_right() {
    let dir = scratch();
    recorded(dir.path(), 240);
    let mut random = SmallRng::seed_from_u64(12);
    for round in 0..60 {
        let forged = scratch();
        copy(dir.path(), forged.path());
        let place = random.random_range(0..segments(dir.path()).len());
        let mut is_changed = false;
        forge(forged.path(), place, |payloads| {
            let records: Vec<usize> = (0..payloads.len())
                .filter(|at| is_record(&payloads[*at]))
                .collect();
            if records.len() < 2 {
                return;
            }
            is_changed = true;
            let first = records[random.random_range(0..records.len() - 1)];
            match round % 3 {
                0 => drop(payloads.remove(first)),
                1 => {
                    let second = *records.last().expect("two");
                    payloads.swap(first, second);
                }
                _ => payloads.insert(first, payloads[first].clone()),
            }
        });
        if is_changed {
            let finding = verified(forged.path()).finding;
            assert!(
                finding.is_some_and(|finding| finding.record.is_some()),
                "round {round}"
            );
        }
    }
}

#[test]
fn erased_values_are_counted_and_leave_every_record_proved() {
    let dir = scratch();
    recorded(dir.path(), 240);
    let whole = verified(dir.path());
    assert_eq!((whole.finding, whole.erased), (None, 0));
    let mut erased = 0;
    for place in 0..segments(dir.path()).len() {
        forge(dir.path(), place, |payloads| {
            let before = payloads.len();
            payloads.retain(|payload| segment::Held::of(payload) != segment::Held::Values);
            erased += (before - payloads.len()) as u64;
        });
    }
    let report = verified(dir.path());
    // Every fourth statement has one value.
    assert_eq!((report.finding, report.erased, erased), (None, 60, 60));
    assert_eq!(report.hashed, whole.hashed);
}

#[test]
fn any_changed_byte_of_any_file_is_found() {
    let dir = scratch();
    recorded(dir.path(), 240);
    let folder = Folder::of(&settings(dir.path()).dir);
    let files = [
        folder.level(0),
        folder.level(8),
        folder.file(RUNS_FILE),
        folder.file(CHECKPOINTS_FILE),
    ];
    let mut random = SmallRng::seed_from_u64(13);
    for file in segments(dir.path()).into_iter().chain(files) {
        let whole = fs::read(&file).expect("the file");
        let used = whole
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        for _ in 0..12 {
            let mut bytes = whole.clone();
            let at = random.random_range(0..used);
            bytes[at] ^= 1 << random.random_range(0..8);
            fs::write(&file, bytes).expect("a changed file");
            assert!(
                verified(dir.path()).finding.is_some(),
                "{} at {at}",
                file.display()
            );
        }
        fs::write(&file, &whole).expect("as it was");
    }
    assert_eq!(verified(dir.path()).finding, None);
}

#[test]
fn any_missing_or_shorter_file_is_found() {
    let dir = scratch();
    recorded(dir.path(), 240);
    let folder = Folder::of(&settings(dir.path()).dir);
    let files = [
        folder.level(0),
        folder.level(8),
        folder.file(RUNS_FILE),
        folder.file(CHECKPOINTS_FILE),
    ];
    let mut random = SmallRng::seed_from_u64(14);
    for file in segments(dir.path()).into_iter().chain(files) {
        let whole = fs::read(&file).expect("the file");
        fs::remove_file(&file).expect("it was there");
        assert!(
            verified(dir.path()).finding.is_some(),
            "{} is missing",
            file.display()
        );
        let (_, frames) = whole.split_at(0);
        let used = frames
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        let is_sealed = segment::ends_with_seal(&whole);
        for _ in 0..8 {
            // The seal alone says nothing that is not known without it.
            let most = used - if is_sealed { SEAL_BYTES } else { 0 };
            let length = random.random_range(0..most);
            fs::write(&file, &whole[..length]).expect("a shorter file");
            assert!(
                verified(dir.path()).finding.is_some(),
                "{} cut to {length}",
                file.display()
            );
        }
        fs::write(&file, &whole).expect("as it was");
    }
    fs::remove_dir_all(folder.path()).expect("it was there");
    assert!(verified(dir.path()).finding.is_some(), "the tree is missing");
}

#[test]
fn log_that_was_signed_anew_is_found_by_an_anchor_alone() {
    let dir = scratch();
    recorded(dir.path(), 30);
    let anchor = dir.path().join("anchor");
    fs::copy(
        Folder::of(&settings(dir.path()).dir).file(CHECKPOINTS_FILE),
        &anchor,
    )
    .expect("a copy");
    let with_anchor = Request {
        anchors: vec![anchor],
        ..request(dir.path())
    };
    let report = verify(&with_anchor, |_, _| {}).expect("readable");
    assert_eq!((report.finding, report.anchors), (None, report.checkpoints));
    // Whoever holds the key changes a record and signs everything again.
    forge(dir.path(), 0, |payloads| {
        let last = payloads.last_mut().expect("a record");
        let end = last.len() - 1;
        last[end] ^= 1;
    });
    drop(Journal::open(going_on(dir.path())).expect("whoever has the key can sign"));
    let is_aside = |name: &str| name.contains("-contradicted-");
    for file in fs::read_dir(settings(dir.path()).dir).expect("the folder") {
        let path = file.expect("a file").path();
        if path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(is_aside)
        {
            fs::remove_dir_all(path).expect("it was there");
        }
    }
    assert_eq!(verified(dir.path()).finding, None);
    let finding = verify(&with_anchor, |_, _| {}).expect("readable").finding;
    assert!(finding.expect("the anchor contradicts").what.contains("anchor"));
    fs::write(&with_anchor.anchors[0], "").expect("emptied");
    let finding = verify(&with_anchor, |_, _| {}).expect("readable").finding;
    assert!(
        finding
            .expect("an empty anchor vouches for nothing")
            .what
            .contains("holds no checkpoint")
    );
}

#[test]
fn torn_files_of_the_tree_are_mended_at_the_start() {
    let dir = scratch();
    recorded(dir.path(), 600);
    let before = verified(dir.path());
    let folder = Folder::of(&settings(dir.path()).dir);
    let append = |name: &str, bytes: &[u8]| {
        let path = folder.file(name);
        let whole = fs::read(&path).expect("the file");
        fs::write(&path, [&whole, bytes].concat()).expect("a torn end");
    };
    append(RUNS_FILE, &[1, 2, 3]);
    append(CHECKPOINTS_FILE, b"countersign/torn\n12");
    append("level-00", &[9; 70]);
    fs::write(folder.level(8), [5; 40]).expect("another file of hashes");
    drop(open(dir.path()));
    let report = verified(dir.path());
    assert_eq!(report.finding, None);
    let size = |report: &Report| report.last.as_ref().map_or(0, |last| last.size);
    assert_eq!(size(&report), size(&before) + 1);
    fs::remove_file(folder.level(0)).expect("it was there");
    drop(open(dir.path()));
    assert_eq!(verified(dir.path()).finding, None);
}

#[test]
fn log_that_contradicts_its_checkpoint_is_refused_or_the_loss_recorded() {
    let dir = scratch();
    recorded(dir.path(), 30);
    let folder = Folder::of(&settings(dir.path()).dir);
    let mut runs = Runs::read(&folder.file(RUNS_FILE)).expect("readable").runs;
    runs.pop();
    let head = &fs::read(folder.file(RUNS_FILE)).expect("readable")[..32];
    let shorter: Vec<u8> = runs.iter().flat_map(|run| run.encode()).collect();
    fs::write(folder.file(RUNS_FILE), [head, &shorter].concat()).expect("shorter");
    let error = Journal::open(settings(dir.path())).expect_err("it was cut");
    assert!(matches!(error, JournalError::Contradicted { .. }), "{error}");
    drop(Journal::open(going_on(dir.path())).expect("it goes on"));
    let report = verified(dir.path());
    assert_eq!((report.finding, report.set_aside), (None, 1));
    let detail = last_boot_detail(dir.path());
    assert!(
        detail.contains("are signed") && detail.contains("somebody looked"),
        "{detail}"
    );
}

/// Settings with which somebody goes on after a loss.
pub fn going_on(dir: &Path) -> Settings {
    Settings {
        on_loss: OnLoss::Record {
            reason: "somebody looked".to_owned(),
        },
        ..settings(dir)
    }
}

pub fn last_boot_detail(dir: &Path) -> String {
    let filter = crate::journal::LogFilter {
        kind: Some(crate::audit::Kind::Boot),
        ..Default::default()
    };
    let boots = Reader::open(&settings(dir).dir).query(&filter).expect("whole");
    let newest = boots.records.first().expect("it was opened");
    newest.fields.detail.clone().unwrap_or_default()
}

#[test]
fn lost_key_is_not_replaced() {
    let dir = scratch();
    recorded(dir.path(), 3);
    fs::remove_file(dir.path().join(SIGNING_KEY_FILE)).expect("it was there");
    let error = Journal::open(settings(dir.path())).expect_err("it has no key");
    assert!(matches!(error, JournalError::KeyMissing { .. }), "{error}");
}

#[test]
fn key_is_for_its_owner_alone_and_named_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = scratch();
    let named = |name: &str| Settings {
        origin: Some(name.to_owned()),
        ..settings(dir.path())
    };
    drop(Journal::open(named("example.com/audit")).expect("a new log"));
    let mode = fs::metadata(dir.path().join(SIGNING_KEY_FILE))
        .expect("a key")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(verified(dir.path()).origin, "example.com/audit");
    let error = Journal::open(named("example.com/other")).expect_err("it has a name");
    assert!(matches!(error, JournalError::Origin { .. }), "{error}");
    drop(open(dir.path()));
}

#[test]
fn proof_of_any_record_holds_without_the_log_and_a_changed_one_does_not() {
    let dir = scratch();
    recorded(dir.path(), 60);
    let reader = Reader::open(&settings(dir.path()).dir);
    let key = dir.path().join(PUBLIC_KEY_FILE);
    let public = super::key::read_public(&key).expect("a key");
    let mut leaves = BTreeMap::new();
    for lane in 0..LANES {
        for number in 0.. {
            let id = RecordId { lane, number };
            let proof = match proof::prove(&reader, &key, id) {
                Ok(proof) => proof,
                Err(ProofError::Unknown(_)) => break,
                Err(error) => panic!("{id}: {error}"),
            };
            let proven = proof::check(&proof, &public).expect("it holds");
            let shown = reader.show(id).expect("readable").expect("it is there");
            assert_eq!(proven.record.fields.text, shown.fields.text);
            assert_eq!(leaves.insert(proven.leaf, id), None, "one leaf for two records");
            let line = proof.lines().nth(1).expect("extra");
            let forged = proof.replacen(
                &line[10..14],
                if &line[10..14] == "AAAA" { "BBBB" } else { "AAAA" },
                1,
            );
            assert!(proof::check(&forged, &public).is_err());
        }
    }
    assert_eq!(leaves.len(), 120);
}

#[test]
fn frames_of_a_forged_segment_are_whole() {
    let dir = scratch();
    recorded(dir.path(), 30);
    let bytes = fs::read(&segments(dir.path())[0]).expect("a segment");
    let (header, payloads, is_sealed) = take_apart(&bytes);
    let again = put_together(&header, &payloads, is_sealed);
    assert_eq!(
        again[..],
        bytes[..again.len()],
        "the forger writes what the journal writes"
    );
    assert!(payloads.iter().all(|payload| payload.len() > FRAME_HEAD_BYTES));
}

/// Takes one note a call, and says no so many times first.
fn receiver(refusals: usize) -> (String, std::sync::mpsc::Receiver<String>) {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!(
        "http://{}/checkpoints",
        listener.local_addr().expect("it is bound")
    );
    let (sender, notes) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for (call, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.expect("a caller"));
            let mut length = 0;
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).expect("a line");
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = value.trim().parse().expect("a number");
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("a body");
            let status = if call < refusals { "503 No" } else { "204 Taken" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).expect("an answer");
            if call >= refusals && sender.send(String::from_utf8(body).expect("text")).is_err() {
                return;
            }
        }
    });
    (url, notes)
}

#[test]
fn anchors_are_handed_every_last_checkpoint_and_again_after_a_refusal() {
    let dir = scratch();
    let (url, received) = receiver(1);
    let file = dir.path().join("anchor");
    let anchored = || Settings {
        anchors: vec![Anchor::File(file.clone()), Anchor::Url(url.clone())],
        ..settings(dir.path())
    };
    for _ in 0..2 {
        let journal = Journal::open(anchored()).expect("it opens");
        write(&mut journal.lane(0), 1);
    }
    let request = Request {
        anchors: vec![file.clone()],
        ..request(dir.path())
    };
    let report = verify(&request, |_, _| {}).expect("readable");
    let size = report.last.as_ref().map(|last| last.size);
    assert_eq!(report.finding, None);
    assert_eq!(report.anchored.map(|anchored| anchored.size), size);
    let public = super::key::read_public(&dir.path().join(PUBLIC_KEY_FILE)).expect("a key");
    let sizes: Vec<_> = received
        .try_iter()
        .map(|note| public.verify(&note).expect("a checkpoint").checkpoint.size)
        .collect();
    assert_eq!(sizes.last().copied(), size, "{sizes:?}");
}

#[test]
fn log_that_its_anchor_contradicts_is_refused() {
    let dir = scratch();
    let file = dir.path().join("anchor");
    let anchored = || Settings {
        anchors: vec![Anchor::File(file.clone())],
        ..settings(dir.path())
    };
    drop(Journal::open(anchored()).expect("a new log"));
    let before = dir.path().join("before");
    copy(&settings(dir.path()).dir, &before);
    let trace = fs::read(dir.path().join(TRACE_FILE)).expect("it was signed");
    drop(Journal::open(anchored()).expect("it goes on"));
    // An older copy of everything comes back: shorter than its anchor.
    fs::remove_dir_all(settings(dir.path()).dir).expect("it was there");
    copy(&before, &settings(dir.path()).dir);
    fs::write(dir.path().join(TRACE_FILE), trace).expect("as it was");
    let error = Journal::open(anchored()).expect_err("it is shorter");
    assert!(
        matches!(&error, JournalError::Contradicted { file: named, .. } if *named == file),
        "{error}"
    );
}
