//! Who a client is, by what it can prove. Never lets it learn which agents there are: whoever is not let in has had the same
//! questions. That a user of the database logs in with its own password is seen, for it is asked for it. Read `login.rs` next.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::identity::certificate::CertificateName;
use crate::identity::directory::{Agent, Credential};
use crate::identity::secret::MysqlCredential;
use crate::proxy::mysql::exchange::Exchange;
use crate::proxy::mysql::refused::{NoSession, Refused, malformed};
use crate::proxy::mysql::rsa::KeyPair;
use crate::wire::mysql::auth::{self, Scramble};
use crate::wire::mysql::handshake::{AuthSwitch, encode_auth_more_data};

/// What a client has said of who it is, and may have proved already.
pub struct Claim {
    pub user: String,
    pub answer: Zeroizing<Vec<u8>>,
    /// What it answered by; `None`: it knows `mysql_native_password` alone.
    pub method: Option<String>,
    /// What it answered to.
    pub scramble: Scramble,
    /// Whether that has been answered to before, so that another must be.
    pub is_used: bool,
}

/// By what somebody was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    Secret,
    Certificate(CertificateName),
}

/// A scramble as servers make them: no NUL, which would end it, and no `$`, which separates in what MySQL keeps.
pub fn fresh_scramble() -> Scramble {
    rand::random::<Scramble>().map(|byte| match byte & 0x7f {
        letter @ (0 | b'$') => letter + 1,
        letter => letter,
    })
}

/// Lets a client prove that it is `agent`, in the one way in which that agent logs in.
pub async fn prove(
    exchange: &mut Exchange,
    keys: &Arc<KeyPair>,
    claim: &Claim,
    agent: Option<&Agent>,
) -> Result<Result<Proof, Refused>, NoSession> {
    let name = match agent {
        None => return authenticate(exchange, keys, claim, None).await,
        Some(agent) => match &agent.credential {
            // A password that is passed on is no proof to the proxy.
            Credential::PassedOn => return authenticate(exchange, keys, claim, None).await,
            Credential::Secret(_) => return authenticate(exchange, keys, claim, Some(agent.mysql)).await,
            Credential::Certificate(name) => name,
        },
    };
    match exchange.socket.peer_certificate() {
        Some(shown) if name.is_of(shown) => {}
        Some(_) => return Ok(Err(Refused::OtherCertificate)),
        None => return Ok(Err(Refused::NoCertificate)),
    }
    // Whoever has answered by this method waits to hear what became of it.
    let waits = !claim.is_empty() && claim.method.as_deref() == Some(auth::CACHING_SHA2);
    if waits {
        write(exchange, &encode_auth_more_data(&[auth::FAST_IS_RIGHT])).await?;
    }
    Ok(Ok(Proof::Certificate(name.clone())))
}

/// Goes on with somebody who is refused already as with a name that does not exist: nobody learns which agents have
/// certificates. However it ends, the refusal stands.
pub async fn play_along(exchange: &mut Exchange, keys: &Arc<KeyPair>, claim: &Claim) {
    let _refused_anyway = authenticate(exchange, keys, claim, None).await;
}

/// Against the stored verifiers, or against none with the same messages: whoever begins with `mysql_native_password` and is
/// not right by it is asked for `caching_sha2_password`, as everybody else is who begins otherwise.
/// `kept`: of an agent, if it is one.
async fn authenticate(
    exchange: &mut Exchange,
    keys: &Arc<KeyPair>,
    claim: &Claim,
    kept: Option<MysqlCredential>,
) -> Result<Result<Proof, Refused>, NoSession> {
    let MysqlCredential { caching_sha2, native } = kept.unwrap_or_default();
    let begins_with_native = match claim.method.as_deref() {
        // It cannot be asked for another answer.
        None => true,
        Some(method) => method == auth::NATIVE && !claim.is_used,
    };
    if begins_with_native && native.is_some_and(|kept| auth::is_native(&claim.answer, &claim.scramble, &kept))
    {
        return Ok(Ok(Proof::Secret));
    }
    let no_verifier = |verifier| match (kept, verifier) {
        (None, _) => Refused::NoSuchAgent,
        (Some(_), None) => Refused::NoVerifier,
        (Some(_), Some(())) => Refused::WrongPassword,
    };
    if claim.method.is_none() {
        return Ok(Err(no_verifier(native.map(drop))));
    }
    let is_right = if claim.method.as_deref() == Some(auth::CACHING_SHA2) && !claim.is_used {
        knows(exchange, keys, &claim.answer, &claim.scramble, caching_sha2).await?
    } else {
        let (answer, scramble) = switch(exchange, auth::CACHING_SHA2).await?;
        knows(exchange, keys, &answer, &scramble, caching_sha2).await?
    };
    Ok(match is_right {
        true => Ok(Proof::Secret),
        false => Err(no_verifier(caching_sha2.map(drop))),
    })
}

