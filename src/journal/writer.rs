//! Appends records to one lane: encode, frame, one write, all by the calling thread.
//! Never syncs, and never loses a result that was staged: what fails is tried again in a new segment.
//! Read `sync.rs` next, which puts what is written here on disk.
//!
//! Why the tail is kept in memory until it is on disk: after a failed sync the kernel may drop the pages and say
//! nothing more, so the file is not trusted any further and the tail is written once more, into a new segment.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::error::JournalError;
use super::segment::{
    self, FRAME_BYTES_MAX, FRAME_HEAD_BYTES, HEADER_BYTES, Header, Held, SEAL_BYTES, SEGMENT_RECORDS_MAX,
};
use super::{Position, Settings};
use crate::audit::entry::encode_text;
use crate::audit::{Body, Entry};
use crate::clock::Timestamp;
use crate::identity::principal::AttemptId;

/// Results that wait for the next append. More are dropped: their attempts get `result unknown` at the next start.
const STAGED_BYTES_MAX: usize = 8 << 20;

/// What is on disk leaves the memory of the tail in steps of at least this, to move the rest seldom.
const DRAIN_BYTES_MIN: usize = 1 << 20;

/// Attempts without a result that a lane remembers; beyond, it remembers only the oldest segment concerned.
const OPEN_ATTEMPTS_MAX: usize = 1 << 16;

/// The writing end of one lane.
pub struct Writer {
    lane: u16,
    dir: PathBuf,
    segment_bytes: u64,
    disk: Disk,
    open: Option<OpenSegment>,
    /// Texts in the open segment; empty without one.
    texts: HashSet<[u8; 32]>,
    /// Frames that are written and perhaps not on disk, and where they begin.
    tail: Vec<u8>,
    tail_start: u64,
    /// Segments that are not, or not wholly, on disk; the last one is the open one, if one is open.
    pieces: VecDeque<Piece>,
    /// The last segment that takes no more records, and its length.
    previous: Option<(u64, u64)>,
    durable: Durable,
    /// A sync failed: the tail goes into a new segment before anything else.
    in_doubt: bool,
    next_segment: u64,
    next_record: u64,
    last_time: Timestamp,
    staged: Vec<u8>,
    staged_results: Vec<AttemptId>,
    attempts: OpenAttempts,
}

/// How a lane begins: empty, or as `recover.rs` found it.
#[derive(Clone, Debug)]
pub struct LaneStart {
    pub next_segment: u64,
    pub next_record: u64,
    pub last_time: Timestamp,
    /// The last segment, and its length.
    pub previous: Option<(u64, u64)>,
    /// Attempts without a result, and the segment of each.
    pub attempts: HashMap<AttemptId, u64>,
}

impl Piece {
    /// The frame that ends the segment.
    pub fn seal(&self) -> [u8; SEAL_BYTES] {
        segment::seal(self.checksum, self.count, self.last_time)
    }
}

impl LaneStart {
    pub fn empty() -> Self {
        Self {
            next_segment: 0,
            next_record: 0,
            last_time: Timestamp::from_micros(0),
            previous: None,
            attempts: HashMap::new(),
        }
    }
}

/// Up to where a lane is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Bytes of frames since the journal was opened, counted once even if they were written twice.
    pub sequence: u64,
    /// Segment and its length.
    pub place: Option<(u64, u64)>,
    /// Records since the lane began.
    pub records: u64,
}

/// What an append wrote.
#[derive(Clone, Copy, Debug)]
pub struct Appended {
    pub position: Position,
    /// Number of the last record.
    pub record: u64,
    pub sequence: u64,
}

struct OpenSegment {
    file: Arc<DiskFile>,
    number: u64,
    end: u64,
    capacity: u64,
    checksum: u32,
    records: u32,
}

/// One segment that the sync thread still has work with.
#[derive(Clone)]
pub struct Piece {
    pub file: Arc<DiskFile>,
    pub number: u64,
    /// Length of header and frames.
    pub end: u64,
    /// `Durable::sequence` once this is on disk.
    pub sequence: u64,
    /// `Durable::records` once this is on disk.
    pub records: u64,
    /// What the seal says: records here, time of the last one, checksum before it.
    count: u32,
    last_time: Timestamp,
    checksum: u32,
    /// It takes no more records.
    pub is_closed: bool,
    /// Its name is not on disk.
    pub is_new: bool,
}

impl Writer {
    pub fn new(lane: u16, settings: &Settings, disk: Disk, start: LaneStart) -> Self {
        Self {
            lane,
            dir: settings.dir.clone(),
            segment_bytes: settings.segment_bytes,
            disk,
            open: None,
            texts: HashSet::new(),
            tail: Vec::new(),
            tail_start: 0,
            pieces: VecDeque::new(),
            previous: start.previous,
            durable: Durable {
                sequence: 0,
                place: start.previous,
                records: start.next_record,
            },
            in_doubt: false,
            next_segment: start.next_segment,
            next_record: start.next_record,
            last_time: start.last_time,
            staged: Vec::new(),
            staged_results: Vec::new(),
            attempts: OpenAttempts {
                by_id: start.attempts,
                floor: u64::MAX,
            },
        }
    }

