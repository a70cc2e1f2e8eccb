//! Which tables a statement locks, how strongly, and what that keeps others from, by the words of the statement alone.
//! Never asks a server, so what code, triggers and CASCADE lock besides is not in it, and a kind of statement that it
//! does not know is "not known". Read `statement.rs` next, then `alter.rs`.
//!
//! Source: PostgreSQL docs, explicit-locking.html#LOCKING-TABLES, and the pages of the commands.

mod alter;
mod statement;

use std::fmt;

use crate::sql::PARSE_BYTES_MAX;
use crate::sql::action::{Judgement, TableName};
use statement::Reader;

/// A lock on a whole table, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    AccessShare,
    RowShare,
    RowExclusive,
    ShareUpdateExclusive,
    Share,
    ShareRowExclusive,
    Exclusive,
    AccessExclusive,
}

impl Mode {
    pub const ALL: [Self; 8] = [
        Self::AccessShare,
        Self::RowShare,
        Self::RowExclusive,
        Self::ShareUpdateExclusive,
        Self::Share,
        Self::ShareRowExclusive,
        Self::Exclusive,
        Self::AccessExclusive,
    ];

    /// As the server's documentation writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessShare => "ACCESS SHARE",
            Self::RowShare => "ROW SHARE",
            Self::RowExclusive => "ROW EXCLUSIVE",
            Self::ShareUpdateExclusive => "SHARE UPDATE EXCLUSIVE",
            Self::Share => "SHARE",
            Self::ShareRowExclusive => "SHARE ROW EXCLUSIVE",
            Self::Exclusive => "EXCLUSIVE",
            Self::AccessExclusive => "ACCESS EXCLUSIVE",
        }
    }

    /// The number that a LOCK TABLE has in the server's tree. Source: src/include/storage/lockdefs.h
    fn of_number(number: i32) -> Option<Self> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        Self::ALL.get(at).copied()
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Until when a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    TransactionEnds,
    /// CONCURRENTLY, VACUUM and the like: each step is a transaction of its own.
    ItIsDone,
}

/// One table that is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLock {
    pub table: TableName,
    pub mode: Mode,
    pub until: Until,
    /// What the mode does not tell: how long it takes, or what else is locked.
    pub besides: Option<&'static str>,
}

impl TableLock {
    /// One sentence without a full stop: what others cannot do meanwhile.
    /// Source: PostgreSQL docs, explicit-locking.html#TABLE-LOCK-COMPATIBILITY
    pub fn blocks(&self) -> String {
        let table = &self.table;
        let blocked = match self.mode {
            Mode::AccessShare => format!("blocks only DROP, TRUNCATE and most of ALTER TABLE of {table}"),
            Mode::RowShare => {
                format!("blocks writes of the rows of {table} that it locks, and schema changes")
            }
            Mode::RowExclusive => {
                format!(
                    "blocks writes of the same rows of {table}, CREATE INDEX and schema changes, no reads"
                )
            }
            Mode::ShareUpdateExclusive => {
                format!(
                    "blocks neither reads nor writes of {table}, only schema changes, index builds and VACUUM"
                )
            }
            Mode::Share | Mode::ShareRowExclusive => format!("blocks writes of {table}, not reads"),
            Mode::Exclusive => format!("blocks writes of {table} and SELECT FOR UPDATE, not plain reads"),
            Mode::AccessExclusive => format!("blocks reads and writes of {table}"),
        };
        let until = match self.until {
            Until::TransactionEnds => "until the transaction ends",
            Until::ItIsDone => "while it runs",
        };
        match self.besides {
            Some(besides) => format!("{blocked} {until}; {besides}"),
            None => format!("{blocked} {until}"),
        }
    }
}

/// What a message locks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locks {
    /// Each table once, with its strongest lock, in the order of the statements.
    pub tables: Vec<TableLock>,
    /// Why there may be more; `None`: what is listed is what the statements themselves lock.
    pub not_known: Option<&'static str>,
    /// One of them says CASCADE.
    pub cascade: bool,
}

impl Locks {
    fn unknown(why: &'static str) -> Self {
        Self {
            tables: Vec::new(),
            not_known: Some(why),
            cascade: false,
        }
    }

    fn add(&mut self, lock: TableLock) {
        let known = self.tables.iter_mut().find(|known| known.table == lock.table);
        match known {
            Some(known) if known.mode < lock.mode => *known = lock,
            Some(known) => known.besides = known.besides.or(lock.besides),
            None => self.tables.push(lock),
        }
    }

    fn merge(&mut self, other: Self) {
        other.tables.into_iter().for_each(|lock| self.add(lock));
        self.not_known = self.not_known.or(other.not_known);
        self.cascade |= other.cascade;
    }
}

/// The locks of a message whose judgement is known. Parses it again, so call it only for what is held, on a thread with
/// a stack of `parse::PARSER_STACK_BYTES`.
pub fn locks(text: &[u8], judgement: &Judgement) -> Locks {
    let readable = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.len() <= PARSE_BYTES_MAX && !text.contains('\0'));
    // What our own scanner refuses may be more than the grammar's stack can bear.
    let is_read = judgement.actions.iter().all(|action| action.verb != "unknown");
    let Some(tree) = readable
        .filter(|_| is_read)
        .and_then(|text| pg_raw_parse::parse(text).ok())
    else {
        return Locks::unknown("the text cannot be read");
    };
    if tree.iter().count() != judgement.actions.len() {
        return Locks::unknown("the text cannot be read");
    }
    let mut all = Locks::default();
    for (raw, action) in tree.iter().zip(&judgement.actions) {
        all.merge(Reader::new(action).read(raw.stmt()));
    }
    all
}
