//! Who calls: the person of a bearer token or of a browser's session, and what that may be used for.
//! Never takes a password or an agent's secret. Read `browser.rs` for how a session begins, then `requests.rs`.
//!
//! A browser brings its cookie whoever's page made it call. So a call by cookie that changes something counts only if
//! it comes from a page of this very address and brings the session's CSRF token. Where both a bearer token and a cookie
//! come, the token counts and the cookie is not looked at: no page of another site can make a browser send a token.

use std::collections::BTreeSet;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;

use super::Rooms;
use super::browser::COOKIE_NAME;
use super::problem::{Kind, Problem};
use crate::clock::Timestamp;
use crate::identity::assurance::Assurance;
use crate::identity::directory::{Extent, Hands, Person, Scope, Scopes, SignedIn};
use crate::identity::principal::PersonName;
use crate::identity::secret::{CsrfToken, SessionHash, TokenHash};

/// The header in which a page's script sends the CSRF token.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// The signed-in person behind a call that may change something.
#[derive(Clone)]
pub struct Caller {
    pub person: Person,
    pub scopes: Scopes,
    pub extent: Extent,
    /// Everybody else who has seen what they came in by, and so may be the one who calls.
    pub token_seen_by: BTreeSet<PersonName>,
    /// Until when the token is good, or the one that the session was opened by.
    pub expires_at: Option<Timestamp>,
    pub via: Via,
}

/// What the call brings.
#[derive(Clone, Debug)]
pub enum Via {
    Token,
    Session(BrowserSession),
}

/// A browser's session, as one call of it shows it.
#[derive(Clone, Debug)]
pub struct BrowserSession {
    pub hash: SessionHash,
    pub csrf: CsrfToken,
    pub assurance: Assurance,
    pub made_at: Timestamp,
    /// When it ends, however busy it is.
    pub ends_at: Timestamp,
}

/// Who has sent a form. Nobody's word yet: a form carries its CSRF token in a field, so whoever has read the fields
/// asks with `check_csrf`, and gets the caller for it.
pub struct FormCaller(Caller);

impl FormCaller {
    /// `field` is what came as `_csrf`.
    pub fn check_csrf(self, field: &str) -> Result<Caller, Problem> {
        self.0.check_csrf(field)?;
        Ok(self.0)
    }
}

impl Caller {
    /// Whether the token reaches this far.
    pub fn needs(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.has(scope) {
            return Ok(());
        }
        Err(Problem::new(
            Kind::Forbidden,
            match self.via {
                Via::Token => format!("this token of `{}` lacks the scope `{scope}`", self.person.name),
                Via::Session(_) => {
                    format!("this session of `{}` lacks the scope `{scope}`", self.person.name)
                }
            },
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

    /// Whether the token may do all that the person's roles give, whatever those come to be.
    pub fn is_whole(&self) -> bool {
        match self.extent {
            Extent::Whole => true,
            Extent::Narrowed => false,
        }
    }

    /// Whether the token may end every token of its person: a narrowed one ends none that may do more.
    pub fn may_end_own_tokens(&self) -> Result<(), Problem> {
        if self.is_whole() {
            return Ok(());
        }
        self.needs(Scope::Manage)
    }
}

impl Caller {
    /// What this session's pages send back in `x-csrf-token` or in the field `_csrf`; `None` for a token's call.
    pub fn csrf(&self) -> Option<&str> {
        match &self.via {
            Via::Session(session) => Some(session.csrf.as_str()),
            Via::Token => None,
        }
    }

    /// When the session that calls began; `None` for a token's call.
    pub fn signed_in_at(&self) -> Option<Timestamp> {
        match &self.via {
            Via::Session(session) => Some(session.made_at),
            Via::Token => None,
        }
    }

    /// The browser's session that calls, if one does.
    pub fn session(&self) -> Option<SessionHash> {
        match &self.via {
            Via::Session(session) => Some(session.hash),
            Via::Token => None,
        }
    }

    /// A second factor was given in this very call.
    pub fn is_surer(&mut self, assurance: Assurance) {
        if let Via::Session(session) = &mut self.via {
            session.assurance = assurance;
        }
    }

    /// How surely it is the person.
    pub fn assurance(&self) -> Assurance {
        match &self.via {
            Via::Session(session) => session.assurance,
            Via::Token => Assurance::TOKEN,
        }
    }

    /// Whether a page of this session sent this; nothing is asked of a token's call.
    pub fn check_csrf(&self, given: &str) -> Result<(), Problem> {
        match &self.via {
            Via::Session(session) if !session.csrf.is(given) => Err(Problem::new(
                Kind::CrossSite,
                "the call by cookie brings no CSRF token, or not that of this session",
                "read the page again and send it once more; scripts send `x-csrf-token` as `GET /api/v1/session` gives it",
            )),
            Via::Session(_) | Via::Token => Ok(()),
        }
    }
}

impl FromRequestParts<Rooms> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, rooms: &Rooms) -> Result<Self, Problem> {
        let caller = found(parts, rooms).await?;
        if !parts.method.is_safe() {
            let given = parts.headers.get(CSRF_HEADER);
            let given = given.and_then(|value| value.to_str().ok()).unwrap_or_default();
            caller.check_csrf(given)?;
        }
        Ok(caller)
    }
}

impl FromRequestParts<Rooms> for FormCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, rooms: &Rooms) -> Result<Self, Problem> {
        found(parts, rooms).await.map(Self)
    }
}

