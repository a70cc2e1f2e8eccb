//! Reads what plain EXPLAIN answers, and the text that asks for it. Never runs anything, and never asks with ANALYZE.
//! Read `../proxy/postgres/impact/mod.rs` for who asks.

use std::sync::Arc;

use serde::Deserialize;

use crate::catalog::impact::Written;
use crate::sql::action::{Action, Class, FunctionName, Judgement, TableName};
use crate::sql::classify::lists::{self, Known};
use crate::sql::lex::postgres::{Kind, scan};
use crate::sql::names::{Catalog, Concern, ForeignType, KnownNames, NotKnown, Relation, Routine};
use crate::sql::statement::LexingState;
use crate::sql::{PARSE_BYTES_MAX, judge_postgres};

/// What stands before a statement to have it planned and not run.
const EXPLAIN: &[u8] = b"EXPLAIN (FORMAT JSON) ";

/// An EXPLAIN that may be sent: nothing in it runs anybody's code when it is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explainable {
    pub text: Vec<u8>,
    /// It is what EXPLAIN is run as, judged as any other text.
    pub judgement: Arc<Judgement>,
}

/// The EXPLAIN of a message, or why there can be none. The very text that would be sent is what is judged, with the
/// names as the session sees them.
///
/// Why it is judged again and not by the message's own judgement: triggers and cascades make a DELETE more than a write,
/// and are not reached by planning; rules and defaults are.
pub fn explainable(
    message: &[u8],
    judged: &Judgement,
    lexing: LexingState,
    catalog: Option<&dyn Catalog>,
) -> Result<Explainable, String> {
    let [action] = judged.actions.as_slice() else {
        return Err("it is several statements".to_owned());
    };
    let statement = explained_part(message, action)?;
    let Some(catalog) = catalog else {
        return Err("no catalog is configured, so what planning it would run is not known".to_owned());
    };
    if EXPLAIN.len() + statement.len() > PARSE_BYTES_MAX {
        return Err("it is too long".to_owned());
    }
    let text = [EXPLAIN, statement].concat();
    let judgement = judge_postgres(&text, lexing, &Planned { catalog });
    let [explain] = judgement.actions.as_slice() else {
        return Err("it cannot be explained".to_owned());
    };
    if explain.verb != "explain" {
        return Err("it cannot be explained".to_owned());
    }
    if let Some(function) = explain.functions.iter().find(|name| !is_harmless(name, catalog)) {
        return Err(format!("planning it could run `{function}`"));
    }
    if !explain.parse_is_safe || explain.class > class_of(action) {
        let why = explain
            .reasons
            .last()
            .map_or("it is not fully understood", String::as_str);
        return Err(format!("planning it could run code: {why}"));
    }
    Ok(Explainable {
        text,
        judgement: Arc::new(judgement),
    })
}

/// The part of a message that EXPLAIN can stand before: the statement, or the query of a COPY.
fn explained_part<'m>(message: &'m [u8], action: &Action) -> Result<&'m [u8], String> {
    let statement = message.get(action.span.clone()).unwrap_or_default();
    match action.verb.as_str() {
        "select"
        | "insert"
        | "update"
        | "delete"
        | "merge"
        | "declare cursor"
        | "create table as"
        | "create materialized view" => Ok(statement),
        "copy to" => copied_query(statement)
            .ok_or_else(|| "it copies a whole table: see how many rows that has".to_owned()),
        "execute" => Err("it runs a statement that was prepared on its own connection".to_owned()),
        verb => Err(format!("{verb} has no plan")),
    }
}

/// What stands between COPY's outer parentheses. Whatever this cuts wrongly, the judgement of the whole finds out.
fn copied_query(statement: &[u8]) -> Option<&[u8]> {
    let text = std::str::from_utf8(statement).ok()?;
    let scan = scan(text, true);
    let mut depth = 0_u32;
    let mut start = None;
    for token in &scan.tokens {
        if token.kind == Kind::Open && token.text(text) == "(" {
            if depth == 0 {
                start.get_or_insert(token.range().end);
            }
            depth += 1;
        } else if token.kind == Kind::Close && token.text(text) == ")" {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return statement.get(start?..token.range().start);
            }
        }
    }
    None
}

/// What the statement is by its kind alone: what its own words say besides would be code.
fn class_of(action: &Action) -> Class {
    match action.verb.as_str() {
        "create table as" | "create materialized view" => Class::Ddl,
        _ => Class::Write,
    }
}

/// Called by a list alone: the walk lets more functions through, because a reviewer sees the statement before it runs.
fn is_harmless(name: &FunctionName, catalog: &dyn Catalog) -> bool {
    let built_in = match name.schema.as_deref() {
        None | Some("pg_catalog") => lists::function(&name.name),
        Some("information_schema") if lists::is_information_function(&name.name) => Known::Harmless,
        Some(_) => Known::Absent,
    };
    let own = catalog.functions(name);
    let is_harmless = own
        .iter()
        .all(|routine| routine.concern.as_ref().is_none_or(Concern::is_listed));
    match built_in {
        Known::Harmless => is_harmless,
        Known::Absent => is_harmless && !own.is_empty(),
        Known::Held(_, _) | Known::Other => false,
    }
}

/// The session's names, with what planning a write runs in place of what the write itself would.
pub(super) struct Planned<'c> {
    pub catalog: &'c dyn Catalog,
}

impl KnownNames for Planned<'_> {
    fn prepared(&self, _: &str) -> Option<Arc<Action>> {
        None
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        Some(self)
    }
}

