//! `log verify` and `log proof`: offline, from the files alone. Never starts, stops or changes anything.
//! Read `journal/tree/verify.rs` for what is held against what.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};

use super::SettingsArgs;
use super::client::Client;
use super::exit::{CliError, Exit};
use super::output::Output;
use crate::audit::RecordId;
use crate::clock::parse_duration;
use crate::config::JOURNAL_FOLDER;
use crate::journal::Reader;
use crate::journal::tree::bucket::Bucket;
use crate::journal::tree::newest_in_bucket;
use crate::journal::tree::proof::{self, ProofError, Proven};
use crate::journal::tree::pruned::{Gone, duration_text};
use crate::journal::tree::verify::{Finding, Report, Request, verify};
use crate::render::visible_line;

/// Work that is done sooner says nothing meanwhile.
const QUIET_AT_FIRST: Duration = Duration::from_secs(1);
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// The log's public key, as you keep it [default: log.pub in the data folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Checkpoints of this log that were kept elsewhere: a file, or s3://bucket/prefix; may be given more than once
    #[arg(long, value_name = "FILE", conflicts_with = "proof")]
    anchor: Vec<PathBuf>,
    /// How long records are to be kept, such as 400d: what was pruned under a shorter retention is a finding
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with_all = ["proof", "evidence"])]
    retention: Option<Duration>,
    /// Check what `log proof` wrote instead of a log
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// Check what `log export --evidence` wrote instead of a log: a folder, or an archive
    #[arg(long, value_name = "PATH", conflicts_with = "proof")]
    evidence: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ProofArgs {
    /// The record's id, such as 0.42
    id: String,
    /// Where to write it [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Read the files of this data folder instead of asking the API; such a look is not recorded
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write it as 400d or 36h".to_owned())
}

impl VerifyArgs {
    /// The flag says it, or else the settings.
    fn data_dir(&self) -> Result<PathBuf, CliError> {
        match &self.settings.data_dir {
            Some(dir) => Ok(PathBuf::from(dir)),
            None => Ok(self.settings.load(Vec::new())?.data_dir),
        }
    }
}

pub fn run(args: &VerifyArgs, output: Output) -> Result<Exit, CliError> {
    if let Some(file) = &args.proof {
        return run_proof(file, args, output);
    }
    if let Some(bundle) = &args.evidence {
        return super::log_evidence::run(bundle, args.key.as_deref(), &args.anchor, output);
    }
    let data_dir = args.data_dir()?;
    let (buckets, anchors): (Vec<_>, Vec<_>) =
        args.anchor.iter().cloned().partition(|anchor| is_bucket(anchor));
    let fetched = buckets
        .iter()
        .map(|bucket| fetch(bucket, args))
        .collect::<Result<_, _>>()?;
    let request = Request {
        journal: data_dir.join(JOURNAL_FOLDER),
        key: args.key.clone(),
        key_dir: data_dir,
        anchors,
        fetched,
        retention: args.retention,
    };
    anchors_are_there(&request.anchors)?;
    let mut told = Progress::new();
    let report = verify(&request, |done, total| told.tell(done, total));
    told.end();
    let report = report.map_err(|error| CliError::error(&error, error.next_step()))?;
    output.either(&value(&report), || text(&report, args));
    Ok(match report.finding {
        Some(_) => Exit::VerificationFailed,
        None => Exit::Done,
    })
}

pub(super) fn anchors_are_there(anchors: &[PathBuf]) -> Result<(), CliError> {
    match anchors.iter().find(|anchor| !anchor.is_file()) {
        Some(anchor) => Err(CliError::error(
            format!("there is no file `{}`", anchor.display()),
            "name a file of checkpoints with --anchor",
        )),
        None => Ok(()),
    }
}

fn is_bucket(anchor: &Path) -> bool {
    anchor.to_str().is_some_and(|anchor| anchor.starts_with("s3://"))
}

/// The newest checkpoint in a bucket, which is reached as the settings say.
fn fetch(anchor: &Path, args: &VerifyArgs) -> Result<(String, String), CliError> {
    let url = anchor.to_str().unwrap_or_default();
    let bucket = Bucket::parse(url).ok_or_else(|| {
        CliError::error(
            format!("`{url}` names no bucket"),
            "write it as s3://bucket/prefix",
        )
    })?;
    let access = args.settings.load(Vec::new())?.log_tree.bucket_access;
    let access = access.ok_or_else(|| {
        CliError::error(
            "the settings do not say how buckets are reached",
            "write [audit.s3]: docs/log.md",
        )
    })?;
    let newest =
        newest_in_bucket(&bucket, access).map_err(|error| CliError::error(&error, error.next_step()))?;
    let note = newest.ok_or_else(|| {
        CliError::new(
            Exit::VerificationFailed,
            format!("`{bucket}` holds no checkpoint"),
            "find out who emptied it, or name the place that was anchored to",
        )
    })?;
    Ok((url.to_owned(), note))
}

