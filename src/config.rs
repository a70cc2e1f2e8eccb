//! The settings file, checked once and split into what each room needs.
//! Never keeps a secret in a message and never starts anything; unknown keys and contradictions are errors.
//! Read `config/reader.rs` for where values come from, `countersign.toml` for what each key means.

mod catalog;
mod error;
mod front;
mod labels;
mod limits;
mod listen;
mod log_sql;
mod log_tree;
mod notify;
mod people;
pub mod reader;
mod secret;
mod unwise;
mod upstream;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::catalog::Catalog;
pub use self::error::ConfigError;
use self::front::CATALOG_TIMEOUT;
pub use self::front::{Front, MYSQL, POSTGRES, Sections};
use self::labels::read_labels;
pub use self::limits::Limits;
use self::limits::read_limits;
pub use self::listen::Listen;
use self::listen::read_api;
use self::log_sql::read_log_sql;
pub use self::log_tree::LogTree;
use self::log_tree::read_log_tree;
use self::notify::read_webhooks;
use self::people::{read_break_glass, read_people};
use self::reader::{Found, Override, Reader};
pub use self::secret::Secret;
pub use self::upstream::{Upstream, UpstreamUser};
pub use crate::api::Certificate;
use crate::catalog::mysql as mysql_catalog;
use crate::catalog::postgres as postgres_catalog;
use crate::identity::directory::Agent;
use crate::notify::Channel;
use crate::notify::webhook::{Webhook, WebhookError, WebhookSettings};
pub use crate::proxy::{AuditMode, ClientAuthority, ListenFiles, ListenTls, UpstreamTls};
use crate::{api, desk, journal, proxy, tables, telemetry};

/// Where `serve` looks when no flag and no variable names a file.
pub const FILES_DEFAULT: [&str; 2] = ["countersign.toml", "/etc/countersign/countersign.toml"];

/// Under `data_dir`: the store's file.
pub const STORE_FILE: &str = "store.sqlite3";
/// Under `data_dir`: the journal's folder.
pub const JOURNAL_FOLDER: &str = "journal";

/// Everything that can be set, checked, in the words of `countersign.toml`.
#[derive(Clone, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub postgres: Front,
    pub mysql: Front,
    pub api: api::Settings,
    /// Where auditors read the log by SQL; `None`: nowhere.
    pub log_sql: Option<tables::Settings>,
    pub people: api::browser::Settings,
    /// How often one person may break glass within 24 hours; 0: nobody may.
    pub break_glass_per_day: u32,
    pub rules: RulesFile,
    /// The file that labels columns; `None`: none is.
    pub labels: Option<PathBuf>,
    pub limits: Limits,
    pub audit: AuditMode,
    pub log_tree: LogTree,
    pub log: telemetry::Settings,
    pub webhooks: Vec<WebhookSettings>,
    /// What is allowed but unwise, for the person who starts `serve`.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RulesFile {
    /// `default`, `strict` or `observe`.
    Shipped(String),
    File(PathBuf),
}

impl Config {
    /// Reads `file`, or the first of `FILES_DEFAULT` that exists, or nothing; `overrides` win, the last one most.
    pub fn load(file: Option<&Path>, overrides: Vec<Override>) -> Result<Self, ConfigError> {
        let found = file
            .map(Path::to_owned)
            .or_else(|| FILES_DEFAULT.iter().map(PathBuf::from).find(|path| path.exists()));
        let Some(file) = found else {
            return Self::parse("countersign.toml", "", Path::new("."), overrides);
        };
        let text = std::fs::read_to_string(&file).map_err(|error| ConfigError::Unreadable {
            file: file.clone(),
            error,
        })?;
        let folder = file.parent().unwrap_or(Path::new("."));
        Self::parse(&file.display().to_string(), &text, folder, overrides)
    }

