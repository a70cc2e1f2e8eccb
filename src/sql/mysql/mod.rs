//! From the bytes of a MySQL or MariaDB text to a judgement: checks the bytes, cuts them as the server does, and has the
//! walk ask for trees of the words.
//! Never panics and never aborts, whatever the bytes are; what it cannot read is `Unknown`. Read `read.rs` next.
//!
//! Why there is no second grammar, as PostgreSQL has one: no other reader of these servers' text can be built in. What
//! stands in for it is the scanner, which is the servers' own, and a count of words against the tree (`audit.rs`).

mod dialect;
mod plain;
pub mod read;
mod secret;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sql::PARSE_BYTES_MAX;
use crate::sql::action::{Action, Breadth, Class, Judgement};
use crate::sql::classify::mysql::{Classified, Context, classify};
use crate::sql::classify::postgres::unknown_action;
use crate::sql::lex::mysql::{Scan, Token, scan};
use crate::sql::mysql_state::{Charset, MysqlFollowed, MysqlState};
use crate::sql::names::KnownNames;
use crate::sql::parse::{mark_secrets, unreadable};

/// PREPARE of a PREPARE of a …: the servers refuse the second.
const INNER_MAX: usize = 2;

/// Judges the exact bytes of one COM_QUERY, or of one COM_STMT_PREPARE.
pub fn judge_mysql(text: &[u8], state: &MysqlState, names: &dyn KnownNames) -> Judgement {
    judge_mysql_and_follow(text, state, names).0
}

/// The same, with what the text says of the settings that later texts are read under. For judging without a server, which
/// alone knows the true ones.
pub fn judge_mysql_and_follow(
    text: &[u8],
    state: &MysqlState,
    names: &dyn KnownNames,
) -> (Judgement, MysqlFollowed) {
    let judged = catch_unwind(AssertUnwindSafe(|| judge(text, state, names, 0)));
    let failed = || unreadable(text, "cannot be read: a reader failed".to_owned());
    judged.unwrap_or_else(|_| (failed(), MysqlFollowed::default()))
}

fn judge(
    bytes: &[u8],
    state: &MysqlState,
    names: &dyn KnownNames,
    depth: usize,
) -> (Judgement, MysqlFollowed) {
    let text = match readable(bytes, state) {
        Ok(text) => text,
        Err(reason) => {
            return (unreadable(bytes, reason.to_owned()), MysqlFollowed::default());
        }
    };
    let scan = scan(text, 0, state);
    if let Some(refused) = scan.refused {
        let reason = format!("cannot be read safely: {refused}");
        return (unknown(text, &scan, reason), MysqlFollowed::default());
    }
    let statements: Vec<&[Token]> = scan.statements().collect();
    let inner = |sql: &str| match depth < INNER_MAX {
        true => judge(sql.as_bytes(), state, names, depth + 1).0,
        false => unreadable(sql.as_bytes(), "is prepared by what is prepared".to_owned()),
    };
    let context = Context {
        text,
        state,
        names,
        inner: &inner,
    };
    let Classified {
        mut actions,
        depends_on_names,
        followed,
    } = classify(&statements, context);
    if is_of_a_dump(text) {
        actions.iter_mut().for_each(take_out);
    } else if scan.has_executable_comment {
        actions.iter_mut().for_each(hold_if_hidden);
    }
    mark_secrets(&mut actions, &secret::secrets(text, &scan.tokens));
    let judgement = Judgement {
        actions,
        depends_on_names,
        fingerprint: secret::fingerprint(text, &scan.tokens),
        sorts: secret::sorts(text, &scan.tokens),
    };
    (judgement, followed)
}

/// The scanner knows what this server runs of a comment; a person who reads a log or a card may not. Dumps and their like
/// put settings into such comments, and nobody has a need to put data there.
fn hold_if_hidden(action: &mut Action) {
    if matches!(action.class, Class::Read | Class::Write) {
        action.class = Class::Unknown;
        action.breadth = Breadth::Unbounded;
        let why = "has an executable comment, in which a reader may overlook what runs";
        action.reasons.push(why.to_owned());
    }
}

/// How mysqldump and mariadb-dump copy a table out, and nobody else writes. Every server knows what is in this comment.
fn is_of_a_dump(text: &str) -> bool {
    text.strip_prefix("SELECT /*!40001 SQL_NO_CACHE */ ")
        .is_some_and(|rest| !rest.contains("/*"))
}

fn take_out(action: &mut Action) {
    if action.class == Class::Read {
        action.class = Class::Export;
        let why = "is how a dump tool copies a table out of the database";
        action.reasons.push(why.to_owned());
    }
}

/// Strict: what is not exactly readable is never repaired.
fn readable<'t>(bytes: &'t [u8], state: &MysqlState) -> Result<&'t str, &'static str> {
    if bytes.len() > PARSE_BYTES_MAX {
        return Err("is too long to be read");
    }
    if bytes.contains(&0) {
        return Err("holds a zero byte");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is not valid UTF-8")?;
    if state.modes.unreadable {
        return Err("is sent under an sql_mode that changes the grammar or is not known");
    }
    match state.charset {
        Charset::Utf8mb4 | Charset::Utf8mb3 => Ok(text),
        Charset::Ascii if text.is_ascii() => Ok(text),
        Charset::Ascii => Err("is not plain ASCII while character_set_client has one byte a letter"),
        Charset::Other => Err("is sent under a character_set_client other than utf8 and utf8mb4"),
    }
}

/// One action that stands for a whole text that nobody could read.
fn unknown(text: &str, scan: &Scan, reason: String) -> Judgement {
    let mut actions = vec![unknown_action(0..text.len(), reason)];
    mark_secrets(&mut actions, &secret::secrets(text, &scan.tokens));
    Judgement {
        actions,
        depends_on_names: false,
        fingerprint: secret::fingerprint(text, &scan.tokens),
        sorts: secret::sorts(text, &scan.tokens),
    }
}
