//! Under which server, sql_mode and character set a MySQL or MariaDB text means what it means.
//! Never reads a statement: it reads the values of settings. Read `lex/mysql/mod.rs` next.
//!
//! Why a mode that is not on the lists makes every text unreadable: modes such as ORACLE change the grammar itself.

use std::fmt;

use crate::sql::bound::{Bound, bound_mysql};
use crate::sql::statement::ReadUnder;

/// Settings under which a text means what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MysqlState {
    pub kind: ServerKind,
    /// As in executable comments: 101119 is 10.11.19, 80036 is 8.0.36. `None`: not known.
    pub version: Option<u32>,
    pub modes: SqlModes,
    pub charset: Charset,
    pub table_names: TableNames,
}

/// How the server compares names of schemas, tables and aliases: `lower_case_table_names`, which never changes while it
/// runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableNames {
    /// 0: `T` and `t` are two tables. Also where the server is not known: then a name is told as it is written.
    AsWritten,
    /// 1 and 2: they are one.
    Folded,
}

impl TableNames {
    /// The value of `@@lower_case_table_names`. What no server has is taken for the one that makes two names one.
    pub fn of(lower_case_table_names: u8) -> Self {
        match lower_case_table_names {
            0 => Self::AsWritten,
            _ => Self::Folded,
        }
    }

    /// A name as it is told and compared.
    pub fn told(self, name: &str) -> String {
        match self {
            Self::AsWritten => name.to_owned(),
            Self::Folded => name.chars().map(folded).collect(),
        }
    }
}

/// One letter for one, as the servers fold: some letters have a longer lower case by Unicode's full rules.
pub fn folded(letter: char) -> char {
    letter.to_lowercase().next().unwrap_or(letter)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerKind {
    Mysql,
    Mariadb,
    /// Either: what the two read differently is not read at all.
    Unknown,
}

/// The modes of sql_mode that reading depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SqlModes {
    /// `"a"` is a name, not a string.
    pub ansi_quotes: bool,
    /// A backslash in a string is a backslash.
    pub no_backslash_escapes: bool,
    /// `||` joins strings.
    pub pipes_as_concat: bool,
    /// NOT binds as tightly as `!`.
    pub high_not_precedence: bool,
    /// Blanks may stand between a built-in function's name and its parenthesis.
    pub ignore_space: bool,
    /// A mode that changes the grammar, or one that is not known: no text can be read.
    pub unreadable: bool,
}

/// `character_set_client`, as far as reading depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Charset {
    Utf8mb4,
    /// `utf8`, `utf8mb3`: four-byte characters are no part of a word.
    Utf8mb3,
    /// A single-byte character set: read only while the text is pure ASCII.
    Ascii,
    /// Not read at all: a second byte may be a quote or a backslash.
    Other,
}

/// What a message says of the settings that later texts are read under; `None`: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MysqlFollowed {
    /// The schema that names without one are looked up in from now on.
    pub schema: Option<String>,
    pub modes: Option<SqlModes>,
    pub charset: Option<Charset>,
}

impl SqlModes {
    /// The value of sql_mode as the server prints it or as a SET has it in quotes: names between commas.
    pub fn of(value: &str) -> Self {
        let mut modes = Self::default();
        for name in value.split(',') {
            modes.add(name);
        }
        modes
    }

    /// The value as SET has it without quotes: a bit mask, of which only "none at all" is the same everywhere.
    pub fn of_number(mask: u64) -> Self {
        Self {
            unreadable: mask != 0,
            ..Self::default()
        }
    }

