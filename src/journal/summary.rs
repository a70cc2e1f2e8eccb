//! Counts records: by time and verdict, and by who, what and where. Never reads more than a bounded number of segments,
//! and says so when that was not enough; segments that lie wholly in what is asked are counted by the index.
//! Read `index.rs` next, which keeps those counts.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::error::JournalError;
use super::filter::{LIMIT_MAX, LogFilter, TermKind, Wanted};
use super::index::{Known, Look};
use super::load::{Place, Segment};
use super::newest::Newest;
use super::query::Key;
use super::read::{Matched, Page, Reader, Want};
use super::recover::list;
use super::segment::Header;
use super::tree::pruned::Pruned;
use crate::audit::Malformed;
use crate::audit::entry::tag;
use crate::audit::record::Head;
use crate::clock::Timestamp;

/// Segments read for one summary: about 200,000 records, a fraction of a second.
const SUMMARY_SEGMENTS_MAX: usize = 48;
/// Most bars of one histogram: more than a page is wide.
pub const BUCKETS_MAX: usize = 500;
/// Values of one key that are named; the rest is counted together.
pub const FACET_VALUES_MAX: usize = 20;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Widths of a bar that people can read.
const STEPS: [i64; 13] = [
    SECOND,
    5 * SECOND,
    15 * SECOND,
    60 * SECOND,
    300 * SECOND,
    900 * SECOND,
    3_600 * SECOND,
    10_800 * SECOND,
    21_600 * SECOND,
    43_200 * SECOND,
    DAY,
    7 * DAY,
    30 * DAY,
];

/// How many records there are, over time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Histogram {
    /// Oldest first, without gaps.
    pub buckets: Vec<Bucket>,
    /// How long each is.
    pub bucket_seconds: u64,
    /// There were more records than are read at once: before this moment some are not counted.
    #[serde(serialize_with = "as_optional_text", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub partial_before: Option<Timestamp>,
}

/// The records of one span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Bucket {
    /// Its beginning.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub start: Timestamp,
    pub allow: u64,
    pub hold: u64,
    pub deny: u64,
    /// Records without a verdict: results, decisions, log-ins and so on.
    pub other: u64,
}

/// Which values the records have, most frequent first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Facets {
    /// Records that were counted.
    pub records: u64,
    pub facets: Vec<Facet>,
    /// There were more records than are read at once: before this moment some are not counted.
    #[serde(serialize_with = "as_optional_text", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub partial_before: Option<Timestamp>,
}

/// The values of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Facet {
    /// As the query language writes it.
    pub key: &'static str,
    pub values: Vec<FacetValue>,
    /// Records with other values than those named.
    pub others: u64,
}

/// One value, and how many records have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FacetValue {
    pub value: String,
    pub records: u64,
}

/// The newest records that match a query, when all of them were, and who, what and where.
#[derive(Clone, Debug)]
pub struct Overview {
    pub page: Page,
    pub histogram: Histogram,
    pub facets: Facets,
}

/// The keys whose values are counted.
const FACETS: [(Key, TermKind); 7] = [
    (Key::Verdict, TermKind::Verdict),
    (Key::Class, TermKind::Class),
    (Key::Principal, TermKind::Principal),
    (Key::Database, TermKind::Database),
    (Key::Rule, TermKind::Rule),
    (Key::Approver, TermKind::Approver),
    (Key::Kind, TermKind::Kind),
];

/// A segment that may hold some of what is counted.
struct Piece {
    place: Place,
    header: Header,
    known: Option<Known>,
    /// No record here is younger.
    last: Timestamp,
    /// So many of its first records are gone by retention.
    hidden: usize,
}

impl Reader {
    /// Counts the records that match, in at most `buckets` spans of time and one more. Without `since` and `until` it
    /// reaches from the first segment that may hold some to the last record.
    pub fn histogram(&self, filter: &LogFilter, buckets: usize) -> Result<Histogram, JournalError> {
        let counted = self.summarize(filter, Some(buckets), None)?;
        Ok(counted.histogram)
    }

    /// Which values the records that match have.
    pub fn facets(&self, filter: &LogFilter) -> Result<Facets, JournalError> {
        Ok(self.summarize(filter, None, Some(Counts::default()))?.facets)
    }

