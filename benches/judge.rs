//! What judging one text costs: `cargo bench --bench judge`. Prints medians and 99ths of 100 in µs: texts that were never
//! seen before, texts of a shape that was, every text of the corpora, and the slowest of hostile texts of 1 MiB and less.
//! Never asserts: a shared machine is noisy. docs/judgement.md has the targets and what was measured.

use std::hint::black_box;
use std::time::{Duration, Instant};

use countersign::sql::judge_postgres;
use countersign::sql::mysql::judge_mysql;
use countersign::sql::mysql_state::MysqlState;
use countersign::sql::parse::PARSER_STACK_BYTES;
use countersign::sql::statement::LexingState;

const TEXTS: [(&str, &str); 4] = [
    ("one", "SELECT 1"),
    (
        "by key",
        "SELECT id, name, email, created_at FROM customers WHERE id = 7 AND country = 'DE' ORDER BY name LIMIT 10",
    ),
    (
        "join",
        "SELECT o.id, c.name, count(*) FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.status = 'paid' GROUP BY 1, 2",
    ),
    (
        "update",
        "UPDATE customers SET balance = balance - 1 WHERE id = 7",
    ),
];
/// Texts that differ in their names, so that nothing of one helps with the next.
const UNSEEN: usize = 20_000;
const ROUNDS: usize = 5;

/// What opens, what repeats, what stands in the middle, what closes each repeat.
const HOSTILE: [(&str, &str, &str, &str); 16] = [
    ("SELECT ", "(", "1", ")"),
    ("SELECT ", "abs(", "1", ")"),
    ("SELECT ", "CASE WHEN true THEN ", "1", " END"),
    ("SELECT ", "(SELECT ", "1", ")"),
    ("SELECT * FROM ", "(SELECT * FROM ", "t", ") q"),
    ("SELECT 1", "+1", "", ""),
    ("SELECT a", "||a", "", ""),
    ("SELECT 1", "::int", "", ""),
    ("SELECT a", "[1]", "", ""),
    ("SELECT true", " AND a=1", "", ""),
    ("SELECT 1", " UNION SELECT 1", "", ""),
    ("SELECT * FROM t", " JOIN t ON true", "", ""),
    ("SELECT 1", ",1", "", ""),
    ("SELECT 1 ", "/*", "", "*/"),
    ("SELECT ", "$a", "", ""),
    ("SELECT 1", ";SELECT 1", "", ""),
];
/// The largest text that a client may send, the largest that is parsed, and smaller ones.
const SIZES: [usize; 4] = [1 << 20, 256 << 10, 64 << 10, 8 << 10];

type Judge = fn(&str);

const DIALECTS: [(&str, Judge); 2] = [
    ("postgres", |text| {
        black_box(judge_postgres(
            text.as_bytes(),
            LexingState::default_postgres(),
            &(),
        ));
    }),
    ("mysql", |text| {
        black_box(judge_mysql(text.as_bytes(), &MysqlState::default_mariadb(), &()));
    }),
];

fn main() {
    let measured = std::thread::Builder::new()
        .stack_size(PARSER_STACK_BYTES)
        .spawn(|| {
            for (dialect, judge) in DIALECTS {
                for (name, text) in TEXTS {
                    let again = median_and_99th((0..UNSEEN / 10).map(|_| timed(judge, text)).collect());
                    println!("{dialect}, {name}, {} bytes, seen before: {again}", text.len());
                }
                let unseen = (0..UNSEEN)
                    .map(|number| timed(judge, &never_seen(number)))
                    .collect();
                println!(
                    "{dialect}, a SELECT of {} bytes not seen before: {}",
                    never_seen(0).len(),
                    median_and_99th(unseen)
                );
                println!(
                    "{dialect}, the corpora: {}",
                    median_and_99th(corpora(dialect, judge))
                );
                let (slowest, text) = hostile(judge);
                println!(
                    "{dialect}, the slowest hostile text: {:.1} ms, {text}",
                    slowest.as_secs_f64() * 1e3
                );
            }
        });
    measured.expect("a thread").join().expect("measured");
}

fn timed(judge: Judge, text: &str) -> Duration {
    let started = Instant::now();
    judge(text);
    started.elapsed()
}

/// 100 bytes, of which the names are new each time.
fn never_seen(number: usize) -> String {
    format!(
        "SELECT id_{number:06}, name, email FROM orders_{number:06} WHERE id_{number:06} = 7 ORDER BY name LIMIT 10 -- abc"
    )
    .chars()
    .take(100)
    .collect()
}

/// The least of several rounds for each text: what the reader costs, not what the machine was doing besides.
fn corpora(dialect: &str, judge: Judge) -> Vec<Duration> {
    let mut least = Vec::new();
    for file in [
        include_str!("../tests/corpus/statements.jsonl"),
        include_str!("../tests/corpus/clients.jsonl"),
    ] {
        for line in file.lines() {
            let case: serde_json::Value = serde_json::from_str(line).expect("a case");
            let text = case["sql"]
                .as_str()
                .filter(|_| case["dialect"] == dialect && case["steps"].is_null());
            let rounds = text.and_then(|text| (0..ROUNDS).map(|_| timed(judge, text)).min());
            least.extend(rounds);
        }
    }
    least
}

fn hostile(judge: Judge) -> (Duration, String) {
    let texts = HOSTILE
        .into_iter()
        .flat_map(|shape| SIZES.map(|size| (shape, size)));
    let times = texts.map(|((open, repeat, middle, close), size)| {
        let repeats = size / (repeat.len() + close.len());
        let text = format!(
            "{open}{}{middle}{}",
            repeat.repeat(repeats),
            close.repeat(repeats)
        );
        let least = (0..ROUNDS).map(|_| timed(judge, &text)).min().unwrap_or_default();
        (least, format!("{} KiB of `{repeat}`", size >> 10))
    });
    times.max().expect("a text")
}

fn median_and_99th(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_nanos() as f64 / 1e3;
    format!("median {:.1} µs, p99 {:.1} µs", at(50), at(99))
}
