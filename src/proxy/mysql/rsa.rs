//! How a password crosses a channel that is not encrypted: under the scramble, under the server's public key. Never keeps a
//! password. Read `prove.rs` and `upstream.rs` next.
//!
//! It hides the password from who listens, not from who sits between: nothing says whose key it is. OAEP with SHA-1 is what the
//! protocol has.
//! Source: MySQL internals, page_caching_sha2_authentication_exchanges.html

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::wire::mysql::auth::{Scramble, masked};

/// Letters of a line of PEM.
const LINE: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RsaError(&'static str);

/// A key pair that lives as long as the process: a client asks for the public half each time.
pub struct KeyPair {
    private: OaepPrivateDecryptingKey,
    pem: Vec<u8>,
}

impl KeyPair {
    /// Takes a fraction of a second.
    pub fn make() -> Result<Self, RsaError> {
        let failed = |_| RsaError("a key for the log-in without TLS cannot be made");
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(failed)?;
        let public = private.public_key().as_der().map_err(failed)?;
        Ok(Self {
            private: OaepPrivateDecryptingKey::new(private).map_err(failed)?,
            pem: pem(public.as_ref()),
        })
    }

    /// The public half, as PEM.
    pub fn public(&self) -> &[u8] {
        &self.pem
    }

    /// The password that a client has sent. Takes a millisecond of calculation; not for wire threads.
    pub fn password(&self, sent: &[u8], scramble: &Scramble) -> Option<Zeroizing<Vec<u8>>> {
        let mut plain = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let decrypted = self.private.decrypt(&OAEP_SHA1_MGF1SHA1, sent, &mut plain, None);
        let password = masked(decrypted.ok()?, scramble);
        password
            .strip_suffix(&[0])
            .map(|password| Zeroizing::new(password.to_vec()))
    }
}

/// A password for the server whose public key this is, as PEM.
pub fn encrypted(password: &[u8], scramble: &Scramble, key: &[u8]) -> Result<Vec<u8>, RsaError> {
    let no_key = "the server's public key is none of RSA with 2048 bits or more";
    let info = SubjectPublicKeyInfoDer::from_pem_slice(key).map_err(|_| RsaError(no_key))?;
    let key = PublicEncryptingKey::from_der(&info).map_err(|_| RsaError(no_key))?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| RsaError(no_key))?;
    let mut with_end = Zeroizing::new(Vec::with_capacity(password.len() + 1));
    with_end.extend_from_slice(password);
    with_end.push(0);
    let mut out = vec![0; key.ciphertext_size()];
    let plain = masked(&with_end, scramble);
    let count = key
        .encrypt(&OAEP_SHA1_MGF1SHA1, &plain, &mut out, None)
        .map_err(|_| RsaError("the password is too long for the server's public key"))?
        .len();
    out.truncate(count);
    Ok(out)
}

fn pem(der: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(der);
    let mut out = b"-----BEGIN PUBLIC KEY-----\n".to_vec();
    for line in text.as_bytes().chunks(LINE) {
        out.extend(line);
        out.push(b'\n');
    }
    out.extend(b"-----END PUBLIC KEY-----\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAMBLE: &Scramble = b"bq2DAWpNw+l`}sIR@*Q8";

    #[test]
    fn a_password_comes_out_as_it_went_in_and_under_its_own_scramble_only() {
        let pair = KeyPair::make().expect("a key");
        let sent = encrypted(b"a password, longer than the scramble", SCRAMBLE, pair.public()).expect("sent");
        let read = pair.password(&sent, SCRAMBLE).expect("a password");
        assert_eq!(*read, b"a password, longer than the scramble");
        let mut other = *SCRAMBLE;
        other[0] ^= 1;
        assert_ne!(pair.password(&sent, &other).as_deref(), Some(&*read));
        for wrong in [&sent[1..], &[], &[0; 256]] {
            assert_eq!(pair.password(wrong, SCRAMBLE), None);
        }
        assert!(encrypted(&[b'x'; 214], SCRAMBLE, pair.public()).is_err());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for key in [
            &b""[..],
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            b"\xff\x00",
        ] {
            assert!(encrypted(b"secret", SCRAMBLE, key).is_err());
        }
    }
}
