//! Text made to exhaust a reader: judged in a child process, because a stack overflow is an abort, not a panic.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// One text may take this long in a debug build on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(20);

fn judge(dialect: &str, texts: &[String]) -> Vec<Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["judge", "--jsonl", "--dialect", dialect])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut stdin = child.stdin.take().expect("its input");
    let lines: String = texts
        .iter()
        .map(|text| format!("{}\n", json!({ "id": text.len(), "sql": text })))
        .collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("its output");
    writer.join().expect("a writer").expect("all lines written");
    assert!(
        output.status.success(),
        "the process ended with {}",
        output.status
    );
    String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("an answer"))
        .collect()
}

/// A name, what opens, what repeats, what stands in the middle, what closes each repeat.
type Shape = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// Texts of a shape that grows.
fn shapes() -> Vec<Shape> {
    vec![
        ("parentheses", "SELECT ", "(", "1", ")"),
        ("calls", "SELECT ", "abs(", "1", ")"),
        ("arrays", "SELECT ", "ARRAY[", "1", "]"),
        ("cases", "SELECT ", "CASE WHEN true THEN ", "1", " END"),
        (
            "cases that seem to end",
            "SELECT ",
            "CASE WHEN a.end THEN ",
            "1",
            " END",
        ),
        ("sub-queries", "SELECT ", "(SELECT ", "1", ")"),
        (
            "exists",
            "SELECT 1 WHERE ",
            "EXISTS (SELECT 1 WHERE ",
            "true",
            ")",
        ),
        ("from", "SELECT * FROM ", "(SELECT * FROM ", "t", ") q"),
        ("with", "", "WITH a AS (", "SELECT 1", ") SELECT 1"),
        (
            "joins in parentheses",
            "SELECT * FROM ",
            "(",
            "a",
            " JOIN b ON true)",
        ),
        ("additions", "SELECT 1", "+1", "", ""),
        ("concatenations", "SELECT a", "||a", "", ""),
        ("casts", "SELECT 1", "::int", "", ""),
        ("array types", "SELECT '{}'::int", "[]", "", ""),
        ("subscripts", "SELECT a", "[1]", "", ""),
        ("conjunctions", "SELECT true", " AND a=1", "", ""),
        ("disjunctions", "SELECT true", " OR a=1", "", ""),
        ("negations", "SELECT ", "NOT ", "true", ""),
        ("signs", "SELECT ", "- ", "1", ""),
        ("tests", "SELECT a", " IS NULL", "", ""),
        ("collations", "SELECT a", " COLLATE \"C\"", "", ""),
        ("time zones", "SELECT a", " AT TIME ZONE b", "", ""),
        ("unions", "SELECT 1", " UNION SELECT 1", "", ""),
        (
            "unions with lists",
            "SELECT 1, 2",
            " UNION ALL SELECT 1, 2",
            "",
            "",
        ),
        ("joins", "SELECT * FROM t", " JOIN t ON true", "", ""),
        ("late joins", "SELECT * FROM t", " JOIN t", "", " ON true"),
        ("items", "SELECT 1", ",1", "", ""),
        ("rows", "INSERT INTO t VALUES (1)", ",(1)", "", ""),
        ("lists", "SELECT 1 WHERE a IN (1", ",1", ")", ""),
        ("statements", "SELECT 1", ";SELECT 1", "", ""),
        ("comments", "SELECT 1 ", "/*", "", "*/"),
        ("open comments", "SELECT 1 ", "/*", "", ""),
        ("line comments", "SELECT 1", "--\n", "", ""),
        ("dollars", "SELECT ", "$a", "", ""),
        ("dollar quotes", "SELECT ''", ",$a$$a$", "", ""),
        ("quotes", "SELECT ", "'", "", ""),
        ("backslashes", "SELECT E'", "\\", "", ""),
        ("dots", "SELECT a", ".a", "", ""),
        ("operators", "SELECT 1 ", "~", " 1", ""),
        ("brackets", "SELECT a", "[", "1", "]"),
        ("open parentheses", "SELECT ", "(", "", ""),
        ("intervals", "SELECT ", "interval ", "'1'", ""),
        ("letters", "SELECT ", "é", "", ""),
        ("explains", "", "EXPLAIN ", "SELECT 1", ""),
        (
            "with lists",
            "WITH a AS (SELECT 1)",
            ",a AS (SELECT 1)",
            " SELECT 1",
            "",
        ),
        ("windows", "SELECT 1 OVER (ORDER BY 1", ",1", ")", ""),
        ("grouping sets", "SELECT 1 GROUP BY ", "GROUPING SETS (", "a", ")"),
    ]
}

