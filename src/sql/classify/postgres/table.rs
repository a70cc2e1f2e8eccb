//! Definitions of tables and indexes: what they compute at once or later, and every name in them by which code could run.
//! Never makes a definition harmless; what a name means beyond the lists is for a person to see. Read `closed.rs` next.
//!
//! Why a type or an operator class does not raise the class: CREATE TABLE with somebody's enum is a definition like any
//! other, and rules speak of it so. It is only said (`Steps::beyond`), and then it is part of no run.

use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes;
use pg_raw_parse::raw::{AlterTableType, ConstrType, DropBehavior, ObjectType, PartitionStrategy};

use super::closed::Closed;
use super::piece::{qualified, type_word};
use super::walk::Walk;
use crate::sql::action::Class;
use crate::sql::classify::lists;

/// When an expression is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// For the rows that are there.
    Now,
    /// It is kept for rows to come.
    Later,
}

impl Walk<'_, '_> {
    /// Refuses what is set in a node and not read.
    pub(super) fn closed(&mut self, node: &impl Closed) {
        if let Some(field) = node.unread() {
            self.unlisted(Class::Unknown, format!("sets `{field}`, which is not understood"));
        }
    }

    pub(super) fn create_table(&mut self, create: &nodes::CreateStmt) {
        self.closed(create);
        self.is(Class::Ddl, "create table");
        self.step(step_of_table(create.relation()));
        self.target(create.relation());
        self.targets(create.inh_relations());
        self.elements(create.table_elts());
        self.partition_bound(create.partbound());
        self.kept_type(create.of_typename());
        self.stored_by(create.access_method(), create.tablespacename());
        if let Some(partitioned) = create.partspec() {
            self.closed(partitioned);
            let method = match partitioned.strategy {
                PartitionStrategy::PARTITION_STRATEGY_HASH => "hash",
                _ => "btree",
            };
            for element in partitioned.part_params().iter() {
                self.closed(element);
                self.column(element.name());
                self.stored(element.expr());
                self.operator_class(method, element.opclass());
            }
        }
    }

    /// The values of a partition's bound are computed once, while it is made or attached.
    fn partition_bound(&mut self, bound: Option<&nodes::PartitionBoundSpec>) {
        let Some(bound) = bound else { return };
        self.closed(bound);
        for values in [bound.listdatums(), bound.lowerdatums(), bound.upperdatums()] {
            for value in values {
                self.expression(value);
            }
        }
    }

    /// Columns and constraints of a new table: what they compute is stored here and run later.
    fn elements(&mut self, elements: &NodeList) {
        for element in elements {
            match element {
                Node::ColumnDef(column) => self.column_definition(column, When::Later),
                Node::Constraint(constraint) => self.constraint(constraint, When::Later),
                Node::TableLikeClause(like) => {
                    self.closed(like);
                    self.target(like.relation());
                }
                _ => self.unknown_node(),
            }
        }
    }

    fn computes(&mut self, expression: Node<'_>, when: When) {
        match when {
            When::Now => self.expression(expression),
            When::Later => self.stored(expression),
        }
    }

    /// Also `TYPE … USING …`, whose USING stands where a default does.
    fn column_definition(&mut self, column: &nodes::ColumnDef, when: When) {
        self.closed(column);
        self.column(column.colname());
        if !is_serial(column.type_name()) {
            self.kept_type(column.type_name());
        }
        self.computes(column.raw_default(), when);
        if let Some(collate) = column.coll_clause() {
            self.closed(collate);
        }
        for constraint in column.constraints() {
            match constraint {
                Node::Constraint(constraint) => self.constraint(constraint, when),
                Node::CollateClause(collate) => self.closed(collate),
                _ => self.unknown_node(),
            }
        }
    }

    fn constraint(&mut self, constraint: &nodes::Constraint, when: When) {
        self.closed(constraint);
        self.computes(constraint.raw_expr(), when);
        self.target(constraint.pktable());
        if constraint.contype == ConstrType::CONSTR_IDENTITY {
            self.sequence_options(constraint.options());
        }
        self.stored_by(None, constraint.indexspace());
        let method = constraint.access_method().unwrap_or("btree");
        self.access_method(method);
        for exclusion in constraint.exclusions() {
            match exclusion.as_node_list().map(|pair| (pair.get(0), pair.get(1))) {
                Some((Some(Node::IndexElem(element)), Some(Node::NodeList(operator)))) => {
                    self.index_element(method, element, when);
                    self.kept_operator(operator);
                }
                Some(_) | None => self.unknown_node(),
            }
        }
        self.computes(constraint.where_clause(), when);
    }

