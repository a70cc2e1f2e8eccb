//! Goes through one lane from its first record to its last and believes nothing: every frame, header, seal and text is
//! checked on the way. Never stops at an end that is still being written. Read `verify.rs` next.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::pruned::{Begin, Pruned};
use crate::audit::entry::tag;
use crate::audit::merkle::{Hash, leaf_hash};
use crate::audit::record::{Head, Values};
use crate::audit::{Kind, Record, RecordId};
use crate::clock::Timestamp;
use crate::journal::JournalError;
use crate::journal::load::Place;
use crate::journal::recover::list;
use crate::journal::segment::{self, Cut, FRAME_HEAD_BYTES, Frames, Header, Held, SEAL_BYTES};

/// One record on the way.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub id: RecordId,
    pub time: Timestamp,
    pub leaf: Hash,
}

/// Why the way ends before its end: what is wrong with the next record.
#[derive(Clone, Debug)]
pub struct Fault {
    pub what: String,
}

/// The way through one lane.
pub struct LaneWalk {
    lane: u16,
    dir: PathBuf,
    /// Segments still to come, the next one last.
    ahead: Vec<Link>,
    segment: Option<OpenSegment>,
    /// The number of the next record.
    pub next: u64,
    /// Of the last record.
    pub last_time: Timestamp,
    pub regressions: u64,
    pub texts_checked: u64,
    /// Parameter values that records commit to and that are not there any more.
    pub erased: u64,
    /// Values that were never kept, because of the labels of their columns.
    pub redacted: u64,
    /// Texts that a record may name here.
    texts: HashSet<Hash>,
    /// A text that its record has not followed yet.
    announced: Option<(Hash, Timestamp)>,
    /// Values that their record has not followed yet.
    values: Option<(Values, Timestamp)>,
    /// The number of the record that says what was pruned, if it is in this lane; and that record, once passed.
    pub awaited: Option<u64>,
    pub pruning: Option<Record>,
    /// What stands behind the last whole frame of the last segment, if it is not zeros.
    pub torn: Option<String>,
}

struct Link {
    place: Place,
    header: Header,
}

struct OpenSegment {
    place: Place,
    bytes: Vec<u8>,
    offset: usize,
    checksum: u32,
    records: u32,
}

impl LaneWalk {
    /// Begins before the first record of the lane that is kept, given its files, lowest first. The first segment may
    /// hold records before that one: `skip_to` passes them.
    pub fn start(dir: &Path, lane: u16, numbers: &[u64], begin: Begin) -> Result<Self, JournalError> {
        let gone = numbers.partition_point(|number| *number < begin.segment);
        let ahead = chain(dir, lane, &numbers[gone..], begin)?;
        let first = ahead.last().map_or(0, |link| link.header.first_record);
        Ok(Self {
            lane,
            dir: dir.to_owned(),
            ahead,
            segment: None,
            next: first.min(begin.record),
            last_time: Timestamp::from_micros(0),
            regressions: 0,
            texts_checked: 0,
            erased: 0,
            redacted: 0,
            texts: HashSet::new(),
            announced: None,
            values: None,
            awaited: None,
            pruning: None,
            torn: None,
        })
    }

    /// Passes the records before this one, which nothing proves any more.
    pub fn skip_to(&mut self, number: u64) -> Result<(), Fault> {
        while self.next < number {
            if self.step()?.is_none() {
                return Err(fault("the record is missing: its lane ends before it"));
            }
        }
        (self.texts_checked, self.erased, self.redacted, self.regressions) = (0, 0, 0, 0);
        Ok(())
    }

    /// The next record; `None` at the end of the lane.
    pub fn step(&mut self) -> Result<Option<Step>, Fault> {
        loop {
            let Some(mut segment) = self.segment.take() else {
                if !self.open_next()? {
                    return Ok(None);
                }
                continue;
            };
            let mut frames = Frames::from(&segment.bytes, segment.offset, segment.checksum);
            let found = loop {
                match frames.cut() {
                    Cut::Record { payload, .. } => match Held::of(payload) {
                        Held::Text(_) => self.text(payload)?,
                        Held::Values => self.values(payload)?,
                        Held::Record => {
                            segment.records += 1;
                            break Some(self.record(payload)?);
                        }
                    },
                    Cut::Seal => {
                        self.check_seal(&segment, frames.offset())?;
                        break None;
                    }
                    Cut::End => {
                        self.check_end(&segment, frames.offset(), None)?;
                        break None;
                    }
                    Cut::Bad(damage) => {
                        self.check_end(&segment, frames.offset(), Some(damage.to_string()))?;
                        break None;
                    }
                }
            };
            if let Some(step) = found {
                (segment.offset, segment.checksum) = (frames.offset(), frames.checksum());
                self.segment = Some(segment);
                return Ok(Some(step));
            }
        }
    }

