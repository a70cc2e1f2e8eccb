//! Chats that people answer by: linking an account, and the answers themselves. Never trusts an answer for where it came
//! from: its channel proves that, and the desk decides who may. Read `../notify/answer.rs` next.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Rooms;
use super::login::Caller;
use super::people::{manage_problem, person_name};
use super::problem::{Kind, Problem, ProblemDocument};
use super::read::Named;
use super::requests::{Page, decide_problem, desk_problem};
use super::serve::BODY_BYTES_MAX;
use crate::clock::Timestamp;
use crate::desk::LinkInfo;
use crate::identity::directory::Scope;
use crate::identity::principal::PersonName;
use crate::notify::{AnswerError, NotAnAnswer, Taken, take_answer};

/// A code to send from the account that is to be linked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkCode {
    pub code: String,
    pub expires_at: String,
}

/// An account of a chat that speaks for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkedAccount {
    pub id: String,
    /// As the settings name it.
    pub channel: String,
    /// As the chat's service calls it.
    pub account: String,
    pub linked_at: String,
    /// Who else had seen the token by which it was linked, and so may be the one who speaks.
    pub seen_by: Vec<String>,
}

impl LinkedAccount {
    pub fn of(link: &LinkInfo) -> Self {
        Self {
            id: link.id.clone(),
            channel: link.channel.clone(),
            account: link.account.clone(),
            linked_at: link.linked_at.to_string(),
            seen_by: link.seen_by.iter().map(ToString::to_string).collect(),
        }
    }
}

/// How many accounts speak for a person no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unlinked {
    pub person: String,
    pub unlinked: usize,
}

/// What came of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnswerTaken {
    /// The request that was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Whose the account is from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linked: Option<String>,
}

/// Make a code that links an account of a chat to the person of the call: whoever sends it there is them from then on. It
/// is shown this once, is good for ten minutes and is used once. A token that does less than its person may makes none.
#[utoipa::path(
    post,
    path = "/me/links",
    tag = "people",
    responses(
        (status = 201, body = LinkCode),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn link(
    caller: Caller,
    State(rooms): State<Rooms>,
) -> Result<(axum::http::StatusCode, Json<LinkCode>), Problem> {
    caller.needs(Scope::Decide)?;
    if !caller.is_whole() {
        return Err(Problem::new(
            Kind::Forbidden,
            "this may do less than its person, and so links no account that could decide for the person",
            "sign in with all that your roles give",
        ));
    }
    let (code, expires_at) = rooms.desk.link_code(caller.hands()).await.map_err(desk_problem)?;
    let made = LinkCode {
        code,
        expires_at: expires_at.to_string(),
    };
    Ok((axum::http::StatusCode::CREATED, Json(made)))
}

/// The accounts of chats that speak for the caller.
#[utoipa::path(
    get,
    path = "/me/links",
    tag = "people",
    responses((status = 200, body = Page<LinkedAccount>)),
    security(("token" = []))
)]
pub async fn list_links(
    caller: Caller,
    State(rooms): State<Rooms>,
) -> Result<Json<Page<LinkedAccount>>, Problem> {
    links_of(&rooms, caller.person.name).await.map(Json)
}

async fn links_of(rooms: &Rooms, person: PersonName) -> Result<Page<LinkedAccount>, Problem> {
    let links = rooms.desk.links(person).await.map_err(desk_problem)?;
    Ok(Page {
        items: links.iter().map(LinkedAccount::of).collect(),
        next_cursor: None,
    })
}

/// Unlink an account of the caller's: it speaks for them no longer.
#[utoipa::path(
    delete,
    path = "/me/links/{id}",
    tag = "people",
    params(("id" = String, Path, description = "as `GET /api/v1/me/links` gives it")),
    responses((status = 200, body = Unlinked)),
    security(("token" = []))
)]
pub async fn unlink(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(id): Named,
) -> Result<Json<Unlinked>, Problem> {
    caller.may_end_own_tokens()?;
    let person = caller.person.name;
    let unlinked = rooms
        .desk
        .unlink(person.clone(), Some(id.clone()), person.clone())
        .await
        .map_err(manage_problem)?;
    if unlinked == 0 {
        return Err(Problem::not_found("link", &id));
    }
    Ok(Json(Unlinked {
        person: person.to_string(),
        unlinked,
    }))
}

