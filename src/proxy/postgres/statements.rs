//! The messages that carry or run a statement: judged, and let go with a permit, or put together as a unit that waits.
//! Never writes a record: the turn does, before any byte goes. Read `unit.rs` next.

use std::rc::Rc;

use crate::hold::{Parameter, ParameterFormat, Permit, RequestId};
use crate::policy::{Outcome, Verdict};
use crate::proxy::attempts::Pending;
use crate::proxy::end::End;
use crate::proxy::judgements::Judged;
use crate::proxy::postgres::facts::RESERVED;
use crate::proxy::postgres::parameters;
use crate::proxy::postgres::runs::{Meaning, NameOrigin, may_copy_in, name_changes};
use crate::proxy::postgres::session::Session;
use crate::proxy::postgres::turn::{Batch, Executed, Next, Step, whole};
use crate::proxy::postgres::unit::{Gathered, Unit, gather};
use crate::proxy::refusal::Refusal;
use crate::sql::STATEMENT_BYTES_MAX;
use crate::wire::postgres::conversation::{Lookup, NAME_BYTES_MAX, Origin, RunId, Sent};
use crate::wire::postgres::frame::{HEADER_BYTES, Header};
use crate::wire::postgres::message::{Bind, Parse, Target, client, execute_portal, query_text};

/// A Bind up to this size is read whole, so that its values can be shown and recorded; a larger one passes unread if
/// its statement may, and cannot be held.
pub const BIND_BYTES_MAX: usize = 1 << 20;

/// Prepared statements of one session: a client that closes none does not get more of the proxy's memory.
const STATEMENTS_MAX: usize = 10_000;

impl Session {
    pub(super) fn query(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Result<Step, End> {
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
                    protocol: "simple",
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
        self.note_fetch(judged);
        let changes = name_changes(judged, self.facts.values_revision);
        self.talk.sent(
            Origin::Client,
            Sent::Query {
                run,
                changes,
                may_copy_in: may_copy_in(judged),
            },
        );
    }

    pub(super) fn parse(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Result<Step, End> {
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
            Ok(judged) => judged.with_types(&parse.types),
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
                protocol: "extended",
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
            protocol: "extended",
        });
        Ok(Step::Went)
    }

    fn send_parse(&mut self, run: RunId, name: &str, judged: &Rc<Judged>, types: Vec<u32>) {
        self.begin_parse(run, judged);
        let meaning = self.meaning(judged, NameOrigin::Text);
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
        self.leave_ended();
        let wrote = self.transaction.wrote;
        let touched = (self.transaction.touched_meaning, self.transaction.touched_catalog);
        let values = self.facts.values_revision;
        self.begin_run(run, judged, None);
        self.facts.values_revision = values;
        self.transaction.wrote = wrote;
        (self.transaction.touched_meaning, self.transaction.touched_catalog) = touched;
        if let Some(run) = self.runs.get_mut(&run) {
            self.meaning_in_flight -= usize::from(std::mem::take(&mut run.changes_meaning));
        }
    }

