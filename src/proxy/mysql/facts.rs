//! What a session's texts mean at this moment: schema, sql_mode, character set, role; and the questions that ask for it.
//! Never trusts what a client says of its own settings: the server is asked, on the session's own connection.
//! Read `judging.rs` next.
//!
//! Why values are asked for as binary: others come in the character set of results, which the client chooses, and which
//! may be one that reads otherwise. Why with a LIMIT: `sql_select_limit` takes rows from a SELECT that has none.

use std::collections::BTreeSet;

use crate::sql::action::{FunctionName, Judgement, TableName};
use crate::sql::mysql_state::{Charset, MysqlState, ServerKind, SqlModes};
use crate::wire::mysql::conversation::Tracked;

/// Tables, functions and variables of one statement that are looked up before it is shown; more are not shown at all.
const NAMES_MAX: usize = 60;

/// User variables are shown up to so many bytes each; all of each counts.
pub const VARIABLE_BYTES_SHOWN: usize = 1_000;

/// Settings under which one literal is two values, or a row that stands in the way is none. Every server has these.
const VALUES: [&str; 12] = [
    "time_zone",
    "sql_auto_is_null",
    "collation_connection",
    "default_week_format",
    "div_precision_increment",
    "group_concat_max_len",
    "lc_time_names",
    "default_storage_engine",
    "foreign_key_checks",
    "unique_checks",
    "sql_safe_updates",
    "max_sort_length",
];

/// Those that only some servers have: since which MariaDB, and which MySQL. Of some of these the first is one for all
/// sessions.
const VALUES_OF_SOME: [(&str, u32, Option<u32>); 2] = [
    ("explicit_defaults_for_timestamp", 100_108, Some(50_606)),
    ("check_constraint_checks", 100_201, None),
];

/// Others that change one of them: SET NAMES tells of the first two and not of the collation.
const ALSO_VALUES: [&str; 3] = [
    "character_set_client",
    "character_set_connection",
    "storage_engine",
];

/// What texts mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where names without a schema are looked up.
    pub schema: Option<String>,
    /// Whom statements run as: the account, and the role that is set.
    pub role: String,
    pub state: MysqlState,
    /// As the server prints them.
    pub sql_mode: String,
    pub character_set_client: String,
    /// It has made temporary tables, perhaps.
    pub has_own_objects: bool,
    /// The server must be asked before anything is judged.
    pub is_stale: bool,
    /// Counts up whenever anything of it changes.
    pub revision: u64,
    /// Counts up whenever a setting may have changed by which values are read: the server takes some of them when it
    /// prepares a statement, and others when it runs it.
    pub values_revision: u64,
}

impl Facts {
    /// Before the server has said anything: nothing can be read.
    pub fn unknown(version: &str) -> Self {
        let mut state = MysqlState::of_server(version, "");
        state.charset = Charset::Other;
        Self {
            schema: None,
            role: String::new(),
            state,
            sql_mode: String::new(),
            character_set_client: String::new(),
            has_own_objects: false,
            is_stale: true,
            revision: 0,
            values_revision: 0,
        }
    }

    /// Takes the answer to `QUESTION`. `None`: it is no answer.
    pub fn told(&mut self, answer: &[Option<Vec<u8>>]) -> Option<()> {
        let [schema, sql_mode, charset, table_names, role @ ..] = answer else {
            return None;
        };
        let text = |value: &Option<Vec<u8>>| {
            let bytes = value.clone().unwrap_or_default();
            String::from_utf8(bytes).ok()
        };
        let lower_case_table_names = text(table_names)?.parse().ok()?;
        let mut roles = Vec::new();
        for value in role {
            roles.push(text(value)?);
        }
        let before = self.clone();
        self.schema = match schema {
            Some(_) => Some(text(schema)?),
            None => None,
        };
        self.sql_mode = text(sql_mode)?;
        self.character_set_client = text(charset)?;
        self.role = roles.join(" ").trim_end().to_owned();
        self.state = self.state.with_table_names(lower_case_table_names);
        self.read();
        self.is_stale = false;
        self.count(&before);
        Some(())
    }

