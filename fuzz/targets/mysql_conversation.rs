//! The answer to a MySQL command, followed packet by packet as the proxy follows it.
//!
//! With any bytes for a server: no panic, and where the bytes are cut does not change what comes of them. With a sound
//! server, made here after the protocol's own rules: the answer is complete with its last packet and not before, every
//! result is told with its rows, and a client that did not ask for the session's changes gets none.
//!
//! Input: one byte for what was asked for and what was agreed on, one for the server and the size of the pieces, then the
//! server's bytes, or one byte for each result of a sound one.
#![no_main]

use countersign::wire::bytes::Malformed;
use countersign::wire::mysql::answer::{
    EofPacket, ErrPacket, OkPacket, Place, PrepareOk, Progress, Status, put_local_infile,
};
use countersign::wire::mysql::capability::Capabilities;
use countersign::wire::mysql::conversation::{Answer, Becomes, Expected, Look, News};
use countersign::wire::mysql::packet::{Gathered, Header, gather, joined, put};
use countersign::wire::mysql::rows::{Column, ResultHead, put_text_row};
use countersign::wire::mysql::session_track::Change;
use libfuzzer_sys::fuzz_target;

const EXPECTED: [Expected; 6] = [
    Expected::Results,
    Expected::Prepared,
    Expected::Rows,
    Expected::Fields,
    Expected::Done,
    Expected::One,
];

fuzz_target!(|bytes: &[u8]| {
    let Some(([asked, how], rest)) = bytes.split_first_chunk() else {
        return;
    };
    let set = |bit: u8, capability| {
        if asked >> bit & 1 == 1 {
            capability
        } else {
            Capabilities(0)
        }
    };
    let both = Capabilities::PROTOCOL_41 | set(0, Capabilities::DEPRECATE_EOF);
    let server = both | set(1, Capabilities::SESSION_TRACK) | set(2, Capabilities::MARIADB_CACHE_METADATA);
    let client = if asked >> 3 & 1 == 1 { server } else { both };
    let expected = EXPECTED[usize::from(asked >> 5) % EXPECTED.len()];
    let piece = usize::from(how & 0x3f) + 1;
    // The proxy asks nothing but queries.
    let is_own = asked >> 4 & 1 == 1 && expected == Expected::Results;
    let follow = |stream: &[u8], piece: usize| {
        let mut walk = Walk::new(Answer::to(expected, server, client, is_own));
        for part in stream.chunks(piece) {
            walk.take(part);
        }
        walk
    };
    match how >> 6 {
        0 => hostile(rest, piece, follow),
        1 => hostile(&framed(rest), piece, follow),
        _ => sound(rest, piece, expected, server, client, follow),
    }
});

/// What an answer has come to, and what is left of the bytes.
struct Walk {
    answer: Answer,
    unread: Vec<u8>,
    /// Of a packet that is passed on as it comes.
    passing_bytes: usize,
    events: Vec<Event>,
    news: Vec<News>,
    packets: usize,
    /// How many packets there were when it was complete.
    complete_at: Option<usize>,
    failed: Option<Malformed>,
}

#[derive(Debug, PartialEq)]
enum Event {
    Passed(usize),
    Became(Becomes),
}

impl Walk {
    fn new(answer: Answer) -> Self {
        Self {
            answer,
            unread: Vec::new(),
            passing_bytes: 0,
            events: Vec::new(),
            news: Vec::new(),
            packets: 0,
            complete_at: None,
            failed: None,
        }
    }

    fn take(&mut self, part: &[u8]) {
        self.unread.extend_from_slice(part);
        while self.failed.is_none() {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => self.failed = Some(error),
            }
        }
    }

    /// `false`: more bytes are needed.
    fn step(&mut self) -> Result<bool, Malformed> {
        if self.passing_bytes > 0 {
            let count = self.passing_bytes.min(self.unread.len());
            self.unread.drain(..count);
            self.passing_bytes -= count;
            return Ok(count > 0);
        }
        let Some(header) = Header::cut(&self.unread) else {
            return Ok(false);
        };
        let first = self.unread.get(4).copied();
        if header.payload_bytes > 0 && first.is_none() {
            return Ok(false);
        }
        let first = first.filter(|_| header.payload_bytes > 0);
        match self.answer.look(header, first)? {
            Look::Pass => {
                self.answer.passed(header, &mut self.news);
                self.events.push(Event::Passed(header.payload_bytes));
                self.passing_bytes = header.frame_bytes();
            }
            Look::Whole => {
                let Gathered::Whole(message) = gather(&self.unread, header.sequence)? else {
                    return Ok(false);
                };
                let payload = joined(&self.unread[..message.frame_bytes]).into_owned();
                self.unread.drain(..message.frame_bytes);
                let becomes = self.answer.seen(&payload, &mut self.news)?;
                self.events.push(Event::Became(becomes));
                // The client has nothing to send.
                self.answer.file_sent();
            }
        }
        self.packets += 1;
        if self.answer.is_complete() && self.complete_at.is_none() {
            self.complete_at = Some(self.packets);
        }
        Ok(true)
    }

    fn completions(&self) -> usize {
        let complete = |news: &&News| **news == News::Complete;
        self.news.iter().filter(complete).count()
    }
}

