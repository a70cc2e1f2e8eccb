//! Which columns the value of a parameter is compared with or written to, by the tree of the statement that it is bound in.
//! Never guesses: what is not a column of a table beside a plain value is not known. Read `postgres.rs` next.
//!
//! Why by names without tables: whoever asks has a few names to look out for, and takes every column of such a name for the
//! one meant. So nothing may give a column another name on the way: a statement that derives a table, names a common table
//! expression or renames columns is not read at all.

mod mysql;
mod postgres;

use std::collections::{BTreeMap, BTreeSet};

use crate::sql::mysql_state::folded;

pub use mysql::bound_mysql;
pub use postgres::bound_postgres;

/// Where the values of one statement's parameters go. Names of columns stand in small letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    uses: BTreeMap<u16, Uses>,
    /// Columns that stand in one comparison or assignment: what one of them holds, the others may hold.
    links: Vec<BTreeSet<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Uses {
    columns: BTreeSet<String>,
    /// As a number of rows.
    counts: bool,
    /// Elsewhere, too.
    is_doubtful: bool,
}

/// What is known of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoesTo {
    /// It is compared with these columns, written to them, or may be equal to one of them; and used for nothing else.
    Columns(BTreeSet<String>),
    /// It says how many rows, behind LIMIT or OFFSET.
    Count,
    Unknown,
}

impl Bound {
    /// The parameters that stand in it.
    pub fn numbers(&self) -> impl Iterator<Item = u16> {
        self.uses.keys().copied()
    }

    /// What is known of the value of `$number`, or of the `?` of that number; counted from 1.
    pub fn goes_to(&self, number: u16) -> GoesTo {
        match self.uses.get(&number) {
            None => GoesTo::Unknown,
            Some(uses) if uses.is_doubtful => GoesTo::Unknown,
            Some(uses) if uses.columns.is_empty() && uses.counts => GoesTo::Count,
            Some(uses) if uses.columns.is_empty() => GoesTo::Unknown,
            Some(uses) => GoesTo::Columns(self.with_linked(uses.columns.clone())),
        }
    }

    fn with_linked(&self, mut columns: BTreeSet<String>) -> BTreeSet<String> {
        loop {
            let before = columns.len();
            for link in &self.links {
                if !link.is_disjoint(&columns) {
                    columns.extend(link.iter().cloned());
                }
            }
            if columns.len() == before {
                return columns;
            }
        }
    }

    fn count(&mut self, number: u16) {
        self.uses.entry(number).or_default().counts = true;
    }

    fn take(&mut self, group: Group) {
        for number in group.parameters {
            let uses = self.uses.entry(number).or_default();
            uses.columns.extend(group.columns.iter().cloned());
            // A value beside no column at all is beside something that was not read.
            uses.is_doubtful |= group.is_doubtful || group.columns.is_empty();
        }
        if group.columns.len() > 1 {
            self.links.push(group.columns);
        }
    }
}

/// What stands together in one comparison, assignment or other expression.
#[derive(Debug, Default)]
struct Group {
    columns: BTreeSet<String>,
    parameters: BTreeSet<u16>,
    /// It holds more than columns, parameters and constants.
    is_doubtful: bool,
}

impl Group {
    fn column(&mut self, name: &str) {
        self.columns.insert(small(name));
    }
}

/// The statement holds something by which a column may come under another name, or that is not read here.
struct Doubtful;

/// A name in small letters, one for one: as the server that compares most loosely compares names of columns.
pub fn small(name: &str) -> String {
    name.chars().map(folded).collect()
}
