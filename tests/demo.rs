//! The demo and its scratch server, as a newcomer meets them: what is printed, and that nothing is left behind.

#[path = "demo/mysql.rs"]
mod mysql;
mod support;

use rustix::process::Signal;
use support::child::{Demo, Process};
use support::server::{PROGRAM, Postgres, connect, eventually};

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

#[tokio::test]
async fn control_c_leaves_no_server_behind() {
    check_end(Signal::INT, true).await;
}

#[tokio::test]
async fn sigterm_leaves_no_server_behind() {
    check_end(Signal::TERM, true).await;
}

#[tokio::test]
async fn even_sigkill_leaves_no_server_behind() {
    check_end(Signal::KILL, false).await;
}

/// As `pkill -9 countersign` does it: the watchdog goes with its parent, and its server all the same.
#[tokio::test]
async fn no_server_outlives_its_killed_watchdog() {
    let mut demo = Demo::start(&[]);
    let admin = connect(&demo.sheet.admin_postgres_url).await;
    let folder = demo.sheet.data_dir.parent().unwrap().to_owned();
    let watchdog = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok())
        .find(|process| {
            let words = std::fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
            words.contains("demo-watchdog") && words.contains(folder.to_str().unwrap())
        })
        .expect("a demo has a watchdog");
    let watchdog = rustix::process::Pid::from_raw(watchdog).unwrap();
    rustix::process::kill_process(watchdog, Signal::KILL).unwrap();
    demo.process().signal(Signal::KILL);
    eventually("the server has ended", async || admin.is_closed()).await;
    eventually("its folder can be removed", async || {
        std::fs::remove_dir_all(&folder).is_ok() || !folder.exists()
    })
    .await;
}

async fn check_end(signal: Signal, ends_well: bool) {
    let mut demo = Demo::start(&[]);
    let sheet = demo.sheet.clone();
    let admin = connect(&sheet.admin_postgres_url).await;
    let folder = sheet.data_dir.parent().unwrap().to_owned();
    demo.process().signal(signal);
    assert_eq!(
        demo.process().wait().success(),
        ends_well,
        "{}",
        demo.process().messages()
    );
    eventually("the server has ended", async || admin.is_closed()).await;
    eventually("the folder has gone", async || !folder.exists()).await;
    assert_eq!(
        demo.process().next_line(),
        None,
        "one line alone on standard output"
    );
}

#[tokio::test]
async fn demo_says_so_and_ends_when_its_server_dies() {
    let mut demo = Demo::start(&[]);
    let lock_file = demo.sheet.data_dir.parent().unwrap().join("data/postmaster.pid");
    let pid: i32 = std::fs::read_to_string(lock_file)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    assert!(!demo.process().wait().success());
    assert!(
        demo.process().messages().contains("ended by itself"),
        "{}",
        demo.process().messages()
    );
}

#[tokio::test]
async fn admin_url_is_the_role_that_the_agent_is_mapped_to() {
    let demo = Demo::start(&[]);
    let question = "SELECT current_user::text, current_database()::text";
    let past = connect(&demo.sheet.admin_postgres_url)
        .await
        .query_one(question, &[])
        .await
        .unwrap();
    let through = connect(&demo.sheet.postgres_url)
        .await
        .query_one(question, &[])
        .await
        .unwrap();
    let names = |row: &tokio_postgres::Row| (row.get::<_, String>(0), row.get::<_, String>(1));
    assert_eq!(names(&past), (String::from("shop_owner"), String::from("shop")));
    assert_eq!(names(&past), names(&through));
}

#[tokio::test]
async fn the_auditor_reads_by_sql_what_the_agent_sent() {
    let postgres = Postgres::start();
    let demo = Demo::in_front_of(&postgres);
    let agent = connect(&demo.sheet.postgres_url).await;
    agent.batch_execute("SELECT 4711").await.unwrap();
    drop(agent);
    let auditor = connect(&demo.sheet.auditor_url).await;
    let sql = "SELECT principal, class, verdict, outcome, rows FROM statements WHERE text = $1";
    let mut row = auditor.query_one(sql, &[&"SELECT 4711"]).await.unwrap();
    // A result is written a moment after it was sent on.
    while row.get::<_, Option<&str>>(3).is_none() {
        row = auditor.query_one(sql, &[&"SELECT 4711"]).await.unwrap();
    }
    let words = [0, 1, 2, 3].map(|at| row.get::<_, &str>(at));
    assert_eq!(words, ["shop-agent", "read", "allow", "ran"]);
    assert_eq!(row.get::<_, Option<i64>>(4), Some(1));
    let refused = auditor.batch_execute("DELETE FROM statements").await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "25006");
}

