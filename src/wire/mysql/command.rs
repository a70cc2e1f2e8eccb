//! What a client asks for after log-in: every command's byte, and the content of those that are looked into.
//! Never decides what becomes of one: `proxy/mysql` does. Read `parameter.rs` and `execute.rs` next.
//!
//! A payload is a whole message with its first byte, the command. Source of all: MySQL internals,
//! page_protocol_command_phase.html; MariaDB docs, clientserver-protocol#commands

use crate::wire::bytes::{Malformed, Reader};
use crate::wire::mysql::capability::Capabilities;
use crate::wire::mysql::parameter::{self, Kinds, Parameter};

macro_rules! codes {
    ($($code:ident = $byte:literal $name:literal,)*) => {
        /// Every command that a server of MySQL 5.6 to 9 or a MariaDB knows or has ever known.
        /// Source: MySQL's include/my_command.h and MariaDB's include/mysql_com.h, enum_server_command
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Code {
            $($code = $byte,)*
        }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$code,)*];

            pub fn of(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$code),)*
                    _ => None,
                }
            }

            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)*
                }
            }
        }
    };
}

codes! {
    Sleep = 0x00 "COM_SLEEP",
    Quit = 0x01 "COM_QUIT",
    InitDb = 0x02 "COM_INIT_DB",
    Query = 0x03 "COM_QUERY",
    FieldList = 0x04 "COM_FIELD_LIST",
    CreateDb = 0x05 "COM_CREATE_DB",
    DropDb = 0x06 "COM_DROP_DB",
    Refresh = 0x07 "COM_REFRESH",
    Shutdown = 0x08 "COM_SHUTDOWN",
    Statistics = 0x09 "COM_STATISTICS",
    ProcessInfo = 0x0a "COM_PROCESS_INFO",
    Connect = 0x0b "COM_CONNECT",
    ProcessKill = 0x0c "COM_PROCESS_KILL",
    Debug = 0x0d "COM_DEBUG",
    Ping = 0x0e "COM_PING",
    Time = 0x0f "COM_TIME",
    DelayedInsert = 0x10 "COM_DELAYED_INSERT",
    ChangeUser = 0x11 "COM_CHANGE_USER",
    BinlogDump = 0x12 "COM_BINLOG_DUMP",
    TableDump = 0x13 "COM_TABLE_DUMP",
    ConnectOut = 0x14 "COM_CONNECT_OUT",
    RegisterReplica = 0x15 "COM_REGISTER_SLAVE",
    StmtPrepare = 0x16 "COM_STMT_PREPARE",
    StmtExecute = 0x17 "COM_STMT_EXECUTE",
    StmtSendLongData = 0x18 "COM_STMT_SEND_LONG_DATA",
    StmtClose = 0x19 "COM_STMT_CLOSE",
    StmtReset = 0x1a "COM_STMT_RESET",
    SetOption = 0x1b "COM_SET_OPTION",
    StmtFetch = 0x1c "COM_STMT_FETCH",
    Daemon = 0x1d "COM_DAEMON",
    BinlogDumpGtid = 0x1e "COM_BINLOG_DUMP_GTID",
    ResetConnection = 0x1f "COM_RESET_CONNECTION",
    Clone = 0x20 "COM_CLONE",
    SubscribeGroupReplicationStream = 0x21 "COM_SUBSCRIBE_GROUP_REPLICATION_STREAM",
    StmtBulkExecute = 0xfa "COM_STMT_BULK_EXECUTE",
    ReplicaWorker = 0xfb "COM_SLAVE_WORKER",
    ReplicaIo = 0xfc "COM_SLAVE_IO",
    ReplicaSql = 0xfd "COM_SLAVE_SQL",
    Multi = 0xfe "COM_MULTI",
}

/// What follows the command's byte. Errors: another command, or none.
pub(super) fn body(payload: &[u8], code: Code) -> Result<Reader<'_>, Malformed> {
    let mut reader = Reader::new(payload);
    reader.must_be(code as u8, "another command")?;
    Ok(reader)
}

/// COM_QUERY.
/// Shape: with QUERY_ATTRIBUTES lenenc n, lenenc number of sets, which is 1, and if n > 0 NULL bitmap of (n + 7) / 8
///        bytes, u8 1 (types follow), n + (u16 type, lenenc name), the values that are not NULL; then the text to the end.
/// Errors: `Malformed` if a count promises more than there is, or there is another number of sets than one.
/// Source: MySQL internals, page_protocol_com_query.html
#[derive(Clone, Debug, PartialEq)]
pub struct Query<'a> {
    pub attributes: Vec<Parameter<'a>>,
    pub text: &'a [u8],
}

