//! `countersign demo`: a scratch PostgreSQL with a sample shop, the proxy in front of it, and what to paste.
//!
//! Never leaves a server behind, and never touches one that it did not start. Read `postgres.rs` next.

pub mod postgres;
pub mod shop;
pub mod watchdog;
