//! What people show besides a token: password, authenticator app, recovery codes; set, confirmed, taken away.
//! Never shows a secret twice, and lets nobody who has only half of somebody's factors change the other half.
//! Read `browser.rs` for how they are used.
//!
//! Whoever has seen what a call came in by may be the one who sets a password or enrols an app by it. So each keeps who
//! that is, and a session opened by it decides nothing in which one of them has a stake (promise 4).

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use qrcode::QrCode;
use qrcode::render::svg;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Rooms;
use super::browser::{CodeBody, Source, assurance, second_factors, step_up_needed, verified};
use super::login::{Caller, Via};
use super::people::{manage_problem, person_name};
use super::problem::{Kind, Problem, ProblemDocument};
use super::read::{Body, Named, unacceptable};
use super::requests::desk_problem;
use crate::clock::Timestamp;
use crate::desk::ManageError;
use crate::desk::{Factors, LINK_LIFE};
use crate::identity::assurance::{Assurance, STEP_UP_WITHIN};
use crate::identity::directory::Scope;
use crate::identity::password::{self, PasswordVerifier};
use crate::identity::secret::LinkHash;

/// In a session older than this, whoever sits there may have found the browser open: it enrols nothing.
const FRESH: Duration = Duration::from_secs(15 * 60);

/// The side of the picture that an app scans, in pixels.
const PICTURE_SIDE: u32 = 240;

/// What the caller can show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FactorsShape {
    pub password: bool,
    /// What a second factor can be given by: `totp`, `passkey`.
    pub second_factors: Vec<String>,
    /// Recovery codes that are left.
    pub recovery_codes: u32,
    pub passkeys: Vec<PasskeyShape>,
}

/// A passkey, without what it is checked by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PasskeyShape {
    /// Base 64, for URLs.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    pub made_at: String,
    pub used_at: Option<String>,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordBody {
    /// The one that there is, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_password: Option<String>,
    /// At least 12 letters; nothing else is asked of it.
    pub password: String,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkBody {
    /// The one-time code, as an administrator handed it over.
    pub link: String,
    /// At least 12 letters; nothing else is asked of it.
    pub password: String,
}

/// A one-time code by which somebody sets their password, shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct LinkShape {
    pub person: String,
    pub link: String,
    pub ends_at: String,
    /// Who else has seen it: a session opened by that password decides nothing in which one of them has a stake.
    pub seen_by: Vec<String>,
}

/// Whose password was set.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PasswordSet {
    pub person: String,
}

/// What an authenticator app needs, shown this once. It counts once a code of it was sent.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TotpShape {
    /// Base 32, for those who type it.
    pub secret: String,
    /// `otpauth://totp/…`
    pub url: String,
    /// The same as a picture to scan.
    pub svg: String,
}

/// Codes for the day on which the app is lost, shown this once; each counts once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct RecoveryShape {
    pub recovery_codes: Vec<String>,
}

impl FactorsShape {
    pub fn of(factors: &Factors) -> Self {
        Self {
            password: factors.has_password,
            second_factors: second_factors(factors),
            recovery_codes: factors.recovery_codes,
            passkeys: factors.passkeys.iter().map(PasskeyShape::of).collect(),
        }
    }
}

impl PasskeyShape {
    fn of(passkey: &crate::desk::PasskeyInfo) -> Self {
        use base64::Engine as _;
        Self {
            id: base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&passkey.id),
            name: passkey.name.clone(),
            made_at: passkey.made_at.to_string(),
            used_at: passkey.used_at.map(|at| at.to_string()),
        }
    }
}

/// A password that can be one.
pub fn sound_password(field: &str, text: &str) -> Result<(), Problem> {
    // The password itself is never repeated.
    password::check(text)
        .map_err(|why| unacceptable(field, "…", format!("{why}; nothing else is asked of it")))
}

/// Whether this call may change what its person signs in by: it does all that the person may do, and has shown the second
/// factor if there is one, or comes from a session that began just now.
pub async fn may_change_factors(
    rooms: &Rooms,
    caller: &Caller,
    source: Source,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    is_whole(caller)?;
    let factors = rooms.desk.factors(caller.person.name.clone()).await;
    let has_second = factors.map_err(desk_problem)?.has_second();
    let assurance = match has_second {
        true => assurance(rooms, caller, source, headers).await?,
        false => caller.assurance(),
    };
    may_change_now(caller, has_second, assurance)
}

fn is_whole(caller: &Caller) -> Result<(), Problem> {
    if caller.is_whole() {
        return Ok(());
    }
    Err(Problem::new(
        Kind::Forbidden,
        "this may do less than its person, and so changes nothing that the person signs in by",
        "sign in with all that your roles give",
    ))
}

