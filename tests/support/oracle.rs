//! What the grammar's own walker, which is C and shares no code with ours, finds in a statement that may pass: all of it
//! must be in the action. So a branch that our walk forgets is found.

use std::panic::{AssertUnwindSafe, catch_unwind};

use countersign::sql::action::{Action, Class};
use countersign::sql::classify::lists;
use pg_raw_parse::nodes::TypeName;
use pg_raw_parse::walk::walk;
use pg_raw_parse::{Node, parse};

/// What is missing in the actions of a text, if anything is. Only queries and writes are compared: the other walker does
/// not enter utility statements.
pub fn missing(text: &str, actions: &[Action]) -> Option<String> {
    let Ok(tree) = parse(text) else { return None };
    let statements: Vec<_> = tree.iter().collect();
    if statements.len() != actions.len() {
        let passes = actions.iter().all(|action| action.class <= Class::Write);
        return passes.then(|| format!("{} statements, {} actions", statements.len(), actions.len()));
    }
    let pairs = statements.iter().zip(actions);
    pairs
        .filter(|(_, action)| action.class <= Class::Write)
        .find_map(|(statement, action)| missing_in(statement.stmt(), action))
}

fn missing_in(statement: Node<'_>, action: &Action) -> Option<String> {
    let compared = matches!(
        statement,
        Node::SelectStmt(_)
            | Node::InsertStmt(_)
            | Node::UpdateStmt(_)
            | Node::DeleteStmt(_)
            | Node::MergeStmt(_)
    );
    if !compared {
        return None;
    }
    let mut found = Vec::new();
    let entered = catch_unwind(AssertUnwindSafe(|| walk(statement, |node| found.push(node))));
    if entered.is_err() {
        return (action.class <= Class::Read)
            .then(|| "a node that the other walker does not know".to_owned());
    }
    let mut ctes = Vec::new();
    for node in &found {
        match node {
            Node::CommonTableExpr(cte) => ctes.extend(cte.ctename()),
            // FOR UPDATE OF names what stands in FROM, by its alias.
            Node::LockingClause(lock) => {
                let locked = lock.locked_rels().into_iter().filter_map(|node| match node {
                    Node::RangeVar(alias) => alias.relname(),
                    _ => None,
                });
                ctes.extend(locked);
            }
            _ => {}
        }
    }
    found.iter().find_map(|node| is_missing(*node, action, &ctes))
}

fn is_missing(node: Node<'_>, action: &Action, ctes: &[&str]) -> Option<String> {
    let is_read = action.class <= Class::Read;
    match node {
        Node::RangeVar(relation) => {
            let name = relation.relname()?;
            let is_cte = relation.schemaname().is_none() && ctes.contains(&name);
            let same = |known: &countersign::sql::action::TableName| {
                known.name == name && known.schema.as_deref() == relation.schemaname()
            };
            (!is_cte && !action.tables.iter().any(same)).then(|| format!("the table `{name}`"))
        }
        Node::FuncCall(call) => {
            let name = call.funcname().into_iter().next_back()?.as_str()?;
            let known = action.functions.iter().any(|known| known.name == name);
            (!known).then(|| format!("the function `{name}`"))
        }
        Node::ColumnRef(column) => {
            let name = column.fields().into_iter().next_back()?.as_str()?;
            (!action.columns.contains(name)).then(|| format!("the column `{name}`"))
        }
        Node::TypeName(name) => {
            let name = last(name)?;
            (!is_listed(name)).then(|| format!("the type `{name}`"))
        }
        Node::A_Expr(operation) => {
            let name = operation.name().into_iter().next_back()?.as_str()?;
            (!lists::is_operator(name) && !name.contains("BETWEEN")).then(|| format!("the operator `{name}`"))
        }
        Node::InsertStmt(_)
        | Node::UpdateStmt(_)
        | Node::DeleteStmt(_)
        | Node::MergeStmt(_)
        | Node::IntoClause(_)
        | Node::LockingClause(_) => is_read.then(|| format!("{node:?} in a read")),
        _ => None,
    }
}

fn last(name: &TypeName) -> Option<&str> {
    name.names().iter().next_back()?.sval()
}

fn is_listed(name: &str) -> bool {
    lists::is_type(name)
        || name.strip_prefix('_').is_some_and(lists::is_type)
        || lists::is_information_domain(name)
}
