//! Grows the tree: reads back what is on disk, hashes it, and signs checkpoints. One thread, of its own.
//! Never makes an append wait and never signs what is not on disk; what fails is tried again. Read `open.rs` next.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::cursor::LaneCursor;
use super::files::{CHECKPOINTS_FILE, Folder, RUNS_FILE, Run};
use super::pruned::Believed;
use super::trace::{self, TRACE_FILE};
use super::{CHECKPOINT_EVERY, HASH_BYTES, LEVELS_PER_FILE};
use crate::audit::checkpoint::{Checkpoint, Signed, SigningKey, VerifyingKey};
use crate::audit::merkle::{Edge, Hash, Subtree, leaf_hash};
use crate::audit::{Kind, RecordId};
use crate::clock::Timestamp;
use crate::journal::JournalError;
use crate::journal::checkpoint::LaneMark;
use crate::journal::sync::Shared;

/// How often the lanes are looked at. A decision is signed within this and `CHECKPOINT_GAP` together, at the latest.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two checkpoints there is at least this, except at the end.
const CHECKPOINT_GAP: Duration = Duration::from_secs(1);
/// Records that are hashed and not yet signed. More are signed at once: their hashes are kept in memory, 32 MiB.
const PENDING_MAX: u64 = 1 << 20;

/// What the keeper has done, for whoever asks.
#[derive(Debug, Default)]
pub struct Status {
    size: AtomicU64,
    /// Microseconds since 1970; 0 before the first checkpoint.
    time: AtomicI64,
    anchored: AtomicU64,
    anchors: Mutex<Vec<AnchorStatus>>,
    last: Mutex<Option<Checkpoint>>,
    pruned: AtomicU64,
    /// The hash over the roots of what is being pruned.
    announced: Mutex<Option<Hash>>,
    /// Of the oldest record, in microseconds since 1970; 0 if there is none.
    oldest: AtomicI64,
}

/// How it stands with one anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorStatus {
    /// A file's path or a URL without what stands behind `?`.
    pub name: String,
    /// Records under the last checkpoint that it has taken.
    pub taken: u64,
    /// Why it did not take the newest; `None`: it did, or has not been asked yet.
    pub failed: Option<String>,
}

impl AnchorStatus {
    pub fn of(name: &str, taken: u64) -> Self {
        Self {
            name: name.to_owned(),
            taken,
            failed: None,
        }
    }
}

impl Status {
    /// Records under the last checkpoint, and when it was signed.
    pub fn signed(&self) -> Option<(u64, Timestamp)> {
        let time = self.time.load(Ordering::Relaxed);
        (time > 0).then(|| (self.size.load(Ordering::Relaxed), Timestamp::from_micros(time)))
    }

    /// Records under the last checkpoint that every anchor has taken; 0 without anchors.
    pub fn anchored(&self) -> u64 {
        self.anchored.load(Ordering::Relaxed)
    }

