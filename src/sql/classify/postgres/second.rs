//! What the second reader, sqlparser, sees in a statement that the first one found harmless. It can only object.
//! Never decides by itself: a text that it cannot read is no objection. Read `../postgres.rs` next.

use std::ops::ControlFlow;

use sqlparser::ast::{Ident, ObjectName, Query, SetExpr, Statement, Visit, Visitor};

use crate::sql::action::{Action, Class};

/// Why the two readings do not agree, if they do not.
pub fn objection(statements: &[Statement], actions: &[Action]) -> Option<String> {
    if statements.len() != actions.len() {
        return Some("two readers count different statements".to_owned());
    }
    let pairs = statements.iter().zip(actions);
    pairs
        .filter(|(_, action)| action.class <= Class::Read)
        .find_map(|(statement, action)| {
            let mut reading = Reading {
                action,
                ctes: Vec::new(),
            };
            match statement.visit(&mut reading) {
                ControlFlow::Break(objection) => Some(objection),
                ControlFlow::Continue(()) => None,
            }
        })
}

struct Reading<'a> {
    action: &'a Action,
    ctes: Vec<Ident>,
}

impl Visitor for Reading<'_> {
    type Break = String;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<String> {
        if only_reads(statement) || (self.action.class < Class::Read && only_the_session(statement)) {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(
            "one reader sees a harmless statement where the other sees something else".to_owned(),
        )
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        if let Some(with) = &query.with {
            self.ctes
                .extend(with.cte_tables.iter().map(|cte| cte.alias.name.clone()));
        }
        if creates(&query.body) {
            return ControlFlow::Break("one reader sees a new table where the other sees a read".to_owned());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<String> {
        let Some(name) = relation.0.last().and_then(|part| part.as_ident()) else {
            return ControlFlow::Continue(());
        };
        if self.knows(name) {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break("one reader sees a table that the other does not".to_owned())
    }
}

impl Reading<'_> {
    fn knows(&self, name: &Ident) -> bool {
        let same = |known: &str| match name.quote_style {
            Some(_) => name.value == known,
            None => name.value.eq_ignore_ascii_case(known),
        };
        // sqlparser takes the word ONLY for a table; names are cut at 63 bytes by the server alone.
        same("only")
            || name.value.len() > 63
            || !name.value.is_ascii()
            || self.action.tables.iter().any(|table| same(&table.name))
            || self.action.functions.iter().any(|function| same(&function.name))
            || self
                .ctes
                .iter()
                .any(|cte| same(&cte.value) || cte.value.eq_ignore_ascii_case(&name.value))
    }
}

fn only_reads(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Query(_)
            | Statement::Explain { .. }
            | Statement::ExplainTable { .. }
            | Statement::Fetch { .. }
            | Statement::Declare { .. }
            | Statement::Close { .. }
            | Statement::Execute { .. }
            | Statement::Prepare { .. }
            | Statement::Lock(_)
            | Statement::ShowFunctions { .. }
            | Statement::ShowVariable { .. }
            | Statement::ShowVariables { .. }
            | Statement::ShowStatus { .. }
            | Statement::ShowTables { .. }
            | Statement::ShowColumns { .. }
            | Statement::ShowDatabases { .. }
            | Statement::ShowSchemas { .. }
            | Statement::ShowCollation { .. }
    )
}

/// What only a session's own settings, names and transactions are touched by.
fn only_the_session(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Set(_)
            | Statement::Reset(_)
            | Statement::StartTransaction { .. }
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::Savepoint { .. }
            | Statement::ReleaseSavepoint { .. }
            | Statement::Discard { .. }
            | Statement::Deallocate { .. }
            | Statement::LISTEN { .. }
            | Statement::UNLISTEN { .. }
    )
}

fn creates(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.into.is_some(),
        SetExpr::SetOperation { left, right, .. } => creates(left) || creates(right),
        // A query in parentheses is visited by itself; the others are statements or values.
        SetExpr::Query(_)
        | SetExpr::Values(_)
        | SetExpr::Insert(_)
        | SetExpr::Update(_)
        | SetExpr::Delete(_)
        | SetExpr::Merge(_)
        | SetExpr::Table(_) => false,
    }
}
