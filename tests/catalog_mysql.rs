//! What a real MariaDB says of the names in a statement: views, stored functions, triggers and foreign keys.

mod support;

use std::sync::Arc;
use std::time::Duration;

use countersign::catalog::keeper::{Snapshot as _, Source as _};
use countersign::catalog::mysql::{Reader, Settings, Snapshot, View};
use countersign::catalog::{CatalogError, ListedFunction, ListedFunctions};
use countersign::sql::action::{Breadth, Class, Judgement};
use countersign::sql::mysql::judge_mysql;
use countersign::sql::mysql_state::ServerKind;
use countersign::sql::parse::PARSER_STACK_BYTES;
use support::mariadb::Mariadb;

fn read(url: &str, listed: &ListedFunctions) -> Result<Arc<Snapshot>, CatalogError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let settings = Settings::from_url(url, None, Duration::from_secs(30))?;
    runtime.block_on(Reader::open(Arc::new(settings), "").read(listed))
}

/// As a session whose default database is `app`.
fn judge(snapshot: &Arc<Snapshot>, has_own_objects: bool, text: &str) -> Judgement {
    let view = View {
        snapshot: Arc::clone(snapshot),
        database: Some("app".to_owned()),
        has_own_objects,
    };
    let text = text.to_owned();
    std::thread::Builder::new()
        .stack_size(PARSER_STACK_BYTES)
        .spawn(move || judge_mysql(text.as_bytes(), &view.snapshot.state.clone(), &view))
        .expect("a thread")
        .join()
        .expect("a judgement")
}

fn check(snapshot: &Arc<Snapshot>, text: &str, class: Class) -> Judgement {
    let judged = judge(snapshot, false, text);
    assert_eq!(judged.class(), class, "{text}: {:?}", judged.actions);
    judged
}

#[test]
fn views_are_followed_to_what_they_call_and_read() {
    let server = Mariadb::with_fixtures();
    server.run(
        "CREATE VIEW app.nested_v AS SELECT * FROM app.v_touch;
         CREATE VIEW app.late AS SELECT SLEEP(1) AS s;
         CREATE VIEW app.own AS SELECT user, authentication_string FROM mysql.user;
         CREATE VIEW app.`odd ``view` AS SELECT k FROM app.secrets;
         CREATE TABLE app.gone (a int); CREATE VIEW app.broken AS SELECT a FROM app.gone; DROP TABLE app.gone;",
    );
    let snapshot = read(&server.url("root", "", "app"), &ListedFunctions::default()).expect("the catalog");
    assert_eq!(snapshot.state.kind, ServerKind::Mariadb);
    assert!(snapshot.state.version.is_some_and(|version| version > 100_000));
    let plain = check(&snapshot, "SELECT * FROM v_active_customers", Class::Read);
    let behind: Vec<String> = plain.actions[0].behind.iter().map(ToString::to_string).collect();
    assert_eq!(behind, ["app.customers"]);
    check(&snapshot, "SELECT k FROM app.`odd ``view`", Class::Read);
    check(&snapshot, "SELECT * FROM there_is_no_such_table", Class::Read);
    check(&snapshot, "SELECT * FROM v_touch", Class::Procedural);
    check(
        &snapshot,
        "SELECT COUNT(t) FROM v_touch WHERE t > 0",
        Class::Procedural,
    );
    check(
        &snapshot,
        "SELECT 1 WHERE EXISTS (SELECT * FROM nested_v)",
        Class::Procedural,
    );
    for held in ["SELECT * FROM late", "SELECT * FROM own"] {
        let judged = judge(&snapshot, false, held);
        assert!(judged.class() > Class::Read, "{held}: {judged:?}");
    }
}

#[test]
fn a_stored_function_passes_only_as_it_was_listed() {
    let server = Mariadb::with_fixtures();
    let nothing = ListedFunctions::default();
    let snapshot = read(&server.url("root", "", "app"), &nothing).expect("the catalog");
    check(&snapshot, "SELECT net(119.00, 0.19)", Class::Procedural);
    let listed = snapshot
        .user_functions()
        .into_iter()
        .find(|function| function.function.starts_with("app.net("))
        .expect("it is there");
    let listed = ListedFunctions::new([ListedFunction {
        function: listed.function,
        hash: listed.hash,
    }]);
    let snapshot = read(&server.url("root", "", "app"), &listed).expect("the catalog");
    check(&snapshot, "SELECT net(119.00, 0.19)", Class::Read);
    check(
        &snapshot,
        "SELECT app.NET(119.00, 0.19) FROM orders WHERE id = 1",
        Class::Read,
    );
    check(&snapshot, "SELECT touch(), net(119.00, 0.19)", Class::Procedural);
    server.run(
        "DROP FUNCTION app.net;\nDELIMITER //\n
         CREATE FUNCTION app.net(g decimal(12,2), r decimal(5,4)) RETURNS decimal(12,2) DETERMINISTIC NO SQL
         BEGIN DELETE FROM app.secrets; RETURN 1; END//",
    );
    let snapshot = read(&server.url("root", "", "app"), &listed).expect("the catalog");
    let judged = check(&snapshot, "SELECT net(119.00, 0.19)", Class::Procedural);
    assert!(
        judged.actions[0]
            .reasons
            .iter()
            .any(|reason| reason.contains("another definition"))
    );
}

