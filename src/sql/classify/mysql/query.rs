//! Queries: what they compute, and whether they keep or lock what they find.
//! Never lets a name be seen outside its WITH. Read `source.rs` next.

use sqlparser::ast::{
    Cte, Distinct, GroupByExpr, GroupByWithModifier, LimitClause, LockClause, LockType,
    NamedWindowDefinition, NamedWindowExpr, OrderBy, OrderByExpr, OrderByKind, OrderByOptions, OrderBySort,
    Query, Select, SelectFlavor, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetQuantifier,
    TableFactor, Values, WildcardAdditionalOptions, With,
};

use super::manipulate::is_bounded;
use super::{Walk, reach};
use crate::sql::action::{Class, TableName};

impl Walk<'_, '_> {
    pub(super) fn query(&mut self, query: &Query) {
        if !self.descend() {
            return;
        }
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        let inserting = std::mem::take(&mut self.inserting);
        let limited = reach::limit(limit_clause.as_ref(), fetch.as_ref());
        let outside = std::mem::replace(&mut self.reach, limited);
        let rows_seen = self.rows_seen.take();
        let in_sight = self.ctes.len();
        if let Some(with) = with {
            self.with(with);
        }
        self.inserting = inserting && with.is_none();
        self.set_expression(body);
        self.inserting = false;
        if let Some(order_by) = order_by {
            self.order_by(order_by);
        }
        if let Some(limit) = limit_clause {
            self.limit(limit);
        }
        if let Some(fetch) = fetch {
            self.maybe(fetch.quantity.as_ref());
        }
        self.locking(query, locks);
        if for_clause.is_some() || settings.is_some() || format_clause.is_some() || !pipe_operators.is_empty()
        {
            self.unknown_node();
        }
        self.ctes.truncate(in_sight);
        // What gathers this query's results gets no more of them than its LIMIT lets through.
        self.rows_seen = rows_seen.max(self.rows_seen.map(|rows| rows.min(limited)));
        self.reach = outside;
        self.depth -= 1;
    }

    /// Without RECURSIVE each common table expression sees those before it, with it all of them.
    fn with(&mut self, with: &With) {
        let With {
            with_token: _,
            recursive,
            cte_tables,
        } = with;
        if *recursive {
            self.ctes
                .extend(cte_tables.iter().map(|cte| cte.alias.name.value.clone()));
        }
        for cte in cte_tables {
            let Cte {
                alias,
                query,
                from,
                materialized,
                closing_paren_token: _,
            } = cte;
            if from.is_some() || materialized.is_some() {
                self.unknown_node();
            }
            self.alias(alias);
            self.query(query);
            if !*recursive {
                self.ctes.push(alias.name.value.clone());
            }
        }
    }

    fn set_expression(&mut self, body: &SetExpr) {
        // A chain of UNIONs leans left: the loop keeps it off the stack.
        let mut body = body;
        loop {
            match body {
                SetExpr::Select(select) => return self.select(select),
                SetExpr::Query(query) => return self.query(query),
                SetExpr::SetOperation {
                    left,
                    op: _,
                    set_quantifier,
                    right,
                } => {
                    match set_quantifier {
                        SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None => {}
                        SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName => {
                            self.unknown_node();
                        }
                    }
                    self.seen.unions += 1;
                    self.inserting = false;
                    self.boxed_set_expression(right);
                    body = left;
                }
                SetExpr::Values(values) => return self.values(values),
                SetExpr::Insert(statement) | SetExpr::Update(statement) | SetExpr::Delete(statement) => {
                    return self.statement(statement);
                }
                SetExpr::Merge(_) => return self.unknown_node(),
                SetExpr::Table(table) => {
                    let name = TableName {
                        schema: table.schema_name.clone(),
                        name: table.table_name.clone().unwrap_or_default(),
                    };
                    self.columns.insert("*".to_owned());
                    return self.read(name);
                }
            }
        }
    }

    fn boxed_set_expression(&mut self, body: &SetExpr) {
        if self.descend() {
            self.set_expression(body);
            self.depth -= 1;
        }
    }

    fn values(&mut self, values: &Values) {
        let Values {
            explicit_row: _,
            value_keyword: _,
            rows,
        } = values;
        for row in rows {
            self.expressions(&row.content);
        }
    }