impl<'a> Query<'a> {
    pub fn decode(payload: &'a [u8], capabilities: Capabilities) -> Result<Self, Malformed> {
        let mut reader = body(payload, Code::Query)?;
        let mut attributes = Vec::new();
        if capabilities.has(Capabilities::QUERY_ATTRIBUTES) {
            let count = parameter::count(&mut reader)?;
            if reader.lenenc()? != 1 {
                return Err(Malformed("more or fewer than one set of attributes"));
            }
            if count > 0 {
                attributes = parameter::decode_named(&mut reader, count)?;
            }
        }
        let text = reader.take_rest();
        Ok(Self { attributes, text })
    }

    pub fn encode(&self, capabilities: Capabilities, out: &mut Vec<u8>) {
        out.push(Code::Query as u8);
        if capabilities.has(Capabilities::QUERY_ATTRIBUTES) {
            parameter::put_count(out, self.attributes.len());
            out.push(1);
            if !self.attributes.is_empty() {
                parameter::put(out, &self.attributes, Kinds::New, true);
            }
        }
        out.extend_from_slice(self.text);
    }
}

/// The text of a COM_STMT_PREPARE. Shape: text to the end.
/// Source: MySQL internals, page_protocol_com_stmt_prepare.html
pub fn prepared_text(payload: &[u8]) -> Result<&[u8], Malformed> {
    Ok(body(payload, Code::StmtPrepare)?.take_rest())
}

/// The schema of a COM_INIT_DB. Shape: name to the end.
/// Source: MySQL internals, page_protocol_com_init_db.html
pub fn schema(payload: &[u8]) -> Result<&[u8], Malformed> {
    Ok(body(payload, Code::InitDb)?.take_rest())
}

/// A command that is one byte and nothing else. Errors: bytes behind it.
pub fn bare(payload: &[u8], code: Code) -> Result<(), Malformed> {
    body(payload, code)?.end()
}

pub fn put_text(out: &mut Vec<u8>, code: Code, text: &[u8]) {
    out.push(code as u8);
    out.extend_from_slice(text);
}

/// COM_STMT_SEND_LONG_DATA: a piece of one parameter's value, which has no answer.
/// Shape: u32 statement, u16 parameter (from 0), data to the end.
/// Source: MySQL internals, page_protocol_com_stmt_send_long_data.html
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongData<'a> {
    pub statement: u32,
    pub parameter: u16,
    pub data: &'a [u8],
}

impl<'a> LongData<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = body(payload, Code::StmtSendLongData)?;
        Ok(Self {
            statement: reader.u32_le()?,
            parameter: reader.u16_le()?,
            data: reader.take_rest(),
        })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(Code::StmtSendLongData as u8);
        out.extend_from_slice(&self.statement.to_le_bytes());
        out.extend_from_slice(&self.parameter.to_le_bytes());
        out.extend_from_slice(self.data);
    }
}

/// COM_STMT_FETCH. Shape: u32 statement, u32 rows.
/// Source: MySQL internals, page_protocol_com_stmt_fetch.html
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub statement: u32,
    pub rows: u32,
}

impl Fetch {
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = body(payload, Code::StmtFetch)?;
        let fetch = Self {
            statement: reader.u32_le()?,
            rows: reader.u32_le()?,
        };
        reader.end()?;
        Ok(fetch)
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(Code::StmtFetch as u8);
        out.extend_from_slice(&self.statement.to_le_bytes());
        out.extend_from_slice(&self.rows.to_le_bytes());
    }
}

/// What a COM_STMT_CLOSE or COM_STMT_RESET names by its statement, and a COM_PROCESS_KILL by its connection.
/// Shape: u32.
/// Source: MySQL internals, page_protocol_com_stmt_close.html, page_protocol_com_stmt_reset.html
pub fn id(payload: &[u8], code: Code) -> Result<u32, Malformed> {
    let mut reader = body(payload, code)?;
    let id = reader.u32_le()?;
    reader.end()?;
    Ok(id)
}

pub fn put_id(out: &mut Vec<u8>, code: Code, id: u32) {
    out.push(code as u8);
    out.extend_from_slice(&id.to_le_bytes());
}

/// COM_SET_OPTION: the one option that there is. Shape: u16, 0 on, 1 off.
/// Source: MySQL internals, page_protocol_com_set_option.html; enum_mysql_set_option
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultiStatements {
    On,
    Off,
}

impl MultiStatements {
    /// Errors: an option that neither server has.
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = body(payload, Code::SetOption)?;
        let option = reader.u16_le()?;
        reader.end()?;
        match option {
            0 => Ok(Self::On),
            1 => Ok(Self::Off),
            _ => Err(Malformed("an unknown option")),
        }
    }

    pub fn encode(self, out: &mut Vec<u8>) {
        let option: u16 = match self {
            Self::On => 0,
            Self::Off => 1,
        };
        out.push(Code::SetOption as u8);
        out.extend_from_slice(&option.to_le_bytes());
    }
}

