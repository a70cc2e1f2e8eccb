//! The MySQL client/server protocol, as MySQL and MariaDB speak it: bytes to messages and back.
//! Never opens a socket, never judges. Read `packet.rs` first, then `handshake.rs`, `message.rs`, `conversation.rs`.

pub mod auth;
pub mod capability;
pub mod handshake;
pub mod packet;
