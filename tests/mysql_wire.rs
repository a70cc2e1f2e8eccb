//! The raw MySQL client of the tests, straight against a real server: what it says of the proxy elsewhere can be believed.

mod support;

use std::time::Duration;

use support::mariadb::Mariadb;
use support::mysql_answer::{Answer, error, value};
use support::mysql_wire::{LAST_PREPARED, LogIn, MysqlWire, PACKET_BYTES_MAX, com, flag};

/// A server with a user of this name and password.
fn server() -> (Mariadb, String) {
    let server = Mariadb::start_with(&["--max-allowed-packet=64M"]);
    server.run(
        "CREATE DATABASE app; CREATE TABLE app.things (id INT PRIMARY KEY, name TEXT);
         INSERT INTO app.things VALUES (1, 'one'), (2, NULL);
         CREATE USER bot@'%' IDENTIFIED BY 'pass word'; GRANT ALL ON *.* TO bot@'%';",
    );
    let url = server.url("bot", "pass%20word", "app");
    (server, url)
}

#[test]
fn it_logs_in_asks_and_reads_every_kind_of_answer() {
    let (_server, url) = server();
    for flags in [0, flag::DEPRECATE_EOF, flag::DEPRECATE_EOF | flag::SESSION_TRACK] {
        let log_in = LogIn::of(&url).with(flags);
        let mut wire = MysqlWire::log_in(&log_in).expect("a log-in");
        let answers =
            wire.query("SELECT id, name FROM things ORDER BY id; SELECT CONNECTION_ID(); SET @a = 1");
        assert_eq!(answers.len(), 3, "{answers:?}");
        let one = |text: &str| Some(text.to_owned());
        assert_eq!(
            answers[0].rows().texts(),
            [vec![one("1"), one("one")], vec![one("2"), None]]
        );
        assert_eq!(value(&answers[1..]), wire.greeting.connection.to_string());
        assert!(answers[2].is_ok());
        let refused = error(&wire.query("SELECT 1; nonsense"));
        assert_eq!((refused.number, refused.state.as_str()), (1064, "42000"));
        assert!(wire.ping().is_ok());
        assert_eq!(wire.field_list(b"things\0").rows().columns.len(), 2);
        let file = wire.query("LOAD DATA LOCAL INFILE '/a/file' INTO TABLE things");
        match &file[0] {
            Answer::LocalFile(name) => {
                assert_eq!(name, "/a/file");
                wire.put_next(&[]);
                assert!(wire.answer().is_ok());
            }
            other => assert!(
                log_in.flags & flag::LOCAL_FILES == 0 && other.error().is_some(),
                "{other:?}"
            ),
        }
        wire.command(com::QUIT, &[]);
        assert!(matches!(wire.answer(), Answer::Closed(_)));
    }
}

#[test]
fn it_prepares_executes_fetches_and_sends_long_data() {
    let (_server, url) = server();
    for flags in [0, flag::DEPRECATE_EOF] {
        let mut wire = MysqlWire::log_in(&LogIn::of(&url).with(flags)).expect("a log-in");
        let prepared = wire.prepare("SELECT name FROM things WHERE id = ?");
        let rows = wire.execute(prepared.statement(), &["1"]);
        assert_eq!(rows[0].rows().rows.len(), 1, "{rows:?}");
        assert!(rows[0].rows().rows[0].ends_with(b"\x03one"));

        let insert = wire.prepare("REPLACE INTO things VALUES (3, ?)").statement();
        wire.long_data(insert, 0, b"part one, ");
        wire.long_data(insert, 0, b"part two");
        wire.send_execute(insert, &[None], 0);
        assert!(wire.answers()[0].is_ok());
        assert_eq!(
            value(&wire.query("SELECT name FROM things WHERE id = 3")),
            "part one, part two"
        );

        let all = wire.prepare("SELECT id FROM things ORDER BY id").statement();
        wire.send_execute(all, &[], 1);
        let opened = wire.answers();
        assert!(opened[0].rows().has_cursor(), "{opened:?}");
        assert_eq!(wire.fetch(all, 2).rows().rows.len(), 2);
        assert_eq!(wire.fetch(all, 2).rows().rows.len(), 1);

        // MySQL has no such id.
        if wire.greeting.version.contains("MariaDB") {
            wire.prepare("SELECT 4711");
            assert_eq!(wire.execute(LAST_PREPARED, &[])[0].rows().rows.len(), 1);
        }
    }
}

#[test]
fn it_splits_writes_joins_packets_and_changes_its_user() {
    let (_server, url) = server();
    let mut wire = MysqlWire::connect(&url);
    let long = "x".repeat(PACKET_BYTES_MAX);
    let answers = wire.query(&format!("SELECT '{long}', LENGTH('{long}')"));
    let row = &answers[0].rows().texts()[0];
    assert_eq!(row[0].as_deref(), Some(long.as_str()));
    assert_eq!(row[1].as_deref(), Some("16777215"));
    wire.split_at(1);
    assert_eq!(value(&wire.query("SELECT 4000 + 711")), "4711");
    // MySQL 5.6 takes no attributes here, though it offers to.
    let log_in = LogIn::of(&url).without(flag::CONNECT_ATTRS);
    let mut wire = MysqlWire::log_in(&log_in).expect("a log-in");
    wire.change_user(&log_in).expect("the same user");
    assert_eq!(value(&wire.query("SELECT DATABASE()")), "app");
    let stranger = LogIn {
        password: "wrong".to_owned(),
        ..log_in
    };
    assert_eq!(wire.change_user(&stranger).unwrap_err().number, 1045);
    let refused = MysqlWire::log_in(&stranger).err().expect("a wrong password");
    assert_eq!((refused.number, refused.state.as_str()), (1045, "28000"));
}

#[test]
fn it_waits_in_silence_and_is_cancelled() {
    let (_server, url) = server();
    let mut wire = MysqlWire::connect(&url);
    wire.send_query(b"SELECT SLEEP(30)");
    wire.is_silent(Duration::from_millis(200));
    let kill = format!("KILL QUERY {}", wire.greeting.connection);
    assert!(MysqlWire::connect(&url).query(&kill)[0].is_ok());
    let answers = wire.answers();
    match answers[0].error() {
        // Behind the column's definition: the server had begun to answer.
        Some(interrupted) => {
            assert_eq!((interrupted.number, interrupted.state.as_str()), (1317, "70100"));
        }
        // MySQL's SLEEP says by its value that it was interrupted.
        None => assert_eq!(value(&answers), "1"),
    }
    assert_eq!(value(&wire.query("SELECT 1")), "1");
}

#[test]
fn the_fixtures_of_the_corpus_load() {
    let server = Mariadb::with_fixtures();
    let mut wire = MysqlWire::connect(&server.url("root", "", "app"));
    let counted = wire
        .query("SELECT CONCAT_WS(' ', (SELECT COUNT(*) FROM customers), (SELECT COUNT(*) FROM big.events))");
    assert_eq!(value(&counted), "200 30000");
}
