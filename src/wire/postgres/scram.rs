//! SCRAM-SHA-256 with and without channel binding, both sides, as values in and values out. Never draws a nonce and never sees a socket.
//! Source: RFC 5802 and RFC 7677; PostgreSQL docs, sasl-authentication.html. Read `conversation.rs` next.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

pub const MECHANISM: &str = "SCRAM-SHA-256";

/// The same, bound to the TLS channel.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The beginning of a message that is bound to the certificate of the server's side.
const BOUND: &str = "p=tls-server-end-point";

/// Iterations that PostgreSQL itself uses; a server asking for more than `ITERATIONS_MAX` is refused.
pub const ITERATIONS_MAX: u32 = 1_000_000;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    #[error("malformed SCRAM message")]
    Malformed,
    #[error("the client asks for a channel binding that was not offered")]
    ChannelBinding,
    /// Somebody between the two took the offer out, or the client is wrong.
    #[error("the client did not see that channel binding was offered")]
    Downgraded,
    /// Somebody between the two ends the TLS of both.
    #[error("the client is on another TLS channel")]
    OtherChannel,
    #[error("the proof does not match")]
    WrongProof,
    #[error("the server could not prove that it knows the password")]
    WrongServer,
}

/// What a server keeps of a password.
#[derive(Clone, Debug)]
pub struct StoredKeys {
    pub iterations: u32,
    pub salt: Vec<u8>,
    pub stored_key: [u8; 32],
    pub server_key: [u8; 32],
}

/// What a client can bind its log-in to, as it knows it.
#[derive(Clone, Copy, Debug)]
pub enum Binding<'a> {
    /// No TLS, or a certificate without a hash.
    Unable,
    /// TLS, but no such offer.
    NotOffered,
    /// The data of `tls-server-end-point`.
    EndPoint(&'a [u8]),
}

/// The server's side, between its first message and the client's proof.
pub struct ServerScram {
    keys: StoredKeys,
    nonce: String,
    /// client-first-bare "," server-first
    messages: String,
    /// base64 of the client's GS2 header, which it must repeat, and of what it is bound to.
    header: String,
    /// Whether a difference means another channel, rather than a malformed message.
    is_bound: bool,
}

impl ServerScram {
    /// Reads client-first and gives server-first.
    /// `mechanism`: which of the two the client chose.
    /// `end_point`: the data of `tls-server-end-point`, if `MECHANISM_PLUS` was offered.
    /// `nonce`: fresh random printable characters without a comma.
    /// Errors: as the server has them, of which `Downgraded` is the one that betrays an attack.
    /// Source: RFC 5802, section 6; `read_client_first_message` in PostgreSQL's auth-scram.c
    pub fn first(
        mechanism: &str,
        end_point: Option<&[u8]>,
        client_first: &[u8],
        keys: StoredKeys,
        nonce: &str,
    ) -> Result<(Self, String), ScramError> {
        let text = std::str::from_utf8(client_first).map_err(|_| ScramError::Malformed)?;
        let (flag, rest) = text.split_once(',').ok_or(ScramError::Malformed)?;
        let bound_to = match (flag, mechanism, end_point) {
            ("n", MECHANISM, _) | ("y", MECHANISM, None) => None,
            ("y", MECHANISM, Some(_)) => return Err(ScramError::Downgraded),
            (BOUND, MECHANISM_PLUS, Some(hash)) => Some(hash),
            (flag, _, _) if flag.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(ScramError::Malformed),
        };
        // Nobody logs in in the name of another: an authorization identity is refused, as the server refuses it.
        let bare = rest.strip_prefix(',').ok_or(ScramError::Malformed)?;
        let header = [flag.as_bytes(), b",,", bound_to.unwrap_or_default()].concat();
        let client_nonce = bare
            .strip_prefix("n=")
            .and_then(|named| named.split(',').nth(1))
            .and_then(|part| part.strip_prefix("r="))
            .filter(|nonce| !nonce.is_empty())
            .ok_or(ScramError::Malformed)?;
        let nonce = format!("{client_nonce}{nonce}");
        let server_first = format!(
            "r={nonce},s={},i={}",
            STANDARD.encode(&keys.salt),
            keys.iterations
        );
        let messages = format!("{bare},{server_first}");
        Ok((
            Self {
                keys,
                nonce,
                messages,
                header: STANDARD.encode(header),
                is_bound: bound_to.is_some(),
            },
            server_first,
        ))
    }

