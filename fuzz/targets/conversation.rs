//! Client and server bytes, interleaved as the input says, through the decoding that the proxy does.
//!
//! With a sound server behind it, made here after PostgreSQL's own rules and of nothing else: what a name is taken for
//! when a message is sent is what the server takes it for when it runs, every run has one end, every answer goes to
//! whom it belongs, and in the end nothing is left open. With any bytes for a server: no panic.
//!
//! Input: one byte for the kind of server; then two bytes for each step, or the bytes of the hostile server.
#![no_main]

use std::collections::{HashMap, HashSet, VecDeque};

use countersign::wire::postgres::conversation::{
    Change, Conversation, CopyIn, Lookup, NameChange, News, Origin, Route, Sent,
};
use countersign::wire::postgres::frame::{self, put};
use countersign::wire::postgres::message::{
    Bind, Fields, Parse, Status, Target, client, execute_portal, put_execute, put_parameter_status,
    put_query, put_ready, query_text, server,
};
use libfuzzer_sys::fuzz_target;

/// Names that a client uses; the first is the unnamed one.
const NAMES: [&str; 3] = ["", "a", "b"];
/// What the proxy calls its own.
const OWN: &str = "_countersign";

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let mut table = Table::default();
    if kind & 1 == 1 {
        return table.hostile(rest);
    }
    for step in rest.chunks_exact(2) {
        table.step(step[0], step[1]);
    }
    table.end();
});