fn hostile(stream: &[u8], piece: usize, follow: impl Fn(&[u8], usize) -> Walk) {
    let whole = follow(stream, stream.len().max(1));
    let cut = follow(stream, piece);
    assert_eq!(whole.news, cut.news);
    assert_eq!(whole.events, cut.events);
    assert_eq!(whole.failed, cut.failed);
    assert_eq!(whole.complete_at, cut.complete_at);
    assert_eq!(whole.completions(), usize::from(whole.answer.is_complete()));
}

/// The input's parts as packets: one byte for the length of each, then its payload.
fn framed(mut rest: &[u8]) -> Vec<u8> {
    let (mut out, mut sequence) = (Vec::new(), 1);
    while let Some((length, behind)) = rest.split_first() {
        let (payload, behind) = behind.split_at(behind.len().min(usize::from(*length)));
        sequence = put(&mut out, sequence, payload);
        rest = behind;
    }
    out
}

/// A server that keeps to the protocol.
struct Server {
    out: Vec<u8>,
    sequence: u8,
    packets: usize,
    capabilities: Capabilities,
    /// The rows of each result that has some.
    rows: Vec<u64>,
    oks: usize,
    is_error: bool,
}

fn sound(
    steps: &[u8],
    piece: usize,
    expected: Expected,
    capabilities: Capabilities,
    client: Capabilities,
    follow: impl Fn(&[u8], usize) -> Walk,
) {
    let mut server = Server {
        out: Vec::new(),
        sequence: 1,
        packets: 0,
        capabilities,
        rows: Vec::new(),
        oks: 0,
        is_error: false,
    };
    let steps = &steps[..steps.len().min(16)];
    let first = steps.first().copied().unwrap_or(0);
    match expected {
        Expected::Results => server.results(steps),
        Expected::Prepared => server.prepared(first & 3, first >> 2 & 3),
        Expected::Rows => server.rows(first, Status(2)),
        Expected::Fields => {
            server.columns(first & 3);
            server.end(Status(2));
        }
        Expected::Done => server.ok(first, Place::Answer, Status(2)),
        Expected::One => server.put(|out| out.extend_from_slice(b"Uptime: 1")),
    }
    let walk = follow(&server.out, piece);
    assert_eq!(walk.failed, None);
    assert!(walk.unread.is_empty());
    assert_eq!(walk.packets, server.packets);
    assert_eq!(
        walk.complete_at,
        Some(server.packets),
        "complete with its last packet"
    );
    assert_eq!(walk.completions(), 1);
    assert_eq!(walk.news.last(), Some(&News::Complete));
    let rows: Vec<_> = walk
        .news
        .iter()
        .filter_map(|news| match news {
            News::Rows { rows, .. } => Some(*rows),
            _ => None,
        })
        .collect();
    if expected != Expected::Fields {
        assert_eq!(rows, server.rows);
    }
    let oks = walk.news.iter().filter(|news| matches!(news, News::Ok { .. }));
    assert_eq!(oks.count(), server.oks);
    let errors = walk
        .news
        .iter()
        .filter(|news| matches!(news, News::Failed { .. }));
    assert_eq!(errors.count(), usize::from(server.is_error));
    told(&walk, client);
}

/// What the client gets instead has nothing that it did not ask for.
fn told(walk: &Walk, client: Capabilities) {
    for event in &walk.events {
        if let Event::Became(Becomes::Another(payload)) = event {
            assert!(!client.has(Capabilities::SESSION_TRACK));
            let ok = OkPacket::decode(payload, client).expect("an OK");
            assert!(ok.changes.is_empty() && !ok.status.has(Status::SESSION_STATE_CHANGED));
        }
    }
}

impl Server {
    fn put(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut payload = Vec::new();
        encode(&mut payload);
        self.sequence = put(&mut self.out, self.sequence, &payload);
        self.packets += 1;
    }

