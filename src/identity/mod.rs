//! Who is speaking. Never opens a file: records come from the store. Read `principal.rs` next.

pub mod principal;
