//! A run: what one decision lets through besides its own statement, in one session or transaction: further statements of
//! named classes on named tables. Never of another class, table, role or search_path, and never what reaches further than
//! it names. Read `standing.rs` for how it is counted and ended.
//!
//! Why a closed list of verbs: a statement that says nothing of the tables it changes (CREATE FUNCTION, DROP SCHEMA …
//! CASCADE) must never be taken for one that touches none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::clock::Timestamp;
use crate::hold::{Digest, DigestBuilder, HeldRequest, READ_AS, Reach, StandingGrant, Transaction};
use crate::identity::principal::Peer;
use crate::policy::{Risk, Verdict};
use crate::sql::action::{Action, Class, FunctionName, Judgement, TableName};
use crate::sql::classify::lists::{self, Known};
use crate::sql::lex::postgres::{Kind, scan};
use crate::sql::statement::PathTrust;

/// What a run may hold at all; the others are decided each time.
pub const CLASSES: [Class; 3] = [Class::Read, Class::Write, Class::Ddl];

/// Definitions that name every table they change.
const DEFINITIONS: [&str; 14] = [
    "create table",
    "create temporary table",
    "create table as",
    "alter table",
    "drop table",
    "truncate",
    "comment",
    "create index",
    "drop index",
    "create sequence",
    "alter sequence",
    "drop sequence",
    "create view",
    "drop view",
];

/// Of these, those that change nothing beside the table they name, whatever hangs on it.
const ITSELF_ALONE: [&str; 8] = [
    "create table",
    "create temporary table",
    "alter table",
    "comment",
    "create index",
    "create sequence",
    "alter sequence",
    "create view",
];

/// The classes and tables that a run is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunCovers {
    pub classes: BTreeSet<Class>,
    /// As statements name them; without a schema where statements name none.
    pub tables: BTreeSet<TableName>,
}

impl RunCovers {
    /// What is left empty is what the statement itself does.
    #[must_use]
    pub fn or_of(mut self, held: &HeldRequest) -> Self {
        if let InRun::Fits(touches) = &held.in_run {
            if self.classes.is_empty() {
                self.classes.clone_from(&touches.classes);
            }
            if self.tables.is_empty() {
                self.tables = touches.tables.keys().cloned().collect();
            }
        }
        self
    }

    /// What both allow.
    #[must_use]
    pub fn narrowest(&self, other: &Self) -> Self {
        Self {
            classes: self.classes.intersection(&other.classes).copied().collect(),
            tables: self.tables.intersection(&other.tables).cloned().collect(),
        }
    }
}

impl fmt::Display for RunCovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classes: Vec<_> = self.classes.iter().map(ToString::to_string).collect();
        let tables: Vec<_> = self.tables.iter().map(ToString::to_string).collect();
        write!(f, "run of {} on {}", classes.join(", "), tables.join(", "))
    }
}

/// Whether a statement could be part of a run, and of which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InRun {
    Fits(Touches),
    DecidedEachTime { why: String },
}

/// What a statement does, as a run compares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touches {
    /// Everything that must be the same for all statements of a run.
    pub frame: Digest,
    pub classes: BTreeSet<Class>,
    /// Each table with what tells it from another of its name, where the server told that.
    pub tables: BTreeMap<TableName, Option<String>>,
}

/// What a run lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunBounds {
    pub covers: RunCovers,
    /// Tables of the decided statement that were there: they must still be the same ones.
    pub known: BTreeMap<TableName, String>,
    /// No statement of a higher risk.
    pub risk: Risk,
    /// The transaction that it ends with, by when it was opened.
    pub transaction: Option<Timestamp>,
}

/// All that is looked at.
#[derive(Clone, Copy)]
pub struct RunParts<'a> {
    pub peer: &'a Peer,
    pub protocol: &'a str,
    pub text: &'a [u8],
    pub judgement: &'a Judgement,
    pub verdict: &'a Verdict,
    pub transaction: Transaction,
    pub facts: &'a BTreeMap<String, String>,
    pub names: &'a str,
    pub rules: [u8; 32],
}

