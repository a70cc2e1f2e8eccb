//! Dials the real server and logs in as the agent's database user. Never sends a statement: `outbound.rs` does.
//! Read `login.rs` next.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use md5::{Digest, Md5};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::proxy::UpstreamSettings;
use crate::proxy::end_point::end_point;
use crate::proxy::socket::Socket;
use crate::proxy::tls::{self, TlsError};
use crate::wire::bytes::Reader;
use crate::wire::postgres::frame::put;
use crate::wire::postgres::message::{self, Fields, client, server};
use crate::wire::postgres::scram::{Binding, ClientKeys, ClientScram, MECHANISM, MECHANISM_PLUS};
use crate::wire::postgres::startup::{PROTOCOL_3_0, Startup, encode_cancel, encode_ssl_request};

/// No log-in message of a sound server is longer.
const LOGIN_MESSAGE_BYTES_MAX: usize = 64 << 10;

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
    /// The server's own words: shown to the client as they are.
    #[error("the upstream refused the log-in: {}", .0.message)]
    Refused(Fields),
}

/// What a logged-in server connection told.
pub struct Connected {
    pub socket: Socket,
    /// As reported, newest last.
    pub parameters: Vec<(String, String)>,
    /// What a cancel names, with the key.
    pub process: i32,
    pub key: Vec<u8>,
    /// The process of the server itself: a pooler names one of its own with the key.
    pub backend: i32,
    pub search_path: String,
    pub role: String,
    pub client_encoding: String,
    pub server_encoding: String,
    pub standard_conforming_strings: String,
}

/// Dials one server; keeps SCRAM keys so that PBKDF2 runs once a password.
pub struct Dialler {
    settings: UpstreamSettings,
    connector: ArcSwap<Option<TlsConnector>>,
    keys: Mutex<HashMap<KeyId, ClientKeys>>,
}

/// User, salt and iterations: what the derived keys depend on besides the password, which does not change in a run.
type KeyId = (String, Vec<u8>, u32);

impl Dialler {
    pub fn new(settings: UpstreamSettings) -> Result<Self, TlsError> {
        let connector = tls::connector(&settings.tls, Some(tls::ALPN_POSTGRES))?;
        Ok(Self {
            settings,
            connector: ArcSwap::from_pointee(connector),
            keys: Mutex::new(HashMap::new()),
        })
    }

    /// Reads the file of the authority again, if there is one, for connections from now on; on an error the old one
    /// stays.
    pub fn reload_authority(&self) -> Option<Result<(), TlsError>> {
        self.settings.tls.ca_file()?;
        let read = tls::connector(&self.settings.tls, Some(tls::ALPN_POSTGRES));
        Some(read.map(|read| self.connector.store(Arc::new(read))))
    }

    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whether the settings have a password for a user of the database.
    pub fn knows(&self, user: &str) -> bool {
        self.settings.users.iter().any(|known| known.name == user)
    }

    /// Connects, logs in and asks for what the server does not report by itself.
    /// Protocol 3.0 whatever the client speaks: 3.2 adds nothing but longer cancel keys, which older servers and poolers
    /// refuse. Whatever key the server gives is the one by which it is asked to cancel.
    /// `parameters`: start-up parameters besides user and database, already judged.
    pub async fn connect(
        &self,
        user: &str,
        database: &str,
        parameters: &[(String, String)],
    ) -> Result<Connected, DialError> {
        let known = self.settings.users.iter().find(|known| known.name == user);
        let password = &known.ok_or_else(|| DialError::NoUser(user.to_owned()))?.password;
        self.log_in(user, password, Origin::Settings, database, parameters)
            .await
    }

    /// The same with a password that a client brings, of which nothing is kept. It is the client's only proof of who it
    /// is, so the server must have asked for it.
    pub async fn connect_as(
        &self,
        user: &str,
        password: &Zeroizing<String>,
        database: &str,
        parameters: &[(String, String)],
    ) -> Result<Connected, DialError> {
        self.log_in(user, password, Origin::Client, database, parameters)
            .await
    }

