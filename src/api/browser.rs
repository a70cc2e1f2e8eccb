//! Signing in with a browser and out again: what is given is checked, a session begins, its cookie is sent once.
//! Never decides what a session may do: that is `login.rs`, at each call. Read `store/sessions.rs` for how one ends.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::Rooms;
use super::login::{BrowserSession, Caller, Via, same_origin, session_cookie};
use super::passkeys::Passkeys;
use super::problem::{Kind, Problem, ProblemDocument};
use super::read::{Body, unacceptable};
use super::requests::desk_problem;
use crate::clock::Timestamp;
use crate::desk::TurnedAway;
use crate::desk::{CodeTaken, Factors, OpenedBy, OpenedSession, Opening, SessionLife, Whence};
use crate::identity::assurance::{Assurance, Method, SecondFactor};
use crate::identity::directory::Scope;
use crate::identity::one_time::RecoveryHash;
use crate::identity::password::{self, PasswordVerifier};
use crate::identity::principal::PersonName;
use crate::identity::secret::{CsrfToken, SessionHash, TokenHash};
use crate::identity::throttle::{LOG_INS, Pace, Throttle, network};

/// The prefix makes browsers take it over TLS alone (or from this very machine), for this host alone, and from no
/// other.
pub const COOKIE_NAME: &str = "__Host-countersign";

/// Without a call for so long, a session is over.
pub const IDLE_DEFAULT: Duration = Duration::from_secs(30 * 60);

/// After so long a session is over however busy it is: a working day with its edges.
pub const WHOLE_LIFE: Duration = Duration::from_secs(12 * 3600);

/// Passwords that are hashed at one time: 19 MiB each. Whoever comes later waits for a place.
const HASHES_AT_ONCE: usize = 2;

/// Who may wait for such a place; whoever comes on top is told to try again at once. Each is a call that goes on to its
/// end even if its client has gone.
const HASHES_WAITING_MAX: usize = 32;

/// How long somebody waits for such a place before they are told to try again.
const HASH_WAIT: Duration = Duration::from_secs(10);

/// A code has six digits, so it is guessed at a pace at which a year is too short; recovery codes are not slowed down,
/// and so nobody is locked out by somebody else's guesses.
const CODES: Pace = Pace {
    free: 0,
    first: Duration::from_secs(1),
    max: Duration::from_secs(15 * 60),
    forget_after: Duration::from_secs(3600),
};

/// A person's codes, wherever they are guessed from: whoever has the password or a token, and many addresses, has as many
/// lanes, and no more guesses for it.
const CODES_OF_ALL: Pace = Pace {
    free: 30,
    first: Duration::from_secs(1),
    max: Duration::from_secs(15 * 60),
    forget_after: Duration::from_secs(24 * 3600),
};

/// An address from which people have not signed in yet, whichever names it tries. A whole office may stand behind it.
const ADDRESSES: Pace = Pace {
    free: 10,
    first: Duration::from_millis(100),
    max: Duration::from_secs(5),
    forget_after: Duration::from_secs(60),
};

/// Addresses from which somebody has signed in before; beyond it all are forgotten.
const KNOWN_MAX: usize = 10_000;

/// Failures that the log is told one by one in a second; the next one tells how many there were besides.
const TOLD_PER_SECOND: u32 = 20;

/// The header by which a call brings a code of its own, so that one made by token can be sure enough.
pub const CODE_HEADER: &str = "countersign-code";

/// How people sign in: the API's part of `[people]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub life: SessionLife,
    /// Where browsers reach the pages: `https://countersign.example.org`. Passkeys are bound to it, messages name it, and
    /// forms may come from it where a proxy in between names another host.
    pub origin: Option<String>,
    pub second_factor: SecondFactor,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            life: SessionLife {
                idle: IDLE_DEFAULT,
                whole: WHOLE_LIFE,
            },
            origin: None,
            second_factor: SecondFactor::default(),
        }
    }
}

