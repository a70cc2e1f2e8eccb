//! Which records a query wants, decided on the canonical bytes, so that only what matches is decoded.
//! Never reads a file. Read `read.rs` next.

use super::query::{Clause, Key};
use super::tree::pruned::Gone;
use crate::audit::entry::tag;
use crate::audit::record::{self, Head};
use crate::audit::{Kind, Malformed};
use crate::clock::Timestamp;
use crate::identity::principal::{AttemptId, SessionId};

/// Which records a query wants. An empty filter wants all.
#[derive(Clone, Debug)]
pub struct LogFilter {
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Up to this moment, without it.
    pub until: Option<Timestamp>,
    pub principal: Option<String>,
    pub class: Option<String>,
    pub verdict: Option<String>,
    /// `schema.name`, or `name` for that table in any schema.
    pub table: Option<String>,
    pub approver: Option<String>,
    pub request: Option<String>,
    /// The standing grant: its own records, and the statements that ran by it.
    pub grant: Option<String>,
    pub session: Option<SessionId>,
    /// The attempt and its result.
    pub attempt: Option<AttemptId>,
    pub kind: Option<Kind>,
    /// SHA-256 of the token shape.
    pub fingerprint: Option<[u8; 32]>,
    /// What else must hold, in the language of `query.rs`; times do not stand here.
    pub clauses: Vec<Clause>,
    pub order: Order,
    /// Records on one page, 1 to `LIMIT_MAX`.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// Segments read for one page; then it ends early and says how far it looked. `None`: as many as it takes.
    pub segments_max: Option<usize>,
}

/// Most records on one page.
pub const LIMIT_MAX: usize = 1_000;

/// Statements and values on one page; the record that goes beyond is still on it.
pub(super) const PAGE_BYTES_MAX: usize = 16 << 20;

/// Which end of the log comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    NewestFirst,
    OldestFirst,
}

impl Default for LogFilter {
    fn default() -> Self {
        Self {
            since: None,
            until: None,
            principal: None,
            class: None,
            verdict: None,
            table: None,
            approver: None,
            request: None,
            grant: None,
            session: None,
            attempt: None,
            kind: None,
            fingerprint: None,
            clauses: Vec::new(),
            order: Order::NewestFirst,
            limit: 100,
            cursor: None,
            segments_max: None,
        }
    }
}

/// A word of a record by which segments can be found. The numbers stand in the index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term {
    pub kind: TermKind,
    pub value: Vec<u8>,
}

/// What kind of word a term is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TermKind {
    Principal = 1,
    Class = 2,
    Verdict = 3,
    Table = 4,
    Approver = 5,
    Request = 6,
    Session = 7,
    Fingerprint = 8,
    Grant = 9,
    Rule = 10,
    /// Of every record: what it is.
    Kind = 11,
    Outcome = 12,
    Database = 13,
    Source = 14,
    /// Who did it, whatever it was: decided, changed, looked.
    By = 15,
    Event = 16,
    /// Of a column that a statement touches.
    ColumnLabel = 17,
}

impl LogFilter {
    /// Whether some of what is gone by retention may have been wanted.
    pub fn reaches(&self, gone: &Gone) -> bool {
        self.since.is_none_or(|since| since <= gone.newest)
            && self.until.is_none_or(|until| until > gone.oldest)
    }

    /// Whether a record of these canonical bytes may be wanted, its time and its statement aside.
    pub fn may_want(&self, payload: &[u8]) -> Result<bool, Malformed> {
        Ok(self.wanted().says(payload)? != Said::No)
    }

