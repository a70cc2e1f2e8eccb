//! Our own words as sqlparser's tokens, with what the servers' grammar has and sqlparser has not put in words that it
//! knows. Never drops an expression or a name of a table: what is left out is a constant, a keyword or a blank spelling.
//! Read `dialect.rs` next.
//!
//! Why at the level of words: the scanner has settled where each of them ends, so a rewrite cannot join or split any, and
//! what is forwarded is the text itself.

mod pattern;

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Span, Token as Foreign, TokenWithSpan, Word};

use crate::sql::lex::mysql::words::is_reserved;
use crate::sql::lex::mysql::{Kind, Token, name_of, text_of};
use crate::sql::mysql_state::MysqlState;

/// The tokens of one statement or expression for sqlparser; their columns are byte positions, from 1.
pub fn plain(text: &str, tokens: &[Token], state: &MysqlState) -> Vec<TokenWithSpan> {
    let mut plain = Plain {
        text,
        tokens,
        state,
        at: 0,
        out: Vec::with_capacity(tokens.len() + 8),
        levels: Vec::new(),
        modifiers: false,
        has_joins: tokens.iter().any(|token| token.is(text, "join")),
    };
    while plain.at < tokens.len() {
        plain.step();
    }
    plain.out
}

struct Plain<'t> {
    text: &'t str,
    tokens: &'t [Token],
    state: &'t MysqlState,
    at: usize,
    out: Vec<TokenWithSpan>,
    levels: Vec<Level>,
    /// Behind SELECT and the words that may follow it at once.
    modifiers: bool,
    has_joins: bool,
}

/// An open parenthesis.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Of a call of this function, as far as it is read in a way of its own.
    Char,
    WeightString,
    Call,
    /// Around tables between commas, in a FROM clause.
    Tables,
    /// The same, where no JOIN makes the parentheses matter.
    BareTables,
    Other,
}

