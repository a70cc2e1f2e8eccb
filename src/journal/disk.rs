//! The few operations that the journal asks of a disk, so that tests can make each of them fail.
//! Never retries and never decides what a failure means: `writer.rs` does. Read `segment.rs` next.
//!
//! With the feature `faults` (off by default, for tests of the whole program) the environment variable
//! `COUNTERSIGN_JOURNAL_FAULTS` names a file that is read before every operation. Each of its lines is one fault that
//! holds until the line is gone: `full` (creating, allocating, writing: ENOSPC), `read-only` (the same: EROFS),
//! `fail-write` (EIO), `short-write` (half is written, then EIO), `fail-sync` (EIO), `hang-sync` (it ends when the line
//! is gone). After every sync the file's
//! neighbour with `.synced` added to its name gets a line `BYTES PATH`: cutting each path to its last number of bytes
//! after a kill, and removing segments that have none, is a power failure.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

#[cfg(any(test, feature = "faults"))]
use std::sync::Arc;

#[cfg(any(test, feature = "faults"))]
pub use faults::{Fault, Faults};

/// A disk, real or with faults. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    #[cfg(any(test, feature = "faults"))]
    faults: Option<Arc<Faults>>,
}

/// An open file that knows its name.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    path: PathBuf,
}

impl DiskFile {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.file.metadata()?.len()).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

impl Disk {
    /// The real disk; with the feature `faults`, with those that the environment names.
    pub fn from_environment() -> Self {
        #[cfg(feature = "faults")]
        if let Some(script) = std::env::var_os("COUNTERSIGN_JOURNAL_FAULTS") {
            return Self::with_faults(Faults::from_script(PathBuf::from(script)));
        }
        Self::default()
    }

    #[cfg(any(test, feature = "faults"))]
    pub fn with_faults(faults: Arc<Faults>) -> Self {
        Self { faults: Some(faults) }
    }

    /// Makes a file that is not there yet.
    pub fn create(&self, path: &Path) -> io::Result<DiskFile> {
        #[cfg(any(test, feature = "faults"))]
        self.fault(|faults| faults.before_write().map(drop))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        Ok(DiskFile {
            file,
            path: path.to_owned(),
        })
    }

    /// Reserves room, so that later writes neither run out of it nor change the file's length. Where the file system
    /// cannot reserve, the file only gets its length.
    pub fn allocate(&self, file: &DiskFile, bytes: u64) -> io::Result<()> {
        #[cfg(any(test, feature = "faults"))]
        self.fault(|faults| faults.before_write().map(drop))?;
        match fallocate(&file.file, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => file.file.set_len(bytes),
            done => done.map_err(io::Error::from),
        }
    }

    pub fn write_at(&self, file: &DiskFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(any(test, feature = "faults"))]
        self.fault(|faults| match faults.before_write()? {
            Some(Fault::ShortWrite) => {
                file.file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
                Err(io::Error::from(Errno::IO))
            }
            _ => Ok(()),
        })?;
        file.file.write_all_at(bytes, offset)?;
        #[cfg(any(test, feature = "faults"))]
        self.fault(|faults| {
            faults.wrote(&file.path, offset + bytes.len() as u64);
            Ok(())
        })?;
        Ok(())
    }

    /// Returns when the file's bytes are on disk.
    pub fn sync(&self, file: &DiskFile) -> io::Result<()> {
        #[cfg(any(test, feature = "faults"))]
        self.fault(|faults| faults.before_sync(&file.path))?;
        file.file.sync_data()?;
        #[cfg(any(test, feature = "faults"))]
        self.fault(|faults| faults.synced(&file.path))?;
        Ok(())
    }

    /// Returns when the names of the folder's files are on disk.
    pub fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        #[cfg(any(test, feature = "faults"))]
        self.fault(|faults| faults.before_sync(folder))?;
        File::open(folder)?.sync_all()
    }

    /// Cuts the file to this length.
    pub fn truncate(&self, file: &DiskFile, bytes: u64) -> io::Result<()> {
        file.file.set_len(bytes)
    }

    #[cfg(any(test, feature = "faults"))]
    fn fault(&self, at: impl FnOnce(&Faults) -> io::Result<()>) -> io::Result<()> {
        self.faults.as_deref().map_or(Ok(()), at)
    }
}

#[cfg(any(test, feature = "faults"))]
mod faults {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::{self, Write};
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    use rustix::io::Errno;

