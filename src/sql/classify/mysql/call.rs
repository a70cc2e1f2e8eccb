//! Calls of functions: their arguments, their windows, and whose function it is.
//! Never takes a name in quotes or with a schema for one of the server's own. Read `manipulate.rs` next.

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments, ObjectName, ObjectNamePart, WindowFrame, WindowFrameBound, WindowSpec, WindowType,
};

use super::{Walk, reach};
use crate::sql::action::{Class, FunctionName, TableName};
use crate::sql::classify::lists::mysql::{self as lists, Known};
use crate::sql::mysql_state::ServerKind;

impl Walk<'_, '_> {
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
                self.sequence(name, args);
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
        self.gathers |= reach::gathers(call);
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

    /// What is written as a column of a table is a sequence of a schema.
    fn sequence(&mut self, called: &ObjectName, arguments: &[FunctionArg]) {
        let is_of_sequences = matches!(called.0.as_slice(), [ObjectNamePart::Identifier(called)]
            if ["nextval", "lastval", "setval"].iter().any(|known| called.value.eq_ignore_ascii_case(known)));
        if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::CompoundIdentifier(parts)))) =
            arguments.first().filter(|_| is_of_sequences)
            && let [schema, name] = parts.as_slice()
        {
            self.tables.insert(TableName {
                schema: Some(schema.value.clone()),
                name: name.value.clone(),
            });
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
            self.seen.name_behind_dot(part);
            Known::Absent
        } else {
            lists::function(&folded, arguments, windowed, self.message.context.state)
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
        let used = self.message.used && name.schema.is_none();
        if let Some(catalog) = self.message.context.names.catalog().filter(|_| !used) {
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
                    self.concerned(concern);
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
