//! Expressions: every node is walked, every function is looked up.
//! Never takes a name in quotes or with a schema for one of the server's own. Read `manipulate.rs` next.

use sqlparser::ast::{
    Array, BinaryOperator, CaseWhen, CastKind, DataType, Expr, ExtractSyntax, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, Interval,
    MemberOf, ObjectName, ObjectNamePart, TypedString, UnaryOperator, Value, WindowFrame, WindowFrameBound,
    WindowSpec, WindowType,
};

use super::{Walk, setting};
use crate::sql::action::{Class, FunctionName};
use crate::sql::classify::lists::mysql::{self as lists, Known};
use crate::sql::mysql_state::ServerKind;

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
        if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("default") {
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

    fn value(&mut self, value: &Value) {
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

    pub(super) fn call(&mut self, call: &Function) {
        let Function {
            name,
            uses_odbc_syntax: _,
            parameters,
            args,
            within_group,
            filter,
            null_treatment: _,
            over,
        } = call;
        if !matches!(parameters, FunctionArguments::None) || filter.is_some() {
            self.unknown_node();
        }
        let mut count = 0;
        match args {
            // A word that is a call by itself, such as CURRENT_TIMESTAMP.
            FunctionArguments::None => {}
            FunctionArguments::Subquery(query) => {
                count = 1;
                self.query(query);
            }
            FunctionArguments::List(FunctionArgumentList {
                duplicate_treatment: _,
                args,
                clauses,
            }) => {
                count = args.len();
                args.iter().for_each(|argument| self.argument(argument));
                clauses.iter().for_each(|clause| self.clause(clause));
            }
        }
        self.sort(within_group);
        match over {
            None => {}
            Some(WindowType::NamedWindow(_)) => {}
            Some(WindowType::WindowSpec(window)) => self.window(window),
        }
        self.function(name, count, over.is_some());
    }

    fn argument(&mut self, argument: &FunctionArg) {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => self.expression(expr),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => {}
            FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(_)) => {
                self.columns.insert("*".to_owned());
            }
            FunctionArg::Unnamed(FunctionArgExpr::WildcardWithOptions(options)) => self.wildcard(options),
            FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => self.unknown_node(),
        }
    }

    fn clause(&mut self, clause: &FunctionArgumentClause) {
        match clause {
            FunctionArgumentClause::OrderBy(keys) => self.sort(keys),
            FunctionArgumentClause::Limit(expr) => self.expression(expr),
            FunctionArgumentClause::Separator(value) => self.value(&value.value),
            FunctionArgumentClause::IgnoreOrRespectNulls(_)
            | FunctionArgumentClause::JsonNullClause(_)
            | FunctionArgumentClause::JsonReturningClause(_) => {}
            FunctionArgumentClause::Where(_)
            | FunctionArgumentClause::OnOverflow(_)
            | FunctionArgumentClause::Having(_) => self.unknown_node(),
        }
    }

    pub(super) fn window(&mut self, window: &WindowSpec) {
        let WindowSpec {
            window_name: _,
            partition_by,
            order_by,
            window_frame,
        } = window;
        self.expressions(partition_by);
        self.sort(order_by);
        if let Some(WindowFrame {
            units: _,
            start_bound,
            end_bound,
        }) = window_frame
        {
            for bound in [Some(start_bound), end_bound.as_ref()].into_iter().flatten() {
                match bound {
                    WindowFrameBound::CurrentRow => {}
                    WindowFrameBound::Preceding(distance) | WindowFrameBound::Following(distance) => {
                        self.maybe(distance.as_deref());
                    }
                }
            }
        }
    }

    fn function(&mut self, name: &ObjectName, arguments: usize, windowed: bool) {
        let (schema, part) = match name.0.as_slice() {
            [ObjectNamePart::Identifier(name)] => (None, name),
            [
                ObjectNamePart::Identifier(schema),
                ObjectNamePart::Identifier(name),
            ] => (Some(schema.value.clone()), name),
            _ => return self.unknown_node(),
        };
        let folded = part.value.to_lowercase();
        let name = FunctionName {
            schema,
            name: folded.clone(),
        };
        self.seen.calls.insert(folded.clone());
        // In quotes, or with a schema, it is somebody's function: the server's own have neither.
        let known = if name.schema.is_some() || part.quote_style.is_some() {
            Known::Absent
        } else {
            lists::function(&folded, windowed, self.message.context.state)
        };
        self.functions.insert(name.clone());
        match known {
            Known::Harmless if folded == "last_insert_id" && arguments > 0 => self.raise(
                Class::Admin,
                "calls `last_insert_id` with a value, which changes what it returns from now on",
            ),
            Known::Harmless => {}
            Known::Held(Class::Session, _) => self.session = true,
            Known::Held(class, does) => {
                // A sequence that numbers an inserted row is part of that write; by itself it is one of its own.
                let numbers = folded == "nextval" && self.message.context.state.kind == ServerKind::Mariadb;
                if !(numbers && self.inserting) {
                    self.unbounded = true;
                }
                self.raise(class, format!("calls `{folded}`, which {does}"));
            }
            Known::Elsewhere | Known::Absent => self.stored_function(&name, arguments, known),
        }
    }

    /// A stored or loadable function: harmless only where an operator has listed it.
    fn stored_function(&mut self, name: &FunctionName, arguments: usize, known: Known) {
        if let Some(catalog) = self.message.context.names.catalog() {
            let meant: Vec<_> = catalog
                .functions(name)
                .into_iter()
                .filter(|routine| {
                    arguments >= routine.arguments_min
                        && routine.arguments_max.is_none_or(|most| arguments <= most)
                })
                .collect();
            for routine in &meant {
                if let Some(concern) = &routine.concern {
                    self.raise(concern.class, concern.reason.clone());
                }
            }
            if !meant.is_empty() {
                return;
            }
        }
        let why = match known {
            Known::Elsewhere => "is built in on some servers only",
            Known::Harmless | Known::Held(_, _) | Known::Absent => "is not known to be harmless",
        };
        self.raise(Class::Procedural, format!("calls `{name}`, which {why}"));
    }
}
