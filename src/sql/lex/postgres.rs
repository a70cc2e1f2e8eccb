//! Cuts a text into tokens by the rules of PostgreSQL's scanner (src/backend/parser/scan.l), for three things: limits
//! that keep every later reader from exhausting a stack, the shape behind a fingerprint, and where secrets stand.
//! Refuses what servers from 15 on cut differently from each other. Read `../parse.rs` next.

use std::ops::Range;

/// Deeper nests are nobody's statement; libpg_query and sqlparser recurse once or more per level.
pub const NESTING_MAX: usize = 200;
/// Tokens of one level without a comma: bounds every chain of operators, joins and casts, which readers walk recursively.
pub const RUN_TOKENS_MAX: usize = 8_000;
/// UNION, INTERSECT and EXCEPT in one text: a chain that commas do not cut.
pub const SET_OPERATIONS_MAX: usize = 500;
/// Joins in one text: sqlparser nests those whose ON comes late without counting.
pub const JOINS_MAX: usize = 300;
/// Starts of block comments: nested ones cost quadratic time in the server's scanner and in libpg_query.
pub const COMMENT_STARTS_MAX: usize = 400;
/// Statements in one text.
pub const STATEMENTS_MAX: usize = 1_000;
/// Words and signs of one text: readers take about a microsecond for each.
pub const TOKENS_MAX: usize = 80_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Word,
    /// A quoted identifier.
    Name,
    /// A string, in any of its spellings.
    Text,
    Number,
    Parameter,
    Operator,
    Comma,
    Semicolon,
    Open,
    Close,
    /// A dot or a colon.
    Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("a quote, a dollar quote or a comment does not end")]
    Unterminated,
    #[error("holds a byte that servers of different versions read differently")]
    Ambiguous,
    #[error("a number is followed by letters, which servers of different versions read differently")]
    NumberWithTail,
    #[error("a comment stands inside a string that is continued on another line")]
    CommentInString,
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
    #[error("has a backslash in a string while standard_conforming_strings is off")]
    Backslash,
}

/// What one pass over a text finds out.
#[derive(Debug, Default)]
pub struct Scan {
    pub tokens: Vec<Token>,
    /// Pieces between semicolons that are not empty.
    pub statements: usize,
    pub has_comments: bool,
    /// Why the text is refused; the tokens up to there are kept, because secrets must be masked all the same.
    pub refused: Option<Refused>,
}

/// Total: every text gives a `Scan`. Linear in time and memory.
pub fn scan(text: &str, standard_conforming_strings: bool) -> Scan {
    let mut scanner = Scanner {
        bytes: text.as_bytes(),
        at: 0,
        scan: Scan {
            tokens: Vec::with_capacity(text.len() / 4 + 8),
            ..Scan::default()
        },
        standard_conforming_strings,
        comment_starts: 0,
    };
    if let Err(refused) = scanner.run() {
        scanner.scan.refused = Some(refused);
    }
    if scanner.scan.refused.is_none() {
        scanner.scan.refused = limits(text, &mut scanner.scan).err();
    }
    scanner.scan
}

struct Scanner<'t> {
    bytes: &'t [u8],
    at: usize,
    scan: Scan,
    standard_conforming_strings: bool,
    comment_starts: usize,
}

