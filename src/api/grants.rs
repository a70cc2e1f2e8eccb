//! Standing grants: listed, shown, revoked. They are made by a decision alone: read `requests.rs`.
//! Never the state `grant` of a request, which is one approval that waits for its very bytes.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Rooms;
use super::card::template_of;
use super::login::Caller;
use super::problem::{Kind, Problem, ProblemDocument};
use super::read::{Body, Named, Params, word};
use super::requests::{GuardsBody, Page, desk_problem, one_line_reason};
use crate::desk::{DeskError, EndGrantError, GrantShown};
use crate::hold::{Reach, Standing, StandingGrantId, StandingKind};
use crate::identity::directory::Scope;

/// A standing grant, and what was approved when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Grant {
    /// `G-` and six Crockford base-32 characters.
    #[schema(example = "G-7K3F9Q")]
    pub id: String,
    /// `fingerprint` or `run`.
    pub kind: String,
    /// `open`, `used_up`, `revoked` or `lapsed`.
    pub standing: String,
    /// The request whose decision made it.
    pub request: String,
    pub principal: String,
    pub database: String,
    /// Whose statements it lets through: `session` or `principal`; a run's may be `transaction`.
    #[serde(rename = "for")]
    pub whose: String,
    /// The one session that may use it; absent: every session of the principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// What was approved, with `?` for each literal: `?` and parameters stand for any value. Of a run the statement that
    /// was decided.
    pub template: String,
    /// Of a run: statements of these classes,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// that do this,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verbs: Vec<String>,
    /// on these tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// What holds while each of its uses runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guards: Option<GuardsBody>,
    pub class: String,
    /// Used so often; the run of the decided request is the first.
    pub uses: u32,
    pub uses_max: u32,
    pub made_by: Vec<String>,
    pub made_at: String,
    pub until: String,
    /// Who revoked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
    /// Why it was revoked or has lapsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_why: Option<String>,
}

impl Grant {
    pub fn of(shown: &GrantShown) -> Self {
        let GrantShown { grant, decided } = shown;
        let (ended_by, ended_why) = match &grant.standing {
            Standing::Open | Standing::UsedUp => (None, None),
            Standing::Revoked { by, reason } => (Some(by.to_string()), Some(reason.clone())),
            Standing::Lapsed { why } => (None, Some(why.clone())),
        };
        Self {
            id: grant.id.to_string(),
            kind: if grant.run.is_some() { "run" } else { "fingerprint" }.to_owned(),
            standing: grant.standing.kind().to_string(),
            request: grant.request.to_string(),
            principal: grant.principal.to_string(),
            database: decided.peer.database.clone(),
            whose: match (grant.session, grant.ends_with_transaction()) {
                (Some(_), true) => Reach::Transaction,
                (Some(_), false) => Reach::Session,
                (None, _) => Reach::Principal,
            }
            .as_str()
            .to_owned(),
            session: grant.session.map(|session| session.to_string()),
            template: match &grant.run {
                Some(_) => String::from_utf8(decided.text.clone()).unwrap_or_default(),
                None => template_of(decided).unwrap_or_default(),
            },
            classes: grant
                .run
                .iter()
                .flat_map(|run| &run.covers.classes)
                .map(ToString::to_string)
                .collect(),
            verbs: grant
                .run
                .iter()
                .flat_map(|run| &run.covers.verbs)
                .cloned()
                .collect(),
            tables: grant
                .run
                .iter()
                .flat_map(|run| &run.covers.tables)
                .map(ToString::to_string)
                .collect(),
            guards: GuardsBody::of(grant.guards),
            class: decided.class.to_string(),
            uses: grant.uses,
            uses_max: grant.uses_max,
            made_by: grant
                .made_by
                .iter()
                .map(|maker| maker.person.to_string())
                .collect(),
            made_at: grant.made_at.to_string(),
            until: grant.until.to_string(),
            ended_by,
            ended_why,
        }
    }
}

/// Which standing grants.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GrantsQuery {
    /// `open` (without it), `used_up`, `revoked`, `lapsed` or `all`.
    standing: Option<String>,
    /// The agent that may use it.
    principal: Option<String>,
}

/// Standing grants, newest first: at most 500.
#[utoipa::path(
    get,
    path = "/grants",
    tag = "grants",
    params(GrantsQuery),
    responses(
        (status = 200, body = Page<Grant>),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn list(
    caller: Caller,
    State(rooms): State<Rooms>,
    Params(query): Params<GrantsQuery>,
) -> Result<Json<Page<Grant>>, Problem> {
    caller.needs(Scope::Read)?;
    let asked = query.standing.as_deref().unwrap_or("open");
    let words: Vec<&str> = StandingKind::ALL
        .iter()
        .map(|kind| kind.as_str())
        .chain(["all"])
        .collect();
    let standing = StandingKind::parse(word("standing", asked, &words)?);
    let grants = rooms.desk.standing_grants(query.principal, standing).await;
    Ok(Json(Page {
        items: grants.map_err(desk_problem)?.iter().map(Grant::of).collect(),
        next_cursor: None,
    }))
}

/// One standing grant.
#[utoipa::path(
    get,
    path = "/grants/{id}",
    tag = "grants",
    params(("id" = String, Path, description = "`G-` and six letters and digits")),
    responses(
        (status = 200, body = Grant),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn show(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(id): Named,
) -> Result<Json<Grant>, Problem> {
    caller.needs(Scope::Read)?;
    let id = standing_id(&id)?;
    match rooms.desk.standing_grant(id).await {
        Ok(shown) => Ok(Json(Grant::of(&shown))),
        Err(DeskError::NotFound) => Err(Problem::not_found("standing grant", &id.to_string())),
        Err(error) => Err(desk_problem(error)),
    }
}

/// Why a standing grant is to end.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeBody {
    /// For the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Revoke a standing grant: nothing runs by it from then on. Everybody who may decide may revoke, promise 4 aside:
/// it only ever takes away.
#[utoipa::path(
    post,
    path = "/grants/{id}/revoke",
    tag = "grants",
    params(("id" = String, Path, description = "`G-` and six letters and digits")),
    request_body = RevokeBody,
    responses(
        (status = 200, body = Grant),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn revoke(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(id): Named,
    Body(body): Body<RevokeBody>,
) -> Result<Json<Grant>, Problem> {
    let reason = body.reason.as_deref().unwrap_or_default();
    revoke_by(&rooms, &caller, &id, reason).await.map(Json)
}

/// The same for a page's form.
pub async fn revoke_by(rooms: &Rooms, caller: &Caller, id: &str, reason: &str) -> Result<Grant, Problem> {
    caller.needs(Scope::Decide)?;
    let id = standing_id(id)?;
    let reason = one_line_reason(reason)?;
    let revoked = rooms
        .desk
        .revoke_standing(id, caller.person.name.clone(), reason)
        .await;
    match revoked {
        Ok(shown) => Ok(Grant::of(&shown)),
        Err(EndGrantError::NotFound) => Err(Problem::not_found("standing grant", &id.to_string())),
        Err(error @ EndGrantError::NotOpen(_)) => Err(Problem::new(
            Kind::Conflict,
            error.to_string(),
            "nothing runs by it any more; look at `countersign grant list --all`",
        )),
        Err(
            error @ (EndGrantError::LogUnavailable
            | EndGrantError::StoreUnavailable
            | EndGrantError::Stopping),
        ) => Err(Problem::unavailable(&error)),
    }
}

/// A standing grant's id.
fn standing_id(text: &str) -> Result<StandingGrantId, Problem> {
    StandingGrantId::parse(text).ok_or_else(|| Problem::not_found("standing grant", text))
}
