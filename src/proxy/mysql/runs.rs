//! What was sent and what became of it: a statement on its way to the server is a run, and ends as a record.
//! Never forwards anything. Read `command.rs` next.

use std::rc::Rc;
use std::time::Duration;

use tracing::warn;

use crate::audit::entry::{Body, Entry, OutcomeKind, StatementOutcome, TransactionOutcome};
use crate::clock::Timestamp;
use crate::desk::RunOutcome;
use crate::hold::RequestId;
use crate::proxy::attempts::changes_data;
use crate::proxy::end::{End, wait_of};
use crate::proxy::judgements::Judged;
use crate::proxy::mysql::session::Session;
use crate::sql::action::{Action, Class, Effect};
use crate::sql::mysql_state::MysqlState;
use crate::wire::mysql::answer::Status;
use crate::wire::mysql::command::Code;
use crate::wire::mysql::conversation::{Expected, News, Tracked};

/// ER_LOCK_DEADLOCK: the server has undone the whole transaction.
const DEADLOCK: u16 = 1213;

/// A statement under way.
#[derive(Clone, Debug)]
pub struct Run {
    pub number: u64,
    pub judged: Rc<Judged<MysqlState>>,
    pub request: Option<RequestId>,
    /// It is prepared, not run.
    pub is_preparation: bool,
    /// `Facts::values_revision` when it went to the server.
    pub read_at: u64,
    /// Answers of it that are in: one for each of its statements, more for a CALL.
    pub done: usize,
    pub rows: Option<u64>,
    pub failure: Option<Failure>,
}

/// A run that is not kept until the proxy says so, as far as it has come.
#[derive(Debug)]
pub enum KeptBack {
    No,
    /// Lost with its connection; `None` while the server works on it.
    Undecided(Option<Box<Run>>),
    /// Its COMMIT is under way, or what follows on that.
    Committing(Box<Run>),
}

#[derive(Clone, Debug)]
pub struct Failure {
    pub number: u16,
    pub sqlstate: String,
    pub message: String,
}

/// What is known of the open transaction.
#[derive(Debug, Default)]
pub struct TransactionNotes {
    /// Since when one is open.
    pub opened_at: Option<Timestamp>,
    /// Something that may write was sent in it.
    pub wrote: bool,
    /// A statement in it has failed, which may have ended it: the error does not say so. How, if it has.
    pub doubt: Option<TransactionOutcome>,
    pub requests: Vec<RequestId>,
}

/// Whether texts may mean something else after it, beyond what the server tells by itself.
fn must_ask_after(action: &Action, is_tracked: bool) -> bool {
    match action.class {
        Class::Read | Class::Write | Class::Export => false,
        Class::Transaction | Class::Session => {
            !is_tracked || action.effects.contains(&Effect::ChangesMeaning)
        }
        Class::Ddl | Class::Procedural | Class::Grant | Class::Admin | Class::Unknown => true,
    }
}

/// Whether it may make temporary tables.
fn may_make_own(action: &Action) -> bool {
    match action.class {
        Class::Ddl => action.verb.contains("temporary") || !action.commits,
        Class::Procedural | Class::Unknown => true,
        Class::Read
        | Class::Write
        | Class::Export
        | Class::Session
        | Class::Transaction
        | Class::Grant
        | Class::Admin => false,
    }
}

/// Whether settings by which values are read may be others after it, where the server does not tell: by itself it tells
/// nothing behind an error, and old ones tell nothing at all.
fn may_change_values(action: &Action) -> bool {
    let prepares = |effect: &Effect| matches!(effect, Effect::Prepares { .. });
    match action.class {
        Class::Session => matches!(action.verb.as_str(), "set" | "execute"),
        Class::Procedural | Class::Grant | Class::Admin | Class::Unknown => {
            !action.effects.iter().any(prepares)
        }
        Class::Read | Class::Write | Class::Export | Class::Ddl => !action.functions.is_empty(),
        Class::Transaction => false,
    }
}

impl Session {
    /// Notes a statement that goes to the server now.
    pub(super) fn begin_run(
        &mut self,
        number: u64,
        judged: &Rc<Judged<MysqlState>>,
        request: Option<RequestId>,
    ) {
        self.transaction.wrote |= changes_data(judged.class);
        self.transaction.requests.extend(request);
        self.run = Some(Run {
            number,
            judged: Rc::clone(judged),
            request,
            is_preparation: false,
            read_at: self.facts.values_revision,
            done: 0,
            rows: None,
            failure: None,
        });
    }

