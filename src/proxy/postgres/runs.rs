//! What was sent and what became of it: every statement on its way to the server is a run, and ends as a record.
//! Never forwards anything. Read `turn.rs` next.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tracing::warn;

use crate::audit::entry::{Body, Entry, OutcomeKind, StatementOutcome, TransactionOutcome};
use crate::clock::Timestamp;
use crate::desk::RunOutcome;
use crate::hold::{RequestId, Transaction};
use crate::proxy::attempts::changes_data;
use crate::proxy::end::End;
use crate::proxy::end::wait_of;
use crate::proxy::judgements::Judged;
use crate::proxy::postgres::session::Session;
use crate::proxy::postgres::undone::{IN_DOUBT, Stays, what_stays};
use crate::sql::action::{Action, Class, Effect};
use crate::sql::doubt::changes_catalog;
use crate::wire::postgres::conversation::{Change, Lookup, NameChange, News, RunId};
use crate::wire::postgres::message::{Fields, Status};

/// What a prepared statement or a portal stands for.
#[derive(Debug)]
pub struct Meaning {
    pub judged: Rc<Judged>,
    /// Parameter types: those of Parse, then those that the server told.
    pub types: RefCell<Vec<u32>>,
    /// Of a portal: the run that its first Execute carries out.
    pub run: Cell<Option<RunId>>,
    pub origin: NameOrigin,
    /// `Facts::values_revision` when it went to the server, which reads literals as it parses; `None`: it changed within
    /// the message that prepared it.
    pub read_at: Option<u64>,
}

/// How a name came by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOrigin {
    /// Parse or Bind: the text is the statement, and can be judged again.
    Text,
    /// SQL-level PREPARE: the text is that of the PREPARE, so its judgement stands or falls with its search_path.
    SqlPrepare,
    /// A portal that a person let through.
    Approved,
}

impl Meaning {
    pub fn new(judged: Rc<Judged>, origin: NameOrigin, read_at: Option<u64>) -> Self {
        Self {
            judged,
            types: RefCell::default(),
            run: Cell::new(None),
            origin,
            read_at,
        }
    }
}

/// A statement under way.
#[derive(Debug)]
pub struct Run {
    pub segment: u64,
    pub judged: Rc<Judged>,
    pub request: Option<RequestId>,
    /// The portal that it was bound to, until that is executed.
    pub bound: Option<String>,
    /// FETCH or MOVE may have run it, which name any portal.
    pub may_be_fetched: bool,
    /// It may change what later texts mean.
    pub changes_meaning: bool,
    /// All answers to its messages were in once, and the server has been asked what it changed.
    pub answered: bool,
    pub rows: Option<u64>,
    pub tag: String,
    pub failure: Option<Fields>,
    pub skipped: bool,
    /// A portal of it has given its row limit.
    pub suspended: bool,
    /// A COMMIT or ROLLBACK behind it has gone through, or it commits by itself: no later error undoes it.
    pub settled: bool,
    /// Something failed behind it, and it may have committed a part of what it did.
    pub is_in_doubt: bool,
    pub kept_back: KeptBack,
}

impl Run {
    /// Whether a person has let it through, and no Execute of it has been sent.
    fn is_bound_request(&self) -> bool {
        self.request.is_some() && self.bound.is_some()
    }
}

/// Whether the proxy itself decides if what a run did is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptBack {
    No,
    /// Lost with its connection.
    Undecided,
    /// Its COMMIT is under way.
    Committing,
}

/// What is known of the open transaction.
#[derive(Debug, Default)]
pub struct TransactionNotes {
    /// Of an explicit transaction.
    pub opened_at: Option<Timestamp>,
    /// Something that may write was sent in it.
    pub wrote: bool,
    /// Something that changes meaning was sent in it: its end may undo that.
    pub touched_meaning: bool,
    /// Something that may change the catalog was sent in it: others see that at its end.
    pub touched_catalog: bool,
    pub requests: Vec<RequestId>,
    pub ended: Option<TransactionOutcome>,
    /// The statement that ended it, and its place in its message: what stands behind is in another transaction.
    pub ended_by: Option<(RunId, usize)>,
}

