//! The room that reads bytes from strangers, as the proxy compiles it.

#[path = "../../src/wire/mod.rs"]
pub mod wire;
