//! Statements that define, grant or administer: their class, their verb, and the tables they name.
//! Never makes one of them harmless; code that they run at once is walked like any other.
//! Read `second.rs` next.

use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes;
use pg_raw_parse::raw::{AlterTableType, GrantTargetType, ObjectType};

use super::piece::qualified;
use super::walk::Walk;
use crate::sql::action::{Class, TableName};

impl Walk<'_, '_> {
    pub(super) fn definition(&mut self, node: Node<'_>) {
        match node {
            Node::CreateTableAsStmt(create) => self.create_table_as(create),
            Node::CreateStmt(create) => self.create_table(create),
            Node::AlterTableStmt(alter) => self.alter_table(alter),
            Node::IndexStmt(index) => self.create_index(index),
            Node::CreateSchemaStmt(create) => {
                self.is(Class::Ddl, "create schema");
                if create.authrole().is_some() {
                    self.raise(Class::Grant, "gives a schema to an owner");
                }
                for element in create.schema_elts() {
                    self.nested(element);
                }
            }
            Node::AlterDomainStmt(alter) => {
                self.is(Class::Ddl, "alter domain");
                // A check is run over the values that are there.
                match alter.def() {
                    Node::Constraint(constraint) => self.expression(constraint.raw_expr()),
                    default => self.stored(default),
                }
            }
            Node::ViewStmt(view) => {
                self.is(Class::Ddl, "create view");
                self.target(view.view());
                self.stored(view.query());
            }
            Node::DropStmt(drop) => self.drop(drop),
            Node::TruncateStmt(truncate) => {
                self.holds(Class::Ddl, "truncate", "empties tables");
                self.targets(truncate.relations());
            }
            Node::RefreshMatViewStmt(refresh) => {
                self.is(Class::Ddl, "refresh materialized view");
                self.target(refresh.relation());
            }
            Node::RenameStmt(rename) => {
                let class = match rename.rename_type {
                    ObjectType::OBJECT_ROLE | ObjectType::OBJECT_POLICY => Class::Grant,
                    _ => Class::Ddl,
                };
                self.is(class, altered(rename.rename_type));
                self.target(rename.relation());
            }
            Node::CommentStmt(comment) => {
                self.is(Class::Ddl, "comment");
                match (comment.objtype, comment.object()) {
                    (ObjectType::OBJECT_COLUMN, Node::NodeList(name)) => self.table_of(name),
                    (
                        ObjectType::OBJECT_TABLE | ObjectType::OBJECT_VIEW | ObjectType::OBJECT_MATVIEW,
                        Node::NodeList(name),
                    ) => {
                        self.named_table(name);
                    }
                    _ => {}
                }
            }
            Node::AlterObjectSchemaStmt(alter) => {
                self.is(Class::Ddl, altered(alter.object_type));
                self.target(alter.relation());
            }
            Node::AlterOwnerStmt(alter) => {
                self.holds(Class::Grant, altered(alter.object_type), "changes an owner");
                self.target(alter.relation());
            }
            Node::GrantStmt(grant) => self.grant(grant),
            Node::CreatePolicyStmt(policy) => {
                self.holds(Class::Grant, "create policy", "changes who may see which rows");
                self.target(policy.table());
            }
            Node::AlterPolicyStmt(policy) => {
                self.holds(Class::Grant, "alter policy", "changes who may see which rows");
                self.target(policy.table());
            }
            Node::CreateTrigStmt(trigger) => {
                self.is(Class::Ddl, "create trigger");
                self.target(trigger.relation());
            }
            Node::RuleStmt(rule) => {
                self.is(Class::Ddl, "create rule");
                self.target(rule.relation());
            }
            Node::CreateSeqStmt(sequence) => {
                self.is(Class::Ddl, "create sequence");
                self.target(sequence.sequence());
            }
            Node::AlterSeqStmt(sequence) => {
                self.is(Class::Ddl, "alter sequence");
                self.target(sequence.sequence());
            }
            Node::ClusterStmt(cluster) => {
                self.commits = true;
                self.holds(
                    Class::Admin,
                    "cluster",
                    "rewrites a table under an exclusive lock",
                );
                self.target(cluster.relation());
            }
            Node::ReindexStmt(reindex) => {
                self.commits = true;
                self.holds(Class::Admin, "reindex", "rebuilds indexes under a lock");
                self.target(reindex.relation());
            }
            Node::CreateFunctionStmt(create) => {
                let verb = if create.is_procedure {
                    "create procedure"
                } else {
                    "create function"
                };
                self.is(Class::Ddl, verb);
                self.unlisted = true;
            }
            _ => self.unknown_node(),
        }
    }

