//! A scratch MariaDB: a free loopback port, random passwords, a folder that goes with the process.
//!
//! Never touches a server that it did not make, and never needs a fixed port. `watchdog.rs` ends the server; read
//! `scratch.rs` for what it shares with `postgres.rs`.
//!
//! Why an init file: the server runs it before it takes the first connection, so there is no moment at which anybody
//! could log in to it without a password.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::scratch::{
    LOG_FILE, PORT_ATTEMPTS, START_SECONDS_MAX, ScratchError, ServerUser, free_port, io_error,
    make_scratch_folder, program_failed, random_word, run_as, write_secret,
};
use super::watchdog::{ENDED_FILE, Watchdog};

/// Where packages put them, besides the folders of PATH.
const FOLDERS: [&str; 5] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/libexec",
];

/// The account that makes databases and accounts on a scratch server.
const SUPERUSER: &str = "countersign_root";

/// A running scratch server. Dropping it ends it and removes its folder.
#[derive(Debug)]
pub struct ScratchMariadb {
    watchdog: Watchdog,
    client: PathBuf,
    folder: PathBuf,
    port: u16,
    superuser_password: String,
}

impl ScratchMariadb {
    /// Makes the data folder, starts the server and waits until it answers. `program` is the countersign binary, which is
    /// started once more as the watchdog.
    pub fn start(program: &Path) -> Result<Self, ScratchError> {
        let programs = Programs::find()?;
        let user = ServerUser::choose("mysql")?;
        let mut last = ScratchError::NotStarted {
            log: String::from("no free port"),
        };
        for _ in 0..PORT_ATTEMPTS {
            match Self::attempt(program, &programs, &user) {
                Ok(server) => return Ok(server),
                Err(error @ ScratchError::NotStarted { .. }) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn attempt(program: &Path, programs: &Programs, user: &ServerUser) -> Result<Self, ScratchError> {
        let folder = make_scratch_folder()?;
        let superuser_password = random_word(24);
        let made = make_data(programs, user, &folder, &superuser_password);
        made.inspect_err(|_| drop(fs::remove_dir_all(&folder)))?;
        let port = free_port()?;
        let command = server_command(programs, &folder, port);
        let watchdog = Watchdog::start(program, &folder, &command).map_err(|cause| ScratchError::Io {
            what: String::from("start the watchdog"),
            cause,
        })?;
        let mut server = Self {
            watchdog,
            client: programs.client.clone(),
            folder,
            port,
            superuser_password,
        };
        server.wait_until_ready()?;
        let init_file = server.folder.join(INIT_FILE);
        fs::remove_file(&init_file).map_err(|cause| io_error("remove", &init_file, cause))?;
        Ok(server)
    }

    /// The loopback port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder that is removed with the server; other things of the same life may be put into it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the server itself has written to its log.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.folder.join(LOG_FILE)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Connection string for an account. Passwords are URL-safe where this module or the demo made them.
    pub fn url(&self, account: &str, password: &str, schema: &str) -> String {
        format!("mysql://{account}:{password}@127.0.0.1:{}/{schema}", self.port)
    }

    /// Runs a script as the one who may do everything, stopping at its first error.
    pub fn run_as_superuser(&self, script: &str) -> Result<(), ScratchError> {
        self.run_script(SUPERUSER, &self.superuser_password, None, script)
    }

    /// Runs a script with the `mariadb` command line, which alone knows DELIMITER.
    pub fn run_script(
        &self,
        account: &str,
        password: &str,
        schema: Option<&str>,
        script: &str,
    ) -> Result<(), ScratchError> {
        let mut mariadb = Command::new(&self.client);
        mariadb
            .args(["--no-defaults", "--host=127.0.0.1", "--skip-ssl", "--batch"])
            .args(["--default-character-set=utf8mb4", "--user", account])
            .arg(format!("--port={}", self.port))
            .args(schema);
        // Not an argument: those can be seen by everybody on this machine.
        mariadb.env("MYSQL_PWD", password).current_dir("/");
        mariadb
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let failed = |cause| ScratchError::Io {
            what: String::from("run mariadb"),
            cause,
        };
        let mut child = mariadb.spawn().map_err(failed)?;
        let fed = child
            .stdin
            .take()
            .map(|mut stdin| stdin.write_all(script.as_bytes()));
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            return Err(program_failed("mariadb", &output.stderr));
        }
        fed.transpose().map_err(failed).map(drop)
    }

    /// Whether the server has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.watchdog.has_ended() || self.folder.join(ENDED_FILE).exists()
    }

    fn wait_until_ready(&mut self) -> Result<(), ScratchError> {
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
        while !self.log().contains("ready for connections") {
            if self.has_ended() || Instant::now() > deadline {
                return Err(ScratchError::NotStarted { log: self.log() });
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

const INIT_FILE: &str = "init.sql";

/// The programs of one MariaDB.
struct Programs {
    server: PathBuf,
    install: PathBuf,
    client: PathBuf,
}

impl Programs {
    fn find() -> Result<Self, ScratchError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path)
            .chain(FOLDERS.map(PathBuf::from))
            .collect();
        let find = |name: &'static str| {
            let mut files = folders.iter().map(|folder| folder.join(name));
            files
                .find(|file| file.is_file())
                .ok_or(ScratchError::NoMariadb(name))
        };
        Ok(Self {
            server: find("mariadbd")?,
            install: find("mariadb-install-db")?,
            client: find("mariadb")?,
        })
    }
}

/// Fills `folder/data`, `folder/socket` and `folder/tmp`, and writes what the server runs first.
fn make_data(
    programs: &Programs,
    user: &ServerUser,
    folder: &Path,
    superuser_password: &str,
) -> Result<(), ScratchError> {
    for name in ["data", "socket", "tmp"] {
        let path = folder.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|cause| io_error("make", &path, cause))?;
        user.own(&path)?;
    }
    let option = |name: &str, value: &Path| format!("--{name}={}", value.display());
    let mut install = Command::new(&programs.install);
    install
        .args(["--no-defaults", "--skip-test-db", "--skip-name-resolve"])
        // The system's `root` has no other way in than the socket, which is in a folder of its own.
        .args([
            "--auth-root-authentication-method=socket",
            "--innodb-use-native-aio=0",
        ])
        .arg(option("datadir", &folder.join("data")))
        // A server that starts removes what others have left in its folder for temporary files, and what they use.
        .arg(option("tmpdir", &folder.join("tmp")));
    run_as(user, "mariadb-install-db", install)?;
    let init_file = folder.join(INIT_FILE);
    // One statement a line: the server's reader of such files wants it so.
    let script = format!(
        "CREATE USER '{SUPERUSER}'@'127.0.0.1' IDENTIFIED BY '{superuser_password}';\n\
         GRANT ALL PRIVILEGES ON *.* TO '{SUPERUSER}'@'127.0.0.1' WITH GRANT OPTION;\n"
    );
    write_secret(&init_file, &script)?;
    user.own(&init_file)
}

fn server_command(programs: &Programs, folder: &Path, port: u16) -> Vec<OsString> {
    let option = |name: &str, value: &str| OsString::from(format!("--{name}={value}"));
    let path = |name: &str| folder.join(name).display().to_string();
    vec![
        programs.server.clone().into_os_string(),
        OsString::from("--no-defaults"),
        option("datadir", &path("data")),
        option("socket", &path("socket/mariadb.sock")),
        option("pid-file", &path("data/mariadb.pid")),
        option("tmpdir", &path("tmp")),
        option("init-file", &path(INIT_FILE)),
        option("bind-address", "127.0.0.1"),
        option("port", &port.to_string()),
        option("character-set-server", "utf8mb4"),
        option("default-time-zone", "+00:00"),
        OsString::from("--skip-name-resolve"),
        // What the kernel lends of io_uring is little, and shared by everybody on the machine.
        option("innodb-use-native-aio", "0"),
        option("innodb-buffer-pool-size", "64M"),
        // A scratch server's data is never worth a wait for the disk, and goes when it ends.
        option("innodb-flush-log-at-trx-commit", "0"),
        option("innodb-fast-shutdown", "2"),
    ]
}
