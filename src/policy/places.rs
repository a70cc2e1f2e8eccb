//! Places in a text file of rules or cases, for its mistakes.
//! Never reads a file. Read `load.rs` next.

use crate::policy::load::RuleError;

/// Where in a file something stands, for its mistakes.
#[derive(Clone, Copy)]
pub struct Places<'t> {
    pub text: &'t str,
    /// As errors name it.
    pub file: &'t str,
}

impl Places<'_> {
    pub fn error(&self, at: usize, message: impl Into<String>, next_step: impl Into<String>) -> RuleError {
        let before = self.text.get(..at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        RuleError {
            file: self.file.to_owned(),
            line: count(before.matches('\n').count() + 1),
            column: count(before[line_start..].chars().count() + 1),
            // A word that is shown may hold any letters, and each mistake is a line.
            message: message.into().replace(['\n', '\r'], " "),
            next_step: next_step.into(),
        }
    }

    pub fn syntax(&self, error: &toml::de::Error) -> RuleError {
        let message = error.message();
        let at = error.span().map_or(0, |span| span.start);
        let next_step = if message.contains("unknown field") {
            "correct the key, or remove it"
        } else {
            "correct the line; the file is TOML"
        };
        self.error(at, message, next_step)
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