    /// How it stands with each anchor, in the order of the settings.
    pub fn anchors(&self) -> Vec<AnchorStatus> {
        self.anchors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn have_taken(&self, anchors: Vec<AnchorStatus>) {
        let least = anchors.iter().map(|anchor| anchor.taken).min();
        self.anchored.store(least.unwrap_or(0), Ordering::Relaxed);
        *self.anchors.lock().unwrap_or_else(PoisonError::into_inner) = anchors;
    }

    /// Records that are gone by retention.
    pub fn pruned(&self) -> u64 {
        self.pruned.load(Ordering::Relaxed)
    }

    /// The time of the oldest record that is kept; `None` until it has been looked for, or if it cannot be read.
    pub fn oldest(&self) -> Option<Timestamp> {
        let oldest = self.oldest.load(Ordering::Relaxed);
        (oldest > 0).then(|| Timestamp::from_micros(oldest))
    }

    pub fn keeps(&self, pruned: u64, oldest: Option<Timestamp>) {
        self.pruned.store(pruned, Ordering::Relaxed);
        self.oldest
            .store(oldest.map_or(0, Timestamp::micros), Ordering::Relaxed);
    }

    /// A record of the kind `pruned` comes next, with this hash over its roots; no other is signed.
    pub fn announces_pruning(&self, roots_sha256: Hash) {
        *self.announced.lock().unwrap_or_else(PoisonError::into_inner) = Some(roots_sha256);
    }

    fn announced(&self) -> Option<Hash> {
        *self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last checkpoint.
    pub fn last(&self) -> Option<Checkpoint> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn has_signed(&self, signed: &Signed) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(signed.checkpoint.clone());
        self.size.store(signed.checkpoint.size, Ordering::Relaxed);
        self.time
            .store(signed.checkpoint.time.micros(), Ordering::Relaxed);
    }
}

/// The tree as it stands and what is on its way into it.
pub struct Keeper {
    journal: PathBuf,
    key_dir: PathBuf,
    folder: Folder,
    key: SigningKey,
    /// Ends behind everything that has its place in the tree, written or not.
    edge: Edge,
    levels: LevelBuffers,
    runs: Tail,
    checkpoints: Tail,
    /// Of each lane what is read, and the hashes that have no place in the tree yet.
    lanes: BTreeMap<u16, LanePart>,
    signed: Option<Signed>,
    /// Something is read that is signed within a second.
    has_decision: bool,
    /// Of records that say what was pruned; one that is not believed ends the signing.
    believed: Believed,
    forged: Option<RecordId>,
    now: fn() -> Timestamp,
    pub status: Arc<Status>,
}

/// Where a keeper begins, as `open.rs` found it.
pub struct Start {
    pub journal: PathBuf,
    pub key_dir: PathBuf,
    pub key: SigningKey,
    pub edge: Edge,
    /// The lengths of the two files that grow by whole pieces.
    pub runs_bytes: u64,
    pub checkpoints_bytes: u64,
    /// The next record of each lane.
    pub lanes: BTreeMap<u16, u64>,
    pub signed: Option<Signed>,
    /// Of what the process before has left unsigned.
    pub believed: Believed,
    /// What time it is.
    pub now: fn() -> Timestamp,
}

struct LanePart {
    cursor: LaneCursor,
    hashes: Vec<Hash>,
}

/// The end of a file that only grows: what is to be written behind its first `bytes`.
struct Tail {
    path: PathBuf,
    bytes: u64,
    unwritten: Vec<u8>,
}

/// Hashes on their way into the files of the levels.
pub struct LevelBuffers {
    /// Leaves before the first of them.
    start: u64,
    by_level: BTreeMap<u32, Vec<u8>>,
}

impl Keeper {
    pub fn new(start: Start) -> Self {
        let folder = Folder::of(&start.journal);
        let status = Status::default();
        if let Some(signed) = &start.signed {
            status.has_signed(signed);
        }
        let lanes = start.lanes.into_iter();
        Self {
            levels: LevelBuffers::from(start.edge.size()),
            runs: Tail::of(folder.file(RUNS_FILE), start.runs_bytes),
            checkpoints: Tail::of(folder.file(CHECKPOINTS_FILE), start.checkpoints_bytes),
            lanes: lanes
                .map(|(lane, next)| (lane, LanePart::at(lane, next)))
                .collect(),
            journal: start.journal,
            key_dir: start.key_dir,
            folder,
            key: start.key,
            edge: start.edge,
            signed: start.signed,
            has_decision: false,
            believed: start.believed,
            forged: None,
            now: start.now,
            status: Arc::new(status),
        }
    }

    pub const fn signed(&self) -> Option<&Signed> {
        self.signed.as_ref()
    }

    pub const fn public_key(&self) -> &VerifyingKey {
        self.key.public()
    }

    /// From now on records say what was pruned if this process has announced it.
    pub const fn believes_its_own(&mut self) {
        self.believed = Believed::Announced(None);
    }

    /// Signs everything up to these places, which are on disk.
    pub fn sign_up_to(&mut self, marks: impl Iterator<Item = LaneMark> + Clone) -> Result<(), JournalError> {
        loop {
            self.read(marks.clone())?;
            if !self.has_news() {
                return Ok(());
            }
            self.checkpoint()?;
        }
    }

    /// Reads what has come on disk since the last time, a limited number of records.
    fn read(&mut self, marks: impl Iterator<Item = LaneMark>) -> Result<(), JournalError> {
        let mut room = PENDING_MAX.saturating_sub(self.pending());
        let believed = match self.believed {
            Believed::Announced(_) => Believed::Announced(self.status.announced()),
            of_before => of_before,
        };
        for mark in marks {
            let lane = self.lanes.entry(mark.lane);
            let part = lane.or_insert_with(|| LanePart::at(mark.lane, 0));
            let (hashes, has_decision, forged) = (&mut part.hashes, &mut self.has_decision, &mut self.forged);
            let (before, first) = (hashes.len(), part.cursor.next);
            part.cursor.read(&self.journal, &mark, room, |payload| {
                hashes.push(leaf_hash(payload));
                let is = |kind: Kind| payload.get(1) == Some(&(kind as u8));
                *has_decision |= is(Kind::Decision) || is(Kind::Pruned);
                if is(Kind::Pruned) && !believed.may_be(payload) {
                    forged.get_or_insert(RecordId {
                        lane: mark.lane,
                        number: first + (hashes.len() - before) as u64 - 1,
                    });
                }
            })?;
            room -= (part.hashes.len() - before) as u64;
        }
        match self.forged {
            Some(id) => Err(JournalError::Contradicted {
                file: self.folder.path().to_owned(),
                what: format!(
                    "record {id} says that records were pruned, and {}; it is not signed",
                    believed.told()
                ),
            }),
            None => Ok(()),
        }
    }

