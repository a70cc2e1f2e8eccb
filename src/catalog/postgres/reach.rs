//! What reading or writing a relation, calling a function or using a type brings with it, followed to the end.
//! Never asks whether a function is labelled immutable: a label is only a promise. Read `view.rs` next.
//!
//! Why C functions, base types and operator classes of extensions count as the server's own where nobody calls them by
//! name: only superusers can make them.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use super::definition::Listing;
use super::rows::{self, Purpose};
use super::snapshot::{Function, PG_CATALOG, Relation, Snapshot, Stored, Trigger};
use super::tree::Uses;
use super::{Oid, contrib, is_built_in};
use crate::sql::action::{Class, TableName};
use crate::sql::classify::lists::{self, Known};
use crate::sql::names::{self, Concern};

/// More concerns of one relation help nobody.
const CONCERNS_MAX: usize = 20;

/// A function whose arguments have defaults that call a function whose arguments have defaults, and so on: deeper than
/// this is not followed, and so is a concern. Definitions can be made to go round in circles.
const DEPTH_MAX: usize = 4;

/// Concerns in the order in which they were found, each once.
#[derive(Default)]
struct Concerns {
    found: Vec<Concern>,
    depth: usize,
}

impl Concerns {
    fn at(depth: usize) -> Self {
        Self {
            found: Vec::new(),
            depth,
        }
    }

    fn strictest(self) -> Option<Concern> {
        self.found.into_iter().max_by_key(|concern| concern.class)
    }

    fn add(&mut self, class: Class, reason: String) {
        let concern = Concern { class, reason };
        if self.found.contains(&concern) {
            return;
        }
        if self.found.len() < CONCERNS_MAX {
            self.found.push(concern);
        } else if let Some(least) = self.found.iter_mut().min_by_key(|kept| kept.class)
            && least.class < concern.class
        {
            // The strictest class is never lost, however many there are.
            *least = concern;
        }
    }
}

/// One part of a walk over relations: whether the name stands in the statement, or behind it.
#[derive(Clone, Copy)]
struct Step {
    relation: Oid,
    /// Reached through a view or a policy: it is named to people as one that stands behind.
    behind: bool,
}

/// How a relation is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    Insert,
    Update,
    Delete,
}

impl Write {
    /// In `pg_trigger.tgtype`.
    /// Source: PostgreSQL source, catalog/pg_trigger.h, TRIGGER_TYPE_INSERT
    fn trigger_bit(self) -> i16 {
        match self {
            Self::Insert => 1 << 2,
            Self::Delete => 1 << 3,
            Self::Update => 1 << 4,
        }
    }
}

impl Snapshot {
    /// What is known of a relation; worked out once.
    pub(super) fn relation_answer(&self, relation: &Relation) -> Arc<names::Relation> {
        let answer = || {
            let (reading, behind) = self.reading(relation.row.oid);
            Arc::new(names::Relation {
                name: Some(self.table_name(&relation.row)),
                columns: relation
                    .columns
                    .iter()
                    .map(|column| column.name.clone())
                    .collect(),
                has_foreign_types: relation
                    .columns
                    .iter()
                    .any(|column| !is_built_in(column.type_oid)),
                reading,
                inserting: self.writing(relation.row.oid, Write::Insert),
                updating: self.writing(relation.row.oid, Write::Update),
                deleting: self.writing(relation.row.oid, Write::Delete),
                planning: self.planning(relation.row.oid),
                rows: self.rows(relation.row.oid),
                behind,
            })
        };
        Arc::clone(relation.answer.get_or_init(answer))
    }

    /// By the last ANALYZE, with all children.
    fn rows(&self, relation: Oid) -> Option<u64> {
        let mut sum = None;
        let mut seen = HashSet::new();
        let mut open = vec![relation];
        while let Some(oid) = open.pop() {
            if !seen.insert(oid) {
                continue;
            }
            open.extend(self.children.get(&oid).into_iter().flatten());
            let counted = self.relations.get(&oid).map(|relation| &relation.row);
            let counted = counted.filter(|row| matches!(row.kind, b'r' | b'm' | b'f'));
            let rows = counted.map(|row| row.statistics.rows).filter(|rows| *rows >= 0.0);
            if let Some(rows) = rows {
                // Saturates, as casts of floats do.
                sum = Some(rows as u64 + sum.unwrap_or(0));
            }
        }
        sum
    }

