//! Accepts connections, hands each to the wire thread with the fewest, and stops them all in good order.
//! Never speaks to a client. Read `postgres/mod.rs` or `mysql/mod.rs` next.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tracing::{info, warn};

use crate::catalog::keepers::Catalogs;
use crate::desk::Desk;
use crate::identity::throttle::Throttle;
use crate::journal::Journal;
use crate::policy::{ColumnLabels, RuleSet};
use crate::proxy::mysql::{self, RsaError};
use crate::proxy::postgres;
use crate::proxy::registry::{Control, Registry};
use crate::proxy::socket::Socket;
use crate::proxy::thread::{Shared, WireThread};
use crate::proxy::tls::{Listener, TlsError};
use crate::proxy::{MYSQL_NAME, POSTGRES_NAME, Settings};
use crate::sql::parse::ParserThreads;
use crate::telemetry::Metrics;

/// Statements are parsed on these threads' stacks: reserved, and used only as far as a text nests.
const STACK_BYTES: usize = 64 << 20;

/// Threads for texts too long to be parsed in place.
const PARSER_THREADS: usize = 2;

/// How long a client that is too late, or one too many, has to take the message that says so.
pub const LAST_WORD: Duration = Duration::from_secs(1);

/// How long sessions have to end by themselves at a stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("cannot listen on {address}: {cause}")]
    Listen { address: SocketAddr, cause: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Rsa(#[from] RsaError),
    #[error("a wire thread cannot be started: {0}")]
    Thread(io::Error),
}

impl ProxyError {
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "choose another address in [listen], or stop what uses this one",
            Self::Tls(error) => error.next_step(),
            Self::Rsa(_) => "start it again",
            Self::Thread(_) => "allow this process more threads",
        }
    }
}

/// What one listener's clients speak.
#[derive(Clone)]
enum Protocol {
    Postgres(Arc<postgres::Side>),
    Mysql(Arc<mysql::Side>),
}

/// A running proxy. Dropping it does not stop it: `shutdown` does.
pub struct ProxyHandle {
    /// Where agents of PostgreSQL connect; `None`: it is not served.
    pub postgres_addr: Option<SocketAddr>,
    /// Where agents of MySQL and MariaDB connect; `None`: it is not served.
    pub mysql_addr: Option<SocketAddr>,
    shared: Arc<Shared>,
    protocols: Vec<Protocol>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Protocol {
    fn name(&self) -> &'static str {
        match self {
            Self::Postgres(_) => POSTGRES_NAME,
            Self::Mysql(_) => MYSQL_NAME,
        }
    }

    fn registry(&self) -> &Registry {
        match self {
            Self::Postgres(side) => &side.registry,
            Self::Mysql(side) => &side.registry,
        }
    }

    fn listener(&self) -> Option<&Listener> {
        match self {
            Self::Postgres(side) => side.listener.as_ref(),
            Self::Mysql(side) => side.listener.as_ref(),
        }
    }

    fn reload_authority(&self) -> Option<Result<(), TlsError>> {
        match self {
            Self::Postgres(side) => side.dialler.reload_authority(),
            Self::Mysql(side) => side.dialler.reload_authority(),
        }
    }

    fn put_full(&self, limit: usize, out: &mut Vec<u8>) {
        match self {
            Self::Postgres(_) => postgres::put_full(limit, out),
            Self::Mysql(_) => mysql::put_full(limit, out),
        }
    }

    async fn serve(&self, thread: &Rc<WireThread>, stream: TcpStream, source: IpAddr) {
        match self {
            Self::Postgres(side) => postgres::serve(thread, side, stream, source).await,
            Self::Mysql(side) => mysql::serve(thread, side, stream, source).await,
        }
    }
}

