//! What happens to one command of the client: it goes on, is answered here, waits for a person, or is refused.
//! Every command there is has its arm. Read `statements.rs` for the binary protocol, `park.rs` for the wait.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::BytesMut;
use tracing::warn;

use crate::clock::Timestamp;
use crate::hold::{Parameter, Permit};
use crate::policy::{Outcome, Verdict};
use crate::proxy::AuditMode;
use crate::proxy::attempts::{Pending, changes_data, record_not_sent, write_attempts};
use crate::proxy::end::End;
use crate::proxy::judgements::Judged;
use crate::proxy::mysql::facts;
use crate::proxy::mysql::parameters;
use crate::proxy::mysql::runs::Run;
use crate::proxy::mysql::session::{EXECUTE_BYTES_MAX, Session};
use crate::proxy::refusal::Refusal;
use crate::sql::STATEMENT_BYTES_MAX;
use crate::sql::mysql_state::{Charset, MysqlState};
use crate::wire::mysql::command::{self, Code, FieldList, MultiStatements, Query};
use crate::wire::mysql::conversation::Expected;
use crate::wire::mysql::packet::{self, Gathered, HEADER_BYTES};
use crate::wire::mysql::parameter::Kind;

/// A name, a number: no sound client sends more in these commands.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// What a text may have beside itself, as attributes.
const ATTRIBUTES_BYTES_MAX: usize = 64 << 10;

/// A command as it came.
pub struct Command {
    pub code: Code,
    /// Its packets, with their heads.
    pub frames: Vec<u8>,
    /// The number that its answer begins with.
    pub next_sequence: u8,
}

impl Command {
    pub fn payload(&self) -> Cow<'_, [u8]> {
        packet::joined(&self.frames)
    }
}

/// A statement on its way: what is sent for it, and what was judged of it.
pub struct Sending {
    pub frames: Vec<u8>,
    pub next_sequence: u8,
    pub judged: Rc<Judged<MysqlState>>,
    pub verdict: Rc<Verdict>,
    pub parameters: Vec<Parameter>,
    /// What of the values and how they are asked for is part of what is approved.
    pub bound: Vec<u8>,
    /// `text`, `binary`, or `prepare` for a statement that is only prepared.
    pub protocol: &'static str,
    pub expected: Expected,
    /// Of the statement that is executed: its number, and the types of its values from now on.
    pub execution: Option<(u32, Option<Vec<Kind>>)>,
    /// Packets of the proxy's own that the client has had for it already.
    pub ahead: u8,
    /// An approval is for this sending alone, which this number tells from others.
    pub only_now: Option<u64>,
}

impl Sending {
    pub fn is_preparation(&self) -> bool {
        self.protocol == "prepare"
    }
}

/// What the inbox begins with.
enum Next {
    Command(Command),
    /// It is too long to be read whole; nothing of it is taken yet.
    Long(Code),
    Unknown {
        byte: u8,
        next: Command,
    },
}

impl Session {
    /// Takes the client's next command, and is done with it when its answer is complete.
    pub(super) async fn command(&mut self) -> Result<(), End> {
        let next = loop {
            match self.next()? {
                Some(next) => break next,
                None => self.wait().await?,
            }
        };
        match next {
            Next::Command(command) => self.carry_out(command).await,
            Next::Long(code) => self.carry_out_long(code).await,
            Next::Unknown { byte, next } => {
                let why = format!("command {byte:#04x} is not known");
                self.refuse_command(&why, &format!("command {byte:#04x}"), next.next_sequence)
            }
        }
    }

