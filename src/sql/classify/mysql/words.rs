//! The words of one statement, taken one after the other.
//! Never skips one: what is not taken is still there at the end. Read `show.rs` next.

use crate::sql::action::TableName;
use crate::sql::lex::mysql::{Kind, Token, name_of, text_of};
use crate::sql::mysql_state::MysqlState;

#[derive(Clone, Copy)]
pub(super) struct Words<'w> {
    text: &'w str,
    state: &'w MysqlState,
    tokens: &'w [Token],
}

impl<'w> Words<'w> {
    pub fn new(text: &'w str, state: &'w MysqlState, tokens: &'w [Token]) -> Self {
        Self { text, state, tokens }
    }

    /// Other words of the same text.
    pub fn over(self, tokens: &'w [Token]) -> Self {
        Self { tokens, ..self }
    }

    /// What has not been taken.
    pub fn rest(self) -> &'w [Token] {
        self.tokens
    }

    pub fn is_empty(self) -> bool {
        self.tokens.is_empty()
    }

    /// The next word without quotes in lower case; empty if something else is next.
    pub fn first_word(self) -> String {
        self.word_at(0)
    }

    pub fn word_at(self, at: usize) -> String {
        match self.tokens.get(at) {
            Some(token) if token.kind == Kind::Word => token.text(self.text).to_ascii_lowercase(),
            Some(_) | None => String::new(),
        }
    }

    pub fn peek(self) -> Option<Token> {
        self.tokens.first().copied()
    }

    pub fn next(&mut self) -> Option<Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(*first)
    }

    /// Whether any of its words is this one.
    pub fn has(self, word: &str) -> bool {
        self.tokens.iter().any(|token| token.is(self.text, word))
    }

    /// Takes the next word if it is this one.
    pub fn take(&mut self, word: &str) -> bool {
        let taken = self.peek().is_some_and(|token| token.is(self.text, word));
        if taken {
            self.next();
        }
        taken
    }

    pub fn take_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.take(word))
    }

    /// Takes all of these words in a row, or none.
    pub fn take_all(&mut self, words: &[&str]) -> bool {
        let mut ahead = *self;
        let taken = words.iter().all(|word| ahead.take(word));
        if taken {
            *self = ahead;
        }
        taken
    }

    pub fn take_kind(&mut self, kind: Kind) -> Option<Token> {
        self.peek().filter(|token| token.kind == kind)?;
        self.next()
    }

    /// An operator or mark by its text.
    pub fn take_sign(&mut self, sign: &str) -> bool {
        let taken = self.peek().is_some_and(|token| {
            matches!(
                token.kind,
                Kind::Operator | Kind::Mark | Kind::Open | Kind::Close | Kind::Comma
            ) && token.text(self.text) == sign
        });
        if taken {
            self.next();
        }
        taken
    }

    /// A name, in quotes or not, as the server reads it.
    pub fn name(&mut self) -> Option<String> {
        let token = self.peek()?;
        let name = self.name_of(token)?;
        self.next();
        Some(name)
    }

    pub fn name_of(self, token: Token) -> Option<String> {
        let is_name = matches!(token.kind, Kind::Word | Kind::Name);
        is_name.then(|| name_of(token, self.text, self.state))
    }

    /// `name` or `schema.name`.
    pub fn table(&mut self) -> Option<TableName> {
        let first = self.name()?;
        if !self.take_sign(".") {
            return Some(TableName {
                schema: None,
                name: first,
            });
        }
        let name = self.name()?;
        Some(TableName {
            schema: Some(first),
            name,
        })
    }

    /// The words up to the next comma outside parentheses; the comma is taken, too.
    pub fn item(&mut self) -> Words<'w> {
        let mut depth = 0_usize;
        for (at, token) in self.tokens.iter().enumerate() {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.saturating_sub(1),
                Kind::Comma if depth == 0 => {
                    let item = self.tokens.get(..at).unwrap_or_default();
                    self.tokens = self.tokens.get(at + 1..).unwrap_or_default();
                    return self.over(item);
                }
                _ => {}
            }
        }
        let item = *self;
        self.tokens = &[];
        item
    }

    /// The words up to this one, which stands outside parentheses and is taken, too; `None` if it does not.
    pub fn up_to(&mut self, word: &str) -> Option<Words<'w>> {
        let mut depth = 0_usize;
        let at = self.tokens.iter().position(|token| {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && token.is(self.text, word)
        })?;
        let before = self.tokens.get(..at)?;
        self.tokens = self.tokens.get(at + 1..)?;
        Some(self.over(before))
    }

    /// The value of a string.
    pub fn string_of(self, token: Token) -> Option<String> {
        (token.kind == Kind::Text).then(|| text_of(token, self.text, self.state))
    }

    /// `@a` or `@@a` as the server reads it, its signs in front.
    pub fn variable(&mut self) -> Option<String> {
        let token = self.take_kind(Kind::Variable)?;
        Some(name_of(token, self.text, self.state))
    }

    pub fn text_of(self, token: Token) -> &'w str {
        token.text(self.text)
    }
}
