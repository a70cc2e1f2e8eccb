//! The JSON constructors and queries of PostgreSQL 16 and newer, and JSON_TABLE.
//! Never takes one for the server's own without a catalog: an older server reads JSON_ARRAY(1) as a call of somebody's
//! function. Read `piece.rs` next.

use pg_raw_parse::Node;
use pg_raw_parse::nodes;
use pg_raw_parse::raw::{JsonExprOp, JsonTableColumnType};

use super::relation::Columns;
use super::walk::Walk;

impl Walk<'_, '_> {
    pub(super) fn json(&mut self, node: Node<'_>) {
        match node {
            Node::JsonFuncExpr(call) => self.json_call(call),
            Node::JsonObjectConstructor(object) => {
                self.newer_construct("json_object");
                for pair in object.exprs().iter() {
                    self.expression(Node::JsonKeyValue(pair));
                }
                self.json_output(object.output());
            }
            Node::JsonArrayConstructor(array) => {
                self.newer_construct("json_array");
                for value in array.exprs().iter() {
                    self.expression(Node::JsonValueExpr(value));
                }
                self.json_output(array.output());
            }
            Node::JsonArrayQueryConstructor(array) => {
                self.newer_construct("json_array");
                self.expression(array.query());
                self.json_output(array.output());
            }
            Node::JsonObjectAgg(object) => {
                self.newer_construct("json_objectagg");
                if let Some(pair) = object.arg() {
                    self.expression(Node::JsonKeyValue(pair));
                }
                self.json_aggregate(object.constructor());
            }
            Node::JsonArrayAgg(array) => {
                self.newer_construct("json_arrayagg");
                if let Some(value) = array.arg() {
                    self.expression(Node::JsonValueExpr(value));
                }
                self.json_aggregate(array.constructor());
            }
            Node::JsonParseExpr(parse) => {
                self.newer_construct("json");
                if let Some(value) = parse.expr() {
                    self.expression(Node::JsonValueExpr(value));
                }
                self.json_output(parse.output());
            }
            Node::JsonScalarExpr(scalar) => {
                self.newer_construct("json_scalar");
                self.expression(scalar.expr());
                self.json_output(scalar.output());
            }
            Node::JsonSerializeExpr(serialize) => {
                self.newer_construct("json_serialize");
                if let Some(value) = serialize.expr() {
                    self.expression(Node::JsonValueExpr(value));
                }
                self.json_output(serialize.output());
            }
            Node::JsonKeyValue(pair) => {
                self.expression(pair.key());
                if let Some(value) = pair.value() {
                    self.expression(Node::JsonValueExpr(value));
                }
            }
            Node::JsonValueExpr(value) => {
                self.expression(value.raw_expr());
                self.expression(value.formatted_expr());
            }
            Node::JsonArgument(argument) => {
                if let Some(value) = argument.val() {
                    self.expression(Node::JsonValueExpr(value));
                }
            }
            Node::JsonBehavior(behaviour) => self.expression(behaviour.expr()),
            Node::JsonOutput(output) => self.json_output(Some(output)),
            _ => self.unknown_node(),
        }
    }

    fn json_call(&mut self, call: &nodes::JsonFuncExpr) {
        let name = match call.op {
            JsonExprOp::JSON_EXISTS_OP => "json_exists",
            JsonExprOp::JSON_QUERY_OP => "json_query",
            JsonExprOp::JSON_VALUE_OP => "json_value",
            JsonExprOp::JSON_TABLE_OP => "json_table",
            _ => return self.unknown_node(),
        };
        self.newer_construct(name);
        if let Some(item) = call.context_item() {
            self.expression(Node::JsonValueExpr(item));
        }
        self.expression(call.pathspec());
        self.list(call.passing());
        self.json_output(call.output());
        self.json_behaviours(call.on_empty(), call.on_error());
    }

    fn json_behaviours(&mut self, empty: Option<&nodes::JsonBehavior>, error: Option<&nodes::JsonBehavior>) {
        for behaviour in [empty, error].into_iter().flatten() {
            self.expression(behaviour.expr());
        }
    }

    fn json_aggregate(&mut self, aggregate: Option<&nodes::JsonAggConstructor>) {
        let Some(aggregate) = aggregate else {
            return self.unknown_node();
        };
        self.json_output(aggregate.output());
        self.expression(aggregate.agg_filter());
        self.list(aggregate.agg_order());
        if let Some(window) = aggregate.over() {
            self.window(window);
        }
    }

    fn json_output(&mut self, output: Option<&nodes::JsonOutput>) {
        if let Some(output) = output {
            self.type_name(output.type_name());
        }
    }

    pub(super) fn json_table(&mut self, table: &nodes::JsonTable) {
        self.newer_construct("json_table");
        if let Some(item) = table.context_item() {
            self.expression(Node::JsonValueExpr(item));
        }
        if let Some(path) = table.pathspec() {
            self.expression(path.string());
        }
        self.list(table.passing());
        for column in table.columns().iter() {
            self.json_column(column);
        }
        self.json_behaviours(None, table.on_error());
        self.alias(table.alias(), Columns::OfSomeRow);
    }

    fn json_column(&mut self, column: &nodes::JsonTableColumn) {
        if !self.descend() {
            return;
        }
        match column.coltype {
            JsonTableColumnType::JTC_FOR_ORDINALITY
            | JsonTableColumnType::JTC_REGULAR
            | JsonTableColumnType::JTC_EXISTS
            | JsonTableColumnType::JTC_FORMATTED
            | JsonTableColumnType::JTC_NESTED => {}
            _ => self.unknown_node(),
        }
        self.type_name(column.type_name());
        if let Some(path) = column.pathspec() {
            self.expression(path.string());
        }
        for nested in column.columns() {
            match nested {
                Node::JsonTableColumn(nested) => self.json_column(nested),
                _ => self.unknown_node(),
            }
        }
        self.json_behaviours(column.on_empty(), column.on_error());
        self.depth -= 1;
    }
}
