//! The log for people and tools: query, follow, show. Never writes a statement's record; each look is itself recorded,
//! and refused if it cannot be. Read `journal/read.rs` for how records are found.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt as _};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Rooms;
use super::card::CLASS_WORDS;
use super::events::{HEARTBEAT, STREAM_LIFE};
use super::login::Caller;
use super::problem::{self, Problem, ProblemDocument};
use super::read::{Named, Params, grant_filter, moment, request_filter, unacceptable, word};
use super::requests::{Page, desk_problem, limit};
use crate::audit::{Kind, Record, RecordId};
use crate::clock::Timestamp;
use crate::identity::directory::Scope;
use crate::identity::principal::SessionId;
use crate::journal::{JournalError, LogFilter, Order, Tail, TailFrom};

/// Records on one page.
const PAGE_MAX: usize = 1000;
/// How often the end of the log is looked at for whoever follows it.
const TAIL_INTERVAL: Duration = Duration::from_millis(300);
/// Records that one look may bring.
const TAIL_BATCH_MAX: usize = 200;

/// Which records.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// From this moment on: RFC 3339, or how long ago (`30m`, `7d`).
    pub since: Option<String>,
    /// Up to this moment, without it.
    pub until: Option<String>,
    pub principal: Option<String>,
    pub class: Option<String>,
    /// `allow`, `hold` or `deny`.
    pub verdict: Option<String>,
    /// `schema.name`, or `name` for that table in any schema.
    pub table: Option<String>,
    pub approver: Option<String>,
    /// A request's id.
    pub request: Option<String>,
    /// A standing grant's id: what happened to it, and the statements that ran by it.
    pub grant: Option<String>,
    pub session: Option<String>,
    /// `attempt`, `outcome`, `decision`, `login`, `session_start` …
    pub kind: Option<String>,
    /// `newest` (first, the default) or `oldest`.
    pub order: Option<String>,
    /// Records on one page, 1 to 1000; 100 without it.
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl LogQuery {
    /// The filter that it means.
    pub fn filter(self, now: Timestamp) -> Result<LogFilter, Problem> {
        let at = |name, text: Option<String>| text.map(|text| moment(name, &text, now)).transpose();
        if let Some(class) = &self.class {
            word("class", class, &CLASS_WORDS)?;
        }
        if let Some(verdict) = &self.verdict {
            word("verdict", verdict, &["allow", "hold", "deny"])?;
        }
        let session = |text: String| {
            SessionId::parse(&text)
                .ok_or_else(|| unacceptable("session", &text, "write its 13 letters and digits"))
        };
        let kind = |text: String| {
            let words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
            Kind::parse(&text)
                .ok_or_else(|| unacceptable("kind", &text, format!("write one of: {}", words.join(", "))))
        };
        let order = match word(
            "order",
            self.order.as_deref().unwrap_or("newest"),
            &["newest", "oldest"],
        )? {
            "oldest" => Order::OldestFirst,
            _newest => Order::NewestFirst,
        };
        Ok(LogFilter {
            since: at("since", self.since)?,
            until: at("until", self.until)?,
            principal: self.principal,
            class: self.class,
            verdict: self.verdict,
            table: self.table,
            approver: self.approver,
            request: self
                .request
                .map(|id| request_filter("request", &id))
                .transpose()?
                .map(|id| id.to_string()),
            grant: self
                .grant
                .map(|id| grant_filter("grant", &id))
                .transpose()?
                .map(|id| id.to_string()),
            session: self.session.map(session).transpose()?,
            kind: self.kind.map(kind).transpose()?,
            order,
            limit: limit(self.limit, 100, PAGE_MAX)?,
            cursor: self.cursor,
            ..LogFilter::default()
        })
    }
}