    /// Takes note of what the server told; `Some` if it is about to close.
    pub(super) fn take_news(&mut self) -> Option<End> {
        if self.news.is_empty() {
            return None;
        }
        let mut end = None;
        for told in std::mem::take(&mut self.news) {
            match told {
                News::Ok {
                    affected,
                    status,
                    changes,
                } => self.completed(Some(affected), status, &changes),
                News::Rows {
                    rows,
                    status,
                    changes,
                } => self.completed(Some(rows), status, &changes),
                News::Failed {
                    number,
                    sqlstate,
                    message,
                } => match &mut self.run {
                    Some(run) => {
                        run.failure = Some(Failure {
                            number,
                            sqlstate,
                            message,
                        });
                    }
                    None => self.own_failed = Some(number),
                },
                News::Prepared {
                    statement,
                    parameters,
                } => self.prepared(statement, parameters),
                News::WantsFile { name } => end = end.or(self.refuse_file(&name)),
                News::Row(values) => self.answers.push(values),
                News::Unasked { number, .. } => {
                    warn!(session.id = %self.peer.session, number, "the server ends the connection");
                    end = Some(End::ServerEnded);
                }
                News::Complete => self.run_ended(),
            }
        }
        end
    }

    /// A server that wants a file for anything but a statement that asks for one is not obeyed.
    fn refuse_file(&self, name: &[u8]) -> Option<End> {
        let asked = self.run.as_ref().is_some_and(|run| {
            let mut actions = run.judged.judgement.actions.iter();
            actions.any(|action| action.copies_in) && names(&run.judged.text, name)
        });
        let what = "the server asks for a file that no statement told it to read";
        (!asked).then(|| End::Violation(what.to_owned()))
    }

    fn completed(&mut self, rows: Option<u64>, status: Status, changes: &[Tracked]) {
        for change in changes {
            self.facts.tracked(change);
        }
        self.status = status;
        let Some(run) = &mut self.run else { return };
        run.rows = rows.or(run.rows);
        run.done += 1;
        let (done, judged) = (run.done, Rc::clone(&run.judged));
        if run.is_preparation || judged.judgement.actions.len() < 2 {
            return;
        }
        // Each statement of a message may end a transaction and begin another.
        let (request, wrote) = (run.request, changes_data(judged.class));
        let action = statement_at(&judged, done - 1);
        let ended = self.ended_by(action);
        if let Some(outcome) = ended {
            // Nothing of it stood before the end.
            if done == 1 && action.is_some() && self.transaction.opened_at.is_some() {
                self.leave_out(request);
            }
            self.transaction_over(outcome);
            self.transaction.wrote = wrote;
            self.transaction.requests.extend(request);
        }
        self.note_open();
    }

    pub(super) fn run_ended(&mut self) {
        let Some(run) = self.run.take() else { return };
        if let KeptBack::Undecided(kept @ None) = &mut self.kept_back {
            *kept = Some(Box::new(run));
            return;
        }
        self.failed = run.failure.as_ref().map(|failure| failure.number);
        if !run.is_preparation {
            let actions = &run.judged.judgement.actions;
            let is_tracked = self.is_tracked;
            self.facts.is_stale |= actions.iter().any(|action| must_ask_after(action, is_tracked));
            if actions.iter().any(may_make_own) {
                self.facts.set_own_objects(true);
            }
            if actions.iter().any(crate::sql::doubt::changes_catalog) {
                self.sight.suspect();
            }
            let is_told = is_tracked && run.failure.is_none();
            let unseen = !is_told && actions.iter().any(may_change_values);
            self.facts.values_revision += u64::from(unseen);
            self.follow_names(&run);
        }
        self.note_transaction(&run);
        self.conclude(&run, None);
    }

    /// What became of the transaction with a run that is over.
    fn note_transaction(&mut self, run: &Run) {
        let actions = &run.judged.judgement.actions;
        if let Some(failure) = &run.failure {
            let failed = statement_at(&run.judged, run.done);
            self.transaction.doubt = Some(end_by_failure(failure, failed));
            return;
        }
        if run.is_preparation {
            return;
        }
        if let [action] = actions.as_slice()
            && let Some(outcome) = self.ended_by(Some(action))
        {
            self.transaction_over(outcome);
        }
        self.note_open();
        if self.transaction.opened_at.is_none() {
            self.transaction = TransactionNotes::default();
        }
    }

