//! How a server says that something is done, is wrong, goes on, or begins. Never decides which of them must come next.
//! Read `session_track.rs` and `rows.rs` next.
//!
//! A payload is a whole message. Source of all: MySQL internals, page_protocol_basic_response_packets.html

use crate::wire::bytes::{Malformed, Reader};
use crate::wire::mysql::bytes::{put_lenenc, put_lenenc_bytes, put_u24};
use crate::wire::mysql::capability::Capabilities;
use crate::wire::mysql::session_track::{self, Change};

pub const OK: u8 = 0x00;
pub const LOCAL_INFILE: u8 = 0xfb;
/// An EOF packet, an OK packet that ends rows, or the first byte of a row with a very long value.
pub const END: u8 = 0xfe;
pub const ERROR: u8 = 0xff;

/// An error of this number is none, but progress.
const PROGRESS_NUMBER: u16 = 0xffff;

/// Where the session stands, as bits.
/// Source: MySQL internals, mysql__com_8h.html, SERVER_STATUS_flags_enum
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Status(pub u16);

impl Status {
    pub const IN_TRANSACTION: Self = Self(1);
    pub const AUTOCOMMIT: Self = Self(2);
    pub const MORE_RESULTS: Self = Self(8);
    pub const CURSOR_EXISTS: Self = Self(0x40);
    pub const LAST_ROW_SENT: Self = Self(0x80);
    pub const NO_BACKSLASH_ESCAPES: Self = Self(0x200);
    /// The row is of a procedure's OUT parameters.
    pub const OUT_PARAMETERS: Self = Self(0x1000);
    pub const IN_READ_ONLY_TRANSACTION: Self = Self(0x2000);
    pub const SESSION_STATE_CHANGED: Self = Self(0x4000);
    /// MariaDB's own. MySQL never sets it.
    pub const ANSI_QUOTES: Self = Self(0x8000);

    pub fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Which first byte an OK packet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// 0x00: it answers a command.
    Answer,
    /// 0xFE: it ends rows, with DEPRECATE_EOF.
    EndOfRows,
}

/// OK packet, server to client.
/// Shape: u8 0x00 or 0xFE, lenenc affected rows, lenenc last id, u16 status, u16 warnings; then nothing, or lenenc info,
///        and with SESSION_TRACK and SESSION_STATE_CHANGED in the status lenenc changes.
/// Units: info is in the session's character_set_results. MySQL's documents have it go to the end without SESSION_TRACK; the
///        servers send its length all the same (Protocol_classic::send_ok), so both are read.
/// Errors: `Malformed` if a length promises more than there is, or bytes are left.
/// Source: MySQL internals, page_protocol_basic_ok_packet.html
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OkPacket<'a> {
    pub place: Place,
    pub affected_rows: u64,
    pub last_insert_id: u64,
    /// As sent: SESSION_STATE_CHANGED may be set where there is no change.
    pub status: Status,
    pub warnings: u16,
    pub info: &'a [u8],
    pub changes: Vec<Change<'a>>,
}

