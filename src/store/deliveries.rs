//! What people's channels have still to be told: queued with the change that made it true, taken away once delivered.
//! Never sends anything: `notify` does, through the desk. Read `outbox.rs` for the queue that feeds the log.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::clock::Timestamp;
use crate::store::outbox::Note;
use crate::store::sqlite::{Store, StoreError};

/// Deliveries that one endpoint may have waiting; what comes on top is counted, logged and not kept.
pub const QUEUE_MAX: i64 = 10_000;

/// Of those, about the statements of one principal: one agent's flood leaves room for what others do.
pub const SHARE_MAX: i64 = QUEUE_MAX / 4;

/// Deliveries of one endpoint that are kept after they were given up, for a replay; beyond it the oldest go.
pub const GIVEN_UP_MAX: i64 = 10_000;

/// While an earlier delivery of the same request has been tried less often, a later one waits for it: a few minutes.
/// Then it overtakes: an endpoint that cannot read one event should still learn the next.
const TRIES_IN_ORDER: i64 = 3;

/// The log has a new checkpoint. It comes by itself, so `*` does not mean it.
pub const CHECKPOINT_EVENT: &str = "log.checkpoint";

/// Moves that nobody needs to hear of: they follow from others, or a person has made them at this very endpoint.
const UNTOLD: [&str; 6] = [
    "reattached",
    "started",
    "granted",
    "redeemed",
    "viewed",
    "revealed",
];

/// One message for one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub id: DeliveryId,
    /// The same at every try.
    pub message: String,
    /// `request.held`, `grant.made` …
    pub kind: String,
    pub request: Option<String>,
    pub grant: Option<String>,
    /// Of the request when it happened, or what became of the grant.
    pub state: String,
    pub detail: String,
    pub at: Timestamp,
    /// Tries so far.
    pub tries: u32,
}

impl Delivery {
    /// One that no queue holds: for trying a channel.
    pub fn unqueued(kind: &str, at: Timestamp) -> Self {
        Self {
            id: DeliveryId(0),
            message: format!("msg_{:032x}", rand::random::<u128>()),
            kind: kind.to_owned(),
            request: None,
            grant: None,
            state: String::new(),
            detail: String::new(),
            at,
            tries: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryId(i64);

/// An endpoint as the settings name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub name: String,
    /// `request.held`, `request.*` or `*`.
    pub events: Vec<String>,
}

/// How an endpoint fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointReport {
    pub name: String,
    pub disabled_at: Option<Timestamp>,
    pub delivered_at: Option<Timestamp>,
    /// What went wrong last, if that is newer than the last delivery.
    pub last_error: Option<(Timestamp, String)>,
    pub waiting: u64,
    pub failed: u64,
    /// Events that found its queue full.
    pub dropped: u64,
}

/// Something to tell that is no note of the log.
#[derive(Clone, Debug)]
pub struct Happening<'a> {
    pub kind: &'a str,
    pub state: &'a str,
    pub detail: &'a str,
}

