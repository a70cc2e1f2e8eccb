//! What the rules say of an action: allow, hold or deny, and on what terms. Ordered files, the first match decides, and
//! what no rule matches is held. Never looks at a clock or a socket. Read `rule.rs` next, then `evaluate.rs`.

pub mod evaluate;
pub mod labels;
pub mod load;
mod network;
mod places;
mod reach;
mod read;
pub mod redaction;
mod requirement;
pub mod rule;
mod unfound;
mod when;
mod window;

pub use evaluate::{Allowed, Verdict, evaluate};
pub use labels::ColumnLabels;
pub use load::{RuleError, SHIPPED};
pub use network::Network;
pub use places::Places;
pub use redaction::Redaction;
pub use requirement::{Requirement, Term};
pub use rule::{Outcome, Risk, RuleName, RuleSet};
pub use unfound::Unfound;
