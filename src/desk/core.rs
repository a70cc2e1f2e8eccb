//! The desk's moves, driven with an explicit `now` so that time and order can be simulated.
//! Never waits, never spawns. Read `ask.rs` next.
//!
//! Why every answer waits for the log: a session that runs, or is told no, on the word of a decision that the log has
//! not on disk, would be a run without a record if the machine stopped there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::broadcast;
use tracing::warn;

use crate::audit::{Body, RulesChange};
use crate::catalog::impact::Impact;
use crate::clock::Timestamp;
use crate::desk::expiry::{Deadlines, after_restart, end_of, next_milestone};
use crate::desk::notes::{detail_of, event_note, event_word, outcome_of, said_by};
use crate::desk::record::{Clerk, NotRecorded};
use crate::desk::waiters::Waiters;
use crate::desk::withheld::Withheld;
use crate::desk::{
    CredentialEnded, Decide, Decision, DeskError, DeskEvent, Detach, ForgetError, GrantEvent, Moment,
    RequestFilter, RequestPage, RunOutcome, Settings, Told, Wake,
};
use crate::hold::{ClaimId, Event, HeldRequest, IllegalMove, Owner, RequestId, StandingGrantId, State, step};
use crate::identity::directory::{Agent, WhyNot};
use crate::identity::principal::{PersonName, PrincipalName, SessionId};
use crate::journal::Lane;
use crate::store::sqlite::{Store, StoreError};
use crate::store::{Expected, Happening, NewDecision, NewRemark, Note, Query, Saved};

/// A fault that lasts is told this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// Answers are kept for a day; one more minute is no matter, and a look a minute costs nothing.
const PURGE_EVERY: Duration = Duration::from_secs(60);

/// Events of standing grants that a slow listener may lag behind.
const GRANT_EVENTS_KEPT: usize = 1024;

const LIST_DEFAULT: usize = 50;
const LIST_MAX: usize = 500;

/// Everything the desk thread owns.
pub struct Core {
    pub(super) store: Store,
    pub(super) clerk: Clerk,
    pub(super) settings: Settings,
    pub(super) owner: Owner,
    pub(super) waiters: Waiters,
    pub(super) deadlines: Deadlines<RequestId>,
    /// When people are reminded of a request, and when it goes to the next group by itself.
    pub(super) milestones: Deadlines<RequestId>,
    pub(super) standing_deadlines: Deadlines<StandingGrantId>,
    /// Of open standing grants: the one session that may use it.
    pub(super) standing_sessions: BTreeMap<StandingGrantId, SessionId>,
    /// Told when the log has what they tell.
    pub(super) wakes: Vec<(RequestId, Wake)>,
    pub(super) announcements: Vec<DeskEvent>,
    pub(super) standing_announcements: Vec<GrantEvent>,
    /// Moves that the store refused and that have to be made all the same, tried again at every tick.
    pub(super) owed: BTreeMap<RequestId, Owed>,
    /// What is withheld of requests that are undecided.
    pub(super) withheld: Withheld,
    /// Credentials as last read, and those known to have ended.
    pub(super) agents: Vec<Agent>,
    pub(super) ended: BTreeSet<PrincipalName>,
    pub(super) data_version: Option<i64>,
    pub(super) complained_at: Option<Duration>,
    /// When answers were last looked through for those whose day is over.
    pub(super) purged_at: Option<Duration>,
    pub(super) is_stopping: bool,
    pub(super) random: StdRng,
    pub(super) events: broadcast::Sender<DeskEvent>,
    pub(super) grant_events: broadcast::Sender<GrantEvent>,
    pub(super) ended_credentials: broadcast::Sender<CredentialEnded>,
}

/// A move that is owed to a request.
#[derive(Clone, Debug)]
pub(super) enum Owed {
    Leave(Detach),
    Withdraw(String),
    /// A claim whose run never reached the server.
    Abandon(ClaimId, String),
    Finish(RunOutcome),
}

/// Why a move did not take hold.
#[derive(Debug)]
pub(super) enum NotMoved {
    Illegal(IllegalMove),
    /// Somebody else moved it first.
    Lost,
    Store(StoreError),
}

