//! What browsers report when a page breaks its own policy: a fault of ours, or somebody's text that tried to run.
//! Never keeps a report: the first ones go to the log of `serve`, all are counted. Read `mod.rs` for the policy.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use axum::http::StatusCode;

use crate::render::visible_line;

/// Reports that are logged; anybody can send more.
const LOGGED_MAX: u64 = 100;
/// What is logged of one. Units: bytes.
const LOGGED_BYTES_MAX: usize = 400;

static COUNT: AtomicU64 = AtomicU64::new(0);

pub async fn take(report: Bytes) -> StatusCode {
    let before = COUNT.fetch_add(1, Ordering::Relaxed);
    if before < LOGGED_MAX {
        let text = report.iter().take(LOGGED_BYTES_MAX).copied().collect::<Vec<_>>();
        let text = visible_line(&crate::render::visible_bytes(&text));
        tracing::warn!("a browser says that a page has broken its policy: {text}");
    }
    StatusCode::NO_CONTENT
}

/// How many have come since the start.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}
