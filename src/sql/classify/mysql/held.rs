//! Statements that no reader knows, told by their first words: what class they are held as.
//! Never calls one of them a read, a setting or a transaction. Read `audit.rs` next.

use super::Walk;
use super::words::Words;
use crate::sql::action::{Class, TableName};
use crate::sql::classify::lists::mysql::{self as lists, Known};
use crate::sql::lex::mysql::Kind;
use crate::sql::lex::mysql::words::is_reserved;

/// A class, a verb, and whether what is open is committed first.
type Told = (Class, String, bool);

impl Walk<'_, '_> {
    /// `why`: what the second reader had to say; empty if it was not asked.
    pub(super) fn by_first_words(&mut self, words: Words<'_>, why: &str) {
        let told = told(words);
        let Some((class, verb, commits)) = told else {
            self.is(Class::Unknown, "unknown");
            let reason = if why.is_empty() {
                "is a statement that is not understood".to_owned()
            } else {
                why.to_owned()
            };
            return self.raise(Class::Unknown, reason);
        };
        // Below EXPLAIN as well: what cannot be read may do more than be planned.
        self.is(class, verb);
        if commits {
            self.commits_implicitly();
        }
        match class {
            Class::Write if words.first_word() == "load" => {
                self.unbounded = true;
                self.raise(class, "writes as many rows as a file has");
                // The client's own file: of the server's it would be admin.
                self.copies_in = true;
                self.names_of(words);
            }
            Class::Admin if words.first_word() == "load" => {
                self.raise(class, "reads a file of the server");
                self.names_of(words);
            }
            // CHECKSUM TABLE, OPTIMIZE TABLE, FLUSH TABLES, …
            Class::Admin => {
                let mut ahead = words;
                while !ahead.is_empty() && !ahead.take_any(&["table", "tables"]) {
                    ahead.next();
                }
                self.names_of(ahead);
            }
            Class::Write => {
                self.unbounded = true;
                self.raise(class, "is written so that what it reaches cannot be told");
                self.calls_of(words);
                self.names_of(words);
            }
            Class::Ddl => {
                self.names_of(words);
                self.storage(words);
            }
            Class::Export => {
                self.names_of(words);
                self.raise(
                    class,
                    "keeps its result in a file or a user variable instead of returning it",
                );
            }
            Class::Transaction
            | Class::Session
            | Class::Read
            | Class::Procedural
            | Class::Grant
            | Class::Unknown => {}
        }
    }

    /// Every word that may name a table: a rule that allows must list them all, one that holds or denies needs one.
    pub(super) fn names_of(&mut self, words: Words<'_>) {
        let tokens = words.rest();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            let Some(first) = words.name_of(*token) else {
                continue;
            };
            let dot = tokens.get(at).is_some_and(|token| words.text_of(*token) == ".");
            let second = tokens
                .get(at + 1)
                .filter(|_| dot)
                .and_then(|token| words.name_of(*token));
            if let Some(name) = second {
                at += 2;
                self.tables.insert(TableName {
                    schema: Some(first),
                    name,
                });
            } else if token.kind == Kind::Name || !is_reserved(&first) {
                self.tables.insert(TableName {
                    schema: None,
                    name: first,
                });
            }
        }
    }

    /// Calls inside a change that nobody could read: of the server's harmless functions, or it is code.
    fn calls_of(&mut self, words: Words<'_>) {
        let tokens = words.rest();
        for (at, pair) in tokens.windows(2).enumerate() {
            if pair[1].kind != Kind::Open {
                continue;
            }
            let Some(name) = words.name_of(pair[0]) else {
                continue;
            };
            let name = name.to_lowercase();
            let target = at
                .checked_sub(1)
                .and_then(|before| tokens.get(before))
                .is_some_and(|before| {
                    ["into", "table", "join", "update", "ignore", "partition"]
                        .iter()
                        .any(|word| before.is(self.message.context.text, word))
                });
            let plain = pair[0].kind == Kind::Word;
            if target || (plain && is_reserved(&name)) {
                continue;
            }
            match lists::function(&name, 0, false, self.message.context.state) {
                Known::Harmless if plain => {}
                Known::Held(Class::Session, _) if plain => {}
                Known::Held(class, does) if plain => {
                    self.raise(class, format!("calls `{name}`, which {does}"));
                }
                Known::Harmless | Known::Held(_, _) | Known::Elsewhere | Known::Absent => self.raise(
                    Class::Procedural,
                    format!("may call `{name}`, which is not known to be harmless"),
                ),
            }
        }
    }
}

