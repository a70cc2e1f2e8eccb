//! Text made to exhaust a reader: judged in a child process, because a stack overflow is an abort, not a panic.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// One text may take this long in a debug build on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(20);

fn judge(texts: &[String]) -> Vec<Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["judge", "--jsonl"])
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

/// Texts of a shape that grows: what opens, what repeats, what stands in the middle, what closes each repeat.
fn shapes() -> Vec<(
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
)> {
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

fn grown(shape: (&str, &str, &str, &str, &str), repeats: usize) -> String {
    let (_, open, repeat, middle, close) = shape;
    format!(
        "{open}{}{middle}{}",
        repeat.repeat(repeats),
        close.repeat(repeats)
    )
}

#[test]
fn hostile_text_never_aborts_the_process_and_never_takes_long() {
    let mut texts: Vec<String> = Vec::new();
    for shape in shapes() {
        let unit = shape.2.len() + shape.4.len();
        let largest = countersign::sql::PARSE_BYTES_MAX / unit;
        for repeats in [
            10,
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
            texts.push(grown(shape, repeats));
        }
    }
    for batch in texts.chunks(40) {
        let started = Instant::now();
        let answers = judge(batch);
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
    for shape in [
        ("parentheses", "SELECT ", "(", "1", ")"),
        ("additions", "SELECT 1", "+1", "", ""),
    ] {
        let answers = judge(&[grown(shape, 100), grown(shape, 5_000)]);
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
    let answers = judge(&[longest.clone(), longest + " "]);
    assert_eq!(answers[0]["class"], "read");
    assert_eq!(answers[1]["class"], "unknown");
}
