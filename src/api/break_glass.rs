//! One person approves alone, whatever the rule asks for. Never decides who may: `desk` does.
//! Read `reviews.rs` for what follows.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Rooms;
use super::browser::{Source, assurance};
use super::card::Card;
use super::idempotency::idempotency_key;
use super::login::Caller;
use super::problem::Problem;
use super::read::{Body, Named, request_id};
use super::requests::{GuardsBody, channel_of, decide_problem, digest, required_reason};
use super::whole::maybe_whole;
use crate::desk::BreakGlass;
use crate::hold::Guards;
use crate::identity::assurance::Assurance;
use crate::identity::directory::Scope;

/// An approval by one person alone.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakGlassBody {
    /// Why nobody could be waited for: one line of at most 1000 bytes. Other people and the agent read it.
    pub reason: String,
    /// The digest of what was shown.
    pub digest: String,
    /// The version of what was shown; compared when given.
    #[serde(
        default,
        deserialize_with = "maybe_whole",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(minimum = 0, maximum = 9007199254740991_i64)]
    pub version: Option<u64>,
    /// What is to hold while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guards: Option<GuardsBody>,
}

/// Approve alone, whatever the rule asks for: also as the second of two, for another group, and once it was escalated. It
/// needs the role `break_glass`, a second factor enrolled at least 24 hours ago and given in the last 5 minutes besides
/// signing in, and nobody does it on their own work. It covers this one run. Everybody is told, and a review stays open
/// until somebody else signs it.
#[utoipa::path(
    post,
    path = "/requests/{id}/break-glass",
    tag = "requests",
    params(
        ("id" = String, Path, description = "six letters and digits"),
        ("countersign-code" = Option<String>, Header, description = "a one-time code: the second log-in"),
    ),
    request_body = BreakGlassBody,
    responses((status = 200, body = Card)),
    security(("token" = []))
)]
pub async fn break_glass(
    caller: Caller,
    source: Source,
    State(rooms): State<Rooms>,
    Named(id): Named,
    headers: HeaderMap,
    Body(body): Body<BreakGlassBody>,
) -> Result<Json<Card>, Problem> {
    caller.needs(Scope::BreakGlass)?;
    // Everything that needs no code comes first: a code counts once.
    let call = Call {
        channel: channel_of(&headers),
        key: idempotency_key(&headers)?,
        body: body.checked()?,
    };
    request_id(&id)?;
    let assurance = assurance(&rooms, &caller, source, &headers).await?;
    break_glass_over(&rooms, &caller, assurance, &id, call).await
}

/// What is asked for, over a channel that the caller names.
pub struct Call<'a> {
    pub channel: &'a str,
    /// Makes what is sent twice count once.
    pub key: Option<String>,
    pub body: Checked,
}

/// A body whose values can be used.
pub struct Checked {
    reason: String,
    digest: crate::hold::Digest,
    version: Option<u64>,
    guards: Guards,
}

impl BreakGlassBody {
    pub fn checked(self) -> Result<Checked, Problem> {
        Ok(Checked {
            reason: required_reason(&self.reason)?,
            digest: digest("digest", &self.digest)?,
            version: self.version,
            guards: match self.guards {
                Some(guards) => guards.guards()?,
                None => Guards::default(),
            },
        })
    }
}

/// The same for a call and for a page's form.
pub async fn break_glass_over(
    rooms: &Rooms,
    caller: &Caller,
    assurance: Assurance,
    id: &str,
    call: Call<'_>,
) -> Result<Json<Card>, Problem> {
    caller.needs(Scope::BreakGlass)?;
    let id = request_id(id)?;
    let said = BreakGlass {
        by: caller.person.name.clone(),
        token_seen_by: caller.token_seen_by.clone(),
        assurance,
        signed_in_at: caller.signed_in_at(),
        reason: call.body.reason,
        digest: Some(call.body.digest),
        version: call.body.version,
        guards: call.body.guards,
        channel: call.channel.to_owned(),
        idempotency: call.key,
    };
    let held = rooms.desk.break_glass(id, said).await;
    held.map(|held| Json(Card::of(&held)))
        .map_err(|error| decide_problem(id, error))
}
