//! Where results go: stdout, as text for people or as JSON for programs. Never prints a message: those go to stderr.

use std::io::Write as _;

use serde::Serialize;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Text,
    Json,
}

impl Output {
    pub fn is_json(self) -> bool {
        self == Self::Json
    }

    /// One line of JSON.
    pub fn json(self, value: &impl Serialize) {
        let line = serde_json::to_string(value).expect("results are maps with text keys");
        self.text(&line);
    }

    /// Text, with a line break if it has none.
    pub fn text(self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        let end = if text.ends_with('\n') { "" } else { "\n" };
        // A reader that has gone (`| head`) wants no more: the command ends quietly.
        if write!(stdout, "{text}{end}")
            .and_then(|()| stdout.flush())
            .is_err()
        {
            std::process::exit(0);
        }
    }

    /// The value for programs, or the text for people.
    pub fn either(self, value: &impl Serialize, text: impl FnOnce() -> String) {
        match self {
            Self::Json => self.json(value),
            Self::Text => self.text(&text()),
        }
    }
}
