//! Puts a judgement to the rules: each action to each rule in order, the strictest answer stands for the message.
//! Never remembers anything; a set without a matching rule holds. Read `rules/default.toml` next.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::identity::principal::Peer;
use crate::policy::requirement::Requirement;
use crate::policy::rule::{Outcome, Pattern, Risk, Rule, RuleName, RuleSet, is_alike};
use crate::policy::when::{Budget, Facts, NoAnswer};
use crate::sql::action::{Action, Breadth, Class, Judgement, Steps};

/// What the rules say of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    outcome: Outcome,
    pub rule: RuleName,
    /// Line of that rule in its file; 0 if no rule matched.
    pub line: u32,
    pub risk: Risk,
    /// Whose approvals it takes.
    pub requirement: Requirement,
    /// The groups that decide once it was escalated; empty: it cannot be.
    pub escalate_to: Vec<String>,
    pub wait: Option<Duration>,
    pub expires: Option<Duration>,
    pub reasons: Vec<String>,
}

/// Proof that the rules let a message pass. Only `Verdict::allowed` makes one.
#[derive(Debug)]
pub struct Allowed {
    _made_here: (),
}

impl Verdict {
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    pub fn allowed(&self) -> Option<Allowed> {
        match self.outcome {
            Outcome::Allow => Some(Allowed { _made_here: () }),
            Outcome::Hold | Outcome::Deny => None,
        }
    }

    /// A hold that no rule asked for: something could not be decided.
    pub fn held_because(reason: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Hold,
            rule: RuleName::new("no-rule"),
            line: 0,
            risk: Risk::High,
            requirement: Requirement::of(Vec::new(), 1),
            escalate_to: Vec::new(),
            wait: None,
            expires: None,
            reasons: vec![reason.into()],
        }
    }
}

/// The strictest verdict over the message's actions.
pub fn evaluate(rules: &RuleSet, judgement: &Judgement, peer: &Peer, now: Timestamp) -> Verdict {
    let nothing = [nothing()];
    let actions = if judgement.actions.is_empty() {
        &nothing
    } else {
        judgement.actions.as_slice()
    };
    let budget = Budget::default();
    let asked = |action| {
        let statements = actions.len();
        let facts = Facts {
            action,
            peer,
            now,
            statements,
        };
        verdict(rules, &facts, &budget)
    };
    let verdicts = actions.iter().map(asked);
    verdicts
        .reduce(strictest)
        .unwrap_or_else(|| Verdict::held_because("nothing to judge"))
}

/// A message without a statement reads nothing.
fn nothing() -> Action {
    Action {
        class: Class::Read,
        breadth: Breadth::Bounded,
        verb: String::new(),
        tables: BTreeSet::new(),
        columns: BTreeSet::new(),
        functions: BTreeSet::new(),
        behind: BTreeSet::new(),
        rows: None,
        reasons: Vec::new(),
        effects: Vec::new(),
        span: 0..0,
        secrets: Vec::new(),
        parse_is_safe: true,
        copies_in: false,
        cancels: None,
        commits: false,
        steps: Steps::default(),
        reaches_unnamed: false,
    }
}

fn verdict(rules: &RuleSet, facts: &Facts<'_>, budget: &Budget) -> Verdict {
    // Why conditions had no answer, in order.
    let mut unanswered = Vec::new();
    let rule = rules.rules.iter().find(|rule| {
        is_met(rule, facts)
            && rule.condition.as_ref().is_none_or(|condition| {
                condition.holds(facts, budget).unwrap_or_else(|NoAnswer(why)| {
                    unanswered.push(format!(
                        "the condition of rule `{}` has no answer: {why}",
                        rule.name
                    ));
                    rule.outcome != Outcome::Allow
                })
            })
    });
    let reasons = &facts.action.reasons;
    match rule {
        Some(rule) => Verdict {
            outcome: rule.outcome,
            rule: rule.name.clone(),
            line: rule.line,
            risk: rule.risk,
            requirement: rule.requirement.clone(),
            escalate_to: rule.escalate_to.clone(),
            wait: rule.wait,
            expires: rule.expires,
            reasons: rule
                .reason
                .iter()
                .chain(&unanswered)
                .chain(reasons)
                .cloned()
                .collect(),
        },
        None => {
            let mut verdict = Verdict::held_because("no rule matches");
            verdict.reasons.extend(unanswered);
            verdict.reasons.extend(reasons.iter().cloned());
            verdict
        }
    }
}

