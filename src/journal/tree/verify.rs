//! Reads a whole log again, record by record, and holds it against its tree, its checkpoints and its anchors.
//! Never needs the process that writes it, never locks and never writes; what is written meanwhile counts as unsigned.
//! Read `proof.rs` next.
//!
//! Why the hashes that are kept are compared too: a root only says that some record below it has changed. The hash of
//! each leaf says which; and where the records still come to the signed root, it is the tree's own file that was changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{CHECKPOINTS_FILE, Folder, RUNS_FILE, Run, Runs, notes, read_if_there};
use super::key::{PUBLIC_KEY_FILE, read_public};
use super::proof::leaf_in;
use super::pruned::{BLOCK_LEVEL, Gone, PRUNED_FILE, Pruned, duration_text, whole_seconds};
use super::trace;
use super::walk::{Fault, LaneWalk, Step, walks};
use super::{HASH_BYTES, LEVELS_PER_FILE, UNSIGNED_MAX};
use crate::audit::RecordId;
use crate::audit::checkpoint::{Checkpoint, VerifyingKey};
use crate::audit::merkle::{Edge, Hash};
use crate::clock::Timestamp;
use crate::journal::JournalError;
use crate::journal::checkpoint;

/// Leaves between two calls of the progress.
const PROGRESS_LEAVES: u64 = 1 << 14;

/// How long a running process may take between the order of new leaves and the checkpoint over them: 5 s, far more than
/// two writes, and looked at so often that even one that signs every second is met in between.
const OWNER_WAITS: u32 = 100;
const OWNER_WAIT: Duration = Duration::from_millis(50);

/// How often a log is read again because some of it was pruned meanwhile, which happens once a day.
const PRUNINGS_MAX: u32 = 2;

/// What is to be verified, by what.
#[derive(Clone, Debug)]
pub struct Request {
    /// The journal's folder.
    pub journal: PathBuf,
    /// The public key; without it the one that lies in `key_dir`.
    pub key: Option<PathBuf>,
    pub key_dir: PathBuf,
    /// Files of checkpoints that somebody else kept.
    pub anchors: Vec<PathBuf>,
    /// Checkpoints that were fetched from somebody: from where, and the note.
    pub fetched: Vec<(String, String)>,
    /// How long records are to be kept, by whoever asks; what was pruned sooner is a finding.
    pub retention: Option<Duration>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    pub origin: String,
    pub key_id: String,
    pub key_file: PathBuf,
    /// Records under the last checkpoint that were hashed.
    pub hashed: u64,
    /// Checkpoints whose signature was verified, and the last of them.
    pub checkpoints: u64,
    pub last: Option<Checkpoint>,
    /// Anchors that were given, and the largest.
    pub anchors: u64,
    pub anchored: Option<Checkpoint>,
    /// Records behind the last checkpoint, and the time of the first and the last of them.
    pub unsigned: u64,
    pub unsigned_times: Option<(Timestamp, Timestamp)>,
    /// The time of the last record of all.
    pub last_time: Timestamp,
    pub texts: u64,
    /// Parameter values that records commit to and that are not there any more.
    pub erased: u64,
    /// Values that were never kept, because of the labels of their columns.
    pub redacted: u64,
    pub regressions: u64,
    /// Ends of segments that are being written, or were torn by a power failure; no record is in them.
    pub torn_ends: u64,
    /// Records that are gone by retention, and what the record that is proved says of them.
    pub pruned: Option<(u64, Gone)>,
    /// Checkpoints over fewer records than are gone, of which the signature alone was verified.
    pub uncompared: u64,
    /// Trees that were put aside when a log was continued after a loss.
    pub set_aside: u64,
    pub finding: Option<Finding>,
}

/// The first thing that is not as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub what: String,
    /// The first record concerned, if it is known.
    pub record: Option<RecordId>,
    /// Its leaf in the tree.
    pub leaf: Option<u64>,
    /// Its time; of a record that is missing or unreadable that of the last one before it in its lane.
    pub time: Option<Timestamp>,
    /// The last checkpoint below which everything is as it was.
    pub last_good: Option<u64>,
}

impl Finding {
    fn of_file(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            record: None,
            leaf: None,
            time: None,
            last_good: None,
        }
    }
}

/// Something that stops the verification: a finding, or a disk that cannot be read.
enum Stop {
    Found(Box<Finding>),
    Failed(JournalError),
}

