//! What people say of a request: promise 4, then one compare-and-set from undecided.
//! Never runs anything. Read `run.rs` next.

use std::collections::BTreeSet;

use crate::clock::Timestamp;
use crate::desk::core::{Core, NotMoved, With};
use crate::desk::notes::grant_note;
use crate::desk::{Decide, DecideError, Decision, DecisionScope, Moment, NotSure, Wake, crash_point};
use crate::hold::{Approval, Authority, Event, Guards, HeldRequest, RequestId, StandingGrant, State};
use crate::identity::assurance::{Assurance, STEP_UP_WITHIN, SecondFactor};
use crate::identity::behind::Behind;
use crate::identity::directory::{Hands, Person, WhyNot, may_decide};
use crate::identity::principal::PersonName;
use crate::policy::Risk;
use crate::store::sqlite::StoreError;
use crate::store::{Expected, NewDecision, Note, Saved};

impl Core {
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
        self.log_is_ready(now)?;
        let mut held = self.load_decidable(request, now)?;
        if let Some(key) = &decide.idempotency
            && self.store.said_under(request, &decide.by, key)?
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
        let groups = self
            .may_say(&held, &decide.hands(), decide.decision, now)?
            .map_err(DecideError::NotPermitted)?;
        if decide.decision == Decision::Approve {
            self.is_sure_enough(&held, &decide.by, decide.assurance, now)?
                .map_err(DecideError::NotSure)?;
            self.was_shown_whole(&held, &decide.by)?;
        }
        let (terms, run) = match (decide.decision, &decide.scope) {
            (Decision::Approve, DecisionScope::Fingerprint(terms)) => {
                self.may_stand(&held, decide, *terms, None)?;
                (Some(*terms), None)
            }
            (Decision::Approve, DecisionScope::Run(terms, covers)) => {
                let covers = covers.clone().or_of(&held);
                self.may_stand(&held, decide, *terms, Some(&covers))?;
                (Some(*terms), Some(covers))
            }
            (Decision::Approve, DecisionScope::Once) | (Decision::Deny, _) => (None, None),
        };
        let guards = match decide.decision {
            Decision::Approve => decide.guards,
            Decision::Deny => Guards::default(),
        };
        guards.fit(&held).map_err(DecideError::NotGuarded)?;
        let said = Approval {
            by: decide.by.clone(),
            token_seen_by: self.behind(&decide.hands(), now)?.everybody(),
            groups: Some(groups),
            approves: decide.decision == Decision::Approve,
            authority: Authority::Rule,
            reason: decide.reason.clone(),
            channel: decide.channel.clone(),
            terms,
            run,
            guards,
            at: now.wall,
        };
        held = self.keep_decision(&held, said, decide.assurance, decide.idempotency.clone(), now)?;
        self.wake_decided(&held);
        crash_point("decision_stored");
        self.clerk_carries_over(now)?;
        crash_point("decision_logged");
        Ok(held)
    }

    pub(super) fn load_decidable(
        &mut self,
        request: RequestId,
        now: Moment,
    ) -> Result<HeldRequest, DecideError> {
        self.end_overdue(request, now)?;
        self.store.request(request)?.ok_or(DecideError::NotFound)
    }

    /// Promise 4 and the requirement; gives the groups that the person counts for.
    pub(super) fn may_say(
        &mut self,
        held: &HeldRequest,
        hands: &Hands,
        decision: Decision,
        now: Moment,
    ) -> Result<Result<BTreeSet<String>, WhyNot>, StoreError> {
        let asked = match decision {
            Decision::Approve => held.requirement_now().groups(),
            Decision::Deny => held.groups_concerned(),
        };
        let groups = match self.counts_as(held, hands, &asked, now)? {
            Ok(groups) => groups,
            Err(why) => return Ok(Err(why)),
        };
        let by = &hands.person;
        if held.decisions.iter().any(|said| said.by == *by) {
            return Ok(Err(WhyNot::HasApproved(by.clone())));
        }
        // A denial needs no count: whoever else may be behind it, one word is enough.
        if decision == Decision::Deny {
            return Ok(Ok(groups));
        }
        let mut all = self.behind(hands, now)?.everybody();
        all.insert(by.clone());
        Ok(if let Some((with, hand)) = held.approved_by_one_of(&all) {
            Err(WhyNot::CountsAsOne { with, hand })
        } else if let Some(to) = held.delegated_by(by) {
            Err(WhyNot::HasDelegated(by.clone(), to.clone()))
        } else if held.would_count(&groups) {
            Ok(groups)
        } else {
            Err(WhyNot::NotNeeded(by.clone(), held.requirement_now().to_string()))
        })
    }

    /// The groups that a person counts for, those of who has delegated to that person included; or why the person has
    /// no say: promise 4, the role, or none of the groups `asked` for (none: any will do).
    pub(super) fn counts_as(
        &mut self,
        held: &HeldRequest,
        hands: &Hands,
        asked: &[String],
        now: Moment,
    ) -> Result<Result<BTreeSet<String>, WhyNot>, StoreError> {
        let mut groups = match self.has_no_stake(held, hands, now)? {
            Ok(person) => person.all_groups(),
            Err(why) => return Ok(Err(why)),
        };
        for delegation in held.delegations.iter().filter(|given| given.to == hands.person) {
            // Nobody hands on what they have lost since, or never had.
            if let Ok(from) = self.has_no_stake(held, &Hands::from(&delegation.from), now)? {
                groups.extend(from.all_groups());
            }
        }
        let is_asked = asked.is_empty() || asked.iter().any(|group| groups.contains(group));
        Ok(if is_asked {
            Ok(groups)
        } else {
            Err(WhyNot::NotInAGroup(hands.person.clone(), asked.to_vec()))
        })
    }

    /// Promise 4 and the role, with who had a stake when it was asked and who has one now.
    pub(super) fn has_no_stake(
        &mut self,
        held: &HeldRequest,
        hands: &Hands,
        now: Moment,
    ) -> Result<Result<Person, WhyNot>, StoreError> {
        let Some(person) = self.store.person(&hands.person)? else {
            return Ok(Err(WhyNot::Inactive(hands.person.clone())));
        };
        let behind = self.behind(hands, now)?;
        let agent = self.principal(&held.peer.principal)?;
        let current = agent.map(|agent| agent.stakes());
        let mut stakes = [Some(&held.stakes), current.as_ref()].into_iter().flatten();
        let checked = stakes.try_for_each(|stakes| may_decide(&person, &behind, stakes, &[]));
        Ok(checked.map(|()| person))
    }

    /// Who besides the person may be the one who speaks now.
    pub(super) fn behind(&mut self, hands: &Hands, now: Moment) -> Result<Behind, StoreError> {
        Ok(Behind {
            seen_by: hands.token_seen_by.clone(),
            set_by: self.store.ways_in_set(&hands.person, now.wall)?,
        })
    }

    /// Whoever has a second factor gives it for approvals of what is risky: a stolen token or cookie alone approves none.
    /// A denial needs nothing more.
    pub(super) fn is_sure_enough(
        &mut self,
        held: &HeldRequest,
        by: &PersonName,
        assurance: Assurance,
        now: Moment,
    ) -> Result<Result<(), NotSure>, StoreError> {
        if held.risk < Risk::High {
            return Ok(Ok(()));
        }
        let has_second = self.store.factors(by)?.has_second();
        Ok(match (has_second, self.settings.second_factor) {
            (true, _) if assurance.is_strong(STEP_UP_WITHIN, now.wall) => Ok(()),
            (true, _) => Err(NotSure::StepUpNeeded { risk: held.risk }),
            (false, SecondFactor::Offered) => Ok(()),
            (false, SecondFactor::Required) => Err(NotSure::SecondFactorNeeded {
                by: by.clone(),
                risk: held.risk,
            }),
        })
    }

    pub(super) fn keep_decision(
        &mut self,
        held: &HeldRequest,
        said: Approval,
        assurance: Assurance,
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
            scope: scope_words(&said),
            breaks_glass: said.authority == Authority::BreakGlass,
            method: assurance.method.to_string(),
            second_factor_at: assurance.strong_at.map(Timestamp::micros),
        };
        let mut people = decided.approved_by();
        // Whoever speaks now is told of as the last, though they may have spoken before.
        people.retain(|name| *name != said.by);
        people.push(said.by.clone());
        let is_enough = decided.is_approved_by_enough();
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
        let made = match &event {
            Some(Event::Approve { .. }) => self.standing_of(&decided, now)?,
            Some(_) | None => None,
        };
        let mut notes = vec![note];
        if let Some(grant) = &made {
            decided.standing_grant = Some(grant.id);
            notes.push(made_note(grant));
        }
        let with = With {
            decision: Some(NewDecision {
                said,
                idempotency,
                grant: made.clone(),
            }),
            notes,
            ..With::default()
        };
        let expected = Expected::of(held);
        let moved = match event {
            Some(event) => self.move_from(&decided, &expected, event, with, now),
            None => self.keep_same_state(decided, &expected, with, now),
        };
        if let (Ok(_), Some(grant)) = (&moved, made) {
            self.follow_standing(&grant, now);
            self.announce_standing(&grant, None);
        }
        moved.map_err(|not_moved| match not_moved {
            NotMoved::Store(error) => error.into(),
            NotMoved::Lost | NotMoved::Illegal(_) => match self.store.request(held.id) {
                Ok(Some(held)) => already_decided(&held),
                Ok(None) => DecideError::NotFound,
                Err(error) => error.into(),
            },
        })
    }

    /// A change that leaves the state as it is: an approval that is not the last one needed, an escalation …
    pub(super) fn keep_same_state(
        &mut self,
        mut held: HeldRequest,
        expected: &Expected,
        with: With,
        now: Moment,
    ) -> Result<HeldRequest, NotMoved> {
        held.version += 1;
        held.changed_at = now.wall.max(held.changed_at);
        match self.store.save_with(
            &held,
            expected,
            with.decision.as_ref(),
            &with.remarks,
            &with.notes,
        )? {
            Saved::Lost => Err(NotMoved::Lost),
            Saved::Kept => {
                self.follow_request(&held, now);
                self.announce(&held);
                Ok(held)
            }
        }
    }

    pub(super) fn wake_decided(&mut self, held: &HeldRequest) {
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
}

