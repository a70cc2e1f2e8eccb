//! Which columns the value of a parameter is compared with or written to, by the tree of the statement that it is bound in.
//! Never guesses: what is not a column of a table beside a plain value is not known. Read `postgres.rs` next.
//!
//! Why by names without tables: whoever asks has a few names to look out for, and takes every column of such a name for the
//! one meant. So nothing may give a column another name on the way: a statement that derives a table, names a common table
//! expression or renames columns is not read at all.

mod mysql;
mod postgres;

use std::collections::{BTreeMap, BTreeSet, btree_set};

use crate::sql::mysql_state::folded;

pub use mysql::bound_mysql;
pub use postgres::bound_postgres;

/// Where the values of one statement's parameters go. Names of columns stand in small letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    uses: BTreeMap<u16, Uses>,
    linked: Linked,
}

/// Columns that stand in one comparison or assignment, and those that stand in another one with one of these: what one of
/// them holds, the others may hold. Each column is in one set; the sets have numbers.
type Linked = BTreeMap<usize, BTreeSet<String>>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Uses {
    /// Numbers of columns; once all is read, of their sets.
    beside: BTreeSet<usize>,
    /// As a number of rows.
    counts: bool,
    /// Elsewhere, too.
    is_doubtful: bool,
}

/// What is known of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoesTo<'b> {
    /// It is compared with these columns, written to them, or may be equal to one of them; and used for nothing else.
    Columns(Columns<'b>),
    /// It says how many rows, behind LIMIT or OFFSET.
    Count,
    Unknown,
}

/// The columns of some sets of linked ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns<'b> {
    sets: &'b BTreeSet<usize>,
    linked: &'b Linked,
}

impl Bound {
    /// The parameters that stand in it.
    pub fn numbers(&self) -> impl Iterator<Item = u16> {
        self.uses.keys().copied()
    }

    /// The columns that stand in it, in sets of linked ones. Whoever asks something of the columns that many values go to
    /// asks it once of each set: thousands of parameters may go to the same thousands of columns.
    pub fn linked(&self) -> impl Iterator<Item = (usize, &BTreeSet<String>)> {
        self.linked.iter().map(|(set, columns)| (*set, columns))
    }

    /// What is known of the value of `$number`, or of the `?` of that number; counted from 1.
    pub fn goes_to(&self, number: u16) -> GoesTo<'_> {
        match self.uses.get(&number) {
            None => GoesTo::Unknown,
            Some(uses) if uses.is_doubtful => GoesTo::Unknown,
            Some(uses) if uses.beside.is_empty() && uses.counts => GoesTo::Count,
            Some(uses) if uses.beside.is_empty() => GoesTo::Unknown,
            Some(uses) => GoesTo::Columns(Columns {
                sets: &uses.beside,
                linked: &self.linked,
            }),
        }
    }
}

impl Columns<'_> {
    /// The numbers of their sets.
    pub fn sets(&self) -> impl Iterator<Item = usize> {
        self.sets.iter().copied()
    }
}

impl<'b> IntoIterator for Columns<'b> {
    type Item = &'b str;
    type IntoIter = btree_set::IntoIter<&'b str>;

    fn into_iter(self) -> Self::IntoIter {
        let sets = self.sets.iter().filter_map(|set| self.linked.get(set));
        let columns: BTreeSet<&str> = sets.flatten().map(String::as_str).collect();
        columns.into_iter()
    }
}

/// What has been read so far. Why a forest: two sets become one at every comparison between them, in whatever order they
/// stand in the text.
#[derive(Debug, Default)]
struct Reading {
    uses: BTreeMap<u16, Uses>,
    /// Columns by their names.
    columns: BTreeMap<String, usize>,
    /// Of each column another one of its set, or itself: then it is its set's number.
    parents: Vec<usize>,
}

impl Reading {
    fn count(&mut self, number: u16) {
        self.uses.entry(number).or_default().counts = true;
    }

    fn take(&mut self, group: Group) {
        let mut first = None;
        for name in group.columns {
            let column = self.column(name);
            match first {
                None => first = Some(column),
                Some(first) => self.link(first, column),
            }
        }
        for number in group.parameters {
            let uses = self.uses.entry(number).or_default();
            // One of them stands for all: they are linked.
            uses.beside.extend(first);
            // A value beside no column at all is beside something that was not read.
            uses.is_doubtful |= group.is_doubtful || first.is_none();
        }
    }

    fn column(&mut self, name: String) -> usize {
        let next = self.parents.len();
        let column = *self.columns.entry(name).or_insert(next);
        if column == next {
            self.parents.push(next);
        }
        column
    }

    fn link(&mut self, one: usize, other: usize) {
        let (one, other) = (self.set(one), self.set(other));
        self.parents[other] = one;
    }

    /// The number of a column's set. The way there is halved for the next who goes it.
    fn set(&mut self, mut column: usize) -> usize {
        while self.parents[column] != column {
            let above = self.parents[self.parents[column]];
            self.parents[column] = above;
            column = above;
        }
        column
    }

    fn finish(mut self) -> Bound {
        let mut linked = Linked::new();
        for (name, column) in std::mem::take(&mut self.columns) {
            linked.entry(self.set(column)).or_default().insert(name);
        }
        let mut uses = std::mem::take(&mut self.uses);
        for uses in uses.values_mut() {
            uses.beside = uses.beside.iter().map(|column| self.set(*column)).collect();
        }
        Bound { uses, linked }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What the definition says, word for word: to the columns of a group come those of every group that shares one.
    fn told_slowly(groups: &[(Vec<u8>, u16)], number: u16) -> BTreeSet<u8> {
        let beside = groups.iter().filter(|(_, parameter)| *parameter == number);
        let mut columns: BTreeSet<u8> = beside.flat_map(|(columns, _)| columns.iter().copied()).collect();
        loop {
            let before = columns.len();
            for (group, _) in groups {
                if group.iter().any(|column| columns.contains(column)) {
                    columns.extend(group);
                }
            }
            if columns.len() == before {
                return columns;
            }
        }
    }

    #[test]
    fn columns_that_are_linked_are_in_one_set_whatever_the_order() {
        let mut state = 4711_u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        for _ in 0..500 {
            let columns = 2 + random(18);
            let groups: Vec<(Vec<u8>, u16)> = (0..1 + random(12))
                .map(|_| {
                    let group = (0..1 + random(3)).map(|_| random(columns) as u8).collect();
                    (group, random(4) as u16)
                })
                .collect();
            let mut reading = Reading::default();
            for (columns, parameter) in &groups {
                reading.take(Group {
                    columns: columns.iter().map(|column| format!("c{column:02}")).collect(),
                    parameters: BTreeSet::from([*parameter]),
                    is_doubtful: false,
                });
            }
            let bound = reading.finish();
            for number in bound.numbers() {
                let GoesTo::Columns(told) = bound.goes_to(number) else {
                    panic!("{groups:?}: {number}")
                };
                let slowly = told_slowly(&groups, number);
                let slowly: Vec<String> = slowly.iter().map(|column| format!("c{column:02}")).collect();
                assert_eq!(
                    told.into_iter().collect::<Vec<_>>(),
                    slowly,
                    "{groups:?}: {number}"
                );
            }
        }
    }
}
