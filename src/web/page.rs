//! What all pages share: who looks, how the page looks, what an error looks like.
//! Never shows a page to somebody who is not signed in. Read `queue.rs` next.

use askama::Template;
use axum::extract::{FromRequestParts, Request};
use axum::http::header::{ACCEPT, COOKIE, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{Html, IntoResponse, Response};

use super::assets::{self, ICON_COUNT_MAX};
use crate::api::Rooms;
use crate::api::login::{Caller, FormCaller};
use crate::api::problem::{Kind, Problem};
use crate::api::requests::desk_problem;
use crate::clock::Timestamp;
use crate::desk::RequestFilter;
use crate::hold::StateKind;
use crate::identity::directory::Scope;

/// Requests that are counted for the title of a tab.
const COUNTED_MAX: usize = 100;

/// How somebody wants pages to look; kept in cookies that mean nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub theme: Theme,
    /// Whether keys of their own do something.
    pub keys: Keys,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// As the system says.
    Auto,
    Light,
    Dark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    On,
    Off,
}

pub const THEME_COOKIE: &str = "countersign-theme";
pub const KEYS_COOKIE: &str = "countersign-keys";

impl Theme {
    pub fn parse(text: &str) -> Self {
        match text {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _auto => Self::Auto,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

impl Keys {
    pub fn parse(text: &str) -> Self {
        if text == "off" { Self::Off } else { Self::On }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

impl Look {
    pub fn of(headers: &HeaderMap) -> Self {
        let cookie = |name: &str| {
            let values = headers.get_all(COOKIE).iter();
            let pairs = values
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.split(';'));
            let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
            pairs
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value)
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            theme: Theme::parse(&cookie(THEME_COOKIE)),
            keys: Keys::parse(&cookie(KEYS_COOKIE)),
        }
    }
}

/// The signed-in person who looks at a page.
pub struct Visitor {
    pub caller: Caller,
    pub look: Look,
}

/// The signed-in person who sends a form; nobody's word until its CSRF token is checked.
pub struct Sender {
    caller: FormCaller,
    look: Look,
}

impl Sender {
    /// `field` is what came as `_csrf`.
    pub fn check(self, field: &str) -> Result<Visitor, Trouble> {
        Ok(Visitor {
            caller: self.caller.check_csrf(field)?,
            look: self.look,
        })
    }
}

impl Visitor {
    pub fn may(&self, scope: Scope) -> bool {
        self.caller.scopes.has(scope)
    }

    /// What a form sends back as `_csrf`.
    pub fn csrf(&self) -> String {
        self.caller.csrf().unwrap_or_default().to_owned()
    }
}

impl FromRequestParts<Rooms> for Visitor {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, rooms: &Rooms) -> Result<Self, Trouble> {
        let look = Look::of(&parts.headers);
        match Caller::from_request_parts(parts, rooms).await {
            Ok(caller) => Ok(Self { caller, look }),
            Err(problem) => Err(turned_away(problem, parts)),
        }
    }
}

impl FromRequestParts<Rooms> for Sender {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, rooms: &Rooms) -> Result<Self, Trouble> {
        let look = Look::of(&parts.headers);
        match FormCaller::from_request_parts(parts, rooms).await {
            Ok(caller) => Ok(Self { caller, look }),
            Err(problem) => Err(turned_away(problem, parts)),
        }
    }
}

/// Somebody without a session is asked to sign in, and comes back to the page afterwards.
fn turned_away(problem: Problem, parts: &Parts) -> Trouble {
    if problem.0.code != "unauthenticated" {
        return Trouble::Problem(problem, Look::of(&parts.headers));
    }
    let next = match (&parts.method, parts.uri.path_and_query()) {
        (&Method::GET, Some(path)) => path.as_str().to_owned(),
        (_, _) => "/".to_owned(),
    };
    Trouble::SignIn { next }
}

/// Why a page is not shown.
pub enum Trouble {
    SignIn { next: String },
    Problem(Problem, Look),
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        let look = Look {
            theme: Theme::Auto,
            keys: Keys::On,
        };
        Self::Problem(problem, look)
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn { next } => see_other(&format!("/sign-in?next={}", encoded(&next))),
            Self::Problem(problem, look) => {
                let status =
                    StatusCode::from_u16(problem.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let page = ProblemPage {
                    shell: Shell::of_nobody(look, "Not possible"),
                    title: problem.0.title.clone(),
                    detail: problem.0.detail.clone(),
                    next_step: problem.0.next_step.clone(),
                };
                (status, shown(&page)).into_response()
            }
        }
    }
}