/// A line on a terminal that is written over again and again.
pub(super) struct Progress {
    started: Instant,
    told: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            told: None,
            is_terminal: std::io::stderr().is_terminal(),
        }
    }

    pub(super) fn tell(&mut self, done: u64, total: u64) {
        let is_due = self.told.is_none_or(|told| told.elapsed() >= PROGRESS_EVERY);
        if !self.is_terminal || !is_due || self.started.elapsed() < QUIET_AT_FIRST {
            return;
        }
        self.told = Some(Instant::now());
        let (share, done) = (done * 100 / total.max(1), grouped(done));
        eprint!("\r{share:>3} %  {done} of {} records  ", grouped(total));
        // A terminal that has gone needs no progress.
        let _flushed = std::io::stderr().flush();
    }

    pub(super) fn end(&self) {
        if self.told.is_some() {
            eprint!("\r\u{1b}[K");
        }
    }
}

fn text(report: &Report, args: &VerifyArgs) -> String {
    let whose = match &args.key {
        Some(file) => visible_line(&file.display().to_string()),
        None => "from the data folder itself".to_owned(),
    };
    let mut lines = vec![
        format!(
            "origin        {}   key {} ({whose})",
            report.origin, report.key_id
        ),
        format!(
            "records       {} hashed, {} texts, {} values erased{}, {} clock regressions",
            grouped(report.hashed),
            grouped(report.texts),
            grouped(report.erased),
            match report.redacted {
                0 => String::new(),
                redacted => format!(", {} redacted", grouped(redacted)),
            },
            report.regressions
        ),
    ];
    let last = report.last.as_ref().map_or_else(
        || "nothing is signed yet".to_owned(),
        |last| {
            format!(
                "the last at {} over {} records, root {}",
                last.time,
                grouped(last.size),
                STANDARD.encode(last.root)
            )
        },
    );
    lines.push(format!(
        "checkpoints   {} signatures ok; {last}",
        grouped(report.checkpoints)
    ));
    lines.extend(
        report
            .pruned
            .map(|(records, said)| pruned_line(records, said, report.uncompared)),
    );
    lines.push(format!(
        "unsigned      {} records{}",
        grouped(report.unsigned),
        report
            .unsigned_times
            .map_or_else(String::new, |(first, last)| format!(
                ", {}",
                span(last.since(first))
            ))
    ));
    lines.push(match &report.anchored {
        Some(anchored) => format!(
            "anchors       {} match; unanchored tail: {} records, {}",
            grouped(report.anchors),
            grouped(unanchored(report)),
            span(report.last_time.since(anchored.time))
        ),
        None => {
            "anchors       none given (--anchor FILE): whoever holds log.key could have signed all of it anew"
                .to_owned()
        }
    });
    if report.set_aside > 0 {
        let trees = report.set_aside;
        lines.push(format!(
            "set aside     {trees} older trees that contradicted the log: see the boot records"
        ));
    }
    lines.push(match &report.finding {
        None => "VERIFIED".to_owned(),
        Some(finding) => failed(finding),
    });
    lines.join("\n")
}

fn pruned_line(records: u64, said: Gone, uncompared: u64) -> String {
    let uncompared = match uncompared {
        0 => String::new(),
        count => format!(
            "; {} checkpoints over fewer records have no root here any more",
            grouped(count)
        ),
    };
    format!(
        "pruned        {} records up to {}, under retention {}; their roots are kept{uncompared}",
        grouped(records),
        said.newest,
        duration_text(said.retention)
    )
}

fn failed(finding: &Finding) -> String {
    let mut place = Vec::new();
    if let Some(leaf) = finding.leaf {
        place.push(format!("leaf {}", grouped(leaf)));
    }
    if let Some(time) = finding.time {
        place.push(time.to_string());
    }
    let place = if place.is_empty() {
        String::new()
    } else {
        format!(" ({})", place.join(", "))
    };
    let subject = match finding.record {
        Some(record) => format!("record {record}{place}: "),
        None if place.is_empty() => String::new(),
        None => format!("{}: ", place.trim_start()),
    };
    let good = match finding.last_good {
        Some(size) => format!("; the first {} records are those that were signed", grouped(size)),
        None => String::new(),
    };
    format!("FAILED        {subject}{}{good}", visible_line(&finding.what))
}

/// Records that no anchor holds.
fn unanchored(report: &Report) -> u64 {
    let all = report.last.as_ref().map_or(0, |last| last.size) + report.unsigned;
    all - report
        .anchored
        .as_ref()
        .map_or(0, |anchored| anchored.size.min(all))
}

