//! A program on a terminal of its own, so that prompts, tab completion and Ctrl-C are real: `script` makes the terminal.

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};

use super::child::Process;

pub struct Terminal {
    process: Process,
    keys: ChildStdin,
    seen: String,
}

impl Terminal {
    /// Runs a line of shell in a folder, with further environment variables.
    pub fn open(line: &str, folder: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", line, "/dev/null"]);
        command.env("TERM", "dumb").envs(environment.iter().copied());
        command.current_dir(folder).stdin(Stdio::piped());
        let mut process = Process::spawn(command);
        let keys = process.take_stdin();
        Terminal {
            process,
            keys,
            seen: String::new(),
        }
    }

    pub fn type_in(&mut self, keys: &str) {
        self.keys
            .write_all(keys.as_bytes())
            .expect("the terminal takes keys");
    }

    /// Reads on until this text has been shown. A prompt without a line break is only seen with its next line.
    pub fn shows(&mut self, wanted: &str) {
        while !self.seen.contains(wanted) {
            let line = self.process.next_line();
            let line = line.unwrap_or_else(|| panic!("no `{wanted}` in:\n{}", self.seen));
            self.seen.push_str(&line);
            self.seen.push('\n');
        }
    }

    /// Everything it shows until it ends.
    pub fn ends(mut self) -> String {
        while let Some(line) = self.process.next_line() {
            self.seen.push_str(&line);
            self.seen.push('\n');
        }
        self.seen
    }
}
