//! Standing grants at the desk: made with a decision, used instead of asking a person, ended by time or by people.
//! Never compares literals and never judges: `hold/standing.rs` says what must be alike. Read `run.rs` for the run.
//!
//! Why a use is a request of its own: it is counted, recorded, run and concluded exactly as an approval is, and what a
//! crash leaves of it is found in the same way. The count only ever goes up: what was counted and did not run is spent.

use rand::Rng as _;
use tracing::{info, warn};

use crate::clock::Timestamp;
use crate::desk::core::{Core, Owed};
use crate::desk::notes::{attempt_note, event_note, grant_note};
use crate::desk::{
    Ask, AskError, Asked, Decide, DecideError, DeskError, EndGrantError, GrantEvent, GrantShown, Moment,
    NotStanding, crash_point,
};
use crate::hold::{
    Approval, Authority, ClaimId, Digest, DigestBuilder, HeldRequest, InRun, Maker, Permit, Reach, RequestId,
    RunBounds, RunCovers, RunParts, Shape, ShapeParts, Standing, StandingEnd, StandingGrant, StandingGrantId,
    StandingKind, State, Terms, cover, statements_of,
};
use crate::identity::behind::Behind;
use crate::identity::directory::{Agent, Credential, Stakes, may_break_glass, may_decide};
use crate::identity::principal::{PersonName, SessionId};
use crate::store::sqlite::StoreError;
use crate::store::{Covering, Note, Saved};

/// As for requests: at a million of them each draw is free with 999 of 1000.
const ID_DRAWS_MAX: usize = 16;

/// Grants on one list; an owner of more than this many looks at those that are open.
const LIST_MAX: usize = 500;

/// Why nothing is looked up for a statement that nobody waits to decide.
const NOT_HELD: &str = "it ran by a standing grant, and was not held";

/// What became of one try at one grant.
enum Tried {
    Ran(Permit, RequestId),
    Not,
}

impl Core {
    pub(super) fn shape_of(ask: &Ask) -> Shape {
        Shape::of(ShapeParts {
            peer: &ask.peer,
            protocol: ask.protocol,
            judgement: &ask.judgement,
            verdict: &ask.verdict,
            parameters: &ask.parameters,
            transaction: ask.transaction,
            facts: &ask.facts,
            names: &ask.names,
            rules: ask.rules,
        })
    }

    pub(super) fn in_run(ask: &Ask) -> InRun {
        InRun::of(RunParts {
            peer: &ask.peer,
            protocol: ask.protocol,
            text: &ask.text,
            judgement: &ask.judgement,
            verdict: &ask.verdict,
            transaction: ask.transaction,
            facts: &ask.facts,
            names: &ask.names,
            rules: ask.rules,
        })
    }

    /// Runs the sending by a standing grant, if there is one for it; `None` if a person must decide.
    pub(super) fn use_standing(
        &mut self,
        ask: &Ask,
        agent: &Agent,
        alike: &[HeldRequest],
        now: Moment,
    ) -> Result<Option<Asked>, AskError> {
        let mut grants = Vec::new();
        if let Shape::Of(shape) = Self::shape_of(ask) {
            grants.extend(self.store.open_standing_grants_for(&ask.peer.principal, shape)?);
        }
        if let InRun::Fits(touches) = Self::in_run(ask) {
            grants.extend(
                self.store
                    .open_standing_grants_for(&ask.peer.principal, touches.frame)?,
            );
        }
        for grant in grants {
            if let Some(why) = self.why_lapsed(&grant, now)? {
                self.lapse(&grant, why, now)?;
                continue;
            }
            if let Tried::Ran(permit, request) = self.try_standing(&grant, ask, agent, now)? {
                self.withdraw_alike(alike, grant.id, now);
                return Ok(Some(Asked::Granted(permit, request)));
            }
        }
        Ok(None)
    }

