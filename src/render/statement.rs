//! A statement as a person reads it: numbered lines of marked pieces. Never shows anything but the statement's own bytes,
//! in their order, with what could hide written out and nothing but white space added; each piece says which bytes it
//! is. Read `words.rs` next.

use std::borrow::Cow;
use std::ops::Range;

use super::hidden::{byte_written_out, written_out};
use super::layout::{Break, breaks};
use super::risky::risks;
use super::script::disguise;
use super::words::{Kind, Word, cut, is_keyword};
use crate::sql::mysql_state::MysqlState;
use crate::sql::statement::Encoding;

/// Letters of a parameter's value that are shown in its place; the table has all of it.
const VALUE_SHOWN_MAX: usize = 48;

/// By whose rules a text is cut into words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    Postgres {
        conforming: bool,
        encoding: Encoding,
    },
    Mysql(MysqlState),
    /// Nobody knows: it is shown without any marks.
    Unknown,
}

impl Reading {
    /// PostgreSQL with its defaults.
    pub const POSTGRES: Self = Self::Postgres {
        conforming: true,
        encoding: Encoding::Utf8,
    };

    /// From what is kept of a session: how a text of MySQL was read, or what PostgreSQL reported.
    pub fn of(read_as: Option<&str>, conforming: Option<&str>, encoding: Option<&str>) -> Self {
        match read_as {
            Some(told) => MysqlState::parse(told).map_or(Self::Unknown, Self::Mysql),
            None => Self::Postgres {
                conforming: conforming.is_none_or(|value| value == "on"),
                encoding: encoding.map_or(Encoding::Utf8, Encoding::of),
            },
        }
    }
}

/// Whether long lines are broken for the eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Laid,
    /// Lines end where the text's own lines end.
    AsReceived,
}

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Plain,
    Keyword,
    Name,
    Text,
    Number,
    Parameter,
    /// The value of the parameter before it: not part of the statement.
    Value,
    Comment,
    /// A comment that some servers run.
    Executable,
    /// Stands for a character or a byte that could not be seen.
    Hidden,
    /// A name that looks like another one.
    Disguised,
    /// Must not be read past.
    Risky,
}

impl Mark {
    /// One word, for a style sheet.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Keyword => "keyword",
            Self::Name => "name",
            Self::Text => "text",
            Self::Number => "number",
            Self::Parameter => "parameter",
            Self::Value => "value",
            Self::Comment => "comment",
            Self::Executable => "executable",
            Self::Hidden => "hidden",
            Self::Disguised => "disguised",
            Self::Risky => "risky",
        }
    }
}

/// A stretch of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<'t> {
    /// What is shown. The statement's own characters, unless it is `Hidden` or `Value`.
    pub text: Cow<'t, str>,
    pub mark: Mark,
    /// What to say of it.
    pub why: Option<Cow<'static, str>>,
    /// Which bytes of the statement it stands for; empty: none.
    pub bytes: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'t> {
    /// From 1.
    pub number: usize,
    /// Blanks in front of it that are not in the statement.
    pub indent: u8,
    pub pieces: Vec<Piece<'t>>,
    /// What is to be said of this line.
    pub notes: Vec<Cow<'static, str>>,
}

/// The value of a parameter, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// `$1` is 1.
    pub index: u16,
    /// As it is shown, on one line and with what could hide written out: a text in its quotes, NULL, or hex digits.
    pub shown: String,
}

/// A statement as lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement<'t> {
    pub lines: Vec<Line<'t>>,
    /// What is to be said of it as a whole, most important first.
    pub notes: Vec<String>,
}