/// Who calls, and from a page of ours if it is by cookie; the CSRF token is not looked at yet.
async fn found(parts: &Parts, rooms: &Rooms) -> Result<Caller, Problem> {
    if let Some(header) = parts.headers.get(AUTHORIZATION) {
        return of_token(header.to_str().unwrap_or_default(), rooms).await;
    }
    let Some(cookie) = session_cookie(&parts.headers) else {
        return Err(unauthenticated(
            "the call brings neither a bearer token nor the cookie of a session",
        ));
    };
    let caller = of_session(cookie, rooms).await?;
    if !parts.method.is_safe() {
        same_origin(&parts.headers, rooms)?;
    }
    Ok(caller)
}

async fn of_token(header: &str, rooms: &Rooms) -> Result<Caller, Problem> {
    let bearer = header
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, token)) = bearer else {
        return Err(unauthenticated("the call brings no bearer token"));
    };
    let Some(hash) = TokenHash::of(token.trim()) else {
        return Err(unauthenticated(
            "the text behind `Bearer` has not the shape of a token",
        ));
    };
    let found = rooms.desk.authenticate_token(hash).await;
    let found = found.map_err(|error| Problem::unavailable(&error))?;
    let found = found.filter(|found| found.person.active);
    let found = found.ok_or_else(|| unauthenticated("the token is unknown, has expired or was revoked"))?;
    Ok(Caller::of(found, Via::Token))
}

async fn of_session(cookie: &str, rooms: &Rooms) -> Result<Caller, Problem> {
    let over =
        || unauthenticated("the session is unknown, was ended or has been idle for too long; sign in again");
    let hash = SessionHash::of(cookie).ok_or_else(over)?;
    let found = rooms.desk.session(hash, rooms.sign_ins.settings.life).await;
    let found = found.map_err(|error| Problem::unavailable(&error))?;
    let (signed_in, session) = found.ok_or_else(over)?;
    let via = Via::Session(BrowserSession {
        hash,
        csrf: CsrfToken::of(cookie),
        assurance: session.assurance,
        made_at: session.made_at,
        ends_at: session.ends_at,
    });
    Ok(Caller::of(signed_in, via))
}

impl Caller {
    pub(super) fn of(found: SignedIn, via: Via) -> Self {
        Self {
            person: found.person,
            scopes: found.scopes,
            extent: found.extent,
            token_seen_by: found.token_seen_by,
            expires_at: found.expires_at,
            via,
        }
    }
}

/// What the one cookie of ours holds; `None` if there is none, or if there are two and nobody knows which is ours.
pub(super) fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    let mut ours = pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, value)| value);
    let cookie = ours.next();
    cookie.filter(|_| ours.next().is_none())
}

/// Whether a page of this very address makes the browser call. `Sec-Fetch-Site` is the browser's own word; browsers that
/// do not say it send `Origin` with whatever changes something.
pub fn same_origin(headers: &HeaderMap, rooms: &Rooms) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let mut sites = headers.get_all("sec-fetch-site").iter();
    let is_ours = match (sites.next(), sites.next()) {
        // No browser says two.
        (Some(_), Some(_)) => false,
        (Some(site), None) => site.as_bytes() == b"same-origin",
        (None, _) => match (text(ORIGIN.as_str()), text(HOST.as_str())) {
            (Some(origin), Some(host)) => {
                origin.split_once("://").is_some_and(|(_, ours)| ours == host)
                    || rooms.sign_ins.settings.origin.as_deref() == Some(origin)
            }
            (Some(_) | None, None) | (None, Some(_)) => false,
        },
    };
    if is_ours {
        return Ok(());
    }
    Err(Problem::new(
        Kind::CrossSite,
        "the call does not come from a page of this address",
        "call it from a page of Countersign, whose browser sends `Sec-Fetch-Site: same-origin` or `Origin`; tools use \
         a bearer token",
    ))
}

fn unauthenticated(detail: &str) -> Problem {
    Problem::new(
        Kind::Unauthenticated,
        detail,
        "send `Authorization: Bearer TOKEN`; an administrator makes one with `countersign user token NAME`",
    )
}
