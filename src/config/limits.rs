//! How long and how many: limits of connections, waits and grants. Never enforces one.
//! Read `countersign.toml` for what each means.

use std::time::Duration;

use super::reader::{Found, Place, Reader};
use crate::desk;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub connections: usize,
    pub held_per_principal: usize,
    pub login: Duration,
    pub wait: Duration,
    pub wait_mcp: Duration,
    pub wait_transaction: Duration,
    pub expires: Duration,
    pub grant: Duration,
    pub standing: desk::StandingLimits,
    pub session_buffer_bytes: usize,
}

pub fn read_limits(reader: &mut Reader) -> Limits {
    const DAY_SECONDS: i64 = 86_400;
    let seconds = |reader: &mut Reader, key: &str, default: u64| {
        let found = reader.integer(&format!("limits.{key}"), 1..=7 * DAY_SECONDS);
        let place = found.as_ref().map_or(Place::Default, |found| found.place.clone());
        let value = found.map_or(default, |found| u64::try_from(found.value).unwrap_or(default));
        Found {
            value: Duration::from_secs(value),
            place,
        }
    };
    let count = |reader: &mut Reader, key: &str, range, default: usize| {
        let found = reader.integer(&format!("limits.{key}"), range);
        found.map_or(default, |found| usize::try_from(found.value).unwrap_or(default))
    };
    let wait = seconds(reader, "wait_seconds", 900);
    let wait_mcp = seconds(reader, "wait_mcp_seconds", 25);
    let wait_transaction = seconds(reader, "wait_transaction_seconds", 60);
    let expires = seconds(reader, "expires_seconds", 1800);
    let waits = [
        ("wait_seconds", &wait),
        ("wait_mcp_seconds", &wait_mcp),
        ("wait_transaction_seconds", &wait_transaction),
    ];
    for (key, wait) in waits {
        if wait.value > expires.value {
            // The default is nobody's mistake: complain of the line that somebody wrote.
            let place = if wait.place == Place::Default {
                &expires.place
            } else {
                &wait.place
            };
            let (wait, expires) = (wait.value.as_secs(), expires.value.as_secs());
            let message = format!("`{key}` is {wait}, longer than `expires_seconds`, which is {expires}");
            reader.complain(
                place,
                message,
                format!("make `{key}` at most {expires}, or raise `expires_seconds`"),
            );
        }
    }
    Limits {
        connections: count(reader, "connections", 1..=100_000, 1000),
        held_per_principal: count(reader, "held_per_principal", 1..=10_000, 20),
        login: seconds(reader, "login_seconds", 10).value,
        wait: wait.value,
        wait_mcp: wait_mcp.value,
        wait_transaction: wait_transaction.value,
        expires: expires.value,
        grant: seconds(reader, "grant_seconds", 1800).value,
        standing: read_standing(reader),
        session_buffer_bytes: count(reader, "session_buffer_bytes", 2 << 20..=1 << 30, 4 << 20),
    }
}

fn read_standing(reader: &mut Reader) -> desk::StandingLimits {
    let default = desk::StandingLimits::default();
    let count = |reader: &mut Reader, key: &str, range, default: u32| {
        let found = reader.integer(&format!("limits.{key}"), range);
        found.map_or(default, |found| u32::try_from(found.value).unwrap_or(default))
    };
    desk::StandingLimits {
        minutes_max: count(reader, "standing_grant_minutes", 0..=1440, default.minutes_max),
        uses_max: count(reader, "standing_grant_uses", 0..=10_000, default.uses_max),
        per_principal_max: count(
            reader,
            "standing_grants_per_principal",
            1..=1000,
            default.per_principal_max,
        ),
    }
}