    /// The last one alone has nothing behind it.
    fn results(&mut self, steps: &[u8]) {
        let more = Status::AUTOCOMMIT.with(Status::MORE_RESULTS);
        for step in steps {
            match step & 7 {
                0 | 1 => self.ok(*step, Place::Answer, more),
                2 | 3 => self.result(*step, more),
                4 => self.progress(),
                5 => {
                    self.put(|out| put_local_infile(out, b"/tmp/file"));
                    self.ok(*step, Place::Answer, more);
                }
                6 => return self.error(),
                _ => return self.result(*step, Status::AUTOCOMMIT.with(Status::CURSOR_EXISTS)),
            }
        }
        self.ok(0, Place::Answer, Status::AUTOCOMMIT);
    }

    fn ok(&mut self, step: u8, place: Place, status: Status) {
        let changes = match step >> 4 & 3 {
            0 => Vec::new(),
            1 => vec![Change::Schema(b"app")],
            2 => vec![
                Change::State(b"1"),
                Change::SystemVariables(vec![(b"a", b"b"), (b"c", b"d")]),
            ],
            _ => vec![Change::Other { kind: 99, data: b"x" }],
        };
        let packet = OkPacket {
            place,
            affected_rows: u64::from(step),
            last_insert_id: 0,
            status,
            warnings: 0,
            info: if step & 0x80 == 0 { b"" } else { b"Rows matched: 1" },
            changes,
        };
        let capabilities = self.capabilities;
        self.put(|out| packet.encode(capabilities, out));
        if place == Place::Answer {
            self.oks += 1;
        }
    }

    fn progress(&mut self) {
        let progress = Progress {
            stage: 1,
            stages: 2,
            done: 7,
            info: b"copy",
        };
        self.put(|out| progress.encode(out));
    }

    fn error(&mut self) {
        self.is_error = true;
        let error = ErrPacket {
            number: 1064,
            sqlstate: Some(*b"42000"),
            message: b"no",
        };
        self.put(|out| error.encode(out));
    }

    fn result(&mut self, step: u8, status: Status) {
        let head = ResultHead {
            columns: u64::from(step >> 4 & 1) + 1,
            has_definitions: !self.capabilities.has(Capabilities::MARIADB_CACHE_METADATA) || step & 8 == 0,
        };
        let capabilities = self.capabilities;
        self.put(|out| head.encode(capabilities, out));
        if head.has_definitions {
            self.columns(head.columns as u8);
        }
        let has_cursor = status.has(Status::CURSOR_EXISTS);
        if !self.capabilities.has(Capabilities::DEPRECATE_EOF) {
            self.eof(if has_cursor { status } else { Status::AUTOCOMMIT });
        }
        if !has_cursor {
            return self.rows(step, status);
        }
        self.rows.push(0);
        if self.capabilities.has(Capabilities::DEPRECATE_EOF) {
            self.end(status);
        }
    }

    /// As many values as `result` says: a row of the proxy's own question is counted.
    fn rows(&mut self, step: u8, status: Status) {
        let values = [None, Some(&b"value"[..])];
        let count = u64::from(step >> 5 & 3);
        for _ in 0..count {
            self.put(|out| put_text_row(out, &values[..usize::from(step >> 4 & 1) + 1]));
        }
        self.rows.push(count);
        self.end(status);
    }

    fn columns(&mut self, count: u8) {
        let column = Column {
            schema: b"app",
            table: b"t",
            table_itself: b"t",
            name: b"a",
            name_itself: b"a",
            extended: &[],
            character_set: 45,
            width: 80,
            code: 0xfd,
            flags: 0,
            decimals: 0,
        };
        let capabilities = self.capabilities;
        for _ in 0..count {
            self.put(|out| column.encode(capabilities, out));
        }
    }

    fn prepared(&mut self, parameters: u8, columns: u8) {
        let prepared = PrepareOk {
            statement: 1,
            columns: columns.into(),
            parameters: parameters.into(),
            warnings: 0,
        };
        self.put(|out| prepared.encode(out));
        for count in [parameters, columns] {
            self.columns(count);
            if count > 0 && !self.capabilities.has(Capabilities::DEPRECATE_EOF) {
                self.eof(Status::AUTOCOMMIT);
            }
        }
    }

    fn end(&mut self, status: Status) {
        if self.capabilities.has(Capabilities::DEPRECATE_EOF) {
            self.ok(0, Place::EndOfRows, status);
        } else {
            self.eof(status);
        }
    }

    fn eof(&mut self, status: Status) {
        self.put(|out| EofPacket { warnings: 0, status }.encode(out));
    }
}
