//! A scratch MariaDB of the test's own, or another server in its place, and connections to it past the proxy.
//!
//! Never skips: a missing server fails the run. Its files are gone when it is dropped.

use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mysql_async::{Conn, OptsBuilder};

const READY_WITHIN: Duration = Duration::from_secs(30);

/// Names the folder of another server's programs: see tests/servers/README.md.
const SERVER_PROGRAMS: &str = "COUNTERSIGN_TEST_MYSQL_PROGRAMS";

/// A server with an empty schema `app` and a superuser `root` without a password, reached by a socket and by a port.
pub struct Mariadb {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Mariadb {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As `start`, with further options of the server's command line.
    pub fn start_with(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let user = ServerUser::choose();
        user.own(folder.path());
        let data = folder.path().join("data");
        let installed = install(&user, &data)
            // A server that starts removes what others have left in its folder for temporary files, and what they use.
            .env("TMPDIR", folder.path())
            .output()
            .expect("the program that makes a data folder");
        assert!(
            installed.status.success(),
            "no data folder: {}",
            String::from_utf8_lossy(&installed.stderr)
        );
        // A port that was free a moment ago may be taken by the time that the server asks for it.
        for _ in 0..5 {
            if let Some(server) = Self::attempt(&folder, &data, &user, options) {
                let (child, port) = server;
                return Self { child, folder, port };
            }
        }
        panic!("no server: {}", read_log(folder.path()));
    }

