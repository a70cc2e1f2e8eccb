//! Queries clause by clause: WITH, FROM and joins, WHERE, GROUP BY, what is selected, ORDER BY, LIMIT, and set operations.
//! Never writes a statement that changes anything. Read `expression.rs` next.

use sqlparser::ast::{
    BinaryOperator, Cte, Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, GroupByExpr, Join, JoinConstraint, JoinOperator, LimitClause, NamedWindowExpr,
    ObjectName, OrderBy, OrderByExpr, OrderByKind, OrderBySort, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, TableAlias, TableFactor,
    TableWithJoins, Value, Values,
};

use super::scope::{Frame, Piece, Relation, Seen, folded, parts, quoted};
use super::{Comparison, Narrowing, OutColumn, Translator, Use};
use crate::tables::error::{SqlError, state};
use crate::tables::schema::{Model, Narrows, Source};
use crate::tables::types::{Type, short};

/// Why a list of relations cannot be read from.
fn no_table(name: &str) -> SqlError {
    SqlError::new(
        state::NO_TABLE,
        format!("relation \"{}\" does not exist", short(name)),
        "\\dt, or information_schema.tables, lists the tables of the log",
    )
}

pub fn read_only(what: &str) -> SqlError {
    SqlError::new(
        state::READ_ONLY,
        format!("cannot execute {what}: the log is read only"),
        "read it with SELECT; nobody can change the log, and rules and people are changed by the API",
    )
}

impl Translator {
    pub(super) fn query(&mut self, query: &Query) -> Result<(String, Vec<OutColumn>), SqlError> {
        if !query.locks.is_empty() {
            return Err(read_only("SELECT FOR UPDATE"));
        }
        let has_foreign = query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty();
        if has_foreign {
            return Err(SqlError::unsupported("a clause of another dialect"));
        }
        self.columns_touched += 1;
        let ctes_before = self.ctes.len();
        let mut sql = String::new();
        if let Some(with) = &query.with {
            let mut written = Vec::new();
            for cte in &with.cte_tables {
                written.push(self.cte(cte, with.recursive)?);
            }
            sql = format!("WITH RECURSIVE {} ", written.join(", "));
        }
        let (body, columns) = self.body(&query.body, query.order_by.as_ref())?;
        sql.push_str(&body);
        sql.push_str(&self.limit(query)?);
        self.ctes.truncate(ctes_before);
        Ok((sql, columns))
    }

    fn cte(&mut self, cte: &Cte, is_recursive: bool) -> Result<String, SqlError> {
        let name = folded(&cte.alias.name);
        let names: Vec<String> = cte
            .alias
            .columns
            .iter()
            .map(|column| folded(&column.name))
            .collect();
        let (sql, columns) = match &*cte.query.body {
            SetExpr::SetOperation { left, .. } if is_recursive => {
                // The first part says what columns there are before the second one names the table itself.
                let uses = self.uses.clone();
                let (_, columns) = self.operand(left)?;
                self.uses = uses;
                let before = self.ctes.len();
                self.ctes.push((name.clone(), renamed(columns, &names)?));
                let whole = self.query(&cte.query)?;
                self.ctes.truncate(before);
                whole
            }
            _ => self.query(&cte.query)?,
        };
        let columns = renamed(columns, &names)?;
        let listed: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
        let written = format!("{}({}) AS ({sql})", quoted(&inner_cte(&name)), listed.join(", "));
        self.ctes.push((name, columns));
        Ok(written)
    }

    fn limit(&mut self, query: &Query) -> Result<String, SqlError> {
        let (limit, offset) = match (&query.limit_clause, &query.fetch) {
            (Some(LimitClause::LimitOffset { limit_by, .. }), _) if !limit_by.is_empty() => {
                return Err(SqlError::unsupported("LIMIT BY"));
            }
            (Some(LimitClause::OffsetCommaLimit { .. }), _) => {
                return Err(SqlError::unsupported("LIMIT with a comma"));
            }
            (clause, fetch) => {
                let (limit, offset) = match clause {
                    Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                        (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
                    }
                    Some(LimitClause::OffsetCommaLimit { .. }) | None => (None, None),
                };
                if fetch
                    .as_ref()
                    .is_some_and(|fetch| fetch.with_ties || fetch.percent)
                {
                    return Err(SqlError::unsupported("FETCH WITH TIES or PERCENT"));
                }
                (
                    limit.or(fetch.as_ref().and_then(|fetch| fetch.quantity.as_ref())),
                    offset,
                )
            }
        };
        let mut written = String::new();
        if limit.is_some() || offset.is_some() {
            let limit = self.count(limit)?;
            written = format!(" LIMIT coalesce({limit}, -1)");
        }
        if offset.is_some() {
            written.push_str(&format!(" OFFSET coalesce({}, 0)", self.count(offset)?));
        }
        Ok(written)
    }

