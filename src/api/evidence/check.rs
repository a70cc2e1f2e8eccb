//! Checks a bundle, a folder or an archive, by nothing but itself and the log's public key.
//! Never believes a table: every one is made again from the records, and compared byte by byte.
//! Read `bundle.rs` for what is what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::EvidenceError;
use super::bundle::{
    CHECKPOINTS, EARLIER, EARLIER_ENDS, FORMAT, FORMAT_MIN, Files, KEY, Leaf, MANIFEST, Manifest, README,
    RECORDS, SUMS, Summed, sums,
};
use super::readme::{self, Facts};
use super::stage::Stage;
use super::tables::{self, Period};
use crate::audit::RecordId;
use crate::audit::checkpoint::{Checkpoint, VerifyingKey};
use crate::audit::merkle::{Edge, Hash, leaf_hash};
use crate::journal::tree::proof::check as check_proof;
use crate::journal::tree::span::{SpanError, each_note};

/// Longest file that is read at once: everything but records and tables.
const SMALL_BYTES_MAX: u64 = 64 << 20;
/// Longest line of a record: a statement of 1 MiB, escaped, and as bytes.
const LINE_BYTES_MAX: u64 = 32 << 20;
/// Names of files in a bundle; more are none of ours.
const FILES_MAX: usize = 100_000;

/// What is to be checked.
#[derive(Clone, Debug)]
pub struct Request {
    /// A folder, or an archive as it came.
    pub bundle: PathBuf,
    /// The log's public key as the auditor keeps it; without it the bundle's own.
    pub key: Option<PathBuf>,
    /// Checkpoints of this log that were kept elsewhere.
    pub anchors: Vec<PathBuf>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In which file.
    pub file: String,
    pub what: String,
}

/// What was checked.
#[derive(Clone, Debug)]
pub struct Report {
    pub manifest: Manifest,
    pub key: VerifyingKey,
    pub end: Checkpoint,
    /// Privileged statements in the period.
    pub statements: u64,
    pub earlier: u64,
    /// Anchored checkpoints that fall between the two of the bundle, and match.
    pub anchors: u64,
    pub files: u64,
}

/// Why it did not come to an end.
#[derive(Debug)]
pub enum Stop {
    Found(Finding),
    Failed(EvidenceError),
}

impl From<EvidenceError> for Stop {
    fn from(error: EvidenceError) -> Self {
        Self::Failed(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<SpanError> for Stop {
    fn from(error: SpanError) -> Self {
        Self::Failed(error.into())
    }
}

/// A damaged archive is no bundle: nothing of ours failed.
impl From<zip::result::ZipError> for Stop {
    fn from(error: zip::result::ZipError) -> Self {
        found("the archive", error.to_string())
    }
}

fn found(file: &str, what: impl Into<String>) -> Stop {
    Stop::Found(Finding {
        file: file.to_owned(),
        what: what.into(),
    })
}

/// Checks everything; `progress` is told of leaves done and of how many there are.
pub fn check(request: &Request, progress: impl FnMut(u64, u64)) -> Result<Report, Stop> {
    let mut source = Source::open(&request.bundle)?;
    let sums_said = source.small(SUMS)?;
    let mut summed = BTreeMap::new();
    for name in source.names.clone() {
        if name != SUMS {
            summed.insert(name.clone(), source.sum(&name)?);
        }
    }
    compare_sums(&sums_said, &summed)?;
    Check {
        request,
        source,
        unmade: summed.into_keys().collect(),
        files: 0,
    }
    .run(progress)
}

/// Names the first file that is not what the sums say.
fn compare_sums(said: &[u8], summed: &BTreeMap<String, Hash>) -> Result<(), Stop> {
    let known = sums(summed);
    let said = std::str::from_utf8(said).map_err(|_| found(SUMS, "it is no text"))?;
    if said == known {
        return Ok(());
    }
    let said_lines: BTreeSet<&str> = said.lines().collect();
    let changed = known.lines().find(|line| !said_lines.contains(line));
    let name = changed
        .and_then(|line| line.split_once("  "))
        .map(|(_, name)| name);
    Err(match name {
        Some(name) => found(name, format!("it is not the file that {SUMS} speaks of")),
        None => found(SUMS, "it speaks of files that are not here"),
    })
}

struct Check<'r> {
    request: &'r Request,
    source: Source,
    /// Files of which it is not known yet where they come from.
    unmade: BTreeSet<String>,
    files: u64,
}

impl Check<'_> {
    fn run(&mut self, progress: impl FnMut(u64, u64)) -> Result<Report, Stop> {
        let manifest = self.manifest()?;
        let (from, to) = manifest
            .period()
            .filter(|(from, to)| from < to)
            .ok_or_else(|| found(MANIFEST, "its period is none"))?;
        let period = Period { from, to };
        let key = self.key()?;
        let (start, end) = self.checkpoints(&key, &manifest, period)?;
        let mut stage = Stage::open(from, to)?;
        let earlier = self.earlier(&key, &manifest, &end, &mut stage)?;
        let anchors = self.anchors(&key)?;
        let edge = self.edge(&manifest, start.as_ref())?;
        let anchored = self.records(edge, &manifest, &end, anchors, &mut stage, progress)?;
        tables::write(&stage, period, self)?;
        let facts = Facts::of(&manifest, &end, &key, &stage, period)?;
        let readme = readme::text(&facts);
        self.file(README, &mut |out| Ok(out.write_all(readme.as_bytes())?))?;
        if let Some(name) = self.unmade.first() {
            return Err(found(name, "no bundle has such a file"));
        }
        Ok(Report {
            statements: stage.statements,
            earlier,
            anchors: anchored,
            files: self.files,
            manifest,
            key,
            end,
        })
    }

    fn take(&mut self, name: &str) -> Result<Vec<u8>, Stop> {
        self.unmade.remove(name);
        self.files += 1;
        self.source.small(name)
    }

    fn manifest(&mut self) -> Result<Manifest, Stop> {
        let bytes = self.take(MANIFEST)?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| found(MANIFEST, error.to_string()))?;
        if !(FORMAT_MIN..=FORMAT).contains(&manifest.format) {
            let what = format!(
                "it is of format {}, and this program knows those from {FORMAT_MIN} to {FORMAT}: use Countersign {}",
                manifest.format, manifest.version
            );
            return Err(found(MANIFEST, what));
        }
        if manifest.encode() != bytes {
            return Err(found(MANIFEST, "it is not written as a manifest is"));
        }
        Ok(manifest)
    }

