//! Reads segment files, one at a time and whole, while they may still be written.
//! Never keeps more than one per lane, and tells damage from an end that is not written yet. Read `read.rs` next.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::{Damage, JournalError};
use super::filter::{Said, Wanted};
use super::segment::{self, Cut, Frames, HEADER_BYTES, Header, Held, SEAL_BYTES};
use crate::audit::entry::tag;
use crate::audit::record::{Head, Values};
use crate::audit::{Malformed, Record, RecordId};
use crate::clock::Timestamp;

/// What is looked up by a SHA-256.
pub type BySha256<K, V> = HashMap<K, V, BuildHasherDefault<FirstBytes>>;

/// A SHA-256 is spread evenly as it is, so its first bytes are its hash. Whoever makes two texts alike there makes two
/// steps of one; alike in all eight bytes are no two that anybody has found.
#[derive(Clone, Copy, Debug, Default)]
pub struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 ^= u64::from_ne_bytes(*first);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// One segment of a lane, in memory.
pub struct Segment {
    pub header: Header,
    path: PathBuf,
    bytes: Vec<u8>,
    records: Vec<Range<usize>>,
    /// Values that stand before an attempt, by its place.
    values: HashMap<usize, Range<usize>>,
    texts: BySha256<[u8; 32], Range<usize>>,
    /// Where the good frames end, and the checksum of the last one.
    pub end: usize,
    pub checksum: u32,
    pub is_sealed: bool,
}

/// A segment that is known, but not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub lane: u16,
    pub segment: u64,
    /// How much of it counts; `None` of the last one, which may be growing.
    pub end: Option<u64>,
}

impl Place {
    pub fn path(self, dir: &Path) -> PathBuf {
        dir.join(segment::file_name(self.lane, self.segment))
    }

    /// The segment before the one with this header.
    pub fn before(header: &Header) -> Option<Self> {
        let (segment, end) = header.previous?;
        Some(Self {
            lane: header.lane,
            segment,
            end: Some(end),
        })
    }

    /// The header of this segment. `None` while it is not written; a missing file is an error.
    pub fn header(self, dir: &Path) -> Result<Option<Header>, JournalError> {
        let path = self.path(dir);
        let bytes = read_start(&path).map_err(|cause| JournalError::read(&path, cause))?;
        let header = Header::decode(&bytes).map(|(header, _)| header);
        let is_this = |header: &Header| header.lane == self.lane && header.segment == self.segment;
        match header.filter(is_this) {
            None if self.end.is_some() => Err(JournalError::damaged(&path, 0, Damage::Header)),
            header => Ok(header),
        }
    }

