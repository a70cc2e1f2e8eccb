//! Guards round approved statements in front of a real MariaDB: in force while the statement runs, gone before the next
//! one, whatever became of it. Never a mock: values are read on the client's own connection. PostgreSQL's are in
//! `guards.rs`.

mod support;

use reqwest::StatusCode;
use serde_json::{Value, json};
use support::api::{Api, id_of};
use support::house_mysql::{MysqlHouse, MysqlSettings};
use support::mariadb::Mariadb;
use support::mysql_answer::{Answer, error, value};
use support::mysql_wire::MysqlWire;
use tokio::runtime::Runtime;

const IN_TRANSACTION: u16 = 1;
const AUTOCOMMIT: u16 = 2;

struct Stage {
    house: MysqlHouse,
    api: Api,
    runtime: Runtime,
}

impl Stage {
    fn open() -> Self {
        let server = Mariadb::with_fixtures();
        server.run(
            "CREATE TABLE app.jobs (id int PRIMARY KEY, note varchar(100)) ENGINE=InnoDB;
             INSERT INTO app.jobs VALUES (1,''),(2,''),(3,''),(4,''),(5,'');
             CREATE TABLE app.heap (id int) ENGINE=MyISAM; INSERT INTO app.heap VALUES (1),(2)",
        );
        let settings = MysqlSettings {
            rules: "strict".to_owned(),
            ..MysqlSettings::default()
        };
        let house = MysqlHouse::open_with(server, &settings, |_| {});
        let api = house.reviewer();
        let runtime = Runtime::new().expect("a runtime");
        Self { house, api, runtime }
    }

    fn decide(&self, text: &str, guards: &Value) -> (StatusCode, Value) {
        self.runtime.block_on(async {
            let held = self.api.held(text).await;
            let body = json!({ "decision": "approve", "digest": held["digest"], "guards": guards });
            let path = format!("/requests/{}/decision", id_of(&held));
            self.api.post(&path, &body).await
        })
    }

    /// Sends it, has it approved with these guards, and gives its answer and how its request ended.
    fn guarded(&self, wire: &mut MysqlWire, text: &str, guards: Value) -> (Answer, Value) {
        wire.send_query(text.as_bytes());
        self.approved(wire, text, &guards)
    }

    fn approved(&self, wire: &mut MysqlWire, text: &str, guards: &Value) -> (Answer, Value) {
        let (code, decided) = self.decide(text, guards);
        assert_eq!(code, StatusCode::OK, "{decided}");
        let answer = wire.answers().remove(0);
        let ended = ["finished", "failed", "stale"];
        let ended = self.runtime.block_on(self.api.until_state(&decided, &ended));
        (answer, ended)
    }

    fn truth(&self, text: &str) -> String {
        value(&self.house.admin().query(text))
    }

    fn rows(&self) -> String {
        self.truth("SELECT COUNT(*) FROM app.jobs")
    }
}

const SETTINGS: &str = "SELECT CONCAT_WS(' ', @@session.lock_wait_timeout, @@session.innodb_lock_wait_timeout, @@session.max_statement_time)";

fn settings(wire: &mut MysqlWire) -> String {
    value(&wire.query(SETTINGS))
}

const OWN: &str = "40 3 0.000000";

const NOTES: &str = "UPDATE jobs SET note = CONCAT_WS(' ', @@session.lock_wait_timeout, @@session.innodb_lock_wait_timeout, @@session.max_statement_time)";

fn timeouts() -> Value {
    json!({ "lock_timeout": "4500ms", "statement_timeout": "1min" })
}

/// A session with settings of its own, as the server took them.
fn connect(stage: &Stage) -> MysqlWire {
    let mut wire = stage.house.connect();
    for text in [
        "SET SESSION lock_wait_timeout=40",
        "SET SESSION innodb_lock_wait_timeout=3",
    ] {
        wire.send_query(text.as_bytes());
        if !wire.has_answer(std::time::Duration::from_secs(2)) {
            stage.runtime.block_on(async {
                let held = stage.api.held(text).await;
                stage.api.approve(&held).await;
            });
        }
        assert!(wire.answers()[0].is_ok());
    }
    assert_eq!(settings(&mut wire), OWN);
    wire
}

