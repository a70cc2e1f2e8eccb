//! The questions about one statement: what its names stand for, what is known of those, and the server's plan.
//! Never sends a plan's question that could run anybody's code, and never one that is not in the log first.
//! Read `facts.rs` next.

use std::sync::Arc;

use crate::audit::entry::{OutcomeKind, ParameterRecord};
use crate::catalog::impact::{Impact, Status};
use crate::catalog::plan::{self, Explainable};
use crate::desk::Desk;
use crate::policy::Redaction;
use crate::proxy::attempts::parameter_record;
use crate::proxy::impact::record::{Answered, Asking, Recorder};
use crate::proxy::impact::{self, NOT_SAID};
use crate::proxy::postgres::Side;
use crate::proxy::postgres::facts::{IDENTITY, Names, array, identity_values};
use crate::proxy::postgres::impact::Job;
use crate::proxy::postgres::impact::connection::{Connection, NoAnswer, Question};
use crate::proxy::postgres::impact::facts::{Facts, Size, kind_of};
use crate::sql::action::{Action, TableName};
use crate::sql::lock::{self, Locks, Mode};
use crate::wire::postgres::message::Bind;

const RESOLVE: &str = include_str!("resolve.sql");
const FACTS: &str = include_str!("facts.sql");
const SIZES: &str = include_str!("sizes.sql");

/// Statements of one message whose tables are looked up.
const STATEMENTS_MAX: usize = 8;

/// Objects below it were made by initdb. Source: PostgreSQL source, access/transam.h, FirstNormalObjectId
const FIRST_NORMAL_OID: u32 = 16_384;

/// What all looks of a process share.
pub struct Looker {
    side: Arc<Side>,
    recorder: Recorder,
}

impl impact::Look for Looker {
    type Job = Job;

    fn desk(&self) -> &Desk {
        &self.recorder.shared().desk
    }

    async fn look(&self, job: &Job, impact: &mut Impact) {
        let locks = lock::locks(&job.text, &job.judgement);
        impact.set_locks(&locks);
        if let Some(catalog) = &job.catalog {
            let tables = job.judgement.actions.iter().flat_map(|action| &action.tables);
            impact.count_by(&**catalog, tables);
        }
        if let Err(why) = self.ask_all(job, &locks, impact).await {
            impact.give_up(&why);
        }
        impact.status = Status::Done;
    }
}

impl Looker {
    pub fn new(side: Arc<Side>, recorder: Recorder) -> Self {
        Self { side, recorder }
    }

    async fn ask_all(&self, job: &Job, locks: &Locks, impact: &mut Impact) -> Result<(), String> {
        let user = &job.peer.database_user;
        if !self.side.dialler.knows(user) {
            return Err("the agent logs in with its own password, which is not kept".to_owned());
        }
        if job.is_another_user {
            return Err("the session acts as another user than it logged in as".to_owned());
        }
        let explainable = self.explainable(job);
        let dialler = &self.side.dialler;
        let connection = Connection::open(dialler, user, &job.peer.database).await;
        let mut connection = connection.map_err(|error| format!("the server cannot be asked: {error}"))?;
        let asked = self
            .ask_on(&mut connection, job, locks, explainable, impact)
            .await;
        connection.close().await;
        asked
    }

    async fn ask_on(
        &self,
        connection: &mut Connection,
        job: &Job,
        locks: &Locks,
        explainable: Result<Explainable, String>,
        impact: &mut Impact,
    ) -> Result<(), String> {
        let words = |error: NoAnswer| error.to_string();
        see_as(connection, job).await.map_err(words)?;
        let names = Names::of(&job.judgement);
        let values = identity_values(&names);
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let identity = connection.ask(&Question::new(IDENTITY, &values)).await;
        if identity.map_err(words)?.unwrap_or_default() != job.names {
            let why =
                "its names mean something else there: temporary tables, or changes that are not committed";
            return Err(why.to_owned());
        }
        let mut wanted = Vec::new();
        for action in job.judgement.actions.iter().take(STATEMENTS_MAX) {
            let named = resolve(connection, action.tables.iter()).await.map_err(words)?;
            let changed = changed_tables(action, locks);
            let changed = resolve(connection, changed.iter().copied())
                .await
                .map_err(words)?;
            wanted.push((action, named, changed));
        }
        connection
            .command("SET LOCAL search_path = pg_catalog")
            .await
            .map_err(words)?;
        let mut known = Vec::new();
        for (action, named, changed) in &wanted {
            known.push(
                facts_of(connection, action, named, changed)
                    .await
                    .map_err(words)?,
            );
        }
        impact.tables.clear();
        known
            .into_iter()
            .for_each(|(facts, kind)| facts.add_to(impact, kind));
        if job.judgement.actions.len() > STATEMENTS_MAX {
            impact.not_read = Some(format!(
                "only the first {STATEMENTS_MAX} statements are looked up"
            ));
        }
        match self.estimate(connection, job, explainable).await {
            Ok(found) => {
                impact.estimated_rows = Some(found.rows);
                impact.writes = found.writes;
            }
            Err(why) => impact.no_estimate = Some(why),
        }
        Ok(())
    }

    /// Only for what may be held as a query, and only if planning it runs nothing.
    fn explainable(&self, job: &Job) -> Result<Explainable, String> {
        let is_foreign = |parameter: &crate::hold::Parameter| parameter.type_oid >= FIRST_NORMAL_OID;
        if job.parameters.iter().any(is_foreign) {
            return Err("a parameter has a type that is not built in".to_owned());
        }
        plan::explainable(&job.text, &job.judgement, job.lexing, job.catalog.as_deref())
    }

