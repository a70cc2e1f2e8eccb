//! From the first byte of a client to a session that may begin: `arrive.rs`, `prove.rs`, and the server behind it.
//! Never begins a session whose log-in is not on record. Read `session.rs` next.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

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
use crate::proxy::mysql::Side;
use crate::proxy::mysql::arrive::{Arrived, first_packets};
use crate::proxy::mysql::exchange::Exchange;
use crate::proxy::mysql::letters::Letters;
use crate::proxy::mysql::prove::{Claim, Proof, ask_password, play_along, prove};
use crate::proxy::mysql::refused::{About, NoSession, Refused, UsingPassword, error, malformed, told};
use crate::proxy::mysql::upstream::{Connected, DialError, ServerError};
use crate::proxy::registry::Control;
use crate::proxy::socket::Socket;
use crate::proxy::thread::WireThread;
use crate::sql::judge_mysql;
use crate::sql::mysql_state::MysqlState;
use crate::wire::mysql::answer::{OkPacket, Place, Status};
use crate::wire::mysql::auth::Scramble;
use crate::wire::mysql::capability::Capabilities;
use crate::wire::mysql::handshake::{Attributes, ChangeUser};

/// What is kept of a client's own words about itself: as much as a reviewer reads.
const CLAIMS_MAX: usize = 32;
const CLAIM_LETTERS_MAX: usize = 256;

/// Letters of a schema's name at any server.
const SCHEMA_LETTERS_MAX: usize = 64;

/// A client that is who it says, and its server connection.
pub struct LoggedIn {
    pub peer: Arc<Peer>,
    pub client: Socket,
    pub upstream: Connected,
    pub control: UnboundedReceiver<Control>,
    pub seat: Seat,
    /// What the client says of itself.
    pub claimed: BTreeMap<String, String>,
    pub schemas: Schemas,
    pub greeted: Greeted,
}

/// What a client and this proxy have told each other, which stays when its user changes.
#[derive(Clone, Copy, Debug)]
pub struct Greeted {
    /// What the client has chosen of what it was offered.
    pub capabilities: Capabilities,
    /// The connection's number, as its client knows it.
    pub connection_id: i32,
    /// The newest that the client was sent: it answers to it again when it changes its user.
    pub scramble: Scramble,
    pub letters: Letters,
}

/// Which schemas somebody may be in, and may name tables of.
#[derive(Clone, Debug)]
pub struct Schemas {
    /// Of the agent; empty: all.
    allowed: Vec<String>,
    /// Of the settings; empty: all.
    served: Vec<String>,
}

impl Schemas {
    /// Whether there is any that it may not use.
    pub fn confine(&self) -> bool {
        !self.allowed.is_empty() || !self.served.is_empty()
    }

    /// `schema`: byte for byte, as the server has it. The server itself shows each user of the information schema only
    /// what that user may see.
    pub fn may_use(&self, schema: &str) -> bool {
        let names = |list: &[String]| list.is_empty() || list.iter().any(|name| name == schema);
        schema.eq_ignore_ascii_case("information_schema") || names(&self.allowed) && names(&self.served)
    }
}

/// What a client wants, besides being who it says.
struct Asked {
    claim: Claim,
    /// Empty: none.
    database: String,
    attributes: Attributes,
}

/// Talks to a client up to the first OK, for as long as `limits.login_seconds` allow.
pub async fn login(
    thread: &Rc<WireThread>,
    side: &Arc<Side>,
    stream: TcpStream,
    source: IpAddr,
) -> Option<LoggedIn> {
    let deadline = tokio::time::Instant::now() + thread.shared.settings.limits.login;
    // Who has not said what it wants is told nothing, as the server has it.
    let arrived = timeout_at(deadline, first_packets(side, stream)).await.ok()??;
    let Arrived {
        mut exchange,
        response,
        capabilities,
        scramble,
        connection_id,
    } = arrived;
    let letters = match Letters::of(u16::from(response.collation)) {
        Ok(letters) => letters,
        Err(charset) => return turn_away(exchange, &other_charset(&charset)).await,
    };
    let mut asked = Asked {
        claim: Claim {
            user: response.user,
            answer: response.answer,
            method: response.method,
            scramble,
        },
        database: response.database.unwrap_or_default(),
        attributes: response.attributes,
    };
    let greeted = Greeted {
        capabilities,
        connection_id,
        scramble,
        letters,
    };
    let logged_in = timeout_at(
        deadline,
        log_in(thread, side, &mut exchange, &mut asked, greeted, source),
    );
    let logged_in = match logged_in.await {
        Ok(logged_in) => logged_in,
        Err(_elapsed) => Err(too_late(thread, &asked, source)),
    };
    conclude(thread, side, exchange, asked, greeted, logged_in).await
}

