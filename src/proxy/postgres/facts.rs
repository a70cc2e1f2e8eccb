//! What only the server knows of a session, and the questions that ask for it on the session's own connection.
//! Never changes anything there: names are reserved, closed again, and no Sync is sent into an open pipeline.
//! Read `session.rs` next.

use std::collections::BTreeSet;

use crate::proxy::postgres::own_names::{self, OwnNames};
use crate::sql::action::{FunctionName, Judgement, TableName};
use crate::sql::statement::{Encoding, LexingState, PathTrust, Role};
use crate::wire::postgres::conversation::{Conversation, Origin, Sent};
use crate::wire::postgres::frame::put;
use crate::wire::postgres::message::{Bind, Parse, Target, client, put_execute};

/// No client may use names that start so.
pub const RESERVED: &str = "_countersign";

/// More names than this are not looked up one by one; their statement is bound to the whole answer being "many".
const NAMES_MAX: usize = 500;

/// Finds the relations and functions that names mean now, with what would change if they were replaced: OIDs, and the
/// row versions of their definitions. Every operator and function is qualified, because search_path is the very thing
/// in question. `$1`, `$2`: schemas (empty: none) and names of relations; `$3`, `$4`: the same of functions.
pub const IDENTITY: &str = include_str!("identity.sql");

/// Asks for the settings under which one literal is two values (`'01/02/2026'`, `'12:00'`, `'1,5'`), a value two texts, and
/// a new table lies here or there. A client changes them as it likes, for none of them changes what a statement may do.
///
/// Every question asks for them, so that what may have changed them by itself (a function, the end of a transaction) is
/// seen before the next statement is parsed.
const READS_VALUES: &str = "SELECT pg_catalog.concat_ws(', ',
    pg_catalog.concat_ws(' ', 'DateStyle', pg_catalog.current_setting('DateStyle', true)),
    pg_catalog.concat_ws(' ', 'TimeZone', pg_catalog.current_setting('TimeZone', true)),
    pg_catalog.concat_ws(' ', 'IntervalStyle', pg_catalog.current_setting('IntervalStyle', true)),
    pg_catalog.concat_ws(' ', 'lc_monetary', pg_catalog.current_setting('lc_monetary', true)),
    pg_catalog.concat_ws(' ', 'lc_numeric', pg_catalog.current_setting('lc_numeric', true)),
    pg_catalog.concat_ws(' ', 'lc_time', pg_catalog.current_setting('lc_time', true)),
    pg_catalog.concat_ws(' ', 'bytea_output', pg_catalog.current_setting('bytea_output', true)),
    pg_catalog.concat_ws(' ', 'extra_float_digits', pg_catalog.current_setting('extra_float_digits', true)),
    pg_catalog.concat_ws(' ', 'xmloption', pg_catalog.current_setting('xmloption', true)),
    pg_catalog.concat_ws(' ', 'xmlbinary', pg_catalog.current_setting('xmlbinary', true)),
    pg_catalog.concat_ws(' ', 'gin_fuzzy_search_limit', pg_catalog.current_setting('gin_fuzzy_search_limit', true)),
    pg_catalog.concat_ws(' ', 'default_text_search_config', pg_catalog.current_setting('default_text_search_config', true)),
    pg_catalog.concat_ws(' ', 'default_tablespace', pg_catalog.current_setting('default_tablespace', true)),
    pg_catalog.concat_ws(' ', 'default_table_access_method', pg_catalog.current_setting('default_table_access_method', true)))";

/// What the server told of a session, besides what it reports by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub search_path: String,
    pub role: String,
    /// The role and the session_authorization that the session began with.
    pub at_log_in: (String, String),
    /// From ParameterStatus.
    pub standard_conforming_strings: bool,
    pub client_encoding: String,
    pub session_authorization: String,
    /// The answer to `READS_VALUES`; empty before the first question.
    pub reads_values: String,
    /// Grows when that may have changed: a statement parsed before has read its literals under other settings.
    pub values_revision: u64,
    /// Its temporary objects; asked for only where there is a catalog.
    pub own: OwnNames,
    /// The catalog's when it was looked at last.
    pub generation: u64,
    /// Something may have changed any of these since they were asked for.
    pub stale: bool,
    /// Grows with every change.
    pub revision: u64,
}

