//! Checks what readers behind the scanner would recurse over.
//! Never looks into a token. Read `scanner.rs` next.

use super::{
    JOINS_MAX, Kind, NESTING_MAX, RUN_TOKENS_MAX, Refused, SET_OPERATIONS_MAX, STATEMENTS_MAX, TOKENS_MAX,
    Token,
};

/// Runs and nests are counted for each statement, statements for the text.
#[derive(Default)]
struct Count {
    levels: Vec<usize>,
    run: usize,
    cases: usize,
    set_operations: usize,
    joins: usize,
    statements: usize,
    in_statement: bool,
    /// The token before says that a word behind it is a name, even END.
    name_next: bool,
}

pub fn limits(text: &str, tokens: &[Token]) -> Result<(), Refused> {
    if tokens.len() > TOKENS_MAX {
        return Err(Refused::TooManyTokens);
    }
    let mut count = Count::default();
    for token in tokens {
        count.take(text, *token);
        if count.levels.len() + count.cases > NESTING_MAX {
            return Err(Refused::TooDeep);
        }
        if count.run > RUN_TOKENS_MAX {
            return Err(Refused::TooLong);
        }
        if count.set_operations > SET_OPERATIONS_MAX {
            return Err(Refused::TooManySetOperations);
        }
        if count.joins > JOINS_MAX {
            return Err(Refused::TooManyJoins);
        }
        if count.statements > STATEMENTS_MAX {
            return Err(Refused::TooManyStatements);
        }
    }
    Ok(())
}

impl Count {
    fn take(&mut self, text: &str, token: Token) {
        if token.kind != Kind::Semicolon && !self.in_statement {
            self.in_statement = true;
            self.statements += 1;
        }
        self.run += 1;
        match token.kind {
            Kind::Open => self.levels.push(std::mem::take(&mut self.run)),
            Kind::Close => self.run = self.levels.pop().unwrap_or(self.run),
            Kind::Comma => self.run = 0,
            Kind::Semicolon => {
                *self = Self {
                    statements: self.statements,
                    ..Self::default()
                };
            }
            Kind::Word => {
                self.word(token.text(text));
                self.name_next = begins_expression(token.text(text));
                return;
            }
            Kind::Name
            | Kind::Text
            | Kind::Introducer
            | Kind::Number
            | Kind::Hex
            | Kind::Bits
            | Kind::Parameter
            | Kind::Variable
            | Kind::At
            | Kind::Operator
            | Kind::Mark => {}
        }
        self.name_next = matches!(token.kind, Kind::Operator | Kind::Comma | Kind::Open);
    }

    fn word(&mut self, word: &str) {
        let is = |known: &&str| word.eq_ignore_ascii_case(known);
        self.cases += usize::from(is(&"case"));
        let ends = is(&"end") && !self.name_next;
        self.cases = self.cases.saturating_sub(usize::from(ends));
        self.joins += usize::from(["join", "straight_join"].iter().any(is));
        let combines = ["union", "intersect", "except", "minus"];
        self.set_operations += usize::from(combines.iter().any(is));
    }
}

/// Words that an expression must follow, so that END behind them is a column and ends no CASE.
fn begins_expression(word: &str) -> bool {
    const KNOWN: [&str; 10] = [
        "and", "case", "div", "else", "mod", "not", "or", "then", "when", "xor",
    ];
    KNOWN.iter().any(|known| word.eq_ignore_ascii_case(known))
}
