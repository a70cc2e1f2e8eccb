//! Queries and expressions: every node is walked, every function, operator and type is looked up.
//! Never takes an unqualified name for granted. Read `manipulate.rs` next.

use std::collections::BTreeSet;

use pg_raw_parse::list::{CastNodeList, NodeList};
use pg_raw_parse::nodes;
use pg_raw_parse::raw::{A_Expr_Kind, LockClauseStrength, SubLinkType};
use pg_raw_parse::{ConstValue, Node};

use super::setting::{self, Value};
use super::{DEPTH_MAX, Walk};
use crate::sql::action::{CancelTarget, Class, FunctionName, TableName};
use crate::sql::classify::lists::{self, Known};

/// Relations of the system that hold credentials, other people's data, or the server's files.
const SENSITIVE: [&str; 7] = [
    "_pg_user_mappings",
    "pg_file_settings",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_largeobject",
    "pg_statistic",
    "pg_statistic_ext_data",
];

/// Columns of system relations that hold credentials; the other columns are anybody's to read.
const SENSITIVE_COLUMNS: [(&str, &str); 6] = [
    ("pg_authid", "rolpassword"),
    ("pg_shadow", "passwd"),
    ("pg_subscription", "subconninfo"),
    ("pg_user_mapping", "umoptions"),
    ("pg_user_mappings", "umoptions"),
    ("user_mapping_options", "option_value"),
];

impl Walk<'_, '_> {
    pub(super) fn select(&mut self, select: &nodes::SelectStmt) {
        if !self.descend() {
            return;
        }
        let inserting = std::mem::take(&mut self.inserting);
        let setting_row = std::mem::replace(&mut self.setting_row, setting_row(select));
        let in_sight = self.ctes.len();
        self.with(select.with_clause());
        if let Some(into) = select.into_clause() {
            self.raise(Class::Ddl, "creates a table from a query");
            self.target(into.rel());
        }
        for half in [select.larg(), select.rarg()].into_iter().flatten() {
            self.select(half);
        }
        self.list(select.distinct_clause());
        for target in select.target_list().iter() {
            self.target_entry(target);
        }
        self.sources(select.from_clause());
        self.expression(select.where_clause());
        self.list(select.group_clause());
        self.expression(select.having_clause());
        self.list(select.window_clause());
        self.inserting = inserting;
        self.list(select.values_lists());
        self.inserting = false;
        self.sort(select.sort_clause());
        self.expression(select.limit_offset());
        self.expression(select.limit_count());
        self.locking(select);
        self.setting_row = setting_row;
        self.ctes.truncate(in_sight);
        self.depth -= 1;
    }

    /// Common table expressions: without RECURSIVE each one sees those before it, with it all of them.
    pub(super) fn with(&mut self, with: Option<&nodes::WithClause>) {
        let Some(with) = with else { return };
        if with.recursive {
            let names = with
                .ctes()
                .iter()
                .filter_map(|cte| cte.ctename().map(str::to_owned));
            self.ctes.extend(names);
        }
        for cte in with.ctes().iter() {
            self.alias_columns(cte.aliascolnames());
            self.nested(cte.ctequery());
            if let Some(cycle) = cte.cycle_clause() {
                self.expression(cycle.cycle_mark_value());
                self.expression(cycle.cycle_mark_default());
            }
            if let (false, Some(name)) = (with.recursive, cte.ctename()) {
                self.ctes.push(name.to_owned());
            }
            self.rows.extend(cte.ctename().map(str::to_owned));
        }
    }

    fn locking(&mut self, select: &nodes::SelectStmt) {
        for clause in select.locking_clause().iter() {
            self.raise(Class::Write, "locks the rows it reads");
            // FOR KEY SHARE is not the lock that a plain UPDATE of the row takes.
            let as_an_update = clause.strength >= LockClauseStrength::LCS_FORSHARE;
            let one_table = select.from_clause().len() == 1
                && matches!(select.from_clause().first(), Some(Node::RangeVar(_)))
                && select.with_clause().is_none();
            if !(as_an_update && one_table && super::manipulate::is_bounded(select.where_clause())) {
                self.unbounded = true;
            }
        }
    }