/// What a statement does to names and to the transaction, as its text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Nothing,
    Prepares(&'static str),
    Deallocates(&'static str),
    DeallocatesAll,
    DiscardsAll,
    Begins,
    Ends,
    CopiesIn,
}

/// A statement: its number is its text, so that it travels through the encoded bytes.
type Statement = u32;

/// It does nothing.
const HARMLESS: Statement = 12;

fn does(statement: Statement) -> Does {
    match statement % 16 {
        0 => Does::Prepares("a"),
        1 => Does::Prepares("b"),
        2 => Does::Deallocates("a"),
        3 => Does::Deallocates("b"),
        4 => Does::DeallocatesAll,
        5 => Does::DiscardsAll,
        6 | 7 => Does::Begins,
        8 | 9 => Does::Ends,
        10 | 11 => Does::CopiesIn,
        _ => Does::Nothing,
    }
}

fn change(statement: Statement) -> Option<Change<Statement>> {
    match does(statement) {
        // The prepared statement is known by the number of the one that prepares it.
        Does::Prepares(name) => Some(Change::Set(name.to_owned(), statement)),
        Does::Deallocates(name) => Some(Change::Remove(name.to_owned())),
        Does::DeallocatesAll => Some(Change::RemoveAll),
        Does::DiscardsAll => Some(Change::ForgetAll),
        Does::Nothing | Does::Begins | Does::Ends | Does::CopiesIn => None,
    }
}

fn changes(statements: &[Statement]) -> Vec<NameChange<Statement>> {
    let numbered = statements.iter().enumerate();
    numbered
        .filter_map(|(number, statement)| {
            change(*statement).map(|change| NameChange {
                statement: number,
                change,
            })
        })
        .collect()
}

/// What goes with a message to the server, besides its bytes.
#[derive(Debug)]
struct Note {
    origin: Origin,
    /// What the name in it was taken for.
    taken_for: Option<Option<Statement>>,
    run: Option<u64>,
}

/// The proxy between a client and a server.
#[derive(Default)]
struct Table {
    talk: Conversation<Statement>,
    server: Server,
    to_server: Vec<u8>,
    notes: VecDeque<Note>,
    to_proxy: Vec<u8>,
    /// Bytes that the client must get, and those it got.
    meant_for_client: Vec<u8>,
    relayed: Vec<u8>,
    statements_made: Statement,
    runs_begun: u64,
    /// Ends told of each run of an Execute.
    ends: HashMap<u64, u32>,
    readies: u64,
}

impl Table {
    fn step(&mut self, what: u8, detail: u8) {
        match what & 0x0f {
            0..8 => self.client_sends(what, detail),
            8 => self.proxy_sends(detail),
            9 if self.talk.copy_in() == CopyIn::None && !self.talk.is_skipping() => {
                self.send(Origin::Client, Sent::Flush, None, |out| {
                    put(out, client::FLUSH, |_| {})
                });
            }
            9 => self.server_tells(),
            10..13 => {
                let fails = match what & 0x30 {
                    0 => Fails::Not,
                    0x10 => Fails::Itself,
                    _ => Fails::AtCommit,
                };
                self.server_works(usize::from(detail % 4) + 1, fails);
            }
            _ => self.proxy_reads(usize::from(detail) + 1),
        }
    }

    fn client_sends(&mut self, what: u8, detail: u8) {
        match self.talk.copy_in() {
            CopyIn::None => {}
            CopyIn::Possible => return,
            CopyIn::Open => return self.copies(what),
        }
        // The proxy keeps back what the server would skip.
        if self.talk.is_skipping() && what & 7 != 7 {
            return;
        }
        let name = NAMES[usize::from(detail % 3)];
        let other = NAMES[usize::from(detail / 3 % 3)];
        match what & 7 {
            0 => self.query(detail),
            1 | 2 => {
                let statement = self.new_statement(detail / 9);
                self.parse(Origin::Client, name, statement);
            }
            3 => self.bind(name, other),
            4 => self.execute(name),
            5 => self.describe(name, detail),
            6 => self.close(name, detail),
            _ => self.send(Origin::Client, Sent::Sync, None, |out| {
                put(out, client::SYNC, |_| {})
            }),
        }
    }

    fn copies(&mut self, what: u8) {
        if what & 1 == 0 {
            return self.send(Origin::Client, Sent::CopyData, None, |out| {
                put(out, client::COPY_DATA, |out| out.extend(b"1\n"));
            });
        }
        let tag = if what & 2 == 0 {
            client::COPY_DONE
        } else {
            client::COPY_FAIL
        };
        self.send(Origin::Client, Sent::CopyEnd, None, |out| {
            put(out, tag, |out| {
                out.extend(if tag == client::COPY_FAIL {
                    &b"no\0"[..]
                } else {
                    b""
                })
            });
        });
    }

    fn new_statement(&mut self, detail: u8) -> Statement {
        self.statements_made += 1;
        self.statements_made * 16 + u32::from(detail % 16)
    }

    fn query(&mut self, detail: u8) {
        let statements: Vec<_> = (0..detail / 16 % 4)
            .map(|more| self.new_statement(detail.wrapping_add(more * 3)))
            .collect();
        self.runs_begun += 1;
        let sent = Sent::Query {
            run: self.runs_begun,
            changes: changes(&statements),
            may_copy_in: statements
                .iter()
                .any(|statement| does(*statement) == Does::CopiesIn),
        };
        let text = statements
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(";");
        self.send(Origin::Client, sent, None, |out| put_query(out, text.as_bytes()));
    }

    fn parse(&mut self, origin: Origin, name: &str, statement: Statement) {
        let sent = Sent::Parse {
            run: None,
            name: name.to_owned(),
            statement,
        };
        let text = statement.to_string();
        self.send(origin, sent, None, |out| {
            Parse {
                name: name.as_bytes(),
                text: text.as_bytes(),
                types: Vec::new(),
            }
            .encode(out);
        });
    }

    fn bind(&mut self, portal: &str, name: &str) {
        // The proxy refuses a name that it does not know.
        let Lookup::Known(statement) = self.talk.statement(name) else {
            return;
        };
        let sent = Sent::Bind {
            run: None,
            portal: portal.to_owned(),
            statement,
        };
        self.send(Origin::Client, sent, Some(Some(statement)), |out| {
            encode_bind(portal, name, out)
        });
    }

    fn execute(&mut self, portal: &str) {
        let taken_for = match self.talk.portal(portal) {
            Lookup::Wait => return,
            Lookup::Unknown => None,
            Lookup::Known(statement) => Some(statement),
        };
        self.runs_begun += 1;
        let statements: Vec<_> = taken_for.into_iter().collect();
        let sent = Sent::Execute {
            run: self.runs_begun,
            changes: changes(&statements),
            may_copy_in: statements
                .iter()
                .any(|statement| does(*statement) == Does::CopiesIn),
        };
        self.ends.insert(self.runs_begun, 0);
        self.send(Origin::Client, sent, Some(taken_for), |out| {
            put_execute(out, portal.as_bytes())
        });
    }

    fn describe(&mut self, name: &str, detail: u8) {
        let (sent, target) = if detail & 0x40 == 0 {
            (
                Sent::DescribeStatement {
                    name: name.to_owned(),
                },
                Target::Statement(name.as_bytes()),
            )
        } else {
            (Sent::DescribePortal, Target::Portal(name.as_bytes()))
        };
        self.send(Origin::Client, sent, None, |out| {
            target.encode(client::DESCRIBE, out)
        });
    }

    fn close(&mut self, name: &str, detail: u8) {
        let (sent, target) = if detail & 0x40 == 0 {
            (
                Sent::CloseStatement {
                    name: name.to_owned(),
                },
                Target::Statement(name.as_bytes()),
            )
        } else {
            (
                Sent::ClosePortal {
                    name: name.to_owned(),
                },
                Target::Portal(name.as_bytes()),
            )
        };
        self.send(Origin::Client, sent, None, |out| {
            target.encode(client::CLOSE, out)
        });
    }

    /// The proxy asks the server something on the client's connection.
    fn proxy_sends(&mut self, detail: u8) {
        if self.talk.copy_in() != CopyIn::None || self.talk.is_skipping() {
            return;
        }
        let own = OWN.to_owned();
        match detail % 4 {
            0 => self.parse(Origin::Proxy, OWN, HARMLESS),
            1 => {
                let sent = Sent::Bind {
                    run: None,
                    portal: own,
                    statement: 0,
                };
                self.send(Origin::Proxy, sent, None, |out| encode_bind(OWN, OWN, out));
            }
            2 => {
                let sent = Sent::Execute {
                    run: 0,
                    changes: Vec::new(),
                    may_copy_in: false,
                };
                self.send(Origin::Proxy, sent, None, |out| put_execute(out, OWN.as_bytes()));
            }
            _ => {
                let target = Target::Statement(OWN.as_bytes());
                self.send(Origin::Proxy, Sent::CloseStatement { name: own }, None, |out| {
                    target.encode(client::CLOSE, out);
                });
            }
        }
    }

    fn send(
        &mut self,
        origin: Origin,
        sent: Sent<Statement>,
        taken_for: Option<Option<Statement>>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let run = match &sent {
            Sent::Execute { run, .. } if origin == Origin::Client => Some(*run),
            _ => None,
        };
        // What could not be sent after all was never there.
        let state = |talk: &Conversation<Statement>| {
            (
                talk.in_flight(),
                talk.segment(),
                talk.has_open_pipeline(),
                talk.has_pending_names(),
                talk.needs_flush(),
            )
        };
        let names =
            |talk: &Conversation<Statement>| NAMES.map(|name| (talk.statement(name), talk.portal(name)));
        let (before, named) = (state(&self.talk), names(&self.talk));
        let mark = self.talk.mark();
        self.talk.sent(origin, sent.clone());
        self.talk.rewind(mark);
        assert_eq!((before, named), (state(&self.talk), names(&self.talk)));
        self.talk.sent(origin, sent);
        encode(&mut self.to_server);
        self.notes.push_back(Note {
            origin,
            taken_for,
            run,
        });
    }

    /// The server takes some messages; the last of them fails as said.
    fn server_works(&mut self, messages: usize, fails: Fails) {
        for number in 1..=messages {
            let Some((header, body)) = frame::cut(&self.to_server).expect("our own frames") else {
                return;
            };
            let note = self.notes.pop_front().expect("one note a frame");
            let body = body.to_vec();
            self.to_server.drain(..header.frame_bytes());
            let mut answers = Vec::new();
            let fails = if number == messages { fails } else { Fails::Not };
            self.server.take(header.tag, &body, &note, fails, &mut answers);
            self.to_proxy.extend(&answers);
            if note.origin == Origin::Client {
                self.meant_for_client.extend(&answers);
            }
        }
    }

    /// What comes between any two answers.
    fn server_tells(&mut self) {
        let mut told = Vec::new();
        put_parameter_status(&mut told, "application_name", "x");
        self.to_proxy.extend(&told);
        self.meant_for_client.extend(&told);
    }

    /// The proxy reads up to so many bytes of the server's, and takes what frames they hold.
    fn proxy_reads(&mut self, bytes: usize) {
        let part = &self.to_proxy[..bytes.min(self.to_proxy.len())];
        let mut at = 0;
        let mut news = Vec::new();
        while let Some((header, body)) = frame::cut(&part[at..]).expect("a sound server") {
            let (tag, end) = (header.tag, at + header.frame_bytes());
            let body = if self.talk.wants_body(tag) { body } else { &[] };
            let route = self.talk.server(tag, body, &mut news).expect("a sound server");
            if route == Route::Relay {
                self.relayed.extend(&part[at..end]);
            }
            at = end;
        }
        self.to_proxy.drain(..at);
        for news in news {
            self.hear(&news);
        }
    }

    fn hear(&mut self, news: &News) {
        let ended = match news {
            News::Completed { run, .. } | News::Suspended { run } | News::Skipped { run } => Some(*run),
            News::Failed { run, .. } => *run,
            News::Ready { .. } => {
                self.readies += 1;
                None
            }
            News::CommitFailed { .. }
            | News::Types { .. }
            | News::Parameter { .. }
            | News::Row(_)
            | News::CopyIn
            | News::OwnFailed(_)
            | News::Fatal(_) => None,
        };
        if let Some(count) = ended.and_then(|run| self.ends.get_mut(&run)) {
            *count += 1;
            assert_eq!(*count, 1, "a run with two ends");
        }
    }

    /// Everything is brought to its end, and both sides must agree.
    fn end(&mut self) {
        self.drain();
        while self.talk.copy_in() == CopyIn::Open {
            self.copies(3);
            self.drain();
        }
        self.send(Origin::Client, Sent::Sync, None, |out| {
            put(out, client::SYNC, |_| {})
        });
        self.drain();
        assert!(self.talk.is_settled() && self.to_proxy.is_empty() && self.notes.is_empty());
        assert!(!self.talk.has_pending_names() && !self.talk.has_open_pipeline() && !self.talk.is_skipping());
        assert_eq!(self.talk.copy_in(), CopyIn::None);
        assert_eq!(self.talk.status(), self.server.status);
        assert_eq!(
            self.relayed, self.meant_for_client,
            "an answer went to somebody else"
        );
        assert_eq!(
            self.readies, self.server.readies,
            "a Sync or a Query without its end"
        );
        assert!(self.ends.values().all(|ends| *ends == 1), "a run without an end");
        for name in NAMES {
            let (statement, may_forget) = (self.talk.statement(name), self.server.forgettable.contains(name));
            if statement != Lookup::Unknown || !may_forget {
                agree(statement, self.server.statements.get(name));
            }
            agree(self.talk.portal(name), self.server.portals.get(name));
        }
    }

    fn drain(&mut self) {
        while !self.notes.is_empty() || !self.to_proxy.is_empty() {
            let left = (self.notes.len(), self.to_proxy.len());
            self.server_works(usize::MAX, Fails::Not);
            self.proxy_reads(usize::MAX);
            assert_ne!(left, (self.notes.len(), self.to_proxy.len()), "nothing moves");
        }
    }

    /// A few messages are under way, and then the server sends whatever it likes.
    fn hostile(&mut self, bytes: &[u8]) {
        let (steps, mut rest) = bytes.split_at(bytes.len().min(24));
        for step in steps.chunks_exact(2) {
            self.client_sends(step[0], step[1]);
        }
        let mut news = Vec::new();
        while let Ok(Some((header, body))) = frame::cut(rest) {
            if self.talk.server(header.tag, body, &mut news).is_err() {
                return;
            }
            let _total = (
                self.talk.data_route(),
                self.talk.statement("a"),
                self.talk.portal("b"),
            );
            rest = &rest[header.frame_bytes()..];
        }
    }
}

/// A name that the proxy knows means the same to the server, unless the server has lost it; one it does not know is
/// none of the server's.
fn agree(lookup: Lookup<Statement>, known: Option<&Statement>) {
    match (lookup, known) {
        (Lookup::Known(one), Some(other)) => assert_eq!(one, *other, "a name that means two things"),
        (Lookup::Unknown, Some(lost)) => panic!("the server knows {lost}, the proxy does not"),
        (Lookup::Wait, _) => panic!("everything is answered"),
        (Lookup::Known(_) | Lookup::Unknown, None) => {}
    }
}

fn encode_bind(portal: &str, statement: &str, out: &mut Vec<u8>) {
    let (portal, statement) = (portal.as_bytes(), statement.as_bytes());
    Bind {
        portal,
        statement,
        formats: Vec::new(),
        values: Vec::new(),
        result_formats: Vec::new(),
    }
    .encode(out);
}

/// PostgreSQL, as far as names, transactions and the order of answers go.
/// Source: PostgreSQL, src/backend/tcop/postgres.c (exec_simple_query, exec_parse_message, exec_bind_message, …).
struct Server {
    statements: HashMap<String, Statement>,
    portals: HashMap<String, Statement>,
    status: Status,
    /// Behind an error: up to the next Sync.
    skipping: bool,
    readies: u64,
    /// A COPY reads data: the rest of the simple message it stands in, or an Execute.
    copying: Option<Copying>,
    /// Messages without a Sync hold an implicit transaction open.
    is_pipeline: bool,
    /// Names that a failed statement may have changed: such a failure looks the same whether it came before the change or
    /// with the commit behind it. The proxy may forget them until they are set again.
    forgettable: HashSet<String>,
}

/// How a message fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fails {
    Not,
    Itself,
    /// Of a simple message: all its statements are done, and what they or the pipeline before them deferred fails.
    AtCommit,
}

