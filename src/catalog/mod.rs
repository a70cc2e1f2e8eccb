//! What the upstream says of the names in a statement, read on a connection of its own, cached, and read again after DDL.
//! Never decides, and never answers from what it could not read: that is `NotKnown`, and so held.
//! Read `../sql/names.rs` for the words in which it answers, then `postgres/mod.rs`.

pub mod impact;
pub mod keeper;
pub mod keepers;
pub mod mysql;
pub mod plan;
pub mod postgres;
pub mod trusted;

pub use postgres::{CatalogError, ListedFunction, ListedFunctions, Listing, Unread};
