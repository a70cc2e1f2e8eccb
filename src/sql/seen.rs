//! Token shapes that the second reader has read before without an objection, so that it need not read them again.
//! Never stands in for the first reader, which reads every text. Read `parse.rs` next.
//!
//! Why it is sound: the key holds everything that sqlparser could cut or read differently: every word, name and sign byte
//! for byte, and where blanks stand. Only plain literals are left out, and a text with any other literal or with a comment
//! has no key. What the first reader made of it is in the key too, because an objection is about both.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::sql::action::Action;
use crate::sql::lex::postgres::{Kind, Scan};

/// Shapes kept per thread; a program has a few hundred.
const SHAPES_MAX: usize = 4_096;
/// Longer shapes are not kept. Units: bytes.
const SHAPE_BYTES_MAX: usize = 2 << 10;

thread_local! {
    static SEEN: RefCell<HashSet<Box<[u8]>>> = RefCell::new(HashSet::new());
}

/// The key of a text, if it may have one.
pub fn shape(text: &str, scan: &Scan, actions: &[Action]) -> Option<Vec<u8>> {
    if scan.has_comments || text.len() > SHAPE_BYTES_MAX {
        return None;
    }
    let mut shape = Vec::with_capacity(text.len() + actions.len());
    let mut end = 0;
    for token in &scan.tokens {
        if token.start > end {
            shape.push(b' ');
        }
        end = token.end;
        let piece = token.text(text);
        match token.kind {
            Kind::Text if !is_plain(piece) => return None,
            // Not bytes that a text can hold, so nothing else looks like them.
            Kind::Text => shape.push(0xFF),
            Kind::Number => shape.push(0xFE),
            Kind::Parameter => shape.push(0xFD),
            Kind::Word
            | Kind::Name
            | Kind::Operator
            | Kind::Comma
            | Kind::Semicolon
            | Kind::Open
            | Kind::Close
            | Kind::Mark => shape.extend(piece.as_bytes()),
        }
    }
    shape.extend(actions.iter().map(|action| action.class as u8));
    Some(shape)
}

/// A string that every reader cuts alike: one pair of quotes around letters, digits and a few signs.
fn is_plain(literal: &str) -> bool {
    let inner = literal
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" _.,:@%+()-{}[]=<>#".contains(&byte);
    inner.is_some_and(|inner| inner.bytes().all(plain) && !inner.contains("--"))
}

pub fn has(shape: &[u8]) -> bool {
    SEEN.with_borrow(|seen| seen.contains(shape))
}

/// Remembers a shape. A full set starts anew: shapes that are used come back.
pub fn keep(shape: Vec<u8>) {
    SEEN.with_borrow_mut(|seen| {
        if seen.len() >= SHAPES_MAX {
            seen.clear();
        }
        seen.insert(shape.into_boxed_slice());
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::lex::postgres::scan;

    fn key(text: &str) -> Option<Vec<u8>> {
        shape(text, &scan(text, true), &[])
    }

    #[test]
    fn only_plain_literals_are_left_out() {
        assert_eq!(
            key("SELECT a FROM t WHERE b = 'x' AND c = 1"),
            key("SELECT a FROM t WHERE b = 'yy' AND c = 22")
        );
        assert_ne!(key("SELECT a FROM t"), key("SELECT a FROM u"));
        assert_ne!(key("SELECT a -1"), key("SELECT a - 1"));
        assert_ne!(key("SELECT 1"), key("SELECT $1"));
        for unlike in [
            "SELECT 'a''b'",
            "SELECT E'a'",
            "SELECT $$a$$",
            "SELECT 'a'\n'b'",
            "SELECT 'a\\'",
            "SELECT 1 -- a",
        ] {
            assert_eq!(key(unlike), None, "{unlike}");
        }
    }
}
