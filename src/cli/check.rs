//! `check`: everything that `serve` would read, read once without starting anything.

use clap::Args;

use super::SettingsArgs;
use super::exit::{CliError, Exit};
use super::output::Output;

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub fn run(args: &CheckArgs, output: Output) -> Result<Exit, CliError> {
    let config = args.settings.load(Vec::new())?;
    config
        .warnings
        .iter()
        .for_each(|warning| eprintln!("warning: {warning}"));
    for user in &config.upstream.users {
        user.password.read()?;
    }
    output.either(
        &serde_json::json!({ "ok": true, "warnings": config.warnings }),
        || "settings are right".to_owned(),
    );
    Ok(Exit::Done)
}