    fn next(&mut self) -> Result<Option<Next>, End> {
        let inbox = &self.pipe.inbox;
        let gathered = packet::gather(inbox, 0).map_err(|error| End::Violation(error.to_string()))?;
        let Some(byte) = inbox.get(HEADER_BYTES).copied() else {
            return match gathered {
                Gathered::More { .. } => Ok(None),
                Gathered::Whole(_) => Err(End::Violation("a command without its byte".to_owned())),
            };
        };
        let code = Code::of(byte);
        let bytes_max = code.map_or(SMALL_BYTES_MAX, bytes_max);
        let message = match gathered {
            Gathered::More { payload_bytes_min } if payload_bytes_min <= bytes_max => return Ok(None),
            Gathered::More { .. } => return self.long(code),
            Gathered::Whole(message) if message.payload_bytes <= bytes_max => message,
            Gathered::Whole(_) => return self.long(code),
        };
        let frames = self.pipe.inbox.split_to(message.frame_bytes).to_vec();
        if self.pipe.inbox.is_empty() {
            // An idle session keeps no buffer.
            self.pipe.inbox = BytesMut::new();
        }
        let command = Command {
            code: code.unwrap_or(Code::Sleep),
            frames,
            next_sequence: message.next_sequence,
        };
        Ok(Some(match code {
            Some(_) => Next::Command(command),
            None => Next::Unknown { byte, next: command },
        }))
    }

    fn long(&self, code: Option<Code>) -> Result<Option<Next>, End> {
        match code {
            Some(code @ (Code::Query | Code::StmtPrepare | Code::StmtExecute | Code::StmtSendLongData)) => {
                Ok(Some(Next::Long(code)))
            }
            Some(code) => Err(End::Violation(format!("{} is too long", code.name()))),
            None => Err(End::Violation("an unknown command is too long".to_owned())),
        }
    }

    /// Why one match: a command that is added to a protocol must not compile until somebody has said what becomes of it.
    async fn carry_out(&mut self, command: Command) -> Result<(), End> {
        match command.code {
            Code::Quit => Err(End::ClientLeft),
            Code::Query => self.query(command).await,
            Code::InitDb | Code::FieldList | Code::ProcessKill => self.as_text(command).await,
            Code::StmtPrepare => self.prepare(command).await,
            Code::StmtExecute => self.execute(command).await,
            Code::StmtFetch => self.fetch(command).await,
            Code::StmtSendLongData => self.long_data(&command),
            Code::StmtClose => self.close(&command),
            Code::StmtReset => self.reset_statement(command).await,
            Code::Ping => self.pass(command, Expected::Done).await,
            Code::Statistics => self.pass(command, Expected::One).await,
            Code::SetOption => match MultiStatements::decode(&command.payload()) {
                Ok(MultiStatements::On | MultiStatements::Off) => self.pass(command, Expected::Done).await,
                Err(error) => {
                    self.refuse_command(&error.to_string(), "COM_SET_OPTION", command.next_sequence)
                }
            },
            Code::ResetConnection => self.reset_connection(command).await,
            Code::ChangeUser => {
                self.becomes = Some((command.payload().into_owned(), command.next_sequence));
                Err(End::ClientLeft)
            }
            // Old ways to say what a statement says, of which no client in use has need; replication; what a server
            // alone may say to itself; and what answers with a stream that cannot be followed.
            Code::Sleep
            | Code::CreateDb
            | Code::DropDb
            | Code::Refresh
            | Code::Shutdown
            | Code::ProcessInfo
            | Code::Connect
            | Code::Debug
            | Code::Time
            | Code::DelayedInsert
            | Code::BinlogDump
            | Code::TableDump
            | Code::ConnectOut
            | Code::RegisterReplica
            | Code::Daemon
            | Code::BinlogDumpGtid
            | Code::Clone
            | Code::SubscribeGroupReplicationStream
            | Code::StmtBulkExecute
            | Code::ReplicaWorker
            | Code::ReplicaIo
            | Code::ReplicaSql
            | Code::Multi => {
                let name = command.code.name();
                let why = format!("the command {name} is not served");
                self.refuse_command(&why, name, command.next_sequence)
            }
        }
    }

