//! PostgreSQL: one client and its server connection, from the first byte to the last.
//! Never judges and never decides: it asks `sql`, `policy` and `desk`, and forwards what holds a permit.
//! Read `arrive.rs`, `prove.rs`, `login.rs`, then `session.rs`.

mod arrive;
mod facts;
mod guards;
mod impact;
mod judging;
mod login;
mod own_cancel;
mod own_names;
mod parameters;
mod park;
mod prove;
mod refuse;
mod relay;
mod runs;
mod session;
mod sight;
mod startup;
mod statements;
mod turn;
mod undone;
mod unit;
mod upstream;

pub use arrive::{Arrived, first_packets};

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tracing::info;

use crate::catalog::keepers::Keepers;
use crate::proxy::impact::record::Recorder;
use crate::proxy::impact::{Jobs, Waiting};
use crate::proxy::listen::LAST_WORD;
use crate::proxy::postgres::login::login;
use crate::proxy::postgres::session::Session;
use crate::proxy::postgres::upstream::Dialler;
use crate::proxy::refusal::fatal;
use crate::proxy::registry::Registry;
use crate::proxy::thread::{Shared, WireThread};
use crate::proxy::tls::{self, Listener, TlsError};
use crate::proxy::{Front, ProxyError};
use crate::wire::postgres::message::server;

/// What all sessions of this protocol share.
pub struct Side {
    pub front: Front,
    pub registry: Registry,
    /// `None`: no TLS for clients.
    pub listener: Option<Listener>,
    pub dialler: Dialler,
    /// `None`: no catalog is configured.
    pub catalogs: Option<Arc<Keepers>>,
    /// Where statements that wait are looked at for their reviewers.
    pub impact: Jobs<impact::Job>,
}

impl Side {
    /// With the jobs that its sessions will leave; `start_impact` takes them.
    pub fn open(
        front: Front,
        catalogs: Option<Arc<Keepers>>,
    ) -> Result<(Self, Waiting<impact::Job>), TlsError> {
        let (jobs, waiting) = crate::proxy::impact::queue();
        let side = Self {
            registry: Registry::default(),
            listener: Listener::open(&front.tls, Some(tls::ALPN_POSTGRES))?,
            dialler: Dialler::new(front.upstream.clone())?,
            catalogs,
            impact: jobs,
            front,
        };
        Ok((side, waiting))
    }
}

/// Starts the thread that looks at what waits; it ends when `stopped` says so.
pub fn start_impact(
    shared: Arc<Shared>,
    side: Arc<Side>,
    lane: u16,
    waiting: Waiting<impact::Job>,
    stopped: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, ProxyError> {
    let looker = move || {
        let lane = shared.journal.lane(lane);
        impact::Looker::new(side, Recorder::new(shared, lane))
    };
    crate::proxy::impact::start(looker, waiting, stopped)
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
        thread.shared.metrics.sessions.inc();
        thread.shared.metrics.sessions_active.inc();
        Session::begin(Rc::clone(thread), Arc::clone(side), logged_in)
            .run()
            .await;
        thread.shared.metrics.sessions_active.dec();
    }
}

/// What a client is told that comes when the proxy is full.
pub fn put_full(limit: usize, out: &mut Vec<u8>) {
    fatal(
        "53300",
        &format!("countersign: {limit} connections are open already. Retry later."),
    )
    .put(server::ERROR, out);
}
