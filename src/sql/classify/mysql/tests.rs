//! The walk alone, without the checks of bytes before it and the masking of secrets behind it.

use super::*;
use crate::sql::lex::mysql::scan;
use crate::sql::names::{Catalog, Concern, ForeignType, Routine};

fn judge(text: &str, state: &MysqlState) -> Classified {
    judge_with(text, state, &())
}

fn judge_with(text: &str, state: &MysqlState, names: &dyn KnownNames) -> Classified {
    let scan = scan(text, 0, state);
    if let Some(refused) = scan.refused {
        return Classified {
            actions: vec![unknown_action(0..text.len(), refused.to_string())],
            depends_on_names: false,
            followed: MysqlFollowed::default(),
        };
    }
    let statements: Vec<&[Token]> = scan.statements().collect();
    let context = Context {
        text,
        state,
        names,
        inner: &|sql| Judgement {
            actions: judge_with(sql, state, names).actions,
            depends_on_names: false,
            fingerprint: [0; 32],
            sorts: [0; 32],
        },
    };
    classify(&statements, context)
}

/// Class, and for writes the breadth, of each statement.
fn told(text: &str, state: &MysqlState) -> String {
    let actions = judge(text, state).actions;
    let shown = actions.iter().map(|action| match (action.class, action.breadth) {
        (Class::Write, Breadth::Unbounded) => "write unbounded".to_owned(),
        (class, _) => class.to_string(),
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn check(expected: &str, texts: &[&str]) {
    let state = MysqlState::default_mariadb();
    for text in texts {
        let reasons: Vec<_> = judge(text, &state)
            .actions
            .into_iter()
            .map(|action| action.reasons)
            .collect();
        assert_eq!(told(text, &state), expected, "{text}: {reasons:?}");
    }
}

#[track_caller]
fn check_tables(text: &str, expected: &[&str]) {
    let state = MysqlState::default_mariadb();
    let actions = judge(text, &state).actions;
    let tables: Vec<String> = actions
        .iter()
        .flat_map(|action| action.tables.iter().map(ToString::to_string))
        .collect();
    assert_eq!(tables, expected, "{text}");
}

#[test]
fn plain_queries_are_reads() {
    check(
        "read",
        &[
            "SELECT a, b AS c FROM t WHERE a IN (SELECT x FROM u) GROUP BY a WITH ROLLUP HAVING COUNT(*) > 1 LIMIT 1, 2",
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT * FROM r",
            "SELECT SQL_CALC_FOUND_ROWS HIGH_PRIORITY DISTINCT a FROM t USE INDEX (i) STRAIGHT_JOIN u ON t.a = u.a",
            "SELECT a -> '$.x', CAST(b AS DECIMAL(10, 2)), CONVERT(c USING utf8mb4) FROM t PARTITION (p0)",
            "SELECT ROW_NUMBER() OVER w, LAG(a, 1) OVER (PARTITION BY b ORDER BY c) FROM t WINDOW w AS (ORDER BY a)",
            "(SELECT 1) UNION ALL (SELECT 2) INTERSECT SELECT 3 ORDER BY 1",
            "SELECT j.a FROM JSON_TABLE('[]', '$[*]' COLUMNS (a INT PATH '$.a')) AS j",
            "SELECT TRIM(LEADING 'x' FROM a), SUBSTRING(a FROM 2 FOR 3), EXTRACT(YEAR FROM b), POSITION('a' IN c) FROM t",
            "SELECT @a := @a + 1 FROM t",
            "SELECT @@version, @@session.sql_mode, @@GLOBAL.port",
            "VALUES (1, 2), (3, 4)",
            "TABLE t ORDER BY a DESC LIMIT 3",
            "SELECT LAST_INSERT_ID(), FOUND_ROWS(), ROW_COUNT()",
            "SELECT CURRENT_USER, CURRENT_TIMESTAMP, ROW(1, 2) = (1, 2), POINT(1, 2)",
        ],
    );
}

#[test]
fn functions_are_harmless_by_list_and_spelling_alone() {
    check(
        "procedural",
        &[
            "SELECT touch()",
            "SELECT app.touch()",
            "SELECT app.concat('a')",
            "SELECT `concat`('a')",
            "SELECT NOW ()",
            "SELECT MAX (id) FROM t",
            "SELECT sys.format_bytes(1)",
            "SELECT POINT(1)",
            "SELECT any_value(a) FROM t",
            "SELECT 1 FROM t ORDER BY touch()",
            "SELECT 1 FROM t JOIN u ON touch()",
            "SELECT SUM(a) OVER (PARTITION BY touch()) FROM t",
            "SELECT CASE WHEN 1 THEN touch() END",
            "SELECT (SELECT EXISTS (SELECT touch()))",
            "SELECT JSON_OBJECTAGG(a, touch()) FROM t",
            "SELECT GROUP_CONCAT(a ORDER BY touch() SEPARATOR ',') FROM t",
            "SELECT a + INTERVAL touch() DAY FROM t",
            "SHOW TABLES WHERE touch()",
            "SHOW INDEX FROM t WHERE touch()",
            "EXPLAIN SELECT touch()",
            "SET @a = touch()",
            "SET autocommit = touch()",
            "INSERT INTO t VALUES (touch())",
        ],
    );
    check(
        "admin",
        &[
            "SELECT SLEEP(1)",
            "SELECT BENCHMARK(1, 1)",
            "SELECT LOAD_FILE('/etc/passwd')",
            "SELECT LAST_INSERT_ID(5)",
            "SELECT RELEASE_ALL_LOCKS()",
            "SHOW TABLES WHERE SLEEP(1)",
        ],
    );
    check(
        "session",
        &[
            "SELECT GET_LOCK(?, -1)",
            "SELECT RELEASE_LOCK('a')",
            "SELECT @a := 1",
        ],
    );
    check(
        "write unbounded",
        &["SELECT NEXTVAL(s)", "SELECT NEXT VALUE FOR s"],
    );
}

#[test]
fn a_server_that_is_not_known_has_only_what_every_server_has() {
    let unknown = MysqlState::default_mysql();
    assert_eq!(told("SELECT NVL2(a, 1, 2) FROM t", &unknown), "procedural");
    assert_eq!(told("SELECT CONCAT('a')", &unknown), "read");
    assert_eq!(
        told("INSERT INTO t VALUES (NEXTVAL(s))", &unknown),
        "write unbounded"
    );
    let mariadb = MysqlState::default_mariadb();
    assert_eq!(told("INSERT INTO t VALUES (NEXTVAL(s))", &mariadb), "write");
}

#[test]
fn writes_are_bounded_by_the_rows_they_list() {
    check(
        "write",
        &[
            "INSERT INTO t (a, b) VALUES (1, ?), (2, 'x')",
            "INSERT INTO t SET a = 1",
            "INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = VALUES(a)",
            "REPLACE INTO t VALUES (1)",
            "INSERT INTO t VALUES (1) RETURNING a",
            "UPDATE t SET a = a + 1 WHERE id = ? AND b IN (1, 2) LIMIT 1",
            "DELETE FROM t WHERE (`id` = -5)",
            "SELECT * FROM t WHERE id = 1 FOR UPDATE",
        ],
    );
    check(
        "write unbounded",
        &[
            "UPDATE t SET a = 1",
            "DELETE FROM t",
            "DELETE FROM t LIMIT 1",
            "DELETE FROM t WHERE 1 = 1",
            "DELETE FROM t WHERE id = id",
            "DELETE FROM t WHERE @a = 1",
            "DELETE FROM t WHERE CURRENT_USER = 'a@b'",
            "DELETE FROM t WHERE id = 1 OR id = 2",
            "DELETE FROM t WHERE id > 1",
            "DELETE FROM t WHERE id IN (SELECT id FROM u)",
            "DELETE t FROM t JOIN u ON t.id = u.id WHERE t.id = 1",
            "UPDATE t, u SET t.a = 1 WHERE t.id = 1",
            "INSERT INTO t SELECT * FROM u",
            "REPLACE INTO t SELECT 1",
            "WITH x AS (SELECT 1) DELETE FROM t WHERE id IN (SELECT * FROM x)",
            "SELECT * FROM t FOR UPDATE",
            "SELECT * FROM t, u WHERE t.id = 1 FOR UPDATE",
            "SELECT * FROM t WHERE id = 1 LOCK IN SHARE MODE",
            "LOAD DATA LOCAL INFILE 'x' INTO TABLE t",
        ],
    );
    check(
        "grant",
        &["INSERT INTO mysql.global_priv VALUES ('%', 'u', '{}')"],
    );
    check(
        "admin",
        &[
            "DELETE FROM mysql.general_log",
            "LOAD DATA INFILE '/x' INTO TABLE t",
        ],
    );
}

#[test]
fn a_comparison_with_zero_alone_bounds_nothing() {
    const ZEROES: [&str; 29] = [
        "a = 0",
        "0 = a",
        "a <=> 0",
        "(a = (0))",
        "a = 0.0",
        "a = -0",
        "a = +0",
        "a = 0e0",
        "a = 1e-400",
        "a = 0x00",
        "a = x'0000'",
        "a = b'0'",
        "a = FALSE",
        "a = -'x'",
        "a = TIME '00:00:00'",
        "a = TIME '00:00:00.0000001'",
        "a = TIMESTAMP '0000-00-00 00:00:00.0000009'",
        "a = {t '00:00:00'}",
        "a = {T '00:00:00'}",
        "a = {t '00:00:' '00'}",
        "a = {t _utf8mb4'00:00:00'}",
        "a = {t '00:00:00.0000001'}",
        "a = {d '0000-00-00'}",
        "a = {ts '0000-00-00 00:00:00'}",
        "a = {fn {t '00:00:00'}}",
        "a IN ('x', {t '00:00:00'})",
        "a IN (1, 0)",
        "a IN (NULL, NULL)",
        "a = 0 AND b <=> NULL",
    ];
    let state = MysqlState::default_mariadb();
    for zero in ZEROES {
        for text in [
            format!("UPDATE t SET a = 1 WHERE {zero}"),
            format!("DELETE FROM t WHERE {zero}"),
        ] {
            let action = judge(&text, &state).actions.remove(0);
            assert_eq!(action.breadth, Breadth::Unbounded, "{text}");
            assert_eq!(
                action.reasons,
                ["compares with zero, which every text equals"],
                "{text}"
            );
        }
        check(
            "write unbounded",
            &[&format!("SELECT * FROM t WHERE {zero} FOR UPDATE")],
        );
        check(
            "write",
            &[
                &format!("DELETE FROM t WHERE id = 7 AND {zero}"),
                &format!("DELETE FROM t WHERE {zero} AND id IN (1, ?)"),
            ],
        );
        check(
            "write unbounded",
            &[&format!("DELETE FROM t WHERE id > 7 AND {zero}")],
        );
    }
    check(
        "write",
        &[
            "DELETE FROM t WHERE a = '0'",
            "DELETE FROM t WHERE a = ?",
            "DELETE FROM t WHERE a = TRUE",
            "DELETE FROM t WHERE a = 0.1",
            "DELETE FROM t WHERE a = 0x0a",
            "DELETE FROM t WHERE a = b'10'",
            "DELETE FROM t WHERE a IN (1, NULL)",
            "DELETE FROM t WHERE a = DATE '2020-01-01'",
            "DELETE FROM t WHERE a = {d '2020-01-01'}",
            "DELETE FROM t WHERE a = {ts '2020-01-01 00:00:00'}",
            "DELETE FROM t WHERE a = TIME '00:00:00.000001'",
        ],
    );
    // What is no literal any more is no constant.
    let text = "DELETE FROM t WHERE a = {t ('00:00:00')}";
    let action = judge(text, &MysqlState::default_mariadb()).actions.remove(0);
    assert_eq!(action.breadth, Breadth::Unbounded, "{text}");
}

#[test]
fn own_grants_are_read_only_where_no_hash_stands_in_them() {
    let newer = MysqlState::of_server("5.7.6", "");
    let older = MysqlState::of_server("5.7.5-m15", "");
    let no_version = MysqlState {
        version: None,
        ..newer
    };
    let mariadb = MysqlState::of_server("11.8.3-MariaDB", "");
    for text in ["SHOW GRANTS", "SHOW GRANTS FOR CURRENT_USER()"] {
        assert_eq!(told(text, &newer), "read");
        for state in [&older, &no_version, &mariadb, &MysqlState::default_mysql()] {
            let action = judge(text, state).actions.remove(0);
            assert_eq!(action.class, Class::Grant, "{text}");
            assert_eq!(action.reasons, ["shows password hashes"]);
        }
    }
    assert_eq!(told("SHOW GRANTS FOR root", &newer), "grant");
}

#[test]
fn schemas_are_told_that_are_shown_checked_counted_or_used_later() {
    for text in [
        "SHOW TABLES FROM app",
        "SHOW FULL TABLES IN `app` LIKE 'a'",
        "SHOW TABLE STATUS FROM app",
        "SHOW OPEN TABLES FROM app WHERE `Table` = 'a'",
        "SHOW TRIGGERS FROM app",
        "SHOW EVENTS FROM app",
        "SHOW CREATE DATABASE app",
        "SHOW CREATE SCHEMA IF NOT EXISTS app",
        "SHOW CREATE TRIGGER app.g",
        "SHOW CREATE EVENT app.e",
        "PREPARE s FROM 'USE app'",
        "PREPARE s FROM ' /* x */ USE `app`;'",
        "EXECUTE IMMEDIATE 'USE app'",
    ] {
        check_tables(text, &["app.*"]);
    }
    check_tables("PREPARE s FROM 'USE app'; EXECUTE s", &["app.*", "app.*"]);
    for text in ["USE app", "SHOW TABLES", "SHOW CREATE TRIGGER g"] {
        check_tables(text, &[]);
    }
    for text in [
        "SHOW CREATE TABLE app.t",
        "SHOW CREATE VIEW app.t",
        "SHOW INDEX FROM t FROM app",
        "SHOW COLUMNS FROM t IN app",
        "SHOW COLUMNS FROM other.t FROM app",
        "DESCRIBE app.t",
        "EXPLAIN app.t",
        "CHECKSUM TABLE app.t",
        "CHECK TABLE app.t",
        "ANALYZE TABLE app.t",
        "OPTIMIZE TABLE app.t",
        "REPAIR LOCAL TABLE app.t",
        "FLUSH TABLES app.t",
        "SELECT NEXT VALUE FOR app.t",
        "SELECT PREVIOUS VALUE FOR `app`.`t`",
        "SELECT LASTVAL(app.t), NEXTVAL(app.t), SETVAL(app.t, 1)",
        "SET @a = NEXT VALUE FOR app.t",
    ] {
        check_tables(text, &["app.t"]);
    }
    for text in [
        "SHOW CREATE PROCEDURE app.F",
        "SHOW CREATE FUNCTION app.f",
        "SHOW CREATE PACKAGE BODY app.f",
    ] {
        let action = judge(text, &MysqlState::default_mariadb()).actions.remove(0);
        let functions: Vec<String> = action.functions.iter().map(ToString::to_string).collect();
        assert_eq!(functions, ["app.f"], "{text}");
        assert_eq!(action.class, Class::Read, "{text}");
    }
}

#[test]
fn a_whole_schema_is_not_looked_up_in_the_catalog() {
    let state = MysqlState::default_mariadb();
    let texts = [
        "SHOW TABLES FROM app",
        "SHOW CREATE DATABASE app",
        "PREPARE s FROM 'USE app'",
        "SELECT LASTVAL(app.s)",
    ];
    for text in texts {
        let action = judge_with(text, &state, &Known).actions.remove(0);
        assert!(action.class <= Class::Read, "{text}: {:?}", action.reasons);
    }
}

#[test]
fn tables_are_told_wherever_they_hide() {
    check_tables("WITH t AS (SELECT * FROM t) SELECT * FROM t", &["t"]);
    check_tables("WITH RECURSIVE t AS (SELECT * FROM t) SELECT * FROM t", &[]);
    check_tables("WITH t AS (SELECT 1) SELECT * FROM app.t", &["app.t"]);
    check_tables(
        "SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) y JOIN x",
        &["x"],
    );
    check_tables("SELECT SQL_CACHE * FROM secrets", &["secrets"]);
    check_tables("SHOW TABLE STATUS WHERE (SELECT 1 FROM secrets)", &["secrets"]);
    check_tables("SHOW COLUMNS FROM t FROM app", &["app.t"]);
    check_tables("DESCRIBE `a`.`b c`", &["a.b c"]);
    check_tables("SELECT 1 UNION SELECT a FROM t", &["t"]);
    check_tables("SET @a = (SELECT v FROM secrets)", &["secrets"]);
    check_tables("SELECT 1 FROM DUAL", &[]);
    check_tables("SELECT 1 FROM `dual`", &["dual"]);
    check_tables("DROP TABLE IF EXISTS a, b.c CASCADE", &["a", "b.c"]);
    check_tables(
        "CREATE TABLE a (b int, FOREIGN KEY (b) REFERENCES c (d)) SELECT * FROM e",
        &["a", "c", "e"],
    );
    check_tables("ALTER TABLE a RENAME TO b", &["a", "b"]);
    check_tables("LOCK TABLES a READ, b AS c WRITE", &["a", "b"]);
    check_tables("EXPLAIN UPDATE a SET b = 1", &["a"]);
}

#[test]
fn what_is_shown_is_spelled_out_or_held() {
    check(
        "read",
        &[
            "SHOW TABLES",
            "SHOW FULL TABLES FROM `app` LIKE 'a%'",
            "SHOW EXTENDED FULL COLUMNS IN t WHERE Field = 'a'",
            "SHOW SESSION VARIABLES WHERE Variable_name IN ('a', 'b')",
            "SHOW COUNT(*) WARNINGS",
            "SHOW ERRORS LIMIT 1, 2",
            "SHOW ENGINE INNODB STATUS",
            "SHOW CREATE TABLE app.t",
            "SHOW CREATE PACKAGE BODY p",
            "SHOW PACKAGE BODY STATUS WHERE Db = 'app'",
            "SHOW FULL PROCESSLIST",
            "DESC t a",
            "EXPLAIN format",
            "EXPLAIN EXTENDED SELECT 1 FROM t",
            "EXPLAIN FORMAT=JSON DELETE FROM t",
            "ANALYZE FORMAT=JSON SELECT * FROM t",
        ],
    );
    check(
        "grant",
        &[
            "SHOW GRANTS FOR root",
            "SHOW GRANTS FOR CURRENT_USER(), root",
            "SHOW CREATE USER a",
        ],
    );
    check("export", &["SHOW BINLOG EVENTS", "SHOW RELAYLOG EVENTS"]);
    check(
        "admin",
        &[
            "SHOW MASTER STATUS",
            "SHOW EXPLAIN FOR 1",
            "EXPLAIN FOR CONNECTION 5",
            "ANALYZE TABLE t",
        ],
    );
    check(
        "unknown",
        &[
            "SHOW TABLES LIKE 'a' LIMIT 1",
            "SHOW NONSENSE",
            "SHOW",
            "SHOW TABLES WHERE",
            "EXPLAIN SELEC 1",
        ],
    );
    check(
        "write unbounded",
        &["ANALYZE DELETE FROM t", "EXPLAIN ANALYZE UPDATE t SET a = 1"],
    );
    check(
        "admin",
        &[
            "SELECT * FROM mysql.user",
            "SELECT * FROM performance_schema.events_statements_history",
            "SELECT * FROM sys.session",
        ],
    );
    check(
        "read",
        &[
            "SELECT * FROM INFORMATION_SCHEMA.Tables",
            "SELECT Name FROM mysql.time_zone_name",
        ],
    );
}

#[test]
fn a_session_sets_what_is_its_own() {
    check(
        "session",
        &[
            "SET NAMES utf8mb4 COLLATE 'utf8mb4_bin'",
            "SET autocommit=1, time_zone = '+00:00', @@session.wait_timeout := 5, @a = 1",
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,PIPES_AS_CONCAT'",
            "SET sql_mode = (SELECT CONCAT(@@sql_mode, ',NO_ENGINE_SUBSTITUTION')), NAMES utf8",
            "SET sql_mode = REPLACE(@@session.sql_mode, 'ONLY_FULL_GROUP_BY,', '')",
            "SET sql_mode = DEFAULT",
            "SET foreign_key_checks = 1",
            "SET character_set_results = NULL",
            "SET session_track_system_variables = '*'",
            "SET max_statement_time = @@max_statement_time + 1",
            "USE app",
            "UNLOCK TABLES",
            "DEALLOCATE PREPARE s",
        ],
    );
    check(
        "transaction",
        &[
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY",
            "SET TRANSACTION READ ONLY",
        ],
    );
    check(
        "admin",
        &[
            "SET GLOBAL a = 1",
            "SET autocommit = 1, GLOBAL a = 1",
            "SET @@global.a = 1",
            "SET PERSIST a = 1",
            "SET @@persist_only.a = 1",
            "SET sql_log_bin = 0",
            "SET foreign_key_checks = 0",
            "SET foreign_key_checks = @a",
            "SET sql_mode = ANSI",
            "SET sql_mode = 4",
            "SET sql_mode = CONCAT(@@sql_mode, 'ANSI')",
            "SET sql_mode = CONCAT(@@global.sql_mode, ',STRICT_ALL_TABLES')",
            "SET sql_mode = REPLACE(@@sql_mode, 'STRICT_ALL_TABLES', 'ANSI_QUOTES')",
            "SET sql_mode = @a",
            "SET NAMES gbk",
            "SET NAMES DEFAULT",
            "SET CHARACTER SET latin1",
            "SET character_set_client = @a",
            "SET session_track_system_variables = 'autocommit'",
            "SET session_track_schema = OFF",
            "SET TRANSACTION READ WRITE",
            "START TRANSACTION READ WRITE",
            "SET GLOBAL TRANSACTION READ ONLY",
            "SET @countersign_bypass = 1",
            "USE mysql",
        ],
    );
    check(
        "grant",
        &[
            "SET PASSWORD = 'x'",
            "SET autocommit = 1, PASSWORD = 'x'",
            "SET ROLE a",
            "SET DEFAULT ROLE a",
        ],
    );
    check(
        "read",
        &[
            "SET STATEMENT max_statement_time = 5 FOR SELECT 1",
            "SET @a = (SELECT 1 FROM t)",
        ],
    );
    check(
        "write unbounded",
        &["SET STATEMENT max_statement_time = 5 FOR DELETE FROM t"],
    );
    check("admin", &["SET STATEMENT sql_log_bin = 0 FOR SELECT 1"]);
    check(
        "unknown",
        &[
            "SET STATEMENT sql_mode = '' FOR SELECT 1",
            "SET",
            "SET a",
            "SET = 1",
            "SET a = 1 2",
        ],
    );
}

#[test]
fn a_setting_of_the_proxy_is_told_to_it() {
    let state = MysqlState::default_mariadb();
    let [action] = &judge("SET @Countersign_Wait = '30s'", &state).actions[..] else {
        panic!("one statement");
    };
    assert_eq!(action.class, Class::Session);
    let expected = Effect::ProxySetting {
        name: "wait".to_owned(),
        value: "30s".to_owned(),
    };
    assert_eq!(action.effects, [expected]);
}

#[test]
fn what_stands_behind_a_change_of_reading_is_not_known() {
    check(
        "session, unknown",
        &[
            "SET sql_mode = 'HIGH_NOT_PRECEDENCE'; SELECT 1",
            "SET NAMES utf8; SELECT 1",
        ],
    );
    check(
        "session, read",
        &[
            "SET sql_mode = 'TRADITIONAL'; SELECT 1",
            "SET NAMES utf8mb4; SELECT 1",
        ],
    );
}

#[test]
fn transactions_are_read_to_their_last_word() {
    check(
        "transaction",
        &[
            "BEGIN",
            "BEGIN WORK",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
            "COMMIT AND NO CHAIN RELEASE",
            "ROLLBACK WORK",
            "ROLLBACK TO SAVEPOINT `a b`",
            "SAVEPOINT a",
            "RELEASE SAVEPOINT a",
        ],
    );
    check(
        "procedural",
        &["BEGIN NOT ATOMIC SELECT 1", "BEGIN SELECT 1", "CALL p()", "DO 1"],
    );
    check(
        "admin",
        &[
            "XA START 'a'",
            "XA COMMIT 'a'",
            "LOCK TABLES a READ",
            "START SLAVE",
            "KILL 5",
            "FLUSH TABLES",
        ],
    );
    check("unknown", &["COMMIT now", "ROLLBACK TO", "SAVEPOINT"]);
}

#[test]
fn what_ends_a_transaction_by_itself_says_so() {
    let state = MysqlState::default_mariadb();
    for (text, ends) in [
        ("CREATE TABLE a (b int)", true),
        ("CREATE TEMPORARY TABLE a (b int)", false),
        ("TRUNCATE a", true),
        ("BEGIN", true),
        ("COMMIT", true),
        ("GRANT SELECT ON a TO b", true),
        ("ALTER TABLE a DISABLE KEYS", true),
        ("LOCK TABLES a READ", true),
        ("INSERT INTO a VALUES (1)", false),
        ("SELECT 1", false),
    ] {
        let [action] = &judge(text, &state).actions[..] else {
            panic!("{text}: one statement");
        };
        let told = action
            .effects
            .contains(&Effect::EndsTransaction { commits: true });
        assert_eq!((action.commits, told), (ends, ends), "{text}");
    }
}

#[test]
fn names_of_prepared_statements_that_servers_compare_by_collation_are_not_followed() {
    check(
        "unknown",
        &[
            "PREPARE `à` FROM 'SELECT 1'",
            "PREPARE `s ` FROM 'SELECT 1'",
            "EXECUTE à",
            "EXECUTE `s `",
            "DEALLOCATE PREPARE à",
            "DROP PREPARE `s `",
        ],
    );
    check(
        "read, unknown, unknown",
        &["PREPARE a FROM 'SELECT 1 FROM t'; PREPARE `à` FROM 'DROP TABLE t'; EXECUTE a"],
    );
    check(
        "read, unknown, unknown",
        &["PREPARE s FROM 'SELECT 1 FROM t'; DEALLOCATE PREPARE `s `; EXECUTE s"],
    );
    check(
        "read, read",
        &["PREPARE S_1$ FROM 'SELECT 1 FROM t'; EXECUTE `s_1$`"],
    );
    let state = MysqlState::default_mariadb();
    for text in ["PREPARE `à` FROM 'SELECT 1'", "EXECUTE `à`", "DROP PREPARE `à`"] {
        let action = judge(text, &state).actions.remove(0);
        assert_eq!(action.effects, [Effect::Deallocates { name: None }], "{text}");
        assert_eq!(
            action.reasons,
            ["names a prepared statement in letters that servers compare otherwise"],
            "{text}"
        );
    }
}

#[test]
fn a_prepared_statement_is_what_its_text_does() {
    check("read", &["PREPARE s FROM 'SELECT * FROM t WHERE a = ?'"]);
    check(
        "write unbounded, write unbounded",
        &["PREPARE s FROM 'DELETE FROM t'; EXECUTE S USING @a"],
    );
    check(
        "write, write unbounded",
        &[
            "PREPARE s FROM 'DELETE FROM t WHERE a = ?'; EXECUTE s USING @a",
            "PREPARE s FROM 'ANALYZE FORMAT=JSON DELETE FROM t WHERE a = ?'; EXECUTE s USING @a",
            "PREPARE s FROM 'SELECT a FROM t WHERE a = ? FOR UPDATE'; EXECUTE s USING @a",
        ],
    );
    check(
        "write, write",
        &["PREPARE s FROM 'INSERT INTO t VALUES (?)'; EXECUTE s USING @a"],
    );
    check(
        "session, admin",
        &["SET sql_mode = 'STRICT_ALL_TABLES'; SET sql_mode = 'EMPTY_STRING_IS_NULL'"],
    );
    check(
        "read, session, unknown",
        &["PREPARE s FROM 'SELECT 1 FROM t'; DROP PREPARE s; EXECUTE s"],
    );
    check(
        "unknown",
        &[
            "PREPARE s FROM @a",
            "EXECUTE s",
            "PREPARE s FROM 'SELECT 1; SELECT 2'",
            "EXECUTE IMMEDIATE @a",
        ],
    );
    check(
        "procedural",
        &[
            "EXECUTE IMMEDIATE 'SELECT 1'",
            "EXECUTE IMMEDIATE 'DELETE FROM t WHERE a = ?' USING 1",
        ],
    );
    check("ddl", &["PREPARE s FROM 'DROP TABLE t'"]);
}

#[test]
fn what_nobody_can_parse_is_held_as_what_it_begins_with() {
    check(
        "ddl",
        &[
            "ALTER TABLE t DISABLE KEYS",
            "CREATE OR REPLACE DEFINER = a@b EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1",
            "RENAME TABLE a TO b WAIT 5",
        ],
    );
    check(
        "grant",
        &[
            "CREATE USER a IDENTIFIED BY 'x'",
            "ALTER USER a ACCOUNT LOCK",
            "DROP ROLE a",
            "RENAME USER a TO b",
            "REVOKE ALL FROM a",
        ],
    );
    check(
        "admin",
        &[
            "CREATE FUNCTION f RETURNS INT SONAME 'x.so'",
            "INSTALL PLUGIN a SONAME 'b'",
            "OPTIMIZE TABLE t",
            "SHUTDOWN",
            "PURGE BINARY LOGS TO 'a'",
        ],
    );
    check(
        "export",
        &[
            "SELECT a INTO OUTFILE '/x' FROM t",
            "SELECT a FROM t INTO @b",
            "TABLE t INTO OUTFILE '/x'",
            "HANDLER t READ FIRST",
        ],
    );
    check(
        "unknown",
        &[
            "SELEC 1",
            "SELECT FROM WHERE",
            "HELP 'x'",
            "SELECT * FROM t PROCEDURE ANALYSE(1)",
        ],
    );
    check(
        "procedural",
        &["UPDATE t FORCE INDEX FOR JOIN (i) PARTITION x SET a = touch()"],
    );
}

/// A catalog with a view `v` over `behind` that runs code, a table `t` with a trigger, and two stored functions.
struct Known;

impl KnownNames for Known {
    fn prepared(&self, _: &str) -> Option<Arc<Action>> {
        None
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        Some(self)
    }
}

impl Catalog for Known {
    fn relation(&self, name: &TableName) -> Result<Arc<Relation>, NotKnown> {
        let concern = |reason: &str| Concern {
            class: Class::Procedural,
            reason: reason.to_owned(),
        };
        let relation = match name.name.as_str() {
            "v" => Relation {
                reading: vec![concern("a view that calls `touch`")],
                behind: BTreeSet::from([TableName {
                    schema: None,
                    name: "behind".to_owned(),
                }]),
                ..Relation::default()
            },
            "t" => Relation {
                deleting: vec![concern("a trigger")],
                rows: Some(7),
                ..Relation::default()
            },
            _ => return Err(NotKnown("stale".to_owned())),
        };
        Ok(Arc::new(relation))
    }

    fn functions(&self, name: &FunctionName) -> Vec<Arc<Routine>> {
        let routine = |concern| Routine {
            signature: name.to_string(),
            arguments_min: 1,
            arguments_max: Some(1),
            takes_built_in_types: true,
            takes_rows: false,
            returns_set: false,
            concern,
        };
        let concern = Concern {
            class: Class::Procedural,
            reason: "writes".to_owned(),
        };
        match name.name.as_str() {
            "net" => vec![Arc::new(routine(None))],
            "touch" => vec![Arc::new(routine(Some(concern)))],
            _ => Vec::new(),
        }
    }

    fn operators(&self, _: Option<&str>, _: &str) -> Vec<Arc<Routine>> {
        Vec::new()
    }

    fn foreign_type(&self, _: Option<&str>, _: &str) -> Result<Option<Arc<ForeignType>>, NotKnown> {
        Ok(None)
    }

    fn hazard(&self) -> Option<Concern> {
        None
    }

    fn shadowing(&self, _: &str) -> Option<Concern> {
        None
    }
}

#[test]
fn what_a_catalog_knows_decides() {
    let state = MysqlState::default_mariadb();
    let classes = |text: &str| {
        let actions = judge_with(text, &state, &Known).actions;
        actions.iter().map(|action| action.class).collect::<Vec<_>>()
    };
    assert_eq!(classes("SELECT a FROM t"), [Class::Read]);
    assert_eq!(classes("SELECT a FROM v"), [Class::Procedural]);
    assert_eq!(classes("SELECT a FROM unseen"), [Class::Unknown]);
    assert_eq!(classes("SELECT a FROM information_schema.tables"), [Class::Read]);
    assert_eq!(classes("DELETE FROM t WHERE a = 1"), [Class::Procedural]);
    assert_eq!(classes("UPDATE t SET a = 1 WHERE a = 1"), [Class::Write]);
    assert_eq!(classes("SELECT net(1)"), [Class::Read]);
    assert_eq!(classes("SELECT net(1, 2)"), [Class::Procedural]);
    assert_eq!(classes("SELECT touch(1)"), [Class::Procedural]);
    assert_eq!(
        classes("USE other; SELECT a FROM t"),
        [Class::Session, Class::Unknown]
    );
    assert_eq!(
        classes("USE other; SELECT net(1)"),
        [Class::Session, Class::Procedural]
    );
    assert_eq!(
        classes("USE other; SELECT a FROM app.t"),
        [Class::Session, Class::Read]
    );
    let rows = |text: &str| judge_with(text, &state, &Known).actions[0].rows;
    assert_eq!(rows("SELECT a FROM t"), Some(7));
    assert_eq!(rows("SELECT a FROM t WHERE a = 1"), None);
    for (text, expected) in [
        ("SELECT a FROM t LIMIT 3", Some(3)),
        ("SELECT a FROM t LIMIT 2, 3", Some(3)),
        ("TABLE t LIMIT 3", Some(3)),
        ("TABLE t", Some(7)),
        ("SELECT a FROM t LIMIT 18446744073709551615", Some(7)),
        ("SELECT a FROM t LIMIT ?", Some(7)),
        ("SELECT a FROM t WHERE 1", Some(7)),
        ("SELECT a FROM t WHERE NOT 0 OR a = 2", Some(7)),
        ("SELECT a FROM t WHERE @x = 1 AND a = a", Some(7)),
        ("SELECT a FROM t WHERE 1 AND a > 2", None),
        ("SELECT count(*), round(avg(a), 2) AS mean FROM t", None),
        ("SELECT a, count(*) FROM t GROUP BY a", Some(7)),
        ("SELECT group_concat(a) FROM t LIMIT 1", Some(7)),
        ("SELECT upper(json_arrayagg(a)) FROM t LIMIT 1", Some(7)),
        ("SELECT group_concat(a) FROM t WHERE a = 1", None),
        (
            "SELECT json_arrayagg(a) FROM (SELECT a FROM t LIMIT 3) q",
            Some(3),
        ),
        (
            "SELECT json_arrayagg(a) FROM (SELECT a FROM t) q LIMIT 3",
            Some(7),
        ),
    ] {
        assert_eq!(rows(text), expected, "{text}");
    }
    let behind = &judge_with("SELECT a FROM v", &state, &Known).actions[0].behind;
    assert_eq!(
        behind.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["behind"]
    );
}

#[test]
fn a_table_that_reaches_beyond_the_database_is_administration() {
    check(
        "admin",
        &[
            "CREATE TABLE a (b int) ENGINE=FEDERATED CONNECTION='mysql://u:p@h/d/t'",
            "CREATE TABLE a (b int) ENGINE=CONNECT TABLE_TYPE=XML FILE_NAME='/etc/passwd'",
            "CREATE TABLE a (b int) DATA DIRECTORY='/x'",
            "ALTER TABLE a ENGINE = spider",
        ],
    );
    check(
        "ddl",
        &[
            "CREATE TABLE a (b text, KEY k (b(10))) ENGINE = InnoDB DEFAULT CHARSET=utf8mb4",
            "ALTER TABLE a ENGINE=Aria",
        ],
    );
    check_tables(
        "CREATE TABLE a (b int) ENGINE=MERGE UNION=(c, d)",
        &["a", "c", "d"],
    );
}

#[test]
fn tables_are_told_as_the_server_compares_them() {
    let told = |lower_case_table_names| {
        let state = MysqlState::default_mariadb().with_table_names(lower_case_table_names);
        let judged = judge("SELECT a FROM App.Orders", &state);
        judged.actions[0].tables.first().map(ToString::to_string)
    };
    assert_eq!(told(0).as_deref(), Some("App.Orders"));
    assert_eq!(told(1).as_deref(), Some("app.orders"));
}

#[test]
fn a_lone_kill_tells_whom() {
    let state = MysqlState::default_mariadb();
    let cancels = |text: &str| judge(text, &state).actions[0].cancels.clone();
    assert_eq!(cancels("KILL QUERY 7"), Some(CancelTarget::Pid(7)));
    assert_eq!(cancels("KILL 7"), Some(CancelTarget::Pid(7)));
    assert_eq!(cancels("KILL QUERY CONNECTION_ID()"), None);
    assert_eq!(cancels("KILL QUERY 7; SELECT 1"), None);
}
