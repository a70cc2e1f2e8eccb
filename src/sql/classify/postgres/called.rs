//! What a name calls: functions, names behind a dot, operators, types. Built-in lists first, then all that the catalog
//! says could be meant instead.
//! Never picks one of several candidates: each one that a call could mean counts. Read `manipulate.rs` next.
//!
//! Why no overload resolution of our own: a mistake in it would let somebody's function run. By numbers of arguments, and
//! by whether a value of a foreign type is about at all, nearly every candidate that cannot be meant is ruled out.

use std::sync::Arc;

use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes;

use super::piece::{is_column_name, is_untyped, literal, qualified, type_word};
use super::setting::{self, Value};
use super::walk::Walk;
use crate::sql::action::{Class, FunctionName};
use crate::sql::classify::lists::{self, Known, shapes};
use crate::sql::names::{Catalog, ForeignType, NotKnown, Routine};

impl Walk<'_, '_> {
    pub(super) fn call(&mut self, call: &nodes::FuncCall) {
        self.list(call.args());
        self.sort(call.agg_order());
        self.expression(call.agg_filter());
        if let Some(window) = call.over() {
            self.window(window);
        }
        self.function(call);
    }

    /// A procedure is held whatever it is; what its arguments call is told as well.
    pub(super) fn procedure(&mut self, call: &nodes::FuncCall) {
        self.list(call.args());
        match qualified(call.funcname()) {
            Some((schema, name)) => {
                self.functions.insert(FunctionName {
                    schema: schema.map(str::to_owned),
                    name: name.to_owned(),
                });
            }
            None => self.unknown_node(),
        }
    }

