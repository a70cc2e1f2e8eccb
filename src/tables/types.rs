//! The types of columns: PostgreSQL's names and numbers for them, and values as text and as bytes.
//! Never converts by guess: what does not fit its type is an error. Read `moment.rs` for times.
//!
//! Why times are numbers inside: microseconds since 1970 in UTC compare, sort and subtract as they should, whatever the
//! client's zone. A date is the first microsecond of its day, an interval a number of microseconds (a month counts 30
//! days, except where a written interval is added to a time).

use rusqlite::types::Value;
use serde_json::Value as Json;

use super::error::{SqlError, state};
use super::moment;

/// Microseconds between 1970, from which we count, and 2000, from which PostgreSQL does.
const EPOCH_2000_MICROS: i64 = 946_684_800_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    /// One byte: `"char"`.
    Char,
    Name,
    Int2,
    Int4,
    Int8,
    Oid,
    Float8,
    Text,
    Json,
    /// JSON text inside.
    TextArray,
    /// JSON text inside.
    IntArray,
    Timestamp,
    Date,
    Interval,
    /// A literal or a parameter whose place decides.
    Unknown,
}

impl Type {
    pub const ALL: [Self; 15] = [
        Self::Bool,
        Self::Char,
        Self::Name,
        Self::Int2,
        Self::Int4,
        Self::Int8,
        Self::Oid,
        Self::Float8,
        Self::Text,
        Self::Json,
        Self::TextArray,
        Self::IntArray,
        Self::Timestamp,
        Self::Date,
        Self::Interval,
    ];

    /// Source: PostgreSQL sources, src/include/catalog/pg_type.dat
    pub const fn oid(self) -> u32 {
        match self {
            Self::Bool => 16,
            Self::Char => 18,
            Self::Name => 19,
            Self::Int8 => 20,
            Self::Int2 => 21,
            Self::Int4 => 23,
            Self::Text | Self::Unknown => 25,
            Self::Oid => 26,
            Self::Json => 114,
            Self::Float8 => 701,
            Self::TextArray => 1009,
            Self::IntArray => 1016,
            Self::Date => 1082,
            Self::Timestamp => 1184,
            Self::Interval => 1186,
        }
    }

    /// Bytes of a value; -1: they differ.
    pub const fn length(self) -> i16 {
        match self {
            Self::Bool | Self::Char => 1,
            Self::Int2 => 2,
            Self::Int4 | Self::Oid | Self::Date => 4,
            Self::Int8 | Self::Float8 | Self::Timestamp => 8,
            Self::Interval => 16,
            Self::Name => 64,
            Self::Text | Self::Unknown | Self::Json | Self::TextArray | Self::IntArray => -1,
        }
    }

