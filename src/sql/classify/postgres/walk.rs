//! The walk over one statement: what it has found so far, and how that becomes an `Action`.
//! Never lowers a class that something inside has raised. Read `kinds.rs` next.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use pg_raw_parse::Node;

use super::Message;
use super::kinds::{Kind, kind};
use super::relation::{Source, credentials};
use super::setting::{Followed, NewPath};
use crate::sql::action::{Action, Breadth, Class, Effect, FunctionName, Steps, TableName};
use crate::sql::names::{Catalog, Concern, Relation, Routine};
use crate::sql::statement::PathTrust;

/// The walk over one statement.
pub(super) struct Walk<'t, 'm> {
    pub message: &'m mut Message<'t>,
    pub span: Range<usize>,
    pub class: Class,
    pub verb: &'static str,
    pub tables: BTreeSet<TableName>,
    pub columns: BTreeSet<String>,
    pub functions: BTreeSet<FunctionName>,
    pub behind: BTreeSet<TableName>,
    /// What the catalog has said of relations, and the rows that each one hands on.
    pub relations: BTreeMap<TableName, (Arc<Relation>, Option<u64>)>,
    pub rows_whole: Option<u64>,
    /// Of what the query in hand reads unnarrowed: the rows of the largest, whatever its own LIMIT.
    pub rows_seen: Option<u64>,
    /// A result of the query in hand is made of all its rows.
    pub gathers: bool,
    pub reasons: Vec<String>,
    pub effects: Vec<Effect>,
    /// Common table expressions in sight, innermost last.
    pub ctes: Vec<Cte>,
    /// Names by which whole rows can be called.
    pub rows: Vec<String>,
    /// What stands in FROM, innermost last; kept only where there is a catalog.
    pub sources: Vec<Source>,
    /// How many rows of a table read here can come out of the statement: 0 where a condition or an aggregate stands
    /// between.
    pub reach: u64,
    /// A write that reaches more than the rows it lists.
    pub unbounded: bool,
    /// It calls something that belongs to the session, such as an advisory lock.
    pub session: bool,
    /// A function, type or operator that is on no list: its input runs at Parse already.
    pub unlisted: bool,
    /// A value of a type that is not built in is about.
    pub foreign: bool,
    /// Routines that only such a value makes possible: FROM and common table expressions may come late.
    pub later: Vec<Arc<Routine>>,
    /// Inside a definition that is stored, not run.
    pub defining: bool,
    /// Inside the values of an INSERT, where nextval is part of a bounded write.
    pub inserting: bool,
    /// The setting that the query at hand picks from pg_settings by a literal name.
    pub setting_row: Option<String>,
    pub depth: usize,
    pub path: Option<(PathTrust, &'static str)>,
    pub copies_in: bool,
    pub commits: bool,
    pub steps: Steps,
    /// As in `Action`.
    pub reaches_unnamed: bool,
}

/// A common table expression, and how many rows of a table it passes on.
pub(super) struct Cte {
    pub name: String,
    pub rows: Option<u64>,
}

/// Far above what the scanner's limits let through; a second fence for the stack.
pub(super) const DEPTH_MAX: usize = 10_000;

impl<'t, 'm> Walk<'t, 'm> {
    pub fn new(message: &'m mut Message<'t>, span: Range<usize>) -> Self {
        Self {
            message,
            span,
            class: Class::Transaction,
            verb: "unknown",
            tables: BTreeSet::new(),
            columns: BTreeSet::new(),
            functions: BTreeSet::new(),
            behind: BTreeSet::new(),
            relations: BTreeMap::new(),
            rows_whole: None,
            rows_seen: None,
            gathers: false,
            reasons: Vec::new(),
            effects: Vec::new(),
            ctes: Vec::new(),
            rows: Vec::new(),
            sources: Vec::new(),
            reach: u64::MAX,
            unbounded: false,
            session: false,
            unlisted: false,
            foreign: false,
            later: Vec::new(),
            defining: false,
            inserting: false,
            setting_row: None,
            depth: 0,
            path: None,
            copies_in: false,
            commits: false,
            steps: Steps::default(),
            reaches_unnamed: false,
        }
    }

