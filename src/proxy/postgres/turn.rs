//! What happens to the client's next messages: they go on, or the turn ends with what must come first.
//! Never waits by itself, but for the disk: a turn's records are written, and synced where they must be, before its
//! bytes go. Read `runs.rs`, then `park.rs`.

use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use tracing::warn;

use crate::clock::Timestamp;
use crate::proxy::AuditMode;
use crate::proxy::attempts::{Pending, changes_data, record_not_sent, write_attempts};
use crate::proxy::end::End;
use crate::proxy::postgres::runs::Meaning;
use crate::proxy::postgres::session::Session;
use crate::proxy::postgres::unit::Unit;
use crate::proxy::refusal::Refusal;
use crate::sql::STATEMENT_BYTES_MAX;
use crate::sql::statement::LexingState;
use crate::wire::postgres::conversation::{CopyIn, Mark, Origin, RunId, Sent};
use crate::wire::postgres::frame::{HEADER_BYTES, Header, put};
use crate::wire::postgres::message::{client, put_ready};

/// Why a turn ended.
#[derive(Debug)]
pub enum Next {
    /// Nothing to do until something happens.
    Wait,
    /// Look at the same messages again.
    Again,
    /// The same after a while, or when something happens.
    Retry,
    /// Answers must be in first.
    Settle,
    /// The server must be asked for the session's facts first.
    Ask,
    /// The catalog must be read again first.
    Catalog {
        wanted: u64,
    },
    /// A text too long to be parsed on this thread.
    Parse {
        text: Arc<[u8]>,
        lexing: LexingState,
    },
    Hold(Box<Unit>),
    Refuse(Refusal, Box<Unit>),
}

/// What a turn has let go so far.
pub struct Batch {
    pub mark: Mark,
    /// `passing` and `dropping` of the session when it began.
    pub frame_left: (usize, usize),
    pub consumed: usize,
    pub first_run: RunId,
    pub pending: Vec<Pending>,
    /// Something in it may commit.
    pub commits: bool,
    /// A Parse that waits for its Bind, to be one record with it: statement name and place in `pending`.
    pub parsed: Option<(String, usize)>,
    pub executed: Vec<Executed>,
}

/// A portal whose run begins with an Execute of the turn.
pub struct Executed {
    pub run: RunId,
    pub portal: String,
    pub meaning: Rc<Meaning>,
}

/// What `consider` makes of one message.
pub enum Step {
    Went,
    Stop(Next),
}

/// Why a text is not judged yet.
pub enum Stopped {
    Next(Next),
    Refuse(Refusal),
}

/// Answers that may be outstanding: more wait until some are in.
const IN_FLIGHT_MAX: usize = 50_000;

/// A name, a row limit: no sound client sends more in these messages.
const SMALL_FRAME_BYTES_MAX: usize = 16 << 10;

impl Session {
    /// Lets as many messages go as can, and says what must come before the next.
    pub(super) async fn turn(&mut self) -> Result<Next, End> {
        let inbox = std::mem::take(&mut self.pipe.inbox);
        let mut batch = Batch {
            mark: self.talk.mark(),
            frame_left: (self.passing, self.dropping),
            consumed: 0,
            first_run: self.runs_begun + 1,
            pending: Vec::new(),
            commits: false,
            parsed: None,
            executed: Vec::new(),
        };
        let next = loop {
            match self.consider(&inbox, &mut batch) {
                Ok(Step::Went) => {}
                Ok(Step::Stop(next)) => break Ok(next),
                Err(end) => break Err(end),
            }
        };
        let recorded = self.record(&batch).await;
        self.put_back(inbox, batch.consumed, recorded);
        if !recorded {
            self.undo(&batch);
            // The statement whose record could not be written comes again, to be refused.
            if !batch.pending.is_empty() {
                self.refuse_once = Some(Refusal::LogUnavailable);
                return Ok(Next::Again);
            }
            // A commit of what ran before: it cannot be refused by itself, so it waits for the log.
            return Ok(Next::Retry);
        }
        next
    }

    /// The inbox after a turn: what was let go is gone from it, unless its record could not be written.
    fn put_back(&mut self, mut inbox: BytesMut, consumed: usize, recorded: bool) {
        if recorded && consumed == inbox.len() {
            return;
        }
        if recorded {
            inbox.advance(consumed);
        }
        self.pipe.inbox = inbox;
    }

    fn undo(&mut self, batch: &Batch) {
        self.pipe.to_server.discard();
        self.talk.rewind(batch.mark);
        (self.passing, self.dropping) = batch.frame_left;
        for Executed { run, portal, meaning } in &batch.executed {
            meaning.run.set(Some(*run));
            if let Some(run) = self.runs.get_mut(run) {
                run.bound = Some(portal.clone());
            }
        }
        for run in batch.first_run..=self.runs_begun {
            if let Some(run) = self.runs.remove(&run) {
                self.meaning_in_flight -= usize::from(run.changes_meaning);
            }
        }
    }

