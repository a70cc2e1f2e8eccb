//! The agents that are connected now: list, and end one. Never decides a request: what a session holds is withdrawn with it.
//! Read `requests.rs` for what they wait for.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Rooms;
use super::login::Caller;
use super::problem::{Problem, ProblemDocument};
use super::read::{Body, Named};
use super::requests::{Page, desk_problem, required_reason};
use crate::desk::{EndSessionError, LiveSession, RequestFilter};
use crate::hold::{HeldRequest, StateKind};
use crate::identity::directory::Scope;
use crate::identity::principal::SessionId;

/// More undecided requests than this are not looked through for those of one session.
const HELD_MAX: usize = 500;

/// A connection of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    #[schema(example = "9X2QKBSK2JSCF")]
    pub session: String,
    /// The agent's credential: verified.
    pub principal: String,
    pub owner: String,
    pub source: String,
    pub upstream: String,
    pub database: String,
    pub database_user: String,
    /// `postgres` or `mysql`.
    pub protocol: String,
    /// What the client calls itself: not verified.
    pub application_name: String,
    pub since: String,
    /// When a statement was last recorded.
    pub active_at: String,
    /// The request that its client waits for now, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

impl Session {
    fn of(live: &LiveSession, held: &[HeldRequest]) -> Self {
        let peer = &live.peer;
        let waits = held.iter().find(|held| held.peer.session == peer.session);
        Self {
            session: peer.session.to_string(),
            principal: peer.principal.to_string(),
            owner: peer.owner.to_string(),
            source: peer.source.to_string(),
            upstream: peer.upstream.clone(),
            database: peer.database.clone(),
            database_user: peer.database_user.clone(),
            protocol: live.protocol.to_owned(),
            application_name: live.application_name.clone(),
            since: live.since.to_string(),
            active_at: live.active_at.to_string(),
            held: waits.map(|held| held.id.to_string()),
        }
    }
}

/// Why a session is ended.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndSessionBody {
    /// One line; the agent reads it.
    pub reason: String,
}

/// The sessions that are connected to this process, longest first.
#[utoipa::path(
    get,
    path = "/sessions",
    tag = "sessions",
    responses(
        (status = 200, body = Page<Session>),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn list(caller: Caller, State(rooms): State<Rooms>) -> Result<Json<Page<Session>>, Problem> {
    Ok(Json(Page {
        items: live(&rooms, &caller).await?,
        next_cursor: None,
    }))
}

/// The same for a page.
pub async fn live(rooms: &Rooms, caller: &Caller) -> Result<Vec<Session>, Problem> {
    caller.needs(Scope::Read)?;
    let filter = RequestFilter {
        states: vec![StateKind::Pending],
        limit: HELD_MAX,
        ..RequestFilter::default()
    };
    let held = rooms.desk.list(filter).await.map_err(desk_problem)?.items;
    let sessions = rooms.desk.sessions().list();
    Ok(sessions.iter().map(|live| Session::of(live, &held)).collect())
}

/// Ends a session: its client is told that a person did, and why; what it waits for is withdrawn. Who may decide may do
/// it, whatever their stake: nothing runs by it.
#[utoipa::path(
    delete,
    path = "/sessions/{id}",
    tag = "sessions",
    params(("id" = String, Path, description = "thirteen letters and digits")),
    request_body = EndSessionBody,
    responses(
        (status = 200, body = Session),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn end(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(id): Named,
    Body(body): Body<EndSessionBody>,
) -> Result<Json<Session>, Problem> {
    end_by(&rooms, &caller, &id, &body.reason).await.map(Json)
}

/// The same for a page's form.
pub async fn end_by(rooms: &Rooms, caller: &Caller, id: &str, reason: &str) -> Result<Session, Problem> {
    caller.needs(Scope::Decide)?;
    let not_found = || Problem::not_found("session", id);
    let session = SessionId::parse(id).ok_or_else(not_found)?;
    let reason = required_reason(reason)?;
    let by = caller.person.name.clone();
    match rooms.desk.end_session(session, by, reason).await {
        Ok(live) => Ok(Session::of(&live, &[])),
        Err(EndSessionError::NotFound) => Err(not_found()),
        Err(EndSessionError::Desk(error)) => Err(desk_problem(error)),
    }
}