    fn target_entry(&mut self, target: &nodes::ResTarget) {
        self.list(target.indirection());
        self.expression(target.val());
    }

    pub(super) fn sort(&mut self, sort: &CastNodeList<nodes::SortBy>) {
        for key in sort.iter() {
            self.sort_key(key);
        }
    }

    fn sort_key(&mut self, key: &nodes::SortBy) {
        self.expression(key.node());
        if !key.use_op().is_empty() {
            self.operator(key.use_op());
        }
    }

    pub(super) fn list(&mut self, list: &NodeList) {
        for node in list {
            self.expression(node);
        }
    }

    fn descend(&mut self) -> bool {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.depth -= 1;
            self.unknown_node();
            return false;
        }
        true
    }

    pub(super) fn expression(&mut self, node: Node<'_>) {
        if !self.descend() {
            return;
        }
        match node {
            Node::None
            | Node::A_Const(_)
            | Node::ParamRef(_)
            | Node::SetToDefault(_)
            | Node::CurrentOfExpr(_)
            | Node::SQLValueFunction(_)
            | Node::Integer(_)
            | Node::Float(_)
            | Node::Boolean(_)
            | Node::BitString(_) => {}
            Node::String(name) => self.column(name.sval()),
            Node::NodeList(list) => self.list(list),
            Node::ColumnRef(column) => self.column_ref(column),
            Node::A_Star(_) => {
                self.columns.insert("*".to_owned());
            }
            Node::A_Expr(expression) => self.operation(expression),
            Node::BoolExpr(expression) => self.list(expression.args()),
            Node::SubLink(link) => self.sub_link(link),
            Node::NullTest(test) => self.expression(test.arg()),
            Node::BooleanTest(test) => self.expression(test.arg()),
            Node::CaseExpr(case) => {
                if !matches!(case.arg(), Node::None) {
                    self.is_shadowed();
                }
                self.expression(case.arg());
                self.list(case.args());
                self.expression(case.defresult());
            }
            Node::CaseWhen(when) => {
                self.expression(when.expr());
                self.expression(when.result());
            }
            Node::CoalesceExpr(expression) => self.list(expression.args()),
            Node::MinMaxExpr(expression) => self.list(expression.args()),
            Node::GroupingFunc(expression) => self.list(expression.args()),
            Node::XmlExpr(expression) => {
                self.list(expression.named_args());
                self.list(expression.args());
            }
            Node::XmlSerialize(expression) => {
                self.expression(expression.expr());
                self.type_name(expression.type_name());
            }
            Node::RowExpr(row) => self.list(row.args()),
            Node::A_ArrayExpr(array) => self.list(array.elements()),
            Node::A_Indirection(indirection) => {
                self.expression(indirection.arg());
                for step in indirection.indirection() {
                    match step {
                        Node::String(name) => self.field(name.sval(), indirection.arg()),
                        step => self.expression(step),
                    }
                }
            }
            Node::A_Indices(indices) => {
                self.expression(indices.lidx());
                self.expression(indices.uidx());
            }
            Node::TypeCast(cast) => {
                self.expression(cast.arg());
                self.type_name(cast.type_name());
            }
            Node::CollateClause(collate) => self.expression(collate.arg()),
            Node::FuncCall(call) => self.call(call),
            Node::NamedArgExpr(argument) => self.expression(argument.arg()),
            Node::ResTarget(target) => self.target_entry(target),
            Node::MultiAssignRef(assign) => self.expression(assign.source()),
            Node::SortBy(key) => self.sort_key(key),
            Node::WindowDef(window) => self.window(window),
            Node::GroupingSet(set) => self.list(set.content()),
            Node::SelectStmt(select) => self.select(select),
            // Older servers do not take `IS JSON` at all, so it cannot be somebody's function there.
            Node::JsonIsPredicate(predicate) => self.expression(predicate.expr()),
            Node::ColumnDef(column) => self.type_name(column.type_name()),
            Node::TypeName(name) => self.type_name(Some(name)),
            _ => self.unknown_node(),
        }
        self.depth -= 1;
    }

    fn sub_link(&mut self, link: &nodes::SubLink) {
        let compares = matches!(
            link.sub_link_type,
            SubLinkType::ANY_SUBLINK | SubLinkType::ALL_SUBLINK
        );
        if !link.oper_name().is_empty() {
            self.operator(link.oper_name());
        } else if compares {
            self.is_shadowed();
        }
        self.expression(link.testexpr());
        self.expression(link.subselect());
    }

    fn window(&mut self, window: &nodes::WindowDef) {
        self.list(window.partition_clause());
        self.sort(window.order_clause());
        self.expression(window.start_offset());
        self.expression(window.end_offset());
    }

    fn operation(&mut self, expression: &nodes::A_Expr) {
        // Chains such as `a || b || c` lean left: the loop keeps them off the stack.
        let mut expression = expression;
        loop {
            match expression.kind {
                A_Expr_Kind::AEXPR_BETWEEN
                | A_Expr_Kind::AEXPR_NOT_BETWEEN
                | A_Expr_Kind::AEXPR_BETWEEN_SYM
                | A_Expr_Kind::AEXPR_NOT_BETWEEN_SYM => {
                    // Its name is BETWEEN; the server looks up `>=` and `<=` by search_path.
                    self.is_shadowed();
                }
                _ => self.operator(expression.name()),
            }
            self.expression(expression.rexpr());
            match expression.lexpr() {
                Node::A_Expr(left) => expression = left,
                left => return self.expression(left),
            }
        }
    }

    fn operator(&mut self, name: &NodeList) {
        match qualified(name) {
            Some((None, operator)) => {
                if !self.is_shadowed() && !lists::is_operator(operator) {
                    self.unlisted(
                        Class::Unknown,
                        format!("uses the operator `{operator}`, which is not built in"),
                    );
                }
            }
            Some((Some("pg_catalog"), operator)) if lists::is_operator(operator) => {}
            Some((schema, operator)) => {
                let schema = schema.map(|schema| format!("{schema}.")).unwrap_or_default();
                self.unlisted(
                    Class::Unknown,
                    format!("uses the operator `{schema}{operator}`, which is not built in"),
                );
            }
            None => self.unknown_node(),
        }
    }

    fn call(&mut self, call: &nodes::FuncCall) {
        self.list(call.args());
        self.sort(call.agg_order());
        self.expression(call.agg_filter());
        if let Some(window) = call.over() {
            self.window(window);
        }
        self.function(call);
    }

    fn function(&mut self, call: &nodes::FuncCall) {
        let Some((schema, name)) = qualified(call.funcname()) else {
            return self.unknown_node();
        };
        self.functions.insert(FunctionName {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        });
        let known = match schema {
            // The grammar of newer servers qualifies this one by itself; older ones look it up by search_path.
            Some("pg_catalog") if name == "json_object" && self.is_shadowed() => return,
            Some("pg_catalog") => lists::function(name),
            None if self.is_shadowed() => return,
            None => lists::function(name),
            Some("information_schema") if lists::is_information_function(name) => Known::Harmless,
            Some(_) => Known::Absent,
        };
        match known {
            Known::Harmless => self.harmless_call(name, call),
            Known::Held(_, _) if name == "set_config" => self.set_config(call),
            Known::Held(Class::Session, _) => self.session = true,
            Known::Held(class, does) => {
                // A sequence that numbers an inserted row is part of that write; by itself it is one of its own.
                if !(name == "nextval" && self.inserting) {
                    self.unbounded = true;
                }
                self.raise(class, format!("calls `{name}`, which {does}"));
            }
            Known::Other => self.unlisted(
                Class::Unknown,
                format!("calls `{name}`, which is not for use in statements"),
            ),
            Known::Absent => {
                // Names that begin with pg_ are the server's own: a newer one's, which nobody has looked at.
                let class = if schema == Some("pg_catalog") || name.starts_with("pg_") {
                    Class::Unknown
                } else {
                    Class::Procedural
                };
                self.unlisted(
                    class,
                    format!("calls `{name}`, which is not known to be harmless"),
                );
            }
        }
    }

    fn harmless_call(&mut self, name: &str, call: &nodes::FuncCall) {
        if name != "current_setting" {
            return;
        }
        let argument = |node| match node {
            Node::NamedArgExpr(argument) => literal(argument.arg()),
            node => literal(node),
        };
        for text in call.args().into_iter().filter_map(argument) {
            self.shows_setting(Some(&text));
        }
    }

    pub(super) fn shows_setting(&mut self, name: Option<&str>) {
        if let Some(name) = name.filter(|name| setting::is_secret_to_show(name)) {
            self.raise(
                Class::Admin,
                format!("shows the setting `{name}`, which may hold a password"),
            );
        }
    }

    /// `set_config` with a literal name is the SET of that name. So is one over the single row of pg_settings that has
    /// a literal name, which is how pg_dump sets what an older server may not know.
    fn set_config(&mut self, call: &nodes::FuncCall) {
        let name = match call.args().first() {
            Some(Node::ColumnRef(column)) if is_column_name(column) => self.setting_row.clone(),
            Some(name) => literal(name),
            None => None,
        };
        let Some(name) = name else {
            return self.raise(
                Class::Admin,
                "calls `set_config` with a name that is not a literal",
            );
        };
        let value = match call.args().get(1).map(|value| literal(value)) {
            Some(Some(text)) => Value::Raw(text),
            Some(None) | None => Value::Computed,
        };
        let change = setting::change(&name, &value);
        if change.class == Class::Session {
            self.session = true;
        } else if let Some(reason) = change.reason {
            self.raise(change.class, reason);
        }
        self.effects.extend(change.effect);
        self.follow(change.followed, true, true);
    }

    /// A type on the list, or an array of one.
    pub(super) fn type_name(&mut self, name: Option<&nodes::TypeName>) {
        let Some(name) = name else { return };
        self.list(name.typmods());
        if name.pct_type {
            return self.unknown_node();
        }
        match type_word(name) {
            Some((None, _)) if self.is_shadowed() => {}
            // The grammar of newer servers qualifies this one by itself; older ones look it up by search_path.
            Some((Some("pg_catalog"), "json")) if self.is_shadowed() => {}
            Some((None | Some("pg_catalog"), word)) if is_listed_type(word) => {}
            Some((Some("information_schema"), word)) if lists::is_information_domain(word) => {}
            Some((_, word)) => {
                self.unlisted(
                    Class::Unknown,
                    format!("uses the type `{word}`, which is not built in"),
                );
            }
            None => self.unknown_node(),
        }
    }

    fn column_ref(&mut self, column: &nodes::ColumnRef) {
        match column.fields().into_iter().next_back() {
            Some(Node::A_Star(_)) => {
                self.columns.insert("*".to_owned());
            }
            Some(Node::String(name)) if column.fields().len() > 1 => self.field(name.sval(), Node::None),
            Some(Node::String(name)) => self.column(name.sval()),
            _ => self.unknown_node(),
        }
    }

    /// `t.name` and `(value).name`: a column, or where there is none of that name, a call of `name(value)`. A value of
    /// any type can stand there: `FROM unnest(…) t` makes `t` one.
    fn field(&mut self, name: Option<&str>, value: Node<'_>) {
        self.column(name);
        let name = name.unwrap_or_default();
        match lists::function(name) {
            Known::Held(class, does) => {
                self.unbounded = true;
                self.raise(class, format!("calls `{name}` by a dot, which {does}"));
            }
            Known::Other => self.raise(
                Class::Unknown,
                format!("calls `{name}` by a dot, which is not for use in statements"),
            ),
            Known::Harmless if name == "current_setting" => self.shows_setting(literal(value).as_deref()),
            // A column, as far as the text alone can tell.
            Known::Harmless | Known::Absent => {}
        }
    }

    pub(super) fn column(&mut self, name: Option<&str>) {
        if let Some(name) = name
            && !self.columns.contains(name)
        {
            self.columns.insert(name.to_owned());
        }
    }

    /// New names for columns hide the old ones: as good as naming them all.
    fn alias_columns(&mut self, columns: &NodeList) {
        if !columns.is_empty() {
            self.columns.insert("*".to_owned());
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
            Node::JoinExpr(join) => {
                self.source(join.larg());
                self.source(join.rarg());
                if join.is_natural || !join.using_clause().is_empty() {
                    // Both compare by an `=` that search_path finds.
                    self.is_shadowed();
                }
                if join.is_natural {
                    self.columns.insert("*".to_owned());
                }
                for column in join.using_clause().iter() {
                    self.column(column.sval());
                }
                self.expression(join.quals());
                self.alias(join.alias());
                self.alias(join.join_using_alias());
            }
            Node::RangeSubselect(select) => {
                self.alias(select.alias());
                self.expression(select.subquery());
            }
            Node::RangeFunction(function) => {
                self.alias(function.alias());
                self.list(function.functions());
                for column in function.coldeflist().iter() {
                    self.type_name(column.type_name());
                }
            }
            Node::RangeTableFunc(table) => {
                self.alias(table.alias());
                self.expression(table.docexpr());
                self.expression(table.rowexpr());
                self.list(table.namespaces());
                for column in table.columns().iter() {
                    self.type_name(column.type_name());
                    self.expression(column.colexpr());
                    self.expression(column.coldefexpr());
                }
            }
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

    fn alias(&mut self, alias: Option<&nodes::Alias>) {
        if let Some(alias) = alias {
            self.alias_columns(alias.colnames());
            self.rows.extend(alias.aliasname().map(str::to_owned));
        }
    }

    /// A relation that is read: a common table expression in sight, or a table.
    fn relation(&mut self, relation: &nodes::RangeVar) {
        self.alias(relation.alias());
        let Some(name) = relation.relname() else {
            return self.unknown_node();
        };
        if relation.schemaname().is_none() {
            if self.ctes.iter().any(|cte| cte == name) {
                return;
            }
            if self.is_shadowed() {
                self.target(Some(relation));
                return;
            }
        }
        self.target(Some(relation));
        if is_sensitive(relation.schemaname(), name) {
            self.raise(
                Class::Admin,
                format!("reads `{name}`, which holds credentials or other people's data"),
            );
        }
    }

    /// A table that is named, whatever is done to it.
    pub(super) fn target(&mut self, relation: Option<&nodes::RangeVar>) {
        let Some(relation) = relation else { return };
        let Some(name) = relation.relname() else { return };
        self.rows.push(name.to_owned());
        self.tables.insert(TableName {
            schema: relation.schemaname().map(str::to_owned),
            name: name.to_owned(),
        });
    }
}

fn is_sensitive(schema: Option<&str>, name: &str) -> bool {
    match schema {
        None | Some("pg_catalog" | "information_schema") => SENSITIVE.contains(&name),
        // Out-of-line values of any table, the sensitive ones among them.
        Some(schema) => schema.starts_with("pg_toast"),
    }
}

/// Reads of a credential by the columns that a statement names; a star, a whole row or renamed columns name them all.
pub(super) fn credentials<'a>(
    tables: &'a BTreeSet<TableName>,
    columns: &'a BTreeSet<String>,
) -> impl Iterator<Item = &'static str> + 'a {
    SENSITIVE_COLUMNS.iter().filter_map(|(relation, column)| {
        let named = tables
            .iter()
            .any(|table| table.name == *relation && is_system_schema(table.schema.as_deref()));
        (named && (columns.contains("*") || columns.contains(*column))).then_some(*relation)
    })
}

