//! A snapshot as one session sees it: names looked up along its search_path, as the server does.
//! Never answers for names that the session itself may have given a new meaning. Read `../../sql/names.rs` for the trait.
//!
//! Why the answers of all schemas on the path are joined: the server skips schemas that the role may not use, which the
//! snapshot does not know. Joining can only add concerns.

use std::sync::Arc;

use super::path;
use super::snapshot::{PG_CATALOG, Snapshot};
use super::{Oid, is_built_in, rows};
use crate::sql::action::{Class, FunctionName, TableName};
use crate::sql::names::{self, Catalog, Concern, ForeignType, NotKnown, Routine};

/// What of a session decides what names mean.
#[derive(Clone, Copy, Debug)]
pub struct SessionState<'s> {
    /// As SHOW prints it.
    pub search_path: &'s str,
    /// What `"$user"` stands for: the role that statements run as.
    pub role: &'s str,
    /// It has, or may have, temporary tables, views or types: those come before everything else.
    pub has_temporary_objects: bool,
    /// Its open transaction has, or may have, changed the catalog.
    pub has_uncommitted_ddl: bool,
}

/// A snapshot, along one session's search_path.
pub struct View {
    snapshot: Arc<Snapshot>,
    /// In the order in which they are searched; `None`: the path is not known.
    path: Option<Vec<Oid>>,
    has_temporary_objects: bool,
    has_uncommitted_ddl: bool,
}

impl View {
    /// Source: PostgreSQL docs, runtime-config-client.html#GUC-SEARCH-PATH
    pub fn new(snapshot: Arc<Snapshot>, session: SessionState<'_>) -> Self {
        let path = path::names(session.search_path).map(|names| {
            let mut schemas: Vec<Oid> = Vec::new();
            for name in &names {
                let name = if name == "$user" { session.role } else { name };
                let known = snapshot.schemas.get(name).copied();
                schemas.extend(known.filter(|known| !schemas.contains(known)));
            }
            if !schemas.contains(&PG_CATALOG) {
                schemas.insert(0, PG_CATALOG);
            }
            schemas
        });
        Self {
            snapshot,
            path,
            has_temporary_objects: session.has_temporary_objects,
            has_uncommitted_ddl: session.has_uncommitted_ddl,
        }
    }

    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Objects of one name that the name could mean, the likeliest first.
    fn candidates(
        &self,
        schema: Option<&str>,
        named: Option<&Vec<Oid>>,
        schema_of: impl Fn(Oid) -> Option<Oid>,
    ) -> Result<Vec<Oid>, NotKnown> {
        let named = named.map(Vec::as_slice).unwrap_or_default();
        if self.has_uncommitted_ddl {
            return Err(not_known(UNCOMMITTED));
        }
        let schemas = match schema {
            Some(schema) if schema.starts_with("pg_temp") => return Err(not_known(TEMPORARY)),
            // Not read, so not known.
            Some(schema) if schema.starts_with("pg_toast") => {
                return Err(not_known("it is the server's own"));
            }
            Some(schema) => self.snapshot.schemas.get(schema).copied().into_iter().collect(),
            None if self.has_temporary_objects => return Err(not_known(TEMPORARY)),
            None => self.path.clone().ok_or_else(|| not_known(NO_PATH))?,
        };
        let mut found = Vec::new();
        for schema in schemas {
            let inside = |oid: &&Oid| schema_of(**oid) == Some(schema);
            let Some(oid) = named.iter().find(inside) else {
                continue;
            };
            found.push(*oid);
            // Everybody may use this one, so nothing behind it can be meant.
            if schema == PG_CATALOG {
                break;
            }
        }
        Ok(found)
    }

    /// Where a schema stands on the path; `None`: not on it.
    fn place(&self, schema: Oid) -> Option<usize> {
        let path = self.path.as_ref()?;
        path.iter().position(|known| *known == schema)
    }

    /// Whether functions and operators of a schema can be meant by a name with or without a schema.
    fn is_searched(&self, schema: Option<&str>, home: Oid) -> bool {
        match schema {
            Some(schema) => self.snapshot.schemas.get(schema) == Some(&home),
            None if self.path.is_none() => true,
            None => self.place(home).is_some(),
        }
    }

