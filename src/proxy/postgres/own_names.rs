//! The names that exist for one session alone: its temporary tables and types, which the server finds before all others.
//! Never guesses what a temporary object does: but for a plain table it is not known. Read `sight.rs` next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

use crate::sql::action::{Class, FunctionName, TableName};
use crate::sql::names::{Catalog, Concern, ForeignType, NotKnown, Relation, Routine};

/// Asks for `Temporary` on the session's own connection; NULL where there never was any. Every operator and function is
/// qualified, because search_path is part of what is in question.
pub const QUESTION: &str = include_str!("own_names.sql");

/// More are not told one by one: then nothing is known. The question has the limits, each one more than these.
const RELATIONS_MAX: usize = 500;
const TYPES_MAX: usize = 1_500;

/// What the server says of a session's temporary objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Temporary {
    relations: Option<Vec<TemporaryRelation>>,
    types: Option<BTreeSet<String>>,
    /// One of them is a child of another table: whoever reads or writes that one meets it.
    inherits: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct TemporaryRelation {
    name: String,
    columns: Option<Vec<String>>,
    /// A table or sequence of built-in types, without triggers, rules, policies, children, checks and expressions in
    /// indexes: planning a read of it already works out the constants in the last two.
    is_plain: bool,
    /// It has defaults.
    computes: bool,
}

/// What one session's names mean to it alone, as of the server's last answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnNames {
    relations: BTreeMap<String, Result<Arc<Relation>, NotKnown>>,
    types: BTreeSet<String>,
    /// They are too many, or one is a child of another table: then that one is not what the catalog says.
    pub are_unclear: bool,
}

impl OwnNames {
    /// Reads an answer to `QUESTION`, empty if it was NULL. `None`: it is no answer.
    pub fn read(answer: &str) -> Option<Self> {
        if answer.is_empty() {
            return Some(Self::default());
        }
        let Temporary {
            relations,
            types,
            inherits,
        } = serde_json::from_str(answer).ok()?;
        let (relations, types) = (relations.unwrap_or_default(), types.unwrap_or_default());
        let are_too_many = relations.len() > RELATIONS_MAX || types.len() > TYPES_MAX;
        Some(Self {
            relations: relations
                .into_iter()
                .map(|relation| (relation.name.clone(), meaning_of(relation)))
                .collect(),
            types,
            are_unclear: inherits || are_too_many,
        })
    }

    /// Whether it has names that no other session has.
    pub fn is_alone(&self) -> bool {
        !self.relations.is_empty() || !self.types.is_empty()
    }
}

fn meaning_of(relation: TemporaryRelation) -> Result<Arc<Relation>, NotKnown> {
    let TemporaryRelation {
        name,
        columns,
        is_plain,
        computes,
    } = relation;
    if !is_plain {
        return Err(NotKnown(format!(
            "temporary object {name}, which is no plain table"
        )));
    }
    let computed = Concern {
        class: Class::Unknown,
        reason: format!("writes to temporary table {name}, which computes values"),
    };
    let writing: Vec<Concern> = computes.then_some(computed).into_iter().collect();
    Ok(Arc::new(Relation {
        name: Some(TableName {
            schema: Some("pg_temp".to_owned()),
            name,
        }),
        columns: columns.unwrap_or_default(),
        inserting: writing.clone(),
        updating: writing,
        ..Relation::default()
    }))
}

fn is_temporary(schema: &str) -> bool {
    schema.starts_with("pg_temp") || schema.starts_with("pg_toast_temp")
}

/// The catalog as a session with names of its own sees it.
pub struct WithOwn {
    pub own: OwnNames,
    pub shared: Arc<dyn Catalog>,
}

impl Catalog for WithOwn {
    fn relation(&self, name: &TableName) -> Result<Arc<Relation>, NotKnown> {
        match name.schema.as_deref() {
            Some("pg_temp") => self.own.relations.get(&name.name).cloned().unwrap_or_else(|| {
                Err(NotKnown(format!(
                    "{name}, which is no temporary object of this session"
                )))
            }),
            Some(schema) if is_temporary(schema) => {
                Err(NotKnown(format!("{name}, in a schema of temporary objects")))
            }
            Some(_) => self.shared.relation(name),
            None => match self.own.relations.get(&name.name) {
                Some(own) => own.clone(),
                None => self.shared.relation(name),
            },
        }
    }

    /// The server looks for unqualified functions and operators in no schema of temporary objects, but `name(x)` can also
    /// be a cast to a type of that name.
    fn functions(&self, name: &FunctionName) -> Vec<Arc<Routine>> {
        match name.schema.as_deref() {
            Some(schema) if is_temporary(schema) => vec![Arc::new(temporary_routine(&name.to_string()))],
            Some(_) => self.shared.functions(name),
            None => {
                let mut meant = self.shared.functions(name);
                if self.own.types.contains(&name.name) {
                    meant.push(Arc::new(temporary_routine(&name.name)));
                }
                meant
            }
        }
    }

    fn operators(&self, schema: Option<&str>, name: &str) -> Vec<Arc<Routine>> {
        match schema {
            Some(schema) if is_temporary(schema) => vec![Arc::new(temporary_routine(name))],
            Some(_) | None => self.shared.operators(schema, name),
        }
    }

    fn foreign_type(&self, schema: Option<&str>, name: &str) -> Result<Option<Arc<ForeignType>>, NotKnown> {
        let is_own = match schema {
            Some(schema) => is_temporary(schema),
            None => self.own.types.contains(name),
        };
        if is_own {
            return Err(NotKnown(format!("temporary type {name}")));
        }
        self.shared.foreign_type(schema, name)
    }

    fn hazard(&self) -> Option<Concern> {
        self.shared.hazard()
    }

    fn shadowing(&self, search_path: &str) -> Option<Concern> {
        self.shared.shadowing(search_path)
    }
}

fn temporary_routine(name: &str) -> Routine {
    Routine {
        signature: name.to_owned(),
        arguments_min: 0,
        arguments_max: None,
        takes_built_in_types: true,
        takes_rows: true,
        returns_set: true,
        concern: Some(Concern {
            class: Class::Unknown,
            reason: format!("calls temporary function {name}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_temporary_tables_are_known() {
        let answer = r#"{"relations": [
            {"name": "t", "columns": ["a"], "is_plain": true, "computes": false},
            {"name": "v", "columns": ["a"], "is_plain": false, "computes": false}],
            "types": ["t", "_t"], "inherits": false}"#;
        let own = OwnNames::read(answer).expect("an answer");
        assert!(own.relations["t"].is_ok() && own.relations["v"].is_err());
        assert!(own.is_alone() && own.types.contains("_t"));
    }

    #[test]
    fn a_session_without_temporary_objects_has_no_names_of_its_own() {
        let own = OwnNames::read("").expect("an answer");
        assert!(!own.is_alone());
        assert_eq!(OwnNames::read("no answer"), None);
    }
}
