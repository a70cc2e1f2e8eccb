//! The catalog of a server that is named on the command line, for commands that judge or list without a proxy.
//! Never asks for a password in an argument: a variable or a passfile will do. Read `../catalog/postgres/mod.rs` next.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use reqwest::Url;
use zeroize::Zeroizing;

use super::demo::upstream::{decoded, without_password};
use super::exit::CliError;
use super::live_mysql::{self, LiveMysql};
use crate::catalog::keeper::Source;
use crate::catalog::postgres::{CatalogError, Reader, SessionState, Settings, Snapshot, View};
use crate::catalog::trusted::{Spelling, Trusted};
use crate::proxy::{UpstreamTls, catalog_tls};
use crate::sql::action::{Class, Effect, Judgement};
use crate::sql::classify::postgres::setting::NewPath;
use crate::sql::names::Catalog;

/// A large database is read in a few seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Looked at in this order.
const PASSWORD_VARIABLES: [&str; 2] = ["COUNTERSIGN_CATALOG_PASSWORD", "PGPASSWORD"];

const NEXT_STEP: &str = "write --upstream postgresql://USER@HOST:PORT/DATABASE";

#[derive(Debug, Args)]
pub struct LiveArgs {
    /// Look names up in this database: postgresql://USER@HOST:PORT/DATABASE[?sslmode=verify-full&sslrootcert=FILE] or
    /// mysql://USER@HOST:PORT/SCHEMA.
    /// The password comes from COUNTERSIGN_CATALOG_PASSWORD, PGPASSWORD or the passfile (PGPASSFILE, ~/.pgpass),
    /// or MYSQL_PWD
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// search_path of the sessions, as SHOW prints it
    #[arg(
        long,
        value_name = "PATH",
        default_value = "\"$user\", public",
        requires = "upstream"
    )]
    pub search_path: String,
    /// Functions that an operator vouches for, as in catalog.trusted_file
    #[arg(long, value_name = "FILE", requires = "upstream")]
    pub trusted: Option<PathBuf>,
}

/// The catalog of whichever server was named.
#[derive(Clone)]
pub enum Live {
    Postgres(LivePostgres),
    Mysql(LiveMysql),
}

/// A catalog, and the search_path that sessions begin with.
#[derive(Clone)]
pub struct LivePostgres {
    pub snapshot: Arc<Snapshot>,
    pub search_path: String,
    /// What `"$user"` stands for.
    pub role: String,
}

impl LiveArgs {
    /// `None` if no server is named. Runs a runtime of its own.
    pub fn read(&self) -> Result<Option<Live>, CliError> {
        let Some(url) = &self.upstream else {
            return Ok(None);
        };
        let spelling = match live_mysql::is_meant(url) {
            true => Spelling::Mysql,
            false => Spelling::Postgres,
        };
        let trusted = self.trusted.as_deref().map(|file| Trusted::load(file, spelling));
        let trusted = trusted.transpose();
        let trusted = trusted.map_err(|error| {
            let next_step = error.next_step();
            CliError::error(error, next_step)
        })?;
        let listed = trusted.unwrap_or_default().functions;
        if live_mysql::is_meant(url) {
            return LiveMysql::read(url, &listed).map(Live::Mysql).map(Some);
        }
        let (settings, database) = parse(url)?;
        let role = settings.user.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::error(error, "free some file descriptors"))?;
        let mut reader = Reader::open(Arc::new(settings), &database);
        let snapshot = runtime.block_on(reader.read(&listed)).map_err(unread)?;
        Ok(Some(Live::Postgres(LivePostgres {
            snapshot,
            search_path: self.search_path.clone(),
            role,
        })))
    }
}

/// The catalog as one session sees it, by the words of its statements alone.
pub struct Sight {
    live: LivePostgres,
    /// As SHOW would print it.
    search_path: String,
    /// Something that no catalog shows may have been made.
    has_changed_catalog: bool,
}

/// No list of names, so that no name is looked up along it.
const UNKNOWN_PATH: &str = "\"";

impl Sight {
    pub fn new(live: LivePostgres) -> Self {
        Self {
            search_path: live.search_path.clone(),
            live,
            has_changed_catalog: false,
        }
    }

    pub fn catalog(&self) -> Arc<dyn Catalog> {
        let session = SessionState {
            search_path: &self.search_path,
            role: &self.live.role,
            has_temporary_objects: self.has_changed_catalog,
            has_uncommitted_ddl: self.has_changed_catalog,
        };
        Arc::new(View::new(Arc::clone(&self.live.snapshot), session))
    }

    /// What is seen from now on, once this has run.
    pub fn follow(&mut self, ran: &Judgement, search_path: Option<&NewPath>) {
        // What others make is not in the catalog that was read; these classes make nothing.
        self.has_changed_catalog |= ran.class() > Class::Write;
        match search_path {
            Some(NewPath::Text(text)) => self.search_path.clone_from(text),
            Some(NewPath::Default) => self.search_path.clone_from(&self.live.search_path),
            Some(NewPath::Unknown) => UNKNOWN_PATH.clone_into(&mut self.search_path),
            None => {}
        }
        // It may bring back what was set before.
        let ends = |effect: &Effect| {
            matches!(
                effect,
                Effect::EndsTransaction { .. } | Effect::RollsBackToSavepoint
            )
        };
        let ends = ran.actions.iter().flat_map(|action| &action.effects).any(ends);
        if ends && self.search_path != self.live.search_path {
            UNKNOWN_PATH.clone_into(&mut self.search_path);
        }
    }
}

