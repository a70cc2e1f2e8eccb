//! Rule files to rule sets. Every mistake is an error with file, line, column and the next step; a rule that can never
//! speak is a mistake. Never guesses what a word might have meant. Read `read.rs` next, then `evaluate.rs`.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::policy::places::Places;
use crate::policy::reach;
use crate::policy::read::{RawFile, Reader};
use crate::policy::rule::{Rule, RuleSet};

/// Rules in one file; more cannot be overlooked by anybody.
const RULES_MAX: usize = 1_000;

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

/// The text of a file, with the name that errors give it.
pub fn read_file(path: &Path, next_step: &str) -> Result<(String, String), RuleError> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((text, file)),
        Err(error) => Err(RuleError {
            message: format!("cannot be read: {error}"),
            next_step: next_step.to_owned(),
            file,
            line: 0,
            column: 0,
        }),
    }
}

impl RuleSet {
    /// Reads the text of a rule file; `file` is its name in errors.
    pub fn parse(text: &str, file: &str) -> Result<Self, RuleError> {
        let places = Places { text, file };
        let reader = Reader { places };
        let raw: RawFile = toml::from_str(text).map_err(|error| places.syntax(&error))?;
        if raw.rules.is_empty() {
            return Err(places.error(
                0,
                "has no rule",
                "write at least one [[rule]] with `name` and `outcome`",
            ));
        }
        if raw.rules.len() > RULES_MAX {
            return Err(places.error(
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
                return Err(places.error(at, message, "give every rule a name of its own"));
            }
            if let Some(never) = reach::never_speaks(&rules, &rule) {
                return Err(places.error(at, never.why, never.next_step));
            }
            rules.push(rule);
        }
        Ok(Self {
            generation: Sha256::digest(text.as_bytes()).into(),
            file: file.to_owned(),
            text: text.into(),
            rules,
        })
    }

    /// Reads a rule file.
    pub fn load(path: &Path) -> Result<Self, RuleError> {
        let next_step = "check the path and its permissions, or write default, strict or observe";
        let (text, file) = read_file(path, next_step)?;
        Self::parse(&text, &file)
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
    fn the_rules_in_the_docs_load() {
        let docs = include_str!("../../docs/rules.md");
        let example = docs
            .split("```toml\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next());
        let rules = RuleSet::parse(example.expect("an example"), "docs/rules.md").expect("rules");
        assert_eq!(rules.len(), 5);
    }

    #[test]
    fn verdicts_are_remembered_only_where_no_rule_asks_for_the_time() {
        let set = |rest: &str| {
            let text = format!("[[rule]]\nname = \"a\"\noutcome = \"hold\"\n{rest}\n");
            RuleSet::parse(&text, "r.toml").expect("a rule")
        };
        for asks in ["days = [\"mon\"]", "when = 'bounded || now.getHours() < 8'"] {
            assert!(set(asks).changes_with_time(), "{asks}");
        }
        for does_not in [
            "",
            "when = 'source == \"10.0.0.1\" && labels.team == \"a\"'",
            "rows_over = 5",
        ] {
            assert!(!set(does_not).changes_with_time(), "{does_not}");
        }
    }

    #[test]
    fn groups_and_times_are_read() {
        let text = "groups = [\"dba\"]\n[[rule]]\nname = \"night\"\noutcome = \"hold\"\nhours = \"22:00-06:00\"\n\
                    days = [\"fri\"]\napprovers = [\"dba\"]\npeople = 2\nwait = \"90s\"\n";
        let rules = RuleSet::parse(text, "r.toml").expect("a rule");
        assert!(rules.changes_with_time());
        let rule = &rules.rules[0];
        assert_eq!(
            (rule.requirement.people(), rule.wait),
            (2, Some(std::time::Duration::from_secs(90)))
        );
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
