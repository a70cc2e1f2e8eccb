//! Which columns are labelled, and so whose values people and the log are not shown: one file, read like the rules.
//! Never reads a statement: where its values go is `sql/bound`. Read `redaction.rs` next.
//!
//! ```toml
//! redact = ["pii"]                    # labels whose values are withheld; without it all of them
//!
//! [[column]]
//! table = "public.customers"          # schema.table, in MySQL database.table; `public.customers*`: all that begin so
//! columns = ["ssn", "email"]
//! labels = ["pii"]
//! ```

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use toml::Spanned;

use crate::policy::load::{RuleError, read_file};
use crate::policy::places::Places;
use crate::sql::action::TableName;
use crate::sql::bound::small;

/// Entries of one file; more cannot be overlooked by anybody.
const ENTRIES_MAX: usize = 1_000;

/// Labels in one file: what bears them is compared for each new statement.
const LABELS_MAX: usize = 64;

/// A label stands in the log with every statement that touches it.
const LABEL_BYTES_MAX: usize = 40;

/// The labels of columns. Without a file nothing is labelled.
#[derive(Clone, Debug, Default)]
pub struct ColumnLabels {
    /// SHA-256 of the file.
    pub generation: [u8; 32],
    /// Where it came from, for people.
    pub file: String,
    /// What stands in it.
    pub text: Arc<str>,
    entries: Vec<Entry>,
}

/// Columns of one table, or of all whose names begin alike.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) is_beginning: bool,
    pub(super) columns: BTreeSet<String>,
    labels: BTreeSet<String>,
    /// Of these labels those whose values are withheld.
    redacted: BTreeSet<String>,
}

/// The labelled columns of some tables.
#[derive(Clone, Debug, Default)]
pub struct Labelled<'l>(Vec<&'l Entry>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    redact: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    column: Vec<RawEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    table: Spanned<String>,
    columns: Spanned<Vec<Spanned<String>>>,
    labels: Spanned<Vec<Spanned<String>>>,
}

impl ColumnLabels {
    /// Reads the text of a file of labels; `file` is its name in errors.
    pub fn parse(text: &str, file: &str) -> Result<Self, RuleError> {
        let places = Places { text, file };
        let raw: RawFile = toml::from_str(text).map_err(|error| places.syntax(&error))?;
        if raw.column.is_empty() || raw.column.len() > ENTRIES_MAX {
            return Err(places.error(
                0,
                format!("has {} entries, not 1 to {ENTRIES_MAX}", raw.column.len()),
                "write [[column]] with `table`, `columns` and `labels`",
            ));
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(raw.column.len());
        for raw_entry in &raw.column {
            let entry = places.entry(raw_entry)?;
            places.is_new(raw_entry, &entry, &entries)?;
            entries.push(entry);
        }
        let labels: BTreeSet<&String> = entries.iter().flat_map(|entry| &entry.labels).collect();
        if labels.len() > LABELS_MAX {
            let message = format!("has more than {LABELS_MAX} labels");
            return Err(places.error(0, message, "use fewer, broader labels"));
        }
        let redact = places.redact(raw.redact.as_deref(), &labels)?;
        for entry in &mut entries {
            entry.redacted = entry.labels.intersection(&redact).cloned().collect();
        }
        Ok(Self {
            generation: Sha256::digest(text.as_bytes()).into(),
            file: file.to_owned(),
            text: text.into(),
            entries,
        })
    }

    /// Reads a file of labels.
    pub fn load(path: &Path) -> Result<Self, RuleError> {
        let (text, file) = read_file(path, "check the path and its permissions")?;
        Self::parse(&text, &file)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many tables, or beginnings of their names, bear labels.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All labelled columns there are.
    pub fn all(&self) -> Labelled<'_> {
        Labelled(self.entries.iter().collect())
    }

    /// The labelled columns of tables that one of these names may mean.
    pub fn of<'t>(&self, tables: impl Iterator<Item = &'t TableName>) -> Labelled<'_> {
        let names: Vec<(Option<String>, String)> = tables
            .map(|table| (table.schema.as_deref().map(small), small(&table.name)))
            .collect();
        let touched = |entry: &&Entry| {
            let mut names = names.iter();
            names.any(|(schema, name)| entry.may_be(schema.as_deref(), name))
        };
        Labelled(self.entries.iter().filter(touched).collect())
    }
}

impl Entry {
    /// Whether a name may mean its table: in any case, because whether the server tells cases apart is not known here, and
    /// in any schema if the name says none. Both names stand in small letters.
    fn may_be(&self, schema: Option<&str>, name: &str) -> bool {
        let is_table = match self.is_beginning {
            true => name.starts_with(&self.table),
            false => name == self.table,
        };
        schema.is_none_or(|schema| schema == self.schema) && (is_table || name == "*")
    }
}