#[test]
fn a_write_that_fires_triggers_or_cascades_is_not_bounded() {
    let server = Mariadb::with_fixtures();
    server.run(
        "CREATE TABLE app.trig_t(a int PRIMARY KEY); CREATE TABLE app.plain_t(a int PRIMARY KEY);
         CREATE TRIGGER app.tr AFTER UPDATE ON app.trig_t FOR EACH ROW DELETE FROM app.secrets;
         CREATE TABLE app.child(a int, FOREIGN KEY (a) REFERENCES app.plain_t(a) ON DELETE CASCADE);",
    );
    let snapshot = read(&server.url("root", "", "app"), &ListedFunctions::default()).expect("the catalog");
    let breadth = |text: &str| check(&snapshot, text, Class::Write).actions[0].breadth;
    assert_eq!(breadth("UPDATE trig_t SET a = 2 WHERE a = 1"), Breadth::Unbounded);
    assert_eq!(breadth("INSERT INTO trig_t VALUES (1)"), Breadth::Bounded);
    assert_eq!(breadth("DELETE FROM trig_t WHERE a = 1"), Breadth::Bounded);
    assert_eq!(breadth("DELETE FROM plain_t WHERE a = 1"), Breadth::Unbounded);
    assert_eq!(breadth("UPDATE plain_t SET a = 3 WHERE a = 1"), Breadth::Bounded);
}

#[test]
fn temporary_tables_of_the_session_make_every_table_unknown() {
    let server = Mariadb::with_fixtures();
    let snapshot = read(&server.url("root", "", "app"), &ListedFunctions::default()).expect("the catalog");
    assert_eq!(
        judge(&snapshot, true, "SELECT * FROM app.customers").class(),
        Class::Unknown
    );
    assert_eq!(judge(&snapshot, true, "SELECT 1 + 1").class(), Class::Read);
}

#[test]
fn an_account_that_definitions_are_hidden_from_reads_no_catalog() {
    let server = Mariadb::with_fixtures();
    server.run(
        "CREATE USER 'blind'@'127.0.0.1' IDENTIFIED BY 'x'; GRANT SELECT ON *.* TO 'blind'@'127.0.0.1';
         CREATE USER 'reader'@'127.0.0.1' IDENTIFIED BY 'x';
         GRANT SELECT, SHOW VIEW, TRIGGER ON *.* TO 'reader'@'127.0.0.1';",
    );
    let nothing = ListedFunctions::default();
    let blind = read(&server.url("blind", "x", "app"), &nothing)
        .map(|_| ())
        .unwrap_err();
    assert!(blind.to_string().contains("SHOW VIEW, TRIGGER"), "{blind}");
    let refused = read(&server.url("reader", "wrong", "app"), &nothing)
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(refused, CatalogError::Refused(_)), "{refused}");
    let snapshot = read(&server.url("reader", "x", "app"), &nothing).expect("the catalog");
    check(&snapshot, "SELECT * FROM v_touch", Class::Procedural);
    check(&snapshot, "SELECT * FROM v_active_customers", Class::Read);
}

#[test]
fn what_catalog_functions_prints_is_what_judge_trusts() {
    let server = Mariadb::with_fixtures();
    let url = server.url("root", "", "app");
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(arguments)
            .output()
            .expect("the program");
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    };
    let judged = |trusted: &[&str], sql: &str| {
        let arguments = [
            &["judge", "--dialect", "mariadb", "--upstream", &url, sql],
            trusted,
        ]
        .concat();
        run(&arguments)
    };
    let read = "SELECT net(119.00, 0.19)";
    assert!(judged(&[], read).contains("\"verdict\":\"hold\""));
    let lines = run(&["catalog", "functions", "--upstream", &url]);
    let pure: String = lines
        .split_inclusive("\n\n")
        .filter(|piece| piece.contains("app.net("))
        .collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &pure).expect("written");
    let trusted = ["--trusted", file.path().to_str().expect("a path")];
    assert!(judged(&trusted, read).contains("\"verdict\":\"allow\""), "{pure}");
    assert!(judged(&trusted, "SELECT touch()").contains("\"verdict\":\"hold\""));
    // Read as this very server reads it: a comment for a later version is none of its words.
    assert!(judged(&[], "/*M!999999 SELECT touch(), */ SELECT 1").contains("\"verdict\":\"hold\""));
    assert!(judged(&[], "/*!40101 SET NAMES utf8mb4 */").contains("\"verdict\":\"allow\""));
}