/// `caching_sha2_password`, by a server that has no hash of the password itself: it looks at the answer, and if that is not
/// right, at the password.
/// Source: MySQL internals, page_caching_sha2_authentication_exchanges.html
async fn knows(
    exchange: &mut Exchange,
    keys: &Arc<KeyPair>,
    answer: &[u8],
    scramble: &Scramble,
    kept: Option<[u8; 32]>,
) -> Result<bool, NoSession> {
    if is_no_password(answer) {
        return Ok(false);
    }
    // Nothing that could be sent fits it.
    let wanted = kept.unwrap_or_else(rand::random);
    if auth::is_caching_sha2(answer, scramble, &wanted) && kept.is_some() {
        write(exchange, &encode_auth_more_data(&[auth::FAST_IS_RIGHT])).await?;
        return Ok(true);
    }
    // A wrong answer is a failed log-in, whether its client goes on or not.
    let Ok(password) = full(exchange, keys, scramble).await else {
        return Ok(false);
    };
    Ok(password.is_some_and(|password| auth::is_password(&password, &wanted)) && kept.is_some())
}

/// Asks for the password itself: inside TLS as it is, outside under the key of this process. `None`: it cannot be read.
async fn full(
    exchange: &mut Exchange,
    keys: &Arc<KeyPair>,
    scramble: &Scramble,
) -> Result<Option<Zeroizing<Vec<u8>>>, NoSession> {
    write(exchange, &encode_auth_more_data(&[auth::FULL_IS_NEEDED])).await?;
    let mut sent = read(exchange).await?;
    if exchange.socket.is_encrypted() {
        let password = sent.strip_suffix(&[0]);
        return Ok(password.map(|password| Zeroizing::new(password.to_vec())));
    }
    if *sent == [auth::PUBLIC_KEY_REQUEST] {
        write(exchange, &encode_auth_more_data(keys.public())).await?;
        sent = read(exchange).await?;
    }
    let (keys, scramble) = (Arc::clone(keys), *scramble);
    // Slow, so it must not stand on a wire thread.
    let decrypted = tokio::task::spawn_blocking(move || keys.password(&sent, &scramble)).await;
    decrypted.map_err(|_| None)
}

/// The password itself, of a user whom only the server knows. Only inside TLS: whoever calls has looked.
pub async fn ask_password(exchange: &mut Exchange, claim: &Claim) -> Result<Zeroizing<String>, NoSession> {
    let sent = match claim.method.as_deref() {
        Some(auth::CLEAR) if !claim.is_used => claim.answer.clone(),
        Some(auth::CACHING_SHA2) if !claim.is_used && !claim.is_empty() => ask_full(exchange).await?,
        None | Some(auth::CACHING_SHA2) if !claim.is_used => Zeroizing::default(),
        _ => {
            let (answer, _) = switch(exchange, auth::CACHING_SHA2).await?;
            match is_no_password(&answer) {
                true => Zeroizing::default(),
                false => ask_full(exchange).await?,
            }
        }
    };
    let password = sent.strip_suffix(&[0]).unwrap_or_default();
    let password = str::from_utf8(password).map_err(|_| malformed("a password that is not UTF-8"))?;
    Ok(Zeroizing::new(password.to_owned()))
}

async fn ask_full(exchange: &mut Exchange) -> Result<Zeroizing<Vec<u8>>, NoSession> {
    write(exchange, &encode_auth_more_data(&[auth::FULL_IS_NEEDED])).await?;
    read(exchange).await
}

impl Claim {
    /// Whether it came without a password.
    pub fn is_empty(&self) -> bool {
        is_no_password(&self.answer)
    }
}

/// Nothing, or the one byte by which this method says so.
fn is_no_password(answer: &[u8]) -> bool {
    matches!(answer, [] | [0])
}

/// Asks for an answer by another method, to a scramble that nobody has answered to.
async fn switch(exchange: &mut Exchange, method: &str) -> Result<(Zeroizing<Vec<u8>>, Scramble), NoSession> {
    let scramble = fresh_scramble();
    let request = AuthSwitch {
        method: method.to_owned(),
        data: [&scramble[..], &[0]].concat(),
    };
    write(exchange, &request.encode()).await?;
    Ok((read(exchange).await?, scramble))
}

async fn read(exchange: &mut Exchange) -> Result<Zeroizing<Vec<u8>>, NoSession> {
    exchange.read().await.map_err(|_| None)
}

async fn write(exchange: &mut Exchange, payload: &[u8]) -> Result<(), NoSession> {
    exchange.write(payload).await.map_err(|_| None)
}
