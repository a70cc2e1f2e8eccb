//! A MySQL client that sends exactly the packets a test wants, cut where it wants, and reads the answers apart.
//!
//! Its reading of the protocol is its own, not the proxy's: the two check each other. Read `mysql_answer.rs` next.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::mysql_answer::{Answer, Cursor, MORE_RESULTS, Rows, ServerError, eof_status};

/// Longer than anything that should be answered at once takes on a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A packet of this length is continued by the next one.
pub const PACKET_BYTES_MAX: usize = 0xff_ffff;

/// Capabilities, as in the servers' own headers.
pub mod flag {
    pub const LONG_PASSWORD: u64 = 1;
    pub const FOUND_ROWS: u64 = 1 << 1;
    pub const LONG_FLAG: u64 = 1 << 2;
    pub const CONNECT_WITH_DB: u64 = 1 << 3;
    pub const COMPRESS: u64 = 1 << 5;
    pub const LOCAL_FILES: u64 = 1 << 7;
    pub const PROTOCOL_41: u64 = 1 << 9;
    pub const INTERACTIVE: u64 = 1 << 10;
    pub const SSL: u64 = 1 << 11;
    pub const TRANSACTIONS: u64 = 1 << 13;
    pub const SECURE_CONNECTION: u64 = 1 << 15;
    pub const MULTI_STATEMENTS: u64 = 1 << 16;
    pub const MULTI_RESULTS: u64 = 1 << 17;
    pub const PS_MULTI_RESULTS: u64 = 1 << 18;
    pub const PLUGIN_AUTH: u64 = 1 << 19;
    pub const CONNECT_ATTRS: u64 = 1 << 20;
    pub const SESSION_TRACK: u64 = 1 << 23;
    pub const DEPRECATE_EOF: u64 = 1 << 24;
    pub const QUERY_ATTRIBUTES: u64 = 1 << 27;
    pub const MARIADB_PROGRESS: u64 = 1 << 32;

    /// What a driver of today asks for.
    pub const USUAL: u64 = LONG_PASSWORD
        | LONG_FLAG
        | PROTOCOL_41
        | TRANSACTIONS
        | SECURE_CONNECTION
        | MULTI_STATEMENTS
        | MULTI_RESULTS
        | PS_MULTI_RESULTS
        | PLUGIN_AUTH
        | CONNECT_ATTRS;
}

/// Commands, by their first byte.
pub mod com {
    pub const QUIT: u8 = 0x01;
    pub const INIT_DB: u8 = 0x02;
    pub const QUERY: u8 = 0x03;
    pub const FIELD_LIST: u8 = 0x04;
    pub const STATISTICS: u8 = 0x09;
    pub const PROCESS_KILL: u8 = 0x0c;
    pub const PING: u8 = 0x0e;
    pub const CHANGE_USER: u8 = 0x11;
    pub const STMT_PREPARE: u8 = 0x16;
    pub const STMT_EXECUTE: u8 = 0x17;
    pub const STMT_SEND_LONG_DATA: u8 = 0x18;
    pub const STMT_CLOSE: u8 = 0x19;
    pub const STMT_RESET: u8 = 0x1a;
    pub const SET_OPTION: u8 = 0x1b;
    pub const STMT_FETCH: u8 = 0x1c;
    pub const RESET_CONNECTION: u8 = 0x1f;
}

/// `utf8mb4_general_ci`
pub const UTF8MB4: u8 = 45;

/// Means the statement that was prepared last, at MariaDB.
pub const LAST_PREPARED: u32 = 0xffff_ffff;

/// How a connection begins.
#[derive(Clone, Debug)]
pub struct LogIn {
    pub user: String,
    pub password: String,
    pub host: String,
    pub port: u16,
    pub schema: Option<String>,
    pub charset: u8,
    /// What is asked for, of what the server offers.
    pub flags: u64,
    pub attributes: Vec<(String, String)>,
    /// Instead of the method of the server's greeting.
    pub method: Option<&'static str>,
}

impl LogIn {
    /// `mysql://USER:PASSWORD@HOST:PORT/SCHEMA`
    pub fn of(url: &str) -> Self {
        let options = mysql_async::Opts::from_url(url).expect("a connection string");
        Self {
            user: options.user().unwrap_or_default().to_owned(),
            password: options.pass().unwrap_or_default().to_owned(),
            host: options.ip_or_hostname().to_owned(),
            port: options.tcp_port(),
            schema: options.db_name().map(str::to_owned),
            charset: UTF8MB4,
            flags: flag::USUAL,
            attributes: vec![("_client_name".to_owned(), "a test".to_owned())],
            method: None,
        }
    }

