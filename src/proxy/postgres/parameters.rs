//! Parameter values as people read them, by their types, from text and binary format.
//! Never guesses: what cannot be decoded exactly is shown as hex. Read `park.rs` next.
//! Source: PostgreSQL's send functions (`*_send` in src/backend/utils/adt).

use crate::clock::Timestamp;
use crate::hold::{Parameter, ParameterFormat};
use crate::wire::bytes::{Malformed, Reader};
use crate::wire::postgres::message::Bind;

/// Longest value that is kept for people; a longer one is named by its length and its first bytes.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// 2000-01-01T00:00:00Z in microseconds since 1970.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The values of a Bind. `types`: what Parse or the server said of them; 0 or none is unknown.
pub fn decode(bind: &Bind<'_>, types: &[u32]) -> Vec<Parameter> {
    bind.values
        .iter()
        .enumerate()
        .map(|(at, value)| {
            let type_oid = types.get(at).copied().unwrap_or(0);
            let binary = bind.is_binary(at);
            parameter(at, type_oid, binary, *value)
        })
        .collect()
}

fn parameter(at: usize, type_oid: u32, binary: bool, value: Option<&[u8]>) -> Parameter {
    let kept = value.map(|bytes| &bytes[..bytes.len().min(VALUE_BYTES_MAX)]);
    let is_whole = kept.map(<[u8]>::len) == value.map(<[u8]>::len);
    let decoded = kept.filter(|_| is_whole).and_then(|bytes| {
        if binary {
            binary_text(type_oid, bytes).ok()
        } else {
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        }
    });
    let hex = match (&decoded, kept) {
        (None, Some(bytes)) => Some(hex(bytes)),
        _ => None,
    };
    Parameter {
        index: u16::try_from(at + 1).unwrap_or(u16::MAX),
        type_oid,
        type_name: type_name(type_oid),
        format: if binary {
            ParameterFormat::Binary
        } else {
            ParameterFormat::Text
        },
        value: decoded,
        hex,
        bytes: value.map_or(0, |bytes| bytes.len() as u64),
        redacted: Vec::new(),
    }
}

fn type_name(type_oid: u32) -> String {
    let name = match type_oid {
        0 => "unknown",
        16 => "boolean",
        17 => "bytea",
        18 => "\"char\"",
        19 => "name",
        20 => "bigint",
        21 => "smallint",
        23 => "integer",
        25 => "text",
        26 => "oid",
        114 => "json",
        700 => "real",
        701 => "double precision",
        1000 => "boolean[]",
        1005 => "smallint[]",
        1007 => "integer[]",
        1009 => "text[]",
        1015 => "character varying[]",
        1016 => "bigint[]",
        1042 => "character",
        1043 => "character varying",
        1082 => "date",
        1083 => "time",
        1114 => "timestamp",
        1184 => "timestamp with time zone",
        1186 => "interval",
        1700 => "numeric",
        2950 => "uuid",
        2951 => "uuid[]",
        3802 => "jsonb",
        other => return format!("type {other}"),
    };
    name.to_owned()
}

fn binary_text(type_oid: u32, bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader::new(bytes);
    let text = match type_oid {
        16 => match reader.u8()? {
            0 => "false".to_owned(),
            1 => "true".to_owned(),
            _ => return Err(Malformed("boolean")),
        },
        17 => format!("\\x{}", hex(reader.bytes(bytes.len())?)),
        19 | 25 | 114 | 1042 | 1043 => utf8(reader.bytes(bytes.len())?)?,
        20 => i64_of(&mut reader)?.to_string(),
        21 => i16::from_be_bytes(reader.u16()?.to_be_bytes()).to_string(),
        23 => reader.i32()?.to_string(),
        26 => reader.u32()?.to_string(),
        700 => f32::from_bits(reader.u32()?).to_string(),
        701 => f64::from_bits(i64_of(&mut reader)?.cast_unsigned()).to_string(),
        1082 => date(reader.i32()?)?,
        1114 => timestamp(i64_of(&mut reader)?)?.trim_end_matches('Z').to_owned(),
        1184 => timestamp(i64_of(&mut reader)?)?,
        1700 => numeric(&mut reader)?,
        2950 => uuid(reader.bytes(16)?),
        3802 => match reader.u8()? {
            1 => utf8(reader.bytes(bytes.len() - 1)?)?,
            _ => return Err(Malformed("jsonb version")),
        },
        1000 | 1005 | 1007 | 1009 | 1015 | 1016 | 2951 => array(&mut reader)?,
        _ => return Err(Malformed("a type that is not decoded")),
    };
    reader.end()?;
    Ok(text)
}

fn utf8(bytes: &[u8]) -> Result<String, Malformed> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| Malformed("text that is not UTF-8"))
}

fn i64_of(reader: &mut Reader<'_>) -> Result<i64, Malformed> {
    let high = i64::from(reader.i32()?);
    Ok(high << 32 | i64::from(reader.u32()?))
}

fn timestamp(micros: i64) -> Result<String, Malformed> {
    match micros {
        i64::MAX => Ok("infinity".to_owned()),
        i64::MIN => Ok("-infinity".to_owned()),
        _ => micros
            .checked_add(POSTGRES_EPOCH_MICROS)
            .map(|since_1970| Timestamp::from_micros(since_1970).to_string())
            .filter(|text| !text.is_empty())
            .ok_or(Malformed("timestamp out of range")),
    }
}

