//! A PostgreSQL database's catalog: read whole in one transaction into a `Snapshot`, which answers for every session.
//! Never asks the server about one statement, and never takes a lock on a user's table: everything comes out of
//! `pg_catalog` itself. Read `read.rs` next, then `snapshot.rs` and `reach.rs`.
//!
//! Why a copy of everything: a question per statement would double its delay, and a copy answers all sessions of a
//! database alike. Why node trees and not the text of views: `pg_get_viewdef` locks the tables behind a view, so one
//! long ALTER TABLE would leave the whole catalog unread; the trees also name functions by OID, where a text has names
//! that must be resolved again.
//!
//! What counts as built in is an OID below `FIRST_NORMAL_OID`, wherever it lives: extensions put functions into
//! `pg_catalog`, too.

mod connect;
mod contrib;
mod definition;
mod path;
mod reach;
mod read;
mod routine;
mod rows;
mod snapshot;
mod tree;
mod view;

pub use connect::{Settings, Tls};
pub use definition::{ListedFunction, ListedFunctions, Listing, UserFunction};
pub use read::Reader;
pub use snapshot::Snapshot;
pub use view::{SessionState, Unread, View};

/// What the server calls an object by.
pub type Oid = u32;

/// Objects below it were made by initdb.
/// Source: PostgreSQL source, access/transam.h, FirstNormalObjectId
pub const FIRST_NORMAL_OID: Oid = 16_384;

fn is_built_in(oid: Oid) -> bool {
    oid < FIRST_NORMAL_OID
}

/// Why the catalog could not be read. Then nothing is known of any name.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("the upstream cannot be reached for its catalog: {0}")]
    Unreachable(#[from] std::io::Error),
    #[error("the upstream refused to let the catalog's user in: {0}")]
    Refused(String),
    #[error("the catalog of `{database}` cannot be read: {what}: {cause}")]
    Query {
        database: String,
        what: &'static str,
        cause: String,
    },
    /// MySQL and MariaDB leave out what an account may not see without a word.
    #[error("definitions are hidden from the catalog's account: it lacks {lacks}")]
    Hidden { lacks: String },
    #[error("the catalog of `{database}` was not read within {seconds} s")]
    TooSlow { database: String, seconds: u64 },
    #[error("the catalog of `{database}` is larger than {limit} {unit}")]
    TooLarge {
        database: String,
        limit: usize,
        unit: &'static str,
    },
}

impl CatalogError {
    /// What a person can do now.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "check the upstream's address and that it runs",
            Self::Refused(_) => {
                "check user and password of the catalog's connection; it needs CONNECT, nothing else"
            }
            Self::Query { .. } => {
                "check that the catalog's user may read pg_catalog, which everybody may by default"
            }
            Self::Hidden { .. } => "GRANT SELECT, SHOW VIEW, TRIGGER ON *.* to the catalog's account",
            Self::TooSlow { .. } => "see what keeps the server busy; the catalog is tried again by itself",
            Self::TooLarge { .. } => "split the database, or run without a catalog for it",
        }
    }
}