    /// Takes what the server told by itself.
    pub fn tracked(&mut self, change: &Tracked) {
        let before = self.clone();
        match change {
            Tracked::Schema(name) => match std::str::from_utf8(name) {
                Ok(name) => self.schema = (!name.is_empty()).then(|| name.to_owned()),
                Err(_) => self.is_stale = true,
            },
            Tracked::Variable { name, value } => {
                self.values_revision += u64::from(is_of_values(name));
                let (name, value) = (name.as_slice(), std::str::from_utf8(value));
                match (name, value) {
                    (b"sql_mode", Ok(value)) => value.clone_into(&mut self.sql_mode),
                    (b"character_set_client", Ok(value)) => value.clone_into(&mut self.character_set_client),
                    (b"sql_mode" | b"character_set_client", Err(_)) => self.is_stale = true,
                    _ => {}
                }
            }
        }
        self.read();
        self.count(&before);
    }

    fn read(&mut self) {
        self.state.modes = SqlModes::of(&self.sql_mode);
        self.state.charset = Charset::of(&self.character_set_client);
    }

    fn count(&mut self, before: &Self) {
        if (&self.schema, &self.role, self.state) != (&before.schema, &before.role, before.state) {
            self.revision += 1;
        }
    }

    /// Temporary tables may have been made, or may all be gone.
    pub fn set_own_objects(&mut self, has: bool) {
        self.revision += u64::from(self.has_own_objects != has);
        self.has_own_objects = has;
    }
}

/// Whether the server knows CURRENT_ROLE().
pub fn has_roles(state: &MysqlState) -> bool {
    match (state.kind, state.version) {
        (ServerKind::Mariadb, Some(version)) => version >= 100_005,
        (ServerKind::Mysql, Some(version)) => version >= 80_000,
        (ServerKind::Mariadb | ServerKind::Mysql | ServerKind::Unknown, _) => false,
    }
}

/// Asks for schema, sql_mode, character set, how names of tables are compared and the account, and for the role where the
/// server has roles.
pub fn question(state: &MysqlState) -> Vec<u8> {
    let mut asked = vec![
        "DATABASE()",
        "@@session.sql_mode",
        "@@session.character_set_client",
        "@@lower_case_table_names",
        "CURRENT_USER()",
    ];
    if has_roles(state) {
        asked.push("CURRENT_ROLE()");
    }
    let values: Vec<String> = asked.iter().map(|value| as_binary(value)).collect();
    format!("SELECT {} LIMIT 1", values.join(",")).into_bytes()
}

fn as_binary(value: &str) -> String {
    format!("CAST(CONVERT({value} USING utf8mb4) AS BINARY)")
}

/// Whether it is of the settings that `values_question` asks for, or changes one of them.
fn is_of_values(name: &[u8]) -> bool {
    let of_some = VALUES_OF_SOME.iter().map(|(name, ..)| *name);
    let mut all = VALUES.into_iter().chain(of_some).chain(ALSO_VALUES);
    all.any(|known| known.as_bytes() == name)
}

/// Asks for the settings by which values are read. A client changes most of them as it likes.
pub fn values_question(state: &MysqlState) -> Vec<u8> {
    let mut told: Vec<String> = VALUES
        .iter()
        .map(|name| format!("CONCAT_WS(' ','{name}',@@session.{name})"))
        .collect();
    for (name, mariadb_since, mysql_since) in VALUES_OF_SOME {
        let since = match state.kind {
            ServerKind::Mariadb => Some(mariadb_since),
            ServerKind::Mysql => mysql_since,
            ServerKind::Unknown => None,
        };
        let has = since.is_some_and(|since| state.version.is_some_and(|version| version >= since));
        if has {
            told.push(format!("CONCAT_WS(' ','{name}',@@{name})"));
        }
    }
    let all = format!("CONCAT_WS(', ',{})", told.join(","));
    format!("SELECT {} LIMIT 1", as_binary(&all)).into_bytes()
}

