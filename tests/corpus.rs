//! The corpus of statements that get past statement firewalls, and of what real clients send, under the default rules.
//! Formats: tests/corpus/README.md.

#[path = "support/oracle.rs"]
mod oracle;

use std::io::Write as _;
use std::process::{Command, Stdio};

use countersign::sql::judge_postgres;
use countersign::sql::parse::PARSER_STACK_BYTES;
use countersign::sql::statement::LexingState;
use serde_json::Value;

fn corpus(name: &str) -> Vec<Value> {
    both(name)
        .into_iter()
        .filter(|case| case["dialect"] == "postgres")
        .collect()
}

/// The MySQL cases, judged as for this dialect.
fn mysql_corpus(name: &str, dialect: &str) -> Vec<Value> {
    let is_mysql = |case: &Value| case["dialect"] != "postgres";
    let mut cases: Vec<Value> = both(name).into_iter().filter(is_mysql).collect();
    for case in &mut cases {
        case["dialect"] = dialect.into();
    }
    cases
}

fn both(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the corpus");
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a case"))
        .collect()
}

/// Judges in one run of the program, as a person would.
fn judge(rules: &str, cases: &[Value]) -> Vec<Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["judge", "--rules", rules, "--jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut stdin = child.stdin.take().expect("its input");
    let lines: String = cases.iter().map(|case| format!("{case}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("its output");
    writer.join().expect("a writer").expect("all lines written");
    assert!(output.status.success(), "judge failed");
    let answers: Vec<Value> = String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("an answer"))
        .collect();
    assert_eq!(answers.len(), cases.len(), "one answer a line");
    answers
}

fn is_plain(case: &Value) -> bool {
    case.get("steps").is_none() && case.get("needs").is_none()
}

fn told<'a>(pairs: impl Iterator<Item = (&'a Value, &'a Value)>) -> Vec<String> {
    pairs
        .map(|(case, answer)| format!("{} {}: {}", case["id"], case["sql"], answer["reasons"]))
        .collect()
}

#[test]
fn nothing_that_must_be_held_is_allowed() {
    let cases: Vec<Value> = corpus("statements.jsonl")
        .into_iter()
        .filter(|case| is_plain(case) && (case["expect"] == "hold" || case["expect"] == "deny"))
        .collect();
    assert!(cases.len() > 250);
    for rules in ["default", "strict"] {
        let answers = judge(rules, &cases);
        let allowed = told(
            cases
                .iter()
                .zip(&answers)
                .filter(|(_, answer)| answer["verdict"] == "allow"),
        );
        assert!(allowed.is_empty(), "{rules}: {allowed:#?}");
    }
}

#[test]
fn everything_that_must_pass_is_allowed() {
    let cases: Vec<Value> = corpus("statements.jsonl")
        .into_iter()
        .filter(|case| is_plain(case) && case["expect"] == "pass")
        .collect();
    assert!(cases.len() > 120);
    let answers = judge("default", &cases);
    let before = "a statement of the session before it is held";
    let held = told(cases.iter().zip(&answers).filter(|(_, answer)| {
        // A read after a nextval: the nextval is what is held.
        answer["verdict"] != "allow" && answer["reasons"] != serde_json::json!([before])
    }));
    assert!(held.is_empty(), "{held:#?}");
}

#[test]
fn no_write_is_treated_as_a_read() {
    let cases: Vec<Value> = corpus("statements.jsonl")
        .into_iter()
        .filter(|case| is_plain(case) && case["expect"] == "write-policy")
        .collect();
    assert!(cases.len() > 25);
    let answers = judge("strict", &cases);
    let allowed = told(
        cases
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| answer["verdict"] == "allow"),
    );
    assert!(allowed.is_empty(), "{allowed:#?}");
}

/// What people may find held although a client calls it a read: asleep, credentials, other sessions, guards, row locks,
/// functions of their own, names prepared elsewhere. All of these are held on purpose.
const ON_PURPOSE: [&str; 9] = [
    "keeps a connection busy",
    "assigns a transaction id",
    "sends a notification",
    "turns the guard",
    "reads credentials",
    "locks the rows",
    "which is not known here",
    "calls `order_total`",
    "IDENTIFY_SYSTEM",
];

