//! COM_STMT_EXECUTE: a prepared statement with its values, which can only be read by who remembers the statement.
//! Never remembers itself: who calls says what the statement has. Read `answer.rs` next.

use crate::wire::bytes::{Malformed, Reader};
use crate::wire::mysql::capability::Capabilities;
use crate::wire::mysql::command::{Code, body};
use crate::wire::mysql::parameter::{self, Kind, Kinds, Parameter};

/// Bits of the flags.
const CURSOR_READ_ONLY: u8 = 1;
const PARAMETER_COUNT_AVAILABLE: u8 = 8;
const FLAGS_KNOWN: u8 = 0x0f;

/// Stands for the statement prepared last, where a client did not wait for its number.
pub const LAST_PREPARED: u32 = u32::MAX;

/// What the packet does not say by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remembered<'k> {
    /// How many parameters the statement has, as its preparation said.
    pub parameters: usize,
    /// Their kinds at the last execution that the server has seen; empty: none yet.
    pub kinds: &'k [Kind],
    /// Which of them were sent before by COM_STMT_SEND_LONG_DATA.
    pub is_long: &'k [bool],
}

/// What begins the packet, for who must yet look up the statement.
/// Shape: u32 statement, u8 flags, u32 iterations, which are 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub statement: u32,
    pub flags: u8,
}

impl Head {
    /// Does not look at what is behind it.
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        Self::read(&mut body(payload, Code::StmtExecute)?)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let head = Self {
            statement: reader.u32_le()?,
            flags: reader.u8()?,
        };
        if reader.u32_le()? != 1 {
            return Err(Malformed("more or fewer than one iteration"));
        }
        if head.flags & !FLAGS_KNOWN != 0 {
            return Err(Malformed("flags that are not known"));
        }
        Ok(head)
    }

    /// Whether the rows are to be fetched one by one.
    pub fn wants_cursor(self) -> bool {
        self.flags & CURSOR_READ_ONLY != 0
    }

    fn has_count(self, capabilities: Capabilities, parameters: usize) -> bool {
        capabilities.has(Capabilities::QUERY_ATTRIBUTES)
            && (parameters > 0 || self.flags & PARAMETER_COUNT_AVAILABLE != 0)
    }
}

/// COM_STMT_EXECUTE.
/// Shape: head; with QUERY_ATTRIBUTES, and parameters or the flag PARAMETER_COUNT_AVAILABLE, lenenc n; if n > 0 NULL
///        bitmap of (n + 7) / 8 bytes, u8 whether types follow, n + (u16 type, with QUERY_ATTRIBUTES lenenc name), the
///        values that are neither NULL nor sent before. Without parameters the byte may be there none the less, as
///        Connector/J 5.1 sends it.
/// Units: the statement's own parameters come first; those behind them are attributes.
/// Errors: `Malformed` if a count promises more than there is, types are needed and not known, or bytes are left.
/// Source: MySQL internals, page_protocol_com_stmt_execute.html
#[derive(Clone, Debug, PartialEq)]
pub struct Execute<'a> {
    pub head: Head,
    pub kinds: Kinds,
    pub parameters: Vec<Parameter<'a>>,
}

impl<'a> Execute<'a> {
    pub fn decode(
        payload: &'a [u8],
        capabilities: Capabilities,
        remembered: Remembered<'_>,
    ) -> Result<Self, Malformed> {
        let mut reader = body(payload, Code::StmtExecute)?;
        let head = Head::read(&mut reader)?;
        let count = if head.has_count(capabilities, remembered.parameters) {
            parameter::count(&mut reader)?
        } else {
            remembered.parameters
        };
        if count < remembered.parameters {
            return Err(Malformed("fewer values than the statement has parameters"));
        }
        let (kinds, parameters) = if count == 0 && reader.is_empty() {
            (Kinds::Absent, Vec::new())
        } else {
            Self::values(&mut reader, count, capabilities, remembered)?
        };
        reader.end()?;
        Ok(Self {
            head,
            kinds,
            parameters,
        })
    }

