//! What `notify` asks of the desk: what is due, what became of it. Each call is one short transaction of the store.
//! Never sends anything. Read `../store/deliveries.rs` for the queue.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::audit::{Body, NotificationEvent};
use crate::clock::Timestamp;
use crate::desk::thread::Desk;
use crate::desk::{Core, DeskError, Moment};
pub use crate::journal::CheckpointNews;
use crate::store::Happening;
pub use crate::store::{CHECKPOINT_EVENT, Delivery, DeliveryId, Endpoint, EndpointReport, is_meant};

/// Deliveries that one look brings.
const BATCH: u32 = 16;

impl Core {
    /// What became of a channel or of one of its messages, where that is more than one more try.
    pub fn record_notification(
        &mut self,
        event: NotificationEvent<'_>,
        now: Moment,
    ) -> Result<(), DeskError> {
        self.record(Body::Notification(event), now)
    }

    /// Queues news of the proxy itself; that it cannot be queued stops nothing.
    pub(super) fn tell_endpoints(&mut self, happening: &Happening<'_>, now: Moment) {
        if let Err(error) = self.store.tell_endpoints(happening, now.wall)
            && self.may_complain(now)
        {
            tracing::warn!("`{}` is told to no channel: {error}", happening.kind);
        }
    }
}

impl Desk {
    /// The log's last checkpoint, and how far anchors are.
    pub async fn checkpoint_news(&self) -> Result<Option<CheckpointNews>, DeskError> {
        let tree = self.inner.tree.clone();
        self.read(move |_, _| Ok(tree.newest())).await
    }

    /// Queues word of a checkpoint for whoever wants it.
    pub async fn tell_checkpoint(&self, news: &CheckpointNews) -> Result<(), DeskError> {
        let CheckpointNews { checkpoint, anchored } = news;
        // The first checkpoint is over nothing, which no anchor has taken.
        let state = if checkpoint.size > 0 && *anchored >= checkpoint.size {
            "anchored"
        } else {
            "signed"
        };
        let detail = json!({
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": STANDARD.encode(checkpoint.root),
            "signed_at": checkpoint.time.to_string(),
            "anchored": anchored,
        });
        let detail = detail.to_string();
        self.call(move |core, now| {
            let happening = Happening {
                kind: CHECKPOINT_EVENT,
                state,
                detail: &detail,
            };
            core.tell_endpoints(&happening, now);
            Ok(())
        })
        .await
        .unwrap_or(Err(DeskError::Stopping))
    }

    pub async fn set_endpoints(&self, endpoints: Vec<Endpoint>) -> Result<(), DeskError> {
        self.read(move |store, _| store.set_endpoints(&endpoints)).await
    }

    pub async fn due_deliveries(&self, endpoint: &str) -> Result<Vec<Delivery>, DeskError> {
        let endpoint = endpoint.to_owned();
        self.read(move |store, now| store.due_deliveries(&endpoint, now, BATCH))
            .await
    }

    pub async fn delivered(&self, id: DeliveryId) -> Result<(), DeskError> {
        self.read(move |store, now| store.settle_delivery(id, Some(now)))
            .await
    }

    /// The endpoint does not want it.
    pub async fn skip_delivery(&self, id: DeliveryId) -> Result<(), DeskError> {
        self.read(move |store, _| store.settle_delivery(id, None)).await
    }

    pub async fn put_off_delivery(
        &self,
        id: DeliveryId,
        next: Option<Timestamp>,
        why: String,
    ) -> Result<(), DeskError> {
        self.read(move |store, now| store.put_off_delivery(id, next, &why, now))
            .await
    }

    /// Whether it was in use until now.
    pub async fn disable_endpoint(&self, name: &str) -> Result<bool, DeskError> {
        let name = name.to_owned();
        self.read(move |store, now| store.disable_endpoint(&name, now))
            .await
    }

    /// How many deliveries are due now; `None`: no such endpoint.
    pub async fn replay_endpoint(&self, name: &str) -> Result<Option<u64>, DeskError> {
        let name = name.to_owned();
        self.read(move |store, now| store.replay_endpoint(&name, now))
            .await
    }

    pub async fn endpoint_reports(&self) -> Result<Vec<EndpointReport>, DeskError> {
        self.read(move |store, _| store.endpoint_reports()).await
    }

    pub async fn newly_dropped(&self, name: &str) -> Result<u64, DeskError> {
        let name = name.to_owned();
        self.read(move |store, _| store.newly_dropped(&name)).await
    }

    /// `event` is `disabled`, `enabled`, `given_up` or `dropped`; `by` a person.
    pub async fn record_notification(
        &self,
        channel: &str,
        event: &'static str,
        request: Option<String>,
        by: Option<String>,
        detail: String,
    ) -> Result<(), DeskError> {
        let channel = channel.to_owned();
        self.call(move |core, now| {
            let event = NotificationEvent {
                channel: &channel,
                event,
                request: request.as_deref(),
                by: by.as_deref(),
                detail: &detail,
            };
            core.record_notification(event, now)
        })
        .await
        .unwrap_or(Err(DeskError::Stopping))
    }
}
