//! The server behind the proxy: how to reach it, and the database users that agents are mapped to or that log in as
//! themselves. Never connects. Read `secret.rs` for their passwords.

use std::collections::BTreeSet;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::front::Sections;
use super::reader::{Found, Place, Reader};
use super::secret::Secret;
use super::value_or;
use crate::identity::directory::Agent;
use crate::identity::principal::PersonName;
use crate::proxy::UpstreamTls;

#[derive(Clone, Debug)]
pub struct Upstream {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub tls: UpstreamTls,
    /// Empty: every database of the server.
    pub databases: Vec<String>,
    pub users: Vec<UpstreamUser>,
    /// Who logs in with the password of their own.
    pub pass_through: Vec<Agent>,
}

#[derive(Clone, Debug)]
pub struct UpstreamUser {
    pub name: String,
    pub password: Secret,
}

pub fn read_upstream(reader: &mut Reader, sections: &Sections) -> Upstream {
    let section = sections.upstream;
    let key = |key: &str| format!("{section}.{key}");
    let port = reader.integer(&key("port"), 1..=65535);
    let port = port.and_then(|found| u16::try_from(found.value).ok());
    Upstream {
        name: value_or(reader.text(&key("name")), || sections.upstream_name.to_owned()),
        host: value_or(reader.text(&key("host")), || "127.0.0.1".to_owned()),
        port: port.unwrap_or(sections.upstream_port),
        tls: read_upstream_tls(reader, section),
        databases: value_or(reader.list(&key("databases")), Vec::new),
        users: read_upstream_users(reader, section),
        pass_through: read_pass_through(reader, section),
    }
}

#[derive(Clone, Copy)]
enum UpstreamTlsWord {
    Disable,
    Require,
    VerifyCa,
    VerifyFull,
}

fn read_upstream_tls(reader: &mut Reader, section: &str) -> UpstreamTls {
    use UpstreamTlsWord as Word;
    let words = [
        ("disable", Word::Disable),
        ("require", Word::Require),
        ("verify-ca", Word::VerifyCa),
        ("verify-full", Word::VerifyFull),
    ];
    let word = reader.choice(&format!("{section}.tls"), &words);
    let ca_file = reader.path(&format!("{section}.ca_file"));
    let place = word.as_ref().map_or(Place::Default, |found| found.place.clone());
    let path = |found: Option<Found<PathBuf>>| found.map(|found| found.value);
    match (value_or(word, || Word::Disable), ca_file) {
        (Word::Disable | Word::Require, Some(ca)) => {
            let message = "`ca_file` is given, but `tls` verifies nothing";
            reader.complain(
                &ca.place,
                message,
                "write `tls = \"verify-full\"` or `\"verify-ca\"`",
            );
            UpstreamTls::Disable
        }
        (Word::Disable, None) => UpstreamTls::Disable,
        (Word::Require, None) => UpstreamTls::Require,
        (Word::VerifyCa, None) => {
            let message = "`tls = \"verify-ca\"` needs an authority to verify against";
            reader.complain(
                &place,
                message,
                "name its certificate in `ca_file`, or write `verify-full`",
            );
            UpstreamTls::VerifyCa { ca_file: None }
        }
        (Word::VerifyCa, ca_file) => UpstreamTls::VerifyCa {
            ca_file: path(ca_file),
        },
        (Word::VerifyFull, ca_file) => UpstreamTls::VerifyFull {
            ca_file: path(ca_file),
        },
    }
}

