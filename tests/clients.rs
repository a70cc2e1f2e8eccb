//! Real clients with their defaults, through the proxy, to a real server: read, hold and approve, hold and deny, cancel
//! while held, leave while held.
//!
//! Never skips a client that is missing. The driver programs and what they print: `tests/clients/README.md`.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use support::api::{Api, text_of};
use support::child::{Demo, Process};
use support::server::{Postgres, connect, eventually};
use support::terminal::Terminal;

/// A server, the proxy in front of it, and a reviewer.
struct Stage {
    demo: Demo,
    reviewer: Api,
    postgres: Postgres,
    admin: tokio_postgres::Client,
}

impl Stage {
    async fn set() -> Self {
        let postgres = Postgres::start();
        let demo = Demo::in_front_of(&postgres);
        let reviewer = demo.reviewer();
        let admin = postgres.connect().await;
        Stage {
            demo,
            reviewer,
            postgres,
            admin,
        }
    }

    /// A table of five rows, n from 1 to 5.
    async fn make_table(&self, name: &str) {
        let script = format!("CREATE TABLE {name} (n int); INSERT INTO {name} SELECT generate_series(1, 5)");
        self.admin.batch_execute(&script).await.unwrap();
    }

    async fn has_table(&self, name: &str) -> bool {
        let row = self
            .admin
            .query_one("SELECT to_regclass($1) IS NOT NULL", &[&name])
            .await
            .unwrap();
        row.get(0)
    }

    /// How often the server has been sent this text, by whatever protocol.
    fn times_run(&self, text: &str) -> usize {
        let log = self.postgres.log();
        let received = ["statement: ", "execute "];
        log.lines()
            .filter(|line| received.iter().any(|word| line.contains(word)) && line.contains(text))
            .count()
    }

    /// The request that holds this text, of which nothing has reached the server.
    async fn held(&self, text: &str) -> Value {
        let request = self.reviewer.held(text).await;
        assert!(
            !self.postgres.has_seen(text),
            "`{text}` reached the server before a decision"
        );
        request
    }
}

/// How to run one client in one of the modes of `tests/clients/README.md`.
type Client = fn(url: &str, mode: &str, argument: &str) -> Command;

/// How a driver sends the values of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    Bound,
    InTheText,
}

/// Every scenario for a driver with a program of its own.
async fn check_driver(values: Values, client: Client) {
    let stage = Stage::set().await;
    check_read(&stage, client).await;
    check_approve(&stage, client).await;
    check_values(&stage, values, client).await;
    check_deny(&stage, client).await;
    check_cancel(&stage, client).await;
    check_leave(&stage, client).await;
    check_log(&stage).await;
}

fn start(stage: &Stage, client: Client, mode: &str, argument: &str) -> Process {
    let mut command = client(&stage.demo.sheet.postgres_url, mode, argument);
    command.stdin(Stdio::piped());
    Process::spawn(command)
}

fn ends_well(mut client: Process) {
    assert_eq!(
        client.next_line_of(&["after"]),
        "after 1",
        "the same connection goes on"
    );
    assert!(client.wait().success(), "{}", client.messages());
}

async fn check_read(stage: &Stage, client: Client) {
    let mut process = start(stage, client, "read", "");
    let line = process.next_line_of(&["rows", "error"]);
    assert!(line.starts_with("rows "), "{line}");
    assert_eq!(
        stage.reviewer.count_requests().await,
        0,
        "reads and a driver's own queries are not held"
    );
    assert!(process.wait().success(), "{}", process.messages());
}

async fn check_approve(stage: &Stage, client: Client) {
    stage.make_table("to_approve").await;
    let text = "DROP TABLE to_approve";
    let mut process = start(stage, client, "run", text);
    let request = stage.held(text).await;
    assert_eq!(text_of(&request), text, "the reviewer sees the very bytes");
    stage.reviewer.approve(&request).await;
    assert_eq!(process.next_line_of(&["ok", "error"]), "ok");
    ends_well(process);
    stage.reviewer.until_state(&request, &["finished"]).await;
    assert!(!stage.has_table("to_approve").await);
    assert_eq!(stage.times_run(text), 1);
}