    /// As `format_type` writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Char => "\"char\"",
            Self::Name => "name",
            Self::Int2 => "smallint",
            Self::Int4 => "integer",
            Self::Int8 => "bigint",
            Self::Oid => "oid",
            Self::Float8 => "double precision",
            Self::Text => "text",
            Self::Json => "json",
            Self::TextArray => "text[]",
            Self::IntArray => "bigint[]",
            Self::Timestamp => "timestamp with time zone",
            Self::Date => "date",
            Self::Interval => "interval",
            Self::Unknown => "unknown",
        }
    }

    /// As `pg_type.typname` has it.
    pub const fn internal_name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Char => "char",
            Self::Name => "name",
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Oid => "oid",
            Self::Float8 => "float8",
            Self::Text => "text",
            Self::Json => "json",
            Self::TextArray => "_text",
            Self::IntArray => "_int8",
            Self::Timestamp => "timestamptz",
            Self::Date => "date",
            Self::Interval => "interval",
            Self::Unknown => "unknown",
        }
    }

    /// The type that a client names for a parameter. Those without a twin here are read as text and decided by their
    /// place.
    pub const fn of_oid(oid: u32) -> Self {
        match oid {
            16 => Self::Bool,
            18 => Self::Char,
            19 => Self::Name,
            20 => Self::Int8,
            21 => Self::Int2,
            23 => Self::Int4,
            26 | 2205 => Self::Oid,
            25 | 1042 | 1043 => Self::Text,
            114 | 3802 => Self::Json,
            700 | 701 | 1700 => Self::Float8,
            1009 | 1015 | 1003 => Self::TextArray,
            1005 | 1007 | 1016 | 1028 => Self::IntArray,
            1082 => Self::Date,
            1114 | 1184 => Self::Timestamp,
            1186 => Self::Interval,
            _ => Self::Unknown,
        }
    }

    /// The type of this name, as a cast writes it.
    pub fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "bool" | "boolean" => Self::Bool,
            "char" => Self::Char,
            "name" => Self::Name,
            "int2" | "smallint" => Self::Int2,
            "int4" | "int" | "integer" => Self::Int4,
            "int8" | "bigint" | "xid" => Self::Int8,
            "oid" => Self::Oid,
            "float8" | "float4" | "real" | "float" | "double precision" | "numeric" | "decimal" => {
                Self::Float8
            }
            "text" | "varchar" | "bpchar" | "unknown" | "cstring" | "character varying" => Self::Text,
            "json" | "jsonb" => Self::Json,
            "timestamptz" | "timestamp" => Self::Timestamp,
            "date" => Self::Date,
            "interval" => Self::Interval,
            _ => return None,
        })
    }

    pub const fn is_integer(self) -> bool {
        matches!(self, Self::Int2 | Self::Int4 | Self::Int8 | Self::Oid)
    }

    pub const fn is_number(self) -> bool {
        self.is_integer() || matches!(self, Self::Float8)
    }

    pub const fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Name | Self::Char | Self::Json)
    }

    pub const fn is_array(self) -> bool {
        matches!(self, Self::TextArray | Self::IntArray)
    }

    /// The one that both sides of a comparison, or all branches of a choice, become.
    pub fn common(self, other: Self) -> Option<Self> {
        match (self, other) {
            (same, other) if same == other => Some(same),
            (Self::Unknown, known) | (known, Self::Unknown) => Some(known),
            (Self::Float8, other) | (other, Self::Float8) if other.is_number() => Some(Self::Float8),
            (Self::Oid, other) | (other, Self::Oid) if other.is_integer() => Some(Self::Oid),
            (left, right) if left.is_integer() && right.is_integer() => {
                Some(if left == Self::Int8 || right == Self::Int8 {
                    Self::Int8
                } else {
                    Self::Int4
                })
            }
            (left, right) if left.is_text() && right.is_text() => Some(Self::Text),
            (Self::Timestamp, Self::Date) | (Self::Date, Self::Timestamp) => Some(Self::Timestamp),
            (left, right) if left.is_array() && right.is_array() => Some(Self::TextArray),
            _ => None,
        }
    }

    /// A value as text, as PostgreSQL prints it. `None`: NULL.
    pub fn show(self, value: &Value) -> Result<Option<String>, SqlError> {
        Ok(Some(match (self, value) {
            (_, Value::Null) => return Ok(None),
            (Self::Bool, Value::Integer(number)) => (if *number == 0 { "f" } else { "t" }).to_owned(),
            (Self::Timestamp, Value::Integer(micros)) => moment::show(*micros),
            (Self::Date, Value::Integer(micros)) => moment::show_date(*micros),
            (Self::Interval, Value::Integer(micros)) => moment::show_interval(*micros),
            (Self::Interval, Value::Real(micros)) => moment::show_interval(*micros as i64),
            (Self::TextArray | Self::IntArray, Value::Text(json)) => show_array(json),
            (Self::Float8, Value::Integer(number)) => number.to_string(),
            (_, Value::Integer(number)) => self.in_range(*number)?.to_string(),
            (Self::Int2 | Self::Int4 | Self::Int8 | Self::Oid, Value::Real(_)) => {
                return Err(out_of_range(self));
            }
            (_, Value::Real(number)) => show_float(*number),
            (_, Value::Text(text)) => text.clone(),
            (_, Value::Blob(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        }))
    }

    /// A value in the binary format, appended. `false`: NULL.
    pub fn put_binary(self, value: &Value, out: &mut Vec<u8>) -> Result<bool, SqlError> {
        match (self, value) {
            (_, Value::Null) => return Ok(false),
            (Self::Bool, Value::Integer(number)) => out.push(u8::from(*number != 0)),
            (Self::Int2, Value::Integer(number)) => {
                let small = i16::try_from(*number).map_err(|_| out_of_range(self))?;
                out.extend(small.to_be_bytes());
            }
            (Self::Int4, Value::Integer(number)) => {
                let number = i32::try_from(*number).map_err(|_| out_of_range(self))?;
                out.extend(number.to_be_bytes());
            }
            (Self::Oid, Value::Integer(number)) => {
                let number = u32::try_from(*number).map_err(|_| out_of_range(self))?;
                out.extend(number.to_be_bytes());
            }
            (Self::Int8, Value::Integer(number)) => out.extend(number.to_be_bytes()),
            (Self::Float8, Value::Integer(number)) => out.extend((*number as f64).to_be_bytes()),
            (Self::Float8, Value::Real(number)) => out.extend(number.to_be_bytes()),
            (Self::Timestamp, Value::Integer(micros)) => {
                out.extend((micros - EPOCH_2000_MICROS).to_be_bytes());
            }
            (Self::Date, Value::Integer(micros)) => {
                let days = (micros - EPOCH_2000_MICROS).div_euclid(moment::DAY_MICROS);
                let days = i32::try_from(days).map_err(|_| out_of_range(self))?;
                out.extend(days.to_be_bytes());
            }
            (Self::Interval, Value::Integer(micros)) => {
                out.extend(micros.to_be_bytes());
                out.extend([0; 8]);
            }
            (Self::TextArray | Self::IntArray, Value::Text(json)) => self.put_array(json, out)?,
            _ => {
                let text = self.show(value)?.unwrap_or_default();
                out.extend_from_slice(text.as_bytes());
            }
        }
        Ok(true)
    }

    /// Shape: i32 dimensions, i32 has NULLs, u32 element type, i32 length and i32 lower bound, then (i32 length, bytes)*.
    /// Source: PostgreSQL sources, src/backend/utils/adt/arrayfuncs.c (array_send)
    fn put_array(self, json: &str, out: &mut Vec<u8>) -> Result<(), SqlError> {
        let elements = elements(json);
        let element = if self == Self::IntArray {
            Self::Int8
        } else {
            Self::Text
        };
        out.extend(i32::from(!elements.is_empty()).to_be_bytes());
        out.extend(i32::from(elements.contains(&Value::Null)).to_be_bytes());
        out.extend(element.oid().to_be_bytes());
        if elements.is_empty() {
            return Ok(());
        }
        out.extend((elements.len() as u32).to_be_bytes());
        out.extend(1u32.to_be_bytes());
        for value in &elements {
            put_counted(element, value, true, out)?;
        }
        Ok(())
    }

    fn in_range(self, number: i64) -> Result<i64, SqlError> {
        let fits = match self {
            Self::Int2 => i16::try_from(number).is_ok(),
            Self::Int4 => i32::try_from(number).is_ok(),
            Self::Oid => u32::try_from(number).is_ok(),
            _ => true,
        };
        if fits { Ok(number) } else { Err(out_of_range(self)) }
    }

    /// What a text means as a value of this type.
    pub fn read(self, text: &str) -> Result<Value, SqlError> {
        let wrong = || {
            SqlError::new(
                state::BAD_TEXT,
                format!(
                    "invalid input syntax for type {}: \"{}\"",
                    self.name(),
                    short(text)
                ),
                "write the value as PostgreSQL does",
            )
        };
        let trimmed = text.trim();
        Ok(match self {
            Self::Text | Self::Json | Self::Name | Self::Char | Self::Unknown => Value::Text(text.to_owned()),
            Self::Bool => Value::Integer(i64::from(match trimmed.to_ascii_lowercase().as_str() {
                "t" | "true" | "y" | "yes" | "on" | "1" => true,
                "f" | "false" | "n" | "no" | "off" | "0" => false,
                _ => return Err(wrong()),
            })),
            Self::Int2 | Self::Int4 | Self::Int8 | Self::Oid => {
                Value::Integer(self.in_range(trimmed.parse().map_err(|_| wrong())?)?)
            }
            Self::Float8 => Value::Real(trimmed.parse().map_err(|_| wrong())?),
            Self::Timestamp => Value::Integer(moment::parse(trimmed).ok_or_else(|| bad_moment(text))?),
            Self::Date => {
                let micros = moment::parse(trimmed).ok_or_else(|| bad_moment(text))?;
                Value::Integer(micros.div_euclid(moment::DAY_MICROS) * moment::DAY_MICROS)
            }
            Self::Interval => Value::Integer(moment::Span::parse(trimmed).ok_or_else(wrong)?.micros()),
            Self::TextArray | Self::IntArray => {
                let elements = read_array(trimmed).ok_or_else(wrong)?;
                let element = |text: Option<String>| match (text, self) {
                    (None, _) => Ok(Json::Null),
                    (Some(text), Self::IntArray) => text.parse::<i64>().map(Json::from).map_err(|_| wrong()),
                    (Some(text), _) => Ok(Json::from(text)),
                };
                let elements = elements.into_iter().map(element).collect::<Result<Vec<_>, _>>()?;
                Value::Text(Json::from(elements).to_string())
            }
        })
    }

    /// What the bytes of a binary parameter mean. `oid`: the type that the client names.
    pub fn read_binary(oid: u32, bytes: &[u8]) -> Result<Value, SqlError> {
        let wrong = || {
            SqlError::new(
                state::BAD_BINARY,
                format!("incorrect binary data for a parameter of type {oid}"),
                "send it as text",
            )
        };
        let integer = |bytes: &[u8]| match bytes.len() {
            2 => bytes.try_into().ok().map(i16::from_be_bytes).map(i64::from),
            4 if matches!(oid, 26 | 2205) => bytes.try_into().ok().map(u32::from_be_bytes).map(i64::from),
            4 => bytes.try_into().ok().map(i32::from_be_bytes).map(i64::from),
            8 => bytes.try_into().ok().map(i64::from_be_bytes),
            _ => None,
        };
        let text = || std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| wrong());
        Ok(match (oid, Self::of_oid(oid)) {
            (1700, _) => return Err(SqlError::unsupported("a binary numeric parameter")),
            (700, _) => Value::Real(f64::from(f32::from_be_bytes(
                bytes.try_into().map_err(|_| wrong())?,
            ))),
            (_, Self::Bool) => match bytes {
                [flag] => Value::Integer(i64::from(*flag != 0)),
                _ => return Err(wrong()),
            },
            (_, Self::Int2 | Self::Int4 | Self::Int8 | Self::Oid) => {
                Value::Integer(integer(bytes).ok_or_else(wrong)?)
            }
            (_, Self::Float8) => Value::Real(f64::from_be_bytes(bytes.try_into().map_err(|_| wrong())?)),
            (_, Self::Timestamp) => {
                let micros = i64::from_be_bytes(bytes.try_into().map_err(|_| wrong())?);
                Value::Integer(micros.checked_add(EPOCH_2000_MICROS).ok_or_else(wrong)?)
            }
            (_, Self::Date) => {
                let days = i32::from_be_bytes(bytes.try_into().map_err(|_| wrong())?);
                Value::Integer(i64::from(days) * moment::DAY_MICROS + EPOCH_2000_MICROS)
            }
            (_, Self::Interval) => {
                let bytes: [u8; 16] = bytes.try_into().map_err(|_| wrong())?;
                let (micros, rest) = bytes.split_first_chunk::<8>().ok_or_else(wrong)?;
                let (days, months) = rest.split_first_chunk::<4>().ok_or_else(wrong)?;
                let months = i32::from_be_bytes(months.try_into().map_err(|_| wrong())?);
                let days = i64::from(i32::from_be_bytes(*days)) + i64::from(months) * moment::MONTH_DAYS;
                let whole = days.checked_mul(moment::DAY_MICROS).ok_or_else(wrong)?;
                Value::Integer(i64::from_be_bytes(*micros).checked_add(whole).ok_or_else(wrong)?)
            }
            (_, Self::TextArray | Self::IntArray) => read_binary_array(bytes).ok_or_else(wrong)??,
            // jsonb has a version byte in front.
            (3802, _) => match text()?.strip_prefix('\u{1}') {
                Some(rest) => Value::Text(rest.to_owned()),
                None => return Err(wrong()),
            },
            (_, Self::Text | Self::Json | Self::Name | Self::Char | Self::Unknown) => Value::Text(text()?),
        })
    }
}