    /// Everything that is read with a relation.
    fn reading(&self, start: Oid) -> (Vec<Concern>, BTreeSet<TableName>) {
        let mut concerns = Concerns::default();
        let mut behind = BTreeSet::new();
        let mut seen = HashSet::from([start]);
        let mut open = VecDeque::from([Step {
            relation: start,
            behind: false,
        }]);
        while let Some(step) = open.pop_front() {
            let Some(relation) = self.relations.get(&step.relation) else {
                concerns.add(
                    Class::Unknown,
                    "reads a relation that the catalog does not show".to_owned(),
                );
                continue;
            };
            if step.behind {
                behind.insert(self.table_name(&relation.row));
            }
            let mut next = |relation, behind| {
                if seen.insert(relation) {
                    open.push_back(Step { relation, behind });
                }
            };
            self.children
                .get(&step.relation)
                .into_iter()
                .flatten()
                .for_each(|child| next(*child, false));
            self.read_directly(relation, &mut concerns, &mut |oid| next(oid, true));
        }
        (concerns.found, behind)
    }

    fn read_directly(&self, relation: &Relation, concerns: &mut Concerns, next: &mut impl FnMut(Oid)) {
        let row = &relation.row;
        // Of the server's own, the walk knows those that hold credentials, behind a view too.
        if is_built_in(row.oid) {
            return;
        }
        let name = self.table_name(row);
        if let Some(foreign) = self.foreign_tables.get(&row.oid) {
            concerns.add(
                foreign_class(foreign),
                format!(
                    "`{name}` reads from the server `{}` ({})",
                    foreign.server, foreign.wrapper
                ),
            );
        }
        self.add_types(
            relation
                .columns
                .iter()
                .map(|column| column.type_oid)
                .chain([row.row_type]),
            &format!("`{name}` has a column of a type:"),
            concerns,
        );
        self.add_table_classes(row.oid, &name, concerns);
        for stored in self.stored.get(&row.oid).into_iter().flatten() {
            match stored.purpose {
                // A materialized view was computed before; a read of it is that of a table.
                Purpose::View if row.kind == b'm' => {}
                Purpose::View => {
                    self.add_uses(&stored.uses, &format!("the view `{name}`"), concerns);
                    stored.uses.relations.iter().for_each(|oid| next(*oid));
                }
                Purpose::Policy if row.has_policies => {
                    let policy = format!("the row security of `{name}`");
                    self.add_uses(&stored.uses, &policy, concerns);
                    stored.uses.relations.iter().for_each(|oid| next(*oid));
                }
                Purpose::VirtualColumn => {
                    let column = format!("the column `{}` of `{name}`", stored.name);
                    self.add_uses(&stored.uses, &column, concerns);
                }
                Purpose::Check | Purpose::Index | Purpose::Statistics | Purpose::PartitionKey => {
                    self.add_planned(stored, &name, concerns);
                }
                Purpose::Policy
                | Purpose::InsertRule
                | Purpose::UpdateRule
                | Purpose::DeleteRule
                | Purpose::Default
                | Purpose::Generated
                | Purpose::DomainCheck
                | Purpose::DomainDefault => {}
            }
        }
    }

    /// Indexes and partition keys compare by functions that their operator classes name.
    fn add_table_classes(&self, relation: Oid, name: &TableName, concerns: &mut Concerns) {
        let called = self.table_class_functions.get(&relation).into_iter().flatten();
        for function in called.filter(|function| !self.is_c(**function)) {
            self.add_call(
                *function,
                &format!("`{name}` has an index or partition key that"),
                concerns,
            );
        }
    }

