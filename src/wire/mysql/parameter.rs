//! Values that a client sends beside a text: a statement's parameters and a query's attributes.
//! Never guesses: a type that servers would read in more than one way is malformed. Read `execute.rs` next.
//!
//! Source of all: MySQL internals, page_protocol_com_stmt_execute.html, page_protocol_binary_resultset.html

use std::fmt;

use crate::wire::bytes::{Malformed, Reader};
use crate::wire::mysql::bytes::{put_lenenc, put_lenenc_bytes};

/// More than any server takes.
pub const PARAMETERS_MAX: usize = 0xffff;

/// Of a TIME.
const TIME_HOURS_MAX: u64 = 838;

/// What a value is encoded as. Shape: u8 type, u8 0x80 if it is unsigned or else 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    pub code: u8,
    pub is_unsigned: bool,
}

/// The types' bytes. Source: MySQL's include/field_types.h, enum_field_types
pub mod kind {
    pub const DECIMAL: u8 = 0x00;
    pub const TINY: u8 = 0x01;
    pub const SHORT: u8 = 0x02;
    pub const LONG: u8 = 0x03;
    pub const FLOAT: u8 = 0x04;
    pub const DOUBLE: u8 = 0x05;
    pub const NULL: u8 = 0x06;
    pub const TIMESTAMP: u8 = 0x07;
    pub const LONGLONG: u8 = 0x08;
    pub const DATE: u8 = 0x0a;
    pub const TIME: u8 = 0x0b;
    pub const DATETIME: u8 = 0x0c;
    pub const VARCHAR: u8 = 0x0f;
    pub const BIT: u8 = 0x10;
    pub const VECTOR: u8 = 0xf2;
    pub const JSON: u8 = 0xf5;
    pub const NEWDECIMAL: u8 = 0xf6;
    pub const ENUM: u8 = 0xf7;
    pub const SET: u8 = 0xf8;
    pub const TINY_BLOB: u8 = 0xf9;
    pub const MEDIUM_BLOB: u8 = 0xfa;
    pub const LONG_BLOB: u8 = 0xfb;
    pub const BLOB: u8 = 0xfc;
    pub const VAR_STRING: u8 = 0xfd;
    pub const STRING: u8 = 0xfe;
}

/// How the bytes of a kind are laid out.
#[derive(Clone, Copy)]
enum Layout {
    Integer { bytes: usize },
    Float,
    Double,
    Null,
    Decimal,
    Moment,
    Time,
    Bytes,
}

impl Kind {
    /// INT24, YEAR, NEWDATE, BIT and GEOMETRY are not among them: MariaDB 10.11 reads other bytes for them than MySQL 5.6.
    fn layout(self) -> Result<Layout, Malformed> {
        Ok(match self.code {
            kind::TINY => Layout::Integer { bytes: 1 },
            kind::SHORT => Layout::Integer { bytes: 2 },
            kind::LONG => Layout::Integer { bytes: 4 },
            kind::LONGLONG => Layout::Integer { bytes: 8 },
            kind::FLOAT => Layout::Float,
            kind::DOUBLE => Layout::Double,
            kind::NULL => Layout::Null,
            kind::DECIMAL | kind::NEWDECIMAL => Layout::Decimal,
            kind::DATE | kind::DATETIME | kind::TIMESTAMP => Layout::Moment,
            kind::TIME => Layout::Time,
            kind::VARCHAR | kind::VECTOR | kind::JSON | kind::ENUM | kind::SET => Layout::Bytes,
            kind::TINY_BLOB | kind::MEDIUM_BLOB | kind::LONG_BLOB | kind::BLOB => Layout::Bytes,
            kind::VAR_STRING | kind::STRING => Layout::Bytes,
            _ => return Err(Malformed("a value of a type that cannot be read")),
        })
    }

    /// As the servers see it: a VARCHAR may not.
    /// Source: MySQL's sql/sql_prepare.cc, setup_one_conversion_function
    fn may_come_in_pieces(self) -> bool {
        (kind::TINY_BLOB..=kind::STRING).contains(&self.code)
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let code = reader.u8()?;
        let is_unsigned = match reader.u8()? {
            0 => false,
            0x80 => true,
            _ => return Err(Malformed("a type with unknown flags")),
        };
        let kind = Self { code, is_unsigned };
        kind.layout()?;
        Ok(kind)
    }

    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.code, if self.is_unsigned { 0x80 } else { 0 }]);
    }
}

