//! The log for people and tools: query, count, follow, show. Never writes a statement's record; each look is itself recorded,
//! and refused if it cannot be. Read `journal/read.rs` for how records are found.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Rooms;
use super::events::{HEARTBEAT, STREAM_LIFE};
use super::export::{self, Format};
use super::login::Caller;
use super::problem::{self, Problem, ProblemDocument};
use super::read::{Named, Params, moment, unacceptable, word};
use super::requests::{desk_problem, limit_of};
use super::whole::maybe_whole;
use crate::audit::{Record, RecordId};
use crate::clock::Timestamp;
use crate::identity::directory::Scope;
use crate::journal::query::{self, Clause, Key, QueryError};
use crate::journal::tree::pruned::Gone;
use crate::journal::{
    Around, BUCKETS_MAX, Facets, Histogram, JournalError, LogFilter, Order, Tail, TailFrom,
};

/// Records on one page.
const PAGE_MAX: usize = 1000;
/// Segments read for one page, about 200,000 records: a page comes soon even if hardly anything matches.
const PAGE_SEGMENTS_MAX: usize = 48;
/// Bars of a histogram unless another number is asked for.
const BUCKETS_DEFAULT: usize = 60;
/// Records on each side of one.
const AROUND_DEFAULT: usize = 10;
const AROUND_MAX: usize = 200;
/// How often the end of the log is looked at for whoever follows it.
const TAIL_INTERVAL: Duration = Duration::from_millis(300);
/// Records that one look may bring.
const TAIL_BATCH_MAX: usize = 200;

/// Which records.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// A query in the language of docs/log.md: `class:ddl table:orders since:7d -verdict:allow "drop table"`.
    /// The other parameters narrow it further and mean what its keys mean.
    pub q: Option<String>,
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
    pub database: Option<String>,
    pub rule: Option<String>,
    /// SHA-256 of the token shape, in hex.
    pub fingerprint: Option<String>,
    /// `ran`, `failed`, `refused`, `skipped`, `cancelled`, `unknown`; of a transaction `committed`, `rolled_back`.
    pub outcome: Option<String>,
    /// The client's address, in records of log-ins and sessions.
    pub source: Option<String>,
    /// The person who acted: decided, changed, looked.
    pub by: Option<String>,
    /// What happened to a request, a grant, rules or people: `held`, `approve`, `loaded` …
    pub event: Option<String>,
    /// What the statement holds, in capitals or not.
    pub text: Option<String>,
    /// Bars of a histogram, 1 to 500; 60 without it.
    #[param(minimum = 1, maximum = 500)]
    #[serde(default, deserialize_with = "maybe_whole")]
    pub buckets: Option<usize>,
    /// Of `/log`: all records that match as a file, `csv`, `ndjson`, `json` or `ocsf`; a page without it.
    pub format: Option<String>,
    /// `newest` (first, the default) or `oldest`.
    pub order: Option<String>,
    /// Records on one page, 1 to 1000; 100 without it.
    #[param(minimum = 1, maximum = 1000)]
    #[serde(default, deserialize_with = "maybe_whole")]
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl LogQuery {
    /// The filter that it means.
    pub fn filter(self, now: Timestamp) -> Result<LogFilter, Problem> {
        // Looked at on every route: what only a histogram uses may not be nonsense elsewhere.
        limit_of("buckets", self.buckets, BUCKETS_DEFAULT, BUCKETS_MAX)?;
        let at = |name, text: Option<String>| text.map(|text| moment(name, &text, now)).transpose();
        let order = match word(
            "order",
            self.order.as_deref().unwrap_or("newest"),
            &["newest", "oldest"],
        )? {
            "oldest" => Order::OldestFirst,
            _newest => Order::NewestFirst,
        };
        let mut filter = LogFilter {
            since: at("since", self.since)?,
            until: at("until", self.until)?,
            order,
            limit: limit_of("limit", self.limit, 100, PAGE_MAX)?,
            cursor: self.cursor,
            segments_max: Some(PAGE_SEGMENTS_MAX),
            ..LogFilter::default()
        };
        for (key, value) in [
            (Key::Principal, self.principal),
            (Key::Class, self.class),
            (Key::Verdict, self.verdict),
            (Key::Table, self.table),
            (Key::Approver, self.approver),
            (Key::Request, self.request),
            (Key::Grant, self.grant),
            (Key::Session, self.session),
            (Key::Kind, self.kind),
            (Key::Database, self.database),
            (Key::Rule, self.rule),
            (Key::Fingerprint, self.fingerprint),
            (Key::Outcome, self.outcome),
            (Key::Source, self.source),
            (Key::By, self.by),
            (Key::Event, self.event),
            (Key::Text, self.text),
        ] {
            if let Some(value) = value {
                let clause = Clause::of(key, &value);
                let clause = clause.map_err(|wrong| unacceptable(key.as_str(), &value, wrong.next_step()))?;
                filter.clauses.push(clause);
            }
        }
        if let Some(text) = &self.q {
            query::parse(text).map_err(unreadable)?.narrow(&mut filter, now);
        }
        Ok(filter)
    }
}

