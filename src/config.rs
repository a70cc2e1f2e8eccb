//! The settings file, checked once and split into what each room needs.
//! Never keeps a secret in a message and never starts anything; unknown keys and contradictions are errors.
//! Read `config/reader.rs` for where values come from, `countersign.toml` for what each key means.

mod catalog;
mod error;
mod limits;
mod listen;
pub mod reader;
mod secret;
mod unwise;
mod upstream;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::catalog::Catalog;
use self::catalog::read_catalog;
pub use self::error::ConfigError;
pub use self::limits::Limits;
use self::limits::read_limits;
pub use self::listen::Listen;
use self::listen::{read_api, read_listen};
use self::reader::{Found, Override, Reader};
pub use self::secret::Secret;
use self::upstream::read_upstream;
pub use self::upstream::{Upstream, UpstreamUser};
pub use crate::api::Certificate;
pub use crate::proxy::{AuditMode, ClientAuthority, ListenFiles, ListenTls, UpstreamTls};
use crate::{api, desk, journal, proxy, telemetry};

/// Where `serve` looks when no flag and no variable names a file.
pub const FILES_DEFAULT: [&str; 2] = ["countersign.toml", "/etc/countersign/countersign.toml"];

/// Under `data_dir`: the store's file.
pub const STORE_FILE: &str = "store.sqlite3";
/// Under `data_dir`: the journal's folder.
pub const JOURNAL_FOLDER: &str = "journal";

/// A server that takes longer to tell its catalog cannot be judged by it.
const CATALOG_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything that can be set, checked, in the words of `countersign.toml`.
#[derive(Clone, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: Listen,
    pub api: api::Settings,
    pub upstream: Upstream,
    /// `None`: views, triggers and functions of the database's own are not seen.
    pub catalog: Option<Catalog>,
    pub rules: RulesFile,
    pub limits: Limits,
    pub audit: AuditMode,
    pub log: telemetry::Settings,
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
            listen: read_listen(reader),
            api: read_api(reader),
            upstream: read_upstream(reader),
            catalog: read_catalog(reader),
            rules: read_rules(reader),
            limits: read_limits(reader),
            audit: value_or(
                reader.choice(
                    "audit.mode",
                    &[("ordered", AuditMode::Ordered), ("durable", AuditMode::Durable)],
                ),
                || AuditMode::Ordered,
            ),
            log: read_log(reader),
            warnings: Vec::new(),
        };
        if config.listen.address == config.api.address && config.api.address.port() != 0 {
            let message = format!("`listen` and `api` both want {}", config.api.address);
            let place = reader.table_place("api");
            reader.complain(&place, message, "give `api.address` a port of its own");
        }
        if !config.upstream.pass_through.is_empty() && config.listen.tls == ListenTls::Off {
            let message = "`pass_through` without TLS would let passwords cross the network in the clear";
            let place = reader.table_place("upstream.pass_through.0");
            reader.complain(&place, message, "name `cert_file` and `key_file` in `[listen]`");
        }
        config.warnings = config.unwise();
        config
    }

    /// Reads the files of the secrets.
    pub fn proxy(&self) -> Result<proxy::Settings, ConfigError> {
        let user = |user: &UpstreamUser| {
            Ok(proxy::UpstreamUser {
                name: user.name.clone(),
                password: user.password.read()?,
            })
        };
        Ok(proxy::Settings {
            postgres: Some(proxy::Front {
                listen: self.listen.address,
                tls: self.listen.tls.clone(),
                upstream: proxy::UpstreamSettings {
                    name: self.upstream.name.clone(),
                    host: self.upstream.host.clone(),
                    port: self.upstream.port,
                    tls: self.upstream.tls.clone(),
                    databases: self.upstream.databases.clone(),
                    users: self
                        .upstream
                        .users
                        .iter()
                        .map(user)
                        .collect::<Result<_, ConfigError>>()?,
                },
                pass_through: self.upstream.pass_through.clone(),
            }),
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

    /// Reads the file of the catalog's password. `None`: no catalog is configured.
    pub fn catalog(&self) -> Result<Option<crate::catalog::postgres::Settings>, ConfigError> {
        let Some(settings) = &self.catalog else {
            return Ok(None);
        };
        let same_user = self.upstream.users.iter().find(|user| user.name == settings.user);
        let password = match (&settings.password, same_user) {
            (Secret::None, Some(user)) => &user.password,
            (password, _) => password,
        };
        Ok(Some(crate::catalog::postgres::Settings {
            host: self.upstream.host.clone(),
            port: self.upstream.port,
            user: settings.user.clone(),
            password: password.read()?,
            tls: None,
            timeout: CATALOG_TIMEOUT,
        }))
    }

    pub fn desk(&self) -> desk::Settings {
        desk::Settings {
            held_per_principal_max: u32::try_from(self.limits.held_per_principal).unwrap_or(u32::MAX),
            grant_life: self.limits.grant,
            standing: self.limits.standing,
            pass_through: self.upstream.pass_through.clone(),
        }
    }

    pub fn journal(&self) -> journal::Settings {
        journal::Settings::in_dir(self.data_dir.join(JOURNAL_FOLDER))
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
