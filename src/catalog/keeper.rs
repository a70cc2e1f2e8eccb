//! Keeps one catalog at hand, of a database of PostgreSQL or of a whole MySQL server: read at first need, probed on a
//! timer, and read again when something may have changed it. Never makes a session wait by itself, and never lets an old
//! catalog pass for a fresh one. Read `keepers.rs` for all of them together.
//!
//! Why two numbers: `wanted` counts the reasons to look again, and a catalog counts as read only when a look that began
//! after the last of them has succeeded. So what a session has changed is never judged by what was known before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::catalog::postgres;
use crate::catalog::{CatalogError, ListedFunctions};
use crate::sql::action::TableName;

/// First wait after a failure; doubled up to the time between two probes.
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// Nobody has used it for this long: its connection is closed, so that it does not stand in the way of DROP DATABASE.
const IDLE: Duration = Duration::from_secs(60);

/// Sizes of tables change without a trace: everything is read anew after this time.
const SIZES_COUNT: Duration = Duration::from_secs(600);

/// Generations are never used twice in a process, whatever their database.
static GENERATIONS: AtomicU64 = AtomicU64::new(1);

/// How often it looks, and how long what it saw counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long a change made past the proxy can stay unseen.
    pub refresh: Duration,
    /// How long what was read counts while it cannot be read again.
    pub stale_after: Duration,
}

/// A way to read one catalog again and again, on a connection of its own.
pub trait Source: Sized + Send + 'static {
    /// What it speaks, for people.
    const PROTOCOL: &'static str;
    /// Where the server is, and as whom it is asked.
    type Settings: Send + Sync + 'static;
    type Snapshot: Snapshot;

    /// `place`: the database; or the server, where one catalog is of all of it. Connects when it is asked.
    fn open(settings: Arc<Self::Settings>, place: &str) -> Self;

    /// Reads everything. After an error the next call connects anew.
    fn read(
        &mut self,
        listed: &ListedFunctions,
    ) -> impl Future<Output = Result<Arc<Self::Snapshot>, CatalogError>> + Send;

    /// Whether anything that a read would show has changed since. If so, `read` comes next.
    fn has_changed(
        &mut self,
        since: &Self::Snapshot,
    ) -> impl Future<Output = Result<bool, CatalogError>> + Send;
}

/// A catalog at one moment.
pub trait Snapshot: Send + Sync + 'static {
    /// A function that is not built in, for people who decide whether to list it.
    type Function;

    /// A hash of all that was read, but for statistics.
    fn generation(&self) -> u64;

    fn user_functions(&self) -> Vec<Self::Function>;

    /// Hands over all relations there are, and the schemas whose relations are not read.
    fn see(&self, take: &mut dyn FnMut(Seen<'_>));
}

/// Something in a catalog.
#[derive(Clone, Debug)]
pub enum Seen<'c> {
    /// With its schema, and its columns; none: they are not known.
    Relation(TableName, Vec<&'c str>),
    /// What is in this schema is not read.
    LeftOut(&'c str),
}

/// What is known of one catalog.
pub struct Keeper<S: Source = postgres::Reader> {
    place: String,
    pace: Pace,
    known: ArcSwap<Known<S::Snapshot>>,
    wanted: AtomicU64,
    /// Everything is to be read anew, whatever the probe says.
    outdated: AtomicBool,
    /// The highest `wanted` that an attempt, whatever came of it, has taken up.
    attempted: watch::Sender<u64>,
    wake: Notify,
    is_asleep: AtomicBool,
}

/// What the last attempts gave.
struct Known<S> {
    snapshot: Option<Arc<S>>,
    generation: u64,
    /// When the snapshot was read.
    read_at: Instant,
    /// `wanted` when the last attempt that succeeded began, and when that was.
    confirmed: u64,
    at: Instant,
    /// Why the last attempt failed.
    problem: Option<String>,
}

/// Whether a session may judge by the catalog now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Read {
        generation: u64,
    },
    /// Something may have changed it since it was read; an attempt to read it again is on its way or has failed.
    Behind {
        wanted: u64,
    },
    /// It could not be read for too long.
    Stale,
}

/// For people: what is known, and how well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// `postgres` or `mysql`.
    pub protocol: &'static str,
    /// The database, or the server.
    pub place: String,
    pub is_read: bool,
    /// Nobody uses it now.
    pub is_asleep: bool,
    pub generation: u64,
    /// Since it was last seen to be right; `None`: never.
    pub age: Option<Duration>,
    pub problem: Option<String>,
}

impl<S: Source> Keeper<S> {
    pub fn new(place: String, pace: Pace) -> Self {
        Self {
            place,
            pace,
            known: ArcSwap::from_pointee(Known {
                snapshot: None,
                generation: 0,
                read_at: Instant::now(),
                confirmed: 0,
                at: Instant::now(),
                problem: None,
            }),
            wanted: AtomicU64::new(1),
            outdated: AtomicBool::new(false),
            attempted: watch::Sender::new(0),
            wake: Notify::new(),
            is_asleep: AtomicBool::new(false),
        }
    }

    /// Takes no lock and allocates nothing: it stands before every statement.
    pub fn standing(&self) -> Standing {
        let wanted = self.wanted.load(Ordering::SeqCst);
        let known = self.known.load();
        if known.confirmed < wanted || known.snapshot.is_none() {
            return Standing::Behind { wanted };
        }
        if known.at.elapsed() > self.pace.stale_after {
            return Standing::Stale;
        }
        Standing::Read {
            generation: known.generation,
        }
    }

    /// What was read last, however long ago.
    pub fn latest(&self) -> Option<Arc<S::Snapshot>> {
        self.known.load().snapshot.clone()
    }