/// The problem of a query that cannot be read.
pub fn unreadable(error: QueryError) -> Problem {
    Problem::new(problem::Kind::Unacceptable, error.to_string(), error.next_step())
}

/// One page of records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogPage<T> {
    pub items: Vec<T>,
    /// For the next page; null on the last one.
    pub next_cursor: Option<String>,
    /// The page ends early because so few records match: up to here everything was looked at, and the next page goes
    /// on from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked_to: Option<String>,
    /// What is asked for reaches into records that are gone by retention: when they went, and up to which moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<String>,
}

/// A header of exports that reach into records that are gone by retention, with the words of `gone_words`.
pub const PRUNED_HEADER: &str = "countersign-pruned";

/// What to tell whoever asks for records that are gone.
pub fn gone_words(gone: &Gone) -> String {
    format!("records up to {} were {gone}", gone.newest)
}

/// Records of the log. The look itself is recorded first. With `format`, or `Accept: text/csv` or
/// `application/x-ndjson`, all records that match, streamed as a file; `limit` does not count then.
#[utoipa::path(
    get,
    path = "/log",
    tag = "log",
    params(LogQuery),
    responses(
        (status = 200, content(
            (LogPage<serde_json::Value> = "application/json"),
            (String = "text/csv"),
            (String = "application/x-ndjson"),
        )),
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
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
    Params(query): Params<LogQuery>,
) -> Result<Response, Problem> {
    caller.needs(Scope::Log)?;
    let asked = query.format.clone();
    let format = asked.map(|asked| {
        Format::parse(&asked).ok_or_else(|| {
            unacceptable(
                "format",
                &asked,
                format!("write one of: {}", Format::WORDS.join(", ")),
            )
        })
    });
    let format = format.transpose()?.or_else(|| Format::of_accept(&headers));
    let filter = query.filter(Timestamp::now())?;
    let what = raw.unwrap_or_default();
    let reader = rooms.reader.clone();
    if let Some(format) = format {
        record_look(&caller, &rooms, format!("export {} {what}", format.as_str())).await?;
        let (looked, asked) = (reader.clone(), filter.clone());
        let pruned = blocking(move || looked.pruned_of(&asked)).await?;
        let mut answer = export::answer(reader, filter, format);
        let told = pruned.and_then(|gone| HeaderValue::from_str(&gone_words(&gone)).ok());
        if let Some(told) = told {
            answer.headers_mut().insert(PRUNED_HEADER, told);
        }
        return Ok(answer);
    }
    record_look(&caller, &rooms, format!("query {what}")).await?;
    let page = blocking(move || reader.query(&filter)).await?;
    let page = LogPage {
        items: page.records,
        next_cursor: page.next_cursor,
        looked_to: page.looked_to.map(|moment| moment.to_string()),
        pruned: page.pruned.as_ref().map(gone_words),
    };
    Ok(Json(page).into_response())
}