    fn values(
        reader: &mut Reader<'a>,
        count: usize,
        capabilities: Capabilities,
        remembered: Remembered<'_>,
    ) -> Result<(Kinds, Vec<Parameter<'a>>), Malformed> {
        let bitmap = parameter::bitmap(reader, count)?;
        let (kinds, each) = if parameter::flag(reader)? {
            let are_named = capabilities.has(Capabilities::QUERY_ATTRIBUTES);
            (Kinds::New, parameter::new_kinds(reader, count, are_named)?)
        } else if remembered.kinds.len() == count {
            let each = remembered.kinds.iter().map(|kind| (*kind, &[][..]));
            (Kinds::Remembered, each.collect())
        } else {
            return Err(Malformed("values without types"));
        };
        let parameters = parameter::values(reader, bitmap, &each, remembered.is_long)?;
        Ok((kinds, parameters))
    }

    /// `parameters`: how many the statement has.
    pub fn encode(&self, capabilities: Capabilities, parameters: usize, out: &mut Vec<u8>) {
        out.push(Code::StmtExecute as u8);
        out.extend_from_slice(&self.head.statement.to_le_bytes());
        out.push(self.head.flags);
        out.extend_from_slice(&1_u32.to_le_bytes());
        if self.head.has_count(capabilities, parameters) {
            parameter::put_count(out, self.parameters.len());
        }
        let are_named = capabilities.has(Capabilities::QUERY_ATTRIBUTES);
        parameter::put(out, &self.parameters, self.kinds, are_named);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::mysql::parameter::{Clock, Date, Value, kind};

    const NONE: Capabilities = Capabilities(0);
    const ATTRIBUTES: Capabilities = Capabilities::QUERY_ATTRIBUTES;
    const STRING: Kind = Kind {
        code: kind::VAR_STRING,
        is_unsigned: false,
    };

    fn of(parameters: usize) -> Remembered<'static> {
        Remembered {
            parameters,
            ..Remembered::default()
        }
    }

