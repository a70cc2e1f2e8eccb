//! Puts lanes on disk: one thread, one sync for all who wait on a lane at that moment.
//! Never syncs a file again after a sync of it failed. Read `lane.rs` next, which is what its users hold.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Settings;
use super::checkpoint::{Checkpoint, LaneMark};
use super::disk::Disk;
use super::error::JournalError;
use super::writer::{LaneStart, Piece, Writer};

/// What nobody waits for is on disk after this long; a lane that failed is tried again as often.
const SYNC_EVERY: Duration = Duration::from_millis(200);

/// All that the journal's handles and threads share.
pub struct Shared {
    pub settings: Settings,
    pub disk: Disk,
    lanes: Mutex<BTreeMap<u16, Arc<LaneState>>>,
    queue: Mutex<Queue>,
    wake: Condvar,
    closing: Condvar,
    /// How many segments have been sealed since the start.
    sealed: AtomicU64,
    /// Held open for its lock, so that no other process writes here.
    _owner: File,
}

/// One lane, as its writer and the sync thread see it.
pub struct LaneState {
    pub number: u16,
    writer: Mutex<Writer>,
    /// Told whenever more of the lane is on disk, or cannot be.
    progress: Condvar,
    /// `Durable::sequence`, to be read without the lock.
    durable: AtomicU64,
    is_broken: AtomicBool,
    is_hurried: AtomicBool,
}

#[derive(Default)]
struct Queue {
    waiters: Vec<Waiter>,
    hurry: bool,
    is_closed: bool,
}

struct Waiter {
    lane: Arc<LaneState>,
    sequence: u64,
    done: Done,
}

/// How a waiter is told.
enum Done {
    Task(oneshot::Sender<Result<(), JournalError>>),
    Thread(mpsc::Sender<Result<(), JournalError>>),
}

impl Shared {
    pub fn new(settings: Settings, disk: Disk, owner: File, lanes: BTreeMap<u16, LaneStart>) -> Self {
        let state = |(number, start): (u16, LaneStart)| {
            let writer = Writer::new(number, &settings, disk.clone(), start);
            (number, Arc::new(LaneState::new(number, writer)))
        };
        let lanes = lanes.into_iter().map(state).collect();
        Self {
            settings,
            disk,
            lanes: Mutex::new(lanes),
            queue: Mutex::default(),
            wake: Condvar::new(),
            closing: Condvar::new(),
            sealed: AtomicU64::new(0),
            _owner: owner,
        }
    }

    /// The lane of this number; an empty one if it is new.
    pub fn lane(&self, number: u16) -> Arc<LaneState> {
        let mut lanes = lock(&self.lanes);
        let lane = lanes.entry(number).or_insert_with(|| {
            let writer = Writer::new(number, &self.settings, self.disk.clone(), LaneStart::empty());
            Arc::new(LaneState::new(number, writer))
        });
        Arc::clone(lane)
    }

    pub fn is_healthy(&self) -> bool {
        lock(&self.lanes)
            .values()
            .all(|lane| !lane.is_broken.load(Ordering::Relaxed))
    }

    /// Asks for a sync soon, though nobody waits for it.
    pub fn hurry(&self, lane: &LaneState) {
        if !lane.is_hurried.swap(true, Ordering::Relaxed) {
            lock(&self.queue).hurry = true;
            self.wake.notify_one();
        }
    }

    /// Told when the lane is on disk up to this sequence; `None` if it is already.
    pub fn wait_in_task(
        &self,
        lane: &Arc<LaneState>,
        sequence: u64,
    ) -> Option<oneshot::Receiver<Result<(), JournalError>>> {
        let (done, told) = oneshot::channel();
        self.enqueue(lane, sequence, Done::Task(done)).then_some(told)
    }

    /// Like `wait_in_task`, for a thread without a runtime.
    pub fn wait_in_thread(
        &self,
        lane: &Arc<LaneState>,
        sequence: u64,
    ) -> Option<mpsc::Receiver<Result<(), JournalError>>> {
        let (done, told) = mpsc::channel();
        self.enqueue(lane, sequence, Done::Thread(done)).then_some(told)
    }