impl From<JournalError> for Stop {
    fn from(error: JournalError) -> Self {
        match error {
            // A header or a file that is damaged is a finding, whoever notices it.
            JournalError::Damaged { .. } | JournalError::Contradicted { .. } => {
                Self::Found(Box::new(Finding::of_file(error.to_string())))
            }
            other => Self::Failed(other),
        }
    }
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        Self::Found(Box::new(finding))
    }
}

/// Verifies the log; `progress` is told how many records of how many are done.
pub fn verify(request: &Request, mut progress: impl FnMut(u64, u64)) -> Result<Report, JournalError> {
    let beside = request.key_dir.join(PUBLIC_KEY_FILE);
    let key_file = request.key.clone().unwrap_or(beside);
    let key = read_public(&key_file)?;
    let mut report = Report {
        origin: key.name().to_owned(),
        key_id: key.id(),
        key_file,
        hashed: 0,
        checkpoints: 0,
        last: None,
        anchors: 0,
        anchored: None,
        unsigned: 0,
        unsigned_times: None,
        last_time: Timestamp::from_micros(0),
        texts: 0,
        erased: 0,
        redacted: 0,
        regressions: 0,
        torn_ends: 0,
        pruned: None,
        uncompared: 0,
        set_aside: 0,
        finding: None,
    };
    let blank = report.clone();
    let mut again = PRUNINGS_MAX;
    loop {
        let before = Pruned::of(&request.journal).ok();
        let stop = match go(request, &key, &mut report, &mut progress) {
            Ok(()) => return Ok(report),
            Err(stop) => stop,
        };
        // What was pruned in between is no longer missed.
        if again > 0 && Pruned::of(&request.journal).ok() != before {
            again -= 1;
            report = blank.clone();
            continue;
        }
        return match stop {
            Stop::Failed(error) => Err(error),
            Stop::Found(finding) => {
                report.finding = Some(*finding);
                Ok(report)
            }
        };
    }
}

/// A root that somebody signed, and who says so.
struct Claim {
    root: Hash,
    source: Source,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Log,
    Trace,
    Anchor,
}

impl Source {
    const fn word(self) -> &'static str {
        match self {
            Self::Log => "checkpoint",
            Self::Trace => "checkpoint in log.signed",
            Self::Anchor => "anchor",
        }
    }
}

/// Checkpoints and the order of the leaves, as they belong together.
struct Signed {
    checkpoints: Vec<Checkpoint>,
    /// A note that is damaged does not hide what the notes before it say of the records.
    damaged: Option<Box<Finding>>,
    runs: Runs,
    /// Nothing that is older was on its way to be signed.
    read_at: Timestamp,
}

impl Signed {
    fn size(&self) -> u64 {
        self.checkpoints.last().map_or(0, |last| last.size)
    }

    /// The files of the tree. A process that writes here now may be in the middle of a checkpoint: it has a while to
    /// end it, and no other excuse.
    fn read(request: &Request, folder: &Folder, key: &VerifyingKey) -> Result<Self, Stop> {
        let mut waits = if is_owned(&request.journal) {
            OWNER_WAITS
        } else {
            0
        };
        loop {
            let read = Self::read_once(folder, key)?;
            let is_settled = read.damaged.is_none() && read.runs.size <= read.size();
            if is_settled || waits == 0 {
                return Ok(read);
            }
            waits -= 1;
            std::thread::sleep(OWNER_WAIT);
        }
    }

    fn read_once(folder: &Folder, key: &VerifyingKey) -> Result<Self, Stop> {
        let read_at = Timestamp::now();
        let mut checkpoints: Vec<Checkpoint> = Vec::new();
        let notes = read_notes(&folder.file(CHECKPOINTS_FILE), key, |checkpoint| {
            checkpoints.push(checkpoint.clone());
        });
        let damaged = match notes {
            Ok(()) => None,
            Err(Stop::Found(finding)) => Some(finding),
            Err(failed) => return Err(failed),
        };
        let file = folder.file(RUNS_FILE);
        let runs = Runs::read(&file).map_err(|cause| JournalError::read(&file, cause))?;
        Ok(Self {
            checkpoints,
            damaged,
            runs,
            read_at,
        })
    }
}

/// What everybody who signed or kept a root says, by size.
type Claims = BTreeMap<u64, Vec<Claim>>;

fn claim(claims: &mut Claims, checkpoint: &Checkpoint, source: Source) {
    claims.entry(checkpoint.size).or_default().push(Claim {
        root: checkpoint.root,
        source,
    });
}

