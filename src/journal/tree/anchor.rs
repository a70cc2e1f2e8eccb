//! Hands checkpoints to somebody else, so that even the holder of the key cannot sign another past: into a file, to
//! a URL, into a bucket.
//! Never delays a checkpoint and never gives up: what was not taken is tried again, also after a restart. Read
//! `verify.rs` next.
//!
//! Why only the newest checkpoint is owed: it covers all before it. So the outbox is the file of checkpoints itself, and
//! beside it what each anchor has taken.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::bucket::{Access, Bucket, Client};
use super::files::{CHECKPOINTS_FILE, Folder, last_note};
use super::keeper::{AnchorStatus, Status};
use super::pruned::Pruned;
use super::trace::Claim;
use crate::audit::checkpoint::VerifyingKey;
use crate::journal::sync::Shared;
use crate::journal::{JournalError, Settings};

/// In the tree's folder: a line for each anchor, the size it has taken and its name.
const ANCHORED_FILE: &str = "anchored";
/// How often it is looked whether there is a new checkpoint.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A server that takes longer is asked again later; the last time, at the end, nobody waits that long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const LAST_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// A bucket that takes longer at the start is left for later.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// The first wait after a failure, and the longest.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// Where checkpoints go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Appended to, one note behind the other, as in the log's own file of checkpoints.
    File(PathBuf),
    /// Posted to, one note a call; any 2xx means that it is kept.
    Url(String),
    /// Put there, each note a locked object of its own.
    Bucket(Bucket),
}

impl Anchor {
    /// For people: of a URL without what may be a secret in it.
    pub fn shown(&self) -> String {
        match self {
            Self::File(_) | Self::Bucket(_) => self.to_string(),
            Self::Url(url) => {
                let bare = url.split(['?', '#']).next().unwrap_or_default();
                match bare.split_once("://") {
                    Some((scheme, rest)) => {
                        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                        let host = host.rsplit('@').next().unwrap_or_default();
                        format!("{scheme}://{host}/{path}")
                    }
                    None => bare.to_owned(),
                }
            }
        }
    }
}

impl std::fmt::Display for Anchor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(url),
            Self::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

/// Holds what each anchor that can be read has been given against the tree, of which `signed` leaves are signed.
pub fn check(
    settings: &Settings,
    folder: &Folder,
    key: &VerifyingKey,
    signed: u64,
) -> Result<(), JournalError> {
    let (taken, pruned) = (read_taken(folder), Pruned::read(folder)?);
    for anchor in &settings.anchors {
        let Some(newest) = newest(anchor, settings)? else {
            continue;
        };
        let file = PathBuf::from(anchor.to_string());
        let contradicted = |what: String| JournalError::Contradicted {
            file: file.clone(),
            what,
        };
        let held = match newest {
            Newest::Note(note) => {
                let anchored = key.verify(&note);
                let anchored =
                    anchored.map_err(|cause| contradicted(format!("its last checkpoint: {cause}")))?;
                let held = anchored.checkpoint.size;
                // It was out of the settings meanwhile: what it took is no less than what it holds, and cannot be compared.
                if !pruned.can_tell(held) && taken_by(&taken, anchor) <= held {
                    tracing::warn!(
                        "the log is not held against the anchor {}: it holds a checkpoint over {held} records, and the \
                         first {} were pruned while it was out of the settings",
                        anchor.shown(),
                        pruned.leaves
                    );
                    continue;
                }
                Claim::of(file.clone(), &anchored.checkpoint).check(folder, signed)?;
                held
            }
            Newest::None => 0,
        };
        // What it took does not go away by itself.
        let taken = taken_by(&taken, anchor);
        if held < taken {
            return Err(contradicted(format!(
                "it took a checkpoint over {taken} records, and holds one over {held} at most: it was emptied, cut or \
                 is not mounted"
            )));
        }
    }
    Ok(())
}

/// The last checkpoint that an anchor holds.
enum Newest {
    Note(String),
    None,
}

