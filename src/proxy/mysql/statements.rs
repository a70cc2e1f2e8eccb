//! Statements of the binary protocol: judged when they are prepared, and again with their values when they are executed.
//! Never lets a number stand for a statement that was not judged. Read `parameters.rs` next.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Buf;

use crate::hold::Permit;
use crate::policy::Outcome;
use crate::proxy::end::End;
use crate::proxy::judgements::Judged;
use crate::proxy::mysql::command::{Command, Sending};
use crate::proxy::mysql::parameters::{self, Long};
use crate::proxy::mysql::session::{EXECUTE_BYTES_MAX, Session};
use crate::proxy::refusal::Refusal;
use crate::sql::STATEMENT_BYTES_MAX;
use crate::sql::mysql_state::MysqlState;
use crate::wire::mysql::command::{self, Code, Fetch, LongData};
use crate::wire::mysql::conversation::Expected;
use crate::wire::mysql::execute::{Execute, Head, LAST_PREPARED, Remembered};
use crate::wire::mysql::packet::{self, HEADER_BYTES, Header};
use crate::wire::mysql::parameter::{Kind, Kinds};

/// Open at once; the server has a limit of its own for all sessions together.
const STATEMENTS_MAX: usize = 10_000;

/// Of their texts together.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// Of values that came in pieces, what one session keeps to be shown. More of them cannot be held, only let through.
const LONG_BYTES_MAX: usize = 4 << 20;

/// Where a COM_STMT_EXECUTE names its statement, behind its first packet's head and its own byte.
const ID_AT: usize = HEADER_BYTES + 1;

/// Errors of a row or a lock, which no server gives before it has read all values: ER_BAD_NULL_ERROR, ER_DUP_ENTRY, ER_DUP_UNIQUE,
/// ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK, ER_NO_REFERENCED_ROW, ER_ROW_IS_REFERENCED, ER_WARN_DATA_OUT_OF_RANGE,
/// WARN_DATA_TRUNCATED, ER_NO_DEFAULT_FOR_FIELD, ER_DATA_TOO_LONG, ER_ROW_IS_REFERENCED_2, ER_NO_REFERENCED_ROW_2,
/// ER_SIGNAL_EXCEPTION, ER_CHECK_CONSTRAINT_VIOLATED, MariaDB's ER_CONSTRAINT_FAILED. Drivers go on after them without telling
/// the types again.
const LATE_ERRORS: [u16; 16] = [
    1048, 1062, 1169, 1205, 1213, 1216, 1217, 1264, 1265, 1364, 1406, 1451, 1452, 1644, 3819, 4025,
];

/// A statement that the server has prepared.
pub struct Prepared {
    pub judged: Rc<Judged<MysqlState>>,
    /// Where its names without a schema were looked up.
    pub schema: Option<String>,
    /// `Facts::values_revision` then.
    pub read_at: u64,
    pub parameters: u16,
    /// Of its values, as of the last execution that the server has seen.
    pub kinds: Vec<Kind>,
    /// Values that came in pieces, for the next execution.
    pub long: BTreeMap<u16, Long>,
}