impl Facts {
    /// How a text is read now.
    pub fn lexing(&self) -> LexingState {
        LexingState {
            standard_conforming_strings: self.standard_conforming_strings,
            encoding: match self.client_encoding.as_str() {
                "UTF8" => Encoding::Utf8,
                "SQL_ASCII" => Encoding::SqlAscii,
                _ => Encoding::Other,
            },
            path: PathTrust::of(&self.search_path),
            role: if (&self.role, &self.session_authorization) == (&self.at_log_in.0, &self.at_log_in.1) {
                Role::AsLoggedIn
            } else {
                Role::Changed
            },
        }
    }

    /// Whom statements run as.
    pub fn acting_role(&self) -> &str {
        match self.role.as_str() {
            "none" => &self.session_authorization,
            role => role,
        }
    }

    /// Takes an answer to a question.
    pub fn told(&mut self, search_path: &str, role: &str, values: &str, own: OwnNames) {
        // What nothing has changed since the session began was so from its beginning.
        let is_first = self.reads_values.is_empty() && !self.stale;
        if self.reads_values != values {
            values.clone_into(&mut self.reads_values);
            self.values_revision += u64::from(!is_first);
        }
        search_path.clone_into(&mut self.search_path);
        role.clone_into(&mut self.role);
        self.own = own;
        self.stale = false;
        self.revision += 1;
    }

    /// Takes a ParameterStatus.
    pub fn reported(&mut self, name: &str, value: &str) {
        self.revision += 1;
        match name {
            "standard_conforming_strings" => self.standard_conforming_strings = value == "on",
            "client_encoding" => value.clone_into(&mut self.client_encoding),
            "session_authorization" => value.clone_into(&mut self.session_authorization),
            // Reported by PostgreSQL 18 and newer.
            "search_path" => value.clone_into(&mut self.search_path),
            // Also where nobody here has set it: the server's configuration was read again.
            "DateStyle" | "TimeZone" | "IntervalStyle" => self.stale = true,
            _ => {}
        }
    }
}

/// What is asked at once, besides search_path, role and how values are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The session's temporary objects.
    pub own: bool,
    /// client_min_messages, and the identity of the names in a statement.
    pub held: Option<Names>,
}

/// Names of a held statement, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub tables: BTreeSet<TableName>,
    pub functions: BTreeSet<FunctionName>,
}

impl Names {
    pub fn of(judgement: &Judgement) -> Self {
        let tables = judgement
            .actions
            .iter()
            .flat_map(|action| action.tables.iter().cloned())
            .collect();
        let functions = judgement
            .actions
            .iter()
            .flat_map(|action| action.functions.iter().cloned())
            .collect();
        Self { tables, functions }
    }

    pub fn are_too_many(&self) -> bool {
        self.tables.len() + self.functions.len() > NAMES_MAX
    }
}

impl Question {
    /// Rows that a full answer has.
    pub fn rows(&self) -> usize {
        3 + usize::from(self.own) + if self.held.is_some() { 2 } else { 0 }
    }

    /// Puts the question's frames into `out` and notes them in `talk`.
    pub fn put<S: Clone>(&self, talk: &mut Conversation<S>, nothing: &S, out: &mut Vec<u8>) {
        let in_pipeline = talk.has_open_pipeline();
        for text in ["SHOW search_path", "SHOW role", READS_VALUES] {
            ask(talk, nothing, out, text, Vec::new());
        }
        if self.own {
            ask(talk, nothing, out, own_names::QUESTION, Vec::new());
        }
        if let Some(names) = &self.held {
            ask(talk, nothing, out, "SHOW client_min_messages", Vec::new());
            ask(talk, nothing, out, IDENTITY, identity_values(names));
        }
        if in_pipeline {
            put(out, client::FLUSH, |_| {});
            talk.sent(Origin::Proxy, Sent::Flush);
        } else {
            put(out, client::SYNC, |_| {});
            talk.sent(Origin::Proxy, Sent::Sync);
        }
    }
}