    /// One use: counted together with its running request, on disk in the log, then the permit.
    fn try_standing(
        &mut self,
        grant: &StandingGrant,
        ask: &Ask,
        agent: &Agent,
        now: Moment,
    ) -> Result<Tried, AskError> {
        let claim = ClaimId(self.random.next_u64());
        let mut sent = self.new_request(ask, agent.stakes(), now);
        sent.impact.give_up(NOT_HELD);
        let Some((used, mut running, mut covered)) = cover(grant, sent, claim) else {
            return Ok(Tried::Not);
        };
        crash_point("before_use");
        let mut draws = 0;
        loop {
            let notes = use_notes(&used, &running);
            match self.store.insert_covered(&running, &used, grant.version, &notes) {
                Ok(Covering::Kept) => break,
                Ok(Covering::Lost) => return Ok(Tried::Not),
                Ok(Covering::IdTaken) if draws < ID_DRAWS_MAX => draws += 1,
                Ok(Covering::IdTaken) => return Err(AskError::StoreUnavailable),
                Err(error) => {
                    let why = "it is not known whether its use was counted".to_owned();
                    self.owe(running.id, Owed::Abandon(claim, why), &error);
                    return Err(error.into());
                }
            }
            let mut sent = self.new_request(ask, agent.stakes(), now);
            sent.id = RequestId::from_random(self.random.next_u32());
            sent.impact.give_up(NOT_HELD);
            let Some((_, again, proof)) = cover(grant, sent, claim) else {
                return Ok(Tried::Not);
            };
            (running, covered) = (again, proof);
        }
        crash_point("use_counted");
        self.follow_standing(&used, now);
        self.announce(&running);
        self.announce_standing(&used, Some(running.id));
        if let Err(error) = self.clerk_carries_over(now) {
            let why = "the log could not be written, so it was not run";
            self.abandon(running.id, claim, why, now);
            return Err(error.into());
        }
        crash_point("use_logged");
        info!(request.id = %running.id, principal.name = %running.peer.principal,
            "request {} runs by standing grant {}, use {} of {}", running.id, grant.id, used.uses, used.uses_max);
        Ok(Tried::Ran(Permit::from_standing(covered), running.id))
    }

    /// The same bytes waited for a person and have run now: nobody needs to decide them any more.
    fn withdraw_alike(&mut self, alike: &[HeldRequest], grant: StandingGrantId, now: Moment) {
        let why = format!("the same bytes ran by standing grant {grant}");
        for held in alike.iter().filter(|held| matches!(held.state, State::Detached)) {
            if let Err(error) = self.withdraw_now(held.id, &why, now) {
                self.owe(held.id, Owed::Withdraw(why.clone()), &error);
            }
        }
    }

    /// Whether this decision may ask for a standing grant.
    pub(super) fn may_stand(
        &mut self,
        held: &HeldRequest,
        decide: &Decide,
        terms: Terms,
        run: Option<&RunCovers>,
    ) -> Result<(), DecideError> {
        let refuse = |why| Err(DecideError::NotStanding(why));
        let limits = &self.settings.standing;
        if limits.minutes_max == 0 || limits.uses_max < 2 {
            return refuse(NotStanding::Off);
        }
        if !(1..=limits.minutes_max).contains(&terms.minutes) {
            return refuse(NotStanding::Minutes {
                max: limits.minutes_max,
            });
        }
        if !(2..=limits.uses_max).contains(&terms.uses) {
            return refuse(NotStanding::Uses { max: limits.uses_max });
        }
        match (run, &held.shape) {
            (Some(covers), _) => {
                if let Err(why) = RunBounds::of(held, covers, terms.reach) {
                    return refuse(NotStanding::NoRun { why });
                }
                let own = statements_of(held);
                if own >= terms.uses {
                    let why = format!(
                        "its message alone holds {own} statements, and nothing would be left for the run"
                    );
                    return refuse(NotStanding::NoRun { why });
                }
            }
            (None, Shape::DecidedEachTime { why }) => {
                return refuse(NotStanding::DecidedEachTime { why: why.clone() });
            }
            (None, Shape::Of(_)) if terms.reach == Reach::Transaction => {
                let why = "only a run is for one transaction".to_owned();
                return refuse(NotStanding::DecidedEachTime { why });
            }
            (None, Shape::Of(_)) => {}
        }
        let mut approvals = held.decisions.iter().filter(|said| said.approves);
        if let Some(said) = approvals.find(|said| said.terms.is_some() && said.run.is_some() != run.is_some())
        {
            return refuse(NotStanding::OtherKind { by: said.by.clone() });
        }
        let mut earlier = held.decisions.iter().filter(|said| said.approves);
        if let Some(said) = earlier.find(|said| said.terms.is_none() && said.by != decide.by) {
            return refuse(NotStanding::ApprovedOnce { by: said.by.clone() });
        }
        let limit = limits.per_principal_max;
        if self.store.open_standing_grants_of(&held.peer.principal)? >= limit {
            return refuse(NotStanding::TooMany { limit });
        }
        Ok(())
    }

