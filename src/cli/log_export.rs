//! `log export`: every record that matches, to a file or standard output, however many there are; or the evidence bundle
//! of a period. Never leaves a file under the asked name that is not whole. Read `api/export/mod.rs` for the formats.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::client::Client;
use super::exit::{CliError, Exit};
use super::log::{FilterArgs, pairs, unreadable, usage};
use super::log_verify::Progress;
use crate::api::evidence::{self, EvidenceError, EvidenceQuery, Plan};
use crate::api::export::{self, Format};
use crate::api::trail::{LogQuery, gone_words};
use crate::clock::Timestamp;
use crate::config::JOURNAL_FOLDER;
use crate::journal::tree::proof;
use crate::journal::{LogFilter, Order, Reader};

/// How often the line of progress is written.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// csv, ndjson, json or ocsf (Datastore Activity, a JSON event a line)
    #[arg(long, default_value = "ndjson", value_parser = clap::builder::PossibleValuesParser::new(Format::WORDS))]
    format: String,
    /// Where to write [default: standard output]; a bundle goes to an archive if the name ends with .zip, else into a new
    /// folder [default: an archive in this folder, named after its period]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Oldest first
    #[arg(long)]
    oldest_first: bool,
    /// The evidence bundle of a period instead, for an audit: who asked for what, who approved, exceptions, rules, people,
    /// readers, and all records with what proves them; `log verify --evidence` checks it
    #[arg(long, requires = "from", requires = "to", conflicts_with_all = ["format", "oldest_first"])]
    evidence: bool,
    /// With --evidence: from this moment on, such as 2026-10-01 (midnight UTC)
    #[arg(long, value_name = "MOMENT", requires = "evidence")]
    from: Option<String>,
    /// With --evidence: up to this moment, without it
    #[arg(long, value_name = "MOMENT", requires = "evidence")]
    to: Option<String>,
}

pub async fn run(args: ExportArgs) -> Result<Exit, CliError> {
    if args.evidence {
        return run_evidence(args).await;
    }
    let mut target = Target::open(args.out.clone())?;
    match args.filter.reader() {
        Some(reader) => {
            let order = if args.oldest_first {
                Order::OldestFirst
            } else {
                Order::NewestFirst
            };
            let filter = LogFilter {
                order,
                ..args.filter.log_filter()?
            };
            if let Some(gone) = reader.pruned_of(&filter).map_err(unreadable)? {
                eprintln!("{}", gone_words(&gone));
            }
            let format = Format::parse(&args.format).expect("clap takes the formats alone");
            let mut failed = None;
            let written = export::write(&reader, &filter, format, |bytes, _| {
                failed = target.put(&bytes).err();
                failed.is_none()
            });
            written.map_err(unreadable)?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        None => {
            let query = LogQuery {
                format: Some(args.format.clone()),
                order: args.oldest_first.then(|| "oldest".to_owned()),
                ..args.filter.query()?
            };
            let client = Client::from_environment()?;
            client
                .download("/log", &pairs(query), |bytes| target.put(bytes))
                .await?;
        }
    }
    target.finish()?;
    Ok(Exit::Done)
}

/// The bundle of a period, as an archive or a folder.
async fn run_evidence(args: ExportArgs) -> Result<Exit, CliError> {
    if !pairs(args.filter.query()?).is_empty() {
        return Err(CliError::usage(
            "an evidence bundle holds every record of its period, and nothing narrows it",
            "leave out everything but --from, --to, --out and --data-dir",
        ));
    }
    let query = EvidenceQuery {
        from: args.from.clone().unwrap_or_default(),
        to: args.to.clone().unwrap_or_default(),
    };
    let (from, to) = query.period(Timestamp::now()).map_err(usage)?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| evidence::file_name(from, to).into());
    let is_archive = out.extension().is_some_and(|extension| extension == "zip");
    if !is_archive && std::fs::read_dir(&out).is_ok_and(|mut files| files.next().is_some()) {
        return Err(CliError::error(
            format!("the folder `{}` is not empty", out.display()),
            "name a new folder with --out, or a file that ends with .zip",
        ));
    }
    let archive = if is_archive {
        out.clone()
    } else {
        with_ending(&out, ".zip")
    };
    let mut target = Target::open(Some(archive.clone()))?;
    target.holds_lines = false;
    match args.filter.data_dir() {
        Some(dir) => {
            let reader = Reader::open(&dir.join(JOURNAL_FOLDER));
            let plan = Plan::make(reader, &proof::public_key_in(dir), from, to).map_err(unmade)?;
            let mut told = Progress::new();
            target.is_quiet = true;
            let written = plan.write(&mut target, |done, total| told.tell(done, total));
            told.end();
            written.map_err(unmade)?;
        }
        None => {
            let period = [("from", from.to_string()), ("to", to.to_string())];
            let client = Client::from_environment()?;
            client
                .download("/log/evidence", &period, |bytes| target.put(bytes))
                .await?;
        }
    }
    target.finish()?;
    if !is_archive {
        unpack(&archive, &out)?;
        eprintln!("unpacked to {}", out.display());
    }
    eprintln!("check it: countersign log verify --evidence {}", out.display());
    Ok(Exit::Done)
}