impl Store {
    /// Takes over the endpoints of the settings. Others keep what waits for them and are told nothing new.
    pub fn set_endpoints(&mut self, endpoints: &[Endpoint]) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.execute("UPDATE endpoints SET is_configured = 0", [])?;
            for endpoint in endpoints {
                let events = serde_json::to_string(&endpoint.events).map_err(StoreError::damaged)?;
                transaction.execute(
                    "INSERT INTO endpoints (name, is_configured, events) VALUES (?1, 1, ?2)
                     ON CONFLICT (name) DO UPDATE SET is_configured = 1, events = ?2",
                    params![endpoint.name, events],
                )?;
            }
            Ok(())
        })
    }

    /// What is due now: principals take turns, and of each it is in the order in which it happened. None for an endpoint
    /// that was disabled.
    pub fn due_deliveries(
        &mut self,
        endpoint: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT seq, message, kind, request, standing_grant, state, detail, at, tries FROM deliveries AS later
                 WHERE endpoint = ?1 AND failed_at IS NULL AND due <= ?2
                   AND EXISTS (SELECT 1 FROM endpoints WHERE name = ?1 AND disabled_at IS NULL)
                   AND NOT EXISTS (
                     SELECT 1 FROM deliveries AS earlier
                     WHERE earlier.endpoint = ?1 AND earlier.request = later.request AND earlier.seq < later.seq
                       AND earlier.failed_at IS NULL AND earlier.due > ?2 AND earlier.tries < ?3)
                 ORDER BY turn, seq LIMIT ?4",
            )?;
            let mut rows = statement.query(params![endpoint, now.micros(), TRIES_IN_ORDER, limit])?;
            let mut due = Vec::new();
            while let Some(row) = rows.next()? {
                due.push(delivery(row)?);
            }
            Ok(due)
        })
    }

    /// Takes it away: the endpoint has it, or does not want it.
    pub fn settle_delivery(
        &mut self,
        id: DeliveryId,
        delivered: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            if let Some(at) = delivered {
                transaction.execute(
                    "UPDATE endpoints SET delivered_at = ?2, last_error = NULL, last_error_at = NULL
                     WHERE name = (SELECT endpoint FROM deliveries WHERE seq = ?1)",
                    params![id.0, at.micros()],
                )?;
            }
            transaction.execute("DELETE FROM deliveries WHERE seq = ?1", [id.0])?;
            Ok(())
        })
    }

    /// Counts a try that failed. `next`: when to try again; `None`: never.
    pub fn put_off_delivery(
        &mut self,
        id: DeliveryId,
        next: Option<Timestamp>,
        why: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE endpoints SET last_error = ?2, last_error_at = ?3
                 WHERE name = (SELECT endpoint FROM deliveries WHERE seq = ?1)",
                params![id.0, why, now.micros()],
            )?;
            let failed = next.is_none().then(|| now.micros());
            transaction.execute(
                "UPDATE deliveries SET tries = tries + 1, due = ?2, failed_at = ?3 WHERE seq = ?1",
                params![id.0, next.unwrap_or(now).micros(), failed],
            )?;
            if failed.is_some() {
                let too_many = "DELETE FROM deliveries WHERE seq IN
                                  (SELECT seq FROM deliveries
                                   WHERE failed_at IS NOT NULL
                                     AND endpoint = (SELECT endpoint FROM deliveries WHERE seq = ?1)
                                   ORDER BY failed_at DESC, seq DESC LIMIT -1 OFFSET ?2)";
                transaction.execute(too_many, params![id.0, GIVEN_UP_MAX])?;
            }
            Ok(())
        })
    }

    /// Nothing more is sent to it. Whether it was in use until now.
    pub fn disable_endpoint(&mut self, name: &str, now: Timestamp) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let changed = transaction.execute(
                "UPDATE endpoints SET disabled_at = ?2 WHERE name = ?1 AND disabled_at IS NULL",
                params![name, now.micros()],
            )?;
            Ok(changed > 0)
        })
    }

    /// Puts it in use again and makes all due that waits or was given up; how many that is. `None`: no such endpoint.
    pub fn replay_endpoint(&mut self, name: &str, now: Timestamp) -> Result<Option<u64>, StoreError> {
        self.write(|transaction| {
            let changed =
                transaction.execute("UPDATE endpoints SET disabled_at = NULL WHERE name = ?1", [name])?;
            if changed == 0 {
                return Ok(None);
            }
            let due = transaction.execute(
                "UPDATE deliveries SET tries = 0, due = ?2, failed_at = NULL WHERE endpoint = ?1",
                params![name, now.micros()],
            )?;
            Ok(Some(due as u64))
        })
    }

    /// The endpoints of the settings, by name.
    pub fn endpoint_reports(&mut self) -> Result<Vec<EndpointReport>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT name, disabled_at, delivered_at, last_error_at, last_error, dropped,
                   (SELECT count(*) FROM deliveries WHERE endpoint = name AND failed_at IS NULL),
                   (SELECT count(*) FROM deliveries WHERE endpoint = name AND failed_at IS NOT NULL)
                 FROM endpoints WHERE is_configured = 1 ORDER BY name",
            )?;
            let mut rows = statement.query([])?;
            let mut reports = Vec::new();
            while let Some(row) = rows.next()? {
                let time = |micros: Option<i64>| micros.map(Timestamp::from_micros);
                let error: Option<String> = row.get(4)?;
                reports.push(EndpointReport {
                    name: row.get(0)?,
                    disabled_at: time(row.get(1)?),
                    delivered_at: time(row.get(2)?),
                    last_error: time(row.get(3)?).zip(error),
                    dropped: count(row, 5)?,
                    waiting: count(row, 6)?,
                    failed: count(row, 7)?,
                });
            }
            Ok(reports)
        })
    }

    /// How many events have found an endpoint's queue full since this was asked last.
    pub fn newly_dropped(&mut self, name: &str) -> Result<u64, StoreError> {
        let find = "SELECT dropped - dropped_told FROM endpoints WHERE name = ?1 AND dropped > dropped_told";
        let is_new = self.read(|connection| {
            let mut statement = connection.prepare_cached(find)?;
            Ok(statement.exists([name])?)
        })?;
        if !is_new {
            return Ok(0);
        }
        self.write(|transaction| {
            let new: Option<i64> = transaction.query_row(find, [name], |row| row.get(0)).optional()?;
            transaction.execute(
                "UPDATE endpoints SET dropped_told = dropped WHERE name = ?1",
                [name],
            )?;
            Ok(u64::try_from(new.unwrap_or(0)).unwrap_or(0))
        })
    }

    /// Queues something that has no request.
    pub fn tell_endpoints(&mut self, happening: &Happening<'_>, now: Timestamp) -> Result<(), StoreError> {
        self.write(|transaction| {
            let told = Told {
                kind: happening.kind.to_owned(),
                request: None,
                grant: None,
                state: happening.state.to_owned(),
                detail: happening.detail.to_owned(),
            };
            queue_one(transaction, &told, now)
        })
    }
}

