//! What the log has still to be told: written with the change that made it true, taken away once it is on disk there.
//! Never writes the log: `desk` carries each note over. Read `people.rs` next.

use std::net::IpAddr;

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::store::sqlite::{Store, StoreError};

/// Something that the log has to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// A held statement was sent; what it is stands in its request.
    Attempt {
        request: String,
        session: u64,
        number: u64,
    },
    Event {
        request: String,
        session: u64,
        event: String,
        by: Option<String>,
        detail: String,
    },
    Decision {
        request: String,
        approves: bool,
        by: String,
        reason: String,
        channel: String,
        digest: String,
        /// What it covers, where that is more than one run.
        #[serde(default)]
        scope: String,
        /// One person approved alone.
        #[serde(default)]
        breaks_glass: bool,
        /// How the approver had signed in; empty in notes of older versions.
        #[serde(default)]
        method: String,
        /// When a second factor was given last, in microseconds.
        #[serde(default)]
        second_factor_at: Option<i64>,
    },
    Grant {
        grant: String,
        /// Of a use: the request that ran by it. Else the one that it was decided in.
        request: String,
        decided_in: String,
        session: Option<u64>,
        event: String,
        by: Option<String>,
        detail: String,
    },
    /// How a held statement ended.
    Outcome {
        request: String,
        session: u64,
        number: u64,
        outcome: Outcome,
    },
    People {
        what: String,
        name: String,
        by: String,
        /// What has changed, as JSON.
        #[serde(default)]
        detail: String,
    },
    /// A person came in or left by themselves. Those who were turned away are told to the log directly.
    SignIn {
        event: String,
        person: String,
        source: IpAddr,
        method: String,
    },
}

/// How a held statement ended, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    Ran { rows: Option<u64>, tag: String },
    Failed { sqlstate: String, message: String },
    Unknown { message: String },
    Refused { sqlstate: String, message: String },
    Cancelled { message: String },
}

/// The place of a note in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NoteId(pub(super) i64);

/// A note in the queue.
#[derive(Clone, Debug)]
pub struct Queued {
    pub id: NoteId,
    pub at: Timestamp,
    pub note: Note,
}

/// Most notes that are carried over at once.
const QUEUE_BATCH: i64 = 256;

impl Store {
    /// The oldest notes behind `after`.
    pub fn queued(&mut self, after: Option<NoteId>) -> Result<Vec<Queued>, StoreError> {
        self.read(|connection| {
            let text = "SELECT seq, at, note FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2";
            let mut statement = connection.prepare_cached(text)?;
            let mut rows = statement.query(params![after.map_or(0, |id| id.0), QUEUE_BATCH])?;
            let mut queued = Vec::new();
            while let Some(row) = rows.next()? {
                let note: String = row.get(2)?;
                queued.push(Queued {
                    id: NoteId(row.get(0)?),
                    at: Timestamp::from_micros(row.get(1)?),
                    note: serde_json::from_str(&note).map_err(StoreError::damaged)?,
                });
            }
            Ok(queued)
        })
    }

    /// Takes away what the log has on disk.
    pub fn forget_queued(&mut self, up_to: NoteId) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM outbox WHERE seq <= ?1", [up_to.0])?;
            Ok(())
        })
    }
}

/// Queues notes in the transaction that makes them true.
pub(super) fn queue(transaction: &Connection, notes: &[Note], at: Timestamp) -> Result<(), StoreError> {
    for note in notes {
        let text = serde_json::to_string(note).map_err(StoreError::damaged)?;
        let mut statement = transaction.prepare_cached("INSERT INTO outbox (at, note) VALUES (?1, ?2)")?;
        statement.execute(params![at.micros(), text])?;
    }
    super::deliveries::queue(transaction, notes, at)
}
