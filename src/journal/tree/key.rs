//! The key that signs checkpoints: made at the first start, in a file that only its owner reads.
//! Never printed and never sent; who holds it can sign another log. Read `open.rs` next.
//!
//! Why it has another name until it has signed: where `log.key` lies, a checkpoint has been signed, so a log without
//! one was cut.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::audit::checkpoint::{SigningKey, Unsound, VerifyingKey};
use crate::journal::JournalError;

/// In the settings' key folder, mode 0600.
pub const SIGNING_KEY_FILE: &str = "log.key";
/// Beside it, for everybody who verifies.
pub const PUBLIC_KEY_FILE: &str = "log.pub";
/// What the key is called until its first checkpoint is on disk.
const NEW_KEY_FILE: &str = "log.key.new";

/// The key as it was found.
pub enum FoundKey {
    /// It has signed.
    Kept(SigningKey),
    /// The program ended while it was about to sign for the first time.
    New(SigningKey),
    None,
}

/// Reads the key. `origin` is what the settings want it to be called.
pub fn find(folder: &Path, origin: Option<&str>) -> Result<FoundKey, JournalError> {
    if let Some(key) = read(&folder.join(SIGNING_KEY_FILE), origin)? {
        if !folder.join(PUBLIC_KEY_FILE).exists() {
            write_public(folder, key.public())?;
        }
        return Ok(FoundKey::Kept(key));
    }
    // Whether its name is the one that is wanted is asked once it is kept.
    Ok(match read(&folder.join(NEW_KEY_FILE), None)? {
        Some(key) => FoundKey::New(key),
        None => FoundKey::None,
    })
}

fn read(path: &Path, origin: Option<&str>) -> Result<Option<SigningKey>, JournalError> {
    let text = match std::fs::read_to_string(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|cause| JournalError::read(path, cause))?,
    };
    let key = SigningKey::parse(&text).map_err(|cause| unsound(path, cause))?;
    if let Some(origin) = origin.filter(|origin| *origin != key.public().name()) {
        return Err(JournalError::Origin {
            file: path.to_owned(),
            is: key.public().name().to_owned(),
            wanted: origin.to_owned(),
        });
    }
    Ok(Some(key))
}

/// Makes a key that has not signed yet.
pub fn make(folder: &Path, origin: Option<&str>) -> Result<SigningKey, JournalError> {
    let path = folder.join(NEW_KEY_FILE);
    let unsound = |cause| unsound(&path, cause);
    let seed: [u8; 32] = rand::random();
    let name = match origin {
        Some(origin) => origin.to_owned(),
        None => SigningKey::default_name(&seed).map_err(unsound)?,
    };
    let key = SigningKey::from_seed(&name, &seed).map_err(unsound)?;
    let text = format!("{}\n", key.encode(&seed));
    write(&path, 0o600, &text).map_err(|cause| JournalError::write(&path, cause))?;
    Ok(key)
}

/// Gives the new key its name: its first checkpoint is on disk.
pub fn keep(folder: &Path, key: &VerifyingKey) -> Result<(), JournalError> {
    let path = folder.join(SIGNING_KEY_FILE);
    std::fs::rename(folder.join(NEW_KEY_FILE), &path).map_err(|cause| JournalError::write(&path, cause))?;
    write_public(folder, key)
}

fn write_public(folder: &Path, key: &VerifyingKey) -> Result<(), JournalError> {
    let path = folder.join(PUBLIC_KEY_FILE);
    write(&path, 0o644, &format!("{}\n", key.encode())).map_err(|cause| JournalError::write(&path, cause))
}

/// Under another name first: half a key must never be found.
fn write(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let new: PathBuf = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Reads a public key's file.
pub fn read_public(path: &Path) -> Result<VerifyingKey, JournalError> {
    let text = std::fs::read_to_string(path).map_err(|cause| JournalError::read(path, cause))?;
    VerifyingKey::parse(&text).map_err(|cause| unsound(path, cause))
}

fn unsound(path: &Path, cause: Unsound) -> JournalError {
    JournalError::Key {
        file: path.to_owned(),
        cause,
    }
}