    /// The newest records that match, when all of them were and which values they have: one reading of the segments for
    /// all three.
    pub fn overview(&self, filter: &LogFilter, buckets: usize) -> Result<Overview, JournalError> {
        let mut overview = self.summarize(filter, Some(buckets), Some(Counts::default()))?;
        // Where everything is wanted, hardly any segment is read to count, and few are for the first page.
        if filter.wanted().is_all() {
            overview.page = self.query(filter)?;
        }
        Ok(overview)
    }

    fn summarize(
        &self,
        filter: &LogFilter,
        buckets: Option<usize>,
        mut counts: Option<Counts>,
    ) -> Result<Overview, JournalError> {
        let want = Want::of(filter)?;
        let pieces = self.pieces(&want)?;
        let buckets = buckets.map(|buckets| buckets.clamp(1, BUCKETS_MAX));
        let mut bars = buckets.and_then(|buckets| Bars::over(filter, &pieces, buckets));
        let verdicts = match want.wanted.is_all() && bars.is_some() {
            true => self.verdicts(),
            false => HashMap::new(),
        };
        let mut scan = Scan::of(filter, &want);
        let mut newest = Newest::of(filter.limit.clamp(1, LIMIT_MAX));
        let (mut whole, mut bars_partial_before) = (HashSet::new(), None);
        for piece in &pieces {
            let place = (piece.header.lane, piece.header.segment);
            let known = piece.known.filter(|_| scan.takes_all(piece));
            if let (Some(known), Some(counts)) = (known, &mut counts) {
                counts.records += known.records;
                whole.insert(place);
            }
            match (known, &mut bars) {
                (Some(_), None) => continue,
                (Some(known), Some(bars)) if bars.place(piece.header.created) == bars.place(piece.last) => {
                    let verdicts = verdicts.get(&place).copied().unwrap_or_default();
                    bars.add(piece.header.created, verdicts, known.records);
                    continue;
                }
                (Some(_), Some(_)) | (None, _) => {}
            }
            let Some(found) = scan.read(self, piece)? else {
                bars_partial_before = bars_partial_before.max(Some(piece.last));
                if known.is_none() {
                    scan.partial_before = scan.partial_before.max(Some(piece.last));
                }
                continue;
            };
            if let Some(bars) = &mut bars {
                found.each(|time, payload| {
                    bars.add(time, Verdicts::of_record(payload)?, 1);
                    Ok(())
                })?;
            }
            if known.is_none() {
                if let Some(counts) = &mut counts {
                    found.each(|_, payload| counts.note(payload))?;
                }
                if buckets.is_some() && counts.is_some() {
                    newest.take(&self.dir, &found)?;
                }
            }
        }
        let mut page = newest.page(scan.partial_before);
        if page.next_cursor.is_none() {
            page.pruned = self.pruned_of(filter)?;
        }
        Ok(Overview {
            page,
            histogram: bars.map_or_else(Histogram::default, |bars| bars.histogram(bars_partial_before)),
            facets: self.facets_of(counts.unwrap_or_default(), &whole, scan.partial_before),
        })
    }

    /// What was counted, and what the index counts in whole segments.
    fn facets_of(
        &self,
        mut counts: Counts,
        whole: &HashSet<(u16, u64)>,
        partial_before: Option<Timestamp>,
    ) -> Facets {
        let kinds = FACETS.iter().filter(|_| !whole.is_empty());
        for (_, kind) in kinds {
            for (value, place, records) in self.index.counts(*kind) {
                if whole.contains(&place) {
                    counts.add(*kind, &value, records);
                }
            }
        }
        Facets {
            records: counts.records,
            facets: FACETS
                .iter()
                .map(|(key, kind)| counts.facet(*key, *kind))
                .collect(),
            partial_before,
        }
    }

    /// Segments that may hold some of what is wanted, those with the youngest records first: what is not read of them is
    /// then as old as can be.
    fn pieces(&self, want: &Want<'_>) -> Result<Vec<Piece>, JournalError> {
        let look = self.index.look(&want.wanted.terms());
        let known = self.index.known();
        let pruned = Pruned::of(&self.dir)?;
        let mut pieces = Vec::new();
        for (lane, numbers) in list(&self.dir)? {
            self.pieces_of_lane((lane, &numbers), want, (&look, &known), &pruned, &mut pieces)?;
        }
        pieces.sort_by_key(|piece| std::cmp::Reverse((piece.last, piece.header.created)));
        Ok(pieces)
    }

