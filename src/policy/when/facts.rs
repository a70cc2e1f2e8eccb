//! What a condition may ask for, and its value for one statement.
//! Never shows more of a peer than the verdict's memory is keyed by (`proxy/judgements.rs`). Read `check.rs` next.

use std::collections::HashMap;
use std::sync::Arc;

use cel::Value;
use chrono::DateTime;

use super::NoAnswer;
use super::kind::{Kind, Scalar};
use crate::clock::Timestamp;
use crate::identity::principal::Peer;
use crate::sql::action::{Action, Breadth};

/// What an expression can see.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub action: &'a Action,
    pub peer: &'a Peer,
    pub now: Timestamp,
    /// Statements in the message.
    pub statements: usize,
}

/// One name in an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    Class,
    Verb,
    Bounded,
    Tables,
    Behind,
    Columns,
    Functions,
    Database,
    DatabaseUser,
    Principal,
    Owner,
    Labels,
    Source,
    Now,
    Rows,
    Statements,
}

/// Facts that are lists or maps, whose length a statement decides.
pub const SIZED: [Fact; 5] = [
    Fact::Tables,
    Fact::Behind,
    Fact::Columns,
    Fact::Functions,
    Fact::Labels,
];

impl Fact {
    pub const ALL: [Self; 16] = [
        Self::Class,
        Self::Verb,
        Self::Bounded,
        Self::Tables,
        Self::Behind,
        Self::Columns,
        Self::Functions,
        Self::Database,
        Self::DatabaseUser,
        Self::Principal,
        Self::Owner,
        Self::Labels,
        Self::Source,
        Self::Now,
        Self::Rows,
        Self::Statements,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::Verb => "verb",
            Self::Bounded => "bounded",
            Self::Tables => "tables",
            Self::Behind => "behind",
            Self::Columns => "columns",
            Self::Functions => "functions",
            Self::Database => "database",
            Self::DatabaseUser => "database_user",
            Self::Principal => "principal",
            Self::Owner => "owner",
            Self::Labels => "labels",
            Self::Source => "source",
            Self::Now => "now",
            Self::Rows => "rows",
            Self::Statements => "statements",
        }
    }

    pub const fn kind(self) -> Kind {
        match self {
            Self::Class
            | Self::Verb
            | Self::Database
            | Self::DatabaseUser
            | Self::Principal
            | Self::Owner
            | Self::Source => Kind::One(Scalar::Text),
            Self::Bounded => Kind::One(Scalar::Bool),
            Self::Tables | Self::Behind | Self::Columns | Self::Functions => Kind::List(Some(Scalar::Text)),
            Self::Labels => Kind::Map(Some(Scalar::Text)),
            Self::Now => Kind::One(Scalar::Moment),
            Self::Rows => Kind::NumberOrNull,
            Self::Statements => Kind::One(Scalar::Number),
        }
    }

    /// Elements of a list or map; 0 for the others.
    pub fn length(self, facts: &Facts<'_>) -> usize {
        match self {
            Self::Tables => facts.action.tables.len(),
            Self::Behind => facts.action.behind.len(),
            Self::Columns => facts.action.columns.len(),
            Self::Functions => facts.action.functions.len(),
            Self::Labels => facts.peer.labels.len(),
            Self::Class
            | Self::Verb
            | Self::Bounded
            | Self::Database
            | Self::DatabaseUser
            | Self::Principal
            | Self::Owner
            | Self::Source
            | Self::Now
            | Self::Rows
            | Self::Statements => 0,
        }
    }

    pub fn value(self, facts: &Facts<'_>) -> Result<Value, NoAnswer> {
        let Facts {
            action,
            peer,
            now,
            statements,
        } = *facts;
        Ok(match self {
            Self::Class => text(action.class.as_str()),
            Self::Verb => text(&action.verb),
            Self::Bounded => Value::Bool(action.breadth == Breadth::Bounded),
            Self::Tables => list(action.tables.iter().map(ToString::to_string)),
            Self::Behind => list(action.behind.iter().map(ToString::to_string)),
            Self::Columns => list(action.columns.iter().cloned()),
            Self::Functions => list(action.functions.iter().map(ToString::to_string)),
            Self::Database => text(&peer.database),
            Self::DatabaseUser => text(&peer.database_user),
            Self::Principal => text(peer.principal.as_str()),
            Self::Owner => text(peer.owner.as_str()),
            Self::Labels => {
                let labels = peer.labels.iter();
                let labels = labels.map(|(name, value)| (name.clone(), value.clone()));
                labels.collect::<HashMap<String, String>>().into()
            }
            Self::Source => text(&peer.source.to_canonical().to_string()),
            Self::Now => {
                let moment = DateTime::from_timestamp_micros(now.micros());
                let moment = moment.ok_or(NoAnswer("the clock is beyond the calendar"))?;
                Value::Timestamp(moment.fixed_offset())
            }
            Self::Rows => match action.rows {
                Some(rows) => Value::Int(i64::try_from(rows).unwrap_or(i64::MAX)),
                None => Value::Null,
            },
            Self::Statements => Value::Int(i64::try_from(statements).unwrap_or(i64::MAX)),
        })
    }
}

fn text(text: &str) -> Value {
    Value::String(Arc::new(text.to_owned()))
}

fn list(words: impl Iterator<Item = String>) -> Value {
    Value::List(Arc::new(
        words.map(|word| Value::String(Arc::new(word))).collect(),
    ))
}
