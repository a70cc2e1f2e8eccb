//! Where the values of a PostgreSQL statement's parameters go, by the server's own grammar.
//! Never judges: whether the statement may run is `classify`. Read `mysql.rs` next.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes;
use pg_raw_parse::raw::{A_Expr_Kind, SetOperation, SubLinkType};
use pg_raw_parse::walk::{Recurse, walk, walk_manual};

use super::{Bound, Doubtful, Group, Reading, small};
use crate::sql::IN_PLACE_BYTES_MAX;

/// Operators that compare their sides, and do nothing else.
const COMPARES: [&str; 16] = [
    "=", "<>", "!=", "<", ">", "<=", ">=", "~", "~*", "!~", "!~*", "~~", "!~~", "~~*", "!~~*", "^@",
];

/// Where the values of the one statement in `text` go. `None`: nothing of it is known. Needs a stack of
/// `PARSER_STACK_BYTES`; longer texts than those that are parsed in place are not read.
pub fn bound_postgres(text: &[u8]) -> Option<Bound> {
    if text.len() > IN_PLACE_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| !text.contains('\0'))?;
    catch_unwind(AssertUnwindSafe(|| read(text))).ok().flatten()
}

fn read(text: &str) -> Option<Bound> {
    let tree = pg_raw_parse::parse(text).ok()?;
    let mut statements = tree.iter();
    let (Some(raw), None) = (statements.next(), statements.next()) else {
        return None;
    };
    let statement = inner(raw.stmt());
    // The walk below knows the nodes of these, and takes any other for a fault.
    if !matches!(
        statement,
        Node::SelectStmt(_) | Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_)
    ) {
        return None;
    }
    let mut reader = Reader {
        rows: rows(statement)?,
        bound: Reading::default(),
    };
    reader.statement(statement).ok()?;
    Some(reader.bound.finish())
}

