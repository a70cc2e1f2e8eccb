//! The EXPLAIN that a MySQL server may be asked about a statement that waits, and what it answers. Never asks about anything
//! but a SELECT over plain tables. Read `../plan.rs` for PostgreSQL's, and why the text is judged again.
//!
//! Why only that: these servers run subqueries, derived tables and stored functions when they explain, and refuse to
//! explain a write where they may not write. So a DELETE or an UPDATE is asked about by the rows that its WHERE finds.

use std::sync::Arc;

use super::View;
use crate::catalog::plan::Planned;
use crate::sql::PARSE_BYTES_MAX;
use crate::sql::action::{Action, Class, Judgement};
use crate::sql::judge_mysql;
use crate::sql::lex::mysql::{Kind, Token, scan};
use crate::sql::mysql_state::MysqlState;
use crate::sql::names::Catalog as _;

/// Words that make more of a statement than one SELECT over tables, or have it lock rows.
const NOT_PLAIN: [&str; 18] = [
    "with",
    "union",
    "intersect",
    "except",
    "minus",
    "lateral",
    "json_table",
    "procedure",
    "for",
    "lock",
    "returning",
    "duplicate",
    "using",
    "values",
    "value",
    "table",
    "outfile",
    "dumpfile",
];

/// Words and functions behind which fewer rows come out than are read.
const FEWER: [&str; 24] = [
    "group",
    "distinct",
    "distinctrow",
    "having",
    "limit",
    "fetch",
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "group_concat",
    "bit_and",
    "bit_or",
    "bit_xor",
    "std",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "var_pop",
    "var_samp",
    "variance",
    "json_arrayagg",
    "json_objectagg",
];

/// An EXPLAIN that may be sent: nothing in it runs anybody's code, and nothing is written or locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explainable {
    pub text: String,
    /// It is what EXPLAIN is run as, judged as any other text.
    pub judgement: Arc<Judgement>,
    /// Which of the message's parameters are in it, counted from 0.
    pub parameters: Vec<usize>,
    /// `insert`, `update` or `delete`, and the only table that the statement names; `None`: it writes nothing, or it names
    /// several.
    pub writes: Option<(&'static str, String)>,
    /// As many rows are read; what comes out of them, or is written, may be fewer.
    pub has_fewer: bool,
}

/// The EXPLAIN of a message, or why there can be none. `state`: how the connection reads that will ask.
pub fn explainable(
    message: &[u8],
    judged: &Judgement,
    state: &MysqlState,
    catalog: Option<&View>,
) -> Result<Explainable, String> {
    let [action] = judged.actions.as_slice() else {
        return Err("it is several statements".to_owned());
    };
    let Some(catalog) = catalog else {
        return Err("no catalog is configured, so what planning it would run is not known".to_owned());
    };
    let statement = message.get(action.span.clone()).unwrap_or_default();
    let statement = std::str::from_utf8(statement).map_err(|_| "it is not valid UTF-8".to_owned())?;
    let piece = Piece::of(statement, action, state)?;
    if !piece.parameters.is_empty() && piece.text.contains(':') {
        return Err("it has parameters and a colon, with which the server cannot be asked".to_owned());
    }
    if piece.text.len() > PARSE_BYTES_MAX {
        return Err("it is too long".to_owned());
    }
    let judgement = judge_mysql(piece.text.as_bytes(), state, &Planned { catalog });
    let [explain] = judgement.actions.as_slice() else {
        return Err("it cannot be explained".to_owned());
    };
    if explain.verb != "explain" || explain.class != Class::Read || !explain.effects.is_empty() {
        let why = explain
            .reasons
            .last()
            .map_or("it is not fully understood", String::as_str);
        return Err(format!("planning it could run code: {why}"));
    }
    let is_own = |name: &&_| !catalog.functions(name).is_empty();
    if let Some(function) = explain.functions.iter().find(is_own) {
        return Err(format!("planning it could run `{function}`"));
    }
    if let Some(other) = explain.tables.iter().find(|table| !catalog.is_plain(table)) {
        return Err(format!("`{other}` is no plain table"));
    }
    let mut tables = explain.tables.iter();
    let only = tables.next().filter(|_| tables.next().is_none());
    let written = match action.verb.as_str() {
        "update" => Some("update"),
        "delete" => Some("delete"),
        _ => None,
    };
    Ok(Explainable {
        writes: written.zip(only).map(|(verb, table)| (verb, catalog.told(table))),
        text: piece.text,
        judgement: Arc::new(judgement),
        parameters: piece.parameters,
        has_fewer: piece.has_fewer,
    })
}

