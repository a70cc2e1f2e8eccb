//! Guards: limits that a reviewer puts round one approved run, and that the proxy sets before it and takes away after it.
//! Never part of the digest: they change no byte of the statement and no name in it, they only end a run that takes too
//! long, waits too long or reaches too far. Read `permit.rs` next, which carries them to the session.

use std::fmt;
use std::time::Duration;

use crate::hold::{HeldRequest, HeldStatement, Transaction};
use crate::sql::action::Class;

/// The shortest timeout: the proxy's own question that takes it away again must fit into it.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// The longest timeout; a run that may take a day needs no guard.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

/// More rows than any reviewer counts; what JSON's readers keep exact.
pub const ROWS_MAX: u64 = 1 << 53;

/// What holds for one run; `None`: as the session has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    /// How long it may wait for one lock.
    pub lock_timeout: Option<Duration>,
    /// How long it may take.
    pub statement_timeout: Option<Duration>,
    /// It is undone if it affects more rows.
    pub rows_max: Option<u64>,
}

/// Why guards are not taken, so that nothing is pretended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotGuarded {
    #[error("there is no guard `{0}`")]
    Unknown(String),
    #[error("`{value}` is no value for the guard {name}")]
    Value { name: &'static str, value: String },
    #[error("guards cannot be set for it: {0}")]
    NoPlace(&'static str),
    #[error("its rows cannot be counted and undone: {0}")]
    NoCount(&'static str),
}

impl NotGuarded {
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "write lock_timeout, statement_timeout or rows_max",
            Self::Value { .. } => "write a time from 100ms to 24h as 5s or 10min, rows as a number",
            Self::NoPlace(_) => "approve it without guards, or deny it",
            Self::NoCount(_) => "approve it without rows_max, or deny it",
        }
    }
}

impl Guards {
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub fn has_timeout(self) -> bool {
        self.lock_timeout.is_some() || self.statement_timeout.is_some()
    }

    /// Sets one by its name.
    pub fn put(&mut self, name: &str, value: &str) -> Result<(), NotGuarded> {
        let bad = |name| NotGuarded::Value {
            name,
            value: value.to_owned(),
        };
        match name {
            "lock_timeout" => {
                self.lock_timeout = Some(timeout_of(value).ok_or_else(|| bad("lock_timeout"))?);
            }
            "statement_timeout" => {
                self.statement_timeout = Some(timeout_of(value).ok_or_else(|| bad("statement_timeout"))?);
            }
            "rows_max" => {
                let rows = value.parse().ok().filter(|rows| *rows <= ROWS_MAX);
                self.rows_max = Some(rows.ok_or_else(|| bad("rows_max"))?);
            }
            other => return Err(NotGuarded::Unknown(other.to_owned())),
        }
        Ok(())
    }

