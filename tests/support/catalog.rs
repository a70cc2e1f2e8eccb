//! A catalog written by hand, one line a name, for cases. Its path is `public`.
//!
//! ```text
//! table app.orders(id, total) rows=100 foreign behind=app.a,app.b
//! reading app.orders CLASS REASON        also inserting, updating, deleting
//! function app.net(numeric, numeric) harmless
//! function public.lower(character varying) CLASS REASON
//! operator public.=(app.money, app.money) harmless
//! type app.mood harmless
//! hazard CLASS REASON
//! ```
//! An argument of a type or row of this catalog is foreign; `anyelement` and `record` take rows too; a last `VARIADIC` one
//! takes any number, `DEFAULT` ones may be left out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use countersign::sql::action::{Action, Class, FunctionName, TableName};
use countersign::sql::names::{Catalog, Concern, ForeignType, KnownNames, NotKnown, Relation, Routine};

#[derive(Default)]
pub struct HandMade {
    relations: BTreeMap<TableName, Relation>,
    functions: Vec<(FunctionName, Arc<Routine>)>,
    operators: Vec<(FunctionName, Arc<Routine>)>,
    types: BTreeMap<TableName, Arc<ForeignType>>,
    hazard: Option<Concern>,
}

/// Prepared names, and a catalog if the case has one.
pub struct Names {
    pub prepared: HashMap<String, Arc<Action>>,
    pub catalog: Option<HandMade>,
}

impl KnownNames for Names {
    fn prepared(&self, name: &str) -> Option<Arc<Action>> {
        self.prepared.prepared(name)
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        self.catalog.as_ref().map(|catalog| catalog as &dyn Catalog)
    }
}

impl HandMade {
    pub fn of<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut made: Option<Self> = None;
        for line in lines {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            made.get_or_insert_with(Self::default).line(kind, rest);
        }
        made
    }

    fn line(&mut self, kind: &str, rest: &str) {
        match kind {
            "empty" => {}
            "table" => self.table(rest),
            "reading" | "inserting" | "updating" | "deleting" => {
                let (name, what) = rest.split_once(' ').expect("a name");
                let relation = self.relations.get_mut(&table(name)).expect("a table above");
                let list = match kind {
                    "reading" => &mut relation.reading,
                    "inserting" => &mut relation.inserting,
                    "updating" => &mut relation.updating,
                    _ => &mut relation.deleting,
                };
                list.extend(concern(what));
            }
            "function" => {
                let routine = self.routine(rest);
                self.functions.push(routine);
            }
            "operator" => {
                let routine = self.routine(rest);
                self.operators.push(routine);
            }
            "type" => {
                let (name, what) = rest.split_once(' ').expect("a name");
                let concern = concern(what);
                let made = ForeignType {
                    name: name.to_owned(),
                    concern,
                };
                self.types.insert(table(name), Arc::new(made));
            }
            "hazard" => self.hazard = concern(rest),
            _ => panic!("unknown line of a catalog: `{kind} {rest}`"),
        }
    }

    fn table(&mut self, rest: &str) {
        let (name, rest) = rest.split_once('(').expect("columns");
        let (columns, words) = rest.split_once(')').expect("a parenthesis");
        let mut relation = Relation {
            name: Some(table(name)),
            columns: pieces(columns).map(str::to_owned).collect(),
            ..Relation::default()
        };
        for word in words.split_whitespace() {
            match word.split_once('=') {
                Some(("rows", rows)) => relation.rows = Some(rows.parse().expect("a number")),
                Some(("behind", behind)) => relation.behind = pieces(behind).map(table).collect(),
                None if word == "foreign" => relation.has_foreign_types = true,
                Some(_) | None => panic!("unknown word `{word}`"),
            }
        }
        self.relations.insert(table(name), relation);
    }

    fn routine(&self, rest: &str) -> (FunctionName, Arc<Routine>) {
        let (name, after) = rest.split_once('(').expect("arguments");
        let (arguments, what) = after.split_once(')').expect("a parenthesis");
        let what = what.trim();
        let (returns_set, what) = match what.strip_prefix("SETOF") {
            Some(what) => (true, what.trim()),
            None => (false, what),
        };
        let variadic = arguments.contains("VARIADIC");
        let least = pieces(arguments).filter(|one| !one.contains("DEFAULT") && !one.contains("VARIADIC"));
        let types: Vec<&str> = pieces(arguments)
            .map(|one| one.trim_start_matches("VARIADIC "))
            .collect();
        let of_rows =
            |one: &str| ["record", "anyelement"].contains(&one) || self.relations.contains_key(&table(one));
        let foreign =
            |one: &str| self.relations.contains_key(&table(one)) || self.types.contains_key(&table(one));
        let routine = Routine {
            signature: rest.split_inclusive(')').next().unwrap_or_default().to_owned(),
            arguments_min: least.count(),
            arguments_max: (!variadic).then_some(types.len()),
            takes_built_in_types: types.is_empty() || !types.iter().all(|one| foreign(one)),
            takes_rows: types.first().is_some_and(|first| of_rows(first)),
            returns_set,
            concern: concern(what),
        };
        let name = table(name);
        let name = FunctionName {
            schema: name.schema,
            name: name.name,
        };
        (name, Arc::new(routine))
    }
}

