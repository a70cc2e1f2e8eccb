//! What people do with a request besides deciding it: view, comment, ask its agent, hand it on.
//! Never decides who may: `desk` does. Read `requests.rs` for the decision itself.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Rooms;
use super::browser::{Source, assurance};
use super::card::Card;
use super::idempotency::idempotency_key;
use super::login::Caller;
use super::problem::{Kind, Problem};
use super::read::{Body, Named, OptionalBody, request_id, unacceptable};
use super::requests::{channel_of, not_sure_problem};
use super::reveal::gone;
use crate::desk::{Act, ActError, ActKind};
use crate::hold::RequestId;
use crate::identity::assurance::Assurance;
use crate::identity::directory::Scope;
use crate::identity::principal::PersonName;

/// A comment beside a request.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommentBody {
    /// At most 2000 bytes; line breaks are kept. Reviewers and auditors read it, the agent does not.
    pub text: String,
}

/// A question to the agent.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuestionBody {
    /// One line of at most 240 bytes. The agent reads it.
    #[schema(example = "which ticket is this for?")]
    pub question: String,
}

/// Why it goes to the next group.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EscalationBody {
    /// One line of at most 2000 bytes, for those who decide next.
    pub reason: String,
}

/// Who approves instead.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DelegationBody {
    /// Somebody who may decide this request.
    #[schema(example = "dba-2")]
    pub to: String,
    /// One line of at most 2000 bytes, for that person.
    pub reason: String,
}

/// That the card was opened.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ViewBody {}

/// Puts a comment beside a request, decided or not. Approvers and administrators may, whatever their stake: it decides
/// nothing. The same key again gives the same answer again.
#[utoipa::path(
    post,
    path = "/requests/{id}/comments",
    tag = "requests",
    params(
        ("id" = String, Path, description = "six letters and digits"),
    ),
    request_body = CommentBody,
    responses((status = 200, body = Card)),
    security(("token" = []))
)]
pub async fn comment(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(id): Named,
    headers: HeaderMap,
    Body(body): Body<CommentBody>,
) -> Result<Json<Card>, Problem> {
    caller.needs(Scope::Read)?;
    act(
        &rooms,
        &caller,
        &headers,
        &id,
        ActKind::Comment { text: body.text },
    )
    .await
}

/// Asks the agent something before deciding. Its wait ends with the question as an error; it answers by sending the
/// identical statement again after `SET countersign.reply = '…'`. The request stays undecided.
#[utoipa::path(
    post,
    path = "/requests/{id}/questions",
    tag = "requests",
    params(
        ("id" = String, Path, description = "six letters and digits"),
    ),
    request_body = QuestionBody,
    responses((status = 200, body = Card)),
    security(("token" = []))
)]
pub async fn ask(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(id): Named,
    headers: HeaderMap,
    Body(body): Body<QuestionBody>,
) -> Result<Json<Card>, Problem> {
    caller.needs(Scope::Decide)?;
    let what = ActKind::Ask {
        question: body.question,
    };
    act(&rooms, &caller, &headers, &id, what).await
}

/// Hands the decision to the next group that the rule names (`escalate_to`), once: from now on its people approve, as many
/// as before; the first can still deny. There is as much time again.
#[utoipa::path(
    post,
    path = "/requests/{id}/escalations",
    tag = "requests",
    params(
        ("id" = String, Path, description = "six letters and digits"),
    ),
    request_body = EscalationBody,
    responses((status = 200, body = Card)),
    security(("token" = []))
)]
pub async fn escalate(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(id): Named,
    headers: HeaderMap,
    Body(body): Body<EscalationBody>,
) -> Result<Json<Card>, Problem> {
    caller.needs(Scope::Decide)?;
    let what = ActKind::Escalate { reason: body.reason };
    act(&rooms, &caller, &headers, &id, what).await
}

/// Names the person who approves instead of the caller, who no longer can. Only somebody who may decide this request
/// (promise 4) can be named; that person counts for the caller's groups, too.
#[utoipa::path(
    post,
    path = "/requests/{id}/delegations",
    tag = "requests",
    params(
        ("id" = String, Path, description = "six letters and digits"),
        ("countersign-code" = Option<String>, Header, description = "a one-time code, where a second factor is needed"),
    ),
    request_body = DelegationBody,
    responses((status = 200, body = Card)),
    security(("token" = []))
)]
pub async fn delegate(
    caller: Caller,
    source: Source,
    State(rooms): State<Rooms>,
    Named(id): Named,
    headers: HeaderMap,
    Body(body): Body<DelegationBody>,
) -> Result<Json<Card>, Problem> {
    caller.needs(Scope::Decide)?;
    let to = PersonName::parse(&body.to)
        .map_err(|_| unacceptable("to", &body.to, "write the name of a person who may decide it"))?;
    let what = ActKind::Delegate {
        to,
        reason: body.reason,
    };
    let assurance = assurance(&rooms, &caller, source, &headers).await?;
    let key = idempotency_key(&headers)?;
    act_over(&rooms, &caller, assurance, channel_of(&headers), key, &id, what).await
}

