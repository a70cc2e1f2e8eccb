//! People come in and leave: a session is made, the log has it on disk, and only then is it handed out.
//! Never checks a password or a code: that takes too long for the desk's thread. Read `decide.rs` next.

use crate::audit::{Body, SignIn};
use crate::desk::core::Core;
use crate::desk::{Desk, DeskError, Moment};
use crate::identity::assurance::Method;
use crate::identity::directory::SignedIn;
use crate::identity::principal::PersonName;
use crate::identity::secret::SessionHash;
use crate::store::{OpenedBy, OpenedSession, SessionInfo, SessionLife, Whence};

/// Why nobody is signed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    #[error("what was given does not count, or no longer")]
    Refused,
    #[error(transparent)]
    Desk(#[from] DeskError),
}

/// Somebody who was turned away.
#[derive(Clone, Debug)]
pub struct TurnedAway {
    /// As it was typed.
    pub person: String,
    pub whence: Whence,
    pub method: Method,
    pub reason: String,
}

impl Core {
    fn session_open(
        &mut self,
        by: OpenedBy,
        whence: &Whence,
        life: SessionLife,
        now: Moment,
    ) -> Result<OpenedSession, SignInError> {
        let unavailable = |error: &dyn std::fmt::Display| {
            tracing::warn!("nobody is signed in while the log or the store cannot be used: {error}");
            SignInError::Desk(DeskError::LogUnavailable)
        };
        self.log_is_ready(now).map_err(|error| unavailable(&error))?;
        let opened = self
            .store
            .session_open(by, whence, life, now.wall)
            .map_err(DeskError::from)?
            .ok_or(SignInError::Refused)?;
        if let Err(error) = self.clerk_carries_over(now) {
            self.undo_session(&opened, whence, now);
            return Err(unavailable(&error));
        }
        Ok(opened)
    }

    /// A session whose cookie reaches nobody.
    fn undo_session(&mut self, opened: &OpenedSession, whence: &Whence, now: Moment) {
        if let Err(error) = self.store.session_close(opened.session.hash, whence, now.wall) {
            tracing::warn!("a session that nobody has the cookie of stays until it is idle: {error}");
        }
    }

    fn session_close(
        &mut self,
        hash: SessionHash,
        whence: &Whence,
        now: Moment,
    ) -> Result<Option<PersonName>, DeskError> {
        let ended = self.store.session_close(hash, whence, now.wall)?;
        self.tell(now);
        Ok(ended)
    }

    fn record_turned_away(&mut self, away: &TurnedAway, now: Moment) -> Result<(), DeskError> {
        let told = SignIn {
            person: &away.person,
            source: away.whence.source,
            event: "refused",
            method: away.method.as_str(),
            success: false,
            reason: &away.reason,
        };
        self.record(Body::SignIn(told), now)
    }
}

impl Desk {
    /// Opens a session and has it in the log before anybody hears of it.
    pub async fn session_open(
        &self,
        by: OpenedBy,
        whence: Whence,
        life: SessionLife,
    ) -> Result<OpenedSession, SignInError> {
        self.call(move |core, now| core.session_open(by, &whence, life, now))
            .await
            .unwrap_or(Err(SignInError::Desk(DeskError::Stopping)))
    }

    /// Who is behind a cookie, if anybody.
    pub async fn session(
        &self,
        hash: SessionHash,
        life: SessionLife,
    ) -> Result<Option<(SignedIn, SessionInfo)>, DeskError> {
        self.read(move |store, now| store.session(hash, life, now)).await
    }

    /// Signs out; whose session it was, if it was there.
    pub async fn session_close(
        &self,
        hash: SessionHash,
        whence: Whence,
    ) -> Result<Option<PersonName>, DeskError> {
        self.call(move |core, now| core.session_close(hash, &whence, now))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }

    /// Has it in the log that somebody was turned away.
    pub async fn record_turned_away(&self, away: TurnedAway) -> Result<(), DeskError> {
        self.call(move |core, now| core.record_turned_away(&away, now))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }
}