/// Whose guesses are counted together: a name as it was typed, and the address if that person has signed in from it
/// before. So guesses from elsewhere do not slow down the person where they usually are.
type Lane = (String, Option<IpAddr>);

/// An attempt that counts as wrong until it turns out right. It was counted before anything was looked at, so nobody gains
/// by going away before the answer.
#[must_use]
struct Attempt {
    /// Counted besides the person's lane where it is not known to be the person's.
    address: Option<IpAddr>,
}

/// What signing in works with.
pub struct SignIns {
    pub settings: Settings,
    passwords: Throttle<Lane>,
    codes: Throttle<Lane>,
    codes_of_all: Throttle<String>,
    addresses: Throttle<IpAddr>,
    known: Mutex<HashSet<(String, IpAddr)>>,
    hashing: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    pub(super) passkeys: Passkeys,
    told: Mutex<Told>,
}

/// How many failures the log was told in this second, and how many it was not told.
#[derive(Default)]
struct Told {
    since: Option<Instant>,
    told: u32,
    untold: u64,
}

impl Default for SignIns {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl SignIns {
    pub fn new(settings: Settings) -> Self {
        let passkeys = Passkeys::new(settings.origin.as_deref());
        Self {
            settings,
            passkeys,
            passwords: Throttle::new(LOG_INS),
            codes: Throttle::new(CODES),
            codes_of_all: Throttle::new(CODES_OF_ALL),
            addresses: Throttle::new(ADDRESSES),
            known: Mutex::default(),
            hashing: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
            waiting: Arc::new(Semaphore::new(HASHES_AT_ONCE + HASHES_WAITING_MAX)),
            told: Mutex::default(),
        }
    }

    fn lane(&self, person: &str, source: IpAddr) -> Lane {
        let network = network(source);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = known.contains(&(person.to_owned(), network));
        (person.to_owned(), is_known.then_some(network))
    }

    /// Takes the next attempt, of the person and of the address; neither is counted if either has to wait.
    fn begin(
        &self,
        throttle: &Throttle<Lane>,
        person: &str,
        source: Source,
        now: Instant,
    ) -> Result<Attempt, Problem> {
        let lane = self.lane(person, source.0);
        let address = lane.1.is_none().then(|| network(source.0));
        let begun = (address.map_or(Ok(()), |address| self.addresses.look(&address, now)))
            .and_then(|()| throttle.begin(lane, now))
            .and_then(|()| address.map_or(Ok(()), |address| self.addresses.begin(address, now)));
        begun.map_err(|wait| too_many(self, wait))?;
        Ok(Attempt { address })
    }

    /// The attempt was right: so it is not counted against the address.
    fn was_right(&self, attempt: &Attempt) {
        if let Some(address) = &attempt.address {
            self.addresses.forgive_one(address);
        }
    }

    /// Somebody is who they say: their guesses are forgiven, and counted apart from others' from now on.
    fn came_in(&self, person: &str, source: IpAddr) {
        let lane = (person.to_owned(), Some(network(source)));
        self.passwords.succeeded(&lane);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert((person.to_owned(), network(source)));
    }

    /// Whether the log is told of this failure, and then of how many before it that it was not told.
    fn tells(&self, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = told
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1));
        if is_new {
            told.since = Some(now);
            told.told = 0;
        }
        if told.told >= TOLD_PER_SECOND {
            told.untold += 1;
            return None;
        }
        told.told += 1;
        Some(std::mem::take(&mut told.untold))
    }

    fn not_told(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).untold += 1;
    }

    /// Does what takes a password's time and memory, away from every other call, so many at a time.
    pub(super) async fn hash<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let busy = || {
            Problem::new(
                Kind::TimedOut,
                "too many people sign in at this moment",
                "try again in a few seconds",
            )
        };
        let waiting = Arc::clone(&self.waiting)
            .try_acquire_owned()
            .map_err(|_| busy())?;
        let place = tokio::time::timeout(HASH_WAIT, Arc::clone(&self.hashing).acquire_owned()).await;
        let place = place.map_err(|_| busy())?.map_err(|_| busy())?;
        let done = tokio::task::spawn_blocking(move || {
            // Held to the end even if whoever asked has gone: the memory is in use as long.
            let _places = (place, waiting);
            work()
        });
        done.await.map_err(|error| Problem::unavailable(&error))
    }
}