    async fn query(&mut self, command: Command) -> Result<(), End> {
        let payload = command.payload();
        let query = match Query::decode(&payload, self.capabilities) {
            Ok(query) => query,
            Err(error) => return self.refuse_command(&error.to_string(), "COM_QUERY", command.next_sequence),
        };
        if query.text.len() > STATEMENT_BYTES_MAX {
            return self.refuse_too_long("COM_QUERY", command.next_sequence);
        }
        let judged = match self.judge_regardless(query.text) {
            Some(judged) => judged,
            None => {
                self.refresh_facts().await?;
                self.judge(query.text).await?
            }
        };
        let mut parameters = parameters::shown(&query.attributes, &[]);
        self.thread.redact(&judged, &mut parameters);
        parameters::without_types(&mut parameters);
        let bound = parameters::canonical(0, &query.attributes, &[]);
        let next_sequence = command.next_sequence;
        drop(payload);
        let verdict = self.verdict(&judged);
        self.decide(Sending {
            frames: command.frames,
            next_sequence,
            judged,
            verdict,
            parameters,
            bound,
            protocol: "text",
            expected: Expected::Results,
            execution: None,
            ahead: 0,
            only_now: None,
        })
        .await
    }

    /// A command that does what a statement does is judged as that statement, and goes as it came.
    async fn as_text(&mut self, command: Command) -> Result<(), End> {
        let payload = command.payload();
        let (text, expected) = match command.code {
            Code::InitDb => (
                command::schema(&payload)
                    .ok()
                    .and_then(quoted)
                    .map(|name| format!("USE {name}")),
                Expected::Done,
            ),
            Code::FieldList => {
                let list = FieldList::decode(&payload).ok();
                let table = list.and_then(|list| quoted(list.table));
                (
                    table.map(|table| format!("SHOW COLUMNS FROM {table}")),
                    Expected::Fields,
                )
            }
            _ => (
                command::id(&payload, Code::ProcessKill)
                    .ok()
                    .map(|id| format!("KILL {id}")),
                Expected::Done,
            ),
        };
        drop(payload);
        let name = command.code.name();
        let Some(text) = text else {
            return self.refuse_command("a name that cannot be read exactly", name, command.next_sequence);
        };
        self.refresh_facts().await?;
        let judged = self.judge(text.as_bytes()).await?;
        let verdict = self.verdict(&judged);
        self.decide(Sending {
            frames: command.frames,
            next_sequence: command.next_sequence,
            judged,
            verdict,
            parameters: Vec::new(),
            bound: Vec::new(),
            protocol: "text",
            expected,
            execution: None,
            ahead: 0,
            only_now: None,
        })
        .await
    }

    /// Lets a statement go, refuses it, or puts it before people, as the rules say.
    pub(super) async fn decide(&mut self, sending: Sending) -> Result<(), End> {
        if let Some(refusal) = self.leaves_its_databases(&sending.judged) {
            return self.refuse(&refusal, &sending);
        }
        match sending.verdict.outcome() {
            Outcome::Allow => self.let_go(sending).await,
            Outcome::Deny | Outcome::Hold => {
                if let Some(own) = self.own_kill(&sending.judged) {
                    return self.carry_out_kill(own, &sending).await;
                }
                if sending.verdict.outcome() == Outcome::Deny {
                    let refusal = Refusal::DeniedByRule {
                        rule: sending.verdict.rule.to_string(),
                        reason: sending.judged.reason(&sending.verdict),
                    };
                    return self.refuse(&refusal, &sending);
                }
                self.hold(sending).await
            }
        }
    }

