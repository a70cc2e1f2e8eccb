//! Makes a bundle: records first, then what is made of them, in one pass to the archive.
//! Never holds more than a segment of each lane in memory, and never ends an archive that is not whole.
//! Read `check.rs` next.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, StreamWriter, ZipWriter};

use super::EvidenceError;
use super::bundle::{
    CHECKPOINTS, EARLIER, EARLIER_ENDS, EARLIER_MAX, FORMAT, Files, KEY, Leaf, MANIFEST, Manifest, README,
    RECORDS, SUMS, Summed, sums,
};
use super::readme::{self, Facts};
use super::stage::Stage;
use super::tables::{self, Period};
use crate::audit::merkle::Hash;
use crate::audit::{Kind, Record, RecordId};
use crate::clock::Timestamp;
use crate::identity::principal::SessionId;
use crate::journal::query::{Clause, Key, VALUES_MAX};
use crate::journal::tree::proof::{Prover, check};
use crate::journal::tree::span::Span;
use crate::journal::{LogFilter, Order, Reader};

/// Records between two words about how far it is.
const TOLD_EVERY: u64 = 4_096;

/// What the archive of a period is called.
pub fn file_name(from: Timestamp, to: Timestamp) -> String {
    let day = |moment: Timestamp| moment.to_string().chars().take(10).collect::<String>();
    format!("countersign-evidence-{}-{}.zip", day(from), day(to))
}

/// A bundle that can be made: the checkpoints around its period are found and verified.
pub struct Plan {
    reader: Reader,
    span: Span,
    period: Period,
}

impl Plan {
    pub fn make(
        reader: Reader,
        key_file: &Path,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Self, EvidenceError> {
        if from >= to {
            return Err(EvidenceError::Period);
        }
        Ok(Self {
            span: Span::find(reader.dir(), key_file, from, to)?,
            reader,
            period: Period { from, to },
        })
    }

    /// Whether every record of the period is signed.
    pub const fn is_whole(&self) -> bool {
        self.span.is_whole
    }

    /// `countersign-evidence-2026-10-01-2026-11-01.zip`
    pub fn file_name(&self) -> String {
        file_name(self.period.from, self.period.to)
    }

    /// Writes the whole bundle; gives how many privileged statements are in it. `told`: records written, and of how many,
    /// every few thousand.
    pub fn write(&self, out: impl Write, mut told: impl FnMut(u64, u64)) -> Result<u64, EvidenceError> {
        let mut archive = Archive {
            zip: ZipWriter::new_stream(out),
            sums: BTreeMap::new(),
        };
        let mut stage = Stage::open(self.period.from, self.period.to)?;
        let mut prover = Prover::under(&self.reader, self.span.key.clone(), self.span.end.note.clone())?;
        let mut earlier = Vec::new();
        for id in self.earlier_changes()? {
            earlier.extend(self.earlier(&mut prover, id)?);
        }
        earlier.sort_by_key(|proven| proven.leaf.leaf);
        for proven in &earlier {
            stage.take(&proven.leaf)?;
        }
        archive.put(KEY, format!("{}\n", self.span.key.encode()).as_bytes())?;
        archive.put(CHECKPOINTS, self.checkpoints().as_bytes())?;
        archive.file(RECORDS, &mut |out| self.records(&mut stage, out, &mut told))?;
        let room = EARLIER_MAX.saturating_sub(earlier.len());
        for id in self.starts_of(&stage.sessions_unknown(room)?)? {
            if let Some(proven) = self.earlier(&mut prover, id)? {
                stage.take(&proven.leaf)?;
                earlier.push(proven);
            }
        }
        for proven in &earlier {
            let name = format!("{EARLIER}{}{EARLIER_ENDS}", proven.leaf.id);
            archive.put(&name, proven.proof.as_bytes())?;
        }
        let manifest = self.manifest();
        archive.put(MANIFEST, &manifest.encode())?;
        tables::write(&stage, self.period, &mut archive)?;
        let facts = Facts::of(
            &manifest,
            &self.span.end.checkpoint,
            &self.span.key,
            &stage,
            self.period,
        )?;
        archive.put(README, readme::text(&facts).as_bytes())?;
        let sums = sums(&archive.sums);
        archive.put(SUMS, sums.as_bytes())?;
        let mut out = archive.zip.finish()?;
        out.flush()?;
        Ok(stage.statements)
    }

    fn checkpoints(&self) -> String {
        let notes = self.span.start.iter().chain([&self.span.end]);
        notes.map(|signed| format!("{}\n", signed.note)).collect()
    }

    fn manifest(&self) -> Manifest {
        let leaves = self.span.leaves();
        Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            from: self.period.from.to_string(),
            to: self.period.to.to_string(),
            first_leaf: leaves.start,
            leaves: leaves.end - leaves.start,
            whole: self.span.is_whole,
            peaks: Manifest::put_peaks(&self.span.peaks),
        }
    }