    /// One way in which a disk fails.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Fault {
        Full,
        ReadOnly,
        FailWrite,
        ShortWrite,
        FailSync,
        HangSync,
    }

    /// Between two looks at whether a sync may end.
    const LOOK_AGAIN: Duration = Duration::from_millis(5);

    /// Which faults hold now, and what a power failure would leave.
    #[derive(Debug, Default)]
    pub struct Faults {
        script: Option<PathBuf>,
        state: Mutex<State>,
    }

    #[derive(Debug, Default)]
    struct State {
        holding: Vec<Fault>,
        /// Faults that happen once, each after so many operations of its kind.
        once: Vec<(u64, Fault)>,
        lengths: BTreeMap<PathBuf, Length>,
        syncs: u64,
    }

    #[derive(Clone, Copy, Debug, Default)]
    struct Length {
        written: u64,
        /// Written when the sync that runs began.
        syncing: u64,
        synced: u64,
    }

    impl Faults {
        pub fn from_script(script: PathBuf) -> Arc<Self> {
            Arc::new(Self {
                script: Some(script),
                state: Mutex::default(),
            })
        }

        /// From now on, until it is cleared.
        pub fn hold(&self, fault: Fault) {
            self.state().holding.push(fault);
        }

        /// Once, after `operations` that go well.
        pub fn once_after(&self, operations: u64, fault: Fault) {
            self.state().once.push((operations, fault));
        }

        pub fn clear(&self) {
            let mut state = self.state();
            state.holding.clear();
            state.once.clear();
        }

        /// Syncs of files that went well.
        pub fn syncs(&self) -> u64 {
            self.state().syncs
        }

        /// What a power failure does: every file loses what was not synced. Call it when nobody writes any more.
        pub fn lose_power(&self) -> io::Result<()> {
            let state = self.state();
            // Segments without records are removed again.
            for (path, length) in state.lengths.iter().filter(|(path, _)| path.exists()) {
                match length.synced {
                    0 => fs::remove_file(path)?,
                    bytes => fs::OpenOptions::new().write(true).open(path)?.set_len(bytes)?,
                }
            }
            Ok(())
        }

        /// `ShortWrite` is for the writer to do; the other faults are errors.
        pub(super) fn before_write(&self) -> io::Result<Option<Fault>> {
            let is_of_writes = |fault: Fault| !matches!(fault, Fault::FailSync | Fault::HangSync);
            match self.next(is_of_writes) {
                Some(Fault::Full) => Err(Errno::NOSPC.into()),
                Some(Fault::ReadOnly) => Err(Errno::ROFS.into()),
                Some(Fault::FailWrite) => Err(Errno::IO.into()),
                short @ (Some(Fault::ShortWrite | Fault::FailSync | Fault::HangSync) | None) => Ok(short),
            }
        }

        pub(super) fn before_sync(&self, path: &Path) -> io::Result<()> {
            while self.next(|fault| fault == Fault::HangSync).is_some() {
                std::thread::sleep(LOOK_AGAIN);
            }
            if self.next(|fault| fault == Fault::FailSync).is_some() {
                return Err(Errno::IO.into());
            }
            if let Some(length) = self.state().lengths.get_mut(path) {
                length.syncing = length.written;
            }
            Ok(())
        }

        pub(super) fn wrote(&self, path: &Path, end: u64) {
            let mut state = self.state();
            let length = state.lengths.entry(path.to_owned()).or_default();
            length.written = length.written.max(end);
        }

        pub(super) fn synced(&self, path: &Path) -> io::Result<()> {
            let mut state = self.state();
            state.syncs += 1;
            let length = state.lengths.entry(path.to_owned()).or_default();
            length.synced = length.synced.max(length.syncing);
            let Some(script) = &self.script else {
                return Ok(());
            };
            let mut name = script.clone().into_os_string();
            name.push(".synced");
            let mut list = fs::OpenOptions::new().create(true).append(true).open(name)?;
            writeln!(list, "{} {}", length.synced, path.display())
        }

        /// The fault that holds for this operation.
        fn next(&self, is_of_kind: impl Fn(Fault) -> bool) -> Option<Fault> {
            let mut state = self.state();
            let due = state
                .once
                .iter()
                .position(|(left, fault)| *left == 0 && is_of_kind(*fault));
            let now = due.map(|place| state.once.remove(place).1);
            for (left, fault) in &mut state.once {
                *left = if is_of_kind(*fault) {
                    left.saturating_sub(1)
                } else {
                    *left
                };
            }
            let held = state.holding.iter().copied().find(|fault| is_of_kind(*fault));
            now.or(held)
                .or_else(|| self.scripted().into_iter().find(|fault| is_of_kind(*fault)))
        }

        fn scripted(&self) -> Vec<Fault> {
            let text = self
                .script
                .as_deref()
                .and_then(|script| fs::read_to_string(script).ok());
            let word = |line: &str| match line.trim() {
                "full" => Some(Fault::Full),
                "read-only" => Some(Fault::ReadOnly),
                "fail-write" => Some(Fault::FailWrite),
                "short-write" => Some(Fault::ShortWrite),
                "fail-sync" => Some(Fault::FailSync),
                "hang-sync" => Some(Fault::HangSync),
                _ => None,
            };
            text.unwrap_or_default().lines().filter_map(word).collect()
        }

        fn state(&self) -> MutexGuard<'_, State> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
