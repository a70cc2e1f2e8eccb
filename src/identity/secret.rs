//! Password verifiers and API tokens: made, compared, never printed.
//! Never draws a random number: randomness comes in as bytes. Read `directory.rs` next.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Rounds of PBKDF2; PostgreSQL's own default. The secret is 256 random bits, so more would only slow log-ins.
pub const SCRAM_ITERATIONS: u32 = 4096;

/// What the proxy keeps of an agent's secret to check SCRAM-SHA-256 log-ins.
/// Shape: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, base 64.
/// Source: PostgreSQL docs, catalog-pg-authid.html
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    pub iterations: u32,
    pub salt: Vec<u8>,
    pub stored_key: [u8; 32],
    pub server_key: [u8; 32],
}

impl ScramVerifier {
    /// Takes milliseconds; not for wire threads.
    pub fn make(password: &str, salt: [u8; 16]) -> Self {
        let mut salted = Zeroizing::new([0; 32]);
        pbkdf2::pbkdf2_hmac::<Sha256>(
            password.as_bytes(),
            &salt,
            SCRAM_ITERATIONS,
            salted.as_mut_slice(),
        );
        let client_key = Zeroizing::new(hmac(salted.as_slice(), b"Client Key"));
        Self {
            iterations: SCRAM_ITERATIONS,
            salt: salt.to_vec(),
            stored_key: Sha256::digest(client_key.as_slice()).into(),
            server_key: hmac(salted.as_slice(), b"Server Key"),
        }
    }

    /// Reads what `Display` writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        Some(Self {
            iterations: iterations.parse().ok().filter(|count| *count > 0)?,
            salt: STANDARD.decode(salt).ok()?,
            stored_key: STANDARD.decode(stored).ok()?.try_into().ok()?,
            server_key: STANDARD.decode(server).ok()?.try_into().ok()?,
        })
    }
}

impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, stored) = (STANDARD.encode(&self.salt), STANDARD.encode(self.stored_key));
        write!(
            f,
            "SCRAM-SHA-256${}:{salt}${stored}:{}",
            self.iterations,
            STANDARD.encode(self.server_key)
        )
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramVerifier(…)")
    }
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// What the proxy keeps of an agent's secret to check log-ins of MySQL clients. Enough to check a scramble, not to make
/// one; the secret is 256 random bits, so nobody guesses it from these. Agents without what a log-in needs are told to
/// rotate.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct MysqlCredential {
    /// `caching_sha2_password`: SHA-256(SHA-256(secret)).
    pub caching_sha2: Option<[u8; 32]>,
    /// `mysql_native_password`: SHA-1(SHA-1(secret)). Only where it was asked for: SHA-1 is all that stands behind it.
    pub native: Option<[u8; 20]>,
}

/// Whether an agent may log in by `mysql_native_password` too, for clients that know nothing newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NativePassword {
    #[default]
    Refused,
    Allowed,
}

impl MysqlCredential {
    pub fn make(password: &str, native: NativePassword) -> Self {
        let native = match native {
            NativePassword::Allowed => Some(Sha1::digest(Sha1::digest(password)).into()),
            NativePassword::Refused => None,
        };
        Self {
            caching_sha2: Some(Sha256::digest(Sha256::digest(password)).into()),
            native,
        }
    }
}

impl fmt::Debug for MysqlCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MysqlCredential(…)")
    }
}