/// Whether names or texts may mean something else after it.
pub fn changes_meaning(action: &Action) -> bool {
    let by_class = match action.class {
        Class::Procedural | Class::Grant | Class::Admin | Class::Unknown => true,
        Class::Read | Class::Write | Class::Ddl | Class::Export | Class::Session | Class::Transaction => {
            false
        }
    };
    by_class
        || action.effects.iter().any(|effect| match effect {
            Effect::ChangesMeaning
            | Effect::ChangesValues
            | Effect::DiscardsAll
            | Effect::RollsBackToSavepoint => true,
            Effect::BeginsTransaction
            | Effect::EndsTransaction { .. }
            | Effect::RunsCursor
            | Effect::Prepares { .. }
            | Effect::Deallocates { .. }
            | Effect::ProxySetting { .. } => false,
        })
}

/// Whether it is a COMMIT, a ROLLBACK or their like.
pub fn ends_transaction(action: &Action) -> bool {
    let ends = |effect: &Effect| matches!(effect, Effect::EndsTransaction { .. });
    action.effects.iter().any(ends)
}

/// Whether temporary objects may be gone after it, and names mean what all others see again.
fn may_drop_own(action: &Action) -> bool {
    matches!(action.class, Class::Session | Class::Transaction)
}

/// What the completions of a text's statements do to names.
pub fn name_changes(judged: &Judged, values_revision: u64) -> Vec<NameChange<Rc<Meaning>>> {
    let actions = &judged.judgement.actions;
    let is_steady = actions.len() == 1 || !actions.iter().any(changes_meaning);
    let read_at = is_steady.then_some(values_revision);
    let actions = actions.iter().enumerate();
    let changes = actions.flat_map(|(statement, action)| {
        action.effects.iter().filter_map(move |effect| {
            let change = match effect {
                Effect::Prepares { name, inner } => {
                    let of_name = judged.of_action(inner);
                    Change::Set(
                        name.clone(),
                        Rc::new(Meaning::new(Rc::new(of_name), NameOrigin::SqlPrepare, read_at)),
                    )
                }
                Effect::Deallocates { name: Some(name) } => Change::Remove(name.clone()),
                Effect::Deallocates { name: None } => Change::RemoveAll,
                Effect::DiscardsAll => Change::ForgetAll,
                Effect::BeginsTransaction
                | Effect::EndsTransaction { .. }
                | Effect::RollsBackToSavepoint
                | Effect::ChangesMeaning
                | Effect::ChangesValues
                | Effect::RunsCursor
                | Effect::ProxySetting { .. } => return None,
            };
            Some(NameChange { statement, change })
        })
    });
    changes.collect()
}

/// Whether the server may ask for data while it runs this.
pub fn may_copy_in(judged: &Judged) -> bool {
    judged
        .judgement
        .actions
        .iter()
        .any(|action| action.copies_in || action.class == Class::Unknown)
}

/// Whether a statement of it has run, to its end or to its row limit: what was only parsed or bound did nothing.
fn has_run(run: &Run) -> bool {
    !run.tag.is_empty() || run.suspended
}

/// How what ran before an error ended. The server's message stands with the statement that failed: it may hold a value
/// that is withheld there, and here nobody would know.
fn undone_behind(fields: &Fields) -> Fields {
    Fields {
        sqlstate: fields.sqlstate.clone(),
        message: UNDONE_BEHIND.to_owned(),
        ..Fields::default()
    }
}

const UNDONE_BEHIND: &str = "undone with its pipeline, in which something failed behind it";

/// Whether a text may hold a string, in quotes or behind a dollar sign: one that does not reads no literal otherwise under
/// another setting. `$1` is a parameter.
fn may_hold_strings(text: &[u8]) -> bool {
    let mut pairs = text.windows(2);
    text.contains(&b'\'') || pairs.any(|pair| pair[0] == b'$' && !pair[1].is_ascii_digit())
}

