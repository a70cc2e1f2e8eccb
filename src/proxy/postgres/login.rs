//! From the first byte of a client to a session that may begin: `arrive.rs`, `prove.rs`, and the server behind it.
//! Never begins a session whose log-in is not on record. Read `session.rs` next.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout_at;
use tracing::{info, warn};

use crate::audit::entry::{Body, Entry};
use crate::clock::Timestamp;
use crate::desk::Seat;
use crate::identity::directory::Agent;
use crate::identity::principal::{Peer, SessionId};
use crate::policy::{Outcome, evaluate};
use crate::proxy::ListenTls;
use crate::proxy::postgres::Side;
use crate::proxy::postgres::arrive::{Arrived, first_packets};
use crate::proxy::postgres::prove::{Proof, Refused, ask_password, play_along, prove};
use crate::proxy::postgres::startup::{self, Asked};
use crate::proxy::postgres::upstream::{Connected, DialError};
use crate::proxy::refusal::fatal;
use crate::proxy::registry::Control;
use crate::proxy::socket::Socket;
use crate::proxy::thread::WireThread;
use crate::sql::judge_postgres;
use crate::sql::statement::LexingState;
use crate::wire::postgres::frame::put;
use crate::wire::postgres::message::{Fields, Status, put_parameter_status, put_ready, server};
use crate::wire::postgres::startup::{agreed, cancel_key_bytes};

/// A client that is who it says, and its server connection.
pub struct LoggedIn {
    pub peer: Arc<Peer>,
    pub client: Socket,
    pub upstream: Connected,
    pub process: i32,
    pub control: UnboundedReceiver<Control>,
    pub application_name: String,
    pub seat: Seat,
}

/// Why there is no session. `None`: the client went, or wanted none.
pub type NoSession = Option<Box<Fields>>;

/// Talks to a client up to the first ReadyForQuery, for as long as `limits.login_seconds` allow.
pub async fn login(
    thread: &Rc<WireThread>,
    side: &Arc<Side>,
    stream: TcpStream,
    source: IpAddr,
) -> Option<LoggedIn> {
    let within = thread.shared.settings.limits.login;
    let deadline = tokio::time::Instant::now() + within;
    // Who has not said what it wants is told nothing, as the server has it.
    let cancel = async |process, key: &[u8]| {
        if let Some(mut carried_out) = side.registry.cancel(process, key) {
            // It ends by being dropped.
            let _carried_out = carried_out.recv().await;
        }
    };
    let first = first_packets(side.listener.as_ref(), stream, cancel);
    let mut arrived = timeout_at(deadline, first).await.ok()??;
    let logged_in = timeout_at(deadline, log_in(thread, side, &mut arrived, source)).await;
    let logged_in = match logged_in {
        Ok(logged_in) => logged_in,
        Err(_elapsed) => Err(too_late(thread, &arrived, source, within)),
    };
    match logged_in {
        Ok((peer, upstream, asked)) => begin(thread, side, arrived, peer, upstream, &asked).await,
        Err(Some(fields)) => {
            let mut out = Vec::new();
            fields.put(server::ERROR, &mut out);
            // The client may be gone; the failure is on record either way.
            let _gone = send(&mut arrived.socket, &out).await;
            None
        }
        Err(None) => None,
    }
}

