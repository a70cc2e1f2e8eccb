//! Which characters hide, reorder or steer, and how they are written out: in `⟦…⟧`.
//! Never changes what a visible character is. Read `statement.rs` next.

/// The text with every control, bidi and zero-width character written out; line breaks stay line breaks.
/// The brackets themselves are written out too, so that no text can pretend to be an escape.
pub fn visible(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut shown, letter| {
            match written_out(letter) {
                None => shown.push(letter),
                Some(written) => shown.push_str(&written),
            }
            shown
        })
}

/// For a value that stands on one line: line breaks are written out as well.
pub fn visible_line(text: &str) -> String {
    visible(text).replace('\n', "⟦LF⟧")
}

/// Bytes that may be no UTF-8: each byte that is none is written out as `⟦0xFF⟧`.
pub fn visible_bytes(bytes: &[u8]) -> String {
    bytes.utf8_chunks().fold(String::new(), |mut shown, chunk| {
        shown.push_str(&visible(chunk.valid()));
        chunk
            .invalid()
            .iter()
            .for_each(|byte| shown.push_str(&byte_written_out(*byte)));
        shown
    })
}

/// How a character that could hide is written; `None`: it is shown as it is. A line break is shown as one.
pub fn written_out(letter: char) -> Option<String> {
    match letter {
        '\n' => None,
        '\t' => Some("⟦TAB⟧".to_owned()),
        '\r' => Some("⟦CR⟧".to_owned()),
        hidden if is_hidden(hidden) => Some(format!("⟦U+{:04X}⟧", u32::from(hidden))),
        _plain => None,
    }
}

/// A byte that is no part of any character.
pub fn byte_written_out(byte: u8) -> String {
    format!("⟦0x{byte:02X}⟧")
}

/// Whether a terminal would show nothing, a blank, or something else for it.
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(u32::from(letter),
            // Blanks that are not the blank: a server reads them as part of a name.
            0x00A0 | 0x1680 | 0x2000..=0x200A | 0x202F | 0x205F | 0x3000 | 0x2800
            // Zero width, joiners, fillers, soft hyphen, invisible operators.
            | 0x00AD | 0x034F | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x200B..=0x200D
            | 0x2060..=0x2065 | 0x3164 | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFC
            // Direction.
            | 0x061C | 0x200E | 0x200F | 0x202A..=0x202E | 0x2066..=0x206F
            // Line and paragraph separators, variation selectors, tags, musical format characters.
            | 0x2028 | 0x2029 | 0xFE00..=0xFE0F | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF
            // Private use: every font may show what it likes.
            | 0xE000..=0xF8FF | 0xF0000..=0x10FFFF
            // Our own brackets.
            | 0x27E6 | 0x27E7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_can_hide_or_reorder_is_written_out() {
        let cases = [
            ("SELECT 1", "SELECT 1"),
            ("a\nb", "a\nb"),
            ("a\tb\r\n", "a⟦TAB⟧b⟦CR⟧\n"),
            ("DROP\u{202E}ELBAT", "DROP⟦U+202E⟧ELBAT"),
            ("us\u{200B}ers\u{FEFF}", "us⟦U+200B⟧ers⟦U+FEFF⟧"),
            ("a\u{A0}b", "a⟦U+00A0⟧b"),
            ("\x1B[2Jx\u{9B}0m", "⟦U+001B⟧[2Jx⟦U+009B⟧0m"),
            ("tag\u{E0041}", "tag⟦U+E0041⟧"),
            ("⟦U+202E⟧", "⟦U+27E6⟧U+202E⟦U+27E7⟧"),
            ("straße 表 😀", "straße 表 😀"),
        ];
        for (text, shown) in cases {
            assert_eq!(visible(text), shown, "{text:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_written_out_one_by_one() {
        assert_eq!(visible_bytes(b"a\xFF\xC3b"), "a⟦0xFF⟧⟦0xC3⟧b");
        assert_eq!(visible_line("a\nb"), "a⟦LF⟧b");
    }
}
