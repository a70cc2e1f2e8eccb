//! ALTER TABLE and its kin: each subcommand has a lock of its own, and the strongest of a statement counts.
//! Never takes a subcommand that it does not know for a weak one: ACCESS EXCLUSIVE is the rule, the others are exceptions.
//!
//! Source: PostgreSQL docs, sql-altertable.html; src/backend/commands/tablecmds.c, AlterTableGetLockLevel

use pg_raw_parse::Node;
use pg_raw_parse::nodes;
use pg_raw_parse::raw::{AlterTableType as Kind, ConstrType, ObjectType};

use super::statement::{Reader, name_of};
use super::{Mode, Until};

/// Storage parameters that are changed under SHARE UPDATE EXCLUSIVE; those beginning with `autovacuum_` too.
/// Source: PostgreSQL docs, sql-altertable.html, SET ( storage_parameter ); src/backend/access/common/reloptions.c
const WEAK_PARAMETERS: [&str; 9] = [
    "fillfactor",
    "toast_tuple_target",
    "parallel_workers",
    "log_autovacuum_min_duration",
    "vacuum_truncate",
    "vacuum_index_cleanup",
    "vacuum_max_eager_freeze_failure_rate",
    "deduplicate_items",
    "n_distinct",
];

impl Reader<'_> {
    pub(super) fn alter(&mut self, alter: &nodes::AlterTableStmt) {
        if alter.objtype == ObjectType::OBJECT_TYPE {
            return self.not_known("on tables that the statement does not name");
        }
        let Some(relation) = alter.relation() else {
            return self.not_known("how this kind of statement locks");
        };
        for command in alter.cmds() {
            let Node::AlterTableCmd(command) = command else {
                return self.not_known("how this kind of statement locks");
            };
            let (mode, besides) = level(command);
            let concurrent = matches!(command.def(), Node::PartitionCmd(partition) if partition.concurrent);
            let until = if concurrent {
                Until::ItIsDone
            } else {
                Until::TransactionEnds
            };
            self.add(name_of(relation), mode, until, besides);
            self.others(command);
        }
    }

    /// Tables besides the one that is altered.
    fn others(&mut self, command: &nodes::AlterTableCmd) {
        match command.def() {
            Node::ColumnDef(column) => self.elements(column.constraints()),
            Node::Constraint(constraint) => self.lock(constraint.pktable(), Mode::ShareRowExclusive),
            Node::PartitionCmd(partition) => match command.subtype {
                Kind::AT_AttachPartition => self.lock_with(
                    partition.name(),
                    Mode::AccessExclusive,
                    "so is a default partition; rows are checked unless a constraint proves them",
                ),
                _ => self.lock(partition.name(), Mode::AccessExclusive),
            },
            Node::RangeVar(parent) => self.lock(Some(parent), Mode::ShareUpdateExclusive),
            _ => {}
        }
    }
}

/// The lock on the table itself, and what takes long under it.
fn level(command: &nodes::AlterTableCmd) -> (Mode, Option<&'static str>) {
    match command.subtype {
        Kind::AT_SetStatistics
        | Kind::AT_ClusterOn
        | Kind::AT_DropCluster
        | Kind::AT_SetOptions
        | Kind::AT_ResetOptions
        | Kind::AT_AttachPartition
        | Kind::AT_DetachPartitionFinalize => (Mode::ShareUpdateExclusive, None),
        Kind::AT_ValidateConstraint => (Mode::ShareUpdateExclusive, Some("it checks every row meanwhile")),
        Kind::AT_DetachPartition if is_concurrent(command) => (
            Mode::ShareUpdateExclusive,
            Some("it waits for every older transaction"),
        ),
        Kind::AT_SetRelOptions | Kind::AT_ResetRelOptions if has_weak_parameters(command) => {
            (Mode::ShareUpdateExclusive, None)
        }
        Kind::AT_EnableTrig
        | Kind::AT_EnableAlwaysTrig
        | Kind::AT_EnableReplicaTrig
        | Kind::AT_EnableTrigAll
        | Kind::AT_EnableTrigUser
        | Kind::AT_DisableTrig
        | Kind::AT_DisableTrigAll
        | Kind::AT_DisableTrigUser => (Mode::ShareRowExclusive, None),
        Kind::AT_AddConstraint => constraint_level(command.def()),
        Kind::AT_AddColumn => (Mode::AccessExclusive, new_column(command.def())),
        Kind::AT_AlterColumnType => (
            Mode::AccessExclusive,
            Some("it may rewrite the whole table and its indexes meanwhile"),
        ),
        Kind::AT_SetLogged
        | Kind::AT_SetUnLogged
        | Kind::AT_SetAccessMethod
        | Kind::AT_SetTableSpace
        | Kind::AT_SetExpression => (
            Mode::AccessExclusive,
            Some("it rewrites the whole table meanwhile"),
        ),
        Kind::AT_SetNotNull => (
            Mode::AccessExclusive,
            Some("it checks every row meanwhile, unless a constraint proves it"),
        ),
        // All others, those of newer servers included.
        _ => (Mode::AccessExclusive, None),
    }
}

