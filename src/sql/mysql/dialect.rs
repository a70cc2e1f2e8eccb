//! sqlparser's idea of MySQL, mended where the servers' grammar (sql/sql_yacc.yy) says otherwise.
//! Never sees a text: its tokens come from our own scanner. Read `../classify/mysql.rs` next.
//!
//! Why reserved words are refused where an expression or an alias begins: the servers take them for keywords there, so
//! whoever reads on behind one as if it were a name has lost track of the statement.

use std::any::TypeId;

use sqlparser::ast::{Expr, Statement};
use sqlparser::dialect::{Dialect, MySqlDialect};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use crate::sql::lex::mysql::words::is_reserved;

#[derive(Debug)]
pub struct ServerDialect;

const BASE: MySqlDialect = MySqlDialect {};

/// Precedences that sqlparser has otherwise, beside its own 5 for OR, 10 for AND, 20 for comparisons, 21 to 23 for `|`
/// and `&`, 30 for sums and 40 for products.
const XOR: u8 = 7;
const SHIFTS: u8 = 25;
const POWER: u8 = 45;

/// Reserved words that an expression can begin with.
const BEGIN_EXPRESSIONS: &[&str] = &[
    "binary",
    "case",
    "char",
    "convert",
    "current_date",
    "current_time",
    "current_timestamp",
    "current_user",
    "database",
    "default",
    "distinct",
    "exists",
    "false",
    "if",
    "insert",
    "interval",
    "left",
    "localtime",
    "localtimestamp",
    "match",
    "mod",
    "not",
    "null",
    "repeat",
    "replace",
    "right",
    "schema",
    "true",
    "utc_date",
    "utc_time",
    "utc_timestamp",
    "values",
];

impl Dialect for ServerDialect {
    /// What sqlparser asks by type it asks of MySQL.
    fn dialect(&self) -> TypeId {
        TypeId::of::<MySqlDialect>()
    }

    fn is_identifier_start(&self, sign: char) -> bool {
        BASE.is_identifier_start(sign)
    }

    fn is_identifier_part(&self, sign: char) -> bool {
        BASE.is_identifier_part(sign)
    }

    fn is_delimited_identifier_start(&self, sign: char) -> bool {
        BASE.is_delimited_identifier_start(sign)
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        match &parser.peek_token_ref().token {
            // What a literal is needs no trial; sqlparser would try every type's name first.
            Token::Number(..) | Token::SingleQuotedString(_) | Token::HexStringLiteral(_) => {
                Some(parser.parse_value().map(Expr::Value))
            }
            Token::Word(word) => {
                let is_misread = word.keyword != Keyword::NoKeyword
                    && is_reserved(&word.value)
                    && !BEGIN_EXPRESSIONS
                        .iter()
                        .any(|known| word.value.eq_ignore_ascii_case(known));
                is_misread.then(|| Err(ParserError::ParserError("Expected: an expression".to_owned())))
            }
            _ => None,
        }
    }

    fn parse_infix(
        &self,
        parser: &mut Parser,
        expr: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        BASE.parse_infix(parser, expr, precedence)
    }

