//! `log query`, `tail`, `show`, `histogram`, `facets`: over the API, or with `--data-dir` straight from the files.
//! Never changes a record. Read `api/trail.rs` for the filters.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::Client;
use super::exit::{CliError, Exit};
use super::log_export;
use super::log_verify;
use super::output::Output;
use crate::api::erasures::{EraseBody, Erased};
use crate::api::problem::Problem;
use crate::api::trail::{LogPage, LogQuery, gone_words, unreadable as unreadable_query};
use crate::audit::{Record, RecordId};
use crate::clock::Timestamp;
use crate::config::JOURNAL_FOLDER;
use crate::journal::query;
use crate::journal::{Around, BUCKETS_MAX, JournalError, LogFilter, Order, Reader, TailFrom};
use crate::render::visible_line;

/// How often the end of the files is looked at.
const TAIL_INTERVAL: Duration = Duration::from_millis(300);
/// Records on one page of the API.
pub(super) const PAGE_MAX: usize = 1000;

#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Find records, newest first: `log query class:ddl,grant table:orders since:7d`
    Query(QueryArgs),
    /// Print records as they come
    Tail(FilterArgs),
    /// Show one record, with its statement
    Show(ShowArgs),
    /// Erase the parameter values of one statement; its record, and what is proved of it, stays
    Erase(EraseArgs),
    /// Hold the whole log against its checkpoints, offline; exit code 3 if anything was changed
    Verify(log_verify::VerifyArgs),
    /// Write the proof of one record, which `log verify --proof` checks without the log
    Proof(log_verify::ProofArgs),
    /// Write all records that match to a file, as CSV, NDJSON, JSON or OCSF; or the evidence bundle of a period
    Export(log_export::ExportArgs),
    /// Count records over time, by verdict
    Histogram(HistogramArgs),
    /// Count records by verdict, class, principal, database, rule, approver and kind
    Facets(FilterArgs),
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
pub struct HistogramArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Bars
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=BUCKETS_MAX as u64))]
    buckets: u64,
}

#[derive(Debug, Args)]
pub struct FilterArgs {
    /// What to find: `key:value` or `key=value`, commas for any of several, `key!=value` for none of them, words that
    /// the statement holds. Keys: since until principal class verdict table rule approver request grant session kind
    /// database fingerprint outcome source by event text
    #[arg(value_name = "QUERY")]
    words: Vec<String>,
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
    /// attempt, outcome, decision, login, session_start, rules_change, people_change, certificates_change,
    /// notification …
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
    /// The records before and after it, too: so many on each side
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=200))]
    around: Option<u64>,
    /// With `--around`: of its session alone
    #[arg(long, requires = "around")]
    same_session: bool,
    /// Read the files of this data folder instead of asking the API; such a look is not recorded
    #[arg(long, value_name = "DIR")]
    data_dir: Option<std::path::PathBuf>,
}

#[derive(Debug, Args)]
pub struct EraseArgs {
    /// The attempt's record, such as 0.42
    id: String,
    /// Whose wish or which duty it is; for the log
    #[arg(long)]
    reason: String,
    /// A code of your authenticator app, if you have one
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
}

pub async fn run(command: LogCommand, output: Output) -> Result<Exit, CliError> {
    match command {
        LogCommand::Query(args) => query(args, output).await,
        LogCommand::Tail(filter) => tail(filter, output).await,
        LogCommand::Show(args) => show(args, output).await,
        LogCommand::Erase(args) => erase(args, output).await,
        LogCommand::Verify(args) => log_verify::run(&args, output),
        LogCommand::Proof(args) => log_verify::write_proof(args, output).await,
        LogCommand::Export(args) => log_export::run(args).await,
        LogCommand::Histogram(args) => histogram(args, output).await,
        LogCommand::Facets(filter) => facets(filter, output).await,
    }
}

impl FilterArgs {
    /// The words are read here, too, so that a mistake in them costs no call.
    pub(super) fn query(&self) -> Result<LogQuery, CliError> {
        let words = query::parse_words(&self.words).map_err(|error| usage(unreadable_query(error)))?;
        Ok(LogQuery {
            q: (!words.clauses.is_empty()).then(|| words.to_string()),
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
        })
    }

