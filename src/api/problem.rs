//! Every error of the API as a problem document (RFC 9457). Never tells an outsider a cause of ours: causes go to the
//! log, where they are handled. Read `login.rs` next.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A problem document (RFC 9457) with the members of this API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// `urn:countersign:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is wrong, the same words for every problem of this type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A word for programs: the end of `type`.
    pub code: String,
    /// What is wrong this time: a fact.
    pub detail: String,
    /// What the caller can do now.
    pub next_step: String,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// Of `already_decided`: who decided, oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<Vec<String>>,
    /// Of `already_decided` and `stale`: the state that the request is in now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Of `stale`: the version that the request has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Of `too_many_attempts`: when the next one counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

/// A problem on its way out; small, because every call may end in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(pub Box<ProblemDocument>);

/// The types of problem: status, code, title, and whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Malformed,
    Unauthenticated,
    CodeNeeded,
    TooManyAttempts,
    Forbidden,
    NotPermitted,
    CrossSite,
    StepUpNeeded,
    SecondFactorNeeded,
    NotFound,
    MethodNotAllowed,
    AlreadyDecided,
    Stale,
    Conflict,
    InProgress,
    AnsweredBefore,
    KeyReused,
    TooLarge,
    NotJson,
    Unacceptable,
    DigestRequired,
    ReasonRequired,
    TimedOut,
    Unavailable,
}

impl Kind {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed", "The call cannot be read"),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "No valid token"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The token lacks the role"),
            Self::NotPermitted => (
                StatusCode::FORBIDDEN,
                "not_permitted",
                "This person may not decide this",
            ),
            Self::CodeNeeded => (
                StatusCode::UNAUTHORIZED,
                "code_needed",
                "No code of a second factor",
            ),
            Self::TooManyAttempts => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_attempts",
                "Too many attempts",
            ),
            Self::StepUpNeeded => (
                StatusCode::FORBIDDEN,
                "step_up_needed",
                "A second factor is needed first",
            ),
            Self::SecondFactorNeeded => (
                StatusCode::FORBIDDEN,
                "second_factor_needed",
                "This person has no second factor",
            ),
            Self::CrossSite => (
                StatusCode::FORBIDDEN,
                "cross_site",
                "Not from a page of this address",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "Nothing by this name"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "No such method here",
            ),
            Self::AlreadyDecided => (StatusCode::CONFLICT, "already_decided", "Already decided"),
            Self::Stale => (StatusCode::CONFLICT, "stale", "Not what was shown"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "In the way of what is there"),
            Self::InProgress => (
                StatusCode::CONFLICT,
                "in_progress",
                "The same call is being answered",
            ),
            Self::AnsweredBefore => (
                StatusCode::CONFLICT,
                "answered_before",
                "Answered before, and shown once",
            ),
            Self::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "key_reused",
                "The key belongs to another call",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "The body is too large",
            ),
            Self::NotJson => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                "The body is not JSON",
            ),
            Self::Unacceptable => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "unacceptable",
                "A value cannot be used",
            ),
            Self::DigestRequired => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "digest_required",
                "An approval names what it approves",
            ),
            Self::ReasonRequired => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "reason_required",
                "A denial says why",
            ),
            Self::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timed_out", "Took too long"),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Log or store unavailable",
            ),
        }
    }
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>, next_step: impl Into<String>) -> Self {
        let (status, code, title) = kind.parts();
        Self(Box::new(ProblemDocument {
            kind: format!("urn:countersign:problem:{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            // It may repeat what the caller sent, and is printed on a terminal as one line.
            detail: detail.into().replace(char::is_control, " "),
            next_step: next_step.into(),
            retryable: matches!(
                status,
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
            ),
            decided_by: None,
            state: None,
            version: None,
            retry_after_seconds: None,
        }))
    }

    /// With the members that only some types have.
    #[must_use]
    pub fn with(mut self, add: impl FnOnce(&mut ProblemDocument)) -> Self {
        add(&mut self.0);
        self
    }

    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(
            Kind::Malformed,
            detail,
            "read /api/v1/openapi.json for the shape of this call",
        )
    }

    pub fn not_found(what: &str, name: &str) -> Self {
        Self::new(
            Kind::NotFound,
            format!("no {what} `{name}`"),
            format!("list the {what}s there are"),
        )
    }

    /// Something of ours is broken: the caller learns that, the log learns the cause.
    pub fn unavailable(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "an API call failed");
        Self::new(
            Kind::Unavailable,
            "the log or the store cannot be used",
            "try again; see /readyz and the log of serve",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.0.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"countersign\""),
            );
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_sent_is_repeated_on_one_line() {
        let problem = Problem::not_found("request", "a\r\nb\u{1b}[2J\0");
        assert_eq!(problem.0.detail, "no request `a  b [2J `");
    }
}
