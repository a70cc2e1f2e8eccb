//! Runs a translated query: an engine in memory, for this query alone, filled with what the query names.
//! Never touches a file of the program's; what a sort needs beyond the cache goes to a temporary file that is gone after,
//! and `spill.rs` bounds.
//! Read `load.rs` for what is filled in, `functions.rs` for what the engine is taught.
//!
//! Why a second line of defence: the translation lets only reads through; the engine is told so too (authorizer,
//! `query_only`, no attached files), so that a mistake in the first is caught by the second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, params_from_iter};

use super::error::{SqlError, state};
use super::functions::{self, Around};
use super::load::{self, Allowance};
use super::spill::Spill;
use super::translate::Plan;
use super::types::put_counted;
use crate::clock::Timestamp;
use crate::journal::Reader;
use crate::wire::postgres::frame;
use crate::wire::postgres::message::server;

/// Columns of a table or a result: all of a row are in memory at once, each as long as a text may be.
const COLUMNS_MAX: i32 = 200;

/// Steps of the engine between two looks at the clock: some microseconds, for each step may write a long text.
const STEPS_BETWEEN_LOOKS: i32 = 1_000;
/// A translated query. Units: bytes. The client's text is far shorter by its own limit.
const SQL_BYTES_MAX: i32 = 4 << 20;

/// What one query may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub time: Duration,
    /// Rows of a result.
    pub rows: usize,
    /// A result. Units: bytes.
    pub result_bytes: usize,
    /// Records of the log that are brought into memory.
    pub records: usize,
    /// Their values. Units: bytes.
    pub load_bytes: usize,
    /// One text. Units: bytes.
    pub text_bytes: usize,
    /// What sorts and groups of all queries put on disk together. Units: bytes.
    pub spill_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(30),
            rows: 100_000,
            result_bytes: 64 << 20,
            records: 1_000_000,
            load_bytes: 512 << 20,
            text_bytes: 4 << 20,
            spill_bytes: 2 << 30,
        }
    }
}

/// When a query must end.
#[derive(Clone, Debug)]
pub struct Watch {
    pub deadline: Instant,
    pub limit: Duration,
    pub cancelled: Arc<AtomicBool>,
    pub spill: Arc<Spill>,
}

impl Watch {
    pub fn is_over(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || Instant::now() >= self.deadline || self.spill.look()
    }

    pub fn check(&self) -> Result<(), SqlError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(SqlError::new(
                state::CANCELLED,
                "canceling statement due to user request",
                "run it again if that was not meant",
            ));
        }
        if self.spill.is_over() {
            return Err(SqlError::new(
                state::DISK_LIMIT,
                format!(
                    "temporary file size exceeds the limit: queries of the log have more than {} MiB on disk",
                    self.spill.limit() >> 20
                ),
                "sort and group less: narrow it by time, or name fewer and shorter columns",
            ));
        }
        if self.is_over() {
            return Err(SqlError::new(
                state::CANCELLED,
                format!(
                    "canceling statement due to statement timeout of {} s",
                    self.limit.as_secs()
                ),
                "narrow it by time, or ask for less",
            ));
        }
        Ok(())
    }
}

/// A bound query.
pub struct Run {
    pub plan: Arc<Plan>,
    pub values: Vec<Value>,
    /// Of each column, whether the client wants bytes.
    pub binary: Vec<bool>,
    pub person: String,
    pub process: i32,
    pub settings: Vec<(String, String)>,
    pub limits: Limits,
    pub watch: Watch,
    pub reader: Reader,
}

/// A whole result: DataRow frames, and where each ends.
#[derive(Debug, Default)]
pub struct Answer {
    pub frames: Vec<u8>,
    pub ends: Vec<usize>,
}

impl Run {
    /// Needs a large stack only as far as the query nests.
    pub fn answer(self) -> Result<Answer, SqlError> {
        let around = Arc::new(Around {
            now_micros: Timestamp::now().micros(),
            person: self.person.clone(),
            process: self.process,
            settings: self.settings.clone(),
            text_bytes_max: self.limits.text_bytes,
            error: Mutex::new(None),
        });
        let mut connection =
            open(&around, &self.watch, &self.limits).map_err(|error| load::internal(&error))?;
        let mut left = Allowance {
            records: self.limits.records,
            bytes: self.limits.load_bytes,
        };
        for used in self.plan.uses.values() {
            load::fill(
                &connection,
                used,
                &self.values,
                &self.reader,
                &around,
                &self.watch,
                &mut left,
            )?;
        }
        close_off(&mut connection).map_err(|error| load::internal(&error))?;
        let told = |error: rusqlite::Error| self.told(&around, &error);
        let mut statement = connection.prepare(&self.plan.sql).map_err(told)?;
        let count = statement.parameter_count().min(self.values.len());
        let mut rows = statement
            .query(params_from_iter(&self.values[..count]))
            .map_err(told)?;
        let mut answer = Answer::default();
        while let Some(row) = rows.next().map_err(told)? {
            if answer.ends.len() >= self.limits.rows {
                return Err(too_large(&format!("{} rows", self.limits.rows)));
            }
            self.put_row(row, &mut answer.frames)?;
            if answer.frames.len() > self.limits.result_bytes {
                return Err(too_large(&format!("{} bytes", self.limits.result_bytes)));
            }
            answer.ends.push(answer.frames.len());
        }
        Ok(answer)
    }

