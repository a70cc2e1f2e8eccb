//! What is said of a request besides approve and deny: comments, questions and their replies, reminders and the rest.
//! Never decides: no remark lets anything run. Read `lifecycle.rs` for what does.

use std::fmt;

use crate::clock::Timestamp;
use crate::identity::principal::{PersonName, PrincipalName};

/// One remark beside a request, oldest first on its card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    pub at: Timestamp,
    pub by: Speaker,
    pub kind: RemarkKind,
    /// What was said; of a view the version that was looked at; may be empty.
    pub text: String,
    /// The person it was delegated to, the groups it was escalated to.
    pub to: Option<String>,
    /// `api`, `cli` …; empty where nobody spoke.
    pub channel: String,
}

/// Who made a remark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speaker {
    Person(PersonName),
    /// The agent: claimed by its client, not verified by anybody.
    Agent(PrincipalName),
    /// Time alone.
    Clock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RemarkKind {
    /// Somebody has opened the card.
    Viewed,
    /// Somebody was shown the values that are withheld.
    Revealed,
    Comment,
    /// Ends the agent's wait; it answers with the same bytes.
    Question,
    Reply,
    Escalated,
    Delegated,
    Reminded,
    BreakGlass,
    Reviewed,
}

impl RemarkKind {
    pub const ALL: [Self; 10] = [
        Self::Viewed,
        Self::Revealed,
        Self::Comment,
        Self::Question,
        Self::Reply,
        Self::Escalated,
        Self::Delegated,
        Self::Reminded,
        Self::BreakGlass,
        Self::Reviewed,
    ];

    /// As store, API and log spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewed => "viewed",
            Self::Revealed => "revealed",
            Self::Comment => "comment",
            Self::Question => "question",
            Self::Reply => "reply",
            Self::Escalated => "escalated",
            Self::Delegated => "delegated",
            Self::Reminded => "reminded",
            Self::BreakGlass => "break_glass",
            Self::Reviewed => "reviewed",
        }
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for RemarkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Speaker {
    /// The name of the person or of the agent.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Person(name) => Some(name.as_str()),
            Self::Agent(name) => Some(name.as_str()),
            Self::Clock => None,
        }
    }

    /// `person`, `agent` or `clock`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Person(_) => "person",
            Self::Agent(_) => "agent",
            Self::Clock => "clock",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_as_it_is_written() {
        for kind in RemarkKind::ALL {
            assert_eq!(RemarkKind::parse(&kind.to_string()), Some(kind));
        }
    }
}
