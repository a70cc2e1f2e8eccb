//! What scratch servers of every kind share: a folder, a free port, somebody to run as, random words.
//!
//! Never starts anything that goes on running. Read `postgres.rs` and `mariadb.rs` next.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rand::RngExt;
use thiserror::Error;

/// The server's own log, in the server's folder.
pub const LOG_FILE: &str = "server.log";

/// Another process may take the free port that was found, before the server does.
pub const PORT_ATTEMPTS: u32 = 5;

pub const START_SECONDS_MAX: u64 = 60;

/// Scratch folders are tried in this order; short, because a socket's path must stay under 100 bytes.
const SCRATCH_PARENTS: [&str; 2] = ["/tmp", "/var/tmp"];

/// Why a scratch server could not be started.
#[derive(Debug, Error)]
pub enum ScratchError {
    #[error("no PostgreSQL server binaries found in /usr/lib/postgresql, PATH or pg_config's folder")]
    NoPostgres,
    #[error("no MariaDB server found: `{0}` is neither in PATH nor in /usr/sbin or /usr/libexec")]
    NoMariadb(&'static str),
    #[error("no unprivileged user `{0}` or `nobody` to run the server as")]
    NoUser(&'static str),
    #[error("cannot {what}: {cause}")]
    Io { what: String, cause: io::Error },
    #[error("{program} failed: {output}")]
    Program { program: &'static str, output: String },
    #[error("the scratch server did not start: {log}")]
    NotStarted { log: String },
}

impl ScratchError {
    /// What the person can do now.
    pub fn next_step(&self) -> &'static str {
        match self {
            ScratchError::NoPostgres => {
                "run ./demo --prepare, or apt-get install postgresql-15; --only mysql goes without"
            }
            ScratchError::NoMariadb(_) => {
                "run ./demo --prepare, or apt-get install mariadb-server-core mariadb-client-core; --only postgres goes \
                 without"
            }
            ScratchError::NoUser(_) => "create a user of that name, or run the demo as an ordinary user",
            ScratchError::Io { .. } => "make sure that /tmp or /var/tmp can be written",
            ScratchError::Program { .. } | ScratchError::NotStarted { .. } => "read the server's words above",
        }
    }
}

/// Who runs a server: none of them runs as root.
#[derive(Debug, Clone, Copy)]
pub enum ServerUser {
    Myself,
    Other { uid: u32, gid: u32 },
}

impl ServerUser {
    /// `name`: the user that the server's own package makes.
    pub fn choose(name: &'static str) -> Result<Self, ScratchError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(ServerUser::Myself);
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let found = [name, "nobody"].iter().find_map(|name| find_user(&users, name));
        found
            .map(|(uid, gid)| ServerUser::Other { uid, gid })
            .ok_or(ScratchError::NoUser(name))
    }

    pub fn apply(self, command: &mut Command) {
        if let ServerUser::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
    }

    pub fn own(self, path: &Path) -> Result<(), ScratchError> {
        match self {
            ServerUser::Myself => Ok(()),
            ServerUser::Other { uid, gid } => {
                chown(path, Some(uid), Some(gid)).map_err(|cause| io_error("give away", path, cause))
            }
        }
    }
}

/// Shape of a line: name:password:uid:gid:comment:home:shell.
fn find_user(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// A word of the lower-case alphabet and digits: fit for file names, passwords and URLs.
pub fn random_word(characters: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = rand::rng();
    (0..characters)
        .map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]))
        .collect()
}

/// Makes `/tmp/countersign-XXXXXXXX`, which others may pass through but not list.
pub fn make_scratch_folder() -> Result<PathBuf, ScratchError> {
    let mut refused = io_error("write", Path::new("/tmp"), io::ErrorKind::NotFound.into());
    for parent in SCRATCH_PARENTS {
        let folder = Path::new(parent).join(format!("countersign-{}", random_word(8)));
        match DirBuilder::new().mode(0o711).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(cause) => refused = io_error("make", &folder, cause),
        }
    }
    Err(refused)
}

/// Runs a server's program in a clean environment: the caller's locale and variables are nobody's business here.
pub fn run_as(user: &ServerUser, name: &'static str, mut command: Command) -> Result<(), ScratchError> {
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null());
    user.apply(&mut command);
    let output = command.output().map_err(|cause| ScratchError::Io {
        what: format!("run {name}"),
        cause,
    })?;
    if output.status.success() {
        Ok(())
    } else {
        Err(program_failed(name, &output.stderr))
    }
}

pub fn free_port() -> Result<u16, ScratchError> {
    let found = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    found
        .map(|address| address.port())
        .map_err(|cause| ScratchError::Io {
            what: String::from("find a free port"),
            cause,
        })
}

/// Writes a file that only its owner can read.
pub fn write_secret(path: &Path, secret: &str) -> Result<(), ScratchError> {
    let written = fs::write(path, "")
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o600)))
        .and_then(|()| fs::write(path, secret));
    written.map_err(|cause| io_error("write", path, cause))
}

pub fn program_failed(program: &'static str, stderr: &[u8]) -> ScratchError {
    ScratchError::Program {
        program,
        output: String::from_utf8_lossy(stderr).trim().to_owned(),
    }
}

pub fn io_error(verb: &str, path: &Path, cause: io::Error) -> ScratchError {
    ScratchError::Io {
        what: format!("{verb} `{}`", path.display()),
        cause,
    }
}
