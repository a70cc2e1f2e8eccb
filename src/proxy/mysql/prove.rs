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

/// What a client has said of who it is, and may have proved already: its newest answer.
pub struct Claim {
    pub user: String,
    pub answer: Zeroizing<Vec<u8>>,
    /// What it answered by; `None`: it knows `mysql_native_password` alone.
    pub method: Option<String>,
    /// What it answered to: the newest that it was sent.
    pub scramble: Scramble,
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
    claim: &mut Claim,
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
    settle(exchange, claim).await?;
    Ok(Ok(Proof::Certificate(name.clone())))
}

/// Brings the method that the client has begun with to its end, whatever it answers: it may wait for something yet.
async fn settle(exchange: &mut Exchange, claim: &mut Claim) -> Result<(), NoSession> {
    match claim.method.as_deref() {
        None | Some(auth::CACHING_SHA2) => {}
        Some(auth::NATIVE) if !claim.is_empty() => {}
        Some(auth::NATIVE) => switch(exchange, claim, auth::NATIVE).await?,
        Some(_) => switch(exchange, claim, auth::CACHING_SHA2).await?,
    }
    if claim.method.as_deref() == Some(auth::CACHING_SHA2) && !claim.is_empty() {
        write(exchange, &encode_auth_more_data(&[auth::FAST_IS_RIGHT])).await?;
    }
    Ok(())
}

/// Goes on with somebody who is refused already as with a name that does not exist: nobody learns which agents have
/// certificates. However it ends, the refusal stands.
pub async fn play_along(exchange: &mut Exchange, keys: &Arc<KeyPair>, claim: &mut Claim) {
    let _refused_anyway = authenticate(exchange, keys, claim, None).await;
}

/// Against the stored verifiers, or against none with the same messages. A client that begins with `mysql_native_password`
/// and no answer has not looked at a scramble that was meant for another method, and knows perhaps no other: it is sent one.
/// Whoever answers by it and is not right is asked for `caching_sha2_password`, as everybody else is who begins otherwise.
/// `kept`: of an agent, if it is one.
async fn authenticate(
    exchange: &mut Exchange,
    keys: &Arc<KeyPair>,
    claim: &mut Claim,
    kept: Option<MysqlCredential>,
) -> Result<Result<Proof, Refused>, NoSession> {
    let MysqlCredential { caching_sha2, native } = kept.unwrap_or_default();
    let begun = claim.method.clone();
    let knows_native_alone = match begun.as_deref() {
        None => true,
        Some(auth::NATIVE) if claim.is_empty() => {
            switch(exchange, claim, auth::NATIVE).await?;
            true
        }
        Some(_) => false,
    };
    let is_native = knows_native_alone || begun.as_deref() == Some(auth::NATIVE);
    if is_native && native.is_some_and(|kept| auth::is_native(&claim.answer, &claim.scramble, &kept)) {
        return Ok(Ok(Proof::Secret));
    }
    let refused = |verifier: Option<()>| match (kept, verifier) {
        (None, _) => Refused::NoSuchAgent,
        (Some(_), None) => Refused::NoVerifier,
        (Some(_), Some(())) => Refused::WrongPassword,
    };
    if knows_native_alone {
        return Ok(Err(refused(native.map(drop))));
    }
    if begun.as_deref() != Some(auth::CACHING_SHA2) {
        switch(exchange, claim, auth::CACHING_SHA2).await?;
    }
    Ok(match knows(exchange, keys, claim, caching_sha2).await? {
        true => Ok(Proof::Secret),
        false => Err(refused(caching_sha2.map(drop))),
    })
}

/// `caching_sha2_password`, by a server that has no hash of the password itself: it looks at the answer, and if that is not
/// right, at the password.
/// Source: MySQL internals, page_caching_sha2_authentication_exchanges.html
async fn knows(
    exchange: &mut Exchange,
    keys: &Arc<KeyPair>,
    claim: &Claim,
    kept: Option<[u8; 32]>,
) -> Result<bool, NoSession> {
    if claim.is_empty() {
        return Ok(false);
    }
    // Nothing that could be sent fits it.
    let wanted = kept.unwrap_or_else(rand::random);
    if auth::is_caching_sha2(&claim.answer, &claim.scramble, &wanted) && kept.is_some() {
        write(exchange, &encode_auth_more_data(&[auth::FAST_IS_RIGHT])).await?;
        return Ok(true);
    }
    // A wrong answer is a failed log-in, whether its client goes on or not.
    let Ok(password) = full(exchange, keys, &claim.scramble).await else {
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

/// The password itself, of a user whom only the server knows; empty if there is none. Only inside TLS: whoever calls has
/// looked.
pub async fn ask_password(
    exchange: &mut Exchange,
    claim: &mut Claim,
) -> Result<Zeroizing<String>, NoSession> {
    match claim.method.as_deref() {
        None | Some(auth::CLEAR | auth::CACHING_SHA2) => {}
        Some(_) => switch(exchange, claim, auth::CACHING_SHA2).await?,
    }
    let sent = match claim.method.as_deref() {
        Some(auth::CLEAR) => claim.answer.clone(),
        Some(auth::CACHING_SHA2) if !claim.is_empty() => {
            write(exchange, &encode_auth_more_data(&[auth::FULL_IS_NEEDED])).await?;
            read(exchange).await?
        }
        // Without methods nobody can be asked for more.
        None | Some(_) => Zeroizing::default(),
    };
    let password = sent.strip_suffix(&[0]).unwrap_or_default();
    let password = str::from_utf8(password).map_err(|_| malformed("a password that is not UTF-8"))?;
    Ok(Zeroizing::new(password.to_owned()))
}

impl Claim {
    /// Whether it came without a password: with nothing, or the one byte by which a method says so.
    pub fn is_empty(&self) -> bool {
        matches!(self.answer.as_slice(), [] | [0])
    }
}

/// Asks for an answer by another method, to a scramble that nobody has answered to.
async fn switch(exchange: &mut Exchange, claim: &mut Claim, method: &str) -> Result<(), NoSession> {
    let scramble = fresh_scramble();
    let request = AuthSwitch {
        method: method.to_owned(),
        data: [&scramble[..], &[0]].concat(),
    };
    write(exchange, &request.encode()).await?;
    claim.answer = read(exchange).await?;
    claim.method = Some(method.to_owned());
    claim.scramble = scramble;
    Ok(())
}

async fn read(exchange: &mut Exchange) -> Result<Zeroizing<Vec<u8>>, NoSession> {
    exchange.read().await.map_err(|_| None)
}

async fn write(exchange: &mut Exchange, payload: &[u8]) -> Result<(), NoSession> {
    exchange.write(payload).await.map_err(|_| None)
}
