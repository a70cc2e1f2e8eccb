//! Finds records: queries page by page, shows one, follows the end.
//! Never writes, and needs no lock: it reads while the journal is written, in this process or another.
//! Read `filter.rs` next (what a query can ask), then `tail.rs` and `index.rs`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::JournalError;
use super::filter::{LIMIT_MAX, LogFilter, Order, PAGE_BYTES_MAX, Said, Wanted};
use super::index::{Index, Look};
use super::load::{BySha256, Place, Segment};
use super::recover::list;
use super::segment::Header;
use super::tail::{Tail, TailFrom};
use super::tree::pruned::{Begin, Gone, Pruned};
use crate::audit::{Kind, Record, RecordId};
use crate::clock::Timestamp;
use crate::identity::principal::AttemptId;

/// Segments after its own in which the result of an attempt is looked for. Only a statement that ran for very long,
/// or an index that is far behind, needs more.
const RESULT_SEGMENTS_MAX: usize = 256;

/// Segments that are read on each side of a record for those around it: enough for a session of long silences.
const AROUND_SEGMENTS_MAX: usize = 64;

/// One page of records.
#[derive(Clone, Debug)]
pub struct Page {
    pub records: Vec<Record>,
    /// There may be more; the next page begins here.
    pub next_cursor: Option<String>,
    /// The page ended early, after `segments_max`: up to this moment everything has been looked at.
    pub looked_to: Option<Timestamp>,
    /// What is asked for reaches into what is gone by retention: this says what that is.
    pub pruned: Option<Gone>,
}

/// Whose records are shown around one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    Everybody,
    Session,
}

