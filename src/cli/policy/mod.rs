//! `policy test` and `policy replay`: whether rules say what people mean, before and after they are changed.
//! Never changes what is in force. Read `cases.rs` next, then `test.rs` and `replay.rs`.

mod cases;
mod replay;
mod test;

use clap::Subcommand;

use super::exit::{CliError, Exit};
use super::output::Output;
use super::{block_on, offline};
use crate::policy::{RuleError, RuleSet};

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Run the cases that stand beside rules: statement, principal, expected verdict and rule
    Test(test::TestArgs),
    /// Show what changed rules would have done with the statements in the log
    Replay(replay::ReplayArgs),
}

pub fn run(command: PolicyCommand, output: Output) -> Result<Exit, CliError> {
    match command {
        PolicyCommand::Test(args) => test::run(args, output),
        PolicyCommand::Replay(args) => {
            offline::on_a_reader_stack(move || block_on(replay::run(args, output)))?
        }
    }
}

fn open_rules(name_or_path: &str) -> Result<RuleSet, CliError> {
    RuleSet::open(name_or_path).map_err(wrong)
}

/// A mistake in a file of rules or cases.
fn wrong(error: RuleError) -> CliError {
    CliError::error(&error, &error.next_step)
}
