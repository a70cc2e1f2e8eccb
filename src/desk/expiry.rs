//! Deadlines on two clocks, and what a restart does with what an earlier process left.
//! Never moves a request itself. Read `record.rs` next.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::desk::Moment;
use crate::hold::{Event, HeldRequest, RequestId, State};

/// The ends of requests, or of standing grants. The wall clock's is stored, the boot clock's is kept here: the earlier
/// one holds.
#[derive(Debug)]
pub(super) struct Deadlines<Id>(BTreeMap<Id, Deadline>);

impl<Id> Default for Deadlines<Id> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    wall: Timestamp,
    boot: Duration,
}

impl Deadlines<RequestId> {
    /// Follows a request: sets, keeps or forgets its deadline, as its state asks.
    pub fn follow_request(&mut self, held: &HeldRequest, now: Moment) {
        self.follow(held.id, end_of(held), now);
    }
}

impl<Id: Ord + Copy> Deadlines<Id> {
    /// Sets, keeps or forgets a deadline.
    pub fn follow(&mut self, id: Id, end: Option<Timestamp>, now: Moment) {
        let Some(wall) = end else {
            self.0.remove(&id);
            return;
        };
        let known = self.0.get(&id).filter(|deadline| deadline.wall == wall);
        if known.is_none() {
            let boot = now.boot + wall.since(now.wall);
            self.0.insert(id, Deadline { wall, boot });
        }
    }

    pub fn forget(&mut self, id: Id) {
        self.0.remove(&id);
    }

    pub fn is_over(&self, id: Id, now: Moment) -> bool {
        self.0.get(&id).is_some_and(|deadline| deadline.is_over(now))
    }

    pub fn over(&self, now: Moment) -> Vec<Id> {
        self.0
            .iter()
            .filter(|(_, deadline)| deadline.is_over(now))
            .map(|(id, _)| *id)
            .collect()
    }
}

impl Deadline {
    fn is_over(self, now: Moment) -> bool {
        self.wall <= now.wall || self.boot <= now.boot
    }
}

/// When it ends by itself, if it does.
fn end_of(held: &HeldRequest) -> Option<Timestamp> {
    match &held.state {
        State::Pending | State::Detached => Some(held.expires_at),
        State::Grant { until } => Some(*until),
        State::Approved { .. }
        | State::Running { .. }
        | State::Finished { .. }
        | State::Failed { .. }
        | State::OutcomeUnknown { .. }
        | State::Denied { .. }
        | State::Expired
        | State::Withdrawn { .. }
        | State::Stale { .. }
        | State::Redeemed { .. }
        | State::Lapsed { .. } => None,
    }
}

/// What its deadline does to it.
pub(super) fn when_over(state: &State) -> Event {
    match state {
        State::Grant { .. } => Event::Lapse {
            why: "its life is over".to_owned(),
        },
        State::Pending
        | State::Detached
        | State::Approved { .. }
        | State::Running { .. }
        | State::Finished { .. }
        | State::Failed { .. }
        | State::OutcomeUnknown { .. }
        | State::Denied { .. }
        | State::Expired
        | State::Withdrawn { .. }
        | State::Stale { .. }
        | State::Redeemed { .. }
        | State::Lapsed { .. } => Event::Expire,
    }
}

/// What the end of the process that held its connection does to a request; `None` leaves it as it is.
pub(super) fn after_restart(state: &State, grant: Option<Timestamp>) -> Option<Event> {
    match state {
        State::Pending | State::Approved { .. } => Some(Event::Leave { grant }),
        State::Running { .. } | State::Redeemed { ran: None, .. } => Some(Event::LoseOutcome {
            why: "the proxy ended while it ran".to_owned(),
        }),
        State::Detached
        | State::Grant { .. }
        | State::Redeemed { ran: Some(_), .. }
        | State::Finished { .. }
        | State::Failed { .. }
        | State::OutcomeUnknown { .. }
        | State::Denied { .. }
        | State::Expired
        | State::Withdrawn { .. }
        | State::Stale { .. }
        | State::Lapsed { .. } => None,
    }
}