    /// The header of a segment that another one names: it must be there.
    pub fn known_header(self, dir: &Path) -> Result<Header, JournalError> {
        let gap = || JournalError::damaged(&self.path(dir), 0, Damage::Gap(self.segment));
        match self.header(dir) {
            Ok(header) => header.ok_or_else(gap),
            Err(JournalError::Read { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Err(gap()),
            Err(error) => Err(error),
        }
    }

    /// Whether the file ends with a seal.
    pub fn is_sealed(self, dir: &Path) -> Result<bool, JournalError> {
        let path = self.path(dir);
        let end = read_end(&path).map_err(|cause| JournalError::read(&path, cause))?;
        Ok(segment::ends_with_seal(&end))
    }

    /// The last segment of a lane that has begun, given the lane's files, lowest first.
    pub fn last(dir: &Path, lane: u16, numbers: &[u64]) -> Result<Option<(Self, Header)>, JournalError> {
        for segment in numbers.iter().rev() {
            let place = Self {
                lane,
                segment: *segment,
                end: None,
            };
            match place.header(dir) {
                Ok(Some(header)) => return Ok(Some((place, header))),
                Ok(None) => {}
                Err(JournalError::Read { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl Segment {
    /// Reads the segment. Whatever is not whole is damage, except behind the end of the last one.
    pub fn load(dir: &Path, place: Place) -> Result<Self, JournalError> {
        let path = place.path(dir);
        let mut bytes = std::fs::read(&path).map_err(|cause| JournalError::read(&path, cause))?;
        let header = Header::decode(&bytes).map(|(header, _)| header);
        let Some(header) = header else {
            return Err(JournalError::damaged(&path, 0, Damage::Header));
        };
        if let Some(end) = place.end {
            bytes.truncate(usize::try_from(end).unwrap_or(usize::MAX));
        }
        let mut segment = Self {
            header,
            path,
            bytes: Vec::new(),
            records: Vec::new(),
            values: HashMap::new(),
            texts: BySha256::default(),
            end: HEADER_BYTES,
            checksum: header.checksum(),
            is_sealed: false,
        };
        let damage = segment.cut(&bytes);
        segment.bytes = bytes;
        let is_short = place.end.is_some_and(|end| segment.end as u64 != end);
        match damage.or(is_short.then_some(Damage::Length)) {
            Some(what) if place.end.is_some() => {
                Err(JournalError::damaged(&segment.path, segment.end as u64, what))
            }
            Some(_) | None => Ok(segment),
        }
    }

    fn cut(&mut self, bytes: &[u8]) -> Option<Damage> {
        let mut frames = Frames::behind_header(bytes, self.checksum);
        loop {
            match frames.cut() {
                Cut::Record { offset, payload } => {
                    let range = offset..offset + payload.len();
                    match Held::of(payload) {
                        Held::Text(hash) => drop(self.texts.insert(hash, range)),
                        Held::Values => drop(self.values.insert(self.records.len(), range)),
                        Held::Record => self.records.push(range),
                    }
                    self.end = frames.offset();
                    self.checksum = frames.checksum();
                }
                Cut::Seal => {
                    self.is_sealed = true;
                    return None;
                }
                Cut::End => return None,
                Cut::Bad(damage) => return Some(damage),
            }
        }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// The canonical bytes of a record, counted from the segment's first.
    pub fn payload(&self, place: usize) -> Option<&[u8]> {
        self.bytes.get(self.records.get(place)?.clone())
    }

    pub fn id(&self, place: usize) -> RecordId {
        RecordId {
            lane: self.header.lane,
            number: self.header.first_record + place as u64,
        }
    }

    pub fn time(&self, place: usize) -> Result<Timestamp, JournalError> {
        let payload = self.payload(place).unwrap_or_default();
        segment::time_of(payload).map_err(|what| self.damage_at(place, what))
    }

    /// The record with its id and, of an attempt, its statement.
    pub fn record(&self, dir: &Path, place: usize) -> Result<Record, JournalError> {
        let payload = self.payload(place).unwrap_or_default();
        let mut record = Record::decode(payload).map_err(|what| self.malformed(place, what))?;
        record.id = Some(self.id(place));
        if let Some(hash) = record.fields.text_sha256 {
            record.fields.text = self.text(dir, &hash)?;
        }
        if !record.fields.parameters.is_empty() {
            let values = self
                .values_before(place)
                .map_err(|what| self.malformed(place, what))?;
            record
                .fields
                .join(values)
                .map_err(|what| self.malformed(place, what))?;
        }
        Ok(record)
    }

    /// The values that stand before a record.
    fn values_before(&self, place: usize) -> Result<Option<Values>, Malformed> {
        self.values
            .get(&place)
            .map(|range| Values::decode(&self.bytes[range.clone()]))
            .transpose()
    }

    /// The first record that matches, whatever its statement.
    pub fn first(&self, dir: &Path, wanted: &Wanted) -> Result<Option<Record>, JournalError> {
        for place in 0..self.len() {
            let payload = self.payload(place).unwrap_or_default();
            let said = wanted.says(payload).map_err(|what| self.malformed(place, what))?;
            if said != Said::No {
                return self.record(dir, place).map(Some);
            }
        }
        Ok(None)
    }

    pub fn malformed(&self, place: usize, what: Malformed) -> JournalError {
        self.damage_at(place, Damage::Record(what))
    }

    fn damage_at(&self, place: usize, what: Damage) -> JournalError {
        let offset = self.records.get(place).map_or(self.end, |range| range.start);
        JournalError::damaged(&self.path, offset as u64, what)
    }

    /// The text with this hash. A segment that repeats what a failed sync left in doubt leans on the one before.
    pub fn text(&self, dir: &Path, hash: &[u8; 32]) -> Result<Option<Vec<u8>>, JournalError> {
        if let Some(text) = self.text_here(hash)? {
            return Ok(Some(text.to_vec()));
        }
        match Place::before(&self.header) {
            Some(before) if self.header.continues => Self::load(dir, before)?.text(dir, hash),
            Some(_) | None => Ok(None),
        }
    }

    /// The text with this hash, if it stands in this very segment.
    pub fn text_here(&self, hash: &[u8; 32]) -> Result<Option<&[u8]>, JournalError> {
        let Some(range) = self.texts.get(hash) else {
            return Ok(None);
        };
        let damaged = |what| JournalError::damaged(&self.path, range.start as u64, Damage::Record(what));
        let (_, fields) = Head::cut(&self.bytes[range.clone()]).map_err(damaged)?;
        for field in fields {
            let (tag, value) = field.map_err(damaged)?;
            if tag == tag::TEXT {
                return Ok(Some(value));
            }
        }
        Err(damaged(Malformed::Missing(tag::TEXT)))
    }

    /// Where each text stands in the file.
    pub fn texts(&self) -> &BySha256<[u8; 32], Range<usize>> {
        &self.texts
    }
}

fn read_end(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(io::SeekFrom::Start(length.saturating_sub(SEAL_BYTES as u64)))?;
    let mut bytes = Vec::with_capacity(SEAL_BYTES);
    file.take(SEAL_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    std::fs::File::open(path)?
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