    /// Whether pg_catalog is searched before a schema.
    fn is_behind_pg_catalog(&self, schema: Option<&str>, home: Oid) -> bool {
        let before = self.place(PG_CATALOG).zip(self.place(home));
        schema.is_none() && before.is_some_and(|(own, other)| own < other)
    }

    fn routine(&self, oid: Oid) -> Option<Arc<Routine>> {
        let function = self.snapshot.functions.get(&oid)?;
        let answer = || Arc::new(self.snapshot.routine_of(function));
        Some(Arc::clone(function.answer.get_or_init(answer)))
    }

    /// A type's name with one argument in parentheses is a cast, if no function takes exactly that.
    fn casts_by_name(&self, name: &FunctionName) -> Option<Arc<Routine>> {
        let kind = self
            .foreign_type(name.schema.as_deref(), &name.name)
            .ok()
            .flatten()?;
        kind.concern.as_ref()?;
        Some(Arc::new(Routine {
            signature: format!("cast to {}", kind.name),
            arguments_min: 1,
            arguments_max: Some(1),
            takes_built_in_types: true,
            takes_rows: true,
            returns_set: false,
            concern: kind.concern.clone(),
        }))
    }
}

const UNCOMMITTED: &str = "this session's transaction may have changed the schema";
const TEMPORARY: &str = "this session may have temporary objects of this name";
const NO_PATH: &str = "the search_path is not known";

fn not_known(why: &str) -> NotKnown {
    NotKnown(why.to_owned())
}

impl Catalog for View {
    fn relation(&self, name: &TableName) -> Result<Arc<names::Relation>, NotKnown> {
        let named = self.snapshot.relations_named.get(&name.name);
        let schema_of = |oid| {
            self.snapshot
                .relations
                .get(&oid)
                .map(|relation| relation.row.schema)
        };
        let found = self.candidates(name.schema.as_deref(), named, schema_of)?;
        let mut answers = found
            .iter()
            .filter_map(|oid| self.snapshot.relations.get(oid))
            .map(|relation| self.snapshot.relation_answer(relation));
        // The server will refuse a name that does not exist.
        let first = answers.next().unwrap_or_default();
        Ok(answers.fold(first, |one, other| Arc::new(joined(&one, &other))))
    }

    fn functions(&self, name: &FunctionName) -> Vec<Arc<Routine>> {
        let schema = name.schema.as_deref();
        if schema.is_some_and(|schema| schema.starts_with("pg_temp")) {
            return vec![temporary(name)];
        }
        let named = self.snapshot.functions_named.get(&name.name);
        let meant = |oid: &&Oid| {
            self.snapshot.functions.get(oid).is_some_and(|function| {
                let home = function.row.schema;
                let hidden = self.is_behind_pg_catalog(schema, home)
                    && self.snapshot.is_hidden_function(&function.row);
                self.is_searched(schema, home) && !hidden
            })
        };
        let found = named.into_iter().flatten().filter(meant);
        let mut found: Vec<_> = found.filter_map(|oid| self.routine(*oid)).collect();
        found.extend(self.casts_by_name(name));
        found
    }

    fn operators(&self, schema: Option<&str>, name: &str) -> Vec<Arc<Routine>> {
        let named = self.snapshot.operators_named.get(name);
        let operators = named
            .into_iter()
            .flatten()
            .filter_map(|oid| self.snapshot.operators.get(oid));
        let meant = |operator: &&rows::Operator| {
            let home = operator.schema;
            let hidden =
                self.is_behind_pg_catalog(schema, home) && self.snapshot.is_hidden_operator(operator);
            self.is_searched(schema, home) && !hidden
        };
        operators
            .filter(meant)
            .map(|operator| Arc::new(self.snapshot.operator_routine(operator)))
            .collect()
    }

