//! The records of a bundle, sorted: in a database of SQLite's own that is on disk where it does not fit into a little
//! memory, and gone with the process. Never keeps a record's bytes, and of statements only what the tables show.
//! Read `tables.rs` next, which asks it.

use std::collections::BTreeMap;

use rusqlite::{Connection, ToSql, params, params_from_iter};
use serde_json::Value;

use super::bundle::{Leaf, hex, is_privileged};
use crate::audit::entry::text_sha256;
use crate::audit::{Kind, Record};
use crate::clock::Timestamp;
use crate::journal::tree::tells_loss;

/// Of a statement that a table shows: enough to know it again; it is whole in the records.
const STATEMENT_CHARS_MAX: usize = 1_000;
/// What SQLite keeps in memory of it, in KiB.
const CACHE_KIB: i64 = 16 << 10;

/// Statements that SQLite keeps prepared: more than there are here.
const STATEMENTS_MAX: usize = 32;

const SCHEMA: &str = "
CREATE TABLE attempt (
    leaf INTEGER PRIMARY KEY, id TEXT, time TEXT, micros INTEGER, session TEXT, number INTEGER, principal TEXT,
    database TEXT, database_user TEXT, class TEXT, verdict TEXT, rule TEXT, tables TEXT, fingerprint TEXT,
    text_sha256 TEXT, statement TEXT, request TEXT, grant_id TEXT, decided_in TEXT);
CREATE INDEX attempt_of ON attempt (session, number);
CREATE INDEX attempt_for ON attempt (request);
CREATE TABLE outcome (
    session TEXT, number INTEGER, time TEXT, outcome TEXT, rows INTEGER, sqlstate TEXT, message TEXT,
    PRIMARY KEY (session, number)) WITHOUT ROWID;
CREATE TABLE session (session TEXT PRIMARY KEY, owner TEXT, source TEXT) WITHOUT ROWID;
CREATE TABLE decision (
    leaf INTEGER PRIMARY KEY, id TEXT, time TEXT, micros INTEGER, request TEXT, decision TEXT, approver TEXT,
    reason TEXT, channel TEXT, assurance TEXT, scope TEXT, event TEXT);
CREATE INDEX decision_of ON decision (request);
CREATE TABLE event (
    leaf INTEGER PRIMARY KEY, id TEXT, time TEXT, micros INTEGER, request TEXT, event TEXT, by TEXT, detail TEXT);
CREATE INDEX event_of ON event (request);
CREATE TABLE ended (request TEXT PRIMARY KEY, outcome TEXT) WITHOUT ROWID;
CREATE TABLE granted (
    leaf INTEGER PRIMARY KEY, id TEXT, time TEXT, micros INTEGER, grant_id TEXT, request TEXT, decided_in TEXT,
    event TEXT, by TEXT, detail TEXT);
CREATE TABLE sign_in (
    leaf INTEGER PRIMARY KEY, id TEXT, time TEXT, micros INTEGER, person TEXT, source TEXT, method TEXT, reason TEXT);
CREATE TABLE person (
    leaf INTEGER PRIMARY KEY, id TEXT, time TEXT, micros INTEGER, name TEXT, change TEXT, by TEXT, roles TEXT,
    groups TEXT, active TEXT);
CREATE TABLE rules (
    leaf INTEGER PRIMARY KEY, id TEXT, time TEXT, micros INTEGER, change TEXT, file TEXT, digest TEXT, by TEXT,
    detail TEXT);
