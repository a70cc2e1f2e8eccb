//! What can go wrong with the log, and what a person can do about it.
//! Never shown to a client of the proxy, who only learns that the log is unavailable. Read `mod.rs` next.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::audit::Malformed;
use crate::audit::checkpoint::Unsound;
use crate::clock::Timestamp;

/// Why the log cannot be opened, written, synced or read. Cheap to clone: all waiters of one sync get the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    #[error("another process owns the journal in `{dir}`")]
    Owned { dir: PathBuf },
    #[error("cannot open `{file}`: {cause}")]
    Open { file: PathBuf, cause: Arc<io::Error> },
    #[error("cannot write `{file}`: {cause}")]
    Write { file: PathBuf, cause: Arc<io::Error> },
    #[error("cannot sync `{file}`: {cause}")]
    Sync { file: PathBuf, cause: Arc<io::Error> },
    #[error("cannot read `{file}`: {cause}")]
    Read { file: PathBuf, cause: Arc<io::Error> },
    #[error("`{file}` is damaged at byte {offset}: {what}")]
    Damaged {
        file: PathBuf,
        offset: u64,
        what: Damage,
    },
    #[error(
        "lane {lane} holds {found} records, but {durable} were on disk: it was cut or replaced at `{file}`"
    )]
    Shorter {
        lane: u16,
        durable: u64,
        found: u64,
        file: PathBuf,
    },
    #[error("a record of {bytes} bytes is larger than {bytes_max}")]
    TooLarge { bytes: usize, bytes_max: usize },
    #[error("the disk has not taken {bytes} bytes of the log within {seconds} s")]
    Stalled { bytes: u64, seconds: u64 },
    #[error("cannot use the index `{file}`: {cause}")]
    Index {
        file: PathBuf,
        cause: Arc<rusqlite::Error>,
    },
    #[error("the log is not the one that `{file}` speaks of: {what}")]
    Contradicted { file: PathBuf, what: String },
    #[error(
        "the records from {since} to {until} were never signed, though checkpoints are signed every minute: `{file}` was \
         cut, or no checkpoint could be written before the stop"
    )]
    Unsigned {
        file: PathBuf,
        since: Timestamp,
        until: Timestamp,
    },
    #[error("`{file}` is not usable: {cause}")]
    Key { file: PathBuf, cause: Unsound },
    #[error("`{file}` is gone, and the log has checkpoints that it signed")]
    KeyMissing { file: PathBuf },
    #[error("the log is called `{is}` by `{file}`, and `{wanted}` by the settings")]
    Origin {
        file: PathBuf,
        is: String,
        wanted: String,
    },
    #[error("the anchor `{anchor}` cannot be read: {what}")]
    Anchor { anchor: String, what: String },
    #[error("{what} is gone: {told}")]
    Pruned { what: String, told: String },
    #[error("the journal is closed")]
    Closed,
    #[error("`{cursor}` is not a cursor of this log")]
    Cursor { cursor: String },
}

/// What is wrong with the bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("its header is not one")]
    Header,
    #[error("the checksum does not match")]
    Checksum,
    #[error("a record ends behind the end of the file")]
    Length,
    #[error("{0}")]
    Record(#[from] Malformed),
    #[error("the segment before it, {0}, is missing or too short")]
    Gap(u64),
}

impl JournalError {
    /// One imperative sentence for the person who reads the error.
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Owned { .. } => "stop the other `countersign serve`, or give this one another data_dir",
            Self::Open { .. } | Self::Read { .. } => "check the folder's owner and permissions",
            Self::Write { .. } | Self::Sync { .. } => {
                "free space or mend the disk; the journal goes on by itself once it can write"
            }
            Self::Damaged { .. } => {
                "restore the journal folder from a copy, and find out who or what changed it"
            }
            Self::Shorter { .. } | Self::Contradicted { .. } | Self::Unsigned { .. } => {
                "restore the data folder from a copy, and find out who or what changed it; to go on with what is left, \
                 and have that in the log, start it once with --accept-loss REASON"
            }
            Self::TooLarge { .. } => "send a shorter statement",
            Self::Stalled { .. } => "look at the load of the disk that holds the journal",
            Self::Index { .. } => "delete the index file; it is built again from the journal",
            Self::Key { .. } | Self::KeyMissing { .. } => "restore the key's file from a copy",
            Self::Origin { .. } => "take `audit.origin` out of the settings: a log keeps its name",
            Self::Anchor { .. } => "check [audit.s3], the network and what the access key may do",
            Self::Pruned { .. } => "look into an export or a copy of the data folder from before that",
            Self::Closed => "start the proxy again",
            Self::Cursor { .. } => "use a cursor exactly as the page before gave it",
        }
    }

    pub(super) fn open(file: &Path, cause: io::Error) -> Self {
        Self::Open {
            file: file.to_owned(),
            cause: Arc::new(cause),
        }
    }

    pub(super) fn write(file: &Path, cause: io::Error) -> Self {
        Self::Write {
            file: file.to_owned(),
            cause: Arc::new(cause),
        }
    }

    pub(super) fn read(file: &Path, cause: io::Error) -> Self {
        Self::Read {
            file: file.to_owned(),
            cause: Arc::new(cause),
        }
    }

    pub(super) fn damaged(file: &Path, offset: u64, what: Damage) -> Self {
        Self::Damaged {
            file: file.to_owned(),
            offset,
            what,
        }
    }

    pub(super) fn sync(file: &Path, cause: io::Error) -> Self {
        Self::Sync {
            file: file.to_owned(),
            cause: Arc::new(cause),
        }
    }
}
