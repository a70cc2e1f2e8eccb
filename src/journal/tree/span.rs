//! The records of a period: every leaf between two checkpoints, whole and in the order of the tree.
//! Never leaves one out: with the hashes to its left such a row of leaves comes to the signed root of its end, or it is
//! another row. Read `proof.rs` for a single record.
//!
//! Why between checkpoints: lanes are written side by side, so the order of leaves is not quite that of times. What a
//! checkpoint covers was on disk when it was signed; so nothing under one that was signed before a period belongs to it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::files::{CHECKPOINTS_FILE, Folder, Levels, RUNS_FILE, Run, Runs};
use super::key::read_public;
use super::pruned::Pruned;
use crate::audit::RecordId;
use crate::audit::checkpoint::{Checkpoint, NOTE_BYTES_MAX, Signed, Unsound, VerifyingKey};
use crate::audit::merkle::{Hash, subtrees};
use crate::clock::Timestamp;
use crate::journal::JournalError;
use crate::journal::load::{Place, Segment};
use crate::journal::recover::list;

/// Why there are no leaves of a period.
#[derive(Debug, thiserror::Error)]
pub enum SpanError {
    #[error("no checkpoint is signed yet")]
    Unsigned,
    #[error("a checkpoint of the log does not count: {0}")]
    Checkpoint(#[from] Unsound),
    #[error("the period begins before {since}, and older records are gone: {told}")]
    Pruned { since: Timestamp, told: String },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl SpanError {
    /// One imperative sentence for the person who reads the error.
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Unsigned => "try again in a minute: checkpoints are signed while `serve` runs",
            Self::Checkpoint(_) => "run `log verify`, which says what else was changed",
            Self::Pruned { .. } => "let the period begin at that moment, or later",
            Self::Journal(error) => error.next_step(),
        }
    }
}

/// Two checkpoints, with everything of a period between them.
#[derive(Clone, Debug)]
pub struct Span {
    /// The last one signed before the period or at its beginning; `None`: the log is younger than that.
    pub start: Option<Signed>,
    pub end: Signed,
    /// The hashes of the complete subtrees below `start`.
    pub peaks: Vec<Hash>,
    /// `end` was signed after the period, and every record of the period is under it.
    pub is_whole: bool,
    pub key: VerifyingKey,
    journal: PathBuf,
}

/// One leaf, with the segment that holds its record.
pub struct Leaf<'s> {
    pub leaf: u64,
    pub id: RecordId,
    pub bytes: &'s [u8],
    dir: &'s Path,
    segment: &'s Segment,
}

impl Leaf<'_> {
    /// The statement with this hash, which the record names.
    pub fn text(&self, hash: &Hash) -> Result<Option<Vec<u8>>, JournalError> {
        self.segment.text(self.dir, hash)
    }
}

impl Span {
    /// Finds the checkpoints around the time from `from` up to `to`, without it.
    pub fn find(journal: &Path, key_file: &Path, from: Timestamp, to: Timestamp) -> Result<Self, SpanError> {
        let key = read_public(key_file)?;
        let folder = Folder::of(journal);
        let runs_file = folder.file(RUNS_FILE);
        let runs = Runs::read(&runs_file).map_err(|cause| JournalError::read(&runs_file, cause))?;
        let pruned = Pruned::of(journal)?;
        let needed = leaves_needed(journal, &runs.runs, to, &pruned)?;
        let (mut start, mut end, mut is_over) = (None, None, false);
        let mut since = None;
        each_note(&folder.file(CHECKPOINTS_FILE), |note| {
            let read = Checkpoint::unverified(note).ok_or(Unsound::Form)?;
            if read.time <= from {
                start = Some(note.to_owned());
            }
            if read.size >= pruned.leaves && since.is_none() {
                since = Some(read.time);
            }
            if !is_over {
                is_over = read.time >= to && needed.is_some_and(|leaves| read.size >= leaves);
                end = Some(note.to_owned());
            }
            Ok(())
        })?;
        let start = start.map(|note| key.verify(&note)).transpose()?;
        let end = key.verify(&end.ok_or(SpanError::Unsigned)?)?;
        let below = start.as_ref().map_or(0, |start| start.checkpoint.size);
        if below < pruned.leaves {
            return Err(SpanError::Pruned {
                since: since.unwrap_or(end.checkpoint.time),
                told: pruned.told(),
            });
        }
        let mut levels = Levels::of(&folder);
        let peaks = subtrees(0..below)
            .into_iter()
            .map(|subtree| levels.hash_of(subtree))
            .collect::<Result<_, _>>()
            .map_err(|cause| JournalError::read(folder.path(), cause))?;
        Ok(Self {
            start,
            end,
            peaks,
            is_whole: is_over,
            key,
            journal: journal.to_owned(),
        })
    }

    /// The indexes of its leaves.
    pub fn leaves(&self) -> Range<u64> {
        let start = self.start.as_ref().map_or(0, |start| start.checkpoint.size);
        start..self.end.checkpoint.size.max(start)
    }

