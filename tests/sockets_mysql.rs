//! MySQL sessions through sockets that hand over each byte alone, or end after so many bytes: the answers stay the same, and
//! of what did not come whole nothing runs.

#[path = "sockets/faulty.rs"]
#[allow(dead_code, reason = "the tests of PostgreSQL's sockets use what is left")]
mod faulty;
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use faulty::{Ending, Fault, FaultySocket};
use support::house_mysql::{MysqlHouse, MysqlReviewer, MysqlSettings};
use support::mariadb::Mariadb;
use support::mysql_answer::{Answer, value};
use support::mysql_wire::{LogIn, MysqlWire, com, execute, flag, framed};
use support::treatment::{Decide, Treatment};

const TABLES: &str = "CREATE DATABASE app; CREATE TABLE app.things (id INT PRIMARY KEY, name TEXT);
    INSERT INTO app.things VALUES (1, 'one'), (2, NULL); CREATE TABLE app.made (id INT); CREATE TABLE app.gone (id INT);";

/// Passes bytes on to a port of this machine, with these faults in either direction. Gives its own port.
fn relay(port: u16, onward: Fault, back: Fault) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let own = listener.local_addr().expect("its number").port();
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = TcpStream::connect(("127.0.0.1", port)).expect("the other side listens");
            for stream in [&near, &far] {
                stream.set_nodelay(true).expect("an option");
            }
            let clone = |stream: &TcpStream| stream.try_clone().expect("a handle");
            let onward = FaultySocket::new(clone(&far), onward, Fault::None);
            let back = FaultySocket::new(clone(&near), back, Fault::None);
            let (near_too, far_too) = (clone(&near), clone(&far));
            thread::spawn(move || pass(near, far_too, onward));
            thread::spawn(move || pass(far, near_too, back));
        }
    });
    own
}

/// Until one side ends, which ends both.
fn pass(mut from: TcpStream, other: TcpStream, mut to: FaultySocket) {
    let mut chunk = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        if to.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
    faulty::end(&from, Ending::Close);
    // What is closed already needs no end.
    let _closed = other.shutdown(Shutdown::Both);
}

/// The proxy before a server that is reached through such a relay.
fn house(onward: Fault, back: Fault) -> MysqlHouse {
    let server = Mariadb::start();
    server.run(TABLES);
    let settings = MysqlSettings {
        port: Some(relay(server.port(), onward, back)),
        ..MysqlSettings::default()
    };
    MysqlHouse::open_with(server, &settings, |_| {})
}

fn log_in_at(house: &MysqlHouse, port: u16, flags: u64) -> LogIn {
    LogIn {
        port,
        ..LogIn::of(&house.url("app")).with(flags)
    }
}

