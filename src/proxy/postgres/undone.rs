//! What an error in a pipeline undoes of what ran before it, outside a transaction: the server says nothing of that.
//! Never decides what runs. Read `runs.rs` for the records.

use crate::proxy::judgements::Judged;
use crate::sql::action::{Action, Class, FunctionName};
use crate::sql::classify::lists::{self, Known};
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

/// What was delivered stays so, and what runs in no transaction but its own is kept whatever comes behind it. It is in its
/// verb, and in what it calls, whether the server undoes it: its class is that of the strictest that it does.
pub fn what_stays(judged: &Judged) -> Stays {
    let mut stays = judged
        .judgement
        .actions
        .iter()
        .map(|action| stays_of(action, judged));
    let Some(first) = stays.next() else {
        return Stays::All;
    };
    match stays.all(|other| other == first) {
        true => first,
        false => Stays::Unknown,
    }
}

fn stays_of(action: &Action, judged: &Judged) -> Stays {
    let verb = action.verb.as_str();
    if KEPT.contains(&verb) {
        return Stays::All;
    }
    if MAY_KEEP.contains(&verb) || is_concurrent(verb, judged) {
        return Stays::Unknown;
    }
    let delivers = match verb {
        "execute" => matches!(action.class, Class::Read | Class::Export),
        _ => DELIVERS.contains(&verb) && action.steps.words.is_empty() && !has_word(judged, "into"),
    };
    let calls = action.functions.iter().map(stays_of_call);
    match calls.fold(Call::Nothing, Call::max) {
        // All that it calls is known, also what is not built in.
        _ if action.class == Class::Read => Stays::All,
        Call::Unknown => Stays::Unknown,
        Call::Kept if !delivers => Stays::Unknown,
        Call::Undone => Stays::Nothing,
        Call::Kept | Call::Nothing if delivers => Stays::All,
        Call::Kept | Call::Nothing => Stays::Nothing,
    }
}

/// What stays of what a function does besides giving a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    Nothing,
    Undone,
    Kept,
    Unknown,
}

fn stays_of_call(called: &FunctionName) -> Call {
    let is_built_in = matches!(called.schema.as_deref(), None | Some("pg_catalog"));
    match lists::function(&called.name) {
        _ if !is_built_in => Call::Unknown,
        _ if called.name == "set_config" => Call::Undone,
        Known::Harmless | Known::Held(Class::Read | Class::Export, _) => Call::Nothing,
        Known::Held(Class::Session, _) => Call::Kept,
        Known::Held(Class::Admin, _) if KEPT_CALLS.contains(&called.name.as_str()) => Call::Kept,
        Known::Held(..) | Known::Other | Known::Absent => Call::Unknown,
    }
}

/// They give rows and change nothing, but by what they call.
const DELIVERS: [&str; 6] = ["select", "show", "fetch", "move", "explain", "copy to"];

/// What no later error undoes: what is of the session and not of its transaction, and what the server refuses in a
/// transaction and commits right behind.
/// Source: PreventInTransactionBlock() in src/backend/tcop/utility.c and src/backend/commands.
const KEPT: [&str; 13] = [
    "vacuum",
    "create database",
    "drop database",
    "create tablespace",
    "drop tablespace",
    "alter system",
    "commit prepared",
    "rollback prepared",
    "discard all",
    "prepare",
    "deallocate",
    "checkpoint",
    "load",
];

/// They commit, or keep a part, by what stands in them or in the code that they run.
const MAY_KEEP: [&str; 10] = [
    "do",
    "call",
    "cluster",
    "reindex",
    "alter database",
    "create subscription",
    "alter subscription",
    "drop subscription",
    "discard",
    "unknown",
];

/// What they do to the server or another session is done at once.
const KEPT_CALLS: [&str; 11] = [
    "pg_cancel_backend",
    "pg_current_logfile",
    "pg_ls_dir",
    "pg_read_binary_file",
    "pg_read_file",
    "pg_reload_conf",
    "pg_rotate_logfile",
    "pg_sleep",
    "pg_stat_file",
    "pg_switch_wal",
    "pg_terminate_backend",
];

fn has_word(judged: &Judged, word: &str) -> bool {
    words(judged).iter().flatten().any(|found| found == word)
}

/// The words of a text, in lower case, with gaps for what is none.
fn words(judged: &Judged) -> Vec<Option<String>> {
    let Ok(text) = std::str::from_utf8(&judged.text) else {
        return Vec::new();
    };
    let tokens = scan(text, judged.lexing.standard_conforming_strings).tokens;
    let word = |token: &Token| (token.kind == Kind::Word).then(|| token.text(text).to_ascii_lowercase());
    tokens.iter().map(word).collect()
}

/// `CREATE INDEX CONCURRENTLY`, `DETACH PARTITION … CONCURRENTLY` and their like: they run in several transactions, of which
/// the last ends with the pipeline, so that an error behind them leaves an invalid index or half a partition. The word alone,
/// as in a comment or a string, says nothing.
fn is_concurrent(verb: &str, judged: &Judged) -> bool {
    match verb {
        "create index" | "drop index" => words(judged).windows(2).any(|pair| match pair {
            [Some(before), Some(word)] => before == "index" && word == "concurrently",
            _ => false,
        }),
        // Nothing has that word for a name without quotes.
        "alter table" => has_word(judged, "detach") && has_word(judged, "concurrently"),
        _ => false,
    }
}