/// Where the types of the values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// There are no values, and not a byte that would say so.
    Absent,
    /// As in the execution before.
    Remembered,
    /// Before the values.
    New,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter<'a> {
    /// Empty: none. Only with QUERY_ATTRIBUTES.
    pub name: &'a [u8],
    pub kind: Kind,
    pub value: Value<'a>,
}

/// Units: micros are millionths of a second; `None` where they were not sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Null,
    Signed(i64),
    Unsigned(u64),
    Float(f32),
    Double(f64),
    /// Digits, as text.
    Decimal(&'a [u8]),
    /// A string or a blob, as its kind says, in the client's character set.
    Bytes(&'a [u8]),
    /// A moment or a time of no bytes: all zero.
    Zero,
    Date(Date),
    DateTime {
        date: Date,
        clock: Clock,
    },
    Time {
        is_negative: bool,
        days: u32,
        clock: Clock,
    },
    /// Sent before, by COM_STMT_SEND_LONG_DATA, which counts even where the bitmap says NULL.
    Long {
        is_marked_null: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    pub year: u16,
    pub month: u8,
    pub day: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub micros: Option<u32>,
}

impl<'a> Value<'a> {
    fn decode(reader: &mut Reader<'a>, kind: Kind) -> Result<Self, Malformed> {
        match kind.layout()? {
            Layout::Integer { bytes } => integer(reader, bytes, kind.is_unsigned),
            Layout::Float => Ok(Self::Float(f32::from_bits(reader.u32_le()?))),
            Layout::Double => Ok(Self::Double(f64::from_bits(reader.u64_le()?))),
            Layout::Null => Err(Malformed("a NULL that is not in the bitmap")),
            Layout::Decimal => decimal(reader),
            Layout::Moment => moment(reader),
            Layout::Time => time(reader),
            Layout::Bytes => Ok(Self::Bytes(reader.lenenc_bytes()?)),
        }
    }

    fn put(&self, out: &mut Vec<u8>, kind: Kind) {
        match *self {
            Self::Null | Self::Long { .. } => {}
            Self::Signed(number) => put_integer(out, number as u64, kind),
            Self::Unsigned(number) => put_integer(out, number, kind),
            Self::Float(number) => out.extend_from_slice(&number.to_bits().to_le_bytes()),
            Self::Double(number) => out.extend_from_slice(&number.to_bits().to_le_bytes()),
            Self::Decimal(bytes) | Self::Bytes(bytes) => put_lenenc_bytes(out, bytes),
            Self::Zero => out.push(0),
            Self::Date(date) => {
                out.push(4);
                date.put(out);
            }
            Self::DateTime { date, clock } => {
                out.push(7 + clock.micros_bytes());
                date.put(out);
                clock.put(out);
            }
            Self::Time {
                is_negative,
                days,
                clock,
            } => {
                out.push(8 + clock.micros_bytes());
                out.push(u8::from(is_negative));
                out.extend_from_slice(&days.to_le_bytes());
                clock.put(out);
            }
        }
    }

    fn is_in_bitmap(&self) -> bool {
        matches!(self, Self::Null | Self::Long { is_marked_null: true })
    }
}

fn integer<'a>(reader: &mut Reader<'a>, bytes: usize, is_unsigned: bool) -> Result<Value<'a>, Malformed> {
    let taken = reader.bytes(bytes)?;
    let mut wide = [0; 8];
    wide[..bytes].copy_from_slice(taken);
    if is_unsigned {
        return Ok(Value::Unsigned(u64::from_le_bytes(wide)));
    }
    // Shifted up and down again, so that the sign goes along.
    let unused_bits = 64 - 8 * bytes as u32;
    Ok(Value::Signed(
        i64::from_le_bytes(wide) << unused_bits >> unused_bits,
    ))
}