impl Session {
    pub(super) async fn prepare(&mut self, command: Command) -> Result<(), End> {
        let payload = command.payload();
        let next_sequence = command.next_sequence;
        let text = command::prepared_text(&payload).unwrap_or_default();
        if text.len() > STATEMENT_BYTES_MAX {
            self.last_prepared = None;
            return self.refuse_too_long("COM_STMT_PREPARE", next_sequence);
        }
        self.refresh_facts().await?;
        let judged = self.judge(text).await?;
        drop(payload);
        let verdict = self.verdict(&judged);
        let sending = Sending {
            frames: command.frames,
            next_sequence,
            judged,
            verdict,
            parameters: Vec::new(),
            bound: Vec::new(),
            protocol: "prepare",
            expected: Expected::Prepared,
            execution: None,
            ahead: 0,
            only_now: None,
        };
        self.last_prepared = None;
        if self.text_bytes + sending.judged.text.len() > TEXT_BYTES_MAX {
            let why = format!("prepared statements of over {TEXT_BYTES_MAX} bytes are open, close some");
            return self.refuse(&Refusal::Unreadable { why }, &sending);
        }
        if self.statements.len() >= STATEMENTS_MAX {
            let why = format!("{STATEMENTS_MAX} prepared statements are open, close some");
            return self.refuse(&Refusal::Unreadable { why }, &sending);
        }
        if let Some(refusal) = self.leaves_its_databases(&sending.judged) {
            return self.refuse(&refusal, &sending);
        }
        if sending.verdict.outcome() == Outcome::Hold {
            // To prepare it runs nothing, if all of it is understood: it is held when it is executed.
            let number = self.runs_begun + 1;
            if let Some(permit) = Permit::from_safe_parse(&sending.judged.judgement, self.attempt(number)) {
                let number = self.next_run();
                return self.send(sending, number, permit).await;
            }
        }
        self.decide(sending).await
    }

    /// The server has prepared what is under way.
    pub(super) fn prepared(&mut self, statement: u32, parameters: u16) {
        let Some(run) = &self.run else { return };
        let prepared = Prepared {
            judged: Rc::clone(&run.judged),
            schema: self.facts.schema.clone(),
            read_at: run.read_at,
            parameters,
            kinds: Vec::new(),
            long: BTreeMap::new(),
        };
        self.text_bytes += prepared.judged.text.len();
        if let Some(before) = self.statements.insert(statement, prepared) {
            self.text_bytes -= before.judged.text.len();
        }
        self.last_prepared = Some(statement);
    }

    /// The number that a client means.
    fn resolved(&self, statement: u32) -> Option<u32> {
        let meant = match statement {
            LAST_PREPARED => self.last_prepared?,
            number => number,
        };
        self.statements.contains_key(&meant).then_some(meant)
    }

    pub(super) async fn execute(&mut self, mut command: Command) -> Result<(), End> {
        let next_sequence = command.next_sequence;
        let name = command.code.name();
        let head = match Head::decode(&command.payload()) {
            Ok(head) => head,
            Err(error) => return self.refuse_command(&error.to_string(), name, next_sequence),
        };
        let Some(statement) = self.resolved(head.statement) else {
            return self.refuse_unknown_statement(head.statement, next_sequence);
        };
        if let Some(id) = command.frames.get_mut(ID_AT..ID_AT + 4) {
            id.copy_from_slice(&statement.to_le_bytes());
        }
        self.refresh_facts().await?;
        let Some(prepared) = self.statements.get(&statement) else {
            return self.refuse_unknown_statement(statement, next_sequence);
        };
        let is_long: Vec<bool> = (0..prepared.parameters)
            .map(|parameter| prepared.long.contains_key(&parameter))
            .collect();
        if prepared.schema != self.facts.schema {
            return self.refuse_elsewhere(statement, next_sequence).await;
        }
        let payload = command.payload();
        let remembered = Remembered {
            parameters: prepared.parameters.into(),
            kinds: &prepared.kinds,
            is_long: &is_long,
        };
        let execute = match Execute::decode(&payload, self.capabilities, remembered) {
            Ok(execute) => execute,
            Err(error) => {
                let why = error.to_string();
                self.forget_long(statement).await?;
                return self.refuse_command(&why, name, next_sequence);
            }
        };
        let long: Vec<Option<&Long>> = (0..prepared.parameters)
            .map(|parameter| prepared.long.get(&parameter))
            .collect();
        let mut parameters = parameters::shown(&execute.parameters, &long);
        let bound = parameters::canonical(execute.head.flags, &execute.parameters, &long);
        let is_too_long = long.iter().flatten().any(|long| !long.is_whole());
        // What is behind its own values are attributes.
        let own = execute.parameters.get(..usize::from(prepared.parameters));
        let reaches_all = parameters::reach_all(&prepared.judged, own.unwrap_or_default());
        let kinds = match execute.kinds {
            Kinds::New => Some(
                execute
                    .parameters
                    .iter()
                    .map(|parameter| parameter.kind)
                    .collect(),
            ),
            Kinds::Absent | Kinds::Remembered => None,
        };
        let (then, schema) = (Rc::clone(&prepared.judged), prepared.schema.clone());
        drop(payload);
        let mut judged = self.judge_again(&then, schema.as_deref()).await?;
        if reaches_all {
            judged = Rc::new(judged.unbounded("compares with zero, which every text equals"));
        }
        let verdict = self.verdict(&judged);
        self.thread.redact(&judged, &mut parameters);
        parameters::without_types(&mut parameters);
        let sending = Sending {
            frames: command.frames,
            next_sequence,
            judged,
            verdict,
            parameters,
            bound,
            protocol: "binary",
            expected: Expected::Results,
            execution: Some((statement, kinds)),
            ahead: 0,
            only_now: None,
        };
        if is_too_long && sending.verdict.outcome() == Outcome::Hold {
            self.forget_long(statement).await?;
            let why = format!("values of over {EXECUTE_BYTES_MAX} bytes cannot be shown for approval");
            return self.refuse(&Refusal::Unreadable { why }, &sending);
        }
        let runs_before = self.runs_sent;
        self.decide(sending).await?;
        if self.runs_sent == runs_before {
            // The server has forgotten what it gathered after an execution, whatever became of it; so it must after one
            // that was refused.
            self.forget_long(statement).await?;
        }
        Ok(())
    }