    /// The auditor's own key counts, and the bundle's is the same.
    fn key(&mut self) -> Result<VerifyingKey, Stop> {
        let bytes = self.take(KEY)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| found(KEY, "it is no text"))?;
        let key = VerifyingKey::parse(text).map_err(|error| found(KEY, error.to_string()))?;
        if format!("{}\n", key.encode()) != text {
            return Err(found(KEY, "it is not written as a key is"));
        }
        let Some(file) = &self.request.key else {
            return Ok(key);
        };
        let text = std::fs::read_to_string(file)?;
        match VerifyingKey::parse(&text) {
            Ok(own) if own == key => Ok(key),
            Ok(_) => Err(found(KEY, format!("it is another key than `{}`", file.display()))),
            Err(error) => Err(EvidenceError::from(SpanError::from(error)).into()),
        }
    }

    /// Before the period, if the log is that old, and after it; both signed.
    fn checkpoints(
        &mut self,
        key: &VerifyingKey,
        manifest: &Manifest,
        period: Period,
    ) -> Result<(Option<Checkpoint>, Checkpoint), Stop> {
        let bytes = self.take(CHECKPOINTS)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| found(CHECKPOINTS, "it is no text"))?;
        let mut read = Vec::new();
        for note in text.split_inclusive("\n\n").collect::<Vec<_>>().chunks(2) {
            let note = note.concat();
            let note = note.strip_suffix('\n').unwrap_or(&note);
            let signed = key
                .verify(note)
                .map_err(|error| found(CHECKPOINTS, error.to_string()))?;
            read.push(signed.checkpoint);
        }
        let (start, end) = match &read[..] {
            [end] if manifest.first_leaf == 0 => (None, end.clone()),
            [start, end] => (Some(start.clone()), end.clone()),
            _other => {
                return Err(found(
                    CHECKPOINTS,
                    "a bundle has two checkpoints, or one if it begins with the log",
                ));
            }
        };
        let first = start.as_ref().map_or(0, |start| start.size);
        if first != manifest.first_leaf || end.size.max(first) - first != manifest.leaves {
            return Err(found(
                MANIFEST,
                "its leaves are not those between the checkpoints",
            ));
        }
        if start.as_ref().is_some_and(|start| start.time > period.from) {
            return Err(found(
                CHECKPOINTS,
                "the first was signed when the period had begun: records of it may be missing",
            ));
        }
        if manifest.whole && end.time < period.to {
            return Err(found(
                CHECKPOINTS,
                "the last was signed before the period was over, and the bundle says that it is whole",
            ));
        }
        Ok((start, end))
    }

    fn earlier(
        &mut self,
        key: &VerifyingKey,
        manifest: &Manifest,
        end: &Checkpoint,
        stage: &mut Stage,
    ) -> Result<u64, Stop> {
        let is_earlier = |name: &&String| name.starts_with(EARLIER);
        let names: Vec<String> = self.unmade.iter().filter(is_earlier).cloned().collect();
        let mut leaves = Vec::new();
        for name in names {
            let id = name
                .strip_prefix(EARLIER)
                .and_then(|name| RecordId::parse(name.strip_suffix(EARLIER_ENDS)?));
            let id = id.ok_or_else(|| found(&name, "its name is no record's"))?;
            let bytes = self.take(&name)?;
            let text = std::str::from_utf8(&bytes).map_err(|_| found(&name, "it is no text"))?;
            let proven = check_proof(text, key).map_err(|error| found(&name, error.to_string()))?;
            if proven.checkpoint != *end || proven.leaf >= manifest.first_leaf {
                return Err(found(&name, "it is no record from before those of the bundle"));
            }
            leaves.push(Leaf {
                leaf: proven.leaf,
                id,
                bytes: Vec::new(),
                record: proven.record,
            });
        }
        leaves.sort_by_key(|leaf| leaf.leaf);
        for leaf in &leaves {
            stage.take(leaf)?;
        }
        Ok(leaves.len() as u64)
    }

    /// The roots that were kept elsewhere, by size.
    fn anchors(&self, key: &VerifyingKey) -> Result<BTreeMap<u64, Vec<Hash>>, Stop> {
        let mut roots: BTreeMap<u64, Vec<Hash>> = BTreeMap::new();
        for anchor in &self.request.anchors {
            let mut count = 0_u64;
            each_note(anchor, |note| {
                let checkpoint = key.verify(note)?.checkpoint;
                roots.entry(checkpoint.size).or_default().push(checkpoint.root);
                count += 1;
                Ok(())
            })?;
            if count == 0 {
                return Err(found(
                    &anchor.display().to_string(),
                    "the anchor holds no checkpoint",
                ));
            }
        }
        Ok(roots)
    }

    /// What stands to the left of the records comes to the first checkpoint.
    fn edge(&self, manifest: &Manifest, start: Option<&Checkpoint>) -> Result<Edge, Stop> {
        let peaks = manifest
            .hashes()
            .ok_or_else(|| found(MANIFEST, "one of its hashes is none"))?;
        let edge = Edge::from_peaks(manifest.first_leaf, peaks);
        let edge = edge.ok_or_else(|| found(MANIFEST, "it has another number of hashes than it needs"))?;
        match start {
            Some(start) if start.root != edge.root() => {
                Err(found(MANIFEST, "its hashes do not come to the first checkpoint"))
            }
            Some(_) | None => Ok(edge),
        }
    }

    /// Every leaf in its place, and at the end the signed root. Gives how many anchors fell on the way.
    fn records(
        &mut self,
        mut edge: Edge,
        manifest: &Manifest,
        end: &Checkpoint,
        mut anchors: BTreeMap<u64, Vec<Hash>>,
        stage: &mut Stage,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<u64, Stop> {
        self.unmade.remove(RECORDS);
        self.files += 1;
        let mut lanes: BTreeMap<u16, u64> = BTreeMap::new();
        let mut anchored = meet(&mut anchors, &edge)?;
        let mut number = 0_u64;
        self.source.read(RECORDS, |input| {
            let mut line = Vec::new();
            loop {
                line.clear();
                input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
                if line.is_empty() {
                    return Ok(());
                }
                number += 1;
                let at = |what: String| found(RECORDS, format!("line {number}: {what}"));
                let leaf = Leaf::parse(&line).map_err(at)?;
                if leaf.leaf != edge.size() {
                    return Err(at(format!(
                        "it is leaf {}, and {} comes next",
                        leaf.leaf,
                        edge.size()
                    )));
                }
                let next = lanes.entry(leaf.id.lane).or_insert(leaf.id.number);
                if *next != leaf.id.number {
                    return Err(at(format!(
                        "it is record {}, and {next} comes next in its lane",
                        leaf.id
                    )));
                }
                *next += 1;
                edge.append(leaf_hash(&leaf.bytes), |_, _| {});
                anchored += meet(&mut anchors, &edge)?;
                stage.take(&leaf)?;
                if number.is_multiple_of(1 << 12) {
                    progress(number, manifest.leaves);
                }
            }
        })?;
        if edge.size() != end.size.max(manifest.first_leaf) {
            let what = format!("{number} of {} records are here", manifest.leaves);
            return Err(found(RECORDS, what));
        }
        if edge.root() != end.root {
            return Err(found(
                RECORDS,
                "one or more records are not those that were signed: they do not come to the signed root",
            ));
        }
        Ok(anchored)
    }
}

