//! A result: how many columns, what they are, and rows of text. Never decodes a row that only passes through.
//! Read `conversation.rs` next.

use crate::wire::bytes::{Malformed, Reader};
use crate::wire::mysql::bytes::{NULL, put_lenenc, put_lenenc_bytes};
use crate::wire::mysql::capability::Capabilities;

/// How many bytes follow the names of a column's definition.
const FIXED_BYTES: u8 = 0x0c;

/// What begins a result.
/// Shape: lenenc columns, with MARIADB_CACHE_METADATA u8 whether their definitions follow.
/// Errors: `Malformed` if there are no columns, or bytes are left.
/// Source: MySQL internals, page_protocol_com_query_response_text_resultset.html; MariaDB docs, result-set-packets
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultHead {
    pub columns: u64,
    pub has_definitions: bool,
}

impl ResultHead {
    pub fn decode(payload: &[u8], capabilities: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let columns = reader.lenenc()?;
        if columns == 0 {
            return Err(Malformed("a result without columns"));
        }
        let has_definitions = if capabilities.has(Capabilities::MARIADB_CACHE_METADATA) {
            match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Malformed("neither yes nor no")),
            }
        } else {
            true
        };
        reader.end()?;
        Ok(Self {
            columns,
            has_definitions,
        })
    }

    pub fn encode(&self, capabilities: Capabilities, out: &mut Vec<u8>) {
        put_lenenc(out, self.columns);
        if capabilities.has(Capabilities::MARIADB_CACHE_METADATA) {
            out.push(u8::from(self.has_definitions));
        }
    }
}

/// Column definition, server to client.
/// Shape: lenenc "def", lenenc schema, lenenc table, lenenc table's own name, lenenc name, lenenc column's own name, with
///        MARIADB_EXTENDED_METADATA lenenc of more, u8 12, u16 character set, u32 width, u8 type, u16 flags, u8 decimals,
///        u16 0; in answer to COM_FIELD_LIST the default as a value of a row.
/// Errors: `Malformed` if a length promises more than there is, or bytes are left.
/// Source: MySQL internals, page_protocol_com_query_response_text_resultset_column_definition.html
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column<'a> {
    pub schema: &'a [u8],
    /// Its alias, where it has one.
    pub table: &'a [u8],
    pub table_itself: &'a [u8],
    /// Its alias, where it has one.
    pub name: &'a [u8],
    pub name_itself: &'a [u8],
    /// What MariaDB says besides of its type.
    pub extended: &'a [u8],
    pub character_set: u16,
    pub width: u32,
    pub code: u8,
    pub flags: u16,
    pub decimals: u8,
}

impl<'a> Column<'a> {
    pub fn decode(payload: &'a [u8], capabilities: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let column = Self::read(&mut reader, capabilities)?;
        reader.end()?;
        Ok(column)
    }

    /// With its default, as the answer to COM_FIELD_LIST has it. A server may leave it out.
    pub fn decode_listed(
        payload: &'a [u8],
        capabilities: Capabilities,
    ) -> Result<(Self, Option<&'a [u8]>), Malformed> {
        let mut reader = Reader::new(payload);
        let column = Self::read(&mut reader, capabilities)?;
        let default = if reader.is_empty() {
            None
        } else {
            reader.lenenc_or_null()?
        };
        reader.end()?;
        Ok((column, default))
    }

    fn read(reader: &mut Reader<'a>, capabilities: Capabilities) -> Result<Self, Malformed> {
        if reader.lenenc_bytes()? != b"def" {
            return Err(Malformed("a column of an unknown catalog"));
        }
        let (schema, table, table_itself) = (
            reader.lenenc_bytes()?,
            reader.lenenc_bytes()?,
            reader.lenenc_bytes()?,
        );
        let (name, name_itself) = (reader.lenenc_bytes()?, reader.lenenc_bytes()?);
        let extended = if capabilities.has(Capabilities::MARIADB_EXTENDED_METADATA) {
            reader.lenenc_bytes()?
        } else {
            &[]
        };
        reader.must_be(FIXED_BYTES, "a column of an unknown shape")?;
        let column = Self {
            schema,
            table,
            table_itself,
            name,
            name_itself,
            extended,
            character_set: reader.u16_le()?,
            width: reader.u32_le()?,
            code: reader.u8()?,
            flags: reader.u16_le()?,
            decimals: reader.u8()?,
        };
        if reader.u16_le()? != 0 {
            return Err(Malformed("a filler that is none"));
        }
        Ok(column)
    }

    pub fn encode(&self, capabilities: Capabilities, out: &mut Vec<u8>) {
        put_lenenc_bytes(out, b"def");
        for name in [
            self.schema,
            self.table,
            self.table_itself,
            self.name,
            self.name_itself,
        ] {
            put_lenenc_bytes(out, name);
        }
        if capabilities.has(Capabilities::MARIADB_EXTENDED_METADATA) {
            put_lenenc_bytes(out, self.extended);
        }
        out.push(FIXED_BYTES);
        out.extend_from_slice(&self.character_set.to_le_bytes());
        out.extend_from_slice(&self.width.to_le_bytes());
        out.push(self.code);
        out.extend_from_slice(&self.flags.to_le_bytes());
        out.extend_from_slice(&[self.decimals, 0, 0]);
    }
}

/// The values of a row of text. Shape: one lenenc text for each column, or u8 0xFB for NULL.
/// Errors: fewer values than columns, or bytes left.
/// Source: MySQL internals, page_protocol_com_query_response_text_resultset_row.html
pub fn text_row(payload: &[u8], columns: usize) -> Result<Vec<Option<&[u8]>>, Malformed> {
    if payload.len() < columns {
        return Err(Malformed("fewer values than columns"));
    }
    let mut reader = Reader::new(payload);
    let values = (0..columns)
        .map(|_| reader.lenenc_or_null())
        .collect::<Result<Vec<_>, _>>()?;
    reader.end()?;
    Ok(values)
}

pub fn put_text_row(out: &mut Vec<u8>, values: &[Option<&[u8]>]) {
    for value in values {
        match value {
            Some(text) => put_lenenc_bytes(out, text),
            None => out.push(NULL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Capabilities = Capabilities(0);

    #[test]
    fn a_row_has_as_many_values_as_columns() {
        let row = [Some(&b"a"[..]), None, Some(b"")];
        let mut out = Vec::new();
        put_text_row(&mut out, &row);
        assert_eq!(out, b"\x01a\xfb\x00");
        assert_eq!(text_row(&out, 3), Ok(row.to_vec()));
        assert!(text_row(&out, 2).is_err());
        assert!(text_row(&out, 4).is_err());
        assert!(text_row(&out, usize::MAX).is_err());
    }

    #[test]
    fn a_result_without_columns_is_none() {
        let head = ResultHead {
            columns: 300,
            has_definitions: true,
        };
        assert_eq!(ResultHead::decode(b"\xfc\x2c\x01", NONE), Ok(head));
        assert!(ResultHead::decode(b"\x00", NONE).is_err());
        let cached = Capabilities::MARIADB_CACHE_METADATA;
        assert!(ResultHead::decode(b"\x01", cached).is_err());
        assert_eq!(
            ResultHead::decode(b"\x01\x00", cached).map(|head| head.has_definitions),
            Ok(false)
        );
    }
}
