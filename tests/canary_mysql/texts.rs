//! Texts that readers could cut or read differently, out of pieces that have fooled one of them before.

use std::sync::LazyLock;

use serde_json::Value;

use super::dice::Dice;

/// What stands between two words: nothing, blanks of every kind, comments.
const BETWEEN: &[&str] = &[
    "",
    "",
    "",
    "",
    " ",
    " ",
    " ",
    " ",
    "\t",
    "\u{b}",
    "\u{c}",
    "\r",
    "\n",
    "/**/",
    "/* ' */",
    "/* /* */",
    "-- x\n",
    "--\t'\n",
    "--\u{1}\n",
    "#\"\n",
    "/*!*/",
    "/*!40101*/",
    "/*!50701 x*/",
    "/*!99999 '*/",
    "/*!999999 /* a */ b*/",
    "/*M!*/",
    "/*M!50701*/",
    "/*M!999999 a*/",
    "/*!100000*/",
    "/*!999999 '*/",
    "/*+ x */",
    "/*!1*/",
];

const OPERANDS: &[&str] = &[
    "1",
    "0",
    "12",
    "1.",
    "1.5",
    ".5",
    "1e1",
    "1E+1",
    "1.5e-1",
    "0x41",
    "0X41",
    "0x4G",
    "0b1",
    "0b2",
    "1a",
    "12_3",
    "1e",
    "1ex",
    "x'41'",
    "X'4142'",
    "b'01'",
    "'a'",
    "'a''b'",
    "'a\\'b'",
    "'a\\\\'",
    "''",
    "\"a\"",
    "\"a\"\"b\"",
    "\"a\\\"b\"",
    "\"'\"",
    "'\"'",
    "N'a'",
    "n'a'",
    "_utf8'a'",
    "_utf8mb4 'a'",
    "_latin1\"a\"",
    "_foo",
    "a",
    "a.b",
    "a . b",
    "a.1",
    "a.1e5",
    "`a`",
    "`a``b`",
    "`a`.b",
    "`a`.1",
    "a.`b`",
    "@a",
    "@a.b",
    "@'a'",
    "@`a b`",
    "@\"a\"",
    "@@sql_mode",
    "@@session.sql_mode",
    "@@`sql_mode`",
    "é",
    "日本",
    "$a",
    "a$b",
    "NULL",
    "\\N",
    "select1",
    "nowx",
    "now()",
    "now ()",
    "now/**/()",
    "abs(1)",
    "abs (1)",
    "count(a)",
    "max (a)",
    "if(1,2,3)",
    "(1)",
    "t.select",
    "'it''s'",
    "'-- '",
    "'/*'",
    "'*/'",
    "'#'",
    "1.from",
    ".1from",
    "mod(1,2)",
    "{d '2020-01-01'}",
    "?",
    "1..2",
    "- 1",
    "case a when 1 then 2 end",
    "trim(both from a)",
];

const OPERATORS: &[&str] = &[
    "+", "-", "--", "*", "/", "%", "=", "<=>", "<>", "!=", "<", "<=", "<<", ">", ">=", ">>", "&", "&&", "|",
    "||", "^", " and ", " or ", " xor ", " div ", " mod ", " like ", " is ", ",", ",", ",", ",", " as ", " ",
    ".", "*/", "->", "=!", "<>=",
];

/// A SELECT of operands and operators, with anything between them.
pub fn of_words(dice: &mut Dice) -> String {
    let mut text = format!("SELECT {}", dice.pick(BETWEEN));
    for number in 0..=dice.below(4) {
        if number > 0 {
            text.push_str(dice.pick(BETWEEN));
            text.push_str(dice.pick(OPERATORS));
            text.push_str(dice.pick(BETWEEN));
        }
        text.push_str(dice.pick(OPERANDS));
    }
    text.push_str(dice.pick(BETWEEN));
    if dice.below(2) == 0 {
        text.push_str(dice.pick(&[
            " FROM t",
            "FROM`t`",
            " FROM/**/t",
            " from `t` a",
            " FROM t -- ",
            " FROM t#",
        ]));
    }
    text
}

/// What opens something that a reader may end elsewhere.
const OPENINGS: &[&str] = &[
    "'",
    "\"",
    "`",
    "/*",
    "/*!",
    "/*!50701 ",
    "/*!99999 ",
    "/*!999999 ",
    "/*!100000 ",
    "/*!40101 ",
    "/*M! ",
    "/*M!999999 ",
    "/*+ ",
    "-- ",
    "--",
    "--\t",
    "#",
    "\\'",
    "\\",
    "''",
    "\"\"",
    "``",
    "N'",
    "x'",
    "_utf8'",
    "@'",
    "@`",
    "{",
    "(",
    "1.e",
    "1e",
    ".1",
    "0x",
    "$$",
    "--\u{a0}",
    "--\u{2003}",
    "\u{a0}",
    "/*! /* ",
    "/*!9999999 ",
    "/*!99997 ",
    "\r",
    "--\r",
];

