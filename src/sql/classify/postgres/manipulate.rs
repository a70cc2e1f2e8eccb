//! INSERT, UPDATE, DELETE and MERGE: what they write, and whether to listed rows only.
//! Never calls a condition bounded that could match every row. Read `utility.rs` next.

use pg_raw_parse::Node;
use pg_raw_parse::nodes;
use pg_raw_parse::raw::{CmdType, OnConflictAction};

use super::piece::{is_bounded, narrows};
use super::relation::Write;
use super::walk::Walk;
use crate::sql::action::Class;

impl Walk<'_, '_> {
    pub(super) fn manipulation(&mut self, node: Node<'_>) {
        let (ctes, sources) = (self.ctes.len(), self.sources.len());
        match node {
            Node::InsertStmt(insert) => self.insert(insert),
            Node::UpdateStmt(update) => self.update(update),
            Node::DeleteStmt(delete) => self.delete(delete),
            Node::MergeStmt(merge) => self.merge(merge),
            _ => self.unknown_node(),
        }
        self.ctes.truncate(ctes);
        self.sources.truncate(sources);
    }

    fn insert(&mut self, insert: &nodes::InsertStmt) {
        self.is(Class::Write, "insert");
        self.with(insert.with_clause());
        let updates = insert
            .on_conflict_clause()
            .is_some_and(|conflict| conflict.action != OnConflictAction::ONCONFLICT_NOTHING);
        let writes: &[Write] = if updates {
            &[Write::Insert, Write::Update]
        } else {
            &[Write::Insert]
        };
        if updates {
            self.step("update");
        }
        self.written(insert.relation(), writes);
        if insert.cols().is_empty() {
            self.star();
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
        let table = self.written(update.relation(), &[Write::Update]);
        if !narrows(update.where_clause()) {
            self.writes_whole(table);
        }
        self.sources(update.from_clause());
        self.assigned(update.target_list().iter().map(Node::ResTarget));
        for target in update.target_list().iter() {
            self.expression(target.val());
        }
        self.condition(update.where_clause(), update.from_clause().is_empty());
        self.returning(update.returning_clause());
    }

    fn delete(&mut self, delete: &nodes::DeleteStmt) {
        self.is(Class::Write, "delete");
        self.with(delete.with_clause());
        let table = self.written(delete.relation(), &[Write::Delete]);
        if !narrows(delete.where_clause()) {
            self.writes_whole(table);
        }
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
        let mut writes = Vec::new();
        for when in merge.merge_when_clauses().iter() {
            match when.command_type {
                CmdType::CMD_INSERT => writes.push(Write::Insert),
                CmdType::CMD_UPDATE => writes.push(Write::Update),
                CmdType::CMD_DELETE => writes.push(Write::Delete),
                CmdType::CMD_NOTHING => {}
                _ => self.unknown_node(),
            }
        }
        self.written(merge.relation(), &writes);
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
        if !alone || !is_bounded(condition, &|column| self.is_certain_column(column)) {
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
