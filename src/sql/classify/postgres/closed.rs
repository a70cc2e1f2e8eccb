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

        /// What the walk says that it reads.
        #[cfg(test)]
        pub(super) const READ: &[(&str, &[&str])] = &[$((stringify!($node), &[$(stringify!($read),)*]),)*];
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
        read: [subtype name newowner def behavior],
        any: [num missing_ok recurse],
        unset: [],
    }
    AlterTableStmt {
        read: [relation cmds objtype],
        any: [missing_ok],
        unset: [],
    }
    CollateClause {
        // A collation runs nobody's code.
        read: [],
        any: [collname location],
        unset: [arg()],
    }
    ColumnDef {
        read: [colname type_name raw_default constraints],
        any: [compression inhcount is_local is_not_null is_from_type storage storage_name identity generated location],
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
}
