//! Log-in over MySQL's protocol on both sides, as real clients do it and as no sound client would: every method of password,
//! TLS to the proxy and to the server, certificates, changes of user.
//!
//! Never skips a client that is missing: `./test` installs the drivers. What the program prints: `tests/clients/mysql_login.py`.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use mysql_async::prelude::Queryable;
use rcgen::CertificateParams;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::child::Serve;
use support::house::{Certificates, tls_lines};
use support::house_mysql::{MysqlHouse, MysqlSettings, OWNER};
use support::mariadb::Mariadb;
use support::mysql_answer::{Answer, ServerError, value};
use support::mysql_wire::{LogIn, MysqlWire, com, flag, scramble};
use support::server::PROGRAM;

const NATIVE: &str = "mysql_native_password";
const CACHING_SHA2: &str = "caching_sha2_password";

/// `utf8mb4_general_ci`, `latin1_swedish_ci`, `gbk_chinese_ci`.
const UTF8MB4: u8 = 45;
const LATIN1: u8 = 8;
const GBK: u8 = 28;

fn server() -> Mariadb {
    with_schemas(Mariadb::start())
}

fn with_schemas(server: Mariadb) -> Mariadb {
    server.run("CREATE DATABASE app; CREATE DATABASE other;");
    server
}

fn opened(listen: &str, upstream: &str) -> MysqlHouse {
    opened_before(server(), listen, upstream, "")
}

fn opened_before(server: Mariadb, listen: &str, upstream: &str, sections: &str) -> MysqlHouse {
    let settings = MysqlSettings {
        listen: listen.to_owned(),
        upstream: upstream.to_owned(),
        sections: sections.to_owned(),
        ..MysqlSettings::default()
    };
    MysqlHouse::open_with(server, &settings, |_| {})
}

fn refusal(log_in: &LogIn) -> ServerError {
    match MysqlWire::log_in(log_in) {
        Ok(_) => panic!("let in: {log_in:?}"),
        Err(error) => error,
    }
}

fn is_let_in(log_in: &LogIn) {
    let mut wire = MysqlWire::log_in(log_in).unwrap_or_else(|error| panic!("{log_in:?}: {error:?}"));
    assert_eq!(value(&wire.query("SELECT 'let in'")), "let in");
}

/// The records of log-ins of a principal, newest first: whether it came in, and why or why not.
fn log_ins(house: &MysqlHouse, principal: &str) -> Vec<(bool, String)> {
    let page = house.run(&["log", "query", "--kind", "login", "--limit", "100"]);
    let items = page["items"].as_array().expect("items").iter();
    items
        .filter(|record| record["principal"] == principal)
        .map(|record| {
            let reason = record["reason"].as_str().unwrap_or_default();
            (record["success"] == true, reason.to_owned())
        })
        .collect()
}

/// The driver program's word. `authority`: TLS, verified by it.
fn driver(name: &str, url: &str, authority: Option<&Path>) -> String {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("it is inside the target folder");
    let python = target.join("drivers/python/bin/python");
    let library = target.join("drivers/libmysql");
    let needed = if name == "libmysql" { &library } else { &python };
    assert!(
        needed.exists(),
        "{} is missing: run ./test, which installs the drivers",
        needed.display()
    );
    let mut command = Command::new(&python);
    if name == "libmysql" {
        command.env("PYTHONPATH", library);
    }
    let done = command
        .args(["tests/clients/mysql_login.py", name, url])
        .args(authority)
        .output()
        .expect("python runs");
    let said = [done.stdout, done.stderr].concat();
    String::from_utf8_lossy(&said).trim_end().to_owned()
}

/// MariaDB's command line.
fn mariadb(house: &MysqlHouse, user: &str, password: &str, options: &[&str]) -> (bool, String) {
    let done = Command::new("mariadb")
        .args([
            "--no-defaults",
            "--skip-column-names",
            "--host=localhost",
            "--protocol=tcp",
        ])
        .arg(format!("--port={}", house.port()))
        .arg(format!("--user={user}"))
        .arg(format!("--password={password}"))
        .args(options)
        .args(["--execute", "SELECT 'let in'"])
        .output()
        .expect("mariadb, of the package mariadb-client-core");
    let said = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// A client that trusts one authority.
fn trusting(authority: &Path) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(authority).expect("PEM");
    roots.add(certificate).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A relay that spoils the answer in a client's first packet, so that the server must ask for the password itself.
fn spoiling(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let spoiled = listener.local_addr().expect("its number").port();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
            let (mut up, mut down) = (server.try_clone().expect("it"), client.try_clone().expect("it"));
            std::thread::spawn(move || std::io::copy(&mut (&server), &mut down));
            std::thread::spawn(move || {
                let mut client = client;
                let mut header = [0; 4];
                client.read_exact(&mut header).expect("a packet");
                let length = usize::from(header[0]) | usize::from(header[1]) << 8;
                let mut packet = vec![0; length];
                client.read_exact(&mut packet).expect("a packet");
                let user_end = 32 + packet[32..].iter().position(|byte| *byte == 0).expect("a user");
                assert_eq!(packet[user_end + 1], 32, "the answer's length");
                packet[user_end + 2] ^= 1;
                up.write_all(&header).expect("sent");
                up.write_all(&packet).expect("sent");
                std::io::copy(&mut client, &mut up)
            });
        }
    });
    spoiled
}