    /// Checks the client's proof and gives server-final.
    pub fn finish(self, client_final: &[u8]) -> Result<String, ScramError> {
        let text = std::str::from_utf8(client_final).map_err(|_| ScramError::Malformed)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let mut parts = without_proof.split(',');
        let binding = parts
            .next()
            .and_then(|part| part.strip_prefix("c="))
            .ok_or(ScramError::Malformed)?;
        let nonce = parts
            .next()
            .and_then(|part| part.strip_prefix("r="))
            .ok_or(ScramError::Malformed)?;
        if nonce != self.nonce {
            return Err(ScramError::Malformed);
        }
        if binding != self.header {
            return Err(if self.is_bound {
                ScramError::OtherChannel
            } else {
                ScramError::Malformed
            });
        }
        let proof: [u8; 32] = STANDARD
            .decode(proof)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(ScramError::Malformed)?;
        let messages = format!("{},{without_proof}", self.messages);
        let signature = hmac(&self.keys.stored_key, messages.as_bytes());
        let client_key = xor(&proof, &signature);
        let matches: bool = sha256(&client_key).ct_eq(&self.keys.stored_key).into();
        if !matches {
            return Err(ScramError::WrongProof);
        }
        Ok(format!(
            "v={}",
            STANDARD.encode(hmac(&self.keys.server_key, messages.as_bytes()))
        ))
    }
}

/// What a client derives from a password once, by PBKDF2, and may keep.
#[derive(Clone, Debug)]
pub struct ClientKeys {
    pub client_key: [u8; 32],
    pub server_key: [u8; 32],
}

impl Drop for ClientKeys {
    fn drop(&mut self) {
        self.client_key.zeroize();
        self.server_key.zeroize();
    }
}

impl ClientKeys {
    /// Slow on purpose: not for a wire thread.
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let mut salted = Zeroizing::new([0u8; 32]);
        pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, salted.as_mut_slice());
        Self {
            client_key: hmac(salted.as_slice(), b"Client Key"),
            server_key: hmac(salted.as_slice(), b"Server Key"),
        }
    }

    /// What a server keeps of the same password.
    pub fn stored_key(&self) -> [u8; 32] {
        sha256(&self.client_key)
    }
}

/// The client's side, after its first message.
pub struct ClientScram {
    bare: String,
    nonce: String,
    /// base64 of the GS2 header and of what the log-in is bound to.
    header: String,
}

/// What the server's first message asks for.
pub struct ServerFirst {
    pub salt: Vec<u8>,
    pub iterations: u32,
    text: String,
    nonce: String,
}

/// The client's side, between its proof and the server's.
pub struct ClientFinal {
    server_signature: [u8; 32],
}

impl ClientScram {
    /// Gives client-first. PostgreSQL takes the user from the start-up packet, so the name here is empty.
    /// For `MECHANISM_PLUS` if it is bound to an end point, else for `MECHANISM`.
    pub fn first(nonce: &str, binding: Binding<'_>) -> (Self, String) {
        let (flag, data) = match binding {
            Binding::Unable => ("n", &[][..]),
            Binding::NotOffered => ("y", &[][..]),
            Binding::EndPoint(hash) => (BOUND, hash),
        };
        let bare = format!("n=,r={nonce}");
        let message = format!("{flag},,{bare}");
        let header = STANDARD.encode([flag.as_bytes(), b",,", data].concat());
        (
            Self {
                bare,
                nonce: nonce.to_owned(),
                header,
            },
            message,
        )
    }

    pub fn read_server_first(&self, message: &[u8]) -> Result<ServerFirst, ScramError> {
        let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        let part = |prefix| text.split(',').find_map(|part| part.strip_prefix(prefix));
        let nonce = part("r=").ok_or(ScramError::Malformed)?;
        let salt = part("s=")
            .and_then(|salt| STANDARD.decode(salt).ok())
            .ok_or(ScramError::Malformed)?;
        let iterations: u32 = part("i=")
            .and_then(|count| count.parse().ok())
            .ok_or(ScramError::Malformed)?;
        if !nonce.starts_with(&self.nonce)
            || nonce == self.nonce
            || !(1..=ITERATIONS_MAX).contains(&iterations)
        {
            return Err(ScramError::Malformed);
        }
        Ok(ServerFirst {
            salt,
            iterations,
            text: text.to_owned(),
            nonce: nonce.to_owned(),
        })
    }

    /// Gives client-final with its proof.
    pub fn prove(self, server: &ServerFirst, keys: &ClientKeys) -> (ClientFinal, String) {
        let without_proof = format!("c={},r={}", self.header, server.nonce);
        let messages = format!("{},{},{without_proof}", self.bare, server.text);
        let signature = hmac(&keys.stored_key(), messages.as_bytes());
        let proof = xor(&keys.client_key, &signature);
        let server_signature = hmac(&keys.server_key, messages.as_bytes());
        (
            ClientFinal { server_signature },
            format!("{without_proof},p={}", STANDARD.encode(proof)),
        )
    }
}

