//! Functions that the engine lacks, or has with another meaning. Never reads a file and never runs longer than its texts
//! are long; what could is bounded here. Read `translate/call.rs` for the names that queries call them by.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use md5::{Digest as _, Md5};
use regex::{Regex, RegexBuilder};
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Error};

use super::catalog;
use super::error::{SqlError, state};
use super::format;
use super::moment::{self, Span};
use super::schema::Model;
use super::types::{Type, elements, short};

/// A text that a pattern is matched against. Units: bytes. With the next limit, about a second at worst.
const MATCHED_BYTES_MAX: usize = 1 << 20;
/// A compiled regular expression. Units: bytes.
const REGEX_BYTES_MAX: usize = 256 << 10;
/// A pattern of LIKE. Units: bytes.
const LIKE_BYTES_MAX: usize = 4 << 10;

/// What functions know of the query that runs.
pub struct Around {
    pub now_micros: i64,
    pub person: String,
    pub process: i32,
    pub settings: Vec<(String, String)>,
    /// Longest text that a function makes. Units: bytes.
    pub text_bytes_max: usize,
    /// Why a function has ended the query.
    pub error: Mutex<Option<SqlError>>,
}

impl Around {
    pub fn take_error(&self) -> Option<SqlError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn fail(&self, error: SqlError) -> Error {
        let sentence = error.message.clone();
        self.error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
        Error::UserFunctionError(sentence.into())
    }
}

/// The arguments of a call.
struct Args<'a, 'b> {
    context: &'a Context<'b>,
    around: &'a Around,
}

type Answer = Result<Value, SqlError>;

impl Args<'_, '_> {
    fn text(&self, at: usize) -> String {
        match self.context.get_raw(at) {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => number.to_string(),
            ValueRef::Null => String::new(),
        }
    }

    fn integer(&self, at: usize) -> i64 {
        match self.context.get_raw(at) {
            ValueRef::Integer(number) => number,
            ValueRef::Real(number) => number as i64,
            _ => 0,
        }
    }

    fn real(&self, at: usize) -> f64 {
        match self.context.get_raw(at) {
            ValueRef::Integer(number) => number as f64,
            ValueRef::Real(number) => number,
            _ => 0.0,
        }
    }

    fn value(&self, at: usize) -> Value {
        match self.context.get_raw(at) {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Integer(number),
            ValueRef::Real(number) => Value::Real(number),
            ValueRef::Text(_) | ValueRef::Blob(_) => Value::Text(self.text(at)),
        }
    }

    fn is_real(&self, at: usize) -> bool {
        matches!(self.context.get_raw(at), ValueRef::Real(_))
    }

    fn is_null(&self, at: usize) -> bool {
        matches!(self.context.get_raw(at), ValueRef::Null)
    }

    fn count(&self) -> usize {
        self.context.len()
    }

    fn bounded(&self, text: String) -> Answer {
        if text.len() > self.around.text_bytes_max {
            return Err(too_long(self.around.text_bytes_max));
        }
        Ok(Value::Text(text))
    }

