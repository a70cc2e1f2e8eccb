//! What happens to the client's next messages: they go on, or the turn ends with what must come first.
//! Never waits by itself, but for the disk: a turn's records are written, and synced where they must be, before its
//! bytes go. Read `runs.rs`, then `park.rs`.

use std::rc::Rc;
use std::sync::Arc;

use tracing::warn;

use crate::audit::entry::{Attempt, Body, Entry, OutcomeKind, ParameterRecord, StatementOutcome};
use crate::clock::Timestamp;
use crate::hold::{Parameter, ParameterFormat, Permit, RequestId};
use crate::policy::{Outcome, Verdict};
use crate::proxy::AuditMode;
use crate::proxy::facts::RESERVED;
use crate::proxy::judgements::Judged;
use crate::proxy::parameters;
use crate::proxy::refusal::Refusal;
use crate::proxy::runs::{Meaning, NameOrigin, changes_data, may_copy_in, name_changes};
use crate::proxy::session::{End, Session};
use crate::sql::action::{Action, CancelTarget, Class};
use crate::sql::statement::{Encoding, LexingState, PathTrust, PreparedNames};
use crate::sql::{IN_PLACE_BYTES_MAX, STATEMENT_BYTES_MAX, judge_postgres};
use crate::wire::postgres::conversation::{
    Conversation, CopyIn, Lookup, Mark, NAME_BYTES_MAX, Origin, RunId, Sent,
};
use crate::wire::postgres::frame::{HEADER_BYTES, Header, put};
use crate::wire::postgres::message::{
    Bind, Parse, Status, Target, client, execute_portal, put_execute, put_ready, query_text, server,
};

/// A Bind up to this size is read whole, so that its values can be shown and recorded; a larger one passes unread if
/// its statement may, and cannot be held.
const BIND_BYTES_MAX: usize = 1 << 20;

/// A name, a row limit: no sound client sends more in these messages.
const SMALL_FRAME_BYTES_MAX: usize = 16 << 10;

/// Answers that may be outstanding: more wait until some are in.
const IN_FLIGHT_MAX: usize = 50_000;

/// Prepared statements of one session: a client that closes none does not get more of the proxy's memory.
const STATEMENTS_MAX: usize = 10_000;

/// A portal that never exists: executing it fails a transaction and does nothing else.
const NO_PORTAL: &[u8] = b"_countersign_refused";

/// Why a turn ended.
#[derive(Debug)]
pub enum Next {
    /// Nothing to do until something happens.
    Wait,
    /// Look at the same messages again.
    Again,
    /// Answers must be in first.
    Settle,
    /// The server must be asked for the session's facts first.
    Ask,
    /// A text too long to be parsed on this thread.
    Parse {
        text: Arc<[u8]>,
        lexing: LexingState,
    },
    Hold(Unit),
    Refuse(Refusal, Unit),
}

/// Client frames that go, wait or are refused together: a Query, or the messages of one portal.
#[derive(Debug)]
pub struct Unit {
    /// The frames as they came.
    pub frames: Vec<u8>,
    pub simple: bool,
    pub judged: Rc<Judged>,
    pub verdict: Option<Rc<Verdict>>,
    pub parameters: Vec<Parameter>,
    /// Of the Bind, if there is one: formats of the results, for the digest.
    pub bound: Vec<u8>,
    /// Bytes of its last frame that are still to come and are dropped.
    pub to_drop: usize,
}

/// A statement whose record is to be written before the turn's bytes go.
struct Pending {
    run: RunId,
    judged: Rc<Judged>,
    verdict: Rc<Verdict>,
    parameters: Vec<Parameter>,
    simple: bool,
}

/// What a turn has let go so far.
struct Batch {
    mark: Mark,
    /// `passing` and `dropping` of the session when it began.
    frame_left: (usize, usize),
    consumed: usize,
    first_run: RunId,
    pending: Vec<Pending>,
    /// Something in it may commit.
    commits: bool,
    /// A Parse that waits for its Bind, to be one record with it: statement name and place in `pending`.
    parsed: Option<(String, usize)>,
}

/// What `consider` makes of one message.
enum Step {
    Went,
    Stop(Next),
}

/// How much of a unit the inbox holds.
enum Gathered {
    /// Its end has not come yet.
    More,
    /// Bytes from its head, and where in them its Bind begins.
    Whole { bytes: usize, bind_at: Option<usize> },
}

struct Names<'a> {
    talk: &'a Conversation<Rc<Meaning>>,
    path: PathTrust,
}

impl PreparedNames for Names<'_> {
    fn prepared(&self, name: &str) -> Option<Arc<Action>> {
        match self.talk.statement(name) {
            // Under another search_path its names may be others, so what it does is not known.
            Lookup::Known(meaning) if meaning.judged.lexing.path != self.path => None,
            Lookup::Known(meaning) => match meaning.judged.judgement.actions.as_slice() {
                [action] => Some(Arc::new(action.clone())),
                _ => None,
            },
            Lookup::Unknown | Lookup::Wait => None,
        }
    }
}

impl Session {
    /// Lets as many messages go as can, and says what must come before the next.
    pub(super) async fn turn(&mut self) -> Result<Next, End> {
        let inbox = std::mem::take(&mut self.pipe.inbox);
        let mut batch = Batch {
            mark: self.talk.mark(),
            frame_left: (self.passing, self.dropping),
            consumed: 0,
            first_run: self.runs_begun + 1,
            pending: Vec::new(),
            commits: false,
            parsed: None,
        };
        let next = loop {
            match self.consider(&inbox, &mut batch) {
                Ok(Step::Went) => {}
                Ok(Step::Stop(next)) => break Ok(next),
                Err(end) => break Err(end),
            }
        };
        let recorded = self.record(&batch).await;
        self.put_back(inbox, batch.consumed, recorded);
        if !recorded {
            self.undo(&batch);
            // The statement whose record could not be written comes again, to be refused.
            self.refuse_once = Some(Refusal::LogUnavailable);
            return Ok(Next::Again);
        }
        next
    }

    /// The inbox after a turn: what was let go is gone from it, unless its record could not be written.
    fn put_back(&mut self, mut inbox: Vec<u8>, consumed: usize, recorded: bool) {
        if recorded && consumed == inbox.len() {
            return;
        }
        if recorded {
            inbox.drain(..consumed);
        }
        self.pipe.inbox = inbox;
    }

