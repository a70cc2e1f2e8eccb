//! Signing in with a browser and out again: what is given is checked, a session begins, its cookie is sent once.
//! Never decides what a session may do: that is `login.rs`, at each call. Read `store/sessions.rs` for how one ends.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Rooms;
use super::login::{Caller, Via, same_origin, session_cookie};
use super::problem::{Kind, Problem, ProblemDocument};
use super::read::Body;
use super::requests::desk_problem;
use crate::desk::{SignInError, TurnedAway};
use crate::identity::assurance::Method;
use crate::identity::secret::{CsrfToken, SessionHash, TokenHash};
use crate::store::{OpenedBy, OpenedSession, SessionLife, Whence};

/// The prefix makes browsers take it over TLS alone (or from this very machine), for this host alone, and from no
/// other.
pub const COOKIE_NAME: &str = "__Host-countersign";

/// Without a call for so long, a session is over.
pub const IDLE_DEFAULT: Duration = Duration::from_secs(30 * 60);

/// After so long a session is over however busy it is: a working day with its edges.
pub const WHOLE_LIFE: Duration = Duration::from_secs(12 * 3600);

/// How people sign in: the API's part of `[people]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub life: SessionLife,
    /// Where browsers reach the pages, if that differs from the host that they name: `https://countersign.example.org`.
    pub origin: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            life: SessionLife {
                idle: IDLE_DEFAULT,
                whole: WHOLE_LIFE,
            },
            origin: None,
        }
    }
}

/// What signing in works with.
#[derive(Default)]
pub struct SignIns {
    pub settings: Settings,
}

impl SignIns {
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

/// The address that a call comes from: the last hop's, for what a header says of others anybody may write.
#[derive(Clone, Copy, Debug)]
pub struct Source(pub IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Source {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Ok(Self(address.map_or(unknown, |ConnectInfo(address)| address.ip())))
    }
}

/// What somebody signs in by.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInBody {
    /// A token, as `countersign user token` printed it.
    pub token: String,
}

/// Who is signed in, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionShape {
    pub person: String,
    /// `approver`, `auditor`, `admin`.
    pub roles: Vec<String>,
    /// Groups that rules name.
    pub groups: Vec<String>,
    /// What the session may be used for: `read`, `decide`, `log`, `manage`.
    pub scopes: Vec<String>,
    /// Who else has seen what it was opened by: it decides nothing in which one of them has a stake.
    pub token_seen_by: Vec<String>,
    /// `token`, `password`, `totp` or `passkey`.
    pub method: String,
    /// When a second factor was given last, if one was.
    pub strong_at: Option<String>,
    /// What is still to be done.
    pub needs: Vec<String>,
    /// When the session ends, however busy it is; null for a call by a token.
    pub ends_at: Option<String>,
    /// What `x-csrf-token`, or a form's `_csrf`, must hold in whatever changes something; null for a call by a token.
    pub csrf: Option<String>,
}

impl SessionShape {
    pub fn of(caller: &Caller) -> Self {
        let assurance = caller.assurance();
        let ends_at = match &caller.via {
            Via::Session(session) => Some(session.ends_at.to_string()),
            Via::Token => None,
        };
        Self {
            person: caller.person.name.to_string(),
            roles: caller.person.roles.iter().map(ToString::to_string).collect(),
            groups: caller.person.groups.iter().cloned().collect(),
            scopes: caller.scopes.iter().map(|scope| scope.to_string()).collect(),
            token_seen_by: caller.token_seen_by.iter().map(ToString::to_string).collect(),
            method: assurance.method.to_string(),
            strong_at: assurance.strong_at.map(|at| at.to_string()),
            needs: Vec::new(),
            ends_at,
            csrf: caller.csrf().map(str::to_owned),
        }
    }
}

/// A session that has begun: what is told of it, and the header that gives the browser its cookie.
pub struct SignedIn {
    pub session: SessionShape,
    pub set_cookie: HeaderValue,
}

impl SignedIn {
    fn of(opened: OpenedSession) -> Self {
        let cookie = opened.cookie.reveal();
        let set_cookie = set_cookie(cookie, opened.session.ends_at.since(opened.session.made_at));
        let via = Via::Session(super::login::BrowserSession {
            hash: opened.session.hash,
            csrf: CsrfToken::of(cookie),
            assurance: opened.session.assurance,
            made_at: opened.session.made_at,
            ends_at: opened.session.ends_at,
        });
        let caller = Caller::of(opened.signed_in, via);
        Self {
            session: SessionShape::of(&caller),
            set_cookie,
        }
    }
}