fn put_integer(out: &mut Vec<u8>, number: u64, kind: Kind) {
    if let Ok(Layout::Integer { bytes }) = kind.layout() {
        out.extend_from_slice(&number.to_le_bytes()[..bytes]);
    }
}

/// A number as text. Servers make zero of what is none, whatever it says, and of one whose exponent they cannot read.
/// Shape: lenenc length; `+` or `-` or neither, digits, which may have a point among them, `e` and a number of three digits
/// at most or neither.
fn decimal<'a>(reader: &mut Reader<'a>) -> Result<Value<'a>, Malformed> {
    let bytes = reader.lenenc_bytes()?;
    let is_number = std::str::from_utf8(bytes).is_ok_and(is_decimal);
    is_number
        .then_some(Value::Decimal(bytes))
        .ok_or(Malformed("a decimal that is no number"))
}

fn is_decimal(text: &str) -> bool {
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, unsigned(exponent)),
        None => (text, "0"),
    };
    let mantissa = unsigned(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    are_digits(whole)
        && are_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && are_digits(exponent)
        && (1..=3).contains(&exponent.len())
}

fn unsigned(number: &str) -> &str {
    number.strip_prefix(['+', '-']).unwrap_or(number)
}

/// Shape: u8 length, which is 0, 4, 7 or 11; u16 year, u8 month, u8 day; u8 hour, u8 minute, u8 second; u32 micros.
fn moment<'a>(reader: &mut Reader<'a>) -> Result<Value<'a>, Malformed> {
    let mut reader = Reader::new(reader.lenenc_bytes()?);
    let length = reader.rest().len();
    match length {
        0 => Ok(Value::Zero),
        4 => Ok(Value::Date(Date::decode(&mut reader)?)),
        7 | 11 => {
            let date = Date::decode(&mut reader)?;
            let clock = Clock::decode(&mut reader)?;
            match clock.hour {
                0..=23 => Ok(Value::DateTime { date, clock }),
                _ => Err(Malformed("a clock that does not exist")),
            }
        }
        _ => Err(Malformed("a date of an unknown length")),
    }
}

/// Shape: u8 length, which is 0, 8 or 12; u8 is negative, u32 days, u8 hour, u8 minute, u8 second; u32 micros.
fn time<'a>(reader: &mut Reader<'a>) -> Result<Value<'a>, Malformed> {
    let mut reader = Reader::new(reader.lenenc_bytes()?);
    match reader.rest().len() {
        0 => Ok(Value::Zero),
        8 | 12 => {
            let is_negative = flag(&mut reader)?;
            let days = reader.u32_le()?;
            let clock = Clock::decode(&mut reader)?;
            // Servers count the hours in 32 bits, and cut them off.
            if u64::from(days) * 24 + u64::from(clock.hour) > TIME_HOURS_MAX {
                return Err(Malformed("a time beyond 838 hours"));
            }
            Ok(Value::Time {
                is_negative,
                days,
                clock,
            })
        }
        _ => Err(Malformed("a time of an unknown length")),
    }
}

pub(super) fn flag(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed("neither yes nor no")),
    }
}

impl Date {
    /// Errors: one of which servers make zero.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let date = Self {
            year: reader.u16_le()?,
            month: reader.u8()?,
            day: reader.u8()?,
        };
        if date.year > 9999 || date.month > 12 || date.day > 31 {
            return Err(Malformed("a date that does not exist"));
        }
        Ok(date)
    }

    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.year.to_le_bytes());
        out.extend_from_slice(&[self.month, self.day]);
    }
}

impl Clock {
    /// To the end: whether there are micros is told by what is left. Hours are left to who calls.
    /// Errors: one of which servers make zero.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let clock = Self {
            hour: reader.u8()?,
            minute: reader.u8()?,
            second: reader.u8()?,
            micros: if reader.is_empty() {
                None
            } else {
                Some(reader.u32_le()?)
            },
        };
        let micros = clock.micros.unwrap_or_default();
        if clock.minute > 59 || clock.second > 59 || micros > 999_999 {
            return Err(Malformed("a clock that does not exist"));
        }
        Ok(clock)
    }

    fn micros_bytes(self) -> u8 {
        if self.micros.is_some() { 4 } else { 0 }
    }

    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.hour, self.minute, self.second]);
        if let Some(micros) = self.micros {
            out.extend_from_slice(&micros.to_le_bytes());
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}:{:02}", self.hour, self.minute, self.second)?;
        self.micros.map_or(Ok(()), |micros| write!(f, ".{micros:06}"))
    }
}

