//! A statement is put before people: taken up again, let through by an approval or a standing grant, or held anew.
//! Never decides. Read `standing.rs`, then `decide.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng as _;
use tracing::info;

use crate::catalog::impact::Impact;
use crate::desk::act::{remark_note, reply_text};
use crate::desk::core::{Core, NotMoved, Owed, With};
use crate::desk::expiry::when_over;
use crate::desk::notes::{attempt_note, event_note};
use crate::desk::{Ask, AskError, Asked, Detach, Moment, NotStarted, Parked, Told, crash_point};
use crate::hold::{
    Event, HeldRequest, HeldStatement, Parameter, Presented, Remark, RemarkKind, RequestId, Speaker, State,
    compare, masked,
};
use crate::identity::directory::{Agent, Stakes};
use crate::store::{Expected, NewRemark, Saved};

/// Ids drawn before a full store is assumed: at a million requests each draw is free with 999 of 1000.
const ID_DRAWS_MAX: usize = 16;

/// Replies of the agent that stand beside one request: people's remarks must find room there. Later ones are not kept.
const REPLIES_MAX: usize = 20;

/// Two ticks, a slow disk, and a little.
const EXPIRY_TOLD_WITHIN: Duration = Duration::from_secs(1);

impl Core {
    /// Redeems an approval of these bytes, uses a standing grant, re-attaches, or makes a new request; in the log when it
    /// returns.
    pub fn ask(&mut self, ask: &Ask, now: Moment) -> Result<Asked, AskError> {
        if self.is_stopping {
            return Err(AskError::Stopping);
        }
        self.log_is_ready(now)?;
        let agent = self.principal(&ask.peer.principal)?;
        let agent = agent
            .filter(|agent| agent.ended(now.wall).is_none())
            .ok_or(AskError::CredentialEnded)?;
        let alike = self.store.open_alike(&ask.peer.principal, ask.digest)?;
        let is_approved = alike.iter().any(|held| matches!(held.state, State::Grant { .. }));
        if !is_approved && let Some(asked) = self.use_standing(ask, &agent, &alike, now)? {
            return Ok(asked);
        }
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
        let waiting = self.store.undecided_of(&ask.peer.principal)?;
        if waiting >= self.settings.held_per_principal_max {
            return Err(AskError::TooMany {
                limit: self.settings.held_per_principal_max,
            });
        }
        self.hold(ask, &agent, now)
    }

    pub(super) fn hold(&mut self, ask: &Ask, agent: &Agent, now: Moment) -> Result<Asked, AskError> {
        let mut held = self.new_request(ask, agent.stakes(), now);
        let mut draws = 0;
        loop {
            let detail = format!("rule {}", held.rule);
            let mut notes = vec![
                attempt_note(held.id, held.attempt),
                event_note(&held, "held", None, &detail),
            ];
            let remarks = reply_of(ask, &held, now);
            notes.extend(remarks.iter().map(|new| remark_note(&held, &new.remark)));
            match self.store.insert(&held, &remarks, &notes)? {
                Saved::Kept => break,
                Saved::Lost if draws < ID_DRAWS_MAX => draws += 1,
                Saved::Lost => return Err(AskError::StoreUnavailable),
            }
            held.id = RequestId::from_random(self.random.next_u32());
        }
        crash_point("request_stored");
        self.withheld.keep(held.id, ask);
        self.follow_request(&held, now);
        self.announce(&held);
        self.park(&held, ask, false, now)
    }

