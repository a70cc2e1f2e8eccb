//! Which words occur in which finished segment, so that a query opens few of them. Kept in SQLite beside the journal.
//! Never the truth: it is rebuilt from the segments when it is lost, and a segment it does not know is simply read.
//! Never used by a wire thread. Read `tail.rs` next.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::error::JournalError;
use super::filter::Term;
use super::load::{Place, Segment};
use super::recover::list;
use super::segment::Header;
use super::sync::{Shared, lock};

pub const FILE_NAME: &str = "index.sqlite";

/// Segments that were sealed meanwhile are indexed this often.
const INDEX_EVERY: Duration = Duration::from_secs(2);

/// A stamp is the checksum of the segment's header: another segment under the same number is not the one indexed.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS segment (
        lane INTEGER NOT NULL, segment INTEGER NOT NULL, stamp INTEGER NOT NULL,
        PRIMARY KEY (lane, segment)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS term (
        kind INTEGER NOT NULL, value BLOB NOT NULL, lane INTEGER NOT NULL, segment INTEGER NOT NULL,
        PRIMARY KEY (kind, value, lane, segment)
    ) WITHOUT ROWID;
    PRAGMA user_version = 1;
";

/// The index of one journal folder.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    reading: Mutex<Option<Connection>>,
}

impl Index {
    pub fn in_dir(dir: &Path) -> Self {
        Self {
            path: dir.join(FILE_NAME),
            reading: Mutex::new(None),
        }
    }

    /// Whether the segment may hold a record that says all the terms. What the index does not know may.
    pub fn may_hold(&self, header: &Header, terms: &[Term]) -> bool {
        if terms.is_empty() {
            return true;
        }
        let mut reading = lock(&self.reading);
        if reading.is_none() {
            *reading = open_to_read(&self.path).ok();
        }
        let answer = reading
            .as_ref()
            .map(|connection| holds_all(connection, header, terms));
        match answer {
            Some(Ok(answer)) => answer,
            Some(Err(cause)) => {
                tracing::warn!(%cause, "the log's index cannot be read, so segments are");
                *reading = None;
                true
            }
            None => true,
        }
    }

    /// Indexes finished segments that are missing, oldest first, until `is_over`; gives how many.
    pub fn catch_up(&self, dir: &Path, is_over: impl Fn() -> bool) -> Result<u64, JournalError> {
        let mut connection = self.open_to_write()?;
        let mut added = 0;
        for (lane, numbers) in list(dir)? {
            for (place, header) in self.missing(&connection, dir, lane, &numbers)? {
                if is_over() {
                    return Ok(added);
                }
                let segment = Segment::load(dir, place)?;
                insert(&mut connection, &header, &terms_of(&segment)?).map_err(|cause| self.failed(cause))?;
                added += 1;
            }
        }
        Ok(added)
    }

    /// Finished segments that the index does not know, oldest first. It is filled in order, so the search ends at the
    /// first one known.
    fn missing(
        &self,
        connection: &Connection,
        dir: &Path,
        lane: u16,
        numbers: &[u64],
    ) -> Result<Vec<(Place, Header)>, JournalError> {
        let mut missing = Vec::new();
        let mut next = Place::last(dir, lane, numbers)?;
        let mut is_younger_sealed = false;
        while let Some((place, header)) = next {
            if is_known(connection, &header).map_err(|cause| self.failed(cause))? {
                break;
            }
            let is_sealed = place.is_sealed(dir)?;
            // A segment counts up to where the next one says, and that is settled once that one is on disk.
            if is_sealed || is_younger_sealed {
                missing.push((place, header));
            } else {
                missing.clear();
            }
            is_younger_sealed = is_sealed;
            next = match Place::before(&header) {
                Some(before) => Some((before, before.known_header(dir)?)),
                None => None,
            };
        }
        missing.reverse();
        Ok(missing)
    }

