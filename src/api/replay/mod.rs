//! Rules that are not in force yet, put to the statements of the log: what they would have let pass, held or denied.
//! Never changes what is in force, and never reads longer than `REPLAY_TIME_MAX`. Read `report.rs` next.
//!
//! Why here and not on the command line: page, API and `policy replay` shall count the same.

pub mod again;
pub mod report;
pub mod session;

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::Rooms;
use super::login::Caller;
use super::problem::{Kind as ProblemKind, Problem, ProblemDocument};
use super::read::{Body, moment};
use super::trail::record_look;
use crate::audit::{Kind, Record};
use crate::clock::Timestamp;
use crate::identity::directory::Scope;
use crate::identity::principal::SessionId;
use crate::journal::{JournalError, LogFilter, Order, Reader};
use crate::policy::RuleSet;
use crate::sql::parse::PARSER_STACK_BYTES;
use report::{Replay, Report};

/// Judging goes on for so long, well within the time that a call may take; it has one core to itself meanwhile.
const REPLAY_TIME_MAX: Duration = Duration::from_secs(10);
/// Records read for one replay: what is told apart of them stays within some megabytes.
const REPLAY_RECORDS_MAX: u64 = 500_000;

/// One at a time: it keeps a core busy that wire threads may want.
static TURN: Semaphore = Semaphore::const_new(1);

/// Rules to try.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayCall {
    /// The text of a rule file.
    pub rules: String,
    /// From this moment on: RFC 3339, or how long ago (`30m`, `7d`, the default).
    #[serde(default = "since_default")]
    pub since: String,
    /// Up to this moment, without it.
    #[serde(default)]
    pub until: Option<String>,
}

fn since_default() -> String {
    "7d".to_owned()
}

/// What changed rules would have done with the statements of the log, oldest first, for at most 10 s and 500,000
/// records; `judged_to` says how far it came where that was not enough. Nothing changes. The look is recorded.
#[utoipa::path(
    post,
    path = "/rules/replay",
    tag = "rules",
    request_body = ReplayCall,
    responses(
        (status = 200, body = Report),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn replay(
    caller: Caller,
    State(rooms): State<Rooms>,
    Body(call): Body<ReplayCall>,
) -> Result<Json<Report>, Problem> {
    replayed(&caller, &rooms, call).await.map(Json)
}

/// The same for a page.
pub async fn replayed(caller: &Caller, rooms: &Rooms, call: ReplayCall) -> Result<Report, Problem> {
    caller.needs(Scope::Log)?;
    let now = Timestamp::now();
    let rules = RuleSet::parse(&call.rules, "the rules").map_err(|error| {
        Problem::new(
            ProblemKind::Unacceptable,
            error.to_string(),
            error.next_step.clone(),
        )
    })?;
    let until = call.until.as_deref().map(|text| moment("until", text, now));
    let filter = LogFilter {
        since: Some(moment("since", &call.since, now)?),
        until: until.transpose()?,
        order: Order::OldestFirst,
        ..LogFilter::default()
    };
    let turn = TURN.try_acquire().map_err(|_| {
        Problem::new(
            ProblemKind::Conflict,
            "somebody else's replay runs".to_owned(),
            "try again in some seconds",
        )
    })?;
    record_look(caller, rooms, format!("replay since:{}", call.since)).await?;
    let reader = rooms.reader.clone();
    let judging = move || judge(&reader, &filter, rules, &call);
    let joined = tokio::task::spawn_blocking(move || {
        let thread = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES);
        thread.spawn(judging).map(std::thread::JoinHandle::join)
    });
    let judged = joined.await;
    drop(turn);
    match judged {
        Ok(Ok(Ok(Ok(report)))) => Ok(report),
        Ok(Ok(Ok(Err(error)))) => Err(Problem::unavailable(&error)),
        Ok(Ok(Err(_))) => Err(Problem::unavailable(&"the judging thread failed")),
        Ok(Err(error)) => Err(Problem::unavailable(&error)),
        Err(error) => Err(Problem::unavailable(&error)),
    }
}

/// Reads the log and judges on a thread with a stack for the readers.
fn judge(
    reader: &Reader,
    filter: &LogFilter,
    rules: RuleSet,
    call: &ReplayCall,
) -> Result<Report, JournalError> {
    let start = Instant::now();
    let mut replay = Replay::of(rules);
    let (mut records, mut last, mut failed) = (0, None, None);
    let is_over = || start.elapsed() >= REPLAY_TIME_MAX;
    let mut is_cut = false;
    reader.each(filter, is_over, |record| {
        if is_over() || records == REPLAY_RECORDS_MAX {
            is_cut = true;
            return false;
        }
        records += 1;
        last = Some(record.time);
        match take(reader, &mut replay, &record) {
            Ok(()) => true,
            Err(error) => {
                failed = Some(error);
                false
            }
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let is_whole = !is_cut && !is_over();
    Ok(Report {
        judged_to: last.filter(|_| !is_whole).map(|to| to.to_string()),
        ..replay.report(&call.since, call.until.as_deref())
    })
}

fn take(reader: &Reader, replay: &mut Replay, record: &Record) -> Result<(), JournalError> {
    let told = serde_json::to_value(record).expect("a record is a map with text keys");
    if let Some(session) = replay.lacks_start(&told) {
        let start = match SessionId::parse(&session) {
            Some(id) => start_of(reader, id)?,
            None => None,
        };
        let start = start.map(|start| serde_json::to_value(start).expect("a record is a map with text keys"));
        replay.sessions.begin(&session, start);
    }
    replay.take(told);
    Ok(())
}

/// The record of a session's start, from before the part that is read.
fn start_of(reader: &Reader, session: SessionId) -> Result<Option<Record>, JournalError> {
    let filter = LogFilter {
        session: Some(session),
        kind: Some(Kind::SessionStart),
        limit: 1,
        ..LogFilter::default()
    };
    Ok(reader.query(&filter)?.records.into_iter().next())
}