    fn undo(&mut self, batch: &Batch) {
        self.pipe.to_server.discard();
        self.talk.rewind(batch.mark);
        (self.passing, self.dropping) = batch.frame_left;
        for run in batch.first_run..=self.runs_begun {
            if let Some(run) = self.runs.remove(&run) {
                self.meaning_in_flight -= usize::from(run.changes_meaning);
            }
        }
    }

    /// Writes the turn's records. Whether its bytes may go, and have been let go.
    async fn record(&mut self, batch: &Batch) -> bool {
        if !batch.pending.is_empty() && !self.write_attempts(&batch.pending) {
            return false;
        }
        let writes = batch
            .pending
            .iter()
            .any(|pending| changes_data(pending.judged.class));
        let durable = self.thread.shared.settings.audit == AuditMode::Durable && !batch.pending.is_empty();
        if writes || durable || (batch.commits && self.transaction.wrote) {
            if let Some(recorded) = self.unsynced {
                let synced = self.thread.sync(&recorded);
                if let Err(error) = synced.await {
                    warn!(%error, "an attempt cannot be brought to disk");
                    self.thread.shared.metrics.journal_errors.inc();
                    return false;
                }
            }
        }
        match self.unsynced {
            Some(recorded) if !batch.pending.is_empty() => self.pipe.to_server.release(&recorded),
            Some(_) | None => self.pipe.to_server.release_plain(),
        }
        if writes || durable || (batch.commits && self.transaction.wrote) {
            self.unsynced = None;
        }
        true
    }

    fn write_attempts(&mut self, pending: &[Pending]) -> bool {
        let parameters: Vec<Vec<ParameterRecord<'_>>> = pending
            .iter()
            .map(|pending| pending.parameters.iter().map(parameter_record).collect())
            .collect();
        let claimed: Vec<(&str, &str)> = self
            .claimed
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let time = Timestamp::now();
        let entries: Vec<Entry<'_>> = pending
            .iter()
            .zip(&parameters)
            .map(|(pending, parameters)| {
                self.thread
                    .shared
                    .metrics
                    .count_statement(pending.judged.class.as_str(), pending.verdict.outcome().as_str());
                let attempt = Attempt {
                    id: self.attempt(pending.run),
                    principal: self.peer.principal.as_str(),
                    database: &self.peer.database,
                    database_user: &self.peer.database_user,
                    text: pending.judged.shown(),
                    class: pending.judged.class,
                    verdict: pending.verdict.outcome().as_str(),
                    rule: pending.verdict.rule.as_str(),
                    tables: &pending.judged.tables,
                    fingerprint: pending.judged.judgement.fingerprint,
                    parameters,
                    request: None,
                    protocol: if pending.simple { "simple" } else { "extended" },
                    claimed: &claimed,
                };
                Entry {
                    time,
                    session: Some(self.peer.session),
                    body: Body::Attempt(attempt),
                }
            })
            .collect();
        match self.thread.append(&entries) {
            Ok(recorded) => {
                self.unsynced = Some(recorded);
                true
            }
            Err(error) => {
                warn!(%error, "an attempt cannot be recorded");
                self.thread.shared.metrics.journal_errors.inc();
                false
            }
        }
    }

    /// One message of the client, or as much of it as is there.
    fn consider(&mut self, inbox: &[u8], batch: &mut Batch) -> Result<Step, End> {
        let rest = &inbox[batch.consumed..];
        if rest.is_empty() {
            return Ok(Step::Stop(Next::Wait));
        }
        if self.passing > 0 {
            let count = self.passing.min(rest.len());
            self.pipe.to_server.rest_of_frame(&rest[..count]);
            self.passing -= count;
            batch.consumed += count;
            return Ok(Step::Went);
        }
        if self.dropping > 0 {
            let count = self.dropping.min(rest.len());
            self.dropping -= count;
            batch.consumed += count;
            return Ok(Step::Went);
        }
        let header = Header::cut(rest).map_err(|error| End::Violation(error.to_string()))?;
        let Some(header) = header else {
            return Ok(Step::Stop(Next::Wait));
        };
        match self.talk.copy_in() {
            CopyIn::None => {}
            CopyIn::Possible => return Ok(Step::Stop(Next::Settle)),
            CopyIn::Open => return self.copy_message(header, rest, batch),
        }
        if self.failing || self.talk.in_flight() > IN_FLIGHT_MAX {
            return Ok(Step::Stop(Next::Settle));
        }
        self.message(header, rest, batch)
    }

