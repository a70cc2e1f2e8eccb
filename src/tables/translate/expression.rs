//! Expressions: each node with its type, literals and parameters as their neighbours make them.
//! Never compares values of types that PostgreSQL would not compare. Read `call.rs` next, for functions.

use sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, DataType, Expr, Interval, SelectItem, Subscript,
    TrimWhereField, UnaryOperator, Value,
};

use super::Translator;
use super::scope::{Piece, folded, parts, text_literal};
use crate::tables::error::{SqlError, state};
use crate::tables::moment::{self, Span};
use crate::tables::schema::Model;
use crate::tables::types::{Type, short};

impl Translator {
    pub(super) fn expression(&mut self, expression: &Expr) -> Result<Piece, SqlError> {
        let before = self.frames.last().map_or(0, |frame| frame.ungrouped.len());
        let piece = self.node(expression)?;
        if let Some(frame) = self.frames.last_mut()
            && frame.groups.contains(&piece.sql)
        {
            frame.ungrouped.truncate(before);
        }
        Ok(piece)
    }

    /// An expression that says yes or no.
    pub(super) fn condition(&mut self, expression: &Expr) -> Result<Piece, SqlError> {
        let piece = self.expression(expression)?;
        self.coerce(piece, Type::Bool)
    }

    fn node(&mut self, expression: &Expr) -> Result<Piece, SqlError> {
        match expression {
            Expr::Identifier(ident) => {
                let name = folded(ident);
                match (ident.quote_style, self.column(None, &name)) {
                    (None, Err(error)) if error.sqlstate == state::NO_COLUMN => {
                        self.bare_word(&name).unwrap_or(Err(error))
                    }
                    (_, found) => found,
                }
            }
            Expr::CompoundIdentifier(path) => {
                let path: Vec<String> = path.iter().map(folded).collect();
                match path.as_slice() {
                    [.., table, name] => self.column(Some(table), name),
                    _ => Err(SqlError::unsupported("a name of one part with a dot")),
                }
            }
            Expr::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain),
            Expr::Nested(inner) => {
                let piece = self.expression(inner)?;
                Ok(
                    if piece.literal.is_some() || piece.parameter.is_some() || piece.span.is_some() {
                        piece
                    } else {
                        Piece::new(format!("({})", piece.sql), piece.ty)
                    },
                )
            }
            Expr::Value(value) => self.value(&value.value),
            Expr::TypedString(typed) => {
                let Some(text) = typed.value.value.clone().into_string() else {
                    return Err(SqlError::unsupported("this literal"));
                };
                self.cast_to(literal(&text), &typed.data_type)
            }
            Expr::Interval(interval) => written_interval(interval),
            Expr::Cast {
                kind: CastKind::Cast | CastKind::DoubleColon,
                expr,
                data_type,
                ..
            } => {
                if let Some(name) = function_named(expr)
                    && type_name(data_type) == "oid"
                {
                    return Err(SqlError::new(
                        state::NO_FUNCTION,
                        format!("function \"{}\" does not exist", short(name)),
                        "docs/sql.md lists the functions that queries of the log can use; none has a source",
                    ));
                }
                let piece = self.expression(expr)?;
                self.cast_to(piece, data_type)
            }
            Expr::IsNull(inner) => self.test(inner, "IS NULL"),
            Expr::IsNotNull(inner) => self.test(inner, "IS NOT NULL"),
            Expr::IsTrue(inner) => self.truth(inner, "IS TRUE"),
            Expr::IsNotTrue(inner) => self.truth(inner, "IS NOT TRUE"),
            Expr::IsFalse(inner) => self.truth(inner, "IS FALSE"),
            Expr::IsNotFalse(inner) => self.truth(inner, "IS NOT FALSE"),
            Expr::IsUnknown(inner) => self.truth(inner, "IS NULL"),
            Expr::IsNotUnknown(inner) => self.truth(inner, "IS NOT NULL"),
            Expr::IsDistinctFrom(left, right) => self.compare_nodes(left, "IS NOT", right),
            Expr::IsNotDistinctFrom(left, right) => self.compare_nodes(left, "IS", right),
            Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated),
            Expr::InSubquery {
                expr,
                subquery,
                negated,
            } => {
                let piece = self.expression(expr)?;
                let (sql, columns) = self.query(subquery)?;
                let [column] = columns.as_slice() else {
                    return Err(one_column());
                };
                let ty = piece
                    .ty
                    .common(column.ty)
                    .ok_or_else(|| differ(piece.ty, "IN", column.ty))?;
                let piece = self.coerce(piece, ty)?;
                let not = if *negated { "NOT " } else { "" };
                Ok(Piece::new(format!("({} {not}IN ({sql}))", piece.sql), Type::Bool))
            }
            Expr::Between {
                expr,
                negated,
                low,
                high,
            } => {
                let three = vec![
                    self.expression(expr)?,
                    self.expression(low)?,
                    self.expression(high)?,
                ];
                let (three, _) = self.unify(three)?;
                let not = if *negated { "NOT " } else { "" };
                let sql = format!(
                    "({} {not}BETWEEN {} AND {})",
                    three[0].sql, three[1].sql, three[2].sql
                );
                Ok(Piece::new(sql, Type::Bool))
            }
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr),
            Expr::Like {
                negated,
                any: false,
                expr,
                pattern,
                escape_char,
            } => self.like("cs_like", *negated, expr, pattern, escape_char.as_deref()),
            Expr::ILike {
                negated,
                any: false,
                expr,
                pattern,
                escape_char,
            } => self.like("cs_ilike", *negated, expr, pattern, escape_char.as_deref()),
            Expr::AnyOp {
                left,
                compare_op,
                right,
                ..
            } => self.quantified(left, compare_op, right, true),
            Expr::AllOp {
                left,
                compare_op,
                right,
            } => self.quantified(left, compare_op, right, false),
            Expr::AtTimeZone { timestamp, time_zone } => {
                let zone = self.expression(time_zone)?;
                let is_utc =
                    |zone: &String| ["utc", "gmt", "etc/utc", "z"].contains(&zone.to_lowercase().as_str());
                if !zone.literal.as_ref().is_some_and(is_utc) {
                    return Err(SqlError::unsupported("a time zone other than 'UTC'"));
                }
                let piece = self.expression(timestamp)?;
                self.coerce(piece, Type::Timestamp)
            }
            Expr::Extract { field, expr, .. } => {
                let piece = self.expression(expr)?;
                let field = field.to_string().to_lowercase();
                self.extract(field.trim_matches('\''), piece)
            }
            Expr::Ceil { expr, .. } => self.call_with("ceil", &[expr]),
            Expr::Floor { expr, .. } => self.call_with("floor", &[expr]),
            Expr::Position { expr, r#in } => self.call_with("strpos", &[r#in, expr]),
            Expr::Substring {
                expr,
                substring_from,
                substring_for,
                ..
            } => match (substring_from, substring_for) {
                (Some(from), Some(length)) => self.call_with("substr", &[expr, from, length]),
                (Some(from), None) => self.call_with("substring", &[expr, from]),
                (None, Some(length)) => {
                    let one = Expr::value(Value::Number("1".to_owned(), false));
                    self.call_with("substr", &[expr, &one, length])
                }
                (None, None) => self.call_with("substr", &[expr]),
            },
            Expr::Trim {
                trim_where,
                trim_what,
                expr,
                trim_characters,
            } => {
                let name = match trim_where {
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                    Some(TrimWhereField::Both) | None => "btrim",
                };
                let what = trim_what.as_deref().or_else(|| trim_characters.as_ref()?.first());
                let mut args: Vec<&Expr> = vec![expr];
                args.extend(what);
                self.call_with(name, &args)
            }
            Expr::Collate { expr, collation } => {
                let name = parts(collation)?.pop().unwrap_or_default();
                if !["default", "c", "posix", "ucs_basic"].contains(&name.to_lowercase().as_str()) {
                    return Err(SqlError::unsupported("a collation other than \"C\""));
                }
                self.expression(expr)
            }
            Expr::Case {
                operand,
                conditions,
                else_result,
                ..
            } => self.case(operand.as_deref(), conditions, else_result.as_deref()),
            Expr::Exists { subquery, negated } => {
                let (sql, _) = self.query(subquery)?;
                let not = if *negated { "NOT " } else { "" };
                Ok(Piece::new(format!("({not}EXISTS ({sql}))"), Type::Bool))
            }
            Expr::Subquery(query) => {
                let (sql, columns) = self.query(query)?;
                let [column] = columns.as_slice() else {
                    return Err(one_column());
                };
                Ok(Piece::new(format!("({sql})"), column.ty))
            }
            Expr::Function(function) => self.function(function),
            Expr::Array(array) => {
                let mut elements = Vec::new();
                for element in &array.elem {
                    elements.push(self.expression(element)?);
                }
                let (elements, ty) = self.unify(elements)?;
                let elements = elements.into_iter().map(|element| match ty {
                    _ if ty.is_integer() => element.sql,
                    _ => text_of(element).sql,
                });
                let elements: Vec<String> = elements.collect();
                let array = if ty.is_integer() {
                    Type::IntArray
                } else {
                    Type::TextArray
                };
                Ok(Piece::new(format!("json_array({})", elements.join(", ")), array))
            }
            Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => {
                Err(SqlError::unsupported("GROUPING SETS, CUBE and ROLLUP"))
            }
            other => Err(SqlError::unsupported(format!("`{}`", short(&other.to_string())))),
        }
    }

    fn value(&mut self, value: &Value) -> Result<Piece, SqlError> {
        match value {
            Value::Number(digits, _) => match digits.parse::<i64>() {
                Ok(number) if i32::try_from(number).is_ok() => Ok(Piece::new(number.to_string(), Type::Int4)),
                Ok(number) => Ok(Piece::new(number.to_string(), Type::Int8)),
                Err(_) => {
                    let number: f64 = digits.parse().map_err(|_| SqlError::unsupported("this number"))?;
                    if !number.is_finite() {
                        return Err(SqlError::new(
                            state::OUT_OF_RANGE,
                            "number out of range",
                            "write a number that a double precision holds",
                        ));
                    }
                    Ok(Piece::new(format!("{number:e}"), Type::Float8))
                }
            },
            Value::SingleQuotedString(text)
            | Value::EscapedStringLiteral(text)
            | Value::UnicodeStringLiteral(text)
            | Value::NationalStringLiteral(text) => Ok(literal(text)),
            Value::DollarQuotedString(text) => Ok(literal(&text.value)),
            Value::Boolean(flag) => Ok(Piece::new(if *flag { "TRUE" } else { "FALSE" }, Type::Bool)),
            Value::Null => Ok(Piece::null()),
            Value::Placeholder(name) => self.parameter(name),
            _ => Err(SqlError::unsupported("this literal")),
        }
    }

    /// Makes a piece one of `ty`, where PostgreSQL would do so unasked.
    pub(super) fn coerce(&mut self, piece: Piece, ty: Type) -> Result<Piece, SqlError> {
        if piece.ty == Type::Unknown {
            if let Some(text) = &piece.literal {
                return literal_as(text, ty);
            }
            if let Some(at) = piece.parameter {
                let decided =
                    *self.parameters[at].get_or_insert(if ty == Type::Unknown { Type::Text } else { ty });
                let known = Piece { ty: decided, ..piece };
                return if decided == Type::Unknown {
                    Ok(known)
                } else {
                    self.coerce(known, ty)
                };
            }
            return Ok(Piece { ty, ..piece });
        }
        let is_same = piece.ty == ty
            || piece.ty.is_integer() && ty.is_integer()
            || piece.ty.is_text() && ty.is_text()
            || piece.ty.is_array() && ty.is_array()
            || piece.ty == Type::Date && ty == Type::Timestamp;
        if is_same {
            return Ok(Piece { ty, ..piece });
        }
        if piece.ty.is_integer() && ty == Type::Float8 {
            return Ok(Piece::new(format!("CAST({} AS REAL)", piece.sql), ty));
        }
        // What a client sends as text, a parameter's place may still read.
        if piece.parameter.is_some() {
            return self.cast(piece, ty);
        }
        Err(SqlError::new(
            state::TYPES_DIFFER,
            format!(
                "an expression of type {} stands where one of type {} is needed",
                piece.ty.name(),
                ty.name()
            ),
            format!("cast it: (…)::{}", ty.name()),
        ))
    }

    /// Gives all of them their one common type.
    pub(super) fn unify(&mut self, pieces: Vec<Piece>) -> Result<(Vec<Piece>, Type), SqlError> {
        let mut ty = Type::Unknown;
        for piece in &pieces {
            ty = ty.common(piece.ty).ok_or_else(|| differ(ty, "and", piece.ty))?;
        }
        let is_text = pieces
            .iter()
            .any(|piece| piece.literal.is_some() || piece.parameter.is_some());
        if ty == Type::Unknown && is_text {
            ty = Type::Text;
        }
        let pieces = pieces.into_iter().map(|piece| self.coerce(piece, ty));
        Ok((pieces.collect::<Result<_, _>>()?, ty))
    }

    fn cast_to(&mut self, piece: Piece, data_type: &DataType) -> Result<Piece, SqlError> {
        let name = type_name(data_type);
        let unknown = || {
            SqlError::new(
                state::NO_OBJECT,
                format!("type \"{}\" does not exist", short(&name)),
                "cast to text, bigint, double precision, boolean, timestamptz, date, interval or json",
            )
        };
        if let Some(element) = name.strip_suffix("[]") {
            let ty = match Type::of_name(element) {
                Some(element) if element.is_integer() => Type::IntArray,
                Some(_) => Type::TextArray,
                None => return Err(unknown()),
            };
            return self.cast(piece, ty);
        }
        match name.as_str() {
            "regclass" => self.regclass(piece),
            "regtype" => {
                let piece = self.coerce(piece, Type::Oid)?;
                Ok(Piece::new(format!("cs_format_type({})", piece.sql), Type::Text))
            }
            "regproc" | "regprocedure" | "regoper" | "regoperator" | "regnamespace" | "regrole" => {
                let bare = piece
                    .literal
                    .as_ref()
                    .map(|name| name.trim_start_matches("pg_catalog."));
                match bare {
                    Some(name) => Ok(Piece::new(text_literal(name), Type::Text)),
                    None => self.cast(piece, Type::Text),
                }
            }
            name => self.cast(piece, Type::of_name(name).ok_or_else(unknown)?),
        }
    }

    /// `'name'::regclass` is a number, `number::regclass` a name.
    fn regclass(&mut self, piece: Piece) -> Result<Piece, SqlError> {
        let Some(name) = &piece.literal else {
            // What a parameter brings is a name, or a number as text.
            let is_open = piece.parameter.is_some() && piece.ty == Type::Unknown;
            let piece = if is_open || piece.ty.is_text() {
                self.cast(piece, Type::Text)?
            } else {
                self.coerce(piece, Type::Oid)?
            };
            let function = if piece.ty == Type::Text {
                "cs_regclass_oid"
            } else {
                "cs_regclass"
            };
            let ty = if piece.ty == Type::Text {
                Type::Oid
            } else {
                Type::Text
            };
            return Ok(Piece::new(format!("{function}({})", piece.sql), ty));
        };
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            return literal_as(name, Type::Oid);
        }
        let unquoted = name.replace('"', "");
        let (schema, table) = match unquoted.split_once('.') {
            Some((schema, table)) => (Some(schema), table),
            None => (None, unquoted.as_str()),
        };
        let found = Model::get().find(schema, table).ok_or_else(|| {
            SqlError::new(
                state::NO_TABLE,
                format!("relation \"{}\" does not exist", short(name)),
                "\\dt lists the tables of the log",
            )
        })?;
        Ok(Piece::new(found.oid.to_string(), Type::Oid))
    }

    /// An explicit cast.
    pub(super) fn cast(&mut self, piece: Piece, ty: Type) -> Result<Piece, SqlError> {
        if piece.ty == Type::Unknown || piece.ty == ty {
            return self.coerce(piece, ty);
        }
        let sql = piece.sql.clone();
        let from = piece.ty;
        let written = match ty {
            _ if ty.is_text() && from.is_text() => sql,
            _ if ty.is_text() => return Ok(Piece { ty, ..text_of(piece) }),
            _ if from.is_text() => format!("cs_read({}, {sql})", text_literal(ty.internal_name())),
            Type::Bool if from.is_integer() => format!("({sql} <> 0)"),
            _ if ty.is_integer() && (from.is_integer() || from == Type::Bool) => sql,
            _ if ty.is_integer() && from == Type::Float8 => format!("cs_rint({sql})"),
            Type::Float8 if from.is_integer() => format!("CAST({sql} AS REAL)"),
            Type::Date if from == Type::Timestamp => format!("cs_date_trunc('day', {sql})"),
            Type::Timestamp if from == Type::Date => sql,
            _ if ty.is_array() && from.is_array() => sql,
            _ => {
                return Err(SqlError::new(
                    "42846",
                    format!("cannot cast type {} to {}", from.name(), ty.name()),
                    "cast to text first",
                ));
            }
        };
        Ok(Piece::new(written, ty))
    }

    fn test(&mut self, inner: &Expr, test: &str) -> Result<Piece, SqlError> {
        let piece = self.expression(inner)?;
        let piece = if piece.ty == Type::Unknown {
            self.coerce(piece, Type::Text)?
        } else {
            piece
        };
        Ok(Piece::new(format!("({} {test})", piece.sql), Type::Bool))
    }

    fn truth(&mut self, inner: &Expr, test: &str) -> Result<Piece, SqlError> {
        let piece = self.condition(inner)?;
        Ok(Piece::new(format!("({} {test})", piece.sql), Type::Bool))
    }

    fn compare_nodes(&mut self, left: &Expr, operator: &str, right: &Expr) -> Result<Piece, SqlError> {
        let (left, right) = (self.expression(left)?, self.expression(right)?);
        self.compare(left, operator, right)
    }

    fn compare(&mut self, left: Piece, operator: &str, right: Piece) -> Result<Piece, SqlError> {
        if left.ty.common(right.ty).is_none() {
            return Err(differ(left.ty, operator, right.ty));
        }
        let (both, _) = self.unify(vec![left, right])?;
        Ok(Piece::new(
            format!("({} {operator} {})", both[0].sql, both[1].sql),
            Type::Bool,
        ))
    }

    fn in_list(&mut self, expression: &Expr, list: &[Expr], negated: bool) -> Result<Piece, SqlError> {
        let mut pieces = vec![self.expression(expression)?];
        for item in list {
            pieces.push(self.expression(item)?);
        }
        let (pieces, _) = self.unify(pieces)?;
        let listed: Vec<&str> = pieces[1..].iter().map(|piece| piece.sql.as_str()).collect();
        let not = if negated { "NOT " } else { "" };
        Ok(Piece::new(
            format!("({} {not}IN ({}))", pieces[0].sql, listed.join(", ")),
            Type::Bool,
        ))
    }

    fn binary(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr) -> Result<Piece, SqlError> {
        if let BinaryOperator::PGCustomBinaryOperator(path) = op {
            let op = custom(path.last().map_or("", String::as_str))?;
            return self.binary(left, &op, right);
        }
        if matches!(op, BinaryOperator::And | BinaryOperator::Or) {
            let (left, right) = (self.condition(left)?, self.condition(right)?);
            return Ok(Piece::new(
                format!("({} {op} {})", left.sql, right.sql),
                Type::Bool,
            ));
        }
        let comparison = match op {
            BinaryOperator::Eq => Some("="),
            BinaryOperator::NotEq => Some("<>"),
            BinaryOperator::Lt => Some("<"),
            BinaryOperator::LtEq => Some("<="),
            BinaryOperator::Gt => Some(">"),
            BinaryOperator::GtEq => Some(">="),
            _ => None,
        };
        if let Some(comparison) = comparison {
            return self.compare_nodes(left, comparison, right);
        }
        let pattern = match op {
            BinaryOperator::PGLikeMatch => Some(("cs_like", false)),
            BinaryOperator::PGILikeMatch => Some(("cs_ilike", false)),
            BinaryOperator::PGNotLikeMatch => Some(("cs_like", true)),
            BinaryOperator::PGNotILikeMatch => Some(("cs_ilike", true)),
            BinaryOperator::PGRegexMatch => Some(("cs_regex", false)),
            BinaryOperator::PGRegexIMatch => Some(("cs_iregex", false)),
            BinaryOperator::PGRegexNotMatch => Some(("cs_regex", true)),
            BinaryOperator::PGRegexNotIMatch => Some(("cs_iregex", true)),
            BinaryOperator::PGStartsWith => Some(("cs_starts_with", false)),
            _ => None,
        };
        if let Some((function, negated)) = pattern {
            return self.like(function, negated, left, right, None);
        }
        let (left, right) = (self.expression(left)?, self.expression(right)?);
        match op {
            BinaryOperator::StringConcat if left.ty.is_array() || right.ty.is_array() => {
                let ty = if left.ty.is_array() { left.ty } else { right.ty };
                let (left, right) = (self.one_or_many(left, ty)?, self.one_or_many(right, ty)?);
                Ok(Piece::new(format!("cs_array_cat({left}, {right})"), ty))
            }
            BinaryOperator::StringConcat => {
                let (left, right) = (self.textual(left)?, self.textual(right)?);
                Ok(Piece::new(format!("({} || {})", left.sql, right.sql), Type::Text))
            }
            BinaryOperator::Arrow | BinaryOperator::LongArrow => {
                let left = self.coerce(left, Type::Json)?;
                let right = if right.ty.is_integer() {
                    right
                } else {
                    self.coerce(right, Type::Text)?
                };
                let ty = if *op == BinaryOperator::Arrow {
                    Type::Json
                } else {
                    Type::Text
                };
                let sql = format!("({} {op} {})", left.sql, right.sql);
                // A number behind ->> is a number to the engine.
                Ok(if ty == Type::Text {
                    Piece::new(format!("CAST({sql} AS TEXT)"), ty)
                } else {
                    Piece::new(sql, ty)
                })
            }
            BinaryOperator::AtArrow | BinaryOperator::ArrowAt | BinaryOperator::PGOverlap => {
                let (both, _) = self.unify(vec![left, right])?;
                let (left, right) = (&both[0], &both[1]);
                if !left.ty.is_array() {
                    return Err(differ(left.ty, &op.to_string(), right.ty));
                }
                let sql = match op {
                    BinaryOperator::AtArrow => format!("cs_contains({}, {})", left.sql, right.sql),
                    BinaryOperator::ArrowAt => format!("cs_contains({}, {})", right.sql, left.sql),
                    _ => format!("cs_overlaps({}, {})", left.sql, right.sql),
                };
                Ok(Piece::new(sql, Type::Bool))
            }
            BinaryOperator::BitwiseAnd
            | BinaryOperator::BitwiseOr
            | BinaryOperator::PGBitwiseShiftLeft
            | BinaryOperator::PGBitwiseShiftRight => {
                let (left, right) = (self.coerce(left, Type::Int8)?, self.coerce(right, Type::Int8)?);
                Ok(Piece::new(
                    format!("({} {op} {})", left.sql, right.sql),
                    Type::Int8,
                ))
            }
            BinaryOperator::Plus | BinaryOperator::Minus => {
                self.add(left, *op == BinaryOperator::Minus, right)
            }
            BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo
            | BinaryOperator::PGExp => self.multiply(left, op, right),
            other => Err(SqlError::unsupported(format!("the operator {other}"))),
        }
    }

    /// An array, or an element as an array of one.
    fn one_or_many(&mut self, piece: Piece, array: Type) -> Result<String, SqlError> {
        let element = if array == Type::IntArray {
            Type::Int8
        } else {
            Type::Text
        };
        if piece.ty.is_array() {
            return Ok(piece.sql);
        }
        let piece = self.coerce(piece, element)?;
        Ok(format!("json_array({})", piece.sql))
    }

    fn add(&mut self, left: Piece, is_minus: bool, right: Piece) -> Result<Piece, SqlError> {
        let is_moment = |ty: Type| matches!(ty, Type::Timestamp | Type::Date);
        let sign = if is_minus { "-" } else { "+" };
        if !is_moment(left.ty) && is_moment(right.ty) && !is_minus {
            return self.add(right, false, left);
        }
        let right = match (&right.literal, is_moment(left.ty) || left.ty == Type::Interval) {
            (Some(text), true) if right.ty == Type::Unknown && Span::parse(text).is_some() => {
                literal_as(text, Type::Interval)?
            }
            _ => right,
        };
        match (left.ty, right.ty) {
            (moment, Type::Interval) if is_moment(moment) => {
                let sql = match right.span {
                    Some(span) if span.months != 0 => {
                        let of = |part: i64| if is_minus { -part } else { part };
                        format!(
                            "cs_add({}, {}, {})",
                            left.sql,
                            of(span.months),
                            of(span.rest_micros)
                        )
                    }
                    _ => format!("({} {sign} {})", left.sql, right.sql),
                };
                Ok(Piece::new(sql, Type::Timestamp))
            }
            (Type::Date, Type::Date) if is_minus => Ok(Piece::new(
                format!("(({} - {}) / {})", left.sql, right.sql, moment::DAY_MICROS),
                Type::Int4,
            )),
            (Type::Date, days) if days.is_integer() => Ok(Piece::new(
                format!("({} {sign} {} * {})", left.sql, right.sql, moment::DAY_MICROS),
                Type::Date,
            )),
            (moment, other)
                if is_moment(moment) && is_minus && (is_moment(other) || other == Type::Unknown) =>
            {
                let right = self.coerce(right, Type::Timestamp)?;
                Ok(Piece::new(
                    format!("({} - {})", left.sql, right.sql),
                    Type::Interval,
                ))
            }
            (Type::Unknown, moment) if is_moment(moment) && is_minus => {
                let left = self.coerce(left, Type::Timestamp)?;
                Ok(Piece::new(
                    format!("({} - {})", left.sql, right.sql),
                    Type::Interval,
                ))
            }
            (Type::Interval, Type::Interval) => Ok(Piece::new(
                format!("({} {sign} {})", left.sql, right.sql),
                Type::Interval,
            )),
            (moment, Type::Unknown) if is_moment(moment) => {
                let right = self.coerce(right, Type::Interval)?;
                Ok(Piece::new(
                    format!("({} {sign} {})", left.sql, right.sql),
                    Type::Timestamp,
                ))
            }
            _ => {
                let (both, ty) = self.numbers(left, sign, right)?;
                Ok(Piece::new(
                    format!("({} {sign} {})", both[0].sql, both[1].sql),
                    ty,
                ))
            }
        }
    }

    fn multiply(&mut self, left: Piece, op: &BinaryOperator, right: Piece) -> Result<Piece, SqlError> {
        if right.ty == Type::Interval && *op == BinaryOperator::Multiply && left.ty != Type::Interval {
            return self.multiply(right, op, left);
        }
        if left.ty == Type::Interval && matches!(op, BinaryOperator::Multiply | BinaryOperator::Divide) {
            let right = self.coerce(right, Type::Float8)?;
            let sql = match op {
                BinaryOperator::Multiply => format!("cs_rint({} * {})", left.sql, right.sql),
                _ => format!("cs_rint(cs_div(CAST({} AS REAL), {}))", left.sql, right.sql),
            };
            return Ok(Piece::new(sql, Type::Interval));
        }
        let (both, ty) = self.numbers(left, &op.to_string(), right)?;
        let (left, right) = (&both[0].sql, &both[1].sql);
        Ok(match op {
            BinaryOperator::Divide => Piece::new(format!("cs_div({left}, {right})"), ty),
            BinaryOperator::Modulo => Piece::new(format!("cs_mod({left}, {right})"), ty),
            BinaryOperator::PGExp => Piece::new(format!("cs_power({left}, {right})"), Type::Float8),
            _ => Piece::new(format!("({left} * {right})"), ty),
        })
    }

    fn numbers(&mut self, left: Piece, operator: &str, right: Piece) -> Result<(Vec<Piece>, Type), SqlError> {
        let ty = left
            .ty
            .common(right.ty)
            .ok_or_else(|| differ(left.ty, operator, right.ty))?;
        let ty = if ty == Type::Unknown { Type::Float8 } else { ty };
        if !ty.is_number() {
            return Err(differ(left.ty, operator, right.ty));
        }
        Ok((vec![self.coerce(left, ty)?, self.coerce(right, ty)?], ty))
    }

    fn unary(&mut self, op: UnaryOperator, inner: &Expr) -> Result<Piece, SqlError> {
        match op {
            UnaryOperator::Not => {
                let piece = self.condition(inner)?;
                Ok(Piece::new(format!("(NOT {})", piece.sql), Type::Bool))
            }
            UnaryOperator::Minus | UnaryOperator::Plus | UnaryOperator::BitwiseNot => {
                let piece = self.expression(inner)?;
                let piece = if piece.ty == Type::Unknown {
                    self.coerce(piece, Type::Float8)?
                } else {
                    piece
                };
                if !piece.ty.is_number() && piece.ty != Type::Interval {
                    return Err(differ(piece.ty, &op.to_string(), Type::Float8));
                }
                Ok(Piece::new(format!("({op} {})", piece.sql), piece.ty))
            }
            other => Err(SqlError::unsupported(format!("the operator {other}"))),
        }
    }

    fn like(
        &mut self,
        function: &str,
        negated: bool,
        text: &Expr,
        pattern: &Expr,
        escape: Option<&Expr>,
    ) -> Result<Piece, SqlError> {
        let (text, pattern) = (self.expression(text)?, self.expression(pattern)?);
        let (text, pattern) = (self.coerce(text, Type::Text)?, self.coerce(pattern, Type::Text)?);
        let escape = match escape {
            Some(escape) => {
                let piece = self.expression(escape)?;
                format!(", {}", self.coerce(piece, Type::Text)?.sql)
            }
            None => String::new(),
        };
        let not = if negated { "NOT " } else { "" };
        Ok(Piece::new(
            format!("({not}{function}({}, {}{escape}))", text.sql, pattern.sql),
            Type::Bool,
        ))
    }

    /// `x = ANY (array)`, `x = ANY (SELECT …)`, and their like with ALL.
    fn quantified(
        &mut self,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
        is_any: bool,
    ) -> Result<Piece, SqlError> {
        let op = match op {
            BinaryOperator::PGCustomBinaryOperator(path) => &custom(path.last().map_or("", String::as_str))?,
            plain => plain,
        };
        let word = match op {
            BinaryOperator::Eq => "=",
            BinaryOperator::NotEq => "<>",
            BinaryOperator::Lt => "<",
            BinaryOperator::LtEq => "<=",
            BinaryOperator::Gt => ">",
            BinaryOperator::GtEq => ">=",
            other => return Err(SqlError::unsupported(format!("{other} with ANY or ALL"))),
        };
        let mut right = right;
        while let Expr::Nested(inner) = right {
            right = inner;
        }
        let left = self.expression(left)?;
        let (rows, ty) = if let Expr::Subquery(query) = right {
            let (sql, columns) = self.query(query)?;
            let [column] = columns.as_slice() else {
                return Err(one_column());
            };
            (
                format!("(WITH \"a\"(\"value\") AS ({sql}) SELECT \"value\" FROM \"a\")"),
                column.ty,
            )
        } else {
            let array = if left.ty.is_integer() {
                Type::IntArray
            } else {
                Type::TextArray
            };
            let array = self.array(right, array)?;
            let element = if array.ty == Type::IntArray {
                Type::Int8
            } else {
                Type::Text
            };
            (format!("json_each({})", array.sql), element)
        };
        let common = left.ty.common(ty).ok_or_else(|| differ(left.ty, word, ty))?;
        let left = self.coerce(left, common)?;
        let sql = match (is_any, word) {
            (true, "=") => format!(
                "({} IN (SELECT \"each\".\"value\" FROM {rows} AS \"each\"))",
                left.sql
            ),
            (true, word) => format!(
                "(EXISTS (SELECT 1 FROM {rows} AS \"each\" WHERE {} {word} \"each\".\"value\"))",
                left.sql
            ),
            (false, word) => format!(
                "(NOT EXISTS (SELECT 1 FROM {rows} AS \"each\" WHERE NOT ({} {word} \"each\".\"value\")))",
                left.sql
            ),
        };
        Ok(Piece::new(sql, Type::Bool))
    }

    /// An expression that is an array; a literal or a parameter is one of `ty`.
    pub(super) fn array(&mut self, expression: &Expr, ty: Type) -> Result<Piece, SqlError> {
        let piece = self.expression(expression)?;
        if piece.ty == Type::Unknown {
            return self.coerce(piece, ty);
        }
        if !piece.ty.is_array() {
            return Err(SqlError::new(
                state::TYPES_DIFFER,
                format!("an expression of type {} is no array", piece.ty.name()),
                "write ARRAY['a', 'b'] or '{a,b}'",
            ));
        }
        Ok(piece)
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
    ) -> Result<Piece, SqlError> {
        let operand = operand.map(|operand| self.expression(operand)).transpose()?;
        let (mut whens, mut results) = (Vec::new(), Vec::new());
        for CaseWhen { condition, result } in conditions {
            let condition = match &operand {
                Some(operand) => {
                    let value = self.expression(condition)?;
                    self.compare(operand.clone(), "=", value)?
                }
                None => self.condition(condition)?,
            };
            whens.push(condition.sql);
            results.push(self.expression(result)?);
        }
        if let Some(otherwise) = otherwise {
            results.push(self.expression(otherwise)?);
        }
        let (results, ty) = self.unify(results)?;
        let mut sql = "CASE".to_owned();
        for (when, result) in whens.iter().zip(&results) {
            sql.push_str(&format!(" WHEN {when} THEN {}", result.sql));
        }
        if let Some(result) = results.get(whens.len()) {
            sql.push_str(&format!(" ELSE {}", result.sql));
        }
        Ok(Piece::new(format!("({sql} END)"), ty))
    }

    /// `array[i]`; and a field of what has no rows here, as JDBC asks for.
    fn access(&mut self, root: &Expr, chain: &[AccessExpr]) -> Result<Piece, SqlError> {
        // `t.column[i]` comes as a chain of its own.
        let (root, chain) = match (root, chain) {
            (Expr::Identifier(table), [AccessExpr::Dot(Expr::Identifier(column)), rest @ ..]) => {
                (self.column(Some(&folded(table)), &folded(column))?, rest)
            }
            _ => (self.expression(root)?, chain),
        };
        match chain {
            [AccessExpr::Subscript(Subscript::Index { index })] if root.ty.is_array() => {
                let index = self.expression(index)?;
                let index = self.coerce(index, Type::Int8)?;
                let ty = if root.ty == Type::IntArray {
                    Type::Int8
                } else {
                    Type::Text
                };
                Ok(Piece::new(format!("cs_element({}, {})", root.sql, index.sql), ty))
            }
            [AccessExpr::Dot(_)] if root.ty == Type::Unknown => Ok(Piece::new("NULL", Type::Int4)),
            _ => Err(SqlError::unsupported("a field or an element of this")),
        }
    }

    pub(super) fn extract(&mut self, field: &str, piece: Piece) -> Result<Piece, SqlError> {
        let piece = if piece.ty == Type::Unknown {
            self.coerce(piece, Type::Timestamp)?
        } else {
            piece
        };
        let (function, is_known) = match piece.ty {
            Type::Timestamp | Type::Date => ("cs_part", moment::part(field, 0).is_some()),
            Type::Interval => ("cs_interval_part", moment::interval_part(field, 0).is_some()),
            other => return Err(differ(other, "extract", Type::Timestamp)),
        };
        if !is_known {
            return Err(SqlError::new(
                state::BAD_PARAMETER,
                format!("unit \"{}\" not recognized", short(field)),
                "write epoch, second, minute, hour, day, dow, doy, week, month, quarter or year",
            ));
        }
        Ok(Piece::new(
            format!("{function}({}, {})", text_literal(field), piece.sql),
            Type::Float8,
        ))
    }

    /// As text, as `||` and `concat` want it.
    pub(super) fn textual(&mut self, piece: Piece) -> Result<Piece, SqlError> {
        if piece.ty == Type::Unknown {
            self.coerce(piece, Type::Text)
        } else {
            Ok(text_of(piece))
        }
    }

    /// What PostgreSQL calls a column without an alias.
    pub(super) fn natural_name(&self, expression: &Expr) -> String {
        let unnamed = || "?column?".to_owned();
        match expression {
            Expr::Identifier(name) => folded(name),
            Expr::CompoundIdentifier(path) => path.last().map_or_else(unnamed, folded),
            Expr::Function(function) => parts(&function.name)
                .ok()
                .and_then(|mut path| path.pop())
                .unwrap_or_else(unnamed),
            Expr::Cast { expr, data_type, .. } => match self.natural_name(expr) {
                name if name == "?column?" => type_name(data_type),
                name => name,
            },
            Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => self.natural_name(inner),
            Expr::Case { .. } => "case".to_owned(),
            Expr::Extract { .. } => "extract".to_owned(),
            Expr::Floor { .. } => "floor".to_owned(),
            Expr::Ceil { .. } => "ceil".to_owned(),
            Expr::Substring { .. } => "substring".to_owned(),
            Expr::Trim { .. } => "btrim".to_owned(),
            Expr::Exists { .. } => "exists".to_owned(),
            Expr::Array(_) => "array".to_owned(),
            Expr::Value(value) if matches!(value.value, Value::Boolean(_)) => "bool".to_owned(),
            Expr::Subquery(query) => match &*query.body {
                sqlparser::ast::SetExpr::Select(select) => match select.projection.first() {
                    Some(SelectItem::UnnamedExpr(expression)) => self.natural_name(expression),
                    Some(SelectItem::ExprWithAlias { alias, .. }) => folded(alias),
                    _ => unnamed(),
                },
                _ => unnamed(),
            },
            _ => unnamed(),
        }
    }
}