/// COM_CHANGE_USER: the client of a session that has ended proves anew who it is, and gets a server connection of its own.
/// On a refusal the connection ends, as at the servers.
/// `sequence`: the number of the answer's first packet. `source`: where the client is.
pub async fn change_user(
    thread: &Rc<WireThread>,
    side: &Arc<Side>,
    client: Socket,
    before: Greeted,
    source: IpAddr,
    payload: &[u8],
    sequence: u8,
) -> Option<LoggedIn> {
    let deadline = tokio::time::Instant::now() + thread.shared.settings.limits.login;
    // What the session before was known by; the new one gets the same number.
    side.registry.remove(before.connection_id);
    let mut exchange = Exchange::new(client, sequence);
    let change = match ChangeUser::decode(payload, before.capabilities) {
        Ok(change) => change,
        Err(why) => {
            let told = malformed(why.0).map(|told| *told)?;
            return turn_away(exchange, &told).await;
        }
    };
    let letters = match change.collation.map_or(Ok(before.letters), Letters::of) {
        Ok(letters) => letters,
        Err(charset) => return turn_away(exchange, &other_charset(&charset)).await,
    };
    let knows_methods = before.capabilities.has(Capabilities::PLUGIN_AUTH);
    let mut asked = Asked {
        claim: Claim {
            user: change.user,
            answer: change.answer,
            method: knows_methods.then(|| change.method.unwrap_or_default()),
            scramble: before.scramble,
        },
        database: change.database,
        attributes: change.attributes,
    };
    let greeted = Greeted { letters, ..before };
    let logged_in = timeout_at(
        deadline,
        log_in(thread, side, &mut exchange, &mut asked, greeted, source),
    );
    let logged_in = match logged_in.await {
        Ok(logged_in) => logged_in,
        Err(_elapsed) => Err(too_late(thread, &asked, source)),
    };
    conclude(thread, side, exchange, asked, greeted, logged_in).await
}

/// Who came in, and by which connection.
struct Admitted {
    peer: Arc<Peer>,
    upstream: Connected,
    schemas: Schemas,
}

async fn conclude(
    thread: &Rc<WireThread>,
    side: &Arc<Side>,
    exchange: Exchange,
    asked: Asked,
    greeted: Greeted,
    logged_in: Result<Admitted, NoSession>,
) -> Option<LoggedIn> {
    match logged_in {
        Ok(admitted) => begin(thread, side, exchange, admitted, asked, greeted).await,
        Err(Some(told)) => turn_away(exchange, &told).await,
        Err(None) => None,
    }
}

async fn log_in(
    thread: &Rc<WireThread>,
    side: &Arc<Side>,
    exchange: &mut Exchange,
    asked: &mut Asked,
    greeted: Greeted,
    source: IpAddr,
) -> Result<Admitted, NoSession> {
    let shared = &thread.shared;
    let user = asked.claim.user.clone();
    check_name(&asked.database, greeted.letters)?;
    let agent = shared.desk.agent(&user).await.map_err(|error| {
        warn!(%error, "the store cannot be asked for an agent");
        told(
            1105,
            b"HY000",
            "countersign: the store is unavailable, nobody can log in. Retry later.",
        )
    })?;
    let passing = side
        .front
        .pass_through
        .iter()
        .find(|passing| agent.is_none() && passing.database_user == user);
    if let Some(passing) = passing {
        return pass_through(thread, side, exchange, passing.clone(), asked, greeted, source).await;
    }
    let proof = prove(exchange, &side.keys, &mut asked.claim, agent.as_ref()).await?;
    let let_in = match (agent, proof) {
        (Some(agent), Ok(proof)) => may_begin(agent, &asked.database, side).map(|agent| (agent, proof)),
        (_, Err(refused)) => Err(refused),
        (None, Ok(_)) => Err(Refused::NoSuchAgent),
    };
    let agent = match let_in {
        Ok((agent, proof)) => {
            let by = match proof {
                Proof::Secret => String::new(),
                Proof::Certificate(name) => format!("certificate {name}"),
            };
            record(thread, &user, source, Ok(&by))?;
            agent
        }
        Err(refused) => {
            record(thread, &user, source, Err(&refused))?;
            if refused.is_hidden() {
                play_along(exchange, &side.keys, &mut asked.claim).await;
            }
            return Err(refuse(thread, source, refused, asked).await);
        }
    };
    shared.throttle.succeeded(&source);
    let schemas = schemas(&agent, side);
    let peer = Arc::new(peer_of(agent, asked, source, side.dialler.name()));
    judge_database(thread, side, &peer).await?;
    let dialled = side
        .dialler
        .connect(
            &peer.database_user,
            &peer.database,
            greeted.capabilities,
            greeted.letters.collation,
        )
        .await;
    match dialled {
        Ok(upstream) => Ok(Admitted {
            peer,
            upstream,
            schemas,
        }),
        Err(error) => {
            let refused = dial_failed(&peer, error);
            Err(Some(Box::new(refused.error(&asked.about(source)))))
        }
    }
}

