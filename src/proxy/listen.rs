//! Accepts connections, hands each to the wire thread with the fewest, and stops them all in good order.
//! Never speaks to a client. Read `login.rs` next.

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

use crate::catalog::keepers::Keepers;
use crate::desk::Desk;
use crate::journal::Journal;
use crate::policy::RuleSet;
use crate::proxy::Settings;
use crate::proxy::impact;
use crate::proxy::login::login;
use crate::proxy::refusal::fatal;
use crate::proxy::registry::{Control, Registry};
use crate::proxy::session::Session;
use crate::proxy::socket::Socket;
use crate::proxy::thread::{Shared, WireThread};
use crate::proxy::throttle::Throttle;
use crate::proxy::tls::{Listener, TlsError};
use crate::proxy::upstream::Dialler;
use crate::sql::parse::ParserThreads;
use crate::telemetry::Metrics;
use crate::wire::postgres::message::server;

/// Statements are parsed on these threads' stacks: reserved, and used only as far as a text nests.
const STACK_BYTES: usize = 64 << 20;

/// Threads for texts too long to be parsed in place.
const PARSER_THREADS: usize = 2;

/// How long a client that is too late has to take the message that says so.
const LAST_WORD: Duration = Duration::from_secs(1);

/// How long sessions have to end by themselves at a stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("cannot listen on {address}: {cause}")]
    Listen { address: SocketAddr, cause: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("a wire thread cannot be started: {0}")]
    Thread(io::Error),
}

impl ProxyError {
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "choose another address in [listen], or stop what uses this one",
            Self::Tls(error) => error.next_step(),
            Self::Thread(_) => "allow this process more threads",
        }
    }
}

/// A running proxy. Dropping it does not stop it: `shutdown` does.
pub struct ProxyHandle {
    pub local_addr: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl ProxyHandle {
    /// Takes no new connection, tells every session to end, waits for them for a few seconds.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        self.shared.registry.tell_all(&Control::Stop);
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

    /// Reads the listener's certificate again, if there is one, and whom it trusts; on an error everything stays.
    pub fn reload_certificate(&self) -> Option<Result<(), TlsError>> {
        self.shared.listener.as_ref().map(Listener::reload)
    }

    /// Reads the authority again that the server's certificate is verified against, if there is one; on an error the
    /// old one stays.
    pub fn reload_upstream_authority(&self) -> Option<Result<(), TlsError>> {
        self.shared.dialler.reload_authority()
    }

    pub fn sessions(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

struct WireWorker {
    accepted: mpsc::UnboundedSender<(std::net::TcpStream, SocketAddr)>,
    sessions: Arc<AtomicUsize>,
}

/// Listens, and starts the wire threads. Call it on a tokio runtime: accepting happens there.
pub async fn start(
    settings: Settings,
    desk: Desk,
    journal: Journal,
    rules: Arc<ArcSwap<RuleSet>>,
    metrics: Metrics,
    catalogs: Option<Arc<Keepers>>,
) -> Result<ProxyHandle, ProxyError> {
    let address = settings.listen;
    let failed = |cause| ProxyError::Listen { address, cause };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
    let local_addr = listener.local_addr().map_err(failed)?;
    let tls = Listener::open(&settings.tls)?;
    let dialler = Dialler::new(settings.upstream.clone())?;
    let thread_count = settings.threads.max(1);
    let (jobs, waiting) = impact::queue();
    let shared = Arc::new(Shared {
        settings,
        desk,
        journal,
        rules,
        registry: Registry::default(),
        throttle: Throttle::default(),
        listener: tls,
        dialler,
        catalogs,
        impact: jobs,
        parsers: ParserThreads::start(PARSER_THREADS),
        connections: AtomicUsize::new(0),
        metrics,
    });
    let (stop, stopped) = watch::channel(false);
    let lane = u16::try_from(thread_count + 1).unwrap_or(u16::MAX);
    let impact = impact::start(Arc::clone(&shared), lane, waiting, stopped.clone())?;
    let mut workers = Vec::new();
    let mut threads = vec![impact];
    for number in 0..thread_count {
        let (accepted, arrivals) = mpsc::unbounded_channel();
        let sessions = Arc::new(AtomicUsize::new(0));
        let worker = WireWorker {
            accepted,
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
    tokio::spawn(accept(listener, Arc::clone(&shared), workers, stopped));
    tokio::spawn(end_credentials(Arc::clone(&shared)));
    info!(address = %local_addr, "listening for PostgreSQL clients");
    Ok(ProxyHandle {
        local_addr,
        shared,
        stop,
        threads,
    })
}

async fn accept(
    listener: tokio::net::TcpListener,
    shared: Arc<Shared>,
    workers: Vec<WireWorker>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, source)) => hand_over(stream, source, &shared, &workers).await,
            Err(error) => {
                // Too many open files and the like: those who are in go on, and the next try may succeed.
                warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn hand_over(mut stream: TcpStream, source: SocketAddr, shared: &Shared, workers: &[WireWorker]) {
    let limit = shared.settings.limits.connections_max;
    if shared.connections.load(Ordering::Relaxed) >= limit {
        let mut out = Vec::new();
        fatal(
            "53300",
            &format!("countersign: {limit} connections are open already. Retry later."),
        )
        .put(server::ERROR, &mut out);
        // Whoever does not read this gets a closed connection, which says the same.
        let _gone = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&out)).await;
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
    if worker.accepted.send((stream, source)).is_err() {
        shared.connections.fetch_sub(1, Ordering::Relaxed);
        worker.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sessions of a credential that was revoked or has expired end.
async fn end_credentials(shared: Arc<Shared>) {
    let mut ended = shared.desk.sessions_to_end();
    loop {
        match ended.recv().await {
            Ok(credential) => {
                let control = Control::CredentialEnded(credential.why.clone());
                shared.registry.tell_principal(&credential.principal, &control);
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
    mut arrivals: mpsc::UnboundedReceiver<(std::net::TcpStream, SocketAddr)>,
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
                    let Some((stream, source)) = arrived else { break };
                    let counted = Counted { shared: Arc::clone(&shared), sessions: Arc::clone(&sessions) };
                    let thread = Rc::clone(&thread);
                    tokio::task::spawn_local(async move {
                        let _counted = counted;
                        serve(&thread, stream, source.ip()).await;
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

async fn serve(thread: &Rc<WireThread>, stream: std::net::TcpStream, source: IpAddr) {
    let Ok(stream) = TcpStream::from_std(stream) else {
        return;
    };
    let within = thread.shared.settings.limits.login + LAST_WORD;
    // Boxed, so that its buffers are gone before the relay starts.
    let login = Box::pin(login(thread, stream, source));
    let Ok(logged_in) = tokio::time::timeout(within, login).await else {
        info!(%source, "a log-in took too long");
        return;
    };
    if let Some(logged_in) = logged_in {
        thread.shared.metrics.sessions.inc();
        thread.shared.metrics.sessions_active.inc();
        Session::begin(Rc::clone(thread), logged_in).run().await;
        thread.shared.metrics.sessions_active.dec();
    }
}
