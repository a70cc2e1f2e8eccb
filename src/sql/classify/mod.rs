//! Closed walks from a reader's tree to `Action`: a node without an answer makes the statement unknown.
//! Never trusts a name that is on no list. Read `postgres.rs` next.

pub mod lists;
pub mod mysql;
pub mod postgres;