impl Labelled<'_> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels that one of these columns bears; `None`: that any of them bears.
    pub fn labels(&self, columns: Option<&BTreeSet<String>>) -> BTreeSet<String> {
        self.labels_by(columns, |entry| &entry.labels)
    }

    /// Of these labels those whose values are withheld.
    pub fn redacted(&self, columns: Option<&BTreeSet<String>>) -> BTreeSet<String> {
        self.labels_by(columns, |entry| &entry.redacted)
    }

    fn labels_by(
        &self,
        columns: Option<&BTreeSet<String>>,
        labels: impl Fn(&Entry) -> &BTreeSet<String>,
    ) -> BTreeSet<String> {
        let bearing = self
            .0
            .iter()
            .filter(|entry| columns.is_none_or(|columns| !columns.is_disjoint(&entry.columns)));
        bearing.flat_map(|entry| labels(entry)).cloned().collect()
    }
}

impl Places<'_> {
    fn entry(&self, raw: &RawEntry) -> Result<Entry, RuleError> {
        let name = raw.table.get_ref();
        let (beginning, is_beginning) = match name.strip_suffix('*') {
            Some(beginning) => (beginning, true),
            None => (name.as_str(), false),
        };
        let parts = beginning.split_once('.');
        let parts = parts.filter(|(schema, table)| {
            let is_plain = |part: &str| !part.contains(['.', '*']) && part.trim() == part;
            !schema.is_empty() && is_plain(schema) && is_plain(table) && (is_beginning || !table.is_empty())
        });
        let Some((schema, table)) = parts else {
            return Err(self.error(
                raw.table.span().start,
                format!("`{name}` is no table with its schema"),
                "write schema.table, of MySQL database.table; a * may end it",
            ));
        };
        Ok(Entry {
            schema: small(schema),
            table: small(table),
            is_beginning,
            columns: self.words(&raw.columns, "column", |column| {
                !column.is_empty() && column.trim() == column && !column.contains('*')
            })?,
            labels: self.words(&raw.labels, "label", is_label)?,
            redacted: BTreeSet::new(),
        })
    }

    /// A list of words, at least one, each once; in small letters.
    fn words(
        &self,
        raw: &Spanned<Vec<Spanned<String>>>,
        what: &str,
        is_right: impl Fn(&str) -> bool,
    ) -> Result<BTreeSet<String>, RuleError> {
        let mut words = BTreeSet::new();
        for word in raw.get_ref() {
            let at = word.span().start;
            let next_step = match what {
                "label" => "write small letters, digits, - and _, at most 40 of them",
                _ => "write one column's name, without its table",
            };
            if !is_right(word.get_ref()) {
                let message = format!("`{}` is no name of a {what}", word.get_ref());
                return Err(self.error(at, message, next_step));
            }
            if !words.insert(small(word.get_ref())) {
                let message = format!("names the {what} `{}` twice", word.get_ref());
                return Err(self.error(at, message, "remove one of them"));
            }
        }
        match words.is_empty() {
            true => Err(self.error(
                raw.span().start,
                format!("names no {what}"),
                format!("name one {what} at least"),
            )),
            false => Ok(words),
        }
    }

    /// Two entries about one column would leave open which holds.
    fn is_new(&self, raw: &RawEntry, entry: &Entry, known: &[Entry]) -> Result<(), RuleError> {
        let same = known.iter().find(|other| {
            (&other.schema, &other.table, other.is_beginning)
                == (&entry.schema, &entry.table, entry.is_beginning)
        });
        let twice = same.and_then(|same| same.columns.intersection(&entry.columns).next());
        let Some(column) = twice else { return Ok(()) };
        Err(self.error(
            raw.columns.span().start,
            format!(
                "column `{column}` of `{}` has labels already",
                raw.table.get_ref()
            ),
            "put all its labels into one entry",
        ))
    }

    fn redact(
        &self,
        raw: Option<&[Spanned<String>]>,
        labels: &BTreeSet<&String>,
    ) -> Result<BTreeSet<String>, RuleError> {
        let Some(raw) = raw else {
            return Ok(labels.iter().map(|label| (*label).clone()).collect());
        };
        let mut redact = BTreeSet::new();
        for label in raw {
            let at = label.span().start;
            let name = label.get_ref();
            if !labels.contains(name) {
                let known: Vec<&str> = labels.iter().map(|label| label.as_str()).collect();
                let message = format!("no column bears the label `{name}`");
                return Err(self.error(at, message, format!("write one of: {}", known.join(", "))));
            }
            if !redact.insert(name.clone()) {
                return Err(self.error(at, format!("names `{name}` twice"), "remove one of them"));
            }
        }
        Ok(redact)
    }
}