    async fn log_in(
        &self,
        user: &str,
        password: &Zeroizing<String>,
        origin: Origin,
        database: &str,
        parameters: &[(String, String)],
    ) -> Result<Connected, DialError> {
        let mut socket = self.dial().await?;
        let mut sent = vec![
            ("user".to_owned(), user.to_owned()),
            ("database".to_owned(), database.to_owned()),
        ];
        sent.extend(parameters.iter().cloned());
        let startup = Startup {
            protocol: PROTOCOL_3_0,
            parameters: sent,
        };
        write(&mut socket, &startup.encode()).await?;
        let proved = self.authenticate(&mut socket, user, password, origin).await?;
        match (origin, proved) {
            (Origin::Client, Proved::Nothing) => Err(DialError::NotAsked(user.to_owned())),
            (Origin::Client, Proved::Password) | (Origin::Settings, _) => finish(socket).await,
        }
    }

    /// Passes a cancel on to the server: a connection of its own, as the protocol has it.
    pub async fn cancel(&self, process: i32, key: &[u8]) -> Result<(), DialError> {
        let mut socket = self.dial().await?;
        write(&mut socket, &encode_cancel(process, key)).await?;
        // The server closes when it has passed the signal on.
        let _closed = socket.read(&mut [0; 1]).await?;
        Ok(())
    }

    async fn dial(&self) -> Result<Socket, DialError> {
        let address = (self.settings.host.as_str(), self.settings.port);
        let mut stream = Socket::prepare(TcpStream::connect(address).await?)?;
        let connector = self.connector.load_full();
        let Some(connector) = connector.as_ref() else {
            return Ok(Socket::Plain(stream));
        };
        stream.write_all(&encode_ssl_request()).await?;
        if stream.read_u8().await? != b'S' {
            return Err(DialError::NoTls);
        }
        let name = ServerName::try_from(self.settings.host.clone()).map_err(io::Error::other)?;
        Ok(Socket::Dialled(Box::new(connector.connect(name, stream).await?)))
    }

    /// Source: PostgreSQL docs, protocol-flow.html#PROTOCOL-FLOW-START-UP
    async fn authenticate(
        &self,
        socket: &mut Socket,
        user: &str,
        password: &Zeroizing<String>,
        origin: Origin,
    ) -> Result<Proved, DialError> {
        let mut proved = Proved::Nothing;
        loop {
            let (tag, body) = socket.read_frame(LOGIN_MESSAGE_BYTES_MAX).await?;
            let mut reader = Reader::new(&body);
            match tag {
                server::ERROR => return Err(DialError::Refused(fields(&body)?)),
                server::NEGOTIATE | server::NOTICE => {}
                server::AUTHENTICATION => match reader.u32().map_err(io::Error::other)? {
                    0 => return Ok(proved),
                    3 if socket.is_encrypted() => {
                        send_password(socket, password.as_bytes()).await?;
                        proved = Proved::Password;
                    }
                    3 => return Err(unserved("a cleartext password without TLS")),
                    5 => {
                        let salt = reader.bytes(4).map_err(io::Error::other)?;
                        send_password(socket, md5_answer(user, password, salt).as_bytes()).await?;
                        proved = Proved::Password;
                    }
                    10 => {
                        self.scram(socket, user, password, origin, &body).await?;
                        proved = Proved::Password;
                    }
                    other => return Err(unserved(&format!("method {other}"))),
                },
                other => return Err(unserved(&format!("message `{}`", other.escape_ascii()))),
            }
        }
    }

