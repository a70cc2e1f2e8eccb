//! The settings file, checked once and split into what each room needs.
//! Never keeps a secret in a message and never starts anything; unknown keys and contradictions are errors.
//! Read `config/reader.rs` for where values come from, `countersign.toml` for what each key means.

pub mod reader;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use self::reader::{Complaint, Found, Override, Place, Reader};
pub use crate::api::Certificate;
use crate::catalog::keeper::Pace;
use crate::identity::directory::Agent;
use crate::identity::principal::PersonName;
pub use crate::proxy::{AuditMode, ClientAuthority, ListenFiles, ListenTls, UpstreamTls};
use crate::{api, catalog, desk, journal, proxy, telemetry};

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

#[derive(Clone, Debug)]
pub struct Listen {
    pub address: SocketAddr,
    pub tls: ListenTls,
}

#[derive(Clone, Debug)]
pub struct Upstream {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub tls: UpstreamTls,
    /// Empty: every database of the server.
    pub databases: Vec<String>,
    pub users: Vec<UpstreamUser>,
    /// Who logs in with the password of their own.
    pub pass_through: Vec<Agent>,
}

#[derive(Clone, Debug)]
pub struct UpstreamUser {
    pub name: String,
    pub password: Secret,
}

/// How the upstream's catalog is read.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub user: String,
    pub password: Secret,
    pub pace: Pace,
    pub trusted_file: Option<PathBuf>,
}