/// The same question without a code, asked before a form is shown.
pub fn may_change_now(caller: &Caller, has_second: bool, assurance: Assurance) -> Result<(), Problem> {
    is_whole(caller)?;
    let now = Timestamp::now();
    if has_second {
        return match assurance.is_strong(STEP_UP_WITHIN, now) {
            true => Ok(()),
            false => Err(step_up_needed(
                "what you sign in by is changed with your second factor, given in the last 5 minutes",
            )),
        };
    }
    match &caller.via {
        Via::Session(session) if now.since(session.made_at) > FRESH => Err(Problem::new(
            Kind::StepUpNeeded,
            "this session began more than 15 minutes ago",
            "sign out and in again, then change it",
        )),
        Via::Session(_) | Via::Token => Ok(()),
    }
}

/// What the caller can show besides a token.
#[utoipa::path(
    get,
    path = "/me/factors",
    tag = "me",
    responses((status = 200, body = FactorsShape)),
    security(("token" = []))
)]
pub async fn show(caller: Caller, State(rooms): State<Rooms>) -> Result<Json<FactorsShape>, Problem> {
    let factors = rooms.desk.factors(caller.person.name).await;
    factors
        .map(|factors| Json(FactorsShape::of(&factors)))
        .map_err(desk_problem)
}

/// Set the caller's password, with the old one if there is one. Every session of the person ends, this one too.
#[utoipa::path(
    post,
    path = "/me/password",
    tag = "me",
    request_body = PasswordBody,
    responses(
        (status = 200, body = PasswordSet),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn change_password(
    caller: Caller,
    source: Source,
    State(rooms): State<Rooms>,
    headers: HeaderMap,
    Body(body): Body<PasswordBody>,
) -> Result<Json<PasswordSet>, Problem> {
    sound_password("password", &body.password)?;
    may_change_factors(&rooms, &caller, source, &headers).await?;
    let person = caller.person.name.clone();
    let old = match rooms.desk.password(person.clone()).await.map_err(desk_problem)? {
        Some(kept) => {
            let given = body.old_password.unwrap_or_default();
            let by = verified(&rooms, source, &person, given).await?;
            Some(by.filter(|by| *by == kept.verifier).ok_or_else(stale_password)?)
        }
        None => None,
    };
    let random: [u8; 16] = rand::random();
    let password = body.password;
    let new = rooms
        .sign_ins
        .hash(move || PasswordVerifier::make(&password, random))
        .await?;
    let changed = rooms
        .desk
        .password_change(person.clone(), old, new, caller.token_seen_by)
        .await;
    match changed.map_err(manage_problem)? {
        true => Ok(Json(PasswordSet {
            person: person.to_string(),
        })),
        false => Err(stale_password()),
    }
}

fn stale_password() -> Problem {
    Problem::new(
        Kind::Conflict,
        "the password was changed meanwhile",
        "begin again with the one that counts now",
    )
}

/// Set a password by the one-time code that an administrator made. Every session of the person ends.
#[utoipa::path(
    post,
    path = "/password",
    tag = "session",
    request_body = LinkBody,
    responses(
        (status = 200, body = PasswordSet),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn set_password_by_link(
    State(rooms): State<Rooms>,
    Body(body): Body<LinkBody>,
) -> Result<Json<PasswordSet>, Problem> {
    set_by_link(&rooms, body).await.map(Json)
}

/// The same for a page's form.
pub async fn set_by_link(rooms: &Rooms, body: LinkBody) -> Result<PasswordSet, Problem> {
    let unknown = || {
        Problem::new(
            Kind::Unauthenticated,
            "the one-time code is unknown, over or was used",
            "ask an administrator for another: `countersign user passwd NAME --link`",
        )
    };
    sound_password("password", &body.password)?;
    let link = LinkHash::of(body.link.trim()).ok_or_else(unknown)?;
    // Nobody makes us hash without a code that counts.
    if !rooms.desk.has_password_link(link).await.map_err(desk_problem)? {
        return Err(unknown());
    }
    let random: [u8; 16] = rand::random();
    let password = body.password;
    let verifier = rooms
        .sign_ins
        .hash(move || PasswordVerifier::make(&password, random))
        .await?;
    let set = rooms.desk.password_by_link(link, verifier).await;
    let person = set.map_err(manage_problem)?.ok_or_else(unknown)?;
    Ok(PasswordSet {
        person: person.to_string(),
    })
}

/// Make a one-time code by which somebody else sets their password. Whoever makes it has seen it, and may be the one who
/// uses it: sessions by that password decide nothing in which the maker has a stake.
#[utoipa::path(
    post,
    path = "/users/{name}/password-link",
    tag = "people",
    params(("name" = String, Path, description = "the person")),
    responses((status = 201, body = LinkShape)),
    security(("token" = []))
)]
pub async fn make_password_link(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(name): Named,
) -> Result<(StatusCode, Json<LinkShape>), Problem> {
    caller.needs(Scope::Manage)?;
    let person = person_name("name", &name)?;
    if person == caller.person.name {
        return Err(unacceptable(
            "name",
            &name,
            "set your own password with the old one: `POST /api/v1/me/password`",
        ));
    }
    let made = rooms.desk.password_link(person, caller.hands()).await;
    let made = made.map_err(manage_problem)?;
    let shape = LinkShape {
        person: name,
        link: made.reveal().to_owned(),
        ends_at: Timestamp::now().after(LINK_LIFE).to_string(),
        seen_by: made.seen_by.iter().map(ToString::to_string).collect(),
    };
    Ok((StatusCode::CREATED, Json(shape)))
}

