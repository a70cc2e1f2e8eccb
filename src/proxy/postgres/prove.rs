//! Who a client is, by what it can prove. Never lets it learn which agents there are; that a user of the database logs in
//! with its own password is seen, for it is asked for it. Read `login.rs` next.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::identity::certificate::CertificateName;
use crate::identity::directory::{Agent, Credential, Ended};
use crate::identity::secret::ScramVerifier;
use crate::proxy::postgres::login::{NoSession, malformed, send, told};
use crate::proxy::refusal::fatal;
use crate::proxy::socket::Socket;
use crate::wire::bytes::Reader;
use crate::wire::postgres::frame::put;
use crate::wire::postgres::message::{Fields, client, server};
use crate::wire::postgres::scram::{MECHANISM, MECHANISM_PLUS, ScramError, ServerScram, StoredKeys};

/// No SCRAM message of a sound client is longer.
const LOGIN_MESSAGE_BYTES_MAX: usize = 8 << 10;

/// Why a client is not let in.
#[derive(Debug)]
pub enum Refused {
    /// The log learns that there is no such name, the client does not.
    NoSuchAgent,
    WrongPassword,
    /// It logs in by its certificate alone, and none was shown. The client is told no more than after a wrong password.
    NoCertificate,
    /// The certificate that was shown is good, but somebody else's.
    OtherCertificate,
    /// Somebody may sit between the client and this proxy.
    Channel(ScramFault),
    Ended(Ended),
    Database,
    /// A password that the server would take, outside TLS.
    NotEncrypted,
    /// In the server's own words.
    ByServer(Box<Fields>),
    /// The server would let anybody in as this user.
    NotAsked,
    NoServer,
    TooLate(Duration),
}

/// What is wrong with the channel that a log-in comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramFault {
    Downgraded,
    OtherChannel,
}

impl Refused {
    /// Whether the client must not see that nothing it could send would help.
    pub const fn is_hidden(&self) -> bool {
        matches!(self, Self::NoCertificate | Self::OtherCertificate)
    }

    /// For the log.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoSuchAgent => "no such agent",
            Self::WrongPassword => "wrong password",
            Self::NoCertificate => "no client certificate",
            Self::OtherCertificate => "the client certificate is not that of the agent",
            Self::Channel(ScramFault::Downgraded) => "the offer of channel binding did not reach the client",
            Self::Channel(ScramFault::OtherChannel) => "the client is on another TLS channel",
            Self::Ended(Ended::Revoked) => "credential revoked",
            Self::Ended(Ended::Expired) => "credential expired",
            Self::Database => "database not allowed",
            Self::NotEncrypted => "a password is taken inside TLS only",
            Self::ByServer(_) => "refused by the database server",
            Self::NotAsked => "the database server asks for no password",
            Self::NoServer => "the database server cannot be reached",
            Self::TooLate(_) => "it took too long",
        }
    }

    /// For the client.
    pub fn fields(&self, user: &str, database: &str) -> Fields {
        match self {
            Self::NoSuchAgent
            | Self::WrongPassword
            | Self::NoCertificate
            | Self::OtherCertificate
            | Self::NotAsked => fatal(
                "28P01",
                &format!("password authentication failed for user \"{user}\""),
            ),
            Self::Channel(ScramFault::Downgraded) => fatal(
                "28000",
                "SCRAM channel binding negotiation error: the client supports it but thinks that the proxy does not",
            ),
            Self::Channel(ScramFault::OtherChannel) => fatal("28000", "SCRAM channel binding check failed"),
            Self::Ended(_) => fatal("28000", &format!("agent \"{user}\": {}", self.reason())),
            Self::ByServer(fields) => Fields {
                severity: "FATAL".to_owned(),
                ..(**fields).clone()
            },
            Self::TooLate(within) => fatal(
                "57014",
                &format!(
                    "countersign: the log-in took longer than {} s. Retry later.",
                    within.as_secs()
                ),
            ),
            Self::NotEncrypted => fatal(
                "28000",
                &format!(
                    "the password of \"{user}\" is taken inside TLS only: connect with sslmode=require or better"
                ),
            ),
            Self::NoServer => fatal(
                "08006",
                "countersign: the database server cannot be reached; see the proxy's log.",
            ),
            Self::Database => fatal(
                "28000",
                &format!("agent \"{user}\" may not connect to database \"{database}\""),
            ),
        }
    }
}

/// By what somebody was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    Secret,
    Certificate(CertificateName),
}