/// The address that a call comes from: the last hop's, or the one that a trusted proxy names (`forwarded.rs`), for what a
/// header says of others anybody may write.
#[derive(Clone, Copy, Debug)]
pub struct Source(pub IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Source {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        if let Some(found) = parts.extensions.get::<Self>() {
            return Ok(*found);
        }
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Ok(Self(address.map_or(unknown, |ConnectInfo(address)| address.ip())))
    }
}

impl SignIns {
    /// The verifier that a password is of, if it is the person's; after a wrong one the next attempt has to wait.
    async fn compare(
        &self,
        rooms: &Rooms,
        source: Source,
        typed: &str,
        name: Option<&PersonName>,
        password: String,
    ) -> Result<Option<PasswordVerifier>, Problem> {
        let attempt = self.begin(&self.passwords, typed, source, Instant::now())?;
        let kept = match name {
            Some(name) => rooms.desk.password(name.clone()).await.map_err(desk_problem)?,
            None => None,
        };
        let verifier = kept.map(|kept| kept.verifier);
        let compared = verifier.clone().unwrap_or_else(PasswordVerifier::of_nobody);
        let is_right = self.hash(move || is_password(&compared, &password)).await?;
        let verifier = verifier.filter(|_| is_right);
        if verifier.is_some() {
            self.was_right(&attempt);
            // Right, so no guess: a wrong code beside it is counted where codes are.
            self.passwords.forgive_one(&self.lane(typed, source.0));
        }
        Ok(verifier)
    }

    async fn verified(
        &self,
        rooms: &Rooms,
        source: Source,
        person: &PersonName,
        password: String,
    ) -> Result<Option<PasswordVerifier>, Problem> {
        let verifier = self
            .compare(rooms, source, person.as_str(), Some(person), password)
            .await?;
        if verifier.is_none() {
            let trial = Trial {
                typed: person.to_string(),
                source,
                method: Method::Password,
                by: None,
            };
            trial.turned_away(rooms, REFUSED).await;
            return Err(unacceptable(
                "old_password",
                "…",
                "send the password that counts now; an administrator helps with `countersign user passwd NAME`",
            ));
        }
        self.passwords.succeeded(&self.lane(person.as_str(), source.0));
        Ok(verifier)
    }
}

/// The verifier of somebody's own password, for those who are signed in already; an error if it is another.
pub(super) async fn verified(
    rooms: &Rooms,
    source: Source,
    person: &PersonName,
    password: String,
) -> Result<Option<PasswordVerifier>, Problem> {
    let (rooms, person) = (rooms.clone(), person.clone());
    to_the_end(async move { rooms.sign_ins.verified(&rooms, source, &person, password).await }).await
}

/// What somebody signs in by: a token, or a name and a password.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInBody {
    /// A token, as `countersign user token` printed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Of the person's authenticator app, or a recovery code; a password needs it if the person has such an app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// A one-time code on top of what was shown before.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CodeBody {
    /// Of the person's authenticator app, or a recovery code.
    pub code: String,
}

