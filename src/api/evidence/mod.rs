//! Evidence for an audit: one period of the log as a bundle of files that proves itself.
//! Never leaves out a record of the period and never says more than its records do: every table in a bundle is made from
//! them, and made again by whoever checks it. Read `bundle.rs` next (what is in it), then `stage.rs`, `build.rs`, `check.rs`.
//!
//! Why all records of the period, not the privileged ones alone: that a list is complete can only be told from what it was
//! chosen of. Reads are in it without their statements, which are named by their SHA-256.

mod build;
mod bundle;
pub mod check;
mod readme;
mod stage;
mod tables;

use std::io::{self, Write};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use utoipa::IntoParams;

use super::Rooms;
use super::login::Caller;
use super::problem::{Kind, Problem, ProblemDocument};
use super::read::{Params, moment, unacceptable};
use super::trail::record_look;
use crate::clock::Timestamp;
use crate::identity::directory::Scope;
use crate::journal::JournalError;
use crate::journal::tree::proof::ProofError;
use crate::journal::tree::span::SpanError;

pub use build::{Plan, file_name};
pub use bundle::Manifest;

/// Bundles that are made at the same time: each reads a whole period of the log and sorts its statements on disk.
const BUNDLES_MAX: usize = 1;
static MAKING: Semaphore = Semaphore::const_new(BUNDLES_MAX);

/// Bytes that are handed to the client at once, and how many such pieces wait for one that reads slowly.
const PIECE_BYTES: usize = 64 << 10;
const PIECES_MAX: usize = 4;
/// How long a client may take for a piece: nobody else gets a bundle meanwhile.
const PIECE_WAIT: Duration = Duration::from_secs(60);

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error("the period ends before it begins")]
    Period,
    #[error(transparent)]
    Span(#[from] SpanError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error("a record of the log cannot be read: {0}")]
    Record(#[from] crate::audit::Malformed),
    #[error("the records cannot be sorted: {0}")]
    Stage(#[from] rusqlite::Error),
    #[error("the bundle cannot be written: {0}")]
    Write(#[from] io::Error),
    #[error("the bundle cannot be packed: {0}")]
    Pack(#[from] zip::result::ZipError),
}

impl EvidenceError {
    /// One imperative sentence for the person who reads the error.
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Period => "give --from a moment before that of --to",
            Self::Span(error) => error.next_step(),
            Self::Journal(error) => error.next_step(),
            Self::Proof(error) => error.next_step(),
            Self::Record(_) => "run `log verify`, which names the first record that was changed",
            Self::Stage(_) | Self::Write(_) | Self::Pack(_) => {
                "check the folder and the free space, also that for temporary files"
            }
        }
    }
}

/// Which period.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EvidenceQuery {
    /// From this moment on: RFC 3339, a day (`2026-10-01`, midnight UTC), or how long ago (`30d`).
    pub from: String,
    /// Up to this moment, without it.
    pub to: String,
}

impl EvidenceQuery {
    /// The moments that it means.
    pub fn period(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), Problem> {
        let from = moment("from", &self.from, now)?;
        let to = moment("to", &self.to, now)?;
        if from < to {
            Ok((from, to))
        } else {
            Err(unacceptable("to", &self.to, "write a moment behind `from`"))
        }
    }
}

/// One period of the log as a bundle for an audit, a ZIP archive: all privileged statements and who approved them,
/// exceptions, rules, people, readers of the log, the records with what proves them, and how to check all of it. Recorded
/// first. One bundle is made at a time.
#[utoipa::path(
    get,
    path = "/log/evidence",
    tag = "log",
    params(EvidenceQuery),
    responses(
        (status = 200, description = "the bundle", body = String, content_type = "application/zip"),
        (status = 404, description = "nothing is signed yet", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "another bundle is being made", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn evidence(
    caller: Caller,
    State(rooms): State<Rooms>,
    Params(query): Params<EvidenceQuery>,
) -> Result<Response, Problem> {
    caller.needs(Scope::Log)?;
    let (from, to) = query.period(Timestamp::now())?;
    let Ok(turn) = MAKING.try_acquire() else {
        return Err(Problem::new(
            Kind::Conflict,
            "another evidence bundle is being made",
            "try again when it is done",
        ));
    };
    record_look(&caller, &rooms, format!("evidence from={from}&to={to}")).await?;
    let (reader, key) = (rooms.reader.clone(), rooms.journal.public_key_file());
    let planned = tokio::task::spawn_blocking(move || Plan::make(reader, &key, from, to)).await;
    let plan = match planned {
        Ok(Ok(plan)) => plan,
        Ok(Err(EvidenceError::Span(SpanError::Unsigned))) => {
            return Err(Problem::not_found("checkpoint", "last"));
        }
        Ok(Err(error @ EvidenceError::Span(SpanError::Pruned { .. }))) => {
            return Err(Problem::new(Kind::NotFound, error.to_string(), error.next_step()));
        }
        Ok(Err(error)) => return Err(Problem::unavailable(&error)),
        Err(error) => return Err(Problem::unavailable(&error)),
    };
    let name = plan.file_name();
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES_MAX);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let pieces = Pieces::to(sender.clone(), runtime);
        if let Err(error) = plan.write(pieces, |_, _| {}) {
            tracing::error!(%error, "an evidence bundle ends early");
            // Nobody listens any more if this fails; an archive without its end is none.
            let _gone = sender.try_send(Err(io::Error::other("the bundle cannot be made")));
        }
    });
    let pieces = stream::unfold(receiver, |mut receiver| async {
        Some((receiver.recv().await?, receiver))
    });
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    let disposition = format!("attachment; filename=\"{name}\"");
    headers.insert(
        CONTENT_DISPOSITION,
        HeaderValue::from_str(&disposition).expect("the name is made of digits and letters"),
    );
    Ok(response)
}

/// Gathers bytes into pieces for a client.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    runtime: Handle,
    waiting: Vec<u8>,
}

impl Pieces {
    const fn to(sender: mpsc::Sender<io::Result<Bytes>>, runtime: Handle) -> Self {
        Self {
            sender,
            runtime,
            waiting: Vec::new(),
        }
    }

    fn send(&mut self) -> io::Result<()> {
        let piece = Bytes::from(std::mem::take(&mut self.waiting));
        let sender = &self.sender;
        let taken = async { tokio::time::timeout(PIECE_WAIT, sender.send(Ok(piece))).await };
        match self.runtime.block_on(taken) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone")),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client takes no more",
            )),
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE_BYTES {
            self.send()?;
        }
        Ok(bytes.len())
    }

    /// What is left; the archive is flushed once, at its end.
    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            Ok(())
        } else {
            self.send()
        }
    }
}
