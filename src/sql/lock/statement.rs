//! The locks of one statement, by its kind. Never guesses: a kind without an answer here is "not known".
//! Read `alter.rs` next.

use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{self, RangeVar};
use pg_raw_parse::raw::{DropBehavior, ObjectType, ReindexObjectType};
use pg_raw_parse::walk::walk;
use pg_raw_parse::{ConstValue, Node};

use super::{Locks, Mode, TableLock, Until};
use crate::sql::action::{Action, TableName};

const CODE: &str = "what the code that it runs locks";
const EVERYTHING_IN_IT: &str = "ACCESS EXCLUSIVE on every table in it: blocks their reads and writes";
const TABLES_NOT_NAMED: &str = "on tables that the statement does not name";

/// Reads one statement.
pub(super) struct Reader<'a> {
    action: &'a Action,
    found: Locks,
}

impl<'a> Reader<'a> {
    pub(super) fn new(action: &'a Action) -> Self {
        Self {
            action,
            found: Locks::default(),
        }
    }

    pub(super) fn read(mut self, statement: Node<'_>) -> Locks {
        self.statement(statement);
        self.found
    }

    fn statement(&mut self, node: Node<'_>) {
        match node {
            Node::SelectStmt(_)
            | Node::InsertStmt(_)
            | Node::UpdateStmt(_)
            | Node::DeleteStmt(_)
            | Node::MergeStmt(_) => self.query(node),
            Node::ExplainStmt(explain) => self.statement(explain.query()),
            Node::PrepareStmt(prepare) => self.statement(prepare.query()),
            Node::DeclareCursorStmt(declare) => self.query(declare.query()),
            Node::CreateTableAsStmt(create) => match create.query() {
                query @ Node::SelectStmt(_) => {
                    self.query(query);
                    self.is_new(create.into().and_then(nodes::IntoClause::rel));
                }
                _ => self.not_known("what EXECUTE locks"),
            },
            Node::ViewStmt(view) => {
                self.query(view.query());
                self.is_new(view.view());
                if view.replace {
                    self.lock(view.view(), Mode::AccessExclusive);
                }
            }
            Node::CopyStmt(copy) => {
                let mode = if copy.is_from {
                    Mode::RowExclusive
                } else {
                    Mode::AccessShare
                };
                self.lock(copy.relation(), mode);
                if !matches!(copy.query(), Node::None) {
                    self.query(copy.query());
                }
                self.reads_the_rest();
            }
            Node::LockStmt(lock) => match Mode::of_number(lock.mode) {
                Some(mode) => self.all(lock.relations(), mode),
                None => self.not_known("its lock mode"),
            },
            Node::TruncateStmt(truncate) => {
                self.all(truncate.relations(), Mode::AccessExclusive);
                if truncate.behavior == DropBehavior::DROP_CASCADE {
                    self.found.cascade = true;
                    self.not_known("ACCESS EXCLUSIVE on the tables that CASCADE empties too");
                }
            }
            Node::AlterTableStmt(alter) => self.alter(alter),
            Node::DoStmt(_) | Node::CallStmt(_) => self.not_known(CODE),
            Node::ExecuteStmt(_) => self.not_known("what the prepared statement locks"),
            Node::FetchStmt(_) => self.not_known("what the cursor's query locks"),
            Node::VacuumStmt(vacuum) => self.vacuum(vacuum),
            _ => self.definition(node),
        }
    }