const CLOSINGS: &[&str] = &[
    "'", "\"", "`", "*/", " */", "\n", "\r\n", ")", "}", ";", "", "*//*", "'*/", "\\'", "''", "-- ", "#\n",
    "/*", " */ */",
];

/// What changes the canary, where a server runs it.
const PAYLOADS: &[&str] = &[
    "; DELETE FROM canary; ",
    ";DELETE FROM app.canary",
    " UNION SELECT touch() ",
    ", touch() ",
    "touch()",
    ", now () ",
    ", max (1)",
    ", trim (1)",
    ", abs (1)",
    " AND touch() ",
    ", NEXT VALUE FOR seq ",
    ", nextval(seq)",
    "; TRUNCATE canary; ",
    " DELETE FROM canary ",
    "; UPDATE canary SET v = 0 ",
    " INTO @x ",
    "; SET GLOBAL max_connections = 10; ",
    "; INSERT INTO canary VALUES (9, 9, 'z') -- ",
    "; DROP TABLE canary",
    " e (1) ",
    "1.e(1) ",
    ", (SELECT touch()) ",
    "; EXECUTE IMMEDIATE 'DELETE FROM canary'; ",
    "; BEGIN NOT ATOMIC DELETE FROM canary; END; ",
    " PROCEDURE ANALYSE() ",
    "; CREATE TABLE x (a INT); ",
    " FOR UPDATE ",
    "; DO touch() ; ",
    "; HANDLER canary OPEN; ",
    "; SET @a = touch(); ",
    "SET STATEMENT max_statement_time = 1 FOR DELETE FROM canary",
    "ANALYZE DELETE FROM canary",
    "; CALL x()",
];

const STARTS: &[&str] = &[
    "SELECT 1 ",
    "SELECT ",
    "SELECT a FROM t WHERE a = 1 ",
    "SELECT * FROM t ",
    "EXPLAIN SELECT 1 ",
    "SHOW TABLES ",
    "SELECT a, b ",
    "SELECT 'a' ",
    "SELECT \"b\" ",
    "SELECT `a` FROM t ",
    "SELECT a FROM (SELECT 1 AS a) d ",
    "SET @a = 1 ",
    "DESCRIBE t ",
    "WITH x AS (SELECT 1) SELECT * FROM x ",
    "SELECT a AS `/*` ",
    "SELECT a FROM t ORDER BY a ",
    "SELECT IF(a, 1, 2) FROM t ",
    "SELECT 1; SELECT 2 ",
    "SHOW VARIABLES LIKE 'a' ",
    "SELECT COUNT(*) FROM t GROUP BY a ",
    "SELECT 1 -- ",
    "BEGIN; SELECT 1 ",
    "VALUES (1) ",
    "SET NAMES utf8mb4 ",
    "ANALYZE SELECT 1 ",
];

/// Texts of the corpus that clients and attackers send, as they are.
static CORPUS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let read = |name: &str| {
        let path = format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("the corpus");
        let cases = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a case"));
        let mysql = cases.filter(|case| case["dialect"] != "postgres" && case.get("steps").is_none());
        mysql
            .filter_map(|case| case["sql"].as_str().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    ["statements.jsonl", "clients.jsonl"]
        .iter()
        .flat_map(|name| read(name))
        .collect()
});

/// A message that may hide something: a beginning, things that open and close, what changes the canary.
pub fn whole(dice: &mut Dice) -> String {
    match dice.below(4) {
        0 => mutated(dice),
        1 => of_words(dice),
        _ => hidden(dice),
    }
}

fn hidden(dice: &mut Dice) -> String {
    let mut text = dice.pick(STARTS).to_owned();
    for _ in 0..=dice.below(3) {
        text.push_str(dice.pick(OPENINGS));
        if dice.below(2) == 0 {
            text.push_str(dice.pick(BETWEEN));
        }
        text.push_str(dice.pick(PAYLOADS));
        text.push_str(dice.pick(CLOSINGS));
    }
    if dice.below(3) == 0 {
        text.push_str(dice.pick(&[
            " FROM t",
            " -- '",
            " */",
            "'",
            "\"",
            "`",
            "; SELECT 1",
            " , 2",
            " /*",
        ]));
    }
    text
}

/// A text of the corpus with something put in, taken out or doubled.
fn mutated(dice: &mut Dice) -> String {
    let mut text = CORPUS[dice.below(CORPUS.len())].clone();
    for _ in 0..=dice.below(2) {
        let at = place(&text, dice);
        match dice.below(4) {
            0 => text.insert_str(at, dice.pick(PAYLOADS)),
            1 => text.insert_str(at, dice.pick(OPENINGS)),
            2 => text.insert_str(at, dice.pick(BETWEEN)),
            _ => {
                let rest = text.split_off(at);
                text.extend(rest.chars().skip(1 + dice.below(3)));
            }
        }
    }
    text
}

/// A boundary of characters.
fn place(text: &str, dice: &mut Dice) -> usize {
    let places: Vec<usize> = text
        .char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .collect();
    places[dice.below(places.len())]
}
