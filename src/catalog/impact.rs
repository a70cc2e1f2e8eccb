//! What a statement would do to the tables around it, as far as the server can tell before it runs: for the reviewer.
//! Never decides, and never says 0 for what is not known. Read `plan.rs` next.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::sql::action::TableName;
use crate::sql::lock::{Locks, TableLock};
use crate::sql::names::Catalog;

/// What a reviewer is told besides the statement itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Impact {
    pub status: Status,
    /// Rows that it would write or, if it writes none, return, by the server's planner; null where there is no estimate,
    /// which is not zero.
    pub estimated_rows: Option<u64>,
    /// Why there is no estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_estimate: Option<String>,
    /// What it would write by the planner's estimate, one for each table that a statement in it writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<Written>,
    /// The tables and views that it names, as they are now.
    pub tables: Vec<Table>,
    /// Why `tables` and what follows could not be read; absent: they are whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_read: Option<String>,
    /// Foreign keys that refer to a table that it writes or drops, and what they make of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cascades: Vec<Cascade>,
    /// Further ones that are not listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cascades_more: u64,
    /// What depends on what it drops: gone too with CASCADE, in the way without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependents: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dependents_more: u64,
    /// It says CASCADE.
    #[serde(default)]
    pub cascade: bool,
    /// Triggers that it would fire.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<Trigger>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub triggers_more: u64,
    /// What it locks by its own words, strongest of each table.
    #[serde(default)]
    pub locks: Vec<Lock>,
    /// Why it may lock more than is listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locks_not_known: Option<String>,
}

/// Whether it is all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The server is being asked; an event on the stream tells when it is there.
    Estimating,
    Done,
}

/// What one statement would write to one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Written {
    /// `insert`, `update`, `delete` or `merge`.
    pub operation: String,
    pub table: String,
    pub rows: u64,
}

/// A relation as it is now. Counts are the server's statistics, with all partitions and children.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Table {
    /// With its schema; as the statement writes it where it has not been looked up.
    pub name: String,
    /// `table`, `view`, `materialized view` …; absent where it has not been looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Null: never counted.
    pub rows: Option<u64>,
    /// Without indexes, with what is stored out of line.
    pub bytes: Option<u64>,
    pub index_bytes: Option<u64>,
}

/// A foreign key that reaches further than the statement says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cascade {
    /// Whose rows refer.
    pub table: String,
    pub constraint: String,
    /// What they refer to.
    pub to: String,
    /// What becomes of them, in words.
    #[schema(example = "its rows are deleted too")]
    pub then: String,
    /// Of `table`, by the server's statistics.
    pub rows: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trigger {
    pub table: String,
    pub name: String,
    #[schema(example = "after delete, each row")]
    pub timing: String,
    pub function: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lock {
    pub table: String,
    #[schema(example = "ACCESS EXCLUSIVE")]
    pub mode: String,
    /// What others cannot do meanwhile, in one sentence.
    pub blocks: String,
}

/// What is said of locks until they are known.
const BEING_LOOKED_UP: &str = "being looked up";

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Impact {
    /// Nothing is known yet but the names.
    pub fn estimating(tables: impl IntoIterator<Item = String>) -> Self {
        Self {
            status: Status::Estimating,
            estimated_rows: None,
            no_estimate: None,
            writes: Vec::new(),
            tables: tables.into_iter().map(Table::named).collect(),
            not_read: None,
            cascades: Vec::new(),
            cascades_more: 0,
            dependents: Vec::new(),
            dependents_more: 0,
            cascade: false,
            triggers: Vec::new(),
            triggers_more: 0,
            locks: Vec::new(),
            locks_not_known: Some(BEING_LOOKED_UP.to_owned()),
        }
    }

    /// Nobody asks any more.
    pub fn give_up(&mut self, why: &str) {
        if self.status == Status::Estimating {
            self.status = Status::Done;
            self.no_estimate.get_or_insert_with(|| why.to_owned());
            self.not_read.get_or_insert_with(|| why.to_owned());
            if self.locks_not_known.as_deref() == Some(BEING_LOOKED_UP) {
                self.locks_not_known = Some(why.to_owned());
            }
        }
    }

    /// What the catalog knows of rows, until the server has been asked.
    pub fn count_by<'t>(&mut self, catalog: &dyn Catalog, names: impl Iterator<Item = &'t TableName>) {
        for name in names {
            let spelled = name.to_string();
            let rows = catalog.relation(name).ok().and_then(|relation| relation.rows);
            for table in self.tables.iter_mut().filter(|table| table.name == spelled) {
                table.rows = rows;
            }
        }
    }

    pub fn set_locks(&mut self, locks: &Locks) {
        self.locks = locks.tables.iter().map(Lock::of).collect();
        self.locks_not_known = locks.not_known.map(str::to_owned);
        self.cascade = locks.cascade;
    }
}

impl Table {
    /// Nothing is known of it but its name.
    pub fn named(name: String) -> Self {
        Self {
            name,
            kind: None,
            rows: None,
            bytes: None,
            index_bytes: None,
        }
    }
}

impl Lock {
    fn of(lock: &TableLock) -> Self {
        Self {
            table: lock.table.to_string(),
            mode: lock.mode.to_string(),
            blocks: lock.blocks(),
        }
    }
}
