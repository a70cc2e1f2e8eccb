//! What a piece of a tree looks like: names, literals, conditions, a lone cancel.
//! Never looks anything up and keeps nothing. Read `relation.rs` next.

use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes;
use pg_raw_parse::raw::{A_Expr_Kind, BoolExprType, LimitOption, NullTestType};
use pg_raw_parse::{ConstValue, Node};

use crate::sql::action::CancelTarget;

/// The parts of a dotted name: schema and name. A database in front can only be the current one.
pub fn qualified(parts: &NodeList) -> Option<(Option<&str>, &str)> {
    let part = |at: usize| parts.get(at).and_then(Node::as_str);
    match parts.len() {
        1 => Some((None, part(0)?)),
        2 => Some((Some(part(0)?), part(1)?)),
        3 => Some((Some(part(1)?), part(2)?)),
        _ => None,
    }
}

/// The parts of a type's name.
pub fn type_word(name: &nodes::TypeName) -> Option<(Option<&str>, &str)> {
    let part = |at: usize| name.names().get(at).and_then(nodes::String::sval);
    match name.names().len() {
        1 => Some((None, part(0)?)),
        2 => Some((Some(part(0)?), part(1)?)),
        3 => Some((Some(part(1)?), part(2)?)),
        _ => None,
    }
}

/// A string literal, with or without a cast to text.
pub fn literal(node: Node<'_>) -> Option<String> {
    match node {
        Node::A_Const(constant) => match constant.val()? {
            ConstValue::String(text) => Some(text.to_owned()),
            ConstValue::Integer(number) => Some(number.to_string()),
            ConstValue::Float(number) => Some(number.to_owned()),
            ConstValue::Boolean(truth) => Some(if truth { "on" } else { "off" }.to_owned()),
            _ => None,
        },
        Node::TypeCast(cast) => {
            let text = matches!(
                type_word(cast.type_name()?),
                Some((None | Some("pg_catalog"), "text"))
            );
            if text { literal(cast.arg()) } else { None }
        }
        _ => None,
    }
}

/// The setting that `FROM pg_settings WHERE name = '…'` picks, if that is all there is.
pub fn setting_row(select: &nodes::SelectStmt) -> Option<String> {
    let (1, Some(Node::RangeVar(relation))) = (select.from_clause().len(), select.from_clause().first())
    else {
        return None;
    };
    let settings = relation.relname() == Some("pg_settings")
        && matches!(relation.schemaname(), None | Some("pg_catalog"));
    let Node::A_Expr(test) = select.where_clause() else {
        return None;
    };
    let equality = test.kind == A_Expr_Kind::AEXPR_OP && matches!(qualified(test.name()), Some((None, "=")));
    match (test.lexpr(), test.rexpr()) {
        (Node::ColumnRef(column), constant @ Node::A_Const(_))
            if settings && equality && is_column_name(column) =>
        {
            literal(constant)
        }
        _ => None,
    }
}

/// The bare column `name`.
pub fn is_column_name(column: &nodes::ColumnRef) -> bool {
    column.fields().len() == 1 && matches!(column.fields().first().and_then(Node::as_str), Some("name"))
}

/// The target of a lone `SELECT pg_cancel_backend(…)`, which the proxy can carry out itself.
pub fn cancel_target(statement: Node<'_>) -> Option<CancelTarget> {
    let Node::SelectStmt(select) = statement else {
        return None;
    };
    let lone = select.from_clause().is_empty()
        && select.target_list().len() == 1
        && select.distinct_clause().is_empty()
        && select.group_clause().is_empty()
        && select.sort_clause().is_empty()
        && select.locking_clause().is_empty()
        && matches!(select.where_clause(), Node::None)
        && matches!(select.having_clause(), Node::None)
        && matches!(select.limit_count(), Node::None)
        && matches!(select.limit_offset(), Node::None)
        && select.larg().is_none()
        && select.with_clause().is_none()
        && select.into_clause().is_none();
    let Some(Node::FuncCall(call)) = select.target_list().first().map(nodes::ResTarget::val) else {
        return None;
    };
    let named = qualified(call.funcname());
    let plain = call.over().is_none() && matches!(call.agg_filter(), Node::None) && !call.agg_distinct;
    let cancels =
        matches!(named, Some((None | Some("pg_catalog"), "pg_cancel_backend"))) && call.args().len() == 1;
    if !(lone && plain && cancels) {
        return None;
    }
    match call.args().first() {
        Some(Node::A_Const(constant)) => match constant.val() {
            Some(ConstValue::Integer(pid)) => Some(CancelTarget::Pid(pid)),
            _ => None,
        },
        Some(Node::ParamRef(parameter)) => u16::try_from(parameter.number).ok().map(CancelTarget::Parameter),
        _ => None,
    }
}

