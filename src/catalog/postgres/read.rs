//! Reads the whole catalog of one database in one transaction, and notices cheaply that it has changed.
//! Never reads without a limit of time, rows and bytes, and keeps nothing of a read that failed.
//! Read `rows.rs` for the questions, `snapshot.rs` for what becomes of the answers.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::CatalogError;
use super::connect::{self, Settings, words};
use super::definition::ListedFunctions;
use super::rows::{self, Line};
use super::snapshot::Snapshot;
use crate::catalog::keeper::Source;

/// Rows of one catalog, all questions together: 20,000 tables of 15 columns are 400,000.
const ROWS_MAX: usize = 4_000_000;
/// Units: bytes, as the server sends them.
const BYTES_MAX: usize = 512 << 20;

/// Everything that is read, in the order of its OIDs.
pub struct Rows {
    pub schemas: Vec<rows::Schema>,
    pub relations: Vec<rows::Relation>,
    pub columns: Vec<rows::Column>,
    pub children: Vec<rows::Child>,
    pub foreign_tables: Vec<rows::ForeignTable>,
    pub built_in_functions: Vec<rows::BuiltInFunction>,
    pub functions: Vec<rows::Function>,
    pub aggregates: Vec<rows::Aggregate>,
    pub operators: Vec<rows::Operator>,
    pub types: Vec<rows::Type>,
    pub casts: Vec<rows::Cast>,
    pub class_functions: Vec<rows::ClassFunction>,
    pub table_class_functions: Vec<rows::TableClassFunction>,
    pub triggers: Vec<rows::Trigger>,
    pub foreign_keys: Vec<rows::ForeignKey>,
    pub stored: Vec<rows::Stored>,
    pub dependencies: Vec<rows::Dependency>,
    /// A hash of all of the above, but for statistics.
    pub print: u64,
    pub marks: Marks,
}

/// By what a later look sees that nothing has been committed to the catalog since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// No transaction at all has ended since if this is the same.
    transactions: String,
    /// Counts and sums over the versions of all rows that are read.
    versions: String,
}

/// Reads the catalog of one database again and again, on one connection.
pub struct Reader {
    settings: Arc<Settings>,
    database: String,
    client: Option<Client>,
    /// At the last look.
    seen: Option<Marks>,
}

impl Source for Reader {
    const PROTOCOL: &'static str = "postgres";
    type Settings = Settings;
    type Snapshot = Snapshot;

    fn open(settings: Arc<Settings>, database: &str) -> Self {
        Self {
            settings,
            database: database.to_owned(),
            client: None,
            seen: None,
        }
    }

    async fn read(&mut self, listed: &ListedFunctions) -> Result<Arc<Snapshot>, CatalogError> {
        let rows = self.within_time(Wanted::Everything).await?;
        let rows = rows.1.ok_or_else(|| self.failed("catalog", "nothing was read"))?;
        let listed = listed.clone();
        // Up to a second for a large database, so it must not stand on a thread that sessions share.
        let snapshot = tokio::task::spawn_blocking(move || Snapshot::of(rows, &listed)).await;
        let snapshot = snapshot.map_err(|error| self.failed("catalog", &error.to_string()))?;
        self.seen = Some(snapshot.marks().clone());
        Ok(Arc::new(snapshot))
    }

    /// Most looks end with the first question: it tells that no transaction has ended since.
    async fn has_changed(&mut self, since: &Snapshot) -> Result<bool, CatalogError> {
        let known = since.marks();
        let seen = self.seen.as_ref().filter(|seen| seen.versions == known.versions);
        let transactions = seen.unwrap_or(known).transactions.clone();
        let (marks, _) = self.within_time(Wanted::MarksUnless(transactions)).await?;
        let changed = marks
            .as_ref()
            .is_some_and(|marks| marks.versions != known.versions);
        self.seen = marks.or(self.seen.take());
        Ok(changed)
    }
}

impl Reader {
    async fn within_time(&mut self, wanted: Wanted) -> Result<(Option<Marks>, Option<Rows>), CatalogError> {
        let client = match self.client.take() {
            Some(client) if !client.is_closed() => client,
            Some(_) | None => connect::connect(&self.settings, &self.database).await?,
        };
        let reading = Reading {
            client: &client,
            database: &self.database,
            rows: 0,
            bytes: 0,
            hasher: DefaultHasher::new(),
        };
        let limit = self.settings.timeout;
        let read = tokio::time::timeout(limit, reading.transaction(limit, wanted)).await;
        let read = read.map_err(|_| CatalogError::TooSlow {
            database: self.database.clone(),
            seconds: limit.as_secs(),
        })??;
        // Kept only now: a connection on which something failed is in an unknown state.
        self.client = Some(client);
        Ok(read)
    }

    fn failed(&self, what: &'static str, cause: &str) -> CatalogError {
        CatalogError::Query {
            database: self.database.clone(),
            what,
            cause: cause.to_owned(),
        }
    }
}

