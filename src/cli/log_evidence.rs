//! `log verify --evidence`: checks a bundle by itself. Never needs the log, the network or an account.
//! Read `api/evidence/check.rs` for what is held against what.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::exit::{CliError, Exit};
use super::log_verify::{Progress, anchors_are_there, grouped};
use super::output::Output;
use crate::api::evidence::check::{Finding, Report, Request, Stop, check};
use crate::render::visible_line;

pub fn run(bundle: &Path, key: Option<&Path>, anchors: &[PathBuf], output: Output) -> Result<Exit, CliError> {
    anchors_are_there(anchors)?;
    let request = Request {
        bundle: bundle.to_owned(),
        key: key.map(Path::to_owned),
        anchors: anchors.to_vec(),
    };
    let mut told = Progress::new();
    let checked = check(&request, |done, total| told.tell(done, total));
    told.end();
    match checked {
        Ok(report) => {
            output.either(&value(&report), || text(&report, key));
            Ok(Exit::Done)
        }
        Err(Stop::Found(finding)) => {
            output.either(&failed_value(&finding), || failed(&finding));
            Ok(Exit::VerificationFailed)
        }
        Err(Stop::Failed(error)) => Err(CliError::error(&error, error.next_step())),
    }
}

fn text(report: &Report, key: Option<&Path>) -> String {
    let manifest = &report.manifest;
    let whose = match key {
        Some(file) => visible_line(&file.display().to_string()),
        None => "from the bundle itself: compare it with the one you keep, or give it with --key".to_owned(),
    };
    let whole = if manifest.whole {
        "whole"
    } else {
        "not whole: the last checkpoint in it was signed too early"
    };
    let anchors = match report.anchors {
        0 => "none in this bundle (--anchor FILE): whoever holds log.key could have signed all of it anew"
            .to_owned(),
        count => format!("{} match", grouped(count)),
    };
    [
        format!(
            "origin        {}   key {} ({whose})",
            report.key.name(),
            report.key.id()
        ),
        format!("period        {} up to {}, {whole}", manifest.from, manifest.to),
        format!(
            "records       {} from leaf {} on, {} earlier ones",
            grouped(manifest.leaves),
            grouped(manifest.first_leaf),
            grouped(report.earlier)
        ),
        format!("statements    {} privileged", grouped(report.statements)),
        format!(
            "checkpoint    of {} over {} records, root {}",
            report.end.time,
            grouped(report.end.size),
            STANDARD.encode(report.end.root)
        ),
        format!("anchors       {anchors}"),
        format!("files         {}, each as the records say", grouped(report.files)),
        "VERIFIED".to_owned(),
    ]
    .join("\n")
}

fn failed(finding: &Finding) -> String {
    let (file, what) = (visible_line(&finding.file), visible_line(&finding.what));
    format!("FAILED        {file}: {what}")
}

fn value(report: &Report) -> Value {
    let manifest = &report.manifest;
    json!({
        "verified": true,
        "origin": report.key.name(),
        "key_id": report.key.id(),
        "from": manifest.from,
        "to": manifest.to,
        "whole": manifest.whole,
        "first_leaf": manifest.first_leaf,
        "records": manifest.leaves,
        "earlier": report.earlier,
        "statements": report.statements,
        "size": report.end.size,
        "root": STANDARD.encode(report.end.root),
        "signed_at": report.end.time.to_string(),
        "anchors": report.anchors,
        "files": report.files,
        "finding": Value::Null,
    })
}

fn failed_value(finding: &Finding) -> Value {
    json!({
        "verified": false,
        "finding": { "file": finding.file, "what": finding.what },
    })
}
