//! Appends records: one write by the calling thread, nothing else on a statement's path.
//! Never syncs on that thread. Read `read.rs` next.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::{JournalError, Position, Settings};
use crate::audit::Entry;

pub(super) struct Shared {
    pub settings: Settings,
    path: PathBuf,
    file: File,
    end: Mutex<u64>,
}

impl Shared {
    pub fn open(settings: Settings) -> Result<Self, JournalError> {
        std::fs::create_dir_all(&settings.dir).map_err(|cause| JournalError::open(&settings.dir, cause))?;
        let path = settings.dir.join("journal");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|cause| JournalError::open(&path, cause))?;
        Ok(Self {
            settings,
            path,
            file,
            end: Mutex::new(0),
        })
    }
}

/// One sequence of records. Held by one thread at a time.
pub struct Lane {
    shared: Arc<Shared>,
    number: u16,
    staged: Vec<u8>,
}

/// Proof that records were written: they outlive this process, though perhaps not a power failure.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    position: Position,
}

/// Proof that records are on disk.
#[derive(Clone, Copy, Debug)]
pub struct Synced {
    position: Position,
}

impl Recorded {
    /// Where the last of the records ends.
    pub const fn position(&self) -> Position {
        self.position
    }
}

impl Synced {
    /// Up to here, at least, everything in the lane is on disk.
    pub const fn position(&self) -> Position {
        self.position
    }
}

impl Lane {
    pub(super) const fn of(shared: Arc<Shared>, number: u16) -> Self {
        Self {
            shared,
            number,
            staged: Vec::new(),
        }
    }

    pub const fn number(&self) -> u16 {
        self.number
    }

    /// Writes staged records and these, in this order, with one write. On an error none of these is in the log, the
    /// staged ones wait for the next append, and that one tries afresh.
    pub fn append(&mut self, entries: &[Entry<'_>]) -> Result<Recorded, JournalError> {
        entries.iter().for_each(|entry| entry.encode(&mut self.staged));
        self.flush()?;
        let offset = *self.shared.end.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Recorded {
            position: Position {
                lane: self.number,
                segment: 0,
                offset,
            },
        })
    }

    /// Keeps a result in memory until the next append or flush.
    pub fn stage(&mut self, entry: &Entry<'_>) {
        entry.encode(&mut self.staged);
    }

    /// Whether something waits to be flushed; the owner does so within 10 ms.
    pub const fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    pub fn flush(&mut self) -> Result<(), JournalError> {
        let mut end = self.shared.end.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.shared.file.write_all_at(&self.staged, *end);
        written.map_err(|cause| JournalError::write(&self.shared.path, cause))?;
        *end += self.staged.len() as u64;
        self.staged.clear();
        Ok(())
    }

    /// Ends when the records are on disk. The disk is asked by a thread of its own, once for all who wait.
    pub fn sync(
        &self,
        recorded: &Recorded,
    ) -> impl Future<Output = Result<Synced, JournalError>> + Send + use<> {
        let (shared, recorded) = (Arc::clone(&self.shared), *recorded);
        async move { sync(&shared, recorded) }
    }

    /// Like `sync`, for a thread that has no runtime.
    pub fn sync_blocking(&self, recorded: &Recorded) -> Result<Synced, JournalError> {
        sync(&self.shared, *recorded)
    }
}

fn sync(shared: &Shared, recorded: Recorded) -> Result<Synced, JournalError> {
    shared
        .file
        .sync_data()
        .map_err(|cause| JournalError::sync(&shared.path, cause))?;
    Ok(Synced {
        position: recorded.position,
    })
}