    /// Made ready to be compared with many records.
    pub(super) fn wanted(&self) -> Wanted {
        let mut tests = Vec::new();
        let mut says = |kind: TermKind, value: Option<Vec<u8>>| {
            tests.extend(value.map(|value| Test {
                field: kind,
                is_not: false,
                values: vec![value],
                words: Vec::new(),
            }));
        };
        let bytes = |text: &Option<String>| text.clone().map(String::into_bytes);
        let session = self.session.or(self.attempt.map(|attempt| attempt.session));
        says(TermKind::Principal, bytes(&self.principal));
        says(TermKind::Class, bytes(&self.class));
        says(TermKind::Verdict, bytes(&self.verdict));
        says(TermKind::Table, bytes(&self.table));
        says(TermKind::Approver, bytes(&self.approver));
        says(TermKind::Request, bytes(&self.request));
        says(TermKind::Grant, bytes(&self.grant));
        says(TermKind::Session, session.map(|id| id.0.to_be_bytes().to_vec()));
        says(TermKind::Fingerprint, self.fingerprint.map(Vec::from));
        says(
            TermKind::Kind,
            self.kind.map(|kind| kind.as_str().as_bytes().to_vec()),
        );
        let (texts, words) = self
            .clauses
            .iter()
            .partition::<Vec<_>, _>(|clause| clause.key == Key::Text);
        tests.extend(words.into_iter().filter_map(Test::of));
        let attempt = self.attempt.map(|attempt| attempt.number);
        let texts = texts.into_iter().map(TextTest::of).collect();
        Wanted::of(tests, attempt, texts)
    }
}

/// What records are compared with, times aside.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    tests: Vec<Test>,
    attempt: Option<u64>,
    texts: Vec<TextTest>,
    /// Fields that a test is about, by tag: the others are passed over, and behind the last of them nothing is read.
    asked: [bool; 256],
    last_asked: u8,
}

/// How far a record's own bytes decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    No,
    Yes,
    /// If `takes_text` says so of the statement with this hash, or of none.
    IfText(Option<[u8; 32]>),
}

/// A field says one of the values, or none of them.
#[derive(Clone, Debug)]
struct Test {
    field: TermKind,
    is_not: bool,
    values: Vec<Vec<u8>>,
    /// All values there are, where no others can be.
    words: Vec<&'static str>,
}

/// The statement holds one of the texts, or none of them. Letters A to Z and their small ones are alike; beyond ASCII
/// if the text looked for has such letters.
#[derive(Clone, Debug)]
struct TextTest {
    is_not: bool,
    small: Vec<String>,
}

impl Wanted {
    fn of(tests: Vec<Test>, attempt: Option<u64>, texts: Vec<TextTest>) -> Self {
        let (mut asked, mut last_asked) = ([false; 256], 0);
        for tag in 0..=u8::MAX {
            let is_own = match tag {
                tag::ATTEMPT_NUMBER => attempt.is_some(),
                tag::TEXT_SHA256 => !texts.is_empty(),
                _other => false,
            };
            if is_own || tests.iter().any(|test| TermKind::of(tag).contains(&test.field)) {
                asked[usize::from(tag)] = true;
                last_asked = tag;
            }
        }
        Self {
            tests,
            attempt,
            texts,
            asked,
            last_asked,
        }
    }

    /// Whether a record is wanted, its time aside.
    pub fn says(&self, payload: &[u8]) -> Result<Said, Malformed> {
        let (head, fields) = Head::cut(payload)?;
        // Statements stand in attempts alone.
        if head.kind != Kind::Attempt && self.texts.iter().any(|test| !test.is_not) {
            return Ok(Said::No);
        }
        let kind = head.kind.as_str().as_bytes();
        // Bits of the tests of which a value has been seen.
        let mut seen = 0_u64;
        for (place, test) in self.tests.iter().enumerate() {
            let is_kind = test.field == TermKind::Kind && test.values.iter().any(|value| value == kind);
            seen |= u64::from(is_kind) << place;
        }
        let (mut number, mut hash) = (None, None);
        for field in fields {
            let (tag, value) = field?;
            // Fields stand in the order of their tags.
            if tag > self.last_asked {
                break;
            }
            if !self.asked[usize::from(tag)] {
                continue;
            }
            for (place, test) in self.tests.iter().enumerate() {
                seen |= u64::from(test.is_met_by(tag, value)) << place;
            }
            match tag {
                tag::ATTEMPT_NUMBER => number = Some(record::number(tag, value)?),
                tag::TEXT_SHA256 => hash = value.try_into().ok(),
                _other => {}
            }
        }
        let mut all = self.tests.iter().enumerate();
        let holds = all.all(|(place, test)| (seen >> place & 1 == 1) != test.is_not);
        let is_attempt = self.attempt.is_none() || number == self.attempt;
        Ok(match holds && is_attempt {
            false => Said::No,
            true if self.texts.is_empty() => Said::Yes,
            true => Said::IfText(hash),
        })
    }