/// A secret in plain text, shown once to the person who asked for it. Wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// An agent's password: 43 characters that need no quoting in a URL.
    pub fn agent(random: [u8; 32]) -> Self {
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(random)))
    }

    /// An API token: `cs_` and 43 characters that need no quoting in a URL.
    pub fn token(random: [u8; 32]) -> Self {
        Self(Zeroizing::new(format!("cs_{}", URL_SAFE_NO_PAD.encode(random))))
    }

    /// What a browser's cookie holds: 43 characters.
    pub fn session(random: [u8; 32]) -> Self {
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(random)))
    }

    /// The one-time code by which somebody sets their password: `csl_` and 43 characters.
    pub fn link(random: [u8; 32]) -> Self {
        Self(Zeroizing::new(format!("csl_{}", URL_SAFE_NO_PAD.encode(random))))
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// SHA-256 of a token: all that is kept of it. 256 random bits need no salt.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// `None` if the text has not the shape of a token.
    pub fn of(token: &str) -> Option<Self> {
        let random = token.strip_prefix("cs_")?;
        URL_SAFE_NO_PAD
            .decode(random)
            .ok()
            .filter(|bytes| bytes.len() == 32)?;
        Some(Self(Sha256::digest(token.as_bytes()).into()))
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// SHA-256 of the one-time code by which somebody sets their password: all that is kept of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LinkHash([u8; 32]);

impl LinkHash {
    /// `None` if the text has not the shape of such a code.
    pub fn of(text: &str) -> Option<Self> {
        let random = text.strip_prefix("csl_")?;
        URL_SAFE_NO_PAD
            .decode(random)
            .ok()
            .filter(|bytes| bytes.len() == 32)?;
        Some(Self(Sha256::digest(text.as_bytes()).into()))
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for LinkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkHash(…)")
    }
}

/// SHA-256 of what a browser's cookie holds: all that is kept of it. 256 random bits need no salt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionHash([u8; 32]);

impl SessionHash {
    /// `None` if the text has not the shape of a session's secret.
    pub fn of(cookie: &str) -> Option<Self> {
        URL_SAFE_NO_PAD
            .decode(cookie)
            .ok()
            .filter(|bytes| bytes.len() == 32)?;
        Some(Self(Sha256::digest(cookie.as_bytes()).into()))
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SessionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionHash(…)")
    }
}

/// What a page sends back to show that it was made for this session. Follows from the cookie alone, so the store keeps
/// nothing of it, and a page that shows it gives nothing of the cookie away.
#[derive(Clone)]
pub struct CsrfToken(String);

impl CsrfToken {
    pub fn of(cookie: &str) -> Self {
        Self(URL_SAFE_NO_PAD.encode(hmac(cookie.as_bytes(), b"countersign csrf")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl fmt::Debug for CsrfToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CsrfToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3: user `user`, password `pencil`.
    #[test]
    fn a_verifier_holds_the_keys_of_rfc_7677() {
        let salt: [u8; 16] = STANDARD
            .decode("W22ZaJ0SNY7soEsUEjb6gQ==")
            .expect("base 64")
            .try_into()
            .expect("16 bytes");
        let verifier = ScramVerifier::make("pencil", salt);
        let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert_eq!(verifier.to_string(), text);
        assert_eq!(ScramVerifier::parse(text), Some(verifier));
        assert_eq!(ScramVerifier::parse("SCRAM-SHA-256$0:AA==$AA==:AA=="), None);
    }

    /// `SELECT PASSWORD('password')` of MariaDB gives `*` and these digits.
    #[test]
    fn a_native_verifier_is_what_the_server_keeps() {
        let kept = MysqlCredential::make("password", NativePassword::Allowed);
        let hex: String = kept
            .native
            .expect("it was asked for")
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        assert_eq!(hex, "2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19");
    }

    #[test]
    fn a_session_is_known_by_its_cookie_and_its_pages_by_what_follows_from_it() {
        let cookie = Secret::session([7; 32]);
        let other = Secret::session([8; 32]);
        assert_eq!(cookie.reveal().len(), 43);
        assert_eq!(SessionHash::of(cookie.reveal()), SessionHash::of(cookie.reveal()));
        assert_ne!(SessionHash::of(cookie.reveal()), SessionHash::of(other.reveal()));
        for text in ["", "cs_", &cookie.reveal()[1..], "é"] {
            assert_eq!(SessionHash::of(text), None, "{text}");
        }
        let csrf = CsrfToken::of(cookie.reveal());
        assert!(csrf.is(CsrfToken::of(cookie.reveal()).as_str()));
        assert!(!csrf.is(CsrfToken::of(other.reveal()).as_str()));
        assert!(!csrf.is("") && !csrf.as_str().contains(cookie.reveal()));
    }

    #[test]
    fn a_token_is_known_by_its_hash_only() {
        let token = Secret::token([7; 32]);
        assert_eq!(token.reveal().len(), 46);
        assert_eq!(TokenHash::of(token.reveal()), TokenHash::of(token.reveal()));
        assert_ne!(
            TokenHash::of(token.reveal()),
            TokenHash::of(Secret::token([8; 32]).reveal())
        );
        assert_eq!(TokenHash::of(Secret::agent([7; 32]).reveal()), None);
        assert!(!format!("{token:?}").contains("Bw"));
    }
}