    pub(super) fn alter_table(&mut self, alter: &nodes::AlterTableStmt) {
        self.closed(alter);
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
        self.closed(command);
        self.column(command.name());
        self.behaves(command.behavior);
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
        match step_of(command.subtype) {
            Some(step) => self.step(step),
            None => self.beyond("it changes what a run does not follow: triggers, rules, storage, ownership"),
        }
        self.alter_what(command);
    }

    /// What the command is given: a default, a USING expression and a check are run over the rows that are there.
    fn alter_what(&mut self, command: &nodes::AlterTableCmd) {
        match (command.subtype, command.def()) {
            (_, Node::None) => {}
            (_, Node::ColumnDef(column)) => self.column_definition(column, When::Now),
            (AlterTableType::AT_AlterConstraint, Node::Constraint(constraint)) => self.closed(constraint),
            (_, Node::Constraint(constraint)) => self.constraint(constraint, When::Now),
            (_, Node::PartitionCmd(partition)) => {
                self.closed(partition);
                self.target(partition.name());
                self.partition_bound(partition.bound());
            }
            (_, Node::RangeVar(relation)) => self.target(Some(relation)),
            (AlterTableType::AT_ColumnDefault, default) => self.stored(default),
            (AlterTableType::AT_SetExpression, expression) => self.expression(expression),
            (_, Node::TypeName(of)) => self.kept_type(Some(of)),
            (_, Node::ATAlterConstraint(constraint)) => self.closed(constraint),
            (AlterTableType::AT_SetIdentity, Node::NodeList(options)) => self.sequence_options(options),
            // Names, numbers and parameters of storage.
            (
                AlterTableType::AT_SetStatistics
                | AlterTableType::AT_SetOptions
                | AlterTableType::AT_ResetOptions
                | AlterTableType::AT_SetStorage
                | AlterTableType::AT_SetCompression
                | AlterTableType::AT_SetRelOptions
                | AlterTableType::AT_ResetRelOptions,
                Node::NodeList(_) | Node::Integer(_) | Node::String(_),
            ) => {}
            (_, _) => self.beyond("it is given what is not understood"),
        }
    }

    pub(super) fn create_index(&mut self, index: &nodes::IndexStmt) {
        self.closed(index);
        self.is(Class::Ddl, "create index");
        self.step("create index");
        self.commits = index.concurrent;
        self.target(index.relation());
        let method = index.access_method().unwrap_or("btree");
        self.stored_by(Some(method), index.table_space());
        for element in index.index_params().iter() {
            self.index_element(method, element, When::Now);
        }
        for element in index.index_including_params() {
            match element {
                Node::IndexElem(element) => self.index_element(method, element, When::Now),
                _ => self.unknown_node(),
            }
        }
        self.expression(index.where_clause());
    }

    fn index_element(&mut self, method: &str, element: &nodes::IndexElem, when: When) {
        self.closed(element);
        self.column(element.name());
        self.computes(element.expr(), when);
        self.operator_class(method, element.opclass());
    }

    /// By its functions a table or an index is kept and read: those of an extension are its authors' code.
    fn access_method(&mut self, method: &str) {
        if !lists::is_access_method(method) {
            self.beyond(format!(
                "it uses the access method `{method}`, which is not built in"
            ));
        }
    }

    pub(super) fn stored_by(&mut self, method: Option<&str>, tablespace: Option<&str>) {
        if let Some(method) = method {
            self.access_method(method);
        }
        if let Some(tablespace) = tablespace {
            self.beyond(format!("it chooses the tablespace `{tablespace}`"));
        }
    }

    /// An operator class says which functions compare the values of an index.
    fn operator_class(&mut self, method: &str, name: &NodeList) {
        if name.is_empty() {
            return;
        }
        let is_built_in = match qualified(name) {
            // One in a schema before pg_catalog would be found first.
            Some((None, name)) => !self.kept_shadowed() && lists::is_operator_class(method, name),
            Some((Some("pg_catalog"), name)) => lists::is_operator_class(method, name),
            Some((Some(_), _)) | None => false,
        };
        if !is_built_in {
            let name = qualified(name).map_or("", |(_, name)| name);
            self.beyond(format!(
                "it uses the operator class `{name}`, which is not built in"
            ));
        }
    }

    /// What hangs on the object goes with it.
    pub(super) fn behaves(&mut self, behavior: DropBehavior::Type) {
        if behavior != DropBehavior::DROP_RESTRICT {
            self.beyond("CASCADE takes along what hangs on its tables");
        }
    }

