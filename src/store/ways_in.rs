//! Who has set how somebody else signs in: remembered for a day, in the transaction that does it; and who may therefore be
//! behind what somebody makes.
//! Never asks what may follow from it. Read `../identity/behind.rs` for what it is for.
//!
//! Why makers are widened as they are recorded: the day ends, and what was made on it does not.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};

use crate::clock::Timestamp;
use crate::identity::behind::{ChangedBy, WAY_IN_COUNTS};
use crate::identity::principal::PersonName;
use crate::store::card;
use crate::store::sqlite::{Store, StoreError};

impl Store {
    /// Who has set within the last day how this person signs in, and until when that counts.
    pub fn ways_in_set(
        &mut self,
        person: &PersonName,
        now: Timestamp,
    ) -> Result<BTreeMap<PersonName, Timestamp>, StoreError> {
        self.read(|connection| find_ways_in_set(connection, person, now))
    }
}

/// Everybody who may be one of `named`: they, whoever has set within a day how one of them signs in, and who may be one of
/// those. Asks for each of the people once.
pub(super) fn everybody_behind(
    connection: &Connection,
    named: &BTreeSet<PersonName>,
    now: Timestamp,
) -> Result<BTreeSet<PersonName>, StoreError> {
    let mut all = named.clone();
    let mut asked: Vec<PersonName> = named.iter().cloned().collect();
    while let Some(name) = asked.pop() {
        for set_by in find_ways_in_set(connection, &name, now)?.into_keys() {
            if all.insert(set_by.clone()) {
                asked.push(set_by);
            }
        }
    }
    Ok(all)
}

/// Who else gets to see what a person makes by what `seen_by` have seen.
pub(super) fn others_behind(
    connection: &Connection,
    person: &PersonName,
    seen_by: &BTreeSet<PersonName>,
    now: Timestamp,
) -> Result<BTreeSet<PersonName>, StoreError> {
    let named = seen_by.iter().chain([person]).cloned().collect();
    let mut all = everybody_behind(connection, &named, now)?;
    all.remove(person);
    Ok(all)
}

/// Who gets to see the secret that is made for an agent.
pub(super) fn makers(
    connection: &Connection,
    by: &ChangedBy,
    now: Timestamp,
) -> Result<BTreeSet<PersonName>, StoreError> {
    match by {
        ChangedBy::Host(person) => Ok([person.clone()].into()),
        ChangedBy::Caller(hands) => everybody_behind(connection, &hands.all(), now),
    }
}

/// From now on nobody else counts for having set how this person signs in: on the machine of the store it was made anew.
pub(super) fn forget_ways_in(transaction: &Connection, person: &PersonName) -> Result<(), StoreError> {
    transaction.execute("DELETE FROM ways_in_set WHERE person = ?1", [person.as_str()])?;
    Ok(())
}

/// Remembers everybody who may be one of `hands`, but the person, and forgets what is a day old.
pub(super) fn remember_way_in(
    transaction: &Connection,
    person: &PersonName,
    hands: &BTreeSet<PersonName>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let text = "DELETE FROM ways_in_set WHERE at <= ?1";
    transaction.execute(text, [day_before(now)])?;
    let hands = everybody_behind(transaction, hands, now)?;
    for hand in hands.iter().filter(|hand| *hand != person) {
        let text = "INSERT INTO ways_in_set (person, set_by, at) VALUES (?1, ?2, ?3)
                    ON CONFLICT (person, set_by) DO UPDATE SET at = max(at, excluded.at)";
        transaction.execute(text, params![person.as_str(), hand.as_str(), now.micros()])?;
    }
    Ok(())
}

pub(super) fn find_ways_in_set(
    connection: &Connection,
    person: &PersonName,
    now: Timestamp,
) -> Result<BTreeMap<PersonName, Timestamp>, StoreError> {
    let text = "SELECT set_by, at FROM ways_in_set WHERE person = ?1 AND at > ?2";
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query(params![person.as_str(), day_before(now)])?;
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let set_by: String = row.get(0)?;
        let until = Timestamp::from_micros(row.get(1)?).after(WAY_IN_COUNTS);
        found.insert(card::person(&set_by)?, until);
    }
    Ok(found)
}

fn day_before(now: Timestamp) -> i64 {
    let day = i64::try_from(WAY_IN_COUNTS.as_micros()).unwrap_or(i64::MAX);
    now.micros().saturating_sub(day)
}
