//! SET in all its forms: which variables a session may change by itself, and to what.
//! Never lets an unknown name through. Read `modes.rs` next.

use super::Walk;
use super::modes::computed_modes;
use super::words::Words;
use crate::sql::action::{Class, Effect};
use crate::sql::classify::lists::mysql as lists;
use crate::sql::lex::mysql::Kind;
use crate::sql::mysql::read;
use crate::sql::mysql_state::{Charset, SqlModes};

/// What a variable is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    /// A word, a number or a string, as the server reads it.
    Literal(String),
    Default,
    /// A parameter or an expression: not known here.
    Computed,
}

/// System variables that may hold a password.
pub(super) fn is_secret_to_show(name: &str) -> bool {
    const SECRET: [&str; 3] = ["report_password", "wsrep_sst_auth", "wsrep_sst_auth_real"];
    SECRET.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

/// Guards against mistakes and against forbidden changes: tightening them is harmless, loosening them is not.
const GUARDS: [&str; 6] = [
    "check_constraint_checks",
    "foreign_key_checks",
    "sql_safe_updates",
    "transaction_read_only",
    "tx_read_only",
    "unique_checks",
];

impl Walk<'_, '_> {
    pub(super) fn set(&mut self, words: Words<'_>) {
        let mut ahead = words;
        ahead.take("set");
        match (ahead.first_word().as_str(), ahead.word_at(1).as_str()) {
            ("statement", _) => return self.set_statement(ahead),
            ("password", _) => {
                return self.holds(Class::Grant, "set password", "changes a password");
            }
            ("role", _) | ("default", "role") => {
                return self.holds(
                    Class::Grant,
                    "set role",
                    "changes the role that statements run as",
                );
            }
            ("resource", "group") => return self.is(Class::Admin, "set resource group"),
            ("transaction", _) | ("session" | "local" | "global", "transaction") => {
                return self.set_transaction(ahead);
            }
            _ => {}
        }
        self.is(Class::Session, "set");
        if ahead.is_empty() {
            self.raise(Class::Unknown, "sets nothing that can be read");
        }
        while !ahead.is_empty() {
            let item = ahead.item();
            if self.set_item(item).is_none() {
                self.raise(Class::Unknown, "sets something that cannot be read");
            }
        }
    }

    /// SET STATEMENT a = 1, b = 2 FOR statement: what is inside, and the settings for as long as it runs.
    fn set_statement(&mut self, words: Words<'_>) {
        let mut ahead = words;
        ahead.next();
        let Some(mut settings) = ahead.up_to("for") else {
            return self.not_understood();
        };
        self.is(Class::Read, "set statement");
        let effects = self.effects.len();
        let followed = self.message.followed.clone();
        while !settings.is_empty() {
            let item = settings.item();
            if self.set_item(item).is_none() {
                self.raise(Class::Unknown, "sets something that cannot be read");
            }
        }
        // Other modes or another character set would hold for the statement behind FOR alone.
        if self.effects.len() > effects || self.message.followed != followed {
            self.effects.truncate(effects);
            self.message.followed = followed;
            self.raise(Class::Unknown, "is read under settings that it changes itself");
        }
        self.one(ahead.rest());
    }

    /// SET [SESSION] TRANSACTION: isolation is the session's own; READ WRITE takes back a READ ONLY.
    fn set_transaction(&mut self, words: Words<'_>) {
        let mut ahead = words;
        let global = ahead.take("global");
        if !global {
            ahead.take_any(&["session", "local"]);
        }
        ahead.take("transaction");
        self.is(Class::Transaction, "set transaction");
        if global {
            return self.raise(Class::Admin, "changes the transactions of all sessions");
        }
        loop {
            let known = if ahead.take_all(&["read", "write"]) {
                self.turns_off("transaction_read_only");
                true
            } else {
                ahead.take_all(&["read", "only"])
                    || ahead.take_all(&["isolation", "level", "read", "uncommitted"])
                    || ahead.take_all(&["isolation", "level", "read", "committed"])
                    || ahead.take_all(&["isolation", "level", "repeatable", "read"])
                    || ahead.take_all(&["isolation", "level", "serializable"])
            };
            if known && ahead.is_empty() {
                return;
            }
            if !(known && ahead.take_sign(",")) {
                return self.raise(Class::Unknown, "sets something that cannot be read");
            }
        }
    }

    fn turns_off(&mut self, guard: &str) {
        self.raise(Class::Admin, format!("turns the guard `{guard}` off"));
    }

    /// One assignment between commas. `None`: it cannot be read.
    fn set_item(&mut self, item: Words<'_>) -> Option<()> {
        let mut ahead = item;
        match ahead.first_word().as_str() {
            "names" => {
                ahead.next();
                return self.names(ahead);
            }
            "character" if ahead.word_at(1) == "set" => {
                ahead.take_all(&["character", "set"]);
                return self.names(ahead);
            }
            "charset" => {
                ahead.next();
                return self.names(ahead);
            }
            "password" => {
                self.raise(Class::Grant, "changes a password");
                return Some(());
            }
            _ => {}
        }
        if let Some(variable) = ahead.variable() {
            if let Some(scope_or_name) = variable.strip_prefix("@@") {
                let (scope, name) = if ahead.take_sign(".") {
                    (scope_or_name.to_ascii_lowercase(), ahead.name()?)
                } else {
                    ("session".to_owned(), scope_or_name.to_owned())
                };
                return self.system_assignment(&scope, &name, ahead);
            }
            let name = variable.strip_prefix('@').unwrap_or(&variable).to_owned();
            return self.user_assignment(&name, ahead);
        }
        let scoped = !matches!(ahead.word_at(1).as_str(), "")
            && matches!(
                ahead.first_word().as_str(),
                "global" | "session" | "local" | "persist" | "persist_only"
            );
        let scope = if scoped {
            let scope = ahead.first_word();
            ahead.next();
            scope
        } else {
            "session".to_owned()
        };
        let name = ahead.name()?;
        if ahead.take_sign(".") {
            // A key cache and its variable: server-wide.
            self.raise(Class::Admin, "changes a setting of the whole server");
            return Some(());
        }
        self.system_assignment(&scope, &name, ahead)
    }

    /// `= value` or `:= value`, to its last word. A literal is not walked, because nothing in it runs.
    fn assigned(&mut self, words: Words<'_>) -> Option<Value> {
        let mut ahead = words;
        if !(ahead.take_sign("=") || ahead.take_sign(":=")) {
            return None;
        }
        let value = ahead;
        let sign = if ahead.take_sign("-") { "-" } else { "" };
        if let [token] = ahead.rest() {
            let literal = match token.kind {
                Kind::Text if sign.is_empty() => ahead.string_of(*token),
                Kind::Word | Kind::Name if sign.is_empty() => ahead.name_of(*token),
                Kind::Number => Some(format!("{sign}{}", ahead.text_of(*token))),
                _ => None,
            };
            if let Some(literal) = literal {
                let default = token.kind == Kind::Word && literal.eq_ignore_ascii_case("default");
                return Some(if default {
                    Value::Default
                } else {
                    Value::Literal(literal)
                });
            }
        }
        self.expression_of(value)?;
        Some(Value::Computed)
    }

    fn user_assignment(&mut self, name: &str, words: Words<'_>) -> Option<()> {
        let name = name.to_lowercase();
        let value = self.assigned(words)?;
        // What it holds may be written by a later statement.
        self.reaches_unnamed = true;
        if let Some(own) = name.strip_prefix("countersign_") {
            match value {
                Value::Literal(value) if ["wait", "purpose", "reply"].contains(&own) => {
                    self.effects.push(Effect::ProxySetting {
                        name: own.to_owned(),
                        value,
                    });
                }
                Value::Literal(_) | Value::Default | Value::Computed => self.raise(
                    Class::Admin,
                    format!(
                        "changes `@countersign_{own}`, which is not a setting of the proxy, or not by a literal"
                    ),
                ),
            }
        }
        Some(())
    }

    fn system_assignment(&mut self, scope: &str, name: &str, words: Words<'_>) -> Option<()> {
        let name = name.to_ascii_lowercase();
        let value = self.assigned(words)?;
        if !matches!(scope, "session" | "local") {
            self.raise(
                Class::Admin,
                format!("changes `{name}`, a setting of the whole server"),
            );
            return Some(());
        }
        match name.as_str() {
            "sql_mode" => self.sql_mode(&value, words),
            "character_set_client" => match &value {
                Value::Literal(charset) => self.charset(charset),
                Value::Default | Value::Computed => self.charset_not_told(),
            },
            "character_set_connection" | "collation_connection" => {
                let utf8 = matches!(&value, Value::Literal(name)
                    if name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("utf8")));
                if !utf8 {
                    self.charset_not_told();
                }
            }
            // Which character set results come in changes no text.
            "character_set_results" => {}
            "session_track_system_variables" => {
                if value != Value::Literal("*".to_owned()) {
                    self.raise(
                        Class::Admin,
                        "narrows what the server tells the proxy of the session",
                    );
                }
            }
            "session_track_schema" | "session_track_state_change" | "session_track_transaction_info" => {
                if is_off(&value) {
                    self.raise(
                        Class::Admin,
                        "narrows what the server tells the proxy of the session",
                    );
                }
            }
            guard if GUARDS.contains(&guard) => {
                if !(is_on(&value) || value == Value::Default) {
                    self.turns_off(guard);
                }
            }
            "autocommit" => {
                // Turned on, it commits what is open.
                self.commits = true;
            }
            known if lists::is_harmless_setting(known) => {}
            _ => self.raise(
                Class::Admin,
                format!("changes the setting `{name}`, which is not known to be harmless"),
            ),
        }
        Some(())
    }

    /// NAMES, CHARSET and CHARACTER SET: character_set_client among others.
    fn names(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        let token = ahead.next()?;
        let charset = ahead.string_of(token).or_else(|| ahead.name_of(token))?;
        if ahead.take("collate") {
            let collation = ahead.next()?;
            ahead.string_of(collation).or_else(|| ahead.name_of(collation))?;
        }
        if !ahead.is_empty() {
            return None;
        }
        if token.kind == Kind::Word && charset.eq_ignore_ascii_case("default") {
            self.charset_not_told();
        } else {
            self.charset(&charset);
        }
        Some(())
    }

    fn charset(&mut self, name: &str) {
        let charset = Charset::of(name);
        self.message.followed.charset = Some(charset);
        self.effects.push(Effect::ChangesMeaning);
        if !matches!(charset, Charset::Utf8mb4 | Charset::Utf8mb3) {
            self.raise(
                Class::Admin,
                "sets the client's character set to something other than utf8mb4 or utf8",
            );
        }
    }

    fn charset_not_told(&mut self) {
        self.message.followed.charset = Some(Charset::Other);
        self.effects.push(Effect::ChangesMeaning);
        self.raise(
            Class::Admin,
            "sets the client's character set to something that the text does not tell",
        );
    }

    fn sql_mode(&mut self, value: &Value, words: Words<'_>) {
        let current = self
            .message
            .followed
            .modes
            .unwrap_or(self.message.context.state.modes);
        let modes = match value {
            Value::Literal(modes) => match modes.parse() {
                Ok(mask) => Some(SqlModes::of_number(mask)),
                Err(_) => Some(SqlModes::of(modes)),
            },
            Value::Default => Some(SqlModes::default()),
            Value::Computed => {
                let mut ahead = words;
                ahead.next();
                let context = self.message.context;
                let expr = read::expression(context.text, ahead.rest(), context.state);
                expr.ok().and_then(|expr| computed_modes(&expr, current))
            }
        };
        self.effects.push(Effect::ChangesMeaning);
        let unreadable = SqlModes {
            unreadable: true,
            ..SqlModes::default()
        };
        let modes = modes.unwrap_or(unreadable);
        self.message.followed.modes = Some(modes);
        if modes.unreadable || modes.ansi_quotes || modes.no_backslash_escapes || modes.ignore_space {
            self.raise(
                Class::Admin,
                "sets sql_mode so that texts may mean something else, or not by literals",
            );
        }
    }
}

fn is_on(value: &Value) -> bool {
    is_literal(value, &["1", "on", "true"])
}

fn is_off(value: &Value) -> bool {
    !is_literal(value, &["1", "on", "true", "state", "characteristics"])
}

fn is_literal(value: &Value, words: &[&str]) -> bool {
    match value {
        Value::Literal(text) => words.iter().any(|word| text.eq_ignore_ascii_case(word)),
        Value::Default | Value::Computed => false,
    }
}
