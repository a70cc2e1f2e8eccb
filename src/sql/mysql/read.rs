//! Trees of our own words: sqlparser's parser, fed by our scanner, never by its own.
//! Never decides what a statement does. Read `plain.rs` next.
//!
//! Why its tokenizer is not used: it cuts strings, comments and words as no server does, and what the parser makes of the
//! words alone has been compared with real servers.

use sqlparser::ast::{Expr, Statement};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token as Foreign;

use super::dialect::ServerDialect;
use super::plain::plain;
use crate::sql::lex::mysql::Token;
use crate::sql::mysql_state::MysqlState;

/// How deep sqlparser may recurse; twice for each level that `lex` lets through, and some for the statement.
const RECURSION_MAX: usize = 300;

/// All of these tokens as one statement.
pub fn statement(text: &str, tokens: &[Token], state: &MysqlState) -> Result<Statement, String> {
    whole(text, tokens, state, |parser| parser.parse_statement())
}

/// All of these tokens as one expression.
pub fn expression(text: &str, tokens: &[Token], state: &MysqlState) -> Result<Expr, String> {
    whole(text, tokens, state, |parser| parser.parse_expr())
}

fn whole<T>(
    text: &str,
    tokens: &[Token],
    state: &MysqlState,
    parse: impl FnOnce(&mut Parser) -> Result<T, ParserError>,
) -> Result<T, String> {
    let mut parser = Parser::new(&ServerDialect)
        .with_recursion_limit(RECURSION_MAX)
        .with_tokens_with_locations(plain(text, tokens, state));
    let tree = parse(&mut parser).map_err(|error| complaint(&error))?;
    let next = parser.peek_token_ref();
    match next.token {
        Foreign::EOF => Ok(tree),
        _ => Err(from_byte(next.span.start.column)),
    }
}

/// What the parser says, without the piece of text that it points at: that may be a secret.
fn complaint(error: &ParserError) -> String {
    let place = match error {
        ParserError::RecursionLimitExceeded => return "is nested too deeply to be parsed".to_owned(),
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => {
            message.rsplit_once("Column: ").map(|(_, column)| column)
        }
    };
    match place.and_then(|column| column.trim().parse().ok()) {
        Some(column) => from_byte(column),
        None => "cannot be parsed".to_owned(),
    }
}

