//! INSERT, REPLACE, UPDATE and DELETE: what they write, and whether to listed rows only.
//! Never calls a condition bounded that could match every row. Read `define.rs` next.

use sqlparser::ast::{
    Assignment, AssignmentTarget, BinaryOperator, Delete, Expr, FromTable, Ident, Insert, InsertAliases,
    ObjectName, OnInsert, SetExpr, TableFactor, TableObject, TableWithJoins, UnaryOperator, Update, Value,
};

use super::Walk;
use super::expression::is_value_word;
use super::source::is_system_schema;
use crate::sql::action::{Class, TableName};

/// Tables of `mysql` that say who may do what.
const PRIVILEGES: [&str; 11] = [
    "columns_priv",
    "db",
    "default_roles",
    "global_grants",
    "global_priv",
    "procs_priv",
    "proxies_priv",
    "role_edges",
    "roles_mapping",
    "tables_priv",
    "user",
];

/// How a table is changed: each has triggers and cascades of its own.
#[derive(Clone, Copy)]
enum Change {
    Insert,
    Update,
    Delete,
}

impl Walk<'_, '_> {
    pub(super) fn insert(&mut self, insert: &Insert) {
        let Insert {
            insert_token: _,
            optimizer_hints,
            or,
            ignore: _,
            into,
            table,
            table_alias,
            columns,
            overwrite,
            source,
            assignments,
            partitioned,
            after_columns,
            has_table_keyword,
            on,
            returning,
            output,
            replace_into,
            priority: _,
            insert_alias,
            settings,
            format_clause,
            multi_table_insert_type,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause,
        } = insert;
        self.is(self.changing(), if *replace_into { "replace" } else { "insert" });
        let foreign = !optimizer_hints.is_empty()
            || or.is_some()
            || table_alias.is_some()
            || *overwrite
            || partitioned
                .iter()
                .flatten()
                .any(|partition| !matches!(partition, Expr::Identifier(_)))
            || !after_columns.is_empty()
            || *has_table_keyword
            || output.is_some()
            || settings.is_some()
            || format_clause.is_some()
            || multi_table_insert_type.is_some()
            || !multi_table_into_clauses.is_empty()
            || !multi_table_when_clauses.is_empty()
            || multi_table_else_clause.is_some();
        if foreign {
            self.unknown_node();
        }
        self.seen.intos += usize::from(*into);
        match table {
            TableObject::TableName(name) => {
                let changes: &[Change] = match (replace_into, on) {
                    (true, _) => &[Change::Insert, Change::Delete],
                    (false, Some(_)) => &[Change::Insert, Change::Update],
                    (false, None) => &[Change::Insert],
                };
                self.written(name, changes);
            }
            TableObject::TableFunction(_) | TableObject::TableQuery(_) => self.unknown_node(),
        }
        if columns.is_empty() && assignments.is_empty() {
            self.columns.insert("*".to_owned());
        }
        for column in columns {
            self.column_name(column);
        }
        self.inserting = true;
        self.assignments(assignments);
        if let Some(source) = source {
            let listed = matches!(source.body.as_ref(), SetExpr::Values(_)) && source.with.is_none();
            if !listed {
                self.inserting = false;
                self.unbounded = true;
                self.reasons
                    .push("writes as many rows as a query returns".to_owned());
            }
            self.query(source);
        }
        self.inserting = false;
        match on {
            None => {}
            Some(OnInsert::DuplicateKeyUpdate(assignments)) => {
                self.step("update");
                self.assignments(assignments);
            }
            Some(_) => self.unknown_node(),
        }
        if let Some(InsertAliases {
            row_alias,
            col_aliases: _,
        }) = insert_alias
        {
            self.column_name(row_alias);
        }
        for item in returning.iter().flatten() {
            self.select_item(item);
        }
    }

    /// Below EXPLAIN nothing is written, however the plan for it reads.
    fn changing(&self) -> Class {
        if self.explaining {
            Class::Read
        } else {
            Class::Write
        }
    }

    pub(super) fn update(&mut self, update: &Update) {
        let Update {
            update_token: _,
            optimizer_hints,
            table,
            assignments,
            from,
            selection,
            returning,
            output,
            or,
            order_by,
            limit,
        } = update;
        self.is(self.changing(), "update");
        let foreign = !optimizer_hints.is_empty()
            || from.is_some()
            || returning.is_some()
            || output.is_some()
            || or.is_some();
        if foreign {
            self.unknown_node();
        }
        self.written_tables(table, Change::Update);
        self.assignments(assignments);
        self.condition(selection.as_ref(), is_one_table(table));
        self.sort(order_by);
        self.maybe(limit.as_ref());
    }