    fn foreign_type(&self, schema: Option<&str>, name: &str) -> Result<Option<Arc<ForeignType>>, NotKnown> {
        let named = self.snapshot.types_named.get(name);
        let schema_of = |oid| self.snapshot.types.get(&oid).map(|own| own.schema);
        let found = self.candidates(schema, named, schema_of)?;
        let first = found
            .first()
            .ok_or_else(|| not_known("no such type is in the catalog"))?;
        let foreign: Vec<Oid> = found.iter().copied().filter(|oid| !is_built_in(*oid)).collect();
        if foreign.is_empty() {
            return Ok(None);
        }
        let concerns = self.snapshot.type_concerns(foreign.iter().copied());
        let own = self.snapshot.types.get(first);
        let name = own.map_or_else(|| name.to_owned(), |own| self.snapshot.type_name(own));
        let concern = concerns.into_iter().max_by_key(|concern| concern.class);
        let concern = concern.map(|concern| Concern {
            reason: format!("uses a type: {}", concern.reason),
            ..concern
        });
        Ok(Some(Arc::new(ForeignType { name, concern })))
    }

    fn shadowing(&self, search_path: &str) -> Option<Concern> {
        // `"$user"` is a schema of the session's own role; what lies in it was not put there by somebody else.
        let path: Vec<Oid> = path::names(search_path)?
            .iter()
            .filter_map(|name| self.snapshot.schemas.get(name).copied())
            .collect();
        let place = |home: Oid| path.iter().position(|schema| *schema == home);
        self.snapshot.relations.values().find_map(|relation| {
            let home = place(relation.row.schema)?;
            let namesakes = self.snapshot.relations_named.get(&relation.row.name)?;
            let hidden = namesakes
                .iter()
                .filter_map(|oid| self.snapshot.relations.get(oid))
                .find(|other| place(other.row.schema).is_some_and(|behind| home < behind))?;
            let answer = self.snapshot.relation_answer(relation);
            let concern = answer.reading.iter().find(|concern| !concern.is_listed())?;
            Some(Concern {
                class: Class::Admin,
                reason: format!(
                    "puts `{}` before `{}`, which has its name: {}",
                    self.snapshot.table_name(&relation.row),
                    self.snapshot.table_name(&hidden.row),
                    concern.reason
                ),
            })
        })
    }

    fn hazard(&self) -> Option<Concern> {
        if self.has_uncommitted_ddl {
            return Some(Concern {
                class: Class::Unknown,
                reason: UNCOMMITTED.to_owned(),
            });
        }
        self.snapshot.hazard().cloned()
    }
}

/// One answer for a name that two relations could have.
fn joined(one: &names::Relation, other: &names::Relation) -> names::Relation {
    let mut joined = one.clone();
    joined.has_foreign_types |= other.has_foreign_types;
    joined.reading.extend(other.reading.iter().cloned());
    joined.inserting.extend(other.inserting.iter().cloned());
    joined.updating.extend(other.updating.iter().cloned());
    joined.deleting.extend(other.deleting.iter().cloned());
    joined.behind.extend(other.behind.iter().cloned());
    joined.rows = one.rows.max(other.rows);
    joined
}

/// A function that only this session has.
fn temporary(name: &FunctionName) -> Arc<Routine> {
    Arc::new(Routine {
        signature: name.to_string(),
        arguments_min: 0,
        arguments_max: None,
        takes_built_in_types: true,
        takes_rows: true,
        returns_set: true,
        concern: Some(Concern {
            class: Class::Procedural,
            reason: format!("calls `{name}`, which only this session has"),
        }),
    })
}

/// A catalog that could not be read, or is too old: nothing in it is known.
pub struct Unread(pub String);

impl Catalog for Unread {
    fn relation(&self, _: &TableName) -> Result<Arc<names::Relation>, NotKnown> {
        Err(NotKnown(self.0.clone()))
    }

    fn functions(&self, _: &FunctionName) -> Vec<Arc<Routine>> {
        Vec::new()
    }

    fn operators(&self, _: Option<&str>, _: &str) -> Vec<Arc<Routine>> {
        Vec::new()
    }

    fn foreign_type(&self, _: Option<&str>, _: &str) -> Result<Option<Arc<ForeignType>>, NotKnown> {
        Err(NotKnown(self.0.clone()))
    }

    fn hazard(&self) -> Option<Concern> {
        Some(Concern {
            class: Class::Unknown,
            reason: format!("the catalog is not known: {}", self.0),
        })
    }

    /// What is then found along the path is not known either.
    fn shadowing(&self, _: &str) -> Option<Concern> {
        None
    }
}
