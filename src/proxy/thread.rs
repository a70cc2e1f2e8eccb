//! What all sessions of one wire thread share: its lane of the journal, the judgements made before, a read buffer.
//! Never leaves its thread, so nothing here is locked. Read `session.rs` next.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tracing::warn;

use crate::audit::entry::Entry;
use crate::clock::Timestamp;
use crate::desk::{Desk, Seat};
use crate::identity::principal::Peer;
use crate::identity::throttle::Throttle;
use crate::journal::{Journal, JournalError, Lane, Recorded};
use crate::policy::{ColumnLabels, RuleSet};
use crate::proxy::Settings;
use crate::proxy::judgements::Judgements;
use crate::proxy::redact::RedactionKey;
use crate::proxy::registry::Control;
use crate::sql::mysql_state::MysqlState;
use crate::sql::parse::ParserThreads;
use crate::telemetry::Metrics;

/// Bytes read from a socket at once: 32 to 64 KiB cost least (`research/performance.md`, 1.3).
pub const READ_BYTES: usize = 64 << 10;

/// Results reach the log within this time.
const RESULTS_WITHIN: Duration = Duration::from_millis(10);

/// What all wire threads share.
pub struct Shared {
    pub settings: Settings,
    pub desk: Desk,
    pub journal: Journal,
    pub rules: Arc<ArcSwap<RuleSet>>,
    pub labels: Arc<ArcSwap<ColumnLabels>>,
    pub redaction_key: RedactionKey,
    pub throttle: Throttle<IpAddr>,
    pub parsers: ParserThreads,
    pub connections: AtomicUsize,
    pub metrics: Metrics,
}

/// One wire thread's own.
pub struct WireThread {
    pub shared: Arc<Shared>,
    lane: RefCell<Lane>,
    pub judgements: RefCell<Judgements>,
    pub mysql_judgements: RefCell<Judgements<MysqlState>>,
    pub scratch: RefCell<Box<[u8]>>,
    staged: Notify,
}

impl WireThread {
    pub fn new(shared: Arc<Shared>, lane: Lane) -> Rc<Self> {
        Rc::new(Self {
            shared,
            lane: RefCell::new(lane),
            judgements: RefCell::default(),
            mysql_judgements: RefCell::default(),
            scratch: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
            staged: Notify::new(),
        })
    }

    /// A place for a session that has logged in, in the list that people see and end sessions by.
    pub fn take_seat(
        &self,
        peer: &Arc<Peer>,
        protocol: &'static str,
        application_name: &str,
        ends: UnboundedSender<Control>,
    ) -> Seat {
        let end = Box::new(move |why| ends.send(Control::EndedByPerson(why)).is_ok());
        let sessions = self.shared.desk.sessions();
        sessions.enter(
            Arc::clone(peer),
            protocol,
            application_name,
            Timestamp::now(),
            end,
        )
    }

    /// Writes records before what they tell of goes upstream.
    pub fn append(&self, entries: &[Entry<'_>]) -> Result<Recorded, JournalError> {
        self.lane.borrow_mut().append(entries)
    }

    /// Ends when the records are on disk.
    pub fn sync(
        &self,
        recorded: &Recorded,
    ) -> impl Future<Output = Result<crate::journal::Synced, JournalError>> + 'static {
        self.lane.borrow().sync(recorded)
    }

    /// Keeps a result for the next write, which comes within 10 ms.
    pub fn stage(&self, entry: &Entry<'_>) {
        self.lane.borrow_mut().stage(entry);
        self.staged.notify_one();
    }

    /// Writes staged results for ever; one such task runs on each wire thread.
    pub async fn flush_results(self: Rc<Self>) {
        let mut was_broken = false;
        loop {
            self.staged.notified().await;
            tokio::time::sleep(RESULTS_WITHIN).await;
            let flushed = self.flush();
            if let Err(error) = &flushed {
                // The results stay staged and go with the next write; statements are refused meanwhile.
                if !was_broken {
                    warn!(%error, "results cannot be written to the audit log");
                }
                self.staged.notify_one();
                tokio::time::sleep(RESULTS_WITHIN * 20).await;
            }
            was_broken = flushed.is_err();
        }
    }

    /// Writes what is staged, now.
    pub fn flush(&self) -> Result<(), JournalError> {
        let mut lane = self.lane.borrow_mut();
        if lane.has_staged() { lane.flush() } else { Ok(()) }
    }
}