/// The SELECT that stands for a statement.
struct Piece {
    text: String,
    parameters: Vec<usize>,
    has_fewer: bool,
}

impl Piece {
    /// Whatever this cuts wrongly, the judgement of the whole finds out.
    fn of(statement: &str, action: &Action, state: &MysqlState) -> Result<Self, String> {
        let scan = scan(statement, 0, state);
        if scan.refused.is_some() || scan.has_executable_comment {
            return Err("it is not fully understood".to_owned());
        }
        let tokens = scan.tokens.as_slice();
        let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token.is(statement, word));
        let first = |word: &str| tokens.iter().position(|token| token.is(statement, word));
        let ranges = match action.verb.as_str() {
            "select" => vec![("", 0, tokens.len())],
            "insert" | "replace" => {
                let Some(select) = first("select") else {
                    return Err("it lists the rows that it writes".to_owned());
                };
                vec![("", select, tokens.len())]
            }
            "delete" if is(1, "from") => vec![("SELECT 1 ", 1, tokens.len())],
            "update" => {
                let Some(set) = first("set") else {
                    return Err("it cannot be explained".to_owned());
                };
                let tail = ["where", "order", "limit"].iter().filter_map(|word| {
                    let behind = tokens.get(set..).unwrap_or_default();
                    let at = outermost(behind, statement, word)?;
                    Some(set + at)
                });
                let tail = tail.min().unwrap_or(tokens.len());
                vec![("SELECT 1 FROM ", 1, set), (" ", tail, tokens.len())]
            }
            "delete" => return Err("it deletes from one of several tables".to_owned()),
            "execute" => {
                return Err("it runs a statement that was prepared on its own connection".to_owned());
            }
            verb => return Err(format!("{verb} has no plan")),
        };
        let mut text = "EXPLAIN ".to_owned();
        let mut parameters = Vec::new();
        let mut has_fewer = false;
        let mut selects = 0;
        let is_parameter = |token: &&Token| token.kind == Kind::Parameter;
        for (before, from, to) in ranges {
            let cut = tokens.get(from..to).unwrap_or_default();
            let (Some(head), Some(last)) = (cut.first(), cut.last()) else {
                continue;
            };
            text.push_str(before);
            text.push_str(
                statement
                    .get(head.start as usize..last.end as usize)
                    .unwrap_or_default(),
            );
            let earlier = tokens.iter().take(from).filter(is_parameter).count();
            parameters.extend((earlier..).take(cut.iter().filter(is_parameter).count()));
            for token in cut {
                if token.kind == Kind::Semicolon {
                    return Err("it is several statements".to_owned());
                }
                let is_one_of = |words: &[&str]| words.iter().any(|word| token.is(statement, word));
                if is_one_of(&NOT_PLAIN) {
                    let word = token.text(statement).to_lowercase();
                    return Err(format!("it is more than a plain SELECT: it says `{word}`"));
                }
                has_fewer |= is_one_of(&FEWER);
                selects += usize::from(token.is(statement, "select"));
            }
        }
        if selects > usize::from(matches!(action.verb.as_str(), "select" | "insert" | "replace")) {
            return Err("it has a subquery, which the server would run to plan it".to_owned());
        }
        Ok(Self {
            text,
            parameters,
            has_fewer,
        })
    }
}

/// Where a word stands outside all parentheses.
fn outermost(tokens: &[Token], text: &str, word: &str) -> Option<usize> {
    let mut depth = 0_usize;
    tokens.iter().position(|token| {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.is(text, word)
    })
}

/// One line of what EXPLAIN answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    pub select_type: String,
    pub rows: Option<f64>,
    /// Per cent of the rows that the conditions leave, where the server tells it.
    pub filtered: Option<f64>,
    pub extra: String,
}

