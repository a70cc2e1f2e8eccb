//! Why a query of the log gets no rows: SQLSTATE, sentence and next step. Never holds a secret or a path.
//! Read `../wire/postgres/message.rs` for how it is sent.

use crate::wire::postgres::message::Fields;

/// An error as PostgreSQL's clients know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    pub sqlstate: &'static str,
    pub message: String,
    pub hint: String,
}

/// The SQLSTATEs that are said here.
/// Source: PostgreSQL docs, errcodes-appendix.html
pub mod state {
    pub const PROTOCOL_VIOLATION: &str = "08P01";
    pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
    pub const OUT_OF_RANGE: &str = "22003";
    pub const DIVISION_BY_ZERO: &str = "22012";
    pub const BAD_TEXT: &str = "22P02";
    pub const BAD_PARAMETER: &str = "22023";
    pub const BAD_BINARY: &str = "22P03";
    pub const BAD_DATETIME: &str = "22007";
    pub const READ_ONLY: &str = "25006";
    pub const FAILED_TRANSACTION: &str = "25P02";
    pub const NO_STATEMENT: &str = "26000";
    pub const BAD_AUTHORIZATION: &str = "28000";
    pub const BAD_PASSWORD: &str = "28P01";
    pub const NO_CURSOR: &str = "34000";
    pub const NO_DATABASE: &str = "3D000";
    pub const NOT_ALLOWED: &str = "42501";
    pub const SYNTAX: &str = "42601";
    pub const NO_COLUMN: &str = "42703";
    pub const GROUPING: &str = "42803";
    pub const TYPES_DIFFER: &str = "42804";
    pub const NO_FUNCTION: &str = "42883";
    pub const NO_OBJECT: &str = "42704";
    pub const NO_TABLE: &str = "42P01";
    pub const NO_PARAMETER: &str = "42P02";
    pub const AMBIGUOUS: &str = "42702";
    pub const TOO_MANY_CONNECTIONS: &str = "53300";
    pub const DISK_LIMIT: &str = "53400";
    pub const TOO_MUCH: &str = "54000";
    pub const CANCELLED: &str = "57014";
    pub const LOG_UNAVAILABLE: &str = "58030";
    pub const INTERNAL: &str = "XX000";
}

impl SqlError {
    pub fn new(sqlstate: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            sqlstate,
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// What is understood, and not served.
    pub fn unsupported(what: impl AsRef<str>) -> Self {
        Self::new(
            state::FEATURE_NOT_SUPPORTED,
            format!("{} is not served here", what.as_ref()),
            "docs/sql.md lists what queries of the log can use",
        )
    }

    /// As the message that carries it.
    pub fn fields(&self, severity: &str) -> Fields {
        Fields {
            severity: severity.to_owned(),
            sqlstate: self.sqlstate.to_owned(),
            message: self.message.clone(),
            hint: self.hint.clone(),
            ..Fields::default()
        }
    }
}
