//! What is refused at load: names that nobody knows, values that cannot be compared, and whatever could cost more than a
//! pass over a statement's names. A closed walk: what it does not list is refused.
//! Never evaluates anything but literal times. Read `kind.rs` next.
//!
//! Why some of CEL is left out: `map`, `+` on lists and on elements, and lists in lists build values that grow with each
//! step, and a list of the statement inside another is a square of what an agent may write. Without them an evaluation
//! costs no more than the expression's length times the names of the statement.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators};
use cel::{Context, IdedExpr, Value};

use super::LIBRARY;
use super::facts::Fact;
use super::kind::{Cost, Kind, Length, Scalar};

/// Deepest tree; what it takes to evaluate one fits every stack.
const DEPTH_MAX: usize = 32;

/// A mistake at a node of the tree.
#[derive(Debug)]
pub struct Mistake {
    pub node: u64,
    pub why: String,
    pub next_step: String,
}

/// What a whole expression asks for and costs.
pub struct Checked {
    pub facts: Vec<Fact>,
    pub cost: Cost,
}

/// One part of an expression.
#[derive(Clone, Copy)]
struct Typed {
    kind: Kind,
    length: Length,
    cost: Cost,
}

/// A name inside a macro: the element, or the macro's own result.
struct Local<'e> {
    name: &'e str,
    kind: Kind,
    length: Length,
}

#[derive(Default)]
struct Walk<'e> {
    facts: Vec<Fact>,
    locals: Vec<Local<'e>>,
    depth: usize,
    /// How often a local name has been used so far.
    local_uses: usize,
    /// `rows` is compared with null somewhere.
    asks_whether_rows_are_known: bool,
    /// Where `rows` is first used as a number.
    rows_as_number: Option<u64>,
}

pub fn check(expression: &IdedExpr) -> Result<Checked, Mistake> {
    let mut walk = Walk::default();
    let whole = walk.node(expression)?;
    let place = expression.id;
    if whole.kind != Kind::One(Scalar::Bool) {
        let why = format!("the condition is {}, neither true nor false", whole.kind);
        return Err(mistake(place, why, "compare it with something"));
    }
    if walk.facts.is_empty() {
        let why = "the condition asks for nothing, so its answer is always the same".to_owned();
        return Err(mistake(place, why, format!("use one of: {}", fact_names())));
    }
    if let (Some(place), false) = (walk.rows_as_number, walk.asks_whether_rows_are_known) {
        let why = "`rows` is null where the size is not known".to_owned();
        return Err(mistake(
            place,
            why,
            "write rows != null && … around it, or use `rows_over`",
        ));
    }
    // A list or map is built once for an evaluation, whatever is done with it then.
    let cost = walk
        .facts
        .iter()
        .fold(whole.cost, |cost, fact| cost.plus(Cost::of_fact(*fact)));
    Ok(Checked {
        facts: walk.facts,
        cost,
    })
}

fn mistake(node: u64, why: impl Into<String>, next_step: impl Into<String>) -> Mistake {
    Mistake {
        node,
        why: why.into(),
        next_step: next_step.into(),
    }
}

fn fact_names() -> String {
    Fact::ALL.map(Fact::name).join(", ")
}

fn one(scalar: Scalar, cost: Cost) -> Typed {
    Typed {
        kind: Kind::One(scalar),
        length: Length::None,
        cost,
    }
}

