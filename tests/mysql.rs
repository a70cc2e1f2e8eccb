//! MySQL through the proxy, against a real MariaDB: the promises, one by one, and what a session must not get wrong.
//!
//! Never looks inside the proxy: what reached the server is read from the server's own log. Promises 4 and 5 are the
//! desk's, and are in `desk/` and `api.rs` whatever the protocol.

mod support;

use std::time::Duration;

use serde_json::Value;
use support::api::Api;
use support::house_mysql::{MysqlHouse, MysqlSettings};
use support::mariadb::Mariadb;
use support::mysql_answer::{Answer, IN_TRANSACTION, error, value};
use support::mysql_wire::{LAST_PREPARED, LogIn, MysqlWire, PACKET_BYTES_MAX, com, execute, flag, framed};
use tokio::runtime::Runtime;

/// A house with its reviewer, for tests that wait on blocking sockets.
struct Stage {
    house: MysqlHouse,
    api: Api,
    runtime: Runtime,
}

impl Stage {
    fn open() -> Self {
        Self::open_with(&MysqlSettings::default())
    }

    fn open_with(settings: &MysqlSettings) -> Self {
        let server = Mariadb::with_fixtures();
        server.run("SET GLOBAL max_allowed_packet = 64 << 20");
        let house = MysqlHouse::open_with(server, settings, |_| {});
        let api = house.reviewer();
        let runtime = Runtime::new().expect("a runtime");
        Self { house, api, runtime }
    }

    fn connect(&self) -> MysqlWire {
        self.house.connect()
    }

    fn connect_with(&self, flags: u64) -> MysqlWire {
        MysqlWire::log_in(&LogIn::of(&self.house.url("app")).with(flags)).expect("a log-in")
    }

    fn held(&self, text: &str) -> Value {
        self.runtime.block_on(self.api.held(text))
    }

    fn approve(&self, request: &Value) {
        self.runtime.block_on(self.api.approve(request));
    }

    fn deny(&self, request: &Value) {
        self.runtime.block_on(self.api.deny(request, "not today"));
    }

    fn shown(&self, request: &Value) -> Value {
        self.runtime
            .block_on(self.api.show(request["id"].as_str().expect("an id")))
    }

    fn until(&self, request: &Value, state: &str) {
        self.runtime.block_on(self.api.until_state(request, &[state]));
    }

    /// One value, past the proxy.
    fn truth(&self, text: &str) -> String {
        value(&self.house.admin().query(text))
    }

    fn count(&self, table: &str) -> String {
        self.truth(&format!("SELECT COUNT(*) FROM app.{table}"))
    }
}

fn denied(answers: &[Answer]) {
    let error = error(answers);
    assert_eq!((error.number, error.state.as_str()), (1227, "42000"), "{error:?}");
}

#[test]
fn promise_1_values_are_shown_and_bound_to_the_approval() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    let id = wire
        .prepare("DELETE FROM orders WHERE id > ? AND note LIKE ?")
        .statement();
    wire.long_data(id, 1, b"drop%");
    wire.long_data(id, 1, b" -- gift");
    wire.send_execute(id, &[Some("590"), None], 0);
    let request = stage.held("DELETE FROM orders");
    let shown = stage.shown(&request)["parameters"].clone();
    assert_eq!(
        (&shown[0]["value"], &shown[1]["value"]),
        (&"590".into(), &"drop% -- gift".into())
    );
    assert_eq!(stage.count("orders"), "600");
    stage.deny(&request);
    denied(&wire.answers());

    // What came in pieces for the refused execution is forgotten by the server, as after an error of its own.
    wire.send_execute(id, &[Some("590"), Some("nothing like it")], 0);
    let request = stage.held("DELETE FROM orders");
    stage.approve(&request);
    assert!(wire.answers()[0].is_ok());
    assert_eq!(stage.count("orders"), "600");

    // Other values are another statement.
    wire.send_execute(id, &[Some("590"), Some("%")], 0);
    let request = stage.held("DELETE FROM orders");
    stage.deny(&request);
    denied(&wire.answers());
    assert_eq!(stage.count("orders"), "600");
}

#[test]
fn promise_1_an_approval_is_stale_when_its_names_mean_something_else() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    wire.send_query(b"DELETE FROM secrets");
    let request = stage.held("DELETE FROM secrets");
    stage
        .house
        .server
        .run("ALTER TABLE app.secrets ADD COLUMN since int");
    stage.approve(&request);
    let error = error(&wire.answers());
    assert_eq!((error.number, error.state.as_str()), (1644, "45000"), "{error:?}");
    assert!(error.message.contains("STALE"), "{error:?}");
    assert_eq!(stage.count("secrets"), "1");

    // A user variable is as good as a value.
    wire.query("SET @who = 1");
    wire.send_query(b"DELETE FROM customers WHERE id > @who");
    let request = stage.held("DELETE FROM customers");
    assert_eq!(stage.shown(&request)["facts"]["@who"], "1");
    stage.deny(&request);
    denied(&wire.answers());
}