    fn open_next(&mut self) -> Result<bool, Fault> {
        let Some(Link { place, header }) = self.ahead.pop() else {
            return Ok(false);
        };
        let path = place.path(&self.dir);
        let name = || {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        if header.first_record != self.next {
            let first = header.first_record;
            return Err(fault(format!("the next segment, {}, begins at {first}", name())));
        }
        let mut bytes = std::fs::read(&path).map_err(|cause| fault(format!("{}: {cause}", name())))?;
        if Header::decode(&bytes).map(|(read, _)| read) != Some(header) {
            return Err(fault(format!("the header of {} is damaged", name())));
        }
        if let Some(end) = place.end {
            let end = usize::try_from(end).unwrap_or(usize::MAX);
            // A seal stands behind what counts; anything else there was left behind by a sync that failed.
            if bytes.len() != end.saturating_add(SEAL_BYTES) {
                bytes.truncate(end);
            }
        }
        if !header.continues {
            self.texts.clear();
        }
        self.announced = None;
        self.values = None;
        self.segment = Some(OpenSegment {
            place,
            bytes,
            offset: segment::HEADER_BYTES,
            checksum: header.checksum(),
            records: 0,
        });
        Ok(true)
    }

    /// Nothing follows a seal, and it counts right.
    fn check_seal(&self, segment: &OpenSegment, end: usize) -> Result<(), Fault> {
        let payload = &segment.bytes[end + FRAME_HEAD_BYTES - SEAL_BYTES..end];
        let count = u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]);
        if count != segment.records {
            return Err(fault(format!(
                "the seal counts {count} records, and there are {}",
                segment.records
            )));
        }
        // The last one may be cut to its length this very moment.
        let is_otherwise = |counted| end != segment.bytes.len() || counted != (end - SEAL_BYTES) as u64;
        if segment.place.end.is_some_and(is_otherwise) {
            return Err(fault("the segment does not end with its seal"));
        }
        Ok(())
    }

    /// A segment that has a successor ends where that one says; the last one may be growing, or torn.
    fn check_end(
        &mut self,
        segment: &OpenSegment,
        offset: usize,
        damage: Option<String>,
    ) -> Result<(), Fault> {
        let is_torn = damage.is_some();
        let what = damage.unwrap_or_else(|| "the segment ends too soon".to_owned());
        match segment.place.end {
            Some(end) if end == offset as u64 && !is_torn => Ok(()),
            Some(_) => Err(fault(what)),
            // A segment that is being written is longer than a seal behind its last frame.
            None if is_torn && segment.bytes.len() == offset + SEAL_BYTES => Err(fault(what)),
            None if is_torn && segment::ends_with_seal(&segment.bytes) => Err(fault(what)),
            None => {
                self.torn = is_torn.then_some(what);
                Ok(())
            }
        }
    }

    fn text(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let record = Record::decode(payload).map_err(|what| fault(what.to_string()))?;
        let (Some(hash), Some(text)) = (record.fields.text_sha256, &record.fields.text) else {
            return Err(fault("a text without its hash"));
        };
        if self.announced.is_some() || self.values.is_some() {
            return Err(fault("a text that no record names"));
        }
        if <Hash>::from(Sha256::digest(text)) != hash {
            return Err(fault("the statement's text is not the one that its record names"));
        }
        self.texts_checked += 1;
        self.texts.insert(hash);
        self.announced = Some((hash, record.time));
        Ok(())
    }

    /// Values may be gone, erased; what is there must be what was written.
    fn values(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let values = Values::decode(payload).map_err(|what| fault(what.to_string()))?;
        let time = segment::time_of(payload).map_err(|what| fault(what.to_string()))?;
        if self.values.replace((values, time)).is_some() {
            return Err(fault("values that no record names"));
        }
        Ok(())
    }

    /// What is there of an attempt's values must be what was written; what is not there was erased.
    fn count_erased(
        &mut self,
        payload: &[u8],
        time: Timestamp,
        values: Option<(Values, Timestamp)>,
    ) -> Result<(), Fault> {
        let mut record = Record::decode(payload).map_err(|what| fault(what.to_string()))?;
        let agrees = |(values, written): &(Values, Timestamp)| {
            *written == time && values.agree_with(&record.fields).is_ok()
        };
        if !values.as_ref().is_none_or(agrees) {
            return Err(fault(
                "a parameter's value is not the one that the record was made with",
            ));
        }
        let joined = record.fields.join(values.map(|(values, _)| values));
        joined.map_err(|what| fault(what.to_string()))?;
        let erased = record
            .fields
            .parameters
            .iter()
            .filter(|parameter| parameter.erased);
        self.erased += erased.count() as u64;
        let parameters = record.fields.parameters.iter();
        let redacted = parameters.filter(|parameter| !parameter.redacted.is_empty());
        self.redacted += redacted.count() as u64;
        Ok(())
    }

    fn record(&mut self, payload: &[u8]) -> Result<Step, Fault> {
        let (head, fields) = Head::cut(payload).map_err(|what| fault(what.to_string()))?;
        let (mut named, mut has_parameters) = (None, false);
        if head.kind == Kind::Attempt {
            for field in fields {
                let (tag, value) = field.map_err(|what| fault(what.to_string()))?;
                if tag == tag::TEXT_SHA256 {
                    named = <Hash>::try_from(value).ok();
                }
                has_parameters |= tag == tag::PARAMETER;
            }
        }
        if let Some(hash) = named
            && !self.texts.contains(&hash)
        {
            return Err(fault("its statement's text is missing"));
        }
        if self
            .announced
            .take()
            .is_some_and(|text| Some(text) != named.map(|hash| (hash, head.time)))
        {
            return Err(fault("it does not follow on the text before it"));
        }
        let values = self.values.take();
        if values.is_some() || has_parameters {
            self.count_erased(payload, head.time, values)?;
        }
        if self.awaited == Some(self.next) {
            let record = Record::decode(payload).map_err(|what| fault(what.to_string()))?;
            self.pruning = Some(record);
        }
        let step = Step {
            id: RecordId {
                lane: self.lane,
                number: self.next,
            },
            time: head.time,
            leaf: leaf_hash(payload),
        };
        self.regressions += u64::from(head.time < self.last_time);
        self.last_time = head.time;
        let next = self.next.checked_add(1);
        self.next = next.ok_or_else(|| fault("no record has a number so high"))?;
        Ok(step)
    }
}

