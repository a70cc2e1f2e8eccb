//! `countersign demo`: a scratch PostgreSQL and a scratch MariaDB with a sample shop each, the proxy in front of them, and
//! what to paste.
//!
//! Never leaves a server behind, and never touches one that it did not start. Read `stage.rs` for what is built up,
//! `postgres.rs` and `mariadb.rs` for the scratch servers, `watchdog.rs` for how they end.

pub mod mariadb;
pub mod postgres;
pub mod scratch;
mod sheet;
pub mod shop;
mod stage;
pub mod upstream;
pub mod watchdog;

use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use self::stage::Stage;
use super::exit::{CliError, Exit};
use super::output::Output;

/// Arguments of `countersign demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Keep store and journal in this folder, and find them there next time
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Judge by this rule file [default: the shipped default rules]
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Where agents of PostgreSQL connect [default: a free port on loopback]
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:0",
        hide_default_value = true
    )]
    listen: std::net::SocketAddr,
    /// Where agents of MySQL and MariaDB connect [default: a free port on loopback]
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:0",
        hide_default_value = true
    )]
    mysql_listen: std::net::SocketAddr,
    /// Read the servers' catalogs: what views, triggers and functions do is seen
    #[arg(long)]
    catalog: bool,
    /// Stand in front of this server instead of a scratch one: postgresql://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL")]
    upstream_postgres: Option<String>,
    /// The same for MySQL or MariaDB: mysql://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL")]
    upstream_mysql: Option<String>,
    /// Serve one protocol alone
    #[arg(long, value_enum)]
    only: Option<Speaks>,
}

/// A protocol that the proxy can stand in front of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Speaks {
    Postgres,
    Mysql,
}

/// Runs the demo until Ctrl-C, SIGTERM or the end of its scratch server.
pub async fn run(args: DemoArgs, output: Output) -> Result<Exit, CliError> {
    let mut ends = Ends::listen()?;
    let mut stage = Stage::build(&args).await?;
    output.either(stage.sheet(), || stage.text());
    let end = ends.wait(&mut stage).await;
    stage.strike().await;
    end
}

/// The ways in which a demo is told to end.
struct Ends {
    signals: Vec<tokio::signal::unix::Signal>,
}

impl Ends {
    /// Listens before anything is started, so that nothing is started which a signal would leave behind.
    fn listen() -> Result<Self, CliError> {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let signals = kinds.into_iter().map(signal).collect::<Result<_, _>>();
        Ok(Ends {
            signals: signals.map_err(|error| CliError::error(error, "free some file descriptors"))?,
        })
    }

    async fn wait(&mut self, stage: &mut Stage) -> Result<Exit, CliError> {
        let told =
            futures_util::future::select_all(self.signals.iter_mut().map(|signal| Box::pin(signal.recv())));
        tokio::select! {
            _ = told => Ok(Exit::Done),
            log = stage.server_ended() => {
                Err(CliError::error("a scratch server has ended by itself", format!("its last words: {log}")))
            }
        }
    }
}