    async fn scram(
        &self,
        socket: &mut Socket,
        user: &str,
        password: &Zeroizing<String>,
        origin: Origin,
        offered: &[u8],
    ) -> Result<(), DialError> {
        let mechanisms = offered.get(4..).unwrap_or_default();
        let is_offered = |wanted: &str| {
            mechanisms
                .split(|byte| *byte == 0)
                .any(|name| name == wanted.as_bytes())
        };
        let end_point = socket.peer_certificate().and_then(end_point);
        let (mechanism, binding) = match &end_point {
            Some(hash) if is_offered(MECHANISM_PLUS) => (MECHANISM_PLUS, Binding::EndPoint(hash)),
            Some(_) => (MECHANISM, Binding::NotOffered),
            None => (MECHANISM, Binding::Unable),
        };
        if !is_offered(mechanism) {
            return Err(unserved("SASL without SCRAM-SHA-256"));
        }
        let wrong = |error: crate::wire::postgres::scram::ScramError| unserved(&error.to_string());
        let nonce = STANDARD_NO_PAD.encode(rand::random::<[u8; 18]>());
        let (scram, first) = ClientScram::first(&nonce, binding);
        let mut out = Vec::new();
        put(&mut out, client::PASSWORD, |out| {
            out.extend(mechanism.as_bytes());
            out.push(0);
            out.extend((first.len() as u32).to_be_bytes());
            out.extend(first.as_bytes());
        });
        write(socket, &out).await?;
        let challenge = sasl(socket, 11).await?;
        let asked = scram.read_server_first(&challenge).map_err(wrong)?;
        let salt = asked.salt.clone();
        let keys = match origin {
            Origin::Settings => self.kept_keys(user, password, salt, asked.iterations).await?,
            Origin::Client => derive(password, salt, asked.iterations).await?,
        };
        let (last, proof) = scram.prove(&asked, &keys);
        out.clear();
        put(&mut out, client::PASSWORD, |out| out.extend(proof.as_bytes()));
        write(socket, &out).await?;
        last.check(&sasl(socket, 12).await?).map_err(wrong)
    }

    /// Of a password that does not change in a run: found again by what they depend on besides it.
    async fn kept_keys(
        &self,
        user: &str,
        password: &Zeroizing<String>,
        salt: Vec<u8>,
        iterations: u32,
    ) -> Result<ClientKeys, DialError> {
        let id = (user.to_owned(), salt.clone(), iterations);
        let known = self
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned();
        if let Some(keys) = known {
            return Ok(keys);
        }
        let keys = derive(password, salt, iterations).await?;
        self.keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, keys.clone());
        Ok(keys)
    }
}

/// Where the password comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Settings,
    /// One client brings it, so what is derived from it must not let in another.
    Client,
}

/// What the server let the proxy in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proved {
    Nothing,
    Password,
}

/// Slow on purpose, so it must not stand on a wire thread.
async fn derive(password: &Zeroizing<String>, salt: Vec<u8>, iterations: u32) -> io::Result<ClientKeys> {
    let password = password.clone();
    tokio::task::spawn_blocking(move || ClientKeys::derive(password.as_bytes(), &salt, iterations))
        .await
        .map_err(io::Error::other)
}

/// What is asked of every server: no server before 18 reports the first two, and a pooler reports the others as its
/// client wrote them (`'utf-8'`), whatever the server has made of it.
const ASKED: [&str; 6] = [
    "SHOW search_path",
    "SHOW role",
    "SHOW client_encoding",
    "SHOW server_encoding",
    "SHOW standard_conforming_strings",
    "SELECT pg_catalog.pg_backend_pid()",
];