async fn log_in(
    thread: &Rc<WireThread>,
    side: &Arc<Side>,
    arrived: &mut Arrived,
    source: IpAddr,
) -> Result<(Arc<Peer>, Connected, Asked), NoSession> {
    let shared = &thread.shared;
    let Arrived {
        socket: client,
        startup,
        end_point,
    } = arrived;
    if matches!(side.front.tls, ListenTls::Required { .. }) && !client.is_encrypted() {
        return Err(told(fatal(
            "28000",
            "this proxy requires TLS: connect with sslmode=require",
        )));
    }
    let asked = startup::read(startup).map_err(|error| told(fatal("08P01", &error.to_string())))?;
    let spoken = agreed(startup.protocol);
    if startup.protocol != spoken || !asked.extensions.is_empty() {
        negotiate(client, spoken, &asked).await?;
    }
    let agent = shared.desk.agent(&asked.user).await.map_err(|error| {
        warn!(%error, "the store cannot be asked for an agent");
        told(fatal(
            "58000",
            "countersign: the store is unavailable, nobody can log in. Retry later.",
        ))
    })?;
    let passing = side
        .front
        .pass_through
        .iter()
        .find(|passing| agent.is_none() && passing.database_user == asked.user);
    if let Some(passing) = passing {
        return pass_through(thread, side, client, passing.clone(), asked, source).await;
    }
    let proof = prove(client, &asked.user, agent.as_ref(), end_point.as_deref()).await?;
    let served = &side.front.upstream.databases;
    let let_in = match (agent, proof) {
        (Some(agent), Ok(proof)) => may_begin(agent, &asked.database, served).map(|agent| (agent, proof)),
        (_, Err(refused)) => Err(refused),
        (None, Ok(_)) => Err(Refused::NoSuchAgent),
    };
    let agent = match let_in {
        Ok((agent, proof)) => {
            let by = match proof {
                Proof::Secret => String::new(),
                Proof::Certificate(name) => format!("certificate {name}"),
            };
            record(thread, &asked.user, source, Ok(&by))?;
            agent
        }
        Err(refused) => {
            record(thread, &asked.user, source, Err(&refused))?;
            if refused.is_hidden() {
                play_along(client, &asked.user, end_point.as_deref()).await;
            }
            return turn_away(thread, source, &refused, &asked).await;
        }
    };
    shared.throttle.succeeded(&source);
    let peer = Arc::new(peer_of(agent, &asked, source, side.dialler.name()));
    judge_settings(thread, &peer, &asked)?;
    let dialled = side
        .dialler
        .connect(&peer.database_user, &peer.database, &asked.parameters())
        .await;
    match dialled {
        Ok(upstream) => match unserved(&upstream) {
            None => Ok((peer, upstream, asked)),
            Some(why) => Err(told(why)),
        },
        Err(error) => Err(told(
            dial_failed(&peer, error).fields(&asked.user, &asked.database),
        )),
    }
}

/// A user of the database, whom nobody knows but the server: it is let in if the server lets it in with the password
/// that it brings. It counts as logged in only then.
async fn pass_through(
    thread: &Rc<WireThread>,
    side: &Arc<Side>,
    client: &mut Socket,
    user: Agent,
    asked: Asked,
    source: IpAddr,
) -> Result<(Arc<Peer>, Connected, Asked), NoSession> {
    let shared = &thread.shared;
    let name = user.name.clone();
    let refuse = async |refused: Refused| {
        record(thread, name.as_str(), source, Err(&refused))?;
        turn_away(thread, source, &refused, &asked).await
    };
    if !client.is_encrypted() {
        return refuse(Refused::NotEncrypted).await;
    }
    let password = ask_password(client).await?;
    if password.is_empty() {
        return refuse(Refused::WrongPassword).await;
    }
    let user = match may_begin(user, &asked.database, &side.front.upstream.databases) {
        Ok(user) => user,
        Err(refused) => return refuse(refused).await,
    };
    let peer = Arc::new(peer_of(user, &asked, source, side.dialler.name()));
    judge_settings(thread, &peer, &asked)?;
    let dialled = side
        .dialler
        .connect_as(&peer.database_user, &password, &peer.database, &asked.settings)
        .await;
    drop(password);
    let upstream = match dialled {
        Ok(upstream) => upstream,
        Err(error) => return refuse(dial_failed(&peer, error)).await,
    };
    record(thread, name.as_str(), source, Ok("its own password"))?;
    shared.throttle.succeeded(&source);
    match unserved(&upstream) {
        None => Ok((peer, upstream, asked)),
        Some(why) => Err(told(why)),
    }
}