    /// The planner folds what has only constants in it, and puts in the bodies of SQL functions, before anything is run.
    fn add_planned(&self, stored: &Stored, name: &TableName, concerns: &mut Concerns) {
        let folded = |oid: &&Oid| {
            let function = self.functions.get(oid);
            let inlined = function.is_some_and(|function| function.row.language == "sql");
            !is_built_in(**oid) && (inlined || stored.uses.constant_calls.contains(oid))
        };
        for oid in stored.uses.functions.iter().filter(folded) {
            self.add_call(*oid, &format!("planning a read of `{name}`"), concerns);
        }
    }

    /// Everything that a write to a relation brings with it.
    pub(super) fn writing(&self, start: Oid, write: Write) -> Vec<Concern> {
        let mut concerns = Concerns::default();
        let mut seen = HashSet::from([(start, write)]);
        let mut open = VecDeque::from([(start, write)]);
        while let Some((oid, write)) = open.pop_front() {
            let Some(relation) = self.relations.get(&oid) else {
                concerns.add(
                    Class::Unknown,
                    "writes to a relation that the catalog does not show".to_owned(),
                );
                continue;
            };
            let mut next = |step| {
                if seen.insert(step) {
                    open.push_back(step);
                }
            };
            for child in self.children.get(&oid).into_iter().flatten() {
                next((*child, write));
                // A row that comes to belong elsewhere is deleted in one partition and inserted in another.
                if write == Write::Update {
                    next((*child, Write::Insert));
                    next((*child, Write::Delete));
                }
            }
            if !is_built_in(oid) {
                self.written_directly(relation, write, &mut concerns, &mut next);
            }
        }
        concerns.found
    }

    /// What the planner puts into a write before anything is run: rules, and defaults, whose constant calls it folds.
    fn planning(&self, start: Oid) -> Vec<Concern> {
        let mut concerns = Concerns::default();
        let mut seen = HashSet::from([start]);
        let mut open = vec![start];
        while let Some(oid) = open.pop() {
            let Some(relation) = self.relations.get(&oid) else {
                concerns.add(
                    Class::Unknown,
                    "writes to a relation that the catalog does not show".to_owned(),
                );
                continue;
            };
            let name = self.table_name(&relation.row);
            let mut behind: Vec<Oid> = self.children.get(&oid).cloned().unwrap_or_default();
            for stored in self.stored.get(&oid).into_iter().flatten() {
                match stored.purpose {
                    Purpose::View => behind.extend(stored.uses.relations.iter().copied()),
                    Purpose::InsertRule | Purpose::UpdateRule | Purpose::DeleteRule => concerns.add(
                        Class::Procedural,
                        format!(
                            "the rule `{}` of `{name}` makes something else of a write",
                            stored.name
                        ),
                    ),
                    Purpose::Default | Purpose::Generated => {
                        let column = format!("the column `{}` of `{name}`", stored.name);
                        self.add_uses_but_sequences(&stored.uses, &column, &mut concerns);
                    }
                    // A read has these, too, or the planner never sees them.
                    Purpose::Policy
                    | Purpose::VirtualColumn
                    | Purpose::Check
                    | Purpose::Index
                    | Purpose::PartitionKey
                    | Purpose::Statistics
                    | Purpose::DomainCheck
                    | Purpose::DomainDefault => {}
                }
            }
            open.extend(behind.into_iter().filter(|oid| seen.insert(*oid)));
        }
        concerns.found
    }

    fn written_directly(
        &self,
        relation: &Relation,
        write: Write,
        concerns: &mut Concerns,
        next: &mut impl FnMut((Oid, Write)),
    ) {
        let row = &relation.row;
        let name = self.table_name(row);
        if let Some(foreign) = self.foreign_tables.get(&row.oid) {
            concerns.add(
                foreign_class(foreign),
                format!(
                    "`{name}` writes to the server `{}` ({})",
                    foreign.server, foreign.wrapper
                ),
            );
        }
        let triggers = self.triggers.get(&row.oid).into_iter().flatten();
        for trigger in triggers.filter(|trigger| trigger.row.events & write.trigger_bit() != 0) {
            self.add_trigger(trigger, &name, concerns);
        }
        for key in self.foreign_keys.get(&row.oid).into_iter().flatten() {
            if let Some((does, then)) = cascade(key, write) {
                let from = self
                    .relations
                    .get(&key.from)
                    .map(|from| self.table_name(&from.row));
                let from = from.map_or_else(|| "?".to_owned(), |from| from.to_string());
                concerns.add(Class::Write, format!("{does} `{from}`, by `{}`", key.name));
                next((key.from, then));
            }
        }
        if write != Write::Delete {
            self.add_types(
                relation.columns.iter().map(|column| column.type_oid),
                &format!("`{name}` has a column of a type:"),
                concerns,
            );
        }
        self.add_table_classes(row.oid, &name, concerns);
        for stored in self.stored.get(&row.oid).into_iter().flatten() {
            self.written_with(stored, row, write, concerns, next);
        }
    }

