//! What proves the log: its last checkpoint, and one record's proof. Each look is itself recorded.
//! Never proves what is not signed yet. Read `journal/tree/proof.rs` for the formats.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};

use super::Rooms;
use super::login::Caller;
use super::problem::{Problem, ProblemDocument};
use super::read::Named;
use super::trail::{gone, record_look};
use crate::audit::RecordId;
use crate::identity::directory::Scope;
use crate::journal::JournalError;
use crate::journal::tree::proof::{self, ProofError};

/// Signed notes and proofs are made of lines.
const TEXT: &str = "text/plain; charset=utf-8";

/// The last signed checkpoint: how many records there are, and the root over them.
#[utoipa::path(
    get,
    path = "/log/checkpoint",
    tag = "log",
    responses(
        (status = 200, description = "a signed note (C2SP tlog-checkpoint)", body = String, content_type = "text/plain"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn checkpoint(caller: Caller, State(rooms): State<Rooms>) -> Result<Response, Problem> {
    caller.needs(Scope::Log)?;
    record_look(&caller, &rooms, "checkpoint".to_owned()).await?;
    let reader = rooms.reader.clone();
    let read = tokio::task::spawn_blocking(move || proof::last_checkpoint(reader.dir())).await;
    match read {
        Ok(Ok(Some(note))) => Ok(([(CONTENT_TYPE, TEXT)], note).into_response()),
        Ok(Ok(None)) => Err(Problem::not_found("checkpoint", "last")),
        Ok(Err(error)) => Err(Problem::unavailable(&error)),
        Err(error) => Err(Problem::unavailable(&error)),
    }
}

/// A record, its statement, and the hashes up to the root of the last checkpoint.
#[utoipa::path(
    get,
    path = "/log/{id}/proof",
    tag = "log",
    params(("id" = String, Path, description = "lane and number of the record, such as 0.42")),
    responses(
        (status = 200, description = "a proof (C2SP tlog-proof)", body = String, content_type = "text/plain"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn prove(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(id): Named,
) -> Result<Response, Problem> {
    caller.needs(Scope::Log)?;
    let record = RecordId::parse(&id).ok_or_else(|| Problem::not_found("record", &id))?;
    record_look(&caller, &rooms, format!("proof {record}")).await?;
    let proof = proof_of(&rooms, record).await?;
    let proof = proof.ok_or_else(|| Problem::not_found("signed record", &id))?;
    Ok(([(CONTENT_TYPE, TEXT)], proof).into_response())
}

/// The proof of one record; `None`: there is no such record, or no checkpoint covers it yet. Who asks has recorded it.
pub async fn proof_of(rooms: &Rooms, record: RecordId) -> Result<Option<String>, Problem> {
    let (reader, key) = (rooms.reader.clone(), rooms.journal.public_key_file());
    let made = tokio::task::spawn_blocking(move || proof::prove(&reader, &key, record)).await;
    match made {
        Ok(Ok(proof)) => Ok(Some(proof)),
        Ok(Err(ProofError::Unknown(_) | ProofError::Unsigned(_))) => Ok(None),
        Ok(Err(ProofError::Journal(error @ JournalError::Pruned { .. }))) => Err(gone(&error)),
        Ok(Err(error)) => Err(Problem::unavailable(&error)),
        Err(error) => Err(Problem::unavailable(&error)),
    }
}
