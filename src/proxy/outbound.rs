//! Bytes on their way to the server. Never lets a byte of a statement out without a permit, nor before its record.
//! Read `session.rs` next.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::hold::Permit;
use crate::journal::Recorded;
use crate::proxy::socket::Socket;

/// A queue whose tail stays here until the records of its statements are written.
#[derive(Default)]
pub struct Outbound {
    bytes: Vec<u8>,
    written: usize,
    /// Up to here the socket may have it.
    released: usize,
    /// Statements stand behind `released`.
    unrecorded: usize,
}

impl Outbound {
    /// Puts a statement's frames behind the others; they go with the next `release`.
    pub fn statement(&mut self, _permit: Permit, frames: &[u8]) {
        self.bytes.extend_from_slice(frames);
        self.unrecorded += 1;
    }

    /// Puts the frames of an approved statement. Its claim is on disk in the log: that is what its permit is made of.
    pub fn approved(&mut self, permit: Permit, frames: &[u8]) {
        debug_assert!(permit.request().is_some() && self.unrecorded == 0);
        self.bytes.extend_from_slice(frames);
        self.released = self.bytes.len();
    }

    /// A message that carries no statement: names, data of a COPY that was let through, Sync and Flush.
    /// It goes with what stands before it.
    pub fn plain(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
    }

    /// Further bytes of a frame whose head went before.
    pub fn rest_of_frame(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A message of the proxy's own: constant texts and a bogus Execute, see `facts.rs` and `session.rs`.
    pub fn own(&mut self, frames: &[u8]) {
        self.bytes.extend_from_slice(frames);
    }

    /// The records are written: everything may go.
    pub fn release(&mut self, _recorded: &Recorded) {
        self.unrecorded = 0;
        self.released = self.bytes.len();
    }

    /// Lets messages without statements go.
    pub fn release_plain(&mut self) {
        if self.unrecorded == 0 {
            self.released = self.bytes.len();
        }
    }

    /// The records could not be written: what waits for them never goes.
    pub fn discard(&mut self) {
        self.bytes.truncate(self.released);
        self.unrecorded = 0;
    }

    /// Whether all that may go has gone.
    pub fn is_drained(&self) -> bool {
        self.written == self.released
    }

    /// Writes what may go. Ready when it has all gone.
    pub fn poll_write(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_drained() {
            return Poll::Ready(Ok(()));
        }
        while self.written < self.released {
            let left = &self.bytes[self.written..self.released];
            let count = ready!(Pin::new(&mut *socket).poll_write(cx, left))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        ready!(Pin::new(socket).poll_flush(cx))?;
        if self.written == self.bytes.len() {
            // An idle session keeps no buffer.
            *self = Self::default();
        }
        Poll::Ready(Ok(()))
    }
}
