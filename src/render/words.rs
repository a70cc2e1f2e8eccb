//! Texts cut into words for both protocols alike, with what stands between them.
//! Never cuts by itself: the cuts are those of the lexers that judge. Read `sql/lex/mod.rs` for them.

use std::ops::Range;

use super::statement::Reading;
use crate::sql::lex::{mysql, postgres};
use crate::sql::mysql_state::ServerKind;
use crate::sql::statement::Encoding;

/// What a stretch of a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Word,
    /// A name in quotes, or what can only be a name.
    Name,
    Text,
    Number,
    Parameter,
    Comma,
    Semicolon,
    Open,
    Close,
    /// A dot: what follows is part of the name before.
    Dot,
    /// Operators, variables and all else.
    Other,
    Blank,
    Comment,
    /// `/*! … */`, or where it begins or ends if its inside is read by the server.
    Executable,
}

/// A stretch of the text. Together they are the whole text, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub kind: Kind,
    pub range: Range<usize>,
}

/// A text cut into words, or why it cannot be.
pub fn cut(text: &str, reading: &Reading) -> Result<Vec<Word>, String> {
    let (tokens, comments) = match reading {
        Reading::Unknown => return Err("the settings that it is read under are not known".to_owned()),
        Reading::Postgres { encoding, .. } if *encoding == Encoding::Other => {
            return Err("its character set is not read".to_owned());
        }
        Reading::Postgres { conforming, .. } => {
            let scan = postgres::scan(text, *conforming);
            if let Some(refused) = scan.refused.filter(|refused| !postgres_cut_whole(*refused)) {
                return Err(refused.to_string());
            }
            let tokens = scan.tokens.iter();
            let tokens: Vec<Word> = tokens
                .map(|token| Word {
                    kind: postgres_kind(token.kind, token.text(text)),
                    range: token.range(),
                })
                .collect();
            (tokens, Comments::Postgres)
        }
        Reading::Mysql(state) => {
            if !state.is_served() {
                return Err("its sql_mode or character set is not read".to_owned());
            }
            let scan = mysql::scan(text, 0, state);
            if let Some(refused) = scan.refused.filter(|refused| !mysql_cut_whole(*refused)) {
                return Err(refused.to_string());
            }
            let tokens = scan.tokens.iter();
            let tokens: Vec<Word> = tokens
                .map(|token| Word {
                    kind: mysql_kind(token.kind, token.text(text)),
                    range: token.range(),
                })
                .collect();
            (tokens, Comments::Mysql(state.kind))
        }
    };
    Ok(with_gaps(text, tokens, comments))
}

/// A limit of the readers behind the lexer: its cuts reach to the end all the same.
fn postgres_cut_whole(refused: postgres::Refused) -> bool {
    use postgres::Refused::*;
    match refused {
        TooDeep | TooLong | TooManySetOperations | TooManyJoins | TooManyStatements | TooManyTokens => true,
        Unterminated | Ambiguous | NumberWithTail | CommentInString | TooManyComments | Backslash => false,
    }
}

fn mysql_cut_whole(refused: mysql::Refused) -> bool {
    use mysql::Refused::*;
    match refused {
        TooDeep | TooLong | TooManySetOperations | TooManyJoins | TooManyStatements | TooManyTokens => true,
        Unterminated | Stray | StrayInWord | NumberWithTail | ExecutableComment | Hint | Introducer
        | Dollar | TooManyComments => false,
    }
}

fn postgres_kind(kind: postgres::Kind, text: &str) -> Kind {
    match kind {
        postgres::Kind::Word => Kind::Word,
        postgres::Kind::Name => Kind::Name,
        postgres::Kind::Text => Kind::Text,
        postgres::Kind::Number => Kind::Number,
        postgres::Kind::Parameter => Kind::Parameter,
        postgres::Kind::Comma => Kind::Comma,
        postgres::Kind::Semicolon => Kind::Semicolon,
        postgres::Kind::Open => Kind::Open,
        postgres::Kind::Close => Kind::Close,
        postgres::Kind::Mark if text == "." => Kind::Dot,
        postgres::Kind::Mark | postgres::Kind::Operator => Kind::Other,
    }
}

fn mysql_kind(kind: mysql::Kind, text: &str) -> Kind {
    match kind {
        mysql::Kind::Word => Kind::Word,
        mysql::Kind::Name => Kind::Name,
        mysql::Kind::Text => Kind::Text,
        mysql::Kind::Number | mysql::Kind::Hex | mysql::Kind::Bits => Kind::Number,
        mysql::Kind::Parameter => Kind::Parameter,
        mysql::Kind::Comma => Kind::Comma,
        mysql::Kind::Semicolon => Kind::Semicolon,
        mysql::Kind::Open => Kind::Open,
        mysql::Kind::Close => Kind::Close,
        mysql::Kind::Mark if text == "." => Kind::Dot,
        mysql::Kind::Mark
        | mysql::Kind::Operator
        | mysql::Kind::Introducer
        | mysql::Kind::Variable
        | mysql::Kind::At => Kind::Other,
    }
}