    pub(super) fn delete(&mut self, delete: &Delete) {
        let Delete {
            delete_token: _,
            optimizer_hints,
            tables,
            from,
            using,
            selection,
            returning,
            output,
            order_by,
            limit,
        } = delete;
        self.is(self.changing(), "delete");
        if !optimizer_hints.is_empty() || output.is_some() {
            self.unknown_node();
        }
        let from = match from {
            FromTable::WithFromKeyword(from) => {
                self.seen.froms += 1;
                from
            }
            FromTable::WithoutKeyword(from) => {
                self.unknown_node();
                from
            }
        };
        // Which of the tables a name in front of FROM or USING means is not followed: all of them count as written.
        for table in tables {
            self.column_name(table);
        }
        for tables in from.iter().chain(using.iter().flatten()) {
            self.written_tables(tables, Change::Delete);
        }
        let alone = match from.as_slice() {
            [table] => tables.is_empty() && using.is_none() && is_one_table(table),
            _ => false,
        };
        self.condition(selection.as_ref(), alone);
        for item in returning.iter().flatten() {
            self.select_item(item);
        }
        self.sort(order_by);
        self.maybe(limit.as_ref());
    }

    fn condition(&mut self, condition: Option<&Expr>, alone: bool) {
        let reach = condition.map(Reach::of);
        if !alone || reach != Some(Reach::Listed) {
            self.unbounded = true;
            let reason = match reach {
                None => "has no WHERE: every row is written",
                Some(_) if !alone => "joins tables: any number of rows may be written",
                Some(Reach::Zeroes) => "compares with zero, which every text equals",
                Some(_) => "may reach any number of rows: its WHERE is not columns compared with constants",
            };
            if !self.explaining {
                self.reasons.push(reason.to_owned());
            }
        }
        self.maybe(condition);
    }

    pub(super) fn assignments(&mut self, assignments: &[Assignment]) {
        for Assignment { target, value } in assignments {
            match target {
                AssignmentTarget::ColumnName(column) => self.column_name(column),
                AssignmentTarget::Tuple(_) => self.unknown_node(),
            }
            self.expression(value);
        }
    }

    /// All tables of a join: which of them are written is not always told by the text.
    fn written_tables(&mut self, tables: &TableWithJoins, change: Change) {
        self.written_factor(&tables.relation, change);
        for join in &tables.joins {
            self.written_factor(&join.relation, change);
        }
        // The walk of the join reads the same tables, its conditions and whatever else it holds.
        self.table_with_joins(tables);
    }

    fn written_factor(&mut self, factor: &TableFactor, change: Change) {
        match factor {
            TableFactor::Table { name, .. } => self.written(name, &[change]),
            TableFactor::NestedJoin { table_with_joins, .. } if self.descend() => {
                for inner in std::iter::once(&table_with_joins.relation)
                    .chain(table_with_joins.joins.iter().map(|join| &join.relation))
                {
                    self.written_factor(inner, change);
                }
                self.depth -= 1;
            }
            // A derived table cannot be written; the walk of the join has arms for all of these.
            _ => {}
        }
    }

    /// A table that is written. The server's own tables are its administration.
    fn written(&mut self, name: &ObjectName, changes: &[Change]) {
        match self.table_name(name) {
            Some(table) => self.write(table, changes),
            None => self.unknown_node(),
        }
    }

    fn write(&mut self, table: TableName, changes: &[Change]) {
        if self.explaining {
            self.tables.insert(table);
            return;
        }
        let system = table.schema.as_deref().is_some_and(is_system_schema);
        if system {
            let name = table.name.to_ascii_lowercase();
            let class = if PRIVILEGES.contains(&name.as_str()) {
                Class::Grant
            } else {
                Class::Admin
            };
            self.raise(class, format!("writes to `{table}`, which is the server's own"));
        } else if let Some(known) = self.message.relation(&table) {
            match known {
                Ok(relation) => {
                    self.behind.extend(relation.behind.iter().cloned());
                    // A view is written through, and what it reads is read.
                    for concern in &relation.reading {
                        self.concerned(concern);
                    }
                    for change in changes {
                        let concerns = match change {
                            Change::Insert => &relation.inserting,
                            Change::Update => &relation.updating,
                            Change::Delete => &relation.deleting,
                        };
                        for concern in concerns {
                            // What a write does besides reaches further than the rows that it lists.
                            self.unbounded |= !concern.is_listed();
                            self.concerned(concern);
                        }
                    }
                }
                Err(why) => self.raise(
                    Class::Unknown,
                    format!("writes to `{table}`, of which is not known what it is: {}", why.0),
                ),
            }
        }
        self.tables.insert(table);
    }
}

fn is_one_table(tables: &TableWithJoins) -> bool {
    tables.joins.is_empty() && matches!(tables.relation, TableFactor::Table { .. })
}

/// Which rows a condition leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// AND-ed equality or IN of columns with constants or parameters, and nothing else.
    Listed,
    /// The same, but nothing in it that is not zero or NULL: the servers compare a text with a number as numbers, and then
    /// every text that begins with no digit is zero.
    Zeroes,
    /// Any number of them.
    Any,
}

