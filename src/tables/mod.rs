//! The log as tables: auditors open it with any client of PostgreSQL and read it with SQL.
//! Never changes anything, never takes an agent's credential, and answers no query that is not on record first.
//! Read `session.rs` (a client's messages), `translate/mod.rs` (SQL to SQL), `engine.rs` (what runs it), `schema.rs`.
//!
//! Why an engine of its own in memory: a query sees only what was loaded for it, so that nothing it does can reach the
//! store or the journal, and its limits are counted from zero each time.

mod catalog;
mod engine;
mod error;
mod format;
mod functions;
mod listen;
mod load;
mod login;
mod moment;
mod schema;
mod session;
mod spill;
mod statement;
mod translate;
mod types;

use std::net::SocketAddr;

pub use self::engine::Limits;
pub use self::listen::{Tables, TablesError, start};
use crate::proxy::ListenTls;

/// Where auditors connect, and what one query may take.
#[derive(Clone, Debug)]
pub struct Settings {
    pub address: SocketAddr,
    pub tls: ListenTls,
    pub limits: Limits,
}
