//! Cuts a text into words by the rules of MySQL's and MariaDB's scanners (sql/sql_lex.cc), as the connected server does
//! under its settings. Refuses what the servers in question cut differently from each other, and whatever is too deep or
//! too long for the readers behind it. Read `scanner.rs` next.

mod limits;
mod scanner;
mod value;
pub mod words;

use std::ops::Range;

use self::limits::limits;
use self::scanner::Scanner;
pub use self::value::{name_of, text_of};
use crate::sql::mysql_state::MysqlState;

/// Deeper nests are nobody's statement; sqlparser recurses several times per level.
pub const NESTING_MAX: usize = 100;
/// Tokens of one level without a comma: bounds every chain of operators, joins and casts, which readers walk recursively.
pub const RUN_TOKENS_MAX: usize = 8_000;
/// UNION, INTERSECT and EXCEPT in one text: a chain that commas do not cut.
pub const SET_OPERATIONS_MAX: usize = 500;
/// Joins in one text: sqlparser nests those whose ON comes late without counting.
pub const JOINS_MAX: usize = 300;
/// Starts of block comments.
pub const COMMENT_STARTS_MAX: usize = 400;
/// Statements in one text.
pub const STATEMENTS_MAX: usize = 1_000;
/// Words and signs of one text: readers take about a microsecond for each.
pub const TOKENS_MAX: usize = 80_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A keyword or a name without quotes, also one that begins with a digit.
    Word,
    /// What can only be a name: in backquotes, in double quotes under ANSI_QUOTES, or directly behind a dot; or a built-in
    /// function's word whose parenthesis does not follow at once, which calls a stored function of that name.
    Name,
    /// A string: `'…'`, `"…"`, `N'…'`. What stands next to another is a token of its own.
    Text,
    /// `_utf8mb4` in front of a literal.
    Introducer,
    Number,
    /// `x'41'`, `0x41`.
    Hex,
    /// `b'01'`, `0b01`.
    Bits,
    /// `?`.
    Parameter,
    /// `@a`, `@'a'`, `@@a`: what follows the dot of `@@a.b` is tokens of its own.
    Variable,
    /// `@` of `user@host`, without the host.
    At,
    Operator,
    Comma,
    Semicolon,
    Open,
    Close,
    /// A dot or a brace.
    Mark,
}

/// One word of a text. Units: bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("a quote, a name in quotes or a comment does not end")]
    Unterminated,
    #[error("holds a byte that belongs to no word of the language")]
    Stray,
    #[error("holds a word with a sign that is no letter, digit or underscore")]
    StrayInWord,
    #[error("a number is followed by letters in a way that hides what stands behind it")]
    NumberWithTail,
    #[error("has an executable comment, which servers of different kinds and versions read differently")]
    ExecutableComment,
    #[error("has an optimizer hint that may change a setting")]
    Hint,
    #[error("a literal is marked with a character set other than UTF-8, ASCII, Latin 1 or binary")]
    Introducer,
    #[error("a word begins with a dollar sign, which newer servers read as a quote")]
    Dollar,
    #[error("is nested deeper than {NESTING_MAX} levels")]
    TooDeep,
    #[error("has a chain of more than {RUN_TOKENS_MAX} words without a comma")]
    TooLong,
    #[error("has more than {SET_OPERATIONS_MAX} UNION, INTERSECT or EXCEPT")]
    TooManySetOperations,
    #[error("has more than {JOINS_MAX} joins")]
    TooManyJoins,
    #[error("has more than {COMMENT_STARTS_MAX} comments")]
    TooManyComments,
    #[error("has more than {STATEMENTS_MAX} statements")]
    TooManyStatements,
    #[error("has more than {TOKENS_MAX} words and signs")]
    TooManyTokens,
}

/// What one pass over a text finds out.
#[derive(Debug, Default)]
pub struct Scan {
    pub tokens: Vec<Token>,
    /// Why the text is refused; the tokens up to there are kept, because secrets must be masked all the same.
    pub refused: Option<Refused>,
    /// It has a comment that some servers run.
    pub has_executable_comment: bool,
}