/// A problem in a sentence beside the form that it is about.
pub fn in_words(problem: &Problem) -> String {
    let problem = &problem.0;
    match problem.code.as_str() {
        // The API says which call to make; on a page the field is there.
        "step_up_needed" => format!("Not done: {}.", problem.detail),
        _other => format!("Not done: {}. Next: {}.", problem.detail, problem.next_step),
    }
}

/// A redirection that a browser follows with GET.
pub fn see_other(to: &str) -> Response {
    let location =
        axum::http::HeaderValue::from_str(to).unwrap_or_else(|_| axum::http::HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response()
}

/// A text as one value of a query.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut shown, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                    shown.push(char::from(byte));
                }
                other => shown.push_str(&format!("%{other:02X}")),
            }
            shown
        })
}

/// What stands around every page.
pub struct Shell {
    pub look: Look,
    pub title: String,
    /// Which entry of the navigation it belongs to.
    pub section: &'static str,
    /// `None`: nobody is signed in.
    pub person: Option<String>,
    pub csrf: String,
    pub sees_log: bool,
    pub may_decide: bool,
    /// Requests that wait, up to a hundred.
    pub waiting: usize,
    /// Reviews that nobody has signed yet, of what one person approved alone.
    pub open_reviews: u64,
    pub assets: String,
    /// The server's time, in milliseconds since 1970.
    pub now_millis: i64,
}

impl Shell {
    pub async fn of(
        visitor: &Visitor,
        rooms: &Rooms,
        section: &'static str,
        title: impl Into<String>,
    ) -> Result<Self, Trouble> {
        let filter = RequestFilter {
            states: vec![StateKind::Pending, StateKind::Detached],
            limit: COUNTED_MAX,
            ..RequestFilter::default()
        };
        let waiting = match visitor.may(Scope::Read) {
            true => rooms.desk.list(filter).await.map_err(desk_problem)?.items.len(),
            false => 0,
        };
        let open_reviews = match visitor.may(Scope::Read) {
            true => rooms.desk.open_reviews().await.map_err(desk_problem)?,
            false => 0,
        };
        Ok(Self {
            look: visitor.look,
            title: title.into(),
            section,
            person: Some(visitor.caller.person.name.to_string()),
            csrf: visitor.csrf(),
            sees_log: visitor.may(Scope::Log),
            may_decide: visitor.may(Scope::Decide),
            waiting,
            open_reviews,
            assets: assets::folder(),
            now_millis: Timestamp::now().micros() / 1_000,
        })
    }

    /// Around a page that is shown to anybody.
    pub fn of_nobody(look: Look, title: &str) -> Self {
        Self {
            look,
            title: title.to_owned(),
            section: "",
            person: None,
            csrf: String::new(),
            sees_log: false,
            may_decide: false,
            waiting: 0,
            open_reviews: 0,
            assets: assets::folder(),
            now_millis: Timestamp::now().micros() / 1_000,
        }
    }

    pub fn icon(&self) -> String {
        match self.waiting {
            count if count <= ICON_COUNT_MAX => format!("/icon/{count}.svg"),
            _more => "/icon/more.svg".to_owned(),
        }
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    shell: Shell,
    title: String,
    detail: String,
    next_step: String,
}

/// A template as a page. Rendering writes into memory and so cannot fail but for a fault of a template's own.
pub fn shown(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => Problem::unavailable(&error).into_response(),
    }
}

/// What no route leads to: a page for browsers, a problem document for programs.
pub async fn not_found(request: Request) -> Response {
    let path = request.uri().path();
    let problem = Problem::not_found("route", path);
    let wants_page = request
        .headers()
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accepted| accepted.contains("text/html"));
    if path.starts_with("/api/") || !wants_page {
        return problem.into_response();
    }
    let problem = Problem::new(
        Kind::NotFound,
        format!("there is no page `{path}`"),
        "begin at the queue",
    );
    Trouble::Problem(problem, Look::of(request.headers())).into_response()
}