#[test]
fn promise_2_nothing_of_a_held_statement_reaches_the_server_before_the_decision() {
    let stage = Stage::open();
    let mut received = stage.house.received();
    let mut wire = stage.connect();
    let texts = [
        "DROP TABLE secrets /* drop */",
        "SELECT 1; DELETE FROM secrets /* behind a read */",
        "SELECT * FROM secrets INTO OUTFILE '/tmp/countersign-no-such-file'",
        "CALL close_month()",
        "GRANT SELECT ON app.* TO app_ro@localhost",
        "SELECT touch()",
        "PREPARE s FROM 'DROP TABLE secrets'",
        "SET @t = 'DROP TABLE secrets'; PREPARE s FROM @t; EXECUTE s",
        "EXECUTE IMMEDIATE 'DROP TABLE secrets'",
        "/*!50000 DROP TABLE secrets */",
        "LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE secrets",
        "SET GLOBAL sql_mode = 'ANSI'",
        "SET sql_mode = CONCAT('AN', 'SI')",
        "SET NAMES gbk",
    ];
    for text in texts {
        wire.send_query(text.as_bytes());
        let request = stage.held(text);
        assert_eq!(received.times(text), 0, "{text}");
        stage.deny(&request);
        denied(&wire.answers());
    }
    let id = wire.prepare("DELETE FROM secrets WHERE k <> ?").statement();
    wire.send_execute(id, &[Some("x")], 0);
    let request = stage.held("DELETE FROM secrets WHERE k <> ?");
    assert_eq!(received.times("DELETE FROM secrets WHERE k <>"), 0);
    stage.deny(&request);
    denied(&wire.answers());
    // What is not safe to be prepared waits before that.
    wire.command(com::STMT_PREPARE, b"SELECT touch() /* prepared */");
    let request = stage.held("SELECT touch() /* prepared */");
    assert!(received.prepared().iter().all(|text| !text.contains("touch")));
    stage.deny(&request);
    assert!(wire.prepared().error().is_some());
    assert_eq!(value(&wire.query("SELECT 'goes on'")), "goes on");
    assert_eq!(stage.count("secrets"), "1");
    assert_eq!(stage.count("audit_log"), "0");
}

#[test]
fn promise_3_no_statement_runs_whose_attempt_is_not_in_the_log() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    assert_eq!(value(&wire.query("SELECT 'on record'")), "on record");
    let (_, page) = stage.runtime.block_on(stage.api.get("/log?limit=50"));
    assert!(page.to_string().contains("SELECT 'on record'"), "{page}");
}