    pub fn with(mut self, flags: u64) -> Self {
        self.flags |= flags;
        self
    }

    pub fn without(mut self, flags: u64) -> Self {
        self.flags &= !flags;
        self
    }
}

/// What the server says first.
#[derive(Clone, Debug)]
pub struct Greeting {
    pub version: String,
    pub connection: u32,
    pub nonce: Vec<u8>,
    pub flags: u64,
    pub charset: u8,
    pub method: String,
}

impl Greeting {
    /// Source: MariaDB docs, connection#initial-handshake-packet
    fn read(packet: &[u8]) -> Self {
        let mut cursor = Cursor::new(packet);
        assert_eq!(cursor.u8(), 10, "the greeting's version: {packet:?}");
        let version = cursor.text_to_nul();
        let connection = cursor.u32();
        let mut nonce = cursor.take(8).to_vec();
        cursor.take(1);
        let low = u64::from(cursor.u16());
        let charset = cursor.u8();
        cursor.u16();
        let high = u64::from(cursor.u16());
        let nonce_bytes = usize::from(cursor.u8());
        cursor.take(6);
        let mariadb = u64::from(cursor.u32());
        nonce.extend(cursor.take(nonce_bytes.saturating_sub(9).max(12)));
        cursor.take(1);
        let mut flags = low | high << 16;
        if flags & flag::LONG_PASSWORD == 0 {
            flags |= mariadb << 32;
        }
        Self {
            version,
            connection,
            nonce,
            flags,
            charset,
            method: cursor.text_to_nul(),
        }
    }
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

    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Line::Plain(stream) => stream.read(into),
            Line::Tls(stream) => stream.read(into),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Line::Plain(stream) => stream.write_all(bytes),
            Line::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}

/// A connection.
pub struct MysqlWire {
    line: Option<Line>,
    buffer: Vec<u8>,
    /// The number of the next packet, in either direction.
    sequence: u8,
    /// What both sides agreed on.
    flags: u64,
    /// How many bytes are written at a time.
    split: Option<usize>,
    pub greeting: Greeting,
    pub log_in: LogIn,
    /// Progress reports that came before answers.
    pub progress: Vec<Vec<u8>>,
}

impl MysqlWire {
    /// Connected and logged in.
    pub fn connect(url: &str) -> Self {
        Self::log_in(&LogIn::of(url)).unwrap_or_else(|error| panic!("no log-in: {error:?}"))
    }

    pub fn log_in(log_in: &LogIn) -> Result<Self, ServerError> {
        let mut wire = Self::greeted(log_in)?;
        wire.respond()?;
        Ok(wire)
    }

    /// Logged in inside TLS.
    pub fn log_in_by_tls(log_in: &LogIn, config: &Arc<ClientConfig>) -> Result<Self, ServerError> {
        let mut wire = Self::greeted(&log_in.clone().with(flag::SSL))?;
        wire.begin_tls(config).expect("a handshake");
        wire.respond()?;
        Ok(wire)
    }

