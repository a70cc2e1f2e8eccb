//! The desk's moves, driven with an explicit `now` so that time and order can be simulated.
//! Never waits, never spawns. Read `waiters.rs` next.

/// Everything the desk thread owns.
pub struct Core;