#[test]
fn promise_6_the_same_bytes_run_once_for_who_has_left() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    wire.send_query(b"DELETE FROM secrets");
    let request = stage.held("DELETE FROM secrets");
    wire.hang_up();
    stage.runtime.block_on(async {
        loop {
            let id = request["id"].as_str().expect("an id");
            if stage.api.show(id).await["detached"] == true {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    stage.approve(&request);
    assert_eq!(stage.count("secrets"), "1");
    let mut again = stage.connect();
    assert!(again.query("DELETE FROM secrets")[0].is_ok());
    assert_eq!(stage.count("secrets"), "0");
    again.send_query(b"DELETE FROM secrets");
    let second = stage.held("DELETE FROM secrets");
    assert_ne!(second["id"], request["id"]);
    stage.deny(&second);
    denied(&again.answers());
}

#[test]
fn promise_7_a_refusal_leaves_the_transaction_as_if_nothing_had_been_sent() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    wire.query("BEGIN");
    assert!(wire.query("INSERT INTO secrets VALUES ('mine', '1')")[0].is_ok());
    wire.send_query(b"DROP TABLE orders");
    let request = stage.held("DROP TABLE orders");
    assert_eq!(stage.shown(&request)["transaction"]["state"], "open", "{request}");
    stage.deny(&request);
    denied(&wire.answers());
    // A DROP would have committed it.
    assert_eq!(stage.count("secrets"), "1");
    let still = wire.query("SELECT 1");
    assert_ne!(still[0].status().expect("rows") & IN_TRANSACTION, 0);
    assert!(wire.query("ROLLBACK")[0].is_ok());
    assert_eq!(stage.count("secrets"), "1");
}

#[test]
fn promise_8_the_wait_is_told_and_can_be_cancelled_from_a_second_connection() {
    let stage = Stage::open();
    let mut wire = stage.connect_with(flag::MARIADB_PROGRESS);
    wire.send_query(b"DROP TABLE secrets");
    let request = stage.held("DROP TABLE secrets");
    std::thread::sleep(Duration::from_secs(6));
    let killed = stage
        .connect()
        .query(&format!("KILL QUERY {}", wire.greeting.connection));
    assert!(killed[0].is_ok(), "{killed:?}");
    // Numbers of packets are looked at as they are read: the error stands behind the reports.
    let error = error(&wire.answers());
    assert_eq!((error.number, error.state.as_str()), (1317, "70100"), "{error:?}");
    assert!(wire.progress.len() >= 2, "{:?}", wire.progress);
    let told = String::from_utf8_lossy(&wire.progress[0]).into_owned();
    assert!(told.contains(request["id"].as_str().expect("an id")), "{told}");
    stage.until(&request, "withdrawn");

    // And the numbers of a result that comes behind reports.
    wire.progress.clear();
    wire.send_query(b"TRUNCATE secrets; SELECT 1; SELECT 2");
    let request = stage.held("TRUNCATE secrets");
    stage.approve(&request);
    let answers = wire.answers();
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert!(!wire.progress.is_empty());
    assert!(wire.ping().is_ok());
}

#[test]
fn promise_8_the_wait_ends_when_it_was_said_to() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    assert!(wire.query("SET @countersign_wait = '1s'")[0].is_ok());
    wire.send_query(b"DROP TABLE secrets");
    let request = stage.held("DROP TABLE secrets");
    let error = error(&wire.answers());
    assert_eq!((error.number, error.state.as_str()), (1644, "45000"), "{error:?}");
    stage.approve(&request);
    assert!(wire.query("DROP TABLE secrets")[0].is_ok());
}

#[test]
fn mariadb_is_asked_by_a_reviewer_and_answers_with_the_same_bytes() {
    let stage = Stage::open();
    let log_in = LogIn::of(&stage.house.url("app"));
    let client = std::process::Command::new("mariadb")
        .args(["--skip-ssl", "--host=127.0.0.1"])
        .arg(format!("--port={}", log_in.port))
        .arg(format!("--user={}", log_in.user))
        .arg(format!("--password={}", log_in.password))
        .args(["app", "-e"])
        .arg("DROP TABLE secrets; SET @countersign_reply = 'OPS-7'; DROP TABLE secrets")
        // -e takes back a --force that stands before it.
        .arg("--force")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("mariadb runs");
    let request = stage.held("DROP TABLE secrets");
    let id = request["id"].as_str().expect("an id").to_owned();
    let question = serde_json::json!({ "question": "which ticket?" });
    let path = format!("/requests/{id}/questions");
    let (status, asked) = stage.runtime.block_on(stage.api.post(&path, &question));
    assert!(status.is_success(), "{asked}");
    let answered = loop {
        stage.until(&request, "pending");
        let shown = stage.shown(&request);
        if shown["discussion"].as_array().expect("a list").len() == 2 {
            break shown;
        }
    };
    assert_eq!(answered["discussion"][1]["text"], "OPS-7");
    stage.approve(&answered);
    let done = client.wait_with_output().expect("mariadb ends");
    let said = String::from_utf8_lossy(&done.stderr);
    let expected = format!(
        "ERROR 1644 (45000) at line 1: countersign: QUESTION {id} from {}: \"which ticket?\" Re-send the same \
         statement with SET @countersign_reply = '...' first.",
        asked["discussion"][0]["by"].as_str().expect("a name")
    );
    assert!(said.contains(&expected), "{said}");
    assert_eq!(
        stage.truth("SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'secrets'"),
        "0"
    );
}

#[test]
fn a_person_ends_a_session_while_it_waits_and_while_it_does_not() {
    let stage = Stage::open();
    let mut idle = stage.connect();
    assert_eq!(value(&idle.query("SELECT 1")), "1");
    let mut waiting = stage.connect();
    waiting.send_query(b"DROP TABLE secrets");
    let request = stage.held("DROP TABLE secrets");
    let (_, listed) = stage.runtime.block_on(stage.api.get("/sessions"));
    let sessions = listed["items"].as_array().expect("a list");
    assert_eq!(sessions.len(), 2, "{listed}");
    for session in sessions {
        assert_eq!(session["protocol"], "mysql");
        let path = format!("/sessions/{}", session["session"].as_str().expect("an id"));
        let why = serde_json::json!({ "reason": "it runs wild" });
        let (status, ended) = stage.runtime.block_on(stage.api.delete(&path, &why));
        assert!(status.is_success(), "{ended}");
    }
    let told = error(&waiting.answers());
    assert_eq!((told.number, told.state.as_str()), (1927, "70100"), "{told:?}");
    assert!(told.message.contains("it runs wild"), "{told:?}");
    stage.until(&request, "withdrawn");
    // Nobody had asked: it begins a new count.
    idle.expect_sequence(0);
    let told = error(&idle.answers());
    assert_eq!((told.number, told.state.as_str()), (1927, "70100"), "{told:?}");
}

#[test]
fn promise_10_what_is_too_long_is_refused_and_the_session_goes_on() {
    let stage = Stage::open();
    let mut received = stage.house.received();
    let mut wire = stage.connect();
    for bytes in [(1 << 20) + 1, PACKET_BYTES_MAX + 10] {
        let text = format!("SELECT '{}' /* too long */", "x".repeat(bytes));
        let error = error(&wire.query(&text));
        assert_eq!((error.number, error.state.as_str()), (1235, "42000"), "{error:?}");
    }
    assert_eq!(received.times("too long"), 0);
    assert_eq!(value(&wire.query("SELECT 'goes on'")), "goes on");
}

#[test]
fn packets_over_16_mib_pass_in_both_directions() {
    let stage = Stage::open();
    stage
        .house
        .server
        .run("CREATE TABLE app.blobs(id int primary key, b longblob)");
    let mut wire = stage.connect();
    let large = "y".repeat(PACKET_BYTES_MAX + 100);
    let id = wire.prepare("INSERT INTO blobs VALUES (?, ?)").statement();
    // All in one packet,
    wire.send_execute(id, &[Some("1"), Some(&large)], 0);
    assert!(wire.answers()[0].is_ok());
    // and in pieces of which one is too large for a packet.
    wire.long_data(id, 1, large.as_bytes());
    wire.long_data(id, 1, b"z");
    wire.send_execute(id, &[Some("2"), None], 0);
    assert!(wire.answers()[0].is_ok());
    assert_eq!(
        stage.truth("SELECT LENGTH(b) FROM app.blobs WHERE id = 1"),
        large.len().to_string()
    );
    assert_eq!(
        stage.truth("SELECT SUM(LENGTH(b)) FROM app.blobs WHERE id = 2"),
        (large.len() + 1).to_string()
    );
    let rows = wire.query("SELECT b FROM blobs WHERE id = 1");
    assert_eq!(value(&rows).len(), large.len());
    assert_eq!(value(&wire.query("SELECT 'goes on'")), "goes on");
}

#[test]
fn a_client_that_does_not_wait_for_answers_gets_them_in_order() {
    let stage = Stage::open();
    let mut received = stage.house.received();
    let mut wire = stage.connect();
    let packet = |payload: &[u8]| framed(&mut 0, payload);
    let query = |text: &str| packet(&[&[com::QUERY], text.as_bytes()].concat());
    let prepare = |text: &str| packet(&[&[com::STMT_PREPARE], text.as_bytes()].concat());
    let all = [
        query("SELECT 1"),
        query("SELECT 2"),
        prepare("SELECT COUNT(*) FROM orders WHERE id < ?"),
        packet(&execute(LAST_PREPARED, &[Some("3")], 0)),
        // What could not be prepared cannot be executed, and what was prepared before is not it.
        prepare("SELECT no_such_column FROM orders"),
        packet(&execute(LAST_PREPARED, &[Some("3")], 0)),
        query("SELECT 3"),
    ];
    wire.write(&all.concat()).expect("written");
    let mut next = |prepared: bool| {
        wire.expect_sequence(1);
        if prepared {
            vec![wire.prepared()]
        } else {
            wire.answers()
        }
    };
    assert_eq!(value(&next(false)), "1");
    assert_eq!(value(&next(false)), "2");
    next(true)[0].statement();
    assert_eq!(next(false)[0].rows().rows.len(), 1);
    assert_eq!(error(&next(true)).number, 1054);
    assert_eq!(error(&next(false)).number, 1243);
    assert_eq!(value(&next(false)), "3");
    assert_eq!(received.times("SELECT COUNT(*) FROM orders WHERE id <"), 1);
}

#[test]
fn a_held_statement_behind_a_prepare_is_not_executed_by_the_last_number() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    wire.prepare("SELECT 1").statement();
    wire.command(com::STMT_PREPARE, b"SELECT touch()");
    let request = stage.held("SELECT touch()");
    stage.deny(&request);
    assert!(wire.prepared().error().is_some());
    wire.send_execute(LAST_PREPARED, &[], 0);
    assert_eq!(error(&wire.answers()).number, 1243);
    // Numbers that the server gave to others, SQL-level PREPARE among them, are none of ours.
    wire.query("PREPARE s FROM 'SELECT 1'");
    for number in 0..50 {
        if number != 1 {
            wire.send_execute(number, &[], 0);
            let answer = &wire.answers()[0];
            let refused = answer.error().is_some_and(|error| error.number == 1243);
            assert!(refused || answer.error().is_none(), "{number}: {answer:?}");
        }
    }
    assert_eq!(stage.count("audit_log"), "0");
}

