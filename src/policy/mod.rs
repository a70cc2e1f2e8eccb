//! What the rules say of an action: allow, hold or deny, and on what terms. Ordered files, the first match decides, and
//! what no rule matches is held. Never looks at a clock or a socket. Read `rule.rs` next, then `evaluate.rs`.

pub mod evaluate;
pub mod load;
mod network;
mod places;
mod reach;
mod read;
mod requirement;
pub mod rule;
mod when;
mod window;

pub use evaluate::{Allowed, Verdict, evaluate};
pub use load::{RuleError, SHIPPED};
pub use places::Places;
pub use requirement::{Requirement, Term};
pub use rule::{Outcome, Risk, RuleName, RuleSet};
