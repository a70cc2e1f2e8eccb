//! The desk's moves, driven with an explicit `now` so that time and order can be simulated.
//! Never waits, never spawns. Read `waiters.rs` next.
//!
//! Why every answer waits for the log: a session that runs, or is told no, on the word of a decision that the log has
//! not on disk, would be a run without a record if the machine stopped there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::broadcast;
use tracing::{info, warn};

use crate::audit::{Body, RulesChange};
use crate::clock::Timestamp;
use crate::desk::expiry::{Deadlines, after_restart, when_over};
use crate::desk::record::{Clerk, NotRecorded};
use crate::desk::waiters::Waiters;
use crate::desk::{
    Ask, AskError, Asked, CredentialEnded, Decide, DecideError, Decision, DeskError, DeskEvent, Detach,
    Moment, NotStarted, Parked, RequestFilter, RequestPage, RunOutcome, Settings, Wake, crash_point,
};
use crate::hold::{
    Approval, ClaimId, Event, HeldRequest, HeldStatement, IllegalMove, Owner, Permit, Presented, Ran,
    RequestId, State, claim, compare, masked, step,
};
use crate::identity::directory::{Agent, Stakes, WhyNot, may_decide};
use crate::identity::principal::{AttemptId, PrincipalName};
use crate::journal::Lane;
use crate::store::sqlite::{Store, StoreError};
use crate::store::{Expected, NewDecision, Note, Outcome, Query, Saved};

/// Ids drawn before a full store is assumed: at a million requests each draw is free with 999 of 1000.
const ID_DRAWS_MAX: usize = 16;

/// Two ticks, a slow disk, and a little.
const EXPIRY_TOLD_WITHIN: Duration = Duration::from_secs(1);

const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

const LIST_DEFAULT: usize = 50;
const LIST_MAX: usize = 500;

/// Everything the desk thread owns.
pub struct Core {
    store: Store,
    clerk: Clerk,
    settings: Settings,
    owner: Owner,
    waiters: Waiters,
    deadlines: Deadlines,
    /// Told when the log has what they tell.
    wakes: Vec<(RequestId, Wake)>,
    announcements: Vec<DeskEvent>,
    /// Moves that the store refused and that have to be made all the same, tried again at every tick.
    owed: BTreeMap<RequestId, Owed>,
    /// Credentials as last read, and those known to have ended.
    agents: Vec<Agent>,
    ended: BTreeSet<PrincipalName>,
    data_version: Option<i64>,
    complained_at: Option<Duration>,
    is_stopping: bool,
    random: StdRng,
    events: broadcast::Sender<DeskEvent>,
    ended_credentials: broadcast::Sender<CredentialEnded>,
}

/// A move that is owed to a request.
#[derive(Clone, Debug)]
enum Owed {
    Leave(Detach),
    Withdraw(String),
    /// A claim whose run never reached the server.
    Abandon(ClaimId, String),
    Finish(RunOutcome),
}