    async fn estimate(
        &self,
        connection: &mut Connection,
        job: &Job,
        explainable: Result<Explainable, String>,
    ) -> Result<plan::Estimate, String> {
        let explain = explainable?;
        let hides = job.redaction.as_ref().is_some_and(Redaction::hides_answers);
        let words = |error: NoAnswer| match error {
            NoAnswer::Server(fields) if fields.sqlstate == LOCK_NOT_AVAILABLE => {
                "a table is locked by somebody else".to_owned()
            }
            NoAnswer::Server(fields) if fields.sqlstate == QUERY_CANCELED => {
                "planning it takes too long".to_owned()
            }
            _ if hides => NOT_SAID.to_owned(),
            other => format!("the server says: {other}"),
        };
        see_as(connection, job).await.map_err(words)?;
        let bind = match job.bound.as_slice() {
            [] => None,
            body => Some(Bind::decode(body).map_err(|_| "its parameters cannot be read".to_owned())?),
        };
        let question = Question {
            text: &explain.text,
            types: job
                .parameters
                .iter()
                .map(|parameter| parameter.type_oid)
                .collect(),
            formats: bind.as_ref().map(|bind| bind.formats.clone()).unwrap_or_default(),
            values: bind.map(|bind| bind.values).unwrap_or_default(),
        };
        let parameters: Vec<ParameterRecord<'_>> = job.parameters.iter().map(parameter_record).collect();
        let asking = Asking {
            request: job.request,
            peer: &job.peer,
            text: &explain.text,
            judgement: &explain.judgement,
            parameters: &parameters,
            column_labels: job.redaction.as_ref().map_or(&[], |found| &found.touched),
            protocol: "extended",
            read_as: "",
        };
        let attempt = self.recorder.attempt(&asking).await?;
        let answer = connection.ask(&question).await;
        let lost;
        let answered = match &answer {
            Ok(_) => Answered {
                kind: OutcomeKind::Ran,
                tag: "EXPLAIN",
                sqlstate: "",
                message: "",
            },
            Err(NoAnswer::Server(fields)) => Answered {
                kind: OutcomeKind::Failed,
                tag: "",
                sqlstate: &fields.sqlstate,
                message: if hides { NOT_SAID } else { &fields.message },
            },
            Err(other) => {
                lost = other.to_string();
                Answered {
                    kind: OutcomeKind::Unknown,
                    tag: "",
                    sqlstate: "",
                    message: &lost,
                }
            }
        };
        self.recorder.outcome(attempt, job.request, &answered)?;
        let plan = answer.map_err(words)?.unwrap_or_default();
        plan::estimate(&plan)
    }
}

/// Source: PostgreSQL docs, errcodes-appendix.html
const LOCK_NOT_AVAILABLE: &str = "55P03";
const QUERY_CANCELED: &str = "57014";

/// The session's search_path and role, until the transaction ends.
async fn see_as(connection: &mut Connection, job: &Job) -> Result<(), NoAnswer> {
    let text =
        "SELECT pg_catalog.set_config('role', $1, true), pg_catalog.set_config('search_path', $2, true)";
    let values = [job.role.as_str(), job.search_path.as_str()];
    connection.ask(&Question::new(text, &values)).await.map(drop)
}

/// What a statement changes or drops: a lock that writers take, or a stronger one.
fn changed_tables<'a>(action: &'a Action, locks: &Locks) -> Vec<&'a TableName> {
    let is_changed = |table: &&TableName| {
        locks
            .tables
            .iter()
            .any(|lock| lock.table == **table && lock.mode >= Mode::RowExclusive)
    };
    action.tables.iter().filter(is_changed).collect()
}

/// The OIDs of those names that stand for something, as an array literal.
async fn resolve<'t>(
    connection: &mut Connection,
    tables: impl Iterator<Item = &'t TableName> + Clone,
) -> Result<String, NoAnswer> {
    let schemas = array(
        tables
            .clone()
            .map(|table| table.schema.as_deref().unwrap_or_default()),
    );
    let names = array(tables.map(|table| table.name.as_str()));
    let found = connection
        .ask(&Question::new(RESOLVE, &[&schemas, &names]))
        .await?;
    Ok(found.unwrap_or_else(|| "{}".to_owned()))
}

async fn facts_of(
    connection: &mut Connection,
    action: &Action,
    named: &str,
    changed: &str,
) -> Result<(Facts, &'static str), NoAnswer> {
    let (kind, events) = kind_of(&action.verb);
    let events = events.to_string();
    let answer = connection
        .ask(&Question::new(FACTS, &[named, changed, kind, &events]))
        .await?;
    let facts = answer.as_deref().map(serde_json::from_str::<Facts>);
    let Some(Ok(mut facts)) = facts else {
        return Err(NoAnswer::Unreadable);
    };
    match connection.try_ask(&Question::new(SIZES, &[named])).await {
        Ok(sizes) => {
            let sizes: Vec<Size> = sizes
                .and_then(|sizes| serde_json::from_str(&sizes).ok())
                .unwrap_or_default();
            facts.add_sizes(&sizes);
        }
        // Locked by somebody else: the statistics stand.
        Err(NoAnswer::Server(_)) => {}
        Err(lost) => return Err(lost),
    }
    Ok((facts, kind))
}