fn unread(error: CatalogError) -> CliError {
    let next_step = error.next_step();
    CliError::error(error, next_step)
}

/// Where to connect to, and the database.
fn parse(url: &str) -> Result<(Settings, String), CliError> {
    let wrong = |what: &str| CliError::usage(format!("`{}` {what}", without_password(url)), NEXT_STEP);
    let parsed = Url::parse(url).map_err(|_| wrong("is no connection string"))?;
    if !["postgres", "postgresql"].contains(&parsed.scheme()) {
        return Err(wrong("is no connection string of PostgreSQL"));
    }
    let part = |text: &str, what: &str| {
        let text = decoded(text).filter(|text| !text.is_empty());
        text.ok_or_else(|| wrong(&format!("lacks its {what}")))
    };
    let argument = |name: &str| {
        let found = parsed.query_pairs().find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned())
    };
    let host = part(parsed.host_str().unwrap_or("").trim_matches(['[', ']']), "host")?;
    let port = parsed.port().unwrap_or(5432);
    let user = part(parsed.username(), "user")?;
    let database = part(parsed.path().trim_start_matches('/'), "database")?;
    let given = parsed.password().and_then(decoded).map(Zeroizing::new);
    let password = given.or_else(|| password(&host, port, &database, &user));
    let ca_file = argument("sslrootcert").map(PathBuf::from);
    let tls = match argument("sslmode").as_deref() {
        None | Some("disable") => UpstreamTls::Disable,
        Some("require") => UpstreamTls::Require,
        Some("verify-ca") if ca_file.is_some() => UpstreamTls::VerifyCa { ca_file },
        Some("verify-full") => UpstreamTls::VerifyFull { ca_file },
        Some(_) => {
            return Err(wrong(
                "has an sslmode other than disable, require, verify-ca with sslrootcert, and verify-full",
            ));
        }
    };
    let tls = catalog_tls(&tls).map_err(|error| CliError::error(&error, error.next_step()))?;
    let settings = Settings {
        host,
        port,
        user,
        password: password.unwrap_or_default(),
        tls,
        timeout: TIMEOUT,
    };
    Ok((settings, database))
}

fn password(host: &str, port: u16, database: &str, user: &str) -> Option<Zeroizing<String>> {
    let variable = PASSWORD_VARIABLES
        .iter()
        .find_map(|name| std::env::var(name).ok());
    if let Some(password) = variable {
        return Some(Zeroizing::new(password));
    }
    let named = std::env::var_os("PGPASSFILE").map(PathBuf::from);
    let file = named.or_else(|| std::env::home_dir().map(|home| home.join(".pgpass")))?;
    let text = Zeroizing::new(private_text(&file)?);
    let wanted = [host, &port.to_string(), database, user].map(str::to_owned);
    text.lines().find_map(|line| from_line(line, &wanted))
}

/// As libpq, which does not read a passfile that others may read.
fn private_text(file: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = std::fs::metadata(file).ok()?.permissions().mode();
    if mode & 0o077 != 0 {
        eprintln!(
            "warning: `{}` is not read: others may read it; chmod 600 it",
            file.display()
        );
        return None;
    }
    std::fs::read_to_string(file).ok()
}

/// `host:port:database:user:password`; `*` fits anything, a backslash takes the next character as it is.
/// Source: PostgreSQL docs, libpq-pgpass.html
fn from_line(line: &str, wanted: &[String; 4]) -> Option<Zeroizing<String>> {
    if line.starts_with('#') {
        return None;
    }
    let mut letters = line.chars();
    for wanted in wanted {
        let mut field = String::new();
        let mut escaped = false;
        loop {
            match letters.next()? {
                ':' => break,
                '\\' => {
                    escaped = true;
                    field.push(letters.next()?);
                }
                letter => field.push(letter),
            }
        }
        if field != *wanted && (escaped || field != "*") {
            return None;
        }
    }
    let mut password = Zeroizing::new(String::new());
    while let Some(letter) = letters.next() {
        password.push(if letter == '\\' {
            letters.next().unwrap_or('\\')
        } else {
            letter
        });
    }
    Some(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passfile_gives_the_password_of_the_first_line_that_fits() {
        let wanted = ["db.example", "5432", "shop", "reader"].map(str::to_owned);
        let found = |line: &str| from_line(line, &wanted).map(|found| found.to_string());
        assert_eq!(found("db.example:5432:shop:reader:p\\:w"), Some("p:w".to_owned()));
        assert_eq!(found("*:*:*:reader:x"), Some("x".to_owned()));
        for other in [
            "#db.example:5432:shop:reader:x",
            "*:5433:*:*:x",
            "*:*:*",
            "\\*:*:*:*:x",
            "",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn a_mistake_in_the_address_is_told_without_its_password() {
        for url in [
            "mysql://a:secret@h/d",
            "postgresql://a:secret@h",
            "a:secret@h",
            "postgresql://a:secret@h/d?sslmode=prefer",
        ] {
            let error = parse(url).map(|_| ()).unwrap_err();
            assert!(!error.message.contains("secret"), "{}", error.message);
        }
    }
}
