//! A rule: its conditions and what it says. All conditions that are given must hold; inside one, any word of the list.
//! Never evaluates itself against a clock of its own. Read `load.rs` next.
//!
//! Why lists mean two things: a rule that *allows* must cover everything a statement touches, so every table, column and
//! function must be on its list; a rule that holds or denies speaks as soon as one of them is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::network::Network;
use crate::policy::requirement::Requirement;
use crate::policy::when::Condition;
use crate::policy::window::Window;
use crate::sql::action::{Breadth, Class};
use crate::sql::mysql_state::folded;

/// The name of a rule, as people see it in verdicts and in the log.
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

/// How bad it would be to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    Low,
    Medium,
    High,
    Critical,
}

/// What a rule says. The later, the stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Allow,
    Hold,
    Deny,
}

impl Outcome {
    /// As rules, log and API spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Hold => "hold",
            Self::Deny => "deny",
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Hold => "hold",
            Self::Deny => "deny",
        })
    }
}

/// Rules in order, and the file they came from.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// SHA-256 of the file.
    pub generation: [u8; 32],
    /// Where it came from, for people.
    pub file: String,
    /// What stands in it.
    pub text: Arc<str>,
    pub(super) rules: Vec<Rule>,
}

impl RuleSet {
    /// Whether a verdict can change with the time alone, so that it may not be remembered.
    pub fn changes_with_time(&self) -> bool {
        let asks = |condition: &Condition| condition.asks_for_time();
        self.rules
            .iter()
            .any(|rule| rule.window.is_some() || rule.condition.as_ref().is_some_and(asks))
    }

    /// The names of its rules, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.name.as_str())
    }

    /// The names of rules that ask what only a catalog knows: sizes, or what stands behind a view.
    pub fn asking_a_catalog(&self) -> impl Iterator<Item = &str> {
        let asks = |condition: &Condition| condition.asks_a_catalog();
        self.rules
            .iter()
            .filter(move |rule| {
                rule.rows_over.is_some()
                    || rule.rows_up_to.is_some()
                    || !rule.tables.is_empty()
                    || rule.condition.as_ref().is_some_and(asks)
            })
            .map(|rule| rule.name.as_str())
    }

    pub fn len(&self) -> usize {
        self.rules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// One rule. `None` and empty conditions are not asked.
#[derive(Clone, Debug)]
pub struct Rule {
    pub name: RuleName,
    /// Line of the rule in its file.
    pub line: u32,
    pub classes: Vec<Class>,
    pub breadth: Option<Breadth>,
    pub verbs: Vec<String>,
    pub tables: Vec<Pattern>,
    pub columns: Vec<String>,
    pub functions: Vec<Pattern>,
    pub databases: Vec<String>,
    pub principals: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub networks: Vec<Network>,
    pub window: Option<Window>,
    /// A table is taken whole and has more rows. Not known is not more.
    pub rows_over: Option<u64>,
    /// A table is taken whole and has at most so many rows. Not known is too many.
    pub rows_up_to: Option<u64>,
    pub condition: Option<Condition>,
    pub outcome: Outcome,
    pub risk: Risk,
    /// Whose approvals it takes; nobody's where nothing is held.
    pub requirement: Requirement,
    /// The groups that decide once it was escalated; empty: it cannot be.
    pub escalate_to: Vec<String>,
    pub wait: Option<Duration>,
    pub expires: Option<Duration>,
    pub reason: Option<String>,
}

/// A table or function as rules write it: `name` or `schema.name`; `*` stands for a whole part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub schema: Option<String>,
    /// `None`: any name.
    pub name: Option<String>,
}

impl Pattern {
    pub fn parse(text: &str) -> Option<Self> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        let plain =
            |part: &str| !part.is_empty() && !part.contains('.') && (part == "*" || !part.contains('*'));
        if !plain(name) || !schema.is_none_or(|schema| plain(schema) && schema != "*") {
            return None;
        }
        Some(Self {
            schema: schema.map(str::to_owned),
            name: (name != "*").then(|| name.to_owned()),
        })
    }

    /// Surely the object the rule means: a schema that the statement does not give cannot be told.
    pub fn covers(&self, schema: Option<&str>, name: &str) -> bool {
        self.schema.as_deref() == schema && self.name.as_deref().is_none_or(|known| known == name)
    }

    /// Possibly the object the rule means.
    pub fn may_mean(&self, schema: Option<&str>, name: &str) -> bool {
        let same_schema = match (self.schema.as_deref(), schema) {
            (Some(known), Some(schema)) => is_alike(known, schema),
            (None, _) | (_, None) => true,
        };
        same_schema && self.name.as_deref().is_none_or(|known| is_alike(known, name))
    }
}

/// Whether a name in a rule that holds or denies may be this one. Servers that compare names in any case have them told in
/// small letters, and MySQL always has columns so: there the rule must not miss its name for the case it is written in.
pub fn is_alike(in_rule: &str, name: &str) -> bool {
    in_rule == name || in_rule.chars().map(folded).eq(name.chars())
}