    /// Hashes without a place in the tree.
    fn pending(&self) -> u64 {
        self.lanes.values().map(|part| part.hashes.len() as u64).sum()
    }

    /// Gives what is pending its place, writes it, and signs it once it is on disk.
    pub fn checkpoint(&mut self) -> Result<(), JournalError> {
        self.place();
        self.levels.write(&self.folder, self.edge.size())?;
        self.runs.write()?;
        if self.signed.is_none() {
            sync_folder(self.folder.path())?;
        }
        let earlier = self.signed.as_ref().map(|signed| signed.checkpoint.time);
        let time = (self.now)().max(earlier.unwrap_or(Timestamp::from_micros(0)));
        let signed = self.key.sign(self.edge.size(), self.edge.root(), time);
        self.checkpoints.unwritten = format!("{}\n", signed.note).into_bytes();
        self.checkpoints.write()?;
        if self.signed.is_none() {
            sync_folder(self.folder.path())?;
        }
        self.status.has_signed(&signed);
        self.signed = Some(signed);
        self.has_decision = false;
        // An older one is allowed there: the next checkpoint writes it again.
        if let Err(error) = self.keep_trace() {
            tracing::warn!(%error, "the last checkpoint is not kept outside the tree");
        }
        Ok(())
    }

    /// Keeps the last checkpoint once more, outside the tree.
    pub fn keep_trace(&self) -> Result<(), JournalError> {
        let Some(signed) = &self.signed else {
            return Ok(());
        };
        trace::write(&self.key_dir, signed)
            .map_err(|cause| JournalError::write(&self.key_dir.join(TRACE_FILE), cause))
    }

    /// From here on the order of these leaves is fixed, whatever fails.
    fn place(&mut self) {
        for (lane, part) in &mut self.lanes {
            if part.hashes.is_empty() {
                continue;
            }
            let count = part.hashes.len() as u64;
            let run = Run {
                start: self.edge.size(),
                lane: *lane,
                first: part.cursor.next - count,
                count,
            };
            self.runs.unwritten.extend_from_slice(&run.encode());
            for hash in part.hashes.drain(..) {
                let levels = &mut self.levels;
                self.edge.append(hash, |subtree, hash| levels.add(subtree, hash));
            }
        }
    }

    /// Whether the tree holds, or will hold, what no checkpoint signs.
    fn has_news(&self) -> bool {
        let signed = self.signed.as_ref().map_or(0, |signed| signed.checkpoint.size);
        self.pending() > 0 || self.edge.size() > signed
    }
}

impl LanePart {
    const fn at(lane: u16, next: u64) -> Self {
        Self {
            cursor: LaneCursor::new(lane, next),
            hashes: Vec::new(),
        }
    }
}

impl Tail {
    const fn of(path: PathBuf, bytes: u64) -> Self {
        Self {
            path,
            bytes,
            unwritten: Vec::new(),
        }
    }

    /// Returns when everything is on disk.
    fn write(&mut self) -> Result<(), JournalError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        write_behind(&self.path, self.bytes, &self.unwritten)?;
        self.bytes += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }
}

impl LevelBuffers {
    pub const fn from(start: u64) -> Self {
        Self {
            start,
            by_level: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, subtree: Subtree, hash: &Hash) {
        if subtree.level.is_multiple_of(LEVELS_PER_FILE) {
            self.by_level
                .entry(subtree.level)
                .or_default()
                .extend_from_slice(hash);
        }
    }

    /// Returns when everything is on disk; `end` is the number of leaves behind the last hash that was added.
    pub fn write(&mut self, folder: &Folder, end: u64) -> Result<(), JournalError> {
        for (level, hashes) in &self.by_level {
            if !hashes.is_empty() {
                let offset = (self.start >> level) * HASH_BYTES;
                write_behind(&folder.level(*level), offset, hashes)?;
            }
        }
        self.forget(end);
        Ok(())
    }

    /// Leaves out what was added since the last time.
    pub fn forget(&mut self, end: u64) {
        self.by_level.values_mut().for_each(Vec::clear);
        self.start = end;
    }
}

/// Makes the file's first `bytes` be followed by these and by nothing else, on disk.
pub fn write_behind(path: &Path, bytes: u64, new: &[u8]) -> Result<(), JournalError> {
    let failed = |cause: io::Error| JournalError::write(path, cause);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed)?;
    if file.metadata().map_err(failed)?.len() > bytes {
        file.set_len(bytes).map_err(failed)?;
    }
    file.write_all_at(new, bytes).map_err(failed)?;
    file.sync_data().map_err(|cause| JournalError::sync(path, cause))
}

