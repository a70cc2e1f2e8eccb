//! Dials the real server and logs in as the agent's database user. Sends no statement but its own: `outbound.rs` does.
//! Read `session.rs` next.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::proxy::UpstreamSettings;
use crate::proxy::mysql::ask::{self, AskError};
use crate::proxy::mysql::exchange::Exchange;
use crate::proxy::mysql::rsa;
use crate::proxy::socket::Socket;
use crate::proxy::tls::{self, TlsError};
use crate::wire::bytes::Malformed;
use crate::wire::mysql::answer::{ERROR, ErrPacket, OK, OkPacket};
use crate::wire::mysql::auth;
use crate::wire::mysql::capability::Capabilities;
use crate::wire::mysql::handshake::{
    AUTH_MORE_DATA, AUTH_SWITCH, Attributes, AuthSwitch, Greeting, HandshakeResponse, encode_ssl_request,
};

/// What every server of today takes; the settings of the server itself decide.
const PACKET_BYTES_MAX: u32 = 1 << 30;

/// `utf8mb4_general_ci`, which both kinds of server know.
const UTF8MB4: u8 = 45;

/// How long a server has to carry out a KILL.
const KILL_WITHIN: Duration = Duration::from_secs(5);

/// A method that no server has: each must then say which one it wants, and so that it wants one at all.
const NO_METHOD: &str = "countersign_asks";

/// What is agreed on for the connection itself, whatever its client has agreed on.
const OF_CONNECTION: Capabilities = Capabilities(
    Capabilities::LONG_PASSWORD.0
        | Capabilities::CONNECT_WITH_DB.0
        | Capabilities::PROTOCOL_41.0
        | Capabilities::SSL.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::PLUGIN_AUTH.0
        | Capabilities::CONNECT_ATTRS.0
        | Capabilities::PLUGIN_AUTH_LENENC_DATA.0,
);

#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("the upstream cannot be reached: {0}")]
    Unreachable(#[from] io::Error),
    #[error("the upstream does not offer TLS, which the settings require")]
    NoTls,
    #[error("no password is configured for the database user `{0}`")]
    NoUser(String),
    #[error("the upstream asks for an authentication that is not served: {0}")]
    Authentication(String),
    /// Then whoever comes would be let in with any password.
    #[error("the upstream lets `{0}` in without asking for a password, so nobody may log in with one")]
    NotAsked(String),
    /// It was restarted as another version, or there are several behind one address.
    #[error("the upstream no longer offers what it offered when the client came")]
    Changed,
    /// The server's own words: shown to the client as they are.
    #[error("the upstream refused the log-in: {}", .0.message)]
    Refused(ServerError),
}

/// An error in the server's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    pub number: u16,
    pub sqlstate: [u8; 5],
    pub message: String,
}

impl From<ErrPacket<'_>> for ServerError {
    fn from(packet: ErrPacket<'_>) -> Self {
        Self {
            number: packet.number,
            sqlstate: packet.sqlstate.unwrap_or(*b"HY000"),
            message: String::from_utf8(packet.message.to_vec())
                .unwrap_or_else(|_| packet.message.escape_ascii().to_string()),
        }
    }
}

/// A logged-in server connection, and what it told.
pub struct Connected {
    pub socket: Socket,
    /// Of this side: what its client has agreed on, and SESSION_TRACK where the server has it.
    pub capabilities: Capabilities,
    /// As the server calls itself.
    pub version: String,
    /// What a KILL names.
    pub thread_id: u32,
    pub status: u16,
}

/// What a KILL ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    Query,
    Connection,
}

/// Dials one server; keeps its latest greeting, by which clients are greeted.
pub struct Dialler {
    settings: UpstreamSettings,
    connector: ArcSwap<Option<TlsConnector>>,
    latest: ArcSwapOption<Greeting>,
    /// Held by who asks for the first greeting: a server counts connections that end there as errors of this host.
    asking: Mutex<()>,
}

impl Dialler {
    pub fn new(settings: UpstreamSettings) -> Result<Self, TlsError> {
        let connector = tls::connector(&settings.tls, None)?;
        Ok(Self {
            settings,
            connector: ArcSwap::from_pointee(connector),
            latest: ArcSwapOption::empty(),
            asking: Mutex::default(),
        })
    }

