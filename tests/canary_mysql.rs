//! Our reading of MySQL text against a real MariaDB: where words end, how many statements there are, and that nothing
//! which is judged a read changes a row.
//!
//! Seeded and bounded; `COUNTERSIGN_CANARY_TEXTS` asks for more texts and `COUNTERSIGN_CANARY_SEED` for others.

#[path = "canary_mysql/dice.rs"]
mod dice;
#[path = "canary_mysql/digest.rs"]
mod digest;
mod support;
#[path = "canary_mysql/texts.rs"]
mod texts;

use countersign::sql::action::{Class, Judgement};
use countersign::sql::judge_mysql;
use countersign::sql::lex::mysql::scan;
use countersign::sql::mysql_state::{MysqlState, ServerKind, SqlModes};
use countersign::sql::parse::PARSER_STACK_BYTES;
use dice::Dice;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use support::mariadb::Mariadb;

fn number_from(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |value| value.parse().expect("a number"))
}

fn texts_wanted() -> usize {
    number_from("COUNTERSIGN_CANARY_TEXTS", 4_000) as usize
}

fn dice() -> Dice {
    let seed = number_from("COUNTERSIGN_CANARY_SEED", 4711);
    println!("seed {seed}");
    Dice::new(seed)
}

/// The modes under which texts are read here; the server is set to them, and our state follows.
const MODES: [&str; 5] = [
    "",
    "ANSI_QUOTES",
    "NO_BACKSLASH_ESCAPES",
    "IGNORE_SPACE",
    "ANSI,NO_BACKSLASH_ESCAPES,HIGH_NOT_PRECEDENCE",
];

/// The kind and version of a server as a proxy learns them from its greeting: `10.11.19-MariaDB-…`.
async fn state_of(conn: &mut Conn) -> MysqlState {
    let version: String = conn
        .query_first("SELECT VERSION()")
        .await
        .expect("asked")
        .expect("a row");
    let mut numbers = version
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let mut next = || numbers.next().expect("a version");
    MysqlState {
        kind: ServerKind::Mariadb,
        version: Some(next() * 10_000 + next() * 100 + next()),
        ..MysqlState::default_mysql()
    }
}

/// Readers are recursive; they are tested on the stack that they are promised.
fn on_a_large_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new()
        .stack_size(PARSER_STACK_BYTES)
        .spawn(work);
    thread.expect("a thread").join().expect("no panic")
}

#[tokio::test]
async fn words_end_where_mariadb_ends_them() {
    let server = Mariadb::start_with(&[
        "--performance-schema=ON",
        "--performance-schema-consumer-events-statements-current=ON",
        "--performance-schema-consumer-events-statements-history=ON",
        "--performance-schema-instrument=statement/%=ON",
    ]);
    let mut conn = server.connect().await;
    conn.query_drop("CREATE DATABASE app; USE app")
        .await
        .expect("a schema");
    let mut dice = dice();
    let mut compared = 0;
    for _ in 0..texts_wanted() {
        let modes = dice.pick(&MODES);
        let state = MysqlState {
            modes: SqlModes::of(modes),
            ..state_of(&mut conn).await
        };
        conn.query_drop(format!("SET sql_mode = '{modes}'"))
            .await
            .expect("set");
        let text = texts::of_words(&mut dice);
        let scan = scan(&text, 0, &state);
        if scan.refused.is_some() {
            continue;
        }
        // Names that do not exist are no hindrance: a text is cut before they are looked up.
        let _ = conn.query_drop(&text).await;
        let Some(digest) = digest::last(&mut conn).await else {
            continue;
        };
        compared += 1;
        let ours = digest::of_tokens(&text, &scan, &state);
        assert!(
            digest::agrees(&digest, &ours),
            "under `{modes}` MariaDB reads\n{text}\nas {digest}\nand we as {ours:?}"
        );
    }
    println!("{compared} compared");
    assert!(
        compared * 8 > texts_wanted(),
        "only {compared} texts were compared"
    );
}

/// A table that must not change, and every way to change it that a name can hide.
const CANARY: &str = "\
    CREATE DATABASE app; USE app;
    CREATE TABLE canary (id INT PRIMARY KEY, v INT, name VARCHAR(20)) ENGINE=InnoDB;
    CREATE TABLE secrets (k VARCHAR(20), v VARCHAR(20)); CREATE TABLE t (a INT, b INT, c INT, `delete` INT);
    INSERT INTO canary VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c'); INSERT INTO secrets VALUES ('api_key', 's3cr3t');
    INSERT INTO t VALUES (1, 2, 3, 4);
    CREATE SEQUENCE seq;
    CREATE TABLE touched (n INT);
    CREATE FUNCTION touch() RETURNS INT BEGIN INSERT INTO touched VALUES (1); RETURN 1; END;
    CREATE FUNCTION now () RETURNS INT BEGIN INSERT INTO touched VALUES (2); RETURN 1; END;
    CREATE FUNCTION max (x INT) RETURNS INT BEGIN INSERT INTO touched VALUES (3); RETURN 1; END;
    CREATE FUNCTION trim (x INT) RETURNS INT BEGIN INSERT INTO touched VALUES (4); RETURN 1; END;
    CREATE FUNCTION abs (x INT) RETURNS INT BEGIN INSERT INTO touched VALUES (5); RETURN 1; END;
    CREATE FUNCTION e (x INT) RETURNS INT BEGIN INSERT INTO touched VALUES (6); RETURN 1; END;";

