//! What is in a bundle: the names of its files, what it says of itself, and how a record is written.
//! Never depends on anything but the records: what is here is written alike by who makes a bundle and who checks it.
//! Read `stage.rs` next.
//!
//! ```text
//! evidence.json    what the bundle says of itself: `Manifest`
//! log.pub          the key that the checkpoints are signed by
//! checkpoints      two signed notes, an empty line behind each: before the period (if the log is older), and after it
//! records.ndjson   every leaf between the two, a line each: `line`
//! earlier/         proofs (C2SP tlog-proof) of records from before, of which the tables need something
//! ```
//! Everything else is made of these.

use std::collections::BTreeMap;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::audit::entry::class_word;
use crate::audit::merkle::Hash;
use crate::audit::{Class, Kind, Malformed, Record, RecordId};
use crate::clock::Timestamp;

/// Counted up when a table, a line of records or the words of the README change. A program makes bundles of the last format,
/// and checks those from the first on.
///
/// 2: decisions say how their approver had signed in.
pub const FORMAT: u32 = 2;
pub const FORMAT_MIN: u32 = 1;

pub const MANIFEST: &str = "evidence.json";
pub const KEY: &str = "log.pub";
pub const CHECKPOINTS: &str = "checkpoints";
pub const RECORDS: &str = "records.ndjson";
pub const EARLIER: &str = "earlier/";
pub const EARLIER_ENDS: &str = ".tlog-proof";
pub const SUMS: &str = "SHA256SUMS";
pub const README: &str = "README.md";
pub const RULES: &str = "rules/";

/// Records from before the period that a bundle brings along. Sessions beyond it have no owner in the tables.
pub const EARLIER_MAX: usize = 10_000;

/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    /// Of the program that made it.
    pub version: String,
    pub from: String,
    /// Without this moment itself.
    pub to: String,
    /// The first leaf in it.
    pub first_leaf: u64,
    pub leaves: u64,
    /// Every record of the period was under the second checkpoint.
    pub whole: bool,
    /// The hashes of the complete subtrees to the left of the first leaf, from the left, in base64.
    pub peaks: Vec<String>,
}

impl Manifest {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a manifest is a map with text keys");
        bytes.push(b'\n');
        bytes
    }

    pub fn put_peaks(peaks: &[Hash]) -> Vec<String> {
        peaks.iter().map(|hash| STANDARD.encode(hash)).collect()
    }

    /// `None`: one of them is no hash.
    pub fn hashes(&self) -> Option<Vec<Hash>> {
        let hash = |text: &String| STANDARD.decode(text).ok()?.try_into().ok();
        self.peaks.iter().map(hash).collect()
    }

    pub fn period(&self) -> Option<(Timestamp, Timestamp)> {
        Timestamp::parse(&self.from).zip(Timestamp::parse(&self.to))
    }
}

/// Whether a statement is one that an auditor asks for: it is no read, no setting of its own session and no transaction
/// control; or it is one that somebody was asked about, or that the rules denied.
pub fn is_privileged(record: &Record) -> bool {
    let fields = &record.fields;
    let is_harmless = [Class::Read, Class::Session, Class::Transaction]
        .into_iter()
        .any(|class| fields.class.as_deref() == Some(class_word(class)));
    !is_harmless || fields.verdict.as_deref() != Some("allow") || fields.request.is_some()
}

/// Whether a bundle shows a record in words. The others are there as bytes alone: reads and what came of them.
fn is_shown(record: &Record) -> bool {
    match record.kind {
        Kind::Attempt => is_privileged(record),
        Kind::Outcome => record.fields.request.is_some(),
        Kind::Boot
        | Kind::SessionStart
        | Kind::SessionEnd
        | Kind::Login
        | Kind::TransactionEnd
        | Kind::RequestEvent
        | Kind::Decision
        | Kind::RulesChange
        | Kind::PeopleChange
        | Kind::LogQuery
        | Kind::ValuesErased
        | Kind::Pruned
        | Kind::Text
        | Kind::CertificatesChange
        | Kind::StandingGrant
        | Kind::SignIn
        | Kind::Values
        | Kind::Notification => true,
    }
}

