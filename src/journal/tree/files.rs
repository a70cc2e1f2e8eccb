//! The tree's files: their names, what a run looks like, how hashes and notes are read back.
//! Never writes: `keeper.rs` and `open.rs` do. Read `keeper.rs` next.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::pruned::{BLOCK_LEVEL, PRUNED_FILE, Pruned, root_at};
use super::{HASH_BYTES, LEVELS_PER_FILE};
use crate::audit::checkpoint::NOTE_BYTES_MAX;
use crate::audit::merkle::{Edge, Hash, Subtree, hash_of_range, node_hash};

/// Under the journal's folder.
pub const FOLDER: &str = "tree";
pub const RUNS_FILE: &str = "runs";
pub const CHECKPOINTS_FILE: &str = "checkpoints";

pub const RUN_BYTES: usize = 32;
/// What `runs` begins with.
pub const RUNS_HEAD: [u8; RUN_BYTES] = {
    let mut head = [0; RUN_BYTES];
    let magic = *b"cstree\x00\x01";
    let mut at = 0;
    while at < magic.len() {
        head[at] = magic[at];
        at += 1;
    }
    head
};

/// The folder of one journal's tree.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    pub fn of(journal: &Path) -> Self {
        Self {
            path: journal.join(FOLDER),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The file with the hashes of complete subtrees of this level, a multiple of `LEVELS_PER_FILE`.
    pub fn level(&self, level: u32) -> PathBuf {
        self.path.join(format!("level-{level:02}"))
    }
}

/// Neighbouring records of one lane, as neighbouring leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The index of the first leaf.
    pub start: u64,
    pub lane: u16,
    /// The number of the first record.
    pub first: u64,
    pub count: u64,
}

impl Run {
    pub fn encode(&self) -> [u8; RUN_BYTES] {
        let mut bytes = [0; RUN_BYTES];
        bytes[..8].copy_from_slice(&self.start.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.first.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.count.to_be_bytes());
        bytes[24..26].copy_from_slice(&self.lane.to_be_bytes());
        let checksum = crc32c::crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; RUN_BYTES]) -> Option<Self> {
        let number = |at: usize| {
            bytes[at..at + 8]
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let run = Self {
            start: number(0),
            first: number(8),
            count: number(16),
            lane: u16::from_be_bytes([bytes[24], bytes[25]]),
        };
        (run.encode() == *bytes && run.count > 0).then_some(run)
    }

    /// What of it are leaves from `start` on, if any.
    pub fn from(&self, start: u64) -> Option<Self> {
        let skipped = start.saturating_sub(self.start);
        (skipped < self.count).then(|| Self {
            start: self.start + skipped,
            lane: self.lane,
            first: self.first + skipped,
            count: self.count - skipped,
        })
    }

    /// The index of the first leaf behind it. `None`: no tree is that large.
    pub fn end(&self) -> Option<u64> {
        self.first.checked_add(self.count)?;
        self.start.checked_add(self.count)
    }
}

/// The runs of a file, up to the first that is torn, damaged or does not follow on the one before.
#[derive(Debug, Default)]
pub struct Runs {
    pub runs: Vec<Run>,
    /// How many leaves they are.
    pub size: u64,
    /// The first byte that belongs to none of them, if the file is longer.
    pub broken_at: Option<u64>,
}

impl Runs {
    /// Reads the file; a missing one has no runs.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::cut(&read_if_there(path)?))
    }

    fn cut(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        let Some(body) = bytes.strip_prefix(&RUNS_HEAD) else {
            found.broken_at = (!bytes.is_empty()).then_some(0);
            return found;
        };
        let (runs, rest) = body.as_chunks::<RUN_BYTES>();
        for bytes in runs {
            let run = Run::decode(bytes).filter(|run| run.start == found.size);
            let Some((run, end)) = run.and_then(|run| Some((run, run.end()?))) else {
                found.broken_at = Some(found.bytes());
                return found;
            };
            found.size = end;
            found.runs.push(run);
        }
        found.broken_at = (!rest.is_empty()).then_some(found.bytes());
        found
    }

    /// Where the next run belongs.
    pub fn bytes(&self) -> u64 {
        ((self.runs.len() + 1) * RUN_BYTES) as u64
    }

    /// Leaves out the runs behind the first `size` leaves; `false` if no run ends there.
    pub fn truncate(&mut self, size: u64) -> bool {
        while self.size > size
            && let Some(last) = self.runs.pop()
        {
            self.size = last.start;
        }
        self.size == size
    }
}

