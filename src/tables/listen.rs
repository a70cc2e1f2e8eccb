//! Accepts auditors' connections, up to a limit, and stops them. Never speaks of the log before `login.rs` lets them in.
//! Read `login.rs` next.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use subtle::ConstantTimeEq as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::{info, warn};

use super::error::{SqlError, state};
use super::spill::Spills;
use super::{Settings, login, session};
use crate::desk::Desk;
use crate::identity::throttle::Throttle;
use crate::journal::Reader;
use crate::proxy::{ALPN_POSTGRES, Listener, Socket, TlsError};
use crate::wire::postgres::message::server;

/// Auditors' connections at once; agents have listeners of their own.
const CONNECTIONS_MAX: usize = 64;
/// Queries that run at once: each may take a core and the memory of `Limits`.
const QUERIES_MAX: usize = 3;
/// How long a client that is one too many has to take the message that says so.
const LAST_WORD: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    #[error("cannot listen on {address} for queries of the log: {cause}")]
    Listen { address: SocketAddr, cause: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl TablesError {
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "choose another address in [log_sql], or stop what uses this one",
            Self::Tls(error) => error.next_step(),
        }
    }
}

/// What all sessions share.
pub struct Shared {
    pub settings: Settings,
    pub desk: Desk,
    pub reader: Reader,
    pub listener: Option<Listener>,
    pub throttle: Throttle<IpAddr>,
    pub queries: Arc<Semaphore>,
    pub spills: Arc<Spills>,
    connections: AtomicUsize,
    cancels: Mutex<HashMap<i32, Cancel>>,
}

/// How a session's query is cancelled.
#[derive(Clone)]
struct Cancel {
    key: Vec<u8>,
    flag: Arc<AtomicBool>,
}

impl Shared {
    /// A number and a key for a session; `None`: no number was free.
    pub fn enlist(&self, key: Vec<u8>) -> Option<(i32, Arc<AtomicBool>)> {
        let mut cancels = self.cancels.lock().unwrap_or_else(PoisonError::into_inner);
        let process = (0..100)
            .map(|_| rand::random_range(1..i32::MAX))
            .find(|process| !cancels.contains_key(process))?;
        let flag = Arc::new(AtomicBool::new(false));
        let cancel = Cancel {
            key,
            flag: Arc::clone(&flag),
        };
        cancels.insert(process, cancel);
        Some((process, flag))
    }

    pub fn strike(&self, process: i32) {
        self.cancels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&process);
    }

    /// Cancels what a session runs, if the key is its own.
    pub fn cancel(&self, process: i32, key: &[u8]) {
        let cancels = self.cancels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cancels.get(&process)
            && bool::from(known.key.ct_eq(key))
        {
            known.flag.store(true, Ordering::Relaxed);
        }
    }

    fn cancel_all(&self) {
        let cancels = self.cancels.lock().unwrap_or_else(PoisonError::into_inner);
        cancels
            .values()
            .for_each(|cancel| cancel.flag.store(true, Ordering::Relaxed));
    }
}

/// The listener for auditors, running.
pub struct Tables {
    pub local_addr: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

impl Tables {
    /// Takes no new connection; queries are cancelled and sessions end.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        self.shared.cancel_all();
    }

    /// Reads the certificate again; on an error the old one stays. `None`: there is none.
    pub fn reload_certificate(&self) -> Option<Result<(), TlsError>> {
        self.shared.listener.as_ref().map(Listener::reload)
    }
}

/// Listens. Call it on a tokio runtime: accepting happens there.
pub async fn start(settings: Settings, desk: Desk, reader: Reader) -> Result<Tables, TablesError> {
    let address = settings.address;
    let failed = |cause| TablesError::Listen { address, cause };
    let listener = Listener::open(&settings.tls, Some(ALPN_POSTGRES))?;
    let socket = TcpListener::bind(address).await.map_err(failed)?;
    let local_addr = socket.local_addr().map_err(failed)?;
    let (stop, stopped) = watch::channel(false);
    let shared = Arc::new(Shared {
        settings,
        desk,
        reader,
        listener,
        throttle: Throttle::default(),
        queries: Arc::new(Semaphore::new(QUERIES_MAX)),
        spills: Arc::default(),
        connections: AtomicUsize::new(0),
        cancels: Mutex::default(),
    });
    info!(address = %local_addr, "listening for queries of the log");
    tokio::spawn(accept(socket, Arc::clone(&shared), stopped));
    Ok(Tables {
        local_addr,
        shared,
        stop,
    })
}

async fn accept(socket: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, source)) => {
                let (shared, mut stopped) = (Arc::clone(&shared), stopped.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = serve(&shared, stream, source) => {}
                        _ = stopped.wait_for(|stop| *stop) => {}
                    }
                });
            }
            Err(error) => {
                warn!(%error, "a connection for queries of the log cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A connection that counts while it lives.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The number that a session is cancelled by, while it lives.
struct Enlisted<'a>(&'a Shared, i32);

impl Drop for Enlisted<'_> {
    fn drop(&mut self) {
        self.0.strike(self.1);
    }
}

async fn serve(shared: &Arc<Shared>, stream: TcpStream, source: SocketAddr) {
    let before = shared.connections.fetch_add(1, Ordering::Relaxed);
    let _counted = Counted(&shared.connections);
    let Ok(mut stream) = Socket::prepare(stream) else {
        return;
    };
    if before >= CONNECTIONS_MAX {
        let mut out = Vec::new();
        too_many().fields("FATAL").put(server::ERROR, &mut out);
        // Whoever does not read this gets a closed connection, which says the same.
        let _gone = tokio::time::timeout(LAST_WORD, stream.write_all(&out)).await;
        return;
    }
    let Some(let_in) = login::login(shared, stream, source.ip()).await else {
        return;
    };
    let _enlisted = Enlisted(shared, let_in.process);
    session::run(Arc::clone(shared), let_in).await;
}

fn too_many() -> SqlError {
    SqlError::new(
        state::TOO_MANY_CONNECTIONS,
        format!("sorry, too many clients already: {CONNECTIONS_MAX} read the log"),
        "close a connection, or wait for one to end",
    )
}
