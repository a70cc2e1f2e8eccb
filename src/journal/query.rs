//! The one language of the log: plain keys, the same on the page, in the API's `q` and on the command line.
//! Never reads a record or the clock: text in, clauses out, and back again. Read `filter.rs` next, which compiles them.
//!
//! ```text
//! query   clause*, apart by blanks; all of them must hold
//! clause  key ":" list · key "=" list · "-" clause and key "!=" list, the opposite · value, which the statement holds
//! list    value, or several with commas between them: any of them
//! value   letters up to a blank or comma, or "…" with \" and \\ inside
//! ```

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::filter::LogFilter;
use crate::audit::entry::class_word;
use crate::audit::{Class, Kind, OutcomeKind, TransactionOutcome};
use crate::clock::{Timestamp, parse_duration};
use crate::hold::{RequestId, StandingGrantId};
use crate::identity::principal::SessionId;

/// Longest query, in bytes: more than anybody types, and a line of a log can hold it.
pub const QUERY_BYTES_MAX: usize = 4 << 10;
/// Clauses of one query: each is a bit of a word while records are compared.
pub const CLAUSES_MAX: usize = 40;
/// Values of one clause: each is a look into the index.
pub const VALUES_MAX: usize = 50;

/// What a person asks of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub clauses: Vec<Clause>,
}

/// One condition: any of the values, or none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    pub key: Key,
    pub is_not: bool,
    /// As they are recorded, except times, which stay as they were written.
    pub values: Vec<String>,
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Since,
    Until,
    Principal,
    Class,
    Verdict,
    Table,
    Rule,
    Approver,
    Request,
    Grant,
    Session,
    Kind,
    Database,
    Fingerprint,
    Outcome,
    Source,
    By,
    Event,
    /// Of a column.
    Label,
    Text,
}

/// A query that cannot be read: which word, where, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryError {
    pub word: String,
    /// In letters, counted from 1.
    pub column: usize,
    pub what: Wrong,
}

/// What is wrong with a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    UnknownKey,
    NoValue,
    NotClosed,
    BehindQuote,
    /// A value that this key never has.
    Value(Key),
    /// A time has neither a list nor an opposite.
    OneTime(Key),
    TooLong,
    TooManyClauses,
    TooManyValues,
}