    /// Writes the turn's records. Whether its bytes may go, and have been let go.
    async fn record(&mut self, batch: &Batch) -> bool {
        if !batch.pending.is_empty() {
            let written = write_attempts(&self.thread, &self.peer, &self.claimed, &batch.pending);
            let Some(recorded) = written else { return false };
            self.unsynced = Some(recorded);
            self.seat.touch(Timestamp::now());
        }
        let writes = batch
            .pending
            .iter()
            .any(|pending| changes_data(pending.judged.class));
        let durable = self.thread.shared.settings.audit == AuditMode::Durable && !batch.pending.is_empty();
        if (writes || durable || (batch.commits && self.transaction.wrote))
            && let Some(recorded) = self.unsynced
        {
            let synced = self.thread.sync(&recorded);
            if let Err(error) = synced.await {
                warn!(%error, "an attempt cannot be brought to disk");
                self.thread.shared.metrics.journal_errors.inc();
                record_not_sent(&self.thread, &self.peer, &batch.pending);
                return false;
            }
        }
        match self.unsynced {
            Some(recorded) if !batch.pending.is_empty() => self.pipe.to_server.release(&recorded),
            Some(_) | None => self.pipe.to_server.release_plain(),
        }
        if writes || durable || (batch.commits && self.transaction.wrote) {
            self.unsynced = None;
        }
        true
    }

    /// One message of the client, or as much of it as is there.
    fn consider(&mut self, inbox: &[u8], batch: &mut Batch) -> Result<Step, End> {
        let rest = &inbox[batch.consumed..];
        if rest.is_empty() {
            return Ok(Step::Stop(Next::Wait));
        }
        if self.passing > 0 {
            let count = self.passing.min(rest.len());
            self.pipe.to_server.rest_of_frame(&rest[..count]);
            self.passing -= count;
            batch.consumed += count;
            return Ok(Step::Went);
        }
        if self.dropping > 0 {
            let count = self.dropping.min(rest.len());
            self.dropping -= count;
            batch.consumed += count;
            return Ok(Step::Went);
        }
        let header = Header::cut(rest).map_err(|error| End::Violation(error.to_string()))?;
        let Some(header) = header else {
            return Ok(Step::Stop(Next::Wait));
        };
        match self.talk.copy_in() {
            CopyIn::None => {}
            CopyIn::Possible => return Ok(Step::Stop(Next::Settle)),
            CopyIn::Open => return self.copy_message(header, rest, batch),
        }
        if self.failing || self.talk.in_flight() > IN_FLIGHT_MAX {
            return Ok(Step::Stop(Next::Settle));
        }
        self.message(header, rest, batch)
    }

