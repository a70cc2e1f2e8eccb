//! `catalog`: how fresh the catalogs of a running proxy are, reading them anew, and which functions they hold.
//! A client of the API; only `functions --upstream` reads a server itself. Read `api/catalog.rs` for the other side.

use clap::{Args, Subcommand};

use super::client::Client;
use super::exit::{CliError, Exit};
use super::live::{Live, LiveArgs};
use super::output::Output;
use crate::api::catalog::{CatalogList, CatalogState, FunctionList, FunctionShape};
use crate::catalog::keeper::Snapshot as _;

#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// Say how fresh the catalogs are that statements are judged by
    Status,
    /// Read them anew now, after a change that was made past the proxy
    Refresh,
    /// Print a database's own functions as lines for catalog.trusted_file, out of a running proxy or straight from a server
    Functions(FunctionsArgs),
}

#[derive(Debug, Args)]
pub struct FunctionsArgs {
    /// One that agents use; of a MySQL server the name that the settings give it, `mysql` by default
    #[arg(required_unless_present = "upstream", conflicts_with = "upstream")]
    database: Option<String>,
    /// Of two catalogs of that name: postgres or mysql
    #[arg(long, requires = "database", value_parser = ["postgres", "mysql"])]
    protocol: Option<String>,
    /// Also those that are known to be harmless already
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    live: LiveArgs,
}

pub async fn run(command: CatalogCommand, output: Output) -> Result<Exit, CliError> {
    match command {
        CatalogCommand::Status => {
            let client = Client::from_environment()?;
            let list: CatalogList = client.get("/catalogs", &[]).await?;
            output.either(&list, || status_text(&list));
        }
        CatalogCommand::Refresh => {
            let client = Client::from_environment()?;
            let list: CatalogList = client.post("/catalogs/refresh", &serde_json::json!({})).await?;
            output.either(&list, || status_text(&list));
        }
        CatalogCommand::Functions(FunctionsArgs {
            database,
            protocol,
            all,
            live,
        }) => {
            let mut list = match database {
                Some(database) => {
                    let path = format!("/catalogs/{}/functions", one_segment(&database)?);
                    let protocol = protocol.map(|protocol| ("protocol", protocol));
                    Client::from_environment()?
                        .get(&path, protocol.as_slice())
                        .await?
                }
                None => functions_of(live).await?,
            };
            list.items.retain(|function| all || !function.harmless);
            output.either(&list, || list.items.iter().map(function_lines).collect());
        }
    }
    Ok(Exit::Done)
}

/// Read from the server itself, which takes a runtime of its own.
async fn functions_of(live: LiveArgs) -> Result<FunctionList, CliError> {
    let read = tokio::task::spawn_blocking(move || live.read()).await;
    let failed = || CliError::error("the catalog could not be read", "try again");
    let live = read.map_err(|_| failed())??.ok_or_else(failed)?;
    let items = match live {
        Live::Postgres(live) => live
            .snapshot
            .user_functions()
            .into_iter()
            .map(FunctionShape::from)
            .collect(),
        Live::Mysql(live) => live.functions().into_iter().map(FunctionShape::from).collect(),
    };
    Ok(FunctionList { items })
}

/// A name as one piece of a path.
fn one_segment(name: &str) -> Result<String, CliError> {
    let mut path =
        reqwest::Url::parse("http://localhost").map_err(|error| CliError::error(error, "name a database"))?;
    path.path_segments_mut()
        .map_err(|()| CliError::error("no such name", "name a database"))?
        .push(name);
    Ok(path.path().trim_start_matches('/').to_owned())
}

fn status_text(list: &CatalogList) -> String {
    if !list.configured {
        return "no catalog is configured: views, triggers and functions behind plain names are not seen"
            .to_owned();
    }
    if list.items.is_empty() {
        return "no database is in use yet".to_owned();
    }
    let labels = list.labels_not_found.iter();
    let labels =
        labels.map(|words| format!("labels  {words} is in none of them: its values are not withheld\n"));
    list.items.iter().map(status_line).chain(labels).collect()
}

fn status_line(one: &CatalogState) -> String {
    let age = match one.age_seconds {
        Some(seconds) => format!("seen {seconds} s ago"),
        None => "never read".to_owned(),
    };
    let problem = one.problem.as_deref().unwrap_or_default();
    let problem = if problem.is_empty() {
        String::new()
    } else {
        format!(": {problem}")
    };
    format!(
        "{}  {}, {}, generation {}, {age}{problem}\n",
        one.database, one.protocol, one.state, one.generation
    )
}

/// Lines of a TOML file, which the reader of the list checks before they are pasted.
fn function_lines(function: &FunctionShape) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let definer = if function.security_definer {
        ", security definer"
    } else {
        ""
    };
    let why = function.reason.as_deref().unwrap_or("known to be harmless");
    let about = format!(
        "{} in {}, {}{definer}, of {}: {why}",
        function.kind, function.language, function.volatility, function.owner
    );
    // Names may hold any letter, and a comment is one line.
    let about = about.replace(char::is_control, " ");
    format!(
        "# {about}\n[[trusted]]\nfunction = {}\nhash = {}\n\n",
        quoted(&function.function),
        quoted(&function.hash)
    )
}
