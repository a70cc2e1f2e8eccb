//! The closed walk over one MySQL or MariaDB message: each statement becomes an `Action`.
//! Never says harmless of a node, name or word that it does not know. Read `mysql/statement.rs` next.
//!
//! Why two ways to read a statement: sqlparser knows queries, changes and definitions, and for them every node of its tree
//! has an arm here, without a wildcard, so that a new node does not compile until it is classified. What it knows only
//! loosely (SHOW, SET, EXPLAIN, transactions, everything that administers) is read word by word, to the last word.

mod audit;
mod call;
mod define;
mod expression;
mod held;
mod manipulate;
mod modes;
mod query;
mod reach;
pub mod setting;
mod show;
mod source;
mod statement;
mod utility;
mod words;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use self::audit::Seen;
pub use self::manipulate::is_zero_number;
use self::words::Words;
use crate::sql::action::{
    Action, Breadth, CancelTarget, Class, Effect, FunctionName, Judgement, Steps, TableName,
};
use crate::sql::lex::mysql::Token;
use crate::sql::mysql::read;
use crate::sql::mysql_state::{MysqlFollowed, MysqlState, TableNames};
use crate::sql::names::{Concern, KnownNames, NotKnown, Relation};

/// What a message is read under.
#[derive(Clone, Copy)]
pub struct Context<'t> {
    pub text: &'t str,
    pub state: &'t MysqlState,
    pub names: &'t dyn KnownNames,
    /// What the SQL inside a PREPARE would do, under the same settings.
    pub inner: &'t dyn Fn(&str) -> Judgement,
}

/// What a message is made of.
pub struct Classified {
    /// In order.
    pub actions: Vec<Action>,
    /// One of them names a prepared statement.
    pub depends_on_names: bool,
    /// What its SETs say, by their own words, of the settings that later texts are read under.
    pub followed: MysqlFollowed,
}

/// `statements`: the tokens of each, without the semicolons between them; none is empty.
pub fn classify(statements: &[&[Token]], context: Context<'_>) -> Classified {
    let mut message = Message {
        context,
        prepared: HashMap::new(),
        forgotten: false,
        depends_on_names: false,
        followed: MysqlFollowed::default(),
        used: false,
    };
    let mut actions: Vec<Action> = statements
        .iter()
        .map(|tokens| message.statement(tokens))
        .collect();
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

/// Names as the server compares them: what is one table to it is one name to rules.
fn told(tables: BTreeSet<TableName>, names: TableNames) -> BTreeSet<TableName> {
    if names == TableNames::AsWritten {
        return tables;
    }
    tables
        .into_iter()
        .map(|table| TableName {
            schema: table.schema.map(|schema| names.told(&schema)),
            name: names.told(&table.name),
        })
        .collect()
}

/// The action of a text that could not be read.
fn unknown_action(span: Range<usize>, reason: String) -> Action {
    crate::sql::classify::postgres::unknown_action(span, reason)
}

/// State that one statement of a message leaves to the next.
struct Message<'t> {
    context: Context<'t>,
    /// Names made (`Some`) and dropped (`None`) by this message itself.
    prepared: HashMap<String, Option<Arc<Action>>>,
    /// What was prepared before may mean something else by now.
    forgotten: bool,
    depends_on_names: bool,
    followed: MysqlFollowed,
    /// USE came by: names without a schema are those of another one, which the catalog was not asked for.
    used: bool,
}

