//! Under which settings a text means what it means. Never reads a text itself.
//! Read `names.rs` next.

use crate::sql::bound::{Bound, bound_postgres};

/// Settings under which a text means what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LexingState {
    pub standard_conforming_strings: bool,
    pub encoding: Encoding,
    pub path: PathTrust,
    pub role: Role,
}

/// The client encoding, as far as reading depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    Utf8,
    /// Read only while the text is pure ASCII.
    SqlAscii,
    /// Not read at all: a second byte may be a quote or a backslash.
    Other,
}

impl Encoding {
    /// The value as the server reports it in ParameterStatus `client_encoding`.
    pub fn of(client_encoding: &str) -> Self {
        match client_encoding {
            "UTF8" => Self::Utf8,
            "SQL_ASCII" => Self::SqlAscii,
            _ => Self::Other,
        }
    }
}

/// Whom statements run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    AsLoggedIn,
    /// SET ROLE or SET SESSION AUTHORIZATION: what undoes it gives rights back.
    Changed,
}

/// Whether an unqualified name that `pg_catalog` has is that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathTrust {
    /// `pg_catalog` is absent from search_path, and so implicitly first, or it is first.
    Safe,
    /// Another schema comes before `pg_catalog`: every unqualified name may be somebody else's.
    Shadowing,
}

impl PathTrust {
    /// The value as `SHOW search_path` prints it.
    pub fn of(search_path: &str) -> Self {
        let mut schemas = search_path.split(',').map(schema_name);
        match schemas.position(|schema| schema == "pg_catalog") {
            None | Some(0) => Self::Safe,
            Some(_) => Self::Shadowing,
        }
    }
}

/// A quoted name keeps its case, an unquoted one is folded. Commas inside quotes only ever make more pieces, and
/// a piece that is wrongly `pg_catalog` makes the path less trusted, unless it is first.
fn schema_name(piece: &str) -> String {
    // The server's blanks only: another blank is part of the name.
    let piece = piece.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    match piece.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => piece.to_ascii_lowercase(),
    }
}

impl LexingState {
    /// Whether every text can be read under it, and so is.
    pub fn is_served(self) -> bool {
        self.standard_conforming_strings && self.encoding != Encoding::Other
    }

    /// What a fresh connection to an unchanged PostgreSQL has.
    pub fn default_postgres() -> Self {
        Self {
            standard_conforming_strings: true,
            encoding: Encoding::Utf8,
            path: PathTrust::Safe,
            role: Role::AsLoggedIn,
        }
    }
}

/// Settings that a text was read under.
pub trait ReadUnder: Copy {
    /// As the log tells them, so that the text can be read again; empty: its session's statements tell them.
    fn told(&self) -> String;

    /// Where the values of the parameters of a text go. `None`: nothing of it is known.
    fn bound(&self, text: &[u8]) -> Option<Bound>;
}

impl ReadUnder for LexingState {
    fn told(&self) -> String {
        String::new()
    }

    fn bound(&self, text: &[u8]) -> Option<Bound> {
        bound_postgres(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_trusted_unless_a_schema_stands_before_pg_catalog() {
        for safe in [
            "",
            "\"$user\", public",
            "pg_catalog",
            "pg_catalog, evil",
            "\"PG_CATALOG\", app",
            "app",
        ] {
            assert_eq!(PathTrust::of(safe), PathTrust::Safe, "{safe}");
        }
        for shadowing in [
            "evil, pg_catalog",
            "evil,PG_CATALOG",
            "\"a,b\", \"pg_catalog\"",
            "\"$user\",pg_catalog,x",
            "\u{a0}pg_catalog, e, pg_catalog",
        ] {
            assert_eq!(PathTrust::of(shadowing), PathTrust::Shadowing, "{shadowing}");
        }
    }
}
