//! Case files: a statement, who sends it from where and when, and what the rules are to say of it.
//! Never judges. Read `test.rs` next.
//!
//! ```toml
//! [given]                       # for every case that does not say otherwise
//! principal = "reporter"
//!
//! [[case]]
//! sql = "DELETE FROM orders"
//! given = { labels = { team = "billing" }, source = "10.1.2.3", at = "2026-11-22T23:30:00Z" }
//! verdict = "hold"
//! rule = "unbounded-writes"
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;
use toml::Spanned;

use crate::clock::Timestamp;
use crate::identity::principal::{Peer, PersonName, PrincipalName, Profile, SessionId};
use crate::policy::{Outcome, Places, RuleError};
use crate::sql::action::TableName;

/// One case, checked.
pub struct Case {
    pub line: u32,
    /// What people call it: its name, or its statement.
    pub title: String,
    pub sql: String,
    /// Statements that ran before on the same connection.
    pub session: Vec<String>,
    pub dialect: String,
    pub peer: Peer,
    pub at: Timestamp,
    /// What a catalog would say of the statement.
    pub rows: Option<u64>,
    pub behind: BTreeSet<TableName>,
    pub expected: Expected,
}

/// What is to be said. `None` is not compared.
pub struct Expected {
    pub outcome: Outcome,
    pub rule: Option<String>,
    pub people: Option<u32>,
    /// A piece of one of the reasons.
    pub reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    given: Given,
    #[serde(default, rename = "case")]
    cases: Vec<RawCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: Option<String>,
    sql: Spanned<String>,
    #[serde(default)]
    session: Vec<String>,
    #[serde(default)]
    given: Given,
    verdict: Spanned<String>,
    rule: Option<Spanned<String>>,
    people: Option<u32>,
    reason: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    dialect: Option<Spanned<String>>,
    principal: Option<Spanned<String>>,
    owner: Option<Spanned<String>>,
    labels: Option<BTreeMap<String, String>>,
    database: Option<String>,
    database_user: Option<String>,
    source: Option<Spanned<String>>,
    at: Option<Spanned<String>>,
    rows: Option<u64>,
    behind: Option<Vec<Spanned<String>>>,
}

/// Reads the text of a case file; `file` is its name in errors, `rules` are the names that a case may expect.
pub fn read(text: &str, file: &str, rules: &BTreeSet<&str>) -> Result<Vec<Case>, RuleError> {
    let places = Places { text, file };
    let raw: RawFile = toml::from_str(text).map_err(|error| places.syntax(&error))?;
    if raw.cases.is_empty() {
        return Err(places.error(
            0,
            "has no case",
            "write at least one [[case]] with `sql` and `verdict`",
        ));
    }
    let reader = Reader { places, rules };
    raw.cases
        .iter()
        .map(|case| reader.case(case, &raw.given))
        .collect()
}

struct Reader<'t> {
    places: Places<'t>,
    rules: &'t BTreeSet<&'t str>,
}