/// A session with every kind of answer, and two statements that a person decides on.
fn session(house: &MysqlHouse, log_in: &LogIn) -> Vec<Answer> {
    let reviewer = MysqlReviewer::of(house, "bot", &house.url("app"));
    let mut wire = MysqlWire::log_in(log_in).expect("a log-in");
    let long = "x".repeat(400);
    let mut all = wire.query(&format!(
        "SELECT id, name FROM things ORDER BY id; SET @a = 'two'; SELECT @a, '{long}'"
    ));
    all.extend(wire.query("SELECT nothing FROM nowhere"));
    let statement = wire.prepare("SELECT name, ? FROM things WHERE id = 1");
    let id = statement.statement();
    wire.long_data(id, 0, b"in ");
    wire.long_data(id, 0, b"parts");
    wire.send_execute(id, &[None], 0);
    all.extend(wire.answers());
    wire.command(com::STMT_CLOSE, &id.to_le_bytes());
    let cursor = wire.prepare("SELECT id FROM things ORDER BY id").statement();
    wire.send_execute(cursor, &[], 1);
    all.extend(wire.answers());
    all.push(wire.fetch(cursor, 1));
    all.push(wire.fetch(cursor, 5));
    let (held, answers) = reviewer.query(&mut wire, "CREATE TABLE held (id INT)", Decide::Approve);
    assert_eq!(held, Treatment::Held);
    all.extend(answers);
    let (held, _) = reviewer.query(&mut wire, "DROP TABLE gone", Decide::Withdraw);
    assert_eq!(held, Treatment::Held);
    all.extend(wire.query("SELECT id FROM gone"));
    all.push(wire.ping());
    all.extend(wire.query("SET @b = 1"));
    let dropped = house.admin().query("DROP TABLE app.held");
    assert!(dropped[0].is_ok(), "{dropped:?}");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_same_when_each_byte_comes_alone() {
    let split = house(Fault::ByteByByte, Fault::ByteByByte);
    let whole = house(Fault::None, Fault::None);
    tokio::task::block_in_place(|| {
        for flags in [0, flag::DEPRECATE_EOF, flag::DEPRECATE_EOF | flag::SESSION_TRACK] {
            let expected = session(&whole, &log_in_at(&whole, whole.port(), flags));
            let slow = relay(split.port(), Fault::ByteByByte, Fault::ByteByByte);
            let got = session(&split, &log_in_at(&split, slow, flags));
            assert_eq!(got, expected);
        }
    });
}

/// What a client sends behind its log-in, in one go: an insert as a text, and one that is prepared.
fn inserts() -> Vec<u8> {
    let commands = [
        b"\x03INSERT INTO made VALUES (1)".to_vec(),
        b"\x16INSERT INTO made VALUES (?)".to_vec(),
        execute(u32::MAX, &[Some("2")], 0),
        b"\x03DROP TABLE gone".to_vec(),
    ];
    commands
        .iter()
        .flat_map(|command| framed(&mut 0, command))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_client_that_is_cut_off_only_whole_commands_run() {
    let house = house(Fault::None, Fault::None);
    let inserts = inserts();
    tokio::task::block_in_place(|| {
        let mut admin = house.admin();
        for cut in 0..inserts.len() {
            let mut wire = house.connect();
            wire.write(&inserts[..cut]).expect("the proxy reads");
            wire.socket().shutdown(Shutdown::Write).expect("its half ends");
            while wire.try_read_packet().is_ok() {
                wire.expect_sequence(1);
            }
            drop(wire);
            let made = value(&admin.query("SELECT GROUP_CONCAT(id ORDER BY id) FROM app.made"));
            let whole = whole_commands(&inserts[..cut]);
            let allowed: &[&str] = match whole {
                0 => &["NULL"],
                1 | 2 => &["NULL", "1"],
                // What was still waiting when the client left need not run.
                _ => &["NULL", "1", "1,2"],
            };
            assert!(
                allowed.contains(&made.as_str()),
                "cut after {cut}: {made} of {whole} commands"
            );
            assert!(admin.query("DELETE FROM app.made")[0].is_ok());
        }
        assert_eq!(value(&admin.query("SELECT COUNT(*) FROM app.gone")), "0");
        assert_eq!(value(&house.connect().query("SELECT 4711")), "4711");
    });
}

fn whole_commands(mut bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let [low, middle, high, _, rest @ ..] = bytes {
        let length = usize::from(*low) | usize::from(*middle) << 8 | usize::from(*high) << 16;
        let Some(behind) = rest.get(length..) else { break };
        whole += 1;
        bytes = behind;
    }
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pipelined_is_answered_in_order() {
    let house = house(Fault::None, Fault::None);
    tokio::task::block_in_place(|| {
        let mut wire = house.connect();
        wire.write(&inserts()).expect("the proxy reads");
        wire.expect_sequence(1);
        assert!(wire.answers()[0].is_ok());
        wire.expect_sequence(1);
        let prepared = wire.prepared();
        assert!(matches!(prepared, Answer::Prepared { .. }), "{prepared:?}");
        wire.expect_sequence(1);
        assert!(wire.answers()[0].is_ok());
        wire.is_silent(Duration::from_millis(300));
        assert_eq!(
            value(
                &house
                    .admin()
                    .query("SELECT GROUP_CONCAT(id ORDER BY id) FROM app.made")
            ),
            "1,2"
        );
        let reviewer = MysqlReviewer::of(&house, "bot", &house.url("app"));
        reviewer.kill(wire.greeting.connection);
        wire.expect_sequence(1);
        let refused = support::mysql_answer::error(&wire.answers());
        assert_eq!((refused.number, refused.state.as_str()), (1317, "70100"));
    });
}