    fn add(&mut self, name: &str) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("ANSI") {
            self.ansi_quotes = true;
            self.pipes_as_concat = true;
            self.ignore_space = true;
        } else if is("ANSI_QUOTES") {
            self.ansi_quotes = true;
        } else if is("NO_BACKSLASH_ESCAPES") {
            self.no_backslash_escapes = true;
        } else if is("PIPES_AS_CONCAT") {
            self.pipes_as_concat = true;
        } else if is("HIGH_NOT_PRECEDENCE") || is("MYSQL323") || is("MYSQL40") {
            self.high_not_precedence = true;
        } else if is("IGNORE_SPACE") {
            self.ignore_space = true;
        } else if !INDIFFERENT.iter().any(|known| is(known)) {
            self.unreadable = true;
        }
    }

    /// Whether texts are read as under the servers' own defaults.
    pub fn is_usual(self) -> bool {
        self == Self::default()
    }
}

impl Charset {
    /// The value as `SHOW VARIABLES LIKE 'character_set_client'` prints it.
    pub fn of(name: &str) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("utf8mb4") {
            Self::Utf8mb4
        } else if is("utf8") || is("utf8mb3") {
            Self::Utf8mb3
        } else if is("ascii") || is("latin1") {
            Self::Ascii
        } else {
            Self::Other
        }
    }
}

impl MysqlState {
    /// A fresh connection to an unchanged server, of which neither kind nor version is known.
    pub fn default_mysql() -> Self {
        Self {
            kind: ServerKind::Unknown,
            version: None,
            modes: SqlModes::default(),
            charset: Charset::Utf8mb4,
            table_names: TableNames::AsWritten,
        }
    }

    /// The same to a MariaDB of unknown version.
    pub fn default_mariadb() -> Self {
        Self {
            kind: ServerKind::Mariadb,
            ..Self::default_mysql()
        }
    }

    /// A fresh connection to the server that calls itself so: what `SELECT VERSION()` and `@@global.sql_mode` say.
    pub fn of_server(version: &str, sql_mode: &str) -> Self {
        let is_mariadb = version.to_ascii_lowercase().contains("mariadb");
        // MariaDB puts a version in front that old replicas of MySQL can read.
        let own = version.strip_prefix("5.5.5-").filter(|_| is_mariadb);
        let digits = own.unwrap_or(version).split('-').next().unwrap_or_default();
        let mut parts = digits.split('.').map(|part| part.parse::<u32>().ok());
        let version = match (parts.next(), parts.next(), parts.next()) {
            (Some(Some(major)), Some(Some(minor)), Some(Some(patch)))
                if major < 1_000 && minor < 100 && patch < 100 =>
            {
                Some(major * 10_000 + minor * 100 + patch)
            }
            _ => None,
        };
        Self {
            kind: if is_mariadb {
                ServerKind::Mariadb
            } else {
                ServerKind::Mysql
            },
            version,
            modes: SqlModes::of(sql_mode),
            ..Self::default_mysql()
        }
    }

    /// The same before a server with that `@@lower_case_table_names`.
    pub fn with_table_names(self, lower_case_table_names: u8) -> Self {
        Self {
            table_names: TableNames::of(lower_case_table_names),
            ..self
        }
    }

    /// Whether a text can be read under it.
    pub fn is_served(&self) -> bool {
        !self.modes.unreadable && self.charset != Charset::Other
    }

    pub fn after(self, followed: &MysqlFollowed) -> Self {
        Self {
            modes: followed.modes.unwrap_or(self.modes),
            charset: followed.charset.unwrap_or(self.charset),
            ..self
        }
    }
}

impl ReadUnder for MysqlState {
    fn bound(&self, text: &[u8]) -> Option<Bound> {
        bound_mysql(text, self)
    }

