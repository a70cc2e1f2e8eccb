//! Messages of the main phase: decoded from an exact frame body, encoded into a buffer.
//! Never decodes what only passes through. Read `conversation.rs` next.

use crate::wire::bytes::{Malformed, Reader};
use crate::wire::postgres::frame::put;

/// Type bytes that a client may send after log-in.
pub mod client {
    pub const QUERY: u8 = b'Q';
    pub const PARSE: u8 = b'P';
    pub const BIND: u8 = b'B';
    pub const DESCRIBE: u8 = b'D';
    pub const EXECUTE: u8 = b'E';
    pub const CLOSE: u8 = b'C';
    pub const SYNC: u8 = b'S';
    pub const FLUSH: u8 = b'H';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_FAIL: u8 = b'f';
    pub const FUNCTION_CALL: u8 = b'F';
    pub const TERMINATE: u8 = b'X';
    pub const PASSWORD: u8 = b'p';
}

/// Type bytes that a server sends after log-in.
pub mod server {
    pub const PARSE_COMPLETE: u8 = b'1';
    pub const BIND_COMPLETE: u8 = b'2';
    pub const CLOSE_COMPLETE: u8 = b'3';
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    pub const ROW_DESCRIPTION: u8 = b'T';
    pub const NO_DATA: u8 = b'n';
    pub const DATA_ROW: u8 = b'D';
    pub const COMMAND_COMPLETE: u8 = b'C';
    pub const EMPTY_QUERY: u8 = b'I';
    pub const PORTAL_SUSPENDED: u8 = b's';
    pub const ERROR: u8 = b'E';
    pub const NOTICE: u8 = b'N';
    pub const NOTIFICATION: u8 = b'A';
    pub const PARAMETER_STATUS: u8 = b'S';
    pub const READY: u8 = b'Z';
    pub const COPY_IN: u8 = b'G';
    pub const COPY_OUT: u8 = b'H';
    pub const COPY_BOTH: u8 = b'W';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const AUTHENTICATION: u8 = b'R';
    pub const BACKEND_KEY: u8 = b'K';
    pub const NEGOTIATE: u8 = b'v';
}

/// The text of a Query. Shape: text\0.
/// Errors: `Malformed` if the NUL is missing or not the last byte. The text may be any bytes but NUL.
/// Source: PostgreSQL docs, protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-QUERY
pub fn query_text(body: &[u8]) -> Result<&[u8], Malformed> {
    let mut reader = Reader::new(body);
    let text = reader.c_bytes()?;
    reader.end()?;
    Ok(text)
}

/// Parse, client to server.
/// Shape: name\0 text\0, u16 n + n u32 type OIDs (0: the server decides).
/// Errors: `Malformed` if a count promises more than the body holds, or bytes are left.
/// Source: PostgreSQL docs, protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-PARSE
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    pub name: &'a [u8],
    pub text: &'a [u8],
    pub types: Vec<u32>,
}

impl<'a> Parse<'a> {
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let name = reader.c_bytes()?;
        let text = reader.c_bytes()?;
        let count = usize::from(reader.u16()?);
        if reader.rest().len() != count * 4 {
            return Err(Malformed("Parse with a wrong count of types"));
        }
        let types = (0..count).map(|_| reader.u32()).collect::<Result<_, _>>()?;
        Ok(Self { name, text, types })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        put(out, client::PARSE, |out| {
            c_string(out, self.name);
            c_string(out, self.text);
            out.extend((self.types.len() as u16).to_be_bytes());
            self.types.iter().for_each(|oid| out.extend(oid.to_be_bytes()));
        });
    }
}

/// Bind, client to server.
/// Shape: portal\0 statement\0, u16 n + n format codes, u16 n + n values (i32 length + bytes),
///        u16 n + n result format codes.
/// Units: lengths in bytes; -1 is NULL and has no bytes; counts are unsigned.
/// Errors: `Malformed` if a count promises more than the body holds; nothing is allocated before.
/// Source: PostgreSQL docs, protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-BIND
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    pub portal: &'a [u8],
    pub statement: &'a [u8],
    /// 0 text, 1 binary; none: all text; one: for all.
    pub formats: Vec<u16>,
    pub values: Vec<Option<&'a [u8]>>,
    pub result_formats: Vec<u16>,
}