impl Reach {
    fn of(condition: &Expr) -> Self {
        let mut condition = condition;
        let mut so_far = Self::Zeroes;
        // A chain of ANDs leans left: the loop keeps it off the stack.
        loop {
            match condition {
                Expr::Nested(inner) => condition = inner,
                Expr::BinaryOp {
                    left,
                    op: BinaryOperator::And,
                    right,
                } => {
                    so_far = so_far.and(Self::of(right));
                    if so_far == Self::Any {
                        return Self::Any;
                    }
                    condition = left;
                }
                _ => return so_far.and(Self::of_comparison(condition)),
            }
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => Self::Any,
            (Self::Listed, _) | (_, Self::Listed) => Self::Listed,
            (Self::Zeroes, Self::Zeroes) => Self::Zeroes,
        }
    }

    fn of_comparison(comparison: &Expr) -> Self {
        let listed: &[Expr] = match comparison {
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq | BinaryOperator::Spaceship,
                right,
            } if is_column(left) => std::slice::from_ref(right),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq | BinaryOperator::Spaceship,
                right,
            } if is_column(right) => std::slice::from_ref(left),
            Expr::InList {
                expr,
                list,
                negated: false,
            } if is_column(expr) => list,
            // Everything else may match any number of rows.
            _ => return Self::Any,
        };
        if !listed.iter().all(is_constant) {
            Self::Any
        } else if listed.iter().any(is_zero) || listed.iter().all(is_null) {
            Self::Zeroes
        } else {
            Self::Listed
        }
    }
}

/// Whether it reaches listed rows only.
pub(super) fn is_bounded(condition: &Expr) -> bool {
    Reach::of(condition) == Reach::Listed
}

/// A column that tells rows apart: not a variable, no word that stands for a value, and none of those that a versioned
/// table gives to every row that is current.
fn is_column(expr: &Expr) -> bool {
    const OF_EVERY_ROW: [&str; 2] = ["row_end", "row_start"];
    let tells_apart = |name: &Ident| {
        !OF_EVERY_ROW
            .iter()
            .any(|known| name.value.eq_ignore_ascii_case(known))
    };
    match expr {
        Expr::Identifier(name) => {
            let is_name = name.quote_style.is_some() || !(name.value.starts_with('@') || is_value_word(name));
            is_name && tells_apart(name)
        }
        Expr::CompoundIdentifier(parts) => {
            let is_name = parts
                .first()
                .is_some_and(|first| first.quote_style.is_some() || !first.value.starts_with('@'));
            is_name && parts.last().is_some_and(tells_apart)
        }
        _ => false,
    }
}

pub(super) fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(sign) => sign == "?",
            _ => true,
        },
        Expr::Prefixed { prefix: _, value } | Expr::Nested(value) => is_constant(value),
        Expr::TypedString(_) => true,
        Expr::UnaryOp {
            op: UnaryOperator::Minus | UnaryOperator::Plus,
            expr,
        } => is_constant(expr),
        _ => false,
    }
}

fn is_null(constant: &Expr) -> bool {
    match constant {
        Expr::Value(value) => matches!(value.value, Value::Null),
        Expr::Prefixed { prefix: _, value } | Expr::Nested(value) => is_null(value),
        Expr::UnaryOp {
            op: UnaryOperator::Minus | UnaryOperator::Plus,
            expr,
        } => is_null(expr),
        _ => false,
    }
}

/// A constant that texts may be equal to because they are no numbers, dates or times themselves.
fn is_zero(constant: &Expr) -> bool {
    match constant {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => is_zero_number(number),
            Value::Boolean(value) => !value,
            Value::HexStringLiteral(digits) | Value::SingleQuotedByteStringLiteral(digits) => {
                has_zeros_only(digits)
            }
            _ => false,
        },
        Expr::Prefixed { prefix: _, value } | Expr::Nested(value) => is_zero(value),
        // A text that is no time is compared as none, which is this one.
        Expr::TypedString(typed) => match &typed.value.value {
            Value::SingleQuotedString(text) => is_zero_moment(text),
            _ => true,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Plus,
            expr,
        } => is_zero(expr),
        // With a sign before it a text is a number, too.
        Expr::UnaryOp { op: _, expr } => match expr.as_ref() {
            Expr::Value(value) => match &value.value {
                Value::Number(number, _) => is_zero_number(number),
                _ => true,
            },
            _ => true,
        },
        _ => false,
    }
}

/// What is so small that a server may round it away counts, too, and what is no number.
pub fn is_zero_number(number: &str) -> bool {
    number.parse::<f64>().map_or(true, |number| number.abs() < 1e-20)
}

fn has_zeros_only(digits: &str) -> bool {
    !digits.contains(counts)
}

/// Servers keep six places of a second and drop the others.
fn is_zero_moment(text: &str) -> bool {
    let (whole, fraction) = text.rsplit_once('.').unwrap_or((text, ""));
    has_zeros_only(whole) && !fraction.chars().take(6).any(counts)
}

fn counts(sign: char) -> bool {
    sign != '0' && sign.is_ascii_hexdigit()
}
