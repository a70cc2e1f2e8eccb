//! How many rows of what it reads a query can pass on: none behind a condition that narrows them or under an aggregate that
//! stands for them, as many as a literal LIMIT says, else all.
//! Never judges what a condition finds: that it can be false is enough. Read `query.rs` next.

use sqlparser::ast::{
    BinaryOperator, Expr, Fetch, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr,
    LimitClause, Select, SelectItem, UnaryOperator, Value,
};

use super::manipulate::is_constant;

/// What is not a number in the text may be any.
pub(super) fn limit(limit: Option<&LimitClause>, fetch: Option<&Fetch>) -> u64 {
    let number = |expr: Option<&Expr>| match expr {
        Some(Expr::Value(value)) => match &value.value {
            Value::Number(number, _) => number.parse().unwrap_or(u64::MAX),
            _ => u64::MAX,
        },
        Some(_) | None => u64::MAX,
    };
    let limited = match limit {
        Some(LimitClause::LimitOffset { limit, .. }) => number(limit.as_ref()),
        Some(LimitClause::OffsetCommaLimit { offset: _, limit }) => number(Some(limit)),
        None => u64::MAX,
    };
    let fetched = match fetch {
        Some(fetch) if !fetch.with_ties && !fetch.percent => number(fetch.quantity.as_ref()),
        Some(_) | None => u64::MAX,
    };
    limited.min(fetched)
}

/// Whether a condition can be false for a row: not one of constants, or of a value and itself.
pub(super) fn narrows(condition: &Expr) -> bool {
    match condition {
        Expr::Nested(inner) => narrows(inner),
        Expr::UnaryOp {
            op: UnaryOperator::Not | UnaryOperator::BangNot,
            expr,
        } => narrows(expr),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => narrows(left) || narrows(right),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Or,
            right,
        } => narrows(left) && narrows(right),
        Expr::BinaryOp { left, op: _, right } => {
            !(is_same(left, right) || says_nothing(left) && says_nothing(right))
        }
        Expr::IsTrue(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotFalse(inner)
        | Expr::IsNull(inner) => narrows(inner) || !says_nothing(inner),
        // What has a value mostly, as keys always have.
        Expr::IsNotNull(_) => false,
        other => !says_nothing(other),
    }
}

fn says_nothing(value: &Expr) -> bool {
    match value {
        Expr::Nested(inner) => says_nothing(inner),
        Expr::Identifier(name) => name.quote_style.is_none() && name.value.starts_with('@'),
        other => is_constant(other),
    }
}

/// Compared by what is written: the places in the text that the tree keeps count as equal.
fn is_same(left: &Expr, right: &Expr) -> bool {
    let is_column = |expr: &Expr| matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    is_column(left) && is_column(right) && left == right
}

/// A query without GROUP BY whose results are aggregates that keep no more than a number or one value of its rows.
pub(super) fn is_one_row(select: &Select) -> bool {
    let is_grouped = match &select.group_by {
        GroupByExpr::Expressions(keys, modifiers) => !keys.is_empty() || !modifiers.is_empty(),
        GroupByExpr::All(_) => true,
    };
    let results = || {
        select.projection.iter().map(|item| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, alias: _ } => Some(expr),
            SelectItem::ExprWithAliases { .. }
            | SelectItem::QualifiedWildcard(..)
            | SelectItem::Wildcard(_) => None,
        })
    };
    !is_grouped
        && results().any(|result| result.is_some_and(aggregates))
        && results().all(|result| result.is_some_and(|expr| aggregates(expr) || is_constant(expr)))
}

/// Whether a value is made of at least one such aggregate and of nothing but them, constants and operators.
fn aggregates(value: &Expr) -> bool {
    const SMALL: [&str; 15] = [
        "avg",
        "bit_and",
        "bit_or",
        "bit_xor",
        "count",
        "max",
        "min",
        "std",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "sum",
        "var_pop",
        "var_samp",
        "variance",
    ];
    const OF_ONE: [&str; 3] = ["coalesce", "ifnull", "round"];
    match value {
        Expr::Nested(inner) => aggregates(inner),
        Expr::Cast { expr, .. } => aggregates(expr),
        Expr::BinaryOp { left, op: _, right } => {
            (aggregates(left) && (aggregates(right) || is_constant(right)))
                || (is_constant(left) && aggregates(right))
        }
        Expr::Function(call) if call.over.is_none() => match name_of(call) {
            Some(name) if SMALL.contains(&name.as_str()) => true,
            Some(name) if OF_ONE.contains(&name.as_str()) => {
                let mut arguments = arguments(call).into_iter();
                arguments.next().flatten().is_some_and(aggregates)
                    && arguments
                        .all(|other| other.is_some_and(|other| aggregates(other) || is_constant(other)))
            }
            Some(_) | None => false,
        },
        _ => false,
    }
}

/// Whether a call makes one value of as many rows as there are: a LIMIT behind it limits nothing.
pub(super) fn gathers(call: &Function) -> bool {
    name_of(call)
        .is_some_and(|name| ["group_concat", "json_arrayagg", "json_objectagg"].contains(&name.as_str()))
}

/// Without a schema, in small letters.
fn name_of(call: &Function) -> Option<String> {
    let [part] = call.name.0.as_slice() else {
        return None;
    };
    part.as_ident().map(|name| name.value.to_ascii_lowercase())
}

fn arguments(call: &Function) -> Vec<Option<&Expr>> {
    let FunctionArguments::List(list) = &call.args else {
        return Vec::new();
    };
    list.args
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect()
}
