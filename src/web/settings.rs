//! Settings: who I am, how pages look, my tokens, and for administrators the people and agents there are.
//! Never shows a token twice. Read `api/people.rs` next.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::SET_COOKIE;
use axum::response::Response;
use serde::Deserialize;

use super::me::Means;
use super::moments::Moment;
use super::page::{
    KEYS_COOKIE, Keys, Sender, Shell, THEME_COOKIE, Theme, Trouble, Visitor, see_other, shown,
};
use crate::api::Rooms;
use crate::api::factors::LinkShape;
use crate::api::people::{AgentShape, PersonShape, TokenBody, issue_token as issue};
use crate::api::read::{Body, Named};
use crate::api::requests::desk_problem;
use crate::clock::Timestamp;
use crate::identity::directory::Scope;
use crate::render::visible_line;

/// How long a browser remembers how pages are to look. Units: seconds; a year.
const LOOK_LIFE: u64 = 365 * 24 * 3600;

pub struct PersonLine {
    name: String,
    roles: String,
    groups: String,
    active: bool,
}

pub struct AgentLine {
    name: String,
    owner: String,
    databases: String,
    database_user: String,
    profile: String,
    seen_by: String,
    revoked: bool,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    shell: Shell,
    me: PersonLine,
    scopes: String,
    method: String,
    session_ends: Option<Moment>,
    means: Means,
    said: Said,
    people: Vec<PersonLine>,
    agents: Vec<AgentLine>,
    manages: bool,
}

/// What a form of the settings is answered with, on the page itself.
#[derive(Default)]
pub struct Said {
    /// A token; shown this once.
    pub token: String,
    /// A one-time code for somebody's password; shown this once.
    pub link: Option<LinkShape>,
    /// Why what one signs in by was not changed.
    pub trouble: String,
}

impl PersonLine {
    fn of(person: PersonShape) -> Self {
        Self {
            name: visible_line(&person.name),
            roles: person.roles.join(", "),
            groups: visible_line(&person.groups.join(", ")),
            active: person.active,
        }
    }
}

impl AgentLine {
    fn of(agent: AgentShape) -> Self {
        Self {
            name: visible_line(&agent.name),
            owner: visible_line(&agent.owner),
            databases: match agent.databases.is_empty() {
                true => "all".to_owned(),
                false => visible_line(&agent.databases.join(", ")),
            },
            database_user: visible_line(&agent.database_user),
            profile: agent.profile,
            seen_by: agent.secret_seen_by.join(", "),
            revoked: agent.revoked,
        }
    }
}

pub async fn page(visitor: Visitor, State(rooms): State<Rooms>) -> Result<Response, Trouble> {
    settings_page(&visitor, &rooms, Said::default()).await
}

pub async fn settings_page(visitor: &Visitor, rooms: &Rooms, said: Said) -> Result<Response, Trouble> {
    let manages = visitor.may(Scope::Manage);
    let (people, agents) = match manages {
        true => (
            rooms.desk.people().await.map_err(desk_problem)?,
            rooms.desk.agents().await.map_err(desk_problem)?,
        ),
        false => (Vec::new(), Vec::new()),
    };
    let session = crate::api::browser::SessionShape::shown(rooms, &visitor.caller).await?;
    let scopes = visitor.caller.scopes.iter().map(|scope| scope.to_string());
    Ok(shown(&SettingsPage {
        shell: Shell::of(visitor, rooms, "settings", "Settings").await?,
        me: PersonLine::of(PersonShape::of(&visitor.caller.person)),
        scopes: scopes.collect::<Vec<_>>().join(", "),
        method: session.method,
        session_ends: session.ends_at.map(|at| Moment::parse(&at, Timestamp::now())),
        means: Means::of(visitor, rooms).await?,
        said,
        people: people
            .iter()
            .map(|person| PersonLine::of(PersonShape::of(person)))
            .collect(),
        agents: agents
            .iter()
            .map(|agent| AgentLine::of(AgentShape::of(agent)))
            .collect(),
        manages,
    }))
}

#[derive(Debug, Deserialize)]
pub struct LookForm {
    #[serde(default, rename = "_csrf")]
    csrf: String,
    #[serde(default)]
    theme: String,
    #[serde(default)]
    keys: String,
}

/// How pages look, kept by the browser.
pub async fn look(sender: Sender, Form(form): Form<LookForm>) -> Result<Response, Trouble> {
    sender.check(&form.csrf)?;
    let mut response = see_other("/settings");
    let cookies = [
        (THEME_COOKIE, Theme::parse(&form.theme).as_str()),
        (KEYS_COOKIE, Keys::parse(&form.keys).as_str()),
    ];
    for (name, value) in cookies {
        let cookie = format!("{name}={value}; Path=/; Max-Age={LOOK_LIFE}; SameSite=Lax; HttpOnly");
        let cookie = HeaderValue::from_str(&cookie).expect("made of ASCII words");
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

#[derive(Debug, Deserialize)]
pub struct TokenForm {
    #[serde(default, rename = "_csrf")]
    csrf: String,
    #[serde(default)]
    expires_in: String,
}

/// A token of one's own for command line and tools; shown on the page that answers.
pub async fn issue_token(
    sender: Sender,
    State(rooms): State<Rooms>,
    Form(form): Form<TokenForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    let name = visitor.caller.person.name.to_string();
    let body = TokenBody {
        expires_in: (!form.expires_in.is_empty()).then_some(form.expires_in),
        ..TokenBody::default()
    };
    let caller = visitor.caller.clone();
    let (_, axum::Json(made)) = issue(caller, State(rooms.clone()), Named(name), Body(body)).await?;
    let said = Said {
        token: made.token,
        ..Said::default()
    };
    settings_page(&visitor, &rooms, said).await
}
