//! The store in one SQLite file. Never decides: it compares and sets. Read `schema/001_requests.sql` next.

use std::path::Path;

use rusqlite::Connection;

/// One connection to the store's file; other processes may have theirs beside it.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
}

/// What went wrong with the store's file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store is locked by another process")]
    Busy,
    #[error("the store's file system is full")]
    Full,
    #[error("the store cannot be written")]
    ReadOnly,
    #[error("the store is damaged: {0}")]
    Damaged(String),
    #[error("the store is of a newer version than this program: {found}, known is {known}")]
    TooNew { found: u32, known: u32 },
    #[error("the store failed: {0}")]
    Failed(String),
}

impl Store {
    /// Makes the file if there is none and brings its tables up to date under a lock.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(path).map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(Self { connection })
    }
}
