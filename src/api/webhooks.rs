//! Webhooks: how each fares, try one, send again what was given up. They are made in the settings alone.
//! Never shows a secret. Read `../notify/outbox.rs` for what delivers.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Rooms;
use super::login::Caller;
use super::problem::{Kind, Problem, ProblemDocument};
use super::read::Named;
use super::requests::{Page, desk_problem};
use crate::identity::directory::Scope;
use crate::notify::{NotifyError, Sent, Status};

/// A way to tell programs what happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookShape {
    pub name: String,
    /// `webhook`, or the kind of another channel.
    pub kind: String,
    /// Where messages go, without what stands in the URL for the receiver alone.
    pub url: String,
    /// `request.held`, `request.*` …
    pub events: Vec<String>,
    /// `active`, `failing` or `disabled`.
    pub status: String,
    /// Messages that wait.
    pub waiting: u64,
    /// Messages that were given up and can be sent again.
    pub failed: u64,
    /// Events that found the queue full.
    pub dropped: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<String>,
    /// What went wrong last, if nothing was delivered since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<String>,
    /// When it answered 410 Gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<String>,
}

impl WebhookShape {
    fn of(status: Status) -> Self {
        let report = status.report;
        let word = match (&report.disabled_at, &report.last_error) {
            (Some(_), _) => "disabled",
            (None, Some(_)) => "failing",
            (None, None) => "active",
        };
        let (last_error_at, last_error) = report.last_error.unzip();
        Self {
            name: report.name,
            kind: status.kind.to_owned(),
            url: status.target,
            events: status.events,
            status: word.to_owned(),
            waiting: report.waiting,
            failed: report.failed,
            dropped: report.dropped,
            delivered_at: report.delivered_at.map(|at| at.to_string()),
            last_error,
            last_error_at: last_error_at.map(|at| at.to_string()),
            disabled_at: report.disabled_at.map(|at| at.to_string()),
        }
    }
}

/// What became of a message of no meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tried {
    pub delivered: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What is sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Replayed {
    pub messages: u64,
}

/// The webhooks of the settings, and how each fares.
#[utoipa::path(
    get,
    path = "/webhooks",
    tag = "webhooks",
    responses((status = 200, body = Page<WebhookShape>)),
    security(("token" = []))
)]
pub async fn list(caller: Caller, State(rooms): State<Rooms>) -> Result<Json<Page<WebhookShape>>, Problem> {
    caller.needs(Scope::Manage)?;
    let status = rooms.notifier.status().await.map_err(desk_problem)?;
    Ok(Json(Page {
        items: status.into_iter().map(WebhookShape::of).collect(),
        next_cursor: None,
    }))
}

/// Send a `webhook.test` at once, past the queue, and say what became of it.
#[utoipa::path(
    post,
    path = "/webhooks/{name}/test",
    tag = "webhooks",
    params(("name" = String, Path, description = "as the settings name it")),
    responses(
        (status = 200, body = Tried),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn test(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(name): Named,
) -> Result<Json<Tried>, Problem> {
    caller.needs(Scope::Manage)?;
    let sent = rooms.notifier.test(&name).await.map_err(problem)?;
    let error = match sent {
        Sent::Delivered => None,
        Sent::Failed { why, .. } => Some(why),
        Sent::Gone => Some("it answered 410 Gone".to_owned()),
    };
    Ok(Json(Tried {
        delivered: error.is_none(),
        error,
    }))
}

/// Put a disabled webhook in use again, and send all that waits or was given up: now, under the same ids.
#[utoipa::path(
    post,
    path = "/webhooks/{name}/replay",
    tag = "webhooks",
    params(("name" = String, Path, description = "as the settings name it")),
    responses(
        (status = 200, body = Replayed),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn replay(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(name): Named,
) -> Result<Json<Replayed>, Problem> {
    caller.needs(Scope::Manage)?;
    let replayed = rooms.notifier.replay(&name, caller.person.name.as_str()).await;
    Ok(Json(Replayed {
        messages: replayed.map_err(problem)?,
    }))
}

fn problem(error: NotifyError) -> Problem {
    match error {
        NotifyError::Unknown(name) => Problem::new(
            Kind::NotFound,
            format!("no webhook `{name}`"),
            "list the webhooks there are; they are made in the settings, as [[webhooks]]",
        ),
        NotifyError::Desk(error) => desk_problem(error),
    }
}