/// A text whose place decides what it means.
pub fn literal(text: &str) -> Piece {
    Piece {
        literal: Some(text.to_owned()),
        ..Piece::new(text_literal(text), Type::Unknown)
    }
}

/// What a literal means as a value of a type.
fn literal_as(text: &str, ty: Type) -> Result<Piece, SqlError> {
    let value = match ty.read(text)? {
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Real(number) if number.is_finite() => format!("{number:e}"),
        rusqlite::types::Value::Real(number) if number.is_nan() => return Err(SqlError::unsupported("NaN")),
        rusqlite::types::Value::Real(number) => (if number > 0.0 { "9e999" } else { "-9e999" }).to_owned(),
        rusqlite::types::Value::Text(text) => text_literal(&text),
        rusqlite::types::Value::Null | rusqlite::types::Value::Blob(_) => "NULL".to_owned(),
    };
    let span = if ty == Type::Interval {
        Span::parse(text.trim())
    } else {
        None
    };
    Ok(Piece {
        span,
        ..Piece::new(
            if value.starts_with('-') {
                format!("({value})")
            } else {
                value
            },
            ty,
        )
    })
}

fn written_interval(interval: &Interval) -> Result<Piece, SqlError> {
    let text = match &*interval.value {
        Expr::Value(value) => value.value.clone().into_string(),
        _ => None,
    };
    let Some(text) = text else {
        return Err(SqlError::unsupported(
            "an interval that is no literal: multiply one, as in n * interval '1 hour'",
        ));
    };
    if interval.last_field.is_some() {
        return Err(SqlError::unsupported("an interval of several fields"));
    }
    match &interval.leading_field {
        Some(field) => literal_as(&format!("{text} {field}"), Type::Interval),
        None => literal_as(&text, Type::Interval),
    }
}