    /// The standing grant that an approval makes: none unless everybody who was needed asked for one.
    pub(super) fn standing_of(
        &mut self,
        decided: &HeldRequest,
        now: Moment,
    ) -> Result<Option<StandingGrant>, StoreError> {
        let approvals: Vec<&Approval> = decided.decisions.iter().filter(|said| said.approves).collect();
        let terms: Option<Vec<Terms>> = approvals.iter().map(|said| said.terms).collect();
        let Some(terms) = terms.and_then(|terms| terms.into_iter().reduce(Terms::narrowest)) else {
            return Ok(None);
        };
        let covers = approvals.iter().filter_map(|said| said.run.clone());
        let covers = covers.reduce(|one, other| one.narrowest(&other));
        let run = match &covers {
            None => None,
            // What several people ask for may have too little in common.
            Some(covers) => match RunBounds::of(decided, covers, terms.reach) {
                Ok(run) => Some(run),
                Err(_) => return Ok(None),
            },
        };
        let shape = match (&run, &decided.shape, &decided.in_run) {
            (Some(_), _, InRun::Fits(touches)) => touches.frame,
            (None, Shape::Of(shape), _) => *shape,
            (Some(_), _, InRun::DecidedEachTime { .. }) | (None, Shape::DecidedEachTime { .. }, _) => {
                return Ok(None);
            }
        };
        let Some(agent) = self.principal(&decided.peer.principal)? else {
            return Ok(None);
        };
        // The run that was decided.
        let uses = if run.is_some() { statements_of(decided) } else { 1 };
        if uses >= terms.uses {
            return Ok(None);
        }
        let makers = approvals.iter().map(|said| maker_of(said, decided));
        Ok(Some(StandingGrant {
            id: self.free_standing_id()?,
            standing: Standing::Open,
            version: 1,
            request: decided.id,
            shape,
            run,
            principal: decided.peer.principal.clone(),
            session: (terms.reach != Reach::Principal).then_some(decided.peer.session),
            credential: credential_mark(&agent),
            approvers: decided.requirement_now().groups(),
            made_by: makers.collect(),
            guards: decided.guards(),
            uses,
            uses_max: terms.uses,
            made_at: now.wall,
            changed_at: now.wall,
            until: now.wall.after(terms.life()),
        }))
    }

    fn free_standing_id(&mut self) -> Result<StandingGrantId, StoreError> {
        for _ in 0..ID_DRAWS_MAX {
            let id = StandingGrantId::from_random(self.random.next_u32());
            if self.store.standing_grant(id)?.is_none() {
                return Ok(id);
            }
        }
        Err(StoreError::Failed(
            "no id is free for a standing grant".to_owned(),
        ))
    }