impl Key {
    pub const ALL: [Self; 20] = [
        Self::Since,
        Self::Until,
        Self::Principal,
        Self::Class,
        Self::Verdict,
        Self::Table,
        Self::Rule,
        Self::Approver,
        Self::Request,
        Self::Grant,
        Self::Session,
        Self::Kind,
        Self::Database,
        Self::Fingerprint,
        Self::Outcome,
        Self::Source,
        Self::By,
        Self::Event,
        Self::Label,
        Self::Text,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Since => "since",
            Self::Until => "until",
            Self::Principal => "principal",
            Self::Class => "class",
            Self::Verdict => "verdict",
            Self::Table => "table",
            Self::Rule => "rule",
            Self::Approver => "approver",
            Self::Request => "request",
            Self::Grant => "grant",
            Self::Session => "session",
            Self::Kind => "kind",
            Self::Database => "database",
            Self::Fingerprint => "fingerprint",
            Self::Outcome => "outcome",
            Self::Source => "source",
            Self::By => "by",
            Self::Event => "event",
            Self::Label => "label",
            Self::Text => "text",
        }
    }

    /// Reads what `as_str` writes.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.as_str() == word)
    }

    /// The words of a key that has no others.
    pub fn words(self) -> Option<Vec<&'static str>> {
        match self {
            Self::Class => Some(CLASSES.map(class_word).to_vec()),
            Self::Verdict => Some(vec!["allow", "hold", "deny"]),
            Self::Kind => Some(Kind::ALL.iter().map(|kind| kind.as_str()).collect()),
            Self::Outcome => {
                let statements = OutcomeKind::ALL.iter().map(|kind| kind.as_str());
                let ends = [TransactionOutcome::Committed, TransactionOutcome::RolledBack];
                Some(statements.chain(ends.map(TransactionOutcome::as_str)).collect())
            }
            Self::Since
            | Self::Until
            | Self::Principal
            | Self::Table
            | Self::Rule
            | Self::Approver
            | Self::Request
            | Self::Grant
            | Self::Session
            | Self::Database
            | Self::Fingerprint
            | Self::Source
            | Self::By
            | Self::Event
            | Self::Label
            | Self::Text => None,
        }
    }

    /// How values of this key are written.
    pub fn hint(self) -> String {
        if let Some(words) = self.words() {
            return format!("write one of: {}", words.join(", "));
        }
        let hint = match self {
            Self::Since | Self::Until => {
                "write a time as 2026-11-22T13:00:00Z, a day as 2026-11-22, or how long ago: 30m, 12h, 7d"
            }
            Self::Request => "write its six letters and digits, such as 7K3F9Q",
            Self::Grant => "write its name, such as G-7K3F9Q",
            Self::Session => "write its 13 letters and digits",
            Self::Fingerprint => "write its 64 hex digits",
            Self::Source => "write an address, such as 10.0.0.5",
            Self::Principal
            | Self::Class
            | Self::Verdict
            | Self::Table
            | Self::Rule
            | Self::Approver
            | Self::Kind
            | Self::Database
            | Self::Outcome
            | Self::By
            | Self::Event
            | Self::Label
            | Self::Text => "write at least one letter",
        };
        hint.to_owned()
    }

    const fn is_time(self) -> bool {
        matches!(self, Self::Since | Self::Until)
    }

    /// The value as records have it; `None` if none can have it.
    fn value(self, text: &str) -> Option<String> {
        let lower = || text.to_ascii_lowercase();
        match self {
            Self::Since | Self::Until => moment(text, Timestamp::from_micros(0)).map(|_| text.to_owned()),
            Self::Class | Self::Verdict | Self::Kind | Self::Outcome => {
                let words = self.words().unwrap_or_default();
                words.contains(&lower().as_str()).then(lower)
            }
            Self::Request => RequestId::parse(text).map(|id| id.to_string()),
            Self::Grant => StandingGrantId::parse(text).map(|id| id.to_string()),
            Self::Session => SessionId::parse(&text.to_ascii_uppercase()).map(|id| id.to_string()),
            Self::Fingerprint => {
                let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                is_hex.then(lower)
            }
            Self::Source => {
                let address: Option<std::net::IpAddr> = text.parse().ok();
                address.map(|address| address.to_string())
            }
            Self::Principal
            | Self::Table
            | Self::Rule
            | Self::Approver
            | Self::Database
            | Self::By
            | Self::Event
            | Self::Label
            | Self::Text => (!text.is_empty()).then(|| text.to_owned()),
        }
    }
}

const CLASSES: [Class; 10] = [
    Class::Read,
    Class::Write,
    Class::Ddl,
    Class::Grant,
    Class::Export,
    Class::Admin,
    Class::Session,
    Class::Transaction,
    Class::Procedural,
    Class::Unknown,
];

impl Clause {
    /// The condition that a record says this value.
    pub fn of(key: Key, value: &str) -> Result<Self, Wrong> {
        let value = key.value(value).ok_or(Wrong::Value(key))?;
        Ok(Self {
            key,
            is_not: false,
            values: vec![value],
        })
    }
}

impl Query {
    /// What it means at `now`.
    pub fn filter(&self, now: Timestamp) -> LogFilter {
        let mut filter = LogFilter::default();
        self.narrow(&mut filter, now);
        filter
    }

    /// Adds its conditions to a filter.
    pub fn narrow(&self, filter: &mut LogFilter, now: Timestamp) {
        for clause in &self.clauses {
            let time = || clause.values.first().and_then(|text| moment(text, now));
            match clause.key {
                Key::Since => filter.since = filter.since.max(time()),
                Key::Until => filter.until = filter.until.into_iter().chain(time()).min(),
                _record => filter.clauses.push(clause.clone()),
            }
        }
    }

    /// The same with this condition in place of all others of its key: what a click on a facet means.
    #[must_use]
    pub fn with(&self, clause: Clause) -> Self {
        let mut query = self.without(clause.key);
        query.clauses.push(clause);
        query
    }

    /// The same without the conditions of this key.
    #[must_use]
    pub fn without(&self, key: Key) -> Self {
        let clauses = self.clauses.iter().filter(|clause| clause.key != key);
        Self {
            clauses: clauses.cloned().collect(),
        }
    }

    /// Its text as the value of a URL's query, percent-encoded.
    pub fn url_value(&self) -> String {
        let mut url = String::new();
        for byte in self.to_string().bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    url.push(char::from(byte))
                }
                b' ' => url.push('+'),
                _other => write!(url, "%{byte:02X}").expect("writing to a String cannot fail"),
            }
        }
        url
    }
}

