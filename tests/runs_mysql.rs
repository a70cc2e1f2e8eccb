//! Runs in front of a real MariaDB: writes under one decision, and every way to something that was not in it.
//! Never a mock: what is held must not have changed a table. PostgreSQL's are in `runs.rs`.

mod support;

use reqwest::StatusCode;
use serde_json::{Value, json};
use support::api::{Api, id_of};
use support::house_mysql::MysqlHouse;
use support::mariadb::Mariadb;
use support::mysql_answer::{Answer, error, value};
use support::mysql_wire::MysqlWire;
use tokio::runtime::Runtime;

struct Stage {
    house: MysqlHouse,
    api: Api,
    runtime: Runtime,
}

impl Stage {
    fn open() -> Self {
        let server = Mariadb::with_fixtures();
        server.run(
            "CREATE TABLE app.bills (id int PRIMARY KEY, note varchar(100)) ENGINE=InnoDB;
             INSERT INTO app.bills VALUES (1,''),(2,''),(3,'');
             CREATE TABLE app.parts (id int PRIMARY KEY, bill int, FOREIGN KEY (bill) REFERENCES app.bills (id) ON DELETE CASCADE);
             CREATE TABLE app.plain (id int PRIMARY KEY, note varchar(100)); INSERT INTO app.plain VALUES (1,''),(2,'');
             CREATE DATABASE IF NOT EXISTS other; CREATE TABLE other.bills (id int PRIMARY KEY); INSERT INTO other.bills VALUES (1)",
        );
        let house = MysqlHouse::open(server);
        let api = house.reviewer();
        let runtime = Runtime::new().expect("a runtime");
        Self { house, api, runtime }
    }

    /// Sends a statement and has it approved with a run.
    fn begun(&self, wire: &mut MysqlWire, text: &str, scope: &Value) -> Value {
        wire.send_query(text.as_bytes());
        let decided = self.runtime.block_on(async {
            let held = self.api.held(text).await;
            let body = json!({ "decision": "approve", "digest": held["digest"], "scope": scope });
            let path = format!("/requests/{}/decision", id_of(&held));
            let (code, decided) = self.api.post(&path, &body).await;
            assert_eq!(code, StatusCode::OK, "{decided}");
            decided
        });
        assert!(answer(wire).is_ok(), "{text}");
        decided
    }

    /// Whether it runs without a person; what is held is denied.
    fn runs(&self, wire: &mut MysqlWire, text: &str) -> bool {
        wire.send_query(text.as_bytes());
        while !wire.has_answer(std::time::Duration::from_millis(200)) {
            self.runtime.block_on(async {
                for held in self.api.pending().await {
                    self.api.deny(&held, "held, as it should be").await;
                }
            });
        }
        let answer = answer(wire);
        if !answer.is_ok() {
            assert_eq!(error(std::slice::from_ref(&answer)).number, 1227, "{text}");
        }
        answer.is_ok()
    }

    /// As somebody to whom nothing is held.
    fn truth(&self, text: &str) -> String {
        value(&self.house.admin().query(text))
    }
}

fn answer(wire: &mut MysqlWire) -> Answer {
    wire.answers().remove(0)
}

fn run(verbs: &[&str], tables: &[&str]) -> Value {
    json!({ "kind": "run", "for": "session", "verbs": verbs, "tables": tables, "minutes": 15, "statements": 40 })
}

fn update(number: u32) -> String {
    format!("UPDATE plain SET note = 'n{number}'")
}