enum Copying {
    Query { rest: Vec<Statement> },
    Execute,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            statements: HashMap::new(),
            portals: HashMap::new(),
            status: Status::Idle,
            skipping: false,
            readies: 0,
            copying: None,
            is_pipeline: false,
            forgettable: HashSet::new(),
        }
    }
}

struct Failed;

impl Server {
    fn take(&mut self, tag: u8, body: &[u8], note: &Note, how: Fails, out: &mut Vec<u8>) {
        let fails = how != Fails::Not;
        if let Some(copying) = self.copying.take() {
            return self.copy(copying, tag, fails, out);
        }
        let done = match tag {
            client::SYNC => {
                self.skipping = false;
                if fails && self.status == Status::Idle {
                    // The implicit transaction cannot be committed.
                    self.fail(out);
                }
                return self.ready(out);
            }
            // Data behind a COPY that has failed already.
            client::COPY_DATA | client::COPY_DONE | client::COPY_FAIL | client::FLUSH => return,
            _ if self.skipping => return,
            client::QUERY => {
                self.statements.remove("");
                self.portals.remove("");
                let text = std::str::from_utf8(query_text(body).expect("ours")).expect("ours");
                let statements: Vec<Statement> = text
                    .split(';')
                    .filter(|text| !text.is_empty())
                    .map(|text| text.parse().expect("ours"))
                    .collect();
                if statements.is_empty() {
                    if fails {
                        self.fail(out);
                    } else {
                        put(out, server::EMPTY_QUERY, |_| {});
                    }
                    return self.ready(out);
                }
                return self.simple(statements, self.is_pipeline, how, out);
            }
            client::PARSE => self.parse(Parse::decode(body).expect("ours"), fails, out),
            client::BIND => self.bind(Bind::decode(body).expect("ours"), note, fails, out),
            client::DESCRIBE => self.describe(Target::decode(body).expect("ours"), fails, out),
            client::CLOSE => {
                match Target::decode(body).expect("ours") {
                    Target::Statement(name) => self.statements.remove(&text(name)),
                    Target::Portal(name) => self.portals.remove(&text(name)),
                };
                put(out, server::CLOSE_COMPLETE, |_| {});
                Ok(())
            }
            client::EXECUTE => self.execute(&text(execute_portal(body).expect("ours")), note, fails, out),
            other => panic!("{other} was never sent"),
        };
        self.is_pipeline = true;
        if done.is_err() {
            self.fail(out);
            self.skipping = true;
        }
    }