impl<'a> OkPacket<'a> {
    /// `capabilities`: those agreed on with this server.
    pub fn decode(payload: &'a [u8], capabilities: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let place = match reader.u8()? {
            OK => Place::Answer,
            END => Place::EndOfRows,
            _ => return Err(Malformed("another answer")),
        };
        let mut packet = Self {
            place,
            affected_rows: reader.lenenc()?,
            last_insert_id: reader.lenenc()?,
            status: Status(reader.u16_le()?),
            warnings: reader.u16_le()?,
            info: &[],
            changes: Vec::new(),
        };
        if !capabilities.has(Capabilities::SESSION_TRACK) {
            packet.info = info_to_the_end(reader.rest());
            return Ok(packet);
        }
        if !reader.is_empty() {
            packet.info = reader.lenenc_bytes()?;
            if packet.status.has(Status::SESSION_STATE_CHANGED) {
                packet.changes = session_track::decode(reader.lenenc_bytes()?)?;
            }
        }
        reader.end()?;
        Ok(packet)
    }

    /// `capabilities`: those agreed on with this client. Without SESSION_TRACK the changes are left out; the status says
    /// of changes what is there.
    pub fn encode(&self, capabilities: Capabilities, out: &mut Vec<u8>) {
        let has_changes = capabilities.has(Capabilities::SESSION_TRACK) && !self.changes.is_empty();
        let status = if has_changes {
            self.status.with(Status::SESSION_STATE_CHANGED)
        } else {
            self.status.without(Status::SESSION_STATE_CHANGED)
        };
        out.push(match self.place {
            Place::Answer => OK,
            Place::EndOfRows => END,
        });
        put_lenenc(out, self.affected_rows);
        put_lenenc(out, self.last_insert_id);
        out.extend_from_slice(&status.0.to_le_bytes());
        out.extend_from_slice(&self.warnings.to_le_bytes());
        if has_changes || !self.info.is_empty() {
            put_lenenc_bytes(out, self.info);
        }
        if has_changes {
            let mut changes = Vec::new();
            session_track::put(&mut changes, &self.changes);
            put_lenenc_bytes(out, &changes);
        }
    }
}

/// With a length that fits, or as it is.
fn info_to_the_end(rest: &[u8]) -> &[u8] {
    let mut reader = Reader::new(rest);
    match reader.lenenc_bytes() {
        Ok(info) if reader.is_empty() => info,
        _ => rest,
    }
}

/// ERR packet, server to client.
/// Shape: u8 0xFF, u16 number, '#' and 5 bytes of SQLSTATE, message to the end. Before a server knows what the client can do, the
///        SQLSTATE and its mark are missing.
/// Errors: `Malformed` if it is none, or is progress.
/// Source: MySQL internals, page_protocol_basic_err_packet.html
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrPacket<'a> {
    pub number: u16,
    pub sqlstate: Option<[u8; 5]>,
    pub message: &'a [u8],
}

impl<'a> ErrPacket<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        reader.must_be(ERROR, "no error")?;
        let number = reader.u16_le()?;
        if number == PROGRESS_NUMBER {
            return Err(Malformed("progress, no error"));
        }
        let rest = reader.take_rest();
        let (sqlstate, message) = match rest.strip_prefix(b"#").and_then(<[u8]>::split_first_chunk) {
            Some((sqlstate, message)) => (Some(*sqlstate), message),
            None => (None, rest),
        };
        Ok(Self {
            number,
            sqlstate,
            message,
        })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(ERROR);
        out.extend_from_slice(&self.number.to_le_bytes());
        if let Some(sqlstate) = self.sqlstate {
            out.push(b'#');
            out.extend_from_slice(&sqlstate);
        }
        out.extend_from_slice(self.message);
    }
}

/// How far a statement is, server to client, any number of times before its answer. Only with MARIADB_PROGRESS.
/// Shape: u8 0xFF, u16 0xFFFF, u8 number of strings, which is 1, u8 stage (from 1), u8 stages, u24 done, lenenc what is done.
/// Units: done in thousandths of a percent of the stage: 100000 is all.
/// Source: MariaDB docs, err_packet; MariaDB's sql/protocol.cc, net_send_progress_packet
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    pub stage: u8,
    pub stages: u8,
    pub done: u32,
    pub info: &'a [u8],
}

impl<'a> Progress<'a> {
    /// Whether it looks like one; its number is no error's.
    pub fn is_one(payload: &[u8]) -> bool {
        payload.starts_with(&[ERROR, 0xff, 0xff])
    }

    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        reader.must_be(ERROR, "no progress")?;
        if reader.u16_le()? != PROGRESS_NUMBER {
            return Err(Malformed("an error, no progress"));
        }
        reader.must_be(1, "progress of another number of strings")?;
        let progress = Self {
            stage: reader.u8()?,
            stages: reader.u8()?,
            done: reader.u24_le()?,
            info: reader.lenenc_bytes()?,
        };
        reader.end()?;
        Ok(progress)
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[ERROR, 0xff, 0xff, 1, self.stage, self.stages]);
        put_u24(out, self.done);
        put_lenenc_bytes(out, self.info);
    }
}

