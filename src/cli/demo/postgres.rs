//! A scratch PostgreSQL: a free loopback port, random passwords, a folder that goes with the process.
//!
//! Never touches a server or a cluster that it did not make, and never needs a fixed port. `watchdog.rs` ends the server;
//! read `scratch.rs` for what it shares with `mariadb.rs`.

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

/// The superuser of a scratch server.
pub const SUPERUSER: &str = "postgres";

/// The superuser's password, beside a template's cluster.
const PASSWORD_FILE: &str = "superuser-password";

/// How to start one.
#[derive(Debug, Clone)]
pub struct ScratchSettings {
    /// The countersign binary, which is started once more as the watchdog.
    pub program: PathBuf,
    /// Lines of `postgresql.conf` besides the ones that every scratch server gets.
    pub configuration: Vec<(String, String)>,
    /// A cluster made before by `ScratchServer::save_as_template`, copied instead of running initdb.
    pub template: Option<PathBuf>,
    /// Folder of `postgres`, `initdb` and `pg_ctl`, if it is not to be the newest version that is installed.
    pub server_programs: Option<PathBuf>,
}

/// A running scratch server. Dropping it ends it and removes its folder.
#[derive(Debug)]
pub struct ScratchServer {
    watchdog: Watchdog,
    server_programs: PathBuf,
    client_programs: PathBuf,
    folder: PathBuf,
    port: u16,
    superuser_password: String,
}