impl<'a> Bind<'a> {
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let portal = reader.c_bytes()?;
        let statement = reader.c_bytes()?;
        let formats = codes(&mut reader)?;
        let count = usize::from(reader.u16()?);
        if reader.rest().len() < count * 4 {
            return Err(Malformed("Bind with a wrong count of values"));
        }
        let values = (0..count)
            .map(|_| value(&mut reader))
            .collect::<Result<Vec<_>, _>>()?;
        let result_formats = codes(&mut reader)?;
        reader.end()?;
        if formats.len() > 1 && formats.len() != values.len() {
            return Err(Malformed("Bind with a wrong count of formats"));
        }
        Ok(Self {
            portal,
            statement,
            formats,
            values,
            result_formats,
        })
    }

    /// The two names at the start of a body that need not be whole.
    pub fn names(body: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Malformed> {
        let mut reader = Reader::new(body);
        Ok((reader.c_bytes()?, reader.c_bytes()?))
    }

    pub fn is_binary(&self, index: usize) -> bool {
        let code = match self.formats.as_slice() {
            [] => 0,
            [all] => *all,
            each => each.get(index).copied().unwrap_or(0),
        };
        code == 1
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        put(out, client::BIND, |out| {
            c_string(out, self.portal);
            c_string(out, self.statement);
            put_codes(out, &self.formats);
            out.extend((self.values.len() as u16).to_be_bytes());
            for value in &self.values {
                match value {
                    None => out.extend((-1i32).to_be_bytes()),
                    Some(bytes) => {
                        out.extend((bytes.len() as u32).to_be_bytes());
                        out.extend_from_slice(bytes);
                    }
                }
            }
            put_codes(out, &self.result_formats);
        });
    }
}

/// What a Describe or a Close names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    Statement(&'a [u8]),
    Portal(&'a [u8]),
}

impl<'a> Target<'a> {
    /// Shape: u8 'S' or 'P', name\0.
    /// Source: PostgreSQL docs, protocol-message-formats.html (Describe, Close)
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let kind = reader.u8()?;
        let name = reader.c_bytes()?;
        reader.end()?;
        match kind {
            b'S' => Ok(Self::Statement(name)),
            b'P' => Ok(Self::Portal(name)),
            _ => Err(Malformed("neither a statement nor a portal")),
        }
    }

    pub fn encode(self, tag: u8, out: &mut Vec<u8>) {
        let (kind, name) = match self {
            Self::Statement(name) => (b'S', name),
            Self::Portal(name) => (b'P', name),
        };
        put(out, tag, |out| {
            out.push(kind);
            c_string(out, name);
        });
    }
}

/// The portal of an Execute. Shape: portal\0, i32 row limit (0: none).
/// Source: PostgreSQL docs, protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-EXECUTE
pub fn execute_portal(body: &[u8]) -> Result<&[u8], Malformed> {
    execute(body).map(|(portal, _)| portal)
}

/// The portal of an Execute and its row limit; 0 or less: none.
pub fn execute(body: &[u8]) -> Result<(&[u8], i32), Malformed> {
    let mut reader = Reader::new(body);
    let portal = reader.c_bytes()?;
    let rows = reader.i32()?;
    reader.end()?;
    Ok((portal, rows))
}

pub fn put_execute(out: &mut Vec<u8>, portal: &[u8]) {
    put(out, client::EXECUTE, |out| {
        c_string(out, portal);
        out.extend([0; 4]);
    });
}

/// A Query frame; `text` has no NUL.
pub fn put_query(out: &mut Vec<u8>, text: &[u8]) {
    put(out, client::QUERY, |out| c_string(out, text));
}

/// Where the server stands between transactions.
/// Source: PostgreSQL docs, protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-READYFORQUERY
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Idle,
    InTransaction,
    Failed,
}

