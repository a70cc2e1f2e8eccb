//! Judging without a session: the proxy's own code, and what statements before have set by their words alone.
//! Never runs a statement. Read `../sql/parse.rs` and `../sql/mysql/mod.rs` next.

use std::collections::HashMap;
use std::sync::Arc;

use super::exit::CliError;
use super::live::{Live, Sight};
use super::live_mysql::MysqlSight;
use crate::clock::Timestamp;
use crate::identity::principal::Peer;
use crate::policy::{Outcome, RuleSet, Verdict, evaluate};
use crate::sql::action::{Action, Effect, Judgement};
use crate::sql::classify::postgres::setting::Followed;
use crate::sql::mysql::judge_mysql_and_follow;
use crate::sql::mysql_state::MysqlState;
use crate::sql::names::NamesThen;
use crate::sql::parse::{PARSER_STACK_BYTES, judge_and_follow};
use crate::sql::statement::{LexingState, PathTrust};

/// A statement, and those that ran before it on the same connection.
pub struct Judged {
    pub judgement: Judgement,
    before: Vec<Judgement>,
}

/// What the rules say of a judged statement.
pub struct Said {
    /// At least as strict as the verdict.
    pub outcome: Outcome,
    pub verdict: Verdict,
}

/// Judges a text as its dialect reads it; an error if there is no such dialect.
pub fn judge(dialect: &str, before: &[String], text: &[u8], live: Option<&Live>) -> Result<Judged, String> {
    let reading = match (dialect, live) {
        ("postgres", None) => Reading::Postgres(LexingState::default_postgres(), None),
        ("postgres", Some(Live::Postgres(live))) => {
            Reading::Postgres(LexingState::default_postgres(), Some(Sight::new(live.clone())))
        }
        ("mysql", None) => Reading::Mysql(MysqlState::default_mysql(), None),
        ("mariadb", None) => Reading::Mysql(MysqlState::default_mariadb(), None),
        ("mysql" | "mariadb", Some(Live::Mysql(live))) => {
            Reading::Mysql(live.state(), Some(MysqlSight::new(live.clone())))
        }
        ("postgres" | "mysql" | "mariadb", Some(_)) => {
            return Err(format!("the dialect `{dialect}` is not that of the upstream"));
        }
        (other, _) => {
            return Err(format!(
                "unknown dialect `{other}`: write postgres, mysql or mariadb"
            ));
        }
    };
    let mut session = Session::new(reading);
    let before = before.iter().map(|text| session.run(text.as_bytes())).collect();
    let judgement = session.run(text);
    Ok(Judged { judgement, before })
}

/// The readers are recursive; their own threads have the same stack.
pub fn on_a_reader_stack<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CliError> {
    let thread = std::thread::Builder::new()
        .stack_size(PARSER_STACK_BYTES)
        .spawn(work);
    let failed = || {
        CliError::error(
            "the judging thread could not be run",
            "free some memory, and tell us of the statement",
        )
    };
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) | Err(_) => Err(failed()),
    }
}

impl Judged {
    pub fn put_to(&self, rules: &RuleSet, peer: &Peer, now: Timestamp) -> Said {
        let mut verdict = evaluate(rules, &self.judgement, peer, now);
        let held = |judgement: &Judgement| evaluate(rules, judgement, peer, now).outcome() != Outcome::Allow;
        let held_before = self.before.iter().any(held);
        if held_before {
            let reason = "a statement of the session before it is held";
            verdict.reasons.push(reason.to_owned());
        }
        let least = match held_before {
            true => Outcome::Hold,
            false => Outcome::Allow,
        };
        Said {
            outcome: verdict.outcome().max(least),
            verdict,
        }
    }
}

/// Settings under which a connection's texts mean what they mean.
enum Reading {
    Postgres(LexingState, Option<Sight>),
    Mysql(MysqlState, Option<MysqlSight>),
}

impl Reading {
    /// Judges a text, and follows what it says of the settings for later ones.
    fn run(&mut self, text: &[u8], prepared: &HashMap<String, Arc<Action>>) -> Judgement {
        match self {
            Self::Postgres(lexing, sight) => {
                let names = NamesThen {
                    prepared: prepared.clone(),
                    catalog: sight.as_ref().map(Sight::catalog),
                };
                let (judgement, followed) = judge_and_follow(text, *lexing, &names);
                if let Some(sight) = sight {
                    sight.follow(&judgement, followed.search_path.as_ref());
                }
                follow(lexing, followed);
                judgement
            }
            Self::Mysql(state, sight) => {
                let names = NamesThen {
                    prepared: prepared.clone(),
                    catalog: sight.as_ref().map(MysqlSight::catalog),
                };
                let (judgement, followed) = judge_mysql_and_follow(text, state, &names);
                if let Some(sight) = sight {
                    sight.follow(&judgement, &followed);
                }
                *state = state.after(&followed);
                judgement
            }
        }
    }
}

/// A path that was ever not trusted stays so: a ROLLBACK may bring it back.
fn follow(lexing: &mut LexingState, followed: Followed) {
    if followed.path == Some(PathTrust::Shadowing) {
        lexing.path = PathTrust::Shadowing;
    }
    lexing.role = followed.role.unwrap_or(lexing.role);
    if followed.standard_conforming_strings == Some(false) {
        lexing.standard_conforming_strings = false;
    }
    lexing.encoding = followed.encoding.unwrap_or(lexing.encoding);
}

/// What a connection would remember, by the words of its statements alone.
pub struct Session {
    reading: Reading,
    names: HashMap<String, Arc<Action>>,
}

impl Session {
    /// A connection to PostgreSQL on which nothing has been set.
    pub fn postgres() -> Self {
        Self::new(Reading::Postgres(LexingState::default_postgres(), None))
    }

    /// A connection to MySQL or MariaDB; `reads_as` tells more.
    pub fn mysql() -> Self {
        Self::new(Reading::Mysql(MysqlState::default_mysql(), None))
    }

    /// From now on texts are read so: what the server said, not what statements have set by their words.
    pub fn reads_as(&mut self, state: MysqlState) {
        self.reading = Reading::Mysql(state, None);
    }

    fn new(reading: Reading) -> Self {
        Self {
            reading,
            names: HashMap::new(),
        }
    }

    pub fn run(&mut self, text: &[u8]) -> Judgement {
        let judgement = self.reading.run(text, &self.names);
        for effect in judgement.actions.iter().flat_map(|action| &action.effects) {
            match effect {
                Effect::Prepares { name, inner } => {
                    self.names.insert(name.clone(), Arc::clone(inner));
                }
                Effect::Deallocates { name: Some(name) } => {
                    self.names.remove(name);
                }
                Effect::Deallocates { name: None } | Effect::DiscardsAll => self.names.clear(),
                Effect::BeginsTransaction
                | Effect::EndsTransaction { .. }
                | Effect::RollsBackToSavepoint
                | Effect::ChangesMeaning
                | Effect::RunsCursor
                | Effect::ProxySetting { .. } => {}
            }
        }
        judgement
    }
}
