//! Which answer belongs to which message, and what a name means by now. Never judges, never holds a socket: it is told
//! what was sent and what came back, and says where a server message goes.
//!
//! Why names follow answers: a name changes its meaning only when the server says so (ParseComplete, CloseComplete, the
//! CommandComplete of PREPARE). What an error made the server skip never happened. Within one segment (up to a Sync)
//! this can be known ahead, because whatever runs behind a failed message does not run at all; across a Sync it cannot,
//! so a message that would use such a name waits. Read `proxy/postgres/session.rs` next.

use std::collections::{HashMap, VecDeque};

use crate::wire::bytes::Malformed;
use crate::wire::postgres::message::{self, Fields, Status, server};

/// Bytes of a name that the server compares: NAMEDATALEN less its NUL. Two longer names that differ only behind them are
/// one name to the server, so longer ones must be refused before they come here.
pub const NAME_BYTES_MAX: usize = 63;

/// Who sent a message, and so who gets its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Client,
    Proxy,
}

/// One run of a statement, as the session numbers them.
pub type RunId = u64;

/// What the completion of one statement of a run does to names.
#[derive(Clone, Debug)]
pub struct NameChange<S> {
    /// Which statement of the run, from 0.
    pub statement: usize,
    pub change: Change<S>,
}

#[derive(Clone, Debug)]
pub enum Change<S> {
    Set(String, S),
    Remove(String),
    /// DEALLOCATE ALL.
    RemoveAll,
    /// DISCARD ALL: portals too.
    ForgetAll,
}

/// A message that was put towards the server.
#[derive(Clone, Debug)]
pub enum Sent<S> {
    Query {
        run: RunId,
        changes: Vec<NameChange<S>>,
        may_copy_in: bool,
    },
    Parse {
        run: Option<RunId>,
        name: String,
        statement: S,
    },
    Bind {
        run: Option<RunId>,
        portal: String,
        statement: S,
    },
    DescribeStatement {
        name: String,
    },
    DescribePortal,
    CloseStatement {
        name: String,
    },
    ClosePortal {
        name: String,
    },
    Execute {
        run: RunId,
        changes: Vec<NameChange<S>>,
        may_copy_in: bool,
    },
    Sync,
    Flush,
    CopyData,
    /// CopyDone or CopyFail.
    CopyEnd,
}

/// What the server's messages told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// One statement of a run is done; the tag as it came, empty for an empty query.
    Completed {
        run: RunId,
        statement: usize,
        tag: String,
    },
    /// A portal has given its row limit and waits.
    Suspended {
        run: RunId,
    },
    Failed {
        run: Option<RunId>,
        fields: Fields,
    },
    /// The implicit transaction of a segment could not be committed.
    CommitFailed {
        segment: u64,
        fields: Fields,
    },
    /// Sent, and skipped by the server behind an error.
    Skipped {
        run: RunId,
    },
    /// The parameter types of a statement.
    Types {
        name: String,
        types: Vec<u32>,
    },
    Parameter {
        name: String,
        value: String,
    },
    /// A row that answers a message of the proxy.
    Row(Vec<Option<Vec<u8>>>),
    CopyIn,
    /// The segment it ends: everything sent in it or before is over.
    Ready {
        status: Status,
        segment: u64,
    },
    /// A message of the proxy's own failed.
    OwnFailed(Fields),
    /// The server is about to close the connection.
    Fatal(Fields),
}

/// Where a server message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Relay,
    Swallow,
}

/// What a name means for the next message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<S> {
    Known(S),
    Unknown,
    /// It depends on an answer that is not in yet.
    Wait,
}

/// Where COPY … FROM STDIN stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyIn {
    None,
    /// A statement that may ask for data is under way: nothing but data goes behind it until it has answered.
    Possible,
    /// The server reads data.
    Open,
}

#[derive(Clone, Debug)]
struct Expected<S> {
    origin: Origin,
    segment: u64,
    sent: Sent<S>,
    /// Statements of a Query that are done.
    done: usize,
    /// A Query behind messages without a Sync: its end commits them, too.
    behind: bool,
}

/// A place to come back to when what was noted as sent could not be sent after all.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    expected: usize,
    segment: u64,
    unsynced: usize,
    unflushed: bool,
    copy_in: CopyIn,
    skipping: bool,
    pending_names: usize,
}

