//! Where a text holds a password or a verifier, and what a statement's shape is without its literals.
//! Never decides what a statement does. Read `../lex/mysql/mod.rs` next.

use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::sql::lex::mysql::{Kind, Token};
use crate::sql::parse::carries_secret;

/// Byte ranges of strings that hold a password, a verifier or a connection string with one.
pub fn secrets(text: &str, tokens: &[Token]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if !matches!(token.kind, Kind::Text | Kind::Hex) {
            continue;
        }
        let before = tokens.get(..at).unwrap_or_default();
        let last = before.last().map(|token| token.range());
        let follows_secret = last.is_some() && found.last() == last.as_ref();
        if follows_secret || is_password(text, before) || carries_secret(token.text(text)) {
            found.push(token.range());
        }
    }
    found
}

/// Whether what stands before a literal says that it is a password: `IDENTIFIED BY`, `… AS`, `PASSWORD(`, `…_PASSWORD =`.
fn is_password(text: &str, before: &[Token]) -> bool {
    let mut words = before.iter().rev().filter(|token| !is_joint(text, **token));
    let Some(last) = words.next() else { return false };
    let is = |known: &str| last.is(text, known);
    if is("by") || is("as") || is("using") || is("replace") {
        let near = before.len().saturating_sub(WORDS_OF_IDENTIFIED);
        let near = before.get(near..).unwrap_or_default();
        return near.iter().any(|token| token.is(text, "identified"));
    }
    let is_of_password = |token: Token| {
        let word = token.text(text).trim_matches('`').to_ascii_lowercase();
        let known = ["password", "passwd", "passphrase", "secret", "passcode"];
        matches!(token.kind, Kind::Word | Kind::Name | Kind::Variable)
            && known.iter().any(|known| word.ends_with(known))
    };
    // SET PASSWORD FOR 'a'@'b' = 'c'.
    let is_of_user = matches!(before, [set, password, ..] if set.is(text, "set") && password.is(text, "password"))
        && before.last().is_some_and(|token| token.text(text) == "=");
    is_of_password(*last) || is_of_user
}

/// `IDENTIFIED WITH plugin BY 'new' REPLACE`: as far back as the first word can stand.
const WORDS_OF_IDENTIFIED: usize = 8;

/// What may stand between the word and its literal.
fn is_joint(text: &str, token: Token) -> bool {
    token.kind == Kind::Open
        || token.kind == Kind::Introducer
        || matches!((token.kind, token.text(text)), (Kind::Operator, "=" | ":="))
}

/// What sorts of literals a text has, in their order, and which of them are lists: of one sort, however long, they are one.
pub fn sorts(text: &str, tokens: &[Token]) -> [u8; 32] {
    let mut sorts = Sha256::new();
    let (mut last, mut has_comma, mut is_list) = (None, false, false);
    for token in tokens {
        let of = token.text(text);
        let sort: &[u8] = match token.kind {
            Kind::Comma => {
                has_comma = true;
                continue;
            }
            Kind::Text => b"text",
            Kind::Number if of.bytes().all(|byte| byte.is_ascii_digit()) => b"integer",
            Kind::Number => b"number",
            Kind::Hex => b"hex",
            Kind::Bits => b"bits",
            Kind::Parameter => b"parameter",
            Kind::Introducer => of.as_bytes(),
            Kind::Word
            | Kind::Name
            | Kind::Variable
            | Kind::At
            | Kind::Operator
            | Kind::Semicolon
            | Kind::Open
            | Kind::Close
            | Kind::Mark => {
                (last, has_comma, is_list) = (None, false, false);
                continue;
            }
        };
        if std::mem::take(&mut has_comma) && last.is_some() && !is_list {
            sorts.update(b"list\0");
            is_list = true;
        }
        if last != Some(sort) {
            sorts.update(sort.to_ascii_lowercase());
            sorts.update([0]);
            last = Some(sort);
        }
    }
    sorts.finalize().into()
}

/// The token shape: words folded, literals and parameters one sign, lists of literals one literal.
pub fn fingerprint(text: &str, tokens: &[Token]) -> [u8; 32] {
    let mut shape = Vec::with_capacity(text.len());
    let mut last_literal = false;
    let mut pending_comma = false;
    for token in tokens {
        let literal = matches!(
            token.kind,
            Kind::Text | Kind::Number | Kind::Hex | Kind::Bits | Kind::Parameter
        );
        if token.kind == Kind::Introducer {
            continue;
        }
        if token.kind == Kind::Comma && last_literal {
            pending_comma = true;
            continue;
        }
        if literal && last_literal && (pending_comma || token.kind == Kind::Text) {
            pending_comma = false;
            continue;
        }
        if std::mem::take(&mut pending_comma) {
            shape.push(b',');
        }
        match token.kind {
            Kind::Text | Kind::Number | Kind::Hex | Kind::Bits | Kind::Parameter => shape.push(b'?'),
            Kind::Word => shape.extend(token.text(text).bytes().map(|byte| byte.to_ascii_lowercase())),
            Kind::Name
            | Kind::Introducer
            | Kind::Variable
            | Kind::At
            | Kind::Operator
            | Kind::Comma
            | Kind::Semicolon
            | Kind::Open
            | Kind::Close
            | Kind::Mark => shape.extend(token.text(text).bytes()),
        }
        shape.push(b' ');
        last_literal = literal;
    }
    Sha256::digest(&shape).into()
}
