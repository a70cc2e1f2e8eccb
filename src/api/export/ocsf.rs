//! Records as events of the Open Cybersecurity Schema Framework, class 6005 Datastore Activity.
//! Never guesses: what the class has no place for stands in `unmapped`, and records that are no activity at a datastore
//! (log queries, rules, people) are left out.
//! Source: schema.ocsf.io/1.8.0/classes/datastore_activity, profile security_control.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::audit::{Kind, Record};
use crate::identity::principal::SessionId;
use crate::journal::{JournalError, LogFilter, Reader};

/// The version of the schema.
pub const OCSF_VERSION: &str = "1.8.0";

/// Sessions that are remembered; then it starts anew. Each is looked up in the log once.
const SESSIONS_MAX: usize = 10_000;

/// What the start of a session says of every statement in it.
#[derive(Clone, Debug, Default)]
struct Start {
    source: Option<String>,
    database: Option<String>,
    principal: Option<String>,
    application_name: Option<String>,
}

/// Makes events; knows where each session came from.
pub struct Sessions<'r> {
    reader: &'r Reader,
    starts: HashMap<SessionId, Start>,
}

/// What a record is to the schema.
struct Meaning {
    activity: (u32, &'static str),
    /// 1 success, 2 failure, 0 not known.
    status: u32,
    severity: u32,
    /// Action and disposition of the profile security_control.
    control: Option<(u32, &'static str, u32, &'static str)>,
}

const ALLOWED: (u32, &str, u32, &str) = (1, "Allowed", 1, "Allowed");
const BLOCKED: (u32, &str, u32, &str) = (2, "Denied", 2, "Blocked");
const DELAYED: (u32, &str, u32, &str) = (4, "Modified", 14, "Delayed");
const APPROVED: (u32, &str, u32, &str) = (1, "Allowed", 8, "Approved");
const REJECTED: (u32, &str, u32, &str) = (2, "Denied", 25, "Rejected");

const INFORMATIONAL: u32 = 1;
const MEDIUM: u32 = 3;

impl<'r> Sessions<'r> {
    pub fn of(reader: &'r Reader) -> Self {
        Self {
            reader,
            starts: HashMap::new(),
        }
    }

    /// The event of a record; `None` if it is no activity at a datastore.
    pub fn event(&mut self, record: &Record) -> Result<Option<Value>, JournalError> {
        let Some(meaning) = meaning(record) else {
            return Ok(None);
        };
        let start = self.start(record)?;
        let fields = &record.fields;
        let (activity, name) = meaning.activity;
        let user = match record.kind {
            Kind::Decision => fields.approver.clone(),
            _other => fields.principal.clone().or(start.principal),
        };
        let mut event = json!({
            "class_uid": 6005,
            "class_name": "Datastore Activity",
            "category_uid": 6,
            "category_name": "Application Activity",
            "activity_id": activity,
            "activity_name": name,
            "type_uid": 600_500 + activity,
            "type_name": format!("Datastore Activity: {name}"),
            "time": record.time.micros() / 1_000,
            "severity_id": meaning.severity,
            "status_id": meaning.status,
            "metadata": {
                "version": OCSF_VERSION,
                "profiles": ["security_control"],
                "uid": record.id.map(|id| id.to_string()),
                "log_name": "countersign",
                "product": {
                    "name": "Countersign",
                    "vendor_name": "Countersign",
                    "version": env!("CARGO_PKG_VERSION"),
                },
            },
            "actor": actor(user, fields.session, fields.application_name.clone().or(start.application_name)),
            "src_endpoint": source(fields.source.clone().or(start.source), fields.channel.as_deref()),
            "database": {
                "name": fields.database.clone().or(start.database).unwrap_or_else(|| "unknown".to_owned()),
                "type": "Relational",
                "type_id": 1,
            },
            "unmapped": unmapped(record),
        });
        let more = event.as_object_mut().expect("it was made a map above");
        if let Some(table) = fields.tables.first() {
            more.insert("table".to_owned(), json!({ "name": table }));
        }
        if fields.text.is_some() {
            let shown = serde_json::to_value(fields).expect("fields are a map with text keys");
            let query = json!({ "query_string": shown["text"], "uid": shown["fingerprint"] });
            more.insert("query_info".to_owned(), query);
        }
        if let Some((action, action_name, disposition, disposition_name)) = meaning.control {
            more.insert("action_id".to_owned(), action.into());
            more.insert("action".to_owned(), action_name.into());
            more.insert("disposition_id".to_owned(), disposition.into());
            more.insert("disposition".to_owned(), disposition_name.into());
        }
        if let Some(rule) = &fields.rule {
            more.insert("policy".to_owned(), json!({ "name": rule }));
        }
        if let Some(code) = &fields.sqlstate {
            more.insert("status_code".to_owned(), json!(code));
        }
        if let Some(message) = fields.message.as_ref().or(fields.reason.as_ref()) {
            more.insert("message".to_owned(), json!(message));
        }
        Ok(Some(event))
    }