impl Scanner<'_> {
    fn run(&mut self) -> Result<(), Refused> {
        while self.at < self.bytes.len() {
            let start = self.at;
            if self.skip_blank_or_comment()? {
                continue;
            }
            let kind = self.token();
            let push = |kind| Token {
                kind,
                start: position(start),
                end: position(self.at.max(start + 1)),
            };
            match kind {
                Ok(kind) => self.scan.tokens.push(push(kind)),
                Err((kind, refused)) => {
                    let mut token = push(kind);
                    token.end = position(self.bytes.len());
                    self.scan.tokens.push(token);
                    return Err(refused);
                }
            }
        }
        Ok(())
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip_blank_or_comment(&mut self) -> Result<bool, Refused> {
        match (self.peek(0), self.peek(1)) {
            (b' ' | b'\t' | b'\n' | b'\r' | b'\x0c', _) => {
                self.at += 1;
                Ok(true)
            }
            // A vertical tab is a blank from version 16 on and an error before.
            (b'\x0b', _) => Err(Refused::Ambiguous),
            (b'-', b'-') => {
                self.scan.has_comments = true;
                self.skip_line();
                Ok(true)
            }
            (b'/', b'*') => {
                self.scan.has_comments = true;
                self.skip_block().map(|()| true)
            }
            _ => Ok(false),
        }
    }

    fn skip_line(&mut self) {
        while self.at < self.bytes.len() && !matches!(self.peek(0), b'\n' | b'\r') {
            self.at += 1;
        }
    }

    fn skip_block(&mut self) -> Result<(), Refused> {
        let mut depth = 0usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => {
                    depth += 1;
                    self.comment_starts += 1;
                    if self.comment_starts > COMMENT_STARTS_MAX {
                        return Err(Refused::TooManyComments);
                    }
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ if self.at >= self.bytes.len() => return Err(Refused::Unterminated),
                _ => self.at += 1,
            }
        }
    }

    /// Reads one token; on an error says what it would have been.
    fn token(&mut self) -> Result<Kind, (Kind, Refused)> {
        let first = self.peek(0);
        match first {
            b'\'' => self.string(1, !self.standard_conforming_strings, true),
            b'"' => self.quoted_name(1),
            b'e' | b'E' if self.peek(1) == b'\'' => self.string(2, true, false),
            b'b' | b'B' | b'x' | b'X' | b'n' | b'N' if self.peek(1) == b'\'' => {
                let plain = matches!(first, b'n' | b'N');
                self.string(2, plain && !self.standard_conforming_strings, plain)
            }
            b'u' | b'U' if self.peek(1) == b'&' && self.peek(2) == b'\'' => self.string(3, false, true),
            b'u' | b'U' if self.peek(1) == b'&' && self.peek(2) == b'"' => self.quoted_name(3),
            b'$' => self.dollar(),
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_ascii_digit() => self.number(),
            _ if is_word_start(first) => {
                self.at += 1;
                while is_word_part(self.peek(0)) && self.at < self.bytes.len() {
                    self.at += 1;
                }
                Ok(Kind::Word)
            }
            b',' => self.one(Kind::Comma),
            b';' => self.one(Kind::Semicolon),
            b'(' | b'[' => self.one(Kind::Open),
            b')' | b']' => self.one(Kind::Close),
            b'.' | b':' => self.one(Kind::Mark),
            _ if is_operator(first) => {
                self.at += 1;
                while is_operator(self.peek(0))
                    && !matches!((self.peek(0), self.peek(1)), (b'-', b'-') | (b'/', b'*'))
                {
                    self.at += 1;
                }
                Ok(Kind::Operator)
            }
            _ => Err((Kind::Mark, Refused::Ambiguous)),
        }
    }

    fn one(&mut self, kind: Kind) -> Result<Kind, (Kind, Refused)> {
        self.at += 1;
        Ok(kind)
    }

    /// A string whose first quote ends at `skip`, with its continuations on later lines.
    fn string(&mut self, skip: usize, backslashes: bool, plain: bool) -> Result<Kind, (Kind, Refused)> {
        self.at += skip;
        loop {
            match self.peek(0) {
                b'\'' if self.peek(1) == b'\'' => self.at += 2,
                b'\'' => {
                    self.at += 1;
                    if !self.continues().map_err(|refused| (Kind::Text, refused))? {
                        return Ok(Kind::Text);
                    }
                }
                // With the setting off, a backslash in a plain string is an escape, which the other readers do not know.
                b'\\' if backslashes && plain => return Err((Kind::Text, Refused::Backslash)),
                b'\\' if backslashes => self.at += 2,
                _ if self.at >= self.bytes.len() => return Err((Kind::Text, Refused::Unterminated)),
                _ => self.at += 1,
            }
        }
    }

    /// After a closing quote: whether blanks with a line break lead to the next quote, which continues the string.
    /// Line comments may stand between by the server's rules; that is refused, readers differ there.
    fn continues(&mut self) -> Result<bool, Refused> {
        let mut at = self.at;
        let mut line_break = false;
        let mut comment = false;
        loop {
            match self.bytes.get(at).copied() {
                Some(b' ' | b'\t' | b'\x0c') => at += 1,
                Some(b'\n' | b'\r') => {
                    line_break = true;
                    at += 1;
                }
                Some(b'-') if self.bytes.get(at + 1) == Some(&b'-') => {
                    comment = true;
                    while !matches!(self.bytes.get(at), None | Some(b'\n' | b'\r')) {
                        at += 1;
                    }
                }
                Some(b'\'') if line_break && comment => return Err(Refused::CommentInString),
                Some(b'\'') if line_break => {
                    self.at = at + 1;
                    return Ok(true);
                }
                _ => return Ok(false),
            }
        }
    }

    fn quoted_name(&mut self, skip: usize) -> Result<Kind, (Kind, Refused)> {
        self.at += skip;
        loop {
            match self.peek(0) {
                b'"' if self.peek(1) == b'"' => self.at += 2,
                b'"' => {
                    self.at += 1;
                    return Ok(Kind::Name);
                }
                _ if self.at >= self.bytes.len() => return Err((Kind::Name, Refused::Unterminated)),
                _ => self.at += 1,
            }
        }
    }

    /// `$1`, or a dollar quote with or without a tag.
    fn dollar(&mut self) -> Result<Kind, (Kind, Refused)> {
        let start = self.at;
        self.at += 1;
        if self.peek(0).is_ascii_digit() {
            while self.peek(0).is_ascii_digit() {
                self.at += 1;
            }
            return match is_word_start(self.peek(0)) {
                true => Err((Kind::Parameter, Refused::NumberWithTail)),
                false => Ok(Kind::Parameter),
            };
        }
        if is_word_start(self.peek(0)) {
            while is_word_start(self.peek(0)) || self.peek(0).is_ascii_digit() {
                self.at += 1;
            }
        }
        if self.peek(0) != b'$' {
            return Err((Kind::Mark, Refused::Ambiguous));
        }
        self.at += 1;
        let tag = &self.bytes[start..self.at];
        match find(&self.bytes[self.at..], tag) {
            Some(end) => {
                self.at += end + tag.len();
                Ok(Kind::Text)
            }
            None => Err((Kind::Text, Refused::Unterminated)),
        }
    }

    /// Decimal numbers only: `0x1F`, `1_000` and `1a` are cut differently by servers before 15 or 16.
    fn number(&mut self) -> Result<Kind, (Kind, Refused)> {
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            self.at += 1;
            while self.peek(0).is_ascii_digit() {
                self.at += 1;
            }
        }
        if matches!(self.peek(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                self.at += 2 + sign;
                while self.peek(0).is_ascii_digit() {
                    self.at += 1;
                }
            }
        }
        match is_word_part(self.peek(0)) {
            true => Err((Kind::Number, Refused::NumberWithTail)),
            false => Ok(Kind::Number),
        }
    }
}

