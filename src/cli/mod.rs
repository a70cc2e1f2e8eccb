//! The command line: reads it, runs one command, prints its error and the next step.
//!
//! Never holds logic of another room. Read `demo/mod.rs` next.

pub mod demo;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "countersign", version, about)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scratch server until standard input ends
    #[command(hide = true)]
    DemoWatchdog(demo::watchdog::WatchdogArgs),
}

/// Reads the command line and runs its command.
pub fn run() -> ExitCode {
    match CommandLine::parse().command {
        Command::DemoWatchdog(args) => demo::watchdog::run(&args),
    }
}
