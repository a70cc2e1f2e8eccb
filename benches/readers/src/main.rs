//! Speed and limits of the readers, on the corpora and on hostile texts: `cargo run --release` in this folder.
//! Each hostile text is read in a child process on a 64 MiB stack, because a reader that overflows takes its process along.

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sqlparser::dialect::PostgreSqlDialect;

const STACK_BYTES: usize = 64 << 20;
/// A child that takes longer is ended.
const PATIENCE: Duration = Duration::from_secs(20);
const ROUNDS: usize = 5;

type Reader = (&'static str, fn(&str) -> bool);

const READERS: [Reader; 4] = [
    ("pg_raw_parse", |text| pg_raw_parse::parse(text).is_ok()),
    ("pg_query parse", |text| pg_query::parse(text, pg_query::ParserOptions::default()).is_ok()),
    ("pg_query summary", |text| pg_query::summary(text, pg_query::ParserOptions::default(), -1).is_ok()),
    ("sqlparser", |text| {
        sqlparser::parser::Parser::parse_sql(&PostgreSqlDialect {}, text).is_ok()
    }),
];

/// Name, and the text of a given size.
const HOSTILE: [(&str, usize, fn(usize) -> String); 6] = [
    ("nested parentheses", 5_000, |n| {
        format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n))
    }),
    ("nested sub-selects", 1_000, |n| {
        format!("{}1{}", "SELECT (".repeat(n), ")".repeat(n))
    }),
    ("operator chain", 100_000, |n| {
        format!("SELECT 1{}", "+1".repeat(n))
    }),
    ("cast chain", 20_000, |n| {
        format!("SELECT 1{}", "::int[]".repeat(n))
    }),
    ("joins", 100_000, |n| {
        format!("SELECT 1 FROM t{}", " JOIN t ON true".repeat(n))
    }),
    ("nested comments", 8_000, |n| {
        format!("SELECT 1 {}{}", "/*".repeat(n), "*/".repeat(n))
    }),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.as_slice() {
        [_, reader, hostile] => child(reader, hostile),
        _ => on_a_large_stack(|| {
            speed();
            limits();
        }),
    }
}

fn on_a_large_stack(work: impl FnOnce() + Send + 'static) {
    let worker = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work);
    worker.expect("a thread").join().expect("its work");
}

/// Least of several rounds for each text, then the median and the 99th of 100 over the texts.
fn speed() {
    let texts = corpus();
    println!("{} PostgreSQL texts of the corpora", texts.len());
    println!(
        "{:<18} {:>6} {:>9} {:>9} {:>9}",
        "reader", "read", "p50 µs", "p99 µs", "max µs"
    );
    for (name, read) in READERS {
        let accepted = texts.iter().filter(|text| read(text)).count();
        let mut least: Vec<Duration> = texts.iter().map(|text| fastest(read, text)).collect();
        least.sort_unstable();
        let at = |share: usize| least[(least.len() - 1) * share / 100].as_nanos() as f64 / 1e3;
        println!(
            "{name:<18} {accepted:>6} {:>9.2} {:>9.2} {:>9.1}",
            at(50),
            at(99),
            at(100)
        );
    }
}

fn fastest(read: fn(&str) -> bool, text: &str) -> Duration {
    let once = |_| {
        let started = Instant::now();
        black_box(read(black_box(text)));
        started.elapsed()
    };
    (0..ROUNDS).map(once).min().unwrap_or_default()
}

fn corpus() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus/");
    let mut texts = Vec::new();
    for file in ["statements.jsonl", "clients.jsonl"] {
        let lines = std::fs::read_to_string(format!("{folder}{file}")).expect("the corpus");
        for line in lines.lines() {
            let case: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let is_text =
                case["dialect"] == "postgres" && case["steps"].is_null() && case["sql_hex"].is_null();
            texts.extend(case["sql"].as_str().filter(|_| is_text).map(str::to_owned));
        }
    }
    texts
}

fn limits() {
    println!(
        "\n{:<20} {:>8}  {}",
        "hostile text",
        "size",
        READERS.map(|(name, _)| format!("{name:>24}")).join("")
    );
    let itself = std::env::current_exe().expect("this program");
    for (hostile, size, _) in HOSTILE {
        let outcomes = READERS.map(|(reader, _)| {
            let mut child = Command::new(&itself);
            child
                .args([reader, hostile])
                .stderr(Stdio::null())
                .stdout(Stdio::piped());
            outcome(child)
        });
        println!(
            "{hostile:<20} {size:>8}  {}",
            outcomes.map(|outcome| format!("{outcome:>24}")).join("")
        );
    }
}

fn outcome(mut command: Command) -> String {
    let started = Instant::now();
    let mut child = command.spawn().expect("a child");
    loop {
        match child.try_wait().expect("its end") {
            Some(status) if status.success() => {
                let output = child.wait_with_output().expect("its words");
                return String::from_utf8_lossy(&output.stdout).trim().to_owned();
            }
            Some(_) => return "ABORTS".to_owned(),
            None if started.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                return format!("over {} s", PATIENCE.as_secs());
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn child(reader: &str, hostile: &str) {
    let (_, read) = *READERS
        .iter()
        .find(|(name, _)| *name == reader)
        .expect("a reader");
    let (_, size, text) = *HOSTILE
        .iter()
        .find(|(name, ..)| *name == hostile)
        .expect("a text");
    on_a_large_stack(move || {
        let text = text(size);
        let started = Instant::now();
        let word = if read(&text) { "read" } else { "error" };
        println!("{word}, {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
    });
}
