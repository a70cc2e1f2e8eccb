//! The log on disk. Never decides what is logged. Read `writer.rs` next.

/// Cheap clone handle on the log's folder.
#[derive(Clone, Debug)]
pub struct Journal;
