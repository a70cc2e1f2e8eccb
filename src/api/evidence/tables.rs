//! The tables of a bundle, and the rules that were in force: made from the sorted records alone.
//! Never changes the order or the meaning of a column without counting `bundle::FORMAT` up; new columns come last.
//! Read `readme.rs` next, which says to people what each of them means.

use std::io::Write;

use rusqlite::types::ValueRef;

use super::EvidenceError;
use super::bundle::{Files, RULES};
use super::stage::Stage;
use crate::api::export::harmless;
use crate::clock::Timestamp;

/// Approvals that all came sooner after the question than this are told as an exception,
pub const QUICK_SECONDS: i64 = 10;
/// if there are so many of them by one person, or under one rule.
pub const QUICK_COUNT: i64 = 3;

pub const TABLES: [(&str, &str); 6] = [
    ("population.csv", POPULATION),
    ("decisions.csv", DECISIONS),
    ("exceptions.csv", EXCEPTIONS),
    ("rules.csv", RULE_VERSIONS),
    ("approvers.csv", PEOPLE),
    ("log_readers.csv", LOOKS),
];

/// `:from` and `:to` are the period in microseconds.
const POPULATION: &str = "
SELECT a.time AS asked_at, a.principal AS requester, s.owner AS owner, s.source AS source, a.database AS database,
       a.database_user AS database_user, a.class AS class, a.tables AS tables, a.verdict AS verdict, a.rule AS rule,
       a.request AS request,
       said.approved_by, said.approved_at, said.approval_reasons, said.approval_channels, said.approval_assurance,
       said.denied_by, said.denied_at, said.denial_reasons, said.break_glass,
       a.grant_id AS standing_grant, a.decided_in AS decided_in,
       (SELECT e.event FROM event e WHERE e.request = a.request AND e.event IN ('held', 'reattached', 'detached',
            'withdrawn', 'expired', 'stale', 'started', 'granted', 'lapsed', 'redeemed', 'outcome_unknown', 'finished',
            'failed', 'denied', 'approved') ORDER BY e.leaf DESC LIMIT 1) AS state,
       coalesce(o.outcome, 'not recorded') AS outcome, o.time AS ended_at, o.rows AS rows, o.sqlstate AS sqlstate,
       o.message AS message, t.outcome AS \"transaction\", a.session AS session, a.number AS number,
       a.fingerprint AS fingerprint, a.text_sha256 AS statement_sha256, a.statement AS statement, a.id AS record
FROM attempt a
LEFT JOIN session s ON s.session = a.session
LEFT JOIN outcome o ON o.session = a.session AND o.number = a.number
LEFT JOIN ended t ON t.request = a.request
LEFT JOIN (
    SELECT request,
        group_concat(approver, '; ' ORDER BY leaf) FILTER (WHERE decision = 'approve') AS approved_by,
        group_concat(time, '; ' ORDER BY leaf) FILTER (WHERE decision = 'approve') AS approved_at,
        group_concat(coalesce(reason, ''), '; ' ORDER BY leaf) FILTER (WHERE decision = 'approve') AS approval_reasons,
        group_concat(channel, '; ' ORDER BY leaf) FILTER (WHERE decision = 'approve') AS approval_channels,
        group_concat(coalesce(assurance, ''), '; ' ORDER BY leaf) FILTER (WHERE decision = 'approve')
            AS approval_assurance,
        group_concat(approver, '; ' ORDER BY leaf) FILTER (WHERE decision = 'deny') AS denied_by,
        group_concat(time, '; ' ORDER BY leaf) FILTER (WHERE decision = 'deny') AS denied_at,
        group_concat(reason, '; ' ORDER BY leaf) FILTER (WHERE decision = 'deny') AS denial_reasons,
        CASE WHEN count(*) FILTER (WHERE event = 'break_glass') > 0 THEN 'yes' END AS break_glass
    FROM decision GROUP BY request
) said ON said.request = coalesce(a.decided_in, a.request)
WHERE a.micros >= :from AND a.micros < :to
ORDER BY a.leaf";

const DECISIONS: &str = "
SELECT d.time AS decided_at, d.request AS request, d.decision AS decision, d.approver AS approver, d.reason AS reason,
       d.channel AS channel, d.assurance AS assurance, d.scope AS scope, a.principal AS requester, a.class AS class,
       a.rule AS rule, a.time AS asked_at, (d.micros - a.micros) / 1000000 AS seconds,
       CASE WHEN d.event = 'break_glass' THEN 'yes' END AS break_glass, d.id AS record
