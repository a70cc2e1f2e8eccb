//! Definitions of tables, views and indexes: the tables they name, and the expressions that they run at once.
//! Never makes a definition harmless. Read `show.rs` next.

use sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, CheckConstraint, ColumnDef, ColumnOption,
    CreateIndex, CreateTable, CreateTableLikeKind, CreateTableOptions, CreateView, Expr,
    ForeignKeyConstraint, FunctionArg, FunctionArgExpr, FunctionArguments, HiveDistributionStyle, Ident,
    IndexColumn, ObjectNamePart, RenameTableNameKind, TableConstraint, Truncate, Value,
};

use super::Walk;
use super::words::Words;
use crate::sql::action::Class;
use crate::sql::lex::mysql::Kind;

impl Walk<'_, '_> {
    pub(super) fn create_view(&mut self, view: &CreateView) {
        let CreateView {
            or_alter,
            or_replace,
            materialized,
            secure,
            name,
            name_before_not_exists: _,
            columns,
            query,
            options,
            cluster_by,
            comment: _,
            with_no_schema_binding,
            if_not_exists: _,
            temporary: _,
            copy_grants,
            to,
            params: _,
        } = view;
        self.defines("create view");
        self.step(match or_replace {
            true => "create or replace view",
            false => "create view",
        });
        self.mention(name);
        for column in columns {
            self.column(&column.name.value);
        }
        self.stored_query(query);
        if *or_alter
            || *materialized
            || *secure
            || !matches!(options, CreateTableOptions::None)
            || !cluster_by.is_empty()
            || *with_no_schema_binding
            || *copy_grants
            || to.is_some()
        {
            self.unknown_node();
        }
    }

    pub(super) fn create_index(&mut self, index: &CreateIndex) {
        let CreateIndex {
            name: _,
            table_name,
            using: _,
            columns,
            unique: _,
            concurrently,
            r#async,
            if_not_exists: _,
            include,
            nulls_distinct,
            with,
            predicate,
            index_options: _,
            alter_options,
        } = index;
        self.defines("create index");
        self.step("create index");
        self.mention(table_name);
        self.index_columns(columns);
        for option in alter_options {
            self.alter_operation(option);
        }
        if *concurrently
            || *r#async
            || !include.is_empty()
            || nulls_distinct.is_some()
            || !with.is_empty()
            || predicate.is_some()
        {
            self.unknown_node();
        }
    }

    fn index_columns(&mut self, columns: &[IndexColumn]) {
        for IndexColumn {
            column,
            operator_class,
        } in columns
        {
            match prefix_of(&column.expr) {
                Some(name) => self.column(&name.value),
                None => self.sort(std::slice::from_ref(column)),
            }
            if operator_class.is_some() {
                self.unknown_node();
            }
        }
    }

    /// Options of a table that reach beyond the database: where its data are, and what reads them. The reader takes them
    /// for words like any others.
    pub(super) fn storage(&mut self, words: Words<'_>) {
        let mut ahead = words;
        while !ahead.is_empty() {
            if ahead.take("connection") {
                ahead.take_sign("=");
                if ahead.peek().is_some_and(|token| token.kind == Kind::Text) {
                    self.raise(Class::Admin, "makes a table of another server's");
                }
            } else if ahead.take_all(&["data", "directory"]) || ahead.take_all(&["index", "directory"]) {
                self.raise(Class::Admin, "chooses a folder of the server");
            } else if ahead.take("engine") {
                ahead.take_sign("=");
                let engine = ahead.name().unwrap_or_default().to_ascii_lowercase();
                if !engine.is_empty() && !ENGINES.contains(&engine.as_str()) {
                    self.raise(
                        Class::Admin,
                        "uses a storage engine that may reach beyond the database",
                    );
                }
            } else if ahead.take("union") && ahead.take_sign("=") {
                // Of a MERGE table: the names in it are tables.
                self.names_of(ahead.item());
            } else {
                ahead.next();
            }
        }
    }

    pub(super) fn truncate(&mut self, truncate: &Truncate) {
        let Truncate {
            table_names,
            partitions,
            table: _,
            if_exists: _,
            identity,
            cascade,
            on_cluster,
        } = truncate;
        self.holds(Class::Ddl, "truncate", "empties tables");
        self.step("truncate");
        self.commits_implicitly();
        for target in table_names {
            self.mention(&target.name);
        }
        if partitions.is_some() || identity.is_some() || cascade.is_some() || on_cluster.is_some() {
            self.unknown_node();
        }
    }