impl Session {
    /// What a message sent now stands for.
    pub(super) fn meaning(&self, judged: &Rc<Judged>, origin: NameOrigin) -> Meaning {
        Meaning::new(Rc::clone(judged), origin, Some(self.facts.values_revision))
    }

    /// Whether a statement was parsed before a change of the settings by which its literals were read. Only when no
    /// change is under way.
    pub(super) fn is_read_before(&self, meaning: &Meaning) -> bool {
        meaning.read_at != Some(self.facts.values_revision) && may_hold_strings(&meaning.judged.text)
    }

    /// Counts a change that the text itself names: what is changed back within one message is in no answer, and the
    /// server may have parsed another statement anew in between.
    pub(super) fn note_values(&mut self, judged: &Judged) {
        let actions = &judged.judgement.actions;
        let named = |action: &Action| action.effects.contains(&Effect::ChangesValues);
        self.facts.values_revision += u64::from(actions.iter().any(named));
    }

    /// Notes a run that goes to the server now.
    pub(super) fn begin_run(&mut self, run: RunId, judged: &Rc<Judged>, request: Option<RequestId>) {
        self.leave_ended();
        // A cursor over something that changes meaning does so as it is read, in the transaction that declared it.
        let late = self.transaction.touched_meaning && judged.runs_cursor();
        let actions = &judged.judgement.actions;
        let defines = self.sight.has_catalog() && actions.iter().any(changes_catalog);
        let drops_own = self.facts.own.is_alone() && actions.iter().any(may_drop_own);
        // What was set in a transaction may be undone with it, or hold no longer.
        let ends = self.transaction.touched_meaning && actions.iter().any(ends_transaction);
        let changes = late || ends || defines || drops_own || actions.iter().any(changes_meaning);
        self.note_values(judged);
        self.transaction.touched_catalog |= defines;
        self.meaning_in_flight += usize::from(changes);
        self.transaction.touched_meaning |= changes;
        self.transaction.wrote |= changes_data(judged.class);
        let noted = &mut self.transaction.requests;
        noted.extend(request.filter(|request| !noted.contains(request)));
        let segment = self.talk.segment();
        let begun = Run {
            segment,
            judged: Rc::clone(judged),
            request,
            bound: None,
            may_be_fetched: false,
            changes_meaning: changes,
            answered: false,
            rows: None,
            tag: String::new(),
            failure: None,
            skipped: false,
            suspended: false,
            settled: false,
            is_in_doubt: false,
            kept_back: KeptBack::No,
        };
        self.runs.insert(run, begun);
    }

    /// The run that the first Execute of a portal carries out, unless it has ended with the pipeline of its Bind. What was
    /// bound in an earlier pipeline begins only now.
    pub(super) fn run_of_portal(&mut self, meaning: &Meaning) -> Option<RunId> {
        let id = meaning.run.take()?;
        let run = self.runs.get_mut(&id)?;
        run.bound = None;
        if run.segment < self.talk.segment() {
            let (judged, request) = (Rc::clone(&run.judged), run.request);
            self.forget_run(id);
            self.begin_run(id, &judged, request);
        }
        Some(id)
    }

    /// What reads a cursor may run any portal that has a name.
    pub(super) fn note_fetch(&mut self, judged: &Judged) {
        if !judged.runs_cursor() {
            return;
        }
        for run in self.runs.values_mut() {
            run.may_be_fetched |= run.bound.as_deref().is_some_and(|portal| !portal.is_empty());
        }
    }

    /// Whether what a person has let through is bound and can still be executed.
    fn awaits_execute(&self, id: RunId, run: &Run) -> bool {
        let Some(portal) = run.bound.as_deref().filter(|_| run.is_bound_request()) else {
            return false;
        };
        let is_still_bound = match self.talk.portal(portal) {
            Lookup::Known(meaning) => meaning.run.get() == Some(id),
            Lookup::Unknown => false,
            // What comes with the next answers may replace it, and they end with a Ready too.
            Lookup::Wait => true,
        };
        is_still_bound && run.failure.is_none() && !run.skipped
    }

