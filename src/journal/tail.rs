//! Follows the end of every lane, across segments that begin and segments that fail.
//! Never gives a record twice and never waits: who follows asks again. Read `index.rs` next.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::{Damage, JournalError};
use super::filter::{LogFilter, PAGE_BYTES_MAX, Said, Wanted};
use super::load::{BySha256, Place, Segment};
use super::recover::list;
use super::segment::{Cut, FRAME_BYTES_MAX, Frames, HEADER_BYTES, Header, Held};
use super::tree::pruned::Pruned;
use crate::audit::record::Values;
use crate::audit::{Record, RecordId};

/// Bytes read at once; more only where one frame is longer.
const CHUNK_BYTES: usize = 256 << 10;

/// Where following begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailFrom {
    Start,
    /// Records that come from now on.
    End,
}

/// Follows the end of every lane.
pub struct Tail {
    dir: PathBuf,
    wanted: Wanted,
    lanes: BTreeMap<u16, LaneTail>,
    /// Files of each lane, and when the folder was last seen to change.
    files: BTreeMap<u16, Vec<u64>>,
    changed: Option<SystemTime>,
}

impl Tail {
    pub(super) fn start(dir: &Path, from: TailFrom, filter: &LogFilter) -> Result<Self, JournalError> {
        let mut tail = Self {
            dir: dir.to_owned(),
            wanted: filter.wanted(),
            lanes: BTreeMap::new(),
            files: BTreeMap::new(),
            changed: None,
        };
        if from == TailFrom::End {
            tail.files = list(dir)?;
            for (lane, numbers) in &tail.files {
                if let Some((place, _)) = Place::last(dir, *lane, numbers)? {
                    tail.lanes
                        .insert(*lane, LaneTail::at_end(&Segment::load(dir, place)?));
                }
            }
        }
        Ok(tail)
    }

    /// What has come since the last call, of each lane oldest first, about `records_max` at most. Empty: nothing yet,
    /// ask again in a while.
    pub fn next_batch(&mut self, records_max: usize) -> Result<Vec<Record>, JournalError> {
        self.look_for_files()?;
        let lanes = self.files.len().max(1);
        let mut batch = Batch {
            records: Vec::new(),
            bytes: 0,
            records_max: 0,
            bytes_max: 0,
        };
        for (lane, numbers) in &self.files {
            let tail = match self.lanes.get_mut(lane) {
                Some(tail) => tail,
                None => match LaneTail::at_start(&self.dir, *lane, numbers)? {
                    Some(tail) => self.lanes.entry(*lane).or_insert(tail),
                    None => continue,
                },
            };
            batch.records_max = batch.records.len() + (records_max / lanes).max(1);
            batch.bytes_max = batch.bytes + PAGE_BYTES_MAX / lanes;
            tail.read(&self.dir, numbers, &self.wanted, &mut batch)?;
        }
        batch.records.sort_by_key(|record| (record.time, record.id));
        Ok(batch.records)
    }

    fn look_for_files(&mut self) -> Result<(), JournalError> {
        let failed = |cause| JournalError::read(&self.dir, cause);
        let changed = std::fs::metadata(&self.dir)
            .and_then(|folder| folder.modified())
            .map_err(failed)?;
        // A second file within the same tick of the file system's clock would go unseen, so a fresh change is looked
        // at again.
        let is_fresh = changed.elapsed().is_ok_and(|age| age.as_millis() < 100);
        if self.changed != Some(changed) || is_fresh {
            self.files = list(&self.dir)?;
            self.changed = Some(changed);
        }
        Ok(())
    }
}

/// What one call gives, and how far the lane that is read may fill it.
struct Batch {
    records: Vec<Record>,
    bytes: usize,
    records_max: usize,
    bytes_max: usize,
}

impl Batch {
    const fn has_room(&self) -> bool {
        self.records.len() < self.records_max && self.bytes < self.bytes_max
    }

    fn push(&mut self, record: Record) {
        self.bytes += record.fields.bytes();
        self.records.push(record);
    }
}

