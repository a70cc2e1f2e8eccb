//! Which values of one statement are withheld, and which labels it touches. What cannot be told is withheld.
//! Never sees a value. Read `sql/bound/mod.rs` for where values go.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::labels::{ColumnLabels, Labelled};
use crate::sql::action::{Action, Class, Judgement};
use crate::sql::bound::{Bound, GoesTo, small};

/// What the labels say of one statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    /// Labels of columns that it names, in order.
    pub touched: Vec<String>,
    /// The labels for which a value is withheld of which it is not known where it goes; empty: no value is withheld.
    all: Vec<String>,
    known: BTreeMap<u16, Vec<String>>,
}

impl Redaction {
    /// `bound` is asked only where a labelled column is near.
    pub fn of(labels: &ColumnLabels, judgement: &Judgement, bound: impl FnOnce() -> Option<Bound>) -> Self {
        if labels.is_empty() {
            return Self::default();
        }
        let mut touched = BTreeSet::new();
        let (mut all, mut is_told) = (BTreeSet::new(), true);
        for action in &judgement.actions {
            let named = labels.of(action.tables.iter());
            let behind = labels.of(action.behind.iter());
            touched.extend(named.labels(columns_of(action).as_ref()));
            // A view may call a column what it likes.
            touched.extend(behind.labels(None));
            if is_open(action.class) || action.reaches_unnamed {
                all.extend(labels.all().redacted(None));
                is_told = false;
            }
            all.extend(named.redacted(None));
            all.extend(behind.redacted(None));
            is_told &= behind.is_empty();
        }
        let bound = bound_if(is_told && !all.is_empty(), bound);
        let tables = judgement.actions.iter().flat_map(|action| &action.tables);
        let named = labels.of(tables);
        Self {
            touched: touched.into_iter().collect(),
            known: bound.map_or_else(BTreeMap::new, |bound| known(&bound, &named, &all)),
            all: all.into_iter().collect(),
        }
    }

    /// The labels for which the value of this parameter, counted from 1, is withheld; empty: it is not.
    pub fn withheld(&self, number: u16) -> &[String] {
        self.known.get(&number).unwrap_or(&self.all)
    }

    /// Whether what the server says of it may hold a value that is withheld.
    pub fn hides_answers(&self) -> bool {
        !self.all.is_empty()
    }
}

fn bound_if(is_asked: bool, bound: impl FnOnce() -> Option<Bound>) -> Option<Bound> {
    if is_asked { bound() } else { None }
}

fn known(bound: &Bound, named: &Labelled<'_>, all: &BTreeSet<String>) -> BTreeMap<u16, Vec<String>> {
    let redacted: BTreeMap<usize, BTreeSet<String>> = bound
        .linked()
        .map(|(set, columns)| (set, named.redacted(Some(columns))))
        .collect();
    let withheld = |number: u16| match bound.goes_to(number) {
        GoesTo::Columns(columns) => {
            let redacted = columns.sets().filter_map(|set| redacted.get(&set));
            redacted.flatten().cloned().collect()
        }
        GoesTo::Count => BTreeSet::new(),
        GoesTo::Unknown => all.clone(),
    };
    bound
        .numbers()
        .map(|number| (number, withheld(number).into_iter().collect()))
        .collect()
}

/// The columns that it names; `None`: any of its tables'.
fn columns_of(action: &Action) -> Option<BTreeSet<String>> {
    let named = || action.columns.iter().map(|name| small(name)).collect();
    (!action.columns.contains("*")).then(named)
}