    /// Whether something under way may still change what the next text means. What has answered, but is not committed,
    /// does not: the server is asked what it changed. A commit under way may run what was deferred to it.
    pub(super) fn is_meaning_open(&mut self) -> bool {
        if self.meaning_in_flight == 0 {
            return false;
        }
        for (id, run) in self.runs.iter_mut().filter(|(_, run)| run.changes_meaning) {
            if run.segment < self.talk.segment() || self.talk.awaits(*id) {
                return true;
            }
            self.facts.stale |= !std::mem::replace(&mut run.answered, true);
        }
        false
    }

    /// Takes note of what the server told; `Some` if it is about to close.
    pub(super) fn take_news(&mut self, news: &[News]) -> Option<End> {
        let mut end = None;
        for told in news {
            match told {
                News::Completed { run, statement, tag } => self.completed(*run, *statement, tag),
                News::Suspended { run } => {
                    self.facts.stale |= self.runs.get(run).is_some_and(|run| run.changes_meaning);
                    if let Some(run) = self.runs.get_mut(run) {
                        run.suspended = true;
                    }
                }
                News::Failed { run, fields } => {
                    if let Some(run) = run.and_then(|run| self.runs.get_mut(&run)) {
                        run.failure = Some(fields.clone());
                    }
                    self.undoing.get_or_insert_with(|| undone_behind(fields));
                }
                News::CommitFailed { segment, fields } => {
                    let fields = self.thread.answer_to_commit(fields);
                    for run in self.runs.values_mut() {
                        if run.segment > *segment || run.settled {
                            continue;
                        }
                        run.failure.get_or_insert_with(|| fields.clone());
                    }
                }
                News::Skipped { run } => {
                    if let Some(run) = self.runs.get_mut(run) {
                        run.skipped = true;
                    }
                }
                News::Types { name, types } => {
                    if let Some(meaning) = self.talk.statements().get(name) {
                        types.clone_into(&mut meaning.types.borrow_mut());
                    }
                }
                News::Parameter { name, value } => {
                    self.facts.reported(name, value);
                    if name == "application_name" {
                        value.clone_into(&mut self.application_name);
                        self.claimed.insert(name.clone(), value.clone());
                    }
                }
                News::Row(values) => {
                    let first = values.first().cloned().flatten();
                    self.answers
                        .push(first.and_then(|bytes| String::from_utf8(bytes).ok()));
                }
                News::OwnFailed(fields) => {
                    self.own_failure = Some(fields.clone());
                    if self
                        .runs
                        .values()
                        .any(|run| run.kept_back == KeptBack::Committing)
                    {
                        self.transaction.ended = None;
                    }
                    self.undoing.get_or_insert_with(|| undone_behind(fields));
                }
                News::CopyIn => {}
                News::Ready { status, segment } => self.ready(*status, *segment),
                News::Fatal(fields) => {
                    warn!(session.id = %self.peer.session, "the server ends the connection: {}", fields.sqlstate);
                    end = Some(End::ServerEnded);
                }
            }
        }
        if self.failing && self.talk.is_settled() {
            self.failing = false;
        }
        end
    }

