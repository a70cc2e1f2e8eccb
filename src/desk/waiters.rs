//! Sessions asleep on a request, woken when what they are told is in store and log.
//! Never wakes by itself: `core.rs` says when. Read `expiry.rs` next.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::desk::Wake;
use crate::hold::RequestId;

/// How long a woken session may take to start its approved run before it counts as gone: what it sent before may still
/// run. Sessions say when they leave; this is for those that could not.
const START_WITHIN: Duration = Duration::from_secs(900);

/// Who sleeps on what.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    asleep: BTreeMap<RequestId, oneshot::Sender<Wake>>,
    /// Woken to an approval and not heard of since, with the boot clock's time by which to hear.
    approved: BTreeMap<RequestId, Duration>,
}

impl Waiters {
    pub fn sleep(&mut self, request: RequestId) -> oneshot::Receiver<Wake> {
        let (sender, receiver) = oneshot::channel();
        self.asleep.insert(request, sender);
        receiver
    }

    /// Tells the sleeping session, if it is still there.
    pub fn wake(&mut self, request: RequestId, wake: Wake, boot: Duration) {
        let is_approval = matches!(wake, Wake::Approved { .. });
        let told = self
            .asleep
            .remove(&request)
            .is_some_and(|session| session.send(wake).is_ok());
        if is_approval {
            // A session that has gone already is overdue at once.
            let by = if told { boot + START_WITHIN } else { boot };
            self.approved.insert(request, by);
        }
    }

    /// The session has spoken for itself.
    pub fn forget(&mut self, request: RequestId) {
        self.asleep.remove(&request);
        self.approved.remove(&request);
    }

    /// Requests whose session has gone without a word.
    pub fn gone(&self, boot: Duration) -> Vec<RequestId> {
        let silent = self.asleep.iter().filter(|(_, session)| session.is_closed());
        let late = self.approved.iter().filter(|(_, by)| **by <= boot);
        silent.map(|(id, _)| *id).chain(late.map(|(id, _)| *id)).collect()
    }

    pub fn wake_all(&mut self, wake: &Wake) {
        for session in std::mem::take(&mut self.asleep).into_values() {
            // A session that has gone needs no word.
            let _ = session.send(wake.clone());
        }
        self.approved.clear();
    }
}