/// The accounts of chats that speak for a person.
#[utoipa::path(
    get,
    path = "/users/{name}/links",
    tag = "people",
    params(("name" = String, Path, description = "the person")),
    responses((status = 200, body = Page<LinkedAccount>)),
    security(("token" = []))
)]
pub async fn list_links_of(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(name): Named,
) -> Result<Json<Page<LinkedAccount>>, Problem> {
    caller.needs(Scope::Manage)?;
    links_of(&rooms, person_name("name", &name)?).await.map(Json)
}

/// Unlink every account of a person, and every code that would link one.
#[utoipa::path(
    delete,
    path = "/users/{name}/links",
    tag = "people",
    params(("name" = String, Path, description = "the person")),
    responses((status = 200, body = Unlinked)),
    security(("token" = []))
)]
pub async fn unlink_all(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(name): Named,
) -> Result<Json<Unlinked>, Problem> {
    caller.needs(Scope::Manage)?;
    let person = person_name("name", &name)?;
    let unlinked = rooms.desk.unlink(person, None, caller.person.name).await;
    Ok(Json(Unlinked {
        person: name,
        unlinked: unlinked.map_err(manage_problem)?,
    }))
}

/// What a chat's service sends when somebody answers there. It is signed as the channel says; it needs no token.
#[utoipa::path(
    post,
    path = "/channels/{name}/answers",
    tag = "webhooks",
    params(("name" = String, Path, description = "as the settings name it")),
    request_body(content = serde_json::Value, description = "as the chat's service writes it"),
    responses(
        (status = 200, body = AnswerTaken),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub async fn answer(
    State(rooms): State<Rooms>,
    Named(name): Named,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Json<AnswerTaken>, Problem> {
    let channel = rooms.notifier.channel(&name).ok_or_else(unproven)?;
    let answer = channel.read_answer(&headers, &body, Timestamp::now());
    let answer = answer.map_err(|error| match error {
        NotAnAnswer::OneWay | NotAnAnswer::Forged | NotAnAnswer::NotNow => unproven(),
        NotAnAnswer::Unreadable(_) => Problem::malformed(error.to_string()),
    })?;
    let taken = take_answer(&rooms.desk, channel.name(), answer).await;
    Ok(Json(match taken.map_err(problem)? {
        Taken::Decided(held) => AnswerTaken {
            request: Some(held.id.to_string()),
            state: Some(held.state.kind().to_string()),
            linked: None,
        },
        Taken::Linked(person) => AnswerTaken {
            request: None,
            state: None,
            linked: Some(person.to_string()),
        },
    }))
}

/// The body as it came: a signature is over its bytes.
pub struct Raw(Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await;
        bytes.map(Self).map_err(|_| {
            let detail = format!("the body is longer than {BODY_BYTES_MAX} bytes, or has not come whole");
            Problem::new(Kind::TooLarge, detail, "send a shorter body")
        })
    }
}

/// The same words whether there is no such channel, it takes no answers, or it was somebody else.
fn unproven() -> Problem {
    Problem::new(
        Kind::Unauthenticated,
        "the answer is not proven to come from a channel of the settings",
        "look at the secret that the channel's service signs with",
    )
}

fn problem(error: AnswerError) -> Problem {
    let detail = error.to_string();
    match error {
        AnswerError::NotLinked => Problem::new(
            Kind::NotPermitted,
            detail,
            "link it: POST /api/v1/me/links gives a code; send that from the account",
        ),
        AnswerError::BadCode => Problem::new(
            Kind::Unacceptable,
            detail,
            "make another with POST /api/v1/me/links",
        ),
        AnswerError::DigestMissing => Problem::new(
            Kind::DigestRequired,
            detail,
            "send the digest that the message carried",
        ),
        AnswerError::Decide { request, error } => decide_problem(request, error),
        AnswerError::Desk(error) => desk_problem(error),
    }
}