/// The bookkeeping of one connection's main phase.
#[derive(Debug)]
pub struct Conversation<S> {
    expected: VecDeque<Expected<S>>,
    segment: u64,
    /// Messages since the last Sync that opened or used an implicit transaction.
    unsynced: usize,
    unflushed: bool,
    copy_in: CopyIn,
    /// The server skips to the next Sync, which has not been sent yet.
    skipping: bool,
    /// Entries in `expected` that will change what a statement or portal name means.
    pending_names: usize,
    status: Status,
    /// The transaction that the last ReadyForQuery told as failed has ended or gone back to a savepoint since.
    is_revived: bool,
    statements: HashMap<String, S>,
    portals: HashMap<String, S>,
    withheld: Option<Withheld>,
    /// A question of the proxy's own has failed before its names were closed again.
    has_left_names: bool,
}

/// A run whose end the client does not get yet.
#[derive(Debug)]
struct Withheld {
    run: RunId,
    /// From this statement of it on.
    from: usize,
    tags: Vec<String>,
}

impl<S: Clone> Default for Conversation<S> {
    fn default() -> Self {
        Self {
            expected: VecDeque::new(),
            segment: 0,
            unsynced: 0,
            unflushed: false,
            copy_in: CopyIn::None,
            skipping: false,
            pending_names: 0,
            status: Status::Idle,
            is_revived: false,
            statements: HashMap::new(),
            portals: HashMap::new(),
            withheld: None,
            has_left_names: false,
        }
    }
}

impl<S: Clone> Conversation<S> {
    /// The status that the last ReadyForQuery told.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Whether the transaction has failed and is not over yet, by all that has answered: a pipeline may have ended it since
    /// the last ReadyForQuery.
    pub fn is_failed(&self) -> bool {
        self.status == Status::Failed && !self.is_revived
    }

    pub fn copy_in(&self) -> CopyIn {
        self.copy_in
    }

    /// Whether the server skips what it gets up to the next Sync.
    pub fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// Whether an answer is still to come.
    pub fn is_settled(&self) -> bool {
        self.expected.is_empty()
    }

    /// Messages whose answer is still to come.
    pub fn in_flight(&self) -> usize {
        self.expected.len()
    }

    /// Whether a message of this run is unanswered.
    pub fn awaits(&self, run: RunId) -> bool {
        self.expected
            .iter()
            .any(|expected| run_of(&expected.sent) == Some(run))
    }

    /// Whether messages since the last Sync hold an implicit transaction open.
    pub fn has_open_pipeline(&self) -> bool {
        self.unsynced > 0
    }

    /// Whether the server may sit on answers until it gets a Flush or Sync.
    pub fn needs_flush(&self) -> bool {
        self.unflushed
    }

    /// The segment that a message sent now belongs to.
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// All statement names with what they mean, for a message judged when everything is settled.
    pub fn statements(&self) -> &HashMap<String, S> {
        &self.statements
    }

    /// Whether a change of any statement name is still unanswered.
    pub fn has_pending_names(&self) -> bool {
        self.pending_names > 0
    }

    /// What a prepared statement's name means for a message sent now.
    pub fn statement(&self, name: &str) -> Lookup<S> {
        self.find(name, &self.statements, |sent| statement_change(sent, name))
    }

    /// What a portal's name means for a message sent now.
    pub fn portal(&self, name: &str) -> Lookup<S> {
        self.find(name, &self.portals, |sent| portal_change(sent, name))
    }

    fn find(
        &self,
        name: &str,
        known: &HashMap<String, S>,
        change: impl Fn(&Sent<S>) -> Option<Option<S>>,
    ) -> Lookup<S> {
        let pending = if self.pending_names == 0 {
            None
        } else {
            self.expected
                .iter()
                .rev()
                .filter(|expected| expected.origin == Origin::Client)
                .find_map(|expected| change(&expected.sent).map(|meaning| (expected.segment, meaning)))
        };
        match pending {
            Some((segment, _)) if segment != self.segment => Lookup::Wait,
            Some((_, Some(statement))) => Lookup::Known(statement),
            Some((_, None)) => Lookup::Unknown,
            None => known.get(name).cloned().map_or(Lookup::Unknown, Lookup::Known),
        }
    }

