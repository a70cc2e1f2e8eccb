//! What of the log is gone by retention, and what stays of it: of each 4,096 leaves one root, and where lanes begin now.
//! Never says that anything may be missing by itself: `verify.rs` and `open.rs` believe it as far as a signed record of
//! the kind `pruned` says the same. Read `../prune.rs` next, which removes.
//!
//! ```text
//! tree/pruned  magic 8 bytes, leaves that are gone u64, the leaf of the record that says so u64, its number in its lane
//!              u64, time of the oldest and of the newest record that is gone u64, of that record u64, how long records
//!              are kept u64 (seconds), its lane u16, how many lanes follow u16, CRC32C u32 over all this (zeros in its
//!              place) and the lanes
//!              of each lane 24 bytes: lane u16, zeros, first segment u64, first record u64
//!              the roots, 32 bytes each
//! ```
//! All numbers are big endian, times in microseconds since 1970. With no leaves it says where lanes begin, and nothing
//! else: so does a tree that was begun anew over a log whose beginning is gone.
//!
//! Why hashes below are zeros instead of a shorter file: whatever is written behind them keeps its place, so nobody who
//! appends or reads has to wait. File systems that can punch holes give the room back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::HASH_BYTES;
use super::files::{Folder, Run, read_if_there};
use crate::audit::merkle::{Edge, Hash};
use crate::audit::{Kind, Record, RecordId};
use crate::clock::{Timestamp, parse_duration};
use crate::journal::JournalError;
use crate::journal::load::Place;
use crate::journal::segment::Header;

/// In the tree's folder.
pub const PRUNED_FILE: &str = "pruned";
/// What it is called until what it says is signed.
pub const PRUNED_NEXT_FILE: &str = "pruned.next";

/// Nothing younger than this is ever pruned.
pub const RETENTION_MIN: Duration = Duration::from_secs(86_400);

/// Subtrees of 2^12 leaves go whole, and leave one hash.
pub const BLOCK_LEVEL: u32 = 12;
pub const BLOCK_LEAVES: u64 = 1 << BLOCK_LEVEL;

const MAGIC: [u8; 8] = *b"csprun\x00\x01";
const HEAD_BYTES: usize = 72;
const LANE_BYTES: usize = 24;
const CHECKSUM_AT: usize = 68;

/// What is gone. Empty: nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// All leaves below this one are gone; a multiple of `BLOCK_LEAVES`.
    pub leaves: u64,
    pub said: Option<Gone>,
    pub lanes: BTreeMap<u16, Begin>,
}

/// The record that says that they are gone, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    pub record: RecordId,
    pub leaf: u64,
    pub time: Timestamp,
    pub oldest: Timestamp,
    pub newest: Timestamp,
    pub retention: Duration,
}

/// Which record of this kind may be signed. Whoever can write to the log's folder can put one behind the last checkpoint, and
/// once it were signed, it would excuse whatever they remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Believed {
    /// At the start: of a process that was killed before it was signed, under the retention that the settings still have.
    UnderRetention(Option<Duration>),
    /// Later: what this process has announced, by the hash over its roots.
    Announced(Option<Hash>),
    /// Somebody has looked and goes on with what there is.
    Anything,
}

impl Believed {
    /// `payload`: the canonical bytes of a record of the kind `pruned`.
    pub fn may_be(self, payload: &[u8]) -> bool {
        let Ok(Record { fields, .. }) = Record::decode(payload) else {
            return self == Self::Anything;
        };
        match self {
            Self::UnderRetention(kept) => {
                let told = fields.retention.as_deref().and_then(parse_duration);
                kept.is_some() && told == kept.map(whole_seconds)
            }
            Self::Announced(roots) => roots.is_some() && fields.roots_sha256 == roots,
            Self::Anything => true,
        }
    }

    /// What an error says of a record that may not be.
    pub fn told(self) -> String {
        match self {
            Self::UnderRetention(Some(kept)) => {
                let kept = duration_text(whole_seconds(kept));
                format!("not under the retention of {kept} that the settings have")
            }
            Self::UnderRetention(None) => "the settings keep everything".to_owned(),
            Self::Announced(_) | Self::Anything => "this process has pruned nothing by it".to_owned(),
        }
    }
}

/// As records and `tree/pruned` tell how long records are kept: none shorter.
pub fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

/// Where a lane begins now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begin {
    /// Segments before this one are gone, or about to go.
    pub segment: u64,
    /// Records before this one are gone; the first segment may still hold some of them, which nobody is shown.
    pub record: u64,
}