    fn attempt(
        folder: &tempfile::TempDir,
        data: &Path,
        user: &ServerUser,
        options: &[&str],
    ) -> Option<(Child, u16)> {
        let path = |name: &str| folder.path().join(name).display().to_string();
        let port = free_port();
        let mut child = server(user)
            .env("TMPDIR", folder.path())
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", path("socket")))
            .arg(format!("--pid-file={}", path("pid")))
            .arg(format!("--log-error={}", path("log.err")))
            .args(["--bind-address=127.0.0.1", &format!("--port={port}")])
            .args([
                "--innodb-use-native-aio=0",
                "--innodb-buffer-pool-size=16M",
                "--innodb-flush-log-at-trx-commit=0",
            ])
            .args(["--character-set-server=utf8mb4", "--skip-name-resolve"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server's program");
        let started = Instant::now();
        while started.elapsed() < READY_WITHIN {
            if read_log(folder.path()).contains("ready for connections")
                && folder.path().join("socket").exists()
            {
                return Some((child, port));
            }
            if child.try_wait().expect("its state").is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// What the server itself has written.
    pub fn log(&self) -> String {
        read_log(self.folder.path())
    }

    pub fn options(&self) -> OptsBuilder {
        OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some("root"))
            .prefer_socket(false)
            .stmt_cache_size(0)
    }

    /// With the corpus's fixtures in schema `app`.
    pub fn with_fixtures() -> Self {
        let server = Self::start_with(&["--event-scheduler=ON", "--local-infile=1", "--secure-file-priv="]);
        server.load_fixtures();
        server
    }

    /// Makes the corpus's fixtures anew.
    pub fn load_fixtures(&self) {
        let fixtures = include_str!("../corpus/fixtures.mysql.sql");
        if self.is_mariadb() {
            self.run(fixtures);
        } else {
            self.run(&for_mysql_5_6(fixtures));
        }
    }

    /// By its own words at the start.
    pub fn is_mariadb(&self) -> bool {
        self.log().contains("MariaDB")
    }

    /// Runs a script as superuser by the `mariadb` command line, which alone knows DELIMITER.
    pub fn run(&self, script: &str) {
        let mut client = Command::new("mariadb")
            .args(["--no-defaults", "--user=root", "--default-character-set=utf8mb4"])
            .arg(format!("--socket={}", self.socket().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mariadb, of the package mariadb-client-core");
        let written = client
            .stdin
            .take()
            .expect("its input")
            .write_all(script.as_bytes());
        let output = client.wait_with_output().expect("its words");
        assert!(
            output.status.success() && written.is_ok(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    pub fn url(&self, user: &str, password: &str, schema: &str) -> String {
        format!("mysql://{user}:{password}@127.0.0.1:{}/{schema}", self.port)
    }

    /// A connection past the proxy, as superuser, in no schema.
    pub async fn connect(&self) -> Conn {
        Conn::new(self.options()).await.expect("connects")
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The fixtures without what MySQL 5.6 lacks: sequences, tables that count, JSON, roles.
fn for_mysql_5_6(fixtures: &str) -> String {
    let digits = "(SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 \
                  UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    let mut counting = String::new();
    for last in [40, 200, 600, 30_000] {
        counting.push_str(&format!(
            "CREATE TABLE seq_1_to_{last} (seq INT PRIMARY KEY); INSERT INTO seq_1_to_{last} SELECT * FROM (SELECT \
             a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS n FROM {digits} a, {digits} b, {digits} c, {digits} e, \
             {digits} f) x WHERE n BETWEEN 1 AND {last};\n"
        ));
    }
    let lines = fixtures
        .lines()
        .filter(|line| !line.starts_with("CREATE SEQUENCE") && !line.starts_with("CREATE ROLE"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let json = "JSON_OBJECT('age',20+seq%50,'lang',ELT(1+seq%2,'en','de'))";
    assert!(text.contains(json), "the fixtures are others");
    text.replace("USE app;\n", &format!("USE app;\n{counting}"))
        .replace(json, "CONCAT('{\"age\": ', 20+seq%50, '}')")
        .replace("profile json", "profile text")
        .replace("CREATE USER IF NOT EXISTS", "GRANT USAGE ON *.* TO")
}

/// Makes a data folder.
fn install(user: &ServerUser, data: &Path) -> Command {
    let mut command = match other_programs() {
        Some(programs) => user.command_at(&programs.join("install")),
        None => {
            let mut command = user.command("mariadb-install-db");
            command
                .arg("--no-defaults")
                .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
                // What the kernel lends of io_uring is little, and shared by all tests.
                .arg("--innodb-use-native-aio=0");
            command
        }
    };
    command.arg(format!("--datadir={}", data.display()));
    command
}

fn server(user: &ServerUser) -> Command {
    match other_programs() {
        Some(programs) => user.command_at(&programs.join("server")),
        None => user.command("mariadbd"),
    }
}

fn other_programs() -> Option<PathBuf> {
    std::env::var_os(SERVER_PROGRAMS).map(|folder| {
        // The server runs in another folder.
        std::path::absolute(folder).expect("a path")
    })
}

/// Who runs the server: it refuses to run as root.
enum ServerUser {
    Own,
    Other { uid: u32, gid: u32 },
}

impl ServerUser {
    fn choose() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self::Own;
        }
        let users = std::fs::read_to_string("/etc/passwd").expect("the users");
        let line = users
            .lines()
            .find(|line| line.starts_with("nobody:"))
            .expect("a user `nobody`");
        let number = |at: usize| line.split(':').nth(at).and_then(|number| number.parse().ok());
        Self::Other {
            uid: number(2).expect("a number"),
            gid: number(3).expect("a number"),
        }
    }

    fn command(&self, program: &str) -> Command {
        let found = [
            "/usr/bin",
            "/usr/sbin",
            "/usr/local/bin",
            "/usr/local/sbin",
            "/usr/libexec",
        ]
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.exists());
        self.command_at(&found.unwrap_or_else(|| PathBuf::from(program)))
    }

    fn command_at(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Self::Other { uid, gid } = self {
            command.uid(*uid).gid(*gid);
        }
        command
    }

    fn own(&self, path: &Path) {
        if let Self::Other { uid, gid } = self {
            std::os::unix::fs::chown(path, Some(*uid), Some(*gid)).expect("given away");
        }
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its number").port()
}

fn read_log(folder: &Path) -> String {
    std::fs::read(folder.join("log.err")).map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}
