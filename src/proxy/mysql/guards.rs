//! An approved statement with limits round it, on MariaDB and MySQL: set on the session's own connection before its bytes
//! go, taken away before the client's next command is looked at. Never changes a byte of the statement, and never runs it
//! without what was approved with it. Read `hold/guard.rs` for what there is, `command.rs` for who calls.
//!
//! Why `autocommit` and not START TRANSACTION round a statement whose rows are counted: the latter would give up locks of
//! LOCK TABLES. Why only tables whose engine has transactions: in others nothing can be undone, whatever is answered.

use std::mem;

use crate::hold::{Guards, Permit, RequestId};
use crate::proxy::end::End;
use crate::proxy::mysql::command::Sending;
use crate::proxy::mysql::facts;
use crate::proxy::mysql::runs::{Failure, KeptBack, Run};
use crate::proxy::mysql::session::{Session, one_value};
use crate::proxy::refusal::Refusal;
use crate::sql::mysql_state::ServerKind;
use crate::wire::mysql::answer::Status;
use crate::wire::mysql::conversation::Expected;
use crate::wire::mysql::packet;

const SAVEPOINT: &[u8] = b"SAVEPOINT `_countersign_guard`";
const BACK_TO_SAVEPOINT: &[u8] = b"ROLLBACK TO SAVEPOINT `_countersign_guard`";
const NO_SAVEPOINT: &[u8] = b"RELEASE SAVEPOINT `_countersign_guard`";
// Whatever completion_type says.
const COMMIT: &[u8] = b"COMMIT AND NO CHAIN NO RELEASE";
const ROLLBACK: &[u8] = b"ROLLBACK AND NO CHAIN NO RELEASE";
const AUTOCOMMIT_OFF: &[u8] = b"SET SESSION autocommit=0";
const AUTOCOMMIT_ON: &[u8] = b"SET SESSION autocommit=1";

/// ER_WARNING_NOT_COMPLETE_ROLLBACK: rows of a table without transactions stay changed.
const NOT_UNDONE: &[u8] = b"1196";

/// What undoes a statement whose rows are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing is counted.
    AsItIs,
    /// A transaction of the proxy's own, between autocommit off and on.
    Own,
    /// The client has autocommit off, and the statement begins its transaction.
    Begins,
    /// The client's transaction: a savepoint.
    Within,
}

/// A variable of the session as it was, and as it is while the statement runs.
struct Changed {
    name: &'static str,
    own: String,
    guard: String,
}

impl Session {
    /// Lets an approved statement go, with the guards that its permit carries.
    pub(super) async fn run_guarded(
        &mut self,
        sending: Sending,
        number: u64,
        permit: Permit,
        request: RequestId,
    ) -> Result<(), End> {
        let guards = permit.guards();
        let (place, changed) = match self.set_guards(&sending, guards).await {
            Ok(Ok(set)) => set,
            Ok(Err(why)) => {
                let why = format!("its guards could not be set: {why}");
                self.thread.shared.desk.clone().not_sent(permit, &why).await;
                return self.refuse(&Refusal::Stale { request, why }, &sending);
            }
            Err(end) => {
                let desk = self.thread.shared.desk.clone();
                desk.not_sent(permit, "its session ended before it was sent")
                    .await;
                return Err(end);
            }
        };
        self.settle_cancel().await?;
        self.pipe.to_server.approved(permit, &sending.frames);
        self.under_way(&sending, number, Some(request));
        if place != Place::AsItIs {
            self.relay.withhold();
            self.kept_back = KeptBack::Undecided(None);
        }
        self.answered().await?;
        self.settle_cancel().await?;
        if let KeptBack::Undecided(Some(run)) = mem::replace(&mut self.kept_back, KeptBack::No) {
            self.keep_or_undo(*run, place, request, guards).await?;
        }
        self.restore(&changed).await?;
        if let KeptBack::Committing(run) = mem::replace(&mut self.kept_back, KeptBack::No) {
            self.run = Some(*run);
        }
        self.tell_withheld();
        self.run_ended();
        self.after(&sending).await
    }

