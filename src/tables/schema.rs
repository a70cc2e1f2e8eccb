//! The tables of the log: their columns, what each says, and how it is taken from a record.
//! Never reads the log. Read `load.rs` for how they are filled, `catalog.rs` for the tables that describe them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use rusqlite::types::Value;

use super::catalog;
use super::types::Type;
use crate::audit::{Kind, Record};

/// A table that a query can name.
#[derive(Debug)]
pub struct Table {
    pub oid: u32,
    pub schema: &'static str,
    pub name: &'static str,
    pub comment: &'static str,
    pub columns: Vec<Column>,
    pub source: Source,
}

/// Where its rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Log(Rows),
    Catalog,
}

/// Which records make a row of a table of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    Every,
    Of(Kind),
    /// One record, with the first later one of the other kind that belongs to it.
    Joined(Kind, Kind),
}

#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    pub ty: Type,
    pub comment: &'static str,
    pub narrows: Option<Narrows>,
    /// It stands in the record that is joined.
    pub is_joined: bool,
    get: Option<fn(&Record) -> Value>,
}

/// What a condition on a column says about the records that are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narrows {
    Time,
    Principal,
    Class,
    Verdict,
    Request,
    Grant,
    Session,
    Approver,
    Kind,
}

impl Table {
    /// As it is called in the engine, where schemas are not known.
    pub fn inner_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

impl Column {
    pub const fn plain(name: &'static str, ty: Type) -> Self {
        Self {
            name,
            ty,
            comment: "",
            narrows: None,
            is_joined: false,
            get: None,
        }
    }

    /// Its value in a record; NULL where the record does not say.
    pub fn of(&self, record: &Record) -> Value {
        self.get.map_or(Value::Null, |get| get(record))
    }
}

/// All tables, made once.
#[derive(Debug)]
pub struct Model {
    pub tables: Vec<Table>,
    by_name: BTreeMap<(&'static str, &'static str), usize>,
}

impl Model {
    pub fn get() -> &'static Self {
        static MODEL: OnceLock<Model> = OnceLock::new();
        MODEL.get_or_init(|| {
            let mut tables = log_tables();
            tables.extend(catalog::tables());
            let names = tables.iter().enumerate();
            let by_name = names
                .map(|(at, table)| ((table.schema, table.name), at))
                .collect();
            Self { tables, by_name }
        })
    }

    /// Without a schema, the system's tables come first, as in PostgreSQL.
    pub fn find(&self, schema: Option<&str>, name: &str) -> Option<&Table> {
        let schemas = match schema {
            Some(schema) => vec![schema],
            None => vec!["pg_catalog", "public"],
        };
        schemas.into_iter().find_map(|schema| {
            let at = self.by_name.get(&(schema, name) as &(&str, &str))?;
            self.tables.get(*at)
        })
    }

    pub fn by_oid(&self, oid: i64) -> Option<&Table> {
        self.tables.iter().find(|table| i64::from(table.oid) == oid)
    }
}

/// The first number that PostgreSQL gives to a table of a user.
const FIRST_OID: u32 = 16_384;

fn text(value: &Option<String>) -> Value {
    value.clone().map_or(Value::Null, Value::Text)
}

fn shown(value: Option<impl ToString>) -> Value {
    value.map_or(Value::Null, |value| Value::Text(value.to_string()))
}

fn number(value: Option<u64>) -> Value {
    value.map_or(Value::Null, |value| {
        Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    })
}

fn hex(value: Option<[u8; 32]>) -> Value {
    let digits = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    value.map(digits).map_or(Value::Null, Value::Text)
}