/// Reads the files of checkpoints that somebody else kept.
fn read_anchors(
    request: &Request,
    key: &VerifyingKey,
    report: &mut Report,
    claims: &mut Claims,
) -> Result<(), Stop> {
    let mut take = |report: &mut Report, checkpoint: &Checkpoint| {
        report.anchors += 1;
        let largest = report.anchored.as_ref();
        if largest.is_none_or(|largest| largest.size < checkpoint.size) {
            report.anchored = Some(checkpoint.clone());
        }
        claim(claims, checkpoint, Source::Anchor);
    };
    for (place, note) in &request.fetched {
        let signed = key.verify(note);
        let signed =
            signed.map_err(|what| Finding::of_file(format!("the checkpoint in `{place}`: {what}")))?;
        take(report, &signed.checkpoint);
    }
    for anchor in &request.anchors {
        let before = report.anchors;
        read_notes(anchor, key, |checkpoint| take(report, checkpoint))?;
        // Emptied, or another file than was meant: it would vouch for nothing.
        if report.anchors == before {
            let what = format!("the anchor `{}` holds no checkpoint", anchor.display());
            return Err(Finding::of_file(what).into());
        }
    }
    Ok(())
}

fn go(
    request: &Request,
    key: &VerifyingKey,
    report: &mut Report,
    progress: &mut impl FnMut(u64, u64),
) -> Result<(), Stop> {
    let folder = Folder::of(&request.journal);
    let mut claims = Claims::new();
    // What is outside the tree is never newer than the tree, and what the tree speaks of was on disk before: so each is
    // read before what it speaks of.
    read_anchors(request, key, report, &mut claims)?;
    if let Some(checkpoint) = trace::read(&request.key_dir, key)? {
        claim(&mut claims, &checkpoint, Source::Trace);
    }
    let pruned = Pruned::read(&folder)?;
    let signed = Signed::read(request, &folder, key)?;
    let (size, read_at) = (signed.size(), signed.read_at);
    for checkpoint in &signed.checkpoints {
        claim(&mut claims, checkpoint, Source::Log);
    }
    report.checkpoints = signed.checkpoints.len() as u64;
    report.last = signed.checkpoints.last().cloned();
    let (mut runs, damaged_note) = (signed.runs, signed.damaged);
    let known = runs.size;
    if known > size {
        runs.truncate(size);
    }
    let durable = durable(&request.journal)?;
    report.set_aside = trees_set_aside(&request.journal);
    if pruned.leaves > size {
        let (gone, file) = (pruned.leaves, PRUNED_FILE);
        let what = format!("{file} says that {gone} records are gone, and {size} are signed");
        return Err(Finding::of_file(what).into());
    }
    let mut walks = walks(&request.journal, &pruned)?;
    let mut climb = Climb {
        folder: &folder,
        edge: Edge::default(),
        stored: StoredHashes::open(&folder, size, &pruned)?,
        suspect: None,
        claims,
        last_good: None,
    };
    climb.compare_nothing()?;
    let roots = pruned.roots(&folder)?;
    let order = pruned.agree_with(&runs.runs);
    report.uncompared = climb.pass_gone(&roots, &pruned, report.anchored.as_ref())?;
    order.map_err(|what| of_pruned(&pruned, &what))?;
    for (lane, walk) in &mut walks {
        climb.skip(*lane, walk, &pruned)?;
    }
    for run in runs.runs.iter().filter_map(|run| run.from(pruned.leaves)) {
        let end = (run.start + run.count).min(size);
        for leaf in run.start..end {
            if leaf % PROGRESS_LEAVES == 0 {
                progress(leaf, size);
            }
            let expected = run.first + (leaf - run.start);
            let step = climb.step_of(&mut walks, run.lane, expected, leaf)?;
            climb.take(step, leaf)?;
            report.hashed += 1;
        }
    }
    progress(size.min(known), size);
    if let Some(suspect) = climb.suspect.take() {
        return Err(suspect.finding.into());
    }
    if known < size {
        let what = format!("{size} records are signed, and {RUNS_FILE} knows the order of {known} only");
        return Err(Finding {
            last_good: climb.last_good,
            ..Finding::of_file(what)
        }
        .into());
    }
    climb.beyond_the_end(size)?;
    if pruned.leaves > 0 {
        let said = check_pruned(&pruned, &roots, &runs.runs, &walks)?;
        check_retention(&pruned, said, &signed.checkpoints, read_at)?;
        if let Some(least) = request.retention.filter(|least| said.retention < *least) {
            let (told, least) = (duration_text(said.retention), duration_text(whole_seconds(least)));
            let what = format!("they were kept for {told}, and are to be kept for {least}");
            return Err(of_pruned(&pruned, &what).into());
        }
        report.pruned = Some((pruned.leaves, said));
    }
    rest_of_lanes(&durable, &mut walks, report, climb.last_good)?;
    if let Some(finding) = damaged_note {
        return Err(Stop::Found(finding));
    }
    if report.checkpoints == 0 && report.unsigned > 0 {
        return Err(Finding::of_file("no record is signed: the tree is missing").into());
    }
    if known > size {
        let more = known - size;
        let what = format!(
            "the order of {more} more records is settled than any checkpoint signs: checkpoints were removed, or the \
             program was killed in the very moment of signing; `serve` signs them again"
        );
        return Err(Finding::of_file(what).into());
    }
    check_tail(report, read_at, climb.last_good)
}

