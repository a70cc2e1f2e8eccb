//! Answers to calls that may come again under the same key: kept for a day, so many of one person.
//! Never holds a secret that is shown once: the API keeps none here; nor values that were erased, nor an answer that is no
//! longer given again. Read `api/idempotency.rs` for what is kept.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::clock::Timestamp;
use crate::hold::RequestId;
use crate::identity::principal::PersonName;
use crate::store::sqlite::{Store, StoreError};

/// How long an answer is given again.
pub const ANSWER_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Answers of one person; the oldest makes room.
pub const ANSWERS_MAX: i64 = 1000;

/// Bytes of the answers of one person: a card with a long statement is the largest.
pub const ANSWERS_BYTES_MAX: i64 = 32 << 20;

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// SHA-256 of the call that it answers.
    pub call: [u8; 32],
    pub status: u16,
    /// `None`: it is not given twice, or values in it were erased.
    pub body: Option<String>,
}

impl Store {
    /// What was answered to a person under this key within the last day.
    pub fn kept_answer(
        &mut self,
        person: &PersonName,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<KeptAnswer>, StoreError> {
        self.read(|connection| {
            let text = "SELECT call, status, body FROM answers WHERE person = ?1 AND key = ?2 AND at > ?3";
            let mut statement = connection.prepare_cached(text)?;
            let read = |row: &rusqlite::Row<'_>| {
                Ok(KeptAnswer {
                    call: row.get(0)?,
                    status: row.get(1)?,
                    body: row.get(2)?,
                })
            };
            let values = params![person.as_str(), key, a_day_before(now)];
            Ok(statement.query_row(values, read).optional()?)
        })
    }

    /// Forgets the answers whose day is over, for good; how many there were.
    pub fn purge_answers(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        let over = "SELECT EXISTS (SELECT 1 FROM answers WHERE at <= ?1)";
        let is_any: bool =
            self.read(|connection| Ok(connection.query_row(over, [a_day_before(now)], |row| row.get(0))?))?;
        if !is_any {
            return Ok(0);
        }
        let purged = self.write(|transaction| {
            Ok(transaction.execute("DELETE FROM answers WHERE at <= ?1", [a_day_before(now)])?)
        })?;
        self.empty_write_ahead()?;
        Ok(purged)
    }

    /// Keeps an answer, and forgets what is a day old or more than one person's share.
    pub fn keep_answer(
        &mut self,
        person: &PersonName,
        key: &str,
        answer: &KeptAnswer,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM answers WHERE at <= ?1", [a_day_before(now)])?;
            let text = "INSERT OR REPLACE INTO answers (person, key, call, status, body, at)
                        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let values = params![
                person.as_str(),
                key,
                answer.call,
                answer.status,
                answer.body,
                now.micros()
            ];
            transaction.execute(text, values)?;
            let text = "DELETE FROM answers WHERE seq IN (
                          SELECT seq FROM (
                            SELECT seq, row_number() OVER newest AS place,
                              sum(coalesce(length(body), 0)) OVER newest AS bytes
                            FROM answers WHERE person = ?1 WINDOW newest AS (ORDER BY seq DESC))
                          WHERE place > ?2 OR (place > 1 AND bytes > ?3))";
            transaction.execute(text, params![person.as_str(), ANSWERS_MAX, ANSWERS_BYTES_MAX])?;
            Ok(())
        })
    }
}

/// Forgets what the answers that name a request held: its card, with the values of its parameters. That the calls were
/// answered is kept, so that they still count once.
pub(super) fn forget_answers_of(transaction: &Connection, request: RequestId) -> Result<(), StoreError> {
    let named = format!("\"{request}\"");
    let text = "UPDATE answers SET body = NULL WHERE instr(body, ?1) > 0";
    transaction.execute(text, [named])?;
    Ok(())
}

fn a_day_before(now: Timestamp) -> i64 {
    let life = i64::try_from(ANSWER_LIFE.as_micros()).unwrap_or(i64::MAX);
    now.micros().saturating_sub(life)
}
