//! Builds every room once and joins them; the only place that knows all. Never holds logic of a room.
//! Read `proxy/mod.rs` and `api/mod.rs` for the two listeners.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::exit::{CliError, Exit};
use super::label_names::{Known, tell_not_found};
use super::open_catalogs::{Opened, Watched};
use super::output::Output;
use super::{SettingsArgs, make_private};
use crate::api::{self, Api, Rooms};
use crate::catalog::trusted::{Spelling, Trusted};
use crate::config::reader::Override;
use crate::config::{Config, Front, MYSQL, POSTGRES, RulesFile, Sections};
use crate::desk::{Desk, DeskError};
use crate::journal::{self, Journal, JournalError, OnLoss};
use crate::notify::{self, Notifier};
use crate::policy::{ColumnLabels, RuleSet};
use crate::proxy::{self, ProxyHandle};
use crate::store::sqlite::Store;
use crate::tables::{self, Tables};
use crate::telemetry::{self, Metrics};
use crate::web;

/// A session has a socket to its client and one to the server.
const FILES_PER_SESSION: u64 = 2;

/// Listeners, store, log, API connections.
const FILES_BESIDES: u64 = 256;

/// Of the reason to go on after a loss: a sentence or two.
const REASON_CHARS_MAX: usize = 400;

/// How long running API calls have at a stop.
const API_GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Where agents of PostgreSQL connect
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where agents of MySQL and MariaDB connect
    #[arg(long, value_name = "ADDRESS:PORT")]
    mysql_listen: Option<String>,
    /// Where people decide
    #[arg(long, value_name = "ADDRESS:PORT")]
    api_listen: Option<String>,
    /// Where auditors read the log by SQL
    #[arg(long, value_name = "ADDRESS:PORT")]
    log_sql_listen: Option<String>,
    /// default, strict, observe or a file
    #[arg(long, value_name = "FILE")]
    rules: Option<String>,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Go on with a log that was cut or changed, once you have found out how; the reason goes into the log
    #[arg(long, value_name = "REASON", value_parser = parse_reason)]
    accept_loss: Option<String>,
}

/// A reason is for people who read the log later: some words, on one line.
fn parse_reason(text: &str) -> Result<String, String> {
    let is_line = !text.contains(char::is_control);
    if is_line && (1..=REASON_CHARS_MAX).contains(&text.trim().chars().count()) {
        Ok(text.trim().to_owned())
    } else {
        Err(format!("write 1 to {REASON_CHARS_MAX} letters on one line"))
    }
}

/// A proxy with its API, running in this process.
pub struct Running {
    /// Where agents of PostgreSQL connect; `None`: it is not served.
    pub proxy_address: Option<SocketAddr>,
    /// The same for MySQL and MariaDB.
    pub mysql_address: Option<SocketAddr>,
    pub api_address: SocketAddr,
    /// Where auditors read the log by SQL; `None`: nowhere.
    pub log_sql_address: Option<SocketAddr>,
    pub desk: Desk,
    rules: Arc<ArcSwap<RuleSet>>,
    labels: Arc<ArcSwap<ColumnLabels>>,
    labels_file: Option<PathBuf>,
    rules_file: RulesFile,
    watched: Watched,
    notifier: Notifier,
    api: Api,
    tables: Option<Tables>,
    proxy: ProxyHandle,
}

/// Starts everything on the current runtime, which becomes the control thread's.
pub async fn start(config: Config) -> Result<Running, CliError> {
    start_after(config, OnLoss::Refuse).await
}

/// Like `start`, and says what to do with a log that was cut or changed.
pub async fn start_after(config: Config, on_loss: OnLoss) -> Result<Running, CliError> {
    telemetry::start(&config.log);
    config.warnings.iter().for_each(|warning| warn!("{warning}"));
    if config.fronts().next().is_none() {
        return Err(CliError::error(
            "the settings name no database user",
            "add [[upstream.users]] with `name` and `password_file`, or [[mysql.upstream.users]]",
        ));
    }
    allow_files(config.limits.connections as u64);
    let rules = open_rules(&config.rules)?;
    let labels = open_labels(config.labels.as_deref())?;
    let proxy_settings = config.proxy()?;
    let notify = config
        .notify()
        .map_err(|error| CliError::error(&error, error.next_step()))?;
    let catalogs = Opened::of(&config)?;
    make_private(&config.data_dir)?;
    let journal = journal::Settings {
        on_loss,
        ..config.journal()
    };
    let journal = Journal::open(journal).map_err(journal_error)?;
    let store =
        Store::open(&config.store_file()).map_err(|error| CliError::error(&error, error.next_step()))?;
    let desk = Desk::start(store, journal.clone(), config.desk()).map_err(desk_error)?;
    let judging = Judging {
        rules,
        labels,
        catalogs,
    };
    let joined = join(config, proxy_settings, notify, desk.clone(), journal, judging).await;
    if joined.is_err() {
        desk.stop().await;
    }
    joined
}