#[test]
fn a_guard_is_in_force_while_the_statement_runs_and_gone_before_the_next() {
    let stage = Stage::open();
    let mut wire = connect(&stage);
    let (answer, ended) = stage.guarded(&mut wire, NOTES, timeouts());
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(ended["state"], "finished", "{ended}");
    // Five whole seconds, but for rows' locks the client's own three.
    assert_eq!(
        stage.truth("SELECT note FROM app.jobs WHERE id=1"),
        "5 3 60.000000"
    );
    assert_eq!(settings(&mut wire), OWN);
    let (answer, _) = stage.guarded(&mut wire, "INSERT INTO jobs VALUES (1, 'twice')", timeouts());
    assert_eq!(error(&[answer]).number, 1062);
    assert_eq!(settings(&mut wire), OWN);
    let sleeps = "UPDATE jobs SET note = SLEEP(9) WHERE id = 1";
    let (answer, ended) = stage.guarded(&mut wire, sleeps, json!({ "statement_timeout": "200ms" }));
    assert_eq!(error(&[answer]).number, 1969);
    assert_eq!(ended["state"], "failed", "{ended}");
    assert_eq!(settings(&mut wire), OWN);
    let mut blocker = stage.house.admin();
    blocker.query("BEGIN");
    blocker.query("SELECT * FROM app.jobs");
    let alters = "ALTER TABLE jobs ADD COLUMN more int";
    let (answer, _) = stage.guarded(&mut wire, alters, json!({ "lock_timeout": "1s" }));
    assert_eq!(error(&[answer]).number, 1205);
    assert_eq!(settings(&mut wire), OWN);
}

#[test]
fn more_rows_than_were_allowed_are_undone() {
    let stage = Stage::open();
    let mut wire = connect(&stage);
    let text = "DELETE FROM jobs WHERE id > 2";
    let max = |rows: u32| json!({ "rows_max": rows, "lock_timeout": "5s" });
    for begin in [false, true] {
        if begin {
            wire.query("BEGIN");
        }
        let (answer, ended) = stage.guarded(&mut wire, text, max(2));
        let told = error(&[answer]);
        assert_eq!((told.number, told.state.as_str()), (1317, "70100"), "{told:?}");
        assert!(
            told.message
                .contains("would have affected 3 rows, and its approval allows 2"),
            "{told:?}"
        );
        assert_eq!(ended["state"], "failed", "{ended}");
        assert_eq!(value(&wire.query("SELECT COUNT(*) FROM jobs")), "5");
        let (answer, ended) = stage.guarded(&mut wire, text, max(3));
        let expected = if begin {
            AUTOCOMMIT | IN_TRANSACTION
        } else {
            AUTOCOMMIT
        };
        let status = answer.status().expect("no error");
        assert_eq!(status & (AUTOCOMMIT | IN_TRANSACTION), expected, "{answer:?}");
        assert_eq!(ended["outcome"]["rows"], 3, "{ended}");
        assert_eq!(value(&wire.query("SELECT COUNT(*) FROM jobs")), "2");
        assert_eq!(settings(&mut wire), OWN);
        if begin {
            wire.query("ROLLBACK");
            assert_eq!(stage.rows(), "5");
        } else {
            assert_eq!(stage.rows(), "2");
            stage.truth("SELECT 1");
            stage
                .house
                .server
                .run("INSERT INTO app.jobs VALUES (3,''),(4,''),(5,'')");
        }
        assert_eq!(value(&wire.query("SELECT @@autocommit")), "1");
    }
    // An error of the statement's own, rows of RETURNING, and values bound.
    let (answer, _) = stage.guarded(&mut wire, "INSERT INTO jobs VALUES (6,''),(1,'')", max(5));
    assert_eq!(error(&[answer]).number, 1062);
    assert_eq!(
        (
            stage.rows().as_str(),
            value(&wire.query("SELECT @@autocommit")).as_str()
        ),
        ("5", "1")
    );
    let returning = "DELETE FROM jobs WHERE id > 4 RETURNING id";
    let (answer, _) = stage.guarded(&mut wire, returning, max(1));
    assert_eq!(answer.rows().texts(), [[Some("5".to_owned())]]);
    assert_eq!(answer.status().map(|status| status & 3), Some(AUTOCOMMIT));
    let id = wire.prepare("DELETE FROM jobs WHERE id > ?").statement();
    wire.send_execute(id, &[Some("1")], 0);
    let (answer, _) = stage.approved(&mut wire, "DELETE FROM jobs WHERE id > ?", &max(2));
    assert_eq!(error(&[answer]).number, 1317);
    assert_eq!(stage.rows(), "4");
    // Autocommit off: the statement begins the client's transaction, which stays.
    wire.send_query(b"SET autocommit=0");
    if !wire.has_answer(std::time::Duration::from_secs(2)) {
        stage.decide("SET autocommit=0", &json!({}));
    }
    wire.answers();
    let (answer, _) = stage.guarded(&mut wire, text, max(1));
    assert_eq!(error(&[answer]).number, 1317);
    let (answer, _) = stage.guarded(&mut wire, text, max(2));
    assert_eq!(answer.status().map(|status| status & 3), Some(IN_TRANSACTION));
    assert_eq!(stage.rows(), "4");
    wire.query("COMMIT");
    assert_eq!(stage.rows(), "2");
}