    fn definition(&mut self, node: Node<'_>) {
        match node {
            Node::CreateStmt(create) => self.create_table(create),
            Node::IndexStmt(index) if index.concurrent => {
                self.lock_while(
                    index.relation(),
                    Mode::ShareUpdateExclusive,
                    "it waits for every older transaction",
                );
            }
            Node::IndexStmt(index) => {
                self.lock_with(
                    index.relation(),
                    Mode::Share,
                    "it reads the whole table meanwhile",
                );
            }
            Node::DropStmt(drop) => self.drop(drop),
            Node::RefreshMatViewStmt(refresh) if refresh.concurrent => {
                self.lock_with(
                    refresh.relation(),
                    Mode::Exclusive,
                    "it runs the whole query meanwhile",
                );
            }
            Node::RefreshMatViewStmt(refresh) => {
                self.lock_with(
                    refresh.relation(),
                    Mode::AccessExclusive,
                    "it runs the whole query meanwhile",
                );
            }
            Node::ReindexStmt(reindex) => self.reindex(reindex),
            Node::ClusterStmt(cluster) => match cluster.relation() {
                Some(table) => {
                    self.lock_with(Some(table), Mode::AccessExclusive, "it rewrites the whole table")
                }
                None => {
                    self.not_known("ACCESS EXCLUSIVE on each table that was clustered before, one by one")
                }
            },
            Node::RenameStmt(rename) => self.rename(rename),
            Node::AlterObjectSchemaStmt(alter) => self.lock(alter.relation(), Mode::AccessExclusive),
            Node::CommentStmt(comment) => self.comment(comment.objtype, comment.object()),
            Node::SecLabelStmt(label) => self.comment(label.objtype, label.object()),
            Node::CreateTrigStmt(trigger) => {
                self.lock(trigger.relation(), Mode::ShareRowExclusive);
                self.lock(trigger.constrrel(), Mode::AccessShare);
            }
            Node::RuleStmt(rule) => self.lock(rule.relation(), Mode::AccessExclusive),
            Node::CreatePolicyStmt(policy) => self.lock(policy.table(), Mode::AccessExclusive),
            Node::AlterPolicyStmt(policy) => self.lock(policy.table(), Mode::AccessExclusive),
            Node::CreateStatsStmt(statistics) => {
                for relation in statistics.relations().iter() {
                    self.lock(Some(relation), Mode::ShareUpdateExclusive);
                }
            }
            Node::AlterSeqStmt(sequence) => self.lock(sequence.sequence(), Mode::ShareRowExclusive),
            Node::CreatePublicationStmt(publication) => self.published(publication.pubobjects()),
            Node::AlterPublicationStmt(publication) => self.published(publication.pubobjects()),
            Node::CreateSchemaStmt(create) => {
                for element in create.schema_elts() {
                    self.statement(element);
                }
            }
            Node::AlterDomainStmt(_) => {
                self.not_known("SHARE on every table with a column of this domain: blocks their writes");
            }
            Node::CompositeTypeStmt(_) => {}
            Node::AlterTableMoveAllStmt(_) | Node::DropOwnedStmt(_) => self.not_known(EVERYTHING_IN_IT),
            Node::CreateExtensionStmt(_)
            | Node::AlterExtensionStmt(_)
            | Node::AlterExtensionContentsStmt(_)
            | Node::ReassignOwnedStmt(_)
            | Node::LoadStmt(_) => self.not_known(CODE),
            Node::DropdbStmt(_) => self.not_known("the whole database: nobody may be connected to it"),
            Node::CreatedbStmt(_) => {
                self.not_known("the database that it copies: nobody may connect to that one meanwhile");
            }
            _ if locks_no_table(node) => {}
            _ => self.not_known("how this kind of statement locks"),
        }
    }

    /// Of a query: what it writes, what it locks row by row, and ACCESS SHARE on whatever else it reads.
    fn query(&mut self, query: Node<'_>) {
        walk(query, |node| match node {
            Node::InsertStmt(insert) => self.lock(insert.relation(), Mode::RowExclusive),
            Node::UpdateStmt(update) => self.lock(update.relation(), Mode::RowExclusive),
            Node::DeleteStmt(delete) => self.lock(delete.relation(), Mode::RowExclusive),
            Node::MergeStmt(merge) => self.lock(merge.relation(), Mode::RowExclusive),
            Node::SelectStmt(select) if !select.locking_clause().is_empty() => self.locked_rows(select),
            _ => {}
        });
        self.reads_the_rest();
    }

    fn reads_the_rest(&mut self) {
        for table in &self.action.tables {
            self.add(table.clone(), Mode::AccessShare, Until::TransactionEnds, None);
        }
        if !self.action.parse_is_safe {
            self.not_known(CODE);
        }
    }

    /// FOR UPDATE and its kin: on the tables of OF, or on all of this FROM.
    fn locked_rows(&mut self, select: &nodes::SelectStmt) {
        let clauses = || select.locking_clause().iter();
        let locks_all = clauses().any(|clause| clause.locked_rels().is_empty());
        let named: Vec<&str> = clauses()
            .flat_map(|clause| clause.locked_rels())
            .filter_map(|name| match name {
                Node::RangeVar(name) => name.relname(),
                _ => None,
            })
            .collect();
        for source in select.from_clause() {
            walk(source, |node| {
                if let Node::RangeVar(table) = node {
                    let alias = table.alias().and_then(nodes::Alias::aliasname);
                    let name = alias.or(table.relname()).unwrap_or_default();
                    // A common table expression has no lock of its own.
                    if (locks_all || named.contains(&name)) && self.action.tables.contains(&name_of(table)) {
                        self.lock(Some(table), Mode::RowShare);
                    }
                }
            });
        }
    }