/// Who is signed in, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionShape {
    pub person: String,
    /// `approver`, `auditor`, `admin`.
    pub roles: Vec<String>,
    /// Groups that rules name.
    pub groups: Vec<String>,
    /// What the session may be used for: `read`, `decide`, `log`, `manage`, `break_glass`.
    pub scopes: Vec<String>,
    /// Who else has seen what it was opened by: it decides nothing in which one of them has a stake.
    pub token_seen_by: Vec<String>,
    /// `token`, `password`, `totp` or `passkey`.
    pub method: String,
    /// When a second factor was given last, if one was.
    pub strong_at: Option<String>,
    /// What a second factor can be given by: `totp`, `passkey`.
    pub second_factors: Vec<String>,
    /// What is still to be done: `second_factor`, where the settings ask for one to approve what is risky.
    pub needs: Vec<String>,
    /// When the session ends, however busy it is; null for a call by a token.
    pub ends_at: Option<String>,
    /// What `x-csrf-token`, or a form's `_csrf`, must hold in whatever changes something; null for a call by a token.
    pub csrf: Option<String>,
}

impl SessionShape {
    fn of(caller: &Caller, factors: &Factors, settings: &Settings) -> Self {
        let assurance = caller.assurance();
        let ends_at = match &caller.via {
            Via::Session(session) => Some(session.ends_at.to_string()),
            Via::Token => None,
        };
        let is_missing = settings.second_factor == SecondFactor::Required
            && caller.scopes.has(Scope::Decide)
            && !factors.has_second();
        Self {
            person: caller.person.name.to_string(),
            roles: caller.person.roles.iter().map(ToString::to_string).collect(),
            groups: caller.person.groups.iter().cloned().collect(),
            scopes: caller.scopes.iter().map(|scope| scope.to_string()).collect(),
            token_seen_by: caller.token_seen_by.iter().map(ToString::to_string).collect(),
            method: assurance.method.to_string(),
            strong_at: assurance.strong_at.map(|at| at.to_string()),
            second_factors: second_factors(factors),
            needs: is_missing
                .then(|| "second_factor".to_owned())
                .into_iter()
                .collect(),
            ends_at,
            csrf: caller.csrf().map(str::to_owned),
        }
    }

    /// As the store knows the caller now.
    pub async fn shown(rooms: &Rooms, caller: &Caller) -> Result<Self, Problem> {
        let factors = rooms.desk.factors(caller.person.name.clone()).await;
        let factors = factors.map_err(desk_problem)?;
        Ok(Self::of(caller, &factors, &rooms.sign_ins.settings))
    }
}

/// In the words of the API.
pub fn second_factors(factors: &Factors) -> Vec<String> {
    let ways = [
        (Method::Totp, factors.has_totp),
        (Method::Passkey, !factors.passkeys.is_empty()),
    ];
    let ways = ways.into_iter().filter(|(_, has_it)| *has_it);
    ways.map(|(way, _)| way.to_string()).collect()
}

/// A session that has begun: what is told of it, and the header that gives the browser its cookie.
pub struct SignedIn {
    pub session: SessionShape,
    pub set_cookie: HeaderValue,
}

impl SignedIn {
    pub(super) async fn of(rooms: &Rooms, opened: OpenedSession) -> Result<Self, Problem> {
        let cookie = opened.cookie.reveal();
        let set_cookie = set_cookie(cookie, opened.session.ends_at.since(opened.session.made_at));
        let via = Via::Session(BrowserSession {
            hash: opened.session.hash,
            csrf: CsrfToken::of(cookie),
            assurance: opened.session.assurance,
            made_at: opened.session.made_at,
            ends_at: opened.session.ends_at,
        });
        let caller = Caller::of(opened.signed_in, via);
        Ok(Self {
            session: SessionShape::shown(rooms, &caller).await?,
            set_cookie,
        })
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
    let (rooms, headers) = (rooms.clone(), headers.clone());
    to_the_end(async move { sign_in_now(&rooms, &headers, source, given).await }).await
}

/// Goes on to its end even if the client hangs up: what it tried is on record then, and counted, as if it had waited.
pub(super) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::spawn(work).await;
    done.map_err(|error| Problem::unavailable(&error))?
}