    fn function(&mut self, call: &nodes::FuncCall) {
        let Some((schema, name)) = qualified(call.funcname()) else {
            return self.unknown_node();
        };
        let function = FunctionName {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        };
        self.uncertain();
        let known = match schema {
            // The grammar of newer servers qualifies this one by itself; older ones look it up by search_path.
            Some("pg_catalog") if name == "json_object" && self.is_shadowed() => None,
            Some("pg_catalog") => Some(lists::function(name)),
            None if self.is_shadowed() => None,
            None => Some(lists::function(name)),
            Some("information_schema") if lists::is_information_function(name) => Some(Known::Harmless),
            Some(_) => Some(Known::Absent),
        };
        let Some(known) = known else {
            self.functions.insert(function);
            return;
        };
        let known = match (known, self.catalog()) {
            // Built in on newer servers; where it is not, the catalog knows whose it is.
            (Known::Absent, Some(_)) if schema.is_none_or(|schema| schema == "pg_catalog") => {
                lists::newer_function(name)
            }
            (known, _) => known,
        };
        // One argument behind a type's name is a cast, and the number is not the count of what is written here.
        let is_plain = !call.func_variadic && !call.agg_within_group;
        let given = is_plain.then(|| call.args().len());
        let untyped = || call.args().into_iter().all(is_untyped);
        let meant = self.can_mean(&function, given, known != Known::Absent, &untyped);
        if name == "json_object" && schema.is_some() {
            let bare = FunctionName {
                schema: None,
                name: name.to_owned(),
            };
            self.can_mean(&bare, given, true, &untyped);
        }
        self.may_multiply(shapes::returns_a_set(name), name);
        self.gathers |= shapes::gathers_rows(name);
        self.functions.insert(function);
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
            Known::Absent if meant => {}
            Known::Absent => self.unknown_function(schema, name),
        }
    }

    fn unknown_function(&mut self, schema: Option<&str>, name: &str) {
        if self.catalog().is_some() {
            let reason =
                format!("calls `{name}`, and no function of this name with so many arguments is known");
            return self.unlisted(Class::Unknown, reason);
        }
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

    /// Whether a call can mean something that is not built in; what such a thing does, counts. `given`: the number of
    /// arguments, if it is known.
    fn can_mean(
        &mut self,
        function: &FunctionName,
        given: Option<usize>,
        built_in: bool,
        untyped: &dyn Fn() -> bool,
    ) -> bool {
        let Some(catalog) = self.catalog() else {
            return false;
        };
        let mut routines = catalog.functions(function);
        routines.retain(|routine| given.is_none_or(|given| takes(routine, given)));
        self.candidates(routines.iter(), built_in, untyped);
        // A call with one argument can be a cast to the type of that name, even where a function has the name too.
        let casts = given.is_none_or(|given| given == 1)
            && match self.foreign_type(function.schema.as_deref(), &function.name) {
                Ok(Some(foreign)) => {
                    self.converts(&foreign);
                    true
                }
                Ok(None) | Err(NotKnown(_)) => false,
            };
        casts || !routines.is_empty()
    }

    fn candidates<'r>(
        &mut self,
        routines: impl Iterator<Item = &'r Arc<Routine>>,
        built_in: bool,
        untyped: &dyn Fn() -> bool,
    ) {
        for routine in routines {
            self.may_multiply(routine.returns_set, &routine.signature);
            if !built_in || routine.takes_built_in_types || untyped() {
                self.may_mean(routine);
            } else if routine.concern.is_some() {
                self.later.push(Arc::clone(routine));
            }
        }
    }

    /// A routine that the server may run here. What it returns may be of any type.
    pub(super) fn may_mean(&mut self, routine: &Routine) {
        self.foreign = true;
        self.may_multiply(routine.returns_set, &routine.signature);
        if let Some(concern) = &routine.concern {
            self.concerned(concern);
        }
    }

    /// A single row of VALUES is a list of results: what returns a set there is a query of as many rows.
    /// Source: PostgreSQL manual, section 38.5.9 SQL Functions Returning Sets
    fn may_multiply(&mut self, returns_set: bool, name: &str) {
        if self.inserting && returns_set {
            self.unbounded = true;
            let reason = format!("writes as many rows as `{name}` returns");
            if !self.reasons.contains(&reason) {
                self.reasons.push(reason);
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

    /// `qualifier.name`, where the qualifier is a name in FROM. First whether anything of that name could be called at all:
    /// the columns of a table may be many.
    pub(super) fn field_of(&mut self, qualifier: &str, name: Option<&str>) {
        let callable = name.is_some_and(|name| self.is_callable(name));
        if !callable || self.is_column_of(qualifier, name.unwrap_or_default()) {
            return self.column(name);
        }
        let any = self.is_any_value(qualifier);
        self.field(name, Node::None, any);
    }

    /// Whether `t.name` is a column for certain, and no call of `name(t)`.
    pub(super) fn is_certain_column(&self, column: &nodes::ColumnRef) -> bool {
        let parts: Vec<&str> = column.fields().into_iter().filter_map(Node::as_str).collect();
        match parts.as_slice() {
            [.., qualifier, name] => !self.is_callable(name) || self.is_column_of(qualifier, name),
            _ => true,
        }
    }

    fn is_callable(&self, name: &str) -> bool {
        let function = || FunctionName {
            schema: None,
            name: name.to_owned(),
        };
        let somebodys = |catalog: &dyn Catalog| {
            !catalog.functions(&function()).is_empty()
                || matches!(catalog.foreign_type(None, name), Ok(Some(_)))
        };
        matches!(lists::function(name), Known::Held(..) | Known::Other)
            || shapes::takes_a_row(name)
            || self.catalog().is_some_and(somebodys)
    }

    /// `t.name` and `(value).name`: a column, or where there is none of that name, a call of `name(value)`. A value of
    /// any type can stand there: `FROM unnest(…) t` makes `t` one. With `any` false it is a row for certain.
    pub(super) fn field(&mut self, name: Option<&str>, value: Node<'_>, any: bool) {
        self.column(name);
        let name = name.unwrap_or_default();
        self.calls_by_dot(name, any);
        self.may_multiply(shapes::returns_a_set(name), name);
        self.gathers |= shapes::gathers_rows(name);
        match lists::function(name) {
            Known::Held(class, does) => {
                self.unbounded = true;
                self.raise(class, format!("calls `{name}` by a dot, which {does}"));
            }
            Known::Other => self.raise(
                Class::Unknown,
                format!("calls `{name}` by a dot, which is not for use in statements"),
            ),
            Known::Harmless | Known::Absent if shapes::takes_a_row(name) => {
                // Of a row it hands on all columns.
                self.foreign = true;
                self.star();
                self.functions.insert(FunctionName {
                    schema: None,
                    name: name.to_owned(),
                });
            }
            Known::Harmless if name == "current_setting" => self.shows_setting(literal(value).as_deref()),
            // A column, as far as the text alone can tell.
            Known::Harmless | Known::Absent => {}
        }
    }

    fn calls_by_dot(&mut self, name: &str, any: bool) {
        let Some(catalog) = self.catalog() else {
            return;
        };
        let function = FunctionName {
            schema: None,
            name: name.to_owned(),
        };
        for routine in catalog.functions(&function) {
            if takes(&routine, 1) && (any || routine.takes_rows) {
                self.may_mean(&routine);
            }
        }
        if let Ok(Some(foreign)) = self.foreign_type(None, name) {
            self.converts(&foreign);
        }
    }

    pub(super) fn operator(&mut self, name: &NodeList, operands: usize, untyped: bool) {
        match qualified(name) {
            Some((schema, operator)) => self.named_operator(schema, operator, operands, untyped),
            None => self.unknown_node(),
        }
    }

    /// Operators that are meant without being written, by the names that the server looks up.
    pub(super) fn compares_by(&mut self, operators: &[&str], untyped: bool) {
        for operator in operators {
            self.named_operator(None, operator, 2, untyped);
        }
    }

    fn named_operator(&mut self, schema: Option<&str>, name: &str, operands: usize, untyped: bool) {
        self.uncertain();
        if schema.is_none() && self.is_shadowed() {
            return;
        }
        let built_in = matches!(schema, None | Some("pg_catalog")) && lists::is_operator(name);
        let mut meant = false;
        if let Some(catalog) = self.catalog() {
            let ask = || catalog.operators(schema, name).into();
            let routines = self.message.operators.of(schema, name, ask);
            let routines = || routines.iter().filter(|routine| takes(routine, operands));
            self.candidates(routines(), built_in, &|| untyped);
            meant = routines().next().is_some();
        }
        if !built_in && !meant {
            let schema = schema.map(|schema| format!("{schema}.")).unwrap_or_default();
            self.unlisted(
                Class::Unknown,
                format!("uses the operator `{schema}{name}`, which is not built in"),
            );
        }
    }

    /// A type on the list, or an array of one, or one that the catalog knows.
    pub(super) fn type_name(&mut self, name: Option<&nodes::TypeName>) {
        let Some(name) = name else { return };
        self.list(name.typmods());
        self.uncertain();
        if name.pct_type {
            return self.unknown_node();
        }
        match type_word(name) {
            // The grammar of newer servers qualifies this one by itself; older ones look it up by search_path.
            Some((Some("pg_catalog"), "json")) => self.named_type(None, "json"),
            Some((schema, word)) => self.named_type(schema, word),
            None => self.unknown_node(),
        }
    }

    fn named_type(&mut self, schema: Option<&str>, word: &str) {
        if schema.is_none() && self.is_shadowed() {
            return;
        }
        let listed = match schema {
            None | Some("pg_catalog") => is_listed_type(word),
            Some("information_schema") => lists::is_information_domain(word),
            Some(_) => false,
        };
        if self.catalog().is_some() {
            match self.foreign_type(schema, word) {
                Ok(Some(foreign)) => return self.converts(&foreign),
                Ok(None) => {}
                Err(NotKnown(why)) => {
                    return self.unlisted(
                        Class::Unknown,
                        format!("uses the type `{word}`, which is not known: {why}"),
                    );
                }
            }
        }
        if !listed {
            self.unlisted(
                Class::Unknown,
                format!("uses the type `{word}`, which is not built in"),
            );
        }
    }

    /// What the catalog says of a type's name; built in where there is no catalog.
    fn foreign_type(
        &mut self,
        schema: Option<&str>,
        name: &str,
    ) -> Result<Option<Arc<ForeignType>>, NotKnown> {
        let Some(catalog) = self.catalog() else {
            return Ok(None);
        };
        let ask = || catalog.foreign_type(schema, name);
        self.message.types.of(schema, name, ask)
    }

    fn converts(&mut self, foreign: &ForeignType) {
        self.foreign = true;
        if let Some(concern) = &foreign.concern {
            self.concerned(concern);
        }
    }

    /// A construct of newer grammars that older servers read as a call of the function of this name.
    pub(super) fn newer_construct(&mut self, name: &str) {
        self.uncertain();
        if self.catalog().is_none() {
            let reason = format!("uses `{name}`, which on an older server calls somebody's function");
            return self.unlisted(Class::Unknown, reason);
        }
        let function = FunctionName {
            schema: None,
            name: name.to_owned(),
        };
        if !self.is_shadowed() {
            self.can_mean(&function, None, true, &|| true);
        }
    }
}

fn takes(routine: &Routine, given: usize) -> bool {
    routine.arguments_min <= given && routine.arguments_max.is_none_or(|most| given <= most)
}

fn is_listed_type(name: &str) -> bool {
    lists::is_type(name) || name.strip_prefix('_').is_some_and(lists::is_type)
}
