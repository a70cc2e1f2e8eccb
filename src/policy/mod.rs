//! What the rules say of a statement: allow, hold or deny.
//! Never opens a socket, never reads a clock. Read `rule.rs` next.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The name of a rule, as its file spells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleName(String);

impl RuleName {
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How much a mistake would cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    Low,
    Medium,
    High,
    Critical,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Allow,
    Hold,
    Deny,
}

/// What the rules say of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    outcome: Outcome,
    pub rule: RuleName,
    pub risk: Risk,
    /// Groups whose members may decide; empty: every approver.
    pub approvers: Vec<String>,
    pub approvals_needed: u32,
    pub wait: Option<Duration>,
    pub expires: Option<Duration>,
    pub reasons: Vec<String>,
}

/// Proof that the rules allowed a message; only this room makes one.
#[derive(Debug)]
pub struct Allowed {
    _made_here: (),
}

impl Verdict {
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// A hold that no rule asked for: something could not be decided.
    pub fn held_because(reason: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Hold,
            rule: RuleName::new("no-rule"),
            risk: Risk::High,
            approvers: vec!["approver".to_owned()],
            approvals_needed: 1,
            wait: None,
            expires: None,
            reasons: vec![reason.into()],
        }
    }

    pub fn allowed(&self) -> Option<Allowed> {
        (self.outcome == Outcome::Allow).then_some(Allowed { _made_here: () })
    }
}
