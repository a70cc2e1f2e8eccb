//! Standing grants: which are open, and their end. Never makes one: that is a decision, on a card.
//! Read `api/grants.rs` next.

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::moments::Moment;
use super::page::{Sender, Shell, Trouble, Visitor, see_other, shown};
use crate::api::Rooms;
use crate::api::grants::{Grant, revoke_by};
use crate::api::requests::desk_problem;
use crate::clock::Timestamp;
use crate::hold::StandingKind;
use crate::identity::directory::Scope;
use crate::render::{visible, visible_line};

#[derive(Debug, Default, Deserialize)]
pub struct GrantsQuery {
    /// Those that have ended too.
    #[serde(default)]
    all: String,
}

pub struct GrantShown {
    id: String,
    standing: String,
    is_open: bool,
    request: String,
    principal: String,
    database: String,
    whose: String,
    class: String,
    template: String,
    uses: u32,
    uses_max: u32,
    made_by: String,
    made_at: Moment,
    until: Moment,
    ended: String,
}

impl GrantShown {
    fn of(grant: &Grant, now: Timestamp) -> Self {
        let why = grant.ended_why.as_deref().map(visible_line).unwrap_or_default();
        Self {
            id: grant.id.clone(),
            is_open: grant.standing == "open",
            standing: grant.standing.replace('_', " "),
            request: grant.request.clone(),
            principal: visible_line(&grant.principal),
            database: visible_line(&grant.database),
            whose: match &grant.session {
                Some(session) => format!("session {session}"),
                None => "every session of the agent".to_owned(),
            },
            class: grant.class.clone(),
            template: visible(&grant.template),
            uses: grant.uses,
            uses_max: grant.uses_max,
            made_by: grant.made_by.join(", "),
            made_at: Moment::parse(&grant.made_at, now),
            until: Moment::parse(&grant.until, now),
            ended: match &grant.ended_by {
                Some(by) => format!("by {}: {why}", visible_line(by)),
                None => why,
            },
        }
    }
}

#[derive(Template)]
#[template(path = "grants.html")]
struct GrantsPage {
    shell: Shell,
    grants: Vec<GrantShown>,
    shows_all: bool,
    may_revoke: bool,
}

pub async fn page(
    visitor: Visitor,
    State(rooms): State<Rooms>,
    Query(query): Query<GrantsQuery>,
) -> Result<Response, Trouble> {
    visitor.caller.needs(Scope::Read)?;
    let shows_all = !query.all.is_empty();
    let standing = (!shows_all).then_some(StandingKind::Open);
    let grants = rooms
        .desk
        .standing_grants(None, standing)
        .await
        .map_err(desk_problem)?;
    let now = Timestamp::now();
    Ok(shown(&GrantsPage {
        shell: Shell::of(&visitor, &rooms, "grants", "Grants").await?,
        grants: grants
            .iter()
            .map(|grant| GrantShown::of(&Grant::of(grant), now))
            .collect(),
        shows_all,
        may_revoke: visitor.may(Scope::Decide),
    }))
}

#[derive(Debug, Deserialize)]
pub struct RevokeForm {
    #[serde(default, rename = "_csrf")]
    csrf: String,
    #[serde(default)]
    reason: String,
}

pub async fn revoke(
    sender: Sender,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
    Form(form): Form<RevokeForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    revoke_by(&rooms, &visitor.caller, &id, &form.reason).await?;
    Ok(see_other("/grants"))
}
