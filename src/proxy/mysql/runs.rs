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
use crate::wire::mysql::conversation::{News, Tracked};

/// A statement under way.
#[derive(Clone, Debug)]
pub struct Run {
    pub number: u64,
    pub judged: Rc<Judged<MysqlState>>,
    pub request: Option<RequestId>,
    /// It is prepared, not run.
    pub is_preparation: bool,
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
    /// A statement in it has failed: the server may have undone all of it, which its error does not say.
    pub failed: bool,
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
        if let Some(run) = &mut self.run {
            run.rows = rows.or(run.rows);
        }
    }

    pub(super) fn run_ended(&mut self) {
        let Some(run) = self.run.take() else { return };
        if let KeptBack::Undecided(kept @ None) = &mut self.kept_back {
            *kept = Some(Box::new(run));
            return;
        }
        self.has_failed = run.failure.is_some();
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
            self.follow_names(&run.judged, run.failure.is_none());
        }
        self.note_transaction(&run);
        self.conclude(&run, None);
    }

    /// Whether the transaction has ended or one has begun, by the server's own flag; an error does not carry it.
    fn note_transaction(&mut self, run: &Run) {
        let actions = &run.judged.judgement.actions;
        let effects = || actions.iter().flat_map(|action| &action.effects);
        let ends = |wanted: bool| {
            effects()
                .any(|effect| matches!(effect, Effect::EndsTransaction { commits } if *commits == wanted))
        };
        // To begin one ends the one that is open.
        let begins = || {
            self.transaction.opened_at.is_some()
                && effects().any(|effect| *effect == Effect::BeginsTransaction)
        };
        let ended = match &run.failure {
            // A deadlock.
            Some(failure) if failure.number == 1213 => Some(TransactionOutcome::RolledBack),
            Some(_) => {
                self.transaction.failed = true;
                None
            }
            None if run.is_preparation => None,
            None if ends(true) || begins() => Some(TransactionOutcome::Committed),
            None if ends(false) => Some(TransactionOutcome::RolledBack),
            None if self.is_in_transaction() => None,
            None if self.transaction.failed => Some(TransactionOutcome::Unknown),
            None => Some(TransactionOutcome::Committed),
        };
        if let Some(outcome) = ended {
            if run.failure.is_some() {
                self.status = self.status.without(Status::IN_TRANSACTION);
            }
            self.transaction_over(outcome);
        }
        if self.is_in_transaction() {
            let now = Timestamp::now();
            self.transaction.opened_at.get_or_insert(now);
        }
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
            Some(failure) => (failure.sqlstate.as_str(), failure.message.as_str()),
            None => ("", lost.unwrap_or_default()),
        };
        self.stage(Body::Outcome(StatementOutcome {
            attempt: self.attempt(run.number),
            kind,
            rows: run.rows.filter(|_| !run.is_preparation),
            tag: tag(run),
            sqlstate,
            message,
            request: None,
        }));
    }

    fn finish_request(&self, request: RequestId, run: &Run, lost: Option<&str>) {
        let outcome = match (&run.failure, lost) {
            (Some(failure), _) => RunOutcome::Failed {
                sqlstate: failure.sqlstate.clone(),
                message: failure.message.clone(),
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
