//! What a MySQL server says, on its way to the client: heads are read, and what is inside only where the answer's course
//! depends on it. Never judges. Read `runs.rs` for what the news are taken for.

use std::mem;

use crate::proxy::pipe::Walk;
use crate::wire::bytes::{Malformed, Reader};
use crate::wire::mysql::answer::{END, ERROR, ErrPacket, Progress, Status};
use crate::wire::mysql::capability::Capabilities;
use crate::wire::mysql::conversation::{Answer, Becomes, Expected, Look, News, shown};
use crate::wire::mysql::packet::{self, HEADER_BYTES, Header};

/// The longest packet that is looked into; what is longer and must be looked into ends the session.
const WANTED_BYTES_MAX: usize = 1 << 20;

/// Where in the server's bytes the relay stands.
pub struct Relay {
    server: Capabilities,
    client: Capabilities,
    /// What is being answered.
    answer: Option<Answer>,
    /// It answers the proxy, not the client.
    is_own: bool,
    /// The start of a packet that must be seen whole.
    partial: Vec<u8>,
    /// Bytes left of a packet whose head is walked already.
    skip: usize,
    /// The client has had so many packets of the proxy's own in this answer.
    ahead: u8,
    /// What the next packet of the client's own answer would be numbered, as the server counts.
    next_sequence: u8,
    /// The end of the answer under way, if it is no error, stays here.
    withholds: bool,
    withheld: Option<Withheld>,
}

/// The last packet of an answer, which the client has not got yet.
pub struct Withheld {
    pub sequence: u8,
    payload: Vec<u8>,
    /// It is an EOF of old.
    is_eof: bool,
}

impl Withheld {
    /// Its payload, which says of transactions what `status` says.
    pub fn with_status(&self, status: Status) -> Vec<u8> {
        let mut payload = self.payload.clone();
        let at = match self.is_eof {
            true => Some(3),
            false => status_place(&payload).ok(),
        };
        let place = at.and_then(|at| payload.get_mut(at));
        if let Some(byte) = place {
            // Both flags are in its low byte.
            let ours = (Status::IN_TRANSACTION.0 | Status::AUTOCOMMIT.0).to_le_bytes()[0];
            *byte = (*byte & !ours) | (status.0.to_le_bytes()[0] & ours);
        }
        payload
    }
}

/// Where the status of an OK packet begins: behind its first byte and two numbers.
fn status_place(payload: &[u8]) -> Result<usize, Malformed> {
    let mut reader = Reader::new(payload);
    reader.u8()?;
    reader.lenenc()?;
    reader.lenenc()?;
    Ok(payload.len() - reader.rest().len())
}

impl Relay {
    pub fn new(server: Capabilities, client: Capabilities) -> Self {
        Self {
            server,
            client,
            answer: None,
            is_own: false,
            partial: Vec::new(),
            skip: 0,
            ahead: 0,
            next_sequence: 0,
            withholds: false,
            withheld: None,
        }
    }

    /// A command goes to the server, whose answer the client awaits; `ahead` packets of it are the proxy's own.
    pub fn expect(&mut self, expected: Expected, ahead: u8) {
        self.answer = Some(Answer::to(expected, self.server, self.client, false));
        self.is_own = false;
        self.ahead = ahead;
    }

    /// The same, where the path of the server's socket is asked for: a driver on the same machine would leave the proxy
    /// for it.
    pub fn expect_without_socket(&mut self, expected: Expected, ahead: u8) {
        self.expect(expected, ahead);
        self.answer = self.answer.take().map(|answer| answer.emptying(is_socket));
    }

    /// A question of the proxy's own goes to the server.
    pub fn expect_own(&mut self, expected: Expected) {
        self.answer = Some(Answer::to(expected, self.server, self.client, true));
        self.is_own = true;
        self.ahead = 0;
    }

    /// Keeps the end of the answer that is expected from the client, unless it is an error.
    pub fn withhold(&mut self) {
        self.withholds = true;
    }

    pub fn take_withheld(&mut self) -> Option<Withheld> {
        self.withholds = false;
        self.withheld.take()
    }

    /// Whether nothing is being answered.
    pub fn is_idle(&self) -> bool {
        self.answer.is_none()
    }

    /// Whether it stands between two packets.
    pub fn is_between(&self) -> bool {
        self.skip == 0
    }

    pub fn wants_file(&self) -> bool {
        self.answer.as_ref().is_some_and(Answer::wants_file)
    }

    /// The number that the client's file must begin with, and the server's own number for the same.
    pub fn file_sequences(&self) -> (u8, u8) {
        (self.next_sequence.wrapping_add(self.ahead), self.next_sequence)
    }

    pub fn file_sent(&mut self) {
        if let Some(answer) = &mut self.answer {
            answer.file_sent();
        }
    }
}

/// As drivers ask for it.
fn is_socket(column: &[u8]) -> bool {
    [&b"@@socket"[..], b"@@global.socket"]
        .iter()
        .any(|name| column.eq_ignore_ascii_case(name))
}

/// A relay with a place for what its packets tell.
pub struct Walking<'a> {
    pub relay: &'a mut Relay,
    pub news: &'a mut Vec<News>,
}

