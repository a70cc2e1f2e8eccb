//! Removes what is past retention, from the log's beginning, 4,096 leaves at a time. One thread, of its own: at the start and
//! once a day.
//! Never removes what no checkpoint has covered for as long as records are kept, or what an anchor has not taken, and
//! nothing before a record that says so is signed. Read `tree/pruned.rs` for what stays.
//!
//! Why in this order: (1) the roots of what goes, made of the records and held against a signed checkpoint, are on disk; (2) a record
//! says what goes, with a hash over the roots; (3) a checkpoint covers it; (4) `tree/pruned` counts, so that nobody is shown
//! what it names; (5) hashes become zeros and segments are removed. Killed before (4), nothing has happened but the record,
//! and it is done again; killed after it, the next start does the rest.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::error::JournalError;
use super::load::Place;
use super::recover::list;
use super::segment::{self, Header};
use super::sync::Shared;
use super::tree::files::{CHECKPOINTS_FILE, Folder, Levels, RUNS_FILE, Run, Runs};
use super::tree::proof::leaf_in;
use super::tree::pruned::{
    BLOCK_LEAVES, BLOCK_LEVEL, Begin, Gone, PRUNED_FILE, Pruned, duration_text, firsts, roots_sha256,
    whole_seconds, wipe,
};
use super::tree::span::{SpanError, each_leaf, each_note};
use super::tree::{PUBLIC_KEY_FILE, Status, read_public, trace};
use super::{JOURNAL_LANE, LogFilter, Order, Reader};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::merkle::{Edge, Hash, Subtree, leaf_hash};
use crate::audit::{Body, Entry, Pruning, RecordId};
use crate::clock::Timestamp;

/// How often it is looked for what is past retention.
const PRUNE_EVERY: Duration = Duration::from_secs(86_400);
/// How long the record may wait for its checkpoint, which comes within a second; then it is tried again the next day.
const SIGNED_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How far it has come; tests look at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Prepared,
    Recorded,
    Signed,
    Committed,
    Wiped,
    Removed,
}

/// Why nothing was pruned.
#[derive(Debug, thiserror::Error)]
pub enum NotPruned {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Span(#[from] SpanError),
    #[error("record `{0}` is not the one that was signed; nothing is pruned")]
    Changed(RecordId),
    /// They agree with the hashes that are kept, and those do not agree with the checkpoint.
    #[error(
        "the records do not come to the root that the checkpoint over {0} of them signs; nothing is pruned"
    )]
    Unconfirmed(u64),
    #[error("no checkpoint has covered the record of the pruning within {} s", SIGNED_WITHIN.as_secs())]
    Unsigned,
    /// The journal is closed meanwhile.
    #[error("the journal was closed")]
    Closed,
}

impl NotPruned {
    /// One imperative sentence for the person who reads the error.
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Journal(error) => error.next_step(),
            Self::Span(error) => error.next_step(),
            Self::Changed(_) | Self::Unconfirmed(_) => "run `log verify`, which says what was changed",
            Self::Unsigned => "look for why no checkpoint can be signed; pruning is tried again within a day",
            Self::Closed => "start the proxy again",
        }
    }
}

/// What goes, and what stays of it.
struct Plan {
    pruned: Pruned,
    roots: Vec<Hash>,
    /// Of it: how many leaves and segments go now.
    now: u64,
    segments: u64,
    before: u64,
}

/// The leaves of whole blocks, as they are gone through.
struct Blocks {
    roots: Vec<Hash>,
    edge: Edge,
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
}

/// Prunes one journal.
pub struct Pruner<'s> {
    shared: &'s Shared,
    tree: &'s Status,
    retention: Duration,
}

/// Starts the thread. It ends after `Shared::close`; if everything is kept for ever, once it has told what is kept.
pub fn start(shared: Arc<Shared>, tree: Arc<Status>) -> io::Result<JoinHandle<()>> {
    let run = move || {
        tell(&tree, &shared.settings.dir);
        if let Some(retention) = shared.settings.retention {
            run(&shared, &tree, retention);
        }
    };
    thread::Builder::new().name("journal-prune".to_owned()).spawn(run)
}