    fn records(
        &self,
        stage: &mut Stage,
        out: &mut dyn Write,
        told: &mut dyn FnMut(u64, u64),
    ) -> Result<(), EvidenceError> {
        let leaves = self.span.leaves();
        self.span.each(|found| {
            let done = found.leaf - leaves.start;
            if done.is_multiple_of(TOLD_EVERY) {
                told(done, leaves.end - leaves.start);
            }
            let leaf = Leaf::read(found.leaf, found.id, found.bytes, |hash| {
                found.text(hash).map_err(EvidenceError::from)
            })?;
            out.write_all(&leaf.line())?;
            stage.take(&leaf)?;
            Ok(())
        })
    }

    /// The records that say which rules and which people there were when the period began: the last change of each.
    fn earlier_changes(&self) -> Result<Vec<RecordId>, EvidenceError> {
        let mut last: BTreeMap<(Kind, String, bool), RecordId> = BTreeMap::new();
        let kinds = [Kind::RulesChange, Kind::PeopleChange];
        let filter = LogFilter {
            until: Some(self.period.from),
            clauses: vec![Clause {
                key: Key::Kind,
                is_not: false,
                values: kinds.map(|kind| kind.as_str().to_owned()).to_vec(),
            }],
            order: Order::OldestFirst,
            ..LogFilter::default()
        };
        self.reader.each(
            &filter,
            || false,
            |record| {
                if let (Some(key), Some(id)) = (change_of(&record), record.id) {
                    last.insert((record.kind, key.0, key.1), id);
                }
                last.len() <= EARLIER_MAX
            },
        )?;
        Ok(last.into_values().collect())
    }

    /// A record that stands before the bundle's own. `None`: it does not.
    fn earlier(&self, prover: &mut Prover<'_>, id: RecordId) -> Result<Option<Earlier>, EvidenceError> {
        let first = self.span.leaves().start;
        if prover.leaf_of(id).is_none_or(|leaf| leaf >= first) {
            return Ok(None);
        }
        let proof = prover.prove(id)?;
        let proven = check(&proof, &self.span.key)?;
        let leaf = Leaf {
            leaf: proven.leaf,
            id,
            bytes: Vec::new(),
            record: proven.record,
        };
        Ok(Some(Earlier { leaf, proof }))
    }

    /// The records with which these sessions began, in the order of the sessions. One search for all of them: it may have
    /// to go through the whole log.
    fn starts_of(&self, sessions: &[String]) -> Result<Vec<RecordId>, EvidenceError> {
        let wanted: BTreeSet<SessionId> = sessions.iter().filter_map(|id| SessionId::parse(id)).collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut filter = LogFilter {
            until: Some(self.period.to),
            kind: Some(Kind::SessionStart),
            ..LogFilter::default()
        };
        // So few are found by the index.
        if sessions.len() <= VALUES_MAX {
            filter.clauses.push(Clause {
                key: Key::Session,
                is_not: false,
                values: sessions.to_vec(),
            });
        }
        let mut starts: BTreeMap<SessionId, RecordId> = BTreeMap::new();
        self.reader.each(
            &filter,
            || false,
            |record| {
                if let Some((session, id)) = record.fields.session.zip(record.id)
                    && wanted.contains(&session)
                {
                    starts.entry(session).or_insert(id);
                }
                starts.len() < wanted.len()
            },
        )?;
        Ok(starts.into_values().collect())
    }
}

struct Earlier {
    leaf: Leaf,
    proof: String,
}

/// Of whom or what a change is, and whether it is of roles and groups or of being active at all. `None`: it changes
/// nothing that the tables show.
fn change_of(record: &Record) -> Option<(String, bool)> {
    let fields = &record.fields;
    match (record.kind, fields.change.as_deref()?) {
        // One file of rules follows on another, whatever it is called; the others are those of trusted functions.
        (Kind::RulesChange, "loaded") if fields.rules_text.is_some() => Some((String::new(), false)),
        (Kind::RulesChange, "loaded") => Some((fields.file.clone()?, false)),
        (Kind::PeopleChange, "person_added" | "person_changed") => Some((fields.name.clone()?, false)),
        (Kind::PeopleChange, "person_activated" | "person_deactivated") => Some((fields.name.clone()?, true)),
        _other => None,
    }
}

/// The archive, and the sums of what it holds.
struct Archive<W: Write> {
    zip: ZipWriter<StreamWriter<W>>,
    sums: BTreeMap<String, Hash>,
}

impl<W: Write> Archive<W> {
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), EvidenceError> {
        self.file(name, &mut |out| Ok(out.write_all(bytes)?))
    }
}

impl<W: Write> Files<EvidenceError> for Archive<W> {
    fn file(
        &mut self,
        name: &str,
        write: &mut dyn FnMut(&mut dyn Write) -> Result<(), EvidenceError>,
    ) -> Result<(), EvidenceError> {
        // Every file may grow beyond 4 GiB: its length is not known when it begins.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .large_file(true)
            .unix_permissions(0o644);
        self.zip.start_file(name, options)?;
        let mut out = Summed::of(io::BufWriter::new(&mut self.zip));
        write(&mut out)?;
        out.flush()?;
        let sum = out.sum();
        self.sums.insert(name.to_owned(), sum);
        Ok(())
    }
}
