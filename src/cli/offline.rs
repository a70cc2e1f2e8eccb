//! Judging without a session: the proxy's own code, and what statements before have set by their words alone.
//! Never runs a statement. Read `../sql/parse.rs` and `../sql/mysql/mod.rs` next.

use super::exit::CliError;
use super::live::{Live, Sight};
use super::live_mysql::MysqlSight;
use crate::api::replay::session::{Prepared, follow};
use crate::clock::Timestamp;
use crate::identity::principal::Peer;
use crate::policy::{Outcome, RuleSet, Verdict, evaluate};
use crate::sql::action::Judgement;
use crate::sql::mysql::judge_mysql_and_follow;
use crate::sql::mysql_state::MysqlState;
use crate::sql::names::NamesThen;
use crate::sql::parse::{PARSER_STACK_BYTES, judge_and_follow};
use crate::sql::statement::LexingState;

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
    fn run(&mut self, text: &[u8], prepared: &Prepared) -> Judgement {
        match self {
            Self::Postgres(lexing, sight) => {
                let names = NamesThen {
                    prepared: prepared.names(),
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
                    prepared: prepared.names(),
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

/// What a connection would remember, by the words of its statements alone.
struct Session {
    reading: Reading,
    prepared: Prepared,
}

impl Session {
    fn new(reading: Reading) -> Self {
        Self {
            reading,
            prepared: Prepared::default(),
        }
    }

    fn run(&mut self, text: &[u8]) -> Judgement {
        let judgement = self.reading.run(text, &self.prepared);
        self.prepared.note(&judgement);
        judgement
    }
}