#[test]
fn rows_of_a_cursor_are_fetched_and_of_no_other() {
    let stage = Stage::open();
    for flags in [0, flag::DEPRECATE_EOF] {
        let mut wire = stage.connect_with(flags);
        let id = wire.prepare("SELECT id FROM orders ORDER BY id").statement();
        wire.send_execute(id, &[], 1);
        let opened = wire.answers();
        assert!(opened[0].rows().has_cursor(), "{opened:?}");
        assert_eq!(wire.fetch(id, 100).rows().rows.len(), 100);
        assert_eq!(wire.fetch(id, 1_000).rows().rows.len(), 500);
        assert_eq!(wire.fetch(id + 1, 1).error().expect("an error").number, 1243);
        assert!(wire.ask(com::STMT_RESET, &id.to_le_bytes()).is_ok());
        wire.command(com::STMT_CLOSE, &id.to_le_bytes());
        wire.send_execute(id, &[], 0);
        assert_eq!(error(&wire.answers()).number, 1243);
    }
}

#[test]
fn a_file_of_the_client_is_read_for_the_statement_that_was_approved_alone() {
    let stage = Stage::open();
    let mut wire = stage.connect_with(flag::LOCAL_FILES);
    let text = "LOAD DATA LOCAL INFILE 'mine.csv' INTO TABLE secrets FIELDS TERMINATED BY ','";
    wire.send_query(text.as_bytes());
    let request = stage.held("LOAD DATA LOCAL");
    stage.approve(&request);
    assert_eq!(wire.answers(), [Answer::LocalFile("mine.csv".to_owned())]);
    wire.put_next(b"a,1\nb,2\n");
    wire.put_next(b"c,3\n");
    wire.put_next(b"");
    assert!(wire.answers()[0].is_ok());
    assert_eq!(stage.count("secrets"), "4");
    assert!(wire.ping().is_ok());
}

/// Which a person must let through.
fn under_ansi_quotes(stage: &Stage, wire: &mut MysqlWire) {
    let text = "SET sql_mode = 'ANSI_QUOTES'";
    wire.send_query(text.as_bytes());
    let request = stage.held(text);
    stage.approve(&request);
    assert!(wire.answers()[0].is_ok());
}

#[test]
fn what_texts_mean_is_asked_of_the_server() {
    let stage = Stage::open();
    for flags in [0, flag::SESSION_TRACK, flag::SESSION_TRACK | flag::DEPRECATE_EOF] {
        let mut wire = stage.connect_with(flags);
        // Under ANSI_QUOTES this reads a column; under the usual mode it compares two strings.
        let text = r#"DELETE FROM secrets WHERE "k" = 'k' /* which? */"#;
        under_ansi_quotes(&stage, &mut wire);
        assert!(wire.query(text)[0].is_ok(), "bounded under ANSI_QUOTES");
        assert!(wire.query("SET sql_mode = ''")[0].is_ok());
        wire.send_query(text.as_bytes());
        let request = stage.held("which?");
        stage.deny(&request);
        denied(&wire.answers());
        // Names are those of the schema that is in use by now.
        assert!(wire.query("USE big")[0].is_ok());
        wire.send_query(b"DROP TABLE events");
        let request = stage.held("DROP TABLE events");
        assert_eq!(request["database"], "big");
        stage.deny(&request);
        denied(&wire.answers());
        assert!(wire.ask(com::INIT_DB, b"app").is_ok());
        assert_eq!(value(&wire.query("SELECT DATABASE()")), "app");
        // A reset gives everything back.
        under_ansi_quotes(&stage, &mut wire);
        assert!(wire.ask(com::RESET_CONNECTION, &[]).is_ok());
        wire.send_query(text.as_bytes());
        let request = stage.held("which?");
        stage.deny(&request);
        denied(&wire.answers());
    }
    assert_eq!(stage.count("secrets"), "1");
}