/// By whose rules a comment begins and ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comments {
    Postgres,
    Mysql(ServerKind),
}

/// What stands between the tokens is blanks and comments.
fn with_gaps(text: &str, tokens: Vec<Word>, comments: Comments) -> Vec<Word> {
    let mut words = Vec::with_capacity(tokens.len() * 2 + 1);
    let mut gaps = Gaps {
        bytes: text.as_bytes(),
        comments,
        runs: false,
    };
    let mut at = 0;
    for token in tokens {
        let start = token.range.start.clamp(at, text.len());
        gaps.fill(at..start, &mut words);
        at = token.range.end.clamp(start, text.len());
        words.push(Word {
            kind: token.kind,
            range: start..at,
        });
    }
    gaps.fill(at..text.len(), &mut words);
    words.retain(|word| !word.range.is_empty());
    words
}

struct Gaps<'t> {
    bytes: &'t [u8],
    comments: Comments,
    /// Inside an executable comment whose inside the server reads.
    runs: bool,
}

impl Gaps<'_> {
    fn fill(&mut self, gap: Range<usize>, words: &mut Vec<Word>) {
        let mut at = gap.start;
        while at < gap.end {
            let rest = self.bytes.get(at..gap.end).unwrap_or_default();
            let (kind, length) = self.next(rest);
            let end = at + length.clamp(1, rest.len().max(1));
            words.push(Word { kind, range: at..end });
            at = end;
        }
    }

    /// What a gap begins with, and how long it is.
    fn next(&mut self, rest: &[u8]) -> (Kind, usize) {
        let is_mysql = self.comments != Comments::Postgres;
        match rest {
            [b'-', b'-', ..] => (Kind::Comment, self.line(rest)),
            [b'#', ..] if is_mysql => (Kind::Comment, self.line(rest)),
            [b'/', b'*', ..] => self.block(rest),
            [b'*', b'/', ..] if self.runs => {
                self.runs = false;
                (Kind::Executable, 2)
            }
            _ => {
                let starts_comment = |at: usize| {
                    let two = rest.get(at..at + 2).unwrap_or_default();
                    matches!(two, b"--" | b"/*")
                        || (self.runs && two == b"*/")
                        || (is_mysql && rest.get(at) == Some(&b'#'))
                };
                let length = (1..rest.len()).find(|at| starts_comment(*at));
                (Kind::Blank, length.unwrap_or(rest.len()))
            }
        }
    }

    fn line(&self, rest: &[u8]) -> usize {
        let ends = |byte: &u8| *byte == b'\n' || (self.comments == Comments::Postgres && *byte == b'\r');
        rest.iter().position(ends).unwrap_or(rest.len())
    }

    fn block(&mut self, rest: &[u8]) -> (Kind, usize) {
        let marker = match (self.comments, rest) {
            (Comments::Mysql(_), [_, _, b'!', ..]) => 3,
            (Comments::Mysql(ServerKind::Mariadb | ServerKind::Unknown), [_, _, b'M', b'!', ..]) => 4,
            (Comments::Mysql(_) | Comments::Postgres, _) => {
                let nests = self.comments == Comments::Postgres;
                return (Kind::Comment, block_end(rest, 2, nests).unwrap_or(rest.len()));
            }
        };
        match block_end(rest, marker, true) {
            Some(end) => (Kind::Executable, end),
            // Its inside is read: it ends behind the tokens.
            None => {
                self.runs = true;
                let digits = rest.get(marker..).unwrap_or_default().iter();
                let digits = digits.take_while(|byte| byte.is_ascii_digit()).count();
                (Kind::Executable, marker + digits)
            }
        }
    }
}