/// How many rows of what it reads a query can pass on: none where a condition narrows them or an aggregate stands for
/// them, as many as a literal LIMIT says, else all.
pub fn reach(select: &nodes::SelectStmt) -> u64 {
    if narrows(select.where_clause()) || is_one_row(select) {
        return 0;
    }
    match select.limit_count() {
        Node::A_Const(count) if select.limit_option == LimitOption::LIMIT_OPTION_COUNT => match count.val() {
            Some(ConstValue::Integer(count)) => u64::try_from(count).unwrap_or(u64::MAX),
            _ => u64::MAX,
        },
        _ => u64::MAX,
    }
}

/// Whether a condition can be false for a row: not one of constants, of a column and itself, or for a value at all.
pub fn narrows(condition: Node<'_>) -> bool {
    match condition {
        Node::None | Node::A_Const(_) => false,
        Node::TypeCast(cast) => narrows(cast.arg()),
        Node::NullTest(test) => test.nulltesttype == NullTestType::IS_NULL,
        Node::BoolExpr(parts) => match parts.boolop {
            BoolExprType::OR_EXPR => parts.args().into_iter().all(narrows),
            BoolExprType::AND_EXPR => parts.args().into_iter().any(narrows),
            _ => true,
        },
        Node::A_Expr(test) => {
            let (left, right) = (test.lexpr(), test.rexpr());
            let says_nothing = (is_constant(left) && is_constant(right)) || is_same_column(left, right);
            !says_nothing
        }
        _ => true,
    }
}

fn is_same_column(left: Node<'_>, right: Node<'_>) -> bool {
    let (Node::ColumnRef(left), Node::ColumnRef(right)) = (left, right) else {
        return false;
    };
    let last = |column: &nodes::ColumnRef| {
        let field = column.fields().into_iter().next_back();
        field.and_then(Node::as_str).map(str::to_owned)
    };
    last(left) == last(right)
}

/// A query without GROUP BY whose results are aggregates that keep no more than a number or one value of its rows.
fn is_one_row(select: &nodes::SelectStmt) -> bool {
    let results = || select.target_list().iter().map(nodes::ResTarget::val);
    select.group_clause().is_empty()
        && results().any(aggregates)
        && results().all(|result| aggregates(result) || is_constant(result))
}

/// Whether a value is made of at least one such aggregate and of nothing but them, constants and operators.
fn aggregates(value: Node<'_>) -> bool {
    const SMALL: [&str; 20] = [
        "avg",
        "bit_and",
        "bit_or",
        "bool_and",
        "bool_or",
        "corr",
        "count",
        "every",
        "max",
        "min",
        "mode",
        "percentile_cont",
        "percentile_disc",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "sum",
        "var_pop",
        "var_samp",
        "variance",
    ];
    match value {
        Node::FuncCall(call) => {
            let small = matches!(qualified(call.funcname()), Some((None | Some("pg_catalog"), name)) if SMALL.contains(&name));
            // Of an array of fractions they make an array.
            let small = small
                && (matches!(call.args().first(), Some(Node::A_Const(fraction)) if matches!(fraction.val(), Some(ConstValue::Integer(_) | ConstValue::Float(_))))
                    || !matches!(
                        qualified(call.funcname()),
                        Some((_, "percentile_cont" | "percentile_disc"))
                    ));
            let converts = matches!(
                qualified(call.funcname()),
                Some((None | Some("pg_catalog"), "round"))
            );
            call.over().is_none()
                && (small
                    || converts
                        && call.args().first().is_some_and(aggregates)
                        && call.args().into_iter().skip(1).all(is_constant))
        }
        Node::TypeCast(cast) => aggregates(cast.arg()),
        Node::CoalesceExpr(first) => {
            first.args().first().is_some_and(aggregates)
                && first
                    .args()
                    .into_iter()
                    .skip(1)
                    .all(|other| aggregates(other) || is_constant(other))
        }
        Node::A_Expr(operation) => {
            let (left, right) = (operation.lexpr(), operation.rexpr());
            operation.kind == A_Expr_Kind::AEXPR_OP
                && (aggregates(left) && (aggregates(right) || is_constant(right))
                    || is_constant(left) && aggregates(right))
        }
        _ => false,
    }
}