    /// Connected, the greeting read, nothing answered.
    pub fn greeted(log_in: &LogIn) -> Result<Self, ServerError> {
        let stream = TcpStream::connect((log_in.host.as_str(), log_in.port)).expect("the other side listens");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(ANSWER_WITHIN)).expect("an option");
        let mut wire = Self {
            line: Some(Line::Plain(stream)),
            buffer: Vec::new(),
            sequence: 0,
            flags: 0,
            split: None,
            greeting: Greeting {
                version: String::new(),
                connection: 0,
                nonce: Vec::new(),
                flags: 0,
                charset: 0,
                method: String::new(),
            },
            log_in: log_in.clone(),
            progress: Vec::new(),
        };
        let packet = wire.read_packet();
        if packet.first() == Some(&0xff) {
            return Err(ServerError::read(&packet));
        }
        wire.greeting = Greeting::read(&packet);
        let mut flags = log_in.flags & wire.greeting.flags;
        // A client says by this bit that it knows nothing of MariaDB's own flags.
        flags |= log_in.flags & flag::LONG_PASSWORD;
        if log_in.flags >> 32 != 0 {
            flags &= !flag::LONG_PASSWORD;
        }
        if log_in.schema.is_some() {
            flags |= flag::CONNECT_WITH_DB;
        }
        wire.flags = flags;
        Ok(wire)
    }

    /// What both sides agreed on.
    pub fn flags(&self) -> u64 {
        self.flags
    }

    fn response_head(&self) -> Vec<u8> {
        let mut head = (self.flags as u32).to_le_bytes().to_vec();
        head.extend((1_u32 << 30).to_le_bytes());
        head.push(self.log_in.charset);
        head.extend([0; 19]);
        head.extend(((self.flags >> 32) as u32).to_le_bytes());
        head
    }

    /// Asks for TLS and goes on inside it.
    pub fn begin_tls(&mut self, config: &Arc<ClientConfig>) -> std::io::Result<()> {
        let head = self.response_head();
        self.put_next(&head);
        let Some(Line::Plain(stream)) = self.line.take() else {
            panic!("inside TLS already")
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::clone(config), name).expect("a client");
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        self.line = Some(Line::Tls(Box::new(stream)));
        Ok(())
    }

    /// The bytes of a handshake response.
    pub fn response(&self) -> Vec<u8> {
        let log_in = &self.log_in;
        let method = log_in.method.unwrap_or(&self.greeting.method).to_owned();
        let mut response = self.response_head();
        response.extend(log_in.user.as_bytes());
        response.push(0);
        let scramble = scramble(&method, &log_in.password, &self.greeting.nonce);
        response.push(u8::try_from(scramble.len()).expect("a short proof"));
        response.extend(scramble);
        if self.flags & flag::CONNECT_WITH_DB != 0 {
            response.extend(log_in.schema.as_deref().unwrap_or_default().as_bytes());
            response.push(0);
        }
        if self.flags & flag::PLUGIN_AUTH != 0 {
            response.extend(method.as_bytes());
            response.push(0);
        }
        if self.flags & flag::CONNECT_ATTRS != 0 {
            put_attributes(&mut response, &log_in.attributes);
        }
        response
    }

    /// Answers the greeting and what the server asks behind it.
    pub fn respond(&mut self) -> Result<(), ServerError> {
        let response = self.response();
        self.put_next(&response);
        self.prove()
    }

    /// Answers what the server asks of a log-in, up to its OK.
    fn prove(&mut self) -> Result<(), ServerError> {
        loop {
            let packet = self.read_packet();
            match packet.as_slice() {
                [0x00, ..] => return Ok(()),
                [0xff, ..] => return Err(ServerError::read(&packet)),
                [0xfe, rest @ ..] => {
                    let mut cursor = Cursor::new(rest);
                    let method = cursor.text_to_nul();
                    let proof = scramble(&method, &self.log_in.password, cursor.rest());
                    self.put_next(&proof);
                }
                [0x01, 0x03] => {}
                [0x01, 0x04] => {
                    assert!(
                        matches!(self.line, Some(Line::Tls(_))),
                        "a password is asked for outside TLS"
                    );
                    let password = [self.log_in.password.as_bytes(), &[0]].concat();
                    self.put_next(&password);
                }
                other => panic!("not a packet of a log-in: {other:?}"),
            }
        }
    }

    /// COM_CHANGE_USER, with the answers that it asks for.
    pub fn change_user(&mut self, log_in: &LogIn) -> Result<(), ServerError> {
        self.log_in = log_in.clone();
        let method = log_in.method.unwrap_or(&self.greeting.method).to_owned();
        let mut body = vec![com::CHANGE_USER];
        body.extend(log_in.user.as_bytes());
        body.push(0);
        let scramble = scramble(&method, &log_in.password, &self.greeting.nonce);
        body.push(u8::try_from(scramble.len()).expect("a short proof"));
        body.extend(scramble);
        body.extend(log_in.schema.as_deref().unwrap_or_default().as_bytes());
        body.push(0);
        body.extend(u16::from(log_in.charset).to_le_bytes());
        body.extend(method.as_bytes());
        body.push(0);
        if self.flags & flag::CONNECT_ATTRS != 0 {
            put_attributes(&mut body, &log_in.attributes);
        }
        self.send(&body);
        self.prove()
    }

    /// From now on at most so many bytes are written at a time.
    pub fn split_at(&mut self, bytes: usize) {
        self.split = Some(bytes);
    }

    /// Sends one message as a new command.
    pub fn send(&mut self, payload: &[u8]) {
        self.sequence = 0;
        self.put_next(payload);
    }

    pub fn command(&mut self, code: u8, body: &[u8]) {
        self.send(&[&[code], body].concat());
    }

    /// Sends one message behind what was read last.
    pub fn put_next(&mut self, payload: &[u8]) {
        let framed = framed(&mut self.sequence, payload);
        self.write(&framed).expect("the other side reads");
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let line = self.line.as_mut().expect("an open line");
        for part in bytes.chunks(self.split.unwrap_or(usize::MAX).max(1)) {
            line.write(part)?;
        }
        Ok(())
    }

    /// What comes next is expected to have this number.
    pub fn expect_sequence(&mut self, sequence: u8) {
        self.sequence = sequence;
    }

    pub fn read_packet(&mut self) -> Vec<u8> {
        self.try_read_packet()
            .unwrap_or_else(|error| panic!("nothing came: {error}"))
    }

    /// One message, of however many packets, whose numbers must follow each other.
    pub fn try_read_packet(&mut self) -> std::io::Result<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            self.fill(4)?;
            let length = usize::from(self.buffer[0])
                | usize::from(self.buffer[1]) << 8
                | usize::from(self.buffer[2]) << 16;
            self.fill(4 + length)?;
            let sequence = self.buffer[3];
            payload.extend(&self.buffer[4..4 + length]);
            self.buffer.drain(..4 + length);
            assert_eq!(sequence, self.sequence, "the number of a packet: {payload:02x?}");
            self.sequence = sequence.wrapping_add(1);
            if length < PACKET_BYTES_MAX {
                return Ok(payload);
            }
        }
    }

    fn fill(&mut self, bytes: usize) -> std::io::Result<()> {
        let mut chunk = vec![0; 1 << 16];
        while self.buffer.len() < bytes {
            match self.line.as_mut().expect("an open line").read(&mut chunk)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => self.buffer.extend(&chunk[..count]),
            }
        }
        Ok(())
    }

    /// Whether something comes within this time. Nothing of it is taken away.
    pub fn has_answer(&mut self, within: Duration) -> bool {
        if self.buffer.len() >= 4 {
            return true;
        }
        let until = Instant::now() + within;
        let tcp = |wire: &Self| wire.line.as_ref().expect("an open line").tcp().try_clone();
        let socket = tcp(self).expect("a handle");
        socket.set_read_timeout(Some(within)).expect("an option");
        let mut has = true;
        while self.buffer.len() < 4 {
            if self.fill(self.buffer.len() + 1).is_err() {
                // A closed line is an answer too.
                has = Instant::now() < until;
                break;
            }
        }
        socket.set_read_timeout(Some(ANSWER_WITHIN)).expect("an option");
        has
    }

    /// The answers to one command: as many as the server's status says.
    pub fn answers(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        loop {
            let answer = self.answer();
            let has_more = answer.status().is_some_and(|status| status & MORE_RESULTS != 0);
            let ends = matches!(answer, Answer::LocalFile(_));
            answers.push(answer);
            if ends || !has_more {
                return answers;
            }
        }
    }

    /// The next answer to COM_QUERY or COM_STMT_EXECUTE.
    pub fn answer(&mut self) -> Answer {
        let first = match self.next_but_progress() {
            Ok(first) => first,
            Err(error) => return Answer::Closed(error.kind()),
        };
        match first.as_slice() {
            [0x00, ..] => Answer::ok(&first),
            [0xff, ..] => Answer::Error(ServerError::read(&first)),
            [0xfb, name @ ..] => Answer::LocalFile(String::from_utf8_lossy(name).into_owned()),
            [0xfe, ..] if first.len() < 9 => Answer::End(eof_status(&first)),
            _ => {
                let count = Cursor::new(&first).lenenc().expect("a number of columns");
                self.rows(count)
            }
        }
    }

    fn next_but_progress(&mut self) -> std::io::Result<Vec<u8>> {
        loop {
            let packet = self.try_read_packet()?;
            if packet.starts_with(&[0xff, 0xff, 0xff]) {
                self.progress.push(packet);
                continue;
            }
            return Ok(packet);
        }
    }

    fn rows(&mut self, count: u64) -> Answer {
        let mut rows = Rows::default();
        for _ in 0..count {
            let definition = self.read_packet();
            rows.columns.push(definition);
        }
        if self.flags & flag::DEPRECATE_EOF == 0 {
            let end = self.read_packet();
            rows.status = eof_status(&end);
            // A cursor's rows are fetched.
            if rows.has_cursor() {
                return Answer::Rows(rows);
            }
        }
        self.rest_of_rows(rows)
    }

    /// Rows up to their end, as they come for a COM_STMT_FETCH too.
    fn rest_of_rows(&mut self, mut rows: Rows) -> Answer {
        loop {
            let Ok(packet) = self.next_but_progress() else {
                return Answer::Closed(std::io::ErrorKind::UnexpectedEof);
            };
            match packet.as_slice() {
                [0xff, ..] => {
                    rows.error = Some(ServerError::read(&packet));
                    return Answer::Rows(rows);
                }
                [0xfe, ..] if self.ends_rows(&packet) => {
                    rows.status = match self.flags & flag::DEPRECATE_EOF {
                        0 => eof_status(&packet),
                        _ => Answer::ok(&packet).status().expect("an OK has one"),
                    };
                    return Answer::Rows(rows);
                }
                _ => rows.rows.push(packet),
            }
        }
    }

    fn ends_rows(&self, packet: &[u8]) -> bool {
        match self.flags & flag::DEPRECATE_EOF {
            0 => packet.len() < 9,
            _ => packet.len() < PACKET_BYTES_MAX,
        }
    }

    pub fn query(&mut self, text: &str) -> Vec<Answer> {
        self.query_bytes(text.as_bytes())
    }

    pub fn query_bytes(&mut self, text: &[u8]) -> Vec<Answer> {
        self.send_query(text);
        self.answers()
    }

    /// Where query attributes were agreed on, with none.
    pub fn send_query(&mut self, text: &[u8]) {
        let payload = match self.flags & flag::QUERY_ATTRIBUTES {
            0 => [&[com::QUERY], text].concat(),
            _ => [&[com::QUERY, 0, 1], text].concat(),
        };
        self.send(&payload);
    }

    /// With attributes of type string.
    pub fn send_query_with(&mut self, text: &[u8], attributes: &[(&str, &str)]) {
        let count = attributes.len();
        let mut payload = vec![com::QUERY, u8::try_from(count).expect("few"), 1];
        if count > 0 {
            payload.extend(vec![0; count.div_ceil(8)]);
            payload.push(1);
            for (name, _) in attributes {
                payload.extend([0xfe, 0]);
                put_lenenc(&mut payload, name.as_bytes());
            }
            for (_, value) in attributes {
                put_lenenc(&mut payload, value.as_bytes());
            }
        }
        payload.extend(text);
        self.send(&payload);
    }

    /// An answer of one packet: OK, ERR or EOF.
    pub fn ask(&mut self, code: u8, body: &[u8]) -> Answer {
        self.command(code, body);
        self.answer()
    }

    pub fn ping(&mut self) -> Answer {
        self.ask(com::PING, &[])
    }

    pub fn prepare(&mut self, text: &str) -> Answer {
        self.command(com::STMT_PREPARE, text.as_bytes());
        self.prepared()
    }

    /// The answer to COM_STMT_PREPARE.
    pub fn prepared(&mut self) -> Answer {
        let first = match self.next_but_progress() {
            Ok(first) => first,
            Err(error) => return Answer::Closed(error.kind()),
        };
        if first.first() == Some(&0xff) {
            return Answer::Error(ServerError::read(&first));
        }
        let mut cursor = Cursor::new(&first);
        assert_eq!(cursor.u8(), 0, "an answer to a prepare: {first:02x?}");
        let id = cursor.u32();
        let columns = cursor.u16();
        let parameters = cursor.u16();
        for part in [parameters, columns] {
            for _ in 0..part {
                self.read_packet();
            }
            if part > 0 && self.flags & flag::DEPRECATE_EOF == 0 {
                self.read_packet();
            }
        }
        Answer::Prepared {
            id,
            columns,
            parameters,
        }
    }

    /// Values are sent as strings; `None` is one that came as long data.
    pub fn send_execute(&mut self, id: u32, values: &[Option<&str>], cursor: u8) {
        self.send(&execute(id, values, cursor));
    }

    pub fn execute(&mut self, id: u32, values: &[&str]) -> Vec<Answer> {
        let values: Vec<_> = values.iter().copied().map(Some).collect();
        self.send_execute(id, &values, 0);
        self.answers()
    }

    /// The next rows of a cursor.
    pub fn fetch(&mut self, id: u32, rows: u32) -> Answer {
        let body = [id.to_le_bytes(), rows.to_le_bytes()].concat();
        self.command(com::STMT_FETCH, &body);
        if self.has_error_next() {
            return self.answer();
        }
        self.rest_of_rows(Rows::default())
    }

    fn has_error_next(&mut self) -> bool {
        self.fill(5).is_ok() && self.buffer[4] == 0xff
    }

    /// Never answered.
    pub fn long_data(&mut self, id: u32, parameter: u16, data: &[u8]) {
        let body = [&id.to_le_bytes()[..], &parameter.to_le_bytes(), data].concat();
        self.command(com::STMT_SEND_LONG_DATA, &body);
    }

    /// What COM_FIELD_LIST gives: definitions up to an EOF, or an error.
    pub fn field_list(&mut self, body: &[u8]) -> Answer {
        self.command(com::FIELD_LIST, body);
        self.fields()
    }

    pub fn fields(&mut self) -> Answer {
        let mut rows = Rows::default();
        loop {
            let Ok(packet) = self.next_but_progress() else {
                return Answer::Closed(std::io::ErrorKind::UnexpectedEof);
            };
            match packet.as_slice() {
                [0xff, ..] => return Answer::Error(ServerError::read(&packet)),
                [0xfe, ..] => return Answer::Rows(rows),
                _ => rows.columns.push(packet),
            }
        }
    }

    /// Asserts that nothing comes for a while.
    pub fn is_silent(&mut self, within: Duration) {
        assert!(
            !self.has_answer(within),
            "not silent: {:02x?}",
            &self.buffer[..self.buffer.len().min(80)]
        );
    }

    pub fn socket(&self) -> &TcpStream {
        self.line.as_ref().expect("an open line").tcp()
    }

    /// Closes the connection without a word.
    pub fn hang_up(self) {
        drop(self);
    }
}

