//! What one segment file holds: a header, frames, a seal, and zeros behind them while it is being written.
//! Never touches a file: bytes in, frames out. Read `writer.rs` next (who appends), then `recover.rs` (torn ends).
//!
//! ```text
//! file    header, frame*, zeros      while it is written; its length is reserved beforehand
//!         header, frame*, seal       afterwards
//! header  64 bytes, see `Header`
//! frame   length u32, checksum u32, payload: the canonical bytes of one record, or the seal
//! ```
//! All numbers are big endian. A frame's checksum is CRC32C over the one before it (at first the header's), its length
//! and its payload: a frame left over from a write that failed cannot follow a frame that overwrote another.
//!
//! Why a chain: a header names the segment before it and how much of that counts. A segment whose sync failed is left
//! as it is; the next one names the last byte that was on disk and repeats what came after.

use super::error::Damage;
use crate::audit::Kind;
use crate::audit::record::Head;
use crate::clock::Timestamp;

pub const HEADER_BYTES: usize = 64;
pub const FRAME_HEAD_BYTES: usize = 8;
/// Frame head, mark, count, time.
pub const SEAL_BYTES: usize = FRAME_HEAD_BYTES + SEAL_PAYLOAD_BYTES;
const SEAL_PAYLOAD_BYTES: usize = 16;
/// Largest payload: a statement of 1 MiB with parameters, many times over.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// Records in one segment, so that the index names few enough; one larger batch may have a segment of its own.
pub const SEGMENT_RECORDS_MAX: u32 = 4_096;

const MAGIC: [u8; 8] = *b"csjrnl\x00\x01";
const NO_SEGMENT: u64 = u64::MAX;
/// Stands where a record has its version.
const SEAL_MARK: [u8; 4] = *b"\x00end";

/// The beginning of a segment file.
/// Shape: magic 8 bytes, lane u16, flags u16 (1: continues), checksum u32 over the header with zeros in its place,
///        segment u64, previous segment u64 (all ones: none), its length that counts u64, first record u64,
///        time of the first record u64, oldest open segment u64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub lane: u16,
    pub segment: u64,
    /// The segment before this one, and how many of its bytes count.
    pub previous: Option<(u64, u64)>,
    /// Number of the first record here; records count from 0 in each lane; texts and values do not count.
    pub first_record: u64,
    /// No record here is older, and none in the segments before is younger.
    pub created: Timestamp,
    /// No attempt in an older segment still waited for its result when this one was begun.
    pub open_from: u64,
    /// It repeats what a failed sync left in doubt, so its attempts may name texts of the segment before.
    pub continues: bool,
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let (previous, previous_end) = self.previous.unwrap_or((NO_SEGMENT, 0));
        let created = u64::try_from(self.created.micros()).unwrap_or(0);
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.lane.to_be_bytes());
        bytes[10..12].copy_from_slice(&u16::from(self.continues).to_be_bytes());
        let numbers = [
            self.segment,
            previous,
            previous_end,
            self.first_record,
            created,
            self.open_from,
        ];
        for (place, number) in bytes[16..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes[12..16].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// With what the chain of frames behind it begins.
    pub fn checksum(&self) -> u32 {
        let bytes = self.encode();
        u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]])
    }

    /// Reads the header and its checksum, with which the chain of frames begins.
    pub fn decode(file: &[u8]) -> Option<(Self, u32)> {
        let bytes: &[u8; HEADER_BYTES] = file.first_chunk()?;
        let mut blank = *bytes;
        blank[12..16].fill(0);
        let checksum = be_u32(bytes, 12)?;
        if bytes[..8] != MAGIC || crc32c::crc32c(&blank) != checksum {
            return None;
        }
        let number = |place: usize| be_u64(bytes, 16 + place * 8);
        let previous = number(1)?;
        let header = Self {
            lane: u16::from_be_bytes([bytes[8], bytes[9]]),
            continues: bytes[11] == 1,
            segment: number(0)?,
            previous: if previous == NO_SEGMENT {
                None
            } else {
                Some((previous, number(2)?))
            },
            first_record: number(3)?,
            created: Timestamp::from_micros(i64::try_from(number(4)?).ok()?),
            open_from: number(5)?,
        };
        // Whoever follows them comes to an end.
        let goes_back = |(before, _): (u64, u64)| before < header.segment;
        header
            .previous
            .is_none_or(goes_back)
            .then_some((header, checksum))
    }
}

/// The name of a segment file.
pub fn file_name(lane: u16, segment: u64) -> String {
    format!("lane-{lane:05}-{segment:012}.seg")
}

/// Reads what `file_name` writes: lane and segment.
pub fn parse_file_name(name: &str) -> Option<(u16, u64)> {
    let (lane, segment) = name
        .strip_prefix("lane-")?
        .strip_suffix(".seg")?
        .split_once('-')?;
    Some((lane.parse().ok()?, segment.parse().ok()?))
}