    /// Rules, cards and the log go by the database that the session is in: one that was prepared elsewhere would be
    /// taken for a statement of here.
    async fn refuse_elsewhere(&mut self, statement: u32, sequence: u8) -> Result<(), End> {
        self.forget_long(statement).await?;
        let why = "the statement was prepared in another database: prepare it again in this one";
        self.refuse_command(why, &format!("execution of statement {statement}"), sequence)
    }

    /// The server has seen an execution. One that has failed may have failed before its types were taken, or before the
    /// last of them: then nobody knows which ones the server has, and the next execution must bring its own. Nor does every
    /// server forget then what came in pieces, so it is told to.
    pub(super) async fn executed(&mut self, statement: u32, kinds: Option<&[Kind]>) -> Result<(), End> {
        self.runs_sent += 1;
        let may_be_early = self.failed.is_some_and(|number| !LATE_ERRORS.contains(&number));
        let Some(prepared) = self.statements.get_mut(&statement) else {
            return Ok(());
        };
        if let Some(kinds) = kinds {
            let is_doubtful = may_be_early && prepared.kinds != kinds;
            prepared.kinds = if is_doubtful { Vec::new() } else { kinds.to_vec() };
        }
        if may_be_early {
            return self.forget_long(statement).await;
        }
        self.long_bytes -= prepared.long.values().map(Long::bytes_kept).sum::<usize>();
        prepared.long.clear();
        Ok(())
    }

    /// Has the server forget the values that came in pieces for an execution that it will not see.
    async fn forget_long(&mut self, statement: u32) -> Result<(), End> {
        let Some(prepared) = self.statements.get_mut(&statement) else {
            return Ok(());
        };
        if prepared.long.is_empty() {
            return Ok(());
        }
        self.long_bytes -= prepared.long.values().map(Long::bytes_kept).sum::<usize>();
        prepared.long.clear();
        let mut payload = Vec::new();
        command::put_id(&mut payload, Code::StmtReset, statement);
        self.ask_with(&payload, Expected::Done).await.map(|_| ())
    }

    /// A piece of a value goes to the server, which keeps it for the next execution; a copy stays here to be shown.
    /// The command has no answer, so one that cannot be placed is dropped, and that is on record.
    pub(super) fn long_data(&mut self, command: &Command) -> Result<(), End> {
        let payload = command.payload();
        let Ok(piece) = LongData::decode(&payload) else {
            return self.record_dropped("COM_STMT_SEND_LONG_DATA that cannot be read");
        };
        let Some(id) = self.begin_long(piece.statement, piece.parameter) else {
            return self.record_dropped("COM_STMT_SEND_LONG_DATA for no such parameter");
        };
        self.keep_long(id, piece.parameter, piece.data);
        let mut frames = command.frames.clone();
        if let Some(place) = frames.get_mut(ID_AT..ID_AT + 4) {
            place.copy_from_slice(&id.to_le_bytes());
        }
        self.pipe.to_server.plain(&frames);
        self.pipe.to_server.release_plain();
        Ok(())
    }

