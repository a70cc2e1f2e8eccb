//! Erasing the parameter values of one statement, for good: from the log and from the request that held it.
//! Never erases what is not on record as erased first, and never the record itself. Read `journal/erase.rs` next.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Rooms;
use super::browser::{Source, assurance, step_up_needed};
use super::login::Caller;
use super::problem::{Kind, Problem, ProblemDocument};
use super::read::{Body, Named};
use super::requests::{desk_problem, one_line_reason};
use super::trail::gone;
use crate::audit::RecordId;
use crate::clock::Timestamp;
use crate::desk::ForgetError;
use crate::hold::RequestId;
use crate::identity::assurance::STEP_UP_WITHIN;
use crate::identity::directory::Scope;
use crate::journal::JournalError;
use crate::journal::erase::NotErased;

/// Why values are to be erased.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EraseBody {
    /// For the log: whose wish or which duty it is.
    pub reason: String,
}

/// What was erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Erased {
    /// The attempt's record, which stays.
    pub record: String,
    /// How many parameter values it had.
    pub values: usize,
    /// The request that held it: its values are gone, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// Erase the parameter values of one statement. Its record stays, with what is proved of it; that it was done, by whom and
/// why, is a record itself, written first. Needs the role admin and, of whoever has one, the second factor.
#[utoipa::path(
    post,
    path = "/log/{id}/erase",
    tag = "log",
    params(
        ("id" = String, Path, description = "lane and number of the attempt's record, such as 0.42"),
        ("countersign-code" = Option<String>, Header, description = "a one-time code, where there is a second factor"),
    ),
    request_body = EraseBody,
    responses(
        (status = 200, body = Erased),
        (status = 403, description = "the token lacks the scope, or a second factor is needed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "its request is not over, or the record is not signed yet", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []), ("session" = []))
)]
pub async fn erase(
    caller: Caller,
    source: Source,
    headers: HeaderMap,
    State(rooms): State<Rooms>,
    Named(id): Named,
    Body(body): Body<EraseBody>,
) -> Result<Json<Erased>, Problem> {
    caller.needs(Scope::Manage)?;
    is_sure_enough(&rooms, &caller, source, &headers).await?;
    let reason = one_line_reason(&body.reason)?;
    if reason.is_empty() {
        return Err(Problem::new(
            Kind::ReasonRequired,
            "values are erased for a reason, and none is given",
            "say whose wish or which duty it is",
        ));
    }
    let record = RecordId::parse(&id).ok_or_else(|| Problem::not_found("record", &id))?;
    let journal = rooms.journal.clone();
    let found = apart(move || journal.erasable(record))
        .await?
        .map_err(|error| problem(&error, &id))?;
    let request = found.fields.request.as_deref().and_then(RequestId::parse);
    let values = found
        .fields
        .parameters
        .iter()
        .filter(|parameter| parameter.salt.is_some())
        .count();
    let by = caller.person.name.clone();
    let forgotten = rooms
        .desk
        .forget_values(request, by, record.to_string(), reason)
        .await;
    forgotten.map_err(|error| match error {
        ForgetError::NotOver => Problem::new(
            Kind::Conflict,
            "its request is not over: what waits is shown with its values",
            "decide it first, or wait until it has expired",
        ),
        ForgetError::Desk(error) => desk_problem(error),
    })?;
    let journal = rooms.journal.clone();
    apart(move || journal.erase(record))
        .await?
        .map_err(|error| problem(&error, &id))?;
    Ok(Json(Erased {
        record: record.to_string(),
        values,
        request: request.map(|request| request.to_string()),
    }))
}

/// Whoever has a second factor gives it: what is erased does not come back.
async fn is_sure_enough(
    rooms: &Rooms,
    caller: &Caller,
    source: Source,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let factors = rooms.desk.factors(caller.person.name.clone()).await;
    if !factors.map_err(desk_problem)?.has_second() {
        return Ok(());
    }
    let assurance = assurance(rooms, caller, source, headers).await?;
    match assurance.is_strong(STEP_UP_WITHIN, Timestamp::now()) {
        true => Ok(()),
        false => Err(step_up_needed(
            "values are erased with your second factor, given in the last 5 minutes",
        )),
    }
}

/// Reads and writes the disk apart from the thread that serves.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NotErased> + Send + 'static,
) -> Result<Result<T, NotErased>, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Problem::unavailable(&error))
}

fn problem(error: &NotErased, id: &str) -> Problem {
    match error {
        NotErased::Unknown(_) | NotErased::NoValues(_) => Problem::not_found("statement with values", id),
        NotErased::Unsigned(_) => Problem::new(Kind::Conflict, error.to_string(), error.next_step()),
        NotErased::Journal(error @ JournalError::Pruned { .. }) => gone(error),
        NotErased::Journal(error) => Problem::unavailable(error),
    }
}
