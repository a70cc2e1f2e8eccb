//! What is said of requests besides approve and deny: kept with the move that it causes, or alone.
//! Never moves a request. Read `outbox.rs` next.

use rusqlite::{Connection, params};

use crate::clock::Timestamp;
use crate::hold::{Remark, RemarkKind, RequestId, Speaker};
use crate::identity::principal::PersonName;
use crate::store::card;
use crate::store::outbox::{Note, queue};
use crate::store::requests::signed;
use crate::store::sqlite::{Store, StoreError};

/// A remark to be kept.
#[derive(Clone, Debug)]
pub struct NewRemark {
    pub remark: Remark,
    /// Of the request when it was said.
    pub version: u64,
    pub idempotency: Option<String>,
}

impl Store {
    /// Keeps a remark beside a request that does not move, with its notes.
    pub fn remark(&mut self, id: RequestId, new: &NewRemark, notes: &[Note]) -> Result<(), StoreError> {
        self.write(|transaction| {
            keep(transaction, id, new)?;
            queue(transaction, notes, new.remark.at)
        })
    }

    /// Whether a person has said something of this kind under this key before.
    pub fn remarked_under(
        &mut self,
        id: RequestId,
        by: &PersonName,
        kind: RemarkKind,
        key: &str,
    ) -> Result<bool, StoreError> {
        self.read(|connection| {
            let text =
                "SELECT 1 FROM remarks WHERE request = ?1 AND name = ?2 AND kind = ?3 AND idempotency = ?4";
            let mut statement = connection.prepare_cached(text)?;
            Ok(statement.exists(params![id.as_str(), by.as_str(), kind.as_str(), key])?)
        })
    }

    /// When a person has last looked at this version of a request, if that is recorded.
    pub fn viewed_at(
        &mut self,
        id: RequestId,
        by: &PersonName,
        version: u64,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| {
            let text = "SELECT max(at) FROM remarks
                        WHERE request = ?1 AND kind = 'viewed' AND name = ?2 AND version = ?3";
            let values = params![id.as_str(), by.as_str(), signed(version)];
            let at: Option<i64> = connection.query_row(text, values, |row| row.get(0))?;
            Ok(at.map(Timestamp::from_micros))
        })
    }

    /// How much was said of a request; looks at it are left out.
    pub fn remarks_of(&mut self, id: RequestId) -> Result<u32, StoreError> {
        self.read(|connection| {
            let text =
                "SELECT count(*) FROM remarks WHERE request = ?1 AND kind NOT IN ('viewed', 'revealed')";
            Ok(connection.query_row(text, [id.as_str()], |row| row.get(0))?)
        })
    }
}

/// Keeps a remark in the transaction that makes it true.
pub(super) fn keep(transaction: &Connection, id: RequestId, new: &NewRemark) -> Result<(), StoreError> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO remarks (request, kind, speaker, name, text, recipient, channel, version, idempotency, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let said = &new.remark;
    statement.execute(params![
        id.as_str(),
        said.kind.as_str(),
        said.by.kind(),
        said.by.name(),
        said.text,
        said.to,
        said.channel,
        signed(new.version),
        new.idempotency,
        said.at.micros(),
    ])?;
    Ok(())
}

/// What was said of a request, oldest first; of the views only each person's last.
pub(super) fn of_request(connection: &Connection, id: &str) -> Result<Vec<Remark>, StoreError> {
    let text = "SELECT kind, speaker, name, text, recipient, channel, at FROM remarks
                WHERE request = ?1 AND (kind <> 'viewed' OR seq IN
                  (SELECT max(seq) FROM remarks WHERE request = ?1 AND kind = 'viewed' GROUP BY name))
                ORDER BY at, seq";
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query([id])?;
    let mut remarks = Vec::new();
    while let Some(row) = rows.next()? {
        let (kind, speaker): (String, String) = (row.get(0)?, row.get(1)?);
        let name: Option<String> = row.get(2)?;
        let name = name.as_deref().unwrap_or_default();
        remarks.push(Remark {
            at: Timestamp::from_micros(row.get(6)?),
            by: match speaker.as_str() {
                "person" => Speaker::Person(card::person(name)?),
                "agent" => Speaker::Agent(card::principal(name)?),
                "clock" => Speaker::Clock,
                other => return Err(StoreError::damaged(format!("speaker `{other}`"))),
            },
            kind: RemarkKind::parse(&kind).ok_or_else(|| StoreError::damaged(format!("remark `{kind}`")))?,
            text: row.get(3)?,
            to: row.get(4)?,
            channel: row.get(5)?,
        });
    }
    Ok(remarks)
}
