//! `pg_catalog` and `information_schema`: enough of them that clients find the log's tables by their own queries.
//! Never says anything of the database behind the proxy, nor of people. Read `schema.rs` for the tables described here.

use rusqlite::types::Value;

use super::schema::{Column, Model, Source, Table};
use super::types::Type;

/// The database that auditors open; there is no other.
pub const DATABASE: &str = "log";
/// The version that clients choose their queries by.
pub const SERVER_VERSION: &str = "15.0";
pub const SERVER_VERSION_NUMBER: i64 = 150_000;

pub const OID_PG_CATALOG: i64 = 11;
const OID_PUBLIC: i64 = 2200;
const OID_INFORMATION_SCHEMA: i64 = 13_000;
const OID_OWNER: i64 = 10;
const OID_DATABASE: i64 = 5;
const OID_HEAP: i64 = 2;
/// Numbers of the catalog's own tables; `pg_class` and `pg_description` have those that clients may know.
const OID_CATALOG_TABLES: u32 = 12_000;
pub const OID_PG_CLASS: u32 = 1259;

/// Schema, name and columns (`name:type`, text without) of each table. `rows` fills some; the others are empty here.
const TABLES: &[(&str, &str, &str)] = &[
    (
        "pg_catalog",
        "pg_class",
        "oid:oid relname:name relnamespace:oid reltype:oid reloftype:oid relowner:oid relam:oid \
      relfilenode:oid reltablespace:oid relpages:int4 reltuples:float8 relallvisible:int4 reltoastrelid:oid relhasindex:bool \
      relisshared:bool relpersistence:char relkind:char relnatts:int2 relchecks:int2 relhasrules:bool relhastriggers:bool \
      relhassubclass:bool relrowsecurity:bool relforcerowsecurity:bool relispopulated:bool relreplident:char \
      relispartition:bool relrewrite:oid relfrozenxid:int8 relminmxid:int8 relacl:text[] reloptions:text[] relpartbound",
    ),
    (
        "pg_catalog",
        "pg_namespace",
        "oid:oid nspname:name nspowner:oid nspacl:text[]",
    ),
    (
        "pg_catalog",
        "pg_attribute",
        "attrelid:oid attname:name atttypid:oid attstattarget:int4 attlen:int2 attnum:int2 \
      attndims:int4 attcacheoff:int4 atttypmod:int4 attbyval:bool attalign:char attstorage:char attcompression:char \
      attnotnull:bool atthasdef:bool atthasmissing:bool attidentity:char attgenerated:char attisdropped:bool attislocal:bool \
      attinhcount:int4 attcollation:oid attacl:text[] attoptions:text[] attfdwoptions:text[]",
    ),
    (
        "pg_catalog",
        "pg_type",
        "oid:oid typname:name typnamespace:oid typowner:oid typlen:int2 typbyval:bool typtype:char \
      typcategory:char typispreferred:bool typisdefined:bool typdelim:char typrelid:oid typsubscript typelem:oid \
      typarray:oid typinput typoutput typreceive typsend typmodin typmodout typanalyze typalign:char typstorage:char \
      typnotnull:bool typbasetype:oid typtypmod:int4 typndims:int4 typcollation:oid typdefault typacl:text[]",
    ),
    (
        "pg_catalog",
        "pg_description",
        "objoid:oid classoid:oid objsubid:int4 description",
    ),
    (
        "pg_catalog",
        "pg_shdescription",
        "objoid:oid classoid:oid description",
    ),
    (
        "pg_catalog",
        "pg_database",
        "oid:oid datname:name datdba:oid encoding:int4 datlocprovider:char datistemplate:bool \
      datallowconn:bool datconnlimit:int4 datfrozenxid:int8 datminmxid:int8 dattablespace:oid datcollate datctype \
      daticulocale datcollversion datacl:text[]",
    ),
    (
        "pg_catalog",
        "pg_roles",
        "oid:oid rolname:name rolsuper:bool rolinherit:bool rolcreaterole:bool rolcreatedb:bool \
      rolcanlogin:bool rolreplication:bool rolconnlimit:int4 rolpassword rolvaliduntil:timestamptz rolbypassrls:bool \
      rolconfig:text[]",
    ),
    (
        "pg_catalog",
        "pg_user",
        "usename:name usesysid:oid usecreatedb:bool usesuper:bool userepl:bool usebypassrls:bool",
    ),
    ("pg_catalog", "pg_am", "oid:oid amname:name amhandler amtype:char"),
    (
        "pg_catalog",
        "pg_settings",
        "name setting unit category short_desc extra_desc context vartype source min_val max_val \
      enumvals:text[] boot_val reset_val sourcefile sourceline:int4 pending_restart:bool",
    ),
    (
        "pg_catalog",
        "pg_tables",
        "schemaname:name tablename:name tableowner:name tablespace:name hasindexes:bool \
      hasrules:bool hastriggers:bool rowsecurity:bool",
    ),
    (
        "pg_catalog",
        "pg_views",
        "schemaname:name viewname:name viewowner:name definition",
    ),
    (
        "pg_catalog",
        "pg_matviews",
        "schemaname:name matviewname:name matviewowner:name ispopulated:bool definition",
    ),
    (
        "pg_catalog",
        "pg_indexes",
        "schemaname:name tablename:name indexname:name tablespace:name indexdef",
    ),
    (
        "pg_catalog",
        "pg_tablespace",
        "oid:oid spcname:name spcowner:oid spcacl:text[] spcoptions:text[]",
    ),
    ("pg_catalog", "pg_attrdef", "oid:oid adrelid:oid adnum:int2 adbin"),
    (
        "pg_catalog",
        "pg_index",
        "indexrelid:oid indrelid:oid indnatts:int2 indnkeyatts:int2 indisunique:bool \
      indnullsnotdistinct:bool indisprimary:bool indisexclusion:bool indimmediate:bool indisclustered:bool indisvalid:bool \
      indcheckxmin:bool indisready:bool indislive:bool indisreplident:bool indkey:int8[] indcollation:int8[] indclass:int8[] indoption:int8[] \
      indexprs indpred",
    ),
    (
        "pg_catalog",
        "pg_constraint",
        "oid:oid conname:name connamespace:oid contype:char condeferrable:bool condeferred:bool \
      convalidated:bool conrelid:oid contypid:oid conindid:oid conparentid:oid confrelid:oid confupdtype:char \
      confdeltype:char confmatchtype:char conislocal:bool coninhcount:int4 connoinherit:bool conkey:int8[] confkey:int8[] \
      conbin",
    ),
    (
        "pg_catalog",
        "pg_inherits",
        "inhrelid:oid inhparent:oid inhseqno:int4 inhdetachpending:bool",
    ),
    (
        "pg_catalog",
        "pg_partitioned_table",
        "partrelid:oid partstrat:char partnatts:int2 partdefid:oid",
    ),
    (
        "pg_catalog",
        "pg_policy",
        "oid:oid polname:name polrelid:oid polcmd:char polpermissive:bool polroles:int8[] polqual \
      polwithcheck",
    ),
    (
        "pg_catalog",
        "pg_trigger",
        "oid:oid tgrelid:oid tgparentid:oid tgname:name tgfoid:oid tgtype:int2 tgenabled:char \
      tgisinternal:bool tgconstrrelid:oid tgconstrindid:oid tgconstraint:oid tgdeferrable:bool tginitdeferred:bool",
    ),
    (
        "pg_catalog",
        "pg_rewrite",
        "oid:oid rulename:name ev_class:oid ev_type:char ev_enabled:char is_instead:bool",
    ),
    (
        "pg_catalog",
        "pg_statistic_ext",
        "oid:oid stxrelid:oid stxname:name stxnamespace:oid stxowner:oid stxstattarget:int4 \
      stxkeys:int8[] stxkind:text[]",
    ),
    (
        "pg_catalog",
        "pg_publication",
        "oid:oid pubname:name pubowner:oid puballtables:bool pubinsert:bool pubupdate:bool \
      pubdelete:bool pubtruncate:bool pubviaroot:bool",
    ),
    (
        "pg_catalog",
        "pg_publication_rel",
        "oid:oid prpubid:oid prrelid:oid prqual prattrs:int8[]",
    ),
    (
        "pg_catalog",
        "pg_publication_namespace",
        "oid:oid pnpubid:oid pnnspid:oid",
    ),
    (
        "pg_catalog",
        "pg_subscription",
        "oid:oid subdbid:oid subname:name subowner:oid subenabled:bool subbinary:bool substream:bool \
      subtwophasestate:char subdisableonerr:bool subsynccommit subconninfo subslotname:name subskiplsn \
      subpublications:text[]",
    ),
    (
        "pg_catalog",
        "pg_collation",
        "oid:oid collname:name collnamespace:oid collowner:oid collprovider:char \
      collisdeterministic:bool collencoding:int4 collcollate collctype colliculocale collversion",
    ),
    (
        "pg_catalog",
        "pg_proc",
        "oid:oid proname:name pronamespace:oid proowner:oid prolang:oid provariadic:oid prokind:char \
      prosecdef:bool proleakproof:bool proisstrict:bool proretset:bool provolatile:char proparallel:char pronargs:int2 \
      prorettype:oid proargtypes proallargtypes:int8[] proargmodes:text[] proargnames:text[] prosrc proacl:text[]",
    ),
    (
        "pg_catalog",
        "pg_language",
        "oid:oid lanname:name lanowner:oid lanispl:bool lanpltrusted:bool lanplcallfoid:oid \
      laninline:oid lanvalidator:oid lanacl:text[]",
    ),
    ("pg_catalog", "pg_aggregate", "aggfnoid:oid aggkind:char"),
    (
        "pg_catalog",
        "pg_operator",
        "oid:oid oprname:name oprnamespace:oid oprkind:char oprleft:oid oprright:oid \
      oprresult:oid oprcode:oid",
    ),
    (
        "pg_catalog",
        "pg_enum",
        "oid:oid enumtypid:oid enumsortorder:float8 enumlabel:name",
    ),
    (
        "pg_catalog",
        "pg_range",
        "rngtypid:oid rngsubtype:oid rngmultitypid:oid",
    ),
    (
        "pg_catalog",
        "pg_sequence",
        "seqrelid:oid seqtypid:oid seqstart:int8 seqincrement:int8 seqmax:int8 seqmin:int8 seqcache:int8 seqcycle:bool",
    ),
    (
        "pg_catalog",
        "pg_foreign_table",
        "ftrelid:oid ftserver:oid ftoptions:text[]",
    ),
    (
        "pg_catalog",
        "pg_foreign_server",
        "oid:oid srvname:name srvowner:oid srvfdw:oid srvtype srvversion srvacl:text[] srvoptions:text[]",
    ),
    (
        "pg_catalog",
        "pg_extension",
        "oid:oid extname:name extowner:oid extnamespace:oid extversion",
    ),
    (
        "pg_catalog",
        "pg_depend",
        "classid:oid objid:oid objsubid:int4 refclassid:oid refobjid:oid refobjsubid:int4 \
      deptype:char",
    ),
    (
        "pg_catalog",
        "pg_auth_members",
        "roleid:oid member:oid grantor:oid admin_option:bool",
    ),
    (
        "pg_catalog",
        "pg_db_role_setting",
        "setdatabase:oid setrole:oid setconfig:text[]",
    ),
    (
        "pg_catalog",
        "pg_event_trigger",
        "oid:oid evtname:name evtevent:name evtowner:oid evtfoid:oid evtenabled:char evttags:text[]",
    ),
    (
        "pg_catalog",
        "pg_cast",
        "oid:oid castsource:oid casttarget:oid castfunc:oid castcontext:char castmethod:char",
    ),
    (
        "pg_catalog",
        "pg_conversion",
        "oid:oid conname:name connamespace:oid conowner:oid conforencoding:int4 contoencoding:int4 conproc:oid \
      condefault:bool",
    ),
    (
        "pg_catalog",
        "pg_ts_config",
        "oid:oid cfgname:name cfgnamespace:oid cfgowner:oid cfgparser:oid",
    ),
    (
        "pg_catalog",
        "pg_ts_dict",
        "oid:oid dictname:name dictnamespace:oid dictowner:oid dicttemplate:oid dictinitoption",
    ),
    (
        "pg_catalog",
        "pg_ts_parser",
        "oid:oid prsname:name prsnamespace:oid prsstart:oid prstoken:oid prsend:oid prsheadline:oid prslextype:oid",
    ),
    (
        "pg_catalog",
        "pg_ts_template",
        "oid:oid tmplname:name tmplnamespace:oid tmplinit:oid tmpllexize:oid",
    ),
    (
        "pg_catalog",
        "pg_default_acl",
        "oid:oid defaclrole:oid defaclnamespace:oid defaclobjtype:char defaclacl:text[]",
    ),
    (
        "pg_catalog",
        "pg_foreign_data_wrapper",
        "oid:oid fdwname:name fdwowner:oid fdwhandler:oid fdwvalidator:oid fdwacl:text[] fdwoptions:text[]",
    ),
    (
        "pg_catalog",
        "pg_user_mappings",
        "umid:oid srvid:oid srvname:name umuser:oid usename:name umoptions:text[]",
    ),
    (
        "pg_catalog",
        "pg_opclass",
        "oid:oid opcmethod:oid opcname:name opcnamespace:oid opcowner:oid opcfamily:oid opcintype:oid \
      opcdefault:bool opckeytype:oid",
    ),
    (
        "pg_catalog",
        "pg_opfamily",
        "oid:oid opfmethod:oid opfname:name opfnamespace:oid opfowner:oid",
    ),
    (
        "pg_catalog",
        "pg_amop",
        "oid:oid amopfamily:oid amoplefttype:oid amoprighttype:oid amopstrategy:int2 amoppurpose:char amopopr:oid \
      amopmethod:oid amopsortfamily:oid",
    ),
    (
        "pg_catalog",
        "pg_amproc",
        "oid:oid amprocfamily:oid amproclefttype:oid amprocrighttype:oid amprocnum:int2 amproc:oid",
    ),
    (
        "pg_catalog",
        "pg_largeobject_metadata",
        "oid:oid lomowner:oid lomacl:text[]",
    ),
    (
        "pg_catalog",
        "pg_stat_user_tables",
        "relid:oid schemaname:name relname:name seq_scan:int8 seq_tup_read:int8 idx_scan:int8 idx_tup_fetch:int8 \
      n_tup_ins:int8 n_tup_upd:int8 n_tup_del:int8 n_live_tup:int8 n_dead_tup:int8 last_vacuum:timestamptz \
      last_autovacuum:timestamptz last_analyze:timestamptz last_autoanalyze:timestamptz",
    ),
    (
        "pg_catalog",
        "pg_stat_activity",
        "datid:oid datname:name pid:int4 usename:name application_name state query",
    ),
    (
        "pg_catalog",
        "pg_locks",
        "locktype database:oid relation:oid pid:int4 mode granted:bool",
    ),
    (
        "pg_catalog",
        "pg_timezone_names",
        "name abbrev utc_offset:interval is_dst:bool",
    ),
    (
        "information_schema",
        "schemata",
        "catalog_name schema_name schema_owner",
    ),
    (
        "information_schema",
        "tables",
        "table_catalog table_schema table_name table_type self_referencing_column_name \
      reference_generation is_insertable_into is_typed commit_action",
    ),
    (
        "information_schema",
        "views",
        "table_catalog table_schema table_name view_definition check_option is_updatable",
    ),
    (
        "information_schema",
        "columns",
        "table_catalog table_schema table_name column_name ordinal_position:int4 \
      column_default is_nullable data_type character_maximum_length:int4 character_octet_length:int4 numeric_precision:int4 \
      numeric_precision_radix:int4 numeric_scale:int4 datetime_precision:int4 interval_type udt_catalog udt_schema udt_name \
      is_identity is_generated generation_expression is_updatable",
    ),
    (
        "information_schema",
        "table_constraints",
        "constraint_catalog constraint_schema constraint_name table_catalog \
      table_schema table_name constraint_type is_deferrable initially_deferred",
    ),
    (
        "information_schema",
        "key_column_usage",
        "constraint_catalog constraint_schema constraint_name table_catalog \
      table_schema table_name column_name ordinal_position:int4 position_in_unique_constraint:int4",
    ),
    (
        "information_schema",
        "referential_constraints",
        "constraint_catalog constraint_schema constraint_name \
      unique_constraint_catalog unique_constraint_schema unique_constraint_name match_option update_rule delete_rule",
    ),
    (
        "information_schema",
        "constraint_column_usage",
        "table_catalog table_schema table_name column_name \
      constraint_catalog constraint_schema constraint_name",
    ),
    (
        "information_schema",
        "routines",
        "specific_catalog specific_schema specific_name routine_catalog routine_schema \
      routine_name routine_type data_type",
    ),
    (
        "information_schema",
        "table_privileges",
        "grantor grantee table_catalog table_schema table_name privilege_type \
      is_grantable with_hierarchy",
    ),
    (
        "information_schema",
        "role_table_grants",
        "grantor grantee table_catalog table_schema table_name privilege_type \
      is_grantable with_hierarchy",
    ),
];