impl Message<'_> {
    fn statement(&mut self, tokens: &[Token]) -> Action {
        let start = tokens.first().map_or(0, |token| token.start as usize);
        let end = tokens.last().map_or(start, |token| token.end as usize);
        let behind_change = self.reads_otherwise();
        let mut walk = Walk::new(self, start..end);
        walk.one(tokens);
        if behind_change {
            // The servers read a statement of a message only when the one before it has run.
            walk.raise(
                Class::Unknown,
                "stands behind a change of sql_mode or character set in the same message",
            );
        }
        let action = walk.finish();
        for effect in &action.effects {
            match effect {
                Effect::Prepares { name, inner } => {
                    self.prepared.insert(name.clone(), Some(Arc::clone(inner)));
                }
                Effect::Deallocates { name: Some(name) } => {
                    self.prepared.insert(name.clone(), None);
                }
                Effect::Deallocates { name: None } => {
                    self.prepared.clear();
                    self.forgotten = true;
                }
                Effect::DiscardsAll
                | Effect::EndsTransaction { .. }
                | Effect::RollsBackToSavepoint
                | Effect::BeginsTransaction
                | Effect::ChangesMeaning
                | Effect::ChangesValues
                | Effect::RunsCursor
                | Effect::ProxySetting { .. } => {}
            }
        }
        action
    }

    fn reads_otherwise(&self) -> bool {
        let state = self.context.state;
        state.after(&self.followed) != *state
    }

    /// What the catalog says of a relation; `None`: there is no catalog.
    fn relation(&self, table: &TableName) -> Option<Result<Arc<Relation>, NotKnown>> {
        let catalog = self.context.names.catalog()?;
        if self.used && table.schema.is_none() {
            return Some(Err(NotKnown(
                "it stands behind USE in the same message".to_owned(),
            )));
        }
        Some(catalog.relation(table))
    }

    /// In small letters: names are compared without case, as the servers do.
    fn prepared(&self, name: &str) -> Option<Arc<Action>> {
        match self.prepared.get(name) {
            Some(known) => known.clone(),
            None if self.forgotten => None,
            None => self.context.names.prepared(name),
        }
    }
}

/// The walk over one statement.
struct Walk<'t, 'm> {
    message: &'m mut Message<'t>,
    span: Range<usize>,
    class: Class,
    verb: String,
    tables: BTreeSet<TableName>,
    columns: BTreeSet<String>,
    functions: BTreeSet<FunctionName>,
    behind: BTreeSet<TableName>,
    rows_whole: Option<u64>,
    reasons: Vec<String>,
    effects: Vec<Effect>,
    /// Names of common table expressions in sight, innermost last.
    ctes: Vec<String>,
    /// What the tree has of the words that the audit counts.
    seen: Seen,
    /// A write that reaches more than the rows it lists.
    unbounded: bool,
    /// It touches something that belongs to the session, such as a user-level lock or a user variable.
    session: bool,
    /// As in `Action`.
    reaches_unnamed: bool,
    /// Inside a definition that is stored, not run.
    defining: bool,
    /// Below EXPLAIN: a change is planned, not made.
    explaining: bool,
    /// Inside the values of an INSERT, where NEXTVAL is part of a bounded write.
    inserting: bool,
    /// So many rows of what it reads the query at hand can pass on.
    reach: u64,
    /// Of what the query at hand reads unnarrowed: the rows of the largest, whatever its own LIMIT.
    rows_seen: Option<u64>,
    /// A result of the query at hand is made of all its rows.
    gathers: bool,
    depth: usize,
    cancels: Option<CancelTarget>,
    commits: bool,
    /// LOAD DATA LOCAL: the server asks the client for a file.
    copies_in: bool,
    steps: Steps,
}

/// Far above what the lexer's limits let through; a second fence for the stack.
const DEPTH_MAX: usize = 10_000;
/// More reasons than this help nobody.
const REASONS_MAX: usize = 20;

impl<'t, 'm> Walk<'t, 'm> {
    fn new(message: &'m mut Message<'t>, span: Range<usize>) -> Self {
        Self {
            message,
            span,
            class: Class::Transaction,
            verb: "unknown".to_owned(),
            tables: BTreeSet::new(),
            columns: BTreeSet::new(),
            functions: BTreeSet::new(),
            behind: BTreeSet::new(),
            rows_whole: None,
            reasons: Vec::new(),
            effects: Vec::new(),
            ctes: Vec::new(),
            seen: Seen::default(),
            unbounded: false,
            session: false,
            reaches_unnamed: false,
            defining: false,
            explaining: false,
            inserting: false,
            reach: 0,
            rows_seen: None,
            gathers: false,
            depth: 0,
            cancels: None,
            commits: false,
            copies_in: false,
            steps: Steps::default(),
        }
    }