/// Whether a statement of this class may reach tables that it does not name.
fn is_open(class: Class) -> bool {
    match class {
        Class::Read | Class::Write | Class::Session | Class::Transaction | Class::Ddl => false,
        Class::Export | Class::Procedural | Class::Grant | Class::Admin | Class::Unknown => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::bound::{bound_mysql, bound_postgres};
    use crate::sql::mysql_state::MysqlState;
    use crate::sql::statement::LexingState;
    use crate::sql::{judge_mysql, judge_postgres};

    const LABELS: &str = "[[column]]\ntable = \"public.customers\"\ncolumns = [\"ssn\", \"email\"]\nlabels = [\"pii\"]\n\
                          [[column]]\ntable = \"public.cards\"\ncolumns = [\"number\"]\nlabels = [\"pci\"]\n";

    fn redaction(text: &str) -> Redaction {
        let labels = ColumnLabels::parse(LABELS, "labels.toml").expect("labels");
        let judgement = judge_postgres(text.as_bytes(), LexingState::default_postgres(), &());
        Redaction::of(&labels, &judgement, || bound_postgres(text.as_bytes()))
    }

    #[test]
    fn a_value_is_withheld_unless_it_surely_goes_to_no_labelled_column() {
        for (text, withheld) in [
            (
                "SELECT 1 FROM orders WHERE note = $1 AND id = lower($2)",
                ["", ""],
            ),
            ("SELECT 1 FROM customers WHERE id = $1 AND ssn = $2", ["", "pii"]),
            (
                "SELECT 1 FROM \"customers\" c WHERE c.id = $1 AND c.\"ssn\" = $2",
                ["", "pii"],
            ),
            ("SELECT 1 FROM public.customers WHERE id = $1 LIMIT $2", ["", ""]),
            (
                "SELECT 1 FROM other.customers WHERE ssn = $1 AND x = $2",
                ["", ""],
            ),
            (
                "SELECT 1 FROM customers WHERE lower(name) = $1 AND name = $2",
                ["pii", ""],
            ),
            (
                "SELECT 1 FROM customers, cards WHERE number = $1 AND f = upper($2)",
                ["pci", "pci pii"],
            ),
            ("INSERT INTO customers VALUES ($1, $2)", ["pii", "pii"]),
            (
                "SELECT 1 FROM (SELECT ssn AS x FROM customers) q WHERE x = $1 AND $2 = x",
                ["pii", "pii"],
            ),
            ("SELECT somebodys($1, $2)", ["pci pii", "pci pii"]),
            ("no statement at all $1 $2", ["pci pii", "pci pii"]),
        ] {
            let redaction = redaction(text);
            let said = [1, 2].map(|number| redaction.withheld(number).join(" "));
            assert_eq!(said, withheld, "{text}");
        }
    }

    #[test]
    fn what_is_touched_is_what_is_named() {
        for (text, touched) in [
            ("SELECT id FROM customers", ""),
            ("SELECT email FROM customers", "pii"),
            ("SELECT * FROM customers JOIN cards USING (id)", "pci pii"),
            ("DELETE FROM cards WHERE id = 1", ""),
            ("INSERT INTO cards VALUES (1)", "pci"),
        ] {
            assert_eq!(redaction(text).touched.join(" "), touched, "{text}");
        }
    }

    #[test]
    fn thousands_of_values_beside_a_long_chain_of_columns_are_withheld() {
        let chain: Vec<String> = (0..850).rev().map(|at| format!("c{at:03}")).collect();
        let links = chain.windows(2).map(|pair| format!("{}={}", pair[0], pair[1]));
        let links = links.collect::<Vec<_>>().join(",");
        let text = |first: &str, values: Vec<String>| {
            let values = values.join(",");
            format!("UPDATE customers SET {first}=c849,{links} WHERE c000 IN ({values})")
        };
        let labels = ColumnLabels::parse(LABELS, "labels.toml").expect("labels");
        let state = MysqlState::default_mysql();
        for (first, withheld) in [("ssn", "pii"), ("name", "")] {
            let numbered = text(first, (1..=700).map(|number| format!("${number}")).collect());
            let postgres = redaction(&numbered);
            let text = text(first, vec!["?".to_owned(); 1_900]);
            let judgement = judge_mysql(text.as_bytes(), &state, &());
            let mysql = Redaction::of(&labels, &judgement, || bound_mysql(text.as_bytes(), &state));
            for (redaction, count) in [(postgres, 700), (mysql, 1_900)] {
                let said = (1..=count).find(|number| redaction.withheld(*number).join(" ") != withheld);
                assert_eq!(said, None, "{first}, {count} values");
            }
        }
    }

    #[test]
    fn without_labels_nothing_is_read() {
        let judgement = judge_postgres(b"SELECT $1", LexingState::default_postgres(), &());
        let redaction = Redaction::of(&ColumnLabels::default(), &judgement, || panic!("not asked"));
        assert_eq!(redaction, Redaction::default());
        assert!(redaction.withheld(1).is_empty());
    }
}
