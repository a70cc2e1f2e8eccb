//! Where the values of a MySQL or MariaDB statement's parameters go: `?` is counted in the order of the text.
//! Never judges: whether the statement may run is `classify`. Read `../../policy/redaction.rs` next.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sqlparser::ast::{
    Assignment, AssignmentTarget, BinaryOperator, Delete, Expr, FromTable, GroupByExpr, Insert,
    JoinConstraint, JoinOperator, LimitClause, ObjectName, OnInsert, OrderBy, OrderByExpr, OrderByKind,
    Query, Select, SelectItem, SetExpr, SetOperator, Statement, TableAlias, TableFactor, TableWithJoins,
    UnaryOperator, Update, Value, Visit, Visitor,
};

use super::{Bound, Doubtful, Group, Reading};
use crate::sql::IN_PLACE_BYTES_MAX;
use crate::sql::lex::mysql::{Kind, scan};
use crate::sql::mysql::read::statement;
use crate::sql::mysql_state::MysqlState;

/// Where the values of the one statement in `text` go. `None`: nothing of it is known. Needs a stack of
/// `PARSER_STACK_BYTES`; longer texts than those that are parsed in place are not read.
pub fn bound_mysql(text: &[u8], state: &MysqlState) -> Option<Bound> {
    if text.len() > IN_PLACE_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| !text.contains('\0'))?;
    catch_unwind(AssertUnwindSafe(|| read(text, state)))
        .ok()
        .flatten()
}

fn read(text: &str, state: &MysqlState) -> Option<Bound> {
    let scan = scan(text, 0, state);
    let mut statements = scan.statements();
    let (None, Some(tokens), None) = (scan.refused, statements.next(), statements.next()) else {
        return None;
    };
    let tree = statement(text, tokens, state).ok()?;
    let parameters = tokens.iter().filter(|token| token.kind == Kind::Parameter);
    let mut reader = Reader {
        // The reader's columns are bytes, from 1.
        places: parameters.map(|token| u64::from(token.start) + 1).collect(),
        bound: Reading::default(),
    };
    if tree.visit(&mut Renames).is_break() {
        return None;
    }
    reader.statement(&tree).ok()?;
    Some(reader.bound.finish())
}

/// Breaks where columns may come under other names.
struct Renames;

impl Visitor for Renames {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        go_on_if(query.with.is_none() && query.pipe_operators.is_empty())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        go_on_if(select.into.is_none() && select.lateral_views.is_empty())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let keeps_names =
            |alias: &Option<TableAlias>| alias.as_ref().is_none_or(|alias| alias.columns.is_empty());
        go_on_if(match factor {
            TableFactor::Table { alias, args, .. } => keeps_names(alias) && args.is_none(),
            TableFactor::NestedJoin { alias, .. } => alias.is_none(),
            // All others make columns of their own.
            _ => false,
        })
    }
}

fn go_on_if(keeps_names: bool) -> ControlFlow<()> {
    match keeps_names {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    }
}

struct Reader {
    /// Where each `?` stands, in order.
    places: Vec<u64>,
    bound: Reading,
}

impl Reader {
    fn statement(&mut self, statement: &Statement) -> Result<(), Doubtful> {
        match statement {
            Statement::Query(query) => self.query(query),
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Explain { statement, .. } => self.statement(statement),
            _ => Err(Doubtful),
        }
    }

    fn query(&mut self, query: &Query) -> Result<(), Doubtful> {
        self.body(&query.body)?;
        self.tail(query)
    }

    /// What stands behind the body of a query.
    fn tail(&mut self, query: &Query) -> Result<(), Doubtful> {
        if let Some(order) = &query.order_by {
            self.order(order)?;
        }
        match &query.limit_clause {
            None => Ok(()),
            Some(LimitClause::LimitOffset {
                limit,
                offset,
                limit_by,
            }) => {
                self.others(limit_by)?;
                let offset = offset.as_ref().map(|offset| &offset.value);
                limit.iter().chain(offset).try_for_each(|count| self.count(count))
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                self.count(offset)?;
                self.count(limit)
            }
        }
    }