    pub(super) fn log_filter(&self) -> Result<LogFilter, CliError> {
        self.query()?.filter(Timestamp::now()).map_err(usage)
    }

    fn source(&self) -> Result<Source, CliError> {
        Source::open(self.data_dir.as_deref())
    }

    pub(super) const fn data_dir(&self) -> Option<&std::path::PathBuf> {
        self.data_dir.as_ref()
    }

    pub(super) fn reader(&self) -> Option<Reader> {
        self.data_dir
            .as_ref()
            .map(|dir| Reader::open(&dir.join(JOURNAL_FOLDER)))
    }
}

/// As the API wants them.
pub(super) fn pairs(query: LogQuery) -> Vec<(&'static str, String)> {
    let pairs = [
        ("q", query.q),
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
        ("database", query.database),
        ("rule", query.rule),
        ("fingerprint", query.fingerprint),
        ("outcome", query.outcome),
        ("source", query.source),
        ("by", query.by),
        ("event", query.event),
        ("text", query.text),
        ("format", query.format),
        ("buckets", query.buckets.map(|buckets| buckets.to_string())),
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
    pub(super) async fn page(&self, query: LogQuery) -> Result<LogPage<Value>, CliError> {
        match self {
            Self::Api(client) => client.get::<LogPage<Value>>("/log", &pairs(query)).await,
            Self::Files(reader) => page_of_files(reader, query),
        }
    }
}

async fn query(args: QueryArgs, output: Output) -> Result<Exit, CliError> {
    let source = args.filter.source()?;
    let mut left = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut cursor = args.cursor;
    let mut items: Vec<Value> = Vec::new();
    // The first page that reaches what is gone says so, and is not always the last.
    let mut looked_to;
    let mut pruned = None;
    loop {
        let query = LogQuery {
            order: args.oldest_first.then(|| "oldest".to_owned()),
            limit: Some(left.min(PAGE_MAX)),
            cursor: cursor.take(),
            ..args.filter.query()?
        };
        let page = source.page(query).await?;
        left = left.saturating_sub(page.items.len());
        items.extend(page.items);
        cursor = page.next_cursor;
        looked_to = page.looked_to;
        pruned = pruned.or(page.pruned);
        if left == 0 || cursor.is_none() {
            break;
        }
        if let Some(moment) = &looked_to {
            tell_progress(&format!("{} found, looked back to {moment}", items.len()));
        }
    }
    if output.is_json() {
        output.json(&LogPage {
            items,
            next_cursor: cursor,
            looked_to,
            pruned,
        });
        return Ok(Exit::Done);
    }
    items.iter().for_each(|record| output.text(&line(record)));
    match cursor {
        Some(cursor) => eprintln!("there is more: --cursor {cursor}"),
        None if items.is_empty() => eprintln!("no record matches"),
        None => {}
    }
    if let Some(told) = pruned {
        eprintln!("{}", visible_line(&told));
    }
    Ok(Exit::Done)
}

fn page_of_files(reader: &Reader, query: LogQuery) -> Result<LogPage<Value>, CliError> {
    let filter = query.filter(Timestamp::now()).map_err(usage)?;
    let page = reader.query(&filter).map_err(unreadable)?;
    Ok(LogPage {
        items: page.records.iter().map(value).collect(),
        next_cursor: page.next_cursor,
        looked_to: page.looked_to.map(|moment| moment.to_string()),
        pruned: page.pruned.as_ref().map(gone_words),
    })
}

async fn tail(args: FilterArgs, output: Output) -> Result<Exit, CliError> {
    let print = |record: &Value| match output {
        Output::Json => output.json(record),
        Output::Text => output.text(&line(record)),
    };
    let Some(reader) = args.reader() else {
        let client = Client::from_environment()?;
        let query = pairs(args.query()?);
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
    let filter = args.log_filter()?;
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
    if let Some(count) = args.around {
        return show_around(&args, id, count, output).await;
    }
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
            value(&found.ok_or_else(|| missing(id))?)
        }
    };
    output.either(&record, || lines(&record));
    Ok(Exit::Done)
}

