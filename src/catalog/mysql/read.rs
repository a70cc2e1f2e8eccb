//! Reads the whole catalog of a server on one connection. Never reads without a limit of time and rows, and keeps nothing
//! of a read that failed. Read `rows.rs` for the questions, `snapshot.rs` for what becomes of the answers.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, Opts, OptsBuilder, SslOpts};

use super::rows::{self, PRIVILEGES_NEEDED};
use super::snapshot::Snapshot;
use crate::catalog::keeper::{Snapshot as _, Source};
use crate::catalog::{CatalogError, ListedFunctions};
use crate::sql::parse::PARSER_STACK_BYTES;

/// Rows of one answer: a server with 20,000 tables of 15 columns has 300,000 columns.
const ROWS_MAX: usize = 2_000_000;

/// What errors call it.
const PLACE: &str = "the server";

/// Where the catalog is read, and as whom.
#[derive(Clone, Debug)]
pub struct Settings {
    options: Opts,
    /// For connecting and one whole read.
    timeout: Duration,
}

impl Settings {
    /// `tls`: `None` is plaintext.
    pub fn of_server(
        (host, port): (&str, u16),
        (user, password): (&str, &str),
        tls: Option<SslOpts>,
        timeout: Duration,
    ) -> Self {
        let options = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port)
            .user(Some(user))
            .pass(Some(password))
            .ssl_opts(tls);
        Self::of(options, timeout)
    }

    /// `mysql://user@host:port/database`; the password may come apart from it.
    pub fn from_url(url: &str, password: Option<String>, timeout: Duration) -> Result<Self, CatalogError> {
        let options = Opts::from_url(url).map_err(|error| CatalogError::Refused(error.to_string()))?;
        let password = password.or_else(|| options.pass().map(str::to_owned));
        Ok(Self::of(OptsBuilder::from_opts(options).pass(password), timeout))
    }

    fn of(options: OptsBuilder, timeout: Duration) -> Self {
        let options = options
            // Sent by the driver before anything else: what is printed must not depend on the server's settings.
            .init(vec![
                "SET SESSION sql_mode = '', NAMES utf8mb4".to_owned(),
                "SET SESSION TRANSACTION READ ONLY".to_owned(),
                server_timeout(timeout),
            ])
            // The driver would go on by the server's socket file, past the address that was asked for.
            .prefer_socket(false);
        Self {
            options: options.into(),
            timeout,
        }
    }

    /// The same with other TLS.
    pub fn with_tls(&self, tls: Option<SslOpts>) -> Self {
        let options = OptsBuilder::from_opts(self.options.clone()).ssl_opts(tls);
        Self {
            options: options.into(),
            timeout: self.timeout,
        }
    }
}

/// So that the server does not go on with what nobody waits for. Each kind has its own word and its own comments, and
/// MySQL 5.6 has neither word.
fn server_timeout(limit: Duration) -> String {
    let (seconds, milliseconds) = (limit.as_secs_f64(), limit.as_millis());
    format!(
        "SET SESSION net_write_timeout = DEFAULT /*M!100101 , max_statement_time = {seconds} */ \
         /*!50708 , max_execution_time = {milliseconds} */"
    )
}

/// Reads the catalog of one server again and again, on one connection.
pub struct Reader {
    settings: Arc<Settings>,
    connection: Option<Conn>,
    /// Definitions in which the last look has found a change.
    changed: Option<Rows>,
}

/// Everything that is read.
pub struct Rows {
    pub version: String,
    pub lower_case_table_names: u8,
    pub sql_mode: String,
    pub tables: Vec<rows::Table>,
    /// Empty if only definitions were read.
    pub sizes: Vec<rows::Size>,
    pub columns: Vec<rows::Column>,
    pub views: Vec<rows::ViewText>,
    pub functions: Vec<rows::StoredFunction>,
    pub parameters: Vec<rows::Parameter>,
    pub loadable: Vec<rows::LoadableFunction>,
    pub triggers: Vec<rows::Trigger>,
    pub cascades: Vec<rows::Cascade>,
}