pub(super) fn already_decided(held: &HeldRequest) -> DecideError {
    DecideError::AlreadyDecided {
        by: held.decisions.last().map(|said| said.by.clone()),
        state: held.state.kind(),
    }
}

/// What the log says of an approval: what it covers, and who else may have given it, having seen what it was signed in by
/// or set it within a day.
fn scope_words(said: &Approval) -> String {
    let covered = covered_words(said);
    if !said.approves || said.token_seen_by.is_empty() {
        return covered;
    }
    let covered = if covered.is_empty() {
        "once".to_owned()
    } else {
        covered
    };
    let names: Vec<&str> = said.token_seen_by.iter().map(PersonName::as_str).collect();
    format!(
        "{covered}; signed in by what has been seen or lately set by {}",
        names.join(", ")
    )
}

/// What an approval covers; nothing for a plain one.
fn covered_words(said: &Approval) -> String {
    let covered = match (&said.run, &said.terms) {
        (Some(run), Some(terms)) => format!("{run}, {terms}"),
        (None, Some(terms)) => format!("fingerprint, {terms}"),
        (_, None) if said.guards.is_empty() => String::new(),
        (_, None) => "once".to_owned(),
    };
    match said.guards.is_empty() {
        true => covered,
        false => format!("{covered}; guards: {}", said.guards),
    }
}

fn made_note(grant: &StandingGrant) -> Note {
    let whose = match grant.session {
        Some(session) => format!("session {session}"),
        None => "every session".to_owned(),
    };
    let detail = format!("{} uses in all until {}, by {whose}", grant.uses_max, grant.until);
    let by = grant.made_by.last().map(|maker| maker.person.to_string());
    grant_note(grant, grant.request, None, "made", by, &detail)
}
