//! A PostgreSQL client that sends exactly the messages a test wants, in exactly the batches it wants.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::wire::postgres::frame::{self, put};
use countersign::wire::postgres::message::{
    Bind, Fields, Parse, Target, client, parameter_status, put_execute, put_query,
};
use countersign::wire::postgres::scram::{Binding, ClientKeys, ClientScram, MECHANISM, MECHANISM_PLUS};
use countersign::wire::postgres::startup::{PROTOCOL_3_0, Startup, encode_cancel, encode_ssl_request};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// Longer than anything that should be answered at once takes on a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// One message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub tag: u8,
    pub body: Vec<u8>,
}

impl Message {
    pub fn fields(&self) -> Fields {
        Fields::decode(&self.body).expect("an error or a notice")
    }
}

/// Frames of the client, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Frames(pub Vec<u8>);

impl Frames {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn query(mut self, text: &str) -> Self {
        put_query(&mut self.0, text.as_bytes());
        self
    }

    pub fn parse(self, name: &str, text: &str) -> Self {
        self.parse_of(name, text, &[])
    }

    pub fn parse_of(mut self, name: &str, text: &str, types: &[u32]) -> Self {
        Parse {
            name: name.as_bytes(),
            text: text.as_bytes(),
            types: types.to_vec(),
        }
        .encode(&mut self.0);
        self
    }

    pub fn bind(mut self, portal: &str, statement: &str, values: &[&str]) -> Self {
        let values = values.iter().map(|value| Some(value.as_bytes())).collect();
        let (portal, statement) = (portal.as_bytes(), statement.as_bytes());
        Bind {
            portal,
            statement,
            formats: Vec::new(),
            values,
            result_formats: Vec::new(),
        }
        .encode(&mut self.0);
        self
    }

    pub fn describe_statement(mut self, name: &str) -> Self {
        Target::Statement(name.as_bytes()).encode(client::DESCRIBE, &mut self.0);
        self
    }

    pub fn describe_portal(mut self, name: &str) -> Self {
        Target::Portal(name.as_bytes()).encode(client::DESCRIBE, &mut self.0);
        self
    }

    pub fn close_statement(mut self, name: &str) -> Self {
        Target::Statement(name.as_bytes()).encode(client::CLOSE, &mut self.0);
        self
    }

    pub fn close_portal(mut self, name: &str) -> Self {
        Target::Portal(name.as_bytes()).encode(client::CLOSE, &mut self.0);
        self
    }

    pub fn execute(mut self, portal: &str) -> Self {
        put_execute(&mut self.0, portal.as_bytes());
        self
    }

    pub fn execute_rows(mut self, portal: &str, rows: u32) -> Self {
        put(&mut self.0, client::EXECUTE, |out| {
            out.extend(portal.as_bytes());
            out.push(0);
            out.extend(rows.to_be_bytes());
        });
        self
    }

    pub fn sync(self) -> Self {
        self.raw(client::SYNC, &[])
    }

    pub fn flush(self) -> Self {
        self.raw(client::FLUSH, &[])
    }

    pub fn terminate(self) -> Self {
        self.raw(client::TERMINATE, &[])
    }

    pub fn raw(mut self, tag: u8, body: &[u8]) -> Self {
        put(&mut self.0, tag, |out| out.extend(body));
        self
    }

    /// How many ReadyForQuery messages they will get: one for each Query and each Sync.
    pub fn answers(&self) -> usize {
        let mut rest = self.0.as_slice();
        let mut answers = 0;
        while let Some((header, _)) = frame::cut(rest).expect("whole frames") {
            answers += usize::from(matches!(header.tag, client::QUERY | client::SYNC));
            rest = &rest[header.frame_bytes()..];
        }
        answers
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
}

/// How TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsStart {
    /// With the first byte.
    Direct,
    AfterRequest,
}

/// A socket, plain or inside TLS.
enum Line {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Line {
    fn tcp(&self) -> &TcpStream {
        match self {
            Line::Plain(stream) => stream,
            Line::Tls(stream) => stream.get_ref(),
        }
    }
}

impl Read for Line {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Line::Plain(stream) => stream.read(into),
            Line::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Line::Plain(stream) => stream.write(bytes),
            Line::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Line::Plain(stream) => stream.flush(),
            Line::Tls(stream) => stream.flush(),
        }
    }
}