/// Columns count from 1 and bytes from 0; a reviewer's editor counts from 1.
fn from_byte(column: u64) -> String {
    match column {
        0 => "cannot be parsed at its end".to_owned(),
        column => format!("cannot be parsed from byte {column} on"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::lex::mysql::scan;

    fn read(text: &str) -> Result<String, String> {
        let state = MysqlState::default_mysql();
        let scan = scan(text, 0, &state);
        assert_eq!(scan.refused, None, "{text}");
        statement(text, &scan.tokens, &state).map(|tree| tree.to_string())
    }

    #[test]
    fn what_servers_read_and_sqlparser_does_not_is_put_in_its_words() {
        for (text, like) in [
            (
                "SELECT SQL_CACHE DISTINCTROW a FROM t",
                "SELECT DISTINCT a FROM t",
            ),
            ("SELECT a FROM t LOCK IN SHARE MODE", "SELECT a FROM t FOR SHARE"),
            (
                "SELECT a FROM t LIMIT 2 ROWS EXAMINED 9",
                "SELECT a FROM t LIMIT 2",
            ),
            ("SELECT a FROM t LIMIT ROWS EXAMINED 9", "SELECT a FROM t"),
            (
                "SELECT a MOD b, MOD(a, b), 7 MOD (2)",
                "SELECT a % b, MOD(a, b), 7 % (2)",
            ),
            ("SELECT a SOUNDS LIKE 'b'", "SELECT a LIKE 'b'"),
            ("SELECT INTERVAL(1, 2, 3)", "SELECT INTERVAL(1, 2, 3)"),
            ("SELECT a + INTERVAL (1) DAY_HOUR", "SELECT a + INTERVAL (1) DAY"),
            ("SELECT EXTRACT(YEAR_MONTH FROM a)", "SELECT EXTRACT(YEAR FROM a)"),
            ("SELECT NEXT VALUE FOR a.s", "SELECT NEXTVAL(a.s)"),
            ("SELECT CHAR(65, 66 USING utf8)", "SELECT CHAR(65, 66)"),
            (
                "SELECT WEIGHT_STRING(a AS CHAR(3)), f(a AS b)",
                "SELECT WEIGHT_STRING(a), f(a)",
            ),
            (
                "SELECT a FROM t FOR SYSTEM_TIME AS OF TIMESTAMP '2020-01-01' x",
                "SELECT a FROM t x",
            ),
            (
                "SELECT a FROM t FOR SYSTEM_TIME BETWEEN NOW() - INTERVAL 1 DAY AND NOW()",
                "SELECT a FROM t",
            ),
            ("SELECT a FROM t FOR SYSTEM_TIME ALL", "SELECT a FROM t"),
            ("SELECT a FROM (t, u) WHERE b", "SELECT a FROM t, u WHERE b"),
            (
                "SELECT a FROM (t, u) LEFT JOIN v ON b",
                "SELECT a FROM (t CROSS JOIN u) LEFT JOIN v ON b",
            ),
            (
                "SELECT a FROM {OJ t LEFT JOIN u ON b}",
                "SELECT a FROM (t LEFT JOIN u ON b)",
            ),
            (
                "SELECT {d '2020-01-01'}, {fn NOW()}",
                "SELECT (DATE '2020-01-01'), (NOW())",
            ),
            (
                "SELECT !a, NOT a, a || b, a && b, \\N",
                "SELECT !a, NOT a, a OR b, a AND b, NULL",
            ),
            (
                "SELECT 'a' \"b\" _utf8mb4'c', @'x y' := 1",
                "SELECT 'abc', @x y := 1",
            ),
            ("TABLE a.t", "TABLE a.t"),
            ("UPDATE LOW_PRIORITY IGNORE t SET a = 1", "UPDATE t SET a = 1"),
            ("DELETE QUICK FROM t", "DELETE FROM t"),
            ("SELECT 1e1FROM t", "SELECT 1e1 FROM t"),
            ("SELECT .1from t", "SELECT .1 FROM t"),
            ("SELECT a OVERLAPS FROM t", "SELECT a AS OVERLAPS FROM t"),
            ("SELECT t.select FROM t", "SELECT t.select FROM t"),
            (
                "SELECT a->'$.b', a->>'$.b' FROM t",
                "SELECT a -> '$.b', a ->> '$.b' FROM t",
            ),
        ] {
            assert_eq!(read(text).as_deref(), Ok(like), "{text}");
        }
    }

    #[test]
    fn precedence_is_that_of_the_servers() {
        let grouped = |text: &str| {
            let state = MysqlState::default_mysql();
            let tokens = scan(text, 0, &state).tokens;
            match expression(text, &tokens, &state) {
                Ok(Expr::BinaryOp { left, op, right }) => format!("{left} [{op}] {right}"),
                other => panic!("{text}: {other:?}"),
            }
        };
        assert_eq!(grouped("a = 1 XOR 1"), "a = 1 [XOR] 1");
        assert_eq!(grouped("a XOR b AND c"), "a [XOR] b AND c");
        assert_eq!(grouped("a = 1 || 1"), "a = 1 [OR] 1");
        assert_eq!(grouped("2 * 3 ^ 4"), "2 [*] 3 ^ 4");
        assert_eq!(grouped("1 << 2 + 3"), "1 [<<] 2 + 3");
        assert_eq!(grouped("a & 1 << 2"), "a [&] 1 << 2");
    }

    #[test]
    fn a_keyword_of_the_servers_is_never_taken_for_a_name() {
        for text in [
            "SELECT from FROM t",
            "SELECT a from",
            "SELECT a AS select FROM t",
            "TABLE t FOR UPDATE",
            "SELECT 1 UNION TABLE t LIMIT 1",
            "SELECT * FROM (TABLE t) x",
            "WITH a AS (SELECT 1) TABLE t",
            "SELECT 1 into FROM t",
            "SELECT a SQL_CACHE * FROM t",
        ] {
            assert!(read(text).is_err(), "{text}: {:?}", read(text));
        }
    }

    #[test]
    fn a_complaint_shows_nothing_of_the_text() {
        for text in [
            "SELECT a b 'hunter2'",
            "SELECT hunter2 hunter2 hunter2",
            "hunter2",
        ] {
            let complaint = read(text).expect_err("no statement");
            assert!(!complaint.contains("hunter2"), "{complaint}");
        }
        assert_eq!(
            read("SELECT 1 1").expect_err("no statement"),
            "cannot be parsed from byte 10 on"
        );
    }
}
