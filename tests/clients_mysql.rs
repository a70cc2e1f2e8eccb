//! Real clients of MySQL and MariaDB with their defaults, through the proxy, to a real server: read, hold and approve, hold
//! and deny, in a transaction too, cancel while held, leave while held.
//!
//! Never skips a client that is missing. The driver programs and what they print: `tests/clients/README.md`.

mod support;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mysql_async::prelude::Queryable;
use rustix::process::Signal;
use serde_json::Value;
use support::api::{Api, text_of};
use support::child::Process;
use support::house_mysql::{MysqlHouse, Received};
use support::mariadb::Mariadb;
use support::mysql_answer::value;
use support::mysql_wire::{LogIn, MysqlWire};
use support::server::{PROGRAM, eventually};
use support::terminal::Terminal;

/// Tables that every server here can hold.
const SHOP: &str = "
    CREATE DATABASE app CHARACTER SET utf8mb4; USE app;
    CREATE TABLE countries (code CHAR(2) PRIMARY KEY, name VARCHAR(50) NOT NULL);
    INSERT INTO countries VALUES ('DE', 'Germany'), ('FR', 'France'), ('JP', '日本');
    CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(100) NOT NULL, country CHAR(2));
    CREATE TABLE orders (id INT PRIMARY KEY, status VARCHAR(20), total DECIMAL(12, 2), placed_at DATETIME, note TEXT);
    INSERT INTO customers VALUES (1, 'Ada', 'DE'), (2, 'Bob', 'FR'), (3, 'Cy', 'JP'), (4, 'Di', 'DE'), (5, 'Ed', 'DE'),
        (6, 'Flo', 'FR'), (7, 'Gus', 'DE'), (8, 'Hal', 'FR'), (9, 'Ida', 'DE');
    INSERT INTO orders VALUES (1, 'new', 3.10, '2026-01-01 10:00:00', NULL), (2, 'paid', 6.20, '2026-01-02 10:00:00', 'x'),
        (3, 'new', 9.30, '2026-01-03 10:00:00', 'drop table users; -- gift'), (4, 'new', 12.40, NULL, NULL),
        (5, 'paid', 15.50, '2026-01-05 10:00:00', NULL), (6, 'new', 18.60, '2026-01-06 10:00:00', 'déjà vu'),
        (7, 'sent', 21.70, '2026-01-07 10:00:00', NULL), (8, 'new', 24.80, '2026-01-08 10:00:00', NULL);
";

/// A server, the proxy in front of it, and a reviewer.
struct Stage {
    reviewer: Api,
    admin: RefCell<MysqlWire>,
    received: RefCell<Received>,
    url: String,
    house: MysqlHouse,
}

impl Stage {
    fn set() -> Self {
        let server = Mariadb::start();
        server.run(SHOP);
        let house = MysqlHouse::open(server);
        Self {
            reviewer: house.reviewer(),
            admin: RefCell::new(house.admin()),
            received: RefCell::new(house.received()),
            url: house.url("app"),
            house,
        }
    }

    fn run_past_the_proxy(&self, text: &str) {
        let done = self.admin.borrow_mut().query(text);
        assert!(done[0].is_ok(), "{text}: {done:?}");
    }

    /// A table of five rows, n from 1 to 5.
    fn make_table(&self, name: &str) {
        self.run_past_the_proxy(&format!("CREATE TABLE app.{name} (n INT PRIMARY KEY)"));
        self.run_past_the_proxy(&format!("INSERT INTO app.{name} VALUES (1), (2), (3), (4), (5)"));
    }

    fn has_table(&self, name: &str) -> bool {
        let asked = format!(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'app' AND table_name = '{name}'"
        );
        value(&self.admin.borrow_mut().query(&asked)) == "1"
    }

    fn rows_of(&self, table: &str) -> String {
        value(
            &self
                .admin
                .borrow_mut()
                .query(&format!("SELECT COUNT(*) FROM app.{table}")),
        )
    }

    /// How often the server has run this text, by whatever protocol.
    fn times_run(&self, text: &str) -> usize {
        self.received.borrow_mut().times(text)
    }