    /// Whether the proxy's own names must be closed before they are used again; asked once.
    pub fn has_left_names(&mut self) -> bool {
        std::mem::take(&mut self.has_left_names)
    }

    /// Keeps the end of a run from the client: the completions of its statements from this one on, and that of its Query.
    pub fn withhold(&mut self, run: RunId, from: usize) {
        let tags = Vec::new();
        self.withheld = Some(Withheld { run, from, tags });
    }

    /// Keeps nothing any more; gives the tags of completions that were kept.
    pub fn let_go(&mut self) -> Vec<String> {
        self.withheld
            .take()
            .map(|withheld| withheld.tags)
            .unwrap_or_default()
    }

    /// Where the completion that comes now goes.
    fn end_route(&self) -> Route {
        let is_kept = self.withheld.as_ref().is_some_and(|withheld| {
            let head = self.expected.front();
            head.is_some_and(|head| run_of(&head.sent) == Some(withheld.run) && head.done >= withheld.from)
        });
        if is_kept {
            Route::Swallow
        } else {
            self.head_route()
        }
    }

    pub fn mark(&self) -> Mark {
        Mark {
            expected: self.expected.len(),
            segment: self.segment,
            unsynced: self.unsynced,
            unflushed: self.unflushed,
            copy_in: self.copy_in,
            skipping: self.skipping,
            pending_names: self.pending_names,
        }
    }

    /// Forgets what was noted as sent since `mark`. No answer may have been read in between.
    pub fn rewind(&mut self, mark: Mark) {
        self.expected.truncate(mark.expected);
        self.segment = mark.segment;
        self.unsynced = mark.unsynced;
        self.unflushed = mark.unflushed;
        self.copy_in = mark.copy_in;
        self.skipping = mark.skipping;
        self.pending_names = mark.pending_names;
    }

    /// Notes a message that goes to the server.
    pub fn sent(&mut self, origin: Origin, sent: Sent<S>) {
        let behind = matches!(sent, Sent::Query { .. }) && self.unsynced > 0;
        match &sent {
            Sent::Flush => {
                self.unflushed = false;
                return;
            }
            Sent::CopyData => return,
            Sent::CopyEnd => {
                // A simple message may hold a second COPY behind the first.
                let simple = matches!(self.expected.front().map(|e| &e.sent), Some(Sent::Query { .. }));
                self.copy_in = if simple { CopyIn::Possible } else { CopyIn::None };
                self.unflushed = true;
                return;
            }
            Sent::Sync => {
                self.unsynced = 0;
                self.unflushed = false;
                self.skipping = false;
            }
            Sent::Query { may_copy_in, .. } => {
                self.unsynced = 0;
                self.unflushed = false;
                self.note_copy(*may_copy_in);
            }
            Sent::Execute { may_copy_in, .. } => {
                self.unsynced += 1;
                self.unflushed = true;
                self.note_copy(*may_copy_in);
            }
            Sent::Parse { .. }
            | Sent::Bind { .. }
            | Sent::DescribeStatement { .. }
            | Sent::DescribePortal
            | Sent::CloseStatement { .. }
            | Sent::ClosePortal { .. } => {
                self.unsynced += 1;
                self.unflushed = true;
            }
        }
        let ends_segment = matches!(sent, Sent::Sync | Sent::Query { .. });
        self.pending_names += usize::from(origin == Origin::Client && changes_names(&sent));
        self.expected.push_back(Expected {
            origin,
            segment: self.segment,
            sent,
            done: 0,
            behind,
        });
        self.segment += u64::from(ends_segment);
    }

    fn note_copy(&mut self, may_copy_in: bool) {
        if may_copy_in {
            self.copy_in = CopyIn::Possible;
        }
    }

    /// Where rows and copied data go now: the one thing the hot path asks.
    pub fn data_route(&self) -> Route {
        self.head_route()
    }

    fn head_route(&self) -> Route {
        match self.expected.front() {
            Some(Expected {
                origin: Origin::Proxy,
                ..
            }) => Route::Swallow,
            Some(_) | None => Route::Relay,
        }
    }

    /// Whether the body of this server message must be handed to `server`.
    pub fn wants_body(&self, tag: u8) -> bool {
        match tag {
            server::DATA_ROW => self.head_route() == Route::Swallow,
            server::COPY_DATA | server::NOTICE | server::NOTIFICATION | server::ROW_DESCRIPTION => false,
            _ => true,
        }
    }

