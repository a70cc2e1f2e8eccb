//! What a journal folder holds when it is opened: where each lane ends, and which attempts never got a result.
//! Never cuts a sealed segment, and nothing that was known to be on disk: that is an error, named with file and byte.
//! Read `read.rs` next.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use super::checkpoint::LaneMark;
use super::disk::{Disk, DiskFile};
use super::error::{Damage, JournalError};
use super::load::Place;
use super::segment::{self, Cut, Frames, Header, Held};
use super::writer::{LaneStart, awaits_result};
use super::{OnLoss, Settings};
use crate::audit::record::Values;
use crate::audit::{Kind, LanePosition, Record};
use crate::clock::Timestamp;
use crate::identity::principal::AttemptId;

/// A lane as it was found, mended and ready to go on.
#[derive(Debug)]
pub struct LaneFound {
    pub start: LaneStart,
    pub position: LanePosition,
    /// Of the journal's own lane: what its last boot record says besides.
    pub boot_detail: Option<String>,
}

/// Looks at every lane of the folder.
pub fn recover(
    settings: &Settings,
    disk: &Disk,
    marks: &BTreeMap<u16, LaneMark>,
) -> Result<BTreeMap<u16, LaneFound>, JournalError> {
    let mut lanes = list(&settings.dir)?;
    // A lane that is gone altogether is a loss too.
    for lane in marks.keys() {
        lanes.entry(*lane).or_default();
    }
    let found = lanes.into_iter().map(|(lane, numbers)| {
        let search = Search {
            settings,
            disk,
            lane,
            mark: marks.get(&lane).copied(),
        };
        Ok((lane, search.run(&numbers)?))
    });
    found.collect()
}

/// The segment files of each lane, lowest first.
pub fn list(dir: &Path) -> Result<BTreeMap<u16, Vec<u64>>, JournalError> {
    let failed = |cause| JournalError::read(dir, cause);
    let mut lanes: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    for file in std::fs::read_dir(dir).map_err(failed)? {
        let name = file.map_err(failed)?.file_name();
        if let Some((lane, number)) = name.to_str().and_then(segment::parse_file_name) {
            lanes.entry(lane).or_default().push(number);
        }
    }
    lanes.values_mut().for_each(|numbers| numbers.sort_unstable());
    Ok(lanes)
}

/// One segment of a lane's chain. Its bytes are read when they are looked at: a chain can be long.
struct Link {
    path: PathBuf,
    header: Header,
}

impl Link {
    fn bytes(&self) -> Result<Vec<u8>, JournalError> {
        std::fs::read(&self.path).map_err(|cause| JournalError::read(&self.path, cause))
    }
}

/// The look at one lane.
struct Search<'a> {
    settings: &'a Settings,
    disk: &'a Disk,
    lane: u16,
    mark: Option<LaneMark>,
}

/// What the look has seen so far.
struct Seen {
    records: u64,
    last_time: Timestamp,
    attempts: HashMap<AttemptId, u64>,
    boot_detail: Option<String>,
}

/// Where the good part of a segment ends, and why.
struct GoodEnd {
    offset: usize,
    bad: Option<Damage>,
    is_sealed: bool,
}