/// Checks what readers behind this one would recurse over, and counts statements.
fn limits(text: &str, scan: &mut Scan) -> Result<(), Refused> {
    if scan.tokens.len() > TOKENS_MAX {
        return Err(Refused::TooManyTokens);
    }
    let mut levels: Vec<usize> = Vec::new();
    let (mut run, mut cases, mut set_operations, mut joins, mut empty) =
        (0usize, 0usize, 0usize, 0usize, true);
    for token in &scan.tokens {
        run += 1;
        match token.kind {
            Kind::Open => {
                levels.push(run);
                run = 0;
            }
            Kind::Close => run = levels.pop().unwrap_or(run),
            Kind::Comma => run = 0,
            Kind::Semicolon => {
                if levels.is_empty() {
                    (run, cases, set_operations, joins, empty) = (0, 0, 0, 0, true);
                }
            }
            Kind::Word => {
                let word = token.text(text);
                cases += usize::from(word.eq_ignore_ascii_case("case"));
                cases = cases.saturating_sub(usize::from(word.eq_ignore_ascii_case("end")));
                joins += usize::from(word.eq_ignore_ascii_case("join"));
                let combines = ["union", "intersect", "except"];
                set_operations += usize::from(combines.iter().any(|known| word.eq_ignore_ascii_case(known)));
            }
            Kind::Name | Kind::Text | Kind::Number | Kind::Parameter | Kind::Operator | Kind::Mark => {}
        }
        if empty && token.kind != Kind::Semicolon {
            scan.statements += 1;
            empty = false;
        }
        if levels.len() + cases > NESTING_MAX {
            return Err(Refused::TooDeep);
        }
        if run > RUN_TOKENS_MAX {
            return Err(Refused::TooLong);
        }
        if set_operations > SET_OPERATIONS_MAX {
            return Err(Refused::TooManySetOperations);
        }
        if joins > JOINS_MAX {
            return Err(Refused::TooManyJoins);
        }
        if scan.statements > STATEMENTS_MAX {
            return Err(Refused::TooManyStatements);
        }
    }
    Ok(())
}