/// What must be the same for ever: rows, what was called, the sequence, and the tables that there are.
const FINGERPRINT: &str = "\
    SELECT CONCAT_WS('/', (SELECT GROUP_CONCAT(id, v, name ORDER BY id) FROM app.canary), (SELECT COUNT(*) FROM app.touched), \
    (SELECT COUNT(*) FROM app.secrets), (SELECT COUNT(*) FROM app.t), (SELECT next_not_cached_value FROM app.seq), \
    (SELECT COUNT(*) FROM information_schema.tables), (SELECT COUNT(*) FROM mysql.user), @@global.max_connections)";

async fn fingerprint(server: &Mariadb) -> String {
    let mut conn = server.connect().await;
    let found: Option<String> = conn.query_first(FINGERPRINT).await.expect("the canary is there");
    conn.disconnect().await.expect("closed");
    found.expect("a row")
}

/// Runs a text as it is, with several statements in it. `None`: the server refused a part of it; otherwise how many
/// statements it ran.
async fn run(conn: &mut Conn, text: &str) -> Option<usize> {
    let mut result = conn.query_iter(text).await.ok()?;
    let mut statements = 0;
    while statements == 0 || !result.is_empty() {
        let _: Vec<Row> = result.collect().await.ok()?;
        statements += 1;
    }
    // An error of a later statement is told only here.
    result.drop_result().await.ok()?;
    Some(statements)
}

#[tokio::test]
async fn what_is_judged_a_read_changes_nothing() {
    let server = Mariadb::start_with(&["--max-statement-time=5"]);
    let mut conn = server.connect().await;
    // The definitions hold semicolons, so each is sent alone.
    for statement in CANARY.split(";\n").flat_map(|line| match line.contains("BEGIN") {
        true => vec![line],
        false => line.split(';').collect(),
    }) {
        conn.query_drop(statement.trim().trim_end_matches(';'))
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let before = fingerprint(&server).await;
    let state = state_of(&mut conn).await;
    let (mut reads, mut accepted) = (0, 0);
    let mut ran: Vec<(&str, String)> = Vec::new();
    let mut dice = dice();
    let wanted = texts_wanted();
    for number in 0..wanted {
        let modes = dice.pick(&MODES);
        let text = texts::whole(&mut dice);
        let state = MysqlState {
            modes: SqlModes::of(modes),
            ..state
        };
        let judged = judge(&text, state);
        if judged.class() <= Class::Read && !judged.actions.is_empty() {
            reads += 1;
            conn.query_drop(format!("USE app; SET sql_mode = '{modes}'"))
                .await
                .expect("set");
            if let Some(statements) = run(&mut conn, &text).await {
                accepted += 1;
                assert_eq!(
                    statements,
                    judged.actions.len(),
                    "under `{modes}` MariaDB counts other statements in\n{text}"
                );
            }
            ran.push((modes, text));
            // What a text has set is not for the next one.
            conn.reset().await.expect("a fresh session");
        }
        if ran.len() == 50 || number + 1 == wanted {
            let after = fingerprint(&server).await;
            assert_eq!(after, before, "one of these is no read: {ran:#?}");
            ran.clear();
        }
    }
    println!("{wanted} texts, {reads} judged reads, {accepted} of them accepted");
    assert!(accepted * 20 > wanted, "only {accepted} reads were run");
}

fn judge(text: &str, state: MysqlState) -> Judgement {
    let text = text.to_owned();
    on_a_large_stack(move || judge_mysql(text.as_bytes(), &state, &()))
}

#[tokio::test]
async fn a_text_that_is_no_read_does_change_the_canary() {
    let server = Mariadb::start();
    let mut conn = server.connect().await;
    conn.query_drop("CREATE DATABASE app; CREATE TABLE app.canary (id INT)")
        .await
        .expect("a table");
    assert_eq!(
        run(&mut conn, "SELECT 1; INSERT INTO app.canary VALUES (1); SELECT 2").await,
        Some(3)
    );
    assert_eq!(run(&mut conn, "SELECT 1; nonsense").await, None);
    let rows: Option<u64> = conn
        .query_first("SELECT COUNT(*) FROM app.canary")
        .await
        .expect("asked");
    assert_eq!(rows, Some(1));
}
