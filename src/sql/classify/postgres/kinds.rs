//! What every node of the grammar is, in one match without a wildcard: a grammar with a node more does not compile until
//! somebody has said what it is. Never looks into a node. Read `expression.rs` next.
//!
//! Why one match: each walk answers for the nodes of its own kind and holds every other as not understood. New *fields* of
//! a known node are found by `fields.rs`.

use pg_raw_parse::Node;

use crate::sql::action::Class;

/// Where a node may stand in the tree of a text, and who answers for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SELECT, VALUES, TABLE.
    Query,
    /// INSERT, UPDATE, DELETE, MERGE.
    Manipulation,
    /// A statement that neither queries nor defines.
    Utility,
    /// A statement that defines, grants or administers, and names tables or runs code at once.
    Definition,
    /// One that is told by its kind alone: its class and verb.
    Plain(Class, &'static str),
    /// Computes a value, or stands where one is computed.
    Expression,
    /// Stands in FROM.
    Source,
    /// Stands in one place of another node only, whose walk reads it there.
    Part,
    /// Made by the server after reading: never in the tree of a text.
    Analyzed,
    /// Nothing at all.
    Nothing,
    /// The crate does not know it.
    Invalid,
}

pub fn kind(node: Node<'_>) -> Kind {
    match node {
        Node::None => Kind::Nothing,
        Node::SelectStmt(_) => Kind::Query,
        Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_) | Node::MergeStmt(_) => {
            Kind::Manipulation
        }
        Node::TransactionStmt(_)
        | Node::VariableSetStmt(_)
        | Node::VariableShowStmt(_)
        | Node::DiscardStmt(_)
        | Node::ListenStmt(_)
        | Node::UnlistenStmt(_)
        | Node::NotifyStmt(_)
        | Node::ConstraintsSetStmt(_)
        | Node::LockStmt(_)
        | Node::PrepareStmt(_)
        | Node::ExecuteStmt(_)
        | Node::DeallocateStmt(_)
        | Node::DeclareCursorStmt(_)
        | Node::FetchStmt(_)
        | Node::ClosePortalStmt(_)
        | Node::ExplainStmt(_)
        | Node::CopyStmt(_)
        | Node::DoStmt(_)
        | Node::CallStmt(_)
        | Node::VacuumStmt(_) => Kind::Utility,
        Node::CreateTableAsStmt(_)
        | Node::CreateStmt(_)
        | Node::AlterTableStmt(_)
        | Node::IndexStmt(_)
        | Node::CreateSchemaStmt(_)
        | Node::AlterDomainStmt(_)
        | Node::ViewStmt(_)
        | Node::DropStmt(_)
        | Node::TruncateStmt(_)
        | Node::RefreshMatViewStmt(_)
        | Node::RenameStmt(_)
        | Node::CommentStmt(_)
        | Node::AlterObjectSchemaStmt(_)
        | Node::AlterOwnerStmt(_)
        | Node::GrantStmt(_)
        | Node::CreatePolicyStmt(_)
        | Node::AlterPolicyStmt(_)
        | Node::CreateTrigStmt(_)
        | Node::RuleStmt(_)
        | Node::CreateSeqStmt(_)
        | Node::AlterSeqStmt(_)
        | Node::ClusterStmt(_)
        | Node::ReindexStmt(_)
        | Node::CreateFunctionStmt(_) => Kind::Definition,
        Node::AlterCollationStmt(_) => Kind::Plain(Class::Ddl, "alter collation"),
        Node::DefineStmt(_) => Kind::Plain(Class::Ddl, "create object"),
        Node::CreateDomainStmt(_) => Kind::Plain(Class::Ddl, "create domain"),
        Node::CompositeTypeStmt(_) | Node::CreateEnumStmt(_) | Node::CreateRangeStmt(_) => {
            Kind::Plain(Class::Ddl, "create type")
        }
        Node::AlterEnumStmt(_) | Node::AlterTypeStmt(_) => Kind::Plain(Class::Ddl, "alter type"),
        Node::CreateStatsStmt(_) => Kind::Plain(Class::Ddl, "create statistics"),
        Node::AlterStatsStmt(_) => Kind::Plain(Class::Ddl, "alter statistics"),
        Node::AlterFunctionStmt(_) => Kind::Plain(Class::Ddl, "alter function"),
        Node::AlterObjectDependsStmt(_) => Kind::Plain(Class::Ddl, "alter depends"),
        Node::AlterOperatorStmt(_) => Kind::Plain(Class::Ddl, "alter operator"),
        Node::CreateOpClassStmt(_) => Kind::Plain(Class::Ddl, "create operator class"),
        Node::CreateOpFamilyStmt(_) => Kind::Plain(Class::Ddl, "create operator family"),
        Node::AlterOpFamilyStmt(_) => Kind::Plain(Class::Ddl, "alter operator family"),
        Node::CreateConversionStmt(_) => Kind::Plain(Class::Ddl, "create conversion"),
        Node::CreateCastStmt(_) => Kind::Plain(Class::Ddl, "create cast"),
        Node::CreateTransformStmt(_) => Kind::Plain(Class::Ddl, "create transform"),
        Node::AlterTSDictionaryStmt(_) => Kind::Plain(Class::Ddl, "alter text search dictionary"),
        Node::AlterTSConfigurationStmt(_) => Kind::Plain(Class::Ddl, "alter text search configuration"),
        Node::ImportForeignSchemaStmt(_) => Kind::Plain(Class::Admin, "import foreign schema"),
        Node::CreateEventTrigStmt(_) => Kind::Plain(Class::Admin, "create event trigger"),
        Node::AlterEventTrigStmt(_) => Kind::Plain(Class::Admin, "alter event trigger"),
        Node::CreateAmStmt(_) => Kind::Plain(Class::Admin, "create access method"),
        Node::CreatePLangStmt(_) => Kind::Plain(Class::Admin, "create language"),
        Node::CreateExtensionStmt(_) => Kind::Plain(Class::Admin, "create extension"),
        Node::AlterExtensionStmt(_) | Node::AlterExtensionContentsStmt(_) => {
            Kind::Plain(Class::Admin, "alter extension")
        }
        Node::CreateFdwStmt(_) => Kind::Plain(Class::Admin, "create foreign data wrapper"),
        Node::AlterFdwStmt(_) => Kind::Plain(Class::Admin, "alter foreign data wrapper"),
        Node::CreateForeignServerStmt(_) => Kind::Plain(Class::Admin, "create server"),
        Node::AlterForeignServerStmt(_) => Kind::Plain(Class::Admin, "alter server"),
        Node::CreatePublicationStmt(_) => Kind::Plain(Class::Admin, "create publication"),
        Node::AlterPublicationStmt(_) => Kind::Plain(Class::Admin, "alter publication"),
        Node::CreateSubscriptionStmt(_) => Kind::Plain(Class::Admin, "create subscription"),
        Node::AlterSubscriptionStmt(_) => Kind::Plain(Class::Admin, "alter subscription"),
        Node::DropSubscriptionStmt(_) => Kind::Plain(Class::Admin, "drop subscription"),
        Node::CreateTableSpaceStmt(_) => Kind::Plain(Class::Admin, "create tablespace"),
        Node::DropTableSpaceStmt(_) => Kind::Plain(Class::Admin, "drop tablespace"),
        Node::AlterTableSpaceOptionsStmt(_) => Kind::Plain(Class::Admin, "alter tablespace"),
        Node::AlterTableMoveAllStmt(_) => Kind::Plain(Class::Admin, "move all tables"),
        Node::CreatedbStmt(_) => Kind::Plain(Class::Ddl, "create database"),
        Node::DropdbStmt(_) => Kind::Plain(Class::Ddl, "drop database"),
        Node::AlterDatabaseStmt(_)
        | Node::AlterDatabaseRefreshCollStmt(_)
        | Node::AlterDatabaseSetStmt(_) => Kind::Plain(Class::Admin, "alter database"),
        Node::AlterSystemStmt(_) => Kind::Plain(Class::Admin, "alter system"),
        Node::LoadStmt(_) => Kind::Plain(Class::Admin, "load"),
        Node::CheckPointStmt(_) => Kind::Plain(Class::Admin, "checkpoint"),
        Node::CreateRoleStmt(_) => Kind::Plain(Class::Grant, "create role"),
        Node::AlterRoleStmt(_) | Node::AlterRoleSetStmt(_) => Kind::Plain(Class::Grant, "alter role"),
        Node::DropRoleStmt(_) => Kind::Plain(Class::Grant, "drop role"),
        Node::GrantRoleStmt(_) => Kind::Plain(Class::Grant, "grant role"),
        Node::AlterDefaultPrivilegesStmt(_) => Kind::Plain(Class::Grant, "alter default privileges"),
        Node::DropOwnedStmt(_) => Kind::Plain(Class::Grant, "drop owned"),
        Node::ReassignOwnedStmt(_) => Kind::Plain(Class::Grant, "reassign owned"),
        Node::CreateUserMappingStmt(_) => Kind::Plain(Class::Grant, "create user mapping"),
        Node::AlterUserMappingStmt(_) => Kind::Plain(Class::Grant, "alter user mapping"),
        Node::DropUserMappingStmt(_) => Kind::Plain(Class::Grant, "drop user mapping"),
        Node::SecLabelStmt(_) => Kind::Plain(Class::Grant, "security label"),
        Node::NodeList(_)
        | Node::GroupingFunc(_)
        | Node::NamedArgExpr(_)
        | Node::BoolExpr(_)
        | Node::SubLink(_)
        | Node::CaseExpr(_)
        | Node::CaseWhen(_)
        | Node::RowExpr(_)
        | Node::CoalesceExpr(_)
        | Node::MinMaxExpr(_)
        | Node::SQLValueFunction(_)
        | Node::XmlExpr(_)
        | Node::XmlSerialize(_)
        | Node::JsonValueExpr(_)
        | Node::JsonIsPredicate(_)
        | Node::JsonBehavior(_)
        | Node::NullTest(_)
        | Node::BooleanTest(_)
        | Node::MergeSupportFunc(_)
        | Node::SetToDefault(_)
        | Node::CurrentOfExpr(_)
        | Node::Integer(_)
        | Node::Float(_)
        | Node::Boolean(_)
        | Node::String(_)
        | Node::BitString(_)
        | Node::TypeName(_)
        | Node::ColumnRef(_)
        | Node::ParamRef(_)
        | Node::A_Expr(_)
        | Node::A_Const(_)
        | Node::TypeCast(_)
        | Node::CollateClause(_)
        | Node::FuncCall(_)
        | Node::A_Star(_)
        | Node::A_Indices(_)
        | Node::A_Indirection(_)
        | Node::A_ArrayExpr(_)
        | Node::ResTarget(_)
        | Node::MultiAssignRef(_)
        | Node::SortBy(_)
        | Node::WindowDef(_)
        | Node::GroupingSet(_)
        | Node::ColumnDef(_)
        | Node::JsonOutput(_)
        | Node::JsonArgument(_)
        | Node::JsonFuncExpr(_)
        | Node::JsonKeyValue(_)
        | Node::JsonParseExpr(_)
        | Node::JsonScalarExpr(_)
        | Node::JsonSerializeExpr(_)
        | Node::JsonObjectConstructor(_)
        | Node::JsonArrayConstructor(_)
        | Node::JsonArrayQueryConstructor(_)
        | Node::JsonObjectAgg(_)
        | Node::JsonArrayAgg(_) => Kind::Expression,
        Node::RangeVar(_)
        | Node::JoinExpr(_)
        | Node::RangeSubselect(_)
        | Node::RangeFunction(_)
        | Node::RangeTableFunc(_)
        | Node::RangeTableSample(_)
        | Node::JsonTable(_) => Kind::Source,
        Node::Alias(_)
        | Node::IntoClause(_)
        | Node::JsonFormat(_)
        | Node::JsonReturning(_)
        | Node::RoleSpec(_)
        | Node::RangeTableFuncCol(_)
        | Node::TableLikeClause(_)
        | Node::IndexElem(_)
        | Node::DefElem(_)
        | Node::LockingClause(_)
        | Node::PartitionElem(_)
        | Node::PartitionSpec(_)
        | Node::PartitionBoundSpec(_)
        | Node::PartitionRangeDatum(_)
        | Node::PartitionCmd(_)
        | Node::WithClause(_)
        | Node::InferClause(_)
        | Node::OnConflictClause(_)
        | Node::CTESearchClause(_)
        | Node::CTECycleClause(_)
        | Node::CommonTableExpr(_)
        | Node::MergeWhenClause(_)
        | Node::ReturningOption(_)
        | Node::ReturningClause(_)
        | Node::TriggerTransition(_)
        | Node::JsonTablePathSpec(_)
        | Node::JsonTableColumn(_)
        | Node::JsonAggConstructor(_)
        | Node::RawStmt(_)
        | Node::ReturnStmt(_)
        | Node::PLAssignStmt(_)
        | Node::AlterTableCmd(_)
        | Node::ATAlterConstraint(_)
        | Node::ReplicaIdentityStmt(_)
        | Node::ObjectWithArgs(_)
        | Node::AccessPriv(_)
        | Node::Constraint(_)
        | Node::CreateOpClassItem(_)
        | Node::StatsElem(_)
        | Node::FunctionParameter(_)
        | Node::VacuumRelation(_)
        | Node::PublicationTable(_)
        | Node::PublicationObjSpec(_) => Kind::Part,
        Node::Bitmapset(_)
        | Node::TableFunc(_)
        | Node::Param(_)
        | Node::Aggref(_)
        | Node::WindowFunc(_)
        | Node::WindowFuncRunCondition(_)
        | Node::SubscriptingRef(_)
        | Node::FuncExpr(_)
        | Node::OpExpr(_)
        | Node::ScalarArrayOpExpr(_)
        | Node::SubPlan(_)
        | Node::AlternativeSubPlan(_)
        | Node::FieldSelect(_)
        | Node::FieldStore(_)
        | Node::CoerceViaIO(_)
        | Node::ArrayCoerceExpr(_)
        | Node::ConvertRowtypeExpr(_)
        | Node::CollateExpr(_)
        | Node::CaseTestExpr(_)
        | Node::ArrayExpr(_)
        | Node::RowCompareExpr(_)
        | Node::JsonConstructorExpr(_)
        | Node::JsonExpr(_)
        | Node::MergeAction(_)
        | Node::CoerceToDomain(_)
        | Node::CoerceToDomainValue(_)
        | Node::NextValueExpr(_)
        | Node::InferenceElem(_)
        | Node::ReturningExpr(_)
        | Node::TargetEntry(_)
        | Node::RangeTblRef(_)
        | Node::FromExpr(_)
        | Node::OnConflictExpr(_)
        | Node::Query(_)
        | Node::RangeTblEntry(_)
        | Node::RTEPermissionInfo(_)
        | Node::RangeTblFunction(_)
        | Node::TableSampleClause(_)
        | Node::WithCheckOption(_)
        | Node::SortGroupClause(_)
        | Node::WindowClause(_)
        | Node::RowMarkClause(_)
        | Node::SetOperationStmt(_)
        | Node::InlineCodeBlock(_)
        | Node::CallContext(_) => Kind::Analyzed,
        Node::Invalid(_) => Kind::Invalid,
    }
}