/// What is gone has to be said by a record that is proved, and that has just been passed.
fn check_pruned(
    pruned: &Pruned,
    roots: &[Hash],
    runs: &[Run],
    walks: &BTreeMap<u16, LaneWalk>,
) -> Result<Gone, Stop> {
    let said = pruned
        .said
        .ok_or_else(|| of_pruned(pruned, "no record says that they may be"))?;
    let id = said.record;
    let passed = walks.get(&id.lane).and_then(|walk| walk.pruning.as_ref());
    let is_there = leaf_in(runs, id) == Some(said.leaf);
    let Some(record) = passed.filter(|_| is_there) else {
        let what = format!("record {id}, which is to say so, is not under a checkpoint");
        return Err(of_pruned(pruned, &what).into());
    };
    let checked = pruned.check(roots, id, record);
    checked.map_err(|what| of_pruned(pruned, &what))?;
    Ok(said)
}

/// Whether the retention was over, by the checkpoints, which say when records were there at the latest, and by now.
fn check_retention(
    pruned: &Pruned,
    said: Gone,
    checkpoints: &[Checkpoint],
    now: Timestamp,
) -> Result<(), Stop> {
    let covers = checkpoints
        .iter()
        .find(|checkpoint| checkpoint.size >= pruned.leaves);
    let signed = covers.map_or(said.time, |checkpoint| checkpoint.time);
    let retention = duration_text(said.retention);
    let what = if signed.after(said.retention) > said.time {
        format!(
            "they were there at {signed} and pruned at {}, before {retention} were over",
            said.time
        )
    } else if said.newest.after(said.retention) > now {
        format!(
            "the newest is of {}, and {retention} are not over by this machine's clock",
            said.newest
        )
    } else {
        return Ok(());
    };
    Err(of_pruned(pruned, &what).into())
}

/// Names the first record that is not there, or whatever stands in its place.
fn of_pruned(pruned: &Pruned, what: &str) -> Finding {
    let lane = pruned.lanes.iter().find(|(_, begin)| begin.record > 0);
    let gone = pruned.leaves;
    Finding {
        record: lane.map(|(lane, _)| RecordId {
            lane: *lane,
            number: 0,
        }),
        leaf: (gone > 0).then_some(0),
        ..Finding::of_file(format!(
            "the first {gone} records are gone, and not as they may be: {what}"
        ))
    }
}

/// Whatever is older than two checkpoints take was signed once, or signing has failed for that long. A record's time is that
/// of its event, which may be long before it was written; none of these was written before the last checkpoint.
fn check_tail(report: &Report, read_at: Timestamp, last_good: Option<u64>) -> Result<(), Stop> {
    let signed_at = report.last.as_ref().map(|checkpoint| checkpoint.time);
    let written =
        |(since, until): (Timestamp, Timestamp)| (signed_at.map_or(since, |at| since.max(at)), until);
    match report.unsigned_times.map(written) {
        Some((since, until)) if until.min(read_at).since(since) > UNSIGNED_MAX => {
            let what = format!(
                "the records from {since} to {until} are not signed, though checkpoints are signed every minute: some \
                 were removed, or none could be written"
            );
            Err(Finding {
                last_good,
                ..Finding::of_file(what)
            }
            .into())
        }
        Some(_) | None => Ok(()),
    }
}