    fn count(&mut self, expression: Option<&Expr>) -> Result<String, SqlError> {
        let Some(expression) = expression else {
            return Ok("NULL".to_owned());
        };
        self.frames.push(Frame::default());
        let piece = self.expression(expression);
        let piece = piece.and_then(|piece| self.coerce(piece, Type::Int8));
        self.frames.pop();
        Ok(piece?.sql)
    }

    fn body(
        &mut self,
        body: &SetExpr,
        order: Option<&OrderBy>,
    ) -> Result<(String, Vec<OutColumn>), SqlError> {
        match body {
            SetExpr::Select(select) => self.select(select, order),
            SetExpr::SetOperation { .. } | SetExpr::Values(_) | SetExpr::Query(_) | SetExpr::Table(_) => {
                let (mut sql, columns) = self.operand(body)?;
                if order.is_some() && !matches!(body, SetExpr::SetOperation { .. }) {
                    sql = format!("SELECT * FROM ({sql})");
                }
                let keys = order_keys(order)?;
                let ordered: Result<Vec<String>, SqlError> = keys
                    .iter()
                    .map(|key| {
                        let at = out_place(&key.expr, &columns).ok_or_else(|| {
                            SqlError::unsupported(
                                "ordering a set operation by more than its columns' names or numbers",
                            )
                        })??;
                        Ok(format!("{at}{}", direction(key)))
                    })
                    .collect();
                let ordered = ordered?;
                if !ordered.is_empty() {
                    sql.push_str(&format!(" ORDER BY {}", ordered.join(", ")));
                }
                Ok((sql, columns))
            }
            SetExpr::Insert(_) => Err(read_only("INSERT")),
            SetExpr::Update(_) => Err(read_only("UPDATE")),
            SetExpr::Delete(_) => Err(read_only("DELETE")),
            SetExpr::Merge(_) => Err(read_only("MERGE")),
        }
    }

    /// A side of a set operation, or a body without an order of its own.
    fn operand(&mut self, body: &SetExpr) -> Result<(String, Vec<OutColumn>), SqlError> {
        match body {
            SetExpr::Select(select) => self.select(select, None),
            SetExpr::Query(query) => {
                let (sql, columns) = self.query(query)?;
                Ok((format!("SELECT * FROM ({sql})"), columns))
            }
            SetExpr::Values(values) => self.values(values),
            SetExpr::SetOperation {
                left,
                op,
                set_quantifier,
                right,
            } => {
                let word = match (op, set_quantifier) {
                    (SetOperator::Union, SetQuantifier::All) => "UNION ALL",
                    (SetOperator::Union, SetQuantifier::None | SetQuantifier::Distinct) => "UNION",
                    (SetOperator::Intersect, SetQuantifier::None | SetQuantifier::Distinct) => "INTERSECT",
                    (SetOperator::Except, SetQuantifier::None | SetQuantifier::Distinct) => "EXCEPT",
                    _ => return Err(SqlError::unsupported(format!("{op} {set_quantifier}"))),
                };
                let (left, left_columns) = self.operand(left)?;
                let is_nested = matches!(&**right, SetExpr::SetOperation { .. });
                let (mut right, right_columns) = self.operand(right)?;
                if is_nested {
                    right = format!("SELECT * FROM ({right})");
                }
                if left_columns.len() != right_columns.len() {
                    return Err(SqlError::new(
                        state::SYNTAX,
                        format!("each {op} query must have the same number of columns"),
                        "select as many columns on both sides",
                    ));
                }
                let together = left_columns.into_iter().zip(right_columns).map(|(left, right)| {
                    let ty = left.ty.common(right.ty).ok_or_else(|| {
                        SqlError::new(
                            state::TYPES_DIFFER,
                            format!(
                                "{op} types {} and {} cannot be matched",
                                left.ty.name(),
                                right.ty.name()
                            ),
                            "cast one of them",
                        )
                    })?;
                    Ok(OutColumn { name: left.name, ty })
                });
                let columns = together.collect::<Result<Vec<_>, SqlError>>()?;
                Ok((format!("{left} {word} {right}"), columns))
            }
            SetExpr::Table(table) => {
                let name = table.table_name.as_deref().unwrap_or_default();
                let schema = table.schema_name.as_deref();
                self.frames.push(Frame::default());
                let path: Vec<String> = schema.into_iter().chain([name]).map(str::to_lowercase).collect();
                let read = self.table(&path, None);
                let columns = self.every_column(None);
                self.frames.pop();
                let (from, columns) = (read?, columns?);
                let listed: Vec<String> = columns.iter().map(|column| column.sql.clone()).collect();
                Ok((
                    format!("SELECT {} FROM {from}", listed.join(", ")),
                    outside(&columns),
                ))
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                self.body(body, None)
            }
        }
    }

    fn values(&mut self, values: &Values) -> Result<(String, Vec<OutColumn>), SqlError> {
        self.frames.push(Frame::default());
        let read = self.values_inside(values);
        self.frames.pop();
        read
    }

