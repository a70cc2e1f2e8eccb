//! How many clients the API takes at one time, in all and from one address. Never waits for room: who comes too late is
//! told by a closed door, and the proxy beside it keeps its file descriptors. Read `serve.rs` next.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::identity::throttle::network;

/// More than people and tools need, and a quarter of the file descriptors that a process usually has.
pub const CONNECTIONS_MAX: usize = 256;

/// From one address, unless the settings say otherwise: an office with its browsers, and no more than a quarter of all.
pub const PER_ADDRESS_DEFAULT: usize = CONNECTIONS_MAX / 4;

/// Lets clients in while there is room.
#[derive(Clone, Debug)]
pub struct Door {
    room: Arc<Semaphore>,
    per_address: usize,
    /// Connections by address; of IPv6 by network.
    from: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A client's connection; its end makes room.
#[derive(Debug)]
pub struct Counted {
    stream: TcpStream,
    _places: (OwnedSemaphorePermit, Place),
}

/// A place among those of an address.
#[derive(Debug)]
struct Place {
    address: IpAddr,
    from: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut from = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = from.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                from.remove(&self.address);
            }
        }
    }
}

impl Door {
    pub fn new(per_address: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            per_address,
            from: Arc::default(),
        }
    }

    /// Places for a client, of all and of its address.
    fn let_in(&self, address: IpAddr) -> Result<(OwnedSemaphorePermit, Place), &'static str> {
        let of_all = Arc::clone(&self.room).try_acquire_owned();
        let of_all = of_all.map_err(|_| "too many are connected")?;
        let address = network(address);
        let mut from = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        let count = from.get(&address).copied().unwrap_or(0);
        if count >= self.per_address {
            return Err("too many are connected from its address");
        }
        from.insert(address, count + 1);
        drop(from);
        let place = Place {
            address,
            from: Arc::clone(&self.from),
        };
        Ok((of_all, place))
    }
}

impl<S> Accept<TcpStream, S> for Door {
    type Stream = Counted;
    type Service = S;
    type Future = std::future::Ready<io::Result<(Counted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let let_in = stream
            .peer_addr()
            .map(|address| (address, self.let_in(address.ip())));
        std::future::ready(match let_in {
            Ok((_, Ok(places))) => Ok((
                Counted {
                    stream,
                    _places: places,
                },
                service,
            )),
            Ok((address, Err(why))) => {
                tracing::warn!(%address, "an API client was turned away: {why}");
                Err(io::Error::from(io::ErrorKind::ConnectionRefused))
            }
            // It has gone already.
            Err(error) => Err(error),
        })
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
