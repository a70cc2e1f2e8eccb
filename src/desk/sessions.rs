//! Which agents are connected now: for people who look, and who end a session.
//! Never holds a connection: a session takes its seat when it has logged in, and leaves it when it ends. Read `act.rs`
//! for what people do with its requests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::audit::Body;
use crate::clock::Timestamp;
use crate::desk::core::Core;
use crate::desk::{Desk, DeskError, Moment};
use crate::identity::principal::{Peer, PersonName, SessionId};

/// A connection of an agent, as people are shown it.
#[derive(Clone, Debug)]
pub struct LiveSession {
    pub peer: Arc<Peer>,
    /// `postgres` or `mysql`.
    pub protocol: &'static str,
    /// What the client calls itself: claimed, not verified.
    pub application_name: String,
    pub since: Timestamp,
    /// When a statement was last recorded.
    pub active_at: Timestamp,
}

/// Tells a session why it ends. Whether it was still there.
pub type EndIt = Box<dyn Fn(String) -> bool + Send + Sync>;

/// Every live session of this process. Cheap to clone.
#[derive(Clone, Default)]
pub struct LiveSessions(Arc<Mutex<BTreeMap<SessionId, Entry>>>);

struct Entry {
    shown: LiveSession,
    active_at: Arc<AtomicI64>,
    end: EndIt,
}

/// A session's place in the list; it leaves the list when this is dropped.
pub struct Seat {
    sessions: LiveSessions,
    session: SessionId,
    active_at: Arc<AtomicI64>,
}

/// Why a session is not ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndSessionError {
    #[error("no such session is live")]
    NotFound,
    #[error(transparent)]
    Desk(#[from] DeskError),
}

impl LiveSessions {
    pub fn enter(
        &self,
        peer: Arc<Peer>,
        protocol: &'static str,
        application_name: &str,
        now: Timestamp,
        end: EndIt,
    ) -> Seat {
        let session = peer.session;
        let active_at = Arc::new(AtomicI64::new(now.micros()));
        let shown = LiveSession {
            peer,
            protocol,
            application_name: application_name.to_owned(),
            since: now,
            active_at: now,
        };
        let entry = Entry {
            shown,
            active_at: Arc::clone(&active_at),
            end,
        };
        self.lock().insert(session, entry);
        Seat {
            sessions: self.clone(),
            session,
            active_at,
        }
    }

    /// Longest connected first.
    pub fn list(&self) -> Vec<LiveSession> {
        let mut sessions: Vec<LiveSession> = self.lock().values().map(Entry::shown).collect();
        sessions.sort_by_key(|live| (live.since, live.peer.session));
        sessions
    }

    fn find(&self, session: SessionId) -> Option<LiveSession> {
        self.lock().get(&session).map(Entry::shown)
    }

    fn end(&self, session: SessionId, why: String) -> bool {
        let sessions = self.lock();
        sessions.get(&session).is_some_and(|entry| (entry.end)(why))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SessionId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn shown(&self) -> LiveSession {
        LiveSession {
            active_at: Timestamp::from_micros(self.active_at.load(Ordering::Relaxed)),
            ..self.shown.clone()
        }
    }
}

impl Seat {
    /// A statement is recorded now.
    pub fn touch(&self, now: Timestamp) {
        self.active_at.store(now.micros(), Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.session);
    }
}

impl fmt::Debug for LiveSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveSessions")
    }
}

impl Core {
    fn record_session_cancelled(
        &mut self,
        session: SessionId,
        by: &PersonName,
        reason: &str,
        now: Moment,
    ) -> Result<(), DeskError> {
        let name = format!("{session}: {reason}");
        let change = Body::PeopleChange {
            what: "session_cancelled",
            name: &name,
            by: by.as_str(),
            detail: "",
        };
        self.record(change, now)
    }
}

impl Desk {
    /// Ends a session: on record first, then its client is told who ended it and why.
    pub async fn end_session(
        &self,
        session: SessionId,
        by: PersonName,
        reason: String,
    ) -> Result<LiveSession, EndSessionError> {
        let live = self.sessions().find(session).ok_or(EndSessionError::NotFound)?;
        let why = format!("{by}: {reason}");
        self.call(move |core, now| core.record_session_cancelled(session, &by, &reason, now))
            .await
            .unwrap_or(Err(DeskError::Stopping))?;
        if self.sessions().end(session, why) {
            Ok(live)
        } else {
            Err(EndSessionError::NotFound)
        }
    }
}