    pub(super) fn create_table(&mut self, create: &CreateTable) {
        let CreateTable {
            or_replace,
            temporary,
            unlogged,
            external,
            dynamic,
            global,
            if_not_exists: _,
            transient,
            volatile,
            iceberg,
            snapshot,
            name,
            columns,
            constraints,
            hive_distribution,
            hive_formats: _,
            table_options: _,
            file_format,
            location,
            query,
            without_rowid,
            like,
            clone,
            version,
            comment: _,
            on_commit,
            on_cluster,
            primary_key,
            order_by,
            partition_by,
            cluster_by,
            clustered_by,
            inherits,
            partition_of,
            for_values,
            strict,
            copy_grants,
            enable_schema_evolution,
            change_tracking,
            data_retention_time_in_days,
            max_data_extension_time_in_days,
            default_ddl_collation,
            with_aggregation_policy,
            with_row_access_policy,
            with_storage_lifecycle_policy,
            with_tags,
            external_volume,
            with_connection,
            base_location,
            catalog,
            catalog_sync,
            storage_serialization_policy,
            target_lag,
            warehouse,
            refresh_mode,
            initialize,
            require_user,
            diststyle,
            distkey,
            sortkey,
            backup,
            multiset,
            fallback,
            with_data,
        } = create;
        if query.is_some() {
            self.is(Class::Ddl, "create table as");
        } else {
            self.is(Class::Ddl, "create table");
        }
        self.step(match (or_replace, temporary) {
            (_, true) => "create temporary table",
            // MariaDB drops the one that is there.
            (true, false) => "create or replace table",
            (false, false) => "create table",
        });
        if query.is_some() {
            self.step("create table as");
        }
        if !*temporary {
            self.commits_implicitly();
        }
        self.mention(name);
        for column in columns {
            self.column_definition(column);
        }
        for constraint in constraints {
            self.constraint(constraint);
        }
        match like {
            None => {}
            Some(CreateTableLikeKind::Parenthesized(like) | CreateTableLikeKind::Plain(like)) => {
                self.mention(&like.name);
            }
        }
        if let Some(query) = query {
            self.query(query);
        }
        if let Some(partition_by) = partition_by {
            self.expression(partition_by);
        }
        let switches = [
            *unlogged,
            *external,
            *dynamic,
            *transient,
            *volatile,
            *iceberg,
            *snapshot,
            *without_rowid,
            *strict,
            *copy_grants,
            *require_user,
            global.is_some(),
            !matches!(hive_distribution, HiveDistributionStyle::NONE),
            file_format.is_some(),
            location.is_some(),
            clone.is_some(),
            version.is_some(),
            on_commit.is_some(),
            on_cluster.is_some(),
            primary_key.is_some(),
            order_by.is_some(),
            cluster_by.is_some(),
            clustered_by.is_some(),
            inherits.is_some(),
            partition_of.is_some(),
            for_values.is_some(),
            enable_schema_evolution.is_some(),
            change_tracking.is_some(),
            data_retention_time_in_days.is_some(),
            max_data_extension_time_in_days.is_some(),
            default_ddl_collation.is_some(),
            with_aggregation_policy.is_some(),
            with_row_access_policy.is_some(),
            with_storage_lifecycle_policy.is_some(),
            with_tags.is_some(),
            external_volume.is_some(),
            with_connection.is_some(),
            base_location.is_some(),
            catalog.is_some(),
            catalog_sync.is_some(),
            storage_serialization_policy.is_some(),
            target_lag.is_some(),
            warehouse.is_some(),
            refresh_mode.is_some(),
            initialize.is_some(),
            diststyle.is_some(),
            distkey.is_some(),
            sortkey.is_some(),
            backup.is_some(),
            multiset.is_some(),
            fallback.is_some(),
            with_data.is_some(),
        ];
        if switches.contains(&true) {
            self.unknown_node();
        }
    }

    fn column_definition(&mut self, column: &ColumnDef) {
        let ColumnDef {
            name,
            data_type: _,
            options,
        } = column;
        self.column(&name.value);
        for option in options {
            self.column_option(&option.option);
        }
    }