/// Reads a journal folder. Cheap to clone; blocks on the disk, so not for a wire thread.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) dir: PathBuf,
    pub(super) index: Arc<Index>,
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
        let want = Want::of(filter)?;
        let look = self.index.look(&want.wanted.terms());
        let limit = filter.limit.clamp(1, LIMIT_MAX);
        let pruned = Pruned::of(&self.dir)?;
        let mut lanes = self.lanes(&want, &look, &pruned)?;
        // A page that reads one segment of each lane and one more gets somewhere.
        let mut segments_left = filter
            .segments_max
            .map_or(usize::MAX, |max| max.max(lanes.len() + 1));
        let mut page = Page {
            records: Vec::new(),
            next_cursor: None,
            looked_to: None,
            pruned: None,
        };
        let (mut last, mut bytes) = (None::<Key>, 0);
        while let Some(lane) = first(&mut lanes, &want) {
            match lane.next {
                Next::Segment(place, bound) => {
                    if segments_left == 0 {
                        page.next_cursor = Some(want.before(bound).to_string());
                        page.looked_to = Some(bound.time);
                        break;
                    }
                    segments_left -= 1;
                    lane.load(&self.dir, place, &want, &look)?;
                }
                Next::Record(key, place) => {
                    if page.records.len() == limit || bytes >= PAGE_BYTES_MAX {
                        page.next_cursor = last.map(|key| key.to_string());
                        break;
                    }
                    let record = lane.take(&self.dir, place, &want, &look)?;
                    bytes += record.as_ref().map_or(0, |record| record.fields.bytes());
                    page.records.extend(record);
                    last = Some(key);
                }
                Next::End => break,
            }
        }
        let is_end = match filter.order {
            Order::NewestFirst => page.next_cursor.is_none(),
            Order::OldestFirst => filter.cursor.is_none(),
        };
        page.pruned = pruned.said.filter(|said| is_end && filter.reaches(said));
        Ok(page)
    }

    /// What is gone by retention of what the filter asks for; `None`: nothing is.
    pub fn pruned_of(&self, filter: &LogFilter) -> Result<Option<Gone>, JournalError> {
        let pruned = Pruned::of(&self.dir)?;
        Ok(pruned.said.filter(|said| filter.reaches(said)))
    }

    /// What is gone by retention.
    pub fn pruned(&self) -> Result<Pruned, JournalError> {
        Pruned::of(&self.dir)
    }

    /// Hands over every record that matches, in the filter's order; its limit, cursor and `segments_max` do not count. Ends
    /// early once `is_over` says so, or `take` wants no more. Holds one segment of each lane in memory.
    pub fn each(
        &self,
        filter: &LogFilter,
        is_over: impl Fn() -> bool,
        mut take: impl FnMut(Record) -> bool,
    ) -> Result<(), JournalError> {
        let want = Want {
            after: None,
            ..Want::of(filter)?
        };
        let look = self.index.look(&want.wanted.terms());
        let mut lanes = self.lanes(&want, &look, &Pruned::of(&self.dir)?)?;
        while let Some(lane) = first(&mut lanes, &want)
            && !is_over()
        {
            match lane.next {
                Next::Segment(place, _) => lane.load(&self.dir, place, &want, &look)?,
                Next::Record(_, place) => {
                    let record = lane.take(&self.dir, place, &want, &look)?;
                    if record.is_some_and(|record| !take(record)) {
                        break;
                    }
                }
                Next::End => break,
            }
        }
        Ok(())
    }

    fn lanes(&self, want: &Want<'_>, look: &Look, pruned: &Pruned) -> Result<Vec<LaneScan>, JournalError> {
        let lanes = list(&self.dir)?.into_iter();
        lanes
            .map(|(lane, numbers)| LaneScan::start(&self.dir, lane, &numbers, want, look, pruned))
            .collect()
    }

    /// The `count` records before this one and after it, of all lanes or of its session alone, with itself between
    /// them, oldest first. Empty if there is no such record.
    pub fn around(&self, id: RecordId, count: usize, whose: Around) -> Result<Vec<Record>, JournalError> {
        let Some(record) = self.show(id)? else {
            return Ok(Vec::new());
        };
        let key = Key {
            time: record.time,
            id,
        };
        let of_session = record.fields.session.filter(|_| whose == Around::Session);
        let side = |order| {
            let filter = LogFilter {
                session: of_session,
                order,
                limit: count,
                cursor: Some(key.to_string()),
                segments_max: Some(AROUND_SEGMENTS_MAX),
                ..LogFilter::default()
            };
            self.query(&filter)
        };
        if count == 0 {
            return Ok(vec![record]);
        }
        let mut records = side(Order::NewestFirst)?.records;
        records.reverse();
        records.push(record);
        records.extend(side(Order::OldestFirst)?.records);
        Ok(records)
    }

    /// The record of this id; of an attempt with its statement, and its result if that has been written.
    pub fn show(&self, id: RecordId) -> Result<Option<Record>, JournalError> {
        let Some((place, header, mut younger)) = self.find(id)? else {
            return Ok(None);
        };
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
        let Some((place, header, _)) = self.find(id)? else {
            return Ok(None);
        };
        let segment = Segment::load(&self.dir, place)?;
        let at = usize::try_from(id.number - header.first_record).unwrap_or(usize::MAX);
        let Some(bytes) = segment.payload(at) else {
            return Ok(None);
        };
        let text = segment.record(&self.dir, at)?.fields.text;
        Ok(Some((bytes.to_vec(), text)))
    }

    /// The segment that holds the record of this id, and those behind it, the youngest first. Errors: it is gone.
    #[expect(clippy::type_complexity, reason = "a place twice, once with all that follow")]
    pub(super) fn find(
        &self,
        id: RecordId,
    ) -> Result<Option<(Place, Header, Vec<(Place, Header)>)>, JournalError> {
        let pruned = Pruned::of(&self.dir)?;
        if pruned.holds(id) {
            return Err(pruned.error(id));
        }
        let numbers = list(&self.dir)?.remove(&id.lane).unwrap_or_default();
        let Some((mut place, mut header)) = Place::last(&self.dir, id.lane, &numbers)? else {
            return Ok(None);
        };
        let mut younger = Vec::new();
        while header.first_record > id.number {
            let Some(before) = pruned.before(&header) else {
                return Ok(None);
            };
            younger.push((place, header));
            place = before;
            header = place.known_header(&self.dir)?;
        }
        Ok(Some((place, header, younger)))
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
        let wanted = filter.wanted();
        let look = self.index.look(&wanted.terms());
        let mut segments_left = RESULT_SEGMENTS_MAX;
        let mut segment = segment;
        let mut younger = younger.iter();
        loop {
            if let Some(result) = segment.first(&self.dir, &wanted)? {
                return Ok(Some(result));
            }
            let Some((place, _)) = younger.find(|(_, header)| look.may_hold(header)) else {
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
        Tail::start(&self.dir, from, &filter)
    }

    /// Adds to the index what it lacks; gives how many segments that were. The process that writes the journal does
    /// so by itself.
    pub fn catch_up(&self, is_over: impl Fn() -> bool) -> Result<u64, JournalError> {
        self.index.catch_up(&self.dir, is_over)
    }
}

/// What a query wants, made ready.
pub(super) struct Want<'a> {
    filter: &'a LogFilter,
    pub wanted: Wanted,
    after: Option<Key>,
}

/// The order of records across lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub time: Timestamp,
    pub id: RecordId,
}

/// The last there can be at one time.
pub(super) const LAST_ID: RecordId = RecordId {
    lane: u16::MAX,
    number: u64::MAX,
};

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