    async fn set_guards(
        &mut self,
        sending: &Sending,
        guards: Guards,
    ) -> Result<Result<(Place, Vec<Changed>), String>, End> {
        if guards.rows_max.is_some() && !self.can_undo(sending).await? {
            let why =
                "rows of a view, of a temporary table or of a table without transactions cannot be undone";
            return Ok(Err(why.to_owned()));
        }
        let wanted = match self.wanted(guards) {
            Ok(wanted) => wanted,
            Err(why) => return Ok(Err(why.to_owned())),
        };
        let mut changed: Vec<Changed> = Vec::new();
        for (name, guard) in wanted {
            let set = self.set_narrower(name, guard).await?;
            match set {
                Some(one) => changed.extend(one),
                None => {
                    self.restore(&changed).await?;
                    return Ok(Err(format!("the server does not take {name}")));
                }
            }
        }
        let place = match (guards.rows_max, self.is_in_transaction()) {
            (None, _) => Place::AsItIs,
            (Some(_), true) => Place::Within,
            (Some(_), false) if self.status.has(Status::AUTOCOMMIT) => Place::Own,
            (Some(_), false) => Place::Begins,
        };
        let begun = match place {
            Place::AsItIs | Place::Begins => true,
            Place::Within => self.ask(SAVEPOINT, Expected::Done).await?.is_some(),
            Place::Own => self.ask(AUTOCOMMIT_OFF, Expected::Done).await?.is_some(),
        };
        if !begun {
            self.restore(&changed).await?;
            return Ok(Err("the server takes no savepoint or transaction now".to_owned()));
        }
        Ok(Ok((place, changed)))
    }

