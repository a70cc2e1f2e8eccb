//! What a session hears while it waits, and what ends it. Never waits itself: the sessions do.
//! Read `postgres/session.rs` or `mysql/session.rs` next.

use std::time::Duration;

use crate::desk::{AskError, NotStarted};
use crate::hold::RequestId;
use crate::proxy::refusal::Refusal;
use crate::proxy::registry::Control;

/// Why a session ends.
#[derive(Debug)]
pub enum End {
    ClientLeft,
    ServerLost,
    /// The server closes after a FATAL error, which the client has.
    ServerEnded,
    /// The client broke the protocol, or the server did.
    Violation(String),
    /// By another session of the same principal.
    Killed,
    CredentialEnded(String),
    /// Who ended it, and why.
    EndedByPerson(String),
    Stopping,
}

/// What a session hears while it waits.
#[derive(Debug)]
pub enum Happened<W> {
    Client,
    ClientLeft,
    /// Server messages came; `runs.rs` has taken note of them.
    Server,
    End(End),
    Control(Control),
    Woken(W),
    Time,
}

/// What a client is told whose statement could not be put before people.
pub fn refused_ask(error: &AskError) -> Refusal {
    match error {
        AskError::TooMany { limit } => Refusal::TooManyHeld { limit: *limit },
        AskError::LogUnavailable | AskError::StoreUnavailable => Refusal::LogUnavailable,
        AskError::CredentialEnded => Refusal::CredentialEnded,
        AskError::Stopping => Refusal::Stopping,
    }
}

/// What a client is told whose approved statement is not started.
pub fn refused_start(request: RequestId, error: &NotStarted) -> Refusal {
    match error {
        NotStarted::Stale { why } => Refusal::Stale {
            request,
            why: why.clone(),
        },
        NotStarted::NotFound | NotStarted::NotApproved(_) => Refusal::Withdrawn {
            request,
            why: error.to_string(),
        },
        NotStarted::CredentialEnded => Refusal::CredentialEnded,
        NotStarted::LogUnavailable | NotStarted::StoreUnavailable => Refusal::LogUnavailable,
        NotStarted::Stopping => Refusal::Stopping,
    }
}

/// Time since the machine started, its sleep included.
pub fn boot_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

/// Seconds, or a number with `ms`, `s` or `min`; anything else shortens nothing.
pub fn wait_of(value: &str) -> Option<Duration> {
    let value = value.trim();
    let number = value
        .trim_end_matches(|letter: char| letter.is_ascii_alphabetic())
        .trim();
    let amount: u64 = number.parse().ok()?;
    match value[number.len()..].trim() {
        "" | "s" => Some(Duration::from_secs(amount)),
        "ms" => Some(Duration::from_millis(amount)),
        "min" => Some(Duration::from_secs(amount.saturating_mul(60))),
        _ => None,
    }
}
