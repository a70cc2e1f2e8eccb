//! Passkeys (WebAuthn): registered, signed in with, given as a second factor, taken away. Each verifies its user.
//! Never says whether a name is known, nor lets a ceremony end twice. Read `ceremony.rs` next.
//!
//! Why nobody says who signs in: what would be asked of a person's keys tells names apart, however it is disguised (how many
//! keys, how long their ids). So keys are made to be found by the browser, and say themselves whose they are.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use webauthn_rs::prelude::{
    DiscoverableAuthentication, Passkey, PublicKeyCredential, RegisterPublicKeyCredential, Url, Uuid,
};
use webauthn_rs::{Webauthn, WebauthnBuilder};

use super::Rooms;
use super::browser::{SessionShape, SignedIn, Source, Trial, end_old_session, to_the_end};
use super::ceremony::{Ceremonies, Ceremony, Number, Opened};
use super::factors::{FactorsShape, may_change_factors};
use super::login::{Caller, Via, same_origin};
use super::people::manage_problem;
use super::problem::{Kind, Problem, ProblemDocument};
use super::read::{Body, Named, unacceptable};
use super::requests::desk_problem;
use crate::clock::Timestamp;
use crate::desk::{KeptPasskey, OpenedBy, PASSKEYS_MAX, PasskeyUse, Whence};
use crate::identity::assurance::{Assurance, Method};
use crate::identity::principal::PersonName;
use crate::identity::secret::SessionHash;

/// Where browsers reach the pages when the settings do not say: this machine, at whatever port.
const ORIGINS_DEFAULT: [&str; 2] = ["http://localhost", "https://localhost"];

/// What somebody calls their passkey.
const NAME_BYTES_MAX: usize = 63;

/// What passkeys need: who we are to browsers, and the ceremonies that run.
pub struct Passkeys {
    /// `None` where browsers reach us by no name: passkeys are bound to one.
    relying: Option<Webauthn>,
    ceremonies: Ceremonies,
}

impl Passkeys {
    /// `origin`: where browsers reach the pages, as the settings say.
    pub fn new(origin: Option<&str>) -> Self {
        Self {
            relying: relying(origin),
            ceremonies: Ceremonies::default(),
        }
    }

    fn relying(&self) -> Result<&Webauthn, Problem> {
        self.relying.as_ref().ok_or_else(|| {
            Problem::new(
                Kind::Conflict,
                "passkeys are bound to a host's name, and `people.origin` has none",
                "set `origin = \"https://NAME\"` in `[people]`",
            )
        })
    }

    /// What the browser is handed, with what it brings back.
    fn begin(&self, what: Ceremony, options: Value) -> Result<CeremonyShape, Problem> {
        let sealed = self.ceremonies.seal(what);
        let ceremony = sealed.ok_or_else(|| Problem::unavailable(&"a ceremony could not be sealed"))?;
        Ok(CeremonyShape { ceremony, options })
    }

    /// What was begun, unless it is over.
    fn open(&self, text: &str) -> Result<Opened, Problem> {
        self.ceremonies.open(text).ok_or_else(over)
    }

    /// No answer counts twice.
    fn end(&self, number: Number) -> Result<(), Problem> {
        if self.ceremonies.end(number) {
            return Ok(());
        }
        Err(over())
    }
}

fn relying(origin: Option<&str>) -> Option<Webauthn> {
    let build = |origin: &str, others: &[&str]| {
        let url = Url::parse(origin).ok()?;
        let host = url.domain()?.to_owned();
        let mut builder = WebauthnBuilder::new(&host, &url).ok()?.rp_name("Countersign");
        for other in others {
            builder = builder.append_allowed_origin(&Url::parse(other).ok()?);
        }
        builder.allow_any_port(!others.is_empty()).build().ok()
    };
    match origin {
        Some(origin) => build(origin, &[]),
        None => build(ORIGINS_DEFAULT[0], &ORIGINS_DEFAULT[1..]),
    }
}

/// What a page hands to the browser, and what it sends back with the browser's answer.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CeremonyShape {
    pub ceremony: String,
    /// For `navigator.credentials.create` or `.get`, binary values in base 64 for URLs.
    #[schema(value_type = Object)]
    pub options: Value,
}

/// The browser's answer.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerBody {
    pub ceremony: String,
    /// The `PublicKeyCredential`, as its `toJSON` gives it.
    #[schema(value_type = Object)]
    pub credential: Value,
}

/// The browser's answer to a registration.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterBody {
    pub ceremony: String,
    /// What its owner calls it: `laptop`.
    pub name: String,
    /// The `PublicKeyCredential`, as its `toJSON` gives it.
    #[schema(value_type = Object)]
    pub credential: Value,
}