    /// Names and values of variables; a timeout that the server does not have is an error.
    fn wanted(&self, guards: Guards) -> Result<Vec<(&'static str, f64)>, &'static str> {
        let mut wanted = Vec::new();
        if let Some(time) = guards.lock_timeout {
            let seconds = time.as_secs_f64().ceil();
            wanted.push(("lock_wait_timeout", seconds));
            wanted.push(("innodb_lock_wait_timeout", seconds));
        }
        if let Some(time) = guards.statement_timeout {
            match self.facts.state.kind {
                ServerKind::Mariadb => wanted.push(("max_statement_time", time.as_secs_f64())),
                ServerKind::Mysql | ServerKind::Unknown => {
                    return Err("MySQL ends nothing but reads by time: approve it without statement_timeout");
                }
            }
        }
        Ok(wanted)
    }

    /// `None`: it cannot be set. Without one: the client's own is narrower.
    async fn set_narrower(&mut self, name: &'static str, guard: f64) -> Result<Option<Option<Changed>>, End> {
        let asked = format!("SELECT CAST(CONVERT(@@session.{name} USING utf8mb4) AS BINARY) LIMIT 1");
        let own = match self.ask(asked.as_bytes(), Expected::Results).await? {
            Some(rows) => one_value(&rows),
            None => None,
        };
        let Some((own, number)) = own.and_then(|own| own.parse::<f64>().ok().map(|number| (own, number)))
        else {
            return Ok(None);
        };
        // Of these a zero is no limit for max_statement_time alone.
        let is_unlimited = name == "max_statement_time" && number == 0.0;
        if !is_unlimited && number <= guard {
            return Ok(Some(None));
        }
        let set = format!("SET SESSION {name}={guard}");
        let set = self.ask(set.as_bytes(), Expected::Done).await?;
        let guard = guard.to_string();
        Ok(set.map(|_| Some(Changed { name, own, guard })))
    }

    /// Whether every table of the statement is there, and of an engine with transactions.
    async fn can_undo(&mut self, sending: &Sending) -> Result<bool, End> {
        let schema = self.schema_of(sending);
        let actions = &sending.judged.judgement.actions;
        let tables: std::collections::BTreeSet<_> = actions
            .iter()
            .flat_map(|action| &action.tables)
            .filter_map(|table| {
                Some((
                    table.schema.clone().or_else(|| schema.clone())?,
                    table.name.clone(),
                ))
            })
            .collect();
        if tables.is_empty() {
            return Ok(false);
        }
        let conditions: Vec<_> = tables
            .iter()
            .map(|(schema, name)| {
                let (schema, name) = (facts::literal(schema), facts::literal(name));
                format!("(t.TABLE_SCHEMA={schema} AND t.TABLE_NAME={name})")
            })
            .collect();
        let question = format!(
            "SELECT CAST(CONVERT(COUNT(*) USING utf8mb4) AS BINARY) FROM information_schema.TABLES t \
             JOIN information_schema.ENGINES e ON e.ENGINE=t.ENGINE WHERE e.TRANSACTIONS='YES' AND ({}) LIMIT 1",
            conditions.join(" OR ")
        );
        let rows = self.ask(question.as_bytes(), Expected::Results).await?;
        let count = rows.as_ref().and_then(one_value);
        Ok(count == Some(tables.len().to_string()))
    }

    /// Decides what becomes of a statement that was run and is not kept yet.
    async fn keep_or_undo(
        &mut self,
        mut run: Run,
        place: Place,
        request: RequestId,
        guards: Guards,
    ) -> Result<(), End> {
        let over = match (guards.rows_max, run.rows) {
            _ if run.failure.is_some() => None,
            (Some(max), Some(rows)) if rows > max => Some(format!(
                "it would have affected {rows} rows, and its approval allows {max}"
            )),
            (Some(_), None) => Some("its rows could not be counted, and its approval limits them".to_owned()),
            (Some(_) | None, _) => None,
        };
        let is_kept = over.is_none() && run.failure.is_none();
        self.kept_back = match is_kept && place == Place::Own {
            true => KeptBack::Committing(Box::new(run.clone())),
            false => KeptBack::Undecided(Some(Box::new(run.clone()))),
        };
        let texts: &[&[u8]] = match (place, is_kept) {
            (Place::AsItIs, _) | (Place::Begins, true) => &[],
            (Place::Own, true) => &[COMMIT],
            (Place::Own | Place::Begins, false) => &[ROLLBACK],
            (Place::Within, true) => &[NO_SAVEPOINT],
            (Place::Within, false) if run.failure.is_some() => &[NO_SAVEPOINT],
            (Place::Within, false) => &[BACK_TO_SAVEPOINT, NO_SAVEPOINT],
        };
        let mut is_incomplete = false;
        let mut is_done = true;
        for text in texts {
            is_done &= self.ask(text, Expected::Done).await?.is_some();
            if over.is_some() && (*text == ROLLBACK || *text == BACK_TO_SAVEPOINT) {
                let warnings = self
                    .ask(b"SHOW WARNINGS", Expected::Results)
                    .await?
                    .unwrap_or_default();
                is_incomplete |= warnings
                    .iter()
                    .any(|row| row.get(1) == Some(&Some(NOT_UNDONE.to_vec())));
            }
        }
        if !is_done && run.failure.is_none() && !(is_kept && place == Place::Within) {
            let what = "a statement could not be committed or undone behind its run".to_owned();
            return Err(End::Violation(what));
        }
        if place == Place::Own && self.ask(AUTOCOMMIT_ON, Expected::Done).await?.is_none() {
            return Err(End::Violation(
                "autocommit could not be set back behind an approved statement".to_owned(),
            ));
        }
        if let Some(mut why) = over {
            if is_incomplete {
                why.push_str("; some of it could not be undone, for a table has no transactions");
            }
            let refusal = Refusal::TooManyRows { request, why };
            let (number, sqlstate) = refusal.mysql_error();
            let message = refusal.fields().message;
            if let Some(withheld) = self.relay.take_withheld() {
                self.put_error(number, sqlstate, &message, withheld.sequence);
            }
            self.thread.shared.metrics.count_refusal(refusal.code());
            run.failure = Some(Failure {
                number,
                sqlstate: sqlstate.to_owned(),
                message,
            });
        }
        // Questions that come now must not be taken for it.
        self.kept_back = KeptBack::Committing(Box::new(run));
        Ok(())
    }

    /// The end of an answer that was kept here goes out, with what the session's state is now.
    fn tell_withheld(&mut self) {
        if let Some(withheld) = self.relay.take_withheld() {
            let payload = withheld.with_status(self.status);
            self.pipe.tell(|out| {
                packet::put(out, withheld.sequence, &payload);
            });
        }
    }

    /// Sets variables back, unless the statement itself has changed them; or ends the session: nobody may go on under
    /// somebody else's limits.
    async fn restore(&mut self, changed: &[Changed]) -> Result<(), End> {
        for Changed { name, own, guard } in changed {
            let text = format!("SET SESSION {name}=IF(@@session.{name}={guard},{own},@@session.{name})");
            if self.ask(text.as_bytes(), Expected::Done).await?.is_none() {
                let what = format!("{name} could not be set back behind an approved statement");
                return Err(End::Violation(what));
            }
        }
        Ok(())
    }
}