#[tokio::test]
async fn kept_folder_has_store_and_journal_and_serves_again() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().unwrap();
    let keep = folder.path().join("kept");
    let arguments = [
        "--keep",
        keep.to_str().unwrap(),
        "--upstream-postgres",
        &postgres.upstream_url(),
    ];
    let first = Demo::start(&arguments);
    let client = connect(&first.sheet.postgres_url).await;
    client
        .simple_query("SELECT 'said in the first demo'")
        .await
        .unwrap();
    assert_eq!(first.sheet.data_dir, keep);
    drop((client, first));
    assert!(
        std::fs::read_dir(&keep).unwrap().count() >= 2,
        "store and journal"
    );

    let second = Demo::start(&arguments);
    let (status, log) = second.reviewer().get("/log?limit=500").await;
    assert_eq!(status, 200, "{log}");
    assert!(log.to_string().contains("said in the first demo"), "{log}");
    connect(&second.sheet.postgres_url)
        .await
        .simple_query("SELECT 1")
        .await
        .unwrap();
}

#[tokio::test]
async fn rules_file_of_the_demo_is_the_one_that_was_named() {
    let postgres = Postgres::start();
    let demo = Demo::start(&[
        "--rules",
        "rules/strict.toml",
        "--upstream-postgres",
        &postgres.upstream_url(),
    ]);
    let client = connect(&demo.sheet.postgres_url).await;
    let reviewer = demo.reviewer();
    let text = "UPDATE products SET price_cents = 1 WHERE id = 1";
    let (updated, ()) = tokio::join!(client.execute(text, &[]), async {
        reviewer.approve(&reviewer.held("UPDATE products").await).await;
    });
    assert_eq!(updated.unwrap(), 1);
}

#[tokio::test]
async fn reviewers_are_two_people_and_the_agents_owner_is_neither() {
    let postgres = Postgres::start();
    let demo = Demo::in_front_of(&postgres);
    assert_ne!(demo.sheet.reviewer_token, demo.sheet.second_reviewer_token);
    let client = connect(&demo.sheet.postgres_url).await;
    let held = tokio::spawn(async move { client.batch_execute("DROP TABLE orders_import_2023").await });
    let request = demo.reviewer().held("DROP TABLE").await;
    assert_eq!(request["principal"], demo.sheet.agent.as_str());
    assert!(
        !["dba-1", "dba-2"].contains(&request["owner"].as_str().unwrap()),
        "{request}"
    );
    demo.second_reviewer().deny(&request, "not today").await;
    assert!(held.await.unwrap().is_err());
}

#[test]
fn human_mode_prints_what_to_paste() {
    let postgres = Postgres::start();
    let mut command = std::process::Command::new(PROGRAM);
    command.args(["demo", "--upstream-postgres", &postgres.upstream_url()]);
    let mut demo = Process::spawn(command);
    demo.next_line_of(&["The agent's connection string"]);
    assert!(demo.next_line().unwrap().contains("postgresql://shop-agent:"));
    assert!(demo.next_line_of(&["  export"]).contains("COUNTERSIGN_TOKEN=cs_"));
    demo.next_line_of(&["Ctrl-C ends everything"]);
}

#[test]
fn connection_string_that_lacks_its_password_is_an_error_with_a_next_step() {
    let mut command = std::process::Command::new(PROGRAM);
    command.args([
        "demo",
        "--json",
        "--upstream-postgres",
        "postgresql://app@127.0.0.1/shop",
    ]);
    let output = command.output().unwrap();
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        messages.contains("lacks its password") && messages.contains("hint: write"),
        "{messages}"
    );
    assert!(output.stdout.is_empty());
}