struct Told {
    kind: String,
    request: Option<String>,
    grant: Option<String>,
    /// Empty: that of the request.
    state: String,
    detail: String,
}

/// What people are told of a note of the log.
fn told_of(note: &Note) -> Vec<Told> {
    let told = told_first(note);
    // Whoever closes cards by `request.decided` gets that, too.
    let broken = match note {
        Note::Decision {
            request,
            by,
            breaks_glass: true,
            ..
        } => Some(Told {
            kind: "request.break_glass".to_owned(),
            request: Some(request.clone()),
            grant: None,
            state: String::new(),
            detail: format!("by {by}"),
        }),
        _other => None,
    };
    told.into_iter().chain(broken).collect()
}

fn told_first(note: &Note) -> Option<Told> {
    match note {
        Note::Event {
            request,
            event,
            detail,
            ..
        } if !UNTOLD.contains(&event.as_str()) => Some(Told {
            kind: format!("request.{event}"),
            request: Some(request.clone()),
            grant: None,
            state: String::new(),
            detail: detail.clone(),
        }),
        Note::Decision {
            request,
            approves,
            by,
            ..
        } => Some(Told {
            kind: "request.decided".to_owned(),
            request: Some(request.clone()),
            grant: None,
            state: String::new(),
            detail: format!("{} by {by}", if *approves { "approve" } else { "deny" }),
        }),
        Note::Grant {
            grant,
            request,
            event,
            by,
            ..
        } if event != "used" => Some(Told {
            kind: format!("grant.{event}"),
            request: Some(request.clone()),
            grant: Some(grant.clone()),
            state: event.clone(),
            detail: by.clone().unwrap_or_default(),
        }),
        _other => None,
    }
}