/// How far one lane has been read.
struct LaneTail {
    header: Header,
    file: Option<File>,
    offset: usize,
    checksum: u32,
    /// The next frame's number, and the next one that has not been given.
    number: u64,
    next: u64,
    texts: BySha256<[u8; 32], Range<usize>>,
    /// Values read last; they belong to the record behind them.
    values: Option<Vec<u8>>,
}

/// Why reading a segment stopped.
enum Stop {
    /// The share is given; there may be more.
    Share,
    Seal,
    /// Nothing readable follows.
    End(Option<Damage>),
}

impl LaneTail {
    fn at_end(segment: &Segment) -> Self {
        let number = segment.header.first_record + segment.len() as u64;
        Self {
            offset: segment.end,
            checksum: segment.checksum,
            number,
            next: number,
            texts: segment.texts().clone(),
            values: None,
            ..Self::at(segment.header)
        }
    }

    fn at_start(dir: &Path, lane: u16, numbers: &[u64]) -> Result<Option<Self>, JournalError> {
        let Some((_, mut header)) = Place::last(dir, lane, numbers)? else {
            return Ok(None);
        };
        let pruned = Pruned::of(dir)?;
        while let Some(before) = pruned.before(&header) {
            header = before.known_header(dir)?;
        }
        let next = header.first_record.max(pruned.begin(lane).record);
        Ok(Some(Self {
            next,
            ..Self::at(header)
        }))
    }

    fn at(header: Header) -> Self {
        Self {
            header,
            file: None,
            offset: HEADER_BYTES,
            checksum: header.checksum(),
            number: header.first_record,
            next: header.first_record,
            texts: BySha256::default(),
            values: None,
        }
    }

    fn place(&self) -> Place {
        Place {
            lane: self.header.lane,
            segment: self.header.segment,
            end: None,
        }
    }

    /// Fills the lane's share of the batch, going on from segment to segment.
    fn read(
        &mut self,
        dir: &Path,
        numbers: &[u64],
        wanted: &Wanted,
        batch: &mut Batch,
    ) -> Result<(), JournalError> {
        loop {
            let stop = self.read_segment(dir, wanted, batch)?;
            let is_last = numbers.last().is_none_or(|last| *last <= self.header.segment);
            if matches!(stop, Stop::Share) || is_last {
                return Ok(());
            }
            let Some((end, header)) = self.successor(dir, numbers)? else {
                return Ok(());
            };
            match stop {
                Stop::End(None) if (self.offset as u64) < end => return Ok(()),
                Stop::End(Some(what)) if (self.offset as u64) < end => {
                    return Err(JournalError::damaged(
                        &self.place().path(dir),
                        self.offset as u64,
                        what,
                    ));
                }
                Stop::Share | Stop::Seal | Stop::End(_) => {
                    let next = self.next;
                    *self = Self {
                        next,
                        ..Self::at(header)
                    };
                }
            }
        }
    }

