//! What was read, as one answer for every session: views followed to their tables, functions listed or not.
//! Never calls a function harmless that no operator has listed. Read `../../sql/names.rs` for the words it answers in.
//!
//! Why a view's text is judged by the walk that judges statements: MySQL prints it with every name qualified, so what it
//! does is what the same text would do from anywhere.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::read::Rows;
use super::rows::{self, SYSTEM_SCHEMAS};
use crate::catalog::{ListedFunctions, Listing, keeper};
use crate::sql::action::{Action, Class, FunctionName, TableName};
use crate::sql::mysql::judge_mysql;
use crate::sql::mysql_state::{MysqlState, SqlModes, TableNames};
use crate::sql::names::{Catalog, Concern, ForeignType, KnownNames, NotKnown, Relation, Routine};

/// Views over views over views: deeper ones are not followed.
const DEPTH_MAX: usize = 32;

/// Storage engines that keep their rows on the server itself.
const LOCAL_ENGINES: [&str; 12] = [
    "innodb",
    "myisam",
    "aria",
    "memory",
    "csv",
    "archive",
    "blackhole",
    "rocksdb",
    "tokudb",
    "columnstore",
    "mroonga",
    "ndbcluster",
];

/// One server's catalog at one moment.
pub struct Snapshot {
    /// How texts are read by this server.
    pub state: MysqlState,
    generation: u64,
    taken: Instant,
    table_names: TableNames,
    relations: HashMap<TableName, Result<Arc<Relation>, NotKnown>>,
    stored: HashMap<FunctionName, Arc<Routine>>,
    loadable: HashMap<String, Arc<Routine>>,
    functions: Vec<UserFunction>,
    about: HashMap<TableName, TableFacts>,
}

/// What is known of a table besides what statements are judged by.
#[derive(Debug, Default)]
pub struct TableFacts {
    /// `base table`, `view`, `sequence` …
    pub kind: String,
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    pub index_bytes: Option<u64>,
    pub triggers: Vec<TriggerFacts>,
    /// Foreign keys that refer to it.
    pub references: Vec<Reference>,
    /// Views that read it, directly or through others.
    pub viewed_by: Vec<TableName>,
}

#[derive(Debug)]
pub struct TriggerFacts {
    pub name: String,
    /// BEFORE or AFTER.
    pub timing: String,
    /// INSERT, UPDATE or DELETE; in newer MariaDB several of them.
    pub event: String,
}

#[derive(Debug)]
pub struct Reference {
    pub table: TableName,
    pub constraint: String,
    pub on_delete: String,
    pub on_update: String,
}

/// A function that is not built in, for people who decide whether to list it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct UserFunction {
    /// `app.net(decimal(12,2),decimal(5,4))`; a loadable function's name alone.
    pub function: String,
    pub kind: &'static str,
    /// `SQL`, or the library that a loadable function comes from.
    pub language: String,
    /// Its definer; empty for a loadable function.
    pub owner: String,
    /// It runs with its definer's rights.
    pub security_definer: bool,
    /// What it says of itself, which is no reason to trust it.
    pub promise: String,
    pub hash: String,
    /// Calls of it are not held for its own sake.
    pub harmless: bool,
}

impl Snapshot {
    pub(super) fn of(rows: Rows, listed: &ListedFunctions) -> Self {
        let names = TableNames::of(rows.lower_case_table_names);
        let state = MysqlState::of_server(&rows.version, &rows.sql_mode)
            .with_table_names(rows.lower_case_table_names);
        let generation = rows.generation();
        let mut functions = Vec::new();
        let stored = stored_functions(&rows, listed, &mut functions);
        let loadable = loadable_functions(&rows, listed, &mut functions);
        let builder = Builder {
            state: MysqlState {
                modes: SqlModes::default(),
                ..state
            },
            names,
            tables: tables(&rows, names),
            views: rows
                .views
                .iter()
                .map(|view| {
                    let name = table_name(&view.table_schema, &view.table_name, names);
                    (name, view.view_definition.clone().unwrap_or_default())
                })
                .collect(),
            stored,
            loadable,
            followed: Mutex::default(),
        };
        let mut builder = builder;
        for column in &rows.columns {
            let concerns = expressions(&builder, column);
            let name = table_name(&column.table_schema, &column.table_name, names);
            if let Some(table) = builder.tables.get_mut(&name) {
                if column.generation_expression.is_some() {
                    table.reading.extend(concerns.iter().cloned());
                }
                table.inserting.extend(concerns.iter().cloned());
                table.updating.extend(concerns);
            }
        }
        let all: Vec<TableName> = builder.tables.keys().cloned().collect();
        for name in &all {
            // Kept in `followed`, where it is found below.
            let _ = builder.followed_relation(name);
        }
        let Followed { done, .. } = builder
            .followed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let about = about(&rows, names, &done);
        Self {
            state,
            generation,
            about,
            taken: Instant::now(),
            table_names: names,
            relations: done,
            stored: builder.stored,
            loadable: builder.loadable,
            functions,
        }
    }

