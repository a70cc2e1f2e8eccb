//! How the tree is found at the start: cut back to its last checkpoint, mended from the journal, or refused.
//! Never goes on in silence with a tree or a journal that contradicts what was signed. Read `verify.rs` next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use super::cursor::LaneCursor;
use super::files::{CHECKPOINTS_FILE, Folder, Levels, RUN_BYTES, RUNS_FILE, RUNS_HEAD, Run, Runs, last_note};
use super::keeper::{Keeper, LevelBuffers, Start, write_behind};
use super::key::{FoundKey, PUBLIC_KEY_FILE, SIGNING_KEY_FILE};
use super::proof::leaf_in;
use super::pruned::{BLOCK_LEVEL, Begin, Believed, PRUNED_FILE, Pruned};
use super::trace::{Claim, TRACE_FILE};
use super::walk::walks;
use super::{HASH_BYTES, LEVELS_PER_FILE, UNSIGNED_MAX, anchor, key, put_aside, trace};
use crate::audit::Record;
use crate::audit::checkpoint::{Checkpoint, Signed, SigningKey};
use crate::audit::merkle::{
    Edge, Hash, Subtree, hash_of_range, inclusion_ranges, is_included, leaf_hash, subtrees,
};
use crate::clock::Timestamp;
use crate::journal::checkpoint::LaneMark;
use crate::journal::load::Place;
use crate::journal::recover::{LaneFound, list};
use crate::journal::{JOURNAL_LANE, JournalError, OnLoss, Settings, segment};

/// Leaves whose hashes are written at once when they are made again: 8 MiB of them.
const REBUILD_LEAVES: u64 = 1 << 18;

/// What of the signed records is hashed again at each start, so that it is ready within two seconds: the newest, at most
/// so many, in at most so many bytes of segments.
const REHASHED_LEAVES: u64 = 1 << 17;
const REHASHED_BYTES: u64 = 128 << 20;

/// Opens or makes the tree of a journal whose lanes were found so, and signs what the process before left unsigned. The
/// text is for the boot record: what was signed before, or, if the settings allow to go on after a loss, that loss.
pub fn open(settings: &Settings, found: &BTreeMap<u16, LaneFound>) -> Result<(Keeper, String), JournalError> {
    let folder = Folder::of(&settings.dir);
    let mut search = Search {
        settings,
        folder: &folder,
        marks: marks(found),
        last_times: found
            .iter()
            .map(|(lane, found)| (*lane, found.start.last_time))
            .collect(),
        told: found
            .get(&JOURNAL_LANE)
            .and_then(|lane| trace::parse_boot_detail(lane.boot_detail.as_deref()?)),
        trust: Trust::Nothing,
        pruned: Pruned::default(),
    };
    let loss = match search.run() {
        Ok(keeper) => {
            let lost = found.values().map(|lane| lane.position);
            let is_shorter = lost.into_iter().any(|position| position.found < position.durable);
            let reason = match &settings.on_loss {
                OnLoss::Record { reason } if is_shorter => {
                    format!("continued after a loss, because: {reason}; ")
                }
                OnLoss::Record { .. } | OnLoss::Refuse => String::new(),
            };
            let detail = reason + &signed_before(&keeper);
            return Ok((keeper, detail));
        }
        Err(loss @ (JournalError::Contradicted { .. } | JournalError::Unsigned { .. })) => loss,
        Err(error) => return Err(error),
    };
    let OnLoss::Record { reason } = &settings.on_loss else {
        return Err(loss);
    };
    tracing::error!(error = %loss, reason, "the log is continued all the same, and that is recorded");
    let mut told = loss.to_string();
    let mut ran = if let JournalError::Unsigned { .. } = loss {
        search.trust = Trust::Tail;
        search.run()
    } else {
        Err(loss)
    };
    if let Err(JournalError::Contradicted { what, .. }) = &ran {
        if search.trust == Trust::Tail {
            told = format!("{told}; {what}");
        }
        search.put_aside()?;
        search.trust = Trust::Journal;
        ran = search.run();
    }
    let keeper = ran?;
    let signed = signed_before(&keeper);
    let detail = format!("continued after a loss, because: {reason}; {told}; {signed}");
    Ok((keeper, detail))
}

fn signed_before(keeper: &Keeper) -> String {
    let signed = keeper.signed();
    signed.map_or_else(String::new, |signed| trace::boot_detail(&signed.checkpoint))
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

/// What somebody has looked at, and wants to go on with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Nothing,
    /// Records that should have been signed long ago.
    Tail,
    /// All records as they are: a new tree is begun over them.
    Journal,
}