/// What has the server tell of every change of a setting.
pub const TRACK: &[u8] = b"SET SESSION session_track_system_variables='*',session_track_schema=ON";

/// Names in a statement whose meaning is bound to its approval.
pub struct Names {
    tables: BTreeSet<TableName>,
    functions: BTreeSet<FunctionName>,
}

impl Names {
    pub fn of(judgement: &Judgement) -> Self {
        let actions = &judgement.actions;
        Self {
            tables: actions
                .iter()
                .flat_map(|action| &action.tables)
                .cloned()
                .collect(),
            functions: actions
                .iter()
                .flat_map(|action| &action.functions)
                .cloned()
                .collect(),
        }
    }

    pub fn are_too_many(&self) -> bool {
        self.tables.len() + self.functions.len() > NAMES_MAX
    }

    /// Asks for a digest of the definitions of all of them: columns, views, triggers, foreign keys that lead to a table,
    /// partitions, stored functions and procedures. `None`: there is nothing to ask for.
    ///
    /// Why no text of a definition is compared here: what a digest leaves out would not be seen, so it takes in all.
    pub fn question(&self, schema: Option<&str>, state: &MysqlState) -> Option<Vec<u8>> {
        let mut parts = Vec::new();
        for table in &self.tables {
            let Some(schema) = table.schema.as_deref().or(schema) else {
                continue;
            };
            let (schema, name) = (literal(schema), literal(&table.name));
            let at = |prefix: &str| format!("{prefix}_SCHEMA={schema} AND {prefix}_NAME={name}");
            parts.push(part(
                "'t',TABLE_TYPE,ENGINE,CREATE_TIME,CREATE_OPTIONS",
                "TABLES",
                &at("TABLE"),
            ));
            parts.push(part(
                "'c',COLUMN_NAME,ORDINAL_POSITION,COLUMN_TYPE,COLUMN_DEFAULT,IS_NULLABLE,EXTRA",
                "COLUMNS",
                &at("TABLE"),
            ));
            parts.push(part(
                "'v',VIEW_DEFINITION,DEFINER,SECURITY_TYPE,CHECK_OPTION",
                "VIEWS",
                &at("TABLE"),
            ));
            parts.push(part(
                "'g',TRIGGER_NAME,EVENT_MANIPULATION,ACTION_TIMING,ACTION_STATEMENT,DEFINER,SQL_MODE",
                "TRIGGERS",
                &format!("EVENT_OBJECT_SCHEMA={schema} AND EVENT_OBJECT_TABLE={name}"),
            ));
            parts.push(part(
                "'f',CONSTRAINT_SCHEMA,CONSTRAINT_NAME,TABLE_NAME,UPDATE_RULE,DELETE_RULE",
                "REFERENTIAL_CONSTRAINTS",
                &format!("UNIQUE_CONSTRAINT_SCHEMA={schema} AND REFERENCED_TABLE_NAME={name}"),
            ));
            parts.push(part(
                "'p',PARTITION_NAME,PARTITION_METHOD,PARTITION_EXPRESSION,PARTITION_DESCRIPTION",
                "PARTITIONS",
                &format!("{} AND PARTITION_NAME IS NOT NULL", at("TABLE")),
            ));
        }
        for function in &self.functions {
            let Some(schema) = function.schema.as_deref().or(schema) else {
                continue;
            };
            parts.push(part(
                "'r',ROUTINE_TYPE,DTD_IDENTIFIER,ROUTINE_DEFINITION,DEFINER,SECURITY_TYPE,SQL_MODE,LAST_ALTERED",
                "ROUTINES",
                &format!(
                    "ROUTINE_SCHEMA={} AND ROUTINE_NAME={}",
                    literal(schema),
                    literal(&function.name)
                ),
            ));
        }
        if parts.is_empty() {
            return None;
        }
        let (before, hint) = bounded_in_time(state);
        // Each half of a digest fits a number, and their sum does not depend on the order of rows.
        let half = |end: &str| format!("COALESCE(SUM(CAST(CONV({end}(h,12),16,10) AS UNSIGNED)),0)");
        let digest = format!("CONCAT_WS('-',COUNT(*),{},{})", half("LEFT"), half("RIGHT"));
        let text = format!(
            "{before}SELECT {hint}{} FROM ({}) named LIMIT 1",
            as_binary(&digest),
            parts.join(" UNION ALL ")
        );
        Some(text.into_bytes())
    }

