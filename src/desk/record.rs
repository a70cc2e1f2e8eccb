//! Carries the store's notes into the log and syncs them there.
//! Never takes a note away before it is on disk. Read `thread.rs` next.

use crate::audit::{
    Attempt, Body, Entry, Fields, GrantEvent, GrantUse, Kind, OutcomeKind, ParameterRecord, PersonsDecision,
    SignIn, StatementOutcome,
};
use crate::clock::Timestamp;
use crate::hold::{Digest, HeldRequest, ParameterFormat, READ_AS, RequestId};
use crate::identity::principal::{AttemptId, SessionId};
use crate::journal::{JournalError, Lane, LogFilter, Order, Reader, Recorded};
use crate::store::sqlite::{Store, StoreError};
use crate::store::{Note, NoteId, Outcome, Queued};

/// The desk's lane of the log, and how far the store's notes have come in it.
pub(super) struct Clerk {
    lane: Lane,
    /// The newest note in the log.
    appended: Option<NoteId>,
    /// Set while what was appended last may not be on disk yet.
    unsynced: Option<Recorded>,
    /// Notes up to here are on disk in the log and still in the store.
    forgettable: Option<NoteId>,
}

/// Takes out of the store what an earlier process brought to the log before it ended without taking it out: notes go
/// over in order, so everything up to the last one found there.
pub(super) fn forget_logged(store: &mut Store, reader: &Reader) -> Result<(), NotRecorded> {
    loop {
        let queued = store.queued(None)?;
        let mut found = None;
        for note in queued.iter().rev() {
            if is_logged(reader, note)? {
                found = Some(note.id);
                break;
            }
        }
        match found {
            Some(up_to) => store.forget_queued(up_to)?,
            None => return Ok(()),
        }
    }
}

fn is_logged(reader: &Reader, queued: &Queued) -> Result<bool, JournalError> {
    let (kind, request) = match &queued.note {
        Note::Attempt { request, .. } => (Kind::Attempt, Some(request)),
        Note::Event { request, .. } => (Kind::RequestEvent, Some(request)),
        Note::Decision { request, .. } => (Kind::Decision, Some(request)),
        Note::Outcome { request, .. } => (Kind::Outcome, Some(request)),
        Note::Grant { request, .. } => (Kind::StandingGrant, Some(request)),
        Note::People { .. } => (Kind::PeopleChange, None),
        Note::SignIn { .. } => (Kind::SignIn, None),
    };
    let filter = LogFilter {
        since: Some(queued.at),
        kind: Some(kind),
        request: request.cloned(),
        order: Order::OldestFirst,
        limit: 1000,
        ..LogFilter::default()
    };
    let page = reader.query(&filter)?;
    Ok(page
        .records
        .iter()
        .any(|record| tells(&record.fields, &queued.note)))
}

fn tells(fields: &Fields, note: &Note) -> bool {
    let is = |field: &Option<String>, text: &str| field.as_deref().unwrap_or_default() == text;
    match note {
        Note::Attempt { session, number, .. } | Note::Outcome { session, number, .. } => {
            fields.attempt
                == Some(AttemptId {
                    session: SessionId(*session),
                    number: *number,
                })
        }
        Note::Event {
            event, by, detail, ..
        } => {
            is(&fields.event, event)
                && is(&fields.detail, detail)
                && is(&fields.by, by.as_deref().unwrap_or_default())
        }
        Note::Decision {
            by,
            approves,
            breaks_glass,
            ..
        } => {
            is(&fields.approver, by)
                && is(&fields.decision, decision_word(*approves))
                && is(&fields.event, break_glass_word(*breaks_glass))
        }
        Note::Grant {
            grant, event, detail, ..
        } => is(&fields.grant, grant) && is(&fields.event, event) && is(&fields.detail, detail),
        Note::People { what, name, .. } => is(&fields.change, what) && is(&fields.name, name),
        Note::SignIn { event, person, .. } => is(&fields.event, event) && is(&fields.name, person),
    }
}

const fn decision_word(approves: bool) -> &'static str {
    if approves { "approve" } else { "deny" }
}

