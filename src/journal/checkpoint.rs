//! A small file that says up to where each lane was on disk, so that a journal that came back shorter is noticed.
//! Never a proof: whoever can cut the journal can cut this too; the signed tree heads are for that. Read `recover.rs`
//! next.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::disk::{Disk, DiskFile};
use super::error::JournalError;
use super::writer::Durable;

pub const FILE_NAME: &str = "durable";

const MAGIC: [u8; 8] = *b"csmark\x00\x01";
const HEAD_BYTES: usize = 24;
const MARK_BYTES: usize = 26;
/// Room for as many lanes as there can be. The file is sparse.
const SLOT_BYTES: u64 = 2 << 20;

/// Up to where one lane is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneMark {
    pub lane: u16,
    pub segment: u64,
    pub offset: u64,
    pub records: u64,
}

impl LaneMark {
    /// Of a lane that has no segment yet there is nothing to say.
    pub fn of(lane: u16, durable: Durable) -> Option<Self> {
        let (segment, offset) = durable.place?;
        Some(Self {
            lane,
            segment,
            offset,
            records: durable.records,
        })
    }
}

/// The file, held open. Two slots are written in turn, so that a torn one leaves the other.
/// Shape of a slot: magic 8 bytes, checksum u32 over what follows, count u32, sequence u64, then per lane:
///                  lane u16, segment u64, offset u64, records u64. Big endian.
pub struct Checkpoint {
    file: DiskFile,
    sequence: u64,
    last: Vec<LaneMark>,
}

impl Checkpoint {
    /// Opens or makes the file, and gives what it says.
    pub fn open(dir: &Path, disk: &Disk) -> Result<(Self, BTreeMap<u16, LaneMark>), JournalError> {
        let path = dir.join(FILE_NAME);
        let file = match DiskFile::open(&path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => disk.create(&path),
            opened => opened,
        };
        let file = file.map_err(|cause| JournalError::open(&path, cause))?;
        let bytes = file.read().map_err(|cause| JournalError::read(&path, cause))?;
        let (sequence, last) = newest(&bytes);
        let marks = last.iter().map(|mark| (mark.lane, *mark)).collect();
        Ok((Self { file, sequence, last }, marks))
    }

    /// Writes where the lanes are, if that has changed. What fails leaves the file older, which is allowed.
    pub fn write(&mut self, disk: &Disk, marks: &[LaneMark]) {
        if marks == self.last {
            return;
        }
        self.sequence += 1;
        let slot = (self.sequence % 2) * SLOT_BYTES;
        match disk.write_at(&self.file, &encode(self.sequence, marks), slot) {
            Ok(()) => self.last = marks.to_vec(),
            Err(cause) => tracing::warn!(%cause, "the journal's checkpoint could not be written"),
        }
    }

    pub fn sync(&self, disk: &Disk) {
        if let Err(cause) = disk.sync(&self.file) {
            tracing::warn!(%cause, "the journal's checkpoint could not be synced");
        }
    }
}

/// What the file says: the newer of its two slots, with its number.
pub fn newest(bytes: &[u8]) -> (u64, Vec<LaneMark>) {
    let second = bytes.get(SLOT_BYTES as usize..).unwrap_or_default();
    let slots = decode(bytes).into_iter().chain(decode(second));
    slots.max_by_key(|(sequence, _)| *sequence).unwrap_or_default()
}

fn encode(sequence: u64, marks: &[LaneMark]) -> Vec<u8> {
    let mut body = Vec::with_capacity(HEAD_BYTES + marks.len() * MARK_BYTES);
    body.extend_from_slice(&u32::try_from(marks.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend_from_slice(&sequence.to_be_bytes());
    for mark in marks {
        body.extend_from_slice(&mark.lane.to_be_bytes());
        body.extend_from_slice(&mark.segment.to_be_bytes());
        body.extend_from_slice(&mark.offset.to_be_bytes());
        body.extend_from_slice(&mark.records.to_be_bytes());
    }
    let checksum = crc32c::crc32c(&body).to_be_bytes();
    [&MAGIC[..], &checksum[..], &body[..]].concat()
}

fn decode(slot: &[u8]) -> Option<(u64, Vec<LaneMark>)> {
    let rest = slot.strip_prefix(&MAGIC)?;
    let (checksum, body) = rest.split_first_chunk::<4>()?;
    let (count, marks) = body.split_first_chunk::<4>()?;
    let (sequence, marks) = marks.split_first_chunk::<8>()?;
    let bytes = (u32::from_be_bytes(*count) as usize).checked_mul(MARK_BYTES)?;
    let marks = marks.get(..bytes)?;
    if crc32c::crc32c(body.get(..12 + bytes)?) != u32::from_be_bytes(*checksum) {
        return None;
    }
    let marks = marks.chunks_exact(MARK_BYTES).map(|mark| {
        let number = |at: usize| {
            mark[at..at + 8]
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let lane = u16::from_be_bytes([mark[0], mark[1]]);
        LaneMark {
            lane,
            segment: number(2),
            offset: number(10),
            records: number(18),
        }
    });
    Some((u64::from_be_bytes(*sequence), marks.collect()))
}