    /// The expression of argument `at`, compiled once for all rows.
    fn regex(&self, at: usize, is_insensitive: bool) -> Result<Arc<Regex>, SqlError> {
        let compile = |pattern: String| -> Result<Regex, SqlError> {
            RegexBuilder::new(&pattern)
                .case_insensitive(is_insensitive)
                .size_limit(REGEX_BYTES_MAX)
                .dfa_size_limit(REGEX_BYTES_MAX)
                .build()
                .map_err(|_| {
                    SqlError::new(
                        "2201B",
                        format!("invalid regular expression: {}", short(&pattern)),
                        "look-around and back-references are not served; write a shorter or plainer one",
                    )
                })
        };
        let index = i32::try_from(at).unwrap_or(i32::MAX);
        let known = self
            .context
            .get_or_create_aux(index, |value: ValueRef<'_>| -> Result<Regex, AuxError> {
                let pattern = value.as_str().map_err(|error| AuxError(error.to_string()))?;
                compile(pattern.to_owned()).map_err(|error| AuxError(error.message))
            });
        known.map_err(|error| {
            SqlError::new(
                "2201B",
                error.to_string(),
                "write a shorter or plainer expression",
            )
        })
    }

    fn matched(&self, at: usize) -> Result<String, SqlError> {
        let text = self.text(at);
        if text.len() > MATCHED_BYTES_MAX {
            return Err(SqlError::new(
                state::TOO_MUCH,
                format!("a text of {} bytes is too long for a pattern", text.len()),
                format!("match left(text, {MATCHED_BYTES_MAX}), or leave such rows out by text_bytes"),
            ));
        }
        Ok(text)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct AuxError(String);

/// What the trims take away: the letters of the second argument, or blanks.
fn trimmed_letters(a: &Args<'_, '_>) -> HashSet<char> {
    match a.count() {
        0 | 1 => HashSet::from([' ']),
        _more => a.text(1).chars().collect(),
    }
}

fn too_long(limit: usize) -> SqlError {
    SqlError::new(
        state::TOO_MUCH,
        format!("a text would be longer than {limit} bytes"),
        "make a shorter one, as with left(…, n)",
    )
}

fn flag(flag: bool) -> Answer {
    Ok(Value::Integer(i64::from(flag)))
}

fn text(text: impl Into<String>) -> Answer {
    Ok(Value::Text(text.into()))
}

fn maybe(text: Option<impl Into<String>>) -> Answer {
    Ok(text.map_or(Value::Null, |text| Value::Text(text.into())))
}

/// Name, count of arguments (-1: any), and what it does. NULL for a NULL argument, unless it stands in `NULLS_SEEN`.
type Entry = (&'static str, i32, fn(&Args<'_, '_>) -> Answer);

/// The names of a path such as `public."My Table"`, as PostgreSQL folds them; `None` if it is none.
fn parse_ident(path: &str) -> Option<Vec<String>> {
    let (mut parts, mut rest) = (Vec::new(), path.trim());
    loop {
        let (part, behind) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.find('"')?;
                (quoted[..end].to_owned(), &quoted[end + 1..])
            }
            None => {
                let end = rest.find(['.', '"', ' ']).unwrap_or(rest.len());
                (rest[..end].to_lowercase(), &rest[end..])
            }
        };
        if part.is_empty() {
            return None;
        }
        parts.push(part);
        rest = match behind.strip_prefix('.') {
            Some(next) => next,
            None if behind.is_empty() => return Some(parts),
            None => return None,
        };
    }
}

/// These look at NULLs themselves.
const NULLS_SEEN: [&str; 9] = [
    "cs_array_cat",
    "cs_format",
    "cs_concat",
    "cs_concat_ws",
    "cs_greatest",
    "cs_least",
    "cs_nothing",
    "cs_no",
    "cs_format_type",
];