    /// Shape: kind, version or `-`, character set, `exact` or `folded` names of tables, modes between commas or `-`; each
    /// behind one blank.
    fn told(&self) -> String {
        let kind = match self.kind {
            ServerKind::Mysql => "mysql",
            ServerKind::Mariadb => "mariadb",
            ServerKind::Unknown => "unknown",
        };
        let version = self
            .version
            .map_or_else(|| "-".to_owned(), |version| version.to_string());
        let charset = match self.charset {
            Charset::Utf8mb4 => "utf8mb4",
            Charset::Utf8mb3 => "utf8mb3",
            Charset::Ascii => "ascii",
            Charset::Other => "other",
        };
        let names = match self.table_names {
            TableNames::AsWritten => "exact",
            TableNames::Folded => "folded",
        };
        let modes = match self.modes.unreadable {
            true => "other".to_owned(),
            false => self.modes.to_string(),
        };
        let modes = if modes.is_empty() { "-" } else { &modes };
        format!("{kind} {version} {charset} {names} {modes}")
    }
}

impl MysqlState {
    /// Reads what `told` has written. `None`: it is nothing of the kind.
    pub fn parse(told: &str) -> Option<Self> {
        let parts: Vec<&str> = told.split(' ').collect();
        let [kind, version, charset, names, modes] = parts.as_slice() else {
            return None;
        };
        Some(Self {
            kind: match *kind {
                "mysql" => ServerKind::Mysql,
                "mariadb" => ServerKind::Mariadb,
                "unknown" => ServerKind::Unknown,
                _ => return None,
            },
            version: match *version {
                "-" => None,
                digits => Some(digits.parse().ok()?),
            },
            modes: SqlModes::of(if *modes == "-" { "" } else { modes }),
            charset: Charset::of(charset),
            table_names: match *names {
                "exact" => TableNames::AsWritten,
                "folded" => TableNames::Folded,
                _ => return None,
            },
        })
    }
}

impl fmt::Display for SqlModes {
    /// Those that reading depends on, as SET takes them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ansi_quotes,
            no_backslash_escapes,
            pipes_as_concat,
            high_not_precedence,
            ignore_space,
            unreadable: _,
        } = *self;
        let each = [
            (ansi_quotes, "ANSI_QUOTES"),
            (no_backslash_escapes, "NO_BACKSLASH_ESCAPES"),
            (pipes_as_concat, "PIPES_AS_CONCAT"),
            (high_not_precedence, "HIGH_NOT_PRECEDENCE"),
            (ignore_space, "IGNORE_SPACE"),
        ];
        let set = each.into_iter().filter(|(is_set, _)| *is_set);
        let names: Vec<&str> = set.map(|(_, name)| name).collect();
        f.write_str(&names.join(","))
    }
}

