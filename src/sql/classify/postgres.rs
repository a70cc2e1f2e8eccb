//! The closed walk over libpg_query's tree of one message: each statement becomes an `Action`.
//! Never says harmless of a node, name or setting that it does not know. Read `postgres/expression.rs` next.
//!
//! Why closed: the grammar is that of a newer server than the one that runs the text, so a construct without an answer
//! here may be a call of somebody's function there. `kinds.rs` names every node, so that a new one does not compile; a
//! new field of a known one fails `fields.rs`.

mod answers;
mod called;
mod closed;
mod define;
mod expression;
#[cfg(test)]
mod fields;
mod json;
mod kinds;
mod manipulate;
mod piece;
mod query;
mod relation;
pub mod second;
pub mod setting;
mod table;
mod utility;
mod walk;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use pg_raw_parse::ParseResult;
use pg_raw_parse::nodes::RawStmt;

use self::answers::Answers;
use self::setting::Followed;
use self::walk::Walk;
use crate::sql::action::{Action, Breadth, Class, Effect, Steps};
use crate::sql::lex::postgres::Token;
use crate::sql::names::{Catalog, Concern, ForeignType, KnownNames, NotKnown, Routine};
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
    let catalog = context.names.catalog();
    let mut message = Message {
        context,
        catalog,
        hazard: catalog.and_then(Catalog::hazard),
        operators: Answers::new(),
        types: Answers::new(),
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
        steps: Steps::default(),
        reaches_unnamed: false,
    }
}

/// What the server skips between words: any other blank is part of a name, and so of what a reviewer must see.
const BLANKS: [char; 5] = [' ', '\t', '\n', '\r', '\x0c'];

/// State that one statement of a message leaves to the next.
struct Message<'t> {
    context: Context<'t>,
    catalog: Option<&'t dyn Catalog>,
    hazard: Option<Concern>,
    /// What the catalog has said in this message: a text may repeat a name as often as it likes.
    operators: Answers<Rc<[Arc<Routine>]>>,
    types: Answers<Result<Option<Arc<ForeignType>>, NotKnown>>,
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
        action.cancels = piece::cancel_target(raw.stmt());
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
                | Effect::ChangesValues
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