    fn start(&mut self, record: &Record) -> Result<Start, JournalError> {
        let Some(session) = record.fields.session else {
            return Ok(Start::default());
        };
        if let Some(start) = self.starts.get(&session) {
            return Ok(start.clone());
        }
        let filter = LogFilter {
            session: Some(session),
            kind: Some(Kind::SessionStart),
            limit: 1,
            ..LogFilter::default()
        };
        let found = self.reader.query(&filter)?.records.pop();
        let start = found.map_or_else(Start::default, |record| Start {
            source: record.fields.source,
            database: record.fields.database,
            principal: record.fields.principal,
            application_name: record.fields.application_name,
        });
        if self.starts.len() == SESSIONS_MAX {
            self.starts.clear();
        }
        self.starts.insert(session, start.clone());
        Ok(start)
    }
}

fn meaning(record: &Record) -> Option<Meaning> {
    let fields = &record.fields;
    let known = |word: &Option<String>| word.as_deref().unwrap_or_default().to_owned();
    match record.kind {
        Kind::Attempt => {
            let (severity, control) = match &known(&fields.verdict)[..] {
                "allow" => (INFORMATIONAL, ALLOWED),
                "hold" => (MEDIUM, DELAYED),
                _deny => (MEDIUM, BLOCKED),
            };
            Some(Meaning {
                activity: activity(&known(&fields.class)),
                status: 0,
                severity,
                control: Some(control),
            })
        }
        Kind::Outcome => Some(Meaning {
            activity: (99, "Other"),
            status: match &known(&fields.outcome)[..] {
                "ran" => 1,
                "unknown" => 0,
                _not_run => 2,
            },
            severity: INFORMATIONAL,
            control: None,
        }),
        Kind::Decision => Some(Meaning {
            activity: (99, "Other"),
            status: 1,
            severity: INFORMATIONAL,
            control: Some(match &known(&fields.decision)[..] {
                "approve" => APPROVED,
                _deny => REJECTED,
            }),
        }),
        Kind::SessionStart => Some(Meaning {
            activity: (3, "Connect"),
            status: 1,
            severity: INFORMATIONAL,
            control: None,
        }),
        Kind::Login if fields.success == Some(false) => Some(Meaning {
            activity: (3, "Connect"),
            status: 2,
            severity: MEDIUM,
            control: Some(BLOCKED),
        }),
        _elsewhere => None,
    }
}

/// The activity of a class of statement. A schema change may create, alter or drop: it is `Other`, and `unmapped` has
/// its class.
fn activity(class: &str) -> (u32, &'static str) {
    match class {
        "read" => (4, "Query"),
        "export" => (1, "Read"),
        "write" => (2, "Update"),
        _other => (99, "Other"),
    }
}

fn actor(user: Option<String>, session: Option<SessionId>, application: Option<String>) -> Value {
    let mut actor = Map::new();
    let name = user.or_else(|| session.is_none().then(|| "unknown".to_owned()));
    if let Some(name) = name {
        actor.insert("user".to_owned(), json!({ "name": name }));
    }
    if let Some(session) = session {
        actor.insert("session".to_owned(), json!({ "uid": session.to_string() }));
    }
    if let Some(application) = application {
        actor.insert("app_name".to_owned(), json!(application));
    }
    Value::Object(actor)
}

fn source(address: Option<String>, channel: Option<&str>) -> Value {
    match (address, channel) {
        (Some(address), _) => json!({ "ip": address }),
        (None, Some(channel)) => json!({ "svc_name": channel }),
        (None, None) => json!({ "name": "unknown" }),
    }
}

/// The record as it is, without its statement, which stands in `query_info`.
fn unmapped(record: &Record) -> Value {
    let mut shown = serde_json::to_value(record).expect("a record is a map with text keys");
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("text");
    }
    shown
}
