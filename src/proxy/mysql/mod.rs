//! MySQL and MariaDB: one client and its server connection, from the first byte to the last.
//! Never judges and never decides: it asks `sql`, `policy` and `desk`, and forwards what holds a permit.
//! Read `arrive.rs`, `prove.rs`, `login.rs`, then `session.rs`.

mod arrive;
mod ask;
mod command;
mod exchange;
pub mod facts;
mod guards;
mod impact;
mod judging;
mod kill;
mod letters;
mod login;
mod parameters;
mod park;
mod prove;
mod refuse;
mod refused;
mod relay;
mod rsa;
mod runs;
mod session;
pub mod sight;
mod statements;
mod upstream;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tracing::info;

use crate::catalog::keepers::Keepers;
use crate::catalog::mysql::Reader;
use crate::proxy::impact::record::Recorder;
use crate::proxy::impact::{Jobs, Waiting};
use crate::proxy::listen::LAST_WORD;
use crate::proxy::mysql::login::{change_user, login};
use crate::proxy::mysql::refused::error;
use crate::proxy::mysql::rsa::KeyPair;
pub use crate::proxy::mysql::rsa::RsaError;
use crate::proxy::mysql::session::{ChangesUser, Left, Session};
use crate::proxy::mysql::upstream::Dialler;
use crate::proxy::registry::Registry;
use crate::proxy::thread::{Shared, WireThread};
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
    /// `None`: no catalog is configured.
    pub catalogs: Option<Arc<Keepers<Reader>>>,
    /// For passwords outside TLS.
    pub keys: Arc<KeyPair>,
    /// Where statements that wait are looked at for their reviewers.
    pub impact: Jobs<impact::Job>,
}

impl Side {
    /// With the jobs that its sessions will leave; `start_impact` takes them. Takes a fraction of a second: it makes a key.
    pub fn open(
        front: Front,
        catalogs: Option<Arc<Keepers<Reader>>>,
    ) -> Result<(Self, Waiting<impact::Job>), ProxyError> {
        let (jobs, waiting) = crate::proxy::impact::queue();
        let side = Self {
            registry: Registry::default(),
            listener: Listener::open(&front.tls, None)?,
            dialler: Dialler::new(front.upstream.clone())?,
            catalogs,
            keys: Arc::new(KeyPair::make()?),
            impact: jobs,
            front,
        };
        Ok((side, waiting))
    }
}

/// Starts the thread that looks at what waits; it ends when `stopped` says so.
pub fn start_impact(
    shared: Arc<Shared>,
    side: &Side,
    lane: u16,
    waiting: Waiting<impact::Job>,
    stopped: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, ProxyError> {
    let upstream = side.front.upstream.clone();
    let looker = move || {
        let lane = shared.journal.lane(lane);
        impact::Looker::new(upstream, Recorder::new(shared, lane))
    };
    crate::proxy::impact::start(looker, waiting, stopped)
}

/// One client, from its first byte to its last. Who changes its user begins anew on the same connection.
pub async fn serve(thread: &Rc<WireThread>, side: &Arc<Side>, stream: TcpStream, source: IpAddr) {
    let within = thread.shared.settings.limits.login + LAST_WORD;
    // Boxed, so that its buffers are gone before the relay starts.
    let login = Box::pin(login(thread, side, stream, source));
    let Ok(mut logged_in) = tokio::time::timeout(within, login).await else {
        info!(%source, "a log-in took too long");
        return;
    };
    let mut ahead = Vec::new();
    while let Some(begun) = logged_in {
        thread.shared.metrics.sessions.inc();
        thread.shared.metrics.sessions_active.inc();
        let session = Session::begin(Rc::clone(thread), Arc::clone(side), begun, ahead);
        let left = session.run().await;
        thread.shared.metrics.sessions_active.dec();
        let Left::ChangesUser(changes) = left else { return };
        let ChangesUser {
            client,
            greeted,
            payload,
            sequence,
            ahead: sent,
        } = *changes;
        ahead = sent;
        let change = change_user(thread, side, client, greeted, source, &payload, sequence);
        logged_in = tokio::time::timeout(within, Box::pin(change))
            .await
            .unwrap_or_default();
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