fn over() -> Problem {
    unacceptable(
        "ceremony",
        "…",
        "begin again: each is good for 5 minutes and for one right answer",
    )
}

fn json_of(value: &impl Serialize) -> Result<Value, Problem> {
    serde_json::to_value(value).map_err(|error| Problem::unavailable(&error))
}

fn read<T: serde::de::DeserializeOwned>(credential: Value) -> Result<T, Problem> {
    serde_json::from_value(credential).map_err(|_| {
        unacceptable(
            "credential",
            "…",
            "send what `navigator.credentials` gave, binary values in base 64 for URLs",
        )
    })
}

fn passkey(kept: &KeptPasskey) -> Result<Passkey, Problem> {
    serde_json::from_str(&kept.credential).map_err(|error| Problem::unavailable(&error))
}

/// The same for a person for ever, and nobody's name.
fn handle(person: &PersonName) -> Uuid {
    let hash = Sha256::digest(format!("countersign passkey of {person}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Uuid::from_bytes(bytes)
}

/// Begin to register a passkey for the caller.
#[utoipa::path(
    post,
    path = "/me/passkeys/begin",
    tag = "me",
    params(("countersign-code" = Option<String>, Header, description = "a one-time code, if there is a second factor already")),
    responses(
        (status = 200, body = CeremonyShape),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn begin_registration(
    caller: Caller,
    source: Source,
    State(rooms): State<Rooms>,
    headers: HeaderMap,
) -> Result<Json<CeremonyShape>, Problem> {
    may_change_factors(&rooms, &caller, source, &headers).await?;
    let passkeys = &rooms.sign_ins.passkeys;
    let person = caller.person.name;
    let kept = rooms.desk.passkeys(person.clone()).await.map_err(desk_problem)?;
    let known = kept.iter().map(|kept| kept.id.clone()).collect();
    let (options, state) = passkeys
        .relying()?
        .start_passkey_registration(handle(&person), person.as_str(), person.as_str(), Some(known))
        .map_err(|error| Problem::unavailable(&error))?;
    let mut options = json_of(&options)?;
    // Only a key that the browser finds by itself signs in alone.
    options["publicKey"]["authenticatorSelection"]["residentKey"] = json!("required");
    options["publicKey"]["authenticatorSelection"]["requireResidentKey"] = json!(true);
    let begun = Ceremony::Register {
        person: person.to_string(),
        seen_by: caller.token_seen_by.iter().map(ToString::to_string).collect(),
        state: Box::new(state),
    };
    passkeys.begin(begun, options).map(Json)
}

/// The browser has made the passkey: it counts from now on.
#[utoipa::path(
    post,
    path = "/me/passkeys/finish",
    tag = "me",
    request_body = RegisterBody,
    responses(
        (status = 201, body = FactorsShape),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn finish_registration(
    caller: Caller,
    State(rooms): State<Rooms>,
    Body(body): Body<RegisterBody>,
) -> Result<(StatusCode, Json<FactorsShape>), Problem> {
    let name = body.name.trim().to_owned();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
        let step = format!("write 1 to {NAME_BYTES_MAX} bytes without control characters");
        return Err(unacceptable("name", &name, step));
    }
    let answer: RegisterPublicKeyCredential = read(body.credential)?;
    let passkeys = &rooms.sign_ins.passkeys;
    let opened = passkeys.open(&body.ceremony)?;
    let Ceremony::Register {
        person: begun_by,
        seen_by,
        state,
    } = opened.ceremony
    else {
        return Err(over());
    };
    let person = caller.person.name.clone();
    if begun_by != person.as_str() || !caller.is_whole() {
        return Err(over());
    }
    let made = passkeys.relying()?.finish_passkey_registration(&answer, &state);
    let made = made.map_err(|error| {
        tracing::info!(person.name = %person, "a passkey was not registered: {error}");
        unacceptable(
            "credential",
            "…",
            "begin again, with a key that verifies its user",
        )
    })?;
    passkeys.end(opened.number)?;
    let seen_by = seen_by.iter().filter_map(|name| PersonName::parse(name).ok());
    let seen_by: BTreeSet<PersonName> = seen_by.chain(caller.token_seen_by).collect();
    let kept = KeptPasskey {
        id: made.cred_id().clone(),
        person: person.clone(),
        credential: serde_json::to_string(&made).map_err(|error| Problem::unavailable(&error))?,
    };
    let added = rooms.desk.passkey_add(kept, name, seen_by).await;
    if !added.map_err(manage_problem)? {
        return Err(Problem::new(
            Kind::Conflict,
            format!("it is registered already, or there are {PASSKEYS_MAX}"),
            "take one away first: `DELETE /api/v1/me/passkeys/{id}`",
        ));
    }
    let factors = rooms.desk.factors(person).await.map_err(desk_problem)?;
    Ok((StatusCode::CREATED, Json(FactorsShape::of(&factors))))
}

/// Take a passkey of the caller's away.
#[utoipa::path(
    delete,
    path = "/me/passkeys/{id}",
    tag = "me",
    params(
        ("id" = String, Path, description = "as `GET /api/v1/me/factors` gives it"),
        ("countersign-code" = Option<String>, Header, description = "a one-time code"),
    ),
    responses(
        (status = 200, body = FactorsShape),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn remove(
    caller: Caller,
    source: Source,
    State(rooms): State<Rooms>,
    headers: HeaderMap,
    Named(id): Named,
) -> Result<Json<FactorsShape>, Problem> {
    may_change_factors(&rooms, &caller, source, &headers).await?;
    let kept = caller.session();
    let person = caller.person.name;
    let unknown = || Problem::not_found("passkey", &id);
    let bytes = URL_SAFE_NO_PAD.decode(&id).map_err(|_| unknown())?;
    let removed = rooms.desk.passkey_remove(person.clone(), bytes, kept).await;
    if !removed.map_err(manage_problem)? {
        return Err(unknown());
    }
    let factors = rooms.desk.factors(person).await.map_err(desk_problem)?;
    Ok(Json(FactorsShape::of(&factors)))
}

/// Begin to sign in with a passkey. Nobody says who it will be: the browser shows the keys that it has for this address,
/// and the one that answers says whose it is.
#[utoipa::path(
    post,
    path = "/session/passkey/begin",
    tag = "session",
    responses(
        (status = 200, body = CeremonyShape),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn begin_sign_in(
    State(rooms): State<Rooms>,
    headers: HeaderMap,
) -> Result<Json<CeremonyShape>, Problem> {
    same_origin(&headers, &rooms)?;
    let passkeys = &rooms.sign_ins.passkeys;
    let (options, state) = ask(passkeys.relying()?, &[])?;
    passkeys.begin(Ceremony::SignIn { state }, options).map(Json)
}

/// What the browser is asked, each key by its id alone; none: any that it has for us.
fn ask(
    relying: &Webauthn,
    kept: &[KeptPasskey],
) -> Result<(Value, Box<DiscoverableAuthentication>), Problem> {
    let (options, state) = relying
        .start_discoverable_authentication()
        .map_err(|error| Problem::unavailable(&error))?;
    let mut options = json_of(&options)?;
    // It is asked for by a button, not while somebody types a name.
    if let Some(options) = options.as_object_mut() {
        options.remove("mediation");
    }
    let ids = kept
        .iter()
        .map(|kept| json!({ "type": "public-key", "id": URL_SAFE_NO_PAD.encode(&kept.id) }));
    options["publicKey"]["allowCredentials"] = ids.collect();
    Ok((options, Box::new(state)))
}

/// What the key that has answered is kept as from now on; `None` if its answer does not count.
fn answered(
    relying: &Webauthn,
    state: DiscoverableAuthentication,
    kept: &KeptPasskey,
    answer: &PublicKeyCredential,
) -> Result<Option<PasskeyUse>, Problem> {
    let mut passkey = passkey(kept)?;
    let result = match relying.finish_discoverable_authentication_v2(answer, state, &passkey) {
        Ok(result) if result.user_verified() => result,
        Ok(_) => return Ok(None),
        Err(error) => {
            tracing::info!(person.name = %kept.person, "a passkey's answer does not count: {error}");
            return Ok(None);
        }
    };
    // `None` would be another key's answer, which the comparison of ids has ruled out.
    let _changed = passkey.update_credential(&result);
    Ok(Some(PasskeyUse {
        before: kept.clone(),
        after: serde_json::to_string(&passkey).map_err(|error| Problem::unavailable(&error))?,
    }))
}

/// The passkey that answers, if it says itself that it is its person's.
async fn found(
    rooms: &Rooms,
    relying: &Webauthn,
    answer: &PublicKeyCredential,
) -> Result<Option<KeptPasskey>, Problem> {
    let Ok((handle_given, id)) = relying.identify_discoverable_authentication(answer) else {
        return Ok(None);
    };
    let kept = rooms.desk.passkey(id.to_vec()).await.map_err(desk_problem)?;
    Ok(kept.filter(|kept| handle(&kept.person) == handle_given))
}

/// Sign in with a passkey: sets the cookie of a session that counts as sure for 5 minutes.
#[utoipa::path(
    post,
    path = "/session/passkey/finish",
    tag = "session",
    request_body = AnswerBody,
    responses(
        (status = 200, body = SessionShape),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn finish_sign_in(
    State(rooms): State<Rooms>,
    source: Source,
    headers: HeaderMap,
    Body(body): Body<AnswerBody>,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1], Json<SessionShape>), Problem> {
    same_origin(&headers, &rooms)?;
    let answer: PublicKeyCredential = read(body.credential)?;
    let signed_in = to_the_end(async move {
        let passkeys = &rooms.sign_ins.passkeys;
        let opened = passkeys.open(&body.ceremony)?;
        let Ceremony::SignIn { state } = opened.ceremony else {
            return Err(over());
        };
        let relying = passkeys.relying()?;
        let kept = found(&rooms, relying, &answer).await?;
        let used = match &kept {
            Some(kept) => answered(relying, *state, kept, &answer)?,
            None => None,
        };
        if used.is_some() {
            passkeys.end(opened.number)?;
        }
        let trial = Trial {
            typed: kept.map(|kept| kept.person.to_string()).unwrap_or_default(),
            source,
            method: Method::Passkey,
            by: used.map(OpenedBy::Passkey),
        };
        let opened = trial.open(&rooms, None).await?;
        end_old_session(&rooms, source, &headers).await?;
        SignedIn::of(&rooms, opened).await
    })
    .await?;
    let cookie = [(SET_COOKIE, signed_in.set_cookie)];
    Ok((StatusCode::OK, cookie, Json(signed_in.session)))
}

/// Begin to give a passkey as a second factor in a session.
#[utoipa::path(
    post,
    path = "/session/step-up/begin",
    tag = "session",
    responses(
        (status = 200, body = CeremonyShape),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn begin_step_up(
    caller: Caller,
    State(rooms): State<Rooms>,
) -> Result<Json<CeremonyShape>, Problem> {
    let passkeys = &rooms.sign_ins.passkeys;
    let session = session_of(&caller)?;
    let person = caller.person.name;
    let kept = rooms.desk.passkeys(person.clone()).await.map_err(desk_problem)?;
    if kept.is_empty() {
        return Err(Problem::new(
            Kind::Conflict,
            "there is no passkey",
            "send a code of your authenticator app: `POST /api/v1/session/step-up`",
        ));
    }
    let (options, state) = ask(passkeys.relying()?, &kept)?;
    let begun = Ceremony::StepUp {
        session: *session.as_bytes(),
        person: person.to_string(),
        state,
    };
    passkeys.begin(begun, options).map(Json)
}

fn session_of(caller: &Caller) -> Result<SessionHash, Problem> {
    match &caller.via {
        Via::Session(session) => Ok(session.hash),
        Via::Token => Err(Problem::new(
            Kind::Conflict,
            "a token's call has no session that could be made surer",
            "sign in with a browser; by token, send a code in the header `countersign-code`",
        )),
    }
}

/// The passkey has answered: approvals of high and critical risk count for 5 minutes.
#[utoipa::path(
    post,
    path = "/session/step-up/finish",
    tag = "session",
    request_body = AnswerBody,
    responses(
        (status = 200, body = SessionShape),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn finish_step_up(
    caller: Caller,
    source: Source,
    State(rooms): State<Rooms>,
    Body(body): Body<AnswerBody>,
) -> Result<Json<SessionShape>, Problem> {
    let mut caller = caller;
    let session = session_of(&caller)?;
    let answer: PublicKeyCredential = read(body.credential)?;
    let passkeys = &rooms.sign_ins.passkeys;
    let opened = passkeys.open(&body.ceremony)?;
    let Ceremony::StepUp {
        session: begun_in,
        person: begun_by,
        state,
    } = opened.ceremony
    else {
        return Err(over());
    };
    if begun_in != *session.as_bytes() || begun_by != caller.person.name.as_str() {
        return Err(over());
    }
    let kept = rooms.desk.passkeys(caller.person.name.clone()).await;
    let mut kept = kept.map_err(desk_problem)?.into_iter();
    let used = match kept.find(|kept| kept.id == answer.get_credential_id()) {
        Some(kept) => answered(passkeys.relying()?, *state, &kept, &answer)?,
        None => None,
    };
    if used.is_some() {
        passkeys.end(opened.number)?;
    }
    let whence = Whence { source: source.0 };
    let counts = match used {
        Some(used) => rooms
            .desk
            .step_up_by_passkey(session, used, whence)
            .await
            .map_err(desk_problem)?,
        None => false,
    };
    if !counts {
        let trial = Trial {
            typed: caller.person.name.to_string(),
            source,
            method: Method::Passkey,
            by: None,
        };
        let _answer_to_strangers = trial
            .turned_away(&rooms, "the passkey's answer does not count")
            .await;
        return Err(super::browser::step_up_needed(
            "the passkey's answer does not count",
        ));
    }
    if let Via::Session(session) = &mut caller.via {
        session.assurance = Assurance {
            method: Method::Passkey,
            strong_at: Some(Timestamp::now()),
        };
    }
    SessionShape::shown(&rooms, &caller).await.map(Json)
}