    pub fn age(&self) -> Duration {
        self.taken.elapsed()
    }
}

impl keeper::Snapshot for Snapshot {
    type Function = UserFunction;

    fn generation(&self) -> u64 {
        self.generation
    }

    fn user_functions(&self) -> Vec<UserFunction> {
        let mut functions = self.functions.clone();
        functions.sort_by(|one, other| one.function.cmp(&other.function));
        functions
    }

    fn see(&self, take: &mut dyn FnMut(keeper::Seen<'_>)) {
        for (name, relation) in &self.relations {
            let columns = relation.iter().flat_map(|relation| &relation.columns);
            let columns = columns.map(String::as_str).collect();
            take(keeper::Seen::Relation(name.clone(), columns));
        }
        for schema in SYSTEM_SCHEMAS {
            take(keeper::Seen::LeftOut(schema));
        }
    }
}

/// A snapshot as one session sees it.
pub struct View {
    pub snapshot: Arc<Snapshot>,
    /// The default database; `None`: none is chosen.
    pub database: Option<String>,
    /// Temporary tables hide others of their names, with and without a schema.
    pub has_own_objects: bool,
}

impl View {
    /// As the server finds it; `None`: there is no such table, or it is not known which is meant.
    pub fn about(&self, name: &TableName) -> Option<&TableFacts> {
        self.snapshot.about.get(&self.whole(name)?)
    }

    /// Whether it surely is a table that keeps its own rows, and no view.
    pub fn is_plain(&self, name: &TableName) -> bool {
        self.relation(name)
            .is_ok_and(|relation| relation.name.is_some() && relation.reading.iter().all(Concern::is_listed))
            && self.about(name).is_some_and(|facts| facts.kind == "base table")
    }

    /// With its schema, where one is known.
    pub fn told(&self, name: &TableName) -> String {
        self.whole(name).as_ref().unwrap_or(name).to_string()
    }

    fn whole(&self, name: &TableName) -> Option<TableName> {
        let schema = name.schema.as_deref().or(self.database.as_deref())?;
        (!self.has_own_objects).then(|| table_name(schema, &name.name, self.snapshot.table_names))
    }
}

impl KnownNames for View {
    fn prepared(&self, _: &str) -> Option<Arc<Action>> {
        None
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        Some(self)
    }
}

impl Catalog for View {
    fn relation(&self, name: &TableName) -> Result<Arc<Relation>, NotKnown> {
        if self.has_own_objects {
            return Err(NotKnown(
                "this session has temporary tables, which hide others".to_owned(),
            ));
        }
        let Some(schema) = name.schema.as_deref().or(self.database.as_deref()) else {
            return Ok(Arc::default());
        };
        let name = table_name(schema, &name.name, self.snapshot.table_names);
        self.snapshot
            .relations
            .get(&name)
            .cloned()
            .unwrap_or_else(|| Ok(Arc::default()))
    }

    fn functions(&self, name: &FunctionName) -> Vec<Arc<Routine>> {
        meant(
            &self.snapshot.stored,
            &self.snapshot.loadable,
            name,
            self.database.as_deref(),
        )
    }

    fn operators(&self, _: Option<&str>, _: &str) -> Vec<Arc<Routine>> {
        Vec::new()
    }

