//! What people sign in by, on pages: authenticator app, passkeys, password; begun, confirmed, taken away.
//! Never checks what is given: `api/factors.rs` and `api/passkeys.rs` do. Read `settings.rs` for the page around it.
//!
//! Why the second factor is asked for once, in a form of its own: it then counts for five minutes, and every form beside
//! it works without a script.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use qrcode::{Color, QrCode};
use serde::Deserialize;

use super::moments::Moment;
use super::page::{Look, Sender, Shell, Trouble, Visitor, in_words, see_other, shown};
use super::settings::{Said, settings_page};
use crate::api::Rooms;
use crate::api::browser::{CodeBody, Source, step_up};
use crate::api::factors::{self, FactorsShape, LinkBody, PasswordBody, TotpShape};
use crate::api::login::same_origin;
use crate::api::passkeys;
use crate::api::problem::Problem;
use crate::api::read::{Body, Named};
use crate::api::requests::desk_problem;
use crate::clock::Timestamp;
use crate::render::visible_line;

/// Where a form of this room leads back to.
const BACK: &str = "/settings#sign-in-by";

/// Modules of white around a QR code, by its standard.
const QUIET: usize = 4;

/// Letters of a secret that stand together, for those who type it.
const GROUP: usize = 4;

/// What somebody signs in by, and whether they may change it now.
pub struct Means {
    pub has_password: bool,
    pub has_totp: bool,
    pub recovery_codes: u32,
    pub passkeys: Vec<PasskeyLine>,
    /// The second factor has to be given first.
    pub asks_factor: bool,
    /// Why nothing can be changed now, where no second factor helps; empty: it can.
    pub may_not: String,
}

pub struct PasskeyLine {
    pub id: String,
    pub name: String,
    pub made_at: Moment,
    pub used_at: Option<Moment>,
}

impl Means {
    pub async fn of(visitor: &Visitor, rooms: &Rooms) -> Result<Self, Problem> {
        let caller = &visitor.caller;
        let factors = rooms.desk.factors(caller.person.name.clone()).await;
        let factors = factors.map_err(desk_problem)?;
        let has_second = factors.has_second();
        let may = factors::may_change_now(caller, has_second, caller.assurance());
        let asks_factor = has_second
            && may
                .as_ref()
                .is_err_and(|problem| problem.0.code == "step_up_needed");
        let now = Timestamp::now();
        Ok(Self {
            has_password: factors.has_password,
            has_totp: factors.has_totp,
            recovery_codes: factors.recovery_codes,
            passkeys: FactorsShape::of(&factors)
                .passkeys
                .into_iter()
                .map(|passkey| PasskeyLine {
                    id: passkey.id,
                    name: visible_line(&passkey.name),
                    made_at: Moment::parse(&passkey.made_at, now),
                    used_at: passkey.used_at.map(|at| Moment::parse(&at, now)),
                })
                .collect(),
            may_not: match &may {
                Err(problem) if !asks_factor => in_words(problem),
                Err(_) | Ok(()) => String::new(),
            },
            asks_factor,
        })
    }

    pub fn may_change(&self) -> bool {
        !self.asks_factor && self.may_not.is_empty()
    }
}