/// The cursor that stands at a record: a query from there on gives what lies behind it in its order, older or younger.
pub fn cursor_at(record: &Record) -> Option<String> {
    let (time, id) = (record.time, record.id?);
    Some(Key { time, id }.to_string())
}

impl<'a> Want<'a> {
    pub fn of(filter: &'a LogFilter) -> Result<Self, JournalError> {
        Ok(Self {
            filter,
            wanted: filter.wanted(),
            after: filter.cursor.as_deref().map(Key::parse).transpose()?,
        })
    }

    fn is_newest_first(&self) -> bool {
        self.filter.order == Order::NewestFirst
    }

    /// No wanted record is older than this.
    pub fn oldest(&self) -> Option<Timestamp> {
        let after = self.after.filter(|_| !self.is_newest_first()).map(|key| key.time);
        self.filter.since.max(after)
    }

    /// No wanted record is younger than this.
    pub fn youngest(&self) -> Option<Timestamp> {
        let after = self.after.filter(|_| self.is_newest_first()).map(|key| key.time);
        self.filter.until.into_iter().chain(after).min()
    }

    /// Where to go on so that nothing at this bound is missed.
    fn before(&self, bound: Key) -> Key {
        match self.filter.order {
            Order::NewestFirst => bound,
            Order::OldestFirst => Key {
                time: Timestamp::from_micros(bound.time.micros().saturating_sub(1)),
                id: LAST_ID,
            },
        }
    }

    fn comes_before(&self, key: Key, other: Key) -> bool {
        match self.filter.order {
            Order::NewestFirst => key > other,
            Order::OldestFirst => key < other,
        }
    }

    /// Whether a record at this place is wanted by its time.
    fn takes_key(&self, key: Key) -> bool {
        self.filter.since.is_none_or(|since| key.time >= since)
            && self.filter.until.is_none_or(|until| key.time < until)
            && self.after.is_none_or(|after| self.comes_before(after, key))
    }
}

/// A segment in memory, and which of its statements hold the texts that are looked for.
pub(super) struct Matched {
    pub segment: Segment,
    texts: BySha256<Option<[u8; 32]>, bool>,
}

impl Matched {
    pub fn load(dir: &Path, place: Place) -> Result<Self, JournalError> {
        Ok(Self {
            segment: Segment::load(dir, place)?,
            texts: BySha256::default(),
        })
    }

    /// Whether the record at this place is wanted.
    fn takes(&mut self, dir: &Path, want: &Want<'_>, place: usize) -> Result<bool, JournalError> {
        let key = Key {
            time: self.segment.time(place)?,
            id: self.segment.id(place),
        };
        Ok(want.takes_key(key) && self.says(dir, &want.wanted, place)?)
    }

    /// Whether the record is wanted, its time aside.
    pub fn says(&mut self, dir: &Path, wanted: &Wanted, place: usize) -> Result<bool, JournalError> {
        let segment = &self.segment;
        let payload = segment.payload(place).unwrap_or_default();
        match wanted
            .says(payload)
            .map_err(|what| segment.malformed(place, what))?
        {
            Said::No => Ok(false),
            Said::Yes => Ok(true),
            Said::IfText(hash) => {
                if let Some(known) = self.texts.get(&hash) {
                    return Ok(*known);
                }
                let here = match &hash {
                    Some(hash) => segment.text_here(hash)?,
                    None => None,
                };
                let takes = match (here, &hash) {
                    (None, Some(hash)) => wanted.takes_text(segment.text(dir, hash)?.as_deref()),
                    (text, _) => wanted.takes_text(text),
                };
                self.texts.insert(hash, takes);
                Ok(takes)
            }
        }
    }
}

/// The lane of which the next step comes first.
fn first<'l>(lanes: &'l mut [LaneScan], want: &Want<'_>) -> Option<&'l mut LaneScan> {
    let mut best: Option<(Key, &mut LaneScan)> = None;
    for lane in lanes {
        let key = match lane.next {
            Next::Segment(_, key) | Next::Record(key, _) => key,
            Next::End => continue,
        };
        if best
            .as_ref()
            .is_none_or(|(known, _)| want.comes_before(key, *known))
        {
            best = Some((key, lane));
        }
    }
    best.map(|(_, lane)| lane)
}

/// What was read of a segment; `None` if it could not be read because it was pruned since the reading began.
fn unless_gone<T>(
    dir: &Path,
    place: Place,
    read: Result<T, JournalError>,
) -> Result<Option<T>, JournalError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(_) if place.segment < Pruned::of(dir)?.begin(place.lane).segment => Ok(None),
        Err(error) => Err(error),
    }
}

