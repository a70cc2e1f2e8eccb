//! How the tree is found at the start: cut back to its last checkpoint, mended from the journal, or refused.
//! Never goes on in silence with a tree or a journal that contradicts what was signed. Read `verify.rs` next.

use std::collections::BTreeMap;
use std::path::Path;

use super::anchor;
use super::cursor::LaneCursor;
use super::files::{CHECKPOINTS_FILE, Folder, Levels, RUN_BYTES, RUNS_FILE, RUNS_HEAD, Run, Runs, last_note};
use super::keeper::{Keeper, LevelBuffers, Start, write_behind};
use super::{HASH_BYTES, LEVELS_PER_FILE, key, put_aside};
use crate::audit::checkpoint::{Checkpoint, Signed, SigningKey};
use crate::audit::merkle::{Edge, leaf_hash, subtrees};
use crate::clock::Timestamp;
use crate::journal::checkpoint::LaneMark;
use crate::journal::recover::LaneFound;
use crate::journal::{JournalError, OnLoss, Settings};

/// Leaves whose hashes are written at once when they are made again: 8 MiB of them.
const REBUILD_LEAVES: u64 = 1 << 18;

/// Opens or makes the tree of a journal whose lanes were found so. The text is for the boot record: what was signed and
/// is gone, if the settings allow to go on; otherwise nothing.
pub fn open(settings: &Settings, found: &BTreeMap<u16, LaneFound>) -> Result<(Keeper, String), JournalError> {
    let folder = Folder::of(&settings.dir);
    let search = Search {
        settings,
        folder: &folder,
        marks: marks(found),
    };
    match search.run().and_then(|keeper| search.check_anchors(keeper)) {
        Err(loss @ JournalError::Contradicted { .. }) if settings.on_loss == OnLoss::Record => {
            let aside = put_aside(&folder, Timestamp::now());
            tracing::error!(error = %loss, kept = %aside.display(), "a new tree is begun, and that is recorded");
            std::fs::rename(folder.path(), &aside)
                .map_err(|cause| JournalError::write(folder.path(), cause))?;
            Ok((search.run()?, format!("a new tree is begun: {loss}")))
        }
        found => Ok((found?, String::new())),
    }
}

/// Where each lane ends.
fn marks(found: &BTreeMap<u16, LaneFound>) -> BTreeMap<u16, LaneMark> {
    let mark = |(lane, found): (&u16, &LaneFound)| {
        let (segment, offset) = found.start.previous?;
        let mark = LaneMark {
            lane: *lane,
            segment,
            offset,
            records: found.start.next_record,
        };
        Some((*lane, mark))
    };
    found.iter().filter_map(mark).collect()
}

struct Search<'a> {
    settings: &'a Settings,
    folder: &'a Folder,
    marks: BTreeMap<u16, LaneMark>,
}

