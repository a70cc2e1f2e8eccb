//! What was sent and what became of it: every statement on its way to the server is a run, and ends as a record.
//! Never forwards anything. Read `turn.rs` next.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tracing::warn;

use crate::audit::entry::{Body, Entry, OutcomeKind, StatementOutcome, TransactionOutcome};
use crate::clock::Timestamp;
use crate::desk::RunOutcome;
use crate::hold::RequestId;
use crate::proxy::attempts::changes_data;
use crate::proxy::end::End;
use crate::proxy::end::wait_of;
use crate::proxy::judgements::Judged;
use crate::proxy::postgres::session::Session;
use crate::sql::action::{Action, Class, Effect};
use crate::sql::doubt::changes_catalog;
use crate::wire::postgres::conversation::{Change, NameChange, News, RunId};
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
    pub fn new(judged: Rc<Judged>, origin: NameOrigin) -> Self {
        Self {
            judged,
            types: RefCell::default(),
            run: Cell::new(None),
            origin,
        }
    }
}

/// A statement under way.
#[derive(Debug)]
pub struct Run {
    pub segment: u64,
    pub judged: Rc<Judged>,
    pub request: Option<RequestId>,
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
    pub kept_back: KeptBack,
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
            Effect::ChangesMeaning | Effect::DiscardsAll | Effect::RollsBackToSavepoint => true,
            Effect::BeginsTransaction
            | Effect::EndsTransaction { .. }
            | Effect::RunsCursor
            | Effect::Prepares { .. }
            | Effect::Deallocates { .. }
            | Effect::ProxySetting { .. } => false,
        })
}

/// Whether temporary objects may be gone after it, and names mean what all others see again.
fn may_drop_own(action: &Action) -> bool {
    matches!(action.class, Class::Session | Class::Transaction)
}

/// Whether it reads from a cursor, by FETCH or MOVE or as a portal that was not bound by a message.
fn runs_cursor(judged: &Judged) -> bool {
    judged.text.is_empty() || judged.judgement.actions.iter().any(Action::runs_cursor)
}

/// What the completions of a text's statements do to names.
pub fn name_changes(judged: &Judged) -> Vec<NameChange<Rc<Meaning>>> {
    let actions = judged.judgement.actions.iter().enumerate();
    let changes = actions.flat_map(|(statement, action)| {
        action.effects.iter().filter_map(move |effect| {
            let change = match effect {
                Effect::Prepares { name, inner } => {
                    let of_name = judged.of_action(inner);
                    Change::Set(
                        name.clone(),
                        Rc::new(Meaning::new(Rc::new(of_name), NameOrigin::SqlPrepare)),
                    )
                }
                Effect::Deallocates { name: Some(name) } => Change::Remove(name.clone()),
                Effect::Deallocates { name: None } => Change::RemoveAll,
                Effect::DiscardsAll => Change::ForgetAll,
                Effect::BeginsTransaction
                | Effect::EndsTransaction { .. }
                | Effect::RollsBackToSavepoint
                | Effect::ChangesMeaning
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

impl Session {
    /// Notes a run that goes to the server now.
    pub(super) fn begin_run(&mut self, run: RunId, judged: &Rc<Judged>, request: Option<RequestId>) {
        // A cursor over something that changes meaning does so as it is read, in the transaction that declared it.
        let late = self.transaction.touched_meaning && runs_cursor(judged);
        let actions = &judged.judgement.actions;
        let defines = self.sight.has_catalog() && actions.iter().any(changes_catalog);
        let drops_own = self.facts.own.is_alone() && actions.iter().any(may_drop_own);
        let changes = late || defines || drops_own || actions.iter().any(changes_meaning);
        self.transaction.touched_catalog |= defines;
        self.meaning_in_flight += usize::from(changes);
        self.transaction.touched_meaning |= changes;
        self.transaction.wrote |= changes_data(judged.class);
        self.transaction.requests.extend(request);
        let segment = self.talk.segment();
        let begun = Run {
            segment,
            judged: Rc::clone(judged),
            request,
            changes_meaning: changes,
            answered: false,
            rows: None,
            tag: String::new(),
            failure: None,
            skipped: false,
            suspended: false,
            kept_back: KeptBack::No,
        };
        self.runs.insert(run, begun);
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
                }
                News::CommitFailed { segment, fields } => {
                    for run in self.runs.values_mut().filter(|run| run.segment <= *segment) {
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
                    // A COMMIT of the proxy's own.
                    self.transaction.ended = None;
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
        // ROLLBACK TO SAVEPOINT has the tag of ROLLBACK, and ends nothing.
        let ends = |effect: &Effect| matches!(effect, Effect::EndsTransaction { .. });
        if action.effects.iter().any(ends) {
            self.transaction.ended = Some(match tag {
                "ROLLBACK" => TransactionOutcome::RolledBack,
                // Somebody else will end it, under another name.
                "PREPARE TRANSACTION" => TransactionOutcome::Unknown,
                _committed => TransactionOutcome::Committed,
            });
        }
        for effect in &action.effects {
            if let Effect::ProxySetting { name, value } = effect {
                self.set_own(name, value);
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
        let ended: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(_, run)| run.segment <= segment && run.kept_back == KeptBack::No)
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            if let Some(run) = self.runs.remove(&id) {
                self.conclude(id, &run, None);
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
            Some(fields) => (fields.sqlstate.as_str(), fields.message.as_str()),
            None => ("", lost.unwrap_or_default()),
        };
        self.stage(Body::Outcome(StatementOutcome {
            attempt: self.attempt(id),
            kind,
            rows: run.rows,
            tag: &run.tag,
            sqlstate,
            message,
            request: request.as_deref(),
        }));
    }

    fn finish_request(&self, request: RequestId, run: &Run, lost: Option<&str>) {
        let outcome = match (&run.failure, lost) {
            (Some(fields), _) => RunOutcome::Failed {
                sqlstate: fields.sqlstate.clone(),
                message: fields.message.clone(),
            },
            (None, Some(why)) => RunOutcome::Unknown { why: why.to_owned() },
            (None, None) if run.skipped => RunOutcome::Failed {
                sqlstate: "25P02".to_owned(),
                message: "skipped behind an earlier error of its pipeline".to_owned(),
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
            let over = run.failure.is_some() || run.skipped;
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
        self.runs
            .values()
            .any(|run| run.segment < ended && run.kept_back == KeptBack::No && changes_data(run.judged.class))
    }

    pub(super) fn stage(&self, body: Body<'_>) {
        self.thread.stage(&Entry {
            time: Timestamp::now(),
            session: Some(self.peer.session),
            body,
        });
    }
}