/// Records of the log. The look itself is recorded first.
#[utoipa::path(
    get,
    path = "/log",
    tag = "log",
    params(LogQuery),
    responses(
        (status = 200, body = Page<serde_json::Value>),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn query(
    caller: Caller,
    State(rooms): State<Rooms>,
    RawQuery(raw): RawQuery,
    Params(query): Params<LogQuery>,
) -> Result<Json<Page<Record>>, Problem> {
    caller.needs(Scope::Log)?;
    let filter = query.filter(Timestamp::now())?;
    record_look(&caller, &rooms, format!("query {}", raw.unwrap_or_default())).await?;
    let reader = rooms.reader.clone();
    let page = blocking(move || reader.query(&filter)).await?;
    Ok(Json(Page {
        items: page.records,
        next_cursor: page.next_cursor,
    }))
}

/// One record, with its statement.
#[utoipa::path(
    get,
    path = "/log/{id}",
    tag = "log",
    params(("id" = String, Path, description = "lane and number of the record, such as 0.42")),
    responses(
        (status = 200, body = serde_json::Value),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn show(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(id): Named,
) -> Result<Json<Record>, Problem> {
    caller.needs(Scope::Log)?;
    let record_id = RecordId::parse(&id).ok_or_else(|| Problem::not_found("record", &id))?;
    record_look(&caller, &rooms, format!("show {record_id}")).await?;
    let reader = rooms.reader.clone();
    let record = blocking(move || reader.show(record_id)).await?;
    record.map(Json).ok_or_else(|| Problem::not_found("record", &id))
}

/// Records as they come, oldest first. `order`, `limit` and `cursor` do not count.
#[utoipa::path(
    get,
    path = "/log/tail",
    tag = "log",
    params(LogQuery),
    responses(
        (status = 200, body = serde_json::Value, content_type = "text/event-stream"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn tail(
    caller: Caller,
    State(rooms): State<Rooms>,
    RawQuery(raw): RawQuery,
    Params(query): Params<LogQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    caller.needs(Scope::Log)?;
    let filter = query.filter(Timestamp::now())?;
    record_look(&caller, &rooms, format!("tail {}", raw.unwrap_or_default())).await?;
    let reader = rooms.reader.clone();
    let tail = blocking(move || reader.tail(TailFrom::End, filter)).await?;
    let batches = stream::unfold(Some(tail), |tail| async {
        let (records, tail) = next_batch(tail?).await?;
        Some((records, Some(tail)))
    });
    let events = batches.flat_map(|records| {
        stream::iter(records).map(|record| {
            let data = serde_json::to_string(&record).expect("a record is a map with text keys");
            Ok(Event::default().event("record").data(data))
        })
    });
    let events = Box::pin(events).take_until(Box::pin(tokio::time::sleep(STREAM_LIFE)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

/// What comes next, however long that takes; `None` when the log can no longer be read.
async fn next_batch(mut tail: Tail) -> Option<(Vec<Record>, Tail)> {
    loop {
        let (records, back) = tokio::task::spawn_blocking(move || (tail.next_batch(TAIL_BATCH_MAX), tail))
            .await
            .ok()?;
        tail = back;
        match records {
            Ok(records) if records.is_empty() => tokio::time::sleep(TAIL_INTERVAL).await,
            Ok(records) => return Some((records, tail)),
            Err(error) => {
                tracing::error!(%error, "the log cannot be followed");
                return None;
            }
        }
    }
}

pub(super) async fn record_look(caller: &Caller, rooms: &Rooms, what: String) -> Result<(), Problem> {
    rooms
        .desk
        .record_log_query(caller.person.name.clone(), what)
        .await
        .map_err(desk_problem)
}

/// Reads the disk apart from the thread that serves.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error @ JournalError::Cursor { .. })) => Err(Problem::new(
            problem::Kind::Unacceptable,
            error.to_string(),
            error.next_step(),
        )),
        Ok(Err(error)) => Err(Problem::unavailable(&error)),
        Err(error) => Err(Problem::unavailable(&error)),
    }
}