/// Users who log in with the password that the server knows. Each has an owner: without one, nobody would be known who
/// must not decide for it.
fn read_pass_through(reader: &mut Reader, section: &str) -> Vec<Agent> {
    let mut users: Vec<Agent> = Vec::new();
    for number in 0..reader.count(&format!("{section}.pass_through")) {
        let table = format!("{section}.pass_through.{number}");
        let place = reader.table_place(&table);
        let user = reader.text(&format!("{table}.user"));
        let owner = reader.text(&format!("{table}.owner"));
        let known_to = reader.list(&format!("{table}.known_to"));
        let (Some(user), Some(owner)) = (user, owner) else {
            reader.complain(
                &place,
                format!("`[[{section}.pass_through]]` needs `user` and `owner`"),
                "name the user of the database and the person who answers for it, and so never decides for it",
            );
            continue;
        };
        let mut person = |found: &Place, name: &str| {
            let parsed = PersonName::parse(name);
            if let Err(error) = &parsed {
                reader.complain(
                    found,
                    error.to_string(),
                    "name a person as `countersign user add` does",
                );
            }
            parsed.ok()
        };
        let answers = person(&owner.place, &owner.value);
        let others: BTreeSet<PersonName> = known_to
            .iter()
            .flat_map(|found| found.value.iter().map(|name| (&found.place, name)))
            .filter_map(|(found, name)| person(found, name))
            .collect();
        if users.iter().any(|known| known.database_user == user.value) {
            let message = format!("user `{}` passes through twice", user.value);
            reader.complain(&user.place, message, "keep one of the two");
        }
        let Some(answers) = answers else { continue };
        match Agent::passing_through(&user.value, answers, others) {
            Ok(agent) => users.push(agent),
            Err(_) => {
                let message = format!("user `{}` cannot pass through", user.value);
                reader.complain(
                    &user.place,
                    message,
                    "its name must be 1 to 63 of A-Z a-z 0-9 _ - . @",
                );
            }
        }
    }
    users
}

fn read_upstream_users(reader: &mut Reader, section: &str) -> Vec<UpstreamUser> {
    let mut users: Vec<UpstreamUser> = Vec::new();
    for number in 0..reader.count(&format!("{section}.users")) {
        let table = format!("{section}.users.{number}");
        let place = reader.table_place(&table);
        let key = |key: &str| format!("{table}.{key}");
        let name = reader.text(&key("name"));
        let file = reader.path(&key("password_file"));
        reader.forbid(
            &key("password"),
            "a password does not belong into the settings file",
            "write it to a file of its own and name that in `password_file`",
        );
        let Some(Found { value: name, place }) = name else {
            reader.complain(
                &place,
                format!("`[[{section}.users]]` without a `name`"),
                "write `name = \"…\"`",
            );
            continue;
        };
        if users.iter().any(|user| user.name == name) {
            reader.complain(
                &place,
                format!("user `{name}` is named twice"),
                "keep one of the two",
            );
        }
        let given = reader.text(&format!("{section}.users.{}.password", variable_word(&name)));
        let password = match (given, file) {
            (Some(given), _) => Secret::Given(Zeroizing::new(given.value)),
            (None, Some(file)) => Secret::File(file.value),
            (None, None) => Secret::None,
        };
        users.push(UpstreamUser { name, password });
    }
    users.extend(users_of_variables(reader, section));
    users
}

/// Users that no file names, by `COUNTERSIGN__UPSTREAM__USERS__APP__PASSWORD` or `…__PASSWORD_FILE` alone.
fn users_of_variables(reader: &mut Reader, section: &str) -> Vec<UpstreamUser> {
    let mut names: Vec<String> = reader
        .rest_under(&format!("{section}.users"))
        .iter()
        .filter_map(|rest| {
            rest.strip_suffix(".password")
                .or(rest.strip_suffix(".password_file"))
        })
        .filter(|name| !name.contains('.') && name.parse::<usize>().is_err())
        .map(str::to_owned)
        .collect();
    names.dedup();
    let mut user = |name: String| {
        let given = reader.text(&format!("{section}.users.{name}.password"));
        let file = reader.path(&format!("{section}.users.{name}.password_file"));
        let password = match (given, file) {
            (Some(given), _) => Secret::Given(Zeroizing::new(given.value)),
            (None, Some(file)) => Secret::File(file.value),
            (None, None) => Secret::None,
        };
        UpstreamUser { name, password }
    };
    names.into_iter().map(&mut user).collect()
}

/// How the name of a user is written inside the name of a variable, in lower case.
fn variable_word(name: &str) -> String {
    let letter = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    name.chars().map(letter).collect()
}