struct Search<'a> {
    settings: &'a Settings,
    folder: &'a Folder,
    marks: BTreeMap<u16, LaneMark>,
    /// Of each lane the time of its last record.
    last_times: BTreeMap<u16, Timestamp>,
    /// What the last boot record says was signed when it was written: size and root.
    told: Option<(u64, Hash)>,
    trust: Trust,
    /// What is gone by retention.
    pruned: Pruned,
}

/// The last checkpoint as it was found.
struct Last {
    key: SigningKey,
    /// The key has its name still to get.
    is_new: bool,
    signed: Option<Signed>,
    /// How long the file of checkpoints is without a torn end.
    bytes: u64,
}

impl Search<'_> {
    fn run(&mut self) -> Result<Keeper, JournalError> {
        let path = self.folder.path();
        std::fs::create_dir_all(path).map_err(|cause| JournalError::open(path, cause))?;
        self.pruned = match self.trust {
            Trust::Nothing | Trust::Tail => Pruned::read(self.folder)?,
            Trust::Journal => self.begun_anew()?,
        };
        let last = self.last_checkpoint()?;
        let size = last.signed.as_ref().map_or(0, |signed| signed.checkpoint.size);
        let runs = self.runs(size)?;
        if self.pruned.leaves > size {
            let what = format!(
                "{} records are gone by it, and {size} are signed",
                self.pruned.leaves
            );
            return Err(contradicted(&self.folder.file(PRUNED_FILE), what));
        }
        let lanes = self.lanes(&runs.runs)?;
        self.check_begins()?;
        let edge = match last.signed.as_ref().map(|signed| &signed.checkpoint) {
            Some(checkpoint) => self.edge(checkpoint, &runs.runs)?,
            None => Edge::default(),
        };
        self.check_pruned(&last, &runs.runs)?;
        self.check_traces(&last, size)?;
        self.check_tail(&last, &lanes)?;
        // Nothing is cut from a tree that is refused.
        self.cut(&last, &runs)?;
        let is_first = last.signed.is_none();
        let mut keeper = Keeper::new(Start {
            journal: self.settings.dir.clone(),
            key_dir: self.settings.key_dir.clone(),
            key: last.key,
            edge,
            runs_bytes: runs.bytes(),
            checkpoints_bytes: last.bytes,
            lanes,
            signed: last.signed,
            believed: match self.trust {
                Trust::Nothing | Trust::Tail => Believed::UnderRetention(self.settings.retention),
                Trust::Journal => Believed::Anything,
            },
            now: self.settings.now,
        });
        // Even if it is over nothing: from now on there is never a log without a checkpoint.
        if is_first {
            keeper.checkpoint()?;
        }
        if last.is_new {
            keeper.keep_trace()?;
            key::keep(&self.settings.key_dir, keeper.public_key())?;
        }
        keeper.sign_up_to(self.marks.values().copied())?;
        keeper.believes_its_own();
        Ok(keeper)
    }

    /// The key, and the last checkpoint it signed here.
    fn last_checkpoint(&self) -> Result<Last, JournalError> {
        let (folder, origin) = (&self.settings.key_dir, self.settings.origin.as_deref());
        let path = self.folder.file(CHECKPOINTS_FILE);
        let note = last_note(&path).map_err(|cause| JournalError::read(&path, cause))?;
        let missing = || JournalError::KeyMissing {
            file: folder.join(SIGNING_KEY_FILE),
        };
        let (key, is_new) = match key::find(folder, origin)? {
            FoundKey::Kept(key) => (key, false),
            FoundKey::New(key) if note.is_some() => (key, true),
            FoundKey::None if note.is_some() => return Err(missing()),
            FoundKey::New(_) | FoundKey::None if self.has_been_signed() => return Err(missing()),
            FoundKey::New(_) | FoundKey::None => (key::make(folder, origin)?, true),
        };
        let Some((note, bytes)) = note else {
            if !is_new && self.trust != Trust::Journal {
                let what = "no checkpoint is left in it, and the key has signed some";
                return Err(contradicted(&path, what.to_owned()));
            }
            return Ok(Last {
                key,
                is_new,
                signed: None,
                bytes: 0,
            });
        };
        let verified = key.public().verify(&note);
        let signed =
            verified.map_err(|cause| contradicted(&path, format!("its last checkpoint: {cause}")))?;
        Ok(Last {
            key,
            is_new,
            signed: Some(signed),
            bytes,
        })
    }

    /// Whether anything outside the tree says that there was a key.
    fn has_been_signed(&self) -> bool {
        let folder = &self.settings.key_dir;
        self.told.is_some() || folder.join(PUBLIC_KEY_FILE).exists() || folder.join(TRACE_FILE).exists()
    }

    /// Whether something else remembers another log, or more of it.
    fn check_traces(&self, last: &Last, size: u64) -> Result<(), JournalError> {
        if self.trust == Trust::Journal {
            return Ok(());
        }
        let key = last.key.public();
        let trace = self.settings.key_dir.join(TRACE_FILE);
        match trace::read(&self.settings.key_dir, key)? {
            Some(checkpoint) => Claim::of(trace, &checkpoint).check(self.folder, size)?,
            None if self.told.is_some() => {
                let what = "it is gone, and the last boot record speaks of checkpoints";
                return Err(contradicted(&trace, what.to_owned()));
            }
            None => {}
        }
        if let Some((told, root)) = self.told {
            let file = self.settings.dir.join("the last boot record");
            let claim = Claim {
                file,
                size: told,
                root,
            };
            // A process may have run for longer than records are kept.
            if self.pruned.can_tell(told) {
                claim.check(self.folder, size)?;
            }
        }
        anchor::check(self.settings, self.folder, key, size)
    }

    /// What no checkpoint signs is at most as old as a checkpoint takes: else there was one, or signing had failed.
    /// A record tells when its event was, which may be long before it was written (a person added before the start): none
    /// was written before the last checkpoint, whose time is signed. No record that is not signed may say so of others.
    fn check_tail(&self, last: &Last, lanes: &BTreeMap<u16, u64>) -> Result<(), JournalError> {
        let Some(signed) = last.signed.as_ref().filter(|_| self.trust == Trust::Nothing) else {
            return Ok(());
        };
        let mut times: Option<(Timestamp, Timestamp)> = None;
        for mark in self.marks.values() {
            let next = lanes.get(&mark.lane).copied().unwrap_or(0);
            let mut first = None;
            LaneCursor::new(mark.lane, next).read(&self.settings.dir, mark, 1, |payload| {
                first = segment::time_of(payload).ok();
            })?;
            let Some(first) = first else { continue };
            let end = self.last_times.get(&mark.lane).copied().unwrap_or(first);
            let (since, until) = times.unwrap_or((first, end));
            times = Some((since.min(first), until.max(end)));
        }
        match times.map(|(since, until)| (since.max(signed.checkpoint.time), until)) {
            Some((since, until)) if until.since(since) > UNSIGNED_MAX => Err(JournalError::Unsigned {
                file: self.folder.file(CHECKPOINTS_FILE),
                since,
                until,
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Keeps what contradicts the log, for whoever looks into it.
    fn put_aside(&self) -> Result<(), JournalError> {
        let aside = put_aside(self.folder, Timestamp::now());
        tracing::error!(kept = %aside.display(), "a new tree is begun");
        let path = self.folder.path();
        std::fs::rename(path, &aside).map_err(|cause| JournalError::write(path, cause))?;
        let trace = self.settings.key_dir.join(TRACE_FILE);
        match std::fs::rename(&trace, aside.join(TRACE_FILE)) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                Err(JournalError::write(&trace, cause))
            }
            Ok(()) | Err(_) => Ok(()),
        }
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
        Ok(runs)
    }

    /// The next record of each lane, which the journal must hold up to there.
    fn lanes(&self, runs: &[Run]) -> Result<BTreeMap<u16, u64>, JournalError> {
        let path = self.folder.file(RUNS_FILE);
        let agrees = self.pruned.agree_with(runs);
        agrees.map_err(|what| contradicted(&self.folder.file(PRUNED_FILE), what))?;
        // A lane without a leaf begins where it is said to.
        let begins = self.pruned.lanes.iter();
        let mut lanes: BTreeMap<u16, u64> = begins.map(|(lane, begin)| (*lane, begin.record)).collect();
        let mut seen = BTreeSet::new();
        for run in runs {
            if seen.insert(run.lane) {
                lanes.insert(run.lane, run.first);
            }
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

    /// The right edge below the checkpoint: of the newest records by themselves, of those before by the hashes that
    /// are kept, or, if these do not come to what was signed, by all records.
    fn edge(&self, checkpoint: &Checkpoint, runs: &[Run]) -> Result<Edge, JournalError> {
        let size = checkpoint.size;
        let is_signed = |edge: &Edge| edge.root() == checkpoint.root;
        let kept = self.kept_edge(size).filter(is_signed);
        if let Some(edge) = kept.filter(|_| self.has_levels(size))
            && self
                .hash_newest(size, runs)?
                .is_some_and(|newest| is_signed(&newest))
        {
            return Ok(edge);
        }
        tracing::warn!(
            "the tree's hashes are torn or changed, or the newest records are: all records are hashed again"
        );
        let edge = self.hash_all(runs, |buffers, leaf| {
            buffers.forget(leaf);
            Ok(())
        })?;
        if !is_signed(&edge) {
            let what =
                format!("the first {size} records are not those that were signed: `log verify` names one");
            return Err(contradicted(&self.folder.file(CHECKPOINTS_FILE), what));
        }
        self.hash_all(runs, |buffers, leaf| buffers.write(self.folder, leaf))
    }

    /// The edge by the hashes that are kept. `None`: they cannot be read.
    fn kept_edge(&self, size: u64) -> Option<Edge> {
        let mut levels = Levels::of(self.folder);
        let peaks: std::io::Result<Vec<_>> = subtrees(0..size)
            .into_iter()
            .map(|peak| levels.hash_of(peak))
            .collect();
        Edge::from_peaks(size, peaks.ok()?)
    }

    /// The edge at `size`, given the hashes that are kept of all but the newest leaves. `None`: they cannot be read.
    fn hash_newest(&self, size: u64, runs: &[Run]) -> Result<Option<Edge>, JournalError> {
        let start = self.rehashed_from(size, runs)?;
        let Some(mut edge) = self.kept_edge(start) else {
            return Ok(None);
        };
        let newest: Vec<Run> = runs.iter().filter_map(|run| run.from(start)).collect();
        let mut hashes = self.hashes_of(&newest)?;
        for run in &newest {
            for _ in 0..run.count {
                let hash = hashes.get_mut(&run.lane).and_then(VecDeque::pop_front);
                let Some(hash) = hash else { return Ok(None) };
                edge.append(hash, |_, _| {});
            }
        }
        Ok(Some(edge))
    }

    /// The hashes of the runs' records, by lane and in order: each lane is read once, however many runs it has.
    fn hashes_of(&self, runs: &[Run]) -> Result<BTreeMap<u16, VecDeque<Hash>>, JournalError> {
        let mut spans: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
        for run in runs {
            spans.entry(run.lane).or_insert((run.first, 0)).1 += run.count;
        }
        let mut hashes: BTreeMap<u16, VecDeque<Hash>> = BTreeMap::new();
        for (lane, (first, count)) in spans {
            let Some(mark) = self.marks.get(&lane) else {
                continue;
            };
            let found = hashes.entry(lane).or_default();
            LaneCursor::new(lane, first).read(&self.settings.dir, mark, count, |payload| {
                found.push_back(leaf_hash(payload));
            })?;
        }
        Ok(hashes)
    }

    /// The leaf from which on records are hashed again at the start: as many as fit into `REHASHED_BYTES` of segments.
    fn rehashed_from(&self, size: u64, runs: &[Run]) -> Result<u64, JournalError> {
        let newest = size.saturating_sub(REHASHED_LEAVES).max(self.pruned.leaves);
        let room = REHASHED_BYTES / self.marks.len().max(1) as u64;
        let mut floors = BTreeMap::new();
        for (lane, mark) in &self.marks {
            floors.insert(*lane, self.floor(mark, room)?);
        }
        let mut start = newest;
        for run in runs.iter().rev().take_while(|run| run.start + run.count > newest) {
            let floor = floors.get(&run.lane).copied().unwrap_or(0);
            let below = floor.saturating_sub(run.first).min(run.count);
            if below > 0 {
                start = start.max(run.start + below);
            }
        }
        Ok(start)
    }

    /// The first record of a lane that stands in its last `room` bytes, in whole segments.
    fn floor(&self, mark: &LaneMark, room: u64) -> Result<u64, JournalError> {
        let mut place = Some(Place {
            lane: mark.lane,
            segment: mark.segment,
            end: Some(mark.offset),
        });
        let (mut floor, mut bytes) = (mark.records, 0);
        while let Some(next) = place {
            bytes += next.end.unwrap_or(0);
            if bytes > room {
                break;
            }
            let header = next.known_header(&self.settings.dir)?;
            floor = header.first_record;
            place = self.pruned.before(&header);
        }
        Ok(floor)
    }

    /// Goes through all records; `keep` is given the hashes of the subtrees every now and then, and the leaf so far.
    fn hash_all(
        &self,
        runs: &[Run],
        mut keep: impl FnMut(&mut LevelBuffers, u64) -> Result<(), JournalError>,
    ) -> Result<Edge, JournalError> {
        let gone = self.pruned.leaves;
        let mut buffers = LevelBuffers::from(0);
        let mut edge = self.edge_of_gone(&mut buffers)?;
        keep(&mut buffers, gone)?;
        let mut walks = walks(&self.settings.dir, &self.pruned)?;
        for (lane, walk) in &mut walks {
            let first = self.pruned.begin(*lane).record;
            let passed = walk.skip_to(first);
            passed.map_err(|fault| self.gone(*lane, first, &fault.what))?;
        }
        for run in runs.iter().filter_map(|run| run.from(gone)) {
            let walk = walks.get_mut(&run.lane);
            let walk = walk.ok_or_else(|| self.gone(run.lane, run.first, "its lane is missing"))?;
            for number in run.first..run.first + run.count {
                let step = walk
                    .step()
                    .map_err(|fault| self.gone(run.lane, number, &fault.what))?;
                let step = step.ok_or_else(|| self.gone(run.lane, number, "it is missing"))?;
                edge.append(step.leaf, |subtree, hash| buffers.add(subtree, hash));
                if edge.size().is_multiple_of(REBUILD_LEAVES) {
                    keep(&mut buffers, edge.size())?;
                }
            }
        }
        keep(&mut buffers, edge.size())?;
        Ok(edge)
    }

    /// The edge over what is gone, by the roots that are kept; of larger subtrees the hashes go into the buffers.
    fn edge_of_gone(&self, buffers: &mut LevelBuffers) -> Result<Edge, JournalError> {
        let roots = self.pruned.roots(self.folder)?;
        let mut blocks = Edge::default();
        for root in &roots {
            blocks.append(*root, |subtree, hash| {
                let level = subtree.level + BLOCK_LEVEL;
                buffers.add(Subtree { level, ..subtree }, hash);
            });
        }
        Ok(blocks.raised(BLOCK_LEVEL))
    }

    /// Whether each lane begins in the segment that it is said to begin in, and that is there.
    fn check_begins(&self) -> Result<(), JournalError> {
        let file = self.folder.file(PRUNED_FILE);
        let wrong = |what: String| contradicted(&file, what);
        for (lane, begin) in &self.pruned.lanes {
            let place = Place {
                lane: *lane,
                segment: begin.segment,
                end: None,
            };
            let first = place.known_header(&self.settings.dir);
            let first = match first {
                Ok(header) => header.first_record,
                Err(error @ JournalError::Damaged { .. }) => return Err(wrong(error.to_string())),
                Err(error) => return Err(error),
            };
            if first > begin.record {
                let begins = begin.record;
                return Err(wrong(format!(
                    "lane {lane} begins at record {begins} by it, and its first segment at {first}"
                )));
            }
        }
        Ok(())
    }

    /// Holds what is said to be gone against the signed record that says so: nobody else may take anything away.
    fn check_pruned(&self, last: &Last, runs: &[Run]) -> Result<(), JournalError> {
        let file = self.folder.file(PRUNED_FILE);
        let wrong = |what: String| contradicted(&file, what);
        if self.pruned.leaves == 0 {
            return Ok(());
        }
        let (Some(said), Some(signed)) = (self.pruned.said, &last.signed) else {
            return Err(wrong("it names no record that says so".to_owned()));
        };
        let (id, checkpoint) = (said.record, &signed.checkpoint);
        let mut payload = None;
        let mark = self.marks.get(&id.lane);
        let mark = mark.ok_or_else(|| wrong(format!("there is no record {id}, which says so")))?;
        LaneCursor::new(id.lane, id.number).read(&self.settings.dir, mark, 1, |found| {
            payload = Some(found.to_vec());
        })?;
        let payload = payload.ok_or_else(|| wrong(format!("there is no record {id}, which says so")))?;
        let mut levels = Levels::of(self.folder);
        let proof: std::io::Result<Vec<Hash>> = inclusion_ranges(said.leaf, checkpoint.size)
            .into_iter()
            .map(|range| hash_of_range(range, |subtree| levels.hash_of(subtree)))
            .collect();
        let leaf = leaf_hash(&payload);
        let is_signed =
            proof.is_ok_and(|proof| is_included(said.leaf, checkpoint.size, &leaf, &proof, &checkpoint.root));
        if !is_signed || leaf_in(runs, id) != Some(said.leaf) {
            return Err(wrong(format!(
                "record {id}, which says so, is not under a checkpoint"
            )));
        }
        let record = Record::decode(&payload).map_err(|what| wrong(format!("record {id}: {what}")))?;
        let roots = self.pruned.roots(self.folder)?;
        let top = levels.root_over(&roots, checkpoint.size);
        if top.ok() != Some(checkpoint.root) {
            let size = checkpoint.size;
            return Err(wrong(format!(
                "its roots do not come to the root that the checkpoint over {size} records signs"
            )));
        }
        self.pruned.check(&roots, id, &record).map_err(wrong)
    }

    /// Where lanes begin in a tree that is begun anew over what is left of them.
    fn begun_anew(&self) -> Result<Pruned, JournalError> {
        let mut begun = Pruned {
            leaves: 0,
            said: self.pruned.said,
            lanes: BTreeMap::new(),
        };
        let files = list(&self.settings.dir)?;
        for (lane, mark) in &self.marks {
            let begin = self.begin_on_disk(mark, files.get(lane).map_or(&[], Vec::as_slice))?;
            if begin.record > 0 {
                begun.lanes.insert(*lane, begin);
            }
        }
        if !begun.lanes.is_empty() {
            begun.prepare(self.folder, &[])?;
            Pruned::commit(self.folder)?;
        }
        Ok(begun)
    }

    /// The first segment of a lane from which on none is missing. A gap in the middle is not accepted.
    fn begin_on_disk(&self, mark: &LaneMark, files: &[u64]) -> Result<Begin, JournalError> {
        let known = self.pruned.begin(mark.lane);
        let mut place = Place {
            lane: mark.lane,
            segment: mark.segment,
            end: Some(mark.offset),
        };
        loop {
            let header = place.known_header(&self.settings.dir)?;
            let is_older = |end| {
                let older = known.segment..end;
                files.iter().any(|number| older.contains(number))
            };
            let before = self.pruned.before(&header);
            let before = before.filter(|_| is_older(header.segment));
            match before.map(|before| (before, before.known_header(&self.settings.dir))) {
                // The oldest there is, and damaged: what is left begins behind it.
                Some((before, Err(JournalError::Damaged { .. }))) if !is_older(before.segment) => {}
                Some((before, _)) => {
                    place = before;
                    continue;
                }
                None => {}
            }
            return Ok(Begin {
                segment: header.segment,
                record: header.first_record.max(known.record),
            });
        }
    }

    fn gone(&self, lane: u16, number: u64, what: &str) -> JournalError {
        let file = self.folder.file(CHECKPOINTS_FILE);
        contradicted(&file, format!("record {lane}.{number} was signed: {what}"))
    }

    /// Whether every file of hashes is long enough.
    fn has_levels(&self, size: u64) -> bool {
        (0..u64::BITS).step_by(LEVELS_PER_FILE as usize).all(|level| {
            let bytes = (size >> level) * HASH_BYTES;
            bytes == 0 || std::fs::metadata(self.folder.level(level)).is_ok_and(|file| file.len() >= bytes)
        })
    }

    /// What stands behind the last checkpoint is torn, or of leaves whose order is not settled: it is made again.
    fn cut(&self, last: &Last, runs: &Runs) -> Result<(), JournalError> {
        write_behind(&self.folder.file(CHECKPOINTS_FILE), last.bytes, &[])?;
        let path = self.folder.file(RUNS_FILE);
        if runs.size == 0 {
            write_behind(&path, 0, &RUNS_HEAD)?;
        } else {
            write_behind(&path, runs.bytes(), &[])?;
        }
        debug_assert!(runs.bytes() >= RUN_BYTES as u64);
        for level in (0..u64::BITS).step_by(LEVELS_PER_FILE as usize) {
            let path = self.folder.level(level);
            if path.exists() {
                write_behind(&path, (runs.size >> level) * HASH_BYTES, &[])?;
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