async fn check_values(stage: &Stage, values: Values, client: Client) {
    stage.make_table("to_thin_out").await;
    let mut process = start(stage, client, "delete", "to_thin_out");
    let request = stage.reviewer.held("to_thin_out").await;
    assert!(
        !stage.postgres.has_seen("DELETE FROM"),
        "it reached the server before a decision"
    );
    let shown = match values {
        Values::Bound => request["parameters"][0]["value"] == "3",
        Values::InTheText => text_of(&request).contains("WHERE n > 3 "),
    };
    assert!(shown, "the reviewer sees the value: {request}");
    stage.reviewer.approve(&request).await;
    assert_eq!(
        process.next_line_of(&["rows", "error"]),
        "rows 2",
        "the result comes back"
    );
    ends_well(process);
}

async fn check_deny(stage: &Stage, client: Client) {
    stage.make_table("to_deny").await;
    let text = "DROP TABLE to_deny";
    let mut process = start(stage, client, "run", text);
    let request = stage.held(text).await;
    stage.reviewer.deny(&request, "billing reads it").await;
    let error = process.next_line_of(&["ok", "error"]);
    assert!(
        error.starts_with("error 42501 ") && error.contains("billing reads it"),
        "{error}"
    );
    ends_well(process);
    assert!(stage.has_table("to_deny").await);
    assert_eq!(stage.times_run(text), 0);
}

async fn check_cancel(stage: &Stage, client: Client) {
    stage.make_table("to_cancel").await;
    let text = "DROP TABLE to_cancel";
    let mut process = start(stage, client, "cancel", text);
    let request = stage.held(text).await;
    std::io::Write::write_all(&mut process.take_stdin(), b"cancel\n").unwrap();
    let error = process.next_line_of(&["ok", "error"]);
    assert!(error.starts_with("error 57014 "), "{error}");
    ends_well(process);
    stage.reviewer.until_state(&request, &["withdrawn"]).await;
    assert_eq!(stage.times_run(text), 0);
}

/// Every statement of it all is found, with what was decided.
async fn check_log(stage: &Stage) {
    let query = [
        "log",
        "query",
        "--json",
        "--limit",
        "1000",
        "--principal",
        &stage.demo.sheet.agent,
    ];
    let wanted = [
        "FROM orders ORDER BY id LIMIT 5",
        "DROP TABLE to_approve",
        "to_thin_out",
        "DROP TABLE to_deny",
        "DROP TABLE to_cancel",
        "DROP TABLE to_leave",
        "SELECT 1",
    ];
    eventually("`countersign log query` finds every statement", async || {
        let output = stage.demo.command(&query).output().unwrap();
        let records = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        wanted.iter().all(|text| records.contains(text))
    })
    .await;
}

/// A client that leaves is not run for; the same bytes again, after the approval, run once.
async fn check_leave(stage: &Stage, client: Client) {
    stage.make_table("to_leave").await;
    let text = "DROP TABLE to_leave";
    let process = start(stage, client, "run", text);
    let request = stage.held(text).await;
    process.signal(Signal::KILL);
    let detached = stage.reviewer.until_state(&request, &["detached"]).await;
    stage.reviewer.approve(&detached).await;
    stage.reviewer.until_state(&request, &["grant"]).await;
    assert!(
        stage.has_table("to_leave").await,
        "nothing runs for somebody who has left"
    );
    let mut again = start(stage, client, "run", text);
    assert_eq!(again.next_line_of(&["ok", "error"]), "ok");
    ends_well(again);
    stage.reviewer.until_state(&request, &["redeemed"]).await;
    assert!(!stage.has_table("to_leave").await);
    assert_eq!(stage.times_run(text), 1);
}

#[tokio::test]
async fn psycopg_reads_waits_is_refused_cancels_and_leaves() {
    check_driver(Values::Bound, |url, mode, argument| {
        program(&python(), "psycopg_client.py", url, mode, argument)
    })
    .await;
}

#[tokio::test]
async fn psycopg2_reads_waits_is_refused_cancels_and_leaves() {
    check_driver(Values::InTheText, |url, mode, argument| {
        program(&python(), "psycopg2_client.py", url, mode, argument)
    })
    .await;
}

#[tokio::test]
async fn pg8000_reads_waits_is_refused_cancels_and_leaves() {
    check_driver(Values::Bound, |url, mode, argument| {
        program(&python(), "pg8000_client.py", url, mode, argument)
    })
    .await;
}