pub fn tables() -> Vec<Table> {
    let table =
        |(number, (schema, name, columns)): (u32, &(&'static str, &'static str, &'static str))| Table {
            oid: if *name == "pg_class" {
                OID_PG_CLASS
            } else {
                OID_CATALOG_TABLES + number
            },
            schema,
            name,
            comment: "",
            columns: columns.split_whitespace().map(column).collect(),
            source: Source::Catalog,
        };
    (0..).zip(TABLES).map(table).collect()
}

fn column(word: &'static str) -> Column {
    let (name, ty) = word.split_once(':').unwrap_or((word, "text"));
    let ty = match ty {
        "text[]" => Type::TextArray,
        "int8[]" => Type::IntArray,
        name => Type::of_name(name).unwrap_or(Type::Text),
    };
    Column::plain(name, ty)
}

/// A row by the names of its columns; the others are NULL.
type Row = Vec<(&'static str, Value)>;

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn number(number: impl Into<i64>) -> Value {
    Value::Integer(number.into())
}

fn flag(flag: bool) -> Value {
    Value::Integer(i64::from(flag))
}

/// The rows of a table of the catalog. `person`: who asks, the only role there is.
pub fn rows(table: &Table, person: &str, settings: &[(String, String)]) -> Vec<Vec<Value>> {
    let model = Model::get();
    let listed = model.tables.iter();
    let rows: Vec<Row> = match (table.schema, table.name) {
        ("pg_catalog", "pg_class") => listed.map(class).collect(),
        ("pg_catalog", "pg_namespace") => schemas().iter().map(namespace).collect(),
        ("pg_catalog", "pg_attribute") => listed.flat_map(attributes).collect(),
        ("pg_catalog", "pg_type") => Type::ALL.into_iter().map(pg_type).collect(),
        ("pg_catalog", "pg_description") => listed.flat_map(descriptions).collect(),
        ("pg_catalog", "pg_database") => vec![database()],
        ("pg_catalog", "pg_roles") => vec![role(person)],
        ("pg_catalog", "pg_user") => vec![user(person)],
        ("pg_catalog", "pg_am") => vec![vec![
            ("oid", number(OID_HEAP)),
            ("amname", text("heap")),
            ("amtype", text("t")),
        ]],
        ("pg_catalog", "pg_settings") => settings.iter().map(setting).collect(),
        ("pg_catalog", "pg_tables") => listed.map(|table| pg_table(table, person)).collect(),
        ("pg_catalog", "pg_timezone_names") => vec![vec![
            ("name", text("UTC")),
            ("abbrev", text("UTC")),
            ("utc_offset", number(0)),
            ("is_dst", flag(false)),
        ]],
        ("information_schema", "schemata") => {
            schemas().iter().map(|schema| schemata(schema, person)).collect()
        }
        ("information_schema", "tables") => listed.map(information_table).collect(),
        ("information_schema", "columns") => listed.flat_map(information_columns).collect(),
        ("information_schema", "table_privileges" | "role_table_grants") => {
            listed.map(|table| privilege(table, person)).collect()
        }
        _ => Vec::new(),
    };
    let place = |row: Row| {
        let mut values = vec![Value::Null; table.columns.len()];
        for (name, value) in row {
            if let Some(at) = table.column(name) {
                values[at] = value;
            }
        }
        values
    };
    rows.into_iter().map(place).collect()
}

fn schemas() -> [(&'static str, i64); 3] {
    [
        ("pg_catalog", OID_PG_CATALOG),
        ("public", OID_PUBLIC),
        ("information_schema", OID_INFORMATION_SCHEMA),
    ]
}

fn schema_oid(name: &str) -> Value {
    let found = schemas().into_iter().find(|(known, _)| *known == name);
    found.map_or(Value::Null, |(_, oid)| number(oid))
}

fn kind(table: &Table) -> &'static str {
    if table.schema == "information_schema" {
        "v"
    } else {
        "r"
    }
}

fn class(table: &Table) -> Row {
    vec![
        ("oid", number(table.oid)),
        ("relname", text(table.name)),
        ("relnamespace", schema_oid(table.schema)),
        ("reltype", number(0)),
        ("reloftype", number(0)),
        ("relowner", number(OID_OWNER)),
        ("relam", number(if kind(table) == "r" { OID_HEAP } else { 0 })),
        ("relfilenode", number(table.oid)),
        ("reltablespace", number(0)),
        ("relpages", number(0)),
        ("reltuples", Value::Real(-1.0)),
        ("relallvisible", number(0)),
        ("reltoastrelid", number(0)),
        ("relhasindex", flag(false)),
        ("relisshared", flag(false)),
        ("relpersistence", text("p")),
        ("relkind", text(kind(table))),
        ("relnatts", number(table.columns.len() as i64)),
        ("relchecks", number(0)),
        ("relhasrules", flag(false)),
        ("relhastriggers", flag(false)),
        ("relhassubclass", flag(false)),
        ("relrowsecurity", flag(false)),
        ("relforcerowsecurity", flag(false)),
        ("relispopulated", flag(true)),
        ("relreplident", text("n")),
        ("relispartition", flag(false)),
        ("relrewrite", number(0)),
        ("relfrozenxid", number(0)),
        ("relminmxid", number(0)),
    ]
}

fn namespace((name, oid): &(&'static str, i64)) -> Row {
    vec![
        ("oid", number(*oid)),
        ("nspname", text(name)),
        ("nspowner", number(OID_OWNER)),
    ]
}

fn attributes(table: &Table) -> impl Iterator<Item = Row> {
    let numbered = (1i64..).zip(&table.columns);
    numbered.map(|(at, column)| {
        vec![
            ("attrelid", number(table.oid)),
            ("attname", text(column.name)),
            ("atttypid", number(column.ty.oid())),
            ("attstattarget", number(-1)),
            ("attlen", number(column.ty.length())),
            ("attnum", number(at)),
            ("attndims", number(i64::from(column.ty.is_array()))),
            ("attcacheoff", number(-1)),
            ("atttypmod", number(-1)),
            (
                "attbyval",
                flag(column.ty.length() > 0 && column.ty.length() <= 8),
            ),
            ("attalign", text(if column.ty.length() < 0 { "i" } else { "d" })),
            ("attstorage", text(if column.ty.length() < 0 { "x" } else { "p" })),
            ("attcompression", text("")),
            ("attnotnull", flag(matches!(column.name, "id" | "time" | "kind"))),
            ("atthasdef", flag(false)),
            ("atthasmissing", flag(false)),
            ("attidentity", text("")),
            ("attgenerated", text("")),
            ("attisdropped", flag(false)),
            ("attislocal", flag(true)),
            ("attinhcount", number(0)),
            ("attcollation", number(0)),
        ]
    })
}

fn category(ty: Type) -> &'static str {
    match ty {
        Type::Bool => "B",
        Type::Char | Type::Name | Type::Text | Type::Unknown => "S",
        Type::Int2 | Type::Int4 | Type::Int8 | Type::Oid | Type::Float8 => "N",
        Type::Json => "U",
        Type::TextArray | Type::IntArray => "A",
        Type::Timestamp | Type::Date => "D",
        Type::Interval => "T",
    }
}

fn pg_type(ty: Type) -> Row {
    let element = match ty {
        Type::TextArray => i64::from(Type::Text.oid()),
        Type::IntArray => i64::from(Type::Int8.oid()),
        _ => 0,
    };
    let array = match ty {
        Type::Text => i64::from(Type::TextArray.oid()),
        Type::Int8 => i64::from(Type::IntArray.oid()),
        _ => 0,
    };
    let prefix = match ty {
        _ if ty.is_array() => "array_",
        Type::Timestamp => "timestamptz_",
        Type::Date => "date_",
        Type::Interval => "interval_",
        Type::Json => "json_",
        _ => ty.internal_name(),
    };
    let function = |suffix: &str| text(&format!("{prefix}{suffix}"));
    vec![
        ("oid", number(ty.oid())),
        ("typname", text(ty.internal_name())),
        ("typnamespace", number(OID_PG_CATALOG)),
        ("typowner", number(OID_OWNER)),
        ("typlen", number(ty.length())),
        ("typbyval", flag(ty.length() > 0 && ty.length() <= 8)),
        ("typtype", text("b")),
        ("typcategory", text(category(ty))),
        (
            "typispreferred",
            flag(matches!(
                ty,
                Type::Text | Type::Float8 | Type::Timestamp | Type::Bool
            )),
        ),
        ("typisdefined", flag(true)),
        ("typdelim", text(",")),
        ("typrelid", number(0)),
        ("typelem", number(element)),
        ("typarray", number(array)),
        ("typinput", function("in")),
        ("typoutput", function("out")),
        ("typreceive", function("recv")),
        ("typsend", function("send")),
        ("typalign", text("d")),
        ("typstorage", text(if ty.length() < 0 { "x" } else { "p" })),
        ("typnotnull", flag(false)),
        ("typbasetype", number(0)),
        ("typtypmod", number(-1)),
        ("typndims", number(0)),
        ("typcollation", number(0)),
    ]
}

fn descriptions(table: &Table) -> Vec<Row> {
    let row = |part: i64, said: &str| -> Option<Row> {
        (!said.is_empty()).then(|| {
            vec![
                ("objoid", number(table.oid)),
                ("classoid", number(OID_PG_CLASS)),
                ("objsubid", number(part)),
                ("description", text(said)),
            ]
        })
    };
    let columns = (1..)
        .zip(&table.columns)
        .filter_map(|(at, column)| row(at, column.comment));
    row(0, table.comment).into_iter().chain(columns).collect()
}

fn database() -> Row {
    vec![
        ("oid", number(OID_DATABASE)),
        ("datname", text(DATABASE)),
        ("datdba", number(OID_OWNER)),
        ("encoding", number(6)),
        ("datlocprovider", text("c")),
        ("datistemplate", flag(false)),
        ("datallowconn", flag(true)),
        ("datconnlimit", number(-1)),
        ("dattablespace", number(0)),
        ("datcollate", text("C")),
        ("datctype", text("C")),
    ]
}

fn role(person: &str) -> Row {
    let no = [
        "rolsuper",
        "rolcreaterole",
        "rolcreatedb",
        "rolreplication",
        "rolbypassrls",
    ];
    let mut row = vec![
        ("oid", number(OID_OWNER)),
        ("rolname", text(person)),
        ("rolinherit", flag(true)),
        ("rolcanlogin", flag(true)),
        ("rolconnlimit", number(-1)),
    ];
    row.extend(no.map(|name| (name, flag(false))));
    row
}

fn user(person: &str) -> Row {
    let no = ["usecreatedb", "usesuper", "userepl", "usebypassrls"];
    let mut row = vec![("usename", text(person)), ("usesysid", number(OID_OWNER))];
    row.extend(no.map(|name| (name, flag(false))));
    row
}

fn setting((name, value): &(String, String)) -> Row {
    vec![
        ("name", text(name)),
        ("setting", text(value)),
        ("context", text("internal")),
    ]
}

fn pg_table(table: &Table, person: &str) -> Row {
    let mut row = vec![
        ("schemaname", text(table.schema)),
        ("tablename", text(table.name)),
        ("tableowner", text(person)),
    ];
    row.extend(["hasindexes", "hasrules", "hastriggers", "rowsecurity"].map(|name| (name, flag(false))));
    row
}

fn schemata((name, _): &(&'static str, i64), person: &str) -> Row {
    vec![
        ("catalog_name", text(DATABASE)),
        ("schema_name", text(name)),
        ("schema_owner", text(person)),
    ]
}

fn information_table(table: &Table) -> Row {
    vec![
        ("table_catalog", text(DATABASE)),
        ("table_schema", text(table.schema)),
        ("table_name", text(table.name)),
        (
            "table_type",
            text(if kind(table) == "r" { "BASE TABLE" } else { "VIEW" }),
        ),
        ("is_insertable_into", text("NO")),
        ("is_typed", text("NO")),
    ]
}

fn information_columns(table: &Table) -> impl Iterator<Item = Row> {
    (1i64..).zip(&table.columns).map(|(at, column)| {
        vec![
            ("table_catalog", text(DATABASE)),
            ("table_schema", text(table.schema)),
            ("table_name", text(table.name)),
            ("column_name", text(column.name)),
            ("ordinal_position", number(at)),
            ("is_nullable", text("YES")),
            (
                "data_type",
                text(if column.ty.is_array() {
                    "ARRAY"
                } else {
                    column.ty.name()
                }),
            ),
            ("udt_catalog", text(DATABASE)),
            ("udt_schema", text("pg_catalog")),
            ("udt_name", text(column.ty.internal_name())),
            ("is_identity", text("NO")),
            ("is_generated", text("NEVER")),
            ("is_updatable", text("NO")),
        ]
    })
}

fn privilege(table: &Table, person: &str) -> Row {
    vec![
        ("grantor", text(person)),
        ("grantee", text(person)),
        ("table_catalog", text(DATABASE)),
        ("table_schema", text(table.schema)),
        ("table_name", text(table.name)),
        ("privilege_type", text("SELECT")),
        ("is_grantable", text("NO")),
        ("with_hierarchy", text("YES")),
    ]
}