    /// Asks of each table for a number that another one of its name or kind would not have, and for how many views and
    /// foreign keys lead from it to other tables: one text `place number count` each. `None`: there is nothing to ask for.
    ///
    /// Why not by what its columns are: a run changes those itself.
    pub fn kinds_question(&self, schema: Option<&str>, state: &MysqlState) -> Option<Vec<u8>> {
        let (before, hint) = bounded_in_time(state);
        let asked = self.tables.iter().enumerate().filter_map(|(place, table)| {
            let schema = literal(table.schema.as_deref().or(schema)?);
            let (name, hint) = (literal(&table.name), if place == 0 { hint } else { "" });
            let at = format!("TABLE_SCHEMA={schema} AND TABLE_NAME={name}");
            let told = format!(
                "CONCAT_WS(' ','{place}',COALESCE((SELECT CONV(LEFT(MD5(CONCAT_WS('|',TABLE_SCHEMA,TABLE_NAME,\
                 TABLE_TYPE,COALESCE(ENGINE,''))),15),16,10) FROM information_schema.TABLES WHERE {at} LIMIT 1),''),\
                 (SELECT COUNT(*) FROM information_schema.VIEWS WHERE {at})+(SELECT COUNT(*) FROM \
                 information_schema.REFERENTIAL_CONSTRAINTS WHERE UNIQUE_CONSTRAINT_SCHEMA={schema} AND \
                 REFERENCED_TABLE_NAME={name} AND (DELETE_RULE NOT IN ('RESTRICT','NO ACTION') OR \
                 UPDATE_RULE NOT IN ('RESTRICT','NO ACTION'))))"
            );
            Some(format!("(SELECT {hint}{} LIMIT 1)", as_binary(&told)))
        });
        let asked: Vec<String> = asked.collect();
        let text = format!("{before}{}", asked.join(" UNION ALL "));
        (!asked.is_empty()).then(|| text.into_bytes())
    }

    /// The answers to that, as runs compare them: `r schema.name number`, and `b place` where more hangs on it. `None`:
    /// they are none.
    pub fn kinds(&self, answers: &[Vec<Option<Vec<u8>>>]) -> Option<String> {
        let mut lines = String::new();
        for row in answers {
            let told = str::from_utf8(row.first()?.as_deref()?).ok()?;
            let mut words = told.split(' ');
            let (place, number, count) = (words.next()?, words.next()?, words.next()?);
            let table = self.tables.iter().nth(place.parse().ok()?)?;
            if !number.is_empty() {
                let schema = table.schema.as_deref().unwrap_or_default();
                lines.push_str(&format!("\nr {schema}.{} {number}", table.name));
            }
            if count != "0" {
                lines.push_str(&format!("\nb more-than-{place}"));
            }
        }
        Some(lines)
    }
}

/// A definition that somebody changes at this moment is locked: it is not waited for.
fn bounded_in_time(state: &MysqlState) -> (&'static str, &'static str) {
    match (state.kind, state.version) {
        (ServerKind::Mariadb, Some(100_100..)) => ("SET STATEMENT max_statement_time=5 FOR ", ""),
        (ServerKind::Mysql, Some(50_708..)) => ("", "/*+ MAX_EXECUTION_TIME(5000) */ "),
        (ServerKind::Mariadb | ServerKind::Mysql | ServerKind::Unknown, _) => ("", ""),
    }
}