/// How many records match, over time and by verdict. `order`, `limit` and `cursor` do not count. The look is recorded.
#[utoipa::path(
    get,
    path = "/log/histogram",
    tag = "log",
    params(LogQuery),
    responses(
        (status = 200, body = Histogram),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn histogram(
    caller: Caller,
    State(rooms): State<Rooms>,
    RawQuery(raw): RawQuery,
    Params(query): Params<LogQuery>,
) -> Result<Json<Histogram>, Problem> {
    caller.needs(Scope::Log)?;
    let buckets = limit_of("buckets", query.buckets, BUCKETS_DEFAULT, BUCKETS_MAX)?;
    let filter = summary_filter(query)?;
    record_look(&caller, &rooms, format!("histogram {}", raw.unwrap_or_default())).await?;
    let reader = rooms.reader.clone();
    blocking(move || reader.histogram(&filter, buckets))
        .await
        .map(Json)
}

/// Which values the records that match have. `order`, `limit` and `cursor` do not count. The look is recorded.
#[utoipa::path(
    get,
    path = "/log/facets",
    tag = "log",
    params(LogQuery),
    responses(
        (status = 200, body = Facets),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn facets(
    caller: Caller,
    State(rooms): State<Rooms>,
    RawQuery(raw): RawQuery,
    Params(query): Params<LogQuery>,
) -> Result<Json<Facets>, Problem> {
    caller.needs(Scope::Log)?;
    let filter = summary_filter(query)?;
    record_look(&caller, &rooms, format!("facets {}", raw.unwrap_or_default())).await?;
    let reader = rooms.reader.clone();
    blocking(move || reader.facets(&filter)).await.map(Json)
}

/// The filter of a count, which has no pages.
fn summary_filter(query: LogQuery) -> Result<LogFilter, Problem> {
    let filter = query.filter(Timestamp::now())?;
    Ok(LogFilter {
        order: Order::NewestFirst,
        cursor: None,
        ..filter
    })
}

/// How much around a record.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AroundQuery {
    /// Records on each side, 1 to 200; 10 without it.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, deserialize_with = "maybe_whole")]
    pub count: Option<usize>,
    /// Of its session alone.
    pub same_session: Option<bool>,
}

/// The records before and after one, oldest first, with itself between them. The look is recorded.
#[utoipa::path(
    get,
    path = "/log/{id}/around",
    tag = "log",
    params(("id" = String, Path, description = "lane and number of the record, such as 0.42"), AroundQuery),
    responses(
        (status = 200, body = LogPage<serde_json::Value>),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn around(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(id): Named,
    Params(query): Params<AroundQuery>,
) -> Result<Json<LogPage<Record>>, Problem> {
    caller.needs(Scope::Log)?;
    let record_id = RecordId::parse(&id).ok_or_else(|| Problem::not_found("record", &id))?;
    let count = limit_of("count", query.count, AROUND_DEFAULT, AROUND_MAX)?;
    let whose = match query.same_session {
        Some(true) => Around::Session,
        Some(false) | None => Around::Everybody,
    };
    record_look(&caller, &rooms, format!("around {record_id}")).await?;
    let reader = rooms.reader.clone();
    let items = blocking(move || reader.around(record_id, count, whose)).await?;
    if items.is_empty() {
        return Err(Problem::not_found("record", &id));
    }
    Ok(Json(LogPage {
        items,
        next_cursor: None,
        looked_to: None,
        pruned: None,
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
    let events = batches(tail).flat_map(|records| {
        stream::iter(records).map(|record| {
            let data = serde_json::to_string(&record).expect("a record is a map with text keys");
            Ok(Event::default().event("record").data(data))
        })
    });
    let events = Box::pin(events).take_until(Box::pin(tokio::time::sleep(STREAM_LIFE)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

/// Records as they come, some at a time; ends when the log can no longer be read.
pub fn batches(tail: Tail) -> impl Stream<Item = Vec<Record>> {
    stream::unfold(Some(tail), |tail| async {
        let (records, tail) = next_batch(tail?).await?;
        Some((records, Some(tail)))
    })
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
        Ok(Err(error @ JournalError::Pruned { .. })) => Err(gone(&error)),
        Ok(Err(error)) => Err(Problem::unavailable(&error)),
        Err(error) => Err(Problem::unavailable(&error)),
    }
}

/// A record that was there, and is not any more.
pub fn gone(error: &JournalError) -> Problem {
    Problem::new(problem::Kind::NotFound, error.to_string(), error.next_step())
}