const FUNCTIONS: &[Entry] = &[
    ("cs_lower", 1, |a| text(a.text(0).to_lowercase())),
    ("cs_upper", 1, |a| text(a.text(0).to_uppercase())),
    ("cs_initcap", 1, |a| text(initcap(&a.text(0)))),
    ("cs_reverse", 1, |a| {
        text(a.text(0).chars().rev().collect::<String>())
    }),
    ("cs_repeat", 2, |a| {
        let (piece, count) = (a.text(0), usize::try_from(a.integer(1)).unwrap_or(0));
        match piece.len().checked_mul(count) {
            Some(bytes) if bytes <= a.around.text_bytes_max => text(piece.repeat(count)),
            _ => Err(too_long(a.around.text_bytes_max)),
        }
    }),
    // SQLite's own of these take time by the product of their texts' lengths, and look at no clock meanwhile.
    ("cs_strpos", 2, |a| {
        let (whole, part) = (a.text(0), a.text(1));
        let at = whole.find(&part);
        Ok(Value::Integer(
            at.map_or(0, |at| whole[..at].chars().count() as i64 + 1),
        ))
    }),
    ("cs_replace", 3, |a| {
        let (whole, part, by) = (a.text(0), a.text(1), a.text(2));
        if part.is_empty() {
            return text(whole);
        }
        let count = whole.matches(&part).count();
        let longer = by.len().saturating_sub(part.len()).saturating_mul(count);
        if whole.len().saturating_add(longer) > a.around.text_bytes_max {
            return Err(too_long(a.around.text_bytes_max));
        }
        text(whole.replace(&part, &by))
    }),
    ("cs_btrim", -1, |a| {
        let letters = trimmed_letters(a);
        text(a.text(0).trim_matches(|letter| letters.contains(&letter)))
    }),
    ("cs_ltrim", -1, |a| {
        let letters = trimmed_letters(a);
        text(a.text(0).trim_start_matches(|letter| letters.contains(&letter)))
    }),
    ("cs_rtrim", -1, |a| {
        let letters = trimmed_letters(a);
        text(a.text(0).trim_end_matches(|letter| letters.contains(&letter)))
    }),
    ("cs_left", 2, |a| {
        let whole = a.text(0);
        let count = from_end(&whole, a.integer(1));
        text(whole.chars().take(count).collect::<String>())
    }),
    ("cs_right", 2, |a| {
        let whole = a.text(0);
        let skipped = whole.chars().count() - from_end(&whole, a.integer(1));
        text(whole.chars().skip(skipped).collect::<String>())
    }),
    ("cs_lpad", -1, |a| pad(a, true)),
    ("cs_rpad", -1, |a| pad(a, false)),
    ("cs_substr", -1, substring),
    ("cs_split_part", 3, |a| {
        let (whole, separator, at) = (a.text(0), a.text(1), a.integer(2));
        let parts: Vec<&str> = if separator.is_empty() {
            vec![&whole]
        } else {
            whole.split(&separator).collect()
        };
        let count = parts.len() as i64;
        let at = if at < 0 { count + at } else { at - 1 };
        text(
            usize::try_from(at)
                .ok()
                .and_then(|at| parts.get(at))
                .copied()
                .unwrap_or_default(),
        )
    }),
    ("cs_starts_with", 2, |a| flag(a.text(0).starts_with(&a.text(1)))),
    ("cs_md5", 1, |a| {
        let digest = Md5::digest(a.text(0).as_bytes());
        text(
            digest
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>(),
        )
    }),
    ("cs_quote_ident", 1, |a| text(format::identifier(&a.text(0)))),
    ("cs_quote_literal", 1, |a| {
        text(format!("'{}'", a.text(0).replace('\'', "''")))
    }),
    ("cs_concat", -1, |a| {
        let parts = (0..a.count()).filter(|at| !a.is_null(*at)).map(|at| a.text(at));
        a.bounded(parts.collect())
    }),
    ("cs_concat_ws", -1, |a| {
        if a.is_null(0) {
            return Ok(Value::Null);
        }
        let parts: Vec<String> = (1..a.count())
            .filter(|at| !a.is_null(*at))
            .map(|at| a.text(at))
            .collect();
        a.bounded(parts.join(&a.text(0)))
    }),
    ("cs_like", -1, |a| like(a, false)),
    ("cs_ilike", -1, |a| like(a, true)),
    ("cs_regex", 2, |a| {
        flag(a.regex(1, false)?.is_match(&a.matched(0)?))
    }),
    ("cs_iregex", 2, |a| {
        flag(a.regex(1, true)?.is_match(&a.matched(0)?))
    }),
    ("cs_regex_part", 2, |a| {
        let whole = a.matched(0)?;
        let expression = a.regex(1, false)?;
        let found = expression.captures(&whole);
        // The first group if there is one, as in PostgreSQL.
        let part = found.and_then(|found| {
            found
                .get(1)
                .or_else(|| found.get(0))
                .map(|part| part.as_str().to_owned())
        });
        maybe(part)
    }),
    ("cs_regex_replace", -1, regex_replace),
    ("cs_rint", 1, |a| Ok(a_number(a, a.real(0).round_ties_even()))),
    ("cs_round", 2, |a| {
        let scale = 10f64.powi(i32::try_from(a.integer(1)).unwrap_or(0).clamp(-300, 300));
        let scaled = a.real(0) * scale;
        Ok(Value::Real(if scaled.is_finite() {
            scaled.round() / scale
        } else {
            a.real(0)
        }))
    }),
    ("cs_ceil", 1, |a| Ok(Value::Real(a.real(0).ceil()))),
    ("cs_floor", 1, |a| Ok(Value::Real(a.real(0).floor()))),
    ("cs_trunc", 1, |a| Ok(Value::Real(a.real(0).trunc()))),
    ("cs_sqrt", 1, |a| defined(a.real(0).sqrt())),
    ("cs_exp", 1, |a| defined(a.real(0).exp())),
    ("cs_ln", 1, |a| defined(a.real(0).ln())),
    ("cs_log10", 1, |a| defined(a.real(0).log10())),
    ("cs_power", 2, |a| defined(a.real(0).powf(a.real(1)))),
    ("cs_div", 2, |a| divide(a, false)),
    ("cs_mod", 2, |a| divide(a, true)),
    ("cs_greatest", -1, |a| Ok(extreme(a, std::cmp::Ordering::Greater))),
    ("cs_least", -1, |a| Ok(extreme(a, std::cmp::Ordering::Less))),
    ("cs_now", 0, |a| Ok(Value::Integer(a.around.now_micros))),
    ("cs_add", 3, |a| {
        let span = Span {
            months: a.integer(1),
            rest_micros: a.integer(2),
        };
        moment::add(a.integer(0), span)
            .map(Value::Integer)
            .ok_or_else(out_of_range)
    }),
    ("cs_date_trunc", 2, |a| {
        let unit = a.text(0);
        moment::trunc(&unit, a.integer(1))
            .map(Value::Integer)
            .ok_or_else(|| {
                SqlError::new(
                    state::BAD_PARAMETER,
                    format!("unit \"{}\" not recognized", short(&unit)),
                    "write second, minute, hour, day, week, month, quarter or year",
                )
            })
    }),
    ("cs_date_bin", 3, |a| {
        let (width, at, origin) = (a.integer(0), a.integer(1), a.integer(2));
        if width <= 0 {
            return Err(SqlError::new(
                state::BAD_PARAMETER,
                "stride must be greater than zero",
                "write interval '5 minutes'",
            ));
        }
        let into = at.checked_sub(origin).ok_or_else(out_of_range)?;
        Ok(Value::Integer(origin + into.div_euclid(width) * width))
    }),
    ("cs_part", 2, |a| {
        Ok(moment::part(&a.text(0), a.integer(1)).map_or(Value::Null, Value::Real))
    }),
    ("cs_interval_part", 2, |a| {
        Ok(moment::interval_part(&a.text(0), a.integer(1)).map_or(Value::Null, Value::Real))
    }),
    ("cs_to_timestamp", 1, |a| {
        let micros = a.real(0) * moment::SECOND_MICROS as f64;
        if micros.abs() < i64::MAX as f64 / 2.0 {
            Ok(Value::Integer(micros.round() as i64))
        } else {
            Err(out_of_range())
        }
    }),
    ("cs_to_char", 2, |a| {
        maybe(moment::to_char(a.integer(0), &a.text(1)))
    }),
    ("cs_show", 2, |a| {
        let name = a.text(0);
        let ty = Type::ALL
            .into_iter()
            .find(|ty| ty.internal_name() == name)
            .unwrap_or(Type::Text);
        maybe(ty.show(&a.value(1))?)
    }),
    ("cs_read", 2, |a| {
        let name = a.text(0);
        let ty = Type::ALL
            .into_iter()
            .find(|ty| ty.internal_name() == name)
            .unwrap_or(Type::Text);
        ty.read(&a.text(1))
    }),
    ("cs_element", 2, |a| {
        let at = a
            .integer(1)
            .checked_sub(1)
            .and_then(|at| usize::try_from(at).ok());
        Ok(at
            .and_then(|at| elements(&a.text(0)).into_iter().nth(at))
            .unwrap_or(Value::Null))
    }),
    ("cs_contains", 2, |a| {
        let (whole, part) = (elements(&a.text(0)), elements(&a.text(1)));
        flag(
            part.iter()
                .all(|element| *element != Value::Null && whole.contains(element)),
        )
    }),
    ("cs_overlaps", 2, |a| {
        let (left, right) = (elements(&a.text(0)), elements(&a.text(1)));
        flag(
            right
                .iter()
                .any(|element| *element != Value::Null && left.contains(element)),
        )
    }),
    ("cs_array_length", 2, |a| {
        let count = elements(&a.text(0)).len();
        Ok(if a.integer(1) == 1 && count > 0 {
            Value::Integer(count as i64)
        } else {
            Value::Null
        })
    }),
    ("cs_array_lower", 2, |a| {
        let is_empty = elements(&a.text(0)).is_empty();
        Ok(match a.integer(1) == 1 && !is_empty {
            true => Value::Integer(1),
            false => Value::Null,
        })
    }),
    ("cs_parse_ident", 1, |a| match parse_ident(&a.text(0)) {
        Some(parts) => a.bounded(serde_json::Value::from(parts).to_string()),
        None => Err(SqlError::new(
            "22023",
            format!("string is not a valid identifier: \"{}\"", a.text(0)),
            "write a name, or two with a dot between them",
        )),
    }),
    ("cs_array_cat", 2, |a| {
        if a.is_null(0) && a.is_null(1) {
            return Ok(Value::Null);
        }
        let list = |at: usize| match serde_json::from_str(&a.text(at)) {
            Ok(serde_json::Value::Array(list)) => list,
            _ => Vec::new(),
        };
        let both: Vec<serde_json::Value> = list(0).into_iter().chain(list(1)).collect();
        a.bounded(serde_json::Value::from(both).to_string())
    }),
    ("cs_array_remove", 2, |a| {
        let gone = serde_json::Value::from(a.text(1));
        let mut list = match serde_json::from_str(&a.text(0)) {
            Ok(serde_json::Value::Array(list)) => list,
            _ => Vec::new(),
        };
        list.retain(|element| *element != gone);
        a.bounded(serde_json::Value::from(list).to_string())
    }),
    ("cs_may", 1, |a| {
        // Any of several privileges is enough, as PostgreSQL has it; none can be granted on.
        let asked = a.text(0).to_lowercase();
        let held = ["select", "usage", "connect", "execute"];
        flag(asked.split(',').any(|privilege| held.contains(&privilege.trim())))
    }),
    ("cs_encoding_number", 1, |a| {
        let is_utf8 = matches!(a.text(0).to_lowercase().as_str(), "utf8" | "utf-8" | "unicode");
        Ok(Value::Integer(if is_utf8 { 6 } else { -1 }))
    }),
    ("cs_format", -1, |a| {
        if a.is_null(0) {
            return Ok(Value::Null);
        }
        let given = (1..a.count()).map(|at| (!a.is_null(at)).then(|| a.text(at)));
        let given: Vec<Option<String>> = given.collect();
        Ok(Value::Text(format::format(
            &a.text(0),
            &given,
            a.around.text_bytes_max,
        )?))
    }),
    ("cs_array_position", 2, |a| {
        let wanted = Value::Text(a.text(1));
        let at = elements(&a.text(0)).iter().position(|element| *element == wanted);
        Ok(at.map_or(Value::Null, |at| Value::Integer(at as i64 + 1)))
    }),
    ("cs_array_to_string", -1, |a| {
        let shown = |element: Value| match element {
            Value::Null if a.count() > 2 => Some(a.text(2)),
            Value::Null => None,
            other => Type::Text.show(&other).ok().flatten(),
        };
        let parts: Vec<String> = elements(&a.text(0)).into_iter().filter_map(shown).collect();
        a.bounded(parts.join(&a.text(1)))
    }),
    ("cs_string_to_array", 2, |a| {
        let (whole, separator) = (a.text(0), a.text(1));
        let parts: Vec<&str> = if separator.is_empty() {
            vec![&whole]
        } else {
            whole.split(&separator).collect()
        };
        a.bounded(serde_json::Value::from(parts).to_string())
    }),
    ("cs_format_type", -1, |a| {
        let oid = a.integer(0);
        let known = Type::ALL.into_iter().find(|ty| i64::from(ty.oid()) == oid);
        if a.is_null(0) {
            return Ok(Value::Null);
        }
        text(known.map_or("???", Type::name))
    }),
    ("cs_person", 0, |a| text(a.around.person.clone())),
    ("cs_person_by_oid", 1, |a| text(a.around.person.clone())),
    ("cs_process", 0, |a| {
        Ok(Value::Integer(i64::from(a.around.process)))
    }),
    ("cs_nothing", -1, |_| Ok(Value::Null)),
    ("cs_no", -1, |_| flag(false)),
    ("cs_zero", -1, |_| Ok(Value::Integer(0))),
    ("cs_size_pretty", 1, |a| text(format!("{} bytes", a.integer(0)))),
    ("cs_encoding", 1, |_| text("UTF8")),
    ("cs_is_visible", 1, |a| {
        let table = Model::get().by_oid(a.integer(0));
        flag(table.is_some_and(|table| table.schema != "information_schema"))
    }),
    ("cs_description", -1, |a| {
        let table = Model::get().by_oid(a.integer(0));
        maybe(
            table
                .map(|table| table.comment)
                .filter(|comment| !comment.is_empty()),
        )
    }),
    ("cs_description_of_column", 2, |a| {
        let table = Model::get().by_oid(a.integer(0));
        let at = a
            .integer(1)
            .checked_sub(1)
            .and_then(|at| usize::try_from(at).ok());
        let column = at.and_then(|at| table?.columns.get(at));
        maybe(
            column
                .map(|column| column.comment)
                .filter(|comment| !comment.is_empty()),
        )
    }),
    ("cs_regclass", 1, |a| {
        let oid = a.integer(0);
        text(Model::get().by_oid(oid).map_or_else(
            || oid.to_string(),
            |table| {
                if table.schema == "information_schema" {
                    table.inner_name()
                } else {
                    table.name.to_owned()
                }
            },
        ))
    }),
    ("cs_regclass_oid", 1, |a| {
        let name = a.text(0).replace('"', "");
        if let Ok(oid) = name.parse::<u32>() {
            return Ok(Value::Integer(i64::from(oid)));
        }
        let found = match name.split_once('.') {
            Some((schema, table)) => Model::get().find(Some(schema), table),
            None => Model::get().find(None, &name),
        };
        Ok(found.map_or(Value::Null, |table| Value::Integer(i64::from(table.oid))))
    }),
    ("cs_regtype_oid", 1, |a| {
        let ty = Type::of_name(&a.text(0).to_lowercase());
        Ok(ty.map_or(Value::Null, |ty| Value::Integer(i64::from(ty.oid()))))
    }),
    ("cs_setting", -1, |a| {
        let name = a.text(0);
        let known = a
            .around
            .settings
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(&name));
        match known {
            Some((_, value)) => text(value.clone()),
            None if a.count() > 1 && a.integer(1) != 0 => Ok(Value::Null),
            None => Err(SqlError::new(
                state::NO_OBJECT,
                format!("unrecognized configuration parameter \"{}\"", short(&name)),
                "pg_settings lists what there is",
            )),
        }
    }),
];

