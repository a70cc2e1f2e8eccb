//! The scanner itself: one step for each state of the servers' own (Lex_input_stream::lex_one_token).
//! Never looks ahead further than they do. Read `value.rs` next.

use super::words::{is_function_word, is_introducer};
use super::{COMMENT_STARTS_MAX, Kind, Refused, Token};
use crate::sql::mysql_state::{Charset, MysqlState, ServerKind};

pub struct Scanner<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    pub tokens: Vec<Token>,
    state: &'t MysqlState,
    /// Inside `/*! … */` whose text the server runs.
    running_comment: bool,
    pub has_executable_comment: bool,
    /// The servers read what follows a dot at once as a name.
    name_next: bool,
    /// Where the last word without quotes ended: a dot at once behind it begins no number.
    word_end: usize,
    comment_starts: usize,
}

impl<'t> Scanner<'t> {
    pub fn new(text: &'t str, from: usize, state: &'t MysqlState) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: from,
            tokens: Vec::with_capacity(text.len().saturating_sub(from) / 4 + 8),
            state,
            running_comment: false,
            has_executable_comment: false,
            name_next: false,
            word_end: usize::MAX,
            comment_starts: 0,
        }
    }

    pub fn run(&mut self) -> Result<(), Refused> {
        while self.at < self.bytes.len() {
            let start = self.at;
            if self.skip()? {
                continue;
            }
            match self.token() {
                Ok(kind) => self.push(kind, start, self.at)?,
                Err((kind, refused)) => {
                    // What does not end may be a secret: it reaches to the end.
                    self.tokens.push(token(kind, start, self.bytes.len()));
                    return Err(refused);
                }
            }
        }
        match self.running_comment {
            true => Err(Refused::Unterminated),
            false => Ok(()),
        }
    }

    fn push(&mut self, kind: Kind, start: usize, end: usize) -> Result<(), Refused> {
        if let Some(before) = self.tokens.last_mut() {
            let is_call = kind == Kind::Open && before.kind == Kind::Word;
            if is_call && is_function_word(before.text(self.text)) {
                let between = self.bytes.get(before.end as usize..start).unwrap_or_default();
                let at_once = match self.state.modes.ignore_space {
                    true => between.iter().copied().all(is_blank),
                    false => between.is_empty(),
                };
                if !at_once {
                    before.kind = Kind::Name;
                }
            }
            let is_literal = matches!(kind, Kind::Text | Kind::Hex | Kind::Bits);
            if is_literal && before.kind == Kind::Word && before.text(self.text).starts_with('_') {
                if !is_introducer(before.text(self.text)) {
                    return Err(Refused::Introducer);
                }
                before.kind = Kind::Introducer;
            }
        }
        self.tokens.push(token(kind, start, end));
        Ok(())
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Skips one blank, one comment, or one end of an executable comment.
    fn skip(&mut self) -> Result<bool, Refused> {
        match (self.peek(0), self.peek(1)) {
            (blank, _) if is_blank(blank) => {
                self.at += 1;
                Ok(true)
            }
            (b'#', _) => Ok(self.skip_line()),
            // At the end of the text the servers see a zero byte, which is a control character.
            (b'-', b'-') if is_blank(self.peek(2)) || self.peek(2).is_ascii_control() => Ok(self.skip_line()),
            (b'/', b'*') => self.skip_block().map(|()| true),
            (b'*', b'/') if self.running_comment => {
                self.running_comment = false;
                self.at += 2;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// A line ends at a line feed only.
    fn skip_line(&mut self) -> bool {
        while self.at < self.bytes.len() && self.peek(0) != b'\n' {
            self.at += 1;
        }
        true
    }

    fn skip_block(&mut self) -> Result<(), Refused> {
        self.comment_starts += 1;
        if self.comment_starts > COMMENT_STARTS_MAX {
            return Err(Refused::TooManyComments);
        }
        match (self.peek(2), self.peek(3)) {
            (b'!', _) => self.executable(3),
            // MySQL reads it as any other comment.
            (b'M', b'!') if self.state.kind != ServerKind::Mysql => self.executable(4),
            (b'+', _) => self.hint(),
            _ => {
                self.at += 2;
                self.skip_comment(Inner::Text)
            }
        }
    }

    /// `/*!`, `/*!NNNNN`, `/*M!`: what is inside is run, or skipped, by the server's kind and version.
    fn executable(&mut self, marker: usize) -> Result<(), Refused> {
        self.has_executable_comment = true;
        let (ServerKind::Mysql | ServerKind::Mariadb, Some(server)) = (self.state.kind, self.state.version)
        else {
            return Err(Refused::ExecutableComment);
        };
        if self.running_comment {
            return Err(Refused::ExecutableComment);
        }
        self.at += marker;
        let digits = (0..6)
            .take_while(|&ahead| self.peek(ahead).is_ascii_digit())
            .count();
        if digits < 5 {
            self.running_comment = true;
            return Ok(());
        }
        let number = self.text.get(self.at..self.at + digits);
        let number: u32 = number
            .and_then(|number| number.parse().ok())
            .ok_or(Refused::ExecutableComment)?;
        let runs = match self.state.kind {
            // Releases differ in whether the sixth digit belongs to the number.
            ServerKind::Mysql if digits == 6 => return Err(Refused::ExecutableComment),
            ServerKind::Mysql => number <= server,
            // Clusters run it, other servers do not.
            ServerKind::Mariadb if number == 99_997 => return Err(Refused::ExecutableComment),
            ServerKind::Mariadb => {
                let for_mysql_only = (50_700..=99_999).contains(&number) && marker == 3;
                number <= server && !for_mysql_only
            }
            ServerKind::Unknown => return Err(Refused::ExecutableComment),
        };
        if runs {
            self.at += digits;
            self.running_comment = true;
            Ok(())
        } else {
            self.skip_comment(Inner::Comments)
        }
    }

    /// `/*+ … */`: servers that know hints read quotes in it, and SET_VAR changes settings; to others it is a comment.
    fn hint(&mut self) -> Result<(), Refused> {
        let start = self.at;
        self.at += 2;
        self.skip_comment(Inner::Text)?;
        let inside = self
            .text
            .get(start..self.at)
            .unwrap_or_default()
            .to_ascii_lowercase();
        match inside.contains(['\'', '"', '`']) || inside.contains("set_var") {
            true => Err(Refused::Hint),
            false => Ok(()),
        }
    }

    /// To behind the next `*/`.
    fn skip_comment(&mut self, inner: Inner) -> Result<(), Refused> {
        while self.at < self.bytes.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') if inner == Inner::Comments => {
                    self.at += 2;
                    self.skip_comment(Inner::Text)?;
                }
                (b'*', b'/') => {
                    self.at += 2;
                    return Ok(());
                }
                _ => self.at += 1,
            }
        }
        Err(Refused::Unterminated)
    }

    /// Reads one token; on an error says what it would have been.
    fn token(&mut self) -> Result<Kind, (Kind, Refused)> {
        let name_next = std::mem::take(&mut self.name_next);
        let first = self.peek(0);
        match first {
            _ if name_next => self.word(0).map(|_| Kind::Name),
            b'\'' => self.quoted(1, Quote::Text).map(|()| Kind::Text),
            b'"' if !self.state.modes.ansi_quotes => self.quoted(1, Quote::Text).map(|()| Kind::Text),
            b'"' | b'`' => self.quoted(1, Quote::Name).map(|()| Kind::Name),
            b'n' | b'N' if self.peek(1) == b'\'' => self.quoted(2, Quote::Text).map(|()| Kind::Text),
            b'x' | b'X' if self.peek(1) == b'\'' => self.digits_in_quotes(Kind::Hex),
            b'b' | b'B' if self.peek(1) == b'\'' => self.digits_in_quotes(Kind::Bits),
            b'$' if self.state.kind != ServerKind::Mariadb => Err((Kind::Word, Refused::Dollar)),
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_ascii_digit() && self.word_end != self.at => {
                self.at += 1;
                self.fraction()
            }
            b'.' => self.dot(),
            _ if is_word_part(first) => self.word(0),
            b'@' => self.variable(),
            b'?' if is_word_part(self.peek(1)) => Err((Kind::Parameter, Refused::Stray)),
            b'?' => self.take(Kind::Parameter, 1),
            b',' => self.take(Kind::Comma, 1),
            // The servers forget at a semicolon that they are in a comment.
            b';' if self.running_comment => Err((Kind::Semicolon, Refused::ExecutableComment)),
            b';' => self.take(Kind::Semicolon, 1),
            b'(' => self.take(Kind::Open, 1),
            b')' => self.take(Kind::Close, 1),
            b'{' | b'}' => self.take(Kind::Mark, 1),
            // NULL.
            b'\\' if self.peek(1) == b'N' => self.take(Kind::Word, 2),
            _ => match operator_length(self.bytes.get(self.at..).unwrap_or_default()) {
                0 => Err((Kind::Mark, Refused::Stray)),
                length => self.take(Kind::Operator, length),
            },
        }
    }

    fn take(&mut self, kind: Kind, length: usize) -> Result<Kind, (Kind, Refused)> {
        self.at += length;
        Ok(kind)
    }

    /// A dot that begins no number. Two in a row are one token to MariaDB.
    fn dot(&mut self) -> Result<Kind, (Kind, Refused)> {
        self.at += 1;
        if self.peek(0) == b'.' {
            return Err((Kind::Mark, Refused::Stray));
        }
        self.name_next = is_word_part(self.peek(0));
        Ok(Kind::Mark)
    }

    /// The rest of a word whose first `ahead` bytes are known.
    fn word(&mut self, ahead: usize) -> Result<Kind, (Kind, Refused)> {
        let start = self.at;
        self.at += ahead;
        while is_word_part(self.peek(0)) {
            self.at += 1;
        }
        let word = self.text.get(start..self.at).unwrap_or_default();
        let is_letter = |sign: char| sign.is_ascii() || sign.is_alphanumeric();
        let fits = |sign: char| self.state.charset != Charset::Utf8mb3 || u32::from(sign) <= 0xFFFF;
        if !word.chars().all(|sign| is_letter(sign) && fits(sign)) {
            return Err((Kind::Word, Refused::StrayInWord));
        }
        self.word_end = self.at;
        Ok(Kind::Word)
    }

    /// A string or a name; `skip` is the length of what opens it.
    fn quoted(&mut self, skip: usize, quote: Quote) -> Result<(), (Kind, Refused)> {
        let sign = self.peek(skip - 1);
        let escapes = quote == Quote::Text && !self.state.modes.no_backslash_escapes;
        self.at += skip;
        while self.at < self.bytes.len() {
            match self.peek(0) {
                b'\\' if escapes => self.at += 2,
                byte if byte == sign && self.peek(1) == sign => self.at += 2,
                byte if byte == sign => {
                    self.at += 1;
                    return Ok(());
                }
                _ => self.at += 1,
            }
        }
        self.at = self.bytes.len();
        Err((Kind::Text, Refused::Unterminated))
    }

    /// `x'41'`, in pairs, and `b'01'`.
    fn digits_in_quotes(&mut self, kind: Kind) -> Result<Kind, (Kind, Refused)> {
        let start = self.at;
        self.at += 2;
        while is_digit_of(kind, self.peek(0)) {
            self.at += 1;
        }
        let odd = kind == Kind::Hex && (self.at - start) % 2 == 1;
        if odd || self.peek(0) != b'\'' {
            return Err((kind, Refused::Unterminated));
        }
        self.at += 1;
        Ok(kind)
    }

    /// A number, or a word that begins with digits.
    fn number(&mut self) -> Result<Kind, (Kind, Refused)> {
        let prefixed = match (self.peek(0), self.peek(1)) {
            (b'0', b'x') => Some(Kind::Hex),
            (b'0', b'b') => Some(Kind::Bits),
            _ => None,
        };
        if let Some(kind) = prefixed {
            let digits = self.run_of(2, |byte| is_digit_of(kind, byte));
            return match digits > 0 && !is_word_part(self.peek(2 + digits)) {
                true => self.take(kind, 2 + digits),
                false => self.word(2),
            };
        }
        let digits = self.run_of(0, |byte| byte.is_ascii_digit());
        let next = self.peek(digits);
        if next == b'.' {
            self.at += digits + 1;
            return match self.peek(0) {
                // One server reads a number and two dots, the other a number with a dot and a dot.
                b'.' => Err((Kind::Number, Refused::NumberWithTail)),
                _ => self.fraction(),
            };
        }
        if matches!(next, b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(digits + 1), b'+' | b'-'));
            let exponent = self.run_of(digits + 1 + sign, |byte| byte.is_ascii_digit());
            if exponent > 0 {
                return self.take(Kind::Number, digits + 1 + sign + exponent);
            }
        }
        match is_word_part(next) {
            true => self.word(digits),
            false => self.take(Kind::Number, digits),
        }
    }

    /// What follows the dot of a number. Letters behind it are a token of their own.
    fn fraction(&mut self) -> Result<Kind, (Kind, Refused)> {
        let digits = self.run_of(0, |byte| byte.is_ascii_digit());
        self.at += digits;
        if !matches!(self.peek(0), b'e' | b'E') {
            return Ok(Kind::Number);
        }
        let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
        let exponent = self.run_of(1 + sign, |byte| byte.is_ascii_digit());
        // The servers drop `1.e` and read on behind it: `1.e(` is a parenthesis.
        match exponent {
            0 => Err((Kind::Number, Refused::NumberWithTail)),
            _ => self.take(Kind::Number, 1 + sign + exponent),
        }
    }

    fn run_of(&self, from: usize, is: impl Fn(u8) -> bool) -> usize {
        let rest = self.bytes.get(self.at + from..).unwrap_or_default();
        rest.iter().take_while(|byte| is(**byte)).count()
    }

    /// `@a`, `@'a'`, `@@a`, or the `@` between a user and a host.
    fn variable(&mut self) -> Result<Kind, (Kind, Refused)> {
        let stray = Err((Kind::Variable, Refused::Stray));
        let before = self.tokens.last();
        let is_user = before.is_some_and(|before| {
            before.end as usize == self.at && matches!(before.kind, Kind::Word | Kind::Name | Kind::Text)
        });
        self.at += 1;
        match self.peek(0) {
            b'\'' => self.variable_in_quotes(is_user, Quote::Text),
            b'"' if !self.state.modes.ansi_quotes => self.variable_in_quotes(is_user, Quote::Text),
            b'"' | b'`' => self.variable_in_quotes(is_user, Quote::Name),
            b'@' if !is_user && self.peek(1) == b'`' => {
                self.at += 1;
                self.quoted(1, Quote::Name).map(|()| Kind::Variable)
            }
            b'@' if !is_user && is_word_part(self.peek(1)) => self.word(1).map(|_| Kind::Variable),
            _ => {
                let length = self.run_of(0, |byte| byte.is_ascii_alphanumeric() || b"._$".contains(&byte));
                if length == 0 || self.peek(length) >= 0x80 {
                    return stray;
                }
                if is_user {
                    // The host is the next token.
                    self.name_next = true;
                    return Ok(Kind::At);
                }
                self.take(Kind::Variable, length)
            }
        }
    }

    fn variable_in_quotes(&mut self, is_user: bool, quote: Quote) -> Result<Kind, (Kind, Refused)> {
        match is_user {
            true => Ok(Kind::At),
            false => self.quoted(1, quote).map(|()| Kind::Variable),
        }
    }
}