    fn written_with(
        &self,
        stored: &Stored,
        row: &rows::Relation,
        write: Write,
        concerns: &mut Concerns,
        next: &mut impl FnMut((Oid, Write)),
    ) {
        let name = self.table_name(row);
        let stays = write != Write::Delete;
        let mut rule = |own: Write| {
            if own == write {
                concerns.add(
                    Class::Procedural,
                    format!(
                        "the rule `{}` of `{name}` makes something else of a write",
                        stored.name
                    ),
                );
            }
        };
        match stored.purpose {
            // A write to a view goes to a table behind it.
            Purpose::View => stored.uses.relations.iter().for_each(|oid| next((*oid, write))),
            Purpose::InsertRule => rule(Write::Insert),
            Purpose::UpdateRule => rule(Write::Update),
            Purpose::DeleteRule => rule(Write::Delete),
            Purpose::Policy if row.has_policies => {
                self.add_uses(&stored.uses, &format!("the row security of `{name}`"), concerns);
            }
            Purpose::Default | Purpose::Generated if stays => {
                let column = format!("the column `{}` of `{name}`", stored.name);
                self.add_uses_but_sequences(&stored.uses, &column, concerns);
            }
            Purpose::Check if stays => {
                let check = format!("the constraint `{}` of `{name}`", stored.name);
                self.add_uses(&stored.uses, &check, concerns);
            }
            Purpose::Index | Purpose::PartitionKey if stays => {
                self.add_uses(&stored.uses, &format!("an index or key of `{name}`"), concerns);
            }
            Purpose::Policy
            | Purpose::Default
            | Purpose::Generated
            | Purpose::VirtualColumn
            | Purpose::Check
            | Purpose::Index
            | Purpose::PartitionKey
            | Purpose::Statistics
            | Purpose::DomainCheck
            | Purpose::DomainDefault => {}
        }
    }

    fn add_trigger(&self, trigger: &Trigger, name: &TableName, concerns: &mut Concerns) {
        let what = format!("the trigger `{}` of `{name}`", trigger.row.name);
        self.add_uses(&trigger.condition, &what, concerns);
        // Those that the server brings (tsvector_update_trigger, suppress_redundant_updates_trigger) only touch the row.
        if !is_built_in(trigger.row.function) {
            self.add_call(trigger.row.function, &what, concerns);
        }
    }

    fn add_uses(&self, uses: &Uses, what: &str, concerns: &mut Concerns) {
        self.add_calls(uses, what, concerns);
        self.add_rest(uses, what, concerns);
    }

    /// In a default, a sequence numbers the row that is written anyway.
    fn add_uses_but_sequences(&self, uses: &Uses, what: &str, concerns: &mut Concerns) {
        let numbers = |oid: &Oid| {
            let function = self.built_in_functions.get(oid);
            function.is_some_and(|function| function.schema == PG_CATALOG && function.name == "nextval")
        };
        for oid in uses.functions.iter().filter(|oid| !numbers(oid)) {
            self.add_call(*oid, what, concerns);
        }
        self.add_rest(uses, what, concerns);
    }

    fn add_calls(&self, uses: &Uses, what: &str, concerns: &mut Concerns) {
        for oid in &uses.functions {
            self.add_call(*oid, what, concerns);
        }
    }