    /// While the server reads a COPY's data.
    fn copy_message(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Result<Step, End> {
        match header.tag {
            client::COPY_DATA => {
                let count = header.frame_bytes().min(rest.len());
                self.talk.sent(Origin::Client, Sent::CopyData);
                self.pipe.to_server.plain(&rest[..count]);
                self.passing = header.frame_bytes() - count;
                batch.consumed += count;
                Ok(Step::Went)
            }
            client::COPY_DONE | client::COPY_FAIL => {
                let Some(frame) = whole(header, rest)? else {
                    return Ok(Step::Stop(Next::Wait));
                };
                self.talk.sent(Origin::Client, Sent::CopyEnd);
                self.pipe.to_server.plain(frame);
                batch.consumed += frame.len();
                batch.commits = true;
                Ok(Step::Went)
            }
            // The server ignores both while it reads data.
            client::SYNC | client::FLUSH => Ok(self.drop_frame(header)),
            client::TERMINATE => Err(End::ClientLeft),
            _ => {
                let skipped = self.skip(header, rest)?;
                if matches!(skipped, Step::Went) {
                    self.end_copy(header.tag);
                }
                Ok(skipped)
            }
        }
    }

    /// What the server does with such a message: the COPY fails, and the message is not carried out.
    fn end_copy(&mut self, tag: u8) {
        self.fail_copy(&format!(
            "message `{}` inside a COPY is refused",
            tag.escape_ascii()
        ));
        self.failing = true;
    }

    /// Ends the data of a COPY for the client, so that the server undoes it. Only between two of its messages.
    pub(super) fn fail_copy(&mut self, why: &str) {
        let mut frame = Vec::new();
        put(&mut frame, client::COPY_FAIL, |out| {
            out.extend(why.as_bytes());
            out.push(0);
        });
        self.talk.sent(Origin::Client, Sent::CopyEnd);
        self.pipe.to_server.own(&frame);
    }

    fn message(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Result<Step, End> {
        let skipping = self.skipping_alone || self.talk.is_skipping();
        match header.tag {
            client::TERMINATE => Err(End::ClientLeft),
            client::SYNC => self.sync(header, rest, batch),
            // The server ignores data that comes after a COPY has failed.
            client::COPY_DATA | client::COPY_DONE | client::COPY_FAIL => Ok(self.drop_frame(header)),
            client::QUERY
            | client::PARSE
            | client::BIND
            | client::DESCRIBE
            | client::EXECUTE
            | client::CLOSE
            | client::FLUSH
            | client::FUNCTION_CALL
                if skipping =>
            {
                self.skip(header, rest)
            }
            client::QUERY => self.query(header, rest, batch),
            client::PARSE => self.parse(header, rest, batch),
            client::BIND => self.bind(header, rest, batch),
            client::DESCRIBE | client::CLOSE => self.describe_or_close(header, rest, batch),
            client::EXECUTE => self.execute(header, rest, batch),
            client::FLUSH => {
                let Some(frame) = whole(header, rest)? else {
                    return Ok(Step::Stop(Next::Wait));
                };
                self.talk.sent(Origin::Client, Sent::Flush);
                self.pipe.to_server.plain(frame);
                batch.consumed += frame.len();
                Ok(Step::Went)
            }
            client::FUNCTION_CALL => {
                if !self.talk.is_settled() {
                    return Ok(Step::Stop(Next::Settle));
                }
                let why = "the FunctionCall message is not served: call the function in a SELECT".to_owned();
                Ok(self.refused(Refusal::Unreadable { why }, header, rest, batch, true))
            }
            other => Err(End::Violation(format!(
                "message `{}` is not known and is refused",
                other.escape_ascii()
            ))),
        }
    }

    /// A message behind an error, which the server would skip: so it is not sent, and that is on record.
    fn skip(&mut self, header: Header, rest: &[u8]) -> Result<Step, End> {
        let carries_text = matches!(header.tag, client::QUERY | client::PARSE);
        if carries_text && header.body_bytes <= STATEMENT_BYTES_MAX {
            let Some(frame) = whole(header, rest)? else {
                return Ok(Step::Stop(Next::Wait));
            };
            self.record_skipped(header.tag, &frame[HEADER_BYTES..]);
        }
        Ok(self.drop_frame(header))
    }

    /// A message that is dropped is not waited for: its bytes go as they come.
    fn drop_frame(&mut self, header: Header) -> Step {
        self.dropping = header.frame_bytes();
        Step::Went
    }

    fn sync(&mut self, header: Header, rest: &[u8], batch: &mut Batch) -> Result<Step, End> {
        let Some(frame) = whole(header, rest)? else {
            return Ok(Step::Stop(Next::Wait));
        };
        if self.skipping_alone && !self.may_tell() {
            return Ok(Step::Stop(Next::Wait));
        }
        let alone = std::mem::take(&mut self.skipping_alone);
        if alone && !self.talk.has_open_pipeline() && !self.talk.is_skipping() {
            let status = self.talk.status();
            self.pipe.tell(|out| put_ready(out, status));
            batch.consumed += frame.len();
            // What is told cannot be taken back, so the turn ends here.
            return Ok(Step::Stop(Next::Again));
        } else {
            self.talk.sent(Origin::Client, Sent::Sync);
            self.pipe.to_server.plain(frame);
            batch.commits = true;
        }
        batch.consumed += frame.len();
        batch.parsed = None;
        Ok(Step::Went)
    }

    pub(super) fn put_flush(&mut self) {
        let mut frame = Vec::new();
        put(&mut frame, client::FLUSH, |_| {});
        self.talk.sent(Origin::Proxy, Sent::Flush);
        self.pipe.to_server.own(&frame);
        self.pipe.to_server.release_plain();
    }
}

/// The whole frame, if it is there. Errors: a small message that claims to be large, a body where there is none.
pub fn whole(header: Header, rest: &[u8]) -> Result<Option<&[u8]>, End> {
    let bodiless = matches!(header.tag, client::SYNC | client::FLUSH | client::COPY_DONE);
    if bodiless && header.body_bytes > 0 {
        return Err(End::Violation(format!(
            "message `{}` has a body",
            header.tag.escape_ascii()
        )));
    }
    let small = !matches!(header.tag, client::QUERY | client::PARSE | client::BIND);
    if small && header.body_bytes > SMALL_FRAME_BYTES_MAX {
        return Err(End::Violation(format!(
            "message `{}` is too long",
            header.tag.escape_ascii()
        )));
    }
    Ok(rest.get(..header.frame_bytes()))
}
