//! Promises 2, 3, 7 and 9 of the README as a whole: through the proxy, with a real driver, read on the server's side.
//!
//! Never looks inside the proxy. Promises 1, 5, 6, 8 and 10 are in `postgres.rs` and `desk/`, promise 4 in `desk/` and
//! `api.rs`.

mod support;

use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use support::api::Api;
use support::child::Demo;
use support::mysql_answer::{error, value};
use support::mysql_wire::MysqlWire;
use support::server::{PROGRAM, Postgres, connect, eventually};
use tokio_postgres::Client;

#[tokio::test]
async fn promise_2_nothing_of_a_held_statement_reaches_the_server_before_the_decision() {
    let postgres = Postgres::start();
    let demo = Demo::in_front_of(&postgres);
    let reviewer = demo.reviewer();
    let client = connect(&demo.sheet.postgres_url).await;
    let texts = [
        "DROP TABLE reviews /* drop */",
        "SELECT 1; DELETE FROM payments /* behind a read */",
        "COPY customers TO STDOUT /* copy */",
        "DO $$ BEGIN DELETE FROM stock; END $$ /* block */",
        "GRANT SELECT ON customers TO PUBLIC /* grant */",
    ];
    for text in texts {
        let (refused, ()) = tokio::join!(client.batch_execute(text), async {
            let request = reviewer.held(text).await;
            assert!(!postgres.has_seen(text), "simple: {text}");
            reviewer.deny(&request, "not today").await;
        });
        assert_eq!(sqlstate(refused), "42501");
    }
    let with_parameter = "DELETE FROM reviews WHERE stars > $1 /* bound */";
    let (refused, ()) = tokio::join!(client.execute(with_parameter, &[&3_i16]), async {
        let request = reviewer.held(with_parameter).await;
        assert!(!postgres.log().contains("DELETE FROM reviews"), "extended");
        reviewer.deny(&request, "not today").await;
    });
    assert_eq!(sqlstate(refused.map(drop)), "42501");
    // What the server has answered since, it has logged behind everything that came before.
    client.simple_query("SELECT 'the last word'").await.unwrap();
    assert!(postgres.has_seen("SELECT 'the last word'"));
    for text in texts.iter().chain(&[with_parameter]) {
        assert!(!postgres.has_seen(text), "denied and yet seen: {text}");
    }
}

#[tokio::test]
async fn promise_3_the_attempt_is_in_the_log_before_its_statement_is_done() {
    let postgres = Postgres::start();
    let demo = Demo::in_front_of(&postgres);
    let admin = postgres.connect().await;
    admin.batch_execute("BEGIN; LOCK TABLE products").await.unwrap();
    let client = connect(&demo.sheet.postgres_url).await;
    let read = tokio::spawn(async move {
        client
            .simple_query("SELECT 'waits for a lock' FROM products")
            .await
    });
    eventually("the server has it", async || {
        postgres.has_seen("waits for a lock")
    })
    .await;
    assert!(log_of(&demo.reviewer()).await.contains("waits for a lock"));
    admin.batch_execute("COMMIT").await.unwrap();
    read.await.unwrap().unwrap();
}

/// The proxy may not make any file longer: as if the disk were full. No restart, no new session.
#[tokio::test]
async fn promise_3_no_statement_runs_while_the_log_cannot_be_written() {
    let postgres = Postgres::start();
    let demo = Demo::start_as(
        &["--upstream-postgres", &postgres.upstream_url()],
        ignoring_file_size_signal(),
    );
    let client = connect(&demo.sheet.postgres_url).await;
    client.simple_query("SELECT 'before the fault'").await.unwrap();

    limit_file_size(&demo, Some(1));
    let mut refusals = Vec::new();
    for mark in ["first unlogged", "second unlogged"] {
        refusals.push(sqlstate(client.batch_execute(&format!("SELECT '{mark}'")).await));
    }
    refusals.push(sqlstate(
        client.batch_execute("DROP TABLE reviews /* unlogged */").await,
    ));
    limit_file_size(&demo, None);
    assert_eq!(refusals, ["58000"; 3]);

    eventually("it recovers", async || {
        client.simple_query("SELECT 'after the fault'").await.is_ok()
    })
    .await;
    assert!(postgres.has_seen("before the fault") && postgres.has_seen("after the fault"));
    assert!(!postgres.has_seen("unlogged"));
}

