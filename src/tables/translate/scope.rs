//! What names mean where a query stands: relations in sight, their columns, and pieces of the translation with types.
//! Never reads a tree. Read `query.rs` next.

use std::collections::BTreeMap;

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

use super::{OutColumn, Translator, Use};
use crate::tables::error::{SqlError, state};
use crate::tables::moment::Span;
use crate::tables::types::{Type, short};

/// A translated expression.
#[derive(Clone, Debug)]
pub struct Piece {
    pub sql: String,
    pub ty: Type,
    /// The text of a literal whose place decides what it means.
    pub literal: Option<String>,
    /// The parameter that it is, counted from 0.
    pub parameter: Option<usize>,
    /// The interval that it writes out.
    pub span: Option<Span>,
}

impl Piece {
    pub fn new(sql: impl Into<String>, ty: Type) -> Self {
        Self {
            sql: sql.into(),
            ty,
            literal: None,
            parameter: None,
            span: None,
        }
    }

    pub fn null() -> Self {
        Self::new("NULL", Type::Unknown)
    }
}

/// One query's FROM, and how far its grouping is known.
#[derive(Debug, Default)]
pub struct Frame {
    pub relations: Vec<Relation>,
    /// Columns that USING has made one.
    pub merged: Vec<String>,
    /// What GROUP BY lists, translated.
    pub groups: Vec<String>,
    /// Columns used outside aggregates and groups.
    pub ungrouped: Vec<String>,
    pub has_aggregate: bool,
    pub windows: Vec<(String, sqlparser::ast::WindowSpec)>,
}

/// Something in FROM.
#[derive(Debug)]
pub struct Relation {
    pub alias: String,
    pub columns: Vec<Seen>,
    /// The table, and which of its mentions this is.
    pub table: Option<(String, usize)>,
}

/// A column in sight.
#[derive(Clone, Debug)]
pub struct Seen {
    pub name: String,
    pub sql: String,
    pub ty: Type,
}

impl Frame {
    /// The number of the table that a row is of, where that is plain.
    fn oid_of(&self, qualifier: Option<&str>, uses: &BTreeMap<String, Use>) -> Option<u32> {
        let mut named = self
            .relations
            .iter()
            .filter(|relation| qualifier.is_none_or(|wanted| wanted == relation.alias));
        let (Some(relation), None) = (named.next(), named.next()) else {
            return None;
        };
        let (table, _) = relation.table.as_ref()?;
        Some(uses.get(table)?.table.oid)
    }
}

impl Relation {
    /// A relation whose columns are found by their names.
    pub fn named(alias: &str, columns: &[OutColumn]) -> Self {
        let seen = |column: &OutColumn| Seen {
            name: column.name.clone(),
            sql: format!("{}.{}", quoted(alias), quoted(&column.name)),
            ty: column.ty,
        };
        Self {
            alias: alias.to_owned(),
            columns: columns.iter().map(seen).collect(),
            table: None,
        }
    }
}

/// A name as it is compared: folded unless it is quoted.
pub fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The parts of a dotted name.
pub fn parts(name: &ObjectName) -> Result<Vec<String>, SqlError> {
    let part = |part: &ObjectNamePart| match part {
        ObjectNamePart::Identifier(ident) => Ok(folded(ident)),
        ObjectNamePart::Function(_) => Err(SqlError::unsupported("a computed name")),
    };
    name.0.iter().map(part).collect()
}

/// A name as the engine reads it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as the engine reads it.
pub fn text_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Translator {
    /// The column of this name: of the innermost query that has one.
    pub(super) fn column(&mut self, qualifier: Option<&str>, name: &str) -> Result<Piece, SqlError> {
        self.columns_touched += 1;
        for frame in self.frames.iter_mut().rev() {
            let mut found = Vec::new();
            for relation in &frame.relations {
                if qualifier.is_some_and(|wanted| wanted != relation.alias) {
                    continue;
                }
                let columns = relation.columns.iter().enumerate();
                found.extend(
                    columns
                        .filter(|(_, column)| column.name == name)
                        .map(|(at, column)| (relation.table.clone(), at, column.clone())),
                );
            }
            if found.is_empty()
                && name != "tableoid"
                && qualifier.is_some_and(|wanted| frame.relations.iter().any(|r| r.alias == wanted))
            {
                break;
            }
            if found.len() > 1 && qualifier.is_none() && !frame.merged.iter().any(|merged| merged == name) {
                return Err(SqlError::new(
                    state::AMBIGUOUS,
                    format!("column reference \"{}\" is ambiguous", short(name)),
                    "put the table's name in front of it",
                ));
            }
            let Some((table, at, column)) = found.into_iter().next() else {
                // Every table has this one, though no list of columns shows it.
                if name == "tableoid"
                    && let Some(oid) = frame.oid_of(qualifier, &self.uses)
                {
                    return Ok(Piece::new(oid.to_string(), Type::Oid));
                }
                continue;
            };
            if let Some((table, _)) = table
                && let Some(used) = self.uses.get_mut(&table)
            {
                used.columns.insert(at);
            }
            frame.ungrouped.push(column.sql.clone());
            return Ok(Piece::new(column.sql, column.ty));
        }
        let whole = qualifier.map_or_else(|| name.to_owned(), |table| format!("{table}.{name}"));
        Err(SqlError::new(
            state::NO_COLUMN,
            format!("column \"{}\" does not exist", short(&whole)),
            "\\d TABLE lists a table's columns; texts stand in single quotes",
        ))
    }

    /// All columns in sight, or those of one relation.
    pub(super) fn every_column(&mut self, qualifier: Option<&str>) -> Result<Vec<Seen>, SqlError> {
        self.columns_touched += 1;
        let frame = self
            .frames
            .last_mut()
            .expect("a list of columns is read inside a query");
        let (mut columns, mut merged) = (Vec::new(), Vec::new());
        let mut found = false;
        for relation in &frame.relations {
            if qualifier.is_some_and(|wanted| wanted != relation.alias) {
                continue;
            }
            found = true;
            if let Some((table, _)) = &relation.table
                && let Some(used) = self.uses.get_mut(table)
            {
                used.columns.extend(0..relation.columns.len());
            }
            for column in &relation.columns {
                if qualifier.is_none() && frame.merged.contains(&column.name) {
                    if merged.contains(&column.name) {
                        continue;
                    }
                    merged.push(column.name.clone());
                }
                frame.ungrouped.push(column.sql.clone());
                columns.push(column.clone());
            }
        }
        if found {
            return Ok(columns);
        }
        Err(match qualifier {
            Some(name) => SqlError::new(
                state::NO_TABLE,
                format!("missing FROM-clause entry for table \"{}\"", short(name)),
                "name the table in FROM",
            ),
            None => SqlError::new(
                state::SYNTAX,
                "SELECT * with no tables specified is not valid",
                "add FROM",
            ),
        })
    }
}
