//! Says no, to the client and to the log. Never changes anything on the server: the session goes on as if the statement
//! had not been sent, its transaction with it. Read `../refusal.rs` for the words.

use tracing::warn;

use crate::audit::entry::{Attempt, Body, Entry, OutcomeKind, ParameterRecord, StatementOutcome};
use crate::clock::Timestamp;
use crate::proxy::attempts::parameter_record;
use crate::proxy::end::End;
use crate::proxy::mysql::command::Sending;
use crate::proxy::mysql::session::Session;
use crate::proxy::redact::touched;
use crate::proxy::refusal::Refusal;
use crate::sql::STATEMENT_BYTES_MAX;
use crate::sql::action::Class;

impl Session {
    pub(super) fn refuse(&mut self, refusal: &Refusal, sending: &Sending) -> Result<(), End> {
        self.record_refusal(refusal, sending);
        self.say_no(refusal, sending.next_sequence.wrapping_add(sending.ahead));
        Ok(())
    }

    /// Its attempt could not be written, or not be brought to disk, which is said where it can be.
    pub(super) fn refuse_unrecorded(&mut self, sending: &Sending) -> Result<(), End> {
        let refusal = Refusal::LogUnavailable;
        self.say_no(&refusal, sending.next_sequence.wrapping_add(sending.ahead));
        Ok(())
    }

    fn say_no(&mut self, refusal: &Refusal, sequence: u8) {
        let (number, sqlstate) = refusal.mysql_error();
        self.put_error(number, sqlstate, &refusal.mysql_message(), sequence);
        self.thread.shared.metrics.count_refusal(refusal.code());
    }

    /// A command that is not served, or cannot be read. `shown` is what the log says of it: its bytes might hold a secret.
    pub(super) fn refuse_command(&mut self, why: &str, shown: &str, sequence: u8) -> Result<(), End> {
        let why = why.to_owned();
        let refusal = Refusal::Unreadable { why };
        self.record_unread(shown, &refusal);
        self.say_no(&refusal, sequence);
        Ok(())
    }

    pub(super) fn refuse_too_long(&mut self, shown: &str, sequence: u8) -> Result<(), End> {
        let why = format!("a statement of over {STATEMENT_BYTES_MAX} bytes is not read");
        self.refuse_command(&why, shown, sequence)
    }

    pub(super) fn refuse_unknown_statement(&mut self, statement: u32, sequence: u8) -> Result<(), End> {
        let refusal = Refusal::UnknownStatement {
            name: statement.to_string(),
        };
        self.record_unread(&format!("statement {statement}, which is not prepared"), &refusal);
        self.say_no(&refusal, sequence);
        Ok(())
    }

    /// A command without an answer that is not carried out.
    pub(super) fn record_dropped(&mut self, shown: &str) -> Result<(), End> {
        let why = "dropped".to_owned();
        self.record_unread(shown, &Refusal::Unreadable { why });
        Ok(())
    }

    fn record_unread(&mut self, shown: &str, refusal: &Refusal) {
        self.record_no(
            refusal,
            Said {
                text: shown.as_bytes(),
                class: Class::Unknown,
                verdict: "deny",
                rule: "",
                tables: &[],
                column_labels: &[],
                fingerprint: [0; 32],
                parameters: &[],
                protocol: "text",
                read_as: "",
            },
        );
    }

    fn record_refusal(&mut self, refusal: &Refusal, sending: &Sending) {
        if refusal.is_recorded_by_desk() {
            return;
        }
        let parameters: Vec<_> = sending.parameters.iter().map(parameter_record).collect();
        let judged = &sending.judged;
        let redaction = self.thread.redaction(judged);
        self.record_no(
            refusal,
            Said {
                text: judged.shown(),
                class: judged.class,
                verdict: sending.verdict.outcome().as_str(),
                rule: sending.verdict.rule.as_str(),
                tables: &judged.tables,
                column_labels: touched(redaction.as_ref()),
                fingerprint: judged.judgement.fingerprint,
                parameters: &parameters,
                protocol: sending.protocol,
                read_as: &judged.read_as,
            },
        );
    }

    fn record_no(&mut self, refusal: &Refusal, said: Said<'_>) {
        let id = {
            let number = self.next_run();
            self.attempt(number)
        };
        let (_, sqlstate) = refusal.mysql_error();
        let message = refusal.mysql_message();
        let attempt = Attempt {
            id,
            principal: self.peer.principal.as_str(),
            database: &self.peer.database,
            database_user: &self.peer.database_user,
            text: said.text,
            class: said.class,
            verdict: said.verdict,
            rule: said.rule,
            tables: said.tables,
            column_labels: said.column_labels,
            fingerprint: said.fingerprint,
            parameters: said.parameters,
            request: None,
            grant: None,
            protocol: said.protocol,
            claimed: &[],
            read_as: said.read_as,
        };
        let outcome = StatementOutcome {
            attempt: id,
            kind: OutcomeKind::Refused,
            rows: None,
            tag: "",
            sqlstate,
            message: &message,
            request: None,
        };
        let (time, session) = (Timestamp::now(), Some(self.peer.session));
        let entries = [
            Entry {
                time,
                session,
                body: Body::Attempt(attempt),
            },
            Entry {
                time,
                session,
                body: Body::Outcome(outcome),
            },
        ];
        if let Err(error) = self.thread.append(&entries) {
            // Nothing runs, so nothing is hidden: the refusal itself stands.
            warn!(%error, "a refusal cannot be recorded");
        }
    }
}

/// What the log keeps of what was refused.
struct Said<'a> {
    text: &'a [u8],
    class: Class,
    verdict: &'a str,
    rule: &'a str,
    tables: &'a [String],
    column_labels: &'a [String],
    fingerprint: [u8; 32],
    parameters: &'a [ParameterRecord<'a>],
    protocol: &'a str,
    read_as: &'a str,
}