/// Why a move did not take hold.
#[derive(Debug)]
enum NotMoved {
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
struct With {
    decision: Option<NewDecision>,
    notes: Vec<Note>,
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
            wakes: Vec::new(),
            announcements: Vec::new(),
            owed: BTreeMap::new(),
            agents: Vec::new(),
            ended: BTreeSet::new(),
            data_version: None,
            complained_at: None,
            is_stopping: false,
            random: StdRng::from_seed(seed),
            events,
            ended_credentials,
        };
        let name = format!("{:016x}", core.random.next_u64());
        core.owner = core.store.begin_epoch(&name).map_err(desk_store_error)?;
        core.take_over(now).map_err(desk_store_error)?;
        core.tick(now);
        Ok(core)
    }

    pub fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Re-attaches, redeems a grant, or makes a new request; in the log when it returns.
    pub fn ask(&mut self, ask: &Ask, now: Moment) -> Result<Asked, AskError> {
        if self.is_stopping {
            return Err(AskError::Stopping);
        }
        self.log_is_ready(now).map_err(ask_not_recorded)?;
        let agent = self
            .store
            .agent(ask.peer.principal.as_str())
            .map_err(ask_store_error)?;
        let agent = agent
            .filter(|agent| agent.ended(now.wall).is_none())
            .ok_or(AskError::CredentialEnded)?;
        let alike = self
            .store
            .open_alike(&ask.peer.principal, ask.digest)
            .map_err(ask_store_error)?;
        for held in alike {
            let asked = match &held.state {
                State::Grant { .. } => self.redeem(&held, ask, now)?,
                State::Detached => self.reattach(&held, ask, now)?,
                State::Pending
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
                | State::Lapsed { .. } => None,
            };
            if let Some(asked) = asked {
                return Ok(asked);
            }
        }
        let waiting = self
            .store
            .undecided_of(&ask.peer.principal)
            .map_err(ask_store_error)?;
        if waiting >= self.settings.held_per_principal_max {
            return Err(AskError::TooMany {
                limit: self.settings.held_per_principal_max,
            });
        }
        self.hold(ask, &agent, now)
    }

    /// The claim: one compare-and-set, `started` on disk in the log, then the permit.
    pub fn start_run(
        &mut self,
        request: RequestId,
        presented: Presented<'_>,
        now: Moment,
    ) -> Result<Permit, NotStarted> {
        if self.is_stopping {
            return Err(NotStarted::Stopping);
        }
        self.log_is_ready(now).map_err(start_not_recorded)?;
        let held = self
            .store
            .request(request)
            .map_err(start_store_error)?
            .ok_or(NotStarted::NotFound)?;
        if !matches!(held.state, State::Approved { .. }) || held.owner != self.owner {
            return Err(NotStarted::NotApproved(held.state.kind()));
        }
        if let Some(why) = self
            .credential_ended(&held.peer.principal, now)
            .map_err(start_store_error)?
        {
            self.move_it(&held, Event::Withdraw { why }, With::default(), now)
                .map_err(start_not_moved)?;
            self.tell(now);
            return Err(NotStarted::CredentialEnded);
        }
        if let Err(changed) = compare(&held, presented) {
            let why = changed.to_string();
            self.move_it(&held, Event::GoStale { why: why.clone() }, With::default(), now)
                .map_err(start_not_moved)?;
            self.tell(now);
            return Err(NotStarted::Stale { why });
        }
        self.claim_run(&held, held.attempt, Vec::new(), now)
    }

    /// How a run ended. The state it has then; what the store cannot keep now is kept as soon as it can.
    pub fn finish(
        &mut self,
        request: RequestId,
        outcome: RunOutcome,
        now: Moment,
    ) -> Result<State, DeskError> {
        match self.finish_now(request, outcome.clone(), now) {
            Ok(state) => Ok(state),
            Err(error) => {
                self.owe(request, Owed::Finish(outcome), &error);
                Err(desk_store_error(error))
            }
        }
    }

    /// The client left or its wait is over. The state it has then: a decision may have come first.
    pub fn detach(&mut self, request: RequestId, why: Detach, now: Moment) -> Result<State, DeskError> {
        self.waiters.forget(request);
        match self.detach_now(request, why, now) {
            Ok(state) => state.ok_or(DeskError::NotFound),
            Err(error) => {
                self.owe(request, Owed::Leave(why), &error);
                Err(desk_store_error(error))
            }
        }
    }

    /// Cancelled, or its transaction was ended by the server; revokes it if it is a grant.
    pub fn withdraw(&mut self, request: RequestId, why: &str, now: Moment) -> Result<State, DeskError> {
        match self.withdraw_now(request, why, now) {
            Ok(state) => state.ok_or(DeskError::NotFound),
            Err(error) => {
                self.owe(request, Owed::Withdraw(why.to_owned()), &error);
                Err(desk_store_error(error))
            }
        }
    }

    /// One word of one person: a compare-and-set from pending or detached.
    pub fn decide(
        &mut self,
        request: RequestId,
        decide: &Decide,
        now: Moment,
    ) -> Result<HeldRequest, DecideError> {
        if self.is_stopping {
            return Err(DecideError::Stopping);
        }
        if decide.decision == Decision::Deny && decide.reason.trim().is_empty() {
            return Err(DecideError::ReasonMissing);
        }
        self.log_is_ready(now).map_err(decide_not_recorded)?;
        let mut held = self.load_decidable(request, now)?;
        if let Some(key) = &decide.idempotency
            && self
                .store
                .said_under(request, &decide.by, key)
                .map_err(decide_store_error)?
        {
            return Ok(held);
        }
        if !held.state.is_undecided() {
            return Err(already_decided(&held));
        }
        if decide.digest.is_some_and(|digest| digest != held.digest)
            || decide.version.is_some_and(|version| version != held.version)
        {
            return Err(DecideError::Stale {
                digest: held.digest,
                version: held.version,
            });
        }
        self.may_decide(&held, decide)?;
        let said = Approval {
            by: decide.by.clone(),
            approves: decide.decision == Decision::Approve,
            reason: decide.reason.clone(),
            channel: decide.channel.clone(),
            at: now.wall,
        };
        held = self.keep_decision(&held, said, decide.idempotency.clone(), now)?;
        self.wake_decided(&held);
        crash_point("decision_stored");
        self.clerk_carries_over(now).map_err(decide_not_recorded)?;
        crash_point("decision_logged");
        Ok(held)
    }

    pub fn show(&mut self, request: RequestId) -> Result<HeldRequest, DeskError> {
        self.store
            .request(request)
            .map_err(desk_store_error)?
            .ok_or(DeskError::NotFound)
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
            before,
            // One more tells whether there is another page.
            limit: limit + 1,
        };
        let mut found = self.store.requests(&query).map_err(desk_store_error)?;
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

    pub fn record_rules_change(&mut self, change: RulesChange<'_>, now: Moment) -> Result<(), DeskError> {
        self.record(Body::RulesChange(change), now)
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

    /// The answer to an `ask` did not reach its session.
    pub fn take_back_ask(&mut self, asked: Asked, now: Moment) {
        match asked {
            Asked::Parked(parked) => {
                // What fails is owed, and paid at a later tick.
                let _ = self.detach(parked.request, Detach::ClientLeft, now);
            }
            Asked::Granted(permit, _) => self.take_back_permit(permit, now),
        }
    }

    /// A permit that did not reach its session: nothing was forwarded on it.
    pub fn take_back_permit(&mut self, permit: Permit, now: Moment) {
        let Some(request) = permit.request() else {
            return;
        };
        match self.store.claim_of(request) {
            Ok(Some(claim)) => self.abandon(request, claim, "its client left before it ran", now),
            Ok(None) => {}
            Err(error) => warn!(request.id = %request, "run of request {request} not taken back: {error}"),
        }
    }

    fn take_over(&mut self, now: Moment) -> Result<(), StoreError> {
        for mut held in self.store.open_requests()? {
            let expected = Expected::of(&held);
            held.owner = self.owner.clone();
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
                Ok(held) => self.deadlines.follow(&held, now),
                Err(NotMoved::Store(error)) => return Err(error),
                Err(NotMoved::Lost | NotMoved::Illegal(_)) => {}
            }
        }
        Ok(())
    }

    fn hold(&mut self, ask: &Ask, agent: &Agent, now: Moment) -> Result<Asked, AskError> {
        let mut held = self.new_request(ask, agent.stakes(), now);
        let mut draws = 0;
        loop {
            let detail = format!("rule {}", held.rule);
            let notes = [
                attempt_note(held.id, held.attempt),
                event_note(&held, "held", None, &detail),
            ];
            match self.store.insert(&held, &notes).map_err(ask_store_error)? {
                Saved::Kept => break,
                Saved::Lost if draws < ID_DRAWS_MAX => draws += 1,
                Saved::Lost => return Err(AskError::StoreUnavailable),
            }
            held.id = RequestId::from_random(self.random.next_u32());
        }
        crash_point("request_stored");
        self.deadlines.follow(&held, now);
        self.announce(&held);
        self.park(&held, ask, false, now)
    }

    fn new_request(&mut self, ask: &Ask, stakes: Stakes, now: Moment) -> HeldRequest {
        HeldRequest {
            id: RequestId::from_random(self.random.next_u32()),
            state: State::Pending,
            version: 1,
            owner: self.owner.clone(),
            digest: ask.digest,
            peer: (*ask.peer).clone(),
            attempt: ask.attempt,
            protocol: ask.protocol.to_owned(),
            text: masked(&ask.text, &ask.judgement),
            statements: HeldStatement::of(&ask.text, &ask.judgement),
            class: ask.judgement.class(),
            fingerprint: ask.judgement.fingerprint,
            parameters: ask.parameters.clone(),
            transaction: ask.transaction,
            copies_in: ask.copies_in,
            claimed: ask.claimed.clone(),
            facts: ask.facts.clone(),
            names: ask.names.clone(),
            rules: ask.rules,
            rule: ask.verdict.rule.to_string(),
            rule_line: ask.verdict.line,
            risk: ask.verdict.risk,
            reasons: ask.verdict.reasons.clone(),
            approvers: ask.verdict.approvers.clone(),
            approvals_needed: ask.verdict.approvals_needed.max(1),
            stakes,
            decisions: Vec::new(),
            created_at: now.wall,
            changed_at: now.wall,
            wait_ends_at: now.wall.after(ask.wait.min(ask.expires)),
            expires_at: now.wall.after(ask.expires),
        }
    }

    /// Puts the session to sleep on a request that is stored; withdraws it if the log cannot be written.
    fn park(
        &mut self,
        held: &HeldRequest,
        ask: &Ask,
        reattached: bool,
        now: Moment,
    ) -> Result<Asked, AskError> {
        if let Err(error) = self.clerk_carries_over(now) {
            let why = "the log could not be written".to_owned();
            if let Err(NotMoved::Store(error)) =
                self.move_it(held, Event::Withdraw { why: why.clone() }, With::default(), now)
            {
                self.owe(held.id, Owed::Withdraw(why), &error);
            }
            return Err(ask_not_recorded(error));
        }
        crash_point("request_logged");
        info!(request.id = %held.id, principal.name = %held.peer.principal, rule.name = %held.rule,
            "request {} held by rule `{}`", held.id, held.rule);
        Ok(Asked::Parked(Parked {
            request: held.id,
            reattached,
            // If it expires first, the session is told so, before its own clock could tell it something else.
            wait: ask.wait.min(held.expires_at.since(now.wall) + EXPIRY_TOLD_WITHIN),
            woken: self.waiters.sleep(held.id),
        }))
    }

    /// `None` if it has gone stale or its time is over: then a new request is made.
    fn reattach(&mut self, held: &HeldRequest, ask: &Ask, now: Moment) -> Result<Option<Asked>, AskError> {
        if self.deadlines.is_over(held.id, now) {
            return self.pass_by(held, when_over(&held.state), now);
        }
        if let Err(changed) = compare(held, presented(ask)) {
            return self.pass_by(
                held,
                Event::GoStale {
                    why: changed.to_string(),
                },
                now,
            );
        }
        let mut sent = held.clone();
        sent.peer = (*ask.peer).clone();
        sent.attempt = ask.attempt;
        sent.transaction = ask.transaction;
        sent.claimed = ask.claimed.clone();
        sent.facts = ask.facts.clone();
        sent.wait_ends_at = now.wall.after(ask.wait).min(held.expires_at);
        let with = With {
            notes: vec![attempt_note(held.id, ask.attempt)],
            ..With::default()
        };
        match self.move_from(&sent, &Expected::of(held), Event::Reattach, with, now) {
            Ok(held) => self.park(&held, ask, true, now).map(Some),
            Err(NotMoved::Lost | NotMoved::Illegal(_)) => Ok(None),
            Err(NotMoved::Store(error)) => Err(ask_store_error(error)),
        }
    }

    /// `None` if the grant no longer holds: then a new request is made.
    fn redeem(&mut self, held: &HeldRequest, ask: &Ask, now: Moment) -> Result<Option<Asked>, AskError> {
        if self.deadlines.is_over(held.id, now) {
            return self.pass_by(held, when_over(&held.state), now);
        }
        if let Err(changed) = compare(held, presented(ask)) {
            return self.pass_by(
                held,
                Event::GoStale {
                    why: changed.to_string(),
                },
                now,
            );
        }
        let mut sent = held.clone();
        sent.peer = (*ask.peer).clone();
        sent.attempt = ask.attempt;
        sent.transaction = ask.transaction;
        sent.claimed = ask.claimed.clone();
        let notes = vec![attempt_note(held.id, ask.attempt)];
        match self.claim_run(&sent, ask.attempt, notes, now) {
            Ok(permit) => Ok(Some(Asked::Granted(permit, held.id))),
            Err(NotStarted::LogUnavailable) => Err(AskError::LogUnavailable),
            Err(NotStarted::StoreUnavailable) => Err(AskError::StoreUnavailable),
            Err(NotStarted::Stopping) => Err(AskError::Stopping),
            Err(NotStarted::CredentialEnded) => Err(AskError::CredentialEnded),
            Err(NotStarted::NotFound | NotStarted::NotApproved(_) | NotStarted::Stale { .. }) => Ok(None),
        }
    }

    /// Ends a request or grant that the bytes sent now can no longer use.
    fn pass_by(&mut self, held: &HeldRequest, event: Event, now: Moment) -> Result<Option<Asked>, AskError> {
        match self.move_it(held, event, With::default(), now) {
            Ok(_) | Err(NotMoved::Lost | NotMoved::Illegal(_)) => Ok(None),
            Err(NotMoved::Store(error)) => Err(ask_store_error(error)),
        }
    }

    fn claim_run(
        &mut self,
        held: &HeldRequest,
        attempt: AttemptId,
        mut notes: Vec<Note>,
        now: Moment,
    ) -> Result<Permit, NotStarted> {
        crash_point("before_claim");
        let id = ClaimId(self.random.next_u64());
        let kind = held.state.kind();
        let (next, claimed) = claim(held, id, attempt).map_err(|_| NotStarted::NotApproved(kind))?;
        let mut moved = held.clone();
        moved.state = next;
        moved.version += 1;
        moved.changed_at = now.wall.max(held.changed_at);
        notes.push(event_note(&moved, started_word(&moved.state), None, ""));
        match self.store.save(&moved, &Expected::of(held), None, &notes) {
            Ok(Saved::Kept) => {}
            Ok(Saved::Lost) => return Err(self.not_started_now(held.id)),
            Err(error) => {
                self.owe(
                    held.id,
                    Owed::Abandon(id, "it is not known whether its claim was kept".to_owned()),
                    &error,
                );
                return Err(start_store_error(error));
            }
        }
        crash_point("claimed");
        self.waiters.forget(held.id);
        self.deadlines.follow(&moved, now);
        self.announce(&moved);
        if let Err(error) = self.clerk_carries_over(now) {
            self.abandon(
                held.id,
                id,
                "the log could not be written, so it was not run",
                now,
            );
            return Err(start_not_recorded(error));
        }
        crash_point("started");
        Ok(Permit::from_claim(claimed))
    }

    fn not_started_now(&mut self, request: RequestId) -> NotStarted {
        match self.store.request(request) {
            Ok(Some(held)) => NotStarted::NotApproved(held.state.kind()),
            Ok(None) => NotStarted::NotFound,
            Err(error) => start_store_error(error),
        }
    }

    fn abandon(&mut self, request: RequestId, claim: ClaimId, why: &str, now: Moment) {
        if let Err(error) = self.abandon_now(request, claim, why, now) {
            self.owe(request, Owed::Abandon(claim, why.to_owned()), &error);
        }
        self.tell(now);
    }

    fn abandon_now(
        &mut self,
        request: RequestId,
        claim: ClaimId,
        why: &str,
        now: Moment,
    ) -> Result<(), StoreError> {
        let held = self
            .store
            .request(request)?
            .filter(|held| held.state.claim() == Some(claim));
        let Some(held) = held else {
            return Ok(());
        };
        self.unless_moved(
            &held,
            Event::Abandon { why: why.to_owned() },
            With::default(),
            now,
        )
        .map(|_| ())
    }

    fn finish_now(
        &mut self,
        request: RequestId,
        outcome: RunOutcome,
        now: Moment,
    ) -> Result<State, StoreError> {
        let Some(held) = self.store.request(request)? else {
            return Err(StoreError::Damaged(format!("request {request} ran and is gone")));
        };
        let event = match outcome {
            RunOutcome::Finished { rows, tag } => Event::Finish { rows, tag },
            RunOutcome::Failed { sqlstate, message } => Event::Fail { sqlstate, message },
            RunOutcome::Unknown { why } => Event::LoseOutcome { why },
        };
        let state = self.unless_moved(&held, event, With::default(), now)?;
        crash_point("outcome_stored");
        self.tell(now);
        Ok(state)
    }

    fn detach_now(
        &mut self,
        request: RequestId,
        why: Detach,
        now: Moment,
    ) -> Result<Option<State>, StoreError> {
        self.end_overdue(request, now)?;
        let Some(held) = self.store.request(request)? else {
            return Ok(None);
        };
        if !matches!(held.state, State::Pending | State::Approved { .. }) {
            return Ok(Some(held.state));
        }
        let word = match why {
            Detach::ClientLeft => "its client left",
            Detach::WaitOver => "its wait is over",
        };
        let state = match self.leave(&held, word, now) {
            Ok(held) => held.state,
            Err(NotMoved::Store(error)) => return Err(error),
            Err(NotMoved::Lost | NotMoved::Illegal(_)) => held.state,
        };
        self.tell(now);
        Ok(Some(state))
    }

    fn leave(&mut self, held: &HeldRequest, why: &str, now: Moment) -> Result<HeldRequest, NotMoved> {
        let mut left = held.clone();
        left.wait_ends_at = now.wall.min(held.wait_ends_at);
        let grant = self.grant_until(held, now);
        self.move_with(
            &left,
            &Expected::of(held),
            Event::Leave { grant },
            why,
            With::default(),
            now,
        )
    }

    fn withdraw_now(
        &mut self,
        request: RequestId,
        why: &str,
        now: Moment,
    ) -> Result<Option<State>, StoreError> {
        let Some(held) = self.store.request(request)? else {
            return Ok(None);
        };
        let state = self.unless_moved(
            &held,
            Event::Withdraw { why: why.to_owned() },
            With::default(),
            now,
        )?;
        if state != held.state {
            self.wakes
                .push((request, Wake::Withdrawn { why: why.to_owned() }));
        }
        self.tell(now);
        Ok(Some(state))
    }

    /// Until when an approval would let the same bytes through; never if its transaction had written.
    fn grant_until(&self, held: &HeldRequest, now: Moment) -> Option<Timestamp> {
        (!held.transaction.has_written()).then(|| now.wall.after(self.settings.grant_life))
    }

    fn load_decidable(&mut self, request: RequestId, now: Moment) -> Result<HeldRequest, DecideError> {
        self.end_overdue(request, now).map_err(decide_store_error)?;
        self.store
            .request(request)
            .map_err(decide_store_error)?
            .ok_or(DecideError::NotFound)
    }

    /// Promise 4, with who had a stake when it was asked and who has one now.
    fn may_decide(&mut self, held: &HeldRequest, decide: &Decide) -> Result<(), DecideError> {
        let refuse = |why| Err(DecideError::NotPermitted(why));
        let person = self.store.person(&decide.by).map_err(decide_store_error)?;
        let Some(person) = person else {
            return refuse(WhyNot::Inactive(decide.by.clone()));
        };
        let agent = self
            .store
            .agent(held.peer.principal.as_str())
            .map_err(decide_store_error)?;
        let current = agent.map(|agent| agent.stakes());
        for stakes in [Some(&held.stakes), current.as_ref()].into_iter().flatten() {
            if let Err(why) = may_decide(&person, stakes, &held.approvers) {
                return refuse(why);
            }
        }
        if held.decisions.iter().any(|said| said.by == decide.by) {
            return refuse(WhyNot::HasApproved(decide.by.clone()));
        }
        Ok(())
    }

    fn keep_decision(
        &mut self,
        held: &HeldRequest,
        said: Approval,
        idempotency: Option<String>,
        now: Moment,
    ) -> Result<HeldRequest, DecideError> {
        let mut decided = held.clone();
        decided.decisions.push(said.clone());
        let note = Note::Decision {
            request: held.id.to_string(),
            approves: said.approves,
            by: said.by.to_string(),
            reason: said.reason.clone(),
            channel: said.channel.clone(),
            digest: held.digest.to_string(),
        };
        let people = decided.approved_by();
        let is_enough = people.len() >= held.approvals_needed as usize;
        let grant = self.grant_until(held, now);
        if said.approves && matches!(held.state, State::Detached) && grant.is_none() {
            return Err(DecideError::NobodyWaits);
        }
        let event = match (said.approves, is_enough) {
            (false, _) => Some(Event::Deny {
                by: said.by.clone(),
                reason: said.reason.clone(),
            }),
            (true, true) => Some(Event::Approve {
                by: people,
                reason: said.reason.clone(),
                grant,
            }),
            (true, false) => None,
        };
        let with = With {
            decision: Some(NewDecision { said, idempotency }),
            notes: vec![note],
        };
        let expected = Expected::of(held);
        let moved = match event {
            Some(event) => self.move_from(&decided, &expected, event, with, now),
            None => self.keep_same_state(decided, &expected, with, now),
        };
        moved.map_err(|not_moved| match not_moved {
            NotMoved::Store(error) => decide_store_error(error),
            NotMoved::Lost | NotMoved::Illegal(_) => match self.store.request(held.id) {
                Ok(Some(held)) => already_decided(&held),
                Ok(None) => DecideError::NotFound,
                Err(error) => decide_store_error(error),
            },
        })
    }

    /// An approval that is not the last one needed.
    fn keep_same_state(
        &mut self,
        mut held: HeldRequest,
        expected: &Expected,
        with: With,
        now: Moment,
    ) -> Result<HeldRequest, NotMoved> {
        held.version += 1;
        held.changed_at = now.wall.max(held.changed_at);
        match self
            .store
            .save(&held, expected, with.decision.as_ref(), &with.notes)?
        {
            Saved::Lost => Err(NotMoved::Lost),
            Saved::Kept => {
                self.announce(&held);
                Ok(held)
            }
        }
    }

    fn wake_decided(&mut self, held: &HeldRequest) {
        match &held.state {
            State::Approved { by, reason } => {
                let by = by.iter().map(ToString::to_string).collect();
                self.wakes.push((
                    held.id,
                    Wake::Approved {
                        by,
                        reason: reason.clone(),
                    },
                ));
            }
            State::Denied { by, reason } => {
                self.wakes.push((
                    held.id,
                    Wake::Denied {
                        by: by.to_string(),
                        reason: reason.clone(),
                    },
                ));
            }
            State::Pending
            | State::Detached
            | State::Running { .. }
            | State::Finished { .. }
            | State::Failed { .. }
            | State::OutcomeUnknown { .. }
            | State::Expired
            | State::Withdrawn { .. }
            | State::Stale { .. }
            | State::Grant { .. }
            | State::Redeemed { .. }
            | State::Lapsed { .. } => {}
        }
    }

    /// Ends a request or grant whose deadline is over.
    fn end_overdue(&mut self, request: RequestId, now: Moment) -> Result<(), StoreError> {
        if !self.deadlines.is_over(request, now) {
            return Ok(());
        }
        let Some(held) = self.store.request(request)? else {
            return Ok(());
        };
        let state = self.unless_moved(&held, when_over(&held.state), With::default(), now)?;
        if matches!(state, State::Expired) {
            self.wakes.push((request, Wake::Expired));
        }
        Ok(())
    }

    fn credential_ended(
        &mut self,
        principal: &PrincipalName,
        now: Moment,
    ) -> Result<Option<String>, StoreError> {
        let agent = self.store.agent(principal.as_str())?;
        Ok(match agent {
            Some(agent) => agent.ended(now.wall).map(|ended| ended.to_string()),
            None => Some("the credential is gone".to_owned()),
        })
    }

    /// Reads agents again when the file has changed, and ends what belongs to credentials that have ended.
    fn follow_agents(&mut self, now: Moment) -> Result<(), StoreError> {
        let version = self.store.data_version()?;
        if self.data_version != Some(version) {
            self.agents = self.store.agents()?;
            self.data_version = Some(version);
        }
        let newly: Vec<(PrincipalName, String)> = self
            .agents
            .iter()
            .filter(|agent| !self.ended.contains(&agent.name))
            .filter_map(|agent| {
                agent
                    .ended(now.wall)
                    .map(|why| (agent.name.clone(), why.to_string()))
            })
            .collect();
        for (principal, why) in newly {
            self.end_requests_of(&principal, &why, now)?;
            self.ended.insert(principal.clone());
            // Nobody may be listening.
            let _ = self.ended_credentials.send(CredentialEnded { principal, why });
        }
        Ok(())
    }

    /// People or agents changed on this connection, which the file's version does not tell.
    pub fn people_changed(&mut self, now: Moment) {
        self.data_version = None;
        self.tick(now);
    }

    fn end_requests_of(
        &mut self,
        principal: &PrincipalName,
        why: &str,
        now: Moment,
    ) -> Result<(), StoreError> {
        for held in self
            .store
            .open_requests()?
            .iter()
            .filter(|held| held.peer.principal == *principal)
        {
            let state = self.unless_moved(
                held,
                Event::Withdraw { why: why.to_owned() },
                With::default(),
                now,
            )?;
            if state != held.state {
                self.wakes
                    .push((held.id, Wake::Withdrawn { why: why.to_owned() }));
            }
        }
        Ok(())
    }

    /// Moves it and gives the new state, or the one it has if the move is no longer legal.
    fn unless_moved(
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

    fn move_it(
        &mut self,
        held: &HeldRequest,
        event: Event,
        with: With,
        now: Moment,
    ) -> Result<HeldRequest, NotMoved> {
        self.move_from(held, &Expected::of(held), event, with, now)
    }

    fn move_from(
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
    fn move_with(
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
            .save(&moved, expected, with.decision.as_ref(), &notes)?
        {
            Saved::Lost => Err(NotMoved::Lost),
            Saved::Kept => {
                self.deadlines.follow(&moved, now);
                self.announce(&moved);
                Ok(moved)
            }
        }
    }

    fn announce(&mut self, held: &HeldRequest) {
        self.announcements.push(DeskEvent {
            request: held.id,
            state: held.state.kind(),
            version: held.version,
            at: held.changed_at,
        });
    }

    fn record(&mut self, body: Body<'_>, now: Moment) -> Result<(), DeskError> {
        self.clerk.record(now.wall, body).map_err(|error| {
            warn!("record not written: {error}");
            DeskError::LogUnavailable
        })
    }

    /// Brings what the log still has to be told to disk; nothing new is begun while that fails.
    fn log_is_ready(&mut self, now: Moment) -> Result<(), NotRecorded> {
        self.pay_owed(now);
        self.clerk_carries_over(now)
    }

    /// Like `log_is_ready`, where a failure only delays what is told.
    fn tell(&mut self, now: Moment) {
        if let Err(error) = self.clerk_carries_over(now)
            && self.may_complain(now)
        {
            warn!("log not written yet: {error}");
        }
    }

    /// A fault that lasts is told now and then, not at every tick.
    fn may_complain(&mut self, now: Moment) -> bool {
        let may = self
            .complained_at
            .is_none_or(|at| now.boot >= at + COMPLAIN_EVERY);
        if may {
            self.complained_at = Some(now.boot);
        }
        may
    }

    fn clerk_carries_over(&mut self, now: Moment) -> Result<(), NotRecorded> {
        self.clerk.carry_over(&mut self.store)?;
        for (request, wake) in std::mem::take(&mut self.wakes) {
            self.waiters.wake(request, wake, now.boot);
        }
        for event in std::mem::take(&mut self.announcements) {
            // Nobody may be listening.
            let _ = self.events.send(event);
        }
        Ok(())
    }

    fn owe(&mut self, request: RequestId, owed: Owed, error: &StoreError) {
        warn!(request.id = %request, "request {request} not moved yet, it is tried again: {error}");
        let strongest = match (self.owed.remove(&request), owed) {
            // A run's end and a claim's settling are never given up for less.
            (Some(kept @ (Owed::Finish(_) | Owed::Abandon(..))), Owed::Leave(_) | Owed::Withdraw(_)) => kept,
            (Some(kept @ Owed::Withdraw(_)), Owed::Leave(_)) => kept,
            (_, owed) => owed,
        };
        self.owed.insert(request, strongest);
    }

    fn pay_owed(&mut self, now: Moment) {
        let mut is_refused = false;
        for (request, owed) in std::mem::take(&mut self.owed) {
            if is_refused {
                self.owed.insert(request, owed);
                continue;
            }
            let paid = match &owed {
                Owed::Leave(why) => self.detach_now(request, *why, now).map(|_| ()),
                Owed::Withdraw(why) => self.withdraw_now(request, why, now).map(|_| ()),
                Owed::Abandon(claim, why) => self.abandon_now(request, *claim, why, now),
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

fn presented(ask: &Ask) -> Presented<'_> {
    Presented {
        digest: ask.digest,
        names: &ask.names,
        rules: ask.rules,
    }
}

fn attempt_note(request: RequestId, attempt: AttemptId) -> Note {
    Note::Attempt {
        request: request.to_string(),
        session: attempt.session.0,
        number: attempt.number,
    }
}

fn event_note(held: &HeldRequest, event: &str, by: Option<String>, detail: &str) -> Note {
    Note::Event {
        request: held.id.to_string(),
        session: held.attempt.session.0,
        event: event.to_owned(),
        by,
        detail: detail.to_owned(),
    }
}

fn said_by(event: &Event) -> Option<String> {
    match event {
        Event::Approve { by, .. } => by.last().map(ToString::to_string),
        Event::Deny { by, .. } => Some(by.to_string()),
        Event::Expire
        | Event::Withdraw { .. }
        | Event::Leave { .. }
        | Event::Reattach
        | Event::GoStale { .. }
        | Event::Claim { .. }
        | Event::Redeem { .. }
        | Event::Abandon { .. }
        | Event::Finish { .. }
        | Event::Fail { .. }
        | Event::LoseOutcome { .. }
        | Event::Lapse { .. } => None,
    }
}

fn started_word(state: &State) -> &'static str {
    if matches!(state, State::Redeemed { .. }) {
        "redeemed"
    } else {
        "started"
    }
}

/// What the log calls the arrival in a state; a decision has a record of its own.
fn event_word(state: &State, was_reattached: bool) -> Option<&'static str> {
    match state {
        State::Pending if was_reattached => Some("reattached"),
        State::Pending => Some("held"),
        State::Detached => Some("detached"),
        State::Approved { .. } | State::Denied { .. } => None,
        State::Running { .. } => Some("started"),
        State::Finished { .. } => Some("finished"),
        State::Failed { .. } => Some("failed"),
        State::OutcomeUnknown { .. } => Some("outcome_unknown"),
        State::Expired => Some("expired"),
        State::Withdrawn { .. } => Some("withdrawn"),
        State::Stale { .. } => Some("stale"),
        State::Grant { .. } => Some("granted"),
        State::Redeemed { ran: None, .. } => Some("redeemed"),
        State::Redeemed {
            ran: Some(Ran::Finished { .. }),
            ..
        } => Some("finished"),
        State::Redeemed {
            ran: Some(Ran::Failed { .. }),
            ..
        } => Some("failed"),
        State::Lapsed { .. } => Some("lapsed"),
    }
}

/// What a move says of the attempt that is its request's newest; `None` while that goes on, or has ended before.
fn outcome_of(from: &State, to: &State, detail: &str) -> Option<Outcome> {
    let is_waited_for = match from {
        State::Pending | State::Approved { .. } | State::Running { .. } => true,
        State::Redeemed { ran, .. } => ran.is_none(),
        State::Detached
        | State::Finished { .. }
        | State::Failed { .. }
        | State::OutcomeUnknown { .. }
        | State::Denied { .. }
        | State::Expired
        | State::Withdrawn { .. }
        | State::Stale { .. }
        | State::Grant { .. }
        | State::Lapsed { .. } => false,
    };
    let refused = |sqlstate: &str, message: &str| Outcome::Refused {
        sqlstate: sqlstate.to_owned(),
        message: message.to_owned(),
    };
    let outcome = match to {
        State::Pending
        | State::Approved { .. }
        | State::Running { .. }
        | State::Redeemed { ran: None, .. } => None,
        State::Detached | State::Grant { .. } => Some(refused("55000", detail)),
        State::Finished { rows, tag }
        | State::Redeemed {
            ran: Some(Ran::Finished { rows, tag }),
            ..
        } => Some(Outcome::Ran {
            rows: *rows,
            tag: tag.clone(),
        }),
        State::Failed { sqlstate, message }
        | State::Redeemed {
            ran: Some(Ran::Failed { sqlstate, message }),
            ..
        } => Some(Outcome::Failed {
            sqlstate: sqlstate.clone(),
            message: message.clone(),
        }),
        State::OutcomeUnknown { why } => Some(Outcome::Unknown { message: why.clone() }),
        State::Denied { reason, .. } => Some(refused("42501", reason)),
        State::Expired => Some(refused("57014", "it expired")),
        State::Withdrawn { why } => Some(Outcome::Cancelled { message: why.clone() }),
        State::Stale { why } | State::Lapsed { why } => Some(refused("55000", why)),
    };
    outcome.filter(|_| is_waited_for)
}

fn detail_of(state: &State) -> String {
    match state {
        State::OutcomeUnknown { why }
        | State::Withdrawn { why }
        | State::Stale { why }
        | State::Lapsed { why } => why.clone(),
        State::Grant { until } => format!("until {until}"),
        State::Pending
        | State::Detached
        | State::Approved { .. }
        | State::Denied { .. }
        | State::Running { .. }
        | State::Finished { .. }
        | State::Failed { .. }
        | State::Expired
        | State::Redeemed { .. } => String::new(),
    }
}

fn already_decided(held: &HeldRequest) -> DecideError {
    DecideError::AlreadyDecided {
        by: held.decisions.last().map(|said| said.by.clone()),
        state: held.state.kind(),
    }
}

fn log_store_error(error: &StoreError) {
    warn!("store unavailable: {error}");
}

pub(super) fn desk_store_error(error: StoreError) -> DeskError {
    log_store_error(&error);
    DeskError::StoreUnavailable
}

fn ask_store_error(error: StoreError) -> AskError {
    log_store_error(&error);
    AskError::StoreUnavailable
}

fn start_store_error(error: StoreError) -> NotStarted {
    log_store_error(&error);
    NotStarted::StoreUnavailable
}

fn decide_store_error(error: StoreError) -> DecideError {
    log_store_error(&error);
    DecideError::StoreUnavailable
}

fn start_not_moved(not_moved: NotMoved) -> NotStarted {
    match not_moved {
        NotMoved::Store(error) => start_store_error(error),
        NotMoved::Illegal(illegal) => NotStarted::NotApproved(illegal.from.kind()),
        NotMoved::Lost => NotStarted::NotFound,
    }
}

fn ask_not_recorded(error: NotRecorded) -> AskError {
    match error {
        NotRecorded::Store(error) => ask_store_error(error),
        NotRecorded::Log(error) => {
            warn!("log not written: {error}");
            AskError::LogUnavailable
        }
    }
}

fn start_not_recorded(error: NotRecorded) -> NotStarted {
    match error {
        NotRecorded::Store(error) => start_store_error(error),
        NotRecorded::Log(error) => {
            warn!("log not written: {error}");
            NotStarted::LogUnavailable
        }
    }
}

fn decide_not_recorded(error: NotRecorded) -> DecideError {
    match error {
        NotRecorded::Store(error) => decide_store_error(error),
        NotRecorded::Log(error) => {
            warn!("log not written: {error}");
            DecideError::LogUnavailable
        }
    }
}