    /// Writes what is staged, then the entries, with one write.
    pub fn append(&mut self, entries: &[Entry<'_>]) -> Result<Appended, JournalError> {
        self.settle()?;
        self.forget_durable(DRAIN_BYTES_MIN);
        let start = self.tail.len();
        let written = self.write(start, entries);
        if written.is_err() {
            self.tail.truncate(start);
            if self.open.is_none() {
                self.texts.clear();
            }
        }
        written
    }

    pub fn stage(&mut self, entry: &Entry<'_>) {
        if self.staged.len() >= STAGED_BYTES_MAX {
            tracing::error!(
                lane = self.lane,
                "a result is dropped: too many wait for the journal"
            );
            return;
        }
        let time = self.tick(entry.time);
        let seal = entry.seal(rand::random);
        if let (Some(text), Some(hash)) = (entry.text(), &seal.text_sha256) {
            segment::put_frame(&mut self.staged, |out| encode_text(time, hash, text, out));
        }
        if let Some(values) = entry.values(&seal) {
            segment::put_frame(&mut self.staged, |out| values.encode(time, out));
        }
        segment::put_frame(&mut self.staged, |out| entry.encode(time, &seal, out));
        if let Body::Outcome(outcome) = &entry.body {
            self.staged_results.push(outcome.attempt);
        }
    }

    pub const fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Repeats in a new segment what a failed sync left in doubt; nothing else is accepted before.
    pub fn settle(&mut self) -> Result<(), JournalError> {
        if !self.in_doubt {
            return Ok(());
        }
        self.forget_durable(0);
        if !self.tail.is_empty() {
            let (records, texts) = survey(&self.tail);
            self.begin_segment(0, self.next_record - u64::from(records), true)?;
            self.put_on_file(0, records)?;
            self.texts = texts;
        }
        self.in_doubt = false;
        Ok(())
    }

    /// Ends the open segment if it is this one; the sync thread seals it.
    pub fn end_segment(&mut self, number: u64) -> Result<(), JournalError> {
        self.settle()?;
        if self.open.as_ref().is_some_and(|open| open.number == number) {
            self.close_segment();
        }
        Ok(())
    }

    /// Makes sure that the next record has a place to go to.
    pub fn prepare(&mut self) -> Result<(), JournalError> {
        self.settle()?;
        if self.has_staged() {
            return self.append(&[]).map(drop);
        }
        match self.open {
            Some(_) => Ok(()),
            None => self.begin_segment(self.tail.len(), self.next_record, false),
        }
    }

    /// Bytes that are perhaps not on disk.
    pub fn bytes_in_doubt(&mut self) -> u64 {
        self.forget_durable(DRAIN_BYTES_MIN);
        self.tail_start + self.tail.len() as u64 - self.durable.sequence
    }

    /// What the sync thread has to do, in order.
    pub fn pieces(&self) -> Vec<Piece> {
        let has_work =
            |piece: &&Piece| piece.is_closed || piece.is_new || piece.sequence > self.durable.sequence;
        self.pieces.iter().filter(has_work).cloned().collect()
    }

    pub const fn durable(&self) -> Durable {
        self.durable
    }

    /// The piece is on disk as it was when `pieces` gave it.
    pub fn is_synced(&mut self, piece: &Piece) {
        let Some(place) = self.pieces.iter().position(|known| known.number == piece.number) else {
            return;
        };
        self.pieces[place].is_new = false;
        self.durable = Durable {
            sequence: piece.sequence,
            place: Some((piece.number, piece.end)),
            records: piece.records,
        };
        if piece.is_closed {
            self.pieces.remove(place);
        }
    }

    /// A sync failed: no file that is not wholly on disk is touched again.
    pub fn distrust(&mut self) {
        self.pieces.clear();
        self.open = None;
        self.texts.clear();
        self.previous = self.durable.place;
        self.in_doubt = true;
    }

    fn write(&mut self, start: usize, entries: &[Entry<'_>]) -> Result<Appended, JournalError> {
        let mut records = self.encode(start, entries)?;
        if self.tail.len() > start {
            if !self.has_room(self.tail.len() - start, records) {
                self.tail.truncate(start);
                self.close_segment();
                records = self.encode(start, entries)?;
                self.begin_segment(start, self.next_record, false)?;
            }
            self.put_on_file(start, records)?;
            self.next_record += u64::from(records);
            self.note_attempts(entries);
            self.staged.clear();
        }
        Ok(self.appended())
    }

    /// Puts frames behind the tail: what is staged, then the entries, each text that the segment lacks before its
    /// first use.
    fn encode(&mut self, start: usize, entries: &[Entry<'_>]) -> Result<u32, JournalError> {
        let mut records = 0;
        for frame in frames_of(&self.staged) {
            match Held::of(&frame[FRAME_HEAD_BYTES..]) {
                Held::Text(hash) if !self.texts.insert(hash) => {}
                Held::Text(_) | Held::Values => self.tail.extend_from_slice(frame),
                Held::Record => {
                    self.tail.extend_from_slice(frame);
                    records += 1;
                }
            }
        }
        for entry in entries {
            let time = self.tick(entry.time);
            let seal = entry.seal(rand::random);
            let mut length = 0;
            if let (Some(text), Some(hash)) = (entry.text(), &seal.text_sha256)
                && self.texts.insert(*hash)
            {
                length = segment::put_frame(&mut self.tail, |out| encode_text(time, hash, text, out));
            }
            if let Some(values) = entry.values(&seal) {
                let kept = segment::put_frame(&mut self.tail, |out| values.encode(time, out));
                length = length.max(kept);
            }
            let record = segment::put_frame(&mut self.tail, |out| entry.encode(time, &seal, out));
            let bytes = length.max(record);
            if bytes > FRAME_BYTES_MAX {
                self.tail.truncate(start);
                // The set may name texts now that are not in the segment, so the segment ends here.
                self.close_segment();
                return Err(JournalError::TooLarge {
                    bytes,
                    bytes_max: FRAME_BYTES_MAX,
                });
            }
            records += 1;
        }
        Ok(records)
    }

    fn has_room(&self, bytes: usize, records: u32) -> bool {
        self.open.as_ref().is_some_and(|open| {
            let is_full = open.records > 0 && open.records.saturating_add(records) > SEGMENT_RECORDS_MAX;
            !is_full && open.end + bytes as u64 + SEAL_BYTES as u64 <= open.capacity
        })
    }

    /// Makes the segment file for the frames that stand in the tail from `start` on.
    fn begin_segment(
        &mut self,
        start: usize,
        first_record: u64,
        continues: bool,
    ) -> Result<(), JournalError> {
        let number = self.next_segment;
        let frames = &self.tail[start..];
        let header = Header {
            lane: self.lane,
            segment: number,
            previous: self.previous,
            first_record,
            created: frames_of(frames)
                .next()
                .and_then(time_of_frame)
                .unwrap_or(self.last_time),
            open_from: self.attempts.oldest_segment().min(number),
            continues,
        };
        let capacity = self
            .segment_bytes
            .max((HEADER_BYTES + frames.len() + SEAL_BYTES) as u64);
        let path = self.dir.join(segment::file_name(self.lane, number));
        let file = self.make_file(&path, &header, capacity).map_err(|cause| {
            if cause.kind() == io::ErrorKind::AlreadyExists {
                // Left behind by an attempt that failed and could not be removed; nothing refers to it.
                self.next_segment += 1;
            }
            JournalError::write(&path, cause)
        })?;
        let file = Arc::new(file);
        let end = HEADER_BYTES as u64;
        let checksum = header.checksum();
        self.next_segment += 1;
        self.pieces.push_back(Piece {
            file: Arc::clone(&file),
            number,
            end,
            sequence: self.tail_start + start as u64,
            records: first_record,
            count: 0,
            last_time: self.last_time,
            checksum,
            is_closed: false,
            is_new: true,
        });
        self.open = Some(OpenSegment {
            file,
            number,
            end,
            capacity,
            checksum,
            records: 0,
        });
        Ok(())
    }

    fn make_file(&self, path: &Path, header: &Header, capacity: u64) -> io::Result<DiskFile> {
        let file = self.disk.create(path)?;
        let filled = self.disk.allocate(&file, capacity);
        let written = filled.and_then(|()| self.disk.write_at(&file, &header.encode(), 0));
        if let Err(cause) = written {
            remove(path);
            return Err(cause);
        }
        Ok(file)
    }

    /// Writes the tail from `start` on into the open segment.
    fn put_on_file(&mut self, start: usize, records: u32) -> Result<(), JournalError> {
        let (Some(open), Some(piece)) = (&mut self.open, self.pieces.back_mut()) else {
            return Err(JournalError::Closed);
        };
        let frames = &mut self.tail[start..];
        let checksum = segment::chain(frames, open.checksum);
        if let Err(cause) = self.disk.write_at(&open.file, frames, open.end) {
            let failed = JournalError::write(open.file.path(), cause);
            self.give_up_segment();
            return Err(failed);
        }
        open.checksum = checksum;
        open.end += frames.len() as u64;
        open.records += records;
        piece.end = open.end;
        piece.sequence = self.tail_start + self.tail.len() as u64;
        piece.records += u64::from(records);
        piece.count = open.records;
        piece.checksum = checksum;
        piece.last_time = self.last_time;
        Ok(())
    }

    /// A write failed, so what stands behind the last good frame is unknown and must not be read as records.
    fn give_up_segment(&mut self) {
        if let Some(open) = &self.open
            && let Err(cause) = self.disk.truncate(&open.file, open.end)
        {
            tracing::warn!(file = %open.file.path().display(), %cause, "a broken segment could not be cut");
        }
        self.close_segment();
    }

    /// The open segment takes no more records; the sync thread seals it.
    fn close_segment(&mut self) {
        self.texts.clear();
        let Some(open) = self.open.take() else {
            return;
        };
        let Some(piece) = self.pieces.back_mut() else {
            return;
        };
        if open.records == 0 && piece.is_new {
            self.pieces.pop_back();
            remove(open.file.path());
            return;
        }
        piece.is_closed = true;
        self.previous = Some((open.number, open.end));
    }

    fn note_attempts(&mut self, entries: &[Entry<'_>]) {
        let number = self.open.as_ref().map_or(self.next_segment, |open| open.number);
        self.staged_results
            .drain(..)
            .for_each(|id| self.attempts.has_result(id));
        for entry in entries {
            if let Body::Attempt(attempt) = &entry.body
                && awaits_result(attempt.verdict, attempt.request)
            {
                self.attempts.begins(attempt.id, number);
            }
            if let Body::Outcome(outcome) = &entry.body {
                self.attempts.has_result(outcome.attempt);
            }
        }
    }

    fn appended(&self) -> Appended {
        let open = self.open.as_ref().map(|open| (open.number, open.end));
        let (segment, offset) = open.or(self.previous).unwrap_or((self.next_segment, 0));
        Appended {
            position: Position {
                lane: self.lane,
                segment,
                offset,
            },
            record: self.next_record.saturating_sub(1),
            sequence: self.tail_start + self.tail.len() as u64,
        }
    }

    /// Drops what is on disk from the front of the tail, if that is worth moving the rest.
    fn forget_durable(&mut self, bytes_min: usize) {
        let on_disk = usize::try_from(self.durable.sequence - self.tail_start).unwrap_or(usize::MAX);
        if on_disk == self.tail.len() {
            self.tail.clear();
        } else if on_disk >= bytes_min {
            self.tail.drain(..on_disk);
        } else {
            return;
        }
        self.tail_start = self.durable.sequence;
    }

    fn tick(&mut self, time: Timestamp) -> Timestamp {
        self.last_time = self.last_time.max(time);
        self.last_time
    }
}

/// Whether an attempt must be followed by a result in the same lane. A held one is the desk's to account for, from the
/// store; a denied one is never sent.
pub fn awaits_result(verdict: &str, request: Option<&str>) -> bool {
    verdict == "allow" && request.is_none()
}

/// Attempts without a result, and where the oldest of them stands.
struct OpenAttempts {
    by_id: HashMap<AttemptId, u64>,
    /// Of attempts that found no room: the search for them begins here.
    floor: u64,
}

impl OpenAttempts {
    fn begins(&mut self, id: AttemptId, segment: u64) {
        if self.by_id.len() < OPEN_ATTEMPTS_MAX {
            self.by_id.insert(id, segment);
        } else {
            self.floor = self.floor.min(segment);
        }
    }

    fn has_result(&mut self, id: AttemptId) {
        self.by_id.remove(&id);
    }

    fn oldest_segment(&self) -> u64 {
        self.by_id
            .values()
            .copied()
            .min()
            .unwrap_or(u64::MAX)
            .min(self.floor)
    }
}

/// Cuts a row of frames that this module made, heads included.
fn frames_of(frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let head = rest.first_chunk::<FRAME_HEAD_BYTES>()?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let (frame, behind) = rest.split_at_checked(FRAME_HEAD_BYTES + length)?;
        rest = behind;
        Some(frame)
    })
}

fn time_of_frame(frame: &[u8]) -> Option<Timestamp> {
    segment::time_of(&frame[FRAME_HEAD_BYTES..]).ok()
}

/// How many records stand in a row of frames, and which texts.
fn survey(frames: &[u8]) -> (u32, HashSet<[u8; 32]>) {
    let mut records = 0;
    let mut texts = HashSet::new();
    for frame in frames_of(frames) {
        match Held::of(&frame[FRAME_HEAD_BYTES..]) {
            Held::Text(hash) => {
                texts.insert(hash);
            }
            Held::Values => {}
            Held::Record => records += 1,
        }
    }
    (records, texts)
}

fn remove(path: &Path) {
    if let Err(cause) = std::fs::remove_file(path) {
        tracing::warn!(file = %path.display(), %cause, "a segment without records could not be removed");
    }
}