    fn begin_long(&mut self, statement: u32, parameter: u16) -> Option<u32> {
        let id = self.resolved(statement)?;
        let prepared = self.statements.get_mut(&id)?;
        if parameter >= prepared.parameters {
            return None;
        }
        prepared.long.entry(parameter).or_default();
        Some(id)
    }

    fn keep_long(&mut self, statement: u32, parameter: u16, data: &[u8]) {
        let prepared = self.statements.get_mut(&statement);
        if let Some(long) = prepared.and_then(|prepared| prepared.long.get_mut(&parameter)) {
            let room = LONG_BYTES_MAX.saturating_sub(self.long_bytes);
            self.long_bytes += long.add(data, room);
        }
    }

    pub(super) fn close(&mut self, command: &Command) -> Result<(), End> {
        let Ok(statement) = command::id(&command.payload(), Code::StmtClose) else {
            return self.record_dropped("COM_STMT_CLOSE that cannot be read");
        };
        let Some(statement) = self.resolved(statement) else {
            // The server would do nothing either.
            return Ok(());
        };
        if let Some(closed) = self.statements.remove(&statement) {
            self.text_bytes -= closed.judged.text.len();
            self.long_bytes -= closed.long.values().map(Long::bytes_kept).sum::<usize>();
        }
        if self.last_prepared == Some(statement) {
            self.last_prepared = None;
        }
        let mut payload = Vec::new();
        command::put_id(&mut payload, Code::StmtClose, statement);
        let mut frame = Vec::new();
        packet::put(&mut frame, 0, &payload);
        self.pipe.to_server.plain(&frame);
        self.pipe.to_server.release_plain();
        Ok(())
    }

    pub(super) async fn reset_statement(&mut self, command: Command) -> Result<(), End> {
        let next_sequence = command.next_sequence;
        let Ok(statement) = command::id(&command.payload(), Code::StmtReset) else {
            return self.refuse_command("malformed", command.code.name(), next_sequence);
        };
        let Some(statement) = self.resolved(statement) else {
            return self.refuse_unknown_statement(statement, next_sequence);
        };
        if let Some(prepared) = self.statements.get_mut(&statement) {
            self.long_bytes -= prepared.long.values().map(Long::bytes_kept).sum::<usize>();
            prepared.long.clear();
        }
        self.pass(naming(command, statement), Expected::Done).await
    }

    /// Rows of a cursor, which its execution has opened.
    pub(super) async fn fetch(&mut self, command: Command) -> Result<(), End> {
        let next_sequence = command.next_sequence;
        let fetch = match Fetch::decode(&command.payload()) {
            Ok(fetch) => fetch,
            Err(error) => {
                return self.refuse_command(&error.to_string(), command.code.name(), next_sequence);
            }
        };
        let Some(statement) = self.resolved(fetch.statement) else {
            return self.refuse_unknown_statement(fetch.statement, next_sequence);
        };
        self.pass(naming(command, statement), Expected::Rows).await
    }

    /// A command that is too long to be read whole.
    pub(super) async fn carry_out_long(&mut self, code: Code) -> Result<(), End> {
        match code {
            Code::StmtSendLongData => self.long_piece().await,
            Code::StmtExecute => self.long_execution().await,
            _ => {
                let next_sequence = self.drop_command().await?;
                if code == Code::StmtPrepare {
                    self.last_prepared = None;
                }
                self.refuse_too_long(code.name(), next_sequence)
            }
        }
    }