enum Wanted {
    Everything,
    /// Nothing, if the transactions are the same as these.
    MarksUnless(String),
}

/// One transaction, and what it has read so far.
struct Reading<'r> {
    client: &'r Client,
    database: &'r str,
    rows: usize,
    bytes: usize,
    hasher: DefaultHasher,
}

impl Reading<'_> {
    async fn transaction(
        mut self,
        limit: std::time::Duration,
        wanted: Wanted,
    ) -> Result<(Option<Marks>, Option<Rows>), CatalogError> {
        // Names are printed qualified, and operators found in pg_catalog alone, whatever the role or the database set.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog; \
             SET LOCAL statement_timeout = {0}; SET LOCAL lock_timeout = {0}; SET LOCAL jit = off; \
             SET LOCAL quote_all_identifiers = off; SET LOCAL standard_conforming_strings = on",
            limit.as_millis()
        );
        self.client
            .batch_execute(&begin)
            .await
            .map_err(|error| self.failed("settings", &error))?;
        let transactions = self
            .one("SELECT pg_catalog.txid_current_snapshot()::text", "transactions")
            .await?;
        let read = match wanted {
            Wanted::MarksUnless(known) if known == transactions => (None, None),
            Wanted::MarksUnless(_) => (Some(self.marks(transactions).await?), None),
            Wanted::Everything => {
                let marks = self.marks(transactions).await?;
                (None, Some(self.everything(marks).await?))
            }
        };
        self.client
            .batch_execute("COMMIT")
            .await
            .map_err(|error| self.failed("end", &error))?;
        Ok(read)
    }

    async fn marks(&mut self, transactions: String) -> Result<Marks, CatalogError> {
        let versions = self.one(include_str!("versions.sql"), "versions").await?;
        Ok(Marks {
            transactions,
            versions,
        })
    }

    async fn everything(&mut self, marks: Marks) -> Result<Rows, CatalogError> {
        let version = self
            .one(
                "SELECT pg_catalog.current_setting('server_version_num')",
                "version",
            )
            .await?
            .parse::<i32>()
            .unwrap_or(0);
        Ok(Rows {
            schemas: self.lines(version).await?,
            relations: self.lines(version).await?,
            columns: self.lines(version).await?,
            children: self.lines(version).await?,
            foreign_tables: self.lines(version).await?,
            built_in_functions: self.lines(version).await?,
            functions: self.lines(version).await?,
            aggregates: self.lines(version).await?,
            operators: self.lines(version).await?,
            types: self.lines(version).await?,
            casts: self.lines(version).await?,
            class_functions: self.lines(version).await?,
            table_class_functions: self.lines(version).await?,
            triggers: self.lines(version).await?,
            foreign_keys: self.lines(version).await?,
            stored: self.lines(version).await?,
            dependencies: self.lines(version).await?,
            print: self.hasher.finish(),
            marks,
        })
    }

    async fn one(&mut self, question: &str, what: &'static str) -> Result<String, CatalogError> {
        let rows = self.client.query_typed(question, &[]).await;
        let value = rows.and_then(|rows| rows.first().map(|row| row.try_get(0)).transpose());
        let value = value.map_err(|error| self.failed(what, &error))?;
        value.ok_or_else(|| CatalogError::Query {
            database: self.database.to_owned(),
            what,
            cause: "no row".to_owned(),
        })
    }

    async fn lines<T: Line>(&mut self, version: i32) -> Result<Vec<T>, CatalogError> {
        let nothing: [(&(dyn ToSql + Sync), Type); 0] = [];
        let failed = |error: tokio_postgres::Error| self.failed(T::WHAT, &error);
        let question = T::question(version);
        let stream = self.client.query_typed_raw(&question, nothing).await;
        let mut stream = pin!(stream.map_err(failed)?);
        let mut lines = Vec::new();
        while let Some(row) = stream
            .try_next()
            .await
            .map_err(|error| self.failed(T::WHAT, &error))?
        {
            self.count(&row)?;
            let line = T::read(&row).map_err(|error| self.failed(T::WHAT, &error))?;
            if T::TELLS_APART {
                line.hash(&mut self.hasher);
            }
            lines.push(line);
        }
        if T::TELLS_APART {
            lines.len().hash(&mut self.hasher);
        }
        Ok(lines)
    }

    fn count(&mut self, row: &Row) -> Result<(), CatalogError> {
        self.rows += 1;
        self.bytes += row.raw_size_bytes();
        let (limit, unit) = if self.rows > ROWS_MAX {
            (ROWS_MAX, "rows")
        } else if self.bytes > BYTES_MAX {
            (BYTES_MAX, "bytes")
        } else {
            return Ok(());
        };
        Err(CatalogError::TooLarge {
            database: self.database.to_owned(),
            limit,
            unit,
        })
    }

    fn failed(&self, what: &'static str, error: &tokio_postgres::Error) -> CatalogError {
        CatalogError::Query {
            database: self.database.to_owned(),
            what,
            cause: words(error),
        }
    }
}
