//! Who a client is, by what it can prove. Never lets it learn whether a name exists, and never sends its password on.
//! Read `login.rs` next.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest, Sha256};

use crate::identity::directory::Agent;
use crate::proxy::login::{NoSession, malformed, send, told};
use crate::proxy::refusal::fatal;
use crate::proxy::socket::Socket;
use crate::wire::bytes::Reader;
use crate::wire::postgres::frame::put;
use crate::wire::postgres::message::{client, server};
use crate::wire::postgres::scram::{MECHANISM, ScramError, ServerScram, StoredKeys};

/// No SCRAM message of a sound client is longer.
const LOGIN_MESSAGE_BYTES_MAX: usize = 8 << 10;

/// SCRAM-SHA-256 against the stored verifier, or against none with the same messages.
/// Source: PostgreSQL docs, sasl-authentication.html
pub async fn authenticate(
    client: &mut Socket,
    user: &str,
    agent: Option<&Agent>,
) -> Result<Result<(), ScramError>, NoSession> {
    let mut out = Vec::new();
    put(&mut out, server::AUTHENTICATION, |out| {
        out.extend(10u32.to_be_bytes());
        out.extend(MECHANISM.as_bytes());
        out.extend([0, 0]);
    });
    send(client, &out).await?;
    let first = password_message(client).await?;
    let mut reader = Reader::new(&first);
    let mechanism = reader.c_str().map_err(|_| malformed())?;
    if mechanism != MECHANISM {
        return Err(told(fatal(
            "28000",
            "only SCRAM-SHA-256 is served, without channel binding",
        )));
    }
    reader.i32().map_err(|_| malformed())?;
    let keys = agent.map_or_else(|| nobodys_keys(user), keys_of);
    let nonce = STANDARD_NO_PAD.encode(rand::random::<[u8; 18]>());
    let (scram, challenge) = match ServerScram::first(reader.rest(), keys, &nonce) {
        Ok(begun) => begun,
        Err(ScramError::ChannelBinding) => {
            return Err(told(fatal(
                "28000",
                "channel binding is not offered: connect with channel_binding=disable",
            )));
        }
        Err(_) => return Err(malformed()),
    };
    send(client, &sasl(11, &challenge)).await?;
    let proof = password_message(client).await?;
    match scram.finish(&proof) {
        Ok(signature) if agent.is_some() => {
            send(client, &sasl(12, &signature)).await?;
            Ok(Ok(()))
        }
        Ok(_) => Ok(Err(ScramError::WrongProof)),
        Err(error) => Ok(Err(error)),
    }
}

fn keys_of(agent: &Agent) -> StoredKeys {
    let verifier = &agent.verifier;
    StoredKeys {
        iterations: verifier.iterations,
        salt: verifier.salt.clone(),
        stored_key: verifier.stored_key,
        server_key: verifier.server_key,
    }
}

/// A name that does not exist gets the same salt every time, as one that does, and no proof fits.
fn nobodys_keys(user: &str) -> StoredKeys {
    static SALT: std::sync::OnceLock<[u8; 32]> = std::sync::OnceLock::new();
    let secret = SALT.get_or_init(rand::random);
    let salt = Sha256::digest([secret.as_slice(), user.as_bytes()].concat());
    StoredKeys {
        iterations: crate::identity::secret::SCRAM_ITERATIONS,
        salt: salt[..16].to_vec(),
        stored_key: rand::random(),
        server_key: rand::random(),
    }
}

fn sasl(code: u32, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, server::AUTHENTICATION, |out| {
        out.extend(code.to_be_bytes());
        out.extend(text.as_bytes());
    });
    out
}

async fn password_message(client: &mut Socket) -> Result<Vec<u8>, NoSession> {
    let (tag, body) = client
        .read_frame(LOGIN_MESSAGE_BYTES_MAX)
        .await
        .map_err(|_| None)?;
    if tag == client::PASSWORD {
        Ok(body)
    } else {
        Err(malformed())
    }
}