#[test]
fn a_run_of_writes_has_the_verbs_and_tables_that_were_shown() {
    let stage = Stage::open();
    let mut wire = stage.house.connect();
    stage.begun(&mut wire, &update(0), &run(&[], &[]));
    for text in [
        "UPDATE app.plain SET note = 'c' WHERE id > 0".to_owned(),
        update(1),
    ] {
        assert!(stage.runs(&mut wire, &text), "{text}");
    }
    for text in [
        "DELETE FROM plain",
        "DELETE FROM plain WHERE id > 0",
        "UPDATE bills SET note = 'x'",
        "UPDATE other.bills SET id = 2",
        "UPDATE plain, bills SET plain.note = 'x', bills.note = 'x'",
        "INSERT INTO plain SELECT id + 10, note FROM plain",
        "REPLACE INTO plain SELECT 1, 'x'",
        "TRUNCATE TABLE plain",
        "DROP TABLE plain",
        "CREATE OR REPLACE TABLE plain (id int)",
        "ALTER TABLE plain ADD COLUMN c int",
        "RENAME TABLE plain TO plain2",
    ] {
        assert!(!stage.runs(&mut wire, text), "{text}");
    }
    // What a foreign key deletes too is nowhere named.
    let mut wire = stage.house.connect();
    let scope = run(&["update", "delete"], &["plain", "bills", "parts"]);
    stage.begun(&mut wire, &update(2), &scope);
    assert!(stage.runs(&mut wire, "DELETE FROM plain WHERE id > 1"));
    assert!(!stage.runs(&mut wire, "DELETE FROM bills WHERE id > 1"));
    assert_eq!(
        stage.truth("SELECT CONCAT(COUNT(*), MAX(note)) FROM app.plain"),
        "1n2"
    );
    assert_eq!(stage.truth("SELECT COUNT(*) FROM app.bills"), "3");
}

#[test]
fn a_definition_commits_what_is_open_and_so_is_in_no_run() {
    let stage = Stage::open();
    let mut wire = stage.house.connect();
    let text = "ALTER TABLE plain ADD COLUMN c int";
    wire.send_query(text.as_bytes());
    stage.runtime.block_on(async {
        let held = stage.api.held(text).await;
        assert!(
            held["no_run"].as_str().is_some_and(|why| why.contains("commits")),
            "{held}"
        );
        stage.api.deny(&held, "no").await;
    });
    answer(&mut wire);
}

#[test]
fn a_run_follows_neither_use_nor_temporary_tables_nor_a_name_that_is_a_view_now() {
    let stage = Stage::open();
    stage
        .house
        .server
        .run("CREATE TABLE other.plain (id int PRIMARY KEY, note varchar(100)); INSERT INTO other.plain VALUES (1,'')");
    let mut wire = stage.house.connect();
    let scope = run(&[], &[]);
    stage.begun(&mut wire, &update(0), &scope);
    assert!(answer_of(&mut wire, "USE other").is_ok());
    assert!(!stage.runs(&mut wire, &update(1)), "another database's table");
    // A run that is begun there is for that table, and not for the one of the name at log-in.
    stage.begun(&mut wire, &update(2), &scope);
    assert!(stage.runs(&mut wire, &update(3)));
    assert!(!stage.runs(&mut wire, "UPDATE app.plain SET note = 'n4'"));
    assert!(answer_of(&mut wire, "USE app").is_ok());
    assert!(stage.runs(&mut wire, &update(5)), "as it was before");
    let swap = "RENAME TABLE app.plain TO app.plain_old; CREATE VIEW app.plain AS SELECT * FROM app.bills";
    stage.house.server.run(swap);
    assert!(!stage.runs(&mut wire, &update(6)));
    let back = "DROP VIEW app.plain; RENAME TABLE app.plain_old TO app.plain";
    stage.house.server.run(back);
    assert!(stage.runs(&mut wire, &update(7)));
    // Once a temporary table may stand before a name, nothing runs by it.
    let temporary = "CREATE TEMPORARY TABLE plain (id int, note varchar(9))";
    wire.send_query(temporary.as_bytes());
    stage.runtime.block_on(async {
        let held = stage.api.held(temporary).await;
        stage.api.approve(&held).await;
    });
    assert!(answer(&mut wire).is_ok());
    assert!(!stage.runs(&mut wire, &update(8)));
    assert!(!stage.runs(&mut wire, "UPDATE app.plain SET note = 'n9'"));
    assert_eq!(stage.truth("SELECT MAX(note) FROM app.plain"), "n7");
}