fn list(value: &[String]) -> Value {
    if value.is_empty() {
        Value::Null
    } else {
        json(value)
    }
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> Value {
    serde_json::to_string(value).map_or(Value::Null, Value::Text)
}

/// UTF-8 as it is; anything else as `\x` and hex, the way PostgreSQL prints bytes.
fn statement(value: &Option<Vec<u8>>) -> Value {
    let Some(bytes) = value else {
        return Value::Null;
    };
    Value::Text(match std::str::from_utf8(bytes) {
        Ok(text) => text.replace('\0', "\u{fffd}"),
        Err(_) => bytes.iter().fold("\\x".to_owned(), |mut out, byte| {
            out.push_str(&format!("{byte:02x}"));
            out
        }),
    })
}

fn result(record: &Record) -> Option<&Record> {
    record.fields.result.as_deref()
}

fn column(name: &'static str, ty: Type, comment: &'static str, get: fn(&Record) -> Value) -> Column {
    Column {
        name,
        ty,
        comment,
        narrows: None,
        is_joined: false,
        get: Some(get),
    }
}

impl Column {
    fn narrows(self, what: Narrows) -> Self {
        Self {
            narrows: Some(what),
            ..self
        }
    }
}

fn id() -> Column {
    let get = |record: &Record| shown(record.id);
    column(
        "id",
        Type::Text,
        "where the record stands in the log: lane.number",
        get,
    )
}

fn time() -> Column {
    let get = |record: &Record| Value::Integer(record.time.micros());
    column("time", Type::Timestamp, "when, in UTC, to the microsecond", get).narrows(Narrows::Time)
}

/// Every field that a record can have, by the name of its column.
fn field(name: &str) -> Column {
    use Type::{Bool, Int8, Json, Text, TextArray};
    match name {
        "kind" => column("kind", Text, "attempt, outcome, decision, login and so on", |r| {
            Value::Text(r.kind.as_str().to_owned())
        })
        .narrows(Narrows::Kind),
        "session" => column("session", Text, "the client's connection", |r| {
            shown(r.fields.session)
        })
        .narrows(Narrows::Session),
        "attempt" => column("attempt", Text, "the statement: session-number", |r| {
            shown(r.fields.attempt)
        }),
        "principal" => {
            column("principal", Text, "the agent", |r| text(&r.fields.principal)).narrows(Narrows::Principal)
        }
        "owner" => column("owner", Text, "the person who owns the agent", |r| {
            text(&r.fields.owner)
        }),
        "profile" => column("profile", Text, "how the agent is treated", |r| {
            text(&r.fields.profile)
        }),
        "source" => column("source", Text, "the client's address", |r| text(&r.fields.source)),
        "upstream" => column("upstream", Text, "the server behind the proxy", |r| {
            text(&r.fields.upstream)
        }),
        "database" => column("database", Text, "the database on that server", |r| {
            text(&r.fields.database)
        }),
        "database_user" => column("database_user", Text, "the user on that server", |r| {
            text(&r.fields.database_user)
        }),
        "labels" => column(
            "labels",
            Json,
            "labels of the agent when the session began",
            |r| {
                if r.fields.labels.is_empty() {
                    Value::Null
                } else {
                    json(&r.fields.labels)
                }
            },
        ),
        "application_name" => column(
            "application_name",
            Text,
            "what the client calls itself; not verified",
            |r| text(&r.fields.application_name),
        ),
        "tls" => column("tls", Text, "version of TLS; empty: none", |r| {
            text(&r.fields.tls)
        }),
        "protocol" => column(
            "protocol",
            Text,
            "simple or extended; of MySQL text, binary or prepare",
            |r| text(&r.fields.protocol),
        ),
        "read_as" => column(
            "read_as",
            Text,
            "server and settings that a MySQL text was read under",
            |r| text(&r.fields.read_as),
        ),
        "class" => column(
            "class",
            Text,
            "read, write, ddl, grant, export, admin, session, transaction, procedural, unknown",
            |r| text(&r.fields.class),
        )
        .narrows(Narrows::Class),
        "verdict" => column("verdict", Text, "what the rules said: allow, hold or deny", |r| {
            text(&r.fields.verdict)
        })
        .narrows(Narrows::Verdict),
        "rule" => column("rule", Text, "the rule that decided", |r| text(&r.fields.rule)),
        "tables" => column("tables", TextArray, "the tables that the statement names", |r| {
            list(&r.fields.tables)
        }),
        "request" => column("request", Text, "the request that held the statement", |r| {
            text(&r.fields.request)
        })
        .narrows(Narrows::Request),
        "grant_id" => column(
            "grant_id",
            Text,
            "the standing grant that it is about, or that let it pass",
            |r| text(&r.fields.grant),
        )
        .narrows(Narrows::Grant),
        "decided_in" => column(
            "decided_in",
            Text,
            "the request whose decision made that grant",
            |r| text(&r.fields.decided_in),
        ),
        "requests" => column("requests", TextArray, "the requests of a transaction", |r| {
            list(&r.fields.requests)
        }),
        "outcome" => column(
            "outcome",
            Text,
            "ran, failed, refused, skipped, cancelled, unknown",
            |r| text(&r.fields.outcome),
        ),
        "tag" => column("tag", Text, "the server's command tag", |r| text(&r.fields.tag)),
        "rows" => column("rows", Int8, "rows returned or changed", |r| {
            number(r.fields.rows)
        }),
        "sqlstate" => column("sqlstate", Text, "the error's code", |r| text(&r.fields.sqlstate)),
        "message" => column("message", Text, "the error's sentence", |r| {
            text(&r.fields.message)
        }),
        "event" => column("event", Text, "what happened", |r| text(&r.fields.event)),
        "by_whom" => column(
            "by_whom",
            Text,
            "who did it: a person, or what of the program",
            |r| text(&r.fields.by),
        ),
        "detail" => column("detail", Text, "more about it", |r| text(&r.fields.detail)),
        "decision" => column("decision", Text, "approve or deny", |r| text(&r.fields.decision)),
        "approver" => column("approver", Text, "the person who decided", |r| {
            text(&r.fields.approver)
        })
        .narrows(Narrows::Approver),
        "reason" => column("reason", Text, "why, in that person's words", |r| {
            text(&r.fields.reason)
        }),
        "channel" => column("channel", Text, "api, cli and so on", |r| text(&r.fields.channel)),
        "method" => column(
            "method",
            Text,
            "how the person had signed in: token, password, totp or passkey",
            |r| text(&r.fields.method),
        ),
        "second_factor_at" => column(
            "second_factor_at",
            Type::Timestamp,
            "when the approver had given a second factor last; NULL: never",
            |r| {
                let at = r.fields.second_factor_at;
                at.map_or(Value::Null, |at| Value::Integer(at.micros()))
            },
        ),
        "change" => column("change", Text, "what was changed, or loaded or rejected", |r| {
            text(&r.fields.change)
        }),
        "file" => column("file", Text, "the file", |r| text(&r.fields.file)),
        "name" => column("name", Text, "whom or what the change is about", |r| {
            text(&r.fields.name)
        }),
        "query" => column("query", Text, "what was looked for", |r| text(&r.fields.query)),
        "success" => column("success", Bool, "whether the log-in succeeded", |r| {
            r.fields
                .success
                .map_or(Value::Null, |flag| Value::Integer(i64::from(flag)))
        }),
        "text_sha256" => column("text_sha256", Text, "SHA-256 of the statement, in hex", |r| {
            hex(r.fields.text_sha256)
        }),
        "text_bytes" => column("text_bytes", Int8, "length of the statement", |r| {
            number(r.fields.text_bytes)
        }),
        "text" => column(
            "text",
            Text,
            "the statement, byte for byte, secrets masked",
            |r| statement(&r.fields.text),
        ),
        "fingerprint" => column(
            "fingerprint",
            Text,
            "SHA-256 of the statement's shape without its literals, in hex",
            |r| hex(r.fields.fingerprint),
        ),
        "digest" => column("digest", Text, "what the decision is bound to, in hex", |r| {
            hex(r.fields.digest)
        }),
        "generation" => column("generation", Text, "SHA-256 of the rule file, in hex", |r| {
            hex(r.fields.generation)
        }),
        "parameters" => column("parameters", Json, "the parameters' types and values", |r| {
            if r.fields.parameters.is_empty() {
                Value::Null
            } else {
                json(&r.fields.parameters)
            }
        }),
        "claimed" => column(
            "claimed",
            Json,
            "what the client says of itself; not verified",
            |r| {
                if r.fields.claimed.is_empty() {
                    Value::Null
                } else {
                    json(&r.fields.claimed)
                }
            },
        ),
        "boot" => column("boot", Text, "the start of the program", |r| text(&r.fields.boot)),
        "version" => column("version", Text, "the program's version", |r| {
            text(&r.fields.version)
        }),
        "record" => column(
            "record",
            Json,
            "the whole record, with fields that have no column",
            json,
        ),
        other => unreachable!("no column is called `{other}`"),
    }
}

/// What stands in the joined record.
fn joined(name: &str) -> Column {
    use Type::{Float8, Int8, Text, Timestamp};
    match name {
        "outcome" => column(
            "outcome",
            Text,
            "ran, failed, refused, skipped, cancelled, unknown; NULL: not ended yet",
            |r| result(r).map_or(Value::Null, |r| text(&r.fields.outcome)),
        ),
        "rows" => column("rows", Int8, "rows returned or changed", |r| {
            result(r).map_or(Value::Null, |r| number(r.fields.rows))
        }),
        "tag" => column("tag", Text, "the server's command tag", |r| {
            result(r).map_or(Value::Null, |r| text(&r.fields.tag))
        }),
        "sqlstate" => column("sqlstate", Text, "the error's code", |r| {
            result(r).map_or(Value::Null, |r| text(&r.fields.sqlstate))
        }),
        "message" => column("message", Text, "the error's sentence", |r| {
            result(r).map_or(Value::Null, |r| text(&r.fields.message))
        }),
        "ended_because" => column("ended_because", Text, "why it ended", |r| {
            result(r).map_or(Value::Null, |r| text(&r.fields.reason))
        }),
        "ended" => column("ended", Timestamp, "when it ended; NULL: not yet", |r| {
            result(r).map_or(Value::Null, |r| Value::Integer(r.time.micros()))
        }),
        "duration_ms" => column(
            "duration_ms",
            Float8,
            "from its record to its result, waiting included",
            |r| {
                result(r).map_or(Value::Null, |end| {
                    Value::Real(end.time.micros().saturating_sub(r.time.micros()) as f64 / 1000.0)
                })
            },
        ),
        other => unreachable!("no joined column is called `{other}`"),
    }
}

/// `+name`: from the joined record.
fn columns(names: &str) -> Vec<Column> {
    let column = |name: &str| match (name, name.strip_prefix('+')) {
        ("id", _) => id(),
        ("time", _) => time(),
        (_, Some(name)) => Column {
            is_joined: true,
            ..joined(name)
        },
        (name, None) => field(name),
    };
    names.split_whitespace().map(column).collect()
}

fn log_tables() -> Vec<Table> {
    let tables: [(&'static str, &'static str, Rows, &str); 12] = [
        (
            "records",
            "Every record of the log, of whatever kind",
            Rows::Every,
            "id time kind session attempt principal owner profile source upstream database database_user labels \
             application_name tls protocol read_as class verdict rule tables request grant_id decided_in requests outcome \
             tag rows sqlstate message event by_whom detail decision approver reason channel change file name query \
             success text text_bytes text_sha256 fingerprint digest generation parameters claimed boot version method \
             second_factor_at record",
        ),
        (
            "statements",
            "One row for each statement that an agent sent, with what became of it",
            Rows::Joined(Kind::Attempt, Kind::Outcome),
            "id time session attempt principal database database_user protocol class verdict rule tables text text_bytes \
             text_sha256 fingerprint request grant_id decided_in parameters claimed +outcome +rows +tag +sqlstate +message \
             +ended +duration_ms",
        ),
        (
            "decisions",
            "What people decided",
            Rows::Of(Kind::Decision),
            "id time request decision event approver reason channel method second_factor_at detail digest record",
        ),
        (
            "request_events",
            "What happened to held statements",
            Rows::Of(Kind::RequestEvent),
            "id time request event by_whom detail session record",
        ),
        (
            "grants",
            "What happened to standing grants",
            Rows::Of(Kind::StandingGrant),
            "id time grant_id event request decided_in by_whom detail session",
        ),
        (
            "sessions",
            "Connections of agents",
            Rows::Joined(Kind::SessionStart, Kind::SessionEnd),
            "id time session principal owner profile source upstream database database_user labels application_name tls \
             protocol +ended +duration_ms +ended_because",
        ),
        (
            "logins",
            "Log-ins of agents, those that failed too",
            Rows::Of(Kind::Login),
            "id time success principal source reason session",
        ),
        (
            "transactions",
            "How transactions ended",
            Rows::Of(Kind::TransactionEnd),
            "id time session outcome requests",
        ),
        (
            "log_queries",
            "Who read the log, and what they looked for; this query too",
            Rows::Of(Kind::LogQuery),
            "id time by_whom query",
        ),
        (
            "rule_changes",
            "Rules that took hold, or were rejected",
            Rows::Of(Kind::RulesChange),
            "id time change file generation by_whom detail",
        ),
        (
            "people_changes",
            "Changes to people, agents, tokens and secrets",
            Rows::Of(Kind::PeopleChange),
            "id time change name by_whom detail record",
        ),
        (
            "erasures",
            "Parameter values that were erased, by whom and why",
            Rows::Of(Kind::ValuesErased),
            "id time name by_whom reason record",
        ),
    ];
    let numbered = tables.into_iter().zip(FIRST_OID..);
    let table = |((name, comment, rows, names), oid)| Table {
        oid,
        schema: "public",
        name,
        comment,
        columns: columns(names),
        source: Source::Log(rows),
    };
    numbered.map(table).collect()
}