impl<'t> Statement<'t> {
    /// Total: every byte string gives lines. Linear in time and memory.
    pub fn of(bytes: &'t [u8], reading: &Reading, layout: Layout, values: &[Value]) -> Self {
        let Ok(text) = std::str::from_utf8(bytes) else {
            let mut writer = Writer::new(&[], values);
            writer.unreadable(bytes);
            let note = "it is no UTF-8: bytes that are no characters are shown by their numbers";
            return writer.end(vec![note.to_owned()]);
        };
        let words = match cut(text, reading) {
            Ok(words) => words,
            Err(why) => {
                let mut writer = Writer::new(&[], values);
                writer.piece(text, 0..text.len(), Mark::Plain, None);
                let note = format!("shown without highlighting, because it cannot be cut into words: {why}");
                return writer.end(vec![note]);
            }
        };
        let risks = risks(text, &words);
        let added = match layout {
            Layout::Laid => breaks(text, &words),
            Layout::AsReceived => Vec::new(),
        };
        let mut writer = Writer::new(&added, values);
        let mut risks = risks.into_iter().peekable();
        let mut parameters = 0;
        for (at, word) in words.iter().enumerate() {
            let raw = &text[word.range.clone()];
            let risk = risks.next_if(|risk| risk.at == at);
            let (mark, why) = match &risk {
                Some(risk) => (Mark::Risky, Some(Cow::Borrowed(risk.why))),
                None => mark_of(word, raw),
            };
            writer.piece(raw, word.range.clone(), mark, why);
            if let Some(risk) = risk.filter(|risk| risk.is_noted) {
                writer.note(Cow::Borrowed(risk.why));
            }
            if word.kind == Kind::Parameter {
                parameters += 1;
                writer.value(number_of(raw).unwrap_or(parameters), word.range.end);
            }
        }
        let has_executable = words.iter().any(|word| word.kind == Kind::Executable);
        let notes = has_executable
            .then(|| "a comment in it is run by some servers: it is marked".to_owned())
            .into_iter()
            .collect();
        writer.end(notes)
    }
}

/// `$3` is 3; `?` has no number.
fn number_of(parameter: &str) -> Option<u16> {
    parameter.strip_prefix('$')?.parse().ok()
}

fn mark_of(word: &Word, raw: &str) -> (Mark, Option<Cow<'static, str>>) {
    match word.kind {
        Kind::Word if is_keyword(raw) => (Mark::Keyword, None),
        Kind::Word | Kind::Name => match disguise(raw) {
            Some(why) => (Mark::Disguised, Some(Cow::Owned(why))),
            None => (Mark::Name, None),
        },
        Kind::Text => (Mark::Text, None),
        Kind::Number => (Mark::Number, None),
        Kind::Parameter => (Mark::Parameter, None),
        Kind::Comment => (Mark::Comment, None),
        Kind::Executable => (
            Mark::Executable,
            Some(Cow::Borrowed("some servers run this comment")),
        ),
        Kind::Comma | Kind::Semicolon | Kind::Open | Kind::Close | Kind::Dot | Kind::Other | Kind::Blank => {
            (Mark::Plain, None)
        }
    }
}

/// Puts pieces into lines.
struct Writer<'t, 'b> {
    lines: Vec<Line<'t>>,
    added: &'b [Break],
    values: &'b [Value],
}

impl<'t, 'b> Writer<'t, 'b> {
    fn new(added: &'b [Break], values: &'b [Value]) -> Self {
        let mut writer = Self {
            lines: Vec::new(),
            added,
            values,
        };
        writer.begin_line(0);
        writer
    }

    fn begin_line(&mut self, indent: u8) {
        self.lines.push(Line {
            number: self.lines.len() + 1,
            indent,
            pieces: Vec::new(),
            notes: Vec::new(),
        });
    }

