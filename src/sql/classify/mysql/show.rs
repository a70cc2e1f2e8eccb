//! SHOW, DESCRIBE, EXPLAIN and ANALYZE, word by word: what they show, of whom, and what they run for it.
//! Never passes a form that is not spelled out here to its last word. Read `setting.rs` next.

use super::Walk;
use super::audit::Seen;
use super::words::Words;
use crate::sql::action::{Class, FunctionName, TableName};
use crate::sql::lex::mysql::Kind;
use crate::sql::mysql::read;
use crate::sql::mysql_state::ServerKind;

impl Walk<'_, '_> {
    pub(super) fn show(&mut self, words: Words<'_>) {
        self.is(Class::Read, "show");
        let mut ahead = words;
        ahead.take("show");
        let read = self.show_form(&mut ahead).is_some() && ahead.is_empty();
        if !read && self.class == Class::Read {
            self.raise(
                Class::Unknown,
                "shows something that is not on the list, or not in these words",
            );
        }
    }

    /// `None`: no form begins like this. What a held form goes on with does not matter.
    fn show_form(&mut self, words: &mut Words<'_>) -> Option<()> {
        match words.first_word().as_str() {
            "binlog" | "relaylog" => {
                self.raise(
                    Class::Export,
                    "reads the binary log, which holds other people's statements",
                );
                None
            }
            "binary" | "master" | "slave" | "slaves" | "replica" | "replicas" | "all" => {
                self.raise(Class::Admin, "shows the state of replication");
                None
            }
            "explain" | "analyze" => {
                self.raise(Class::Admin, "shows what another session runs");
                None
            }
            "create" => self.show_create(words),
            "grants" => self.show_grants(words),
            "count" => {
                words.next();
                (words.take_sign("(")
                    && words.take_sign("*")
                    && words.take_sign(")")
                    && words.take_any(&["warnings", "errors"]))
                .then_some(())
            }
            "warnings" | "errors" => {
                words.next();
                self.limit_of_numbers(words).map(|_rows| ())
            }
            "engine" => {
                words.next();
                words.name()?;
                words.take_any(&["status", "mutex", "logs"]).then_some(())
            }
            "profile" => self.show_profile(words),
            "storage" => words.take_all(&["storage", "engines"]).then_some(()),
            "engines" | "privileges" | "profiles" | "plugins" | "authors" | "contributors"
            | "processlist" => {
                words.next();
                Some(())
            }
            "character" => words
                .take_all(&["character", "set"])
                .then_some(())
                .and_then(|()| self.filter(words)),
            "charset" | "collation" | "databases" | "schemas" | "variables" | "status" => {
                words.next();
                self.filter(words)
            }
            "global" | "session" | "local" => {
                words.next();
                words
                    .take_any(&["variables", "status"])
                    .then_some(())
                    .and_then(|()| self.filter(words))
            }
            "procedure" | "function" => {
                words.next();
                words
                    .take("status")
                    .then_some(())
                    .and_then(|()| self.filter(words))
            }
            "package" => {
                words.next();
                words.take("body");
                words
                    .take("status")
                    .then_some(())
                    .and_then(|()| self.filter(words))
            }
            "table" => words
                .take_all(&["table", "status"])
                .then_some(())
                .and_then(|()| self.of_schema(words)),
            "open" => words
                .take_all(&["open", "tables"])
                .then_some(())
                .and_then(|()| self.of_schema(words)),
            "events" | "triggers" => {
                words.next();
                self.of_schema(words)
            }
            "index" | "indexes" | "keys" => self.of_table(words),
            "extended" | "full" | "tables" | "columns" | "fields" => self.show_names(words),
            _ => None,
        }
    }

    /// [EXTENDED] [FULL] {TABLES | COLUMNS | …}.
    fn show_names(&mut self, words: &mut Words<'_>) -> Option<()> {
        words.take("extended");
        words.take("full");
        match words.first_word().as_str() {
            "processlist" => {
                words.next();
                Some(())
            }
            "tables" | "triggers" => {
                words.next();
                self.of_schema(words)
            }
            "columns" | "fields" | "index" | "indexes" | "keys" => self.of_table(words),
            _ => None,
        }
    }

