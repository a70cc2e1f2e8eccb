//! How far the answer to one command goes: which packets it has, which of them must be looked into, what they tell.
//! Never holds a packet back and never sends one. Read `proxy/mysql/relay.rs` next.
//!
//! Why one answer at a time: the proxy sends a command when the answer to the one before is complete, so no packet can
//! be taken for part of another command's answer.

use crate::wire::bytes::Malformed;
use crate::wire::mysql::answer::{
    self, END, ERROR, EofPacket, ErrPacket, OK, OkPacket, PrepareOk, Progress, Status,
};
use crate::wire::mysql::capability::Capabilities;
use crate::wire::mysql::packet::{Header, PAYLOAD_BYTES_MAX};
use crate::wire::mysql::rows::{self, Column, ResultHead};
use crate::wire::mysql::session_track::Change;

/// What a command is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// COM_QUERY, COM_STMT_EXECUTE: OK, an error, a request for a file, or result sets.
    Results,
    /// COM_STMT_PREPARE.
    Prepared,
    /// COM_STMT_FETCH: rows.
    Rows,
    /// COM_FIELD_LIST: columns.
    Fields,
    /// OK or an error; COM_SET_OPTION's may also be an EOF.
    Done,
    /// COM_STATISTICS: one packet, whatever it is.
    One,
}

/// What the server tells of the session's state, as far as texts mean something else by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracked {
    Variable { name: Vec<u8>, value: Vec<u8> },
    Schema(Vec<u8>),
}

/// What a part of an answer tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A statement without rows has ended.
    Ok {
        affected: u64,
        status: Status,
        changes: Vec<Tracked>,
    },
    /// A result set has ended.
    Rows {
        rows: u64,
        status: Status,
        changes: Vec<Tracked>,
    },
    /// The answer ends with an error.
    Failed {
        number: u16,
        sqlstate: String,
        message: String,
    },
    Prepared {
        statement: u32,
        parameters: u16,
    },
    /// The server wants a file of the client's, by this name.
    WantsFile {
        name: Vec<u8>,
    },
    /// A row of an answer to the proxy's own question.
    Row(Vec<Option<Vec<u8>>>),
    /// An error that answers nothing: the server is about to close.
    Unasked {
        number: u16,
        message: String,
    },
    /// The answer is complete.
    Complete,
}

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It is not looked into.
    Pass,
    /// Its whole payload is wanted.
    Whole,
}

/// What a packet that was looked into becomes for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Becomes {
    Itself,
    Another(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The first packet of a result.
    First,
    /// Column definitions of a result set.
    Columns {
        left: u64,
    },
    /// The EOF behind them, for those who have not given it up.
    ColumnsEnd,
    Rows,
    /// Definitions behind a PREPARE: of parameters, then of columns. An EOF stands behind each kind that there is.
    Definitions {
        left: u64,
        then: u64,
    },
    DefinitionsEnd {
        then: u64,
    },
    /// The client sends the file.
    File,
    Complete,
}

/// The answer to one command, as far as it has come.
#[derive(Clone, Debug)]
pub struct Answer {
    expected: Expected,
    stage: Stage,
    /// Agreed with the server.
    server: Capabilities,
    /// Agreed with the client.
    client: Capabilities,
    /// Rows are wanted: it answers the proxy itself.
    is_own: bool,
    /// Columns of this name come empty, whatever the server says.
    emptied: Option<fn(&[u8]) -> bool>,
    /// Which these are in the result at hand.
    empty_columns: Vec<usize>,
    rows: u64,
    columns: usize,
    /// The packet to come belongs to the message that is under way.
    is_continuing: bool,
}

impl Answer {
    pub fn to(expected: Expected, server: Capabilities, client: Capabilities, is_own: bool) -> Self {
        let stage = match expected {
            Expected::Rows | Expected::Fields => Stage::Rows,
            Expected::Results | Expected::Prepared | Expected::Done | Expected::One => Stage::First,
        };
        Self {
            expected,
            stage,
            server,
            client,
            is_own,
            emptied: None,
            empty_columns: Vec::new(),
            rows: 0,
            columns: 0,
            is_continuing: false,
        }
    }

    /// Has the columns whose names `is_one` picks come empty, in rows of text.
    pub fn emptying(mut self, is_one: fn(&[u8]) -> bool) -> Self {
        self.emptied = Some(is_one);
        self
    }

    pub fn is_complete(&self) -> bool {
        self.stage == Stage::Complete
    }

    /// Whether the server waits for the client's file.
    pub fn wants_file(&self) -> bool {
        self.stage == Stage::File
    }