/// Gives a connection all of them.
pub fn register(connection: &Connection, around: &Arc<Around>) -> rusqlite::Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    for (name, count, run) in FUNCTIONS {
        let around = Arc::clone(around);
        let sees_nulls = NULLS_SEEN.contains(name);
        connection.create_scalar_function(*name, *count, flags, move |context: &Context<'_>| {
            let args = Args {
                context,
                around: &around,
            };
            if !sees_nulls && (0..args.count()).any(|at| args.is_null(at)) {
                return Ok(Value::Null);
            }
            run(&args).map_err(|error| around.fail(error))
        })?;
    }
    Ok(())
}

fn out_of_range() -> SqlError {
    SqlError::new(state::OUT_OF_RANGE, "time out of range", "use a smaller interval")
}

/// An integer where it is one, so that counts stay counts.
fn a_number(args: &Args<'_, '_>, number: f64) -> Value {
    if !args.is_real(0) {
        Value::Integer(args.integer(0))
    } else if number.abs() < (1i64 << 53) as f64 {
        Value::Integer(number as i64)
    } else {
        Value::Real(number)
    }
}

fn defined(number: f64) -> Answer {
    if number.is_nan() {
        return Err(SqlError::new(
            "2201F",
            "the function is not defined for this number",
            "leave such rows out with WHERE",
        ));
    }
    Ok(Value::Real(number))
}