    /// Takes one server message. Errors: an answer to nothing, which no sound server sends.
    pub fn server(&mut self, tag: u8, body: &[u8], news: &mut Vec<News>) -> Result<Route, Malformed> {
        let route = self.head_route();
        match tag {
            server::NOTICE | server::NOTIFICATION => Ok(Route::Relay),
            server::PARAMETER_STATUS => {
                let (name, value) = message::parameter_status(body)?;
                news.push(News::Parameter {
                    name: name.to_owned(),
                    value: value.to_owned(),
                });
                Ok(Route::Relay)
            }
            server::DATA_ROW => {
                if route == Route::Swallow {
                    let row = message::data_row(body)?;
                    news.push(News::Row(
                        row.into_iter().map(|value| value.map(<[u8]>::to_vec)).collect(),
                    ));
                }
                Ok(route)
            }
            server::COPY_DATA | server::COPY_DONE | server::COPY_OUT => Ok(route),
            server::ROW_DESCRIPTION | server::NO_DATA => {
                if self.head_is(|sent| matches!(sent, Sent::DescribeStatement { .. } | Sent::DescribePortal))
                {
                    self.pop();
                }
                Ok(route)
            }
            server::PARAMETER_DESCRIPTION => {
                let Some(Sent::DescribeStatement { name }) = self.expected.front().map(|e| &e.sent) else {
                    return Err(Malformed("a parameter description that nobody asked for"));
                };
                news.push(News::Types {
                    name: name.clone(),
                    types: message::parameter_types(body)?,
                });
                Ok(route)
            }
            server::PARSE_COMPLETE | server::BIND_COMPLETE | server::CLOSE_COMPLETE => {
                self.named(tag)?;
                Ok(route)
            }
            server::COMMAND_COMPLETE => {
                let mut reader = crate::wire::bytes::Reader::new(body);
                let tag = String::from_utf8_lossy(reader.c_bytes()?).into_owned();
                self.kept_or_completed(tag, news)
            }
            server::EMPTY_QUERY => self.kept_or_completed(String::new(), news),
            server::PORTAL_SUSPENDED => {
                let route = self.end_route();
                let Some(Expected {
                    sent: Sent::Execute { run, .. },
                    ..
                }) = self.pop()
                else {
                    return Err(Malformed("a portal suspended that nobody executed"));
                };
                news.push(News::Suspended { run });
                Ok(route)
            }
            server::ERROR => self.failed(body, route, news),
            server::READY => {
                let of_query = self.head_is(|sent| matches!(sent, Sent::Query { run, .. } if self.withheld.as_ref().is_some_and(|withheld| withheld.run == *run)));
                let route = if of_query { Route::Swallow } else { route };
                self.ready(Status::decode(body)?, news)?;
                Ok(route)
            }
            server::COPY_IN => {
                if self.copy_in == CopyIn::None {
                    return Err(Malformed(
                        "the server asks for data that no statement was known to need",
                    ));
                }
                self.copy_in = CopyIn::Open;
                self.unflushed = false;
                news.push(News::CopyIn);
                Ok(route)
            }
            _ => Err(Malformed("a server message of an unknown type")),
        }
    }

    fn head_is(&self, is: impl Fn(&Sent<S>) -> bool) -> bool {
        self.expected.front().is_some_and(|expected| is(&expected.sent))
    }

    fn pop(&mut self) -> Option<Expected<S>> {
        let expected = self.expected.pop_front()?;
        let counted = expected.origin == Origin::Client && changes_names(&expected.sent);
        self.pending_names -= usize::from(counted);
        // What may still ask for data is not over with an answer to something before it.
        if may_copy_in(&expected.sent) && !self.expected.iter().any(|later| may_copy_in(&later.sent)) {
            self.copy_in = CopyIn::None;
        }
        Some(expected)
    }

