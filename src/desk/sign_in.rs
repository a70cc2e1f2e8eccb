//! People come in and leave: a session is made, the log has it on disk, and only then is it handed out.
//! Never checks a password or a code: that takes too long for the desk's thread. Read `decide.rs` next.

use std::collections::BTreeSet;

use crate::audit::{Body, SignIn};
use crate::desk::core::Core;
use crate::desk::{Desk, DeskError, ManageError, Moment};
use crate::identity::assurance::Method;
use crate::identity::directory::{Hands, Person, Role, SignedIn};
use crate::identity::one_time::{RecoveryCode, TotpSecret};
use crate::identity::password::PasswordVerifier;
use crate::identity::principal::PersonName;
use crate::identity::secret::{LinkHash, SessionHash};
use crate::store::{
    CodeTaken, Factors, Issued, KeptPasskey, KeptPassword, OpenedBy, OpenedSession, Opening, PasskeyUse,
    SessionInfo, SessionLife, Whence,
};

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
        by: &OpenedBy,
        code: Option<&str>,
        whence: &Whence,
        life: SessionLife,
        now: Moment,
    ) -> Result<Opening, DeskError> {
        let unavailable = |error: &dyn std::fmt::Display| {
            tracing::warn!("nobody is signed in while the log or the store cannot be used: {error}");
            DeskError::LogUnavailable
        };
        self.log_is_ready(now).map_err(|error| unavailable(&error))?;
        let opening = self.store.session_open(by, code, whence, life, now.wall)?;
        if let Err(error) = self.clerk_carries_over(now) {
            if let Opening::Opened(opened) = &opening {
                self.undo_session(opened, whence, now);
            }
            return Err(unavailable(&error));
        }
        Ok(opening)
    }

    /// A code on top of what a session was opened by, or of a token; counted only once the log has it.
    fn step_up(
        &mut self,
        session: Option<SessionHash>,
        person: &PersonName,
        code: &str,
        whence: &Whence,
        now: Moment,
    ) -> Result<CodeTaken, DeskError> {
        let taken = match session {
            Some(hash) => self
                .store
                .session_strengthen(hash, person, code, whence, now.wall)?,
            None => self.store.code_take(person, code, now.wall)?,
        };
        if matches!(taken, CodeTaken::Taken { .. }) && session.is_none() {
            let told = SignIn {
                person: person.as_str(),
                source: whence.source,
                event: "stepped_up",
                method: Method::Totp.as_str(),
                success: true,
                reason: "",
            };
            self.record(Body::SignIn(told), now)?;
        }
        self.clerk_carries_over(now).map_err(|error| {
            tracing::warn!("a second factor is not counted while the log cannot be written: {error}");
            DeskError::LogUnavailable
        })?;
        Ok(taken)
    }

    fn step_up_by_passkey(
        &mut self,
        session: SessionHash,
        used: &PasskeyUse,
        whence: &Whence,
        now: Moment,
    ) -> Result<bool, DeskError> {
        let unavailable = |error: &dyn std::fmt::Display| {
            tracing::warn!("a second factor is not counted while the log cannot be written: {error}");
            DeskError::LogUnavailable
        };
        self.log_is_ready(now).map_err(|error| unavailable(&error))?;
        let counts = self
            .store
            .session_strengthen_by_passkey(session, used, whence, now.wall)?;
        self.clerk_carries_over(now)
            .map_err(|error| unavailable(&error))?;
        Ok(counts)
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
        code: Option<String>,
        whence: Whence,
        life: SessionLife,
    ) -> Result<Opening, DeskError> {
        self.call(move |core, now| core.session_open(&by, code.as_deref(), &whence, life, now))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }

    /// Takes a code of a person. With a session, that is as sure as a second factor makes it from now on.
    pub async fn step_up(
        &self,
        session: Option<SessionHash>,
        person: PersonName,
        code: String,
        whence: Whence,
    ) -> Result<CodeTaken, DeskError> {
        self.call(move |core, now| core.step_up(session, &person, &code, &whence, now))
            .await
            .unwrap_or(Err(DeskError::Stopping))
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

    pub async fn password(&self, person: PersonName) -> Result<Option<KeptPassword>, DeskError> {
        self.read(move |store, _| store.password(&person)).await
    }

    /// `false`: `old` is no longer the password. Every session of the person ends.
    pub async fn password_change(
        &self,
        person: PersonName,
        old: Option<PasswordVerifier>,
        new: PasswordVerifier,
        seen_by: BTreeSet<PersonName>,
    ) -> Result<bool, ManageError> {
        self.manage(move |store, now| {
            Ok(store.password_change(&person, old.as_ref(), &new, &seen_by, now)?)
        })
        .await
    }

    /// The one-time code is shown this once.
    pub async fn password_link(&self, person: PersonName, by: Hands) -> Result<Issued, ManageError> {
        self.manage(move |store, now| store.password_link(&person, by, now))
            .await
    }

    pub async fn has_password_link(&self, link: LinkHash) -> Result<bool, DeskError> {
        self.read(move |store, now| store.has_password_link(link, now))
            .await
    }

    /// Whose password it is now; `None` if the link is unknown, over or used.
    pub async fn password_by_link(
        &self,
        link: LinkHash,
        verifier: PasswordVerifier,
    ) -> Result<Option<PersonName>, ManageError> {
        self.manage(move |store, now| Ok(store.password_by_link(link, &verifier, now)?))
            .await
    }

    pub async fn factors(&self, person: PersonName) -> Result<Factors, DeskError> {
        self.read(move |store, _| store.factors(&person)).await
    }

    pub async fn totp_begin(
        &self,
        person: PersonName,
        seen_by: BTreeSet<PersonName>,
    ) -> Result<TotpSecret, ManageError> {
        self.manage(move |store, now| store.totp_begin(&person, &seen_by, now))
            .await
    }

    /// The recovery codes are shown this once; `None`: the code is wrong, or there is nothing to confirm.
    pub async fn totp_confirm(
        &self,
        person: PersonName,
        code: String,
    ) -> Result<Option<Vec<RecoveryCode>>, ManageError> {
        self.manage(move |store, now| Ok(store.totp_confirm(&person, &code, now)?))
            .await
    }

    /// Whether there was one.
    pub async fn totp_remove(
        &self,
        person: PersonName,
        by: PersonName,
        kept: Option<SessionHash>,
    ) -> Result<bool, ManageError> {
        self.manage(move |store, now| Ok(store.totp_remove(&person, &by, kept, now)?))
            .await
    }

    /// For somebody who has lost their second factors.
    pub async fn factors_forget(&self, person: PersonName, by: Hands) -> Result<(), ManageError> {
        self.manage(move |store, now| store.factors_forget(&person, by, now))
            .await
    }

    /// Gives a person other roles or groups; `None` leaves them.
    pub async fn person_change(
        &self,
        person: PersonName,
        roles: Option<Vec<Role>>,
        groups: Option<Vec<String>>,
        by: Hands,
    ) -> Result<Person, ManageError> {
        self.manage(move |store, now| {
            store.person_change(&person, roles.as_deref(), groups.as_deref(), by, now)
        })
        .await
    }

    pub async fn passkeys(&self, person: PersonName) -> Result<Vec<KeptPasskey>, DeskError> {
        self.read(move |store, _| store.passkeys(&person)).await
    }

    /// Whose it is; `None` for one that is unknown, or whose person is not active.
    pub async fn passkey(&self, id: Vec<u8>) -> Result<Option<KeptPasskey>, DeskError> {
        self.read(move |store, _| store.passkey(&id)).await
    }

    /// `false` if it is somebody's already, or the person has too many.
    pub async fn passkey_add(
        &self,
        passkey: KeptPasskey,
        name: String,
        seen_by: BTreeSet<PersonName>,
    ) -> Result<bool, ManageError> {
        self.manage(move |store, now| Ok(store.passkey_add(&passkey, &name, &seen_by, now)?))
            .await
    }

    /// Whether it was there.
    pub async fn passkey_remove(
        &self,
        person: PersonName,
        id: Vec<u8>,
        kept: Option<SessionHash>,
    ) -> Result<bool, ManageError> {
        self.manage(move |store, now| Ok(store.passkey_remove(&person, &id, kept, now)?))
            .await
    }

    /// A passkey on top of what a session was opened by; counted only once the log has it.
    pub async fn step_up_by_passkey(
        &self,
        session: SessionHash,
        used: PasskeyUse,
        whence: Whence,
    ) -> Result<bool, DeskError> {
        self.call(move |core, now| core.step_up_by_passkey(session, &used, &whence, now))
            .await
            .unwrap_or(Err(DeskError::Stopping))
    }
}