    /// Shape of a DataRow: u16 n + n values (i32 length + bytes; -1 is NULL).
    fn put_row(&self, row: &rusqlite::Row<'_>, out: &mut Vec<u8>) -> Result<(), SqlError> {
        let columns = &self.plan.columns;
        let mut failed = Ok(());
        frame::put(out, server::DATA_ROW, |out| {
            out.extend((columns.len() as u16).to_be_bytes());
            for (at, column) in columns.iter().enumerate() {
                let value: Value = row.get(at).unwrap_or(Value::Null);
                let is_binary = self.binary.get(at).copied().unwrap_or(false);
                if let Err(error) = put_counted(column.ty, &value, is_binary, out) {
                    failed = Err(error);
                    return;
                }
                if out.len() > self.limits.result_bytes {
                    failed = Err(too_large(&format!("{} bytes", self.limits.result_bytes)));
                    return;
                }
            }
        });
        failed
    }

    /// What the engine's error means to a client.
    fn told(&self, around: &Around, error: &rusqlite::Error) -> SqlError {
        if let Err(over) = self.watch.check() {
            return over;
        }
        if let Some(error) = around.take_error() {
            return error;
        }
        let sentence = match error {
            rusqlite::Error::SqliteFailure(_, Some(sentence)) => sentence.clone(),
            rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
            other => other.to_string(),
        };
        match error.sqlite_error_code() {
            Some(ErrorCode::TooBig) => SqlError::new(
                state::TOO_MUCH,
                format!("a text would be longer than {} bytes", self.limits.text_bytes),
                "make shorter ones, as with left(…, n)",
            ),
            Some(ErrorCode::AuthorizationForStatementDenied) => SqlError::new(
                state::NOT_ALLOWED,
                "the query does more than read",
                "read the log with plain SELECTs",
            ),
            _ if sentence.contains("integer overflow") => SqlError::new(
                state::OUT_OF_RANGE,
                "bigint out of range",
                "calculate with ::float8",
            ),
            _ if sentence.contains("malformed JSON") => SqlError::new(
                state::BAD_TEXT,
                "invalid input syntax for type json",
                "give a JSON text",
            ),
            _ if sentence.contains("too large")
                || sentence.contains("too many")
                || sentence.contains("overflow") =>
            {
                SqlError::new(
                    "54001",
                    format!("the query is too complex: {sentence}"),
                    "make it simpler",
                )
            }
            _ => {
                tracing::warn!(%error, "a query of the log could not be run");
                SqlError::new(
                    state::INTERNAL,
                    format!("the query cannot be run: {sentence}"),
                    "write it another way; docs/sql.md lists what is served",
                )
            }
        }
    }
}

fn too_large(limit: &str) -> SqlError {
    SqlError::new(
        state::TOO_MUCH,
        format!("the result has more than {limit}; nothing of it was sent"),
        "add LIMIT, narrow it by time, or aggregate",
    )
}

fn open(around: &Arc<Around>, watch: &Watch, limits: &Limits) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    let length = i32::try_from(limits.text_bytes.saturating_mul(2)).unwrap_or(i32::MAX);
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, length),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, SQL_BYTES_MAX),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_COLUMN, COLUMNS_MAX),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 1),
    ] {
        connection.set_limit(limit, value)?;
    }
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    functions::register(&connection, around)?;
    let watch = watch.clone();
    connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || watch.is_over()))?;
    Ok(connection)
}

/// From here on, only reads.
fn close_off(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "query_only", true)?;
    connection.authorizer(Some(|context: AuthContext<'_>| match context.action {
        AuthAction::Select
        | AuthAction::Read { .. }
        | AuthAction::Function { .. }
        | AuthAction::Recursive => Authorization::Allow,
        _ => Authorization::Deny,
    }))
}
