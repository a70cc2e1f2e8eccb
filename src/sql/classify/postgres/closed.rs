//! The nodes that definitions of tables, indexes, sequences and views are made of, field by field: what the walk reads,
//! what may be anything, and what must not be set. Never looks at a value. Read `table.rs` next.
//!
//! Why a table of all fields: the walk over a definition reads by name what it knows, and what it does not know would
//! pass unseen. Here each field has an answer, a test holds the answers against the grammar's own fields, and whatever is
//! set and is not read makes the statement `unknown`.

use pg_raw_parse::Node;
use pg_raw_parse::list::{CastNodeList, NodeList};
use pg_raw_parse::nodes;

/// A value that the grammar leaves where nothing was written.
trait Nothing {
    fn is_nothing(&self) -> bool;
}

impl<T> Nothing for Option<T> {
    fn is_nothing(&self) -> bool {
        self.is_none()
    }
}

impl Nothing for Node<'_> {
    fn is_nothing(&self) -> bool {
        matches!(self, Node::None)
    }
}

impl Nothing for &NodeList {
    fn is_nothing(&self) -> bool {
        self.is_empty()
    }
}

impl<T> Nothing for &CastNodeList<T> {
    fn is_nothing(&self) -> bool {
        self.is_empty()
    }
}

impl Nothing for bool {
    fn is_nothing(&self) -> bool {
        !self
    }
}

/// Numbers of objects: 0 is none.
impl Nothing for u32 {
    fn is_nothing(&self) -> bool {
        *self == 0
    }
}

/// A node each of whose fields has an answer.
pub(super) trait Closed {
    /// A field that is set and that the walk does not read.
    fn unread(&self) -> Option<&'static str>;
}

macro_rules! closed {
    ($($node:ident {
        read: [$($read:ident)*],
        any: [$($any:ident)*],
        unset: [$($unset:ident $(($($call:tt)*))?),*],
    })*) => {
        $(impl Closed for nodes::$node {
            fn unread(&self) -> Option<&'static str> {
                $(if !Nothing::is_nothing(&self.$unset $(($($call)*))?) {
                    return Some(concat!(stringify!($node), ".", stringify!($unset)));
                })*
                None
            }
        })*

        #[cfg(test)]
        const FIELDS: &[(&str, &[&str])] = &[
            $((stringify!($node), &[$(stringify!($read),)* $(stringify!($any),)* $(stringify!($unset),)*]),)*
        ];

        /// What the walk is said to read.
        #[cfg(test)]
        const READ: &[(&str, &[&str])] = &[$((stringify!($node), &[$(stringify!($read),)*]),)*];
    };
}