/// Answers a failed log-in, which is on record, the later the more of them there were.
async fn turn_away<T>(
    thread: &Rc<WireThread>,
    source: IpAddr,
    refused: &Refused,
    asked: &Asked,
) -> Result<T, NoSession> {
    tokio::time::sleep(thread.shared.throttle.failed(source, Instant::now())).await;
    Err(told(refused.fields(&asked.user, &asked.database)))
}

/// For the log and for the client.
fn too_late(thread: &Rc<WireThread>, arrived: &Arrived, source: IpAddr, within: Duration) -> NoSession {
    let user = arrived.startup.parameter("user").unwrap_or_default();
    let refused = Refused::TooLate(within);
    match record(thread, user, source, Err(&refused)) {
        Ok(()) => told(refused.fields(user, "")),
        Err(unrecorded) => unrecorded,
    }
}

/// Settings of the server under which texts would be read otherwise than here.
fn unserved(upstream: &Connected) -> Option<Fields> {
    let encoding = upstream.client_encoding.as_str();
    if !matches!(encoding, "UTF8" | "SQL_ASCII") {
        return Some(fatal(
            "0A000",
            &format!("client_encoding {encoding} is not served: set client_encoding to UTF8"),
        ));
    }
    // The server cuts and folds names in it, so in another one two names here may be one there.
    let encoding = upstream.server_encoding.as_str();
    if encoding != "UTF8" {
        return Some(fatal(
            "0A000",
            &format!(
                "a database with the encoding {encoding} is not served: only UTF8 is, because names mean another thing there"
            ),
        ));
    }
    if upstream.standard_conforming_strings != "on" {
        return Some(fatal(
            "0A000",
            "standard_conforming_strings off is not served: set it to on for this role or database",
        ));
    }
    None
}

fn dial_failed(peer: &Peer, error: DialError) -> Refused {
    warn!(principal.name = %peer.principal, %error, "no server connection for a client");
    match error {
        DialError::Refused(fields) => Refused::ByServer(Box::new(fields)),
        DialError::NotAsked(_) => Refused::NotAsked,
        DialError::Unreachable(_)
        | DialError::NoTls
        | DialError::NoUser(_)
        | DialError::Authentication(_) => Refused::NoServer,
    }
}

fn peer_of(agent: Agent, asked: &Asked, source: IpAddr, upstream: &str) -> Peer {
    Peer {
        principal: agent.name,
        owner: agent.owner,
        profile: agent.profile,
        labels: agent.labels,
        session: SessionId(rand::random()),
        source,
        upstream: upstream.to_owned(),
        database: asked.database.clone(),
        database_user: agent.database_user,
    }
}

/// `served` are the databases that the settings name; empty: all.
fn may_begin(agent: Agent, database: &str, served: &[String]) -> Result<Agent, Refused> {
    let is_served = served.is_empty() || served.iter().any(|name| name == database);
    match agent.ended(Timestamp::now()) {
        Some(ended) => Err(Refused::Ended(ended)),
        None if !is_served || !agent.may_connect_to(database) => Err(Refused::Database),
        None => Ok(agent),
    }
}

/// A log-in, with what let it in if that was no secret, or with why it failed. One that cannot be recorded does not happen.
fn record(
    thread: &Rc<WireThread>,
    user: &str,
    source: IpAddr,
    ended: Result<&str, &Refused>,
) -> Result<(), NoSession> {
    let body = Body::Login {
        principal: user,
        source,
        success: ended.is_ok(),
        reason: ended.unwrap_or_else(|refused| refused.reason()),
    };
    let entry = Entry {
        time: Timestamp::now(),
        session: None,
        body,
    };
    thread.append(&[entry]).map(|_| ()).map_err(|error| {
        warn!(%error, "a log-in cannot be recorded");
        told(fatal(
            "58000",
            "countersign: audit log unavailable, nobody can log in. Retry later.",
        ))
    })
}

