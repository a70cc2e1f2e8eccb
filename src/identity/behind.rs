//! Who else may be behind what a person says, and by what right somebody changes another person.
//! Never decides by it: `directory.rs` does. Read `../store/ways_in.rs` for what is remembered of a change.
//!
//! Why time counts besides what has been seen: a token or a password remembers who has seen it, but nothing that somebody
//! signs in by tells that an administrator has just taken away the second factor that stood before it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::directory::Hands;
use super::principal::PersonName;
use crate::clock::Timestamp;

/// How long whoever has set how somebody signs in counts as the one who decides: until the person has been at work and
/// has met a password or a second factor that was theirs no longer.
pub const WAY_IN_COUNTS: Duration = Duration::from_secs(24 * 3600);

/// By what right another person is added, changed or let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangedBy {
    /// On the machine of the store, whose operator is trusted: the log says who, and nothing else is remembered.
    Host(PersonName),
    /// By a call: by that person, or by whoever else has seen what the call came in by.
    Caller(Hands),
}

/// Who besides the person may be the one who speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Has seen what was signed in by, for as long as that is good.
    pub seen_by: BTreeSet<PersonName>,
    /// Has set how the person signs in, and counts until then.
    pub set_by: BTreeMap<PersonName, Timestamp>,
}

impl ChangedBy {
    /// Who the log says it was.
    pub const fn person(&self) -> &PersonName {
        match self {
            Self::Host(person) => person,
            Self::Caller(hands) => &hands.person,
        }
    }

    /// Everybody who may have made the change, and is not trusted anyway.
    pub fn hands(&self) -> BTreeSet<PersonName> {
        match self {
            Self::Host(_) => BTreeSet::new(),
            Self::Caller(hands) => hands.all(),
        }
    }
}

impl From<&PersonName> for ChangedBy {
    fn from(person: &PersonName) -> Self {
        Self::Host(person.clone())
    }
}

impl From<Hands> for ChangedBy {
    fn from(hands: Hands) -> Self {
        Self::Caller(hands)
    }
}

impl Behind {
    /// Whoever has seen what was signed in by, and nobody else.
    pub fn seen(seen_by: &BTreeSet<PersonName>) -> Self {
        Self {
            seen_by: seen_by.clone(),
            set_by: BTreeMap::new(),
        }
    }

    pub fn everybody(&self) -> BTreeSet<PersonName> {
        self.seen_by.iter().chain(self.set_by.keys()).cloned().collect()
    }
}