    fn values<'a>(execute: &Execute<'a>) -> Vec<Value<'a>> {
        execute
            .parameters
            .iter()
            .map(|parameter| parameter.value)
            .collect()
    }

    #[test]
    fn values_are_read_by_their_types() {
        let date = Date {
            year: 2026,
            month: 7,
            day: 1,
        };
        let clock = |micros| Clock {
            hour: 23,
            minute: 59,
            second: 58,
            micros,
        };
        let cases: [(u8, bool, &[u8], Value<'_>); 15] = [
            (kind::TINY, false, b"\xff", Value::Signed(-1)),
            (kind::TINY, true, b"\xff", Value::Unsigned(255)),
            (kind::SHORT, false, b"\xfe\xff", Value::Signed(-2)),
            (
                kind::LONG,
                true,
                b"\xfe\xff\xff\xff",
                Value::Unsigned(0xffff_fffe),
            ),
            (
                kind::LONG,
                false,
                b"\x01\x00\x00\x80",
                Value::Signed(-0x7fff_ffff),
            ),
            (kind::LONGLONG, false, &[0xff; 8], Value::Signed(-1)),
            (kind::LONGLONG, true, &[0xff; 8], Value::Unsigned(u64::MAX)),
            (kind::FLOAT, false, b"\x00\x00\xc0\x3f", Value::Float(1.5)),
            (kind::DOUBLE, false, b"\0\0\0\0\0\0\xf8\x3f", Value::Double(1.5)),
            (kind::NEWDECIMAL, false, b"\x041.50", Value::Decimal(b"1.50")),
            (kind::BLOB, false, b"\x02\xff\x00", Value::Bytes(b"\xff\x00")),
            (kind::DATE, false, b"\x04\xea\x07\x07\x01", Value::Date(date)),
            (
                kind::DATETIME,
                false,
                b"\x0b\xea\x07\x07\x01\x17\x3b\x3a\x05\0\0\0",
                Value::DateTime {
                    date,
                    clock: clock(Some(5)),
                },
            ),
            (
                kind::TIME,
                false,
                b"\x08\x01\x02\0\0\0\x17\x3b\x3a",
                Value::Time {
                    is_negative: true,
                    days: 2,
                    clock: clock(None),
                },
            ),
            (kind::TIMESTAMP, false, b"\0", Value::Zero),
        ];
        for (code, is_unsigned, bytes, value) in cases {
            let sign = if is_unsigned { 0x80 } else { 0 };
            let mut payload = b"\x17\x01\0\0\0\0\x01\0\0\0\x00\x01".to_vec();
            payload.extend([code, sign]);
            payload.extend(bytes);
            let execute = Execute::decode(&payload, NONE, of(1)).unwrap();
            assert_eq!(values(&execute), [value]);
            let mut out = Vec::new();
            execute.encode(NONE, 1, &mut out);
            assert_eq!(out, payload);
            for end in 0..payload.len() {
                assert!(Execute::decode(&payload[..end], NONE, of(1)).is_err());
            }
            payload.push(0);
            assert!(Execute::decode(&payload, NONE, of(1)).is_err());
        }
        assert_eq!(clock(Some(5)).to_string(), "23:59:58.000005");
        assert_eq!(date.to_string(), "2026-07-01");
    }

    /// INT24, YEAR, NEWDATE, BIT, GEOMETRY, and one that nobody knows.
    #[test]
    fn types_that_servers_read_differently_are_malformed() {
        for code in [0x09, 0x0d, 0x0e, 0x10, 0xff, 0x77] {
            let payload = [
                &b"\x17\x01\0\0\0\0\x01\0\0\0\x00\x01"[..],
                &[code, 0],
                b"\x041234",
            ]
            .concat();
            assert!(Execute::decode(&payload, NONE, of(1)).is_err(), "{code}");
            let kinds = [Kind {
                code,
                is_unsigned: false,
            }];
            let remembered = Remembered {
                kinds: &kinds,
                ..of(1)
            };
            let payload = b"\x17\x01\0\0\0\0\x01\0\0\0\x00\x00\x041234";
            assert!(Execute::decode(payload, NONE, remembered).is_err(), "{code}");
        }
    }

    /// Servers make something else of each of them, mostly zero, with a warning or without.
    #[test]
    fn values_that_servers_change_are_malformed() {
        let cases: [(u8, &[u8]); 17] = [
            (kind::NEWDECIMAL, b"\x02x9"),
            (kind::DECIMAL, b"\x00"),
            (kind::DECIMAL, b"\x01."),
            (kind::DECIMAL, b"\x02-+"),
            (kind::DECIMAL, b"\x031 2"),
            (kind::DECIMAL, b"\x021e"),
            (kind::DECIMAL, b"\x031e+"),
            (kind::DECIMAL, b"\x061e1000"),
            (kind::DECIMAL, b"\x051.2.3"),
            (kind::DATE, b"\x04\xea\x07\x0d\x01"),
            (kind::DATE, b"\x04\xea\x07\x01\x20"),
            (kind::DATE, b"\x04\x10\x27\x01\x01"),
            (kind::DATETIME, b"\x07\xea\x07\x07\x01\x18\0\0"),
            (kind::DATETIME, b"\x07\xea\x07\x07\x01\0\x3c\0"),
            (kind::DATETIME, b"\x0b\xea\x07\x07\x01\0\0\0\x40\x42\x0f\0"),
            // 2^29 days are no hours in 32 bits.
            (kind::TIME, b"\x08\0\0\0\0\x20\0\0\0"),
            (kind::TIME, b"\x08\0\x22\0\0\0\x17\0\0"),
        ];
        for (code, bytes) in cases {
            let mut payload = b"\x17\x01\0\0\0\0\x01\0\0\0\x00\x01".to_vec();
            payload.extend([code, 0]);
            payload.extend(bytes);
            let execute = Execute::decode(&payload, NONE, of(1));
            assert!(execute.is_err(), "{code:#x} {bytes:02x?}");
        }
        for number in ["0", "+1", "-1.50", ".5", "1.", "1e5", "1E-99", "1.5e+07"] {
            let mut payload = b"\x17\x01\0\0\0\0\x01\0\0\0\x00\x01\xf6\x00".to_vec();
            payload.push(u8::try_from(number.len()).unwrap());
            payload.extend(number.as_bytes());
            let execute = Execute::decode(&payload, NONE, of(1)).unwrap();
            assert_eq!(values(&execute), [Value::Decimal(number.as_bytes())]);
        }
    }

    #[test]
    fn types_of_the_execution_before_are_taken_where_none_are_sent() {
        let payload = b"\x17\x01\0\0\0\0\x01\0\0\0\x02\x00\x01a";
        let remembered = Remembered {
            kinds: &[STRING, STRING],
            ..of(2)
        };
        let execute = Execute::decode(payload, NONE, remembered).unwrap();
        assert_eq!(values(&execute), [Value::Bytes(b"a"), Value::Null]);
        assert_eq!(
            Execute::decode(payload, NONE, of(2)),
            Err(Malformed("values without types"))
        );
    }

    #[test]
    fn what_was_sent_before_has_no_bytes_here() {
        let payload = b"\x17\x01\0\0\0\0\x01\0\0\0\x01\x01\xfc\x00\xfd\x00\x01a";
        let remembered = Remembered {
            is_long: &[true, false],
            ..of(2)
        };
        let execute = Execute::decode(payload, NONE, remembered).unwrap();
        let long = Value::Long { is_marked_null: true };
        assert_eq!(values(&execute), [long, Value::Bytes(b"a")]);
        // Servers call others malformed, and some keep the pieces for the next execution.
        for (code, is_served) in [
            (kind::TINY, false),
            (kind::NULL, false),
            (kind::VARCHAR, false),
            (kind::SET, false),
            (kind::TINY_BLOB, true),
            (kind::STRING, true),
        ] {
            let mut payload = payload.to_vec();
            payload[12] = code;
            let execute = Execute::decode(&payload, NONE, remembered);
            assert_eq!(execute.is_ok(), is_served, "{code:#x}");
        }
    }

    #[test]
    fn attributes_come_behind_the_parameters() {
        let payload = b"\x17\x01\0\0\0\x08\x01\0\0\0\x02\x00\x01\xfd\x00\x00\xfd\x00\x01k\x01a\x01v";
        let execute = Execute::decode(payload, ATTRIBUTES, of(1)).unwrap();
        assert_eq!(values(&execute), [Value::Bytes(b"a"), Value::Bytes(b"v")]);
        assert_eq!(execute.parameters[1].name, b"k");
        let fewer = b"\x17\x01\0\0\0\x08\x01\0\0\0\x00";
        assert!(Execute::decode(fewer, ATTRIBUTES, of(1)).is_err());
        assert!(Execute::decode(fewer, ATTRIBUTES, of(0)).is_ok());
    }

    #[test]
    fn a_statement_without_parameters_has_nothing_behind_its_head() {
        let head = b"\x17\x01\0\0\0\x01\x01\0\0\0";
        let execute = Execute::decode(head, NONE, of(0)).unwrap();
        assert!(execute.head.wants_cursor());
        assert_eq!(execute.kinds, Kinds::Absent);
        // Connector/J 5.1 says even so whether types follow.
        assert!(Execute::decode(&[&head[..], b"\x01"].concat(), NONE, of(0)).is_ok());
        assert!(Execute::decode(&[&head[..], b"\x01\x00"].concat(), NONE, of(0)).is_err());
        assert!(Execute::decode(b"\x17\x01\0\0\0\x00\x02\0\0\0", NONE, of(0)).is_err());
        assert!(Execute::decode(b"\x17\x01\0\0\0\x10\x01\0\0\0", NONE, of(0)).is_err());
    }
}