    /// The file has been sent: what comes next is how that went.
    pub fn file_sent(&mut self) {
        if self.stage == Stage::File {
            self.stage = Stage::First;
        }
    }

    fn keeps_eof(&self) -> bool {
        !self.server.has(Capabilities::DEPRECATE_EOF)
    }

    /// Whether a packet must be seen whole, by its head and first byte.
    /// Errors: a packet where there can be none.
    pub fn look(&self, header: Header, first: Option<u8>) -> Result<Look, Malformed> {
        if self.is_continuing {
            return Ok(Look::Pass);
        }
        match self.stage {
            Stage::First if self.expected == Expected::One => Ok(Look::Pass),
            Stage::First | Stage::ColumnsEnd | Stage::DefinitionsEnd { .. } => Ok(Look::Whole),
            Stage::Columns { .. } if self.emptied.is_some() => Ok(Look::Whole),
            Stage::Columns { .. } | Stage::Definitions { .. } => Ok(Look::Pass),
            Stage::Rows if self.ends_rows(header, first) => Ok(Look::Whole),
            Stage::Rows if self.is_own || !self.empty_columns.is_empty() => Ok(Look::Whole),
            Stage::Rows => Ok(Look::Pass),
            // It has given up the statement.
            Stage::File if first == Some(ERROR) => Ok(Look::Whole),
            Stage::File => Err(Malformed("a packet while the client's file is awaited")),
            Stage::Complete => Err(Malformed("a packet that nothing asked for")),
        }
    }

    /// A row begins with a length or, in the binary protocol, with 0; only rows of 16 MiB and more begin with 0xFE too.
    fn ends_rows(&self, header: Header, first: Option<u8>) -> bool {
        match first {
            Some(ERROR) => true,
            Some(END) if self.keeps_eof() => header.payload_bytes < 9,
            Some(END) => header.payload_bytes < PAYLOAD_BYTES_MAX,
            Some(_) | None => false,
        }
    }

    /// Takes a packet that is passed on unseen.
    pub fn passed(&mut self, header: Header, news: &mut Vec<News>) {
        let begins = !self.is_continuing;
        self.is_continuing = header.is_continued();
        if begins {
            self.step(news);
        }
    }

    /// A message without a meaning of its own has begun.
    fn step(&mut self, news: &mut Vec<News>) {
        self.stage = match self.stage {
            Stage::First => self.complete(news),
            Stage::Columns { left: 1 } if self.keeps_eof() => Stage::ColumnsEnd,
            Stage::Columns { left: 1 } => Stage::Rows,
            Stage::Columns { left } => Stage::Columns { left: left - 1 },
            Stage::Rows => {
                self.rows += 1;
                Stage::Rows
            }
            Stage::Definitions { left: 1, then } if self.keeps_eof() => Stage::DefinitionsEnd { then },
            Stage::Definitions { left: 1, then } => self.definitions(then, 0, news),
            Stage::Definitions { left, then } => Stage::Definitions { left: left - 1, then },
            same @ (Stage::ColumnsEnd | Stage::DefinitionsEnd { .. } | Stage::File | Stage::Complete) => same,
        };
    }

    fn complete(&self, news: &mut Vec<News>) -> Stage {
        news.push(News::Complete);
        Stage::Complete
    }

    fn definitions(&self, first: u64, then: u64, news: &mut Vec<News>) -> Stage {
        match (first, then) {
            (0, 0) => self.complete(news),
            (0, left) => Stage::Definitions { left, then: 0 },
            (left, then) => Stage::Definitions { left, then },
        }
    }

    /// Takes a packet that was seen whole; `payload` is not empty.
    pub fn seen(&mut self, payload: &[u8], news: &mut Vec<News>) -> Result<Becomes, Malformed> {
        let Some(&first) = payload.first() else {
            return Err(Malformed("an empty packet in an answer"));
        };
        match self.stage {
            Stage::First => self.first(first, payload, news),
            Stage::ColumnsEnd => {
                let eof = EofPacket::decode(payload)?;
                self.stage = match eof.status.has(Status::CURSOR_EXISTS) {
                    false => Stage::Rows,
                    // The rows are fetched later.
                    true => self.rows_ended(eof.status, Vec::new(), news),
                };
                Ok(Becomes::Itself)
            }
            Stage::DefinitionsEnd { then } => {
                EofPacket::decode(payload)?;
                self.stage = self.definitions(then, 0, news);
                Ok(Becomes::Itself)
            }
            Stage::Rows => self.row(first, payload, news),
            Stage::File if first == ERROR => self.error(payload, news),
            Stage::Columns { left } => {
                let column = Column::decode(payload, self.server)?;
                if self.emptied.is_some_and(|is_one| is_one(column.name)) {
                    let left = usize::try_from(left).unwrap_or(self.columns);
                    self.empty_columns.push(self.columns.saturating_sub(left));
                }
                self.step(news);
                Ok(Becomes::Itself)
            }
            Stage::Definitions { .. } | Stage::File | Stage::Complete => {
                Err(Malformed("a packet out of place"))
            }
        }
    }

