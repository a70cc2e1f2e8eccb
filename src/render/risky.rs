//! Words of a statement that a reviewer must not read past, and what is missing where it should stand.
//! Never decides anything: the rules do. Read `statement.rs` next.

use super::words::{Kind, Word};

/// Something to be marked: which word, and what to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Risk {
    /// Where the word stands in the list of words.
    pub at: usize,
    pub why: &'static str,
    /// Also said in words beside its line.
    pub is_noted: bool,
}

/// The risky words of a text, in order.
pub fn risks(text: &str, words: &[Word]) -> Vec<Risk> {
    let solid: Vec<usize> = (0..words.len()).filter(|at| is_solid(&words[*at])).collect();
    let mut found = Vec::new();
    for statement in solid.split(|at| words[*at].kind == Kind::Semicolon) {
        let statement = Tokens {
            text,
            words,
            at: statement,
        };
        found.extend(statement.risks());
    }
    found
}

fn is_solid(word: &Word) -> bool {
    !matches!(word.kind, Kind::Blank | Kind::Comment | Kind::Executable)
}

/// The words of one statement, without blanks and comments.
struct Tokens<'t> {
    text: &'t str,
    words: &'t [Word],
    at: &'t [usize],
}

impl Tokens<'_> {
    /// The word at this place in upper case, unless it is part of a name.
    fn word(&self, place: Option<usize>) -> String {
        let Some(word) = place
            .and_then(|place| self.at.get(place))
            .map(|at| &self.words[*at])
        else {
            return String::new();
        };
        let follows_dot = place
            .and_then(|place| place.checked_sub(1))
            .is_some_and(|before| self.kind(before) == Some(Kind::Dot));
        match word.kind {
            Kind::Word if !follows_dot => self.text[word.range.clone()].to_ascii_uppercase(),
            _ => String::new(),
        }
    }

    fn kind(&self, place: usize) -> Option<Kind> {
        self.at.get(place).map(|at| self.words[*at].kind)
    }

    fn risks(&self) -> Vec<Risk> {
        let first = self.word(Some(0));
        let mut found = Vec::new();
        for place in 0..self.at.len() {
            if self.kind(place) != Some(Kind::Word) {
                continue;
            }
            let word = self.word(Some(place));
            let before = self.word(place.checked_sub(1));
            let after = self.word(place.checked_add(1));
            let (why, is_noted) = match why(&word, &before, &after, &first, place) {
                Some(why) => (why, false),
                None if self.reaches_every_row(place, &word, &before) => {
                    ("no WHERE: it reaches every row", true)
                }
                None => continue,
            };
            found.push(Risk {
                at: self.at[place],
                why,
                is_noted,
            });
        }
        found
    }

    /// Whether an UPDATE or DELETE stands here without a WHERE of its own.
    fn reaches_every_row(&self, place: usize, word: &str, before: &str) -> bool {
        let changes = match word {
            "DELETE" => place == 0 || self.word(Some(place + 1)) == "FROM",
            "UPDATE" => !matches!(
                before,
                "FOR" | "ON" | "DO" | "KEY" | "AFTER" | "BEFORE" | "OR" | "OF"
            ),
            _ => return false,
        };
        if !changes || matches!(before, "ON" | "AFTER" | "BEFORE") {
            return false;
        }
        let (mut depth, mut sets) = (0_usize, word == "DELETE");
        for later in place + 1..self.at.len() {
            match self.kind(later) {
                Some(Kind::Open) => depth += 1,
                Some(Kind::Close) if depth == 0 => break,
                Some(Kind::Close) => depth -= 1,
                Some(Kind::Word) if depth == 0 => match self.word(Some(later)).as_str() {
                    "WHERE" => return false,
                    "SET" => sets = true,
                    _ => {}
                },
                _ => {}
            }
        }
        sets
    }
}

fn why(word: &str, before: &str, after: &str, first: &str, place: usize) -> Option<&'static str> {
    let about_rights = matches!(first, "GRANT" | "REVOKE" | "ALTER");
    Some(match word {
        "DROP" => "what it drops is gone",
        "TRUNCATE" => "empties the table without a WHERE",
        "CASCADE" => "takes along what depends on it",
        "GRANT" if after == "OPTION" => "they may pass the right on",
        "GRANT" if place == 0 => "gives rights",
        "REVOKE" if place == 0 => "takes rights",
        "PUBLIC" if about_rights && matches!(before, "TO" | "FROM") => "every user of the database",
        "SUPERUSER" | "BYPASSRLS" | "CREATEROLE" => "gives power over everything",
        "PROGRAM" if first == "COPY" => "runs a program on the server",
        "OUTFILE" | "DUMPFILE" => "writes a file on the server",
        "INFILE" => "reads a file",
        "LOAD_FILE" | "PG_READ_FILE" | "PG_READ_BINARY_FILE" | "PG_LS_DIR" => "reads files of the server",
        "LO_IMPORT" | "LO_EXPORT" => "reads or writes files of the server",
        "DBLINK" | "DBLINK_EXEC" => "runs a statement somewhere else",
        "PG_TERMINATE_BACKEND" | "PG_CANCEL_BACKEND" => "ends what others do",
        "KILL" | "SHUTDOWN" if place == 0 => "ends what others do",
        "DEFINER" if before == "SECURITY" => "runs with the rights of its owner",
        "OWNER" if after == "TO" => "gives it to another owner",
        "REASSIGN" if place == 0 => "gives everything to another owner",
        "FULL" if before == "VACUUM" => "locks and rewrites the table",
        "ALL" if place == 1 && first == "GRANT" => "every right there is",
        _ => return None,
    })
}
