//! What is asked about a statement that waits, as the log has it: an attempt before the question, its outcome behind it.
//! Never lets a question go that is not in the log. Read `../../audit/entry.rs` for the records.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::audit::entry::{Attempt, Body, Entry, OutcomeKind, ParameterRecord, StatementOutcome};
use crate::clock::Timestamp;
use crate::hold::{RequestId, masked};
use crate::identity::principal::{AttemptId, Peer, SessionId};
use crate::journal::{JournalError, Lane, Recorded};
use crate::proxy::AuditMode;
use crate::proxy::thread::Shared;
use crate::sql::action::{Class, Judgement};

/// Whose the questions are in the log. No agent can have a name with a blank.
const PRINCIPAL: &str = "countersign impact";

/// The attempts of one protocol's looks, as one session of its own.
pub struct Recorder {
    shared: Arc<Shared>,
    lane: RefCell<Lane>,
    session: SessionId,
    attempts: Cell<u64>,
}

/// A question that is about to be asked.
pub struct Asking<'q> {
    pub request: RequestId,
    pub peer: &'q Peer,
    pub text: &'q [u8],
    pub judgement: &'q Judgement,
    pub parameters: &'q [ParameterRecord<'q>],
    /// Labels of the columns that it touches.
    pub column_labels: &'q [String],
    pub protocol: &'static str,
    /// As `Attempt::read_as`.
    pub read_as: &'q str,
}

/// What became of it.
pub struct Answered<'a> {
    pub kind: OutcomeKind,
    pub tag: &'a str,
    pub sqlstate: &'a str,
    pub message: &'a str,
}

impl Recorder {
    pub fn new(shared: Arc<Shared>, lane: Lane) -> Self {
        Self {
            shared,
            lane: RefCell::new(lane),
            session: SessionId(rand::random()),
            attempts: Cell::new(0),
        }
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The attempt, written before it is sent; on disk too, where reads are.
    pub async fn attempt(&self, asking: &Asking<'_>) -> Result<AttemptId, String> {
        self.attempts.set(self.attempts.get() + 1);
        let id = AttemptId {
            session: self.session,
            number: self.attempts.get(),
        };
        let text = masked(asking.text, asking.judgement);
        let actions = &asking.judgement.actions;
        let tables: BTreeSet<String> = actions
            .iter()
            .flat_map(|action| &action.tables)
            .map(ToString::to_string)
            .collect();
        let tables: Vec<String> = tables.into_iter().collect();
        let request = asking.request.to_string();
        let body = Body::Attempt(Attempt {
            id,
            principal: PRINCIPAL,
            database: &asking.peer.database,
            database_user: &asking.peer.database_user,
            text: &text,
            class: Class::Read,
            verdict: "allow",
            rule: "",
            tables: &tables,
            column_labels: asking.column_labels,
            fingerprint: asking.judgement.fingerprint,
            parameters: asking.parameters,
            request: Some(&request),
            grant: None,
            protocol: asking.protocol,
            claimed: &[],
            read_as: asking.read_as,
        });
        let recorded = self.append(body).map_err(unavailable)?;
        if self.shared.settings.audit == AuditMode::Durable {
            let synced = self.lane.borrow().sync(&recorded);
            synced.await.map_err(unavailable)?;
        }
        Ok(id)
    }

    pub fn outcome(
        &self,
        attempt: AttemptId,
        request: RequestId,
        answered: &Answered<'_>,
    ) -> Result<(), String> {
        let request = request.to_string();
        let body = Body::Outcome(StatementOutcome {
            attempt,
            kind: answered.kind,
            rows: None,
            tag: answered.tag,
            sqlstate: answered.sqlstate,
            message: answered.message,
            request: Some(&request),
        });
        self.append(body).map_err(unavailable).map(drop)
    }

    fn append(&self, body: Body<'_>) -> Result<Recorded, JournalError> {
        let entry = Entry {
            time: Timestamp::now(),
            session: Some(self.session),
            body,
        };
        self.lane.borrow_mut().append(&[entry])
    }
}

fn unavailable(_: JournalError) -> String {
    "the audit log is not available".to_owned()
}