    fn column_option(&mut self, option: &ColumnOption) {
        match option {
            ColumnOption::Null
            | ColumnOption::NotNull
            | ColumnOption::PrimaryKey(_)
            | ColumnOption::Unique(_)
            | ColumnOption::DialectSpecific(_)
            | ColumnOption::CharacterSet(_)
            | ColumnOption::Collation(_)
            | ColumnOption::Comment(_)
            | ColumnOption::Invisible => {}
            ColumnOption::Default(expr) | ColumnOption::OnUpdate(expr) => self.expression(expr),
            ColumnOption::Srid(expr) => self.expression(expr),
            ColumnOption::Check(check) => self.check(check),
            ColumnOption::ForeignKey(key) => self.foreign_key(key),
            ColumnOption::Generated {
                generated_as: _,
                sequence_options: _,
                generation_expr,
                generation_expr_mode: _,
                generated_keyword: _,
            } => self.maybe(generation_expr.as_ref()),
            ColumnOption::Materialized(_)
            | ColumnOption::Ephemeral(_)
            | ColumnOption::Alias(_)
            | ColumnOption::Options(_)
            | ColumnOption::Identity(_)
            | ColumnOption::OnConflict(_)
            | ColumnOption::Policy(_)
            | ColumnOption::Tags(_) => self.unknown_node(),
        }
    }

    fn check(&mut self, check: &CheckConstraint) {
        let CheckConstraint {
            name: _,
            expr,
            no_inherit: _,
            enforced: _,
        } = check;
        self.expression(expr);
    }

    fn foreign_key(&mut self, key: &ForeignKeyConstraint) {
        self.mention(&key.foreign_table);
        for column in &key.columns {
            self.column(&column.value);
        }
    }

    fn constraint(&mut self, constraint: &TableConstraint) {
        match constraint {
            TableConstraint::Unique(key) => self.index_columns(&key.columns),
            TableConstraint::PrimaryKey(key) => self.index_columns(&key.columns),
            TableConstraint::ForeignKey(key) => self.foreign_key(key),
            TableConstraint::Check(check) => self.check(check),
            TableConstraint::Index(index) => self.index_columns(&index.columns),
            TableConstraint::FulltextOrSpatial(index) => self.index_columns(&index.columns),
            TableConstraint::PrimaryKeyUsingIndex(_)
            | TableConstraint::UniqueUsingIndex(_)
            | TableConstraint::Exclude(_) => self.unknown_node(),
        }
    }

    pub(super) fn alter_table(&mut self, alter: &AlterTable) {
        let AlterTable {
            name,
            if_exists: _,
            only,
            operations,
            location,
            on_cluster,
            table_type,
            end_token: _,
        } = alter;
        self.defines("alter table");
        self.mention(name);
        for operation in operations {
            self.alter_operation(operation);
        }
        if *only || location.is_some() || on_cluster.is_some() || table_type.is_some() {
            self.unknown_node();
        }
    }

