//! An approved run with limits round it: set on the session's own connection before its bytes go, taken away before the
//! client's next message is looked at. Never changes a byte of the statement, and never runs it without what was approved
//! with it. Read `hold/guard.rs` for what there is, `park.rs` for who calls.
//!
//! Why three places. A simple Query outside a transaction gets one of the proxy's own (BEGIN, SET LOCAL, the Query,
//! COMMIT), so that the server itself drops the settings whatever happens, and rows can be counted before they are kept;
//! the end of the answer stays here until that is done. Inside a transaction or a pipeline the settings are local to it:
//! an error undoes them with the statement, and after a success they are set back. Only what PostgreSQL refuses inside a
//! transaction (VACUUM, CREATE INDEX CONCURRENTLY) is run between a SET and a SET back of the session.

use crate::audit::entry::TransactionOutcome;
use crate::hold::{Guards, HeldStatement, Permit, RequestId};
use crate::proxy::end::End;
use crate::proxy::postgres::facts::put_own;
use crate::proxy::postgres::runs::KeptBack;
use crate::proxy::postgres::session::Session;
use crate::proxy::postgres::unit::Unit;
use crate::proxy::refusal::Refusal;
use crate::wire::postgres::conversation::RunId;
use crate::wire::postgres::frame::{HEADER_BYTES, Header, put};
use crate::wire::postgres::message::{Fields, Status, client, put_ready, server};

/// The row limit of an Execute that has none. Source: PostgreSQL docs, protocol-message-formats.html
const ALL_ROWS: u32 = 0;

/// How often a setting of the session is set back before its connection is given up: a cancel that came late may have
/// hit the first try.
const RESTORE_TRIES: usize = 3;

/// Where a run stands while it is guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a transaction of the proxy's own.
    Own,
    /// In the client's transaction or pipeline.
    Within,
    /// In none: the session's own settings change for the time.
    Beside,
}

/// A setting as it was, and as it is while the run lasts.
struct Changed {
    name: &'static str,
    /// In milliseconds.
    own: String,
    /// As the server shows it.
    guard: String,
    /// The client has set it itself; else it goes back to where it came from.
    is_of_session: bool,
}

/// How the proxy's own messages end: with a Sync, or inside a pipeline of the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Sync,
    Flush,
}

impl Session {
    /// Lets an approved unit go, with the guards that its permit carries.
    pub(super) async fn run_unit(&mut self, unit: &Unit, run: RunId, permit: Permit) -> Result<(), End> {
        let guards = permit.guards();
        let Some(request) = permit.request().filter(|_| !guards.is_empty()) else {
            self.send_unit(unit, run, permit);
            return Ok(());
        };
        let place = match self.place_of(unit) {
            Ok(Place::Beside) if guards.rows_max.is_some() => {
                let why = "what it does cannot be undone, for it runs in no transaction";
                return self.not_run(unit, request, permit, why).await;
            }
            Ok(place) => place,
            Err(why) => return self.not_run(unit, request, permit, why).await,
        };
        let ending = match unit.simple {
            true => Ending::Sync,
            false => Ending::Flush,
        };
        let changed = match self.set_guards(place, ending, guards).await {
            Ok(Ok(changed)) => changed,
            Ok(Err(why)) => return self.not_run(unit, request, permit, &why).await,
            Err(end) => {
                let desk = self.thread.shared.desk.clone();
                desk.not_sent(permit, "its session ended before it was sent")
                    .await;
                return Err(end);
            }
        };
        // What is told as done must not be undone by the taking away of its guards.
        let takes_away = place == Place::Within && !changed.is_empty();
        let keeps_end = place == Place::Own || guards.rows_max.is_some() || takes_away;
        if keeps_end {
            let statements = unit.judged.judgement.actions.len();
            self.talk.withhold(
                run,
                if unit.simple {
                    statements.saturating_sub(1)
                } else {
                    0
                },
            );
        }
        self.send_unit(unit, run, permit);
        if let Some(run) = self.runs.get_mut(&run).filter(|_| keeps_end && unit.simple) {
            run.kept_back = KeptBack::Undecided;
        }
        if !unit.simple {
            self.put_flush();
        }
        while !self.talk.is_settled() {
            self.wait().await?;
        }
        self.until_between_messages().await?;
        let undone = guards.rows_max.and_then(|max| self.too_many(run, request, max));
        match (place, unit.simple) {
            (Place::Own, _) => self.end_own(run, undone).await,
            (Place::Within, true) if keeps_end => self.end_within(run, undone, &changed).await,
            (Place::Within, _) => self.end_in_pipeline(run, undone, ending, &changed).await,
            (Place::Beside, _) => self.restore_session(&changed).await,
        }
    }

