//! How a command ends: its exit code, and for an error a fact and a next step on stderr.
//! Never prints a result: results go to stdout, by the commands. Read `client.rs` next.

use std::process::ExitCode;

/// The exit codes, a stable interface (printed by `countersign --help`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    Error,
    Usage,
    VerificationFailed,
    NotSignedIn,
    NotPermitted,
    AlreadyDecided,
    Denied,
    Expired,
    StillPending,
}

/// For the end of `countersign --help`.
pub const EXIT_CODES_HELP: &str = "\
Exit codes: 0 done or approved, 1 error, 2 usage, 3 verification failed, 4 not signed in, 5 not permitted,
6 already decided or stale, 10 denied, 11 expired, 12 still pending.

Results go to stdout, messages to stderr. NO_COLOR turns colours off. Commands that decide or look at requests use
COUNTERSIGN_API_URL (default http://127.0.0.1:6480) and COUNTERSIGN_TOKEN, or COUNTERSIGN_TOKEN_FILE.";

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::VerificationFailed => 3,
            Self::NotSignedIn => 4,
            Self::NotPermitted => 5,
            Self::AlreadyDecided => 6,
            Self::Denied => 10,
            Self::Expired => 11,
            Self::StillPending => 12,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not do what it was asked to, and what the person can do now.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    pub exit: Exit,
    pub message: String,
    pub next_step: String,
}

impl CliError {
    pub fn new(exit: Exit, message: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            next_step: next_step.into(),
        }
    }

    pub fn error(message: impl std::fmt::Display, next_step: impl Into<String>) -> Self {
        Self::new(Exit::Error, message.to_string(), next_step)
    }

    pub fn usage(message: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message, next_step)
    }

    /// Prints it, and gives its exit code.
    pub fn report(&self) -> ExitCode {
        eprintln!("error: {}", self.message);
        if !self.next_step.is_empty() {
            eprintln!("hint: {}", self.next_step);
        }
        self.exit.into()
    }
}

impl From<crate::config::ConfigError> for CliError {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::error(&error, error.next_step())
    }
}
