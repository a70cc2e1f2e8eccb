//! Lets people in who may read the log: their name, and an API token with the scope `log` as the password.
//! Never asks for it where it could be overheard, and never takes an agent's secret. Read `session.rs` next.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::catalog;
use super::error::{SqlError, state};
use super::functions;
use super::listen::Shared;
use crate::identity::directory::{Scope, SignedIn};
use crate::identity::principal::PersonName;
use crate::identity::secret::TokenHash;
use crate::proxy::postgres::{Arrived, first_packets};
use crate::proxy::{ListenTls, Socket};
use crate::wire::postgres::frame::put;
use crate::wire::postgres::message::{Status, client, put_parameter_status, put_ready, query_text, server};
use crate::wire::postgres::startup::{Startup, agreed, cancel_key_bytes};

/// From the first byte to ReadyForQuery. Slowed answers are part of it.
const LOGIN_WITHIN: Duration = Duration::from_secs(30);
/// No token is longer by far.
const PASSWORD_BYTES_MAX: usize = 4 << 10;
/// AuthenticationCleartextPassword.
/// Source: PostgreSQL docs, protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-AUTHENTICATIONCLEARTEXTPASSWORD
const ASK_PASSWORD: u32 = 3;

/// A person who may read the log, and the connection to them.
pub struct LetIn {
    pub socket: Socket,
    pub person: PersonName,
    /// Asked about again before each query.
    pub token: TokenHash,
    pub process: i32,
    pub cancelled: Arc<AtomicBool>,
    pub settings: Vec<(String, String)>,
}

pub async fn login(shared: &Arc<Shared>, stream: TcpStream, source: IpAddr) -> Option<LetIn> {
    timeout(LOGIN_WITHIN, let_in(shared, stream, source)).await.ok()?
}

async fn let_in(shared: &Arc<Shared>, stream: TcpStream, source: IpAddr) -> Option<LetIn> {
    let cancel = async |process, key: &[u8]| shared.cancel(process, key);
    let mut arrived = first_packets(shared.listener.as_ref(), stream, cancel).await?;
    match prove(shared, &mut arrived, source).await {
        Ok((person, token)) => begin(shared, arrived, person, token, source).await,
        Err(refused) => {
            let mut out = Vec::new();
            refused?.fields("FATAL").put(server::ERROR, &mut out);
            // Whoever is gone needs no answer.
            let _gone = arrived.socket.write_all(&out).await;
            let _closed = arrived.socket.shutdown().await;
            None
        }
    }
}

/// Who it is. `Err(None)`: the client has gone.
async fn prove(
    shared: &Shared,
    arrived: &mut Arrived,
    source: IpAddr,
) -> Result<(PersonName, TokenHash), Option<SqlError>> {
    let user = may_be_asked(shared, &arrived.socket, &arrived.startup, source)?.to_owned();
    let mut out = Vec::new();
    put(&mut out, server::AUTHENTICATION, |out| {
        out.extend(ASK_PASSWORD.to_be_bytes())
    });
    arrived.socket.write_all(&out).await.map_err(|_| None)?;
    let (tag, body) = arrived
        .socket
        .read_frame(PASSWORD_BYTES_MAX)
        .await
        .map_err(|_| None)?;
    let body = Zeroizing::new(body);
    let malformed = || {
        SqlError::new(
            state::PROTOCOL_VIOLATION,
            "expected a password message",
            "use a usual client",
        )
    };
    if tag != client::PASSWORD {
        return Err(Some(malformed()));
    }
    let password = query_text(&body).map_err(|_| Some(malformed()))?;
    let token = std::str::from_utf8(password).ok().and_then(TokenHash::of);
    let signed_in = match &token {
        Some(token) => known(shared, token).await?,
        None => None,
    };
    let named = |signed_in: &SignedIn| signed_in.person.name.as_str() == user;
    let (Some(token), Some(signed_in)) = (token, signed_in.filter(named)) else {
        let delay = shared.throttle.failed(source, Instant::now());
        warn!(%source, user, "somebody could not log in to read the log");
        tokio::time::sleep(delay).await;
        return Err(Some(SqlError::new(
            state::BAD_PASSWORD,
            format!(
                "password authentication failed for user \"{}\"",
                super::types::short(&user)
            ),
            "the user is a person's name and the password an API token of that person with the scope `log`, as `countersign user token NAME` makes one",
        )));
    };
    shared.throttle.succeeded(&source);
    if !signed_in.scopes.has(Scope::Log) {
        return Err(Some(lacks_scope(&signed_in.person.name)));
    }
    Ok((signed_in.person.name, token))
}

