//! An approval becomes a run: claimed, logged as started, permitted once, and its end kept.
//! Never forwards a byte. Read `leave.rs` next.

use rand::Rng as _;
use tracing::warn;

use crate::desk::core::{Core, Owed, With};
use crate::desk::notes::{event_note, started_word};
use crate::desk::{DeskError, Detach, Moment, NotStarted, RunOutcome, crash_point};
use crate::hold::{ClaimId, Event, HeldRequest, Permit, Presented, RequestId, State, claim, compare};
use crate::identity::principal::AttemptId;
use crate::store::sqlite::StoreError;
use crate::store::{Expected, Note, Saved};

impl Core {
    /// The claim: one compare-and-set, `started` on disk in the log, then the permit. Where store or log are not there
    /// the session is refused and waits no longer, so the approval is owed the move to a grant.
    pub fn start_run(
        &mut self,
        request: RequestId,
        presented: Presented<'_>,
        now: Moment,
    ) -> Result<Permit, NotStarted> {
        let started = self.try_start(request, presented, now);
        if let Err(NotStarted::LogUnavailable | NotStarted::StoreUnavailable) = started {
            self.waiters.forget(request);
            self.owed.entry(request).or_insert(Owed::Leave(Detach::WaitOver));
        }
        started
    }

    fn try_start(
        &mut self,
        request: RequestId,
        presented: Presented<'_>,
        now: Moment,
    ) -> Result<Permit, NotStarted> {
        if self.is_stopping {
            return Err(NotStarted::Stopping);
        }
        self.log_is_ready(now)?;
        let held = self.store.request(request)?.ok_or(NotStarted::NotFound)?;
        if !matches!(held.state, State::Approved { .. }) || held.owner != self.owner {
            return Err(NotStarted::NotApproved(held.state.kind()));
        }
        if let Some(why) = self.credential_ended(&held.peer.principal, now)? {
            self.move_it(&held, Event::Withdraw { why }, With::default(), now)?;
            self.tell(now);
            return Err(NotStarted::CredentialEnded);
        }
        let changed = compare(&held, presented).err().map(|changed| changed.to_string());
        let changed = match changed {
            Some(why) => Some(why),
            None => self.why_approved_no_longer(&held)?,
        };
        if let Some(why) = changed {
            self.move_it(&held, Event::GoStale { why: why.clone() }, With::default(), now)?;
            self.tell(now);
            return Err(NotStarted::Stale { why });
        }
        self.claim_run(&held, held.attempt, Vec::new(), now)
    }

    pub(super) fn claim_run(
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
                return Err(error.into());
            }
        }
        crash_point("claimed");
        self.waiters.forget(held.id);
        self.follow_request(&moved, now);
        self.announce(&moved);
        if let Err(error) = self.clerk_carries_over(now) {
            self.abandon(
                held.id,
                id,
                "the log could not be written, so it was not run",
                now,
            );
            return Err(error.into());
        }
        crash_point("started");
        Ok(Permit::from_claim(claimed))
    }

    pub(super) fn not_started_now(&mut self, request: RequestId) -> NotStarted {
        match self.store.request(request) {
            Ok(Some(held)) => NotStarted::NotApproved(held.state.kind()),
            Ok(None) => NotStarted::NotFound,
            Err(error) => error.into(),
        }
    }

    pub(super) fn abandon(&mut self, request: RequestId, claim: ClaimId, why: &str, now: Moment) {
        if let Err(error) = self.abandon_now(request, claim, why, now) {
            self.owe(request, Owed::Abandon(claim, why.to_owned()), &error);
        }
        self.tell(now);
    }

    pub(super) fn abandon_now(
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
                Err(error.into())
            }
        }
    }

    pub(super) fn finish_now(
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
        let ends_run = matches!(event, Event::Fail { .. } | Event::LoseOutcome { .. });
        let state = self.unless_moved(&held, event, With::default(), now)?;
        if ends_run {
            self.end_run_of(&held, now)?;
        }
        crash_point("outcome_stored");
        self.tell(now);
        Ok(state)
    }

    /// A claimed run that was not sent, because what was approved with it could not be set: it needs a fresh decision.
    pub fn not_sent(&mut self, permit: Permit, why: &str, now: Moment) {
        let Some(request) = permit.request() else {
            return;
        };
        let moved = self.store.request(request).and_then(|held| match held {
            Some(held) if held.state.claim().is_some() => {
                let stale = Event::GoStale { why: why.to_owned() };
                self.unless_moved(&held, stale, With::default(), now).map(|_| ())
            }
            Some(_) | None => Ok(()),
        });
        match (moved, self.store.claim_of(request)) {
            (Ok(()), _) => self.tell(now),
            (Err(_), Ok(Some(claim))) => self.abandon(request, claim, why, now),
            (Err(error), _) => {
                warn!(request.id = %request, "run of request {request} not taken back: {error}")
            }
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
}
