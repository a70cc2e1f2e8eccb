//! Relations that are read or written, and what the catalog knows of them: the columns, what else happens, how large.
//! Never reads a name without it where there is a catalog. Read `called.rs` next.

use std::collections::BTreeSet;
use std::sync::Arc;

use pg_raw_parse::nodes;

use super::walk::Walk;
use crate::sql::action::{Class, TableName};
use crate::sql::names::{NotKnown, Relation};

/// Relations of the system that hold credentials, other people's data, or the server's files.
const SENSITIVE: [&str; 7] = [
    "_pg_user_mappings",
    "pg_file_settings",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_largeobject",
    "pg_statistic",
    "pg_statistic_ext_data",
];

/// Columns of system relations that hold credentials; the other columns are anybody's to read.
const SENSITIVE_COLUMNS: [(&str, &str); 6] = [
    ("pg_authid", "rolpassword"),
    ("pg_shadow", "passwd"),
    ("pg_subscription", "subconninfo"),
    ("pg_user_mapping", "umoptions"),
    ("pg_user_mappings", "umoptions"),
    ("user_mapping_options", "option_value"),
];

/// Columns that every table has.
const OF_EVERY_TABLE: [&str; 6] = ["tableoid", "xmin", "xmax", "cmin", "cmax", "ctid"];

/// A name in FROM.
pub(super) struct Source {
    pub name: String,
    pub columns: Columns,
}

/// What `name.column` can be behind a name in FROM.
#[derive(Clone)]
pub(super) enum Columns {
    /// One of these, or a function of the whole row.
    Of(Arc<Relation>),
    /// A column that is not known here, or a function of a row.
    OfSomeRow,
    /// The same, or a function of one value of any type: an item of FROM that is a call.
    OfSomeValue,
}

/// What a write does to its table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Insert,
    Update,
    Delete,
}

impl Walk<'_, '_> {
    /// A relation that is read: a common table expression in sight, or a table.
    pub(super) fn relation(&mut self, relation: &nodes::RangeVar) {
        let Some(name) = relation.relname() else {
            return self.unknown_node();
        };
        let alias = relation.alias();
        if relation.schemaname().is_none() {
            let cte = self.ctes.iter().rev().find(|cte| cte.name == name);
            if let Some(rows) = cte.map(|cte| cte.rows) {
                self.hands_on(rows);
                self.named(name, alias, Columns::OfSomeRow);
                return;
            }
            if self.is_shadowed() {
                self.target(Some(relation));
                self.alias(alias, Columns::OfSomeValue);
                return;
            }
        }
        let known = self.known(relation);
        self.target(Some(relation));
        if let Some(known) = &known {
            self.reads(relation, known);
        }
        self.named(name, alias, known.map_or(Columns::OfSomeRow, Columns::Of));
        if is_sensitive(relation.schemaname(), name) {
            self.raise(
                Class::Admin,
                format!("reads `{name}`, which holds credentials or other people's data"),
            );
        }
    }

    fn named(&mut self, name: &str, alias: Option<&nodes::Alias>, columns: Columns) {
        match alias {
            Some(_) => self.alias(alias, columns),
            None => self.in_sight(name, columns),
        }
    }

    /// From here on `name.…` may mean this.
    pub(super) fn in_sight(&mut self, name: &str, columns: Columns) {
        if self.catalog().is_some() {
            let name = name.to_owned();
            self.sources.push(Source { name, columns });
        }
    }

    /// What the catalog says of a relation; without a catalog, nothing. Asked once a statement.
    fn known(&mut self, relation: &nodes::RangeVar) -> Option<Arc<Relation>> {
        let catalog = self.catalog()?;
        let name = table_name(relation)?;
        if let Some((known, _)) = self.relations.get(&name) {
            return Some(Arc::clone(known));
        }
        match catalog.relation(&name) {
            Ok(known) => Some(known),
            Err(NotKnown(why)) => {
                self.unlisted(
                    Class::Unknown,
                    format!("names `{name}`, which is not known: {why}"),
                );
                None
            }
        }
    }

    fn reads(&mut self, named: &nodes::RangeVar, relation: &Arc<Relation>) {
        let Some(name) = table_name(named) else { return };
        let rows = match self.relations.get(&name) {
            Some((_, rows)) => *rows,
            None => {
                let rows = self.reads_first(relation);
                self.relations.insert(name, (Arc::clone(relation), rows));
                rows
            }
        };
        self.hands_on(rows);
    }

    /// What happens besides, told once a statement; and how many rows there are.
    fn reads_first(&mut self, relation: &Relation) -> Option<u64> {
        self.foreign |= relation.has_foreign_types;
        for concern in &relation.reading {
            self.concerned(concern);
        }
        let of_the_system =
            |schema: Option<&str>| matches!(schema, Some("pg_catalog" | "information_schema"));
        let own = relation.name.as_ref();
        let is_own = own.is_some_and(|name| of_the_system(name.schema.as_deref()));
        let mut rows = relation.rows;
        for behind in &relation.behind {
            let holds_credentials = SENSITIVE.contains(&behind.name.as_str())
                || SENSITIVE_COLUMNS.iter().any(|(name, _)| behind.name == *name);
            if !is_own && of_the_system(behind.schema.as_deref()) && holds_credentials {
                self.raise(
                    Class::Admin,
                    format!("reads a view of `{behind}`, which holds credentials or other people's data"),
                );
            }
            // A view that is read whole may be as large as the largest table in it.
            let table = self.catalog().and_then(|catalog| catalog.relation(behind).ok());
            rows = rows.max(table.and_then(|table| table.rows));
        }
        self.behind.extend(relation.behind.iter().cloned());
        rows
    }