impl Reader<'_> {
    fn case(&self, raw: &RawCase, file: &Given) -> Result<Case, RuleError> {
        let given = raw.given.over(file);
        let at = given.at.as_ref().map(|at| {
            let moment = Timestamp::parse(at.get_ref());
            moment.ok_or_else(|| self.wrong(at, "is not a time", "write it as 2026-11-22T13:00:00Z"))
        });
        let dialect = given.dialect.as_ref().map(|dialect| {
            let known = ["postgres", "mysql", "mariadb"].contains(&dialect.get_ref().as_str());
            let wrong = || self.wrong(dialect, "is not a dialect", "write postgres, mysql or mariadb");
            known.then(|| dialect.get_ref().clone()).ok_or_else(wrong)
        });
        Ok(Case {
            line: self.places.error(raw.sql.span().start, "", "").line,
            title: raw.name.clone().unwrap_or_else(|| raw.sql.get_ref().clone()),
            sql: raw.sql.get_ref().clone(),
            session: raw.session.clone(),
            dialect: dialect.transpose()?.unwrap_or_else(|| "postgres".to_owned()),
            peer: self.peer(&given)?,
            at: at.transpose()?.unwrap_or_else(Timestamp::now),
            rows: given.rows,
            behind: self.behind(&given)?,
            expected: self.expected(raw)?,
        })
    }

    fn expected(&self, raw: &RawCase) -> Result<Expected, RuleError> {
        let outcome = match raw.verdict.get_ref().as_str() {
            "allow" => Outcome::Allow,
            "hold" => Outcome::Hold,
            "deny" => Outcome::Deny,
            _other => return Err(self.wrong(&raw.verdict, "is not a verdict", "write allow, hold or deny")),
        };
        if let Some(rule) = &raw.rule
            && !self.rules.contains(rule.get_ref().as_str())
        {
            let names: Vec<&str> = self.rules.iter().copied().collect();
            let next_step = format!("write one of: {}", names.join(", "));
            return Err(self.wrong(rule, "is no rule of the set", next_step));
        }
        Ok(Expected {
            outcome,
            rule: raw.rule.as_ref().map(|rule| rule.get_ref().clone()),
            people: raw.people,
            reason: raw.reason.clone(),
        })
    }

    fn peer(&self, given: &Given) -> Result<Peer, RuleError> {
        let text =
            |given: &Option<String>, otherwise: &str| given.clone().unwrap_or_else(|| otherwise.to_owned());
        let principal = given.principal.as_ref().map(|name| {
            let next_step = "write an agent's name, or db: and a user of the database";
            PrincipalName::parse_any(name.get_ref())
                .map_err(|_| self.wrong(name, "is the name of no principal", next_step))
        });
        let owner = given.owner.as_ref().map(|name| {
            let next_step = "write 1 to 63 of a-z 0-9 _ - . @";
            PersonName::parse(name.get_ref())
                .map_err(|_| self.wrong(name, "is the name of no person", next_step))
        });
        let source = given.source.as_ref().map(|address| {
            let parsed = address.get_ref().parse::<IpAddr>();
            parsed.map_err(|_| self.wrong(address, "is not an address", "write one such as 10.1.2.3"))
        });
        Ok(Peer {
            principal: match principal.transpose()? {
                Some(name) => name,
                None => PrincipalName::parse("agent").expect("letters"),
            },
            owner: match owner.transpose()? {
                Some(name) => name,
                None => PersonName::parse("nobody").expect("letters"),
            },
            profile: Profile::Standard,
            labels: given.labels.clone().unwrap_or_default(),
            session: SessionId(0),
            source: source.transpose()?.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            upstream: "main".to_owned(),
            database: text(&given.database, "postgres"),
            database_user: text(&given.database_user, "agent"),
        })
    }

    fn behind(&self, given: &Given) -> Result<BTreeSet<TableName>, RuleError> {
        let tables = given.behind.iter().flatten().map(|table| {
            let (schema, name) = table.get_ref().split_once('.').ok_or_else(|| {
                self.wrong(
                    table,
                    "has no schema",
                    "write schema.name: a catalog knows every table's schema",
                )
            })?;
            Ok(TableName {
                schema: Some(schema.to_owned()),
                name: name.to_owned(),
            })
        });
        tables.collect()
    }

    fn wrong(&self, word: &Spanned<String>, why: &str, next_step: impl Into<String>) -> RuleError {
        let message = format!("`{}` {why}", word.get_ref());
        self.places.error(word.span().start, message, next_step)
    }
}

impl Given {
    /// What is given here, and of the rest what the file gives.
    fn over(&self, file: &Self) -> Self {
        Self {
            dialect: self.dialect.clone().or_else(|| file.dialect.clone()),
            principal: self.principal.clone().or_else(|| file.principal.clone()),
            owner: self.owner.clone().or_else(|| file.owner.clone()),
            labels: self.labels.clone().or_else(|| file.labels.clone()),
            database: self.database.clone().or_else(|| file.database.clone()),
            database_user: self.database_user.clone().or_else(|| file.database_user.clone()),
            source: self.source.clone().or_else(|| file.source.clone()),
            at: self.at.clone().or_else(|| file.at.clone()),
            rows: self.rows.or(file.rows),
            behind: self.behind.clone().or_else(|| file.behind.clone()),
        }
    }
}
