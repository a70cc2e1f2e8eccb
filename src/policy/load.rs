//! Rule files to rule sets. Every mistake is an error with file, line, column and the next step; a rule that can never
//! speak is a mistake. Never guesses what a word might have meant. Read `evaluate.rs` next.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use toml::Spanned;

use crate::policy::rule::{Outcome, Pattern, Risk, Rule, RuleName, RuleSet, Window};
use crate::sql::action::{Breadth, Class};

/// More people than this must never have to agree; it is a slip of the keyboard.
const PEOPLE_MAX: u32 = 10;
/// Rules in one file; more cannot be overlooked by anybody.
const RULES_MAX: usize = 1_000;
/// Longest wait and longest life of a request: one week.
const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A mistake in a rule file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct RuleError {
    pub file: String,
    /// From 1; 0 if the file could not be read.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    pub message: String,
    pub next_step: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default, rename = "rule")]
    rules: Vec<Spanned<RawRule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: Spanned<String>,
    class: Option<Spanned<Vec<Spanned<String>>>>,
    breadth: Option<Spanned<String>>,
    verbs: Option<Spanned<Vec<String>>>,
    tables: Option<Spanned<Vec<Spanned<String>>>>,
    columns: Option<Spanned<Vec<String>>>,
    functions: Option<Spanned<Vec<Spanned<String>>>>,
    databases: Option<Spanned<Vec<String>>>,
    principals: Option<Spanned<Vec<String>>>,
    labels: Option<Spanned<BTreeMap<String, String>>>,
    hours: Option<Spanned<String>>,
    days: Option<Spanned<Vec<Spanned<String>>>>,
    outcome: Spanned<String>,
    risk: Option<Spanned<String>>,
    approvers: Option<Spanned<Vec<Spanned<String>>>>,
    people: Option<Spanned<u32>>,
    wait: Option<Spanned<String>>,
    expires: Option<Spanned<String>>,
    reason: Option<String>,
}

impl RuleSet {
    /// Reads the text of a rule file; `file` is its name in errors.
    pub fn parse(text: &str, file: &str) -> Result<Self, RuleError> {
        let reader = Reader { text, file };
        let raw: RawFile = toml::from_str(text).map_err(|error| reader.syntax(&error))?;
        if raw.rules.is_empty() {
            return Err(reader.error(
                0,
                "has no rule",
                "write at least one [[rule]] with `name` and `outcome`",
            ));
        }
        if raw.rules.len() > RULES_MAX {
            return Err(reader.error(
                0,
                format!("has more than {RULES_MAX} rules"),
                "split it by upstream",
            ));
        }
        let mut rules: Vec<Rule> = Vec::with_capacity(raw.rules.len());
        for raw_rule in &raw.rules {
            let rule = reader.rule(raw_rule, &raw.groups)?;
            let at = raw_rule.get_ref().name.span().start;
            if let Some(same) = rules.iter().find(|known| known.name == rule.name) {
                let message = format!(
                    "rule `{}` has the name of the rule in line {}",
                    rule.name, same.line
                );
                return Err(reader.error(at, message, "give every rule a name of its own"));
            }
            reader.can_fire(&rules, &rule, at)?;
            rules.push(rule);
        }
        Ok(Self {
            generation: Sha256::digest(text.as_bytes()).into(),
            file: file.to_owned(),
            rules,
        })
    }

    /// Reads a rule file.
    pub fn load(path: &Path) -> Result<Self, RuleError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &file),
            Err(error) => Err(RuleError {
                message: format!("cannot be read: {error}"),
                next_step: "check the path and its permissions, or write default, strict or observe"
                    .to_owned(),
                file,
                line: 0,
                column: 0,
            }),
        }
    }

    /// The rule sets that come with the program: `default`, `strict`, `observe`; the strict one for any other name.
    pub fn shipped(name: &str) -> Self {
        let (file, text) = match name {
            "default" => ("rules/default.toml", include_str!("../../rules/default.toml")),
            "observe" => ("rules/observe.toml", include_str!("../../rules/observe.toml")),
            _ => ("rules/strict.toml", include_str!("../../rules/strict.toml")),
        };
        Self::parse(text, file).expect("shipped rules are loaded by a test of this room")
    }

    /// A shipped set by its name, or a file by its path.
    pub fn open(name_or_path: &str) -> Result<Self, RuleError> {
        match SHIPPED.contains(&name_or_path) {
            true => Ok(Self::shipped(name_or_path)),
            false => Self::load(Path::new(name_or_path)),
        }
    }
}

