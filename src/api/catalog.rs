//! The catalogs that statements are judged by: how fresh they are, which functions are in them, and reading them anew.
//! Never shows what a function does, only by what hash an operator may trust it. Read `catalog/keepers.rs` next.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Rooms;
use super::labels::not_found;
use super::login::Caller;
use super::problem::{Problem, ProblemDocument};
use super::read::{Named, Params};
use crate::catalog::keeper::{Report, Source as _};
use crate::catalog::{mysql, postgres};
use crate::identity::directory::Scope;

/// One catalog: of a database of PostgreSQL, or of a whole MySQL server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CatalogState {
    /// `postgres` or `mysql`.
    pub protocol: String,
    /// The database; of a MySQL server the name that the settings give it.
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
            protocol: report.protocol.to_owned(),
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
    /// Tables and columns that the file of labels names and none of these has, in words: their values are not withheld.
    /// Empty too as long as none has been read.
    #[serde(default)]
    pub labels_not_found: Vec<String>,
}

/// A function that is not built in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionShape {
    /// `app.net(numeric,numeric)`.
    pub function: String,
    /// `function`, `procedure`, `aggregate` or `window function`; `stored function` or `loadable function`.
    pub kind: String,
    pub language: String,
    pub owner: String,
    pub security_definer: bool,
    /// What the function promises of itself, volatility or what it does with data: it is no reason to trust it.
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

impl From<postgres::UserFunction> for FunctionShape {
    fn from(own: postgres::UserFunction) -> Self {
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

impl From<mysql::UserFunction> for FunctionShape {
    fn from(own: mysql::UserFunction) -> Self {
        Self {
            function: own.function,
            kind: own.kind.to_owned(),
            language: own.language,
            owner: own.owner,
            security_definer: own.security_definer,
            volatility: own.promise,
            extension: None,
            hash: own.hash,
            harmless: own.harmless,
            reason: (!own.harmless).then(|| "not listed as harmless".to_owned()),
        }
    }
}

/// Which of two catalogs of one name is meant.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CatalogOf {
    /// `postgres` or `mysql`; by default the first that has one of that name, in this order.
    pub protocol: Option<String>,
}

/// The functions of one database that are not built in, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionList {
    pub items: Vec<FunctionShape>,
}

fn list(rooms: &Rooms, reports: Vec<Report>) -> Json<CatalogList> {
    Json(CatalogList {
        configured: rooms.catalogs.are_configured(),
        items: reports.into_iter().map(CatalogState::from).collect(),
        labels_not_found: not_found(&rooms.labels.load(), &rooms.catalogs)
            .unwrap_or_default()
            .words,
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
    let reports = rooms.catalogs.reports();
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
    let reports = rooms.catalogs.refresh().await;
    Ok(list(&rooms, reports))
}

/// The functions that an operator may vouch for, each with the hash of its definition.
#[utoipa::path(
    get,
    path = "/catalogs/{database}/functions",
    tag = "catalogs",
    params(
        ("database" = String, Path, description = "one that is in use; of a MySQL server the name in the settings"),
        CatalogOf
    ),
    responses((status = 200, body = FunctionList), (status = "4XX", body = ProblemDocument)),
    security(("token" = []))
)]
pub async fn list_functions(
    State(rooms): State<Rooms>,
    caller: Caller,
    Named(database): Named,
    Params(CatalogOf { protocol }): Params<CatalogOf>,
) -> Result<Json<FunctionList>, Problem> {
    caller.needs(Scope::Read)?;
    let is_meant = |name| protocol.as_deref().is_none_or(|protocol| protocol == name);
    let of_postgres = || {
        let keepers = rooms.catalogs.postgres.as_ref();
        let keepers = keepers.filter(|_| is_meant(postgres::Reader::PROTOCOL));
        Some(shapes(keepers?.functions(&database)?))
    };
    let of_mysql = || {
        let keepers = rooms.catalogs.mysql.as_ref();
        let keepers = keepers.filter(|_| is_meant(mysql::Reader::PROTOCOL));
        Some(shapes(keepers?.functions(&database)?))
    };
    match of_postgres().or_else(of_mysql) {
        Some(items) => Ok(Json(FunctionList { items })),
        None => Err(Problem::not_found("catalog", &database)),
    }
}

fn shapes<F>(functions: Vec<F>) -> Vec<FunctionShape>
where
    FunctionShape: From<F>,
{
    functions.into_iter().map(FunctionShape::from).collect()
}
