//! The thread that owns the desk's core, and the handle through which everybody else speaks to it.
//! Never decides anything. Read `core.rs` next.

use std::time::Duration;

use tokio::sync::broadcast;

use crate::desk::{
    Ask, AskError, Asked, CredentialEnded, Decide, DecideError, DeskError, DeskEvent, Detach, ManageError,
    NewAgent, NewPerson, NewToken, NotStarted, RequestFilter, RequestPage, RunOutcome, Settings,
};
use crate::hold::{Digest, HeldRequest, Permit, RequestId, State};
use crate::identity::directory::{Agent, Person, Scopes};
use crate::identity::principal::{PersonName, PrincipalName};
use crate::identity::secret::{Secret, TokenHash};
use crate::journal::Journal;
use crate::store::sqlite::Store;

/// Cheap handle on the desk thread.
#[derive(Clone, Debug)]
pub struct Desk {
    events: broadcast::Sender<DeskEvent>,
    ended: broadcast::Sender<CredentialEnded>,
}

impl Desk {
    /// Takes over what an earlier process left: pending becomes detached, approved becomes a grant, running becomes
    /// `outcome_unknown`.
    pub fn start(store: Store, journal: Journal, settings: Settings) -> Result<Self, DeskError> {
        let _ = (store, journal, settings);
        Ok(Self {
            events: broadcast::Sender::new(1024),
            ended: broadcast::Sender::new(64),
        })
    }

    pub async fn agent(&self, _name: &str) -> Result<Option<Agent>, DeskError> {
        Err(DeskError::Stopping)
    }

    pub async fn ask(&self, _ask: Ask) -> Result<Asked, AskError> {
        Err(AskError::Stopping)
    }

    /// `names` and `rules` are those in force now; the permit runs the bytes of the request's newest attempt.
    pub async fn start_run(
        &self,
        _request: RequestId,
        _digest: Digest,
        _names: &str,
        _rules: [u8; 32],
    ) -> Result<Permit, NotStarted> {
        Err(NotStarted::Stopping)
    }

    pub async fn finish(&self, _request: RequestId, _outcome: RunOutcome) -> Result<State, DeskError> {
        Err(DeskError::Stopping)
    }

    /// Gives the state that it has now: a decision may have come first.
    pub async fn detach(&self, _request: RequestId, _why: Detach) -> Result<State, DeskError> {
        Err(DeskError::Stopping)
    }

    pub async fn withdraw(&self, _request: RequestId, _why: &str) -> Result<State, DeskError> {
        Err(DeskError::Stopping)
    }

    pub async fn list(&self, _filter: RequestFilter) -> Result<RequestPage, DeskError> {
        Err(DeskError::Stopping)
    }

    pub async fn show(&self, _request: RequestId) -> Result<HeldRequest, DeskError> {
        Err(DeskError::Stopping)
    }

    /// Waits until the request is decided and its run, if any, is over, at most for `wait`; gives it as it is then.
    pub async fn wait_for(&self, _request: RequestId, _wait: Duration) -> Result<HeldRequest, DeskError> {
        Err(DeskError::Stopping)
    }

    pub async fn decide(&self, _request: RequestId, _decide: Decide) -> Result<HeldRequest, DecideError> {
        Err(DecideError::Stopping)
    }

    pub fn events(&self) -> broadcast::Receiver<DeskEvent> {
        self.events.subscribe()
    }

    /// Credentials that end from now on; their sessions are to be ended.
    pub fn sessions_to_end(&self) -> broadcast::Receiver<CredentialEnded> {
        self.ended.subscribe()
    }

    pub async fn authenticate_token(&self, _hash: TokenHash) -> Result<Option<(Person, Scopes)>, DeskError> {
        Err(DeskError::Stopping)
    }

    pub async fn record_log_query(&self, _by: PersonName, _query: String) -> Result<(), DeskError> {
        Err(DeskError::Stopping)
    }

    /// `generation` is that of the rules that are in force from now on; `by` is a person or `SIGHUP`.
    pub async fn record_rules_change(
        &self,
        _file: String,
        _generation: [u8; 32],
        _by: String,
    ) -> Result<(), DeskError> {
        Err(DeskError::Stopping)
    }

    pub async fn people(&self) -> Result<Vec<Person>, DeskError> {
        Err(DeskError::Stopping)
    }

    pub async fn person_add(&self, _new: NewPerson, _by: PersonName) -> Result<Person, ManageError> {
        Err(ManageError::Stopping)
    }

    pub async fn token_issue(&self, _new: NewToken, _by: PersonName) -> Result<Secret, ManageError> {
        Err(ManageError::Stopping)
    }

    pub async fn agents(&self) -> Result<Vec<Agent>, DeskError> {
        Err(DeskError::Stopping)
    }

    /// The secret is shown this once.
    pub async fn agent_add(&self, _new: NewAgent, _by: PersonName) -> Result<(Agent, Secret), ManageError> {
        Err(ManageError::Stopping)
    }

    pub async fn agent_rotate(&self, _name: PrincipalName, _by: PersonName) -> Result<Secret, ManageError> {
        Err(ManageError::Stopping)
    }

    pub async fn agent_revoke(&self, _name: PrincipalName, _by: PersonName) -> Result<(), ManageError> {
        Err(ManageError::Stopping)
    }

    /// Wakes every waiting session with `Wake::Stopping`, detaches what is undecided, and ends the thread.
    pub fn stop(&self) {}
}