    pub fn finish(mut self) -> (Action, Option<(PathTrust, &'static str)>) {
        if self.rows.iter().any(|row| self.columns.contains(row)) {
            self.columns.insert("*".to_owned());
            // The row of a table is a value of that table's type.
            self.foreign = true;
        }
        if self.foreign {
            for routine in std::mem::take(&mut self.later) {
                self.may_mean(&routine);
            }
        }
        let credentials: Vec<&str> = credentials(&self.tables, &self.columns).collect();
        for relation in credentials {
            self.raise(Class::Admin, format!("reads credentials from `{relation}`"));
        }
        if self.reasons.is_empty() {
            self.reasons.extend(usual_reason(self.class, self.verb));
        }
        // A read of nothing but the session's own things; with a table in it, it stays a read of that table.
        if self.session && self.class == Class::Read && self.tables.is_empty() {
            self.class = Class::Session;
        }
        let breadth = match self.class {
            Class::Read => Breadth::Bounded,
            Class::Write if !self.unbounded => Breadth::Bounded,
            Class::Transaction
            | Class::Session
            | Class::Write
            | Class::Ddl
            | Class::Export
            | Class::Procedural
            | Class::Grant
            | Class::Admin
            | Class::Unknown => Breadth::Unbounded,
        };
        let action = Action {
            class: self.class,
            breadth,
            verb: self.verb.to_owned(),
            tables: self.tables,
            columns: self.columns,
            functions: self.functions,
            behind: self.behind,
            rows: self.rows_whole,
            reasons: self.reasons,
            effects: self.effects,
            span: self.span,
            secrets: Vec::new(),
            parse_is_safe: !self.unlisted,
            copies_in: self.copies_in,
            cancels: None,
            commits: self.commits,
            steps: self.steps,
            reaches_unnamed: self.reaches_unnamed,
        };
        (action, self.path)
    }

    pub fn catalog(&self) -> Option<&'t dyn Catalog> {
        self.message.catalog
    }

    /// The statement is at least of this class.
    pub fn is(&mut self, class: Class, verb: &'static str) {
        self.class = self.class.max(class);
        self.verb = verb;
        if class == Class::Write {
            self.step(verb);
        }
    }

    /// Something inside makes it at least of this class, for a reason that people can read.
    pub fn raise(&mut self, class: Class, reason: impl Into<String>) {
        let reason = reason.into();
        if !self.defining {
            self.class = self.class.max(class);
        } else if class > Class::Ddl {
            self.beyond(reason.as_str());
        }
        if !self.reasons.contains(&reason) && self.reasons.len() < REASONS_MAX {
            self.reasons.push(reason);
        }
    }

    /// A name that no list has. Its input functions may run as soon as the text is parsed.
    pub fn unlisted(&mut self, class: Class, reason: impl Into<String>) {
        self.unlisted = true;
        let reason = reason.into();
        self.beyond(reason.as_str());
        self.raise(class, reason);
    }

    /// A step of it, in the word by which runs are made.
    pub fn step(&mut self, word: &'static str) {
        self.steps.words.insert(word);
    }

    /// It may run, reach or change more than it names. The first reason is told.
    pub fn beyond(&mut self, why: impl Into<String>) {
        self.steps.beyond.get_or_insert_with(|| why.into());
    }

    /// What the catalog says that it does besides.
    pub fn concerned(&mut self, concern: &Concern) {
        self.reaches_unnamed = true;
        if concern.is_listed() {
            return;
        }
        // What is written besides, no condition of the statement's bounds.
        self.unbounded |= concern.class == Class::Write;
        self.unlisted(concern.class, concern.reason.as_str());
    }

    /// Nothing that calls, compares or converts is certain while the catalog knows of such a danger.
    pub fn uncertain(&mut self) {
        let Some(hazard) = self.message.hazard.clone() else {
            return;
        };
        match hazard.is_listed() {
            true => self.reaches_unnamed = true,
            false => self.unlisted(Class::Unknown, hazard.reason),
        }
    }