/// Holds the root so far against whoever kept one of this size.
fn meet(anchors: &mut BTreeMap<u64, Vec<Hash>>, edge: &Edge) -> Result<u64, Stop> {
    let Some(roots) = anchors.remove(&edge.size()) else {
        return Ok(0);
    };
    let root = edge.root();
    if roots.iter().all(|kept| *kept == root) {
        Ok(roots.len() as u64)
    } else {
        let what = format!("the anchored root of {} records is another", edge.size());
        Err(found(RECORDS, what))
    }
}

/// A file is made again beside the one that is there.
impl Files<Stop> for Check<'_> {
    fn file(
        &mut self,
        name: &str,
        write: &mut dyn FnMut(&mut dyn Write) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        if !self.unmade.remove(name) {
            return Err(found(name, "it is missing"));
        }
        self.files += 1;
        self.source.read(name, |input| {
            let mut beside = Beside {
                file: input,
                line: 1,
                differs: None,
            };
            write(&mut beside)?;
            let rest = beside.file.fill_buf()?.is_empty();
            match beside.differs.or((!rest).then_some(beside.line)) {
                Some(line) => Err(found(
                    name,
                    format!("line {line} is not what the records come to"),
                )),
                None => Ok(()),
            }
        })
    }
}

/// Compares what is written with what a file holds.
struct Beside<'f> {
    file: &'f mut dyn BufRead,
    line: u64,
    /// The first line that is another.
    differs: Option<u64>,
}

