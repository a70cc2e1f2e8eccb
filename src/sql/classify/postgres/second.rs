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
        let agrees = match reach(statement) {
            Reach::Reads => true,
            Reach::Session => self.action.class < Class::Read,
            Reach::More => false,
        };
        if agrees {
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

/// What a statement of the second reader's can be at most.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// It reads.
    Reads,
    /// Only a session's own settings, names and transactions are touched by it.
    Session,
    More,
}

/// Without a wildcard, so that a statement which a newer sqlparser has does not compile until somebody has said what it is.
fn reach(statement: &Statement) -> Reach {
    match statement {
        Statement::Query(_)
        | Statement::Close { .. }
        | Statement::Declare { .. }
        | Statement::Fetch { .. }
        | Statement::ShowFunctions { .. }
        | Statement::ShowVariable { .. }
        | Statement::ShowStatus { .. }
        | Statement::ShowVariables { .. }
        | Statement::ShowColumns { .. }
        | Statement::ShowDatabases { .. }
        | Statement::ShowSchemas { .. }
        | Statement::ShowTables { .. }
        | Statement::ShowCollation { .. }
        | Statement::Execute { .. }
        | Statement::Prepare { .. }
        | Statement::ExplainTable { .. }
        | Statement::Explain { .. }
        | Statement::Lock(_) => Reach::Reads,
        Statement::Set(_)
        | Statement::Discard { .. }
        | Statement::StartTransaction { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. }
        | Statement::Deallocate { .. }
        | Statement::Savepoint { .. }
        | Statement::ReleaseSavepoint { .. }
        | Statement::LISTEN { .. }
        | Statement::UNLISTEN { .. }
        | Statement::Reset(_) => Reach::Session,
        Statement::Analyze(_)
        | Statement::Truncate(_)
        | Statement::Msck(_)
        | Statement::Insert(_)
        | Statement::Install { .. }
        | Statement::Load { .. }
        | Statement::Directory { .. }
        | Statement::Case(_)
        | Statement::If(_)
        | Statement::While(_)
        | Statement::Raise(_)
        | Statement::Call(_)
        | Statement::Copy { .. }
        | Statement::CopyIntoSnowflake { .. }
        | Statement::Open(_)
        | Statement::Update(_)
        | Statement::Delete(_)
        | Statement::CreateView(_)
        | Statement::CreateTable(_)
        | Statement::CreateVirtualTable { .. }
        | Statement::CreateIndex(_)
        | Statement::CreateRole(_)
        | Statement::CreateSecret { .. }
        | Statement::CreateServer(_)
        | Statement::CreatePolicy(_)
        | Statement::CreateConnector(_)
        | Statement::CreateOperator(_)
        | Statement::CreateOperatorFamily(_)
        | Statement::CreateOperatorClass(_)
        | Statement::CreateTextSearch(_)
        | Statement::AlterTable(_)
        | Statement::AlterSchema(_)
        | Statement::AlterIndex { .. }
        | Statement::AlterView { .. }
        | Statement::AlterFunction(_)
        | Statement::AlterType(_)
        | Statement::AlterCollation(_)
        | Statement::AlterOperator(_)
        | Statement::AlterOperatorFamily(_)
        | Statement::AlterOperatorClass(_)
        | Statement::AlterTextSearch(_)
        | Statement::AlterRole { .. }
        | Statement::AlterPolicy(_)
        | Statement::AlterConnector { .. }
        | Statement::AlterSession { .. }
        | Statement::AttachDatabase { .. }
        | Statement::AttachDuckDBDatabase { .. }
        | Statement::DetachDuckDBDatabase { .. }
        | Statement::Drop { .. }
        | Statement::DropFunction(_)
        | Statement::DropDomain(_)
        | Statement::DropProcedure { .. }
        | Statement::DropSecret { .. }
        | Statement::DropPolicy(_)
        | Statement::DropConnector { .. }
        | Statement::CreateExtension(_)
        | Statement::CreateCollation(_)
        | Statement::DropExtension(_)
        | Statement::DropOperator(_)
        | Statement::DropOperatorFamily(_)
        | Statement::DropOperatorClass(_)
        | Statement::Flush { .. }
        | Statement::ShowCreate { .. }
        | Statement::ShowCatalogs { .. }
        | Statement::ShowProcessList { .. }
        | Statement::ShowCharset(_)
        | Statement::ShowObjects(_)
        | Statement::ShowViews { .. }
        | Statement::Use(_)
        | Statement::Comment { .. }
        | Statement::CreateSchema { .. }
        | Statement::CreateDatabase { .. }
        | Statement::CreateFunction(_)
        | Statement::CreateTrigger(_)
        | Statement::DropTrigger(_)
        | Statement::CreateProcedure { .. }
        | Statement::CreateMacro { .. }
        | Statement::CreateStage { .. }
        | Statement::CreateFileFormat { .. }
        | Statement::CreateWarehouse(_)
        | Statement::Assert { .. }
        | Statement::Grant(_)
        | Statement::Deny(_)
        | Statement::Revoke(_)
        | Statement::Kill { .. }
        | Statement::Merge(_)
        | Statement::Cache { .. }
        | Statement::UNCache { .. }
        | Statement::CreateSequence { .. }
        | Statement::CreateDomain(_)
        | Statement::CreateType { .. }
        | Statement::Pragma { .. }
        | Statement::LockTables { .. }
        | Statement::UnlockTables
        | Statement::Unload { .. }
        | Statement::OptimizeTable { .. }
        | Statement::NOTIFY { .. }
        | Statement::LoadData { .. }
        | Statement::RenameTable(_)
        | Statement::List(_)
        | Statement::Put { .. }
        | Statement::Remove(_)
        | Statement::RaisError { .. }
        | Statement::Throw(_)
        | Statement::Print(_)
        | Statement::WaitFor(_)
        | Statement::Return(_)
        | Statement::ExportData(_)
        | Statement::CreateUser(_)
        | Statement::AlterUser(_)
        | Statement::Vacuum(_) => Reach::More,
    }
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