    /// What both ask for: of each the smaller.
    #[must_use]
    pub fn narrowest(self, other: Self) -> Self {
        fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            match (one, other) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            }
        }
        Self {
            lock_timeout: least(self.lock_timeout, other.lock_timeout),
            statement_timeout: least(self.statement_timeout, other.statement_timeout),
            rows_max: least(self.rows_max, other.rows_max),
        }
    }

    /// Whether they can be set round this request's run at all; what only its session can tell is told at the run.
    pub fn fit(self, held: &HeldRequest) -> Result<(), NotGuarded> {
        if self.is_empty() {
            return Ok(());
        }
        if let Some(why) = no_place(held) {
            return Err(NotGuarded::NoPlace(why));
        }
        if let Some(why) = sets_its_own(held).filter(|_| self.has_timeout()) {
            return Err(NotGuarded::NoPlace(why));
        }
        match self.rows_max.and_then(|_| no_count(held)) {
            Some(why) => Err(NotGuarded::NoCount(why)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Guards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timeout = |name: &str, time: Option<Duration>| time.map(|time| format!("{name} {}", shown(time)));
        let parts = [
            timeout("lock_timeout", self.lock_timeout),
            timeout("statement_timeout", self.statement_timeout),
            self.rows_max.map(|rows| format!("rows_max {rows}")),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        f.write_str(&parts.join(", "))
    }
}

/// `500ms`, `5s`, `10min` (or `10m`), `2h`, within the limits.
fn timeout_of(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u32 = digits.parse().ok()?;
    let milliseconds = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _other => return None,
    };
    let time = Duration::from_millis(u64::from(number) * milliseconds);
    (TIMEOUT_MIN..=TIMEOUT_MAX).contains(&time).then_some(time)
}

/// A time as `timeout_of` reads it.
pub fn shown(time: Duration) -> String {
    let milliseconds = time.as_millis();
    for (unit, size) in [("h", 3_600_000), ("min", 60_000), ("s", 1_000)] {
        if milliseconds > 0 && milliseconds.is_multiple_of(size) {
            return format!("{}{unit}", milliseconds / size);
        }
    }
    format!("{milliseconds}ms")
}

fn no_place(held: &HeldRequest) -> Option<&'static str> {
    if held.copies_in {
        return Some("the client's data follows it");
    }
    if matches!(held.transaction, Transaction::Failed) {
        return Some("its transaction has failed");
    }
    if held.protocol == "prepare" {
        return Some("it is only prepared");
    }
    let own = held
        .statements
        .iter()
        .find_map(|statement| match statement.class {
            Class::Transaction => Some("it begins or ends a transaction"),
            Class::Session => Some("it changes the session's own settings"),
            Class::Unknown => Some("what it does is not known"),
            Class::Read
            | Class::Write
            | Class::Ddl
            | Class::Export
            | Class::Procedural
            | Class::Grant
            | Class::Admin => None,
        });
    let own = own.or_else(|| {
        let mut called = held.statements.iter().flat_map(|statement| &statement.functions);
        let sets = called.any(|called| called.name == "set_config");
        sets.then_some("`set_config` in it may take them away")
    });
    if own.is_some() || held.statements.is_empty() {
        return own.or(Some("there is nothing in it"));
    }
    let is_alone = held.protocol == "extended" && held.statements.iter().any(HeldStatement::runs_alone);
    is_alone.then_some(
        "by the extended protocol it can be in no transaction, and so in none that restores a setting",
    )
}

/// Whether its own words say how long it waits or runs, whatever the session's variables are: MariaDB and MySQL alone have
/// such. A literal that reads like them is taken for them.
fn sets_its_own(held: &HeldRequest) -> Option<&'static str> {
    if ["simple", "extended"].contains(&held.protocol.as_str()) {
        return None;
    }
    held.statements.iter().find_map(|statement| {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let words = statement.text.split(|byte| !is_word(byte));
        let words: Vec<&[u8]> = words.filter(|word| !word.is_empty()).collect();
        let is = |word: &[u8], wanted: &str| word.eq_ignore_ascii_case(wanted.as_bytes());
        if ["execute", "execute immediate"].contains(&statement.verb.as_str()) {
            return Some("what EXECUTE runs may say how long it waits or runs");
        }
        let mut from_wait = words.iter().skip_while(|word| !is(word, "wait"));
        // 1000, 0x3E8, 1e3; a comment may stand before it.
        if from_wait.any(|word| word[0].is_ascii_digit()) {
            return Some("WAIT in it says how long it waits for a lock");
        }
        if words.iter().any(|word| is(word, "set_var")) {
            return Some("SET_VAR in it may set another limit");
        }
        match first_word(&statement.text) {
            None => Some("how it begins can be read in two ways"),
            Some(word) if is(word, "set") => Some("SET STATEMENT in it may set another limit"),
            Some(_) => None,
        }
    })
}

fn no_count(held: &HeldRequest) -> Option<&'static str> {
    let [statement] = held.statements.as_slice() else {
        return Some("the message holds several statements");
    };
    let counts = ["insert", "update", "delete", "merge", "replace"].contains(&statement.verb.as_str());
    let is_first =
        first_word(&statement.text).is_some_and(|word| word.eq_ignore_ascii_case(statement.verb.as_bytes()));
    if !counts {
        Some("only INSERT, UPDATE, DELETE, MERGE and REPLACE tell how many rows they affected")
    } else if !is_first {
        // WITH gone AS (DELETE …) INSERT …: the server counts the last statement's rows alone.
        Some("it does not begin with its verb, and another statement within it is not counted")
    } else {
        None
    }
}

