//! News of requests and standing grants as server-sent events, with ids to resume from. Never holds a statement: only
//! id and state.
//! Read `trail.rs` for the log itself.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use utoipa::ToSchema;

use super::Rooms;
use super::login::Caller;
use super::problem::{Problem, ProblemDocument};
use crate::desk::{self, DeskEvent, GrantEvent};
use crate::hold::StateKind;
use crate::identity::directory::Scope;
use crate::telemetry::Metrics;

/// News that a client may have missed and still gets; who missed more is told to list again.
const KEPT_MAX: usize = 1024;
/// Proxies in between close what is silent for longer.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream ends then and the client signs in anew, so that a revoked token does not listen for ever.
pub const STREAM_LIFE: Duration = Duration::from_secs(600);

/// A request has moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct News {
    pub request: String,
    pub state: String,
    pub version: u64,
    pub at: String,
    /// Its impact has come; nothing else of it has changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub impact: bool,
    /// Something was said beside it, and what: `viewed`, `comment`, `question`, `reply` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

/// A standing grant was made, used or ended. On the stream as event `grant`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GrantNews {
    pub grant: String,
    /// The request that ran by it, or the one that it was decided in.
    pub request: String,
    /// `open`, `used_up`, `revoked` or `lapsed`.
    pub standing: String,
    pub uses: u32,
    pub uses_max: u32,
    pub at: String,
}

/// Anything that is told.
#[derive(Clone, Debug)]
enum Item {
    Request(News),
    Grant(GrantNews),
}

impl Item {
    fn event(&self) -> Event {
        let (name, data) = match self {
            Self::Request(news) => ("request", serde_json::to_string(news)),
            Self::Grant(news) => ("grant", serde_json::to_string(news)),
        };
        Event::default()
            .event(name)
            .data(data.expect("texts and numbers"))
    }
}

/// News with its number; `None`: some was missed.
type Numbered = Option<(u64, Item)>;

/// What was told lately, and the way to whoever listens.
pub struct Told {
    /// Parts the ids of this process from those of the one before.
    boot: u32,
    kept: Mutex<VecDeque<(u64, Item)>>,
    listeners: broadcast::Sender<(u64, Item)>,
}

impl Told {
    pub fn new() -> Self {
        Self {
            boot: rand::random(),
            kept: Mutex::new(VecDeque::new()),
            listeners: broadcast::Sender::new(KEPT_MAX),
        }
    }

    fn tell(&self, news: Item) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let number = kept.back().map_or(1, |(last, _)| last + 1);
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back((number, news.clone()));
        // Told under the lock, so that a listener who joins meanwhile gets it once. Nobody may be listening.
        let _listeners = self.listeners.send((number, news));
    }

    /// What came after `last`, and all that comes from now on.
    fn since(&self, last: Option<&str>) -> (Vec<Numbered>, broadcast::Receiver<(u64, Item)>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.listeners.subscribe();
        let Some(last) = last else {
            return (Vec::new(), receiver);
        };
        let oldest = kept.front().map_or(1, |(number, _)| *number);
        let newest = kept.back().map_or(0, |(number, _)| *number);
        let missed = match self.number_of(last) {
            Some(number) if number + 1 >= oldest && number <= newest => kept
                .iter()
                .filter(|(told, _)| *told > number)
                .cloned()
                .map(Some)
                .collect(),
            Some(_) | None => vec![None],
        };
        (missed, receiver)
    }

    fn id_of(&self, number: u64) -> String {
        format!("{:08x}-{number}", self.boot)
    }

    fn number_of(&self, id: &str) -> Option<u64> {
        let (boot, number) = id.split_once('-')?;
        (u32::from_str_radix(boot, 16).ok()? == self.boot).then(|| number.parse().ok())?
    }
}

impl Default for Told {
    fn default() -> Self {
        Self::new()
    }
}

/// Passes on what the desk tells, and counts it.
pub async fn gather(told: Arc<Told>, mut desk: broadcast::Receiver<DeskEvent>, metrics: Metrics) {
    let mut waits = Waits::default();
    loop {
        match desk.recv().await {
            Ok(event) => {
                if event.what == desk::Told::Moved {
                    waits.count(&event, &metrics);
                }
                told.tell(Item::Request(News {
                    request: event.request.to_string(),
                    state: event.state.to_string(),
                    version: event.version,
                    at: event.at.to_string(),
                    impact: event.what == desk::Told::Impact,
                    remark: match event.what {
                        desk::Told::Said(kind) => Some(kind.to_string()),
                        desk::Told::Moved | desk::Told::Impact => None,
                    },
                }));
            }
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "events of the desk were missed"),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Passes on what the desk tells of standing grants.
pub async fn gather_grants(told: Arc<Told>, mut desk: broadcast::Receiver<GrantEvent>) {
    loop {
        match desk.recv().await {
            Ok(event) => told.tell(Item::Grant(GrantNews {
                grant: event.grant.to_string(),
                request: event.request.to_string(),
                standing: event.standing.to_string(),
                uses: event.uses,
                uses_max: event.uses_max,
                at: event.at.to_string(),
            })),
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "events of standing grants were missed"),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Which requests wait, and since when.
#[derive(Default)]
struct Waits(std::collections::HashMap<crate::hold::RequestId, crate::clock::Timestamp>);

impl Waits {
    fn count(&mut self, event: &DeskEvent, metrics: &Metrics) {
        let decision = match event.state {
            StateKind::Pending | StateKind::Detached => {
                self.0.entry(event.request).or_insert(event.at);
                None
            }
            StateKind::Approved | StateKind::Grant => Some("approve"),
            StateKind::Denied => Some("deny"),
            StateKind::Expired => Some("expire"),
            StateKind::Withdrawn | StateKind::Stale => {
                self.0.remove(&event.request);
                None
            }
            StateKind::Running
            | StateKind::Finished
            | StateKind::Failed
            | StateKind::OutcomeUnknown
            | StateKind::Redeemed
            | StateKind::Lapsed => None,
        };
        if let (Some(decision), Some(since)) = (decision, self.0.get(&event.request).copied()) {
            self.0.remove(&event.request);
            metrics.count_decision(decision, event.at.since(since));
        }
    }
}

/// News of requests (`request`) and of standing grants (`grant`), as they come. With `Last-Event-ID`, what came since; an event `missed` says to list again.
#[utoipa::path(
    get,
    path = "/events",
    tag = "requests",
    params(("last-event-id" = Option<String>, Header, description = "id of the last event that was seen")),
    responses(
        (status = 200, body = News, content_type = "text/event-stream"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn listen(
    caller: Caller,
    State(rooms): State<Rooms>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    caller.needs(Scope::Read)?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let (missed, receiver) = rooms.told.since(last);
    let later = stream::unfold(receiver, |mut receiver| async {
        match receiver.recv().await {
            Ok(told) => Some((Some(told), receiver)),
            Err(RecvError::Lagged(_)) => Some((None, receiver)),
            Err(RecvError::Closed) => None,
        }
    });
    let told = Arc::clone(&rooms.told);
    let events = stream::iter(missed).chain(later).map(move |news| {
        Ok(match news {
            Some((number, item)) => item.event().id(told.id_of(number)),
            None => Event::default().event("missed").data("{}"),
        })
    });
    let events = events.take_until(Box::pin(tokio::time::sleep(STREAM_LIFE)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}
