//! The impact of a request for a person at a terminal: lines short enough for the width of a phone.
//! Never words a fact itself. Read `../api/impact.rs` for the words, `card.rs` for what stands around it.

use crate::api::impact::impact_parts;
use crate::catalog::impact::Impact;

/// Columns behind the label: a phone held upright shows about sixty in all.
const WIDTH: usize = 46;

/// Label and text of each line; a label that is empty goes on with the one before.
pub fn impact_lines(impact: &Impact) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    for (label, texts) in impact_parts(impact) {
        let texts = texts.iter().flat_map(|text| wrapped(text));
        lines.extend(
            texts
                .enumerate()
                .map(|(at, text)| (if at == 0 { label } else { "" }, text)),
        );
    }
    lines
}

/// Broken between words; a longer word stands alone.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let is_full = lines
            .last()
            .is_some_and(|line| !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH);
        if is_full {
            lines.push(format!("  {word}"));
        } else if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_phone() {
        let text = "blocks neither reads nor writes of orders, only schema changes, index builds and VACUUM";
        let lines = wrapped(text);
        assert!(
            lines.iter().all(|line| line.chars().count() <= WIDTH),
            "{lines:?}"
        );
        assert_eq!(
            lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "),
            text
        );
    }
}