/// Approved for one session's temporary table, redeemed where the name is the real one's.
#[test]
fn an_approval_for_a_temporary_table_is_none_for_the_table_of_its_name() {
    let stage = Stage::open();
    let mut wire = stage.house.connect();
    let approve = |text: &str| {
        stage.runtime.block_on(async {
            let held = stage.api.held(text).await;
            stage.api.approve(&held).await;
        });
    };
    let temporary = "CREATE TEMPORARY TABLE plain (id int)";
    wire.send_query(temporary.as_bytes());
    approve(temporary);
    assert!(answer(&mut wire).is_ok());
    let text = "DELETE FROM plain";
    wire.send_query(text.as_bytes());
    let held = stage.runtime.block_on(stage.api.held(text));
    assert!(held["facts"].to_string().contains("temporary tables"), "{held}");
    drop(wire);
    stage.runtime.block_on(async {
        stage.api.until_state(&held, &["detached"]).await;
        stage.api.approve(&held).await;
    });
    let mut again = stage.house.connect();
    assert!(!stage.runs(&mut again, text));
    assert_eq!(stage.truth("SELECT COUNT(*) FROM app.plain"), "2");
}

fn answer_of(wire: &mut MysqlWire, text: &str) -> Answer {
    wire.query(text).remove(0)
}

impl Stage {
    /// Sends what is held, and has it approved.
    fn approved(&self, wire: &mut MysqlWire, text: &str) -> Answer {
        wire.send_query(text.as_bytes());
        self.runtime.block_on(async {
            let held = self.api.held(text).await;
            self.api.approve(&held).await;
        });
        answer(wire)
    }

    /// How transactions ended, as the log tells it, oldest first.
    fn ends(&self) -> Vec<String> {
        self.told_ends(0)
            .iter()
            .map(|record| record["outcome"].as_str().expect("told").to_owned())
            .collect()
    }