    fn values_inside(&mut self, values: &Values) -> Result<(String, Vec<OutColumn>), SqlError> {
        let mut rows = Vec::new();
        for row in &values.rows {
            rows.push(
                row.content
                    .iter()
                    .map(|value| self.expression(value))
                    .collect::<Result<Vec<_>, _>>()?,
            );
        }
        let width = rows.first().map_or(0, Vec::len);
        if width == 0 || rows.iter().any(|row| row.len() != width) {
            return Err(SqlError::new(
                state::SYNTAX,
                "VALUES lists must all be the same length",
                "give each row as many values",
            ));
        }
        let mut columns = Vec::new();
        for at in 0..width {
            let column: Vec<Piece> = rows.iter().map(|row| row[at].clone()).collect();
            let (column, ty) = self.unify(column)?;
            for (row, piece) in rows.iter_mut().zip(column) {
                row[at] = piece;
            }
            columns.push(OutColumn {
                name: format!("column{}", at + 1),
                ty,
            });
        }
        let written: Vec<String> = rows
            .iter()
            .map(|row| {
                let row: Vec<&str> = row.iter().map(|piece| piece.sql.as_str()).collect();
                format!("({})", row.join(", "))
            })
            .collect();
        Ok((format!("VALUES {}", written.join(", ")), columns))
    }

    fn select(
        &mut self,
        select: &Select,
        order: Option<&OrderBy>,
    ) -> Result<(String, Vec<OutColumn>), SqlError> {
        self.frames.push(Frame::default());
        let read = self.select_inside(select, order);
        self.frames.pop();
        read
    }

    fn select_inside(
        &mut self,
        select: &Select,
        order: Option<&OrderBy>,
    ) -> Result<(String, Vec<OutColumn>), SqlError> {
        if select.into.is_some() {
            return Err(read_only("SELECT INTO"));
        }
        let has_foreign = select.top.is_some()
            || select.exclude.is_some()
            || !select.lateral_views.is_empty()
            || select.prewhere.is_some()
            || !select.connect_by.is_empty()
            || !select.cluster_by.is_empty()
            || !select.distribute_by.is_empty()
            || !select.sort_by.is_empty()
            || select.qualify.is_some()
            || select.value_table_mode.is_some()
            || select.select_modifiers.is_some();
        if has_foreign {
            return Err(SqlError::unsupported("a clause of another dialect"));
        }
        let from = self.from(&select.from)?;
        for window in &select.named_window {
            let NamedWindowExpr::WindowSpec(spec) = &window.1 else {
                return Err(SqlError::unsupported("a window that only names another"));
            };
            let named = (folded(&window.0), spec.clone());
            self.frame().windows.push(named);
        }
        let mut tail = String::new();
        if let Some(condition) = &select.selection {
            self.narrow(condition)?;
            let piece = self.condition(condition)?;
            if self.frame().has_aggregate {
                return Err(SqlError::new(
                    state::GROUPING,
                    "aggregate functions are not allowed in WHERE",
                    "put the condition into HAVING",
                ));
            }
            tail.push_str(&format!(" WHERE {}", piece.sql));
        }
        let groups = self.group_by(select)?;
        if !groups.is_empty() {
            tail.push_str(&format!(" GROUP BY {}", groups.join(", ")));
        }
        self.frame().ungrouped.clear();
        let (mut list, columns) = self.projection(&select.projection)?;
        if list.is_empty() {
            list.push("NULL".to_owned());
        }
        if let Some(condition) = &select.having {
            let piece = self.condition(condition)?;
            if groups.is_empty() && !self.frame().has_aggregate {
                return Err(SqlError::unsupported("HAVING without GROUP BY or an aggregate"));
            }
            if groups.is_empty() {
                // The engine wants a group for its HAVING; one constant makes a single one of everything.
                tail.push_str(" GROUP BY 'all'");
            }
            tail.push_str(&format!(" HAVING {}", piece.sql));
        }
        let mut keys = Vec::new();
        for key in order_keys(order)? {
            let written = match out_place(&key.expr, &columns) {
                Some(place) => place?.to_string(),
                None => self.expression(&key.expr)?.sql,
            };
            keys.push(format!("{written}{}", direction(key)));
        }
        self.check_grouping(!groups.is_empty())?;
        let distinct = match &select.distinct {
            None | Some(Distinct::All) => "",
            Some(Distinct::Distinct) => "DISTINCT ",
            Some(Distinct::On(_)) => {
                return Err(SqlError::unsupported(
                    "DISTINCT ON: use row_number() OVER (PARTITION BY …)",
                ));
            }
        };
        let mut sql = format!("SELECT {distinct}{}", list.join(", "));
        if !from.is_empty() {
            sql.push_str(&format!(" FROM {from}"));
        }
        sql.push_str(&tail);
        if !keys.is_empty() {
            sql.push_str(&format!(" ORDER BY {}", keys.join(", ")));
        }
        Ok((sql, columns))
    }