/// The same for MySQL, whose errors have numbers of their own.
#[test]
fn promise_3_no_statement_of_mysql_runs_while_the_log_cannot_be_written() {
    let demo = Demo::start_as(&["--only", "mysql"], ignoring_file_size_signal());
    let mut wire = MysqlWire::connect(&demo.sheet.mysql_url);
    let mut admin = MysqlWire::connect(&demo.sheet.admin_mysql_url);
    let write = "INSERT INTO unlogged VALUES (1)";
    assert!(admin.query("CREATE TABLE unlogged (id int)")[0].is_ok());

    limit_file_size(&demo, Some(1));
    for text in ["SELECT 'first unlogged'", write, "DROP TABLE unlogged"] {
        let refused = error(&wire.query(text));
        assert_eq!(
            (refused.number, refused.state.as_str()),
            (1105, "HY000"),
            "{text}"
        );
    }
    limit_file_size(&demo, None);
    assert_eq!(value(&admin.query("SELECT COUNT(*) FROM unlogged")), "0");

    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !wire.query(write)[0].is_ok() {
        assert!(std::time::Instant::now() < until, "it does not recover");
    }
    assert_eq!(value(&admin.query("SELECT COUNT(*) FROM unlogged")), "1");
}

#[tokio::test]
async fn promise_7_a_refusal_leaves_the_transaction_as_the_server_would_after_an_error() {
    let postgres = Postgres::start();
    let demo = Demo::in_front_of(&postgres);
    let client = connect(&demo.sheet.postgres_url).await;

    deny(&demo, &client, "DROP TABLE reviews /* alone */").await;
    client.batch_execute("SELECT 'goes on'").await.unwrap();

    client
        .batch_execute("BEGIN; UPDATE products SET price_cents = 7 WHERE id = 7")
        .await
        .unwrap();
    deny(&demo, &client, "DROP TABLE reviews /* in a transaction */").await;
    assert_eq!(sqlstate(client.batch_execute("SELECT 'too late'").await), "25P02");
    client.batch_execute("COMMIT").await.unwrap();
    let price: i32 = client
        .query_one("SELECT price_cents FROM products WHERE id = 7", &[])
        .await
        .unwrap()
        .get(0);
    assert_ne!(price, 7, "the commit of a failed transaction is a rollback");

    client
        .batch_execute("BEGIN; UPDATE products SET price_cents = 8 WHERE id = 8; SAVEPOINT before")
        .await
        .unwrap();
    deny(&demo, &client, "DROP TABLE reviews /* behind a savepoint */").await;
    client.batch_execute("ROLLBACK TO before; COMMIT").await.unwrap();
    let price: i32 = client
        .query_one("SELECT price_cents FROM products WHERE id = 8", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(price, 8, "what stood before the savepoint is committed");
}

#[tokio::test]
async fn promise_9_statements_and_decisions_are_in_the_log_in_their_order() {
    let postgres = Postgres::start();
    let demo = Demo::in_front_of(&postgres);
    let client = connect(&demo.sheet.postgres_url).await;
    client.simple_query("SELECT 'mark 1'").await.unwrap();
    deny(&demo, &client, "DROP TABLE reviews /* mark 2 */").await;
    let approved = "DROP TABLE orders_import_2023 /* mark 3 */";
    let (ran, ()) = tokio::join!(client.batch_execute(approved), async {
        let reviewer = demo.second_reviewer();
        reviewer.approve(&reviewer.held(approved).await).await;
    });
    ran.unwrap();
    eventually("the last result is there", async || {
        let text = log_of(&demo.reviewer()).await;
        let marks = [
            "mark 1",
            "mark 2",
            "not today",
            "mark 3",
            "looked at it",
            "DROP TABLE",
        ];
        let places: Vec<_> = marks.iter().map(|mark| text.rfind(mark)).collect();
        places.iter().all(Option::is_some)
            && text.find("mark 1") < text.find("mark 2")
            && text.find("mark 2") < text.find("mark 3")
    })
    .await;
}

async fn deny(demo: &Demo, client: &Client, text: &str) {
    let reviewer = demo.reviewer();
    let (refused, ()) = tokio::join!(client.batch_execute(text), async {
        reviewer.deny(&reviewer.held(text).await, "not today").await;
    });
    assert_eq!(sqlstate(refused), "42501", "{text}");
}

fn sqlstate(result: Result<(), tokio_postgres::Error>) -> String {
    let error = result.expect_err("it is refused");
    error
        .code()
        .map_or_else(|| error.to_string(), |code| code.code().to_owned())
}

async fn log_of(reviewer: &Api) -> String {
    let (status, log) = reviewer.get("/log?order=oldest&limit=1000").await;
    assert!(status.is_success(), "{log}");
    log.to_string()
}

/// Beyond its limit a write is an error only for a process that ignores SIGXFSZ, which a shell can arrange.
fn ignoring_file_size_signal() -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", PROGRAM]);
    shell
}

fn limit_file_size(demo: &Demo, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(demo.id()).unwrap());
    let maximum = getrlimit(Resource::Fsize).maximum;
    prlimit(
        pid,
        Resource::Fsize,
        Rlimit {
            current: bytes.or(maximum),
            maximum,
        },
    )
    .unwrap();
}
