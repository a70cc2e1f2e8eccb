//! Reads what a call brings: path, query and body, each to a value or a problem document. Never guesses: an unknown
//! parameter is an error, because a misspelt filter would show what was not asked for. Read `problem.rs` next.

use std::time::Duration;

use axum::body::{Bytes, HttpBody as _};
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Json, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::{Kind, Problem};
pub use crate::clock::parse_duration;

use crate::clock::Timestamp;
use crate::hold::{RequestId, StandingGrantId};
use crate::journal;

/// The query of a call.
pub struct Params<T>(pub T);

/// The JSON body of a call.
pub struct Body<T>(pub T);

/// The JSON body of a call that may come without one.
pub struct OptionalBody<T>(pub T);

/// The last name in the path.
pub struct Named(pub String);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|Query(value)| Self(value))
            .map_err(|rejection| Problem::malformed(one_line(&rejection)))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let whole = Bytes::from_request(Request::from_parts(parts.clone(), body), state).await;
        let bytes = whole.map_err(|rejection| body_problem(rejection.into()))?;
        let is_list = bytes.trim_ascii_start().starts_with(b"[");
        let request = Request::from_parts(parts, axum::body::Body::from(bytes));
        let Json(value) = Json::<T>::from_request(request, state)
            .await
            .map_err(body_problem)?;
        // serde would read a list as the members in their order.
        if is_list {
            return Err(Problem::malformed("the body is a list, not an object"));
        }
        Ok(Self(value))
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if request.body().is_end_stream() {
            return Ok(Self(T::default()));
        }
        Body::<Option<T>>::from_request(request, state)
            .await
            .map(|Body(value)| Self(value.unwrap_or_default()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name))
            .map_err(|rejection| Problem::malformed(one_line(&rejection)))
    }
}

fn body_problem(rejection: JsonRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Problem::new(
            Kind::TooLarge,
            format!("the body is longer than {} bytes", super::serve::BODY_BYTES_MAX),
            "send a shorter body",
        );
    }
    if rejection.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        return Problem::new(
            Kind::NotJson,
            "the call does not say that its body is JSON",
            "send `Content-Type: application/json`",
        );
    }
    Problem::malformed(one_line(&rejection))
}

/// The innermost cause: the outer words only say that something failed.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string().replace('\n', " ")
}

/// A request's id in the path.
pub fn request_id(text: &str) -> Result<RequestId, Problem> {
    RequestId::parse(text).ok_or_else(|| Problem::not_found("request", text))
}

/// A standing grant's id as a value that filters.
pub fn grant_filter(name: &str, text: &str) -> Result<StandingGrantId, Problem> {
    StandingGrantId::parse(text)
        .ok_or_else(|| unacceptable(name, text, "write `G-` and its six letters and digits"))
}

/// A value of the call that is of the right type but cannot be used.
pub fn unacceptable(name: &str, value: &str, next_step: impl Into<String>) -> Problem {
    Problem::new(
        Kind::Unacceptable,
        format!("`{name}` cannot be `{value}`"),
        next_step,
    )
}

/// `90`, `90s`, `30m`, `12h` or `7d`.
pub fn duration(name: &str, text: &str) -> Result<Duration, Problem> {
    parse_duration(text).ok_or_else(|| unacceptable(name, text, "write it as 90s, 30m, 12h or 7d"))
}

/// RFC 3339, a day, or how long ago.
pub fn moment(name: &str, text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    journal::query::moment(text, now).ok_or_else(|| {
        unacceptable(
            name,
            text,
            "write a time as 2026-11-22T13:00:00Z, a day as 2026-11-22, or how long ago: 30m, 7d",
        )
    })
}

/// One of a closed set of words.
pub fn word<'w>(name: &str, text: &str, words: &[&'w str]) -> Result<&'w str, Problem> {
    let known = words.iter().find(|known| **known == text);
    known
        .copied()
        .ok_or_else(|| unacceptable(name, text, format!("write one of: {}", words.join(", "))))
}