    /// Whether a record with this statement, or with none, is wanted as far as statements go.
    pub fn takes_text(&self, text: Option<&[u8]>) -> bool {
        let text = String::from_utf8_lossy(text.unwrap_or_default());
        let ascii = text.to_ascii_lowercase();
        let all = std::cell::OnceCell::new();
        let holds = |small: &String| {
            if small.is_ascii() {
                ascii.contains(small)
            } else {
                all.get_or_init(|| text.to_lowercase()).contains(small)
            }
        };
        self.texts
            .iter()
            .all(|test| test.small.iter().any(holds) != test.is_not)
    }

    /// Whether everything is wanted, times aside.
    pub fn is_all(&self) -> bool {
        self.tests.is_empty() && self.texts.is_empty() && self.attempt.is_none()
    }

    /// The words by which segments are found: of each row, a segment with a wanted record says one.
    pub fn terms(&self) -> Vec<Vec<Term>> {
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| self.may_be(*kind)).collect();
        let mut rows: Vec<Vec<Term>> = Vec::new();
        for test in &self.tests {
            match test.is_not {
                false => rows.push(test.terms()),
                true => rows.extend(test.other_terms(&kinds)),
            }
        }
        if self.texts.iter().any(|test| !test.is_not) {
            rows.push(vec![Term::of_kind(Kind::Attempt)]);
        }
        rows
    }

    /// Whether a record of this kind can be wanted, going by its kind alone.
    fn may_be(&self, kind: Kind) -> bool {
        let mut tests = self.tests.iter().filter(|test| test.field == TermKind::Kind);
        tests.all(|test| test.values.iter().any(|value| value == kind.as_str().as_bytes()) != test.is_not)
    }
}

impl Test {
    fn of(clause: &Clause) -> Option<Self> {
        let field = match clause.key {
            Key::Principal => TermKind::Principal,
            Key::Class => TermKind::Class,
            Key::Verdict => TermKind::Verdict,
            Key::Table => TermKind::Table,
            Key::Rule => TermKind::Rule,
            Key::Approver => TermKind::Approver,
            Key::Request => TermKind::Request,
            Key::Grant => TermKind::Grant,
            Key::Session => TermKind::Session,
            Key::Kind => TermKind::Kind,
            Key::Database => TermKind::Database,
            Key::Fingerprint => TermKind::Fingerprint,
            Key::Outcome => TermKind::Outcome,
            Key::Source => TermKind::Source,
            Key::By => TermKind::By,
            Key::Event => TermKind::Event,
            Key::Label => TermKind::ColumnLabel,
            Key::Since | Key::Until | Key::Text => return None,
        };
        // A value that cannot be read is said by no record.
        let bytes = |value: &String| match clause.key {
            Key::Session => SessionId::parse(value).map(|id| id.0.to_be_bytes().to_vec()),
            Key::Fingerprint => unhex(value),
            _text => Some(value.clone().into_bytes()),
        };
        Some(Self {
            field,
            is_not: clause.is_not,
            values: clause.values.iter().filter_map(bytes).collect(),
            words: clause.key.words().unwrap_or_default(),
        })
    }

    fn is_met_by(&self, tag: u8, value: &[u8]) -> bool {
        let is_value = |wanted: &Vec<u8>| {
            *wanted == value || self.field == TermKind::Table && bare_name(value) == *wanted
        };
        TermKind::of(tag).contains(&self.field) && self.values.iter().any(is_value)
    }

