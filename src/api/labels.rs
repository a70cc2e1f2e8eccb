//! Labels of columns against the catalogs: a misspelt name protects nothing, and nobody would notice.
//! Never says anything before a catalog has been read. Read `policy/unfound.rs` next.

use crate::catalog::keeper::Seen;
use crate::catalog::keepers::Catalogs;
use crate::policy::{ColumnLabels, Unfound};

/// What the labels name and no catalog has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotFound {
    /// In words, each a table or a column.
    pub words: Vec<String>,
    /// The databases and servers that were looked through.
    pub places: Vec<String>,
}

/// By what was read last; `None`: nothing is labelled, or no catalog has been read yet.
pub fn not_found(labels: &ColumnLabels, catalogs: &Catalogs) -> Option<NotFound> {
    if labels.is_empty() {
        return None;
    }
    let mut unfound = Unfound::of(labels);
    let places = catalogs.see(&mut |seen| match seen {
        Seen::Relation(relation, columns) => unfound.there_is(&relation, &columns),
        Seen::LeftOut(schema) => unfound.leave_out(schema),
    })?;
    Some(NotFound {
        words: unfound.words(),
        places,
    })
}
