//! Reviews of what one person approved alone: begun with that approval, signed once by compare-and-set.
//! Never asks who may sign: the desk does. Read `requests.rs` for the approval.

use rusqlite::{Connection, Row, params};

use crate::clock::Timestamp;
use crate::hold::{Approval, Finding, RequestId, Review, Signature};
use crate::identity::principal::PersonName;
use crate::store::outbox::{Note, queue};
use crate::store::remarks::{self, NewRemark};
use crate::store::sqlite::{Store, StoreError};
use crate::store::{card, people};

/// Which reviews to list, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReviewQuery {
    /// Only open ones, or only signed ones.
    pub is_open: Option<bool>,
    /// Only those begun before this one of an earlier list.
    pub before: Option<i64>,
    pub limit: usize,
}

/// What became of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    Kept,
    /// Somebody else has signed it first.
    Lost,
}

const COLUMNS: &str = "seq, request, broken_by, broken_seen_by, reason, opened_at, signed_by, finding, text, channel, \
                       signed_at";

impl Store {
    pub fn review(&mut self, request: RequestId) -> Result<Option<Review>, StoreError> {
        self.read(|connection| {
            let text = format!("SELECT {COLUMNS} FROM reviews WHERE request = ?1");
            let mut statement = connection.prepare_cached(&text)?;
            let mut rows = statement.query([request.as_str()])?;
            rows.next()?.map(review_of).transpose()
        })
    }

    /// At most `limit` reviews, newest first, each with its place for the next list.
    pub fn reviews(&mut self, query: ReviewQuery) -> Result<Vec<(i64, Review)>, StoreError> {
        self.read(|connection| {
            let text = format!(
                "SELECT {COLUMNS} FROM reviews
                 WHERE (?1 IS NULL OR seq < ?1) AND (?2 IS NULL OR (signed_by IS NULL) = ?2)
                 ORDER BY seq DESC LIMIT ?3"
            );
            let mut statement = connection.prepare_cached(&text)?;
            let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![query.before, query.is_open, limit])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push((row.get("seq")?, review_of(row)?));
            }
            Ok(found)
        })
    }

    pub fn open_reviews(&mut self) -> Result<u64, StoreError> {
        self.read(|connection| {
            let text = "SELECT count(*) FROM reviews WHERE signed_by IS NULL";
            let count: i64 = connection.query_row(text, [], |row| row.get(0))?;
            Ok(u64::try_from(count).unwrap_or(0))
        })
    }

    /// How often a person has approved alone behind this moment.
    pub fn broken_since(&mut self, by: &PersonName, since: Timestamp) -> Result<u32, StoreError> {
        self.read(|connection| {
            let text = "SELECT count(*) FROM decisions WHERE person = ?1 AND break_glass = 1 AND at > ?2";
            Ok(connection.query_row(text, params![by.as_str(), since.micros()], |row| row.get(0))?)
        })
    }

    /// Whether a person has signed it under this key before.
    pub fn signed_under(
        &mut self,
        request: RequestId,
        by: &PersonName,
        key: &str,
    ) -> Result<bool, StoreError> {
        self.read(|connection| {
            let text = "SELECT 1 FROM reviews WHERE request = ?1 AND signed_by = ?2 AND idempotency = ?3";
            let mut statement = connection.prepare_cached(text)?;
            Ok(statement.exists(params![request.as_str(), by.as_str(), key])?)
        })
    }

    /// Signs it if it is open, with the remark that tells it and its notes: all or nothing.
    pub fn sign_review(
        &mut self,
        request: RequestId,
        signature: &Signature,
        remark: &NewRemark,
        notes: &[Note],
    ) -> Result<Signed, StoreError> {
        self.write(|transaction| {
            let mut statement = transaction.prepare_cached(
                "UPDATE reviews SET signed_by = ?2, finding = ?3, text = ?4, channel = ?5, idempotency = ?6, signed_at = ?7
                 WHERE request = ?1 AND signed_by IS NULL",
            )?;
            let rows = statement.execute(params![
                request.as_str(),
                signature.by.as_str(),
                signature.finding.as_str(),
                signature.text,
                signature.channel,
                remark.idempotency,
                signature.at.micros(),
            ])?;
            if rows == 0 {
                return Ok(Signed::Lost);
            }
            remarks::keep(transaction, request, remark)?;
            queue(transaction, notes, signature.at)?;
            Ok(Signed::Kept)
        })
    }
}

/// Begins the review of an approval in the transaction that keeps it.
pub(super) fn begin(transaction: &Connection, request: RequestId, said: &Approval) -> Result<(), StoreError> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO reviews (request, broken_by, broken_seen_by, reason, opened_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    statement.execute(params![
        request.as_str(),
        said.by.as_str(),
        people::names(&said.token_seen_by)?,
        said.reason,
        said.at.micros(),
    ])?;
    Ok(())
}

fn review_of(row: &Row<'_>) -> Result<Review, StoreError> {
    let (request, broken_by, seen_by): (String, String, String) = (
        row.get("request")?,
        row.get("broken_by")?,
        row.get("broken_seen_by")?,
    );
    Ok(Review {
        request: card::request_id(&request)?,
        broken_by: card::person(&broken_by)?,
        broken_seen_by: people::from_names(&seen_by)?,
        reason: row.get("reason")?,
        opened_at: Timestamp::from_micros(row.get("opened_at")?),
        signed: signature_of(row)?,
    })
}

fn signature_of(row: &Row<'_>) -> Result<Option<Signature>, StoreError> {
    let signed_by: Option<String> = row.get("signed_by")?;
    let Some(by) = signed_by else { return Ok(None) };
    let finding: String = row.get("finding")?;
    Ok(Some(Signature {
        by: card::person(&by)?,
        finding: Finding::parse(&finding)
            .ok_or_else(|| StoreError::damaged(format!("finding `{finding}`")))?,
        text: row.get("text")?,
        channel: row.get("channel")?,
        at: Timestamp::from_micros(row.get("signed_at")?),
    }))
}