    fn completed(&mut self, id: RunId, statement: usize, tag: &str) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        tag.clone_into(&mut run.tag);
        let rows = tag.rsplit(' ').next().and_then(|count| count.parse().ok());
        run.rows = rows.or(run.rows);
        let judged = Rc::clone(&run.judged);
        if run.changes_meaning {
            self.facts.stale = true;
        }
        let Some(action) = judged.judgement.actions.get(statement) else {
            return;
        };
        self.follow_transaction(id, statement, action, tag);
        for effect in &action.effects {
            if let Effect::ProxySetting { name, value } = effect {
                self.set_own(name, value);
            }
        }
    }

    /// Where a transaction begins and how it ends, as each statement says it: one message, or one pipeline, may end several.
    fn follow_transaction(&mut self, id: RunId, statement: usize, action: &Action, tag: &str) {
        // ROLLBACK TO SAVEPOINT has the tag of ROLLBACK, and ends nothing.
        let ends = ends_transaction(action);
        let begins = action.effects.contains(&Effect::BeginsTransaction);
        if !(ends || begins) {
            return;
        }
        if self.transaction.ended.is_some() {
            self.transaction_over_within(id, statement);
            self.transaction.opened_at = Some(Timestamp::now());
        }
        // What stands before it without a BEGIN is in its transaction, too.
        let is_first = statement == 0 && self.runs.keys().all(|other| *other >= id);
        if !(ends && is_first) {
            self.transaction.opened_at.get_or_insert_with(Timestamp::now);
        }
        if ends {
            self.transaction.ended = Some(match tag {
                "ROLLBACK" => TransactionOutcome::RolledBack,
                // Somebody else will end it, under another name.
                "PREPARE TRANSACTION" => TransactionOutcome::Unknown,
                _committed => TransactionOutcome::Committed,
            });
            self.transaction.ended_by = Some((id, statement));
            self.settle_completed();
            if statement == 0 {
                self.leave_out(id);
            }
        }
        // AND CHAIN.
        if ends && begins {
            self.transaction_over_within(id, statement);
            self.transaction.opened_at = Some(Timestamp::now());
        }
    }

    /// What comes now is in no transaction that has ended within its pipeline.
    pub(super) fn leave_ended(&mut self) {
        if let Some((id, statement)) = self.transaction.ended_by {
            self.transaction_over_within(id, statement);
        }
    }

    /// Where the session stands, by what has answered: a pipeline may have begun or ended a transaction since the last
    /// ReadyForQuery.
    pub(super) fn transaction_now(&self) -> Transaction {
        let notes = &self.transaction;
        let wrote = notes.wrote;
        match notes.opened_at.filter(|_| notes.ended.is_none()) {
            _ if self.talk.is_failed() => Transaction::Failed,
            Some(opened_at) => Transaction::Open { wrote, opened_at },
            None if self.talk.has_open_pipeline() => Transaction::Implicit { wrote },
            None => Transaction::Idle,
        }
    }

    /// No later error undoes what an explicit end has decided.
    fn settle_completed(&mut self) {
        for run in self.runs.values_mut() {
            run.settled |= has_run(run);
        }
    }

    /// A request whose message begins with the end of the transaction and goes on: it belongs to the next one.
    fn leave_out(&mut self, id: RunId) {
        let goes_on = |run: &&Run| run.judged.judgement.actions.len() > 1;
        let Some(request) = self.runs.get(&id).filter(goes_on).and_then(|run| run.request) else {
            return;
        };
        self.transaction.requests.retain(|other| *other != request);
        self.thread.shared.desk.transaction_ended(self.peer.session);
    }

    /// The end of a transaction in the middle of a message or a pipeline: what is still to run is in the next one.
    fn transaction_over_within(&mut self, id: RunId, statement: usize) {
        self.transaction_over();
        let notes = &mut self.transaction;
        for (other, run) in &self.runs {
            let actions = &run.judged.judgement.actions;
            if *other > id || *other == id && statement + 1 < actions.len() {
                notes.wrote |= changes_data(run.judged.class);
                notes.touched_meaning |= run.changes_meaning;
                notes.touched_catalog |= self.sight.has_catalog() && actions.iter().any(changes_catalog);
                notes.requests.extend(run.request);
            }
        }
    }

    /// `SET countersign.wait`, `SET countersign.purpose` and `SET countersign.reply`.
    fn set_own(&mut self, name: &str, value: &str) {
        match name {
            "wait" => self.wait_max = wait_of(value),
            "reply" => self.reply = Some(value.to_owned()),
            _ => {
                self.claimed.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    fn ready(&mut self, status: Status, segment: u64) {
        self.undo_implicit(status, segment);
        let answered: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(_, run)| run.segment <= segment && run.kept_back == KeptBack::No)
            .map(|(id, _)| *id)
            .collect();
        for id in answered {
            if self.runs.get(&id).is_some_and(|run| self.awaits_execute(id, run)) {
                self.lay_by(id);
            } else if let Some(run) = self.runs.remove(&id) {
                self.conclude(id, &run, run.is_in_doubt.then_some(IN_DOUBT));
            }
        }
        match status {
            Status::Idle => self.transaction_over(),
            Status::InTransaction | Status::Failed => {
                // AND CHAIN, or a BEGIN behind it in the same message: another transaction has begun already.
                if self.transaction.ended.is_some() {
                    self.transaction_over();
                }
                let now = Timestamp::now();
                self.transaction.opened_at.get_or_insert(now);
            }
        }
    }

    /// A run whose Execute comes later, if it comes: until then it changes nothing.
    fn lay_by(&mut self, id: RunId) {
        if let Some(run) = self.runs.get_mut(&id) {
            self.meaning_in_flight -= usize::from(std::mem::take(&mut run.changes_meaning));
        }
    }

    /// An error in a pipeline outside a transaction undoes what stood before it, back to the last COMMIT: the server says
    /// nothing of that, and what it answered before stands on record otherwise.
    fn undo_implicit(&mut self, status: Status, segment: u64) {
        let Some(fields) = self.undoing.take().filter(|_| status == Status::Idle) else {
            return;
        };
        for run in self.runs.values_mut().filter(|run| run.segment == segment) {
            let ran = run.failure.is_none() && has_run(run) && run.kept_back == KeptBack::No;
            if !ran || run.settled {
                continue;
            }
            match what_stays(&run.judged) {
                Stays::All => {}
                Stays::Nothing => run.failure = Some(fields.clone()),
                Stays::Unknown => run.is_in_doubt = true,
            }
        }
    }

    /// What the proxy had to decide is decided.
    pub(super) fn conclude_kept_back(&mut self, id: RunId) {
        if let Some(run) = self.runs.remove(&id) {
            self.conclude(id, &run, None);
        }
    }

    fn transaction_over(&mut self) {
        let notes = std::mem::take(&mut self.transaction);
        // Its end may have undone a setting, or set one that was local to it free.
        self.facts.stale |= notes.touched_meaning;
        if notes.touched_catalog {
            self.facts.stale = true;
            self.sight.suspect();
        }
        if notes.opened_at.is_none() {
            return;
        }
        if !notes.requests.is_empty() {
            self.thread.shared.desk.transaction_ended(self.peer.session);
        }
        let requests: Vec<_> = notes.requests.iter().map(RequestId::to_string).collect();
        let requests: Vec<_> = requests.iter().map(String::as_str).collect();
        let outcome = notes.ended.unwrap_or(TransactionOutcome::RolledBack);
        self.stage(Body::TransactionEnd {
            outcome,
            requests: &requests,
        });
    }

    /// The end of a run is known, or is known never to be known.
    fn conclude(&mut self, id: RunId, run: &Run, lost: Option<&str>) {
        self.meaning_in_flight -= usize::from(run.changes_meaning);
        self.facts.stale |= run.changes_meaning;
        let request = run.request.map(|request| request.to_string());
        let kind = match (&run.failure, lost) {
            (Some(fields), _) if fields.sqlstate == "57014" => OutcomeKind::Cancelled,
            (Some(_), _) => OutcomeKind::Failed,
            (None, _) if run.skipped => OutcomeKind::Skipped,
            (None, Some(_)) => OutcomeKind::Unknown,
            (None, None) => OutcomeKind::Ran,
        };
        if let Some(request) = run.request {
            // The desk writes the result of an approved run, with the request's own end.
            self.finish_request(request, run, lost);
            return;
        }
        let (sqlstate, message) = match &run.failure {
            Some(fields) => (
                fields.sqlstate.as_str(),
                self.thread.answer_for_log(&run.judged, &fields.message),
            ),
            None => ("", Cow::Borrowed(lost.unwrap_or_default())),
        };
        self.stage(Body::Outcome(StatementOutcome {
            attempt: self.attempt(id),
            kind,
            rows: run.rows,
            tag: &run.tag,
            sqlstate,
            message: &message,
            request: request.as_deref(),
        }));
    }

    fn finish_request(&self, request: RequestId, run: &Run, lost: Option<&str>) {
        let outcome = match (&run.failure, lost) {
            (Some(fields), _) => RunOutcome::Failed {
                sqlstate: fields.sqlstate.clone(),
                message: self
                    .thread
                    .answer_for_log(&run.judged, &fields.message)
                    .into_owned(),
            },
            (None, Some(why)) => RunOutcome::Unknown { why: why.to_owned() },
            (None, None) if run.skipped => RunOutcome::Failed {
                sqlstate: "25P02".to_owned(),
                message: "skipped behind an earlier error of its pipeline".to_owned(),
            },
            (None, None) if run.bound.is_some() && run.may_be_fetched => RunOutcome::Unknown {
                why: "its portal was bound and not executed, and FETCH or MOVE may have run it".to_owned(),
            },
            (None, None) if run.bound.is_some() => RunOutcome::Failed {
                sqlstate: "34000".to_owned(),
                message: "its portal was bound, and gone before it was executed".to_owned(),
            },
            (None, None) => RunOutcome::Finished {
                rows: run.rows,
                tag: run.tag.clone(),
            },
        };
        let desk = self.thread.shared.desk.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = desk.finish(request, outcome).await {
                warn!(request.id = %request, %error, "the end of a run cannot be recorded");
            }
        });
    }

    /// Nobody will tell any more what became of what is still under way.
    pub(super) fn conclude_lost(&mut self, why: &str) {
        for (id, mut run) in std::mem::take(&mut self.runs) {
            if run.kept_back == KeptBack::Committing {
                // A COMMIT of the proxy's own was on its way.
                self.transaction.ended = Some(TransactionOutcome::Unknown);
            }
            if run.kept_back == KeptBack::Undecided && run.failure.is_none() {
                // What is not committed goes with the connection.
                run.failure = Some(Fields {
                    sqlstate: "57014".to_owned(),
                    message: format!("undone, for it was not committed yet: {why}"),
                    ..Fields::default()
                });
            }
            let over = run.failure.is_some() || run.skipped || run.is_bound_request();
            self.conclude(id, &run, (!over).then_some(why));
        }
        if self.transaction.opened_at.is_some() {
            self.transaction.ended.get_or_insert(TransactionOutcome::Unknown);
            self.transaction_over();
        }
    }

    /// Whether something runs that may change data for good. What has had no Sync cannot: it goes with its connection.
    pub(super) fn has_changes_to_come(&self) -> bool {
        let ended = self.talk.segment();
        self.runs.values().any(|run| {
            let is_sent = run.segment < ended && run.bound.is_none();
            is_sent && run.kept_back == KeptBack::No && changes_data(run.judged.class)
        })
    }

    pub(super) fn stage(&self, body: Body<'_>) {
        self.thread.stage(&Entry {
            time: Timestamp::now(),
            session: Some(self.peer.session),
            body,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_undone_with_a_pipeline_does_not_repeat_what_the_server_said_of_another_statement() {
        let failed = Fields {
            sqlstate: "22007".to_owned(),
            message: "invalid input syntax for type date: \"the value\"".to_owned(),
            ..Fields::default()
        };
        let undone = undone_behind(&failed);
        assert_eq!(undone.sqlstate, "22007");
        assert!(!undone.message.contains("the value"), "{}", undone.message);
    }
}
