//! What a client asks for at start-up, besides who it is. Never passes a parameter on unjudged: each is the SET that it
//! stands for. Read `login.rs` next.

use crate::wire::postgres::startup::Startup;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartupError {
    #[error("no user name in the start-up packet")]
    NoUser,
    #[error("replication connections are not served")]
    Replication,
    #[error("the start-up option `{0}` is not served: write -c name=value")]
    Option(String),
    #[error("the start-up parameter `{0}` has no valid name")]
    Name(String),
}

/// A start-up packet, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    pub user: String,
    pub database: String,
    /// Settings in the order in which the server would apply them: those of `options` first, then the others.
    pub settings: Vec<(String, String)>,
    /// How many of them, from the first, came in `options`.
    options: usize,
    /// Protocol extensions, which are all declined.
    pub extensions: Vec<String>,
}

impl Asked {
    /// The settings as the server is sent them. What came in `options` goes there again, written anew from what was
    /// judged, because a pooler treats it otherwise than a parameter; but only plain ASCII, since the server splits
    /// words by the blanks of its locale, byte by byte.
    pub fn parameters(&self) -> Vec<(String, String)> {
        let (options, others) = self.settings.split_at(self.options);
        let (words, apart): (Vec<_>, Vec<_>) = options.iter().partition(|(_, value)| value.is_ascii());
        let words: Vec<String> = words
            .into_iter()
            .map(|(name, value)| format!("-c {name}={}", escaped(value)))
            .collect();
        let options = (!words.is_empty()).then(|| ("options".to_owned(), words.join(" ")));
        let apart = apart.into_iter().chain(others).cloned();
        options.into_iter().chain(apart).collect()
    }
}

/// Every character that could end a word, and more, behind a backslash (`pg_split_opts`).
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for letter in value.chars() {
        if !letter.is_ascii_alphanumeric() && letter != '_' {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// Source: PostgreSQL docs, protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-STARTUPMESSAGE
pub fn read(startup: &Startup) -> Result<Asked, StartupError> {
    let user = startup
        .parameter("user")
        .filter(|user| !user.is_empty())
        .ok_or(StartupError::NoUser)?;
    let database = startup
        .parameter("database")
        .filter(|name| !name.is_empty())
        .unwrap_or(user);
    let mut settings = Vec::new();
    let mut options_count = 0;
    let mut extensions = Vec::new();
    for (name, value) in &startup.parameters {
        match name.as_str() {
            "user" | "database" => {}
            "replication" => return Err(StartupError::Replication),
            "options" => {
                let found = options(value)?;
                options_count += found.len();
                settings.splice(0..0, found).for_each(drop);
            }
            extension if extension.starts_with("_pq_.") => extensions.push(extension.to_owned()),
            _ => settings.push((name.clone(), value.clone())),
        }
    }
    if let Some((name, _)) = settings.iter().find(|(name, _)| !is_setting_name(name)) {
        return Err(StartupError::Name(name.clone()));
    }
    if settings
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("replication"))
    {
        return Err(StartupError::Replication);
    }
    Ok(Asked {
        user: user.to_owned(),
        database: database.to_owned(),
        settings,
        options: options_count,
        extensions,
    })
}

/// The statement that a setting stands for, as text that is judged. Not a SET: there, `'a, b'` is one name, while a
/// start-up value is taken as set_config takes it, as a list of two.
pub fn as_statement(name: &str, value: &str) -> String {
    format!(
        "SELECT pg_catalog.set_config('{name}', '{}', false)",
        value.replace('\'', "''")
    )
}

/// `-c name=value`, `-cname=value` and `--name=value`, blanks and backslashes escaped by a backslash, and a dash in a
/// name standing for an underscore, as the server has it (`pg_split_opts`, `ParseLongOption`).
fn options(text: &str) -> Result<Vec<(String, String)>, StartupError> {
    let mut words = split(text).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let wrong = || StartupError::Option(word.clone());
        let setting = if word == "-c" {
            words.next().ok_or_else(wrong)?
        } else {
            let rest = word.strip_prefix("--").or_else(|| word.strip_prefix("-c"));
            rest.ok_or_else(wrong)?.to_owned()
        };
        let (name, value) = setting.split_once('=').ok_or_else(wrong)?;
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut started = false;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' => {
                if started {
                    words.push(std::mem::take(&mut word));
                    started = false;
                }
            }
            '\\' => {
                word.extend(letters.next());
                started = true;
            }
            other => {
                word.push(other);
                started = true;
            }
        }
    }
    if started {
        words.push(word);
    }
    words
}