/// Cuts `text` from the byte `from` on. Total: every text gives a `Scan`. Linear in time and memory.
pub fn scan(text: &str, from: usize, state: &MysqlState) -> Scan {
    let mut scanner = Scanner::new(text, from, state);
    let refused = scanner.run().err();
    let has_executable_comment = scanner.has_executable_comment;
    let tokens = scanner.tokens;
    let refused = refused.or_else(|| limits(text, &tokens).err());
    Scan {
        tokens,
        refused,
        has_executable_comment,
    }
}

impl Scan {
    /// The tokens of each statement, without the semicolons between them; what is empty is left out.
    pub fn statements(&self) -> impl Iterator<Item = &[Token]> {
        self.tokens
            .split(|token| token.kind == Kind::Semicolon)
            .filter(|tokens| !tokens.is_empty())
    }
}

impl Token {
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub fn text(self, text: &str) -> &str {
        text.get(self.range()).unwrap_or_default()
    }

    /// Whether it is this keyword, written without quotes.
    pub fn is(self, text: &str, keyword: &str) -> bool {
        self.kind == Kind::Word && self.text(text).eq_ignore_ascii_case(keyword)
    }
}

/// Words that end a WHERE, besides ORDER and LIMIT.
const BEHIND_WHERE: [&str; 5] = ["for", "group", "having", "returning", "window"];

/// The parameters between two ANDs of the WHERE of an UPDATE or DELETE, counted from 0 in the whole statement; what orders and
/// limits it is no part of that. `None`: it has no WHERE outside of parentheses.
pub fn compared(text: &[u8], state: &MysqlState) -> Option<Vec<Vec<usize>>> {
    let text = std::str::from_utf8(text).ok()?;
    let scan = scan(text, 0, state);
    let (mut depth, mut parameters) = (0_usize, 0);
    let mut compared: Option<Vec<Vec<usize>>> = None;
    // Behind RETURNING or HAVING, which are columns' names to some servers, an AND compares nothing that has to hold.
    let mut is_behind = false;
    for token in &scan.tokens {
        let is = |word: &str| token.is(text, word);
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            Kind::Parameter => {
                if let Some(last) = compared.as_mut().and_then(|compared| compared.last_mut()) {
                    last.push(parameters);
                }
                parameters += 1;
            }
            _ if depth == 0 && compared.is_none() && is("where") => compared = Some(vec![Vec::new()]),
            _ if depth == 0 && compared.is_some() && BEHIND_WHERE.iter().any(|word| is(word)) => {
                is_behind = true
            }
            _ if is("and") && !is_behind => {
                compared.iter_mut().for_each(|compared| compared.push(Vec::new()))
            }
            _ if depth == 0 && compared.is_some() && (is("order") || is("limit")) => break,
            _ => {}
        }
    }
    compared
}

/// Whether a text reads settings of the server or of the session by `@@`, or cannot be read.
pub fn reads_settings(text: &[u8], state: &MysqlState) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return true;
    };
    let scan = scan(text, 0, state);
    let mut tokens = scan.tokens.iter();
    scan.refused.is_some()
        || tokens.any(|token| token.kind == Kind::Variable && token.text(text).starts_with("@@"))
}

