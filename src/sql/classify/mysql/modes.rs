//! What sql_mode an expression gives, for the few that drivers write.
//! Never guesses: any other expression gives none that is known. Read `utility.rs` next.

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart, Query,
    SelectItem, SetExpr, Value as Literal,
};

use crate::sql::mysql_state::SqlModes;

/// Stands for the modes that are set now. No mode's name and no text of a statement has it, which the lexer sees to.
const CURRENT: &str = "\0";

/// What drivers write: `CONCAT(@@sql_mode, ',A,B')`, `REPLACE(@@sql_mode, 'A', '')`, also inside `(SELECT …)`.
pub(super) fn computed_modes(expr: &Expr, current: SqlModes) -> Option<SqlModes> {
    let text = modes_text(expr, 0)?;
    let mut modes = SqlModes::default();
    for name in text.split(',') {
        let more = if name == CURRENT {
            current
        } else {
            SqlModes::of(name)
        };
        modes = SqlModes {
            ansi_quotes: modes.ansi_quotes || more.ansi_quotes,
            no_backslash_escapes: modes.no_backslash_escapes || more.no_backslash_escapes,
            pipes_as_concat: modes.pipes_as_concat || more.pipes_as_concat,
            high_not_precedence: modes.high_not_precedence || more.high_not_precedence,
            ignore_space: modes.ignore_space || more.ignore_space,
            unreadable: modes.unreadable || more.unreadable,
        };
    }
    Some(modes)
}

/// Nests of these expressions deeper than this are nobody's.
const NESTS_MAX: usize = 20;

fn modes_text(expr: &Expr, depth: usize) -> Option<String> {
    if depth > NESTS_MAX {
        return None;
    }
    match expr {
        Expr::Nested(inner) => modes_text(inner, depth + 1),
        Expr::Subquery(query) => modes_text(only_item(query)?, depth + 1),
        Expr::Identifier(name) => is_sql_mode(std::slice::from_ref(name)).then(|| CURRENT.to_owned()),
        Expr::CompoundIdentifier(parts) => is_sql_mode(parts).then(|| CURRENT.to_owned()),
        Expr::Value(value) => match &value.value {
            Literal::SingleQuotedString(text) | Literal::DoubleQuotedString(text) if !text.contains('\0') => {
                Some(text.clone())
            }
            _ => None,
        },
        Expr::Function(call) => called_modes(call, depth),
        // No other expression is followed.
        _ => None,
    }
}

/// The session's own modes, not the server's.
fn is_sql_mode(parts: &[Ident]) -> bool {
    let is = |part: &Ident, name: &str| part.quote_style.is_none() && part.value.eq_ignore_ascii_case(name);
    match parts {
        [name] => is(name, "@@sql_mode"),
        [scope, name] => {
            (is(scope, "@@session") || is(scope, "@@local")) && name.value.eq_ignore_ascii_case("sql_mode")
        }
        _ => false,
    }
}

/// `(SELECT x)` and nothing besides.
fn only_item(query: &Query) -> Option<&Expr> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let plain = query.with.is_none() && select.from.is_empty() && select.selection.is_none();
    match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(expr)] if plain => Some(expr),
        _ => None,
    }
}

fn called_modes(call: &Function, depth: usize) -> Option<String> {
    let [ObjectNamePart::Identifier(name)] = call.name.0.as_slice() else {
        return None;
    };
    let FunctionArguments::List(list) = &call.args else {
        return None;
    };
    let arguments = list
        .args
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => modes_text(expr, depth + 1),
            _ => None,
        })
        .collect::<Option<Vec<String>>>()?;
    if name.quote_style.is_some() {
        return None;
    }
    if name.value.eq_ignore_ascii_case("concat") {
        return Some(arguments.concat());
    }
    match arguments.as_slice() {
        // What is taken away is one mode that no reading depends on, and nothing is put in its place.
        [text, taken, put] if name.value.eq_ignore_ascii_case("replace") && put.is_empty() => {
            let mode = taken.trim_matches(',');
            let indifferent = !mode.is_empty() && !mode.contains(',') && SqlModes::of(mode).is_usual();
            indifferent.then(|| text.clone())
        }
        _ => None,
    }
}
