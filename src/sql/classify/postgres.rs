//! The closed walk over libpg_query's tree of one message: each statement becomes an `Action`.
//! Never says harmless of a node, name or setting that it does not know. Read `postgres/expression.rs` next.
//!
//! Why closed: the grammar is that of a newer server than the one that runs the text, so a construct without an answer
//! here may be a call of somebody's function there.

mod define;
mod expression;
mod manipulate;
pub mod second;
pub mod setting;
mod utility;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use pg_raw_parse::nodes::RawStmt;
use pg_raw_parse::{Node, ParseResult};

use self::setting::Followed;
use crate::sql::action::{Action, Breadth, Class, Effect, FunctionName, TableName};
use crate::sql::lex::postgres::Token;
use crate::sql::names::KnownNames;
use crate::sql::statement::{PathTrust, Role};

/// What a message is read under.
#[derive(Clone, Copy)]
pub struct Context<'t> {
    pub text: &'t str,
    pub tokens: &'t [Token],
    pub path: PathTrust,
    pub role: Role,
    pub names: &'t dyn KnownNames,
}

/// What a message is made of.
pub struct Classified {
    /// In order.
    pub actions: Vec<Action>,
    /// One of them names a prepared statement.
    pub depends_on_names: bool,
    pub followed: Followed,
}

pub fn classify(tree: &ParseResult, context: Context<'_>) -> Classified {
    let mut message = Message {
        context,
        path: context.path,
        path_change: None,
        prepared: HashMap::new(),
        forgotten: false,
        depends_on_names: false,
        followed: Followed::default(),
    };
    let mut actions: Vec<Action> = tree.iter().map(|raw| message.statement(raw)).collect();
    if let [_, _, ..] = actions[..] {
        // Carried out by the proxy only where nothing else is asked for.
        actions.iter_mut().for_each(|action| action.cancels = None);
    }
    Classified {
        actions,
        depends_on_names: message.depends_on_names,
        followed: message.followed,
    }
}

/// The action of a text that could not be read.
pub fn unknown_action(span: Range<usize>, reason: String) -> Action {
    Action {
        class: Class::Unknown,
        breadth: Breadth::Unbounded,
        verb: "unknown".to_owned(),
        tables: BTreeSet::new(),
        columns: BTreeSet::new(),
        functions: BTreeSet::new(),
        behind: BTreeSet::new(),
        rows: None,
        reasons: vec![reason],
        effects: Vec::new(),
        span,
        secrets: Vec::new(),
        parse_is_safe: false,
        copies_in: false,
        cancels: None,
        commits: false,
    }
}

/// What the server skips between words: any other blank is part of a name, and so of what a reviewer must see.
const BLANKS: [char; 5] = [' ', '\t', '\n', '\r', '\x0c'];

/// State that one statement of a message leaves to the next.
struct Message<'t> {
    context: Context<'t>,
    path: PathTrust,
    /// Why the path is not what it was when the message came.
    path_change: Option<&'static str>,
    /// Names made (`Some`) and dropped (`None`) by this message itself.
    prepared: HashMap<String, Option<Arc<Action>>>,
    /// DEALLOCATE ALL or DISCARD ALL came by: names from before the message are gone.
    forgotten: bool,
    depends_on_names: bool,
    followed: Followed,
}

