//! Text to what it would do: read exactly, parsed by the server's own grammar, walked to the last node.
//! Never opens a socket, never asks a server; what it does not know is `Class::Unknown`.
//! Read `action.rs` next, then `parse.rs` and `classify/`.

pub mod action;
pub mod bound;
pub mod classify;
pub mod doubt;
pub mod lex;
pub mod lock;
pub mod mysql;
pub mod mysql_state;
pub mod names;
pub mod parse;
mod seen;
pub mod statement;
mod template;

pub use mysql::judge_mysql;
pub use parse::judge_postgres;
pub use template::template;

/// Texts longer than this must be judged on a parser thread; shorter ones may be judged in place by a thread with a
/// stack of 64 MiB. A hand-off per new text would double the proxy's cost.
pub const IN_PLACE_BYTES_MAX: usize = 16 << 10;
/// Longer texts are not parsed: `Unknown`. Bounds the time that one text can take.
pub const PARSE_BYTES_MAX: usize = 256 << 10;
/// Longer texts are refused by the proxy: more than a reviewer can read.
pub const STATEMENT_BYTES_MAX: usize = 1 << 20;