impl Walk for Walking<'_> {
    fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    fn walk(&mut self, chunk: &[u8], to_client: &mut Vec<u8>) -> Result<(), Malformed> {
        let joined;
        let mut rest = chunk;
        if !self.relay.partial.is_empty() {
            let mut bytes = mem::take(&mut self.relay.partial);
            bytes.extend_from_slice(chunk);
            joined = bytes;
            rest = &joined;
        }
        // Bytes that go on as they are go together, as far as they stand together.
        let mut unchanged = Run {
            bytes: rest,
            from: 0,
            to: 0,
        };
        let mut at = 0;
        while at < rest.len() {
            if self.relay.skip > 0 {
                let count = self.relay.skip.min(rest.len() - at);
                self.relay.skip -= count;
                if !self.relay.is_own {
                    unchanged.add(at, at + count, to_client);
                }
                at += count;
                continue;
            }
            match self.packet(&rest[at..], at, &mut unchanged, to_client)? {
                Some(count) => at += count,
                None => {
                    self.relay.partial = rest[at..].to_vec();
                    break;
                }
            }
        }
        unchanged.flush(to_client);
        Ok(())
    }
}

impl Walking<'_> {
    /// Takes a packet, or the head of one; gives how many bytes. `None`: more must come first.
    fn packet(
        &mut self,
        rest: &[u8],
        at: usize,
        unchanged: &mut Run<'_>,
        to_client: &mut Vec<u8>,
    ) -> Result<Option<usize>, Malformed> {
        let Some(header) = Header::cut(rest) else {
            return Ok(None);
        };
        let first = rest.get(HEADER_BYTES).copied();
        if first.is_none() && header.payload_bytes > 0 {
            return Ok(None);
        }
        let Some(answer) = &mut self.relay.answer else {
            return self.unasked(header, rest, to_client);
        };
        match answer.look(header, first)? {
            Look::Pass => {
                answer.passed(header, self.news);
                let is_complete = answer.is_complete();
                self.relay.next_sequence = header.sequence.wrapping_add(1);
                self.relay.skip = header.payload_bytes;
                if !self.relay.is_own {
                    self.head(header, at, unchanged, to_client);
                }
                if is_complete {
                    self.relay.answer = None;
                }
                Ok(Some(HEADER_BYTES))
            }
            Look::Whole => {
                if header.payload_bytes > WANTED_BYTES_MAX {
                    return Err(Malformed("a server packet too long to be looked into"));
                }
                let Some(frame) = rest.get(..header.frame_bytes()) else {
                    return Ok(None);
                };
                let becomes = answer.seen(&frame[HEADER_BYTES..], self.news)?;
                let is_complete = answer.is_complete();
                self.relay.next_sequence = header.sequence.wrapping_add(1);
                let payload = &frame[HEADER_BYTES..];
                if self.relay.withholds
                    && !self.relay.is_own
                    && is_complete
                    && payload.first() != Some(&ERROR)
                {
                    let keeps_eof = !self.relay.server.has(Capabilities::DEPRECATE_EOF);
                    self.relay.withheld = Some(Withheld {
                        sequence: header.sequence.wrapping_add(self.relay.ahead),
                        is_eof: keeps_eof && payload.first() == Some(&END) && payload.len() < 9,
                        payload: match becomes {
                            Becomes::Itself => payload.to_vec(),
                            Becomes::Another(payload) => payload,
                        },
                    });
                } else if !self.relay.is_own {
                    match becomes {
                        Becomes::Itself => {
                            self.head(header, at, unchanged, to_client);
                            unchanged.add(at + HEADER_BYTES, at + frame.len(), to_client);
                        }
                        Becomes::Another(payload) => {
                            unchanged.flush(to_client);
                            let sequence = header.sequence.wrapping_add(self.relay.ahead);
                            packet::put(to_client, sequence, &payload);
                        }
                    }
                }
                if is_complete {
                    self.relay.answer = None;
                }
                Ok(Some(frame.len()))
            }
        }
    }

    /// The head of a packet that goes on, under the number that the client expects.
    fn head(&self, header: Header, at: usize, unchanged: &mut Run<'_>, to_client: &mut Vec<u8>) {
        if self.relay.ahead == 0 {
            unchanged.add(at, at + HEADER_BYTES, to_client);
            return;
        }
        let [low, middle, high, sequence] = unchanged.bytes[at..]
            .first_chunk::<HEADER_BYTES>()
            .copied()
            .unwrap_or_default();
        unchanged.flush(to_client);
        debug_assert_eq!(sequence, header.sequence);
        to_client.extend_from_slice(&[low, middle, high, sequence.wrapping_add(self.relay.ahead)]);
        unchanged.skip_to(at + HEADER_BYTES);
    }

    /// A server that ends a connection by itself says why in an error that answers nothing.
    fn unasked(
        &mut self,
        header: Header,
        rest: &[u8],
        to_client: &mut Vec<u8>,
    ) -> Result<Option<usize>, Malformed> {
        if header.payload_bytes > WANTED_BYTES_MAX {
            return Err(Malformed("a packet that nothing asked for"));
        }
        let Some(frame) = rest.get(..header.frame_bytes()) else {
            return Ok(None);
        };
        let payload = &frame[HEADER_BYTES..];
        if payload.first() != Some(&ERROR) || Progress::is_one(payload) {
            return Err(Malformed("a packet that nothing asked for"));
        }
        let error = ErrPacket::decode(payload)?;
        self.news.push(News::Unasked {
            number: error.number,
            message: shown(error.message),
        });
        to_client.extend_from_slice(frame);
        Ok(Some(frame.len()))
    }
}

/// Bytes that stand together and go on as they are.
struct Run<'b> {
    bytes: &'b [u8],
    from: usize,
    to: usize,
}

impl Run<'_> {
    fn add(&mut self, from: usize, to: usize, to_client: &mut Vec<u8>) {
        if self.to != from {
            self.flush(to_client);
            self.from = from;
        }
        self.to = to;
    }

    fn flush(&mut self, to_client: &mut Vec<u8>) {
        to_client.extend_from_slice(&self.bytes[self.from..self.to]);
        self.from = self.to;
    }

    fn skip_to(&mut self, at: usize) {
        self.from = at;
        self.to = at;
    }
}