impl From<StoreError> for NotMoved {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What goes with a move.
#[derive(Default)]
pub(super) struct With {
    pub(super) decision: Option<NewDecision>,
    pub(super) remarks: Vec<NewRemark>,
    pub(super) notes: Vec<Note>,
}

impl Core {
    /// Takes over what an earlier process left. `seed` draws ids and claims.
    pub fn open(
        store: Store,
        lane: Lane,
        settings: Settings,
        events: broadcast::Sender<DeskEvent>,
        ended_credentials: broadcast::Sender<CredentialEnded>,
        seed: [u8; 32],
        now: Moment,
    ) -> Result<Self, DeskError> {
        let mut core = Self {
            store,
            clerk: Clerk::new(lane),
            settings,
            owner: Owner {
                node: String::new(),
                epoch: 0,
            },
            waiters: Waiters::default(),
            deadlines: Deadlines::default(),
            milestones: Deadlines::default(),
            standing_deadlines: Deadlines::default(),
            standing_sessions: BTreeMap::new(),
            wakes: Vec::new(),
            withheld: Withheld::default(),
            announcements: Vec::new(),
            standing_announcements: Vec::new(),
            owed: BTreeMap::new(),
            agents: Vec::new(),
            ended: BTreeSet::new(),
            data_version: None,
            complained_at: None,
            purged_at: None,
            is_stopping: false,
            random: StdRng::from_seed(seed),
            events,
            grant_events: broadcast::Sender::new(GRANT_EVENTS_KEPT),
            ended_credentials,
        };
        let name = format!("{:016x}", core.random.next_u64());
        core.owner = core.store.begin_epoch(&name)?;
        core.take_over(now)?;
        core.tick(now);
        Ok(core)
    }

    /// News of standing grants from now on, each when it is in store and log.
    pub fn grant_events(&self) -> broadcast::Sender<GrantEvent> {
        self.grant_events.clone()
    }

    pub fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Who a principal is now: an agent of the store, or a user of the database of the settings.
    pub(super) fn principal(&mut self, name: &PrincipalName) -> Result<Option<Agent>, StoreError> {
        if name.database_user().is_none() {
            return self.store.agent(name.as_str());
        }
        let known = self.settings.pass_through.iter().find(|user| user.name == *name);
        Ok(known.cloned())
    }

    pub fn show(&mut self, request: RequestId) -> Result<HeldRequest, DeskError> {
        self.store.request(request)?.ok_or(DeskError::NotFound)
    }

    /// What has been found out of a request that waits. Its version stays: a decision is bound to the same as before.
    pub fn set_impact(&mut self, request: RequestId, impact: &Impact, now: Moment) -> Result<(), DeskError> {
        let held = self.show(request)?;
        self.store.save_impact(request, impact)?;
        if held.state.is_undecided() {
            self.announce_that(&held, Told::Impact);
        }
        self.tell(now);
        Ok(())
    }

    pub fn list(&mut self, filter: &RequestFilter) -> Result<RequestPage, DeskError> {
        let before = filter
            .cursor
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|_| DeskError::BadCursor)?;
        let limit = if filter.limit == 0 {
            LIST_DEFAULT
        } else {
            filter.limit.min(LIST_MAX)
        };
        let query = Query {
            states: filter.states.clone(),
            principal: filter.principal.clone(),
            database: filter.database.clone(),
            class: filter.class.clone(),
            fingerprint: filter.fingerprint,
            standing_grant: filter.standing_grant,
            before,
            // One more tells whether there is another page.
            limit: limit + 1,
        };
        let mut found = self.store.requests(&query)?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found
            .last()
            .filter(|_| has_more)
            .map(|(place, _)| place.to_string());
        Ok(RequestPage {
            items: found.into_iter().map(|(_, held)| held).collect(),
            next_cursor,
        })
    }

    pub fn record_log_query(&mut self, by: &str, query: &str, now: Moment) -> Result<(), DeskError> {
        self.record(Body::LogQuery { by, query }, now)
    }