    /// A name in a schema that the agent may not connect to, or a USE of such a schema: in this protocol one connection
    /// reaches them all.
    pub(super) fn leaves_its_databases(&self, judged: &Judged<MysqlState>) -> Option<Refusal> {
        if !self.schemas.confine() {
            return None;
        }
        let actions = &judged.judgement.actions;
        let tables = actions.iter().flat_map(|action| &action.tables);
        let tables = tables.filter_map(|table| table.schema.as_deref());
        let functions = actions.iter().flat_map(|action| &action.functions);
        let functions = functions.filter_map(|function| function.schema.as_deref());
        let refuse = |reason: String| {
            Some(Refusal::DeniedByRule {
                rule: "databases".to_owned(),
                reason,
            })
        };
        let mut named = tables.chain(functions);
        if let Some(schema) = named.find(|schema| !self.schemas.may_use(schema)) {
            return refuse(format!("this agent may not use the database {schema}"));
        }
        if !actions.iter().any(|action| action.verb == "use") {
            return None;
        }
        if actions.len() > 1 {
            return refuse("this agent must send USE alone".to_owned());
        }
        let (_, followed) = crate::sql::mysql::judge_mysql_and_follow(&judged.text, &judged.lexing, &());
        let schema = followed.schema?;
        match self.schemas.may_use(&schema) {
            true => None,
            false => refuse(format!("this agent may not use the database {schema}")),
        }
    }

    /// The rules let it pass: its attempt is recorded, then it goes.
    async fn let_go(&mut self, sending: Sending) -> Result<(), End> {
        let Some(allowed) = sending.verdict.allowed() else {
            return Ok(());
        };
        let number = self.next_run();
        let permit = Permit::from_allow(allowed, self.attempt(number));
        self.send(sending, number, permit).await
    }

    /// Records an attempt, and sends its frames once that is written, and on disk where it must be.
    pub(super) async fn send(&mut self, sending: Sending, number: u64, permit: Permit) -> Result<(), End> {
        self.settle_cancel().await?;
        if !self.record(&sending, number).await {
            return self.refuse_unrecorded(&sending);
        }
        let Some(recorded) = self.unsynced else {
            return self.refuse_unrecorded(&sending);
        };
        self.pipe.to_server.statement(permit, &sending.frames);
        self.pipe.to_server.release(&recorded);
        self.under_way(&sending, number, None);
        self.answered().await?;
        self.after(&sending).await
    }

    /// A statement that a person let through: its claim is on disk, and is its record.
    pub(super) async fn send_approved(
        &mut self,
        sending: Sending,
        number: u64,
        permit: Permit,
    ) -> Result<(), End> {
        if !permit.guards().is_empty()
            && let Some(request) = permit.request()
        {
            return self.run_guarded(sending, number, permit, request).await;
        }
        self.settle_cancel().await?;
        let request = permit.request();
        self.pipe.to_server.approved(permit, &sending.frames);
        self.under_way(&sending, number, request);
        self.answered().await?;
        self.after(&sending).await
    }

    pub(super) fn under_way(
        &mut self,
        sending: &Sending,
        number: u64,
        request: Option<crate::hold::RequestId>,
    ) {
        if sending.protocol == "text" && asks_for_socket(&sending.judged.text) {
            self.relay.expect_without_socket(sending.expected, sending.ahead);
        } else {
            self.relay.expect(sending.expected, sending.ahead);
        }
        if sending.is_preparation() {
            self.last_prepared = None;
            self.run = Some(Run {
                number,
                judged: Rc::clone(&sending.judged),
                request,
                is_preparation: true,
                read_at: self.facts.values_revision,
                done: 0,
                rows: None,
                failure: None,
            });
        } else {
            self.begin_run(number, &sending.judged, request);
        }
    }

    pub(super) async fn after(&mut self, sending: &Sending) -> Result<(), End> {
        match &sending.execution {
            Some((statement, kinds)) => self.executed(*statement, kinds.as_deref()).await,
            None => Ok(()),
        }
    }

