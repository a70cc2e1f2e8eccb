//! The arm of every statement that the second reader knows.
//! Never leaves one out: a new one does not compile until it has its arm. Read `query.rs` next.

use sqlparser::ast::{ObjectType, Query, Statement};

use super::Walk;
use crate::sql::action::Class;

impl Walk<'_, '_> {
    pub(super) fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Query(query) => {
                self.is(Class::Read, "select");
                self.query(query);
            }
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::CreateTable(create) => self.create_table(create),
            Statement::CreateView(view) => self.create_view(view),
            Statement::CreateIndex(index) => self.create_index(index),
            Statement::AlterTable(alter) => self.alter_table(alter),
            Statement::Truncate(truncate) => self.truncate(truncate),
            Statement::RenameTable(renames) => {
                self.defines("rename table");
                for rename in renames {
                    self.mention(&rename.old_name);
                    self.mention(&rename.new_name);
                }
            }
            Statement::Drop {
                object_type,
                if_exists: _,
                names,
                cascade: _,
                restrict: _,
                purge: _,
                temporary: _,
                table,
            } => {
                let (class, verb) = dropped(object_type);
                self.is(class, verb);
                self.step(verb);
                self.commits_implicitly();
                if matches!(
                    object_type,
                    ObjectType::Table | ObjectType::View | ObjectType::Sequence
                ) {
                    names.iter().for_each(|name| self.mention(name));
                }
                if let Some(table) = table {
                    self.mention(table);
                }
            }
            Statement::CreateDatabase { .. } | Statement::CreateSchema { .. } => {
                self.defines("create database");
            }
            Statement::CreateSequence { name, .. } => {
                self.defines("create sequence");
                self.step("create sequence");
                self.mention(name);
            }
            Statement::CreateTrigger(trigger) => {
                self.defines("create trigger");
                self.mention(&trigger.table_name);
            }
            Statement::CreateFunction(_) => self.defines("create function"),
            Statement::CreateProcedure { .. } => self.defines("create procedure"),
            Statement::DropFunction(_) => self.defines("drop function"),
            Statement::DropProcedure { .. } => self.defines("drop procedure"),
            Statement::DropTrigger(_) => self.defines("drop trigger"),
            Statement::AlterView { name, query, .. } => {
                self.defines("alter view");
                self.mention(name);
                self.stored_query(query);
            }
            Statement::AlterSchema(_) => self.defines("alter database"),
            Statement::CreateServer(_) => self.holds(
                Class::Admin,
                "create server",
                "makes a way for statements to another server",
            ),
            Statement::Grant(_) => self.grants("grant"),
            Statement::Revoke(_) => self.grants("revoke"),
            Statement::CreateUser(_) => self.grants("create user"),
            Statement::AlterUser(_) => self.grants("alter user"),
            Statement::CreateRole(_) => self.grants("create role"),
            Statement::AlterRole { .. } => self.grants("alter role"),
            Statement::Call(call) => {
                self.is(Class::Procedural, "call");
                self.call(call);
            }
            Statement::Flush { tables, .. } => {
                self.is(Class::Admin, "flush");
                self.commits_implicitly();
                tables.iter().for_each(|table| self.mention(table));
            }
            Statement::Reset(_) => self.is(Class::Admin, "reset"),
            Statement::Kill { .. } => self.is(Class::Admin, "kill"),
            Statement::Install { .. } => self.is(Class::Admin, "install"),
            Statement::LoadData { .. } => self.holds(Class::Admin, "load data", "reads a file of the server"),
            // Read word by word before anybody asks for their tree: as a tree they are not understood.
            Statement::Analyze(_)
            | Statement::Set(_)
            | Statement::ShowFunctions { .. }
            | Statement::ShowVariable { .. }
            | Statement::ShowStatus { .. }
            | Statement::ShowVariables { .. }
            | Statement::ShowCreate { .. }
            | Statement::ShowColumns { .. }
            | Statement::ShowCatalogs { .. }
            | Statement::ShowDatabases { .. }
            | Statement::ShowProcessList { .. }
            | Statement::ShowSchemas { .. }
            | Statement::ShowCharset(_)
            | Statement::ShowObjects(_)
            | Statement::ShowTables { .. }
            | Statement::ShowViews { .. }
            | Statement::ShowCollation { .. }
            | Statement::Use(_)
            | Statement::StartTransaction { .. }
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::Savepoint { .. }
            | Statement::ReleaseSavepoint { .. }
            | Statement::Deallocate { .. }
            | Statement::Execute { .. }
            | Statement::Prepare { .. }
            | Statement::ExplainTable { .. }
            | Statement::Explain { .. }
            | Statement::Lock(_)
            | Statement::LockTables { .. }
            | Statement::UnlockTables => self.not_understood(),
            // Blocks of code, which both servers run outside routines as well or may come to.
            Statement::Case(_)
            | Statement::If(_)
            | Statement::While(_)
            | Statement::Raise(_)
            | Statement::Open(_)
            | Statement::Close { .. }
            | Statement::Fetch { .. }
            | Statement::Declare { .. }
            | Statement::Return(_) => self.is(Class::Procedural, "block"),
            // Other databases' statements: neither server has them, so the words mean something else, if anything.
            Statement::Msck(_)
            | Statement::Load { .. }
            | Statement::Directory { .. }
            | Statement::Copy { .. }
            | Statement::CopyIntoSnowflake { .. }
            | Statement::CreateVirtualTable { .. }
            | Statement::CreateSecret { .. }
            | Statement::CreatePolicy(_)
            | Statement::CreateConnector(_)
            | Statement::CreateOperator(_)
            | Statement::CreateOperatorFamily(_)
            | Statement::CreateOperatorClass(_)
            | Statement::CreateTextSearch(_)
            | Statement::AlterIndex { .. }
            | Statement::AlterFunction(_)
            | Statement::AlterType(_)
            | Statement::AlterCollation(_)
            | Statement::AlterOperator(_)
            | Statement::AlterOperatorFamily(_)
            | Statement::AlterOperatorClass(_)
            | Statement::AlterTextSearch(_)
            | Statement::AlterPolicy(_)
            | Statement::AlterConnector { .. }
            | Statement::AlterSession { .. }
            | Statement::AttachDatabase { .. }
            | Statement::AttachDuckDBDatabase { .. }
            | Statement::DetachDuckDBDatabase { .. }
            | Statement::DropDomain(_)
            | Statement::DropSecret { .. }
            | Statement::DropPolicy(_)
            | Statement::DropConnector { .. }
            | Statement::CreateExtension(_)
            | Statement::CreateCollation(_)
            | Statement::DropExtension(_)
            | Statement::DropOperator(_)
            | Statement::DropOperatorFamily(_)
            | Statement::DropOperatorClass(_)
            | Statement::Discard { .. }
            | Statement::Comment { .. }
            | Statement::CreateMacro { .. }
            | Statement::CreateStage { .. }
            | Statement::CreateFileFormat { .. }
            | Statement::CreateWarehouse(_)
            | Statement::Assert { .. }
            | Statement::Deny(_)
            | Statement::Merge(_)
            | Statement::Cache { .. }
            | Statement::UNCache { .. }
            | Statement::CreateDomain(_)
            | Statement::CreateType { .. }
            | Statement::Pragma { .. }
            | Statement::Unload { .. }
            | Statement::OptimizeTable { .. }
            | Statement::LISTEN { .. }
            | Statement::UNLISTEN { .. }
            | Statement::NOTIFY { .. }
            | Statement::List(_)
            | Statement::Put { .. }
            | Statement::Remove(_)
            | Statement::RaisError { .. }
            | Statement::Throw(_)
            | Statement::Print(_)
            | Statement::WaitFor(_)
            | Statement::ExportData(_)
            | Statement::Vacuum(_) => self.not_understood(),
        }
    }

    pub(super) fn not_understood(&mut self) {
        self.holds(Class::Unknown, "unknown", "is a statement that is not understood");
    }

    /// A definition. Every one of them first commits what is open.
    pub(super) fn defines(&mut self, verb: impl Into<String>) {
        self.is(Class::Ddl, verb);
        self.commits_implicitly();
    }

    pub(super) fn grants(&mut self, verb: impl Into<String>) {
        self.is(Class::Grant, verb);
        self.commits_implicitly();
    }

    /// A query that is kept, not run.
    pub(super) fn stored_query(&mut self, query: &Query) {
        let before = std::mem::replace(&mut self.defining, true);
        self.query(query);
        self.defining = before;
    }
}

fn dropped(kind: &ObjectType) -> (Class, &'static str) {
    match kind {
        ObjectType::Table => (Class::Ddl, "drop table"),
        ObjectType::View => (Class::Ddl, "drop view"),
        ObjectType::Index => (Class::Ddl, "drop index"),
        ObjectType::Schema | ObjectType::Database => (Class::Ddl, "drop database"),
        ObjectType::Sequence => (Class::Ddl, "drop sequence"),
        ObjectType::Role => (Class::Grant, "drop role"),
        ObjectType::User => (Class::Grant, "drop user"),
        ObjectType::Collation
        | ObjectType::MaterializedView
        | ObjectType::Stage
        | ObjectType::Type
        | ObjectType::Stream
        | ObjectType::Warehouse => (Class::Unknown, "unknown"),
    }
}
