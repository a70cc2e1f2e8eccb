//! The single right to run one statement. Never copied: it is consumed by the forwarding of the bytes.
//! Made here alone, out of an allow of the rules, of a claimed approval or of a counted use of a standing grant.
//! Read `grant.rs` next.
//!
//! Why a value: a byte that goes upstream without a person's or a rule's consent must not compile.

use crate::hold::{ClaimId, Event, Guards, HeldRequest, IllegalMove, RequestId, StandingGrant, State, step};
use crate::identity::principal::AttemptId;
use crate::policy::Allowed;
use crate::sql::action::Judgement;

/// The right to forward the bytes of one attempt, once.
#[derive(Debug)]
#[must_use = "a permit that is dropped is an approval that is lost"]
pub struct Permit {
    attempt: AttemptId,
    request: Option<RequestId>,
    guards: Guards,
}

/// Proof of the legal move from an approval to a run. It becomes a `Permit` when the move is stored and logged.
#[derive(Debug)]
pub struct Claimed {
    request: RequestId,
    attempt: AttemptId,
    guards: Guards,
}

/// Proof that a sending may run by a standing grant. It becomes a `Permit` when the use is counted in the store and
/// logged.
#[derive(Debug)]
pub struct Covered {
    request: RequestId,
    attempt: AttemptId,
    guards: Guards,
}

impl Permit {
    /// The rules let it pass.
    pub fn from_allow(_token: Allowed, attempt: AttemptId) -> Self {
        Self {
            attempt,
            request: None,
            guards: Guards::default(),
        }
    }

    /// Parse alone: it neither plans nor runs anything, and reads no literal as a type that could run code.
    /// `None` if that is not known of every statement in the text.
    pub fn from_safe_parse(judgement: &Judgement, attempt: AttemptId) -> Option<Self> {
        let is_safe = judgement.actions.iter().all(|action| action.parse_is_safe);
        is_safe.then_some(Self {
            attempt,
            request: None,
            guards: Guards::default(),
        })
    }

    /// A person let it pass, and the claim is stored and on disk in the log.
    pub fn from_claim(claimed: Claimed) -> Self {
        Self {
            attempt: claimed.attempt,
            request: Some(claimed.request),
            guards: claimed.guards,
        }
    }

    /// A person let all of its shape pass, and this use is counted and on disk in the log.
    pub fn from_standing(covered: Covered) -> Self {
        Self {
            attempt: covered.attempt,
            request: Some(covered.request),
            guards: covered.guards,
        }
    }

    pub fn attempt(&self) -> AttemptId {
        self.attempt
    }

    /// What must hold while its bytes run.
    pub fn guards(&self) -> Guards {
        self.guards
    }

    /// The request whose approval it is; `None` if the rules let it pass.
    pub fn request(&self) -> Option<RequestId> {
        self.request
    }
}

/// The start of a run: from an approval that its client waited for, or from a grant. `attempt` is the sending that runs.
pub fn claim(
    held: &HeldRequest,
    claim: ClaimId,
    attempt: AttemptId,
) -> Result<(State, Claimed), IllegalMove> {
    let event = match &held.state {
        State::Grant { .. } => Event::Redeem { claim },
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
        | State::Lapsed { .. } => Event::Claim { claim },
    };
    let next = step(held.state.clone(), event)?;
    Ok((
        next,
        Claimed {
            request: held.id,
            attempt,
            guards: held.guards(),
        },
    ))
}

/// One more use of a standing grant, by a sending that is not stored yet: its request is born running. `None` if it may
/// not use it.
pub fn cover(
    grant: &StandingGrant,
    sent: HeldRequest,
    claim: ClaimId,
) -> Option<(StandingGrant, HeldRequest, Covered)> {
    if sent.state != State::Pending {
        return None;
    }
    grant.guards.fit(&sent).ok()?;
    let (mut used, by) = grant.used(&sent)?;
    used.changed_at = used.changed_at.max(sent.changed_at);
    let covered = Covered {
        request: sent.id,
        attempt: sent.attempt,
        guards: grant.guards,
    };
    let running = HeldRequest {
        state: State::Running { claim },
        covered_by: Some(by),
        ..sent
    };
    Some((used, running, covered))
}
