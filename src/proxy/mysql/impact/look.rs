//! What is found out about one statement: from the catalog what stands around it, from the server its plan.
//! Never sends a question that could run anybody's code, and never one that is not in the log first.
//! Read `../../../catalog/mysql/plan.rs` and `about.rs` next.

use mysql_async::Value;

use crate::audit::entry::{OutcomeKind, ParameterRecord};
use crate::catalog::impact::{Impact, Status, Written};
use crate::catalog::mysql::about;
use crate::catalog::mysql::plan::{self, Explainable};
use crate::desk::Desk;
use crate::hold::Parameter;
use crate::policy::Redaction;
use crate::proxy::attempts::parameter_record;
use crate::proxy::impact::record::{Answered, Asking, Recorder};
use crate::proxy::impact::{self, NOT_SAID};
use crate::proxy::mysql::impact::Job;
use crate::proxy::mysql::impact::connection::{Connection, NoAnswer, state_of};
use crate::proxy::{UpstreamSettings, mysql_catalog_tls};
use crate::sql::statement::ReadUnder as _;

/// What all looks of a process share.
pub struct Looker {
    upstream: UpstreamSettings,
    recorder: Recorder,
}

impl impact::Look for Looker {
    type Job = Job;

    fn desk(&self) -> &Desk {
        &self.recorder.shared().desk
    }

    async fn look(&self, job: &Job, impact: &mut Impact) {
        about::set_locks(&job.judgement, impact);
        match &job.catalog {
            Some(catalog) => about::tell(&job.judgement, catalog, impact),
            None => {
                impact.not_read = Some("nothing is known of its tables: no catalog can be read".to_owned())
            }
        }
        match self.estimate(job, impact).await {
            Ok(()) => {}
            Err(why) => impact.no_estimate = Some(why),
        }
        impact.status = Status::Done;
    }
}

impl Looker {
    pub fn new(upstream: UpstreamSettings, recorder: Recorder) -> Self {
        Self { upstream, recorder }
    }

    async fn estimate(&self, job: &Job, impact: &mut Impact) -> Result<(), String> {
        let state = state_of(&job.state);
        let explain = plan::explainable(&job.text, &job.judgement, &state, job.catalog.as_deref())?;
        let values: Option<Vec<_>> = explain
            .parameters
            .iter()
            .map(|at| value(job.parameters.get(*at)?))
            .collect();
        let values = values.ok_or_else(|| "its parameters cannot be read".to_owned())?;
        // The authority's file may be another by now.
        let tls = mysql_catalog_tls(&self.upstream.tls).map_err(|error| error.to_string())?;
        let opened = Connection::open(&self.upstream, tls, job).await;
        let mut connection = opened.map_err(|error| format!("the server cannot be asked: {error}"))?;
        let asked = self.ask(&mut connection, job, &explain, values).await;
        connection.close().await;
        let rows = plan::estimate(&asked?)?;
        if explain.has_fewer {
            return Err(format!(
                "the server tells only how many rows are read for it: about {rows}"
            ));
        }
        impact.estimated_rows = Some(rows);
        impact.writes = explain
            .writes
            .map(|(operation, table)| Written {
                operation: operation.to_owned(),
                table,
                rows,
            })
            .into_iter()
            .collect();
        Ok(())
    }

    async fn ask(
        &self,
        connection: &mut Connection,
        job: &Job,
        explain: &Explainable,
        values: Vec<mysql_async::Value>,
    ) -> Result<Vec<plan::Line>, String> {
        let parameters = explain.parameters.iter();
        let parameters = parameters.filter_map(|at| job.parameters.get(*at).map(parameter_record));
        let parameters: Vec<ParameterRecord<'_>> = parameters.collect();
        let read_as = state_of(&job.state).told();
        let asking = Asking {
            request: job.request,
            peer: &job.peer,
            text: explain.text.as_bytes(),
            judgement: &explain.judgement,
            parameters: &parameters,
            column_labels: job.redaction.as_ref().map_or(&[], |found| &found.touched),
            protocol: if parameters.is_empty() { "text" } else { "binary" },
            read_as: &read_as,
        };
        let attempt = self.recorder.attempt(&asking).await?;
        let answer = connection.ask(&explain.text, values).await;
        let hides = job.redaction.as_ref().is_some_and(Redaction::hides_answers);
        let words = answer.as_ref().err().map(|error| match hides {
            true => NOT_SAID.to_owned(),
            false => error.to_string(),
        });
        let message = words.as_deref().unwrap_or_default();
        let (kind, tag, sqlstate) = match &answer {
            Ok(_) => (OutcomeKind::Ran, "EXPLAIN", ""),
            Err(NoAnswer::Server { sqlstate, .. }) => (OutcomeKind::Failed, "", sqlstate.as_str()),
            Err(NoAnswer::UnknownUser | NoAnswer::AnotherUser | NoAnswer::Lost(_)) => {
                (OutcomeKind::Unknown, "", "")
            }
        };
        let answered = Answered {
            kind,
            tag,
            sqlstate,
            message,
        };
        self.recorder.outcome(attempt, job.request, &answered)?;
        answer.map_err(|error| match error {
            NoAnswer::Server { number, .. } if TOOK_TOO_LONG.contains(&number) => {
                "planning it takes too long".to_owned()
            }
            _ if hides => NOT_SAID.to_owned(),
            other => format!("the server says: {other}"),
        })
    }
}

/// ER_STATEMENT_TIMEOUT of MariaDB, ER_QUERY_TIMEOUT of MySQL, ER_QUERY_INTERRUPTED.
/// Source: the servers' error references
const TOOK_TOO_LONG: [u16; 3] = [1969, 3024, 1317];

/// A value for the plan's question. `None`: it was too long to be kept, or is not shown as text.
fn value(parameter: &Parameter) -> Option<Value> {
    let Parameter {
        type_name,
        value,
        hex,
        bytes,
        ..
    } = parameter;
    let Some(text) = value else {
        return (hex.is_none() && *bytes == 0).then_some(Value::NULL);
    };
    if text.len() as u64 != *bytes {
        return None;
    }
    // A number beside a column of numbers must stay one: as text it may find other rows.
    let number = type_name.contains("int").then(|| text.parse().ok()).flatten();
    Some(number.map_or_else(|| Value::Bytes(text.clone().into_bytes()), Value::Int))
}