    /// Whether the attempt is written, and on disk if it must be.
    pub(super) async fn record(&mut self, sending: &Sending, number: u64) -> bool {
        let pending = [Pending {
            run: number,
            judged: Rc::clone(&sending.judged),
            verdict: Rc::clone(&sending.verdict),
            parameters: sending.parameters.clone(),
            protocol: sending.protocol,
        }];
        let written = write_attempts(&self.thread, &self.peer, &self.claimed, &pending);
        let Some(recorded) = written else {
            return false;
        };
        self.unsynced = Some(recorded);
        self.seat.touch(Timestamp::now());
        let judged = &sending.judged;
        let commits = judged.judgement.actions.iter().any(|action| action.commits);
        let must_be_synced = changes_data(judged.class)
            || (commits && self.transaction.wrote)
            || self.thread.shared.settings.audit == AuditMode::Durable;
        if !must_be_synced {
            return true;
        }
        let synced = self.thread.sync(&recorded);
        if let Err(error) = synced.await {
            warn!(%error, "an attempt cannot be brought to disk");
            self.thread.shared.metrics.journal_errors.inc();
            record_not_sent(&self.thread, &self.peer, &pending);
            return false;
        }
        true
    }

    /// A command that carries no statement goes on.
    pub(super) async fn pass(&mut self, command: Command, expected: Expected) -> Result<(), End> {
        self.settle_cancel().await?;
        self.relay.expect(expected, 0);
        self.pipe.to_server.plain(&command.frames);
        self.pipe.to_server.release_plain();
        self.answered().await
    }

    async fn reset_connection(&mut self, command: Command) -> Result<(), End> {
        let name = command.code.name();
        if let Err(error) = command::bare(&command.payload(), Code::ResetConnection) {
            return self.refuse_command(&error.to_string(), name, command.next_sequence);
        }
        self.refresh_facts().await?;
        let judged = self.session_action(b"COM_RESET_CONNECTION", "reset connection");
        let verdict = self.verdict(&judged);
        self.decide(Sending {
            frames: command.frames,
            next_sequence: command.next_sequence,
            judged,
            verdict,
            parameters: Vec::new(),
            bound: Vec::new(),
            protocol: "text",
            expected: Expected::Done,
            execution: None,
            ahead: 0,
            only_now: None,
        })
        .await?;
        // Whether the server did it or said no: nothing is taken for granted any more.
        self.statements.clear();
        (self.text_bytes, self.long_bytes) = (0, 0);
        self.last_prepared = None;
        self.names.clear();
        self.wait_max = None;
        self.reply = None;
        self.facts.set_own_objects(false);
        self.track().await
    }

    /// Asks the server what texts mean now, if something may have changed that.
    pub(super) async fn refresh_facts(&mut self) -> Result<(), End> {
        if !self.facts.is_stale {
            return Ok(());
        }
        let question = facts::question(&self.facts.state);
        let rows = self.ask(&question, Expected::Results).await?;
        let told = match rows.as_deref() {
            Some([row]) => self.facts.told(row),
            Some(_) => None,
            // In an XA transaction that is only to be ended, nothing is answered and nothing can have changed.
            None if self.own_failed == Some(XAER_RMFAIL) => Some(()),
            None => None,
        };
        if told.is_none() {
            // What cannot be asked is not known: no text can be read until the server answers.
            self.facts.state.charset = Charset::Other;
            self.facts.revision += 1;
        }
        self.follow_schema();
        Ok(())
    }
}

/// ER_XAER_RMFAIL: not in this state of an XA transaction.
const XAER_RMFAIL: u16 = 1399;

fn bytes_max(code: Code) -> usize {
    match code {
        Code::Query | Code::StmtPrepare => STATEMENT_BYTES_MAX + ATTRIBUTES_BYTES_MAX,
        Code::StmtExecute | Code::StmtSendLongData => EXECUTE_BYTES_MAX,
        _ => SMALL_BYTES_MAX,
    }
}

/// No driver asks for it in a long text.
fn asks_for_socket(text: &[u8]) -> bool {
    let mut words = text.windows(b"socket".len());
    text.len() <= SMALL_BYTES_MAX && words.any(|word| word.eq_ignore_ascii_case(b"socket"))
}

/// A name in backquotes, which every sql_mode reads alike. `None`: it cannot be read exactly.
fn quoted(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name)
        .ok()
        .filter(|name| !name.is_empty() && !name.contains('\0'))?;
    Some(format!("`{}`", name.replace('`', "``")))
}