    fn add_rest(&self, uses: &Uses, what: &str, concerns: &mut Concerns) {
        self.add_types(
            uses.types.iter().copied(),
            &format!("{what} uses a type:"),
            concerns,
        );
        self.add_syntax(uses, what, concerns);
    }

    /// Operators, and what the shape of it tells.
    fn add_syntax(&self, uses: &Uses, what: &str, concerns: &mut Concerns) {
        for oid in uses.operators.iter().filter(|oid| !is_built_in(**oid)) {
            if let Some(concern) = self.operator_concern_at(*oid, concerns.depth) {
                concerns.add(concern.class, format!("{what} {}", concern.reason));
            }
        }
        if uses.not_understood {
            concerns.add(
                Class::Unknown,
                format!("{what} holds a construct that is not understood"),
            );
        }
        if uses.writes {
            concerns.add(Class::Write, format!("{what} holds more than a SELECT"));
        }
        if uses.locks_rows {
            concerns.add(Class::Write, format!("{what} locks the rows it reads"));
        }
    }

    fn add_call(&self, function: Oid, what: &str, concerns: &mut Concerns) {
        if let Some(concern) = self.function_concern_at(function, concerns.depth) {
            concerns.add(concern.class, format!("{what} {}", concern.reason));
        }
    }

    fn add_types(&self, types: impl Iterator<Item = Oid>, what: &str, concerns: &mut Concerns) {
        for concern in self.type_concerns_at(types, concerns.depth) {
            concerns.add(concern.class, format!("{what} {}", concern.reason));
        }
    }

    /// Why a call is not harmless; `None`: it is.
    pub(super) fn function_concern(&self, oid: Oid) -> Option<Concern> {
        self.function_concern_at(oid, 0)
    }

    fn function_concern_at(&self, oid: Oid, depth: usize) -> Option<Concern> {
        if is_built_in(oid) {
            return self.built_in_concern(oid);
        }
        let Some(function) = self.functions.get(&oid) else {
            return procedural("calls a function that the catalog does not show".to_owned());
        };
        let signature = &function.row.signature;
        if function.listing == Listing::Changed {
            return procedural(format!(
                "calls `{signature}`, whose definition has changed since it was listed"
            ));
        }
        // What is put together from functions that are known is known itself.
        if function.aggregate.is_none() && !self.is_known(function) {
            return procedural(format!("calls `{signature}`, which is not listed as harmless"));
        }
        let listed = || Concern::listed(format!("calls `{signature}`, which is listed as harmless"));
        let is_listed = function.listing == Listing::Same;
        self.parts_concern(function, depth + 1)
            .or_else(|| is_listed.then(listed))
    }

    /// Listed by an operator, or by ourselves.
    fn is_known(&self, function: &Function) -> bool {
        let row = &function.row;
        if function.listing == Listing::Same {
            return true;
        }
        match row.language.as_str() {
            "c" => row
                .binary
                .as_deref()
                .is_some_and(|binary| contrib::is_harmless(binary, &row.source)),
            // Only superusers can give one of the server's own functions another name.
            "internal" => self.built_in_sources.get(&row.source).is_some_and(|own| {
                let held = |oid: &Oid| {
                    self.built_in_concern(*oid)
                        .filter(|held| held.class != Class::Unknown)
                };
                own.iter().all(|oid| held(oid).is_none())
            }),
            "sql" => {
                let plain = row.settings.is_empty() && !row.security_definer && row.body.is_none();
                plain && contrib::is_harmless_body(&row.source)
            }
            _ => false,
        }
    }