/// Reads a query.
pub fn parse(text: &str) -> Result<Query, QueryError> {
    let mut words = Words { text, at: 0 };
    if text.len() > QUERY_BYTES_MAX {
        return Err(words.wrong(0, Wrong::TooLong));
    }
    let mut query = Query::default();
    while let Some(clause) = words.clause()? {
        query.clauses.push(clause);
        if query.clauses.len() > CLAUSES_MAX {
            return Err(words.wrong(words.at, Wrong::TooManyClauses));
        }
    }
    Ok(query)
}

/// A query out of the words of a command line, where the shell has taken the quotes of `text="drop table"`.
pub fn parse_words(words: &[String]) -> Result<Query, QueryError> {
    let words: Vec<String> = words.iter().map(|word| requoted(word)).collect();
    parse(&words.join(" "))
}

fn requoted(word: &str) -> String {
    let whole = || word.to_owned();
    let has_blank = word.contains(char::is_whitespace) && !word.contains('"');
    let Some((_, _, value)) = key_of(word).filter(|_| has_blank) else {
        return whole();
    };
    // Several conditions in one word of the shell's are a query as it stands.
    if value
        .split_whitespace()
        .skip(1)
        .any(|more| key_of(more).is_some())
    {
        return whole();
    }
    let key = &word[..word.len() - value.len()];
    format!("{key}{}", quoted(value))
}

/// RFC 3339, a day (its beginning, UTC), or how long before `now`.
pub fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    let ago = |ago: Duration| {
        let micros = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(now.micros().saturating_sub(micros))
    };
    Timestamp::parse(text)
        .or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")))
        .or_else(|| parse_duration(text).map(ago))
}

/// Splits `key:`, `key=` and `key!=` off a word; gives the key's word, whether it is an opposite, and the rest.
fn key_of(word: &str) -> Option<(&str, bool, &str)> {
    let end = word.find(|letter: char| !letter.is_ascii_alphabetic() && letter != '_')?;
    let (key, rest) = word.split_at(end);
    let (is_not, rest) = match rest.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.strip_prefix([':', '='])?;
    (!key.is_empty()).then_some((key, is_not, rest))
}

/// Cuts a query into clauses.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn clause(&mut self) -> Result<Option<Clause>, QueryError> {
        let blank = self.rest().len() - self.rest().trim_start().len();
        self.at += blank;
        if self.rest().is_empty() {
            return Ok(None);
        }
        let start = self.at;
        // Two dashes begin a comment of SQL, which somebody may look for.
        let behind = self.rest().strip_prefix('-').and_then(|rest| rest.chars().next());
        let is_opposite = behind.is_some_and(|next| next != '-' && !next.is_whitespace());
        self.at += usize::from(is_opposite);
        let Some((word, is_not, value)) = key_of(self.rest()) else {
            let value = if self.rest().starts_with('"') {
                self.quoted(start)?
            } else {
                self.bare(|letter| letter.is_whitespace()).to_owned()
            };
            self.ends_here(start)?;
            let clause = Clause::of(Key::Text, &value).map_err(|what| self.wrong(start, what))?;
            return Ok(Some(Clause {
                is_not: is_opposite,
                ..clause
            }));
        };
        let Some(key) = Key::parse(word) else {
            return Err(self.wrong(start, Wrong::UnknownKey));
        };
        self.at = self.text.len() - value.len();
        let values = self.list(start, key)?;
        let is_not = is_not != is_opposite;
        if key.is_time() && (is_not || values.len() > 1) {
            return Err(self.wrong(start, Wrong::OneTime(key)));
        }
        Ok(Some(Clause { key, is_not, values }))
    }

    fn list(&mut self, start: usize, key: Key) -> Result<Vec<String>, QueryError> {
        let mut values = Vec::new();
        loop {
            let value_start = self.at;
            let value = if self.rest().starts_with('"') {
                self.quoted(start)?
            } else {
                self.bare(|letter| letter == ',' || letter.is_whitespace())
                    .to_owned()
            };
            if value.is_empty() {
                return Err(self.wrong(start, Wrong::NoValue));
            }
            let value = key
                .value(&value)
                .ok_or_else(|| self.wrong(value_start, Wrong::Value(key)))?;
            values.push(value);
            if values.len() > VALUES_MAX {
                return Err(self.wrong(start, Wrong::TooManyValues));
            }
            if !self.rest().starts_with(',') {
                self.ends_here(value_start)?;
                return Ok(values);
            }
            self.at += 1;
        }
    }

    fn bare(&mut self, is_end: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let word = &rest[..rest.find(is_end).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn quoted(&mut self, start: usize) -> Result<String, QueryError> {
        let mut value = String::new();
        let mut letters = self.rest().char_indices().skip(1).peekable();
        while let Some((place, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.at += place + 1;
                    return Ok(value);
                }
                // Before any other letter it stands for itself: statements are full of them.
                '\\' => match letters.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                    Some((_, escaped)) => value.push(escaped),
                    None => value.push(letter),
                },
                other => value.push(other),
            }
        }
        Err(self.wrong(start, Wrong::NotClosed))
    }

    fn ends_here(&self, start: usize) -> Result<(), QueryError> {
        match self.rest().chars().next() {
            Some(letter) if !letter.is_whitespace() => Err(self.wrong(start, Wrong::BehindQuote)),
            Some(_) | None => Ok(()),
        }
    }

    fn wrong(&self, start: usize, what: Wrong) -> QueryError {
        let rest = &self.text[start..];
        let word = match what {
            Wrong::Value(_) => rest.split([' ', ',']).next(),
            _whole => rest.split_whitespace().next(),
        };
        QueryError {
            word: word.unwrap_or_default().chars().take(80).collect(),
            column: self.text[..start].chars().count() + 1,
            what,
        }
    }
}

