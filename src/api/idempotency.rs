//! A call that may have arrived is sent again under the same `Idempotency-Key`, and counts once: the same answer comes again.
//! Never keeps an answer with a secret that is shown once, and never answers anybody but the person who called.
//! Read `store/answers.rs` for how long.
//!
//! After the IETF's draft (draft-ietf-httpapi-idempotency-key-header): a key that cannot be read is 400, one whose first call
//! is still being answered 409, one that was used for another call 422. What was refused has changed nothing and is not
//! kept, so that it can be sent again under its key once it is right.
//!
//! Why the first call goes on when its client hangs up: that client is the one who will ask again. Decisions and acts are
//! besides kept with their key in the transaction that makes them true, so that they count once even if the process ends
//! before their answer is kept here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::header::{CONTENT_TYPE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

use super::Rooms;
use super::login::Caller;
use super::problem::{Kind, Problem};
use super::serve::BODY_BYTES_MAX;
use crate::desk::KeptAnswer;
use crate::identity::principal::PersonName;

/// The header that names a call.
pub const HEADER: &str = "idempotency-key";

/// Says that an answer was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Longer keys are no keys.
pub const KEY_BYTES_MAX: usize = 128;

/// The longest answer that is kept: a card with the longest statement that a person could read.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What a key does on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// The same answer is given again.
    Again,
    /// The answer holds a secret that is shown once: the call counts once, and a repetition is told so.
    ShownOnce,
    /// Nothing: it changes nothing, has nobody signed in to whom an answer could be kept, or is about the session itself.
    Ignored,
}

/// Every route that is not a mere question (`tests/api/idempotency.rs` holds it against the routes). Whatever is not named
/// here is no route, and says so itself.
const ROUTES: [(&str, &str, Treatment); 47] = {
    use Treatment::{Again, Ignored, ShownOnce};
    [
        ("POST", "/requests/{id}/decision", Again),
        ("POST", "/requests/{id}/break-glass", Again),
        ("POST", "/requests/{id}/review", Again),
        ("POST", "/requests/{id}/comments", Again),
        ("POST", "/requests/{id}/questions", Again),
        ("POST", "/requests/{id}/escalations", Again),
        ("POST", "/requests/{id}/delegations", Again),
        ("POST", "/requests/{id}/views", Again),
        // Its answer must not be kept.
        ("POST", "/requests/{id}/reveal", Ignored),
        ("POST", "/requests/{id}/preview", Ignored),
        ("POST", "/rules/replay", Ignored),
        ("POST", "/log/{id}/erase", Again),
        ("DELETE", "/sessions/{id}", Again),
        ("POST", "/grants/{id}/revoke", Again),
        ("POST", "/session", Ignored),
        ("DELETE", "/session", Ignored),
        ("POST", "/session/step-up", Ignored),
        ("POST", "/session/step-up/begin", Ignored),
        ("POST", "/session/step-up/finish", Ignored),
        ("POST", "/session/passkey/begin", Ignored),
        ("POST", "/session/passkey/finish", Ignored),
        ("POST", "/password", Ignored),
        ("POST", "/me/password", Again),
        ("POST", "/me/totp", ShownOnce),
        ("DELETE", "/me/totp", Again),
        ("POST", "/me/totp/confirm", ShownOnce),
        ("POST", "/me/passkeys/begin", Ignored),
        ("POST", "/me/passkeys/finish", Again),
        ("DELETE", "/me/passkeys/{id}", Again),
        ("POST", "/me/links", ShownOnce),
        ("DELETE", "/me/links/{id}", Again),
        ("POST", "/channels/{name}/answers", Ignored),
        ("POST", "/users", Again),
        ("PATCH", "/users/{name}", Again),
        ("POST", "/users/{name}/tokens", ShownOnce),
        ("DELETE", "/users/{name}/tokens", Again),
        ("POST", "/users/{name}/active", Again),
        ("POST", "/users/{name}/password-link", ShownOnce),
        ("DELETE", "/users/{name}/factors", Again),
        ("DELETE", "/users/{name}/links", Again),
        ("POST", "/agents", ShownOnce),
        ("POST", "/agents/{name}/rotate", ShownOnce),
        ("POST", "/agents/{name}/certificate", Again),
        ("DELETE", "/agents/{name}", Again),
        ("POST", "/catalogs/refresh", Again),
        ("POST", "/webhooks/{name}/test", Again),
        ("POST", "/webhooks/{name}/replay", Again),
    ]
};

/// What a key does on the route `path` (behind `/api/v1`); `None`: nobody has said it yet.
pub fn treatment(method: &str, path: &str) -> Option<Treatment> {
    let mut routes = ROUTES.iter();
    routes
        .find(|(known, route, _)| known.eq_ignore_ascii_case(method) && is_of(route, path))
        .map(|(_, _, treatment)| *treatment)
}

/// Whether a path is of a route, in which `{…}` stands for one name.
fn is_of(route: &str, path: &str) -> bool {
    let (mut words, mut names) = (route.split('/'), path.split('/'));
    let same = |word: &str, name: &str| word == name || (word.starts_with('{') && !name.is_empty());
    loop {
        match (words.next(), names.next()) {
            (None, None) => return true,
            (Some(word), Some(name)) if same(word, name) => {}
            (Some(_), _) | (None, Some(_)) => return false,
        }
    }
}

/// Calls under a key that are being answered now, and what each is.
#[derive(Debug, Default)]
pub struct InFlight(Mutex<HashMap<(PersonName, String), [u8; 32]>>);

