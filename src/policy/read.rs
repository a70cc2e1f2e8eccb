//! One rule as TOML gives it to one rule as the proxy asks it. Never guesses what a word might have meant.
//! Read `rule.rs` next.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::identity::principal::PrincipalName;
use crate::policy::load::RuleError;
use crate::policy::network::Network;
use crate::policy::places::Places;
use crate::policy::requirement::{PEOPLE_MAX, Requirement};
use crate::policy::rule::{Outcome, Pattern, Risk, Rule, RuleName};
use crate::policy::when::Condition;
use crate::policy::window::{Window, clock_times};
use crate::sql::action::{Breadth, Class};

/// Longest wait and longest life of a request: one week.
const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawFile {
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default, rename = "rule")]
    pub rules: Vec<Spanned<RawRule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRule {
    pub name: Spanned<String>,
    class: Option<Spanned<Vec<Spanned<String>>>>,
    breadth: Option<Spanned<String>>,
    verbs: Option<Spanned<Vec<Spanned<String>>>>,
    tables: Option<Spanned<Vec<Spanned<String>>>>,
    columns: Option<Spanned<Vec<String>>>,
    functions: Option<Spanned<Vec<Spanned<String>>>>,
    databases: Option<Spanned<Vec<String>>>,
    principals: Option<Spanned<Vec<Spanned<String>>>>,
    labels: Option<Spanned<BTreeMap<String, String>>>,
    networks: Option<Spanned<Vec<Spanned<String>>>>,
    hours: Option<Spanned<String>>,
    days: Option<Spanned<Vec<Spanned<String>>>>,
    zone: Option<Spanned<String>>,
    rows_over: Option<Spanned<u64>>,
    rows_up_to: Option<Spanned<u64>>,
    when: Option<Spanned<String>>,
    outcome: Spanned<String>,
    risk: Option<Spanned<String>>,
    approvers: Option<Spanned<Vec<Spanned<String>>>>,
    people: Option<Spanned<u32>>,
    approvals: Option<Spanned<String>>,
    escalate_to: Option<Spanned<Vec<Spanned<String>>>>,
    wait: Option<Spanned<String>>,
    expires: Option<Spanned<String>>,
    reason: Option<String>,
}

/// Turns words into conditions, and mistakes into their places.
pub struct Reader<'t> {
    pub places: Places<'t>,
}