/// Puts constant texts of the proxy's own, one behind the other: as a segment of their own, or into the client's pipeline.
pub fn put_own<S: Clone>(
    talk: &mut Conversation<S>,
    nothing: &S,
    out: &mut Vec<u8>,
    texts: &[&str],
    with_sync: bool,
) {
    for text in texts {
        ask(talk, nothing, out, text, Vec::new());
    }
    let (tag, sent) = match with_sync {
        true => (client::SYNC, Sent::Sync),
        false => (client::FLUSH, Sent::Flush),
    };
    put(out, tag, |_| {});
    talk.sent(Origin::Proxy, sent);
}

/// The parameters of `IDENTITY`.
pub fn identity_values(names: &Names) -> Vec<String> {
    let (tables, functions) = (&names.tables, &names.functions);
    vec![
        array(
            tables
                .iter()
                .map(|table| table.schema.as_deref().unwrap_or_default()),
        ),
        array(tables.iter().map(|table| table.name.as_str())),
        array(
            functions
                .iter()
                .map(|function| function.schema.as_deref().unwrap_or_default()),
        ),
        array(functions.iter().map(|function| function.name.as_str())),
    ]
}

fn ask<S: Clone>(
    talk: &mut Conversation<S>,
    nothing: &S,
    out: &mut Vec<u8>,
    text: &str,
    values: Vec<String>,
) {
    let name = RESERVED.to_owned();
    let bytes = RESERVED.as_bytes();
    if talk.has_left_names() {
        close(talk, out);
    }
    Parse {
        name: bytes,
        text: text.as_bytes(),
        types: Vec::new(),
    }
    .encode(out);
    talk.sent(
        Origin::Proxy,
        Sent::Parse {
            run: None,
            name: name.clone(),
            statement: nothing.clone(),
        },
    );
    let values = values.iter().map(|value| Some(value.as_bytes())).collect();
    Bind {
        portal: bytes,
        statement: bytes,
        formats: Vec::new(),
        values,
        result_formats: Vec::new(),
    }
    .encode(out);
    talk.sent(
        Origin::Proxy,
        Sent::Bind {
            run: None,
            portal: name.clone(),
            statement: nothing.clone(),
        },
    );
    put_execute(out, bytes);
    talk.sent(
        Origin::Proxy,
        Sent::Execute {
            run: 0,
            changes: Vec::new(),
            may_copy_in: false,
        },
    );
    close(talk, out);
}

/// Closing what is not there is no error.
fn close<S: Clone>(talk: &mut Conversation<S>, out: &mut Vec<u8>) {
    let (name, bytes) = (RESERVED.to_owned(), RESERVED.as_bytes());
    Target::Portal(bytes).encode(client::CLOSE, out);
    talk.sent(Origin::Proxy, Sent::ClosePortal { name: name.clone() });
    Target::Statement(bytes).encode(client::CLOSE, out);
    talk.sent(Origin::Proxy, Sent::CloseStatement { name });
}

/// A text[] literal. Source: PostgreSQL docs, arrays.html#ARRAYS-IO
pub fn array<'a>(elements: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<_> = elements
        .map(|element| format!("\"{}\"", element.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    format!("{{{}}}", quoted.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_literal_keeps_every_character() {
        assert_eq!(
            array([r#"a"b"#, r"c\d", "", "e,f"].into_iter()),
            r#"{"a\"b","c\\d","","e,f"}"#
        );
        assert_eq!(array(std::iter::empty()), "{}");
    }
}