#[test]
fn what_clients_send_by_themselves_is_not_held() {
    let harmless = ["read", "session", "transaction"];
    let cases: Vec<Value> = corpus("clients.jsonl")
        .into_iter()
        .filter(|case| harmless.iter().any(|label| case["label"] == *label))
        .collect();
    let answers = judge("default", &cases);
    let held: Vec<String> = cases
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer["verdict"] != "allow")
        .map(|(case, answer)| format!("{} {}: {}", case["client"], case["sql"], answer["reasons"]))
        .collect();
    let needless: Vec<&String> = held
        .iter()
        .filter(|line| !ON_PURPOSE.iter().any(|reason| line.contains(reason)))
        .collect();
    println!(
        "held {} of {}, {} of them without a purpose",
        held.len(),
        cases.len(),
        needless.len()
    );
    assert!(needless.is_empty(), "{needless:#?}");
    assert!(
        held.len() * 1_000 < cases.len() * 25,
        "more than 2.5 % held: {held:#?}"
    );
}

/// Every statement of the corpus and of the cases.
fn every_text() -> Vec<String> {
    let sql = |case: &Value| case["sql"].as_str().map(str::to_owned);
    let corpora = ["statements.jsonl", "clients.jsonl"];
    let mut texts: Vec<String> = corpora
        .iter()
        .flat_map(|name| corpus(name))
        .filter_map(|case| sql(&case))
        .collect();
    let cases = std::fs::read_dir(format!("{}/tests/cases/classify", env!("CARGO_MANIFEST_DIR")));
    for file in cases.expect("the folder of cases") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("cases");
        let lines = text.lines().filter_map(|line| line.strip_prefix("  sql     "));
        texts.extend(lines.map(str::to_owned));
    }
    texts
}

