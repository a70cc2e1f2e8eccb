//! One record with all that proves it was signed: written out of the files, checked without them.
//! Never proves that a record is not there, and never what came after the checkpoint it names. Read `anchor.rs` next.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra BASE64           the record, see below
//! index N                its leaf
//! BASE64                 the hashes from the leaf upwards, a line each
//!
//! …                      the checkpoint, a signed note
//! ```
//! Extra: the length of the record's canonical bytes u32, big endian; those bytes; of an attempt its statement's text.
//! Source: C2SP tlog-proof.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::files::{CHECKPOINTS_FILE, Folder, Levels, RUNS_FILE, Run, Runs, last_note};
use super::key::read_public;
use crate::audit::checkpoint::{Checkpoint, Unsound, VerifyingKey};
use crate::audit::merkle::{Hash, PROOF_HASHES_MAX, hash_of_range, inclusion_ranges, is_included, leaf_hash};
use crate::audit::{Record, RecordId};
use crate::journal::{JournalError, Reader};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
const EXTRA_BEGINS: &str = "extra ";
const INDEX_BEGINS: &str = "index ";
const LENGTH_BYTES: usize = 4;

/// Why there is no proof, or none that holds.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error("there is no record `{0}`")]
    Unknown(RecordId),
    #[error("record `{0}` is not under a checkpoint yet")]
    Unsigned(RecordId),
    #[error("record `{0}` is not the one that was signed")]
    Changed(RecordId),
    #[error("this is no proof: {0}")]
    Form(&'static str),
    #[error("the proof's checkpoint does not count: {0}")]
    Checkpoint(#[from] Unsound),
    #[error("the record is not the one under the checkpoint")]
    Wrong,
    #[error("the statement is not the one that the record names")]
    Text,
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl ProofError {
    /// One imperative sentence for the person who reads the error.
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "take the id from `log query`, such as 0.42",
            Self::Unsigned(_) => "try again in a minute: checkpoints are signed while `serve` runs",
            Self::Changed(_) => "run `log verify`, which says what else was changed",
            Self::Form(_) => "name a file that `log proof` wrote",
            Self::Checkpoint(_) => "name the public key of the log that the proof is from, with --key",
            Self::Wrong | Self::Text => "ask for the proof again, and find out who changed this one",
            Self::Journal(error) => error.next_step(),
        }
    }
}

/// What a proof that holds proves.
#[derive(Clone, Debug)]
pub struct Proven {
    /// Its statement with it, if it is an attempt.
    pub record: Record,
    pub leaf: u64,
    pub checkpoint: Checkpoint,
}

/// The last checkpoint of a journal, a signed note. `None`: nothing is signed yet.
pub fn last_checkpoint(journal: &Path) -> Result<Option<String>, JournalError> {
    let path = Folder::of(journal).file(CHECKPOINTS_FILE);
    let last = last_note(&path).map_err(|cause| JournalError::read(&path, cause))?;
    Ok(last.map(|(note, _)| note))
}

/// Writes the proof of a record under the last checkpoint, and holds it against the public key before.
pub fn prove(reader: &Reader, key_file: &Path, id: RecordId) -> Result<String, ProofError> {
    let key = read_public(key_file)?;
    let note = last_checkpoint(reader.dir())?.ok_or(ProofError::Unsigned(id))?;
    Prover::under(reader, key, note)?.prove(id)
}

/// Writes proofs of records under one checkpoint.
pub struct Prover<'r> {
    reader: &'r Reader,
    key: VerifyingKey,
    note: String,
    size: u64,
    folder: Folder,
    runs: Vec<Run>,
    levels: Levels,
}

impl<'r> Prover<'r> {
    /// `note` is a checkpoint of this log.
    pub fn under(reader: &'r Reader, key: VerifyingKey, note: String) -> Result<Self, ProofError> {
        let folder = Folder::of(reader.dir());
        let path = folder.file(RUNS_FILE);
        let runs = Runs::read(&path).map_err(|cause| JournalError::read(&path, cause))?;
        Ok(Self {
            size: key.verify(&note)?.checkpoint.size,
            levels: Levels::of(&folder),
            runs: runs.runs,
            reader,
            key,
            note,
            folder,
        })
    }

    /// Where a record stands in the tree, if it is under the checkpoint.
    pub fn leaf_of(&self, id: RecordId) -> Option<u64> {
        let holds =
            |run: &&Run| run.lane == id.lane && (run.first..run.first + run.count).contains(&id.number);
        let run = self.runs.iter().find(holds);
        let leaf = run.map(|run| run.start + (id.number - run.first));
        leaf.filter(|leaf| *leaf < self.size)
    }