    /// `None` where sqlparser is right; 0 for what joins no expressions in the servers' grammar.
    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        let precedence = match &parser.peek_token_ref().token {
            Token::Caret => POWER,
            Token::ShiftLeft | Token::ShiftRight => SHIFTS,
            Token::Word(word) => match word.keyword {
                Keyword::XOR => XOR,
                Keyword::AT
                | Keyword::OVERLAPS
                | Keyword::ILIKE
                | Keyword::MATCH
                | Keyword::GLOB
                | Keyword::SIMILAR
                | Keyword::OPERATOR => 0,
                Keyword::NOT if !negates_a_test(parser) => 0,
                _ => return None,
            },
            _ => return None,
        };
        Some(Ok(precedence))
    }

    fn parse_statement(&self, parser: &mut Parser) -> Option<Result<Statement, ParserError>> {
        if parser.peek_keyword(Keyword::TABLE) {
            return Some(parse_table(parser));
        }
        BASE.parse_statement(parser)
    }

    fn is_column_alias(&self, keyword: &Keyword, parser: &mut Parser) -> bool {
        !is_reserved(&keyword.to_string()) && BASE.is_column_alias(keyword, parser)
    }

    fn is_select_item_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        !is_reserved(&keyword.to_string()) && (explicit || self.is_column_alias(keyword, parser))
    }

    fn is_table_factor_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        !is_reserved(&keyword.to_string()) && BASE.is_table_factor_alias(explicit, keyword, parser)
    }

    fn supports_bang_not_operator(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        BASE.supports_string_literal_backslash_escape()
    }

    fn supports_string_literal_concatenation(&self) -> bool {
        BASE.supports_string_literal_concatenation()
    }

    fn ignores_wildcard_escapes(&self) -> bool {
        BASE.ignores_wildcard_escapes()
    }

    fn supports_numeric_prefix(&self) -> bool {
        BASE.supports_numeric_prefix()
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        BASE.supports_bitwise_shift_operators()
    }

    fn supports_multiline_comment_hints(&self) -> bool {
        BASE.supports_multiline_comment_hints()
    }

    fn require_interval_qualifier(&self) -> bool {
        BASE.require_interval_qualifier()
    }

    fn supports_limit_comma(&self) -> bool {
        BASE.supports_limit_comma()
    }

    fn supports_create_table_select(&self) -> bool {
        BASE.supports_create_table_select()
    }

    fn supports_insert_set(&self) -> bool {
        BASE.supports_insert_set()
    }

    fn supports_user_host_grantee(&self) -> bool {
        BASE.supports_user_host_grantee()
    }

    fn supports_table_hints(&self) -> bool {
        BASE.supports_table_hints()
    }

    fn requires_single_line_comment_whitespace(&self) -> bool {
        BASE.requires_single_line_comment_whitespace()
    }

    fn supports_match_against(&self) -> bool {
        BASE.supports_match_against()
    }

    fn supports_select_modifiers(&self) -> bool {
        BASE.supports_select_modifiers()
    }

    fn supports_set_names(&self) -> bool {
        BASE.supports_set_names()
    }

    fn supports_comma_separated_set_assignments(&self) -> bool {
        BASE.supports_comma_separated_set_assignments()
    }

    fn supports_update_order_by(&self) -> bool {
        BASE.supports_update_order_by()
    }

    fn supports_data_type_signed_suffix(&self) -> bool {
        BASE.supports_data_type_signed_suffix()
    }

    fn supports_cross_join_constraint(&self) -> bool {
        BASE.supports_cross_join_constraint()
    }

    fn supports_double_ampersand_operator(&self) -> bool {
        BASE.supports_double_ampersand_operator()
    }

    fn supports_binary_kw_as_cast(&self) -> bool {
        BASE.supports_binary_kw_as_cast()
    }

    fn supports_comment_optimizer_hint(&self) -> bool {
        BASE.supports_comment_optimizer_hint()
    }

    fn supports_constraint_keyword_without_name(&self) -> bool {
        BASE.supports_constraint_keyword_without_name()
    }

    fn supports_key_column_option(&self) -> bool {
        BASE.supports_key_column_option()
    }

    fn supports_group_by_with_modifier(&self) -> bool {
        BASE.supports_group_by_with_modifier()
    }

    fn supports_left_associative_joins_without_parens(&self) -> bool {
        BASE.supports_left_associative_joins_without_parens()
    }
}

/// `TABLE a.b`, MySQL's short form of a SELECT. Nothing may follow: sqlparser drops the two words behind the name.
fn parse_table(parser: &mut Parser) -> Result<Statement, ParserError> {
    let is_qualified = parser.peek_nth_token_ref(2).token == Token::Period;
    let end = if is_qualified { 4 } else { 2 };
    if parser.peek_nth_token_ref(end).token != Token::EOF {
        return Err(ParserError::ParserError("Expected: end of statement".to_owned()));
    }
    parser.parse_query().map(Statement::from)
}

/// `NOT IN`, `NOT BETWEEN`, `NOT LIKE` and the like: elsewhere NOT begins an expression and joins none.
fn negates_a_test(parser: &Parser) -> bool {
    let Token::Word(word) = &parser.peek_nth_token_ref(1).token else {
        return false;
    };
    matches!(
        word.keyword,
        Keyword::IN | Keyword::BETWEEN | Keyword::LIKE | Keyword::RLIKE | Keyword::REGEXP | Keyword::MEMBER
    )
}
