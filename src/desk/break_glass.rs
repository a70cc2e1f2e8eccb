//! One person approves alone, whatever the rule asks for: at 2 a.m., with nobody else awake.
//! Never over promise 4, never without a second log-in, never more than this one run. Read `review.rs` for what follows.
//!
//! Why a factor has to be a day old: whoever has stolen a token of somebody without one could enrol an app of their own
//! by it, and step up by that a moment later.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::desk::core::Core;
use crate::desk::decide::already_decided;
use crate::desk::{DecideError, Moment, NotSure, Told, crash_point};
use crate::hold::{Approval, Authority, Digest, Guards, HeldRequest, RemarkKind, RequestId};
use crate::identity::assurance::{Assurance, STEP_UP_WITHIN};
use crate::identity::behind::Behind;
use crate::identity::directory::{Hands, Person, WhyNot, may_break_glass};
use crate::identity::principal::PersonName;
use crate::store::sqlite::StoreError;

/// How often one person may, within a day, where the settings say nothing: more is no emergency but a rule that is wrong.
pub const BREAK_GLASS_PER_DAY: u32 = 3;

/// What counts as a day: the last 24 hours, so that midnight doubles nothing.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A second factor enrolled later does not count here.
pub const FACTOR_AGE_MIN: Duration = DAY;

/// An approval by one person alone. `by` is the person who is signed in.
#[derive(Clone, Debug)]
pub struct BreakGlass {
    pub by: PersonName,
    /// Everybody else who has seen the token, and so may be the one who speaks.
    pub token_seen_by: BTreeSet<PersonName>,
    /// How surely it is that person.
    pub assurance: Assurance,
    /// When the session began: what was shown to sign in is no second log-in. `None` for a token's call.
    pub signed_in_at: Option<Timestamp>,
    /// Must not be empty; other people read it.
    pub reason: String,
    /// What the person was shown; compared when given.
    pub digest: Option<Digest>,
    /// The version that the person was shown; compared when given.
    pub version: Option<u64>,
    /// What is to hold while it runs.
    pub guards: Guards,
    /// `api`, `cli` …
    pub channel: String,
    /// The same key again gives the same answer again.
    pub idempotency: Option<String>,
}

impl Core {
    /// One person approves what waits: the same compare-and-set as for every decision, and a review that stays open.
    pub fn break_glass(
        &mut self,
        request: RequestId,
        said: &BreakGlass,
        now: Moment,
    ) -> Result<HeldRequest, DecideError> {
        if self.is_stopping {
            return Err(DecideError::Stopping);
        }
        if said.reason.trim().is_empty() {
            return Err(DecideError::NoReason);
        }
        self.log_is_ready(now)?;
        let held = self.load_decidable(request, now)?;
        if let Some(key) = &said.idempotency
            && self.store.said_under(request, &said.by, key)?
        {
            return Ok(held);
        }
        if !held.state.is_undecided() {
            return Err(already_decided(&held));
        }
        if said.digest.is_some_and(|digest| digest != held.digest)
            || said.version.is_some_and(|version| version != held.version)
        {
            return Err(DecideError::Stale {
                digest: held.digest,
                version: held.version,
            });
        }
        let hands = Hands {
            person: said.by.clone(),
            token_seen_by: said.token_seen_by.clone(),
        };
        let (person, behind) = self
            .may_break_glass(&held, &hands, now)?
            .map_err(DecideError::NotPermitted)?;
        self.has_logged_in_twice(&said.by, said.assurance, said.signed_in_at, now)?
            .map_err(DecideError::NotSure)?;
        self.was_shown_whole(&held, &said.by)?;
        self.is_seldom_enough(&said.by, now)?;
        said.guards.fit(&held).map_err(DecideError::NotGuarded)?;
        let approval = approval(said, &person, &behind, now);
        let held = self.keep_decision(&held, approval, said.assurance, said.idempotency.clone(), now)?;
        self.announce_that(&held, Told::Said(RemarkKind::BreakGlass));
        self.wake_decided(&held);
        crash_point("glass_broken");
        self.clerk_carries_over(now)?;
        crash_point("break_glass_logged");
        Ok(held)
    }

    /// Promise 4 with who had a stake when it was asked and who has one now, and the role of the person's own: nobody is
    /// made a delegate for this.
    pub(super) fn may_break_glass(
        &mut self,
        held: &HeldRequest,
        hands: &Hands,
        now: Moment,
    ) -> Result<Result<(Person, Behind), WhyNot>, StoreError> {
        let Some(person) = self.store.person(&hands.person)? else {
            return Ok(Err(WhyNot::Inactive(hands.person.clone())));
        };
        let behind = self.behind(hands, now)?;
        let agent = self.principal(&held.peer.principal)?;
        let current = agent.map(|agent| agent.stakes());
        let mut stakes = [Some(&held.stakes), current.as_ref()].into_iter().flatten();
        let checked = stakes.try_for_each(|stakes| may_break_glass(&person, &behind, stakes));
        Ok(checked.map(|()| (person, behind)))
    }

    /// A second factor that is not new, given lately and not to sign in: whatever the risk, and whatever the settings ask
    /// for otherwise.
    pub(super) fn has_logged_in_twice(
        &mut self,
        person: &PersonName,
        assurance: Assurance,
        signed_in_at: Option<Timestamp>,
        now: Moment,
    ) -> Result<Result<(), NotSure>, StoreError> {
        let by = || person.clone();
        let Some(since) = self.store.factors(person)?.second_since else {
            return Ok(Err(NotSure::NoSecondFactor { by: by() }));
        };
        if since.after(FACTOR_AGE_MIN) > now.wall {
            return Ok(Err(NotSure::SecondFactorTooNew { by: by() }));
        }
        let is_second = match (assurance.strong_at, signed_in_at) {
            (Some(strong_at), Some(signed_in_at)) => strong_at > signed_in_at,
            (Some(_), None) => true,
            (None, _) => false,
        };
        Ok(if is_second && assurance.is_strong(STEP_UP_WITHIN, now.wall) {
            Ok(())
        } else {
            Err(NotSure::SecondLogInNeeded)
        })
    }

    fn is_seldom_enough(&mut self, by: &PersonName, now: Moment) -> Result<(), DecideError> {
        let limit = self.settings.break_glass_per_day;
        if limit == 0 {
            return Err(DecideError::BreakGlassOff);
        }
        let day = i64::try_from(DAY.as_micros()).unwrap_or(i64::MAX);
        let since = Timestamp::from_micros(now.wall.micros().saturating_sub(day));
        if self.store.broken_since(by, since)? >= limit {
            let by = by.clone();
            return Err(DecideError::BreakGlassTooOften { by, limit });
        }
        Ok(())
    }
}

/// Without terms: what one person approves alone makes no standing grant.
fn approval(said: &BreakGlass, person: &Person, behind: &Behind, now: Moment) -> Approval {
    Approval {
        by: said.by.clone(),
        token_seen_by: behind.everybody(),
        groups: Some(person.all_groups()),
        approves: true,
        authority: Authority::BreakGlass,
        reason: said.reason.trim().to_owned(),
        channel: said.channel.clone(),
        terms: None,
        run: None,
        guards: said.guards,
        at: now.wall,
    }
}