    /// A sequence's table, and the type of its numbers.
    pub(super) fn sequence_options(&mut self, options: &NodeList) {
        for option in options {
            let Node::DefElem(option) = option else {
                self.unknown_node();
                continue;
            };
            match (option.defname().unwrap_or_default(), option.arg()) {
                ("owned_by", Node::NodeList(column)) => self.table_of_column(column),
                ("sequence_name", Node::NodeList(name)) => self.named_table(name),
                ("as", Node::TypeName(numbers)) => self.kept_type(Some(numbers)),
                (
                    "generated" | "increment" | "minvalue" | "maxvalue" | "start" | "restart" | "cache"
                    | "cycle" | "owned_by" | "logged" | "unlogged",
                    Node::None | Node::Integer(_) | Node::Float(_) | Node::Boolean(_) | Node::A_Const(_),
                ) => {}
                (name, _) => self.beyond(format!("its option `{name}` is not understood")),
            }
        }
    }

    /// `table.column`; `none` stands alone.
    fn table_of_column(&mut self, column: &NodeList) {
        if column.len() > 1 {
            self.table_of(column);
        }
    }

    /// A type that is kept with a definition; its checks run with the rows.
    fn kept_type(&mut self, name: Option<&nodes::TypeName>) {
        self.kept(|walk| walk.type_name(name));
    }

    fn kept_operator(&mut self, name: &NodeList) {
        self.kept(|walk| walk.operator(name, 2, false));
    }

    fn kept_shadowed(&mut self) -> bool {
        self.kept(|walk| walk.is_shadowed())
    }

    /// Looks a name up without a change of the class: what is not on the lists is said in `beyond`.
    fn kept<T>(&mut self, look: impl FnOnce(&mut Self) -> T) -> T {
        let before = (self.defining, self.unlisted, self.foreign);
        let reasons = self.reasons.len();
        self.defining = true;
        let found = look(self);
        (self.defining, self.unlisted, self.foreign) = before;
        self.reasons.truncate(reasons);
        found
    }
}

/// Types that the server itself writes out as numbers with a sequence, whatever else has their names.
fn is_serial(name: Option<&nodes::TypeName>) -> bool {
    const SERIAL: [&str; 6] = [
        "bigserial",
        "serial",
        "serial2",
        "serial4",
        "serial8",
        "smallserial",
    ];
    let word = name
        .filter(|name| name.typmods().is_empty() && !name.pct_type)
        .and_then(type_word);
    matches!(word, Some((None, word)) if SERIAL.contains(&word))
}

/// `p`, `u` and `t`. Source: src/include/catalog/pg_class.h, RELPERSISTENCE_TEMP
pub(super) fn is_temporary(relation: Option<&nodes::RangeVar>) -> bool {
    relation.is_some_and(|relation| {
        let is_in_temporary = relation
            .schemaname()
            .is_some_and(|schema| schema.starts_with("pg_temp"));
        u8::try_from(relation.relpersistence) == Ok(b't') || is_in_temporary
    })
}

fn step_of_table(relation: Option<&nodes::RangeVar>) -> &'static str {
    match is_temporary(relation) {
        true => "create temporary table",
        false => "create table",
    }
}

/// What a command of ALTER TABLE does; `None`: what no run follows.
fn step_of(command: AlterTableType::Type) -> Option<&'static str> {
    Some(match command {
        AlterTableType::AT_AddColumn => "alter table add column",
        AlterTableType::AT_DropColumn => "alter table drop column",
        AlterTableType::AT_AlterColumnType => "alter table alter type",
        AlterTableType::AT_ColumnDefault => "alter table set default",
        AlterTableType::AT_SetNotNull => "alter table set not null",
        AlterTableType::AT_DropNotNull => "alter table drop not null",
        AlterTableType::AT_SetExpression => "alter table set expression",
        AlterTableType::AT_DropExpression => "alter table drop expression",
        AlterTableType::AT_AddIdentity | AlterTableType::AT_SetIdentity => "alter table set identity",
        AlterTableType::AT_DropIdentity => "alter table drop identity",
        AlterTableType::AT_SetStatistics
        | AlterTableType::AT_SetOptions
        | AlterTableType::AT_ResetOptions
        | AlterTableType::AT_SetStorage
        | AlterTableType::AT_SetCompression
        | AlterTableType::AT_SetRelOptions
        | AlterTableType::AT_ResetRelOptions => "alter table set options",
        AlterTableType::AT_AddConstraint => "alter table add constraint",
        AlterTableType::AT_AlterConstraint => "alter table alter constraint",
        AlterTableType::AT_ValidateConstraint => "alter table validate constraint",
        AlterTableType::AT_DropConstraint => "alter table drop constraint",
        AlterTableType::AT_AddInherit => "alter table inherit",
        AlterTableType::AT_DropInherit => "alter table no inherit",
        AlterTableType::AT_AttachPartition => "alter table attach partition",
        AlterTableType::AT_DetachPartition | AlterTableType::AT_DetachPartitionFinalize => {
            "alter table detach partition"
        }
        _ => return None,
    })
}

/// The verb of an ALTER by what it alters.
pub(super) fn altered(kind: ObjectType::Type) -> &'static str {
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