/// The user's name, if the password may be asked for at all.
fn may_be_asked<'a>(
    shared: &Shared,
    socket: &Socket,
    startup: &'a Startup,
    source: IpAddr,
) -> Result<&'a str, SqlError> {
    let needs_tls =
        matches!(shared.settings.tls, ListenTls::Required(_)) || !source.to_canonical().is_loopback();
    if needs_tls && !socket.is_encrypted() {
        let hint = match shared.settings.tls {
            ListenTls::Off => {
                "name `cert_file` and `key_file` in [log_sql], and connect with sslmode=require"
            }
            ListenTls::Offered(_) | ListenTls::Required(_) => "connect with sslmode=require or better",
        };
        return Err(SqlError::new(
            state::BAD_AUTHORIZATION,
            "tokens are taken inside TLS only, except from this machine",
            hint,
        ));
    }
    if startup
        .parameter("replication")
        .is_some_and(|value| !["false", "off", "no", "0"].contains(&value))
    {
        return Err(SqlError::unsupported("replication"));
    }
    let user = startup.parameter("user").filter(|user| !user.is_empty());
    let user = user.ok_or_else(|| {
        SqlError::new(
            state::BAD_AUTHORIZATION,
            "no user name in the start-up packet",
            "give your name as the user",
        )
    })?;
    let database = startup
        .parameter("database")
        .filter(|name| !name.is_empty())
        .unwrap_or(user);
    if database != catalog::DATABASE {
        return Err(SqlError::new(
            state::NO_DATABASE,
            format!("database \"{}\" does not exist", super::types::short(database)),
            format!(
                "the log is the database `{0}`: postgres://{user}@HOST:PORT/{0}",
                catalog::DATABASE
            ),
        ));
    }
    Ok(user)
}

/// Whose token it is, if it is good now.
pub async fn known(shared: &Shared, token: &TokenHash) -> Result<Option<SignedIn>, SqlError> {
    let found = shared.desk.authenticate_token(*token).await.map_err(|error| {
        warn!(%error, "the store cannot be asked for a token");
        SqlError::new(
            "58000",
            "the store is unavailable, nobody can log in",
            "retry later",
        )
    })?;
    Ok(found.filter(|signed_in| signed_in.person.active))
}

pub fn lacks_scope(person: &PersonName) -> SqlError {
    SqlError::new(
        state::NOT_ALLOWED,
        format!("this token of `{person}` lacks the scope `log`"),
        "use a token of a person with the role auditor or admin, made with the scope log",
    )
}

async fn begin(
    shared: &Arc<Shared>,
    arrived: Arrived,
    person: PersonName,
    token: TokenHash,
    source: IpAddr,
) -> Option<LetIn> {
    let Arrived {
        mut socket, startup, ..
    } = arrived;
    let mut out = Vec::new();
    let recorded = shared
        .desk
        .record_log_query(person.clone(), format!("sql connect from {source}"))
        .await;
    if let Err(error) = recorded {
        warn!(%error, "a connection to the log could not be recorded");
        not_recorded().fields("FATAL").put(server::ERROR, &mut out);
        let _gone = socket.write_all(&out).await;
        return None;
    }
    let spoken = agreed(startup.protocol);
    let extensions: Vec<&str> = startup
        .parameters
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| name.starts_with("_pq_."))
        .collect();
    if spoken != startup.protocol || !extensions.is_empty() {
        put(&mut out, server::NEGOTIATE, |out| {
            out.extend(spoken.to_be_bytes());
            out.extend((extensions.len() as u32).to_be_bytes());
            for extension in &extensions {
                out.extend(extension.as_bytes());
                out.push(0);
            }
        });
    }
    let mut key = vec![0; cancel_key_bytes(spoken)];
    rand::fill(&mut key[..]);
    let (process, cancelled) = shared.enlist(key.clone())?;
    let mut settings = functions::settings();
    if let Some(name) = startup.parameter("application_name")
        && let Some(setting) = settings.iter_mut().find(|(known, _)| known == "application_name")
    {
        setting.1 = name.to_owned();
    }
    put(&mut out, server::AUTHENTICATION, |out| out.extend([0; 4]));
    put_reports(&settings, person.as_str(), &mut out);
    put(&mut out, server::BACKEND_KEY, |out| {
        out.extend(process.to_be_bytes());
        out.extend(&key);
    });
    put_ready(&mut out, Status::Idle);
    info!(%source, person = %person, "{person} reads the log by SQL");
    let let_in = LetIn {
        socket,
        person,
        token,
        process,
        cancelled,
        settings,
    };
    greet(shared, let_in, &out).await
}

/// Sends the greeting; a client that does not take it has no session.
async fn greet(shared: &Shared, mut let_in: LetIn, out: &[u8]) -> Option<LetIn> {
    if let_in.socket.write_all(out).await.is_err() {
        shared.strike(let_in.process);
        return None;
    }
    Some(let_in)
}

/// The settings that a server reports without being asked.
/// Source: PostgreSQL docs, protocol-flow.html#PROTOCOL-ASYNC
fn put_reports(settings: &[(String, String)], person: &str, out: &mut Vec<u8>) {
    let reported = [
        ("server_version", "server_version"),
        ("server_encoding", "server_encoding"),
        ("client_encoding", "client_encoding"),
        ("application_name", "application_name"),
        ("default_transaction_read_only", "default_transaction_read_only"),
        ("in_hot_standby", "in_hot_standby"),
        ("is_superuser", "is_superuser"),
        ("DateStyle", "datestyle"),
        ("IntervalStyle", "intervalstyle"),
        ("TimeZone", "timezone"),
        ("integer_datetimes", "integer_datetimes"),
        ("standard_conforming_strings", "standard_conforming_strings"),
    ];
    for (shown, name) in reported {
        let value = settings
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value);
        put_parameter_status(out, shown, value);
    }
    put_parameter_status(out, "session_authorization", person);
}

pub fn not_recorded() -> SqlError {
    SqlError::new(
        state::LOG_UNAVAILABLE,
        "audit log unavailable, query not run",
        "every query of the log is a record of it first; see the program's own log, and retry later",
    )
}
