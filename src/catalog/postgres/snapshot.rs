//! One database's catalog as it was at one moment, arranged for look-ups.
//! Never changes once made; the answers that it has worked out are kept. Read `reach.rs` next.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::definition::{self, ListedFunctions, Listing, UserFunction};
use super::read::{Marks, Rows};
use super::rows::{self, Purpose};
use super::tree::{self, Uses};
use super::{Oid, is_built_in};
use crate::catalog::keeper;
use crate::sql::action::TableName;
use crate::sql::names;

/// A database's catalog at one moment.
pub struct Snapshot {
    generation: u64,
    taken_at: Instant,
    marks: Marks,
    pub(super) schemas: HashMap<String, Oid>,
    schema_names: HashMap<Oid, String>,
    pub(super) relations: HashMap<Oid, Relation>,
    pub(super) relations_named: HashMap<String, Vec<Oid>>,
    pub(super) children: HashMap<Oid, Vec<Oid>>,
    pub(super) foreign_tables: HashMap<Oid, rows::ForeignTable>,
    pub(super) built_in_functions: HashMap<Oid, rows::BuiltInFunction>,
    /// By the names of their code, which somebody's function in the language `internal` can name, too.
    pub(super) built_in_sources: HashMap<String, Vec<Oid>>,
    /// Argument types of the built-in functions of a name.
    built_in_signatures: HashMap<String, Vec<Vec<Oid>>>,
    pub(super) functions: HashMap<Oid, Function>,
    /// Those that a call could mean, so without procedures.
    pub(super) functions_named: HashMap<String, Vec<Oid>>,
    pub(super) operators: HashMap<Oid, rows::Operator>,
    /// Those that are not built in.
    pub(super) operators_named: HashMap<String, Vec<Oid>>,
    built_in_operators: HashSet<(String, Oid, Oid)>,
    pub(super) types: HashMap<Oid, rows::Type>,
    pub(super) types_named: HashMap<String, Vec<Oid>>,
    pub(super) casts: Vec<rows::Cast>,
    /// From a type that is not built in to the casts from it and to it.
    pub(super) casts_of: HashMap<Oid, Vec<usize>>,
    /// By type: what its operator classes call; of a built-in type, its default ones.
    pub(super) class_functions: HashMap<Oid, Vec<Oid>>,
    /// By relation.
    pub(super) table_class_functions: HashMap<Oid, Vec<Oid>>,
    pub(super) triggers: HashMap<Oid, Vec<Trigger>>,
    /// By the table that is pointed at.
    pub(super) foreign_keys: HashMap<Oid, Vec<rows::ForeignKey>>,
    /// By relation, or by domain.
    pub(super) stored: HashMap<Oid, Vec<Stored>>,
    pub(super) hazard: OnceLock<Option<names::Concern>>,
}

/// A relation, its columns, and what was worked out about it.
pub struct Relation {
    pub row: rows::Relation,
    pub columns: Vec<rows::Column>,
    pub answer: OnceLock<Arc<names::Relation>>,
}

/// A function that is not built in, and whether it is known.
pub struct Function {
    pub row: rows::Function,
    pub aggregate: Option<rows::Aggregate>,
    pub hash: String,
    pub listing: Listing,
    /// What the defaults of its arguments use.
    pub defaults: Option<Uses>,
    pub answer: OnceLock<Arc<names::Routine>>,
}

/// A trigger, and what its WHEN uses.
pub struct Trigger {
    pub row: rows::Trigger,
    pub condition: Uses,
}

/// A stored expression or query, and what it uses.
pub struct Stored {
    pub purpose: Purpose,
    pub name: String,
    pub uses: Uses,
}

/// OIDs of the catalogs that dependencies are recorded in.
/// Source: PostgreSQL source, the CATALOG lines in catalog/pg_*.h
mod catalogs {
    pub const TYPE: u32 = 1_247;
    pub const FUNCTION: u32 = 1_255;
    pub const RELATION: u32 = 1_259;
    pub const OPERATOR: u32 = 2_617;
    pub const TRIGGER: u32 = 2_620;
}

