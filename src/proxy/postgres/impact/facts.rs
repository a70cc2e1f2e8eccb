//! What `facts.sql` and `sizes.sql` answer, in words for reviewers. Never asks. Read `look.rs` for who does.

use serde::Deserialize;

use crate::catalog::impact::{Cascade, Impact, Table, Trigger};

/// What a statement does to the tables that it changes, in the words of `facts.sql`, and the events of
/// `pg_trigger.tgtype` that it causes.
/// Source: PostgreSQL source, catalog/pg_trigger.h, TRIGGER_TYPE_INSERT
pub fn kind_of(verb: &str) -> (&'static str, u8) {
    match verb {
        "insert" => ("insert", INSERT | UPDATE),
        "copy from" => ("insert", INSERT),
        "update" => ("update", UPDATE),
        "delete" => ("delete", DELETE),
        "merge" => ("merge", INSERT | UPDATE | DELETE),
        "truncate" => ("truncate", TRUNCATE),
        drop if drop.starts_with("drop ") => ("drop", 0),
        // A write inside a query.
        "select" | "create table as" | "declare cursor" => ("merge", INSERT | UPDATE | DELETE),
        _ => ("", 0),
    }
}

const ROW: i32 = 1;
const BEFORE: i32 = 1 << 1;
const INSERT: u8 = 1 << 2;
const DELETE: u8 = 1 << 3;
const UPDATE: u8 = 1 << 4;
const TRUNCATE: u8 = 1 << 5;
const INSTEAD: i32 = 1 << 6;

#[derive(Deserialize)]
pub struct Facts {
    tables: Vec<TableFacts>,
    cascades: Vec<Reference>,
    cascades_count: u64,
    triggers: Vec<Fired>,
    triggers_count: u64,
    dependents: Vec<String>,
    dependents_count: u64,
}

#[derive(Deserialize)]
struct TableFacts {
    oid: u64,
    name: String,
    kind: String,
    rows: Option<u64>,
    bytes: Option<u64>,
    index_bytes: Option<u64>,
}

#[derive(Deserialize)]
struct Reference {
    table: String,
    constraint: String,
    to: String,
    on_delete: String,
    on_update: String,
    rows: Option<u64>,
}

#[derive(Deserialize)]
struct Fired {
    table: String,
    name: String,
    #[serde(rename = "type")]
    kind: i32,
    function: String,
}

#[derive(Deserialize)]
pub struct Size {
    oid: u64,
    bytes: u64,
    index_bytes: u64,
}

impl Facts {
    /// Sizes that were counted exactly stand for those of the statistics.
    pub fn add_sizes(&mut self, sizes: &[Size]) {
        for size in sizes {
            for table in self.tables.iter_mut().filter(|table| table.oid == size.oid) {
                table.bytes = Some(size.bytes);
                table.index_bytes = Some(size.index_bytes);
            }
        }
    }

    /// Adds them to what is known of the other statements of the message.
    pub fn add_to(self, impact: &mut Impact, kind: &str) {
        let known = |list: usize| u64::try_from(list).unwrap_or(u64::MAX);
        impact.cascades_more += self.cascades_count.saturating_sub(known(self.cascades.len()));
        impact.triggers_more += self.triggers_count.saturating_sub(known(self.triggers.len()));
        impact.dependents_more += self.dependents_count.saturating_sub(known(self.dependents.len()));
        let tables = self.tables.into_iter().map(TableFacts::into_table);
        add(&mut impact.tables, tables);
        let cascade = impact.cascade;
        let cascades = self
            .cascades
            .into_iter()
            .map(|reference| reference.into_cascade(kind, cascade));
        add(&mut impact.cascades, cascades);
        add(
            &mut impact.triggers,
            self.triggers.into_iter().map(Fired::into_trigger),
        );
        add(&mut impact.dependents, self.dependents.into_iter());
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, more: impl Iterator<Item = T>) {
    for one in more {
        if !list.contains(&one) {
            list.push(one);
        }
    }
}

impl TableFacts {
    fn into_table(self) -> Table {
        // `pg_class.relkind`.
        let kind = match self.kind.as_str() {
            "r" => "table",
            "p" => "partitioned table",
            "v" => "view",
            "m" => "materialized view",
            "f" => "foreign table",
            "S" => "sequence",
            "i" | "I" => "index",
            _ => "relation",
        };
        Table {
            name: self.name,
            kind: Some(kind.to_owned()),
            rows: self.rows,
            bytes: self.bytes,
            index_bytes: self.index_bytes,
        }
    }
}

impl Reference {
    /// `pg_constraint.confdeltype` and `confupdtype`: c cascade, n set null, d set default, r restrict, a no action.
    fn into_cascade(self, kind: &str, cascade: bool) -> Cascade {
        let then = match (kind, self.on_delete.as_str(), self.on_update.as_str()) {
            ("truncate", _, _) if cascade => "all its rows are deleted too",
            ("truncate", _, _) => "refers to it, so TRUNCATE without CASCADE fails",
            ("update", _, "c") => "its rows follow a changed key",
            ("update", _, _) => "its rows lose a changed key",
            (_, "c", _) => "its rows that refer are deleted too",
            (_, "n", _) => "its rows that refer are set to null",
            (_, "d", _) => "its rows that refer are set to their default",
            (_, _, _) => "its rows that refer make it fail",
        };
        Cascade {
            table: self.table,
            constraint: self.constraint,
            to: self.to,
            then: then.to_owned(),
            rows: self.rows,
        }
    }
}

impl Fired {
    fn into_trigger(self) -> Trigger {
        let when = if self.kind & INSTEAD != 0 {
            "instead of"
        } else if self.kind & BEFORE != 0 {
            "before"
        } else {
            "after"
        };
        let events: Vec<&str> = [
            (INSERT, "insert"),
            (UPDATE, "update"),
            (DELETE, "delete"),
            (TRUNCATE, "truncate"),
        ]
        .into_iter()
        .filter(|(bit, _)| self.kind & i32::from(*bit) != 0)
        .map(|(_, word)| word)
        .collect();
        let each = if self.kind & ROW != 0 { "each row" } else { "once" };
        Trigger {
            table: self.table,
            name: self.name,
            timing: format!("{when} {}, {each}", events.join(" or ")),
            function: self.function,
        }
    }
}