/// A logged-in connection.
pub struct Wire {
    stream: Line,
    buffer: Vec<u8>,
    address: (String, u16),
    pub process: i32,
    pub key: Vec<u8>,
    /// The body of a NegotiateProtocolVersion.
    pub negotiated: Option<Vec<u8>>,
    /// Settings that were reported at log-in.
    pub reported: BTreeMap<String, String>,
}

/// What stands in a connection string.
pub struct Url {
    pub user: String,
    pub password: String,
    pub host: String,
    pub port: u16,
    pub database: String,
}

impl Url {
    pub fn parse(url: &str) -> Self {
        let config: tokio_postgres::Config = url.parse().expect("a connection string");
        let host = match &config.get_hosts()[0] {
            tokio_postgres::config::Host::Tcp(host) => host.clone(),
            tokio_postgres::config::Host::Unix(path) => panic!("not a TCP host: {}", path.display()),
        };
        Self {
            user: config.get_user().expect("a user").to_owned(),
            password: String::from_utf8(config.get_password().expect("a password").to_vec()).expect("UTF-8"),
            host,
            port: config.get_ports()[0],
            database: config.get_dbname().expect("a database").to_owned(),
        }
    }
}

impl Wire {
    pub fn connect(url: &str) -> Self {
        Self::connect_with(url, &[]).unwrap_or_else(|fields| panic!("no log-in: {fields:?}"))
    }

    /// With further start-up parameters; the server's error if it refuses.
    pub fn connect_with(url: &str, parameters: &[(&str, &str)]) -> Result<Self, Box<Fields>> {
        Self::connect_at(PROTOCOL_3_0, url, parameters)
    }

    /// Asking for another version of the protocol.
    pub fn connect_at(protocol: u32, url: &str, parameters: &[(&str, &str)]) -> Result<Self, Box<Fields>> {
        let parsed = Url::parse(url);
        let stream = dial(&parsed);
        let mut wire = Wire::on(Line::Plain(stream), &parsed);
        wire.start(protocol, &parsed, parameters);
        wire.log_in(&parsed.password, Binding::Unable)?;
        Ok(wire)
    }

    /// Connected, and nothing said yet.
    pub fn open_plain(url: &str) -> Self {
        let url = Url::parse(url);
        Wire::on(Line::Plain(dial(&url)), &url)
    }

    /// Sends bytes, and reads the one that answers them.
    pub fn ask_byte(&mut self, bytes: &[u8]) -> u8 {
        self.write(bytes);
        let mut answer = [0];
        self.stream.read_exact(&mut answer).expect("an answer");
        answer[0]
    }

    /// Goes on inside TLS.
    pub fn begin_tls(self, config: &Arc<ClientConfig>) -> std::io::Result<Self> {
        let Line::Plain(stream) = self.stream else {
            panic!("inside TLS already")
        };
        let stream = Line::Tls(Box::new(handshake(stream, config)?));
        Ok(Wire { stream, ..self })
    }

    /// Inside TLS, but not logged in: `start` and `log_in` do that. An error of the handshake if there was one.
    pub fn open_tls(url: &str, config: &Arc<ClientConfig>, start: TlsStart) -> std::io::Result<Self> {
        let url = Url::parse(url);
        let mut stream = dial(&url);
        if start == TlsStart::AfterRequest {
            stream.write_all(&encode_ssl_request())?;
            let mut answer = [0];
            stream.read_exact(&mut answer)?;
            assert_eq!(&answer, b"S", "TLS is offered");
        }
        let stream = handshake(stream, config)?;
        Ok(Wire::on(Line::Tls(Box::new(stream)), &url))
    }

    /// What the other side has shown of itself in TLS.
    pub fn shown_certificate(&self) -> Option<&[u8]> {
        match &self.stream {
            Line::Plain(_) => None,
            Line::Tls(stream) => Some(stream.conn.peer_certificates()?.first()?),
        }
    }

    fn on(stream: Line, url: &Url) -> Self {
        Wire {
            stream,
            buffer: Vec::new(),
            address: (url.host.clone(), url.port),
            process: 0,
            key: Vec::new(),
            negotiated: None,
            reported: BTreeMap::new(),
        }
    }

