//! How much the queries of the log have on disk: what their sorts and groups do not keep in memory. Bounds it.
//! Never looks into a file. Read `engine.rs` for who asks.
//!
//! Why it is asked of the system: the engine has no limit of its own for these files, which have no name either once they
//! are open. Why the oldest query goes: they share one limit, and it had most time to fill it.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How the engine calls its temporary files where they get a name at first.
/// Source: SQLite, SQLITE_TEMP_FILE_PREFIX
const PREFIX: &str = "etilqs_";

/// How the system shows a file that never had a name (`#` and its inode), as the engine makes them where it can.
/// Source: Linux, open(2), O_TMPFILE
const NAMELESS: &str = "#";

/// The files that this process has open, by name.
/// Source: Linux, proc_pid_fd(5)
const OPEN_FILES: &str = "/proc/self/fd";

/// Between two looks: at a gigabyte a second, so many megabytes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A look takes at most this part of the time: a process may have ten thousand files open.
const LOOK_SHARE: u32 = 20;

/// The queries that run, oldest first.
#[derive(Debug, Default)]
pub struct Spills {
    running: Mutex<(u64, BTreeSet<u64>)>,
}

/// One query that runs.
#[derive(Debug)]
pub struct Spill {
    all: Arc<Spills>,
    number: u64,
    /// Of all queries together. Units: bytes.
    limit: u64,
    next_look: Mutex<Option<Instant>>,
    is_over: AtomicBool,
}

impl Spills {
    pub fn begin(all: &Arc<Self>, limit: u64) -> Spill {
        let mut running = all.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.0 += 1;
        let number = running.0;
        running.1.insert(number);
        drop(running);
        Spill {
            all: Arc::clone(all),
            number,
            limit,
            next_look: Mutex::new(None),
            is_over: AtomicBool::new(false),
        }
    }
}

impl Spill {
    /// Looks at what all of them have on disk, now and then; whether this query has to end for it.
    pub fn look(&self) -> bool {
        if self.is_over() {
            return true;
        }
        let mut next_look = self.next_look.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if next_look.is_some_and(|at| now < at) {
            return false;
        }
        let on_disk = on_disk();
        *next_look = Some(now + LOOK_EVERY.max(now.elapsed() * LOOK_SHARE));
        let is_over = on_disk > self.limit && self.is_oldest();
        self.is_over.store(is_over, Ordering::Relaxed);
        is_over
    }

    /// Whether a look has found too much.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    fn is_oldest(&self) -> bool {
        let running = self.all.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.1.first() == Some(&self.number)
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        let mut running = self.all.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.1.remove(&self.number);
    }
}

/// What the engine's temporary files hold. Units: bytes. Where the system does not say which files are open, 0: there the
/// time limit alone bounds them.
fn on_disk() -> u64 {
    let Ok(open) = fs::read_dir(OPEN_FILES) else {
        return 0;
    };
    let size = |entry: fs::DirEntry| {
        let name = fs::read_link(entry.path()).ok()?;
        let name = name.file_name()?.to_str()?;
        let is_ours = name.starts_with(PREFIX) || name.starts_with(NAMELESS);
        // By way of the open file: its name is gone.
        is_ours.then(|| fs::metadata(entry.path()).ok()).flatten()
    };
    open.flatten().filter_map(size).map(|file| file.len()).sum()
}
