//! `serve` as an operator meets it: settings, rules and certificates read again, one process for a folder, a clean stop.
//! No database is behind it here: none is dialled before an agent logs in.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn countersign(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.current_dir(folder).stdin(Stdio::null());
    for name in ["COUNTERSIGN_API_URL", "COUNTERSIGN_TOKEN", "COUNTERSIGN_CONFIG"] {
        command.env_remove(name);
    }
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    countersign(folder)
        .args(arguments)
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A running `serve`, killed with its test.
struct Serve {
    child: Child,
    stderr: PathBuf,
    listen: SocketAddr,
    mysql_listen: Option<SocketAddr>,
    api: SocketAddr,
    // Kept open, so that writing to it never fails.
    _stdout: BufReader<ChildStdout>,
}

impl Serve {
    fn start(folder: &Path) -> Self {
        Self::start_as(folder, countersign(folder))
    }

    /// By a command that runs countersign with the arguments that follow.
    fn start_as(folder: &Path, command: Command) -> Self {
        Self::start_with(folder, command, &[])
    }

    /// The same with some more.
    fn start_with(folder: &Path, mut command: Command, more: &[&str]) -> Self {
        let stderr = folder.join("serve.log");
        let log = std::fs::File::create(&stderr).expect("a log");
        let mut child = command
            .args(["serve", "--json", "--config", "countersign.toml"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!(
                "not ready: {}",
                std::fs::read_to_string(&stderr).unwrap_or_default()
            )
        });
        let address = |key: &str| {
            ready[key]
                .as_str()
                .and_then(|text| text.parse().ok())
                .expect("an address")
        };
        Self {
            listen: address("listen"),
            mysql_listen: ready["mysql_listen"].as_str().and_then(|text| text.parse().ok()),
            api: address("api"),
            child,
            stderr,
            _stdout: stdout,
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([format!("-{name}"), pid])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// Waits until the log says so.
    fn said(&self, words: &str) -> String {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let log = std::fs::read_to_string(&self.stderr).expect("a log");
            if log.contains(words) {
                return log;
            }
            assert!(Instant::now() < end, "never said `{words}`: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

const SETTINGS: &str = r#"
data_dir = "data"
[listen]
address = "127.0.0.1:0"
[api]
address = "127.0.0.1:0"
[rules]
file = "./rules.toml"
[[upstream.users]]
name = "app"
"#;

const HOLD_ALL: &str = "[[rule]]\nname = \"hold-all\"\noutcome = \"hold\"\nrisk = \"high\"\n";

fn house(settings: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a scratch folder");
    std::fs::write(folder.path().join("countersign.toml"), settings).expect("written");
    std::fs::write(folder.path().join("rules.toml"), HOLD_ALL).expect("written");
    folder
}

fn rule_changes(folder: &Path) -> Vec<Value> {
    let done = run(
        folder,
        &["log", "query", "--data-dir", "data", "--oldest-first", "--json"],
    );
    let page: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let items = page["items"].as_array().expect("items").iter();
    items
        .filter(|record| record["kind"] == "rules_change")
        .cloned()
        .collect()
}

#[test]
fn rules_are_read_again_at_sighup_and_broken_ones_change_nothing() {
    let folder = house(SETTINGS);
    let serve = Serve::start(folder.path());
    assert_eq!(
        rule_changes(folder.path()).len(),
        1,
        "the rules at the start are recorded"
    );
    let rules = folder.path().join("rules.toml");
    std::fs::write(&rules, "[[rule]]\nname = \"x\"\noutcome = \"maybe\"\n").expect("written");
    serve.signal("HUP");
    let log = serve.said("the old rules stay in force");
    assert!(
        log.contains("rules.toml:3:"),
        "file, line and column are said: {log}"
    );
    std::fs::write(&rules, format!("{HOLD_ALL}reason = \"all\"\n")).expect("written");
    serve.signal("HUP");
    serve.said("are in force");
    let changes = rule_changes(folder.path());
    assert_eq!(changes.len(), 3, "the rejected file is recorded too: {changes:?}");
    assert_ne!(changes[0]["generation"], changes[2]["generation"]);
}

#[test]
fn one_folder_has_one_serve() {
    let folder = house(SETTINGS);
    let _serve = Serve::start(folder.path());
    let second = run(folder.path(), &["serve", "--config", "countersign.toml"]);
    assert_eq!(second.status.code(), Some(1));
    let messages = text(&second.stderr);
    assert!(
        messages.contains("error: another process") && messages.contains("hint: "),
        "{messages}"
    );
}

#[test]
fn sigterm_ends_it_in_good_order_and_it_starts_again() {
    let folder = house(SETTINGS);
    for name in ["TERM", "INT"] {
        let mut serve = Serve::start(folder.path());
        serve.signal(name);
        let ended = serve.child.wait().expect("it ends");
        assert_eq!(ended.code(), Some(0), "{name}");
        assert!(std::net::TcpStream::connect(serve.api).is_err());
        assert!(std::net::TcpStream::connect(serve.listen).is_err());
    }
}

/// Most systems start a program with 1,024, which 500 sessions use up.
#[test]
fn serve_may_open_as_many_files_as_the_system_lets_it() {
    let folder = house(SETTINGS);
    let mut few = Command::new("bash");
    few.current_dir(folder.path());
    few.args([
        "-c",
        "ulimit -S -n 100; ulimit -H -n 1000; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_countersign"),
    ]);
    let serve = Serve::start_as(folder.path(), few);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", serve.child.id())).expect("its limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files"));
    let files: Vec<_> = files
        .expect("a line")
        .split_whitespace()
        .skip(3)
        .take(2)
        .collect();
    assert_eq!(files, ["1000", "1000"]);
    serve.said("1000 connections need 2256 open files, and this process may have 1000");
}

/// The proxy's own transactions may take long on a busy machine; a command beside it has the time.
#[test]
fn command_waits_while_another_process_writes_to_the_store() {
    let folder = house(SETTINGS);
    let add = |name| {
        let arguments = [
            "user",
            "add",
            name,
            "--role",
            "admin",
            "--config",
            "countersign.toml",
        ];
        run(folder.path(), &arguments)
    };
    let first = add("root");
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let data = folder.path().join("data");
    let mut store = rusqlite::Connection::open(data.join(countersign::config::STORE_FILE)).expect("a store");
    let writing = store
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .expect("the lock");
    std::thread::scope(|scope| {
        let second = scope.spawn(|| add("eve"));
        // Well beyond what the proxy itself waits.
        std::thread::sleep(Duration::from_secs(1));
        assert!(!second.is_finished(), "the store was written to under a lock");
        writing.rollback().expect("let go");
        let second = second.join().expect("it ends");
        assert_eq!(second.status.code(), Some(0), "{}", text(&second.stderr));
    });
}

#[tokio::test]
async fn the_first_administrator_needs_no_token() {
    let folder = house(SETTINGS);
    let settings = ["--config", "countersign.toml"];
    let add = run(
        folder.path(),
        &[&["user", "add", "root", "--role", "admin"], &settings[..]].concat(),
    );
    assert_eq!(add.status.code(), Some(0), "{}", text(&add.stderr));
    let serve = Serve::start(folder.path());
    let made = run(
        folder.path(),
        &[&["user", "token", "root"], &settings[..]].concat(),
    );
    let token = text(&made.stdout);
    let listed = countersign(folder.path())
        .args(["user", "list", "--json"])
        .env("COUNTERSIGN_API_URL", format!("http://{}", serve.api))
        .env("COUNTERSIGN_TOKEN", token.trim())
        .output()
        .expect("the binary runs");
    assert_eq!(listed.status.code(), Some(0), "{}", text(&listed.stderr));
    assert!(text(&listed.stdout).contains("\"root\""));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(folder.path().join("data"))
            .expect("a folder")
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o700, "what agents sent is nobody else's business");
}

#[test]
fn what_is_wrong_is_said_before_anything_is_started() {
    let cases = [
        (
            "[listen]\nadress = \"x\"\n",
            "countersign.toml:2:1: unknown key `adress`",
            "did you mean `address`?",
        ),
        (
            "data_dir = \"data\"\n",
            "the settings name no database user",
            "[[upstream.users]]",
        ),
        (
            "[[upstream.users]]\nname = \"app\"\npassword_file = \"none\"\n",
            "cannot read `none`",
            "--config",
        ),
        (
            "[rules]\nfile = \"none.toml\"\n[[upstream.users]]\nname = \"app\"\n",
            "none.toml",
            "hint: ",
        ),
    ];
    for (settings, error, hint) in cases {
        let folder = house(settings);
        let done = run(
            folder.path(),
            &["serve", "--config", "countersign.toml", "--data-dir", "data"],
        );
        let messages = text(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{messages}");
        assert!(messages.contains(error) && messages.contains(hint), "{messages}");
        assert!(
            !folder.path().join("data").exists(),
            "nothing was made: {settings}"
        );
    }
}

#[test]
fn check_reads_settings_and_rules_and_starts_nothing() {
    let folder = house(SETTINGS);
    let good = run(
        folder.path(),
        &["check", "--config", "countersign.toml", "--json"],
    );
    let found: Value = serde_json::from_slice(&good.stdout).expect("JSON");
    assert_eq!(
        (found["ok"].as_bool(), found["rule_count"].as_u64()),
        (Some(true), Some(1)),
        "{found}"
    );
    std::fs::write(folder.path().join("rules.toml"), "[[rule]]\nnaem = \"x\"\n").expect("written");
    let broken = run(folder.path(), &["check", "--config", "countersign.toml"]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(
        text(&broken.stderr).contains("rules.toml:"),
        "{}",
        text(&broken.stderr)
    );
    assert!(!folder.path().join("data").exists());
}

/// Writes a new certificate for localhost, and gives it.
fn certify(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.join("tls.crt"), made.cert.pem()).expect("written");
    std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).expect("written");
    made.cert.pem()
}

async fn api_is_trusted(address: SocketAddr, pem: &str) -> bool {
    let trusted = reqwest::Certificate::from_pem(pem.as_bytes()).expect("PEM");
    let client = reqwest::Client::builder()
        .tls_certs_only([trusted])
        .build()
        .expect("a client");
    let url = format!("https://localhost:{}/livez", address.port());
    client
        .get(url)
        .send()
        .await
        .is_ok_and(|answer| answer.status().is_success())
}

async fn proxy_is_trusted(address: SocketAddr, pem: &str) -> bool {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    let certificate = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    roots.add(certificate).expect("a root");
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    // SSLRequest: https://www.postgresql.org/docs/current/protocol-message-formats.html
    stream
        .write_all(&[0, 0, 0, 8, 4, 210, 22, 47])
        .await
        .expect("sent");
    let mut answer = [0];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"S");
    let name = ServerName::try_from("localhost").expect("a name");
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .is_ok()
}

#[test]
fn check_finds_every_certificate_that_cannot_be_read() {
    let pair = "cert_file = \"tls.crt\"\nkey_file = \"tls.key\"\n";
    let sections = [
        (format!("[listen]\n{pair}"), "tls.crt"),
        (format!("[api]\n{pair}"), "tls.crt"),
        (
            "[upstream]\ntls = \"verify-ca\"\nca_file = \"tls.crt\"\n".to_owned(),
            "tls.crt",
        ),
        (format!("[listen]\n{pair}"), "tls.key"),
        (format!("[api]\n{pair}"), "tls.key"),
        (format!("[mysql.listen]\n{pair}"), "tls.crt"),
        (format!("[mysql.listen]\n{pair}"), "tls.key"),
        (
            "[mysql.upstream]\ntls = \"verify-ca\"\nca_file = \"tls.crt\"\n".to_owned(),
            "tls.crt",
        ),
    ];
    for (section, broken) in sections {
        let users = "[[upstream.users]]\nname = \"app\"\n[[mysql.upstream.users]]\nname = \"app\"\n";
        let settings = format!("{section}{users}");
        let folder = house(&settings);
        certify(folder.path());
        let check = || run(folder.path(), &["check", "--config", "countersign.toml"]);
        assert_eq!(check().status.code(), Some(0), "{}", text(&check().stderr));
        std::fs::write(folder.path().join(broken), "broken").expect("written");
        let done = check();
        assert_eq!(done.status.code(), Some(1), "{section}");
        assert!(text(&done.stderr).contains(broken), "{}", text(&done.stderr));
    }
}

#[tokio::test]
async fn it_is_ready_only_while_the_servers_of_both_protocols_take_connections() {
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let postgres = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mysql = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = |listener: &std::net::TcpListener| listener.local_addr().expect("bound").port();
    let settings = format!(
        "{SETTINGS}[upstream]\nport = {}\n[mysql.listen]\naddress = \"127.0.0.1:0\"\n\
         [mysql.upstream]\nport = {}\n[[mysql.upstream.users]]\nname = \"app\"\n",
        port(&postgres),
        port(&mysql)
    );
    let ready = async |folder: &tempfile::TempDir| {
        let serve = Serve::start(folder.path());
        let url = format!("http://{}/readyz", serve.api);
        let answer = reqwest::get(url).await.expect("an answer");
        let status = answer.status().as_u16();
        let checks = answer.json::<Value>().await.expect("JSON")["checks"].clone();
        (
            status,
            checks["upstream"].clone(),
            checks["mysql.upstream"].clone(),
        )
    };
    let folder = house(&settings);
    assert_eq!(ready(&folder).await, (200, "ok".into(), "ok".into()));
    drop(mysql);
    assert_eq!(ready(&folder).await, (503, "ok".into(), "failing".into()));
}

#[tokio::test]
async fn certificates_are_read_again_at_sighup() {
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let files = "cert_file = \"tls.crt\"\nkey_file = \"tls.key\"\n[";
    let settings = SETTINGS.replace("0\"\n[", &format!("0\"\n{files}"));
    let folder = house(&settings);
    let old = certify(folder.path());
    let serve = Serve::start(folder.path());
    assert!(api_is_trusted(serve.api, &old).await && proxy_is_trusted(serve.listen, &old).await);
    let new = certify(folder.path());
    serve.signal("HUP");
    serve.said("the certificates are in force");
    assert!(api_is_trusted(serve.api, &new).await && proxy_is_trusted(serve.listen, &new).await);
    assert!(!api_is_trusted(serve.api, &old).await && !proxy_is_trusted(serve.listen, &old).await);
    std::fs::write(folder.path().join("tls.crt"), "broken").expect("written");
    serve.signal("HUP");
    serve.said("the proxy keeps its old certificate");
    assert!(api_is_trusted(serve.api, &new).await && proxy_is_trusted(serve.listen, &new).await);
}

const BOTH: &str = "[mysql.listen]\naddress = \"127.0.0.1:0\"\n[[mysql.upstream.users]]\nname = \"app\"\n";

#[test]
fn each_protocol_has_its_own_address_which_a_flag_may_name() {
    let folder = house(SETTINGS);
    assert_eq!(Serve::start(folder.path()).mysql_listen, None, "it is not served");
    let folder = house(&format!("{SETTINGS}{BOTH}"));
    let serve = Serve::start(folder.path());
    let mysql = serve.mysql_listen.expect("it is served");
    assert_ne!(mysql, serve.listen);
    for address in [mysql, serve.listen] {
        assert!(std::net::TcpStream::connect(address).is_ok(), "{address}");
    }
    drop(serve);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("bound").to_string();
    let done = run(
        folder.path(),
        &["serve", "--config", "countersign.toml", "--mysql-listen", &taken],
    );
    let messages = text(&done.stderr);
    assert!(
        messages.contains(&format!("cannot listen on {taken}")),
        "{messages}"
    );
}

#[test]
fn mysql_alone_is_served_where_nobody_can_log_in_to_postgres() {
    let folder = house(&SETTINGS.replace("[[upstream.users]]", "[[mysql.upstream.users]]"));
    let mut child = countersign(folder.path())
        .args([
            "serve",
            "--json",
            "--config",
            "countersign.toml",
            "--mysql-listen",
            "127.0.0.1:0",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("a line");
    let ready: Value = serde_json::from_str(&line).unwrap_or_default();
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    assert!(
        ready["listen"].is_null() && ready["mysql_listen"].is_string(),
        "{line}"
    );
}

#[test]
fn files_of_both_protocols_are_read_again_at_sighup_and_recorded_apart() {
    let own = |prefix: &str| {
        format!(
            "[{prefix}listen]\naddress = \"127.0.0.1:0\"\ncert_file = \"{prefix}tls.crt\"\nkey_file = \"tls.key\"\n\
             [{prefix}upstream]\ntls = \"verify-ca\"\nca_file = \"{prefix}ca.crt\"\n\
             [[{prefix}upstream.users]]\nname = \"app\"\n"
        )
    };
    let settings = format!(
        "data_dir = \"data\"\n[api]\naddress = \"127.0.0.1:0\"\n{}{}",
        own(""),
        own("mysql.")
    );
    let folder = house(&settings);
    certify(folder.path());
    for copy in ["mysql.tls.crt", "ca.crt", "mysql.ca.crt"] {
        std::fs::copy(folder.path().join("tls.crt"), folder.path().join(copy)).expect("copied");
    }
    let serve = Serve::start(folder.path());
    std::fs::write(folder.path().join("mysql.tls.crt"), "broken").expect("written");
    std::fs::write(folder.path().join("ca.crt"), "broken").expect("written");
    serve.signal("HUP");
    serve.said("keeps its old certificate towards clients of MySQL");
    serve.said("the PostgreSQL server is verified against the old authority");
    let recorded = || {
        let query = [
            "log",
            "query",
            "--data-dir",
            "data",
            "--kind",
            "certificates_change",
            "--json",
        ];
        let page: Value = serde_json::from_slice(&run(folder.path(), &query).stdout).expect("JSON");
        let items = page["items"].as_array().cloned().unwrap_or_default();
        let words = |record: &Value| format!("{} {}", record["name"], record["change"]).replace('"', "");
        items.iter().map(words).collect::<std::collections::BTreeSet<_>>()
    };
    let expected = [
        "listen loaded",
        "mysql.listen rejected",
        "mysql.upstream loaded",
        "upstream rejected",
    ];
    let end = Instant::now() + Duration::from_secs(20);
    while !recorded().iter().eq(expected.iter()) {
        assert!(Instant::now() < end, "{:?}", recorded());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The log that `serve` left is verified from its files alone: by this program and by one that shares no code with it.
#[test]
fn log_that_serve_left_is_verified_without_it_and_a_changed_one_is_not() {
    let folder = house(SETTINGS);
    let settings = ["--config", "countersign.toml"];
    let add = run(
        folder.path(),
        &[&["user", "add", "root", "--role", "admin,auditor"], &settings[..]].concat(),
    );
    assert_eq!(add.status.code(), Some(0), "{}", text(&add.stderr));
    let mut serve = Serve::start(folder.path());
    let token = run(
        folder.path(),
        &[&["user", "token", "root"], &settings[..]].concat(),
    );
    let token = text(&token.stdout);
    let over_api = |arguments: &[&str]| {
        countersign(folder.path())
            .args(arguments)
            .env("COUNTERSIGN_API_URL", format!("http://{}", serve.api))
            .env("COUNTERSIGN_TOKEN", token.trim())
            .output()
            .expect("the binary runs")
    };
    for _ in 0..30 {
        let queried = over_api(&["log", "query", "--limit", "1"]);
        assert_eq!(queried.status.code(), Some(0), "{}", text(&queried.stderr));
    }
    let verify = ["log", "verify", "--data-dir", "data"];
    let live = run(folder.path(), &verify);
    assert_eq!(live.status.code(), Some(0), "{}", text(&live.stdout));
    // The boot record of the first command has been signed long ago.
    let proof = over_api(&["log", "proof", "65535.0", "--out", "boot.tlog-proof"]);
    assert_eq!(proof.status.code(), Some(0), "{}", text(&proof.stderr));
    serve.signal("TERM");
    assert_eq!(serve.child.wait().expect("it ends").code(), Some(0));

    let done = run(folder.path(), &[&verify[..], &["--json"]].concat());
    let report: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(done.status.code(), Some(0), "{report}");
    assert_eq!(
        (&report["verified"], &report["unsigned"]),
        (&true.into(), &0.into()),
        "everything is signed at the end: {report}"
    );
    assert!(
        report["records"].as_u64().is_some_and(|records| records > 30),
        "{report}"
    );
    let said = text(&run(folder.path(), &verify).stdout);
    assert!(
        said.ends_with("VERIFIED\n") && said.contains("0 clock regressions"),
        "{said}"
    );

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/verify.py");
    let python = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        command.current_dir(folder.path()).arg("-B").arg(&script);
        command.args(arguments).output().expect("python3 runs")
    };
    let agreed = python(&["data"]);
    assert!(agreed.status.success(), "{}", text(&agreed.stderr));
    let records = report["records"].to_string();
    assert!(
        text(&agreed.stdout).contains(&format!(": {records} records")),
        "{}",
        text(&agreed.stdout)
    );

    std::fs::copy(folder.path().join("data/log.pub"), folder.path().join("kept.pub")).expect("the key");
    let check = ["log", "verify", "--proof", "boot.tlog-proof", "--key", "kept.pub"];
    let proven = run(folder.path(), &check);
    assert_eq!(proven.status.code(), Some(0), "{}", text(&proven.stderr));
    assert!(
        text(&proven.stdout).contains("kind             boot"),
        "{}",
        text(&proven.stdout)
    );
    let agreed = python(&["--proof", "boot.tlog-proof", "kept.pub"]);
    assert!(agreed.status.success(), "{}", text(&agreed.stderr));
    let written = std::fs::read_to_string(folder.path().join("boot.tlog-proof")).expect("a proof");
    std::fs::write(
        folder.path().join("boot.tlog-proof"),
        written.replace("index ", "index 1"),
    )
    .expect("written");
    assert_eq!(run(folder.path(), &check).status.code(), Some(3));
    assert!(
        !python(&["--proof", "boot.tlog-proof", "kept.pub"])
            .status
            .success()
    );

    let checkpoints = folder.path().join("data/journal/tree/checkpoints");
    std::fs::copy(&checkpoints, folder.path().join("anchor")).expect("a copy");
    let anchored = run(folder.path(), &[&verify[..], &["--anchor", "anchor"]].concat());
    assert_eq!(anchored.status.code(), Some(0));
    assert!(
        text(&anchored.stdout).contains("unanchored tail: 0 records"),
        "{}",
        text(&anchored.stdout)
    );

    let segment = first_segment(folder.path());
    let mut bytes = std::fs::read(&segment).expect("a segment");
    bytes[90] ^= 1;
    std::fs::write(&segment, bytes).expect("a changed segment");
    let failed = run(folder.path(), &verify);
    assert_eq!(failed.status.code(), Some(3));
    assert!(
        text(&failed.stdout).contains("FAILED        record "),
        "{}",
        text(&failed.stdout)
    );
    assert!(!python(&["data"]).status.success());
}

/// What was signed is gone: nothing starts until somebody says why, once, and that is on record.
#[test]
fn loss_is_accepted_for_a_reason_once_and_recorded() {
    let folder = house(SETTINGS);
    let stop = |mut serve: Serve| {
        serve.signal("TERM");
        assert_eq!(serve.child.wait().expect("it ends").code(), Some(0));
    };
    let lose = || {
        let tree = folder.path().join("data/journal/tree");
        std::fs::remove_dir_all(tree).expect("what was signed");
    };
    let refused = |arguments: &[&str], code: i32, words: &str| {
        let serve = ["serve", "--config", "countersign.toml"];
        let done = run(folder.path(), &[&serve[..], arguments].concat());
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    };
    for name in ["root", "alice", "bob"] {
        let settings = ["--config", "countersign.toml"];
        let add = [&["user", "add", name, "--role", "approver"], &settings[..]].concat();
        assert_eq!(run(folder.path(), &add).status.code(), Some(0));
    }
    stop(Serve::start(folder.path()));
    lose();
    refused(&[], 1, "--accept-loss");
    refused(&["--accept-loss"], 2, "--accept-loss");
    refused(&["--accept-loss", "  "], 2, "on one line");
    refused(&["--accept-loss", "a\nb"], 2, "on one line");
    refused(&[], 1, "--accept-loss");
    let reason = "disk full from 02:10, ticket 4711";
    stop(Serve::start_with(
        folder.path(),
        countersign(folder.path()),
        &["--accept-loss", reason],
    ));
    let query = ["log", "query", "--data-dir", "data", "--json", "kind:boot"];
    let told = text(&run(folder.path(), &query).stdout);
    assert!(told.contains(reason), "{told}");
    stop(Serve::start(folder.path()));
    let verified = run(folder.path(), &["log", "verify", "--data-dir", "data"]);
    assert_eq!(verified.status.code(), Some(0), "{}", text(&verified.stdout));
    // Once: what is lost later is another loss.
    lose();
    refused(&[], 1, "--accept-loss");
}

fn first_segment(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder.join("data/journal")).expect("the journal");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    paths.sort();
    paths.swap_remove(0)
}