fn run(shared: &Shared, tree: &Status, retention: Duration) {
    let pruner = Pruner::new(shared, tree, retention);
    let mut wait = Duration::ZERO;
    while !shared.closes_within(wait) {
        wait = PRUNE_EVERY;
        match pruner.prune(|_| {}) {
            Ok(Some(pruned)) => tracing::info!(
                records = pruned.leaves,
                newest = pruned.said.map(|said| said.newest.to_string()),
                "the first {} records of the log are {}; their roots are kept",
                pruned.leaves,
                pruned.told()
            ),
            Ok(None) | Err(NotPruned::Closed) => {}
            Err(error) => {
                tracing::error!(%error, next_step = error.next_step(), "the log could not be pruned");
            }
        }
    }
}

/// Tells whoever asks for the status what is gone and what is kept. That looks at every segment, and stops nobody: an old
/// one may be damaged.
fn tell(tree: &Status, dir: &Path) {
    match kept(dir) {
        Ok((gone, oldest)) => tree.keeps(gone, oldest),
        Err(error) => tracing::warn!(
            %error,
            next_step = error.next_step(),
            "the log's oldest record cannot be told"
        ),
    }
}

/// How many records are gone, and the time of the oldest that is kept.
fn kept(dir: &Path) -> Result<(u64, Option<Timestamp>), JournalError> {
    let filter = LogFilter {
        order: Order::OldestFirst,
        limit: 1,
        ..LogFilter::default()
    };
    let page = Reader::open(dir).query(&filter)?;
    let oldest = page.records.first().map(|record| record.time);
    Ok((Pruned::of(dir)?.leaves, oldest))
}

/// Does the rest of what a process that was killed had begun to remove. Gives what is gone.
pub fn finish(dir: &Path) -> Result<Pruned, JournalError> {
    let folder = Folder::of(dir);
    Pruned::forget_prepared(&folder)?;
    let pruned = Pruned::read(&folder)?;
    // Without a signed record that says so, nothing may be removed.
    if pruned.leaves > 0 {
        wipe_levels(&folder, 0, pruned.leaves)?;
        remove(dir, &pruned)?;
    }
    Ok(pruned)
}

impl<'s> Pruner<'s> {
    pub fn new(shared: &'s Shared, tree: &'s Status, retention: Duration) -> Self {
        Self {
            shared,
            tree,
            retention: whole_seconds(retention),
        }
    }

    /// Removes what is past retention; `each` is told of every step. `None`: nothing is.
    pub fn prune(&self, mut each: impl FnMut(Step)) -> Result<Option<Pruned>, NotPruned> {
        let Some(mut plan) = self.plan()? else {
            return Ok(None);
        };
        let dir = &self.shared.settings.dir;
        let folder = Folder::of(dir);
        plan.pruned.prepare(&folder, &plan.roots)?;
        each(Step::Prepared);
        let id = self.record(&plan)?;
        each(Step::Recorded);
        let leaf = self.wait_for_checkpoint(id)?;
        each(Step::Signed);
        let contradicted = |what| JournalError::Contradicted {
            file: folder.file(PRUNED_FILE),
            what,
        };
        let record = Reader::open(dir).show(id)?;
        let record = record.ok_or_else(|| contradicted(format!("there is no record {id}, which says so")))?;
        if let Some(said) = &mut plan.pruned.said {
            // As it stands there: its time may be later, because a lane's times never go backwards.
            (said.record, said.leaf, said.time) = (id, leaf, record.time);
        }
        // What the next start and `log verify` would not believe never counts.
        plan.pruned
            .check(&plan.roots, id, &record)
            .map_err(contradicted)?;
        plan.pruned.prepare(&folder, &plan.roots)?;
        Pruned::commit(&folder)?;
        each(Step::Committed);
        wipe_levels(&folder, plan.before, plan.pruned.leaves)?;
        each(Step::Wiped);
        remove(dir, &plan.pruned)?;
        self.end_old_segments(&plan.pruned)?;
        // The index leaves out what is gone when it looks the next time.
        self.shared.has_sealed();
        self.tree.keeps(plan.pruned.leaves, None);
        tell(self.tree, dir);
        each(Step::Removed);
        Ok(Some(plan.pruned))
    }