async fn show_around(args: &ShowArgs, id: RecordId, count: u64, output: Output) -> Result<Exit, CliError> {
    let items = match &args.data_dir {
        None => {
            let query = [
                ("count", count.to_string()),
                ("same_session", args.same_session.to_string()),
            ];
            let page: LogPage<Value> = Client::from_environment()?
                .get(&format!("/log/{id}/around"), &query)
                .await?;
            page.items
        }
        Some(dir) => {
            let whose = if args.same_session {
                Around::Session
            } else {
                Around::Everybody
            };
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let reader = Reader::open(&dir.join(JOURNAL_FOLDER));
            let records = reader.around(id, count, whose).map_err(unreadable)?;
            records.iter().map(value).collect()
        }
    };
    if items.is_empty() {
        return Err(missing(id));
    }
    let is_this = |record: &Value| record["id"].as_str() == Some(&args.id);
    output.either(&items, || {
        let marked = items.iter().map(|record| {
            let mark = if is_this(record) { ">" } else { " " };
            format!("{mark} {}\n", line(record))
        });
        marked.collect()
    });
    Ok(Exit::Done)
}

async fn erase(args: EraseArgs, output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?.with_code(args.code);
    let body = EraseBody { reason: args.reason };
    let erased: Erased = client.post(&format!("/log/{}/erase", args.id), &body).await?;
    output.either(&erased, || {
        let of = match &erased.request {
            Some(request) => format!(", and those that request {request} kept"),
            None => String::new(),
        };
        format!(
            "erased the {} values of record {}{of}",
            erased.values, erased.record
        )
    });
    Ok(Exit::Done)
}

fn missing(id: RecordId) -> CliError {
    CliError::error(format!("no record `{id}`"), "take its id from `log query`")
}

async fn histogram(args: HistogramArgs, output: Output) -> Result<Exit, CliError> {
    let found = match args.filter.reader() {
        None => {
            let query = LogQuery {
                buckets: usize::try_from(args.buckets).ok(),
                ..args.filter.query()?
            };
            let client = Client::from_environment()?;
            client.get::<Value>("/log/histogram", &pairs(query)).await?
        }
        Some(reader) => {
            let filter = unpaged(args.filter.log_filter()?);
            let buckets = usize::try_from(args.buckets).unwrap_or(BUCKETS_MAX);
            let found = reader.histogram(&filter, buckets).map_err(unreadable)?;
            serde_json::to_value(found).expect("a histogram is a map with text keys")
        }
    };
    output.either(&found, || super::log_bars::histogram(&found));
    tell_partial(&found);
    Ok(Exit::Done)
}

async fn facets(args: FilterArgs, output: Output) -> Result<Exit, CliError> {
    let found = match args.reader() {
        None => {
            let query = pairs(args.query()?);
            Client::from_environment()?
                .get::<Value>("/log/facets", &query)
                .await?
        }
        Some(reader) => {
            let found = reader.facets(&unpaged(args.log_filter()?)).map_err(unreadable)?;
            serde_json::to_value(found).expect("facets are a map with text keys")
        }
    };
    output.either(&found, || super::log_bars::facets(&found));
    tell_partial(&found);
    Ok(Exit::Done)
}

fn unpaged(filter: LogFilter) -> LogFilter {
    LogFilter {
        order: Order::NewestFirst,
        ..filter
    }
}

fn tell_partial(found: &Value) {
    if let Some(moment) = found["partial_before"].as_str() {
        eprintln!(
            "more matches than is counted at once: before {moment} some is missing; narrow it with since: and until:"
        );
    }
}

/// A line of how far it is, for people alone.
fn tell_progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("{text}");
    }
}

fn value(record: &Record) -> Value {
    serde_json::to_value(record).expect("a record is a map with text keys")
}

pub(super) fn usage(problem: Problem) -> CliError {
    CliError::usage(problem.0.detail, problem.0.next_step)
}

pub(super) fn unreadable(error: JournalError) -> CliError {
    CliError::error(&error, error.next_step())
}

/// What stands first in a line, in this order; the rest follows by name.
const FIRST: [&str; 3] = ["time", "id", "kind"];
/// Long or of use to programs only: left to `show` and `--json`.
const LEFT_OUT: [&str; 9] = [
    "text",
    "text_sha256",
    "text_bytes",
    "fingerprint",
    "digest",
    "generation",
    "rules_text",
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

pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => visible_line(text),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => visible_line(&other.to_string()),
    }
}
