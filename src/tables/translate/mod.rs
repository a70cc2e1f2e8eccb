//! A query in PostgreSQL's words -> one for the engine, with the types of its columns and what it needs of the log.
//! Never passes on what it does not know: each node is written anew, or the query is refused by name.
//! Read `query.rs` (clauses), `expression.rs`, `call.rs` (functions), then `../engine.rs`, which runs what comes out.
//!
//! Why it is typed: clients are told each column's type before the query runs, and a literal means what its
//! neighbour's type makes of it; the engine itself knows only numbers and texts.

mod call;
mod expression;
mod query;
mod scope;

use std::collections::{BTreeMap, BTreeSet};

use sqlparser::ast::Query;

use self::scope::{Frame, Piece};
use super::error::{SqlError, state};
use super::schema::{Narrows, Table};
use super::types::Type;

/// Parameters of one statement. Units: how many.
pub const PARAMETERS_MAX: usize = 1_000;

/// A query, ready to run as often as it is bound.
#[derive(Clone, Debug)]
pub struct Plan {
    pub sql: String,
    pub columns: Vec<OutColumn>,
    pub parameters: Vec<Type>,
    pub uses: BTreeMap<String, Use>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutColumn {
    pub name: String,
    pub ty: Type,
}

/// What a query needs of one table.
#[derive(Clone, Debug)]
pub struct Use {
    pub table: &'static Table,
    pub columns: BTreeSet<usize>,
    /// For each place that names the table, what every row must meet that matters there.
    pub mentions: Vec<Vec<Narrowing>>,
}

/// A condition that a record must meet: `value` is an expression without columns.
#[derive(Clone, Debug)]
pub struct Narrowing {
    pub what: Narrows,
    pub comparison: Comparison,
    pub value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    /// At or after.
    From,
    /// At or before.
    To,
}

/// Translates one query. `given`: types of parameters that the client names, 0 where it names none.
pub fn translate(query: &Query, given: &[u32]) -> Result<Plan, SqlError> {
    let mut translator = Translator {
        parameters: given.iter().map(|oid| known(*oid)).collect(),
        frames: Vec::new(),
        ctes: Vec::new(),
        uses: BTreeMap::new(),
        columns_touched: 0,
    };
    let (sql, mut columns) = translator.query(query)?;
    for column in &mut columns {
        if column.ty == Type::Unknown {
            column.ty = Type::Text;
        }
    }
    let decided = |ty: Option<Type>| ty.unwrap_or(Type::Text);
    Ok(Plan {
        sql,
        columns,
        parameters: translator.parameters.into_iter().map(decided).collect(),
        uses: translator.uses,
    })
}

fn known(oid: u32) -> Option<Type> {
    let ty = Type::of_oid(oid);
    (ty != Type::Unknown).then_some(ty)
}

/// Where a translation stands.
struct Translator {
    parameters: Vec<Option<Type>>,
    /// Queries around the one that is read, outermost first.
    frames: Vec<Frame>,
    ctes: Vec<(String, Vec<OutColumn>)>,
    uses: BTreeMap<String, Use>,
    /// Counts columns and sub-queries, to know an expression that has none.
    columns_touched: usize,
}

impl Translator {
    fn frame(&mut self) -> &mut Frame {
        self.frames
            .last_mut()
            .expect("an expression is read inside a query")
    }

    fn parameter(&mut self, written: &str) -> Result<Piece, SqlError> {
        let number = written
            .strip_prefix('$')
            .and_then(|digits| digits.parse::<usize>().ok());
        let number = number
            .filter(|number| (1..=PARAMETERS_MAX).contains(number))
            .ok_or_else(|| {
                SqlError::new(
                    state::NO_PARAMETER,
                    format!("there is no parameter {}", super::types::short(written)),
                    format!("number parameters $1 to ${PARAMETERS_MAX}"),
                )
            })?;
        if self.parameters.len() < number {
            self.parameters.resize(number, None);
        }
        Ok(Piece {
            parameter: Some(number - 1),
            ..Piece::new(
                format!("?{number}"),
                self.parameters[number - 1].unwrap_or(Type::Unknown),
            )
        })
    }
}