    fn fail(&mut self, out: &mut Vec<u8>) {
        let fields = Fields {
            severity: "ERROR".into(),
            sqlstate: "42601".into(),
            ..Fields::default()
        };
        fields.put(server::ERROR, out);
        if self.status == Status::InTransaction {
            self.status = Status::Failed;
        }
        // The portals of a failed transaction cannot be run any more.
        self.portals.clear();
    }

    fn ready(&mut self, out: &mut Vec<u8>) {
        if self.status == Status::Idle {
            self.portals.clear();
        }
        self.readies += 1;
        self.is_pipeline = false;
        put_ready(out, self.status);
    }

    /// `is_behind`: other statements stand before these in one transaction.
    fn simple(&mut self, statements: Vec<Statement>, mut is_behind: bool, fails: Fails, out: &mut Vec<u8>) {
        let mut rest = statements.into_iter();
        while let Some(statement) = rest.next() {
            let is_last = rest.len() == 0;
            let runs = (fails != Fails::Itself || !is_last) && self.may_run(statement);
            if runs && does(statement) == Does::CopiesIn {
                put(out, server::COPY_IN, |out| out.extend([0, 0, 0]));
                self.copying = Some(Copying::Query { rest: rest.collect() });
                return;
            }
            let is_done = runs && self.run(statement).is_ok();
            let commits = is_last && is_behind && self.status == Status::Idle;
            if !is_done || (commits && fails == Fails::AtCommit) {
                if is_behind {
                    self.may_forget(statement);
                }
                self.fail(out);
                return self.ready(out);
            }
            complete(out);
            is_behind = true;
        }
        self.ready(out);
    }