    fn body(&mut self, body: &SetExpr) -> Result<(), Doubtful> {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation {
                op: SetOperator::Union,
                left,
                right,
                ..
            } => {
                self.body(left)?;
                self.body(right)
            }
            // INTERSECT and EXCEPT compare what one side gives with what the other does.
            SetExpr::SetOperation { .. } => Err(Doubtful),
            SetExpr::Values(values) => values.rows.iter().try_for_each(|row| self.others(&row.content)),
            SetExpr::Table(_) => Ok(()),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => Err(Doubtful),
        }
    }

    fn select(&mut self, select: &Select) -> Result<(), Doubtful> {
        self.results(&select.projection)?;
        self.clauses(select)
    }

    /// All of a query but its results.
    fn clauses(&mut self, select: &Select) -> Result<(), Doubtful> {
        self.aliases(select)?;
        self.sources(&select.from)?;
        self.maybe(select.selection.as_ref())?;
        self.maybe(select.having.as_ref())?;
        match &select.group_by {
            GroupByExpr::Expressions(keys, _) => self.others(keys)?,
            GroupByExpr::All(_) => return Err(Doubtful),
        }
        select
            .named_window
            .iter()
            .try_for_each(|window| self.other(window))
    }

    /// HAVING may call a result by its alias, and subqueries as well; HAVING also calls one without an alias by its text.
    fn aliases(&mut self, select: &Select) -> Result<(), Doubtful> {
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { expr, alias } => {
                    let mut group = Group::default();
                    group.column(&alias.value);
                    self.doubtful(expr, &mut group)?;
                    self.bound.take(group);
                }
                SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_))
                | SelectItem::Wildcard(_)
                | SelectItem::QualifiedWildcard(..) => {}
                SelectItem::UnnamedExpr(_) if select.having.is_none() => {}
                SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAliases { .. } => return Err(Doubtful),
            }
        }
        Ok(())
    }

    fn results(&mut self, items: &[SelectItem]) -> Result<(), Doubtful> {
        items.iter().try_for_each(|item| match item {
            SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. } => {
                self.other(value)
            }
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => Ok(()),
            SelectItem::ExprWithAliases { .. } => Err(Doubtful),
        })
    }

    fn sources(&mut self, sources: &[TableWithJoins]) -> Result<(), Doubtful> {
        for TableWithJoins { relation, joins } in sources {
            self.source(relation)?;
            for join in joins {
                self.source(&join.relation)?;
                match &join.join_operator {
                    JoinOperator::Join(constraint)
                    | JoinOperator::Inner(constraint)
                    | JoinOperator::Left(constraint)
                    | JoinOperator::LeftOuter(constraint)
                    | JoinOperator::Right(constraint)
                    | JoinOperator::RightOuter(constraint)
                    | JoinOperator::CrossJoin(constraint)
                    | JoinOperator::StraightJoin(constraint) => match constraint {
                        JoinConstraint::On(condition) => self.condition(condition)?,
                        // They compare columns of one name.
                        JoinConstraint::Using(_) | JoinConstraint::Natural | JoinConstraint::None => {}
                    },
                    _ => return Err(Doubtful),
                }
            }
        }
        Ok(())
    }

    fn source(&mut self, source: &TableFactor) -> Result<(), Doubtful> {
        match source {
            TableFactor::Table { version, .. } => version.iter().try_for_each(|version| self.other(version)),
            TableFactor::NestedJoin { table_with_joins, .. } => {
                self.sources(std::slice::from_ref(table_with_joins))
            }
            _ => Err(Doubtful),
        }
    }

    fn insert(&mut self, insert: &Insert) -> Result<(), Doubtful> {
        let columns: Vec<&str> = insert.columns.iter().filter_map(last).collect();
        if columns.len() != insert.columns.len() || has_renamed_rows(insert) {
            return Err(Doubtful);
        }
        self.assignments(&insert.assignments)?;
        if let Some(source) = &insert.source {
            match source.body.as_ref() {
                SetExpr::Values(values) => {
                    for row in &values.rows {
                        self.listed(&columns, &row.content)?;
                    }
                }
                SetExpr::Select(select) => {
                    self.copied(&columns, &select.projection)?;
                    self.clauses(select)?;
                    self.tail(source)?;
                }
                _ => return Err(Doubtful),
            }
        }
        match &insert.on {
            None => {}
            Some(OnInsert::DuplicateKeyUpdate(assignments)) => self.assignments(assignments)?,
            Some(_) => return Err(Doubtful),
        }
        self.results(insert.returning.as_deref().unwrap_or_default())
    }

    /// Without names the order is the table's, which the text does not tell.
    fn listed(&mut self, columns: &[&str], row: &[Expr]) -> Result<(), Doubtful> {
        row.iter()
            .enumerate()
            .try_for_each(|(at, value)| match columns.get(at) {
                Some(column) => self.assigned(column, value),
                None => self.other(value),
            })
    }

    /// INSERT … SELECT: the n-th result is the n-th column's.
    fn copied(&mut self, columns: &[&str], results: &[SelectItem]) -> Result<(), Doubtful> {
        if columns.len() != results.len() {
            return Err(Doubtful);
        }
        columns
            .iter()
            .zip(results)
            .try_for_each(|(column, result)| match result {
                SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. } => {
                    self.assigned(column, value)
                }
                SelectItem::ExprWithAliases { .. }
                | SelectItem::QualifiedWildcard(..)
                | SelectItem::Wildcard(_) => Err(Doubtful),
            })
    }

    fn update(&mut self, update: &Update) -> Result<(), Doubtful> {
        if update.from.is_some() || update.returning.is_some() {
            return Err(Doubtful);
        }
        self.sources(std::slice::from_ref(&update.table))?;
        self.assignments(&update.assignments)?;
        self.maybe(update.selection.as_ref())?;
        self.sort(&update.order_by)?;
        update.limit.iter().try_for_each(|count| self.count(count))
    }

    fn delete(&mut self, delete: &Delete) -> Result<(), Doubtful> {
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        self.sources(from)?;
        self.sources(delete.using.as_deref().unwrap_or_default())?;
        self.maybe(delete.selection.as_ref())?;
        self.results(delete.returning.as_deref().unwrap_or_default())?;
        self.sort(&delete.order_by)?;
        delete.limit.iter().try_for_each(|count| self.count(count))
    }

    fn assignments(&mut self, assignments: &[Assignment]) -> Result<(), Doubtful> {
        assignments
            .iter()
            .try_for_each(|assignment| match &assignment.target {
                AssignmentTarget::ColumnName(name) => {
                    self.assigned(last(name).ok_or(Doubtful)?, &assignment.value)
                }
                AssignmentTarget::Tuple(_) => Err(Doubtful),
            })
    }

    fn assigned(&mut self, column: &str, value: &Expr) -> Result<(), Doubtful> {
        let mut group = Group::default();
        group.column(column);
        self.operand(value, &mut group)?;
        self.bound.take(group);
        Ok(())
    }

    fn order(&mut self, order: &OrderBy) -> Result<(), Doubtful> {
        match &order.kind {
            OrderByKind::Expressions(keys) => self.sort(keys),
            OrderByKind::All(_) => Err(Doubtful),
        }
    }

    fn sort(&mut self, keys: &[OrderByExpr]) -> Result<(), Doubtful> {
        keys.iter().try_for_each(|key| self.other(key))
    }

    fn maybe(&mut self, condition: Option<&Expr>) -> Result<(), Doubtful> {
        condition.map_or(Ok(()), |condition| self.condition(condition))
    }

    fn condition(&mut self, condition: &Expr) -> Result<(), Doubtful> {
        match condition {
            Expr::Nested(inner) => self.condition(inner),
            Expr::UnaryOp {
                op: UnaryOperator::Not | UnaryOperator::BangNot,
                expr,
            } => self.condition(expr),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::And | BinaryOperator::Or | BinaryOperator::Xor,
                right,
            } => {
                self.condition(left)?;
                self.condition(right)
            }
            Expr::BinaryOp { left, op, right } if compares(op) => self.compared(&[left, right]),
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                self.compared(&[left, right])
            }
            Expr::Between { expr, low, high, .. } => self.compared(&[expr, low, high]),
            Expr::Like { expr, pattern, .. } | Expr::RLike { expr, pattern, .. } => {
                self.compared(&[expr, pattern])
            }
            Expr::InList { expr, list, .. } => {
                let sides: Vec<&Expr> = std::iter::once(expr.as_ref()).chain(list).collect();
                self.compared(&sides)
            }
            // Whether a value is there at all says nothing of where it goes.
            Expr::IsNull(value) | Expr::IsNotNull(value) if is_parameter(value) => Ok(()),
            Expr::Exists { subquery, .. } => self.query(subquery),
            condition => self.other(condition),
        }
    }

    fn compared(&mut self, sides: &[&Expr]) -> Result<(), Doubtful> {
        let mut group = Group::default();
        sides.iter().try_for_each(|side| self.operand(side, &mut group))?;
        self.bound.take(group);
        Ok(())
    }

    /// One side of a comparison, or a value that is written.
    fn operand(&mut self, value: &Expr, group: &mut Group) -> Result<(), Doubtful> {
        match value {
            Expr::Nested(inner) | Expr::Collate { expr: inner, .. } | Expr::Cast { expr: inner, .. } => {
                self.operand(inner, group)
            }
            Expr::Prefixed { value, .. } => self.operand(value, group),
            Expr::Tuple(values) => values.iter().try_for_each(|value| self.operand(value, group)),
            Expr::UnaryOp {
                op: UnaryOperator::Minus | UnaryOperator::Plus,
                expr,
            } => self.operand(expr, group),
            Expr::TypedString(_) => Ok(()),
            Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.leaf(value, group),
            value => self.doubtful(value, group),
        }
    }

    fn leaf(&self, value: &Expr, group: &mut Group) -> Result<(), Doubtful> {
        match value {
            Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
                let at = value.span.start.column;
                let place = self.places.binary_search(&at).map_err(|_| Doubtful)?;
                group
                    .parameters
                    .insert(u16::try_from(place + 1).map_err(|_| Doubtful)?);
            }
            Expr::Identifier(name) => {
                // A user variable may hold anything.
                group.is_doubtful |= name.quote_style.is_none() && name.value.starts_with('@');
                group.column(&name.value);
            }
            Expr::CompoundIdentifier(parts) => {
                group.column(&parts.last().ok_or(Doubtful)?.value);
            }
            _ => {}
        }
        Ok(())
    }

    /// Anything else: all that stands in it may be one value, and what becomes of it is not known.
    fn doubtful(&self, value: &impl Visit, group: &mut Group) -> Result<(), Doubtful> {
        group.is_doubtful = true;
        let mut leaves = Leaves { reader: self, group };
        match value.visit(&mut leaves) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Doubtful),
        }
    }

    fn other(&mut self, value: &impl Visit) -> Result<(), Doubtful> {
        let mut group = Group::default();
        self.doubtful(value, &mut group)?;
        self.bound.take(group);
        Ok(())
    }

    fn others(&mut self, values: &[Expr]) -> Result<(), Doubtful> {
        values.iter().try_for_each(|value| self.other(value))
    }

    fn count(&mut self, count: &Expr) -> Result<(), Doubtful> {
        if !is_parameter(count) {
            return self.other(count);
        }
        let mut group = Group::default();
        self.operand(count, &mut group)?;
        for number in group.parameters {
            self.bound.count(number);
        }
        Ok(())
    }
}