    /// While the server reads a COPY's data.
    fn copy_message(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Result<Step, End> {
        match header.tag {
            client::COPY_DATA => {
                let count = header.frame_bytes().min(rest.len());
                self.talk.sent(Origin::Client, Sent::CopyData);
                self.pipe.to_server.plain(&rest[..count]);
                self.passing = header.frame_bytes() - count;
                batch.consumed += count;
                Ok(Step::Went)
            }
            client::COPY_DONE | client::COPY_FAIL => {
                let Some(frame) = whole(header, rest)? else {
                    return Ok(Step::Stop(Next::Wait));
                };
                self.talk.sent(Origin::Client, Sent::CopyEnd);
                self.pipe.to_server.plain(frame);
                batch.consumed += frame.len();
                batch.commits = true;
                Ok(Step::Went)
            }
            // The server ignores both while it reads data.
            client::SYNC | client::FLUSH => Ok(self.drop_frame(header)),
            client::TERMINATE => Err(End::ClientLeft),
            other => Err(End::Violation(format!(
                "message `{}` inside a COPY is refused",
                other.escape_ascii()
            ))),
        }
    }

    fn message(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Result<Step, End> {
        let skipping = self.skipping_alone || self.talk.is_skipping();
        match header.tag {
            client::TERMINATE => Err(End::ClientLeft),
            client::SYNC => self.sync(header, rest, batch),
            // The server ignores data that comes after a COPY has failed.
            client::COPY_DATA | client::COPY_DONE | client::COPY_FAIL => Ok(self.drop_frame(header)),
            client::QUERY
            | client::PARSE
            | client::BIND
            | client::DESCRIBE
            | client::EXECUTE
            | client::CLOSE
            | client::FLUSH
            | client::FUNCTION_CALL
                if skipping =>
            {
                Ok(self.drop_frame(header))
            }
            client::QUERY => self.query(header, rest, batch),
            client::PARSE => self.parse(header, rest, batch),
            client::BIND => self.bind(header, rest, batch),
            client::DESCRIBE | client::CLOSE => self.describe_or_close(header, rest, batch),
            client::EXECUTE => self.execute(header, rest, batch),
            client::FLUSH => {
                let Some(frame) = whole(header, rest)? else {
                    return Ok(Step::Stop(Next::Wait));
                };
                self.talk.sent(Origin::Client, Sent::Flush);
                self.pipe.to_server.plain(frame);
                batch.consumed += frame.len();
                Ok(Step::Went)
            }
            client::FUNCTION_CALL => {
                if !self.talk.is_settled() {
                    return Ok(Step::Stop(Next::Settle));
                }
                let why = "the FunctionCall message is not served: call the function in a SELECT".to_owned();
                Ok(self.refused(Refusal::Unreadable { why }, header, rest, batch, true))
            }
            other => Err(End::Violation(format!(
                "message `{}` is not known and is refused",
                other.escape_ascii()
            ))),
        }
    }

    /// A message that is dropped is not waited for: its bytes go as they come.
    fn drop_frame(&mut self, header: Header) -> Step {
        self.dropping = header.frame_bytes();
        Step::Went
    }

    fn sync(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Result<Step, End> {
        let Some(frame) = whole(header, rest)? else {
            return Ok(Step::Stop(Next::Wait));
        };
        let alone = std::mem::take(&mut self.skipping_alone);
        if alone && !self.talk.has_open_pipeline() && !self.talk.is_skipping() {
            let status = self.talk.status();
            self.pipe.tell(|out| put_ready(out, status));
            batch.consumed += frame.len();
            // What is told cannot be taken back, so the turn ends here.
            return Ok(Step::Stop(Next::Again));
        } else {
            self.talk.sent(Origin::Client, Sent::Sync);
            self.pipe.to_server.plain(frame);
            batch.commits = true;
        }
        batch.consumed += frame.len();
        batch.parsed = None;
        Ok(Step::Went)
    }

    fn query(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Result<Step, End> {
        if header.body_bytes > STATEMENT_BYTES_MAX {
            return Ok(self.too_long(header, rest, batch, true));
        }
        let Some(frame) = whole(header, rest)? else {
            return Ok(Step::Stop(Next::Wait));
        };
        let text = query_text(&frame[HEADER_BYTES..]).map_err(|error| End::Violation(error.to_string()))?;
        let judged = match self.judge(text) {
            Ok(judged) => judged,
            Err(next) => return Ok(self.stopped(next, header, rest, batch, true)),
        };
        let verdict = self.verdict(&judged);
        match verdict.outcome() {
            Outcome::Allow => {
                let run = self.next_run();
                let Some(permit) = verdict.allowed() else {
                    return Ok(Step::Stop(Next::Wait));
                };
                self.send_query(run, &judged, None);
                let permit = Permit::from_allow(permit, self.attempt(run));
                self.pipe.to_server.statement(permit, frame);
                batch.consumed += frame.len();
                batch.commits |= commits(&judged);
                batch.pending.push(Pending {
                    run,
                    judged,
                    verdict,
                    parameters: Vec::new(),
                    simple: true,
                });
                Ok(Step::Went)
            }
            Outcome::Deny | Outcome::Hold => {
                if let Some(own) = self.own_cancel(&judged, &[]) {
                    return Ok(self.let_cancel(&own, frame, batch));
                }
                let unit = Unit {
                    frames: frame.to_vec(),
                    simple: true,
                    judged,
                    verdict: Some(verdict),
                    parameters: Vec::new(),
                    bound: Vec::new(),
                    to_drop: 0,
                };
                Ok(self.stop_with(unit, batch))
            }
        }
    }

    /// Notes a Query in the conversation and as a run.
    pub(super) fn send_query(&mut self, run: RunId, judged: &Rc<Judged>, request: Option<RequestId>) {
        self.begin_run(run, judged, request);
        let changes = name_changes(judged);
        self.talk.sent(
            Origin::Client,
            Sent::Query {
                run,
                changes,
                may_copy_in: may_copy_in(judged),
            },
        );
    }

    fn parse(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Result<Step, End> {
        if header.body_bytes > STATEMENT_BYTES_MAX {
            return Ok(self.too_long(header, rest, batch, false));
        }
        let Some(frame) = whole(header, rest)? else {
            return Ok(Step::Stop(Next::Wait));
        };
        let parse =
            Parse::decode(&frame[HEADER_BYTES..]).map_err(|error| End::Violation(error.to_string()))?;
        let Some(name) = served_name(parse.name) else {
            return Ok(self.bad_name(header, rest, batch));
        };
        if self.talk.statements().len() >= STATEMENTS_MAX {
            let why = format!("{STATEMENTS_MAX} prepared statements are open, close some");
            return Ok(self.refused(Refusal::Unreadable { why }, header, rest, batch, false));
        }
        let judged = match self.judge(parse.text) {
            Ok(judged) => judged,
            Err(next) => return Ok(self.stopped(next, header, rest, batch, false)),
        };
        let verdict = self.verdict(&judged);
        if verdict.outcome() == Outcome::Allow {
            let run = self.next_run();
            let Some(permit) = verdict.allowed() else {
                return Ok(Step::Stop(Next::Wait));
            };
            let permit = Permit::from_allow(permit, self.attempt(run));
            self.send_parse(run, name, &judged, parse.types);
            self.pipe.to_server.statement(permit, frame);
            batch.consumed += frame.len();
            batch.parsed = Some((name.to_owned(), batch.pending.len()));
            batch.pending.push(Pending {
                run,
                judged,
                verdict,
                parameters: Vec::new(),
                simple: false,
            });
            return Ok(Step::Went);
        }
        match gather(rest, Some(name))? {
            Gathered::More if rest.len() < self.gather_bytes_max() => Ok(Step::Stop(Next::Wait)),
            Gathered::More => Ok(self.gathers_too_much(header, rest, batch)),
            Gathered::Whole {
                bytes,
                bind_at: Some(bind_at),
            } => {
                let types = parse.types.clone();
                self.stop_bound(&rest[..bytes], bind_at, judged, verdict, &types, batch)
            }
            Gathered::Whole { bind_at: None, .. } => self.parse_alone(frame, &parse, judged, verdict, batch),
        }
    }

    /// A Parse of a statement that will be held, whose answer the client waits for.
    fn parse_alone(
        &mut self,
        frame: &[u8],
        parse: &Parse<'_>,
        judged: Rc<Judged>,
        verdict: Rc<Verdict>,
        batch: &mut Batch,
    ) -> Result<Step, End> {
        let run = self.runs_begun + 1;
        let permit = (verdict.outcome() == Outcome::Hold)
            .then(|| Permit::from_safe_parse(&judged.judgement, self.attempt(run)))
            .flatten();
        let Some(permit) = permit else {
            let unit = Unit {
                frames: frame.to_vec(),
                simple: false,
                judged,
                verdict: Some(verdict),
                parameters: Vec::new(),
                bound: Vec::new(),
                to_drop: 0,
            };
            return Ok(self.stop_with(unit, batch));
        };
        let run = self.next_run();
        let name = served_name(parse.name).unwrap_or_default();
        self.send_parse(run, name, &judged, parse.types.clone());
        self.pipe.to_server.statement(permit, frame);
        batch.consumed += frame.len();
        batch.pending.push(Pending {
            run,
            judged,
            verdict,
            parameters: Vec::new(),
            simple: false,
        });
        Ok(Step::Went)
    }

    fn send_parse(&mut self, run: RunId, name: &str, judged: &Rc<Judged>, types: Vec<u32>) {
        self.begin_parse(run, judged);
        let meaning = Meaning::new(Rc::clone(judged), NameOrigin::Text);
        *meaning.types.borrow_mut() = types;
        let sent = Sent::Parse {
            run: Some(run),
            name: name.to_owned(),
            statement: Rc::new(meaning),
        };
        self.talk.sent(Origin::Client, sent);
    }

    /// Parsing changes nothing: neither data nor what later texts mean.
    fn begin_parse(&mut self, run: RunId, judged: &Rc<Judged>) {
        let wrote = self.transaction.wrote;
        let touched = self.transaction.touched_meaning;
        self.begin_run(run, judged, None);
        self.transaction.wrote = wrote;
        self.transaction.touched_meaning = touched;
        if let Some(run) = self.runs.get_mut(&run) {
            self.meaning_in_flight -= usize::from(std::mem::take(&mut run.changes_meaning));
        }
    }

    fn bind(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Result<Step, End> {
        if header.body_bytes > BIND_BYTES_MAX {
            return self.large_bind(header, rest, batch);
        }
        let Some(frame) = whole(header, rest)? else {
            return Ok(Step::Stop(Next::Wait));
        };
        let bind = Bind::decode(&frame[HEADER_BYTES..]).map_err(|error| End::Violation(error.to_string()))?;
        let (Some(portal), Some(name)) = (served_name(bind.portal), served_name(bind.statement)) else {
            return Ok(self.bad_name(header, rest, batch));
        };
        let (judged, types) = match self.bound_statement(name, header, rest, batch) {
            Ok(found) => found,
            Err(step) => return Ok(step),
        };
        let verdict = self.verdict(&judged);
        let parameters = parameters::decode(&bind, &types);
        if verdict.outcome() == Outcome::Allow {
            let Some(permit) = verdict.allowed() else {
                return Ok(Step::Stop(Next::Wait));
            };
            let run = self.run_of_bind(name, &judged, &verdict, parameters, batch);
            self.send_bind(run, portal, &judged, types, NameOrigin::Text);
            let permit = Permit::from_allow(permit, self.attempt(run));
            self.pipe.to_server.statement(permit, frame);
            batch.consumed += frame.len();
            batch.commits |= commits(&judged);
            return Ok(Step::Went);
        }
        match gather(rest, None)? {
            Gathered::More if rest.len() < self.gather_bytes_max() => Ok(Step::Stop(Next::Wait)),
            Gathered::More => Ok(self.gathers_too_much(header, rest, batch)),
            Gathered::Whole { bytes, .. } => {
                self.stop_bound(&rest[..bytes], 0, judged, verdict, &types, batch)
            }
        }
    }

    /// What a Bind's statement means now: judged again if rules or lexing have changed since.
    fn bound_statement(
        &mut self,
        name: &str,
        header: Header,
        rest: &[u8],
        batch: &mut Batch,
    ) -> Result<(Rc<Judged>, Vec<u32>), Step> {
        let meaning = match self.talk.statement(name) {
            Lookup::Known(meaning) => meaning,
            Lookup::Wait => return Err(Step::Stop(Next::Settle)),
            Lookup::Unknown => {
                if !self.talk.is_settled() {
                    return Err(Step::Stop(Next::Settle));
                }
                let refusal = Refusal::UnknownStatement {
                    name: name.to_owned(),
                };
                return Err(self.refused(refusal, header, rest, batch, false));
            }
        };
        if let Some(next) = self.not_ready() {
            return Err(self.stopped(next, header, rest, batch, false));
        }
        let types = meaning.types.borrow().clone();
        match self.judge_again(&meaning) {
            Ok(judged) => Ok((judged, types)),
            Err(next) => Err(self.stopped(next, header, rest, batch, false)),
        }
    }

    /// What a statement judged before does now: its names may mean something else under the search_path of now, and
    /// an EXECUTE in it goes by what that name means by now. Its text is read as it was when it was parsed.
    fn judge_again(&mut self, meaning: &Meaning) -> Result<Rc<Judged>, Stopped> {
        let judged = &meaning.judged;
        let path = self.facts.lexing().path;
        match meaning.origin {
            NameOrigin::Text if judged.judgement.depends_on_names || judged.lexing.path != path => {
                let text = Arc::clone(&judged.text);
                self.judge_under(&text, LexingState { path, ..judged.lexing })
            }
            NameOrigin::SqlPrepare if judged.lexing.path != path => Ok(Rc::new(judged.unknown(
                "it was prepared under another search_path",
            ))),
            NameOrigin::Text | NameOrigin::SqlPrepare | NameOrigin::Approved => Ok(Rc::clone(judged)),
        }
    }

    /// The run that a Bind belongs to: its Parse's, if that went in the same turn, or one of its own.
    fn run_of_bind(
        &mut self,
        name: &str,
        judged: &Rc<Judged>,
        verdict: &Rc<Verdict>,
        parameters: Vec<Parameter>,
        batch: &mut Batch,
    ) -> RunId {
        if let Some((parsed, at)) = batch.parsed.take() {
            if parsed == name {
                if let Some(pending) = batch.pending.get_mut(at) {
                    pending.parameters = parameters;
                    let run = pending.run;
                    self.forget_run(run);
                    self.begin_run(run, judged, None);
                    return run;
                }
            }
        }
        let run = self.next_run();
        self.begin_run(run, judged, None);
        let (judged, verdict) = (Rc::clone(judged), Rc::clone(verdict));
        batch.pending.push(Pending {
            run,
            judged,
            verdict,
            parameters,
            simple: false,
        });
        run
    }

    fn forget_run(&mut self, run: RunId) {
        if let Some(run) = self.runs.remove(&run) {
            self.meaning_in_flight -= usize::from(run.changes_meaning);
        }
    }

    fn send_bind(
        &mut self,
        run: RunId,
        portal: &str,
        judged: &Rc<Judged>,
        types: Vec<u32>,
        origin: NameOrigin,
    ) {
        let meaning = Meaning::new(Rc::clone(judged), origin);
        *meaning.types.borrow_mut() = types;
        meaning.run.set(Some(run));
        let sent = Sent::Bind {
            run: Some(run),
            portal: portal.to_owned(),
            statement: Rc::new(meaning),
        };
        self.talk.sent(Origin::Client, sent);
    }

    /// A Bind too large to be read: it goes through unread if its statement may, and cannot be held.
    fn large_bind(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Result<Step, End> {
        let head = &rest[HEADER_BYTES..rest.len().min(HEADER_BYTES + 2 * (NAME_BYTES_MAX + 1))];
        let Ok((portal, name)) = Bind::names(head) else {
            if head.len() > 2 * NAME_BYTES_MAX {
                return Ok(self.bad_name(header, rest, batch));
            }
            return Ok(Step::Stop(Next::Wait));
        };
        let (Some(portal), Some(name)) = (served_name(portal), served_name(name)) else {
            return Ok(self.bad_name(header, rest, batch));
        };
        let (judged, types) = match self.bound_statement(name, header, rest, batch) {
            Ok(found) => found,
            Err(step) => return Ok(step),
        };
        let verdict = self.verdict(&judged);
        let Some(permit) = verdict.allowed() else {
            if !self.talk.is_settled() {
                return Ok(Step::Stop(Next::Settle));
            }
            let why = format!("parameters of over {BIND_BYTES_MAX} bytes cannot be shown for approval");
            return Ok(self.refused(Refusal::Unreadable { why }, header, rest, batch, false));
        };
        let unread = Parameter {
            index: 0,
            type_oid: 0,
            type_name: "parameters too large to be kept".to_owned(),
            format: ParameterFormat::Binary,
            value: None,
            hex: None,
            bytes: header.body_bytes as u64,
        };
        let run = self.run_of_bind(name, &judged, &verdict, vec![unread], batch);
        self.send_bind(run, portal, &judged, types, NameOrigin::Text);
        let count = header.frame_bytes().min(rest.len());
        let permit = Permit::from_allow(permit, self.attempt(run));
        self.pipe.to_server.statement(permit, &rest[..count]);
        self.passing = header.frame_bytes() - count;
        batch.consumed += count;
        batch.commits |= commits(&judged);
        Ok(Step::Went)
    }

    fn describe_or_close(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Result<Step, End> {
        let Some(frame) = whole(header, rest)? else {
            return Ok(Step::Stop(Next::Wait));
        };
        let target =
            Target::decode(&frame[HEADER_BYTES..]).map_err(|error| End::Violation(error.to_string()))?;
        let (Target::Statement(name) | Target::Portal(name)) = target;
        let Some(name) = served_name(name) else {
            return Ok(self.bad_name(header, rest, batch));
        };
        let name = name.to_owned();
        let sent = match (header.tag, target) {
            (client::CLOSE, Target::Statement(_)) => Sent::CloseStatement { name },
            (client::CLOSE, Target::Portal(_)) => Sent::ClosePortal { name },
            (_, Target::Statement(_)) => Sent::DescribeStatement { name },
            (_, Target::Portal(_)) => Sent::DescribePortal,
        };
        self.talk.sent(Origin::Client, sent);
        self.pipe.to_server.plain(frame);
        batch.consumed += frame.len();
        Ok(Step::Went)
    }

    /// Whatever portal exists was let through when it was bound or declared.
    fn execute(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Result<Step, End> {
        let Some(frame) = whole(header, rest)? else {
            return Ok(Step::Stop(Next::Wait));
        };
        let portal =
            execute_portal(&frame[HEADER_BYTES..]).map_err(|error| End::Violation(error.to_string()))?;
        let Some(portal) = served_name(portal) else {
            return Ok(self.bad_name(header, rest, batch));
        };
        let meaning = match self.talk.portal(portal) {
            Lookup::Known(meaning) => meaning,
            Lookup::Unknown => Rc::clone(&self.nothing),
            Lookup::Wait => return Ok(Step::Stop(Next::Settle)),
        };
        if let Some(step) = self.names_changed(&meaning, header, rest, batch) {
            return Ok(step);
        }
        let run = match meaning.run.take() {
            Some(run) => run,
            None => {
                if let Some(refusal) = self.refuse_once.take() {
                    return Ok(self.refused(refusal, header, rest, batch, false));
                }
                let run = self.next_run();
                let judged = Rc::clone(&meaning.judged);
                self.begin_run(run, &judged, None);
                let verdict = self.verdict(&judged);
                batch.pending.push(Pending {
                    run,
                    judged,
                    verdict,
                    parameters: Vec::new(),
                    simple: false,
                });
                run
            }
        };
        self.note_execute(run, &meaning.judged);
        self.pipe.to_server.plain(frame);
        batch.consumed += frame.len();
        Ok(Step::Went)
    }

    /// A portal of an EXECUTE looks its name up when it runs: what was let through at its Bind must still be so.
    fn names_changed(
        &mut self,
        meaning: &Meaning,
        header: Header,
        rest: &[u8],
        batch: &mut Batch,
    ) -> Option<Step> {
        let depends = meaning.judged.judgement.depends_on_names && !meaning.judged.text.is_empty();
        if meaning.origin != NameOrigin::Text || !depends {
            return None;
        }
        let judged = match self.judge_again(meaning) {
            Ok(judged) => judged,
            Err(next) => return Some(self.stopped(next, header, rest, batch, false)),
        };
        if self.verdict(&judged).outcome() == Outcome::Allow {
            return None;
        }
        let why = "what its EXECUTE runs has changed since it was bound".to_owned();
        Some(self.refused(Refusal::Unreadable { why }, header, rest, batch, false))
    }

    fn note_execute(&mut self, run: RunId, judged: &Rc<Judged>) {
        let changes = name_changes(judged);
        self.talk.sent(
            Origin::Client,
            Sent::Execute {
                run,
                changes,
                may_copy_in: may_copy_in(judged),
            },
        );
    }

    /// Puts an approved unit's frames, unchanged, and notes what they are.
    pub(super) fn send_unit(&mut self, unit: &Unit, run: RunId, permit: Permit) {
        let request = permit.request();
        if unit.simple {
            self.send_query(run, &unit.judged, request);
        } else {
            self.begin_run(run, &unit.judged, request);
            self.note_frames(unit, run);
        }
        self.pipe.to_server.approved(permit, &unit.frames);
    }

    fn note_frames(&mut self, unit: &Unit, run: RunId) {
        let mut rest = unit.frames.as_slice();
        let judged = &unit.judged;
        // Its frames were decoded when the unit was gathered.
        while let Ok(Some(header)) = Header::cut(rest) {
            let Some(body) = rest.get(HEADER_BYTES..header.frame_bytes()) else {
                return;
            };
            match header.tag {
                client::PARSE => {
                    if let Ok(parse) = Parse::decode(body) {
                        let meaning = Meaning::new(Rc::clone(judged), NameOrigin::Text);
                        *meaning.types.borrow_mut() = parse.types;
                        let name = served_name(parse.name).unwrap_or_default().to_owned();
                        let sent = Sent::Parse {
                            run: Some(run),
                            name,
                            statement: Rc::new(meaning),
                        };
                        self.talk.sent(Origin::Client, sent);
                    }
                }
                client::BIND => {
                    if let Ok((portal, _)) = Bind::names(body) {
                        let portal = served_name(portal).unwrap_or_default();
                        self.send_bind(run, portal, judged, Vec::new(), NameOrigin::Approved);
                    }
                }
                client::EXECUTE => {
                    if let Some(portal) = execute_portal(body).ok().and_then(served_name) {
                        if let Lookup::Known(meaning) = self.talk.portal(portal) {
                            meaning.run.set(None);
                        }
                    }
                    self.note_execute(run, judged);
                }
                tag => {
                    if let Ok(target) = Target::decode(body) {
                        self.note_target(tag, target);
                    }
                }
            }
            rest = &rest[header.frame_bytes()..];
        }
    }

    fn note_target(&mut self, tag: u8, target: Target<'_>) {
        let (Target::Statement(name) | Target::Portal(name)) = target;
        let name = served_name(name).unwrap_or_default().to_owned();
        let sent = match (tag, target) {
            (client::CLOSE, Target::Statement(_)) => Sent::CloseStatement { name },
            (client::CLOSE, Target::Portal(_)) => Sent::ClosePortal { name },
            (_, Target::Statement(_)) => Sent::DescribeStatement { name },
            (_, Target::Portal(_)) => Sent::DescribePortal,
        };
        self.talk.sent(Origin::Client, sent);
    }

    /// A unit with a Bind that is held or denied.
    fn stop_bound(
        &mut self,
        frames: &[u8],
        bind_at: usize,
        judged: Rc<Judged>,
        verdict: Rc<Verdict>,
        types: &[u32],
        batch: &mut Batch,
    ) -> Result<Step, End> {
        let header = Header::cut(&frames[bind_at..]).map_err(|error| End::Violation(error.to_string()))?;
        let Some(header) = header else {
            return Ok(Step::Stop(Next::Wait));
        };
        let body = &frames[bind_at + HEADER_BYTES..bind_at + header.frame_bytes()];
        let bind = Bind::decode(body).map_err(|error| End::Violation(error.to_string()))?;
        if let Some(own) = self.own_cancel(&judged, &bind.values) {
            return Ok(self.let_cancel_bound(&own, frames, batch));
        }
        let unit = Unit {
            frames: frames.to_vec(),
            simple: false,
            parameters: parameters::decode(&bind, types),
            bound: body.to_vec(),
            judged,
            verdict: Some(verdict),
            to_drop: 0,
        };
        Ok(self.stop_with(unit, batch))
    }

    /// Ends the turn with a unit that must wait or be refused; what is under way is answered first.
    fn stop_with(&mut self, unit: Unit, batch: &mut Batch) -> Step {
        if !self.talk.is_settled() || !batch.pending.is_empty() {
            return Step::Stop(Next::Settle);
        }
        batch.consumed += unit.frames.len();
        let Some(verdict) = &unit.verdict else {
            return Step::Stop(Next::Wait);
        };
        if verdict.outcome() == Outcome::Deny {
            let refusal = Refusal::DeniedByRule {
                rule: verdict.rule.to_string(),
                reason: reason(verdict, &unit.judged),
            };
            return Step::Stop(Next::Refuse(refusal, unit));
        }
        // Inside a failed transaction the server runs nothing but its end, so there is nothing to decide.
        if self.talk.status() == Status::Failed && unit.judged.judgement.actions.len() == 1 {
            return Step::Stop(Next::Refuse(Refusal::TransactionFailed, unit));
        }
        Step::Stop(Next::Hold(unit))
    }

    /// Refuses the message at the head, whose statement was not or could not be judged.
    fn refused(
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
        Step::Stop(Next::Refuse(refusal, unit))
    }

    fn too_long(&mut self, header: Header, rest: &[u8], batch: &mut Batch, simple: bool) -> Step {
        let why = format!("a statement of over {STATEMENT_BYTES_MAX} bytes cannot be judged");
        self.refused(Refusal::Unreadable { why }, header, rest, batch, simple)
    }

    fn bad_name(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Step {
        let why =
            format!("a statement or portal name is over {NAME_BYTES_MAX} bytes, not UTF-8, or reserved");
        self.refused(Refusal::Unreadable { why }, header, rest, batch, false)
    }

    fn gathers_too_much(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Step {
        let why = format!(
            "a held statement with over {} bytes behind it",
            self.gather_bytes_max()
        );
        self.refused(Refusal::Unreadable { why }, header, rest, batch, false)
    }

    fn gather_bytes_max(&self) -> usize {
        self.thread.shared.settings.limits.session_buffer_bytes
    }

    fn stopped(
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

    /// What a text would do now.
    fn judge(&mut self, text: &[u8]) -> Result<Rc<Judged>, Stopped> {
        if let Some(stopped) = self.not_ready() {
            return Err(stopped);
        }
        self.judge_under(text, self.facts.lexing())
    }

    /// What must come before anything can be judged.
    fn not_ready(&mut self) -> Option<Stopped> {
        if let Some(refusal) = self.refuse_once.take_if(|_| self.talk.is_settled()) {
            return Some(Stopped::Refuse(refusal));
        }
        if self.refuse_once.is_some() || self.meaning_in_flight > 0 {
            return Some(Stopped::Next(Next::Settle));
        }
        if self.facts.stale && self.talk.status() != Status::Failed {
            let next = if self.talk.is_settled() {
                Next::Ask
            } else {
                Next::Settle
            };
            return Some(Stopped::Next(next));
        }
        if self.facts.lexing().encoding == Encoding::Other || !self.facts.standard_conforming_strings {
            let why = "client_encoding other than UTF8, or standard_conforming_strings off, is not served: \
                       reconnect with client_encoding UTF8 and standard_conforming_strings on";
            return Some(Stopped::Refuse(Refusal::Unreadable { why: why.to_owned() }));
        }
        None
    }

    fn judge_under(&mut self, text: &[u8], lexing: LexingState) -> Result<Rc<Judged>, Stopped> {
        let known = self.thread.judgements.borrow().find(text, lexing);
        if let Some(judged) = known {
            return Ok(judged);
        }
        if text.len() > IN_PLACE_BYTES_MAX {
            return Err(Stopped::Next(Next::Parse {
                text: text.into(),
                lexing,
            }));
        }
        let judgement = judge_postgres(text, lexing, &self.names(lexing));
        if judgement.depends_on_names && !self.talk.is_settled() {
            return Err(Stopped::Next(Next::Settle));
        }
        let judged = Rc::new(Judged::new(text.into(), judgement, lexing));
        self.thread.judgements.borrow_mut().keep(&judged);
        Ok(judged)
    }

    fn names(&self, lexing: LexingState) -> Names<'_> {
        Names {
            talk: &self.talk,
            path: lexing.path,
        }
    }

    /// A long text is judged on a parser thread; the turn that comes next finds it remembered.
    pub(super) async fn judge_apart(&mut self, text: Arc<[u8]>, lexing: LexingState) -> Result<(), End> {
        let names = self.names(lexing);
        let prepared = self.talk.statements().keys();
        let names = prepared
            .filter_map(|name| Some((name.clone(), names.prepared(name)?)))
            .collect();
        let mut judgement = self
            .thread
            .shared
            .parsers
            .judge(Arc::clone(&text), lexing, names)
            .await;
        // Remembered by its text like any other: so it must not depend on names of this session.
        if judgement.depends_on_names {
            for action in &mut judgement.actions {
                action.class = Class::Unknown;
                action
                    .reasons
                    .push("a text this long may not use names of prepared statements".to_owned());
            }
            judgement.depends_on_names = false;
        }
        let judged = Rc::new(Judged::new(text, judgement, lexing));
        self.thread.judgements.borrow_mut().keep(&judged);
        Ok(())
    }

    pub(super) fn verdict(&self, judged: &Judged) -> Rc<Verdict> {
        judged.verdict(&self.thread.shared.rules.load(), self.key, &self.peer)
    }

    /// A lone `pg_cancel_backend` of a session of the same principal is a cancel, which the proxy carries out itself;
    /// the statement then does no more than that, so it is judged as one of the session.
    fn own_cancel(
        &self,
        judged: &Judged,
        values: &[Option<&[u8]>],
    ) -> Option<(Rc<Judged>, Rc<Verdict>, i32)> {
        let [action] = judged.judgement.actions.as_slice() else {
            return None;
        };
        let process = match action.cancels.as_ref()? {
            CancelTarget::Pid(process) => *process,
            CancelTarget::Parameter(number) => {
                let value = values
                    .get(usize::from(*number).checked_sub(1)?)
                    .copied()
                    .flatten()?;
                match std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.trim().parse().ok())
                {
                    Some(process) => process,
                    None => i32::from_be_bytes(value.try_into().ok()?),
                }
            }
        };
        if !self.thread.shared.registry.is_own(&self.peer.principal, process) {
            return None;
        }
        let cancel = Action {
            class: Class::Session,
            verb: "cancel own session".to_owned(),
            reasons: Vec::new(),
            ..action.clone()
        };
        let own = Judged::of_action(Arc::clone(&judged.text), &cancel, judged.lexing);
        let verdict = self.verdict(&own);
        (verdict.outcome() == Outcome::Allow).then(|| (Rc::new(own), verdict, process))
    }

    fn let_cancel(&mut self, own: &(Rc<Judged>, Rc<Verdict>, i32), frame: &[u8], batch: &mut Batch) -> Step {
        let (judged, verdict, process) = own;
        let Some(allowed) = verdict.allowed() else {
            return Step::Stop(Next::Wait);
        };
        let run = self.next_run();
        self.send_query(run, judged, None);
        self.pipe
            .to_server
            .statement(Permit::from_allow(allowed, self.attempt(run)), frame);
        self.cancelled(run, own, true, batch);
        batch.consumed += frame.len();
        self.thread
            .shared
            .registry
            .cancel_own(&self.peer.principal, *process);
        Step::Went
    }

    fn let_cancel_bound(
        &mut self,
        own: &(Rc<Judged>, Rc<Verdict>, i32),
        frames: &[u8],
        batch: &mut Batch,
    ) -> Step {
        let (judged, verdict, process) = own;
        let Some(allowed) = verdict.allowed() else {
            return Step::Stop(Next::Wait);
        };
        let run = self.next_run();
        let unit = Unit {
            frames: frames.to_vec(),
            simple: false,
            judged: Rc::clone(judged),
            verdict: None,
            parameters: Vec::new(),
            bound: Vec::new(),
            to_drop: 0,
        };
        self.begin_run(run, judged, None);
        self.note_frames(&unit, run);
        self.pipe
            .to_server
            .statement(Permit::from_allow(allowed, self.attempt(run)), frames);
        self.cancelled(run, own, false, batch);
        batch.consumed += frames.len();
        self.thread
            .shared
            .registry
            .cancel_own(&self.peer.principal, *process);
        Step::Went
    }

    fn cancelled(
        &mut self,
        run: RunId,
        own: &(Rc<Judged>, Rc<Verdict>, i32),
        simple: bool,
        batch: &mut Batch,
    ) {
        let (judged, verdict, _) = own;
        let (judged, verdict) = (Rc::clone(judged), Rc::clone(verdict));
        batch.pending.push(Pending {
            run,
            judged,
            verdict,
            parameters: Vec::new(),
            simple,
        });
    }

    pub(super) fn put_flush(&mut self) {
        let mut frame = Vec::new();
        put(&mut frame, client::FLUSH, |_| {});
        self.talk.sent(Origin::Proxy, Sent::Flush);
        self.pipe.to_server.own(&frame);
        self.pipe.to_server.release_plain();
    }

    /// Says no. The session goes on as after an error of the server: its transaction, if one is open, has failed; a
    /// pipeline is skipped to its Sync. Outside a transaction nothing goes upstream at all.
    pub(super) fn refuse(&mut self, refusal: &Refusal, unit: &Unit) -> Result<(), End> {
        self.record_refusal(refusal, unit);
        self.dropping = unit.to_drop;
        self.pipe.tell(|out| refusal.fields().put(server::ERROR, out));
        self.thread.shared.metrics.count_refusal(refusal.code());
        let open = self.talk.has_open_pipeline() || self.talk.status() == Status::InTransaction;
        let status = self.talk.status();
        match (unit.simple, open) {
            (true, false) => self.pipe.tell(|out| put_ready(out, status)),
            (true, true) => self.fail_transaction(true),
            (false, true) => self.fail_transaction(false),
            (false, false) => self.skipping_alone = true,
        }
        Ok(())
    }

    /// Fails the server's transaction without any other effect. With a Sync, whose answer is the client's.
    fn fail_transaction(&mut self, with_sync: bool) {
        let mut frames = Vec::new();
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

    fn record_refusal(&mut self, refusal: &Refusal, unit: &Unit) {
        // A held statement has its attempt from the desk, and its end too.
        let by_desk = match refusal {
            Refusal::DeniedByPerson { .. }
            | Refusal::Pending { .. }
            | Refusal::Expired { .. }
            | Refusal::Withdrawn { .. }
            | Refusal::Stale { .. } => true,
            Refusal::DeniedByRule { .. }
            | Refusal::Unreadable { .. }
            | Refusal::LogUnavailable
            | Refusal::TooManyHeld { .. }
            | Refusal::CredentialEnded
            | Refusal::Stopping
            | Refusal::TransactionFailed
            | Refusal::UnknownStatement { .. } => false,
        };
        if by_desk {
            return;
        }
        let run = self.next_run();
        let verdict = unit.verdict.clone().unwrap_or_else(|| self.verdict(&unit.judged));
        let text = if unit.verdict.is_some() {
            unit.judged.shown()
        } else {
            shown_head(&unit.frames)
        };
        let parameters: Vec<_> = unit.parameters.iter().map(parameter_record).collect();
        let fields = refusal.fields();
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
            fingerprint: unit.judged.judgement.fingerprint,
            parameters: &parameters,
            request: None,
            protocol: if unit.simple { "simple" } else { "extended" },
            claimed: &[],
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

/// Why a text is not judged yet.
enum Stopped {
    Next(Next),
    Refuse(Refusal),
}

/// The whole frame, if it is there. Errors: a small message that claims to be large.
fn whole(header: Header, rest: &[u8]) -> Result<Option<&[u8]>, End> {
    let small = match header.tag {
        client::QUERY | client::PARSE | client::BIND => false,
        _ => true,
    };
    if small && header.body_bytes > SMALL_FRAME_BYTES_MAX {
        return Err(End::Violation(format!(
            "message `{}` is too long",
            header.tag.escape_ascii()
        )));
    }
    Ok(rest.get(..header.frame_bytes()))
}

/// A name that may be used: UTF-8, no longer than the server compares, not one of the proxy's own.
fn served_name(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    (name.len() <= NAME_BYTES_MAX && !name.starts_with(RESERVED)).then_some(name)
}

/// How far the messages of one portal go. With `parse`, the first frame is a Parse of that name, and its Bind is looked
/// for; else the first frame is the Bind.
fn gather(rest: &[u8], parse: Option<&str>) -> Result<Gathered, End> {
    let mut at = 0;
    let mut bind_at = parse.is_none().then_some(0);
    loop {
        let header = Header::cut(&rest[at..]).map_err(|error| End::Violation(error.to_string()))?;
        let Some(header) = header else {
            return Ok(Gathered::More);
        };
        let body = rest.get(at + HEADER_BYTES..at + header.frame_bytes());
        let ends = match header.tag {
            client::DESCRIBE | client::EXECUTE | client::CLOSE => {
                bind_at.is_none() && header.tag != client::DESCRIBE
            }
            client::PARSE | client::BIND if at == 0 => false,
            client::BIND if bind_at.is_none() => {
                let Some(body) = body else {
                    return Ok(Gathered::More);
                };
                let bound = Bind::names(body).ok().and_then(|(_, name)| served_name(name));
                let own = bound.is_some() && bound == parse;
                if own {
                    bind_at = Some(at);
                }
                !own
            }
            _ => true,
        };
        if ends {
            return Ok(Gathered::Whole { bytes: at, bind_at });
        }
        if body.is_none() {
            return Ok(Gathered::More);
        }
        at += header.frame_bytes();
    }
}

fn commits(judged: &Judged) -> bool {
    judged.judgement.actions.iter().any(|action| action.commits)
}

/// Why the rules said so, in one line.
pub fn reason(verdict: &Verdict, judged: &Judged) -> String {
    let mut reasons: Vec<&str> = verdict.reasons.iter().map(String::as_str).collect();
    if reasons.is_empty() {
        reasons = judged
            .judgement
            .actions
            .iter()
            .flat_map(|action| action.reasons.iter().map(String::as_str))
            .collect();
    }
    reasons.truncate(3);
    if reasons.is_empty() {
        what(judged)
    } else {
        reasons.join("; ")
    }
}

/// What a statement is, in a few words.
pub fn what(judged: &Judged) -> String {
    let verbs: Vec<&str> = judged
        .judgement
        .actions
        .iter()
        .map(|action| action.verb.as_str())
        .take(3)
        .collect();
    let tables = judged
        .tables
        .iter()
        .take(3)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    format!("{} {tables}", verbs.join("; ")).trim().to_owned()
}

fn parameter_record(parameter: &Parameter) -> ParameterRecord<'_> {
    ParameterRecord {
        index: parameter.index,
        type_oid: parameter.type_oid,
        type_name: &parameter.type_name,
        format: match parameter.format {
            ParameterFormat::Text => "text",
            ParameterFormat::Binary => "binary",
        },
        value: parameter.value.as_deref(),
        hex: parameter.hex.as_deref(),
        bytes: parameter.bytes,
    }
}

/// The start of a message that was not judged, for the log.
fn shown_head(frames: &[u8]) -> &[u8] {
    let body = frames.get(HEADER_BYTES..).unwrap_or_default();
    &body[..body.len().min(4096)]
}