/// Begin with an authenticator app: its secret, shown this once. It counts once a code of it was sent.
#[utoipa::path(
    post,
    path = "/me/totp",
    tag = "me",
    params(("countersign-code" = Option<String>, Header, description = "a one-time code, if there is a second factor already")),
    responses((status = 201, body = TotpShape)),
    security(("token" = []))
)]
pub async fn begin_totp(
    caller: Caller,
    source: Source,
    State(rooms): State<Rooms>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<TotpShape>), Problem> {
    may_change_factors(&rooms, &caller, source, &headers).await?;
    let person = caller.person.name.clone();
    let begun = rooms.desk.totp_begin(person.clone(), caller.token_seen_by).await;
    let secret = begun.map_err(|error| match error {
        ManageError::Exists(_) => Problem::new(
            Kind::Conflict,
            "there is an authenticator app already",
            "take it away first: `DELETE /api/v1/me/totp`",
        ),
        other => manage_problem(other),
    })?;
    let url = secret.url(&person);
    let picture = QrCode::new(url.as_bytes()).map_err(|error| Problem::unavailable(&error))?;
    let svg = picture
        .render::<svg::Color<'_>>()
        .min_dimensions(PICTURE_SIDE, PICTURE_SIDE)
        .build();
    let shape = TotpShape {
        secret: secret.base32(),
        url,
        svg,
    };
    Ok((StatusCode::CREATED, Json(shape)))
}

/// The app gives codes: it counts from now on. The recovery codes are shown this once.
#[utoipa::path(
    post,
    path = "/me/totp/confirm",
    tag = "me",
    request_body = CodeBody,
    responses((status = 200, body = RecoveryShape)),
    security(("token" = []))
)]
pub async fn confirm_totp(
    caller: Caller,
    source: Source,
    State(rooms): State<Rooms>,
    headers: HeaderMap,
    Body(body): Body<CodeBody>,
) -> Result<Json<RecoveryShape>, Problem> {
    may_change_factors(&rooms, &caller, source, &headers).await?;
    let confirmed = rooms.desk.totp_confirm(caller.person.name, body.code).await;
    let codes = confirmed.map_err(manage_problem)?.ok_or_else(|| {
        unacceptable(
            "code",
            "…",
            "begin with `POST /api/v1/me/totp`, then send the code that the app shows now",
        )
    })?;
    Ok(Json(RecoveryShape {
        recovery_codes: codes.iter().map(|code| code.reveal().to_owned()).collect(),
    }))
}

/// Take the authenticator app away, and its recovery codes.
#[utoipa::path(
    delete,
    path = "/me/totp",
    tag = "me",
    params(("countersign-code" = Option<String>, Header, description = "a one-time code")),
    responses((status = 200, body = FactorsShape)),
    security(("token" = []))
)]
pub async fn remove_totp(
    caller: Caller,
    source: Source,
    State(rooms): State<Rooms>,
    headers: HeaderMap,
) -> Result<Json<FactorsShape>, Problem> {
    may_change_factors(&rooms, &caller, source, &headers).await?;
    let kept = caller.session();
    let person = caller.person.name;
    let removed = rooms.desk.totp_remove(person.clone(), person.clone(), kept).await;
    removed.map_err(manage_problem)?;
    let factors = rooms.desk.factors(person).await.map_err(desk_problem)?;
    Ok(Json(FactorsShape::of(&factors)))
}

/// For somebody who has lost their app and their passkeys: none of them counts any longer, and their sessions end. For 24
/// hours they decide nothing in which whoever did that has a stake.
#[utoipa::path(
    delete,
    path = "/users/{name}/factors",
    tag = "people",
    params(("name" = String, Path, description = "the person")),
    responses((status = 200, body = FactorsShape)),
    security(("token" = []))
)]
pub async fn forget_factors(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(name): Named,
) -> Result<Json<FactorsShape>, Problem> {
    caller.needs(Scope::Manage)?;
    let person = person_name("name", &name)?;
    if person == caller.person.name {
        return Err(unacceptable(
            "name",
            &name,
            "take away your own with a code: `DELETE /api/v1/me/totp`; or let another administrator do it",
        ));
    }
    let forgotten = rooms.desk.factors_forget(person.clone(), caller.hands()).await;
    forgotten.map_err(manage_problem)?;
    let factors = rooms.desk.factors(person).await.map_err(desk_problem)?;
    Ok(Json(FactorsShape::of(&factors)))
}
