//! Who calls: the person of a bearer token, and what the token may be used for.
//! Never takes a password, a cookie or an agent's secret. Read `requests.rs` next.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::Rooms;
use super::problem::{Kind, Problem};
use crate::identity::directory::{Person, Scope, Scopes};
use crate::identity::secret::TokenHash;

/// The signed-in person behind a call.
pub struct Caller {
    pub person: Person,
    pub scopes: Scopes,
}

impl Caller {
    /// Whether the token reaches this far.
    pub fn needs(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.has(scope) {
            return Ok(());
        }
        Err(Problem::new(
            Kind::Forbidden,
            format!("this token of `{}` lacks the scope `{scope}`", self.person.name),
            "use a token of a person with a role that gives it; `GET /api/v1/me` says what this one has",
        ))
    }
}

impl FromRequestParts<Rooms> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, rooms: &Rooms) -> Result<Self, Problem> {
        let header = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let bearer = header.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let Some(token) = bearer else {
            return Err(unauthenticated("the call brings no bearer token"));
        };
        let Some(hash) = TokenHash::of(token) else {
            return Err(unauthenticated(
                "the text behind `Bearer` has not the shape of a token",
            ));
        };
        let found = rooms.desk.authenticate_token(hash).await;
        match found.map_err(|error| Problem::unavailable(&error))? {
            Some((person, scopes)) if person.active => Ok(Self { person, scopes }),
            Some(_) | None => Err(unauthenticated(
                "the token is unknown, has expired or was revoked",
            )),
        }
    }
}

fn unauthenticated(detail: &str) -> Problem {
    Problem::new(
        Kind::Unauthenticated,
        detail,
        "send `Authorization: Bearer TOKEN`; an administrator makes one with `countersign user token NAME`",
    )
}
