//! Expressions: every node is walked, every operator has its arm.
//! Never takes a variable for a column, or a column for a variable. Read `call.rs` next.

use sqlparser::ast::{
    Array, BinaryOperator, CaseWhen, CastKind, DataType, Expr, ExtractSyntax, Ident, Interval, MemberOf,
    ObjectName, ObjectNamePart, TypedString, UnaryOperator, Value,
};

use super::{Walk, setting};
use crate::sql::action::Class;

impl Walk<'_, '_> {
    pub(super) fn expressions(&mut self, list: &[Expr]) {
        for expr in list {
            self.expression(expr);
        }
    }

    pub(super) fn maybe(&mut self, expr: Option<&Expr>) {
        if let Some(expr) = expr {
            self.expression(expr);
        }
    }

    pub(super) fn expression(&mut self, expr: &Expr) {
        if !self.descend() {
            return;
        }
        match expr {
            Expr::Identifier(name) => self.identifier(name),
            Expr::CompoundIdentifier(parts) => self.compound(parts),
            Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotUnknown(inner)
            | Expr::Nested(inner) => self.expression(inner),
            Expr::InList {
                expr,
                list,
                negated: _,
            } => {
                self.expression(expr);
                self.expressions(list);
            }
            Expr::InSubquery {
                expr,
                subquery,
                negated: _,
            } => {
                self.expression(expr);
                self.query(subquery);
            }
            Expr::Between {
                expr,
                negated: _,
                low,
                high,
            } => {
                self.expression(expr);
                self.expression(low);
                self.expression(high);
            }
            Expr::BinaryOp { .. } => self.operation(expr),
            Expr::Like {
                negated: _,
                any,
                expr,
                pattern,
                escape_char,
            } => {
                self.expression(expr);
                self.expression(pattern);
                self.maybe(escape_char.as_deref());
                if *any {
                    self.unknown_node();
                }
            }
            Expr::RLike {
                negated: _,
                expr,
                pattern,
                regexp: _,
            } => {
                self.expression(expr);
                self.expression(pattern);
            }
            Expr::AnyOp {
                left,
                compare_op,
                right,
                is_some: _,
            }
            | Expr::AllOp {
                left,
                compare_op,
                right,
            } => {
                self.operator(compare_op);
                self.expression(left);
                self.expression(right);
            }
            Expr::UnaryOp { op, expr } => {
                self.unary(*op);
                self.expression(expr);
            }
            Expr::Convert {
                is_try,
                expr,
                data_type,
                charset: _,
                target_before_value,
                styles,
            } => {
                self.expression(expr);
                if *is_try || *target_before_value || !styles.is_empty() {
                    self.unknown_node();
                }
                if let Some(data_type) = data_type {
                    self.data_type(data_type);
                }
            }
            Expr::Cast {
                kind,
                expr,
                data_type,
                format,
            } => {
                self.expression(expr);
                self.data_type(data_type);
                match kind {
                    CastKind::Cast if format.is_none() => {}
                    CastKind::Cast | CastKind::TryCast | CastKind::SafeCast | CastKind::DoubleColon => {
                        self.unknown_node();
                    }
                }
            }
            Expr::Extract {
                field: _,
                syntax,
                expr,
            } => {
                match syntax {
                    ExtractSyntax::From => self.seen.froms += 1,
                    ExtractSyntax::Comma => self.unknown_node(),
                }
                self.expression(expr);
            }
            Expr::Ceil { expr, field: _ } | Expr::Floor { expr, field: _ } => self.expression(expr),
            Expr::Position { expr, r#in } => {
                self.expression(expr);
                self.expression(r#in);
            }
            Expr::Substring {
                expr,
                substring_from,
                substring_for,
                special,
                shorthand: _,
            } => {
                self.seen.froms += usize::from(!*special && substring_from.is_some());
                self.expression(expr);
                self.maybe(substring_from.as_deref());
                self.maybe(substring_for.as_deref());
            }
            Expr::Trim {
                trim_where,
                trim_what,
                expr,
                trim_characters,
            } => {
                self.seen.froms += usize::from(trim_where.is_some() || trim_what.is_some());
                self.maybe(trim_what.as_deref());
                self.expression(expr);
                if trim_characters.is_some() {
                    self.unknown_node();
                }
            }
            Expr::Collate { expr, collation: _ } => self.expression(expr),
            Expr::Value(value) => self.value(&value.value),
            Expr::Prefixed { prefix: _, value } => self.expression(value),
            Expr::TypedString(TypedString {
                data_type,
                value,
                uses_odbc_syntax: _,
            }) => {
                self.value(&value.value);
                // `text 'x'` is a column with an alias here, whatever the reader takes it for.
                if !matches!(
                    data_type,
                    DataType::Date | DataType::Time(..) | DataType::Timestamp(..) | DataType::Datetime(_)
                ) {
                    self.columns.insert("*".to_owned());
                }
            }
            Expr::Function(call) => self.call(call),
            Expr::Case {
                case_token: _,
                end_token: _,
                operand,
                conditions,
                else_result,
            } => {
                self.maybe(operand.as_deref());
                for CaseWhen { condition, result } in conditions {
                    self.expression(condition);
                    self.expression(result);
                }
                self.maybe(else_result.as_deref());
            }
            Expr::Exists { subquery, negated: _ } | Expr::Subquery(subquery) => self.query(subquery),
            Expr::Tuple(list) => self.expressions(list),
            Expr::Interval(Interval {
                value,
                leading_field: _,
                leading_precision: _,
                last_field: _,
                fractional_seconds_precision: _,
            }) => self.expression(value),
            Expr::MatchAgainst {
                columns,
                match_value,
                opt_search_modifier: _,
            } => {
                for column in columns {
                    self.column_name(column);
                }
                self.value(&match_value.value);
            }
            Expr::Wildcard(_) | Expr::QualifiedWildcard(_, _) => {
                self.columns.insert("*".to_owned());
            }
            Expr::MemberOf(MemberOf { value, array }) => {
                self.expression(value);
                self.expression(array);
            }
            // Neither server has these: what stands there is something else to it.
            Expr::CompoundFieldAccess { .. }
            | Expr::JsonAccess { .. }
            | Expr::IsDistinctFrom(_, _)
            | Expr::IsNotDistinctFrom(_, _)
            | Expr::IsJson { .. }
            | Expr::IsNormalized { .. }
            | Expr::InUnnest { .. }
            | Expr::ILike { .. }
            | Expr::SimilarTo { .. }
            | Expr::AtTimeZone { .. }
            | Expr::Overlay { .. }
            | Expr::GroupingSets(_)
            | Expr::Cube(_)
            | Expr::Rollup(_)
            | Expr::Struct { .. }
            | Expr::Named { .. }
            | Expr::Dictionary(_)
            | Expr::Map(_)
            | Expr::Array(Array { elem: _, named: _ })
            | Expr::OuterJoin(_)
            | Expr::Prior(_)
            | Expr::Lambda(_) => self.unknown_node(),
        }
        self.depth -= 1;
    }

    /// A column, a user variable or a system variable.
    fn identifier(&mut self, name: &Ident) {
        if name.quote_style.is_none()
            && let Some(variable) = name.value.strip_prefix("@@")
        {
            return self.system_variable(variable);
        }
        if name.quote_style.is_none() && name.value.starts_with('@') {
            return;
        }
        if is_value_word(name) {
            return;
        }
        self.seen.name(name);
        self.column(&name.value);
    }

    fn compound(&mut self, parts: &[Ident]) {
        let [first, .., last] = parts else {
            return self.unknown_node();
        };
        if first.quote_style.is_none() && first.value.starts_with("@@") {
            // `@@global.name`, `@@session.name`, `@@cache.key_buffer_size`.
            return self.system_variable(&last.value);
        }
        if parts.len() > 3 || (first.quote_style.is_none() && first.value.starts_with('@')) {
            return self.unknown_node();
        }
        self.seen.name(first);
        self.column(&last.value);
    }

    fn system_variable(&mut self, name: &str) {
        if setting::is_secret_to_show(name) {
            self.raise(
                Class::Admin,
                format!("shows the setting `{name}`, which may hold a password"),
            );
        }
    }

    /// Columns are compared without case.
    pub(super) fn column(&mut self, name: &str) {
        self.columns.insert(name.to_lowercase());
    }

    pub(super) fn column_name(&mut self, name: &ObjectName) {
        match name.0.last() {
            Some(ObjectNamePart::Identifier(last)) => self.column(&last.value),
            Some(ObjectNamePart::Function(_)) | None => self.unknown_node(),
        }
    }

    pub(super) fn value(&mut self, value: &Value) {
        match value {
            Value::Number(_, false)
            | Value::SingleQuotedString(_)
            | Value::DoubleQuotedString(_)
            | Value::NationalStringLiteral(_)
            | Value::HexStringLiteral(_)
            | Value::SingleQuotedByteStringLiteral(_)
            | Value::Boolean(_)
            | Value::Null => {}
            Value::Placeholder(sign) if sign == "?" => {}
            Value::Placeholder(_)
            | Value::Number(_, true)
            | Value::DollarQuotedString(_)
            | Value::TripleSingleQuotedString(_)
            | Value::TripleDoubleQuotedString(_)
            | Value::EscapedStringLiteral(_)
            | Value::UnicodeStringLiteral(_)
            | Value::DoubleQuotedByteStringLiteral(_)
            | Value::TripleSingleQuotedByteStringLiteral(_)
            | Value::TripleDoubleQuotedByteStringLiteral(_)
            | Value::SingleQuotedRawStringLiteral(_)
            | Value::DoubleQuotedRawStringLiteral(_)
            | Value::TripleSingleQuotedRawStringLiteral(_)
            | Value::TripleDoubleQuotedRawStringLiteral(_)
            | Value::QuoteDelimitedStringLiteral(_)
            | Value::NationalQuoteDelimitedStringLiteral(_) => self.unknown_node(),
        }
    }

    /// Types hold no code in either server, but some of the reader's hold expressions.
    fn data_type(&mut self, data_type: &DataType) {
        match data_type {
            DataType::Table(_)
            | DataType::NamedTable { .. }
            | DataType::Nested(_)
            | DataType::Tuple(_)
            | DataType::Struct(_, _)
            | DataType::Union(_)
            | DataType::Map(_, _, _)
            | DataType::Nullable(_)
            | DataType::LowCardinality(_) => self.unknown_node(),
            _ => {}
        }
    }

    fn operation(&mut self, expr: &Expr) {
        // Chains such as `a OR b OR c` lean left: the loop keeps them off the stack.
        let mut expr = expr;
        while let Expr::BinaryOp { left, op, right } = expr {
            if matches!(op, BinaryOperator::Assignment) {
                self.assignment(left);
            }
            self.operator(op);
            self.expression(right);
            expr = left;
        }
        self.expression(expr);
    }

    /// `@a := 1`: a user variable belongs to the session.
    fn assignment(&mut self, target: &Expr) {
        match target {
            Expr::Identifier(name)
                if name.quote_style.is_none()
                    && name.value.starts_with('@')
                    && !name.value.starts_with("@@") =>
            {
                self.session = true;
                // What it holds may be written by a later statement.
                self.reaches_unnamed = true;
            }
            // Anything else in this place is no variable; the match is on one shape alone.
            _ => self.unknown_node(),
        }
    }

    fn operator(&mut self, op: &BinaryOperator) {
        match op {
            BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo
            | BinaryOperator::StringConcat
            | BinaryOperator::Gt
            | BinaryOperator::Lt
            | BinaryOperator::GtEq
            | BinaryOperator::LtEq
            | BinaryOperator::Spaceship
            | BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::And
            | BinaryOperator::Or
            | BinaryOperator::Xor
            | BinaryOperator::BitwiseOr
            | BinaryOperator::BitwiseAnd
            | BinaryOperator::BitwiseXor
            | BinaryOperator::MyIntegerDivide
            | BinaryOperator::PGBitwiseShiftLeft
            | BinaryOperator::PGBitwiseShiftRight
            | BinaryOperator::Arrow
            | BinaryOperator::LongArrow
            | BinaryOperator::PGOverlap
            | BinaryOperator::Assignment => {}
            // Neither server has these: its words or signs mean something else there.
            BinaryOperator::DuckIntegerDivide
            | BinaryOperator::Match
            | BinaryOperator::Regexp
            | BinaryOperator::Glob
            | BinaryOperator::Custom(_)
            | BinaryOperator::PGBitwiseXor
            | BinaryOperator::PGExp
            | BinaryOperator::PGRegexMatch
            | BinaryOperator::PGRegexIMatch
            | BinaryOperator::PGRegexNotMatch
            | BinaryOperator::PGRegexNotIMatch
            | BinaryOperator::PGLikeMatch
            | BinaryOperator::PGILikeMatch
            | BinaryOperator::PGNotLikeMatch
            | BinaryOperator::PGNotILikeMatch
            | BinaryOperator::PGStartsWith
            | BinaryOperator::HashArrow
            | BinaryOperator::HashLongArrow
            | BinaryOperator::AtAt
            | BinaryOperator::AtArrow
            | BinaryOperator::ArrowAt
            | BinaryOperator::HashMinus
            | BinaryOperator::AtQuestion
            | BinaryOperator::Question
            | BinaryOperator::QuestionAnd
            | BinaryOperator::QuestionPipe
            | BinaryOperator::PGCustomBinaryOperator(_)
            | BinaryOperator::Overlaps
            | BinaryOperator::DoubleHash
            | BinaryOperator::LtDashGt
            | BinaryOperator::AndLt
            | BinaryOperator::AndGt
            | BinaryOperator::LtLtPipe
            | BinaryOperator::PipeGtGt
            | BinaryOperator::AndLtPipe
            | BinaryOperator::PipeAndGt
            | BinaryOperator::LtCaret
            | BinaryOperator::GtCaret
            | BinaryOperator::QuestionHash
            | BinaryOperator::QuestionDash
            | BinaryOperator::QuestionDashPipe
            | BinaryOperator::QuestionDoublePipe
            | BinaryOperator::At
            | BinaryOperator::TildeEq => self.unknown_node(),
        }
    }

    fn unary(&mut self, op: UnaryOperator) {
        match op {
            UnaryOperator::Plus
            | UnaryOperator::Minus
            | UnaryOperator::Not
            | UnaryOperator::BangNot
            | UnaryOperator::BitwiseNot => {}
            UnaryOperator::AtDashAt
            | UnaryOperator::DoubleAt
            | UnaryOperator::Hash
            | UnaryOperator::PGAbs
            | UnaryOperator::PGCubeRoot
            | UnaryOperator::PGPostfixFactorial
            | UnaryOperator::PGPrefixFactorial
            | UnaryOperator::PGSquareRoot
            | UnaryOperator::QuestionDash
            | UnaryOperator::QuestionPipe => self.unknown_node(),
        }
    }
}

/// A word that stands for a value by itself, without a parenthesis, and for no column.
pub(super) fn is_value_word(name: &Ident) -> bool {
    const WORDS: [&str; 12] = [
        "current_date",
        "current_role",
        "current_time",
        "current_timestamp",
        "current_user",
        "default",
        "localtime",
        "localtimestamp",
        "maxvalue",
        "utc_date",
        "utc_time",
        "utc_timestamp",
    ];
    name.quote_style.is_none() && WORDS.iter().any(|word| name.value.eq_ignore_ascii_case(word))
}