FROM decision d
LEFT JOIN attempt a ON a.leaf = (SELECT min(leaf) FROM attempt WHERE request = d.request)
WHERE d.micros >= :from AND d.micros < :to
ORDER BY d.leaf";

const EXCEPTIONS: &str = "
WITH approval AS (
    SELECT d.leaf AS leaf, d.approver AS approver, a.rule AS rule, d.micros - a.micros AS took
    FROM decision d JOIN attempt a ON a.leaf = (SELECT min(leaf) FROM attempt WHERE request = d.request)
    WHERE d.decision = 'approve' AND d.micros >= :from AND d.micros < :to
), found AS (
    SELECT 1 AS rank, leaf, event AS exception, time, by AS person, request, detail, id AS record FROM event
    WHERE event IN ('expired', 'outcome_unknown', 'decision_refused', 'escalated', 'delegated')
        AND micros >= :from AND micros < :to
    UNION ALL
    SELECT 10, d.leaf, 'break_glass', d.time, d.approver, d.request,
        coalesce(d.reason, '') || coalesce((SELECT '; reviewed by ' || r.by || ' at ' || r.time || coalesce(': ' || r.detail, '')
            FROM event r WHERE r.request = d.request AND r.event = 'reviewed' ORDER BY r.leaf LIMIT 1), '; not reviewed'), d.id
    FROM decision d WHERE d.event = 'break_glass' AND d.micros >= :from AND d.micros < :to
    UNION ALL
    SELECT 2, leaf, 'standing_grant_' || event, time, by, request,
        grant_id || coalesce(', decided in ' || decided_in, '') || coalesce(': ' || detail, ''), id
    FROM granted WHERE micros >= :from AND micros < :to
    UNION ALL
    SELECT 3, leaf, 'sign_in_refused', time, person, NULL, method || ' from ' || source || coalesce(': ' || reason, ''), id
    FROM sign_in WHERE micros >= :from AND micros < :to
    UNION ALL
    SELECT 4, leaf, 'records_lost', time, NULL, NULL, detail, id FROM boot WHERE micros >= :from AND micros < :to
    UNION ALL
    SELECT 11, leaf, 'values_erased', time, by, NULL, 'of record ' || record || coalesce(': ' || reason, ''), id
    FROM erasure WHERE micros >= :from AND micros < :to
    UNION ALL
    SELECT 12, leaf, 'records_pruned', time, by, NULL, detail, id FROM pruning WHERE micros >= :from AND micros < :to
    UNION ALL
    SELECT 5, leaf, 'rules_rejected', time, by, NULL, file || coalesce(': ' || detail, ''), id
    FROM rules WHERE change = 'rejected' AND micros >= :from AND micros < :to
    UNION ALL
    SELECT 6, d.leaf, 'carried_over', d.time, d.approver, d.request,
        d.decision || ' of a request that was made before this period', d.id
    FROM decision d WHERE d.micros >= :from AND d.micros < :to
        AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.request = d.request AND a.micros >= :from)
    UNION ALL
    SELECT 7, a.leaf, 'no_outcome', a.time, a.principal, a.request, 'what became of the statement is not in this bundle', a.id
    FROM attempt a LEFT JOIN outcome o ON o.session = a.session AND o.number = a.number
    WHERE o.session IS NULL AND a.micros >= :from AND a.micros < :to
    UNION ALL
    SELECT 8, max(leaf), 'approves_within_seconds', NULL, approver, NULL,
        count(*) || ' approvals, none later than ' || (max(took) / 1000000) || ' s after the question', NULL
    FROM approval GROUP BY approver HAVING count(*) >= :quick_count AND max(took) < :quick
    UNION ALL
    SELECT 9, max(leaf), 'rule_approved_within_seconds', NULL, NULL, NULL,
        'rule ' || rule || ': ' || count(*) || ' approvals, none later than ' || (max(took) / 1000000)
            || ' s after the question', NULL
    FROM approval GROUP BY rule HAVING count(*) >= :quick_count AND max(took) < :quick
)
SELECT exception, time, person, request, detail, record FROM found ORDER BY leaf, rank, person, detail";

const RULE_VERSIONS: &str = "
WITH loaded AS (
    SELECT *, lead(micros) OVER version AS next, lead(time) OVER version AS next_time
    FROM (SELECT *, CASE WHEN digest IN (SELECT digest FROM rules_text) THEN '' ELSE file END AS place
          FROM rules WHERE change = 'loaded')
    WINDOW version AS (PARTITION BY place ORDER BY leaf)
)
SELECT digest AS sha256, file, time AS in_force_from,
       CASE WHEN next < :to THEN next_time END AS in_force_to, by AS loaded_by,
       CASE WHEN digest IN (SELECT digest FROM rules_text) THEN 'rules/' || digest || '.toml'
            ELSE 'the text is not in the log' END AS text, id AS record
