//! The two sockets of a session and the bytes between them. Server bytes are walked and go on at once; client bytes wait
//! in the inbox until the session has looked at them. Never judges. Read `postgres/relay.rs` or `mysql/relay.rs` next.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::proxy::outbound::Outbound;
use crate::proxy::socket::Socket;
use crate::wire::bytes::Malformed;

/// What a protocol makes of the server's bytes.
pub trait Walk {
    /// Looks at what came, and puts behind `to_client` what is for the client.
    fn walk(&mut self, chunk: &[u8], to_client: &mut Vec<u8>) -> Result<(), Malformed>;

    /// Whether the session has something to hear of it before its client does.
    fn has_news(&self) -> bool;
}

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
    pub inbox: BytesMut,
    pub to_server: Outbound,
    to_client: Outgoing,
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
            inbox: BytesMut::new(),
            to_server: Outbound::default(),
            to_client: Outgoing::default(),
            inbox_bytes_max,
            client_side: ClientSide::Open,
        }
    }

    /// Bytes of the proxy's own for the client; only between two server messages.
    pub fn tell(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.to_client.bytes);
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
    pub fn poll_io(&mut self, cx: &mut Context<'_>, scratch: &mut [u8], walk: &mut impl Walk) -> Poll<Io> {
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
        if let Poll::Ready(io) = self.poll_server(cx, scratch, walk) {
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

    /// The client's socket, when the session is over and the client stays.
    pub fn into_client(self) -> Socket {
        self.client
    }

    /// Sends the server what is released, then says good-bye. The caller limits the time.
    pub async fn close_upstream(&mut self, good_bye: &[u8]) {
        let written = std::future::poll_fn(|cx| self.to_server.poll_write(&mut self.upstream, cx)).await;
        if written.is_ok() {
            // A server that is gone needs no good-bye.
            let _gone = tokio::io::AsyncWriteExt::write_all(&mut self.upstream, good_bye).await;
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

    fn poll_server(&mut self, cx: &mut Context<'_>, scratch: &mut [u8], walk: &mut impl Walk) -> Poll<Io> {
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
        if let Err(violation) = walk.walk(buffer.filled(), &mut self.to_client.bytes) {
            return Poll::Ready(Io::Violation(violation));
        }
        if !self.is_client_open() {
            // Nobody reads it.
            self.to_client = Outgoing::default();
        }
        // A client that knows its answer may have others act on it: what follows from it must hold by then.
        if !walk.has_news() {
            self.poll_client_write(cx);
        }
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
