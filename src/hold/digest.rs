//! What a decision is bound to: one hash over everything that gives a statement its meaning.
//! Never decides what goes in; the asker names the fields. Read `grant.rs` next.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// SHA-256 over labelled fields. Shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hex digits of either case; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Builds a `Digest` out of labelled fields.
/// Shape: for each field u64 label length, label, `=` and u64 value length and value, or `-` where there is none;
/// lengths are big endian, so that no two lists of
/// fields give the same bytes. An absent value is not an empty one.
pub struct DigestBuilder(Sha256);

impl DigestBuilder {
    /// `kind` names what is hashed and its version, so that digests of two kinds never meet.
    pub fn new(kind: &str) -> Self {
        Self(Sha256::new()).field("kind", kind.as_bytes())
    }

    #[must_use]
    pub fn field(self, label: &str, value: &[u8]) -> Self {
        self.labelled(label, b'=').value(value)
    }

    #[must_use]
    pub fn absent(self, label: &str) -> Self {
        self.labelled(label, b'-')
    }

    #[must_use]
    pub fn optional(self, label: &str, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.field(label, value),
            None => self.absent(label),
        }
    }

    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }

    fn labelled(mut self, label: &str, kind: u8) -> Self {
        self.0.update((label.len() as u64).to_be_bytes());
        self.0.update(label.as_bytes());
        self.0.update([kind]);
        self
    }

    fn value(mut self, value: &[u8]) -> Self {
        self.0.update((value.len() as u64).to_be_bytes());
        self.0.update(value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_between_fields_changes_the_digest() {
        let one = DigestBuilder::new("test")
            .field("a", b"xy")
            .field("b", b"z")
            .finish();
        let other = DigestBuilder::new("test")
            .field("a", b"x")
            .field("b", b"yz")
            .finish();
        assert_ne!(one, other);
    }

    #[test]
    fn an_absent_value_is_not_an_empty_one() {
        let absent = DigestBuilder::new("test").optional("p", None).finish();
        let empty = DigestBuilder::new("test").optional("p", Some(b"")).finish();
        assert_ne!(absent, empty);
    }

    #[test]
    fn what_is_shown_is_read_back() {
        let digest = DigestBuilder::new("test").finish();
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        assert_eq!(Digest::parse(&digest.to_string().to_uppercase()), Some(digest));
        assert_eq!(Digest::parse("abc"), None);
        assert_eq!(Digest::parse(&"é".repeat(32)), None);
    }
}
