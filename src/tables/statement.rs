//! From a client's text to what is done: a query's plan, or one of the few words of a session that are harmless.
//! Never lets anything else pass: whatever is no read is refused with what to do instead. Read `translate/mod.rs` next.

use sqlparser::ast::{Set, Statement};

use super::error::{SqlError, state};
use super::translate::{OutColumn, Plan, translate};
use super::types::{Type, short};
use crate::sql::parse::trees;

/// What one statement of a text is.
#[derive(Clone, Debug)]
pub enum Spoken {
    Query(Plan),
    /// A setting that is shown.
    Show(Plan),
    Begin,
    Commit,
    Rollback,
    /// To a savepoint: the transaction goes on.
    RollbackTo,
    /// Accepted, remembered if it is a name and a value, and without effect.
    Set(Option<(String, String)>),
    /// Accepted without effect; the command tag.
    Nothing(&'static str),
    /// A prepared statement is forgotten; `None`: all.
    Deallocate(Option<String>),
}

impl Spoken {
    /// Whether it may be run after an error inside a transaction.
    pub fn mends_transaction(&self) -> bool {
        matches!(self, Self::Commit | Self::Rollback | Self::RollbackTo)
    }

    /// Whether the log keeps who asked it: all but words about the session itself.
    pub fn is_query(&self) -> bool {
        matches!(self, Self::Query(_))
    }
}

/// Reads a whole text, which may hold several statements. Needs the stack of a parser thread.
pub fn read(text: &[u8], given: &[u32]) -> Result<Vec<Spoken>, SqlError> {
    let statements = trees(text).map_err(|why| {
        SqlError::new(
            state::SYNTAX,
            format!("the query {}", short_lines(&why)),
            "the log understands SELECT as PostgreSQL writes it; docs/sql.md lists what is served",
        )
    })?;
    statements.iter().map(|statement| one(statement, given)).collect()
}

fn short_lines(text: &str) -> String {
    text.chars()
        .take(300)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

fn one(statement: &Statement, given: &[u32]) -> Result<Spoken, SqlError> {
    Ok(match statement {
        Statement::Query(query) => Spoken::Query(translate(query, given)?),
        Statement::StartTransaction { .. } => Spoken::Begin,
        Statement::Commit { .. } => Spoken::Commit,
        Statement::Rollback { savepoint: None, .. } => Spoken::Rollback,
        Statement::Rollback { .. } => Spoken::RollbackTo,
        Statement::Savepoint { .. } => Spoken::Nothing("SAVEPOINT"),
        Statement::ReleaseSavepoint { .. } => Spoken::Nothing("RELEASE"),
        Statement::Set(set) => self::set(set)?,
        Statement::Reset(_) => Spoken::Nothing("RESET"),
        Statement::Discard { .. } => Spoken::Nothing("DISCARD ALL"),
        Statement::Deallocate { name, .. } => {
            let is_all = name.value.eq_ignore_ascii_case("all") && name.quote_style.is_none();
            Spoken::Deallocate((!is_all).then(|| name.value.clone()))
        }
        Statement::Close { .. } => Spoken::Nothing("CLOSE CURSOR"),
        Statement::LISTEN { .. } => Spoken::Nothing("LISTEN"),
        Statement::UNLISTEN { .. } => Spoken::Nothing("UNLISTEN"),
        Statement::ShowVariable { variable } => {
            let words: Vec<String> = variable.iter().map(|word| word.value.to_lowercase()).collect();
            show(&words.join(" "))?
        }
        Statement::Explain { .. } | Statement::ExplainTable { .. } => {
            return Err(SqlError::unsupported("EXPLAIN"));
        }
        Statement::Declare { .. } | Statement::Fetch { .. } => {
            return Err(SqlError::unsupported(
                "a cursor: bound results come in parts by the protocol",
            ));
        }
        Statement::Copy { .. } => {
            return Err(SqlError::unsupported(
                "COPY: psql's \\copy needs it too; use --csv, or `countersign log export`",
            ));
        }
        other => {
            let word = other.to_string();
            let word: String = word.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            return Err(SqlError::new(
                state::READ_ONLY,
                format!("cannot execute {}: the log is read only", short(&word)),
                "read it with SELECT; nobody can change the log, and rules and people are changed by the API",
            ));
        }
    })
}

/// Settings that would change what rows mean are refused; others are remembered for SHOW.
fn set(set: &Set) -> Result<Spoken, SqlError> {
    let Set::SingleAssignment { variable, values, .. } = set else {
        return match set {
            Set::SetSessionAuthorization(_) => Err(SqlError::new(
                state::NOT_ALLOWED,
                "permission denied to set session authorization",
                "connect with your own name and token",
            )),
            Set::SetRole {
                role_name: Some(_), ..
            } => Err(SqlError::new(
                state::NOT_ALLOWED,
                "permission denied to set role",
                "connect with your own name and token",
            )),
            _ => Ok(Spoken::Set(None)),
        };
    };
    let name = variable.to_string().replace('"', "").to_lowercase();
    let values: Vec<String> = values
        .iter()
        .map(|value| value.to_string().trim_matches('\'').to_owned())
        .collect();
    let value = values.join(", ");
    match name.as_str() {
        "client_encoding" | "names"
            if !["utf8", "utf-8", "unicode", "default"].contains(&value.to_lowercase().as_str()) =>
        {
            Err(SqlError::new(
                state::BAD_PARAMETER,
                format!("client_encoding \"{}\" is not served", short(&value)),
                "set client_encoding to UTF8",
            ))
        }
        // Times are shown in UTC and dates in ISO form whatever is set, so what SHOW says stays true.
        "timezone"
        | "datestyle"
        | "intervalstyle"
        | "transaction_read_only"
        | "default_transaction_read_only" => Ok(Spoken::Set(None)),
        "role" if value.to_lowercase() != "none" => Err(SqlError::new(
            state::NOT_ALLOWED,
            "permission denied to set role",
            "connect with your own name and token",
        )),
        _ => Ok(Spoken::Set(Some((name, value)))),
    }
}

fn show(words: &str) -> Result<Spoken, SqlError> {
    let name = match words {
        "transaction isolation level" => "transaction_isolation",
        "time zone" => "timezone",
        "session authorization" => "session_authorization",
        "all" => {
            return Err(SqlError::unsupported(
                "SHOW ALL: SELECT name, setting FROM pg_settings",
            ));
        }
        name => name,
    };
    let literal = name.replace('\'', "''");
    let sql = if name == "session_authorization" {
        "SELECT cs_person()".to_owned()
    } else {
        format!("SELECT cs_setting('{literal}')")
    };
    Ok(Spoken::Show(Plan {
        sql,
        columns: vec![OutColumn {
            name: name.to_owned(),
            ty: Type::Text,
        }],
        parameters: Vec::new(),
        uses: std::collections::BTreeMap::new(),
    }))
}
