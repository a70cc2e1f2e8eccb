//! `countersign demo` or `countersign serve` as a child process; ended when dropped.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use super::api::Api;
use super::server::{PROGRAM, Postgres};

/// What `countersign demo --json` prints.
#[derive(Debug, Clone, Deserialize)]
pub struct Sheet {
    #[serde(default)]
    pub postgres_url: String,
    #[serde(default)]
    pub admin_postgres_url: String,
    #[serde(default)]
    pub mysql_url: String,
    #[serde(default)]
    pub admin_mysql_url: String,
    pub api_url: String,
    #[serde(default)]
    pub auditor_url: String,
    #[serde(default)]
    pub web_url: String,
    /// For each person `person`, `roles` and `token`.
    #[serde(default)]
    pub log_ins: serde_json::Value,
    pub reviewer_token: String,
    pub second_reviewer_token: String,
    pub agent: String,
    pub data_dir: PathBuf,
}

/// A running `countersign demo --json`.
pub struct Demo {
    child: Process,
    pub sheet: Sheet,
}

impl Demo {
    /// In front of a server that the test has, so that the test can read that server's log.
    pub fn in_front_of(postgres: &Postgres) -> Self {
        Self::start(&["--upstream-postgres", &postgres.upstream_url()])
    }

    /// As `in_front_of`, with further environment variables.
    pub fn in_front_of_with(postgres: &Postgres, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["demo", "--json", "--upstream-postgres", &postgres.upstream_url()]);
        command.args(["--only", "postgres"]);
        command.envs(environment.iter().copied());
        Self::spawn(command)
    }

    /// With any arguments of `countersign demo` besides `--json`.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_as(arguments, Command::new(PROGRAM))
    }

    /// As `start`, by a command that runs countersign with the arguments that follow.
    pub fn start_as(arguments: &[&str], mut command: Command) -> Self {
        command.args(["demo", "--json"]).args(arguments);
        // A test in front of one server has nothing to ask of another.
        let has = |flag: &str| arguments.contains(&flag);
        for (named, other, only) in [
            ("--upstream-postgres", "--upstream-mysql", "postgres"),
            ("--upstream-mysql", "--upstream-postgres", "mysql"),
        ] {
            if has(named) && !has(other) && !has("--only") {
                command.args(["--only", only]);
            }
        }
        Self::spawn(command)
    }

    fn spawn(command: Command) -> Self {
        let mut child = Process::spawn(command);
        let line = child
            .next_line()
            .unwrap_or_else(|| panic!("the demo printed nothing: {}", child.messages()));
        let sheet = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("not the demo's line: {error}: {line}"));
        Demo { child, sheet }
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.child
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first reviewer's way to decide.
    pub fn reviewer(&self) -> Api {
        Api::new(&self.sheet.api_url, &self.sheet.reviewer_token)
    }

    pub fn second_reviewer(&self) -> Api {
        Api::new(&self.sheet.api_url, &self.sheet.second_reviewer_token)
    }

    /// A countersign command as the first reviewer.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments);
        command
            .env("COUNTERSIGN_API_URL", &self.sheet.api_url)
            .env("COUNTERSIGN_TOKEN", &self.sheet.reviewer_token);
        command
    }
}

/// A running `countersign serve --json`.
pub struct Serve {
    child: Process,
    /// Where agents connect: those of MySQL, where MySQL alone is served.
    pub listen: std::net::SocketAddr,
    pub mysql_listen: Option<std::net::SocketAddr>,
    /// Where auditors read the log by SQL.
    pub log_sql: Option<std::net::SocketAddr>,
    pub api_url: String,
}

impl Serve {
    /// `settings`: a whole settings file, written into `folder`.
    pub fn start(folder: &std::path::Path, settings: &str) -> Self {
        let file = folder.join("countersign.toml");
        std::fs::write(&file, settings).expect("the folder can be written");
        let mut command = Command::new(PROGRAM);
        command
            .current_dir(folder)
            .args(["serve", "--json", "--config"])
            .arg(file);
        let mut child = Process::spawn(command);
        let line = child
            .next_line()
            .unwrap_or_else(|| panic!("serve printed nothing: {}", child.messages()));
        let ready: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        let address = |key: &str| -> Option<std::net::SocketAddr> {
            Some(ready[key].as_str()?.parse().expect("an address"))
        };
        Serve {
            listen: address("listen").or(address("mysql_listen")).expect("an address"),
            mysql_listen: address("mysql_listen"),
            log_sql: address("log_sql"),
            api_url: format!("http://{}", address("api").expect("an address")),
            child,
        }
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.child
    }
}

/// A child whose output is read line by line and whose errors are kept. Ended with SIGTERM when dropped.
pub struct Process {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    messages: std::sync::Arc<std::sync::Mutex<String>>,
    /// Reads the messages until their end.
    reader: thread::JoinHandle<()>,
}

impl Process {
    pub fn spawn(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let stdout = child.stdout.take().expect("it is piped");
        let mut stderr = child.stderr.take().expect("it is piped");
        let (sender, lines) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody reads on when the test is over.
                let _ = sender.send(line);
            }
        });
        let messages = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let kept = std::sync::Arc::clone(&messages);
        let reader = thread::spawn(move || {
            let mut chunk = [0_u8; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut chunk) {
                kept.lock()
                    .expect("no panic holds it")
                    .push_str(&String::from_utf8_lossy(&chunk[..length]));
            }
        });
        Process {
            child,
            lines,
            messages,
            reader,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of standard output, or nothing if the child ends or a minute passes.
    pub fn next_line(&mut self) -> Option<String> {
        self.lines.recv_timeout(Duration::from_secs(60)).ok()
    }

    /// The next line that begins with one of these words; drivers print notices in between.
    pub fn next_line_of(&mut self, words: &[&str]) -> String {
        while let Some(line) = self.next_line() {
            if words.iter().any(|word| line.starts_with(word)) {
                return line;
            }
        }
        panic!(
            "ended without a line of {words:?}; its messages: {}",
            self.messages()
        );
    }

    /// Everything on standard error so far.
    pub fn messages(&self) -> String {
        self.messages.lock().expect("no panic holds it").clone()
    }

    pub fn take_stdin(&mut self) -> std::process::ChildStdin {
        self.child
            .stdin
            .take()
            .expect("standard input is piped and not yet taken")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the child can be signalled");
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the child can be asked").is_some()
    }

    /// Waits up to half a minute for its end, and for its last words.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if self.reader.is_finished()
                && let Some(status) = self.child.try_wait().expect("the child can be asked")
            {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "it does not end; its messages: {}",
                self.messages()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("messages of process {}:\n{}", self.id(), self.messages());
        }
        if self.child.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        // The child may end between the question and the signal; either way it is waited for.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
