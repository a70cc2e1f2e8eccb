//! Brings the records that a query needs from the log into the engine. Never more than the limit, and never a record less
//! than the query could see. Read `../journal/read.rs` for how records are found.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::catalog;
use super::engine::Watch;
use super::error::{SqlError, state};
use super::functions::Around;
use super::schema::{Narrows, Rows, Source, Table};
use super::translate::{Comparison, Narrowing, Use};
use crate::audit::{Kind, Record};
use crate::clock::Timestamp;
use crate::identity::principal::SessionId;
use crate::journal::{JournalError, LogFilter, Order, Reader};

/// How much of the log one query may bring into memory.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    pub records: usize,
    pub bytes: usize,
}

/// Makes a table of the query and fills it.
pub fn fill(
    connection: &Connection,
    used: &Use,
    values: &[Value],
    reader: &Reader,
    around: &Around,
    watch: &Watch,
    left: &mut Allowance,
) -> Result<(), SqlError> {
    create(connection, used.table)?;
    let mut insert = Insert::into(connection, used)?;
    match used.table.source {
        Source::Catalog => {
            for row in catalog::rows(used.table, &around.person, &around.settings) {
                insert.row(&row)?;
            }
            Ok(())
        }
        Source::Log(rows) => {
            let Some(filter) = filter(connection, used, values, around)? else {
                return Ok(());
            };
            load(rows, filter, reader, watch, left, &mut insert)
        }
    }
}

/// Columns have no affinity: values stay as they are.
fn create(connection: &Connection, table: &Table) -> Result<(), SqlError> {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| format!("\"{}\"", column.name))
        .collect();
    let sql = format!("CREATE TABLE \"{}\" ({})", table.inner_name(), columns.join(", "));
    connection.execute_batch(&sql).map_err(|error| internal(&error))
}

/// Puts rows into a table, of which only the columns in use are kept.
struct Insert<'a> {
    statement: rusqlite::Statement<'a>,
    used: &'a Use,
}

impl<'a> Insert<'a> {
    fn into(connection: &'a Connection, used: &'a Use) -> Result<Self, SqlError> {
        let marks = vec!["?"; used.table.columns.len()].join(", ");
        let sql = format!("INSERT INTO \"{}\" VALUES ({marks})", used.table.inner_name());
        let statement = connection.prepare(&sql).map_err(|error| internal(&error))?;
        Ok(Self { statement, used })
    }

    fn row(&mut self, row: &[Value]) -> Result<(), SqlError> {
        let inserted = self.statement.execute(params_from_iter(row));
        inserted.map(drop).map_err(|error| internal(&error))
    }

    fn record(&mut self, record: &Record, left: &mut Allowance) -> Result<(), SqlError> {
        let value = |(at, column): (usize, &super::schema::Column)| {
            if self.used.columns.contains(&at) {
                column.of(record)
            } else {
                Value::Null
            }
        };
        let row: Vec<Value> = self.used.table.columns.iter().enumerate().map(value).collect();
        let bytes = row.iter().map(value_bytes).sum::<usize>();
        left.bytes = left
            .bytes
            .checked_sub(bytes)
            .ok_or_else(|| too_much("bytes of texts"))?;
        self.row(&row)
    }
}

/// About what a value takes in the engine. Units: bytes.
fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Null => 1,
        Value::Integer(_) | Value::Real(_) => 9,
        Value::Text(text) => text.len() + 2,
        Value::Blob(bytes) => bytes.len() + 2,
    }
}

fn too_much(what: &str) -> SqlError {
    SqlError::new(
        state::TOO_MUCH,
        format!("the query needs more {what} of the log than it may load"),
        "narrow it: AND time >= now() - interval '1 day', or by principal, class, verdict, request or session",
    )
}

