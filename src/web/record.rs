//! One record of the log whole: its statement, its fields, what stands around it, and how far it is proved.
//! Never says more of a proof than the tree does. Read `journal/tree/proof.rs` for what a proof holds.

use askama::Template;
use axum::extract::{Path, Query as Params, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::moments::Moment;
use super::page::{Shell, Trouble, Visitor, encoded, shown};
use super::record_list::{RecordShown, ask};
use super::sessions::look;
use super::shown::StatementShown;
use crate::api::Rooms;
use crate::api::impact::grouped;
use crate::api::problem::{Kind, Problem};
use crate::api::proofs::proof_of;
use crate::audit::{Record, RecordId};
use crate::clock::Timestamp;
use crate::identity::directory::Scope;
use crate::journal::tree::proof::leaf_under;
use crate::journal::{Around, TreeStatus};
use crate::render::{Reading, visible_line};

/// Records on each side.
const AROUND: usize = 5;

/// A name and a value of one record.
struct FieldShown {
    name: String,
    value: String,
    /// Where the value leads to.
    link: String,
}

/// How far a record is beyond change.
struct ProofShown {
    /// Its leaf; empty: no checkpoint covers it yet.
    leaf: String,
    records: String,
    at: Option<Moment>,
    /// What is proved by whom, or what is missing.
    anchored: &'static str,
    is_anchored: bool,
}

impl ProofShown {
    fn of(leaf: Option<u64>, tree: &TreeStatus, now: Timestamp) -> Self {
        let (size, at) = tree.signed.map_or((0, None), |(size, at)| (size, Some(at)));
        let is_anchored = leaf.is_some_and(|leaf| leaf < tree.anchored);
        Self {
            leaf: leaf.map(grouped).unwrap_or_default(),
            records: grouped(size),
            at: at.map(|at| Moment::of(at, now)),
            anchored: match (is_anchored, tree.anchors.is_empty()) {
                (true, _) => "every anchor holds a checkpoint over it",
                (false, true) => {
                    "no anchor is configured: whoever holds the key and can write the data folder could sign it anew"
                }
                (false, false) => "not every anchor has taken a checkpoint over it yet",
            },
            is_anchored,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
pub struct RecordQuery {
    /// `session`: the records around are those of its session alone.
    #[serde(default)]
    around: String,
}

#[derive(Template)]
#[template(path = "record.html")]
struct RecordPage {
    shell: Shell,
    id: String,
    kind: String,
    at: Moment,
    session: String,
    statement: Option<StatementShown>,
    fields: Vec<FieldShown>,
    result: Vec<FieldShown>,
    proof: ProofShown,
    around: Vec<RecordShown>,
    is_of_session: bool,
}

pub async fn page(
    visitor: Visitor,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
    Params(asked): Params<RecordQuery>,
) -> Result<Response, Trouble> {
    visitor.caller.needs(Scope::Log)?;
    let record_id = RecordId::parse(&id).ok_or_else(|| Problem::not_found("record", &id))?;
    look(&visitor, &rooms, format!("show {record_id}")).await?;
    let is_of_session = asked.around == "session";
    let whose = match is_of_session {
        true => Around::Session,
        false => Around::Everybody,
    };
    let tree = rooms.journal.tree();
    let size = tree.signed.map_or(0, |(size, _)| size);
    let read = ask(&rooms, move |reader| {
        let Some(record) = reader.show(record_id)? else {
            return Ok(None);
        };
        let around = reader.around(record_id, AROUND, whose)?;
        Ok(Some((record, around, leaf_under(reader.dir(), record_id, size)?)))
    });
    let (record, around, leaf) = read.await?.ok_or_else(|| Problem::not_found("record", &id))?;
    let now = Timestamp::now();
    let reading = Reading::of(record.fields.read_as.as_deref(), None, None);
    let text = record.fields.text.as_deref();
    Ok(shown(&RecordPage {
        shell: Shell::of(&visitor, &rooms, "log", format!("Record {record_id}")).await?,
        id: record_id.to_string(),
        kind: record.kind.as_str().replace('_', " "),
        at: Moment::of(record.time, now),
        session: record.fields.session.map(|id| id.to_string()).unwrap_or_default(),
        statement: text.map(|text| StatementShown::of_text(text, &reading)),
        result: record.fields.result.as_deref().map(fields).unwrap_or_default(),
        fields: fields(&record),
        proof: ProofShown::of(leaf, &tree, now),
        around: around.iter().map(|record| RecordShown::of(record, now)).collect(),
        is_of_session,
    }))
}

/// The proof as a file, which `countersign log verify --proof` checks without the log.
pub async fn prove(
    visitor: Visitor,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
) -> Result<Response, Trouble> {
    visitor.caller.needs(Scope::Log)?;
    let record = RecordId::parse(&id).ok_or_else(|| Problem::not_found("record", &id))?;
    look(&visitor, &rooms, format!("proof {record}")).await?;
    let proof = proof_of(&rooms, record).await?.ok_or_else(|| {
        Problem::new(
            Kind::NotFound,
            format!("record {record} is under no checkpoint yet"),
            "ask again in a minute: a checkpoint is signed every 60 s",
        )
    })?;
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (
            CONTENT_DISPOSITION,
            format!("attachment; filename=\"{record}.tlog-proof\""),
        ),
    ];
    Ok((headers, proof).into_response())
}

/// Every field as the API tells it, but for the statement and the result, which are shown apart.
fn fields(record: &Record) -> Vec<FieldShown> {
    let told = serde_json::to_value(record).unwrap_or_default();
    let told = told.as_object().cloned().unwrap_or_default();
    let own = ["text", "text_base64", "result", "id", "kind"];
    told.into_iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(name, value)| {
            let value = match value {
                serde_json::Value::String(text) => visible_line(&text),
                other => visible_line(&other.to_string()),
            };
            FieldShown {
                link: link(&name, &value),
                name: name.replace('_', " "),
                value,
            }
        })
        .collect()
}

/// Where a value leads to: its own page, or all records that say it.
fn link(name: &str, value: &str) -> String {
    match name {
        "session" => format!("/sessions/{}", encoded(value)),
        "request" | "decided_in" => format!("/r/{}", encoded(value)),
        "principal" | "class" | "verdict" | "rule" | "approver" | "by" | "database" | "fingerprint"
        | "grant" | "source" => format!("/log?{name}={}", encoded(value)),
        _other => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_called_anchored_only_below_what_every_anchor_has_taken() {
        let at = Timestamp::from_micros(1_000_000);
        let tree = |anchored, anchors: &[&str]| TreeStatus {
            records: 20,
            signed: Some((10, at)),
            anchored,
            anchors: anchors
                .iter()
                .map(|name| crate::journal::AnchorStatus::of(name, anchored))
                .collect(),
            pruned: 0,
            oldest: None,
            retention: None,
        };
        let shown = |leaf, tree| ProofShown::of(leaf, &tree, at);
        assert!(shown(Some(4), tree(5, &["a"])).is_anchored);
        assert!(!shown(Some(5), tree(5, &["a"])).is_anchored);
        assert!(!shown(None, tree(10, &["a"])).is_anchored);
        assert!(shown(Some(5), tree(0, &[])).anchored.starts_with("no anchor"));
        assert_eq!(shown(None, tree(0, &[])).leaf, "");
    }
}