/// How many there are, as QUERY_ATTRIBUTES says it. Shape: lenenc.
pub(super) fn count(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    match usize::try_from(reader.lenenc()?) {
        Ok(count) if count <= PARAMETERS_MAX => Ok(count),
        _ => Err(Malformed("more values than there can be")),
    }
}

pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    put_lenenc(out, count as u64);
}

/// What `count` values bring with them.
/// Shape: NULL bitmap of (count + 7) / 8 bytes, lowest bit first, u8 1, the kinds with names, the values that are not NULL.
pub(super) fn decode_named<'a>(
    reader: &mut Reader<'a>,
    count: usize,
) -> Result<Vec<Parameter<'a>>, Malformed> {
    let bitmap = bitmap(reader, count)?;
    reader.must_be(1, "values without types")?;
    let kinds = new_kinds(reader, count, true)?;
    values(reader, bitmap, &kinds, &[])
}

/// Errors: bits set that stand for no value.
pub(super) fn bitmap<'a>(reader: &mut Reader<'a>, count: usize) -> Result<&'a [u8], Malformed> {
    let bitmap = reader.bytes(count.div_ceil(8))?;
    match (bitmap.last(), count % 8) {
        (Some(last), used) if used != 0 && last >> used != 0 => Err(Malformed("a NULL that is no value")),
        _ => Ok(bitmap),
    }
}

pub(super) fn new_kinds<'a>(
    reader: &mut Reader<'a>,
    count: usize,
    are_named: bool,
) -> Result<Vec<(Kind, &'a [u8])>, Malformed> {
    if reader.rest().len() < count * 2 {
        return Err(Malformed("fewer types than values"));
    }
    let mut kinds = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = Kind::decode(reader)?;
        let name = if are_named { reader.lenenc_bytes()? } else { &[] };
        kinds.push((kind, name));
    }
    Ok(kinds)
}

/// `is_long`: which were sent before; those behind its end were not.
pub(super) fn values<'a>(
    reader: &mut Reader<'a>,
    bitmap: &[u8],
    kinds: &[(Kind, &'a [u8])],
    is_long: &[bool],
) -> Result<Vec<Parameter<'a>>, Malformed> {
    let mut parameters = Vec::with_capacity(kinds.len());
    for (number, (kind, name)) in kinds.iter().enumerate() {
        let is_null = bitmap
            .get(number / 8)
            .is_some_and(|bits| bits >> (number % 8) & 1 == 1);
        let value = if is_long.get(number) == Some(&true) {
            if !kind.may_come_in_pieces() {
                return Err(Malformed("a value in pieces of a type that has none"));
            }
            Value::Long {
                is_marked_null: is_null,
            }
        } else if is_null {
            Value::Null
        } else {
            Value::decode(reader, *kind)?
        };
        parameters.push(Parameter {
            name,
            kind: *kind,
            value,
        });
    }
    Ok(parameters)
}

/// The bitmap, the kinds if they are new, the values.
pub(super) fn put(out: &mut Vec<u8>, parameters: &[Parameter<'_>], kinds: Kinds, are_named: bool) {
    let at = out.len();
    out.resize(at + parameters.len().div_ceil(8), 0);
    for (number, parameter) in parameters.iter().enumerate() {
        if parameter.value.is_in_bitmap() {
            out[at + number / 8] |= 1 << (number % 8);
        }
    }
    match kinds {
        Kinds::Absent => {}
        Kinds::Remembered => out.push(0),
        Kinds::New => {
            out.push(1);
            for parameter in parameters {
                parameter.kind.put(out);
                if are_named {
                    put_lenenc_bytes(out, parameter.name);
                }
            }
        }
    }
    for parameter in parameters {
        parameter.value.put(out, parameter.kind);
    }
}