    fn place_of(&self, unit: &Unit) -> Result<Place, &'static str> {
        let statements = HeldStatement::of(&unit.judged.text, &unit.judged.judgement);
        let is_alone = statements.iter().any(HeldStatement::runs_alone);
        if !unit.simple {
            match executes(&unit.frames).as_slice() {
                [ALL_ROWS] => {}
                [_in_parts] => {
                    return Err("it is read in parts, and its guards would hold for the first alone");
                }
                _ => return Err("no Execute, or more than one, stands behind its Bind"),
            }
        }
        if unit
            .judged
            .judgement
            .actions
            .iter()
            .any(|action| action.verb == "declare cursor")
        {
            return Err("what it declares runs later, when it is fetched");
        }
        match (self.talk.status(), unit.simple) {
            (Status::Failed, _) => Err("its transaction has failed"),
            (Status::InTransaction, _) => Ok(Place::Within),
            (Status::Idle, true) if self.talk.has_open_pipeline() => {
                Err("a pipeline without its Sync stands before it")
            }
            (Status::Idle, true) if is_alone => Ok(Place::Beside),
            (Status::Idle, true) => Ok(Place::Own),
            (Status::Idle, false) if is_alone => Err("by the extended protocol it can be in no transaction"),
            (Status::Idle, false) => Ok(Place::Within),
        }
    }

    /// Says no to a statement whose guards could not be set: nothing of it has gone.
    async fn not_run(
        &mut self,
        unit: &Unit,
        request: RequestId,
        permit: Permit,
        why: &str,
    ) -> Result<(), End> {
        let why = format!("its guards could not be set: {why}");
        let desk = self.thread.shared.desk.clone();
        desk.not_sent(permit, &why).await;
        self.refuse(&Refusal::Stale { request, why }, unit).await
    }

    /// Sets what is narrower than the session's own. `Err`: why it could not be; then no transaction of the proxy's is
    /// open any more.
    async fn set_guards(
        &mut self,
        place: Place,
        ending: Ending,
        guards: Guards,
    ) -> Result<Result<Vec<Changed>, String>, End> {
        let set = self.try_set(place, ending, guards).await?;
        if set.is_err() && place == Place::Own && self.talk.status() != Status::Idle {
            self.ask_own(&["ROLLBACK"], 0, Ending::Sync).await?;
        }
        Ok(set)
    }

    async fn try_set(
        &mut self,
        place: Place,
        ending: Ending,
        guards: Guards,
    ) -> Result<Result<Vec<Changed>, String>, End> {
        let unset = |fields: Option<Fields>| {
            let why = fields.map(|fields| fields.message);
            Ok(Err(why.unwrap_or_else(|| {
                "the server does not say how they are set".to_owned()
            })))
        };
        if place == Place::Own && self.ask_own(&["BEGIN"], 0, ending).await?.is_none() {
            return unset(self.own_failure.take());
        }
        let wanted = [
            ("lock_timeout", guards.lock_timeout),
            ("statement_timeout", guards.statement_timeout),
        ];
        let mut changed = Vec::new();
        for (name, time) in wanted {
            let Some(guard) = time.and_then(|time| u64::try_from(time.as_millis()).ok()) else {
                continue;
            };
            let asked = format!(
                "SELECT pg_catalog.concat_ws(' ', s.setting, s.source) FROM pg_catalog.pg_settings s
                 WHERE s.name OPERATOR(pg_catalog.=) '{name}'"
            );
            let Some(told) = self.ask_own(&[&asked], 1, ending).await? else {
                return unset(self.own_failure.take());
            };
            let own = told.first().and_then(|told| told.split_once(' '));
            let Some((own, source)) = own.and_then(|(own, source)| Some((own.parse::<u64>().ok()?, source)))
            else {
                return unset(None);
            };
            if own != 0 && own <= guard {
                continue;
            }
            let is_local = place != Place::Beside;
            let set = format!("SELECT pg_catalog.set_config('{name}', '{guard}', {is_local})");
            let Some(shown) = self.ask_own(&[&set], 1, ending).await? else {
                let why = self.own_failure.take();
                if place == Place::Beside {
                    self.restore_session(&changed).await?;
                }
                return unset(why);
            };
            changed.push(Changed {
                name,
                own: own.to_string(),
                guard: shown.into_iter().next().unwrap_or_default(),
                is_of_session: source == "session",
            });
        }
        Ok(Ok(changed))
    }

    /// Why a run that has succeeded is undone; notes that it has failed.
    fn too_many(&mut self, run: RunId, request: RequestId, max: u64) -> Option<Refusal> {
        let run = self
            .runs
            .get_mut(&run)
            .filter(|run| run.failure.is_none() && !run.skipped)?;
        let why = match run.rows {
            Some(rows) if rows <= max && !run.suspended => return None,
            Some(rows) if !run.suspended => {
                format!("it would have affected {rows} rows, and its approval allows {max}")
            }
            Some(_) | None => "its rows could not be counted, and its approval limits them".to_owned(),
        };
        let refusal = Refusal::TooManyRows { request, why };
        run.failure = Some(refusal.fields());
        Some(refusal)
    }

    /// A run in a transaction of the proxy's own: kept or undone, and only then told.
    async fn end_own(&mut self, id: RunId, undone: Option<Refusal>) -> Result<(), End> {
        let tags = self.talk.let_go();
        let has_failed = self.talk.status() != Status::InTransaction
            || self.runs.get(&id).is_none_or(|run| run.failure.is_some());
        if has_failed {
            if self.talk.status() != Status::Idle {
                self.ask_own(&["ROLLBACK"], 0, Ending::Sync).await?;
            }
            self.until_between_messages().await?;
            if let Some(undone) = undone {
                self.tell_undone(&undone);
            }
        } else {
            if let Some(run) = self.runs.get_mut(&id) {
                run.kept_back = KeptBack::Committing;
            }
            self.transaction.ended = Some(TransactionOutcome::Committed);
            let kept = self.ask_own(&["COMMIT"], 0, Ending::Sync).await?;
            self.until_between_messages().await?;
            match (kept, self.own_failure.take()) {
                (None, Some(fields)) => {
                    self.pipe.tell(|out| fields.put(server::ERROR, out));
                    if let Some(run) = self.runs.get_mut(&id) {
                        run.failure = Some(self.thread.answer_to_commit(&fields));
                    }
                }
                (Some(_), _) | (None, None) => self.tell_tags(&tags),
            }
        }
        let status = self.talk.status();
        self.pipe.tell(|out| put_ready(out, status));
        self.conclude_kept_back(id);
        Ok(())
    }

    /// A simple Query whose rows are counted inside the client's transaction.
    async fn end_within(
        &mut self,
        id: RunId,
        undone: Option<Refusal>,
        changed: &[Changed],
    ) -> Result<(), End> {
        let tags = self.talk.let_go();
        if let Some(undone) = undone {
            self.tell_undone(&undone);
            self.conclude_kept_back(id);
            self.fail_transaction(true);
            return Ok(());
        }
        if self.talk.status() == Status::InTransaction {
            let lost = self.restore_local(Ending::Sync, changed).await?;
            self.until_between_messages().await?;
            self.tell_end(id, lost, &tags);
        }
        let status = self.talk.status();
        self.pipe.tell(|out| put_ready(out, status));
        self.conclude_kept_back(id);
        Ok(())
    }

    /// A portal of the extended protocol; or a simple Query in a transaction, whose answer has gone as it came.
    async fn end_in_pipeline(
        &mut self,
        id: RunId,
        undone: Option<Refusal>,
        ending: Ending,
        changed: &[Changed],
    ) -> Result<(), End> {
        let tags = self.talk.let_go();
        if let Some(undone) = undone {
            self.tell_undone(&undone);
            self.fail_transaction(false);
            return Ok(());
        }
        let has_failed = self
            .runs
            .get(&id)
            .is_some_and(|run| run.failure.is_some() || run.skipped);
        if has_failed || self.talk.is_skipping() || self.talk.status() == Status::Failed {
            return Ok(());
        }
        let lost = self.restore_local(ending, changed).await?;
        self.until_between_messages().await?;
        self.tell_end(id, lost, &tags);
        Ok(())
    }

    /// The end of a run as it turned out when its guards were taken away: that may have failed its transaction.
    fn tell_end(&mut self, id: RunId, lost: Option<Fields>, tags: &[String]) {
        let Some(fields) = lost else {
            return self.tell_tags(tags);
        };
        self.pipe.tell(|out| fields.put(server::ERROR, out));
        if let Some(run) = self.runs.get_mut(&id) {
            run.failure = Some(self.thread.answer_to_commit(&fields));
        }
    }

    fn tell_undone(&mut self, undone: &Refusal) {
        self.pipe.tell(|out| undone.fields().put(server::ERROR, out));
        self.thread.shared.metrics.count_refusal(undone.code());
    }

    /// The ends of statements that were kept here.
    fn tell_tags(&mut self, tags: &[String]) {
        for tag in tags {
            self.pipe.tell(|out| match tag.is_empty() {
                true => put(out, server::EMPTY_QUERY, |_| {}),
                false => put(out, server::COMMAND_COMPLETE, |out| {
                    out.extend(tag.as_bytes());
                    out.push(0);
                }),
            });
        }
    }

    /// Sets back what is local to the client's transaction. A setting that the statement itself has changed stays. `Some`:
    /// that failed, and its transaction with it, which takes the settings along when it ends.
    async fn restore_local(&mut self, ending: Ending, changed: &[Changed]) -> Result<Option<Fields>, End> {
        let texts: Vec<String> = changed.iter().map(|changed| changed.back(true)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        if texts.is_empty() || self.ask_own(&texts, texts.len(), ending).await?.is_some() {
            return Ok(None);
        }
        let Some(fields) = self.own_failure.take() else {
            let what = "the server does not say whether guards are taken away".to_owned();
            return Err(End::Violation(what));
        };
        tracing::warn!(session.id = %self.peer.session, "guards are taken away by the end of their transaction");
        let message = format!(
            "countersign: undone with its transaction, for its limits could not be taken away: {}",
            fields.message
        );
        Ok(Some(Fields { message, ..fields }))
    }

    /// Sets the session's own settings back, or ends the session: nobody may go on under somebody else's limits.
    async fn restore_session(&mut self, changed: &[Changed]) -> Result<(), End> {
        for changed in changed {
            let mut is_back = false;
            for _ in 0..RESTORE_TRIES {
                let current = format!("SELECT pg_catalog.current_setting('{}')", changed.name);
                let Some(current) = self.ask_own(&[&current], 1, Ending::Sync).await? else {
                    continue;
                };
                is_back = current.first() != Some(&changed.guard) || {
                    let back = changed.back(false);
                    let reset = format!("RESET {}", changed.name);
                    let (text, rows) = match changed.is_of_session {
                        true => (back.as_str(), 1),
                        false => (reset.as_str(), 0),
                    };
                    self.ask_own(&[text], rows, Ending::Sync).await?.is_some()
                };
                if is_back {
                    break;
                }
            }
            if !is_back {
                let what = format!(
                    "{} could not be set back behind an approved statement",
                    changed.name
                );
                return Err(End::Violation(what));
            }
        }
        Ok(())
    }

    /// Asks on this very connection, all at once. `None`: one of them failed, and `own_failure` says how.
    async fn ask_own(
        &mut self,
        texts: &[&str],
        rows: usize,
        ending: Ending,
    ) -> Result<Option<Vec<String>>, End> {
        self.answers.clear();
        self.own_failure = None;
        let mut frames = Vec::new();
        put_own(
            &mut self.talk,
            &self.nothing,
            &mut frames,
            texts,
            ending == Ending::Sync,
        );
        self.pipe.to_server.own(&frames);
        self.pipe.to_server.release_plain();
        while !self.talk.is_settled() {
            self.wait().await?;
        }
        let is_complete = self.own_failure.is_none() && self.answers.len() == rows;
        Ok(is_complete.then(|| self.answers.drain(..).map(Option::unwrap_or_default).collect()))
    }
}

impl Changed {
    /// Sets it back, unless the statement itself has changed it meanwhile.
    fn back(&self, is_local: bool) -> String {
        let Self { name, own, guard, .. } = self;
        format!(
            "SELECT CASE WHEN pg_catalog.current_setting('{name}') OPERATOR(pg_catalog.=) '{guard}'
             THEN pg_catalog.set_config('{name}', '{own}', {is_local}) ELSE '' END"
        )
    }
}

/// The row limits of the Execute messages in a unit; one that cannot be read counts as a limit.
fn executes(frames: &[u8]) -> Vec<u32> {
    const UNREADABLE: u32 = u32::MAX;
    let (mut rest, mut limits) = (frames, Vec::new());
    while let Ok(Some(header)) = Header::cut(rest) {
        debug_assert!(header.frame_bytes() >= HEADER_BYTES);
        let Some((frame, behind)) = rest.split_at_checked(header.frame_bytes()) else {
            break;
        };
        if header.tag == client::EXECUTE {
            let limit = frame.last_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
            limits.push(limit.unwrap_or(UNREADABLE));
        }
        rest = behind;
    }
    limits
}
