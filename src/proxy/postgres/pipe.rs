//! The two sockets of a session and the bytes between them. Server bytes are walked header by header and go on at
//! once; client bytes wait in the inbox until the session has looked at them. Never judges. Read `session.rs` next.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::proxy::outbound::Outbound;
use crate::proxy::postgres::statements::BIND_BYTES_MAX;
use crate::proxy::registry::Registry;
use crate::proxy::socket::Socket;
use crate::sql::STATEMENT_BYTES_MAX;
use crate::wire::bytes::Malformed;
use crate::wire::postgres::conversation::{Conversation, News, Route};
use crate::wire::postgres::frame::{HEADER_BYTES, Header};
use crate::wire::postgres::message::server;

/// The longest server message that is looked into; what is longer and must be looked into ends the session.
const WANTED_BYTES_MAX: usize = 1 << 20;

/// The least an inbox holds, whatever the settings say: the longest text and the longest Bind that are read whole.
const INBOX_BYTES_MIN: usize = STATEMENT_BYTES_MAX + BIND_BYTES_MAX + (64 << 10);

/// So much may wait for a client that does not read; before it has taken them, nothing more of it is answered.
const BEHIND_BYTES_MAX: usize = 256 << 10;

/// What a look at the sockets gave.
#[derive(Debug)]
pub enum Io {
    /// Bytes of the client came into the inbox, or it has taken enough of its answers to get more.
    Client,
    ClientLeft,
    /// Messages of the server came; what they told is in the news.
    Server,
    ServerLost,
    /// The server broke the protocol, so nothing it says can be placed any more.
    Violation(Malformed),
}

/// Bytes on their way to the client.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
}

pub struct Pipe {
    client: Socket,
    upstream: Socket,
    /// What the client has sent and the session has not taken.
    pub inbox: Vec<u8>,
    pub to_server: Outbound,
    to_client: Outgoing,
    /// The start of a server message that must be looked into whole.
    partial: Vec<u8>,
    /// Bytes left of a server message whose header is walked already.
    skip: usize,
    skip_route: Route,
    inbox_bytes_max: usize,
    client_side: ClientSide,
}

/// Whether the client is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientSide {
    Open,
    /// It was lost while its answer was written, which the session has not heard yet.
    Lost,
    Gone,
}

impl Pipe {
    pub fn new(client: Socket, upstream: Socket, inbox_bytes_max: usize) -> Self {
        Self {
            client,
            upstream,
            inbox: Vec::new(),
            to_server: Outbound::default(),
            to_client: Outgoing::default(),
            partial: Vec::new(),
            skip: 0,
            skip_route: Route::Relay,
            inbox_bytes_max: inbox_bytes_max.max(INBOX_BYTES_MIN),
            client_side: ClientSide::Open,
        }
    }

    /// Bytes of the proxy's own for the client, between two server messages.
    pub fn tell(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        debug_assert!(self.skip == 0 || self.skip_route == Route::Swallow);
        write(&mut self.to_client.bytes);
    }

    /// Whether the relay stands between two server messages, so that a message of the proxy's own may go in.
    pub fn may_tell(&self) -> bool {
        self.skip == 0
    }

    pub fn inbox_bytes_max(&self) -> usize {
        self.inbox_bytes_max
    }

    fn is_client_open(&self) -> bool {
        self.client_side == ClientSide::Open
    }

    /// Whether too much already waits for the client to be taken.
    pub fn is_client_behind(&self) -> bool {
        self.is_client_open() && self.to_client.waiting() > BEHIND_BYTES_MAX
    }

    /// Nobody reads any more what the server still says.
    pub fn give_up_client(&mut self) {
        self.client_side = ClientSide::Gone;
    }

    pub fn is_inbox_full(&self) -> bool {
        self.inbox.len() >= self.inbox_bytes_max
    }