    fn foreign_type(&self, _: Option<&str>, _: &str) -> Result<Option<Arc<ForeignType>>, NotKnown> {
        Ok(None)
    }

    fn hazard(&self) -> Option<Concern> {
        None
    }

    /// These servers have no such path.
    fn shadowing(&self, _: &str) -> Option<Concern> {
        None
    }
}

/// A name without a schema is a loadable function, or else a stored one of the default database.
fn meant(
    stored: &HashMap<FunctionName, Arc<Routine>>,
    loadable: &HashMap<String, Arc<Routine>>,
    name: &FunctionName,
    database: Option<&str>,
) -> Vec<Arc<Routine>> {
    let key = |schema: &str| function_name(schema, &name.name);
    match &name.schema {
        Some(schema) => stored.get(&key(schema)).cloned().into_iter().collect(),
        None => {
            let of_database = database.and_then(|database| stored.get(&key(database)));
            let loadable = loadable.get(&name.name.to_lowercase());
            of_database.into_iter().chain(loadable).cloned().collect()
        }
    }
}

/// Follows views while the snapshot is made.
struct Builder {
    state: MysqlState,
    names: TableNames,
    tables: HashMap<TableName, Relation>,
    views: HashMap<TableName, String>,
    stored: HashMap<FunctionName, Arc<Routine>>,
    loadable: HashMap<String, Arc<Routine>>,
    followed: Mutex<Followed>,
}

#[derive(Default)]
struct Followed {
    done: HashMap<TableName, Result<Arc<Relation>, NotKnown>>,
    /// Views that are being read: one that comes up again reads itself.
    open: HashSet<TableName>,
}

impl Builder {
    fn followed_relation(&self, name: &TableName) -> Result<Arc<Relation>, NotKnown> {
        let Some(table) = self.tables.get(name) else {
            return Ok(Arc::default());
        };
        let Some(definition) = self.views.get(name) else {
            let relation = Ok(Arc::new(table.clone()));
            self.lock().done.insert(name.clone(), relation.clone());
            return relation;
        };
        {
            let mut followed = self.lock();
            if let Some(done) = followed.done.get(name) {
                return done.clone();
            }
            if followed.open.len() == DEPTH_MAX || !followed.open.insert(name.clone()) {
                return Err(NotKnown(format!(
                    "the view `{name}` stands on too many others, or on itself"
                )));
            }
        }
        let relation = self.view(name, table, definition);
        let mut followed = self.lock();
        followed.open.remove(name);
        followed.done.insert(name.clone(), relation.clone());
        relation
    }

