//! The first page of a query, gathered from segments in whatever order they are read.
//! Never keeps more than a page holds. Read `summary.rs` next, which counts on the same way.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::JournalError;
use super::filter::PAGE_BYTES_MAX;
use super::read::{Key, LAST_ID, Page};
use super::summary::Found;
use crate::audit::Record;
use crate::clock::Timestamp;

/// The newest of the records that are found, as many as fit on a page.
pub(super) struct Newest {
    limit: usize,
    records: BTreeMap<Key, Record>,
    bytes: usize,
    /// Older ones were found, too.
    has_more: bool,
}

impl Newest {
    pub const fn of(limit: usize) -> Self {
        Self {
            limit,
            records: BTreeMap::new(),
            bytes: 0,
            has_more: false,
        }
    }

    fn is_full(&self) -> bool {
        self.records.len() >= self.limit || self.bytes >= PAGE_BYTES_MAX
    }

    pub fn take(&mut self, dir: &Path, found: &Found) -> Result<(), JournalError> {
        for place in found.places.iter().rev() {
            let key = Key {
                time: found.segment.time(*place)?,
                id: found.segment.id(*place),
            };
            let oldest = self.records.first_key_value().map(|(key, _)| *key);
            // What is still to come of this segment is older yet.
            if self.is_full() && oldest.is_some_and(|oldest| key < oldest) {
                self.has_more = true;
                break;
            }
            let record = found.segment.record(dir, *place)?;
            self.bytes += record.fields.bytes();
            self.records.insert(key, record);
            self.cut();
        }
        Ok(())
    }

    /// Lets go of the oldest while the page is full without it.
    fn cut(&mut self) {
        while let Some(oldest) = self.records.first_entry() {
            let left = self.bytes - oldest.get().fields.bytes();
            if self.records.len() <= self.limit && left < PAGE_BYTES_MAX {
                break;
            }
            self.records.pop_first();
            self.bytes = left;
            self.has_more = true;
        }
    }

    /// The page; `looked_to`: records before this moment may have been missed.
    pub fn page(mut self, looked_to: Option<Timestamp>) -> Page {
        let (is_full, found) = (self.is_full(), self.records.len());
        self.records
            .retain(|key, _| looked_to.is_none_or(|bound| key.time > bound));
        let is_whole = is_full && self.records.len() == found;
        let oldest = self.records.first_key_value().map(|(key, _)| *key);
        let (next, looked_to) = match looked_to {
            Some(_) if is_whole => (oldest, None),
            Some(time) => (Some(Key { time, id: LAST_ID }), Some(time)),
            None => (oldest.filter(|_| self.has_more), None),
        };
        Page {
            records: self.records.into_values().rev().collect(),
            next_cursor: next.map(|key| key.to_string()),
            looked_to,
            pruned: None,
        }
    }
}
