//! The command line: reads it, runs one command, prints its error and the next step.
//!
//! Never holds logic of another room. Read `serve.rs` for how the rooms are joined, `requests.rs` for people who
//! decide, `demo/mod.rs` for the demo.

mod acts;
pub mod card;
mod catalog;
mod check;
mod client;
pub mod demo;
pub mod exit;
mod factors;
mod grants;
mod impact;
pub mod judge;
mod label_names;
mod live;
mod live_mysql;
mod log;
mod log_bars;
mod log_evidence;
mod log_export;
mod log_verify;
mod man;
mod offline;
mod open_catalogs;
mod output;
mod people;
mod policy;
mod requests;
mod reviews;
pub mod serve;
mod sessions;
pub mod watch;
mod webhook;

use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use self::exit::{CliError, EXIT_CODES_HELP, Exit};
use self::output::Output;
use crate::config::Config;
use crate::config::reader::Override;

#[derive(Debug, Parser)]
#[command(name = "countersign", version, about, after_help = EXIT_CODES_HELP)]
struct CommandLine {
    /// Print results as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy and its API until SIGTERM; SIGHUP reloads rules, trusted functions and certificates
    Serve(Box<serve::ServeArgs>),
    /// Say what the proxy would decide of statements, offline
    Judge(judge::JudgeArgs),
    /// Try rules on cases, and on what the log holds
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Check the settings file and the rules, and say what is wrong where
    Check(check::CheckArgs),
    /// List the requests that wait for a decision
    Pending(requests::PendingArgs),
    /// Show one request, whole
    Show(requests::ShowArgs),
    /// The queue on the whole terminal, live, with cards and decisions; else each request as it comes, a line each
    Watch(requests::WatchArgs),
    /// Wait until a request is decided; the exit code says how
    Wait(requests::WaitArgs),
    /// Approve a request, once, or for a time (--for, --uses); on a terminal it is shown first
    Approve(requests::ApproveArgs),
    /// Deny a request
    Deny(requests::DenyArgs),
    /// Ask the agent something before deciding; the request stays undecided
    Ask(acts::AskArgs),
    /// Put a comment beside a request
    Comment(acts::CommentArgs),
    /// Hand a request to the next group that its rule names
    Escalate(acts::EscalateArgs),
    /// Name the person who approves a request instead of you
    Delegate(acts::DelegateArgs),
    /// List and sign the reviews of what one person approved alone (`approve --break-glass`)
    #[command(subcommand)]
    Review(reviews::ReviewCommand),
    /// List and revoke standing grants, which `approve --for 30m --uses 20` makes
    #[command(subcommand)]
    Grant(grants::GrantCommand),
    /// List the agents' sessions, or end one
    #[command(subcommand)]
    Session(sessions::SessionCommand),
    /// Read the log
    #[command(subcommand)]
    Log(Box<log::LogCommand>),
    /// See the catalogs that statements are judged by
    #[command(subcommand)]
    Catalog(catalog::CatalogCommand),
    /// Manage the agents that may connect
    #[command(subcommand)]
    Agent(people::AgentCommand),
    /// Manage the people who decide, read and administer
    #[command(subcommand)]
    User(people::UserCommand),
    /// See, try and repeat the webhooks of the settings
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Print the version
    Version,
    /// Print a completion script for a shell
    Completion { shell: clap_complete::Shell },
    /// Print the manual page, or write one for each command (--dir)
    Man(man::ManArgs),
    /// Run a scratch PostgreSQL and a scratch MariaDB with a sample shop each, and the proxy in front of them
    Demo(demo::DemoArgs),
    /// Run a scratch server until standard input ends
    #[command(hide = true)]
    DemoWatchdog(demo::watchdog::WatchdogArgs),
}

/// Where the settings are, for commands that work on this machine.
#[derive(Clone, Debug, Default, Args)]
pub struct SettingsArgs {
    /// The settings file [default: countersign.toml, then /etc/countersign/countersign.toml]
    #[arg(long, value_name = "FILE", env = "COUNTERSIGN_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where store and log are kept
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
}

impl SettingsArgs {
    /// Flags over variables over the file.
    pub fn load(&self, mut flags: Vec<Override>) -> Result<Config, CliError> {
        let mut overrides = Override::from_variables(std::env::vars_os().filter_map(text_pair));
        let data_dir = self.data_dir.clone();
        overrides.extend(data_dir.map(|dir| Override::from_flag("--data-dir", "data_dir", dir)));
        overrides.append(&mut flags);
        Ok(Config::load(self.config.as_deref(), overrides)?)
    }
}

/// A variable that is no UTF-8 is none of ours.
fn text_pair((name, value): (OsString, OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}

/// Reads the command line and runs its command.
pub fn run() -> ExitCode {
    // The only error is that a provider is installed already, which then is this one.
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let line = CommandLine::parse();
    let output = if line.json { Output::Json } else { Output::Text };
    let done = match line.command {
        Command::Serve(args) => block_on(serve::run(*args, output)),
        Command::Check(args) => check::run(&args, output),
        Command::Policy(command) => policy::run(command, output),
        Command::Judge(args) => return judge::run(args),
        Command::Pending(args) => block_on(requests::pending(args, output)),
        Command::Show(args) => block_on(requests::show(args, output)),
        Command::Watch(args) => block_on(requests::watch(args, output)),
        Command::Wait(args) => block_on(requests::wait(args, output)),
        Command::Approve(args) => block_on(requests::approve(args, output)),
        Command::Deny(args) => block_on(requests::deny(args, output)),
        Command::Ask(args) => block_on(acts::ask(args, output)),
        Command::Comment(args) => block_on(acts::comment(args, output)),
        Command::Escalate(args) => block_on(acts::escalate(args, output)),
        Command::Delegate(args) => block_on(acts::delegate(args, output)),
        Command::Review(command) => block_on(reviews::run(command, output)),
        Command::Grant(command) => block_on(grants::run(command, output)),
        Command::Session(command) => block_on(sessions::run(command, output)),
        Command::Log(command) => block_on(log::run(*command, output)),
        Command::Catalog(command) => block_on(catalog::run(command, output)),
        Command::Agent(command) => block_on(people::run_agent(command, output)),
        Command::User(command) => block_on(people::run_user(command, output)),
        Command::Webhook(command) => block_on(webhook::run(command, output)),
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            output.either(&serde_json::json!({ "version": version }), || {
                format!("countersign {version}")
            });
            Ok(Exit::Done)
        }
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut CommandLine::command(), "countersign", &mut script);
            output.text(&String::from_utf8_lossy(&script));
            Ok(Exit::Done)
        }
        Command::Man(args) => man::run(&args, CommandLine::command(), output),
        Command::Demo(args) => block_on(demo::run(args, output)),
        Command::DemoWatchdog(args) => return demo::watchdog::run(&args),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(error) => error.report(),
    }
}

/// Runs a client command on a runtime of its own.
fn block_on(command: impl Future<Output = Result<Exit, CliError>>) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::error(error, "free some file descriptors"))?;
    runtime.block_on(command)
}

/// A folder that only this user may look into: it holds what agents sent.
fn make_private(folder: &Path) -> Result<(), CliError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| {
            CliError::error(
                format!("cannot make `{}`: {error}", folder.display()),
                "name a folder of yours with --data-dir, or make it and give it to this user",
            )
        })
}