    fn first(&mut self, first: u8, payload: &[u8], news: &mut Vec<News>) -> Result<Becomes, Malformed> {
        match (first, self.expected) {
            (ERROR, _) => self.error(payload, news),
            (OK, Expected::Prepared) => {
                let prepared = PrepareOk::decode(payload)?;
                news.push(News::Prepared {
                    statement: prepared.statement,
                    parameters: prepared.parameters,
                });
                let (parameters, columns) = (prepared.parameters.into(), prepared.columns.into());
                self.stage = self.definitions(parameters, columns, news);
                Ok(Becomes::Itself)
            }
            (OK, Expected::Results | Expected::Done) => self.ok(payload, news),
            (END, Expected::Done) if payload.len() < 9 && self.keeps_eof() => {
                let eof = EofPacket::decode(payload)?;
                news.push(News::Ok {
                    affected: 0,
                    status: eof.status,
                    changes: Vec::new(),
                });
                self.stage = self.complete(news);
                Ok(Becomes::Itself)
            }
            (END, Expected::Done) => self.ok(payload, news),
            (answer::LOCAL_INFILE, Expected::Results) => {
                let name = payload[1..].to_vec();
                news.push(News::WantsFile { name });
                self.stage = Stage::File;
                Ok(Becomes::Itself)
            }
            (_, Expected::Results) => {
                let head = ResultHead::decode(payload, self.server)?;
                self.rows = 0;
                self.empty_columns.clear();
                self.columns = usize::try_from(head.columns).map_err(|_| Malformed("too many columns"))?;
                self.stage = match head.has_definitions {
                    true => Stage::Columns { left: head.columns },
                    false if self.keeps_eof() => Stage::ColumnsEnd,
                    false => Stage::Rows,
                };
                Ok(Becomes::Itself)
            }
            (_, Expected::Prepared | Expected::Done | Expected::Rows | Expected::Fields | Expected::One) => {
                Err(Malformed("an answer of another kind than was asked for"))
            }
        }
    }

    fn ok(&mut self, payload: &[u8], news: &mut Vec<News>) -> Result<Becomes, Malformed> {
        let ok = OkPacket::decode(payload, self.server)?;
        let becomes = self.told(&ok);
        news.push(News::Ok {
            affected: ok.affected_rows,
            status: ok.status,
            changes: tracked(&ok),
        });
        self.stage = match ok.status.has(Status::MORE_RESULTS) {
            false => self.complete(news),
            true => Stage::First,
        };
        Ok(becomes)
    }

    /// A client that did not ask for changes of the session's state could not read them.
    fn told(&self, ok: &OkPacket<'_>) -> Becomes {
        let asked = |side: Capabilities| side.has(Capabilities::SESSION_TRACK);
        if asked(self.server) && !asked(self.client) {
            let mut out = Vec::new();
            ok.encode(self.client, &mut out);
            return Becomes::Another(out);
        }
        Becomes::Itself
    }

    fn error(&mut self, payload: &[u8], news: &mut Vec<News>) -> Result<Becomes, Malformed> {
        if Progress::is_one(payload) {
            // The result is still to come.
            return Ok(Becomes::Itself);
        }
        let error = ErrPacket::decode(payload)?;
        news.push(News::Failed {
            number: error.number,
            sqlstate: sqlstate(&error),
            message: shown(error.message),
        });
        self.stage = self.complete(news);
        Ok(Becomes::Itself)
    }

    fn row(&mut self, first: u8, payload: &[u8], news: &mut Vec<News>) -> Result<Becomes, Malformed> {
        let header = Header {
            payload_bytes: payload.len(),
            sequence: 0,
        };
        if !self.ends_rows(header, Some(first)) {
            self.rows += 1;
            let mut row = rows::text_row(payload, self.columns)?;
            if !self.is_own {
                for column in &self.empty_columns {
                    if let Some(value) = row.get_mut(*column) {
                        *value = Some(&[]);
                    }
                }
                let mut out = Vec::new();
                rows::put_text_row(&mut out, &row);
                return Ok(Becomes::Another(out));
            }
            let owned = row.into_iter().map(|value| value.map(<[u8]>::to_vec));
            news.push(News::Row(owned.collect()));
            return Ok(Becomes::Itself);
        }
        if first == ERROR {
            return self.error(payload, news);
        }
        if self.keeps_eof() {
            let eof = EofPacket::decode(payload)?;
            self.stage = self.rows_ended(eof.status, Vec::new(), news);
            return Ok(Becomes::Itself);
        }
        let ok = OkPacket::decode(payload, self.server)?;
        let becomes = self.told(&ok);
        self.stage = self.rows_ended(ok.status, tracked(&ok), news);
        Ok(becomes)
    }

