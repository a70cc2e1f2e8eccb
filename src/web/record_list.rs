//! Records of the log as rows of a list. Never reads the log without the look being recorded before: who calls does so.
//! Read `log.rs` next.

use serde::Serialize;

use super::moments::Moment;
use super::shown::{PieceShown, summary_of};
use crate::api::Rooms;
use crate::api::problem::{Kind as ProblemKind, Problem};
use crate::api::trail::gone;
use crate::audit::Record;
use crate::clock::Timestamp;
use crate::journal::{JournalError, LogFilter, Page, Reader};
use crate::render::{Layout, Reading, Statement, visible_line};

/// Longer statements have no marks in a list. Units: bytes.
const MARKED_MAX: usize = 16 << 10;

/// One record in a list.
#[derive(Serialize)]
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
    if let (Some(gone), Some(retention)) = (fields.pruned, &fields.retention) {
        words.push(format!(
            "{gone} records are gone, under retention {}",
            visible_line(retention)
        ));
    }
    words.retain(|word| !word.is_empty());
    words.join(" · ")
}

/// Reads the disk apart from the thread that serves.
pub async fn read(rooms: &Rooms, filter: LogFilter) -> Result<Page, Problem> {
    ask(rooms, move |reader| reader.query(&filter)).await
}

/// Asks the log apart from the thread that serves.
pub async fn ask<T: Send + 'static>(
    rooms: &Rooms,
    read: impl FnOnce(&Reader) -> Result<T, JournalError> + Send + 'static,
) -> Result<T, Problem> {
    let reader = rooms.reader.clone();
    match tokio::task::spawn_blocking(move || read(&reader)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error @ JournalError::Cursor { .. })) => Err(Problem::new(
            ProblemKind::Unacceptable,
            error.to_string(),
            error.next_step(),
        )),
        Ok(Err(error @ JournalError::Pruned { .. })) => Err(gone(&error)),
        Ok(Err(error)) => Err(Problem::unavailable(&error)),
        Err(error) => Err(Problem::unavailable(&error)),
    }
}
