//! Who is speaking, who may decide, and how a secret is recognised.
//! Never opens a file: records come from the store. Read `principal.rs` next, then `directory.rs`.

pub mod assurance;
pub mod behind;
pub mod certificate;
pub mod directory;
pub mod one_time;
pub mod password;
pub mod principal;
pub mod secret;
pub mod throttle;
