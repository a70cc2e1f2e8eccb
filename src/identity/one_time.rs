//! One-time codes: those of an authenticator app (TOTP), those on paper for the day it is lost, and the code by which
//! somebody sets their first password. Never reads the clock and never draws a random number.
//! Read `store/factors.rs` for how each is used once.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use totp_rs::{Algorithm, Builder, Totp};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::identity::principal::{CROCKFORD, PersonName};

/// Seconds that one code is shown; SHA-1 and six digits are what every app understands.
/// Source: RFC 6238, section 5.2
const STEP_SECONDS: u64 = 30;

/// Steps before and after the present one whose codes count: a clock that is half a minute off.
const STEPS_OFF_MAX: u64 = 1;

/// 160 bits, as RFC 4226, section 4, recommends.
pub const SECRET_BYTES: usize = 20;

/// Recovery codes that somebody gets.
pub const RECOVERY_CODES: usize = 10;

/// 80 random bits: nobody guesses one, so it needs neither salt nor a slow hash.
pub const RECOVERY_BYTES: usize = 10;

/// Who stands before the name in an authenticator app.
const ISSUER: &str = "Countersign";

/// What a person's authenticator app and the store share.
#[derive(Clone, PartialEq, Eq)]
pub struct TotpSecret(Zeroizing<[u8; SECRET_BYTES]>);

impl TotpSecret {
    pub fn new(random: [u8; SECRET_BYTES]) -> Self {
        Self(Zeroizing::new(random))
    }

    pub fn as_bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// The step whose code this is, if it is one of those that count now and lies behind `last`: no code counts twice.
    pub fn step_of(&self, code: &str, last: u64, now: Timestamp) -> Option<u64> {
        let digits: String = code.chars().filter(|letter| *letter != ' ').collect();
        let seconds = u64::try_from(now.micros() / 1_000_000).ok()?;
        let step = seconds / STEP_SECONDS;
        let mut found = None;
        for step in step.saturating_sub(STEPS_OFF_MAX)..=step + STEPS_OFF_MAX {
            let expected = self.totp(None).generate(step * STEP_SECONDS).to_string();
            if step > last && bool::from(expected.as_bytes().ct_eq(digits.as_bytes())) {
                found = Some(step);
            }
        }
        found
    }

    /// What an app reads from the picture: `otpauth://totp/…`.
    pub fn url(&self, person: &PersonName) -> String {
        self.totp(Some(person))
            .to_url()
            .expect("a person's name and the issuer hold no colon")
    }

    /// For those who type it.
    pub fn base32(&self) -> String {
        self.totp(None).secret().to_base32()
    }

    fn totp(&self, person: Option<&PersonName>) -> Totp {
        Builder::new()
            .with_algorithm(Algorithm::SHA1)
            .with_digits(6)
            .with_skew(0)
            .with_step_duration(STEP_SECONDS)
            .with_secret(self.0.to_vec())
            .with_issuer(Some(ISSUER))
            .with_account_name(person.map_or("", PersonName::as_str))
            .build_noncompliant()
    }
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret(…)")
    }
}

/// A code for the day on which the app is lost: `ABCD-EFGH-JKMN-PQRS`, used once.
#[derive(Clone)]
pub struct RecoveryCode(Zeroizing<String>);

impl RecoveryCode {
    pub fn new(random: [u8; RECOVERY_BYTES]) -> Self {
        let mut text = Zeroizing::new(String::new());
        for (place, group) in random.chunks(5).flat_map(five_bits).enumerate() {
            if place > 0 && place % 4 == 0 {
                text.push('-');
            }
            text.push(CROCKFORD[usize::from(group)] as char);
        }
        Self(text)
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub fn hash(&self) -> RecoveryHash {
        RecoveryHash::of(self.reveal()).expect("made as a recovery code above")
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCode(…)")
    }
}

/// Eight groups of five bits.
fn five_bits(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let number = bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    (0..8).rev().map(move |place| (number >> (place * 5) & 31) as u8)
}

/// SHA-256 of a recovery code: all that is kept of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RecoveryHash([u8; 32]);

impl RecoveryHash {
    /// `None` if the text has not the shape of such a code. Hyphens, blanks and case do not count.
    pub fn of(text: &str) -> Option<Self> {
        let code: String = text
            .chars()
            .filter(|letter| !matches!(letter, '-' | ' '))
            .map(|letter| letter.to_ascii_uppercase())
            .collect();
        let is_one =
            code.len() == RECOVERY_BYTES * 8 / 5 && code.bytes().all(|byte| CROCKFORD.contains(&byte));
        is_one.then(|| Self(Sha256::digest(code.as_bytes()).into()))
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RecoveryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    /// RFC 6238, appendix B, SHA-1: the last six of eight digits.
    #[test]
    fn the_codes_are_those_of_rfc_6238() {
        let secret = TotpSecret::new(*b"12345678901234567890");
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (2_000_000_000, "279037"),
        ] {
            let step = seconds as u64 / 30;
            assert_eq!(secret.step_of(code, 0, at(seconds)), Some(step), "{code}");
        }
        assert_eq!(secret.step_of("081 804", 0, at(1_111_111_109)), Some(37_037_036));
        for wrong in ["", "081805", "0818040", "81804", "08180é"] {
            assert_eq!(secret.step_of(wrong, 0, at(1_111_111_109)), None, "{wrong}");
        }
    }

    #[test]
    fn a_code_counts_once_and_not_for_long() {
        let secret = TotpSecret::new(*b"12345678901234567890");
        let (code, step) = ("081804", 37_037_036);
        let shown = 1_111_111_109;
        assert_eq!(secret.step_of(code, step - 1, at(shown)), Some(step));
        assert_eq!(secret.step_of(code, step, at(shown)), None);
        assert_eq!(secret.step_of(code, 0, at(shown + 30)), Some(step));
        assert_eq!(secret.step_of(code, 0, at(shown + 61)), None);
        assert_eq!(secret.step_of(code, 0, at(shown - 61)), None);
    }

    #[test]
    fn an_app_reads_the_secret_from_its_url() {
        let secret = TotpSecret::new(*b"12345678901234567890");
        let url = secret.url(&PersonName::parse("dba-1@example.org").expect("a name"));
        assert!(
            url.starts_with("otpauth://totp/Countersign:dba-1%40example.org?"),
            "{url}"
        );
        assert!(
            url.contains(&format!("secret={}", secret.base32())) && url.contains("issuer=Countersign"),
            "{url}"
        );
    }

    #[test]
    fn a_recovery_code_survives_being_copied_by_hand() {
        let code = RecoveryCode::new([0xFF, 0, 0xFF, 0, 0xFF, 1, 2, 3, 4, 5]);
        let text = code.reveal();
        assert_eq!(text.len(), 19, "{text}");
        assert_eq!(
            RecoveryHash::of(&text.to_lowercase().replace('-', " ")),
            Some(code.hash())
        );
        assert_ne!(RecoveryCode::new([0; 10]).hash(), code.hash());
        for wrong in ["", "123456", &text[1..], &text.replace(&text[..1], "U")] {
            assert_eq!(RecoveryHash::of(wrong), None, "{wrong}");
        }
    }
}
