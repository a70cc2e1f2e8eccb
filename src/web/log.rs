//! The log as a page: a query, its records, one record whole. Never shows a record without recording the look first.
//! Read `api/trail.rs` for the words of a query.

use askama::Template;
use axum::extract::{Path, Query, RawQuery, State};
use axum::response::Response;
use serde::Deserialize;

use super::moments::Moment;
use super::page::{Shell, Trouble, Visitor, shown};
use super::sessions::look;
use super::shown::{PieceShown, StatementShown, summary_of};
use crate::api::Rooms;
use crate::api::problem::{Kind as ProblemKind, Problem};
use crate::api::trail::LogQuery;
use crate::audit::{Kind, Record, RecordId};
use crate::clock::Timestamp;
use crate::identity::directory::Scope;
use crate::journal::{JournalError, LogFilter, Page};
use crate::render::{Layout, Reading, Statement, visible_line};

/// Records on one page.
const RECORDS_MAX: usize = 100;
/// Longer statements have no marks in a list. Units: bytes.
const MARKED_MAX: usize = 16 << 10;

/// One record in a list.
pub struct RecordShown {
    pub id: String,
    pub at: Moment,
    pub kind: String,
    pub verdict: String,
    pub class: String,
    pub principal: String,
    pub request: String,
    pub pieces: Vec<PieceShown>,
    pub is_cut: bool,
    /// Of records that are not statements.
    pub words: String,
}

impl RecordShown {
    pub fn of(record: &Record, now: Timestamp) -> Self {
        let fields = &record.fields;
        let text = |text: &Option<String>| visible_line(text.as_deref().unwrap_or_default());
        let (pieces, is_cut) = match &fields.text {
            Some(bytes) => {
                let reading = match bytes.len() > MARKED_MAX {
                    true => Reading::Unknown,
                    false => Reading::of(fields.read_as.as_deref(), None, None),
                };
                summary_of(&Statement::of(bytes, &reading, Layout::AsReceived, &[]))
            }
            None => (Vec::new(), false),
        };
        Self {
            id: record.id.map(|id| id.to_string()).unwrap_or_default(),
            at: Moment::of(record.time, now),
            kind: record.kind.as_str().replace('_', " "),
            verdict: text(&fields.verdict),
            class: text(&fields.class),
            principal: text(&fields.principal),
            request: text(&fields.request),
            pieces,
            is_cut,
            words: words(record),
        }
    }
}

/// What a record without a statement says, in one line.
fn words(record: &Record) -> String {
    let fields = &record.fields;
    let mut words: Vec<String> = [
        &fields.event,
        &fields.decision,
        &fields.outcome,
        &fields.tag,
        &fields.sqlstate,
        &fields.change,
        &fields.name,
        &fields.approver,
        &fields.by,
        &fields.file,
        &fields.query,
        &fields.reason,
        &fields.message,
        &fields.detail,
    ]
    .into_iter()
    .flatten()
    .map(|text| visible_line(text))
    .collect();
    if let Some(rows) = fields.rows {
        words.push(format!("{rows} rows"));
    }
    words.retain(|word| !word.is_empty());
    words.join(" · ")
}

/// Reads the disk apart from the thread that serves.
pub async fn read(rooms: &Rooms, filter: LogFilter) -> Result<Page, Problem> {
    let reader = rooms.reader.clone();
    let page = tokio::task::spawn_blocking(move || reader.query(&filter)).await;
    match page {
        Ok(Ok(page)) => Ok(page),
        Ok(Err(error @ JournalError::Cursor { .. })) => Err(Problem::new(
            ProblemKind::Unacceptable,
            error.to_string(),
            error.next_step(),
        )),
        Ok(Err(error)) => Err(Problem::unavailable(&error)),
        Err(error) => Err(Problem::unavailable(&error)),
    }
}

/// The fields of the form; each empty one means all.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Asked {
    #[serde(default)]
    since: String,
    #[serde(default)]
    principal: String,
    #[serde(default)]
    class: String,
    #[serde(default)]
    verdict: String,
    #[serde(default)]
    table: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    request: String,
    #[serde(default)]
    approver: String,
    #[serde(default)]
    cursor: String,
}