async fn sign_in_now(
    rooms: &Rooms,
    headers: &HeaderMap,
    source: Source,
    given: SignInBody,
) -> Result<SignedIn, Problem> {
    let code = given.code.filter(|code| !code.trim().is_empty());
    let trial = match (given.token, given.person, given.password) {
        (Some(token), None, None) => Trial::token(source, &token),
        (None, Some(person), Some(password)) => Trial::password(rooms, source, &person, password).await?,
        (_, person, _) => {
            return Err(unacceptable(
                "person",
                person.as_deref().unwrap_or_default(),
                "send either `token`, or `person` and `password`",
            ));
        }
    };
    let opened = trial.open(rooms, code).await?;
    end_old_session(rooms, source, headers).await?;
    SignedIn::of(rooms, opened).await
}

/// A cookie that the browser brought along while signing in is worth nothing afterwards, whoever has put it there.
pub(super) async fn end_old_session(
    rooms: &Rooms,
    source: Source,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    if let Some(old) = session_cookie(headers).and_then(SessionHash::of) {
        let whence = Whence { source: source.0 };
        rooms
            .desk
            .session_close(old, whence)
            .await
            .map_err(desk_problem)?;
    }
    Ok(())
}

/// One wish to sign in.
pub(super) struct Trial {
    /// As it was typed; empty where no name was given.
    pub typed: String,
    pub source: Source,
    pub method: Method,
    /// What would open a session; `None`: nothing that was given does.
    pub by: Option<OpenedBy>,
}

impl Trial {
    fn token(source: Source, token: &str) -> Self {
        Self {
            typed: String::new(),
            source,
            method: Method::Token,
            by: TokenHash::of(token.trim()).map(OpenedBy::Token),
        }
    }

    /// Compares the password with that of the person, or with nobody's: whoever guesses names learns nothing, neither
    /// from the answer nor from its time.
    async fn password(
        rooms: &Rooms,
        source: Source,
        person: &str,
        password: String,
    ) -> Result<Self, Problem> {
        let typed = typed(person);
        let name = PersonName::parse(person).ok();
        let verifier = rooms
            .sign_ins
            .compare(rooms, source, &typed, name.as_ref(), password)
            .await?;
        Ok(Self {
            typed,
            source,
            method: Method::Password,
            by: name
                .zip(verifier)
                .map(|(person, verifier)| OpenedBy::Password { person, verifier }),
        })
    }

    pub(super) async fn open(self, rooms: &Rooms, code: Option<String>) -> Result<OpenedSession, Problem> {
        let whence = Whence {
            source: self.source.0,
        };
        let Some(by) = self.by.clone() else {
            return Err(self.turned_away(rooms, REFUSED).await);
        };
        let mut attempt = None;
        if let Some(code) = &code {
            let Some(person) = person_of(rooms, &by).await? else {
                return Err(self.turned_away(rooms, REFUSED).await);
            };
            attempt = begin_code(&rooms.sign_ins, &person, self.source, code)?;
        }
        let life = rooms.sign_ins.settings.life;
        let opening = rooms
            .desk
            .session_open(by.clone(), code.clone(), whence, life)
            .await;
        match opening.map_err(desk_problem)? {
            Opening::Opened(opened) => {
                let name = opened.signed_in.person.name.as_str();
                rooms.sign_ins.came_in(name, self.source.0);
                end_codes(&rooms.sign_ins, name, self.source, attempt.as_ref());
                Ok(*opened)
            }
            Opening::CodeNeeded => {
                // The password was right: what comes next is no second guess at it.
                let lane = rooms.sign_ins.lane(&self.typed, self.source.0);
                rooms.sign_ins.passwords.succeeded(&lane);
                Err(Problem::new(
                    Kind::CodeNeeded,
                    "a code of your authenticator app is needed as well",
                    "send it in `code`, or one of your recovery codes",
                ))
            }
            Opening::WrongCode => Err(self.turned_away(rooms, WRONG_CODE).await),
            Opening::Refused => Err(self.turned_away(rooms, REFUSED).await),
        }
    }