    fn pieces_of_lane(
        &self,
        (lane, numbers): (u16, &[u64]),
        want: &Want<'_>,
        (look, known): (&Look, &HashMap<(u16, u64), Known>),
        pruned: &Pruned,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), JournalError> {
        let mut next = Place::last(&self.dir, lane, numbers)?;
        let mut younger = None;
        while let Some((place, header)) = next {
            let known = known.get(&(lane, header.segment)).copied();
            let known = known.filter(|known| known.stamp == header.checksum());
            let is_past = want.youngest().is_some_and(|bound| header.created > bound);
            let goes_on = want.oldest().is_none_or(|oldest| header.created >= oldest);
            if !is_past && look.may_hold(&header) {
                let last = match (known, younger) {
                    (Some(known), _) => known.last,
                    (None, Some(younger)) => younger,
                    (None, None) => last_time(&Segment::load(&self.dir, place)?)?,
                };
                pieces.push(Piece {
                    place,
                    header,
                    known,
                    last,
                    hidden: pruned.hidden_in(&header),
                });
            }
            younger = Some(header.created);
            next = match pruned.before(&header).filter(|_| goes_on) {
                Some(before) => Some((before, before.known_header(&self.dir)?)),
                None => None,
            };
        }
        Ok(())
    }

    /// How many statements of each verdict the index counts in each segment.
    fn verdicts(&self) -> HashMap<(u16, u64), Verdicts> {
        let mut all: HashMap<_, Verdicts> = HashMap::new();
        for (value, place, records) in self.index.counts(TermKind::Verdict) {
            all.entry(place).or_default().add(&value, records);
        }
        all
    }
}

fn last_time(segment: &Segment) -> Result<Timestamp, JournalError> {
    match segment.len() {
        0 => Ok(segment.header.created),
        records => segment.time(records - 1),
    }
}

/// Reads segments until enough have been read.
struct Scan<'a> {
    filter: &'a LogFilter,
    wanted: &'a Wanted,
    segments_left: usize,
    partial_before: Option<Timestamp>,
}

impl<'a> Scan<'a> {
    fn of(filter: &'a LogFilter, want: &'a Want<'_>) -> Self {
        Self {
            filter,
            wanted: &want.wanted,
            segments_left: filter.segments_max.unwrap_or(SUMMARY_SEGMENTS_MAX),
            partial_before: None,
        }
    }

    fn is_in_time(&self, time: Timestamp) -> bool {
        self.filter.since.is_none_or(|since| time >= since)
            && self.filter.until.is_none_or(|until| time < until)
    }

    /// Whether every record of a segment that the index knows is wanted.
    fn takes_all(&self, piece: &Piece) -> bool {
        let is_inside = self.is_in_time(piece.header.created) && self.is_in_time(piece.last);
        piece.known.is_some() && piece.hidden == 0 && is_inside && self.wanted.is_all()
    }

    /// What is wanted of a segment; `None`: enough have been read.
    fn read(&mut self, reader: &Reader, piece: &Piece) -> Result<Option<Found>, JournalError> {
        if self.segments_left == 0 {
            return Ok(None);
        }
        self.segments_left -= 1;
        let mut matched = Matched::load(&reader.dir, piece.place)?;
        let mut places = Vec::new();
        for place in piece.hidden..matched.segment.len() {
            let time = matched.segment.time(place)?;
            if self.is_in_time(time) && matched.says(&reader.dir, self.wanted, place)? {
                places.push(place);
            }
        }
        Ok(Some(Found {
            segment: matched.segment,
            places,
        }))
    }
}

/// A segment in memory, and which of its records are wanted, oldest first.
pub(super) struct Found {
    pub segment: Segment,
    pub places: Vec<usize>,
}

impl Found {
    fn each(
        &self,
        mut note: impl FnMut(Timestamp, &[u8]) -> Result<(), Malformed>,
    ) -> Result<(), JournalError> {
        for place in &self.places {
            let time = self.segment.time(*place)?;
            let payload = self.segment.payload(*place).unwrap_or_default();
            note(time, payload).map_err(|what| self.segment.malformed(*place, what))?;
        }
        Ok(())
    }
}

/// Statements by verdict.
#[derive(Clone, Copy, Debug, Default)]
struct Verdicts {
    allow: u64,
    hold: u64,
    deny: u64,
}

impl Verdicts {
    fn add(&mut self, word: &[u8], records: u64) {
        match word {
            b"allow" => self.allow += records,
            b"hold" => self.hold += records,
            b"deny" => self.deny += records,
            _other => {}
        }
    }