#[tokio::test]
async fn sqlalchemy_starts_reflects_the_schema_and_reads_without_a_single_hold() {
    let stage = Stage::set().await;
    let mut process = Process::spawn(program(
        &python(),
        "sqlalchemy_client.py",
        &stage.demo.sheet.postgres_url,
        "read",
        "",
    ));
    // 14 tables, 3 views and 3 orders with their customers.
    assert_eq!(process.next_line_of(&["rows"]), "rows 20");
    assert_eq!(stage.reviewer.count_requests().await, 0);
}

#[tokio::test]
async fn asyncpg_reads_waits_is_refused_cancels_and_leaves() {
    check_driver(Values::Bound, |url, mode, argument| {
        program(&python(), "asyncpg_client.py", url, mode, argument)
    })
    .await;
}

#[tokio::test]
async fn node_postgres_reads_waits_is_refused_cancels_and_leaves() {
    check_driver(Values::Bound, |url, mode, argument| {
        program(&node(), "node_postgres_client.js", url, mode, argument)
    })
    .await;
}

#[tokio::test]
async fn postgres_js_reads_waits_is_refused_cancels_and_leaves() {
    check_driver(Values::Bound, |url, mode, argument| {
        program(&node(), "postgres_js_client.mjs", url, mode, argument)
    })
    .await;
}

#[tokio::test]
async fn pgjdbc_reads_waits_is_refused_cancels_and_leaves() {
    check_driver(Values::Bound, |url, mode, argument| {
        let mut java = Command::new("java");
        let classes = format!(
            "/usr/share/java/postgresql.jar:{}",
            drivers().join("java").display()
        );
        java.args(["-cp", &classes, "Client", &jdbc_url(url), mode, argument]);
        java
    })
    .await;
}

fn program(interpreter: &Path, file: &str, url: &str, mode: &str, argument: &str) -> Command {
    let mut command = Command::new(interpreter);
    command
        .arg(Path::new("tests/clients").join(file))
        .args([url, mode]);
    command.args(Some(argument).filter(|argument| !argument.is_empty()));
    command.env("NODE_PATH", drivers().join("node/node_modules"));
    command
}

/// Where `./test` installs the drivers.
fn drivers() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("it is inside the target folder");
    let drivers = target.join("drivers");
    assert!(
        drivers.exists(),
        "{} is missing: run ./test, which installs the drivers",
        drivers.display()
    );
    drivers
}

fn python() -> PathBuf {
    drivers().join("python/bin/python")
}

fn node() -> PathBuf {
    PathBuf::from("node")
}

/// pgjdbc takes user and password as arguments of the URL.
fn jdbc_url(url: &str) -> String {
    let rest = url.strip_prefix("postgresql://").expect("a connection string");
    let (user, place) = rest.split_once('@').expect("user and place");
    let (name, password) = user.split_once(':').expect("name and password");
    format!("jdbc:postgresql://{place}?user={name}&password={password}")
}

fn psql(stage: &Stage, statements: &[&str]) -> Command {
    let mut command = Command::new(stage.postgres.server().client_programs().join("psql"));
    command.args([
        "--no-psqlrc",
        "--no-align",
        "--tuples-only",
        "--set=VERBOSITY=verbose",
    ]);
    command.args(["--dbname", &stage.demo.sheet.postgres_url]);
    for statement in statements {
        command.args(["--command", statement]);
    }
    command
}

/// So that tab completion and Ctrl-C are real.
fn psql_on_a_terminal(stage: &Stage) -> Terminal {
    let psql = stage.postgres.server().client_programs().join("psql");
    let url = &stage.demo.sheet.postgres_url;
    let line = format!(
        "{} --no-psqlrc -v VERBOSITY=verbose -P pager=off '{url}'",
        psql.display()
    );
    Terminal::open(&line, Path::new("."), &[])
}

#[tokio::test]
async fn psql_describes_and_completes_without_a_single_hold() {
    let stage = Stage::set().await;
    let describe = [
        "\\d",
        "\\d orders",
        "\\d+ order_totals",
        "\\df+",
        "\\dT+",
        "\\l",
        "\\du",
        "\\dn+",
        "\\sf cancel_order",
    ];
    let output = psql(&stage, &describe)
        .args(["--pset=format=aligned", "--pset=tuples_only=off"])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        shown.contains("orders_customer_id_fkey") && shown.contains("cancel_order"),
        "{shown}"
    );
    let mut terminal = psql_on_a_terminal(&stage);
    terminal.type_in("SELECT count(*) FROM order_it\t WHERE line = 1;\n");
    terminal.shows("15000");
    assert_eq!(stage.reviewer.count_requests().await, 0);
}

