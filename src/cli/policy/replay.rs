//! `policy replay`: what changed rules would have done with the statements in the log.
//! Never changes a record, and never says more than the log tells: what cannot be judged again is counted apart.
//! Read `again.rs` next.

use std::collections::{BTreeMap, HashMap};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::again::{Lacking, Sessions, field};
use super::open_rules;
use crate::api::trail::LogQuery;
use crate::cli::exit::{CliError, Exit};
use crate::cli::log::{PAGE_MAX, Source};
use crate::cli::output::Output;
use crate::policy::{RuleSet, Verdict};
use crate::render::visible_line;

/// Different statements that are told apart; what changes beyond them is counted together.
const CHANGED_MAX: usize = 10_000;
/// Of these, how many are printed as text.
const SHOWN_MAX: usize = 50;
/// Of an example's statement. Units: characters.
const EXAMPLE_MAX: usize = 200;
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

#[derive(Default, Serialize)]
struct Report {
    rules: String,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// Statements in that part of the log.
    statements: u64,
    judged: u64,
    verdicts: Vec<Move>,
    /// By the new rules, how many statements each decides.
    decided_by: BTreeMap<String, u64>,
    changed: Vec<Change>,
    /// Changes of further statements, beyond those that are told apart.
    changed_besides: u64,
    not_judged: Vec<NotJudged>,
    /// Rules that ask for what the log does not hold: sizes of tables, and tables behind views.
    asking_a_catalog: Vec<String>,
}

/// How many statements went from one verdict to another, or stayed.
#[derive(Serialize)]
struct Move {
    from: String,
    to: String,
    count: u64,
}

/// A statement, literals aside, whose verdict changes.
#[derive(Serialize)]
struct Change {
    fingerprint: String,
    from: String,
    rule_before: String,
    to: String,
    rule: String,
    count: u64,
    reasons: Vec<String>,
    example: Example,
}

#[derive(Serialize)]
struct NotJudged {
    why: &'static str,
    count: u64,
    example: Example,
}

#[derive(Serialize)]
struct Example {
    id: String,
    principal: String,
    text: String,
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
    let report = replay.report(&args);
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

/// What is counted on the way.
struct Replay {
    rules: RuleSet,
    sessions: Sessions,
    statements: u64,
    verdicts: BTreeMap<(String, String), u64>,
    decided_by: BTreeMap<String, u64>,
    /// By fingerprint, verdict and rule before and after.
    changed: HashMap<[String; 5], Change>,
    changed_besides: u64,
    not_judged: BTreeMap<Lacking, NotJudged>,
}

impl Replay {
    fn of(rules: RuleSet) -> Self {
        Self {
            rules,
            sessions: Sessions::default(),
            statements: 0,
            verdicts: BTreeMap::new(),
            decided_by: BTreeMap::new(),
            changed: HashMap::new(),
            changed_besides: 0,
            not_judged: BTreeMap::new(),
        }
    }

    /// The session of an attempt whose start has not been met.
    fn lacks_start(&self, record: &Value) -> Option<String> {
        let session = field(record, "session")?;
        let lacks = field(record, "kind") == Some("attempt") && !self.sessions.knows(session);
        lacks.then(|| session.to_owned())
    }

    fn take(&mut self, record: Value) {
        let session = field(&record, "session").unwrap_or_default().to_owned();
        match field(&record, "kind") {
            Some("session_start") => self.sessions.begin(&session, Some(record)),
            Some("session_end") => self.sessions.end(&session),
            Some("attempt") => self.attempt(&record),
            _other => {}
        }
    }

    fn attempt(&mut self, record: &Value) {
        self.statements += 1;
        match self.sessions.judge(record, &self.rules) {
            Ok(verdict) => self.judged(record, &verdict),
            Err(lacking) => {
                let told = self.not_judged.entry(lacking).or_insert_with(|| NotJudged {
                    why: lacking.as_str(),
                    count: 0,
                    example: example(record),
                });
                told.count += 1;
            }
        }
    }

    fn judged(&mut self, record: &Value, verdict: &Verdict) {
        let word = |name| field(record, name).unwrap_or_default().to_owned();
        let (from, rule_before) = (word("verdict"), word("rule"));
        let (to, rule) = (verdict.outcome().to_string(), verdict.rule.to_string());
        *self.verdicts.entry((from.clone(), to.clone())).or_default() += 1;
        *self.decided_by.entry(rule.clone()).or_default() += 1;
        if from == to {
            return;
        }
        let key = [
            word("fingerprint"),
            from.clone(),
            rule_before.clone(),
            to.clone(),
            rule.clone(),
        ];
        if self.changed.len() >= CHANGED_MAX && !self.changed.contains_key(&key) {
            self.changed_besides += 1;
            return;
        }
        let change = self
            .changed
            .entry(key)
            .or_insert_with_key(|[fingerprint, ..]| Change {
                fingerprint: fingerprint.clone(),
                from,
                rule_before,
                to,
                rule,
                count: 0,
                reasons: verdict.reasons.clone(),
                example: example(record),
            });
        change.count += 1;
    }

    fn report(self, args: &ReplayArgs) -> Report {
        let mut changed: Vec<Change> = self.changed.into_values().collect();
        changed.sort_by(|one, other| {
            let order = other.count.cmp(&one.count);
            order.then_with(|| one.fingerprint.cmp(&other.fingerprint))
        });
        let verdicts = self.verdicts.into_iter();
        Report {
            rules: self.rules.file.clone(),
            since: args.since.clone(),
            until: args.until.clone(),
            statements: self.statements,
            judged: self.decided_by.values().sum(),
            verdicts: verdicts
                .map(|((from, to), count)| Move { from, to, count })
                .collect(),
            decided_by: self.decided_by,
            changed,
            changed_besides: self.changed_besides,
            not_judged: self.not_judged.into_values().collect(),
            asking_a_catalog: self.rules.asking_a_catalog().map(str::to_owned).collect(),
        }
    }
}

fn example(record: &Value) -> Example {
    let word = |name| field(record, name).unwrap_or_default().to_owned();
    let mut text: String = word("text").chars().take(EXAMPLE_MAX).collect();
    if text.len() < word("text").len() {
        text.push_str(" …");
    }
    Example {
        id: word("id"),
        principal: word("principal"),
        text,
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
