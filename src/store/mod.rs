//! Keeps requests, decisions, grants, people and agents. Never keeps the log: that is `journal`.
//! Read `sqlite.rs` next.

pub mod sqlite;