    /// What a function that is itself known calls besides: the parts of an aggregate, the defaults of its arguments.
    fn parts_concern(&self, function: &Function, depth: usize) -> Option<Concern> {
        let signature = &function.row.signature;
        if depth > DEPTH_MAX {
            return procedural(format!("calls `{signature}` by way of too many others"));
        }
        let aggregate = function.aggregate.as_ref();
        let parts = aggregate
            .map(|aggregate| aggregate.parts.as_slice())
            .unwrap_or_default();
        let mut concerns = Concerns::at(depth);
        for part in parts.iter().filter(|part| **part != 0 && !is_built_in(**part)) {
            let part = self.functions.get(part);
            if !part.is_some_and(|part| self.is_known(part)) {
                let name = part.map_or("?", |part| part.row.signature.as_str());
                return procedural(format!(
                    "calls `{signature}`, which calls `{name}`, which is not listed as harmless"
                ));
            }
            if part.is_some_and(|part| part.listing == Listing::Same) {
                let Concern { class, reason } =
                    Concern::listed(format!("calls `{signature}`, which is listed"));
                concerns.add(class, reason);
            }
        }
        // State functions of the server's own take `internal` and so are on no list; those that are held are on one.
        let held = |part: &Oid| {
            self.built_in_concern(*part)
                .filter(|held| held.class != Class::Unknown)
        };
        for held in parts
            .iter()
            .filter(|part| is_built_in(**part) && **part != 0)
            .filter_map(held)
        {
            concerns.add(held.class, format!("`{signature}` {}", held.reason));
        }
        if let Some(defaults) = &function.defaults {
            self.add_uses(defaults, &format!("a default of `{signature}`"), &mut concerns);
        }
        concerns.strictest()
    }

    fn built_in_concern(&self, oid: Oid) -> Option<Concern> {
        let Some(function) = self.built_in_functions.get(&oid) else {
            return procedural("calls a function that the catalog does not show".to_owned());
        };
        let name = &function.name;
        let known = if function.schema == PG_CATALOG {
            match lists::function(name) {
                // This server has it, so the name is nobody else's.
                Known::Absent => lists::newer_function(name),
                known => known,
            }
        } else if lists::is_information_function(name) {
            Known::Harmless
        } else {
            Known::Absent
        };
        match known {
            Known::Harmless => None,
            Known::Held(class, does) => Some(Concern {
                class,
                reason: format!("calls `{name}`, which {does}"),
            }),
            Known::Other | Known::Absent => Some(Concern {
                class: Class::Unknown,
                reason: format!("calls `{name}`, which is not known to be harmless"),
            }),
        }
    }

    /// Why an operator that is not built in is not harmless. The planner may turn it round or negate it.
    pub(super) fn operator_concern(&self, oid: Oid) -> Option<Concern> {
        self.operator_concern_at(oid, 0)
    }

    fn operator_concern_at(&self, oid: Oid, depth: usize) -> Option<Concern> {
        let Some(operator) = self.operators.get(&oid) else {
            return procedural("uses an operator that the catalog does not show".to_owned());
        };
        let related = [operator.commutator, operator.negator];
        let related = related.iter().filter_map(|oid| self.operators.get(oid));
        let functions = [operator.function]
            .into_iter()
            .chain(related.map(|other| other.function));
        let concern = functions
            .filter(|function| *function != 0)
            .filter_map(|function| self.function_concern_at(function, depth))
            .max_by_key(|concern| concern.class)?;
        Some(Concern {
            reason: format!(
                "uses the operator `{}`, which {}",
                operator.signature, concern.reason
            ),
            ..concern
        })
    }

    /// What values of these types bring with them: checks of domains, casts, and what operator classes call. Composite
    /// types, arrays and ranges by what they hold.
    pub(super) fn type_concerns(&self, types: impl Iterator<Item = Oid>) -> Vec<Concern> {
        self.type_concerns_at(types, 0)
    }

    fn type_concerns_at(&self, types: impl Iterator<Item = Oid>, depth: usize) -> Vec<Concern> {
        let mut concerns = Concerns::at(depth);
        let mut open: Vec<Oid> = types.filter(|oid| !is_built_in(*oid)).collect();
        let mut seen: HashSet<Oid> = open.iter().copied().collect();
        while let Some(oid) = open.pop() {
            let Some(own) = self.types.get(&oid) else {
                concerns.add(Class::Unknown, "one that the catalog does not show".to_owned());
                continue;
            };
            let columns = self
                .relations
                .get(&own.relation)
                .into_iter()
                .flat_map(|row| &row.columns);
            let parts = columns.map(|column| column.type_oid);
            let parts = parts
                .chain([own.element, own.base])
                .chain(own.range.first().copied());
            let checks = self.stored.get(&oid).into_iter().flatten();
            let named = checks.flat_map(|check| check.uses.types.iter().copied());
            let parts = parts.chain(named);
            open.extend(parts.filter(|part| !is_built_in(*part) && seen.insert(*part)));
            self.add_type(own, &mut concerns);
        }
        concerns.found
    }