impl Snapshot {
    pub(super) fn of(rows: Rows, listed: &ListedFunctions) -> Self {
        let mut hasher = DefaultHasher::new();
        (rows.print, listed.sorted()).hash(&mut hasher);
        let uses = dependencies(rows.dependencies);
        let mut casts_of: HashMap<Oid, Vec<usize>> = HashMap::new();
        for (at, cast) in rows.casts.iter().enumerate() {
            for end in [cast.source, cast.target] {
                casts_of.entry(end).or_default().push(at);
            }
        }
        let functions = functions(rows.functions, rows.aggregates, listed);
        let callable = functions.values().filter(|function| function.row.kind != b'p');
        let own_operators = rows
            .operators
            .iter()
            .filter(|operator| !is_built_in(operator.oid));
        Self {
            generation: hasher.finish(),
            taken_at: Instant::now(),
            marks: rows.marks,
            schemas: rows
                .schemas
                .iter()
                .map(|schema| (schema.name.clone(), schema.oid))
                .collect(),
            relations_named: grouped(rows.relations.iter().map(|row| (row.name.clone(), row.oid))),
            relations: relations(rows.relations, rows.columns),
            children: grouped(rows.children.iter().map(|row| (row.parent, row.child))),
            foreign_tables: rows
                .foreign_tables
                .into_iter()
                .map(|row| (row.relation, row))
                .collect(),
            built_in_signatures: grouped(
                rows.built_in_functions
                    .iter()
                    .filter(|row| row.schema == PG_CATALOG)
                    .map(|row| (row.name.clone(), row.arguments.clone())),
            ),
            built_in_sources: grouped(
                rows.built_in_functions
                    .iter()
                    .map(|row| (row.source.clone(), row.oid)),
            ),
            built_in_functions: rows
                .built_in_functions
                .into_iter()
                .map(|row| (row.oid, row))
                .collect(),
            functions_named: grouped(callable.map(|function| (function.row.name.clone(), function.row.oid))),
            functions,
            operators_named: grouped(own_operators.map(|row| (row.name.clone(), row.oid))),
            built_in_operators: rows
                .operators
                .iter()
                .filter(|row| is_built_in(row.oid))
                .map(|row| (row.name.clone(), row.left, row.right))
                .collect(),
            operators: rows.operators.into_iter().map(|row| (row.oid, row)).collect(),
            types_named: grouped(rows.types.iter().map(|row| (row.name.clone(), row.oid))),
            types: rows.types.into_iter().map(|row| (row.oid, row)).collect(),
            casts: rows.casts,
            casts_of,
            class_functions: grouped(
                rows.class_functions
                    .iter()
                    .map(|row| (row.type_oid, row.function)),
            ),
            table_class_functions: grouped(
                rows.table_class_functions
                    .iter()
                    .map(|row| (row.relation, row.function)),
            ),
            triggers: triggers(rows.triggers, &uses),
            foreign_keys: grouped(rows.foreign_keys.into_iter().map(|row| (row.to, row))),
            stored: stored(rows.stored, &uses),
            schema_names: rows
                .schemas
                .into_iter()
                .map(|schema| (schema.oid, schema.name))
                .collect(),
            hazard: OnceLock::new(),
        }
    }

    pub fn taken_at(&self) -> Instant {
        self.taken_at
    }

    /// How long ago the catalog was as this says, at least.
    pub fn age(&self) -> Duration {
        self.taken_at.elapsed()
    }

    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The name by which a relation can always be meant.
    pub(super) fn table_name(&self, relation: &rows::Relation) -> TableName {
        TableName {
            schema: Some(self.schema_name(relation.schema)),
            name: relation.name.clone(),
        }
    }

    pub(super) fn schema_name(&self, oid: Oid) -> String {
        self.schema_names
            .get(&oid)
            .cloned()
            .unwrap_or_else(|| "?".to_owned())
    }

    /// Whether a built-in function of this name takes exactly these types, so that it is meant wherever pg_catalog is
    /// searched first. A call that names an argument (`lower(a => …)`) passes by functions without such a name.
    pub(super) fn is_hidden_function(&self, function: &rows::Function) -> bool {
        let plain = function.defaults == 0 && function.variadic == 0 && !function.has_names;
        let same = |arguments: &Vec<Oid>| *arguments == function.arguments;
        let built_in = self.built_in_signatures.get(&function.name);
        plain && built_in.is_some_and(|signatures| signatures.iter().any(same))
    }

    pub(super) fn is_hidden_operator(&self, operator: &rows::Operator) -> bool {
        let key = (operator.name.clone(), operator.left, operator.right);
        self.built_in_operators.contains(&key)
    }
}

impl keeper::Snapshot for Snapshot {
    type Function = UserFunction;

    /// The same for two snapshots if everything that they can answer is the same, but for sizes of tables.
    fn generation(&self) -> u64 {
        self.generation
    }

    /// Functions, procedures and aggregates that are not built in, in the order of their names.
    fn user_functions(&self) -> Vec<UserFunction> {
        let told = |function: &Function| {
            let row = &function.row;
            let concern = self
                .function_concern(row.oid)
                .filter(|concern| !concern.is_listed());
            UserFunction {
                function: row.signature.clone(),
                kind: definition::kind_word(row.kind),
                language: row.language.clone(),
                owner: row.owner.clone(),
                security_definer: row.security_definer,
                volatility: definition::volatility_word(row.volatility),
                extension: row.extension.clone(),
                hash: function.hash.clone(),
                harmless: concern.is_none(),
                reason: concern.map(|concern| concern.reason),
            }
        };
        let mut all: Vec<UserFunction> = self.functions.values().map(told).collect();
        all.sort_by(|one, other| one.function.cmp(&other.function));
        all
    }