    fn named(&mut self, tag: u8) -> Result<(), Malformed> {
        let Some(expected) = self.pop() else {
            return Err(Malformed("an answer to nothing"));
        };
        let by_client = expected.origin == Origin::Client;
        match (tag, expected.sent) {
            (server::PARSE_COMPLETE, Sent::Parse { name, statement, .. }) => {
                if by_client {
                    self.statements.insert(name, statement);
                }
            }
            (
                server::BIND_COMPLETE,
                Sent::Bind {
                    portal, statement, ..
                },
            ) => {
                if by_client {
                    self.portals.insert(portal, statement);
                }
            }
            (server::CLOSE_COMPLETE, Sent::CloseStatement { name }) => {
                if by_client {
                    self.statements.remove(&name);
                }
            }
            (server::CLOSE_COMPLETE, Sent::ClosePortal { name }) => {
                if by_client {
                    self.portals.remove(&name);
                }
            }
            _ => return Err(Malformed("an answer to another message")),
        }
        Ok(())
    }

    fn kept_or_completed(&mut self, tag: String, news: &mut Vec<News>) -> Result<Route, Malformed> {
        let is_own = self.head_route() == Route::Swallow;
        let route = self.end_route();
        if let Some(withheld) = self
            .withheld
            .as_mut()
            .filter(|_| !is_own && route == Route::Swallow)
        {
            withheld.tags.push(tag.clone());
        }
        self.completed(tag, news)?;
        Ok(route)
    }

    fn completed(&mut self, tag: String, news: &mut Vec<News>) -> Result<(), Malformed> {
        let Some(head) = self.expected.front_mut() else {
            return Err(Malformed("a completion of nothing"));
        };
        let by_client = head.origin == Origin::Client;
        let statement = head.done;
        // In a failed transaction nothing is done but what ends it or goes back to a savepoint.
        self.is_revived |= self.status == Status::Failed && !tag.is_empty();
        let (run, changes) = match &head.sent {
            Sent::Query { run, changes, .. } => {
                head.done += 1;
                // Each of its statements takes the unnamed portal; where there is none in it, that stays.
                if by_client && !tag.is_empty() {
                    self.portals.remove("");
                }
                (*run, changes.clone())
            }
            Sent::Execute { run, changes, .. } => (*run, changes.clone()),
            _ => return Err(Malformed("a completion of something that does not run")),
        };
        if !matches!(head.sent, Sent::Query { .. }) {
            self.pop();
        }
        for NameChange { change, .. } in changes.into_iter().filter(|change| change.statement == statement) {
            self.apply(change);
        }
        if by_client {
            news.push(News::Completed { run, statement, tag });
        }
        Ok(())
    }

    fn apply(&mut self, change: Change<S>) {
        match change {
            Change::Set(name, statement) => {
                self.statements.insert(name, statement);
            }
            Change::Remove(name) => {
                self.statements.remove(&name);
            }
            Change::RemoveAll => self.statements.clear(),
            Change::ForgetAll => {
                self.statements.clear();
                self.portals.clear();
            }
        }
    }

    /// What may have changed is not known any more. Portals stay: one that is not known is taken for a cursor.
    fn forget(&mut self, change: &Change<S>) {
        match change {
            Change::Set(name, _) | Change::Remove(name) => {
                self.statements.remove(name);
            }
            Change::RemoveAll | Change::ForgetAll => self.statements.clear(),
        }
    }

    fn failed(&mut self, body: &[u8], route: Route, news: &mut Vec<News>) -> Result<Route, Malformed> {
        let fields = Fields::decode(body)?;
        if fields.is_fatal() {
            news.push(News::Fatal(fields));
            return Ok(Route::Relay);
        }
        let Some(head) = self.expected.front() else {
            return Err(Malformed("an error about nothing"));
        };
        let by_client = head.origin == Origin::Client;
        match &head.sent {
            // ReadyForQuery follows by itself, and what stands behind is not skipped.
            Sent::Query { run, changes, .. } => {
                let run = *run;
                // The last statement of a message is told as done behind the commit of them all, and of the pipeline before it:
                // where that fails, because of what came before, its names may have changed all the same.
                let may_have: Vec<_> = changes
                    .iter()
                    .filter(|change| (head.done > 0 || head.behind) && change.statement == head.done)
                    .map(|change| change.change.clone())
                    .collect();
                if may_copy_in(&head.sent) {
                    self.copy_in = CopyIn::None;
                }
                if by_client {
                    news.push(News::Failed {
                        run: Some(run),
                        fields,
                    });
                }
                may_have.into_iter().for_each(|change| self.forget(&change));
            }
            // The commit of the implicit transaction failed.
            Sent::Sync => news.push(News::CommitFailed {
                segment: head.segment,
                fields,
            }),
            _ => self.fail_segment(fields, by_client, news),
        }
        Ok(route)
    }