#[test]
fn nothing_is_read_under_settings_that_are_not_served_but_the_way_back() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    for (setting, back) in [
        ("SET NAMES gbk", "SET NAMES utf8mb4"),
        ("SET sql_mode = 'ORACLE'", "SET sql_mode = DEFAULT"),
    ] {
        wire.send_query(setting.as_bytes());
        let request = stage.held(setting);
        stage.approve(&request);
        assert!(wire.answers()[0].is_ok());
        wire.send_query(b"SELECT 1 /* unread */");
        let request = stage.held("unread");
        assert_eq!(request["class"], "unknown", "{request}");
        stage.deny(&request);
        denied(&wire.answers());
        assert!(wire.query(back)[0].is_ok(), "{back}");
        assert_eq!(value(&wire.query("SELECT 'read'")), "read");
    }
}

#[test]
fn commands_that_are_not_served_are_refused_and_the_session_goes_on() {
    let stage = Stage::open();
    let mut received = stage.house.received();
    let mut wire = stage.connect();
    let served = [
        com::QUIT,
        com::INIT_DB,
        com::QUERY,
        com::FIELD_LIST,
        com::STATISTICS,
        com::PROCESS_KILL,
        com::PING,
        com::CHANGE_USER,
        com::STMT_PREPARE,
        com::STMT_EXECUTE,
        com::STMT_SEND_LONG_DATA,
        com::STMT_CLOSE,
        com::STMT_RESET,
        com::SET_OPTION,
        com::STMT_FETCH,
        com::RESET_CONNECTION,
    ];
    for code in (0..=u8::MAX).filter(|code| !served.contains(code)) {
        let answer = wire.ask(code, b"mysql");
        let error = answer
            .error()
            .unwrap_or_else(|| panic!("{code:#04x}: {answer:?}"));
        assert_eq!(
            (error.number, error.state.as_str()),
            (1235, "42000"),
            "{code:#04x}"
        );
    }
    assert_eq!(value(&wire.query("SELECT 'goes on'")), "goes on");
    let texts = received.texts();
    assert!(texts.iter().all(|text| !text.contains("mysql")), "{texts:?}");
}

#[test]
fn commands_that_stand_for_statements_are_judged_as_these() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    let columns = wire.field_list(b"secrets\0");
    assert_eq!(columns.rows().columns.len(), 2);
    for (code, body, text) in [
        (com::INIT_DB, &b"mysql"[..], "USE `mysql`"),
        (com::PROCESS_KILL, &[9, 0, 0, 0][..], "KILL 9"),
    ] {
        wire.command(code, body);
        let request = stage.held(text);
        stage.deny(&request);
        denied(&[wire.answer()]);
    }
    assert!(!matches!(wire.ask(com::SET_OPTION, &[1, 0]), Answer::Error(_)));
    wire.command(com::STATISTICS, &[]);
    assert!(String::from_utf8_lossy(&wire.read_packet()).contains("Uptime"));
}

#[test]
fn a_connection_is_killed_by_its_own_agent_alone() {
    let stage = Stage::open();
    let secret = stage.house.add_agent("other", &["--mysql-native"]);
    let mut victim = stage.connect();
    let id = victim.greeting.connection;
    let mut stranger = MysqlWire::connect(&stage.house.url_of("other", &secret, "app"));
    stranger.send_query(format!("KILL {id}").as_bytes());
    let request = stage.held("KILL");
    stage.deny(&request);
    denied(&stranger.answers());
    assert!(victim.ping().is_ok());
    // What runs at the server is ended there.
    victim.send_query(b"SELECT COUNT(*) FROM big.events a, big.events b, big.events c");
    std::thread::sleep(Duration::from_millis(500));
    let mut friend = stage.connect();
    assert!(friend.query(&format!("KILL QUERY {id}"))[0].is_ok());
    assert_eq!(error(&victim.answers()).number, 1317);
    assert!(victim.ping().is_ok());
    assert!(friend.query(&format!("KILL {id}"))[0].is_ok());
    victim.expect_sequence(0);
    assert_eq!(victim.answer().error().expect("an error").number, 1927);
    assert!(victim.try_read_packet().is_err(), "it is closed");
}

#[test]
fn who_changes_the_user_is_judged_anew() {
    let stage = Stage::open();
    let secret = stage.house.add_agent("other", &["--mysql-native"]);
    let mut wire = stage.connect();
    wire.query("SET @mine = 1");
    let other = LogIn::of(&stage.house.url_of("other", &secret, "big"));
    wire.change_user(&other).expect("changed");
    assert_eq!(value(&wire.query("SELECT DATABASE()")), "big");
    assert_eq!(value(&wire.query("SELECT COALESCE(@mine, 'gone')")), "gone");
    wire.send_query(b"DROP TABLE events");
    let request = stage.held("DROP TABLE events");
    assert_eq!(request["principal"], "other");
    stage.deny(&request);
    denied(&wire.answers());
}