#[tokio::test]
async fn psql_waits_with_a_notice_and_gets_its_result() {
    let stage = Stage::set().await;
    stage.make_table("to_approve").await;
    let text = "DELETE FROM to_approve WHERE n > 3 RETURNING n";
    let mut process = Process::spawn(psql(&stage, &[text, "SELECT 'after'"]));
    let request = stage.held(text).await;
    let id = request["id"].as_str().unwrap();
    eventually("psql says why it waits", async || process.messages().contains(id)).await;
    stage.reviewer.approve(&request).await;
    let lines = [
        process.next_line(),
        process.next_line(),
        process.next_line(),
        process.next_line(),
    ];
    assert_eq!(
        lines.map(Option::unwrap_or_default),
        ["4", "5", "DELETE 2", "after"]
    );
    assert!(process.wait().success());
    assert_eq!(stage.times_run(text), 1);
}

#[tokio::test]
async fn psql_is_refused_with_the_reviewers_words_and_goes_on() {
    let stage = Stage::set().await;
    stage.make_table("to_deny").await;
    let mut process = Process::spawn(psql(&stage, &["DROP TABLE to_deny", "SELECT 'after'"]));
    let request = stage.held("DROP TABLE to_deny").await;
    stage.reviewer.deny(&request, "billing reads it").await;
    assert_eq!(process.next_line().as_deref(), Some("after"));
    process.wait();
    let messages = process.messages();
    assert!(
        messages.contains("42501") && messages.contains("billing reads it"),
        "{messages}"
    );
    assert!(stage.has_table("to_deny").await);
}

#[tokio::test]
async fn control_c_in_psql_withdraws_and_the_session_goes_on() {
    let stage = Stage::set().await;
    stage.make_table("to_cancel").await;
    let mut terminal = psql_on_a_terminal(&stage);
    terminal.type_in("DROP TABLE to_cancel;\n");
    let request = stage.held("DROP TABLE to_cancel").await;
    terminal.type_in("\u{3}");
    stage.reviewer.until_state(&request, &["withdrawn"]).await;
    terminal.shows("57014");
    terminal.type_in("SELECT 4000 + 711;\n");
    terminal.shows("4711");
    assert!(stage.has_table("to_cancel").await);
}

