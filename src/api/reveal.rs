//! The values that are withheld of a request, for somebody who is to decide it; that they were asked for is on record first.
//! Never keeps them: the answer is made from the desk's memory, and no `Idempotency-Key` keeps it. Read `card.rs` next.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;

use super::Rooms;
use super::acts::{ViewBody, act_of, act_problem};
use super::browser::{Source, assurance};
use super::card::Card;
use super::login::Caller;
use super::problem::{Kind, Problem, ProblemDocument};
use super::read::{Named, OptionalBody, request_id};
use super::requests::channel_of;
use crate::desk::ActKind;
use crate::hold::HeldRequest;
use crate::identity::assurance::Assurance;
use crate::identity::directory::Scope;

/// Shows the values that are withheld because of the labels of their columns (`"redacted"`), to whoever may decide the
/// request or break glass, while it is undecided. Each time is a record with the person and the time. Without it nobody can
/// approve: nobody approves what was not shown to them. It takes the second factor that the approval takes, and by token a
/// one-time code of its own.
#[utoipa::path(
    post,
    path = "/requests/{id}/reveal",
    tag = "requests",
    params(
        ("id" = String, Path, description = "six letters and digits"),
        ("countersign-code" = Option<String>, Header, description = "a one-time code, where a second factor is needed"),
    ),
    request_body(content = Option<ViewBody>, content_type = "application/json"),
    responses(
        (status = 200, description = "the card with its values", body = Card),
        (status = 403, description = "the token lacks the scope, the person may not, or a second factor is needed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "nothing is withheld, or the values are gone", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []), ("session" = []))
)]
pub async fn reveal(
    caller: Caller,
    source: Source,
    State(rooms): State<Rooms>,
    Named(id): Named,
    headers: HeaderMap,
    OptionalBody(ViewBody {}): OptionalBody<ViewBody>,
) -> Result<Json<Card>, Problem> {
    // Everything that needs no code comes first: a code counts once.
    may_look(&caller)?;
    request_id(&id)?;
    let assurance = assurance(&rooms, &caller, source, &headers).await?;
    let held = reveal_over(&rooms, &caller, assurance, channel_of(&headers), &id).await?;
    Ok(Json(Card::revealed(&held)))
}

/// The scope of whoever may decide, or break glass.
fn may_look(caller: &Caller) -> Result<(), Problem> {
    if caller.needs(Scope::BreakGlass).is_err() {
        caller.needs(Scope::Decide)?;
    }
    Ok(())
}

/// The request with its values, asked for over a channel that the caller names.
pub async fn reveal_over(
    rooms: &Rooms,
    caller: &Caller,
    assurance: Assurance,
    channel: &str,
    id: &str,
) -> Result<HeldRequest, Problem> {
    may_look(caller)?;
    let id = request_id(id)?;
    let act = act_of(caller, assurance, channel, None, ActKind::Reveal);
    let revealed = rooms.desk.reveal(id, act).await;
    revealed.map_err(|error| act_problem(id, error))
}

/// Why nobody can approve, because values are gone.
pub fn gone(detail: &str) -> Problem {
    Problem::new(
        Kind::Conflict,
        detail,
        "deny it, and have the agent send it again",
    )
}
