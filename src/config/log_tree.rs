//! What the log is called in its checkpoints, and who is handed them. Never opens a file and never calls anybody.
//! Read `../journal/tree/anchor.rs` for what becomes of them.

use super::reader::{Found, Reader};
use crate::audit::checkpoint::{ORIGIN_BYTES_MAX, checked_name};
use crate::journal::tree::Anchor;

/// The part of `[audit]` that is about the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTree {
    pub origin: Option<String>,
    pub anchors: Vec<Anchor>,
}

pub fn read_log_tree(reader: &mut Reader) -> LogTree {
    LogTree {
        origin: read_origin(reader),
        anchors: read_anchors(reader),
    }
}

fn read_origin(reader: &mut Reader) -> Option<String> {
    let Found { value, place } = reader.text("audit.origin")?;
    if checked_name(&value).is_err() {
        let message = format!("`{value}` cannot be the name of a log");
        let next_step =
            format!("write 1 to {ORIGIN_BYTES_MAX} letters without spaces or plus signs: example.com/audit");
        reader.complain(&place, message, next_step);
        return None;
    }
    Some(value)
}

fn read_anchors(reader: &mut Reader) -> Vec<Anchor> {
    let Some(Found { value, place }) = reader.list("audit.anchors") else {
        return Vec::new();
    };
    let mut anchors = Vec::new();
    for anchor in value {
        let is_url = ["http://", "https://"]
            .iter()
            .any(|scheme| anchor.starts_with(scheme));
        let read = if is_url {
            Anchor::Url(anchor)
        } else if anchor.contains("://") || anchor.contains(['\n', '\r']) || anchor.is_empty() {
            let message = format!("`{}` is no anchor", anchor.escape_debug());
            reader.complain(
                &place,
                message,
                "name a file, or a URL that begins with https:// or http://",
            );
            continue;
        } else {
            let place = place.clone();
            Anchor::File(reader.resolve(Found { value: anchor, place }).value)
        };
        if anchors.contains(&read) {
            reader.complain(
                &place,
                format!("the anchor `{read}` is named twice"),
                "name it once",
            );
            continue;
        }
        anchors.push(read);
    }
    anchors
}