    fn terms(&self) -> Vec<Term> {
        let values = self.values.iter();
        values
            .map(|value| Term {
                kind: self.field,
                value: value.clone(),
            })
            .collect()
    }

    /// Of an opposite: what is said instead by records of these kinds. `None` where that is no word or any.
    fn other_terms(&self, kinds: &[Kind]) -> Option<Vec<Term>> {
        let always_said = match self.field {
            TermKind::Kind => return Some(kinds.iter().copied().map(Term::of_kind).collect()),
            TermKind::Class | TermKind::Verdict => Kind::Attempt,
            TermKind::Outcome => Kind::Outcome,
            TermKind::Principal
            | TermKind::Table
            | TermKind::Approver
            | TermKind::Request
            | TermKind::Session
            | TermKind::Fingerprint
            | TermKind::Grant
            | TermKind::Rule
            | TermKind::Database
            | TermKind::Source
            | TermKind::By
            | TermKind::Event
            | TermKind::ColumnLabel => return None,
        };
        if kinds != [always_said] {
            return None;
        }
        let words = self.words.iter().map(|word| word.as_bytes().to_vec());
        let left = words.filter(|word| !self.values.contains(word));
        let term = |value| Term {
            kind: self.field,
            value,
        };
        Some(left.map(term).collect())
    }
}

impl TextTest {
    fn of(clause: &Clause) -> Self {
        let small = clause.values.iter().map(|value| {
            if value.is_ascii() {
                value.to_ascii_lowercase()
            } else {
                value.to_lowercase()
            }
        });
        Self {
            is_not: clause.is_not,
            small: small.collect(),
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

impl Term {
    fn of_kind(kind: Kind) -> Self {
        Self {
            kind: TermKind::Kind,
            value: kind.as_str().as_bytes().to_vec(),
        }
    }

    /// The words that a record says.
    pub fn of_record(payload: &[u8], mut each: impl FnMut(Self)) -> Result<(), Malformed> {
        let (head, fields) = Head::cut(payload)?;
        each(Self::of_kind(head.kind));
        for field in fields {
            let (tag, value) = field?;
            for kind in TermKind::of(tag) {
                each(Self {
                    kind: *kind,
                    value: value.to_vec(),
                });
                if *kind == TermKind::Table && bare_name(value) != value {
                    each(Self {
                        kind: *kind,
                        value: bare_name(value).to_vec(),
                    });
                }
            }
        }
        Ok(())
    }
}

impl TermKind {
    /// What a field of this tag is a word of.
    pub const fn of(tag: u8) -> &'static [Self] {
        match tag {
            tag::PRINCIPAL => &[Self::Principal],
            tag::CLASS => &[Self::Class],
            tag::VERDICT => &[Self::Verdict],
            tag::TABLE => &[Self::Table],
            tag::APPROVER => &[Self::Approver, Self::By],
            tag::REQUEST | tag::REQUESTS | tag::DECIDED_IN => &[Self::Request],
            tag::GRANT => &[Self::Grant],
            tag::SESSION | tag::ATTEMPT_SESSION => &[Self::Session],
            tag::FINGERPRINT => &[Self::Fingerprint],
            tag::RULE => &[Self::Rule],
            tag::OUTCOME => &[Self::Outcome],
            tag::DATABASE => &[Self::Database],
            tag::SOURCE => &[Self::Source],
            tag::BY => &[Self::By],
            tag::COLUMN_LABEL => &[Self::ColumnLabel],
            tag::EVENT | tag::DECISION | tag::CHANGE => &[Self::Event],
            _ => &[],
        }
    }
}

/// The table of `schema.table`.
fn bare_name(table: &[u8]) -> &[u8] {
    table
        .iter()
        .position(|byte| *byte == b'.')
        .map_or(table, |dot| &table[dot + 1..])
}