impl Catalog for Planned<'_> {
    fn relation(&self, name: &TableName) -> Result<Arc<Relation>, NotKnown> {
        let known = self.catalog.relation(name)?;
        // A statement that reads what the catalog has not seen yet is as open as one that reads what is gone; a reviewer
        // can do without the estimate.
        if known.name.is_none() {
            return Err(NotKnown("the catalog does not have it".to_owned()));
        }
        Ok(Arc::new(Relation {
            inserting: known.planning.clone(),
            updating: known.planning.clone(),
            deleting: known.planning.clone(),
            ..(*known).clone()
        }))
    }

    fn functions(&self, name: &FunctionName) -> Vec<Arc<Routine>> {
        self.catalog.functions(name)
    }

    fn operators(&self, schema: Option<&str>, name: &str) -> Vec<Arc<Routine>> {
        self.catalog.operators(schema, name)
    }

    fn foreign_type(&self, schema: Option<&str>, name: &str) -> Result<Option<Arc<ForeignType>>, NotKnown> {
        self.catalog.foreign_type(schema, name)
    }

    fn hazard(&self) -> Option<Concern> {
        self.catalog.hazard()
    }

    fn shadowing(&self, search_path: &str) -> Option<Concern> {
        self.catalog.shadowing(search_path)
    }
}

/// What a plan says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Written or, if nothing is, returned.
    pub rows: u64,
    pub writes: Vec<Written>,
}

#[derive(Deserialize)]
struct Explained {
    #[serde(rename = "Plan")]
    plan: Node,
}

#[derive(Deserialize)]
struct Node {
    #[serde(rename = "Node Type")]
    kind: String,
    #[serde(rename = "Operation")]
    operation: Option<String>,
    #[serde(rename = "Schema")]
    schema: Option<String>,
    #[serde(rename = "Relation Name")]
    relation: Option<String>,
    #[serde(rename = "Parent Relationship")]
    relationship: Option<String>,
    #[serde(rename = "Plan Rows")]
    rows: f64,
    #[serde(rename = "Plans", default)]
    plans: Vec<Node>,
}

/// Reads `EXPLAIN (FORMAT JSON)`. Source: PostgreSQL docs, sql-explain.html
pub fn estimate(json: &str) -> Result<Estimate, String> {
    let explained: Vec<Explained> =
        serde_json::from_str(json).map_err(|_| "the plan cannot be read".to_owned())?;
    let [explained] = explained.as_slice() else {
        return Err("it has no plan of its own".to_owned());
    };
    let mut writes = Vec::new();
    gather(&explained.plan, &mut writes);
    let written = writes
        .iter()
        .fold(0_u64, |sum, written| sum.saturating_add(written.rows));
    let rows = if writes.is_empty() {
        whole(explained.plan.rows)
    } else {
        written
    };
    Ok(Estimate { rows, writes })
}

/// Every node that writes, with the rows that its own input has. serde_json bounds the depth.
fn gather(node: &Node, writes: &mut Vec<Written>) {
    if node.kind == "ModifyTable" {
        let is_input = |plan: &&Node| matches!(plan.relationship.as_deref(), Some("Outer" | "Member"));
        let rows = node.plans.iter().filter(is_input).map(|plan| whole(plan.rows));
        let name = node.relation.clone().unwrap_or_default();
        writes.push(Written {
            operation: node.operation.clone().unwrap_or_default().to_lowercase(),
            table: match &node.schema {
                Some(schema) => format!("{schema}.{name}"),
                None => name,
            },
            rows: rows.fold(0, u64::saturating_add),
        });
    }
    node.plans.iter().for_each(|plan| gather(plan, writes));
}

/// Saturates, as casts of floats do.
fn whole(rows: f64) -> u64 {
    rows.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_writes_counts_what_it_writes() {
        let plan = r#"[{"Plan": {"Node Type": "Aggregate", "Plan Rows": 1, "Plans": [
            {"Node Type": "ModifyTable", "Operation": "Delete", "Relation Name": "orders", "Plan Rows": 120,
             "Parent Relationship": "InitPlan", "Plans": [
               {"Node Type": "Seq Scan", "Relation Name": "orders", "Plan Rows": 120, "Parent Relationship": "Outer"},
               {"Node Type": "Seq Scan", "Relation Name": "x", "Plan Rows": 9, "Parent Relationship": "InitPlan"}]}]}}]"#;
        let found = estimate(plan).expect("a plan");
        assert_eq!(found.rows, 120);
        assert_eq!(found.writes.len(), 1);
        assert_eq!(
            (found.writes[0].operation.as_str(), found.writes[0].rows),
            ("delete", 120)
        );
    }

    #[test]
    fn what_is_no_plan_is_no_estimate() {
        for text in ["", "[]", r#"["Utility Statement"]"#, "{}", r#"[{"Plan": {}}]"#] {
            assert!(estimate(text).is_err(), "{text}");
        }
        let deep = format!(
            "{}{}",
            r#"[{"Plan": {"Plans": ["#.repeat(5_000),
            "]}}]".repeat(5_000)
        );
        assert!(estimate(&deep).is_err());
    }

    #[test]
    fn the_query_of_a_copy_is_what_stands_in_its_parentheses() {
        let part = |text: &'static str| {
            copied_query(text.as_bytes()).map(|part| std::str::from_utf8(part).expect("text"))
        };
        assert_eq!(
            part("COPY (SELECT ')' FROM t WHERE (a) = 1) TO STDOUT (FORMAT csv)"),
            Some("SELECT ')' FROM t WHERE (a) = 1")
        );
        assert_eq!(part("COPY ((SELECT 1"), None);
    }
}
