//! Takes the parameter values of one attempt off the disk. Its record stays, and everything that is proved of it: the record
//! holds commitments to the values (`audit/value.rs`), and a segment's frames keep their lengths.
//! Never touches a segment that is still written or not signed whole, and never leaves half of one. Read `segment.rs` for
//! the frames.
//!
//! Why the whole segment is written anew: the checksum of a frame is chained to the one before. It is written beside the old
//! one and takes its name once it is on disk, so whoever reads it meanwhile has the one or the other.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::error::{Damage, JournalError};
use super::load::{Place, Segment};
use super::segment::{self, Cut, Frames, HEADER_BYTES, Header, Held, SEAL_BYTES};
use super::tree::proof::{last_checkpoint, leaf_under};
use super::{Journal, Reader};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::entry::erased_values;
use crate::audit::{Kind, Record, RecordId};

/// How long the segment may take to be sealed: one sync.
const SEALED_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Segments are rewritten one at a time.
static REWRITING: Mutex<()> = Mutex::new(());

/// Why values cannot be erased.
#[derive(Debug, thiserror::Error)]
pub enum NotErased {
    #[error("there is no record `{0}`")]
    Unknown(RecordId),
    #[error("record `{0}` has no parameter values, or they are erased already")]
    NoValues(RecordId),
    #[error("record `{0}` was just written, and is not under a checkpoint yet")]
    Unsigned(RecordId),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl NotErased {
    /// One imperative sentence for the person who reads the error.
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Unknown(_) | Self::NoValues(_) => "take the id of an attempt from `log query kind=attempt`",
            Self::Unsigned(_) => "try again in a minute or two",
            Self::Journal(error) => error.next_step(),
        }
    }
}

impl Journal {
    /// The attempt whose values can be erased now. Ends its segment first, if that is still written.
    pub fn erasable(&self, id: RecordId) -> Result<Record, NotErased> {
        let reader = self.reader();
        let found = place_of(&reader, id)?;
        let record = kept(reader.dir(), found, id)?;
        self.end_segment(reader.dir(), found)?;
        let segment = Segment::load(reader.dir(), place_of(&reader, id)?)?;
        let last = segment.header.first_record + (segment.len() as u64).saturating_sub(1);
        let last = RecordId {
            lane: id.lane,
            number: last,
        };
        let note = last_checkpoint(reader.dir())?;
        let signed = note.and_then(|note| Checkpoint::unverified(&note));
        // The keeper has read the segment to its end, and does not look back.
        let is_signed = leaf_under(reader.dir(), last, signed.map_or(0, |signed| signed.size))?.is_some();
        match is_signed {
            true => Ok(record),
            false => Err(NotErased::Unsigned(id)),
        }
    }

    /// Erases the values of an attempt that `erasable` gave.
    pub fn erase(&self, id: RecordId) -> Result<(), NotErased> {
        let _alone = REWRITING
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let reader = self.reader();
        let found = place_of(&reader, id)?;
        let path = found.path(reader.dir());
        let mut bytes = std::fs::read(&path).map_err(|cause| JournalError::read(&path, cause))?;
        if let Some(end) = found.end {
            let end = usize::try_from(end).unwrap_or(usize::MAX);
            // What stands behind what counts was left there by a sync that failed, and may hold the values again.
            if bytes.len() != end.saturating_add(SEAL_BYTES) {
                bytes.truncate(end);
            }
        }
        let damaged = |(offset, what)| JournalError::damaged(&path, offset, what);
        if !erase_in(&mut bytes, id.number).map_err(damaged)? {
            return Err(NotErased::NoValues(id));
        }
        replace(&path, &bytes).map_err(|cause| JournalError::write(&path, cause))?;
        cut_what_was_repeated(reader.dir(), &bytes)?;
        Ok(())
    }

    /// Ends the segment if this process still writes it, and waits until it is sealed.
    fn end_segment(&self, dir: &Path, place: Place) -> Result<(), JournalError> {
        if place.end.is_some() || place.is_sealed(dir)? {
            return Ok(());
        }
        self.owner.shared.end_segment(place.lane, place.segment)?;
        let started = Instant::now();
        while !place.is_sealed(dir)? {
            if started.elapsed() > SEALED_WITHIN {
                return Err(JournalError::Stalled {
                    bytes: 0,
                    seconds: SEALED_WITHIN.as_secs(),
                });
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

/// The segment that holds a record.
fn place_of(reader: &Reader, id: RecordId) -> Result<Place, NotErased> {
    let found = reader.find(id)?;
    found.map(|(place, _, _)| place).ok_or(NotErased::Unknown(id))
}

/// The attempt of this id, with values that are still there.
fn kept(dir: &Path, place: Place, id: RecordId) -> Result<Record, NotErased> {
    let segment = Segment::load(dir, place)?;
    let at = usize::try_from(id.number - segment.header.first_record).unwrap_or(usize::MAX);
    if at >= segment.len() {
        return Err(NotErased::Unknown(id));
    }
    let record = segment.record(dir, at)?;
    let has_values = record
        .fields
        .parameters
        .iter()
        .any(|parameter| parameter.salt.is_some());
    if record.kind == Kind::Attempt && has_values {
        Ok(record)
    } else {
        Err(NotErased::NoValues(id))
    }
}

/// Erases the values before the record of this number, and chains the checksums anew. `false`: there are none.
/// Errors: where the segment is damaged.
fn erase_in(bytes: &mut [u8], number: u64) -> Result<bool, (u64, Damage)> {
    let (header, checksum) = Header::decode(bytes).ok_or((0, Damage::Header))?;
    let mut frames = Frames::behind_header(bytes, checksum);
    let (mut next, mut values, mut found) = (header.first_record, None, None);
    let end = loop {
        match frames.cut() {
            Cut::Record { offset, payload } => match Held::of(payload) {
                Held::Values => values = Some(offset..offset + payload.len()),
                Held::Text(_) => {}
                Held::Record => {
                    if next == number {
                        found = values.take();
                    }
                    values = None;
                    next += 1;
                }
            },
            Cut::Seal | Cut::End => break frames.offset(),
            Cut::Bad(what) => return Err((frames.offset() as u64, what)),
        }
    };
    let Some(range) = found else {
        return Ok(false);
    };
    let offset = range.start as u64;
    let erased = erased_values(&bytes[range.clone()]).map_err(|what| (offset, Damage::Record(what)))?;
    bytes[range].copy_from_slice(&erased);
    segment::chain(&mut bytes[HEADER_BYTES..end], checksum);
    Ok(true)
}

/// A segment that repeats what a failed sync left in doubt has the values twice: the segment before holds them behind the end
/// that counts.
fn cut_what_was_repeated(dir: &Path, segment: &[u8]) -> Result<(), JournalError> {
    let header = Header::decode(segment).map(|(header, _)| header);
    let Some(header) = header.filter(|header| header.continues) else {
        return Ok(());
    };
    let Some(before) = Place::before(&header) else {
        return Ok(());
    };
    let path = before.path(dir);
    let cut = File::options().write(true).open(&path).and_then(|file| {
        let (length, end) = (file.metadata()?.len(), before.end.unwrap_or(u64::MAX));
        if length > end && length != end + SEAL_BYTES as u64 {
            file.set_len(end)?;
            file.sync_all()?;
        }
        Ok(())
    });
    cut.map_err(|cause| JournalError::write(&path, cause))
}

/// Under another name first: half a segment must never be found.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("erased");
    let mut file = File::create(&new)?;
    file.set_permissions(std::fs::metadata(path)?.permissions())?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