    /// Hands over every leaf, in order. Holds one segment of each lane in memory.
    pub fn each<E: From<JournalError>>(&self, take: impl FnMut(Leaf<'_>) -> Result<(), E>) -> Result<(), E> {
        let runs_file = Folder::of(&self.journal).file(RUNS_FILE);
        let runs = Runs::read(&runs_file).map_err(|cause| JournalError::read(&runs_file, cause))?;
        each_leaf(&self.journal, &runs.runs, self.leaves(), take)
    }
}

/// Hands over the leaves of a range, in order; none of them may be gone. Holds one segment of each lane in memory.
pub fn each_leaf<E: From<JournalError>>(
    journal: &Path,
    runs: &[Run],
    leaves: Range<u64>,
    mut take: impl FnMut(Leaf<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut lanes = BTreeMap::new();
    for run in runs {
        let (start, end) = (
            run.start.max(leaves.start),
            run.end().unwrap_or(0).min(leaves.end),
        );
        for leaf in start..end {
            let number = run.first + (leaf - run.start);
            let lane = match lanes.entry(run.lane) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(LaneReader::start(journal, run.lane, number)?)
                }
            };
            let (segment, place) = lane.record(journal, number)?;
            take(Leaf {
                leaf,
                id: segment.id(place),
                bytes: segment.payload(place).unwrap_or_default(),
                dir: journal,
                segment,
            })?;
        }
    }
    Ok(())
}

/// Reads one lane forwards, a segment at a time.
struct LaneReader {
    lane: u16,
    /// Segments still to come, the next one last.
    ahead: Vec<Place>,
    segment: Option<Segment>,
}

impl LaneReader {
    /// Begins with the segment that holds the record of this number, which is not gone.
    fn start(journal: &Path, lane: u16, number: u64) -> Result<Self, JournalError> {
        let numbers = list(journal)?.remove(&lane).unwrap_or_default();
        let mut ahead = Vec::new();
        let mut next = Place::last(journal, lane, &numbers)?;
        while let Some((place, header)) = next {
            ahead.push(place);
            next = match Place::before(&header) {
                Some(before) if header.first_record > number => Some((before, before.known_header(journal)?)),
                Some(_) | None => None,
            };
        }
        Ok(Self {
            lane,
            ahead,
            segment: None,
        })
    }

    fn record(&mut self, journal: &Path, number: u64) -> Result<(&Segment, usize), JournalError> {
        while !self
            .segment
            .as_ref()
            .is_some_and(|segment| holds(segment, number))
        {
            let Some(place) = self.ahead.pop() else {
                let path = journal.join(format!("lane {}", self.lane));
                return Err(JournalError::damaged(
                    &path,
                    number,
                    crate::journal::Damage::Length,
                ));
            };
            self.segment = Some(Segment::load(journal, place)?);
        }
        let segment = self.segment.as_ref().expect("the loop ends with one");
        let place = usize::try_from(number - segment.header.first_record).unwrap_or(usize::MAX);
        Ok((segment, place))
    }
}

fn holds(segment: &Segment, number: u64) -> bool {
    let first = segment.header.first_record;
    (first..first + segment.len() as u64).contains(&number)
}

/// How many leaves there are up to the last record before `to`. `None`: not every such record is a leaf yet.
fn leaves_needed(
    journal: &Path,
    runs: &[Run],
    to: Timestamp,
    pruned: &Pruned,
) -> Result<Option<u64>, JournalError> {
    let mut needed = 0;
    for (lane, numbers) in list(journal)? {
        let Some(last) = before(journal, lane, &numbers, to, pruned)?.checked_sub(1) else {
            continue;
        };
        let holds = |run: &&Run| run.lane == lane && (run.first..run.first + run.count).contains(&last);
        // The newest is likeliest to hold it.
        let Some(run) = runs.iter().rev().find(holds) else {
            return Ok(None);
        };
        needed = needed.max(run.start + (last - run.first) + 1);
    }
    Ok(Some(needed))
}

/// The number of the lane's first record that is not before `to`; one more than the last if there is none.
fn before(
    journal: &Path,
    lane: u16,
    numbers: &[u64],
    to: Timestamp,
    pruned: &Pruned,
) -> Result<u64, JournalError> {
    let Some((mut place, mut header)) = Place::last(journal, lane, numbers)? else {
        return Ok(0);
    };
    while header.created >= to {
        let Some(before) = pruned.before(&header) else {
            break;
        };
        (place, header) = (before, before.known_header(journal)?);
    }
    let segment = Segment::load(journal, place)?;
    let mut count = 0;
    while count < segment.len() && segment.time(count)? < to {
        count += 1;
    }
    Ok(segment.header.first_record + count as u64)
}

/// Goes through the notes of a file, one at a time; what follows the last whole one is left out.
pub fn each_note(path: &Path, mut each: impl FnMut(&str) -> Result<(), SpanError>) -> Result<(), SpanError> {
    let file = match File::open(path) {
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(|cause| JournalError::read(path, cause))?,
    };
    let mut file = BufReader::new(file);
    let (mut note, mut empty_lines) = (String::new(), 0);
    loop {
        let before = note.len();
        let room = (NOTE_BYTES_MAX + 1).saturating_sub(before) as u64;
        let line = file.by_ref().take(room).read_line(&mut note);
        line.map_err(|cause| JournalError::read(path, cause))?;
        if !note[before..].ends_with('\n') {
            // Torn by a write that is under way, or nothing of ours.
            let is_torn = note.len() <= NOTE_BYTES_MAX;
            return if is_torn {
                Ok(())
            } else {
                Err(Unsound::Form.into())
            };
        }
        empty_lines += u32::from(&note[before..] == "\n");
        if empty_lines == 2 {
            each(&note[..note.len() - 1])?;
            note.clear();
            empty_lines = 0;
        }
    }
}