impl Source for Reader {
    const PROTOCOL: &'static str = "mysql";
    type Settings = Settings;
    type Snapshot = Snapshot;

    /// The catalog is of the whole server, whatever it is called.
    fn open(settings: Arc<Settings>, _: &str) -> Self {
        Self {
            settings,
            connection: None,
            changed: None,
        }
    }

    async fn read(&mut self, listed: &ListedFunctions) -> Result<Arc<Snapshot>, CatalogError> {
        let with = match self.changed.take() {
            Some(definitions) => With::SizesFor(Box::new(definitions)),
            None => With::Sizes,
        };
        let rows = self.rows(with).await?;
        let listed = listed.clone();
        // Views are read by the same recursive readers as statements.
        let worker = std::thread::Builder::new()
            .name("catalog".to_owned())
            .stack_size(PARSER_STACK_BYTES)
            .spawn(move || Snapshot::of(rows, &listed));
        let built = tokio::task::spawn_blocking(|| worker.map(std::thread::JoinHandle::join)).await;
        match built {
            Ok(Ok(Ok(snapshot))) => Ok(Arc::new(snapshot)),
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Err(failed("definitions", "the reading thread ended early")),
        }
    }

    /// Every definition is read again: no server keeps a mark that grows with each change of one. Times of creation have
    /// whole seconds and views have none; counters of statements grow when a change begins, not when it is done.
    async fn has_changed(&mut self, since: &Snapshot) -> Result<bool, CatalogError> {
        let rows = self.rows(With::DefinitionsAlone).await?;
        let has_changed = rows.generation() != since.generation();
        // Read again at once, it would be the same.
        self.changed = has_changed.then_some(rows);
        Ok(has_changed)
    }
}

/// What is read.
enum With {
    DefinitionsAlone,
    Sizes,
    /// Definitions that have just been read.
    SizesFor(Box<Rows>),
}

impl Reader {
    async fn rows(&mut self, with: With) -> Result<Rows, CatalogError> {
        let limit = self.settings.timeout;
        let read = tokio::time::timeout(limit, self.rows_on_connection(with)).await;
        read.map_err(|_| CatalogError::TooSlow {
            database: PLACE.to_owned(),
            seconds: limit.as_secs(),
        })?
    }

    /// A connection has for good the global rights that its account had when it came, but is told those that the account
    /// has by now. So the one that is used comes after all of them were seen.
    async fn connect(&self) -> Result<Conn, CatalogError> {
        let mut first = Conn::new(self.settings.options.clone()).await.map_err(refused)?;
        see_all(&mut first).await?;
        // How it ends changes nothing of what it was told.
        let _ = first.disconnect().await;
        Conn::new(self.settings.options.clone()).await.map_err(refused)
    }

    /// Whatever goes wrong, the connection on which it did is closed.
    async fn rows_on_connection(&mut self, with: With) -> Result<Rows, CatalogError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let rows = everything(&mut connection, with).await?;
        self.connection = Some(connection);
        Ok(rows)
    }
}

