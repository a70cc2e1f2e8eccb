//! Which sessions there are, so that a cancel finds its own. Never tells a cancel whether it found one: the protocol
//! has no answer to it. Read `listen.rs` next.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::Rng as _;
use subtle::ConstantTimeEq;
use tokio::sync::mpsc::{self, UnboundedSender};

use crate::identity::principal::PrincipalName;

/// The process ids given to clients start here. No server has such a one: Linux ends at 2^22.
pub const PROCESS_MIN: i32 = 1 << 30;

/// Of a session whose client is told none.
const DRAWN_KEY_BYTES: usize = 32;

/// What others may tell a session.
#[derive(Clone, Debug)]
pub enum Control {
    /// Stop what runs or waits; `why` says how it was asked for.
    Cancel {
        why: &'static str,
        asked: Option<Asked>,
    },
    /// KILL of its connection by another session of the same principal.
    Kill,
    CredentialEnded(String),
    /// A person has ended the session; who, and why.
    EndedByPerson(String),
    Stop,
}

/// Kept by whoever carries a cancel out, until that is done.
pub type Asked = mpsc::Sender<Infallible>;

/// Gives nothing, and ends when the cancel has been carried out.
pub type CarriedOut = mpsc::Receiver<Infallible>;

struct Known {
    key: Vec<u8>,
    principal: PrincipalName,
    /// The server's own process, which its client can learn.
    backend: i32,
    control: UnboundedSender<Control>,
}

/// All sessions by the process id that their client was given.
#[derive(Default)]
pub struct Registry {
    sessions: Mutex<HashMap<i32, Known>>,
}

impl Registry {
    /// Adds a session; gives the process id, and a key of `key_bytes`, for its client.
    pub fn add(
        &self,
        principal: PrincipalName,
        backend: i32,
        control: UnboundedSender<Control>,
        key_bytes: usize,
    ) -> (i32, Vec<u8>) {
        let mut key = vec![0; key_bytes];
        rand::rng().fill_bytes(&mut key);
        let mut sessions = self.lock();
        let process = free_in(&sessions);
        sessions.insert(
            process,
            Known {
                key: key.clone(),
                principal,
                backend,
                control,
            },
        );
        (process, key)
    }

    /// A process id that is free now, for a client that is told its own before it says who it is.
    pub fn draw(&self) -> i32 {
        free_in(&self.lock())
    }

    /// Adds a session under the id that its client was told; nobody cancels it by a key. Whether the id was still free.
    pub fn add_drawn(
        &self,
        process: i32,
        principal: PrincipalName,
        backend: i32,
        control: UnboundedSender<Control>,
    ) -> bool {
        let mut key = vec![0; DRAWN_KEY_BYTES];
        rand::rng().fill_bytes(&mut key);
        match self.lock().entry(process) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(Known {
                    key,
                    principal,
                    backend,
                    control,
                });
                true
            }
        }
    }

    pub fn remove(&self, process: i32) {
        self.lock().remove(&process);
    }

    /// A CancelRequest: the key is its only credential, and counts only whole.
    pub fn cancel(&self, process: i32, key: &[u8]) -> Option<CarriedOut> {
        let sessions = self.lock();
        let known = sessions.get(&process)?;
        if !bool::from(known.key.ct_eq(key)) {
            return None;
        }
        let (asked, carried_out) = mpsc::channel(1);
        let cancel = Control::Cancel {
            why: "its client cancelled it",
            asked: Some(asked),
        };
        // A session that has just ended needs no cancel.
        known.control.send(cancel).ok().map(|()| carried_out)
    }

    /// A cancel by another session of `principal`, for an id of ours or of the server's; `None`: it has no such session,
    /// and those of others may not be cancelled so.
    pub fn cancel_own(&self, principal: &PrincipalName, process: i32) -> Option<CarriedOut> {
        let (asked, carried_out) = mpsc::channel(1);
        let cancel = Control::Cancel {
            why: "another session of the same agent cancelled it",
            asked: Some(asked),
        };
        self.tell_own(principal, process, cancel).then_some(carried_out)
    }

    /// The same for the whole connection. Whether there is one.
    pub fn kill_own(&self, principal: &PrincipalName, process: i32) -> bool {
        self.tell_own(principal, process, Control::Kill)
    }

    fn tell_own(&self, principal: &PrincipalName, process: i32, control: Control) -> bool {
        let sessions = self.lock();
        let own = sessions.iter().find(|(ours, known)| {
            known.principal == *principal && (**ours == process || known.backend == process)
        });
        own.is_some_and(|(_, known)| known.control.send(control).is_ok())
    }

    /// Whether `process` names a session of `principal`.
    pub fn is_own(&self, principal: &PrincipalName, process: i32) -> bool {
        self.lock().iter().any(|(ours, known)| {
            known.principal == *principal && (*ours == process || known.backend == process)
        })
    }

    /// The process id that the client of a session was given, by the server's own.
    pub fn given_for(&self, backend: i32) -> Option<i32> {
        let sessions = self.lock();
        let mut sessions = sessions.iter();
        let known = sessions.find(|(_, known)| known.backend == backend);
        known.map(|(ours, _)| *ours)
    }

    pub fn tell_all(&self, control: &Control) {
        for known in self.lock().values() {
            let _ended = known.control.send(control.clone());
        }
    }

    pub fn tell_principal(&self, principal: &PrincipalName, control: &Control) {
        for known in self.lock().values().filter(|known| known.principal == *principal) {
            let _ended = known.control.send(control.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Known>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn free_in(sessions: &HashMap<i32, Known>) -> i32 {
    loop {
        let process = PROCESS_MIN | (rand::random::<i32>() & (PROCESS_MIN - 1));
        if !sessions.contains_key(&process) {
            return process;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::unbounded_channel;

    #[test]
    fn only_the_right_key_cancels() {
        let registry = Registry::default();
        let (control, mut told) = unbounded_channel();
        let agent = PrincipalName::parse("agent").expect("a name");
        let (process, key) = registry.add(agent.clone(), 77, control, 32);
        let mut wrong = key.clone();
        wrong[31] ^= 1;
        let longer = [&key[..], &[0]].concat();
        for no_key in [&wrong[..], &key[..4], &key[..31], &longer, &[]] {
            assert!(registry.cancel(process, no_key).is_none());
        }
        assert!(registry.cancel(77, &key).is_none());
        assert!(told.try_recv().is_err());
        let mut carried_out = registry.cancel(process, &key).expect("it is the key");
        let told = told.try_recv().expect("it was told");
        assert!(matches!(told, Control::Cancel { .. }));
        assert_eq!(carried_out.try_recv(), Err(mpsc::error::TryRecvError::Empty));
        drop(told);
        assert_eq!(
            carried_out.try_recv(),
            Err(mpsc::error::TryRecvError::Disconnected)
        );
    }

    #[test]
    fn an_agent_cancels_its_own_sessions_only() {
        let registry = Registry::default();
        let (control, mut told) = unbounded_channel();
        let agent = PrincipalName::parse("agent").expect("a name");
        let other = PrincipalName::parse("other").expect("a name");
        let (process, _) = registry.add(agent.clone(), 77, control, 4);
        assert!(registry.cancel_own(&other, process).is_none());
        assert!(registry.cancel_own(&other, 77).is_none());
        assert!(!registry.kill_own(&other, 77));
        assert!(told.try_recv().is_err());
        assert!(registry.cancel_own(&agent, 77).is_some());
        assert!(registry.cancel_own(&agent, process).is_some());
        assert!(told.try_recv().is_ok());
    }
}