fn divide(args: &Args<'_, '_>, wants_rest: bool) -> Answer {
    let by_zero = || {
        SqlError::new(
            state::DIVISION_BY_ZERO,
            "division by zero",
            "divide by nullif(…, 0)",
        )
    };
    if args.is_real(0) || args.is_real(1) {
        let (left, right) = (args.real(0), args.real(1));
        if right == 0.0 {
            return Err(by_zero());
        }
        return Ok(Value::Real(if wants_rest { left % right } else { left / right }));
    }
    let (left, right) = (args.integer(0), args.integer(1));
    if right == 0 {
        return Err(by_zero());
    }
    let result = if wants_rest {
        Some(left.wrapping_rem(right))
    } else {
        left.checked_div(right)
    };
    result.map(Value::Integer).ok_or_else(|| {
        SqlError::new(
            state::OUT_OF_RANGE,
            "bigint out of range",
            "calculate with ::float8",
        )
    })
}

/// The largest or smallest of what is not NULL.
fn extreme(args: &Args<'_, '_>, wanted: std::cmp::Ordering) -> Value {
    let mut best: Option<Value> = None;
    for at in (0..args.count()).filter(|at| !args.is_null(*at)) {
        let value = args.value(at);
        let is_better = match (&best, &value) {
            (None, _) => true,
            (Some(Value::Text(best)), Value::Text(value)) => value.cmp(best) == wanted,
            (Some(Value::Integer(best)), Value::Integer(value)) => value.cmp(best) == wanted,
            (Some(Value::Real(best)), Value::Real(value)) => value.total_cmp(best) == wanted,
            (Some(_), _) => false,
        };
        if is_better {
            best = Some(value);
        }
    }
    best.unwrap_or(Value::Null)
}