    async fn long_piece(&mut self) -> Result<(), End> {
        let head = self.head_of_long(7).await?;
        let piece = LongData::decode(&head).ok();
        let parameter = piece.map(|piece| piece.parameter).unwrap_or_default();
        let placed = piece.and_then(|piece| self.begin_long(piece.statement, piece.parameter));
        let Some(statement) = placed else {
            self.drop_command().await?;
            return self.record_dropped("COM_STMT_SEND_LONG_DATA for no such parameter");
        };
        self.name_in_inbox(statement);
        let mut long = Long::default();
        if let Some(prepared) = self.statements.get_mut(&statement)
            && let Some(kept) = prepared.long.get_mut(&parameter)
        {
            long = std::mem::take(kept);
        }
        let mut to_skip = head.len();
        let mut room = LONG_BYTES_MAX.saturating_sub(self.long_bytes);
        let before = room;
        self.pass_command(|bytes| {
            let skipped = to_skip.min(bytes.len());
            to_skip -= skipped;
            room -= long.add(&bytes[skipped..], room);
        })
        .await?;
        self.long_bytes += before - room;
        if let Some(prepared) = self.statements.get_mut(&statement) {
            prepared.long.insert(parameter, long);
        }
        Ok(())
    }

    /// Values of many bytes go as they come, if the rules let their statement pass whatever they are. A write that compares
    /// with some of them reaches nobody knows what.
    async fn long_execution(&mut self) -> Result<(), End> {
        let payload = self.head_of_long(10).await?;
        let head = Head::decode(&payload);
        let statement = head.ok().and_then(|head| self.resolved(head.statement));
        let Some(statement) = statement else {
            let next_sequence = self.drop_command().await?;
            let number = head.map(|head| head.statement).unwrap_or_default();
            return self.refuse_unknown_statement(number, next_sequence);
        };
        self.refresh_facts().await?;
        let Some(prepared) = self.statements.get(&statement) else {
            let next_sequence = self.drop_command().await?;
            return self.refuse_unknown_statement(statement, next_sequence);
        };
        if prepared.schema != self.facts.schema {
            let next_sequence = self.drop_command().await?;
            return self.refuse_elsewhere(statement, next_sequence).await;
        }
        let (then, schema) = (Rc::clone(&prepared.judged), prepared.schema.clone());
        let count = prepared.parameters;
        let mut judged = self.judge_again(&then, schema.as_deref()).await?;
        if parameters::may_reach_all(&judged, count) {
            // Servers do not look at what stands behind the last value: a long command need not have a long one.
            judged = Rc::new(judged.unbounded("compares with values that are too long to be read"));
        }
        let verdict = self.verdict(&judged);
        let mut sending = Sending {
            frames: Vec::new(),
            next_sequence: 0,
            judged,
            verdict,
            parameters: vec![parameters::not_shown()],
            bound: Vec::new(),
            protocol: "binary",
            expected: Expected::Results,
            execution: Some((statement, None)),
            ahead: 0,
            only_now: None,
        };
        if let Some(refusal) = self.leaves_its_databases(&sending.judged) {
            sending.next_sequence = self.drop_command().await?;
            self.forget_long(statement).await?;
            return self.refuse(&refusal, &sending);
        }
        let allowed = match sending.verdict.outcome() {
            Outcome::Allow => sending.verdict.allowed(),
            Outcome::Hold | Outcome::Deny => None,
        };
        let Some(allowed) = allowed else {
            sending.next_sequence = self.drop_command().await?;
            self.forget_long(statement).await?;
            let why = format!("values of over {EXECUTE_BYTES_MAX} bytes cannot be shown for approval");
            return self.refuse(&Refusal::Unreadable { why }, &sending);
        };
        self.settle_cancel().await?;
        let number = self.next_run();
        let permit = Permit::from_allow(allowed, self.attempt(number));
        let recorded = self.record(&sending, number).await;
        let Some(recorded) = self.unsynced.filter(|_| recorded) else {
            sending.next_sequence = self.drop_command().await?;
            self.forget_long(statement).await?;
            return self.refuse_unrecorded(&sending);
        };
        self.name_in_inbox(statement);
        self.pipe.to_server.statement(permit, &[]);
        self.pipe.to_server.release(&recorded);
        self.under_way(&sending, number, None);
        // Types that came with it are not read: the next execution must bring its own.
        self.pass_command(|_| {}).await?;
        self.answered().await?;
        self.executed(statement, Some(&[])).await
    }

