//! Sessions of agents: those that are connected, and their end; what one of them did, out of the log. Never keeps a list
//! of its own: the log is what happened.
//! Read `log.rs` next.

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::moments::{Moment, span};
use super::page::{Sender, Shell, Trouble, Visitor, see_other, shown};
use super::record_list::{RecordShown, read};
use super::sign_in::own_path;
use crate::api::Rooms;
use crate::api::problem::Problem;
use crate::api::requests::desk_problem;
use crate::api::sessions::{Session, end_by, live};
use crate::audit::{Kind, Record};
use crate::clock::Timestamp;
use crate::identity::directory::Scope;
use crate::identity::principal::SessionId;
use crate::journal::{LogFilter, Order};
use crate::render::visible_line;

/// Sessions on one page.
const SESSIONS_MAX: usize = 50;
/// Records of one session on one page.
const RECORDS_MAX: usize = 200;

#[derive(Debug, Default, Deserialize)]
pub struct SessionsQuery {
    #[serde(default)]
    agent: String,
    #[serde(default)]
    cursor: String,
}

pub struct SessionShown {
    id: String,
    at: Moment,
    principal: String,
    owner: String,
    place: String,
    source: String,
    application: String,
    /// How long it lasted; empty: no end is recorded yet.
    lasted: String,
    end: String,
}

/// A session that is connected now.
pub struct LiveShown {
    id: String,
    since: Moment,
    active: Moment,
    principal: String,
    owner: String,
    place: String,
    source: String,
    application: String,
    /// The request that its client waits for.
    held: String,
}

impl LiveShown {
    fn of(live: &Session, now: Timestamp) -> Self {
        Self {
            id: live.session.clone(),
            since: Moment::parse(&live.since, now),
            active: Moment::parse(&live.active_at, now),
            principal: visible_line(&live.principal),
            owner: visible_line(&live.owner),
            place: format!(
                "{}/{}",
                visible_line(&live.upstream),
                visible_line(&live.database)
            ),
            source: live.source.clone(),
            application: visible_line(&live.application_name),
            held: live.held.clone().unwrap_or_default(),
        }
    }
}

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage {
    shell: Shell,
    live: Vec<LiveShown>,
    sessions: Vec<SessionShown>,
    agent: String,
    next: Option<String>,
}

pub async fn page(
    visitor: Visitor,
    State(rooms): State<Rooms>,
    Query(query): Query<SessionsQuery>,
) -> Result<Response, Trouble> {
    let now = Timestamp::now();
    let live = live(&rooms, &visitor.caller).await?;
    let is_meant = |live: &&Session| query.agent.is_empty() || live.principal == query.agent;
    let live = live.iter().filter(is_meant).map(|live| LiveShown::of(live, now));
    // Those that have ended are in the log alone.
    let (sessions, next) = match visitor.may(Scope::Log) {
        true => of_the_log(&visitor, &rooms, &query, now).await?,
        false => (Vec::new(), None),
    };
    Ok(shown(&SessionsPage {
        shell: Shell::of(&visitor, &rooms, "sessions", "Sessions").await?,
        live: live.collect(),
        sessions,
        agent: query.agent,
        next,
    }))
}

async fn of_the_log(
    visitor: &Visitor,
    rooms: &Rooms,
    query: &SessionsQuery,
    now: Timestamp,
) -> Result<(Vec<SessionShown>, Option<String>), Problem> {
    let agent = (!query.agent.is_empty()).then(|| query.agent.clone());
    look(visitor, rooms, format!("sessions {}", query.agent)).await?;
    let filter = LogFilter {
        kind: Some(Kind::SessionStart),
        principal: agent.clone(),
        limit: SESSIONS_MAX,
        cursor: (!query.cursor.is_empty()).then(|| query.cursor.clone()),
        ..LogFilter::default()
    };
    let started = read(rooms, filter).await?;
    let oldest = started.records.last().map(|record| record.time);
    let ends = LogFilter {
        kind: Some(Kind::SessionEnd),
        principal: agent,
        since: oldest,
        limit: SESSIONS_MAX * 4,
        ..LogFilter::default()
    };
    let ended = read(rooms, ends).await?;
    let session = |record: &Record| {
        let end = ended.records.iter();
        let end = end
            .filter(|end| end.fields.session.is_some())
            .find(|end| end.fields.session == record.fields.session);
        session_shown(record, end, now)
    };
    Ok((started.records.iter().map(session).collect(), started.next_cursor))
}

