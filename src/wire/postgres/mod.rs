//! PostgreSQL's wire protocol, versions 3.0 and 3.2. Never relays anything by itself: the sockets are in `proxy`.
//! Read `frame.rs`, `startup.rs`, `message.rs`, `scram.rs`, then `conversation.rs`.

pub mod conversation;
pub mod frame;
pub mod message;
pub mod scram;
pub mod startup;