impl ProxyHandle {
    /// Takes no new connection, tells every session to end, waits for them for a few seconds.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        for protocol in &self.protocols {
            protocol.registry().tell_all(&Control::Stop);
        }
        let joined = tokio::task::spawn_blocking(move || {
            for thread in self.threads {
                if thread.join().is_err() {
                    warn!("a wire thread ended in a panic");
                }
            }
        });
        if tokio::time::timeout(STOP_WITHIN * 2, joined).await.is_err() {
            warn!("sessions did not end in time");
        }
    }

    /// Reads the listeners' certificates again, where there are any, and whom they trust; on an error everything stays.
    /// Gives each protocol's name with what became of it.
    pub fn reload_certificates(&self) -> Vec<(&'static str, Result<(), TlsError>)> {
        let listeners = self.protocols.iter();
        let listeners = listeners.filter_map(|protocol| Some((protocol.name(), protocol.listener()?)));
        listeners
            .map(|(name, listener)| (name, listener.reload()))
            .collect()
    }

    /// Reads the authorities again that the servers' certificates are verified against, where there are any; on an error
    /// the old one stays.
    pub fn reload_upstream_authorities(&self) -> Vec<(&'static str, Result<(), TlsError>)> {
        let protocols = self.protocols.iter();
        protocols
            .filter_map(|protocol| Some((protocol.name(), protocol.reload_authority()?)))
            .collect()
    }

    pub fn sessions(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

/// A connection, and what is spoken on it.
type Arrival = (std::net::TcpStream, SocketAddr, Protocol);

struct WireWorker {
    arrivals: mpsc::UnboundedSender<Arrival>,
    sessions: Arc<AtomicUsize>,
}

/// Listens, and starts the wire threads. Call it on a tokio runtime: accepting happens there.
pub async fn start(
    settings: Settings,
    desk: Desk,
    journal: Journal,
    rules: Arc<ArcSwap<RuleSet>>,
    labels: Arc<ArcSwap<ColumnLabels>>,
    metrics: Metrics,
    catalogs: Catalogs,
) -> Result<ProxyHandle, ProxyError> {
    let thread_count = settings.threads.max(1);
    let (postgres, mysql) = (settings.postgres.clone(), settings.mysql.clone());
    let shared = Arc::new(Shared {
        settings,
        desk,
        journal,
        rules,
        labels,
        redaction_key: rand::random(),
        throttle: Throttle::default(),
        parsers: ParserThreads::start(PARSER_THREADS),
        connections: AtomicUsize::new(0),
        metrics,
    });
    let (stop, stopped) = watch::channel(false);
    // Lane 0 is the desk's, then come the wire threads'.
    let mut lane = u16::try_from(thread_count).unwrap_or(u16::MAX);
    let (mut threads, mut protocols, mut listeners) = (Vec::new(), Vec::new(), Vec::new());
    let (mut postgres_addr, mut mysql_addr) = (None, None);
    if let Some(front) = postgres {
        let (listener, address) = listen(front.listen).await?;
        let (side, waiting) = postgres::Side::open(front, catalogs.postgres)?;
        let side = Arc::new(side);
        lane = lane.saturating_add(1);
        let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
        let impact = postgres::start_impact(shared, Arc::clone(&side), lane, waiting, stopped)?;
        threads.push(impact);
        postgres_addr = Some(address);
        protocols.push(Protocol::Postgres(side));
        listeners.push(listener);
    }
    if let Some(front) = mysql {
        let (listener, address) = listen(front.listen).await?;
        let (side, waiting) = mysql::Side::open(front, catalogs.mysql)?;
        let side = Arc::new(side);
        lane = lane.saturating_add(1);
        let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
        let impact = mysql::start_impact(shared, &side, lane, waiting, stopped)?;
        threads.push(impact);
        mysql_addr = Some(address);
        protocols.push(Protocol::Mysql(side));
        listeners.push(listener);
    }
    let mut workers = Vec::new();
    for number in 0..thread_count {
        let (accepted, arrivals) = mpsc::unbounded_channel();
        let sessions = Arc::new(AtomicUsize::new(0));
        let worker = WireWorker {
            arrivals: accepted,
            sessions: Arc::clone(&sessions),
        };
        let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
        let thread = std::thread::Builder::new()
            .name(format!("wire-{number}"))
            .stack_size(STACK_BYTES)
            .spawn(move || run_wire_thread(number, shared, arrivals, sessions, stopped))
            .map_err(ProxyError::Thread)?;
        workers.push(worker);
        threads.push(thread);
    }
    let workers: Arc<[WireWorker]> = workers.into();
    for (listener, protocol) in listeners.into_iter().zip(&protocols) {
        let (shared, workers) = (Arc::clone(&shared), Arc::clone(&workers));
        tokio::spawn(accept(
            listener,
            protocol.clone(),
            shared,
            workers,
            stopped.clone(),
        ));
    }
    tokio::spawn(end_credentials(Arc::clone(&shared), protocols.clone()));
    Ok(ProxyHandle {
        postgres_addr,
        mysql_addr,
        shared,
        protocols,
        stop,
        threads,
    })
}

async fn listen(address: SocketAddr) -> Result<(tokio::net::TcpListener, SocketAddr), ProxyError> {
    let failed = |cause| ProxyError::Listen { address, cause };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
    let local_addr = listener.local_addr().map_err(failed)?;
    Ok((listener, local_addr))
}

async fn accept(
    listener: tokio::net::TcpListener,
    protocol: Protocol,
    shared: Arc<Shared>,
    workers: Arc<[WireWorker]>,
    mut stopped: watch::Receiver<bool>,
) {
    if let Ok(address) = listener.local_addr() {
        info!(%address, "listening for {} clients", protocol.name());
    }
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, source)) => hand_over(stream, source, &protocol, &shared, &workers).await,
            Err(error) => {
                // Too many open files and the like: those who are in go on, and the next try may succeed.
                warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn hand_over(
    mut stream: TcpStream,
    source: SocketAddr,
    protocol: &Protocol,
    shared: &Shared,
    workers: &[WireWorker],
) {
    let limit = shared.settings.limits.connections_max;
    if shared.connections.load(Ordering::Relaxed) >= limit {
        let mut out = Vec::new();
        protocol.put_full(limit, &mut out);
        // Whoever does not read this gets a closed connection, which says the same.
        let _gone = tokio::time::timeout(LAST_WORD, stream.write_all(&out)).await;
        return;
    }
    let Ok(stream) = Socket::prepare(stream).and_then(TcpStream::into_std) else {
        return;
    };
    let Some(worker) = workers
        .iter()
        .min_by_key(|worker| worker.sessions.load(Ordering::Relaxed))
    else {
        return;
    };
    shared.connections.fetch_add(1, Ordering::Relaxed);
    worker.sessions.fetch_add(1, Ordering::Relaxed);
    if worker.arrivals.send((stream, source, protocol.clone())).is_err() {
        shared.connections.fetch_sub(1, Ordering::Relaxed);
        worker.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sessions of a credential that was revoked or has expired end.
async fn end_credentials(shared: Arc<Shared>, protocols: Vec<Protocol>) {
    let mut ended = shared.desk.sessions_to_end();
    loop {
        match ended.recv().await {
            Ok(credential) => {
                let control = Control::CredentialEnded(credential.why.clone());
                for protocol in &protocols {
                    protocol
                        .registry()
                        .tell_principal(&credential.principal, &control);
                }
            }
            Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// The sessions of one core. Ends when told to stop and all of them are gone, or after `STOP_WITHIN`.
fn run_wire_thread(
    number: usize,
    shared: Arc<Shared>,
    mut arrivals: mpsc::UnboundedReceiver<Arrival>,
    sessions: Arc<AtomicUsize>,
    mut stopped: watch::Receiver<bool>,
) {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => {
            warn!(%error, "a wire thread has no runtime");
            return;
        }
    };
    // Lane 0 is the desk's.
    let lane = shared.journal.lane(u16::try_from(number + 1).unwrap_or(u16::MAX));
    let thread = WireThread::new(Arc::clone(&shared), lane);
    let local = LocalSet::new();
    local.spawn_local(Rc::clone(&thread).flush_results());
    local.block_on(&runtime, async {
        loop {
            tokio::select! {
                arrived = arrivals.recv() => {
                    let Some((stream, source, protocol)) = arrived else { break };
                    let counted = Counted { shared: Arc::clone(&shared), sessions: Arc::clone(&sessions) };
                    let thread = Rc::clone(&thread);
                    tokio::task::spawn_local(async move {
                        let _counted = counted;
                        if let Ok(stream) = TcpStream::from_std(stream) {
                            protocol.serve(&thread, stream, source.ip()).await;
                        }
                    });
                }
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
        drop(arrivals);
        let ended = async {
            while sessions.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(STOP_WITHIN, ended).await.is_err() {
            warn!(
                sessions = sessions.load(Ordering::Relaxed),
                "sessions are cut at the stop"
            );
        }
    });
    drop(local);
    if let Err(error) = thread.flush() {
        warn!(%error, "results are lost at the stop");
    }
}

/// A connection that counts while it lives.
struct Counted {
    shared: Arc<Shared>,
    sessions: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}
