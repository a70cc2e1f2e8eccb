//! What one person could do with a request now, and why not: asked before a form is shown.
//! Never does anything. Read `decide.rs` and `act.rs` for the same questions, asked again when it is done.

use crate::clock::Timestamp;
use crate::desk::core::Core;
use crate::desk::{ActError, Decision, Desk, DeskError, Moment, NotSure, RequestFilter, RequestPage};
use crate::hold::{HeldRequest, RequestId};
use crate::identity::assurance::Assurance;
use crate::identity::directory::{Hands, Scope, WhyNot};
use crate::identity::principal::PersonName;
use crate::store::sqlite::StoreError;

/// What one person could do with a request that is undecided; each with the desk's own reason where it would say no.
#[derive(Clone, Debug)]
pub struct Choices {
    pub approve: Result<(), WhyNot>,
    pub deny: Result<(), WhyNot>,
    /// Whether this person has shown enough for what approves: an approval and a delegation.
    pub sure: Result<(), NotSure>,
    /// Having the values shown that are withheld.
    pub reveal: Result<(), ActError>,
    /// Asking the agent.
    pub ask: Result<(), ActError>,
    pub escalate: Result<(), ActError>,
    /// Who can be named to approve instead: nobody is empty.
    pub delegate: Result<Vec<PersonName>, ActError>,
    /// Approving alone, whatever the rule asks for.
    pub break_glass: Result<(), WhyNot>,
    /// Whether this person has logged in twice, as approving alone takes it.
    pub twice: Result<(), NotSure>,
}

impl Core {
    pub(super) fn choices(
        &mut self,
        request: RequestId,
        hands: &Hands,
        assurance: Assurance,
        signed_in_at: Option<Timestamp>,
        now: Moment,
    ) -> Result<Choices, DeskError> {
        let held = self.show(request)?;
        Ok(Choices {
            approve: self
                .may_say(&held, hands, Decision::Approve, now)?
                .map(|_groups| ()),
            deny: self.may_say(&held, hands, Decision::Deny, now)?.map(|_groups| ()),
            sure: self.is_sure_enough(&held, &hands.person, assurance, now)?,
            reveal: self.may_reveal(&held, hands, now),
            ask: self.may_act(&held, hands, now),
            escalate: self.may_escalate(&held, hands, now),
            delegate: self
                .may_delegate(&held, hands, now)
                .and_then(|()| self.delegates(&held, hands, now)),
            break_glass: self
                .may_break_glass(&held, hands, now)?
                .map(|_person_and_behind| ()),
            twice: self.has_logged_in_twice(&hands.person, assurance, signed_in_at, now)?,
        })
    }

    /// Everybody who could approve instead of this person.
    fn delegates(
        &mut self,
        held: &HeldRequest,
        hands: &Hands,
        now: Moment,
    ) -> Result<Vec<PersonName>, ActError> {
        let mut able = Vec::new();
        let people = self.store.people()?.into_iter();
        for person in people.filter(|person| person.active && person.scopes().has(Scope::Decide)) {
            if self
                .may_be_delegate(held, &hands.person, &person.name, now)?
                .is_ok()
            {
                able.push(person.name);
            }
        }
        Ok(able)
    }

    /// A page of requests, and of each whether it waits for this person's approval.
    fn list_for(
        &mut self,
        filter: &RequestFilter,
        hands: &Hands,
        now: Moment,
    ) -> Result<(RequestPage, Vec<bool>), DeskError> {
        let page = self.list(filter)?;
        let waits = |held: &HeldRequest| -> Result<bool, StoreError> {
            let is_open = held.state.is_undecided();
            Ok(is_open && self.may_say(held, hands, Decision::Approve, now)?.is_ok())
        };
        let mine = page.items.iter().map(waits).collect::<Result<_, _>>()?;
        Ok((page, mine))
    }
}

impl Desk {
    /// What somebody could do with a request, before they try. `signed_in_at`: when their session began, if they have one.
    pub async fn choices(
        &self,
        request: RequestId,
        hands: Hands,
        assurance: Assurance,
        signed_in_at: Option<Timestamp>,
    ) -> Result<Choices, DeskError> {
        self.call(move |core, now| core.choices(request, &hands, assurance, signed_in_at, now))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }

    /// As `list`, and of each request whether it waits for the approval of these hands.
    pub async fn list_for(
        &self,
        filter: RequestFilter,
        hands: Hands,
    ) -> Result<(RequestPage, Vec<bool>), DeskError> {
        self.call(move |core, now| core.list_for(&filter, &hands, now))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }
}