impl Pruned {
    /// What is gone of the journal in this folder.
    pub fn of(journal: &Path) -> Result<Self, JournalError> {
        Self::read(&Folder::of(journal))
    }

    /// Reads the file without its roots; a missing one says that nothing is gone.
    pub fn read(folder: &Folder) -> Result<Self, JournalError> {
        let path = folder.file(PRUNED_FILE);
        let failed = |cause| JournalError::read(&path, cause);
        let mut file = match File::open(&path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened.map_err(failed)?,
        };
        let mut bytes = Vec::new();
        Read::by_ref(&mut file)
            .take(HEAD_BYTES as u64)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        let lanes = bytes.get(66..68).map_or(0, |count| number(count, 0, 2));
        file.take(lanes * LANE_BYTES as u64)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        Self::decode(&bytes).ok_or_else(|| damaged(&path))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEAD_BYTES)?;
        let mut blank = bytes.to_vec();
        blank[CHECKSUM_AT..HEAD_BYTES].fill(0);
        let at = |at| number(head, at, 8);
        let time = |place| Some(Timestamp::from_micros(i64::try_from(at(place)).ok()?));
        let leaves = at(8);
        let is_sound = head[..8] == MAGIC
            && number(head, CHECKSUM_AT, 4) == u64::from(crc32c::crc32c(&blank))
            && leaves.is_multiple_of(BLOCK_LEAVES)
            // Where their hashes stood is told in bytes.
            && leaves <= u64::MAX / HASH_BYTES;
        let (rows, rest) = bytes[HEAD_BYTES..].as_chunks::<LANE_BYTES>();
        if !is_sound || !rest.is_empty() || rows.len() as u64 != number(head, 66, 2) {
            return None;
        }
        let said = Gone {
            leaf: at(16),
            record: RecordId {
                lane: number(head, 64, 2) as u16,
                number: at(24),
            },
            oldest: time(32)?,
            newest: time(40)?,
            time: time(48)?,
            retention: Duration::from_secs(at(56)),
        };
        let begin = |row: &[u8; LANE_BYTES]| {
            let begin = Begin {
                segment: number(row, 8, 8),
                record: number(row, 16, 8),
            };
            (number(row, 0, 2) as u16, begin)
        };
        Some(Self {
            leaves,
            said: (said.time.micros() > 0).then_some(said),
            lanes: rows.iter().map(begin).collect(),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let micros = |time: Timestamp| u64::try_from(time.micros()).unwrap_or(0);
        let mut bytes = MAGIC.to_vec();
        let said = self.said.map_or([0; 6], |said| {
            let times = [said.oldest, said.newest, said.time].map(micros);
            let [oldest, newest, time] = times;
            let seconds = said.retention.as_secs();
            [said.leaf, said.record.number, oldest, newest, time, seconds]
        });
        bytes.extend_from_slice(&self.leaves.to_be_bytes());
        said.iter()
            .for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
        let lane = self.said.map_or(0, |said| said.record.lane);
        bytes.extend_from_slice(&lane.to_be_bytes());
        bytes.extend_from_slice(&u16::try_from(self.lanes.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for (lane, begin) in &self.lanes {
            bytes.extend_from_slice(&lane.to_be_bytes());
            bytes.extend_from_slice(&[0; 6]);
            bytes.extend_from_slice(&begin.segment.to_be_bytes());
            bytes.extend_from_slice(&begin.record.to_be_bytes());
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes[CHECKSUM_AT..HEAD_BYTES].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// Where a lane begins; at its very first record if nothing of it is gone.
    pub fn begin(&self, lane: u16) -> Begin {
        self.lanes.get(&lane).copied().unwrap_or_default()
    }

    /// Whether a record is gone.
    pub fn holds(&self, id: RecordId) -> bool {
        id.number < self.begin(id.lane).record
    }

    /// The segment before the one with this header. `None`: there is none, or it is gone.
    pub fn before(&self, header: &Header) -> Option<Place> {
        let first = self.begin(header.lane).segment;
        Place::before(header).filter(|place| place.segment >= first)
    }

    /// How many records at the beginning of a segment are gone, though it still holds them.
    pub fn hidden_in(&self, header: &Header) -> usize {
        let first = self.begin(header.lane).record;
        usize::try_from(first.saturating_sub(header.first_record)).unwrap_or(usize::MAX)
    }

    /// Holds where lanes begin against the order of the leaves.
    pub fn agree_with(&self, runs: &[Run]) -> Result<(), String> {
        let begins = firsts(self.leaves, runs);
        match begins
            .iter()
            .find(|(lane, begin)| self.begin(**lane).record != **begin)
        {
            Some((lane, begin)) => Err(format!(
                "lane {lane} begins at record {} by it, and at {begin} by the order of the {} leaves that are gone",
                self.begin(*lane).record,
                self.leaves
            )),
            None => Ok(()),
        }
    }

    /// Whether the root over so many leaves can still be told.
    pub const fn can_tell(&self, size: u64) -> bool {
        size >= self.leaves || size.is_multiple_of(BLOCK_LEAVES)
    }

    /// Holds it against a record of the kind `pruned`, which is proved by itself.
    pub fn check(&self, roots: &[Hash], id: RecordId, record: &Record) -> Result<(), String> {
        let fields = &record.fields;
        let says = Gone {
            record: id,
            leaf: self.said.map_or(0, |said| said.leaf),
            time: record.time,
            oldest: fields.oldest.unwrap_or(record.time),
            newest: fields.newest.unwrap_or(record.time),
            retention: fields
                .retention
                .as_deref()
                .and_then(parse_duration)
                .unwrap_or_default(),
        };
        if record.kind != Kind::Pruned || fields.pruned != Some(self.leaves) || self.said != Some(says) {
            return Err(format!("record {id} says another thing of what was pruned"));
        }
        if says.leaf < self.leaves {
            let gone = self.leaves;
            return Err(format!(
                "record {id}, which is to say so, is one of the first {gone} itself, and nothing proves those"
            ));
        }
        if fields.roots_sha256 != Some(roots_sha256(roots)) {
            return Err(format!("the roots that are kept are not those of record {id}"));
        }
        if says.retention < RETENTION_MIN {
            return Err(format!("record {id} speaks of a retention of less than a day"));
        }
        if says.newest.after(says.retention) > says.time {
            return Err(format!(
                "record {id} says that records up to {} were pruned at {}, which is before their retention of {} was over",
                says.newest,
                says.time,
                duration_text(says.retention)
            ));
        }
        Ok(())
    }

    /// What to say of a record that is gone.
    pub fn error(&self, id: RecordId) -> JournalError {
        JournalError::Pruned {
            what: format!("record `{id}`"),
            told: self.told(),
        }
    }

    /// `pruned on 2026-11-22T…, under retention 400d`.
    pub fn told(&self) -> String {
        self.said.map_or_else(
            || "lost before this log was continued".to_owned(),
            |said| said.to_string(),
        )
    }

    /// Where its roots begin in the file.
    pub fn roots_at(&self) -> u64 {
        (HEAD_BYTES + self.lanes.len() * LANE_BYTES) as u64
    }

    /// How many roots there are.
    pub const fn blocks(&self) -> u64 {
        self.leaves >> BLOCK_LEVEL
    }

    /// The roots, from the left.
    pub fn roots(&self, folder: &Folder) -> Result<Vec<Hash>, JournalError> {
        if self.leaves == 0 {
            return Ok(Vec::new());
        }
        let path = folder.file(PRUNED_FILE);
        let bytes = read_if_there(&path).map_err(|cause| JournalError::read(&path, cause))?;
        let start = usize::try_from(self.roots_at()).unwrap_or(usize::MAX);
        let (roots, rest) = bytes.get(start..).unwrap_or_default().as_chunks();
        if roots.len() as u64 != self.blocks() || !rest.is_empty() {
            return Err(damaged(&path));
        }
        Ok(roots.to_vec())
    }

    /// Puts it beside the file that counts; returns when it is on disk.
    pub fn prepare(&self, folder: &Folder, roots: &[Hash]) -> Result<(), JournalError> {
        let path = folder.file(PRUNED_NEXT_FILE);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(&self.encode())?;
            file.write_all(roots.as_flattened())?;
            file.sync_all()
        };
        write().map_err(|cause| JournalError::write(&path, cause))
    }

    /// What was prepared counts from now on.
    pub fn commit(folder: &Folder) -> Result<(), JournalError> {
        let path = folder.file(PRUNED_FILE);
        std::fs::rename(folder.file(PRUNED_NEXT_FILE), &path)
            .and_then(|()| File::open(folder.path())?.sync_all())
            .map_err(|cause| JournalError::write(&path, cause))
    }

    /// Leaves out what was prepared and never counted.
    pub fn forget_prepared(folder: &Folder) -> Result<(), JournalError> {
        let path = folder.file(PRUNED_NEXT_FILE);
        match std::fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(JournalError::write(&path, cause)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "pruned on {}, under retention {}",
            self.time,
            duration_text(self.retention)
        )
    }
}

/// The first record of each lane that is not among the first `gone` leaves.
pub fn firsts(gone: u64, runs: &[Run]) -> BTreeMap<u16, u64> {
    let mut firsts = BTreeMap::new();
    for run in runs {
        let gone = gone.saturating_sub(run.start).min(run.count);
        let first = firsts.entry(run.lane).or_insert(run.first);
        if gone > 0 {
            *first = run.first + gone;
        }
    }
    firsts
}

/// As settings write it: `400d`, `36h`.
pub fn duration_text(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        seconds if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        seconds => format!("{seconds}s"),
    }
}

/// What a record says of the roots.
pub fn roots_sha256(roots: &[Hash]) -> Hash {
    Sha256::digest(roots.as_flattened()).into()
}

/// The edge over blocks whose roots these are.
pub fn edge_of(roots: &[Hash]) -> Edge {
    let mut blocks = Edge::default();
    roots.iter().for_each(|root| blocks.append(*root, |_, _| {}));
    blocks.raised(BLOCK_LEVEL)
}

/// Makes zeros of the first bytes of a file that stays as long as it is.
pub fn wipe(path: &Path, from: u64, to: u64) -> io::Result<()> {
    let file = match File::options().write(true).open(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let to = to.min(file.metadata()?.len());
    if from < to && !punched(&file, from, to) {
        let zeros = vec![0; 1 << 20];
        let mut at = from;
        while at < to {
            let count = usize::try_from(to - at).unwrap_or(usize::MAX).min(zeros.len());
            file.write_all_at(&zeros[..count], at)?;
            at += count as u64;
        }
    }
    file.sync_all()
}

#[cfg(target_os = "linux")]
fn punched(file: &File, from: u64, to: u64) -> bool {
    use rustix::fs::{FallocateFlags, fallocate};
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(file, hole, from, to - from).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn punched(_file: &File, _from: u64, _to: u64) -> bool {
    false
}

/// The bytes of one root.
pub const fn root_at(block: u64) -> u64 {
    block * HASH_BYTES
}

fn damaged(path: &Path) -> JournalError {
    JournalError::Contradicted {
        file: path.to_owned(),
        what: "what it says of pruned records is damaged".to_owned(),
    }
}

fn number(bytes: &[u8], at: usize, count: usize) -> u64 {
    bytes[at..at + count]
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_reads_back_and_no_changed_bit_passes() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let tree = Folder::of(folder.path());
        std::fs::create_dir_all(tree.path()).expect("a folder");
        let pruned = Pruned {
            leaves: 2 * BLOCK_LEAVES,
            said: Some(Gone {
                record: RecordId {
                    lane: u16::MAX,
                    number: 7,
                },
                leaf: 9_000,
                time: Timestamp::from_micros(40),
                oldest: Timestamp::from_micros(10),
                newest: Timestamp::from_micros(20),
                retention: Duration::from_secs(400 * 86_400),
            }),
            lanes: [
                (
                    0,
                    Begin {
                        segment: 3,
                        record: 8_000,
                    },
                ),
                (9, Begin::default()),
            ]
            .into(),
        };
        let roots = [[1; 32], [2; 32]];
        pruned.prepare(&tree, &roots).expect("written");
        assert_eq!(
            Pruned::read(&tree).expect("nothing counts yet"),
            Pruned::default()
        );
        Pruned::commit(&tree).expect("renamed");
        let read = Pruned::read(&tree).expect("whole");
        assert_eq!(read, pruned);
        assert_eq!(read.roots(&tree).expect("whole"), roots);
        assert!(read.told().ends_with("under retention 400d"));
        let head = pruned.encode();
        for bit in 0..head.len() * 8 {
            let mut changed = head.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Pruned::decode(&changed), None, "bit {bit}");
        }
    }

    #[test]
    fn wiped_bytes_are_zeros_and_the_others_stay() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("level-00");
        std::fs::write(&path, vec![7; 300_000]).expect("written");
        wipe(&path, 0, 200_000).expect("wiped");
        let bytes = std::fs::read(&path).expect("read");
        assert_eq!(bytes.len(), 300_000);
        assert!(bytes[..200_000].iter().all(|byte| *byte == 0));
        assert!(bytes[200_000..].iter().all(|byte| *byte == 7));
    }
}