/// Whether a value has no type until something gives it one: any function or operator can take it.
pub fn is_untyped(value: Node<'_>) -> bool {
    match value {
        Node::A_Const(constant) => matches!(constant.val(), None | Some(ConstValue::String(_))),
        Node::ParamRef(_) => true,
        Node::CollateClause(collate) => is_untyped(collate.arg()),
        Node::A_Indirection(indirection) => is_untyped(indirection.arg()),
        Node::NamedArgExpr(argument) => is_untyped(argument.arg()),
        Node::RowExpr(row) => row.args().into_iter().any(is_untyped),
        Node::NodeList(list) => list.into_iter().any(is_untyped),
        _ => false,
    }
}

/// AND-ed equality or IN of columns with constants or parameters, and nothing else. `= ANY` over an array of constants,
/// in the text or in a parameter, is IN as drivers that bind lists spell it: it reaches the rows that are listed.
/// `is_certain` says whether a name behind a dot is a column, and no call of a function with the row.
pub fn is_bounded(condition: Node<'_>, is_certain: &dyn Fn(&nodes::ColumnRef) -> bool) -> bool {
    let is_column = |node| is_column(node, is_certain);
    match condition {
        Node::BoolExpr(all) if all.boolop == BoolExprType::AND_EXPR => {
            all.args().into_iter().all(|part| is_bounded(part, is_certain))
        }
        Node::A_Expr(test) => {
            let equality = matches!(qualified(test.name()), Some((None | Some("pg_catalog"), "=")));
            let (left, right) = (test.lexpr(), test.rexpr());
            equality
                && match test.kind {
                    A_Expr_Kind::AEXPR_OP => {
                        (is_column(left) && is_constant(right)) || (is_constant(left) && is_column(right))
                    }
                    A_Expr_Kind::AEXPR_OP_ANY => is_column(left) && is_constant_array(right),
                    A_Expr_Kind::AEXPR_IN => {
                        is_column(left)
                            && right
                                .as_node_list()
                                .is_some_and(|list| list.into_iter().all(is_constant))
                    }
                    _ => false,
                }
        }
        _ => false,
    }
}

/// A column that tells rows apart; those that the server gives to every row of a table do not.
fn is_column(node: Node<'_>, is_certain: &dyn Fn(&nodes::ColumnRef) -> bool) -> bool {
    const OF_EVERY_ROW: [&str; 5] = ["tableoid", "xmin", "xmax", "cmin", "cmax"];
    let Node::ColumnRef(column) = node else {
        return false;
    };
    let named = column
        .fields()
        .into_iter()
        .all(|part| matches!(part, Node::String(_)));
    let last = column.fields().into_iter().next_back().and_then(Node::as_str);
    named && last.is_some_and(|name| !OF_EVERY_ROW.contains(&name)) && is_certain(column)
}

fn is_constant_array(node: Node<'_>) -> bool {
    match node {
        Node::A_ArrayExpr(array) => array.elements().into_iter().all(is_constant),
        Node::TypeCast(cast) => is_constant_array(cast.arg()),
        node => is_constant(node),
    }
}

fn is_constant(node: Node<'_>) -> bool {
    match node {
        Node::A_Const(constant) => !matches!(constant.val(), Some(ConstValue::Unrecognized(_))),
        Node::ParamRef(_) => true,
        Node::TypeCast(cast) => is_constant(cast.arg()),
        // A negative number.
        Node::A_Expr(sign) => {
            sign.kind == A_Expr_Kind::AEXPR_OP
                && matches!(qualified(sign.name()), Some((None, "-" | "+")))
                && matches!(sign.lexpr(), Node::None)
                && is_constant(sign.rexpr())
        }
        _ => false,
    }
}
