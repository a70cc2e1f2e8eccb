//! How a statement is refused so that the session goes on. Never sends a Sync of its own into a pipeline.
//! Read `refusal.rs` for the words.

use std::rc::Rc;

use tracing::warn;

use crate::audit::entry::{Attempt, Body, Entry, OutcomeKind, StatementOutcome};
use crate::clock::Timestamp;
use crate::proxy::attempts::parameter_record;
use crate::proxy::end::End;
use crate::proxy::judgements::Judged;
use crate::proxy::postgres::session::Session;
use crate::proxy::postgres::statements::BIND_BYTES_MAX;
use crate::proxy::postgres::turn::{Batch, Next, Step, Stopped};
use crate::proxy::postgres::unit::Unit;
use crate::proxy::redact::touched;
use crate::proxy::refusal::Refusal;
use crate::sql::action::Class;
use crate::sql::{IN_PLACE_BYTES_MAX, STATEMENT_BYTES_MAX, judge_postgres};
use crate::wire::postgres::conversation::{NAME_BYTES_MAX, Origin, Sent};
use crate::wire::postgres::frame::{HEADER_BYTES, Header, put};
use crate::wire::postgres::message::{
    Parse, Status, Target, client, put_execute, put_ready, query_text, server,
};

/// A portal that is closed first and so never exists: executing it fails a transaction and does nothing else.
const NO_PORTAL: &[u8] = b"_countersign_refused";

impl Session {
    /// Refuses the message at the head, whose statement was not or could not be judged.
    pub(super) fn refused(
        &mut self,
        refusal: Refusal,
        header: Header,
        rest: &[u8],
        batch: &mut Batch,
        simple: bool,
    ) -> Step {
        if !self.talk.is_settled() || !batch.pending.is_empty() {
            return Step::Stop(Next::Settle);
        }
        let count = header.frame_bytes().min(rest.len());
        batch.consumed += count;
        let unit = Unit {
            frames: rest[..count].to_vec(),
            simple,
            judged: Rc::clone(&self.nothing.judged),
            verdict: None,
            parameters: Vec::new(),
            bound: Vec::new(),
            to_drop: header.frame_bytes() - count,
        };
        Step::Stop(Next::Refuse(refusal, Box::new(unit)))
    }

    pub(super) fn too_long(&mut self, header: Header, rest: &[u8], batch: &mut Batch, simple: bool) -> Step {
        let why = format!("a statement of over {STATEMENT_BYTES_MAX} bytes cannot be judged");
        self.refused(Refusal::Unreadable { why }, header, rest, batch, simple)
    }

