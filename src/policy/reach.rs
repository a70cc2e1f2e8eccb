//! Whether a rule can ever speak: one that cannot is a mistake that nobody would notice.
//! Never calls a rule unreachable that some statement could reach. Read `load.rs` next, which asks for every rule.

use crate::policy::read::CLASSES;
use crate::policy::rule::{Outcome, Rule};
use crate::sql::action::{Breadth, Class};

/// Why a rule can never speak.
pub struct Never {
    pub why: String,
    pub next_step: &'static str,
}

/// `None` if the rule can speak behind the rules that stand before it.
pub fn never_speaks(before: &[Rule], rule: &Rule) -> Option<Never> {
    let never = |why: &str, next_step| {
        let why = format!("rule `{}` can never match: {why}", rule.name);
        Some(Never { why, next_step })
    };
    let bounded = [Class::Read, Class::Write];
    if rule.breadth == Some(Breadth::Bounded)
        && !effective_classes(rule)
            .iter()
            .any(|class| bounded.contains(class))
    {
        return never(
            "only reads and writes can be bounded",
            "remove `breadth`, or add the class write",
        );
    }
    let cells_asked = cells(rule);
    if (rule.rows_over.is_some() || rule.rows_up_to.is_some())
        && !cells_asked
            .iter()
            .any(|(class, breadth)| takes_tables_whole(*class, *breadth))
    {
        return never(
            "only reads, exports and unbounded writes take a table whole",
            "remove `rows_over` or `rows_up_to`, or add such a class",
        );
    }
    if let Some(earlier) = before.iter().find(|earlier| shadows(earlier, rule)) {
        let why = format!("`{}` in line {} comes first", earlier.name, earlier.line);
        return never(&why, "move it up, narrow the earlier rule, or remove one of them");
    }
    let free = cells_asked.into_iter().any(|cell| {
        !before
            .iter()
            .any(|earlier| only_class_and_breadth(earlier) && cells(earlier).contains(&cell))
    });
    if !free {
        return never(
            "earlier rules decide all of its classes",
            "move it up, or remove it",
        );
    }
    None
}

fn effective_classes(rule: &Rule) -> Vec<Class> {
    match rule.classes.is_empty() {
        true => CLASSES.iter().map(|(_, class)| *class).collect(),
        false => rule.classes.clone(),
    }
}

/// Every class and breadth that a rule can match.
fn cells(rule: &Rule) -> Vec<(Class, Breadth)> {
    let possible = |class: Class| match class {
        Class::Read => vec![Breadth::Bounded],
        Class::Write => vec![Breadth::Bounded, Breadth::Unbounded],
        Class::Transaction
        | Class::Session
        | Class::Ddl
        | Class::Export
        | Class::Procedural
        | Class::Grant
        | Class::Admin
        | Class::Unknown => vec![Breadth::Unbounded],
    };
    let all = effective_classes(rule)
        .into_iter()
        .flat_map(|class| possible(class).into_iter().map(move |breadth| (class, breadth)));
    all.filter(|(_, breadth)| rule.breadth.is_none_or(|asked| asked == *breadth))
        .collect()
}

/// Whether an action of this kind can have a number of rows.
fn takes_tables_whole(class: Class, breadth: Breadth) -> bool {
    match (class, breadth) {
        (Class::Transaction | Class::Session, _) | (Class::Write, Breadth::Bounded) => false,
        (Class::Write, Breadth::Unbounded)
        | (
            Class::Read
            | Class::Ddl
            | Class::Export
            | Class::Procedural
            | Class::Grant
            | Class::Admin
            | Class::Unknown,
            _,
        ) => true,
    }
}

fn only_class_and_breadth(rule: &Rule) -> bool {
    rule.verbs.is_empty()
        && rule.tables.is_empty()
        && rule.columns.is_empty()
        && rule.functions.is_empty()
        && rule.databases.is_empty()
        && rule.principals.is_empty()
        && rule.labels.is_empty()
        && rule.networks.is_empty()
        && rule.window.is_none()
        && rule.rows_over.is_none()
        && rule.rows_up_to.is_none()
        && rule.condition.is_none()
}

/// Whether everything that `later` matches, `earlier` has matched before.
fn shadows(earlier: &Rule, later: &Rule) -> bool {
    fn within<T: PartialEq>(earlier: &[T], later: &[T]) -> bool {
        earlier.is_empty() || (!later.is_empty() && later.iter().all(|word| earlier.contains(word)))
    }
    let earlier_cells = cells(earlier);
    // Lists of names speak differently in allow rules and in others, so they compare only where they are read alike.
    let allows = |rule: &Rule| rule.outcome == Outcome::Allow;
    let comparable = allows(earlier) == allows(later)
        || (earlier.tables.is_empty() && earlier.columns.is_empty() && earlier.functions.is_empty());
    comparable
        && cells(later).iter().all(|cell| earlier_cells.contains(cell))
        && within(&earlier.verbs, &later.verbs)
        && within(&earlier.tables, &later.tables)
        && within(&earlier.columns, &later.columns)
        && within(&earlier.functions, &later.functions)
        && within(&earlier.databases, &later.databases)
        && within(&earlier.principals, &later.principals)
        && earlier
            .labels
            .iter()
            .all(|(label, value)| later.labels.get(label) == Some(value))
        && (earlier.window.is_none() || earlier.window == later.window)
        && (earlier.networks.is_empty() || networks_within(earlier, later))
        && earlier
            .rows_over
            .is_none_or(|least| later.rows_over.is_some_and(|rows| rows >= least))
        && earlier
            .rows_up_to
            .is_none_or(|most| later.rows_up_to.is_some_and(|rows| rows <= most))
        && condition_within(earlier, later)
}

/// Whether one network of the earlier rule holds each of the later rule's.
fn networks_within(earlier: &Rule, later: &Rule) -> bool {
    let held = |network| earlier.networks.iter().any(|known| known.covers(network));
    !later.networks.is_empty() && later.networks.iter().all(held)
}

/// Whether the earlier condition is met wherever the later one is. Without an answer a rule that allows is silent and the
/// others speak, so the same text in a rule that allows does not shadow one that holds.
fn condition_within(earlier: &Rule, later: &Rule) -> bool {
    match (&earlier.condition, &later.condition) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(one), Some(other)) => {
            one.text() == other.text()
                && (earlier.outcome != Outcome::Allow || later.outcome == Outcome::Allow)
        }
    }
}
