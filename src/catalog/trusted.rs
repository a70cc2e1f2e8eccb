//! The file of functions that an operator vouches for. Never takes a line that it does not understand whole.
//! Read `postgres/definition.rs` for what a hash stands for.

use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::catalog::postgres::{ListedFunction, ListedFunctions};

/// More functions than this are not vouched for one by one by anybody.
const FUNCTIONS_MAX: usize = 10_000;

const NEXT_STEP: &str =
    "write [[trusted]] with `function` and `hash` for each, as `countersign catalog functions` prints them";

/// How functions are written in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// `schema.name(types)`.
    Postgres,
    /// The same, or the name alone of a function out of a loaded library, which is of no schema.
    Mysql,
}

/// What the file says.
#[derive(Clone, Debug, Default)]
pub struct Trusted {
    pub functions: ListedFunctions,
    pub count: usize,
    /// SHA-256 of the file, for the log.
    pub digest: [u8; 32],
}

/// A mistake in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct TrustedError {
    pub file: String,
    /// From 1; 0 if the file could not be read.
    pub line: usize,
    pub message: String,
}

impl TrustedError {
    pub const fn next_step(&self) -> &'static str {
        if self.line == 0 {
            "check the path in catalog.trusted_file and its permissions"
        } else {
            NEXT_STEP
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    trusted: Vec<toml::Spanned<RawFunction>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFunction {
    function: String,
    hash: String,
}

impl Trusted {
    pub fn load(file: &Path, spelling: Spelling) -> Result<Self, TrustedError> {
        let name = file.display().to_string();
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(&text, &name, spelling),
            Err(error) => Err(TrustedError {
                file: name,
                line: 0,
                message: format!("cannot be read: {error}"),
            }),
        }
    }

    /// `file` is its name in errors.
    pub fn parse(text: &str, file: &str, spelling: Spelling) -> Result<Self, TrustedError> {
        let wrong = |at: usize, message: String| TrustedError {
            file: file.to_owned(),
            line: text.get(..at).unwrap_or(text).matches('\n').count() + 1,
            message: message.replace(['\n', '\r'], " "),
        };
        let raw: RawFile = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            wrong(at, error.message().to_owned())
        })?;
        if raw.trusted.len() > FUNCTIONS_MAX {
            return Err(wrong(0, format!("lists more than {FUNCTIONS_MAX} functions")));
        }
        for one in &raw.trusted {
            let RawFunction { function, hash } = one.get_ref();
            if !is_signature(function, spelling) {
                let message = format!("`{function}` is no function with its schema and its types");
                return Err(wrong(one.span().start, message));
            }
            if !is_hash(hash) {
                return Err(wrong(
                    one.span().start,
                    format!("`{hash}` is no hash of a function"),
                ));
            }
        }
        let count = raw.trusted.len();
        let listed = raw.trusted.into_iter().map(|one| {
            let RawFunction { function, hash } = one.into_inner();
            ListedFunction { function, hash }
        });
        Ok(Self {
            functions: ListedFunctions::new(listed),
            count,
            digest: Sha256::digest(text.as_bytes()).into(),
        })
    }
}

fn is_signature(function: &str, spelling: Spelling) -> bool {
    if spelling == Spelling::Mysql && !function.is_empty() && !function.contains(['.', '(']) {
        return true;
    }
    let Some((name, _)) = function.strip_suffix(')').and_then(|rest| rest.split_once('(')) else {
        return false;
    };
    name.split_once('.')
        .is_some_and(|(schema, name)| !schema.is_empty() && !name.is_empty())
}

fn is_hash(hash: &str) -> bool {
    let digits = hash.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64
        && digits
            .bytes()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(function: &str, hash: &str) -> String {
        format!("[[trusted]]\nfunction = \"{function}\"\nhash = \"{hash}\"\n")
    }

    #[test]
    fn a_function_is_trusted_by_its_signature_and_its_hash() {
        let hash = format!("sha256:{}", "0f".repeat(32));
        let text = entry("app.net(numeric,numeric)", &hash);
        let trusted = Trusted::parse(&text, "trusted.toml", Spelling::Postgres).expect("right");
        let listed = ListedFunction {
            function: "app.net(numeric,numeric)".to_owned(),
            hash,
        };
        assert_eq!(trusted.functions, ListedFunctions::new([listed]));
        assert_eq!(
            Trusted::parse("", "trusted.toml", Spelling::Postgres)
                .expect("right")
                .count,
            0
        );
    }

    #[test]
    fn whatever_is_not_understood_is_an_error_with_its_line() {
        let hash = format!("sha256:{}", "0f".repeat(32));
        let first = entry("app.net(numeric)", &hash);
        let cases = [
            (entry("net(numeric)", &hash), 5, "is no function"),
            (entry("app.net", &hash), 5, "is no function"),
            (entry("app.net(int4)", "sha256:xyz"), 5, "is no hash"),
            (entry("app.net(int4)", &hash.to_uppercase()), 5, "is no hash"),
            (
                "[[trusted]]\nfunctio = \"a.b()\"\n".to_owned(),
                6,
                "unknown field",
            ),
        ];
        for (second, line, words) in cases {
            let error =
                Trusted::parse(&format!("{first}\n{second}"), "t", Spelling::Postgres).expect_err(&second);
            assert!(
                error.message.contains(words) && error.line == line,
                "{second}: {error}"
            );
        }
    }

    #[test]
    fn a_function_of_a_loaded_library_is_of_no_schema() {
        let text = entry("metaphon", &format!("sha256:{}", "0f".repeat(32)));
        assert_eq!(
            Trusted::parse(&text, "t", Spelling::Mysql).expect("right").count,
            1
        );
        assert!(Trusted::parse(&text, "t", Spelling::Postgres).is_err());
    }
}