/// Letters, digits, underscores and one dot for a prefix: nothing that could end the SET early.
fn is_setting_name(name: &str) -> bool {
    let word = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !part.starts_with(|first: char| first.is_ascii_digit())
    };
    name.split('.').count() <= 2 && name.split('.').all(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::postgres::startup::PROTOCOL_3_0;

    fn read_parameters(parameters: &[(&str, &str)]) -> Result<Vec<(String, String)>, StartupError> {
        let parameters = parameters
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        read(&Startup {
            protocol: PROTOCOL_3_0,
            parameters,
        })
        .map(|asked| asked.settings)
    }

    #[test]
    fn every_spelling_of_an_option_is_the_same_setting() {
        for options in [
            "-c search_path=a",
            "-csearch_path=a",
            "--search-path=a",
            " -c  search_path=a ",
        ] {
            let settings = read_parameters(&[("user", "u"), ("options", options)]);
            assert_eq!(
                settings,
                Ok(vec![("search_path".to_owned(), "a".to_owned())]),
                "{options}"
            );
        }
        let settings = read_parameters(&[("user", "u"), ("options", r"-c search_path=a,\ b\\c")]);
        assert_eq!(
            settings,
            Ok(vec![("search_path".to_owned(), r"a, b\c".to_owned())])
        );
    }

    #[test]
    fn options_are_sent_as_the_options_that_were_judged() {
        let value =
            "-c search_path=a,\\ \\\"B\\ c\\\" --geqo=off -cDateStyle=German\\\\ -c a.b= -c c.d=\\\x0b\\\t";
        let startup = |parameters: Vec<(String, String)>| {
            read(&Startup {
                protocol: PROTOCOL_3_0,
                parameters,
            })
        };
        let user = ("user".to_owned(), "u".to_owned());
        let zone = ("TimeZone".to_owned(), "UTC".to_owned());
        let options = ("options".to_owned(), value.to_owned());
        let asked = startup(vec![user.clone(), zone.clone(), options]).expect("options");
        let mut sent = asked.parameters();
        assert_eq!((sent.len(), sent[0].0.as_str(), &sent[1]), (2, "options", &zone));
        sent.insert(0, user.clone());
        assert_eq!(
            startup(sent).expect("options"),
            asked,
            "it is read as the same settings"
        );

        // In some locale a byte of it is a blank.
        let foreign = (
            "options".to_owned(),
            "-c a.b=\u{e0}-csearch_path=evil -c geqo=off".to_owned(),
        );
        let sent = startup(vec![user, foreign]).expect("options").parameters();
        let expected = [("options", "-c geqo=off"), ("a.b", "\u{e0}-csearch_path=evil")];
        assert!(
            sent.iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .eq(expected),
            "{sent:?}"
        );
    }

    #[test]
    fn replication_is_refused_in_every_spelling() {
        for parameters in [
            [("user", "u"), ("replication", "database")],
            [("user", "u"), ("replication", "false")],
            [("user", "u"), ("Replication", "true")],
            [("user", "u"), ("options", "-c replication=on")],
        ] {
            assert_eq!(
                read_parameters(&parameters),
                Err(StartupError::Replication),
                "{parameters:?}"
            );
        }
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        assert!(read_parameters(&[("user", "u"), ("options", "-d 5")]).is_err());
        assert!(read_parameters(&[("user", "u"), ("options", "-c")]).is_err());
        assert!(read_parameters(&[("user", "u"), ("a TO b; DROP TABLE t --", "x")]).is_err());
        assert!(read_parameters(&[("database", "d")]).is_err());
    }

    #[test]
    fn a_quote_in_a_value_stays_in_it() {
        let statement = as_statement("application_name", "a'; DROP");
        assert_eq!(
            statement,
            "SELECT pg_catalog.set_config('application_name', 'a''; DROP', false)"
        );
    }
}