fn part(columns: &str, table: &str, condition: &str) -> String {
    let columns: Vec<String> = columns
        .split(',')
        .map(|column| format!("COALESCE({column},'')"))
        .collect();
    format!(
        "SELECT MD5(CONCAT_WS('|',{})) h FROM information_schema.{table} WHERE {condition}",
        columns.join(",")
    )
}

/// A name as no setting of the session can read otherwise.
pub fn literal(name: &str) -> String {
    let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("CONVERT(x'{hex}' USING utf8)")
}

/// Asks for the values of user variables that a text names. `None`: it names none.
pub fn variables_question(names: &[String]) -> Option<Vec<u8>> {
    if names.is_empty() {
        return None;
    }
    let quoted = names.iter().map(|name| {
        let name = format!("@`{}`", name.replace('`', "``"));
        // The bytes, and what tells a number from a text and one character set from another.
        format!(
            "CAST({name} AS BINARY),CAST(CONCAT_WS('|',COLLATION({name}),COERCIBILITY({name}),HEX({name}),{name} IS NULL) AS BINARY)"
        )
    });
    let values: Vec<String> = quoted.collect();
    Some(format!("SELECT {} LIMIT 1", values.join(",")).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::mysql_state::TableNames;

    fn told(values: &[Option<&str>]) -> Facts {
        let mut facts = Facts::unknown("10.11.6-MariaDB");
        let values: Vec<_> = values
            .iter()
            .map(|value| value.map(|text| text.as_bytes().to_vec()))
            .collect();
        facts.told(&values).expect("an answer");
        facts
    }

    #[test]
    fn nothing_can_be_read_before_the_server_has_spoken() {
        assert!(!Facts::unknown("10.11.6-MariaDB").state.is_served());
    }

    #[test]
    fn what_the_server_says_counts() {
        let facts = told(&[
            Some("app"),
            Some("ANSI_QUOTES"),
            Some("utf8mb4"),
            Some("1"),
            Some("a@b"),
            None,
        ]);
        assert_eq!(
            (facts.schema.as_deref(), facts.role.as_str()),
            (Some("app"), "a@b")
        );
        assert!(facts.state.is_served() && facts.state.modes.ansi_quotes);
        assert_eq!(facts.state.table_names, TableNames::Folded);
        assert!(
            !told(&[None, Some("ORACLE"), Some("utf8mb4"), Some("0"), Some("a@b")])
                .state
                .is_served()
        );
        assert!(
            !told(&[None, Some(""), Some("gbk"), Some("0"), Some("a@b")])
                .state
                .is_served()
        );
    }

    #[test]
    fn a_change_that_the_server_tells_is_followed() {
        let mut facts = told(&[Some("app"), Some(""), Some("utf8mb4"), Some("0"), Some("a@b")]);
        let revision = facts.revision;
        facts.tracked(&Tracked::Variable {
            name: b"sql_mode".to_vec(),
            value: b"NO_BACKSLASH_ESCAPES".to_vec(),
        });
        assert!(facts.state.modes.no_backslash_escapes && facts.revision > revision);
        facts.tracked(&Tracked::Schema(b"other".to_vec()));
        assert_eq!(facts.schema.as_deref(), Some("other"));
    }

    #[test]
    fn a_change_of_how_values_are_read_is_counted() {
        for (name, counts) in [
            ("collation_connection", 1),
            ("character_set_client", 1),
            ("check_constraint_checks", 1),
            ("autocommit", 0),
            ("character_set_results", 0),
        ] {
            let mut facts = Facts::unknown("10.11.6-MariaDB");
            facts.tracked(&Tracked::Variable {
                name: name.as_bytes().to_vec(),
                value: b"x".to_vec(),
            });
            assert_eq!(facts.values_revision, counts, "{name}");
        }
    }
}
