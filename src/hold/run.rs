//! A run: what one decision lets through besides its own statement, in one session or transaction: further statements of
//! named classes and verbs on named tables. Never of another class, verb, table, role or search_path, never wider than what
//! was decided, and never what reaches further than it names. Read `standing.rs` for how it is counted and ended.
//!
//! Why a closed list of verbs: a statement that says nothing of the tables it changes (CREATE FUNCTION, DROP SCHEMA …
//! CASCADE) must never be taken for one that touches none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::clock::Timestamp;
use crate::hold::{
    Digest, DigestBuilder, HeldRequest, READ_AS, Reach, StandingGrant, TEMPORARY_TABLES, Transaction,
};
use crate::identity::principal::Peer;
use crate::policy::{Risk, Verdict};
use crate::sql::action::{Action, Breadth, Class, Effect, FunctionName, Judgement, TableName};
use crate::sql::classify::lists::{self, Known};
use crate::sql::lex::postgres::{Kind, scan};
use crate::sql::statement::PathTrust;

/// What a run may hold at all; the others are decided each time.
pub const CLASSES: [Class; 3] = [Class::Read, Class::Write, Class::Ddl];

/// The verbs that a run may be for: what a definition does as `Steps` says it, and the verbs of reads and
/// writes. `alter table` stands for all that begin so.
pub const VERBS: [&str; 51] = [
    "alter sequence",
    "alter table",
    "alter table add column",
    "alter table add constraint",
    "alter table alter constraint",
    "alter table alter type",
    "alter table attach partition",
    "alter table detach partition",
    "alter table drop column",
    "alter table drop constraint",
    "alter table drop expression",
    "alter table drop identity",
    "alter table drop not null",
    "alter table inherit",
    "alter table no inherit",
    "alter table rename column",
    "alter table rename constraint",
    "alter table set default",
    "alter table set expression",
    "alter table set identity",
    "alter table set not null",
    "alter table set options",
    "alter table validate constraint",
    "comment",
    "create index",
    "create or replace table",
    "create or replace view",
    "create sequence",
    "create table",
    "create table as",
    "create temporary table",
    "create view",
    "declare cursor",
    "delete",
    "describe",
    "drop index",
    "drop sequence",
    "drop table",
    "drop view",
    "explain",
    "fetch",
    "insert",
    "merge",
    "move",
    "replace",
    "select",
    "show",
    "table",
    "truncate",
    "update",
    "values",
];

/// What a statement changes besides the tables it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Follows {
    /// Nothing, whatever hangs on them.
    Nothing,
    /// Their partitions and children, which are changed with them.
    Heirs,
    /// Whatever views, rules, foreign keys and partitions lead to.
    All,
}

fn follows(verb: &str) -> Follows {
    match verb {
        "alter sequence"
        | "comment"
        | "create or replace view"
        | "create sequence"
        | "create table"
        | "create temporary table"
        | "create view" => Follows::Nothing,
        "create index" => Follows::Heirs,
        verb if is_under(verb, "alter table") => Follows::Heirs,
        _ => Follows::All,
    }
}

/// Whether `verb` is `named`, or one of those that `alter table` stands for.
fn is_under(verb: &str, named: &str) -> bool {
    verb == named || named == "alter table" && verb.starts_with("alter table ")
}

/// The classes, verbs and tables that a run is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunCovers {
    pub classes: BTreeSet<Class>,
    /// Of `VERBS`.
    pub verbs: BTreeSet<String>,
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
            if self.verbs.is_empty() {
                self.verbs.clone_from(&touches.verbs);
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
            verbs: (self.verbs.iter().filter(|verb| other.has_verb(verb)))
                .chain(other.verbs.iter().filter(|verb| self.has_verb(verb)))
                .cloned()
                .collect(),
            tables: self.tables.intersection(&other.tables).cloned().collect(),
        }
    }
}

impl RunCovers {
    fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|named| is_under(verb, named))
    }
}

impl fmt::Display for RunCovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classes: Vec<_> = self.classes.iter().map(ToString::to_string).collect();
        let verbs: Vec<_> = self.verbs.iter().map(String::as_str).collect();
        let tables: Vec<_> = self.tables.iter().map(ToString::to_string).collect();
        let (classes, verbs, tables) = (classes.join(", "), verbs.join(", "), tables.join(", "));
        write!(f, "run of {classes} ({verbs}) on {tables}")
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
    pub verbs: BTreeSet<String>,
    /// The widest of its writes.
    pub breadth: Breadth,
    /// Each table, and each that is changed with one, with what tells it from another of its name, where the server told that.
    pub tables: BTreeMap<TableName, Option<String>>,
}