    fn create_table(&mut self, create: &nodes::CreateStmt) {
        let (mode, besides) = match create.partbound() {
            Some(_) => (Mode::AccessExclusive, Some("it becomes a partition of it")),
            None => (Mode::ShareUpdateExclusive, None),
        };
        for parent in create.inh_relations() {
            if let Node::RangeVar(parent) = parent {
                self.add(name_of(parent), mode, Until::TransactionEnds, besides);
            }
        }
        self.elements(create.table_elts());
    }

    /// Foreign keys lock what they refer to; LIKE reads its pattern.
    pub(super) fn elements(&mut self, elements: &NodeList) {
        for element in elements {
            match element {
                Node::ColumnDef(column) => self.elements(column.constraints()),
                Node::Constraint(constraint) => self.lock(constraint.pktable(), Mode::ShareRowExclusive),
                Node::TableLikeClause(like) => self.lock(like.relation(), Mode::AccessShare),
                _ => {}
            }
        }
    }

    fn drop(&mut self, drop: &nodes::DropStmt) {
        self.found.cascade = drop.behavior == DropBehavior::DROP_CASCADE;
        let until = if drop.concurrent {
            Until::ItIsDone
        } else {
            Until::TransactionEnds
        };
        let (mode, besides) = match drop.remove_type {
            ObjectType::OBJECT_TABLE => (
                Mode::AccessExclusive,
                Some("so are the tables that its foreign keys refer to"),
            ),
            ObjectType::OBJECT_INDEX if drop.concurrent => (Mode::ShareUpdateExclusive, None),
            ObjectType::OBJECT_INDEX => (Mode::AccessExclusive, Some("the index's table is locked alike")),
            ObjectType::OBJECT_VIEW
            | ObjectType::OBJECT_MATVIEW
            | ObjectType::OBJECT_SEQUENCE
            | ObjectType::OBJECT_FOREIGN_TABLE
            | ObjectType::OBJECT_TRIGGER
            | ObjectType::OBJECT_RULE
            | ObjectType::OBJECT_POLICY => (Mode::AccessExclusive, None),
            ObjectType::OBJECT_SCHEMA
            | ObjectType::OBJECT_EXTENSION
            | ObjectType::OBJECT_FOREIGN_SERVER
            | ObjectType::OBJECT_FDW => return self.not_known(EVERYTHING_IN_IT),
            _ if drop.behavior == DropBehavior::DROP_CASCADE => return self.not_known(TABLES_NOT_NAMED),
            _ => return,
        };
        for table in &self.action.tables {
            self.add(table.clone(), mode, until, besides);
        }
        if drop.behavior == DropBehavior::DROP_CASCADE {
            self.not_known("ACCESS EXCLUSIVE on whatever CASCADE takes along");
        }
    }

    fn reindex(&mut self, reindex: &nodes::ReindexStmt) {
        let params: Vec<_> = reindex.params().iter().collect();
        let concurrent = match params.as_slice() {
            [] => Some(false),
            options => options
                .iter()
                .filter(|option| option.defname() == Some("concurrently"))
                .map(|option| is_on(option))
                .next_back()
                .unwrap_or(Some(false)),
        };
        match (reindex.kind, concurrent) {
            (_, None) => self.not_known("whether it is CONCURRENTLY"),
            (
                ReindexObjectType::REINDEX_OBJECT_TABLE | ReindexObjectType::REINDEX_OBJECT_INDEX,
                Some(true),
            ) => {
                self.lock_while(
                    reindex.relation(),
                    Mode::ShareUpdateExclusive,
                    "it waits for every older transaction",
                );
            }
            (ReindexObjectType::REINDEX_OBJECT_TABLE, Some(false)) => self.lock_with(
                reindex.relation(),
                Mode::Share,
                "its indexes are locked wholly, so most reads wait too",
            ),
            (ReindexObjectType::REINDEX_OBJECT_INDEX, Some(false)) => self.lock_with(
                reindex.relation(),
                Mode::AccessExclusive,
                "the index's table is locked in SHARE mode, and most reads of it wait for the index",
            ),
            (_, Some(_)) => {
                self.not_known("SHARE on each table in it, one by one: blocks its writes and most reads")
            }
        }
    }

