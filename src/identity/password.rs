//! Verifiers of people's passwords: argon2id, made and compared, never printed.
//! Never draws a random number and never runs where others wait: one check takes milliseconds and megabytes.
//! Read `one_time.rs` for the second factor.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use subtle::ConstantTimeEq;

/// KiB of memory that one check takes, passes over it, and threads.
/// Source: OWASP Password Storage Cheat Sheet, argon2id, m=19456 (19 MiB), t=2, p=1
pub const MEMORY_KIB: u32 = 19_456;
pub const PASSES: u32 = 2;
pub const THREADS: u32 = 1;

/// A verifier that asks for more than this was not written by us.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 64;

/// The shortest password, in letters. Length is all that is asked for: rules of composition make worse ones.
/// Source: NIST SP 800-63B-4, section 3.1.1.2
pub const LETTERS_MIN: usize = 12;

/// The longest password: more than a passphrase needs, and no work to hash.
pub const BYTES_MAX: usize = 1024;

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// Why a text cannot be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAPassword {
    #[error("a password has at least {LETTERS_MIN} letters")]
    Short,
    #[error("a password has at most {BYTES_MAX} bytes")]
    Long,
}

/// Whether a text can be a password. Nothing but its length counts.
pub fn check(password: &str) -> Result<(), NotAPassword> {
    if password.chars().count() < LETTERS_MIN {
        Err(NotAPassword::Short)
    } else if password.len() > BYTES_MAX {
        Err(NotAPassword::Long)
    } else {
        Ok(())
    }
}

/// What is kept of a password.
/// Shape: `$argon2id$v=19$m=<KiB>,t=<passes>,p=<threads>$<salt>$<hash>`, base 64 without padding.
/// Source: PHC string format, github.com/P-H-C/phc-string-format
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordVerifier {
    memory_kib: u32,
    passes: u32,
    threads: u32,
    salt: [u8; SALT_BYTES],
    hash: [u8; HASH_BYTES],
}

impl PasswordVerifier {
    /// Takes milliseconds and `MEMORY_KIB`.
    pub fn make(password: &str, salt: [u8; SALT_BYTES]) -> Self {
        let mut verifier = Self {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            threads: THREADS,
            salt,
            hash: [0; HASH_BYTES],
        };
        verifier.hash = verifier
            .hash_of(password)
            .expect("the limits of `check` and our own constants");
        verifier
    }

    /// Nobody's: to compare with where there is no verifier, so that an answer takes the same time.
    pub const fn of_nobody() -> Self {
        Self {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            threads: THREADS,
            salt: [0; SALT_BYTES],
            hash: [0; HASH_BYTES],
        }
    }

    /// Takes milliseconds and `MEMORY_KIB`.
    pub fn is_of(&self, password: &str) -> bool {
        self.hash_of(password)
            .is_some_and(|hash| hash.ct_eq(&self.hash).into())
    }

    fn hash_of(&self, password: &str) -> Option<[u8; HASH_BYTES]> {
        let params = Params::new(self.memory_kib, self.passes, self.threads, Some(HASH_BYTES)).ok()?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut hash = [0; HASH_BYTES];
        argon2
            .hash_password_into(password.as_bytes(), &self.salt, &mut hash)
            .ok()?;
        Some(hash)
    }

    /// Reads what `Display` writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("$argon2id$v=19$m=")?;
        let (memory, rest) = rest.split_once(",t=")?;
        let (passes, rest) = rest.split_once(",p=")?;
        let (threads, rest) = rest.split_once('$')?;
        let (salt, hash) = rest.split_once('$')?;
        Some(Self {
            memory_kib: memory.parse().ok().filter(|kib| *kib <= MEMORY_KIB_MAX)?,
            passes: passes.parse().ok().filter(|passes| *passes <= PASSES_MAX)?,
            threads: threads.parse().ok()?,
            salt: STANDARD_NO_PAD.decode(salt).ok()?.try_into().ok()?,
            hash: STANDARD_NO_PAD.decode(hash).ok()?.try_into().ok()?,
        })
    }
}

impl fmt::Display for PasswordVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "$argon2id$v=19$m={},t={},p={}${}${}",
            self.memory_kib,
            self.passes,
            self.threads,
            STANDARD_NO_PAD.encode(self.salt),
            STANDARD_NO_PAD.encode(self.hash)
        )
    }
}

impl fmt::Debug for PasswordVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordVerifier(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by the reference implementation: `echo -n 'correct horse battery' | argon2 somesaltsomesalt -id -t 2 -k 64 -p 1 -e`
    /// has this shape; the parameters are read from the text, so an old verifier stays good when ours change.
    #[test]
    fn a_verifier_knows_its_password_and_no_other() {
        let verifier = PasswordVerifier::make("correct horse battery", [7; 16]);
        assert!(verifier.is_of("correct horse battery"));
        assert!(!verifier.is_of("correct horse batterx") && !verifier.is_of(""));
        let text = verifier.to_string();
        assert!(
            text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$BwcHBwcHBwcHBwcHBwcHBw$"),
            "{text}"
        );
        assert_eq!(PasswordVerifier::parse(&text), Some(verifier.clone()));
        assert!(!format!("{verifier:?}").contains("BwcH"));
        let smaller = PasswordVerifier {
            memory_kib: 64,
            ..verifier
        };
        let hash = smaller.hash_of("correct horse battery").expect("a hash");
        let smaller = PasswordVerifier { hash, ..smaller };
        assert!(
            PasswordVerifier::parse(&smaller.to_string())
                .expect("read")
                .is_of("correct horse battery")
        );
        assert!(!PasswordVerifier::of_nobody().is_of(""));
    }

    #[test]
    fn no_other_text_is_a_verifier() {
        let good = PasswordVerifier::of_nobody().to_string();
        for text in [
            "",
            "$argon2i$v=19$m=19456,t=2,p=1$AA$AA",
            &good.replace("v=19", "v=16"),
            &good.replace("m=19456", "m=4000000000"),
            &good.replace("t=2", "t=1000"),
            &good[..good.len() - 1],
            &format!("{good}$x"),
        ] {
            assert_eq!(PasswordVerifier::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_password_is_long_enough_and_nothing_else_is_asked_of_it() {
        assert_eq!(check("elevenbytes"), Err(NotAPassword::Short));
        assert_eq!(check("éééééééééé"), Err(NotAPassword::Short));
        for fine in [
            "aaaaaaaaaaaa",
            "éééééééééééé",
            "            ",
            &"x".repeat(BYTES_MAX),
        ] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        assert_eq!(check(&"x".repeat(BYTES_MAX + 1)), Err(NotAPassword::Long));
    }
}