    fn show_create(&mut self, words: &mut Words<'_>) -> Option<()> {
        words.next();
        match words.first_word().as_str() {
            "user" => {
                self.raise(Class::Grant, "shows how a user proves who he is");
                None
            }
            "server" => {
                self.raise(Class::Admin, "shows the password for another server");
                None
            }
            "table" | "view" | "sequence" => {
                words.next();
                let table = words.table()?;
                self.tables.insert(table);
                Some(())
            }
            "database" | "schema" => {
                words.next();
                words.take_all(&["if", "not", "exists"]);
                let schema = words.name()?;
                self.whole_schema(schema);
                Some(())
            }
            "trigger" | "event" => {
                words.next();
                if let Some(schema) = words.table()?.schema {
                    self.whole_schema(schema);
                }
                Some(())
            }
            "procedure" | "function" | "package" => {
                if words.take("package") {
                    words.take("body");
                } else {
                    words.next();
                }
                let TableName { schema, name } = words.table()?;
                let name = name.to_lowercase();
                self.functions.insert(FunctionName { schema, name });
                Some(())
            }
            _ => None,
        }
    }

    /// One's own are everybody's to see where no hash stands in them; other people's are not.
    fn show_grants(&mut self, words: &mut Words<'_>) -> Option<()> {
        words.next();
        let state = self.message.context.state;
        let shows_hashes = match (state.kind, state.version) {
            // Source: MySQL 5.7.6 release notes; MariaDB has IDENTIFIED BY PASSWORD in it to this day.
            (ServerKind::Mysql, Some(version)) => version < 50_706,
            (ServerKind::Mysql, None) | (ServerKind::Mariadb | ServerKind::Unknown, _) => true,
        };
        if shows_hashes {
            self.raise(Class::Grant, "shows password hashes");
        }
        if words.is_empty() {
            return Some(());
        }
        let own = words.take("for") && words.take_any(&["current_user", "current_role"]) && {
            if words.take_sign("(") {
                words.take_sign(")")
            } else {
                true
            }
        };
        if !(own && words.is_empty()) {
            self.raise(
                Class::Grant,
                "shows what another user may do, and how he proves who he is",
            );
            return None;
        }
        Some(())
    }

    /// [FROM schema] [LIKE … | WHERE …].
    fn of_schema(&mut self, words: &mut Words<'_>) -> Option<()> {
        if words.take_any(&["from", "in"]) {
            let schema = words.name()?;
            self.whole_schema(schema);
        }
        self.filter(words)
    }

    /// What is shown is of a schema, not of one table in it.
    fn whole_schema(&mut self, schema: String) {
        self.tables.insert(TableName::whole_schema(schema));
    }

    /// {COLUMNS | INDEX | …} FROM table [FROM schema] [LIKE … | WHERE …].
    fn of_table(&mut self, words: &mut Words<'_>) -> Option<()> {
        words.next();
        words.take_any(&["from", "in"]).then_some(())?;
        let mut table = words.table()?;
        if words.take_any(&["from", "in"]) {
            table.schema = Some(words.name()?);
        }
        self.tables.insert(table);
        self.filter(words)
    }

    /// LIKE and a string, WHERE and an expression over what is shown, or nothing.
    fn filter(&mut self, words: &mut Words<'_>) -> Option<()> {
        if words.take("like") {
            return words.take_kind(Kind::Text).map(|_| ());
        }
        if words.take("where") {
            self.expression_of(*words)?;
            *words = words.over(&[]);
        }
        Some(())
    }

    /// All of these words as one expression, walked and audited.
    pub(super) fn expression_of(&mut self, words: Words<'_>) -> Option<()> {
        let context = self.message.context;
        let expr = read::expression(context.text, words.rest(), context.state).ok()?;
        self.seen = Seen::default();
        self.expression(&expr);
        self.audit(words.rest());
        Some(())
    }

    /// PROFILE [CPU, BLOCK IO, …] [FOR QUERY n] [LIMIT …], of the session's own statements.
    fn show_profile(&mut self, words: &mut Words<'_>) -> Option<()> {
        const PARTS: [&str; 11] = [
            "all", "block", "io", "context", "switches", "cpu", "ipc", "memory", "page", "faults", "source",
        ];
        words.next();
        while words.take_any(&PARTS) || words.take("swaps") || words.take_sign(",") {}
        if words.take_all(&["for", "query"]) {
            words.take_kind(Kind::Number)?;
        }
        self.limit_of_numbers(words).map(|_rows| ())
    }

