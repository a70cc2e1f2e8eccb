//! A MySQL or MariaDB server's catalog: read whole on one connection into a `Snapshot`, which answers for every session.
//! Never asks the server about one statement; what its account is not allowed to see makes the whole read fail, because
//! `information_schema` leaves such things out without a word. Read `read.rs` next, then `snapshot.rs`.
//!
//! Why the account needs `SELECT, SHOW VIEW, TRIGGER ON *.*`: without them definitions are empty or missing.

pub mod about;
pub mod plan;
mod read;
mod rows;
mod snapshot;

pub use read::{Reader, Settings};
pub use snapshot::{Snapshot, UserFunction, View};