    fn vacuum(&mut self, vacuum: &nodes::VacuumStmt) {
        let full = vacuum
            .options()
            .iter()
            .filter(|option| option.defname() == Some("full"))
            .map(is_on)
            .next_back()
            .unwrap_or(Some(false));
        let Some(full) = full else {
            return self.not_known("whether it is FULL");
        };
        if vacuum.rels().is_empty() {
            return self.not_known(if full {
                "ACCESS EXCLUSIVE on each table of the database, one by one: blocks its reads and writes"
            } else {
                "SHARE UPDATE EXCLUSIVE on each table of the database, one by one: blocks neither reads nor writes"
            });
        }
        for named in vacuum.rels().iter() {
            if full {
                self.lock_while(
                    named.relation(),
                    Mode::AccessExclusive,
                    "it rewrites the whole table",
                );
            } else {
                self.lock_until_done(named.relation(), Mode::ShareUpdateExclusive);
            }
        }
    }

    fn rename(&mut self, rename: &nodes::RenameStmt) {
        let mode = match rename.rename_type {
            ObjectType::OBJECT_INDEX => Mode::ShareUpdateExclusive,
            _ => Mode::AccessExclusive,
        };
        self.lock(rename.relation(), mode);
        if rename.rename_type == ObjectType::OBJECT_ATTRIBUTE {
            self.not_known(TABLES_NOT_NAMED);
        }
    }

    fn comment(&mut self, kind: ObjectType::Type, _object: Node<'_>) {
        let mode = match kind {
            ObjectType::OBJECT_TABLE
            | ObjectType::OBJECT_COLUMN
            | ObjectType::OBJECT_VIEW
            | ObjectType::OBJECT_MATVIEW => Mode::ShareUpdateExclusive,
            ObjectType::OBJECT_INDEX
            | ObjectType::OBJECT_SEQUENCE
            | ObjectType::OBJECT_FOREIGN_TABLE
            | ObjectType::OBJECT_TABCONSTRAINT
            | ObjectType::OBJECT_TRIGGER
            | ObjectType::OBJECT_RULE
            | ObjectType::OBJECT_POLICY => {
                return self.not_known("SHARE UPDATE EXCLUSIVE at most: blocks neither reads nor writes");
            }
            _ => return,
        };
        for table in &self.action.tables {
            self.add(table.clone(), mode, Until::TransactionEnds, None);
        }
    }

    fn published(&mut self, objects: &NodeList) {
        for object in objects {
            let Node::PublicationObjSpec(object) = object else {
                continue;
            };
            match object.pubtable() {
                Some(table) => self.lock(table.relation(), Mode::ShareUpdateExclusive),
                None => self.not_known("SHARE UPDATE EXCLUSIVE at most: blocks neither reads nor writes"),
            }
        }
    }

    fn all(&mut self, relations: &NodeList, mode: Mode) {
        for relation in relations {
            if let Node::RangeVar(relation) = relation {
                self.lock(Some(relation), mode);
            }
        }
    }

    /// Made by this statement: nobody else sees it yet.
    fn is_new(&mut self, relation: Option<&RangeVar>) {
        if let Some(new) = relation.map(name_of) {
            self.found.tables.retain(|lock| lock.table != new);
        }
    }

    pub(super) fn lock(&mut self, relation: Option<&RangeVar>, mode: Mode) {
        if let Some(relation) = relation {
            self.add(name_of(relation), mode, Until::TransactionEnds, None);
        }
    }

    pub(super) fn lock_with(&mut self, relation: Option<&RangeVar>, mode: Mode, besides: &'static str) {
        if let Some(relation) = relation {
            self.add(name_of(relation), mode, Until::TransactionEnds, Some(besides));
        }
    }

    pub(super) fn lock_while(&mut self, relation: Option<&RangeVar>, mode: Mode, besides: &'static str) {
        if let Some(relation) = relation {
            self.add(name_of(relation), mode, Until::ItIsDone, Some(besides));
        }
    }

    fn lock_until_done(&mut self, relation: Option<&RangeVar>, mode: Mode) {
        if let Some(relation) = relation {
            self.add(name_of(relation), mode, Until::ItIsDone, None);
        }
    }

