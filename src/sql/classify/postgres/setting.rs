//! SET, RESET, SHOW and set_config: which settings a session may change by itself.
//! Never lets an unknown name through. Read `../lists/mod.rs` next.

use crate::sql::action::{Class, Effect};
use crate::sql::classify::lists;
use crate::sql::statement::{Encoding, PathTrust, Role};

/// The settings under which one literal is two values (`'01/02/2026'`, `'12:00'`, `'1,5'`), a value two texts, a search
/// finds all or a part, and a new table lies here or there; in lower case.
pub const READS_VALUES: [&str; 14] = [
    "datestyle",
    "timezone",
    "intervalstyle",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "bytea_output",
    "extra_float_digits",
    "xmloption",
    "xmlbinary",
    "gin_fuzzy_search_limit",
    "default_text_search_config",
    "default_tablespace",
    "default_table_access_method",
];

/// What a setting is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Literals, as the server will read them.
    Literal(Vec<String>),
    /// The text given to set_config, which the server cuts at commas itself.
    Raw(String),
    /// Its default.
    Default,
    /// A parameter or an expression: not known here.
    Computed,
}

/// What a change of one setting amounts to.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    pub class: Class,
    pub reason: Option<String>,
    pub effect: Option<Effect>,
    /// What later texts mean from now on.
    pub followed: Followed,
}

/// What a message leaves behind for the meaning of later texts, by what it says; the server may say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    pub path: Option<PathTrust>,
    pub search_path: Option<NewPath>,
    pub standard_conforming_strings: Option<bool>,
    pub encoding: Option<Encoding>,
    pub role: Option<Role>,
}

/// What a message sets search_path to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewPath {
    /// As SHOW will print it.
    Text(String),
    /// Whatever the session began with.
    Default,
    /// Computed, or only perhaps set, or only for a while.
    Unknown,
}

/// Judges `SET name = value`; `name` in any case, as the server compares it.
pub fn change(name: &str, value: &Value) -> Change {
    let name = name.to_ascii_lowercase();
    if let Some(own) = name.strip_prefix("countersign.") {
        return own_setting(own, value);
    }
    let change = match name.as_str() {
        "search_path" => search_path(value),
        "client_encoding" => client_encoding(value),
        "standard_conforming_strings" => {
            let on = is_on(value) || *value == Value::Default;
            Change {
                followed: Followed {
                    standard_conforming_strings: Some(on),
                    ..Followed::default()
                },
                ..meaning(
                    on,
                    "turns standard_conforming_strings off, which changes what a text means",
                )
            }
        }
        "role" | "session_authorization" => Change {
            class: Class::Grant,
            reason: Some("changes the role that statements run as".to_owned()),
            effect: Some(Effect::ChangesMeaning),
            followed: Followed {
                role: Some(Role::Changed),
                ..Followed::default()
            },
        },
        // Guards: tightening them is harmless, loosening them is not.
        "row_security" | "default_transaction_read_only" | "transaction_read_only" => {
            if is_on(value) || *value == Value::Default {
                harmless()
            } else {
                held(format!("turns the guard `{name}` off"))
            }
        }
        _ if lists::is_harmless_setting(&name) => harmless(),
        _ => held(format!(
            "changes the setting `{name}`, which is not known to be harmless"
        )),
    };
    match READS_VALUES.contains(&name.as_str()) {
        true => Change {
            effect: Some(Effect::ChangesValues),
            ..change
        },
        false => change,
    }
}

