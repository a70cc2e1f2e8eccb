//! The packets of a log-in, which come and go in turns and are numbered through. Never looks inside one, and never reads
//! ahead: what comes behind a log-in is the session's. Read `login.rs` or `upstream.rs` next.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::proxy::socket::Socket;
use crate::wire::mysql::packet::{self, HEADER_BYTES, Header};

/// Attributes of a connection may have 64 KiB; no other message of a log-in has as much.
const MESSAGE_BYTES_MAX: usize = 72 << 10;

/// One side of a log-in.
pub struct Exchange {
    pub socket: Socket,
    /// The number of the next packet, of either side.
    sequence: u8,
}

impl Exchange {
    /// `sequence`: the number of the next packet.
    pub fn new(socket: Socket, sequence: u8) -> Self {
        Self { socket, sequence }
    }

    /// The same log-in, on the socket that `encrypt` makes of a plain one. Errors: it is inside TLS already.
    pub async fn encrypted<F>(self, encrypt: impl FnOnce(TcpStream) -> F) -> io::Result<Self>
    where
        F: Future<Output = io::Result<Socket>>,
    {
        let Socket::Plain(stream) = self.socket else {
            return Err(io::Error::other("TLS inside TLS"));
        };
        Ok(Self {
            socket: encrypt(stream).await?,
            sequence: self.sequence,
        })
    }

    /// Exactly one packet. It may hold a password, so it leaves no copy.
    pub async fn read(&mut self) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut header = [0; HEADER_BYTES];
        self.socket.read_exact(&mut header).await?;
        let header = Header::cut(&header).ok_or_else(|| io::Error::other("header cut short"))?;
        if header.sequence != self.sequence {
            return Err(io::Error::other("a packet out of order"));
        }
        if header.payload_bytes > MESSAGE_BYTES_MAX {
            return Err(io::Error::other("message too long for a log-in"));
        }
        let mut payload = Zeroizing::new(vec![0; header.payload_bytes]);
        self.socket.read_exact(&mut payload).await?;
        self.sequence = self.sequence.wrapping_add(1);
        Ok(payload)
    }

    pub async fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        // As large as it gets: a vector that grows leaves a copy behind.
        let mut out = Zeroizing::new(Vec::with_capacity(payload.len() + HEADER_BYTES));
        self.sequence = packet::put(&mut out, self.sequence, payload);
        self.socket.write_all(&out).await?;
        self.socket.flush().await
    }

    /// A command begins at nought.
    pub async fn command(&mut self, payload: &[u8]) -> io::Result<()> {
        self.sequence = 0;
        self.write(payload).await
    }
}