impl HeldStatement {
    /// Whether PostgreSQL may refuse it inside a transaction, or it ends transactions itself: where it runs, no
    /// transaction of the proxy's may be.
    pub fn runs_alone(&self) -> bool {
        const VERBS: [&str; 14] = [
            "call",
            "do",
            "vacuum",
            "reindex",
            "cluster",
            "create database",
            "drop database",
            "alter database",
            "create tablespace",
            "drop tablespace",
            "alter system",
            "create subscription",
            "alter subscription",
            "drop subscription",
        ];
        let concurrently = b"concurrently";
        VERBS.contains(&self.verb.as_str())
            || self
                .text
                .windows(concurrently.len())
                .any(|word| word.eq_ignore_ascii_case(concurrently))
    }
}

/// The first word of a text behind its comments; `None` if a comment could be read in two ways.
fn first_word(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.trim_ascii_start();
    loop {
        if rest.starts_with(b"--") {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            rest = rest[end..].trim_ascii_start();
        } else if rest.starts_with(b"/*") {
            let inner = &rest[2..];
            let end = inner.windows(2).position(|pair| pair == b"*/")?;
            let comment = &inner[..end];
            let is_plain = !comment.windows(2).any(|pair| pair == b"/*") && !comment.contains(&b'!');
            if !is_plain {
                return None;
            }
            rest = inner[end + 2..].trim_ascii_start();
        } else {
            let end = rest.iter().position(|byte| !byte.is_ascii_alphabetic());
            return Some(&rest[..end.unwrap_or(rest.len())]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guards(pairs: &[(&str, &str)]) -> Result<Guards, NotGuarded> {
        let mut guards = Guards::default();
        for (name, value) in pairs {
            guards.put(name, value)?;
        }
        Ok(guards)
    }

    #[test]
    fn a_guard_is_shown_as_it_is_written() {
        for text in ["100ms", "1500ms", "5s", "10min", "24h"] {
            let guards = guards(&[("lock_timeout", text)]).expect(text);
            assert_eq!(guards.to_string(), format!("lock_timeout {text}"));
        }
        let all = guards(&[
            ("lock_timeout", "5s"),
            ("statement_timeout", "60s"),
            ("rows_max", "0"),
        ]);
        let all = all.expect("three guards").to_string();
        assert_eq!(all, "lock_timeout 5s, statement_timeout 1min, rows_max 0");
    }

    #[test]
    fn a_value_without_sense_is_refused() {
        for (name, value) in [
            ("lock_timeout", "0s"),
            ("lock_timeout", "5"),
            ("lock_timeout", "-5s"),
            ("lock_timeout", "99ms"),
            ("statement_timeout", "25h"),
            ("statement_timeout", "5 s"),
            ("rows_max", "-1"),
            ("rows_max", "1e3"),
            ("rows_max", "9007199254740993"),
        ] {
            let refused = guards(&[(name, value)]);
            assert!(matches!(refused, Err(NotGuarded::Value { .. })), "{name}={value}");
        }
        assert!(matches!(
            guards(&[("work_mem", "1s")]),
            Err(NotGuarded::Unknown(_))
        ));
    }

    #[test]
    fn of_two_the_narrower_holds() {
        let one = guards(&[("lock_timeout", "5s"), ("rows_max", "10")]).expect("guards");
        let other = guards(&[("lock_timeout", "2s"), ("statement_timeout", "1h")]).expect("guards");
        assert_eq!(
            one.narrowest(other).to_string(),
            "lock_timeout 2s, statement_timeout 1h, rows_max 10"
        );
    }

    #[test]
    fn the_first_word_is_read_behind_comments_that_can_be_read_in_one_way() {
        for (text, word) in [
            ("DELETE FROM t", Some("DELETE")),
            (" \n/* a */ -- b\nupdate t", Some("update")),
            ("/* /* */ DELETE FROM a */ WITH d AS (…) DELETE", None),
            ("/*! DELETE */ UPDATE", None),
            ("/* open", None),
            ("(SELECT 1)", Some("")),
        ] {
            assert_eq!(first_word(text.as_bytes()), word.map(str::as_bytes), "{text}");
        }
    }
}
