//! Reviews of what one person approved alone: listed, and signed by somebody else.
//! Never decides who may sign: `desk` does. Read `break_glass.rs` for what begins one.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Rooms;
use super::idempotency::idempotency_key;
use super::login::Caller;
use super::problem::{Kind, Problem};
use super::read::{Body, Named, Params, request_id, word};
use super::requests::{Page, channel_of, limit};
use super::whole::maybe_whole;
use crate::desk::{ReviewError, ReviewFilter, SignReview};
use crate::hold::{Finding, RequestId, Review};
use crate::identity::directory::Scope;

/// Reviews on one page.
const PAGE_MAX: usize = 500;

/// The review of a request that one person approved alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReviewShape {
    #[schema(example = "7K3F9Q")]
    pub request: String,
    /// `open` or `signed`.
    pub state: String,
    /// Who approved alone.
    pub broken_by: String,
    /// What that person gave as the reason.
    pub reason: String,
    pub opened_at: String,
    /// Who looked at it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// `fine` or `not_fine`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
    /// What was found, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// `api`, `cli` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_at: Option<String>,
}

impl ReviewShape {
    pub fn of(review: &Review) -> Self {
        let signed = review.signed.as_ref();
        Self {
            request: review.request.to_string(),
            state: if signed.is_some() { "signed" } else { "open" }.to_owned(),
            broken_by: review.broken_by.to_string(),
            reason: review.reason.clone(),
            opened_at: review.opened_at.to_string(),
            signed_by: signed.map(|signed| signed.by.to_string()),
            finding: signed.map(|signed| signed.finding.to_string()),
            text: signed.map(|signed| signed.text.clone()),
            channel: signed.map(|signed| signed.channel.clone()),
            signed_at: signed.map(|signed| signed.at.to_string()),
        }
    }
}

/// Which reviews.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReviewsQuery {
    /// `open`, `signed` or `all`; `open` without it.
    state: Option<String>,
    /// Reviews on one page, 1 to 500; 50 without it.
    #[param(minimum = 1, maximum = 500)]
    #[serde(default, deserialize_with = "maybe_whole")]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Reviews, newest first.
#[utoipa::path(
    get,
    path = "/reviews",
    tag = "requests",
    params(ReviewsQuery),
    responses((status = 200, body = Page<ReviewShape>)),
    security(("token" = []))
)]
pub async fn list(
    caller: Caller,
    State(rooms): State<Rooms>,
    Params(query): Params<ReviewsQuery>,
) -> Result<Json<Page<ReviewShape>>, Problem> {
    caller.needs(Scope::Read)?;
    let state = query.state.as_deref().unwrap_or("open");
    let filter = ReviewFilter {
        is_open: match word("state", state, &["open", "signed", "all"])? {
            "open" => Some(true),
            "signed" => Some(false),
            _all => None,
        },
        limit: limit(query.limit, 50, PAGE_MAX)?,
        cursor: query.cursor,
    };
    let page = rooms.desk.reviews(filter).await.map_err(list_problem)?;
    Ok(Json(Page {
        items: page.items.iter().map(ReviewShape::of).collect(),
        next_cursor: page.next_cursor,
    }))
}

/// What was found.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewBody {
    /// `fine` or `not_fine`.
    #[schema(example = "fine")]
    pub finding: String,
    /// Why, in one line of at most 2000 bytes.
    pub text: String,
}

/// Sign the review of a request that one person approved alone: once, and by somebody else. Auditors, administrators and
/// approvers of the rule's groups may, if they have no stake in the request and have not approved it.
#[utoipa::path(
    post,
    path = "/requests/{id}/review",
    tag = "requests",
    params(
        ("id" = String, Path, description = "six letters and digits"),
    ),
    request_body = ReviewBody,
    responses((status = 200, body = ReviewShape)),
    security(("token" = []))
)]
pub async fn sign(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(id): Named,
    headers: HeaderMap,
    Body(body): Body<ReviewBody>,
) -> Result<Json<ReviewShape>, Problem> {
    let key = idempotency_key(&headers)?;
    sign_over(&rooms, &caller, channel_of(&headers), key, &id, body).await
}

/// The same over a channel that the caller names; `key` makes what is sent twice count once.
pub async fn sign_over(
    rooms: &Rooms,
    caller: &Caller,
    channel: &str,
    key: Option<String>,
    id: &str,
    body: ReviewBody,
) -> Result<Json<ReviewShape>, Problem> {
    // Auditors sign by the one, approvers by the other.
    if !caller.scopes.has(Scope::Log) {
        caller.needs(Scope::Decide)?;
    }
    let id = request_id(id)?;
    let finding = word("finding", &body.finding, &["fine", "not_fine"])?;
    let sign = SignReview {
        by: caller.person.name.clone(),
        token_seen_by: caller.token_seen_by.clone(),
        finding: match finding {
            "fine" => Finding::Fine,
            _not_fine => Finding::NotFine,
        },
        text: body.text,
        channel: channel.to_owned(),
        idempotency: key,
    };
    let review = rooms.desk.sign_review(id, sign).await;
    review
        .map(|review| Json(ReviewShape::of(&review)))
        .map_err(|error| review_problem(id, error))
}

fn list_problem(error: ReviewError) -> Problem {
    match error {
        ReviewError::BadCursor => Problem::new(
            Kind::Unacceptable,
            error.to_string(),
            "begin again without a cursor",
        ),
        other => Problem::unavailable(&other),
    }
}

fn review_problem(id: RequestId, error: ReviewError) -> Problem {
    let detail = error.to_string();
    match error {
        ReviewError::NotFound => Problem::not_found("request", &id.to_string()),
        ReviewError::NoReview => Problem::new(
            Kind::NotFound,
            detail,
            "list the reviews there are: `countersign review list`",
        ),
        ReviewError::SignedAlready { .. } => Problem::new(
            Kind::Conflict,
            detail,
            format!("look at it: `countersign show {id}`; a comment adds to it"),
        ),
        ReviewError::NotPermitted(why) => Problem::new(
            Kind::NotPermitted,
            detail,
            format!("let somebody else sign the review; {}", why.next_step()),
        ),
        ReviewError::NotAnother { .. } | ReviewError::NotAReviewer { .. } => Problem::new(
            Kind::NotPermitted,
            detail,
            "let an auditor, an administrator or an approver of the rule's groups sign it who had no part in it",
        ),
        ReviewError::TextMissing => {
            Problem::new(Kind::ReasonRequired, detail, "say in `text` what you found")
        }
        ReviewError::TextUnusable { max } => Problem::new(
            Kind::Unacceptable,
            detail,
            format!("write one line of at most {max} bytes without control characters"),
        ),
        ReviewError::BadCursor
        | ReviewError::LogUnavailable
        | ReviewError::StoreUnavailable
        | ReviewError::Stopping => Problem::unavailable(&detail),
    }
}