FROM loaded WHERE micros < :to AND (next IS NULL OR next > :from) ORDER BY leaf";

const PEOPLE: &str = "
WITH was AS (
    SELECT *, lead(micros) OVER (PARTITION BY name ORDER BY micros, leaf) AS next,
        lead(time) OVER (PARTITION BY name ORDER BY micros, leaf) AS next_time
    FROM person
)
SELECT name AS person, roles, groups, active, time AS since,
       CASE WHEN next < :to THEN next_time END AS until, change, by AS changed_by, id AS record
FROM was WHERE micros < :to AND (next IS NULL OR next > :from) ORDER BY name, micros, leaf";

const LOOKS: &str = "
SELECT time, by AS person, query, id AS record FROM look WHERE micros >= :from AND micros < :to ORDER BY leaf";

/// Which period the tables are of.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    pub from: Timestamp,
    pub to: Timestamp,
}

/// Writes every table, and every text of rules that a table names.
pub fn write<E>(stage: &Stage, period: Period, files: &mut dyn Files<E>) -> Result<(), E>
where
    E: From<EvidenceError>,
{
    for (name, question) in TABLES {
        files.file(name, &mut |out| {
            table(stage, period, question, out).map_err(E::from)
        })?;
    }
    for digest in digests(stage, period).map_err(EvidenceError::from)? {
        let text = rules_text(stage, &digest).map_err(EvidenceError::from)?;
        files.file(&format!("{RULES}{digest}.toml"), &mut |out| {
            let written = out.write_all(text.as_bytes());
            written.map_err(|error| E::from(EvidenceError::from(error)))
        })?;
    }
    Ok(())
}

fn table(stage: &Stage, period: Period, question: &str, out: &mut dyn Write) -> Result<(), EvidenceError> {
    let mut statement = stage.database.prepare(question)?;
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(out);
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    writer.write_record(&names).map_err(csv_error)?;
    for (name, value) in [
        (":from", period.from.micros()),
        (":to", period.to.micros()),
        (":quick", QUICK_SECONDS * 1_000_000),
        (":quick_count", QUICK_COUNT),
    ] {
        if let Some(place) = statement.parameter_index(name)? {
            statement.raw_bind_parameter(place, value)?;
        }
    }
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        let cells = (0..names.len()).map(|place| Ok(cell(row.get_ref(place)?)));
        let cells = cells.collect::<rusqlite::Result<Vec<String>>>()?;
        writer.write_record(&cells).map_err(csv_error)?;
    }
    writer.flush()?;
    Ok(())
}

fn csv_error(error: csv::Error) -> EvidenceError {
    EvidenceError::Write(std::io::Error::other(error))
}

/// As a spreadsheet shows it, and never runs it.
fn cell(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) | ValueRef::Blob(text) => {
            harmless(std::str::from_utf8(text).unwrap_or_default().to_owned())
        }
    }
}

/// Of the rules in force in the period, those whose text the log has.
fn digests(stage: &Stage, period: Period) -> rusqlite::Result<Vec<String>> {
    let text = format!(
        "SELECT DISTINCT sha256 FROM ({RULE_VERSIONS}) WHERE sha256 IN (SELECT digest FROM rules_text) ORDER BY sha256"
    );
    let mut statement = stage.database.prepare(&text)?;
    let period = rusqlite::named_params! { ":from": period.from.micros(), ":to": period.to.micros() };
    let rows = statement.query_map(period, |row| row.get(0))?;
    rows.collect()
}

fn rules_text(stage: &Stage, digest: &str) -> rusqlite::Result<String> {
    let text = "SELECT text FROM rules_text WHERE digest = ?";
    stage.database.query_row(text, [digest], |row| row.get(0))
}

/// How many exceptions of each kind there are.
pub fn exceptions(stage: &Stage, period: Period) -> rusqlite::Result<Vec<(String, i64)>> {
    let text =
        format!("SELECT exception, count(*) FROM ({EXCEPTIONS}) GROUP BY exception ORDER BY exception");
    let mut statement = stage.database.prepare(&text)?;
    let period = rusqlite::named_params! {
        ":from": period.from.micros(), ":to": period.to.micros(),
        ":quick": QUICK_SECONDS * 1_000_000, ":quick_count": QUICK_COUNT,
    };
    let rows = statement.query_map(period, |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}