/// Signs somebody in, wherever the words come from: the route below, or a page's form. Another session that the browser
/// brings along ends: a cookie that somebody else has put there is worth nothing afterwards.
pub async fn sign_in(
    rooms: &Rooms,
    headers: &HeaderMap,
    source: Source,
    given: SignInBody,
) -> Result<SignedIn, Problem> {
    same_origin(headers, rooms)?;
    let whence = Whence { source: source.0 };
    let life = rooms.sign_ins.settings.life;
    let opened = match TokenHash::of(given.token.trim()) {
        Some(hash) => {
            rooms
                .desk
                .session_open(OpenedBy::Token(hash), whence.clone(), life)
                .await
        }
        None => Err(SignInError::Refused),
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(SignInError::Refused) => return Err(turned_away(rooms, whence).await),
        Err(SignInError::Desk(error)) => return Err(desk_problem(error)),
    };
    if let Some(old) = session_cookie(headers).and_then(SessionHash::of) {
        rooms
            .desk
            .session_close(old, whence)
            .await
            .map_err(desk_problem)?;
    }
    Ok(SignedIn::of(opened))
}

async fn turned_away(rooms: &Rooms, whence: Whence) -> Problem {
    let away = TurnedAway {
        person: String::new(),
        whence,
        method: Method::Token,
        reason: "the token is unknown, has expired or was revoked".to_owned(),
    };
    match rooms.desk.record_turned_away(away).await {
        Ok(()) => Problem::new(
            Kind::Unauthenticated,
            "the token is unknown, has expired or was revoked",
            "an administrator makes one with `countersign user token NAME`",
        ),
        Err(error) => desk_problem(error),
    }
}

/// Signs out; gives the header that takes the cookie away.
pub async fn sign_out(rooms: &Rooms, source: Source, caller: &Caller) -> Result<HeaderValue, Problem> {
    if let Via::Session(session) = &caller.via {
        let whence = Whence { source: source.0 };
        let closed = rooms.desk.session_close(session.hash, whence).await;
        closed.map_err(desk_problem)?;
    }
    Ok(set_cookie("", Duration::ZERO))
}

fn set_cookie(value: &str, life: Duration) -> HeaderValue {
    let text = format!(
        "{COOKIE_NAME}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={}",
        life.as_secs()
    );
    HeaderValue::from_str(&text).expect("base 64 and ASCII words")
}

type WithCookie = [(HeaderName, HeaderValue); 1];

/// Sign in with a browser: sets the cookie of a session. The call must come from a page of this address.
#[utoipa::path(
    post,
    path = "/session",
    tag = "session",
    request_body = SignInBody,
    responses(
        (status = 200, body = SessionShape),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn open(
    State(rooms): State<Rooms>,
    source: Source,
    headers: HeaderMap,
    Body(body): Body<SignInBody>,
) -> Result<(StatusCode, WithCookie, Json<SessionShape>), Problem> {
    let signed_in = sign_in(&rooms, &headers, source, body).await?;
    let cookie = [(SET_COOKIE, signed_in.set_cookie)];
    Ok((StatusCode::OK, cookie, Json(signed_in.session)))
}

/// Who is signed in, and the CSRF token of the session.
#[utoipa::path(
    get,
    path = "/session",
    tag = "session",
    responses(
        (status = 200, body = SessionShape),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("session" = []), ("token" = []))
)]
pub async fn show(caller: Caller) -> Json<SessionShape> {
    Json(SessionShape::of(&caller))
}

/// Sign out: the session ends and its cookie is taken away. A token's call has no session to end.
#[utoipa::path(
    delete,
    path = "/session",
    tag = "session",
    responses(
        (status = 204),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("session" = []), ("token" = []))
)]
pub async fn close(
    caller: Caller,
    source: Source,
    State(rooms): State<Rooms>,
) -> Result<(StatusCode, WithCookie), Problem> {
    let cookie = sign_out(&rooms, source, &caller).await?;
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]))
}