/// Reads the hashes of complete subtrees.
#[derive(Debug)]
pub struct Levels {
    folder: Folder,
    files: Vec<Option<File>>,
}

impl Levels {
    pub fn of(folder: &Folder) -> Self {
        Self {
            folder: folder.clone(),
            files: Vec::new(),
        }
    }

    /// Made of the nearest hashes below that are kept. What is pruned meanwhile is read again as it is then.
    pub fn hash_of(&mut self, subtree: Subtree) -> io::Result<Hash> {
        if subtree.level >= LEVELS_KEPT {
            return self.of_level(subtree);
        }
        let mut pruned = self.pruned()?;
        loop {
            let hash = self.kept(subtree, &pruned);
            let now = self.pruned()?;
            if now.leaves == pruned.leaves {
                return hash;
            }
            pruned = now;
        }
    }

    /// The root over `size` leaves, of which the first are gone but for these roots; of the others by the hashes that are kept.
    pub fn root_over(&mut self, roots: &[Hash], size: u64) -> io::Result<Hash> {
        if size >> BLOCK_LEVEL < roots.len() as u64 {
            return Err(io::Error::other("more is gone than the checkpoint is over"));
        }
        hash_of_range(0..size, |subtree| self.over(subtree, roots))
    }

    fn over(&mut self, subtree: Subtree, roots: &[Hash]) -> io::Result<Hash> {
        let leaves = subtree.leaves();
        let gone = (roots.len() as u64) << BLOCK_LEVEL;
        if leaves.start >= gone {
            return self.hash_of(subtree);
        }
        if leaves.end <= gone {
            let blocks = (leaves.start >> BLOCK_LEVEL) as usize..(leaves.end >> BLOCK_LEVEL) as usize;
            return Ok(root_of(roots[blocks].as_flattened()));
        }
        let half = |index| Subtree {
            level: subtree.level - 1,
            index,
        };
        let left = self.over(half(subtree.index << 1), roots)?;
        let right = self.over(half((subtree.index << 1) + 1), roots)?;
        Ok(node_hash(&left, &right))
    }

    fn pruned(&self) -> io::Result<Pruned> {
        Pruned::read(&self.folder).map_err(io::Error::other)
    }

    /// Of a subtree whose hashes may be gone.
    fn kept(&mut self, subtree: Subtree, pruned: &Pruned) -> io::Result<Hash> {
        let leaves = subtree.leaves();
        if leaves.start >= pruned.leaves {
            return self.of_level(subtree);
        }
        if leaves.end <= pruned.leaves {
            return self.of_roots(subtree, pruned);
        }
        let half = |index| Subtree {
            level: subtree.level - 1,
            index,
        };
        let left = self.kept(half(subtree.index << 1), pruned)?;
        let right = self.kept(half((subtree.index << 1) + 1), pruned)?;
        Ok(node_hash(&left, &right))
    }

    fn of_roots(&self, subtree: Subtree, pruned: &Pruned) -> io::Result<Hash> {
        let Some(above) = subtree.level.checked_sub(BLOCK_LEVEL) else {
            return Err(io::Error::other("the hash is gone with the records below it"));
        };
        let file = File::open(self.folder.file(PRUNED_FILE))?;
        let mut bytes = vec![0; (HASH_BYTES as usize) << above];
        let at = pruned.roots_at() + root_at(subtree.index << above);
        file.read_exact_at(&mut bytes, at)?;
        Ok(root_of(&bytes))
    }

    fn of_level(&mut self, subtree: Subtree) -> io::Result<Hash> {
        let above = subtree.level % LEVELS_PER_FILE;
        let count = 1_usize << above;
        let place = (subtree.level / LEVELS_PER_FILE) as usize;
        let mut bytes = vec![0; count * HASH_BYTES as usize];
        self.file(place)?
            .read_exact_at(&mut bytes, (subtree.index << above) * HASH_BYTES)?;
        Ok(root_of(&bytes))
    }