impl InRun {
    pub fn of(parts: RunParts<'_>) -> Self {
        match decided_each_time(parts) {
            Some(why) => Self::DecidedEachTime { why },
            None => Self::Fits(Touches {
                frame: frame(parts),
                classes: parts
                    .judgement
                    .actions
                    .iter()
                    .map(|action| action.class)
                    .collect(),
                tables: tables(parts),
            }),
        }
    }
}

impl RunBounds {
    /// The run that an approval of `decided` would make. Errors: what of the decided statement is not in it.
    pub fn of(decided: &HeldRequest, covers: &RunCovers, reach: Reach) -> Result<Self, String> {
        let touches = match &decided.in_run {
            InRun::Fits(touches) => touches,
            InRun::DecidedEachTime { why } => return Err(why.clone()),
        };
        if let Some(class) = covers.classes.iter().find(|class| !CLASSES.contains(class)) {
            return Err(format!("a statement of class {class} is decided each time"));
        }
        if let Some(class) = touches.classes.difference(&covers.classes).next() {
            return Err(format!(
                "the statement itself is of class {class}, which is not among those named"
            ));
        }
        let covers = RunCovers {
            classes: covers.classes.clone(),
            tables: covers
                .tables
                .iter()
                .map(|name| qualified(name, decided.schema()))
                .collect(),
        };
        if let Some(table) = touches.tables.keys().find(|table| !covers.tables.contains(table)) {
            return Err(format!(
                "the statement itself touches `{table}`, which is not among the tables named"
            ));
        }
        let transaction = match (reach, decided.transaction) {
            (Reach::Transaction, Transaction::Open { opened_at, .. }) => Some(opened_at),
            (Reach::Transaction, Transaction::Idle | Transaction::Implicit { .. } | Transaction::Failed) => {
                return Err("no transaction is open that it could end with".to_owned());
            }
            (Reach::Session, _) => None,
            (Reach::Principal, _) => return Err("a run is for one session or transaction".to_owned()),
        };
        let known = touches
            .tables
            .iter()
            .filter_map(|(name, oid)| Some((name.clone(), oid.clone()?)));
        Ok(Self {
            known: known.collect(),
            covers,
            risk: decided.risk,
            transaction,
        })
    }

    /// Whether a statement belongs to it.
    pub fn let_through(&self, frame: Digest, sent: &HeldRequest) -> bool {
        let InRun::Fits(touches) = &sent.in_run else {
            return false;
        };
        let is_in_transaction = self.transaction.is_none_or(
            |opened| matches!(sent.transaction, Transaction::Open { opened_at, .. } if opened_at == opened),
        );
        touches.frame == frame
            && is_in_transaction
            && sent.risk <= self.risk
            && touches.classes.is_subset(&self.covers.classes)
            && touches
                .tables
                .iter()
                .all(|(name, oid)| self.has(name, oid.as_deref()))
    }

    /// By its name, as long as that means the same table; or as the same table under another name for it.
    fn has(&self, name: &TableName, oid: Option<&str>) -> bool {
        match (self.known.get(name), oid) {
            (Some(known), Some(oid)) => known == oid,
            _ if self.covers.tables.contains(name) => true,
            (_, Some(oid)) => self.known.values().any(|known| known == oid),
            (_, None) => false,
        }
    }
}

impl HeldRequest {
    /// Where names without a schema are looked up, where that is one place.
    fn schema(&self) -> Option<&str> {
        schema_of(&self.protocol, &self.peer)
    }
}

impl StandingGrant {
    /// Whether it ends with this session's transaction.
    pub fn ends_with_transaction(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.transaction.is_some())
    }
}