/// EOF packet, server to client, without DEPRECATE_EOF. Shape: u8 0xFE, u16 warnings, u16 status.
/// Source: MySQL internals, page_protocol_basic_eof_packet.html
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EofPacket {
    pub warnings: u16,
    pub status: Status,
}

impl EofPacket {
    /// A longer packet with the same first byte is a row.
    const BYTES: usize = 5;

    /// Whether it is one, where a row may stand too.
    pub fn is_one(payload: &[u8]) -> bool {
        payload.len() == Self::BYTES && payload[0] == END
    }

    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        reader.must_be(END, "no end")?;
        let packet = Self {
            warnings: reader.u16_le()?,
            status: Status(reader.u16_le()?),
        };
        reader.end()?;
        Ok(packet)
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(END);
        out.extend_from_slice(&self.warnings.to_le_bytes());
        out.extend_from_slice(&self.status.0.to_le_bytes());
    }
}

/// The first answer to a COM_STMT_PREPARE. The definitions of its parameters and of its columns follow.
/// Shape: u8 0x00, u32 statement, u16 columns, u16 parameters, u8 0, u16 warnings.
/// Source: MySQL internals, page_protocol_com_stmt_prepare.html#sect_protocol_com_stmt_prepare_response_ok
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrepareOk {
    pub statement: u32,
    pub columns: u16,
    pub parameters: u16,
    pub warnings: u16,
}

impl PrepareOk {
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        reader.must_be(OK, "another answer")?;
        let (statement, columns, parameters) = (reader.u32_le()?, reader.u16_le()?, reader.u16_le()?);
        reader.must_be(0, "a filler that is none")?;
        let warnings = reader.u16_le()?;
        reader.end()?;
        Ok(Self {
            statement,
            columns,
            parameters,
            warnings,
        })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(OK);
        out.extend_from_slice(&self.statement.to_le_bytes());
        out.extend_from_slice(&self.columns.to_le_bytes());
        out.extend_from_slice(&self.parameters.to_le_bytes());
        out.push(0);
        out.extend_from_slice(&self.warnings.to_le_bytes());
    }
}

/// The file that a server asks the client for. Shape: u8 0xFB, name to the end.
/// Source: MySQL internals, page_protocol_com_query_response_local_infile_request.html
pub fn local_infile(payload: &[u8]) -> Result<&[u8], Malformed> {
    let mut reader = Reader::new(payload);
    reader.must_be(LOCAL_INFILE, "no request for a file")?;
    Ok(reader.take_rest())
}

