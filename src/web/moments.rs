//! Times and spans as people read them. Never reads a clock.
//! Read `page.rs` for where the server's time comes from.

use serde::Serialize;

use crate::clock::Timestamp;

/// A moment: exact for programs, short for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// RFC 3339.
    pub exact: String,
    /// Milliseconds since 1970, for the modules that count.
    pub millis: i64,
    /// `14:01:22`, with the day in front if that is another one.
    pub short: String,
}

impl Moment {
    pub fn of(at: Timestamp, now: Timestamp) -> Self {
        let exact = at.to_string();
        let day = |text: &str| text.split('T').next().unwrap_or_default().to_owned();
        let clock = exact.split('T').nth(1).unwrap_or_default();
        let clock: String = clock.chars().take("14:01:22".len()).collect();
        let short = match day(&exact) == day(&now.to_string()) {
            true => clock,
            false => format!("{} {clock}", day(&exact)),
        };
        Self {
            millis: at.micros() / 1_000,
            exact,
            short,
        }
    }

    /// Of a time as the API writes it.
    pub fn parse(text: &str, now: Timestamp) -> Self {
        match Timestamp::parse(text) {
            Some(at) => Self::of(at, now),
            None => Self {
                exact: text.to_owned(),
                millis: 0,
                short: text.to_owned(),
            },
        }
    }
}

/// `42 s`, `3 min`, `2 h 5 min`, `4 d`.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => match seconds % 3_600 / 60 {
            0 => format!("{} h", seconds / 3_600),
            minutes => format!("{} h {minutes} min", seconds / 3_600),
        },
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `13:18`, as a countdown shows it.
pub fn countdown(until: Timestamp, now: Timestamp) -> String {
    let seconds = until.since(now).as_secs();
    match seconds / 3_600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds % 3_600 / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_on_their_own_day() {
        let at = Timestamp::parse("2026-11-22T14:01:22.104Z").unwrap();
        assert_eq!(Moment::of(at, at).short, "14:01:22");
        let later = Timestamp::parse("2026-11-23T00:00:00Z").unwrap();
        assert_eq!(Moment::of(at, later).short, "2026-11-22 14:01:22");
        assert_eq!(countdown(later, at), "9:58:37");
        assert_eq!(
            [span(59), span(61), span(7_500), span(200_000)],
            ["59 s", "1 min", "2 h 5 min", "2 d"]
        );
    }
}
