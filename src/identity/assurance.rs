//! How surely it is the person who calls: by which method they came in, and when they last gave a second factor.
//! Never reads the clock or the store. Read `directory.rs` for who may decide.

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;

/// How somebody has shown who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    Token,
    Password,
    /// A password and a one-time code, or a code alone on top of what was shown before.
    Totp,
    /// A passkey that has verified its user.
    Passkey,
}

impl Method {
    pub const ALL: [Self; 4] = [Self::Token, Self::Password, Self::Totp, Self::Passkey];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Password => "password",
            Self::Totp => "totp",
            Self::Passkey => "passkey",
        }
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == text)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether approvals of what is risky need a second factor of everybody, or only of those who have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecondFactor {
    #[default]
    Offered,
    Required,
}

/// A second factor given so long ago no longer counts for an approval of high or critical risk.
pub const STEP_UP_WITHIN: Duration = Duration::from_secs(5 * 60);

/// How surely it is the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assurance {
    pub method: Method,
    /// When a second factor was given last, if one was.
    pub strong_at: Option<Timestamp>,
}

impl Assurance {
    /// A token that nothing else came with.
    pub const TOKEN: Self = Self {
        method: Method::Token,
        strong_at: None,
    };

    /// Whether a second factor was given in the last `within`.
    pub fn is_strong(&self, within: Duration, now: Timestamp) -> bool {
        // A moment that lies ahead is no proof: the clock was set back since.
        self.strong_at
            .is_some_and(|at| at <= now && now.since(at) <= within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_factor_counts_for_as_long_as_it_is_asked_for() {
        let minute = Duration::from_secs(60);
        let given = Timestamp::from_micros(1_000_000_000);
        let assurance = Assurance {
            method: Method::Passkey,
            strong_at: Some(given),
        };
        assert!(assurance.is_strong(minute, given));
        assert!(assurance.is_strong(minute, given.after(minute)));
        assert!(!assurance.is_strong(minute, given.after(minute + Duration::from_micros(1))));
        assert!(!assurance.is_strong(minute, Timestamp::from_micros(given.micros() - 1)));
        assert!(!Assurance::TOKEN.is_strong(minute, given));
    }
}