    /// Reads the file of the authority again, if there is one, for connections from now on; on an error the old one
    /// stays.
    pub fn reload_authority(&self) -> Option<Result<(), TlsError>> {
        self.settings.tls.ca_file()?;
        let read = tls::connector(&self.settings.tls, None);
        Some(read.map(|read| self.connector.store(Arc::new(read))))
    }

    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whether the settings have a password for a user of the database.
    pub fn knows(&self, user: &str) -> bool {
        self.settings.users.iter().any(|known| known.name == user)
    }

    /// What the server said to the last connection; asks it if there was none.
    pub async fn greeting(&self) -> Result<Arc<Greeting>, DialError> {
        if let Some(greeting) = self.latest.load_full() {
            return Ok(greeting);
        }
        let _asking = self.asking.lock().await;
        if let Some(greeting) = self.latest.load_full() {
            return Ok(greeting);
        }
        self.dial().await.map(|(_, greeting)| greeting)
    }

    /// Connects and logs in.
    /// `capabilities`: those of the client. `collation`: as its log-in has it. `database`: empty for none.
    pub async fn connect(
        &self,
        user: &str,
        database: &str,
        capabilities: Capabilities,
        collation: u8,
    ) -> Result<Connected, DialError> {
        let known = self.settings.users.iter().find(|known| known.name == user);
        let password = &known.ok_or_else(|| DialError::NoUser(user.to_owned()))?.password;
        let asked = Asked {
            user,
            password,
            origin: Origin::Settings,
            database,
            capabilities,
            collation,
        };
        self.log_in(asked).await.map(|(connected, _)| connected)
    }

    /// The same with a password that a client brings, of which nothing is kept. It is the client's only proof of who it
    /// is, so the server must have asked for it, and must call it by that name.
    pub async fn connect_as(
        &self,
        user: &str,
        password: &Zeroizing<String>,
        database: &str,
        capabilities: Capabilities,
        collation: u8,
    ) -> Result<Connected, DialError> {
        let asked = Asked {
            user,
            password,
            origin: Origin::Client,
            database,
            capabilities,
            collation,
        };
        let (connected, proved) = self.log_in(asked).await?;
        if proved == Proved::Nothing {
            return Err(DialError::NotAsked(user.to_owned()));
        }
        let capabilities = connected.capabilities;
        let mut exchange = Exchange::new(connected.socket, 0);
        // With --skip-grant-tables any password is right, and nobody is who it says.
        let account = ask::one_value(&mut exchange, capabilities, "SELECT CURRENT_USER()").await;
        let account = account.map_err(dial_error)?;
        match account.rsplit_once('@') {
            Some((name, _)) if name == user => Ok(Connected {
                socket: exchange.socket,
                ..connected
            }),
            _ => Err(DialError::NotAsked(user.to_owned())),
        }
    }

    /// Ends what another connection of the same user does, or that connection: on one of its own, as the protocol has it.
    /// Errors: `NoUser` for a user who passes through, whose password is not kept; in the server's words if it refuses.
    pub async fn kill(&self, user: &str, thread_id: u32, what: Kill) -> Result<(), DialError> {
        let text = match what {
            Kill::Query => format!("KILL QUERY {thread_id}"),
            Kill::Connection => format!("KILL {thread_id}"),
        };
        let killed = async {
            let connected = self.connect(user, "", Capabilities::default(), UTF8MB4).await?;
            let capabilities = connected.capabilities;
            let mut exchange = Exchange::new(connected.socket, 0);
            ask::nothing(&mut exchange, capabilities, &text)
                .await
                .map_err(dial_error)
        };
        let too_late = |_| DialError::Unreachable(io::ErrorKind::TimedOut.into());
        tokio::time::timeout(KILL_WITHIN, killed)
            .await
            .map_err(too_late)?
    }

    /// A connection on which the server has said its greeting.
    async fn dial(&self) -> Result<(Exchange, Arc<Greeting>), DialError> {
        let address = (self.settings.host.as_str(), self.settings.port);
        let stream = Socket::prepare(TcpStream::connect(address).await?)?;
        let mut exchange = Exchange::new(Socket::Plain(stream), 0);
        let packet = exchange.read().await?;
        if packet.first() == Some(&ERROR) {
            return Err(refused(&packet));
        }
        let greeting = Arc::new(Greeting::decode(&packet).map_err(io::Error::other)?);
        self.latest.store(Some(Arc::clone(&greeting)));
        Ok((exchange, greeting))
    }