/// Lets a client prove that it is `agent`, in the one way in which that agent logs in.
pub async fn prove(
    client: &mut Socket,
    user: &str,
    agent: Option<&Agent>,
    end_point: Option<&[u8]>,
) -> Result<Result<Proof, Refused>, NoSession> {
    let name = match agent.map(|agent| &agent.credential) {
        // A password that is passed on is no proof to the proxy.
        None | Some(Credential::PassedOn) => return authenticate(client, user, None, end_point).await,
        Some(Credential::Secret(verifier)) => {
            return authenticate(client, user, Some(verifier), end_point).await;
        }
        Some(Credential::Certificate(name)) => name,
    };
    Ok(match client.peer_certificate() {
        Some(shown) if name.is_of(shown) => Ok(Proof::Certificate(name.clone())),
        Some(_) => Err(Refused::OtherCertificate),
        None => Err(Refused::NoCertificate),
    })
}

/// Goes on with somebody who is refused already as with a name that does not exist: nobody learns which agents have
/// certificates. However it ends, the refusal stands.
pub async fn play_along(client: &mut Socket, user: &str, end_point: Option<&[u8]>) {
    let _refused_anyway = authenticate(client, user, None, end_point).await;
}

/// SCRAM-SHA-256 against the stored verifier, or against none with the same messages; bound to the channel if the
/// client can.
/// Source: PostgreSQL docs, sasl-authentication.html
async fn authenticate(
    client: &mut Socket,
    user: &str,
    verifier: Option<&ScramVerifier>,
    end_point: Option<&[u8]>,
) -> Result<Result<Proof, Refused>, NoSession> {
    let mut out = Vec::new();
    put(&mut out, server::AUTHENTICATION, |out| {
        out.extend(10u32.to_be_bytes());
        for mechanism in end_point.map(|_| MECHANISM_PLUS).into_iter().chain([MECHANISM]) {
            out.extend(mechanism.as_bytes());
            out.push(0);
        }
        out.push(0);
    });
    send(client, &out).await?;
    let first = password_message(client).await?;
    let mut reader = Reader::new(&first);
    let mechanism = reader.c_str().map_err(|_| malformed())?;
    let length = reader.i32().map_err(|_| malformed())?;
    let client_first = reader.rest();
    if usize::try_from(length) != Ok(client_first.len()) {
        return Err(malformed());
    }
    let keys = verifier.map_or_else(|| nobodys_keys(user), keys_of);
    let nonce = STANDARD_NO_PAD.encode(rand::random::<[u8; 18]>());
    let (scram, challenge) = match ServerScram::first(mechanism, end_point, client_first, keys, &nonce) {
        Ok(begun) => begun,
        Err(ScramError::Downgraded) => return Ok(Err(Refused::Channel(ScramFault::Downgraded))),
        Err(ScramError::ChannelBinding) => {
            return Err(told(fatal(
                "28000",
                "this channel binding is not offered: connect with channel_binding=disable",
            )));
        }
        Err(_) => return Err(malformed()),
    };
    send(client, &sasl(11, &challenge)).await?;
    let proof = password_message(client).await?;
    match scram.finish(&proof) {
        Ok(signature) if verifier.is_some() => {
            send(client, &sasl(12, &signature)).await?;
            Ok(Ok(Proof::Secret))
        }
        Err(ScramError::OtherChannel) => Ok(Err(Refused::Channel(ScramFault::OtherChannel))),
        Ok(_) | Err(_) if verifier.is_none() => Ok(Err(Refused::NoSuchAgent)),
        Ok(_) | Err(_) => Ok(Err(Refused::WrongPassword)),
    }
}

/// Asks for the password itself. Only inside TLS: whoever calls has looked.
/// Source: PostgreSQL docs, protocol-flow.html, AuthenticationCleartextPassword
pub async fn ask_password(client: &mut Socket) -> Result<Zeroizing<String>, NoSession> {
    let mut out = Vec::new();
    put(&mut out, server::AUTHENTICATION, |out| {
        out.extend(3u32.to_be_bytes());
    });
    send(client, &out).await?;
    let body = Zeroizing::new(password_message(client).await?);
    let mut reader = Reader::new(&body);
    let password = reader.c_str().map_err(|_| malformed())?;
    reader.end().map_err(|_| malformed())?;
    Ok(Zeroizing::new(password.to_owned()))
}

fn keys_of(verifier: &ScramVerifier) -> StoredKeys {
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
