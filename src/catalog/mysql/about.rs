//! What the catalog knows of the tables around a statement, for its reviewer: sizes, triggers, foreign keys, views, and the
//! metadata locks that it takes. Never asks a server. Read `../impact.rs` for the words it answers in.

use super::View;
use super::snapshot::{Reference, TableFacts};
use crate::catalog::impact::{Cascade, Impact, Lock, Table, Trigger};
use crate::sql::action::{Action, Class, Judgement};

/// More of one kind are counted, not listed.
const LISTED_MAX: usize = 20;

/// Fills in what is known of every table that a message names.
pub fn tell(judged: &Judgement, catalog: &View, impact: &mut Impact) {
    impact.tables.clear();
    for action in &judged.actions {
        let of_several = action.tables.len() > 1 && action.class != Class::Read;
        for name in &action.tables {
            let told = catalog.told(name);
            let Some(facts) = catalog.about(name) else {
                add(&mut impact.tables, Table::named(told));
                continue;
            };
            add(&mut impact.tables, table(&told, facts));
            let changes = Change::of(&action.verb);
            add_triggers(&told, facts, changes.events, impact);
            for reference in &facts.references {
                if let Some(then) = changes.then(reference) {
                    let one = cascade(&told, reference, then, catalog);
                    add_some(&mut impact.cascades, &mut impact.cascades_more, one);
                }
            }
            if changes.drops {
                for view in &facts.viewed_by {
                    let one = format!("view {view}");
                    add_some(&mut impact.dependents, &mut impact.dependents_more, one);
                }
            }
        }
        if of_several && !(impact.triggers.is_empty() && impact.cascades.is_empty()) {
            impact.not_read = Some(
                "which of its tables it changes is not told apart: triggers and foreign keys of all of them are listed"
                    .to_owned(),
            );
        }
    }
}

fn table(name: &str, facts: &TableFacts) -> Table {
    Table {
        name: name.to_owned(),
        kind: Some(facts.kind.clone()),
        rows: facts.rows,
        bytes: facts.bytes,
        index_bytes: facts.index_bytes,
    }
}

/// What a verb does to its table's rows.
struct Change {
    events: &'static [&'static str],
    deletes: bool,
    updates: bool,
    drops: bool,
}

impl Change {
    fn of(verb: &str) -> Self {
        let (events, deletes, updates, drops): (&[&str], bool, bool, bool) = match verb {
            // ON DUPLICATE KEY UPDATE.
            "insert" | "load data" => (&["INSERT", "UPDATE"], false, false, false),
            "replace" => (&["INSERT", "DELETE"], true, false, false),
            "update" => (&["UPDATE"], false, true, false),
            "delete" => (&["DELETE"], true, false, false),
            "drop table" | "truncate" => (&[], false, false, true),
            _ => (&[], false, false, false),
        };
        Self {
            events,
            deletes,
            updates,
            drops,
        }
    }

    /// What becomes of the rows that refer.
    fn then(&self, reference: &Reference) -> Option<&'static str> {
        let rule = if self.deletes {
            reference.on_delete.as_str()
        } else if self.updates {
            reference.on_update.as_str()
        } else if self.drops {
            return Some("refers to it, so that it fails unless foreign_key_checks is off");
        } else {
            return None;
        };
        Some(match (rule, self.deletes) {
            ("CASCADE", true) => "its rows that refer are deleted too",
            ("CASCADE", false) => "its rows follow a changed key",
            ("SET NULL", true) => "its rows that refer are set to null",
            ("SET DEFAULT", true) => "its rows that refer are set to their default",
            ("SET NULL" | "SET DEFAULT", false) => "its rows lose a changed key",
            (_, _) => "its rows that refer make it fail",
        })
    }
}

fn add_triggers(told: &str, facts: &TableFacts, events: &[&str], impact: &mut Impact) {
    let fired = facts
        .triggers
        .iter()
        .filter(|trigger| events.iter().any(|event| trigger.event.contains(event)));
    for trigger in fired {
        let one = Trigger {
            table: told.to_owned(),
            name: trigger.name.clone(),
            timing: format!(
                "{} {}, each row",
                trigger.timing.to_lowercase(),
                trigger.event.to_lowercase()
            ),
            // Its body is its own.
            function: trigger.name.clone(),
        };
        add_some(&mut impact.triggers, &mut impact.triggers_more, one);
    }
}

fn cascade(to: &str, reference: &Reference, then: &str, catalog: &View) -> Cascade {
    Cascade {
        table: reference.table.to_string(),
        constraint: reference.constraint.clone(),
        to: to.to_owned(),
        then: then.to_owned(),
        rows: catalog.about(&reference.table).and_then(|facts| facts.rows),
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if !list.contains(&one) {
        list.push(one);
    }
}

fn add_some<T: PartialEq>(list: &mut Vec<T>, more: &mut u64, one: T) {
    if list.contains(&one) {
        return;
    }
    if list.len() < LISTED_MAX {
        list.push(one);
    } else {
        *more += 1;
    }
}

/// The metadata locks that a message takes by its own words.
/// Source: MySQL manual, metadata-locking.html; MariaDB knowledge base, metadata-locking
pub fn set_locks(judged: &Judgement, impact: &mut Impact) {
    impact.locks.clear();
    impact.locks_not_known = None;
    for action in &judged.actions {
        let Some((mode, blocks)) = metadata_lock(action) else {
            if !action.tables.is_empty() || action.class > Class::Export {
                impact.locks_not_known = Some(format!("what {} locks is not known", action.verb));
            }
            continue;
        };
        if action.tables.len() > 1 && action.class == Class::Write {
            impact.locks_not_known = Some(
                "which of its tables it changes is not told apart: those that it reads are locked less"
                    .to_owned(),
            );
        }
        for table in &action.tables {
            add(
                &mut impact.locks,
                Lock {
                    table: table.to_string(),
                    mode: mode.to_owned(),
                    blocks: blocks.to_owned(),
                },
            );
        }
    }
}

fn metadata_lock(action: &Action) -> Option<(&'static str, &'static str)> {
    let exclusive = (
        "EXCLUSIVE (metadata)",
        "it waits for every open transaction that has used the table, and whoever comes after it waits behind it, readers too",
    );
    match action.verb.as_str() {
        "alter table" | "create index" | "drop index" => Some((
            "EXCLUSIVE (metadata)",
            "at its beginning and end it waits for every open transaction that has used the table, and whoever comes \
             after it waits behind it, readers too; in between others may read, and write only where the engine \
             changes the table online",
        )),
        "drop table" | "drop view" | "rename table" | "truncate" => Some(exclusive),
        "insert" | "replace" | "update" | "delete" | "load data" => Some((
            "SHARED_WRITE (metadata)",
            "until its transaction ends nobody can change the table's definition, nor the rows that it has changed",
        )),
        _ if action.class == Class::Read => Some((
            "SHARED_READ (metadata)",
            "until its transaction ends nobody can change the table's definition",
        )),
        _ => None,
    }
}
