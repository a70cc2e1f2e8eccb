//! What the agent would read of a denial, before anybody says it. Never decides anything.
//! Read `requests.rs` for the denial itself.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Rooms;
use super::login::Caller;
use super::problem::Problem;
use super::read::{Body, Named, request_id};
use super::requests::{desk_problem, required_reason};
use crate::desk::DeskError;
use crate::hold::message::denied_by_person;
use crate::identity::directory::Scope;

/// A reason that is not said yet.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewBody {
    /// As a denial would have it.
    pub reason: String,
}

/// A denial as the agent reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    /// The whole message of the error: ASCII, at most 480 bytes.
    #[schema(example = "countersign: DENIED by dba-1 (7K3F9Q): billing reads it. Do not retry or rephrase.")]
    pub message: String,
    /// The reason is too long: its end is missing.
    pub is_cut: bool,
}

/// What the agent would be told if the caller denied the request for this reason: the very words, and nothing is decided.
#[utoipa::path(
    post,
    path = "/requests/{id}/preview",
    tag = "requests",
    params(("id" = String, Path, description = "six letters and digits")),
    request_body = PreviewBody,
    responses((status = 200, body = Preview)),
    security(("token" = []))
)]
pub async fn preview(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(id): Named,
    Body(body): Body<PreviewBody>,
) -> Result<Json<Preview>, Problem> {
    caller.needs(Scope::Decide)?;
    let id = request_id(&id)?;
    let reason = required_reason(&body.reason)?;
    rooms.desk.show(id).await.map_err(|error| match error {
        DeskError::NotFound => Problem::not_found("request", &id.to_string()),
        other => desk_problem(other),
    })?;
    let denial = denied_by_person(caller.person.name.as_str(), id, &reason);
    Ok(Json(Preview {
        message: denial.message,
        is_cut: denial.is_cut,
    }))
}