impl Plain<'_> {
    fn step(&mut self) {
        let Some(token) = self.peek(0) else { return };
        match token.kind {
            Kind::Word if self.pattern() => {}
            Kind::Word => self.word(token),
            Kind::Name => self.name(token),
            Kind::Text => self.strings(token),
            // Its character set changes what the literal's bytes mean, not what the statement does.
            Kind::Introducer => self.at += 1,
            Kind::Number => self.push(Foreign::Number(token.text(self.text).to_owned(), false)),
            Kind::Hex => self.push(Foreign::HexStringLiteral(digits(token.text(self.text)))),
            Kind::Bits => self.push(Foreign::SingleQuotedByteStringLiteral(digits(
                token.text(self.text),
            ))),
            Kind::Parameter => self.push(Foreign::Placeholder("?".to_owned())),
            Kind::Variable => {
                let name = name_of(token, self.text, self.state);
                self.push(identifier(name, None));
            }
            Kind::At => self.push(Foreign::AtSign),
            Kind::Operator => {
                let operator = self.operator(token.text(self.text));
                self.push(operator);
            }
            Kind::Comma => self.comma(),
            Kind::Semicolon => self.push(Foreign::SemiColon),
            Kind::Open => self.open(),
            Kind::Close => self.close(),
            Kind::Mark => self.mark(token),
        }
    }

    fn peek(&self, ahead: usize) -> Option<Token> {
        self.tokens.get(self.at + ahead).copied()
    }

    fn before(&self) -> Option<Token> {
        self.at
            .checked_sub(1)
            .and_then(|before| self.tokens.get(before))
            .copied()
    }

    fn is(&self, ahead: usize, keyword: &str) -> bool {
        self.peek(ahead).is_some_and(|token| token.is(self.text, keyword))
    }

    fn is_kind(&self, ahead: usize, kind: Kind) -> bool {
        self.peek(ahead).is_some_and(|token| token.kind == kind)
    }

    /// Puts `token` in the place of the one at hand, and goes on to the next.
    fn push(&mut self, token: Foreign) {
        self.place(token);
        self.at += 1;
    }

    /// Puts `token` where the one at hand stands, without going on.
    fn place(&mut self, token: Foreign) {
        let position = |byte: usize| Location::new(1, byte as u64 + 1);
        let range = self
            .peek(0)
            .or_else(|| self.tokens.last().copied())
            .map_or(0..0, Token::range);
        let span = Span::new(position(range.start), position(range.end));
        self.out.push(TokenWithSpan { token, span });
    }

    fn keyword(&mut self, word: &str) {
        self.place(Foreign::make_word(word, None));
    }

    fn word(&mut self, token: Token) {
        let word = token.text(self.text);
        self.modifiers = match self.modifiers {
            true => pattern::is_modifier(word),
            false => word.eq_ignore_ascii_case("select"),
        };
        let word = match word {
            "\\N" => "NULL",
            word => word,
        };
        self.push(Foreign::make_word(word, None));
    }

    /// A name without quotes stands behind a dot, where it is a name whatever it says; or it names a stored function,
    /// and then it must not be taken for the built-in one.
    fn name(&mut self, token: Token) {
        self.modifiers = false;
        let first = token.text(self.text).chars().next();
        let behind_dot = self
            .before()
            .is_some_and(|before| before.end == token.start && matches!(before.kind, Kind::Mark | Kind::At));
        let quote = match first {
            Some('`' | '"') => Some('`'),
            _ if behind_dot => None,
            _ => Some('`'),
        };
        let name = name_of(token, self.text, self.state);
        self.push(identifier(name, quote));
    }

    /// Strings side by side are one string.
    fn strings(&mut self, first: Token) {
        self.modifiers = false;
        let mut value = text_of(first, self.text, self.state);
        while let Some(next) = self.peek(1).filter(|next| next.kind == Kind::Text) {
            value.push_str(&text_of(next, self.text, self.state));
            self.at += 1;
        }
        self.push(Foreign::SingleQuotedString(value));
    }

    fn operator(&mut self, operator: &str) -> Foreign {
        self.modifiers = false;
        match operator {
            "=" => Foreign::Eq,
            "<=>" => Foreign::Spaceship,
            "<>" | "!=" => Foreign::Neq,
            "<" => Foreign::Lt,
            "<=" => Foreign::LtEq,
            ">" => Foreign::Gt,
            ">=" => Foreign::GtEq,
            "+" => Foreign::Plus,
            "-" => Foreign::Minus,
            "*" => Foreign::Mul,
            "/" => Foreign::Div,
            "%" => Foreign::Mod,
            "<<" => Foreign::ShiftLeft,
            ">>" => Foreign::ShiftRight,
            "&" => Foreign::Ampersand,
            "|" => Foreign::Pipe,
            "^" => Foreign::Caret,
            "~" => Foreign::Tilde,
            "!" => Foreign::ExclamationMark,
            ":=" => Foreign::Assignment,
            "->" => Foreign::Arrow,
            "->>" => Foreign::LongArrow,
            "&&" => Foreign::make_word("AND", None),
            "||" if self.state.modes.pipes_as_concat => Foreign::StringConcat,
            "||" => Foreign::make_word("OR", None),
            other => Foreign::CustomBinaryOperator(other.to_owned()),
        }
    }

    fn comma(&mut self) {
        self.modifiers = false;
        match self.levels.last() {
            Some(Level::Tables) => {
                self.keyword("CROSS");
                self.keyword("JOIN");
                self.at += 1;
            }
            Some(Level::Char | Level::WeightString | Level::Call | Level::BareTables | Level::Other)
            | None => self.push(Foreign::Comma),
        }
    }

    fn open(&mut self) {
        self.modifiers = false;
        let level = self.level();
        self.levels.push(level);
        match level {
            Level::BareTables => self.at += 1,
            Level::Char | Level::WeightString | Level::Call | Level::Tables | Level::Other => {
                self.push(Foreign::LParen);
            }
        }
    }

    fn close(&mut self) {
        self.modifiers = false;
        match self.levels.pop() {
            Some(Level::BareTables) => self.at += 1,
            Some(Level::Char | Level::WeightString | Level::Call | Level::Tables | Level::Other) | None => {
                self.push(Foreign::RParen);
            }
        }
    }

    /// What the parenthesis at hand is, by the word before it and the first word in it.
    fn level(&self) -> Level {
        let Some(before) = self.before() else {
            return Level::Other;
        };
        let within_tables = matches!(self.levels.last(), Some(Level::Tables | Level::BareTables))
            && matches!(before.kind, Kind::Open | Kind::Comma);
        let is = |word: &str| before.is(self.text, word);
        if within_tables || is("from") || is("join") || is("straight_join") {
            let is_query = ["select", "with", "values", "table"]
                .iter()
                .any(|word| self.is(1, word));
            // Another parenthesis may begin a query or a join: sqlparser finds out.
            return match (is_query || self.is_kind(1, Kind::Open), self.has_joins) {
                (true, _) => Level::Other,
                (false, true) => Level::Tables,
                (false, false) => Level::BareTables,
            };
        }
        let is_query = self.is(1, "select") || self.is(1, "with");
        if before.kind != Kind::Word || is_query {
            Level::Other
        } else if is("char") {
            Level::Char
        } else if is("weight_string") {
            Level::WeightString
        } else if is_reserved(before.text(self.text)) || is("cast") || is("json_table") {
            Level::Other
        } else {
            Level::Call
        }
    }

    /// A dot, or a brace of `{d '…'}`, `{fn …}`, `{oj …}`: what is inside counts, in parentheses. A text that is made a date
    /// or time there is one here, too: the servers compare it as such.
    fn mark(&mut self, token: Token) {
        self.modifiers = false;
        match token.text(self.text) {
            "." => self.push(Foreign::Period),
            "{" => {
                self.levels.push(Level::Other);
                self.push(Foreign::LParen);
                if let Some(word) = self.peek(0).filter(|token| token.kind == Kind::Word) {
                    if let Some(moment) = moment(word.text(self.text)) {
                        self.keyword(moment);
                    }
                    self.at += 1;
                }
            }
            _ => self.close(),
        }
    }
}

/// What the first word in braces makes of a text behind it.
fn moment(word: &str) -> Option<&'static str> {
    let known = [("d", "DATE"), ("t", "TIME"), ("ts", "TIMESTAMP")];
    let found = known.iter().find(|(short, _)| word.eq_ignore_ascii_case(short));
    found.map(|(_, keyword)| *keyword)
}

fn identifier(value: String, quote_style: Option<char>) -> Foreign {
    Foreign::Word(Word {
        value,
        quote_style,
        keyword: Keyword::NoKeyword,
    })
}

/// `x'41'`, `0x41`, `b'01'`, `0b01` without their marks.
fn digits(literal: &str) -> String {
    let quoted = literal.split('\'').nth(1);
    quoted
        .unwrap_or_else(|| literal.get(2..).unwrap_or_default())
        .to_owned()
}