    /// That somebody tried who may not decide, such as on a statement of their own, is for an auditor to know. It stays
    /// refused if the log cannot take it.
    pub fn record_refused_decision(
        &mut self,
        request: RequestId,
        decide: &Decide,
        why: &WhyNot,
        now: Moment,
    ) {
        let word = match decide.decision {
            Decision::Approve => "approve",
            Decision::Deny => "deny",
        };
        let body = Body::RequestEvent {
            request: request.as_str(),
            event: "decision_refused",
            by: Some(decide.by.as_str()),
            detail: &format!("{word} over {}: {why}", decide.channel),
        };
        if let Err(error) = self.record(body, now) {
            warn!(request.id = %request, "a refused decision is not in the log: {error}");
        }
    }

    /// Puts it on record that the values of an attempt are erased, then erases those that its request keeps.
    pub fn forget_values(
        &mut self,
        request: Option<RequestId>,
        by: &PersonName,
        record: &str,
        reason: &str,
        now: Moment,
    ) -> Result<(), ForgetError> {
        self.log_is_ready(now)?;
        let held = match request {
            Some(id) => self.store.request(id)?,
            None => None,
        };
        if held.as_ref().is_some_and(|held| !held.state.is_terminal()) {
            return Err(ForgetError::NotOver);
        }
        let body = Body::ValuesErased {
            by: by.as_str(),
            reason,
            record,
        };
        self.record(body, now)?;
        if let Some(held) = held {
            self.store.forget_values(held.id)?;
        }
        Ok(())
    }

    pub fn record_rules_change(&mut self, change: RulesChange<'_>, now: Moment) -> Result<(), DeskError> {
        self.record(Body::RulesChange(change), now)?;
        let happening = Happening {
            kind: "rules.changed",
            state: change.change,
            detail: change.by,
        };
        self.tell_endpoints(&happening, now);
        Ok(())
    }

    /// `rejected`: why the files are not in force.
    pub fn record_certificates_change(
        &mut self,
        section: &str,
        rejected: Option<&str>,
        by: &str,
        now: Moment,
    ) -> Result<(), DeskError> {
        let change = Body::CertificatesChange {
            change: rejected.map_or("loaded", |_| "rejected"),
            section,
            by,
            detail: rejected.unwrap_or_default(),
        };
        self.record(change, now)
    }

    /// Everything that time does: deadlines, sessions that went without a word, changes by other processes, and what
    /// store or log could not take before.
    pub fn tick(&mut self, now: Moment) {
        self.pay_owed(now);
        for request in self.waiters.gone(now.boot) {
            // What fails is owed, and paid at a later tick.
            let _ = self.detach(request, Detach::ClientLeft, now);
        }
        for request in self.deadlines.over(now) {
            if let Err(error) = self.end_overdue(request, now) {
                if self.may_complain(now) {
                    warn!(request.id = %request, "deadline of request {request} not kept yet: {error}");
                }
                break;
            }
        }
        for request in self.milestones.over(now) {
            if let Err(error) = self.reach_milestone(request, now) {
                if self.may_complain(now) {
                    warn!(request.id = %request, "nobody reminded of request {request} yet: {error}");
                }
                break;
            }
        }
        if let Err(error) = self.end_overdue_standing(now)
            && self.may_complain(now)
        {
            warn!("standing grants whose time is over not ended yet: {error}");
        }
        if let Err(error) = self.follow_agents(now)
            && self.may_complain(now)
        {
            warn!("changes of agents not read yet: {error}");
        }
        self.tell(now);
        if let Err(error) = self.clerk.tidy(&mut self.store)
            && self.may_complain(now)
        {
            warn!("store not tidied yet: {error}");
        }
        if let Err(error) = self.purge_answers(now)
            && self.may_complain(now)
        {
            warn!("answers whose day is over are still kept: {error}");
        }
    }

    /// What is announced to be kept for a day is gone soon after, whether or not anybody calls.
    fn purge_answers(&mut self, now: Moment) -> Result<(), StoreError> {
        if self.purged_at.is_some_and(|at| now.boot < at + PURGE_EVERY) {
            return Ok(());
        }
        self.purged_at = Some(now.boot);
        self.store.purge_answers(now.wall).map(drop)
    }

    /// Wakes everybody, and detaches what is undecided.
    pub fn stop(&mut self, now: Moment) {
        self.is_stopping = true;
        self.waiters.wake_all(&Wake::Stopping);
        let open = self.store.open_requests().unwrap_or_default();
        for held in open
            .iter()
            .filter(|held| matches!(held.state, State::Pending | State::Approved { .. }))
        {
            let left = self.leave(held, "the proxy stopped", now);
            if let Err(NotMoved::Store(error)) = left {
                warn!(request.id = %held.id, "request {} not detached, the next start does: {error}", held.id);
            }
        }
        self.tell(now);
    }