pub fn put_local_infile(out: &mut Vec<u8>, name: &[u8]) {
    out.push(LOCAL_INFILE);
    out.extend_from_slice(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Capabilities = Capabilities(0);
    const TRACK: Capabilities = Capabilities::SESSION_TRACK;

    #[test]
    fn changes_are_left_out_for_who_did_not_ask() {
        let packet = OkPacket {
            place: Place::Answer,
            affected_rows: 1,
            last_insert_id: 300,
            status: Status(0x4002),
            warnings: 0,
            info: b"all well",
            changes: vec![Change::Schema(b"app")],
        };
        let mut out = Vec::new();
        packet.encode(TRACK, &mut out);
        assert_eq!(
            out,
            b"\x00\x01\xfc\x2c\x01\x02\x40\x00\x00\x08all well\x06\x01\x04\x03app"
        );
        assert_eq!(OkPacket::decode(&out, TRACK), Ok(packet.clone()));
        out.clear();
        packet.encode(NONE, &mut out);
        assert_eq!(out, b"\x00\x01\xfc\x2c\x01\x02\x00\x00\x00\x08all well");
        let without = OkPacket {
            status: Status::AUTOCOMMIT,
            changes: Vec::new(),
            ..packet
        };
        assert_eq!(OkPacket::decode(&out, NONE), Ok(without));
    }

    #[test]
    fn info_without_its_length_goes_to_the_end() {
        let packet = OkPacket::decode(b"\x00\x00\x00\x02\x00\x00\x00Rows", NONE).unwrap();
        assert_eq!(packet.info, b"Rows");
        assert!(OkPacket::decode(b"\x00\x00\x00\x02\x00\x00\x00Rows", TRACK).is_err());
    }

    #[test]
    fn a_change_that_is_longer_than_it_says_is_malformed() {
        let head = b"\x00\x00\x00\x02\x40\x00\x00\x00";
        for changes in [
            &b"\x05\x01\x04\x03app"[..],
            b"\x06\x01\x03\x03app",
            b"\x07\x01\x05\x03app\x00",
            b"\x06\x01\x04\x03app\x00",
            b"\x02\xfb\x00",
            b"",
        ] {
            let payload = [&head[..], changes].concat();
            assert!(OkPacket::decode(&payload, TRACK).is_err(), "{changes:x?}");
        }
        let unknown = OkPacket::decode(b"\x00\x00\x00\x02\x40\x00\x00\x00\x03\x7e\x01a", TRACK).unwrap();
        assert_eq!(
            unknown.changes,
            [Change::Other {
                kind: 126,
                data: b"a"
            }]
        );
    }

    #[test]
    fn an_error_has_a_sqlstate_once_the_server_knows_the_client() {
        let packet = ErrPacket {
            number: 1045,
            sqlstate: Some(*b"28000"),
            message: b"Access denied",
        };
        let mut out = Vec::new();
        packet.encode(&mut out);
        assert_eq!(out, b"\xff\x15\x04#28000Access denied");
        assert_eq!(ErrPacket::decode(&out), Ok(packet));
        let early = ErrPacket::decode(b"\xff\x10\x04Too many connections").unwrap();
        assert_eq!((early.number, early.sqlstate), (1040, None));
        assert!(ErrPacket::decode(b"\xff\x10").is_err());
    }

    #[test]
    fn progress_is_no_error() {
        let progress = Progress {
            stage: 1,
            stages: 2,
            done: 33_300,
            info: b"copy to tmp table",
        };
        let mut out = Vec::new();
        progress.encode(&mut out);
        assert!(Progress::is_one(&out));
        assert_eq!(Progress::decode(&out), Ok(progress));
        assert!(ErrPacket::decode(&out).is_err());
        for end in 0..out.len() {
            assert!(Progress::decode(&out[..end]).is_err());
        }
    }

    #[test]
    fn the_other_answers_are_the_same_after_they_were_written() {
        let eof = EofPacket {
            warnings: 1,
            status: Status::MORE_RESULTS.with(Status::AUTOCOMMIT),
        };
        let mut out = Vec::new();
        eof.encode(&mut out);
        assert_eq!(out, b"\xfe\x01\x00\x0a\x00");
        assert!(EofPacket::is_one(&out));
        assert_eq!(EofPacket::decode(&out), Ok(eof));
        assert!(EofPacket::decode(&[&out[..], b"\0"].concat()).is_err());

        let prepared = PrepareOk {
            statement: 7,
            columns: 1,
            parameters: 2,
            warnings: 0,
        };
        out.clear();
        prepared.encode(&mut out);
        assert_eq!(PrepareOk::decode(&out), Ok(prepared));
        for end in 0..out.len() {
            assert!(PrepareOk::decode(&out[..end]).is_err());
        }
        assert_eq!(local_infile(b"\xfb/tmp/a"), Ok(&b"/tmp/a"[..]));
    }
}