/// `None`: it cannot be asked now. A bucket that is away stops nobody: whoever could keep it away could as well take it
/// out of the settings.
fn newest(anchor: &Anchor, settings: &Settings) -> Result<Option<Newest>, JournalError> {
    let note = match anchor {
        Anchor::File(path) => {
            let last = last_note(path).map_err(|cause| JournalError::read(path, cause))?;
            last.map(|(note, _)| note)
        }
        Anchor::Url(_) => return Ok(None),
        Anchor::Bucket(bucket) => {
            let Some(access) = settings.bucket_access.clone() else {
                return Ok(None);
            };
            match newest_in_bucket(bucket, access) {
                Ok(note) => note,
                Err(error) => {
                    tracing::warn!(%error, next_step = error.next_step(), "the log is not held against `{bucket}`");
                    return Ok(None);
                }
            }
        }
    };
    Ok(Some(note.map_or(Newest::None, Newest::Note)))
}

/// Asks a bucket for its newest checkpoint; `None`: it holds none. Blocks, on a thread of its own: the caller may be on
/// one that serves others.
pub fn newest_in_bucket(bucket: &Bucket, access: Access) -> Result<Option<String>, JournalError> {
    let failed = |what: String| JournalError::Anchor {
        anchor: bucket.to_string(),
        what,
    };
    let ask = || {
        let client = Client::new(http_client().map_err(|error| error.to_string())?, access)?;
        let runtime = runtime().map_err(|error| error.to_string())?;
        runtime.block_on(client.newest(bucket, START_TIMEOUT))
    };
    let asked = thread::scope(|scope| scope.spawn(ask).join());
    asked
        .unwrap_or_else(|_| Err("asking it has failed within the program".to_owned()))
        .map_err(failed)
}

