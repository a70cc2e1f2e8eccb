//! The catalog of a MySQL or MariaDB server that is named on the command line. Never asks for a password in an argument.
//! Read `live.rs` for PostgreSQL's, `../catalog/mysql/mod.rs` for what is read.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use super::demo::upstream::without_password;
use super::exit::CliError;
use crate::catalog::keeper::{Snapshot as _, Source};
use crate::catalog::mysql::{Reader, Settings, Snapshot, UserFunction, View};
use crate::catalog::{CatalogError, ListedFunctions};
use crate::sql::action::{Class, Judgement};
use crate::sql::mysql_state::{MysqlFollowed, MysqlState};
use crate::sql::names::Catalog;

/// A server with many tables answers in a few seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Looked at in this order; the second is the one that the servers' own clients know.
const PASSWORD_VARIABLES: [&str; 2] = ["COUNTERSIGN_CATALOG_PASSWORD", "MYSQL_PWD"];

/// A catalog, and the schema that sessions begin in.
#[derive(Clone)]
pub struct LiveMysql {
    snapshot: Arc<Snapshot>,
    schema: Option<String>,
}

/// Whether a URL names such a server.
pub fn is_meant(url: &str) -> bool {
    url.starts_with("mysql://") || url.starts_with("mariadb://")
}

impl LiveMysql {
    /// Runs a runtime of its own.
    pub fn read(url: &str, listed: &ListedFunctions) -> Result<Self, CliError> {
        let next_step = "write --upstream mysql://USER@HOST:PORT/SCHEMA";
        let wrong = |what: &str| CliError::usage(format!("`{}` {what}", without_password(url)), next_step);
        let parsed = Url::parse(url).map_err(|_| wrong("is no connection string"))?;
        if parsed.username().is_empty() {
            return Err(wrong("lacks its user"));
        }
        let schema = parsed.path().trim_start_matches('/');
        let schema = (!schema.is_empty()).then(|| schema.to_owned());
        let variable = PASSWORD_VARIABLES
            .iter()
            .find_map(|name| std::env::var(name).ok());
        let password = variable.filter(|_| parsed.password().is_none());
        let url = url.replacen("mariadb://", "mysql://", 1);
        let settings = Settings::from_url(&url, password, TIMEOUT).map_err(unread)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::error(error, "free some file descriptors"))?;
        let snapshot = runtime
            .block_on(Reader::open(Arc::new(settings), "").read(listed))
            .map_err(unread)?;
        Ok(Self { snapshot, schema })
    }

    pub fn functions(&self) -> Vec<UserFunction> {
        self.snapshot.user_functions()
    }

    /// As a fresh connection to this server reads texts.
    pub fn state(&self) -> MysqlState {
        self.snapshot.state
    }
}

fn unread(error: CatalogError) -> CliError {
    let next_step = error.next_step();
    CliError::error(error, next_step)
}

/// The catalog as one session sees it, by the words of its statements alone.
pub struct MysqlSight {
    live: LiveMysql,
    has_own_objects: bool,
}

impl MysqlSight {
    pub fn new(live: LiveMysql) -> Self {
        Self {
            live,
            has_own_objects: false,
        }
    }

    pub fn catalog(&self) -> Arc<dyn Catalog> {
        Arc::new(View {
            snapshot: Arc::clone(&self.live.snapshot),
            database: self.live.schema.clone(),
            has_own_objects: self.has_own_objects,
        })
    }

    /// What is seen from now on, once this has run.
    pub fn follow(&mut self, ran: &Judgement, followed: &MysqlFollowed) {
        // What others make is not in the catalog that was read; these classes make nothing.
        self.has_own_objects |= ran.class() > Class::Write;
        if let Some(schema) = &followed.schema {
            self.live.schema = Some(schema.clone());
        }
    }
}
