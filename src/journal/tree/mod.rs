//! The tree on disk: in which order records are its leaves, their hashes, and the checkpoints signed over them.
//! Never on the way of a statement: a thread of its own reads back what is on disk already, and an append never waits
//! for it. Read `files.rs` next, then `keeper.rs` (how it grows), `open.rs` (how it is found) and `verify.rs`.
//!
//! ```text
//! tree/runs         32 bytes: magic, zeros; then a run of leaves in 32 bytes each: first leaf u64, first record u64,
//!                   how many u64, lane u16, zero u16, CRC32C u32 of the 28 bytes before
//! tree/level-00     the hash of every leaf, 32 bytes each
//! tree/level-08     the hash of every complete subtree of 2^8 leaves; so on for level-16, level-24 …
//! tree/checkpoints  signed notes as `audit/checkpoint.rs` writes them, an empty line behind each
//! tree/anchored     what each anchor has taken: size, a space, the anchor; a line each
//! tree/pruned       what is gone by retention, if anything is: see `pruned.rs`
//! ```
//! All numbers are big endian. A leaf is the canonical bytes of a numbered record; a text is bound by its SHA-256 in
//! the attempt that names it, a parameter's value by its commitment there. Everything that a checkpoint signs was on disk before: the records, their order, the
//! hashes. What stands behind the last checkpoint may be torn or missing: it is made again from the journal.
//!
//! Why runs: lanes are written side by side, and a tree has one right edge. The order between lanes is the order in
//! which they were read back; within a lane it is that of the records.

mod anchor;
pub mod bucket;
mod cursor;
pub(super) mod files;
mod keeper;
mod key;
mod open;
pub mod proof;
pub mod pruned;
pub mod span;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_pruned;
#[cfg(test)]
mod tests_start;
pub(super) mod trace;
pub mod verify;
mod walk;

use std::path::Path;

use crate::clock::Timestamp;

pub(super) use anchor::start as start_anchors;
pub use anchor::{Anchor, newest_in_bucket};
pub use files::{CHECKPOINTS_FILE, FOLDER, Folder, RUNS_FILE};
pub use keeper::{AnchorStatus, Keeper, Status, start};
pub(super) use key::read_public;
pub use key::{PUBLIC_KEY_FILE, SIGNING_KEY_FILE};
pub use open::open;
pub use trace::{TRACE_FILE, tells_loss};

/// A checkpoint is signed this often if there is anything new.
pub const CHECKPOINT_EVERY: std::time::Duration = std::time::Duration::from_secs(60);

/// Records that were never signed and span more than this were signed once, or signing had failed: twice the time
/// between two checkpoints.
const UNSIGNED_MAX: std::time::Duration = std::time::Duration::from_secs(120);

/// A hash on disk.
pub(super) const HASH_BYTES: u64 = 32;

/// Every so many levels of the tree there is a file: a proof reads at most 2^7 hashes of one for each of its own.
pub(super) const LEVELS_PER_FILE: u32 = 8;

/// Where a tree that is not continued is put, beside the one that is begun instead.
fn put_aside(folder: &Folder, now: Timestamp) -> std::path::PathBuf {
    let name = format!("{FOLDER}-contradicted-{}", now.micros());
    folder.path().parent().unwrap_or(Path::new(".")).join(name)
}
