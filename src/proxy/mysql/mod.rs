//! MySQL and MariaDB: one client and its server connection, from the first byte to the last.
//! Never judges and never decides: it asks `sql`, `policy` and `desk`, and forwards what holds a permit.
//! Read `facts.rs`, then `sight.rs`.

pub mod facts;
pub mod sight;