    pub(super) fn take_over(&mut self, now: Moment) -> Result<(), StoreError> {
        for mut held in self.store.open_requests()? {
            let expected = Expected::of(&held);
            held.owner = self.owner.clone();
            held.impact.give_up("the proxy was stopped before it was there");
            let event = after_restart(&held.state, self.grant_until(&held, now));
            let moved = match event {
                Some(event) => self.move_from(&held, &expected, event, With::default(), now),
                None => {
                    held.version += 1;
                    self.store
                        .save(&held, &expected, None, &[])
                        .map(|_| held)
                        .map_err(NotMoved::Store)
                }
            };
            match moved {
                Ok(held) => self.follow_request(&held, now),
                Err(NotMoved::Store(error)) => return Err(error),
                Err(NotMoved::Lost | NotMoved::Illegal(_)) => {}
            }
        }
        self.take_over_standing(now)
    }

    /// Until when an approval would let the same bytes through; never if its transaction had written.
    pub(super) fn grant_until(&self, held: &HeldRequest, now: Moment) -> Option<Timestamp> {
        (!held.transaction.has_written()).then(|| now.wall.after(self.settings.grant_life))
    }

    /// People or agents changed on this connection, which the file's version does not tell.
    pub fn people_changed(&mut self, now: Moment) {
        self.data_version = None;
        self.tick(now);
    }

    /// Moves it and gives the new state, or the one it has if the move is no longer legal.
    pub(super) fn unless_moved(
        &mut self,
        held: &HeldRequest,
        event: Event,
        with: With,
        now: Moment,
    ) -> Result<State, StoreError> {
        match self.move_it(held, event, with, now) {
            Ok(held) => Ok(held.state),
            Err(NotMoved::Illegal(_)) => Ok(held.state.clone()),
            Err(NotMoved::Lost) => Ok(self
                .store
                .request(held.id)?
                .map_or(held.state.clone(), |held| held.state)),
            Err(NotMoved::Store(error)) => Err(error),
        }
    }

    pub(super) fn move_it(
        &mut self,
        held: &HeldRequest,
        event: Event,
        with: With,
        now: Moment,
    ) -> Result<HeldRequest, NotMoved> {
        self.move_from(held, &Expected::of(held), event, with, now)
    }

    pub(super) fn move_from(
        &mut self,
        held: &HeldRequest,
        expected: &Expected,
        event: Event,
        with: With,
        now: Moment,
    ) -> Result<HeldRequest, NotMoved> {
        self.move_with(held, expected, event, "", with, now)
    }

    /// The one way a request changes its state: a legal move, kept by compare-and-set together with its notes.
    pub(super) fn move_with(
        &mut self,
        held: &HeldRequest,
        expected: &Expected,
        event: Event,
        detail: &str,
        with: With,
        now: Moment,
    ) -> Result<HeldRequest, NotMoved> {
        let (was_reattached, by) = (matches!(event, Event::Reattach), said_by(&event));
        let mut moved = held.clone();
        moved.state = step(held.state.clone(), event).map_err(NotMoved::Illegal)?;
        moved.version += 1;
        moved.changed_at = now.wall.max(held.changed_at);
        let mut notes = with.notes;
        if let Some(word) = event_word(&moved.state, was_reattached) {
            let detail = if detail.is_empty() {
                detail_of(&moved.state)
            } else {
                detail.to_owned()
            };
            notes.push(event_note(&moved, word, by, &detail));
        }
        if let Some(outcome) = outcome_of(&held.state, &moved.state, detail) {
            notes.push(Note::Outcome {
                request: held.id.to_string(),
                session: held.attempt.session.0,
                number: held.attempt.number,
                outcome,
            });
        }
        match self
            .store
            .save_with(&moved, expected, with.decision.as_ref(), &with.remarks, &notes)?
        {
            Saved::Lost => Err(NotMoved::Lost),
            Saved::Kept => {
                self.follow_request(&moved, now);
                self.announce(&moved);
                Ok(moved)
            }
        }
    }

