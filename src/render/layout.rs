//! Where a long line is broken for the eye: before main clauses, between statements, behind commas of long lists.
//! Never breaks inside a word, and never takes a break away. Read `statement.rs` next.

use super::words::{Kind, Word};

/// Lines up to here stay as they are. Units: bytes.
const LINE_LONG: usize = 80;
/// A list goes on in the next line behind this. Units: bytes.
const LIST_WIDE: usize = 96;

/// A line break that is not in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Break {
    /// In front of this byte.
    pub before: usize,
    /// Blanks that the new line begins with.
    pub indent: u8,
}

/// The breaks to add, in order.
pub fn breaks(text: &str, words: &[Word]) -> Vec<Break> {
    let mut laid = Laid {
        text,
        found: Vec::new(),
        line_start: 0,
        line_is_long: is_long(text, 0),
        column_start: 0,
    };
    let mut seen = Seen::default();
    for word in words {
        let raw = &text[word.range.clone()];
        match word.kind {
            Kind::Blank | Kind::Comment | Kind::Executable => {}
            _ => {
                let upper = match word.kind {
                    Kind::Word => raw.to_ascii_uppercase(),
                    _ => String::new(),
                };
                if let Some(indent) = seen.wants_break(&upper, word.kind, &laid, word.range.start) {
                    laid.add(word.range.start, indent);
                }
                seen.take(upper, word.kind);
            }
        }
        if let Some(last) = raw.rfind('\n') {
            laid.begin_line(word.range.start + last + 1);
        }
    }
    laid.found
}

struct Laid<'t> {
    text: &'t str,
    found: Vec<Break>,
    line_start: usize,
    line_is_long: bool,
    /// Where the shown line begins.
    column_start: usize,
}

impl Laid<'_> {
    fn begin_line(&mut self, at: usize) {
        self.line_start = at;
        self.column_start = at;
        self.line_is_long = is_long(self.text, at);
    }

    fn add(&mut self, before: usize, indent: u8) {
        // Nothing but blanks in front of it: it begins its line already.
        if self.text[self.column_start..before].trim().is_empty() {
            return;
        }
        self.found.push(Break { before, indent });
        self.column_start = before;
    }

    fn column(&self, at: usize) -> usize {
        at - self.column_start
    }
}

fn is_long(text: &str, from: usize) -> bool {
    let rest = &text.as_bytes()[from..];
    let end = rest.iter().take(LINE_LONG + 1).position(|byte| *byte == b'\n');
    end.unwrap_or(rest.len()) > LINE_LONG
}

/// What went before in the statement.
#[derive(Default)]
struct Seen {
    depth: usize,
    verb: String,
    before: String,
    before_kind: Option<Kind>,
    in_between: bool,
}

impl Seen {
    fn wants_break(&self, word: &str, kind: Kind, laid: &Laid<'_>, at: usize) -> Option<u8> {
        if self.before_kind == Some(Kind::Semicolon) {
            return Some(0);
        }
        if !laid.line_is_long {
            return None;
        }
        let is_list = self.before_kind == Some(Kind::Comma);
        if self.depth == 0 && kind == Kind::Word && self.before_kind != Some(Kind::Dot) {
            let before = self.before.as_str();
            let is_alter = self.verb == "ALTER";
            match word {
                "FROM" if !matches!(before, "DELETE" | "DISTINCT" | "REVOKE") => return Some(0),
                "WHERE" | "HAVING" | "LIMIT" | "RETURNING" | "UNION" | "INTERSECT" | "EXCEPT" | "VALUES"
                | "WINDOW" => return Some(0),
                "GROUP" | "ORDER" => return Some(0),
                "SET" if matches!(self.verb.as_str(), "UPDATE" | "INSERT" | "WITH") && before != "UPDATE" => {
                    return Some(0);
                }
                "SELECT" if !self.verb.is_empty() && !matches!(before, "EXPLAIN" | "AS") => return Some(0),
                "LEFT" | "RIGHT" | "INNER" | "CROSS" | "NATURAL" => return Some(0),
                "FULL" if self.verb != "VACUUM" => return Some(0),
                "JOIN"
                    if !matches!(
                        before,
                        "LEFT" | "RIGHT" | "INNER" | "CROSS" | "NATURAL" | "FULL" | "OUTER"
                    ) =>
                {
                    return Some(0);
                }
                "AND" if !self.in_between => return Some(2),
                "OR" if !matches!(before, "CREATE") => return Some(2),
                "ADD" | "DROP" | "MODIFY" | "CHANGE" | "RENAME" if is_alter && before != "COLUMN" => {
                    return Some(2);
                }
                "ALTER" if is_alter && is_list => return Some(2),
                _ => {}
            }
        }
        (is_list && laid.column(at) > LIST_WIDE).then_some(4)
    }

    fn take(&mut self, word: String, kind: Kind) {
        match kind {
            Kind::Open => self.depth += 1,
            Kind::Close => self.depth = self.depth.saturating_sub(1),
            Kind::Semicolon if self.depth == 0 => self.verb.clear(),
            Kind::Word if self.verb.is_empty() => self.verb.clone_from(&word),
            _ => {}
        }
        match word.as_str() {
            "BETWEEN" => self.in_between = true,
            "AND" => self.in_between = false,
            _ => {}
        }
        self.before = word;
        self.before_kind = Some(kind);
    }
}