impl Message<'_> {
    fn statement(&mut self, raw: &RawStmt) -> Action {
        let span = self.span(raw);
        let mut walk = Walk::new(self, span.clone());
        walk.statement(raw.stmt());
        let (mut action, path) = walk.finish();
        action.cancels = expression::cancel_target(raw.stmt());
        if let Some((path, why)) = path {
            self.path = path;
            self.path_change = Some(why);
        }
        self.remember(&action);
        action
    }

    /// Names and the path as they are for the statements behind this one.
    fn remember(&mut self, action: &Action) {
        for effect in &action.effects {
            match effect {
                Effect::Prepares { name, inner } => {
                    self.prepared.insert(name.clone(), Some(Arc::clone(inner)));
                }
                Effect::Deallocates { name: Some(name) } => {
                    self.prepared.insert(name.clone(), None);
                }
                Effect::Deallocates { name: None } | Effect::DiscardsAll => {
                    self.prepared.clear();
                    self.forgotten = true;
                }
                Effect::EndsTransaction { .. } | Effect::RollsBackToSavepoint => {
                    self.path = PathTrust::Shadowing;
                    self.path_change = Some("the end of a transaction may change search_path");
                }
                Effect::BeginsTransaction
                | Effect::ChangesMeaning
                | Effect::RunsCursor
                | Effect::ProxySetting { .. } => {}
            }
        }
    }

    fn prepared(&self, name: &str) -> Option<Arc<Action>> {
        match self.prepared.get(name) {
            Some(known) => known.clone(),
            None if self.forgotten => None,
            None => self.context.names.prepared(name),
        }
    }

    /// The bytes of a statement, without the blanks around it.
    fn span(&self, raw: &RawStmt) -> Range<usize> {
        let text = self.context.text;
        let start = usize::try_from(raw.stmt_location).unwrap_or(0).min(text.len());
        let length = usize::try_from(raw.stmt_len).unwrap_or(0);
        let end = match length {
            0 => text.len(),
            length => start.saturating_add(length).min(text.len()),
        };
        let piece = text.get(start..end).unwrap_or_default();
        let start = start + (piece.len() - piece.trim_start_matches(BLANKS).len());
        start..start + piece.trim_matches(BLANKS).len()
    }
}

/// The walk over one statement.
struct Walk<'t, 'm> {
    message: &'m mut Message<'t>,
    span: Range<usize>,
    class: Class,
    verb: &'static str,
    tables: BTreeSet<TableName>,
    columns: BTreeSet<String>,
    functions: BTreeSet<FunctionName>,
    behind: BTreeSet<TableName>,
    rows_whole: Option<u64>,
    reasons: Vec<String>,
    effects: Vec<Effect>,
    /// Names of common table expressions in sight, innermost last.
    ctes: Vec<String>,
    /// Names by which whole rows can be called.
    rows: Vec<String>,
    /// A write that reaches more than the rows it lists.
    unbounded: bool,
    /// It calls something that belongs to the session, such as an advisory lock.
    session: bool,
    /// A function, type or operator that is on no list: its input runs at Parse already.
    unlisted: bool,
    /// Inside a definition that is stored, not run.
    defining: bool,
    /// Inside the values of an INSERT, where nextval is part of a bounded write.
    inserting: bool,
    /// The setting that the query at hand picks from pg_settings by a literal name.
    setting_row: Option<String>,
    depth: usize,
    path: Option<(PathTrust, &'static str)>,
    copies_in: bool,
    commits: bool,
}

/// Far above what the scanner's limits let through; a second fence for the stack.
const DEPTH_MAX: usize = 10_000;

impl<'t, 'm> Walk<'t, 'm> {
    fn new(message: &'m mut Message<'t>, span: Range<usize>) -> Self {
        Self {
            message,
            span,
            class: Class::Transaction,
            verb: "unknown",
            tables: BTreeSet::new(),
            columns: BTreeSet::new(),
            functions: BTreeSet::new(),
            behind: BTreeSet::new(),
            rows_whole: None,
            reasons: Vec::new(),
            effects: Vec::new(),
            ctes: Vec::new(),
            rows: Vec::new(),
            unbounded: false,
            session: false,
            unlisted: false,
            defining: false,
            inserting: false,
            setting_row: None,
            depth: 0,
            path: None,
            copies_in: false,
            commits: false,
        }
    }