impl Catalog for HandMade {
    fn relation(&self, name: &TableName) -> Result<Arc<Relation>, NotKnown> {
        let system = match name.schema.as_deref() {
            None => name.name.starts_with("pg_"),
            Some(schema) => schema == "pg_catalog" || schema == "information_schema",
        };
        if system {
            return Ok(Arc::new(Relation {
                name: Some(TableName {
                    schema: Some("pg_catalog".to_owned()),
                    name: name.name.clone(),
                }),
                ..Relation::default()
            }));
        }
        let known = self.relations.get(&in_path(name));
        known
            .map(|relation| Arc::new(relation.clone()))
            .ok_or_else(|| NotKnown("there is no such relation".to_owned()))
    }

    fn functions(&self, name: &FunctionName) -> Vec<Arc<Routine>> {
        called(&self.functions, name.schema.as_deref(), &name.name)
    }

    fn operators(&self, schema: Option<&str>, name: &str) -> Vec<Arc<Routine>> {
        called(&self.operators, schema, name)
    }

    fn foreign_type(&self, schema: Option<&str>, name: &str) -> Result<Option<Arc<ForeignType>>, NotKnown> {
        let named = TableName {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        };
        if let Some(known) = self.types.get(&in_path(&named)) {
            return Ok(Some(Arc::clone(known)));
        }
        // By its shape alone: this catalog lists nothing of the server's own.
        match schema {
            Some("pg_catalog" | "information_schema") => Ok(None),
            None if countersign::sql::classify::lists::is_type(name) => Ok(None),
            Some(_) | None => Err(NotKnown("there is no such type".to_owned())),
        }
    }

    fn hazard(&self) -> Option<Concern> {
        self.hazard.clone()
    }

    fn shadowing(&self, _: &str) -> Option<Concern> {
        None
    }
}

fn called(routines: &[(FunctionName, Arc<Routine>)], schema: Option<&str>, name: &str) -> Vec<Arc<Routine>> {
    let schema = schema.unwrap_or("public");
    let same = |known: &FunctionName| known.name == name && known.schema.as_deref() == Some(schema);
    let known = routines.iter().filter(|(known, _)| same(known));
    known.map(|(_, routine)| Arc::clone(routine)).collect()
}

fn in_path(name: &TableName) -> TableName {
    TableName {
        schema: Some(name.schema.clone().unwrap_or_else(|| "public".to_owned())),
        name: name.name.clone(),
    }
}

fn table(dotted: &str) -> TableName {
    let (schema, name) = dotted.split_once('.').unwrap_or(("pg_catalog", dotted));
    TableName {
        schema: Some(schema.to_owned()),
        name: name.to_owned(),
    }
}

fn pieces(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|piece| !piece.is_empty())
}

/// `harmless`, `listed` and a reason, or a class and a reason.
fn concern(text: &str) -> Option<Concern> {
    if text == "harmless" {
        return None;
    }
    if let Some(reason) = text.strip_prefix("listed ") {
        return Some(Concern::listed(reason.to_owned()));
    }
    let (word, reason) = text.split_once(' ').expect("CLASS REASON");
    let classes = [
        Class::Write,
        Class::Ddl,
        Class::Export,
        Class::Procedural,
        Class::Grant,
        Class::Admin,
        Class::Unknown,
    ];
    let class = classes.into_iter().find(|class| class.as_str() == word);
    Some(Concern {
        class: class.expect("a class"),
        reason: reason.to_owned(),
    })
}
