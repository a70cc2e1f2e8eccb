//! `grant list|revoke`: a client of the API for standing grants. Never makes one: `approve --for … --uses …` does.
//! Read `requests.rs` for that.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use super::client::Client;
use super::exit::{CliError, Exit};
use super::output::Output;
use crate::api::grants::{Grant, RevokeBody};
use crate::api::requests::Page;
use crate::hold::StandingGrantId;
use crate::render::{visible, visible_line};

#[derive(Debug, Subcommand)]
pub enum GrantCommand {
    /// List the standing grants by which statements run without asking
    List(ListArgs),
    /// End a standing grant: nothing runs by it from then on
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Also those that are used up, revoked or lapsed
    #[arg(long)]
    all: bool,
    /// Only those of this agent
    #[arg(long)]
    principal: Option<String>,
}

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The standing grant, such as G-7K3F9Q
    #[arg(value_parser = parse_id)]
    id: StandingGrantId,
    /// Why, for the log
    #[arg(long)]
    reason: Option<String>,
}

fn parse_id(text: &str) -> Result<StandingGrantId, String> {
    StandingGrantId::parse(text)
        .ok_or_else(|| "a standing grant is G- and six letters and digits, such as G-7K3F9Q".to_owned())
}

pub async fn run(command: GrantCommand, output: Output) -> Result<Exit, CliError> {
    match command {
        GrantCommand::List(args) => list(args, output).await,
        GrantCommand::Revoke(args) => revoke(args, output).await,
    }
}

async fn list(args: ListArgs, output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?;
    let standing = if args.all { "all" } else { "open" };
    let mut query = vec![("standing", standing.to_owned())];
    query.extend(args.principal.map(|name| ("principal", name)));
    let page: Page<Grant> = client.get("/grants", &query).await?;
    if output.is_json() {
        output.json(&page);
        return Ok(Exit::Done);
    }
    if page.items.is_empty() {
        eprintln!("no standing grant");
    }
    page.items.iter().for_each(|grant| output.text(&text(grant)));
    Ok(Exit::Done)
}

async fn revoke(args: RevokeArgs, output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?;
    let body = RevokeBody { reason: args.reason };
    let grant: Grant = client.post(&format!("/grants/{}/revoke", args.id), &body).await?;
    output.either(&grant, || {
        format!(
            "{}  revoked after {} of {} uses",
            grant.id, grant.uses, grant.uses_max
        )
    });
    Ok(Exit::Done)
}

/// A line, and what it lets run.
fn text(grant: &Grant) -> String {
    let whose = match &grant.session {
        Some(session) => format!("{}, session {session}", grant.principal),
        None => grant.principal.clone(),
    };
    let mut text = format!(
        "{}  {}  {} of {} uses  until {}  {whose} on {}  by {} in {}\n",
        grant.id,
        grant.standing,
        grant.uses,
        grant.uses_max,
        grant.until,
        visible_line(&grant.database),
        grant.made_by.join(", "),
        grant.request
    );
    let why = grant.ended_why.as_deref().filter(|why| !why.is_empty());
    if let Some(why) = why {
        let by = grant.ended_by.as_deref().unwrap_or("itself");
        // Writing into a String cannot fail.
        let _written = writeln!(text, "    ended by {by}: {}", visible_line(why));
    }
    if grant.kind == "run" {
        let (classes, verbs) = (grant.classes.join(", "), grant.verbs.join(", "));
        let tables = visible_line(&grant.tables.join(", "));
        let _written = writeln!(
            text,
            "    run of {classes} ({verbs}) on {tables}, ends with its {}",
            grant.whose
        );
    }
    for line in visible(&grant.template).lines() {
        let _written = writeln!(text, "    │ {line}");
    }
    text
}