    fn rows_ended(&self, status: Status, changes: Vec<Tracked>, news: &mut Vec<News>) -> Stage {
        news.push(News::Rows {
            rows: self.rows,
            status,
            changes,
        });
        let has_more = status.has(Status::MORE_RESULTS) && self.expected == Expected::Results;
        if has_more {
            Stage::First
        } else {
            self.complete(news)
        }
    }
}

fn tracked(ok: &OkPacket<'_>) -> Vec<Tracked> {
    let mut tracked = Vec::new();
    for change in &ok.changes {
        match change {
            Change::SystemVariables(variables) => {
                tracked.extend(variables.iter().map(|(name, value)| Tracked::Variable {
                    name: name.to_vec(),
                    value: value.to_vec(),
                }));
            }
            Change::Schema(name) => tracked.push(Tracked::Schema(name.to_vec())),
            Change::State(_)
            | Change::Gtids { .. }
            | Change::TransactionCharacteristics(_)
            | Change::TransactionState(_)
            | Change::Other { .. } => {}
        }
    }
    tracked
}

/// For the log.
pub fn sqlstate(error: &ErrPacket<'_>) -> String {
    let state = error.sqlstate.unwrap_or(*b"HY000");
    state.escape_ascii().to_string()
}

/// An error's words for the log: they come in whatever character set the client wants results in.
pub fn shown(message: &[u8]) -> String {
    match std::str::from_utf8(message) {
        Ok(text) => text.to_owned(),
        Err(_) => message.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::mysql::bytes::put_lenenc;

    const OLD: Capabilities = Capabilities::PROTOCOL_41;

    fn tracking() -> Capabilities {
        OLD | Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK
    }

    /// Feeds packets one by one; gives what they told, and how often the client got other bytes than came.
    fn answered(answer: &mut Answer, packets: &[&[u8]]) -> Result<(Vec<News>, usize), Malformed> {
        let (mut news, mut changed) = (Vec::new(), 0);
        for (sequence, payload) in (1_u8..).zip(packets) {
            let header = Header {
                payload_bytes: payload.len(),
                sequence,
            };
            match answer.look(header, payload.first().copied())? {
                Look::Pass => answer.passed(header, &mut news),
                Look::Whole => match answer.seen(payload, &mut news)? {
                    Becomes::Itself => {}
                    Becomes::Another(_) => changed += 1,
                },
            }
        }
        Ok((news, changed))
    }

    fn eof(status: u16) -> Vec<u8> {
        [&[END, 0, 0][..], &status.to_le_bytes()].concat()
    }

    fn ok(first: u8, status: u16) -> Vec<u8> {
        [&[first, 1, 0][..], &status.to_le_bytes(), &[0, 0]].concat()
    }

    #[test]
    fn a_result_ends_at_its_second_eof() {
        let mut answer = Answer::to(Expected::Results, OLD, OLD, false);
        let packets: [&[u8]; 6] = [&[1], b"\x03def", &eof(2), b"\x01a", b"\x01b", &eof(2)];
        let (news, _) = answered(&mut answer, &packets).expect("an answer");
        let rows = News::Rows {
            rows: 2,
            status: Status(2),
            changes: Vec::new(),
        };
        assert_eq!(news, [rows, News::Complete]);
        assert!(answer.is_complete());
    }

    #[test]
    fn a_cursor_has_no_rows_of_its_own() {
        for (server, packets) in [
            (OLD, vec![vec![1], b"\x03def".to_vec(), eof(0x42)]),
            (
                OLD | Capabilities::DEPRECATE_EOF,
                vec![vec![1], b"\x03def".to_vec(), ok(END, 0x42)],
            ),
        ] {
            let mut answer = Answer::to(Expected::Results, server, server, false);
            let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
            answered(&mut answer, &packets).expect("an answer");
            assert!(answer.is_complete());
        }
    }

    #[test]
    fn several_results_are_one_answer() {
        let mut answer = Answer::to(Expected::Results, OLD, OLD, false);
        let packets: [&[u8]; 5] = [&ok(OK, 10), &[1], b"\x03def", &eof(2), &eof(10)];
        answered(&mut answer, &packets).expect("an answer");
        assert!(!answer.is_complete());
        let (news, _) = answered(&mut answer, &[b"\xff\x48\x04#42000no"]).expect("an answer");
        assert!(matches!(
            news[..],
            [News::Failed { number: 1096, .. }, News::Complete]
        ));
        assert!(answer.is_complete());
    }

    #[test]
    fn a_row_that_begins_like_an_end_is_told_by_its_length() {
        let mut answer = Answer::to(Expected::Results, tracking(), tracking(), false);
        answered(&mut answer, &[&[1], b"\x03def"]).expect("its head");
        let header = Header {
            payload_bytes: PAYLOAD_BYTES_MAX,
            sequence: 3,
        };
        assert_eq!(answer.look(header, Some(END)), Ok(Look::Pass));
        let mut news = Vec::new();
        answer.passed(header, &mut news);
        let rest = Header {
            payload_bytes: 5,
            sequence: 4,
        };
        // What is inside the second packet of a row means nothing.
        assert_eq!(answer.look(rest, Some(ERROR)), Ok(Look::Pass));
        answer.passed(rest, &mut news);
        assert!(news.is_empty() && !answer.is_complete());
        answered(&mut answer, &[&ok(END, 2)]).expect("its end");
        assert!(answer.is_complete());
    }

    #[test]
    fn definitions_of_a_prepared_statement_are_counted() {
        let prepared = [OK, 7, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0];
        let mut old = Answer::to(Expected::Prepared, OLD, OLD, false);
        let packets: [&[u8]; 6] = [&prepared, b"\x03def", b"\x03def", &eof(2), b"\x03def", &eof(2)];
        let (news, _) = answered(&mut old, &packets).expect("an answer");
        let told = News::Prepared {
            statement: 7,
            parameters: 2,
        };
        assert_eq!(news, [told, News::Complete]);
        let mut new = Answer::to(Expected::Prepared, tracking(), tracking(), false);
        let packets: [&[u8]; 4] = [&prepared, b"\x03def", b"\x03def", b"\x03def"];
        answered(&mut new, &packets).expect("an answer");
        assert!(new.is_complete());
    }

    #[test]
    fn what_the_session_has_become_is_told_to_the_proxy_alone() {
        let mut answer = Answer::to(
            Expected::Results,
            tracking(),
            OLD | Capabilities::DEPRECATE_EOF,
            false,
        );
        let mut payload = ok(OK, 0x4002);
        put_lenenc(&mut payload, 0);
        let change = b"\x00\x0f\x08sql_mode\x05xANSI";
        put_lenenc(&mut payload, change.len() as u64);
        payload.extend_from_slice(change);
        let (news, changed) = answered(&mut answer, &[&payload]).expect("an answer");
        let told = Tracked::Variable {
            name: b"sql_mode".to_vec(),
            value: b"xANSI".to_vec(),
        };
        assert!(
            matches!(&news[0], News::Ok { changes, .. } if *changes == [told]),
            "{news:?}"
        );
        assert_eq!(changed, 1);
    }

    #[test]
    fn progress_comes_before_the_answer_and_is_none() {
        let mut answer = Answer::to(Expected::Results, OLD, OLD, false);
        let progress = b"\xff\xff\xff\x01\x01\x01\x00\x00\x00\x01a";
        let (news, _) = answered(&mut answer, &[progress, progress]).expect("progress");
        assert!(news.is_empty() && !answer.is_complete());
    }

    #[test]
    fn a_file_is_awaited_until_it_has_been_sent() {
        let mut answer = Answer::to(Expected::Results, OLD, OLD, false);
        answered(&mut answer, &[b"\xfb/etc/passwd"]).expect("a request");
        assert!(answer.wants_file());
        assert!(answered(&mut answer, &[&ok(OK, 2)]).is_err());
        answer.file_sent();
        answered(&mut answer, &[&ok(OK, 2)]).expect("its end");
        assert!(answer.is_complete());
    }

    #[test]
    fn nothing_may_come_unasked_or_of_another_kind() {
        let mut done = Answer::to(Expected::Done, OLD, OLD, false);
        assert!(answered(&mut done, &[&[1]]).is_err());
        let mut prepared = Answer::to(Expected::Prepared, OLD, OLD, false);
        assert!(answered(&mut prepared, &[b"\xfb/etc/passwd"]).is_err());
        let mut over = Answer::to(Expected::Done, OLD, OLD, false);
        answered(&mut over, &[&ok(OK, 2)]).expect("an answer");
        assert!(answered(&mut over, &[&ok(OK, 2)]).is_err());
    }
}