    /// Statements that are told by their kind alone.
    pub(super) fn plain_definition(&mut self, node: Node<'_>, class: Class, verb: &'static str) {
        self.is(class, verb);
        // Of these some cannot run inside a transaction and so commit by themselves.
        self.commits = matches!(
            node,
            Node::CreatedbStmt(_)
                | Node::DropdbStmt(_)
                | Node::AlterSystemStmt(_)
                | Node::CreateTableSpaceStmt(_)
                | Node::DropTableSpaceStmt(_)
                | Node::CreateSubscriptionStmt(_)
                | Node::AlterSubscriptionStmt(_)
                | Node::DropSubscriptionStmt(_)
        );
        if let Node::ImportForeignSchemaStmt(import) = node {
            for relation in import.table_list().iter() {
                self.target(Some(relation));
            }
        }
    }

    fn create_table_as(&mut self, create: &nodes::CreateTableAsStmt) {
        let verb = match create.objtype {
            ObjectType::OBJECT_MATVIEW => "create materialized view",
            _ => "create table as",
        };
        self.is(Class::Ddl, verb);
        if let Some(into) = create.into() {
            self.target(into.rel());
        }
        self.nested(create.query());
    }

    fn create_table(&mut self, create: &nodes::CreateStmt) {
        self.is(Class::Ddl, "create table");
        self.target(create.relation());
        self.targets(create.inh_relations());
        self.elements(create.table_elts());
        self.partition_bound(create.partbound());
        if let Some(partitioned) = create.partspec() {
            for element in partitioned.part_params().iter() {
                self.column(element.name());
                self.stored(element.expr());
            }
        }
    }

    /// The values of a partition's bound are computed once, while it is made or attached.
    fn partition_bound(&mut self, bound: Option<&nodes::PartitionBoundSpec>) {
        let Some(bound) = bound else { return };
        for values in [bound.listdatums(), bound.lowerdatums(), bound.upperdatums()] {
            for value in values {
                self.expression(value);
            }
        }
    }

    /// Columns and constraints: what they compute is stored here and run later.
    fn elements(&mut self, elements: &NodeList) {
        for element in elements {
            match element {
                Node::ColumnDef(column) => {
                    self.column(column.colname());
                    self.stored(column.raw_default());
                    self.elements(column.constraints());
                }
                Node::Constraint(constraint) => {
                    self.stored(constraint.raw_expr());
                    self.target(constraint.pktable());
                }
                Node::TableLikeClause(like) => self.target(like.relation()),
                _ => self.unknown_node(),
            }
        }
    }

    /// An expression that is kept, not run.
    fn stored(&mut self, node: Node<'_>) {
        let before = std::mem::replace(&mut self.defining, true);
        match node {
            Node::SelectStmt(_) => self.nested(node),
            _ => self.expression(node),
        }
        self.defining = before;
    }

    fn alter_table(&mut self, alter: &nodes::AlterTableStmt) {
        let verb = altered(alter.objtype);
        self.is(Class::Ddl, verb);
        self.target(alter.relation());
        for command in alter.cmds() {
            match command {
                Node::AlterTableCmd(command) => self.alter_command(command),
                _ => self.unknown_node(),
            }
        }
    }

    fn alter_command(&mut self, command: &nodes::AlterTableCmd) {
        self.column(command.name());
        match command.subtype {
            AlterTableType::AT_ChangeOwner => self.raise(Class::Grant, "changes an owner"),
            AlterTableType::AT_EnableRowSecurity
            | AlterTableType::AT_DisableRowSecurity
            | AlterTableType::AT_ForceRowSecurity
            | AlterTableType::AT_NoForceRowSecurity => {
                self.raise(Class::Grant, "changes whether row security applies");
            }
            AlterTableType::AT_DropColumn => self.raise(Class::Ddl, "drops a column"),
            _ => {}
        }
        match command.def() {
            // A default, a USING expression and a check are run over the rows that are there.
            Node::ColumnDef(column) => {
                self.expression(column.raw_default());
                for constraint in column.constraints() {
                    if let Node::Constraint(constraint) = constraint {
                        self.expression(constraint.raw_expr());
                        self.target(constraint.pktable());
                    }
                }
            }
            Node::Constraint(constraint) => {
                self.expression(constraint.raw_expr());
                self.target(constraint.pktable());
            }
            Node::PartitionCmd(partition) => {
                self.target(partition.name());
                self.partition_bound(partition.bound());
            }
            Node::RangeVar(relation) => self.target(Some(relation)),
            // Everything else in this place is a name, an option or a stored default.
            _ => {}
        }
    }

    fn create_index(&mut self, index: &nodes::IndexStmt) {
        self.is(Class::Ddl, "create index");
        self.commits = index.concurrent;
        self.target(index.relation());
        for element in index.index_params().iter() {
            self.column(element.name());
            self.expression(element.expr());
        }
        self.expression(index.where_clause());
    }

