//! The queue: what waits for a person, and what was decided lately. Never decides: that is on the card, where the whole
//! statement is. Read `card.rs` next.

use askama::Template;
use axum::Json;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::break_glass::ReviewShown;
use super::page::{Shell, Trouble, Visitor, shown};
use super::shown::Row;
use crate::api::Rooms;
use crate::api::card::{CLASS_WORDS, Card};
use crate::api::requests::desk_problem;
use crate::clock::Timestamp;
use crate::desk::RequestFilter;
use crate::hold::{HeldRequest, StateKind};
use crate::identity::directory::Scope;

/// Requests on the page.
const ROWS_MAX: usize = 100;
const RISKS: [&str; 4] = ["low", "medium", "high", "critical"];

/// Which requests: each empty field means all.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Asked {
    /// `waiting` (without it), `mine` or `decided`.
    #[serde(default)]
    pub show: String,
    #[serde(default)]
    pub agent: String,
    #[serde(default)]
    pub database: String,
    #[serde(default)]
    pub class: String,
    #[serde(default)]
    pub risk: String,
    #[serde(default)]
    pub cursor: String,
}

#[derive(Template)]
#[template(path = "queue.html")]
struct QueuePage {
    shell: Shell,
    rows: Vec<Row>,
    asked: Asked,
    /// How many of those that wait this person may decide.
    mine: usize,
    next: Option<String>,
    classes: &'static [&'static str],
    risks: [&'static str; 4],
    /// Of what one person approved alone.
    reviews: Vec<ReviewShown>,
}

impl QueuePage {
    fn is_filtered(&self) -> bool {
        let asked = &self.asked;
        [&asked.agent, &asked.database, &asked.class, &asked.risk]
            .iter()
            .any(|field| !field.is_empty())
    }
}

pub async fn page(
    visitor: Visitor,
    State(rooms): State<Rooms>,
    Query(asked): Query<Asked>,
) -> Result<Response, Trouble> {
    visitor.caller.needs(Scope::Read)?;
    let listed = listed(&visitor, &rooms, &asked).await?;
    let reviews = ReviewShown::open(&rooms, Timestamp::now()).await?;
    let shell = Shell::of(&visitor, &rooms, "queue", "Queue").await?;
    Ok(shown(&QueuePage {
        shell,
        rows: listed.rows,
        mine: listed.mine,
        next: listed.next,
        asked,
        classes: &CLASS_WORDS,
        risks: RISKS,
        reviews,
    }))
}

/// The same rows for the page's own module.
#[derive(Serialize)]
pub struct Rows {
    rows: Vec<Row>,
    /// All that wait, whatever the filter.
    waiting: usize,
    mine: usize,
    now: i64,
}

pub async fn rows(
    visitor: Visitor,
    State(rooms): State<Rooms>,
    Query(asked): Query<Asked>,
) -> Result<Json<Rows>, Trouble> {
    visitor.caller.needs(Scope::Read)?;
    let listed = listed(&visitor, &rooms, &asked).await?;
    let shell = Shell::of(&visitor, &rooms, "queue", "Queue").await?;
    Ok(Json(Rows {
        rows: listed.rows,
        waiting: shell.waiting,
        mine: listed.mine,
        now: shell.now_millis,
    }))
}

struct Listed {
    rows: Vec<Row>,
    mine: usize,
    next: Option<String>,
}

async fn listed(visitor: &Visitor, rooms: &Rooms, asked: &Asked) -> Result<Listed, Trouble> {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let waits = [StateKind::Pending, StateKind::Detached];
    let is_decided = asked.show == "decided";
    let states = match is_decided {
        true => StateKind::ALL
            .iter()
            .copied()
            .filter(|kind| !waits.contains(kind))
            .collect(),
        false => waits.to_vec(),
    };
    let filter = RequestFilter {
        states,
        principal: given(&asked.agent),
        database: given(&asked.database),
        class: given(&asked.class),
        limit: ROWS_MAX,
        cursor: given(&asked.cursor),
        ..RequestFilter::default()
    };
    let hands = visitor.caller.hands();
    let (page, waits_for_me) = rooms.desk.list_for(filter, hands).await.map_err(desk_problem)?;
    let now = Timestamp::now();
    let may_decide = visitor.may(Scope::Decide);
    let waits_for_me = waits_for_me.into_iter().map(|waits| may_decide && waits);
    let all: Vec<(&HeldRequest, bool)> = page.items.iter().zip(waits_for_me).collect();
    let mine = all.iter().filter(|(_, is_mine)| *is_mine).count();
    let shown = all
        .iter()
        .filter(|(held, _)| asked.risk.is_empty() || held.risk.to_string() == asked.risk)
        .filter(|(_, is_mine)| asked.show != "mine" || *is_mine);
    let mut items: Vec<&HeldRequest> = shown.map(|(held, _)| *held).collect();
    if !is_decided {
        // Who has waited longest has the least time left.
        items.sort_by_key(|held| held.expires_at);
    }
    Ok(Listed {
        rows: items.iter().map(|held| Row::of(&Card::of(held), now)).collect(),
        mine,
        next: page.next_cursor,
    })
}
