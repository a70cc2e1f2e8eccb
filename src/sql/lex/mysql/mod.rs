//! The words that MySQL's and MariaDB's scanners (sql/sql_lex.cc) cut a text into.
//! Never decides what a statement does. Read `../../mysql_state.rs` next.

use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A keyword or a name without quotes, also one that begins with a digit.
    Word,
    /// A name in backquotes, or in double quotes under ANSI_QUOTES; or a word that can only be a name, because a built-in
    /// function's parenthesis does not follow at once.
    Name,
    /// A string: `'…'`, `"…"`, `N'…'`. What stands next to another is a token of its own.
    Text,
    /// `_utf8` in front of a literal.
    Introducer,
    Number,
    /// `x'41'`, `0x41`.
    Hex,
    /// `b'01'`, `0b01`.
    Bits,
    /// `?`.
    Parameter,
    /// `@a`, `@'a'`, `@@a`: what follows a dot is tokens of its own.
    Variable,
    /// `@` of `user@host`, without the host.
    At,
    Operator,
    Comma,
    Semicolon,
    Open,
    Close,
    /// A dot, a colon, a brace.
    Mark,
}

/// One word of a text. Units: bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
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
