//! Every state of a held statement and every legal move between them, in one total function.
//! Never stores or wakes anything: `desk` does. Read `permit.rs` next.

use std::fmt;

use crate::clock::Timestamp;
use crate::hold::ClaimId;
use crate::identity::principal::PersonName;

/// Where a held statement stands (DESIGN section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// A client waits for the decision.
    Pending,
    /// Undecided, and its client has left or its wait is over.
    Detached,
    /// Decided, its client still waits; not started yet.
    Approved {
        by: Vec<PersonName>,
        reason: String,
    },
    /// Claimed: it may have reached the server.
    Running {
        claim: ClaimId,
    },
    Finished {
        rows: Option<u64>,
        tag: String,
    },
    Failed {
        sqlstate: String,
        message: String,
    },
    /// It ran or not, nobody can tell; never run again.
    OutcomeUnknown {
        why: String,
    },
    Denied {
        by: PersonName,
        reason: String,
    },
    Expired,
    Withdrawn {
        why: String,
    },
    /// What was approved is not what would run now.
    Stale {
        why: String,
    },
    /// Approved while nobody waited: the same bytes of the same principal run once until then.
    Grant {
        until: Timestamp,
    },
    /// The grant is spent; `ran` is its outcome once that is known.
    Redeemed {
        claim: ClaimId,
        ran: Option<Ran>,
    },
    Lapsed {
        why: String,
    },
}

/// How a run ended, where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    Finished { rows: Option<u64>, tag: String },
    Failed { sqlstate: String, message: String },
}

/// A state without its data: what lists, filters and events speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StateKind {
    Pending,
    Detached,
    Approved,
    Running,
    Finished,
    Failed,
    OutcomeUnknown,
    Denied,
    Expired,
    Withdrawn,
    Stale,
    Grant,
    Redeemed,
    Lapsed,
}