    fn may_forget(&mut self, statement: Statement) {
        match does(statement) {
            Does::Prepares(name) | Does::Deallocates(name) => {
                self.forgettable.insert(name.to_owned());
            }
            Does::DeallocatesAll | Does::DiscardsAll => self.forgettable.extend(NAMES.map(str::to_owned)),
            Does::Nothing | Does::Begins | Does::Ends | Does::CopiesIn => {}
        }
    }

    fn prepare(&mut self, name: String, statement: Statement) {
        self.forgettable.remove(&name);
        self.statements.insert(name, statement);
    }

    fn copy(&mut self, copying: Copying, tag: u8, fails: bool, out: &mut Vec<u8>) {
        match (tag, copying) {
            (client::COPY_DATA | client::FLUSH | client::SYNC, copying) if !fails => {
                self.copying = Some(copying)
            }
            (client::COPY_DONE, Copying::Query { rest }) if !fails => {
                complete(out);
                self.simple(rest, true, Fails::Not, out);
            }
            (client::COPY_DONE, Copying::Execute) if !fails => complete(out),
            (_, Copying::Query { .. }) => {
                self.fail(out);
                self.ready(out);
            }
            (_, Copying::Execute) => {
                self.fail(out);
                self.skipping = true;
            }
        }
    }

