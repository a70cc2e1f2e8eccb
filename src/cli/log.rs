//! `log query`, `log tail`, `log show`: over the API, or with `--data-dir` straight from the files.
//! Never changes a record. Read `api/trail.rs` for the filters.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::Client;
use super::exit::{CliError, Exit};
use super::log_verify;
use super::output::Output;
use crate::api::problem::Problem;
use crate::api::requests::Page;
use crate::api::trail::LogQuery;
use crate::audit::{Record, RecordId};
use crate::clock::Timestamp;
use crate::config::JOURNAL_FOLDER;
use crate::journal::{JournalError, Reader, TailFrom};
use crate::render::visible_line;

/// How often the end of the files is looked at.
const TAIL_INTERVAL: Duration = Duration::from_millis(300);
/// Records on one page of the API.
pub(super) const PAGE_MAX: usize = 1000;

#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Find records, newest first
    Query(QueryArgs),
    /// Print records as they come
    Tail(FilterArgs),
    /// Show one record, with its statement
    Show(ShowArgs),
    /// Hold the whole log against its checkpoints, offline; exit code 3 if anything was changed
    Verify(log_verify::VerifyArgs),
    /// Write the proof of one record, which `log verify --proof` checks without the log
    Proof(log_verify::ProofArgs),
}

#[derive(Debug, Args)]
pub struct QueryArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Records to print
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,
    /// Oldest first
    #[arg(long)]
    oldest_first: bool,
    /// Where the query before ended: its `next_cursor`
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Debug, Args)]
pub struct FilterArgs {
    /// From this moment on: 2026-11-22T13:00:00Z, or how long ago: 30m, 12h, 7d
    #[arg(long)]
    since: Option<String>,
    /// Up to this moment
    #[arg(long)]
    until: Option<String>,
    #[arg(long)]
    principal: Option<String>,
    #[arg(long)]
    class: Option<String>,
    /// allow, hold or deny
    #[arg(long)]
    verdict: Option<String>,
    /// schema.name, or name for that table in any schema
    #[arg(long)]
    table: Option<String>,
    #[arg(long)]
    approver: Option<String>,
    #[arg(long)]
    request: Option<String>,
    /// What happened to a standing grant, and the statements that ran by it
    #[arg(long)]
    grant: Option<String>,
    #[arg(long)]
    session: Option<String>,
    /// attempt, outcome, decision, login, session_start, rules_change, people_change, certificates_change …
    #[arg(long)]
    kind: Option<String>,
    /// Read the files of this data folder instead of asking the API; such a look is not recorded
    #[arg(long, value_name = "DIR")]
    data_dir: Option<std::path::PathBuf>,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The record's id, such as 0.42
    id: String,
    /// Read the files of this data folder instead of asking the API; such a look is not recorded
    #[arg(long, value_name = "DIR")]
    data_dir: Option<std::path::PathBuf>,
}

pub async fn run(command: LogCommand, output: Output) -> Result<Exit, CliError> {
    match command {
        LogCommand::Query(args) => query(args, output).await,
        LogCommand::Tail(filter) => tail(filter, output).await,
        LogCommand::Show(args) => show(args, output).await,
        LogCommand::Verify(args) => log_verify::run(&args, output),
        LogCommand::Proof(args) => log_verify::write_proof(args, output).await,
    }
}

impl FilterArgs {
    fn query(&self) -> LogQuery {
        LogQuery {
            since: self.since.clone(),
            until: self.until.clone(),
            principal: self.principal.clone(),
            class: self.class.clone(),
            verdict: self.verdict.clone(),
            table: self.table.clone(),
            approver: self.approver.clone(),
            request: self.request.clone(),
            grant: self.grant.clone(),
            session: self.session.clone(),
            kind: self.kind.clone(),
            ..LogQuery::default()
        }
    }

    fn source(&self) -> Result<Source, CliError> {
        Source::open(self.data_dir.as_deref())
    }

    fn reader(&self) -> Option<Reader> {
        self.data_dir
            .as_ref()
            .map(|dir| Reader::open(&dir.join(JOURNAL_FOLDER)))
    }
}

/// As the API wants them.
fn pairs(query: LogQuery) -> Vec<(&'static str, String)> {
    let pairs = [
        ("since", query.since),
        ("until", query.until),
        ("principal", query.principal),
        ("class", query.class),
        ("verdict", query.verdict),
        ("table", query.table),
        ("approver", query.approver),
        ("request", query.request),
        ("grant", query.grant),
        ("session", query.session),
        ("kind", query.kind),
        ("order", query.order),
        ("limit", query.limit.map(|limit| limit.to_string())),
        ("cursor", query.cursor),
    ];
    pairs
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
}

/// Where records come from.
pub(super) enum Source {
    Api(Client),
    Files(Reader),
}

impl Source {
    /// The files of a data folder, or the API that the environment names.
    pub(super) fn open(data_dir: Option<&std::path::Path>) -> Result<Self, CliError> {
        Ok(match data_dir {
            Some(dir) => Self::Files(Reader::open(&dir.join(JOURNAL_FOLDER))),
            None => Self::Api(Client::from_environment()?),
        })
    }