    fn finish(mut self) -> (Action, Option<(PathTrust, &'static str)>) {
        if self.rows.iter().any(|row| self.columns.contains(row)) {
            self.columns.insert("*".to_owned());
        }
        let credentials: Vec<&str> = expression::credentials(&self.tables, &self.columns).collect();
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
        };
        (action, self.path)
    }

    /// The statement is at least of this class.
    fn is(&mut self, class: Class, verb: &'static str) {
        self.class = self.class.max(class);
        self.verb = verb;
    }

    /// Something inside makes it at least of this class, for a reason that people can read.
    fn raise(&mut self, class: Class, reason: impl Into<String>) {
        if !self.defining {
            self.class = self.class.max(class);
        }
        let reason = reason.into();
        if !self.reasons.contains(&reason) && self.reasons.len() < REASONS_MAX {
            self.reasons.push(reason);
        }
    }

    /// A name that no list has. Its input functions may run as soon as the text is parsed.
    fn unlisted(&mut self, class: Class, reason: impl Into<String>) {
        self.unlisted = true;
        self.raise(class, reason);
    }

    fn unknown_node(&mut self) {
        self.unlisted(Class::Unknown, "holds a construct that is not understood");
    }

    /// An unqualified name while another schema may stand before pg_catalog.
    fn is_shadowed(&mut self) -> bool {
        let shadowed = self.message.path == PathTrust::Shadowing;
        if shadowed {
            let why = self.message.path_change;
            let why = why.unwrap_or("search_path puts another schema before pg_catalog");
            self.unlisted(Class::Unknown, format!("names may mean something else: {why}"));
        }
        shadowed
    }

    /// Notes what a SET says of later texts; a default is whatever the server was set up with.
    fn follow(&mut self, followed: Followed, local: bool, explicit: bool) {
        if let Some(path) = followed.path {
            self.set_path(path, local);
        }
        let known = &mut self.message.followed;
        let path = if explicit {
            followed.path
        } else {
            followed.path.map(|_| PathTrust::Safe)
        };
        known.path = path.or(known.path);
        known.role = followed.role.or(known.role);
        known.encoding = followed.encoding.or(known.encoding);
        known.standard_conforming_strings = followed
            .standard_conforming_strings
            .or(known.standard_conforming_strings);
    }

    fn set_path(&mut self, path: PathTrust, local: bool) {
        // SET LOCAL and set_config may turn out to have no effect, so they can only take trust away.
        let path = if local && self.message.path == PathTrust::Shadowing {
            PathTrust::Shadowing
        } else {
            path
        };
        self.path = Some((path, "search_path was changed in the same message"));
    }

    /// A nested query or statement below the one that gives the verb.
    fn nested(&mut self, node: Node<'_>) {
        let verb = self.verb;
        let setting_row = self.setting_row.take();
        self.statement(node);
        self.setting_row = setting_row;
        self.verb = verb;
    }

    fn statement(&mut self, node: Node<'_>) {
        match node {
            Node::SelectStmt(select) => {
                self.is(Class::Read, "select");
                self.select(select);
            }
            Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_) | Node::MergeStmt(_) => {
                self.manipulation(node);
            }
            Node::TransactionStmt(_)
            | Node::VariableSetStmt(_)
            | Node::VariableShowStmt(_)
            | Node::DiscardStmt(_)
            | Node::ListenStmt(_)
            | Node::UnlistenStmt(_)
            | Node::NotifyStmt(_)
            | Node::ConstraintsSetStmt(_)
            | Node::LockStmt(_)
            | Node::PrepareStmt(_)
            | Node::ExecuteStmt(_)
            | Node::DeallocateStmt(_)
            | Node::DeclareCursorStmt(_)
            | Node::FetchStmt(_)
            | Node::ClosePortalStmt(_)
            | Node::ExplainStmt(_)
            | Node::CopyStmt(_)
            | Node::DoStmt(_)
            | Node::CallStmt(_)
            | Node::VacuumStmt(_) => self.utility(node),
            _ => self.definition(node),
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