    /// Sends the start-up packet.
    pub fn start(&mut self, protocol: u32, url: &Url, parameters: &[(&str, &str)]) {
        let mut sent = vec![
            ("user".to_owned(), url.user.clone()),
            ("database".to_owned(), url.database.clone()),
        ];
        sent.extend(
            parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        self.write(
            &Startup {
                protocol,
                parameters: sent,
            }
            .encode(),
        );
    }

    /// Answers what the server asks, up to the first ReadyForQuery.
    pub fn log_in(&mut self, password: &str, binding: Binding<'_>) -> Result<(), Box<Fields>> {
        let mut scram = None;
        let mut last = None;
        loop {
            let message = self.read();
            match (message.tag, message.body.get(3)) {
                (b'R', Some(0)) => {}
                (b'R', Some(3)) => {
                    let body = [password.as_bytes(), &[0]].concat();
                    self.send(Frames::new().raw(b'p', &body));
                }
                (b'R', Some(10)) => {
                    let (begun, first) = ClientScram::first("a-nonce-of-a-test", binding);
                    let mechanism = match binding {
                        Binding::EndPoint(_) => MECHANISM_PLUS,
                        Binding::Unable | Binding::NotOffered => MECHANISM,
                    };
                    let mut body = format!("{mechanism}\0").into_bytes();
                    body.extend((first.len() as u32).to_be_bytes());
                    body.extend(first.as_bytes());
                    scram = Some(begun);
                    self.send(Frames::new().raw(b'p', &body));
                }
                (b'R', Some(11)) => {
                    let begun = scram.take().expect("begun above");
                    let asked = begun.read_server_first(&message.body[4..]).expect("a challenge");
                    let keys = derived(password, &asked.salt, asked.iterations);
                    let (check, proof) = begun.prove(&asked, &keys);
                    last = Some(check);
                    self.send(Frames::new().raw(b'p', proof.as_bytes()));
                }
                (b'R', Some(12)) => {
                    last.take()
                        .expect("proved above")
                        .check(&message.body[4..])
                        .expect("it is the proxy");
                }
                (b'K', _) => {
                    self.process = i32::from_be_bytes(message.body[..4].try_into().expect("four bytes"));
                    self.key = message.body[4..].to_vec();
                }
                (b'E', _) => return Err(Box::new(message.fields())),
                (b'Z', _) => return Ok(()),
                (b'v', _) => self.negotiated = Some(message.body),
                (b'S', _) => {
                    let (name, value) = parameter_status(&message.body).expect("a setting");
                    self.reported.insert(name.to_owned(), value.to_owned());
                }
                (b'N', _) => {}
                other => panic!("not a message of a log-in: {other:?}"),
            }
        }
    }

    pub fn send(&mut self, frames: Frames) {
        self.write(&frames.0);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the proxy reads");
        self.stream.flush().expect("the proxy reads");
    }

    /// Sends, and reads up to the first ReadyForQuery.
    pub fn ask(&mut self, frames: Frames) -> Vec<Message> {
        self.send(frames);
        self.until_ready()
    }

    pub fn query(&mut self, text: &str) -> Vec<Message> {
        self.ask(Frames::new().query(text))
    }

    /// The next message. Panics after half a minute of silence.
    pub fn read(&mut self) -> Message {
        self.try_read()
            .unwrap_or_else(|error| panic!("nothing came: {error}"))
    }

    pub fn try_read(&mut self) -> std::io::Result<Message> {
        loop {
            let cut = frame::cut(&self.buffer).expect("a sound server");
            if let Some((header, body)) = cut {
                let message = Message {
                    tag: header.tag,
                    body: body.to_vec(),
                };
                self.buffer.drain(..header.frame_bytes());
                return Ok(message);
            }
            let mut chunk = [0; 8192];
            match self.stream.read(&mut chunk)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => self.buffer.extend(&chunk[..count]),
            }
        }
    }

    pub fn until(&mut self, tag: u8) -> Vec<Message> {
        let mut read = Vec::new();
        loop {
            let message = self.read();
            read.push(message);
            if read.last().is_some_and(|message| message.tag == tag) {
                return read;
            }
        }
    }

    pub fn until_ready(&mut self) -> Vec<Message> {
        self.until(b'Z')
    }

