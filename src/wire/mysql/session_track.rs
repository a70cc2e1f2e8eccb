//! What a server says has changed in the session, behind its OK. Never keeps it: `proxy/mysql` does.
//! Read `rows.rs` next.

use crate::wire::bytes::{Malformed, Reader};
use crate::wire::mysql::bytes::put_lenenc_bytes;

const SYSTEM_VARIABLES: u8 = 0;
const SCHEMA: u8 = 1;
const STATE_CHANGE: u8 = 2;
const GTIDS: u8 = 3;
const TRANSACTION_CHARACTERISTICS: u8 = 4;
const TRANSACTION_STATE: u8 = 5;
/// From here on a byte would begin a longer number.
const KIND_MAX: u8 = 0xfa;

/// Units: names and values are in the session's character set.
/// Source: MySQL internals, page_protocol_basic_ok_packet.html#sect_protocol_basic_ok_packet_sessinfo
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Names and values. MySQL sends each in an entry of its own, MariaDB all in one.
    SystemVariables(Vec<(&'a [u8], &'a [u8])>),
    Schema(&'a [u8]),
    /// "1": something that a session has was made or changed.
    State(&'a [u8]),
    Gtids {
        encoding: u8,
        gtids: &'a [u8],
    },
    /// The statement that would begin such a transaction.
    TransactionCharacteristics(&'a [u8]),
    /// Eight letters, `_` where nothing is so.
    TransactionState(&'a [u8]),
    Other {
        kind: u8,
        data: &'a [u8],
    },
}

/// Shape: any number of (u8 kind, lenenc data); data is n + (lenenc name, lenenc value) for variables, u8 encoding and
///        lenenc text for GTIDs, the text as it is for a change of the state, or lenenc text.
/// Errors: `Malformed` if a length promises more than there is, or bytes are left.
pub fn decode(bytes: &[u8]) -> Result<Vec<Change<'_>>, Malformed> {
    let mut reader = Reader::new(bytes);
    let mut changes = Vec::new();
    while !reader.is_empty() {
        let kind = reader.u8()?;
        let data = reader.lenenc_bytes()?;
        changes.push(Change::decode(kind, data)?);
    }
    Ok(changes)
}

pub fn put(out: &mut Vec<u8>, changes: &[Change<'_>]) {
    let mut data = Vec::new();
    for change in changes {
        data.clear();
        let kind = change.put_data(&mut data);
        out.push(kind);
        put_lenenc_bytes(out, &data);
    }
}

impl<'a> Change<'a> {
    fn decode(kind: u8, data: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(data);
        let change = match kind {
            SYSTEM_VARIABLES => Self::SystemVariables(variables(&mut reader)?),
            SCHEMA => Self::Schema(reader.lenenc_bytes()?),
            STATE_CHANGE => Self::State(reader.take_rest()),
            GTIDS => Self::Gtids {
                encoding: reader.u8()?,
                gtids: reader.lenenc_bytes()?,
            },
            TRANSACTION_CHARACTERISTICS => Self::TransactionCharacteristics(reader.lenenc_bytes()?),
            TRANSACTION_STATE => Self::TransactionState(reader.lenenc_bytes()?),
            kind if kind <= KIND_MAX => Self::Other {
                kind,
                data: reader.take_rest(),
            },
            _ => return Err(Malformed("a change of no kind")),
        };
        reader.end()?;
        Ok(change)
    }

    /// Gives its kind.
    fn put_data(&self, out: &mut Vec<u8>) -> u8 {
        let (kind, text) = match *self {
            Self::SystemVariables(ref pairs) => {
                for (name, value) in pairs {
                    put_lenenc_bytes(out, name);
                    put_lenenc_bytes(out, value);
                }
                return SYSTEM_VARIABLES;
            }
            Self::Other { kind, data } => {
                out.extend_from_slice(data);
                return kind;
            }
            Self::State(text) => {
                out.extend_from_slice(text);
                return STATE_CHANGE;
            }
            Self::Gtids { encoding, gtids } => {
                out.push(encoding);
                (GTIDS, gtids)
            }
            Self::Schema(text) => (SCHEMA, text),
            Self::TransactionCharacteristics(text) => (TRANSACTION_CHARACTERISTICS, text),
            Self::TransactionState(text) => (TRANSACTION_STATE, text),
        };
        put_lenenc_bytes(out, text);
        kind
    }
}

/// A name and a value.
type Variable<'a> = (&'a [u8], &'a [u8]);

fn variables<'a>(reader: &mut Reader<'a>) -> Result<Vec<Variable<'a>>, Malformed> {
    let mut pairs = Vec::new();
    while !reader.is_empty() {
        pairs.push((reader.lenenc_bytes()?, reader.lenenc_bytes()?));
    }
    Ok(pairs)
}
