//! Finds records: queries page by page, shows one, follows the end.
//! Never writes, and needs no lock: it reads while the journal is written, in this process or another.
//! Read `filter.rs` next (what a query can ask), then `tail.rs` and `index.rs`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::JournalError;
use super::filter::{LIMIT_MAX, LogFilter, Order, PAGE_BYTES_MAX, Term};
use super::index::Index;
use super::load::{Place, Segment};
use super::recover::list;
use super::segment::Header;
use super::tail::{Tail, TailFrom};
use crate::audit::{Kind, Record, RecordId};
use crate::clock::Timestamp;
use crate::identity::principal::AttemptId;

/// Segments after its own in which the result of an attempt is looked for. Only a statement that ran for very long,
/// or an index that is far behind, needs more.
const RESULT_SEGMENTS_MAX: usize = 256;

/// One page of records.
#[derive(Clone, Debug)]
pub struct Page {
    pub records: Vec<Record>,
    /// There is more; the next page begins here.
    pub next_cursor: Option<String>,
}

/// Reads a journal folder. Cheap to clone; blocks on the disk, so not for a wire thread.
#[derive(Clone, Debug)]
pub struct Reader {
    dir: PathBuf,
    index: Arc<Index>,
}

impl Reader {
    /// A reader of the journal in `dir`, whether or not a process is writing it.
    pub fn open(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            index: Arc::new(Index::in_dir(dir)),
        }
    }

    /// One page of the records that match. Holds one segment of each lane in memory, and the page.
    pub fn query(&self, filter: &LogFilter) -> Result<Page, JournalError> {
        let after = filter.cursor.as_deref().map(Key::parse).transpose()?;
        let want = Want {
            filter,
            terms: filter.terms(),
            after,
        };
        let limit = filter.limit.clamp(1, LIMIT_MAX);
        let mut lanes = list(&self.dir)?
            .into_iter()
            .map(|(lane, numbers)| LaneScan::start(self, lane, &numbers, &want))
            .collect::<Result<Vec<_>, _>>()?;
        let mut page = Page {
            records: Vec::new(),
            next_cursor: None,
        };
        let (mut last, mut bytes) = (None, 0);
        while let Some((key, lane)) = next(self, &mut lanes, &want)? {
            if page.records.len() == limit || bytes >= PAGE_BYTES_MAX {
                page.next_cursor = last.as_ref().map(Key::to_string);
                break;
            }
            if let Some(record) = lane.take(&self.dir)? {
                bytes += record.fields.bytes();
                page.records.push(record);
            }
            last = Some(key);
        }
        Ok(page)
    }

    /// Hands over every record that matches, in the filter's order; its limit and cursor do not count. Ends early once
    /// `is_over` says so, or `take` wants no more. Holds one segment of each lane in memory.
    pub fn each(
        &self,
        filter: &LogFilter,
        is_over: impl Fn() -> bool,
        mut take: impl FnMut(Record) -> bool,
    ) -> Result<(), JournalError> {
        let want = Want {
            filter,
            terms: filter.terms(),
            after: None,
        };
        let mut lanes = list(&self.dir)?
            .into_iter()
            .map(|(lane, numbers)| LaneScan::start(self, lane, &numbers, &want))
            .collect::<Result<Vec<_>, _>>()?;
        while let Some((_, lane)) = next(self, &mut lanes, &want)? {
            if is_over() || lane.take(&self.dir)?.is_some_and(|record| !take(record)) {
                break;
            }
        }
        Ok(())
    }

    /// The record of this id; of an attempt with its statement, and its result if that has been written.
    pub fn show(&self, id: RecordId) -> Result<Option<Record>, JournalError> {
        let numbers = list(&self.dir)?.remove(&id.lane).unwrap_or_default();
        let Some((mut place, mut header)) = Place::last(&self.dir, id.lane, &numbers)? else {
            return Ok(None);
        };
        let mut younger = Vec::new();
        while header.first_record > id.number {
            let Some(before) = Place::before(&header) else {
                return Ok(None);
            };
            younger.push((place, header));
            place = before;
            header = place.known_header(&self.dir)?;
        }
        let segment = Segment::load(&self.dir, place)?;
        let at = usize::try_from(id.number - header.first_record).unwrap_or(usize::MAX);
        if at >= segment.len() {
            return Ok(None);
        }
        let mut record = segment.record(&self.dir, at)?;
        if let (Kind::Attempt, Some(attempt)) = (record.kind, record.fields.attempt) {
            younger.reverse();
            record.fields.result = self.result_of(attempt, segment, &younger)?.map(Box::new);
        }
        Ok(Some(record))
    }

    /// The journal's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The canonical bytes of the record of this id and, of an attempt, its statement.
    #[expect(clippy::type_complexity, reason = "two byte strings, one of them optional")]
    pub fn bytes_of(&self, id: RecordId) -> Result<Option<(Vec<u8>, Option<Vec<u8>>)>, JournalError> {
        let numbers = list(&self.dir)?.remove(&id.lane).unwrap_or_default();
        let Some((mut place, mut header)) = Place::last(&self.dir, id.lane, &numbers)? else {
            return Ok(None);
        };
        while header.first_record > id.number {
            let Some(before) = Place::before(&header) else {
                return Ok(None);
            };
            place = before;
            header = place.known_header(&self.dir)?;
        }
        let segment = Segment::load(&self.dir, place)?;
        let at = usize::try_from(id.number - header.first_record).unwrap_or(usize::MAX);
        let Some(bytes) = segment.payload(at) else {
            return Ok(None);
        };
        let text = segment.record(&self.dir, at)?.fields.text;
        Ok(Some((bytes.to_vec(), text)))
    }

    /// Looks for the result of an attempt in its segment and some of those after it in its lane.
    fn result_of(
        &self,
        attempt: AttemptId,
        segment: Segment,
        younger: &[(Place, Header)],
    ) -> Result<Option<Record>, JournalError> {
        let filter = LogFilter {
            attempt: Some(attempt),
            kind: Some(Kind::Outcome),
            ..LogFilter::default()
        };
        let terms = filter.terms();
        let mut segments_left = RESULT_SEGMENTS_MAX;
        let mut segment = segment;
        let mut younger = younger.iter();
        loop {
            if let Some(result) = segment.first(&self.dir, &filter)? {
                return Ok(Some(result));
            }
            let Some((place, _)) = younger.find(|(_, header)| self.index.may_hold(header, &terms)) else {
                return Ok(None);
            };
            if segments_left == 0 {
                return Ok(None);
            }
            segments_left -= 1;
            segment = Segment::load(&self.dir, *place)?;
        }
    }

    /// Follows the journal. `filter`'s order, limit, cursor and times do not count.
    pub fn tail(&self, from: TailFrom, filter: LogFilter) -> Result<Tail, JournalError> {
        Tail::start(&self.dir, from, filter)
    }

    /// Adds to the index what it lacks; gives how many segments that were. The process that writes the journal does
    /// so by itself.
    pub fn catch_up(&self, is_over: impl Fn() -> bool) -> Result<u64, JournalError> {
        self.index.catch_up(&self.dir, is_over)
    }
}