    pub fn prove(&mut self, id: RecordId) -> Result<String, ProofError> {
        let (bytes, text) = self.reader.bytes_of(id)?.ok_or(ProofError::Unknown(id))?;
        let leaf = self.leaf_of(id).ok_or(ProofError::Unsigned(id))?;
        let levels = &mut self.levels;
        let hashes: io::Result<Vec<Hash>> = inclusion_ranges(leaf, self.size)
            .into_iter()
            .map(|range| hash_of_range(range, |subtree| levels.hash_of(subtree)))
            .collect();
        let hashes = hashes.map_err(|cause| JournalError::read(self.folder.path(), cause))?;
        let mut extra = u32::try_from(bytes.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes()
            .to_vec();
        extra.extend_from_slice(&bytes);
        extra.extend_from_slice(&text.unwrap_or_default());
        let mut proof = format!(
            "{FIRST_LINE}\n{EXTRA_BEGINS}{}\n{INDEX_BEGINS}{leaf}\n",
            STANDARD.encode(extra)
        );
        for hash in hashes {
            proof.push_str(&STANDARD.encode(hash));
            proof.push('\n');
        }
        proof.push('\n');
        proof.push_str(&self.note);
        match check(&proof, &self.key) {
            Ok(_) => Ok(proof),
            Err(ProofError::Wrong | ProofError::Text) => Err(ProofError::Changed(id)),
            Err(other) => Err(other),
        }
    }
}

/// Where a record stands in the tree of a journal's first `size` leaves; `None`: it is not among them.
pub fn leaf_under(journal: &Path, id: RecordId, size: u64) -> Result<Option<u64>, JournalError> {
    if size == 0 {
        return Ok(None);
    }
    let path = Folder::of(journal).file(RUNS_FILE);
    let runs = Runs::read(&path).map_err(|cause| JournalError::read(&path, cause))?;
    Ok(leaf_in(&runs.runs, id).filter(|leaf| *leaf < size))
}

/// The leaf of a record, by the order of the leaves.
pub fn leaf_in(runs: &[Run], id: RecordId) -> Option<u64> {
    let holds = |run: &&Run| run.lane == id.lane && (run.first..run.first + run.count).contains(&id.number);
    let run = runs.iter().find(holds)?;
    Some(run.start + (id.number - run.first))
}

/// Checks a proof by the log's public key, and gives what it proves.
pub fn check(proof: &str, key: &VerifyingKey) -> Result<Proven, ProofError> {
    let (head, note) = proof
        .split_once("\n\n")
        .ok_or(ProofError::Form("no empty line stands before its checkpoint"))?;
    let mut lines = head.split('\n');
    if lines.next() != Some(FIRST_LINE) {
        return Err(ProofError::Form("it does not begin as one"));
    }
    let extra = lines.next().and_then(|line| line.strip_prefix(EXTRA_BEGINS));
    let extra = extra.and_then(|extra| STANDARD.decode(extra).ok());
    let extra = extra.ok_or(ProofError::Form("its second line is not `extra` and base64"))?;
    let index = lines.next().and_then(|line| line.strip_prefix(INDEX_BEGINS));
    let leaf: u64 = index
        .and_then(|index| index.parse().ok())
        .ok_or(ProofError::Form("its third line is not `index` and a number"))?;
    let hashes: Vec<Hash> = lines
        .take(PROOF_HASHES_MAX + 1)
        .map(|line| STANDARD.decode(line).ok()?.try_into().ok())
        .collect::<Option<_>>()
        .ok_or(ProofError::Form("a hash is not 32 bytes in base64"))?;
    let (bytes, text) = extra
        .split_first_chunk::<LENGTH_BYTES>()
        .and_then(|(length, rest)| rest.split_at_checked(u32::from_be_bytes(*length) as usize))
        .ok_or(ProofError::Form("its record is cut short"))?;
    let checkpoint = key.verify(note)?.checkpoint;
    if !is_included(
        leaf,
        checkpoint.size,
        &leaf_hash(bytes),
        &hashes,
        &checkpoint.root,
    ) {
        return Err(ProofError::Wrong);
    }
    let record = Record::decode(bytes).map_err(|_| ProofError::Form("a newer program wrote its record"))?;
    let mut proven = Proven {
        record,
        leaf,
        checkpoint,
    };
    let fields = &mut proven.record.fields;
    match fields.text_sha256 {
        Some(hash) if hash == <Hash>::from(Sha256::digest(text)) => fields.text = Some(text.to_vec()),
        None if text.is_empty() => {}
        Some(_) | None => return Err(ProofError::Text),
    }
    Ok(proven)
}

/// Checks a proof's file by a public key's file.
pub fn check_files(proof: &Path, key: &Path) -> Result<Proven, ProofError> {
    let text = std::fs::read_to_string(proof).map_err(|cause| JournalError::read(proof, cause))?;
    check(&text, &read_public(key)?)
}

/// The public key of a data folder.
pub fn public_key_in(folder: &Path) -> PathBuf {
    folder.join(super::PUBLIC_KEY_FILE)
}