    fn view(&self, name: &TableName, table: &Relation, definition: &str) -> Result<Arc<Relation>, NotKnown> {
        if definition.is_empty() {
            return Err(NotKnown(format!(
                "the definition of the view `{name}` is hidden from the catalog's account"
            )));
        }
        let judged = judge_mysql(definition.as_bytes(), &self.state, self);
        let mut relation = table.clone();
        for action in &judged.actions {
            if action.class > Class::Read {
                let reasons = action.reasons.iter();
                relation.reading.extend(reasons.map(|reason| Concern {
                    class: action.class,
                    reason: format!("reads the view `{name}`, which {reason}"),
                }));
            }
            if action.reaches_unnamed {
                let reason = format!("reads the view `{name}`, which calls a listed function");
                relation.reading.push(Concern::listed(reason));
            }
            relation
                .behind
                .extend(action.tables.iter().chain(&action.behind).cloned());
        }
        if judged.class() > Class::Read && relation.reading.iter().all(Concern::is_listed) {
            relation.reading.push(Concern {
                class: judged.class(),
                reason: format!("reads the view `{name}`, which is more than a read"),
            });
        }
        Ok(Arc::new(relation))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownNames for Builder {
    fn prepared(&self, _: &str) -> Option<Arc<Action>> {
        None
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        Some(self)
    }
}

impl Catalog for Builder {
    fn relation(&self, name: &TableName) -> Result<Arc<Relation>, NotKnown> {
        match &name.schema {
            Some(schema) => self.followed_relation(&table_name(schema, &name.name, self.names)),
            None => Err(NotKnown("a view names a table without its schema".to_owned())),
        }
    }

    fn functions(&self, name: &FunctionName) -> Vec<Arc<Routine>> {
        meant(&self.stored, &self.loadable, name, None)
    }

    fn operators(&self, _: Option<&str>, _: &str) -> Vec<Arc<Routine>> {
        Vec::new()
    }

    fn foreign_type(&self, _: Option<&str>, _: &str) -> Result<Option<Arc<ForeignType>>, NotKnown> {
        Ok(None)
    }

    fn hazard(&self) -> Option<Concern> {
        None
    }

    /// These servers have no such path.
    fn shadowing(&self, _: &str) -> Option<Concern> {
        None
    }
}

impl Rows {
    /// A hash of all that was read, but for statistics: they change with every write.
    pub(super) fn generation(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.version, self.lower_case_table_names, &self.sql_mode).hash(&mut hasher);
        self.tables.hash(&mut hasher);
        self.columns.hash(&mut hasher);
        self.views.hash(&mut hasher);
        self.functions.hash(&mut hasher);
        self.parameters.hash(&mut hasher);
        self.loadable.hash(&mut hasher);
        self.triggers.hash(&mut hasher);
        self.cascades.hash(&mut hasher);
        hasher.finish()
    }
}

/// Every relation outside the system's schemas, before views are followed.
fn tables(rows: &Rows, names: TableNames) -> HashMap<TableName, Relation> {
    let is_system = |schema: &str| {
        SYSTEM_SCHEMAS
            .iter()
            .any(|system| schema.eq_ignore_ascii_case(system))
    };
    let mut tables: HashMap<TableName, Relation> = rows
        .tables
        .iter()
        .filter(|table| !is_system(&table.table_schema))
        .map(|table| {
            let name = table_name(&table.table_schema, &table.table_name, names);
            let relation = Relation {
                name: Some(name.clone()),
                reading: elsewhere(table, &name).into_iter().collect(),
                ..Relation::default()
            };
            (name, relation)
        })
        .collect();
    for size in &rows.sizes {
        let name = table_name(&size.table_schema, &size.table_name, names);
        if let Some(table) = tables.get_mut(&name) {
            table.rows = size.table_rows;
        }
    }
    for column in &rows.columns {
        let name = table_name(&column.table_schema, &column.table_name, names);
        if let Some(table) = tables.get_mut(&name) {
            table.columns.push(column.column_name.clone());
        }
    }
    for trigger in &rows.triggers {
        let name = table_name(&trigger.event_object_schema, &trigger.event_object_table, names);
        let Some(table) = tables.get_mut(&name) else {
            continue;
        };
        let concern = Concern {
            class: Class::Write,
            reason: format!(
                "fires the trigger `{}`, which is code of its own",
                trigger.trigger_name
            ),
        };
        match trigger.event_manipulation.as_str() {
            "INSERT" => table.inserting.push(concern),
            "UPDATE" => table.updating.push(concern),
            "DELETE" => table.deleting.push(concern),
            _ => {
                let every = [&mut table.inserting, &mut table.updating, &mut table.deleting];
                every
                    .into_iter()
                    .for_each(|concerns| concerns.push(concern.clone()));
            }
        }
    }
    for key in &rows.cascades {
        let name = table_name(&key.referenced_schema, &key.referenced_table_name, names);
        let Some(table) = tables.get_mut(&name) else {
            continue;
        };
        let reaches = |what: &str| Concern {
            class: Class::Write,
            reason: format!(
                "{what} reach `{}.{}` by a foreign key",
                key.constraint_schema, key.table_name
            ),
        };
        if writes(&key.delete_rule) {
            table.deleting.push(reaches("deletes"));
        }
        if writes(&key.update_rule) {
            table.updating.push(reaches("updates"));
        }
    }
    tables
}

fn about(
    rows: &Rows,
    names: TableNames,
    relations: &HashMap<TableName, Result<Arc<Relation>, NotKnown>>,
) -> HashMap<TableName, TableFacts> {
    let mut about: HashMap<TableName, TableFacts> = HashMap::new();
    for table in &rows.tables {
        let name = table_name(&table.table_schema, &table.table_name, names);
        let kind = table.table_type.as_deref().unwrap_or_default().to_lowercase();
        about.entry(name).or_default().kind = kind;
    }
    for size in &rows.sizes {
        let name = table_name(&size.table_schema, &size.table_name, names);
        if let Some(facts) = about.get_mut(&name) {
            facts.rows = size.table_rows;
            facts.bytes = size.data_length;
            facts.index_bytes = size.index_length;
        }
    }
    for trigger in &rows.triggers {
        let name = table_name(&trigger.event_object_schema, &trigger.event_object_table, names);
        if let Some(facts) = about.get_mut(&name) {
            facts.triggers.push(TriggerFacts {
                name: trigger.trigger_name.clone(),
                timing: trigger.action_timing.clone(),
                event: trigger.event_manipulation.clone(),
            });
        }
    }
    for key in &rows.cascades {
        let name = table_name(&key.referenced_schema, &key.referenced_table_name, names);
        if let Some(facts) = about.get_mut(&name) {
            facts.references.push(Reference {
                table: table_name(&key.constraint_schema, &key.table_name, names),
                constraint: key.constraint_name.clone(),
                on_delete: key.delete_rule.clone(),
                on_update: key.update_rule.clone(),
            });
        }
    }
    for (view, relation) in relations {
        let behind = relation.iter().flat_map(|relation| &relation.behind);
        for table in behind {
            if let Some(facts) = about.get_mut(table) {
                facts.viewed_by.push(view.clone());
            }
        }
    }
    about.values_mut().for_each(|facts| facts.viewed_by.sort());
    about
}

/// What a row's own expressions call: generated columns when it is read, these and defaults when it is written.
/// Built-in functions alone may stand in them on every server but MariaDB, where loadable ones may, too.
fn expressions(builder: &Builder, column: &rows::Column) -> Vec<Concern> {
    let texts = [&column.generation_expression, &column.column_default];
    let called = texts.into_iter().flatten().filter(|text| text.contains('('));
    let concerns = called.flat_map(|text| {
        let judged = judge_mysql(format!("SELECT {text}").as_bytes(), &builder.state, builder);
        let risky = judged
            .actions
            .into_iter()
            .filter(|action| action.class > Class::Read || action.reaches_unnamed);
        risky.flat_map(|action| {
            let class = action.class;
            let listed = action
                .reaches_unnamed
                .then(|| "calls a listed function".to_owned());
            let reasons = action.reasons.into_iter();
            let concerns = reasons.map(move |reason| Concern { class, reason });
            concerns.chain(listed.map(Concern::listed))
        })
    });
    concerns
        .map(|Concern { class, reason }| Concern {
            class,
            reason: format!("uses the column `{}`, which {reason}", column.column_name),
        })
        .collect()
}

/// Whether a foreign key's rule writes to its table; the others only refuse.
fn writes(rule: &str) -> bool {
    !matches!(rule, "RESTRICT" | "NO ACTION")
}

/// Whether a read of a table asks another place for its rows, or cannot be known not to.
fn elsewhere(table: &rows::Table, name: &TableName) -> Option<Concern> {
    let kind = table.table_type.as_deref().unwrap_or_default();
    if kind.contains("VIEW") {
        return None;
    }
    match table.engine.as_deref() {
        Some(engine) if LOCAL_ENGINES.contains(&engine.to_ascii_lowercase().as_str()) => None,
        Some(engine) => Some(Concern {
            class: Class::Admin,
            reason: format!("uses `{name}`, whose engine {engine} may reach other places"),
        }),
        None => Some(Concern {
            class: Class::Unknown,
            reason: format!("uses `{name}`, which the server cannot open"),
        }),
    }
}

fn stored_functions(
    rows: &Rows,
    listed: &ListedFunctions,
    shown: &mut Vec<UserFunction>,
) -> HashMap<FunctionName, Arc<Routine>> {
    let mut parameters: HashMap<(&str, &str), Vec<&str>> = HashMap::new();
    for parameter in &rows.parameters {
        let of = (
            parameter.specific_schema.as_str(),
            parameter.specific_name.as_str(),
        );
        parameters.entry(of).or_default().push(&parameter.dtd_identifier);
    }
    let mut stored = HashMap::new();
    for function in &rows.functions {
        let of = (function.routine_schema.as_str(), function.routine_name.as_str());
        let parameters = parameters.remove(&of).unwrap_or_default();
        let signature = format!("{}.{}({})", of.0, of.1, parameters.join(","));
        let hash = hash(&[
            Some("countersign stored function 1"),
            Some(&signature),
            function.dtd_identifier.as_deref(),
            function.routine_definition.as_deref(),
            Some(&function.sql_mode),
            Some(&function.security_type),
            Some(&function.definer),
            Some(&function.is_deterministic),
            Some(&function.sql_data_access),
            function.character_set_client.as_deref(),
            function.collation_connection.as_deref(),
            function.database_collation.as_deref(),
        ]);
        // An empty definition is a hidden one: nobody can have listed what it says.
        let listing = match function.routine_definition.as_deref() {
            Some("") | None => Listing::Absent,
            Some(_) => listed.of(&signature, &hash),
        };
        shown.push(UserFunction {
            function: signature.clone(),
            kind: "stored function",
            language: "SQL".to_owned(),
            owner: function.definer.clone(),
            security_definer: function.security_type == "DEFINER",
            promise: function.sql_data_access.to_lowercase(),
            hash,
            harmless: listing == Listing::Same,
        });
        let arguments = (parameters.len(), Some(parameters.len()));
        stored.insert(function_name(of.0, of.1), routine(signature, arguments, listing));
    }
    stored
}

fn loadable_functions(
    rows: &Rows,
    listed: &ListedFunctions,
    shown: &mut Vec<UserFunction>,
) -> HashMap<String, Arc<Routine>> {
    let mut loadable = HashMap::new();
    for function in &rows.loadable {
        let hash = hash(&[
            Some("countersign loadable function 1"),
            Some(&function.name),
            Some(&function.library),
            Some(&function.kind),
        ]);
        let listing = listed.of(&function.name, &hash);
        shown.push(UserFunction {
            function: function.name.clone(),
            kind: "loadable function",
            language: function.library.clone(),
            owner: String::new(),
            security_definer: false,
            promise: "unknown".to_owned(),
            hash,
            harmless: listing == Listing::Same,
        });
        loadable.insert(
            function.name.to_lowercase(),
            routine(function.name.clone(), (0, None), listing),
        );
    }
    loadable
}

fn routine(
    signature: String,
    (arguments_min, arguments_max): (usize, Option<usize>),
    listing: Listing,
) -> Arc<Routine> {
    let held = |why: &str| Concern {
        class: Class::Procedural,
        reason: format!("calls `{signature}`, {why}"),
    };
    let concern = match listing {
        Listing::Same => Concern::listed(format!("calls `{signature}`, which is listed as harmless")),
        Listing::Absent => held("which is not listed as harmless"),
        Listing::Changed => held("which was listed with another definition"),
    };
    Arc::new(Routine {
        concern: Some(concern),
        signature,
        arguments_min,
        arguments_max,
        takes_built_in_types: true,
        takes_rows: false,
        returns_set: false,
    })
}

/// Table names keep their case unless the server folds them; names of schemas go with them.
fn table_name(schema: &str, name: &str, names: TableNames) -> TableName {
    TableName {
        schema: Some(names.told(schema)),
        name: names.told(name),
    }
}

/// Functions are found in any case; the server also finds them under other accents, which then are not known here.
fn function_name(schema: &str, name: &str) -> FunctionName {
    FunctionName {
        schema: Some(schema.to_lowercase()),
        name: name.to_lowercase(),
    }
}

/// Shape: `sha256:` and SHA-256 in hex over the fields, each as its length in 8 bytes (big endian) and its bytes; an
/// absent field has the length 2^64 - 1 and no bytes.
fn hash(fields: &[Option<&str>]) -> String {
    let mut hasher = Sha256::new();
    for field in fields {
        let length = field.map_or(u64::MAX, |field| field.len() as u64);
        hasher.update(length.to_be_bytes());
        hasher.update(field.unwrap_or_default());
    }
    let digits: String = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{digits}")
}