#[test]
fn a_text_that_is_split_anywhere_means_the_same() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    wire.split_at(1);
    assert_eq!(value(&wire.query("SELECT 'byte by byte'")), "byte by byte");
    wire.send_query(b"DROP TABLE secrets");
    let request = stage.held("DROP TABLE secrets");
    stage.deny(&request);
    denied(&wire.answers());
}

#[test]
fn an_agent_of_one_database_names_no_other() {
    let stage = Stage::open();
    let secret = stage
        .house
        .add_agent("narrow", &["--mysql-native", "--database", "app"]);
    let mut wire = MysqlWire::connect(&stage.house.url_of("narrow", &secret, "app"));
    for text in [
        "SELECT * FROM big.events LIMIT 1",
        "SELECT 1 FROM secrets WHERE EXISTS (SELECT 1 FROM big.events)",
        "USE big",
        "USE big; SELECT * FROM events LIMIT 1; USE app",
        "INSERT INTO big.events VALUES (0, 0, '', '')",
        "SELECT big.f()",
    ] {
        denied(&wire.query(text));
    }
    assert_eq!(
        wire.ask(com::INIT_DB, b"big").error().expect("an error").number,
        1227
    );
    // Whether it would pass or be held: it is not prepared.
    for text in ["SELECT * FROM big.events LIMIT 1", "DELETE FROM big.events"] {
        let error = wire.prepare(text).error().expect("an error").number;
        assert_eq!(error, 1227, "{text}");
    }
    assert!(wire.query("SELECT * FROM app.secrets")[0].error().is_none());
    assert!(
        wire.query("SELECT COUNT(*) FROM information_schema.tables")[0]
            .error()
            .is_none()
    );
    assert!(wire.query("USE app")[0].is_ok());
}

#[test]
fn what_the_server_keeps_of_the_last_statement_is_not_wiped_out() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    wire.send_query(b"DROP TABLE IF EXISTS no_such_table");
    let request = stage.held("DROP TABLE IF EXISTS no_such_table");
    stage.approve(&request);
    assert!(wire.answers()[0].is_ok());
    assert_eq!(wire.query("SHOW WARNINGS")[0].rows().rows.len(), 1);
    wire.send_query(b"UPDATE secrets SET v = 'x'");
    let request = stage.held("UPDATE secrets");
    stage.approve(&request);
    assert!(wire.answers()[0].is_ok());
    assert_eq!(value(&wire.query("SELECT ROW_COUNT()")), "1");
}

#[test]
fn the_path_of_the_server_s_socket_is_not_told() {
    let stage = Stage::open();
    for flags in [0, flag::DEPRECATE_EOF] {
        let mut wire = stage.connect_with(flags);
        let rows = wire.query("SELECT @@max_allowed_packet, @@socket, @@wait_timeout")[0]
            .rows()
            .texts();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0][1].as_deref(), Some(""));
        assert!(rows[0][2].as_deref().is_some_and(|value| !value.is_empty()));
        assert_eq!(value(&wire.query("SELECT 'socket'")), "socket");
    }
}

#[test]
fn a_statement_is_not_executed_in_another_database_than_it_was_prepared_in() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    let id = wire.prepare("DELETE FROM secrets WHERE k <> ?").statement();
    assert!(wire.query("USE big")[0].is_ok());
    wire.send_execute(id, &[Some("x")], 0);
    assert_eq!(error(&wire.answers()).number, 1235);
    assert!(wire.query("USE app")[0].is_ok());
    wire.send_execute(id, &[Some("x")], 0);
    let request = stage.held("DELETE FROM secrets");
    assert_eq!(request["database"], "app");
    stage.deny(&request);
    denied(&wire.answers());
}

#[test]
fn rules_on_databases_hold_for_the_names_in_a_statement() {
    let rules = "[[rule]]\nname = \"here\"\nclass = [\"read\", \"session\", \"write\"]\n\
                 databases = [\"app\"]\noutcome = \"allow\"\n";
    let server = Mariadb::with_fixtures();
    let settings = MysqlSettings {
        rules: "rules.toml".to_owned(),
        ..MysqlSettings::default()
    };
    let house = MysqlHouse::open_with(server, &settings, |folder| {
        std::fs::write(folder.join("rules.toml"), rules).expect("written");
    });
    let api = house.reviewer();
    let runtime = Runtime::new().expect("a runtime");
    let stage = Stage { house, api, runtime };
    let mut wire = stage.connect();
    assert!(wire.query("SELECT * FROM secrets")[0].error().is_none());
    for text in [
        "SELECT COUNT(*) FROM big.events",
        "DELETE FROM big.events WHERE id = 1",
    ] {
        wire.send_query(text.as_bytes());
        let request = stage.held(text);
        stage.deny(&request);
        denied(&wire.answers());
    }
}

#[test]
fn promise_1_an_approval_is_for_these_values_of_variables_and_these_settings() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    let leave = |wire: &mut MysqlWire, text: &str| {
        assert!(wire.query("SET @countersign_wait = '1s'")[0].is_ok());
        wire.send_query(text.as_bytes());
        let request = stage.held(text);
        assert_eq!(error(&wire.answers()).number, 1644);
        stage.approve(&request);
        request
    };
    // The same digits, of another type: every text equals the number.
    let text = "DELETE FROM secrets WHERE k = @v AND 1 < 2";
    wire.query("SET @v = '0'");
    let first = leave(&mut wire, text);
    wire.query("SET @v = 0");
    wire.send_query(text.as_bytes());
    let second = stage.held(text);
    assert_ne!(first["id"], second["id"]);
    stage.deny(&second);
    denied(&wire.answers());
    // A setting that the text reads may be another by then.
    let text = "DELETE FROM orders WHERE id > @@sql_select_limit";
    let first = leave(&mut wire, text);
    wire.query("SET sql_select_limit = 0");
    wire.send_query(text.as_bytes());
    let second = stage.held(text);
    assert_ne!(first["id"], second["id"]);
    stage.deny(&second);
    denied(&wire.answers());
    assert_eq!(
        (stage.count("secrets"), stage.count("orders")),
        ("1".into(), "600".into())
    );
}