/// What only MySQL and MariaDB have, or what their reader alone recurses over.
fn shapes_of_mysql() -> Vec<Shape> {
    vec![
        ("ifs", "SELECT ", "IF(1,", "1", ",1)"),
        ("ifs of updates", "UPDATE t SET a = ", "IF(a = 1, 1, ", "1", ")"),
        ("cases of ends", "SELECT ", "CASE WHEN end THEN ", "1", " END"),
        ("binaries", "SELECT ", "BINARY ", "1", ""),
        ("bangs", "SELECT ", "! ", "1", ""),
        ("assignments", "SELECT ", "@a := ", "1", ""),
        ("intervals", "SELECT a", " + INTERVAL 1 DAY", "", ""),
        ("interval functions", "SELECT ", "INTERVAL(1,", "1", ")"),
        ("open interval functions", "SELECT ", "INTERVAL(", "", ""),
        ("modules", "SELECT 1", " MOD 1", "", ""),
        ("tables", "SELECT * FROM (t", ",t", ")", ""),
        ("tables in parentheses", "SELECT * FROM ", "(a,", "b", ")"),
        (
            "tables of joins",
            "SELECT * FROM t LEFT JOIN ",
            "(a,",
            "b",
            ") ON 1",
        ),
        ("braces", "SELECT * FROM ", "{OJ ", "t", "}"),
        ("straight joins", "SELECT * FROM t", " STRAIGHT_JOIN t", "", ""),
        ("strings side by side", "SELECT ", "'a' ", "", ""),
        ("introducers", "SELECT ", "_utf8 ", "'a'", ""),
        ("executable comments", "SELECT 1 ", "/*!", "", "*/"),
        ("empty comments", "SELECT 1 ", "/**/", "", ""),
        ("hashes", "SELECT 1 ", "#\n", "", ""),
        ("backquotes", "SELECT ", "`", "", ""),
        ("at signs", "SELECT ", "@", "", ""),
        ("variables", "SELECT @@a", ".a", "", ""),
        (
            "systems of time",
            "SELECT * FROM t ",
            "FOR SYSTEM_TIME ALL ",
            "",
            "",
        ),
        (
            "values",
            "INSERT INTO t VALUES (1)",
            ",(1)",
            " ON DUPLICATE KEY UPDATE a = 1",
            "",
        ),
        ("sets", "SET @a = 1", ", @a = 1", "", ""),
        ("set statements", "", "SET STATEMENT a = 1 FOR ", "SELECT 1", ""),
        ("analyzes", "", "ANALYZE ", "SELECT 1", ""),
        ("prepares", "PREPARE s FROM '", "PREPARE s FROM ''", "", ""),
        ("arrows", "SELECT a", "->'$.a'", "", ""),
        ("tests", "SELECT a", " NOT IN (1) ", "", ""),
        ("memberships", "SELECT a", " IN (SELECT a", "", ")"),
        ("matches", "SELECT ", "MATCH (a) AGAINST (", "'a'", ")"),
        ("casts", "SELECT ", "CAST(", "1", " AS CHAR)"),
        ("conversions", "SELECT ", "CONVERT(", "'a'", " USING utf8)"),
        ("trims", "SELECT ", "TRIM(BOTH 'a' FROM ", "'a'", ")"),
        (
            "aggregates",
            "SELECT ",
            "GROUP_CONCAT(DISTINCT ",
            "a",
            " ORDER BY 1 SEPARATOR ',')",
        ),
        ("time functions", "SELECT ", "IF(current_time(", "x", ""),
        ("negated names", "SELECT a", ".not-b", "", ""),
        ("cases in chains", "SELECT ", "case-", "c", ""),
    ]
}

fn grown(shape: Shape, repeats: usize) -> String {
    let (_, open, repeat, middle, close) = shape;
    format!(
        "{open}{}{middle}{}",
        repeat.repeat(repeats),
        close.repeat(repeats)
    )
}

#[test]
fn hostile_text_never_aborts_the_process_and_never_takes_long() {
    judge_all("postgres", &shapes());
}

#[test]
fn hostile_mysql_text_never_aborts_the_process_and_never_takes_long() {
    let shapes: Vec<Shape> = shapes().into_iter().chain(shapes_of_mysql()).collect();
    judge_all("mariadb", &shapes);
}

fn judge_all(dialect: &str, shapes: &[Shape]) {
    let mut texts: Vec<String> = Vec::new();
    for shape in shapes {
        let unit = shape.2.len() + shape.4.len();
        let largest = countersign::sql::PARSE_BYTES_MAX / unit;
        for repeats in [
            10,
            50,
            100,
            199,
            400,
            1_999,
            3_900,
            7_990,
            20_000,
            largest - 20,
            largest + 20,
        ] {
            texts.push(grown(*shape, repeats));
        }
    }
    for batch in texts.chunks(40) {
        let started = Instant::now();
        let answers = judge(dialect, batch);
        assert_eq!(answers.len(), batch.len());
        let starts: Vec<&str> = batch.iter().map(|text| text.get(..12).unwrap_or(text)).collect();
        assert!(
            started.elapsed() < TIME_MAX * 2,
            "{:?} for {starts:?}",
            started.elapsed()
        );
    }
}

#[test]
fn a_limit_reached_is_unknown_and_held() {
    for dialect in ["postgres", "mysql", "mariadb"] {
        check_limits(dialect);
    }
}

fn check_limits(dialect: &str) {
    for shape in [
        ("parentheses", "SELECT ", "(", "1", ")"),
        ("additions", "SELECT 1", "+1", "", ""),
    ] {
        let answers = judge(dialect, &[grown(shape, 90), grown(shape, 5_000)]);
        assert_eq!(
            (&answers[0]["class"], &answers[0]["verdict"]),
            (&json!("read"), &json!("allow")),
            "{}",
            shape.0
        );
        assert_eq!(
            (&answers[1]["class"], &answers[1]["verdict"]),
            (&json!("unknown"), &json!("hold")),
            "{}",
            shape.0
        );
    }
    let longest = format!("SELECT '{}'", "x".repeat(countersign::sql::PARSE_BYTES_MAX - 9));
    let answers = judge(dialect, &[longest.clone(), longest + " "]);
    assert_eq!(answers[0]["class"], "read");
    assert_eq!(answers[1]["class"], "unknown");
}