/// Queues what people are to be told, in the transaction that makes it true.
pub(super) fn queue(transaction: &Connection, notes: &[Note], at: Timestamp) -> Result<(), StoreError> {
    for told in notes.iter().flat_map(told_of) {
        queue_one(transaction, &told, at)?;
    }
    Ok(())
}

fn queue_one(transaction: &Connection, told: &Told, at: Timestamp) -> Result<(), StoreError> {
    let find = "SELECT name, events FROM endpoints WHERE is_configured = 1";
    let mut statement = transaction.prepare_cached(find)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, events): (String, String) = (row.get(0)?, row.get(1)?);
        let events: Vec<String> = serde_json::from_str(&events).map_err(StoreError::damaged)?;
        if events.iter().any(|pattern| is_meant(pattern, &told.kind)) {
            queue_for(transaction, &name, told, at)?;
        }
    }
    Ok(())
}

/// Whether a word of the settings, `request.held`, `request.*` or `*`, means a kind of event.
pub fn is_meant(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some("") => kind != CHECKPOINT_EVENT,
        Some(start) => kind.starts_with(start),
        None => pattern == kind,
    }
}

fn queue_for(transaction: &Connection, endpoint: &str, told: &Told, at: Timestamp) -> Result<(), StoreError> {
    let principal = principal_of(transaction, told)?;
    let whole = "SELECT count(*) FROM deliveries WHERE endpoint = ?1 AND failed_at IS NULL";
    let share =
        "SELECT count(*) FROM deliveries WHERE endpoint = ?1 AND principal = ?2 AND failed_at IS NULL";
    let waiting: i64 = transaction
        .prepare_cached(whole)?
        .query_row([endpoint], |row| row.get(0))?;
    let of_it: i64 = transaction
        .prepare_cached(share)?
        .query_row([endpoint, &principal], |row| row.get(0))?;
    if waiting >= QUEUE_MAX || of_it >= SHARE_MAX {
        transaction.execute(
            "UPDATE endpoints SET dropped = dropped + 1 WHERE name = ?1",
            [endpoint],
        )?;
        return Ok(());
    }
    // The turn behind its principal's last one, and none that is over.
    let mut statement = transaction.prepare_cached(
        "INSERT INTO deliveries
           (endpoint, message, kind, request, state, standing_grant, detail, at, due, principal, turn)
         VALUES (?1, 'msg_' || lower(hex(randomblob(16))), ?2, ?3,
                 coalesce(nullif(?4, ''), (SELECT state FROM requests WHERE id = ?3), ''), ?5, ?6, ?7, ?7, ?8,
                 max(coalesce((SELECT min(turn) FROM deliveries WHERE endpoint = ?1 AND failed_at IS NULL), 0),
                     coalesce((SELECT max(turn) + 1 FROM deliveries
                               WHERE endpoint = ?1 AND principal = ?8 AND failed_at IS NULL), 0)))",
    )?;
    statement.execute(params![
        endpoint,
        told.kind,
        told.request,
        told.state,
        told.grant,
        told.detail,
        at.micros(),
        principal
    ])?;
    Ok(())
}

/// Whose statement it is about; empty: nobody's.
fn principal_of(transaction: &Connection, told: &Told) -> Result<String, StoreError> {
    let Some(request) = &told.request else {
        return Ok(String::new());
    };
    let mut statement = transaction.prepare_cached("SELECT principal FROM requests WHERE id = ?1")?;
    let found: Option<String> = statement.query_row([request], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or_default())
}

fn delivery(row: &Row<'_>) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        id: DeliveryId(row.get(0)?),
        message: row.get(1)?,
        kind: row.get(2)?,
        request: row.get(3)?,
        grant: row.get(4)?,
        state: row.get(5)?,
        detail: row.get(6)?,
        at: Timestamp::from_micros(row.get(7)?),
        tries: row.get(8)?,
    })
}

fn count(row: &Row<'_>, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.get(column)?;
    Ok(u64::try_from(number).unwrap_or(0))
}