    /// So many rows come out of the statement, but for what stands around the relation.
    fn hands_on(&mut self, rows: Option<u64>) {
        if self.reach > 0 && !self.defining {
            self.rows_whole = self.rows_whole.max(rows.map(|rows| rows.min(self.reach)));
            self.rows_seen = self.rows_seen.max(rows);
        }
    }

    /// The table that is written. The server's own tables and views are its administration.
    pub(super) fn written(
        &mut self,
        relation: Option<&nodes::RangeVar>,
        writes: &[Write],
    ) -> Option<Arc<Relation>> {
        let Some(relation) = relation else {
            self.unknown_node();
            return None;
        };
        // Values are converted to the columns' types.
        self.uncertain();
        let name = relation.relname().unwrap_or_default();
        let shadowed = relation.schemaname().is_none() && !is_system(None, name) && self.is_shadowed();
        let known = if shadowed { None } else { self.known(relation) };
        self.target(Some(relation));
        if is_system(relation.schemaname(), name) {
            self.raise(
                Class::Admin,
                format!("writes to `{name}`, which is the server's own"),
            );
        }
        if let Some(alias) = relation.alias() {
            self.rows.extend(alias.aliasname().map(str::to_owned));
        }
        if let Some(known) = &known {
            self.changes(known, writes);
        }
        let columns = known.clone().map_or(Columns::OfSomeRow, Columns::Of);
        let own_name = relation.alias().and_then(nodes::Alias::aliasname).unwrap_or(name);
        for name in [own_name, "excluded", "old", "new"] {
            self.in_sight(name, columns.clone());
        }
        known
    }

    /// What a write does besides reaches further than the rows that it lists.
    fn changes(&mut self, relation: &Relation, writes: &[Write]) {
        self.foreign |= relation.has_foreign_types;
        self.behind.extend(relation.behind.iter().cloned());
        // Policies of the table also guard what is written and returned.
        for concern in &relation.reading {
            self.concerned(concern);
        }
        for write in writes {
            let concerns = match write {
                Write::Insert => &relation.inserting,
                Write::Update => &relation.updating,
                Write::Delete => &relation.deleting,
            };
            for concern in concerns {
                self.unbounded |= !concern.is_listed();
                self.concerned(concern);
            }
        }
    }

    /// A write without a condition reaches every row.
    pub(super) fn writes_whole(&mut self, relation: Option<Arc<Relation>>) {
        let rows = relation.and_then(|relation| relation.rows);
        self.rows_whole = self.rows_whole.max(rows);
    }

    /// A table that is named, whatever is done to it.
    pub(super) fn target(&mut self, relation: Option<&nodes::RangeVar>) {
        if let Some(name) = relation.and_then(table_name) {
            self.rows.push(name.name.clone());
            self.tables.insert(name);
        }
    }

    /// Whether `qualifier.name` can only be a column.
    pub(super) fn is_column_of(&self, qualifier: &str, name: &str) -> bool {
        let mut sources = self
            .sources
            .iter()
            .filter(|source| source.name == qualifier)
            .peekable();
        sources.peek().is_some()
            && sources.all(|source| match &source.columns {
                Columns::Of(relation) => {
                    OF_EVERY_TABLE.contains(&name) || relation.columns.iter().any(|column| column == name)
                }
                Columns::OfSomeRow | Columns::OfSomeValue => false,
            })
    }

    /// Whether `qualifier` can be one value of any type, not a row.
    pub(super) fn is_any_value(&self, qualifier: &str) -> bool {
        let mut sources = self
            .sources
            .iter()
            .filter(|source| source.name == qualifier)
            .peekable();
        sources.peek().is_none() || sources.any(|source| matches!(source.columns, Columns::OfSomeValue))
    }
}

fn table_name(relation: &nodes::RangeVar) -> Option<TableName> {
    Some(TableName {
        schema: relation.schemaname().map(str::to_owned),
        name: relation.relname()?.to_owned(),
    })
}

fn is_sensitive(schema: Option<&str>, name: &str) -> bool {
    match schema {
        None | Some("pg_catalog" | "information_schema") => SENSITIVE.contains(&name),
        // Out-of-line values of any table, the sensitive ones among them.
        Some(schema) => schema.starts_with("pg_toast"),
    }
}

/// Reads of a credential by the columns that a statement names; a star, a whole row or renamed columns name them all.
pub(super) fn credentials<'a>(
    tables: &'a BTreeSet<TableName>,
    columns: &'a BTreeSet<String>,
) -> impl Iterator<Item = &'static str> + 'a {
    SENSITIVE_COLUMNS.iter().filter_map(|(relation, column)| {
        let named = tables
            .iter()
            .any(|table| table.name == *relation && is_system_schema(table.schema.as_deref()));
        (named && (columns.contains("*") || columns.contains(*column))).then_some(*relation)
    })
}

fn is_system_schema(schema: Option<&str>) -> bool {
    matches!(schema, None | Some("pg_catalog" | "information_schema"))
}

/// Whether a relation is the server's own.
fn is_system(schema: Option<&str>, name: &str) -> bool {
    match schema {
        None => name.starts_with("pg_"),
        Some(schema) => {
            schema == "information_schema" || schema == "pg_catalog" || schema.starts_with("pg_toast")
        }
    }
}
