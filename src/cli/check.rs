//! `check`: everything that `serve` would read, read once without starting anything.
//! Never writes. Read `serve.rs` for what is done with it.

use clap::Args;

use super::exit::{CliError, Exit};
use super::output::Output;
use super::{SettingsArgs, serve};
use crate::catalog::trusted::Spelling;
use crate::config::RulesFile;
use crate::config::reader::Override;
use crate::journal::tree::pruned::duration_text;
use crate::proxy::check_tls;

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Check these rules instead of those that the settings name: default, strict, observe or a file
    #[arg(long, value_name = "FILE")]
    rules: Option<String>,
}

pub fn run(args: &CheckArgs, output: Output) -> Result<Exit, CliError> {
    let rules = args
        .rules
        .clone()
        .map(|rules| Override::from_flag("--rules", "rules.file", rules));
    let config = args.settings.load(rules.into_iter().collect())?;
    config
        .warnings
        .iter()
        .for_each(|warning| eprintln!("warning: {warning}"));
    let rules = serve::open_rules(&config.rules)?;
    serve::open_labels(config.labels.as_deref())?;
    let settings = config.proxy()?;
    for front in settings.fronts() {
        check_tls(&front.tls, &front.upstream.tls)
            .map_err(|error| CliError::error(&error, error.next_step()))?;
    }
    for (front, spelling) in [
        (&config.postgres, Spelling::Postgres),
        (&config.mysql, Spelling::Mysql),
    ] {
        front.catalog_account()?;
        let trusted = front
            .catalog
            .as_ref()
            .and_then(|catalog| catalog.trusted_file.as_deref());
        trusted
            .map(|file| serve::open_trusted(file, spelling))
            .transpose()?;
    }
    if let Some(pair) = &config.api.certificate {
        crate::api::serve::server_config(pair).map_err(|error| CliError::error(&error, error.next_step()))?;
    }
    config
        .notify()
        .map_err(|error| CliError::error(&error, error.next_step()))?;
    let file = match &config.rules {
        RulesFile::Shipped(name) => name.clone(),
        RulesFile::File(path) => path.display().to_string(),
    };
    let retention = config.log_tree.retention.map(duration_text);
    let found = serde_json::json!({
        "ok": true, "rules": file, "rule_count": rules.len(), "warnings": config.warnings, "retention": retention,
    });
    output.either(&found, || {
        let kept = retention.map_or_else(|| "for ever".to_owned(), |retention| format!("for {retention}"));
        format!(
            "settings and rules are right: {} rules in `{file}`; records of the log are kept {kept}",
            rules.len()
        )
    });
    Ok(Exit::Done)
}
