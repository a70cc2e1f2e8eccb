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

use super::forwarded::TrustedProxies;
use crate::identity::throttle::network;

/// More than people and tools need, and a quarter of the file descriptors that a process usually has.
pub const CONNECTIONS_MAX: usize = 256;

/// From one address, unless the settings say otherwise: an office with its browsers, and no more than a quarter of all.
pub const PER_ADDRESS_DEFAULT: usize = CONNECTIONS_MAX / 4;

/// Kept for those who come by no proxy: whoever fills what a proxy may have neither locks out the tools on the machine
/// nor whatever asks for its health.
const RESERVED_FOR_DIRECT: usize = CONNECTIONS_MAX / 4;

/// Lets clients in while there is room.
#[derive(Clone, Debug)]
pub struct Door {
    room: Arc<Semaphore>,
    /// Of that, what all proxies together may have.
    for_proxies: Arc<Semaphore>,
    per_address: usize,
    /// Behind each of these are many people.
    proxies: TrustedProxies,
    /// Connections by address; of IPv6 by network.
    from: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A client's connection; its end makes room.
#[derive(Debug)]
pub struct Counted {
    stream: TcpStream,
    _places: Places,
}

/// What a connection takes up.
#[derive(Debug)]
struct Places {
    _of_all: OwnedSemaphorePermit,
    _of_proxies: Option<OwnedSemaphorePermit>,
    _of_address: Option<Place>,
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
    pub fn new(per_address: usize, proxies: TrustedProxies) -> Self {
        Self {
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            for_proxies: Arc::new(Semaphore::new(CONNECTIONS_MAX - RESERVED_FOR_DIRECT)),
            per_address,
            proxies,
            from: Arc::default(),
        }
    }

    /// Places for a client, of all and of its share.
    fn let_in(&self, address: IpAddr) -> Result<Places, &'static str> {
        let of_all = Arc::clone(&self.room).try_acquire_owned();
        let of_all = of_all.map_err(|_| "too many are connected")?;
        let (of_proxies, of_address) = if self.proxies.holds(address) {
            let place = Arc::clone(&self.for_proxies).try_acquire_owned();
            (
                Some(place.map_err(|_| "too many are connected by proxies")?),
                None,
            )
        } else {
            (None, Some(self.of_address(network(address))?))
        };
        Ok(Places {
            _of_all: of_all,
            _of_proxies: of_proxies,
            _of_address: of_address,
        })
    }

    fn of_address(&self, address: IpAddr) -> Result<Place, &'static str> {
        let mut from = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        let count = from.get(&address).copied().unwrap_or(0);
        if count >= self.per_address {
            return Err("too many are connected from its address");
        }
        from.insert(address, count + 1);
        drop(from);
        Ok(Place {
            address,
            from: Arc::clone(&self.from),
        })
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

#[cfg(test)]
mod tests {
    use super::super::forwarded::ForwardedHeader;
    use super::*;
    use crate::policy::Network;

    #[test]
    fn proxies_leave_room_for_those_who_come_by_none() {
        let network = Network::parse("10.0.0.0/24").expect("a network");
        let proxies = TrustedProxies::new(vec![network], ForwardedHeader::default());
        let door = Door::new(PER_ADDRESS_DEFAULT, proxies);
        let (by_proxy, direct) = (
            |last| IpAddr::from([10, 0, 0, last]),
            IpAddr::from([127, 0, 0, 1]),
        );
        let mut inside = Vec::new();
        while let Ok(places) = door.let_in(by_proxy(1)) {
            inside.push(places);
        }
        assert_eq!(inside.len(), CONNECTIONS_MAX - RESERVED_FOR_DIRECT);
        // What one proxy fills is filled for the others, too.
        assert!(door.let_in(by_proxy(2)).is_err());
        let beside: Vec<_> = (0..RESERVED_FOR_DIRECT).map(|_| door.let_in(direct)).collect();
        assert!(
            beside.iter().all(Result::is_ok),
            "there is no room beside the proxies"
        );
        assert!(door.let_in(IpAddr::from([192, 0, 2, 1])).is_err(), "all are in");
        drop(beside);
        inside.pop();
        door.let_in(by_proxy(2)).expect("one has gone");
    }
}