impl Search<'_> {
    fn run(&self, numbers: &[u64]) -> Result<LaneFound, JournalError> {
        let marked = self.mark.map_or(0, |mark| mark.segment + 1);
        let next_segment = numbers.last().map_or(0, |last| last + 1).max(marked);
        let mut found = LaneFound {
            start: LaneStart {
                next_segment,
                ..LaneStart::empty()
            },
            position: LanePosition {
                lane: self.lane,
                durable: self.mark.map_or(0, |mark| mark.records),
                found: 0,
                cut: 0,
            },
            boot_detail: None,
        };
        let chain = self.chain(numbers, &mut found.position.cut)?;
        if let Some(first) = chain.first() {
            let mut seen = Seen {
                records: first.header.first_record,
                last_time: first.header.created,
                attempts: HashMap::new(),
                boot_detail: None,
            };
            let (last, end) = self.scan(&chain, &mut seen)?;
            found.position.found = seen.records;
            // Nothing is cut from a journal that is refused.
            self.check_for_loss(&found, chain.last())?;
            found.position.cut += self.finish(&chain, last, &end, &seen)?;
            found.start.next_record = seen.records;
            found.start.last_time = seen.last_time;
            found.start.previous = Some((chain[last].header.segment, end.offset as u64));
            found.start.attempts = seen.attempts;
            found.boot_detail = seen.boot_detail;
        } else {
            self.check_for_loss(&found, None)?;
        }
        Ok(found)
    }

    /// The segments in which attempts may still wait for a result, oldest first.
    fn chain(&self, numbers: &[u64], cut: &mut u64) -> Result<Vec<Link>, JournalError> {
        let mut chain = Vec::new();
        for number in numbers.iter().rev() {
            match self.link(*number)? {
                Some(last) => {
                    chain.push(last);
                    break;
                }
                None => *cut += self.never_begun(*number)?,
            }
        }
        while let Some(link) = chain.last()
            && link.header.segment > chain[0].header.open_from
            && let Some((previous, _)) = link.header.previous
        {
            let gap = JournalError::damaged(&link.path, 0, Damage::Gap(previous));
            let before = if numbers.contains(&previous) {
                self.link(previous)?
            } else {
                None
            };
            chain.push(before.ok_or(gap)?);
        }
        chain.reverse();
        Ok(chain)
    }

    /// A file whose header never reached the disk holds nothing that anybody was told of. Gives its bytes that are
    /// not zero, which are left where they are.
    fn never_begun(&self, segment: u64) -> Result<u64, JournalError> {
        let path = Place {
            lane: self.lane,
            segment,
            end: None,
        }
        .path(&self.settings.dir);
        let bytes = std::fs::read(&path).map_err(|cause| JournalError::read(&path, cause))?;
        if segment::ends_with_seal(&bytes) {
            return Err(JournalError::damaged(&path, 0, Damage::Header));
        }
        let used = used_bytes(&bytes);
        if used > 0 {
            tracing::warn!(file = %path.display(), bytes = used, "a segment without a header is left aside");
        }
        Ok(used)
    }

    fn link(&self, segment: u64) -> Result<Option<Link>, JournalError> {
        let place = Place {
            lane: self.lane,
            segment,
            end: None,
        };
        let path = place.path(&self.settings.dir);
        let header = place.header(&self.settings.dir)?;
        Ok(header.map(|header| Link { path, header }))
    }

    /// Goes through the chain up to its end or to the first bad frame that may be cut; gives the place of that link.
    fn scan(&self, chain: &[Link], seen: &mut Seen) -> Result<(usize, GoodEnd), JournalError> {
        let mut place = 0;
        loop {
            let link = &chain[place];
            let next = chain.get(place + 1);
            if link.header.first_record != seen.records {
                let gap = Damage::Gap(link.header.previous.map_or(0, |(previous, _)| previous));
                return Err(JournalError::damaged(&link.path, 0, gap));
            }
            let counted = next.and_then(|next| next.header.previous).map(|(_, end)| end);
            let bytes = link.bytes()?;
            let end = scan_segment(link, &bytes, counted, seen);
            if let Some(what) = end.bad
                && !self.may_cut(link, &bytes, &end, what)
            {
                return Err(JournalError::damaged(&link.path, end.offset as u64, what));
            }
            if next.is_none() || end.bad.is_some() {
                return Ok((place, end));
            }
            place += 1;
        }
    }

    /// A torn end is cut where nothing says that it had been on disk. A record that is whole and not understood was
    /// written by a newer program, and stays.
    fn may_cut(&self, link: &Link, bytes: &[u8], end: &GoodEnd, what: Damage) -> bool {
        let is_torn = !matches!(what, Damage::Record(_)) && !segment::ends_with_seal(bytes);
        let was_on_disk = self.mark.is_some_and(|mark| {
            let here = (link.header.segment, end.offset as u64);
            here < (mark.segment, mark.offset)
        });
        is_torn && (!was_on_disk || self.settings.on_loss != OnLoss::Refuse)
    }

    /// Cuts the torn end off, seals the segment, and puts aside what stands behind it. Gives the bytes that are gone.
    fn finish(&self, chain: &[Link], last: usize, end: &GoodEnd, seen: &Seen) -> Result<u64, JournalError> {
        let link = &chain[last];
        let bytes = link.bytes()?;
        let mut cut = used_bytes(&bytes[end.offset..]);
        for behind in &chain[last + 1..] {
            cut += used_bytes(&behind.bytes()?);
            let aside = behind.path.with_extension("void");
            std::fs::rename(&behind.path, &aside)
                .map_err(|cause| JournalError::write(&behind.path, cause))?;
        }
        if end.is_sealed {
            return Ok(0);
        }
        if cut > 0 {
            tracing::warn!(
                file = %link.path.display(), offset = end.offset, bytes = cut,
                "a torn end of the log is cut off"
            );
        }
        let count = u32::try_from(seen.records - link.header.first_record).unwrap_or(u32::MAX);
        let seal = segment::seal(checksum_at(&bytes, end.offset), count, seen.last_time);
        self.seal(&link.path, end.offset as u64, &seal)
            .map_err(|cause| JournalError::write(&link.path, cause))?;
        Ok(cut)
    }

    fn seal(&self, path: &Path, end: u64, seal: &[u8]) -> io::Result<()> {
        let file = DiskFile::open(path)?;
        self.disk.truncate(&file, end)?;
        self.disk.sync(&file)?;
        self.disk.write_at(&file, seal, end)?;
        self.disk.sync(&file)?;
        self.disk.sync_folder(&self.settings.dir)
    }

    fn check_for_loss(&self, found: &LaneFound, last: Option<&Link>) -> Result<(), JournalError> {
        let position = found.position;
        if position.found >= position.durable {
            return Ok(());
        }
        let file = last.map_or_else(|| self.settings.dir.clone(), |last| last.path.clone());
        let (lane, durable, found) = (self.lane, position.durable, position.found);
        let loss = JournalError::Shorter {
            lane,
            durable,
            found,
            file,
        };
        match &self.settings.on_loss {
            OnLoss::Refuse => Err(loss),
            OnLoss::Record { reason } => {
                tracing::error!(error = %loss, reason, "records of the log are lost, and that is recorded");
                Ok(())
            }
        }
    }
}

