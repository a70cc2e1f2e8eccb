//! A connection on which the server is asked about a statement that waits: logged in as the session's database user, in its
//! schema, under the modes that its texts are read under, in a transaction that cannot write.
//! Never used for anything else, and closed after one question. Read `look.rs` next.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder, Params, Row, SslOpts, Value};

use crate::catalog::mysql::plan::Line;
use crate::proxy::UpstreamSettings;
use crate::proxy::mysql::facts;
use crate::proxy::mysql::impact::Job;
use crate::sql::mysql_state::{Charset, MysqlState, ServerKind};

/// What the server may take for its plan. MySQL 5.6 has no such limit: there the connection is closed on it.
const LIMIT: &str = "SET SESSION net_write_timeout = 5 /*M!100101 , max_statement_time = 2 */ /*!50708 , max_execution_time = 2000 */";

/// Lines of a plan; a join has one for each table.
const LINES_MAX: usize = 1_000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("the database user is not among those that the settings name")]
    UnknownUser,
    #[error("the session acts as somebody whom another connection cannot be")]
    AnotherUser,
    /// The server's own words.
    #[error("{message}")]
    Server {
        number: u16,
        sqlstate: String,
        message: String,
    },
    #[error("its connection was lost: {0}")]
    Lost(String),
}

impl From<Error> for NoAnswer {
    fn from(error: Error) -> Self {
        match error {
            Error::Server(error) => Self::Server {
                number: error.code,
                sqlstate: error.state,
                message: error.message,
            },
            other => Self::Lost(other.to_string()),
        }
    }
}

pub struct Connection(Conn);

/// How texts are read on this connection: as in the session, but for the character set, which is UTF-8 on both sides.
pub fn state_of(session: &MysqlState) -> MysqlState {
    MysqlState {
        charset: Charset::Utf8mb4,
        ..*session
    }
}

impl Connection {
    pub async fn open(
        upstream: &UpstreamSettings,
        tls: Option<SslOpts>,
        job: &Job,
    ) -> Result<Self, NoAnswer> {
        let named = |user: &&crate::proxy::UpstreamUser| user.name == job.peer.database_user;
        let user = upstream.users.iter().find(named).ok_or(NoAnswer::UnknownUser)?;
        let options = OptsBuilder::default()
            .ip_or_hostname(&*upstream.host)
            .tcp_port(upstream.port)
            .user(Some(&*user.name))
            .pass(Some(user.password.as_str()))
            .db_name(job.schema.clone())
            .ssl_opts(tls)
            .prefer_socket(false)
            .stmt_cache_size(0);
        let mut connection = Self(Conn::new(options).await?);
        let modes = job.state.modes;
        connection
            .command(&format!("SET NAMES utf8mb4, SESSION sql_mode = '{modes}'"))
            .await?;
        connection.command(LIMIT).await?;
        connection.take_role(job).await?;
        connection.command("START TRANSACTION READ ONLY").await?;
        Ok(connection)
    }

    /// Whom the session's statements run as: its account, and the role that it has set.
    async fn take_role(&mut self, job: &Job) -> Result<(), NoAnswer> {
        let account: Option<String> = self.0.query_first("SELECT CURRENT_USER()").await?;
        let account = account.unwrap_or_default();
        if self.is_as(&account, job).await? {
            return Ok(());
        }
        let role = job
            .role
            .strip_prefix(&account)
            .map(str::trim_start)
            .ok_or(NoAnswer::AnotherUser)?;
        let wanted = match (role, job.state.kind) {
            ("", _) => "NONE".to_owned(),
            (role, ServerKind::Mariadb) => format!("`{}`", role.replace('`', "``")),
            // A list of quoted names, or NONE, which is how SET ROLE takes it.
            (roles, ServerKind::Mysql | ServerKind::Unknown) => roles.to_owned(),
        };
        self.command(&format!("SET ROLE {wanted}")).await?;
        match self.is_as(&account, job).await? {
            true => Ok(()),
            false => Err(NoAnswer::AnotherUser),
        }
    }

    /// Spelled as the session's own facts are.
    async fn is_as(&mut self, account: &str, job: &Job) -> Result<bool, NoAnswer> {
        if !facts::has_roles(&job.state) {
            return Ok(account == job.role);
        }
        let role: Option<Option<String>> = self.0.query_first("SELECT CURRENT_ROLE()").await?;
        let role = role.flatten().unwrap_or_default();
        Ok(format!("{account} {role}").trim_end() == job.role)
    }

    async fn command(&mut self, text: &str) -> Result<(), NoAnswer> {
        Ok(self.0.query_drop(text).await?)
    }

    /// The plan's lines. A text with parameters has no colon in it: the driver would take what follows for a name of its
    /// own, and ask something else.
    pub async fn ask(&mut self, text: &str, values: Vec<Value>) -> Result<Vec<Line>, NoAnswer> {
        let rows: Vec<Row> = if values.is_empty() {
            self.0.query(text).await?
        } else {
            self.0.exec(text, Params::Positional(values)).await?
        };
        Ok(rows.into_iter().take(LINES_MAX).map(line).collect())
    }

    /// Says good-bye. The server rolls back by itself.
    pub async fn close(self) {
        // It may be gone already.
        let _gone = self.0.disconnect().await;
    }
}

/// Servers tell more or fewer columns, by kind and version; numbers come as such or as text.
fn line(row: Row) -> Line {
    let text = |name: &str| {
        let value = row.get_opt::<String, _>(name);
        value.and_then(Result::ok).unwrap_or_default()
    };
    let number = |name: &str| row.get_opt::<f64, _>(name).and_then(Result::ok);
    let whole = |name: &str| row.get_opt::<u64, _>(name).and_then(Result::ok);
    Line {
        select_type: text("select_type"),
        rows: whole("rows").map(|rows| rows as f64).or_else(|| number("rows")),
        filtered: number("filtered"),
        extra: text("Extra"),
    }
}