fn fault(what: impl Into<String>) -> Fault {
    Fault { what: what.into() }
}

/// The ways through all lanes of a journal, from where they begin.
pub fn walks(journal: &Path, pruned: &Pruned) -> Result<BTreeMap<u16, LaneWalk>, JournalError> {
    list(journal)?
        .into_iter()
        .map(|(lane, numbers)| {
            let walk = LaneWalk::start(journal, lane, &numbers, pruned.begin(lane))?;
            Ok((lane, walk))
        })
        .collect()
}

/// The segments of a lane from the last to the first that is kept. Where one is missing or its header is damaged the chain goes on
/// at the next one that can be read, and the way through it stops at the gap.
fn chain(dir: &Path, lane: u16, numbers: &[u64], begin: Begin) -> Result<Vec<Link>, JournalError> {
    let mut links = Vec::new();
    let mut next = Place::last(dir, lane, numbers)?;
    while let Some((place, header)) = next {
        links.push(Link { place, header });
        next = match Place::before(&header).filter(|place| place.segment >= begin.segment) {
            Some(before) => match before.header(dir) {
                Ok(Some(header)) => Some((before, header)),
                Ok(None) | Err(_) => {
                    let below = numbers.partition_point(|number| *number < before.segment);
                    Place::last(dir, lane, &numbers[..below])?
                }
            },
            None => None,
        };
    }
    Ok(links)
}
