//! Finds out what a statement that waits would do, for its reviewer, while it waits. Never delays the statement: sessions
//! leave a job here and go on, and what cannot be found out in time is "no estimate".
//! Read `record.rs`, then `../postgres/impact/look.rs` and `../mysql/impact/look.rs` for the questions themselves.
//!
//! Why a thread of its own: reading a statement again needs a deep stack, and wire threads have better things to do.

pub mod record;

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::LocalSet;
use tracing::warn;

use crate::catalog::impact::Impact;
use crate::desk::Desk;
use crate::hold::RequestId;
use crate::proxy::ProxyError;
use crate::sql::action::Judgement;
use crate::sql::parse::PARSER_STACK_BYTES;

/// Connections to the server that ask at once.
const CONNECTIONS_MAX: usize = 4;

/// Statements that wait to be looked at; more have no estimate.
const QUEUE_MAX: usize = 64;

/// All questions about one statement together, the log-in included.
const WITHIN: Duration = Duration::from_secs(5);

/// A statement that waits, with what gives it its meaning in its protocol.
pub trait Job: Send + 'static {
    fn request(&self) -> RequestId;

    fn judgement(&self) -> &Judgement;
}

/// Asks one protocol's server.
pub trait Look: 'static {
    type Job: Job;

    fn desk(&self) -> &Desk;

    /// Fills in what can be found out. Whatever stands in `impact` when it is cut short is true.
    fn look(&self, job: &Self::Job, impact: &mut Impact) -> impl Future<Output = ()>;
}

/// Where sessions leave their jobs.
pub struct Jobs<J>(mpsc::Sender<J>);

/// Jobs on their way to the thread that does them.
pub struct Waiting<J>(mpsc::Receiver<J>);

pub fn queue<J: Job>() -> (Jobs<J>, Waiting<J>) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    (Jobs(sender), Waiting(receiver))
}

/// In place of what a server says of a statement whose values are withheld: it may name one.
pub const NOT_SAID: &str =
    "the server refuses to plan it; its words are withheld, because they may hold a value";

impl<J: Job> Jobs<J> {
    /// Leaves a job. Where there are too many, that is what its reviewer is told.
    pub async fn leave(&self, job: J, desk: &Desk) {
        if let Err(refused) = self.0.try_send(job) {
            let job = refused.into_inner();
            let mut impact = estimating(&job);
            impact.give_up("too many statements are being looked at");
            tell(desk, job.request(), impact).await;
        }
    }
}

/// Starts the thread; it ends when `stopped` says so. `looker` is made on it.
pub fn start<L: Look>(
    looker: impl FnOnce() -> L + Send + 'static,
    waiting: Waiting<L::Job>,
    stopped: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, ProxyError> {
    std::thread::Builder::new()
        .name("impact".to_owned())
        .stack_size(PARSER_STACK_BYTES)
        .spawn(move || run(looker(), waiting, stopped))
        .map_err(ProxyError::Thread)
}

fn run<L: Look>(looker: L, waiting: Waiting<L::Job>, mut stopped: watch::Receiver<bool>) {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => {
            warn!(%error, "the impact of statements is not looked at: its thread has no runtime");
            return;
        }
    };
    let Waiting(mut jobs) = waiting;
    let looker = Rc::new(looker);
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    LocalSet::new().block_on(&runtime, async {
        loop {
            let taken = async {
                let permit = Arc::clone(&free).acquire_owned().await.ok()?;
                jobs.recv().await.map(|job| (job, permit))
            };
            let (job, permit) = tokio::select! {
                taken = taken => match taken {
                    Some(taken) => taken,
                    None => break,
                },
                _ = stopped.wait_for(|stop| *stop) => break,
            };
            let looker = Rc::clone(&looker);
            tokio::task::spawn_local(async move {
                let _permit = permit;
                do_job(&*looker, job).await;
            });
        }
    });
}

async fn do_job<L: Look>(looker: &L, job: L::Job) {
    let mut impact = estimating(&job);
    let looked = {
        let work = looker.look(&job, &mut impact);
        let work = tokio::time::timeout(WITHIN, AssertUnwindSafe(work).catch_unwind());
        work.await
    };
    match looked {
        Ok(Ok(())) => impact.give_up("it could not be asked for"),
        Ok(Err(_panic)) => impact.give_up("looking at it failed"),
        Err(_elapsed) => impact.give_up("the server did not answer in time"),
    }
    tell(looker.desk(), job.request(), impact).await;
}

fn estimating(job: &impl Job) -> Impact {
    let tables = job.judgement().actions.iter().flat_map(|action| &action.tables);
    let mut tables: Vec<String> = tables.map(ToString::to_string).collect();
    tables.sort();
    tables.dedup();
    Impact::estimating(tables)
}

async fn tell(desk: &Desk, request: RequestId, impact: Impact) {
    if let Err(error) = desk.set_impact(request, impact).await {
        warn!(request.id = %request, %error, "the impact of request {request} cannot be kept");
    }
}
