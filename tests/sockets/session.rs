//! A recorded session, as `record.py` writes it: what a real client said, and the messages that it had got before.
//!
//! Never holds a secret: log-in is made anew for every run. Read `replay.rs` next.

use std::fmt;
use std::path::Path;

use countersign::wire::postgres::frame::put;

/// What a recording has where a run's own number goes.
const PLACE: &str = "run 00000";

/// One replay of a session. Shown as in statements, `run 00042`, always of the same length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunNumber(pub u32);

impl fmt::Display for RunNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {:05}", self.0)
    }
}

impl RunNumber {
    pub fn find_in(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let at = text.find("run ")?;
        text.get(at + 4..at + 9)?.parse().ok().map(Self)
    }
}

#[derive(Clone, Debug)]
pub enum Step {
    /// Frames that the client sends in one go.
    Send(Vec<u8>),
    /// Types of the messages that come before the client goes on.
    Await(String),
    /// A CancelRequest on a connection of its own.
    Cancel,
}

#[derive(Clone, Debug)]
pub struct Session {
    pub name: String,
    /// Whether the client asks for TLS first, and is told that there is none.
    pub asks_for_tls: bool,
    /// Start-up parameters besides user and database.
    pub parameters: Vec<(String, String)>,
    pub steps: Vec<Step>,
}

impl Session {
    /// All recordings, by name.
    pub fn read_all() -> Vec<Self> {
        let folder = Path::new("tests/sockets/sessions");
        let files = std::fs::read_dir(folder).expect("the recordings are there");
        let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("a recording is text");
        let name = path
            .file_stem()
            .expect("it has a name")
            .to_string_lossy()
            .into_owned();
        let mut session = Session {
            name,
            asks_for_tls: false,
            parameters: Vec::new(),
            steps: Vec::new(),
        };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            session.read_line(line);
        }
        session
    }

    fn read_line(&mut self, line: &str) {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        match mark {
            "ssl" => self.asks_for_tls = true,
            "=" => {
                let (name, value) = rest.split_once(' ').expect("a name and a value");
                self.parameters.push((name.to_owned(), value.to_owned()));
            }
            ">" => {
                let (tag, body) = rest.split_at(1);
                let frames = self.frames_to_add_to();
                put(frames, tag.as_bytes()[0], |out| {
                    out.extend(unescaped(body.strip_prefix(' ').unwrap_or(body)))
                });
            }
            "<" => self.steps.push(Step::Await(rest.to_owned())),
            "cancel" => self.steps.push(Step::Cancel),
            _ => panic!("{}: not a line of a recording: {line}", self.name),
        }
    }

    fn frames_to_add_to(&mut self) -> &mut Vec<u8> {
        if !matches!(self.steps.last(), Some(Step::Send(_))) {
            self.steps.push(Step::Send(Vec::new()));
        }
        match self.steps.last_mut() {
            Some(Step::Send(frames)) => frames,
            _ => unreachable!("pushed above"),
        }
    }

    /// Its frames with a run's number in them.
    pub fn steps_of(&self, run: RunNumber) -> Vec<Step> {
        let filled = |step: &Step| match step {
            Step::Send(frames) => Step::Send(fill(frames, run)),
            other => other.clone(),
        };
        self.steps.iter().map(filled).collect()
    }

    pub fn parameters_of(&self, run: RunNumber) -> Vec<(String, String)> {
        let filled =
            |(name, value): &(String, String)| (name.clone(), value.replace(PLACE, &run.to_string()));
        self.parameters.iter().map(filled).collect()
    }
}

fn fill(frames: &[u8], run: RunNumber) -> Vec<u8> {
    let mut filled = frames.to_vec();
    let number = run.to_string();
    for at in 0..frames.len().saturating_sub(PLACE.len() - 1) {
        if frames[at..].starts_with(PLACE.as_bytes()) {
            filled[at..at + PLACE.len()].copy_from_slice(number.as_bytes());
        }
    }
    filled
}

/// `\x` and two digits stand for a byte that is not printable, or a backslash.
fn unescaped(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
        bytes.extend(rest.as_bytes());
    }
    bytes
}