fn initcap(whole: &str) -> String {
    let mut is_first = true;
    let mut out = String::with_capacity(whole.len());
    for letter in whole.chars() {
        if is_first {
            out.extend(letter.to_uppercase());
        } else {
            out.extend(letter.to_lowercase());
        }
        is_first = !letter.is_alphanumeric();
    }
    out
}

/// How many letters `left(text, n)` takes: all but the last ones for a negative n.
fn from_end(whole: &str, count: i64) -> usize {
    let letters = whole.chars().count();
    match usize::try_from(count) {
        Ok(count) => count.min(letters),
        Err(_) => letters.saturating_sub(usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX)),
    }
}

fn pad(args: &Args<'_, '_>, is_left: bool) -> Answer {
    let whole = args.text(0);
    let width = usize::try_from(args.integer(1)).unwrap_or(0);
    if width > args.around.text_bytes_max {
        return Err(too_long(args.around.text_bytes_max));
    }
    let fill = if args.count() > 2 {
        args.text(2)
    } else {
        " ".to_owned()
    };
    let letters = whole.chars().count();
    if letters >= width || fill.is_empty() {
        return text(whole.chars().take(width).collect::<String>());
    }
    let filling: String = fill.chars().cycle().take(width - letters).collect();
    args.bounded(if is_left {
        filling + &whole
    } else {
        whole + &filling
    })
}