fn date(days: i32) -> Result<String, Malformed> {
    match days {
        i32::MAX => Ok("infinity".to_owned()),
        i32::MIN => Ok("-infinity".to_owned()),
        _ => {
            let text = timestamp(i64::from(days).saturating_mul(86_400_000_000))?;
            text.split('T').next().map(str::to_owned).ok_or(Malformed("date"))
        }
    }
}

fn uuid(bytes: &[u8]) -> String {
    let digits = hex(bytes);
    [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ]
    .join("-")
}

/// Shape: u16 digits, i16 weight, u16 sign, u16 scale, digits u16 in base 10,000.
fn numeric(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let count = usize::from(reader.u16()?);
    let weight = i32::from(i16::from_be_bytes(reader.u16()?.to_be_bytes()));
    let sign = reader.u16()?;
    let scale = usize::from(reader.u16()?);
    let digits = (0..count).map(|_| reader.u16()).collect::<Result<Vec<_>, _>>()?;
    let sign = match sign {
        0 => "",
        0x4000 => "-",
        0xC000 => return Ok("NaN".to_owned()),
        0xD000 => return Ok("Infinity".to_owned()),
        0xF000 => return Ok("-Infinity".to_owned()),
        _ => return Err(Malformed("numeric sign")),
    };
    if digits.iter().any(|digit| *digit > 9999) {
        return Err(Malformed("numeric digit"));
    }
    let digit = |place: i32| {
        let at = weight - place;
        usize::try_from(at)
            .ok()
            .and_then(|at| digits.get(at))
            .copied()
            .unwrap_or(0)
    };
    let mut whole: String = (0..=weight.max(0))
        .rev()
        .map(|place| format!("{:04}", digit(place)))
        .collect();
    let leading = whole.len() - whole.trim_start_matches('0').len();
    whole.drain(..leading.min(whole.len() - 1));
    let places = i32::try_from(scale.div_ceil(4)).map_err(|_| Malformed("numeric scale"))?;
    let mut fraction: String = (1..=places)
        .map(|place| format!("{:04}", digit(-place)))
        .collect();
    fraction.truncate(scale);
    Ok(if scale == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    })
}

/// Shape: i32 dimensions, i32 has NULLs, u32 element type, (i32 length, i32 lower bound)*, (i32 length, bytes)*.
/// One dimension only; others are shown as hex.
fn array(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let dimensions = reader.i32()?;
    reader.i32()?;
    let element = reader.u32()?;
    if dimensions == 0 {
        return Ok("{}".to_owned());
    }
    if dimensions != 1 {
        return Err(Malformed("an array of several dimensions"));
    }
    let count = usize::try_from(reader.i32()?).map_err(|_| Malformed("array length"))?;
    reader.i32()?;
    if reader.rest().len() < count.saturating_mul(4) {
        return Err(Malformed("array length"));
    }
    let mut elements = Vec::with_capacity(count);
    for _ in 0..count {
        elements.push(match reader.i32()? {
            -1 => "NULL".to_owned(),
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed("array element"))?;
                let text = binary_text(element, reader.bytes(length)?)?;
                format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
            }
        });
    }
    Ok(format!("{{{}}}", elements.join(",")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(type_oid: u32, hex_digits: &str) -> Option<String> {
        let bytes: Vec<u8> = (0..hex_digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex_digits[at..at + 2], 16).expect("hex"))
            .collect();
        parameter(0, type_oid, true, Some(&bytes)).value
    }

    /// The bytes are what PostgreSQL 15's send functions give, e.g. `SELECT numeric_send(-12345.678)`.
    #[test]
    fn binary_values_read_as_the_server_writes_them() {
        let cases = [
            (16, "01", "true"),
            (20, "ffffffffffffffff", "-1"),
            (21, "8000", "-32768"),
            (23, "0000002a", "42"),
            (25, "c3a9", "é"),
            (701, "3ff8000000000000", "1.5"),
            (1082, "00000000", "2000-01-01"),
            (1184, "0000000000000000", "2000-01-01T00:00:00Z"),
            (1700, "0003000140000003000109291a7c", "-12345.678"),
            (1700, "0000000000000000", "0"),
            (1700, "0001ffff0000000203e8", "0.10"),
            (1700, "0001000100000000000c", "120000"),
            (
                2950,
                "00112233445566778899aabbccddeeff",
                "00112233-4455-6677-8899-aabbccddeeff",
            ),
            (3802, "017b7d", "{}"),
            (
                1007,
                "0000000100000000000000170000000200000001000000040000000100000004fffffffe",
                "{\"1\",\"-2\"}",
            ),
        ];
        for (type_oid, bytes, expected) in cases {
            assert_eq!(
                shown(type_oid, bytes).as_deref(),
                Some(expected),
                "type {type_oid}"
            );
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_shown_as_hex() {
        for (type_oid, bytes) in [
            (99_999, vec![1, 2]),
            (16, vec![7]),
            (23, vec![1]),
            (25, vec![0xff]),
        ] {
            let shown = parameter(0, type_oid, true, Some(&bytes));
            assert_eq!(
                (shown.value, shown.hex),
                (None, Some(hex(&bytes))),
                "type {type_oid}"
            );
        }
        assert_eq!(parameter(0, 23, true, None).hex, None);
    }
}
