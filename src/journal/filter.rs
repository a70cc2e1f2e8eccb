//! Which records a query wants, decided on the canonical bytes, so that only what matches is decoded.
//! Never reads a file. Read `read.rs` next.

use crate::audit::entry::tag;
use crate::audit::record::{self, Head};
use crate::audit::{Kind, Malformed};
use crate::clock::Timestamp;
use crate::identity::principal::{AttemptId, SessionId};

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
    /// The standing grant: its own records, and the statements that ran by it.
    pub grant: Option<String>,
    pub session: Option<SessionId>,
    /// The attempt and its result.
    pub attempt: Option<AttemptId>,
    pub kind: Option<Kind>,
    /// SHA-256 of the token shape.
    pub fingerprint: Option<[u8; 32]>,
    pub order: Order,
    /// Records on one page, 1 to `LIMIT_MAX`.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// Most records on one page.
pub const LIMIT_MAX: usize = 1_000;

/// Statements and values on one page; the record that goes beyond is still on it.
pub(super) const PAGE_BYTES_MAX: usize = 16 << 20;

/// Which end of the log comes first.
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
            grant: None,
            session: None,
            attempt: None,
            kind: None,
            fingerprint: None,
            order: Order::NewestFirst,
            limit: 100,
            cursor: None,
        }
    }
}

/// A word of a record by which segments can be found. The numbers stand in the index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term {
    pub kind: TermKind,
    pub value: Vec<u8>,
}

/// What kind of word a term is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TermKind {
    Principal = 1,
    Class = 2,
    Verdict = 3,
    Table = 4,
    Approver = 5,
    Request = 6,
    Session = 7,
    Fingerprint = 8,
    Grant = 9,
}

impl LogFilter {
    /// Whether a record is wanted, its time aside.
    pub fn matches(&self, payload: &[u8]) -> Result<bool, Malformed> {
        let (head, fields) = Head::cut(payload)?;
        if self.kind.is_some_and(|kind| kind != head.kind) {
            return Ok(false);
        }
        let mut wanted = self.terms();
        let mut number = None;
        for field in fields {
            let (tag, value) = field?;
            wanted.retain(|term| !term.is_said_by(tag, value));
            if tag == tag::ATTEMPT_NUMBER {
                number = Some(record::number(tag, value)?);
            }
        }
        let is_attempt = self.attempt.is_none_or(|attempt| number == Some(attempt.number));
        Ok(wanted.is_empty() && is_attempt)
    }

    /// The words that every wanted record says.
    pub fn terms(&self) -> Vec<Term> {
        let text = |kind: TermKind, value: &Option<String>| {
            value.as_ref().map(|value| Term {
                kind,
                value: value.clone().into_bytes(),
            })
        };
        let session = self.session.or(self.attempt.map(|attempt| attempt.session));
        let session = session.map(|id| Term {
            kind: TermKind::Session,
            value: id.0.to_be_bytes().to_vec(),
        });
        let fingerprint = self.fingerprint.map(|print| Term {
            kind: TermKind::Fingerprint,
            value: print.to_vec(),
        });
        [
            text(TermKind::Principal, &self.principal),
            text(TermKind::Class, &self.class),
            text(TermKind::Verdict, &self.verdict),
            text(TermKind::Table, &self.table),
            text(TermKind::Approver, &self.approver),
            text(TermKind::Request, &self.request),
            text(TermKind::Grant, &self.grant),
            session,
            fingerprint,
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Term {
    fn is_said_by(&self, tag: u8, value: &[u8]) -> bool {
        let is_kind = TermKind::of(tag) == Some(self.kind);
        is_kind && (self.value == value || self.kind == TermKind::Table && bare_name(value) == self.value)
    }

    /// The words that a record says.
    pub fn of_record(payload: &[u8], mut each: impl FnMut(Self)) -> Result<(), Malformed> {
        let (_, fields) = Head::cut(payload)?;
        for field in fields {
            let (tag, value) = field?;
            let Some(kind) = TermKind::of(tag) else {
                continue;
            };
            each(Self {
                kind,
                value: value.to_vec(),
            });
            if kind == TermKind::Table && bare_name(value) != value {
                each(Self {
                    kind,
                    value: bare_name(value).to_vec(),
                });
            }
        }
        Ok(())
    }
}

impl TermKind {
    const fn of(tag: u8) -> Option<Self> {
        match tag {
            tag::PRINCIPAL => Some(Self::Principal),
            tag::CLASS => Some(Self::Class),
            tag::VERDICT => Some(Self::Verdict),
            tag::TABLE => Some(Self::Table),
            tag::APPROVER => Some(Self::Approver),
            tag::REQUEST | tag::REQUESTS | tag::DECIDED_IN => Some(Self::Request),
            tag::GRANT => Some(Self::Grant),
            tag::SESSION | tag::ATTEMPT_SESSION => Some(Self::Session),
            tag::FINGERPRINT => Some(Self::Fingerprint),
            _ => None,
        }
    }
}

/// The table of `schema.table`.
fn bare_name(table: &[u8]) -> &[u8] {
    table
        .iter()
        .position(|byte| *byte == b'.')
        .map_or(table, |dot| &table[dot + 1..])
}