    /// A column that is neither grouped nor inside an aggregate has no one value.
    fn check_grouping(&mut self, is_grouped: bool) -> Result<(), SqlError> {
        let frame = self.frame();
        let Some(column) = frame
            .ungrouped
            .first()
            .filter(|_| is_grouped || frame.has_aggregate)
        else {
            return Ok(());
        };
        Err(SqlError::new(
            state::GROUPING,
            format!("column {column} must appear in the GROUP BY clause or be used in an aggregate function"),
            "add it to GROUP BY, or take its min() or max()",
        ))
    }

    fn group_by(&mut self, select: &Select) -> Result<Vec<String>, SqlError> {
        let GroupByExpr::Expressions(expressions, modifiers) = &select.group_by else {
            return Err(SqlError::unsupported("GROUP BY ALL"));
        };
        if !modifiers.is_empty() {
            return Err(SqlError::unsupported("a modifier of GROUP BY"));
        }
        let mut groups = Vec::new();
        for expression in expressions {
            let named = self.grouped_item(expression, select)?;
            let piece = self.expression(named)?;
            // A bare number would be taken for a column's place.
            let is_number = piece.sql.bytes().all(|byte| byte.is_ascii_digit());
            groups.push(if is_number {
                format!("+{}", piece.sql)
            } else {
                piece.sql
            });
        }
        self.frame().groups.clone_from(&groups);
        Ok(groups)
    }

