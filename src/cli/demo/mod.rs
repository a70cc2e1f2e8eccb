//! `countersign demo`: a scratch PostgreSQL with a sample shop, the proxy in front of it, and what to paste.
//!
//! Never leaves a server behind, and never touches one that it did not start. Read `stage.rs` for what is built up,
//! `postgres.rs` for the scratch server, `watchdog.rs` for how it ends.

pub mod postgres;
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
    /// Where agents connect [default: a free port on loopback]
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:0",
        hide_default_value = true
    )]
    listen: std::net::SocketAddr,
    /// Read the server's catalog, as the same user: what views, triggers and functions do is seen
    #[arg(long)]
    catalog: bool,
    /// Stand in front of this server instead of a scratch one: postgresql://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL")]
    upstream_postgres: Option<String>,
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
                Err(CliError::error("the scratch server has ended by itself", format!("its last words: {log}")))
            }
        }
    }
}
