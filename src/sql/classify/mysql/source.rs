//! What a query reads from: tables, joins, derived tables, and the names that stand for them.
//! Never takes a name for a common table expression that is out of its sight. Read `expression.rs` next.

use sqlparser::ast::{
    Ident, Join, JoinConstraint, JoinOperator, JsonTableColumn, JsonTableNamedColumn, JsonTableNestedColumn,
    ObjectName, ObjectNamePart, TableAlias, TableFactor, TableVersion, TableWithJoins,
};

use super::Walk;
use crate::sql::action::{Class, TableName};
use crate::sql::classify::lists::mysql as lists;

/// Schemas whose relations are the server's own.
const SYSTEM_SCHEMAS: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

pub(super) fn is_system_schema(schema: &str) -> bool {
    SYSTEM_SCHEMAS
        .iter()
        .any(|known| schema.eq_ignore_ascii_case(known))
}

impl Walk<'_, '_> {
    pub(super) fn table_with_joins(&mut self, tables: &TableWithJoins) {
        let TableWithJoins { relation, joins } = tables;
        self.table_factor(relation);
        for join in joins {
            self.join(join);
        }
    }

    fn join(&mut self, join: &Join) {
        let Join {
            relation,
            global,
            join_operator,
        } = join;
        self.seen.joins += 1;
        self.table_factor(relation);
        if *global {
            self.unknown_node();
        }
        match join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::CrossJoin(constraint)
            | JoinOperator::StraightJoin(constraint) => self.join_constraint(constraint),
            // Neither server has these; the words may be names there.
            JoinOperator::FullOuter(_)
            | JoinOperator::Semi(_)
            | JoinOperator::LeftSemi(_)
            | JoinOperator::RightSemi(_)
            | JoinOperator::Anti(_)
            | JoinOperator::LeftAnti(_)
            | JoinOperator::RightAnti(_)
            | JoinOperator::CrossApply
            | JoinOperator::OuterApply
            | JoinOperator::AsOf { .. }
            | JoinOperator::ArrayJoin
            | JoinOperator::LeftArrayJoin
            | JoinOperator::InnerArrayJoin => self.unknown_node(),
        }
    }

    fn join_constraint(&mut self, constraint: &JoinConstraint) {
        match constraint {
            JoinConstraint::On(expr) => self.expression(expr),
            JoinConstraint::Using(columns) => {
                for column in columns {
                    self.column_name(column);
                }
            }
            JoinConstraint::Natural | JoinConstraint::None => {}
        }
    }

    pub(super) fn table_factor(&mut self, factor: &TableFactor) {
        if !self.descend() {
            return;
        }
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions: _,
                json_path,
                sample,
                index_hints: _,
            } => {
                if args.is_some()
                    || !with_hints.is_empty()
                    || *with_ordinality
                    || json_path.is_some()
                    || sample.is_some()
                {
                    self.unknown_node();
                }
                match version {
                    None => {}
                    Some(TableVersion::ForSystemTimeAsOf(expr)) => self.expression(expr),
                    Some(
                        TableVersion::TimestampAsOf(_)
                        | TableVersion::VersionAsOf(_)
                        | TableVersion::Function(_)
                        | TableVersion::Changes { .. },
                    ) => self.unknown_node(),
                }
                self.maybe_alias(alias.as_ref());
                self.source(name);
            }
            TableFactor::Derived {
                lateral: _,
                subquery,
                alias,
                sample,
            } => {
                if sample.is_some() {
                    self.unknown_node();
                }
                self.maybe_alias(alias.as_ref());
                self.query(subquery);
            }
            TableFactor::JsonTable {
                json_expr,
                json_path: _,
                columns,
                alias,
            } => {
                self.maybe_alias(alias.as_ref());
                self.expression(json_expr);
                self.json_columns(columns);
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => {
                self.maybe_alias(alias.as_ref());
                self.table_with_joins(table_with_joins);
            }
            // Neither server has these.
            TableFactor::TableFunction { .. }
            | TableFactor::Function { .. }
            | TableFactor::UNNEST { .. }
            | TableFactor::OpenJsonTable { .. }
            | TableFactor::Pivot { .. }
            | TableFactor::Unpivot { .. }
            | TableFactor::UnpivotExpr { .. }
            | TableFactor::MatchRecognize { .. }
            | TableFactor::XmlTable { .. }
            | TableFactor::SemanticView { .. } => self.unknown_node(),
        }
        self.depth -= 1;
    }

    /// Paths and defaults are literals; nothing in a column of JSON_TABLE is computed.
    fn json_columns(&mut self, columns: &[JsonTableColumn]) {
        for column in columns {
            match column {
                JsonTableColumn::Named(JsonTableNamedColumn {
                    name,
                    r#type: _,
                    path: _,
                    exists: _,
                    on_empty: _,
                    on_error: _,
                })
                | JsonTableColumn::ForOrdinality(name) => self.alias_name(name),
                JsonTableColumn::Nested(JsonTableNestedColumn { path: _, columns }) => {
                    if self.descend() {
                        self.json_columns(columns);
                        self.depth -= 1;
                    }
                }
            }
        }
    }

    fn maybe_alias(&mut self, alias: Option<&TableAlias>) {
        if let Some(alias) = alias {
            self.alias(alias);
        }
    }

    /// New names for columns hide the old ones: as good as naming them all.
    pub(super) fn alias(&mut self, alias: &TableAlias) {
        let TableAlias {
            explicit: _,
            name,
            columns,
            at,
        } = alias;
        self.alias_name(name);
        if !columns.is_empty() {
            self.columns.insert("*".to_owned());
        }
        if at.is_some() || columns.iter().any(|column| column.data_type.is_some()) {
            self.unknown_node();
        }
    }

    pub(super) fn alias_name(&mut self, name: &Ident) {
        self.seen.name(name);
    }

    /// A relation in FROM: a common table expression in sight, or a table.
    fn source(&mut self, name: &ObjectName) {
        let Some(table) = self.table_name(name) else {
            return self.unknown_node();
        };
        let quoted =
            matches!(name.0.as_slice(), [ObjectNamePart::Identifier(part)] if part.quote_style.is_some());
        if table.schema.is_none() && !quoted && table.name.eq_ignore_ascii_case("dual") {
            return;
        }
        // Where case may matter, a name that differs by case alone counts as a table.
        if table.schema.is_none() && self.ctes.contains(&table.name) {
            return;
        }
        self.read(table);
    }

    /// The words of a relation's name, if it is nothing but one.
    pub(super) fn table_name(&mut self, name: &ObjectName) -> Option<TableName> {
        let mut parts = Vec::with_capacity(2);
        for part in &name.0 {
            let ObjectNamePart::Identifier(part) = part else {
                return None;
            };
            if parts.is_empty() {
                self.seen.name(part);
            } else {
                self.seen.name_behind_dot(part);
            }
            if part.quote_style.is_none() && part.value.starts_with('@') {
                return None;
            }
            parts.push(part.value.clone());
        }
        let mut parts = parts.into_iter();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(name), None, None) => Some(TableName { schema: None, name }),
            (Some(schema), Some(name), None) => Some(TableName {
                schema: Some(schema),
                name,
            }),
            _ => None,
        }
    }

    /// A table, view or sequence that is read.
    pub(super) fn read(&mut self, table: TableName) {
        self.class = self.class.max(Class::Read);
        let system = self.system_read(&table);
        if !system && let Some(known) = self.message.relation(&table) {
            match known {
                Ok(relation) => {
                    for concern in &relation.reading {
                        self.concerned(concern);
                    }
                    self.behind.extend(relation.behind.iter().cloned());
                    let rows = relation.rows.filter(|_| self.reach > 0);
                    self.rows_whole = self.rows_whole.max(rows.map(|rows| rows.min(self.reach)));
                    self.rows_seen = self.rows_seen.max(rows);
                }
                Err(why) => self.raise(
                    Class::Unknown,
                    format!("reads `{table}`, of which is not known what it is: {}", why.0),
                ),
            }
        }
        self.tables.insert(table);
    }

    /// Whether it is one of the server's own; those that are not for everybody are held.
    fn system_read(&mut self, table: &TableName) -> bool {
        let Some(schema) = table.schema.as_deref().filter(|schema| is_system_schema(schema)) else {
            return false;
        };
        let open = lists::is_open_relation(&schema.to_ascii_lowercase(), &table.name.to_ascii_lowercase());
        if !open {
            self.raise(
                Class::Admin,
                format!("reads `{table}`, which may hold credentials or other people's data"),
            );
        }
        true
    }

    /// A table that is named without being read or written here.
    pub(super) fn mention(&mut self, name: &ObjectName) {
        match self.table_name(name) {
            Some(table) => {
                self.tables.insert(table);
            }
            None => self.unknown_node(),
        }
    }
}