async fn everything(connection: &mut Conn, with: With) -> Result<Rows, CatalogError> {
    if let With::SizesFor(definitions) = with {
        return Ok(Rows {
            sizes: lines(connection, "sizes of tables", rows::SIZES).await?,
            ..*definitions
        });
    }
    let server: Option<(String, u8, String, Option<String>)> = connection
        .query_first(rows::SERVER)
        .await
        .map_err(|error| failed("version", &error.to_string()))?;
    let (version, lower_case_table_names, sql_mode, _) = server.ok_or_else(|| failed("version", "no row"))?;
    see_all(connection).await?;
    let has_generated_columns: Option<u8> = connection
        .query_first(
            "SELECT 1 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'information_schema' AND \
             TABLE_NAME = 'COLUMNS' AND COLUMN_NAME = 'GENERATION_EXPRESSION'",
        )
        .await
        .map_err(|error| failed("columns", &error.to_string()))?;
    let columns = if has_generated_columns.is_some() {
        rows::COLUMNS
    } else {
        rows::COLUMNS_OLD
    };
    Ok(Rows {
        version,
        lower_case_table_names,
        sql_mode,
        tables: lines(connection, "tables", rows::TABLES).await?,
        sizes: match with {
            With::Sizes => lines(connection, "sizes of tables", rows::SIZES).await?,
            With::DefinitionsAlone | With::SizesFor(_) => Vec::new(),
        },
        columns: lines(connection, "columns", columns).await?,
        views: lines(connection, "views", rows::VIEWS).await?,
        functions: lines(connection, "stored functions", rows::STORED_FUNCTIONS).await?,
        parameters: lines(connection, "parameters", rows::PARAMETERS).await?,
        loadable: lines(connection, "loadable functions", rows::LOADABLE_FUNCTIONS).await?,
        triggers: lines(connection, "triggers", rows::TRIGGERS).await?,
        cascades: lines(connection, "foreign keys", rows::CASCADES).await?,
    })
}

/// An error unless nothing is hidden from the account that asks.
async fn see_all(connection: &mut Conn) -> Result<(), CatalogError> {
    let held: Vec<String> = lines(connection, "privileges", rows::PRIVILEGES).await?;
    let missing: Vec<_> = PRIVILEGES_NEEDED
        .into_iter()
        .filter(|needed| !held.iter().any(|held| held == needed))
        .collect();
    if !missing.is_empty() {
        return Err(CatalogError::Hidden {
            lacks: format!("{} ON *.*", missing.join(", ")),
        });
    }
    let revokes: Vec<(String, String)> = lines(connection, "partial revokes", rows::PARTIAL_REVOKES).await?;
    if revokes.iter().any(|(_, value)| value == "ON") {
        let restrictions: Vec<Option<String>> = lines(connection, "restrictions", rows::RESTRICTIONS).await?;
        let is_restricted = restrictions.iter().any(Option::is_some);
        if is_restricted || restrictions.is_empty() {
            return Err(CatalogError::Hidden {
                lacks: "in some schemas what it has ON *.*".to_owned(),
            });
        }
    }
    Ok(())
}

/// Sorted, because servers answer in any order.
async fn lines<T: FromRow + Ord + Send + 'static>(
    connection: &mut Conn,
    what: &'static str,
    question: &str,
) -> Result<Vec<T>, CatalogError> {
    let read = async {
        let mut lines = Vec::new();
        let mut answer = connection.query_iter(question).await?;
        while let Some(row) = answer.next().await? {
            if lines.len() == ROWS_MAX {
                return Ok(None);
            }
            lines.push(
                mysql_async::from_row_opt::<T>(row)
                    .map_err(|error| mysql_async::Error::Other(error.to_string().into()))?,
            );
        }
        lines.sort_unstable();
        Ok::<_, mysql_async::Error>(Some(lines))
    };
    match read.await {
        Ok(Some(lines)) => Ok(lines),
        Ok(None) => Err(CatalogError::TooLarge {
            database: PLACE.to_owned(),
            limit: ROWS_MAX,
            unit: "rows",
        }),
        Err(error) => Err(failed(what, &error.to_string())),
    }
}

fn failed(what: &'static str, cause: &str) -> CatalogError {
    CatalogError::Query {
        database: PLACE.to_owned(),
        what,
        cause: cause.to_owned(),
    }
}

fn refused(error: mysql_async::Error) -> CatalogError {
    match error {
        mysql_async::Error::Io(mysql_async::IoError::Io(error)) => CatalogError::Unreachable(error),
        error => CatalogError::Refused(error.to_string()),
    }
}
