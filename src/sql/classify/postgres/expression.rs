//! Expressions: every node is walked, every function, operator and type is looked up.
//! Never takes an unqualified name for granted. Read `query.rs` next.

use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes;
use pg_raw_parse::raw::{A_Expr_Kind, SubLinkType};

use super::piece::is_untyped;
use super::walk::Walk;
use crate::sql::action::Class;

impl Walk<'_, '_> {
    pub(super) fn list(&mut self, list: &NodeList) {
        for node in list {
            self.expression(node);
        }
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
            Node::A_Star(_) => self.star(),
            Node::A_Expr(expression) => self.operation(expression),
            Node::BoolExpr(expression) => self.list(expression.args()),
            Node::SubLink(link) => self.sub_link(link),
            Node::NullTest(test) => self.expression(test.arg()),
            Node::BooleanTest(test) => self.expression(test.arg()),
            Node::CaseExpr(case) => self.case(case),
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
            Node::RowExpr(row) => {
                // A record fits any row type.
                self.foreign = true;
                self.list(row.args());
            }
            Node::A_ArrayExpr(array) => self.list(array.elements()),
            Node::A_Indirection(indirection) => {
                self.expression(indirection.arg());
                for step in indirection.indirection() {
                    match step {
                        Node::String(name) => self.field(name.sval(), indirection.arg(), true),
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
            Node::MergeSupportFunc(_) => self.newer_construct("merge_action"),
            Node::JsonFuncExpr(_)
            | Node::JsonObjectConstructor(_)
            | Node::JsonArrayConstructor(_)
            | Node::JsonArrayQueryConstructor(_)
            | Node::JsonObjectAgg(_)
            | Node::JsonArrayAgg(_)
            | Node::JsonParseExpr(_)
            | Node::JsonScalarExpr(_)
            | Node::JsonSerializeExpr(_)
            | Node::JsonKeyValue(_)
            | Node::JsonValueExpr(_)
            | Node::JsonArgument(_)
            | Node::JsonBehavior(_)
            | Node::JsonOutput(_) => self.json(node),
            // By `kinds.rs` the rest cannot stand here: were it to, nobody has said what it does.
            _ => self.unknown_node(),
        }
        self.depth -= 1;
    }

    fn case(&mut self, case: &nodes::CaseExpr) {
        if !matches!(case.arg(), Node::None) {
            self.compares_by(&["="], is_untyped(case.arg()));
        }
        self.expression(case.arg());
        self.list(case.args());
        self.expression(case.defresult());
    }

    fn sub_link(&mut self, link: &nodes::SubLink) {
        let (compares, hands_on) = match link.sub_link_type {
            SubLinkType::ANY_SUBLINK | SubLinkType::ALL_SUBLINK => (true, false),
            SubLinkType::EXISTS_SUBLINK => (false, false),
            SubLinkType::EXPR_SUBLINK | SubLinkType::ARRAY_SUBLINK => (false, true),
            // Of the others none stands in a text.
            _ => return self.unknown_node(),
        };
        if !link.oper_name().is_empty() {
            self.operator(link.oper_name(), 2, false);
        } else if compares {
            self.compares_by(&["="], false);
        }
        self.expression(link.testexpr());
        let reach = if hands_on { self.reach } else { 0 };
        let reach = std::mem::replace(&mut self.reach, reach);
        self.expression(link.subselect());
        self.reach = reach;
    }

    pub(super) fn window(&mut self, window: &nodes::WindowDef) {
        self.list(window.partition_clause());
        self.sort(window.order_clause());
        self.expression(window.start_offset());
        self.expression(window.end_offset());
    }

    fn operation(&mut self, expression: &nodes::A_Expr) {
        // Chains such as `a || b || c` lean left: the loop keeps them off the stack.
        let mut expression = expression;
        loop {
            self.operands(expression);
            self.expression(expression.rexpr());
            match expression.lexpr() {
                Node::A_Expr(left) => expression = left,
                left => return self.expression(left),
            }
        }
    }

    /// The operators that one operation means.
    fn operands(&mut self, expression: &nodes::A_Expr) {
        let (left, right) = (expression.lexpr(), expression.rexpr());
        let operands = if matches!(left, Node::None) { 1 } else { 2 };
        let untyped = self.catalog().is_some() && (operands == 1 || is_untyped(left)) && is_untyped(right);
        match expression.kind {
            // Their names are not operators; the server looks up these by search_path.
            A_Expr_Kind::AEXPR_BETWEEN | A_Expr_Kind::AEXPR_BETWEEN_SYM => {
                self.compares_by(&[">=", "<="], untyped);
            }
            A_Expr_Kind::AEXPR_NOT_BETWEEN | A_Expr_Kind::AEXPR_NOT_BETWEEN_SYM => {
                self.compares_by(&["<", ">"], untyped);
            }
            // The grammar writes the operator into the name: `=`, `<>`, `~~`, `!~~*`, ….
            A_Expr_Kind::AEXPR_OP
            | A_Expr_Kind::AEXPR_OP_ANY
            | A_Expr_Kind::AEXPR_OP_ALL
            | A_Expr_Kind::AEXPR_DISTINCT
            | A_Expr_Kind::AEXPR_NOT_DISTINCT
            | A_Expr_Kind::AEXPR_NULLIF
            | A_Expr_Kind::AEXPR_IN
            | A_Expr_Kind::AEXPR_LIKE
            | A_Expr_Kind::AEXPR_ILIKE
            | A_Expr_Kind::AEXPR_SIMILAR => self.operator(expression.name(), operands, untyped),
            _ => self.unknown_node(),
        }
    }

    fn column_ref(&mut self, column: &nodes::ColumnRef) {
        let fields = column.fields();
        let qualifier = fields.len().checked_sub(2).and_then(|at| fields.get(at));
        match (fields.into_iter().next_back(), qualifier) {
            (Some(Node::A_Star(_)), _) => {
                // As an argument or an operand, all columns are one value: the row.
                self.foreign = true;
                self.star();
            }
            (Some(Node::String(name)), None) => self.column(name.sval()),
            (Some(Node::String(name)), Some(Node::String(qualifier))) => {
                self.field_of(qualifier.sval().unwrap_or_default(), name.sval());
            }
            _ => self.unknown_node(),
        }
    }

    pub(super) fn column(&mut self, name: Option<&str>) {
        if let Some(name) = name
            && !self.columns.contains(name)
        {
            self.columns.insert(name.to_owned());
        }
    }

    /// Every column there is.
    pub(super) fn star(&mut self) {
        self.column(Some("*"));
    }

    /// What raises a class where the reader can say no more than that.
    pub(super) fn holds(&mut self, class: Class, verb: &'static str, reason: &str) {
        self.is(class, verb);
        self.raise(class, reason);
    }
}
