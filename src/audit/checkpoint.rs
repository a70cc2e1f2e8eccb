//! What is signed of the tree, and by which key: signed notes that say how large it is and what its root is.
//! Never draws a key and never reads the clock: both come in. Read `journal/tree/mod.rs` next, which keeps them on disk.
//!
//! ```text
//! checkpoint  origin, size in decimal, base64 of the root, `time` and when in RFC 3339; a line each
//!             an empty line
//!             — NAME base64(key id, 4 bytes; Ed25519 signature, 64 bytes, over the lines before the empty one)
//! public key  NAME+key id in hex+base64(0x01, 32 bytes)
//! signer      PRIVATE+KEY+NAME+key id in hex+base64(0x01, seed, 32 bytes)
//! key id      the first four bytes of SHA-256(NAME, 0x0A, 0x01, public key)
//! ```
//! The name of the key is the origin. Source: C2SP signed-note and tlog-checkpoint.
//!
//! Why the time is a line of the text and not a `cosignature/v1`: the log would sign its own note twice with one key,
//! which says no more and takes twice as long to verify. Extension lines are covered by the one signature, and
//! every reader of signed notes takes them.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::merkle::Hash;
use crate::clock::Timestamp;

/// A note longer than this is none of ours.
pub const NOTE_BYTES_MAX: usize = 4 << 10;
/// Longest origin: it stands in every checkpoint.
pub const ORIGIN_BYTES_MAX: usize = 200;

const ED25519_KEY: u8 = 1;
const SIGNATURE_BEGINS: &str = "\u{2014} ";
const SIGNER_BEGINS: &str = "PRIVATE+KEY+";
const TIME_BEGINS: &str = "time ";

/// The tree at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
    pub time: Timestamp,
}

/// A checkpoint and the note that says it, whose signature has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    pub checkpoint: Checkpoint,
    /// The note, byte for byte; ends with a line break.
    pub note: String,
}

/// Why a key or a checkpoint is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    #[error("it is no key in the form of signed notes")]
    Key,
    #[error("its name is empty, too long, or holds a space, a plus sign or a control character")]
    Name,
    #[error("it is no signed checkpoint")]
    Form,
    #[error("it is of another log, or signed by another key")]
    OtherKey,
    #[error("its signature is wrong")]
    Signature,
}

/// The key that verifies checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    key: [u8; 32],
}

/// The key that signs checkpoints.
pub struct SigningKey {
    public: VerifyingKey,
    pair: Ed25519KeyPair,
}

impl Checkpoint {
    fn text(&self) -> String {
        let root = STANDARD.encode(self.root);
        format!(
            "{}\n{}\n{root}\n{TIME_BEGINS}{}\n",
            self.origin, self.size, self.time
        )
    }

    /// Reads what `text` writes, and nothing else.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let checkpoint = Self {
            origin: lines.next()?.to_owned(),
            size: lines.next()?.parse().ok()?,
            root: STANDARD.decode(lines.next()?).ok()?.try_into().ok()?,
            time: Timestamp::parse(lines.next()?.strip_prefix(TIME_BEGINS)?)?,
        };
        (checkpoint.text() == text).then_some(checkpoint)
    }

    /// What a note says, signed or not: to find the one that is verified then.
    pub fn unverified(note: &str) -> Option<Self> {
        let (text, _) = note.split_once("\n\n")?;
        Self::parse(&note[..text.len() + 1])
    }
}

impl VerifyingKey {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes, in hex, by which a signature names its key.
    pub fn id(&self) -> String {
        self.id_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn id_bytes(&self) -> [u8; 4] {
        let mut hasher = Sha256::new();
        hasher.update(self.name.as_bytes());
        hasher.update([b'\n', ED25519_KEY]);
        hasher.update(self.key);
        let hash: Hash = hasher.finalize().into();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// As it stands in its file, without the line break.
    pub fn encode(&self) -> String {
        format!("{}+{}", self.name, key_part(self, &self.key))
    }

    pub fn parse(text: &str) -> Result<Self, Unsound> {
        let mut parts = text.trim_end_matches('\n').splitn(3, '+');
        let name = parts.next().ok_or(Unsound::Key)?;
        let (id, key) = parts.next().zip(parts.next()).ok_or(Unsound::Key)?;
        let parsed = Self {
            name: checked_name(name)?.to_owned(),
            key: key_bytes(key)?,
        };
        if parsed.id() == id {
            Ok(parsed)
        } else {
            Err(Unsound::Key)
        }
    }

    /// Reads a note and verifies its signature: one line of this key, behind a checkpoint of its log.
    pub fn verify(&self, note: &str) -> Result<Signed, Unsound> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(Unsound::Form);
        }
        let (text, signatures) = note.split_once("\n\n").ok_or(Unsound::Form)?;
        let text = &note[..text.len() + 1];
        let checkpoint = Checkpoint::parse(text).ok_or(Unsound::Form)?;
        let line = signatures.strip_suffix('\n').ok_or(Unsound::Form)?;
        if line.contains('\n') {
            return Err(Unsound::Form);
        }
        let signature = line.strip_prefix(SIGNATURE_BEGINS).ok_or(Unsound::Form)?;
        let (name, bytes) = signature.split_once(' ').ok_or(Unsound::Form)?;
        let bytes = STANDARD.decode(bytes).map_err(|_| Unsound::Form)?;
        let bytes: [u8; 68] = bytes.try_into().map_err(|_| Unsound::Form)?;
        let (id, signature) = bytes.split_at(4);
        if name != self.name || checkpoint.origin != self.name || id != self.id_bytes() {
            return Err(Unsound::OtherKey);
        }
        UnparsedPublicKey::new(&ED25519, &self.key)
            .verify(text.as_bytes(), signature)
            .map_err(|_| Unsound::Signature)?;
        Ok(Signed {
            checkpoint,
            note: note.to_owned(),
        })
    }
}

