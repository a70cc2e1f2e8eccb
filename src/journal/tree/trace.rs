//! The last checkpoint once more, outside the tree: beside the key, in `log.signed`. Whoever cuts the tree has to think
//! of it, and a folder that came back from a copy is noticed. Never newer than the tree's own. Read `open.rs` next.
//!
//! Why it proves nothing by itself: an older checkpoint can be put there too, by whoever can write all of the data
//! folder. What cannot be rolled back lies elsewhere: `anchor.rs`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::files::{Folder, Levels, read_if_there};
use super::pruned::Pruned;
use crate::audit::checkpoint::{Checkpoint, Signed, VerifyingKey};
use crate::audit::merkle::{Hash, hash_of_range};
use crate::journal::JournalError;

/// In the settings' key folder.
pub const TRACE_FILE: &str = "log.signed";
const NEW_FILE: &str = "log.signed.new";

/// Keeps the checkpoint; returns when it is on disk.
pub fn write(folder: &Path, signed: &Signed) -> io::Result<()> {
    let new = folder.join(NEW_FILE);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&new)?;
    file.write_all(signed.note.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, folder.join(TRACE_FILE))?;
    File::open(folder)?.sync_all()
}

/// What is kept; `None`: there is no such file. One that this key did not sign contradicts the log.
pub fn read(folder: &Path, key: &VerifyingKey) -> Result<Option<Checkpoint>, JournalError> {
    let path = folder.join(TRACE_FILE);
    let bytes = read_if_there(&path).map_err(|cause| JournalError::read(&path, cause))?;
    if bytes.is_empty() && !path.exists() {
        return Ok(None);
    }
    let note = std::str::from_utf8(&bytes).unwrap_or_default();
    match key.verify(note) {
        Ok(signed) => Ok(Some(signed.checkpoint)),
        Err(cause) => Err(JournalError::Contradicted {
            file: path,
            what: format!("its checkpoint: {cause}"),
        }),
    }
}

/// That so many records have this root, and who says so.
pub struct Claim {
    pub file: PathBuf,
    pub size: u64,
    pub root: Hash,
}

impl Claim {
    pub fn of(file: PathBuf, checkpoint: &Checkpoint) -> Self {
        Self {
            file,
            size: checkpoint.size,
            root: checkpoint.root,
        }
    }

    /// Holds it against a tree of which the first `signed` leaves are signed.
    pub fn check(&self, folder: &Folder, signed: u64) -> Result<(), JournalError> {
        let contradicted = |what: String| JournalError::Contradicted {
            file: self.file.clone(),
            what,
        };
        let held = self.size;
        if held > signed {
            return Err(contradicted(format!(
                "it holds a checkpoint over {held} records, and {signed} are signed here"
            )));
        }
        let pruned = Pruned::read(folder)?;
        if !pruned.can_tell(held) {
            let gone = pruned.leaves;
            return Err(contradicted(format!(
                "it holds a checkpoint over {held} records, and the first {gone} are pruned, which nothing is before it \
                 is signed here and taken by every anchor"
            )));
        }
        let mut levels = Levels::of(folder);
        let root = hash_of_range(0..held, |subtree| levels.hash_of(subtree))
            .map_err(|cause| JournalError::read(folder.path(), cause))?;
        if root != self.root {
            return Err(contradicted(format!(
                "the first {held} records are not those that it was told of"
            )));
        }
        Ok(())
    }
}

/// What a boot record says of the checkpoint that it was written after.
pub fn boot_detail(checkpoint: &Checkpoint) -> String {
    let root = STANDARD.encode(checkpoint.root);
    format!("{BOOT_BEGINS}{} records, root {root}", checkpoint.size)
}

/// Whether what a boot record says besides is more than what was signed before it.
pub fn tells_loss(detail: &str) -> bool {
    !detail.is_empty() && !detail.starts_with(BOOT_BEGINS)
}

const BOOT_BEGINS: &str = "signed before: ";

/// Reads what `boot_detail` writes, whatever stands before it: size and root.
pub fn parse_boot_detail(detail: &str) -> Option<(u64, Hash)> {
    let (size, root) = detail.rsplit_once(BOOT_BEGINS)?.1.split_once(" records, root ")?;
    Some((size.parse().ok()?, STANDARD.decode(root).ok()?.try_into().ok()?))
}
