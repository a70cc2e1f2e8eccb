//! Delivers what the desk has queued: at least once, in the order of each request, each channel by a task of its own.
//! Never holds a message in memory alone: what is not delivered stands in the store. Read `schedule.rs` next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;
use tracing::{debug, warn};

use super::schedule::next_pause;
use super::{CHECKPOINT_EVENT, Channel, Notice, Sent, Settings, TEST_EVENT};
use crate::clock::Timestamp;
use crate::desk::{CheckpointNews, Delivery, Desk, DeskError, Endpoint, EndpointReport, is_meant};
use crate::hold::RequestId;
use crate::telemetry::Metrics;

/// How often the queue is looked at while nothing is heard of the desk: tries that are due come from here.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whoever follows the log's checkpoints hears of one in this time at most.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);

/// Starts the channels' tasks and speaks for them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Notifier {
    inner: Option<Arc<Inner>>,
}

struct Inner {
    desk: Desk,
    metrics: Metrics,
    settings: Settings,
}

/// A channel and how it fares.
#[derive(Clone, Debug)]
pub struct Status {
    pub kind: &'static str,
    pub target: String,
    pub events: Vec<String>,
    pub report: EndpointReport,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotifyError {
    #[error("no channel `{0}`")]
    Unknown(String),
    #[error(transparent)]
    Desk(#[from] DeskError),
}

impl Notifier {
    /// Names the channels to the desk and begins to deliver; must be called on the runtime that is to do it.
    pub async fn start(desk: Desk, settings: Settings, metrics: Metrics) -> Result<Self, DeskError> {
        let endpoint = |channel: &Arc<dyn Channel>| Endpoint {
            name: channel.name().to_owned(),
            events: channel.events(),
        };
        desk.set_endpoints(settings.channels.iter().map(endpoint).collect())
            .await?;
        let inner = Arc::new(Inner {
            desk,
            metrics,
            settings,
        });
        for channel in &inner.settings.channels {
            tokio::spawn(work(Arc::clone(&inner), Arc::clone(channel)));
        }
        let wants = |event: &String| is_meant(event, CHECKPOINT_EVENT);
        let mut channels = inner.settings.channels.iter();
        if channels.any(|channel| channel.events().iter().any(wants)) {
            tokio::spawn(follow_checkpoints(inner.desk.clone()));
        }
        Ok(Self { inner: Some(inner) })
    }

    pub fn channel(&self, name: &str) -> Option<Arc<dyn Channel>> {
        let channels = &self.inner.as_ref()?.settings.channels;
        channels.iter().find(|channel| channel.name() == name).cloned()
    }

    fn known(&self, name: &str) -> Result<(&Inner, Arc<dyn Channel>), NotifyError> {
        let unknown = || NotifyError::Unknown(name.to_owned());
        let inner = self.inner.as_deref().ok_or_else(unknown)?;
        Ok((inner, self.channel(name).ok_or_else(unknown)?))
    }

    pub async fn status(&self) -> Result<Vec<Status>, DeskError> {
        let Some(inner) = &self.inner else {
            return Ok(Vec::new());
        };
        let reports = inner.desk.endpoint_reports().await?;
        let status = |report: EndpointReport| {
            let channel = self.channel(&report.name)?;
            Some(Status {
                kind: channel.kind(),
                target: channel.target(),
                events: channel.events(),
                report,
            })
        };
        Ok(reports.into_iter().filter_map(status).collect())
    }

    /// Sends a message of no meaning at once, past the queue.
    pub async fn test(&self, name: &str) -> Result<Sent, NotifyError> {
        let (inner, channel) = self.known(name)?;
        let notice = Notice {
            delivery: Delivery::unqueued(TEST_EVENT, Timestamp::now()),
            request: None,
            url: inner.settings.pages.clone(),
        };
        let sent = channel.deliver(&channel.render(&notice)).await;
        inner.count(&*channel, outcome_word(&sent));
        Ok(sent)
    }

    /// Puts a disabled channel in use again, and sends all that waits or was given up; how much that is.
    pub async fn replay(&self, name: &str, by: &str) -> Result<u64, NotifyError> {
        let (inner, channel) = self.known(name)?;
        let due = inner.desk.replay_endpoint(channel.name()).await?;
        let due = due.ok_or_else(|| NotifyError::Unknown(name.to_owned()))?;
        let detail = format!("{due} messages are sent again");
        inner
            .desk
            .record_notification(channel.name(), "enabled", None, Some(by.to_owned()), detail)
            .await?;
        Ok(due)
    }

    /// Each channel reads its secrets again; what is broken changes nothing.
    pub fn reload(&self) -> Vec<(String, Result<(), String>)> {
        let channels = self.inner.iter().flat_map(|inner| &inner.settings.channels);
        channels
            .map(|channel| (channel.name().to_owned(), channel.reload()))
            .collect()
    }
}

/// Delivers for one channel until the desk stops.
async fn work(inner: Arc<Inner>, channel: Arc<dyn Channel>) {
    let mut news = inner.desk.events();
    let mut has_complained = false;
    loop {
        match inner.look(&*channel).await {
            Ok(More::Perhaps) => continue,
            Ok(More::No) => has_complained = false,
            Err(DeskError::Stopping) => return,
            Err(error) => {
                if !has_complained {
                    warn!(channel.name = channel.name(), "nothing is delivered now: {error}");
                }
                has_complained = true;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        match tokio::time::timeout(LOOK_EVERY, news.recv()).await {
            Ok(Err(RecvError::Closed)) => return,
            Err(_) | Ok(Ok(_) | Err(RecvError::Lagged(_))) => {}
        }
    }
}

/// Queues word of the log's checkpoints, seldom, until the desk stops.
async fn follow_checkpoints(desk: Desk) {
    let mut told: Option<(Instant, CheckpointNews)> = None;
    loop {
        let news = match desk.checkpoint_news().await {
            Err(DeskError::Stopping) => return,
            news => news.ok().flatten(),
        };
        let is_due = |news: &CheckpointNews| {
            told.as_ref()
                .is_none_or(|(at, before)| before != news && at.elapsed() >= CHECKPOINT_EVERY)
        };
        if let Some(news) = news.filter(is_due)
            && desk.tell_checkpoint(&news).await.is_ok()
        {
            told = Some((Instant::now(), news));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether another look may find something at once.
enum More {
    Perhaps,
    No,
}

impl Inner {
    async fn look(&self, channel: &dyn Channel) -> Result<More, DeskError> {
        self.tell_of_dropped(channel).await?;
        let due = self.desk.due_deliveries(channel.name()).await?;
        if due.is_empty() {
            return Ok(More::No);
        }
        for delivery in due {
            // What fails may hold back others of its request: the next look knows.
            if !self.deliver(channel, delivery).await? {
                break;
            }
        }
        Ok(More::Perhaps)
    }

    /// Whether it is done with.
    async fn deliver(&self, channel: &dyn Channel, delivery: Delivery) -> Result<bool, DeskError> {
        let (id, tries, kind) = (delivery.id, delivery.tries + 1, delivery.kind.clone());
        let request = delivery.request.clone();
        let notice = self.notice(delivery).await?;
        if !channel.wants(&notice) {
            self.desk.skip_delivery(id).await?;
            return Ok(true);
        }
        let sent = channel.deliver(&channel.render(&notice)).await;
        let (why, after) = match sent {
            Sent::Delivered => {
                self.count(channel, "delivered");
                self.desk.delivered(id).await?;
                return Ok(true);
            }
            Sent::Gone => {
                self.disable(channel).await?;
                return Ok(false);
            }
            Sent::Failed { why, after } => (why, after),
        };
        let pause = next_pause(tries, after);
        let next = pause.map(|pause| Timestamp::now().after(pause));
        self.desk.put_off_delivery(id, next, why.clone()).await?;
        if next.is_some() {
            self.count(channel, "failed");
            return Ok(false);
        }
        self.count(channel, "given_up");
        let detail = format!("{kind} after {tries} tries: {why}");
        warn!(
            channel.name = channel.name(),
            "`{}` was not told of {detail}",
            channel.name()
        );
        self.desk
            .record_notification(channel.name(), "given_up", request, None, detail)
            .await?;
        Ok(false)
    }

    async fn notice(&self, delivery: Delivery) -> Result<Notice, DeskError> {
        let id = delivery.request.as_deref().and_then(RequestId::parse);
        let request = match id {
            Some(id) => match self.desk.show(id).await {
                Ok(held) => Some(Box::new(held)),
                Err(DeskError::NotFound) => None,
                Err(error) => return Err(error),
            },
            None => None,
        };
        let page = |id: RequestId| Some(format!("{}/r/{id}", self.settings.pages.as_deref()?));
        Ok(Notice {
            url: id.and_then(page),
            delivery,
            request,
        })
    }

    async fn disable(&self, channel: &dyn Channel) -> Result<(), DeskError> {
        if !self.desk.disable_endpoint(channel.name()).await? {
            return Ok(());
        }
        self.count(channel, "gone");
        let detail = "it answered 410 Gone".to_owned();
        warn!(
            channel.name = channel.name(),
            next_step = "countersign webhook replay NAME, once it takes messages again",
            "`{}` wants nothing more and is told nothing more",
            channel.name()
        );
        self.desk
            .record_notification(channel.name(), "disabled", None, None, detail)
            .await
    }

    async fn tell_of_dropped(&self, channel: &dyn Channel) -> Result<(), DeskError> {
        let dropped = self.desk.newly_dropped(channel.name()).await?;
        if dropped == 0 {
            return Ok(());
        }
        for _ in 0..dropped {
            self.count(channel, "dropped");
        }
        let detail = format!("{dropped} events found its queue full");
        warn!(channel.name = channel.name(), "`{}`: {detail}", channel.name());
        self.desk
            .record_notification(channel.name(), "dropped", None, None, detail)
            .await
    }

    fn count(&self, channel: &dyn Channel, outcome: &'static str) {
        debug!(
            channel.name = channel.name(),
            outcome,
            "a message to `{}`",
            channel.name()
        );
        self.metrics.count_notification(channel.name(), outcome);
    }
}

fn outcome_word(sent: &Sent) -> &'static str {
    match sent {
        Sent::Delivered => "delivered",
        Sent::Failed { .. } => "failed",
        Sent::Gone => "gone",
    }
}