impl ClientFinal {
    pub fn check(&self, server_final: &[u8]) -> Result<(), ScramError> {
        let signature = std::str::from_utf8(server_final)
            .ok()
            .and_then(|text| text.strip_prefix("v="))
            .and_then(|text| STANDARD.decode(text).ok())
            .ok_or(ScramError::WrongServer)?;
        let matches: bool = signature.ct_eq(&self.server_signature).into();
        if matches {
            Ok(())
        } else {
            Err(ScramError::WrongServer)
        }
    }
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn xor(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|at| a[at] ^ b[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(password: &[u8]) -> (StoredKeys, ClientKeys) {
        let salt = b"0123456789abcdef".to_vec();
        let client = ClientKeys::derive(password, &salt, 4096);
        let stored = StoredKeys {
            iterations: 4096,
            salt,
            stored_key: client.stored_key(),
            server_key: client.server_key,
        };
        (stored, client)
    }

    #[test]
    fn both_sides_agree_on_the_right_password_only() {
        let (stored, right) = keys(b"right");
        let (_, wrong) = keys(b"wrong");
        for (client_keys, expected) in [(&right, true), (&wrong, false)] {
            let (client, first) = ClientScram::first("clientnonce", Binding::Unable);
            let (server, server_first) =
                ServerScram::first(MECHANISM, None, first.as_bytes(), stored.clone(), "xyz").expect("first");
            let asked = client
                .read_server_first(server_first.as_bytes())
                .expect("server first");
            let (last, proof) = client.prove(&asked, client_keys);
            match server.finish(proof.as_bytes()) {
                Ok(signature) => {
                    assert!(expected);
                    assert_eq!(last.check(signature.as_bytes()), Ok(()));
                    assert_eq!(last.check(b"v=AAAA"), Err(ScramError::WrongServer));
                }
                Err(error) => assert_eq!((expected, error), (false, ScramError::WrongProof)),
            }
        }
    }

    #[test]
    fn a_first_message_that_does_not_fit_what_was_offered_is_refused() {
        let (stored, _) = keys(b"x");
        let hash = Some(&b"hash"[..]);
        let bound = "p=tls-server-end-point,,n=,r=abc";
        let cases = [
            ("n,,n=,r=abc", MECHANISM, None, None),
            ("n,,n=,r=abc", MECHANISM, hash, None),
            ("y,,n=,r=abc", MECHANISM, None, None),
            (bound, MECHANISM_PLUS, hash, None),
            ("y,,n=,r=abc", MECHANISM, hash, Some(ScramError::Downgraded)),
            ("n,,n=,r=abc", MECHANISM_PLUS, hash, Some(ScramError::Malformed)),
            ("y,,n=,r=abc", MECHANISM_PLUS, hash, Some(ScramError::Malformed)),
            (bound, MECHANISM, hash, Some(ScramError::ChannelBinding)),
            (bound, MECHANISM_PLUS, None, Some(ScramError::ChannelBinding)),
            (
                "p=tls-exporter,,n=,r=abc",
                MECHANISM_PLUS,
                hash,
                Some(ScramError::ChannelBinding),
            ),
            ("n,a=root,n=,r=abc", MECHANISM, None, Some(ScramError::Malformed)),
            ("n,,m=x,n=,r=abc", MECHANISM, None, Some(ScramError::Malformed)),
            ("n,,n=,r=", MECHANISM, None, Some(ScramError::Malformed)),
            ("n", MECHANISM, None, Some(ScramError::Malformed)),
        ];
        for (message, mechanism, offered, refused) in cases {
            let first = ServerScram::first(mechanism, offered, message.as_bytes(), stored.clone(), "xyz");
            assert_eq!(first.err(), refused, "{mechanism} {message}");
        }
    }

    #[test]
    fn a_bound_log_in_works_on_its_own_channel_only() {
        let (stored, client_keys) = keys(b"right");
        for (shown, expected) in [(b"here", None), (b"else", Some(ScramError::OtherChannel))] {
            let (client, first) = ClientScram::first("clientnonce", Binding::EndPoint(shown));
            let (server, server_first) = ServerScram::first(
                MECHANISM_PLUS,
                Some(b"here"),
                first.as_bytes(),
                stored.clone(),
                "xyz",
            )
            .expect("first");
            let asked = client
                .read_server_first(server_first.as_bytes())
                .expect("server first");
            let (_, proof) = client.prove(&asked, &client_keys);
            assert_eq!(server.finish(proof.as_bytes()).err(), expected);
        }
    }

    #[test]
    fn a_server_that_does_not_extend_the_nonce_is_refused() {
        let (client, _) = ClientScram::first("abc", Binding::Unable);
        assert!(client.read_server_first(b"r=abc,s=AAAA,i=4096").is_err());
        assert!(client.read_server_first(b"r=other,s=AAAA,i=4096").is_err());
        assert!(client.read_server_first(b"r=abcd,s=AAAA,i=99999999").is_err());
    }
}