    pub(super) fn bind(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Result<Step, End> {
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
        let (judged, meaning) = match self.bound_statement(name, header, rest, batch) {
            Ok(found) => found,
            Err(step) => return Ok(step),
        };
        if looks_up_late(portal, &judged) {
            return Ok(self.refused(named_execute(), header, rest, batch, false));
        }
        let types = meaning.types.borrow().clone();
        let verdict = self.verdict(&judged);
        let mut parameters = parameters::decode(&bind, &types);
        self.thread.redact(&judged, &mut parameters);
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
        if verdict.outcome() == Outcome::Hold && self.is_read_before(&meaning) {
            let name = name.to_owned();
            return Ok(self.refused(Refusal::PreparedBefore { name }, header, rest, batch, false));
        }
        match gather(rest, None)? {
            Gathered::More if rest.len() < self.gather_bytes_max() => Ok(Step::Stop(Next::Wait)),
            Gathered::More => Ok(self.gathers_too_much(header, rest, batch)),
            Gathered::Whole { bytes, .. } => {
                self.stop_bound(&rest[..bytes], 0, judged, verdict, &types, batch)
            }
        }
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
        let (judged, meaning) = match self.bound_statement(name, header, rest, batch) {
            Ok(found) => found,
            Err(step) => return Ok(step),
        };
        let types = meaning.types.borrow().clone();
        let verdict = self.verdict(&judged);
        let Some(permit) = verdict.allowed().filter(|_| !looks_up_late(portal, &judged)) else {
            if !self.talk.is_settled() {
                return Ok(Step::Stop(Next::Settle));
            }
            return Ok(self.too_large_to_hold(header, rest, batch));
        };
        let unread = Parameter {
            index: 0,
            type_oid: 0,
            type_name: "parameters too large to be kept".to_owned(),
            format: ParameterFormat::Binary,
            value: None,
            hex: None,
            bytes: header.body_bytes as u64,
            redacted: Vec::new(),
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

    /// What a Bind's statement means now: judged again if rules or lexing have changed since.
    fn bound_statement(
        &mut self,
        name: &str,
        header: Header,
        rest: &[u8],
        batch: &mut Batch,
    ) -> Result<(Rc<Judged>, Rc<Meaning>), Step> {
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
        match self.judge_bound(name, &meaning) {
            Ok(judged) => Ok((judged, meaning)),
            Err(next) => Err(self.stopped(next, header, rest, batch, false)),
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
        if let Some((parsed, at)) = batch.parsed.take()
            && parsed == name
            && let Some(pending) = batch.pending.get_mut(at)
        {
            pending.parameters = parameters;
            let run = pending.run;
            self.forget_run(run);
            self.begin_run(run, judged, None);
            return run;
        }
        let run = self.next_run();
        self.begin_run(run, judged, None);
        let (judged, verdict) = (Rc::clone(judged), Rc::clone(verdict));
        batch.pending.push(Pending {
            run,
            judged,
            verdict,
            parameters,
            protocol: "extended",
        });
        run
    }

    pub(super) fn forget_run(&mut self, run: RunId) {
        if let Some(run) = self.runs.remove(&run) {
            self.meaning_in_flight -= usize::from(run.changes_meaning);
        }
    }

    pub(super) fn send_bind(
        &mut self,
        run: RunId,
        portal: &str,
        judged: &Rc<Judged>,
        types: Vec<u32>,
        origin: NameOrigin,
    ) {
        let meaning = self.meaning(judged, origin);
        *meaning.types.borrow_mut() = types;
        meaning.run.set(Some(run));
        if let Some(run) = self.runs.get_mut(&run) {
            run.bound = Some(portal.to_owned());
        }
        let sent = Sent::Bind {
            run: Some(run),
            portal: portal.to_owned(),
            statement: Rc::new(meaning),
        };
        self.talk.sent(Origin::Client, sent);
    }

    pub(super) fn describe_or_close(
        &mut self,
        header: Header,
        rest: &[u8],
        batch: &mut Batch,
    ) -> Result<Step, End> {
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

    /// Whatever portal exists was let through when it was bound or declared. One without a name is bound: DECLARE has none.
    pub(super) fn execute(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Result<Step, End> {
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
            Lookup::Unknown if portal.is_empty() => {
                return Ok(self.refused(Refusal::NoPortal, header, rest, batch, false));
            }
            Lookup::Unknown => Rc::clone(&self.nothing),
            Lookup::Wait => return Ok(Step::Stop(Next::Settle)),
        };
        if let Some(step) = self.names_changed(&meaning, header, rest, batch) {
            return Ok(step);
        }
        if let Some(step) = self.values_changed(&meaning, header, rest, batch) {
            return Ok(step);
        }
        let run = match self.run_of_portal(&meaning) {
            Some(run) => {
                batch.executed.push(Executed {
                    run,
                    portal: portal.to_owned(),
                    meaning: Rc::clone(&meaning),
                });
                run
            }
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
                    protocol: "extended",
                });
                run
            }
        };
        self.note_execute(run, &meaning.judged);
        self.pipe.to_server.plain(frame);
        batch.consumed += frame.len();
        batch.commits |= commits(&meaning.judged);
        Ok(Step::Went)
    }

    /// A portal of an EXECUTE looks its name up when it runs, and a function may have been replaced since a Bind: what was
    /// let through then must still be so.
    fn names_changed(
        &mut self,
        meaning: &Meaning,
        header: Header,
        rest: &[u8],
        batch: &mut Batch,
    ) -> Option<Step> {
        let judged = &meaning.judged;
        let is_of_text = meaning.origin == NameOrigin::Text && !judged.text.is_empty();
        let was_bound_before = meaning.run.get().is_none_or(|run| run < batch.first_run);
        let depends = judged.judgement.depends_on_names;
        if !is_of_text || !(depends || (was_bound_before && self.sight.has_catalog())) {
            return None;
        }
        if was_bound_before && let Some(stopped) = self.not_ready() {
            return Some(self.stopped(stopped, header, rest, batch, false));
        }
        if !depends && !self.has_moved_on(judged) {
            return None;
        }
        let judged = match self.judge_again("", meaning) {
            Ok(judged) => judged,
            Err(next) => return Some(self.stopped(next, header, rest, batch, false)),
        };
        if self.verdict(&judged).outcome() == Outcome::Allow {
            return None;
        }
        let why = "what it runs has changed since it was bound".to_owned();
        Some(self.refused(Refusal::Unreadable { why }, header, rest, batch, false))
    }

    /// A portal that was let through by a person, and is run for the first time only now: it still reads values as they
    /// were shown, and looks no name up.
    fn values_changed(
        &mut self,
        meaning: &Meaning,
        header: Header,
        rest: &[u8],
        batch: &mut Batch,
    ) -> Option<Step> {
        if meaning.origin != NameOrigin::Approved || meaning.run.get().is_none() {
            return None;
        }
        if let Some(stopped) = self.not_ready() {
            return Some(self.stopped(stopped, header, rest, batch, false));
        }
        if meaning.judged.judgement.depends_on_names {
            let why = "what it runs goes by a name that may mean something else since it was approved: \
                       send its Execute right behind its Bind";
            let why = why.to_owned();
            return Some(self.refused(Refusal::Unreadable { why }, header, rest, batch, false));
        }
        if meaning.read_at == Some(self.facts.values_revision) {
            return None;
        }
        let why = "a setting by which it reads values (as DateStyle, TimeZone) may have changed since it was approved";
        let why = why.to_owned();
        Some(self.refused(Refusal::Unreadable { why }, header, rest, batch, false))
    }

    pub(super) fn note_execute(&mut self, run: RunId, judged: &Rc<Judged>) {
        self.note_values(judged);
        self.note_fetch(judged);
        let changes = name_changes(judged, self.facts.values_revision);
        self.talk.sent(
            Origin::Client,
            Sent::Execute {
                run,
                changes,
                may_copy_in: may_copy_in(judged),
            },
        );
    }
}

/// A name that may be used: UTF-8, no longer than the server compares, not one of the proxy's own.
pub fn served_name(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    (name.len() <= NAME_BYTES_MAX && !name.starts_with(RESERVED)).then_some(name)
}

/// A portal of an EXECUTE looks its name up when it runs, and one with a name of its own can be run by FETCH and MOVE too,
/// which name any portal. So it is bound to the unnamed portal alone, which only an Execute message runs.
pub fn looks_up_late(portal: &str, judged: &Judged) -> bool {
    !portal.is_empty() && judged.judgement.depends_on_names
}

pub fn named_execute() -> Refusal {
    let why = "a statement that runs a prepared one by its name must be bound to the unnamed portal";
    Refusal::Unreadable { why: why.to_owned() }
}

pub fn commits(judged: &Judged) -> bool {
    judged.judgement.actions.iter().any(|action| action.commits)
}
