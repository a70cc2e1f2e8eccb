//! What people say by a channel: from the channel's proven words to the desk, as the person who is linked to them.
//! Never decides who may: `desk` does, as for every other way. Read `../desk/decide.rs` next.

use crate::desk::{Decide, DecideError, Decision, DecisionScope, Desk, DeskError};
use crate::hold::{Digest, Guards, HeldRequest, RequestId};
use crate::identity::assurance::Assurance;
use crate::identity::principal::PersonName;

/// What somebody says by a channel, proven to come from its service. `account` is who it is there, no person of ours.
#[derive(Clone, Debug)]
pub enum Answer {
    Decision {
        account: String,
        request: RequestId,
        decision: Decision,
        reason: String,
        /// Of what was shown; an approval without one is refused.
        digest: Option<Digest>,
        /// What the service calls the answer: the same again decides nothing again.
        id: String,
    },
    /// The code that links the account to its person.
    Link { account: String, code: String },
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Taken {
    Decided(Box<HeldRequest>),
    Linked(PersonName),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAnswer {
    #[error("nobody can answer by this channel")]
    OneWay,
    #[error("the signature is not that of the channel's service")]
    Forged,
    #[error("it is too old, or from the future")]
    NotNow,
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("this account is linked to no person")]
    NotLinked,
    #[error("the code is unknown, used or too old")]
    BadCode,
    #[error("an approval without the digest of what was shown")]
    DigestMissing,
    #[error("{error}")]
    Decide { request: RequestId, error: DecideError },
    #[error(transparent)]
    Desk(#[from] DeskError),
}

/// Decides as the person who is linked to the account. Whoever had a hand in the link counts as one who may be speaking.
pub async fn take_answer(desk: &Desk, channel: &str, answer: Answer) -> Result<Taken, AnswerError> {
    match answer {
        Answer::Link { account, code } => {
            let linked = desk.link_account(channel, &account, &code).await?;
            linked.map(Taken::Linked).ok_or(AnswerError::BadCode)
        }
        Answer::Decision {
            account,
            request,
            decision,
            reason,
            digest,
            id,
        } => {
            let link = desk.channel_link(channel, &account).await?;
            let link = link.ok_or(AnswerError::NotLinked)?;
            if decision == Decision::Approve && digest.is_none() {
                return Err(AnswerError::DigestMissing);
            }
            let decide = Decide {
                by: link.person,
                token_seen_by: link.seen_by,
                assurance: Assurance::TOKEN,
                decision,
                reason,
                digest,
                version: None,
                scope: DecisionScope::Once,
                guards: Guards::default(),
                channel: channel.to_owned(),
                idempotency: Some(format!("{channel}:{id}")),
            };
            let decided = desk.decide(request, decide).await;
            decided
                .map(|held| Taken::Decided(Box::new(held)))
                .map_err(|error| AnswerError::Decide { request, error })
        }
    }
}
