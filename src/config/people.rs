//! How people sign in: how long sessions last, where browsers reach the pages, who needs a second factor.
//! Read `countersign.toml` for what each means.

use std::time::Duration;

use super::reader::Reader;
use crate::api::browser::{self, IDLE_DEFAULT, WHOLE_LIFE};
use crate::desk::BREAK_GLASS_PER_DAY;
use crate::identity::assurance::SecondFactor;
use crate::store::SessionLife;

pub fn read_people(reader: &mut Reader) -> browser::Settings {
    let whole = i64::try_from(WHOLE_LIFE.as_secs()).unwrap_or(i64::MAX);
    let idle = reader
        .integer("people.idle_seconds", 60..=whole)
        .and_then(|found| u64::try_from(found.value).ok())
        .map_or(IDLE_DEFAULT, Duration::from_secs);
    let words = [
        ("offered", SecondFactor::Offered),
        ("required", SecondFactor::Required),
    ];
    let second_factor = reader.choice("people.second_factor", &words);
    browser::Settings {
        life: SessionLife {
            idle,
            whole: WHOLE_LIFE,
        },
        origin: read_origin(reader),
        second_factor: second_factor.map_or(SecondFactor::default(), |found| found.value),
    }
}

/// More is no limit: one person does not approve alone all day long.
const BREAK_GLASS_PER_DAY_MAX: i64 = 100;

pub fn read_break_glass(reader: &mut Reader) -> u32 {
    reader
        .integer("people.break_glass_per_day", 0..=BREAK_GLASS_PER_DAY_MAX)
        .and_then(|found| u32::try_from(found.value).ok())
        .unwrap_or(BREAK_GLASS_PER_DAY)
}

/// `https://host` or `https://host:port`, as a browser sends it; plain HTTP on this machine alone, for browsers keep no
/// session anywhere else without TLS.
fn read_origin(reader: &mut Reader) -> Option<String> {
    let found = reader.text("people.origin")?;
    let origin = found.value.trim_end_matches('/').to_ascii_lowercase();
    let is_bare = |host: &str| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']);
    let is_good = match origin.split_once("://") {
        Some(("https", host)) => is_bare(host),
        Some(("http", host)) => is_bare(host) && (host == "localhost" || host.starts_with("localhost:")),
        Some(_) | None => false,
    };
    if is_good {
        return Some(origin);
    }
    reader.complain(
        &found.place,
        format!("`{}` is not where a browser reaches the pages", found.value),
        "write `https://HOST` or `https://HOST:PORT`, without a path; `http://localhost:PORT` on this machine",
    );
    None
}
