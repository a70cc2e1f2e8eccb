//! Ends a scratch server and removes its folder when the process that wanted it is gone, however it went.
//!
//! Never outlives its parent: it is this program once more (hidden command `demo-watchdog`), in a process group of its
//! own, and its standard input is a pipe that the parent holds open. Read `postgres.rs` next.
//!
//! Why a process and not a handler: after SIGKILL nobody runs code in the parent; the kernel closes its end of the pipe
//! all the same.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Written into the folder when the server has ended by itself; the folder stays until the parent has seen it.
pub const ENDED_FILE: &str = "server-ended";

/// The hidden command's name on the command line.
pub const COMMAND: &str = "demo-watchdog";

/// Part of util-linux. It becomes the server, so the process id stays the same.
const SETPRIV: &str = "/usr/bin/setpriv";

/// How long a server may take for an immediate shutdown before it is killed.
const SHUTDOWN_SECONDS_MAX: u64 = 10;

/// Arguments of the hidden command.
#[derive(Debug, clap::Args)]
pub struct WatchdogArgs {
    /// Folder to remove at the end
    folder: PathBuf,
    /// Server to run meanwhile, with its arguments; it runs as the owner of FOLDER/data
    #[arg(last = true)]
    server: Vec<OsString>,
}

/// A running watchdog. Dropping it ends the server and removes the folder, and waits until both are done.
#[derive(Debug)]
pub struct Watchdog {
    child: Child,
}

impl Watchdog {
    /// Starts `program demo-watchdog folder -- server`. `program` is the countersign binary.
    pub fn start(program: &Path, folder: &Path, server: &[OsString]) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg(COMMAND).arg(folder).arg("--").args(server);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Ctrl-C in a terminal goes to the whole foreground group: the parent answers it, the watchdog follows.
        command.process_group(0);
        Ok(Watchdog {
            child: command.spawn()?,
        })
    }

    /// Whether the watchdog could not even start its server.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // Nothing can be done about a watchdog that cannot be waited for: it is gone already.
        let _ = self.child.wait();
    }
}

/// The watchdog's own side: run the server until it ends or the parent does.
pub fn run(args: &WatchdogArgs) -> ExitCode {
    let outcome = if args.server.is_empty() {
        wait_for_parent()
    } else {
        guard(args)
    };
    let removed = fs::remove_dir_all(&args.folder);
    if outcome.is_ok() && removed.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

enum End {
    ParentGone,
    ServerGone(io::Result<ExitStatus>),
}

fn guard(args: &WatchdogArgs) -> io::Result<()> {
    let mut server = spawn_server(args)?;
    let pid = Pid::from_child(&server);
    let (ends, end) = mpsc::channel();
    let parent = ends.clone();
    thread::spawn(move || tell_when_parent_is_gone(&parent));
    thread::spawn(move || drop(ends.send(End::ServerGone(server.wait()))));
    match end.recv() {
        Ok(End::ServerGone(status)) => say_ended_and_wait(&args.folder, status?, &end),
        Ok(End::ParentGone) | Err(_) => shut_down(pid, &end),
    }
}

fn say_ended_and_wait(folder: &Path, status: ExitStatus, end: &Receiver<End>) -> io::Result<()> {
    fs::write(folder.join(ENDED_FILE), status.to_string())?;
    // An error means that the thread which reads the pipe is gone, and so is the reason to wait.
    let _ = end.recv();
    Ok(())
}

fn wait_for_parent() -> io::Result<()> {
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}

fn tell_when_parent_is_gone(ends: &Sender<End>) {
    let mut ignored = [0_u8; 64];
    while matches!(io::stdin().read(&mut ignored), Ok(1..)) {}
    // The receiver is gone only when the server is, and then there is nothing left to end.
    let _ = ends.send(End::ParentGone);
}

/// An immediate shutdown: the folder is about to go, so nothing is worth writing.
fn shut_down(pid: Pid, end: &Receiver<End>) -> io::Result<()> {
    kill_process(pid, Signal::QUIT)?;
    if end
        .recv_timeout(Duration::from_secs(SHUTDOWN_SECONDS_MAX))
        .is_err()
    {
        kill_process(pid, Signal::KILL)?;
    }
    Ok(())
}

/// The program, run so that the kernel shuts it down when this very process is killed: whoever ends every process named
/// countersign ends the watchdog too. `setpriv` belongs to every Linux; where it is not, the pipe alone must do.
fn tied_to_this_process(program: &OsStr) -> Command {
    if !Path::new(SETPRIV).exists() {
        return Command::new(program);
    }
    let mut command = Command::new(SETPRIV);
    command.args(["--pdeathsig", "QUIT", "--"]).arg(program);
    command
}

fn spawn_server(args: &WatchdogArgs) -> io::Result<Child> {
    let [program, arguments @ ..] = args.server.as_slice() else {
        return Err(io::Error::other("no server to run"));
    };
    let log = File::options()
        .create(true)
        .append(true)
        .open(args.folder.join(super::scratch::LOG_FILE))?;
    let owner = fs::metadata(args.folder.join("data"))?;
    let mut command = tied_to_this_process(program);
    command.args(arguments).current_dir(&args.folder).process_group(0);
    // The caller's locale and PG variables are nobody's business here.
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    if rustix::process::geteuid().is_root() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    command.spawn()
}
