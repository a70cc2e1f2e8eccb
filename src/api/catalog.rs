//! The catalogs that statements are judged by: how fresh they are, which functions are in them, and reading them anew.
//! Never shows what a function does, only by what hash an operator may trust it. Read `catalog/keepers.rs` next.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Rooms;
use super::login::Caller;
use super::problem::{Problem, ProblemDocument};
use super::read::Named;
use crate::catalog::keeper::Report;
use crate::catalog::postgres::UserFunction;
use crate::identity::directory::Scope;

/// One database's catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CatalogState {
    pub database: String,
    /// `read`: statements are judged by it; `stale`: it could not be read for too long, so what needs it is held;
    /// `asleep`: nobody uses the database now.
    pub state: String,
    /// Grows when something in it has changed.
    pub generation: u64,
    /// Seconds since it was last seen to be right; `None`: never.
    pub age_seconds: Option<u64>,
    /// Why it could not be read the last time.
    pub problem: Option<String>,
}

impl From<Report> for CatalogState {
    fn from(report: Report) -> Self {
        let state = match (report.is_asleep, report.is_read) {
            (true, _) => "asleep",
            (false, true) => "read",
            (false, false) => "stale",
        };
        Self {
            database: report.place,
            state: state.to_owned(),
            generation: report.generation,
            age_seconds: report.age.map(|age| age.as_secs()),
            problem: report.problem,
        }
    }
}

/// The catalogs of all databases in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CatalogList {
    /// `false`: views, triggers and functions of the databases' own are not seen.
    pub configured: bool,
    pub items: Vec<CatalogState>,
}

/// A function that is not built in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionShape {
    /// `app.net(numeric,numeric)`.
    pub function: String,
    /// `function`, `procedure`, `aggregate` or `window function`.
    pub kind: String,
    pub language: String,
    pub owner: String,
    pub security_definer: bool,
    /// What the function promises of itself: it is no reason to trust it.
    pub volatility: String,
    /// The extension that it came with.
    pub extension: Option<String>,
    /// Of its definition: changes with it.
    pub hash: String,
    /// Calls of it are not held for its own sake.
    pub harmless: bool,
    /// Why not.
    pub reason: Option<String>,
}

impl From<UserFunction> for FunctionShape {
    fn from(own: UserFunction) -> Self {
        Self {
            function: own.function,
            kind: own.kind.to_owned(),
            language: own.language,
            owner: own.owner,
            security_definer: own.security_definer,
            volatility: own.volatility.to_owned(),
            extension: own.extension,
            hash: own.hash,
            harmless: own.harmless,
            reason: own.reason,
        }
    }
}

/// The functions of one database that are not built in, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionList {
    pub items: Vec<FunctionShape>,
}

fn list(rooms: &Rooms, reports: Vec<Report>) -> Json<CatalogList> {
    Json(CatalogList {
        configured: rooms.catalogs.is_some(),
        items: reports.into_iter().map(CatalogState::from).collect(),
    })
}

/// How fresh the catalogs are that statements are judged by.
#[utoipa::path(
    get,
    path = "/catalogs",
    tag = "catalogs",
    responses((status = 200, body = CatalogList), (status = "4XX", body = ProblemDocument)),
    security(("token" = []))
)]
pub async fn list_catalogs(State(rooms): State<Rooms>, caller: Caller) -> Result<Json<CatalogList>, Problem> {
    caller.needs(Scope::Read)?;
    let catalogs = rooms.catalogs.as_ref();
    let reports = catalogs.map(|catalogs| catalogs.reports()).unwrap_or_default();
    Ok(list(&rooms, reports))
}

/// Reads all of them anew, now, and answers when that is over.
#[utoipa::path(
    post,
    path = "/catalogs/refresh",
    tag = "catalogs",
    responses((status = 200, body = CatalogList), (status = "4XX", body = ProblemDocument)),
    security(("token" = []))
)]
pub async fn refresh_catalogs(
    State(rooms): State<Rooms>,
    caller: Caller,
) -> Result<Json<CatalogList>, Problem> {
    caller.needs(Scope::Decide)?;
    let reports = match &rooms.catalogs {
        Some(catalogs) => catalogs.refresh().await,
        None => Vec::new(),
    };
    Ok(list(&rooms, reports))
}

/// The functions that an operator may vouch for, each with the hash of its definition.
#[utoipa::path(
    get,
    path = "/catalogs/{database}/functions",
    tag = "catalogs",
    params(("database" = String, Path, description = "one that is in use")),
    responses((status = 200, body = FunctionList), (status = "4XX", body = ProblemDocument)),
    security(("token" = []))
)]
pub async fn list_functions(
    State(rooms): State<Rooms>,
    caller: Caller,
    Named(database): Named,
) -> Result<Json<FunctionList>, Problem> {
    caller.needs(Scope::Read)?;
    let functions = rooms
        .catalogs
        .as_ref()
        .and_then(|catalogs| catalogs.functions(&database));
    let Some(functions) = functions else {
        return Err(Problem::not_found("catalog", &database));
    };
    Ok(Json(FunctionList {
        items: functions.into_iter().map(FunctionShape::from).collect(),
    }))
}
