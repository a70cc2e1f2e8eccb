//! From a client's first byte to its start-up packet: what encrypts the connection, and cancels.
//! Never asks who the client is. Read `prove.rs` next.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::proxy::socket::Socket;
use crate::proxy::tls::Listener;
use crate::wire::postgres::startup::{First, Startup, decode, first_bytes};

/// The first byte of a TLS record that begins a handshake; no start-up packet is so long that it begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// How long a client is made to wait for its cancel to be carried out.
const CANCEL_WITHIN: Duration = Duration::from_secs(5);

/// A client that wants a session.
pub struct Arrived {
    pub socket: Socket,
    pub startup: Startup,
    /// What a log-in on this channel can be bound to.
    pub end_point: Option<Arc<[u8]>>,
}

/// Accepts TLS from the first byte, or answers requests for encryption, until the start-up packet comes; `cancel` carries
/// out a cancel by its process and key.
pub async fn first_packets(
    listener: Option<&Listener>,
    stream: TcpStream,
    cancel: impl AsyncFnOnce(i32, &[u8]),
) -> Option<Arrived> {
    let mut end_point = None;
    let mut socket = if begins_with(&stream).await? == TLS_HANDSHAKE {
        let accepted = listener?.accept(stream).await.ok()?;
        // A handshake that was meant for a listener of another protocol must not be answered here.
        if !accepted.is_agreed() {
            return None;
        }
        end_point = accepted.end_point;
        Socket::Accepted(Box::new(accepted.stream))
    } else {
        Socket::Plain(stream)
    };
    loop {
        match read_first(&mut socket).await? {
            First::SslRequest => {
                let Socket::Plain(mut stream) = socket else {
                    return None;
                };
                // What stands behind the request in plaintext could be taken for part of the encrypted talk.
                if has_more(&stream) {
                    return None;
                }
                let Some(listener) = listener else {
                    stream.write_all(b"N").await.ok()?;
                    socket = Socket::Plain(stream);
                    continue;
                };
                stream.write_all(b"S").await.ok()?;
                let accepted = listener.accept(stream).await.ok()?;
                socket = Socket::Accepted(Box::new(accepted.stream));
                end_point = accepted.end_point;
            }
            First::GssEncRequest => {
                let Socket::Plain(stream) = &mut socket else {
                    return None;
                };
                stream.write_all(b"N").await.ok()?;
            }
            First::Cancel { process, key } => {
                // As the server does it: a client that waits for this connection to close may then send its next
                // statement, which a late cancel would hit.
                let _too_slow = tokio::time::timeout(CANCEL_WITHIN, cancel(process, &key)).await;
                return None;
            }
            First::Startup(startup) => {
                return Some(Arrived {
                    socket,
                    startup,
                    end_point,
                });
            }
        }
    }
}

/// The first byte, which stays to be read.
async fn begins_with(stream: &TcpStream) -> Option<u8> {
    let mut first = [0];
    (stream.peek(&mut first).await.ok()? == 1).then_some(first[0])
}

/// Exactly one first packet: not a byte behind it is read.
async fn read_first(socket: &mut Socket) -> Option<First> {
    let mut packet = vec![0; 4];
    socket.read_exact(&mut packet).await.ok()?;
    let length = first_bytes(&packet).ok()??;
    packet.resize(length, 0);
    socket.read_exact(&mut packet[4..]).await.ok()?;
    decode(&packet).ok()
}

fn has_more(stream: &TcpStream) -> bool {
    let peeked = socket2::SockRef::from(stream).peek(&mut [std::mem::MaybeUninit::uninit(); 1]);
    matches!(peeked, Ok(1..))
}