/// What a query wants, made ready.
struct Want<'a> {
    filter: &'a LogFilter,
    terms: Vec<Term>,
    after: Option<Key>,
}

/// The order of records across lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    time: Timestamp,
    id: RecordId,
}

impl Key {
    fn parse(cursor: &str) -> Result<Self, JournalError> {
        let key = cursor.split_once('-').and_then(|(time, id)| {
            Some(Self {
                time: Timestamp::from_micros(time.parse().ok()?),
                id: RecordId::parse(id)?,
            })
        });
        key.ok_or_else(|| JournalError::Cursor {
            cursor: cursor.to_owned(),
        })
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.time.micros(), self.id)
    }
}

impl Want<'_> {
    fn is_newest_first(&self) -> bool {
        self.filter.order == Order::NewestFirst
    }

    /// No wanted record is older than this.
    fn oldest(&self) -> Option<Timestamp> {
        let after = self.after.filter(|_| !self.is_newest_first()).map(|key| key.time);
        self.filter.since.max(after)
    }

    /// No wanted record is younger than this.
    fn youngest(&self) -> Option<Timestamp> {
        let after = self.after.filter(|_| self.is_newest_first()).map(|key| key.time);
        self.filter.until.into_iter().chain(after).min()
    }

    fn takes(&self, key: Key, payload: &[u8]) -> Result<bool, crate::audit::Malformed> {
        let is_in_time = self.filter.since.is_none_or(|since| key.time >= since)
            && self.filter.until.is_none_or(|until| key.time < until);
        let is_after = self.after.is_none_or(|after| match self.filter.order {
            Order::NewestFirst => key < after,
            Order::OldestFirst => key > after,
        });
        Ok(is_in_time && is_after && self.filter.matches(payload)?)
    }
}

