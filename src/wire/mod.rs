//! Bytes to messages and back. Never opens a socket, reads a clock or has an opinion.
//! Read `bytes.rs`, then `postgres/`.

pub mod bytes;
pub mod mysql;
pub mod postgres;
