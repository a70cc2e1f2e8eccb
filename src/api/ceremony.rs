//! Ceremonies of passkeys between their beginning and their end: sealed and handed to the browser, which brings them back.
//! Never keeps one that has not ended: however many strangers begin, nobody's is pushed out. Read `passkeys.rs` next.
//!
//! Why what has ended is kept, and nothing else: a seal tells that we began it, and when, but not whether it has been
//! answered. Only a right answer is written down, so nobody without a key makes this grow.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use webauthn_rs::prelude::{DiscoverableAuthentication, PasskeyRegistration};

/// How long somebody has to touch their key.
const CEREMONY_LIFE: Duration = Duration::from_secs(5 * 60);

/// Ceremonies that have ended within their life; beyond it none ends until some are over. Each is a right answer.
const ENDED_MAX: usize = 10_000;

/// Says what the sealed bytes are, so that they are never taken for something else.
const SEALED_AS: &[u8] = b"countersign passkey ceremony 1";

/// What was begun.
#[derive(Serialize, Deserialize)]
pub enum Ceremony {
    Register {
        person: String,
        seen_by: Vec<String>,
        state: Box<PasskeyRegistration>,
    },
    /// Whose passkey answers is for the browser to find out: nobody says a name.
    SignIn { state: Box<DiscoverableAuthentication> },
    StepUp {
        /// The hash of the session's cookie.
        session: [u8; 32],
        person: String,
        state: Box<DiscoverableAuthentication>,
    },
}

/// What a browser brings back.
pub struct Opened {
    pub ceremony: Ceremony,
    pub number: Number,
}

/// Which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Number(u64);

#[derive(Serialize, Deserialize)]
struct Sealed {
    began_ms: u64,
    ceremony: Ceremony,
}

/// Seals and opens. A key of this process alone: with it all ceremonies end.
pub struct Ceremonies {
    key: LessSafeKey,
    /// Times are counted from here.
    since: Instant,
    /// Each seal has a number of its own.
    next: AtomicU64,
    ended: Mutex<HashMap<Number, Instant>>,
}

impl Default for Ceremonies {
    fn default() -> Self {
        let random: [u8; 32] = rand::random();
        let key = UnboundKey::new(&AES_256_GCM, &random).expect("32 bytes are a key of AES-256");
        Self {
            key: LessSafeKey::new(key),
            since: Instant::now(),
            next: AtomicU64::new(0),
            ended: Mutex::default(),
        }
    }
}

impl Ceremonies {
    /// Shape: u64 number, then the sealed JSON with its tag; base 64 for URLs. `None`: it cannot be sealed.
    pub fn seal(&self, ceremony: Ceremony) -> Option<String> {
        let sealed = Sealed {
            began_ms: self.now_ms(),
            ceremony,
        };
        let mut bytes = serde_json::to_vec(&sealed).ok()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.key
            .seal_in_place_append_tag(nonce(number), Aad::from(SEALED_AS), &mut bytes)
            .ok()?;
        let mut whole = number.to_be_bytes().to_vec();
        whole.append(&mut bytes);
        Some(URL_SAFE_NO_PAD.encode(whole))
    }

    /// `None` for what we have not sealed, what is too old, and what has ended.
    pub fn open(&self, text: &str) -> Option<Opened> {
        let mut whole = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (number, sealed) = whole.split_at_mut_checked(size_of::<u64>())?;
        let number = u64::from_be_bytes((&*number).try_into().ok()?);
        let plain = self
            .key
            .open_in_place(nonce(number), Aad::from(SEALED_AS), sealed)
            .ok()?;
        let number = Number(number);
        let opened: Sealed = serde_json::from_slice(plain).ok()?;
        let age = self.now_ms().saturating_sub(opened.began_ms);
        let is_over = u128::from(age) >= CEREMONY_LIFE.as_millis() || self.has_ended(number);
        (!is_over).then_some(Opened {
            ceremony: opened.ceremony,
            number,
        })
    }

    /// Its answer was right: no answer counts again. `false`: another call was first, or there is no room for more.
    #[must_use]
    pub fn end(&self, number: Number) -> bool {
        let now = Instant::now();
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() >= ENDED_MAX {
            ended.retain(|_, at| now.saturating_duration_since(*at) < CEREMONY_LIFE);
        }
        ended.len() < ENDED_MAX && ended.insert(number, now).is_none()
    }

    fn has_ended(&self, number: Number) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.contains_key(&number)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One for each number: the key is of this process alone.
fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - size_of::<u64>()..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use webauthn_rs::WebauthnBuilder;
    use webauthn_rs::prelude::Url;

    use super::*;

    fn begun() -> Ceremony {
        let url = Url::parse("http://localhost").expect("a URL");
        let relying = WebauthnBuilder::new("localhost", &url).and_then(|builder| builder.build());
        let (_, state) = relying
            .expect("a host's name")
            .start_discoverable_authentication()
            .expect("begun");
        Ceremony::SignIn {
            state: Box::new(state),
        }
    }

    #[test]
    fn what_was_sealed_opens_here_alone_unchanged_and_once() {
        let (ours, others) = (Ceremonies::default(), Ceremonies::default());
        let text = ours.seal(begun()).expect("sealed");
        assert!(others.open(&text).is_none(), "another process's");
        let mut bytes = URL_SAFE_NO_PAD.decode(&text).expect("base 64");
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(ours.open(&URL_SAFE_NO_PAD.encode(&bytes)).is_none(), "byte {at}");
            bytes[at] ^= 1;
        }
        for cut in 0..bytes.len() {
            assert!(ours.open(&URL_SAFE_NO_PAD.encode(&bytes[..cut])).is_none());
        }
        let opened = ours.open(&text).expect("ours");
        assert!(ours.end(opened.number));
        assert!(!ours.end(opened.number), "by another call at the same time");
        assert!(ours.open(&text).is_none());
    }

    #[test]
    fn strangers_who_begin_push_nobody_out() {
        let ceremonies = Ceremonies::default();
        let first = ceremonies.seal(begun()).expect("sealed");
        for _ in 0..2 * ENDED_MAX {
            let _begun = ceremonies.seal(begun()).expect("sealed");
        }
        assert!(ceremonies.open(&first).is_some());
    }
}
