//! Statements on their way to the server, as the log hears of them first.
//! Never forwards anything. Read `outbound.rs` next.

use std::collections::BTreeMap;
use std::rc::Rc;

use tracing::warn;

use crate::audit::entry::{Attempt, Body, Entry, OutcomeKind, ParameterRecord, StatementOutcome};
use crate::clock::Timestamp;
use crate::hold::{Parameter, ParameterFormat, length_class};
use crate::identity::principal::{AttemptId, Peer};
use crate::journal::Recorded;
use crate::policy::Verdict;
use crate::proxy::judgements::Judged;
use crate::proxy::redact::touched;
use crate::proxy::refusal::Refusal;
use crate::proxy::thread::WireThread;
use crate::sql::action::Class;
use crate::sql::statement::LexingState;
use crate::sql::statement::ReadUnder;

/// A statement whose record is to be written before its bytes go.
pub struct Pending<L = LexingState> {
    /// The number of the statement in its session.
    pub run: u64,
    pub judged: Rc<Judged<L>>,
    pub verdict: Rc<Verdict>,
    pub parameters: Vec<Parameter>,
    /// How it came: `simple`, `extended`, `text`, `binary`.
    pub protocol: &'static str,
}

/// Writes the attempts of statements that are about to go. `None`: they must not go.
pub fn write_attempts<L: ReadUnder>(
    thread: &WireThread,
    peer: &Peer,
    claimed: &BTreeMap<String, String>,
    pending: &[Pending<L>],
) -> Option<Recorded> {
    let parameters: Vec<Vec<ParameterRecord<'_>>> = pending
        .iter()
        .map(|pending| pending.parameters.iter().map(parameter_record).collect())
        .collect();
    let claimed: Vec<(&str, &str)> = claimed
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let time = Timestamp::now();
    // None at all where nothing is labelled.
    let redactions: Vec<_> = pending
        .iter()
        .map_while(|pending| thread.redaction(&pending.judged))
        .collect();
    let entries: Vec<Entry<'_>> = pending
        .iter()
        .zip(&parameters)
        .enumerate()
        .map(|(at, (pending, parameters))| {
            let verdict = pending.verdict.outcome().as_str();
            let judged = &pending.judged;
            thread
                .shared
                .metrics
                .count_statement(judged.class.as_str(), verdict);
            let attempt = Attempt {
                id: attempt_id(peer, pending.run),
                principal: peer.principal.as_str(),
                database: &peer.database,
                database_user: &peer.database_user,
                text: judged.shown(),
                class: judged.class,
                verdict,
                rule: pending.verdict.rule.as_str(),
                tables: &judged.tables,
                column_labels: touched(redactions.get(at)),
                fingerprint: judged.judgement.fingerprint,
                parameters,
                request: None,
                grant: None,
                protocol: pending.protocol,
                claimed: &claimed,
                read_as: &judged.read_as,
            };
            Entry {
                time,
                session: Some(peer.session),
                body: Body::Attempt(attempt),
            }
        })
        .collect();
    match thread.append(&entries) {
        Ok(recorded) => Some(recorded),
        Err(error) => {
            warn!(%error, "an attempt cannot be recorded");
            thread.shared.metrics.journal_errors.inc();
            None
        }
    }
}

/// Attempts that are written, but not known to be on disk: their statements do not go, and that is said too.
pub fn record_not_sent<L>(thread: &WireThread, peer: &Peer, pending: &[Pending<L>]) {
    let fields = Refusal::LogUnavailable.fields();
    for pending in pending {
        let outcome = StatementOutcome {
            attempt: attempt_id(peer, pending.run),
            kind: OutcomeKind::Refused,
            rows: None,
            tag: "",
            sqlstate: &fields.sqlstate,
            message: &fields.message,
            request: None,
        };
        thread.stage(&Entry {
            time: Timestamp::now(),
            session: Some(peer.session),
            body: Body::Outcome(outcome),
        });
    }
}

pub fn attempt_id(peer: &Peer, run: u64) -> AttemptId {
    AttemptId {
        session: peer.session,
        number: run,
    }
}

/// Whether it may change anything but this session.
pub fn changes_data(class: Class) -> bool {
    match class {
        Class::Read | Class::Session | Class::Transaction => false,
        Class::Write
        | Class::Ddl
        | Class::Export
        | Class::Procedural
        | Class::Grant
        | Class::Admin
        | Class::Unknown => true,
    }
}

/// A redacted one without its value.
pub fn parameter_record(parameter: &Parameter) -> ParameterRecord<'_> {
    let is_redacted = parameter.is_redacted();
    ParameterRecord {
        index: parameter.index,
        type_oid: parameter.type_oid,
        type_name: &parameter.type_name,
        format: match parameter.format {
            ParameterFormat::Text => "text",
            ParameterFormat::Binary => "binary",
        },
        value: parameter.value.as_deref().filter(|_| !is_redacted),
        hex: parameter.hex.as_deref().filter(|_| !is_redacted),
        bytes: if is_redacted {
            length_class(parameter.bytes)
        } else {
            parameter.bytes
        },
        redacted: &parameter.redacted,
    }
}