    /// In a failed transaction nothing runs but its end.
    fn may_run(&self, statement: Statement) -> bool {
        self.status != Status::Failed || does(statement) == Does::Ends
    }

    fn run(&mut self, statement: Statement) -> Result<(), Failed> {
        match does(statement) {
            Does::Prepares(name) => {
                if self.statements.contains_key(name) {
                    return Err(Failed);
                }
                self.prepare(name.to_owned(), statement);
            }
            Does::Deallocates(name) => {
                self.statements.remove(name).ok_or(Failed)?;
            }
            Does::DeallocatesAll => self.statements.clear(),
            Does::DiscardsAll if self.status != Status::Idle => return Err(Failed),
            Does::DiscardsAll => {
                self.statements.clear();
                self.portals.clear();
            }
            Does::Begins => self.status = Status::InTransaction,
            Does::Ends => {
                self.status = Status::Idle;
                self.portals.clear();
            }
            Does::Nothing | Does::CopiesIn => {}
        }
        Ok(())
    }

    fn parse(&mut self, parse: Parse<'_>, fails: bool, out: &mut Vec<u8>) -> Result<(), Failed> {
        let name = text(parse.name);
        // The unnamed one is gone whatever comes of the new one.
        if name.is_empty() {
            self.statements.remove("");
        }
        let statement: Statement = text(parse.text).parse().expect("ours");
        if fails || !self.may_run(statement) || self.statements.contains_key(&name) {
            return Err(Failed);
        }
        self.prepare(name, statement);
        put(out, server::PARSE_COMPLETE, |_| {});
        Ok(())
    }