    fn plan(&self) -> Result<Option<Plan>, NotPruned> {
        let settings = &self.shared.settings;
        let folder = Folder::of(&settings.dir);
        let (old, now) = (Pruned::read(&folder)?, (settings.now)());
        let Some(checkpoint) = self.covered(&folder, now)? else {
            return Ok(None);
        };
        let mut end = checkpoint.size;
        if !settings.anchors.is_empty() {
            end = end.min(self.tree.anchored());
        }
        end -= end % BLOCK_LEAVES;
        if end <= old.leaves {
            return Ok(None);
        }
        let runs_file = folder.file(RUNS_FILE);
        let runs = Runs::read(&runs_file).map_err(|cause| JournalError::read(&runs_file, cause))?;
        let Some(blocks) = self.blocks(&folder, &runs.runs, old.leaves, end, now)? else {
            return Ok(None);
        };
        let mut roots = old.roots(&folder)?;
        roots.extend(&blocks.roots);
        let top = Levels::of(&folder).root_over(&roots, checkpoint.size);
        if top.map_err(|cause| JournalError::read(folder.path(), cause))? != checkpoint.root {
            return Err(NotPruned::Unconfirmed(checkpoint.size));
        }
        let leaves = (roots.len() as u64) << BLOCK_LEVEL;
        let before = old.said.filter(|_| old.leaves > 0);
        let oldest = blocks
            .oldest
            .into_iter()
            .chain(before.map(|said| said.oldest))
            .min();
        let newest = blocks
            .newest
            .into_iter()
            .chain(before.map(|said| said.newest))
            .max();
        let mut pruned = Pruned {
            leaves,
            said: Some(Gone {
                record: RecordId {
                    lane: JOURNAL_LANE,
                    number: 0,
                },
                leaf: 0,
                time: now,
                oldest: oldest.unwrap_or(now),
                newest: newest.unwrap_or(now),
                retention: self.retention,
            }),
            lanes: old.lanes.clone(),
        };
        let segments = begins(&settings.dir, &runs.runs, &old, &mut pruned)?;
        Ok(Some(Plan {
            now: leaves - old.leaves,
            before: old.leaves,
            pruned,
            roots,
            segments,
        }))
    }

    /// The newest checkpoint that was signed when what is kept was not there yet.
    fn covered(&self, folder: &Folder, now: Timestamp) -> Result<Option<Checkpoint>, NotPruned> {
        let mut newest = None;
        each_note(&folder.file(CHECKPOINTS_FILE), |note| {
            let read = Checkpoint::unverified(note);
            if read.is_some_and(|read| read.time.after(self.retention) <= now) {
                newest = Some(note.to_owned());
            }
            Ok(())
        })?;
        let Some(note) = newest else { return Ok(None) };
        let key = read_public(&self.shared.settings.key_dir.join(PUBLIC_KEY_FILE))?;
        let signed = key.verify(&note).map_err(SpanError::from)?;
        Ok(Some(signed.checkpoint))
    }

    /// The roots of the blocks from `start` to `end`, made of the records, up to the first block with a record that is not
    /// past retention, by its own time. `None`: that is the first one.
    fn blocks(
        &self,
        folder: &Folder,
        runs: &[Run],
        start: u64,
        end: u64,
        now: Timestamp,
    ) -> Result<Option<Blocks>, NotPruned> {
        let mut levels = Levels::of(folder);
        let mut blocks = Blocks {
            roots: Vec::new(),
            edge: Edge::default(),
            oldest: None,
            newest: None,
        };
        let (mut oldest, mut newest) = (None::<Timestamp>, None::<Timestamp>);
        let walked = each_leaf(&self.shared.settings.dir, runs, start..end, |leaf| {
            let time = segment::time_of(leaf.bytes)
                .map_err(|what| JournalError::damaged(&self.shared.settings.dir, leaf.leaf, what))?;
            if time.after(self.retention) > now {
                return Err(Halt::Young);
            }
            oldest = Some(oldest.map_or(time, |oldest| oldest.min(time)));
            newest = newest.max(Some(time));
            blocks.edge.append(leaf_hash(leaf.bytes), |_, _| {});
            if blocks.edge.size() < BLOCK_LEAVES {
                return Ok(());
            }
            let root = std::mem::take(&mut blocks.edge).root();
            let subtree = Subtree {
                level: BLOCK_LEVEL,
                index: leaf.leaf >> BLOCK_LEVEL,
            };
            let kept = levels.hash_of(subtree);
            if kept.map_err(|cause| JournalError::read(folder.path(), cause))? != root {
                return Err(Halt::Failed(NotPruned::Changed(leaf.id)));
            }
            blocks.roots.push(root);
            (blocks.oldest, blocks.newest) = (oldest, newest);
            if self.shared.closes_within(Duration::ZERO) {
                return Err(Halt::Failed(NotPruned::Closed));
            }
            Ok(())
        });
        match walked {
            Err(Halt::Failed(error)) => Err(error),
            Ok(()) | Err(Halt::Young) => Ok(Some(blocks).filter(|blocks| !blocks.roots.is_empty())),
        }
    }