    pub(super) fn add(&mut self, table: TableName, mode: Mode, until: Until, besides: Option<&'static str>) {
        self.found.add(TableLock {
            table,
            mode,
            until,
            besides,
        });
    }

    pub(super) fn not_known(&mut self, why: &'static str) {
        self.found.not_known = self.found.not_known.or(Some(why));
    }
}

/// Statements that lock nothing that a table's readers and writers wait for.
fn locks_no_table(node: Node<'_>) -> bool {
    matches!(
        node,
        Node::TransactionStmt(_)
            | Node::VariableSetStmt(_)
            | Node::VariableShowStmt(_)
            | Node::DiscardStmt(_)
            | Node::ListenStmt(_)
            | Node::UnlistenStmt(_)
            | Node::NotifyStmt(_)
            | Node::ConstraintsSetStmt(_)
            | Node::DeallocateStmt(_)
            | Node::ClosePortalStmt(_)
            | Node::CheckPointStmt(_)
            | Node::GrantStmt(_)
            | Node::GrantRoleStmt(_)
            | Node::AlterDefaultPrivilegesStmt(_)
            | Node::CreateRoleStmt(_)
            | Node::AlterRoleStmt(_)
            | Node::AlterRoleSetStmt(_)
            | Node::DropRoleStmt(_)
            | Node::AlterOwnerStmt(_)
            | Node::CreateSeqStmt(_)
            | Node::CreateFunctionStmt(_)
            | Node::AlterFunctionStmt(_)
            | Node::DefineStmt(_)
            | Node::CreateDomainStmt(_)
            | Node::CreateEnumStmt(_)
            | Node::CreateRangeStmt(_)
            | Node::AlterEnumStmt(_)
            | Node::AlterTypeStmt(_)
            | Node::AlterCollationStmt(_)
            | Node::AlterStatsStmt(_)
            | Node::AlterObjectDependsStmt(_)
            | Node::AlterOperatorStmt(_)
            | Node::CreateOpClassStmt(_)
            | Node::CreateOpFamilyStmt(_)
            | Node::AlterOpFamilyStmt(_)
            | Node::CreateConversionStmt(_)
            | Node::CreateCastStmt(_)
            | Node::CreateTransformStmt(_)
            | Node::AlterTSDictionaryStmt(_)
            | Node::AlterTSConfigurationStmt(_)
            | Node::CreateEventTrigStmt(_)
            | Node::AlterEventTrigStmt(_)
            | Node::CreateAmStmt(_)
            | Node::CreatePLangStmt(_)
            | Node::CreateFdwStmt(_)
            | Node::AlterFdwStmt(_)
            | Node::CreateForeignServerStmt(_)
            | Node::AlterForeignServerStmt(_)
            | Node::CreateUserMappingStmt(_)
            | Node::AlterUserMappingStmt(_)
            | Node::DropUserMappingStmt(_)
            | Node::CreateTableSpaceStmt(_)
            | Node::DropTableSpaceStmt(_)
            | Node::AlterTableSpaceOptionsStmt(_)
            | Node::AlterDatabaseStmt(_)
            | Node::AlterDatabaseRefreshCollStmt(_)
            | Node::AlterDatabaseSetStmt(_)
            | Node::AlterSystemStmt(_)
    )
}

/// The value of an option that can be on or off; without a value it is on.
/// Source: src/backend/commands/define.c, defGetBoolean
fn is_on(option: &nodes::DefElem) -> Option<bool> {
    let word = match option.arg() {
        Node::None => return Some(true),
        Node::Integer(number) => return Some(number.ival != 0),
        Node::Boolean(truth) => return Some(truth.boolval),
        Node::String(_) => option.arg().as_str()?,
        Node::A_Const(constant) => match constant.val()? {
            ConstValue::Boolean(truth) => return Some(truth),
            ConstValue::Integer(number) => return Some(number != 0),
            ConstValue::String(text) => text,
            _ => return None,
        },
        _ => return None,
    };
    match word.to_ascii_lowercase().as_str() {
        "true" | "on" | "1" => Some(true),
        "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

pub(super) fn name_of(relation: &RangeVar) -> TableName {
    TableName {
        schema: relation.schemaname().map(str::to_owned),
        name: relation.relname().unwrap_or_default().to_owned(),
    }
}