/// One of them; dropped when it is answered.
struct Begun {
    calls: Arc<InFlight>,
    place: (PersonName, String),
    call: [u8; 32],
}

impl Begun {
    fn new(calls: &Arc<InFlight>, place: (PersonName, String), call: [u8; 32]) -> Result<Self, Problem> {
        let mut running = calls.0.lock().unwrap_or_else(PoisonError::into_inner);
        match running.entry(place.clone()) {
            Entry::Occupied(other) if *other.get() == call => Err(Problem::new(
                Kind::InProgress,
                "the first call with this key is still being answered",
                "send it again under the same key in a moment",
            )
            .with(|more| more.retryable = true)),
            Entry::Occupied(_) => Err(reused()),
            Entry::Vacant(free) => {
                free.insert(call);
                Ok(Self {
                    calls: Arc::clone(calls),
                    place,
                    call,
                })
            }
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut running = self.calls.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(&self.place);
    }
}

/// Answers a call that has come before as it was answered then, and remembers the answer to one that has not.
pub async fn once(State(rooms): State<Rooms>, request: Request, next: Next) -> Response {
    match treatment_of(&request) {
        Some(treatment) if request.headers().contains_key(HEADER) => {
            let answered = answer_once(rooms, request, next, treatment).await;
            answered.unwrap_or_else(|problem| problem.into_response())
        }
        Some(_) | None => next.run(request).await,
    }
}

/// `None`: a key does nothing.
fn treatment_of(request: &Request) -> Option<Treatment> {
    let path = request.uri().path().strip_prefix("/api/v1")?;
    if request.method().is_safe() {
        return None;
    }
    treatment(request.method().as_str(), path).filter(|known| *known != Treatment::Ignored)
}

async fn answer_once(
    rooms: Rooms,
    request: Request,
    next: Next,
    treatment: Treatment,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, &rooms).await?;
    let Some(key) = idempotency_key(&parts.headers)? else {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    };
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        Problem::new(
            Kind::TooLarge,
            format!("the body is longer than {BODY_BYTES_MAX} bytes"),
            "send a shorter body",
        )
    })?;
    let call = digest(&caller, &parts, &body);
    let person = caller.person.name.clone();
    let begun = Begun::new(&rooms.calls, (person.clone(), key.clone()), call)?;
    let kept = rooms.desk.kept_answer(person, key).await;
    match kept.map_err(|error| Problem::unavailable(&error))? {
        Some(kept) if kept.call != call => Err(reused()),
        Some(kept) => given_again(kept),
        None => {
            let request = Request::from_parts(parts, Body::from(body));
            let answering = tokio::spawn(async move {
                let response = next.run(request).await;
                remember(&rooms, &begun, treatment, response).await
            });
            answering.await.map_err(|error| Problem::unavailable(&error))
        }
    }
}

/// The key of a call, without the quotes that the draft puts round it.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let key = bare.filter(|key| !key.is_empty()).unwrap_or(text);
    let is_key = (1..=KEY_BYTES_MAX).contains(&key.len()) && values.next().is_none();
    if is_key && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Some(key.to_owned()));
    }
    Err(Problem::new(
        Kind::Malformed,
        "the `Idempotency-Key` is empty, too long, there twice or not visible ASCII",
        format!("send one key of 1 to {KEY_BYTES_MAX} ASCII characters without blanks, a UUID for example"),
    ))
}

/// What is called, by what right, and with which body. A one-time code is no part of it: a repetition has none.
fn digest(caller: &Caller, parts: &axum::http::request::Parts, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let scopes: Vec<String> = caller.scopes.iter().map(|scope| scope.to_string()).collect();
    let query = parts.uri.query().unwrap_or_default();
    let named = [parts.method.as_str(), parts.uri.path(), query, &scopes.join(" ")];
    for part in named.iter().map(|part| part.as_bytes()).chain([body]) {
        // Each with its length, so that no two calls are written alike.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Keeps an answer that has changed something, and gives it.
async fn remember(rooms: &Rooms, begun: &Begun, treatment: Treatment, response: Response) -> Response {
    if !response.status().is_success() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let bytes = match to_bytes(body, ANSWER_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(error) => return Problem::unavailable(&error).into_response(),
    };
    let may_keep = treatment == Treatment::Again && !parts.headers.contains_key(SET_COOKIE);
    let text = std::str::from_utf8(&bytes).ok().filter(|_| may_keep);
    let answer = KeptAnswer {
        call: begun.call,
        status: parts.status.as_u16(),
        body: text.map(str::to_owned),
    };
    let (person, key) = begun.place.clone();
    // What was done is done: the caller learns it, and only a repetition would not know.
    if let Err(error) = rooms.desk.keep_answer(person, key, answer).await {
        tracing::warn!(%error, "an answer is not kept: the same call again would be a new one");
    }
    Response::from_parts(parts, Body::from(bytes))
}

fn given_again(kept: KeptAnswer) -> Result<Response, Problem> {
    let Some(body) = kept.body else {
        return Err(Problem::new(
            Kind::AnsweredBefore,
            "this call was answered before, and what it answered is shown once, or was erased since",
            "look at what it made or decided; a secret that was lost is made anew under a new key",
        ));
    };
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    match status {
        StatusCode::NO_CONTENT => headers.remove(CONTENT_TYPE),
        _json => headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json")),
    };
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

fn reused() -> Problem {
    Problem::new(
        Kind::KeyReused,
        "this key was used for another call, or by a token that may do other things",
        "send each new call under a key of its own",
    )
}