    fn bind(&mut self, bind: Bind<'_>, note: &Note, fails: bool, out: &mut Vec<u8>) -> Result<(), Failed> {
        let statement = *self.statements.get(&text(bind.statement)).ok_or(Failed)?;
        let portal = text(bind.portal);
        if fails || !self.may_run(statement) || (!portal.is_empty() && self.portals.contains_key(&portal)) {
            return Err(Failed);
        }
        if let Some(taken_for) = note.taken_for {
            assert_eq!(
                taken_for,
                Some(statement),
                "a Bind runs another statement than the one that was judged"
            );
        }
        self.portals.insert(portal, statement);
        put(out, server::BIND_COMPLETE, |_| {});
        Ok(())
    }

    fn describe(&mut self, target: Target<'_>, fails: bool, out: &mut Vec<u8>) -> Result<(), Failed> {
        let known = match target {
            Target::Statement(name) => {
                let known = self.statements.get(&text(name)).copied();
                if known.is_some() && !fails && self.status != Status::Failed {
                    put(out, server::PARAMETER_DESCRIPTION, |out| out.extend([0, 0]));
                }
                known
            }
            Target::Portal(name) => self.portals.get(&text(name)).copied(),
        };
        let statement = known
            .filter(|_| !fails && self.status != Status::Failed)
            .ok_or(Failed)?;
        if statement % 2 == 0 {
            put(out, server::NO_DATA, |_| {});
        } else {
            put(out, server::ROW_DESCRIPTION, |out| out.extend([0, 0]));
        }
        Ok(())
    }

    fn execute(&mut self, portal: &str, note: &Note, fails: bool, out: &mut Vec<u8>) -> Result<(), Failed> {
        let statement = *self.portals.get(portal).ok_or(Failed)?;
        if fails || !self.may_run(statement) {
            return Err(Failed);
        }
        if let Some(taken_for) = note.taken_for {
            assert_eq!(
                taken_for,
                Some(statement),
                "an Execute runs another statement than the one that was judged"
            );
        }
        if does(statement) == Does::CopiesIn && note.run.is_some() {
            put(out, server::COPY_IN, |out| out.extend([0, 0, 0]));
            self.copying = Some(Copying::Execute);
            return Ok(());
        }
        self.run(statement)?;
        put(out, server::DATA_ROW, |out| out.extend([0, 0]));
        if statement % 16 == 15 {
            put(out, server::PORTAL_SUSPENDED, |_| {});
        } else {
            complete(out);
        }
        Ok(())
    }
}

fn complete(out: &mut Vec<u8>) {
    put(out, server::COMMAND_COMPLETE, |out| out.extend(b"DONE\0"));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("ours")
}