/// A secret or where it lies; never printed.
#[derive(Clone)]
pub enum Secret {
    File(PathBuf),
    Given(Zeroizing<String>),
    /// None needed: the server trusts this proxy.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RulesFile {
    /// `default`, `strict` or `observe`.
    Shipped(String),
    File(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub connections: usize,
    pub held_per_principal: usize,
    pub login: Duration,
    pub wait: Duration,
    pub wait_mcp: Duration,
    pub wait_transaction: Duration,
    pub expires: Duration,
    pub grant: Duration,
    pub standing: desk::StandingLimits,
    pub session_buffer_bytes: usize,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read `{}`: {error}", file.display())]
    Unreadable { file: PathBuf, error: std::io::Error },
    #[error("{}", complaints_text(.0))]
    Wrong(Vec<Complaint>),
}

impl ConfigError {
    pub fn next_step(&self) -> String {
        match self {
            Self::Unreadable { .. } => "name the file with --config, and let this user read it".to_owned(),
            Self::Wrong(complaints) => match complaints.as_slice() {
                [one] => one.next_step.clone(),
                _ => "mend these lines, then try `countersign check`".to_owned(),
            },
        }
    }
}

/// One complaint a line; with several, each carries its own next step.
fn complaints_text(complaints: &[Complaint]) -> String {
    match complaints {
        [one] => one.to_string(),
        many => {
            let lines: Vec<String> = many
                .iter()
                .map(|complaint| format!("{complaint} ({})", complaint.next_step))
                .collect();
            lines.join("\n")
        }
    }
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
    pub fn catalog(&self) -> Result<Option<catalog::postgres::Settings>, ConfigError> {
        let Some(settings) = &self.catalog else {
            return Ok(None);
        };
        let same_user = self.upstream.users.iter().find(|user| user.name == settings.user);
        let password = match (&settings.password, same_user) {
            (Secret::None, Some(user)) => &user.password,
            (password, _) => password,
        };
        Ok(Some(catalog::postgres::Settings {
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

    /// What works but should be known to whoever starts it.
    fn unwise(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.api.address.ip().is_loopback() && self.api.certificate.is_none() {
            warnings.push(format!(
                "the API listens on {} without TLS: tokens cross the network in the clear; set api.cert_file",
                self.api.address
            ));
        }
        if !self.listen.address.ip().is_loopback() && self.listen.tls == ListenTls::Off {
            warnings.push(format!(
                "the proxy listens on {} without TLS: statements cross the network in the clear; set listen.tls",
                self.listen.address
            ));
        }
        let is_verified = matches!(self.upstream.tls, UpstreamTls::VerifyFull { .. });
        if !self.upstream.pass_through.is_empty() && !is_verified && !is_this_machine(&self.upstream.host) {
            warnings.push(format!(
                "users of the database pass their passwords on to whoever answers as {}; set upstream.tls = \"verify-full\"",
                self.upstream.host
            ));
        }
        let listen_key = self.listen.tls.files().map(|files| &files.key_file);
        let keys = [
            listen_key,
            self.api.certificate.as_ref().map(|pair| &pair.key_file),
        ];
        let passwords = self.upstream.users.iter().map(|user| &user.password);
        let passwords = passwords.chain(self.catalog.iter().map(|catalog| &catalog.password));
        let passwords = passwords.filter_map(Secret::file);
        for file in keys.into_iter().flatten().map(PathBuf::as_path).chain(passwords) {
            if is_readable_by_others(file) {
                warnings.push(format!(
                    "`{}` holds a secret and every user of this machine can read it; run: chmod o= '{}'",
                    file.display(),
                    file.display()
                ));
            }
        }
        warnings
    }
}

impl Secret {
    /// The secret itself; of a file the text without its last line break.
    pub fn read(&self) -> Result<Zeroizing<String>, ConfigError> {
        match self {
            Self::None => Ok(Zeroizing::new(String::new())),
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(file) => {
                let text = std::fs::read_to_string(file).map_err(|error| ConfigError::Unreadable {
                    file: file.clone(),
                    error,
                })?;
                let text = Zeroizing::new(text);
                let line = text.strip_suffix('\n').unwrap_or(&text);
                Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
            }
        }
    }

    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(file),
            Self::Given(_) | Self::None => None,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "File({})", file.display()),
            Self::Given(_) => f.write_str("Given(…)"),
            Self::None => f.write_str("None"),
        }
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn is_readable_by_others(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

fn value_or<T>(found: Option<Found<T>>, default: impl FnOnce() -> T) -> T {
    found.map_or_else(default, |found| found.value)
}

fn read_certificate(reader: &mut Reader, section: &str) -> Option<(Certificate, Place)> {
    let cert = reader.path(&format!("{section}.cert_file"));
    let key = reader.path(&format!("{section}.key_file"));
    match (cert, key) {
        (Some(cert), Some(key)) => Some((
            Certificate {
                cert_file: cert.value,
                key_file: key.value,
            },
            cert.place,
        )),
        (Some(cert), None) => {
            let message = format!("`{section}.cert_file` is given without `key_file`");
            reader.complain(
                &cert.place,
                message,
                "name the file of its private key in `key_file`",
            );
            None
        }
        (None, Some(key)) => {
            let message = format!("`{section}.key_file` is given without `cert_file`");
            reader.complain(
                &key.place,
                message,
                "name the file of its certificate in `cert_file`",
            );
            None
        }
        (None, None) => None,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum TlsWord {
    Off,
    Offered,
    Required,
}

fn read_listen(reader: &mut Reader) -> Listen {
    let address = value_or(reader.address("listen.address"), || {
        SocketAddr::from(([127, 0, 0, 1], 6432))
    });
    let words = [
        ("off", TlsWord::Off),
        ("offered", TlsWord::Offered),
        ("required", TlsWord::Required),
    ];
    let word = reader.choice("listen.tls", &words);
    let complaints = reader.complaints.len();
    let certificate = read_certificate(reader, "listen");
    let clients = read_client_authority(reader, certificate.is_some());
    let files = |pair: Certificate| ListenFiles {
        cert_file: pair.cert_file,
        key_file: pair.key_file,
        clients: clients.clone(),
    };
    let tls = match (word, certificate) {
        (None, None)
        | (
            Some(Found {
                value: TlsWord::Off, ..
            }),
            None,
        ) => ListenTls::Off,
        (
            None
            | Some(Found {
                value: TlsWord::Offered,
                ..
            }),
            Some((pair, _)),
        ) => ListenTls::Offered(files(pair)),
        (
            Some(Found {
                value: TlsWord::Required,
                ..
            }),
            Some((pair, _)),
        ) => ListenTls::Required(files(pair)),
        (
            Some(Found {
                value: TlsWord::Off,
                place,
            }),
            Some(_),
        ) => {
            let message = "`tls` is off, yet `cert_file` is given";
            reader.complain(
                &place,
                message,
                "write `tls = \"offered\"` or `\"required\"`, or take the files out",
            );
            ListenTls::Off
        }
        (
            Some(Found {
                value: TlsWord::Offered | TlsWord::Required,
                place,
            }),
            None,
        ) => {
            if reader.complaints.len() == complaints {
                let message = "`tls` needs a certificate";
                reader.complain(&place, message, "name `cert_file` and `key_file` in `[listen]`");
            }
            ListenTls::Off
        }
    };
    Listen { address, tls }
}

/// Certificates of clients come inside TLS, and revocations are those of an authority.
fn read_client_authority(reader: &mut Reader, has_tls: bool) -> Option<ClientAuthority> {
    let ca = reader.path("listen.client_ca_file");
    let crl = reader.path("listen.client_crl_file");
    let alone = match (&ca, &crl) {
        (Some(ca), _) if !has_tls => {
            let message =
                "`client_ca_file` is given, but there is no TLS in which clients could show certificates";
            Some((
                &ca.place,
                message,
                "name `cert_file` and `key_file` in `[listen]`",
            ))
        }
        (None, Some(crl)) => {
            let message = "`client_crl_file` is given without `client_ca_file`";
            Some((
                &crl.place,
                message,
                "name the certificate of the authority in `client_ca_file`",
            ))
        }
        (Some(_), _) | (None, None) => None,
    };
    if let Some((place, message, next_step)) = alone {
        reader.complain(place, message, next_step);
    }
    ca.map(|ca| ClientAuthority {
        ca_file: ca.value,
        crl_file: crl.map(|crl| crl.value),
    })
}

fn read_api(reader: &mut Reader) -> api::Settings {
    let address = value_or(reader.address("api.address"), || {
        SocketAddr::from(([127, 0, 0, 1], 6480))
    });
    let certificate = read_certificate(reader, "api").map(|(pair, _)| pair);
    api::Settings { address, certificate }
}

#[derive(Clone, Copy)]
enum UpstreamTlsWord {
    Disable,
    Require,
    VerifyCa,
    VerifyFull,
}

fn read_upstream_tls(reader: &mut Reader) -> UpstreamTls {
    use UpstreamTlsWord as Word;
    let words = [
        ("disable", Word::Disable),
        ("require", Word::Require),
        ("verify-ca", Word::VerifyCa),
        ("verify-full", Word::VerifyFull),
    ];
    let word = reader.choice("upstream.tls", &words);
    let ca_file = reader.path("upstream.ca_file");
    let place = word.as_ref().map_or(Place::Default, |found| found.place.clone());
    let path = |found: Option<Found<PathBuf>>| found.map(|found| found.value);
    match (value_or(word, || Word::Disable), ca_file) {
        (Word::Disable | Word::Require, Some(ca)) => {
            let message = "`ca_file` is given, but `tls` verifies nothing";
            reader.complain(
                &ca.place,
                message,
                "write `tls = \"verify-full\"` or `\"verify-ca\"`",
            );
            UpstreamTls::Disable
        }
        (Word::Disable, None) => UpstreamTls::Disable,
        (Word::Require, None) => UpstreamTls::Require,
        (Word::VerifyCa, None) => {
            let message = "`tls = \"verify-ca\"` needs an authority to verify against";
            reader.complain(
                &place,
                message,
                "name its certificate in `ca_file`, or write `verify-full`",
            );
            UpstreamTls::VerifyCa { ca_file: None }
        }
        (Word::VerifyCa, ca_file) => UpstreamTls::VerifyCa {
            ca_file: path(ca_file),
        },
        (Word::VerifyFull, ca_file) => UpstreamTls::VerifyFull {
            ca_file: path(ca_file),
        },
    }
}

fn read_upstream(reader: &mut Reader) -> Upstream {
    Upstream {
        name: value_or(reader.text("upstream.name"), || "main".to_owned()),
        host: value_or(reader.text("upstream.host"), || "127.0.0.1".to_owned()),
        port: value_or(reader.integer("upstream.port", 1..=65535), || 5432) as u16,
        tls: read_upstream_tls(reader),
        databases: value_or(reader.list("upstream.databases"), Vec::new),
        users: read_upstream_users(reader),
        pass_through: read_pass_through(reader),
    }
}

/// Users who log in with the password that the server knows. Each has an owner: without one, nobody would be known who
/// must not decide for it.
fn read_pass_through(reader: &mut Reader) -> Vec<Agent> {
    let mut users: Vec<Agent> = Vec::new();
    for number in 0..reader.count("upstream.pass_through") {
        let table = format!("upstream.pass_through.{number}");
        let place = reader.table_place(&table);
        let user = reader.text(&format!("{table}.user"));
        let owner = reader.text(&format!("{table}.owner"));
        let known_to = reader.list(&format!("{table}.known_to"));
        let (Some(user), Some(owner)) = (user, owner) else {
            reader.complain(
                &place,
                "`[[upstream.pass_through]]` needs `user` and `owner`",
                "name the user of the database and the person who answers for it, and so never decides for it",
            );
            continue;
        };
        let mut person = |found: &Place, name: &str| {
            let parsed = PersonName::parse(name);
            if let Err(error) = &parsed {
                reader.complain(
                    found,
                    error.to_string(),
                    "name a person as `countersign user add` does",
                );
            }
            parsed.ok()
        };
        let answers = person(&owner.place, &owner.value);
        let others: BTreeSet<PersonName> = known_to
            .iter()
            .flat_map(|found| found.value.iter().map(|name| (&found.place, name)))
            .filter_map(|(found, name)| person(found, name))
            .collect();
        if users.iter().any(|known| known.database_user == user.value) {
            let message = format!("user `{}` passes through twice", user.value);
            reader.complain(&user.place, message, "keep one of the two");
        }
        let Some(answers) = answers else { continue };
        match Agent::passing_through(&user.value, answers, others) {
            Ok(agent) => users.push(agent),
            Err(_) => {
                let message = format!("user `{}` cannot pass through", user.value);
                reader.complain(
                    &user.place,
                    message,
                    "its name must be 1 to 63 of A-Z a-z 0-9 _ - . @",
                );
            }
        }
    }
    users
}

fn read_upstream_users(reader: &mut Reader) -> Vec<UpstreamUser> {
    let mut users: Vec<UpstreamUser> = Vec::new();
    for number in 0..reader.count("upstream.users") {
        let table = format!("upstream.users.{number}");
        let place = reader.table_place(&table);
        let key = |key: &str| format!("{table}.{key}");
        let name = reader.text(&key("name"));
        let file = reader.path(&key("password_file"));
        reader.forbid(
            &key("password"),
            "a password does not belong into the settings file",
            "write it to a file of its own and name that in `password_file`",
        );
        let Some(Found { value: name, place }) = name else {
            reader.complain(
                &place,
                "`[[upstream.users]]` without a `name`",
                "write `name = \"…\"`",
            );
            continue;
        };
        if users.iter().any(|user| user.name == name) {
            reader.complain(
                &place,
                format!("user `{name}` is named twice"),
                "keep one of the two",
            );
        }
        let given = reader.text(&format!("upstream.users.{}.password", variable_word(&name)));
        let password = match (given, file) {
            (Some(given), _) => Secret::Given(Zeroizing::new(given.value)),
            (None, Some(file)) => Secret::File(file.value),
            (None, None) => Secret::None,
        };
        users.push(UpstreamUser { name, password });
    }
    users.extend(users_of_variables(reader));
    users
}

/// Users that no file names, by `COUNTERSIGN__UPSTREAM__USERS__APP__PASSWORD` or `…__PASSWORD_FILE` alone.
fn users_of_variables(reader: &mut Reader) -> Vec<UpstreamUser> {
    let mut names: Vec<String> = reader
        .rest_under("upstream.users")
        .iter()
        .filter_map(|rest| {
            rest.strip_suffix(".password")
                .or(rest.strip_suffix(".password_file"))
        })
        .filter(|name| !name.contains('.') && name.parse::<usize>().is_err())
        .map(str::to_owned)
        .collect();
    names.dedup();
    let mut user = |name: String| {
        let given = reader.text(&format!("upstream.users.{name}.password"));
        let file = reader.path(&format!("upstream.users.{name}.password_file"));
        let password = match (given, file) {
            (Some(given), _) => Secret::Given(Zeroizing::new(given.value)),
            (None, Some(file)) => Secret::File(file.value),
            (None, None) => Secret::None,
        };
        UpstreamUser { name, password }
    };
    names.into_iter().map(&mut user).collect()
}

/// How the name of a user is written inside the name of a variable, in lower case.
fn variable_word(name: &str) -> String {
    let letter = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    name.chars().map(letter).collect()
}

/// Without a user there is no catalog, and then nothing else may be said of it.
fn read_catalog(reader: &mut Reader) -> Option<Catalog> {
    const HOUR_SECONDS: i64 = 3_600;
    let seconds = |reader: &mut Reader, key: &str, default: u64| {
        let found = reader.integer(&format!("catalog.{key}"), 1..=HOUR_SECONDS);
        let place = found.as_ref().map(|found| found.place.clone());
        let value = found.map_or(default, |found| u64::try_from(found.value).unwrap_or(default));
        (Duration::from_secs(value), place)
    };
    let user = reader.text("catalog.user");
    let given = reader.text("catalog.password");
    let file = reader.path("catalog.password_file");
    let (refresh, refresh_place) = seconds(reader, "refresh_seconds", 5);
    let (stale_after, stale_place) = seconds(reader, "stale_after_seconds", 30);
    let trusted_file = reader.path("catalog.trusted_file");
    if let Some(Found {
        place: place @ Place::File { .. },
        ..
    }) = &given
    {
        reader.complain(
            place,
            "a password does not belong into the settings file",
            "write it to a file of its own and name that in `password_file`",
        );
    }
    let places = [
        given.as_ref().map(|given| &given.place),
        file.as_ref().map(|file| &file.place),
        refresh_place.as_ref(),
        stale_place.as_ref(),
        trusted_file.as_ref().map(|file| &file.place),
    ];
    let Some(user) = user else {
        if let Some(place) = places.into_iter().flatten().next() {
            let message = "`[catalog]` without a `user`";
            reader.complain(
                place,
                message,
                "name a database user that may connect, in `catalog.user`",
            );
        }
        return None;
    };
    if stale_after < refresh {
        let (stale, refresh) = (stale_after.as_secs(), refresh.as_secs());
        let message =
            format!("`stale_after_seconds` is {stale}, less than `refresh_seconds`, which is {refresh}");
        let place = stale_place.or(refresh_place).unwrap_or(Place::Default);
        reader.complain(
            &place,
            message,
            format!("make `stale_after_seconds` at least {refresh}"),
        );
    }
    let password = match (given, file) {
        (Some(given), _) => Secret::Given(Zeroizing::new(given.value)),
        (None, Some(file)) => Secret::File(file.value),
        (None, None) => Secret::None,
    };
    Some(Catalog {
        user: user.value,
        password,
        pace: Pace { refresh, stale_after },
        trusted_file: trusted_file.map(|file| file.value),
    })
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

fn read_limits(reader: &mut Reader) -> Limits {
    const DAY_SECONDS: i64 = 86_400;
    let seconds = |reader: &mut Reader, key: &str, default: u64| {
        let found = reader.integer(&format!("limits.{key}"), 1..=7 * DAY_SECONDS);
        let place = found.as_ref().map_or(Place::Default, |found| found.place.clone());
        let value = found.map_or(default, |found| u64::try_from(found.value).unwrap_or(default));
        Found {
            value: Duration::from_secs(value),
            place,
        }
    };
    let count = |reader: &mut Reader, key: &str, range, default: usize| {
        let found = reader.integer(&format!("limits.{key}"), range);
        found.map_or(default, |found| usize::try_from(found.value).unwrap_or(default))
    };
    let wait = seconds(reader, "wait_seconds", 900);
    let wait_mcp = seconds(reader, "wait_mcp_seconds", 25);
    let wait_transaction = seconds(reader, "wait_transaction_seconds", 60);
    let expires = seconds(reader, "expires_seconds", 1800);
    let waits = [
        ("wait_seconds", &wait),
        ("wait_mcp_seconds", &wait_mcp),
        ("wait_transaction_seconds", &wait_transaction),
    ];
    for (key, wait) in waits {
        if wait.value > expires.value {
            // The default is nobody's mistake: complain of the line that somebody wrote.
            let place = if wait.place == Place::Default {
                &expires.place
            } else {
                &wait.place
            };
            let (wait, expires) = (wait.value.as_secs(), expires.value.as_secs());
            let message = format!("`{key}` is {wait}, longer than `expires_seconds`, which is {expires}");
            reader.complain(
                place,
                message,
                format!("make `{key}` at most {expires}, or raise `expires_seconds`"),
            );
        }
    }
    Limits {
        connections: count(reader, "connections", 1..=100_000, 1000),
        held_per_principal: count(reader, "held_per_principal", 1..=10_000, 20),
        login: seconds(reader, "login_seconds", 10).value,
        wait: wait.value,
        wait_mcp: wait_mcp.value,
        wait_transaction: wait_transaction.value,
        expires: expires.value,
        grant: seconds(reader, "grant_seconds", 1800).value,
        standing: read_standing(reader),
        session_buffer_bytes: count(reader, "session_buffer_bytes", 2 << 20..=1 << 30, 4 << 20),
    }
}

fn read_standing(reader: &mut Reader) -> desk::StandingLimits {
    let default = desk::StandingLimits::default();
    let count = |reader: &mut Reader, key: &str, range, default: u32| {
        let found = reader.integer(&format!("limits.{key}"), range);
        found.map_or(default, |found| u32::try_from(found.value).unwrap_or(default))
    };
    desk::StandingLimits {
        minutes_max: count(reader, "standing_grant_minutes", 0..=1440, default.minutes_max),
        uses_max: count(reader, "standing_grant_uses", 0..=10_000, default.uses_max),
        per_principal_max: count(
            reader,
            "standing_grants_per_principal",
            1..=1000,
            default.per_principal_max,
        ),
    }
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