/// A user of the database, whom nobody knows but the server: it is let in if the server lets it in with the password
/// that it brings. It counts as logged in only then.
async fn pass_through(
    thread: &Rc<WireThread>,
    side: &Arc<Side>,
    exchange: &mut Exchange,
    user: Agent,
    asked: &mut Asked,
    greeted: Greeted,
    source: IpAddr,
) -> Result<Admitted, NoSession> {
    let name = user.name.clone();
    let refuse = async |refused: Refused, asked: &Asked| {
        record(thread, name.as_str(), source, Err(&refused))?;
        Err(refuse(thread, source, refused, asked).await)
    };
    if !exchange.socket.is_encrypted() {
        return refuse(Refused::NotEncrypted, asked).await;
    }
    let password = ask_password(exchange, &mut asked.claim).await?;
    if password.is_empty() {
        return refuse(Refused::WrongPassword, asked).await;
    }
    let user = match may_begin(user, &asked.database, side) {
        Ok(user) => user,
        Err(refused) => return refuse(refused, asked).await,
    };
    let schemas = schemas(&user, side);
    let peer = Arc::new(peer_of(user, asked, source, side.dialler.name()));
    judge_database(thread, side, &peer).await?;
    let dialled = side
        .dialler
        .connect_as(
            &peer.database_user,
            &password,
            &peer.database,
            greeted.capabilities,
            greeted.letters.collation,
        )
        .await;
    drop(password);
    let upstream = match dialled {
        Ok(upstream) => upstream,
        Err(error) => return refuse(dial_failed(&peer, error), asked).await,
    };
    record(thread, name.as_str(), source, Ok("its own password"))?;
    thread.shared.throttle.succeeded(&source);
    Ok(Admitted {
        peer,
        upstream,
        schemas,
    })
}

/// A failed log-in, which is on record, is answered the later the more of them there were.
async fn refuse(thread: &Rc<WireThread>, source: IpAddr, refused: Refused, asked: &Asked) -> NoSession {
    tokio::time::sleep(thread.shared.throttle.failed(source, Instant::now())).await;
    Some(Box::new(refused.error(&asked.about(source))))
}

/// For the log and for the client.
fn too_late(thread: &Rc<WireThread>, asked: &Asked, source: IpAddr) -> NoSession {
    let refused = Refused::TooLate(thread.shared.settings.limits.login);
    match record(thread, &asked.claim.user, source, Err(&refused)) {
        Ok(()) => Some(Box::new(refused.error(&asked.about(source)))),
        Err(unrecorded) => unrecorded,
    }
}

fn dial_failed(peer: &Peer, error: DialError) -> Refused {
    warn!(principal.name = %peer.principal, %error, "no server connection for a client");
    match error {
        DialError::Refused(error) => Refused::ByServer(error),
        DialError::NotAsked(_) => Refused::NotAsked,
        DialError::Changed => Refused::Changed,
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

fn schemas(agent: &Agent, side: &Side) -> Schemas {
    Schemas {
        allowed: agent.databases.clone(),
        served: side.front.upstream.databases.clone(),
    }
}

/// What a proof does not give: a credential in force, and a database that it may connect to. To be in none is no right.
fn may_begin(agent: Agent, database: &str, side: &Side) -> Result<Agent, Refused> {
    match agent.ended(Timestamp::now()) {
        Some(ended) => Err(Refused::Ended(ended)),
        None if !database.is_empty() && !schemas(&agent, side).may_use(database) => Err(Refused::Database),
        None => Ok(agent),
    }
}

/// The server must read the name as it stands here: it is what rules and the agent's databases are held against.
fn check_name(database: &str, letters: Letters) -> Result<(), NoSession> {
    let is_name = letters.is_exact(database)
        && database.chars().count() <= SCHEMA_LETTERS_MAX
        && !database.ends_with(' ');
    if is_name {
        Ok(())
    } else {
        Err(told(
            1102,
            b"42000",
            &format!("Incorrect database name '{database}'"),
        ))
    }
}

/// A log-in, with what let it in if that was no secret, or with why it failed. One that cannot be recorded does not happen.
fn record(
    thread: &Rc<WireThread>,
    user: &str,
    source: IpAddr,
    ended: Result<&str, &Refused>,
) -> Result<(), NoSession> {
    if let Err(Refused::NoVerifier) = ended {
        warn!(
            principal.name = user,
            "an agent has no verifier for its client's method: rotate it"
        );
    }
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
        told(
            1105,
            b"HY000",
            "countersign: audit log unavailable, nobody can log in. Retry later.",
        )
    })
}

