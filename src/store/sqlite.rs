//! The store's file: opened, brought up to date under a lock, reopened after a fault.
//! Never decides: it compares and sets. Read `requests.rs` next.
//!
//! Why every call goes through `read` or `write`: a full disk, a lock or a damaged page is an answer, never a panic,
//! and the call after it starts afresh.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

/// How long a caller waits for another process's lock, before it is told that the store is busy.
const BUSY_WAIT: Duration = Duration::from_millis(250);

/// How long a command waits: beside a proxy on a busy machine a transaction takes a while, and nobody waits behind it.
const COMMAND_BUSY_WAIT: Duration = Duration::from_secs(10);

/// Schema files in order; the place in the list, from 1, is the version.
const SCHEMA: &[&str] = &[
    include_str!("schema/001_requests.sql"),
    include_str!("schema/002_standing_grants.sql"),
    include_str!("schema/003_native_passwords.sql"),
    include_str!("schema/004_browser_sessions.sql"),
    include_str!("schema/005_remarks.sql"),
    include_str!("schema/006_guards_and_runs.sql"),
    include_str!("schema/007_requirements.sql"),
    include_str!("schema/008_deliveries.sql"),
    include_str!("schema/009_channel_links.sql"),
    include_str!("schema/010_factors.sql"),
    include_str!("schema/011_break_glass.sql"),
    include_str!("schema/012_answers.sql"),
    include_str!("schema/013_whole_sessions.sql"),
    include_str!("schema/014_fair_deliveries.sql"),
    include_str!("schema/015_ways_in.sql"),
];

/// One connection to the store's file; other processes may have theirs beside it.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    limits: Limits,
    /// `None` after a fault: the next call opens it again.
    connection: Option<Connection>,
}

/// What the file may grow to and how long a lock is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub busy_wait: Duration,
    /// Pages of 4 KiB; `None` leaves it to the file system.
    pub pages_max: Option<u32>,
}

impl Limits {
    /// For a process that does one thing and ends.
    pub fn of_a_command() -> Self {
        Self {
            busy_wait: COMMAND_BUSY_WAIT,
            ..Self::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            busy_wait: BUSY_WAIT,
            pages_max: None,
        }
    }
}

/// What went wrong with the store's file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store is locked by another process")]
    Busy,
    #[error("no room is left for the store")]
    Full,
    #[error("the store's file cannot be written")]
    ReadOnly,
    #[error("the store is damaged: {0}")]
    Damaged(String),
    #[error("the store has version {found}, this program knows {known}")]
    TooNew { found: u32, known: u32 },
    #[error("the store failed: {0}")]
    Failed(String),
    /// The commit failed, and whether it took hold could not be read either.
    #[error("it is not known whether the store kept the change: {0}")]
    Unclear(String),
}

impl StoreError {
    /// What the person can do now.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Busy => "end the other process that keeps the store locked",
            Self::Full => "make room on its file system; nothing needs to be restarted",
            Self::ReadOnly => "make the store's file and folder writable for the user that runs countersign",
            Self::Damaged(_) => "put the newest backup of the store in its place; the log is not affected",
            Self::TooNew { .. } => "run the version of countersign that wrote it, or a newer one",
            Self::Failed(_) | Self::Unclear(_) => "look at the file system that holds the store",
        }
    }

    pub(super) fn damaged(what: impl std::fmt::Display) -> Self {
        Self::Damaged(what.to_string())
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Held for as long as a process serves the store's folder.
#[derive(Debug)]
pub struct ServingLock {
    _file: File,
}

impl Store {
    /// Makes the file if there is none and brings its tables up to date under a lock.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, Limits::default())
    }

    pub fn open_with(path: &Path, limits: Limits) -> Result<Self, StoreError> {
        let mut store = Self {
            path: path.to_owned(),
            limits,
            connection: None,
        };
        store.connection()?;
        Ok(store)
    }

    /// Whether this process is the only one that serves the store; `None` if another does.
    pub fn lock_for_serving(&self) -> Result<Option<ServingLock>, StoreError> {
        let failed = |error: std::io::Error| StoreError::Failed(error.to_string());
        let path = self.path.with_extension("serving");
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(ServingLock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// A number that differs after another connection has changed the file.
    pub fn data_version(&mut self) -> Result<i64, StoreError> {
        self.read(|connection| Ok(connection.pragma_query_value(None, "data_version", |row| row.get(0))?))
    }

    pub(super) fn read<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let done = work(self.connection()?);
        self.forget_after_fault(done)
    }

    /// Runs `work` in one transaction that has the write lock from its start.
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let done = self.connection().and_then(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction
                .commit()
                .map_err(|error| StoreError::Unclear(error.to_string()))?;
            Ok(done)
        });
        self.forget_after_fault(done)
    }

    /// Brings what was written into the file and empties the log of SQLite beside it, so that what was erased is not read
    /// there. It is brought over later where somebody else reads at this moment.
    pub(super) fn empty_write_ahead(&mut self) -> Result<(), StoreError> {
        self.read(|connection| Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?))
    }

    fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        if self.connection.is_none() {
            self.connection = Some(open(&self.path, self.limits)?);
        }
        self.connection
            .as_mut()
            .ok_or(StoreError::Failed("not open".to_owned()))
    }

    fn forget_after_fault<T>(&mut self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        match &done {
            Ok(_) | Err(StoreError::Busy | StoreError::Full | StoreError::TooNew { .. }) => {}
            Err(
                StoreError::ReadOnly
                | StoreError::Damaged(_)
                | StoreError::Failed(_)
                | StoreError::Unclear(_),
            ) => self.connection = None,
        }
        done
    }
}

fn open(path: &Path, limits: Limits) -> Result<Connection, StoreError> {
    // It holds verifiers: nobody but its owner reads it. SQLite gives its side files the same mode.
    let made = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path);
    made.map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly,
        _ => StoreError::Failed(error.to_string()),
    })?;
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(limits.busy_wait)?;
    write_ahead(&connection, limits.busy_wait)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Verifiers that are taken away are overwritten, too.
    connection.pragma_update(None, "secure_delete", true)?;
    migrate(&mut connection)?;
    if let Some(pages) = limits.pages_max {
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    Ok(connection)
}

/// Turns the write-ahead log on. SQLite does not wait by itself for another process that does the same to a new file.
fn write_ahead(connection: &Connection, busy_wait: Duration) -> Result<(), StoreError> {
    let deadline = Instant::now() + busy_wait;
    loop {
        match connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(StoreError::from)
        {
            Err(StoreError::Busy) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = u32::try_from(SCHEMA.len()).unwrap_or(u32::MAX);
    let version =
        |connection: &Connection| connection.pragma_query_value(None, "user_version", |row| row.get(0));
    if version(connection)? == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: u32 = version(&transaction)?;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    for file in &SCHEMA[found as usize..] {
        transaction.execute_batch(file)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    Ok(transaction.commit()?)
}