fn is_system_schema(schema: Option<&str>) -> bool {
    matches!(schema, None | Some("pg_catalog" | "information_schema"))
}

/// The target of a lone `SELECT pg_cancel_backend(…)`, which the proxy can carry out itself.
pub(super) fn cancel_target(statement: Node<'_>) -> Option<CancelTarget> {
    let Node::SelectStmt(select) = statement else {
        return None;
    };
    let lone = select.from_clause().is_empty()
        && select.target_list().len() == 1
        && select.distinct_clause().is_empty()
        && select.group_clause().is_empty()
        && select.sort_clause().is_empty()
        && select.locking_clause().is_empty()
        && matches!(select.where_clause(), Node::None)
        && matches!(select.having_clause(), Node::None)
        && matches!(select.limit_count(), Node::None)
        && matches!(select.limit_offset(), Node::None)
        && select.larg().is_none()
        && select.with_clause().is_none()
        && select.into_clause().is_none();
    let Some(Node::FuncCall(call)) = select.target_list().first().map(nodes::ResTarget::val) else {
        return None;
    };
    let named = qualified(call.funcname());
    let plain = call.over().is_none() && matches!(call.agg_filter(), Node::None) && !call.agg_distinct;
    let cancels =
        matches!(named, Some((None | Some("pg_catalog"), "pg_cancel_backend"))) && call.args().len() == 1;
    if !(lone && plain && cancels) {
        return None;
    }
    match call.args().first() {
        Some(Node::A_Const(constant)) => match constant.val() {
            Some(ConstValue::Integer(pid)) => Some(CancelTarget::Pid(pid)),
            _ => None,
        },
        Some(Node::ParamRef(parameter)) => u16::try_from(parameter.number).ok().map(CancelTarget::Parameter),
        _ => None,
    }
}