    fn drop(&mut self, drop: &nodes::DropStmt) {
        self.commits = drop.concurrent;
        let (class, verb, relations) = match drop.remove_type {
            ObjectType::OBJECT_TABLE => (Class::Ddl, "drop table", true),
            ObjectType::OBJECT_VIEW => (Class::Ddl, "drop view", true),
            ObjectType::OBJECT_MATVIEW => (Class::Ddl, "drop materialized view", true),
            ObjectType::OBJECT_INDEX => (Class::Ddl, "drop index", true),
            ObjectType::OBJECT_SEQUENCE => (Class::Ddl, "drop sequence", true),
            ObjectType::OBJECT_FOREIGN_TABLE => (Class::Ddl, "drop foreign table", true),
            ObjectType::OBJECT_SCHEMA => (Class::Ddl, "drop schema", false),
            ObjectType::OBJECT_FUNCTION => (Class::Ddl, "drop function", false),
            ObjectType::OBJECT_PROCEDURE => (Class::Ddl, "drop procedure", false),
            ObjectType::OBJECT_TYPE => (Class::Ddl, "drop type", false),
            ObjectType::OBJECT_DOMAIN => (Class::Ddl, "drop domain", false),
            ObjectType::OBJECT_TRIGGER => (Class::Ddl, "drop trigger", false),
            ObjectType::OBJECT_RULE => (Class::Ddl, "drop rule", false),
            ObjectType::OBJECT_POLICY => (Class::Grant, "drop policy", false),
            ObjectType::OBJECT_EXTENSION => (Class::Admin, "drop extension", false),
            ObjectType::OBJECT_PUBLICATION => (Class::Admin, "drop publication", false),
            ObjectType::OBJECT_FOREIGN_SERVER => (Class::Admin, "drop server", false),
            ObjectType::OBJECT_FDW => (Class::Admin, "drop foreign data wrapper", false),
            _ => (Class::Ddl, "drop object", false),
        };
        self.is(class, verb);
        for object in drop.objects() {
            match object {
                Node::NodeList(name) if relations => self.named_table(name),
                // The last part is the trigger, rule or policy; the ones before are its table.
                Node::NodeList(name) if matches!(verb, "drop trigger" | "drop rule" | "drop policy") => {
                    self.table_of(name);
                }
                _ => {}
            }
        }
    }

    fn named_table(&mut self, name: &NodeList) {
        if let Some((schema, name)) = qualified(name) {
            self.tables.insert(TableName {
                schema: schema.map(str::to_owned),
                name: name.to_owned(),
            });
        }
    }

    fn table_of(&mut self, parts: &NodeList) {
        let part = |back: usize| {
            parts
                .len()
                .checked_sub(back)
                .and_then(|at| parts.get(at))
                .and_then(Node::as_str)
        };
        if let Some(name) = part(2) {
            self.tables.insert(TableName {
                schema: part(3).map(str::to_owned),
                name: name.to_owned(),
            });
        }
    }

    fn targets(&mut self, relations: &NodeList) {
        for relation in relations {
            match relation {
                Node::RangeVar(relation) => self.target(Some(relation)),
                _ => self.unknown_node(),
            }
        }
    }

    fn grant(&mut self, grant: &nodes::GrantStmt) {
        self.is(Class::Grant, if grant.is_grant { "grant" } else { "revoke" });
        let relations = matches!(
            grant.objtype,
            ObjectType::OBJECT_TABLE | ObjectType::OBJECT_SEQUENCE
        );
        if relations && grant.targtype == GrantTargetType::ACL_TARGET_OBJECT {
            for relation in grant.objects().iter() {
                self.target(Some(relation));
            }
        }
    }
}

/// The verb of an ALTER by what it alters.
fn altered(kind: ObjectType::Type) -> &'static str {
    match kind {
        ObjectType::OBJECT_INDEX => "alter index",
        ObjectType::OBJECT_VIEW => "alter view",
        ObjectType::OBJECT_MATVIEW => "alter materialized view",
        ObjectType::OBJECT_SEQUENCE => "alter sequence",
        ObjectType::OBJECT_FOREIGN_TABLE => "alter foreign table",
        ObjectType::OBJECT_TYPE | ObjectType::OBJECT_ATTRIBUTE => "alter type",
        ObjectType::OBJECT_DOMAIN | ObjectType::OBJECT_DOMCONSTRAINT => "alter domain",
        ObjectType::OBJECT_SCHEMA => "alter schema",
        ObjectType::OBJECT_DATABASE => "alter database",
        ObjectType::OBJECT_FUNCTION | ObjectType::OBJECT_AGGREGATE | ObjectType::OBJECT_ROUTINE => {
            "alter function"
        }
        ObjectType::OBJECT_PROCEDURE => "alter procedure",
        ObjectType::OBJECT_ROLE => "alter role",
        ObjectType::OBJECT_TRIGGER => "alter trigger",
        ObjectType::OBJECT_POLICY => "alter policy",
        ObjectType::OBJECT_RULE => "alter rule",
        ObjectType::OBJECT_LARGEOBJECT => "alter large object",
        // Columns and constraints are renamed by ALTER TABLE.
        ObjectType::OBJECT_TABLE | ObjectType::OBJECT_COLUMN | ObjectType::OBJECT_TABCONSTRAINT => {
            "alter table"
        }
        _ => "alter object",
    }
}