impl Search<'_> {
    fn run(&self) -> Result<Keeper, JournalError> {
        let path = self.folder.path();
        std::fs::create_dir_all(path).map_err(|cause| JournalError::open(path, cause))?;
        let (key, signed, checkpoints_bytes) = self.last_checkpoint()?;
        let size = signed.as_ref().map_or(0, |signed| signed.checkpoint.size);
        let runs = self.runs(size)?;
        let lanes = self.lanes(&runs.runs)?;
        let edge = match signed.as_ref().map(|signed| &signed.checkpoint) {
            Some(checkpoint) => self.edge(checkpoint, &runs.runs)?,
            None => Edge::default(),
        };
        self.cut_levels(size)?;
        Ok(Keeper::new(Start {
            journal: self.settings.dir.clone(),
            key,
            edge,
            runs_bytes: runs.bytes(),
            checkpoints_bytes,
            lanes,
            signed,
        }))
    }

    /// Whether somebody else was told of another log.
    fn check_anchors(&self, keeper: Keeper) -> Result<Keeper, JournalError> {
        let signed = keeper.signed().map(|signed| &signed.checkpoint);
        anchor::check_files(&self.settings.anchors, self.folder, keeper.public_key(), signed)?;
        Ok(keeper)
    }

    /// The key, the last checkpoint it signed here, and how long the file is without a torn end.
    fn last_checkpoint(&self) -> Result<(SigningKey, Option<Signed>, u64), JournalError> {
        let path = self.folder.file(CHECKPOINTS_FILE);
        let last = last_note(&path).map_err(|cause| JournalError::read(&path, cause))?;
        let (key_dir, origin) = (&self.settings.key_dir, self.settings.origin.as_deref());
        let key = key::load(key_dir, origin, last.is_some())?;
        let Some((note, bytes)) = last else {
            write_behind(&path, 0, &[])?;
            return Ok((key, None, 0));
        };
        let verified = key.public().verify(&note);
        let signed =
            verified.map_err(|cause| contradicted(&path, format!("its last checkpoint: {cause}")))?;
        write_behind(&path, bytes, &[])?;
        Ok((key, Some(signed), bytes))
    }

    /// The order of the first `size` leaves; what comes after is made anew.
    fn runs(&self, size: u64) -> Result<Runs, JournalError> {
        let path = self.folder.file(RUNS_FILE);
        let mut runs = Runs::read(&path).map_err(|cause| JournalError::read(&path, cause))?;
        let found = runs.size;
        if !runs.truncate(size) {
            let what = format!("{size} records are signed, and the order of {found} is known");
            return Err(contradicted(&path, what));
        }
        if size == 0 {
            write_behind(&path, 0, &RUNS_HEAD)?;
        } else {
            write_behind(&path, runs.bytes(), &[])?;
        }
        debug_assert!(runs.bytes() >= RUN_BYTES as u64);
        Ok(runs)
    }

    /// The next record of each lane, which the journal must hold up to there.
    fn lanes(&self, runs: &[Run]) -> Result<BTreeMap<u16, u64>, JournalError> {
        let path = self.folder.file(RUNS_FILE);
        let mut lanes = BTreeMap::new();
        for run in runs {
            let next = lanes.entry(run.lane).or_insert(0);
            if *next != run.first {
                let (lane, first) = (run.lane, run.first);
                return Err(contradicted(
                    &path,
                    format!("lane {lane} goes on at {first} after {next}"),
                ));
            }
            *next += run.count;
        }
        for (lane, signed) in &lanes {
            let found = self.marks.get(lane).map_or(0, |mark| mark.records);
            if found < *signed {
                let file = self.folder.file(CHECKPOINTS_FILE);
                let what = format!("lane {lane} holds {found} records, and {signed} are signed");
                return Err(contradicted(&file, what));
            }
        }
        Ok(lanes)
    }

    /// The right edge below the checkpoint, by the hashes that are kept, or else by the records themselves.
    fn edge(&self, checkpoint: &Checkpoint, runs: &[Run]) -> Result<Edge, JournalError> {
        let mut levels = Levels::of(self.folder);
        let peaks: std::io::Result<Vec<_>> = subtrees(0..checkpoint.size)
            .into_iter()
            .map(|peak| levels.hash_of(peak))
            .collect();
        let kept = peaks
            .ok()
            .and_then(|peaks| Edge::from_peaks(checkpoint.size, peaks));
        let is_sound = |edge: &Edge| edge.root() == checkpoint.root && self.has_levels(checkpoint.size);
        if let Some(edge) = kept.filter(is_sound) {
            return Ok(edge);
        }
        tracing::warn!("the tree's hashes are torn or changed, and are made again from the records");
        let edge = self.hash_again(runs)?;
        if edge.root() == checkpoint.root {
            return Ok(edge);
        }
        let size = checkpoint.size;
        let what = format!("the first {size} records are not those that were signed");
        Err(contradicted(&self.folder.file(CHECKPOINTS_FILE), what))
    }

    fn hash_again(&self, runs: &[Run]) -> Result<Edge, JournalError> {
        let mut edge = Edge::default();
        let mut buffers = LevelBuffers::from(0);
        let mut cursors: BTreeMap<u16, LaneCursor> = BTreeMap::new();
        let mut unwritten = 0;
        for run in runs {
            let cursor = cursors
                .entry(run.lane)
                .or_insert_with(|| LaneCursor::new(run.lane, 0));
            let Some(mark) = self.marks.get(&run.lane) else {
                continue;
            };
            let mut left = run.count;
            while left > 0 {
                let some = left.min(REBUILD_LEAVES);
                cursor.read(&self.settings.dir, mark, some, |payload| {
                    edge.append(leaf_hash(payload), |subtree, hash| buffers.add(subtree, hash));
                })?;
                left -= some;
                unwritten += some;
                if unwritten >= REBUILD_LEAVES {
                    buffers.write(self.folder, edge.size())?;
                    unwritten = 0;
                }
            }
        }
        buffers.write(self.folder, edge.size())?;
        Ok(edge)
    }

    /// Whether every file of hashes is long enough.
    fn has_levels(&self, size: u64) -> bool {
        (0..u64::BITS).step_by(LEVELS_PER_FILE as usize).all(|level| {
            let bytes = (size >> level) * HASH_BYTES;
            bytes == 0 || std::fs::metadata(self.folder.level(level)).is_ok_and(|file| file.len() >= bytes)
        })
    }

    /// Hashes behind the last checkpoint are of leaves whose order is not settled.
    fn cut_levels(&self, size: u64) -> Result<(), JournalError> {
        for level in (0..u64::BITS).step_by(LEVELS_PER_FILE as usize) {
            let path = self.folder.level(level);
            if path.exists() {
                write_behind(&path, (size >> level) * HASH_BYTES, &[])?;
            }
        }
        Ok(())
    }
}

fn contradicted(file: &Path, what: String) -> JournalError {
    JournalError::Contradicted {
        file: file.to_owned(),
        what,
    }
}