    pub(super) fn new_request(&mut self, ask: &Ask, stakes: Stakes, now: Moment) -> HeldRequest {
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
            shape: Self::shape_of(ask),
            in_run: Self::in_run(ask),
            standing_grant: None,
            covered_by: None,
            parameters: ask.parameters.iter().map(Parameter::kept).collect(),
            column_labels: ask.column_labels.clone(),
            transaction: ask.transaction,
            copies_in: ask.copies_in,
            claimed: ask.claimed.clone(),
            facts: ask.facts.clone(),
            withheld_facts: ask.withheld_facts.keys().cloned().collect(),
            impact: Impact::estimating(tables_of(ask)),
            names: ask.names.clone(),
            rules: ask.rules,
            rule: ask.verdict.rule.to_string(),
            rule_line: ask.verdict.line,
            risk: ask.verdict.risk,
            reasons: ask.verdict.reasons.clone(),
            requirement: ask.verdict.requirement.clone().of_somebody(),
            escalate_to: ask.verdict.escalate_to.clone(),
            escalated_at: None,
            delegations: Vec::new(),
            stakes,
            decisions: Vec::new(),
            discussion: Vec::new(),
            created_at: now.wall,
            changed_at: now.wall,
            wait_ends_at: now.wall.after(ask.wait.min(ask.expires)),
            expires_at: now.wall.after(ask.expires),
        }
    }

    /// Puts the session to sleep on a request that is stored; withdraws it if the log cannot be written.
    pub(super) fn park(
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
            return Err(error.into());
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
    pub(super) fn reattach(
        &mut self,
        held: &HeldRequest,
        ask: &Ask,
        now: Moment,
    ) -> Result<Option<Asked>, AskError> {
        if self.deadlines.is_over(held.id, now) {
            return self.pass_by(held, when_over(&held.state), now);
        }
        let changed = compare(held, presented(ask))
            .err()
            .map(|changed| changed.to_string());
        let changed = match changed {
            Some(why) => Some(why),
            None => self.why_approved_no_longer(held)?,
        };
        if let Some(why) = changed {
            return self.pass_by(held, Event::GoStale { why }, now);
        }
        self.withheld.keep(held.id, ask);
        let mut sent = held.clone();
        sent.peer = (*ask.peer).clone();
        sent.attempt = ask.attempt;
        sent.transaction = ask.transaction;
        sent.claimed = ask.claimed.clone();
        sent.facts = ask.facts.clone();
        sent.withheld_facts = ask.withheld_facts.keys().cloned().collect();
        sent.wait_ends_at = now.wall.after(ask.wait).min(held.expires_at);
        let remarks = reply_of(ask, &sent, now);
        let mut notes = vec![attempt_note(held.id, ask.attempt)];
        notes.extend(remarks.iter().map(|new| remark_note(&sent, &new.remark)));
        let is_answered = !remarks.is_empty();
        let with = With {
            remarks,
            notes,
            ..With::default()
        };
        match self.move_from(&sent, &Expected::of(held), Event::Reattach, with, now) {
            Ok(held) if is_answered => {
                self.announce_that(&held, Told::Said(RemarkKind::Reply));
                self.park(&held, ask, true, now).map(Some)
            }
            Ok(held) => {
                let asked = self.park(&held, ask, true, now)?;
                match self.ask_again(&held, now) {
                    Ok(()) => self.tell(now),
                    // The session waits then, as it would without a question.
                    Err(NotMoved::Lost | NotMoved::Illegal(_)) => {}
                    Err(NotMoved::Store(error)) => return Err(error.into()),
                }
                Ok(Some(asked))
            }
            Err(NotMoved::Lost | NotMoved::Illegal(_)) => Ok(None),
            Err(NotMoved::Store(error)) => Err(error.into()),
        }
    }

    /// `None` if the grant no longer holds: then a new request is made.
    pub(super) fn redeem(
        &mut self,
        held: &HeldRequest,
        ask: &Ask,
        now: Moment,
    ) -> Result<Option<Asked>, AskError> {
        if self.deadlines.is_over(held.id, now) {
            return self.pass_by(held, when_over(&held.state), now);
        }
        let changed = compare(held, presented(ask))
            .err()
            .map(|changed| changed.to_string());
        let changed = match changed {
            Some(why) => Some(why),
            None => self.why_approved_no_longer(held)?,
        };
        if let Some(why) = changed {
            return self.pass_by(held, Event::GoStale { why }, now);
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
    pub(super) fn pass_by(
        &mut self,
        held: &HeldRequest,
        event: Event,
        now: Moment,
    ) -> Result<Option<Asked>, AskError> {
        match self.move_it(held, event, With::default(), now) {
            Ok(_) | Err(NotMoved::Lost | NotMoved::Illegal(_)) => Ok(None),
            Err(NotMoved::Store(error)) => Err(error.into()),
        }
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
}

/// The remark that the agent sends along, if it answers.
fn reply_of(ask: &Ask, held: &HeldRequest, now: Moment) -> Vec<NewRemark> {
    let text = ask.reply.as_deref().map(reply_text).unwrap_or_default();
    let is_reply = |remark: &&Remark| remark.kind == RemarkKind::Reply;
    let replies = held.discussion.iter().filter(is_reply).count();
    if text.is_empty() || replies >= REPLIES_MAX {
        return Vec::new();
    }
    let remark = Remark {
        at: now.wall,
        by: Speaker::Agent(held.peer.principal.clone()),
        kind: RemarkKind::Reply,
        text,
        to: None,
        channel: String::new(),
    };
    vec![NewRemark {
        remark,
        version: held.version,
        idempotency: None,
    }]
}

fn tables_of(ask: &Ask) -> BTreeSet<String> {
    let tables = ask.judgement.actions.iter().flat_map(|action| &action.tables);
    tables.map(ToString::to_string).collect()
}

fn presented(ask: &Ask) -> Presented<'_> {
    Presented {
        digest: ask.digest,
        names: &ask.names,
        rules: ask.rules,
    }
}