    fn fail_segment(&mut self, fields: Fields, by_client: bool, news: &mut Vec<News>) {
        self.is_revived = false;
        let head = self.pop();
        let run = head.as_ref().and_then(|head| run_of(&head.sent));
        self.has_left_names |= !by_client;
        news.push(if by_client {
            News::Failed { run, fields }
        } else {
            News::OwnFailed(fields)
        });
        while !self.head_is(|sent| matches!(sent, Sent::Sync)) {
            let Some(skipped) = self.pop() else {
                self.skipping = true;
                return;
            };
            news.extend(run_of(&skipped.sent).map(|run| News::Skipped { run }));
        }
    }

    fn ready(&mut self, status: Status, news: &mut Vec<News>) -> Result<(), Malformed> {
        let Some(ended) = self.pop() else {
            return Err(Malformed("ready for a query nobody sent"));
        };
        match ended.sent {
            Sent::Sync => {}
            Sent::Query { .. } => {
                // A simple query drops the unnamed statement before it does anything else.
                if ended.origin == Origin::Client {
                    self.statements.remove("");
                }
            }
            _ => return Err(Malformed("ready in the middle of a segment")),
        }
        self.status = status;
        self.is_revived = false;
        if status == Status::Idle {
            self.portals.clear();
        }
        news.push(News::Ready {
            status,
            segment: ended.segment,
        });
        Ok(())
    }
}

fn run_of<S>(sent: &Sent<S>) -> Option<RunId> {
    match sent {
        Sent::Query { run, .. } | Sent::Execute { run, .. } => Some(*run),
        Sent::Parse { run, .. } | Sent::Bind { run, .. } => *run,
        Sent::DescribeStatement { .. }
        | Sent::DescribePortal
        | Sent::CloseStatement { .. }
        | Sent::ClosePortal { .. }
        | Sent::Sync
        | Sent::Flush
        | Sent::CopyData
        | Sent::CopyEnd => None,
    }
}

fn may_copy_in<S>(sent: &Sent<S>) -> bool {
    match sent {
        Sent::Query { may_copy_in, .. } | Sent::Execute { may_copy_in, .. } => *may_copy_in,
        Sent::Parse { .. }
        | Sent::Bind { .. }
        | Sent::DescribeStatement { .. }
        | Sent::DescribePortal
        | Sent::CloseStatement { .. }
        | Sent::ClosePortal { .. }
        | Sent::Sync
        | Sent::Flush
        | Sent::CopyData
        | Sent::CopyEnd => false,
    }
}

fn changes_names<S>(sent: &Sent<S>) -> bool {
    match sent {
        Sent::Parse { .. }
        | Sent::Bind { .. }
        | Sent::CloseStatement { .. }
        | Sent::ClosePortal { .. }
        | Sent::Query { .. } => true,
        Sent::Execute { changes, .. } => !changes.is_empty(),
        Sent::DescribeStatement { .. }
        | Sent::DescribePortal
        | Sent::Sync
        | Sent::Flush
        | Sent::CopyData
        | Sent::CopyEnd => false,
    }
}

/// What `sent` makes of a statement name: `None` if nothing, `Some(None)` if unknown.
fn statement_change<S: Clone>(sent: &Sent<S>, name: &str) -> Option<Option<S>> {
    let by_changes = |changes: &[NameChange<S>]| {
        changes.iter().rev().find_map(|change| match &change.change {
            Change::Set(set, statement) => (set == name).then(|| Some(statement.clone())),
            Change::Remove(removed) => (removed == name).then_some(None),
            Change::RemoveAll | Change::ForgetAll => Some(None),
        })
    };
    match sent {
        Sent::Parse {
            name: parsed,
            statement,
            ..
        } => (parsed == name).then(|| Some(statement.clone())),
        Sent::CloseStatement { name: closed } => (closed == name).then_some(None),
        Sent::Query { changes, .. } => by_changes(changes).or_else(|| name.is_empty().then_some(None)),
        Sent::Execute { changes, .. } => by_changes(changes),
        Sent::Bind { .. }
        | Sent::DescribeStatement { .. }
        | Sent::DescribePortal
        | Sent::ClosePortal { .. }
        | Sent::Sync
        | Sent::Flush
        | Sent::CopyData
        | Sent::CopyEnd => None,
    }
}