/// Modes of either server that change neither where a token ends nor what a construct is. MariaDB's ORACLE, DB2, MSSQL,
/// POSTGRESQL and MAXDB are not among them.
const INDIFFERENT: &[&str] = &[
    "",
    "ALLOW_INVALID_DATES",
    "ERROR_FOR_DIVISION_BY_ZERO",
    "IGNORE_BAD_TABLE_OPTIONS",
    "NO_AUTO_CREATE_USER",
    "NO_AUTO_VALUE_ON_ZERO",
    "NO_DIR_IN_CREATE",
    "NO_ENGINE_SUBSTITUTION",
    "NO_FIELD_OPTIONS",
    "NO_KEY_OPTIONS",
    "NO_TABLE_OPTIONS",
    "NO_UNSIGNED_SUBTRACTION",
    "NO_ZERO_DATE",
    "NO_ZERO_IN_DATE",
    "ONLY_FULL_GROUP_BY",
    "PAD_CHAR_TO_FULL_LENGTH",
    "REAL_AS_FLOAT",
    "SIMULTANEOUS_ASSIGNMENT",
    "STRICT_ALL_TABLES",
    "STRICT_TRANS_TABLES",
    "TIME_ROUND_FRACTIONAL",
    "TIME_TRUNCATE_FRACTIONAL",
    "TRADITIONAL",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_that_change_no_reading_leave_it_as_it_is() {
        for usual in [
            "",
            "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION",
            "traditional",
            "only_full_group_by,NO_ZERO_DATE",
        ] {
            assert!(SqlModes::of(usual).is_usual(), "{usual}");
        }
        assert!(SqlModes::of_number(0).is_usual());
    }

    #[test]
    fn modes_that_change_a_reading_are_known_one_by_one() {
        let ansi = SqlModes::of("REAL_AS_FLOAT,ansi");
        assert!(ansi.ansi_quotes && ansi.pipes_as_concat && ansi.ignore_space && !ansi.unreadable);
        assert!(SqlModes::of("NO_BACKSLASH_ESCAPES").no_backslash_escapes);
        assert!(SqlModes::of("HIGH_NOT_PRECEDENCE").high_not_precedence);
    }

    #[test]
    fn what_changes_the_grammar_or_is_not_known_cannot_be_read() {
        for other in [
            "ORACLE",
            "ANSI,oracle",
            "DB2",
            "MSSQL",
            "POSTGRESQL",
            "MAXDB",
            "x",
            " ANSI",
            "\u{a0}ANSI",
        ] {
            assert!(SqlModes::of(other).unreadable, "{other}");
        }
        assert!(SqlModes::of_number(4).unreadable);
    }

    #[test]
    fn a_server_tells_its_kind_and_version() {
        let of = |version| {
            let state = MysqlState::of_server(version, "");
            (state.kind, state.version)
        };
        assert_eq!(
            of("10.11.19-MariaDB-0+deb12u1-log"),
            (ServerKind::Mariadb, Some(101_119))
        );
        assert_eq!(of("5.5.5-10.6.1-MariaDB"), (ServerKind::Mariadb, Some(100_601)));
        assert_eq!(of("8.0.36"), (ServerKind::Mysql, Some(80_036)));
        assert_eq!(of("5.6.24-log"), (ServerKind::Mysql, Some(50_624)));
        assert_eq!(of("8"), (ServerKind::Mysql, None));
        assert_eq!(of("99999999999.1.1"), (ServerKind::Mysql, None));
    }

    #[test]
    fn what_the_log_is_told_is_read_back_as_it_was() {
        let usual = MysqlState::of_server("10.11.19-MariaDB", "STRICT_ALL_TABLES");
        assert_eq!(usual.told(), "mariadb 101119 utf8mb4 exact -");
        let states = [
            usual,
            MysqlState::default_mysql(),
            MysqlState::of_server("8.0.36", "ANSI,NO_BACKSLASH_ESCAPES").with_table_names(1),
            MysqlState::of_server("5.6.24", "ORACLE"),
            MysqlState {
                charset: Charset::Other,
                ..usual
            },
        ];
        for state in states {
            assert_eq!(MysqlState::parse(&state.told()), Some(state), "{}", state.told());
        }
        for other in ["", "mariadb", "mariadb x utf8mb4 exact -", "pg 1 utf8mb4 exact -"] {
            assert_eq!(MysqlState::parse(other), None, "{other}");
        }
    }

    #[test]
    fn names_of_tables_are_told_as_the_server_compares_them() {
        let state = MysqlState::of_server("10.11.19-MariaDB", "");
        assert_eq!(state.table_names, TableNames::AsWritten);
        assert_eq!(state.with_table_names(0).table_names.told("Orders"), "Orders");
        for folds in [1, 2] {
            let names = state.with_table_names(folds).table_names;
            assert_eq!(names.told("ORDERS"), "orders");
            // One letter: the full lower case of this one is two.
            assert_eq!(names.told("\u{130}D"), "id");
        }
    }

    #[test]
    fn only_character_sets_that_hide_no_quote_are_served() {
        assert_eq!(Charset::of("UTF8MB4"), Charset::Utf8mb4);
        assert_eq!(Charset::of("utf8mb3"), Charset::Utf8mb3);
        assert_eq!(Charset::of("latin1"), Charset::Ascii);
        for other in ["gbk", "sjis", "cp932", "big5", "ucs2", "binary", "swe7", ""] {
            assert_eq!(Charset::of(other), Charset::Other, "{other}");
        }
    }
}