#[tokio::test]
async fn psql_that_was_killed_finds_its_approval_when_it_comes_again() {
    let stage = Stage::set().await;
    stage.make_table("to_leave").await;
    let process = Process::spawn(psql(&stage, &["DROP TABLE to_leave"]));
    let request = stage.held("DROP TABLE to_leave").await;
    process.signal(Signal::TERM);
    let detached = stage.reviewer.until_state(&request, &["detached"]).await;
    stage.reviewer.approve(&detached).await;
    stage.reviewer.until_state(&request, &["grant"]).await;
    assert!(
        stage.has_table("to_leave").await,
        "nothing runs for somebody who has left"
    );
    let again = psql(&stage, &["DROP TABLE to_leave"]).output().unwrap();
    assert!(
        again.status.success(),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    assert_eq!(stage.times_run("DROP TABLE to_leave"), 1);
}

#[tokio::test]
async fn pgbench_runs_in_all_three_protocols_without_a_single_hold() {
    let stage = Stage::set().await;
    let url = stage.postgres.owner_url();
    let made = pgbench(&stage, &url, &["--initialize", "--quiet", "--init-steps=dtgp"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for protocol in ["simple", "extended", "prepared"] {
        for script in ["tpcb-like", "select-only"] {
            let arguments = [
                "--no-vacuum",
                "--protocol",
                protocol,
                "--builtin",
                script,
                "--client=2",
                "--transactions=50",
            ];
            let output = pgbench(&stage, &stage.demo.sheet.postgres_url, &arguments)
                .output()
                .unwrap();
            let report = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success(),
                "{protocol}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(
                report.contains("actually processed: 100/100"),
                "{protocol}: {report}"
            );
        }
    }
    assert_eq!(stage.reviewer.count_requests().await, 0);
}

#[tokio::test]
async fn pgbench_waits_is_refused_and_leaves_in_all_three_protocols() {
    let stage = Stage::set().await;
    for protocol in ["simple", "extended", "prepared"] {
        let [kept, dropped] = ["kept", "dropped"].map(|name| format!("bench_{name}_{protocol}"));
        stage.make_table(&dropped).await;
        stage.make_table(&kept).await;
        let mut approved = bench_statement(&stage, protocol, &format!("DROP TABLE {dropped}"));
        stage
            .reviewer
            .approve(&stage.held(&format!("DROP TABLE {dropped}")).await)
            .await;
        assert!(approved.wait().success(), "{protocol}: {}", approved.messages());
        assert!(!stage.has_table(&dropped).await);

        let mut denied = bench_statement(&stage, protocol, &format!("DROP TABLE {kept}"));
        stage
            .reviewer
            .deny(
                &stage.held(&format!("DROP TABLE {kept}")).await,
                "billing reads it",
            )
            .await;
        assert!(!denied.wait().success());
        assert!(
            denied.messages().contains("billing reads it"),
            "{protocol}: {}",
            denied.messages()
        );

        let left = bench_statement(&stage, protocol, &format!("TRUNCATE {kept}"));
        let request = stage.held(&format!("TRUNCATE {kept}")).await;
        left.signal(Signal::INT);
        stage
            .reviewer
            .until_state(&request, &["detached", "withdrawn"])
            .await;
        assert_eq!(stage.times_run(&format!("TRUNCATE {kept}")), 0);
    }
}

fn pgbench(stage: &Stage, url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(stage.postgres.server().client_programs().join("pgbench"));
    command.args(arguments).arg(url);
    command
}

/// pgbench with a script of one statement, run once.
fn bench_statement(stage: &Stage, protocol: &str, statement: &str) -> Process {
    let script = stage.postgres.server().folder().join("statement.sql");
    std::fs::write(&script, format!("{statement};\n")).unwrap();
    let file = script.display().to_string();
    let arguments = [
        "--no-vacuum",
        "--protocol",
        protocol,
        "--file",
        &file,
        "--transactions=1",
    ];
    Process::spawn(pgbench(stage, &stage.demo.sheet.postgres_url, &arguments))
}

#[tokio::test]
async fn pg_dump_is_held_where_it_copies_a_table_out_and_gets_its_data() {
    let stage = Stage::set().await;
    let (mut dump, request) = pg_dump_up_to_its_copy(&stage).await;
    assert_eq!(request["class"], "export");
    stage.reviewer.approve(&request).await;
    let mut lines = 0;
    while let Some(line) = dump.next_line() {
        lines += usize::from(line.contains("Supplier "));
    }
    assert!(dump.wait().success(), "{}", dump.messages());
    assert_eq!(lines, 150, "the whole table came through");
    assert_eq!(stage.reviewer.count_requests().await, PG_DUMP_PREPARES.len() + 1);
}

#[tokio::test]
async fn pg_dump_is_refused_and_says_why() {
    let stage = Stage::set().await;
    let (mut dump, request) = pg_dump_up_to_its_copy(&stage).await;
    stage.reviewer.deny(&request, "bank accounts stay here").await;
    assert!(!dump.wait().success());
    let messages = dump.messages();
    assert!(messages.contains("bank accounts stay here"), "{messages}");
    assert_eq!(stage.times_run("COPY public.suppliers"), 0);
}

#[tokio::test]
async fn pg_dump_that_is_interrupted_leaves_nothing_running() {
    let stage = Stage::set().await;
    let (dump, request) = pg_dump_up_to_its_copy(&stage).await;
    dump.signal(Signal::INT);
    let left = ["detached", "withdrawn"];
    stage.reviewer.until_state(&request, &left).await;
    assert_eq!(stage.times_run("COPY public.suppliers"), 0);
}

/// What a DBA is asked for before a dump copies a table: pg_dump wants an error, not fewer rows, where policies hide some.
const PG_DUMP_PREPARES: [&str; 1] = ["SET row_security = off"];

async fn pg_dump_up_to_its_copy(stage: &Stage) -> (Process, Value) {
    let mut command = Command::new(stage.postgres.server().client_programs().join("pg_dump"));
    command.args(["--table=suppliers", "--dbname", &stage.demo.sheet.postgres_url]);
    let dump = Process::spawn(command);
    let mut asked = Vec::new();
    let copy = loop {
        let request = stage.reviewer.held("").await;
        let text = text_of(&request);
        if text.starts_with("COPY public.suppliers") {
            break request;
        }
        stage.reviewer.approve(&request).await;
        asked.push(text);
    };
    assert_eq!(asked, PG_DUMP_PREPARES, "what a DBA is asked for before the data");
    assert!(
        !stage.postgres.has_seen("COPY public.suppliers"),
        "it reached the server before a decision"
    );
    (dump, copy)
}

#[tokio::test]
async fn tokio_postgres_reads_with_parameters_cursors_and_pipelines_without_a_hold() {
    let stage = Stage::set().await;
    let mut client = connect(&stage.demo.sheet.postgres_url).await;
    let rows = client
        .query("SELECT id, placed_at::text FROM orders WHERE id < $1", &[&6_i64])
        .await
        .unwrap();
    assert_eq!(rows.len(), 5);
    let price = client
        .prepare("SELECT price_cents FROM products WHERE id = $1")
        .await
        .unwrap();
    let pipeline = futures_util::future::join_all((1..20).map(|id| {
        let (client, price) = (&client, &price);
        async move { client.query_one(price, &[&id]).await.unwrap().get::<_, i32>(0) }
    }));
    assert_eq!(pipeline.await.len(), 19);
    let transaction = client.transaction().await.unwrap();
    let portal = transaction
        .bind("SELECT id FROM suppliers ORDER BY id", &[])
        .await
        .unwrap();
    assert_eq!(transaction.query_portal(&portal, 10).await.unwrap().len(), 10);
    assert_eq!(transaction.query_portal(&portal, 0).await.unwrap().len(), 140);
    transaction.commit().await.unwrap();
    assert_eq!(stage.reviewer.count_requests().await, 0);
}

#[tokio::test]
async fn tokio_postgres_waits_is_refused_cancels_and_leaves() {
    let stage = Stage::set().await;
    let url = stage.demo.sheet.postgres_url.clone();
    for name in ["to_thin_out", "to_deny", "to_cancel", "to_leave"] {
        stage.make_table(name).await;
    }
    let client = connect(&url).await;

    let delete = "DELETE FROM to_thin_out WHERE n > $1 RETURNING n";
    let (rows, request) = tokio::join!(
        client.query(delete, &[&3_i32]),
        approve_held(&stage, "to_thin_out")
    );
    assert_eq!(rows.unwrap().len(), 2);
    assert_eq!(request["parameters"][0]["value"], "3", "{request}");
    assert_eq!(stage.times_run(delete), 1);

    let (refused, ()) = tokio::join!(client.execute("DROP TABLE to_deny", &[]), async {
        stage
            .reviewer
            .deny(&stage.held("DROP TABLE to_deny").await, "billing reads it")
            .await;
    });
    let refused = refused.unwrap_err();
    assert_eq!(
        refused.code().map(|code| code.code()),
        Some("42501"),
        "{refused:?}"
    );

    let cancel = client.cancel_token();
    let (cancelled, request) = tokio::join!(client.batch_execute("DROP TABLE to_cancel"), async {
        let request = stage.held("DROP TABLE to_cancel").await;
        cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
        request
    });
    assert_eq!(
        cancelled
            .unwrap_err()
            .code()
            .map(|code| code.code().to_owned())
            .as_deref(),
        Some("57014")
    );
    stage.reviewer.until_state(&request, &["withdrawn"]).await;
    let one: i32 = client.query_one("SELECT 1", &[]).await.unwrap().get(0);
    assert_eq!(one, 1, "the same connection goes on");

    let (leaving, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let statement = tokio::spawn(async move { leaving.execute("DROP TABLE to_leave", &[]).await });
    let request = stage.held("DROP TABLE to_leave").await;
    connection.abort();
    assert!(statement.await.unwrap().is_err());
    let detached = stage.reviewer.until_state(&request, &["detached"]).await;
    stage.reviewer.approve(&detached).await;
    stage.reviewer.until_state(&request, &["grant"]).await;
    assert!(
        stage.has_table("to_leave").await,
        "nothing runs for somebody who has left"
    );
    client.execute("DROP TABLE to_leave", &[]).await.unwrap();
    assert_eq!(stage.times_run("DROP TABLE to_leave"), 1);
}

async fn approve_held(stage: &Stage, text: &str) -> Value {
    let request = stage.reviewer.held(text).await;
    stage.reviewer.approve(&request).await;
    request
}
