//! Statements that define, grant or administer: their class, their verb, and the tables they name.
//! Never makes one of them harmless; code that they run at once is walked like any other.
//! Read `table.rs` next.

use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes;
use pg_raw_parse::raw::{GrantTargetType, ObjectType};

use super::piece::qualified;
use super::table::{altered, is_temporary};
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
                self.closed(view);
                self.is(Class::Ddl, "create view");
                self.step(match view.replace {
                    true => "create or replace view",
                    false => "create view",
                });
                self.target(view.view());
                self.stored(view.query());
            }
            Node::DropStmt(drop) => self.drop(drop),
            Node::TruncateStmt(truncate) => {
                self.closed(truncate);
                self.holds(Class::Ddl, "truncate", "empties tables");
                self.step("truncate");
                self.behaves(truncate.behavior);
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
                self.closed(rename);
                self.is(class, altered(rename.rename_type));
                self.behaves(rename.behavior);
                match rename.rename_type {
                    ObjectType::OBJECT_COLUMN => self.step("alter table rename column"),
                    ObjectType::OBJECT_TABCONSTRAINT => self.step("alter table rename constraint"),
                    _ => self.beyond("it puts a table under another name"),
                }
                self.target(rename.relation());
            }
            Node::CommentStmt(comment) => {
                self.closed(comment);
                self.is(Class::Ddl, "comment");
                self.step("comment");
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
                self.beyond("it puts a table under another name");
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
                self.closed(sequence);
                self.is(Class::Ddl, "create sequence");
                self.step("create sequence");
                self.target(sequence.sequence());
                self.sequence_options(sequence.options());
            }
            Node::AlterSeqStmt(sequence) => {
                self.closed(sequence);
                self.is(Class::Ddl, "alter sequence");
                self.step("alter sequence");
                self.target(sequence.sequence());
                self.sequence_options(sequence.options());
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
        self.closed(create);
        self.is(Class::Ddl, verb);
        if let Some(into) = create.into() {
            self.closed(into);
            self.step(verb);
            if is_temporary(into.rel()) {
                self.step("create temporary table");
            }
            self.target(into.rel());
            self.stored_by(into.access_method(), into.table_space_name());
        }
        self.nested(create.query());
    }

    /// An expression that is kept, not run.
    pub(super) fn stored(&mut self, node: Node<'_>) {
        let before = std::mem::replace(&mut self.defining, true);
        match node {
            Node::SelectStmt(_) => self.nested(node),
            _ => self.expression(node),
        }
        self.defining = before;
    }

    fn drop(&mut self, drop: &nodes::DropStmt) {
        self.closed(drop);
        self.behaves(drop.behavior);
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
        self.step(verb);
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

    pub(super) fn named_table(&mut self, name: &NodeList) {
        if let Some((schema, name)) = qualified(name) {
            self.tables.insert(TableName {
                schema: schema.map(str::to_owned),
                name: name.to_owned(),
            });
        }
    }

    pub(super) fn table_of(&mut self, parts: &NodeList) {
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

    pub(super) fn targets(&mut self, relations: &NodeList) {
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