/// Counted from 1; a start before it takes from the length, as in PostgreSQL.
fn substring(args: &Args<'_, '_>) -> Answer {
    let whole = args.text(0);
    let start = args.integer(1);
    let end = if args.count() > 2 {
        let length = args.integer(2);
        if length < 0 {
            return Err(SqlError::new(
                "22011",
                "negative substring length not allowed",
                "give 0 or more",
            ));
        }
        start.saturating_add(length)
    } else {
        i64::MAX
    };
    let skipped = usize::try_from(start.saturating_sub(1)).unwrap_or(0);
    let taken = usize::try_from(end.saturating_sub(start.max(1))).unwrap_or(0);
    text(whole.chars().skip(skipped).take(taken).collect::<String>())
}

fn like(args: &Args<'_, '_>, is_insensitive: bool) -> Answer {
    let (mut whole, mut pattern) = (args.matched(0)?, args.text(1));
    if pattern.len() > LIKE_BYTES_MAX {
        return Err(SqlError::new(
            state::TOO_MUCH,
            format!("a pattern of {} bytes is too long", pattern.len()),
            format!("write one of at most {LIKE_BYTES_MAX} bytes"),
        ));
    }
    let escape = if args.count() > 2 {
        args.text(2)
    } else {
        "\\".to_owned()
    };
    if is_insensitive {
        whole = whole.to_lowercase();
        pattern = pattern.to_lowercase();
    }
    let parts = like_parts(&pattern, escape.chars().next()).ok_or_else(|| {
        SqlError::new(
            "22025",
            "LIKE pattern must not end with escape character",
            "double it",
        )
    })?;
    flag(is_like(&whole.chars().collect::<Vec<_>>(), &parts))
}

#[derive(Clone, Copy, PartialEq)]
enum LikePart {
    Letter(char),
    One,
    Any,
}

/// `None`: the pattern ends in its escape character.
fn like_parts(pattern: &str, escape: Option<char>) -> Option<Vec<LikePart>> {
    let mut parts = Vec::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        parts.push(match letter {
            _ if Some(letter) == escape => LikePart::Letter(letters.next()?),
            '%' if parts.last() == Some(&LikePart::Any) => continue,
            '%' => LikePart::Any,
            '_' => LikePart::One,
            other => LikePart::Letter(other),
        });
    }
    Some(parts)
}