/// The records that matter, as far as that is sure. `None`: none can.
fn filter(
    connection: &Connection,
    used: &Use,
    values: &[Value],
    around: &Around,
) -> Result<Option<LogFilter>, SqlError> {
    let mut whole: Option<LogFilter> = None;
    for mention in &used.mentions {
        let Some(filter) = mentioned(connection, mention, values, around)? else {
            continue;
        };
        whole = Some(match whole {
            None => filter,
            Some(known) => widened(known, filter),
        });
    }
    Ok(whole)
}

/// What one mention needs; `None`: nothing, because a condition compares with NULL or cannot hold.
fn mentioned(
    connection: &Connection,
    conditions: &[Narrowing],
    values: &[Value],
    around: &Around,
) -> Result<Option<LogFilter>, SqlError> {
    let mut filter = LogFilter {
        order: Order::OldestFirst,
        ..LogFilter::default()
    };
    for condition in conditions {
        // Where it fails, nothing is narrowed: the query itself says what is wrong, if it comes to that.
        let Some(value) = evaluate(connection, &condition.value, values) else {
            around.take_error();
            continue;
        };
        let text = match value {
            Value::Null => return Ok(None),
            Value::Integer(micros) if condition.what == Narrows::Time => {
                narrow_time(&mut filter, condition.comparison, micros);
                continue;
            }
            Value::Text(text) => text,
            Value::Integer(_) | Value::Real(_) | Value::Blob(_) => continue,
        };
        let is_possible = match condition.what {
            Narrows::Time => true,
            Narrows::Principal => put(&mut filter.principal, text),
            Narrows::Class => put(&mut filter.class, text),
            Narrows::Verdict => put(&mut filter.verdict, text),
            Narrows::Request => put(&mut filter.request, text),
            Narrows::Grant => put(&mut filter.grant, text),
            Narrows::Approver => put(&mut filter.approver, text),
            Narrows::Session => SessionId::parse(&text).is_some_and(|id| put(&mut filter.session, id)),
            Narrows::Kind => Kind::parse(&text).is_some_and(|kind| put(&mut filter.kind, kind)),
        };
        if !is_possible {
            return Ok(None);
        }
    }
    Ok(Some(filter))
}

/// Whether the value can hold beside what is known already.
fn put<T: PartialEq>(slot: &mut Option<T>, value: T) -> bool {
    match slot {
        Some(known) => *known == value,
        None => {
            *slot = Some(value);
            true
        }
    }
}

fn narrow_time(filter: &mut LogFilter, comparison: Comparison, micros: i64) {
    let at = Timestamp::from_micros(micros);
    let behind = Timestamp::from_micros(micros.saturating_add(1));
    if comparison != Comparison::To {
        filter.since = filter.since.max(Some(at));
    }
    if comparison != Comparison::From {
        filter.until = Some(filter.until.map_or(behind, |until| until.min(behind)));
    }
}

/// What either of two mentions needs.
fn widened(left: LogFilter, right: LogFilter) -> LogFilter {
    fn same<T: PartialEq>(left: Option<T>, right: Option<T>) -> Option<T> {
        if left == right { left } else { None }
    }
    LogFilter {
        since: left.since.zip(right.since).map(|(left, right)| left.min(right)),
        until: left.until.zip(right.until).map(|(left, right)| left.max(right)),
        principal: same(left.principal, right.principal),
        class: same(left.class, right.class),
        verdict: same(left.verdict, right.verdict),
        approver: same(left.approver, right.approver),
        request: same(left.request, right.request),
        grant: same(left.grant, right.grant),
        session: same(left.session, right.session),
        kind: same(left.kind, right.kind),
        order: Order::OldestFirst,
        ..LogFilter::default()
    }
}

/// The value of an expression that names no column.
fn evaluate(connection: &Connection, sql: &str, values: &[Value]) -> Option<Value> {
    let mut statement = connection.prepare(&format!("SELECT {sql}")).ok()?;
    let count = statement.parameter_count().min(values.len());
    statement
        .query_row(params_from_iter(&values[..count]), |row| row.get(0))
        .ok()
}

