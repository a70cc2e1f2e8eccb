//! The log on disk: append-only segments, one lane of them per wire thread, apart from the store.
//! Never asks a database, another thread or the disk itself on the path of a statement, except for one write.
//! Read `segment.rs` next (what a file holds), then `writer.rs` (how it is written) and `read.rs`.

mod checkpoint;
pub mod disk;
pub mod erase;
mod error;
mod filter;
mod index;
mod lane;
mod load;
mod newest;
mod prune;
pub mod query;
pub mod read;
mod recover;
mod segment;
mod summary;
mod sync;
mod tail;
#[cfg(test)]
mod tests;
pub mod tree;
mod writer;

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::audit::checkpoint::Checkpoint as AuditCheckpoint;
use crate::audit::{Body, Entry, LanePosition, OutcomeKind, StatementOutcome};
use crate::clock::Timestamp;
use crate::identity::principal::AttemptId;
use checkpoint::Checkpoint;
use disk::Disk;
use recover::LaneFound;
use sync::Shared;

pub use error::{Damage, JournalError};
pub use filter::{LIMIT_MAX, LogFilter, Order};
pub use lane::{Lane, Recorded, Synced};
pub use read::{Around, Page, Reader};
pub use summary::{BUCKETS_MAX, Bucket, FACET_VALUES_MAX, Facet, FacetValue, Facets, Histogram, Overview};
pub use tail::{Tail, TailFrom};
pub use tree::AnchorStatus;

/// The lane in which the journal writes of itself.
pub const JOURNAL_LANE: u16 = u16::MAX;

/// Unknown results that one write carries at the start.
const RESULTS_PER_WRITE: usize = 1_000;

/// How often a folder that somebody owns is asked for, and the wait in between.
const OWN_TRIES: u32 = 5;
const OWN_AGAIN: Duration = Duration::from_millis(10);

/// Where the journal lives and how large its files grow.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A folder of its own; made if it is missing.
    pub dir: PathBuf,
    /// Preallocated size of one segment file.
    pub segment_bytes: u64,
    /// What to do when the folder holds less than was known to be on disk, or than was signed.
    pub on_loss: OnLoss,
    /// The folder of the key that signs checkpoints; made there at the first start.
    pub key_dir: PathBuf,
    /// What the log is called in its checkpoints. Without it a new key makes a name of itself.
    pub origin: Option<String>,
    /// Who is handed the checkpoints.
    pub anchors: Vec<tree::Anchor>,
    /// How buckets among them are reached.
    pub bucket_access: Option<tree::bucket::Access>,
    /// How long records are kept, at least a day; `None`: for ever.
    pub retention: Option<Duration>,
    /// What time it is; tests have other times.
    pub now: fn() -> Timestamp,
}

/// What to do when records are gone that were known to be on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// Refuse to open: somebody must look first.
    Refuse,
    /// Open, and say in the boot record what is gone, and why somebody wants to go on.
    Record { reason: String },
}

impl Settings {
    /// A journal in `dir` with segments of 4 MiB that refuses to go on after a loss.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self {
            key_dir: dir.clone(),
            dir,
            segment_bytes: 4 << 20,
            on_loss: OnLoss::Refuse,
            origin: None,
            anchors: Vec::new(),
            bucket_access: None,
            retention: None,
            now: Timestamp::now,
        }
    }
}

/// A place in the journal: lane, segment file, byte in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub lane: u16,
    pub segment: u64,
    pub offset: u64,
}

/// The open journal. Clones are handles to the same one; everything is on disk and the folder free again when the last
/// of them, and of the lanes, is dropped.
#[derive(Clone)]
pub struct Journal {
    owner: Arc<Owner>,
}

/// Ends the journal's threads when nobody holds it any more.
struct Owner {
    shared: Arc<Shared>,
    /// The sync thread is the first.
    threads: Vec<JoinHandle<()>>,
    tree: Arc<tree::Status>,
    /// Dropped once everything is on disk, so that the tree signs its last checkpoint over it.
    draining: Option<mpsc::Sender<()>>,
}

impl Journal {
    /// Opens or makes the journal in its folder, and owns the folder from then on. Attempts of the process before that
    /// have no result get the result `unknown`, a boot record says how each lane was found, and a checkpoint is signed over
    /// all of that. Blocks on the disk.
    pub fn open(settings: Settings) -> Result<Self, JournalError> {
        Self::open_on(settings, Disk::from_environment())
    }