/// MySQL's default database; PostgreSQL's search_path is several, and is in the frame as a fact.
fn schema_of<'a>(protocol: &str, peer: &'a Peer) -> Option<&'a str> {
    let is_mysql = !is_postgres(protocol);
    (is_mysql && !peer.database.is_empty()).then_some(peer.database.as_str())
}

fn is_postgres(protocol: &str) -> bool {
    matches!(protocol, "simple" | "extended")
}

fn qualified(name: &TableName, schema: Option<&str>) -> TableName {
    TableName {
        schema: name.schema.clone().or_else(|| schema.map(str::to_owned)),
        name: name.name.clone(),
    }
}

fn tables(parts: RunParts<'_>) -> BTreeMap<TableName, Option<String>> {
    let schema = schema_of(parts.protocol, parts.peer);
    let named = parts
        .judgement
        .actions
        .iter()
        .flat_map(|action| action.tables.iter().chain(&action.behind));
    named
        .map(|name| (qualified(name, schema), oid(name, parts.names)))
        .collect()
}

/// What `identity.sql` says of a name: a line `r schema.name oid`, the schema empty if the statement names none.
fn oid(name: &TableName, names: &str) -> Option<String> {
    let start = format!("r {}.{} ", name.schema.as_deref().unwrap_or_default(), name.name);
    let mut found = names.lines().filter_map(|line| line.strip_prefix(&start));
    let oid = found.next()?;
    oid.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| oid.to_owned())
}

/// Whether the server says that something hangs on the tables besides: views' tables, partitions, and what a foreign key
/// changes too. Lines `b oid …` name all that is reached.
fn reaches_further(names: &str) -> bool {
    let named: BTreeSet<&str> = names
        .lines()
        .filter_map(|line| line.strip_prefix("r ").and_then(|rest| rest.rsplit(' ').next()))
        .collect();
    let mut reached = names
        .lines()
        .filter_map(|line| line.strip_prefix("b ").and_then(|rest| rest.split(' ').next()));
    reached.any(|oid| !named.contains(oid))
}

fn decided_each_time(parts: RunParts<'_>) -> Option<String> {
    let judgement = parts.judgement;
    if matches!(parts.transaction, Transaction::Failed) {
        return Some("its transaction has failed, so what its names mean could not be asked".to_owned());
    }
    if parts.protocol == "prepare" {
        return Some("it is only prepared".to_owned());
    }
    let path = parts.facts.get("search_path");
    if path.is_some_and(|path| PathTrust::of(path) == PathTrust::Shadowing) {
        return Some("under its search_path a built-in name may be somebody else's".to_owned());
    }
    if judgement.actions.is_empty() || judgement.depends_on_names {
        return Some("what it does depends on more than its text".to_owned());
    }
    if let Some(why) = judgement.actions.iter().find_map(|action| in_none(action, parts)) {
        return Some(why);
    }
    says_more(parts).map(str::to_owned)
}

/// Why an action is in no run, if so.
fn in_none(action: &Action, parts: RunParts<'_>) -> Option<String> {
    let class = action.class;
    if !CLASSES.contains(&class) {
        return Some(format!("a statement of class {class} is decided each time"));
    }
    let verb = action.verb.as_str();
    if class == Class::Ddl && !DEFINITIONS.contains(&verb) {
        return Some(format!(
            "what `{verb}` changes is not told by the tables it names"
        ));
    }
    let is_prepared = parts.protocol == "binary";
    if is_prepared && action.tables.iter().any(|table| table.schema.is_none()) {
        return Some("it may have been prepared in another database than the session is in now".to_owned());
    }
    if action.tables.is_empty() {
        return Some("it names no table".to_owned());
    }
    if action.copies_in {
        return Some("the client's data follows it and is not shown".to_owned());
    }
    if !action.effects.is_empty() {
        return Some("it changes what later statements mean".to_owned());
    }
    if !action.secrets.is_empty() {
        return Some("a literal in it is a secret".to_owned());
    }
    if let Some(called) = action.functions.iter().find(|called| !is_harmless(called)) {
        return Some(format!("it calls `{called}`, which may do more"));
    }
    if !ITSELF_ALONE.contains(&verb) && reaches_further(parts.names) {
        return Some("views, partitions or foreign keys lead from its tables to others".to_owned());
    }
    None
}