/// The payload of COM_STMT_EXECUTE with values of these types, of which those in `nulls` have no bytes.
fn typed(id: u32, nulls: u8, kinds: &[u8], values: &[u8]) -> Vec<u8> {
    let head = [&[com::STMT_EXECUTE][..], &id.to_le_bytes(), &[0, 1, 0, 0, 0]].concat();
    let kinds: Vec<u8> = kinds.iter().flat_map(|kind| [*kind, 0]).collect();
    [&head[..], &[nulls, 1], &kinds, values].concat()
}

#[test]
fn a_number_that_every_text_equals_makes_a_write_unbounded() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    let id = wire.prepare("DELETE FROM secrets WHERE k = ?").statement();
    wire.send(&typed(id, 0, &[0x08], &[0; 8]));
    let request = stage.held("DELETE FROM secrets");
    stage.deny(&request);
    denied(&wire.answers());
    wire.send(&typed(id, 0, &[0x08], &[7, 0, 0, 0, 0, 0, 0, 0]));
    assert!(wire.answers()[0].is_ok());
    assert_eq!(stage.count("secrets"), "1");
}

#[test]
fn a_value_that_every_text_equals_is_held_whatever_its_type_and_what_stands_behind_it() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    let limited = [&[0_u8; 4][..], &(1_u64 << 40).to_le_bytes()].concat();
    let returned = [&[0_u8; 4][..], &[5, 0, 0, 0]].concat();
    let cases: [(&str, u8, &[u8], &[u8]); 14] = [
        ("k = ? RETURNING 1 AND ?", 0, &[0x03, 0x03], &returned),
        ("k = ? AND v = ?", 0, &[0x03, 0x03], &[0; 8]),
        ("k = ? LIMIT ?", 0, &[0x03, 0x08], &limited),
        ("k = ?", 0, &[0xf6], b"\x051e-99"),
        ("k = ?", 0, &[0x00], b"\x030.0"),
        ("k = ?", 0, &[0x0b], b"\0"),
        ("k = ?", 0, &[0x0a], b"\0"),
        ("k = ?", 0, &[0x0c], b"\0"),
        ("k = ?", 0, &[0x0a], b"\x04\0\0\0\0"),
        ("k = ?", 0, &[0x0a], b"\x07\0\0\0\0\0\0\x01"),
        ("k = ?", 0, &[0x0b], b"\x08\x01\0\0\0\0\0\0\0"),
        ("k = ?", 0, &[0x05], &[0; 8]),
        ("v <=> ?", 1, &[0xfd], b""),
        ("k IN (?, ?)", 0, &[0xfd, 0x01], b"\x01a\0"),
    ];
    for (condition, nulls, kinds, values) in cases {
        let text = format!("DELETE FROM secrets WHERE {condition}");
        let id = wire.prepare(&text).statement();
        wire.send(&typed(id, nulls, kinds, values));
        let request = stage.held("DELETE FROM secrets");
        stage.deny(&request);
        denied(&wire.answers());
    }
    // What servers make zero of is not read as anything else.
    let id = wire.prepare("DELETE FROM secrets WHERE k = ?").statement();
    let changed: [(u8, &[u8]); 4] = [
        (0xf6, b"\x02x9"),
        (0x0a, b"\x04\xea\x07\x0d\x01"),
        (0x0b, b"\x08\0\0\0\0\x20\0\0\0"),
        // The server would not look at what stands behind the value.
        (0x03, b"\0\0\0\0junk"),
    ];
    for (kind, value) in changed {
        wire.send(&typed(id, 0, &[kind], value));
        assert_eq!(error(&wire.answers()).number, 1235, "{value:02x?}");
    }
    let told: [(u8, u8, &[u8]); 5] = [
        (0, 0xf6, b"\x0312."),
        (0, 0x0a, b"\x04\xea\x07\x07\x01"),
        (0, 0x0b, b"\x08\0\0\0\0\0\0\0\x01"),
        (1, 0xfd, b""),
        (0, 0xfd, b"\x010"),
    ];
    for (nulls, kind, value) in told {
        wire.send(&typed(id, nulls, &[kind], value));
        assert!(wire.answers()[0].is_ok(), "{value:02x?}");
    }
    // One comparison that few rows meet is enough: `id = ? AND version = ?` is how programs lock rows.
    let id = wire
        .prepare("DELETE FROM secrets WHERE k = ? AND v = ?")
        .statement();
    wire.send(&typed(id, 0, &[0xfd, 0x03], b"\x06nobody\0\0\0\0"));
    assert!(wire.answers()[0].is_ok());
    assert_eq!(stage.count("secrets"), "1");
}

