//! What only the server knows of a session.
//! Never believes what a client's text says of it. Read `sight.rs` next.

use crate::sql::mysql_state::MysqlState;

/// What the server told of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The default schema; `None`: none is chosen.
    pub schema: Option<String>,
    /// What CURRENT_ROLE() says; empty where the server has no roles.
    pub role: String,
    /// How texts are read now.
    pub state: MysqlState,
    /// Grows with every change.
    pub revision: u64,
    /// It may have temporary tables: they hide others of their names, with and without a schema.
    pub has_own_objects: bool,
}