    /// What a number or an output name in GROUP BY stands for; a column of that name comes first.
    fn grouped_item<'a>(&mut self, expression: &'a Expr, select: &'a Select) -> Result<&'a Expr, SqlError> {
        let item = match expression {
            Expr::Value(value) => match &value.value {
                Value::Number(number, _) => {
                    let place = number
                        .parse::<usize>()
                        .ok()
                        .and_then(|number| number.checked_sub(1));
                    let item = place.and_then(|place| select.projection.get(place));
                    Some(item.ok_or_else(|| no_place(number))?)
                }
                _ => None,
            },
            Expr::Identifier(ident) => {
                let name = folded(ident);
                let is_column = self.frames.last().is_some_and(|frame| {
                    let mut columns = frame.relations.iter().flat_map(|relation| &relation.columns);
                    columns.any(|column| column.name == name)
                });
                let aliased = |item: &&SelectItem| matches!(item, SelectItem::ExprWithAlias { alias, .. } if folded(alias) == name);
                select.projection.iter().find(|item| !is_column && aliased(item))
            }
            _ => None,
        };
        match item {
            Some(SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr)) => Ok(expr),
            Some(_) => Err(SqlError::unsupported("grouping by the number of a *")),
            None => Ok(expression),
        }
    }

    fn projection(&mut self, items: &[SelectItem]) -> Result<(Vec<String>, Vec<OutColumn>), SqlError> {
        let (mut list, mut columns) = (Vec::new(), Vec::new());
        for item in items {
            let every = match item {
                SelectItem::UnnamedExpr(expression) => {
                    let name = self.natural_name(expression);
                    self.one_column(expression, name, &mut list, &mut columns)?;
                    continue;
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    self.one_column(expr, folded(alias), &mut list, &mut columns)?;
                    continue;
                }
                SelectItem::Wildcard(_) => self.every_column(None)?,
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let path = parts(name)?;
                    self.every_column(path.last().map(String::as_str))?
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _)
                | SelectItem::ExprWithAliases { .. } => {
                    return Err(SqlError::unsupported("this list of columns"));
                }
            };
            for column in every {
                if self.frame().groups.contains(&column.sql) {
                    self.frame().ungrouped.retain(|used| *used != column.sql);
                }
                list.push(format!("{} AS {}", column.sql, quoted(&column.name)));
                columns.push(OutColumn {
                    name: column.name,
                    ty: column.ty,
                });
            }
        }
        Ok((list, columns))
    }

    fn one_column(
        &mut self,
        expression: &Expr,
        name: String,
        list: &mut Vec<String>,
        columns: &mut Vec<OutColumn>,
    ) -> Result<(), SqlError> {
        let piece = self.expression(expression)?;
        let is_null = piece.literal.is_none() && piece.parameter.is_none();
        let piece = if piece.ty == Type::Unknown && !is_null {
            self.coerce(piece, Type::Text)?
        } else {
            piece
        };
        list.push(format!("{} AS {}", piece.sql, quoted(&name)));
        columns.push(OutColumn { name, ty: piece.ty });
        Ok(())
    }

    fn from(&mut self, from: &[TableWithJoins]) -> Result<String, SqlError> {
        let mut written = Vec::new();
        for item in from {
            let joined = self.joined(item)?;
            written.push(if from.len() > 1 && !item.joins.is_empty() {
                format!("({joined})")
            } else {
                joined
            });
        }
        Ok(written.join(", "))
    }

    fn joined(&mut self, item: &TableWithJoins) -> Result<String, SqlError> {
        let mut written = self.factor(&item.relation)?;
        for join in &item.joins {
            written = self.join(written, join)?;
        }
        Ok(written)
    }

    fn join(&mut self, left: String, join: &Join) -> Result<String, SqlError> {
        let (word, constraint) = match &join.join_operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => ("JOIN", constraint),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => ("LEFT JOIN", constraint),
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
                ("RIGHT JOIN", constraint)
            }
            JoinOperator::FullOuter(constraint) => ("FULL JOIN", constraint),
            JoinOperator::CrossJoin(constraint) => ("CROSS JOIN", constraint),
            _ => return Err(SqlError::unsupported("this kind of join")),
        };
        let right = self.factor(&join.relation)?;
        let constraint = match constraint {
            JoinConstraint::On(condition) => format!(" ON {}", self.condition(condition)?.sql),
            JoinConstraint::Using(names) => {
                let names = names.iter().map(last_part).collect::<Result<Vec<_>, _>>()?;
                for name in &names {
                    self.touch_both(name);
                }
                let listed: Vec<String> = names.iter().map(|name| quoted(name)).collect();
                self.frame().merged.extend(names);
                format!(" USING ({})", listed.join(", "))
            }
            JoinConstraint::None => String::new(),
            JoinConstraint::Natural => {
                return Err(SqlError::unsupported("NATURAL JOIN: name the columns with USING"));
            }
        };
        Ok(format!("{left} {word} {right}{constraint}"))
    }

    /// The columns that USING compares are needed of every relation that has them.
    fn touch_both(&mut self, name: &str) {
        let frame = self.frames.last().expect("a join is read inside a query");
        for relation in &frame.relations {
            let at = relation.columns.iter().position(|column| column.name == name);
            if let (Some((table, _)), Some(at)) = (&relation.table, at)
                && let Some(used) = self.uses.get_mut(table)
            {
                used.columns.insert(at);
            }
        }
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<String, SqlError> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_ordinality,
                sample,
                version,
                json_path,
                ..
            } => {
                if *with_ordinality || sample.is_some() || version.is_some() || json_path.is_some() {
                    return Err(SqlError::unsupported("an option behind a table's name"));
                }
                match args {
                    Some(args) => self.set_function(name, &args.args, alias.as_ref()),
                    None => self.table(&parts(name)?, alias.as_ref()),
                }
            }
            TableFactor::Function {
                name,
                args,
                alias,
                with_ordinality: false,
                ..
            } => self.set_function(name, args, alias.as_ref()),
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset: false,
                with_ordinality: false,
                ..
            } => {
                let [array] = array_exprs.as_slice() else {
                    return Err(SqlError::unsupported("unnest of several arrays"));
                };
                self.unnest(array, alias.as_ref())
            }
            TableFactor::Derived {
                lateral: true,
                subquery: _,
                ..
            } => Err(SqlError::unsupported("LATERAL before a sub-query")),
            TableFactor::Derived {
                subquery,
                alias,
                sample: None,
                ..
            } => {
                let hidden = std::mem::take(&mut self.frame().relations);
                let read = self.query(subquery);
                self.frame().relations = hidden;
                let (sql, columns) = read?;
                self.derived(sql, columns, alias.as_ref())
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => Ok(format!("({})", self.joined(table_with_joins)?)),
            _ => Err(SqlError::unsupported("this in FROM")),
        }
    }

    fn derived(
        &mut self,
        sql: String,
        columns: Vec<OutColumn>,
        alias: Option<&TableAlias>,
    ) -> Result<String, SqlError> {
        let unnamed = format!("subquery {}", self.frame().relations.len());
        let name = alias.map_or(unnamed, |alias| folded(&alias.name));
        let names: Vec<String> = alias
            .map(|alias| alias.columns.iter().map(|column| folded(&column.name)).collect())
            .unwrap_or_default();
        let columns = renamed(columns, &names)?;
        let listed: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
        let relation = Relation::named(&name, &columns);
        self.frame().relations.push(relation);
        let written = if names.is_empty() {
            format!("({sql}) AS {}", quoted(&name))
        } else {
            let inner = format!(
                "WITH \"renamed\"({}) AS ({sql}) SELECT * FROM \"renamed\"",
                listed.join(", ")
            );
            format!("({inner}) AS {}", quoted(&name))
        };
        Ok(written)
    }

    /// A table of the log or of the catalog, or a WITH query.
    fn table(&mut self, path: &[String], alias: Option<&TableAlias>) -> Result<String, SqlError> {
        let (schema, name) = match path {
            [name] => (None, name),
            [schema, name] => (Some(schema.as_str()), name),
            [database, schema, name] if database == crate::tables::catalog::DATABASE => {
                (Some(schema.as_str()), name)
            }
            _ => return Err(no_table(&path.join("."))),
        };
        let shown = alias.map_or_else(|| name.clone(), |alias| folded(&alias.name));
        let names: Vec<String> = alias
            .map(|alias| alias.columns.iter().map(|column| folded(&column.name)).collect())
            .unwrap_or_default();
        if self
            .frame()
            .relations
            .iter()
            .any(|relation| relation.alias == shown)
        {
            return Err(SqlError::new(
                "42712",
                format!("table name \"{}\" specified more than once", short(&shown)),
                "give each mention an alias",
            ));
        }
        let with = self
            .ctes
            .iter()
            .rev()
            .find(|(known, _)| schema.is_none() && known == name);
        if let Some((_, columns)) = with.cloned() {
            let sql = format!("SELECT * FROM {}", quoted(&inner_cte(name)));
            if !names.is_empty() {
                return self.derived(sql, columns, alias);
            }
            let relation = Relation::named(&shown, &columns);
            self.frame().relations.push(relation);
            return Ok(format!("{} AS {}", quoted(&inner_cte(name)), quoted(&shown)));
        }
        let table = Model::get()
            .find(schema, name)
            .ok_or_else(|| no_table(&path.join(".")))?;
        let inner = table.inner_name();
        let used = self.uses.entry(inner.clone()).or_insert_with(|| Use {
            table,
            columns: std::collections::BTreeSet::new(),
            mentions: Vec::new(),
        });
        used.mentions.push(Vec::new());
        let mention = used.mentions.len() - 1;
        let columns = table.columns.iter().enumerate().map(|(at, column)| Seen {
            name: names.get(at).cloned().unwrap_or_else(|| column.name.to_owned()),
            sql: format!("{}.{}", quoted(&shown), quoted(column.name)),
            ty: column.ty,
        });
        let relation = Relation {
            alias: shown.clone(),
            columns: columns.collect(),
            table: Some((inner.clone(), mention)),
        };
        self.frame().relations.push(relation);
        Ok(format!("{} AS {}", quoted(&inner), quoted(&shown)))
    }

    /// A function in FROM: `generate_series`, `unnest`, and what clients ask.
    fn set_function(
        &mut self,
        name: &ObjectName,
        args: &[FunctionArg],
        alias: Option<&TableAlias>,
    ) -> Result<String, SqlError> {
        let mut expressions = Vec::new();
        for arg in args {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) = arg else {
                return Err(SqlError::unsupported("this argument"));
            };
            expressions.push(expression);
        }
        match (last_part(name)?.as_str(), expressions.as_slice()) {
            ("unnest", [array]) => self.unnest(array, alias),
            ("generate_series", [start, stop]) => self.series(start, stop, None, alias),
            ("generate_series", [start, stop, step]) => self.series(start, stop, Some(step), alias),
            ("pg_available_extensions", []) => Ok(self.no_rows(
                "pg_available_extensions",
                ["name", "default_version", "comment"],
                alias,
            )),
            // Of foreign servers and their like, of which there are none.
            ("pg_options_to_table", [options]) => {
                self.array(options, Type::TextArray)?;
                Ok(self.no_rows("pg_options_to_table", ["option_name", "option_value"], alias))
            }
            ("string_to_array", [_, _]) => self.one_value(name, args, alias),
            (name, _) => {
                let call = Expr::Identifier(sqlparser::ast::Ident::new(name));
                Err(SqlError::new(
                    state::NO_FUNCTION,
                    format!("function {call} does not exist in FROM"),
                    "generate_series and unnest give rows here",
                ))
            }
        }
    }

    /// A function that gives one value is a row of it, as Grafana asks.
    fn one_value(
        &mut self,
        name: &ObjectName,
        args: &[FunctionArg],
        alias: Option<&TableAlias>,
    ) -> Result<String, SqlError> {
        let call = Function {
            name: name.clone(),
            uses_odbc_syntax: false,
            parameters: FunctionArguments::None,
            args: FunctionArguments::List(FunctionArgumentList {
                duplicate_treatment: None,
                args: args.to_vec(),
                clauses: Vec::new(),
            }),
            filter: None,
            null_treatment: None,
            over: None,
            within_group: Vec::new(),
        };
        let piece = self.function(&call)?;
        let (name, column) = function_alias(&last_part(name)?, alias);
        let sql = format!(
            "(SELECT {} AS {}) AS {}",
            piece.sql,
            quoted(&column),
            quoted(&name)
        );
        let relation = Relation {
            alias: name.clone(),
            columns: vec![Seen {
                sql: format!("{}.{}", quoted(&name), quoted(&column)),
                name: column,
                ty: piece.ty,
            }],
            table: None,
        };
        self.frame().relations.push(relation);
        Ok(sql)
    }

    /// A function of which there are no rows here.
    fn no_rows<const COUNT: usize>(
        &mut self,
        name: &str,
        own: [&str; COUNT],
        alias: Option<&TableAlias>,
    ) -> String {
        let name = function_alias(name, alias).0;
        let given = alias.map_or(&[][..], |alias| alias.columns.as_slice());
        let column = |(place, own): (usize, &&str)| Seen {
            name: given
                .get(place)
                .map_or_else(|| (*own).to_owned(), |given| folded(&given.name)),
            sql: format!("{}.{}", quoted(&name), quoted(own)),
            ty: Type::Text,
        };
        let relation = Relation {
            alias: name.clone(),
            columns: own.iter().enumerate().map(column).collect(),
            table: None,
        };
        self.frame().relations.push(relation);
        let columns = own.map(|column| format!("NULL AS {}", quoted(column)));
        format!("(SELECT {} WHERE 0) AS {}", columns.join(", "), quoted(&name))
    }

    fn unnest(&mut self, array: &Expr, alias: Option<&TableAlias>) -> Result<String, SqlError> {
        let piece = self.array(array, Type::TextArray)?;
        let ty = if piece.ty == Type::IntArray {
            Type::Int8
        } else {
            Type::Text
        };
        let (name, column) = function_alias("unnest", alias);
        let relation = Relation {
            alias: name.clone(),
            columns: vec![Seen {
                name: column,
                sql: format!("{}.\"value\"", quoted(&name)),
                ty,
            }],
            table: None,
        };
        self.frame().relations.push(relation);
        Ok(format!("json_each({}) AS {}", piece.sql, quoted(&name)))
    }

    fn series(
        &mut self,
        start: &Expr,
        stop: &Expr,
        step: Option<&&Expr>,
        alias: Option<&TableAlias>,
    ) -> Result<String, SqlError> {
        let (start, stop) = (self.expression(start)?, self.expression(stop)?);
        let (ends, ty) = self.unify(vec![start, stop])?;
        let ty = match ty {
            Type::Date => Type::Timestamp,
            Type::Text | Type::Unknown => {
                return Err(SqlError::new(
                    state::TYPES_DIFFER,
                    "generate_series needs numbers or times",
                    "cast its ends, as in '2026-01-01'::timestamptz",
                ));
            }
            other => other,
        };
        let step_type = if ty == Type::Timestamp { Type::Interval } else { ty };
        let step = match step {
            Some(step) => self.expression(step)?,
            None if ty == Type::Timestamp => {
                return Err(SqlError::unsupported("generate_series of times without a step"));
            }
            None => Piece::new("1", ty),
        };
        let step = self.coerce(step, step_type)?;
        let next = match step.span {
            Some(span) if span.months != 0 => format!("cs_add(\"v\", {}, {})", span.months, span.rest_micros),
            _ => format!("\"v\" + {}", step.sql),
        };
        let (from, to, by) = (&ends[0].sql, &ends[1].sql, &step.sql);
        let within =
            |value: &str| format!("(({by} > 0 AND {value} <= {to}) OR ({by} < 0 AND {value} >= {to}))");
        let sql = format!(
            "WITH RECURSIVE \"s\"(\"v\") AS (SELECT {from} WHERE {} UNION ALL SELECT {next} FROM \"s\" WHERE {}) \
             SELECT \"v\" FROM \"s\"",
            within(from),
            within(&next),
        );
        let (name, column) = function_alias("generate_series", alias);
        let relation = Relation {
            alias: name.clone(),
            columns: vec![Seen {
                name: column,
                sql: format!("{}.\"v\"", quoted(&name)),
                ty,
            }],
            table: None,
        };
        self.frame().relations.push(relation);
        Ok(format!("({sql}) AS {}", quoted(&name)))
    }

    /// Notes what the AND-ed conditions of a WHERE say about the records of the tables in sight. Only what is sure: a
    /// record that fails one of them cannot be part of any row that passes, on whatever side of a join it stands.
    fn narrow(&mut self, condition: &Expr) -> Result<(), SqlError> {
        match condition {
            Expr::Nested(inner) => self.narrow(inner),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::And,
                right,
            } => {
                self.narrow(left)?;
                self.narrow(right)
            }
            Expr::Between {
                expr,
                negated: false,
                low,
                high,
            } => {
                self.narrow_by(expr, Comparison::From, low)?;
                self.narrow_by(expr, Comparison::To, high)
            }
            Expr::BinaryOp { left, op, right } => {
                let (forth, back) = match op {
                    BinaryOperator::Eq => (Comparison::Equal, Comparison::Equal),
                    BinaryOperator::Gt | BinaryOperator::GtEq => (Comparison::From, Comparison::To),
                    BinaryOperator::Lt | BinaryOperator::LtEq => (Comparison::To, Comparison::From),
                    _ => return Ok(()),
                };
                self.narrow_by(left, forth, right)?;
                self.narrow_by(right, back, left)
            }
            _ => Ok(()),
        }
    }

    fn narrow_by(&mut self, column: &Expr, comparison: Comparison, value: &Expr) -> Result<(), SqlError> {
        let (qualifier, name) = match column {
            Expr::Identifier(name) => (None, folded(name)),
            Expr::CompoundIdentifier(path) => match path.as_slice() {
                [table, name] => (Some(folded(table)), folded(name)),
                _ => return Ok(()),
            },
            Expr::Nested(inner) => return self.narrow_by(inner, comparison, value),
            _ => return Ok(()),
        };
        let frame = self.frames.last().expect("a condition is read inside a query");
        let mut found = frame.relations.iter().filter(|relation| {
            let is_named = qualifier.as_ref().is_none_or(|wanted| *wanted == relation.alias);
            is_named && relation.columns.iter().any(|column| column.name == name)
        });
        let (Some(relation), None) = (found.next(), found.next()) else {
            return Ok(());
        };
        let Some((table, mention)) = relation.table.clone() else {
            return Ok(());
        };
        let at = relation.columns.iter().position(|column| column.name == name);
        let table_of_it = self.uses.get(&table).map(|used| used.table);
        let column = at.and_then(|at| table_of_it?.columns.get(at));
        let Some((what, ty)) = column.and_then(|column| Some((column.narrows?, column.ty))) else {
            return Ok(());
        };
        let is_log = matches!(table_of_it.map(|table| table.source), Some(Source::Log(_)));
        if !is_log || (comparison != Comparison::Equal && what != Narrows::Time) {
            return Ok(());
        }
        let before = self.columns_touched;
        let piece = self.expression(value)?;
        if self.columns_touched != before {
            return Ok(());
        }
        let value = match piece.ty.common(ty) {
            Some(common) if common == ty => self.coerce(piece, ty)?.sql,
            _ => return Ok(()),
        };
        if let Some(used) = self.uses.get_mut(&table) {
            used.mentions[mention].push(Narrowing {
                what,
                comparison,
                value,
            });
        }
        Ok(())
    }
}

