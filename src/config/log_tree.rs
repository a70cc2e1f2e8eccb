//! What the log is called in its checkpoints, and who is handed them. Never opens a file and never calls anybody.
//! Read `../journal/tree/anchor.rs` for what becomes of them.

use std::time::Duration;

use zeroize::Zeroizing;

use super::reader::{Found, Place, Reader};
use crate::audit::checkpoint::{ORIGIN_BYTES_MAX, checked_name};
use crate::clock::parse_duration;
use crate::journal::tree::Anchor;
use crate::journal::tree::bucket::{Access, Bucket, Secret};
use crate::journal::tree::pruned::RETENTION_MIN;

/// How long objects are locked: by default over the audit of a year; at most a century.
const RETAIN_DAYS_DEFAULT: u64 = 400;
const RETAIN_DAYS_MAX: i64 = 36_500;

/// The part of `[audit]` that is about the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTree {
    pub origin: Option<String>,
    pub anchors: Vec<Anchor>,
    /// How buckets among them are reached.
    pub bucket_access: Option<Access>,
    /// How long records are kept; `None`: for ever.
    pub retention: Option<Duration>,
}

pub fn read_log_tree(reader: &mut Reader) -> LogTree {
    let tree = LogTree {
        origin: read_origin(reader),
        anchors: read_anchors(reader),
        bucket_access: read_bucket_access(reader),
        retention: read_retention(reader),
    };
    let has_bucket = tree
        .anchors
        .iter()
        .any(|anchor| matches!(anchor, Anchor::Bucket(_)));
    if has_bucket && tree.bucket_access.is_none() {
        let place = reader.table_place("audit");
        reader.complain(
            &place,
            "an anchor is a bucket, and `[audit.s3]` does not say how it is reached",
            "write `region`, `key_id` and `secret_key_file` there: docs/log.md",
        );
    }
    tree
}

/// Whatever is removed is gone, so a unit that was forgotten is no mistake that this takes: `400` are seconds.
fn read_retention(reader: &mut Reader) -> Option<Duration> {
    let Found { value, place } = reader.text("audit.retention")?;
    let retention = parse_duration(&value).filter(|retention| *retention >= RETENTION_MIN);
    if retention.is_none() {
        reader.complain(
            &place,
            format!("`{}` is no retention of a day or more", value.escape_debug()),
            "write days or weeks: 400d, 104w; leave it out to keep everything",
        );
    }
    retention
}

/// `None`: it is not told, or not wholly.
fn read_bucket_access(reader: &mut Reader) -> Option<Access> {
    let place = reader.table_place("audit.s3");
    let endpoint = reader.text("audit.s3.endpoint");
    let region = reader.text("audit.s3.region").map(|found| found.value);
    let key_id = reader.text("audit.s3.key_id").map(|found| found.value);
    let file = reader.path("audit.s3.secret_key_file");
    let given = reader.text("audit.s3.secret_key");
    let days = reader.integer("audit.s3.retain_days", 1..=RETAIN_DAYS_MAX);
    if let Some(Found { place, .. }) = given
        .as_ref()
        .filter(|given| matches!(given.place, Place::File { .. }))
    {
        reader.complain(
            place,
            "a secret does not belong into the settings file",
            "write it to a file of its own and name that in `secret_key_file`",
        );
    }
    let secret = match (given, file) {
        (Some(given), _) => Some(Secret::Given(Zeroizing::new(given.value))),
        (None, Some(file)) => Some(Secret::File(file.value)),
        (None, None) => None,
    };
    let is_told =
        endpoint.is_some() || region.is_some() || key_id.is_some() || secret.is_some() || days.is_some();
    let (Some(region), Some(key_id), Some(secret)) = (region, key_id, secret) else {
        if is_told {
            reader.complain(
                &place,
                "`[audit.s3]` needs `region`, `key_id` and `secret_key_file`",
                "the secret may also stand in the variable COUNTERSIGN__AUDIT__S3__SECRET_KEY",
            );
        }
        return None;
    };
    let days = days.map_or(RETAIN_DAYS_DEFAULT, |found| found.value.unsigned_abs());
    Some(Access {
        endpoint: read_endpoint(reader, endpoint, &region),
        region,
        key_id,
        secret,
        retain: Duration::from_secs(days * 86_400),
    })
}

fn read_endpoint(reader: &mut Reader, endpoint: Option<Found<String>>, region: &str) -> String {
    let Some(Found { value, place }) = endpoint else {
        return format!("https://s3.{region}.amazonaws.com");
    };
    let host = value.strip_prefix("https://").or(value.strip_prefix("http://"));
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || ".-:[]".contains(letter);
    if !host.is_some_and(|host| !host.is_empty() && host.chars().all(is_plain)) {
        reader.complain(
            &place,
            format!("`{}` is no endpoint", value.escape_debug()),
            "write scheme, host and port alone: https://s3.example.com:9000",
        );
    }
    value
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
        } else if let Some(bucket) = Bucket::parse(&anchor) {
            Anchor::Bucket(bucket)
        } else if anchor.contains("://") || anchor.contains(['\n', '\r']) || anchor.is_empty() {
            let message = format!("`{}` is no anchor", anchor.escape_debug());
            reader.complain(
                &place,
                message,
                "name a file, a URL that begins with https:// or http://, or a bucket as s3://bucket/prefix",
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