/// Goes through one lane, segment by segment.
struct LaneScan {
    /// Segments still to come; the next one is last. Newest first, only one is known at a time.
    ahead: Vec<Place>,
    /// Newest first: every record of what is ahead comes behind this.
    bound: Key,
    matched: Option<Matched>,
    /// The records of the segment still to come.
    rest: std::ops::Range<usize>,
    next: Next,
    /// Where the lane begins: what stands before is gone.
    begin: Begin,
}

/// What a lane can do next.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// Load this segment; no record in it comes before the key.
    Segment(Place, Key),
    /// Give this record of the loaded segment.
    Record(Key, usize),
    End,
}

impl LaneScan {
    fn start(
        dir: &Path,
        lane: u16,
        numbers: &[u64],
        want: &Want<'_>,
        look: &Look,
        pruned: &Pruned,
    ) -> Result<Self, JournalError> {
        let mut scan = Self {
            begin: pruned.begin(lane),
            ahead: Vec::new(),
            bound: Key {
                time: want.youngest().unwrap_or(Timestamp::from_micros(i64::MAX)),
                id: LAST_ID,
            },
            matched: None,
            rest: 0..0,
            next: Next::End,
        };
        let Some((place, mut header)) = Place::last(dir, lane, numbers)? else {
            return Ok(scan);
        };
        scan.ahead.push(place);
        if !want.is_newest_first() {
            while want.oldest().is_none_or(|oldest| header.created >= oldest)
                && let Some(before) = pruned.before(&header)
            {
                scan.ahead.push(before);
                header = before.known_header(dir)?;
            }
        }
        scan.next = scan.next_segment(dir, want, look)?;
        Ok(scan)
    }

    /// The next segment that may hold what is wanted.
    fn next_segment(&mut self, dir: &Path, want: &Want<'_>, look: &Look) -> Result<Next, JournalError> {
        while let Some(place) = self.ahead.pop() {
            let Some(header) = unless_gone(dir, place, place.known_header(dir))? else {
                continue;
            };
            let is_past = want.youngest().is_some_and(|bound| header.created > bound);
            let bound = if want.is_newest_first() {
                let goes_on = want.oldest().is_none_or(|oldest| header.created >= oldest);
                let before = Place::before(&header).filter(|place| place.segment >= self.begin.segment);
                self.ahead.extend(before.filter(|_| goes_on));
                self.bound
            } else {
                if is_past {
                    self.ahead.clear();
                    break;
                }
                Key {
                    time: header.created,
                    id: RecordId { lane: 0, number: 0 },
                }
            };
            let first = RecordId {
                lane: header.lane,
                number: header.first_record,
            };
            self.bound = self.bound.min(Key {
                time: header.created,
                id: first,
            });
            if !is_past && look.may_hold(&header) {
                return Ok(Next::Segment(place, bound));
            }
        }
        Ok(Next::End)
    }

    fn load(&mut self, dir: &Path, place: Place, want: &Want<'_>, look: &Look) -> Result<(), JournalError> {
        self.matched = unless_gone(dir, place, Matched::load(dir, place))?;
        self.rest = self.matched.as_ref().map_or(0..0, |matched| {
            let first = matched.segment.header.first_record;
            let hidden = usize::try_from(self.begin.record.saturating_sub(first)).unwrap_or(usize::MAX);
            hidden.min(matched.segment.len())..matched.segment.len()
        });
        self.go_on(dir, want, look)
    }

    /// On to the next record that matches, or to the next segment.
    fn go_on(&mut self, dir: &Path, want: &Want<'_>, look: &Look) -> Result<(), JournalError> {
        if let Some(matched) = &mut self.matched {
            while let Some(place) = if want.is_newest_first() {
                self.rest.next_back()
            } else {
                self.rest.next()
            } {
                if matched.takes(dir, want, place)? {
                    let key = Key {
                        time: matched.segment.time(place)?,
                        id: matched.segment.id(place),
                    };
                    self.next = Next::Record(key, place);
                    return Ok(());
                }
            }
        }
        self.matched = None;
        self.next = self.next_segment(dir, want, look)?;
        Ok(())
    }

    /// Takes the record that was found.
    fn take(
        &mut self,
        dir: &Path,
        place: usize,
        want: &Want<'_>,
        look: &Look,
    ) -> Result<Option<Record>, JournalError> {
        let record = match &self.matched {
            Some(matched) => Some(matched.segment.record(dir, place)?),
            None => None,
        };
        self.go_on(dir, want, look)?;
        Ok(record)
    }
}