/// One value with its length in front, as a DataRow has it.
pub fn put_counted(ty: Type, value: &Value, is_binary: bool, out: &mut Vec<u8>) -> Result<(), SqlError> {
    let at = out.len();
    out.extend([0; 4]);
    let is_there = if is_binary {
        ty.put_binary(value, out)?
    } else {
        match ty.show(value)? {
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                true
            }
            None => false,
        }
    };
    let length = if is_there { (out.len() - at - 4) as i32 } else { -1 };
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// The elements of an array, which is JSON inside.
pub fn elements(json: &str) -> Vec<Value> {
    let Ok(Json::Array(elements)) = serde_json::from_str(json) else {
        return Vec::new();
    };
    let value = |element: Json| match element {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Integer(i64::from(flag)),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::Integer(number),
            (None, Some(number)) => Value::Real(number),
            (None, None) => Value::Text(number.to_string()),
        },
        Json::String(text) => Value::Text(text),
        other => Value::Text(other.to_string()),
    };
    elements.into_iter().map(value).collect()
}

/// As PostgreSQL writes an array: `{a,"b c",NULL}`.
fn show_array(json: &str) -> String {
    let shown = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => show_float(*number),
        Value::Blob(_) => String::new(),
        Value::Text(text) => {
            let is_plain = !text.is_empty()
                && !text.eq_ignore_ascii_case("null")
                && !text.contains(|letter: char| "{},\"\\".contains(letter) || letter.is_whitespace());
            if is_plain {
                text.clone()
            } else {
                format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
            }
        }
    };
    let elements: Vec<String> = elements(json).iter().map(shown).collect();
    format!("{{{}}}", elements.join(","))
}