    fn open_to_write(&self) -> Result<Connection, JournalError> {
        match open_to_write(&self.path) {
            Err(cause) if is_ruined(&cause) => {
                tracing::warn!(%cause, "the log's index is ruined and is built again");
                for name in [FILE_NAME, "index.sqlite-wal", "index.sqlite-shm"] {
                    let file = self.path.with_file_name(name);
                    if file.exists() {
                        std::fs::remove_file(&file).map_err(|cause| JournalError::write(&file, cause))?;
                    }
                }
                open_to_write(&self.path)
            }
            opened => opened,
        }
        .map_err(|cause| self.failed(cause))
    }

    fn failed(&self, cause: rusqlite::Error) -> JournalError {
        JournalError::Index {
            file: self.path.clone(),
            cause: Arc::new(cause),
        }
    }
}

/// Starts the thread that indexes what has been sealed. It ends after `Shared::close`.
pub fn start(shared: Arc<Shared>) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("journal-index".to_owned())
        .spawn(move || run(&shared))
}

fn run(shared: &Shared) {
    let dir = &shared.settings.dir;
    let index = Index::in_dir(dir);
    let is_over = || shared.closes_within(Duration::ZERO);
    let mut done = None;
    while !shared.closes_within(INDEX_EVERY) {
        let sealed = shared.sealed();
        if done == Some(sealed) {
            continue;
        }
        match index.catch_up(dir, is_over) {
            Ok(_) => done = Some(sealed),
            Err(error) => tracing::warn!(%error, "the log's index is behind; queries read segments instead"),
        }
    }
}

fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    Ok(connection)
}

fn open_to_write(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    // A lost index is built again, so it need not survive a power failure.
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

fn is_ruined(cause: &rusqlite::Error) -> bool {
    matches!(
        cause.sqlite_error_code(),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
    )
}

fn is_known(connection: &Connection, header: &Header) -> rusqlite::Result<bool> {
    let known = connection
        .prepare_cached("SELECT stamp FROM segment WHERE lane = ?1 AND segment = ?2")?
        .query_row(params![header.lane, header.segment.cast_signed()], |row| {
            row.get::<_, u32>(0)
        })
        .optional()?;
    Ok(known == Some(header.checksum()))
}

fn holds_all(connection: &Connection, header: &Header, terms: &[Term]) -> rusqlite::Result<bool> {
    if !is_known(connection, header)? {
        return Ok(true);
    }
    let mut look = connection
        .prepare_cached("SELECT 1 FROM term WHERE kind = ?1 AND value = ?2 AND lane = ?3 AND segment = ?4")?;
    for term in terms {
        if !look.exists(params![
            term.kind as u8,
            term.value,
            header.lane,
            header.segment.cast_signed()
        ])? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn terms_of(segment: &Segment) -> Result<BTreeSet<Term>, JournalError> {
    let mut terms = BTreeSet::new();
    for place in 0..segment.len() {
        let payload = segment.payload(place).unwrap_or_default();
        let all = Term::of_record(payload, |term| {
            terms.insert(term);
        });
        all.map_err(|what| segment.malformed(place, what))?;
    }
    Ok(terms)
}

fn insert(connection: &mut Connection, header: &Header, terms: &BTreeSet<Term>) -> rusqlite::Result<()> {
    let place = (header.lane, header.segment.cast_signed());
    let transaction = connection.transaction()?;
    {
        transaction.execute("DELETE FROM term WHERE lane = ?1 AND segment = ?2", place)?;
        let mut add = transaction.prepare_cached("INSERT INTO term VALUES (?1, ?2, ?3, ?4)")?;
        for term in terms {
            add.execute(params![term.kind as u8, term.value, place.0, place.1])?;
        }
        let mut done = transaction.prepare_cached("INSERT OR REPLACE INTO segment VALUES (?1, ?2, ?3)")?;
        done.execute(params![place.0, place.1, header.checksum()])?;
    }
    transaction.commit()
}
