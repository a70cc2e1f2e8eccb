//! The key that signs checkpoints: made at the first start, in a file that only its owner reads.
//! Never printed and never sent; who holds it can sign another log. Read `open.rs` next.

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

/// Reads the key, or makes it if nothing was ever signed here. `origin` is what the settings want it to be called.
pub fn load(folder: &Path, origin: Option<&str>, has_signed: bool) -> Result<SigningKey, JournalError> {
    let path = folder.join(SIGNING_KEY_FILE);
    let text = match std::fs::read_to_string(&path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            if has_signed {
                return Err(JournalError::KeyMissing { file: path });
            }
            return make(folder, &path, origin);
        }
        read => read.map_err(|cause| JournalError::read(&path, cause))?,
    };
    let unsound = |cause| unsound(&path, cause);
    let key = SigningKey::parse(&text).map_err(unsound)?;
    if let Some(origin) = origin.filter(|origin| *origin != key.public().name()) {
        return Err(JournalError::Origin {
            file: path,
            is: key.public().name().to_owned(),
            wanted: origin.to_owned(),
        });
    }
    if !folder.join(PUBLIC_KEY_FILE).exists() {
        write_public(folder, key.public())?;
    }
    Ok(key)
}

fn make(folder: &Path, path: &Path, origin: Option<&str>) -> Result<SigningKey, JournalError> {
    let unsound = |cause| unsound(path, cause);
    let seed: [u8; 32] = rand::random();
    let name = match origin {
        Some(origin) => origin.to_owned(),
        None => SigningKey::default_name(&seed).map_err(unsound)?,
    };
    let key = SigningKey::from_seed(&name, &seed).map_err(unsound)?;
    let text = format!("{}\n", key.encode(&seed));
    write(path, 0o600, &text).map_err(|cause| JournalError::write(path, cause))?;
    write_public(folder, key.public())?;
    Ok(key)
}

fn write_public(folder: &Path, key: &VerifyingKey) -> Result<(), JournalError> {
    let path = folder.join(PUBLIC_KEY_FILE);
    write(&path, 0o644, &format!("{}\n", key.encode())).map_err(|cause| JournalError::write(&path, cause))
}

/// Under another name first: half a key must never be found.
fn write(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let new: PathBuf = path.with_extension("new");
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