/// SHOW and current_setting of names that may hold a password or a secret command.
pub fn is_secret_to_show(name: &str) -> bool {
    const SECRET: [&str; 6] = [
        "primary_conninfo",
        "ssl_passphrase_command",
        "archive_command",
        "restore_command",
        "archive_cleanup_command",
        "recovery_end_command",
    ];
    SECRET.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

fn harmless() -> Change {
    Change {
        class: Class::Session,
        reason: None,
        effect: None,
        followed: Followed::default(),
    }
}

fn held(reason: String) -> Change {
    Change {
        class: Class::Admin,
        reason: Some(reason),
        effect: None,
        followed: Followed::default(),
    }
}

fn meaning(safe: bool, otherwise: &str) -> Change {
    Change {
        effect: Some(Effect::ChangesMeaning),
        ..if safe {
            harmless()
        } else {
            held(otherwise.to_owned())
        }
    }
}

/// UTF8, and SQL_ASCII, under which only pure ASCII is judged: psql asks for it where its locale is C.
fn client_encoding(value: &Value) -> Change {
    let encoding = match value {
        Value::Default => Encoding::Utf8,
        Value::Literal(words) => match words.as_slice() {
            [word] => encoding_of(word),
            _ => Encoding::Other,
        },
        Value::Raw(text) => encoding_of(text),
        Value::Computed => Encoding::Other,
    };
    Change {
        followed: Followed {
            encoding: Some(encoding),
            ..Followed::default()
        },
        ..meaning(
            encoding != Encoding::Other,
            "sets client_encoding to something other than UTF8 or SQL_ASCII",
        )
    }
}

/// The server compares encoding names without case and without anything but letters and digits.
fn encoding_of(name: &str) -> Encoding {
    let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    match letters.to_ascii_lowercase().as_str() {
        _ if !name.is_ascii() => Encoding::Other,
        "utf8" | "unicode" => Encoding::Utf8,
        "sqlascii" => Encoding::SqlAscii,
        _ => Encoding::Other,
    }
}

fn search_path(value: &Value) -> Change {
    let path = match value {
        Value::Literal(schemas) => {
            // Unquoted names come folded from the grammar, quoted ones keep their case.
            let place = schemas.iter().position(|schema| schema == "pg_catalog");
            match place {
                None | Some(0) => PathTrust::Safe,
                Some(_) => PathTrust::Shadowing,
            }
        }
        Value::Raw(text) => PathTrust::of(text),
        Value::Default | Value::Computed => PathTrust::Shadowing,
    };
    let safe = path == PathTrust::Safe || *value == Value::Default;
    let search_path = match value {
        Value::Literal(schemas) => {
            let quoted = |schema: &String| format!("\"{}\"", schema.replace('"', "\"\""));
            NewPath::Text(schemas.iter().map(quoted).collect::<Vec<_>>().join(", "))
        }
        Value::Raw(text) => NewPath::Text(text.clone()),
        Value::Default => NewPath::Default,
        Value::Computed => NewPath::Unknown,
    };
    Change {
        followed: Followed {
            path: Some(path),
            search_path: Some(search_path),
            ..Followed::default()
        },
        ..meaning(
            safe,
            "puts another schema before pg_catalog, so that built-in names may be somebody else's",
        )
    }
}

/// `countersign.wait`, `countersign.purpose` and `countersign.reply`: for the proxy; to the server they mean nothing.
fn own_setting(name: &str, value: &Value) -> Change {
    let known = ["wait", "purpose", "reply"].contains(&name);
    let text = match value {
        Value::Literal(words) => Some(words.join(", ")),
        Value::Raw(text) => Some(text.clone()),
        Value::Default | Value::Computed => None,
    };
    match text {
        Some(value) if known => Change {
            effect: Some(Effect::ProxySetting {
                name: name.to_owned(),
                value,
            }),
            ..harmless()
        },
        None if known && *value == Value::Default => harmless(),
        Some(_) | None => held(format!(
            "changes `countersign.{name}`, which is not a setting of the proxy, or not by a literal"
        )),
    }
}

fn is_on(value: &Value) -> bool {
    let word = match value {
        Value::Literal(words) if words.len() == 1 => &words[0],
        Value::Raw(text) => text,
        Value::Literal(_) | Value::Default | Value::Computed => return false,
    };
    ["on", "true", "yes", "1", "t", "y"]
        .iter()
        .any(|on| word.eq_ignore_ascii_case(on))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, value: &str) -> Class {
        change(name, &Value::Literal(vec![value.to_owned()])).class
    }

    #[test]
    fn settings_pass_by_name_and_literal_value() {
        for (name, value, expected) in [
            ("statement_timeout", "5s", Class::Session),
            ("STATEMENT_TIMEOUT", "5s", Class::Session),
            ("client_encoding", "utf-8", Class::Session),
            ("client_encoding", "SQL_ASCII", Class::Session),
            ("client_encoding", "SJIS", Class::Admin),
            ("standard_conforming_strings", "on", Class::Session),
            ("standard_conforming_strings", "off", Class::Admin),
            ("row_security", "off", Class::Admin),
            ("role", "none", Class::Grant),
            ("log_statement", "none", Class::Admin),
            ("app.user_id", "7", Class::Admin),
            ("countersign.wait", "30s", Class::Session),
            ("countersign.reply", "OPS-7", Class::Session),
            ("countersign.bypass", "on", Class::Admin),
        ] {
            assert_eq!(class(name, value), expected, "{name} = {value}");
        }
    }

    #[test]
    fn a_search_path_is_safe_when_pg_catalog_is_absent_or_first() {
        let path = |schemas: &[&str]| {
            let schemas = schemas.iter().map(|schema| (*schema).to_owned()).collect();
            change("search_path", &Value::Literal(schemas)).followed.path
        };
        assert_eq!(path(&["app", "public"]), Some(PathTrust::Safe));
        assert_eq!(path(&["pg_catalog", "evil"]), Some(PathTrust::Safe));
        assert_eq!(path(&["evil", "pg_catalog"]), Some(PathTrust::Shadowing));
    }
}