    /// The records of how transactions ended, oldest first. They are there soon after the answers: looks until there are so
    /// many.
    fn told_ends(&self, count: usize) -> Vec<Value> {
        for look in 0.. {
            let log = self.house.run(&["log", "query", "--kind", "transaction_end"]);
            let items = log["items"].as_array().expect("items");
            if items.len() >= count || look == 500 {
                return items.iter().rev().cloned().collect();
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        unreachable!("the last look has returned")
    }
}

/// What is sent, and who lets it through.
enum Sent {
    Query(&'static str),
    /// It is held, and a person says yes.
    Approved(&'static str),
    Reset,
}

#[test]
fn the_log_tells_how_each_transaction_ended_however_it_was_ended() {
    use Sent::{Approved, Query, Reset};
    let stage = Stage::open();
    stage.house.server.run(
        "CREATE TABLE app.stays (id int PRIMARY KEY);
         CREATE PROCEDURE app.takes_back() ROLLBACK",
    );
    const WRITE: Sent = Query("UPDATE plain SET note = '{n}' WHERE id = 1");
    let mut told = 0;
    for (number, (sent, ended, kept)) in [
        (
            vec![Query("BEGIN"), WRITE, Query("COMMIT")],
            vec!["committed"],
            true,
        ),
        // What is kept must not look undone,
        (
            vec![Query("BEGIN"), WRITE, Query("COMMIT; BEGIN; ROLLBACK")],
            vec!["committed", "rolled_back"],
            true,
        ),
        (
            vec![
                Query("BEGIN"),
                WRITE,
                Query("COMMIT; BEGIN; SELECT nope"),
                Query("ROLLBACK"),
            ],
            vec!["committed", "rolled_back"],
            true,
        ),
        (
            vec![Query("BEGIN"), WRITE, Query("COMMIT AND CHAIN; ROLLBACK")],
            vec!["committed", "rolled_back"],
            true,
        ),
        (
            vec![
                Query("BEGIN"),
                WRITE,
                Approved("DROP TABLE stays, missing"),
                Query("ROLLBACK"),
            ],
            vec!["committed"],
            true,
        ),
        (
            vec![Query("SET autocommit=0"), WRITE, Query("SET autocommit=1")],
            vec!["committed"],
            true,
        ),
        // and what is undone must not look kept.
        (
            vec![Query("BEGIN"), WRITE, Query("ROLLBACK; BEGIN; COMMIT")],
            vec!["rolled_back", "committed"],
            false,
        ),
        (vec![Query("BEGIN"), WRITE, Reset], vec!["rolled_back"], false),
        (
            vec![Query("BEGIN"), WRITE, Approved("CALL takes_back()")],
            vec!["unknown"],
            false,
        ),
        // A failure that ends nothing.
        (
            vec![Query("BEGIN"), WRITE, Query("SELECT nope"), Query("ROLLBACK")],
            vec!["rolled_back"],
            false,
        ),
        (
            vec![Query("BEGIN"), WRITE, Query("SELECT nope"), Query("COMMIT")],
            vec!["committed"],
            true,
        ),
        (vec![Query("COMMIT"), Query("ROLLBACK")], vec![], false),
        // Anybody may end what is prepared: here it is the same session.
        (
            vec![
                Approved("XA START 'x'"),
                WRITE,
                Approved("XA END 'x'"),
                Approved("XA PREPARE 'x'"),
                Approved("XA ROLLBACK 'x'"),
            ],
            vec!["unknown", "rolled_back"],
            false,
        ),
        (
            vec![
                Approved("XA START 'y'"),
                WRITE,
                Approved("XA END 'y'"),
                Approved("XA COMMIT 'y' ONE PHASE"),
            ],
            vec!["committed"],
            true,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut wire = stage.house.connect();
        let truth = || stage.truth("SELECT note FROM app.plain WHERE id = 1");
        let (before, wanted) = (truth(), format!("t{number}"));
        for sent in &sent {
            match sent {
                Query(text) => drop(wire.query(&text.replace("{n}", &wanted))),
                Approved(text) => {
                    let answer = stage.approved(&mut wire, text);
                    assert_eq!(
                        answer.is_ok(),
                        !text.contains("missing"),
                        "{text}: {:?}",
                        answer.error()
                    );
                }
                Reset => assert!(wire.ask(0x1f, b"").is_ok()),
            }
        }
        assert_eq!(truth(), if kept { wanted } else { before }, "{number}");
        stage.told_ends(told + ended.len());
        let all = stage.ends();
        assert_eq!(all[told..], ended, "{number}");
        told = all.len();
    }
}

/// A statement whose values are too long to be read whole may end a transaction as any other.
#[test]
fn a_transaction_that_a_deadlock_undid_is_not_told_as_committed() {
    let stage = Stage::open();
    stage.house.server.run(
        "CREATE TABLE app.large (id int PRIMARY KEY, b longblob) ENGINE=InnoDB;
         INSERT INTO app.large VALUES (1,''),(2,'')",
    );
    let long = "x".repeat((1 << 20) + 100);
    for value in ["short", &long] {
        let before = stage.ends().len();
        let mut wire = stage.house.connect();
        let update = wire.prepare("UPDATE large SET b = ? WHERE id = 2").statement();
        assert!(answer_of(&mut wire, "BEGIN").is_ok());
        assert!(answer_of(&mut wire, "UPDATE large SET b = 'gone' WHERE id = 1").is_ok());
        // The server undoes whoever has changed less.
        let mut other = stage.house.admin();
        let rows: Vec<String> = (100..300).map(|id| format!("({id},'')")).collect();
        let insert = format!("INSERT INTO app.large VALUES {}", rows.join(","));
        for text in [
            "BEGIN",
            insert.as_str(),
            "UPDATE app.large SET b = 'other' WHERE id = 2",
        ] {
            assert!(answer_of(&mut other, text).is_ok(), "{text}");
        }
        other.send_query(b"UPDATE app.large SET b = 'other' WHERE id = 1");
        assert!(
            !other.has_answer(std::time::Duration::from_millis(300)),
            "it waits"
        );
        wire.send_execute(update, &[Some(value)], 0);
        assert_eq!(error(&wire.answers()).number, 1213);
        assert!(answer(&mut other).is_ok());
        assert!(answer_of(&mut other, "ROLLBACK").is_ok());
        assert!(answer_of(&mut wire, "COMMIT").is_ok());
        assert_eq!(
            stage.truth("SELECT COUNT(*) FROM app.large WHERE b = 'gone'"),
            "0"
        );
        stage.told_ends(before + 1);
        assert_eq!(stage.ends()[before..], ["rolled_back"], "{} bytes", value.len());
    }
}

/// Which approved requests a transaction that ended held: not those of the next one, whose message ended it.
#[test]
fn a_message_that_begins_with_the_end_of_a_transaction_counts_for_the_next() {
    let stage = Stage::open();
    let mut wire = stage.house.connect();
    let message = "COMMIT; BEGIN; DELETE FROM plain";
    wire.query("BEGIN");
    wire.query("UPDATE plain SET note = 'x' WHERE id = 1");
    wire.send_query(message.as_bytes());
    let id = stage.runtime.block_on(async {
        let held = stage.api.held(message).await;
        stage.api.approve(&held).await;
        id_of(&held)
    });
    assert_eq!(wire.answers().len(), 3);
    wire.query("ROLLBACK");
    let told: Vec<_> = stage
        .told_ends(2)
        .iter()
        .map(|item| (item["outcome"].clone(), item.to_string().contains(&id)))
        .collect();
    assert_eq!(told, [(json!("committed"), false), (json!("rolled_back"), true)]);
}

/// A text that begins with no digit equals the number 0: a literal of another sort is another statement.
#[test]
fn a_standing_grant_is_for_literals_of_the_sort_that_was_shown() {
    let stage = Stage::open();
    stage.house.server.run("UPDATE app.plain SET note = 'abc'");
    let mut wire = stage.house.connect();
    let scope = json!({ "kind": "fingerprint", "for": "session", "minutes": 15, "uses": 40 });
    let delete =
        |one: &str, other: &str| format!("DELETE FROM plain WHERE note = {one} OR note IN ({other})");
    stage.begun(&mut wire, &delete("'x'", "'y'"), &scope);
    assert!(stage.runs(&mut wire, &delete("'z'", "'u'")));
    for (one, other) in [
        ("'z'", "'u', 'v'"),
        ("0", "'y'"),
        ("'x'", "0"),
        ("'x'", "'y', 0"),
        ("'x'", "'y', 0, 'z'"),
        ("0x30", "'y'"),
        ("b'0'", "'y'"),
        ("0e0", "'y'"),
        ("-0", "'y'"),
        ("NULL", "'y'"),
        ("FALSE", "'y'"),
        ("_binary'x'", "'y'"),
        ("\"x\" + 0", "'y'"),
        ("note", "'y'"),
    ] {
        assert!(!stage.runs(&mut wire, &delete(one, other)), "{one} {other}");
    }
    assert_eq!(stage.truth("SELECT COUNT(*) FROM app.plain"), "2");
    assert!(stage.runs(&mut wire, &delete("'z'", "'u'")));
}

/// That a client is refused, and told to prepare its statement anew.
fn is_refused_until_prepared_anew(answer: &Answer, what: &str) {
    let refused = answer.error().unwrap_or_else(|| panic!("{what}: {answer:?}"));
    assert_eq!(refused.number, 1235, "{what}: {refused:?}");
    assert!(
        refused.message.contains("Prepare it again"),
        "{what}: {refused:?}"
    );
}

/// MariaDB takes the collation of a literal and of a CAST when it prepares a statement, not when it runs it: what is shown
/// when it is executed must be what was in force then.
#[test]
fn a_statement_that_was_prepared_under_another_collation_must_be_prepared_anew() {
    const LOOSE: &str = "SET collation_connection = utf8mb4_general_ci";
    const STRICT: &str = "SET collation_connection = utf8mb4_bin";
    let stage = Stage::open();
    let text = "DELETE FROM plain WHERE CAST(note AS CHAR) = 'a'";
    let anew = "DELETE FROM app.plain; INSERT INTO app.plain VALUES (1,'a'),(2,'A')";
    // So it is.
    stage.house.server.run(anew);
    let mut owner = stage.house.admin();
    owner.query("USE app");
    owner.query(LOOSE);
    let statement = owner.prepare(text).statement();
    owner.query(STRICT);
    assert!(owner.execute(statement, &[])[0].is_ok());
    assert_eq!(stage.truth("SELECT COUNT(*) FROM app.plain"), "0");
    for (before, between) in [
        (LOOSE, vec![STRICT]),
        (
            "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
            vec!["SET NAMES utf8mb4 COLLATE utf8mb4_bin"],
        ),
        // Back where it was: the server may have prepared it anew meanwhile.
        (STRICT, vec![LOOSE, STRICT]),
        (
            STRICT,
            vec!["SET collation_connection = utf8mb4_general_ci; SET collation_connection = utf8mb4_bin"],
        ),
    ] {
        stage.house.server.run(anew);
        let mut wire = stage.house.connect();
        assert!(answer_of(&mut wire, before).is_ok(), "{before}");
        let statement = wire.prepare(text).statement();
        for setting in &between {
            assert!(wire.query(setting).iter().all(Answer::is_ok), "{setting}");
        }
        is_refused_until_prepared_anew(&wire.execute(statement, &[])[0], before);
        assert!(stage.runtime.block_on(stage.api.pending()).is_empty());
        // Prepared anew, it means what is shown, as often as is liked.
        let statement = wire.prepare(text).statement();
        for _ in 0..2 {
            for harmless in [
                "SET autocommit = 1",
                "SET @a = 1",
                "BEGIN",
                "COMMIT",
                "SELECT nope",
            ] {
                wire.query(harmless);
            }
            wire.send_execute(statement, &[], 0);
            stage.runtime.block_on(async {
                let held = stage.api.held(text).await;
                let facts = held["facts"].to_string();
                assert!(facts.contains("collation_connection utf8mb4_bin"), "{facts}");
                stage.api.approve(&held).await;
            });
            assert!(answer(&mut wire).is_ok(), "{before}");
        }
        assert_eq!(
            stage.truth("SELECT GROUP_CONCAT(HEX(note)) FROM app.plain"),
            "41",
            "{before}"
        );
    }
}

/// The same by SQL's own PREPARE and EXECUTE.
#[test]
fn an_execute_of_what_was_prepared_under_another_collation_is_refused() {
    let stage = Stage::open();
    let prepare = "PREPARE p FROM \"DELETE FROM plain WHERE CAST(note AS CHAR) = 'a'\"";
    let both = format!("SET collation_connection = utf8mb4_general_ci; {prepare}");
    for (text, setting) in [
        (prepare, "SET collation_connection = utf8mb4_bin"),
        (both.as_str(), "SELECT 1"),
    ] {
        let mut wire = stage.house.connect();
        assert!(stage.approved(&mut wire, text).is_ok(), "{text}");
        assert!(wire.query(setting)[0].error().is_none(), "{setting}");
        is_refused_until_prepared_anew(&answer_of(&mut wire, "EXECUTE p"), text);
        assert!(stage.approved(&mut wire, prepare).is_ok());
        assert!(stage.approved(&mut wire, "EXECUTE p").is_ok());
    }
}

#[test]
fn an_approval_is_for_values_as_they_were_read_when_it_was_asked_for() {
    let stage = Stage::open();
    let text = "UPDATE plain SET note = UNIX_TIMESTAMP('2026-02-01 00:00:00') WHERE id > 0";
    for setting in [
        "SET time_zone = '+09:00'",
        "SET sql_auto_is_null = 1",
        "SET lc_time_names = 'de_DE'",
        "SET max_sort_length = 64",
        "SET explicit_defaults_for_timestamp = 0",
    ] {
        let mut wire = stage.house.connect();
        assert!(answer_of(&mut wire, "SET @countersign_wait = '1s'").is_ok());
        wire.send_query(text.as_bytes());
        let held = stage.runtime.block_on(stage.api.held(text));
        assert!(held["facts"].to_string().contains("time_zone"), "{held}");
        assert!(!answer(&mut wire).is_ok());
        let approved = stage.runtime.block_on(stage.api.approve(&held));
        assert_eq!(approved["state"], "grant", "{approved}");
        let mut other = stage.house.connect();
        assert!(answer_of(&mut other, setting).is_ok(), "{setting}");
        assert!(!stage.runs(&mut other, text), "{setting}");
        let mut same = stage.house.connect();
        assert!(stage.runs(&mut same, text), "{setting}");
        assert!(!stage.runs(&mut same, text), "it was for once");
    }
}