impl<'e> Walk<'e> {
    fn node(&mut self, node: &'e IdedExpr) -> Result<Typed, Mistake> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let why = format!("the condition is nested more than {DEPTH_MAX} deep");
            return Err(mistake(node.id, why, "use a list with `in`, or several rules"));
        }
        let typed = match &node.expr {
            Expr::Literal(literal) => self.literal(node.id, literal),
            Expr::Ident(name) => self.name(node.id, name),
            Expr::Select(select) => self.select(node.id, select),
            Expr::Call(call) => self.call(node.id, call),
            Expr::List(list) if list.optional_indices.is_empty() => self.list(&list.elements),
            Expr::Map(map) => self.map(node.id, map.entries.iter().map(|entry| &entry.expr)),
            Expr::Comprehension(each) => self.comprehension(node.id, each),
            Expr::List(_) | Expr::Struct(_) | Expr::Unspecified => Err(mistake(
                node.id,
                "this part of CEL is not offered",
                "leave it out",
            )),
        };
        self.depth -= 1;
        let Typed { kind, length, cost } = typed?;
        Ok(Typed {
            kind,
            length,
            cost: cost.plus(Cost::STEP),
        })
    }

    fn literal(&self, place: u64, literal: &LiteralValue) -> Result<Typed, Mistake> {
        let scalar = match literal {
            LiteralValue::Boolean(_) => Scalar::Bool,
            LiteralValue::Int(_) => Scalar::Number,
            LiteralValue::String(_) => Scalar::Text,
            LiteralValue::Null => {
                return Ok(Typed {
                    kind: Kind::Null,
                    length: Length::None,
                    cost: Cost::NONE,
                });
            }
            LiteralValue::Bytes(_) | LiteralValue::Double(_) | LiteralValue::UInt(_) => {
                let why = "no fact is of this type";
                return Err(mistake(place, why, "write a whole number or a text in quotes"));
            }
        };
        Ok(one(scalar, Cost::NONE))
    }

    fn name(&mut self, place: u64, name: &str) -> Result<Typed, Mistake> {
        self.local_uses += usize::from(self.locals.iter().any(|local| local.name == name));
        if let Some(local) = self.locals.iter().rev().find(|local| local.name == name) {
            return Ok(Typed {
                kind: local.kind,
                length: local.length,
                cost: Cost::NONE,
            });
        }
        let fact = Fact::ALL.into_iter().find(|fact| fact.name() == name);
        let fact = fact.ok_or_else(|| {
            mistake(
                place,
                format!("unknown name `{name}`"),
                format!("write one of: {}", fact_names()),
            )
        })?;
        if !self.facts.contains(&fact) {
            self.facts.push(fact);
        }
        Ok(Typed {
            kind: fact.kind(),
            length: Length::of_fact(fact),
            cost: Cost::NONE,
        })
    }

    /// `labels.team`, or `has(labels.team)`.
    fn select(&mut self, place: u64, select: &'e SelectExpr) -> Result<Typed, Mistake> {
        let operand = self.node(&select.operand)?;
        match operand.kind {
            Kind::Map(_) if select.test => Ok(one(Scalar::Bool, operand.cost)),
            Kind::Map(Some(value)) => Ok(one(value, operand.cost)),
            Kind::Map(None) | Kind::One(_) | Kind::Null | Kind::NumberOrNull | Kind::List(_) => {
                let why = format!("{} has no `{}`", operand.kind, select.field);
                Err(mistake(place, why, "write labels.NAME"))
            }
        }
    }

    /// Elements of one type; no lists in lists.
    fn list(&mut self, elements: &'e [IdedExpr]) -> Result<Typed, Mistake> {
        let (mut kind, mut cost) = (None, Cost::NONE);
        for element in elements {
            kind = Some(self.scalar_of(element, kind, &mut cost)?);
        }
        Ok(Typed {
            kind: Kind::List(kind),
            length: Length::Literal(elements.len() as u64),
            cost,
        })
    }

    fn map(&mut self, place: u64, entries: impl Iterator<Item = &'e EntryExpr>) -> Result<Typed, Mistake> {
        let (mut kind, mut cost, mut length) = (None, Cost::NONE, 0);
        for entry in entries {
            let EntryExpr::MapEntry(entry) = entry else {
                return Err(mistake(place, "this part of CEL is not offered", "leave it out"));
            };
            self.scalar_of(&entry.key, Some(Scalar::Text), &mut cost)?;
            kind = Some(self.scalar_of(&entry.value, kind, &mut cost)?);
            length += 1;
        }
        Ok(Typed {
            kind: Kind::Map(kind),
            length: Length::Literal(length),
            cost,
        })
    }

    fn scalar_of(
        &mut self,
        node: &'e IdedExpr,
        wanted: Option<Scalar>,
        cost: &mut Cost,
    ) -> Result<Scalar, Mistake> {
        let typed = self.node(node)?;
        *cost = cost.plus(typed.cost);
        match typed.kind {
            Kind::One(found) if wanted.is_none_or(|wanted| wanted == found) => Ok(found),
            other => {
                let why = format!("{other} cannot stand here");
                let wanted =
                    wanted.map_or_else(|| "a text or a number".to_owned(), |wanted| wanted.to_string());
                Err(mistake(node.id, why, format!("write {wanted}")))
            }
        }
    }

    fn call(&mut self, place: u64, call: &'e CallExpr) -> Result<Typed, Mistake> {
        let parts: Vec<&'e IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        match (call.target.is_some(), call.func_name.as_str(), parts.as_slice()) {
            (false, "timestamp", [text]) => self.literal_time(text, Scalar::Moment, call),
            (false, "duration", [text]) => self.literal_time(text, Scalar::Span, call),
            (true, function, [moment, zone]) if is_part_of_time(function) => {
                let moment = self.node(moment)?;
                self.zone(zone)?;
                self.told(
                    place,
                    function,
                    (moment.kind == Kind::One(Scalar::Moment)).then_some(Scalar::Number),
                    moment.cost,
                )
            }
            (is_member, function, parts) => {
                let local_uses = self.local_uses;
                let typed = parts
                    .iter()
                    .map(|part| self.node(part))
                    .collect::<Result<Vec<_>, _>>()?;
                let joins_facts = self.local_uses == local_uses;
                self.applied(place, (is_member, function), parts, &typed, joins_facts)
            }
        }
    }

    fn applied(
        &mut self,
        place: u64,
        (is_member, function): (bool, &str),
        parts: &[&'e IdedExpr],
        typed: &[Typed],
        joins_facts: bool,
    ) -> Result<Typed, Mistake> {
        use Kind::{List, Map, One};
        use Scalar::{Bool, Moment, Number, Span, Text};
        let cost = typed.iter().fold(Cost::NONE, |cost, part| cost.plus(part.cost));
        let kinds: Vec<Kind> = typed.iter().map(|part| part.kind).collect();
        let kind = match (is_member, function, kinds.as_slice()) {
            (false, operators::LOGICAL_AND | operators::LOGICAL_OR, [One(Bool), One(Bool)])
            | (false, operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE, [One(Bool)]) => Bool,
            (false, operators::CONDITIONAL, [One(Bool), yes, no]) => {
                return self.either(place, *yes, *no, typed, cost);
            }
            (false, operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
                return self.compared(place, *left, *right, typed, cost);
            }
            (
                false,
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [left, right],
            ) => {
                self.note_rows(parts, &kinds);
                match (left.as_number(), right.as_number()) {
                    (One(left), One(right)) if left == right && left != Bool => Bool,
                    _ => return self.told(place, function, None, cost),
                }
            }
            (false, operators::IN, [One(value), List(element)])
                if element.is_none_or(|element| element == *value) =>
            {
                return Ok(one(Bool, cost.plus(Cost::pass(typed[1].length))));
            }
            (false, operators::IN, [One(Text), Map(_)]) => Bool,
            (false, operators::INDEX, [Map(Some(value)), One(Text)])
            | (false, operators::INDEX, [List(Some(value)), One(Number)]) => *value,
            (
                false,
                operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO,
                [left, right],
            ) if left.as_number() == One(Number) && right.as_number() == One(Number) => {
                self.note_rows(parts, &kinds);
                Number
            }
            // Of elements it could double a text with every list inside another.
            (false, operators::ADD, [One(Text), One(Text)]) if joins_facts => Text,
            (false, operators::ADD, [One(Moment), One(Span)] | [One(Span), One(Moment)])
            | (false, operators::SUBSTRACT, [One(Moment), One(Span)]) => Moment,
            (false, operators::ADD | operators::SUBSTRACT, [One(Span), One(Span)])
            | (false, operators::SUBSTRACT, [One(Moment), One(Moment)]) => Span,
            (false, operators::NEGATE, [One(Number)]) => Number,
            (_, "size", [One(Text) | List(_) | Map(_)]) => Number,
            (true, "contains" | "startsWith" | "endsWith", [One(Text), One(Text)]) => Bool,
            (true, function, [One(Moment)]) if is_part_of_time(function) => Number,
            (true, "getHours" | "getMinutes" | "getSeconds", [One(Span)]) => Number,
            _ => return self.told(place, function, None, cost),
        };
        Ok(one(kind, cost))
    }

    fn told(&self, place: u64, function: &str, kind: Option<Scalar>, cost: Cost) -> Result<Typed, Mistake> {
        kind.map(|kind| one(kind, cost)).ok_or_else(|| {
            let shown = function
                .trim_matches(|letter| letter == '_' || letter == '@')
                .replace("_:", ":");
            let why = format!("`{shown}` is not offered for these values");
            let offered = "texts: == < contains startsWith endsWith; numbers: == < + - * / %; lists: in size \
                           exists all exists_one filter; now: getHours getDayOfWeek and so on, with a zone";
            mistake(place, why, offered)
        })
    }

    fn either(&self, place: u64, yes: Kind, no: Kind, typed: &[Typed], cost: Cost) -> Result<Typed, Mistake> {
        let kind = yes
            .joined(no)
            .filter(|kind| !matches!(kind, Kind::Map(_)) || yes == no);
        let kind = kind.ok_or_else(|| {
            mistake(
                place,
                format!("the answers of `?:` are {yes} and {no}"),
                "write two of one type",
            )
        })?;
        let length = typed[1].length.longer(typed[2].length);
        let length = length.ok_or_else(|| {
            mistake(
                place,
                "the answers of `?:` are lists of different origin",
                "compare them one by one",
            )
        })?;
        Ok(Typed { kind, length, cost })
    }

    fn compared(
        &mut self,
        place: u64,
        left: Kind,
        right: Kind,
        typed: &[Typed],
        cost: Cost,
    ) -> Result<Typed, Mistake> {
        if left.joined(right).is_none() {
            let why = format!("{left} is never {right}");
            return Err(mistake(place, why, "compare values of one type"));
        }
        if matches!(
            (left, right),
            (Kind::Null, Kind::NumberOrNull) | (Kind::NumberOrNull, Kind::Null)
        ) {
            self.asks_whether_rows_are_known = true;
        }
        let passes = typed
            .iter()
            .fold(Cost::NONE, |cost, part| cost.plus(Cost::pass(part.length)));
        Ok(one(Scalar::Bool, cost.plus(passes)))
    }

    fn note_rows(&mut self, parts: &[&'e IdedExpr], kinds: &[Kind]) {
        let place = parts
            .iter()
            .zip(kinds)
            .find(|(_, kind)| **kind == Kind::NumberOrNull);
        let place = place.map(|(part, _)| part.id);
        self.rows_as_number = self.rows_as_number.or(place);
    }

    /// Times are literals, so that they are right or wrong once and for all.
    fn literal_time(&self, text: &IdedExpr, scalar: Scalar, call: &CallExpr) -> Result<Typed, Mistake> {
        let whole = IdedExpr {
            id: text.id,
            expr: Expr::Call(call.clone()),
        };
        let is_literal = matches!(text.expr, Expr::Literal(LiteralValue::String(_)));
        let context = Context::with_env(std::sync::Arc::clone(&LIBRARY));
        if !is_literal || Value::resolve(&whole, &context).is_err() {
            let next_step = match scalar {
                Scalar::Moment => "write timestamp('2026-11-22T13:00:00Z')",
                Scalar::Span | Scalar::Bool | Scalar::Number | Scalar::Text => "write duration('90m')",
            };
            return Err(mistake(text.id, format!("this is not {scalar}"), next_step));
        }
        Ok(one(scalar, Cost::STEP))
    }

    fn zone(&self, zone: &IdedExpr) -> Result<(), Mistake> {
        let known = match &zone.expr {
            Expr::Literal(LiteralValue::String(name)) => name.inner().parse::<chrono_tz::Tz>().is_ok(),
            _other => false,
        };
        match known {
            true => Ok(()),
            false => Err(mistake(
                zone.id,
                "this is not a time zone",
                "write a name of the IANA database, such as 'Europe/Berlin'",
            )),
        }
    }

    /// What a macro has become: a pass over a list.
    fn comprehension(&mut self, place: u64, each: &'e ComprehensionExpr) -> Result<Typed, Mistake> {
        let range = self.node(&each.iter_range)?;
        let element = match range.kind {
            Kind::List(Some(element)) if each.iter_var2.is_none() => element,
            Kind::Map(_) if each.iter_var2.is_none() => Scalar::Text,
            other => {
                let why = format!("{other} has no elements to go through");
                return Err(mistake(
                    place,
                    why,
                    "go through tables, columns, functions, behind or labels",
                ));
            }
        };
        if self.is_taken(&each.iter_var) {
            let why = format!("`{}` has a meaning already", each.iter_var);
            return Err(mistake(place, why, "name the element otherwise"));
        }
        let start = self.node(&each.accu_init)?;
        let locals = self.locals.len();
        self.locals.push(Local {
            name: &each.iter_var,
            kind: Kind::One(element),
            length: Length::None,
        });
        self.locals.push(Local {
            name: &each.accu_var,
            kind: start.kind,
            length: start.length,
        });
        let go_on = self.node(&each.loop_cond)?;
        let (kind, length, step) = match self.kept(each)? {
            // The result of `filter`: no longer than what it goes through.
            Some(test) => (
                range.kind,
                range.length,
                test.cost.plus(Cost::STEP).plus(Cost::STEP),
            ),
            None => {
                let step = self.node(&each.loop_step)?;
                (step.kind, Length::None, step.cost)
            }
        };
        if matches!(kind, Kind::Map(_)) || (kind != start.kind && !matches!(kind, Kind::List(_))) {
            return Err(mistake(
                place,
                "this pass over a list is not offered",
                "use exists, all, exists_one or filter",
            ));
        }
        let result_name = self.locals.last_mut().expect("pushed above");
        (result_name.kind, result_name.length) = (kind, length);
        let result = self.node(&each.result)?;
        self.locals.truncate(locals);
        let one_pass = go_on.cost.plus(step).times(range.length).ok_or_else(|| {
            mistake(
                place,
                "a list of the statement inside another can cost its square",
                "go through one of them, or use a list of words",
            )
        })?;
        let cost = range.cost.plus(start.cost).plus(one_pass).plus(result.cost);
        Ok(Typed {
            kind: result.kind,
            length: result.length,
            cost,
        })
    }

    /// The test of a `filter`, whose step is `test ? result + [element] : result`.
    fn kept(&mut self, each: &'e ComprehensionExpr) -> Result<Option<Typed>, Mistake> {
        let Expr::List(_) = &each.accu_init.expr else {
            return Ok(None);
        };
        let is = |node: &IdedExpr, name: &str| matches!(&node.expr, Expr::Ident(known) if known == name);
        let refused = || {
            mistake(
                each.loop_step.id,
                "`map` is not offered",
                "use exists, all, exists_one or filter",
            )
        };
        let Expr::Call(step) = &each.loop_step.expr else {
            return Err(refused());
        };
        let (operators::CONDITIONAL, [test, add, same]) = (step.func_name.as_str(), step.args.as_slice())
        else {
            return Err(refused());
        };
        let Expr::Call(added) = &add.expr else {
            return Err(refused());
        };
        let adds_the_element = match added.args.as_slice() {
            [
                result,
                IdedExpr {
                    expr: Expr::List(list),
                    ..
                },
            ] => {
                is(result, &each.accu_var)
                    && matches!(list.elements.as_slice(), [element] if is(element, &each.iter_var))
            }
            _other => false,
        };
        if !adds_the_element || !is(same, &each.accu_var) {
            return Err(refused());
        }
        let typed = self.node(test)?;
        match typed.kind {
            Kind::One(Scalar::Bool) => Ok(Some(typed)),
            other => Err(mistake(
                test.id,
                format!("{other} is neither true nor false"),
                "compare it with something",
            )),
        }
    }

    fn is_taken(&self, name: &str) -> bool {
        Fact::ALL.into_iter().any(|fact| fact.name() == name)
            || self.locals.iter().any(|local| local.name == name)
    }
}

fn is_part_of_time(function: &str) -> bool {
    [
        "getFullYear",
        "getMonth",
        "getDate",
        "getDayOfMonth",
        "getDayOfYear",
        "getDayOfWeek",
        "getHours",
        "getMinutes",
        "getSeconds",
    ]
    .contains(&function)
}