    fn line(&mut self) -> &mut Line<'t> {
        self.lines.last_mut().expect("the first line is begun at once")
    }

    fn note(&mut self, note: Cow<'static, str>) {
        self.line().notes.push(note);
    }

    /// A stretch of text, with a line for each of its lines and a piece for each character that could hide.
    fn piece(&mut self, text: &'t str, bytes: Range<usize>, mark: Mark, why: Option<Cow<'static, str>>) {
        if let Some((first, rest)) = self.added.split_first()
            && first.before == bytes.start
        {
            self.added = rest;
            self.begin_line(first.indent);
        }
        let mut from = 0;
        for (at, letter) in text.char_indices() {
            let written = written_out(letter);
            if letter != '\n' && written.is_none() {
                continue;
            }
            self.push(&text[from..at], bytes.start + from, mark, why.as_ref());
            from = at + letter.len_utf8();
            let range = bytes.start + at..bytes.start + from;
            match written {
                Some(written) => self.line().pieces.push(Piece {
                    text: Cow::Owned(written),
                    mark: Mark::Hidden,
                    why: None,
                    bytes: range,
                }),
                None => self.begin_line(0),
            }
        }
        self.push(&text[from..], bytes.start + from, mark, why.as_ref());
    }

    fn push(&mut self, text: &'t str, start: usize, mark: Mark, why: Option<&Cow<'static, str>>) {
        if text.is_empty() {
            return;
        }
        self.line().pieces.push(Piece {
            text: Cow::Borrowed(text),
            mark,
            why: why.cloned(),
            bytes: start..start + text.len(),
        });
    }

    /// The value of a parameter, in the brackets that no statement can show.
    fn value(&mut self, index: u16, at: usize) {
        let Some(value) = self.values.iter().find(|value| value.index == index) else {
            return;
        };
        let mut shown: String = value.shown.chars().take(VALUE_SHOWN_MAX).collect();
        if shown.len() < value.shown.len() {
            shown.push('…');
        }
        let text = format!("⟦= {shown}⟧");
        self.line().pieces.push(Piece {
            text: Cow::Owned(text),
            mark: Mark::Value,
            why: None,
            bytes: at..at,
        });
    }

    /// Bytes that are no text: what can be read of them, and the others one by one.
    fn unreadable(&mut self, bytes: &'t [u8]) {
        let mut at = 0;
        for chunk in bytes.utf8_chunks() {
            self.piece(chunk.valid(), at..at + chunk.valid().len(), Mark::Plain, None);
            at += chunk.valid().len();
            for byte in chunk.invalid() {
                self.line().pieces.push(Piece {
                    text: Cow::Owned(byte_written_out(*byte)),
                    mark: Mark::Hidden,
                    why: None,
                    bytes: at..at + 1,
                });
                at += 1;
            }
        }
    }

    fn end(self, mut notes: Vec<String>) -> Statement<'t> {
        let pieces = || self.lines.iter().flat_map(|line| &line.pieces);
        let hidden = pieces().filter(|piece| piece.mark == Mark::Hidden && &*piece.text != "⟦TAB⟧");
        match hidden.count() {
            0 => {}
            1 => notes.push("a character that cannot be seen is written out as ⟦…⟧".to_owned()),
            count => notes.push(format!(
                "{count} characters that cannot be seen are written out as ⟦…⟧"
            )),
        }
        if let Some(disguised) = pieces().find(|piece| piece.mark == Mark::Disguised) {
            let why = disguised.why.as_deref().unwrap_or_default();
            let name = super::visible_line(&disguised.text);
            notes.push(format!("the name `{name}` {why}"));
        }
        Statement {
            lines: self.lines,
            notes,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mariadb() -> Reading {
        Reading::Mysql(MysqlState {
            version: Some(101_119),
            ..MysqlState::default_mariadb()
        })
    }

    fn laid(text: &str) -> Vec<String> {
        let shown = Statement::of(text.as_bytes(), &Reading::POSTGRES, Layout::Laid, &[]);
        shown.lines.iter().map(line_text).collect()
    }

    fn line_text(line: &Line<'_>) -> String {
        let text: String = line.pieces.iter().map(|piece| piece.text.as_ref()).collect();
        " ".repeat(usize::from(line.indent)) + &text
    }

    fn marked(text: &str, reading: &Reading, mark: Mark) -> Vec<String> {
        let shown = Statement::of(text.as_bytes(), reading, Layout::Laid, &[]);
        let pieces = shown.lines.into_iter().flat_map(|line| line.pieces);
        let pieces = pieces.filter(|piece| piece.mark == mark);
        pieces.map(|piece| piece.text.into_owned()).collect()
    }

    /// Every byte is shown once, in order; what is shown for it is that byte, or its number.
    fn check(bytes: &[u8], reading: &Reading, layout: Layout) {
        let shown = Statement::of(bytes, reading, layout, &[]);
        let mut at = 0;
        for piece in shown.lines.iter().flat_map(|line| &line.pieces) {
            // Between pieces of two lines stands the text's own line break, which the new line shows.
            while bytes.get(at) == Some(&b'\n') && piece.bytes.start > at {
                at += 1;
            }
            assert_eq!(piece.bytes.start, at, "a byte is shown twice or not at all");
            let own = &bytes[piece.bytes.clone()];
            match (piece.mark, std::str::from_utf8(own)) {
                (Mark::Hidden, Ok(text)) => {
                    let letter = text.chars().next().unwrap();
                    assert_eq!(Some(piece.text.as_ref()), written_out(letter).as_deref());
                }
                (Mark::Hidden, Err(_)) => assert_eq!(piece.text, byte_written_out(own[0])),
                (_, own) => assert_eq!(Ok(piece.text.as_ref()), own),
            }
            at = piece.bytes.end;
        }
        let rest = &bytes[at..];
        assert!(rest.iter().all(|byte| *byte == b'\n'), "the end is not shown");
        let breaks = bytes.iter().filter(|byte| **byte == b'\n').count();
        assert!(shown.lines.len() > breaks, "a line break of the text is lost");
        if layout == Layout::AsReceived {
            assert_eq!(shown.lines.len(), breaks + 1);
        }
    }

    proptest! {
        #[test]
        fn every_byte_is_shown_once_and_as_it_is(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for reading in [Reading::POSTGRES, mariadb(), Reading::Unknown] {
                check(&bytes, &reading, Layout::Laid);
                check(&bytes, &reading, Layout::AsReceived);
            }
        }

        #[test]
        fn every_word_of_a_statement_is_shown_once(parts in proptest::collection::vec(
            prop::sample::select(vec![
                "SELECT", " ", "\n", "FROM t", "WHERE", "a=$1", "?", ",", ";", "'x''y'", "\"n\"", "`n`", "/* c */",
                "/*!50000 ", "*/", "-- c\n", "# c\n", "\u{202e}", "оrders", "DROP TABLE", "CASCADE", "(", ")", "\t",
                "UPDATE t SET a=1", "AND", "x'41'", "@@a", "1.5", "/*", "\r\n", "⟦", "VALUES (1,2,3)",
            ]), 0..40)) {
            let text: String = parts.concat();
            for reading in [Reading::POSTGRES, mariadb(), Reading::Unknown] {
                check(text.as_bytes(), &reading, Layout::Laid);
                check(text.as_bytes(), &reading, Layout::AsReceived);
            }
        }
    }

    #[test]
    fn long_statements_are_broken_before_their_clauses() {
        assert_eq!(
            laid("DELETE FROM orders WHERE id = 1"),
            ["DELETE FROM orders WHERE id = 1"]
        );
        let long = "UPDATE public.orders SET status = 'shipped', shipped_at = now() WHERE customer_id = 42 AND status = 'open' RETURNING id";
        assert_eq!(
            laid(long),
            [
                "UPDATE public.orders ",
                "SET status = 'shipped', shipped_at = now() ",
                "WHERE customer_id = 42 ",
                "  AND status = 'open' ",
                "RETURNING id",
            ]
        );
        assert_eq!(laid("SELECT 1; DROP TABLE t"), ["SELECT 1; ", "DROP TABLE t"]);
        let list = format!("SELECT * FROM t WHERE id IN ({})", vec!["123456"; 100].join(", "));
        assert!(
            laid(&list).iter().all(|line| line.len() < 120),
            "{:?}",
            laid(&list)
        );
    }

    #[test]
    fn what_must_not_be_read_past_is_marked() {
        let risky = |text| marked(text, &Reading::POSTGRES, Mark::Risky);
        assert_eq!(risky("DROP TABLE a CASCADE"), ["DROP", "CASCADE"]);
        assert_eq!(
            risky("GRANT ALL ON a TO PUBLIC WITH GRANT OPTION"),
            ["GRANT", "ALL", "PUBLIC", "GRANT"]
        );
        assert_eq!(risky("COPY a TO PROGRAM 'x'"), ["PROGRAM"]);
        assert_eq!(
            risky("SELECT 'DROP', \"drop\", a.drop -- DROP"),
            Vec::<String>::new()
        );
        assert_eq!(risky("DELETE FROM a"), ["DELETE"]);
        assert_eq!(risky("UPDATE a SET b = (SELECT 1 WHERE true)"), ["UPDATE"]);
        assert_eq!(
            risky("WITH x AS (DELETE FROM a RETURNING *) SELECT * FROM x WHERE true"),
            ["DELETE"]
        );
        for bounded in [
            "DELETE FROM a WHERE b = 1",
            "UPDATE a SET b = 1 WHERE c = 2",
            "INSERT INTO a VALUES (1) ON CONFLICT (b) DO UPDATE SET c = 1",
            "SELECT * FROM a FOR UPDATE",
            "CREATE TABLE a (b int REFERENCES c ON DELETE SET NULL)",
        ] {
            assert_eq!(risky(bounded), Vec::<String>::new(), "{bounded}");
        }
        let shown = Statement::of(b"SELECT 1;\nDELETE FROM a", &Reading::POSTGRES, Layout::Laid, &[]);
        assert_eq!(shown.lines[1].notes, ["no WHERE: it reaches every row"]);
    }

    #[test]
    fn what_hides_is_written_out_and_told() {
        let text = "DROP TABLE оrders\u{202e} -- x";
        let shown = Statement::of(text.as_bytes(), &Reading::POSTGRES, Layout::Laid, &[]);
        assert_eq!(line_text(&shown.lines[0]), "DROP TABLE оrders⟦U+202E⟧ -- x");
        assert!(shown.notes[0].contains("cannot be seen"), "{:?}", shown.notes);
        assert!(shown.notes[1].contains("Cyrillic and Latin"), "{:?}", shown.notes);
        let executable = marked("SELECT 1 /*!50000 DROP */", &mariadb(), Mark::Executable);
        assert_eq!(executable, ["/*!50000", "*/"]);
        let plain = Statement::of(b"SELECT 'a", &Reading::POSTGRES, Layout::Laid, &[]);
        assert!(plain.notes[0].contains("does not end"), "{:?}", plain.notes);
        let bytes = Statement::of(b"a\xffb", &Reading::POSTGRES, Layout::Laid, &[]);
        assert_eq!(line_text(&bytes.lines[0]), "a⟦0xFF⟧b");
    }

    #[test]
    fn values_stand_where_their_parameters_stand() {
        let values = [
            Value {
                index: 1,
                shown: "42".to_owned(),
            },
            Value {
                index: 2,
                shown: format!("'{}'", "x".repeat(80)),
            },
        ];
        let of = |text: &str, reading| {
            let shown = Statement::of(text.as_bytes(), &reading, Layout::Laid, &values);
            line_text(&shown.lines[0])
        };
        assert_eq!(of("a = $1", Reading::POSTGRES), "a = $1⟦= 42⟧");
        let long = of("a = ? AND b = ?", mariadb());
        assert!(long.starts_with("a = ?⟦= 42⟧ AND b = ?⟦= 'xxx"), "{long}");
        assert!(long.ends_with("x…⟧"), "{long}");
        let hidden = [Value {
            index: 1,
            shown: "'it''s ⟦U+200B⟧'".to_owned(),
        }];
        let once = Statement::of(b"$1", &Reading::POSTGRES, Layout::Laid, &hidden);
        assert_eq!(line_text(&once.lines[0]), "$1⟦= 'it''s ⟦U+200B⟧'⟧");
    }
}
