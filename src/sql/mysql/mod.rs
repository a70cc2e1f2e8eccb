//! From the bytes of a MySQL or MariaDB text to a judgement.
//! Never panics and never aborts, whatever the bytes are; what it cannot read is `Unknown`. Read `read.rs` next.

mod dialect;
mod plain;
pub mod read;
pub mod secret;