#[tokio::test(flavor = "multi_thread")]
async fn each_method_of_password_lets_in_whoever_has_it() {
    let house = opened("", "");
    let newer = house.add_agent("newer", &[]);
    let log_in = |user: &str, password: &str, method: Option<&'static str>| LogIn {
        method,
        ..LogIn::of(&house.url_of(user, password, "app"))
    };
    for method in [None, Some(CACHING_SHA2), Some(NATIVE)] {
        is_let_in(&log_in("bot", &house.password, method));
        // Without a verifier for it, it is asked for the other one.
        is_let_in(&log_in("newer", &newer, method));
    }
    // Who knows of no methods knows one.
    let old = |user: &str, password: &str| log_in(user, password, Some(NATIVE)).without(flag::PLUGIN_AUTH);
    is_let_in(&old("bot", &house.password));
    let refused = refusal(&old("newer", &newer));
    assert_eq!((refused.number, refused.state.as_str()), (1045, "28000"));
    let newest = log_ins(&house, "newer").remove(0);
    assert!(!newest.0 && newest.1.contains("rotate"), "{newest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_let_in_cannot_tell_why() {
    let house = opened("", "");
    house.add_agent("newer", &[]);
    let words =
        |error: ServerError, user: &str| (error.number, error.state, error.message.replace(user, "USER"));
    let expected = "Access denied for user 'USER'@'127.0.0.1' (using password: YES)";
    // What is asked of somebody who begins by a method, up to where a password would be sent.
    let asked = |user: &str, method: &str, has_answer: bool| {
        let log_in = LogIn {
            method: Some(NATIVE),
            ..LogIn::of(&house.url_of(user, if has_answer { "guessed" } else { "" }, "app"))
        };
        let mut wire = MysqlWire::greeted(&log_in.without(flag::CONNECT_ATTRS)).expect("greeted");
        let mut response = wire.response();
        response.truncate(response.len() - NATIVE.len() - 1);
        response.extend(method.as_bytes());
        response.push(0);
        wire.put_next(&response);
        let mut packets = Vec::new();
        loop {
            let packet = wire.read_packet();
            match packet.as_slice() {
                [0xfe, rest @ ..] => {
                    let (method, data) = rest.split_at(rest.len() - 22);
                    let method = str::from_utf8(method).expect("a name");
                    wire.put_next(&scramble(method, "guessed", &data[1..21]));
                    packets.push(method.to_owned());
                }
                [1, 4] => {
                    packets.push("the password itself".to_owned());
                    wire.put_next(&[2]);
                    assert!(
                        wire.read_packet()
                            .starts_with(b"\x01-----BEGIN PUBLIC KEY-----\n")
                    );
                    wire.put_next(&[0; 256]);
                }
                [0xff, ..] => {
                    let (number, state, message) = words(ServerError::read(&packet), user);
                    assert_eq!(
                        (number, state.as_str(), message.as_str()),
                        (1045, "28000", expected)
                    );
                    return packets;
                }
                other => panic!("not a packet of a log-in: {other:?}"),
            }
        }
    };
    let full = "the password itself";
    for (method, has_answer, questions) in [
        (CACHING_SHA2, true, &[full][..]),
        (NATIVE, true, &[CACHING_SHA2, full]),
        (NATIVE, false, &[NATIVE]),
        ("dialog", true, &[CACHING_SHA2, full]),
        ("mysql_clear_password", true, &[CACHING_SHA2, full]),
        ("", false, &[CACHING_SHA2, full]),
    ] {
        for user in ["nobody", "bot", "newer"] {
            // Whoever comes in is not made to wait for those who did not.
            house.connect();
            assert_eq!(asked(user, method, has_answer), questions, "{user}, {method}");
        }
    }
    for user in ["bot", "newer", "nobody"] {
        let without = LogIn::of(&house.url_of(user, "", "app"));
        let (number, state, message) = words(refusal(&without), user);
        assert_eq!((number, state.as_str()), (1045, "28000"));
        assert_eq!(message, expected.replace("YES", "NO"));
        let old = LogIn {
            method: Some(NATIVE),
            ..LogIn::of(&house.url_of(user, "guessed", "app"))
        };
        let (_, _, message) = words(refusal(&old.without(flag::PLUGIN_AUTH)), user);
        assert_eq!(message, expected);
    }
    assert!(
        log_ins(&house, "nobody")
            .iter()
            .all(|(let_in, why)| !let_in && why == "no such agent")
    );
    assert!(
        log_ins(&house, "bot")
            .iter()
            .all(|(let_in, why)| *let_in || why == "wrong password")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_answer_is_on_record_although_its_client_hangs_up() {
    let house = opened("", "");
    let mut wire = MysqlWire::greeted(&LogIn::of(&house.url_of("bot", "guessed", "app"))).expect("greeted");
    wire.put_next(&wire.response());
    assert_eq!(wire.read_packet(), [1, 4]);
    wire.hang_up();
    for _ in 0..100 {
        if !log_ins(&house, "bot").is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(log_ins(&house, "bot"), [(false, "wrong password".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_crosses_under_rsa_where_there_is_no_tls() {
    let house = opened("", "");
    let url = |password: &str| {
        let port = spoiling(house.port());
        format!("mysql://bot:{password}@127.0.0.1:{port}/app")
    };
    let name = "pymysql";
    assert_eq!(driver(name, &url(&house.password), None), "let in");
    let refused = driver(name, &url("guessed"), None);
    assert!(refused.starts_with("refused 1045"), "{refused}");
    // This one sends it as it is, which a server of its own kind does not take either.
    let refused = driver("pure", &url(&house.password), None);
    assert!(refused.starts_with("refused 1045"), "{refused}");
    let options = mysql_async::Opts::from_url(&url(&house.password)).expect("options");
    let options = mysql_async::OptsBuilder::from_opts(options).prefer_socket(false);
    let mut client = mysql_async::Conn::new(options).await.expect("let in");
    let told: Option<String> = client.query_first("SELECT 'let in'").await.expect("a row");
    assert_eq!(told.as_deref(), Some("let in"));
    // Oracle's own library sends no password that way unless it is told to: it takes the fast path, or none.
    let fast = house.url_of("bot", &house.password, "app");
    assert_eq!(driver("libmysql", &fast, None), "let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn real_clients_come_in_by_tls_and_verify_it() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let house = opened(&tls_lines("required", &certificates), "");
    let url = house
        .url_of("bot", &house.password, "app")
        .replace("127.0.0.1", "localhost");
    for name in ["libmysql", "pure", "pymysql"] {
        assert_eq!(
            driver(name, &url, Some(&certificates.authority)),
            "let in",
            "{name}"
        );
        let plain = driver(name, &url, None);
        assert!(plain.contains("3159"), "{name}: {plain}");
        let elsewhere = driver(
            name,
            &url.replace("localhost", "127.0.0.1"),
            Some(&certificates.authority),
        );
        assert!(
            !elsewhere.contains("let in"),
            "{name} verifies no name: {elsewhere}"
        );
    }
    let authority = format!("--ssl-ca={}", certificates.authority.display());
    let verified = ["--ssl", "--ssl-verify-server-cert", &authority];
    assert_eq!(
        mariadb(&house, "bot", &house.password, &verified),
        (true, "let in\n".to_owned())
    );
    let (let_in, said) = mariadb(&house, "bot", &house.password, &["--skip-ssl"]);
    assert!(!let_in && said.contains("3159"), "{said}");
    let page = house.run(&["log", "query", "--kind", "session_start", "--limit", "10"]);
    assert_eq!(page["items"][0]["tls"], "TLSv1.3", "{page}");
    assert_eq!(page["items"][0]["application_name"], "mysql", "{page}");

    // The password itself, inside TLS: of a client whose answer is wrong.
    let config = trusting(&certificates.authority);
    for (password, is_right) in [(house.password.as_str(), true), ("guessed", false)] {
        let log_in = LogIn::of(&house.url_of("bot", "guessed", "app")).with(flag::SSL);
        let mut wire = MysqlWire::greeted(&log_in).expect("greeted");
        wire.begin_tls(&config).expect("TLS");
        wire.put_next(&wire.response());
        assert_eq!(wire.read_packet(), [1, 4]);
        wire.put_next(&[password.as_bytes(), &[0]].concat());
        assert_eq!(wire.read_packet()[0], if is_right { 0 } else { 0xff });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_is_none_gets_no_further() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let house = opened(&tls_lines("offered", &certificates), "");
    let log_in = LogIn::of(&house.url("app"));
    let greeted = || MysqlWire::greeted(&log_in).expect("greeted");
    let response = greeted().response();
    let flags = |change: fn(u32) -> u32| {
        let mut sent = response.clone();
        let flags = u32::from_le_bytes(sent[..4].try_into().expect("four bytes"));
        sent[..4].copy_from_slice(&change(flags).to_le_bytes());
        sent
    };
    let longer = [&response[..], b"x"].concat();
    let not_text = {
        let mut sent = response.clone();
        sent[32] = 0xff;
        sent
    };
    for (sent, why) in [
        (flags(|flags| flags & !(1 << 9)), "of before 4.1"),
        (flags(|flags| flags & !(1 << 15)), "of before 4.1"),
        (flags(|flags| flags | 1 << 5), "compressed"),
        (flags(|flags| flags | 1 << 26), "compressed"),
        (flags(|flags| flags | 1 << 11), "asks for TLS and says more"),
        (response[..60].to_vec(), "cut short"),
        (longer, "bytes behind"),
        (not_text, "a name that is no text"),
        (Vec::new(), "nothing"),
    ] {
        let mut wire = greeted();
        wire.put_next(&sent);
        let answer = wire.read_packet();
        assert_eq!(&answer[..3], [0xff, 0x13, 0x04], "{why}: {answer:?}");
    }
    // In no order, or too long: nothing is said.
    for head in [[1, 0, 0, 0], [0xff, 0xff, 0xff, 1], [0, 0, 2, 1]] {
        let mut wire = greeted();
        wire.write(&head).expect("sent");
        assert!(wire.try_read_packet().is_err());
    }
    // Plaintext where TLS must begin is none of it.
    let mut wire = greeted();
    let mut request = response[..32].to_vec();
    request[1] |= 1 << 3;
    wire.put_next(&request);
    wire.put_next(&response);
    assert!(wire.try_read_packet().is_err());
    is_let_in(&log_in);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_credential_and_a_wrong_database_are_told() {
    let house = opened("", "databases = [\"app\", \"mysql\", \"other\"]");
    let narrow = house.add_agent("narrow", &["--mysql-native", "--database", "app"]);
    let old = house.add_agent("old", &["--mysql-native"]);
    house.run(&["agent", "revoke", "old"]);
    let refused = |user: &str, password: &str, schema: &str| {
        let log_in = LogIn {
            method: Some(NATIVE),
            ..LogIn::of(&house.url_of(user, password, schema))
        };
        let error = refusal(&log_in.without(flag::PLUGIN_AUTH));
        (error.number, error.message)
    };
    assert_eq!(
        refused("old", &old, "app"),
        (1045, "agent 'old': credential revoked".to_owned())
    );
    // Nobody learns that of a credential that it does not have.
    assert!(refused("old", "guessed", "app").1.starts_with("Access denied"));
    is_let_in(&LogIn::of(&house.url_of("narrow", &narrow, "app")));
    is_let_in(&LogIn::of(&house.url_of("bot", &house.password, "other")));
    for (user, password, schema) in [
        ("narrow", narrow.as_str(), "other"),
        ("narrow", &narrow, "APP"),
        ("bot", &house.password, "performance_schema"),
        ("bot", &house.password, "sys"),
        ("bot", &house.password, "nowhere"),
    ] {
        let (number, message) = refused(user, password, schema);
        let expected = format!("agent '{user}' may not connect to database '{schema}'");
        assert_eq!((number, message), (1049, expected));
    }
    // What the settings allow the rules may hold: names without a schema would be the server's own.
    for schema in ["mysql", "information_schema"] {
        let (number, message) = refused("bot", &house.password, schema);
        assert!(
            number == 1227 && message.contains("not allowed by rule"),
            "{message}"
        );
    }
    // To begin in none needs no right.
    let mut nowhere = LogIn::of(&house.url_of("narrow", &narrow, "app"));
    nowhere.schema = None;
    is_let_in(&nowhere);
    for wrong in ["app ", "\u{1f600}", &"x".repeat(65)] {
        let mut log_in = LogIn::of(&house.url_of("narrow", &narrow, "app"));
        log_in.schema = Some(wrong.to_owned());
        assert_eq!(refusal(&log_in).number, 1102, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_the_server_does_not_have_is_refused_in_its_words() {
    let house = opened("", "");
    let error = refusal(&LogIn::of(&house.url("nowhere")));
    assert_eq!(
        (error.number, error.message.as_str()),
        (1049, "Unknown database 'nowhere'")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn character_sets_that_hide_a_quote_are_refused() {
    let house = opened("", "");
    let log_in = |charset: u8| LogIn {
        charset,
        ..LogIn::of(&house.url("app"))
    };
    is_let_in(&log_in(UTF8MB4));
    is_let_in(&log_in(LATIN1));
    let error = refusal(&log_in(GBK));
    assert!(error.number == 1115 && error.message.contains("gbk"), "{error:?}");
    let mut wire = MysqlWire::log_in(&log_in(UTF8MB4)).expect("let in");
    let error = wire.change_user(&log_in(GBK)).expect_err("refused");
    assert_eq!(error.number, 1115);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_user_is_a_log_in_of_its_own() {
    let house = opened("", "");
    let other = house.add_agent("other", &["--mysql-native"]);
    let log_in = |user: &str, password: &str| LogIn::of(&house.url_of(user, password, "app"));
    let mut wire = MysqlWire::log_in(&log_in("bot", &house.password)).expect("let in");
    for method in [None, Some(NATIVE), Some(CACHING_SHA2)] {
        let next = LogIn {
            method,
            ..log_in("other", &other)
        };
        wire.change_user(&next).expect("let in");
        assert_eq!(value(&wire.query("SELECT 'let in'")), "let in");
        wire.change_user(&log_in("bot", &house.password)).expect("let in");
    }
    assert_eq!(value(&wire.query("SELECT DATABASE()")), "app");
    // Nothing of the session before is left.
    assert!(wire.query("SET @mine = 1")[0].is_ok());
    wire.change_user(&log_in("bot", &house.password)).expect("let in");
    assert_eq!(value(&wire.query("SELECT @mine IS NULL")), "1");
    // Of a client that knows no methods, by the scramble that it was greeted with.
    let old = |user: &str, password: &str| {
        let log_in = LogIn {
            method: Some(NATIVE),
            ..log_in(user, password)
        };
        log_in.without(flag::PLUGIN_AUTH)
    };
    let mut wire = MysqlWire::log_in(&old("bot", &house.password)).expect("let in");
    let mut change = |user: &str, password: &str| {
        let mut body = [b"\x11", user.as_bytes(), b"\0\x14"].concat();
        body.extend(scramble(NATIVE, password, &wire.greeting.nonce));
        body.extend(b"app\0");
        wire.send(&body);
        wire.answer()
    };
    assert!(change("other", &other).is_ok());
    let refused = change("bot", "guessed");
    assert_eq!(refused.error().expect("refused").number, 1045);
    assert!(wire.try_read_packet().is_err(), "the connection goes on");
    assert_eq!(log_ins(&house, "other").len(), 4);
    assert_eq!(
        log_ins(&house, "bot").remove(0),
        (false, "wrong password".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_a_certificate_needs_it_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let authority = certificates.authority.display();
    let listen = tls_lines("required", &certificates);
    let house = opened(&format!("{listen}\nclient_ca_file = \"{authority}\""), "");
    let named = |name: &str| {
        let mut asked = CertificateParams::new(Vec::new()).expect("parameters");
        asked.distinguished_name.push(rcgen::DnType::CommonName, name);
        asked
    };
    for agent in ["reporter", "billing"] {
        let certificate = format!("CN={agent}");
        let arguments = ["--database-user", OWNER, "--certificate", &certificate];
        house.run(&[&["agent", "add", agent, "--owner", "ann"], &arguments[..]].concat());
    }
    let reporter = certificates.client("reporter", named("reporter"));
    let stranger = Certificates::make(folder.path(), "elsewhere").client("stranger", named("reporter"));
    let shown = |user: &str, password: &str, files: &support::house::ClientFiles, method: &str| {
        let options = [
            "--ssl-verify-server-cert".to_owned(),
            format!("--ssl-ca={authority}"),
            format!("--ssl-cert={}", files.certificate.display()),
            format!("--ssl-key={}", files.key.display()),
            format!("--default-auth={method}"),
        ];
        mariadb(&house, user, password, &options.each_ref().map(String::as_str))
    };
    for method in [CACHING_SHA2, NATIVE] {
        for password in ["", "anything"] {
            let (let_in, said) = shown("reporter", password, &reporter, method);
            assert!(
                let_in && said.contains("let in"),
                "{method}, `{password}`: {said}"
            );
        }
    }
    for (user, files) in [
        ("billing", &reporter),
        ("bot", &reporter),
        ("nobody", &reporter),
        ("reporter", &stranger),
    ] {
        let (let_in, said) = shown(user, "guessed", files, CACHING_SHA2);
        assert!(!let_in, "{user}: {said}");
    }
    let ca = format!("--ssl-ca={authority}");
    let (let_in, said) = mariadb(&house, "reporter", "guessed", &["--ssl-verify-server-cert", &ca]);
    assert!(!let_in && said.contains("1045"), "{said}");
    let reasons = |agent: &str| log_ins(&house, agent).remove(0).1;
    assert_eq!(reasons("reporter"), "no client certificate");
    assert_eq!(
        reasons("billing"),
        "the client certificate is not that of the agent"
    );
}

const CAROLS: &str = "[[mysql.upstream.pass_through]]\nuser = \"carol\"\nowner = \"carol\"\n\
                      [[mysql.upstream.pass_through]]\nuser = \"dora\"\nowner = \"carol\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_the_database_comes_in_by_its_own_password_inside_tls() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let server = server();
    server.run(
        "CREATE USER carol@'%' IDENTIFIED BY 'carols own'; GRANT ALL ON app.* TO carol@'%'; CREATE USER dora@'%';
         GRANT ALL ON app.* TO dora@'%';",
    );
    let house = opened_before(server, &tls_lines("offered", &certificates), "", CAROLS);
    let url = |user: &str, password: &str| {
        house
            .url_of(user, password, "app")
            .replace("127.0.0.1", "localhost")
    };
    for name in ["libmysql", "pure", "pymysql"] {
        let authority = Some(certificates.authority.as_path());
        let carol = url("carol", "carols%20own");
        // The driver program takes the password as it stands in the connection string.
        let carol = carol.replace("%20", " ");
        assert_eq!(driver(name, &carol, authority), "let in", "{name}");
        let refused = driver(name, &url("carol", "guessed"), authority);
        assert!(refused.starts_with("refused 1045"), "{name}: {refused}");
        // The server would let her in without one.
        let refused = driver(name, &url("dora", "anything"), authority);
        assert!(refused.starts_with("refused 1045"), "{name}: {refused}");
    }
    let config = trusting(&certificates.authority);
    for method in [NATIVE, "mysql_clear_password", CACHING_SHA2] {
        let mut log_in = LogIn::of(&house.url_of("carol", "carols own", "app"));
        log_in.method = Some(method);
        if method == "mysql_clear_password" {
            // It sends nothing of the kind by itself.
            continue;
        }
        assert!(MysqlWire::log_in_by_tls(&log_in, &config).is_ok(), "{method}");
    }
    let error = refusal(&LogIn::of(&house.url_of("carol", "carols own", "app")));
    assert!(
        error.number == 3159 && error.message.contains("inside TLS only"),
        "{error:?}"
    );
    let carol = log_ins(&house, "db:carol");
    assert!(
        carol.contains(&(true, "its own password".to_owned())),
        "{carol:?}"
    );
    assert!(
        carol.contains(&(false, "refused by the database server".to_owned())),
        "{carol:?}"
    );
    assert!(
        carol.contains(&(false, "a password is taken inside TLS only".to_owned())),
        "{carol:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_nobody_lets_nobody_pass_through() {
    let server = with_schemas(Mariadb::start_with(&["--skip-grant-tables"]));
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let settings = format!(
        "data_dir = \"data\"\n[api]\naddress = \"127.0.0.1:0\"\n[mysql.listen]\naddress = \"127.0.0.1:0\"\n{}\n\
         [mysql.upstream]\nport = {}\n{CAROLS}\n",
        tls_lines("required", &certificates),
        server.port()
    );
    let mut serve = Serve::start(folder.path(), &settings);
    let port = serve.mysql_listen.expect("MySQL is served").port();
    // It lets in whoever comes.
    assert!(MysqlWire::log_in(&LogIn::of(&server.url("carol", "anything", "mysql"))).is_ok());
    let log_in = LogIn::of(&format!("mysql://carol:anything@127.0.0.1:{port}/app"));
    let error = MysqlWire::log_in_by_tls(&log_in, &trusting(&certificates.authority));
    assert_eq!(error.err().expect("refused").number, 1045);
    let messages = serve.process().messages();
    assert!(messages.contains("without asking for a password"), "{messages}");
}

/// MariaDB's own methods are plug-ins that its package of bare programs lacks; `./test` unpacks them.
fn server_with_ed25519() -> Mariadb {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("it is inside the target folder")
        .join("servers/mariadb-plugins/usr/lib/mysql/plugin");
    assert!(
        folder.join("auth_ed25519.so").exists(),
        "{} has no auth_ed25519.so: run ./test, which unpacks it",
        folder.display()
    );
    let folder = format!("--plugin-dir={}", folder.display());
    with_schemas(Mariadb::start_with(&[&folder, "--plugin-load-add=auth_ed25519"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_logs_in_at_the_server_by_the_method_of_each_user() {
    let server = server_with_ed25519();
    server.run(
        "CREATE USER modern@'%' IDENTIFIED VIA ed25519 USING PASSWORD('its own');
         CREATE USER native@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('its own');
         CREATE USER carol@'%' IDENTIFIED VIA ed25519 USING PASSWORD('carols own');
         CREATE USER other@'%' IDENTIFIED BY 'another';",
    );
    let user =
        |name: &str| format!("[[mysql.upstream.users]]\nname = {name:?}\npassword_file = \"its-own\"\n");
    let settings = MysqlSettings {
        sections: ["modern", "native", "other"].map(user).concat(),
        ..MysqlSettings::default()
    };
    let house = MysqlHouse::open_with(server, &settings, |folder| {
        std::fs::write(folder.join("its-own"), "its own").expect("written");
    });
    for agent in ["modern", "native", "other", "nobody"] {
        let added = house.run(&["agent", "add", agent, "--owner", "ann", "--database-user", agent]);
        let secret = added["secret"].as_str().expect("shown once");
        let mut log_in = LogIn::of(&house.url_of(agent, secret, "app"));
        log_in.schema = None;
        match agent {
            "modern" | "native" => {
                let mut wire = MysqlWire::log_in(&log_in).expect("let in");
                let user = value(&wire.query("SELECT CURRENT_USER()"));
                assert_eq!(user, format!("{agent}@%"));
            }
            "other" => assert_eq!(refusal(&log_in).number, 1045),
            _ => assert_eq!(refusal(&log_in).number, 1158),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_the_server_is_verified_as_the_settings_say() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let certificates = Certificates::make(folder.path(), "localhost");
    let elsewhere = Certificates::make(folder.path(), "elsewhere");
    let option = |name: &str, file: &Path| format!("--ssl-{name}={}", file.display());
    for file in [
        &certificates.certificate,
        &certificates.key,
        &certificates.authority,
    ] {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    }
    let options = [
        option("cert", &certificates.certificate),
        option("key", &certificates.key),
    ];
    let ca = |certificates: &Certificates| format!("ca_file = {:?}", certificates.authority);
    let (known, unknown) = (ca(&certificates), ca(&elsewhere));
    for (lines, is_let_in) in [
        ("tls = \"require\"".to_owned(), true),
        (
            format!("host = \"localhost\"\ntls = \"verify-full\"\n{known}"),
            true,
        ),
        (
            format!("host = \"127.0.0.1\"\ntls = \"verify-full\"\n{known}"),
            false,
        ),
        (
            format!("host = \"127.0.0.1\"\ntls = \"verify-ca\"\n{known}"),
            true,
        ),
        (
            format!("host = \"localhost\"\ntls = \"verify-ca\"\n{unknown}"),
            false,
        ),
    ] {
        let server = with_schemas(Mariadb::start_with(&options.each_ref().map(String::as_str)));
        let house = opened_before(server, "", &lines, "");
        let log_in = LogIn::of(&house.url("app"));
        if is_let_in {
            let mut wire = MysqlWire::log_in(&log_in).unwrap_or_else(|error| panic!("{lines}: {error:?}"));
            let rows = wire.query("SHOW SESSION STATUS LIKE 'Ssl_version'");
            let version = rows[0].rows().texts().remove(0).pop().flatten();
            assert!(version.is_some_and(|version| version.starts_with("TLSv1.")));
        } else {
            assert_eq!(refusal(&log_in).number, 1158, "{lines}");
        }
    }
    // A server that has none is not spoken to without.
    let house = opened("", "tls = \"require\"");
    assert_eq!(refusal(&LogIn::of(&house.url("app"))).number, 1158);
}

/// The first proxy is a client of the second, at which each of its users is an agent: so one side's
/// `caching_sha2_password` proves the other's, there being no MySQL 8 to be had.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_logs_in_at_another_proxy_by_caching_sha2_password() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let settings = MysqlSettings {
        listen: tls_lines("offered", &certificates),
        ..MysqlSettings::default()
    };
    let inner = MysqlHouse::open_with(server(), &settings, |_| {});
    let newer = inner.add_agent("newer", &[]);
    std::fs::write(folder.path().join("secret"), &newer).expect("written");
    std::fs::write(folder.path().join("wrong"), "guessed").expect("written");
    let ca = certificates.authority.display();
    for (port, tls) in [
        (inner.port(), "tls = \"disable\"".to_owned()),
        (
            inner.port(),
            format!("host = \"localhost\"\ntls = \"verify-full\"\nca_file = \"{ca}\""),
        ),
        // Here the fast path fails, so that the password crosses under the inner proxy's key.
        (spoiling(inner.port()), "tls = \"disable\"".to_owned()),
    ] {
        let settings = format!(
            "data_dir = {:?}\n[api]\naddress = \"127.0.0.1:0\"\n[mysql.listen]\naddress = \"127.0.0.1:0\"\n\
             [mysql.upstream]\nport = {port}\n{tls}\n[[mysql.upstream.users]]\nname = \"newer\"\n\
             password_file = \"secret\"\n[[mysql.upstream.users]]\nname = \"bot\"\npassword_file = \"wrong\"\n",
            folder.path().join(format!("data-{port}-{}", tls.len())),
        );
        let serve = Serve::start(folder.path(), &settings);
        let data = folder.path().join(format!("data-{port}-{}", tls.len()));
        let run = |arguments: &[&str]| -> serde_json::Value {
            let done = Command::new(PROGRAM)
                .args(arguments)
                .arg("--data-dir")
                .arg(&data)
                .arg("--json")
                .output()
                .expect("the binary runs");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            serde_json::from_slice(&done.stdout).expect("JSON")
        };
        run(&["user", "add", "ann", "--role", "admin"]);
        let log_in = |user: &str| {
            let agent = format!("of-{user}");
            let added = run(&["agent", "add", &agent, "--owner", "ann", "--database-user", user]);
            let secret = added["secret"].as_str().expect("shown once").to_owned();
            let port = serve.mysql_listen.expect("MySQL is served").port();
            LogIn::of(&format!("mysql://{agent}:{secret}@127.0.0.1:{port}/app"))
        };
        is_let_in(&log_in("newer"));
        let error = refusal(&log_in("bot"));
        assert!(
            error.number == 1045 && error.message.contains("'bot'"),
            "{error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_too_many_is_told_so() {
    let house = opened_before(server(), "", "", "[limits]\nconnections = 1");
    let first = MysqlWire::log_in(&LogIn::of(&house.url("app"))).expect("let in");
    let error = refusal(&LogIn::of(&house.url("app")));
    assert!(
        error.number == 1040 && error.message.contains("1 connections"),
        "{error:?}"
    );
    let (_, said) = mariadb(&house, "bot", &house.password, &[]);
    assert!(
        said.contains("1040") && said.contains("countersign: 1 connections"),
        "{said}"
    );
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_some_databases_reaches_no_other() {
    let server = server();
    server.run("CREATE TABLE app.t (n INT); CREATE TABLE other.t (n INT); INSERT INTO other.t VALUES (42);");
    let house = MysqlHouse::open(server);
    let narrow = house.add_agent("narrow", &["--database", "app"]);
    let mut wire = MysqlWire::connect(&house.url_of("narrow", &narrow, "app"));
    for text in [
        "USE other",
        "USE other; SELECT n FROM t; USE app",
        "USE app; SELECT n FROM other.t",
        "SELECT n FROM other.t",
        "SELECT (SELECT MAX(n) FROM other.t) FROM t",
        "SELECT n FROM t UNION SELECT n FROM `other`.t",
        "INSERT INTO other.t VALUES (1)",
        "INSERT INTO t SELECT n FROM other.t",
    ] {
        let answers = wire.query(text);
        let refused = answers[0]
            .error()
            .unwrap_or_else(|| panic!("{text}: {answers:?}"));
        assert!(matches!(refused.number, 1227 | 1235), "{text}: {refused:?}");
    }
    let moved = wire.ask(com::INIT_DB, b"other");
    assert_eq!(moved.error().expect("refused").number, 1227);
    let prepared = wire.prepare("SELECT n FROM other.t");
    if prepared.error().is_none() {
        let Answer::Prepared { id, .. } = prepared else {
            panic!("{prepared:?}")
        };
        assert!(wire.execute(id, &[])[0].error().is_some());
    }
    for text in [
        "USE app",
        "SELECT COUNT(*) FROM app.t",
        "SELECT COUNT(*) FROM information_schema.schemata",
    ] {
        let answers = wire.query(text);
        assert!(answers[0].error().is_none(), "{text}: {answers:?}");
    }
    assert_eq!(value(&wire.query("SELECT DATABASE()")), "app");
    let mut wide = house.connect();
    assert_eq!(value(&wide.query("SELECT n FROM other.t")), "42");
}