/// The settings again, with why what was asked for was not done.
async fn not_done(visitor: &Visitor, rooms: &Rooms, problem: &Problem) -> Result<Response, Trouble> {
    let status = StatusCode::from_u16(problem.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let said = Said {
        trouble: in_words(problem),
        ..Said::default()
    };
    let page = settings_page(visitor, rooms, said).await?;
    Ok((status, page).into_response())
}

/// A form with at most a code in it.
#[derive(Deserialize)]
pub struct CodeForm {
    #[serde(default, rename = "_csrf")]
    csrf: String,
    #[serde(default)]
    code: String,
}

/// The second factor: what one signs in by can be changed for five minutes.
pub async fn confirm(
    sender: Sender,
    source: Source,
    State(rooms): State<Rooms>,
    Form(form): Form<CodeForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    match step_up(&rooms, &visitor.caller, source, form.code.trim().to_owned()).await {
        Ok(_assurance) => Ok(see_other(BACK)),
        Err(problem) => not_done(&visitor, &rooms, &problem).await,
    }
}

#[derive(Template)]
#[template(path = "totp.html")]
struct TotpPage {
    shell: Shell,
    /// `None` where the app has the secret already, and only its code is asked for again.
    begun: Option<Enrolment>,
    failed: &'static str,
}

/// What an app needs.
struct Enrolment {
    picture: Picture,
    secret: String,
    url: String,
}

/// A QR code as one path of unit squares.
struct Picture {
    side: usize,
    path: String,
}

impl Enrolment {
    fn of(begun: &TotpShape) -> Result<Self, Problem> {
        let letters: Vec<char> = begun.secret.chars().collect();
        let groups = letters
            .chunks(GROUP)
            .map(|group| group.iter().collect::<String>());
        Ok(Self {
            picture: Picture::of(&begun.url)?,
            secret: groups.collect::<Vec<_>>().join(" "),
            url: begun.url.clone(),
        })
    }
}

impl Picture {
    fn of(text: &str) -> Result<Self, Problem> {
        let code = QrCode::new(text.as_bytes()).map_err(|error| Problem::unavailable(&error))?;
        let width = code.width();
        let colors = code.to_colors();
        let dark = colors
            .iter()
            .enumerate()
            .filter(|(_, color)| **color == Color::Dark);
        let path = dark.fold(String::new(), |mut path, (place, _)| {
            let (across, down) = (place % width + QUIET, place / width + QUIET);
            path.push_str(&format!("M{across} {down}h1v1h-1z"));
            path
        });
        Ok(Self {
            side: width + 2 * QUIET,
            path,
        })
    }
}

/// Begins with an authenticator app: its secret is on the page that answers, this once.
pub async fn begin_totp(
    sender: Sender,
    source: Source,
    State(rooms): State<Rooms>,
    Form(form): Form<CodeForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    let caller = visitor.caller.clone();
    match factors::begin_totp(caller, source, State(rooms.clone()), HeaderMap::new()).await {
        Ok((_, axum::Json(begun))) => Ok(shown(&TotpPage {
            shell: Shell::of(&visitor, &rooms, "settings", "Authenticator app").await?,
            begun: Some(Enrolment::of(&begun)?),
            failed: "",
        })),
        Err(problem) => not_done(&visitor, &rooms, &problem).await,
    }
}

#[derive(Template)]
#[template(path = "recovery.html")]
struct RecoveryPage {
    shell: Shell,
    codes: Vec<String>,
}

/// The app gives codes: it counts from now on. The recovery codes are on the page that answers, this once.
pub async fn confirm_totp(
    sender: Sender,
    source: Source,
    State(rooms): State<Rooms>,
    Form(form): Form<CodeForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    let body = CodeBody {
        code: form.code.trim().to_owned(),
    };
    let caller = visitor.caller.clone();
    let confirmed =
        factors::confirm_totp(caller, source, State(rooms.clone()), HeaderMap::new(), Body(body)).await;
    match confirmed {
        Ok(axum::Json(shape)) => Ok(shown(&RecoveryPage {
            shell: Shell::of(&visitor, &rooms, "settings", "Recovery codes").await?,
            codes: shape.recovery_codes,
        })),
        Err(problem) if problem.0.code == "unacceptable" => {
            let page = shown(&TotpPage {
                shell: Shell::of(&visitor, &rooms, "settings", "Authenticator app").await?,
                begun: None,
                failed: "That is not the code that the app shows now: wait for its next one and type that.",
            });
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(problem) => not_done(&visitor, &rooms, &problem).await,
    }
}

/// The app no longer counts, nor its recovery codes.
pub async fn remove_totp(
    sender: Sender,
    source: Source,
    State(rooms): State<Rooms>,
    Form(form): Form<CodeForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    let caller = visitor.caller.clone();
    match factors::remove_totp(caller, source, State(rooms.clone()), HeaderMap::new()).await {
        Ok(_factors) => Ok(see_other(BACK)),
        Err(problem) => not_done(&visitor, &rooms, &problem).await,
    }
}

/// A passkey no longer counts.
pub async fn remove_passkey(
    sender: Sender,
    source: Source,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
    Form(form): Form<CodeForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    let caller = visitor.caller.clone();
    match passkeys::remove(caller, source, State(rooms.clone()), HeaderMap::new(), Named(id)).await {
        Ok(_factors) => Ok(see_other(BACK)),
        Err(problem) => not_done(&visitor, &rooms, &problem).await,
    }
}

#[derive(Deserialize)]
pub struct PasswordForm {
    #[serde(default, rename = "_csrf")]
    csrf: String,
    #[serde(default)]
    old_password: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    again: String,
}

/// A password of one's own; every session ends, this one too.
pub async fn change_password(
    sender: Sender,
    source: Source,
    State(rooms): State<Rooms>,
    Form(form): Form<PasswordForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    let caller = visitor.caller.clone();
    let body = PasswordBody {
        old_password: Some(form.old_password).filter(|old| !old.is_empty()),
        password: form.password,
    };
    let changed = match same_twice(&body.password, &form.again) {
        Ok(()) => {
            let rooms = State(rooms.clone());
            let changed = factors::change_password(caller, source, rooms, HeaderMap::new(), Body(body));
            changed.await.map(|_set| ())
        }
        Err(problem) => Err(problem),
    };
    match changed {
        Ok(()) => Ok(see_other("/sign-in?said=password")),
        Err(problem) => not_done(&visitor, &rooms, &problem).await,
    }
}

fn same_twice(password: &str, again: &str) -> Result<(), Problem> {
    if password == again {
        return Ok(());
    }
    Err(Problem::new(
        crate::api::problem::Kind::Unacceptable,
        "the new password was not typed the same twice",
        "type it again, twice the same",
    ))
}

#[derive(Template)]
#[template(path = "password.html")]
struct PasswordPage {
    shell: Shell,
    failed: String,
}

/// Where somebody sets their password by the one-time code that an administrator gave them.
pub async fn password_page(headers: HeaderMap) -> Response {
    shown(&PasswordPage {
        shell: Shell::of_nobody(Look::of(&headers), "Set a password"),
        failed: String::new(),
    })
}

#[derive(Deserialize)]
pub struct LinkForm {
    #[serde(default)]
    link: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    again: String,
}

pub async fn set_password(
    State(rooms): State<Rooms>,
    headers: HeaderMap,
    Form(form): Form<LinkForm>,
) -> Response {
    match set_by_code(&rooms, &headers, form).await {
        Ok(()) => see_other("/sign-in?said=password"),
        Err(problem) => {
            let status = StatusCode::from_u16(problem.0.status).unwrap_or_default();
            let page = shown(&PasswordPage {
                shell: Shell::of_nobody(Look::of(&headers), "Set a password"),
                failed: in_words(&problem),
            });
            (status, page).into_response()
        }
    }
}

async fn set_by_code(rooms: &Rooms, headers: &HeaderMap, form: LinkForm) -> Result<(), Problem> {
    same_origin(headers, rooms)?;
    same_twice(&form.password, &form.again)?;
    let body = LinkBody {
        link: form.link,
        password: form.password,
    };
    factors::set_by_link(rooms, body).await.map(|_set| ())
}

/// A one-time code for somebody else's password; on the page that answers, this once.
pub async fn make_password_link(
    sender: Sender,
    State(rooms): State<Rooms>,
    Path(name): Path<String>,
    Form(form): Form<CodeForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    let caller = visitor.caller.clone();
    let made = factors::make_password_link(caller, State(rooms.clone()), Named(name)).await;
    let (_, axum::Json(link)) = made?;
    let said = Said {
        link: Some(link),
        ..Said::default()
    };
    settings_page(&visitor, &rooms, said).await
}