impl ScratchServer {
    /// Makes the cluster (or copies the template), starts the server and waits until it answers.
    pub fn start(settings: &ScratchSettings) -> Result<Self, ScratchError> {
        let programs = find_binaries().ok_or(ScratchError::NoPostgres)?;
        let user = ServerUser::choose(SUPERUSER)?;
        let mut last = ScratchError::NotStarted {
            log: String::from("no free port"),
        };
        for _ in 0..PORT_ATTEMPTS {
            match Self::attempt(settings, &programs, &user) {
                Ok(server) => return Ok(server),
                Err(error @ ScratchError::NotStarted { .. }) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn attempt(settings: &ScratchSettings, programs: &Path, user: &ServerUser) -> Result<Self, ScratchError> {
        let binaries = settings.server_programs.as_deref().unwrap_or(programs);
        let folder = make_scratch_folder()?;
        let made = make_cluster(settings, binaries, user, &folder);
        let superuser_password = made.inspect_err(|_| drop(fs::remove_dir_all(&folder)))?;
        let port = free_port()?;
        let command = server_command(settings, binaries, &folder, port);
        let watchdog =
            Watchdog::start(&settings.program, &folder, &command).map_err(|cause| ScratchError::Io {
                what: String::from("start the watchdog"),
                cause,
            })?;
        let mut server = ScratchServer {
            watchdog,
            server_programs: binaries.to_owned(),
            client_programs: programs.to_owned(),
            folder,
            port,
            superuser_password,
        };
        server.wait_until_ready()?;
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

    /// Folder of `psql`, `pg_dump` and the like, of the newest version that is installed.
    pub fn client_programs(&self) -> &Path {
        &self.client_programs
    }

    /// Folder of `postgres` and `initdb`.
    pub fn server_programs(&self) -> &Path {
        &self.server_programs
    }

    /// What the server itself has written to its log.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.folder.join(LOG_FILE)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Connection string for a role. Passwords are URL-safe where this module or the demo made them.
    pub fn url(&self, role: &str, password: &str, database: &str) -> String {
        format!(
            "postgresql://{role}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// Connection string of the superuser.
    pub fn superuser_url(&self, database: &str) -> String {
        self.url(SUPERUSER, &self.superuser_password, database)
    }

    /// Runs a script with psql, stopping at its first error.
    pub fn run_script(&self, url: &str, script: &str) -> Result<(), ScratchError> {
        let mut psql = Command::new(self.client_programs.join("psql"));
        psql.args([
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--dbname",
            url,
            "--file=-",
        ]);
        psql.env("PGCLIENTENCODING", "UTF8").current_dir("/");
        psql.stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let failed = |cause| ScratchError::Io {
            what: String::from("run psql"),
            cause,
        };
        let mut child = psql.spawn().map_err(failed)?;
        let fed = child
            .stdin
            .take()
            .map(|mut stdin| stdin.write_all(script.as_bytes()));
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            return Err(program_failed("psql", &output.stderr));
        }
        fed.transpose().map_err(failed).map(drop)
    }

    /// Whether the server has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.watchdog.has_ended() || self.folder.join(ENDED_FILE).exists()
    }

    /// Shuts the server down cleanly and copies its cluster, so that later servers start from it.
    ///
    /// Several processes may do this at once: the first one's template stays.
    /// `secrets` are file names and contents to keep beside the cluster, such as the passwords of its roles.
    pub fn save_as_template(self, template: &Path, secrets: &[(&str, &str)]) -> Result<(), ScratchError> {
        let data = self.folder.join("data");
        self.shut_down_cleanly(&data)?;
        let copy = template.with_extension(random_word(6));
        fs::create_dir_all(&copy).map_err(|cause| io_error("make", &copy, cause))?;
        copy_folder(&data, &copy.join("data"))?;
        for (name, secret) in [(PASSWORD_FILE, self.superuser_password.as_str())]
            .iter()
            .chain(secrets)
        {
            write_secret(&copy.join(name), secret)?;
        }
        if fs::rename(&copy, template).is_err() {
            fs::remove_dir_all(&copy).map_err(|cause| io_error("remove", &copy, cause))?;
        }
        Ok(())
    }

    fn shut_down_cleanly(&self, data: &Path) -> Result<(), ScratchError> {
        let mut command = Command::new(self.server_programs.join("pg_ctl"));
        command
            .args(["stop", "--mode=fast", "--wait", "--silent", "--pgdata"])
            .arg(data);
        run_as(&ServerUser::choose(SUPERUSER)?, "pg_ctl", command)
    }

    fn wait_until_ready(&mut self) -> Result<(), ScratchError> {
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
        while !self.says_ready() {
            if self.has_ended() || Instant::now() > deadline {
                return Err(ScratchError::NotStarted { log: self.log() });
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The postmaster keeps its state in line 8 of its lock file.
    fn says_ready(&self) -> bool {
        let lock_file = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
        lock_file
            .lines()
            .nth(7)
            .is_some_and(|state| state.trim() == "ready")
    }
}

/// The folder of `postgres` and `initdb`, the newest version first.
fn find_binaries() -> Option<PathBuf> {
    let mut folders = debian_folders();
    folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    folders.extend(folder_of_pg_config());
    folders.into_iter().find(|folder| {
        ["initdb", "postgres"]
            .iter()
            .all(|name| folder.join(name).is_file())
    })
}

fn debian_folders() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut folders: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .collect();
    folders.sort();
    folders.into_iter().rev().map(|(_, folder)| folder).collect()
}

fn folder_of_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

/// Fills `folder/data` and `folder/socket`; gives the superuser's password.
fn make_cluster(
    settings: &ScratchSettings,
    binaries: &Path,
    user: &ServerUser,
    folder: &Path,
) -> Result<String, ScratchError> {
    for name in ["data", "socket"] {
        let path = folder.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|cause| io_error("make", &path, cause))?;
        user.own(&path)?;
    }
    let Some(template) = &settings.template else {
        return run_initdb(binaries, user, folder);
    };
    copy_folder(&template.join("data"), &folder.join("data"))?;
    let file = template.join(PASSWORD_FILE);
    fs::read_to_string(&file).map_err(|cause| io_error("read", &file, cause))
}

fn run_initdb(binaries: &Path, user: &ServerUser, folder: &Path) -> Result<String, ScratchError> {
    let password = random_word(24);
    let password_file = folder.join("data.password");
    write_secret(&password_file, &password)?;
    user.own(&password_file)?;
    let initdb = |locale: &str| {
        let mut command = Command::new(binaries.join("initdb"));
        command.args([
            "--username",
            SUPERUSER,
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-sync",
        ]);
        command
            .args(["--no-instructions", "--lc-messages=C"])
            .arg(format!("--locale={locale}"));
        command
            .arg("--pwfile")
            .arg(&password_file)
            .arg("--pgdata")
            .arg(folder.join("data"));
        run_as(user, "initdb", command)
    };
    // A C library without C.UTF-8 is rare, but then the encoding alone has to do.
    initdb("C.UTF-8").or_else(|_| initdb("C"))?;
    fs::remove_file(&password_file).map_err(|cause| io_error("remove", &password_file, cause))?;
    Ok(password)
}

fn server_command(settings: &ScratchSettings, binaries: &Path, folder: &Path, port: u16) -> Vec<OsString> {
    let mut command = vec![binaries.join("postgres").into_os_string(), OsString::from("-D")];
    command.push(folder.join("data").into_os_string());
    let own = [
        ("listen_addresses", String::from("127.0.0.1")),
        ("port", port.to_string()),
        (
            "unix_socket_directories",
            folder.join("socket").display().to_string(),
        ),
        // A scratch cluster is never worth a wait for the disk.
        ("fsync", String::from("off")),
        ("full_page_writes", String::from("off")),
        ("timezone", String::from("UTC")),
    ];
    let added = settings
        .configuration
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()));
    for (name, value) in own.into_iter().chain(added) {
        command.extend([OsString::from("-c"), OsString::from(format!("{name}={value}"))]);
    }
    command
}

/// `cp` keeps owner and mode, and shares blocks where the file system can.
fn copy_folder(from: &Path, to: &Path) -> Result<(), ScratchError> {
    let output = Command::new("cp")
        .args(["--archive", "--reflink=auto", "--no-target-directory"])
        .args([from, to])
        .output()
        .map_err(|cause| ScratchError::Io {
            what: String::from("run cp"),
            cause,
        })?;
    if output.status.success() {
        Ok(())
    } else {
        Err(program_failed("cp", &output.stderr))
    }
}