impl Reader<'_> {
    fn error(&self, at: usize, message: impl Into<String>, next_step: impl Into<String>) -> RuleError {
        self.places.error(at, message, next_step)
    }

    pub fn rule(&self, raw: &Spanned<RawRule>, groups: &[String]) -> Result<Rule, RuleError> {
        let rule = raw.get_ref();
        let start = rule.name.span().start;
        let name = rule.name.get_ref();
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        {
            return Err(self.error(
                start,
                format!("`{name}` is not a name"),
                "write letters, digits, - _ and .",
            ));
        }
        let outcome = self.word(&rule.outcome, "outcome", OUTCOMES)?;
        let risk = match &rule.risk {
            Some(risk) => self.word(risk, "risk", RISKS)?,
            None => default_risk(outcome),
        };
        let breadth = rule
            .breadth
            .as_ref()
            .map(|breadth| self.word(breadth, "breadth", BREADTHS))
            .transpose()?;
        let classes = match &rule.class {
            Some(words) => {
                self.not_empty(words.get_ref().is_empty(), words.span().start, "class")?;
                let classes = words
                    .get_ref()
                    .iter()
                    .map(|word| self.word(word, "class", CLASSES));
                classes.collect::<Result<Vec<_>, _>>()?
            }
            None => Vec::new(),
        };
        let requirement = self.deciders(rule, outcome, groups)?;
        let escalate_to = self.next_deciders(rule, &requirement, groups)?;
        Ok(Rule {
            name: RuleName::new(name.clone()),
            line: self.error(start, "", "").line,
            classes,
            breadth,
            verbs: self.each(rule.verbs.as_ref(), "verbs", Self::verb)?,
            tables: self.each(rule.tables.as_ref(), "tables", Self::pattern)?,
            columns: self.words(rule.columns.as_ref(), "columns")?,
            functions: self.each(rule.functions.as_ref(), "functions", Self::pattern)?,
            databases: self.words(rule.databases.as_ref(), "databases")?,
            principals: self.each(rule.principals.as_ref(), "principals", Self::principal)?,
            labels: rule
                .labels
                .as_ref()
                .map(|labels| labels.get_ref().clone())
                .unwrap_or_default(),
            networks: self.each(rule.networks.as_ref(), "networks", Self::network)?,
            window: self.window(rule)?,
            rows_over: self.rows(rule.rows_over.as_ref(), "rows_over", outcome != Outcome::Allow)?,
            rows_up_to: self.rows(rule.rows_up_to.as_ref(), "rows_up_to", outcome == Outcome::Allow)?,
            condition: rule.when.as_ref().map(|when| self.condition(when)).transpose()?,
            outcome,
            risk,
            requirement,
            escalate_to,
            wait: rule
                .wait
                .as_ref()
                .map(|wait| self.duration(wait, outcome))
                .transpose()?,
            expires: rule
                .expires
                .as_ref()
                .map(|expires| self.duration(expires, outcome))
                .transpose()?,
            reason: rule.reason.clone(),
        })
    }

    fn word<T: Copy>(&self, word: &Spanned<String>, what: &str, known: &[(&str, T)]) -> Result<T, RuleError> {
        let found = known.iter().find(|(name, _)| name == word.get_ref());
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            let message = format!("unknown {what} `{}`", word.get_ref());
            self.error(
                word.span().start,
                message,
                format!("write one of: {}", names.join(", ")),
            )
        })
    }

    fn not_empty(&self, empty: bool, at: usize, what: &str) -> Result<(), RuleError> {
        if empty {
            let message = format!("`{what}` is empty, so the rule can never match");
            return Err(self.error(at, message, format!("name something, or remove `{what}`")));
        }
        Ok(())
    }

    fn words(&self, words: Option<&Spanned<Vec<String>>>, what: &str) -> Result<Vec<String>, RuleError> {
        let Some(words) = words else { return Ok(Vec::new()) };
        self.not_empty(words.get_ref().is_empty(), words.span().start, what)?;
        Ok(words.get_ref().clone())
    }

    /// Each word of a list that is not empty, by a reader that says what is wrong with one and what to write.
    fn each<T>(
        &self,
        words: Option<&Spanned<Vec<Spanned<String>>>>,
        what: &str,
        read: fn(&str) -> Result<T, (String, String)>,
    ) -> Result<Vec<T>, RuleError> {
        let Some(words) = words else { return Ok(Vec::new()) };
        self.not_empty(words.get_ref().is_empty(), words.span().start, what)?;
        let read = |word: &Spanned<String>| {
            read(word.get_ref()).map_err(|(why, next_step)| {
                let message = format!("`{}` {why}", word.get_ref());
                self.error(word.span().start, message, next_step)
            })
        };
        words.get_ref().iter().map(read).collect()
    }

    fn pattern(word: &str) -> Result<Pattern, (String, String)> {
        Pattern::parse(word).ok_or_else(|| {
            let next_step = "write name, schema.name, schema.* or *".to_owned();
            ("is not a name".to_owned(), next_step)
        })
    }

    /// Verbs are compared as they are, so one in capitals would never match.
    fn verb(word: &str) -> Result<String, (String, String)> {
        let is_verb = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b' ');
        match is_verb && !word.is_empty() && word.trim() == word {
            true => Ok(word.to_owned()),
            false => Err((
                "is not a verb".to_owned(),
                "write it in lower case, such as drop table".to_owned(),
            )),
        }
    }

    fn principal(word: &str) -> Result<String, (String, String)> {
        let name = PrincipalName::parse_any(word).map(|_| word.to_owned());
        name.map_err(|_| {
            let next_step = "write an agent's name, or db: and a user of the database".to_owned();
            ("is the name of no principal".to_owned(), next_step)
        })
    }

    fn network(word: &str) -> Result<Network, (String, String)> {
        Network::parse(word).map_err(|error| (error.why.to_owned(), error.next_step))
    }

    fn rows(&self, rows: Option<&Spanned<u64>>, what: &str, belongs: bool) -> Result<Option<u64>, RuleError> {
        let Some(rows) = rows else { return Ok(None) };
        if !belongs {
            let message = format!("`{what}` says nothing in a rule of this outcome");
            let next_step = "write rows_up_to in a rule that allows, rows_over in one that holds or denies";
            return Err(self.error(rows.span().start, message, next_step));
        }
        Ok(Some(*rows.get_ref()))
    }

    fn condition(&self, when: &Spanned<String>) -> Result<Condition, RuleError> {
        Condition::read(when.get_ref()).map_err(|error| {
            let at = self.place_in(when, error.at);
            self.error(at, error.why, error.next_step)
        })
    }

    fn deciders(
        &self,
        rule: &RawRule,
        outcome: Outcome,
        groups: &[String],
    ) -> Result<Requirement, RuleError> {
        if outcome != Outcome::Hold {
            let given = [
                rule.approvers
                    .as_ref()
                    .map(|given| ("approvers", given.span().start)),
                rule.people.as_ref().map(|given| ("people", given.span().start)),
                rule.approvals
                    .as_ref()
                    .map(|given| ("approvals", given.span().start)),
                rule.escalate_to
                    .as_ref()
                    .map(|given| ("escalate_to", given.span().start)),
            ];
            if let Some((what, at)) = given.into_iter().flatten().next() {
                let message = format!("`{what}` has no meaning where nothing is held");
                return Err(self.error(
                    at,
                    message,
                    format!("remove `{what}`, or write outcome = \"hold\""),
                ));
            }
            return Ok(Requirement::of(Vec::new(), 0));
        }
        if let Some(approvals) = &rule.approvals {
            return self.approvals(approvals, rule, groups);
        }
        let people = rule.people.as_ref().map_or(1, |people| *people.get_ref());
        if !(1..=PEOPLE_MAX).contains(&people) {
            let at = rule.people.as_ref().map_or(0, |people| people.span().start);
            return Err(self.error(
                at,
                format!("{people} people cannot decide"),
                format!("write 1 to {PEOPLE_MAX}"),
            ));
        }
        let Some(approvers) = &rule.approvers else {
            return Ok(Requirement::of(Vec::new(), people));
        };
        Ok(Requirement::of(
            self.groups(approvers, "approvers", groups)?,
            people,
        ))
    }

    /// `dba:1 + security:1`, in place of `approvers` and `people`.
    fn approvals(
        &self,
        approvals: &Spanned<String>,
        rule: &RawRule,
        groups: &[String],
    ) -> Result<Requirement, RuleError> {
        let twice = [
            rule.approvers.as_ref().map(|given| given.span().start),
            rule.people.as_ref().map(|given| given.span().start),
        ];
        if let Some(at) = twice.into_iter().flatten().next() {
            return Err(self.error(
                at,
                "who decides is said twice",
                "write either `approvals`, or `approvers` and `people`",
            ));
        }
        let known = |group: &str| is_group(group, groups);
        Requirement::parse(approvals.get_ref(), known).map_err(|unclear| {
            let at = self.place_in(approvals, unclear.at);
            self.error(at, unclear.why, unclear.next_step)
        })
    }

    /// The groups that decide once it was escalated: others than those who decide before.
    fn next_deciders(
        &self,
        rule: &RawRule,
        requirement: &Requirement,
        groups: &[String],
    ) -> Result<Vec<String>, RuleError> {
        let Some(next) = &rule.escalate_to else {
            return Ok(Vec::new());
        };
        let named = self.groups(next, "escalate_to", groups)?;
        let first = requirement.groups();
        if first.is_empty() || named.iter().all(|group| first.contains(group)) {
            return Err(self.error(
                next.span().start,
                "those who are next decide already",
                "name in `approvers` or `approvals` who is first, and in `escalate_to` another group",
            ));
        }
        Ok(named)
    }

    /// A list of groups that the file names.
    fn groups(
        &self,
        named: &Spanned<Vec<Spanned<String>>>,
        what: &str,
        groups: &[String],
    ) -> Result<Vec<String>, RuleError> {
        self.not_empty(named.get_ref().is_empty(), named.span().start, what)?;
        let stray = named
            .get_ref()
            .iter()
            .find(|group| !is_group(group.get_ref(), groups));
        if let Some(group) = stray {
            let message = format!("unknown group `{}`", group.get_ref());
            let next_step = "write approver, admin, or a group that the file's `groups = […]` names";
            return Err(self.error(group.span().start, message, next_step));
        }
        Ok(named
            .get_ref()
            .iter()
            .map(|group| group.get_ref().clone())
            .collect())
    }

    /// Where the text stands as it is, quotes and line breaks aside, a place in it is a place in the file.
    fn place_in(&self, text: &Spanned<String>, at: usize) -> usize {
        let written = self.places.text.get(text.span()).unwrap_or_default();
        let inside = written.find(text.get_ref().as_str());
        text.span().start + inside.map_or(0, |start| start + at)
    }

    fn window(&self, rule: &RawRule) -> Result<Option<Window>, RuleError> {
        if rule.hours.is_none() && rule.days.is_none() {
            return match &rule.zone {
                Some(zone) => Err(self.error(
                    zone.span().start,
                    "`zone` says nothing without `hours` or `days`",
                    "add hours = \"08:00-18:00\", or remove it",
                )),
                None => Ok(None),
            };
        }
        let (from, until) = match &rule.hours {
            Some(hours) => clock_times(hours.get_ref()).ok_or_else(|| {
                let message = format!("`{}` is not a part of the day", hours.get_ref());
                self.error(
                    hours.span().start,
                    message,
                    "write two different times, such as 08:00-18:00",
                )
            })?,
            None => (0, 24 * 60),
        };
        let days = match &rule.days {
            Some(days) => {
                self.not_empty(days.get_ref().is_empty(), days.span().start, "days")?;
                let days = days.get_ref().iter().map(|day| self.word(day, "day", DAYS));
                days.collect::<Result<Vec<_>, _>>()?
            }
            None => (0..7).collect(),
        };
        let zone = rule.zone.as_ref().map(|zone| {
            zone.get_ref().parse().map_err(|_| {
                let message = format!("`{}` is not a time zone", zone.get_ref());
                let next_step =
                    "write a name of the IANA database, such as Europe/Berlin, or remove it for UTC";
                self.error(zone.span().start, message, next_step)
            })
        });
        let zone = zone.transpose()?;
        Ok(Some(Window {
            from,
            until,
            days,
            zone,
        }))
    }

    fn duration(&self, text: &Spanned<String>, outcome: Outcome) -> Result<Duration, RuleError> {
        let at = text.span().start;
        if outcome != Outcome::Hold {
            return Err(self.error(at, "a time has no meaning where nothing is held", "remove it"));
        }
        let duration = parse_duration(text.get_ref())
            .filter(|found| (Duration::from_secs(1)..=TIME_MAX).contains(found));
        duration.ok_or_else(|| {
            let message = format!("`{}` is not a time from 1s to 7d", text.get_ref());
            self.error(at, message, "write a number and s, m, h or d, such as 15m")
        })
    }
}