    /// Reads one statement: word by word where the words say so, else as the second reader's tree.
    fn one(&mut self, tokens: &[Token]) {
        let context = self.message.context;
        let words = Words::new(context.text, context.state, tokens);
        match words.first_word().as_str() {
            "show" => self.show(words),
            "desc" | "describe" | "explain" | "analyze" => self.explain(words),
            "set" => self.set(words),
            "begin" | "start" | "commit" | "rollback" | "savepoint" | "release" | "xa" | "lock"
            | "unlock" | "use" | "kill" | "prepare" | "execute" | "deallocate" | "drop" | "do" | "call"
            | "handler" => self.utility(words),
            "table" => self.table_statement(words),
            _ => self.tree(words),
        }
    }

    /// A statement by its tree; without one by its first words, and then never as a read.
    fn tree(&mut self, words: Words<'_>) {
        let context = self.message.context;
        match read::statement(context.text, words.rest(), context.state) {
            Ok(statement) => {
                self.seen = Seen::default();
                self.statement(&statement);
                self.audit(words.rest());
                if self.class == Class::Ddl {
                    self.storage(words);
                }
            }
            Err(why) => self.by_first_words(words, &why),
        }
    }

    fn finish(mut self) -> Action {
        if self.reasons.is_empty() {
            self.reasons.extend(usual_reason(self.class, &self.verb));
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
        let names = self.message.context.state.table_names;
        // Nothing of a statement that is understood runs when it is prepared.
        let parse_is_safe = !matches!(self.class, Class::Unknown | Class::Procedural);
        Action {
            class: self.class,
            breadth,
            verb: self.verb,
            tables: told(self.tables, names),
            columns: self.columns,
            functions: self.functions,
            behind: told(self.behind, names),
            rows: self.rows_whole,
            reasons: self.reasons,
            effects: self.effects,
            span: self.span,
            secrets: Vec::new(),
            parse_is_safe,
            copies_in: self.copies_in,
            cancels: self.cancels,
            commits: self.commits,
            steps: self.steps,
            reaches_unnamed: self.reaches_unnamed,
        }
    }

    /// What the catalog says that it does besides.
    fn concerned(&mut self, concern: &Concern) {
        self.reaches_unnamed = true;
        if !concern.is_listed() {
            self.raise(concern.class, concern.reason.clone());
        }
    }

    /// A step of a definition, in the word by which runs are made.
    fn step(&mut self, word: &'static str) {
        self.steps.words.insert(word);
    }

    /// The statement is at least of this class.
    fn is(&mut self, class: Class, verb: impl Into<String>) {
        self.class = self.class.max(class);
        self.verb = verb.into();
    }

    /// The statement is at least of this class, for a reason that its verb does not tell.
    fn holds(&mut self, class: Class, verb: impl Into<String>, reason: impl Into<String>) {
        self.is(class, verb);
        self.raise(class, reason);
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

    /// A construct that no arm vouches for, inside a stored definition as well.
    fn unknown_node(&mut self) {
        self.class = Class::Unknown;
        self.raise(Class::Unknown, "holds a construct that is not understood");
    }

    /// It ends the open transaction by itself, before and after: whatever was written in it stays.
    fn commits_implicitly(&mut self) {
        self.commits = true;
        self.effects.push(Effect::EndsTransaction { commits: true });
    }

    fn descend(&mut self) -> bool {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.depth -= 1;
            self.unknown_node();
            return false;
        }
        true
    }

    /// Takes over what an inner action reaches and why.
    fn borrow(&mut self, inner: &Action) {
        self.tables.extend(inner.tables.iter().cloned());
        self.columns.extend(inner.columns.iter().cloned());
        self.functions.extend(inner.functions.iter().cloned());
        self.behind.extend(inner.behind.iter().cloned());
        self.rows_whole = self.rows_whole.max(inner.rows);
        self.unbounded |= inner.breadth == Breadth::Unbounded;
        self.session |= inner.class == Class::Session;
        self.reaches_unnamed |= inner.reaches_unnamed;
        self.commits |= inner.commits;
        for reason in &inner.reasons {
            self.raise(Class::Transaction, reason.clone());
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
        Class::Grant => Some(format!("{verb} changes users or privileges")),
        Class::Admin => Some(format!("{verb} changes how the server works")),
        Class::Unknown => Some(format!("{verb} is not understood")),
    }
}
