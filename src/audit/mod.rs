//! What happened, in order, in bytes that two programs write alike.
//! Never opens a file and never reads the clock: the journal does both.
//! Read `entry.rs` next (what is written), then `record.rs` (what is read back) and `merkle.rs` (what binds it).

pub mod checkpoint;
pub mod entry;
pub mod merkle;
pub mod record;
#[cfg(test)]
mod tests;
pub mod value;

pub use entry::{
    Attempt, Body, Entry, Kind, LanePosition, OutcomeKind, ParameterRecord, Seal, StatementOutcome,
};
pub use entry::{
    GrantEvent, GrantUse, NotificationEvent, PersonsDecision, Pruning, RulesChange, SignIn,
    TransactionOutcome,
};
pub use record::{Claim, Fields, Malformed, Parameter, Record, RecordId};

/// The word that an attempt needs from `sql`.
pub use crate::sql::action::Class;
