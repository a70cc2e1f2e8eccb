//! What changed rules would have done with the statements in the log, counted. Never says more than the log tells: what
//! cannot be judged again is counted apart. Read `again.rs` next.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::again::{Lacking, Sessions, field};
use crate::policy::{RuleSet, Verdict};

/// Different statements that are told apart; what changes beyond them is counted together.
const CHANGED_MAX: usize = 10_000;
/// Of an example's statement. Units: characters.
const EXAMPLE_MAX: usize = 200;

/// What changed rules would have done.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = ReplayReport)]
pub struct Report {
    pub rules: String,
    pub since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Statements in that part of the log.
    pub statements: u64,
    pub judged: u64,
    pub verdicts: Vec<Move>,
    /// By the new rules, how many statements each decides.
    pub decided_by: BTreeMap<String, u64>,
    pub changed: Vec<Change>,
    /// Changes of further statements, beyond those that are told apart.
    pub changed_besides: u64,
    pub not_judged: Vec<NotJudged>,
    /// Not all of it was judged: it took too long or was too much. Up to this moment it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judged_to: Option<String>,
    /// Rules that ask for what the log does not hold: sizes of tables, and tables behind views.
    pub asking_a_catalog: Vec<String>,
}

/// How many statements went from one verdict to another, or stayed.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ReplayMove)]
pub struct Move {
    pub from: String,
    pub to: String,
    pub count: u64,
}

/// A statement, literals aside, whose verdict changes.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ReplayChange)]
pub struct Change {
    pub fingerprint: String,
    pub from: String,
    pub rule_before: String,
    pub to: String,
    pub rule: String,
    pub count: u64,
    pub reasons: Vec<String>,
    pub example: Example,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ReplayNotJudged)]
pub struct NotJudged {
    pub why: &'static str,
    pub count: u64,
    pub example: Example,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ReplayExample)]
pub struct Example {
    pub id: String,
    pub principal: String,
    pub text: String,
}

/// What is counted on the way.
pub struct Replay {
    rules: RuleSet,
    pub sessions: Sessions,
    pub statements: u64,
    verdicts: BTreeMap<(String, String), u64>,
    decided_by: BTreeMap<String, u64>,
    /// By fingerprint, verdict and rule before and after.
    changed: HashMap<[String; 5], Change>,
    changed_besides: u64,
    not_judged: BTreeMap<Lacking, NotJudged>,
}

impl Replay {
    pub fn of(rules: RuleSet) -> Self {
        Self {
            rules,
            sessions: Sessions::default(),
            statements: 0,
            verdicts: BTreeMap::new(),
            decided_by: BTreeMap::new(),
            changed: HashMap::new(),
            changed_besides: 0,
            not_judged: BTreeMap::new(),
        }
    }

    /// The session of an attempt whose start has not been met.
    pub fn lacks_start(&self, record: &Value) -> Option<String> {
        let session = field(record, "session")?;
        let lacks = field(record, "kind") == Some("attempt") && !self.sessions.knows(session);
        lacks.then(|| session.to_owned())
    }

    pub fn take(&mut self, record: Value) {
        let session = field(&record, "session").unwrap_or_default().to_owned();
        match field(&record, "kind") {
            Some("session_start") => self.sessions.begin(&session, Some(record)),
            Some("session_end") => self.sessions.end(&session),
            Some("attempt") => self.attempt(&record),
            _other => {}
        }
    }

    fn attempt(&mut self, record: &Value) {
        self.statements += 1;
        match self.sessions.judge(record, &self.rules) {
            Ok(verdict) => self.judged(record, &verdict),
            Err(lacking) => {
                let told = self.not_judged.entry(lacking).or_insert_with(|| NotJudged {
                    why: lacking.as_str(),
                    count: 0,
                    example: example(record),
                });
                told.count += 1;
            }
        }
    }

    fn judged(&mut self, record: &Value, verdict: &Verdict) {
        let word = |name| field(record, name).unwrap_or_default().to_owned();
        let (from, rule_before) = (word("verdict"), word("rule"));
        let (to, rule) = (verdict.outcome().to_string(), verdict.rule.to_string());
        *self.verdicts.entry((from.clone(), to.clone())).or_default() += 1;
        *self.decided_by.entry(rule.clone()).or_default() += 1;
        if from == to {
            return;
        }
        let key = [
            word("fingerprint"),
            from.clone(),
            rule_before.clone(),
            to.clone(),
            rule.clone(),
        ];
        if self.changed.len() >= CHANGED_MAX && !self.changed.contains_key(&key) {
            self.changed_besides += 1;
            return;
        }
        let change = self
            .changed
            .entry(key)
            .or_insert_with_key(|[fingerprint, ..]| Change {
                fingerprint: fingerprint.clone(),
                from,
                rule_before,
                to,
                rule,
                count: 0,
                reasons: verdict.reasons.clone(),
                example: example(record),
            });
        change.count += 1;
    }

    pub fn report(self, since: &str, until: Option<&str>) -> Report {
        let mut changed: Vec<Change> = self.changed.into_values().collect();
        changed.sort_by(|one, other| {
            let order = other.count.cmp(&one.count);
            order.then_with(|| one.fingerprint.cmp(&other.fingerprint))
        });
        let verdicts = self.verdicts.into_iter();
        Report {
            rules: self.rules.file.clone(),
            since: since.to_owned(),
            until: until.map(str::to_owned),
            statements: self.statements,
            judged: self.decided_by.values().sum(),
            verdicts: verdicts
                .map(|((from, to), count)| Move { from, to, count })
                .collect(),
            decided_by: self.decided_by,
            changed,
            changed_besides: self.changed_besides,
            not_judged: self.not_judged.into_values().collect(),
            judged_to: None,
            asking_a_catalog: self.rules.asking_a_catalog().map(str::to_owned).collect(),
        }
    }
}

fn example(record: &Value) -> Example {
    let word = |name| field(record, name).unwrap_or_default().to_owned();
    let mut text: String = word("text").chars().take(EXAMPLE_MAX).collect();
    if text.len() < word("text").len() {
        text.push_str(" …");
    }
    Example {
        id: word("id"),
        principal: word("principal"),
        text,
    }
}