/// What a run lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunBounds {
    pub covers: RunCovers,
    /// Tables of the decided statement that were there: they must still be the same ones.
    pub known: BTreeMap<TableName, String>,
    /// No statement of a higher risk,
    pub risk: Risk,
    /// and no write that reaches more than those that were shown.
    pub breadth: Breadth,
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
                verbs: parts.judgement.actions.iter().flat_map(verbs).collect(),
                breadth: breadth(parts.judgement),
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
        if let Some(verb) = touches.verbs.iter().find(|verb| !covers.has_verb(verb)) {
            return Err(format!(
                "the statement itself is `{verb}`, which is not among the verbs named"
            ));
        }
        let covers = RunCovers {
            classes: covers.classes.clone(),
            verbs: covers.verbs.clone(),
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
            breadth: touches.breadth,
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
            && touches.breadth <= self.breadth
            && touches.classes.is_subset(&self.covers.classes)
            && touches.verbs.iter().all(|verb| self.covers.has_verb(verb))
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
        schema_of(&self.protocol, &self.facts)
    }
}

impl StandingGrant {
    /// Whether it ends with this session's transaction.
    pub fn ends_with_transaction(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.transaction.is_some())
    }
}

/// The schema that a MySQL session is in now; PostgreSQL's search_path is several, and is in the frame as a fact.
fn schema_of<'a>(protocol: &str, facts: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let database = facts.get("database").filter(|_| !is_postgres(protocol));
    database.map(String::as_str)
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

/// What an action does, in the words by which runs are made.
fn verbs(action: &Action) -> BTreeSet<String> {
    let steps = action.steps.words.iter().map(|step| (*step).to_owned());
    match action.class {
        Class::Ddl => steps.collect(),
        Class::Read
        | Class::Write
        | Class::Transaction
        | Class::Session
        | Class::Export
        | Class::Procedural
        | Class::Grant
        | Class::Admin
        | Class::Unknown => steps.chain([action.verb.clone()]).collect(),
    }
}

/// What it changes besides what it names.
fn furthest(action: &Action) -> Follows {
    let follows = verbs(action).iter().map(|verb| follows(verb)).max();
    follows.unwrap_or(Follows::All)
}

fn breadth(judgement: &Judgement) -> Breadth {
    let writes = judgement
        .actions
        .iter()
        .filter(|action| action.class == Class::Write);
    writes
        .map(|action| action.breadth)
        .max()
        .unwrap_or(Breadth::Bounded)
}

fn tables(parts: RunParts<'_>) -> BTreeMap<TableName, Option<String>> {
    let schema = schema_of(parts.protocol, parts.facts);
    let mut touched = BTreeMap::new();
    for action in &parts.judgement.actions {
        for name in action.tables.iter().chain(&action.behind) {
            let known = oid(name, parts.names);
            if let Some(known) = known.as_deref().filter(|_| furthest(action) == Follows::Heirs) {
                touched.extend(heirs(known, parts.names).map(|(name, oid)| (name, Some(oid))));
            }
            touched.insert(qualified(name, schema), known);
        }
    }
    touched
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

/// The partitions and children of a table, down to the last: lines `h oid-of-it oid schema name`, names in hexadecimal.
fn heirs(of: &str, names: &str) -> impl Iterator<Item = (TableName, String)> {
    let start = format!("h {of} ");
    names.lines().filter_map(move |line| {
        let mut words = line.strip_prefix(&start)?.split(' ');
        let (oid, schema, name) = (words.next()?, unhex(words.next()?)?, unhex(words.next()?)?);
        let schema = Some(schema);
        Some((TableName { schema, name }, oid.to_owned()))
    })
}

fn unhex(digits: &str) -> Option<String> {
    let pairs = digits.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
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
    if parts.facts.contains_key(TEMPORARY_TABLES) {
        return Some("a name in it may mean a temporary table of the session's".to_owned());
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
    let verbs = verbs(action);
    if verbs.is_empty() || verbs.iter().any(|verb| !VERBS.contains(&verb.as_str())) {
        return Some(format!(
            "what `{}` changes is not told by the tables it names",
            action.verb
        ));
    }
    if let Some(why) = action.steps.beyond.as_ref().filter(|_| class == Class::Ddl) {
        return Some(why.clone());
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
    let commits = |effect: &Effect| matches!(effect, Effect::EndsTransaction { .. });
    if !action.effects.is_empty() {
        return Some(match action.effects.iter().all(commits) {
            true => "it commits what the transaction has done before".to_owned(),
            false => "it changes what later statements mean".to_owned(),
        });
    }
    if !action.secrets.is_empty() {
        return Some("a literal in it is a secret".to_owned());
    }
    if let Some(called) = action.functions.iter().find(|called| !is_harmless(called)) {
        return Some(format!("it calls `{called}`, which may do more"));
    }
    let mut named = action.tables.iter().chain(&action.behind);
    if named.any(|table| table.to_string().contains(char::is_control)) {
        return Some("a table's name in it cannot be shown on one line".to_owned());
    }
    if furthest(action) == Follows::All && reaches_further(parts.names) {
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