impl Token {
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub fn text(self, text: &str) -> &str {
        text.get(self.range()).unwrap_or_default()
    }
}

fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn find(text: &[u8], tag: &[u8]) -> Option<usize> {
    text.windows(tag.len()).position(|window| window == tag)
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_word_part(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn is_operator(byte: u8) -> bool {
    b"~!@#^&|`?+-*/%<>=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        let scan = scan(text, true);
        assert_eq!(scan.refused, None, "{text}");
        scan.tokens.iter().map(|token| token.kind).collect()
    }

    #[test]
    fn tokens_are_cut_as_the_server_cuts_them() {
        use Kind::*;
        assert_eq!(kinds("SELECT $1::int"), [Word, Parameter, Mark, Mark, Word]);
        assert_eq!(kinds("E'a\\'b' 'c''d' $x$;$x$"), [Text, Text, Text]);
        assert_eq!(kinds("'a'\n 'b'"), [Text]);
        assert_eq!(kinds("'a' 'b'"), [Text, Text]);
        assert_eq!(kinds("7 %/*'*/ 3"), [Number, Operator, Number]);
        assert_eq!(kinds("a$x$ \"b\"\"c\" U&\"d\""), [Word, Name, Name]);
        assert_eq!(kinds("1 &&--'\n 2"), [Number, Operator, Number]);
        assert_eq!(
            kinds("a[1:2] .5 1. e"),
            [Word, Open, Number, Mark, Number, Close, Number, Number, Word]
        );
    }

    #[test]
    fn what_versions_cut_differently_is_refused() {
        for (text, why) in [
            ("SELECT 0x1F", Refused::NumberWithTail),
            ("SELECT 1_000", Refused::NumberWithTail),
            ("SELECT\u{b}1", Refused::Ambiguous),
            ("SELECT 'a' -- c\n 'b'", Refused::CommentInString),
            ("SELECT 'a", Refused::Unterminated),
            ("SELECT $q$ a", Refused::Unterminated),
            ("/* /* */", Refused::Unterminated),
        ] {
            assert_eq!(scan(text, true).refused, Some(why), "{text}");
        }
        assert_eq!(scan("SELECT 'a\\'", false).refused, Some(Refused::Backslash));
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let nested = |depth: usize| format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(scan(&nested(NESTING_MAX), true).refused, None);
        assert_eq!(
            scan(&nested(NESTING_MAX + 1), true).refused,
            Some(Refused::TooDeep)
        );
        let chain = |tokens: usize| "a ".repeat(tokens);
        assert_eq!(scan(&chain(RUN_TOKENS_MAX), true).refused, None);
        assert_eq!(
            scan(&chain(RUN_TOKENS_MAX + 1), true).refused,
            Some(Refused::TooLong)
        );
        let comments = |count: usize| "/**/".repeat(count);
        assert_eq!(scan(&comments(COMMENT_STARTS_MAX), true).refused, None);
        assert_eq!(
            scan(&comments(COMMENT_STARTS_MAX + 1), true).refused,
            Some(Refused::TooManyComments)
        );
        let many = |count: usize| "SELECT 1;".repeat(count);
        assert_eq!(scan(&many(STATEMENTS_MAX), true).refused, None);
        assert_eq!(
            scan(&many(STATEMENTS_MAX + 1), true).refused,
            Some(Refused::TooManyStatements)
        );
        let list = |count: usize| format!("SELECT 1{}", ",1".repeat(count / 2 - 1));
        assert_eq!(scan(&list(TOKENS_MAX), true).refused, None);
        assert_eq!(
            scan(&list(TOKENS_MAX + 2), true).refused,
            Some(Refused::TooManyTokens)
        );
        let joins = |count: usize| format!("SELECT 1 FROM t{}", " JOIN t ON true".repeat(count));
        assert_eq!(scan(&joins(JOINS_MAX), true).refused, None);
        assert_eq!(
            scan(&joins(JOINS_MAX + 1), true).refused,
            Some(Refused::TooManyJoins)
        );
        let unions = |count: usize| format!("SELECT 1{}", " UNION SELECT 1".repeat(count));
        assert_eq!(scan(&unions(SET_OPERATIONS_MAX), true).refused, None);
        assert_eq!(
            scan(&unions(SET_OPERATIONS_MAX + 1), true).refused,
            Some(Refused::TooManySetOperations)
        );
    }
}