fn scan_segment(link: &Link, bytes: &[u8], counted: Option<u64>, seen: &mut Seen) -> GoodEnd {
    let whole = bytes.len();
    let limit = counted.map_or(whole, |end| usize::try_from(end).unwrap_or(whole).min(whole));
    let is_short = counted.is_some_and(|end| end > whole as u64);
    let mut frames = Frames::behind_header(&bytes[..limit], link.header.checksum());
    loop {
        let offset = frames.offset();
        let bad = match frames.cut() {
            Cut::Record { payload, .. } => match seen.note(payload, link.header.segment) {
                Ok(()) => continue,
                Err(damage) => Some(damage),
            },
            Cut::Seal => {
                return GoodEnd {
                    offset,
                    bad: None,
                    is_sealed: true,
                };
            }
            Cut::End if is_short || counted.is_some() && offset < limit => Some(Damage::Length),
            Cut::End => None,
            Cut::Bad(damage) => Some(damage),
        };
        return GoodEnd {
            offset,
            bad,
            is_sealed: false,
        };
    }
}

impl Seen {
    fn note(&mut self, payload: &[u8], segment: u64) -> Result<(), Damage> {
        match Held::of(payload) {
            Held::Record => {}
            Held::Values => return Values::decode(payload).map(drop).map_err(Damage::Record),
            Held::Text(_) => return Record::decode(payload).map(drop).map_err(Damage::Record),
        }
        let record = Record::decode(payload)?;
        self.records += 1;
        self.last_time = self.last_time.max(record.time);
        if record.kind == Kind::Boot {
            self.boot_detail = record.fields.detail;
            return Ok(());
        }
        let Some(id) = record.fields.attempt else {
            return Ok(());
        };
        let verdict = record.fields.verdict.as_deref().unwrap_or_default();
        if record.kind == Kind::Attempt && awaits_result(verdict, record.fields.request.as_deref()) {
            self.attempts.insert(id, segment);
        } else if record.kind == Kind::Outcome {
            self.attempts.remove(&id);
        }
        Ok(())
    }
}

/// The checksum of the last frame before `end`, which is known to be good.
fn checksum_at(bytes: &[u8], end: usize) -> u32 {
    let start = Header::decode(bytes).map_or(0, |(_, checksum)| checksum);
    let mut frames = Frames::behind_header(&bytes[..end], start);
    while let Cut::Record { .. } = frames.cut() {}
    frames.checksum()
}

/// How many bytes there are up to the last that is not zero. Preallocated segments end in megabytes of zeros, so they
/// are compared by pages.
fn used_bytes(bytes: &[u8]) -> u64 {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut behind = bytes.len();
    for page in bytes.rchunks(ZEROS.len()) {
        behind -= page.len();
        if page != &ZEROS[..page.len()] {
            let last = page.iter().rposition(|byte| *byte != 0);
            return last.map_or(0, |last| (behind + last + 1) as u64);
        }
    }
    0
}