/// Whether a relation is the server's own.
pub(super) fn is_system(schema: Option<&str>, name: &str) -> bool {
    match schema {
        None => name.starts_with("pg_"),
        Some(schema) => {
            schema == "information_schema" || schema == "pg_catalog" || schema.starts_with("pg_toast")
        }
    }
}

fn is_listed_type(name: &str) -> bool {
    lists::is_type(name) || name.strip_prefix('_').is_some_and(lists::is_type)
}

/// The parts of a dotted name: schema and name. A database in front can only be the current one.
pub(super) fn qualified(parts: &NodeList) -> Option<(Option<&str>, &str)> {
    let part = |at: usize| parts.get(at).and_then(Node::as_str);
    match parts.len() {
        1 => Some((None, part(0)?)),
        2 => Some((Some(part(0)?), part(1)?)),
        3 => Some((Some(part(1)?), part(2)?)),
        _ => None,
    }
}

/// The setting that `FROM pg_settings WHERE name = '…'` picks, if that is all there is.
fn setting_row(select: &nodes::SelectStmt) -> Option<String> {
    let (1, Some(Node::RangeVar(relation))) = (select.from_clause().len(), select.from_clause().first())
    else {
        return None;
    };
    let settings = relation.relname() == Some("pg_settings")
        && matches!(relation.schemaname(), None | Some("pg_catalog"));
    let Node::A_Expr(test) = select.where_clause() else {
        return None;
    };
    let equality = test.kind == A_Expr_Kind::AEXPR_OP && matches!(qualified(test.name()), Some((None, "=")));
    match (test.lexpr(), test.rexpr()) {
        (Node::ColumnRef(column), constant @ Node::A_Const(_))
            if settings && equality && is_column_name(column) =>
        {
            literal(constant)
        }
        _ => None,
    }
}