    /// Sets, keeps or forgets what time does to a request, as its state asks.
    pub(super) fn follow_request(&mut self, held: &HeldRequest, now: Moment) {
        self.deadlines.follow(held.id, end_of(held), now);
        let next = next_milestone(held).map(|(at, _)| at);
        self.milestones.follow(held.id, next, now);
        if !held.state.is_undecided() {
            self.withheld.forget(held.id);
        }
    }

    pub(super) fn announce(&mut self, held: &HeldRequest) {
        self.announce_that(held, Told::Moved);
    }

    pub(super) fn announce_that(&mut self, held: &HeldRequest, what: Told) {
        self.announcements.push(DeskEvent {
            request: held.id,
            what,
            state: held.state.kind(),
            version: held.version,
            at: held.changed_at,
        });
    }

    pub(super) fn record(&mut self, body: Body<'_>, now: Moment) -> Result<(), DeskError> {
        self.clerk.record(now.wall, body).map_err(|error| {
            warn!("record not written: {error}");
            DeskError::LogUnavailable
        })
    }

    /// Brings what the log still has to be told to disk; nothing new is begun while that fails.
    pub(super) fn log_is_ready(&mut self, now: Moment) -> Result<(), NotRecorded> {
        self.pay_owed(now);
        self.clerk_carries_over(now)
    }

    /// Like `log_is_ready`, where a failure only delays what is told.
    pub(super) fn tell(&mut self, now: Moment) {
        if let Err(error) = self.clerk_carries_over(now)
            && self.may_complain(now)
        {
            warn!("log not written yet: {error}");
        }
    }

    /// A fault that lasts is told now and then, not at every tick.
    pub(super) fn may_complain(&mut self, now: Moment) -> bool {
        let may = self
            .complained_at
            .is_none_or(|at| now.boot >= at + COMPLAIN_EVERY);
        if may {
            self.complained_at = Some(now.boot);
        }
        may
    }

    pub(super) fn clerk_carries_over(&mut self, now: Moment) -> Result<(), NotRecorded> {
        self.clerk.carry_over(&mut self.store)?;
        for (request, wake) in std::mem::take(&mut self.wakes) {
            self.waiters.wake(request, wake, now.boot);
        }
        for event in std::mem::take(&mut self.announcements) {
            // Nobody may be listening.
            let _ = self.events.send(event);
        }
        for event in std::mem::take(&mut self.standing_announcements) {
            let _ = self.grant_events.send(event);
        }
        Ok(())
    }

    pub(super) fn owe(&mut self, request: RequestId, owed: Owed, error: &StoreError) {
        warn!(request.id = %request, "request {request} not moved yet, it is tried again: {error}");
        let strongest = match (self.owed.remove(&request), owed) {
            // A run's end and a claim's settling are never given up for less.
            (Some(kept @ (Owed::Finish(_) | Owed::Abandon(..))), Owed::Leave(_) | Owed::Withdraw(_)) => kept,
            (Some(kept @ Owed::Withdraw(_)), Owed::Leave(_)) => kept,
            (_, owed) => owed,
        };
        self.owed.insert(request, strongest);
    }

    pub(super) fn pay_owed(&mut self, now: Moment) {
        let mut is_refused = false;
        for (request, owed) in std::mem::take(&mut self.owed) {
            if is_refused {
                self.owed.insert(request, owed);
                continue;
            }
            let paid = match &owed {
                Owed::Leave(why) => self.detach_now(request, *why, now).map(|_| ()),
                Owed::Withdraw(why) => self.withdraw_now(request, why, now).map(|_| ()),
                // If the claim was not kept after all, its session has gone all the same.
                Owed::Abandon(claim, why) => self
                    .abandon_now(request, *claim, why, now)
                    .and_then(|()| self.detach_now(request, Detach::WaitOver, now).map(|_| ())),
                Owed::Finish(outcome) => self.finish_now(request, outcome.clone(), now).map(|_| ()),
            };
            if let Err(error) = paid {
                if self.may_complain(now) {
                    warn!(request.id = %request, "request {request} not moved yet: {error}");
                }
                self.owed.insert(request, owed);
                // A store that is locked costs a wait each time: the others wait for the next tick.
                is_refused = true;
            }
        }
    }
}