    fn alter_operation(&mut self, operation: &AlterTableOperation) {
        if let Some(step) = step_of(operation) {
            self.step(step);
        }
        match operation {
            AlterTableOperation::AddConstraint {
                constraint,
                not_valid: _,
            } => self.constraint(constraint),
            AlterTableOperation::AddColumn { column_def, .. } => self.column_definition(column_def),
            AlterTableOperation::DropColumn { column_names, .. } => {
                self.raise(Class::Ddl, "drops a column");
                for column in column_names {
                    self.column(&column.value);
                }
            }
            AlterTableOperation::RenameColumn {
                old_column_name,
                new_column_name,
            } => {
                self.column(&old_column_name.value);
                self.column(&new_column_name.value);
            }
            AlterTableOperation::RenameTable { table_name } => {
                let why = "it puts a table under another name";
                self.steps.beyond.get_or_insert_with(|| why.to_owned());
                match table_name {
                    RenameTableNameKind::As(name) | RenameTableNameKind::To(name) => self.mention(name),
                }
            }
            AlterTableOperation::ChangeColumn {
                old_name,
                new_name,
                data_type: _,
                options,
                column_position: _,
            } => {
                self.column(&old_name.value);
                self.column(&new_name.value);
                options.iter().for_each(|option| self.column_option(option));
            }
            AlterTableOperation::ModifyColumn {
                col_name,
                data_type: _,
                options,
                column_position: _,
            } => {
                self.column(&col_name.value);
                options.iter().for_each(|option| self.column_option(option));
            }
            AlterTableOperation::AlterColumn { column_name, op } => {
                self.column(&column_name.value);
                match op {
                    AlterColumnOperation::SetDefault { value } => self.expression(value),
                    AlterColumnOperation::DropDefault => {}
                    AlterColumnOperation::SetNotNull
                    | AlterColumnOperation::DropNotNull
                    | AlterColumnOperation::SetDataType { .. }
                    | AlterColumnOperation::AddGenerated { .. } => self.unknown_node(),
                }
            }
            AlterTableOperation::DropConstraint { .. }
            | AlterTableOperation::DropPrimaryKey { .. }
            | AlterTableOperation::DropForeignKey { .. }
            | AlterTableOperation::DropIndex { .. }
            | AlterTableOperation::RenameConstraint { .. }
            | AlterTableOperation::Algorithm { .. }
            | AlterTableOperation::Lock { .. }
            | AlterTableOperation::AutoIncrement { .. } => {}
            // Neither server has these, or not in these words.
            AlterTableOperation::AddProjection { .. }
            | AlterTableOperation::DropProjection { .. }
            | AlterTableOperation::MaterializeProjection { .. }
            | AlterTableOperation::ClearProjection { .. }
            | AlterTableOperation::DisableRowLevelSecurity
            | AlterTableOperation::DisableRule { .. }
            | AlterTableOperation::DisableTrigger { .. }
            | AlterTableOperation::AttachPartition { .. }
            | AlterTableOperation::DetachPartition { .. }
            | AlterTableOperation::FreezePartition { .. }
            | AlterTableOperation::UnfreezePartition { .. }
            | AlterTableOperation::EnableAlwaysRule { .. }
            | AlterTableOperation::EnableAlwaysTrigger { .. }
            | AlterTableOperation::EnableReplicaRule { .. }
            | AlterTableOperation::EnableReplicaTrigger { .. }
            | AlterTableOperation::EnableRowLevelSecurity
            | AlterTableOperation::ForceRowLevelSecurity
            | AlterTableOperation::NoForceRowLevelSecurity
            | AlterTableOperation::EnableRule { .. }
            | AlterTableOperation::EnableTrigger { .. }
            | AlterTableOperation::RenamePartitions { .. }
            | AlterTableOperation::ReplicaIdentity { .. }
            | AlterTableOperation::AddPartitions { .. }
            | AlterTableOperation::DropPartitions { .. }
            | AlterTableOperation::SwapWith { .. }
            | AlterTableOperation::SetTblProperties { .. }
            | AlterTableOperation::SetLogged
            | AlterTableOperation::SetUnlogged
            | AlterTableOperation::OwnerTo { .. }
            | AlterTableOperation::ClusterBy { .. }
            | AlterTableOperation::DropClusteringKey
            | AlterTableOperation::AlterSortKey { .. }
            | AlterTableOperation::SuspendRecluster
            | AlterTableOperation::ResumeRecluster
            | AlterTableOperation::Refresh { .. }
            | AlterTableOperation::Suspend
            | AlterTableOperation::Resume
            | AlterTableOperation::ValidateConstraint { .. }
            | AlterTableOperation::SetOptionsParens { .. } => self.unknown_node(),
        }
    }
}

/// What a run calls an operation. What is not said here is not understood, or a CREATE INDEX's own option.
fn step_of(operation: &AlterTableOperation) -> Option<&'static str> {
    match operation {
        AlterTableOperation::AddConstraint { .. } => Some("alter table add constraint"),
        AlterTableOperation::AddColumn { .. } => Some("alter table add column"),
        AlterTableOperation::DropColumn { .. } => Some("alter table drop column"),
        AlterTableOperation::RenameColumn { .. } => Some("alter table rename column"),
        AlterTableOperation::RenameConstraint { .. } => Some("alter table rename constraint"),
        AlterTableOperation::ChangeColumn { .. } | AlterTableOperation::ModifyColumn { .. } => {
            Some("alter table alter type")
        }
        AlterTableOperation::AlterColumn { .. } => Some("alter table set default"),
        AlterTableOperation::DropConstraint { .. }
        | AlterTableOperation::DropPrimaryKey { .. }
        | AlterTableOperation::DropForeignKey { .. } => Some("alter table drop constraint"),
        AlterTableOperation::DropIndex { .. } => Some("drop index"),
        AlterTableOperation::AutoIncrement { .. } => Some("alter table set options"),
        _ => None,
    }
}

/// Engines that keep what a table holds in the database's own folder, or nowhere.
const ENGINES: [&str; 13] = [
    "archive",
    "aria",
    "blackhole",
    "columnstore",
    "csv",
    "heap",
    "innodb",
    "memory",
    "merge",
    "mrg_myisam",
    "myisam",
    "myrocks",
    "rocksdb",
];

/// The column of `a(10)`, the first bytes of which are indexed: the reader takes it for a call.
fn prefix_of(expr: &Expr) -> Option<&Ident> {
    let Expr::Function(call) = expr else {
        return None;
    };
    let FunctionArguments::List(list) = &call.args else {
        return None;
    };
    let length = match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))] => &value.value,
        _ => return None,
    };
    match (call.name.0.as_slice(), length, &call.over) {
        ([ObjectNamePart::Identifier(name)], Value::Number(_, false), None) => Some(name),
        _ => None,
    }
}
