//! Log lines and metrics: where they go, what they are called. Never holds statement text, parameters or secrets:
//! labels are words of our own, chosen by the caller from closed sets. Read `api/health.rs` for how metrics are served.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tracing::Level;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub level: Level,
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// Sends log lines to stderr. Only the first call of a process counts, so that tests and the demo may start twice.
pub fn start(settings: &Settings) {
    use std::io::IsTerminal;
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = tracing_subscriber::fmt()
        .with_max_level(settings.level)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(!is_plain && std::io::stderr().is_terminal());
    // The only error is that a subscriber stands already: it was ours.
    let _first = match settings.format {
        Format::Text => tracing::subscriber::set_global_default(lines.finish()),
        Format::Json => tracing::subscriber::set_global_default(lines.json().finish()),
    };
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StatementLabels {
    pub class: &'static str,
    pub verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DecisionLabels {
    pub decision: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NotificationLabels {
    /// As the settings name it.
    pub channel: String,
    pub outcome: &'static str,
}

/// The numbers of one running proxy. A clone counts the same numbers; counting takes no lock that others wait for.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Client connections that are logged in now.
    pub sessions_active: Gauge,
    /// Client connections that have logged in.
    pub sessions: Counter,
    /// Statements judged, by class and verdict (`allow`, `hold`, `deny`).
    pub statements: Family<StatementLabels, Counter>,
    /// Statements refused without a person, by reason (`rule`, `unreadable`, `limit`, `log`, `stopping`).
    pub refused: Family<RefusalLabels, Counter>,
    /// Clients that wait for a person now.
    pub held: Gauge,
    /// From hold to decision.
    pub wait_seconds: Histogram,
    /// What people decided (`approve`, `deny`), and `expire`.
    pub decisions: Family<DecisionLabels, Counter>,
    /// Messages to people by channel and outcome (`delivered`, `failed`, `given_up`, `gone`, `dropped`).
    pub notifications: Family<NotificationLabels, Counter>,
    /// Appends or syncs of the journal that failed.
    pub journal_errors: Counter,
    /// Since the oldest catalog in use was last seen to be right.
    pub catalog_age: Gauge<f64, AtomicU64>,
    /// Catalogs in use by which nothing can be judged now.
    pub catalogs_stale: Gauge,
    /// Records of the log that no anchor holds a checkpoint over; without anchors all of them.
    pub unanchored_records: Gauge,
    /// Reviews of what one person approved alone that nobody has signed yet.
    pub open_reviews: Gauge,
    /// When the log's last checkpoint was signed, in seconds since 1970; 0 before the first.
    pub last_checkpoint: Gauge,
    /// Records of the log that are gone by retention.
    pub pruned_records: Gauge,
    /// Of the oldest record that is kept, in seconds since 1970.
    pub oldest_record: Gauge,
    registry: Arc<Registry>,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("countersign");
        let sessions_active = Gauge::default();
        let sessions = Counter::default();
        let statements = Family::<StatementLabels, Counter>::default();
        let refused = Family::<RefusalLabels, Counter>::default();
        let held = Gauge::default();
        let wait_seconds = Histogram::new(WAIT_SECONDS_BUCKETS);
        let decisions = Family::<DecisionLabels, Counter>::default();
        let notifications = Family::<NotificationLabels, Counter>::default();
        let journal_errors = Counter::default();
        let catalog_age = Gauge::<f64, AtomicU64>::default();
        let catalogs_stale = Gauge::default();
        let unanchored_records = Gauge::default();
        let last_checkpoint = Gauge::default();
        let open_reviews = Gauge::default();
        let (pruned_records, oldest_record) = (Gauge::default(), Gauge::default());
        registry.register(
            "pruned_records",
            "Records of the log that are gone by retention",
            pruned_records.clone(),
        );
        registry.register_with_unit(
            "oldest_record_timestamp",
            "When the oldest record that the log keeps was written",
            Unit::Seconds,
            oldest_record.clone(),
        );
        registry.register(
            "open_reviews",
            "Reviews of what one person approved alone that nobody has signed yet",
            open_reviews.clone(),
        );
        registry.register(
            "unanchored_records",
            "Records of the log that no anchor holds a checkpoint over",
            unanchored_records.clone(),
        );
        registry.register_with_unit(
            "last_checkpoint_timestamp",
            "When the log's last checkpoint was signed",
            Unit::Seconds,
            last_checkpoint.clone(),
        );
        registry.register_with_unit(
            "catalog_age",
            "Since the oldest catalog in use was last seen to be right",
            Unit::Seconds,
            catalog_age.clone(),
        );
        registry.register(
            "catalogs_stale",
            "Catalogs in use by which nothing can be judged now",
            catalogs_stale.clone(),
        );
        registry.register(
            "build",
            "Version of this binary",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register(
            "sessions_active",
            "Clients logged in now",
            sessions_active.clone(),
        );
        registry.register("sessions", "Clients that have logged in", sessions.clone());
        registry.register(
            "statements",
            "Statements judged, by class and verdict",
            statements.clone(),
        );
        registry.register(
            "refused",
            "Statements refused without a person, by reason",
            refused.clone(),
        );
        registry.register("held", "Clients that wait for a person now", held.clone());
        registry.register_with_unit(
            "wait",
            "From hold to decision",
            Unit::Seconds,
            wait_seconds.clone(),
        );
        registry.register(
            "notifications",
            "Messages to people, by channel and outcome",
            notifications.clone(),
        );
        registry.register("decisions", "Decisions on held statements", decisions.clone());
        registry.register(
            "journal_errors",
            "Failed writes of the log",
            journal_errors.clone(),
        );
        Self {
            sessions_active,
            sessions,
            statements,
            refused,
            held,
            wait_seconds,
            decisions,
            notifications,
            journal_errors,
            catalog_age,
            catalogs_stale,
            unanchored_records,
            last_checkpoint,
            open_reviews,
            pruned_records,
            oldest_record,
            registry: Arc::new(registry),
        }
    }

    pub fn count_statement(&self, class: &'static str, verdict: &'static str) {
        self.statements
            .get_or_create(&StatementLabels { class, verdict })
            .inc();
    }

    pub fn count_refusal(&self, reason: &'static str) {
        self.refused.get_or_create(&RefusalLabels { reason }).inc();
    }

    /// How many statements were refused for this reason since the start.
    pub fn refusals(&self, reason: &'static str) -> u64 {
        let counter = self.refused.get(&RefusalLabels { reason });
        counter.map_or(0, |counter| counter.get())
    }

    pub fn count_decision(&self, decision: &'static str, waited: Duration) {
        self.decisions.get_or_create(&DecisionLabels { decision }).inc();
        self.wait_seconds.observe(waited.as_secs_f64());
    }

    pub fn count_notification(&self, channel: &str, outcome: &'static str) {
        let labels = NotificationLabels {
            channel: channel.to_owned(),
            outcome,
        };
        self.notifications.get_or_create(&labels).inc();
    }

    /// All of it in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail; a metric that could not be written is left out.
        let _written = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// From "somebody was looking" to "the next working day".
const WAIT_SECONDS_BUCKETS: [f64; 12] = [
    1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 86_400.0,
];
