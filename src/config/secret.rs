//! Secrets and the files they lie in. Never prints one, and reads a file only when it is asked for its secret.
//! Read `upstream.rs` and `catalog.rs` for whose they are.

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::ConfigError;

/// A secret or where it lies; never printed.
#[derive(Clone)]
pub enum Secret {
    File(PathBuf),
    Given(Zeroizing<String>),
    /// None needed: the server trusts this proxy.
    None,
}

impl Secret {
    /// The secret itself; of a file the text without its last line break.
    pub fn read(&self) -> Result<Zeroizing<String>, ConfigError> {
        match self {
            Self::None => Ok(Zeroizing::new(String::new())),
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(file) => {
                let text = std::fs::read_to_string(file).map_err(|error| ConfigError::Unreadable {
                    file: file.clone(),
                    error,
                })?;
                let text = Zeroizing::new(text);
                let line = text.strip_suffix('\n').unwrap_or(&text);
                Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
            }
        }
    }

    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(file),
            Self::Given(_) | Self::None => None,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "File({})", file.display()),
            Self::Given(_) => f.write_str("Given(…)"),
            Self::None => f.write_str("None"),
        }
    }
}