/// From AuthenticationOk to the first ReadyForQuery, and what is asked then.
async fn finish(mut socket: Socket) -> Result<Connected, DialError> {
    let mut parameters = Vec::new();
    let (mut process, mut key) = (0, Vec::new());
    loop {
        let (tag, body) = socket.read_frame(LOGIN_MESSAGE_BYTES_MAX).await?;
        match tag {
            server::PARAMETER_STATUS => {
                let (name, value) = message::parameter_status(&body).map_err(io::Error::other)?;
                parameters.push((name.to_owned(), value.to_owned()));
            }
            server::BACKEND_KEY => {
                let mut reader = Reader::new(&body);
                process = reader.i32().map_err(io::Error::other)?;
                key = reader.rest().to_vec();
            }
            server::READY => break,
            server::ERROR => return Err(DialError::Refused(fields(&body)?)),
            server::NOTICE | server::NEGOTIATE => {}
            other => return Err(unserved(&format!("message `{}`", other.escape_ascii()))),
        }
    }
    let mut out = Vec::new();
    for text in ASKED {
        message::put_query(&mut out, text.as_bytes());
    }
    write(&mut socket, &out).await?;
    let search_path = shown(&mut socket, &mut parameters).await?;
    let role = shown(&mut socket, &mut parameters).await?;
    let client_encoding = shown(&mut socket, &mut parameters).await?;
    let server_encoding = shown(&mut socket, &mut parameters).await?;
    let standard_conforming_strings = shown(&mut socket, &mut parameters).await?;
    let backend = shown(&mut socket, &mut parameters).await?;
    Ok(Connected {
        socket,
        parameters,
        process,
        key,
        backend: backend.parse().map_err(io::Error::other)?,
        search_path,
        role,
        client_encoding,
        server_encoding,
        standard_conforming_strings,
    })
}

/// The one value that a question answers.
async fn shown(socket: &mut Socket, parameters: &mut Vec<(String, String)>) -> Result<String, DialError> {
    let mut value = String::new();
    loop {
        let (tag, body) = socket.read_frame(LOGIN_MESSAGE_BYTES_MAX).await?;
        match tag {
            server::DATA_ROW => {
                let row = message::data_row(&body).map_err(io::Error::other)?;
                let text = row.first().copied().flatten().unwrap_or_default();
                value = String::from_utf8(text.to_vec()).map_err(io::Error::other)?;
            }
            server::PARAMETER_STATUS => {
                let (name, value) = message::parameter_status(&body).map_err(io::Error::other)?;
                parameters.push((name.to_owned(), value.to_owned()));
            }
            server::READY => return Ok(value),
            server::ERROR => return Err(DialError::Refused(fields(&body)?)),
            _ => {}
        }
    }
}

async fn sasl(socket: &mut Socket, expected: u32) -> Result<Vec<u8>, DialError> {
    let (tag, body) = socket.read_frame(LOGIN_MESSAGE_BYTES_MAX).await?;
    if tag == server::ERROR {
        return Err(DialError::Refused(fields(&body)?));
    }
    let mut reader = Reader::new(&body);
    let code = reader.u32().map_err(io::Error::other)?;
    if tag == server::AUTHENTICATION && code == expected {
        Ok(reader.rest().to_vec())
    } else {
        Err(unserved("an answer out of order"))
    }
}

async fn send_password(socket: &mut Socket, password: &[u8]) -> io::Result<()> {
    // As large as it gets: a vector that grows leaves a copy behind.
    let mut out = Zeroizing::new(Vec::with_capacity(password.len() + 6));
    put(&mut out, client::PASSWORD, |out| {
        out.extend(password);
        out.push(0);
    });
    write(socket, &out).await
}

/// `md5` + hex(md5(hex(md5(password + user)) + salt)).
/// Source: PostgreSQL docs, protocol-flow.html, AuthenticationMD5Password
fn md5_answer(user: &str, password: &str, salt: &[u8]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let both = Zeroizing::new([password.as_bytes(), user.as_bytes()].concat());
    let inner = Zeroizing::new(hex(&Md5::digest(&*both)));
    format!("md5{}", hex(&Md5::digest([inner.as_bytes(), salt].concat())))
}

async fn write(socket: &mut Socket, bytes: &[u8]) -> io::Result<()> {
    socket.write_all(bytes).await?;
    socket.flush().await
}

fn fields(body: &[u8]) -> io::Result<Fields> {
    Fields::decode(body).map_err(io::Error::other)
}

fn unserved(what: &str) -> DialError {
    DialError::Authentication(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_md5_answer_is_the_servers() {
        // md5(md5("secret" + "app") in hex + salt), computed with another implementation.
        assert_eq!(
            md5_answer("app", "secret", &[1, 2, 3, 4]),
            "md5911f527656472583a006e7727877b33e"
        );
    }
}