impl QueryError {
    /// One imperative sentence for the person who wrote the query.
    pub fn next_step(&self) -> String {
        self.what.next_step()
    }
}

impl Wrong {
    pub fn next_step(self) -> String {
        match self {
            Self::UnknownKey => {
                let keys: Vec<&str> = Key::ALL.iter().map(|key| key.as_str()).collect();
                format!(
                    "write one of: {}; or put the word in double quotes to find it in statements",
                    keys.join(", ")
                )
            }
            Self::NoValue => "write a value behind it, such as class:ddl".to_owned(),
            Self::NotClosed => "close the double quotes; inside them write \\\" for one".to_owned(),
            Self::BehindQuote => "put a blank or a comma behind the closing quote".to_owned(),
            Self::Value(key) => key.hint(),
            Self::OneTime(key) => format!("write one time: {}:7d", key.as_str()),
            Self::TooLong => format!("write at most {QUERY_BYTES_MAX} bytes"),
            Self::TooManyClauses => format!("write at most {CLAUSES_MAX} conditions"),
            Self::TooManyValues => format!("write at most {VALUES_MAX} values behind one key"),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey => f.write_str("is no key of the log"),
            Self::NoValue => f.write_str("has no value"),
            Self::NotClosed => f.write_str("has a quote that is not closed"),
            Self::BehindQuote => f.write_str("goes on behind its quote"),
            Self::Value(key) => write!(f, "is no {}", key.as_str()),
            Self::OneTime(key) => write!(f, "is not one time, which `{}` needs", key.as_str()),
            Self::TooLong => f.write_str("begins a query that is too long"),
            Self::TooManyClauses => f.write_str("follows too many conditions"),
            Self::TooManyValues => f.write_str("has too many values"),
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` at column {} {}", self.word, self.column, self.what)
    }
}

impl std::error::Error for QueryError {}

/// What `parse` reads back.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, clause) in self.clauses.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            clause.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_not {
            f.write_str("-")?;
        }
        if let (Key::Text, [value]) = (self.key, &self.values[..]) {
            return f.write_str(&bare_text(value));
        }
        let values: Vec<String> = self.values.iter().map(|value| listed(value)).collect();
        write!(f, "{}:{}", self.key.as_str(), values.join(","))
    }
}

/// A value that stands for itself: in quotes where it would be read as something else.
fn bare_text(value: &str) -> String {
    let is_plain = !value.contains(char::is_whitespace)
        && !value.starts_with(['"', '-'])
        && !value.is_empty()
        && key_of(value).is_none();
    if is_plain { value.to_owned() } else { quoted(value) }
}

fn listed(value: &str) -> String {
    let is_plain = !value.contains(|letter: char| letter.is_whitespace() || letter == ',')
        && !value.starts_with('"')
        && !value.is_empty();
    if is_plain { value.to_owned() } else { quoted(value) }
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}
