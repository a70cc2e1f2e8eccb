//! `format()`: a text with others put in, plain, as a name or as a literal. Never makes one that is longer than it may be.
//! Read `functions.rs` next.
//!
//! ```text
//! %%                          a percent sign
//! %[place$][-][width]type     the next argument, or the one at `place`; `-`: blanks behind it instead of before
//! type                        s as it is, I as a name, L as a literal
//! ```
//! Source: PostgreSQL docs, functions-string.html#FUNCTIONS-STRING-FORMAT; a width of `*` is not served.

use super::error::{SqlError, state};
use super::types::short;

/// What `given` makes of the text; `None`: NULL.
pub fn format(text: &str, given: &[Option<String>], bytes_max: usize) -> Result<String, SqlError> {
    let (mut out, mut rest, mut next) = (String::new(), text, 0);
    while let Some((before, behind)) = rest.split_once('%') {
        out.push_str(before);
        let spec = Spec::cut(behind)?;
        rest = spec.rest;
        let Some(kind) = spec.kind else {
            out.push('%');
            continue;
        };
        let place = spec.place.unwrap_or(next);
        next = place + 1;
        let Some(value) = given.get(place) else {
            return Err(wrong("too few arguments for format()".to_owned()));
        };
        let shown = kind.shown(value.as_deref())?;
        let blanks = spec.width.saturating_sub(shown.chars().count());
        if out.len().saturating_add(shown.len()).saturating_add(blanks) > bytes_max {
            return Err(too_long(bytes_max));
        }
        let blanks = " ".repeat(blanks);
        match spec.is_left {
            true => out.extend([shown, blanks]),
            false => out.extend([blanks, shown]),
        }
    }
    out.push_str(rest);
    if out.len() > bytes_max {
        return Err(too_long(bytes_max));
    }
    Ok(out)
}

/// A name as a query writes it: quoted where it has to be.
pub fn identifier(name: &str) -> String {
    let is_plain = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty();
    if is_plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// How a value is put in.
#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Name,
    Literal,
}

impl Kind {
    fn shown(self, value: Option<&str>) -> Result<String, SqlError> {
        Ok(match (self, value) {
            (Self::Plain, value) => value.unwrap_or_default().to_owned(),
            (Self::Name, Some(name)) => identifier(name),
            (Self::Name, None) => {
                return Err(wrong(
                    "null values cannot be formatted as an SQL identifier".to_owned(),
                ));
            }
            (Self::Literal, Some(text)) => format!("'{}'", text.replace('\'', "''")),
            (Self::Literal, None) => "NULL".to_owned(),
        })
    }
}

/// What stands behind a percent sign.
struct Spec<'a> {
    /// Counted from 0.
    place: Option<usize>,
    is_left: bool,
    width: usize,
    /// `None`: a percent sign itself.
    kind: Option<Kind>,
    rest: &'a str,
}

impl<'a> Spec<'a> {
    fn cut(text: &'a str) -> Result<Self, SqlError> {
        let (place, behind) = match number(text) {
            Some((place, behind)) if behind.starts_with('$') => (Some(place), &behind[1..]),
            Some(_) | None => (None, text),
        };
        let place = match place {
            Some(0) => {
                return Err(wrong(
                    "format specifies argument 0, but arguments are numbered from 1".to_owned(),
                ));
            }
            place => place.map(|place| place - 1),
        };
        let (is_left, behind) = match behind.strip_prefix('-') {
            Some(behind) => (true, behind),
            None => (false, behind),
        };
        let (width, behind) = number(behind).unwrap_or((0, behind));
        let mut letters = behind.chars();
        let kind = match letters.next() {
            Some('s') => Some(Kind::Plain),
            Some('I') => Some(Kind::Name),
            Some('L') => Some(Kind::Literal),
            Some('%') => None,
            Some(other) => {
                return Err(wrong(format!(
                    "unrecognized format() type specifier \"{}\"",
                    short(&other.to_string())
                )));
            }
            None => return Err(wrong("unterminated format() type specifier".to_owned())),
        };
        Ok(Self {
            place,
            is_left,
            width,
            kind,
            rest: letters.as_str(),
        })
    }
}

/// The number that a text begins with, and what stands behind it.
fn number(text: &str) -> Option<(usize, &str)> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let number = text[..end].parse().ok()?;
    Some((number, &text[end..]))
}

fn wrong(what: String) -> SqlError {
    SqlError::new(
        state::BAD_PARAMETER,
        what,
        "write %s, %I or %L for each argument, and %% for a percent sign",
    )
}

fn too_long(limit: usize) -> SqlError {
    SqlError::new(
        state::TOO_MUCH,
        format!("a text would be longer than {limit} bytes"),
        "make a shorter one, as with left(…, n)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(text: &str, given: &[Option<&str>]) -> Result<String, String> {
        let given: Vec<Option<String>> = given.iter().map(|value| value.map(str::to_owned)).collect();
        format(text, &given, 100).map_err(|error| error.message)
    }

    #[test]
    fn texts_names_and_literals_are_put_in_as_postgresql_does() {
        let given = [Some("public"), Some("My Table"), None];
        for (text, expected) in [
            ("%s.%s", "public.My Table"),
            ("%I.%I", "public.\"My Table\""),
            ("%2$L and %1$s, %s", "'My Table' and public, My Table"),
            ("%3$L|%3$s|", "NULL||"),
            ("%8s|%-8s|", "  public|My Table|"),
            ("100%% %s", "100% public"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(formatted(text, &given).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(formatted("%L", &[Some("it's")]).as_deref(), Ok("'it''s'"));
    }

    #[test]
    fn what_cannot_be_formatted_is_an_error() {
        for (text, error) in [
            ("%s %s", "too few arguments for format()"),
            ("%", "unterminated format() type specifier"),
            ("%d", "unrecognized format() type specifier \"d\""),
            (
                "%0$s",
                "format specifies argument 0, but arguments are numbered from 1",
            ),
            ("%99s", "a text would be longer than 100 bytes"),
            ("%9999999999s", "a text would be longer than 100 bytes"),
            ("%18446744073709551615s", "a text would be longer than 100 bytes"),
        ] {
            let given = [Some("one of several letters")];
            let given = if text == "%99s" { [Some("x")] } else { given };
            let long = format!("ab{text}");
            assert_eq!(formatted(&long, &given).unwrap_err(), error, "{text}");
        }
        assert!(formatted("%I", &[None]).is_err());
    }
}
