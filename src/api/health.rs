//! Whether it lives, whether it is ready, what it counts, and what the API looks like. Never needs a token, never
//! tells a cause: those are in the log. Read `telemetry.rs` for the metrics.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Rooms;

/// How long a look at the upstream counts, so that probes do not become its load.
const UPSTREAM_LOOK_LIFE: Duration = Duration::from_secs(5);
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(2);

/// `ok` or `failing`, for each part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    pub status: String,
    pub checks: BTreeMap<String, String>,
}

/// A server behind the proxy, as `/readyz` tries to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// What its check is called: the section of the settings that names it.
    pub check: &'static str,
    pub host: String,
    pub port: u16,
}

/// What is known of the servers behind the proxy.
pub struct Readiness {
    upstreams: Vec<Watched>,
}

struct Watched {
    upstream: Upstream,
    last: Mutex<Option<(Instant, bool)>>,
}

impl Readiness {
    pub fn new(upstreams: Vec<Upstream>) -> Self {
        let watched = |upstream| Watched {
            upstream,
            last: Mutex::new(None),
        };
        Self {
            upstreams: upstreams.into_iter().map(watched).collect(),
        }
    }

    /// Whether each takes connections.
    async fn answers(&self) -> Vec<(&'static str, bool)> {
        let looks = self
            .upstreams
            .iter()
            .map(async |watched| (watched.upstream.check, watched.answers().await));
        futures_util::future::join_all(looks).await
    }
}

impl Watched {
    async fn answers(&self) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, answers)) = last
            && at.elapsed() < UPSTREAM_LOOK_LIFE
        {
            return answers;
        }
        let dial = tokio::net::TcpStream::connect((self.upstream.host.as_str(), self.upstream.port));
        let dialled = tokio::time::timeout(UPSTREAM_TIMEOUT, dial).await;
        let answers = dialled.is_ok_and(|stream| stream.is_ok());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), answers));
        answers
    }
}

/// The process runs and its API answers.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, body = Health)))]
pub async fn livez() -> Json<Health> {
    Json(Health {
        status: "ok".to_owned(),
        checks: BTreeMap::new(),
    })
}

/// Statements can be taken: the log can be written, the store read, every server behind the proxy reached.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    responses((status = 200, body = Health), (status = 503, body = Health))
)]
pub async fn readyz(State(rooms): State<Rooms>) -> (StatusCode, Json<Health>) {
    let mut parts = vec![
        ("journal", rooms.journal.is_healthy()),
        ("store", rooms.desk.people().await.is_ok()),
    ];
    parts.extend(rooms.readiness.answers().await);
    let is_ready = parts.iter().all(|(_, is_well)| *is_well);
    // A proxy that cannot read the catalog is ready all the same: it holds what it does not know, as any other would.
    parts.extend(rooms.catalogs.are_read().map(|are_read| ("catalog", are_read)));
    let word = |is_well: bool| if is_well { "ok" } else { "failing" }.to_owned();
    let checks = parts
        .into_iter()
        .map(|(name, is_well)| (name.to_owned(), word(is_well)))
        .collect();
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(Health {
            status: word(is_ready),
            checks,
        }),
    )
}

/// Counts, in the OpenMetrics text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses((status = 200, body = String, content_type = "application/openmetrics-text"))
)]
pub async fn metrics(State(rooms): State<Rooms>) -> Response {
    if rooms.catalogs.are_configured() {
        let reports = rooms.catalogs.reports();
        let used = reports.iter().filter(|report| !report.is_asleep);
        let age = used.clone().filter_map(|report| report.age).max();
        let stale = used.filter(|report| !report.is_read).count();
        rooms
            .metrics
            .catalog_age
            .set(age.unwrap_or_default().as_secs_f64());
        rooms
            .metrics
            .catalogs_stale
            .set(i64::try_from(stale).unwrap_or(i64::MAX));
    }
    // Where the store cannot be read, the number stays as it was; /readyz tells of the store.
    if let Ok(open) = rooms.desk.open_reviews().await {
        rooms
            .metrics
            .open_reviews
            .set(i64::try_from(open).unwrap_or(i64::MAX));
    }
    let tree = rooms.journal.tree();
    let unanchored = tree.records.saturating_sub(tree.anchored);
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    rooms.metrics.unanchored_records.set(number(unanchored));
    let signed = tree.signed.map_or(0, |(_, time)| time.micros() / 1_000_000);
    rooms.metrics.last_checkpoint.set(signed);
    rooms.metrics.pruned_records.set(number(tree.pruned));
    let oldest = tree.oldest.map_or(0, |time| time.micros() / 1_000_000);
    rooms.metrics.oldest_record.set(oldest);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], rooms.metrics.text()).into_response()
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "health",
    responses((status = 200, body = serde_json::Value))
)]
pub async fn openapi() -> Response {
    static DOCUMENT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        let document = super::document::finish(super::routes().to_openapi());
        document
            .to_json()
            .expect("the document is made of texts and maps")
    });
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}