/// Start-up settings are the SETs that they stand for: a rule that would hold one refuses the log-in.
fn judge_settings(thread: &Rc<WireThread>, peer: &Peer, asked: &Asked) -> Result<(), NoSession> {
    let rules = thread.shared.rules.load();
    for (name, value) in &asked.settings {
        let text = startup::as_statement(name, value);
        let judgement = judge_postgres(text.as_bytes(), LexingState::default_postgres(), &());
        let verdict = evaluate(&rules, &judgement, peer, Timestamp::now());
        if verdict.outcome() != Outcome::Allow {
            let why = format!(
                "countersign: the start-up parameter {name} is not allowed by rule {}: connect without it.",
                verdict.rule
            );
            return Err(told(fatal("42501", &why)));
        }
    }
    Ok(())
}

/// Source: PostgreSQL docs, protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-NEGOTIATEPROTOCOLVERSION
async fn negotiate(client: &mut Socket, spoken: u32, asked: &Asked) -> Result<(), NoSession> {
    let mut out = Vec::new();
    put(&mut out, server::NEGOTIATE, |out| {
        out.extend(spoken.to_be_bytes());
        out.extend((asked.extensions.len() as u32).to_be_bytes());
        for extension in &asked.extensions {
            out.extend(extension.as_bytes());
            out.push(0);
        }
    });
    send(client, &out).await
}

/// Tells the client all it needs to begin, and the registry that it may be cancelled.
async fn begin(
    thread: &Rc<WireThread>,
    side: &Arc<Side>,
    arrived: Arrived,
    peer: Arc<Peer>,
    upstream: Connected,
    asked: &Asked,
) -> Option<LoggedIn> {
    let Arrived {
        socket: mut client,
        startup,
        ..
    } = arrived;
    let (told, control) = unbounded_channel();
    let registry = &side.registry;
    let key_bytes = cancel_key_bytes(agreed(startup.protocol));
    let ends = told.clone();
    let (process, key) = registry.add(peer.principal.clone(), upstream.backend, told, key_bytes);
    let mut out = Vec::new();
    put(&mut out, server::AUTHENTICATION, |out| out.extend([0; 4]));
    for (name, value) in &upstream.parameters {
        put_parameter_status(&mut out, name, value);
    }
    put(&mut out, server::BACKEND_KEY, |out| {
        out.extend(process.to_be_bytes());
        out.extend(key);
    });
    put_ready(&mut out, Status::Idle);
    let application_name = asked
        .settings
        .iter()
        .rev()
        .find(|(name, _)| name == "application_name")
        .map(|(_, value)| value.clone())
        .or_else(|| startup.parameter("application_name").map(str::to_owned))
        .unwrap_or_default();
    let start = Body::SessionStart {
        peer: &peer,
        application_name: &application_name,
        tls: client.tls_version(),
    };
    let entry = Entry {
        time: Timestamp::now(),
        session: Some(peer.session),
        body: start,
    };
    if thread.append(&[entry]).is_err() || send(&mut client, &out).await.is_err() {
        registry.remove(process);
        return None;
    }
    info!(session.id = %peer.session, principal.name = %peer.principal, "session begins");
    let seat = thread.take_seat(&peer, "postgres", &application_name, ends);
    Some(LoggedIn {
        seat,
        peer,
        client,
        upstream,
        process,
        control,
        application_name,
    })
}

/// The client is told why.
pub fn told(fields: Fields) -> NoSession {
    Some(Box::new(fields))
}

pub fn malformed() -> NoSession {
    told(fatal("08P01", "malformed log-in message"))
}

pub async fn send(client: &mut Socket, bytes: &[u8]) -> Result<(), NoSession> {
    client.write_all(bytes).await.map_err(|_| None)?;
    client.flush().await.map_err(|_| None)
}
