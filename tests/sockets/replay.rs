//! Says again what a recorded client said, log-in included, through faulty sockets; keeps what came back.
//!
//! Never waits for ever: a message that does not come within half a minute is a hang, and reported as one. Read
//! `evidence.rs` next.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use countersign::wire::postgres::frame::{self, put};
use countersign::wire::postgres::message::client;
use countersign::wire::postgres::scram::{Binding, ClientKeys, ClientScram, MECHANISM};
use countersign::wire::postgres::startup::{PROTOCOL_3_0, Startup, encode_cancel, encode_ssl_request};

use super::faulty::{Fault, FaultySocket};
use super::session::{RunNumber, Session, Step};
use super::support::wire::{Message, Url};

/// Longer than anything takes on a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Where a fault sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    ClientToProxy,
    ProxyToClient,
    ProxyToServer,
    ServerToProxy,
}

/// How a run ended for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything was said, and the proxy closed behind it.
    AllSaid,
    /// By the run's own fault at the client's socket.
    Cut,
    /// By the other side, between two messages or inside one.
    ByProxy { inside_a_message: bool },
    /// Nothing came for half a minute.
    Hung { awaited: String },
    /// Something else came than was recorded.
    Strayed { awaited: char, came: char },
}

#[derive(Debug)]
pub struct Played {
    pub run: RunNumber,
    pub messages: Vec<Message>,
    pub ended: Ended,
    /// Bytes that the client wrote and read.
    pub written: usize,
    pub read: usize,
}

/// Keys are derived once: PBKDF2 is slow on purpose.
#[derive(Default)]
pub struct Player {
    keys: Mutex<HashMap<Vec<u8>, ClientKeys>>,
}

impl Player {
    pub fn play(
        &self,
        session: &Session,
        url: &Url,
        run: RunNumber,
        writing: Fault,
        reading: Fault,
    ) -> Played {
        let address: SocketAddr = format!("{}:{}", url.host, url.port)
            .parse()
            .expect("an IPv4 address");
        let stream = TcpStream::connect(address).expect("the proxy listens");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(ANSWER_WITHIN)).expect("an option");
        stream.set_write_timeout(Some(ANSWER_WITHIN)).expect("an option");
        let mut conversation = Conversation {
            socket: FaultySocket::new(stream, writing, reading),
            address,
            buffer: Vec::new(),
            messages: Vec::new(),
            key: (0, Vec::new()),
        };
        let ended = match conversation.talk(self, session, url, run) {
            Err(ended) => ended,
            Ok(never) => match never {},
        };
        let ended = if conversation.socket.is_cut() {
            Ended::Cut
        } else {
            ended
        };
        conversation.socket.end();
        Played {
            run,
            messages: conversation.messages,
            ended,
            written: conversation.socket.written,
            read: conversation.socket.read,
        }
    }

    fn keys(&self, password: &str, salt: &[u8], iterations: u32) -> ClientKeys {
        let mut keys = self.keys.lock().expect("no panic holds it");
        let known = keys
            .entry(salt.to_vec())
            .or_insert_with(|| ClientKeys::derive(password.as_bytes(), salt, iterations));
        known.clone()
    }
}

struct Conversation {
    socket: FaultySocket,
    address: SocketAddr,
    buffer: Vec<u8>,
    messages: Vec<Message>,
    key: (i32, Vec<u8>),
}

impl Conversation {
    fn talk(
        &mut self,
        player: &Player,
        session: &Session,
        url: &Url,
        run: RunNumber,
    ) -> Result<std::convert::Infallible, Ended> {
        self.log_in(player, session, url, run)?;
        for step in session.steps_of(run) {
            match step {
                Step::Send(frames) => self.send(&frames)?,
                Step::Await(tags) => self.read_all(&tags)?,
                Step::Cancel => self.cancel(),
            }
        }
        self.read_to_end(Ended::AllSaid)
    }