/// The database of a log-in is the USE that it stands for: a rule that would hold one refuses the log-in.
async fn judge_database(thread: &Rc<WireThread>, side: &Side, peer: &Peer) -> Result<(), NoSession> {
    if peer.database.is_empty() {
        return Ok(());
    }
    let version = match side.dialler.greeting().await {
        Ok(greeting) => greeting.version.clone(),
        Err(_) => String::new(),
    };
    let text = format!("USE `{}`", peer.database.replace('`', "``"));
    let judgement = judge_mysql(text.as_bytes(), &MysqlState::of_server(&version, ""), &());
    let verdict = evaluate(&thread.shared.rules.load(), &judgement, peer, Timestamp::now());
    if verdict.outcome() == Outcome::Allow {
        return Ok(());
    }
    let why = format!(
        "countersign: the database {} is not allowed by rule {}: connect without it.",
        peer.database, verdict.rule
    );
    Err(told(1227, b"42000", &why))
}

/// Tells the client that it is in, and the registry that it may be cancelled.
async fn begin(
    thread: &Rc<WireThread>,
    side: &Arc<Side>,
    mut exchange: Exchange,
    admitted: Admitted,
    asked: Asked,
    greeted: Greeted,
) -> Option<LoggedIn> {
    let Admitted {
        peer,
        upstream,
        schemas,
    } = admitted;
    let (told, control) = unbounded_channel();
    let ends = told.clone();
    // As the client can learn it: CONNECTION_ID() is no larger at any server that has run for years.
    let backend = i32::try_from(upstream.thread_id).unwrap_or_default();
    let principal = peer.principal.clone();
    if !side
        .registry
        .add_drawn(greeted.connection_id, principal, backend, told)
    {
        return None;
    }
    let claimed = claims(&asked.attributes);
    let application_name = ["program_name", "_client_name"]
        .iter()
        .find_map(|name| claimed.get(*name))
        .map_or("", String::as_str);
    let start = Body::SessionStart {
        peer: &peer,
        application_name,
        tls: exchange.socket.tls_version(),
    };
    let entry = Entry {
        time: Timestamp::now(),
        session: Some(peer.session),
        body: start,
    };
    let ok = OkPacket {
        place: Place::Answer,
        affected_rows: 0,
        last_insert_id: 0,
        status: Status(upstream.status),
        warnings: 0,
        info: b"",
        changes: Vec::new(),
    };
    let mut out = Vec::new();
    ok.encode(greeted.capabilities, &mut out);
    if thread.append(&[entry]).is_err() || exchange.write(&out).await.is_err() {
        side.registry.remove(greeted.connection_id);
        return None;
    }
    info!(session.id = %peer.session, principal.name = %peer.principal, "session begins");
    let seat = thread.take_seat(&peer, "mysql", application_name, ends);
    Some(LoggedIn {
        seat,
        peer,
        client: exchange.socket,
        upstream,
        control,
        claimed,
        schemas,
        greeted: Greeted {
            scramble: asked.claim.scramble,
            ..greeted
        },
    })
}

/// What a client says of itself, as far as a reviewer reads; bytes that are no text are written out.
fn claims(attributes: &Attributes) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| {
        let text = str::from_utf8(bytes).map_or_else(|_| bytes.escape_ascii().to_string(), str::to_owned);
        text.chars().take(CLAIM_LETTERS_MAX).collect()
    };
    let pairs = attributes.iter().take(CLAIMS_MAX);
    pairs.map(|(name, value)| (text(name), text(value))).collect()
}

fn other_charset(charset: &str) -> ServerError {
    error(
        1115,
        b"42000",
        &format!(
            "countersign: the character set {charset} is not served: connect with default-character-set=utf8mb4"
        ),
    )
}

async fn turn_away<T>(mut exchange: Exchange, told: &ServerError) -> Option<T> {
    // The client may be gone; the failure is on record either way.
    let _gone = exchange.write(&told.packet(true)).await;
    None
}

impl Asked {
    fn about(&self, source: IpAddr) -> About<'_> {
        About {
            user: &self.claim.user,
            source,
            database: &self.database,
            using: match self.claim.is_empty() {
                true => UsingPassword::No,
                false => UsingPassword::Yes,
            },
        }
    }
}
