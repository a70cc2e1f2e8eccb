//! Functions: the list of those that queries can use, aggregates, windows, and what clients ask about the server.
//! Never passes on a function that is not listed here. Read `../functions.rs` for those of our own.

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, OrderByExpr, Value, WindowFrameBound, WindowSpec, WindowType,
};

use super::Translator;
use super::expression::text_of;
use super::query::direction;
use super::scope::{Piece, folded, parts, text_literal};
use crate::tables::catalog;
use crate::tables::error::{SqlError, state};
use crate::tables::schema::Source;
use crate::tables::types::{Type, short};

use Type::{Bool, Date, Float8, Int4, Int8, IntArray, Interval, Json, Oid, Text, TextArray, Timestamp};

/// Name, types of its arguments, type of its value, and what runs.
type Signature = (&'static str, &'static [Type], Type, &'static str);

/// Functions of fixed types. Of several of one name, the first counts that has as many arguments and fits.
const SIGNATURES: &[Signature] = &[
    ("lower", &[Text], Text, "cs_lower"),
    ("upper", &[Text], Text, "cs_upper"),
    ("initcap", &[Text], Text, "cs_initcap"),
    ("length", &[Text], Int4, "length"),
    ("char_length", &[Text], Int4, "length"),
    ("character_length", &[Text], Int4, "length"),
    ("octet_length", &[Text], Int4, "octet_length"),
    ("reverse", &[Text], Text, "cs_reverse"),
    ("btrim", &[Text], Text, "cs_btrim"),
    ("btrim", &[Text, Text], Text, "cs_btrim"),
    ("ltrim", &[Text], Text, "cs_ltrim"),
    ("ltrim", &[Text, Text], Text, "cs_ltrim"),
    ("rtrim", &[Text], Text, "cs_rtrim"),
    ("rtrim", &[Text, Text], Text, "cs_rtrim"),
    ("replace", &[Text, Text, Text], Text, "cs_replace"),
    ("repeat", &[Text, Int4], Text, "cs_repeat"),
    ("left", &[Text, Int4], Text, "cs_left"),
    ("right", &[Text, Int4], Text, "cs_right"),
    ("lpad", &[Text, Int4], Text, "cs_lpad"),
    ("lpad", &[Text, Int4, Text], Text, "cs_lpad"),
    ("rpad", &[Text, Int4], Text, "cs_rpad"),
    ("rpad", &[Text, Int4, Text], Text, "cs_rpad"),
    ("substr", &[Text, Int4], Text, "cs_substr"),
    ("substr", &[Text, Int4, Int4], Text, "cs_substr"),
    ("substring", &[Text, Int4], Text, "cs_substr"),
    ("substring", &[Text, Int4, Int4], Text, "cs_substr"),
    ("substring", &[Text, Text], Text, "cs_regex_part"),
    ("strpos", &[Text, Text], Int4, "cs_strpos"),
    ("position", &[Text, Text], Int4, "cs_strpos"),
    ("split_part", &[Text, Text, Int4], Text, "cs_split_part"),
    ("starts_with", &[Text, Text], Bool, "cs_starts_with"),
    ("md5", &[Text], Text, "cs_md5"),
    ("ascii", &[Text], Int4, "unicode"),
    ("chr", &[Int4], Text, "char"),
    ("quote_ident", &[Text], Text, "cs_quote_ident"),
    ("quote_literal", &[Text], Text, "cs_quote_literal"),
    ("regexp_replace", &[Text, Text, Text], Text, "cs_regex_replace"),
    (
        "regexp_replace",
        &[Text, Text, Text, Text],
        Text,
        "cs_regex_replace",
    ),
    ("regexp_like", &[Text, Text], Bool, "cs_regex"),
    ("round", &[Float8], Float8, "cs_rint"),
    ("round", &[Float8, Int4], Float8, "cs_round"),
    ("ceil", &[Float8], Float8, "cs_ceil"),
    ("ceiling", &[Float8], Float8, "cs_ceil"),
    ("floor", &[Float8], Float8, "cs_floor"),
    ("trunc", &[Float8], Float8, "cs_trunc"),
    ("sqrt", &[Float8], Float8, "cs_sqrt"),
    ("exp", &[Float8], Float8, "cs_exp"),
    ("ln", &[Float8], Float8, "cs_ln"),
    ("log", &[Float8], Float8, "cs_log10"),
    ("power", &[Float8, Float8], Float8, "cs_power"),
    ("pow", &[Float8, Float8], Float8, "cs_power"),
    ("sign", &[Float8], Float8, "sign"),
    ("now", &[], Timestamp, "cs_now"),
    ("current_timestamp", &[], Timestamp, "cs_now"),
    ("statement_timestamp", &[], Timestamp, "cs_now"),
    ("transaction_timestamp", &[], Timestamp, "cs_now"),
    ("clock_timestamp", &[], Timestamp, "cs_now"),
    ("localtimestamp", &[], Timestamp, "cs_now"),
    ("to_timestamp", &[Float8], Timestamp, "cs_to_timestamp"),
    ("date_trunc", &[Text, Timestamp], Timestamp, "cs_date_trunc"),
    (
        "date_bin",
        &[Interval, Timestamp, Timestamp],
        Timestamp,
        "cs_date_bin",
    ),
    ("to_char", &[Timestamp, Text], Text, "cs_to_char"),
    ("json_array_length", &[Json], Int4, "json_array_length"),
    ("jsonb_array_length", &[Json], Int4, "json_array_length"),
    ("array_length", &[TextArray, Int4], Int4, "cs_array_length"),
    ("array_upper", &[TextArray, Int4], Int4, "cs_array_length"),
    ("array_lower", &[TextArray, Int4], Int4, "cs_array_lower"),
    ("parse_ident", &[Text], TextArray, "cs_parse_ident"),
    ("cardinality", &[TextArray], Int4, "json_array_length"),
    ("array_to_string", &[TextArray, Text], Text, "cs_array_to_string"),
    (
        "array_to_string",
        &[TextArray, Text, Text],
        Text,
        "cs_array_to_string",
    ),
    ("string_to_array", &[Text, Text], TextArray, "cs_string_to_array"),
    // What clients ask about the server.
    ("format_type", &[Oid, Int4], Text, "cs_format_type"),
    ("pg_get_userbyid", &[Oid], Type::Name, "cs_person_by_oid"),
    ("pg_get_expr", &[Text, Oid], Text, "cs_nothing"),
    ("pg_get_expr", &[Text, Oid, Bool], Text, "cs_nothing"),
    ("pg_get_constraintdef", &[Oid], Text, "cs_nothing"),
    ("pg_get_constraintdef", &[Oid, Bool], Text, "cs_nothing"),
    ("pg_get_indexdef", &[Oid], Text, "cs_nothing"),
    ("pg_get_indexdef", &[Oid, Int4, Bool], Text, "cs_nothing"),
    ("pg_get_viewdef", &[Oid], Text, "cs_nothing"),
    ("pg_get_viewdef", &[Oid, Bool], Text, "cs_nothing"),
    ("pg_get_triggerdef", &[Oid, Bool], Text, "cs_nothing"),
    ("pg_get_ruledef", &[Oid, Bool], Text, "cs_nothing"),
    ("pg_get_partkeydef", &[Oid], Text, "cs_nothing"),
    // psql 18 asks it for every table; there are no partitions here.
    ("pg_partition_ancestors", &[Oid], Oid, "cs_nothing"),
    ("pg_get_statisticsobjdef_columns", &[Oid], Text, "cs_nothing"),
    ("pg_get_serial_sequence", &[Text, Text], Text, "cs_nothing"),
    ("pg_get_function_result", &[Oid], Text, "cs_nothing"),
    ("pg_get_function_sqlbody", &[Oid], Text, "cs_nothing"),
    ("pg_get_function_arguments", &[Oid], Text, "cs_nothing"),
    ("pg_get_function_identity_arguments", &[Oid], Text, "cs_nothing"),
    ("shobj_description", &[Oid, Text], Text, "cs_nothing"),
    ("pg_tablespace_location", &[Oid], Text, "cs_nothing"),
    ("obj_description", &[Oid, Text], Text, "cs_description"),
    ("obj_description", &[Oid], Text, "cs_description"),
    ("col_description", &[Oid, Int4], Text, "cs_description_of_column"),
    ("pg_table_is_visible", &[Oid], Bool, "cs_is_visible"),
    ("pg_relation_is_publishable", &[Oid], Bool, "cs_no"),
    ("pg_is_in_recovery", &[], Bool, "cs_no"),
    ("pg_is_other_temp_schema", &[Oid], Bool, "cs_no"),
    ("pg_total_relation_size", &[Oid], Int8, "cs_zero"),
    ("pg_relation_size", &[Oid], Int8, "cs_zero"),
    ("pg_table_size", &[Oid], Int8, "cs_zero"),
    ("pg_indexes_size", &[Oid], Int8, "cs_zero"),
    ("pg_database_size", &[Type::Name], Int8, "cs_zero"),
    ("pg_tablespace_size", &[Oid], Int8, "cs_zero"),
    ("pg_size_pretty", &[Int8], Text, "cs_size_pretty"),
    ("pg_encoding_to_char", &[Int4], Type::Name, "cs_encoding"),
    ("pg_backend_pid", &[], Int4, "cs_process"),
    ("pg_my_temp_schema", &[], Oid, "cs_zero"),
    ("txid_current", &[], Int8, "cs_zero"),
    ("to_regclass", &[Text], Oid, "cs_regclass_oid"),
    ("to_regtype", &[Text], Oid, "cs_regtype_oid"),
    ("current_setting", &[Text], Text, "cs_setting"),
    ("current_setting", &[Text, Bool], Text, "cs_setting"),
    ("pg_char_to_encoding", &[Type::Name], Int4, "cs_encoding_number"),
    ("array_position", &[TextArray, Text], Int4, "cs_array_position"),
    ("array_remove", &[TextArray, Text], TextArray, "cs_array_remove"),
];

/// Functions whose every use is answered so, whatever the arguments.
fn is_always_so(name: &str) -> bool {
    let is_visible =
        name.starts_with("pg_") && name.ends_with("_is_visible") && name != "pg_table_is_visible";
    name == "pg_has_role" || is_visible
}

/// `has_table_privilege` and its like: who asks may read all that is here, and nothing else.
fn is_privilege_question(name: &str) -> bool {
    name.starts_with("has_") && name.ends_with("_privilege")
}

impl Translator {
    /// A word without parentheses that is a function in PostgreSQL.
    pub(super) fn bare_word(&mut self, name: &str) -> Option<Result<Piece, SqlError>> {
        let words = [
            "current_user",
            "session_user",
            "user",
            "current_role",
            "current_catalog",
            "current_schema",
            "current_date",
            "current_timestamp",
            "localtimestamp",
        ];
        words.contains(&name).then(|| self.plain(name, Vec::new()))
    }

    pub(super) fn call_with(&mut self, name: &str, args: &[&Expr]) -> Result<Piece, SqlError> {
        let args = args.iter().map(|arg| self.expression(arg));
        let args = args.collect::<Result<Vec<_>, _>>()?;
        self.plain(name, args)
    }

    pub(super) fn function(&mut self, function: &Function) -> Result<Piece, SqlError> {
        let path = parts(&function.name)?;
        let name = match path.as_slice() {
            [name] => name,
            [schema, name] if schema == "pg_catalog" || schema == "information_schema" => name,
            _ => return Err(no_function(&path.join("."), &[])),
        };
        if function.null_treatment.is_some() || !matches!(function.parameters, FunctionArguments::None) {
            return Err(SqlError::unsupported("this form of a function call"));
        }
        let list = match &function.args {
            FunctionArguments::None => None,
            FunctionArguments::List(list) => Some(list),
            FunctionArguments::Subquery(query) if name == "array" => {
                let (sql, columns) = self.query(query)?;
                let ty = columns.first().map_or(Text, |column| column.ty);
                let inner = format!(
                    "WITH \"a\"(\"value\") AS ({sql}) SELECT coalesce(json_group_array(\"value\"), '[]') FROM \"a\""
                );
                return Ok(Piece::new(
                    format!("({inner})"),
                    if ty.is_integer() { IntArray } else { TextArray },
                ));
            }
            FunctionArguments::Subquery(_) => {
                return Err(SqlError::unsupported("a sub-query as the argument"));
            }
        };
        let is_distinct =
            list.is_some_and(|list| list.duplicate_treatment == Some(DuplicateTreatment::Distinct));
        let mut order: &[OrderByExpr] = &[];
        for clause in list.map(|list| list.clauses.as_slice()).unwrap_or_default() {
            match clause {
                FunctionArgumentClause::OrderBy(keys) => order = keys,
                _ => return Err(SqlError::unsupported("this clause inside a function call")),
            }
        }
        if let ("unnest" | "generate_subscripts", Some(list)) = (name.as_str(), list)
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(array))) = list.args.first()
            && self.is_of_no_rows(array)
        {
            return Ok(Piece::new("NULL", Int8));
        }
        let is_aggregate = is_aggregate(name);
        let before = self.frames.last().map_or(0, |frame| frame.ungrouped.len());
        let mut args = Vec::new();
        let mut is_star = false;
        for arg in list.map(|list| list.args.as_slice()).unwrap_or_default() {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => {
                    args.push(self.expression(expression)?)
                }
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if name == "count" => is_star = true,
                _ => return Err(SqlError::unsupported("this argument")),
            }
        }
        let is_window_function = is_window_function(name);
        if !is_aggregate && !is_window_function {
            let is_plain = !is_distinct
                && order.is_empty()
                && function.filter.is_none()
                && function.over.is_none()
                && function.within_group.is_empty();
            if !is_plain {
                return Err(no_function(name, &args));
            }
            return self.plain(name, args);
        }
        if !function.within_group.is_empty() {
            return Err(SqlError::unsupported("WITHIN GROUP"));
        }
        let mut piece = if is_star {
            Piece::new("count(*)", Int8)
        } else if is_aggregate {
            self.aggregate(name, args, is_distinct, order)?
        } else {
            self.window_function(name, args)?
        };
        if let Some(filter) = &function.filter {
            let condition = self.condition(filter)?;
            piece.sql.push_str(&format!(" FILTER (WHERE {})", condition.sql));
        }
        match &function.over {
            Some(over) => piece.sql.push_str(&self.over(over)?),
            None if is_window_function => {
                return Err(SqlError::new(
                    state::GROUPING,
                    format!("window function {name} requires an OVER clause"),
                    "add OVER (ORDER BY …)",
                ));
            }
            None => {
                let frame = self.frame();
                frame.has_aggregate = true;
                frame.ungrouped.truncate(before);
            }
        }
        Ok(piece)
    }

    /// Whether an expression is a list of numbers in the catalog, as of an index: none of the tables with such a column
    /// has a row, so what a client asks of them for each element has none either.
    fn is_of_no_rows(&self, expression: &Expr) -> bool {
        let path: Vec<String> = match expression {
            Expr::Identifier(name) => vec![folded(name)],
            Expr::CompoundIdentifier(path) => path.iter().map(folded).collect(),
            _ => return false,
        };
        let (Some(column), Some(frame)) = (path.last(), self.frames.last()) else {
            return false;
        };
        let alias = path.len().checked_sub(2).map(|at| &path[at]);
        let named = |relation: &&super::scope::Relation| alias.is_none_or(|alias| *alias == relation.alias);
        let mut relations = frame.relations.iter().filter(named);
        relations.any(|relation| {
            let table = relation.table.as_ref();
            let table = table.and_then(|(table, _)| self.uses.get(table));
            table.is_some_and(|used| {
                let is_catalog = matches!(used.table.source, Source::Catalog);
                let at = used.table.column(column);
                is_catalog && at.is_some_and(|at| used.table.columns[at].ty == IntArray)
            })
        })
    }

    fn aggregate(
        &mut self,
        name: &str,
        args: Vec<Piece>,
        is_distinct: bool,
        order: &[OrderByExpr],
    ) -> Result<Piece, SqlError> {
        let distinct = if is_distinct { "DISTINCT " } else { "" };
        let mut keys = Vec::new();
        for key in order {
            keys.push(format!("{}{}", self.expression(&key.expr)?.sql, direction(key)));
        }
        let order = if keys.is_empty() {
            String::new()
        } else {
            format!(" ORDER BY {}", keys.join(", "))
        };
        let [first, rest @ ..] = args.as_slice() else {
            return Err(no_function(name, &args));
        };
        let first = if first.ty == Type::Unknown {
            self.coerce(first.clone(), Text)?
        } else {
            first.clone()
        };
        let one =
            |function: &str, ty: Type| Piece::new(format!("{function}({distinct}{}{order})", first.sql), ty);
        match (name, rest) {
            ("count", []) => Ok(one("count", Int8)),
            ("min" | "max", []) => Ok(one(name, first.ty)),
            ("sum", []) if first.ty.is_integer() => Ok(one("sum", Int8)),
            ("sum", []) if matches!(first.ty, Float8 | Interval) => Ok(one("sum", first.ty)),
            ("avg", []) if first.ty.is_number() || first.ty == Interval => Ok(one(
                "avg",
                match first.ty {
                    Interval => Interval,
                    _ => Float8,
                },
            )),
            ("bool_and" | "every", []) if first.ty == Bool => Ok(one("min", Bool)),
            ("bool_or", []) if first.ty == Bool => Ok(one("max", Bool)),
            ("array_agg", []) => {
                let (element, ty) = if first.ty.is_integer() {
                    (first.sql, IntArray)
                } else {
                    (text_of(first).sql, TextArray)
                };
                Ok(Piece::new(
                    format!("json_group_array({distinct}{element}{order})"),
                    ty,
                ))
            }
            ("string_agg", [separator]) => {
                let text = self.textual(first)?;
                let separator = self.coerce(separator.clone(), Text)?;
                // The engine takes no separator behind DISTINCT but its own comma.
                if is_distinct && separator.sql != "','" {
                    return Err(SqlError::unsupported(
                        "string_agg(DISTINCT …) with a separator other than ','",
                    ));
                }
                let separator = if is_distinct {
                    String::new()
                } else {
                    format!(", {}", separator.sql)
                };
                Ok(Piece::new(
                    format!("group_concat({distinct}{}{separator}{order})", text.sql),
                    Text,
                ))
            }
            _ => Err(no_function(name, &args)),
        }
    }

    fn window_function(&mut self, name: &str, args: Vec<Piece>) -> Result<Piece, SqlError> {
        let list = |args: &[Piece]| {
            args.iter()
                .map(|arg| arg.sql.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let of_first = |args: Vec<Piece>| {
            let ty = args.first().map_or(
                Text,
                |first| if first.ty == Type::Unknown { Text } else { first.ty },
            );
            Piece::new(format!("{name}({})", list(&args)), ty)
        };
        match (name, args.len()) {
            ("row_number" | "rank" | "dense_rank", 0) => Ok(Piece::new(format!("{name}()"), Int8)),
            ("percent_rank" | "cume_dist", 0) => Ok(Piece::new(format!("{name}()"), Float8)),
            ("ntile", 1) => Ok(Piece::new(format!("ntile({})", list(&args)), Int4)),
            ("lag" | "lead", 1..=3) | ("first_value" | "last_value", 1) | ("nth_value", 2) => {
                let mut args = args;
                if let Some(default) = args.get(2).cloned() {
                    let ty = args[0].ty;
                    args[2] = self.coerce(default, ty)?;
                }
                Ok(of_first(args))
            }
            _ => Err(no_function(name, &args)),
        }
    }

    fn over(&mut self, over: &WindowType) -> Result<String, SqlError> {
        let spec = match over {
            WindowType::WindowSpec(spec) => spec.clone(),
            WindowType::NamedWindow(name) => {
                let wanted = folded(name);
                let known = self.frame().windows.iter().find(|(name, _)| *name == wanted);
                let known = known.map(|(_, spec)| spec.clone());
                known.ok_or_else(|| {
                    SqlError::new(
                        state::NO_OBJECT,
                        format!("window \"{}\" does not exist", short(&wanted)),
                        "define it with WINDOW name AS (…)",
                    )
                })?
            }
        };
        self.window(&spec)
    }

    fn window(&mut self, spec: &WindowSpec) -> Result<String, SqlError> {
        if spec.window_name.is_some() {
            return Err(SqlError::unsupported("a window that builds on another"));
        }
        let mut written = Vec::new();
        if !spec.partition_by.is_empty() {
            let parts = spec
                .partition_by
                .iter()
                .map(|part| Ok(self.expression(part)?.sql));
            let parts = parts.collect::<Result<Vec<_>, SqlError>>()?;
            written.push(format!("PARTITION BY {}", parts.join(", ")));
        }
        if !spec.order_by.is_empty() {
            let keys = spec
                .order_by
                .iter()
                .map(|key| Ok(format!("{}{}", self.expression(&key.expr)?.sql, direction(key))));
            let keys = keys.collect::<Result<Vec<_>, SqlError>>()?;
            written.push(format!("ORDER BY {}", keys.join(", ")));
        }
        if let Some(frame) = &spec.window_frame {
            let start = self.bound(&frame.start_bound)?;
            let end = match &frame.end_bound {
                Some(end) => self.bound(end)?,
                None => "CURRENT ROW".to_owned(),
            };
            written.push(format!("{} BETWEEN {start} AND {end}", frame.units));
        }
        Ok(format!(" OVER ({})", written.join(" ")))
    }

    fn bound(&mut self, bound: &WindowFrameBound) -> Result<String, SqlError> {
        Ok(match bound {
            WindowFrameBound::CurrentRow => "CURRENT ROW".to_owned(),
            WindowFrameBound::Preceding(None) => "UNBOUNDED PRECEDING".to_owned(),
            WindowFrameBound::Following(None) => "UNBOUNDED FOLLOWING".to_owned(),
            WindowFrameBound::Preceding(Some(rows)) => format!("{} PRECEDING", self.rows(rows)?),
            WindowFrameBound::Following(Some(rows)) => format!("{} FOLLOWING", self.rows(rows)?),
        })
    }

    fn rows(&mut self, rows: &Expr) -> Result<String, SqlError> {
        match rows {
            Expr::Value(value) if matches!(value.value, Value::Number(..)) => Ok(self.expression(rows)?.sql),
            _ => Err(SqlError::unsupported("a window's bound that is no plain number")),
        }
    }

    /// A function of one row.
    fn plain(&mut self, name: &str, args: Vec<Piece>) -> Result<Piece, SqlError> {
        if is_always_so(name) {
            return Ok(Piece::new("TRUE", Bool));
        }
        if is_privilege_question(name)
            && let [_, .., privileges] = args.as_slice()
        {
            let privileges = self.coerce(privileges.clone(), Text)?;
            return Ok(Piece::new(format!("cs_may({})", privileges.sql), Bool));
        }
        let constant = |text: &str| Ok(Piece::new(text_literal(text), Type::Name));
        match (name, args.as_slice()) {
            ("coalesce" | "greatest" | "least", [_, ..]) => {
                let (args, ty) = self.unify(args)?;
                let list: Vec<&str> = args.iter().map(|arg| arg.sql.as_str()).collect();
                let list = list.join(", ");
                return Ok(match name {
                    "coalesce" if args.len() == 1 => Piece::new(list, ty),
                    "coalesce" => Piece::new(format!("coalesce({list})"), ty),
                    name => Piece::new(format!("cs_{name}({list})"), ty),
                });
            }
            ("nullif", [_, _]) => {
                let (args, ty) = self.unify(args)?;
                return Ok(Piece::new(
                    format!("nullif({}, {})", args[0].sql, args[1].sql),
                    ty,
                ));
            }
            ("concat" | "concat_ws" | "format", [_, ..]) => {
                let texts = args.into_iter().map(|arg| Ok(self.textual(arg)?.sql));
                let texts = texts.collect::<Result<Vec<_>, SqlError>>()?;
                return Ok(Piece::new(format!("cs_{name}({})", texts.join(", ")), Text));
            }
            ("json_build_object" | "jsonb_build_object", fields) if fields.len() % 2 == 0 => {
                let list: Vec<&str> = fields.iter().map(|field| field.sql.as_str()).collect();
                return Ok(Piece::new(format!("json_object({})", list.join(", ")), Json));
            }
            ("abs", [one]) if one.ty.is_number() => {
                return Ok(Piece::new(format!("abs({})", one.sql), one.ty));
            }
            ("mod", [left, right]) if left.ty.is_integer() && right.ty.is_integer() => {
                return Ok(Piece::new(format!("cs_mod({}, {})", left.sql, right.sql), Int8));
            }
            ("date_part" | "extract", [field, value]) => {
                let Some(field) = field.literal.clone() else {
                    return Err(SqlError::unsupported("a field that is no literal"));
                };
                return self.extract(&field.to_lowercase(), value.clone());
            }
            ("date_trunc", [unit, value, zone]) => {
                let is_utc = |zone: &String| zone.eq_ignore_ascii_case("utc");
                if !zone.literal.as_ref().is_some_and(is_utc) {
                    return Err(SqlError::unsupported("a time zone other than 'UTC'"));
                }
                return self.plain(name, vec![unit.clone(), value.clone()]);
            }
            ("timezone", [zone, value])
                if zone
                    .literal
                    .as_ref()
                    .is_some_and(|z| z.eq_ignore_ascii_case("utc")) =>
            {
                return self.coerce(value.clone(), Timestamp);
            }
            ("age", [one]) => {
                let one = self.coerce(one.clone(), Timestamp)?;
                return Ok(Piece::new(
                    format!("(cs_date_trunc('day', cs_now()) - {})", one.sql),
                    Interval,
                ));
            }
            ("age", [left, right]) => {
                let (left, right) = (
                    self.coerce(left.clone(), Timestamp)?,
                    self.coerce(right.clone(), Timestamp)?,
                );
                return Ok(Piece::new(format!("({} - {})", left.sql, right.sql), Interval));
            }
            ("date", [one]) => {
                let one = self.coerce(one.clone(), Timestamp)?;
                return self.cast(one, Date);
            }
            ("current_date", []) => return Ok(Piece::new("cs_date_trunc('day', cs_now())", Date)),
            ("current_user" | "session_user" | "user" | "current_role", []) => {
                return Ok(Piece::new("cs_person()", Type::Name));
            }
            ("current_database" | "current_catalog", []) => return constant(catalog::DATABASE),
            ("current_schema", []) => return constant("public"),
            ("getdatabaseencoding", []) => return constant("UTF8"),
            ("current_schemas", [_]) => {
                let all = args.first().is_some_and(|arg| arg.sql == "TRUE");
                let schemas = if all {
                    "'[\"pg_catalog\",\"public\"]'"
                } else {
                    "'[\"public\"]'"
                };
                return Ok(Piece::new(schemas, TextArray));
            }
            ("version", []) => {
                let version = format!("PostgreSQL {} (the log of Countersign)", catalog::SERVER_VERSION);
                return Ok(Piece::new(text_literal(&version), Text));
            }
            ("set_config", [_, value, _]) => return self.coerce(value.clone(), Text),
            ("inet_server_addr" | "inet_client_addr", []) => return Ok(Piece::new("NULL", Text)),
            ("inet_server_port" | "inet_client_port", []) => return Ok(Piece::new("NULL", Int4)),
            ("_pg_expandarray", [_]) => return Ok(Piece::null()),
            ("round" | "ceil" | "floor" | "trunc", [one]) if one.ty.is_integer() => return Ok(one.clone()),
            ("to_char", [one, _]) if one.ty.is_number() => {
                return Err(SqlError::unsupported(
                    "to_char of a number: cast it to text, or round it",
                ));
            }
            ("length" | "octet_length" | "lower" | "upper", [one])
                if one.ty.is_number() || one.ty == Timestamp =>
            {
                return Err(no_function(name, &args));
            }
            _ => {}
        }
        let fits = |(known, types, ..): &&Signature| {
            *known == name
                && types.len() == args.len()
                && types.iter().zip(&args).all(|(ty, arg)| is_taken(*ty, arg.ty))
        };
        let Some((_, types, ty, inner)) = SIGNATURES.iter().find(fits) else {
            return Err(no_function(name, &args));
        };
        let coerced = types.iter().zip(args).map(|(ty, arg)| {
            let is_other_array = ty.is_array() && arg.ty.is_array();
            Ok(if is_other_array {
                arg
            } else {
                self.coerce(arg, *ty)?
            }
            .sql)
        });
        let coerced = coerced.collect::<Result<Vec<_>, SqlError>>()?;
        Ok(Piece::new(format!("{inner}({})", coerced.join(", ")), *ty))
    }
}

/// Whether an argument of one type can stand for another.
fn is_taken(wanted: Type, given: Type) -> bool {
    given == Type::Unknown
        || wanted == given
        || wanted.is_integer() && given.is_integer()
        || wanted == Float8 && given.is_number()
        || wanted.is_text() && given.is_text()
        || wanted.is_array() && given.is_array()
        || wanted == Timestamp && given == Date
}

fn is_aggregate(name: &str) -> bool {
    let names = [
        "count",
        "min",
        "max",
        "sum",
        "avg",
        "bool_and",
        "bool_or",
        "every",
        "array_agg",
        "string_agg",
    ];
    names.contains(&name)
}

fn is_window_function(name: &str) -> bool {
    let names = [
        "row_number",
        "rank",
        "dense_rank",
        "percent_rank",
        "cume_dist",
        "ntile",
        "lag",
        "lead",
        "first_value",
        "last_value",
        "nth_value",
    ];
    names.contains(&name)
}

fn no_function(name: &str, args: &[Piece]) -> SqlError {
    let types: Vec<&str> = args.iter().map(|arg| arg.ty.name()).collect();
    SqlError::new(
        state::NO_FUNCTION,
        format!("function {}({}) does not exist", short(name), types.join(", ")),
        "docs/sql.md lists the functions that queries of the log can use; a cast may be missing",
    )
}