fn value(report: &Report) -> Value {
    let finding = report.finding.as_ref();
    json!({
        "verified": finding.is_none(),
        "origin": report.origin,
        "key_id": report.key_id,
        "key_file": report.key_file.display().to_string(),
        "records": report.hashed,
        "texts": report.texts,
        "erased_values": report.erased,
        "redacted_values": report.redacted,
        "clock_regressions": report.regressions,
        "checkpoints": report.checkpoints,
        "size": report.last.as_ref().map_or(0, |last| last.size),
        "root": report.last.as_ref().map(|last| STANDARD.encode(last.root)),
        "signed_at": report.last.as_ref().map(|last| last.time.to_string()),
        "unsigned": report.unsigned,
        "unsigned_seconds": report.unsigned_times.map_or(0.0, |(first, last)| last.since(first).as_secs_f64()),
        "anchors": report.anchors,
        "anchored": report.anchored.as_ref().map(|anchored| anchored.size),
        "unanchored": unanchored(report),
        "torn_ends": report.torn_ends,
        "set_aside": report.set_aside,
        "pruned": report.pruned.map(|(records, said)| json!({
            "records": records,
            "oldest": said.oldest.to_string(),
            "newest": said.newest.to_string(),
            "at": said.time.to_string(),
            "retention": duration_text(said.retention),
            "record": said.record,
            "checkpoints_uncompared": report.uncompared,
        })),
        "finding": finding.map(|finding| json!({
            "what": finding.what,
            "record": finding.record,
            "leaf": finding.leaf,
            "time": finding.time.map(|time| time.to_string()),
            "last_good": finding.last_good,
        })),
    })
}

/// 1284503 as 1,284,503.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn span(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds @ 1..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

fn run_proof(file: &Path, args: &VerifyArgs, output: Output) -> Result<Exit, CliError> {
    let key = match &args.key {
        Some(key) => key.clone(),
        None => proof::public_key_in(&args.data_dir()?),
    };
    match proof::check_files(file, &key) {
        Ok(proven) => {
            output.either(&proven_value(&proven), || proven_text(&proven));
            Ok(Exit::Done)
        }
        Err(ProofError::Journal(error)) => Err(CliError::error(&error, error.next_step())),
        Err(error) => Err(CliError::new(
            Exit::VerificationFailed,
            error.to_string(),
            error.next_step(),
        )),
    }
}

fn proven_value(proven: &Proven) -> Value {
    json!({
        "verified": true,
        "origin": proven.checkpoint.origin,
        "leaf": proven.leaf,
        "size": proven.checkpoint.size,
        "signed_at": proven.checkpoint.time.to_string(),
        "record": proven.record,
    })
}

fn proven_text(proven: &Proven) -> String {
    let record = serde_json::to_value(&proven.record).expect("a record is a map with text keys");
    let checkpoint = &proven.checkpoint;
    format!(
        "{}\nVERIFIED        leaf {} of {} in {}, signed at {}",
        super::log::lines(&record).trim_end(),
        grouped(proven.leaf),
        grouped(checkpoint.size),
        checkpoint.origin,
        checkpoint.time
    )
}

pub async fn write_proof(args: ProofArgs, output: Output) -> Result<Exit, CliError> {
    let id = RecordId::parse(&args.id).ok_or_else(|| {
        CliError::usage(
            format!("`{}` is no record's id", args.id),
            "take it from `log query`, such as 0.42",
        )
    })?;
    let proof = match &args.data_dir {
        None => {
            Client::from_environment()?
                .get_text(&format!("/log/{id}/proof"))
                .await?
        }
        Some(dir) => {
            let reader = Reader::open(&dir.join(JOURNAL_FOLDER));
            let proof = proof::prove(&reader, &proof::public_key_in(dir), id);
            proof.map_err(|error| CliError::error(&error, error.next_step()))?
        }
    };
    match &args.out {
        Some(file) => {
            std::fs::write(file, &proof).map_err(|error| {
                CliError::error(
                    format!("cannot write `{}`: {error}", file.display()),
                    "name another file with --out",
                )
            })?;
            output.either(
                &json!({ "record": id, "file": file.display().to_string() }),
                || format!("proof of record {id} in {}", file.display()),
            );
        }
        None => output.either(&json!({ "record": id, "proof": proof }), || proof.clone()),
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let pairs = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_284_503, "1,284,503")];
        for (number, text) in pairs {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn finding_names_record_place_and_what_is_still_good() {
        let finding = Finding {
            what: "the record is not the one that was signed".to_owned(),
            record: RecordId::parse("0.42"),
            leaf: Some(1_100_017),
            time: Some(crate::clock::Timestamp::from_micros(0)),
            last_good: Some(1_100_000),
        };
        assert_eq!(
            failed(&finding),
            "FAILED        record 0.42 (leaf 1,100,017, 1970-01-01T00:00:00Z): the record is not the one that was signed; \
             the first 1,100,000 records are those that were signed"
        );
    }
}