fn unmade(error: EvidenceError) -> CliError {
    CliError::error(&error, error.next_step())
}

/// A folder takes its name once it is whole.
fn unpack(archive: &Path, folder: &Path) -> Result<(), CliError> {
    let unwhole = with_ending(folder, ".part");
    let file = File::open(archive).map_err(failed)?;
    let unpacked = zip::ZipArchive::new(BufReader::new(file)).and_then(|mut zip| zip.extract(&unwhole));
    unpacked.map_err(|error| failed(io::Error::other(error)))?;
    if folder.is_dir() {
        std::fs::remove_dir(folder).map_err(failed)?;
    }
    std::fs::rename(unwhole, folder).map_err(failed)?;
    std::fs::remove_file(archive).map_err(failed)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(ending);
    PathBuf::from(name)
}

/// Where an export goes: a file takes its name once it is whole.
struct Target {
    out: Box<dyn Write>,
    names: Option<(PathBuf, PathBuf)>,
    written: u64,
    lines: u64,
    /// An archive is no lines.
    holds_lines: bool,
    /// Somebody else tells how far it is.
    is_quiet: bool,
    told: Instant,
}

impl Target {
    fn open(name: Option<PathBuf>) -> Result<Self, CliError> {
        let unwhole = name.as_ref().map(|name| with_ending(name, ".part"));
        let out: Box<dyn Write> = match &unwhole {
            Some(file) => Box::new(BufWriter::new(File::create(file).map_err(failed)?)),
            None => Box::new(io::stdout()),
        };
        Ok(Self {
            out,
            names: unwhole.zip(name),
            written: 0,
            lines: 0,
            holds_lines: true,
            is_quiet: false,
            told: Instant::now(),
        })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        match self.out.write_all(bytes) {
            // A reader that has gone (`| head`) wants no more: the command ends quietly.
            Err(error) if self.names.is_none() && error.kind() == io::ErrorKind::BrokenPipe => {
                std::process::exit(0);
            }
            done => done.map_err(failed)?,
        }
        self.written += bytes.len() as u64;
        if self.holds_lines {
            self.lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        if self.is_quiet {
            return Ok(());
        }
        if self.names.is_some() && io::stderr().is_terminal() && self.told.elapsed() > PROGRESS_EVERY {
            self.told = Instant::now();
            eprint!("\r{}{} MB", self.counted(), self.written / 1_000_000);
        }
        Ok(())
    }

    fn counted(&self) -> String {
        match self.holds_lines {
            true => format!("{} lines, ", self.lines),
            false => String::new(),
        }
    }

    fn finish(mut self) -> Result<(), CliError> {
        self.out.flush().map_err(failed)?;
        let counted = self.counted();
        let Some((unwhole, name)) = self.names else {
            return Ok(());
        };
        std::fs::rename(unwhole, &name).map_err(failed)?;
        let end = if io::stderr().is_terminal() { "\r" } else { "" };
        eprintln!("{end}{counted}{} bytes in {}", self.written, name.display());
        Ok(())
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes)
            .map(|()| bytes.len())
            .map_err(|error| io::Error::other(error.message))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn failed(error: io::Error) -> CliError {
    CliError::error(
        format!("cannot write the export: {error}"),
        "check the folder and the free space",
    )
}