/// A WITH query cannot be mistaken for a table.
fn inner_cte(name: &str) -> String {
    format!("with {name}")
}

fn last_part(name: &ObjectName) -> Result<String, SqlError> {
    Ok(parts(name)?.pop().unwrap_or_default())
}

fn function_alias(function: &str, alias: Option<&TableAlias>) -> (String, String) {
    let name = alias.map_or_else(|| function.to_owned(), |alias| folded(&alias.name));
    let column = alias.and_then(|alias| alias.columns.first());
    let column = column.map_or_else(|| name.clone(), |column| folded(&column.name));
    (name, column)
}

fn outside(columns: &[Seen]) -> Vec<OutColumn> {
    let out = |column: &Seen| OutColumn {
        name: column.name.clone(),
        ty: column.ty,
    };
    columns.iter().map(out).collect()
}

fn renamed(mut columns: Vec<OutColumn>, names: &[String]) -> Result<Vec<OutColumn>, SqlError> {
    if names.len() > columns.len() {
        return Err(SqlError::new(
            "42P10",
            format!(
                "{} columns available but {} columns specified",
                columns.len(),
                names.len()
            ),
            "name no more columns than there are",
        ));
    }
    for (column, name) in columns.iter_mut().zip(names) {
        column.name.clone_from(name);
    }
    Ok(columns)
}

