//! Tells in the log of `serve` which names in the labels no database has: once for each reading of the file.
//! Never holds anything up: it waits for the catalogs by itself. Read `api/labels.rs` for the comparison.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::warn;

use crate::api::labels::{NotFound, not_found};
use crate::catalog::keepers::Catalogs;
use crate::policy::ColumnLabels;

/// How often it is asked whether the catalogs have been read: soon behind a start, or once somebody logs in. A comparison
/// of nothing costs nothing.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// Names that are told one by one; a file with more mistakes was made for another server.
const NAMES_MAX: usize = 20;

/// What the catalogs are known to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// They are being read.
    Soon,
    /// Read some time ago: a table made meanwhile would be missed, so they are read anew.
    Before,
}

/// Compares the labels that are in force now, in the background, unless others take their place before.
pub fn tell_not_found(labels: &Arc<ArcSwap<ColumnLabels>>, catalogs: &Catalogs, known: Known) {
    let (labels, catalogs) = (Arc::clone(labels), catalogs.clone());
    let compared = labels.load_full();
    if compared.is_empty() {
        return;
    }
    tokio::spawn(async move {
        if known == Known::Before {
            catalogs.refresh().await;
        }
        while Arc::ptr_eq(&labels.load(), &compared) {
            if let Some(found) = not_found(&compared, &catalogs) {
                return tell(&compared.file, &found);
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    });
}

fn tell(file: &str, found: &NotFound) {
    let places = found.places.join(", ");
    for words in found.words.iter().take(NAMES_MAX) {
        warn!(
            next_step = "correct the name and reload, unless a database has it that nobody has used yet",
            "`{file}` labels {words}, which no database read so far has ({places}): its values are not withheld"
        );
    }
    if let Some(more) = found.words.len().checked_sub(NAMES_MAX).filter(|more| *more > 0) {
        warn!(
            "`{file}` labels {more} more that no database read so far has: the status page and `countersign catalog status` list them"
        );
    }
}
