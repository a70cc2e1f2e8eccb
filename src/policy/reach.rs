//! Whether a rule can ever speak: one that cannot is a mistake that nobody would notice.
//! Never calls a rule unreachable that some statement could reach. Read `load.rs` next, which asks for every rule.

use crate::policy::load::CLASSES;
use crate::policy::rule::Rule;
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
    if let Some(earlier) = before.iter().find(|earlier| shadows(earlier, rule)) {
        let why = format!("`{}` in line {} comes first", earlier.name, earlier.line);
        return never(&why, "move it up, narrow the earlier rule, or remove one of them");
    }
    let free = cells(rule).into_iter().any(|cell| {
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

fn only_class_and_breadth(rule: &Rule) -> bool {
    rule.verbs.is_empty()
        && rule.tables.is_empty()
        && rule.columns.is_empty()
        && rule.functions.is_empty()
        && rule.databases.is_empty()
        && rule.principals.is_empty()
        && rule.labels.is_empty()
        && rule.window.is_none()
}

/// Whether everything that `later` matches, `earlier` has matched before.
fn shadows(earlier: &Rule, later: &Rule) -> bool {
    fn within<T: PartialEq>(earlier: &[T], later: &[T]) -> bool {
        earlier.is_empty() || (!later.is_empty() && later.iter().all(|word| earlier.contains(word)))
    }
    let earlier_cells = cells(earlier);
    // Lists of names speak differently in allow rules and in others, so two such lists compare only within one outcome.
    let comparable = earlier.outcome == later.outcome
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
}