fn order_keys(order: Option<&OrderBy>) -> Result<&[OrderByExpr], SqlError> {
    match order {
        None => Ok(&[]),
        Some(OrderBy {
            kind: OrderByKind::Expressions(keys),
            interpolate: None,
        }) => Ok(keys),
        Some(_) => Err(SqlError::unsupported("ORDER BY ALL")),
    }
}

/// PostgreSQL sorts NULLs as the largest, the engine as the smallest: it is always said.
pub fn direction(key: &OrderByExpr) -> &'static str {
    let is_descending = matches!(key.options.sort, Some(OrderBySort::Desc));
    match (is_descending, key.options.nulls_first.unwrap_or(is_descending)) {
        (false, false) => " ASC NULLS LAST",
        (false, true) => " ASC NULLS FIRST",
        (true, false) => " DESC NULLS LAST",
        (true, true) => " DESC NULLS FIRST",
    }
}

/// The place of the column that a key of ORDER BY names by its number or its name, counted from 1.
fn out_place(key: &Expr, columns: &[OutColumn]) -> Option<Result<usize, SqlError>> {
    match key {
        Expr::Identifier(name) => {
            let name = folded(name);
            columns
                .iter()
                .position(|column| column.name == name)
                .map(|at| Ok(at + 1))
        }
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => {
                let place = number.parse::<usize>().ok();
                let place = place.filter(|place| (1..=columns.len()).contains(place));
                Some(place.ok_or_else(|| no_place(number)))
            }
            _ => None,
        },
        _ => None,
    }
}

fn no_place(number: &str) -> SqlError {
    SqlError::new(
        "42P10",
        format!("position {} is not in select list", short(number)),
        "columns are counted from 1",
    )
}
