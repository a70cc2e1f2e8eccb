//! What judging one text costs: `cargo bench --bench judge`. Prints the median and the least of many runs, in ns; the
//! same text again (its shape was read before), and a text with a comment, which the second reader reads each time.

use std::hint::black_box;
use std::time::Instant;

use countersign::sql::judge_postgres;
use countersign::sql::parse::PARSER_STACK_BYTES;
use countersign::sql::statement::LexingState;

const TEXTS: [(&str, &str); 4] = [
    ("one", "SELECT 1"),
    (
        "by key",
        "SELECT id, name, email, created_at FROM app.customers WHERE id = $1 AND country = 'DE' ORDER BY name LIMIT 10",
    ),
    (
        "join",
        "SELECT o.id, c.name, count(*) FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.status = 'paid' GROUP BY 1, 2",
    ),
    (
        "update",
        "UPDATE app.customers SET balance = balance - 1 WHERE id = 7",
    ),
];
const ROUNDS: usize = 50;
const RUNS: usize = 200;

fn main() {
    let measured = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES).spawn(|| {
        for (name, text) in TEXTS {
            let again = measure(|_| text.to_owned());
            let comment = measure(|run| format!("{text} -- {run}"));
            println!("{name}: {} bytes; seen before {again:?} ns, with a comment {comment:?} ns (median, least)", text.len());
        }
    });
    measured.expect("a thread").join().expect("measured");
}

fn measure(text: impl Fn(usize) -> String) -> (u128, u128) {
    let mut rounds: Vec<u128> = (0..ROUNDS)
        .map(|round| {
            let texts: Vec<String> = (0..RUNS).map(|run| text(round * RUNS + run)).collect();
            let started = Instant::now();
            for text in &texts {
                black_box(judge_postgres(
                    text.as_bytes(),
                    LexingState::default_postgres(),
                    &(),
                ));
            }
            started.elapsed().as_nanos() / RUNS as u128
        })
        .collect();
    rounds.sort_unstable();
    (rounds[ROUNDS / 2], rounds[0])
}