/// Rows that the planner expects of a join: what each table gives for a row of those before it.
/// Source: MySQL manual, explain-output.html; MariaDB knowledge base, explain
pub fn estimate(lines: &[Line]) -> Result<u64, String> {
    if lines.is_empty() {
        return Err("the plan cannot be read".to_owned());
    }
    let mut rows = 1.0;
    for line in lines {
        if line.select_type != "SIMPLE" {
            return Err("its plan has parts of its own".to_owned());
        }
        let found = match line.rows {
            Some(rows) => rows * line.filtered.unwrap_or(100.0) / 100.0,
            None if finds_nothing(&line.extra) => 0.0,
            None => return Err("the server does not tell how many rows it expects".to_owned()),
        };
        rows *= found;
    }
    // Saturates, as casts of floats do. Less than one row is one that may be there.
    Ok(if rows > 0.0 {
        rows.round().max(1.0) as u64
    } else {
        0
    })
}

/// What the server has looked up already: there is no such row now.
fn finds_nothing(extra: &str) -> bool {
    let extra = extra.to_ascii_lowercase();
    extra.starts_with("impossible ") || extra.starts_with("no matching row")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str) -> Result<(String, Vec<usize>), String> {
        let state = MysqlState::default_mariadb();
        let judged = judge_mysql(text.as_bytes(), &state, &());
        let piece = Piece::of(text, &judged.actions[0], &state)?;
        Ok((piece.text, piece.parameters))
    }

    #[test]
    fn a_write_is_asked_about_by_the_rows_that_its_where_finds() {
        let found = |text| piece(text).expect("a plan");
        assert_eq!(
            found("DELETE FROM app.t WHERE a > ? ORDER BY b"),
            (
                "EXPLAIN SELECT 1 FROM app.t WHERE a > ? ORDER BY b".to_owned(),
                vec![0]
            )
        );
        assert_eq!(
            found("UPDATE t SET a = ?, b = (1 + ?) WHERE c = ? AND d = ?"),
            (
                "EXPLAIN SELECT 1 FROM t WHERE c = ? AND d = ?".to_owned(),
                vec![2, 3]
            )
        );
        assert_eq!(found("UPDATE t SET a = 1").0, "EXPLAIN SELECT 1 FROM t");
        assert_eq!(
            found("INSERT INTO t (a) SELECT a FROM u WHERE b = ?").0,
            "EXPLAIN SELECT a FROM u WHERE b = ?"
        );
    }

    #[test]
    fn what_the_server_would_run_to_plan_it_is_not_asked_about() {
        for text in [
            "DELETE FROM t WHERE a = (SELECT 1)",
            "UPDATE t SET a = 1 WHERE b IN (SELECT c FROM u)",
            "INSERT INTO t VALUES (1)",
            "DELETE t FROM t JOIN u ON t.a = u.a",
            "SELECT a FROM t UNION SELECT b FROM u",
            "WITH d AS (SELECT 1 AS a) SELECT a FROM d",
            "SELECT a FROM t FOR UPDATE",
            "DROP TABLE t",
        ] {
            assert!(piece(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_plan_counts_the_rows_of_a_join() {
        let line = |rows, filtered, extra: &str| Line {
            select_type: "SIMPLE".to_owned(),
            rows,
            filtered,
            extra: extra.to_owned(),
        };
        assert_eq!(
            estimate(&[line(Some(20.0), Some(50.0), ""), line(Some(3.0), None, "")]),
            Ok(30)
        );
        assert_eq!(estimate(&[line(Some(10.0), Some(1.0), "")]), Ok(1));
        assert_eq!(
            estimate(&[line(
                None,
                None,
                "Impossible WHERE noticed after reading const tables"
            )]),
            Ok(0)
        );
        assert!(estimate(&[line(None, None, "Select tables optimized away")]).is_err());
        assert!(estimate(&[]).is_err());
        let derived = Line {
            select_type: "DERIVED".to_owned(),
            ..line(Some(1.0), None, "")
        };
        assert!(estimate(&[derived]).is_err());
    }
}