closed! {
    ATAlterConstraint {
        read: [],
        any: [conname alter_enforceability is_enforced alter_deferrability deferrable initdeferred alter_inheritability
              noinherit],
        unset: [],
    }
    AlterSeqStmt {
        read: [sequence options],
        any: [missing_ok],
        unset: [for_identity],
    }
    AlterTableCmd {
        read: [subtype name def behavior],
        // Any change of an owner is one of privileges.
        any: [num newowner missing_ok recurse],
        unset: [],
    }
    AlterTableStmt {
        read: [relation cmds objtype],
        any: [missing_ok],
        unset: [],
    }
    CollateClause {
        read: [],
        any: [collname location],
        unset: [arg()],
    }
    ColumnDef {
        read: [colname type_name raw_default constraints],
        // A collation runs nobody's code.
        any: [coll_clause compression inhcount is_local is_not_null is_from_type storage storage_name identity generated location],
        unset: [cooked_default(), identity_sequence(), coll_oid, fdwoptions()],
    }
    CommentStmt {
        read: [objtype object],
        any: [comment],
        unset: [],
    }
    Constraint {
        read: [contype raw_expr exclusions options indexspace access_method where_clause pktable],
        any: [conname deferrable initdeferred is_enforced skip_validation initially_valid is_no_inherit generated_when
              generated_kind nulls_not_distinct keys without_overlaps including indexname reset_default_tblspc fk_attrs
              pk_attrs fk_with_period pk_with_period fk_matchtype fk_upd_action fk_del_action fk_del_set_cols location],
        unset: [cooked_expr(), old_conpfeqop(), old_pktable_oid],
    }
    CreateSeqStmt {
        read: [sequence options],
        any: [if_not_exists],
        unset: [owner_id, for_identity],
    }
    CreateStmt {
        read: [relation table_elts inh_relations partbound partspec of_typename tablespacename access_method],
        // Parameters of storage are numbers and switches.
        any: [options oncommit if_not_exists],
        unset: [constraints(), nnconstraints()],
    }
    CreateTableAsStmt {
        read: [query into objtype],
        any: [is_select_into if_not_exists],
        unset: [],
    }
    DropStmt {
        read: [objects remove_type behavior concurrent],
        any: [missing_ok],
        unset: [],
    }
    IndexElem {
        read: [name expr opclass],
        any: [collation opclassopts ordering nulls_ordering],
        unset: [indexcolname()],
    }
    IndexStmt {
        read: [relation access_method table_space index_params index_including_params where_clause concurrent],
        any: [idxname options unique nulls_not_distinct if_not_exists],
        unset: [exclude_op_names(), idxcomment(), index_oid, old_number, old_create_subid,
                old_first_relfilelocator_subid, primary, isconstraint, iswithoutoverlaps, deferrable, initdeferred,
                transformed, reset_default_tblspc],
    }
    IntoClause {
        read: [rel access_method table_space_name],
        any: [col_names options on_commit skip_data],
        unset: [view_query()],
    }
    PartitionBoundSpec {
        read: [listdatums lowerdatums upperdatums],
        any: [strategy is_default modulus remainder location],
        unset: [],
    }
    PartitionCmd {
        read: [name bound],
        any: [concurrent],
        unset: [],
    }
    PartitionElem {
        read: [name expr opclass],
        any: [collation location],
        unset: [],
    }
    PartitionSpec {
        read: [strategy part_params],
        any: [location],
        unset: [],
    }
    RenameStmt {
        read: [rename_type relation behavior],
        any: [relation_type object subname newname missing_ok],
        unset: [],
    }
    TableLikeClause {
        read: [relation],
        any: [options],
        unset: [relation_oid],
    }
    TruncateStmt {
        read: [relations behavior],
        any: [restart_seqs],
        unset: [],
    }
    ViewStmt {
        read: [view query replace],
        any: [aliases options with_check_option],
        unset: [],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sql::action::Action;
    use crate::sql::judge_postgres;
    use crate::sql::statement::LexingState;

    /// A field, and two statements that differ in it alone.
    const DIFFER: &[(&str, &str, &str)] = &[
        (
            "AlterSeqStmt.sequence",
            "ALTER SEQUENCE a CYCLE",
            "ALTER SEQUENCE b CYCLE",
        ),
        (
            "AlterSeqStmt.options",
            "ALTER SEQUENCE a AS int",
            "ALTER SEQUENCE a AS evil",
        ),
        (
            "AlterTableCmd.subtype",
            "ALTER TABLE t DROP COLUMN a",
            "ALTER TABLE t DROP CONSTRAINT a",
        ),
        (
            "AlterTableCmd.name",
            "ALTER TABLE t DROP COLUMN a",
            "ALTER TABLE t DROP COLUMN b",
        ),
        (
            "AlterTableCmd.def",
            "ALTER TABLE t ALTER a SET DEFAULT 1",
            "ALTER TABLE t ALTER a SET DEFAULT evil()",
        ),
        (
            "AlterTableCmd.behavior",
            "ALTER TABLE t DROP COLUMN a",
            "ALTER TABLE t DROP COLUMN a CASCADE",
        ),
        (
            "AlterTableStmt.relation",
            "ALTER TABLE t DROP COLUMN a",
            "ALTER TABLE u DROP COLUMN a",
        ),
        (
            "AlterTableStmt.cmds",
            "ALTER TABLE t DROP a",
            "ALTER TABLE t DROP a, ADD b int",
        ),
        (
            "AlterTableStmt.objtype",
            "ALTER TABLE t ALTER a SET DEFAULT 1",
            "ALTER VIEW t ALTER a SET DEFAULT 1",
        ),
        (
            "ColumnDef.colname",
            "CREATE TABLE t (a int)",
            "CREATE TABLE t (b int)",
        ),
        (
            "ColumnDef.type_name",
            "CREATE TABLE t (a int)",
            "CREATE TABLE t (a evil)",
        ),
        (
            "ColumnDef.raw_default",
            "ALTER TABLE t ALTER a TYPE int",
            "ALTER TABLE t ALTER a TYPE int USING evil(a)",
        ),
        (
            "ColumnDef.constraints",
            "CREATE TABLE t (a int)",
            "CREATE TABLE t (a int DEFAULT evil())",
        ),
        (
            "CommentStmt.objtype",
            "COMMENT ON VIEW a IS ''",
            "COMMENT ON SEQUENCE a IS ''",
        ),
        (
            "CommentStmt.object",
            "COMMENT ON TABLE a IS ''",
            "COMMENT ON TABLE b IS ''",
        ),
        (
            "Constraint.contype",
            "CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY)",
            "CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME s))",
        ),
        (
            "Constraint.raw_expr",
            "CREATE TABLE t (CHECK (true))",
            "CREATE TABLE t (CHECK (evil()))",
        ),
        (
            "Constraint.exclusions",
            "CREATE TABLE t (EXCLUDE (a WITH =))",
            "CREATE TABLE t (EXCLUDE (a WITH OPERATOR(evil.=)))",
        ),
        (
            "Constraint.options",
            "CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY (CYCLE))",
            "CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME s))",
        ),
        (
            "Constraint.indexspace",
            "CREATE TABLE t (UNIQUE (a))",
            "CREATE TABLE t (UNIQUE (a) USING INDEX TABLESPACE evil)",
        ),
        (
            "Constraint.access_method",
            "CREATE TABLE t (EXCLUDE USING gist (a WITH =))",
            "CREATE TABLE t (EXCLUDE USING evil (a WITH =))",
        ),
        (
            "Constraint.where_clause",
            "CREATE TABLE t (EXCLUDE (a WITH =))",
            "CREATE TABLE t (EXCLUDE (a WITH =) WHERE (evil()))",
        ),
        (
            "Constraint.pktable",
            "CREATE TABLE t (a int)",
            "CREATE TABLE t (a int REFERENCES evil)",
        ),
        ("CreateSeqStmt.sequence", "CREATE SEQUENCE a", "CREATE SEQUENCE b"),
        (
            "CreateSeqStmt.options",
            "CREATE SEQUENCE a",
            "CREATE SEQUENCE a OWNED BY evil.a",
        ),
        ("CreateStmt.relation", "CREATE TABLE t ()", "CREATE TABLE u ()"),
        (
            "CreateStmt.table_elts",
            "CREATE TABLE t ()",
            "CREATE TABLE t (LIKE evil)",
        ),
        (
            "CreateStmt.inh_relations",
            "CREATE TABLE t ()",
            "CREATE TABLE t () INHERITS (evil)",
        ),
        (
            "CreateStmt.partbound",
            "CREATE TABLE t PARTITION OF u FOR VALUES IN (1)",
            "CREATE TABLE t PARTITION OF u FOR VALUES IN (evil())",
        ),
        (
            "CreateStmt.partspec",
            "CREATE TABLE t ()",
            "CREATE TABLE t () PARTITION BY LIST (evil())",
        ),
        (
            "CreateStmt.of_typename",
            "CREATE TABLE t ()",
            "CREATE TABLE t OF evil",
        ),
        (
            "CreateStmt.tablespacename",
            "CREATE TABLE t ()",
            "CREATE TABLE t () TABLESPACE evil",
        ),
        (
            "CreateStmt.access_method",
            "CREATE TABLE t ()",
            "CREATE TABLE t () USING evil",
        ),
        (
            "CreateTableAsStmt.query",
            "CREATE TABLE t AS SELECT 1",
            "CREATE TABLE t AS SELECT evil()",
        ),
        (
            "CreateTableAsStmt.into",
            "CREATE TABLE t AS SELECT 1",
            "CREATE TABLE u AS SELECT 1",
        ),
        (
            "CreateTableAsStmt.objtype",
            "CREATE TABLE t AS SELECT 1",
            "CREATE MATERIALIZED VIEW t AS SELECT 1",
        ),
        ("DropStmt.objects", "DROP TABLE t", "DROP TABLE t, u"),
        ("DropStmt.remove_type", "DROP TABLE t", "DROP VIEW t"),
        ("DropStmt.behavior", "DROP TABLE t", "DROP TABLE t CASCADE"),
        ("DropStmt.concurrent", "DROP INDEX t", "DROP INDEX CONCURRENTLY t"),
        ("IndexElem.name", "CREATE INDEX ON t (a)", "CREATE INDEX ON t (b)"),
        (
            "IndexElem.expr",
            "CREATE INDEX ON t ((1))",
            "CREATE INDEX ON t ((evil()))",
        ),
        (
            "IndexElem.opclass",
            "CREATE INDEX ON t (a)",
            "CREATE INDEX ON t (a evil)",
        ),
        (
            "IndexStmt.relation",
            "CREATE INDEX ON t (a)",
            "CREATE INDEX ON u (a)",
        ),
        (
            "IndexStmt.access_method",
            "CREATE INDEX ON t (a)",
            "CREATE INDEX ON t USING evil (a)",
        ),
        (
            "IndexStmt.table_space",
            "CREATE INDEX ON t (a)",
            "CREATE INDEX ON t (a) TABLESPACE evil",
        ),
        (
            "IndexStmt.index_params",
            "CREATE INDEX ON t (a)",
            "CREATE INDEX ON t (a, evil(a))",
        ),
        (
            "IndexStmt.index_including_params",
            "CREATE INDEX ON t (a)",
            "CREATE INDEX ON t (a) INCLUDE (b)",
        ),
        (
            "IndexStmt.where_clause",
            "CREATE INDEX ON t (a)",
            "CREATE INDEX ON t (a) WHERE evil()",
        ),
        (
            "IndexStmt.concurrent",
            "CREATE INDEX ON t (a)",
            "CREATE INDEX CONCURRENTLY ON t (a)",
        ),
        (
            "IntoClause.rel",
            "CREATE TABLE t AS SELECT 1",
            "CREATE TABLE u AS SELECT 1",
        ),
        (
            "IntoClause.access_method",
            "CREATE TABLE t AS SELECT 1",
            "CREATE TABLE t USING evil AS SELECT 1",
        ),
        (
            "IntoClause.table_space_name",
            "CREATE TABLE t AS SELECT 1",
            "CREATE TABLE t TABLESPACE evil AS SELECT 1",
        ),
        (
            "PartitionBoundSpec.listdatums",
            "CREATE TABLE t PARTITION OF u FOR VALUES IN (1)",
            "CREATE TABLE t PARTITION OF u FOR VALUES IN (evil())",
        ),
        (
            "PartitionBoundSpec.lowerdatums",
            "CREATE TABLE t PARTITION OF u FOR VALUES FROM (1) TO (2)",
            "CREATE TABLE t PARTITION OF u FOR VALUES FROM (evil()) TO (2)",
        ),
        (
            "PartitionBoundSpec.upperdatums",
            "CREATE TABLE t PARTITION OF u FOR VALUES FROM (1) TO (2)",
            "CREATE TABLE t PARTITION OF u FOR VALUES FROM (1) TO (evil())",
        ),
        (
            "PartitionCmd.name",
            "ALTER TABLE t DETACH PARTITION a",
            "ALTER TABLE t DETACH PARTITION b",
        ),
        (
            "PartitionCmd.bound",
            "ALTER TABLE t ATTACH PARTITION a FOR VALUES IN (1)",
            "ALTER TABLE t ATTACH PARTITION a FOR VALUES IN (evil())",
        ),
        (
            "PartitionElem.name",
            "CREATE TABLE t () PARTITION BY LIST (a)",
            "CREATE TABLE t () PARTITION BY LIST (b)",
        ),
        (
            "PartitionElem.expr",
            "CREATE TABLE t () PARTITION BY LIST ((1))",
            "CREATE TABLE t () PARTITION BY LIST ((evil()))",
        ),
        (
            "PartitionElem.opclass",
            "CREATE TABLE t () PARTITION BY LIST (a)",
            "CREATE TABLE t () PARTITION BY LIST (a evil)",
        ),
        (
            "PartitionSpec.strategy",
            "CREATE TABLE t () PARTITION BY RANGE (a record_image_ops)",
            "CREATE TABLE t () PARTITION BY HASH (a record_image_ops)",
        ),
        (
            "PartitionSpec.part_params",
            "CREATE TABLE t () PARTITION BY RANGE (a)",
            "CREATE TABLE t () PARTITION BY RANGE (a, b)",
        ),
        (
            "RenameStmt.rename_type",
            "ALTER TABLE t RENAME a TO b",
            "ALTER TABLE t RENAME CONSTRAINT a TO b",
        ),
        (
            "RenameStmt.relation",
            "ALTER TABLE t RENAME a TO b",
            "ALTER TABLE u RENAME a TO b",
        ),
        (
            "RenameStmt.behavior",
            "ALTER TABLE t RENAME a TO b",
            "ALTER TYPE t RENAME ATTRIBUTE a TO b CASCADE",
        ),
        (
            "TableLikeClause.relation",
            "CREATE TABLE t (LIKE u)",
            "CREATE TABLE t (LIKE evil)",
        ),
        ("TruncateStmt.relations", "TRUNCATE t", "TRUNCATE t, u"),
        ("TruncateStmt.behavior", "TRUNCATE t", "TRUNCATE t CASCADE"),
        (
            "ViewStmt.view",
            "CREATE VIEW t AS SELECT 1",
            "CREATE VIEW u AS SELECT 1",
        ),
        (
            "ViewStmt.query",
            "CREATE VIEW t AS SELECT 1",
            "CREATE VIEW t AS SELECT evil()",
        ),
        (
            "ViewStmt.replace",
            "CREATE VIEW t AS SELECT 1",
            "CREATE OR REPLACE VIEW t AS SELECT 1",
        ),
    ];

    fn judged(text: &str) -> Action {
        let judgement = judge_postgres(text.as_bytes(), LexingState::default_postgres(), &());
        let action = judgement.actions.into_iter().next().expect(text);
        assert_ne!(action.verb, "unknown", "{text}");
        Action { span: 0..0, ..action }
    }

    #[test]
    fn every_field_of_a_definitions_nodes_has_an_answer() {
        let grammar = include_str!("fields.txt");
        for (node, answered) in FIELDS {
            let line = grammar
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{node}:")));
            let fields: BTreeSet<&str> = line.expect("a node of the grammar").split_whitespace().collect();
            let distinct: BTreeSet<&str> = answered.iter().copied().collect();
            assert_eq!(distinct, fields, "{node}");
            assert_eq!(distinct.len(), answered.len(), "{node} answers twice");
        }
    }

    #[test]
    fn what_is_said_to_be_read_makes_a_difference() {
        let said: BTreeSet<String> = READ
            .iter()
            .flat_map(|(node, fields)| fields.iter().map(move |field| format!("{node}.{field}")))
            .collect();
        let shown: BTreeSet<String> = DIFFER.iter().map(|(field, _, _)| (*field).to_owned()).collect();
        assert_eq!(said, shown);
        for (field, one, other) in DIFFER {
            assert_ne!(judged(one), judged(other), "{field}: `{one}` and `{other}`");
        }
    }
}
