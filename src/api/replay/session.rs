//! What a connection would remember, by the words of its statements alone: prepared names and settings.
//! Never asks a server. Read `again.rs` next.

use std::collections::HashMap;
use std::sync::Arc;

use crate::sql::action::{Action, Effect, Judgement};
use crate::sql::classify::postgres::setting::Followed;
use crate::sql::mysql::judge_mysql_and_follow;
use crate::sql::mysql_state::MysqlState;
use crate::sql::names::NamesThen;
use crate::sql::parse::judge_and_follow;
use crate::sql::statement::{LexingState, PathTrust};

/// Names that PREPARE has given, and what they stand for.
#[derive(Clone, Debug, Default)]
pub struct Prepared(HashMap<String, Arc<Action>>);

impl Prepared {
    pub fn names(&self) -> HashMap<String, Arc<Action>> {
        self.0.clone()
    }

    /// What a statement does to them.
    pub fn note(&mut self, judgement: &Judgement) {
        for effect in judgement.actions.iter().flat_map(|action| &action.effects) {
            match effect {
                Effect::Prepares { name, inner } => {
                    self.0.insert(name.clone(), Arc::clone(inner));
                }
                Effect::Deallocates { name: Some(name) } => {
                    self.0.remove(name);
                }
                Effect::Deallocates { name: None } | Effect::DiscardsAll => self.0.clear(),
                Effect::BeginsTransaction
                | Effect::EndsTransaction { .. }
                | Effect::RollsBackToSavepoint
                | Effect::ChangesMeaning
                | Effect::ChangesValues
                | Effect::RunsCursor
                | Effect::ProxySetting { .. } => {}
            }
        }
    }
}

/// A path that was ever not trusted stays so: a ROLLBACK may bring it back.
pub fn follow(lexing: &mut LexingState, followed: Followed) {
    if followed.path == Some(PathTrust::Shadowing) {
        lexing.path = PathTrust::Shadowing;
    }
    lexing.role = followed.role.unwrap_or(lexing.role);
    if followed.standard_conforming_strings == Some(false) {
        lexing.standard_conforming_strings = false;
    }
    lexing.encoding = followed.encoding.unwrap_or(lexing.encoding);
}

/// Under which settings texts are read.
enum Reading {
    Postgres(LexingState),
    Mysql(MysqlState),
}

/// One connection, without a server's catalog.
pub struct Session {
    reading: Reading,
    prepared: Prepared,
}

impl Session {
    /// A connection to PostgreSQL on which nothing has been set.
    pub fn postgres() -> Self {
        Self::new(Reading::Postgres(LexingState::default_postgres()))
    }

    /// A connection to MySQL or MariaDB; `reads_as` tells more.
    pub fn mysql() -> Self {
        Self::new(Reading::Mysql(MysqlState::default_mysql()))
    }

    fn new(reading: Reading) -> Self {
        Self {
            reading,
            prepared: Prepared::default(),
        }
    }

    /// From now on texts are read so: what the server said, not what statements have set by their words.
    pub fn reads_as(&mut self, state: MysqlState) {
        self.reading = Reading::Mysql(state);
    }

    /// Judges a text, and follows what it says of names and settings for later ones.
    pub fn run(&mut self, text: &[u8]) -> Judgement {
        let names = NamesThen {
            prepared: self.prepared.names(),
            catalog: None,
        };
        let judgement = match &mut self.reading {
            Reading::Postgres(lexing) => {
                let (judgement, followed) = judge_and_follow(text, *lexing, &names);
                follow(lexing, followed);
                judgement
            }
            Reading::Mysql(state) => {
                let (judgement, followed) = judge_mysql_and_follow(text, state, &names);
                *state = state.after(&followed);
                judgement
            }
        };
        self.prepared.note(&judgement);
        judgement
    }
}