    fn note_open(&mut self) {
        if self.is_in_transaction() {
            self.transaction.opened_at.get_or_insert_with(Timestamp::now);
        }
    }

    /// How a statement that has succeeded ended the transaction, if it did: as the server's own flag says, unless another
    /// one has begun at once. `None`: nobody knows which statement it was.
    fn ended_by(&self, action: Option<&Action>) -> Option<TransactionOutcome> {
        let is_over = !self.is_in_transaction();
        let Some(action) = action else {
            return is_over.then_some(TransactionOutcome::Unknown);
        };
        let ends = |commits| action.effects.contains(&Effect::EndsTransaction { commits });
        let is_explicit =
            action.class == Class::Transaction || action.effects.contains(&Effect::BeginsTransaction);
        match action.verb.as_str() {
            // Somebody else will end it, under its name.
            "xa prepare" => Some(TransactionOutcome::Unknown),
            "xa commit" => Some(TransactionOutcome::Committed),
            "xa rollback" => Some(TransactionOutcome::RolledBack),
            verb if verb.starts_with("xa ") => None,
            _ if ends(false) => Some(TransactionOutcome::RolledBack),
            _ if is_explicit && ends(true) => Some(TransactionOutcome::Committed),
            _ if !is_over => None,
            "reset connection" => Some(TransactionOutcome::RolledBack),
            // SET autocommit=1.
            "set" => Some(TransactionOutcome::Committed),
            _ if action.commits => Some(TransactionOutcome::Committed),
            _ => Some(TransactionOutcome::Unknown),
        }
    }

    /// An error does not say whether the transaction is still open. A ping does, and leaves warnings as they are.
    pub(super) async fn settle_doubt(&mut self) -> Result<(), End> {
        let Some(outcome) = self.transaction.doubt.take() else {
            return Ok(());
        };
        if self.transaction.opened_at.is_none() {
            return Ok(());
        }
        self.settle_cancel().await?;
        self.put_own(&[Code::Ping as u8], Expected::Done);
        self.answered().await?;
        if !self.is_in_transaction() {
            self.transaction_over(outcome);
        }
        Ok(())
    }

    /// A request whose message begins with the end of the transaction: it belongs to the next one.
    fn leave_out(&mut self, request: Option<RequestId>) {
        let Some(request) = request else { return };
        self.transaction.requests.retain(|other| *other != request);
        self.thread.shared.desk.transaction_ended(self.peer.session);
    }

    fn transaction_over(&mut self, outcome: TransactionOutcome) {
        let notes = std::mem::take(&mut self.transaction);
        if notes.opened_at.is_none() {
            return;
        }
        if !notes.requests.is_empty() {
            self.thread.shared.desk.transaction_ended(self.peer.session);
        }
        let requests: Vec<_> = notes.requests.iter().map(RequestId::to_string).collect();
        let requests: Vec<_> = requests.iter().map(String::as_str).collect();
        self.stage(Body::TransactionEnd {
            outcome,
            requests: &requests,
        });
    }

    /// The end of a run is known, or is known never to be known.
    fn conclude(&mut self, run: &Run, lost: Option<&str>) {
        if let Some(request) = run.request {
            // The desk writes the result of an approved run, with the request's own end.
            self.finish_request(request, run, lost);
            return;
        }
        let kind = match (&run.failure, lost) {
            // Query execution was interrupted.
            (Some(failure), _) if failure.number == 1317 => OutcomeKind::Cancelled,
            (Some(_), _) => OutcomeKind::Failed,
            (None, Some(_)) => OutcomeKind::Unknown,
            (None, None) => OutcomeKind::Ran,
        };
        let (sqlstate, message) = match &run.failure {
            Some(failure) => {
                let message = self.thread.answer_for_log(&run.judged, &failure.message);
                (failure.sqlstate.as_str(), told(run, &message))
            }
            None => ("", lost.unwrap_or_default().to_owned()),
        };
        self.stage(Body::Outcome(StatementOutcome {
            attempt: self.attempt(run.number),
            kind,
            rows: run.rows.filter(|_| !run.is_preparation),
            tag: tag(run),
            sqlstate,
            message: &message,
            request: None,
        }));
    }