    /// Source: MySQL internals, page_protocol_connection_phase.html
    async fn log_in(&self, asked: Asked<'_>) -> Result<(Connected, Proved), DialError> {
        let (mut exchange, greeting) = self.dial().await?;
        let connector = self.connector.load_full();
        let mut capabilities = asked.spoken(greeting.capabilities)?;
        if let Some(connector) = connector.as_ref() {
            if !greeting.capabilities.has(Capabilities::SSL) {
                return Err(DialError::NoTls);
            }
            capabilities = capabilities | Capabilities::SSL;
            let request = encode_ssl_request(capabilities, PACKET_BYTES_MAX, asked.collation);
            exchange.write(&request).await?;
            let name = ServerName::try_from(self.settings.host.clone()).map_err(io::Error::other)?;
            let encrypt = async |stream| {
                let stream = connector.connect(name, stream).await?;
                Ok(Socket::Dialled(Box::new(stream)))
            };
            exchange = exchange.encrypted(encrypt).await?;
        }
        let (method, answer) = asked.first_answer(&greeting);
        let response = HandshakeResponse {
            capabilities,
            packet_bytes_max: PACKET_BYTES_MAX,
            collation: asked.collation,
            user: asked.user.to_owned(),
            answer: Zeroizing::new(answer),
            database: Some(asked.database.to_owned()).filter(|database| !database.is_empty()),
            method: Some(method.to_owned()),
            attributes: Attributes::new(),
        };
        exchange.write(&response.encode()).await?;
        let (ok, proved) = asked.authenticate(&mut exchange, &greeting, method).await?;
        let status = OkPacket::decode(&ok, capabilities).map_err(malformed)?.status.0;
        let connected = Connected {
            socket: exchange.socket,
            capabilities,
            version: greeting.version.clone(),
            thread_id: greeting.connection_id,
            status,
        };
        Ok((connected, proved))
    }
}

/// A log-in.
struct Asked<'a> {
    user: &'a str,
    password: &'a Zeroizing<String>,
    origin: Origin,
    database: &'a str,
    capabilities: Capabilities,
    collation: u8,
}

/// Where the password comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Settings,
    /// A client brings it: that the server takes it is the only proof of who the client is.
    Client,
}

/// What the server let the proxy in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proved {
    Nothing,
    Password,
}

