//! Hands checkpoints to somebody else, so that even the holder of the key cannot sign another past: into a file, to a URL.
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

use super::files::{CHECKPOINTS_FILE, Folder, last_note};
use super::keeper::{AnchorStatus, Status};
use super::trace::Claim;
use crate::audit::checkpoint::VerifyingKey;
use crate::journal::JournalError;
use crate::journal::sync::Shared;

/// In the tree's folder: a line for each anchor, the size it has taken and its name.
const ANCHORED_FILE: &str = "anchored";
/// How often it is looked whether there is a new checkpoint.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A server that takes longer is asked again later; the last time, at the end, nobody waits that long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const LAST_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
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
}

impl Anchor {
    /// For people: of a URL without what may be a secret in it.
    pub fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
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
        }
    }
}

/// Holds what each anchor that can be read has been given against the tree, of which `signed` leaves are signed.
pub fn check(
    anchors: &[Anchor],
    folder: &Folder,
    key: &VerifyingKey,
    signed: u64,
) -> Result<(), JournalError> {
    let taken = read_taken(folder);
    for anchor in anchors {
        let Anchor::File(path) = anchor else { continue };
        let contradicted = |what: String| JournalError::Contradicted {
            file: path.clone(),
            what,
        };
        let last = last_note(path).map_err(|cause| JournalError::read(path, cause))?;
        let held = match last {
            Some((note, _)) => {
                let anchored = key.verify(&note);
                let anchored =
                    anchored.map_err(|cause| contradicted(format!("its last checkpoint: {cause}")))?;
                Claim::of(path.clone(), &anchored.checkpoint).check(folder, signed)?;
                Some(anchored.checkpoint.size)
            }
            None => None,
        };
        // What it took does not go away by itself.
        let (taken, held) = (taken_by(&taken, anchor), held.unwrap_or(0));
        if held < taken {
            return Err(contradicted(format!(
                "it took a checkpoint over {taken} records, and holds one over {held} at most: it was emptied, cut or \
                 is not mounted"
            )));
        }
    }
    Ok(())
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
    runtime: tokio::runtime::Runtime,
}

/// Starts the thread that hands checkpoints on. After `Shared::close` it waits until `signing` is dropped, tries once
/// more and ends.
pub fn start(
    shared: Arc<Shared>,
    status: Arc<Status>,
    signing: mpsc::Receiver<()>,
) -> std::io::Result<JoinHandle<()>> {
    // Somebody may have installed another, which will do.
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = Folder::of(&shared.settings.dir);
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
        http: reqwest::Client::builder()
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(std::io::Error::other)?,
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
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
        let (http, runtime) = (&self.http, &self.runtime);
        for owed in self.owed.iter_mut().filter(|owed| is_due(owed)) {
            let done = match &owed.anchor {
                Anchor::File(path) => append(path, &note),
                Anchor::Url(url) => runtime.block_on(post(http, url, &note, timeout)),
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
        Err(error) => {
            let mut inner: &dyn std::error::Error = &error;
            while let Some(source) = inner.source() {
                inner = source;
            }
            Err(inner.to_string())
        }
    }
}