/// COM_FIELD_LIST. Shape: table\0, wildcard to the end.
/// Errors: no NUL behind the table, or one in the wildcard, which a server would end there.
/// Source: MySQL internals, page_protocol_com_field_list.html
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldList<'a> {
    pub table: &'a [u8],
    pub wildcard: &'a [u8],
}

impl<'a> FieldList<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = body(payload, Code::FieldList)?;
        let table = reader.c_bytes()?;
        let wildcard = reader.take_rest();
        if wildcard.contains(&0) {
            return Err(Malformed("a wildcard with a NUL"));
        }
        Ok(Self { table, wildcard })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(Code::FieldList as u8);
        out.extend_from_slice(self.table);
        out.push(0);
        out.extend_from_slice(self.wildcard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::mysql::parameter::{Kind, Value, kind};

    const ATTRIBUTES: Capabilities = Capabilities::QUERY_ATTRIBUTES;
    const NONE: Capabilities = Capabilities(0);

    #[test]
    fn every_command_is_found_by_its_byte() {
        for code in Code::ALL {
            assert_eq!(Code::of(*code as u8), Some(*code));
            assert!(code.name().starts_with("COM_"));
        }
        let known = (0..=u8::MAX).filter(|byte| Code::of(*byte).is_some());
        assert_eq!(known.count(), Code::ALL.len());
    }

    /// As MySQL's documents print it for `SELECT 1` with an attribute of its client.
    #[test]
    fn a_query_is_read_behind_its_attributes() {
        let payload = b"\x03\x01\x01\x00\x01\xfe\x00\x02n1\x02v1SELECT 1";
        let query = Query::decode(payload, ATTRIBUTES).unwrap();
        assert_eq!(query.text, b"SELECT 1");
        let attribute = Parameter {
            name: b"n1",
            kind: Kind {
                code: kind::STRING,
                is_unsigned: false,
            },
            value: Value::Bytes(b"v1"),
        };
        assert_eq!(query.attributes, [attribute]);
        let mut out = Vec::new();
        query.encode(ATTRIBUTES, &mut out);
        assert_eq!(out, payload);
    }

    #[test]
    fn without_the_capability_all_is_text() {
        let payload = b"\x03\x00\x01SELECT 1";
        assert_eq!(Query::decode(payload, NONE).unwrap().text, b"\x00\x01SELECT 1");
        assert_eq!(Query::decode(payload, ATTRIBUTES).unwrap().text, b"SELECT 1");
    }

    #[test]
    fn attributes_that_could_hide_text_are_malformed() {
        for payload in [
            &b"\x03"[..],
            b"\x03\x00\x02SELECT 1",
            b"\x03\x00\x00SELECT 1",
            b"\x03\xfb\x01SELECT 1",
            b"\x03\xfe\x00\x00\x00\x00\x01\x00\x00\x00\x01SELECT 1",
            b"\x03\x01\x01\x00\x00\x02v1SELECT 1",
            b"\x03\x01\x01\x00\x02\xfe\x00\x02n1\x02v1SELECT 1",
            b"\x03\x01\x01\x02\x01\xfe\x00\x02n1\x02v1SELECT 1",
            b"\x03\x01\x01\x00\x01\xfe\x01\x02n1\x02v1SELECT 1",
            b"\x03\x01\x01\x00\x01\x06\x00\x02n1SELECT 1",
            b"\x03\x01\x01\x00\x01\x0d\x00\x02n1\x01\x00SELECT 1",
            b"\x03\x01\x01\x00\x01\xfe\x00\x02n1\xfe\x02\x00\x00\x00\x01\x00\x00\x00v1SELECT 1",
            b"\x16SELECT 1",
        ] {
            assert!(Query::decode(payload, ATTRIBUTES).is_err(), "{payload:x?}");
        }
    }

    #[test]
    fn commands_of_a_fixed_shape_take_nothing_else() {
        assert_eq!(id(b"\x19\x01\x02\0\0", Code::StmtClose), Ok(0x201));
        assert!(id(b"\x19\x01\x02\0\0\0", Code::StmtClose).is_err());
        assert!(id(b"\x19\x01\x02\0", Code::StmtClose).is_err());
        assert!(id(b"\x1a\x01\x02\0\0", Code::StmtClose).is_err());
        assert_eq!(bare(b"\x0e", Code::Ping), Ok(()));
        assert!(bare(b"\x0e\x00", Code::Ping).is_err());
        assert_eq!(MultiStatements::decode(b"\x1b\x01\0"), Ok(MultiStatements::Off));
        assert!(MultiStatements::decode(b"\x1b\x02\0").is_err());
        assert!(Fetch::decode(b"\x1c\x01\0\0\0\x02\0\0").is_err());
        let list = FieldList {
            table: b"t",
            wildcard: b"a%",
        };
        assert_eq!(FieldList::decode(b"\x04t\0a%"), Ok(list));
        assert!(FieldList::decode(b"\x04t").is_err());
        assert!(FieldList::decode(b"\x04t\0a\0b").is_err());
    }
}