    fn finish_request(&self, request: RequestId, run: &Run, lost: Option<&str>) {
        let outcome = match (&run.failure, lost) {
            (Some(failure), _) => RunOutcome::Failed {
                sqlstate: failure.sqlstate.clone(),
                message: told(run, &self.thread.answer_for_log(&run.judged, &failure.message)),
            },
            (None, Some(why)) => RunOutcome::Unknown { why: why.to_owned() },
            (None, None) => RunOutcome::Finished {
                rows: run.rows,
                tag: tag(run).to_owned(),
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
        match std::mem::replace(&mut self.kept_back, KeptBack::No) {
            KeptBack::No => {}
            KeptBack::Committing(run) => self.run = Some(*run),
            KeptBack::Undecided(run) => {
                self.run = run.map(|run| *run).or(self.run.take());
                // What is not committed goes with the connection.
                if let Some(run) = &mut self.run {
                    run.failure.get_or_insert_with(|| Failure {
                        number: 1317,
                        sqlstate: "70100".to_owned(),
                        message: format!("undone, for it was not committed yet: {why}"),
                    });
                }
            }
        }
        if let Some(run) = self.run.take() {
            let is_over = run.failure.is_some();
            self.conclude(&run, (!is_over).then_some(why));
        }
        self.transaction_over(TransactionOutcome::Unknown);
    }

    /// `SET @countersign_wait`, `SET @countersign_purpose` and `SET @countersign_reply`.
    pub(super) fn set_own(&mut self, name: &str, value: &str) {
        match name {
            "wait" => self.wait_max = wait_of(value),
            "reply" => self.reply = Some(value.to_owned()),
            _ => {
                self.claimed.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// What is to be waited for at most.
    pub(super) fn wait_at_most(&self, wait: Duration) -> Duration {
        self.wait_max.map_or(wait, |max| wait.min(max))
    }

    pub(super) fn stage(&self, body: Body<'_>) {
        self.thread.stage(&Entry {
            time: Timestamp::now(),
            session: Some(self.peer.session),
            body,
        });
    }
}

/// The statement of a message whose answer is the next behind so many; `None`: one before it may have had several.
fn statement_at(judged: &Judged<MysqlState>, done: usize) -> Option<&Action> {
    let actions = &judged.judgement.actions;
    let has_one = |action: &Action| !matches!(action.class, Class::Procedural | Class::Unknown);
    actions
        .get(done)
        .filter(|_| actions.len() == 1 || actions.iter().all(has_one))
}

/// How a transaction ended, if it did, with a statement that failed in it.
fn end_by_failure(failure: &Failure, failed: Option<&Action>) -> TransactionOutcome {
    match (failure.number, failed) {
        (DEADLOCK, _) => TransactionOutcome::RolledBack,
        // DDL commits before it does anything.
        (_, Some(action)) if action.class != Class::Transaction && action.commits => {
            TransactionOutcome::Committed
        }
        (_, Some(action)) if matches!(action.class, Class::Read | Class::Write | Class::Export) => {
            TransactionOutcome::RolledBack
        }
        (_, Some(_) | None) => TransactionOutcome::Unknown,
    }
}

/// What is kept of an error's message, and what stood before the statement that it is of: that is kept or not as the
/// transaction is.
fn told(run: &Run, message: &str) -> String {
    let count = run.judged.judgement.actions.len();
    match statement_at(&run.judged, run.done) {
        _ if count < 2 || run.done == 0 => message.to_owned(),
        Some(_) => format!(
            "{message} (statement {} of {count} in its message; those before it have run)",
            run.done + 1
        ),
        None => format!("{message} (in a message of {count} statements, of which some have run)"),
    }
}

/// Whether a text has a file's name in it, as it is or with its backslashes doubled.
fn names(text: &[u8], name: &[u8]) -> bool {
    let escaped: Vec<u8> = name
        .iter()
        .flat_map(|byte| {
            if *byte == b'\\' {
                vec![b'\\'; 2]
            } else {
                vec![*byte]
            }
        })
        .collect();
    let has = |wanted: &[u8]| !wanted.is_empty() && text.windows(wanted.len()).any(|part| part == wanted);
    has(name) || has(&escaped)
}

fn tag(run: &Run) -> &'static str {
    if run.is_preparation { "PREPARE" } else { "" }
}