#[test]
fn what_passes_names_all_that_the_grammars_own_walker_finds() {
    let texts = every_text();
    assert!(texts.len() > 1_000);
    let missing = move || {
        let told = texts.iter().filter_map(|text| {
            let judged = judge_postgres(text.as_bytes(), LexingState::default_postgres(), &());
            let missing = oracle::missing(text, &judged.actions)?;
            Some(format!("{missing} is not in what is said of {text}"))
        });
        told.collect::<Vec<_>>()
    };
    // Readers are recursive; they are tested on the stack that they are promised.
    let thread = std::thread::Builder::new()
        .stack_size(PARSER_STACK_BYTES)
        .spawn(missing);
    let missing = thread.expect("a thread").join().expect("no panic");
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Neither knows the server's version; `mysql` does not even know which of the two it is.
const MYSQL_DIALECTS: [&str; 2] = ["mysql", "mariadb"];

/// What only a count of rows or a catalog can decide; everything else is decided by the text and the session.
fn is_beyond_text(case: &Value) -> bool {
    let needs = |need: &str| {
        case["needs"]
            .as_array()
            .is_some_and(|needs| needs.iter().any(|known| known == need))
    };
    case.get("steps").is_some() || needs("catalog") || needs("metering")
}

/// The cases of one expectation whose verdict, under one of the dialects and rules, is what it must not be.
fn wrong_in_mysql(rules: &str, expect: &[&str], least: usize, is_wrong: fn(&Value) -> bool) -> Vec<String> {
    let judged = MYSQL_DIALECTS.iter().flat_map(|dialect| {
        let mut cases = mysql_corpus("statements.jsonl", dialect);
        cases.retain(|case| !is_beyond_text(case) && expect.iter().any(|known| case["expect"] == *known));
        assert!(cases.len() >= least, "cases are missing: {}", cases.len());
        let answers = judge(rules, &cases);
        told(
            cases
                .iter()
                .zip(&answers)
                .filter(|(_, answer)| is_wrong(&answer["verdict"])),
        )
    });
    judged.collect()
}

#[test]
fn nothing_that_must_be_held_is_allowed_in_mysql() {
    for rules in ["default", "strict"] {
        let allowed = wrong_in_mysql(rules, &["hold", "deny"], 180, |verdict| verdict == "allow");
        assert!(allowed.is_empty(), "{rules}: {allowed:#?}");
    }
}

#[test]
fn no_write_is_treated_as_a_read_in_mysql() {
    let allowed = wrong_in_mysql("strict", &["write-policy"], 18, |verdict| verdict == "allow");
    assert!(allowed.is_empty(), "{allowed:#?}");
}

/// A name that some server lacks may be anybody's function there; with the server's kind known, it is not held.
const HELD_FOR_UNKNOWN_SERVERS: [&str; 1] = ["my-r-json-text-001"];

#[test]
fn everything_that_must_pass_is_allowed_in_mysql() {
    let held = wrong_in_mysql("default", &["pass"], 90, |verdict| verdict != "allow");
    let needless: Vec<&String> = held
        .iter()
        .filter(|line| !HELD_FOR_UNKNOWN_SERVERS.iter().any(|id| line.contains(id)))
        .collect();
    assert!(needless.is_empty(), "{needless:#?}");
    assert_eq!(held.len(), HELD_FOR_UNKNOWN_SERVERS.len(), "{held:#?}");
}

/// Held on purpose: comments that only a known version reads for certain, a function of their own, a guard turned off.
const ON_PURPOSE_IN_MYSQL: [&str; 3] = [
    "has an executable comment",
    "calls `order_total`",
    "turns the guard `transaction_read_only` off",
];

#[test]
fn what_mysql_clients_send_by_themselves_is_not_held() {
    let harmless = ["read", "session", "transaction"];
    for dialect in MYSQL_DIALECTS {
        let mut cases = mysql_corpus("clients.jsonl", dialect);
        cases.retain(|case| harmless.iter().any(|label| case["label"] == *label));
        assert!(cases.len() > 270, "cases are missing");
        let answers = judge("default", &cases);
        let held = told(
            cases
                .iter()
                .zip(&answers)
                .filter(|(_, answer)| answer["verdict"] != "allow"),
        );
        let on_purpose = |line: &String| ON_PURPOSE_IN_MYSQL.iter().any(|reason| line.contains(reason));
        let needless: Vec<&String> = held.iter().filter(|line| !on_purpose(line)).collect();
        println!("{dialect}: held {} of {}", held.len(), cases.len());
        assert!(needless.is_empty(), "{needless:#?}");
        assert!(
            held.len() * 1_000 < cases.len() * 25,
            "more than 2.5 % held: {held:#?}"
        );
    }
}

#[test]
fn a_line_that_is_not_valid_is_told_and_exits_1() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["judge", "--jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let input = b"{\"id\":7,\"sql\":\"SELECT 1\"}\nnonsense\n{\"id\":\"x\"}\n{\"id\":\"y\",\"sql\":\"DROP TABLE a\",\"dialect\":\"mysql\"}\n";
    child
        .stdin
        .take()
        .expect("its input")
        .write_all(input)
        .expect("written");
    let output = child.wait_with_output().expect("its output");
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<&str> = std::str::from_utf8(&output.stdout)
        .expect("text")
        .lines()
        .collect();
    let first = "{\"id\":7,\"verdict\":\"allow\",\"class\":\"read\",\"rule\":\"reads-and-session\",\"risk\":\"low\",\
                 \"reasons\":[],\"tables\":[],\"functions\":[],\"bounded\":true}";
    assert_eq!(lines[0], first);
    assert!(lines[1].starts_with("{\"id\":null,\"error\":"), "{}", lines[1]);
    assert_eq!(lines[2], "{\"id\":\"x\",\"error\":\"`sql` is missing\"}");
    assert!(
        lines[3].contains("\"verdict\":\"hold\"") && lines[3].contains("\"class\":\"ddl\""),
        "{}",
        lines[3]
    );
}
