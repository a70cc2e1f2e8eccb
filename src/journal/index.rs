//! Which words occur in which finished segment, so that a query opens few of them. Kept in SQLite beside the journal.
//! Never the truth: it is rebuilt from the segments when it is lost, and a segment it does not know is simply read.
//! Never used by a wire thread. Read `tail.rs` next.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, TransactionBehavior, params};

use super::error::JournalError;
use super::filter::{Term, TermKind};
use super::load::{Place, Segment};
use super::recover::list;
use super::segment::Header;
use super::sync::{Shared, lock};
use super::tree::pruned::Pruned;
use crate::clock::Timestamp;

pub const FILE_NAME: &str = "index.sqlite";

/// Segments that were sealed meanwhile are indexed this often.
const INDEX_EVERY: Duration = Duration::from_secs(2);

/// What the tables below hold. An index of another version is built again.
const VERSION: u32 = 3;

/// A stamp is the checksum of the segment's header: another segment under the same number is not the one indexed.
/// `records` of a term: how many records of the segment say it. `last`: time of the segment's last record.
const SCHEMA: &str = "
    CREATE TABLE segment (
        lane INTEGER NOT NULL, segment INTEGER NOT NULL, stamp INTEGER NOT NULL,
        records INTEGER NOT NULL, last INTEGER NOT NULL,
        PRIMARY KEY (lane, segment)
    ) WITHOUT ROWID;
    CREATE TABLE term (
        kind INTEGER NOT NULL, value BLOB NOT NULL, lane INTEGER NOT NULL, segment INTEGER NOT NULL,
        records INTEGER NOT NULL,
        PRIMARY KEY (kind, value, lane, segment)
    ) WITHOUT ROWID;
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

    /// What it knows of the segments in which records say a term of each row.
    pub fn look(&self, rows: &[Vec<Term>]) -> Look {
        if rows.is_empty() {
            return Look::default();
        }
        self.read(|connection| look(connection, rows)).unwrap_or_default()
    }

    /// Every segment that it knows.
    pub fn known(&self) -> HashMap<(u16, u64), Known> {
        self.read(known).unwrap_or_default()
    }

    /// How many records of each known segment say each value of a kind of term.
    pub fn counts(&self, kind: TermKind) -> Vec<(Vec<u8>, (u16, u64), u64)> {
        self.read(|connection| counts(connection, kind))
            .unwrap_or_default()
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        let mut reading = lock(&self.reading);
        if reading.is_none() {
            *reading = open_to_read(&self.path).ok();
        }
        match read(reading.as_ref()?) {
            Ok(value) => Some(value),
            Err(cause) => {
                tracing::warn!(%cause, "the log's index cannot be read, so segments are");
                *reading = None;
                None
            }
        }
    }

    /// Indexes finished segments that are missing, oldest first, until `is_over`; gives how many.
    pub fn catch_up(&self, dir: &Path, is_over: impl Fn() -> bool) -> Result<u64, JournalError> {
        let mut connection = self.open_to_write()?;
        let mut added = 0;
        let pruned = Pruned::of(dir)?;
        forget(&connection, &pruned).map_err(|cause| self.failed(cause))?;
        for (lane, numbers) in list(dir)? {
            for (place, header) in self.missing(&connection, dir, lane, &numbers, &pruned)? {
                if is_over() {
                    return Ok(added);
                }
                let segment = Segment::load(dir, place)?;
                insert(&mut connection, &header, &Tally::of(&segment)?)
                    .map_err(|cause| self.failed(cause))?;
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
        pruned: &Pruned,
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
            next = match pruned.before(&header) {
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
    if version(&connection)? == VERSION {
        Ok(connection)
    } else {
        Err(rusqlite::Error::InvalidQuery)
    }
}

fn open_to_write(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    // A lost index is built again, so it need not survive a power failure.
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    if version(&connection)? != VERSION {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been first.
        if version(&transaction)? != VERSION {
            transaction.execute_batch("DROP TABLE IF EXISTS segment; DROP TABLE IF EXISTS term;")?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        transaction.commit()?;
    }
    Ok(connection)
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
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

/// What the index says of one question.
#[derive(Debug, Default)]
pub struct Look {
    known: HashMap<(u16, u64), Known>,
    holds: HashSet<(u16, u64)>,
}

/// What the index knows of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub stamp: u32,
    pub records: u64,
    /// Time of its last record.
    pub last: Timestamp,
}

impl Look {
    /// Whether the segment may hold a record that is looked for. What the index does not know may.
    pub fn may_hold(&self, header: &Header) -> bool {
        let place = (header.lane, header.segment);
        let is_known = self
            .known
            .get(&place)
            .is_some_and(|known| known.stamp == header.checksum());
        !is_known || self.holds.contains(&place)
    }
}

fn look(connection: &Connection, rows: &[Vec<Term>]) -> rusqlite::Result<Look> {
    // One snapshot: a segment that is indexed meanwhile must not be known without its terms.
    let snapshot = connection.unchecked_transaction()?;
    let known = known(connection)?;
    let mut find =
        connection.prepare_cached("SELECT lane, segment FROM term WHERE kind = ?1 AND value = ?2")?;
    let mut holds: Option<HashSet<(u16, u64)>> = None;
    for row in rows {
        let mut any = HashSet::new();
        for term in row {
            let found = find.query_map(params![term.kind as u8, term.value], place)?;
            for place in found {
                any.insert(place?);
            }
        }
        holds = Some(match holds {
            Some(before) => before.intersection(&any).copied().collect(),
            None => any,
        });
    }
    drop(find);
    snapshot.commit()?;
    Ok(Look {
        known,
        holds: holds.unwrap_or_default(),
    })
}

fn known(connection: &Connection) -> rusqlite::Result<HashMap<(u16, u64), Known>> {
    let mut all = connection.prepare_cached("SELECT lane, segment, stamp, records, last FROM segment")?;
    let rows = all.query_map((), |row| {
        let known = Known {
            stamp: row.get(2)?,
            records: row.get::<_, i64>(3)?.cast_unsigned(),
            last: Timestamp::from_micros(row.get(4)?),
        };
        Ok((place(row)?, known))
    })?;
    rows.collect()
}

/// The value of a term, the lane and segment it is in, and in how many records.
type Count = (Vec<u8>, (u16, u64), u64);

fn counts(connection: &Connection, kind: TermKind) -> rusqlite::Result<Vec<Count>> {
    let mut all =
        connection.prepare_cached("SELECT lane, segment, value, records FROM term WHERE kind = ?1")?;
    let rows = all.query_map([kind as u8], |row| {
        Ok((row.get(2)?, place(row)?, row.get::<_, i64>(3)?.cast_unsigned()))
    })?;
    rows.collect()
}

fn place(row: &Row<'_>) -> rusqlite::Result<(u16, u64)> {
    Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()))
}

/// What the index keeps of one segment.
struct Tally {
    records: usize,
    last: Timestamp,
    /// In how many records each term occurs.
    terms: BTreeMap<Term, u64>,
}

impl Tally {
    fn of(segment: &Segment) -> Result<Self, JournalError> {
        let mut tally = Self {
            records: segment.len(),
            last: segment.header.created,
            terms: BTreeMap::new(),
        };
        let mut said = Vec::new();
        for place in 0..segment.len() {
            let payload = segment.payload(place).unwrap_or_default();
            Term::of_record(payload, |term| said.push(term))
                .map_err(|what| segment.malformed(place, what))?;
            said.sort_unstable();
            said.dedup();
            for term in said.drain(..) {
                *tally.terms.entry(term).or_default() += 1;
            }
            tally.last = segment.time(place)?;
        }
        Ok(tally)
    }
}

/// Leaves out what it knows of segments that are gone.
fn forget(connection: &Connection, pruned: &Pruned) -> rusqlite::Result<()> {
    for (lane, begin) in &pruned.lanes {
        let gone = (lane, begin.segment.cast_signed());
        let mut knows =
            connection.prepare_cached("SELECT 1 FROM segment WHERE lane = ?1 AND segment < ?2 LIMIT 1")?;
        // It goes through the whole table, so only where there is something to leave out.
        if knows.exists(gone)? {
            connection.execute("DELETE FROM term WHERE lane = ?1 AND segment < ?2", gone)?;
            connection.execute("DELETE FROM segment WHERE lane = ?1 AND segment < ?2", gone)?;
        }
    }
    Ok(())
}

fn insert(connection: &mut Connection, header: &Header, tally: &Tally) -> rusqlite::Result<()> {
    let place = (header.lane, header.segment.cast_signed());
    let transaction = connection.transaction()?;
    {
        let mut old = transaction.prepare_cached("SELECT 1 FROM segment WHERE lane = ?1 AND segment = ?2")?;
        // It goes through the whole table, so only where another segment had this number.
        if old.exists(place)? {
            transaction.execute("DELETE FROM term WHERE lane = ?1 AND segment = ?2", place)?;
        }
        let mut add = transaction.prepare_cached("INSERT INTO term VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for (term, records) in &tally.terms {
            add.execute(params![
                term.kind as u8,
                term.value,
                place.0,
                place.1,
                records.cast_signed()
            ])?;
        }
        let mut done =
            transaction.prepare_cached("INSERT OR REPLACE INTO segment VALUES (?1, ?2, ?3, ?4, ?5)")?;
        done.execute(params![
            place.0,
            place.1,
            header.checksum(),
            tally.records as i64,
            tally.last.micros()
        ])?;
    }
    transaction.commit()
}