/// What can happen to a held statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The last approval needed. `grant` is until when it would let the same bytes through if nobody waits;
    /// `None` if it may not become a grant.
    Approve {
        by: Vec<PersonName>,
        reason: String,
        grant: Option<Timestamp>,
    },
    Deny {
        by: PersonName,
        reason: String,
    },
    /// The deadline for deciding has passed.
    Expire,
    /// Cancelled by its client, its credential ended, or its transaction was ended by the server.
    Withdraw {
        why: String,
    },
    /// The client left or its wait is over; `grant` as in `Approve`.
    Leave {
        grant: Option<Timestamp>,
    },
    /// The same principal sent the same bytes again.
    Reattach,
    /// Digest, names, rules or server are no longer those of the request; or its guards could not be set.
    GoStale {
        why: String,
    },
    /// The one compare-and-set that starts a run.
    Claim {
        claim: ClaimId,
    },
    /// The same principal sent the same bytes of a grant.
    Redeem {
        claim: ClaimId,
    },
    /// A claimed run that provably never reached the server.
    Abandon {
        why: String,
    },
    Finish {
        rows: Option<u64>,
        tag: String,
    },
    Fail {
        sqlstate: String,
        message: String,
    },
    /// Server or proxy was lost while it ran.
    LoseOutcome {
        why: String,
    },
    /// The grant's life is over, or it was revoked.
    Lapse {
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request that is {} cannot {event}", from.kind())]
pub struct IllegalMove {
    pub from: State,
    pub event: Event,
}

/// The state that follows, or the reason why none does.
pub fn step(from: State, event: Event) -> Result<State, IllegalMove> {
    use Event as E;
    use State as S;
    match (from, event) {
        (S::Pending, E::Approve { by, reason, .. }) => Ok(S::Approved { by, reason }),
        (
            S::Detached,
            E::Approve {
                grant: Some(until), ..
            },
        ) => Ok(S::Grant { until }),
        (S::Pending | S::Detached, E::Deny { by, reason }) => Ok(S::Denied { by, reason }),
        (S::Pending | S::Detached, E::Expire) => Ok(S::Expired),
        (S::Pending | S::Detached | S::Approved { .. }, E::Withdraw { why }) => Ok(S::Withdrawn { why }),
        (S::Pending | S::Detached | S::Approved { .. }, E::GoStale { why }) => Ok(S::Stale { why }),
        (S::Pending, E::Leave { .. }) => Ok(S::Detached),
        (S::Approved { .. }, E::Leave { grant: Some(until) }) => Ok(S::Grant { until }),
        (S::Approved { .. }, E::Leave { grant: None }) => Ok(S::Withdrawn {
            why: "its client left, and its transaction had already written".to_owned(),
        }),
        (S::Detached, E::Reattach) => Ok(S::Pending),
        (S::Approved { .. }, E::Claim { claim }) => Ok(S::Running { claim }),
        (S::Grant { .. }, E::Redeem { claim }) => Ok(S::Redeemed { claim, ran: None }),
        (S::Grant { .. }, E::Lapse { why } | E::Withdraw { why } | E::GoStale { why }) => {
            Ok(S::Lapsed { why })
        }
        (S::Running { .. } | S::Redeemed { ran: None, .. }, E::Abandon { why }) => Ok(S::Withdrawn { why }),
        // Claimed, and not sent: what was approved with it could not be set.
        (S::Running { .. } | S::Redeemed { ran: None, .. }, E::GoStale { why }) => Ok(S::Stale { why }),
        (S::Running { .. }, E::Finish { rows, tag }) => Ok(S::Finished { rows, tag }),
        (S::Running { .. }, E::Fail { sqlstate, message }) => Ok(S::Failed { sqlstate, message }),
        (S::Redeemed { claim, ran: None }, E::Finish { rows, tag }) => Ok(S::Redeemed {
            claim,
            ran: Some(Ran::Finished { rows, tag }),
        }),
        (S::Redeemed { claim, ran: None }, E::Fail { sqlstate, message }) => Ok(S::Redeemed {
            claim,
            ran: Some(Ran::Failed { sqlstate, message }),
        }),
        (S::Running { .. } | S::Redeemed { ran: None, .. }, E::LoseOutcome { why }) => {
            Ok(S::OutcomeUnknown { why })
        }

        (
            from @ S::Pending,
            event @ (E::Reattach | E::Claim { .. } | E::Redeem { .. } | E::Abandon { .. }),
        )
        | (
            from @ S::Pending,
            event @ (E::Finish { .. } | E::Fail { .. } | E::LoseOutcome { .. } | E::Lapse { .. }),
        )
        | (
            from @ S::Detached,
            event @ (E::Approve { grant: None, .. } | E::Leave { .. } | E::Claim { .. }),
        )
        | (
            from @ S::Detached,
            event @ (E::Redeem { .. } | E::Abandon { .. } | E::Finish { .. } | E::Fail { .. }),
        )
        | (from @ S::Detached, event @ (E::LoseOutcome { .. } | E::Lapse { .. }))
        | (
            from @ S::Approved { .. },
            event @ (E::Approve { .. } | E::Deny { .. } | E::Expire | E::Reattach),
        )
        | (from @ S::Approved { .. }, event @ (E::Redeem { .. } | E::Abandon { .. } | E::Finish { .. }))
        | (from @ S::Approved { .. }, event @ (E::Fail { .. } | E::LoseOutcome { .. } | E::Lapse { .. }))
        | (
            from @ S::Grant { .. },
            event @ (E::Approve { .. } | E::Deny { .. } | E::Expire | E::Leave { .. }),
        )
        | (
            from @ S::Grant { .. },
            event @ (E::Reattach | E::Claim { .. } | E::Abandon { .. } | E::Finish { .. }),
        )
        | (from @ S::Grant { .. }, event @ (E::Fail { .. } | E::LoseOutcome { .. }))
        | (
            from @ (S::Running { .. } | S::Redeemed { ran: None, .. }),
            event @ (E::Approve { .. }
            | E::Deny { .. }
            | E::Expire
            | E::Withdraw { .. }
            | E::Leave { .. }
            | E::Reattach
            | E::Claim { .. }
            | E::Redeem { .. }
            | E::Lapse { .. }),
        )
        | (
            from @ (S::Finished { .. }
            | S::Failed { .. }
            | S::OutcomeUnknown { .. }
            | S::Denied { .. }
            | S::Expired
            | S::Withdrawn { .. }
            | S::Stale { .. }
            | S::Redeemed { ran: Some(_), .. }
            | S::Lapsed { .. }),
            event @ (E::Approve { .. }
            | E::Deny { .. }
            | E::Expire
            | E::Withdraw { .. }
            | E::Leave { .. }
            | E::Reattach
            | E::GoStale { .. }
            | E::Claim { .. }
            | E::Redeem { .. }
            | E::Abandon { .. }
            | E::Finish { .. }
            | E::Fail { .. }
            | E::LoseOutcome { .. }
            | E::Lapse { .. }),
        ) => Err(IllegalMove { from, event }),
    }
}

impl State {
    pub fn kind(&self) -> StateKind {
        match self {
            Self::Pending => StateKind::Pending,
            Self::Detached => StateKind::Detached,
            Self::Approved { .. } => StateKind::Approved,
            Self::Running { .. } => StateKind::Running,
            Self::Finished { .. } => StateKind::Finished,
            Self::Failed { .. } => StateKind::Failed,
            Self::OutcomeUnknown { .. } => StateKind::OutcomeUnknown,
            Self::Denied { .. } => StateKind::Denied,
            Self::Expired => StateKind::Expired,
            Self::Withdrawn { .. } => StateKind::Withdrawn,
            Self::Stale { .. } => StateKind::Stale,
            Self::Grant { .. } => StateKind::Grant,
            Self::Redeemed { .. } => StateKind::Redeemed,
            Self::Lapsed { .. } => StateKind::Lapsed,
        }
    }

    /// Whether a person may still decide.
    pub fn is_undecided(&self) -> bool {
        matches!(self, Self::Pending | Self::Detached)
    }

    /// Whether nothing can change it any more.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Pending
            | Self::Detached
            | Self::Approved { .. }
            | Self::Running { .. }
            | Self::Grant { .. } => false,
            Self::Redeemed { ran, .. } => ran.is_some(),
            Self::Finished { .. }
            | Self::Failed { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Denied { .. }
            | Self::Expired
            | Self::Withdrawn { .. }
            | Self::Stale { .. }
            | Self::Lapsed { .. } => true,
        }
    }

    /// The claim under which it runs, if it runs.
    pub fn claim(&self) -> Option<ClaimId> {
        match self {
            Self::Running { claim } | Self::Redeemed { claim, .. } => Some(*claim),
            Self::Pending
            | Self::Detached
            | Self::Approved { .. }
            | Self::Finished { .. }
            | Self::Failed { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Denied { .. }
            | Self::Expired
            | Self::Withdrawn { .. }
            | Self::Stale { .. }
            | Self::Grant { .. }
            | Self::Lapsed { .. } => None,
        }
    }
}

impl StateKind {
    pub const ALL: [Self; 14] = [
        Self::Pending,
        Self::Detached,
        Self::Approved,
        Self::Running,
        Self::Finished,
        Self::Failed,
        Self::OutcomeUnknown,
        Self::Denied,
        Self::Expired,
        Self::Withdrawn,
        Self::Stale,
        Self::Grant,
        Self::Redeemed,
        Self::Lapsed,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Detached => "detached",
            Self::Approved => "approved",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Stale => "stale",
            Self::Grant => "grant",
            Self::Redeemed => "redeemed",
            Self::Lapsed => "lapsed",
        }
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Approve { .. } => "be approved",
            Self::Deny { .. } => "be denied",
            Self::Expire => "expire",
            Self::Withdraw { .. } => "be withdrawn",
            Self::Leave { .. } => "be left by its client",
            Self::Reattach => "be re-attached",
            Self::GoStale { .. } => "go stale",
            Self::Claim { .. } => "be claimed",
            Self::Redeem { .. } => "be redeemed",
            Self::Abandon { .. } => "be abandoned",
            Self::Finish { .. } => "finish",
            Self::Fail { .. } => "fail",
            Self::LoseOutcome { .. } => "lose its outcome",
            Self::Lapse { .. } => "lapse",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: Timestamp = Timestamp::from_micros(7);
    const CLAIM: ClaimId = ClaimId(1);

    fn name() -> PersonName {
        PersonName::parse("dora").expect("a valid name")
    }

    fn why() -> String {
        "why".to_owned()
    }

    fn states() -> Vec<State> {
        let ran = Some(Ran::Finished {
            rows: Some(3),
            tag: why(),
        });
        vec![
            State::Pending,
            State::Detached,
            State::Approved {
                by: vec![name()],
                reason: why(),
            },
            State::Running { claim: CLAIM },
            State::Finished {
                rows: None,
                tag: why(),
            },
            State::Failed {
                sqlstate: why(),
                message: why(),
            },
            State::OutcomeUnknown { why: why() },
            State::Denied {
                by: name(),
                reason: why(),
            },
            State::Expired,
            State::Withdrawn { why: why() },
            State::Stale { why: why() },
            State::Grant { until: UNTIL },
            State::Redeemed {
                claim: CLAIM,
                ran: None,
            },
            State::Redeemed { claim: CLAIM, ran },
            State::Lapsed { why: why() },
        ]
    }

    fn events() -> Vec<(&'static str, Event)> {
        vec![
            (
                "approve",
                Event::Approve {
                    by: vec![name()],
                    reason: why(),
                    grant: Some(UNTIL),
                },
            ),
            (
                "approve, no grant",
                Event::Approve {
                    by: vec![name()],
                    reason: why(),
                    grant: None,
                },
            ),
            (
                "deny",
                Event::Deny {
                    by: name(),
                    reason: why(),
                },
            ),
            ("expire", Event::Expire),
            ("withdraw", Event::Withdraw { why: why() }),
            ("leave", Event::Leave { grant: Some(UNTIL) }),
            ("leave, no grant", Event::Leave { grant: None }),
            ("reattach", Event::Reattach),
            ("go stale", Event::GoStale { why: why() }),
            ("claim", Event::Claim { claim: CLAIM }),
            ("redeem", Event::Redeem { claim: CLAIM }),
            ("abandon", Event::Abandon { why: why() }),
            (
                "finish",
                Event::Finish {
                    rows: None,
                    tag: why(),
                },
            ),
            (
                "fail",
                Event::Fail {
                    sqlstate: why(),
                    message: why(),
                },
            ),
            ("lose", Event::LoseOutcome { why: why() }),
            ("lapse", Event::Lapse { why: why() }),
        ]
    }

    /// Every legal move of DESIGN section 5; whatever is not listed is illegal.
    const LEGAL: &[(&str, &str, &str)] = &[
        ("pending", "approve", "approved"),
        ("pending", "approve, no grant", "approved"),
        ("pending", "deny", "denied"),
        ("pending", "expire", "expired"),
        ("pending", "withdraw", "withdrawn"),
        ("pending", "leave", "detached"),
        ("pending", "leave, no grant", "detached"),
        ("pending", "go stale", "stale"),
        ("detached", "approve", "grant"),
        ("detached", "deny", "denied"),
        ("detached", "expire", "expired"),
        ("detached", "withdraw", "withdrawn"),
        ("detached", "reattach", "pending"),
        ("detached", "go stale", "stale"),
        ("approved", "withdraw", "withdrawn"),
        ("approved", "leave", "grant"),
        ("approved", "leave, no grant", "withdrawn"),
        ("approved", "go stale", "stale"),
        ("approved", "claim", "running"),
        ("running", "abandon", "withdrawn"),
        ("running", "finish", "finished"),
        ("running", "fail", "failed"),
        ("running", "lose", "outcome_unknown"),
        ("running", "go stale", "stale"),
        ("grant", "redeem", "redeemed"),
        ("grant", "lapse", "lapsed"),
        ("grant", "withdraw", "lapsed"),
        ("grant", "go stale", "lapsed"),
        ("redeemed", "abandon", "withdrawn"),
        ("redeemed", "finish", "redeemed"),
        ("redeemed", "fail", "redeemed"),
        ("redeemed", "lose", "outcome_unknown"),
        ("redeemed", "go stale", "stale"),
    ];

    #[test]
    fn every_move_of_the_design_is_legal_and_no_other() {
        for state in states() {
            for (word, event) in events() {
                let listed = LEGAL
                    .iter()
                    .find(|(from, by, _)| *from == state.kind().as_str() && *by == word);
                let expected = listed.filter(|_| !state.is_terminal()).map(|(_, _, to)| *to);
                let moved = step(state.clone(), event);
                let found = moved.as_ref().ok().map(|state| state.kind().as_str());
                assert_eq!(found, expected, "{state:?}, {word}");
            }
        }
    }

    #[test]
    fn terminal_states_never_change() {
        for state in states().into_iter().filter(State::is_terminal) {
            for (word, event) in events() {
                assert!(step(state.clone(), event).is_err(), "{state:?}, {word}");
            }
        }
    }

    #[test]
    fn a_kind_is_read_as_it_is_written() {
        for kind in StateKind::ALL {
            assert_eq!(StateKind::parse(&kind.to_string()), Some(kind));
        }
    }
}