/// One message as packets from this number on.
pub fn framed(sequence: &mut u8, payload: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(payload.len() + 4);
    let mut rest = payload;
    loop {
        let (part, behind) = rest.split_at(rest.len().min(PACKET_BYTES_MAX));
        framed.extend(&(part.len() as u32).to_le_bytes()[..3]);
        framed.push(*sequence);
        framed.extend(part);
        *sequence = sequence.wrapping_add(1);
        if part.len() < PACKET_BYTES_MAX {
            return framed;
        }
        rest = behind;
    }
}

/// The payload of COM_STMT_EXECUTE; see `MysqlWire::send_execute`.
pub fn execute(id: u32, values: &[Option<&str>], cursor: u8) -> Vec<u8> {
    let mut payload = vec![com::STMT_EXECUTE];
    payload.extend(id.to_le_bytes());
    payload.push(cursor);
    payload.extend(1_u32.to_le_bytes());
    if values.is_empty() {
        return payload;
    }
    payload.extend(vec![0; values.len().div_ceil(8)]);
    payload.push(1);
    for value in values {
        payload.extend(match value {
            Some(_) => [0xfd, 0],
            None => [0xfc, 0],
        });
    }
    for value in values.iter().flatten() {
        put_lenenc(&mut payload, value.as_bytes());
    }
    payload
}