    /// Like `open`, on a disk that may have faults.
    pub fn open_on(settings: Settings, disk: Disk) -> Result<Self, JournalError> {
        std::fs::create_dir_all(&settings.dir).map_err(|cause| JournalError::open(&settings.dir, cause))?;
        let folder = own(&settings.dir)?;
        let (checkpoint, marks) = Checkpoint::open(&settings.dir, &disk)?;
        let found = recover::recover(&settings, &disk, &marks)?;
        let (mut keeper, loss) = tree::open(&settings, &found)?;
        let pruned = prune::finish(&settings.dir)?;
        keeper.status.keeps(pruned.leaves, None);
        let positions: Vec<_> = found.values().map(|lane| lane.position).collect();
        let unknown: Vec<_> = found
            .iter()
            .map(|(number, lane)| (*number, unresolved(lane)))
            .collect();
        let starts = found
            .into_iter()
            .map(|(number, lane)| (number, lane.start))
            .collect();
        let shared = Arc::new(Shared::new(settings, disk, folder, starts));
        let mut owner = Owner {
            shared,
            threads: Vec::new(),
            tree: Arc::clone(&keeper.status),
            draining: None,
        };
        owner.start_writing(checkpoint)?;
        let mut journal = Self {
            owner: Arc::new(owner),
        };
        for (number, attempts) in unknown {
            journal.resolve(number, &attempts)?;
        }
        journal.record_boot(&positions, &loss)?;
        // Signed before anybody can write: whatever comes now is younger than a checkpoint, whenever its event was, and
        // however soon this process is killed.
        keeper.sign_up_to(journal.owner.shared.marks().into_iter())?;
        let owner = Arc::get_mut(&mut journal.owner);
        owner
            .expect("the lanes that held it are dropped")
            .start_signing(keeper)?;
        Ok(journal)
    }

    /// The lane of this number, new or as it was left. One per thread; `JOURNAL_LANE` is the journal's own.
    pub fn lane(&self, number: u16) -> Lane {
        Lane::new(Arc::clone(&self.owner), self.owner.shared.lane(number))
    }

    pub fn reader(&self) -> Reader {
        Reader::open(&self.owner.shared.settings.dir)
    }

    /// Whether the last write and the last sync of every lane went well, or the disk has taken both since.
    pub fn is_healthy(&self) -> bool {
        self.owner.shared.is_healthy()
    }

    /// The public half of the key that signs checkpoints.
    pub fn public_key_file(&self) -> PathBuf {
        self.owner.shared.settings.key_dir.join(tree::PUBLIC_KEY_FILE)
    }

    /// Bytes that the log's disk still takes; `None`: it does not say.
    pub fn room(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.owner.shared.settings.dir).ok()?;
        disk.f_bavail.checked_mul(disk.f_frsize)
    }

    /// Tells of checkpoints for as long as anybody asks, also once the journal is closed.
    pub fn tree_news(&self) -> TreeNews {
        TreeNews {
            status: Arc::clone(&self.owner.tree),
        }
    }

    /// How many records are on disk, and what of them is signed and anchored.
    pub fn tree(&self) -> TreeStatus {
        let marks = self.owner.shared.marks();
        TreeStatus {
            records: marks.iter().map(|mark| mark.records).sum(),
            signed: self.owner.tree.signed(),
            anchored: self.owner.tree.anchored(),
            anchors: self.owner.tree.anchors(),
            pruned: self.owner.tree.pruned(),
            oldest: self.owner.tree.oldest(),
            retention: self.owner.shared.settings.retention,
        }
    }

    fn resolve(&self, number: u16, attempts: &[AttemptId]) -> Result<(), JournalError> {
        let mut lane = self.lane(number);
        let now = (self.owner.shared.settings.now)();
        for some in attempts.chunks(RESULTS_PER_WRITE) {
            let entries: Vec<_> = some.iter().map(|attempt| unknown_result(*attempt, now)).collect();
            let recorded = lane.append(&entries)?;
            lane.sync_blocking(&recorded)?;
        }
        Ok(())
    }

    fn record_boot(&self, positions: &[LanePosition], loss: &str) -> Result<(), JournalError> {
        let mut lane = self.lane(JOURNAL_LANE);
        let boot = format!("{:016x}", rand::random::<u64>());
        let body = Body::Boot {
            boot: &boot,
            version: env!("CARGO_PKG_VERSION"),
            positions,
            detail: loss,
        };
        let recorded = lane.append(&[Entry {
            time: (self.owner.shared.settings.now)(),
            session: None,
            body,
        }])?;
        lane.sync_blocking(&recorded).map(drop)
    }
}

