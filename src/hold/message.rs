//! The one line that an agent is told: ASCII, and no longer than drivers show.
//! Never says why beyond what a person or a rule wrote. Read `proxy/refusal.rs` for every reason to say no.
//!
//! Why here and not beside the errors: whoever denies is shown these very words before they say them.

use crate::hold::RequestId;

/// Drivers show the primary message alone, and some cut it.
pub const MESSAGE_BYTES_MAX: usize = 480;

/// What stands for the rest of a text that was cut.
const ELLIPSIS: &str = "...";

/// What the agent is told at the end of every denial.
const NEVER_AGAIN: &str = ". Do not retry or rephrase.";

/// A denial as the agent reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub message: String,
    /// The reason did not fit, and its end is missing.
    pub is_cut: bool,
}

/// What the agent is told when a person denies its request.
pub fn denied_by_person(by: &str, request: RequestId, reason: &str) -> Denial {
    denied(&format!("{by} ({request})"), reason)
}

/// What the agent is told when a rule denies its statement.
pub fn denied_by_rule(rule: &str, reason: &str) -> Denial {
    denied(&format!("rule {rule}"), reason)
}

/// A reason that is too long loses its own end, never the words that say not to try again.
fn denied(by: &str, reason: &str) -> Denial {
    let head = ascii(&format!("countersign: DENIED by {by}: "));
    let reason = ascii(reason);
    let room = MESSAGE_BYTES_MAX.saturating_sub(head.len() + NEVER_AGAIN.len());
    let is_cut = reason.len() > room;
    let shown = cut(&reason, room);
    Denial {
        message: one_line(&format!("{head}{shown}{NEVER_AGAIN}")),
        is_cut,
    }
}

/// Any text as an error's message has it: ASCII, and not too long.
pub fn one_line(message: &str) -> String {
    cut(&ascii(message), MESSAGE_BYTES_MAX)
}

/// Clients differ in what they make of other characters in an error, and a terminal may obey them: what parts words
/// becomes a blank, other control characters go, and what is not ASCII becomes a question mark.
fn ascii(text: &str) -> String {
    let letter = |letter: char| match letter {
        ' '..='~' => Some(letter),
        '\n' | '\r' | '\t' => Some(' '),
        other if other.is_control() => None,
        _other => Some('?'),
    };
    text.chars().filter_map(letter).collect()
}

/// `text` is ASCII, so that it can be cut anywhere.
fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let kept = bytes_max.saturating_sub(ELLIPSIS.len());
    format!("{}{ELLIPSIS}", &text[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_loses_its_own_end_and_never_the_words_behind_it() {
        let request = RequestId::from_random(7);
        let by = "a".repeat(63);
        for bytes in [1, 300, 376, 377, 378, 400, 1000, 100_000] {
            let denial = denied_by_person(&by, request, &"x".repeat(bytes));
            assert!(denial.message.len() <= MESSAGE_BYTES_MAX, "{bytes}");
            assert!(denial.message.ends_with(NEVER_AGAIN), "{}", denial.message);
            assert_eq!(denial.is_cut, denial.message.contains(ELLIPSIS), "{bytes}");
        }
        // A name without a limit of its own does not push the message over it.
        let denial = denied_by_rule(&"r".repeat(1000), "no");
        assert_eq!(denial.message.len(), MESSAGE_BYTES_MAX);
        assert!(denial.is_cut);
    }

    #[test]
    fn control_characters_go_and_no_other_alphabet_reaches_a_terminal() {
        let denial = denied_by_person(
            "dba-1",
            RequestId::from_random(0),
            "no\u{1b}[31m\r\nDROP\u{202e} é\0!",
        );
        assert_eq!(
            denial.message,
            "countersign: DENIED by dba-1 (000000): no[31m  DROP? ?!. Do not retry or rephrase."
        );
    }
}
