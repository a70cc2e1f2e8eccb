//! What becomes of messages sent through the proxy, and a reviewer who decides on those that are held.

use tokio::runtime::Handle;

use super::api::Api;
use super::wire::{Frames, Message, Wire};

/// What became of a message, or of the log-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It went to the server, whatever that answered.
    Passed,
    /// A person was asked.
    Held,
    /// An error of the proxy.
    Refused(String),
}

impl Treatment {
    pub fn is_stopped(&self) -> bool {
        match self {
            Treatment::Passed => false,
            Treatment::Held | Treatment::Refused(_) => true,
        }
    }

    /// What a message of the proxy itself says; none for the server's.
    fn of(message: &Message) -> Option<Self> {
        if !matches!(message.tag, b'N' | b'E') {
            return None;
        }
        let fields = message.fields();
        match message.tag {
            b'N' if fields.message.contains("HELD for approval") => Some(Treatment::Held),
            b'E' if fields.routine.starts_with("countersign") || fields.severity == "FATAL" => {
                Some(Treatment::Refused(fields.message))
            }
            _ => None,
        }
    }
}

/// What to do with what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decide {
    Approve,
    /// By a cancel of the client's.
    Withdraw,
}

/// A reviewer, for tests that wait on a blocking socket.
pub struct Reviewer {
    api: Api,
    handle: Handle,
}

impl Reviewer {
    /// Inside a runtime of several threads.
    pub fn new(api: Api) -> Self {
        Self {
            api,
            handle: Handle::current(),
        }
    }

    /// Sends frames that end with one ReadyForQuery and reads up to it, deciding on what is held.
    pub fn ask(&self, wire: &mut Wire, frames: Frames, decide: Decide) -> Treatment {
        self.ask_with(wire, frames, &Frames::new(), decide, 1)
    }

    /// As `ask`, with what answers a CopyInResponse, and any number of ReadyForQuery messages.
    pub fn ask_with(
        &self,
        wire: &mut Wire,
        frames: Frames,
        copy_in: &Frames,
        decide: Decide,
        mut answers: usize,
    ) -> Treatment {
        wire.send(frames);
        let mut treatment = Treatment::Passed;
        while answers > 0 {
            let message = match wire.try_read() {
                Ok(message) => message,
                Err(error) => {
                    assert!(
                        treatment.is_stopped(),
                        "the connection ends without an error: {error}"
                    );
                    break;
                }
            };
            match (message.tag, Treatment::of(&message)) {
                (b'N', Some(held)) => {
                    treatment = held;
                    match decide {
                        Decide::Approve => self.approve(&message),
                        Decide::Withdraw => wire.cancel(),
                    }
                }
                // The answer to the cancel of what was held is no second treatment.
                (b'E', Some(refused)) if !treatment.is_stopped() => treatment = refused,
                (b'G', _) => wire.send(copy_in.clone()),
                (b'Z', _) => answers -= 1,
                _ => {}
            }
        }
        treatment
    }

    fn approve(&self, notice: &Message) {
        let words = notice.fields().message;
        let id = words
            .split_once('(')
            .and_then(|(_, rest)| rest.split_once(')'))
            .map(|(id, _)| id.to_owned())
            .expect("the notice names its request");
        self.handle.block_on(async {
            let request = self.api.show(&id).await;
            self.api.approve(&request).await;
        });
    }
}