/// Every column and parameter, however deep.
struct Leaves<'r> {
    reader: &'r Reader,
    group: &'r mut Group,
}

impl Visitor for Leaves<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        // What a query in an expression gives is beside it, and a star does not say what that is.
        let is_star = |item: &SelectItem| {
            matches!(
                item,
                SelectItem::Wildcard(_)
                    | SelectItem::QualifiedWildcard(..)
                    | SelectItem::ExprWithAliases { .. }
            )
        };
        go_on_if(!select.projection.iter().any(is_star))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        go_on_if(self.reader.leaf(expr, self.group).is_ok())
    }
}

fn has_renamed_rows(insert: &Insert) -> bool {
    let aliases = insert.insert_alias.as_ref();
    insert.table_alias.is_some() || aliases.is_some_and(|aliases| aliases.col_aliases.is_some())
}

/// The last part of a dotted name.
fn last(name: &ObjectName) -> Option<&str> {
    let part = name.0.last()?.as_ident()?;
    Some(&part.value)
}

fn is_parameter(value: &Expr) -> bool {
    match value {
        Expr::Nested(inner) => is_parameter(inner),
        Expr::Value(value) => matches!(value.value, Value::Placeholder(_)),
        _ => false,
    }
}

fn compares(operator: &BinaryOperator) -> bool {
    matches!(
        operator,
        BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
            | BinaryOperator::Spaceship
    )
}
