//! Values of a statement, as its reviewer sees them and as its approval is bound to them.
//! Never shows a value that was not read exactly as other than bytes. Read `park.rs` next.

use sha2::{Digest as _, Sha256};

use crate::hold::{Parameter, ParameterFormat};
use crate::proxy::judgements::Judged;
use crate::proxy::mysql::session::EXECUTE_BYTES_MAX;
use crate::sql::action::{Breadth, Class};
use crate::sql::classify::mysql::is_zero_number;
use crate::sql::lex::mysql::compared;
use crate::sql::mysql_state::MysqlState;
use crate::wire::mysql::parameter::{self, Kind, Value, kind};

/// A value that came in pieces. All of it counts; so much is kept as can be shown.
#[derive(Clone, Debug, Default)]
pub struct Long {
    kept: Vec<u8>,
    bytes: u64,
    hash: Sha256,
}

impl Long {
    /// Adds a piece, of which at most `room` bytes are kept; gives how many were.
    pub fn add(&mut self, data: &[u8], room: usize) -> usize {
        let room = room.min(EXECUTE_BYTES_MAX - self.kept.len());
        // What is kept is a beginning: behind a gap nothing more is.
        let room = if self.is_whole() { room } else { 0 };
        let count = room.min(data.len());
        self.kept.extend_from_slice(&data[..count]);
        self.bytes += data.len() as u64;
        self.hash.update(data);
        count
    }

    pub fn bytes_kept(&self) -> usize {
        self.kept.len()
    }

    /// Whether all of it is kept.
    pub fn is_whole(&self) -> bool {
        self.bytes == self.kept.len() as u64
    }
}