/// Appends a frame without its checksum: `payload` writes what it holds.
pub fn put_frame(out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
    payload(out);
    let length = out.len() - start - FRAME_HEAD_BYTES;
    let field = u32::try_from(length).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&field.to_be_bytes());
    length
}

/// Fills in the checksums of a row of frames, and gives the last one.
pub fn chain(frames: &mut [u8], before: u32) -> u32 {
    let mut checksum = before;
    let mut rest = frames;
    while let Some((head, behind)) = rest.split_first_chunk_mut::<FRAME_HEAD_BYTES>() {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let (payload, next) = behind.split_at_mut(length);
        checksum = crc32c::crc32c_append(crc32c::crc32c_append(checksum, &head[..4]), payload);
        head[4..].copy_from_slice(&checksum.to_be_bytes());
        rest = next;
    }
    checksum
}

/// The frame that ends a segment: nothing follows it, and all before it was on disk before it was written.
/// Shape of the payload: 0x00 "end", records u32, time of the last record u64.
pub fn seal(before: u32, records: u32, last: Timestamp) -> [u8; SEAL_BYTES] {
    let mut frame = [0; SEAL_BYTES];
    let length = SEAL_PAYLOAD_BYTES as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame[8..12].copy_from_slice(&SEAL_MARK);
    frame[12..16].copy_from_slice(&records.to_be_bytes());
    frame[16..].copy_from_slice(&u64::try_from(last.micros()).unwrap_or(0).to_be_bytes());
    chain(&mut frame, before);
    frame
}

/// Whether the file's last bytes are a seal. Its checksum is not looked at: if the chain before it is broken, the
/// question is only whether the file had been finished.
pub fn ends_with_seal(file: &[u8]) -> bool {
    let seal = file.len().checked_sub(SEAL_BYTES).map(|start| &file[start..]);
    seal.is_some_and(|frame| {
        frame[..4] == (SEAL_PAYLOAD_BYTES as u32).to_be_bytes() && frame[8..12] == SEAL_MARK
    })
}

/// Cuts a segment file into frames.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    file: &'a [u8],
    offset: usize,
    checksum: u32,
}

/// What stands at one place of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    Record {
        offset: usize,
        payload: &'a [u8],
    },
    Seal,
    /// The file ends here, or only zeros follow at first sight.
    End,
    Bad(Damage),
}

impl<'a> Frames<'a> {
    /// The frames behind the header whose checksum this is.
    pub const fn behind_header(file: &'a [u8], header_checksum: u32) -> Self {
        Self::from(file, HEADER_BYTES, header_checksum)
    }

    /// The frames from `offset` on, where the frame before has this checksum.
    pub const fn from(file: &'a [u8], offset: usize, checksum: u32) -> Self {
        Self {
            file,
            offset,
            checksum,
        }
    }

    /// Where the next frame begins; the end of what was cut so far.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// The checksum of the last frame.
    pub const fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Cuts the next frame. At `End` and `Bad` it stays where it is.
    pub fn cut(&mut self) -> Cut<'a> {
        let rest = self.file.get(self.offset..).unwrap_or_default();
        let Some((head, behind)) = rest.split_first_chunk::<FRAME_HEAD_BYTES>() else {
            return if rest.iter().all(|byte| *byte == 0) {
                Cut::End
            } else {
                Cut::Bad(Damage::Length)
            };
        };
        if *head == [0; FRAME_HEAD_BYTES] {
            return Cut::End;
        }
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(payload) = behind.get(..length) else {
            return Cut::Bad(Damage::Length);
        };
        let checksum = crc32c::crc32c_append(crc32c::crc32c_append(self.checksum, &head[..4]), payload);
        if head[4..] != checksum.to_be_bytes() {
            return Cut::Bad(Damage::Checksum);
        }
        let offset = self.offset + FRAME_HEAD_BYTES;
        self.offset = offset + length;
        self.checksum = checksum;
        if payload.starts_with(&SEAL_MARK) {
            Cut::Seal
        } else {
            Cut::Record { offset, payload }
        }
    }
}

/// What stands in a frame: a record, or what is kept beside records and has no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Record,
    /// A statement text, with its hash.
    Text([u8; 32]),
    /// The values of the attempt behind it.
    Values,
}

impl Held {
    /// By the kind in the second byte; a text's hash has a fixed place, as its first field.
    pub fn of(payload: &[u8]) -> Self {
        const TEXT: u8 = Kind::Text as u8;
        const VALUES: u8 = Kind::Values as u8;
        let hash = |payload: &[u8]| payload.get(TEXT_HASH_AT..TEXT_HASH_AT + 32)?.try_into().ok();
        match payload.get(1) {
            Some(&TEXT) => hash(payload).map_or(Self::Record, Self::Text),
            Some(&VALUES) => Self::Values,
            Some(_) | None => Self::Record,
        }
    }
}

/// Entry head, tag, length.
const TEXT_HASH_AT: usize = 12;

/// The time of a record.
pub fn time_of(payload: &[u8]) -> Result<Timestamp, Damage> {
    Ok(Head::cut(payload)?.0.time)
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn be_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
