//! Queries: their parts in the order in which names come into sight, and what stands in FROM.
//! Never takes a relation for harmless that the catalog does not know. Read `relation.rs` next.

use pg_raw_parse::Node;
use pg_raw_parse::list::{CastNodeList, NodeList};
use pg_raw_parse::nodes;
use pg_raw_parse::raw::LockClauseStrength;

use super::piece::{is_bounded, qualified, reach, setting_row};
use super::relation::Columns;
use super::walk::{Cte, Walk};
use crate::sql::action::Class;

impl Walk<'_, '_> {
    pub(super) fn select(&mut self, select: &nodes::SelectStmt) {
        if !self.descend() {
            return;
        }
        let inserting = std::mem::take(&mut self.inserting);
        let setting_row = std::mem::replace(&mut self.setting_row, setting_row(select));
        let (ctes, sources, outside) = (self.ctes.len(), self.sources.len(), self.reach);
        let (gathers, rows_seen) = (std::mem::take(&mut self.gathers), self.rows_seen.take());
        self.with(select.with_clause());
        if let Some(into) = select.into_clause() {
            self.raise(Class::Ddl, "creates a table from a query");
            self.target(into.rel());
        }
        let own = reach(select);
        self.reach = outside.min(own);
        for half in [select.larg(), select.rarg()].into_iter().flatten() {
            self.select(half);
        }
        // FROM before all else: only then is it known what `t.name` can be.
        self.sources(select.from_clause());
        // A query in the list of results hands on what it reads, whatever the conditions beside it.
        self.reach = outside;
        self.list(select.distinct_clause());
        for target in select.target_list().iter() {
            self.target_entry(target);
        }
        if std::mem::replace(&mut self.gathers, gathers) && outside > 0 {
            // A LIMIT counts what was gathered, not what it was gathered from.
            self.rows_whole = self.rows_whole.max(self.rows_seen);
        }
        // What gathers this query's own results gets no more of them than its LIMIT lets through.
        self.rows_seen = rows_seen.max(self.rows_seen.map(|rows| rows.min(own)));
        self.reach = 0;
        self.expression(select.where_clause());
        self.list(select.group_clause());
        self.expression(select.having_clause());
        self.list(select.window_clause());
        self.reach = outside;
        self.inserting = inserting;
        self.list(select.values_lists());
        self.inserting = false;
        self.sort(select.sort_clause());
        self.expression(select.limit_offset());
        self.expression(select.limit_count());
        self.locking(select);
        self.setting_row = setting_row;
        self.ctes.truncate(ctes);
        self.sources.truncate(sources);
        self.depth -= 1;
    }

    /// Common table expressions: without RECURSIVE each one sees those before it, with it all of them.
    pub(super) fn with(&mut self, with: Option<&nodes::WithClause>) {
        let Some(with) = with else { return };
        let first = self.ctes.len();
        if with.recursive {
            let names = with.ctes().iter().filter_map(|cte| cte.ctename());
            self.ctes.extend(names.map(|name| Cte {
                name: name.to_owned(),
                rows: None,
            }));
        }
        for (at, cte) in with.ctes().iter().enumerate() {
            self.alias_columns(cte.aliascolnames());
            let rows = self.common(cte.ctequery());
            if let Some(cycle) = cte.cycle_clause() {
                // Marks are compared by the `<>` of their type's default operator class.
                self.expression(cycle.cycle_mark_value());
                self.expression(cycle.cycle_mark_default());
            }
            let Some(name) = cte.ctename() else {
                self.unknown_node();
                continue;
            };
            match self.ctes.get_mut(first + at) {
                Some(known) if with.recursive => known.rows = rows,
                Some(_) | None => self.ctes.push(Cte {
                    name: name.to_owned(),
                    rows,
                }),
            }
            self.rows.push(name.to_owned());
        }
    }

    /// How many rows a common table expression passes on to whatever reads it whole.
    fn common(&mut self, query: Node<'_>) -> Option<u64> {
        if !matches!(query, Node::SelectStmt(_)) {
            self.nested(query);
            return None;
        }
        let reach = std::mem::replace(&mut self.reach, u64::MAX);
        let rows = self.rows_whole.take();
        self.nested(query);
        self.reach = reach;
        std::mem::replace(&mut self.rows_whole, rows)
    }