pub const CLASSES: &[(&str, Class)] = &[
    ("read", Class::Read),
    ("write", Class::Write),
    ("ddl", Class::Ddl),
    ("grant", Class::Grant),
    ("export", Class::Export),
    ("admin", Class::Admin),
    ("session", Class::Session),
    ("transaction", Class::Transaction),
    ("procedural", Class::Procedural),
    ("unknown", Class::Unknown),
];
const OUTCOMES: &[(&str, Outcome)] = &[
    ("allow", Outcome::Allow),
    ("hold", Outcome::Hold),
    ("deny", Outcome::Deny),
];
const RISKS: &[(&str, Risk)] = &[
    ("low", Risk::Low),
    ("medium", Risk::Medium),
    ("high", Risk::High),
    ("critical", Risk::Critical),
];
const BREADTHS: &[(&str, Breadth)] = &[("bounded", Breadth::Bounded), ("unbounded", Breadth::Unbounded)];
const DAYS: &[(&str, u8)] = &[
    ("mon", 0),
    ("tue", 1),
    ("wed", 2),
    ("thu", 3),
    ("fri", 4),
    ("sat", 5),
    ("sun", 6),
];

fn is_group(word: &str, groups: &[String]) -> bool {
    ["approver", "admin"].contains(&word) || groups.iter().any(|group| group == word)
}

fn default_risk(outcome: Outcome) -> Risk {
    match outcome {
        Outcome::Allow => Risk::Low,
        Outcome::Hold => Risk::Medium,
        Outcome::Deny => Risk::High,
    }
}

/// `90s`, `15m`, `2h`, `1d`.
fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}
