//! What a statement would do, in the words that rules, log and reviewers speak.
//! Never says whether it may: that is `policy`. Read `classify/postgres.rs` next.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// The ten classes of statement (DESIGN section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    Transaction,
    Session,
    Read,
    Write,
    Ddl,
    Export,
    Procedural,
    Grant,
    Admin,
    Unknown,
}

impl Class {
    /// The word that rules, log and reviewers use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::Session => "session",
            Self::Read => "read",
            Self::Write => "write",
            Self::Ddl => "ddl",
            Self::Export => "export",
            Self::Procedural => "procedural",
            Self::Grant => "grant",
            Self::Admin => "admin",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much of a table a write can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Breadth {
    /// INSERT … VALUES, or AND-ed equality and IN of columns with constants or parameters.
    Bounded,
    Unbounded,
}

/// A table as the statement names it: cut to 63 bytes and folded as the server does. MySQL's SHOW and USE name schemas,
/// which stand here as `schema.*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    pub schema: Option<String>,
    pub name: String,
}

/// A function as the statement names it, folded likewise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionName {
    pub schema: Option<String>,
    pub name: String,
}

impl TableName {
    /// Stands for the schema itself; it is never looked up.
    pub fn whole_schema(schema: String) -> Self {
        Self {
            schema: Some(schema),
            name: "*".to_owned(),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        dotted(f, self.schema.as_deref(), &self.name)
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        dotted(f, self.schema.as_deref(), &self.name)
    }
}

fn dotted(f: &mut fmt::Formatter<'_>, schema: Option<&str>, name: &str) -> fmt::Result {
    match schema {
        Some(schema) => write!(f, "{schema}.{name}"),
        None => f.write_str(name),
    }
}

/// What one statement does to the state that gives later texts their meaning.
/// It takes hold only when the server has answered with the statement's CommandComplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// BEGIN, START TRANSACTION.
    BeginsTransaction,
    /// COMMIT, END, ROLLBACK, ABORT, PREPARE TRANSACTION; `commits` is false for ROLLBACK and ABORT.
    EndsTransaction { commits: bool },
    /// ROLLBACK TO SAVEPOINT: settings made since then are undone.
    RollsBackToSavepoint,
    /// SET, RESET or set_config of a setting that gives names or texts their meaning
    /// (search_path, role, session_authorization, standard_conforming_strings, client_encoding, DISCARD ALL).
    ChangesMeaning,
    /// SET, RESET or set_config of a setting by which the server reads literals when it parses a statement, and values
    /// when it runs one (DateStyle, TimeZone).
    ChangesValues,
    /// SQL-level PREPARE: from now on EXECUTE of this name does what `inner` does.
    Prepares { name: String, inner: Arc<Action> },
    /// DEALLOCATE; `None` is ALL.
    Deallocates { name: Option<String> },
    /// DISCARD ALL: also forgets names and portals.
    DiscardsAll,
    /// FETCH, MOVE: runs what a cursor was declared over.
    RunsCursor,
    /// SET of one of the proxy's own settings, `countersign.wait`, `countersign.purpose` or `countersign.reply`: name
    /// without prefix, value.
    ProxySetting { name: String, value: String },
}

/// What one statement would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    pub class: Class,
    /// Of writes; `Unbounded` for whatever is neither a bounded write nor a read.
    pub breadth: Breadth,
    /// The verb people know it by, lower case: `select`, `drop table`, `alter role`; `unknown` if it cannot be read.
    pub verb: String,
    pub tables: BTreeSet<TableName>,
    /// Columns named in it, without their tables; for rules.
    pub columns: BTreeSet<String>,
    pub functions: BTreeSet<FunctionName>,
    /// Tables that views and rules in it read; not named by the text.
    pub behind: BTreeSet<TableName>,
    /// Rows of the largest table that it reads or writes whole, by the server's statistics; `None`: not known, or
    /// no table is read whole.
    pub rows: Option<u64>,
    /// Why it is of this class, one short sentence each, lower case, no full stop; empty for plain reads.
    pub reasons: Vec<String>,
    pub effects: Vec<Effect>,
    /// Where in the message's text this statement stands, in bytes.
    pub span: Range<usize>,
    /// Byte ranges of the message's text that hold a password or verifier: shown and logged masked.
    pub secrets: Vec<Range<usize>>,
    /// Whether Parse alone may go ahead unapproved: no expression or every type and cast in it is on the list.
    pub parse_is_safe: bool,
    /// COPY … FROM STDIN: the client's data follows.
    pub copies_in: bool,
    /// The first argument of a lone `SELECT pg_cancel_backend(…)`: the pid as a literal, or `Parameter(1)`.
    pub cancels: Option<CancelTarget>,
    /// It can commit by itself or ends a transaction: records are on disk before it goes upstream.
    pub commits: bool,
    /// What a definition or a write does, for runs.
    pub steps: Steps,
    /// Its values may reach tables that it does not name, though nobody need see it: it runs code that an operator has
    /// listed as harmless, or keeps a value in a user variable. Only labels of columns ask for it.
    pub reaches_unnamed: bool,
}

/// What is known of a definition or a write besides its class, verb and tables; nothing of any other statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// What it does, inner statements too, in the words by which runs are made: `create index`, `alter table add column`.
    pub words: BTreeSet<&'static str>,
    /// Why a definition may run, reach or change more than the tables and functions that it names, if so.
    pub beyond: Option<String>,
}

impl Action {
    /// Whether it runs what a cursor was declared over.
    pub fn runs_cursor(&self) -> bool {
        self.effects.contains(&Effect::RunsCursor)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelTarget {
    Pid(i32),
    Parameter(u16),
}

/// What a whole message (one Query, or the text of one Parse) would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// In order; empty for a comment or nothing at all, which is a read.
    pub actions: Vec<Action>,
    /// It names an SQL-level prepared statement (EXECUTE), so it may not be remembered by text alone.
    pub depends_on_names: bool,
    /// SHA-256 over the token shape with literals taken out: what reviewers call "the same statement".
    pub fingerprint: [u8; 32],
    /// SHA-256 over which literals stand alone and which in a list, for a fingerprint is the same for `IN ('a')` and
    /// `IN ('a', 'b')`; zeros without a list. In MySQL also over what they are (text, number, bytes), which decides what
    /// they are equal to: `status = 0` is true of every text that begins with no digit. PostgreSQL finds another operator
    /// for another type, or none.
    pub sorts: [u8; 32],
}

impl Judgement {
    /// The strictest class in the message; `Read` if it is empty.
    pub fn class(&self) -> Class {
        self.actions
            .iter()
            .map(|action| action.class)
            .max()
            .unwrap_or(Class::Read)
    }
}
