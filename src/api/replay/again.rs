//! Judges logged attempts again, as far as the log tells what they were judged by.
//! Never guesses: an attempt that does not come out as the class on record is told, not counted. Read `report.rs` next.
//!
//! Why the class is the test: it is what the proxy made of the statement by everything it knew then (settings of the
//! session, prepared names, the catalog, types of parameters), of which the log keeps only the statements. Where the same
//! class comes out again, the rules are asked the same question.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::session::Session;
use crate::clock::Timestamp;
use crate::identity::principal::{Peer, PersonName, PrincipalName, Profile, SessionId};
use crate::policy::{RuleSet, Verdict, evaluate};
use crate::sql::mysql_state::MysqlState;

/// Sessions whose settings and prepared names are kept in mind; beyond, the one that has been silent longest is forgotten.
const SESSIONS_MAX: usize = 10_000;

/// What the log shows in place of a password.
const MASK: &str = "********";

/// Why an attempt cannot be judged again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lacking {
    Text,
    Protocol,
    SessionStart,
    SameClass,
    Record,
}

impl Lacking {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "the text is not in the log as text",
            Self::Protocol => {
                "it is a command without a text, or the log does not tell what its text was read under"
            }
            Self::SessionStart => {
                "the start of the session is not in the log, and with it source, owner and labels"
            }
            Self::SameClass => {
                "another class comes out today: what the session had set, types of parameters or the catalog's answers \
                 are not in the log, or this version judges otherwise"
            }
            Self::Record => "the record lacks a field or has one of a newer version",
        }
    }
}

/// Sessions that are open at the place in the log that has been reached.
#[derive(Default)]
pub struct Sessions {
    open: HashMap<String, Followed>,
    /// The session that spoke longest ago comes first.
    by_turn: BTreeMap<u64, String>,
    turn: u64,
}

struct Followed {
    state: Session,
    is_mysql: bool,
    /// The record of its start; `None`: looked for and not found.
    start: Option<Value>,
    turn: u64,
}

impl Sessions {
    /// Whether the start of a session has been looked for.
    pub fn knows(&self, session: &str) -> bool {
        self.open.contains_key(session)
    }

    /// A session begins, or one that began earlier is met.
    pub fn begin(&mut self, session: &str, start: Option<Value>) {
        self.end(session);
        if self.open.len() == SESSIONS_MAX
            && let Some((_, silent)) = self.by_turn.pop_first()
        {
            self.open.remove(&silent);
        }
        let followed = Followed {
            state: Session::postgres(),
            is_mysql: false,
            start,
            turn: 0,
        };
        self.open.insert(session.to_owned(), followed);
        self.speaks(session);
    }

    pub fn end(&mut self, session: &str) {
        if let Some(followed) = self.open.remove(session) {
            self.by_turn.remove(&followed.turn);
        }
    }

    fn speaks(&mut self, session: &str) -> Option<&mut Followed> {
        let followed = self.open.get_mut(session)?;
        self.by_turn.remove(&followed.turn);
        self.turn += 1;
        followed.turn = self.turn;
        self.by_turn.insert(self.turn, session.to_owned());
        Some(followed)
    }

    /// What `rules` say of an attempt.
    pub fn judge(&mut self, attempt: &Value, rules: &RuleSet) -> Result<Verdict, Lacking> {
        let protocol = field(attempt, "protocol").unwrap_or_default();
        // Of MySQL every attempt has what its text was read under, but for commands that have no text.
        let read_as = match field(attempt, "read_as") {
            Some(told) => Some(MysqlState::parse(told).ok_or(Lacking::Record)?),
            None if ["simple", "extended"].contains(&protocol) => None,
            None => return Err(Lacking::Protocol),
        };
        let text = field(attempt, "text")
            .filter(|text| !text.starts_with("\\x"))
            .ok_or(Lacking::Text)?;
        let recorded = field(attempt, "class").ok_or(Lacking::Record)?;
        let time = field(attempt, "time")
            .and_then(Timestamp::parse)
            .ok_or(Lacking::Record)?;
        let session = field(attempt, "session").ok_or(Lacking::Record)?;
        let followed = self.speaks(session).ok_or(Lacking::SessionStart)?;
        if let Some(state) = read_as {
            if !followed.is_mysql {
                followed.is_mysql = true;
                followed.state = Session::mysql();
            }
            followed.state.reads_as(state);
        }
        let mut judgement = followed.state.run(text.as_bytes());
        if judgement.class().as_str() != recorded && text.contains(MASK) {
            // The mask stands where a literal stood, quotes and all.
            if let Some(state) = read_as {
                followed.state.reads_as(state);
            }
            judgement = followed.state.run(text.replace(MASK, "'masked'").as_bytes());
        }
        let start = followed.start.as_ref().ok_or(Lacking::SessionStart)?;
        let peer = peer(attempt, start).ok_or(Lacking::Record)?;
        match judgement.class().as_str() == recorded {
            true => Ok(evaluate(rules, &judgement, &peer, time)),
            false => Err(Lacking::SameClass),
        }
    }
}

pub fn field<'r>(record: &'r Value, name: &str) -> Option<&'r str> {
    record.get(name)?.as_str()
}

/// Who it was: what stands in the attempt, and the rest from the session's start.
fn peer(attempt: &Value, start: &Value) -> Option<Peer> {
    let labels = start.get("labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    Some(Peer {
        principal: PrincipalName::parse_any(field(attempt, "principal")?).ok()?,
        owner: PersonName::parse(field(start, "owner")?).ok()?,
        profile: match field(start, "profile") {
            Some("mcp") => Profile::Mcp,
            _standard => Profile::Standard,
        },
        labels: labels
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
        session: SessionId::parse(field(attempt, "session")?)?,
        source: field(start, "source")?.parse().ok()?,
        upstream: field(start, "upstream").unwrap_or_default().to_owned(),
        database: field(attempt, "database").unwrap_or_default().to_owned(),
        database_user: field(attempt, "database_user").unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_that_is_silent_longest_is_forgotten_first() {
        let mut sessions = Sessions::default();
        for number in 0..SESSIONS_MAX {
            sessions.begin(&number.to_string(), None);
        }
        let spoke = sessions.speaks("0").is_some();
        sessions.begin("one more", None);
        assert!(spoke && sessions.knows("0") && sessions.knows("one more"));
        assert!(!sessions.knows("1"), "it has been silent since it began");
        sessions.end("0");
        sessions.begin("2", None);
        assert!(!sessions.knows("0") && sessions.knows("2") && sessions.knows("3"));
        assert_eq!(
            (sessions.open.len(), sessions.by_turn.len()),
            (SESSIONS_MAX - 1, SESSIONS_MAX - 1)
        );
    }
}
