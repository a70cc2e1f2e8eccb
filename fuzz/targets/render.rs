//! Any bytes become lines that show each of them once, in order, with nothing that a terminal or a browser would obey.
//!
//! Input: one byte for how the text is read and laid out, then the text.
#![no_main]

use countersign::render::{Layout, Mark, Reading, Statement, visible_bytes};
use countersign::sql::mysql_state::MysqlState;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((settings, text)) = bytes.split_first() else {
        return;
    };
    let reading = match settings & 3 {
        0 => Reading::POSTGRES,
        1 => Reading::Unknown,
        2 => Reading::Mysql(MysqlState::default_mysql()),
        _ => Reading::Mysql(MysqlState {
            version: Some(101_119),
            ..MysqlState::default_mariadb()
        }),
    };
    let layout = match settings & 4 {
        0 => Layout::Laid,
        _ => Layout::AsReceived,
    };
    let shown = Statement::of(text, &reading, layout, &[]);
    let mut at = 0;
    let mut letters = String::new();
    for piece in shown.lines.iter().flat_map(|line| &line.pieces) {
        while text.get(at) == Some(&b'\n') && piece.bytes.start > at {
            letters.push('\n');
            at += 1;
        }
        assert_eq!(piece.bytes.start, at, "a byte is shown twice or not at all");
        if piece.mark != Mark::Hidden {
            assert_eq!(piece.text.as_bytes(), &text[piece.bytes.clone()]);
        }
        letters.push_str(&piece.text);
        at = piece.bytes.end;
    }
    letters.extend(text[at..].iter().map(|_| '\n'));
    assert_eq!(
        letters,
        visible_bytes(text),
        "shown otherwise than everywhere else"
    );
});