/// The statement that a PREPARE, a cursor or an EXPLAIN is about.
fn inner(statement: Node<'_>) -> Node<'_> {
    match statement {
        Node::PrepareStmt(prepare) => prepare.query(),
        Node::DeclareCursorStmt(declare) => declare.query(),
        Node::ExplainStmt(explain) => explain.query(),
        statement => statement,
    }
}

/// The names by which whole rows can be called. `None`: somewhere in it columns may come under other names.
fn rows(statement: Node<'_>) -> Option<BTreeSet<String>> {
    let mut rows = BTreeSet::new();
    let mut named = |alias: Option<&nodes::Alias>| match alias {
        None => true,
        Some(alias) => {
            rows.extend(alias.aliasname().map(small));
            alias.colnames().is_empty()
        }
    };
    let mut tables = BTreeSet::new();
    let renames = walk_manual(statement, |node| {
        let is_plain = match node {
            Node::RangeSubselect(_)
            | Node::RangeFunction(_)
            | Node::RangeTableFunc(_)
            | Node::RangeTableSample(_)
            | Node::JsonTable(_)
            | Node::WithClause(_)
            | Node::CommonTableExpr(_)
            | Node::IntoClause(_)
            | Node::MergeStmt(_) => false,
            Node::RangeVar(table) => {
                tables.extend(table.relname().map(small));
                named(table.alias())
            }
            Node::JoinExpr(join) => named(join.alias()) && named(join.join_using_alias()),
            _ => true,
        };
        match is_plain {
            true => ControlFlow::Continue(Recurse::Yes),
            false => ControlFlow::Break(()),
        }
    });
    rows.extend(tables);
    renames.is_none().then_some(rows)
}

struct Reader {
    bound: Reading,
    rows: BTreeSet<String>,
}

impl Reader {
    fn statement(&mut self, statement: Node<'_>) -> Result<(), Doubtful> {
        match statement {
            Node::SelectStmt(select) => self.select(select),
            Node::InsertStmt(insert) => self.insert(insert),
            Node::UpdateStmt(update) => {
                self.sources(update.from_clause())?;
                self.targets(update.target_list().iter())?;
                self.condition(update.where_clause())?;
                self.returning(update.returning_clause())
            }
            Node::DeleteStmt(delete) => {
                self.sources(delete.using_clause())?;
                self.condition(delete.where_clause())?;
                self.returning(delete.returning_clause())
            }
            _ => Err(Doubtful),
        }
    }

    fn select(&mut self, select: &nodes::SelectStmt) -> Result<(), Doubtful> {
        // INTERSECT and EXCEPT compare what one half gives with what the other does.
        if !matches!(select.op, SetOperation::SETOP_NONE | SetOperation::SETOP_UNION) {
            return Err(Doubtful);
        }
        for half in [select.larg(), select.rarg()].into_iter().flatten() {
            self.select(half)?;
        }
        for target in select.target_list().iter() {
            self.result(target.val())?;
        }
        self.clauses(select)
    }

    /// All of a query but its results.
    fn clauses(&mut self, select: &nodes::SelectStmt) -> Result<(), Doubtful> {
        self.sources(select.from_clause())?;
        self.condition(select.where_clause())?;
        self.condition(select.having_clause())?;
        self.others(select.distinct_clause())?;
        self.others(select.group_clause())?;
        self.others(select.window_clause())?;
        self.others(select.values_lists())?;
        for key in select.sort_clause().iter() {
            self.other(key.node())?;
        }
        self.rows_asked(select.limit_count())?;
        self.rows_asked(select.limit_offset())
    }

    fn insert(&mut self, insert: &nodes::InsertStmt) -> Result<(), Doubtful> {
        let columns: Vec<Option<&str>> = insert.cols().into_iter().map(target_name).collect();
        for column in insert.cols() {
            if let Node::ResTarget(target) = column {
                self.others(target.indirection())?;
            }
        }
        match insert.select_stmt() {
            Node::None => {}
            Node::SelectStmt(rows) if !rows.values_lists().is_empty() => self.listed(&columns, rows)?,
            Node::SelectStmt(query) => self.copied(&columns, query)?,
            _ => return Err(Doubtful),
        }
        if let Some(conflict) = insert.on_conflict_clause() {
            if let Some(infer) = conflict.infer() {
                self.condition(infer.where_clause())?;
            }
            self.targets(conflict.target_list().iter())?;
            self.condition(conflict.where_clause())?;
        }
        self.returning(insert.returning_clause())
    }

    /// INSERT … VALUES: in each row the n-th value is the n-th column's. Without names the order is the table's, which the
    /// text does not tell.
    fn listed(&mut self, columns: &[Option<&str>], rows: &nodes::SelectStmt) -> Result<(), Doubtful> {
        for row in rows.values_lists() {
            let Node::NodeList(row) = row else {
                return Err(Doubtful);
            };
            for (at, value) in row.into_iter().enumerate() {
                match columns.get(at) {
                    Some(Some(column)) => self.assigned(column, value)?,
                    Some(None) | None => self.other(value)?,
                }
            }
        }
        for key in rows.sort_clause().iter() {
            self.other(key.node())?;
        }
        self.rows_asked(rows.limit_count())?;
        self.rows_asked(rows.limit_offset())
    }

    /// INSERT … SELECT: the n-th result is the n-th column's.
    fn copied(&mut self, columns: &[Option<&str>], query: &nodes::SelectStmt) -> Result<(), Doubtful> {
        let results = query.target_list();
        // A UNION has no results of its own.
        if columns.len() != results.len() || results.is_empty() {
            return Err(Doubtful);
        }
        for (column, result) in columns.iter().zip(results.iter()) {
            let column = column.ok_or(Doubtful)?;
            if is_star(result.val()) {
                return Err(Doubtful);
            }
            self.assigned(column, result.val())?;
        }
        self.clauses(query)
    }

    fn targets<'a>(&mut self, targets: impl Iterator<Item = &'a nodes::ResTarget>) -> Result<(), Doubtful> {
        for target in targets {
            let column = target.name().ok_or(Doubtful)?;
            self.others(target.indirection())?;
            self.assigned(column, assigned_value(target.val()))?;
        }
        Ok(())
    }

    fn assigned(&mut self, column: &str, value: Node<'_>) -> Result<(), Doubtful> {
        let mut group = Group::default();
        group.column(column);
        self.operand(value, &mut group)?;
        self.bound.take(group);
        Ok(())
    }

    fn returning(&mut self, returning: Option<&nodes::ReturningClause>) -> Result<(), Doubtful> {
        let Some(returning) = returning else { return Ok(()) };
        for result in returning.exprs() {
            match result {
                Node::ResTarget(target) => self.result(target.val())?,
                _ => return Err(Doubtful),
            }
        }
        Ok(())
    }

    fn sources(&mut self, sources: &NodeList) -> Result<(), Doubtful> {
        sources.into_iter().try_for_each(|source| self.source(source))
    }

    fn source(&mut self, source: Node<'_>) -> Result<(), Doubtful> {
        match source {
            Node::RangeVar(_) => Ok(()),
            // USING and NATURAL compare columns of one name.
            Node::JoinExpr(join) => {
                self.source(join.larg())?;
                self.source(join.rarg())?;
                self.condition(join.quals())
            }
            _ => Err(Doubtful),
        }
    }

    fn condition(&mut self, condition: Node<'_>) -> Result<(), Doubtful> {
        match condition {
            Node::None => Ok(()),
            Node::BoolExpr(all) => all.args().into_iter().try_for_each(|one| self.condition(one)),
            // Whether a value is there at all says nothing of where it goes.
            Node::NullTest(test) if is_parameter(test.arg()) => Ok(()),
            Node::A_Expr(test) if compares(test) => {
                let mut group = Group::default();
                self.operand(test.lexpr(), &mut group)?;
                self.operand(test.rexpr(), &mut group)?;
                self.bound.take(group);
                Ok(())
            }
            Node::SubLink(link) if link.sub_link_type == SubLinkType::EXISTS_SUBLINK => {
                self.statement(link.subselect())
            }
            condition => self.other(condition),
        }
    }

    /// One side of a comparison, or a value that is written.
    fn operand(&mut self, node: Node<'_>, group: &mut Group) -> Result<(), Doubtful> {
        match node {
            Node::None | Node::A_Const(_) | Node::SetToDefault(_) => Ok(()),
            Node::ColumnRef(column) => self.column(column, group),
            Node::ParamRef(parameter) => {
                group.parameters.extend(u16::try_from(parameter.number).ok());
                Ok(())
            }
            Node::TypeCast(cast) => self.operand(cast.arg(), group),
            Node::CollateClause(collate) => self.operand(collate.arg(), group),
            Node::A_ArrayExpr(array) => self.operands(array.elements(), group),
            Node::RowExpr(row) => self.operands(row.args(), group),
            Node::NodeList(list) => self.operands(list, group),
            Node::SubLink(link) => self.sub_link(link, group),
            node => self.doubtful(node, group),
        }
    }

    fn operands(&mut self, nodes: &NodeList, group: &mut Group) -> Result<(), Doubtful> {
        nodes.into_iter().try_for_each(|node| self.operand(node, group))
    }

    fn column(&self, column: &nodes::ColumnRef, group: &mut Group) -> Result<(), Doubtful> {
        let Some(Node::String(name)) = column.fields().into_iter().next_back() else {
            // A whole row as one value.
            return Err(Doubtful);
        };
        let name = name.sval().ok_or(Doubtful)?;
        group.is_doubtful |= self.rows.contains(&small(name));
        group.column(name);
        Ok(())
    }

    /// What is beside a query is beside its results.
    fn sub_link(&mut self, link: &nodes::SubLink, group: &mut Group) -> Result<(), Doubtful> {
        group.is_doubtful = true;
        self.operand(link.testexpr(), group)?;
        let Node::SelectStmt(select) = link.subselect() else {
            return Err(Doubtful);
        };
        self.results(select, group)?;
        self.select(select)
    }

    fn results(&mut self, select: &nodes::SelectStmt, group: &mut Group) -> Result<(), Doubtful> {
        for half in [select.larg(), select.rarg()].into_iter().flatten() {
            self.results(half, group)?;
        }
        for target in select.target_list().iter() {
            self.doubtful(target.val(), group)?;
        }
        Ok(())
    }

    /// Anything else: all that stands in it may be one value, and what becomes of it is not known.
    fn doubtful(&mut self, node: Node<'_>, group: &mut Group) -> Result<(), Doubtful> {
        group.is_doubtful = true;
        let mut seen = Ok(());
        walk(node, |node| {
            let read = match node {
                Node::ColumnRef(column) => self.column(column, group),
                Node::ParamRef(parameter) => {
                    group.parameters.extend(u16::try_from(parameter.number).ok());
                    Ok(())
                }
                _ => Ok(()),
            };
            if read.is_err() {
                seen = Err(Doubtful);
            }
        });
        seen
    }

    fn other(&mut self, node: Node<'_>) -> Result<(), Doubtful> {
        let mut group = Group::default();
        self.doubtful(node, &mut group)?;
        self.bound.take(group);
        Ok(())
    }

    fn others(&mut self, nodes: &NodeList) -> Result<(), Doubtful> {
        nodes.into_iter().try_for_each(|node| self.other(node))
    }

    fn result(&mut self, value: Node<'_>) -> Result<(), Doubtful> {
        match is_star(value) {
            true => Ok(()),
            false => self.other(value),
        }
    }

    fn rows_asked(&mut self, count: Node<'_>) -> Result<(), Doubtful> {
        match count {
            Node::None => Ok(()),
            Node::ParamRef(parameter) => {
                let number = u16::try_from(parameter.number).map_err(|_| Doubtful)?;
                self.bound.count(number);
                Ok(())
            }
            Node::TypeCast(cast) => self.rows_asked(cast.arg()),
            count => self.other(count),
        }
    }
}

