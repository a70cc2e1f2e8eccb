//! The one renderer of statement text, for pages, terminals and messages: nothing invisible, nothing cut, nothing obeyed.
//! Never prints a statement from its parse: what is shown are the statement's own bytes, with white space added at most.
//! Read `hidden.rs` next, then `statement.rs`.

mod hidden;
mod layout;
mod risky;
mod script;
mod statement;
mod words;

pub use hidden::{visible, visible_bytes, visible_line};
pub use statement::{Layout, Line, Mark, Piece, Reading, Statement, Value};