/// A leaf as it stands in a bundle.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    leaf: u64,
    id: String,
    /// The record's canonical bytes.
    bytes: String,
    /// The statement, where it is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    statement: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<serde_json::Value>,
}

/// A leaf, its record and its statement.
#[derive(Clone, Debug)]
pub struct Leaf {
    pub leaf: u64,
    pub id: RecordId,
    pub bytes: Vec<u8>,
    pub record: Record,
}

impl Leaf {
    /// `text` is asked for the statement of a record that is shown.
    pub fn read<E: From<Malformed>>(
        leaf: u64,
        id: RecordId,
        bytes: &[u8],
        text: impl FnOnce(&Hash) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let mut record = Record::decode(bytes)?;
        record.id = Some(id);
        if let Some(hash) = record.fields.text_sha256
            && is_shown(&record)
        {
            record.fields.text = text(&hash)?;
        }
        Ok(Self {
            leaf,
            id,
            bytes: bytes.to_vec(),
            record,
        })
    }

    /// As it stands in `records.ndjson`, with its line break.
    pub fn line(&self) -> Vec<u8> {
        let text = self.record.fields.text.as_deref();
        let is_text = text.is_none_or(|text| std::str::from_utf8(text).is_ok());
        let record = is_shown(&self.record).then(|| {
            let value = serde_json::to_value(&self.record);
            value.expect("a record is a map with text keys")
        });
        let line = Line {
            leaf: self.leaf,
            id: self.id.to_string(),
            bytes: STANDARD.encode(&self.bytes),
            statement: text.filter(|_| !is_text).map(|text| STANDARD.encode(text)),
            record,
        };
        let mut bytes = serde_json::to_vec(&line).expect("a line is a map with text keys");
        bytes.push(b'\n');
        bytes
    }

    /// Reads what `line` writes, and nothing else. Says what is wrong.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let read: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let id = RecordId::parse(&read.id).ok_or_else(|| format!("`{}` is no id", read.id))?;
        let bytes = STANDARD.decode(&read.bytes).map_err(|error| error.to_string())?;
        let shown = read.record.as_ref().and_then(|record| record["text"].as_str());
        let text = match &read.statement {
            Some(statement) => Some(STANDARD.decode(statement).map_err(|error| error.to_string())?),
            None => shown.map(|text| text.as_bytes().to_vec()),
        };
        let found = Self::read(read.leaf, id, &bytes, |hash| match text {
            Some(text) if <Hash>::from(Sha256::digest(&text)) == *hash => Ok(Some(text)),
            Some(_) => Err(Wrong(
                "its statement is not the one that the record names".to_owned(),
            )),
            None => Ok(None),
        });
        let found = found.map_err(|Wrong(what)| what)?;
        if found.line() == line {
            Ok(found)
        } else {
            Err("it does not say what its bytes say".to_owned())
        }
    }
}

struct Wrong(String);

impl From<Malformed> for Wrong {
    fn from(error: Malformed) -> Self {
        Self(error.to_string())
    }
}

/// Where the files of a bundle go that are made of its records: into an archive, or beside those that are there.
pub trait Files<E> {
    /// One file, whole, written from its beginning.
    fn file(&mut self, name: &str, write: &mut dyn FnMut(&mut dyn Write) -> Result<(), E>) -> Result<(), E>;
}

/// Passes bytes on and knows their SHA-256.
pub struct Summed<W> {
    pub inner: W,
    hash: Sha256,
}

impl<W: Write> Summed<W> {
    pub fn of(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
        }
    }

    pub fn sum(self) -> Hash {
        self.hash.finalize().into()
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// What `sha256sum` writes of the files and `sha256sum -c` reads.
pub fn sums(of: &BTreeMap<String, Hash>) -> String {
    let line = |(name, hash): (&String, &Hash)| format!("{}  {name}\n", hex(hash));
    of.iter().map(line).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
