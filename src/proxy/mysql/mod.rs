//! MySQL and MariaDB: one client and its server connection, from the first byte to the last.
//! Never judges and never decides: it asks `sql`, `policy` and `desk`, and forwards what holds a permit.
//! Read `arrive.rs`, `prove.rs`, `login.rs`, then `facts.rs` and `sight.rs`.

mod arrive;
mod ask;
mod exchange;
pub mod facts;
mod letters;
mod login;
mod prove;
mod refused;
mod rsa;
pub mod sight;
mod upstream;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;
use tracing::info;

use crate::proxy::listen::LAST_WORD;
use crate::proxy::mysql::login::login;
use crate::proxy::mysql::refused::error;
use crate::proxy::mysql::rsa::KeyPair;
pub use crate::proxy::mysql::rsa::RsaError;
use crate::proxy::mysql::upstream::Dialler;
use crate::proxy::registry::Registry;
use crate::proxy::thread::WireThread;
use crate::proxy::tls::Listener;
use crate::proxy::{Front, ProxyError};
use crate::wire::mysql::packet;

/// What all sessions of this protocol share.
pub struct Side {
    pub front: Front,
    pub registry: Registry,
    /// `None`: no TLS for clients.
    pub listener: Option<Listener>,
    pub dialler: Dialler,
    /// For passwords outside TLS.
    pub keys: Arc<KeyPair>,
}

impl Side {
    /// Takes a fraction of a second: it makes a key.
    pub fn open(front: Front) -> Result<Self, ProxyError> {
        Ok(Self {
            registry: Registry::default(),
            listener: Listener::open(&front.tls, None)?,
            dialler: Dialler::new(front.upstream.clone())?,
            keys: Arc::new(KeyPair::make()?),
            front,
        })
    }
}

/// One client, from its first byte to its last.
pub async fn serve(thread: &Rc<WireThread>, side: &Arc<Side>, stream: TcpStream, source: IpAddr) {
    let within = thread.shared.settings.limits.login + LAST_WORD;
    // Boxed, so that its buffers are gone before the relay starts.
    let login = Box::pin(login(thread, side, stream, source));
    let Ok(logged_in) = tokio::time::timeout(within, login).await else {
        info!(%source, "a log-in took too long");
        return;
    };
    if let Some(logged_in) = logged_in {
        side.registry.remove(logged_in.greeted.connection_id);
    }
}

/// What a client is told that comes when the proxy is full.
pub fn put_full(limit: usize, out: &mut Vec<u8>) {
    let told = error(
        1040,
        b"08004",
        &format!("countersign: {limit} connections are open already. Retry later."),
    );
    packet::put(out, 0, &told.packet(false));
}