/// What `sent` makes of a portal name.
fn portal_change<S: Clone>(sent: &Sent<S>, name: &str) -> Option<Option<S>> {
    match sent {
        Sent::Bind {
            portal, statement, ..
        } => (portal == name).then(|| Some(statement.clone())),
        Sent::ClosePortal { name: closed } => (closed == name).then_some(None),
        Sent::Query { .. } => Some(None),
        Sent::Parse { .. }
        | Sent::Execute { .. }
        | Sent::DescribeStatement { .. }
        | Sent::DescribePortal
        | Sent::CloseStatement { .. }
        | Sent::Sync
        | Sent::Flush
        | Sent::CopyData
        | Sent::CopyEnd => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Talk = Conversation<&'static str>;

    fn parse(name: &str, statement: &'static str) -> Sent<&'static str> {
        Sent::Parse {
            run: None,
            name: name.to_owned(),
            statement,
        }
    }

    fn execute(run: RunId) -> Sent<&'static str> {
        Sent::Execute {
            run,
            changes: Vec::new(),
            may_copy_in: false,
        }
    }

    fn send(talk: &mut Talk, sent: impl IntoIterator<Item = Sent<&'static str>>) {
        sent.into_iter().for_each(|sent| talk.sent(Origin::Client, sent));
    }

    fn answer(talk: &mut Talk, answers: &[(u8, &[u8])]) -> Vec<News> {
        let mut news = Vec::new();
        for (tag, body) in answers {
            talk.server(*tag, body, &mut news).expect("a sound server");
        }
        news
    }

    const ERROR: (u8, &[u8]) = (b'E', b"VERROR\0C42601\0Mno\0\0");
    const IDLE: (u8, &[u8]) = (b'Z', b"I");

    #[test]
    fn a_name_parsed_in_this_segment_can_be_bound_at_once() {
        let mut talk = Talk::default();
        send(&mut talk, [parse("s", "new")]);
        assert_eq!(talk.statement("s"), Lookup::Known("new"));
    }

    #[test]
    fn a_name_parsed_in_an_unanswered_earlier_segment_waits() {
        let mut talk = Talk::default();
        send(&mut talk, [parse("s", "old"), Sent::Sync]);
        answer(&mut talk, &[(b'1', b""), IDLE]);
        send(&mut talk, [parse("s", "new"), Sent::Sync]);
        assert_eq!(talk.statement("s"), Lookup::Wait);
        answer(&mut talk, &[ERROR, IDLE]);
        assert_eq!(
            talk.statement("s"),
            Lookup::Known("old"),
            "what failed never happened"
        );
    }

    #[test]
    fn what_an_error_skipped_changes_no_name_and_is_told() {
        let mut talk = Talk::default();
        send(
            &mut talk,
            [
                parse("a", "a"),
                execute(1),
                parse("b", "b"),
                execute(2),
                Sent::Sync,
            ],
        );
        let news = answer(&mut talk, &[(b'1', b""), ERROR, IDLE]);
        assert_eq!(talk.statement("a"), Lookup::Known("a"));
        assert_eq!(talk.statement("b"), Lookup::Unknown);
        assert!(news.contains(&News::Skipped { run: 2 }), "{news:?}");
        assert!(talk.is_settled());
    }

    #[test]
    fn the_server_skips_until_a_sync_that_is_yet_to_be_sent() {
        let mut talk = Talk::default();
        send(&mut talk, [parse("", "x"), execute(1)]);
        answer(&mut talk, &[ERROR]);
        assert!(talk.is_skipping());
        send(&mut talk, [Sent::Sync]);
        assert!(!talk.is_skipping());
        answer(&mut talk, &[IDLE]);
        assert!(talk.is_settled());
    }

    #[test]
    fn a_simple_query_forgets_the_unnamed_statement() {
        let mut talk = Talk::default();
        send(&mut talk, [parse("", "x"), Sent::Sync]);
        answer(&mut talk, &[(b'1', b""), IDLE]);
        send(
            &mut talk,
            [Sent::Query {
                run: 1,
                changes: Vec::new(),
                may_copy_in: false,
            }],
        );
        assert_eq!(talk.statement(""), Lookup::Wait);
        answer(&mut talk, &[(b'C', b"SELECT 1\0"), IDLE]);
        assert_eq!(talk.statement(""), Lookup::Unknown);
    }

    #[test]
    fn sql_prepare_takes_hold_at_its_own_completion() {
        let mut talk = Talk::default();
        let changes = vec![NameChange {
            statement: 1,
            change: Change::Set("p".into(), "prepared"),
        }];
        send(
            &mut talk,
            [Sent::Query {
                run: 1,
                changes,
                may_copy_in: false,
            }],
        );
        answer(&mut talk, &[(b'C', b"SELECT 1\0")]);
        assert!(!talk.statements().contains_key("p"));
        answer(&mut talk, &[(b'C', b"PREPARE\0"), IDLE]);
        assert_eq!(talk.statement("p"), Lookup::Known("prepared"));
    }

    #[test]
    fn answers_to_the_proxys_own_messages_are_swallowed() {
        let mut talk = Talk::default();
        talk.sent(Origin::Proxy, parse("_countersign", "show"));
        talk.sent(Origin::Proxy, execute(0));
        send(&mut talk, [execute(1)]);
        let mut news = Vec::new();
        assert_eq!(talk.server(b'1', b"", &mut news), Ok(Route::Swallow));
        assert_eq!(
            talk.server(b'D', b"\0\x01\0\0\0\x01x", &mut news),
            Ok(Route::Swallow)
        );
        assert_eq!(talk.server(b'C', b"SHOW\0", &mut news), Ok(Route::Swallow));
        assert_eq!(talk.server(b'C', b"SELECT 1\0", &mut news), Ok(Route::Relay));
        assert_eq!(talk.statement("_countersign"), Lookup::Unknown);
        assert_eq!(news[0], News::Row(vec![Some(b"x".to_vec())]));
    }

    #[test]
    fn data_that_no_statement_was_known_to_need_is_a_violation() {
        let mut talk = Talk::default();
        send(&mut talk, [execute(1)]);
        assert!(talk.server(b'G', b"\0\0\0", &mut Vec::new()).is_err());
    }

    #[test]
    fn a_portal_that_gives_its_row_limit_asks_for_no_data() {
        let mut talk = Talk::default();
        let may_copy = Sent::Execute {
            run: 1,
            changes: Vec::new(),
            may_copy_in: true,
        };
        send(&mut talk, [may_copy]);
        assert_eq!(talk.copy_in(), CopyIn::Possible);
        answer(&mut talk, &[(b's', b"")]);
        assert_eq!(talk.copy_in(), CopyIn::None, "what stands behind it may go");
    }

    #[test]
    fn an_answer_to_something_before_it_leaves_a_copy_to_come() {
        let copy = |run| Sent::Execute {
            run,
            changes: Vec::new(),
            may_copy_in: true,
        };
        let query = |run, may_copy_in| Sent::Query {
            run,
            changes: Vec::new(),
            may_copy_in,
        };
        let done: (u8, &[u8]) = (b'C', b"SELECT 1\0");
        let asks: (u8, &[u8]) = (b'G', b"\0\0\0");
        for (before, answers) in [
            (vec![execute(1)], vec![done]),
            (vec![query(1, false)], vec![done, IDLE]),
            (vec![query(1, false)], vec![ERROR, IDLE]),
            (vec![copy(1), Sent::CopyEnd], vec![done]),
        ] {
            let mut talk = Talk::default();
            send(&mut talk, before);
            send(&mut talk, [copy(2)]);
            answer(&mut talk, &answers);
            assert_eq!(talk.copy_in(), CopyIn::Possible, "{answers:?}");
            assert_eq!(answer(&mut talk, &[asks]), [News::CopyIn]);
            assert_eq!(talk.copy_in(), CopyIn::Open);
            answer(&mut talk, &[ERROR]);
            assert_eq!(talk.copy_in(), CopyIn::None, "the copy has failed");
        }
    }

    #[test]
    fn rewinding_forgets_what_was_not_sent() {
        let mut talk = Talk::default();
        let mark = talk.mark();
        send(&mut talk, [parse("s", "x"), execute(1), Sent::Sync]);
        talk.rewind(mark);
        assert!(talk.is_settled() && !talk.has_open_pipeline() && !talk.has_pending_names());
    }
}