impl Write for Beside<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.differs.is_some() {
            return Ok(bytes.len());
        }
        let there = self.file.fill_buf()?;
        let length = there.len().min(bytes.len());
        let same = there
            .iter()
            .zip(bytes)
            .take_while(|(there, made)| there == made)
            .count();
        self.line += bytes[..same].iter().filter(|byte| **byte == b'\n').count() as u64;
        if same < length || length == 0 {
            self.differs = Some(self.line);
            return Ok(bytes.len());
        }
        self.file.consume(length);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a bundle's files are.
struct Source {
    kind: SourceKind,
    names: BTreeSet<String>,
}

enum SourceKind {
    Folder(PathBuf),
    Archive(Box<ZipArchive<BufReader<File>>>),
}

impl Source {
    fn open(path: &Path) -> Result<Self, Stop> {
        let mut names = BTreeSet::new();
        if path.is_dir() {
            list(path, "", &mut names)?;
            return Ok(Self {
                kind: SourceKind::Folder(path.to_owned()),
                names,
            });
        }
        let file = File::open(path).map_err(|cause| named(path, &cause))?;
        let archive = ZipArchive::new(BufReader::new(file))?;
        for name in archive.file_names() {
            names.insert(name?.into_owned());
        }
        if names.len() != archive.len() || names.len() > FILES_MAX {
            return Err(found(
                &path.display().to_string(),
                "it holds a file twice, or too many",
            ));
        }
        Ok(Self {
            kind: SourceKind::Archive(Box::new(archive)),
            names,
        })
    }

    fn read<T>(
        &mut self,
        name: &str,
        with: impl FnOnce(&mut dyn BufRead) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        if !self.names.contains(name) {
            return Err(found(name, "it is missing"));
        }
        match &mut self.kind {
            SourceKind::Folder(folder) => {
                let path = folder.join(name);
                let file = File::open(&path).map_err(|cause| named(&path, &cause))?;
                with(&mut BufReader::with_capacity(1 << 16, file))
            }
            SourceKind::Archive(archive) => {
                let file = archive.by_name(name)?;
                with(&mut BufReader::with_capacity(1 << 16, file))
            }
        }
    }

    fn small(&mut self, name: &str) -> Result<Vec<u8>, Stop> {
        self.read(name, |input| {
            let mut bytes = Vec::new();
            input.take(SMALL_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        })
    }

    fn sum(&mut self, name: &str) -> Result<Hash, Stop> {
        self.read(name, |input| {
            let mut summed = Summed::of(io::sink());
            io::copy(input, &mut summed)?;
            Ok(summed.sum())
        })
    }
}

/// The files below a folder, with their names in it. A link is no file of a bundle.
fn list(folder: &Path, below: &str, names: &mut BTreeSet<String>) -> Result<(), Stop> {
    for entry in std::fs::read_dir(folder).map_err(|cause| named(folder, &cause))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name
            .to_str()
            .ok_or_else(|| found(below, "a name in it is no text"))?;
        let name = format!("{below}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() && below.is_empty() {
            list(&entry.path(), &format!("{name}/"), names)?;
        } else if kind.is_file() && names.len() < FILES_MAX {
            names.insert(name);
        } else {
            return Err(found(&name, "no bundle has such a file"));
        }
    }
    Ok(())
}

fn named(path: &Path, cause: &io::Error) -> EvidenceError {
    io::Error::new(cause.kind(), format!("`{}`: {cause}", path.display())).into()
}
