//! `policy replay`: what changed rules would have done with the statements in the log.
//! Never changes a record, and never says more than the log tells: what cannot be judged again is counted apart.
//! Read `api/replay/report.rs` next.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::open_rules;
use crate::api::replay::again::field;
use crate::api::replay::report::{Change, Move, NotJudged, Replay, Report};
use crate::api::trail::LogQuery;
use crate::cli::exit::{CliError, Exit};
use crate::cli::log::{PAGE_MAX, Source};
use crate::cli::output::Output;
use crate::render::visible_line;

/// Of these, how many are printed as text.
const SHOWN_MAX: usize = 50;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The changed rules: a file, or one of: default, strict, observe
    #[arg(long, value_name = "FILE")]
    rules: String,
    /// From this moment on: 2026-11-22T13:00:00Z, or how long ago: 30m, 12h, 7d
    #[arg(long, default_value = "7d")]
    since: String,
    /// Up to this moment
    #[arg(long)]
    until: Option<String>,
    /// Read the files of this data folder instead of asking the API; such a look is not recorded
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub async fn run(args: ReplayArgs, output: Output) -> Result<Exit, CliError> {
    let rules = open_rules(&args.rules)?;
    let source = Source::open(args.data_dir.as_deref())?;
    let mut replay = Replay::of(rules);
    let mut progress = Progress::start();
    let mut cursor = None;
    loop {
        let query = LogQuery {
            since: Some(args.since.clone()),
            until: args.until.clone(),
            order: Some("oldest".to_owned()),
            limit: Some(PAGE_MAX),
            cursor: cursor.take(),
            ..LogQuery::default()
        };
        let page = source.page(query).await?;
        for record in page.items {
            if let Some(session) = replay.lacks_start(&record) {
                let start = start_of(&source, &session).await?;
                replay.sessions.begin(&session, start);
            }
            progress.tell(replay.statements, &record);
            replay.take(record);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    progress.end();
    let report = replay.report(&args.since, args.until.as_deref());
    output.either(&report, || shown(&report));
    Ok(Exit::Done)
}

/// The record of a session's start, from before the part that is read.
async fn start_of(source: &Source, session: &str) -> Result<Option<Value>, CliError> {
    let mut cursor = None;
    loop {
        let query = LogQuery {
            session: Some(session.to_owned()),
            kind: Some("session_start".to_owned()),
            limit: Some(1),
            cursor,
            ..LogQuery::default()
        };
        // A page may end before it has found one.
        let page = source.page(query).await?;
        cursor = page.next_cursor;
        if !page.items.is_empty() || cursor.is_none() {
            return Ok(page.items.into_iter().next());
        }
    }
}

fn shown(report: &Report) -> String {
    let mut lines = vec![format!(
        "{} statements since {}, {} of them judged again by {}",
        report.statements, report.since, report.judged, report.rules
    )];
    let moves = report.verdicts.iter();
    lines.extend(moves.map(|Move { from, to, count }| format!("{count:>9}  {from} -> {to}")));
    if !report.decided_by.is_empty() {
        lines.push("decided by".to_owned());
    }
    let rules = report.decided_by.iter();
    lines.extend(rules.map(|(rule, count)| format!("{count:>9}  {rule}")));
    if !report.changed.is_empty() {
        lines.push("what changes, the most frequent first".to_owned());
    }
    lines.extend(report.changed.iter().take(SHOWN_MAX).map(|change| {
        let Change {
            from,
            rule_before,
            to,
            rule,
            count,
            example,
            ..
        } = change;
        format!(
            "{count:>9}  {from} by `{rule_before}` -> {to} by `{rule}`\n           {} {}: {}",
            example.id,
            example.principal,
            visible_line(&example.text)
        )
    }));
    let more = report.changed.len().saturating_sub(SHOWN_MAX);
    if more > 0 || report.changed_besides > 0 {
        lines.push(format!(
            "           … {more} more with --json, {} not told apart",
            report.changed_besides
        ));
    }
    if !report.not_judged.is_empty() {
        lines.push("not judged again".to_owned());
    }
    lines.extend(report.not_judged.iter().map(|told| {
        let NotJudged { why, count, example } = told;
        format!(
            "{count:>9}  {why}\n           {} {}: {}",
            example.id,
            example.principal,
            visible_line(&example.text)
        )
    }));
    if !report.asking_a_catalog.is_empty() {
        lines.push(format!(
            "not in the log, so taken as unknown: sizes of tables and tables behind views, for which these rules ask: {}",
            report.asking_a_catalog.join(", ")
        ));
    }
    lines.join("\n")
}

/// A line on a terminal that says how far it is.
struct Progress {
    is_shown: bool,
    told: Instant,
}

impl Progress {
    fn start() -> Self {
        Self {
            is_shown: std::io::stderr().is_terminal(),
            told: Instant::now(),
        }
    }

    fn tell(&mut self, statements: u64, record: &Value) {
        if !self.is_shown || self.told.elapsed() < PROGRESS_INTERVAL {
            return;
        }
        self.told = Instant::now();
        let reached = visible_line(field(record, "time").unwrap_or_default());
        write(&format!("\r{statements} statements, up to {reached}\u{1B}[K"));
    }

    fn end(&self) {
        if self.is_shown {
            write("\r\u{1B}[K");
        }
    }
}

fn write(text: &str) {
    let mut stderr = std::io::stderr().lock();
    // Progress that nobody can be shown is no reason to stop.
    let _unseen = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