    pub fn unknown_node(&mut self) {
        self.unlisted(Class::Unknown, "holds a construct that is not understood");
    }

    /// An unqualified name while another schema may stand before pg_catalog, or while it is not the path that the catalog
    /// has applied.
    pub fn is_shadowed(&mut self) -> bool {
        let why = self.message.path_change;
        let shadowed = match self.message.catalog {
            Some(_) => why.is_some(),
            None => self.message.path == PathTrust::Shadowing,
        };
        if shadowed {
            let why = why.unwrap_or("search_path puts another schema before pg_catalog");
            self.unlisted(Class::Unknown, format!("names may mean something else: {why}"));
        }
        shadowed
    }

    /// Notes what a SET says of later texts; a default is whatever the server was set up with.
    pub fn follow(&mut self, followed: Followed, local: bool, explicit: bool) {
        if let Some(path) = followed.path {
            self.set_path(path, local);
        }
        let shadowing = match &followed.search_path {
            Some(NewPath::Text(text)) => self.catalog().and_then(|catalog| catalog.shadowing(text)),
            Some(NewPath::Default | NewPath::Unknown) | None => None,
        };
        if let Some(Concern { class, reason }) = shadowing {
            self.raise(class, reason);
        }
        let known = &mut self.message.followed;
        let path = if explicit {
            followed.path
        } else {
            followed.path.map(|_| PathTrust::Safe)
        };
        known.path = path.or(known.path);
        if let Some(search_path) = followed.search_path {
            // SET LOCAL ends with its transaction, and set_config may stand where it is never run.
            known.search_path = Some(if local { NewPath::Unknown } else { search_path });
        }
        known.role = followed.role.or(known.role);
        known.encoding = followed.encoding.or(known.encoding);
        known.standard_conforming_strings = followed
            .standard_conforming_strings
            .or(known.standard_conforming_strings);
    }

    pub fn set_path(&mut self, path: PathTrust, local: bool) {
        // SET LOCAL and set_config may turn out to have no effect, so they can only take trust away.
        let path = if local && self.message.path == PathTrust::Shadowing {
            PathTrust::Shadowing
        } else {
            path
        };
        self.path = Some((path, "search_path was changed in the same message"));
    }

    /// A nested query or statement below the one that gives the verb.
    pub fn nested(&mut self, node: Node<'_>) {
        let verb = self.verb;
        let setting_row = self.setting_row.take();
        self.statement(node);
        self.setting_row = setting_row;
        self.verb = verb;
    }

    pub fn descend(&mut self) -> bool {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.depth -= 1;
            self.unknown_node();
            return false;
        }
        true
    }

    pub fn statement(&mut self, node: Node<'_>) {
        match kind(node) {
            Kind::Query => {
                self.is(Class::Read, "select");
                self.expression(node);
            }
            Kind::Manipulation => self.manipulation(node),
            Kind::Utility => self.utility(node),
            Kind::Definition => self.definition(node),
            Kind::Plain(class, verb) => self.plain_definition(node, class, verb),
            Kind::Expression | Kind::Source | Kind::Part | Kind::Analyzed | Kind::Nothing | Kind::Invalid => {
                self.unknown_node()
            }
        }
    }
}

/// What a class means, where nothing more is to be said.
fn usual_reason(class: Class, verb: &str) -> Option<String> {
    match class {
        Class::Transaction | Class::Session | Class::Read | Class::Write => None,
        Class::Ddl => Some(format!("{verb} changes the schema")),
        Class::Export => Some(format!("{verb} takes data out of the database")),
        Class::Procedural => Some(format!("{verb} runs code")),
        Class::Grant => Some(format!("{verb} changes roles or privileges")),
        Class::Admin => Some(format!("{verb} changes how the server works")),
        Class::Unknown => Some(format!("{verb} is not understood")),
    }
}

/// More reasons than this help nobody.
const REASONS_MAX: usize = 20;