    /// The first bytes of a long command's payload, which stay in the inbox.
    async fn head_of_long(&mut self, count: usize) -> Result<Vec<u8>, End> {
        loop {
            if let Some(head) = self.pipe.inbox.get(HEADER_BYTES..HEADER_BYTES + count) {
                return Ok(head.to_vec());
            }
            self.wait().await?;
        }
    }

    fn name_in_inbox(&mut self, statement: u32) {
        if let Some(id) = self.pipe.inbox.get_mut(ID_AT..ID_AT + 4) {
            id.copy_from_slice(&statement.to_le_bytes());
        }
    }

    async fn drop_command(&mut self) -> Result<u8, End> {
        self.through_inbox(Fate::Dropped, |_| {}).await
    }

    async fn pass_command(&mut self, seen: impl FnMut(&[u8])) -> Result<u8, End> {
        self.through_inbox(Fate::Passed, seen).await
    }

    /// Takes a command out of the inbox as it comes; `seen` is shown its payload. Gives the number that comes next.
    async fn through_inbox(&mut self, fate: Fate, mut seen: impl FnMut(&[u8])) -> Result<u8, End> {
        let mut sequence = 0_u8;
        loop {
            let header = loop {
                match Header::cut(&self.pipe.inbox) {
                    Some(header) => break header,
                    None => self.wait().await?,
                }
            };
            if header.sequence != sequence {
                return Err(End::Violation("a packet out of order".to_owned()));
            }
            sequence = sequence.wrapping_add(1);
            self.take(HEADER_BYTES, fate);
            let mut left = header.payload_bytes;
            while left > 0 {
                let count = left.min(self.pipe.inbox.len());
                if count == 0 {
                    self.wait().await?;
                    continue;
                }
                seen(&self.pipe.inbox[..count]);
                self.take(count, fate);
                left -= count;
            }
            if !header.is_continued() {
                return Ok(sequence);
            }
        }
    }

    fn take(&mut self, count: usize, fate: Fate) {
        if fate == Fate::Passed {
            let bytes = &self.pipe.inbox[..count];
            self.pipe.to_server.rest_of_frame(bytes);
            self.pipe.to_server.release_plain();
        }
        self.pipe.inbox.advance(count);
    }

    /// The client sends the file that its statement asked for: its packets go on until an empty one.
    pub(super) async fn send_file(&mut self) -> Result<(), End> {
        let (mut from_client, mut to_server) = self.relay.file_sequences();
        loop {
            let header = loop {
                match Header::cut(&self.pipe.inbox) {
                    Some(header) => break header,
                    None if self.relay.wants_file() => self.wait().await?,
                    None => return Ok(()),
                }
            };
            if header.sequence != from_client {
                return Err(End::Violation("a packet out of order".to_owned()));
            }
            self.pipe.inbox[HEADER_BYTES - 1] = to_server;
            from_client = from_client.wrapping_add(1);
            to_server = to_server.wrapping_add(1);
            if header.payload_bytes == 0 {
                self.relay.file_sent();
            }
            self.take(HEADER_BYTES, Fate::Passed);
            let mut left = header.payload_bytes;
            while left > 0 {
                let count = left.min(self.pipe.inbox.len());
                if count == 0 {
                    self.wait().await?;
                    continue;
                }
                self.take(count, Fate::Passed);
                left -= count;
            }
            if header.payload_bytes == 0 {
                return Ok(());
            }
        }
    }
}

/// What becomes of a command's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passed,
    Dropped,
}

/// The command with the number that its client meant.
fn naming(mut command: Command, statement: u32) -> Command {
    if let Some(id) = command.frames.get_mut(ID_AT..ID_AT + 4) {
        id.copy_from_slice(&statement.to_le_bytes());
    }
    command
}
