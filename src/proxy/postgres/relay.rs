//! What PostgreSQL's server says, on its way to the client: headers are read, bodies only where the conversation wants
//! them, and all else goes on in large chunks. Never judges. Read `runs.rs` for what the news are taken for.

use std::rc::Rc;

use crate::proxy::pipe::Walk;
use crate::proxy::postgres::runs::Meaning;
use crate::proxy::registry::Registry;
use crate::wire::bytes::Malformed;
use crate::wire::postgres::conversation::{Conversation, News, Route};
use crate::wire::postgres::frame::{HEADER_BYTES, Header};
use crate::wire::postgres::message::server;

/// The longest server message that is looked into; what is longer and must be looked into ends the session.
const WANTED_BYTES_MAX: usize = 1 << 20;

/// Where in the server's bytes the relay stands.
pub struct Relay {
    /// The start of a server message that must be looked into whole.
    partial: Vec<u8>,
    /// Bytes left of a server message whose header is walked already.
    skip: usize,
    skip_route: Route,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            partial: Vec::new(),
            skip: 0,
            skip_route: Route::Relay,
        }
    }
}

impl Relay {
    /// Whether it stands between two server messages, so that a message of the proxy's own may go in.
    pub fn is_between(&self) -> bool {
        self.skip == 0
    }
}

/// A relay with what its messages mean something to.
pub struct Walking<'a> {
    pub relay: &'a mut Relay,
    pub talk: &'a mut Conversation<Rc<Meaning>>,
    pub news: &'a mut Vec<News>,
    pub registry: &'a Registry,
}

impl Walk for Walking<'_> {
    fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    fn walk(&mut self, chunk: &[u8], to_client: &mut Vec<u8>) -> Result<(), Malformed> {
        let Self {
            relay,
            talk,
            news,
            registry,
        } = self;
        let joined;
        let mut rest = chunk;
        if !relay.partial.is_empty() {
            let mut bytes = std::mem::take(&mut relay.partial);
            bytes.extend_from_slice(chunk);
            joined = bytes;
            rest = &joined;
        }
        while !rest.is_empty() {
            if relay.skip > 0 {
                let count = relay.skip.min(rest.len());
                pass(to_client, &rest[..count], relay.skip_route);
                relay.skip -= count;
                rest = &rest[count..];
                continue;
            }
            let Some(header) = Header::cut(rest)? else {
                relay.partial = rest.to_vec();
                break;
            };
            if talk.wants_body(header.tag) || header.tag == server::NOTIFICATION {
                if header.body_bytes > WANTED_BYTES_MAX {
                    return Err(Malformed("a server message too long to be looked into"));
                }
                let Some(frame) = rest.get(..header.frame_bytes()) else {
                    relay.partial = rest.to_vec();
                    break;
                };
                let route = talk.server(header.tag, &frame[HEADER_BYTES..], news)?;
                if header.tag == server::NOTIFICATION {
                    pass(to_client, &with_known_process(frame, registry), route);
                } else {
                    pass(to_client, frame, route);
                }
                rest = &rest[frame.len()..];
            } else {
                relay.skip_route = talk.server(header.tag, &[], news)?;
                relay.skip = header.frame_bytes();
            }
        }
        Ok(())
    }
}

fn pass(to_client: &mut Vec<u8>, bytes: &[u8], route: Route) {
    if route == Route::Relay {
        to_client.extend_from_slice(bytes);
    }
}

/// A notification names the process that sent it. Clients compare it with the process id that they were given.
fn with_known_process(frame: &[u8], registry: &Registry) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let process = frame[HEADER_BYTES..]
        .first_chunk()
        .copied()
        .map(i32::from_be_bytes);
    if let Some(process) = process.and_then(|process| registry.given_for(process)) {
        frame[HEADER_BYTES..HEADER_BYTES + 4].copy_from_slice(&process.to_be_bytes());
    }
    frame
}
