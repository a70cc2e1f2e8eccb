//! Whether everything is well: store, log, servers, catalogs, rules. Never tells a cause: those are in the log of `serve`.
//! Read `api/health.rs` next.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::page::{Shell, Trouble, Visitor, shown};
use super::reports;
use crate::api::Rooms;
use crate::api::health::readyz;
use crate::identity::directory::Scope;
use crate::render::visible_line;

pub struct Check {
    name: String,
    is_well: bool,
    word: String,
}

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage {
    shell: Shell,
    is_ready: bool,
    checks: Vec<Check>,
    rules_file: String,
    rules: usize,
    generation: String,
    version: &'static str,
    csp_reports: u64,
}

pub async fn page(visitor: Visitor, State(rooms): State<Rooms>) -> Result<Response, Trouble> {
    visitor.caller.needs(Scope::Read)?;
    let (status, axum::Json(health)) = readyz(State(rooms.clone())).await;
    let checks = health.checks.into_iter().map(|(name, word)| Check {
        is_well: word == "ok",
        name,
        word,
    });
    let rules = rooms.rules.load_full();
    Ok(shown(&StatusPage {
        shell: Shell::of(&visitor, &rooms, "status", "Status").await?,
        is_ready: status.is_success(),
        checks: checks.collect(),
        rules_file: visible_line(&rules.file),
        rules: rules.len(),
        generation: rules
            .generation
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        version: env!("CARGO_PKG_VERSION"),
        csp_reports: reports::count(),
    }))
}