/// An array of one dimension as text. `None`: it is none.
fn read_array(text: &str) -> Option<Vec<Option<String>>> {
    let inside = text.strip_prefix('{')?.strip_suffix('}')?;
    let (mut elements, mut element) = (Vec::new(), String::new());
    let (mut is_quoted, mut was_quoted) = (false, false);
    let mut letters = inside.chars();
    let mut finish = |element: &mut String, was_quoted: &mut bool| {
        let text = std::mem::take(element);
        let quoted = std::mem::take(was_quoted);
        let text = if quoted { text } else { text.trim().to_owned() };
        let is_null = !quoted && text.eq_ignore_ascii_case("null");
        elements.push((!is_null).then_some(text));
    };
    if inside.trim().is_empty() {
        return Some(Vec::new());
    }
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => element.push(letters.next()?),
            '"' => {
                is_quoted = !is_quoted;
                was_quoted = true;
            }
            ',' if !is_quoted => finish(&mut element, &mut was_quoted),
            '{' | '}' if !is_quoted => return None,
            other => element.push(other),
        }
    }
    finish(&mut element, &mut was_quoted);
    (!is_quoted).then_some(elements)
}

/// The array of `put_array`, of at most one dimension. `None`: it ends early.
fn read_binary_array(bytes: &[u8]) -> Option<Result<Value, SqlError>> {
    let number = |at: usize| -> Option<i32> {
        let bytes = bytes.get(at..at + 4)?;
        bytes.try_into().ok().map(i32::from_be_bytes)
    };
    let (dimensions, element) = (number(0)?, number(8)? as u32);
    let mut elements = Vec::new();
    if dimensions > 1 {
        return Some(Err(SqlError::unsupported("an array of several dimensions")));
    }
    if dimensions == 1 {
        let count = number(12)?;
        let mut at = 20;
        for _ in 0..count {
            let length = number(at)?;
            at += 4;
            let Ok(length) = usize::try_from(length) else {
                elements.push(Json::Null);
                continue;
            };
            let value = match Type::read_binary(element, bytes.get(at..at.checked_add(length)?)?) {
                Ok(value) => value,
                Err(error) => return Some(Err(error)),
            };
            elements.push(match value {
                Value::Integer(number) => Json::from(number),
                Value::Real(number) => Json::from(number),
                Value::Text(text) => Json::from(text),
                Value::Null | Value::Blob(_) => Json::Null,
            });
            at += length;
        }
    }
    Some(Ok(Value::Text(Json::from(elements).to_string())))
}

