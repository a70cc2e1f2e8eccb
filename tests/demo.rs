//! The demo and its scratch server, as a newcomer meets them: what is printed, and that nothing is left behind.

mod support;

use support::server::{Postgres, eventually};

#[tokio::test]
async fn sample_database_has_a_hundred_thousand_rows_and_an_owner_who_is_no_superuser() {
    let postgres = Postgres::start();
    let client = postgres.connect().await;
    let rows = "SELECT sum((xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %I', relname), \
                true, true, '')))[1]::text::bigint)::bigint FROM pg_class \
                WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    let rows: i64 = client.query_one(rows, &[]).await.unwrap().get(0);
    assert!((90_000..120_000).contains(&rows), "{rows} rows");
    let is_superuser: bool = client
        .query_one("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", &[])
        .await
        .unwrap()
        .get(0);
    assert!(!is_superuser);
}

#[tokio::test]
async fn scratch_server_and_its_folder_are_gone_when_dropped() {
    let postgres = Postgres::start();
    let folder = postgres.server().folder().to_owned();
    let client = postgres.connect().await;
    drop(postgres);
    assert!(!folder.exists());
    eventually("the connection ends", async || client.is_closed()).await;
}

#[tokio::test]
async fn server_log_shows_what_reached_it() {
    let postgres = Postgres::start();
    let client = postgres.connect().await;
    client.simple_query("SELECT 4711 AS reached").await.unwrap();
    assert!(postgres.has_seen("SELECT 4711 AS reached"));
    assert!(!postgres.has_seen("SELECT 4712"));
}