    pub(super) async fn turned_away(self, rooms: &Rooms, why: &'static str) -> Problem {
        if let Some(untold) = rooms.sign_ins.tells(Instant::now()) {
            let besides = match untold {
                0 => String::new(),
                more => format!(" ({more} more before it were not told one by one)"),
            };
            let away = TurnedAway {
                person: self.typed,
                whence: Whence {
                    source: self.source.0,
                },
                method: self.method,
                reason: format!("{why}{besides}"),
            };
            if let Err(error) = rooms.desk.record_turned_away(away).await {
                return desk_problem(error);
            }
        }
        let kind = if why == WRONG_CODE {
            Kind::CodeNeeded
        } else {
            Kind::Unauthenticated
        };
        Problem::new(
            kind,
            why,
            "try again; an administrator helps with `countersign user token NAME` or `countersign user passwd NAME`",
        )
    }
}

/// Whose codes are guessed at: guesses count for the person, however many tokens they come with.
async fn person_of(rooms: &Rooms, by: &OpenedBy) -> Result<Option<String>, Problem> {
    Ok(match by {
        OpenedBy::Token(hash) => {
            let found = rooms.desk.authenticate_token(*hash).await;
            let found = found.map_err(|error| Problem::unavailable(&error))?;
            found.map(|found| found.person.name.to_string())
        }
        OpenedBy::Password { person, .. } => Some(person.to_string()),
        OpenedBy::Passkey(used) => Some(used.before.person.to_string()),
    })
}

/// The same words whether the name is known or not.
const REFUSED: &str = "what was given is unknown, wrong, has ended or was revoked";
const WRONG_CODE: &str = "the code is wrong, was used before, or there is no authenticator app";

/// A name as it was typed, no longer than one can be.
fn typed(person: &str) -> String {
    person.chars().take(64).collect()
}

/// Takes as long for a text that is no password.
fn is_password(verifier: &PasswordVerifier, given: &str) -> bool {
    let cut = given.floor_char_boundary(password::BYTES_MAX);
    verifier.is_of(&given[..cut]) && cut == given.len()
}

fn too_many(sign_ins: &SignIns, wait: Duration) -> Problem {
    sign_ins.not_told();
    let seconds = wait.as_secs() + 1;
    Problem::new(
        Kind::TooManyAttempts,
        format!("there were too many attempts; the next one counts in {seconds} s"),
        "wait so long; or use a passkey, a recovery code or a token, which nobody else's attempts slow down",
    )
    .with(|more| more.retry_after_seconds = Some(seconds))
}

/// Takes the next attempt at a code of six digits; nobody guesses a recovery code, so that is none.
fn begin_code(
    sign_ins: &SignIns,
    person: &str,
    source: Source,
    code: &str,
) -> Result<Option<Attempt>, Problem> {
    if RecoveryHash::of(code).is_some() {
        return Ok(None);
    }
    let now = Instant::now();
    let all = &sign_ins.codes_of_all;
    all.look(&person.to_owned(), now)
        .map_err(|wait| too_many(sign_ins, wait))?;
    let attempt = sign_ins.begin(&sign_ins.codes, person, source, now)?;
    all.begin(person.to_owned(), now)
        .map_err(|wait| too_many(sign_ins, wait))?;
    Ok(Some(attempt))
}

/// The code was right: no guess at codes is held against the person any longer.
fn end_codes(sign_ins: &SignIns, person: &str, source: Source, attempt: Option<&Attempt>) {
    if let Some(attempt) = attempt {
        sign_ins.was_right(attempt);
    }
    sign_ins.codes_of_all.succeeded(&person.to_owned());
    for place in [None, Some(network(source.0))] {
        sign_ins.codes.succeeded(&(person.to_owned(), place));
    }
}