/// Behind the `*/` that ends a comment, if the rest has it.
fn block_end(rest: &[u8], from: usize, nests: bool) -> Option<usize> {
    let (mut at, mut depth) = (from, 1_usize);
    while at < rest.len() {
        match rest.get(at..at + 2) {
            Some(b"/*") if nests => {
                depth += 1;
                at += 2;
            }
            Some(b"*/") => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// Words of the language that are shown as such, in lower case and in order.
pub fn is_keyword(word: &str) -> bool {
    const LONGEST: usize = 13;
    if word.len() > LONGEST {
        return false;
    }
    KEYWORDS
        .binary_search(&word.to_ascii_lowercase().as_str())
        .is_ok()
}

const KEYWORDS: &[&str] = &[
    "add",
    "all",
    "alter",
    "analyze",
    "and",
    "any",
    "as",
    "asc",
    "authorization",
    "begin",
    "between",
    "both",
    "by",
    "call",
    "cascade",
    "case",
    "cast",
    "change",
    "check",
    "cluster",
    "column",
    "comment",
    "commit",
    "concurrently",
    "conflict",
    "constraint",
    "copy",
    "create",
    "cross",
    "cube",
    "current",
    "cursor",
    "data",
    "database",
    "deallocate",
    "declare",
    "default",
    "deferrable",
    "delete",
    "desc",
    "describe",
    "disable",
    "discard",
    "distinct",
    "do",
    "domain",
    "drop",
    "dumpfile",
    "duplicate",
    "each",
    "else",
    "enable",
    "end",
    "escape",
    "except",
    "exclude",
    "execute",
    "exists",
    "explain",
    "extension",
    "fetch",
    "filter",
    "first",
    "following",
    "for",
    "force",
    "foreign",
    "from",
    "full",
    "function",
    "grant",
    "group",
    "grouping",
    "having",
    "if",
    "ignore",
    "ilike",
    "immutable",
    "in",
    "index",
    "infile",
    "inner",
    "insert",
    "intersect",
    "interval",
    "into",
    "is",
    "isolation",
    "join",
    "key",
    "kill",
    "language",
    "last",
    "lateral",
    "left",
    "level",
    "like",
    "limit",
    "load",
    "local",
    "lock",
    "locked",
    "materialized",
    "merge",
    "mode",
    "modify",
    "natural",
    "next",
    "not",
    "nothing",
    "nowait",
    "null",
    "nulls",
    "of",
    "offset",
    "on",
    "only",
    "option",
    "or",
    "order",
    "outer",
    "outfile",
    "over",
    "owner",
    "partition",
    "password",
    "policy",
    "preceding",
    "prepare",
    "primary",
    "privileges",
    "procedure",
    "program",
    "range",
    "recursive",
    "references",
    "refresh",
    "reindex",
    "release",
    "rename",
    "replace",
    "reset",
    "restart",
    "restrict",
    "returning",
    "returns",
    "revoke",
    "right",
    "role",
    "rollback",
    "rollup",
    "row",
    "rows",
    "savepoint",
    "schema",
    "security",
    "select",
    "sequence",
    "session",
    "set",
    "share",
    "show",
    "skip",
    "some",
    "start",
    "statement",
    "stdin",
    "stdout",
    "superuser",
    "table",
    "tables",
    "temp",
    "temporary",
    "then",
    "to",
    "transaction",
    "trigger",
    "truncate",
    "type",
    "unbounded",
    "union",
    "unique",
    "unlock",
    "update",
    "use",
    "user",
    "using",
    "vacuum",
    "values",
    "view",
    "when",
    "where",
    "window",
    "with",
    "without",
    "work",
    "write",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::mysql_state::MysqlState;

    #[test]
    fn keywords_are_in_order_so_that_each_is_found() {
        assert!(KEYWORDS.is_sorted());
        assert!(KEYWORDS.iter().all(|word| is_keyword(&word.to_uppercase())));
        assert!(!is_keyword("orders"));
    }

    fn shape(text: &str, reading: &Reading) -> Vec<(Kind, String)> {
        let words = cut(text, reading).unwrap();
        let words = words.into_iter().filter(|word| word.kind != Kind::Blank);
        words
            .map(|word| (word.kind, text[word.range].to_owned()))
            .collect()
    }

    #[test]
    fn comments_are_told_from_what_the_server_runs() {
        let postgres = Reading::POSTGRES;
        let told = shape("SELECT /* a /* b */ c */ 1 -- x\n, 2", &postgres);
        let comments: Vec<_> = told.iter().filter(|(kind, _)| *kind == Kind::Comment).collect();
        assert_eq!(comments.len(), 2);
        assert_eq!(comments[0].1, "/* a /* b */ c */");
        let mariadb = Reading::Mysql(MysqlState {
            version: Some(101_119),
            ..MysqlState::default_mariadb()
        });
        let told = shape("SELECT 1 /*!50000 , 2 */ /*!999999 3*/ # x", &mariadb);
        let executable: Vec<&str> = told
            .iter()
            .filter(|(kind, _)| *kind == Kind::Executable)
            .map(|(_, text)| text.as_str())
            .collect();
        assert_eq!(executable, ["/*!50000", "*/", "/*!999999 3*/"]);
        assert_eq!(told.last().unwrap(), &(Kind::Comment, "# x".to_owned()));
        assert!(cut("SELECT /*! 1 */", &Reading::Mysql(MysqlState::default_mysql())).is_err());
    }
}