fn http_client() -> std::io::Result<reqwest::Client> {
    // Somebody may have installed another, which will do.
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(std::io::Error::other)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn taken_by(taken: &[(String, u64)], anchor: &Anchor) -> u64 {
    let name = anchor.to_string();
    let found = taken.iter().find(|(known, _)| *known == name);
    found.map_or(0, |(_, size)| *size)
}

/// One anchor and how it stands with it.
struct Owed {
    anchor: Anchor,
    taken: u64,
    /// Why it did not take the last one that it was given.
    failed: Option<String>,
    next_try: Instant,
    backoff: Duration,
}

struct Outbox {
    folder: Folder,
    owed: Vec<Owed>,
    status: Arc<Status>,
    http: reqwest::Client,
    buckets: Option<Client>,
    runtime: tokio::runtime::Runtime,
}

/// Starts the thread that hands checkpoints on. After `Shared::close` it waits until `signing` is dropped, tries once
/// more and ends.
pub fn start(
    shared: Arc<Shared>,
    status: Arc<Status>,
    signing: mpsc::Receiver<()>,
) -> std::io::Result<JoinHandle<()>> {
    let folder = Folder::of(&shared.settings.dir);
    let buckets = match shared.settings.bucket_access.clone() {
        Some(access) => Some(Client::new(http_client()?, access).map_err(std::io::Error::other)?),
        None => None,
    };
    let taken = read_taken(&folder);
    let owed = shared.settings.anchors.iter().map(|anchor| Owed {
        taken: taken_by(&taken, anchor),
        anchor: anchor.clone(),
        failed: None,
        next_try: Instant::now(),
        backoff: BACKOFF_MIN,
    });
    let mut outbox = Outbox {
        owed: owed.collect(),
        folder,
        status,
        http: http_client()?,
        buckets,
        runtime: runtime()?,
    };
    outbox.tell();
    thread::Builder::new()
        .name("journal-anchor".to_owned())
        .spawn(move || {
            while !shared.closes_within(LOOK_EVERY) {
                outbox.hand_on(ANSWER_TIMEOUT, false);
            }
            // Nothing is ever sent: it ends with the sender.
            let _ended = signing.recv();
            outbox.hand_on(LAST_ANSWER_TIMEOUT, true);
        })
}

impl Outbox {
    fn hand_on(&mut self, timeout: Duration, is_last_try: bool) {
        let Some((size, _)) = self.status.signed() else {
            return;
        };
        let now = Instant::now();
        let is_due = |owed: &Owed| owed.taken < size && (is_last_try || owed.next_try <= now);
        if !self.owed.iter().any(is_due) {
            return;
        }
        let Ok(Some((note, _))) = last_note(&self.folder.file(CHECKPOINTS_FILE)) else {
            return;
        };
        // What the note says may be newer than what the status said.
        let size = note
            .split('\n')
            .nth(1)
            .and_then(|size| size.parse().ok())
            .unwrap_or(size);
        let (http, buckets, runtime) = (&self.http, &self.buckets, &self.runtime);
        for owed in self.owed.iter_mut().filter(|owed| is_due(owed)) {
            let done = match &owed.anchor {
                Anchor::File(path) => append(path, &note),
                Anchor::Url(url) => runtime.block_on(post(http, url, &note, timeout)),
                Anchor::Bucket(bucket) => match buckets {
                    Some(client) => runtime.block_on(client.put(bucket, size, &note, timeout)),
                    None => Err("the settings do not say how buckets are reached".to_owned()),
                },
            };
            match done {
                Ok(()) => {
                    (owed.taken, owed.backoff, owed.failed) = (size, BACKOFF_MIN, None);
                }
                Err(cause) => {
                    let (anchor, seconds) = (&owed.anchor, owed.backoff.as_secs());
                    tracing::warn!(
                        "the anchor {anchor} did not take a checkpoint, tried again in {seconds} s: {cause}"
                    );
                    owed.failed = Some(cause);
                    owed.next_try = Instant::now() + owed.backoff;
                    owed.backoff = (owed.backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
        self.tell();
        if let Err(cause) = self.write_taken() {
            tracing::warn!(%cause, "what the anchors have taken could not be written");
        }
    }

    fn tell(&self) {
        let anchors = self.owed.iter().map(|owed| AnchorStatus {
            name: owed.anchor.shown(),
            taken: owed.taken,
            failed: owed.failed.clone(),
        });
        self.status.have_taken(anchors.collect());
    }

    fn write_taken(&self) -> std::io::Result<()> {
        let lines = self
            .owed
            .iter()
            .map(|owed| format!("{} {}\n", owed.taken, owed.anchor));
        let path = self.folder.file(ANCHORED_FILE);
        let new = path.with_extension("new");
        std::fs::write(&new, lines.collect::<String>())?;
        std::fs::rename(new, path)
    }
}

/// Names of anchors and what they have taken. Lost, everything is handed on once more.
fn read_taken(folder: &Folder) -> Vec<(String, u64)> {
    let text = std::fs::read_to_string(folder.file(ANCHORED_FILE)).unwrap_or_default();
    let line = |line: &str| {
        let (size, name) = line.split_once(' ')?;
        Some((name.to_owned(), size.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// Behind the last whole note; a torn one is cut off where the file allows it.
fn append(path: &Path, note: &str) -> Result<(), String> {
    let failed = |cause: std::io::Error| cause.to_string();
    let end = last_note(path).map_err(failed)?.map_or(0, |(_, end)| end);
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(failed)?;
    if file.metadata().map_err(failed)?.len() > end {
        file.set_len(end).map_err(failed)?;
    }
    file.write_all(format!("{note}\n").as_bytes()).map_err(failed)?;
    file.sync_data().map_err(failed)
}

async fn post(http: &reqwest::Client, url: &str, note: &str, timeout: Duration) -> Result<(), String> {
    let sent = http
        .post(url)
        .header("content-type", "text/plain; charset=utf-8")
        .body(note.to_owned())
        .timeout(timeout)
        .send()
        .await;
    match sent {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("it answered {}", answer.status())),
        Err(error) => Err(innermost(&error)),
    }
}

/// The outer words only say that a request failed, and repeat its URL.
pub fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string().replace(char::is_control, " ")
}