    fn enqueue(&self, lane: &Arc<LaneState>, sequence: u64, done: Done) -> bool {
        if lane.is_on_disk(sequence) {
            return false;
        }
        lock(&self.queue).waiters.push(Waiter {
            lane: Arc::clone(lane),
            sequence,
            done,
        });
        self.wake.notify_one();
        true
    }

    /// Ends the journal's threads, the sync thread once everything is on disk.
    pub fn close(&self) {
        lock(&self.queue).is_closed = true;
        self.wake.notify_one();
        self.closing.notify_all();
    }

    /// Whether the journal is closed, or will be before `wait` is over.
    pub fn closes_within(&self, wait: Duration) -> bool {
        let queue = lock(&self.queue);
        let waited = self
            .closing
            .wait_timeout_while(queue, wait, |queue| !queue.is_closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_closed
    }

    /// Tells the index that there is something to do.
    pub fn has_sealed(&self) {
        self.sealed.fetch_add(1, Ordering::Relaxed);
    }

    /// Grows with every segment that is sealed.
    pub fn sealed(&self) -> u64 {
        self.sealed.load(Ordering::Relaxed)
    }

    /// Waits for somebody who waits, for haste, for the end, or until `due`.
    fn next_round(&self, due: Instant) -> Queue {
        let mut queue = lock(&self.queue);
        while queue.waiters.is_empty() && !queue.hurry && !queue.is_closed {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue = self
                .wake
                .wait_timeout(queue, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let is_closed = queue.is_closed;
        std::mem::replace(
            &mut *queue,
            Queue {
                is_closed,
                ..Queue::default()
            },
        )
    }

    fn all_lanes(&self) -> Vec<Arc<LaneState>> {
        lock(&self.lanes).values().map(Arc::clone).collect()
    }

    /// Ends a lane's segment if it is the one that is written; it is sealed soon.
    pub fn end_segment(&self, lane: u16, segment: u64) -> Result<(), JournalError> {
        let known = lock(&self.lanes).get(&lane).map(Arc::clone);
        if let Some(lane) = known {
            lane.writer().end_segment(segment)?;
            self.hurry(&lane);
        }
        Ok(())
    }

    fn sync_lane(&self, lane: &LaneState) -> Result<(), JournalError> {
        lane.is_hurried.store(false, Ordering::Relaxed);
        let done = self.sync_pieces(lane);
        let was_broken = lane.is_broken.swap(done.is_err(), Ordering::Relaxed);
        match (&done, was_broken) {
            (Err(error), false) => {
                tracing::error!(lane = lane.number, %error, "lane {} of the log is broken", lane.number);
            }
            (Ok(()), true) => tracing::info!(
                lane = lane.number,
                "lane {} of the log is whole again",
                lane.number
            ),
            (Ok(()), false) | (Err(_), true) => {}
        }
        lane.progress.notify_all();
        done
    }

    fn sync_pieces(&self, lane: &LaneState) -> Result<(), JournalError> {
        let pieces = {
            let mut writer = lane.writer();
            if lane.is_broken.load(Ordering::Relaxed) {
                writer.prepare()
            } else {
                writer.settle()
            }?;
            writer.pieces()
        };
        for piece in pieces {
            if let Err(cause) = self.sync_piece(&piece) {
                lane.writer().distrust();
                return Err(JournalError::sync(piece.file.path(), cause));
            }
            let mut writer = lane.writer();
            writer.is_synced(&piece);
            lane.durable.store(writer.durable().sequence, Ordering::Release);
            drop(writer);
            if piece.is_closed {
                self.seal(&piece);
            }
        }
        Ok(())
    }

    fn sync_piece(&self, piece: &Piece) -> std::io::Result<()> {
        if piece.is_new {
            self.disk.sync_folder(&self.settings.dir)?;
        }
        self.disk.sync(&piece.file)
    }

    /// Marks a segment as finished. Without the mark it is read just as well, so a failure is only told.
    fn seal(&self, piece: &Piece) {
        let seal = piece.seal();
        let written = self.disk.write_at(&piece.file, &seal, piece.end);
        let cut = written.and_then(|()| self.disk.truncate(&piece.file, piece.end + seal.len() as u64));
        match cut {
            Ok(()) => self.has_sealed(),
            Err(cause) => {
                tracing::warn!(file = %piece.file.path().display(), %cause, "a segment could not be sealed");
            }
        }
    }

    /// Up to where every lane is on disk.
    pub fn marks(&self) -> Vec<LaneMark> {
        self.all_lanes()
            .iter()
            .filter_map(|lane| LaneMark::of(lane.number, lane.writer().durable()))
            .collect()
    }
}

impl LaneState {
    fn new(number: u16, writer: Writer) -> Self {
        Self {
            number,
            writer: Mutex::new(writer),
            progress: Condvar::new(),
            durable: AtomicU64::new(0),
            is_broken: AtomicBool::new(false),
            is_hurried: AtomicBool::new(false),
        }
    }

    /// A writer that panicked in the middle of an append left bytes behind that no later append counts on.
    pub fn writer(&self) -> MutexGuard<'_, Writer> {
        lock(&self.writer)
    }

    /// Gives the writer up until more of the lane is on disk, or `wait` is over.
    pub fn wait_for_progress<'a>(
        &self,
        writer: MutexGuard<'a, Writer>,
        wait: Duration,
    ) -> MutexGuard<'a, Writer> {
        self.progress
            .wait_timeout(writer, wait)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    pub fn is_on_disk(&self, sequence: u64) -> bool {
        self.durable.load(Ordering::Acquire) >= sequence
    }

    pub fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    pub fn breaks(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
    }
}

impl Waiter {
    fn tell(self, result: &Result<(), JournalError>) {
        let result = if self.lane.is_on_disk(self.sequence) {
            Ok(())
        } else {
            result.clone()
        };
        // Whoever no longer listens has gone; the records are on disk all the same.
        match self.done {
            Done::Task(done) => drop(done.send(result)),
            Done::Thread(done) => drop(done.send(result)),
        }
    }
}

/// Starts the sync thread. It ends after `Shared::close`.
pub fn start(shared: Arc<Shared>, checkpoint: Checkpoint) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("journal-sync".to_owned())
        .spawn(move || run(&shared, checkpoint))
}