    /// The request that holds this text, of which nothing has run on the server.
    async fn held(&self, text: &str) -> Value {
        let request = self.reviewer.held(text).await;
        assert_eq!(
            self.times_run(text),
            0,
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
    let stage = Stage::set();
    check_read(&stage, client).await;
    check_approve(&stage, client).await;
    check_values(&stage, values, client).await;
    check_deny(&stage, client).await;
    check_transaction(&stage, client).await;
    check_cancel(&stage, client).await;
    check_leave(&stage, client).await;
    check_log(&stage).await;
}

fn start(stage: &Stage, client: Client, mode: &str, argument: &str) -> Process {
    let mut command = client(&stage.url, mode, argument);
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
    let pending = stage.reviewer.pending().await;
    assert_eq!(
        stage.reviewer.count_requests().await,
        0,
        "reads and a driver's own queries are not held: {pending:?}"
    );
    assert!(process.wait().success(), "{}", process.messages());
}

async fn check_approve(stage: &Stage, client: Client) {
    stage.make_table("to_approve");
    let text = "DROP TABLE to_approve";
    let mut process = start(stage, client, "run", text);
    let request = stage.held(text).await;
    assert_eq!(text_of(&request), text, "the reviewer sees the very bytes");
    stage.reviewer.approve(&request).await;
    assert_eq!(process.next_line_of(&["ok", "error"]), "ok");
    ends_well(process);
    stage.reviewer.until_state(&request, &["finished"]).await;
    assert!(!stage.has_table("to_approve"));
    assert_eq!(stage.times_run(text), 1);
}

async fn check_values(stage: &Stage, values: Values, client: Client) {
    stage.make_table("to_thin_out");
    let mut process = start(stage, client, "delete", "to_thin_out");
    let request = stage.held("DELETE FROM to_thin_out").await;
    let shown = match values {
        Values::Bound => request["parameters"][0]["value"] == "3",
        Values::InTheText => text_of(&request).ends_with("WHERE n > 3"),
    };
    assert!(shown, "the reviewer sees the value: {request}");
    stage.reviewer.approve(&request).await;
    assert_eq!(
        process.next_line_of(&["rows", "error"]),
        "rows 2",
        "the result comes back"
    );
    ends_well(process);
    assert_eq!(stage.rows_of("to_thin_out"), "3");
}

async fn check_deny(stage: &Stage, client: Client) {
    stage.make_table("to_deny");
    let text = "DROP TABLE to_deny";
    let mut process = start(stage, client, "run", text);
    let request = stage.held(text).await;
    stage.reviewer.deny(&request, "billing reads it").await;
    let error = process.next_line_of(&["ok", "error"]);
    assert!(
        error.starts_with("error 1227 ") && error.contains("billing reads it"),
        "{error}"
    );
    ends_well(process);
    assert!(stage.has_table("to_deny"));
    assert_eq!(stage.times_run(text), 0);
}

/// A refused DDL has not committed what was open, and the transaction goes on.
async fn check_transaction(stage: &Stage, client: Client) {
    stage.make_table("kept");
    stage.make_table("kept_gone");
    let mut process = start(stage, client, "transaction", "kept");
    let request = stage.held("DROP TABLE kept_gone").await;
    assert_eq!(request["transaction"]["state"], "open", "{request}");
    stage.reviewer.deny(&request, "billing reads it").await;
    let error = process.next_line_of(&["ok", "error"]);
    assert!(error.starts_with("error 1227 "), "{error}");
    assert_eq!(
        process.next_line_of(&["inside"]),
        "inside 6",
        "the transaction goes on"
    );
    ends_well(process);
    assert_eq!(stage.rows_of("kept"), "5", "it could be rolled back");
    assert!(stage.has_table("kept_gone"));
}

async fn check_cancel(stage: &Stage, client: Client) {
    stage.make_table("to_cancel");
    let text = "DROP TABLE to_cancel";
    let mut process = start(stage, client, "cancel", text);
    let request = stage.held(text).await;
    std::io::Write::write_all(&mut process.take_stdin(), b"cancel\n").unwrap();
    let error = process.next_line_of(&["ok", "error"]);
    assert!(error.starts_with("error 1317 "), "{error}");
    ends_well(process);
    stage.reviewer.until_state(&request, &["withdrawn"]).await;
    assert_eq!(stage.times_run(text), 0);
}

/// Every statement of it all is found, with what was decided.
async fn check_log(stage: &Stage) {
    let token = stage.house.token();
    let query = ["log", "query", "--json", "--limit", "1000", "--principal", "bot"];
    let wanted = [
        "FROM orders ORDER BY id LIMIT 5",
        "DROP TABLE to_approve",
        "to_thin_out",
        "DROP TABLE to_deny",
        "DROP TABLE kept_gone",
        "DROP TABLE to_cancel",
        "DROP TABLE to_leave",
        "SELECT 1",
    ];
    eventually("`countersign log query` finds every statement", async || {
        let output = Command::new(PROGRAM)
            .args(query)
            .env("COUNTERSIGN_API_URL", &stage.house.serve.api_url)
            .env("COUNTERSIGN_TOKEN", token)
            .output()
            .unwrap();
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
    stage.make_table("to_leave");
    let text = "DROP TABLE to_leave";
    let process = start(stage, client, "run", text);
    let request = stage.held(text).await;
    process.signal(Signal::KILL);
    let detached = until_detached(stage, &request).await;
    stage.reviewer.approve(&detached).await;
    stage.reviewer.until_state(&request, &["grant"]).await;
    assert!(
        stage.has_table("to_leave"),
        "nothing runs for somebody who has left"
    );
    let mut again = start(stage, client, "run", text);
    assert_eq!(again.next_line_of(&["ok", "error"]), "ok");
    ends_well(again);
    stage.reviewer.until_state(&request, &["redeemed"]).await;
    assert!(!stage.has_table("to_leave"));
    assert_eq!(stage.times_run(text), 1);
}

async fn until_detached(stage: &Stage, request: &Value) -> Value {
    stage.reviewer.until_state(request, &["detached"]).await
}

#[tokio::test]
async fn pymysql_reads_waits_is_refused_cancels_and_leaves() {
    check_driver(Values::InTheText, |url, mode, argument| {
        program(&python(), &["pymysql_client.py"], url, mode, argument)
    })
    .await;
}

#[tokio::test]
async fn mysqlclient_reads_waits_is_refused_cancels_and_leaves() {
    check_driver(Values::InTheText, |url, mode, argument| {
        program(&python(), &["mysqlclient_client.py"], url, mode, argument)
    })
    .await;
}

#[tokio::test]
async fn mysql_connector_in_pure_python_reads_waits_is_refused_cancels_and_leaves() {
    check_driver(Values::InTheText, |url, mode, argument| {
        program(
            &python(),
            &["mysql_connector_client.py", "pure"],
            url,
            mode,
            argument,
        )
    })
    .await;
}

#[tokio::test]
async fn mysql_connector_on_its_c_library_reads_waits_is_refused_cancels_and_leaves() {
    check_driver(Values::InTheText, |url, mode, argument| {
        program(
            &python(),
            &["mysql_connector_client.py", "c"],
            url,
            mode,
            argument,
        )
    })
    .await;
}

#[tokio::test]
async fn mysql2_reads_waits_is_refused_cancels_and_leaves() {
    check_driver(Values::Bound, |url, mode, argument| {
        program(&node(), &["mysql2_client.js"], url, mode, argument)
    })
    .await;
}

#[tokio::test]
async fn mariadb_for_node_reads_waits_is_refused_cancels_and_leaves() {
    check_driver(Values::Bound, |url, mode, argument| {
        program(&node(), &["mariadb_client.js"], url, mode, argument)
    })
    .await;
}

#[tokio::test]
async fn mariadb_connector_j_reads_waits_is_refused_cancels_and_leaves() {
    check_driver(Values::InTheText, |url, mode, argument| {
        let mut java = Command::new("java");
        let classes = format!(
            "/usr/share/java/mariadb-java-client.jar:{}",
            drivers().join("java").display()
        );
        java.args(["-cp", &classes, "MariadbClient", &jdbc_url(url), mode, argument]);
        java
    })
    .await;
}

#[tokio::test]
async fn sqlx_reads_waits_is_refused_cancels_and_leaves() {
    check_driver(Values::Bound, |url, mode, argument| {
        let mut sqlx = Command::new(drivers().join("sqlx/debug/sqlx_client"));
        sqlx.args([url, mode, argument]);
        sqlx
    })
    .await;
}

fn program(interpreter: &Path, words: &[&str], url: &str, mode: &str, argument: &str) -> Command {
    let mut command = Command::new(interpreter);
    command
        .arg(Path::new("tests/clients").join(words[0]))
        .args(&words[1..])
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

/// Connector/J takes user and password as arguments of the URL.
fn jdbc_url(url: &str) -> String {
    let log_in = LogIn::of(url);
    format!(
        "jdbc:mariadb://{}:{}/{}?user={}&password={}",
        log_in.host,
        log_in.port,
        log_in.schema.expect("a schema"),
        log_in.user,
        log_in.password
    )
}

/// A program of MariaDB's package with the agent's log-in.
fn mariadb(stage: &Stage, program: &str) -> Command {
    let log_in = LogIn::of(&stage.url);
    let mut command = Command::new(program);
    command
        .args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1"])
        .args([
            &format!("--port={}", log_in.port),
            &format!("--user={}", log_in.user),
        ])
        .env("MYSQL_PWD", &log_in.password);
    command
}

/// One statement a line: behind an error the rest of a line is left out, even with --force.
fn mariadb_running(stage: &Stage, statements: &str) -> Command {
    let mut command = mariadb(stage, "mariadb");
    command
        .args(["--batch", "--skip-column-names", "--force", "app"])
        .stdin(Stdio::from(text_file(stage, statements)));
    command
}

/// So that tab completion and Ctrl-C are real.
fn mariadb_on_a_terminal(stage: &Stage) -> Terminal {
    let command = mariadb(stage, "mariadb");
    let words: Vec<_> = command
        .get_args()
        .map(|word| word.to_str().expect("text"))
        .collect();
    let password = LogIn::of(&stage.url).password;
    let line = format!("mariadb {} app", words.join(" "));
    Terminal::open(&line, Path::new("."), &[("MYSQL_PWD", &password)])
}

#[tokio::test]
async fn mariadb_describes_and_completes_without_a_single_hold() {
    let stage = Stage::set();
    let describe = "\\s
        USE app; SHOW TABLES; SHOW DATABASES; DESCRIBE orders; SHOW CREATE TABLE customers; SHOW INDEX FROM orders;
        SHOW WARNINGS; SHOW STATUS LIKE 'Uptime'; SELECT VERSION(), DATABASE(), USER();";
    let mut command = mariadb(&stage, "mariadb");
    let output = command
        .args(["--force", "app"])
        .stdin(Stdio::from(text_file(&stage, describe)))
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        shown.contains("Uptime") && shown.contains("CREATE TABLE `customers`"),
        "{shown}"
    );
    let mut terminal = mariadb_on_a_terminal(&stage);
    terminal.type_in("SELECT COUNT(*) + 4700 FROM orde\t;\n");
    terminal.shows("4708");
    assert_eq!(stage.reviewer.count_requests().await, 0);
}

fn text_file(stage: &Stage, text: &str) -> std::fs::File {
    let path = stage.house.folder.path().join("statements.sql");
    std::fs::write(&path, text).unwrap();
    std::fs::File::open(path).unwrap()
}

#[tokio::test]
async fn mariadb_waits_and_gets_its_result() {
    let stage = Stage::set();
    stage.make_table("to_approve");
    let text = "DELETE FROM to_approve WHERE n > 3";
    let mut process = Process::spawn(mariadb_running(
        &stage,
        &format!("{text};\nSELECT ROW_COUNT();\nSELECT 'after';\n"),
    ));
    let request = stage.held(text).await;
    assert_eq!(text_of(&request), text, "the client splits at semicolons");
    stage.reviewer.approve(&request).await;
    let lines = [process.next_line(), process.next_line()];
    assert_eq!(lines.map(Option::unwrap_or_default), ["2", "after"]);
    assert!(process.wait().success(), "{}", process.messages());
    assert_eq!(stage.times_run(text), 1);
}

#[tokio::test]
async fn mariadb_is_refused_with_the_reviewers_words_and_goes_on() {
    let stage = Stage::set();
    stage.make_table("to_deny");
    let mut process = Process::spawn(mariadb_running(&stage, "DROP TABLE to_deny;\nSELECT 'after';\n"));
    let request = stage.held("DROP TABLE to_deny").await;
    stage.reviewer.deny(&request, "billing reads it").await;
    assert_eq!(process.next_line().as_deref(), Some("after"));
    process.wait();
    let messages = process.messages();
    assert!(
        messages.contains("ERROR 1227 (42000)") && messages.contains("billing reads it"),
        "{messages}"
    );
    assert!(stage.has_table("to_deny"));
}

#[tokio::test]
async fn control_c_in_mariadb_withdraws_and_the_session_goes_on() {
    let stage = Stage::set();
    stage.make_table("to_cancel");
    let mut terminal = mariadb_on_a_terminal(&stage);
    terminal.type_in("DROP TABLE to_cancel;\n");
    let request = stage.held("DROP TABLE to_cancel").await;
    terminal.type_in("\u{3}");
    stage.reviewer.until_state(&request, &["withdrawn"]).await;
    terminal.shows("1317");
    terminal.type_in("SELECT 4000 + 711;\n");
    terminal.shows("4711");
    assert!(stage.has_table("to_cancel"));
}

#[tokio::test]
async fn mariadb_that_was_killed_finds_its_approval_when_it_comes_again() {
    let stage = Stage::set();
    stage.make_table("to_leave");
    let process = Process::spawn(mariadb_running(&stage, "DROP TABLE to_leave;\n"));
    let request = stage.held("DROP TABLE to_leave").await;
    process.signal(Signal::TERM);
    let detached = until_detached(&stage, &request).await;
    stage.reviewer.approve(&detached).await;
    stage.reviewer.until_state(&request, &["grant"]).await;
    assert!(
        stage.has_table("to_leave"),
        "nothing runs for somebody who has left"
    );
    let again = mariadb_running(&stage, "DROP TABLE to_leave;\n")
        .output()
        .unwrap();
    assert!(
        again.status.success(),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    assert_eq!(stage.times_run("DROP TABLE to_leave"), 1);
}

#[tokio::test]
async fn mariadb_dump_is_held_where_it_copies_a_table_out_and_gets_its_data() {
    let stage = Stage::set();
    let (mut dump, request) = mariadb_dump_up_to_its_data(&stage).await;
    assert_eq!(request["class"], "export", "{request}");
    stage.reviewer.approve(&request).await;
    let mut found = false;
    while let Some(line) = dump.next_line() {
        found |= line.contains("(7,'Gus','DE')");
    }
    assert!(dump.wait().success(), "{}", dump.messages());
    assert!(found, "the table came through");
    assert_eq!(stage.reviewer.count_requests().await, 1);
}

#[tokio::test]
async fn mariadb_dump_is_refused_and_says_why() {
    let stage = Stage::set();
    let (mut dump, request) = mariadb_dump_up_to_its_data(&stage).await;
    stage.reviewer.deny(&request, "names stay here").await;
    assert!(!dump.wait().success());
    let messages = dump.messages();
    assert!(messages.contains("names stay here"), "{messages}");
    assert_eq!(stage.times_run(DUMPED), 0);
}

#[tokio::test]
async fn mariadb_dump_that_is_interrupted_leaves_nothing_running() {
    let stage = Stage::set();
    let (dump, request) = mariadb_dump_up_to_its_data(&stage).await;
    dump.signal(Signal::INT);
    let left = ["detached", "withdrawn"];
    stage.reviewer.until_state(&request, &left).await;
    assert_eq!(stage.times_run(DUMPED), 0);
}

/// What copies the data out.
const DUMPED: &str = "SQL_NO_CACHE";

async fn mariadb_dump_up_to_its_data(stage: &Stage) -> (Process, Value) {
    let mut command = mariadb(stage, "mariadb-dump");
    command.args(["--single-transaction", "app", "customers"]);
    let dump = Process::spawn(command);
    let mut asked = Vec::new();
    let data = loop {
        let request = stage.reviewer.held("").await;
        let text = text_of(&request);
        if text.contains(DUMPED) {
            break request;
        }
        stage.reviewer.approve(&request).await;
        asked.push(text);
    };
    assert!(
        asked.is_empty(),
        "what a DBA is asked for before the data: {asked:?}"
    );
    assert_eq!(
        stage.times_run(DUMPED),
        0,
        "it reached the server before a decision"
    );
    (dump, data)
}

#[tokio::test]
async fn mysql_async_reads_with_parameters_and_pipelines_without_a_hold() {
    let stage = Stage::set();
    let mut conn = mysql_async::Conn::from_url(&stage.url).await.unwrap();
    let rows: Vec<(i32, Option<String>)> = conn
        .exec("SELECT id, note FROM orders WHERE id < ? ORDER BY id", (6,))
        .await
        .unwrap();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[2].1.as_deref(), Some("drop table users; -- gift"));
    let names: Vec<String> = conn
        .query("SELECT name FROM countries ORDER BY code; SELECT 'another result'")
        .await
        .unwrap();
    assert_eq!(names, ["Germany", "France", "日本"]);
    conn.ping().await.unwrap();
    conn.reset().await.unwrap();
    let mut transaction = conn
        .start_transaction(mysql_async::TxOpts::default())
        .await
        .unwrap();
    let one: Option<i32> = transaction.query_first("SELECT 1").await.unwrap();
    assert_eq!(one, Some(1));
    transaction.commit().await.unwrap();
    assert_eq!(stage.reviewer.count_requests().await, 0);
    conn.disconnect().await.unwrap();
}

#[tokio::test]
async fn mysql_async_waits_is_refused_cancels_and_leaves() {
    let stage = Stage::set();
    for name in ["to_thin_out", "to_deny", "to_cancel", "to_leave"] {
        stage.make_table(name);
    }
    let mut conn = mysql_async::Conn::from_url(&stage.url).await.unwrap();
    let id = conn.id();

    let delete = "DELETE FROM to_thin_out WHERE n > ?";
    let (done, request) = tokio::join!(conn.exec_drop(delete, (3,)), async {
        let request = stage.held("to_thin_out").await;
        stage.reviewer.approve(&request).await;
        request
    });
    done.unwrap();
    assert_eq!(conn.affected_rows(), 2);
    assert_eq!(request["parameters"][0]["value"], "3", "{request}");

    let (refused, ()) = tokio::join!(conn.query_drop("DROP TABLE to_deny"), async {
        let request = stage.held("DROP TABLE to_deny").await;
        stage.reviewer.deny(&request, "billing reads it").await;
    });
    assert_eq!(number_of(refused), 1227);

    let (cancelled, request) = tokio::join!(conn.query_drop("DROP TABLE to_cancel"), async {
        let request = stage.held("DROP TABLE to_cancel").await;
        let mut other = mysql_async::Conn::from_url(&stage.url).await.unwrap();
        other.query_drop(format!("KILL QUERY {id}")).await.unwrap();
        request
    });
    assert_eq!(number_of(cancelled), 1317);
    stage.reviewer.until_state(&request, &["withdrawn"]).await;
    let one: Option<i32> = conn.query_first("SELECT 1").await.unwrap();
    assert_eq!(one, Some(1), "the same connection goes on");

    let url = stage.url.clone();
    let leaving = tokio::spawn(async move {
        let mut conn = mysql_async::Conn::from_url(&url).await.unwrap();
        conn.query_drop("DROP TABLE to_leave").await
    });
    let request = stage.held("DROP TABLE to_leave").await;
    leaving.abort();
    let detached = until_detached(&stage, &request).await;
    stage.reviewer.approve(&detached).await;
    stage.reviewer.until_state(&request, &["grant"]).await;
    assert!(
        stage.has_table("to_leave"),
        "nothing runs for somebody who has left"
    );
    conn.query_drop("DROP TABLE to_leave").await.unwrap();
    assert_eq!(stage.times_run("DROP TABLE to_leave"), 1);
}

fn number_of(done: Result<(), mysql_async::Error>) -> u16 {
    match done {
        Err(mysql_async::Error::Server(error)) => error.code,
        other => panic!("no error of the server: {other:?}"),
    }
}

/// The tables that sysbench reads, made past the proxy.
fn sysbench(stage: &Stage, url: &str, arguments: &[&str]) -> Command {
    let log_in = LogIn::of(url);
    let mut command = Command::new("sysbench");
    command.args(["--db-driver=mysql", "--tables=2", "--table-size=500"]);
    command.args([
        format!("--mysql-host={}", log_in.host),
        format!("--mysql-port={}", log_in.port),
        format!("--mysql-user={}", log_in.user),
        format!("--mysql-password={}", log_in.password),
        "--mysql-db=app".to_owned(),
    ]);
    command.args(arguments).current_dir(stage.house.folder.path());
    command
}

#[tokio::test]
async fn sysbench_reads_in_both_protocols_without_a_hold_and_without_an_error() {
    let stage = Stage::set();
    let straight = stage.house.server.url("root", "", "app");
    let made = sysbench(&stage, &straight, &["oltp_read_only", "prepare"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    for script in ["oltp_read_only", "oltp_point_select"] {
        for prepared in ["auto", "disable"] {
            let ps_mode = format!("--db-ps-mode={prepared}");
            let arguments = [
                script,
                &ps_mode,
                "--threads=4",
                "--events=200",
                "--time=60",
                "run",
            ];
            let output = sysbench(&stage, &stage.url, &arguments).output().unwrap();
            let report = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && report.contains("ignored errors:                      0 "),
                "{script} {prepared}: {report}{}",
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(
                report.contains("total number of events:              200"),
                "{report}"
            );
        }
    }
    assert_eq!(stage.reviewer.count_requests().await, 0);
}
