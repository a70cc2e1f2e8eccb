//! Labels that protect nothing: tables and columns that no catalog has, because their names are misspelt or gone.
//! Never reads a catalog: what there is is handed to it. Read `labels.rs` for what a name means.

use std::collections::{BTreeSet, HashMap};

use crate::policy::labels::{ColumnLabels, Entry};
use crate::sql::action::TableName;
use crate::sql::bound::small;

/// What of the labels has not been found. Relations are gone through one by one; what is left then is not there.
pub struct Unfound<'l> {
    sought: Vec<Sought<'l>>,
    /// By the table's name.
    whole: HashMap<&'l str, Vec<usize>>,
    beginnings: Vec<usize>,
}

struct Sought<'l> {
    entry: &'l Entry,
    has_table: bool,
    columns: BTreeSet<&'l str>,
}

impl<'l> Unfound<'l> {
    /// Nothing has been found yet.
    pub fn of(labels: &'l ColumnLabels) -> Self {
        let mut unfound = Self {
            sought: Vec::with_capacity(labels.len()),
            whole: HashMap::new(),
            beginnings: Vec::new(),
        };
        for (at, entry) in labels.entries().iter().enumerate() {
            match entry.is_beginning {
                true => unfound.beginnings.push(at),
                false => unfound.whole.entry(&entry.table).or_default().push(at),
            }
            unfound.sought.push(Sought {
                entry,
                has_table: false,
                columns: entry.columns.iter().map(String::as_str).collect(),
            });
        }
        unfound
    }

    /// There is this relation, with its schema. No columns: they are not known, and may be any.
    pub fn there_is(&mut self, relation: &TableName, columns: &[&str]) {
        let name = small(&relation.name);
        let schema = relation.schema.as_deref().map(small).unwrap_or_default();
        let whole = self.whole.get(name.as_str()).into_iter().flatten();
        for at in whole.chain(&self.beginnings) {
            let sought = &mut self.sought[*at];
            if sought.entry.schema != schema || !name.starts_with(&sought.entry.table) {
                continue;
            }
            sought.has_table = true;
            match columns {
                [] => sought.columns.clear(),
                columns => columns.iter().for_each(|column| {
                    sought.columns.remove(small(column).as_str());
                }),
            }
        }
    }

    /// What is in this schema is not handed over, whatever it is.
    pub fn leave_out(&mut self, schema: &str) {
        let schema = small(schema);
        for sought in &mut self.sought {
            if sought.entry.schema == schema {
                sought.has_table = true;
                sought.columns.clear();
            }
        }
    }

    /// What is left, in words and in order, each once.
    pub fn words(&self) -> Vec<String> {
        let left = self.sought.iter().flat_map(Sought::words);
        left.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl Sought<'_> {
    fn words(&self) -> Vec<String> {
        let Entry { schema, table, .. } = self.entry;
        match (self.has_table, self.entry.is_beginning) {
            (false, false) => vec![format!("the table `{schema}.{table}`")],
            (false, true) => vec![format!("a table whose name begins with `{schema}.{table}`")],
            (true, is_beginning) => {
                let star = if is_beginning { "*" } else { "" };
                let column = |column: &&str| format!("the column `{column}` of `{schema}.{table}{star}`");
                self.columns.iter().map(column).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(table: &str, columns: &str) -> String {
        format!("[[column]]\ntable = \"{table}\"\ncolumns = [{columns}]\nlabels = [\"pii\"]\n")
    }

    fn left(text: &str, relations: &[(&str, &str, &[&str])]) -> Vec<String> {
        let labels = ColumnLabels::parse(text, "labels.toml").expect("labels");
        let mut unfound = Unfound::of(&labels);
        for (schema, name, columns) in relations {
            let relation = TableName {
                schema: Some((*schema).to_owned()),
                name: (*name).to_owned(),
            };
            unfound.there_is(&relation, columns);
        }
        unfound.leave_out("mysql");
        unfound.words()
    }

    #[test]
    fn what_is_misspelt_is_left_and_what_is_there_in_any_case_is_not() {
        let there: [(&str, &str, &[&str]); 4] = [
            ("public", "customers", &["id", "ssn"]),
            ("public", "Orders_2026", &["Card"]),
            ("other", "persons", &["ssn"]),
            ("public", "opaque_view", &[]),
        ];
        for (table, columns, words) in [
            ("public.customers", "\"ssn\"", vec![]),
            ("PUBLIC.Customers", "\"SSN\"", vec![]),
            ("public.custmers", "\"ssn\"", vec!["the table `public.custmers`"]),
            ("public.persons", "\"ssn\"", vec!["the table `public.persons`"]),
            ("public.customer", "\"ssn\"", vec!["the table `public.customer`"]),
            (
                "public.customers",
                "\"ssn\", \"emial\", \"adress\"",
                vec![
                    "the column `adress` of `public.customers`",
                    "the column `emial` of `public.customers`",
                ],
            ),
            ("public.orders_*", "\"card\"", vec![]),
            (
                "public.orders_*",
                "\"crad\"",
                vec!["the column `crad` of `public.orders_*`"],
            ),
            (
                "public.oders_*",
                "\"card\"",
                vec!["a table whose name begins with `public.oders_`"],
            ),
            ("public.opaque_view", "\"any\"", vec![]),
            ("mysql.user", "\"password\"", vec![]),
        ] {
            assert_eq!(left(&entry(table, columns), &there), words, "{table} {columns}");
        }
    }

    #[test]
    fn a_table_of_two_entries_is_told_once() {
        let text = entry("public.gone", "\"a\"") + &entry("public.gone", "\"b\"");
        assert_eq!(left(&text, &[]), ["the table `public.gone`"]);
    }

    #[test]
    fn columns_of_tables_that_begin_alike_are_found_together() {
        let text = entry("public.part_*", "\"a\", \"b\"");
        assert!(
            left(
                &text,
                &[("public", "part_1", &["a"]), ("public", "part_2", &["b"])]
            )
            .is_empty()
        );
    }
}