    /// What was read, if it is still that generation.
    pub fn snapshot(&self, generation: u64) -> Option<Arc<S::Snapshot>> {
        let known = self.known.load();
        (known.generation == generation)
            .then(|| known.snapshot.clone())
            .flatten()
    }

    /// Something may have changed it: from now on nobody judges by it until it has been looked at again.
    pub fn suspect(&self) -> u64 {
        let wanted = self.wanted.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.notify_one();
        wanted
    }

    /// Everything is to be read anew, whatever the probe says. Ends when that has been tried.
    pub fn outdate(&self) -> impl Future<Output = ()> + use<S> {
        self.outdated.store(true, Ordering::SeqCst);
        self.attempt(self.suspect())
    }

    /// Ends when an attempt that began behind `wanted` is over, whatever came of it.
    pub fn attempt(&self, wanted: u64) -> impl Future<Output = ()> + use<S> {
        let mut attempted = self.attempted.subscribe();
        async move {
            // The keeper's task has ended with its runtime: nothing will come any more.
            let _ended = attempted.wait_for(|attempted| *attempted >= wanted).await;
        }
    }

    /// A session begins to use it.
    pub(super) fn awaken(&self) {
        if self.is_asleep.load(Ordering::SeqCst) {
            self.suspect();
        }
    }

    pub fn report(&self) -> Report {
        let known = self.known.load();
        Report {
            protocol: S::PROTOCOL,
            place: self.place.clone(),
            is_read: matches!(self.standing(), Standing::Read { .. }),
            is_asleep: self.is_asleep.load(Ordering::SeqCst),
            generation: known.generation,
            age: known.snapshot.is_some().then(|| known.at.elapsed()),
            problem: known.problem.clone(),
        }
    }

    /// Looks again and again, for as long as the runtime lives. `listed`: the functions that an operator vouches for.
    pub(super) async fn keep(
        self: Arc<Self>,
        settings: Arc<ArcSwap<S::Settings>>,
        listed: Arc<ArcSwap<ListedFunctions>>,
    ) {
        let new_reader = || S::open(settings.load_full(), &self.place);
        let mut reader = new_reader();
        let mut failures = 0;
        let mut unused_since = None;
        loop {
            let wanted = self.wanted.load(Ordering::SeqCst);
            let mut looked = self.look(&mut reader, &listed, wanted).await;
            if looked.is_err() && failures == 0 {
                // The connection may have been closed while nobody looked: one failure on it says nothing yet.
                looked = self.look(&mut reader, &listed, wanted).await;
            }
            match looked {
                Ok(()) => {
                    if failures > 0 {
                        info!(database = self.place, "the catalog is read again");
                    }
                    failures = 0;
                }
                Err(error) => {
                    if failures == 0 {
                        warn!(database = self.place, next_step = error.next_step(), "{error}");
                    }
                    failures += 1;
                    self.failed(&error);
                    // The settings may be others by now.
                    reader = new_reader();
                }
            }
            self.attempted.send_replace(wanted);
            self.pause(failures).await;
            if self.is_used() {
                unused_since = None;
            } else if unused_since.get_or_insert_with(Instant::now).elapsed() > IDLE {
                reader = new_reader();
                self.sleep().await;
                unused_since = None;
            }
        }
    }

    /// Until the next look is due.
    async fn pause(&self, failures: u32) {
        if failures > 0 {
            // Whoever wants a look meanwhile does not get it any sooner: a server that is down must not be run down.
            let wait = RETRY_FIRST * 2_u32.saturating_pow(failures.min(16) - 1);
            tokio::time::sleep(wait.min(self.pace.refresh.max(RETRY_FIRST))).await;
            return;
        }
        let _woken = tokio::time::timeout(self.pace.refresh, self.wake.notified()).await;
    }

    /// Until somebody needs it again.
    async fn sleep(self: &Arc<Self>) {
        self.is_asleep.store(true, Ordering::SeqCst);
        // Whoever came before it was said to be asleep did not wake it.
        if !self.is_used() {
            self.wake.notified().await;
        }
        self.is_asleep.store(false, Ordering::SeqCst);
    }

    /// Sessions hold it, besides the list of all and its own task.
    fn is_used(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 2
    }

    async fn look(
        &self,
        reader: &mut S,
        listed: &ArcSwap<ListedFunctions>,
        wanted: u64,
    ) -> Result<(), CatalogError> {
        let at = Instant::now();
        let known = self.known.load_full();
        let outdated = self.outdated.swap(false, Ordering::SeqCst) || known.read_at.elapsed() > SIZES_COUNT;
        let is_same = match &known.snapshot {
            Some(snapshot) if !outdated => !reader.has_changed(snapshot).await?,
            Some(_) | None => false,
        };
        let (snapshot, generation, read_at) = if is_same {
            (known.snapshot.clone(), known.generation, known.read_at)
        } else {
            let listed = listed.load_full();
            let read = reader.read(&listed).await.inspect_err(|_| {
                self.outdated.fetch_or(outdated, Ordering::SeqCst);
            });
            let read = read?;
            // Somebody's temporary tables, say: what was judged stays good.
            let answers_alike = known
                .snapshot
                .as_ref()
                .is_some_and(|before| !outdated && before.generation() == read.generation());
            let generation = if answers_alike {
                known.generation
            } else {
                GENERATIONS.fetch_add(1, Ordering::SeqCst)
            };
            (Some(read), generation, at)
        };
        self.known.store(Arc::new(Known {
            snapshot,
            generation,
            read_at,
            confirmed: wanted,
            at,
            problem: None,
        }));
        Ok(())
    }

    fn failed(&self, error: &CatalogError) {
        let known = self.known.load_full();
        self.known.store(Arc::new(Known {
            snapshot: known.snapshot.clone(),
            problem: Some(error.to_string()),
            ..*known
        }));
    }
}