fn told(words: Words<'_>) -> Option<Told> {
    let mut ahead = words;
    // `(SELECT …) INTO OUTFILE …`
    while ahead.peek().is_some_and(|token| token.kind == Kind::Open) {
        ahead.next();
    }
    let first = ahead.first_word();
    let second = ahead.word_at(1);
    let two = format!("{first} {second}");
    let (class, verb, commits) = match first.as_str() {
        "select" | "with" | "values" | "table" if words.has("into") => (Class::Export, first, false),
        "insert" | "replace" | "update" | "delete" => (Class::Write, first, false),
        "load" if second == "index" => (Class::Admin, two, true),
        "load" if words.has("local") => (Class::Write, two, false),
        "load" => (Class::Admin, two, false),
        "create" | "alter" | "drop" => return Some(defined(&first, ahead)),
        "rename" if second == "user" => (Class::Grant, two, true),
        "rename" => (Class::Ddl, two, true),
        "truncate" => (Class::Ddl, first, true),
        "import" if second == "table" => (Class::Ddl, two, true),
        "grant" | "revoke" => (Class::Grant, first, true),
        "set" => (Class::Admin, first, false),
        "begin" => (Class::Procedural, "begin not atomic".to_owned(), false),
        "call" | "do" | "get" | "if" | "while" | "for" | "loop" | "repeat" | "case" | "declare"
        | "signal" | "resignal" => (Class::Procedural, first, false),
        "handler" => (Class::Export, first, false),
        "xa" => (Class::Admin, two, true),
        "lock" | "unlock" | "start" | "stop" | "purge" | "install" | "uninstall" | "optimize" | "repair"
        | "check" | "checksum" | "analyze" | "cache" | "change" | "backup" => (Class::Admin, two, true),
        "kill" | "flush" | "reset" | "shutdown" | "restart" | "clone" | "binlog" => {
            (Class::Admin, first, true)
        }
        "show" => (Class::Unknown, first, false),
        _ => return None,
    };
    Some((class, verb, commits))
}

/// CREATE, ALTER and DROP: of what.
fn defined(first: &str, words: Words<'_>) -> Told {
    const KINDS: [&str; 21] = [
        "table",
        "view",
        "index",
        "database",
        "schema",
        "procedure",
        "function",
        "trigger",
        "event",
        "sequence",
        "package",
        "user",
        "role",
        "server",
        "instance",
        "tablespace",
        "logfile",
        "resource",
        "undo",
        "spatial",
        "library",
    ];
    let mut ahead = words;
    ahead.next();
    // OR REPLACE, UNIQUE, DEFINER = `a`@`b`, TEMPORARY, …: the first word that says of what it is.
    let mut kind = String::new();
    while let Some(token) = ahead.peek() {
        let word = ahead.first_word();
        if KINDS.contains(&word.as_str()) {
            kind = word;
            break;
        }
        if token.kind == Kind::Open || word == "as" || word == "on" {
            break;
        }
        ahead.next();
    }
    let class = match kind.as_str() {
        "user" | "role" => Class::Grant,
        // Code of the server's own machine, or a way to another server.
        "function" if words.has("soname") => Class::Admin,
        "server" | "instance" | "tablespace" | "logfile" | "resource" | "undo" => Class::Admin,
        "" => Class::Unknown,
        _ => Class::Ddl,
    };
    let temporary = words.word_at(1) == "temporary";
    (class, format!("{first} {kind}").trim_end().to_owned(), !temporary)
}
