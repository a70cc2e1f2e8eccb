//! Tells people what waits, and reads their answer back: one file for each way to tell. Never decides and never waits
//! for a slow receiver: `desk` queues, `outbox.rs` delivers. Read `webhook.rs` next, then `outbox.rs`.
//!
//! Why a channel renders, sends and reads, and does nothing else: order, tries, limits and who may decide are the same
//! for all of them, so a new chat is one file that implements `Channel`.

pub mod address;
mod answer;
mod outbox;
pub mod post;
pub mod schedule;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::HeaderMap;

pub use self::answer::{Answer, AnswerError, NotAnAnswer, Taken, take_answer};
pub use self::outbox::{Notifier, NotifyError, Status};
use crate::clock::Timestamp;
pub use crate::desk::CHECKPOINT_EVENT;
use crate::desk::Delivery;
use crate::hold::HeldRequest;

/// The kinds of events there are, as the settings name them; `request.*` and `*` mean several.
pub const EVENTS: [&str; 24] = [
    "request.held",
    "request.decided",
    "request.detached",
    "request.expired",
    "request.withdrawn",
    "request.stale",
    "request.lapsed",
    "request.finished",
    "request.failed",
    "request.outcome_unknown",
    "request.comment",
    "request.question",
    "request.reply",
    "request.escalated",
    "request.delegated",
    "request.reminded",
    "request.break_glass",
    "request.reviewed",
    "grant.made",
    "grant.revoked",
    "grant.lapsed",
    "rules.changed",
    CHECKPOINT_EVENT,
    "webhook.test",
];

/// The name of an event that somebody asked for, to see whether it arrives.
pub const TEST_EVENT: &str = "webhook.test";

/// Something to tell, with all that a channel may want to show of it.
#[derive(Clone, Debug)]
pub struct Notice {
    pub delivery: Delivery,
    /// As it is now; `None` for what is about no request.
    pub request: Option<Box<HeldRequest>>,
    /// The page where people decide it.
    pub url: Option<String>,
}

/// What goes out: the same bytes under the same id at every try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub id: String,
    pub body: String,
}

/// What the receiver made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Delivered,
    /// Not this time. `after`: what the receiver asked for.
    Failed {
        why: String,
        after: Option<Duration>,
    },
    /// It wants nothing more, ever.
    Gone,
}

/// One way to tell people. Shared by its own task and the API.
pub trait Channel: Send + Sync {
    /// As the settings name it; also the channel in the record of a decision that came by it.
    fn name(&self) -> &str;

    /// `webhook` and so on: a word for metrics.
    fn kind(&self) -> &'static str;

    /// Kinds of events: `request.held`, `request.*` or `*`.
    fn events(&self) -> Vec<String>;

    /// Whether this one is to be told, of those whose kind is.
    fn wants(&self, notice: &Notice) -> bool;

    /// Where its messages go, as people may see it.
    fn target(&self) -> String;

    fn render(&self, notice: &Notice) -> Message;

    fn deliver<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Sent>;

    /// What somebody says by this channel. The channel proves that the answer is from its own service; who the person
    /// is and whether they may is for `take_answer` and the desk.
    fn read_answer(
        &self,
        _headers: &HeaderMap,
        _body: &[u8],
        _now: Timestamp,
    ) -> Result<Answer, NotAnAnswer> {
        Err(NotAnAnswer::OneWay)
    }

    /// Reads its secrets again; on an error the old ones stay.
    fn reload(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The room's part of the settings.
#[derive(Clone, Default)]
pub struct Settings {
    pub channels: Vec<Arc<dyn Channel>>,
    /// Where people's pages are, as people reach them: `https://countersign.example.org`.
    pub pages: Option<String>,
}