    /// Puts on record what goes; returns when that is on disk.
    fn record(&self, plan: &Plan) -> Result<RecordId, NotPruned> {
        let said = plan.pruned.said.ok_or(NotPruned::Closed)?;
        let roots_sha256 = roots_sha256(&plan.roots);
        self.tree.announces_pruning(roots_sha256);
        let entry = Entry {
            time: said.time,
            session: None,
            body: Body::Pruned(Pruning {
                by: "countersign",
                retention: &duration_text(self.retention),
                leaves: plan.pruned.leaves,
                now: plan.now,
                segments: plan.segments,
                oldest: said.oldest,
                newest: said.newest,
                roots_sha256,
            }),
        };
        let lane = self.shared.lane(JOURNAL_LANE);
        let appended = lane.writer().append(&[entry])?;
        let id = RecordId {
            lane: JOURNAL_LANE,
            number: appended.record,
        };
        let Some(told) = self.shared.wait_in_thread(&lane, appended.sequence) else {
            return Ok(id);
        };
        loop {
            match told.recv_timeout(LOOK_EVERY) {
                Ok(synced) => return Ok(synced.map(|()| id)?),
                Err(RecvTimeoutError::Timeout) if !self.shared.closes_within(Duration::ZERO) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(NotPruned::Closed);
                }
            }
        }
    }

    /// Gives the record's leaf once a checkpoint covers it, here and outside the tree.
    fn wait_for_checkpoint(&self, id: RecordId) -> Result<u64, NotPruned> {
        let settings = &self.shared.settings;
        let key = read_public(&settings.key_dir.join(PUBLIC_KEY_FILE))?;
        let runs_file = Folder::of(&settings.dir).file(RUNS_FILE);
        let end = Instant::now() + SIGNED_WITHIN;
        let mut looked = None;
        while Instant::now() < end {
            let signed = self.tree.signed().map_or(0, |(size, _)| size);
            if looked != Some(signed) {
                let runs = Runs::read(&runs_file).map_err(|cause| JournalError::read(&runs_file, cause))?;
                let Some(leaf) = leaf_in(&runs.runs, id).filter(|leaf| *leaf < signed) else {
                    looked = Some(signed);
                    continue;
                };
                // What is kept outside the tree is written behind it, so it is looked at again.
                let trace = trace::read(&settings.key_dir, &key)?.map_or(0, |checkpoint| checkpoint.size);
                if leaf < trace {
                    return Ok(leaf);
                }
            }
            if self.shared.closes_within(LOOK_EVERY) {
                return Err(NotPruned::Closed);
            }
        }
        Err(NotPruned::Unsigned)
    }

    /// A segment that is still written and begins with what is gone ends here, so that it goes one day.
    fn end_old_segments(&self, pruned: &Pruned) -> Result<(), JournalError> {
        let dir = &self.shared.settings.dir;
        for (lane, numbers) in list(dir)? {
            if let Some((place, header)) = Place::last(dir, lane, &numbers)?
                && pruned.hidden_in(&header) > 0
            {
                self.shared.end_segment(lane, place.segment)?;
            }
        }
        Ok(())
    }
}

/// Why the records were not gone through to the end.
enum Halt {
    Young,
    Failed(NotPruned),
}

impl From<JournalError> for Halt {
    fn from(error: JournalError) -> Self {
        Self::Failed(error.into())
    }
}

