//! The end of the log as it grows, as rows for the log's page. Never loses a record between the page and its news, nor
//! when a browser comes back: each row says where it stands. Read `log.rs` next.

use std::convert::Infallible;

use axum::extract::{Query as Params, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt as _};
use serde::Deserialize;

use super::page::Visitor;
use super::record_list::{RecordShown, ask};
use super::sessions::look;
use crate::api::Rooms;
use crate::api::events::{HEARTBEAT, STREAM_LIFE};
use crate::api::problem::Problem;
use crate::api::trail::{batches, unreadable};
use crate::audit::{Record, RecordId};
use crate::clock::Timestamp;
use crate::identity::directory::Scope;
use crate::journal::{LogFilter, Order, TailFrom, query, read};

/// Records that came between a page and its news and are told behind it; more are found by loading the page again.
const MISSED_MAX: usize = 200;
/// Segments read for them.
const MISSED_SEGMENTS_MAX: usize = 8;

#[derive(Debug, Default, Deserialize)]
pub struct FollowQuery {
    #[serde(default)]
    q: String,
    /// The newest record that is known already, as a cursor.
    #[serde(default)]
    after: String,
}

/// One look at the log, however long it lasts; a browser that comes back later looks again.
pub async fn follow(
    visitor: Visitor,
    State(rooms): State<Rooms>,
    headers: HeaderMap,
    Params(asked): Params<FollowQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    visitor.caller.needs(Scope::Log)?;
    let query = query::parse(&asked.q).map_err(unreadable)?;
    look(&visitor, &rooms, format!("follow {}", query)).await?;
    let filter = query.filter(Timestamp::now());
    let tailed = filter.clone();
    let tail = ask(&rooms, move |reader| reader.tail(TailFrom::End, tailed)).await?;
    // Read once the end is held fast, so that nothing falls between; what is in both is told once.
    let known = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let known = known.unwrap_or(&asked.after).to_owned();
    let (missed, is_more) = match known.is_empty() {
        true => (Vec::new(), false),
        false => missed(&rooms, filter, known).await?,
    };
    let told: Vec<RecordId> = missed.iter().filter_map(|record| record.id).collect();
    let first = stream::iter(is_more.then(|| Event::default().event("missed").data("more")));
    let rest = batches(tail).flat_map(stream::iter);
    let rest = rest.filter(move |record| {
        let is_new = record.id.is_none_or(|id| !told.contains(&id));
        async move { is_new }
    });
    let records = stream::iter(missed).chain(rest).map(|record| event(&record));
    let events = first.chain(records).map(Ok);
    let events = Box::pin(events).take_until(Box::pin(tokio::time::sleep(STREAM_LIFE)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

/// What came behind a cursor, oldest first, and whether that is not all of it.
async fn missed(rooms: &Rooms, filter: LogFilter, after: String) -> Result<(Vec<Record>, bool), Problem> {
    let filter = LogFilter {
        order: Order::OldestFirst,
        cursor: Some(after),
        limit: MISSED_MAX,
        segments_max: Some(MISSED_SEGMENTS_MAX),
        ..filter
    };
    let page = ask(rooms, move |reader| reader.query(&filter)).await?;
    Ok((page.records, page.next_cursor.is_some()))
}

fn event(record: &Record) -> Event {
    let row = RecordShown::of(record, Timestamp::now());
    let data = serde_json::to_string(&row).expect("a row is a map with text keys");
    let event = Event::default().event("record").data(data);
    match read::cursor_at(record) {
        Some(cursor) => event.id(cursor),
        None => event,
    }
}
