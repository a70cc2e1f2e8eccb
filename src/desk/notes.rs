//! What the log is told of each move, and in which words.
//! Never writes it: `record.rs` does. Read `waiters.rs` next.

use crate::hold::{Event, HeldRequest, Ran, RequestId, StandingGrant, State};
use crate::identity::principal::{AttemptId, SessionId};
use crate::store::{Note, Outcome};

pub(super) fn attempt_note(request: RequestId, attempt: AttemptId) -> Note {
    Note::Attempt {
        request: request.to_string(),
        session: attempt.session.0,
        number: attempt.number,
    }
}

pub(super) fn event_note(held: &HeldRequest, event: &str, by: Option<String>, detail: &str) -> Note {
    Note::Event {
        request: held.id.to_string(),
        session: held.attempt.session.0,
        event: event.to_owned(),
        by,
        detail: detail.to_owned(),
    }
}

/// `request` is the one that ran, or the one that the grant was decided in.
pub(super) fn grant_note(
    grant: &StandingGrant,
    request: RequestId,
    session: Option<SessionId>,
    event: &str,
    by: Option<String>,
    detail: &str,
) -> Note {
    Note::Grant {
        grant: grant.id.to_string(),
        request: request.to_string(),
        decided_in: grant.request.to_string(),
        session: session.map(|session| session.0),
        event: event.to_owned(),
        by,
        detail: detail.to_owned(),
    }
}

pub(super) fn said_by(event: &Event) -> Option<String> {
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

pub(super) fn started_word(state: &State) -> &'static str {
    if matches!(state, State::Redeemed { .. }) {
        "redeemed"
    } else {
        "started"
    }
}

/// What the log calls the arrival in a state; a decision has a record of its own.
pub(super) fn event_word(state: &State, was_reattached: bool) -> Option<&'static str> {
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
pub(super) fn outcome_of(from: &State, to: &State, detail: &str) -> Option<Outcome> {
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

pub(super) fn detail_of(state: &State) -> String {
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