/// Takes a code of the caller's, on top of what the call brings; a session is as sure from now on.
pub async fn step_up(
    rooms: &Rooms,
    caller: &Caller,
    source: Source,
    code: String,
) -> Result<Assurance, Problem> {
    let (rooms, name, session) = (rooms.clone(), caller.person.name.clone(), caller.session());
    to_the_end(async move { take_code(&rooms, &name, session, source, code).await }).await
}

async fn take_code(
    rooms: &Rooms,
    name: &PersonName,
    session: Option<SessionHash>,
    source: Source,
    code: String,
) -> Result<Assurance, Problem> {
    let attempt = begin_code(&rooms.sign_ins, name.as_str(), source, &code)?;
    let whence = Whence { source: source.0 };
    let taken = rooms.desk.step_up(session, name.clone(), code, whence).await;
    match taken.map_err(desk_problem)? {
        CodeTaken::Taken { .. } => {
            end_codes(&rooms.sign_ins, name.as_str(), source, attempt.as_ref());
            Ok(Assurance {
                method: Method::Totp,
                strong_at: Some(Timestamp::now()),
            })
        }
        CodeTaken::Wrong | CodeTaken::NoTotp => {
            let trial = Trial {
                typed: name.to_string(),
                source,
                method: Method::Totp,
                by: None,
            };
            let problem = trial.turned_away(rooms, WRONG_CODE).await;
            // Who calls is known, so this is not the answer to somebody unknown.
            Err(if problem.0.code == "code_needed" {
                step_up_needed(WRONG_CODE)
            } else {
                problem
            })
        }
    }
}

/// How surely it is the caller, with the code that the call may bring in a header.
pub async fn assurance(
    rooms: &Rooms,
    caller: &Caller,
    source: Source,
    headers: &HeaderMap,
) -> Result<Assurance, Problem> {
    match headers.get(CODE_HEADER).and_then(|code| code.to_str().ok()) {
        Some(code) => step_up(rooms, caller, source, code.to_owned()).await,
        None => Ok(caller.assurance()),
    }
}

pub fn step_up_needed(detail: impl Into<String>) -> Problem {
    Problem::new(
        Kind::StepUpNeeded,
        detail,
        "give a second factor: `POST /api/v1/session/step-up` with a code, or a passkey; by token, send the code in the \
         header `countersign-code` (`--code` on the command line)",
    )
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
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
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
    security(("token" = []))
)]
pub async fn show(caller: Caller, State(rooms): State<Rooms>) -> Result<Json<SessionShape>, Problem> {
    SessionShape::shown(&rooms, &caller).await.map(Json)
}

/// Give a code of the authenticator app, or a recovery code: approvals of high and critical risk count for 5 minutes.
#[utoipa::path(
    post,
    path = "/session/step-up",
    tag = "session",
    request_body = CodeBody,
    responses(
        (status = 200, body = SessionShape),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn step_up_session(
    caller: Caller,
    source: Source,
    State(rooms): State<Rooms>,
    Body(body): Body<CodeBody>,
) -> Result<Json<SessionShape>, Problem> {
    let mut caller = caller;
    let Via::Session(session) = &caller.via else {
        return Err(Problem::new(
            Kind::Conflict,
            "a token's call has no session that could be made surer",
            "send the code with the decision itself, in the header `countersign-code`",
        ));
    };
    let session = session.clone();
    let assurance = step_up(&rooms, &caller, source, body.code).await?;
    caller.via = Via::Session(BrowserSession { assurance, ..session });
    SessionShape::shown(&rooms, &caller).await.map(Json)
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
    security(("token" = []))
)]
pub async fn close(
    caller: Caller,
    source: Source,
    State(rooms): State<Rooms>,
) -> Result<(StatusCode, WithCookie), Problem> {
    let cookie = sign_out(&rooms, source, &caller).await?;
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]))
}