fn constraint_level(definition: Node<'_>) -> (Mode, Option<&'static str>) {
    let Node::Constraint(constraint) = definition else {
        return (Mode::AccessExclusive, None);
    };
    let checks = (!constraint.skip_validation).then_some("it checks every row meanwhile");
    match constraint.contype {
        ConstrType::CONSTR_FOREIGN => (Mode::ShareRowExclusive, checks),
        ConstrType::CONSTR_CHECK | ConstrType::CONSTR_NOTNULL => (Mode::AccessExclusive, checks),
        ConstrType::CONSTR_PRIMARY | ConstrType::CONSTR_UNIQUE if constraint.indexname().is_some() => {
            (Mode::AccessExclusive, None)
        }
        ConstrType::CONSTR_PRIMARY | ConstrType::CONSTR_UNIQUE | ConstrType::CONSTR_EXCLUSION => {
            (Mode::AccessExclusive, Some("it builds an index meanwhile"))
        }
        _ => (Mode::AccessExclusive, None),
    }
}

/// A constant default is kept beside the table; whatever must be computed for each row is written into it.
fn new_column(definition: Node<'_>) -> Option<&'static str> {
    let Node::ColumnDef(column) = definition else {
        return None;
    };
    let mut computed = false;
    let mut has_checks = false;
    for constraint in column.constraints() {
        let Node::Constraint(constraint) = constraint else {
            continue;
        };
        match constraint.contype {
            ConstrType::CONSTR_DEFAULT => computed |= !is_constant(constraint.raw_expr()),
            ConstrType::CONSTR_IDENTITY | ConstrType::CONSTR_GENERATED => computed = true,
            ConstrType::CONSTR_PRIMARY
            | ConstrType::CONSTR_UNIQUE
            | ConstrType::CONSTR_CHECK
            | ConstrType::CONSTR_FOREIGN => has_checks = true,
            _ => {}
        }
    }
    match (computed, has_checks) {
        (true, _) => Some("it may rewrite the whole table meanwhile"),
        (false, true) => Some("it checks every row meanwhile"),
        (false, false) => None,
    }
}

fn is_constant(expression: Node<'_>) -> bool {
    match expression {
        Node::A_Const(_) => true,
        Node::TypeCast(cast) => is_constant(cast.arg()),
        _ => false,
    }
}

fn is_concurrent(command: &nodes::AlterTableCmd) -> bool {
    matches!(command.def(), Node::PartitionCmd(partition) if partition.concurrent)
}

fn has_weak_parameters(command: &nodes::AlterTableCmd) -> bool {
    let Node::NodeList(options) = command.def() else {
        return false;
    };
    options.into_iter().all(|option| match option {
        Node::DefElem(option) => {
            let name = option.defname().unwrap_or_default();
            WEAK_PARAMETERS.contains(&name) || name.starts_with("autovacuum_")
        }
        _ => false,
    })
}