/// A value as its text.
pub fn text_of(piece: Piece) -> Piece {
    let sql = match piece.ty {
        _ if piece.ty.is_text() || piece.ty == Type::Unknown => piece.sql,
        _ if piece.ty.is_integer() => format!("CAST({} AS TEXT)", piece.sql),
        ty => format!("cs_show({}, {})", text_literal(ty.internal_name()), piece.sql),
    };
    Piece::new(sql, Type::Text)
}

/// `OPERATOR(pg_catalog.~)` and the like.
fn custom(operator: &str) -> Result<BinaryOperator, SqlError> {
    Ok(match operator {
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "~~*" => BinaryOperator::PGILikeMatch,
        "||" => BinaryOperator::StringConcat,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        other => return Err(SqlError::unsupported(format!("the operator {}", short(other)))),
    })
}

/// The name in `'name'::regproc`.
fn function_named(expr: &Expr) -> Option<&str> {
    let Expr::Cast { expr, data_type, .. } = expr else {
        return None;
    };
    let is_function = matches!(type_name(data_type).as_str(), "regproc" | "regprocedure");
    match &**expr {
        Expr::Value(value) if is_function => match &value.value {
            Value::SingleQuotedString(name) if !name.bytes().all(|byte| byte.is_ascii_digit()) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

/// `pg_catalog.int4(…)`, `TIMESTAMP WITH TIME ZONE`, `"char"`: the bare name.
fn type_name(data_type: &DataType) -> String {
    let written = data_type.to_string().to_lowercase();
    let bare = written.trim_start_matches("pg_catalog.").replace('"', "");
    let array = if bare.ends_with("[]") { "[]" } else { "" };
    let bare = bare.trim_end_matches("[]");
    let bare = bare.split('(').next().unwrap_or_default().trim();
    let bare = match bare {
        "timestamp with time zone" | "timestamp without time zone" => "timestamptz",
        other => other,
    };
    format!("{bare}{array}")
}

pub fn differ(left: Type, operator: &str, right: Type) -> SqlError {
    SqlError::new(
        state::NO_FUNCTION,
        format!(
            "operator does not exist: {} {operator} {}",
            left.name(),
            right.name()
        ),
        "cast one side, as in (…)::text",
    )
}

fn one_column() -> SqlError {
    SqlError::new(
        state::SYNTAX,
        "subquery must return only one column",
        "select one column in it",
    )
}