/// The lane whose next record comes first, and that record's key.
fn next<'a>(
    reader: &Reader,
    lanes: &'a mut [LaneScan],
    want: &Want<'_>,
) -> Result<Option<(Key, &'a mut LaneScan)>, JournalError> {
    let mut best: Option<(Key, &mut LaneScan)> = None;
    for lane in lanes {
        let Some(key) = lane.find(reader, want)? else {
            continue;
        };
        let comes_first = best.as_ref().is_none_or(|(known, _)| match want.filter.order {
            Order::NewestFirst => key > *known,
            Order::OldestFirst => key < *known,
        });
        if comes_first {
            best = Some((key, lane));
        }
    }
    Ok(best)
}

/// Goes through one lane, segment by segment.
struct LaneScan {
    /// Segments still to come; the next one is last. Newest first, only one is known at a time.
    ahead: Vec<Place>,
    segment: Option<Segment>,
    /// The records of the segment still to come.
    rest: std::ops::Range<usize>,
    /// The next record that matches, if it has been found.
    found: Option<(Key, usize)>,
}

impl LaneScan {
    fn start(reader: &Reader, lane: u16, numbers: &[u64], want: &Want<'_>) -> Result<Self, JournalError> {
        let mut scan = Self {
            ahead: Vec::new(),
            segment: None,
            rest: 0..0,
            found: None,
        };
        let Some((place, header)) = Place::last(&reader.dir, lane, numbers)? else {
            return Ok(scan);
        };
        scan.ahead.push(place);
        if want.is_newest_first() {
            return Ok(scan);
        }
        let mut header = header;
        while want.oldest().is_none_or(|oldest| header.created >= oldest)
            && let Some(before) = Place::before(&header)
        {
            scan.ahead.push(before);
            header = before.known_header(&reader.dir)?;
        }
        Ok(scan)
    }

    /// The key of the next record that matches.
    fn find(&mut self, reader: &Reader, want: &Want<'_>) -> Result<Option<Key>, JournalError> {
        loop {
            if let Some((key, _)) = self.found {
                return Ok(Some(key));
            }
            if !self.find_in_segment(want)? && !self.next_segment(reader, want)? {
                return Ok(None);
            }
        }
    }

    /// Whether a record of the segment matches.
    fn find_in_segment(&mut self, want: &Want<'_>) -> Result<bool, JournalError> {
        let Some(segment) = &self.segment else {
            return Ok(false);
        };
        let newest_first = want.is_newest_first();
        while let Some(place) = if newest_first {
            self.rest.next_back()
        } else {
            self.rest.next()
        } {
            let key = Key {
                time: segment.time(place)?,
                id: segment.id(place),
            };
            let payload = segment.payload(place).unwrap_or_default();
            if want
                .takes(key, payload)
                .map_err(|what| segment.malformed(place, what))?
            {
                self.found = Some((key, place));
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes on to the next segment that may hold what is wanted; `false` at the end.
    fn next_segment(&mut self, reader: &Reader, want: &Want<'_>) -> Result<bool, JournalError> {
        while let Some(place) = self.ahead.pop() {
            let header = place.known_header(&reader.dir)?;
            let is_past = |bound: Option<Timestamp>| bound.is_some_and(|bound| header.created > bound);
            if want.is_newest_first() {
                let goes_on = want.oldest().is_none_or(|oldest| header.created >= oldest);
                self.ahead.extend(Place::before(&header).filter(|_| goes_on));
            } else if is_past(want.youngest()) {
                self.ahead.clear();
                return Ok(false);
            }
            if is_past(want.youngest()) || !reader.index.may_hold(&header, &want.terms) {
                continue;
            }
            let segment = Segment::load(&reader.dir, place)?;
            self.rest = 0..segment.len();
            self.segment = Some(segment);
            return Ok(true);
        }
        self.segment = None;
        Ok(false)
    }

    /// Takes the record that was found.
    fn take(&mut self, dir: &Path) -> Result<Option<Record>, JournalError> {
        match (self.found.take(), &self.segment) {
            (Some((_, place)), Some(segment)) => segment.record(dir, place).map(Some),
            (Some(_) | None, _) => Ok(None),
        }
    }
}