    fn file(&mut self, place: usize) -> io::Result<&File> {
        if self.files.len() <= place {
            self.files.resize_with(place + 1, || None);
        }
        let slot = &mut self.files[place];
        match slot {
            Some(file) => Ok(file),
            None => {
                let level = place as u32 * LEVELS_PER_FILE;
                Ok(slot.insert(File::open(self.folder.level(level))?))
            }
        }
    }
}

/// Levels from here on are kept whole: their subtrees are larger than what is pruned at once.
const LEVELS_KEPT: u32 = 2 * LEVELS_PER_FILE;

/// The root over neighbouring hashes.
fn root_of(hashes: &[u8]) -> Hash {
    let mut edge = Edge::default();
    for hash in hashes.as_chunks::<{ HASH_BYTES as usize }>().0 {
        edge.append(*hash, |_, _| {});
    }
    edge.root()
}

/// The notes of a file, each with where it ends. What follows the last whole note is left out.
pub fn notes(bytes: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &bytes[at..];
        let text = rest.find("\n\n")? + 2;
        let end = text + rest[text..].find("\n\n")? + 1;
        at += end + 1;
        Some((&rest[..end], at))
    })
}

/// The last whole note of a file, and the length up to it. `None`: there is none.
pub fn last_note(path: &Path) -> io::Result<Option<(String, u64)>> {
    let file = match File::open(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let length = file.metadata()?.len();
    // Two notes of the largest size are in it for certain, if there are two.
    let start = length.saturating_sub(3 * NOTE_BYTES_MAX as u64);
    let mut bytes = vec![0; usize::try_from(length - start).unwrap_or(0)];
    file.read_exact_at(&mut bytes, start)?;
    let text = String::from_utf8_lossy(&bytes);
    // Signature lines alone begin with a dash, so this finds where a note ends, wherever the reading began.
    let Some(signature) = text
        .rmatch_indices("\n\n\u{2014} ")
        .map(|(at, _)| at)
        .find(|at| text[at + 2..].contains("\n\n"))
    else {
        return Ok(None);
    };
    let end = signature + 2 + text[signature + 2..].find("\n\n").unwrap_or(0) + 1;
    let begin = text[..signature].rfind("\n\n").map_or(0, |at| at + 2);
    Ok(Some((text[begin..end].to_owned(), start + end as u64 + 1)))
}

/// The bytes of a file; none if it is not there.
pub fn read_if_there(path: &Path) -> io::Result<Vec<u8>> {
    match std::fs::read(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_with_a_changed_bit_is_none() {
        let run = Run {
            start: 77,
            lane: 3,
            first: 1_000,
            count: 4_096,
        };
        assert_eq!(Run::decode(&run.encode()), Some(run));
        for bit in 0..RUN_BYTES * 8 {
            let mut bytes = run.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Run::decode(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn runs_end_where_the_file_is_torn() {
        let run = |start, count| Run {
            start,
            lane: 0,
            first: start,
            count,
        };
        let (first, second) = (run(0, 5), run(5, 2));
        let whole = [RUNS_HEAD, first.encode(), second.encode()].concat();
        let found = Runs::cut(&whole);
        assert_eq!((found.size, found.broken_at), (7, None));
        for length in RUN_BYTES * 2 + 1..RUN_BYTES * 3 {
            let torn = Runs::cut(&whole[..length]);
            assert_eq!((torn.size, torn.broken_at), (5, Some(64)));
        }
        let gap = [RUNS_HEAD, first.encode(), run(6, 2).encode()].concat();
        assert_eq!(Runs::cut(&gap).broken_at, Some(64));
    }

    #[test]
    fn last_note_is_the_last_whole_one() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("notes");
        let note = |number: u32| format!("origin\n{number}\n\n\u{2014} name sig{number}\n");
        let whole: String = (0..400).map(|number| note(number) + "\n").collect();
        let (before, _) = whole.rsplit_once("origin").expect("there are many");
        assert_eq!(notes(&whole).count(), 400);
        assert_eq!(notes(&whole).last(), Some((note(399).as_str(), whole.len())));
        for length in before.len() + 1..=whole.len() {
            if !whole.is_char_boundary(length) {
                continue;
            }
            std::fs::write(&path, &whole[..length]).expect("written");
            let expected = if length == whole.len() {
                (note(399), whole.len() as u64)
            } else {
                (note(398), before.len() as u64)
            };
            assert_eq!(last_note(&path).expect("read"), Some(expected), "{length}");
        }
    }
}