/// The mark of a decision that one person took alone.
const fn break_glass_word(breaks_glass: bool) -> &'static str {
    if breaks_glass { "break_glass" } else { "" }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum NotRecorded {
    #[error(transparent)]
    Log(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Clerk {
    pub fn new(lane: Lane) -> Self {
        Self {
            lane,
            appended: None,
            unsynced: None,
            forgettable: None,
        }
    }

    /// Brings every note of the store to disk in the log.
    pub fn carry_over(&mut self, store: &mut Store) -> Result<(), NotRecorded> {
        loop {
            let queued = store.queued(self.appended)?;
            if queued.is_empty() {
                break;
            }
            for note in queued {
                self.append(store, &note)?;
                self.appended = Some(note.id);
            }
        }
        if let Some(recorded) = &self.unsynced {
            self.lane.sync_blocking(recorded)?;
            self.unsynced = None;
            self.forgettable = self.appended;
        }
        Ok(())
    }

    /// Takes the notes out of the store that the log has on disk.
    pub fn tidy(&mut self, store: &mut Store) -> Result<(), StoreError> {
        if let Some(up_to) = self.forgettable {
            store.forget_queued(up_to)?;
            self.forgettable = None;
        }
        Ok(())
    }

    /// Writes and syncs a record that no request is part of.
    pub fn record(&mut self, at: Timestamp, body: Body<'_>) -> Result<(), JournalError> {
        let recorded = self.lane.append(&[Entry {
            time: at,
            session: None,
            body,
        }])?;
        self.lane.sync_blocking(&recorded)?;
        Ok(())
    }

    fn append(&mut self, store: &mut Store, queued: &Queued) -> Result<(), NotRecorded> {
        let at = queued.at;
        let recorded = match &queued.note {
            Note::Attempt {
                request,
                session,
                number,
            } => {
                let held = held(store, request)?;
                let id = AttemptId {
                    session: SessionId(*session),
                    number: *number,
                };
                self.append_attempt(&held, id, at)?
            }
            Note::Event {
                request,
                session,
                event,
                by,
                detail,
            } => {
                let body = Body::RequestEvent {
                    request,
                    event,
                    by: by.as_deref(),
                    detail,
                };
                self.lane.append(&[Entry {
                    time: at,
                    session: Some(SessionId(*session)),
                    body,
                }])?
            }
            Note::Decision {
                request,
                approves,
                by,
                reason,
                channel,
                digest,
                scope,
                breaks_glass,
                method,
                second_factor_at,
            } => {
                let digest = Digest::parse(digest).ok_or_else(|| damaged("a digest in the outbox"))?;
                let body = Body::Decision(PersonsDecision {
                    request,
                    decision: decision_word(*approves),
                    event: break_glass_word(*breaks_glass),
                    approver: by,
                    reason,
                    channel,
                    digest: *digest.as_bytes(),
                    scope,
                    method,
                    second_factor_at: second_factor_at.map(Timestamp::from_micros),
                });
                self.lane.append(&[Entry {
                    time: at,
                    session: None,
                    body,
                }])?
            }
            Note::Outcome {
                request,
                session,
                number,
                outcome,
            } => {
                let session = SessionId(*session);
                let id = AttemptId {
                    session,
                    number: *number,
                };
                let body = Body::Outcome(statement_outcome(id, request, outcome));
                self.lane.append(&[Entry {
                    time: at,
                    session: Some(session),
                    body,
                }])?
            }
            Note::Grant {
                grant,
                request,
                decided_in,
                session,
                event,
                by,
                detail,
            } => {
                let body = Body::StandingGrant(GrantEvent {
                    grant,
                    request,
                    decided_in,
                    event,
                    by: by.as_deref(),
                    detail,
                });
                self.lane.append(&[Entry {
                    time: at,
                    session: session.map(SessionId),
                    body,
                }])?
            }
            Note::People {
                what,
                name,
                by,
                detail,
            } => {
                let body = Body::PeopleChange {
                    what,
                    name,
                    by,
                    detail,
                };
                self.lane.append(&[Entry {
                    time: at,
                    session: None,
                    body,
                }])?
            }
            Note::SignIn {
                event,
                person,
                source,
                method,
            } => {
                let body = Body::SignIn(SignIn {
                    person,
                    source: *source,
                    event,
                    method,
                    success: true,
                    reason: "",
                });
                self.lane.append(&[Entry {
                    time: at,
                    session: None,
                    body,
                }])?
            }
        };
        self.unsynced = Some(recorded);
        Ok(())
    }

    fn append_attempt(
        &mut self,
        held: &HeldRequest,
        id: AttemptId,
        at: Timestamp,
    ) -> Result<Recorded, JournalError> {
        let tables: Vec<String> = held
            .statements
            .iter()
            .flat_map(|statement| &statement.tables)
            .map(spelled)
            .collect();
        let parameters: Vec<_> = held.parameters.iter().map(parameter_record).collect();
        let claimed: Vec<_> = held
            .claimed
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let by = held.covered_by.as_ref();
        let grant = by.map(|by| (by.grant.to_string(), by.decided_in.to_string()));
        let body = Body::Attempt(Attempt {
            id,
            principal: held.peer.principal.as_str(),
            database: &held.peer.database,
            database_user: &held.peer.database_user,
            text: &held.text,
            class: held.class,
            verdict: "hold",
            rule: &held.rule,
            tables: &tables,
            column_labels: &held.column_labels,
            fingerprint: held.fingerprint,
            parameters: &parameters,
            request: Some(held.id.as_str()),
            grant: grant
                .as_ref()
                .map(|(grant, decided_in)| GrantUse { grant, decided_in }),
            protocol: &held.protocol,
            claimed: &claimed,
            read_as: held.facts.get(READ_AS).map_or("", String::as_str),
        });
        self.lane.append(&[Entry {
            time: at,
            session: Some(id.session),
            body,
        }])
    }
}

fn held(store: &mut Store, request: &str) -> Result<HeldRequest, StoreError> {
    let id = RequestId::parse(request).ok_or_else(|| damaged("a request id in the outbox"))?;
    store
        .request(id)?
        .ok_or_else(|| damaged("a note without its request in the outbox"))
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(what.to_owned())
}

fn spelled(table: &crate::sql::action::TableName) -> String {
    match &table.schema {
        Some(schema) => format!("{schema}.{}", table.name),
        None => table.name.clone(),
    }
}

fn parameter_record(parameter: &crate::hold::Parameter) -> ParameterRecord<'_> {
    ParameterRecord {
        index: parameter.index,
        type_oid: parameter.type_oid,
        type_name: &parameter.type_name,
        format: match parameter.format {
            ParameterFormat::Text => "text",
            ParameterFormat::Binary => "binary",
        },
        // Of a redacted one the store has no value.
        value: parameter.value.as_deref().filter(|_| !parameter.is_redacted()),
        hex: parameter.hex.as_deref().filter(|_| !parameter.is_redacted()),
        bytes: parameter.bytes,
        redacted: &parameter.redacted,
    }
}

fn statement_outcome<'a>(attempt: AttemptId, request: &'a str, outcome: &'a Outcome) -> StatementOutcome<'a> {
    let plain = StatementOutcome {
        attempt,
        kind: OutcomeKind::Unknown,
        rows: None,
        tag: "",
        sqlstate: "",
        message: "",
        request: Some(request),
    };
    match outcome {
        Outcome::Ran { rows, tag } => StatementOutcome {
            kind: OutcomeKind::Ran,
            rows: *rows,
            tag,
            ..plain
        },
        Outcome::Failed { sqlstate, message } => StatementOutcome {
            kind: OutcomeKind::Failed,
            sqlstate,
            message,
            ..plain
        },
        Outcome::Unknown { message } => StatementOutcome { message, ..plain },
        Outcome::Refused { sqlstate, message } => StatementOutcome {
            kind: OutcomeKind::Refused,
            sqlstate,
            message,
            ..plain
        },
        Outcome::Cancelled { message } => StatementOutcome {
            kind: OutcomeKind::Cancelled,
            message,
            ..plain
        },
    }
}