fn is_harmless(called: &FunctionName) -> bool {
    let built_in = matches!(called.schema.as_deref(), None | Some("pg_catalog"));
    built_in && lists::function(&called.name) == Known::Harmless
}

/// Words by which a definition reaches what it does not name, or moves a table under another name.
fn says_more(parts: RunParts<'_>) -> Option<&'static str> {
    let text = match std::str::from_utf8(parts.text) {
        Ok(text) => text,
        Err(_) => return Some("its text is no UTF-8"),
    };
    const CASCADES: &str = "CASCADE takes along what hangs on its tables";
    const RENAMES: &str = "it puts a table under another name";
    if !is_postgres(parts.protocol) {
        let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let found = words.any(|word| {
            ["rename", "exchange", "tablespace", "union", "directory"]
                .iter()
                .any(|more| word.eq_ignore_ascii_case(more))
        });
        return found.then_some(RENAMES);
    }
    let conforming = parts
        .facts
        .get("standard_conforming_strings")
        .is_none_or(|value| value == "on");
    let scan = scan(text, conforming);
    if scan.refused.is_some() {
        return Some("its words cannot be told apart for certain");
    }
    let words: Vec<&str> = scan
        .tokens
        .iter()
        .map(|token| {
            if token.kind == Kind::Word {
                token.text(text)
            } else {
                ""
            }
        })
        .collect();
    let is = |at: usize, word: &str| {
        words
            .get(at)
            .is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    for at in 0..words.len() {
        let of_key = at >= 2 && is(at - 2, "on") && (is(at - 1, "delete") || is(at - 1, "update"));
        if is(at, "cascade") && !of_key {
            return Some(CASCADES);
        }
        if (is(at, "rename") && is(at + 1, "to")) || (is(at, "set") && is(at + 1, "schema")) {
            return Some(RENAMES);
        }
        // A default that is set later is kept as it is, and is not among what was judged.
        let keeps = is(at, "set") && (is(at + 1, "default") || is(at + 1, "expression"));
        let rest = scan.tokens.get(at + 2..).unwrap_or_default();
        let mut kept = rest
            .iter()
            .take_while(|token| !matches!(token.kind, Kind::Comma | Kind::Semicolon));
        if keeps && kept.any(|token| matches!(token.kind, Kind::Open | Kind::Name | Kind::Operator)) {
            return Some("what it sets as a default may call anything");
        }
    }
    None
}

fn frame(parts: RunParts<'_>) -> Digest {
    let RunParts {
        peer,
        protocol,
        verdict,
        facts,
        rules,
        // Compared by themselves.
        text: _,
        judgement: _,
        transaction: _,
        names: _,
    } = parts;
    let mut digest = DigestBuilder::new("countersign run 1")
        .field("principal", peer.principal.as_str().as_bytes())
        .field("session", peer.session.to_string().as_bytes())
        .field("upstream", peer.upstream.as_bytes())
        .field("database", peer.database.as_bytes())
        .field("database_user", peer.database_user.as_bytes())
        .field("is_postgres", &[u8::from(is_postgres(protocol))])
        .field("rules", &rules)
        .field("requirement", verdict.requirement.to_string().as_bytes());
    for (name, value) in facts.iter().filter(|(name, _)| is_of_session(name)) {
        digest = digest
            .field("fact", name.as_bytes())
            .field("value", value.as_bytes());
    }
    digest.finish()
}

/// Facts that are not of one statement alone: values of variables that it names, and by which sending it is known.
fn is_of_session(fact: &str) -> bool {
    !fact.starts_with('@') && fact != "may run" && fact != READ_AS
}