pub fn sync_folder(folder: &Path) -> Result<(), JournalError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|cause| JournalError::sync(folder, cause))
}

/// Starts the keeper's thread. After `Shared::close` it waits until `drained` is dropped, which says that everything is
/// on disk, signs a last time, drops `signing` and ends.
pub fn start(
    shared: Arc<Shared>,
    keeper: Keeper,
    drained: mpsc::Receiver<()>,
    signing: mpsc::Sender<()>,
) -> io::Result<JoinHandle<()>> {
    let run = move || {
        run(&shared, keeper, &drained);
        drop(signing);
    };
    thread::Builder::new().name("journal-tree".to_owned()).spawn(run)
}

fn run(shared: &Shared, mut keeper: Keeper, drained: &mpsc::Receiver<()>) {
    let mut signed_at: Option<Moment> = None;
    let mut is_failing = false;
    let mut wait = Duration::ZERO;
    loop {
        let is_end = shared.closes_within(wait);
        if is_end {
            // Nothing is ever sent: it ends with the sender.
            let _ended = drained.recv();
        }
        let since = signed_at.map(Moment::elapsed);
        let done = if is_end {
            // Everything, however far behind: the last checkpoint leaves no tail.
            keeper.sign_up_to(shared.marks().into_iter())
        } else {
            keeper.read(shared.marks().into_iter()).and_then(|()| {
                if keeper.has_news() && keeper.is_due(since) {
                    signed_at = Some(Moment::now());
                    keeper.checkpoint()?;
                }
                Ok(())
            })
        };
        match &done {
            Err(error) if !is_failing => {
                tracing::error!(%error, next_step = error.next_step(), "no checkpoint of the log can be signed");
            }
            Ok(()) if is_failing => tracing::info!("checkpoints of the log are signed again"),
            Err(_) | Ok(()) => {}
        }
        is_failing = done.is_err();
        if is_end {
            return;
        }
        let is_behind = keeper.pending() >= PENDING_MAX;
        wait = if is_behind {
            Duration::ZERO
        } else {
            keeper.next_look(signed_at)
        };
    }
}

/// When it was, by the clock that counts sleep and by the one that records are written by.
#[derive(Clone, Copy)]
struct Moment {
    boot: Duration,
    wall: Timestamp,
}

impl Moment {
    fn now() -> Self {
        let boot = clock_gettime(ClockId::Boottime);
        let nanos = u32::try_from(boot.tv_nsec).unwrap_or(0);
        Self {
            boot: Duration::new(u64::try_from(boot.tv_sec).unwrap_or(0), nanos),
            wall: Timestamp::now(),
        }
    }

    /// By whichever clock went further: when the records' clock jumps, what was written before is signed at once, so
    /// that their times never lie further apart than a checkpoint takes.
    fn elapsed(self) -> Duration {
        let now = Self::now();
        let wall = now.wall.since(self.wall).max(self.wall.since(now.wall));
        wall.max(now.boot.saturating_sub(self.boot))
    }
}

impl Keeper {
    /// Whether to sign, so long after the last time; `None`: not since the start.
    fn is_due(&self, since: Option<Duration>) -> bool {
        since.is_none_or(|since| {
            since >= CHECKPOINT_EVERY
                || self.pending() >= PENDING_MAX
                || self.has_decision && since >= CHECKPOINT_GAP
        })
    }

    /// A decision that waits for its second to be over is signed on time.
    fn next_look(&self, signed_at: Option<Moment>) -> Duration {
        let since = signed_at.map_or(CHECKPOINT_GAP, Moment::elapsed);
        match CHECKPOINT_GAP.checked_sub(since) {
            Some(left) if self.has_decision => left.min(LOOK_EVERY),
            Some(_) | None => LOOK_EVERY,
        }
    }
}
