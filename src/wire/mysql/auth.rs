//! The answers that prove a password, made and checked, for both sides of a log-in.
//! Never keeps a password and draws no random number. RSA is in `proxy/mysql/rsa.rs`. Read `message.rs` next.
//!
//! What is kept of a password (a hash of a hash) checks an answer and cannot make one.

use mysql_common::scramble::{create_response_for_ed25519, scramble_native, scramble_sha256};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::wire::mysql::handshake::SCRAMBLE_BYTES;

/// The names of methods, as they are sent.
pub const NATIVE: &str = "mysql_native_password";
pub const CACHING_SHA2: &str = "caching_sha2_password";
pub const ED25519: &str = "client_ed25519";
pub const CLEAR: &str = "mysql_clear_password";

/// One byte each, inside `caching_sha2_password`. From the client: its wish for the server's public key.
pub const PUBLIC_KEY_REQUEST: u8 = 0x02;
/// From the server: the answer to the scramble was right.
pub const FAST_IS_RIGHT: u8 = 0x03;
/// From the server: it must see the password itself.
pub const FULL_IS_NEEDED: u8 = 0x04;

pub type Scramble = [u8; SCRAMBLE_BYTES];

/// SHA1(password) XOR SHA1(scramble, SHA1(SHA1(password))); nothing for no password.
/// Source: MySQL internals, page_protocol_connection_phase_authentication_methods_native_password_authentication.html
pub fn native(password: &[u8], scramble: &Scramble) -> Vec<u8> {
    scramble_native(scramble, password).map_or_else(Vec::new, Vec::from)
}

/// Whether the answer was made from the password of which SHA1(SHA1(password)) is kept. In constant time.
pub fn is_native(answer: &[u8], scramble: &Scramble, kept: &[u8; 20]) -> bool {
    let Ok(answer) = <&[u8; 20]>::try_from(answer) else {
        return false;
    };
    let mask: [u8; 20] = Sha1::new()
        .chain_update(scramble)
        .chain_update(kept)
        .finalize()
        .into();
    let hashed = Zeroizing::new(xor(*answer, &mask));
    let again: [u8; 20] = Sha1::digest(*hashed).into();
    again.ct_eq(kept).into()
}

/// SHA256(password) XOR SHA256(SHA256(SHA256(password)), scramble); nothing for no password.
/// Source: MySQL internals, page_caching_sha2_authentication_exchanges.html
pub fn caching_sha2(password: &[u8], scramble: &Scramble) -> Vec<u8> {
    scramble_sha256(scramble, password).map_or_else(Vec::new, Vec::from)
}

/// Whether the answer was made from the password of which SHA256(SHA256(password)) is kept. In constant time.
pub fn is_caching_sha2(answer: &[u8], scramble: &Scramble, kept: &[u8; 32]) -> bool {
    let Ok(answer) = <&[u8; 32]>::try_from(answer) else {
        return false;
    };
    let mask: [u8; 32] = Sha256::new()
        .chain_update(kept)
        .chain_update(scramble)
        .finalize()
        .into();
    let hashed = Zeroizing::new(xor(*answer, &mask));
    let again: [u8; 32] = Sha256::digest(*hashed).into();
    again.ct_eq(kept).into()
}

/// Whether it is the password of which SHA256(SHA256(password)) is kept. In constant time.
pub fn is_password(password: &[u8], kept: &[u8; 32]) -> bool {
    let hashed: Zeroizing<[u8; 32]> = Zeroizing::new(Sha256::digest(password).into());
    let again: [u8; 32] = Sha256::digest(*hashed).into();
    again.ct_eq(kept).into()
}

/// MariaDB's signature of the server's 32 bytes with a key made from the password.
/// Source: MariaDB docs, connection#client_ed25519
pub fn ed25519(password: &[u8], nonce: &[u8; 32]) -> [u8; 64] {
    create_response_for_ed25519(password, nonce)
}

/// A password and its NUL under the repeated scramble, or back again. What RSA then encrypts.
pub fn masked(bytes: &[u8], scramble: &Scramble) -> Zeroizing<Vec<u8>> {
    let mask = scramble.iter().cycle();
    Zeroizing::new(bytes.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect())
}

/// The scramble that comes with a change of method: without the NUL that ends it. `None` unless it is as long as it must be.
pub fn scramble_of(data: &[u8]) -> Option<Scramble> {
    let scramble: &[u8; SCRAMBLE_BYTES] = data.strip_suffix(&[0])?.try_into().ok()?;
    Some(*scramble)
}

fn xor<const N: usize>(mut left: [u8; N], right: &[u8; N]) -> [u8; N] {
    left.iter_mut()
        .zip(right)
        .for_each(|(left, right)| *left ^= right);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAMBLE: &Scramble = b"bq2DAWpNw+l`}sIR@*Q8";

    #[test]
    fn an_answer_fits_the_password_it_was_made_of_and_no_other() {
        let kept: [u8; 20] = Sha1::digest(Sha1::digest("secret")).into();
        let answer = native(b"secret", SCRAMBLE);
        assert!(is_native(&answer, SCRAMBLE, &kept));
        let kept_sha2: [u8; 32] = Sha256::digest(Sha256::digest("secret")).into();
        let answer_sha2 = caching_sha2(b"secret", SCRAMBLE);
        assert!(is_caching_sha2(&answer_sha2, SCRAMBLE, &kept_sha2));
        assert!(is_password(b"secret", &kept_sha2));

        let mut other = *SCRAMBLE;
        other[19] ^= 1;
        assert!(!is_native(&answer, &other, &kept));
        assert!(!is_caching_sha2(&answer_sha2, &other, &kept_sha2));
        for wrong in [&b""[..], b"\0", b"Secret", b"secret\0"] {
            assert!(!is_password(wrong, &kept_sha2));
            assert!(!is_native(&native(wrong, SCRAMBLE), SCRAMBLE, &kept));
            assert!(!is_caching_sha2(
                &caching_sha2(wrong, SCRAMBLE),
                SCRAMBLE,
                &kept_sha2
            ));
        }
        // What is kept makes no answer.
        assert!(!is_native(&kept, SCRAMBLE, &kept));
        assert!(!is_caching_sha2(&kept_sha2, SCRAMBLE, &kept_sha2));
        assert!(!is_native(&answer[..19], SCRAMBLE, &kept));
    }

    #[test]
    fn a_mask_is_taken_off_by_itself() {
        let long = [7; 45];
        assert_eq!(*masked(&masked(&long, SCRAMBLE), SCRAMBLE), long);
        assert_ne!(*masked(&long, SCRAMBLE), long);
    }

    #[test]
    fn a_scramble_ends_in_its_nul() {
        let sent = [&SCRAMBLE[..], &[0]].concat();
        assert_eq!(scramble_of(&sent), Some(*SCRAMBLE));
        for wrong in [&sent[..20], &sent[1..], &[], &[0]] {
            assert_eq!(scramble_of(wrong), None);
        }
    }
}
