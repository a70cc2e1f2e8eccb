//! A text with `?` in place of each literal: what statements of one fingerprint have in common, for people to read.
//! Never judged and never sent: what runs is the text itself. Read `parse.rs` for the fingerprint.

use crate::sql::lex::postgres::{Kind, scan};

/// `text` with its literals taken out as the fingerprint does: one `?` for each, `?, …` for a list of them.
/// Parameters stay as they are, comments too. A text that the scanner refuses is given back whole.
pub fn template(text: &str, standard_conforming_strings: bool) -> String {
    let scan = scan(text, standard_conforming_strings);
    if scan.refused.is_some() {
        return text.to_owned();
    }
    let is_literal = |kind: Kind| matches!(kind, Kind::Text | Kind::Number);
    let mut shown = String::with_capacity(text.len());
    let (mut copied, mut at) = (0, 0);
    while let Some(token) = scan.tokens.get(at) {
        if !is_literal(token.kind) {
            at += 1;
            continue;
        }
        let mut last = at;
        while let [_, comma, next, ..] = scan.tokens[last..]
            && comma.kind == Kind::Comma
            && is_literal(next.kind)
        {
            last += 2;
        }
        let end = scan.tokens[last].range().end;
        shown.push_str(text.get(copied..token.range().start).unwrap_or_default());
        shown.push_str(if last > at { "?, …" } else { "?" });
        (copied, at) = (end, last + 1);
    }
    shown.push_str(text.get(copied..).unwrap_or_default());
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_taken_out_and_nothing_else() {
        let cases = [
            ("DELETE FROM o WHERE a = 'x'", "DELETE FROM o WHERE a = ?"),
            ("WHERE a IN (1, 'b',3) AND c = $1", "WHERE a IN (?, …) AND c = $1"),
            ("VALUES (1), (2)", "VALUES (?), (?)"),
            ("f(1, a, 2)", "f(?, a, ?)"),
            ("E'a\\'b' $$c$$ \"d\" -- 'e'", "? ? \"d\" -- 'e'"),
            ("SELECT 'é' ü", "SELECT ? ü"),
            ("nothing", "nothing"),
            ("'open", "'open"),
        ];
        for (text, shown) in cases {
            assert_eq!(template(text, true), shown, "{text}");
        }
    }
}
