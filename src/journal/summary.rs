//! Counts records: by time and verdict, and by who, what and where. Never reads more than a bounded number of segments,
//! and says so when that was not enough; segments that lie wholly in what is asked are counted by the index.
//! Read `index.rs` next, which keeps those counts.

use std::collections::{HashMap, HashSet};

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::error::JournalError;
use super::filter::{LogFilter, TermKind, Wanted};
use super::index::{Known, Look};
use super::load::{Place, Segment};
use super::query::Key;
use super::read::{Matched, Reader, Want};
use super::recover::list;
use super::segment::Header;
use crate::audit::Malformed;
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
}

impl Reader {
    /// Counts the records that match, in at most `buckets` spans of time and one more. Without `since` and `until` it
    /// reaches from the first segment that may hold some to the last record.
    pub fn histogram(&self, filter: &LogFilter, buckets: usize) -> Result<Histogram, JournalError> {
        let want = Want::of(filter)?;
        let pieces = self.pieces(&want)?;
        let Some(mut bars) = Bars::over(filter, &pieces, buckets.clamp(1, BUCKETS_MAX)) else {
            return Ok(Histogram::default());
        };
        let verdicts = if want.wanted.is_all() {
            self.verdicts()
        } else {
            HashMap::new()
        };
        let mut scan = Scan::of(filter, &want);
        for piece in &pieces {
            let place = (piece.header.lane, piece.header.segment);
            if scan.takes_all(piece) && bars.place(piece.header.created) == bars.place(piece.last) {
                let known = piece.known.map_or(0, |known| known.records);
                bars.add(
                    piece.header.created,
                    verdicts.get(&place).copied().unwrap_or_default(),
                    known,
                );
                continue;
            }
            scan.each(self, piece, |time, payload| {
                bars.add(time, Verdicts::of_record(payload)?, 1);
                Ok(())
            })?;
        }
        Ok(Histogram {
            bucket_seconds: u64::try_from(bars.step / SECOND).unwrap_or(0),
            buckets: bars.buckets,
            partial_before: scan.partial_before,
        })
    }

    /// Which values the records that match have.
    pub fn facets(&self, filter: &LogFilter) -> Result<Facets, JournalError> {
        let want = Want::of(filter)?;
        let pieces = self.pieces(&want)?;
        let mut counts = Counts::default();
        let mut scan = Scan::of(filter, &want);
        let mut whole = HashSet::new();
        for piece in &pieces {
            if let Some(known) = piece.known.filter(|_| scan.takes_all(piece)) {
                counts.records += known.records;
                whole.insert((piece.header.lane, piece.header.segment));
                continue;
            }
            scan.each(self, piece, |_, payload| counts.note(payload))?;
        }
        if !whole.is_empty() {
            for (_, kind) in FACETS {
                for (value, place, records) in self.index.counts(kind) {
                    if whole.contains(&place) {
                        counts.add(kind, &value, records);
                    }
                }
            }
        }
        Ok(Facets {
            records: counts.records,
            facets: FACETS
                .iter()
                .map(|(key, kind)| counts.facet(*key, *kind))
                .collect(),
            partial_before: scan.partial_before,
        })
    }

    /// Segments that may hold some of what is wanted, the youngest first.
    fn pieces(&self, want: &Want<'_>) -> Result<Vec<Piece>, JournalError> {
        let look = self.index.look(&want.wanted.terms());
        let known = self.index.known();
        let mut pieces = Vec::new();
        for (lane, numbers) in list(&self.dir)? {
            self.pieces_of_lane(lane, &numbers, want, (&look, &known), &mut pieces)?;
        }
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.header.created));
        Ok(pieces)
    }

    fn pieces_of_lane(
        &self,
        lane: u16,
        numbers: &[u64],
        want: &Want<'_>,
        (look, known): (&Look, &HashMap<(u16, u64), Known>),
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
                });
            }
            younger = Some(header.created);
            next = match Place::before(&header).filter(|_| goes_on) {
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
        piece.known.is_some() && is_inside && self.wanted.is_all()
    }

    fn each(
        &mut self,
        reader: &Reader,
        piece: &Piece,
        mut note: impl FnMut(Timestamp, &[u8]) -> Result<(), Malformed>,
    ) -> Result<(), JournalError> {
        if self.segments_left == 0 {
            self.partial_before = self.partial_before.max(Some(piece.last));
            return Ok(());
        }
        self.segments_left -= 1;
        let mut matched = Matched::load(&reader.dir, piece.place)?;
        for place in 0..matched.segment.len() {
            let time = matched.segment.time(place)?;
            if self.is_in_time(time) && matched.says(&reader.dir, self.wanted, place)? {
                let payload = matched.segment.payload(place).unwrap_or_default();
                note(time, payload).map_err(|what| matched.segment.malformed(place, what))?;
            }
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
            if TermKind::of(tag) == Some(TermKind::Verdict) {
                verdicts.add(value, 1);
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
        let start = filter.since.or(pieces.last().map(|piece| piece.header.created))?;
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
            if let Some(kind) = TermKind::of(tag)
                && FACETS.iter().any(|(_, of_facet)| *of_facet == kind)
            {
                self.add(kind, value, 1);
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
