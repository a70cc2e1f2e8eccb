//! Text to what it would do: read exactly, parsed by the server's own grammar, walked to the last node.
//! Never opens a socket, never asks a server; what it does not know is `Class::Unknown`.
//! Read `action.rs` next, then `parse.rs` and `classify/`.

pub mod action;