impl Status {
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        match body {
            b"I" => Ok(Self::Idle),
            b"T" => Ok(Self::InTransaction),
            b"E" => Ok(Self::Failed),
            _ => Err(Malformed("unknown transaction status")),
        }
    }

    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}

pub fn put_ready(out: &mut Vec<u8>, status: Status) {
    put(out, server::READY, |out| out.push(status.byte()));
}

/// Shape: name\0 value\0.
pub fn parameter_status(body: &[u8]) -> Result<(&str, &str), Malformed> {
    let mut reader = Reader::new(body);
    let pair = (reader.c_str()?, reader.c_str()?);
    reader.end()?;
    Ok(pair)
}

pub fn put_parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    put(out, server::PARAMETER_STATUS, |out| {
        c_string(out, name.as_bytes());
        c_string(out, value.as_bytes());
    });
}

/// The fields of an ErrorResponse or NoticeResponse that the proxy reads or writes.
/// Source: PostgreSQL docs, protocol-error-fields.html
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    pub severity: String,
    pub sqlstate: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
    pub routine: String,
}

impl Fields {
    /// Shape: (u8 field, text\0)*, \0. Text that is not UTF-8 is shown with marks: it is only recorded, never judged.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let mut fields = Self::default();
        loop {
            let kind = reader.u8()?;
            if kind == 0 {
                return Ok(fields);
            }
            let text = String::from_utf8_lossy(reader.c_bytes()?).into_owned();
            match kind {
                b'V' => fields.severity = text,
                b'C' => fields.sqlstate = text,
                b'M' => fields.message = text,
                b'D' => fields.detail = text,
                b'H' => fields.hint = text,
                b'R' => fields.routine = text,
                _ => {}
            }
        }
    }

    /// Whether the server closes the connection after it.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }

    /// `tag`: `server::ERROR` or `server::NOTICE`.
    pub fn put(&self, tag: u8, out: &mut Vec<u8>) {
        put(out, tag, |out| {
            let fields = [
                (b'S', &self.severity),
                (b'V', &self.severity),
                (b'C', &self.sqlstate),
                (b'M', &self.message),
                (b'D', &self.detail),
                (b'H', &self.hint),
                (b'R', &self.routine),
            ];
            for (kind, text) in fields {
                if !text.is_empty() {
                    out.push(kind);
                    c_string(out, text.as_bytes());
                }
            }
            out.push(0);
        });
    }
}

/// The columns of a DataRow. Shape: u16 n + n values (i32 length + bytes; -1 is NULL).
pub fn data_row(body: &[u8]) -> Result<Vec<Option<&[u8]>>, Malformed> {
    let mut reader = Reader::new(body);
    let count = usize::from(reader.u16()?);
    if reader.rest().len() < count * 4 {
        return Err(Malformed("DataRow with a wrong count of values"));
    }
    let values = (0..count)
        .map(|_| value(&mut reader))
        .collect::<Result<Vec<_>, _>>()?;
    reader.end()?;
    Ok(values)
}

/// What a RowDescription says of one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnDescription<'a> {
    pub name: &'a str,
    pub type_oid: u32,
    /// Bytes of a value; -1: they differ.
    pub type_length: i16,
    pub is_binary: bool,
}

/// Shape: u16 n + n (name\0, u32 table, u16 column, u32 type, i16 length, i32 modifier, u16 format).
/// Source: PostgreSQL docs, protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-ROWDESCRIPTION
pub fn put_row_description<'a>(
    out: &mut Vec<u8>,
    columns: impl ExactSizeIterator<Item = ColumnDescription<'a>>,
) {
    put(out, server::ROW_DESCRIPTION, |out| {
        out.extend((columns.len() as u16).to_be_bytes());
        for column in columns {
            c_string(out, column.name.as_bytes());
            out.extend([0; 6]);
            out.extend(column.type_oid.to_be_bytes());
            out.extend(column.type_length.to_be_bytes());
            out.extend((-1i32).to_be_bytes());
            out.extend(u16::from(column.is_binary).to_be_bytes());
        }
    });
}