/// A text with its length in front.
pub fn put_lenenc(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length @ 0..=250 => out.push(length as u8),
        length @ 251..=0xffff => {
            out.push(0xfc);
            out.extend((length as u16).to_le_bytes());
        }
        length @ 0x1_0000..=0xff_ffff => {
            out.push(0xfd);
            out.extend(&(length as u32).to_le_bytes()[..3]);
        }
        length => {
            out.push(0xfe);
            out.extend((length as u64).to_le_bytes());
        }
    }
    out.extend(text);
}

fn put_attributes(out: &mut Vec<u8>, attributes: &[(String, String)]) {
    let mut all = Vec::new();
    for (name, value) in attributes {
        put_lenenc(&mut all, name.as_bytes());
        put_lenenc(&mut all, value.as_bytes());
    }
    put_lenenc(out, &all);
}

/// The proof of a password, by the method of this name; nothing for an empty one.
pub fn scramble(method: &str, password: &str, nonce: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let nonce = &nonce[..nonce.len().min(20)];
    match method {
        "mysql_native_password" => {
            let once = Sha1::digest(password);
            let twice = Sha1::digest(once);
            let mask = Sha1::digest([nonce, &twice].concat());
            once.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect()
        }
        "caching_sha2_password" => {
            let once = Sha256::digest(password);
            let twice = Sha256::digest(once);
            let mask = Sha256::digest([&twice[..], nonce].concat());
            once.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect()
        }
        "mysql_clear_password" => [password.as_bytes(), &[0]].concat(),
        other => panic!("an unknown method {other}"),
    }
}