/// Names of the rule sets that come with the program.
pub const SHIPPED: [&str; 3] = ["default", "strict", "observe"];

struct Reader<'t> {
    text: &'t str,
    file: &'t str,
}

impl Reader<'_> {
    fn error(&self, at: usize, message: impl Into<String>, next_step: impl Into<String>) -> RuleError {
        let before = self.text.get(..at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        RuleError {
            file: self.file.to_owned(),
            line: count(before.matches('\n').count() + 1),
            column: count(before[line_start..].chars().count() + 1),
            // A word that is shown may hold any letters, and each mistake is a line.
            message: message.into().replace(['\n', '\r'], " "),
            next_step: next_step.into(),
        }
    }

    fn syntax(&self, error: &toml::de::Error) -> RuleError {
        let message = error.message();
        let at = error.span().map_or(0, |span| span.start);
        let next_step = if message.contains("unknown field") {
            "correct the key, or remove it"
        } else {
            "correct the line; the file is TOML"
        };
        self.error(at, message, next_step)
    }

    fn rule(&self, raw: &Spanned<RawRule>, groups: &[String]) -> Result<Rule, RuleError> {
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
        let (approvers, people) = self.deciders(rule, outcome, groups)?;
        Ok(Rule {
            name: RuleName::new(name.clone()),
            line: self.error(start, "", "").line,
            classes,
            breadth,
            verbs: self.words(rule.verbs.as_ref(), "verbs")?,
            tables: self.patterns(rule.tables.as_ref(), "tables")?,
            columns: self.words(rule.columns.as_ref(), "columns")?,
            functions: self.patterns(rule.functions.as_ref(), "functions")?,
            databases: self.words(rule.databases.as_ref(), "databases")?,
            principals: self.words(rule.principals.as_ref(), "principals")?,
            labels: rule
                .labels
                .as_ref()
                .map(|labels| labels.get_ref().clone())
                .unwrap_or_default(),
            window: self.window(rule)?,
            outcome,
            risk,
            approvers,
            people,
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

    fn patterns(
        &self,
        words: Option<&Spanned<Vec<Spanned<String>>>>,
        what: &str,
    ) -> Result<Vec<Pattern>, RuleError> {
        let Some(words) = words else { return Ok(Vec::new()) };
        self.not_empty(words.get_ref().is_empty(), words.span().start, what)?;
        let patterns = words.get_ref().iter().map(|word| {
            Pattern::parse(word.get_ref()).ok_or_else(|| {
                let message = format!("`{}` is not a name in `{what}`", word.get_ref());
                self.error(
                    word.span().start,
                    message,
                    "write name, schema.name, schema.* or *",
                )
            })
        });
        patterns.collect()
    }

    fn deciders(
        &self,
        rule: &RawRule,
        outcome: Outcome,
        groups: &[String],
    ) -> Result<(Vec<String>, u32), RuleError> {
        if outcome != Outcome::Hold {
            let given = [
                rule.approvers
                    .as_ref()
                    .map(|given| ("approvers", given.span().start)),
                rule.people.as_ref().map(|given| ("people", given.span().start)),
            ];
            if let Some((what, at)) = given.into_iter().flatten().next() {
                let message = format!("`{what}` has no meaning where nothing is held");
                return Err(self.error(
                    at,
                    message,
                    format!("remove `{what}`, or write outcome = \"hold\""),
                ));
            }
            return Ok((Vec::new(), 0));
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
            return Ok((Vec::new(), people));
        };
        self.not_empty(
            approvers.get_ref().is_empty(),
            approvers.span().start,
            "approvers",
        )?;
        for group in approvers.get_ref() {
            let known =
                ["approver", "admin"].contains(&group.get_ref().as_str()) || groups.contains(group.get_ref());
            if !known {
                let message = format!("unknown group `{}`", group.get_ref());
                let next_step = "write approver, admin, or a group that the file's `groups = […]` names";
                return Err(self.error(group.span().start, message, next_step));
            }
        }
        Ok((
            approvers
                .get_ref()
                .iter()
                .map(|group| group.get_ref().clone())
                .collect(),
            people,
        ))
    }

    fn window(&self, rule: &RawRule) -> Result<Option<Window>, RuleError> {
        if rule.hours.is_none() && rule.days.is_none() {
            return Ok(None);
        }
        let (from, until) = match &rule.hours {
            Some(hours) => clock_times(hours.get_ref()).ok_or_else(|| {
                let message = format!("`{}` is not a part of the day", hours.get_ref());
                self.error(
                    hours.span().start,
                    message,
                    "write two different times of UTC, such as 08:00-18:00",
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
        Ok(Some(Window { from, until, days }))
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

    /// A rule that can never speak is a mistake that nobody would notice.
    fn can_fire(&self, before: &[Rule], rule: &Rule, at: usize) -> Result<(), RuleError> {
        let bounded = [Class::Read, Class::Write];
        let classes = effective_classes(rule);
        if rule.breadth == Some(Breadth::Bounded) && !classes.iter().any(|class| bounded.contains(class)) {
            let message = format!(
                "rule `{}` can never match: only reads and writes can be bounded",
                rule.name
            );
            return Err(self.error(at, message, "remove `breadth`, or add the class write"));
        }
        if let Some(earlier) = before.iter().find(|earlier| shadows(earlier, rule)) {
            let message = format!(
                "rule `{}` can never match: `{}` in line {} comes first",
                rule.name, earlier.name, earlier.line
            );
            return Err(self.error(
                at,
                message,
                "move it up, narrow the earlier rule, or remove one of them",
            ));
        }
        let free = cells(rule).into_iter().any(|cell| {
            !before
                .iter()
                .any(|earlier| only_class_and_breadth(earlier) && cells(earlier).contains(&cell))
        });
        if !free {
            let message = format!(
                "rule `{}` can never match: earlier rules decide all of its classes",
                rule.name
            );
            return Err(self.error(at, message, "move it up, or remove it"));
        }
        Ok(())
    }
}

const CLASSES: &[(&str, Class)] = &[
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

fn default_risk(outcome: Outcome) -> Risk {
    match outcome {
        Outcome::Allow => Risk::Low,
        Outcome::Hold => Risk::Medium,
        Outcome::Deny => Risk::High,
    }
}

fn effective_classes(rule: &Rule) -> Vec<Class> {
    match rule.classes.is_empty() {
        true => CLASSES.iter().map(|(_, class)| *class).collect(),
        false => rule.classes.clone(),
    }
}

/// Every class and breadth that a rule can match.
fn cells(rule: &Rule) -> Vec<(Class, Breadth)> {
    let possible = |class: Class| match class {
        Class::Read => vec![Breadth::Bounded],
        Class::Write => vec![Breadth::Bounded, Breadth::Unbounded],
        Class::Transaction
        | Class::Session
        | Class::Ddl
        | Class::Export
        | Class::Procedural
        | Class::Grant
        | Class::Admin
        | Class::Unknown => vec![Breadth::Unbounded],
    };
    let all = effective_classes(rule)
        .into_iter()
        .flat_map(|class| possible(class).into_iter().map(move |breadth| (class, breadth)));
    all.filter(|(_, breadth)| rule.breadth.is_none_or(|asked| asked == *breadth))
        .collect()
}

fn only_class_and_breadth(rule: &Rule) -> bool {
    rule.verbs.is_empty()
        && rule.tables.is_empty()
        && rule.columns.is_empty()
        && rule.functions.is_empty()
        && rule.databases.is_empty()
        && rule.principals.is_empty()
        && rule.labels.is_empty()
        && rule.window.is_none()
}

/// Whether everything that `later` matches, `earlier` has matched before.
fn shadows(earlier: &Rule, later: &Rule) -> bool {
    fn within<T: PartialEq>(earlier: &[T], later: &[T]) -> bool {
        earlier.is_empty() || (!later.is_empty() && later.iter().all(|word| earlier.contains(word)))
    }
    let earlier_cells = cells(earlier);
    // Lists of names speak differently in allow rules and in others, so two such lists compare only within one outcome.
    let comparable = earlier.outcome == later.outcome
        || (earlier.tables.is_empty() && earlier.columns.is_empty() && earlier.functions.is_empty());
    comparable
        && cells(later).iter().all(|cell| earlier_cells.contains(cell))
        && within(&earlier.verbs, &later.verbs)
        && within(&earlier.tables, &later.tables)
        && within(&earlier.columns, &later.columns)
        && within(&earlier.functions, &later.functions)
        && within(&earlier.databases, &later.databases)
        && within(&earlier.principals, &later.principals)
        && earlier
            .labels
            .iter()
            .all(|(label, value)| later.labels.get(label) == Some(value))
        && (earlier.window.is_none() || earlier.window == later.window)
}

fn clock_times(text: &str) -> Option<(u32, u32)> {
    let (from, until) = text.split_once('-')?;
    let (from, until) = (clock_time(from)?, clock_time(until)?);
    (from != until && from < 24 * 60).then_some((from, until))
}

fn clock_time(text: &str) -> Option<u32> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return None;
    }
    let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let time = hours * 60 + minutes;
    (minutes < 60 && time <= 24 * 60).then_some(time)
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

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str) -> RuleError {
        RuleSet::parse(text, "r.toml").expect_err("a mistake")
    }

    #[test]
    fn shipped_rule_sets_load() {
        for name in SHIPPED {
            assert!(!RuleSet::shipped(name).is_empty(), "{name}");
        }
        assert_eq!(RuleSet::shipped("lax").file, "rules/strict.toml");
    }

    #[test]
    fn mistakes_name_line_column_and_next_step() {
        let unknown_key = mistake("[[rule]]\nname = \"a\"\noutcome = \"hold\"\ncolour = 1\n");
        assert_eq!((unknown_key.line, unknown_key.column), (4, 1), "{unknown_key}");
        let unknown_class =
            mistake("[[rule]]\nname = \"a\"\nclass = [\"read\", \"reed\"]\noutcome = \"hold\"\n");
        assert_eq!(
            (unknown_class.line, unknown_class.column),
            (3, 18),
            "{unknown_class}"
        );
        assert!(unknown_class.next_step.contains("read, write, ddl"));
        let unknown_group = mistake("[[rule]]\nname = \"a\"\noutcome = \"hold\"\napprovers = [\"dba\"]\n");
        assert_eq!(unknown_group.line, 4, "{unknown_group}");
    }

    #[test]
    fn a_rule_that_can_never_match_is_a_mistake() {
        let rule =
            |name: &str, rest: &str| format!("[[rule]]\nname = \"{name}\"\noutcome = \"hold\"\n{rest}\n");
        let after = |first: &str, second: &str| mistake(&(rule("first", first) + &rule("second", second)));
        assert!(after("", "class = [\"read\"]").message.contains("comes first"));
        assert!(
            after(
                "class = [\"read\", \"ddl\"]",
                "class = [\"ddl\"]\ntables = [\"a\"]"
            )
            .message
            .contains("never")
        );
        assert!(
            mistake(&rule("a", "class = [\"ddl\"]\nbreadth = \"bounded\""))
                .message
                .contains("bounded")
        );
        assert!(mistake(&rule("a", "class = []")).message.contains("empty"));
        let spread = rule("b", "class = [\"write\"]\nbreadth = \"bounded\"")
            + &rule("u", "class = [\"write\"]\nbreadth = \"unbounded\"")
            + &rule("w", "class = [\"write\"]");
        assert!(mistake(&spread).message.contains("all of its classes"));
    }

    #[test]
    fn groups_and_times_are_read() {
        let text = "groups = [\"dba\"]\n[[rule]]\nname = \"night\"\noutcome = \"hold\"\nhours = \"22:00-06:00\"\n\
                    days = [\"fri\"]\napprovers = [\"dba\"]\npeople = 2\nwait = \"90s\"\n";
        let rules = RuleSet::parse(text, "r.toml").expect("a rule");
        assert!(rules.has_time_windows());
        let rule = &rules.rules[0];
        assert_eq!((rule.people, rule.wait), (2, Some(Duration::from_secs(90))));
        let window = rule.window.as_ref().expect("a window");
        let at = |text: &str| crate::clock::Timestamp::parse(text).expect("a time");
        assert!(window.holds(at("2026-11-20T23:00:00Z")), "Friday night");
        assert!(
            window.holds(at("2026-11-21T05:59:00Z")),
            "the small hours after it"
        );
        assert!(!window.holds(at("2026-11-21T23:00:00Z")), "Saturday night");
        assert!(
            !window.holds(at("2026-11-20T05:00:00Z")),
            "the small hours before it"
        );
    }
}