#[test]
fn what_cannot_be_undone_or_timed_does_not_run() {
    let stage = Stage::open();
    let mut wire = connect(&stage);
    let (answer, ended) = stage.guarded(&mut wire, "DELETE FROM heap", json!({ "rows_max": 9 }));
    assert_eq!(error(&[answer]).number, 1644);
    assert_eq!(ended["state"], "stale", "{ended}");
    assert_eq!(stage.truth("SELECT COUNT(*) FROM app.heap"), "2");
    assert_eq!(settings(&mut wire), OWN);
    // So the server reads it.
    stage
        .house
        .server
        .run("ALTER TABLE app.heap WAIT 0x3E8 COMMENT 'a'; ALTER TABLE app.heap WAIT 1e3 COMMENT 'b'");
    let prepare = "PREPARE slow FROM 'ALTER TABLE heap WAIT 1000 ADD COLUMN c int'";
    wire.send_query(prepare.as_bytes());
    let (code, decided) = stage.decide(prepare, &json!({}));
    assert_eq!(code, StatusCode::OK, "{decided}");
    assert!(wire.answers().remove(0).is_ok());
    for (text, guards) in [
        ("DROP TABLE heap", json!({ "rows_max": 1 })),
        ("EXECUTE slow", json!({ "lock_timeout": "1s" })),
        (
            "ALTER TABLE heap WAIT 0x3E8 ADD COLUMN c int",
            json!({ "lock_timeout": "1s" }),
        ),
        (
            "ALTER TABLE heap WAIT 1e3 ADD COLUMN c int",
            json!({ "lock_timeout": "1s" }),
        ),
        (
            "ALTER TABLE heap WAIT /* a */ 1000 ADD COLUMN c int",
            json!({ "lock_timeout": "1s" }),
        ),
        ("BEGIN; DELETE FROM jobs", json!({ "lock_timeout": "1s" })),
        // The text itself says how long it waits or runs.
        (
            "ALTER TABLE heap WAIT 100 ADD COLUMN c int",
            json!({ "lock_timeout": "1s" }),
        ),
        (
            "DROP TABLE heap /* */ WAIT/**/100",
            json!({ "lock_timeout": "1s" }),
        ),
        (
            "SET STATEMENT max_statement_time=0 FOR DELETE FROM jobs",
            json!({ "statement_timeout": "1s" }),
        ),
        (
            "/*M!100100 SET STATEMENT lock_wait_timeout=99 FOR */ DROP TABLE heap",
            json!({ "lock_timeout": "1s" }),
        ),
        (
            "SET STATEMENT lock_wait_timeout=99 FOR UPDATE jobs SET id = id",
            json!({ "lock_timeout": "1s" }),
        ),
    ] {
        wire.send_query(text.as_bytes());
        let (code, refused) = stage.decide(text, &guards);
        assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
        stage.runtime.block_on(async {
            let held = stage.api.held(text).await;
            stage.api.deny(&held, "not so").await;
        });
        assert_eq!(error(&wire.answers()).number, 1227);
    }
}

#[test]
fn a_client_that_leaves_before_the_commit_changes_nothing() {
    let stage = Stage::open();
    let mut wire = connect(&stage);
    let text = "UPDATE jobs SET note = SLEEP(2) WHERE id = 1";
    wire.send_query(text.as_bytes());
    let (code, decided) = stage.decide(text, &json!({ "rows_max": 1 }));
    assert_eq!(code, StatusCode::OK, "{decided}");
    let works =
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'UPDATE jobs SET note = SLEEP%'";
    while stage.truth(works) != "1" {}
    drop(wire);
    let ended = ["failed", "finished", "outcome_unknown"];
    let ended = stage.runtime.block_on(stage.api.until_state(&decided, &ended));
    assert_eq!(ended["state"], "failed", "{ended}");
    assert_eq!(stage.truth("SELECT note FROM app.jobs WHERE id=1"), "", "{ended}");
}