    /// Asserts that no message but notices and parameter changes comes for a while.
    pub fn is_silent(&mut self, within: Duration) {
        self.stream
            .tcp()
            .set_read_timeout(Some(within))
            .expect("an option");
        loop {
            match self.try_read() {
                Ok(message) if matches!(message.tag, b'N' | b'S') => {}
                Ok(message) => panic!("not silent: {message:?}"),
                Err(error) => {
                    let silent = matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    );
                    assert!(silent, "{error}");
                    break;
                }
            }
        }
        self.stream
            .tcp()
            .set_read_timeout(Some(ANSWER_WITHIN))
            .expect("an option");
    }

    /// A CancelRequest for this session, on a connection of its own.
    pub fn cancel(&self) {
        self.cancel_with(&self.key);
    }

    /// The same with another key.
    pub fn cancel_with(&self, key: &[u8]) {
        let mut stream =
            TcpStream::connect((self.address.0.as_str(), self.address.1)).expect("the proxy listens");
        stream
            .write_all(&encode_cancel(self.process, key))
            .expect("the proxy reads");
        let _closed = stream.read(&mut [0; 1]);
    }

    /// The socket itself, for what no sound client does.
    pub fn socket(&self) -> &TcpStream {
        self.stream.tcp()
    }

    /// Writes until the other side takes no more.
    pub fn stuff(&mut self, bytes: &[u8]) {
        self.stream
            .tcp()
            .set_write_timeout(Some(Duration::from_secs(1)))
            .expect("an option");
        // It ends with a time-out, which is what is wanted.
        let _full = self.stream.write_all(bytes);
    }

    /// Closes the connection without a word.
    pub fn hang_up(self) {
        drop(self.stream);
    }

    /// Closes the connection by a reset, as the system does for a process that is killed with bytes unread.
    pub fn reset(self) {
        socket2::SockRef::from(self.stream.tcp())
            .set_linger(Some(Duration::ZERO))
            .expect("an option");
        drop(self.stream);
    }
}

fn handshake(
    stream: TcpStream,
    config: &Arc<ClientConfig>,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let mut stream = StreamOwned::new(connection, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn dial(url: &Url) -> TcpStream {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).expect("the proxy listens");
    stream.set_nodelay(true).expect("an option");
    stream.set_read_timeout(Some(ANSWER_WITHIN)).expect("an option");
    stream
}

/// Derived once for each password: without optimisation it takes a tenth of a second.
fn derived(password: &str, salt: &[u8], iterations: u32) -> ClientKeys {
    static DERIVED: Mutex<Vec<(String, Vec<u8>, ClientKeys)>> = Mutex::new(Vec::new());
    let mut derived = DERIVED.lock().expect("no panic holds it");
    let known = derived
        .iter()
        .find(|(of, with, _)| of == password && with == salt);
    if let Some((_, _, keys)) = known {
        return keys.clone();
    }
    let keys = ClientKeys::derive(password.as_bytes(), salt, iterations);
    derived.push((password.to_owned(), salt.to_vec(), keys.clone()));
    keys
}

/// The messages' types as text, without notices and parameter changes: `12DCZ`.
pub fn tags(messages: &[Message]) -> String {
    messages
        .iter()
        .filter(|message| !matches!(message.tag, b'N' | b'S'))
        .map(|message| char::from(message.tag))
        .collect()
}

/// The one error among them.
pub fn error(messages: &[Message]) -> Fields {
    let errors: Vec<_> = messages.iter().filter(|message| message.tag == b'E').collect();
    assert_eq!(errors.len(), 1, "one error expected: {messages:?}");
    errors[0].fields()
}

/// The status that the last ReadyForQuery tells.
pub fn status(messages: &[Message]) -> char {
    let ready = messages
        .iter()
        .rev()
        .find(|message| message.tag == b'Z')
        .expect("a ReadyForQuery");
    char::from(ready.body[0])
}

/// The first column of the first row.
pub fn value(messages: &[Message]) -> String {
    let row = messages
        .iter()
        .find(|message| message.tag == b'D')
        .unwrap_or_else(|| panic!("no row: {messages:?}"));
    let length = i32::from_be_bytes(row.body[2..6].try_into().expect("four bytes"));
    let end = 6 + usize::try_from(length).expect("not NULL");
    String::from_utf8(row.body[6..end].to_vec()).expect("UTF-8")
}