    fn add_type(&self, own: &rows::Type, concerns: &mut Concerns) {
        let name = self.type_name(own);
        for stored in self.stored.get(&own.oid).into_iter().flatten() {
            if matches!(stored.purpose, Purpose::DomainCheck | Purpose::DomainDefault) {
                let what = format!("`{name}` checks its values and");
                self.add_calls(&stored.uses, &what, concerns);
                self.add_syntax(&stored.uses, &what, concerns);
            }
        }
        // The canonical and the difference function of a range.
        for function in own
            .range
            .iter()
            .skip(1)
            .filter(|oid| **oid != 0 && !is_built_in(**oid))
        {
            self.add_call(*function, &format!("`{name}`"), concerns);
        }
        let casts = self.casts_of.get(&own.oid).into_iter().flatten();
        for cast in casts
            .filter_map(|at| self.casts.get(*at))
            .filter(|cast| cast.function != 0)
        {
            self.add_call(cast.function, &format!("`{name}` has a cast that"), concerns);
        }
        for function in self.class_functions.get(&own.oid).into_iter().flatten() {
            if !self.is_c(*function) {
                self.add_call(
                    *function,
                    &format!("`{name}` has an operator class that"),
                    concerns,
                );
            }
        }
    }

    /// Only superusers make functions in C and put them into operator classes.
    fn is_c(&self, function: Oid) -> bool {
        let function = self.functions.get(&function);
        function.is_some_and(|function| matches!(function.row.language.as_str(), "c" | "internal"))
    }

    pub(super) fn type_name(&self, own: &rows::Type) -> String {
        format!("{}.{}", self.schema_name(own.schema), own.name)
    }

    /// Casts and operator classes by somebody's code for the server's own types: then no expression means what it says.
    pub(super) fn hazard(&self) -> Option<&Concern> {
        let found = || {
            let between_own = |cast: &&rows::Cast| is_built_in(cast.source) && is_built_in(cast.target);
            let called = self.casts.iter().filter(between_own).map(|cast| cast.function);
            let classes = self.class_functions.iter().filter(|(oid, _)| is_built_in(**oid));
            let classes = classes.flat_map(|(_, functions)| functions.iter().copied());
            let called = called
                .filter(|oid| *oid != 0)
                .chain(classes.filter(|oid| !self.is_c(*oid)));
            let concerns = called.filter_map(|oid| self.function_concern(oid));
            let concern = concerns.max_by_key(|concern| concern.class)?;
            Some(Concern {
                reason: format!(
                    "a cast or an operator class of built-in types is somebody's own: it {}",
                    concern.reason
                ),
                ..concern
            })
        };
        self.hazard.get_or_init(found).as_ref()
    }
}

fn procedural(reason: String) -> Option<Concern> {
    Some(Concern {
        class: Class::Procedural,
        reason,
    })
}

/// Files and programs of the server's machine are its administration.
fn foreign_class(foreign: &rows::ForeignTable) -> Class {
    if foreign.wrapper == "postgres_fdw" {
        Class::Procedural
    } else {
        Class::Admin
    }
}

/// What a foreign key does to the rows that point, and as which write.
fn cascade(key: &rows::ForeignKey, write: Write) -> Option<(&'static str, Write)> {
    // `pg_constraint.confdeltype` and `confupdtype`: c cascade, n set null, d set default.
    match write {
        Write::Insert => None,
        Write::Delete => match key.on_delete {
            b'c' => Some(("deletes rows of", Write::Delete)),
            b'n' | b'd' => Some(("changes rows of", Write::Update)),
            _ => None,
        },
        Write::Update => {
            matches!(key.on_update, b'c' | b'n' | b'd').then_some(("may change rows of", Write::Update))
        }
    }
}