impl Asked {
    fn query(&self) -> LogQuery {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        LogQuery {
            since: given(&self.since),
            principal: given(&self.principal),
            class: given(&self.class),
            verdict: given(&self.verdict),
            table: given(&self.table),
            kind: given(&self.kind),
            request: given(&self.request),
            approver: given(&self.approver),
            cursor: given(&self.cursor),
            limit: Some(RECORDS_MAX),
            ..LogQuery::default()
        }
    }

    /// The query of the page, without its cursor.
    fn without_cursor(&self) -> String {
        let fields = [
            ("since", &self.since),
            ("principal", &self.principal),
            ("class", &self.class),
            ("verdict", &self.verdict),
            ("table", &self.table),
            ("kind", &self.kind),
            ("request", &self.request),
            ("approver", &self.approver),
        ];
        let given = fields.iter().filter(|(_, value)| !value.is_empty());
        let pairs = given.map(|(name, value)| format!("{name}={}", super::page::encoded(value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

#[derive(Template)]
#[template(path = "log.html")]
struct LogPage {
    shell: Shell,
    records: Vec<RecordShown>,
    asked: Asked,
    /// The way to older records; empty: there are none.
    next: String,
    classes: &'static [&'static str],
    kinds: Vec<&'static str>,
}

pub async fn page(
    visitor: Visitor,
    State(rooms): State<Rooms>,
    RawQuery(raw): RawQuery,
    Query(asked): Query<Asked>,
) -> Result<Response, Trouble> {
    visitor.caller.needs(Scope::Log)?;
    let now = Timestamp::now();
    let filter = asked.query().filter(now)?;
    look(&visitor, &rooms, format!("query {}", raw.unwrap_or_default())).await?;
    let page = read(&rooms, filter).await?;
    let next = page.next_cursor.map(|cursor| {
        format!(
            "/log?{}&cursor={}",
            asked.without_cursor(),
            super::page::encoded(&cursor)
        )
    });
    let numberless = [Kind::Text, Kind::Values];
    let kinds = Kind::ALL.iter().filter(|kind| !numberless.contains(kind));
    Ok(shown(&LogPage {
        shell: Shell::of(&visitor, &rooms, "log", "Log").await?,
        records: page
            .records
            .iter()
            .map(|record| RecordShown::of(record, now))
            .collect(),
        asked,
        next: next.unwrap_or_default(),
        classes: &crate::api::card::CLASS_WORDS,
        kinds: kinds.map(|kind| kind.as_str()).collect(),
    }))
}

/// A name and a value of one record.
struct FieldShown {
    name: String,
    value: String,
    /// Where the value leads to.
    link: String,
}

#[derive(Template)]
#[template(path = "record.html")]
struct RecordPage {
    shell: Shell,
    id: String,
    kind: String,
    at: Moment,
    statement: Option<StatementShown>,
    fields: Vec<FieldShown>,
    result: Vec<FieldShown>,
}

pub async fn record(
    visitor: Visitor,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
) -> Result<Response, Trouble> {
    visitor.caller.needs(Scope::Log)?;
    let record_id = RecordId::parse(&id).ok_or_else(|| Problem::not_found("record", &id))?;
    look(&visitor, &rooms, format!("show {record_id}")).await?;
    let reader = rooms.reader.clone();
    let record = tokio::task::spawn_blocking(move || reader.show(record_id)).await;
    let record = match record {
        Ok(Ok(record)) => record.ok_or_else(|| Problem::not_found("record", &id))?,
        Ok(Err(error)) => return Err(Problem::unavailable(&error).into()),
        Err(error) => return Err(Problem::unavailable(&error).into()),
    };
    let reading = Reading::of(record.fields.read_as.as_deref(), None, None);
    let text = record.fields.text.as_deref();
    Ok(shown(&RecordPage {
        shell: Shell::of(&visitor, &rooms, "log", format!("Record {record_id}")).await?,
        id: record_id.to_string(),
        kind: record.kind.as_str().replace('_', " "),
        at: Moment::of(record.time, Timestamp::now()),
        statement: text.map(|text| StatementShown::of_text(text, &reading)),
        result: record.fields.result.as_deref().map(fields).unwrap_or_default(),
        fields: fields(&record),
    }))
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
            let link = match name.as_str() {
                "session" => format!("/sessions/{value}"),
                "request" | "decided_in" => format!("/r/{value}"),
                "principal" => format!("/log?principal={}", super::page::encoded(&value)),
                _other => String::new(),
            };
            FieldShown {
                name: name.replace('_', " "),
                value,
                link,
            }
        })
        .collect()
}