    fn see(&self, take: &mut dyn FnMut(keeper::Seen<'_>)) {
        for relation in self.relations.values() {
            let columns = relation.columns.iter().map(|column| column.name.as_str());
            let name = self.table_name(&relation.row);
            take(keeper::Seen::Relation(name, columns.collect()));
        }
    }
}

/// OID of the schema `pg_catalog`.
pub const PG_CATALOG: Oid = 11;

fn grouped<K: Eq + Hash, V>(pairs: impl Iterator<Item = (K, V)>) -> HashMap<K, Vec<V>> {
    let mut groups: HashMap<K, Vec<V>> = HashMap::new();
    for (key, value) in pairs {
        groups.entry(key).or_default().push(value);
    }
    groups
}

fn relations(relations: Vec<rows::Relation>, columns: Vec<rows::Column>) -> HashMap<Oid, Relation> {
    let mut columns = grouped(columns.into_iter().map(|column| (column.relation, column)));
    let entry = |row: rows::Relation| {
        let columns = columns.remove(&row.oid).unwrap_or_default();
        let answer = OnceLock::new();
        (row.oid, Relation { row, columns, answer })
    };
    relations.into_iter().map(entry).collect()
}

fn functions(
    functions: Vec<rows::Function>,
    aggregates: Vec<rows::Aggregate>,
    listed: &ListedFunctions,
) -> HashMap<Oid, Function> {
    let mut aggregates: HashMap<Oid, rows::Aggregate> =
        aggregates.into_iter().map(|row| (row.function, row)).collect();
    let entry = |row: rows::Function| {
        let aggregate = aggregates.remove(&row.oid);
        let hash = definition::hash(&row, aggregate.as_ref());
        let listing = listed.of(&row.signature, &hash);
        let defaults = row.defaults_tree.as_deref().map(|tree| {
            let mut uses = Uses::default();
            tree::read(tree, &mut uses);
            uses
        });
        let function = Function {
            row,
            aggregate,
            hash,
            listing,
            defaults,
            answer: OnceLock::new(),
        };
        (function.row.oid, function)
    };
    functions.into_iter().map(entry).collect()
}

type Dependencies = HashMap<(Oid, Oid), Vec<(Oid, Oid)>>;

fn dependencies(rows: Vec<rows::Dependency>) -> Dependencies {
    grouped(
        rows.into_iter()
            .map(|row| ((row.class, row.object), (row.on_class, row.on))),
    )
}

/// What the trees name, and what the server has recorded besides: neither alone is complete. The record has no built-in
/// functions, and a tree of a newer server may name something in a field that is not known here.
fn uses_of(trees: &[String], object: (Oid, Oid), with_relations: bool, recorded: &Dependencies) -> Uses {
    let mut uses = Uses::default();
    for tree in trees {
        tree::read(tree, &mut uses);
    }
    for (class, on) in recorded.get(&object).into_iter().flatten() {
        match *class {
            catalogs::FUNCTION => uses.functions.insert(*on),
            catalogs::OPERATOR => uses.operators.insert(*on),
            catalogs::TYPE => uses.types.insert(*on),
            catalogs::RELATION if with_relations => uses.relations.insert(*on),
            _ => false,
        };
    }
    uses
}

fn stored(rows: Vec<rows::Stored>, recorded: &Dependencies) -> HashMap<Oid, Vec<Stored>> {
    let entry = |row: rows::Stored| {
        // The other expressions have no subqueries: what they depend on is their own table or a sequence.
        let with_relations = matches!(row.purpose, Purpose::View | Purpose::Policy);
        let uses = uses_of(&row.trees, (row.class, row.object), with_relations, recorded);
        let stored = Stored {
            purpose: row.purpose,
            name: row.name,
            uses,
        };
        (row.owner, stored)
    };
    grouped(rows.into_iter().map(entry))
}

fn triggers(rows: Vec<rows::Trigger>, recorded: &Dependencies) -> HashMap<Oid, Vec<Trigger>> {
    let entry = |row: rows::Trigger| {
        let trees: Vec<String> = row.condition.clone().into_iter().collect();
        let condition = uses_of(&trees, (catalogs::TRIGGER, row.oid), false, recorded);
        (row.relation, Trigger { row, condition })
    };
    grouped(rows.into_iter().map(entry))
}