/// Lets this process open as many files as it may. Systems start programs with fewer than the default settings need, and
/// a log that cannot open its next segment stops everybody.
fn allow_files(connections: u64) {
    let allowed = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: allowed.maximum,
        maximum: allowed.maximum,
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => allowed.maximum,
        Err(_) => allowed.current,
    };
    let needed = connections * FILES_PER_SESSION + FILES_BESIDES;
    // None is no limit at all.
    if let Some(files) = now.filter(|files| *files < needed) {
        warn!(
            "{connections} connections need {needed} open files, and this process may have {files}: raise its limit (ulimit -Hn, LimitNOFILE) or lower limits.connections"
        );
    }
}

/// What statements are judged by.
struct Judging {
    rules: RuleSet,
    labels: ColumnLabels,
    catalogs: Opened,
}

pub fn open_trusted(file: &Path, spelling: Spelling) -> Result<Trusted, CliError> {
    Trusted::load(file, spelling).map_err(|error| CliError::error(&error, error.next_step()))
}

async fn join(
    config: Config,
    proxy_settings: proxy::Settings,
    notify: notify::Settings,
    desk: Desk,
    journal: Journal,
    judging: Judging,
) -> Result<Running, CliError> {
    let Judging {
        rules,
        labels,
        catalogs,
    } = judging;
    record_rules(&desk, &rules, "serve").await?;
    record_labels(&desk, &labels, "serve").await?;
    let labels = Arc::new(ArcSwap::from_pointee(labels));
    let watched = catalogs.begin(&desk, &config).await?;
    tell_not_found(&labels, &watched.catalogs, Known::Soon);
    let rules = Arc::new(ArcSwap::from_pointee(rules));
    let metrics = Metrics::new();
    let upstreams = upstreams(&config);
    let rooms = Rooms::new(desk.clone(), journal.clone(), metrics.clone(), upstreams);
    let notifier = Notifier::start(desk.clone(), notify, metrics.clone()).await;
    let notifier = notifier.map_err(desk_error)?;
    let rooms = rooms
        .with_catalogs(watched.catalogs.clone())
        .with_rules(Arc::clone(&rules))
        .with_labels(Arc::clone(&labels))
        .with_notifier(notifier.clone())
        .with_people(config.people.clone());
    let api = api::start_with(&config.api, rooms, web::router())
        .map_err(|error| CliError::error(&error, error.next_step()))?;
    let tables = match &config.log_sql {
        Some(settings) => match tables::start(settings.clone(), desk.clone(), journal.reader()).await {
            Ok(tables) => Some(tables),
            Err(error) => {
                api.stop(Duration::ZERO);
                return Err(CliError::error(&error, error.next_step()));
            }
        },
        None => None,
    };
    let proxy = proxy::start(
        proxy_settings,
        desk.clone(),
        journal,
        Arc::clone(&rules),
        Arc::clone(&labels),
        metrics,
        watched.catalogs.clone(),
    )
    .await;
    let proxy = match proxy {
        Ok(proxy) => proxy,
        Err(error) => {
            if let Some(tables) = &tables {
                tables.stop();
            }
            api.stop(Duration::ZERO);
            return Err(CliError::error(&error, error.next_step()));
        }
    };
    let api_address = api.local_addr;
    let log_sql_address = tables.as_ref().map(|tables| tables.local_addr);
    let (proxy_address, mysql_address) = (proxy.postgres_addr, proxy.mysql_addr);
    let agents = [(proxy_address, "PostgreSQL"), (mysql_address, "MySQL")];
    let agents = agents
        .iter()
        .filter_map(|(address, name)| Some(format!("{} ({name})", (*address)?)));
    let agents = agents.collect::<Vec<_>>().join(" and ");
    info!(%api_address, "ready: agents connect to {agents}, people to {api_address}");
    Ok(Running {
        proxy_address,
        mysql_address,
        api_address,
        log_sql_address,
        desk,
        rules,
        rules_file: config.rules,
        labels,
        labels_file: config.labels,
        watched,
        notifier,
        api,
        tables,
        proxy,
    })
}