    /// Why an open grant no longer counts, if so: its time, its principal's credential, its makers (promise 4).
    fn why_lapsed(&mut self, grant: &StandingGrant, now: Moment) -> Result<Option<String>, StoreError> {
        if grant.until <= now.wall || self.standing_deadlines.is_over(grant.id, now) {
            return Ok(Some("its time is over".to_owned()));
        }
        let Some(agent) = self.principal(&grant.principal)? else {
            return Ok(Some("the credential is gone".to_owned()));
        };
        if let Some(ended) = agent.ended(now.wall) {
            return Ok(Some(ended.to_string()));
        }
        if credential_mark(&agent) != grant.credential {
            return Ok(Some("the agent's credential has been changed since".to_owned()));
        }
        let stakes = agent.stakes();
        for maker in &grant.made_by {
            if let Some(why) = self.why_made_no_longer(maker, &grant.approvers, &stakes)? {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// Why an approval that made a grant would not be one today, if so: each group that it counted for has to be one of
    /// its maker's still, or of somebody who delegated it and has no stake either.
    fn why_made_no_longer(
        &mut self,
        maker: &Maker,
        approvers: &[String],
        stakes: &Stakes,
    ) -> Result<Option<String>, StoreError> {
        let Some(person) = self.store.person(&maker.person)? else {
            return Ok(Some(format!("`{}`, who approved it, is gone", maker.person)));
        };
        if let Err(why) = may_decide(&person, &Behind::seen(&maker.token_seen_by), stakes, &[]) {
            return Ok(Some(format!("whoever approved it may no longer decide: {why}")));
        }
        let mut still = person.all_groups();
        for from in &maker.stands_for {
            if let Some(from) = self.store.person(from)?
                && may_decide(&from, &Behind::default(), stakes, &[]).is_ok()
            {
                still.extend(from.all_groups());
            }
        }
        let lost = maker.has_lost(approvers, &still);
        Ok((!lost.is_empty()).then(|| {
            let lost = lost.join("`, `");
            format!(
                "`{}`, who approved it, no longer counts for `{lost}`",
                maker.person
            )
        }))
    }

    /// Why what was approved may not run any more, if so: each approval has to be one that its approver could give now,
    /// with who had a stake when it was asked and who has one now (promise 4).
    pub(super) fn why_approved_no_longer(
        &mut self,
        held: &HeldRequest,
    ) -> Result<Option<String>, StoreError> {
        let asked = held.requirement_now().groups();
        let current = self.principal(&held.peer.principal)?.map(|agent| agent.stakes());
        let approvals = held.decisions.iter().filter(|said| said.approves);
        let is_alone = held.glass_broken().is_some();
        for said in approvals.filter(|said| !is_alone || said.authority == Authority::BreakGlass) {
            for stakes in [Some(&held.stakes), current.as_ref()].into_iter().flatten() {
                let why = match said.authority {
                    Authority::Rule => self.why_made_no_longer(&maker_of(said, held), &asked, stakes)?,
                    Authority::BreakGlass => self.why_broken_no_longer(said, stakes)?,
                };
                if why.is_some() {
                    return Ok(why);
                }
            }
        }
        Ok(None)
    }

    fn why_broken_no_longer(
        &mut self,
        said: &Approval,
        stakes: &Stakes,
    ) -> Result<Option<String>, StoreError> {
        let Some(person) = self.store.person(&said.by)? else {
            return Ok(Some(format!("`{}`, who approved it, is gone", said.by)));
        };
        let may = may_break_glass(&person, &Behind::seen(&said.token_seen_by), stakes);
        Ok(may
            .err()
            .map(|why| format!("whoever approved it may no longer decide: {why}")))
    }

    fn lapse(&mut self, grant: &StandingGrant, why: String, now: Moment) -> Result<(), StoreError> {
        info!("standing grant {} lapses: {why}", grant.id);
        self.end_standing(grant, StandingEnd::Lapse { why }, now)
            .map(|_| ())
    }

    /// Gives it as it is then; somebody else may have ended or used it first.
    fn end_standing(
        &mut self,
        grant: &StandingGrant,
        end: StandingEnd,
        now: Moment,
    ) -> Result<Option<StandingGrant>, StoreError> {
        let by = match &end {
            StandingEnd::Revoke { by, .. } => Some(by.to_string()),
            StandingEnd::Lapse { .. } => None,
        };
        let Ok(mut ended) = grant.ended(end) else {
            return Ok(None);
        };
        ended.changed_at = now.wall.max(grant.changed_at);
        let (word, detail) = match &ended.standing {
            Standing::Revoked { reason, .. } => ("revoked", reason.clone()),
            Standing::Lapsed { why } => ("lapsed", why.clone()),
            Standing::Open | Standing::UsedUp => return Ok(None),
        };
        let note = grant_note(&ended, ended.request, None, word, by, &detail);
        match self.store.end_standing_grant(&ended, grant.version, &[note])? {
            Saved::Lost => Ok(None),
            Saved::Kept => {
                self.follow_standing(&ended, now);
                self.announce_standing(&ended, None);
                Ok(Some(ended))
            }
        }
    }

    /// No statement runs by it from here on. Whoever has used up or ended it first is told as its state.
    pub fn revoke_standing(
        &mut self,
        id: StandingGrantId,
        by: &PersonName,
        reason: &str,
        now: Moment,
    ) -> Result<GrantShown, EndGrantError> {
        self.log_is_ready(now)?;
        let grant = self.store.standing_grant(id)?.ok_or(EndGrantError::NotFound)?;
        let end = StandingEnd::Revoke {
            by: by.clone(),
            reason: reason.to_owned(),
        };
        let ended = self.end_standing(&grant, end, now)?;
        self.clerk_carries_over(now)?;
        match ended {
            Some(grant) => {
                let decided = self
                    .store
                    .request(grant.request)?
                    .ok_or(EndGrantError::NotFound)?;
                Ok(GrantShown { grant, decided })
            }
            None => {
                let now = self.store.standing_grant(id)?.ok_or(EndGrantError::NotFound)?;
                Err(EndGrantError::NotOpen(now.standing.kind()))
            }
        }
    }

    pub fn standing_grant(&mut self, id: StandingGrantId) -> Result<GrantShown, DeskError> {
        let grant = self.store.standing_grant(id)?.ok_or(DeskError::NotFound)?;
        self.with_its_request(grant)
    }

    /// Newest first.
    pub fn standing_grants(
        &mut self,
        principal: Option<&str>,
        standing: Option<StandingKind>,
    ) -> Result<Vec<GrantShown>, DeskError> {
        let grants = self.store.standing_grants(principal, standing, LIST_MAX)?;
        grants
            .into_iter()
            .map(|grant| self.with_its_request(grant))
            .collect()
    }

    fn with_its_request(&mut self, grant: StandingGrant) -> Result<GrantShown, DeskError> {
        let decided = self.show(grant.request)?;
        Ok(GrantShown { grant, decided })
    }

    /// Ends those whose time is over.
    pub(super) fn end_overdue_standing(&mut self, now: Moment) -> Result<(), StoreError> {
        for id in self.standing_deadlines.over(now) {
            match self.store.standing_grant(id)? {
                Some(grant) if grant.standing == Standing::Open => {
                    self.lapse(&grant, "its time is over".to_owned(), now)?;
                }
                Some(_) | None => self.standing_deadlines.forget(id),
            }
        }
        Ok(())
    }

    /// Ends those whose credential or makers have changed.
    pub(super) fn review_standing(&mut self, now: Moment) -> Result<(), StoreError> {
        for grant in self.store.open_standing_grants()? {
            if let Some(why) = self.why_lapsed(&grant, now)? {
                self.lapse(&grant, why, now)?;
            }
        }
        Ok(())
    }

    /// What an earlier process left: sessions have ended with it, and the clock that counts suspension begins anew.
    pub(super) fn take_over_standing(&mut self, now: Moment) -> Result<(), StoreError> {
        for grant in self.store.open_standing_grants()? {
            if grant.session.is_some() {
                self.lapse(&grant, "its session has ended".to_owned(), now)?;
            } else {
                self.follow_standing(&grant, now);
            }
        }
        Ok(())
    }

    /// Its connection has closed: no other session may use what was granted to this one.
    pub fn session_ended(&mut self, session: SessionId, now: Moment) {
        if !self.standing_sessions.values().any(|of| *of == session) {
            return;
        }
        if let Err(error) = self.end_standing_of(session, now) {
            warn!(session.id = %session, "standing grants of an ended session end with their time: {error}");
        }
        self.tell(now);
    }

    /// A transaction of it has ended, in which held statements ran.
    pub fn transaction_ended(&mut self, session: SessionId, now: Moment) {
        if !self.standing_sessions.values().any(|of| *of == session) {
            return;
        }
        let ended = self.store.open_standing_grants().and_then(|grants| {
            for grant in grants {
                if grant.session == Some(session) && grant.ends_with_transaction() {
                    self.lapse(&grant, "its transaction has ended".to_owned(), now)?;
                }
            }
            Ok(())
        });
        if let Err(error) = ended {
            warn!(session.id = %session, "runs of an ended transaction end with their time: {error}");
        }
        self.tell(now);
    }

    /// A statement of a run that failed, or of which nobody knows what became, ends it: what follows was approved as
    /// what comes after a success.
    pub(super) fn end_run_of(&mut self, ran: &HeldRequest, now: Moment) -> Result<(), StoreError> {
        let by = ran.covered_by.as_ref().map(|covered| covered.grant);
        for id in by.into_iter().chain(ran.standing_grant) {
            match self.store.standing_grant(id)? {
                Some(grant) if grant.run.is_some() && grant.standing == Standing::Open => {
                    self.lapse(&grant, format!("statement {} of it has failed", ran.id), now)?;
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    fn end_standing_of(&mut self, session: SessionId, now: Moment) -> Result<(), StoreError> {
        for grant in self.store.open_standing_grants()? {
            if grant.session == Some(session) {
                self.lapse(&grant, "its session has ended".to_owned(), now)?;
            }
        }
        Ok(())
    }

    pub(super) fn follow_standing(&mut self, grant: &StandingGrant, now: Moment) {
        let end: Option<Timestamp> = (grant.standing == Standing::Open).then_some(grant.until);
        self.standing_deadlines.follow(grant.id, end, now);
        match grant.session.filter(|_| end.is_some()) {
            Some(session) => self.standing_sessions.insert(grant.id, session),
            None => self.standing_sessions.remove(&grant.id),
        };
    }

    pub(super) fn announce_standing(&mut self, grant: &StandingGrant, used_by: Option<RequestId>) {
        self.standing_announcements.push(GrantEvent {
            grant: grant.id,
            request: used_by.unwrap_or(grant.request),
            standing: grant.standing.kind(),
            uses: grant.uses,
            uses_max: grant.uses_max,
            at: grant.changed_at,
        });
    }
}

fn maker_of(said: &Approval, decided: &HeldRequest) -> Maker {
    let delegated = decided.delegations.iter().filter(|given| given.to == said.by);
    Maker {
        person: said.by.clone(),
        token_seen_by: said.token_seen_by.clone(),
        groups: said.groups.clone(),
        stands_for: delegated.map(|given| given.from.clone()).collect(),
    }
}

fn use_notes(used: &StandingGrant, running: &HeldRequest) -> Vec<Note> {
    let detail = format!("use {} of {}", used.uses, used.uses_max);
    let session = Some(running.attempt.session);
    let covered = format!("by standing grant {}, {detail}", used.id);
    vec![
        attempt_note(running.id, running.attempt),
        grant_note(used, running.id, session, "used", None, &detail),
        event_note(running, "started", None, &covered),
    ]
}

/// What an agent logs in with, as a mark that changes with it.
fn credential_mark(agent: &Agent) -> Digest {
    let mark = DigestBuilder::new("countersign credential 1");
    match &agent.credential {
        Credential::Secret(verifier) => mark.field("scram", verifier.to_string().as_bytes()),
        Credential::Certificate(name) => mark.field("certificate", name.to_string().as_bytes()),
        Credential::PassedOn => mark.absent("passed on"),
    }
    .finish()
}