/// Shape: u16 n + n u32 OIDs.
pub fn put_parameter_types(out: &mut Vec<u8>, types: impl ExactSizeIterator<Item = u32>) {
    put(out, server::PARAMETER_DESCRIPTION, |out| {
        out.extend((types.len() as u16).to_be_bytes());
        types.for_each(|oid| out.extend(oid.to_be_bytes()));
    });
}

pub fn put_command_complete(out: &mut Vec<u8>, tag: &str) {
    put(out, server::COMMAND_COMPLETE, |out| c_string(out, tag.as_bytes()));
}

/// The parameter types of a ParameterDescription. Shape: u16 n + n u32 OIDs.
pub fn parameter_types(body: &[u8]) -> Result<Vec<u32>, Malformed> {
    let mut reader = Reader::new(body);
    let count = usize::from(reader.u16()?);
    if reader.rest().len() != count * 4 {
        return Err(Malformed("ParameterDescription with a wrong count"));
    }
    (0..count).map(|_| reader.u32()).collect()
}

fn c_string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().filter(|byte| **byte != 0));
    out.push(0);
}

fn put_codes(out: &mut Vec<u8>, codes: &[u16]) {
    out.extend((codes.len() as u16).to_be_bytes());
    codes.iter().for_each(|code| out.extend(code.to_be_bytes()));
}

fn codes(reader: &mut Reader<'_>) -> Result<Vec<u16>, Malformed> {
    let count = usize::from(reader.u16()?);
    if reader.rest().len() < count * 2 {
        return Err(Malformed("wrong count of format codes"));
    }
    let codes = (0..count).map(|_| reader.u16()).collect::<Result<Vec<_>, _>>()?;
    if codes.iter().any(|code| *code > 1) {
        Err(Malformed("unknown format code"))
    } else {
        Ok(codes)
    }
}

fn value<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Malformed> {
    match reader.i32()? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| Malformed("value of a negative length"))?;
            reader.bytes(length).map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::postgres::frame;
    use proptest::prelude::*;

    fn word() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(1u8..=255, 0..12)
    }

    proptest! {
        #[test]
        fn bind_survives_a_round_trip(
            portal in word(), statement in word(),
            values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..9)), 0..5),
            format in 0u16..2, results in prop::collection::vec(0u16..2, 0..3),
        ) {
            let values: Vec<_> = values.iter().map(|value| value.as_deref()).collect();
            let bind = Bind { portal: &portal, statement: &statement, formats: vec![format], values, result_formats: results };
            let mut out = Vec::new();
            bind.encode(&mut out);
            let (_, body) = frame::cut(&out).expect("well formed").expect("whole");
            prop_assert_eq!(Bind::decode(body), Ok(bind.clone()));
            for end in 0..body.len() {
                prop_assert!(Bind::decode(&body[..end]).is_err());
            }
        }

        #[test]
        fn parse_survives_a_round_trip(name in word(), text in word(), types in prop::collection::vec(any::<u32>(), 0..4)) {
            let parse = Parse { name: &name, text: &text, types };
            let mut out = Vec::new();
            parse.encode(&mut out);
            let (_, body) = frame::cut(&out).expect("well formed").expect("whole");
            prop_assert_eq!(Parse::decode(body), Ok(parse.clone()));
        }

        #[test]
        fn any_body_decodes_or_fails(body in prop::collection::vec(any::<u8>(), 0..80)) {
            let _total = (Parse::decode(&body), Bind::decode(&body), Target::decode(&body), execute_portal(&body));
            let _total = (query_text(&body), Fields::decode(&body), data_row(&body), parameter_status(&body));
        }
    }

    #[test]
    fn a_query_with_something_behind_its_end_is_malformed() {
        assert!(query_text(b"SELECT 1\0Q\0\0\0\x06DROP\0").is_err());
        assert!(query_text(b"SELECT 1").is_err());
        assert_eq!(query_text(b"SELECT 1\0"), Ok(b"SELECT 1".as_slice()));
    }
}