    /// How many rows it lets through; without a LIMIT all of them.
    fn limit_of_numbers(&mut self, words: &mut Words<'_>) -> Option<u64> {
        if !words.take("limit") {
            return Some(u64::MAX);
        }
        let mut limit = words.take_kind(Kind::Number)?;
        if words.take_sign(",") {
            limit = words.take_kind(Kind::Number)?;
        } else if words.take("offset") {
            words.take_kind(Kind::Number)?;
        }
        Some(words.text_of(limit).parse().unwrap_or(u64::MAX))
    }

    /// DESCRIBE of a table, or EXPLAIN and ANALYZE of a statement: planning runs functions, so it is what its expressions
    /// are; ANALYZE runs the whole of it.
    pub(super) fn explain(&mut self, words: Words<'_>) {
        let mut ahead = words;
        let mut runs = ahead.take("analyze");
        if runs && (ahead.first_word() == "table" || ahead.word_at(1) == "table") {
            return self.by_first_words(words, "");
        }
        if !runs {
            ahead.next();
        }
        self.is(Class::Read, if runs { "analyze" } else { "explain" });
        loop {
            if ahead.take("analyze") {
                runs = true;
            } else if ahead.first_word() == "format" && !self.is_name_of_table(ahead) {
                ahead.next();
                ahead.take_sign("=");
                if ahead.name().is_none() && ahead.take_kind(Kind::Text).is_none() {
                    return self.raise(Class::Unknown, "has a format that cannot be read");
                }
            } else if matches!(ahead.first_word().as_str(), "extended" | "partitions")
                && is_explained(ahead.over(ahead.rest().get(1..).unwrap_or_default()))
            {
                ahead.next();
            } else {
                break;
            }
        }
        if is_explained(ahead) {
            self.explained(ahead, runs);
        } else if ahead.first_word() == "for" {
            self.raise(Class::Admin, "shows what another session runs");
        } else if runs {
            self.raise(Class::Unknown, "analyzes something that is not understood");
        } else {
            self.describe(ahead);
        }
    }

    /// `EXPLAIN format`, a table of that name.
    fn is_name_of_table(&self, words: Words<'_>) -> bool {
        words.rest().len() <= 2
    }

    fn explained(&mut self, words: Words<'_>, runs: bool) {
        let verb = std::mem::take(&mut self.verb);
        let before = std::mem::replace(&mut self.explaining, !runs);
        self.one(words.rest());
        self.explaining = before;
        self.verb = verb;
    }

    /// A table, and one column or a pattern.
    fn describe(&mut self, words: Words<'_>) {
        let mut ahead = words;
        self.verb = "describe".to_owned();
        let Some(table) = ahead.table() else {
            return self.raise(Class::Unknown, "describes something that is not understood");
        };
        self.tables.insert(table);
        if ahead.take_kind(Kind::Text).is_none()
            && let Some(column) = ahead.name()
        {
            self.column(&column);
        }
        if !ahead.is_empty() {
            self.raise(Class::Unknown, "describes something that is not understood");
        }
    }

    /// TABLE t [ORDER BY …] [LIMIT …], which the second reader does not know.
    pub(super) fn table_statement(&mut self, words: Words<'_>) {
        let mut ahead = words;
        ahead.next();
        let table = ahead.table();
        let sorted = !ahead.take_all(&["order", "by"]) || {
            loop {
                if ahead.name().is_none() && ahead.take_kind(Kind::Number).is_none() {
                    break false;
                }
                ahead.take_any(&["asc", "desc"]);
                if !ahead.take_sign(",") {
                    break true;
                }
            }
        };
        let limit = self.limit_of_numbers(&mut ahead);
        match (table, limit) {
            (Some(table), Some(limit)) if sorted && ahead.is_empty() => {
                self.is(Class::Read, "table");
                self.columns.insert("*".to_owned());
                self.reach = limit;
                self.read(table);
            }
            _ => self.by_first_words(words, "is not a TABLE statement that is known"),
        }
    }
}

/// Whether a statement begins here that can be explained.
fn is_explained(words: Words<'_>) -> bool {
    let statements = [
        "select", "with", "insert", "replace", "update", "delete", "table", "values",
    ];
    statements.contains(&words.first_word().as_str())
        || words.peek().is_some_and(|token| token.kind == Kind::Open)
}
