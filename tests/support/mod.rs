//! Starts what tests need: a scratch PostgreSQL with the sample shop, `countersign demo` in front of it, an API client.
//!
//! Never skips: a missing server fails the run. Each test starts its own server from a template that the first one made
//! under `target/`, so that a start costs a tenth of a second. Read `server.rs` next.

#![allow(
    dead_code,
    reason = "each test file compiles this for itself and uses a part of it"
)]

pub mod api;
pub mod child;
pub mod house;
pub mod house_mysql;
pub mod mariadb;
pub mod mysql_answer;
pub mod mysql_wire;
pub mod pooler;
pub mod server;
pub mod terminal;
pub mod treatment;
pub mod wire;