    fn log_in(&mut self, player: &Player, session: &Session, url: &Url, run: RunNumber) -> Result<(), Ended> {
        if session.asks_for_tls {
            self.send(&encode_ssl_request())?;
            self.fill("N")?;
            self.buffer.remove(0);
        }
        let mut parameters = vec![
            ("user".to_owned(), url.user.clone()),
            ("database".to_owned(), url.database.clone()),
        ];
        parameters.extend(session.parameters_of(run));
        let startup = Startup {
            protocol: PROTOCOL_3_0,
            parameters,
        };
        self.send(&startup.encode())?;
        self.read_all("R")?;
        let (scram, first) = ClientScram::first("a nonce of a test", Binding::Unable);
        self.send(&sasl(|out| {
            out.extend(MECHANISM.as_bytes());
            out.push(0);
            out.extend((first.len() as u32).to_be_bytes());
            out.extend(first.as_bytes());
        }))?;
        self.read_all("R")?;
        let asked = scram.read_server_first(&self.last()[4..]).expect("a challenge");
        let keys = player.keys(&url.password, &asked.salt, asked.iterations);
        let (check, proof) = scram.prove(&asked, &keys);
        self.send(&sasl(|out| out.extend(proof.as_bytes())))?;
        self.read_all("R")?;
        check.check(&self.last()[4..]).expect("it is the proxy");
        self.read_all("R")?;
        while self.messages.last().is_none_or(|message| message.tag != b'Z') {
            self.read_one(None)?;
        }
        Ok(())
    }

    fn last(&self) -> &[u8] {
        &self.messages.last().expect("one was read").body
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        match self.socket.write_all(bytes) {
            Ok(()) => Ok(()),
            // What the proxy said before it closed is still there to be read.
            Err(_) => match self.read_to_end(Ended::ByProxy {
                inside_a_message: false,
            })? {},
        }
    }

    fn read_all(&mut self, tags: &str) -> Result<(), Ended> {
        tags.chars().try_for_each(|tag| self.read_one(Some(tag)))
    }

    fn read_one(&mut self, awaited: Option<char>) -> Result<(), Ended> {
        let message = loop {
            match self.take_message() {
                Some(message) => break message,
                None => self.fill(&awaited.map(String::from).unwrap_or_default())?,
            }
        };
        if message.tag == b'K' {
            let (process, key) = message.body.split_at(4);
            self.key = (
                i32::from_be_bytes(process.try_into().expect("four bytes")),
                key.to_vec(),
            );
        }
        let came = char::from(message.tag);
        let is_fatal = message.tag == b'E' && message.fields().severity == "FATAL";
        self.messages.push(message);
        match awaited {
            _ if is_fatal => match self.read_to_end(Ended::ByProxy {
                inside_a_message: false,
            })? {},
            Some(awaited) if awaited != came => Err(Ended::Strayed { awaited, came }),
            _ => Ok(()),
        }
    }

    fn take_message(&mut self) -> Option<Message> {
        let (header, body) = frame::cut(&self.buffer).expect("a sound server")?;
        let message = Message {
            tag: header.tag,
            body: body.to_vec(),
        };
        self.buffer.drain(..header.frame_bytes());
        Some(message)
    }

    /// Reads until the other side closes.
    fn read_to_end(&mut self, ended: Ended) -> Result<std::convert::Infallible, Ended> {
        loop {
            while let Some(message) = self.take_message() {
                self.messages.push(message);
            }
            match self.fill("the end") {
                Ok(()) => {}
                Err(Ended::ByProxy {
                    inside_a_message: false,
                }) => return Err(ended),
                Err(other) => return Err(other),
            }
        }
    }

    fn fill(&mut self, awaited: &str) -> Result<(), Ended> {
        let mut chunk = [0; 8192];
        match self.socket.read(&mut chunk) {
            Ok(count @ 1..) => {
                self.buffer.extend(&chunk[..count]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(Ended::Hung {
                    awaited: awaited.to_owned(),
                })
            }
            Ok(0) | Err(_) => Err(Ended::ByProxy {
                inside_a_message: !self.buffer.is_empty(),
            }),
        }
    }

    fn cancel(&self) {
        let (process, key) = &self.key;
        let mut stream = TcpStream::connect(self.address).expect("the proxy listens");
        stream
            .write_all(&encode_cancel(*process, key))
            .expect("the proxy reads");
        let _closed = stream.read(&mut [0; 1]);
    }
}

fn sasl(body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, client::PASSWORD, body);
    out
}
