//! A rule's free condition, `when = '…'`: an expression of CEL (the Common Expression Language) over the facts of a
//! statement. Never calls anything outside itself, and never says yes where it could not be evaluated. Read `facts.rs`
//! next (what an expression may ask for), then `check.rs` (what is refused at load).
//!
//! Why CEL: what the other conditions of a rule cannot say needs an expression, and CEL is the one that people know from
//! Kubernetes and cloud policies. It has no loops but those over a list, no definitions and no effects, so every
//! expression ends. Measured (one rule of a class, a set of tables, a prefix and a limit): 52 µs to read and 2 to 3 µs to
//! evaluate; cedar-policy 49 µs and 10 µs at five times the build, rego 7 µs, rhai is a whole language. The crate `cel` is
//! released monthly by several people. It has no checker of types, so `check.rs` is ours, as closed as the walk over SQL.
//!
//! Why a mistake that shows only while it is evaluated is no answer: a condition without an answer makes a rule that
//! allows stay silent and one that holds or denies speak, so that no statement passes because an expression failed.

mod check;
mod facts;
mod kind;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::parser::Parser;
use cel::{Context, Env, ExecutionError, IdedExpr, Value};

use self::check::Mistake;
use self::facts::Fact;
use self::kind::Cost;

pub use self::facts::Facts;

/// Longest expression. Units: bytes. More cannot be overlooked by anybody, and its tree fits the stack below.
const TEXT_BYTES_MAX: usize = 1_000;
/// Deepest nesting that the reader follows.
const NESTING_MAX: u16 = 24;
/// The reader is recursive and takes up to 200 KB a level without optimisation; four times what `TEXT_BYTES_MAX` needs.
const READER_STACK_BYTES: usize = 32 << 20;
/// Steps that all conditions of one message may take together, each some 50 ns: a message is judged in bounded time.
const STEPS_MAX: u64 = 200_000;

/// Functions and operators of CEL, made once.
static LIBRARY: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A condition that has been read and checked.
#[derive(Clone)]
pub struct Condition {
    text: Arc<str>,
    expression: Arc<IdedExpr>,
    facts: Vec<Fact>,
    cost: Cost,
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotACondition {
    /// Where in the text. Units: bytes.
    pub at: usize,
    pub why: String,
    pub next_step: String,
}

/// Why a condition has no answer: a short phrase for reviewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer(pub &'static str);

/// What is left of the steps that one message may take.
#[derive(Debug)]
pub struct Budget(Cell<u64>);

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(STEPS_MAX))
    }
}

impl Budget {
    fn take(&self, steps: u64) -> Result<(), NoAnswer> {
        let left = self.0.get().checked_sub(steps);
        // Once it is empty it stays so: a cheap condition behind a dear one must not be asked by luck of the order.
        self.0.set(left.unwrap_or(0));
        left.map(drop)
            .ok_or(NoAnswer("the message names too much for its conditions"))
    }
}

impl Condition {
    pub fn read(text: &str) -> Result<Self, NotACondition> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(NotACondition {
                at: 0,
                why: format!("the condition is longer than {TEXT_BYTES_MAX} bytes"),
                next_step: "split it over several rules, or use lists such as `tables`".to_owned(),
            });
        }
        let reader = std::thread::Builder::new().stack_size(READER_STACK_BYTES);
        let read = std::thread::scope(|scope| {
            let thread = reader.spawn_scoped(scope, || read(text)).ok()?;
            thread.join().ok()
        });
        read.unwrap_or_else(|| {
            Err(NotACondition {
                at: 0,
                why: "the condition cannot be read".to_owned(),
                next_step: "write it in simpler words".to_owned(),
            })
        })
    }

    /// Whether it is met, in at most the steps that are left.
    pub fn holds(&self, facts: &Facts<'_>, budget: &Budget) -> Result<bool, NoAnswer> {
        budget.take(self.cost.steps(facts))?;
        let evaluated = catch_unwind(AssertUnwindSafe(|| {
            let mut context = Context::with_env(Arc::clone(&LIBRARY));
            for fact in &self.facts {
                context.add_variable_from_value(fact.name(), fact.value(facts)?);
            }
            Value::resolve(&self.expression, &context).map_err(|error| no_answer(&error))
        }));
        match evaluated.map_err(|_| NoAnswer("the evaluation broke off"))?? {
            Value::Bool(answer) => Ok(answer),
            _other => Err(NoAnswer("the answer is neither true nor false")),
        }
    }

    /// Whether its answer can change with the time alone.
    pub fn asks_for_time(&self) -> bool {
        self.facts.contains(&Fact::Now)
    }

    /// Whether it asks what only a catalog knows.
    pub fn asks_a_catalog(&self) -> bool {
        self.facts.contains(&Fact::Rows) || self.facts.contains(&Fact::Behind)
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Condition").field(&self.text).finish()
    }
}

fn read(text: &str) -> Result<Condition, NotACondition> {
    let parser = Parser::new().max_recursion_depth(NESTING_MAX);
    let (expression, source) = parser
        .parse_with_source_info(text)
        .map_err(|errors| unreadable(text, &errors))?;
    let checked = check::check(&expression).map_err(|mistake| {
        let Mistake { node, why, next_step } = mistake;
        let place = source.offset_for(node).map_or(0, |(start, _)| start as usize);
        let at = text.floor_char_boundary(place);
        NotACondition { at, why, next_step }
    })?;
    Ok(Condition {
        text: text.into(),
        expression: Arc::new(expression),
        facts: checked.facts,
        cost: checked.cost,
    })
}

/// The first mistake of the grammar, on one line and without the parser's whole list of what it had hoped for.
fn unreadable(text: &str, errors: &cel::ParseErrors) -> NotACondition {
    let next_step =
        "correct the expression; it is CEL, such as class == 'read' && principal == 'bot'".to_owned();
    let Some(first) = errors.errors.first() else {
        return NotACondition {
            at: 0,
            why: "the condition cannot be read".to_owned(),
            next_step,
        };
    };
    let why = if first.msg.contains("Recursion limit") {
        format!("the condition is nested more than {NESTING_MAX} deep")
    } else {
        let said = first.msg.trim_start_matches("Syntax error: ");
        let said = said.split(" expecting {").next().unwrap_or(said);
        format!(
            "the condition cannot be read: {}",
            said.chars().take(100).collect::<String>()
        )
    };
    let (line, column) = first.pos;
    let before = usize::try_from(line).unwrap_or(0).saturating_sub(1);
    let line_start: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    let column = usize::try_from(column).unwrap_or(0).saturating_sub(1);
    let in_line = text.get(line_start..).unwrap_or_default();
    let offset: usize = in_line.chars().take(column).map(char::len_utf8).sum();
    NotACondition {
        at: line_start + offset,
        why,
        next_step,
    }
}

/// Never the engine's own words: they repeat values, and those come from the statement.
fn no_answer(error: &ExecutionError) -> NoAnswer {
    NoAnswer(match error {
        ExecutionError::NoSuchKey(_) => "a key is missing",
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "it divides by zero",
        ExecutionError::Overflow(..) => "a number is too large",
        ExecutionError::IndexOutOfBounds(_) => "a list is too short",
        ExecutionError::NoSuchOverload(_)
        | ExecutionError::ValuesNotComparable(..)
        | ExecutionError::UnexpectedType { .. } => "a value is null or of another type",
        _other => "it cannot be evaluated",
    })
}

#[cfg(test)]
mod tests;