    /// Whether the client has hung up, seen even behind bytes that are not read yet.
    pub fn has_hung_up(&self) -> bool {
        let stream = match &self.client {
            Socket::Plain(stream) => stream,
            Socket::Accepted(stream) => stream.get_ref().0,
            Socket::Dialled(stream) => stream.get_ref().0,
        };
        let mut ready = std::pin::pin!(stream.ready(Interest::READABLE));
        match ready
            .as_mut()
            .poll(&mut Context::from_waker(std::task::Waker::noop()))
        {
            Poll::Ready(Ok(ready)) => ready.is_read_closed(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }

    /// Moves bytes wherever they can go. Ready when something came or somebody left.
    pub fn poll_io<S: Clone>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        talk: &mut Conversation<S>,
        news: &mut Vec<News>,
        registry: &Registry,
    ) -> Poll<Io> {
        let was_behind = self.is_client_behind();
        self.poll_client_write(cx);
        if self.client_side == ClientSide::Lost {
            self.client_side = ClientSide::Gone;
            return Poll::Ready(Io::ClientLeft);
        }
        if was_behind && !self.is_client_behind() {
            return Poll::Ready(Io::Client);
        }
        if let Poll::Ready(Err(_)) = self.to_server.poll_write(&mut self.upstream, cx) {
            return Poll::Ready(Io::ServerLost);
        }
        if let Poll::Ready(io) = self.poll_server(cx, scratch, talk, news, registry) {
            return Poll::Ready(io);
        }
        self.poll_client(cx, scratch)
    }

    /// Ends when everything for the client has gone, or it cannot.
    pub async fn flush_client(&mut self) {
        let flushed = std::future::poll_fn(|cx| self.to_client.poll_write(&mut self.client, cx));
        // A client that is gone has no use for the rest.
        let _gone = flushed.await;
    }

    /// Sends the server what is released, then says good-bye. The caller limits the time.
    pub async fn close_upstream(&mut self) {
        let written = std::future::poll_fn(|cx| self.to_server.poll_write(&mut self.upstream, cx)).await;
        if written.is_ok() {
            let terminate = [b'X', 0, 0, 0, 4];
            // A server that is gone needs no good-bye.
            let _gone = tokio::io::AsyncWriteExt::write_all(&mut self.upstream, &terminate).await;
        }
        let _gone = tokio::io::AsyncWriteExt::shutdown(&mut self.upstream).await;
    }

    fn poll_client_write(&mut self, cx: &mut Context<'_>) {
        if self.client_side == ClientSide::Open
            && let Poll::Ready(Err(_)) = self.to_client.poll_write(&mut self.client, cx)
        {
            self.client_side = ClientSide::Lost;
        }
    }

    fn poll_server<S: Clone>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        talk: &mut Conversation<S>,
        news: &mut Vec<News>,
        registry: &Registry,
    ) -> Poll<Io> {
        // Back-pressure: what the client does not take is not read from the server.
        if self.is_client_open() && !self.to_client.bytes.is_empty() {
            return Poll::Pending;
        }
        let mut buffer = ReadBuf::new(scratch);
        match ready!(Pin::new(&mut self.upstream).poll_read(cx, &mut buffer)) {
            Err(_) => return Poll::Ready(Io::ServerLost),
            Ok(()) if buffer.filled().is_empty() => return Poll::Ready(Io::ServerLost),
            Ok(()) => {}
        }
        if let Err(violation) = self.walk(buffer.filled(), talk, news, registry) {
            return Poll::Ready(Io::Violation(violation));
        }
        self.poll_client_write(cx);
        Poll::Ready(Io::Server)
    }

    fn poll_client(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<Io> {
        let is_stuck = self.is_inbox_full() || !self.to_server.is_drained() || self.is_client_behind();
        if !self.is_client_open() || is_stuck {
            return Poll::Pending;
        }
        let room = self.inbox_bytes_max - self.inbox.len();
        let room = room.min(scratch.len());
        let mut buffer = ReadBuf::new(&mut scratch[..room]);
        match ready!(Pin::new(&mut self.client).poll_read(cx, &mut buffer)) {
            Ok(()) if !buffer.filled().is_empty() => {
                self.inbox.extend_from_slice(buffer.filled());
                Poll::Ready(Io::Client)
            }
            Ok(()) | Err(_) => {
                self.client_side = ClientSide::Gone;
                Poll::Ready(Io::ClientLeft)
            }
        }
    }

    /// Walks server bytes: headers are read, bodies only where the conversation wants them.
    fn walk<S: Clone>(
        &mut self,
        chunk: &[u8],
        talk: &mut Conversation<S>,
        news: &mut Vec<News>,
        registry: &Registry,
    ) -> Result<(), Malformed> {
        let joined;
        let mut rest = chunk;
        if !self.partial.is_empty() {
            let mut bytes = std::mem::take(&mut self.partial);
            bytes.extend_from_slice(chunk);
            joined = bytes;
            rest = &joined;
        }
        while !rest.is_empty() {
            if self.skip > 0 {
                let count = self.skip.min(rest.len());
                self.pass(&rest[..count], self.skip_route);
                self.skip -= count;
                rest = &rest[count..];
                continue;
            }
            let Some(header) = Header::cut(rest)? else {
                self.partial = rest.to_vec();
                break;
            };
            if talk.wants_body(header.tag) || header.tag == server::NOTIFICATION {
                if header.body_bytes > WANTED_BYTES_MAX {
                    return Err(Malformed("a server message too long to be looked into"));
                }
                let Some(frame) = rest.get(..header.frame_bytes()) else {
                    self.partial = rest.to_vec();
                    break;
                };
                let route = talk.server(header.tag, &frame[HEADER_BYTES..], news)?;
                if header.tag == server::NOTIFICATION {
                    self.pass(&with_known_process(frame, registry), route);
                } else {
                    self.pass(frame, route);
                }
                rest = &rest[frame.len()..];
            } else {
                self.skip_route = talk.server(header.tag, &[], news)?;
                self.skip = header.frame_bytes();
            }
        }
        Ok(())
    }

    fn pass(&mut self, bytes: &[u8], route: Route) {
        if route == Route::Relay && self.is_client_open() {
            self.to_client.bytes.extend_from_slice(bytes);
        }
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

impl Outgoing {
    fn waiting(&self) -> usize {
        self.bytes.len() - self.written
    }

    fn poll_write(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.written < self.bytes.len() {
            let count = ready!(Pin::new(&mut *socket).poll_write(cx, &self.bytes[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        ready!(Pin::new(socket).poll_flush(cx))?;
        // An idle session keeps no buffer.
        *self = Self::default();
        Poll::Ready(Ok(()))
    }
}