fn session_shown(start: &Record, end: Option<&Record>, now: Timestamp) -> SessionShown {
    let text = |text: &Option<String>| visible_line(text.as_deref().unwrap_or_default());
    let fields = &start.fields;
    SessionShown {
        id: fields.session.map(|id| id.to_string()).unwrap_or_default(),
        at: Moment::of(start.time, now),
        principal: text(&fields.principal),
        owner: text(&fields.owner),
        place: format!("{}/{}", text(&fields.upstream), text(&fields.database)),
        source: text(&fields.source),
        application: text(&fields.application_name),
        lasted: end.map_or(String::new(), |end| span(end.time.since(start.time).as_secs())),
        end: end.map_or(String::new(), |end| text(&end.fields.detail)),
    }
}

#[derive(Debug, Default, Deserialize)]
pub struct TimelineQuery {
    #[serde(default)]
    cursor: String,
}

#[derive(Template)]
#[template(path = "timeline.html")]
struct TimelinePage {
    shell: Shell,
    id: String,
    is_connected: bool,
    records: Vec<RecordShown>,
    next: Option<String>,
}

pub async fn timeline(
    visitor: Visitor,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
    Query(query): Query<TimelineQuery>,
) -> Result<Response, Trouble> {
    visitor.caller.needs(Scope::Log)?;
    let session = SessionId::parse(&id).ok_or_else(|| Problem::not_found("session", &id))?;
    look(&visitor, &rooms, format!("session {session}")).await?;
    let filter = LogFilter {
        session: Some(session),
        order: Order::OldestFirst,
        limit: RECORDS_MAX,
        cursor: (!query.cursor.is_empty()).then_some(query.cursor),
        ..LogFilter::default()
    };
    let page = read(&rooms, filter).await?;
    let now = Timestamp::now();
    Ok(shown(&TimelinePage {
        shell: Shell::of(&visitor, &rooms, "sessions", format!("Session {session}")).await?,
        id: session.to_string(),
        is_connected: is_connected(&rooms, session),
        records: page
            .records
            .iter()
            .map(|record| RecordShown::of(record, now))
            .collect(),
        next: page.next_cursor,
    }))
}

/// Whether its client is still there, on this process.
pub fn is_connected(rooms: &Rooms, session: SessionId) -> bool {
    let sessions = rooms.desk.sessions().list();
    sessions.iter().any(|live| live.peer.session == session)
}

#[derive(Debug, Deserialize)]
pub struct EndForm {
    #[serde(default, rename = "_csrf")]
    csrf: String,
    #[serde(default)]
    reason: String,
    /// The page that the form stands on.
    #[serde(default)]
    next: String,
}

/// Ends a session: its client is told who did, and why; what it waits for is withdrawn.
pub async fn end(
    sender: Sender,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
    Form(form): Form<EndForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    let reason = form.reason.replace(char::is_control, " ");
    end_by(&rooms, &visitor.caller, &id, &reason).await?;
    Ok(see_other(own_path(&form.next)))
}

/// A look at the log is recorded before it is answered.
pub async fn look(visitor: &Visitor, rooms: &Rooms, what: String) -> Result<(), Problem> {
    let by = visitor.caller.person.name.clone();
    rooms.desk.record_log_query(by, what).await.map_err(desk_problem)
}
