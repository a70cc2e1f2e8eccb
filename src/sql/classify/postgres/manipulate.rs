//! INSERT, UPDATE, DELETE and MERGE: what they write, and whether to listed rows only.
//! Never calls a condition bounded that could match every row. Read `utility.rs` next.

use pg_raw_parse::nodes;
use pg_raw_parse::raw::{A_Expr_Kind, BoolExprType};
use pg_raw_parse::{ConstValue, Node};

use super::Walk;
use super::expression::{is_system, qualified};
use crate::sql::action::Class;

impl Walk<'_, '_> {
    pub(super) fn manipulation(&mut self, node: Node<'_>) {
        let in_sight = self.ctes.len();
        match node {
            Node::InsertStmt(insert) => self.insert(insert),
            Node::UpdateStmt(update) => self.update(update),
            Node::DeleteStmt(delete) => self.delete(delete),
            Node::MergeStmt(merge) => self.merge(merge),
            _ => self.unknown_node(),
        }
        self.ctes.truncate(in_sight);
    }

    fn insert(&mut self, insert: &nodes::InsertStmt) {
        self.is(Class::Write, "insert");
        self.with(insert.with_clause());
        self.written(insert.relation());
        if insert.cols().is_empty() {
            self.columns.insert("*".to_owned());
        }
        self.assigned(insert.cols().into_iter());
        match insert.select_stmt() {
            // DEFAULT VALUES.
            Node::None => {}
            Node::SelectStmt(select) if !select.values_lists().is_empty() => {
                // Rows as they stand in the text; with a WITH, an ORDER BY or a LIMIT they are a query like any other.
                let plain = select.with_clause().is_none()
                    && select.sort_clause().is_empty()
                    && select.locking_clause().is_empty()
                    && matches!(select.limit_count(), Node::None)
                    && matches!(select.limit_offset(), Node::None);
                self.inserting = plain;
                self.unbounded |= !plain;
                self.select(select);
                self.inserting = false;
            }
            query => {
                self.unbounded = true;
                self.reasons
                    .push("writes as many rows as a query returns".to_owned());
                self.expression(query);
            }
        }
        if let Some(conflict) = insert.on_conflict_clause() {
            if let Some(infer) = conflict.infer() {
                self.index_elements(infer.index_elems());
                self.expression(infer.where_clause());
            }
            self.assigned(conflict.target_list().iter().map(Node::ResTarget));
            for target in conflict.target_list().iter() {
                self.expression(target.val());
            }
            self.expression(conflict.where_clause());
        }
        self.returning(insert.returning_clause());
    }

    fn update(&mut self, update: &nodes::UpdateStmt) {
        self.is(Class::Write, "update");
        self.with(update.with_clause());
        self.written(update.relation());
        self.assigned(update.target_list().iter().map(Node::ResTarget));
        for target in update.target_list().iter() {
            self.expression(target.val());
        }
        self.sources(update.from_clause());
        self.condition(update.where_clause(), update.from_clause().is_empty());
        self.returning(update.returning_clause());
    }

    fn delete(&mut self, delete: &nodes::DeleteStmt) {
        self.is(Class::Write, "delete");
        self.with(delete.with_clause());
        self.written(delete.relation());
        self.sources(delete.using_clause());
        self.condition(delete.where_clause(), delete.using_clause().is_empty());
        self.returning(delete.returning_clause());
    }

    fn merge(&mut self, merge: &nodes::MergeStmt) {
        self.is(Class::Write, "merge");
        self.unbounded = true;
        self.reasons
            .push("merges as many rows as its source has".to_owned());
        self.with(merge.with_clause());
        self.written(merge.relation());
        self.source(merge.source_relation());
        self.expression(merge.join_condition());
        for when in merge.merge_when_clauses().iter() {
            self.expression(when.condition());
            self.assigned(when.target_list().into_iter());
            for target in when.target_list() {
                if let Node::ResTarget(target) = target {
                    self.expression(target.val());
                }
            }
            self.list(when.values());
        }
        self.returning(merge.returning_clause());
    }