    /// At most `PAGE_MAX` records.
    pub(super) async fn page(&self, query: LogQuery) -> Result<Page<Value>, CliError> {
        match self {
            Self::Api(client) => client.get::<Page<Value>>("/log", &pairs(query)).await,
            Self::Files(reader) => page_of_files(reader, query),
        }
    }
}

async fn query(args: QueryArgs, output: Output) -> Result<Exit, CliError> {
    let source = args.filter.source()?;
    let mut left = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut cursor = args.cursor;
    let mut items: Vec<Value> = Vec::new();
    loop {
        let query = LogQuery {
            order: args.oldest_first.then(|| "oldest".to_owned()),
            limit: Some(left.min(PAGE_MAX)),
            cursor: cursor.take(),
            ..args.filter.query()
        };
        let page = source.page(query).await?;
        left = left.saturating_sub(page.items.len());
        items.extend(page.items);
        cursor = page.next_cursor;
        if left == 0 || cursor.is_none() {
            break;
        }
    }
    if output.is_json() {
        output.json(&Page {
            items,
            next_cursor: cursor,
        });
        return Ok(Exit::Done);
    }
    items.iter().for_each(|record| output.text(&line(record)));
    match cursor {
        Some(cursor) => eprintln!("there is more: --cursor {cursor}"),
        None if items.is_empty() => eprintln!("no record matches"),
        None => {}
    }
    Ok(Exit::Done)
}

fn page_of_files(reader: &Reader, query: LogQuery) -> Result<Page<Value>, CliError> {
    let filter = query.filter(Timestamp::now()).map_err(usage)?;
    let page = reader.query(&filter).map_err(unreadable)?;
    Ok(Page {
        items: page.records.iter().map(value).collect(),
        next_cursor: page.next_cursor,
    })
}

async fn tail(args: FilterArgs, output: Output) -> Result<Exit, CliError> {
    let print = |record: &Value| match output {
        Output::Json => output.json(record),
        Output::Text => output.text(&line(record)),
    };
    let Some(reader) = args.reader() else {
        let client = Client::from_environment()?;
        let query = pairs(args.query());
        loop {
            client
                .events("/log/tail", &query, &mut None, async |data| {
                    let record: Value = serde_json::from_str(data).map_err(|error| {
                        CliError::error(error, "use a client and a server of one version")
                    })?;
                    print(&record);
                    Ok(())
                })
                .await?;
        }
    };
    let filter = args.query().filter(Timestamp::now()).map_err(usage)?;
    let mut tail = reader.tail(TailFrom::End, filter).map_err(unreadable)?;
    loop {
        let records = tail.next_batch(PAGE_MAX).map_err(unreadable)?;
        records.iter().for_each(|record| print(&value(record)));
        if records.is_empty() {
            tokio::time::sleep(TAIL_INTERVAL).await;
        }
    }
}

async fn show(args: ShowArgs, output: Output) -> Result<Exit, CliError> {
    let id = RecordId::parse(&args.id).ok_or_else(|| {
        CliError::usage(
            format!("`{}` is no record's id", args.id),
            "take it from `log query`, such as 0.42",
        )
    })?;
    let record = match &args.data_dir {
        None => {
            Client::from_environment()?
                .get::<Value>(&format!("/log/{id}"), &[])
                .await?
        }
        Some(dir) => {
            let found = Reader::open(&dir.join(JOURNAL_FOLDER))
                .show(id)
                .map_err(unreadable)?;
            let missing = || CliError::error(format!("no record `{id}`"), "take its id from `log query`");
            value(&found.ok_or_else(missing)?)
        }
    };
    output.either(&record, || lines(&record));
    Ok(Exit::Done)
}

fn value(record: &Record) -> Value {
    serde_json::to_value(record).expect("a record is a map with text keys")
}

fn usage(problem: Problem) -> CliError {
    CliError::usage(problem.0.detail, problem.0.next_step)
}

fn unreadable(error: JournalError) -> CliError {
    CliError::error(&error, error.next_step())
}

/// What stands first in a line, in this order; the rest follows by name.
const FIRST: [&str; 3] = ["time", "id", "kind"];
/// Long or of use to programs only: left to `show` and `--json`.
const LEFT_OUT: [&str; 8] = [
    "text",
    "text_sha256",
    "text_bytes",
    "fingerprint",
    "digest",
    "generation",
    "parameters",
    "positions",
];

/// One record on one line; its statement last.
fn line(record: &Value) -> String {
    let field = |name: &str| record.get(name).map(plain);
    let mut words: Vec<String> = FIRST.iter().filter_map(|name| field(name)).collect();
    let fields = record.as_object().into_iter().flatten();
    words.extend(
        fields
            .filter(|(name, _)| !FIRST.contains(&name.as_str()) && !LEFT_OUT.contains(&name.as_str()))
            .map(|(name, value)| format!("{name}={}", plain(value))),
    );
    words.extend(field("text"));
    words.join("  ")
}

/// One record, a field a line.
pub(super) fn lines(record: &Value) -> String {
    let fields = record.as_object().into_iter().flatten();
    fields
        .map(|(name, value)| format!("{name:<16} {}\n", plain(value)))
        .collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => visible_line(text),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => visible_line(&other.to_string()),
    }
}