fn is_label(word: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    (1..=LABEL_BYTES_MAX).contains(&word.len()) && word.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUSTOMERS: &str =
        "[[column]]\ntable = \"public.customers\"\ncolumns = [\"ssn\"]\nlabels = [\"pii\"]\n";

    fn mistake(text: &str) -> (u32, u32, String) {
        let error = ColumnLabels::parse(text, "labels.toml").expect_err("a mistake");
        (error.line, error.column, error.message)
    }

    #[test]
    fn mistakes_name_line_and_column() {
        let entry = |table: &str, columns: &str, labels: &str| {
            format!("[[column]]\ntable = {table}\ncolumns = {columns}\nlabels = {labels}\n")
        };
        for (text, line, column, message) in [
            (String::new(), 1, 1, "has 0 entries"),
            (format!("colour = 1\n{CUSTOMERS}"), 1, 1, "unknown field"),
            (
                entry("\"customers\"", "[\"a\"]", "[\"pii\"]"),
                2,
                9,
                "no table with its schema",
            ),
            (entry("\"a.b.c\"", "[\"a\"]", "[\"pii\"]"), 2, 9, "no table"),
            (entry("\"a.*b\"", "[\"a\"]", "[\"pii\"]"), 2, 9, "no table"),
            (entry("\"a.b\"", "[]", "[\"pii\"]"), 3, 11, "names no column"),
            (entry("\"a.b\"", "[\"a\"]", "[]"), 4, 10, "names no label"),
            (
                entry("\"a.b\"", "[\"a\", \"A\"]", "[\"pii\"]"),
                3,
                17,
                "column `A` twice",
            ),
            (
                entry("\"a.b\"", "[\"a\"]", "[\"P II\"]"),
                4,
                11,
                "no name of a label",
            ),
            (
                format!("redact = [\"pii\", \"health\"]\n{CUSTOMERS}"),
                1,
                18,
                "no column bears the label `health`",
            ),
            (
                format!("redact = [\"pii\", \"pii\"]\n{CUSTOMERS}"),
                1,
                18,
                "names `pii` twice",
            ),
            (
                format!("{CUSTOMERS}{CUSTOMERS}"),
                7,
                11,
                "column `ssn` of `public.customers` has labels already",
            ),
        ] {
            let (at_line, at_column, said) = mistake(&text);
            assert_eq!((at_line, at_column), (line, column), "{text}: {said}");
            assert!(said.contains(message), "{text}: {said}");
        }
    }

    #[test]
    fn a_table_is_found_by_every_name_that_may_mean_it() {
        let text = format!(
            "{CUSTOMERS}[[column]]\ntable = \"public.orders_*\"\ncolumns = [\"card\"]\nlabels = [\"pci\"]\n"
        );
        let labels = ColumnLabels::parse(&text, "labels.toml").expect("labels");
        let found = |schema: Option<&str>, name: &str| {
            let table = TableName {
                schema: schema.map(str::to_owned),
                name: name.to_owned(),
            };
            let labelled = labels.of(std::iter::once(&table));
            labelled.redacted(None).into_iter().collect::<Vec<_>>().join(",")
        };
        assert_eq!(found(Some("public"), "customers"), "pii");
        assert_eq!(found(None, "customers"), "pii");
        assert_eq!(found(Some("PUBLIC"), "Customers"), "pii");
        assert_eq!(found(Some("public"), "orders_2026"), "pci");
        assert_eq!(found(Some("public"), "*"), "pci,pii");
        assert_eq!(found(Some("other"), "customers"), "");
        assert_eq!(found(None, "customers_old"), "");
        assert_eq!(found(None, "orders"), "");
    }

    #[test]
    fn a_label_that_is_not_to_be_redacted_is_still_a_label() {
        let text = format!(
            "redact = [\"pii\"]\n{CUSTOMERS}[[column]]\ntable = \"public.customers\"\ncolumns = [\"tier\"]\nlabels = [\"internal\"]\n"
        );
        let labels = ColumnLabels::parse(&text, "labels.toml").expect("labels");
        let columns = |name: &str| BTreeSet::from([name.to_owned()]);
        let all = labels.all();
        assert_eq!(all.labels(Some(&columns("tier"))).len(), 1);
        assert!(all.redacted(Some(&columns("tier"))).is_empty());
        assert_eq!(all.redacted(Some(&columns("ssn"))), columns("pii"));
        assert_eq!(all.redacted(None), columns("pii"));
    }
}