impl Running {
    /// Reads rules, trusted functions and certificates again. What is broken changes nothing, and is said in the log.
    pub async fn reload(&self, by: &str) {
        self.watched.reload_trusted(&self.desk, by).await;
        self.reload_labels(by).await;
        match self.reload_rules(by).await {
            Ok(file) => info!("rules `{file}` are in force"),
            Err(error) => {
                error!(
                    next_step = error.next_step,
                    "the old rules stay in force: {error}"
                );
                let file = self.rules.load().file.clone();
                let rejected = self
                    .desk
                    .record_rules_rejected(file, error.to_string(), by.to_owned())
                    .await;
                if let Err(error) = rejected {
                    error!(%error, "the rejected rules are not in the log");
                }
            }
        }
        for (name, read) in self.notifier.reload() {
            if let Err(error) = read {
                error!(channel.name = name, "`{name}` keeps its old secrets: {error}");
            }
        }
        self.reload_certificates(by).await;
    }

    async fn reload_certificates(&self, by: &str) {
        let told = |read: Result<(), CliError>, what: &str| {
            read.map_err(|error| {
                error!(next_step = error.next_step, "{what}: {error}");
                error.to_string()
            })
        };
        let api = self.api.reload_certificate().map(|read| {
            let read = read.map_err(|error| CliError::error(&error, error.next_step()));
            ("api", told(read, "the API keeps its old certificate"))
        });
        let log_sql = self
            .tables
            .as_ref()
            .and_then(Tables::reload_certificate)
            .map(|read| {
                let read = read.map_err(|error| CliError::error(&error, error.next_step()));
                (
                    "log_sql",
                    told(read, "queries of the log keep their old certificate"),
                )
            });
        let listeners = self.proxy.reload_certificates().into_iter().map(|(name, read)| {
            let read = read.map_err(|error| CliError::error(&error, error.next_step()));
            let what = format!("the proxy keeps its old certificate towards clients of {name}");
            (sections(name).listen, told(read, &what))
        });
        let listeners: Vec<_> = listeners.collect();
        let upstreams = self
            .proxy
            .reload_upstream_authorities()
            .into_iter()
            .map(|(name, read)| {
                let read = read.map_err(|error| CliError::error(&error, error.next_step()));
                let what = format!("the {name} server is verified against the old authority");
                (sections(name).upstream, told(read, &what))
            });
        let upstreams: Vec<_> = upstreams.collect();
        for (section, _) in upstreams.iter().filter(|(_, read)| read.is_ok()) {
            for sections in [&POSTGRES, &MYSQL] {
                if sections.upstream == *section {
                    self.watched.renew_tls(sections);
                }
            }
        }
        let read: Vec<_> = api
            .into_iter()
            .chain(log_sql)
            .chain(listeners)
            .chain(upstreams)
            .collect();
        let all_are_good = read.iter().all(|(_, read)| read.is_ok());
        for (section, read) in read {
            let recorded = self
                .desk
                .record_certificates_change(section, read.err(), by.to_owned())
                .await;
            if let Err(error) = recorded {
                error!(%error, "what became of the certificates is not in the log");
            }
        }
        if all_are_good {
            info!("the certificates are in force");
        }
    }

    async fn reload_labels(&self, by: &str) {
        let Some(path) = &self.labels_file else { return };
        let read = match open_labels(Some(path)) {
            // Recorded first, as rules are.
            Ok(labels) => record_labels(&self.desk, &labels, by).await.map(|()| labels),
            Err(error) => Err(error),
        };
        match read {
            Ok(labels) => {
                info!(
                    "{} entries of labels in `{}` are in force",
                    labels.len(),
                    labels.file
                );
                self.labels.store(Arc::new(labels));
                tell_not_found(&self.labels, &self.watched.catalogs, Known::Before);
            }
            Err(error) => {
                error!(
                    next_step = error.next_step,
                    "the old labels stay in force: {error}"
                );
                let name = path.display().to_string();
                let rejected = self
                    .desk
                    .record_rules_rejected(name, error.to_string(), by.to_owned())
                    .await;
                if let Err(error) = rejected {
                    error!(%error, "the rejected labels are not in the log");
                }
            }
        }
    }

    async fn reload_rules(&self, by: &str) -> Result<String, CliError> {
        let rules = open_rules(&self.rules_file)?;
        let file = rules.file.clone();
        // Recorded first: rules that the log does not know must not be in force.
        record_rules(&self.desk, &rules, by).await?;
        self.rules.store(Arc::new(rules));
        Ok(file)
    }