CREATE TABLE rules_text (digest TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID;
CREATE TABLE look (leaf INTEGER PRIMARY KEY, id TEXT, time TEXT, micros INTEGER, by TEXT, query TEXT);
CREATE TABLE erasure (
    leaf INTEGER PRIMARY KEY, id TEXT, time TEXT, micros INTEGER, by TEXT, record TEXT, reason TEXT);
CREATE TABLE pruning (leaf INTEGER PRIMARY KEY, id TEXT, time TEXT, micros INTEGER, by TEXT, detail TEXT);
CREATE TABLE boot (leaf INTEGER PRIMARY KEY, id TEXT, time TEXT, micros INTEGER, detail TEXT);
";

/// What is known of a person from the records so far.
#[derive(Clone, Default)]
struct Standing {
    roles: String,
    groups: String,
    active: bool,
}

/// Takes records in the order of the tree, those from before the period first.
pub struct Stage {
    pub(super) database: Connection,
    people: BTreeMap<String, Standing>,
    /// Privileged statements within the period.
    pub statements: u64,
    from: Timestamp,
    to: Timestamp,
}

impl Stage {
    pub fn open(from: Timestamp, to: Timestamp) -> rusqlite::Result<Self> {
        // An empty name: a file that SQLite makes and removes itself, used once the cache is full.
        let database = Connection::open("")?;
        database.pragma_update(None, "cache_size", -CACHE_KIB)?;
        database.pragma_update(None, "temp_store", "FILE")?;
        database.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
        database.execute_batch(SCHEMA)?;
        database.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        database.execute_batch("BEGIN")?;
        Ok(Self {
            database,
            people: BTreeMap::new(),
            statements: 0,
            from,
            to,
        })
    }

    pub fn take(&mut self, leaf: &Leaf) -> rusqlite::Result<()> {
        let record = &leaf.record;
        match record.kind {
            Kind::Attempt if is_privileged(record) => self.attempt(leaf),
            Kind::Outcome => self.outcome(leaf),
            Kind::SessionStart => self.session(record),
            Kind::Decision => self.decision(leaf),
            Kind::RequestEvent => self.event(leaf),
            Kind::TransactionEnd => self.transaction(record),
            Kind::StandingGrant => self.grant(leaf),
            Kind::SignIn if record.fields.success == Some(false) => self.turned_away(leaf),
            Kind::PeopleChange => self.person(leaf),
            Kind::RulesChange => self.rules(leaf),
            Kind::LogQuery => self.look(leaf),
            Kind::ValuesErased => self.erasure(leaf),
            Kind::Pruned => self.pruning(leaf),
            Kind::Boot => self.boot(leaf),
            Kind::Attempt
            | Kind::SessionEnd
            | Kind::Login
            | Kind::SignIn
            | Kind::Text
            | Kind::CertificatesChange
            | Kind::Values
            | Kind::Notification => Ok(()),
        }
    }

    /// A row of a table that begins with what every record has: leaf, id and time.
    fn put(&self, table: &str, leaf: &Leaf, said: &[&dyn ToSql]) -> rusqlite::Result<()> {
        let text = format!(
            "INSERT OR REPLACE INTO {table} VALUES (?,?,?,?{})",
            ",?".repeat(said.len())
        );
        let time = leaf.record.time;
        let (place, id) = (as_stored(leaf.leaf), leaf.id.to_string());
        let head: [&dyn ToSql; 4] = [&place, &id, &time.to_string(), &time.micros()];
        let values = params_from_iter(head.into_iter().chain(said.iter().copied()));
        self.database.prepare_cached(&text)?.execute(values)?;
        Ok(())
    }

    fn attempt(&mut self, leaf: &Leaf) -> rusqlite::Result<()> {
        let record = &leaf.record;
        let fields = &record.fields;
        let Some(attempt) = fields.attempt else {
            return Ok(());
        };
        let said: [&dyn ToSql; 15] = [
            &attempt.session.to_string(),
            &as_stored(attempt.number),
            &fields.principal,
            &fields.database,
            &fields.database_user,
            &fields.class,
            &fields.verdict,
            &fields.rule,
            &fields.tables.join(","),
            &fields.fingerprint.as_ref().map(|hash| hex(hash)),
            &fields.text_sha256.as_ref().map(|hash| hex(hash)),
            &fields.text.as_deref().map(beginning),
            &fields.request,
            &fields.grant,
            &fields.decided_in,
        ];
        self.put("attempt", leaf, &said)?;
        self.statements += u64::from(record.time >= self.from && record.time < self.to);
        Ok(())
    }

    /// Of a statement that waited, its result may stand before it; of any other it stands behind, in the same lane.
    fn outcome(&self, leaf: &Leaf) -> rusqlite::Result<()> {
        let record = &leaf.record;
        let fields = &record.fields;
        let Some(attempt) = fields.attempt else {
            return Ok(());
        };
        let (session, number) = (attempt.session.to_string(), as_stored(attempt.number));
        let text = "INSERT OR IGNORE INTO outcome SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 \
                    WHERE ?8 IS NOT NULL OR EXISTS (SELECT 1 FROM attempt WHERE session = ?1 AND number = ?2)";
        self.database.prepare_cached(text)?.execute(params![
            session,
            number,
            record.time.to_string(),
            fields.outcome,
            fields.rows.map(as_stored),
            fields.sqlstate,
            fields.message,
            fields.request,
        ])?;
        Ok(())
    }

    fn session(&self, record: &Record) -> rusqlite::Result<()> {
        let fields = &record.fields;
        let text = "INSERT OR IGNORE INTO session VALUES (?,?,?)";
        let session = fields.session.map(|session| session.to_string());
        self.database
            .prepare_cached(text)?
            .execute(params![session, fields.owner, fields.source])?;
        Ok(())
    }

    fn decision(&self, leaf: &Leaf) -> rusqlite::Result<()> {
        let fields = &leaf.record.fields;
        let said: [&dyn ToSql; 8] = [
            &fields.request,
            &fields.decision,
            &fields.approver,
            &fields.reason,
            &fields.channel,
            &assurance(&leaf.record),
            &fields.detail,
            &fields.event,
        ];
        self.put("decision", leaf, &said)
    }

    fn event(&self, leaf: &Leaf) -> rusqlite::Result<()> {
        let fields = &leaf.record.fields;
        let said: [&dyn ToSql; 4] = [&fields.request, &fields.event, &fields.by, &fields.detail];
        self.put("event", leaf, &said)
    }

    fn transaction(&self, record: &Record) -> rusqlite::Result<()> {
        let text = "INSERT OR REPLACE INTO ended VALUES (?,?)";
        let mut statement = self.database.prepare_cached(text)?;
        for request in &record.fields.requests {
            statement.execute(params![request, record.fields.outcome])?;
        }
        Ok(())
    }

    fn grant(&self, leaf: &Leaf) -> rusqlite::Result<()> {
        let fields = &leaf.record.fields;
        let said: [&dyn ToSql; 6] = [
            &fields.grant,
            &fields.request,
            &fields.decided_in,
            &fields.event,
            &fields.by,
            &fields.detail,
        ];
        self.put("granted", leaf, &said)
    }

    fn turned_away(&self, leaf: &Leaf) -> rusqlite::Result<()> {
        let fields = &leaf.record.fields;
        let said: [&dyn ToSql; 4] = [&fields.name, &fields.source, &fields.method, &fields.reason];
        self.put("sign_in", leaf, &said)
    }

    /// Only what changes what a person may do; roles and groups stay where a change does not name them.
    fn person(&mut self, leaf: &Leaf) -> rusqlite::Result<()> {
        let fields = &leaf.record.fields;
        let (Some(name), Some(change)) = (&fields.name, &fields.change) else {
            return Ok(());
        };
        let standing = self.people.entry(name.clone()).or_default();
        match change.as_str() {
            "person_added" | "person_changed" => {
                if let Some((roles, groups)) = after(fields.detail.as_deref()) {
                    (standing.roles, standing.groups) = (roles, groups);
                }
                standing.active |= change == "person_added";
            }
            "person_activated" => standing.active = true,
            "person_deactivated" => standing.active = false,
            _no_change_of_standing => return Ok(()),
        }
        let standing = standing.clone();
        let said: [&dyn ToSql; 6] = [
            &name,
            &change,
            &fields.by,
            &standing.roles,
            &standing.groups,
            &if standing.active { "yes" } else { "no" },
        ];
        self.put("person", leaf, &said)
    }

    fn rules(&self, leaf: &Leaf) -> rusqlite::Result<()> {
        let fields = &leaf.record.fields;
        let digest = fields.generation.as_ref().map(|hash| hex(hash));
        let of_rules = fields.rules_text.as_ref();
        let is_theirs = |rules: &&String| Some(hex(&text_sha256(rules.as_bytes()))) == digest;
        if let Some(rules) = of_rules.filter(is_theirs) {
            let text = "INSERT OR IGNORE INTO rules_text VALUES (?,?)";
            self.database
                .prepare_cached(text)?
                .execute(params![digest, rules])?;
        }
        let said: [&dyn ToSql; 5] = [&fields.change, &fields.file, &digest, &fields.by, &fields.detail];
        self.put("rules", leaf, &said)
    }

    fn look(&self, leaf: &Leaf) -> rusqlite::Result<()> {
        let fields = &leaf.record.fields;
        let said: [&dyn ToSql; 2] = [&fields.by, &fields.query];
        self.put("look", leaf, &said)
    }

    fn erasure(&self, leaf: &Leaf) -> rusqlite::Result<()> {
        let fields = &leaf.record.fields;
        let said: [&dyn ToSql; 3] = [&fields.by, &fields.name, &fields.reason];
        self.put("erasure", leaf, &said)
    }

    /// Whoever looks for what is older has to know that it is gone.
    fn pruning(&self, leaf: &Leaf) -> rusqlite::Result<()> {
        let fields = &leaf.record.fields;
        let time = |time: Option<Timestamp>| time.map_or_else(String::new, |time| time.to_string());
        let detail = format!(
            "{} records from {} to {}, under retention {}; their roots are kept",
            fields.pruned.unwrap_or(0),
            time(fields.oldest),
            time(fields.newest),
            fields.retention.as_deref().unwrap_or_default()
        );
        let text = "INSERT INTO pruning VALUES (?,?,?,?,?,?)";
        self.database.prepare_cached(text)?.execute(params![
            as_stored(leaf.leaf),
            leaf.id.to_string(),
            leaf.record.time.to_string(),
            leaf.record.time.micros(),
            fields.by,
            detail,
        ])?;
        Ok(())
    }

    /// Only a start that says that something is gone.
    fn boot(&self, leaf: &Leaf) -> rusqlite::Result<()> {
        let fields = &leaf.record.fields;
        let loss = fields.detail.iter().filter(|detail| tells_loss(detail));
        let mut gone: Vec<String> = loss.cloned().collect();
        for position in &fields.positions {
            if position.found < position.durable {
                let (found, durable) = (position.found, position.durable);
                gone.push(format!("lane {}: {found} records of {durable}", position.lane));
            }
            if position.cut > 0 {
                gone.push(format!(
                    "lane {}: a torn end of {} bytes",
                    position.lane, position.cut
                ));
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let said: [&dyn ToSql; 1] = [&gone.join("; ")];
        self.put("boot", leaf, &said)
    }

    /// Sessions of statements of which no record here says whose they are.
    pub fn sessions_unknown(&self, count_max: usize) -> rusqlite::Result<Vec<String>> {
        let text = "SELECT DISTINCT session FROM attempt WHERE session NOT IN (SELECT session FROM session) \
                    ORDER BY session LIMIT ?";
        let mut statement = self.database.prepare(text)?;
        let rows = statement.query_map([count_max as i64], |row| row.get(0))?;
        rows.collect()
    }
}

/// How an approver had signed in, and how fresh their second factor was. `None`: the record does not say.
fn assurance(record: &Record) -> Option<String> {
    let method = record.fields.method.as_deref()?;
    Some(match record.fields.second_factor_at {
        Some(at) => format!(
            "{method}, second factor {} s before",
            record.time.since(at).as_secs()
        ),
        None => method.to_owned(),
    })
}

/// SQLite's integers are signed; the numbers of statements count from 0 and do not come near.
fn as_stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The first letters of a statement, and where it goes on.
fn beginning(text: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(text) else {
        return format!("\\x{}", hex(&text[..text.len().min(STATEMENT_CHARS_MAX / 2)]));
    };
    match text.char_indices().nth(STATEMENT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Roles and groups behind a change, as words with commas between them.
fn after(detail: Option<&str>) -> Option<(String, String)> {
    let detail: Value = serde_json::from_str(detail?).ok()?;
    let words = |of: &str| {
        let words = detail[of]["after"].as_array()?.iter().filter_map(Value::as_str);
        Some(words.collect::<Vec<_>>().join(","))
    };
    Some((words("roles")?, words("groups")?))
}
