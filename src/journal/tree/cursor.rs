//! Reads the records of one lane back, in order, up to where the lane is on disk.
//! Never reads a byte that is not known to be there, so a segment may be growing behind it. Read `keeper.rs` next.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::journal::JournalError;
use crate::journal::checkpoint::LaneMark;
use crate::journal::error::Damage;
use crate::journal::load::Place;
use crate::journal::segment::{Cut, Frames, HEADER_BYTES, Header, Held};

/// How far one lane has been read.
#[derive(Clone, Debug)]
pub struct LaneCursor {
    lane: u16,
    /// The next record.
    pub next: u64,
    at: Option<At>,
}

/// The end of the last frame that was read.
#[derive(Clone, Copy, Debug)]
struct At {
    segment: u64,
    offset: usize,
    checksum: u32,
    /// The number of the next record in the segment.
    number: u64,
}

impl LaneCursor {
    /// Begins at the record with this number.
    pub const fn new(lane: u16, next: u64) -> Self {
        Self { lane, next, at: None }
    }

    /// Reads on, at most to the mark and at most so many records; `each` is given their canonical bytes.
    pub fn read(
        &mut self,
        dir: &Path,
        mark: &LaneMark,
        records_max: u64,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), JournalError> {
        let end = self.next.saturating_add(records_max).min(mark.records);
        if self.next >= end {
            return Ok(());
        }
        let mut links = self.links(dir, mark)?;
        while self.next < end
            && let Some((place, header)) = links.pop()
        {
            self.read_segment(dir, place, &header, end, &mut each)?;
        }
        if self.next < end {
            let last = Place {
                lane: self.lane,
                segment: mark.segment,
                end: None,
            };
            return Err(JournalError::damaged(
                &last.path(dir),
                mark.offset,
                Damage::Length,
            ));
        }
        Ok(())
    }

    /// The segments from where the cursor is to the mark, the next one last.
    fn links(&mut self, dir: &Path, mark: &LaneMark) -> Result<Vec<(Place, Header)>, JournalError> {
        let mut place = Place {
            lane: self.lane,
            segment: mark.segment,
            end: Some(mark.offset),
        };
        let mut links = Vec::new();
        loop {
            let header = place.known_header(dir)?;
            links.push((place, header));
            let is_here = match self.at {
                Some(at) if at.segment == place.segment => true,
                Some(_) => false,
                None => header.first_record <= self.next,
            };
            if is_here {
                return Ok(links);
            }
            match Place::before(&header) {
                // The segment that was being read is not in the chain any more: found again by its number.
                Some(before) if self.at.is_some_and(|at| before.segment < at.segment) => {
                    self.at = None;
                    if header.first_record <= self.next {
                        return Ok(links);
                    }
                    place = before;
                }
                Some(before) => place = before,
                None => {
                    return Err(JournalError::damaged(&place.path(dir), 0, Damage::Gap(0)));
                }
            }
        }
    }

    fn read_segment(
        &mut self,
        dir: &Path,
        place: Place,
        header: &Header,
        end: u64,
        each: &mut impl FnMut(&[u8]),
    ) -> Result<(), JournalError> {
        let at = self.at.filter(|at| at.segment == place.segment).unwrap_or(At {
            segment: place.segment,
            offset: HEADER_BYTES,
            checksum: header.checksum(),
            number: header.first_record,
        });
        let path = place.path(dir);
        let until = place.end.and_then(|end| usize::try_from(end).ok());
        let length = until.and_then(|end| end.checked_sub(at.offset));
        let length = length.ok_or_else(|| JournalError::damaged(&path, at.offset as u64, Damage::Length))?;
        let mut bytes = vec![0; length];
        File::open(&path)
            .and_then(|file| file.read_exact_at(&mut bytes, at.offset as u64))
            .map_err(|cause| JournalError::read(&path, cause))?;
        let mut frames = Frames::from(&bytes, 0, at.checksum);
        let mut number = at.number;
        while self.next < end {
            match frames.cut() {
                Cut::Record { payload, .. } if Held::of(payload) != Held::Record => {}
                Cut::Record { payload, .. } => {
                    if number >= self.next {
                        each(payload);
                        self.next = number + 1;
                    }
                    number += 1;
                }
                Cut::Seal | Cut::End => break,
                Cut::Bad(what) => {
                    let offset = at.offset + frames.offset();
                    return Err(JournalError::damaged(&path, offset as u64, what));
                }
            }
        }
        self.at = Some(At {
            segment: place.segment,
            offset: at.offset + frames.offset(),
            checksum: frames.checksum(),
            number,
        });
        Ok(())
    }
}