fn run(shared: &Shared, mut checkpoint: Checkpoint) {
    let mut due = Instant::now() + SYNC_EVERY;
    loop {
        let mut round = shared.next_round(due);
        let is_due = round.hurry || round.is_closed || Instant::now() >= due;
        sync_for(shared, &mut round.waiters);
        if is_due {
            due = Instant::now() + SYNC_EVERY;
            for lane in shared.all_lanes() {
                flush_at_end(&lane, round.is_closed);
                // Told already where the lane breaks.
                drop(shared.sync_lane(&lane));
            }
        }
        checkpoint.write(&shared.disk, &shared.marks());
        if round.is_closed {
            checkpoint.sync(&shared.disk);
            return;
        }
    }
}

/// Syncs the lanes that somebody waits for, and tells them lane by lane.
fn sync_for(shared: &Shared, waiters: &mut Vec<Waiter>) {
    while let Some(first) = waiters.first() {
        let lane = Arc::clone(&first.lane);
        let result = shared.sync_lane(&lane);
        // A sequence that is not on disk after a sync without an error belongs to records that came later.
        let result = result.and(Err(JournalError::Closed));
        let (here, elsewhere) = waiters
            .drain(..)
            .partition::<Vec<_>, _>(|waiter| Arc::ptr_eq(&waiter.lane, &lane));
        *waiters = elsewhere;
        here.into_iter().for_each(|waiter| waiter.tell(&result));
    }
}

fn flush_at_end(lane: &LaneState, is_end: bool) {
    let mut writer = lane.writer();
    if is_end
        && writer.has_staged()
        && let Err(error) = writer.append(&[])
    {
        tracing::error!(lane = lane.number, %error, "results could not be written at the end");
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
