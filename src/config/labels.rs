//! Which file labels columns. Never reads it. Read `../policy/labels.rs` for what stands in it.

use std::path::PathBuf;

use super::front::Front;
use super::reader::{Found, Reader};

/// `labels.file`: every server needs a catalog then, because a view may read a labelled column under another name.
pub fn read_labels<'f>(reader: &mut Reader, fronts: impl Iterator<Item = &'f Front>) -> Option<PathBuf> {
    let Found { value, place } = reader.path("labels.file")?;
    let without = fronts
        .filter(|front| front.is_served() && front.catalog.is_none())
        .map(|front| front.sections.catalog);
    for section in without.collect::<Vec<_>>() {
        let message =
            format!("columns are labelled, and without `[{section}]` nobody knows what a view reads");
        let next_step = format!("set `{section}.user`, or remove `labels.file`");
        reader.complain(&place, message, next_step);
    }
    Some(value)
}