/// The bare column `name`.
fn is_column_name(column: &nodes::ColumnRef) -> bool {
    column.fields().len() == 1 && matches!(column.fields().first().and_then(Node::as_str), Some("name"))
}

/// The parts of a type's name.
fn type_word(name: &nodes::TypeName) -> Option<(Option<&str>, &str)> {
    let part = |at: usize| name.names().get(at).and_then(nodes::String::sval);
    match name.names().len() {
        1 => Some((None, part(0)?)),
        2 => Some((Some(part(0)?), part(1)?)),
        3 => Some((Some(part(1)?), part(2)?)),
        _ => None,
    }
}

/// A string literal, with or without a cast to text.
pub(super) fn literal(node: Node<'_>) -> Option<String> {
    match node {
        Node::A_Const(constant) => match constant.val()? {
            ConstValue::String(text) => Some(text.to_owned()),
            ConstValue::Integer(number) => Some(number.to_string()),
            ConstValue::Float(number) => Some(number.to_owned()),
            ConstValue::Boolean(truth) => Some(if truth { "on" } else { "off" }.to_owned()),
            _ => None,
        },
        Node::TypeCast(cast) => {
            let text = matches!(
                type_word(cast.type_name()?),
                Some((None | Some("pg_catalog"), "text"))
            );
            if text { literal(cast.arg()) } else { None }
        }
        _ => None,
    }
}