/// Says where lanes begin behind what is gone; gives how many segments stand before that.
fn begins(dir: &Path, runs: &[Run], old: &Pruned, pruned: &mut Pruned) -> Result<u64, JournalError> {
    let files = list(dir)?;
    let mut segments = 0;
    for (lane, record) in firsts(pruned.leaves, runs) {
        let numbers = files.get(&lane).map_or(&[][..], Vec::as_slice);
        let segment = first_needed(dir, lane, numbers, old, record)?;
        let known = old.begin(lane).segment;
        segments += numbers
            .iter()
            .filter(|number| (known..segment).contains(number))
            .count() as u64;
        pruned.lanes.insert(lane, Begin { segment, record });
    }
    Ok(segments)
}

/// The last segment without which the records from `record` on could not be read, or the next start could not tell
/// which attempts still wait for their results.
fn first_needed(
    dir: &Path,
    lane: u16,
    numbers: &[u64],
    old: &Pruned,
    record: u64,
) -> Result<u64, JournalError> {
    let Some((place, mut header)) = Place::last(dir, lane, numbers)? else {
        return Ok(old.begin(lane).segment);
    };
    let mut segment = place.segment;
    let open_from = header.open_from;
    let is_needed =
        |header: &Header| header.first_record > record || header.continues || header.segment > open_from;
    while is_needed(&header)
        && let Some(before) = old.before(&header)
    {
        segment = before.segment;
        header = before.known_header(dir)?;
    }
    Ok(segment)
}

/// Makes zeros of the hashes of small subtrees.
fn wipe_levels(folder: &Folder, from: u64, to: u64) -> Result<(), JournalError> {
    for level in (0..BLOCK_LEVEL).step_by(super::tree::LEVELS_PER_FILE as usize) {
        let path = folder.level(level);
        let at = |leaf: u64| (leaf >> level) * super::tree::HASH_BYTES;
        wipe(&path, at(from), at(to)).map_err(|cause| JournalError::write(&path, cause))?;
    }
    Ok(())
}

/// Removes the segments that stand before where their lane begins, and whatever was put aside of them, the oldest first.
fn remove(dir: &Path, pruned: &Pruned) -> Result<(), JournalError> {
    let failed = |cause| JournalError::read(dir, cause);
    let mut gone = Vec::new();
    for file in std::fs::read_dir(dir).map_err(failed)? {
        let path = file.map_err(failed)?.path();
        let name = path.with_extension("seg");
        let name = name.file_name().and_then(|name| name.to_str());
        if let Some((lane, segment)) = name.and_then(segment::parse_file_name)
            && segment < pruned.begin(lane).segment
        {
            gone.push(path);
        }
    }
    gone.sort();
    for path in &gone {
        std::fs::remove_file(path).map_err(|cause| JournalError::write(path, cause))?;
    }
    if gone.is_empty() {
        return Ok(());
    }
    std::fs::File::open(dir)
        .and_then(|folder| folder.sync_all())
        .map_err(|cause| JournalError::sync(dir, cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Journal, Settings};

    #[test]
    fn checkpoint_that_is_kept_outside_the_tree_a_little_later_is_waited_for() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let open = || Journal::open(Settings::in_dir(folder.path())).expect("it opens");
        let trace = folder.path().join(trace::TRACE_FILE);
        drop(open());
        let old = std::fs::read(&trace).expect("a checkpoint");
        let journal = open();
        let new = std::fs::read(&trace).expect("a checkpoint");
        assert_ne!(old, new);
        // Whole, as the keeper puts it: nobody reads half of it.
        let put = |bytes: &[u8]| {
            let whole = trace.with_extension("new");
            std::fs::write(&whole, bytes).expect("written");
            std::fs::rename(whole, &trace).expect("renamed");
        };
        put(&old);
        let pruner = Pruner::new(&journal.owner.shared, &journal.owner.tree, PRUNE_EVERY);
        let boot = RecordId {
            lane: JOURNAL_LANE,
            number: 1,
        };
        let found = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(LOOK_EVERY * 3);
                put(&new);
            });
            pruner.wait_for_checkpoint(boot)
        });
        assert_eq!(found.expect("it is signed"), 1);
    }
}