fn load(
    rows: Rows,
    filter: LogFilter,
    reader: &Reader,
    watch: &Watch,
    left: &mut Allowance,
    insert: &mut Insert<'_>,
) -> Result<(), SqlError> {
    let take = |left: &mut Allowance| {
        left.records = left.records.checked_sub(1).ok_or_else(|| too_much("records"))?;
        Ok(())
    };
    match rows {
        Rows::Every => scan(reader, &filter, watch, |record| {
            take(left)?;
            insert.record(&record, left)?;
            Ok(true)
        }),
        Rows::Of(kind) => {
            if filter.kind.is_some_and(|wanted| wanted != kind) {
                return Ok(());
            }
            let filter = LogFilter {
                kind: Some(kind),
                ..filter
            };
            scan(reader, &filter, watch, |record| {
                take(left)?;
                insert.record(&record, left)?;
                Ok(true)
            })
        }
        Rows::Joined(first, second) => {
            let wants_result = insert
                .used
                .columns
                .iter()
                .any(|at| insert.used.table.columns[*at].is_joined);
            let only = |kind| LogFilter {
                kind: Some(kind),
                ..filter.clone()
            };
            if !wants_result {
                return scan(reader, &only(first), watch, |record| {
                    take(left)?;
                    insert.record(&record, left)?;
                    Ok(true)
                });
            }
            // The records are kept while their results are looked for, so they count before they are in the engine.
            let mut waiting = BTreeMap::new();
            let mut kept_bytes = 0usize;
            let allowed = left.bytes;
            scan(reader, &only(first), watch, |record| {
                take(left)?;
                kept_bytes += record.fields.bytes();
                if kept_bytes > allowed {
                    return Err(too_much("bytes of texts"));
                }
                waiting.insert(key(&record), record);
                Ok(true)
            })?;
            let sessions: std::collections::BTreeSet<SessionId> =
                waiting.keys().map(|(session, _)| *session).collect();
            let later = LogFilter {
                kind: Some(second),
                since: waiting.values().map(|record| record.time).min(),
                session: if sessions.len() == 1 {
                    sessions.first().copied()
                } else {
                    None
                },
                order: Order::OldestFirst,
                ..LogFilter::default()
            };
            if !waiting.is_empty() {
                scan(reader, &later, watch, |end| {
                    if let Some(mut record) = waiting.remove(&key(&end)) {
                        record.fields.result = Some(Box::new(end));
                        insert.record(&record, left)?;
                    }
                    Ok(!waiting.is_empty())
                })?;
            }
            for record in waiting.into_values() {
                insert.record(&record, left)?;
            }
            Ok(())
        }
    }
}

/// What joins two records: the attempt, or else the session.
fn key(record: &Record) -> (SessionId, u64) {
    match (record.fields.attempt, record.fields.session) {
        (Some(attempt), _) => (attempt.session, attempt.number),
        (None, session) => (session.unwrap_or(SessionId(0)), 0),
    }
}

fn scan(
    reader: &Reader,
    filter: &LogFilter,
    watch: &Watch,
    mut each: impl FnMut(Record) -> Result<bool, SqlError>,
) -> Result<(), SqlError> {
    let mut stopped = Ok(());
    let scanned = reader.each(
        filter,
        || watch.is_over(),
        |record| match each(record) {
            Ok(goes_on) => goes_on,
            Err(error) => {
                stopped = Err(error);
                false
            }
        },
    );
    stopped?;
    watch.check()?;
    scanned.map_err(|error| unreadable_log(&error))
}

fn unreadable_log(error: &JournalError) -> SqlError {
    tracing::error!(%error, "the log cannot be read for a query");
    SqlError::new(
        state::LOG_UNAVAILABLE,
        "the log cannot be read",
        "the program's own log says why; `countersign log verify` finds damage",
    )
}

pub fn internal(error: &rusqlite::Error) -> SqlError {
    tracing::error!(%error, "the engine of log queries failed");
    SqlError::new(
        state::INTERNAL,
        "the query engine failed",
        "the program's own log says why",
    )
}
