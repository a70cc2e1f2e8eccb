//! Why the settings cannot be used: what is wrong where, and what to do. Never names a secret.
//! Read `reader.rs` for where complaints come from.

use std::path::PathBuf;

use super::reader::Complaint;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read `{}`: {error}", file.display())]
    Unreadable { file: PathBuf, error: std::io::Error },
    #[error("{}", complaints_text(.0))]
    Wrong(Vec<Complaint>),
}

impl ConfigError {
    pub fn next_step(&self) -> String {
        match self {
            Self::Unreadable { .. } => "name the file with --config, and let this user read it".to_owned(),
            Self::Wrong(complaints) => match complaints.as_slice() {
                [one] => one.next_step.clone(),
                _ => "mend these lines, then try `countersign check`".to_owned(),
            },
        }
    }
}

/// One complaint a line; with several, each carries its own next step.
fn complaints_text(complaints: &[Complaint]) -> String {
    match complaints {
        [one] => one.to_string(),
        many => {
            let lines: Vec<String> = many
                .iter()
                .map(|complaint| format!("{complaint} ({})", complaint.next_step))
                .collect();
            lines.join("\n")
        }
    }
}