#[test]
fn values_of_over_1_mib_are_not_compared_with_unread() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    let id = wire.prepare("DELETE FROM secrets WHERE k = ?").statement();
    let zero = vec![0_u8; 1_200_000];
    // A zero of four bytes, and what the server does not look at.
    wire.send(&typed(id, 0, &[0x03], &zero));
    let error = error(&wire.answers());
    assert_eq!((error.number, error.state.as_str()), (1235, "42000"), "{error:?}");
    assert_eq!(stage.count("secrets"), "1");
    // A long value that is only written passes.
    stage.house.server.run(
        "CREATE TABLE app.blobs (id int PRIMARY KEY, b longblob);
         INSERT INTO app.blobs VALUES (1, '')",
    );
    let id = wire.prepare("UPDATE blobs SET b = ? WHERE id = 1").statement();
    let long = "x".repeat(1_200_000);
    assert!(wire.execute(id, &[long.as_str()])[0].is_ok());
    assert_eq!(stage.truth("SELECT LENGTH(b) FROM app.blobs"), "1200000");
}

/// A COM_STMT_EXECUTE of one value, of the type that the server remembers.
fn untyped(id: u32, value: &[u8]) -> Vec<u8> {
    let head = [&[com::STMT_EXECUTE][..], &id.to_le_bytes(), &[0, 1, 0, 0, 0]].concat();
    [&head[..], &[0, 0], value].concat()
}

#[test]
fn types_of_an_execution_that_failed_are_not_taken_for_the_server_s() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    let id = wire.prepare("SELECT ?, (SELECT id FROM orders)").statement();
    wire.send(&typed(id, 0, &[0xfd], b"\x01a"));
    assert_eq!(error(&wire.answers()).number, 1242);
    wire.send(&untyped(id, b"\x01a"));
    assert_eq!(error(&wire.answers()).number, 1235);
    // The same types as before are no news, whatever becomes of the execution.
    let id = wire
        .prepare("SELECT ?, (SELECT id FROM orders WHERE id < @most)")
        .statement();
    assert!(wire.query("SET @most = 2")[0].is_ok());
    wire.send(&typed(id, 0, &[0xfd], b"\x01a"));
    assert_eq!(wire.answers()[0].rows().rows.len(), 1);
    assert!(wire.query("SET @most = 9")[0].is_ok());
    wire.send(&typed(id, 0, &[0xfd], b"\x01a"));
    assert_eq!(error(&wire.answers()).number, 1242);
    wire.send(&untyped(id, b"\x01a"));
    assert_eq!(error(&wire.answers()).number, 1242);
    // No server finds a row that is there twice before it has the types.
    let id = wire.prepare("INSERT INTO secrets VALUES (?, 'x')").statement();
    wire.send(&typed(id, 0, &[0xfd], b"\x07api_key"));
    assert_eq!(error(&wire.answers()).number, 1062);
    wire.send(&untyped(id, b"\x05other"));
    assert!(wire.answers()[0].is_ok());
    assert_eq!(stage.count("secrets"), "2");
}

#[test]
fn a_value_in_pieces_is_of_no_other_execution_than_the_next() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    // Of a type that does not come in pieces,
    let id = wire.prepare("SELECT ?").statement();
    wire.long_data(id, 0, b"left over");
    wire.send(&typed(id, 0, &[0x08], b""));
    assert_eq!(error(&wire.answers()).number, 1235);
    let rows = wire.execute(id, &["own"]);
    assert!(rows[0].rows().rows[0].ends_with(b"\x03own"), "{rows:?}");
    // or with an error that may have come before the values.
    let id = wire
        .prepare("SELECT (SELECT id FROM orders WHERE id < @most), ?")
        .statement();
    assert!(wire.query("SET @most = 9")[0].is_ok());
    wire.long_data(id, 0, b"left over");
    wire.send_execute(id, &[None], 0);
    assert_eq!(error(&wire.answers()).number, 1242);
    assert!(wire.query("SET @most = 2")[0].is_ok());
    let rows = wire.execute(id, &["own"]);
    assert!(rows[0].rows().rows[0].ends_with(b"\x03own"), "{rows:?}");
    assert_eq!(value(&wire.query("SELECT 'goes on'")), "goes on");
}

#[test]
fn a_moment_in_braces_that_every_text_equals_is_held() {
    let stage = Stage::open();
    let mut wire = stage.connect();
    for zero in [
        "{t '00:00:00'}",
        "{d '0000-00-00'}",
        "{ts '0000-00-00 00:00:00'}",
        "TIME'00:00:00.0000001'",
        "TIMESTAMP'0000-00-00 00:00:00.0000001'",
    ] {
        let text = format!("DELETE FROM secrets WHERE k = {zero}");
        wire.send_query(text.as_bytes());
        let request = stage.held("DELETE FROM secrets");
        stage.deny(&request);
        denied(&wire.answers());
    }
    assert!(wire.query("DELETE FROM secrets WHERE k = {d '2020-01-01'}")[0].is_ok());
    assert_eq!(stage.count("secrets"), "1");
}

#[test]
fn commands_without_answers_do_not_keep_others_waiting() {
    let stage = Stage::open();
    let mut busy = stage.connect();
    assert!(busy.query("SET @countersign_wait = '2s'")[0].is_ok());
    busy.send_query(b"DROP TABLE secrets");
    stage.held("DROP TABLE secrets");
    let close = framed(&mut 0, &[com::STMT_CLOSE, 1, 1, 1, 1]);
    let closes = close.repeat((2 << 20) / close.len());
    let writer = std::thread::spawn(move || {
        busy.write(&closes).expect("written");
        busy.expect_sequence(1);
        let refused = busy.answers();
        assert!(busy.ping().is_ok());
        refused
    });
    let mut others: Vec<_> = (0..4).map(|_| stage.connect()).collect();
    while !writer.is_finished() {
        for other in &mut others {
            assert!(other.ping().is_ok());
        }
    }
    assert_eq!(error(&writer.join().expect("no panic")).number, 1644);
}
