//! SCRAM-SHA-256, both sides, as values in and values out. Never draws a nonce and never sees a socket.
//! Source: RFC 5802 and RFC 7677; PostgreSQL docs, sasl-authentication.html. Read `conversation.rs` next.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub const MECHANISM: &str = "SCRAM-SHA-256";

/// Iterations that PostgreSQL itself uses; a server asking for more than `ITERATIONS_MAX` is refused.
pub const ITERATIONS_MAX: u32 = 1_000_000;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    #[error("malformed SCRAM message")]
    Malformed,
    #[error("the client asks for channel binding, which was not offered")]
    ChannelBinding,
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

/// The server's side, between its first message and the client's proof.
pub struct ServerScram {
    keys: StoredKeys,
    nonce: String,
    /// client-first-bare "," server-first
    messages: String,
    /// base64 of the client's GS2 header, which it must repeat.
    header: String,
}

impl ServerScram {
    /// Reads client-first and gives server-first.
    /// `nonce`: fresh random printable characters without a comma.
    pub fn first(client_first: &[u8], keys: StoredKeys, nonce: &str) -> Result<(Self, String), ScramError> {
        let text = std::str::from_utf8(client_first).map_err(|_| ScramError::Malformed)?;
        let flag = text.split(',').next().unwrap_or_default();
        if flag.starts_with("p=") {
            return Err(ScramError::ChannelBinding);
        }
        if flag != "n" && flag != "y" {
            return Err(ScramError::Malformed);
        }
        let bare_at = text.match_indices(',').nth(1).ok_or(ScramError::Malformed)?.0 + 1;
        let (header, bare) = text.split_at(bare_at);
        let client_nonce = bare
            .split(',')
            .find_map(|part| part.strip_prefix("r="))
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
        if binding != self.header || nonce != self.nonce {
            return Err(ScramError::Malformed);
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

impl ClientKeys {
    /// Slow on purpose: not for a wire thread.
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let mut salted = [0u8; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
        Self {
            client_key: hmac(&salted, b"Client Key"),
            server_key: hmac(&salted, b"Server Key"),
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
    pub fn first(nonce: &str) -> (Self, String) {
        let bare = format!("n=,r={nonce}");
        let message = format!("n,,{bare}");
        (
            Self {
                bare,
                nonce: nonce.to_owned(),
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
        let without_proof = format!("c=biws,r={}", server.nonce);
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
            let (client, first) = ClientScram::first("clientnonce");
            let (server, server_first) =
                ServerScram::first(first.as_bytes(), stored.clone(), "xyz").expect("first");
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
    fn a_client_that_asks_for_channel_binding_is_refused() {
        let (stored, _) = keys(b"x");
        let refused = ServerScram::first(b"p=tls-server-end-point,,n=,r=abc", stored, "xyz").err();
        assert_eq!(refused, Some(ScramError::ChannelBinding));
    }

    #[test]
    fn a_server_that_does_not_extend_the_nonce_is_refused() {
        let (client, _) = ClientScram::first("abc");
        assert!(client.read_server_first(b"r=abc,s=AAAA,i=4096").is_err());
        assert!(client.read_server_first(b"r=other,s=AAAA,i=4096").is_err());
        assert!(client.read_server_first(b"r=abcd,s=AAAA,i=99999999").is_err());
    }
}
