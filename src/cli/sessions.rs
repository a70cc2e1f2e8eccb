//! `session list|cancel`: which agents are connected, and the end of one. A client of the API.
//! Never decides a request: what a session waits for is withdrawn with it. Read `requests.rs` for that.

use clap::{Args, Subcommand};

use super::client::Client;
use super::exit::{CliError, Exit};
use super::output::Output;
use crate::api::requests::Page;
use crate::api::sessions::{EndSessionBody, Session};
use crate::identity::principal::SessionId;
use crate::render::visible_line;

#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List the sessions that are connected now
    List,
    /// End a session; its client is told who did and why, and what it waits for is withdrawn
    Cancel(CancelArgs),
}

#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The session, as `session list` shows it
    #[arg(value_parser = parse_id)]
    id: SessionId,
    /// Why; the agent reads it
    #[arg(long)]
    reason: String,
}

fn parse_id(text: &str) -> Result<SessionId, String> {
    SessionId::parse(&text.to_uppercase())
        .ok_or_else(|| "a session is thirteen letters and digits, such as 9X2QKBSK2JSCF".to_owned())
}

pub async fn run(command: SessionCommand, output: Output) -> Result<Exit, CliError> {
    match command {
        SessionCommand::List => list(output).await,
        SessionCommand::Cancel(args) => cancel(args, output).await,
    }
}

async fn list(output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?;
    let page: Page<Session> = client.get("/sessions", &[]).await?;
    if output.is_json() {
        output.json(&page);
        return Ok(Exit::Done);
    }
    if page.items.is_empty() {
        eprintln!("no session");
    }
    page.items.iter().for_each(|session| output.text(&text(session)));
    Ok(Exit::Done)
}

async fn cancel(args: CancelArgs, output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?;
    let body = EndSessionBody { reason: args.reason };
    let session: Session = client
        .delete_with(&format!("/sessions/{}", args.id), &body)
        .await?;
    output.either(&session, || {
        format!(
            "{}  ended, of {}\n",
            session.session,
            visible_line(&session.principal)
        )
    });
    Ok(Exit::Done)
}

fn text(session: &Session) -> String {
    let held = match &session.held {
        Some(request) => format!("  waits for {request}"),
        None => String::new(),
    };
    let claimed = match session.application_name.as_str() {
        "" => String::new(),
        name => format!("  claims to be {}", visible_line(name)),
    };
    format!(
        "{}  {}  {} {}/{} as {}  from {}  since {}, active {}{held}{claimed}\n",
        session.session,
        visible_line(&session.principal),
        session.protocol,
        visible_line(&session.upstream),
        visible_line(&session.database),
        visible_line(&session.database_user),
        session.source,
        session.since,
        session.active_at
    )
}