    /// Sessions are told that the proxy stops, what waits is detached, the log is written to its end.
    pub async fn stop(self) {
        info!("stopping");
        if let Some(tables) = &self.tables {
            tables.stop();
        }
        self.proxy.shutdown().await;
        self.desk.stop().await;
        self.api.stop(API_GRACE);
    }
}

pub fn open_rules(file: &RulesFile) -> Result<RuleSet, CliError> {
    let rules = match file {
        RulesFile::Shipped(name) => RuleSet::open(name),
        RulesFile::File(path) => RuleSet::load(path),
    };
    rules.map_err(|error| CliError::error(&error, error.next_step.clone()))
}

/// Without a file nothing is labelled.
pub fn open_labels(file: Option<&Path>) -> Result<ColumnLabels, CliError> {
    let labels = file.map_or(Ok(ColumnLabels::default()), ColumnLabels::load);
    labels.map_err(|error| CliError::error(&error, error.next_step.clone()))
}

/// By the digest of their file, as lists of trusted functions are.
async fn record_labels(desk: &Desk, labels: &ColumnLabels, by: &str) -> Result<(), CliError> {
    if labels.is_empty() {
        return Ok(());
    }
    let recorded = desk
        .record_rules_change(labels.file.clone(), labels.generation, "".into(), by.to_owned())
        .await;
    recorded.map_err(desk_error)
}

async fn record_rules(desk: &Desk, rules: &RuleSet, by: &str) -> Result<(), CliError> {
    let recorded = desk
        .record_rules_change(
            rules.file.clone(),
            rules.generation,
            Arc::clone(&rules.text),
            by.to_owned(),
        )
        .await;
    recorded.map_err(desk_error)
}

/// The servers behind the proxy.
fn upstreams(config: &Config) -> Vec<api::Upstream> {
    let upstream = |front: &Front| api::Upstream {
        check: front.sections.upstream,
        host: front.upstream.host.clone(),
        port: front.upstream.port,
    };
    config.fronts().map(upstream).collect()
}

/// Where the settings speak of a protocol, by the name that the proxy gives it.
fn sections(name: &str) -> &'static Sections {
    if name == proxy::MYSQL_NAME {
        &MYSQL
    } else {
        &POSTGRES
    }
}

fn journal_error(error: JournalError) -> CliError {
    CliError::error(&error, error.next_step())
}

pub fn desk_error(error: DeskError) -> CliError {
    let next_step = match error {
        DeskError::AlreadyServed => "stop the other `countersign serve`, or give this one another data_dir",
        DeskError::LogUnavailable | DeskError::StoreUnavailable => {
            "look at the disk and the owner of data_dir"
        }
        DeskError::NotFound | DeskError::BadCursor | DeskError::Stopping => "start it again",
    };
    CliError::error(&error, next_step)
}

/// `serve`: runs until SIGTERM or SIGINT; SIGHUP reloads.
pub async fn run(args: ServeArgs, output: Output) -> Result<Exit, CliError> {
    let mut signals = Signals::listen()?;
    let config = args.settings.load(flags(&args))?;
    let on_loss = match args.accept_loss {
        Some(reason) => OnLoss::Record { reason },
        None => OnLoss::Refuse,
    };
    let running = start_after(config, on_loss).await?;
    if output.is_json() {
        output.json(&serde_json::json!({
            "listen": running.proxy_address,
            "mysql_listen": running.mysql_address,
            "api": running.api_address,
            "log_sql": running.log_sql_address,
        }));
    }
    loop {
        tokio::select! {
            _ = signals.reload.recv() => running.reload("SIGHUP").await,
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
        }
    }
    running.stop().await;
    Ok(Exit::Done)
}

fn flags(args: &ServeArgs) -> Vec<Override> {
    let flags = [
        ("--listen", "listen.address", &args.listen),
        ("--mysql-listen", "mysql.listen.address", &args.mysql_listen),
        ("--api-listen", "api.address", &args.api_listen),
        ("--log-sql-listen", "log_sql.address", &args.log_sql_listen),
        ("--rules", "rules.file", &args.rules),
        ("--log-level", "log.level", &args.log_level),
    ];
    let given = |(flag, path, value): (&str, &str, &Option<String>)| {
        value.clone().map(|value| Override::from_flag(flag, path, value))
    };
    flags.into_iter().filter_map(given).collect()
}

/// Taken before anything is started, so that no signal finds a half-built proxy without an ear.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn listen() -> Result<Self, CliError> {
        let take = |kind| signal(kind).map_err(|error| CliError::error(error, "free some file descriptors"));
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
            reload: take(SignalKind::hangup())?,
        })
    }
}
