//! `log export`: every record that matches, to a file or standard output, however many there are.
//! Never leaves a file under the asked name that is not whole. Read `api/export/mod.rs` for the formats.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::client::Client;
use super::exit::{CliError, Exit};
use super::log::{FilterArgs, pairs, unreadable};
use crate::api::export::{self, Format};
use crate::api::trail::LogQuery;
use crate::journal::{LogFilter, Order};

/// How often the line of progress is written.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// csv, ndjson, json or ocsf (Datastore Activity, a JSON event a line)
    #[arg(long, default_value = "ndjson", value_parser = clap::builder::PossibleValuesParser::new(Format::WORDS))]
    format: String,
    /// Where to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Oldest first
    #[arg(long)]
    oldest_first: bool,
}

pub async fn run(args: ExportArgs) -> Result<Exit, CliError> {
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

/// Where an export goes: a file takes its name once it is whole.
struct Target {
    out: Box<dyn Write>,
    names: Option<(PathBuf, PathBuf)>,
    written: u64,
    lines: u64,
    told: Instant,
}

impl Target {
    fn open(name: Option<PathBuf>) -> Result<Self, CliError> {
        let unwhole = name.as_ref().map(|name| {
            let mut file = name.clone().into_os_string();
            file.push(".part");
            PathBuf::from(file)
        });
        let out: Box<dyn Write> = match &unwhole {
            Some(file) => Box::new(BufWriter::new(File::create(file).map_err(failed)?)),
            None => Box::new(io::stdout()),
        };
        Ok(Self {
            out,
            names: unwhole.zip(name),
            written: 0,
            lines: 0,
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
        self.lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        if self.names.is_some() && io::stderr().is_terminal() && self.told.elapsed() > PROGRESS_EVERY {
            self.told = Instant::now();
            eprint!("\r{} lines, {} MB", self.lines, self.written / 1_000_000);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), CliError> {
        self.out.flush().map_err(failed)?;
        let Some((unwhole, name)) = self.names else {
            return Ok(());
        };
        std::fs::rename(unwhole, &name).map_err(failed)?;
        let end = if io::stderr().is_terminal() { "\r" } else { "" };
        eprintln!(
            "{end}{} lines, {} bytes in {}",
            self.lines,
            self.written,
            name.display()
        );
        Ok(())
    }
}

fn failed(error: io::Error) -> CliError {
    CliError::error(
        format!("cannot write the export: {error}"),
        "check the folder and the free space",
    )
}
