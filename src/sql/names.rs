//! What is known of the names in a statement beyond the built-in lists: the words in which `catalog` answers the walk.
//! Never asks a server, never decides. Read `classify/postgres/expression.rs` next.
//!
//! Why data and not verdicts: the catalog knows what exists, the walk knows where in the statement a name stands.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::sql::action::{Action, Class, FunctionName, TableName};

/// What names stand for in one session.
pub trait KnownNames {
    /// What an SQL-level name of a prepared statement does. `None`: not known.
    fn prepared(&self, name: &str) -> Option<Arc<Action>>;

    /// `None`: no catalog is configured; built-in knowledge alone decides.
    fn catalog(&self) -> Option<&dyn Catalog> {
        None
    }
}

impl KnownNames for HashMap<String, Arc<Action>> {
    fn prepared(&self, name: &str) -> Option<Arc<Action>> {
        self.get(name).cloned()
    }
}

/// Names as they stood when a text was handed to another thread.
#[derive(Clone, Default)]
pub struct NamesThen {
    pub prepared: HashMap<String, Arc<Action>>,
    pub catalog: Option<Arc<dyn Catalog>>,
}

impl KnownNames for NamesThen {
    fn prepared(&self, name: &str) -> Option<Arc<Action>> {
        self.prepared.prepared(name)
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        self.catalog.as_deref()
    }
}

/// No names at all.
impl KnownNames for () {
    fn prepared(&self, _: &str) -> Option<Arc<Action>> {
        None
    }
}

/// One database as one session sees it: its search_path (or default database) is already applied.
/// What it does not know, for whatever cause, is `NotKnown`, and so held.
pub trait Catalog: Send + Sync {
    /// The relation that a name means, built in or not. A name that a fresh catalog surely does not have is
    /// `Relation::default()`: the server will refuse it, and names made since are as unseen as names replaced since.
    fn relation(&self, name: &TableName) -> Result<Arc<Relation>, NotKnown>;

    /// Every function, aggregate and window function that is not built in and that a call of this name could mean.
    fn functions(&self, name: &FunctionName) -> Vec<Arc<Routine>>;

    /// Every operator that is not built in and that this name could mean.
    fn operators(&self, schema: Option<&str>, name: &str) -> Vec<Arc<Routine>>;

    /// The type that a name means, if it is not built in; `Ok(None)` if it is; `NotKnown` too where there is no such type.
    fn foreign_type(&self, schema: Option<&str>, name: &str) -> Result<Option<Arc<ForeignType>>, NotKnown>;

    /// Why a person should see a change of search_path to this one, as SHOW prints it: it puts a relation that does more
    /// than a table before another of its name.
    fn shadowing(&self, search_path: &str) -> Option<Concern>;

    /// What makes the meaning of every statement uncertain: a cast between built-in types by somebody's code, or that the
    /// functions, operators and types cannot be listed now.
    fn hazard(&self) -> Option<Concern>;
}

/// Why the catalog cannot say what a name means: `stale`, `no such table`, …: a short phrase for reviewers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotKnown(pub String);

/// Something that happens besides what the text says: how it counts, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Concern {
    pub class: Class,
    /// As `Action::reasons`.
    pub reason: String,
}

impl Concern {
    /// Code that an operator has listed as harmless: nobody need see it, and yet what it reads is not known here.
    pub fn listed(reason: String) -> Self {
        Self {
            class: Class::Transaction,
            reason,
        }
    }

    /// Whether it is no cause to hold anything.
    pub fn is_listed(&self) -> bool {
        self.class == Class::Transaction
    }
}

/// A table, view, materialized view, foreign table, sequence or index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relation {
    pub name: Option<TableName>,
    /// In order, without the system's own columns.
    pub columns: Vec<String>,
    /// A column has a type that is not built in, or holds one: operators and functions over such types can be meant.
    pub has_foreign_types: bool,
    /// What a read of it does besides reading: views, rules, policies and foreign tables, followed to their leaves; what
    /// reading a value of a column's type from text runs (`ForeignType::concern`); implicit casts from such a type.
    pub reading: Vec<Concern>,
    /// What an INSERT does besides: triggers, rules, policies, defaults, generated columns, checks, indexes on expressions.
    pub inserting: Vec<Concern>,
    /// What an UPDATE does besides: the same, and what cascades to other tables.
    pub updating: Vec<Concern>,
    /// What a DELETE does besides.
    pub deleting: Vec<Concern>,
    /// What planning a write runs besides what a read of it does: rules and defaults, but not triggers or cascades.
    pub planning: Vec<Concern>,
    /// By the server's statistics; `None`: not known.
    pub rows: Option<u64>,
    /// Tables that a read of it reads, if it is a view.
    pub behind: BTreeSet<TableName>,
}

/// A function or operator that is not built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routine {
    /// `app.net(numeric, numeric)`, as the server prints it.
    pub signature: String,
    /// Fewest arguments that a call may have.
    pub arguments_min: usize,
    /// Most arguments; `None`: any number.
    pub arguments_max: Option<usize>,
    /// An argument's type is built in, a domain over such a type, polymorphic, or reached from such a type by an implicit
    /// cast, or there is no argument. False only where every argument needs a value of a foreign type: a literal fits
    /// any type, so one argument that a built-in value fits is enough for the others to follow.
    pub takes_built_in_types: bool,
    /// Its first argument can be a whole row, so that `t.name` can call it.
    pub takes_rows: bool,
    /// It may return more rows than one.
    pub returns_set: bool,
    /// What a call does: its body, the defaults of its arguments, and what reading its arguments' types from text runs.
    /// `None`: known to be harmless by the built-in list of extensions; `Concern::listed`: because an operator says so.
    pub concern: Option<Concern>,
}

/// A type that is not built in: enum, domain, composite, range, array or base type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignType {
    pub name: String,
    /// What reading a value of it from text or casting to it runs; `None`: nothing but the server's own code.
    pub concern: Option<Concern>,
}
