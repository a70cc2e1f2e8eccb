//! How a request ends without a run: its client leaves, it is withdrawn, its time is over, its credential ends.
//! Never looks at what people said. Read `notes.rs` next.

use crate::desk::core::{Core, NotMoved, Owed, With};
use crate::desk::expiry::when_over;
use crate::desk::{CredentialEnded, DeskError, Detach, Moment, Wake};
use crate::hold::{Event, HeldRequest, RequestId, State};
use crate::identity::principal::PrincipalName;
use crate::store::Expected;
use crate::store::sqlite::StoreError;

impl Core {
    /// The client left or its wait is over. The state it has then: a decision may have come first.
    pub fn detach(&mut self, request: RequestId, why: Detach, now: Moment) -> Result<State, DeskError> {
        self.waiters.forget(request);
        match self.detach_now(request, why, now) {
            Ok(state) => state.ok_or(DeskError::NotFound),
            Err(error) => {
                self.owe(request, Owed::Leave(why), &error);
                Err(error.into())
            }
        }
    }

    pub(super) fn detach_now(
        &mut self,
        request: RequestId,
        why: Detach,
        now: Moment,
    ) -> Result<Option<State>, StoreError> {
        self.end_overdue(request, now)?;
        let Some(held) = self.store.request(request)? else {
            return Ok(None);
        };
        if !matches!(held.state, State::Pending | State::Approved { .. }) {
            return Ok(Some(held.state));
        }
        let word = match why {
            Detach::ClientLeft => "its client left",
            Detach::WaitOver => "its wait is over",
        };
        let state = match self.leave(&held, word, now) {
            Ok(held) => held.state,
            Err(NotMoved::Store(error)) => return Err(error),
            Err(NotMoved::Lost | NotMoved::Illegal(_)) => held.state,
        };
        self.tell(now);
        Ok(Some(state))
    }

    pub(super) fn leave(
        &mut self,
        held: &HeldRequest,
        why: &str,
        now: Moment,
    ) -> Result<HeldRequest, NotMoved> {
        let mut left = held.clone();
        left.wait_ends_at = now.wall.min(held.wait_ends_at);
        let grant = self.grant_until(held, now);
        self.move_with(
            &left,
            &Expected::of(held),
            Event::Leave { grant },
            why,
            With::default(),
            now,
        )
    }

    /// Cancelled, or its transaction was ended by the server; revokes it if it is a grant.
    pub fn withdraw(&mut self, request: RequestId, why: &str, now: Moment) -> Result<State, DeskError> {
        match self.withdraw_now(request, why, now) {
            Ok(state) => state.ok_or(DeskError::NotFound),
            Err(error) => {
                self.owe(request, Owed::Withdraw(why.to_owned()), &error);
                Err(error.into())
            }
        }
    }

    pub(super) fn withdraw_now(
        &mut self,
        request: RequestId,
        why: &str,
        now: Moment,
    ) -> Result<Option<State>, StoreError> {
        let Some(held) = self.store.request(request)? else {
            return Ok(None);
        };
        let state = self.unless_moved(
            &held,
            Event::Withdraw { why: why.to_owned() },
            With::default(),
            now,
        )?;
        if state != held.state {
            self.wakes
                .push((request, Wake::Withdrawn { why: why.to_owned() }));
        }
        self.tell(now);
        Ok(Some(state))
    }

    /// Ends a request or grant whose deadline is over.
    pub(super) fn end_overdue(&mut self, request: RequestId, now: Moment) -> Result<(), StoreError> {
        if !self.deadlines.is_over(request, now) {
            return Ok(());
        }
        let Some(held) = self.store.request(request)? else {
            return Ok(());
        };
        let state = self.unless_moved(&held, when_over(&held.state), With::default(), now)?;
        if matches!(state, State::Expired) {
            self.wakes.push((request, Wake::Expired));
        }
        Ok(())
    }

    pub(super) fn credential_ended(
        &mut self,
        principal: &PrincipalName,
        now: Moment,
    ) -> Result<Option<String>, StoreError> {
        let agent = self.principal(principal)?;
        Ok(match agent {
            Some(agent) => agent.ended(now.wall).map(|ended| ended.to_string()),
            None => Some("the credential is gone".to_owned()),
        })
    }

    /// Reads agents again when the file has changed, and ends what belongs to credentials that have ended.
    pub(super) fn follow_agents(&mut self, now: Moment) -> Result<(), StoreError> {
        let version = self.store.data_version()?;
        if self.data_version != Some(version) {
            self.agents = self.store.agents()?;
            self.review_standing(now)?;
            self.data_version = Some(version);
        }
        let newly: Vec<(PrincipalName, String)> = self
            .agents
            .iter()
            .filter(|agent| !self.ended.contains(&agent.name))
            .filter_map(|agent| {
                agent
                    .ended(now.wall)
                    .map(|why| (agent.name.clone(), why.to_string()))
            })
            .collect();
        for (principal, why) in newly {
            self.end_requests_of(&principal, &why, now)?;
            self.ended.insert(principal.clone());
            // Nobody may be listening.
            let _ = self.ended_credentials.send(CredentialEnded { principal, why });
        }
        Ok(())
    }

    pub(super) fn end_requests_of(
        &mut self,
        principal: &PrincipalName,
        why: &str,
        now: Moment,
    ) -> Result<(), StoreError> {
        for held in self
            .store
            .open_requests()?
            .iter()
            .filter(|held| held.peer.principal == *principal)
        {
            let state = self.unless_moved(
                held,
                Event::Withdraw { why: why.to_owned() },
                With::default(),
                now,
            )?;
            if state != held.state {
                self.wakes
                    .push((held.id, Wake::Withdrawn { why: why.to_owned() }));
            }
        }
        Ok(())
    }
}