/// Values as people are shown them. `long` are those that came in pieces, by their place.
pub fn shown(parameters: &[parameter::Parameter<'_>], long: &[Option<&Long>]) -> Vec<Parameter> {
    let numbered = (1_u16..).zip(parameters);
    numbered
        .map(|(index, parameter)| {
            let pieces = long.get(usize::from(index) - 1).copied().flatten();
            one(index, parameter, pieces)
        })
        .collect()
}

fn one(index: u16, parameter: &parameter::Parameter<'_>, long: Option<&Long>) -> Parameter {
    let kind = parameter.kind;
    let mut type_name = type_name(kind);
    if !parameter.name.is_empty() {
        // An attribute of the statement, whose name is the client's own.
        type_name = format!("{type_name} attribute {}", parameter.name.escape_ascii());
    }
    let (value, hex, bytes) = match (&parameter.value, long) {
        (Value::Long { .. }, Some(long)) => of_bytes(kind, &long.kept, long.bytes),
        (Value::Long { .. }, None) => of_bytes(kind, &[], 0),
        (Value::Bytes(bytes) | Value::Decimal(bytes), _) => of_bytes(kind, bytes, bytes.len() as u64),
        (Value::Null, _) => (None, None, 0),
        (value, _) => {
            let text = in_words(value, kind);
            let length = text.len() as u64;
            (Some(text), None, length)
        }
    };
    Parameter {
        index,
        type_oid: kind.code.into(),
        type_name,
        format: ParameterFormat::Binary,
        value,
        hex,
        bytes,
        redacted: Vec::new(),
    }
}

/// A client gives NULL a type of its own: of withheld values no type is told.
pub fn without_types(shown: &mut [Parameter]) {
    for parameter in shown.iter_mut().filter(|parameter| parameter.is_redacted()) {
        parameter.type_oid = 0;
        parameter.type_name = match parameter.type_name.split_once(" attribute ") {
            None => TYPE_NOT_TOLD.to_owned(),
            Some((_, name)) => format!("{TYPE_NOT_TOLD}, attribute {name}"),
        };
    }
}

const TYPE_NOT_TOLD: &str = "type not told";

fn of_bytes(kind: Kind, bytes: &[u8], length: u64) -> (Option<String>, Option<String>, u64) {
    let is_blob = matches!(
        kind.code,
        kind::TINY_BLOB | kind::MEDIUM_BLOB | kind::LONG_BLOB | kind::BLOB | kind::BIT | kind::VECTOR
    );
    match std::str::from_utf8(bytes) {
        Ok(text) if !is_blob || !text.contains(|letter: char| letter.is_control() && letter != '\n') => {
            (Some(text.to_owned()), None, length)
        }
        Ok(_) | Err(_) => {
            let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            (None, Some(hex), length)
        }
    }
}

fn in_words(value: &Value<'_>, kind: Kind) -> String {
    match value {
        Value::Signed(number) => number.to_string(),
        Value::Unsigned(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Zero if kind.code == kind::TIME => "00:00:00".to_owned(),
        Value::Zero => "0000-00-00".to_owned(),
        Value::Date(date) => date.to_string(),
        Value::DateTime { date, clock } => format!("{date} {clock}"),
        Value::Time {
            is_negative,
            days,
            clock,
        } => {
            let sign = if *is_negative { "-" } else { "" };
            format!("{sign}{days} {clock}")
        }
        Value::Null | Value::Long { .. } | Value::Decimal(_) | Value::Bytes(_) => String::new(),
    }
}

/// The server's words for a type.
fn type_name(kind: Kind) -> String {
    let name = match kind.code {
        kind::DECIMAL | kind::NEWDECIMAL => "decimal",
        kind::TINY => "tinyint",
        kind::SHORT => "smallint",
        kind::LONG => "int",
        kind::LONGLONG => "bigint",
        kind::FLOAT => "float",
        kind::DOUBLE => "double",
        kind::NULL => "null",
        kind::TIMESTAMP => "timestamp",
        kind::DATE => "date",
        kind::TIME => "time",
        kind::DATETIME => "datetime",
        kind::VARCHAR | kind::VAR_STRING => "varchar",
        kind::STRING => "char",
        kind::BIT => "bit",
        kind::VECTOR => "vector",
        kind::JSON => "json",
        kind::ENUM => "enum",
        kind::SET => "set",
        kind::TINY_BLOB => "tinyblob",
        kind::MEDIUM_BLOB => "mediumblob",
        kind::LONG_BLOB => "longblob",
        kind::BLOB => "blob",
        _ => "unknown",
    };
    let unsigned = if kind.is_unsigned { " unsigned" } else { "" };
    format!("{name}{unsigned}")
}

/// Whether a bounded write may reach every row by these values, which are the statement's own: a column of text that is
/// compared with a number or a moment is compared as one, and every text that is none is zero. One comparison without such
/// a value keeps it bounded, as all of them have to hold. NULL is equal to something by `<=>` alone.
pub fn reach_all(judged: &Judged<MysqlState>, own: &[parameter::Parameter<'_>]) -> bool {
    let may_equal_null = judged.text.windows(3).any(|sign| sign == b"<=>");
    let bounds = |at: &usize| match own.get(*at).map(|parameter| &parameter.value) {
        None => false,
        Some(Value::Null) => !may_equal_null,
        Some(value) => !is_zero(*value),
    };
    let comparisons = comparisons(judged, own.len());
    !comparisons.is_empty() && !comparisons.iter().any(|listed| listed.iter().all(bounds))
}

/// The same, where nobody has read the values, of which the statement has so many.
pub fn may_reach_all(judged: &Judged<MysqlState>, count: u16) -> bool {
    !comparisons(judged, count.into()).is_empty()
}

/// Of a bounded write that does not only add rows: the parameters of each comparison in its WHERE that has some.
fn comparisons(judged: &Judged<MysqlState>, count: usize) -> Vec<Vec<usize>> {
    let [action] = judged.judgement.actions.as_slice() else {
        return Vec::new();
    };
    let is_bounded = action.class == Class::Write && action.breadth == Breadth::Bounded;
    if !is_bounded || action.verb.starts_with("insert") || action.verb.starts_with("replace") {
        return Vec::new();
    }
    // A statement whose WHERE is not found has all of them there.
    let mut comparisons =
        compared(&judged.text, &judged.lexing).unwrap_or_else(|| vec![(0..count).collect()]);
    comparisons.retain(|listed| !listed.is_empty());
    comparisons
}

fn is_zero(value: Value<'_>) -> bool {
    match value {
        Value::Signed(number) => number == 0,
        Value::Unsigned(number) => number == 0,
        Value::Float(number) => is_tiny(number.into()),
        Value::Double(number) => is_tiny(number),
        Value::Decimal(digits) => std::str::from_utf8(digits).map_or(true, is_zero_number),
        Value::Zero => true,
        // Of a date alone servers drop the clock; without a month or a day there is no such date.
        Value::Date(date) | Value::DateTime { date, clock: _ } => date.month == 0 || date.day == 0,
        Value::Time {
            is_negative: _,
            days,
            clock,
        } => {
            let micros = clock.micros.unwrap_or_default();
            days == 0 && (clock.hour, clock.minute, clock.second, micros) == (0, 0, 0, 0)
        }
        Value::Null | Value::Bytes(_) | Value::Long { .. } => false,
    }
}

fn is_tiny(number: f64) -> bool {
    number.is_nan() || number.abs() < 1e-20
}

/// In place of values that were not read.
pub fn not_shown() -> Parameter {
    Parameter {
        index: 1,
        type_oid: 0,
        type_name: format!("values of over {EXECUTE_BYTES_MAX} bytes, not kept"),
        format: ParameterFormat::Binary,
        value: None,
        hex: None,
        bytes: 0,
        redacted: Vec::new(),
    }
}

/// What an approval is bound to: flags, and of each value its name, type and exact meaning. How the packet says it, and
/// whether it says the types anew, does not count.
/// Shape: u8 flags, then per value u32 + name, u8 type, u8 is unsigned, u8 sort, u32 or u64 + bytes.
pub fn canonical(flags: u8, parameters: &[parameter::Parameter<'_>], long: &[Option<&Long>]) -> Vec<u8> {
    let mut out = vec![flags];
    for (at, parameter) in parameters.iter().enumerate() {
        put(&mut out, parameter.name);
        out.push(parameter.kind.code);
        out.push(u8::from(parameter.kind.is_unsigned));
        let pieces = long.get(at).copied().flatten();
        match (&parameter.value, pieces) {
            (Value::Null, _) => out.push(0),
            (Value::Bytes(bytes) | Value::Decimal(bytes), _) => {
                out.push(1);
                put(&mut out, bytes);
            }
            (Value::Long { .. }, pieces) => {
                out.push(2);
                let pieces = pieces.cloned().unwrap_or_default();
                out.extend_from_slice(&pieces.bytes.to_be_bytes());
                out.extend_from_slice(&pieces.hash.finalize());
            }
            (value, _) => {
                out.push(3);
                put(&mut out, format!("{value:?}").as_bytes());
            }
        }
    }
    out
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(bytes);
}
