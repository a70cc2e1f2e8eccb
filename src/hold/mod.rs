//! The life of a parked statement, as pure moves: held, decided, claimed, run at most once.
//! Never opens a file, reads a clock or draws a random number. Read `lifecycle.rs` next.

mod digest;
mod grant;
pub mod guard;
mod lifecycle;
pub mod message;
mod permit;
mod remark;
mod request;
mod review;
mod run;
mod standing;

pub use digest::{Digest, DigestBuilder};
pub use grant::{Changed, Presented, compare};
pub use guard::{Guards, NotGuarded};
pub use lifecycle::{Event, IllegalMove, Ran, State, StateKind, step};
pub use permit::{Claimed, Covered, Permit, claim, cover};
pub use remark::{Remark, RemarkKind, Speaker};
pub use request::{
    Approval, Authority, ClaimId, Delegation, HeldRequest, HeldStatement, Need, Owner, Parameter,
    ParameterFormat, READ_AS, RequestId, TEMPORARY_TABLES, Transaction, length_class, masked,
    withheld_by_their_words, withheld_words,
};
pub use review::{Finding, Review, Signature};
pub use run::{CLASSES as RUN_CLASSES, InRun, RunBounds, RunCovers, RunParts, Touches, VERBS as RUN_VERBS};
pub use standing::{
    CoveredBy, Maker, NotOpen, Reach, Shape, ShapeParts, Standing, StandingEnd, StandingGrant,
    StandingGrantId, StandingKind, Terms, statements_of,
};