fn target_name(target: Node<'_>) -> Option<&str> {
    match target {
        Node::ResTarget(target) => target.name(),
        _ => None,
    }
}

/// Of `(a, b) = (x, y)` the value of one column.
fn assigned_value(value: Node<'_>) -> Node<'_> {
    let Node::MultiAssignRef(assign) = value else {
        return value;
    };
    let at = usize::try_from(assign.colno - 1).ok();
    match (assign.source(), at) {
        (Node::RowExpr(row), Some(at)) => row.args().get(at).unwrap_or(value),
        (source, _) => source,
    }
}

fn is_parameter(node: Node<'_>) -> bool {
    match node {
        Node::ParamRef(_) => true,
        Node::TypeCast(cast) => is_parameter(cast.arg()),
        _ => false,
    }
}

fn is_star(value: Node<'_>) -> bool {
    let Node::ColumnRef(column) = value else {
        return false;
    };
    matches!(column.fields().into_iter().next_back(), Some(Node::A_Star(_)))
}

fn compares(test: &nodes::A_Expr) -> bool {
    match test.kind {
        A_Expr_Kind::AEXPR_IN
        | A_Expr_Kind::AEXPR_LIKE
        | A_Expr_Kind::AEXPR_ILIKE
        | A_Expr_Kind::AEXPR_DISTINCT
        | A_Expr_Kind::AEXPR_NOT_DISTINCT
        | A_Expr_Kind::AEXPR_BETWEEN
        | A_Expr_Kind::AEXPR_NOT_BETWEEN
        | A_Expr_Kind::AEXPR_BETWEEN_SYM
        | A_Expr_Kind::AEXPR_NOT_BETWEEN_SYM => true,
        A_Expr_Kind::AEXPR_OP | A_Expr_Kind::AEXPR_OP_ANY | A_Expr_Kind::AEXPR_OP_ALL => {
            let name = test.name();
            let last = name.into_iter().next_back().and_then(Node::as_str);
            !matches!(test.lexpr(), Node::None) && last.is_some_and(|name| COMPARES.contains(&name))
        }
        _ => false,
    }
}