/// The stricter of two: its rule decides; the approvals of both, shorter times and all reasons are
/// kept.
fn strictest(one: Verdict, other: Verdict) -> Verdict {
    let key = |verdict: &Verdict| (verdict.outcome, verdict.risk, verdict.requirement.people());
    let (mut first, second) = if key(&other) > key(&one) {
        (other, one)
    } else {
        (one, other)
    };
    if first.outcome == second.outcome {
        first.requirement = first.requirement.and(&second.requirement);
        first.wait = shorter(first.wait, second.wait);
        first.expires = shorter(first.expires, second.expires);
    }
    for reason in second.reasons {
        if !first.reasons.contains(&reason) {
            first.reasons.push(reason);
        }
    }
    first
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Whether every condition but the free one is met.
fn is_met(rule: &Rule, facts: &Facts<'_>) -> bool {
    let Facts {
        action, peer, now, ..
    } = *facts;
    let listed = |list: &[String], word: &str| list.is_empty() || list.iter().any(|known| known == word);
    (rule.classes.is_empty() || rule.classes.contains(&action.class))
        && rule.breadth.is_none_or(|breadth| breadth == action.breadth)
        && listed(&rule.verbs, &action.verb)
        && listed(&rule.databases, &peer.database)
        && listed(&rule.principals, peer.principal.as_str())
        && rule
            .labels
            .iter()
            .all(|(label, value)| peer.labels.get(label) == Some(value))
        && (rule.networks.is_empty() || rule.networks.iter().any(|network| network.holds(peer.source)))
        && tables_match(rule, action)
        && functions_match(rule, action)
        && columns_match(rule, action)
        && rule
            .rows_over
            .is_none_or(|most| action.rows.is_some_and(|rows| rows > most))
        && rule
            .rows_up_to
            .is_none_or(|most| action.rows.is_some_and(|rows| rows <= most))
        && rule.window.as_ref().is_none_or(|window| window.holds(now))
}

/// Tables that it names and those behind its views alike: a rule on a table is a rule on what shows it.
fn tables_match(rule: &Rule, action: &Action) -> bool {
    let names = action
        .tables
        .iter()
        .chain(&action.behind)
        .map(|table| (table.schema.as_deref(), table.name.as_str()));
    names_match(rule.outcome, &rule.tables, names)
}

fn functions_match(rule: &Rule, action: &Action) -> bool {
    let names = action
        .functions
        .iter()
        .map(|function| (function.schema.as_deref(), function.name.as_str()));
    names_match(rule.outcome, &rule.functions, names)
}

/// To allow, every name must surely be listed, and there must be one; otherwise one name that may be listed is enough.
fn names_match<'a>(
    outcome: Outcome,
    patterns: &[Pattern],
    mut names: impl Iterator<Item = (Option<&'a str>, &'a str)>,
) -> bool {
    if patterns.is_empty() {
        return true;
    }
    match outcome {
        Outcome::Allow => {
            let mut names = names.peekable();
            names.peek().is_some()
                && names.all(|(schema, name)| patterns.iter().any(|pattern| pattern.covers(schema, name)))
        }
        Outcome::Hold | Outcome::Deny => {
            names.any(|(schema, name)| patterns.iter().any(|pattern| pattern.may_mean(schema, name)))
        }
    }
}

/// A star is every column: it never lets a rule allow by column, and always lets one hold or deny.
fn columns_match(rule: &Rule, action: &Action) -> bool {
    if rule.columns.is_empty() {
        return true;
    }
    match rule.outcome {
        Outcome::Allow => {
            let listed = |column: &String| rule.columns.contains(column);
            !action.columns.is_empty() && action.columns.iter().all(listed)
        }
        Outcome::Hold | Outcome::Deny => action.columns.iter().any(|column| {
            let mut listed = rule.columns.iter();
            column == "*" || listed.any(|listed| is_alike(listed, column))
        }),
    }
}