/// Records that the card was opened: once for each person and version, and again when a quarter of an hour has passed.
#[utoipa::path(
    post,
    path = "/requests/{id}/views",
    tag = "requests",
    params(("id" = String, Path, description = "six letters and digits")),
    request_body(content = Option<ViewBody>, content_type = "application/json"),
    responses((status = 200, body = Card)),
    security(("token" = []))
)]
pub async fn view(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(id): Named,
    headers: HeaderMap,
    OptionalBody(ViewBody {}): OptionalBody<ViewBody>,
) -> Result<Json<Card>, Problem> {
    caller.needs(Scope::Read)?;
    act(&rooms, &caller, &headers, &id, ActKind::View).await
}

/// What every act has in common.
pub async fn act(
    rooms: &Rooms,
    caller: &Caller,
    headers: &HeaderMap,
    id: &str,
    what: ActKind,
) -> Result<Json<Card>, Problem> {
    let key = idempotency_key(headers)?;
    act_over(
        rooms,
        caller,
        caller.assurance(),
        channel_of(headers),
        key,
        id,
        what,
    )
    .await
}

/// The same over a channel that the caller names; `key` makes what is sent twice count once.
pub async fn act_over(
    rooms: &Rooms,
    caller: &Caller,
    assurance: Assurance,
    channel: &str,
    key: Option<String>,
    id: &str,
    what: ActKind,
) -> Result<Json<Card>, Problem> {
    let id = request_id(id)?;
    let act = act_of(caller, assurance, channel, key, what);
    let held = rooms.desk.act(id, act).await;
    held.map(|held| Json(Card::of(&held)))
        .map_err(|error| act_problem(id, error))
}

/// What the desk is told of an act: `key` makes what is sent twice count once.
pub fn act_of(
    caller: &Caller,
    assurance: Assurance,
    channel: &str,
    key: Option<String>,
    what: ActKind,
) -> Act {
    Act {
        by: caller.person.name.clone(),
        token_seen_by: caller.token_seen_by.clone(),
        assurance,
        signed_in_at: caller.signed_in_at(),
        channel: channel.to_owned(),
        idempotency: key,
        what,
    }
}

pub fn act_problem(id: RequestId, error: ActError) -> Problem {
    let detail = error.to_string();
    match error {
        ActError::NotFound => Problem::not_found("request", &id.to_string()),
        ActError::NotUndecided(state) => Problem::new(
            Kind::AlreadyDecided,
            detail,
            format!("look at it: `countersign show {id}`"),
        )
        .with(|more| more.state = Some(state.to_string())),
        ActError::NotSure(why) => not_sure_problem(&why),
        ActError::NotPermitted(why) => Problem::new(Kind::NotPermitted, detail, why.next_step()),
        ActError::NothingWithheld => Problem::new(
            Kind::Conflict,
            detail,
            format!("look at it: `countersign show {id}`"),
        ),
        ActError::ValuesGone => gone(&detail),
        ActError::TextMissing => Problem::new(Kind::Unacceptable, detail, "write a text"),
        ActError::TextUnusable { max } => Problem::new(
            Kind::Unacceptable,
            detail,
            format!("write at most {max} bytes without control characters"),
        ),
        ActError::NobodyNext => Problem::new(
            Kind::Conflict,
            detail,
            "name the next group in the rule's `escalate_to`, or delegate it to a person",
        ),
        ActError::EscalatedAlready => Problem::new(
            Kind::Conflict,
            detail,
            "let those decide to whom it was escalated",
        ),
        ActError::CannotBeDelegate { .. } => Problem::new(
            Kind::Unacceptable,
            detail,
            "name somebody who may decide this request and has not spoken yet",
        ),
        ActError::TooMany { .. } => {
            Problem::new(Kind::Conflict, detail, "decide it, or go on talking elsewhere")
        }
        ActError::LogUnavailable | ActError::StoreUnavailable | ActError::Stopping => {
            Problem::unavailable(&detail)
        }
    }
}