    fn condition(&mut self, condition: Node<'_>, alone: bool) {
        if !alone || !is_bounded(condition) {
            self.unbounded = true;
            self.reasons.push(
                match condition {
                    Node::None => "has no WHERE: every row is written",
                    _ => "may reach any number of rows: its WHERE is not columns compared with constants",
                }
                .to_owned(),
            );
        }
        self.expression(condition);
    }

    /// The table that is written. The server's own tables and views are its administration.
    pub(super) fn written(&mut self, relation: Option<&nodes::RangeVar>) {
        self.target(relation);
        let Some(relation) = relation else {
            return self.unknown_node();
        };
        if let Some(alias) = relation.alias() {
            self.rows.extend(alias.aliasname().map(str::to_owned));
        }
        let name = relation.relname().unwrap_or_default();
        if is_system(relation.schemaname(), name) {
            self.raise(
                Class::Admin,
                format!("writes to `{name}`, which is the server's own"),
            );
        } else if relation.schemaname().is_none() {
            self.is_shadowed();
        }
    }

    fn assigned<'a>(&mut self, targets: impl Iterator<Item = Node<'a>>) {
        for target in targets {
            match target {
                Node::ResTarget(target) => {
                    self.column(target.name());
                    self.list(target.indirection());
                }
                _ => self.unknown_node(),
            }
        }
    }

    fn returning(&mut self, returning: Option<&nodes::ReturningClause>) {
        if let Some(returning) = returning {
            self.list(returning.exprs());
        }
    }

    pub(super) fn index_elements(&mut self, elements: &pg_raw_parse::list::NodeList) {
        for element in elements {
            match element {
                Node::IndexElem(element) => {
                    self.column(element.name());
                    self.expression(element.expr());
                }
                _ => self.unknown_node(),
            }
        }
    }
}

/// AND-ed equality or IN of columns with constants or parameters, and nothing else.
pub(super) fn is_bounded(condition: Node<'_>) -> bool {
    match condition {
        Node::BoolExpr(all) if all.boolop == BoolExprType::AND_EXPR => all.args().into_iter().all(is_bounded),
        Node::A_Expr(test) => {
            let equality = matches!(qualified(test.name()), Some((None | Some("pg_catalog"), "=")));
            let (left, right) = (test.lexpr(), test.rexpr());
            equality
                && match test.kind {
                    A_Expr_Kind::AEXPR_OP => {
                        (is_column(left) && is_constant(right)) || (is_constant(left) && is_column(right))
                    }
                    A_Expr_Kind::AEXPR_IN => {
                        is_column(left)
                            && right
                                .as_node_list()
                                .is_some_and(|list| list.into_iter().all(is_constant))
                    }
                    _ => false,
                }
        }
        _ => false,
    }
}

/// A column that tells rows apart; those that the server gives to every row of a table do not.
fn is_column(node: Node<'_>) -> bool {
    const OF_EVERY_ROW: [&str; 5] = ["tableoid", "xmin", "xmax", "cmin", "cmax"];
    let Node::ColumnRef(column) = node else {
        return false;
    };
    let named = column
        .fields()
        .into_iter()
        .all(|part| matches!(part, Node::String(_)));
    let last = column.fields().into_iter().next_back().and_then(Node::as_str);
    named && last.is_some_and(|name| !OF_EVERY_ROW.contains(&name))
}

fn is_constant(node: Node<'_>) -> bool {
    match node {
        Node::A_Const(constant) => !matches!(constant.val(), Some(ConstValue::Unrecognized(_))),
        Node::ParamRef(_) => true,
        Node::TypeCast(cast) => is_constant(cast.arg()),
        // A negative number.
        Node::A_Expr(sign) => {
            sign.kind == A_Expr_Kind::AEXPR_OP
                && matches!(qualified(sign.name()), Some((None, "-" | "+")))
                && matches!(sign.lexpr(), Node::None)
                && is_constant(sign.rexpr())
        }
        _ => false,
    }
}
