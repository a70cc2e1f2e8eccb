//! Who calls: the person of a bearer token, and what the token may be used for.
//! Never takes a password, a cookie or an agent's secret. Read `requests.rs` next.

use std::collections::BTreeSet;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::Rooms;
use super::problem::{Kind, Problem};
use crate::clock::Timestamp;
use crate::identity::directory::{Hands, Person, Scope, Scopes, SignedIn};
use crate::identity::principal::PersonName;
use crate::identity::secret::TokenHash;

/// The signed-in person behind a call.
pub struct Caller {
    pub person: Person,
    pub scopes: Scopes,
    /// Everybody else who has seen the token, and so may be the one who calls.
    pub token_seen_by: BTreeSet<PersonName>,
    /// Until when the token is good.
    pub expires_at: Option<Timestamp>,
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

impl Caller {
    /// Whoever may be behind the call.
    pub fn hands(&self) -> Hands {
        Hands {
            person: self.person.name.clone(),
            token_seen_by: self.token_seen_by.clone(),
        }
    }

    /// Whether the token may do all that the person's roles give.
    pub fn is_whole(&self) -> bool {
        self.scopes == self.person.scopes()
    }

    /// Whether the token may end every token of its person: a narrowed one ends none that may do more.
    pub fn may_end_own_tokens(&self) -> Result<(), Problem> {
        if self.is_whole() {
            return Ok(());
        }
        self.needs(Scope::Manage)
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
            Some(SignedIn {
                person,
                scopes,
                token_seen_by,
                expires_at,
            }) if person.active => Ok(Self {
                person,
                scopes,
                token_seen_by,
                expires_at,
            }),
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
