//! The patterns of words that sqlparser does not know, each with what it is put into.
//! Never looks at more than the words of one pattern. Read `../dialect.rs` next.

use sqlparser::tokenizer::Token as Foreign;

use super::{Level, Plain, identifier};
use crate::sql::lex::mysql::words::is_reserved;
use crate::sql::lex::mysql::{Kind, Token};

impl Plain<'_> {
    /// Puts a pattern that begins at the word at hand into other words. False: there is none.
    pub(super) fn pattern(&mut self) -> bool {
        let Some(token) = self.peek(0) else { return false };
        let word = token.text(self.text).to_ascii_lowercase();
        match word.as_str() {
            "sql_cache" if self.modifiers => self.drop(1),
            "distinctrow" => self.replace(1, &["DISTINCT"]),
            "lock" if self.is(1, "in") && self.is(2, "share") && self.is(3, "mode") => {
                self.replace(4, &["FOR", "SHARE"])
            }
            "limit" if self.is_examined(1) => self.drop(4),
            "rows" if self.is_examined(0) => self.drop(3),
            "mod" if self.is_infix() => {
                self.push(Foreign::Mod);
                true
            }
            "sounds" if self.is(1, "like") => self.drop(1),
            "interval" if self.is_interval_function() => {
                self.push(identifier("INTERVAL".to_owned(), None));
                true
            }
            "next" if self.is(1, "value") && self.is(2, "for") => self.sequence("NEXTVAL"),
            "previous" if self.is(1, "value") && self.is(2, "for") => self.sequence("LASTVAL"),
            "using" if self.levels.last() == Some(&Level::Char) && self.is_kind(2, Kind::Close) => {
                self.drop(2)
            }
            "as" => self.alias_of_argument(),
            "for" if self.is(1, "system_time") => self.system_time(),
            "low_priority" | "quick" | "ignore" if self.follows_change() => self.drop(1),
            "table" if self.is_table_query() => {
                // No token of the servers', so that nothing is read at all.
                self.push(Foreign::Backslash);
                true
            }
            unit => match simple_unit(unit) {
                Some(simple) => self.replace(1, &[simple]),
                None => false,
            },
        }
    }

    fn drop(&mut self, words: usize) -> bool {
        self.at += words;
        true
    }

    fn replace(&mut self, words: usize, by: &[&str]) -> bool {
        for word in by {
            self.keyword(word);
        }
        self.at += words;
        true
    }

    /// `ROWS EXAMINED 10`, which ends a LIMIT.
    fn is_examined(&self, ahead: usize) -> bool {
        self.is(ahead, "rows")
            && self.is(ahead + 1, "examined")
            && (self.is_kind(ahead + 2, Kind::Number) || self.is_kind(ahead + 2, Kind::Parameter))
    }

    /// `a MOD b`, not `MOD(a, b)`.
    fn is_infix(&self) -> bool {
        let Some(before) = self.before() else { return false };
        match before.kind {
            Kind::Word => {
                let word = before.text(self.text);
                let ends = [
                    "null",
                    "true",
                    "false",
                    "current_date",
                    "current_time",
                    "current_timestamp",
                ];
                !is_reserved(word) || ends.iter().any(|known| word.eq_ignore_ascii_case(known))
            }
            Kind::Name
            | Kind::Text
            | Kind::Number
            | Kind::Hex
            | Kind::Bits
            | Kind::Parameter
            | Kind::Variable
            | Kind::Close => true,
            Kind::Introducer
            | Kind::At
            | Kind::Operator
            | Kind::Comma
            | Kind::Semicolon
            | Kind::Open
            | Kind::Mark => false,
        }
    }

    /// `INTERVAL(a, b)` has a comma; `INTERVAL (a + b) DAY` has none.
    fn is_interval_function(&self) -> bool {
        if !self.is_kind(1, Kind::Open) {
            return false;
        }
        let mut depth = 0usize;
        for token in self.tokens.iter().skip(self.at + 1) {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close if depth <= 1 => return false,
                Kind::Close => depth -= 1,
                Kind::Comma if depth == 1 => return true,
                _ => {}
            }
        }
        false
    }

    /// `NEXT VALUE FOR s`, which writes, as the call that does the same.
    fn sequence(&mut self, function: &str) -> bool {
        let name = self.name_length(3);
        if name == 0 {
            return false;
        }
        self.place(identifier(function.to_owned(), None));
        self.place(Foreign::LParen);
        self.at += 3;
        for _ in 0..name {
            self.step();
        }
        self.place(Foreign::RParen);
        true
    }

    /// How many tokens from `ahead` on are `a` or `a.b`.
    fn name_length(&self, ahead: usize) -> usize {
        let is_name = |ahead| self.is_kind(ahead, Kind::Word) || self.is_kind(ahead, Kind::Name);
        match (
            is_name(ahead),
            self.is_kind(ahead + 1, Kind::Mark),
            is_name(ahead + 2),
        ) {
            (false, _, _) => 0,
            (true, true, true) => 3,
            (true, _, _) => 1,
        }
    }

    /// `f(expr AS name)`, and the `AS CHAR(3)` of WEIGHT_STRING.
    fn alias_of_argument(&mut self) -> bool {
        let ends = |ahead| self.is_kind(ahead, Kind::Close) || self.is_kind(ahead, Kind::Comma);
        let is_type = self.is(1, "char") || self.is(1, "binary");
        let has_length =
            self.is_kind(2, Kind::Open) && self.is_kind(3, Kind::Number) && self.is_kind(4, Kind::Close);
        match self.levels.last() {
            Some(Level::WeightString) if is_type && has_length => self.drop(5),
            Some(Level::WeightString | Level::Call) if ends(2) && self.name_length(1) == 1 => self.drop(2),
            Some(Level::WeightString | Level::Call) if ends(2) && self.is_kind(1, Kind::Text) => self.drop(2),
            Some(
                Level::Char
                | Level::WeightString
                | Level::Call
                | Level::Tables
                | Level::BareTables
                | Level::Other,
            )
            | None => false,
        }
    }

    /// FOR SYSTEM_TIME with constants: which versions of rows are read, of the same table.
    fn system_time(&mut self) -> bool {
        let length = if self.is(2, "all") {
            3
        } else if self.is(2, "as") && self.is(3, "of") {
            self.moment(4)
        } else if self.is(2, "from") {
            self.moments(3, "to")
        } else if self.is(2, "between") {
            self.moments(3, "and")
        } else {
            0
        };
        length > 0 && self.drop(length)
    }

    fn moments(&self, from: usize, word: &str) -> usize {
        match self.moment(from) {
            0 => 0,
            between if self.is(between, word) => self.moment(between + 1),
            _ => 0,
        }
    }

    /// How many tokens a constant moment from `ahead` on reaches to; 0: it is none.
    fn moment(&self, ahead: usize) -> usize {
        let marked = self.is(ahead, "timestamp") || self.is(ahead, "transaction");
        let at = ahead + usize::from(marked);
        let end = match self.peek(at).map(|token| token.kind) {
            Some(Kind::Text | Kind::Number | Kind::Parameter | Kind::Variable) => at + 1,
            Some(Kind::Word) => match self.now(at) {
                0 => return 0,
                end => end,
            },
            _ => return 0,
        };
        let shifted = self
            .peek(end)
            .is_some_and(|token| token.kind == Kind::Operator && ["+", "-"].contains(&token.text(self.text)))
            && self.is(end + 1, "interval")
            && (self.is_kind(end + 2, Kind::Number) || self.is_kind(end + 2, Kind::Text))
            && self.is_kind(end + 3, Kind::Word);
        if shifted { end + 4 } else { end }
    }

    /// `NOW()`, `NOW(6)`, `CURRENT_TIMESTAMP`, also with parentheses.
    fn now(&self, at: usize) -> usize {
        let digits = usize::from(self.is_kind(at + 2, Kind::Number));
        let called = self.is_kind(at + 1, Kind::Open) && self.is_kind(at + 2 + digits, Kind::Close);
        match (self.is(at, "current_timestamp"), self.is(at, "now"), called) {
            (true, _, true) | (_, true, true) => at + 3 + digits,
            (true, _, false) => at + 1,
            (false, _, _) => 0,
        }
    }

    /// `(TABLE t)`, `UNION TABLE t`: sqlparser drops the two words behind the name there.
    fn is_table_query(&self) -> bool {
        let Some(before) = self.before() else { return false };
        let known = [
            "alter",
            "analyze",
            "check",
            "create",
            "drop",
            "flush",
            "ignore",
            "local",
            "lock",
            "no_write_to_binlog",
            "on",
            "optimize",
            "rename",
            "repair",
            "replace",
            "temporary",
            "truncate",
        ];
        !known.iter().any(|known| before.is(self.text, known))
    }

    /// Behind UPDATE or DELETE and such words: they change neither rows nor tables.
    fn follows_change(&self) -> bool {
        let before: Vec<&Token> = self.tokens.iter().take(self.at).collect();
        let Some((first, rest)) = before.split_first() else {
            return false;
        };
        let is_change = first.is(self.text, "update") || first.is(self.text, "delete");
        let such = |token: &&Token| {
            ["low_priority", "quick", "ignore"]
                .iter()
                .any(|word| token.is(self.text, word))
        };
        is_change && rest.len() <= 3 && rest.iter().all(such)
    }
}

/// Words that may stand between SELECT and its first expression.
pub fn is_modifier(word: &str) -> bool {
    const KNOWN: [&str; 10] = [
        "all",
        "distinct",
        "distinctrow",
        "high_priority",
        "straight_join",
        "sql_small_result",
        "sql_big_result",
        "sql_buffer_result",
        "sql_no_cache",
        "sql_calc_found_rows",
    ];
    KNOWN.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// A unit that sqlparser knows in the place of one that it does not: both only say how a constant is read.
fn simple_unit(word: &str) -> Option<&'static str> {
    match word {
        "second_microsecond" => Some("SECOND"),
        "minute_microsecond" | "minute_second" => Some("MINUTE"),
        "hour_microsecond" | "hour_second" | "hour_minute" => Some("HOUR"),
        "day_microsecond" | "day_second" | "day_minute" | "day_hour" => Some("DAY"),
        "year_month" => Some("YEAR"),
        _ => None,
    }
}
