//! The log as files for other tools: CSV, NDJSON, JSON and OCSF, of any length. Never holds more than some records in
//! memory, and never ends a list as if it were whole when the log could not be read to its end.
//! Read `csv.rs` and `ocsf.rs` next.

mod csv;
mod ocsf;

use std::io;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use tokio::sync::mpsc;

use crate::audit::Record;
use crate::journal::{JournalError, LogFilter, Reader};

pub use csv::harmless;
pub use ocsf::OCSF_VERSION;

/// Records that are turned into bytes at once.
const CHUNK_RECORDS: usize = 200;
/// Chunks on their way to a client that reads slowly; then reading waits for it.
const CHUNKS_MAX: usize = 4;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One list.
    Json,
    /// A record a line.
    Ndjson,
    /// A row a record, the columns of `csv.rs`.
    Csv,
    /// An event a line: Datastore Activity of the Open Cybersecurity Schema Framework.
    Ocsf,
}

impl Format {
    pub const WORDS: [&'static str; 4] = ["csv", "ndjson", "json", "ocsf"];

    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "csv" => Some(Self::Csv),
            "ndjson" => Some(Self::Ndjson),
            "json" => Some(Self::Json),
            "ocsf" => Some(Self::Ocsf),
            _other => None,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::Json => "json",
            Self::Ocsf => "ocsf",
        }
    }

    /// The first of the formats that a client accepts; `None`: a page as ever.
    pub fn of_accept(headers: &HeaderMap) -> Option<Self> {
        let accepted = headers.get(ACCEPT)?.to_str().ok()?;
        let mut kinds = accepted
            .split(',')
            .map(|kind| kind.split(';').next().unwrap_or_default().trim());
        kinds.find_map(|kind| match kind {
            "text/csv" => Some(Some(Self::Csv)),
            "application/x-ndjson" => Some(Some(Self::Ndjson)),
            "application/json" => Some(None),
            _other => None,
        })?
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Ndjson | Self::Ocsf => "application/x-ndjson",
            Self::Json => "application/json",
        }
    }
}

/// Gives every record that matches to `take` in chunks of bytes, with how many records have been written so far, until
/// it says that nobody wants more.
pub fn write(
    reader: &Reader,
    filter: &LogFilter,
    format: Format,
    mut take: impl FnMut(Vec<u8>, u64) -> bool,
) -> Result<u64, JournalError> {
    let mut encoder = Encoder {
        format,
        sessions: ocsf::Sessions::of(reader),
        written: 0,
    };
    let (mut waiting, mut failed, mut goes_on) = (Vec::new(), None, take(encoder.begin(), 0));
    let read = reader.each(
        filter,
        || false,
        |record| {
            waiting.push(record);
            if waiting.len() < CHUNK_RECORDS {
                return goes_on;
            }
            match encoder.records(&waiting) {
                Ok(bytes) => goes_on = goes_on && take(bytes, encoder.written),
                Err(error) => (goes_on, failed) = (false, Some(error)),
            }
            waiting.clear();
            goes_on
        },
    );
    read?;
    if let Some(error) = failed {
        return Err(error);
    }
    if goes_on {
        let mut bytes = encoder.records(&waiting)?;
        bytes.extend(encoder.end());
        take(bytes, encoder.written);
    }
    Ok(encoder.written)
}

/// Turns records into bytes.
struct Encoder<'r> {
    format: Format,
    sessions: ocsf::Sessions<'r>,
    written: u64,
}

impl Encoder<'_> {
    fn begin(&self) -> Vec<u8> {
        match self.format {
            Format::Csv => csv::head(),
            Format::Json => b"[".to_vec(),
            Format::Ndjson | Format::Ocsf => Vec::new(),
        }
    }

    fn records(&mut self, records: &[Record]) -> Result<Vec<u8>, JournalError> {
        let mut bytes = Vec::new();
        let before = self.written;
        self.written += records.len() as u64;
        match self.format {
            Format::Csv => return Ok(csv::rows(records)),
            Format::Ndjson => records.iter().for_each(|record| {
                put_json(record, &mut bytes);
                bytes.push(b'\n');
            }),
            Format::Json => records.iter().enumerate().for_each(|(place, record)| {
                let is_first = before == 0 && place == 0;
                bytes.extend_from_slice(if is_first { b"\n" } else { b",\n" });
                put_json(record, &mut bytes);
            }),
            Format::Ocsf => {
                for record in records {
                    if let Some(event) = self.sessions.event(record)? {
                        put_json(&event, &mut bytes);
                        bytes.push(b'\n');
                    }
                }
            }
        }
        Ok(bytes)
    }

    fn end(&self) -> Vec<u8> {
        match self.format {
            Format::Json => b"\n]\n".to_vec(),
            Format::Csv | Format::Ndjson | Format::Ocsf => Vec::new(),
        }
    }
}

fn put_json(value: &impl serde::Serialize, bytes: &mut Vec<u8>) {
    serde_json::to_writer(bytes, value).expect("a record is a map with text keys, and memory takes it");
}

/// The answer that streams every record that matches. A log that cannot be read to its end breaks the connection off.
pub fn answer(reader: Reader, filter: LogFilter, format: Format) -> Response {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(CHUNKS_MAX);
    tokio::task::spawn_blocking(move || {
        let take = |bytes: Vec<u8>, _| sender.blocking_send(Ok(Bytes::from(bytes))).is_ok();
        if let Err(error) = write(&reader, &filter, format, take) {
            tracing::error!(%error, "an export of the log ends early");
            // Nobody listens any more if this fails.
            let _gone = sender.blocking_send(Err(io::Error::other("the log cannot be read to its end")));
        }
    });
    let chunks = stream::unfold(receiver, |mut receiver| async {
        Some((receiver.recv().await?, receiver))
    });
    let mut response = Body::from_stream(chunks).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    let file = match format {
        Format::Csv => "attachment; filename=\"countersign-log.csv\"",
        Format::Json => "attachment; filename=\"countersign-log.json\"",
        Format::Ndjson => "attachment; filename=\"countersign-log.ndjson\"",
        Format::Ocsf => "attachment; filename=\"countersign-log.ocsf.ndjson\"",
    };
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static(file));
    response
}
