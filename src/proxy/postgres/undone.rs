//! What an error in a pipeline undoes of what ran before it, outside a transaction: the server says nothing of that.
//! Never decides what runs. Read `runs.rs` for the records.

use crate::proxy::judgements::Judged;
use crate::sql::action::Class;
use crate::sql::lex::postgres::{Kind, Token, scan};

/// What an error behind a run leaves of what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    All,
    Nothing,
    Unknown,
}

/// What is said of a run of which nobody knows what an error behind it has left.
pub const IN_DOUBT: &str =
    "something failed behind it in its pipeline, and what it did may be kept or undone";

/// What was delivered stays so, and what runs in no transaction but its own is kept whatever comes behind it.
pub fn what_stays(judged: &Judged) -> Stays {
    let delivers = match judged.class {
        Class::Read | Class::Export => true,
        // It is in its verb whether the server undoes it.
        Class::Admin => !has_verb(judged, &MAY_COMMIT),
        Class::Write
        | Class::Ddl
        | Class::Procedural
        | Class::Grant
        | Class::Session
        | Class::Transaction
        | Class::Unknown => false,
    };
    if delivers || has_verb(judged, &COMMITS) || is_concurrent(judged) {
        Stays::All
    } else if has_verb(judged, &MAY_COMMIT) {
        Stays::Unknown
    } else {
        Stays::Nothing
    }
}

/// The server refuses them in a transaction, and commits right behind them.
/// Source: PreventInTransactionBlock() in src/backend/tcop/utility.c and src/backend/commands.
const COMMITS: [&str; 6] = [
    "vacuum",
    "create database",
    "drop database",
    "create tablespace",
    "drop tablespace",
    "alter system",
];

/// They do so, or commit within, by what stands in them or in the code that they run.
const MAY_COMMIT: [&str; 8] = [
    "do",
    "call",
    "cluster",
    "reindex",
    "alter database",
    "create subscription",
    "alter subscription",
    "drop subscription",
];

fn has_verb(judged: &Judged, verbs: &[&str]) -> bool {
    let mut actions = judged.judgement.actions.iter();
    actions.any(|action| verbs.contains(&action.verb.as_str()))
}

/// `CREATE INDEX CONCURRENTLY` and its like; the word alone, as in a comment or a string, says nothing.
fn is_concurrent(judged: &Judged) -> bool {
    const VERBS: [&str; 3] = ["create index", "drop index", "reindex"];
    const BEFORE: [&str; 5] = ["index", "table", "schema", "database", "system"];
    let Ok(text) = std::str::from_utf8(&judged.text) else {
        return false;
    };
    if !has_verb(judged, &VERBS) {
        return false;
    }
    let tokens = scan(text, judged.lexing.standard_conforming_strings).tokens;
    let word = |token: &Token| (token.kind == Kind::Word).then(|| token.text(text).to_ascii_lowercase());
    let mut pairs = tokens.windows(2).map(|pair| (word(&pair[0]), word(&pair[1])));
    pairs.any(|(before, word)| {
        word.as_deref() == Some("concurrently")
            && before.is_some_and(|before| BEFORE.contains(&before.as_str()))
    })
}