/// User variables that a text names, each once, without their `@`. None of a text that cannot be read.
pub fn variables(text: &[u8], state: &MysqlState) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(text) else {
        return Vec::new();
    };
    let scan = scan(text, 0, state);
    let tokens = scan.tokens.iter().filter(|token| token.kind == Kind::Variable);
    let mut names: Vec<String> = tokens
        .map(|token| value::name_of(*token, text, state))
        .filter_map(|name| name.strip_prefix('@').map(str::to_owned))
        .filter(|name| !name.starts_with('@'))
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_a_where_keeps_nothing_bounded() {
        let of = |text: &str| compared(text.as_bytes(), &MysqlState::default_mariadb());
        assert_eq!(
            of("DELETE FROM t WHERE a = ? AND b = ? LIMIT ?"),
            Some(vec![vec![0], vec![1]])
        );
        for text in [
            "SELECT count(*) FROM t WHERE a = ? HAVING 1 AND ? FOR UPDATE",
            "SELECT a FROM t WHERE a = ? GROUP BY 1 AND ? FOR UPDATE",
            "DELETE FROM t WHERE a = ? RETURNING 1 AND ?",
        ] {
            assert_eq!(of(text), Some(vec![vec![0, 1]]), "{text}");
        }
    }
    use crate::sql::mysql_state::{Charset, ServerKind, SqlModes};

    fn mariadb() -> MysqlState {
        MysqlState {
            version: Some(101_119),
            ..MysqlState::default_mariadb()
        }
    }

    fn cut_under(text: &str, state: &MysqlState) -> Vec<(Kind, String)> {
        let scan = scan(text, 0, state);
        assert_eq!(scan.refused, None, "{text}");
        let shown = |token: &Token| (token.kind, token.text(text).to_owned());
        scan.tokens.iter().map(shown).collect()
    }

    fn cut(text: &str) -> Vec<(Kind, String)> {
        cut_under(text, &MysqlState::default_mysql())
    }

    fn words(text: &str) -> Vec<String> {
        cut(text).into_iter().map(|(_, word)| word).collect()
    }

    fn refused(text: &str, state: &MysqlState) -> Option<Refused> {
        scan(text, 0, state).refused
    }

    #[test]
    fn numbers_and_words_are_cut_as_the_servers_cut_them() {
        assert_eq!(words("1e1FROM t"), ["1e1", "FROM", "t"]);
        assert_eq!(words(".1from t"), [".1", "from", "t"]);
        assert_eq!(words("1.from"), ["1.", "from"]);
        assert_eq!(
            words("1a 12_3 0x1G 0X1F 0b2"),
            ["1a", "12_3", "0x1G", "0X1F", "0b2"]
        );
        assert_eq!(words("1e+x"), ["1e", "+", "x"]);
        assert_eq!(words("t.1e5"), ["t", ".", "1e5"]);
        assert_eq!(words("t .1e5"), ["t", ".1e5"]);
        assert_eq!(words("`t`.1a"), ["`t`", ".1", "a"]);
        assert_eq!(
            cut("0x1F 0b01 x'41' b'01'")
                .iter()
                .map(|(kind, _)| *kind)
                .collect::<Vec<_>>(),
            [Kind::Hex, Kind::Bits, Kind::Hex, Kind::Bits]
        );
        assert_eq!(cut("t.select")[2].0, Kind::Name);
        assert_eq!(cut("t. select")[2].0, Kind::Word);
        for hidden in ["1.e(2)", "1.e+ 2", ".5ex", "1..2"] {
            assert_eq!(
                refused(hidden, &MysqlState::default_mysql()),
                Some(Refused::NumberWithTail),
                "{hidden}"
            );
        }
    }

    #[test]
    fn comments_end_where_the_servers_end_them() {
        assert_eq!(words("5--3"), ["5", "-", "-", "3"]);
        assert_eq!(words("5 --\u{1}3\n4"), ["5", "4"]);
        assert_eq!(words("5 -- a\r b\n4 --"), ["5", "4"]);
        assert_eq!(words("5 # a */ 'b\n4"), ["5", "4"]);
        assert_eq!(words("/* /* */ 4 /*+ INDEX(t) */"), ["4"]);
        for stray in [
            "5 --\u{a0}4",
            "SELECT\u{a0}1",
            "\u{feff}SELECT",
            "a\u{2003}b",
            "😀",
        ] {
            let refused = refused(stray, &MysqlState::default_mysql());
            assert_eq!(refused, Some(Refused::StrayInWord), "{stray}");
        }
        for hint in ["/*+ SET_VAR(a=1) */", "/*+ QB_NAME(`*/`) */"] {
            assert_eq!(
                refused(hint, &MysqlState::default_mysql()),
                Some(Refused::Hint),
                "{hint}"
            );
        }
    }

    #[test]
    fn executable_comments_are_those_of_the_connected_server() {
        let cut_by = |text: &str, state: &MysqlState| -> Vec<String> {
            cut_under(text, state).into_iter().map(|(_, word)| word).collect()
        };
        assert_eq!(cut_by("1 /*!50699 2*/", &mariadb()), ["1", "2"]);
        assert_eq!(cut_by("1 /*!50700 2*/ /*!99999 3*/", &mariadb()), ["1"]);
        assert_eq!(
            cut_by("1 /*!100000 2*/ /*!101119 3*/ /*!101120 4*/", &mariadb()),
            ["1", "2", "3"]
        );
        assert_eq!(
            cut_by("1 /*M!50700 2*/ /*M! 3*/ /*!4*/", &mariadb()),
            ["1", "2", "3", "4"]
        );
        assert_eq!(cut_by("1 /*!999999 '*/ 2 /*' */", &mariadb()), ["1", "2"]);
        assert_eq!(cut_by("1 /*!999999 /* */ 2 */ 3", &mariadb()), ["1", "3"]);
        assert_eq!(cut_by("/*! 1 -- */\n2 /* 3 */ */ 4", &mariadb()), ["1", "2", "4"]);
        let mysql = MysqlState {
            kind: ServerKind::Mysql,
            version: Some(80_036),
            ..MysqlState::default_mysql()
        };
        assert_eq!(cut_by("1 /*!50701 2*/ /*M! 3*/ /*!80037 4*/", &mysql), ["1", "2"]);
        assert_eq!(refused("/*!080036 1*/", &mysql), Some(Refused::ExecutableComment));
        for (text, state) in [
            ("/*! 1*/", MysqlState::default_mysql()),
            ("/*!40101 1*/", MysqlState::default_mariadb()),
            ("/*M! 1*/", MysqlState::default_mysql()),
            ("/*! /*! 1*/ */", mariadb()),
            ("/*! 1; 2*/", mariadb()),
            ("/*!99997 1*/", mariadb()),
        ] {
            assert_eq!(refused(text, &state), Some(Refused::ExecutableComment), "{text}");
        }
        assert_eq!(refused("/*! 1", &mariadb()), Some(Refused::Unterminated));
    }

    #[test]
    fn quotes_follow_the_modes() {
        let with = |modes: &str| MysqlState {
            modes: SqlModes::of(modes),
            ..MysqlState::default_mysql()
        };
        let kinds = |text: &str, modes: &str| -> Vec<Kind> {
            cut_under(text, &with(modes))
                .into_iter()
                .map(|(kind, _)| kind)
                .collect()
        };
        assert_eq!(kinds(r"'a\'b' 'c''d' N'e'", ""), [Kind::Text; 3]);
        assert_eq!(
            kinds(r"'a\' 1", "NO_BACKSLASH_ESCAPES"),
            [Kind::Text, Kind::Number]
        );
        assert_eq!(kinds(r#""a\" 1"#, "ANSI_QUOTES"), [Kind::Name, Kind::Number]);
        assert_eq!(refused(r"'a\' 1", &with("")), Some(Refused::Unterminated));
        let value = |text: &str, modes: &str| {
            let state = with(modes);
            text_of(scan(text, 0, &state).tokens[0], text, &state)
        };
        assert_eq!(value(r"'a\'\n\%''é'", ""), "a'\n\\%'é");
        assert_eq!(value(r"'a\n'", "NO_BACKSLASH_ESCAPES"), r"a\n");
        assert_eq!(value(r#""it's ""x""""#, ""), "it's \"x\"");
    }

    #[test]
    fn variables_and_hosts_are_told_apart() {
        let cut_words = |text: &str| words(text).join(" ");
        assert_eq!(cut_words("@a:=@b.c+@'d'"), "@a := @b.c + @'d'");
        assert_eq!(cut_words("@@session.sql_mode"), "@@session . sql_mode");
        assert_eq!(cut_words("'root'@'%'"), "'root' @ '%'");
        assert_eq!(cut_words("root@localhost"), "root @ localhost");
        for stray in ["@ a", "@", "@@ a", "@@'a'", "@é", "?a", "a[1]", "a : b", "\u{1}"] {
            let refused = refused(stray, &MysqlState::default_mysql());
            assert_eq!(refused, Some(Refused::Stray), "{stray}");
        }
        let value = |text: &str| {
            let state = MysqlState::default_mysql();
            name_of(scan(text, 0, &state).tokens[0], text, &state)
        };
        assert_eq!(value("@'a''b'"), "@a'b");
        assert_eq!(value("@@`a``b`"), "@@a`b");
        assert_eq!(value("`a``b`"), "a`b");
    }

    #[test]
    fn a_blank_before_the_parenthesis_makes_a_built_in_function_a_plain_name() {
        assert_eq!(cut("NOW()")[0].0, Kind::Word);
        assert_eq!(cut("NOW ()")[0].0, Kind::Name);
        assert_eq!(cut("NOW/**/()")[0].0, Kind::Name);
        assert_eq!(cut("ABS (1)")[0].0, Kind::Word);
        let spaced = MysqlState {
            modes: SqlModes::of("IGNORE_SPACE"),
            ..MysqlState::default_mysql()
        };
        assert_eq!(cut_under("NOW \n()", &spaced)[0].0, Kind::Word);
        assert_eq!(cut_under("NOW/**/()", &spaced)[0].0, Kind::Name);
    }

    #[test]
    fn what_newer_servers_or_other_character_sets_read_otherwise_is_refused() {
        let state = MysqlState::default_mysql();
        assert_eq!(refused("$$a$$", &state), Some(Refused::Dollar));
        assert_eq!(refused("$a", &mariadb()), None);
        assert_eq!(refused("_gbk'a'", &state), Some(Refused::Introducer));
        assert_eq!(cut("_utf8mb4 'a'")[0].0, Kind::Introducer);
        let narrow = MysqlState {
            charset: Charset::Utf8mb3,
            ..state
        };
        assert_eq!(refused("𝒂", &state), None);
        assert_eq!(refused("𝒂", &narrow), Some(Refused::StrayInWord));
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let at = |text: String| refused(&text, &MysqlState::default_mysql());
        let nested = |depth: usize| format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(at(nested(NESTING_MAX)), None);
        assert_eq!(at(nested(NESTING_MAX + 1)), Some(Refused::TooDeep));
        assert_eq!(at("a ".repeat(RUN_TOKENS_MAX)), None);
        assert_eq!(at("a ".repeat(RUN_TOKENS_MAX + 1)), Some(Refused::TooLong));
        assert_eq!(at("/**/".repeat(COMMENT_STARTS_MAX)), None);
        assert_eq!(
            at("/**/".repeat(COMMENT_STARTS_MAX + 1)),
            Some(Refused::TooManyComments)
        );
        let list = |count: usize| format!("SELECT 1{}", ",1".repeat(count / 2 - 1));
        assert_eq!(at(list(TOKENS_MAX)), None);
        assert_eq!(at(list(TOKENS_MAX + 2)), Some(Refused::TooManyTokens));
        assert_eq!(at("SELECT 1;".repeat(STATEMENTS_MAX)), None);
        assert_eq!(
            at("SELECT 1;".repeat(STATEMENTS_MAX + 1)),
            Some(Refused::TooManyStatements)
        );
        let joins = |count: usize| format!("SELECT 1 FROM t{}", " JOIN t".repeat(count));
        assert_eq!(at(joins(JOINS_MAX)), None);
        assert_eq!(at(joins(JOINS_MAX + 1)), Some(Refused::TooManyJoins));
        let unions = |count: usize| format!("SELECT 1{}", " UNION SELECT 1".repeat(count));
        assert_eq!(at(unions(SET_OPERATIONS_MAX)), None);
        assert_eq!(
            at(unions(SET_OPERATIONS_MAX + 1)),
            Some(Refused::TooManySetOperations)
        );
    }
}