impl SigningKey {
    /// The key with this name and these secret bytes.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, Unsound> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| Unsound::Key)?;
        let key = pair.public_key().as_ref().try_into().map_err(|_| Unsound::Key)?;
        let public = VerifyingKey {
            name: checked_name(name)?.to_owned(),
            key,
        };
        Ok(Self { public, pair })
    }

    /// The name of a log that was given none: it says nothing of the machine, and no two keys share it.
    pub fn default_name(seed: &[u8; 32]) -> Result<String, Unsound> {
        let unnamed = Self::from_seed("countersign", seed)?;
        let hash: Hash = Sha256::digest(unnamed.public.key).into();
        let word: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("countersign/{word}"))
    }

    /// As it stands in its file, given the seed it was made of.
    pub fn encode(&self, seed: &[u8; 32]) -> String {
        let name = &self.public.name;
        format!("{SIGNER_BEGINS}{name}+{}", key_part(&self.public, seed))
    }

    pub fn parse(text: &str) -> Result<Self, Unsound> {
        let text = text.trim_end_matches('\n').strip_prefix(SIGNER_BEGINS);
        let mut parts = text.ok_or(Unsound::Key)?.splitn(3, '+');
        let name = parts.next().ok_or(Unsound::Key)?;
        let (id, seed) = parts.next().zip(parts.next()).ok_or(Unsound::Key)?;
        let key = Self::from_seed(name, &key_bytes(seed)?)?;
        if key.public.id() == id {
            Ok(key)
        } else {
            Err(Unsound::Key)
        }
    }

    pub const fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// Signs that the tree has this size and root.
    pub fn sign(&self, size: u64, root: Hash, time: Timestamp) -> Signed {
        let checkpoint = Checkpoint {
            origin: self.public.name.clone(),
            size,
            root,
            time,
        };
        let text = checkpoint.text();
        let mut bytes = self.public.id_bytes().to_vec();
        bytes.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        let signature = STANDARD.encode(bytes);
        let name = &self.public.name;
        Signed {
            note: format!("{text}\n{SIGNATURE_BEGINS}{name} {signature}\n"),
            checkpoint,
        }
    }
}

fn key_part(public: &VerifyingKey, bytes: &[u8; 32]) -> String {
    let encoded = STANDARD.encode([&[ED25519_KEY][..], bytes].concat());
    format!("{}+{encoded}", public.id())
}

fn key_bytes(text: &str) -> Result<[u8; 32], Unsound> {
    let bytes = STANDARD.decode(text).map_err(|_| Unsound::Key)?;
    match bytes.split_first() {
        Some((&ED25519_KEY, key)) => key.try_into().map_err(|_| Unsound::Key),
        Some(_) | None => Err(Unsound::Key),
    }
}

/// A name that can stand in a note: no space, no plus sign.
pub fn checked_name(name: &str) -> Result<&str, Unsound> {
    let is_good = |letter: char| !letter.is_whitespace() && !letter.is_control() && letter != '+';
    if name.is_empty() || name.len() > ORIGIN_BYTES_MAX || !name.chars().all(is_good) {
        return Err(Unsound::Name);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> SigningKey {
        SigningKey::from_seed("example.com/audit", &[7; 32]).expect("a key")
    }

    fn signed() -> Signed {
        key().sign(
            1_284_503,
            [0xA5; 32],
            Timestamp::from_micros(1_795_328_400_123_400),
        )
    }

    #[test]
    fn checkpoint_is_read_back_as_it_was_signed() {
        let public = VerifyingKey::parse(&key().public().encode()).expect("its own form");
        assert_eq!(public.verify(&signed().note), Ok(signed()));
        let again = SigningKey::parse(&key().encode(&[7; 32])).expect("its own form");
        assert_eq!(
            again.sign(9, [1; 32], Timestamp::from_micros(0)),
            key().sign(9, [1; 32], Timestamp::from_micros(0))
        );
    }

    #[test]
    fn key_of_go_notes_verifies_its_note() {
        // The key of the example in golang.org/x/mod/sumdb/note: our reading of the key's form is theirs.
        let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key = VerifyingKey::parse(text).expect("a key of theirs");
        assert_eq!(key.encode(), text);
    }

    #[test]
    fn key_that_was_mistyped_is_no_key() {
        let text = key().public().encode();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert!(VerifyingKey::parse(&changed).is_err(), "{changed}");
        }
    }

    #[test]
    fn checkpoint_of_another_log_or_key_is_not_accepted() {
        let other_log = SigningKey::from_seed("example.com/other", &[7; 32]).expect("a key");
        let other_key = SigningKey::from_seed("example.com/audit", &[8; 32]).expect("a key");
        for other in [other_log, other_key] {
            let verified = other.public().verify(&signed().note);
            assert_eq!(verified, Err(Unsound::OtherKey));
        }
    }

    #[test]
    fn default_name_tells_keys_apart() {
        let name = |seed| SigningKey::default_name(&[seed; 32]).expect("a key");
        assert_ne!(name(1), name(2));
        assert_eq!(checked_name(&name(1)), Ok(name(1).as_str()));
    }

    proptest! {
        #[test]
        fn note_with_a_changed_byte_is_not_accepted(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = signed().note.into_bytes();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            if let Ok(note) = String::from_utf8(bytes) {
                prop_assert!(key().public().verify(&note).is_err(), "{}", note);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(note in "\\PC{0,40}\n[0-9]{1,20}\n\\PC{0,50}\n\n.{0,90}") {
            prop_assert!(key().public().verify(&note).is_err());
        }
    }
}