fn token(kind: Kind, start: usize, end: usize) -> Token {
    let position = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Token {
        kind,
        start: position(start),
        end: position(end),
    }
}

/// The longest of the servers' operators that the bytes begin with. Units: bytes; 0: none.
fn operator_length(bytes: &[u8]) -> usize {
    const THREE: [&[u8]; 2] = [b"<=>", b"->>"];
    const TWO: [&[u8]; 10] = [
        b"<=", b"<>", b"<<", b">=", b">>", b"!=", b"&&", b"||", b":=", b"->",
    ];
    const ONE: &[u8] = b"<>=!&|+-*/%^~";
    let is_one = || bytes.first().is_some_and(|first| ONE.contains(first));
    if THREE.iter().any(|known| bytes.starts_with(known)) {
        3
    } else if TWO.iter().any(|known| bytes.starts_with(known)) {
        2
    } else {
        usize::from(is_one())
    }
}

/// Blank, tab, line feed, vertical tab, form feed, carriage return: no other, whatever Unicode says.
fn is_blank(byte: u8) -> bool {
    byte == b' ' || (b'\t'..=b'\r').contains(&byte)
}

fn is_word_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn is_digit_of(kind: Kind, byte: u8) -> bool {
    match kind {
        Kind::Bits => matches!(byte, b'0' | b'1'),
        _ => byte.is_ascii_hexdigit(),
    }
}

/// What a skipped comment may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inner {
    Text,
    /// One level of other comments.
    Comments,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    /// Backslashes escape, unless NO_BACKSLASH_ESCAPES.
    Text,
    /// Only doubling escapes.
    Name,
}
