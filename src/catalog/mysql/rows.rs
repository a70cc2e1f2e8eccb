//! The questions that read a catalog, and what their rows hold. Never interprets a definition. Read `snapshot.rs` next.

use mysql_async::prelude::FromRow;

/// Schemas whose relations the built-in lists know. The questions leave them out too: the server makes some of them up
/// anew for each question.
pub const SYSTEM_SCHEMAS: [&str; 3] = ["mysql", "information_schema", "performance_schema"];

/// Privileges without which `information_schema` hides definitions. Global ones, `ON *.*`.
/// Source: MariaDB knowledge base, information-schema-views-table; MySQL manual, information-schema-introduction.html
pub const PRIVILEGES_NEEDED: [&str; 3] = ["SELECT", "SHOW VIEW", "TRIGGER"];

/// MySQL since 8.0.16: what is granted ON *.* may be taken back for single schemas.
pub const PARTIAL_REVOKES: &str = "SHOW GLOBAL VARIABLES LIKE 'partial_revokes'";

/// Schemas that the asking account may not see all of, in spite of what it has ON *.*; NULL: none.
pub const RESTRICTIONS: &str = "SELECT JSON_EXTRACT(User_attributes, '$.Restrictions') FROM mysql.user WHERE User = \
     SUBSTRING_INDEX(CURRENT_USER(), '@', 1) AND Host = SUBSTRING_INDEX(CURRENT_USER(), '@', -1)";

pub const SERVER: &str = "SELECT VERSION(), @@lower_case_table_names, @@global.sql_mode, DATABASE()";

/// `'user'@'host'` as `information_schema` writes it, of the account that asks.
pub const PRIVILEGES: &str = "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES WHERE GRANTEE = \
     CONCAT('\\'', SUBSTRING_INDEX(CURRENT_USER(), '@', 1), '\\'@\\'', SUBSTRING_INDEX(CURRENT_USER(), '@', -1), '\\'')";

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromRow)]
#[mysql(rename_all = "UPPERCASE")]
pub struct Table {
    pub table_schema: String,
    pub table_name: String,
    pub table_type: Option<String>,
    /// `None`: the table could not be opened.
    pub engine: Option<String>,
}

/// Without statistics, for which MariaDB and older MySQL open every table.
pub const TABLES: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES";

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromRow)]
#[mysql(rename_all = "UPPERCASE")]
pub struct Size {
    pub table_schema: String,
    pub table_name: String,
    pub table_rows: Option<u64>,
    pub data_length: Option<u64>,
    pub index_length: Option<u64>,
}

pub const SIZES: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_ROWS, DATA_LENGTH, INDEX_LENGTH FROM information_schema.TABLES \
     WHERE TABLE_TYPE <> 'VIEW' AND TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'mysql')";

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromRow)]
#[mysql(rename_all = "UPPERCASE")]
pub struct Column {
    pub table_schema: String,
    pub table_name: String,
    pub ordinal_position: u64,
    pub column_name: String,
    pub column_default: Option<String>,
    pub extra: Option<String>,
    pub generation_expression: Option<String>,
}

pub const COLUMNS: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION, COLUMN_NAME, COLUMN_DEFAULT, EXTRA, \
     GENERATION_EXPRESSION FROM information_schema.COLUMNS WHERE \
     TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'mysql')";

/// The same from a server older than generated columns.
pub const COLUMNS_OLD: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION, COLUMN_NAME, COLUMN_DEFAULT, \
     EXTRA, NULL AS GENERATION_EXPRESSION FROM information_schema.COLUMNS WHERE \
     TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'mysql')";

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromRow)]
#[mysql(rename_all = "UPPERCASE")]
pub struct ViewText {
    pub table_schema: String,
    pub table_name: String,
    pub view_definition: Option<String>,
}

pub const VIEWS: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION FROM information_schema.VIEWS WHERE \
     TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'mysql')";

/// A stored function. Procedures are called by CALL alone, which is held whatever they do.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromRow)]
#[mysql(rename_all = "UPPERCASE")]
pub struct StoredFunction {
    pub routine_schema: String,
    pub routine_name: String,
    pub dtd_identifier: Option<String>,
    pub routine_definition: Option<String>,
    pub sql_mode: String,
    pub security_type: String,
    pub definer: String,
    pub is_deterministic: String,
    pub sql_data_access: String,
    pub character_set_client: Option<String>,
    pub collation_connection: Option<String>,
    pub database_collation: Option<String>,
}

pub const STORED_FUNCTIONS: &str = "SELECT ROUTINE_SCHEMA, ROUTINE_NAME, DTD_IDENTIFIER, ROUTINE_DEFINITION, SQL_MODE, \
     SECURITY_TYPE, DEFINER, IS_DETERMINISTIC, SQL_DATA_ACCESS, CHARACTER_SET_CLIENT, COLLATION_CONNECTION, \
     DATABASE_COLLATION FROM information_schema.ROUTINES WHERE ROUTINE_TYPE = 'FUNCTION'";

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromRow)]
#[mysql(rename_all = "UPPERCASE")]
pub struct Parameter {
    pub specific_schema: String,
    pub specific_name: String,
    pub ordinal_position: i64,
    pub dtd_identifier: String,
}

pub const PARAMETERS: &str = "SELECT SPECIFIC_SCHEMA, SPECIFIC_NAME, ORDINAL_POSITION, DTD_IDENTIFIER \
     FROM information_schema.PARAMETERS WHERE ROUTINE_TYPE = 'FUNCTION' AND ORDINAL_POSITION > 0";

/// A function out of a library that was loaded into the server.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromRow)]
pub struct LoadableFunction {
    pub name: String,
    pub library: String,
    pub kind: String,
}

pub const LOADABLE_FUNCTIONS: &str = "SELECT CAST(name AS CHAR) AS name, CAST(dl AS CHAR) AS library, CAST(type AS CHAR) AS kind FROM mysql.func";

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromRow)]
#[mysql(rename_all = "UPPERCASE")]
pub struct Trigger {
    pub trigger_name: String,
    /// BEFORE or AFTER.
    pub action_timing: String,
    /// INSERT, UPDATE or DELETE.
    pub event_manipulation: String,
    pub event_object_schema: String,
    pub event_object_table: String,
}

pub const TRIGGERS: &str = "SELECT TRIGGER_NAME, ACTION_TIMING, EVENT_MANIPULATION, EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS";

/// A foreign key: its table may be written when the table that it refers to is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromRow)]
#[mysql(rename_all = "UPPERCASE")]
pub struct Cascade {
    pub constraint_schema: String,
    pub constraint_name: String,
    pub table_name: String,
    pub referenced_schema: String,
    pub referenced_table_name: String,
    pub delete_rule: String,
    pub update_rule: String,
}

pub const CASCADES: &str = "SELECT CONSTRAINT_SCHEMA, CONSTRAINT_NAME, TABLE_NAME, UNIQUE_CONSTRAINT_SCHEMA AS REFERENCED_SCHEMA, \
     REFERENCED_TABLE_NAME, DELETE_RULE, UPDATE_RULE FROM information_schema.REFERENTIAL_CONSTRAINTS";
