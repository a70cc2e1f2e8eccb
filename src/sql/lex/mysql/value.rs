//! What a token stands for: a string without its quotes and escapes, a name without its quotes.
//! Never tells where a token ends. Read `words.rs` next.

use super::{Kind, Token};
use crate::sql::mysql_state::MysqlState;

/// The string behind a `Kind::Text` token, as the servers' my_unescape makes it.
pub fn text_of(token: Token, text: &str, state: &MysqlState) -> String {
    let piece = token.text(text);
    let piece = piece.strip_prefix(['n', 'N']).unwrap_or(piece);
    let Some(sign) = piece.chars().next() else {
        return String::new();
    };
    let inner = inside(piece, sign);
    let mut value = String::with_capacity(inner.len());
    let mut signs = inner.chars();
    while let Some(next) = signs.next() {
        if next == '\\' && !state.modes.no_backslash_escapes {
            unescape(signs.next(), &mut value);
        } else {
            value.push(next);
            // The second of two quotes.
            if next == sign {
                signs.next();
            }
        }
    }
    value
}

fn unescape(sign: Option<char>, value: &mut String) {
    match sign {
        Some('n') => value.push('\n'),
        Some('t') => value.push('\t'),
        Some('r') => value.push('\r'),
        Some('b') => value.push('\x08'),
        Some('0') => value.push('\0'),
        Some('Z') => value.push('\x1a'),
        // They keep their backslash, for LIKE.
        Some(wild @ ('_' | '%')) => {
            value.push('\\');
            value.push(wild);
        }
        Some(other) => value.push(other),
        None => {}
    }
}

/// The name behind a `Kind::Word`, `Kind::Name` or `Kind::Variable` token, the latter with its `@` or `@@`.
pub fn name_of(token: Token, text: &str, state: &MysqlState) -> String {
    let piece = token.text(text);
    let signs = match token.kind {
        Kind::Variable => piece.len() - piece.trim_start_matches('@').len(),
        _ => 0,
    };
    let (prefix, name) = piece.split_at_checked(signs).unwrap_or(("", piece));
    let name = match name.chars().next() {
        Some('`') => unquote(name, '`'),
        Some('"') if state.modes.ansi_quotes => unquote(name, '"'),
        Some('\'' | '"') => {
            let offset = u32::try_from(signs).unwrap_or(0);
            let inner = Token {
                start: token.start + offset,
                ..token
            };
            text_of(inner, text, state)
        }
        _ => name.to_owned(),
    };
    format!("{prefix}{name}")
}

fn unquote(name: &str, sign: char) -> String {
    inside(name, sign).replace(&format!("{sign}{sign}"), &sign.to_string())
}

fn inside(piece: &str, sign: char) -> &str {
    let piece = piece.strip_prefix(sign).unwrap_or(piece);
    piece.strip_suffix(sign).unwrap_or(piece)
}