    /// The segment that follows in the chain, and how much of this one counts. This one may itself have been left
    /// aside; then nothing of it counts.
    fn successor(&self, dir: &Path, numbers: &[u64]) -> Result<Option<(u64, Header)>, JournalError> {
        let mut next = Place::last(dir, self.header.lane, numbers)?.map(|(_, header)| header);
        while let Some(header) = next {
            match header.previous {
                Some((previous, end)) if previous == self.header.segment => return Ok(Some((end, header))),
                Some((previous, _)) if previous < self.header.segment => {
                    return Ok((header.segment > self.header.segment).then_some((0, header)));
                }
                Some((segment, end)) => {
                    let before = Place {
                        lane: header.lane,
                        segment,
                        end: Some(end),
                    };
                    next = Some(before.known_header(dir)?);
                }
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    fn read_segment(&mut self, dir: &Path, wanted: &Wanted, batch: &mut Batch) -> Result<Stop, JournalError> {
        let path = self.place().path(dir);
        let failed = |cause| JournalError::read(&path, cause);
        let mut bytes_max = CHUNK_BYTES;
        loop {
            if self.file.is_none() {
                self.file = Some(File::open(&path).map_err(failed)?);
            }
            let Some(file) = &self.file else {
                return Ok(Stop::End(None));
            };
            let chunk = read_at(file, self.offset, bytes_max).map_err(failed)?;
            let before = self.offset;
            let stop = self.cut(dir, &chunk, wanted, batch)?;
            match stop {
                Stop::End(_) if chunk.len() < bytes_max => return Ok(stop),
                Stop::End(None) if self.offset == before => return Ok(stop),
                Stop::End(_) if self.offset > before => bytes_max = CHUNK_BYTES,
                Stop::End(Some(Damage::Length)) if bytes_max < 2 * FRAME_BYTES_MAX => bytes_max *= 2,
                Stop::End(_) | Stop::Share | Stop::Seal => return Ok(stop),
            }
        }
    }

    fn cut(
        &mut self,
        dir: &Path,
        chunk: &[u8],
        wanted: &Wanted,
        batch: &mut Batch,
    ) -> Result<Stop, JournalError> {
        let start = self.offset;
        let mut frames = Frames::from(chunk, 0, self.checksum);
        while batch.has_room() {
            match frames.cut() {
                Cut::Record { offset, payload } => {
                    let range = start + offset..start + offset + payload.len();
                    self.take(dir, range, payload, wanted, batch)?;
                    self.offset = start + frames.offset();
                    self.checksum = frames.checksum();
                }
                Cut::Seal => return Ok(Stop::Seal),
                Cut::End => return Ok(Stop::End(None)),
                Cut::Bad(damage) => return Ok(Stop::End(Some(damage))),
            }
        }
        Ok(Stop::Share)
    }

    fn take(
        &mut self,
        dir: &Path,
        range: Range<usize>,
        payload: &[u8],
        wanted: &Wanted,
        batch: &mut Batch,
    ) -> Result<(), JournalError> {
        match Held::of(payload) {
            Held::Record => {}
            Held::Text(hash) => {
                self.texts.insert(hash, range);
                return Ok(());
            }
            Held::Values => {
                self.values = Some(payload.to_vec());
                return Ok(());
            }
        }
        let values = self.values.take();
        let number = self.number;
        self.number += 1;
        // What a failed sync left in doubt stands once more in the next segment, under the same numbers.
        if number < self.next {
            return Ok(());
        }
        self.next = self.number;
        let path = self.place().path(dir);
        let malformed = |what| JournalError::damaged(&path, range.start as u64, Damage::Record(what));
        let said = wanted.says(payload).map_err(malformed)?;
        if said == Said::No {
            return Ok(());
        }
        let mut record = Record::decode(payload).map_err(malformed)?;
        record.id = Some(RecordId {
            lane: self.header.lane,
            number,
        });
        if let Some(hash) = record.fields.text_sha256 {
            record.fields.text = self.text(dir, &hash)?;
        }
        let values = values
            .map(|values| Values::decode(&values))
            .transpose()
            .map_err(malformed)?;
        record.fields.join(values).map_err(malformed)?;
        if said == Said::Yes || wanted.takes_text(record.fields.text.as_deref()) {
            batch.push(record);
        }
        Ok(())
    }

    fn text(&self, dir: &Path, hash: &[u8; 32]) -> Result<Option<Vec<u8>>, JournalError> {
        let path = self.place().path(dir);
        if let (Some(range), Some(file)) = (self.texts.get(hash), &self.file) {
            let mut payload = vec![0; range.len()];
            let read = file.read_exact_at(&mut payload, range.start as u64);
            read.map_err(|cause| JournalError::read(&path, cause))?;
            let record = Record::decode(&payload)
                .map_err(|what| JournalError::damaged(&path, range.start as u64, Damage::Record(what)))?;
            return Ok(record.fields.text);
        }
        match Place::before(&self.header) {
            Some(before) if self.header.continues => Segment::load(dir, before)?.text(dir, hash),
            Some(_) | None => Ok(None),
        }
    }
}

fn read_at(file: &File, offset: usize, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; bytes_max];
    let mut filled = 0;
    while filled < bytes_max {
        match file.read_at(&mut bytes[filled..], (offset + filled) as u64)? {
            0 => break,
            more => filled += more,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