/// Goes back only to the last `%`: time is at most the product of both lengths.
fn is_like(text: &[char], parts: &[LikePart]) -> bool {
    let (mut at, mut part) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while at < text.len() {
        match parts.get(part) {
            Some(LikePart::Any) => {
                back = Some((at, part));
                part += 1;
                continue;
            }
            Some(LikePart::One) => {
                at += 1;
                part += 1;
                continue;
            }
            Some(LikePart::Letter(letter)) if *letter == text[at] => {
                at += 1;
                part += 1;
                continue;
            }
            Some(LikePart::Letter(_)) | None => {}
        }
        let Some((from, any)) = back else {
            return false;
        };
        back = Some((from + 1, any));
        at = from + 1;
        part = any + 1;
    }
    parts[part..].iter().all(|part| *part == LikePart::Any)
}

/// `\1` in the replacement is the first group; the flags `g` and `i` are known.
fn regex_replace(args: &Args<'_, '_>) -> Answer {
    let flags = if args.count() > 3 {
        args.text(3)
    } else {
        String::new()
    };
    if let Some(strange) = flags.chars().find(|flag| !['g', 'i'].contains(flag)) {
        return Err(SqlError::new(
            state::BAD_PARAMETER,
            format!("invalid regular expression option: \"{strange}\""),
            "g replaces all, i ignores case",
        ));
    }
    let whole = args.matched(0)?;
    let expression = args.regex(1, flags.contains('i'))?;
    let mut replacement = String::new();
    let written = args.text(2).replace('$', "$$");
    let mut letters = written.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, true) => match letters.next() {
                Some(digit) if digit.is_ascii_digit() => replacement.push_str(&format!("${{{digit}}}")),
                Some('&') => replacement.push_str("${0}"),
                Some(other) => replacement.push(other),
                None => replacement.push('\\'),
            },
            (other, false) => replacement.push(other),
        }
    }
    let count = if flags.contains('g') { 0 } else { 1 };
    args.bounded(
        expression
            .replacen(&whole, count, replacement.as_str())
            .into_owned(),
    )
}

/// What `SHOW` and `pg_settings` say, besides what the client has set.
pub fn settings() -> Vec<(String, String)> {
    let known = [
        ("server_version", catalog::SERVER_VERSION),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("datestyle", "ISO, MDY"),
        ("intervalstyle", "postgres"),
        ("timezone", "UTC"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("default_transaction_read_only", "on"),
        ("transaction_read_only", "on"),
        ("transaction_isolation", "read committed"),
        ("default_transaction_isolation", "read committed"),
        ("default_table_access_method", "heap"),
        ("default_tablespace", ""),
        ("search_path", "\"$user\", public"),
        ("is_superuser", "off"),
        ("in_hot_standby", "off"),
        ("max_identifier_length", "63"),
        ("max_index_keys", "32"),
        ("extra_float_digits", "1"),
        ("bytea_output", "hex"),
        ("lc_collate", "C"),
        ("lc_ctype", "C"),
        ("application_name", ""),
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("jit", "off"),
        ("row_security", "on"),
        ("client_min_messages", "notice"),
    ];
    let mut settings: Vec<_> = known
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    settings.push((
        "server_version_num".to_owned(),
        catalog::SERVER_VERSION_NUMBER.to_string(),
    ));
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(text: &str, pattern: &str) -> bool {
        let parts = like_parts(pattern, Some('\\')).expect("a pattern");
        is_like(&text.chars().collect::<Vec<_>>(), &parts)
    }

    #[test]
    fn like_matches_as_postgresql_does() {
        for (text, pattern) in [
            ("DROP TABLE t", "DROP%"),
            ("abc", "a_c"),
            ("", "%"),
            ("a%b", "a\\%b"),
            ("aXbXc", "%b%c"),
            ("mississippi", "%iss%ip%i"),
        ] {
            assert!(matches(text, pattern), "{text} LIKE {pattern}");
        }
        for (text, pattern) in [("drop", "DROP"), ("abc", "a_"), ("ab", "a\\%"), ("", "_")] {
            assert!(!matches(text, pattern), "{text} NOT LIKE {pattern}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_more_than_the_product_of_lengths() {
        let text = "a".repeat(20_000);
        assert!(!matches(&text, &format!("{}b", "%a".repeat(200))));
    }
}