    pub(super) fn bad_name(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Step {
        let why =
            format!("a statement or portal name is over {NAME_BYTES_MAX} bytes, not UTF-8, or reserved");
        self.refused(Refusal::Unreadable { why }, header, rest, batch, false)
    }

    pub(super) fn gathers_too_much(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Step {
        let why = format!(
            "a held statement with over {} bytes behind it",
            self.gather_bytes_max()
        );
        self.refused(Refusal::Unreadable { why }, header, rest, batch, false)
    }

    pub(super) fn too_large_to_hold(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Step {
        let why = format!("parameters of over {BIND_BYTES_MAX} bytes cannot be shown for approval");
        self.refused(Refusal::Unreadable { why }, header, rest, batch, false)
    }

    pub(super) fn gather_bytes_max(&self) -> usize {
        self.pipe.inbox_bytes_max()
    }

    pub(super) fn stopped(
        &mut self,
        stopped: Stopped,
        header: Header,
        rest: &[u8],
        batch: &mut Batch,
        simple: bool,
    ) -> Step {
        match stopped {
            Stopped::Next(next) => Step::Stop(next),
            Stopped::Refuse(refusal) => self.refused(refusal, header, rest, batch, simple),
        }
    }

    /// Says no. The session goes on as after an error of the server: its transaction, if one is open, has failed; a
    /// pipeline is skipped to its Sync. Outside a transaction nothing goes upstream at all.
    pub(super) async fn refuse(&mut self, refusal: &Refusal, unit: &Unit) -> Result<(), End> {
        self.record_refusal(refusal, unit);
        self.dropping = unit.to_drop;
        self.until_between_messages().await?;
        self.pipe.tell(|out| refusal.fields().put(server::ERROR, out));
        self.thread.shared.metrics.count_refusal(refusal.code());
        // What the server skips already needs no failing.
        let open = !self.talk.is_skipping()
            && (self.talk.has_open_pipeline() || self.talk.status() == Status::InTransaction);
        let status = self.talk.status();
        match (unit.simple, open) {
            (true, false) => self.pipe.tell(|out| put_ready(out, status)),
            (true, true) => self.fail_transaction(true),
            (false, true) => self.fail_transaction(false),
            (false, false) => self.skipping_alone = true,
        }
        Ok(())
    }

    /// Waits for the rest of a server message (a notification may come at any time), so that one of the proxy's own
    /// does not land in the middle of it.
    pub(super) async fn until_between_messages(&mut self) -> Result<(), End> {
        while !self.may_tell() {
            self.wait().await?;
        }
        Ok(())
    }

    /// Fails the server's transaction without any other effect. With a Sync, whose answer is the client's.
    pub(super) fn fail_transaction(&mut self, with_sync: bool) {
        let mut frames = Vec::new();
        // Whatever there may be by this name, such as a cursor.
        Target::Portal(NO_PORTAL).encode(client::CLOSE, &mut frames);
        self.talk.sent(
            Origin::Proxy,
            Sent::ClosePortal {
                name: String::from_utf8_lossy(NO_PORTAL).into_owned(),
            },
        );
        put_execute(&mut frames, NO_PORTAL);
        self.talk.sent(
            Origin::Proxy,
            Sent::Execute {
                run: 0,
                changes: Vec::new(),
                may_copy_in: false,
            },
        );
        if with_sync {
            put(&mut frames, client::SYNC, |_| {});
            self.talk.sent(Origin::Client, Sent::Sync);
        } else {
            put(&mut frames, client::FLUSH, |_| {});
            self.talk.sent(Origin::Proxy, Sent::Flush);
        }
        self.failing = true;
        self.pipe.to_server.own(&frames);
        self.pipe.to_server.release_plain();
    }

    /// The text of a message, judged only so that passwords in it are masked and the log can be searched.
    fn judged_for_log(&self, tag: u8, body: &[u8]) -> Option<Judged> {
        let text = match tag {
            client::QUERY => query_text(body).ok()?,
            client::PARSE => Parse::decode(body).ok()?.text,
            _ => return None,
        };
        let lexing = self.facts.lexing();
        let scope = self.nothing.judged.scope;
        (text.len() <= IN_PLACE_BYTES_MAX)
            .then(|| Judged::new(text.into(), judge_postgres(text, lexing, &()), lexing, scope))
    }

    /// The text of a Query or Parse that was not sent, because an error came before it.
    pub(super) fn record_skipped(&mut self, tag: u8, body: &[u8]) {
        let Some(judged) = self.judged_for_log(tag, body) else {
            return;
        };
        let run = self.next_run();
        let id = self.attempt(run);
        let verdict = self.verdict(&judged);
        let redaction = self.thread.redaction(&judged);
        let attempt = Attempt {
            id,
            principal: self.peer.principal.as_str(),
            database: &self.peer.database,
            database_user: &self.peer.database_user,
            text: judged.shown(),
            class: judged.class,
            verdict: verdict.outcome().as_str(),
            rule: verdict.rule.as_str(),
            tables: &judged.tables,
            column_labels: touched(redaction.as_ref()),
            fingerprint: judged.judgement.fingerprint,
            parameters: &[],
            request: None,
            grant: None,
            protocol: if tag == client::QUERY {
                "simple"
            } else {
                "extended"
            },
            claimed: &[],
            read_as: "",
        };
        self.stage(Body::Attempt(attempt));
        self.stage(Body::Outcome(StatementOutcome {
            attempt: id,
            kind: OutcomeKind::Skipped,
            rows: None,
            tag: "",
            sqlstate: "",
            message: "behind an error of its pipeline",
            request: None,
        }));
    }

    fn record_refusal(&mut self, refusal: &Refusal, unit: &Unit) {
        if refusal.is_recorded_by_desk() {
            return;
        }
        let run = self.next_run();
        let verdict = unit.verdict.clone().unwrap_or_else(|| self.verdict(&unit.judged));
        let unread = unread_message(&unit.frames, unit.to_drop);
        let judged = match (
            &unit.verdict,
            unit.frames.first(),
            unit.frames.get(HEADER_BYTES..),
        ) {
            (None, Some(tag), Some(body)) if unit.to_drop == 0 => self.judged_for_log(*tag, body),
            _ => None,
        };
        let text = match (&unit.verdict, &judged) {
            (Some(_), _) => unit.judged.shown(),
            (None, Some(judged)) => judged.shown(),
            (None, None) => unread.as_bytes(),
        };
        let parameters: Vec<_> = unit.parameters.iter().map(parameter_record).collect();
        let fields = refusal.fields();
        let redaction = self.thread.redaction(&unit.judged);
        let attempt = Attempt {
            id: self.attempt(run),
            principal: self.peer.principal.as_str(),
            database: &self.peer.database,
            database_user: &self.peer.database_user,
            text,
            class: if unit.verdict.is_some() {
                unit.judged.class
            } else {
                Class::Unknown
            },
            verdict: if unit.verdict.is_some() {
                verdict.outcome().as_str()
            } else {
                "deny"
            },
            rule: verdict.rule.as_str(),
            tables: &unit.judged.tables,
            column_labels: touched(redaction.as_ref()),
            fingerprint: unit.judged.judgement.fingerprint,
            parameters: &parameters,
            request: None,
            grant: None,
            protocol: if unit.simple { "simple" } else { "extended" },
            claimed: &[],
            read_as: "",
        };
        let outcome = StatementOutcome {
            attempt: self.attempt(run),
            kind: OutcomeKind::Refused,
            rows: None,
            tag: "",
            sqlstate: &fields.sqlstate,
            message: &fields.message,
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

/// What the log says of a message whose text was not read. Its bytes are not shown: a password might be among them.
fn unread_message(frames: &[u8], to_come: usize) -> String {
    let tag = frames.first().copied().unwrap_or_default();
    format!(
        "message `{}` of {} bytes, not read",
        tag.escape_ascii(),
        frames.len() + to_come
    )
}
