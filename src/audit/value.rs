//! Parameter values beside the record of their attempt, which holds a salted commitment to each.
//! Never in the hashed record itself: so a value can be erased and what is proved of the record stays proved.
//! Read `entry.rs` for the bytes around them.
//!
//! ```text
//! commitment   SHA-256("countersign value 1" 0x00, salt 16 bytes, form u8 (1 text, 2 hex), value)
//! ```
//! Why a salt for each value: few values have few neighbours, and whoever has the record of an erased one must not find it
//! by trying. The salt is erased with its value.
//!
//! Why a redacted value has no commitment: one without its salt proves nothing, and one with it can be guessed at, because
//! what is redacted is often short: a nine-digit number is found in minutes.

use sha2::{Digest, Sha256};

use super::entry::ParameterRecord;

/// As many as make guessing hopeless.
pub const SALT_BYTES: usize = 16;

/// Random, one for each value.
pub type Salt = [u8; SALT_BYTES];

const PURPOSE: &[u8] = b"countersign value 1\0";

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text = 1,
    Hex = 2,
}

/// What stands in the record instead of a value.
pub fn commitment(salt: &Salt, form: Form, value: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(PURPOSE);
    hash.update(salt);
    hash.update([form as u8]);
    hash.update(value);
    hash.finalize().into()
}

/// What is kept of a value: its form and its beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept<'a> {
    pub form: Form,
    pub value: &'a str,
    /// It is longer than what is kept.
    pub is_cut: bool,
}

impl<'a> Kept<'a> {
    /// At most `bytes_max` bytes of the value, cut between letters; `None`: NULL, or redacted.
    pub fn of(parameter: &ParameterRecord<'a>, bytes_max: usize) -> Option<Self> {
        if !parameter.redacted.is_empty() {
            return None;
        }
        let (form, whole) = match (parameter.value, parameter.hex) {
            (Some(value), _) => (Form::Text, value),
            (None, Some(hex)) => (Form::Hex, hex),
            (None, None) => return None,
        };
        let value = &whole[..whole.floor_char_boundary(bytes_max)];
        Some(Self {
            form,
            value,
            is_cut: value.len() < whole.len(),
        })
    }
}
