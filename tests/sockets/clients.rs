//! Clients that leave at a bad moment, or never read.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use super::support::child::Demo;
use super::support::server::{Postgres, eventually};
use super::support::wire::{Frames, Wire, value};

/// How many of the agent's server connections wait for this, as LIKE has it.
async fn backends(postgres: &Postgres, waiting: &str) -> i64 {
    let admin = postgres.connect_as_superuser().await;
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'told apart' AND wait_event_type LIKE $1";
    let row = admin.query_one(sql, &[&waiting]).await;
    row.expect("the server answers").get(0)
}

/// The reset and the answer lie before the proxy at once: it learns of the first while it writes the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_while_its_answer_is_on_the_way_leaves_no_session_behind() {
    let postgres = Postgres::start();
    let mut demo = Demo::in_front_of(&postgres);
    let url = &demo.sheet.postgres_url;
    let mut client = Wire::connect_with(url, &[("application_name", "told apart")]).expect("a log-in");
    let locked = postgres.connect().await;
    locked
        .batch_execute("BEGIN; LOCK TABLE products")
        .await
        .expect("the lock");
    client.send(Frames::new().query("SELECT id FROM products"));
    eventually("the server has it", async || {
        backends(&postgres, "Lock").await == 1
    })
    .await;
    demo.process().signal(Signal::STOP);
    locked.batch_execute("COMMIT").await.expect("unlocked");
    eventually("the server has answered", async || {
        backends(&postgres, "Client").await == 1
    })
    .await;
    client.reset();
    demo.process().signal(Signal::CONT);
    eventually("the server connection is closed", async || {
        backends(&postgres, "%").await == 0
    })
    .await;
}

/// Without a Sync the server has nothing to commit, and waits for it with all locks held.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_its_sync_leaves_no_transaction_behind() {
    let postgres = Postgres::start();
    let demo = Demo::in_front_of(&postgres);
    let url = &demo.sheet.postgres_url;
    let update = "UPDATE countries SET name = 'Elsewhere' WHERE code = 'DE'";
    let endings = [
        Frames::new()
            .parse("", update)
            .bind("", "", &[])
            .execute("")
            .flush(),
        Frames::new().parse("", update).bind("", "", &[]).execute(""),
    ];
    for (turn, frames) in (1..).zip(endings) {
        let mut client = Wire::connect_with(url, &[("application_name", "told apart")]).expect("a log-in");
        client.send(frames);
        eventually("the server has run it", async || {
            postgres.log().matches(update).count() == turn
        })
        .await;
        client.hang_up();
        eventually("the server connection is closed", async || {
            backends(&postgres, "%").await == 0
        })
        .await;
    }
    let mut other = Wire::connect(url);
    let name = value(&other.query("SELECT name FROM countries WHERE code = 'DE'"));
    assert_ne!(name, "Elsewhere");
}

/// The server would wait for the rest of the data, with all locks held.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_inside_its_copy_leaves_no_statement_behind_and_its_end_is_known() {
    let postgres = Postgres::start();
    let demo = Demo::in_front_of(&postgres);
    let reviewer = demo.reviewer();
    let header_of_more = [b'd', 0, 0, 0, 100];
    for (text, data) in [
        (
            "COPY countries FROM STDIN /* between */",
            Frames::new().raw(b'd', b"XX\tNowhere\n"),
        ),
        (
            "COPY countries FROM STDIN /* inside */",
            Frames::new().bytes(&header_of_more).bytes(b"XX\tNow"),
        ),
    ] {
        let url = &demo.sheet.postgres_url;
        let mut client = Wire::connect_with(url, &[("application_name", "told apart")]).expect("a log-in");
        client.send(Frames::new().query(text));
        let request = reviewer.held(text).await;
        reviewer.approve(&request).await;
        client.until(b'G');
        client.send(data);
        client.hang_up();
        eventually("the server connection is closed", async || {
            backends(&postgres, "%").await == 0
        })
        .await;
        let states = if text.contains("between") {
            ["failed"]
        } else {
            ["outcome_unknown"]
        };
        reviewer.until_state(&request, &states).await;
    }
    let mut other = Wire::connect(&demo.sheet.postgres_url);
    let rows = other.query("SELECT count(*) FROM countries WHERE code = 'XX'");
    assert_eq!(value(&rows), "0");
}

/// Each of its messages is refused, so that the proxy itself has an answer to every one of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_its_refusals_is_not_read_from_either() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let rules = folder.path().join("rules.toml");
    let reason = "long words ".repeat(35);
    let rule =
        format!("[[rule]]\nname = \"none\"\nclass = [\"ddl\"]\noutcome = \"deny\"\nreason = \"{reason}\"\n");
    std::fs::write(&rules, rule).expect("written");
    let rules = rules.to_str().expect("UTF-8");
    let demo = Demo::start(&["--upstream-postgres", &postgres.owner_url(), "--rules", rules]);
    let client = Wire::connect(&demo.sheet.postgres_url);
    let refused = Frames::new().query(&format!("DROP TABLE reviews /* {} */", "x".repeat(1 << 10)));
    let taken = bytes_taken(client.socket(), &refused.0, BYTES_OFFERED);
    assert!(taken < BYTES_OFFERED, "all was taken, and none of the answers");
}

/// Several times what kernel and proxy keep of messages that wait, and of their answers.
const BYTES_OFFERED: usize = 24 << 20;

/// Offers bytes again and again; gives how many were taken when no more were for two seconds.
fn bytes_taken(mut socket: &TcpStream, bytes: &[u8], offered: usize) -> usize {
    socket
        .set_write_timeout(Some(Duration::from_secs(2)))
        .expect("an option");
    let mut taken = 0;
    while taken < offered {
        match socket.write(&bytes[taken % bytes.len()..]) {
            Ok(count) => taken += count,
            Err(_) => break,
        }
    }
    taken
}