/// What is still on its way up the tree.
struct Climb<'a> {
    folder: &'a Folder,
    edge: Edge,
    stored: StoredHashes,
    suspect: Option<Suspect>,
    claims: Claims,
    last_good: Option<u64>,
}

/// A record that does not come to the hash that is kept of it.
struct Suspect {
    finding: Finding,
    /// What to say if it is not the record that was changed.
    of_file: Finding,
}

impl Climb<'_> {
    /// Passes what is gone, by the roots that are kept of it. Gives how many checkpoints have no root here any more.
    fn pass_gone(
        &mut self,
        roots: &[Hash],
        pruned: &Pruned,
        anchored: Option<&Checkpoint>,
    ) -> Result<u64, Stop> {
        let mut blocks = Edge::default();
        for root in roots {
            let (mut differs, stored) = (None, &mut self.stored);
            blocks.append(*root, |subtree, hash| {
                let level = subtree.level + BLOCK_LEVEL;
                if level.is_multiple_of(LEVELS_PER_FILE) && !stored.is_next(level, hash) {
                    differs = differs.or(Some(level));
                }
            });
            let size = blocks.size() << BLOCK_LEVEL;
            if let Some(level) = differs {
                let what = format!("tree/level-{level} is not what the roots come to");
                return Err(of_pruned(pruned, &what).into());
            }
            let top = blocks.root();
            let claims = self.claims.remove(&size).unwrap_or_default();
            if let Some(claim) = claims.iter().find(|claim| claim.root != top) {
                let who = claim.source.word();
                let what = format!("the root over {size} of them is not that of the {who}");
                return Err(of_pruned(pruned, &what).into());
            }
        }
        self.edge = blocks.raised(BLOCK_LEVEL);
        let kept = self.claims.split_off(&pruned.leaves);
        let old = std::mem::replace(&mut self.claims, kept);
        // Nobody prunes what an anchor has not taken: else it would be hidden from the one who could contradict.
        if let Some(newest) = anchored.filter(|newest| !pruned.can_tell(newest.size)) {
            let what = format!(
                "the newest checkpoint of the anchors is over {} records, so nothing of it can be compared; name one \
                 that was kept since",
                newest.size
            );
            return Err(of_pruned(pruned, &what).into());
        }
        Ok(old.values().map(|claims| claims.len() as u64).sum())
    }

    /// Goes to where a lane begins. What stands before that is gone, though its segment is still there.
    fn skip(&self, lane: u16, walk: &mut LaneWalk, pruned: &Pruned) -> Result<(), Stop> {
        let skipped = walk.skip_to(pruned.begin(lane).record);
        skipped.map_err(|Fault { what }| {
            let number = walk.next;
            self.first(Finding {
                record: Some(RecordId { lane, number }),
                last_good: self.last_good,
                ..Finding::of_file(what)
            })
        })?;
        // Only now: nothing proves what was skipped, so it may not say what is gone.
        if let Some(said) = pruned.said.filter(|said| said.record.lane == lane) {
            walk.awaited = Some(said.record.number);
        }
        Ok(())
    }

    fn step_of(
        &self,
        walks: &mut BTreeMap<u16, LaneWalk>,
        lane: u16,
        number: u64,
        leaf: u64,
    ) -> Result<Step, Stop> {
        let missing = |what: &str, time| Finding {
            what: what.to_owned(),
            record: Some(RecordId { lane, number }),
            leaf: Some(leaf),
            time,
            last_good: self.last_good,
        };
        let Some(walk) = walks.get_mut(&lane) else {
            return Err(self.first(missing("the record is missing, and so is its whole lane", None)));
        };
        if walk.next != number {
            let what = format!(
                "{RUNS_FILE} goes on at record {lane}.{number} after {}",
                walk.next
            );
            return Err(self.first(Finding {
                leaf: Some(leaf),
                last_good: self.last_good,
                ..Finding::of_file(what)
            }));
        }
        let time = (number > 0).then_some(walk.last_time);
        match walk.step() {
            Ok(Some(step)) => Ok(step),
            Ok(None) => {
                let torn = walk
                    .torn
                    .as_deref()
                    .map(|torn| format!("the record is gone: {torn}"));
                let what = torn
                    .as_deref()
                    .unwrap_or("the record is missing: its lane ends before it");
                Err(self.first(missing(what, time)))
            }
            Err(Fault { what }) => Err(self.first(missing(&what, time))),
        }
    }

    /// An earlier suspect comes first.
    fn first(&self, finding: Finding) -> Stop {
        match &self.suspect {
            Some(suspect) => suspect.finding.clone().into(),
            None => finding.into(),
        }
    }

    fn take(&mut self, step: Step, leaf: u64) -> Result<(), Stop> {
        let mut differs = None;
        let stored = &mut self.stored;
        self.edge.append(step.leaf, |subtree, hash| {
            if subtree.level % LEVELS_PER_FILE == 0 && !stored.is_next(subtree.level, hash) {
                differs = differs.or(Some(subtree.level));
            }
        });
        if let Some(level) = differs
            && self.suspect.is_none()
        {
            self.suspect = Some(self.suspected(step, leaf, level));
        }
        self.compare(leaf + 1, step)
    }

    fn suspected(&self, step: Step, leaf: u64, level: u32) -> Suspect {
        let name = self.folder.level(level);
        let name = name
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let finding = |what: String, record| Finding {
            what,
            record,
            leaf: Some(leaf),
            time: record.map(|_| step.time),
            last_good: self.last_good,
        };
        Suspect {
            finding: finding(
                "the record is not the one that was signed".to_owned(),
                Some(step.id),
            ),
            of_file: finding(
                format!("tree/{name} was changed at leaf {leaf}; the records are those that were signed"),
                None,
            ),
        }
    }

    /// Holds the root against whoever signed one at this size.
    fn compare(&mut self, size: u64, step: Step) -> Result<(), Stop> {
        let Some(claims) = self.claims.remove(&size) else {
            return Ok(());
        };
        let root = self.edge.root();
        if let Some(claim) = claims.iter().find(|claim| claim.root != root) {
            if let Some(suspect) = self.suspect.take() {
                return Err(suspect.finding.into());
            }
            let from = self.last_good.unwrap_or(0);
            let what = format!(
                "the root of {size} records is not that of the {}: one or more of the leaves {from} to {} were changed, \
                 and the hashes of the tree with them",
                claim.source.word(),
                size - 1
            );
            return Err(Finding {
                what,
                record: (from + 1 == size).then_some(step.id),
                leaf: Some(from),
                time: Some(step.time),
                last_good: self.last_good,
            }
            .into());
        }
        if let Some(suspect) = self.suspect.take() {
            return Err(suspect.of_file.into());
        }
        self.last_good = Some(size);
        Ok(())
    }

    /// A tree without leaves has one root only.
    fn compare_nothing(&mut self) -> Result<(), Stop> {
        let claims = self.claims.remove(&0).unwrap_or_default();
        match claims.iter().find(|claim| claim.root != self.edge.root()) {
            Some(claim) => {
                let what = format!(
                    "the root of no records is not that of the {}",
                    claim.source.word()
                );
                Err(Finding::of_file(what).into())
            }
            None => Ok(()),
        }
    }

    /// Somebody holds a checkpoint over more records than any of the log signs.
    fn beyond_the_end(&self, size: u64) -> Result<(), Stop> {
        match self.claims.last_key_value() {
            Some((held, claims)) if *held > size => {
                let who = claims.first().map_or("anchor", |claim| claim.source.word());
                let what = format!(
                    "the {who} is over {held} records, and the log has signed {size} only: it was cut"
                );
                Err(Finding {
                    last_good: self.last_good,
                    ..Finding::of_file(what)
                }
                .into())
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The hashes that the tree keeps, in the order in which they come up.
struct StoredHashes {
    levels: BTreeMap<u32, Option<BufReader<File>>>,
}

impl StoredHashes {
    /// Of small subtrees the hashes begin behind what is gone.
    fn open(folder: &Folder, size: u64, pruned: &Pruned) -> Result<Self, JournalError> {
        let levels = (0..u64::BITS).step_by(LEVELS_PER_FILE as usize);
        let open = |level| {
            let path = folder.level(level);
            let Ok(file) = File::open(&path) else {
                return Ok((level, None));
            };
            let mut file = BufReader::with_capacity(1 << 16, file);
            if level < BLOCK_LEVEL {
                let start = (pruned.leaves >> level) * HASH_BYTES;
                file.seek(SeekFrom::Start(start))
                    .map_err(|cause| JournalError::read(&path, cause))?;
            }
            Ok((level, Some(file)))
        };
        let levels = levels.filter(|level| size >> level > 0).map(open);
        Ok(Self {
            levels: levels.collect::<Result<_, JournalError>>()?,
        })
    }

    fn is_next(&mut self, level: u32, hash: &Hash) -> bool {
        let mut stored = [0; 32];
        let file = self.levels.get_mut(&level).and_then(Option::as_mut);
        file.is_some_and(|file| file.read_exact(&mut stored).is_ok()) && stored == *hash
    }
}

/// Reads checkpoints one after the other, each signed and none smaller or older than the one before, to the last byte.
fn read_notes(path: &Path, key: &VerifyingKey, mut each: impl FnMut(&Checkpoint)) -> Result<(), Stop> {
    let bytes = read_if_there(path).map_err(|cause| JournalError::read(path, cause))?;
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let valid = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let (mut end, mut number) = (0, 0_u64);
    let mut before: Option<Checkpoint> = None;
    for (note, note_end) in notes(valid) {
        number += 1;
        let signed = key.verify(note);
        let signed = signed.map_err(|what| Finding::of_file(format!("note {number} of {name}: {what}")))?;
        let checkpoint = signed.checkpoint;
        if let Some(before) = &before
            && (before.size > checkpoint.size || before.time > checkpoint.time)
        {
            let what = format!("note {number} of {name} is older than the one before it");
            return Err(Finding::of_file(what).into());
        }
        each(&checkpoint);
        before = Some(checkpoint);
        end = note_end;
    }
    if end < bytes.len() {
        let what = format!("{name} does not end with a whole checkpoint, after {number} of them");
        return Err(Finding::of_file(what).into());
    }
    Ok(())
}

/// Goes through what no checkpoint signs yet, and counts it.
fn rest_of_lanes(
    durable: &BTreeMap<u16, u64>,
    walks: &mut BTreeMap<u16, LaneWalk>,
    report: &mut Report,
    last_good: Option<u64>,
) -> Result<(), Stop> {
    if let Some(lane) = durable.keys().find(|lane| !walks.contains_key(lane)) {
        return Err(Finding::of_file(format!("lane {lane} is gone, and records of it were on disk")).into());
    }
    for (lane, walk) in walks {
        loop {
            let number = walk.next;
            let fault = |what: String, walk: &LaneWalk| Finding {
                what,
                record: Some(RecordId { lane: *lane, number }),
                leaf: None,
                time: (number > 0).then_some(walk.last_time),
                last_good,
            };
            match walk.step() {
                Ok(Some(step)) => {
                    report.unsigned += 1;
                    let (first, last) = report.unsigned_times.unwrap_or((step.time, step.time));
                    report.unsigned_times = Some((first.min(step.time), last.max(step.time)));
                }
                Ok(None) => {
                    let expected = durable.get(lane).copied().unwrap_or(0);
                    if number < expected {
                        let what = walk.torn.clone().unwrap_or_else(|| {
                            format!("the record is missing: {expected} of its lane were on disk")
                        });
                        return Err(fault(what, walk).into());
                    }
                    break;
                }
                Err(Fault { what }) => return Err(fault(what, walk).into()),
            }
        }
        report.texts += walk.texts_checked;
        report.erased += walk.erased;
        report.redacted += walk.redacted;
        report.regressions += walk.regressions;
        report.torn_ends += u64::from(walk.torn.is_some());
        report.last_time = report.last_time.max(walk.last_time);
    }
    Ok(())
}

/// How many records of each lane were on disk when the journal last said so.
fn durable(journal: &Path) -> Result<BTreeMap<u16, u64>, JournalError> {
    let file = journal.join(checkpoint::FILE_NAME);
    let bytes = read_if_there(&file).map_err(|cause| JournalError::read(&file, cause))?;
    let (_, marks) = checkpoint::newest(&bytes);
    Ok(marks.into_iter().map(|mark| (mark.lane, mark.records)).collect())
}

/// Whether a process is writing here now.
fn is_owned(journal: &Path) -> bool {
    let lock = File::open(journal.join("lock"));
    lock.is_ok_and(|file| file.try_lock_shared().is_err())
}

fn trees_set_aside(journal: &Path) -> u64 {
    let files = std::fs::read_dir(journal).into_iter().flatten().flatten();
    let is_aside = |name: &std::ffi::OsStr| {
        let name = name.to_string_lossy();
        name.starts_with(super::FOLDER) && name.contains("-contradicted-")
    };
    files.filter(|file| is_aside(&file.file_name())).count() as u64
}