    fn of_record(payload: &[u8]) -> Result<Self, Malformed> {
        let mut verdicts = Self::default();
        let (_, fields) = Head::cut(payload)?;
        for field in fields {
            let (tag, value) = field?;
            // Fields stand in the order of their tags.
            match tag.cmp(&tag::VERDICT) {
                Ordering::Less => {}
                Ordering::Equal => verdicts.add(value, 1),
                Ordering::Greater => break,
            }
        }
        Ok(verdicts)
    }
}

/// The bars that are counted into.
struct Bars {
    start: i64,
    step: i64,
    buckets: Vec<Bucket>,
}

impl Bars {
    /// `None` if there is no time to divide.
    fn over(filter: &LogFilter, pieces: &[Piece], buckets: usize) -> Option<Self> {
        let oldest = pieces.iter().map(|piece| piece.header.created).min();
        let start = filter.since.or(oldest)?;
        let youngest = pieces.iter().map(|piece| piece.last).max();
        let end = filter
            .until
            .or(youngest.map(|last| Timestamp::from_micros(last.micros() + 1)))?;
        let span = end
            .micros()
            .checked_sub(start.micros())
            .filter(|span| *span > 0)?;
        let step_min = span.div_euclid(buckets as i64) + 1;
        let days = step_min.div_euclid(DAY) + 1;
        let step = STEPS.into_iter().find(|step| *step >= step_min);
        let step = step.unwrap_or(days * DAY);
        let start = start.micros() - start.micros().rem_euclid(step);
        let count = (end.micros() - start).div_euclid(step) + i64::from((end.micros() - start) % step > 0);
        let bucket = |place: i64| Bucket {
            start: Timestamp::from_micros(start + place * step),
            allow: 0,
            hold: 0,
            deny: 0,
            other: 0,
        };
        Some(Self {
            start,
            step,
            buckets: (0..count).map(bucket).collect(),
        })
    }

    fn histogram(self, partial_before: Option<Timestamp>) -> Histogram {
        Histogram {
            bucket_seconds: u64::try_from(self.step / SECOND).unwrap_or(0),
            buckets: self.buckets,
            partial_before,
        }
    }

    fn place(&self, time: Timestamp) -> i64 {
        (time.micros() - self.start).div_euclid(self.step)
    }

    fn add(&mut self, time: Timestamp, verdicts: Verdicts, records: u64) {
        let place = usize::try_from(self.place(time)).ok();
        if let Some(bucket) = place.and_then(|place| self.buckets.get_mut(place)) {
            let Verdicts { allow, hold, deny } = verdicts;
            bucket.allow += allow;
            bucket.hold += hold;
            bucket.deny += deny;
            bucket.other += records.saturating_sub(allow + hold + deny);
        }
    }
}

/// Records by value.
#[derive(Default)]
struct Counts {
    records: u64,
    by_value: HashMap<TermKind, HashMap<Vec<u8>, u64>>,
}

impl Counts {
    fn note(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        self.records += 1;
        let (head, fields) = Head::cut(payload)?;
        self.add(TermKind::Kind, head.kind.as_str().as_bytes(), 1);
        for field in fields {
            let (tag, value) = field?;
            for kind in TermKind::of(tag) {
                if FACETS.iter().any(|(_, of_facet)| of_facet == kind) {
                    self.add(*kind, value, 1);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, kind: TermKind, value: &[u8], records: u64) {
        let values = self.by_value.entry(kind).or_default();
        match values.get_mut(value) {
            Some(known) => *known += records,
            None => drop(values.insert(value.to_vec(), records)),
        }
    }

    fn facet(&self, key: Key, kind: TermKind) -> Facet {
        let mut values: Vec<(&Vec<u8>, u64)> = Vec::new();
        for (value, records) in self.by_value.get(&kind).into_iter().flatten() {
            values.push((value, *records));
        }
        values.sort_by(|(value, records), (other, more)| more.cmp(records).then_with(|| value.cmp(other)));
        let others = values
            .iter()
            .skip(FACET_VALUES_MAX)
            .map(|(_, records)| records)
            .sum();
        let named = values.into_iter().take(FACET_VALUES_MAX);
        Facet {
            key: key.as_str(),
            values: named
                .map(|(value, records)| FacetValue {
                    value: String::from_utf8_lossy(value).into_owned(),
                    records,
                })
                .collect(),
            others,
        }
    }
}

fn as_text<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn as_optional_text<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}