    fn locking(&mut self, select: &nodes::SelectStmt) {
        for clause in select.locking_clause().iter() {
            self.raise(Class::Write, "locks the rows it reads");
            // OF names what stands in FROM, by its alias. A name with a schema is refused by the server's analysis; it
            // is said as it stands all the same, so that nothing here rests on that.
            for locked in clause.locked_rels() {
                if let Node::RangeVar(relation) = locked
                    && relation.schemaname().is_some()
                {
                    self.relation(relation);
                }
            }
            // FOR KEY SHARE is not the lock that a plain UPDATE of the row takes.
            let as_an_update = clause.strength >= LockClauseStrength::LCS_FORSHARE;
            let one_table = select.from_clause().len() == 1
                && matches!(select.from_clause().first(), Some(Node::RangeVar(_)))
                && select.with_clause().is_none();
            if !(as_an_update
                && one_table
                && is_bounded(select.where_clause(), &|column| self.is_certain_column(column)))
            {
                self.unbounded = true;
            }
        }
    }

    pub(super) fn target_entry(&mut self, target: &nodes::ResTarget) {
        self.list(target.indirection());
        match target.val() {
            // All columns, one by one: not a row as one value.
            Node::ColumnRef(column)
                if matches!(column.fields().into_iter().next_back(), Some(Node::A_Star(_))) =>
            {
                self.star();
            }
            value => self.expression(value),
        }
    }

    pub(super) fn sort(&mut self, sort: &CastNodeList<nodes::SortBy>) {
        for key in sort.iter() {
            self.sort_key(key);
        }
    }

    /// Without USING, as with DISTINCT and GROUP BY, the default operator class of the type compares: only a superuser
    /// can make one.
    pub(super) fn sort_key(&mut self, key: &nodes::SortBy) {
        self.expression(key.node());
        if !key.use_op().is_empty() {
            self.operator(key.use_op(), 2, false);
        }
    }

    pub(super) fn sources(&mut self, items: &NodeList) {
        for item in items {
            self.source(item);
        }
    }

    pub(super) fn source(&mut self, item: Node<'_>) {
        if !self.descend() {
            return;
        }
        match item {
            Node::None => {}
            Node::RangeVar(relation) => self.relation(relation),
            Node::JoinExpr(join) => self.join(join),
            Node::RangeSubselect(select) => {
                self.expression(select.subquery());
                self.alias(select.alias(), Columns::OfSomeRow);
            }
            Node::RangeFunction(function) => {
                self.list(function.functions());
                for column in function.coldeflist().iter() {
                    self.type_name(column.type_name());
                }
                self.alias(function.alias(), Columns::OfSomeValue);
            }
            Node::RangeTableFunc(table) => {
                self.expression(table.docexpr());
                self.expression(table.rowexpr());
                self.list(table.namespaces());
                for column in table.columns().iter() {
                    self.type_name(column.type_name());
                    self.expression(column.colexpr());
                    self.expression(column.coldefexpr());
                }
                self.alias(table.alias(), Columns::OfSomeRow);
            }
            Node::JsonTable(table) => self.json_table(table),
            Node::RangeTableSample(sample) => {
                self.source(sample.relation());
                let method = qualified(sample.method());
                if !matches!(method, Some((None | Some("pg_catalog"), "bernoulli" | "system")))
                    || self.is_shadowed()
                {
                    self.unlisted(Class::Unknown, "samples by a method that is not built in");
                }
                self.list(sample.args());
                self.expression(sample.repeatable());
            }
            _ => self.unknown_node(),
        }
        self.depth -= 1;
    }

    fn join(&mut self, join: &nodes::JoinExpr) {
        self.source(join.larg());
        self.source(join.rarg());
        if join.is_natural || !join.using_clause().is_empty() {
            self.compares_by(&["="], false);
        }
        if join.is_natural {
            self.star();
        }
        for column in join.using_clause().iter() {
            self.column(column.sval());
        }
        // What the condition reads does not come out of the join.
        let reach = std::mem::take(&mut self.reach);
        self.expression(join.quals());
        self.reach = reach;
        self.alias(join.alias(), Columns::OfSomeRow);
        self.alias(join.join_using_alias(), Columns::OfSomeRow);
    }

    /// New names for columns hide the old ones: as good as naming them all.
    pub(super) fn alias_columns(&mut self, columns: &NodeList) {
        if !columns.is_empty() {
            self.star();
        }
    }

    pub(super) fn alias(&mut self, alias: Option<&nodes::Alias>, columns: Columns) {
        let Some(alias) = alias else { return };
        self.alias_columns(alias.colnames());
        let Some(name) = alias.aliasname() else { return };
        self.rows.push(name.to_owned());
        let columns = match columns {
            Columns::Of(_) if !alias.colnames().is_empty() => Columns::OfSomeRow,
            columns => columns,
        };
        self.in_sight(name, columns);
    }
}
