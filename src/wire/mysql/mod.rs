//! The MySQL client/server protocol, as MySQL and MariaDB speak it: bytes to messages and back.
//! Never opens a socket, never judges. Read `bytes.rs`, `packet.rs`, `handshake.rs`, `auth.rs`, `command.rs`, `parameter.rs`,
//! `execute.rs`, `answer.rs`, `session_track.rs`, `rows.rs`, then `conversation.rs`.

pub mod answer;
pub mod auth;
pub mod bytes;
pub mod capability;
pub mod command;
pub mod conversation;
pub mod execute;
pub mod handshake;
pub mod packet;
pub mod parameter;
pub mod rows;
pub mod session_track;