impl Owner {
    fn start_writing(&mut self, checkpoint: Checkpoint) -> Result<(), JournalError> {
        self.keep(sync::start(Arc::clone(&self.shared), checkpoint))?;
        self.keep(index::start(Arc::clone(&self.shared)))
    }

    fn start_signing(&mut self, keeper: tree::Keeper) -> Result<(), JournalError> {
        let (draining, drained) = mpsc::channel();
        let (signing, signed) = mpsc::channel();
        self.draining = Some(draining);
        self.keep(tree::start(Arc::clone(&self.shared), keeper, drained, signing))?;
        if !self.shared.settings.anchors.is_empty() {
            let anchors = tree::start_anchors(Arc::clone(&self.shared), Arc::clone(&self.tree), signed);
            self.keep(anchors)?;
        }
        // Behind the anchors' thread, which knows what they have taken.
        self.keep(prune::start(Arc::clone(&self.shared), Arc::clone(&self.tree)))
    }

    fn keep(&mut self, thread: io::Result<JoinHandle<()>>) -> Result<(), JournalError> {
        let dir = &self.shared.settings.dir;
        self.threads
            .push(thread.map_err(|cause| JournalError::open(dir, cause))?);
        Ok(())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the journal has panicked");
            }
            // The first has ended: it puts everything on disk.
            drop(self.draining.take());
        }
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("dir", &self.owner.shared.settings.dir)
            .finish_non_exhaustive()
    }
}

/// What of the log is signed, and what somebody else holds a checkpoint of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeStatus {
    /// On disk.
    pub records: u64,
    /// Under the last checkpoint, and when that was signed.
    pub signed: Option<(u64, Timestamp)>,
    /// Under the last checkpoint that every anchor has taken; 0 without anchors.
    pub anchored: u64,
    /// Each anchor, in the order of the settings; empty: none is configured.
    pub anchors: Vec<AnchorStatus>,
    /// Records that are gone by retention.
    pub pruned: u64,
    /// Of the oldest record that is kept.
    pub oldest: Option<Timestamp>,
    /// How long records are kept; `None`: for ever.
    pub retention: Option<Duration>,
}

/// Whoever wants to hear of checkpoints asks this. It holds nothing open.
#[derive(Clone)]
pub struct TreeNews {
    status: Arc<tree::Status>,
}

/// The last checkpoint, and how far anchors are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointNews {
    pub checkpoint: AuditCheckpoint,
    /// Records under the last checkpoint that every anchor has taken; 0 without anchors.
    pub anchored: u64,
}

impl TreeNews {
    pub fn newest(&self) -> Option<CheckpointNews> {
        Some(CheckpointNews {
            checkpoint: self.status.last()?,
            anchored: self.status.anchored(),
        })
    }
}

/// Takes the folder for this process, until the file is closed.
fn own(dir: &Path) -> Result<File, JournalError> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(|cause| JournalError::open(&path, cause))?;
    for _ in 0..OWN_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // `log verify` looks for a moment whether anybody owns it.
            Err(TryLockError::WouldBlock) => std::thread::sleep(OWN_AGAIN),
            Err(TryLockError::Error(cause)) => return Err(JournalError::open(&path, cause)),
        }
    }
    Err(JournalError::Owned { dir: dir.to_owned() })
}

/// Attempts of a lane without a result, in the order of their segments.
fn unresolved(lane: &LaneFound) -> Vec<AttemptId> {
    let mut attempts: Vec<_> = lane
        .start
        .attempts
        .iter()
        .map(|(id, segment)| (*segment, *id))
        .collect();
    attempts.sort_unstable();
    attempts.into_iter().map(|(_, id)| id).collect()
}

fn unknown_result(attempt: AttemptId, now: Timestamp) -> Entry<'static> {
    let outcome = StatementOutcome {
        attempt,
        kind: OutcomeKind::Unknown,
        rows: None,
        tag: "",
        sqlstate: "",
        message: "the proxy stopped before the result was recorded",
        request: None,
    };
    Entry {
        time: now,
        session: Some(attempt.session),
        body: Body::Outcome(outcome),
    }
}