    fn select(&mut self, select: &Select) {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct,
            select_modifiers: _,
            top,
            top_before_distinct,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        self.inserting = false;
        self.seen.selects += 1;
        self.seen.froms += usize::from(!from.is_empty());
        let foreign = top.is_some()
            || *top_before_distinct
            || exclude.is_some()
            || !lateral_views.is_empty()
            || prewhere.is_some()
            || !connect_by.is_empty()
            || !cluster_by.is_empty()
            || !distribute_by.is_empty()
            || !sort_by.is_empty()
            || qualify.is_some()
            || value_table_mode.is_some()
            || !matches!(flavor, SelectFlavor::Standard)
            || matches!(distinct, Some(Distinct::On(_)))
            // The lexer leaves no comments to the reader; a hint that came through was seen by nobody.
            || !optimizer_hints.is_empty();
        if foreign {
            self.unknown_node();
        }
        if into.is_some() {
            self.seen.intos += 1;
            self.raise(
                Class::Export,
                "keeps its result in a file or a user variable instead of returning it",
            );
        }
        let (gathers, rows_seen) = (std::mem::take(&mut self.gathers), self.rows_seen.take());
        for item in projection {
            self.select_item(item);
        }
        let gathers = std::mem::replace(&mut self.gathers, gathers);
        let outside = self.reach;
        if selection.as_ref().is_some_and(reach::narrows) || reach::is_one_row(select) {
            self.reach = 0;
        }
        for tables in from {
            self.table_with_joins(tables);
        }
        if gathers {
            // A LIMIT counts what was gathered, not what it was gathered from.
            self.rows_whole = self.rows_whole.max(self.rows_seen);
        }
        self.rows_seen = self.rows_seen.max(rows_seen);
        self.reach = outside;
        self.maybe(selection.as_ref());
        self.group_by(group_by);
        self.maybe(having.as_ref());
        for NamedWindowDefinition(_, window) in named_window {
            match window {
                NamedWindowExpr::NamedWindow(_) => {}
                NamedWindowExpr::WindowSpec(window) => self.window(window),
            }
        }
    }

    pub(super) fn select_item(&mut self, item: &SelectItem) {
        match item {
            SelectItem::UnnamedExpr(expr) => self.expression(expr),
            SelectItem::ExprWithAlias { expr, alias } => {
                self.alias_name(alias);
                self.expression(expr);
            }
            SelectItem::ExprWithAliases { .. } => self.unknown_node(),
            SelectItem::QualifiedWildcard(qualifier, options) => {
                match qualifier {
                    SelectItemQualifiedWildcardKind::ObjectName(_) => {}
                    SelectItemQualifiedWildcardKind::Expr(_) => self.unknown_node(),
                }
                self.wildcard(options);
            }
            SelectItem::Wildcard(options) => self.wildcard(options),
        }
    }

    pub(super) fn wildcard(&mut self, options: &WildcardAdditionalOptions) {
        let WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike,
            opt_exclude,
            opt_except,
            opt_replace,
            opt_rename,
            opt_alias,
        } = options;
        self.columns.insert("*".to_owned());
        if opt_ilike.is_some()
            || opt_exclude.is_some()
            || opt_except.is_some()
            || opt_replace.is_some()
            || opt_rename.is_some()
            || opt_alias.is_some()
        {
            self.unknown_node();
        }
    }

    fn group_by(&mut self, group_by: &GroupByExpr) {
        match group_by {
            GroupByExpr::All(_) => self.unknown_node(),
            GroupByExpr::Expressions(expressions, modifiers) => {
                self.expressions(expressions);
                for modifier in modifiers {
                    match modifier {
                        GroupByWithModifier::Rollup => {}
                        GroupByWithModifier::Cube
                        | GroupByWithModifier::Totals
                        | GroupByWithModifier::GroupingSets(_) => self.unknown_node(),
                    }
                }
            }
        }
    }

    fn order_by(&mut self, order_by: &OrderBy) {
        let OrderBy { kind, interpolate } = order_by;
        if interpolate.is_some() {
            self.unknown_node();
        }
        match kind {
            OrderByKind::All(_) => self.unknown_node(),
            OrderByKind::Expressions(keys) => self.sort(keys),
        }
    }

    pub(super) fn sort(&mut self, keys: &[OrderByExpr]) {
        for OrderByExpr {
            expr,
            options: OrderByOptions { sort, nulls_first },
            with_fill,
        } in keys
        {
            self.expression(expr);
            let foreign = matches!(sort, Some(OrderBySort::Using(_)));
            if foreign || nulls_first.is_some() || with_fill.is_some() {
                self.unknown_node();
            }
        }
    }

    fn limit(&mut self, limit: &LimitClause) {
        match limit {
            LimitClause::LimitOffset {
                limit,
                offset,
                limit_by,
            } => {
                self.maybe(limit.as_ref());
                self.maybe(offset.as_ref().map(|offset| &offset.value));
                if !limit_by.is_empty() {
                    self.unknown_node();
                }
            }
            LimitClause::OffsetCommaLimit { offset, limit } => {
                self.expression(offset);
                self.expression(limit);
            }
        }
    }

    /// FOR UPDATE: judged as the write that it prepares. A shared lock prepares none, and keeps every writer of its rows out.
    fn locking(&mut self, query: &Query, locks: &[LockClause]) {
        if locks.is_empty() {
            return;
        }
        self.raise(Class::Write, "locks the rows it reads");
        let for_update = locks
            .iter()
            .all(|lock| matches!(lock.lock_type, LockType::Update));
        let bounded = match query.body.as_ref() {
            SetExpr::Select(select) => match select.from.as_slice() {
                [table] => {
                    table.joins.is_empty()
                        && matches!(table.relation, TableFactor::Table { .. })
                        && query.with.is_none()
                        && select.selection.as_ref().is_some_and(is_bounded)
                }
                _ => false,
            },
            SetExpr::Query(_)
            | SetExpr::SetOperation { .. }
            | SetExpr::Values(_)
            | SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_)
            | SetExpr::Table(_) => false,
        };
        self.unbounded |= !(bounded && for_update);
    }
}
