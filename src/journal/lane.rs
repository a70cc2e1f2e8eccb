//! What a wire thread holds of the journal: append, stage, flush, and waiting for the disk.
//! Never blocks on the disk's confirmation unless it is asked to, or too much waits for it. Read `read.rs` next.

use std::future::Future;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::error::JournalError;
use super::sync::{LaneState, Shared};
use super::writer::{Appended, Writer};
use super::{Owner, Position};
use crate::audit::{Entry, RecordId};

/// Bytes of a lane that may wait for the disk; they are kept in memory. Beyond, a slow log slows statements.
const UNSYNCED_BYTES_MAX: u64 = 8 << 20;
/// From here on the disk is asked although nobody waits.
const UNSYNCED_BYTES_SOON: u64 = 1 << 20;
/// A disk that takes longer than this for them is broken.
const STALL_SECONDS: u64 = 5;

/// One sequence of records. Held by one thread at a time.
pub struct Lane {
    owner: Arc<Owner>,
    state: Arc<LaneState>,
}

/// Proof that records were written: they outlive this process, though perhaps not a power failure.
#[derive(Clone, Copy, Debug)]
pub struct Recorded(Appended);

/// Proof that records are on disk.
#[derive(Clone, Copy, Debug)]
pub struct Synced(Appended);

impl Recorded {
    /// Where the last of the records ends.
    pub const fn position(&self) -> Position {
        self.0.position
    }

    /// The last of the records.
    pub const fn id(&self) -> RecordId {
        RecordId {
            lane: self.0.position.lane,
            number: self.0.record,
        }
    }
}

impl Synced {
    /// Up to here, at least, everything in the lane is on disk.
    pub const fn position(&self) -> Position {
        self.0.position
    }
}

impl Lane {
    pub(super) const fn new(owner: Arc<Owner>, state: Arc<LaneState>) -> Self {
        Self { owner, state }
    }

    pub fn number(&self) -> u16 {
        self.state.number
    }

    /// Writes staged records and these, in this order, with one write. After an error none of these counts as
    /// recorded, what is staged waits for the next append, and that one tries afresh.
    pub fn append(&mut self, entries: &[Entry<'_>]) -> Result<Recorded, JournalError> {
        let mut writer = self.wait_for_room(self.state.writer())?;
        let appended = writer.append(entries);
        let in_doubt = writer.bytes_in_doubt();
        drop(writer);
        if appended.is_err() {
            self.state.breaks();
        }
        if in_doubt > UNSYNCED_BYTES_SOON {
            self.shared().hurry(&self.state);
        }
        appended.map(Recorded)
    }

    /// Keeps a result in memory until the next append or flush. For results only: an attempt is appended.
    pub fn stage(&mut self, entry: &Entry<'_>) {
        self.state.writer().stage(entry);
    }

    /// Whether something waits to be flushed; the owner does so within 10 ms.
    pub fn has_staged(&self) -> bool {
        self.state.writer().has_staged()
    }

    pub fn flush(&mut self) -> Result<(), JournalError> {
        if self.has_staged() {
            self.append(&[]).map(drop)
        } else {
            Ok(())
        }
    }

    /// Ends when the records are on disk. The disk is asked by a thread of its own, once for all who wait.
    pub fn sync(
        &self,
        recorded: &Recorded,
    ) -> impl Future<Output = Result<Synced, JournalError>> + Send + use<> {
        let appended = recorded.0;
        let told = self.shared().wait_in_task(&self.state, appended.sequence);
        async move {
            if let Some(told) = told {
                told.await.unwrap_or(Err(JournalError::Closed))?;
            }
            Ok(Synced(appended))
        }
    }

    /// Like `sync`, for a thread that has no runtime.
    pub fn sync_blocking(&self, recorded: &Recorded) -> Result<Synced, JournalError> {
        let appended = recorded.0;
        if let Some(told) = self.shared().wait_in_thread(&self.state, appended.sequence) {
            told.recv().unwrap_or(Err(JournalError::Closed))?;
        }
        Ok(Synced(appended))
    }

    fn wait_for_room<'a>(
        &self,
        mut writer: MutexGuard<'a, Writer>,
    ) -> Result<MutexGuard<'a, Writer>, JournalError> {
        if writer.bytes_in_doubt() <= UNSYNCED_BYTES_MAX {
            return Ok(writer);
        }
        let end = Instant::now() + Duration::from_secs(STALL_SECONDS);
        while writer.bytes_in_doubt() > UNSYNCED_BYTES_MAX {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.state.is_broken() {
                self.state.breaks();
                return Err(JournalError::Stalled {
                    bytes: writer.bytes_in_doubt(),
                    seconds: STALL_SECONDS,
                });
            }
            self.shared().hurry(&self.state);
            writer = self.state.wait_for_progress(writer, left);
        }
        Ok(writer)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }
}