impl Asked<'_> {
    /// The client's, without those that are each connection's own. The server must have them all: its client counts on
    /// them.
    fn spoken(&self, offered: Capabilities) -> Result<Capabilities, DialError> {
        let of_client = self.capabilities & !OF_CONNECTION;
        if !offered.has(of_client) {
            return Err(DialError::Changed);
        }
        let wanted = Capabilities::LONG_PASSWORD
            | Capabilities::PROTOCOL_41
            | Capabilities::SECURE_CONNECTION
            | Capabilities::PLUGIN_AUTH
            | Capabilities::PLUGIN_AUTH_LENENC_DATA
            | Capabilities::SESSION_TRACK;
        let spoken = of_client | (wanted & offered);
        Ok(match self.database {
            "" => spoken,
            _ => spoken | Capabilities::CONNECT_WITH_DB,
        })
    }

    /// To the method that the server names, if it is known here; the server asks for another if that user has another.
    fn first_answer(&self, greeting: &Greeting) -> (&'static str, Vec<u8>) {
        let password = self.password.as_bytes();
        match (self.origin, greeting.method.as_str()) {
            (Origin::Client, _) => (NO_METHOD, Vec::new()),
            (Origin::Settings, auth::CACHING_SHA2) => (
                auth::CACHING_SHA2,
                auth::caching_sha2(password, &greeting.scramble),
            ),
            (Origin::Settings, _) => (auth::NATIVE, auth::native(password, &greeting.scramble)),
        }
    }

    /// From the response to the server's OK, which is given.
    async fn authenticate(
        &self,
        exchange: &mut Exchange,
        greeting: &Greeting,
        begun: &'static str,
    ) -> Result<(Zeroizing<Vec<u8>>, Proved), DialError> {
        let packet = exchange.read().await?;
        let (method, scramble, packet) = if packet.first() == Some(&AUTH_SWITCH) {
            let switch = AuthSwitch::decode(&packet).map_err(malformed)?;
            let method = self.switch(exchange, &switch).await?;
            (method, auth::scramble_of(&switch.data), exchange.read().await?)
        } else {
            (begun, Some(greeting.scramble), packet)
        };
        let (packet, is_looked_at) = match (method, scramble, packet.split_first()) {
            (auth::CACHING_SHA2, Some(scramble), Some((&AUTH_MORE_DATA, more))) => {
                match *more {
                    [auth::FAST_IS_RIGHT] => {}
                    [auth::FULL_IS_NEEDED] => self.send_password(exchange, &scramble).await?,
                    _ => return Err(unserved("a message of the method that is not known")),
                }
                (exchange.read().await?, true)
            }
            (auth::CACHING_SHA2, ..) => (packet, false),
            (method, ..) => (packet, method != NO_METHOD),
        };
        match packet.first() {
            Some(&OK) if is_looked_at => Ok((packet, Proved::Password)),
            Some(&OK) => Ok((packet, Proved::Nothing)),
            Some(&ERROR) => Err(refused(&packet)),
            _ => Err(unserved("a message out of order")),
        }
    }

    /// Answers by the method that the server asks for; gives its name.
    async fn switch(&self, exchange: &mut Exchange, switch: &AuthSwitch) -> Result<&'static str, DialError> {
        let password = self.password.as_bytes();
        let scramble =
            || auth::scramble_of(&switch.data).ok_or_else(|| unserved("a scramble of another length"));
        let (method, answer) = match switch.method.as_str() {
            auth::NATIVE => (auth::NATIVE, auth::native(password, &scramble()?)),
            auth::CACHING_SHA2 => (auth::CACHING_SHA2, auth::caching_sha2(password, &scramble()?)),
            auth::ED25519 => {
                let nonce = switch.data.strip_suffix(&[0]).filter(|nonce| nonce.len() == 32);
                let nonce = nonce.unwrap_or(&switch.data).try_into();
                let nonce = nonce.map_err(|_| unserved("a scramble of another length"))?;
                (auth::ED25519, auth::ed25519(password, nonce).to_vec())
            }
            auth::CLEAR if exchange.socket.is_encrypted() => {
                exchange.write(&with_end(password)).await?;
                return Ok(auth::CLEAR);
            }
            auth::CLEAR => return Err(unserved("a cleartext password without TLS")),
            other => return Err(unserved(other)),
        };
        exchange.write(&answer).await?;
        Ok(method)
    }

    /// Inside TLS as it is; outside under the server's public key, which is asked for each time.
    async fn send_password(
        &self,
        exchange: &mut Exchange,
        scramble: &auth::Scramble,
    ) -> Result<(), DialError> {
        let password = self.password.as_bytes();
        if exchange.socket.is_encrypted() {
            return Ok(exchange.write(&with_end(password)).await?);
        }
        exchange.write(&[auth::PUBLIC_KEY_REQUEST]).await?;
        let packet = exchange.read().await?;
        let key = match packet.split_first() {
            Some((&AUTH_MORE_DATA, key)) => key,
            Some((&ERROR, _)) => return Err(refused(&packet)),
            _ => return Err(unserved("a message where a public key should be")),
        };
        let encrypted = rsa::encrypted(password, scramble, key);
        let encrypted = encrypted.map_err(|error| unserved(&error.to_string()))?;
        Ok(exchange.write(&encrypted).await?)
    }
}

fn with_end(password: &[u8]) -> Zeroizing<Vec<u8>> {
    // As large as it gets: a vector that grows leaves a copy behind.
    let mut out = Zeroizing::new(Vec::with_capacity(password.len() + 1));
    out.extend_from_slice(password);
    out.push(0);
    out
}

fn refused(packet: &[u8]) -> DialError {
    match ErrPacket::decode(packet) {
        Ok(error) => DialError::Refused(error.into()),
        Err(error) => malformed(error),
    }
}

fn malformed(error: Malformed) -> DialError {
    DialError::Unreachable(io::Error::other(error))
}

fn dial_error(error: AskError) -> DialError {
    match error {
        AskError::Lost(error) => DialError::Unreachable(error),
        AskError::Refused(error) => DialError::Refused(error),
    }
}

fn unserved(what: &str) -> DialError {
    DialError::Authentication(what.to_owned())
}