fn show_float(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        (if number > 0.0 { "Infinity" } else { "-Infinity" }).to_owned()
    } else {
        number.to_string()
    }
}

fn out_of_range(ty: Type) -> SqlError {
    SqlError::new(
        state::OUT_OF_RANGE,
        format!("{} out of range", ty.name()),
        "calculate with ::float8, or with smaller numbers",
    )
}

pub fn bad_moment(text: &str) -> SqlError {
    SqlError::new(
        state::BAD_DATETIME,
        format!("invalid input syntax for a time: \"{}\"", short(text)),
        "write it as 2026-01-31T23:59:59Z",
    )
}

/// What of a client's text stands in a message.
pub fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_written_as_they_are_read() {
        for text in ["{}", "{a,b}", "{\"a b\",NULL,\"NULL\",\"\"}", "{\"q\\\"\\\\\"}"] {
            let value = Type::TextArray.read(text).expect("an array");
            assert_eq!(Type::TextArray.show(&value), Ok(Some(text.to_owned())));
            let mut bytes = Vec::new();
            assert_eq!(Type::TextArray.put_binary(&value, &mut bytes), Ok(true));
            assert_eq!(Type::read_binary(1009, &bytes), Ok(value));
        }
        assert!(Type::TextArray.read("{{a},{b}}").is_err());
        assert!(Type::TextArray.read("{\"a}").is_err());
    }

    #[test]
    fn numbers_beyond_their_type_are_errors() {
        assert!(Type::Int2.read("40000").is_err());
        assert!(Type::Int4.show(&Value::Integer(1 << 40)).is_err());
        assert!(Type::Int8.show(&Value::Real(1e30)).is_err());
        assert!(Type::read_binary(23, &[1]).is_err());
    }

    #[test]
    fn a_time_is_the_same_as_text_and_as_bytes() {
        let value = Type::Timestamp.read("2026-01-31 01:30:00+02").expect("a time");
        assert_eq!(
            Type::Timestamp.show(&value),
            Ok(Some("2026-01-30 23:30:00+00".to_owned()))
        );
        let mut bytes = Vec::new();
        assert_eq!(Type::Timestamp.put_binary(&value, &mut bytes), Ok(true));
        assert_eq!(Type::read_binary(1184, &bytes), Ok(value));
    }
}