    /// Reads the text of a settings file; `file` is its name in errors.
    pub fn parse(
        file: &str,
        text: &str,
        folder: &Path,
        overrides: Vec<Override>,
    ) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(file, text, folder, overrides)
            .map_err(|complaint| ConfigError::Wrong(vec![complaint]))?;
        let config = Self::read(&mut reader);
        let complaints = reader.finish();
        if complaints.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Wrong(complaints))
        }
    }

    fn read(reader: &mut Reader) -> Self {
        let data_dir = value_or(reader.path("data_dir"), || PathBuf::from("/var/lib/countersign"));
        let mut config = Self {
            data_dir,
            postgres: Front::read(reader, &POSTGRES),
            mysql: Front::read(reader, &MYSQL),
            api: read_api(reader),
            log_sql: read_log_sql(reader),
            people: read_people(reader),
            break_glass_per_day: read_break_glass(reader),
            rules: read_rules(reader),
            labels: None,
            limits: read_limits(reader),
            audit: value_or(
                reader.choice(
                    "audit.mode",
                    &[("ordered", AuditMode::Ordered), ("durable", AuditMode::Durable)],
                ),
                || AuditMode::Ordered,
            ),
            log_tree: read_log_tree(reader),
            log: read_log(reader),
            webhooks: read_webhooks(reader),
            warnings: Vec::new(),
        };
        config.labels = read_labels(reader, [&config.postgres, &config.mysql].into_iter());
        config.complain_of_shared_addresses(reader);
        config.complain_of_shared_users(reader);
        config.warnings = config.unwise();
        config
    }

    /// The protocols that are served.
    pub fn fronts(&self) -> impl Iterator<Item = &Front> {
        [&self.postgres, &self.mysql]
            .into_iter()
            .filter(|front| front.is_served())
    }

    fn complain_of_shared_addresses(&self, reader: &mut Reader) {
        let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
        let listeners = self
            .fronts()
            .map(|front| (front.sections.listen, front.listen.address));
        let log_sql = self
            .log_sql
            .as_ref()
            .map(|settings| ("log_sql", settings.address));
        for (section, address) in listeners.chain([("api", self.api.address)]).chain(log_sql) {
            let first = taken
                .iter()
                .find(|(_, other)| *other == address && address.port() != 0);
            if let Some((other, _)) = first {
                let message = format!("`{other}` and `{section}` both want {address}");
                let place = reader.table_place(section);
                reader.complain(
                    &place,
                    message,
                    format!("give `{section}.address` a port of its own"),
                );
            }
            taken.push((section, address));
        }
    }

    /// A user of both servers is one principal, so one person answers for it.
    fn complain_of_shared_users(&self, reader: &mut Reader) {
        for (number, user) in self.mysql.upstream.pass_through.iter().enumerate() {
            let mut others = self.postgres.upstream.pass_through.iter();
            let Some(other) = others.find(|other| other.name == user.name && other.owner != user.owner)
            else {
                continue;
            };
            let message = format!(
                "user `{}` passes through to both servers, and `{}` and `{}` answer for it",
                user.database_user, other.owner, user.owner
            );
            let place = reader.table_place(&format!("mysql.upstream.pass_through.{number}"));
            reader.complain(
                &place,
                message,
                "name one owner, and the other person in `known_to`",
            );
        }
    }

    /// Reads the files of the secrets.
    pub fn proxy(&self) -> Result<proxy::Settings, ConfigError> {
        Ok(proxy::Settings {
            postgres: self.postgres.proxy()?,
            mysql: self.mysql.proxy()?,
            limits: proxy::Limits {
                connections_max: self.limits.connections,
                login: self.limits.login,
                wait: self.limits.wait,
                wait_mcp: self.limits.wait_mcp,
                wait_transaction: self.limits.wait_transaction,
                expires: self.limits.expires,
                session_buffer_bytes: self.limits.session_buffer_bytes,
            },
            audit: self.audit,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }

    /// How PostgreSQL's catalogs are read. `None`: no catalog is configured.
    pub fn catalog(&self) -> Result<Option<postgres_catalog::Settings>, ConfigError> {
        let account = self.postgres.catalog_account()?;
        Ok(account.map(|(user, password)| postgres_catalog::Settings {
            host: self.postgres.upstream.host.clone(),
            port: self.postgres.upstream.port,
            user: user.to_owned(),
            password,
            tls: None,
            timeout: CATALOG_TIMEOUT,
        }))
    }

    /// How the catalog of the MySQL server is read, without its TLS. `None`: no catalog is configured.
    pub fn mysql_catalog(&self) -> Result<Option<mysql_catalog::Settings>, ConfigError> {
        let upstream = &self.mysql.upstream;
        let account = self.mysql.catalog_account()?;
        Ok(account.map(|(user, password)| {
            let server = (upstream.host.as_str(), upstream.port);
            mysql_catalog::Settings::of_server(server, (user, &password), None, CATALOG_TIMEOUT)
        }))
    }

    pub fn desk(&self) -> desk::Settings {
        desk::Settings {
            held_per_principal_max: u32::try_from(self.limits.held_per_principal).unwrap_or(u32::MAX),
            grant_life: self.limits.grant,
            standing: self.limits.standing,
            pass_through: self.pass_through(),
            second_factor: self.people.second_factor,
            break_glass_per_day: self.break_glass_per_day,
        }
    }

    /// Whoever knows the password of a user at one of the servers counts as knowing it at both.
    fn pass_through(&self) -> Vec<Agent> {
        let mut users = self.postgres.upstream.pass_through.clone();
        for user in &self.mysql.upstream.pass_through {
            match users.iter_mut().find(|known| known.name == user.name) {
                Some(known) => known.has_seen_secret.extend(user.has_seen_secret.iter().cloned()),
                None => users.push(user.clone()),
            }
        }
        users
    }

    /// Reads the webhooks' secrets.
    pub fn notify(&self) -> Result<crate::notify::Settings, WebhookError> {
        let open = |settings: &WebhookSettings| -> Result<Arc<dyn Channel>, WebhookError> {
            Ok(Arc::new(Webhook::new(settings.clone())?))
        };
        Ok(crate::notify::Settings {
            channels: self.webhooks.iter().map(open).collect::<Result<_, _>>()?,
            pages: self.people.origin.clone(),
        })
    }

    pub fn journal(&self) -> journal::Settings {
        journal::Settings {
            key_dir: self.data_dir.clone(),
            origin: self.log_tree.origin.clone(),
            anchors: self.log_tree.anchors.clone(),
            bucket_access: self.log_tree.bucket_access.clone(),
            retention: self.log_tree.retention,
            ..journal::Settings::in_dir(self.data_dir.join(JOURNAL_FOLDER))
        }
    }

    pub fn store_file(&self) -> PathBuf {
        self.data_dir.join(STORE_FILE)
    }
}

fn value_or<T>(found: Option<Found<T>>, default: impl FnOnce() -> T) -> T {
    found.map_or_else(default, |found| found.value)
}

fn read_rules(reader: &mut Reader) -> RulesFile {
    let Some(Found { value, place }) = reader.text("rules.file") else {
        return RulesFile::Shipped("default".to_owned());
    };
    if ["default", "strict", "observe"].contains(&value.as_str()) {
        return RulesFile::Shipped(value);
    }
    if !value.contains('/') && !value.ends_with(".toml") {
        let message = format!("no rules named `{value}` are shipped");
        reader.complain(
            &place,
            message,
            "write `default`, `strict`, `observe` or the path of a file",
        );
    }
    RulesFile::File(reader.resolve(Found { value, place }).value)
}

fn read_log(reader: &mut Reader) -> telemetry::Settings {
    use telemetry::{Format, Settings};
    use tracing::Level;
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    Settings {
        level: value_or(reader.choice("log.level", &levels), || Level::INFO),
        format: value_or(
            reader.choice("log.format", &[("text", Format::Text), ("json", Format::Json)]),
            || Format::Text,
        ),
    }
}
