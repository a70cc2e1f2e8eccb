//! The servers' own scanner rules, strict: what two readers could cut differently is refused here, before any of them.
//! Never decides what a statement does. Read `postgres.rs` and `mysql/mod.rs` next.

pub mod mysql;
pub mod postgres;
