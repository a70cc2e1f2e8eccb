//! What is looked at again once somebody has approved alone: open until somebody else signs it.
//! Never lets anything run, and never undoes what ran. Read `request.rs` for the approval itself.

use std::collections::BTreeSet;
use std::fmt;

use crate::clock::Timestamp;
use crate::hold::RequestId;
use crate::identity::principal::PersonName;

/// The review of one request that one person approved alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    pub request: RequestId,
    pub broken_by: PersonName,
    /// Everybody else who had seen the token by which it was done, and so may have done it.
    pub broken_seen_by: BTreeSet<PersonName>,
    /// What that person gave as the reason.
    pub reason: String,
    pub opened_at: Timestamp,
    /// `None`: it is open.
    pub signed: Option<Signature>,
}

/// What somebody else found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub by: PersonName,
    pub finding: Finding,
    pub text: String,
    /// `api`, `cli` …
    pub channel: String,
    pub at: Timestamp,
}

/// Whether it was right to approve alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    Fine,
    NotFine,
}

impl Finding {
    pub const ALL: [Self; 2] = [Self::Fine, Self::NotFine];

    /// As store, API and log spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::NotFine => "not_fine",
        }
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|finding| finding.as_str() == text)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Review {
    /// Everybody who may have been the one who approved.
    pub fn hands(&self) -> BTreeSet<PersonName> {
        let mut hands = self.broken_seen_by.clone();
        hands.insert(self.broken_by.clone());
        hands
    }
}
