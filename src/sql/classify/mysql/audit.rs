//! A second look at a statement that would pass: what its words say against what the walk of its tree has seen.
//! Never makes anything harmless. Read `held.rs` next.
//!
//! Why: the tree comes from a reader that takes words for names where the servers do not, and so loses tables
//! (`SELECT SQL_CACHE * FROM t`). Reserved words and parentheses mean the same to every reader that is right.

use std::collections::BTreeSet;

use sqlparser::ast::Ident;

use super::Walk;
use crate::sql::action::Class;
use crate::sql::classify::lists::mysql as lists;
use crate::sql::lex::mysql::words::is_reserved;
use crate::sql::lex::mysql::{Kind, Token};

/// What the tree has of the words that are counted.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub selects: usize,
    pub froms: usize,
    pub joins: usize,
    pub unions: usize,
    pub intos: usize,
    /// Functions called, in lower case.
    pub calls: BTreeSet<String>,
    /// Names of tables, aliases and common table expressions, in lower case: a list of columns may follow them.
    names: BTreeSet<String>,
    /// An unquoted name that is a reserved word of both servers, so that the reader misread it.
    misread: bool,
}

impl Seen {
    pub fn name(&mut self, name: &Ident) {
        let folded = name.value.to_lowercase();
        self.misread |= name.quote_style.is_none() && is_reserved(&folded) && folded != "dual";
        self.names.insert(folded);
    }

    /// Behind a dot every word is a name.
    pub fn name_behind_dot(&mut self, name: &Ident) {
        self.names.insert(name.value.to_lowercase());
    }
}

/// Words, besides functions, names and reserved words, that a parenthesis may follow.
const BEFORE_PARENTHESIS: &[&str] = &[
    "against",
    "any",
    "bit",
    "cast",
    "columns",
    "datetime",
    "distinctrow",
    "enum",
    "escape",
    "except",
    "fixed",
    "high_priority",
    "intersect",
    "json_table",
    "national",
    "nchar",
    "over",
    "partition",
    "returning",
    "row",
    "some",
    "sql_buffer_result",
    "sql_cache",
    "sql_no_cache",
    "value",
];

impl Walk<'_, '_> {
    /// Whatever is held already is held for a reason of its own.
    pub(super) fn audit(&mut self, tokens: &[Token]) {
        if self.class > Class::Write {
            return;
        }
        let text = self.message.context.text;
        let count = |word: &str| tokens.iter().filter(|token| token.is(text, word)).count();
        let pairs = |first: &str, second: &str| {
            let is_pair = |pair: &&[Token]| pair[0].is(text, first) && pair[1].is(text, second);
            tokens.windows(2).filter(is_pair).count()
        };
        let seen = &self.seen;
        let agrees = !seen.misread
            && count("select") == seen.selects
            && count("from") - pairs("system_time", "from") == seen.froms
            // A comma between tables in parentheses is a join, too.
            && count("join") - pairs("for", "join") <= seen.joins
            && count("union") + count("intersect") + count("except") >= seen.unions
            && count("union") <= seen.unions
            && count("into") == seen.intos
            && count("procedure") == 0
            && count("outfile") == 0
            && count("load") == 0
            && (self.class == Class::Write
                || pairs("for", "update") + pairs("for", "share") + pairs("lock", "in") == 0);
        if !agrees {
            return self.raise(Class::Unknown, "is read differently by the two readers");
        }
        if let Some(word) = self.unseen_call(tokens) {
            self.raise(
                Class::Unknown,
                format!("may call `{word}`, which one of the two readers does not see"),
            );
        }
    }

    /// A word before a parenthesis that is no function the walk has looked up, no name and no word of the grammar.
    fn unseen_call(&self, tokens: &[Token]) -> Option<String> {
        let text = self.message.context.text;
        tokens.windows(2).find_map(|pair| {
            let before = pair[0];
            if pair[1].kind != Kind::Open || !matches!(before.kind, Kind::Word | Kind::Name) {
                return None;
            }
            let word = before.text(text).trim_matches('`').to_lowercase();
            // What can only be a name is none of the server's own functions, whatever the tree calls it.
            let own = before.kind == Kind::Word
                && (is_reserved(&word)
                    || BEFORE_PARENTHESIS.binary_search(&word.as_str()).is_ok()
                    || lists::is_function(&word)
                    || self.seen.calls.contains(&word));
            let known = own || self.seen.names.contains(&word);
            (!known).then_some(word)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_sorted_as_the_look_up_needs_it() {
        assert!(BEFORE_PARENTHESIS.is_sorted());
    }
}
