//! Deadlines on two clocks, and what a restart does with what an earlier process left.
//! Never moves a request itself. Read `record.rs` next.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::desk::Moment;
use crate::hold::{Event, HeldRequest, RemarkKind, State};

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

/// What time does to an undecided request before it ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Milestone {
    /// Half of the time is over.
    Remind,
    /// Three quarters are over, and the rule names who is next.
    Escalate,
}

/// The next milestone of a request, counted from when those who are asked now were asked.
pub(super) fn next_milestone(held: &HeldRequest) -> Option<(Timestamp, Milestone)> {
    if !held.state.is_undecided() {
        return None;
    }
    let since = held.asked_since();
    let time = held.expires_at.since(since);
    let mut lately = held.discussion.iter().rev();
    let told = lately.find(|said| matches!(said.kind, RemarkKind::Reminded | RemarkKind::Escalated));
    let is_reminded = told.is_some_and(|said| said.kind == RemarkKind::Reminded);
    if !is_reminded {
        Some((since.after(time / 2), Milestone::Remind))
    } else if held.escalated_at.is_none() && !held.escalate_to.is_empty() {
        Some((since.after(time / 4 * 3), Milestone::Escalate))
    } else {
        None
    }
}

/// When it ends by itself, if it does.
pub(super) fn end_of(held: &HeldRequest) -> Option<Timestamp> {
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
