//! The rules in force: their text, a box to try a statement, and which of them people always approve at once.
//! Never changes a rule: that is a file and a reload. Read `policy/evaluate.rs` for how a verdict comes about.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::moments::span;
use super::page::{Sender, Shell, Trouble, Visitor, shown};
use super::replayed::{Replayed, SINCES};
use super::shown::{StatementShown, risk_sign};
use crate::api::Rooms;
use crate::api::problem::Problem;
use crate::api::replay::{ReplayCall, replayed};
use crate::api::requests::desk_problem;
use crate::clock::Timestamp;
use crate::desk::RequestFilter;
use crate::hold::{HeldRequest, StateKind};
use crate::identity::directory::Scope;
use crate::identity::principal::{Peer, PersonName, PrincipalName, Profile, SessionId};
use crate::policy::{RuleSet, Verdict, evaluate};
use crate::render::{Reading, visible_line};
use crate::sql::action::Judgement;
use crate::sql::mysql_state::MysqlState;
use crate::sql::parse::PARSER_STACK_BYTES;
use crate::sql::statement::LexingState;
use crate::sql::{judge_mysql, judge_postgres};

/// Decided requests that the report is made of, newest first.
const REPORTED_MAX: usize = 500;
/// Fewer decisions say nothing of a rule.
const REPORTED_MIN: usize = 5;
/// Approvals that come faster, in the middle, were not read. Units: seconds.
const HASTY_SECONDS: u64 = 5;
/// A rule of which more is approved asks for nothing. Units: percent.
const ALWAYS_PERCENT: usize = 95;
/// A statement in the box. Units: bytes; a form has 64 KiB in all.
const TRIED_BYTES_MAX: usize = 48 << 10;

pub struct RuleLine {
    number: usize,
    text: String,
    /// A line that names a rule, a comment, or another.
    kind: &'static str,
}

/// What people said to one rule.
pub struct Report {
    rule: String,
    decided: usize,
    approved: usize,
    percent: usize,
    median: String,
    /// What to think of it; empty: nothing.
    advice: &'static str,
}

/// What the rules say of a statement that somebody tries.
pub struct Tried {
    verdict: &'static str,
    class: String,
    rule: String,
    line: u32,
    risk: String,
    sign: &'static str,
    reasons: Vec<String>,
    tables: Vec<String>,
    statement: StatementShown,
}

#[derive(Template)]
#[template(path = "rules.html")]
struct RulesPage {
    shell: Shell,
    file: String,
    generation: String,
    lines: Vec<RuleLine>,
    reports: Vec<Report>,
    reported: usize,
    asked: TryForm,
    tried: Option<Tried>,
    sees_log: bool,
    candidate: ReplayForm,
    replayed: Option<Replayed>,
    /// Why there is no replay.
    refused: Option<String>,
}

impl RulesPage {
    /// How far back a replay may begin.
    const fn sinces(&self) -> &'static [(&'static str, &'static str)] {
        &SINCES
    }
}

/// What is shown besides the rules themselves.
#[derive(Default)]
struct Asides {
    asked: TryForm,
    tried: Option<Tried>,
    candidate: Option<ReplayForm>,
    replayed: Option<Replayed>,
    refused: Option<String>,
}

pub async fn page(visitor: Visitor, State(rooms): State<Rooms>) -> Result<Response, Trouble> {
    rules_page(&visitor, &rooms, Asides::default()).await
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct ReplayForm {
    #[serde(default, rename = "_csrf")]
    csrf: String,
    #[serde(default)]
    rules: String,
    #[serde(default)]
    since: String,
}

/// Puts the rules of the form to the statements of the log, by the same code as the API and the command line.
pub async fn replay(
    sender: Sender,
    State(rooms): State<Rooms>,
    Form(form): Form<ReplayForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    let call = ReplayCall {
        rules: form.rules.replace("\r\n", "\n"),
        since: form.since.clone(),
        until: None,
    };
    let mut asides = Asides::default();
    match replayed(&visitor.caller, &rooms, call.clone()).await {
        Ok(report) => asides.replayed = Some(Replayed::of(&report)),
        // What is wrong with the rules stands beside them, not on a page of its own.
        Err(problem) if ["unacceptable", "conflict"].contains(&problem.0.code.as_str()) => {
            let said = format!("{}; {}", problem.0.detail, problem.0.next_step);
            asides.refused = Some(visible_line(&said));
        }
        Err(problem) => return Err(problem.into()),
    }
    asides.candidate = Some(ReplayForm {
        rules: call.rules,
        ..form
    });
    rules_page(&visitor, &rooms, asides).await
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct TryForm {
    #[serde(default, rename = "_csrf")]
    csrf: String,
    #[serde(default)]
    sql: String,
    #[serde(default)]
    dialect: String,
    #[serde(default)]
    agent: String,
    #[serde(default)]
    database: String,
}

/// Judges a statement by the very code of the proxy and puts it to the rules in force. Nothing is run.
pub async fn attempt(
    sender: Sender,
    State(rooms): State<Rooms>,
    Form(form): Form<TryForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    visitor.caller.needs(Scope::Read)?;
    if form.sql.len() > TRIED_BYTES_MAX {
        return Err(Problem::new(
            crate::api::problem::Kind::TooLarge,
            format!("the statement is longer than {TRIED_BYTES_MAX} bytes"),
            "try it with `countersign judge`",
        )
        .into());
    }
    let rules = rooms.rules.load_full();
    // A form sends line breaks as CR LF, whatever was typed.
    let sql = form.sql.replace("\r\n", "\n");
    let asked = TryForm { sql, ..form };
    let tried = asked.clone();
    let judged = std::thread::Builder::new()
        .stack_size(PARSER_STACK_BYTES)
        .spawn(move || tried.judged(&rules));
    let judged = judged.map_err(|error| Problem::unavailable(&error))?;
    let joined = tokio::task::spawn_blocking(move || judged.join()).await;
    match joined {
        Ok(Ok(tried)) => {
            let asides = Asides {
                asked,
                tried: Some(tried),
                ..Asides::default()
            };
            rules_page(&visitor, &rooms, asides).await
        }
        Ok(Err(_)) => Err(Problem::unavailable(&"the judging thread failed").into()),
        Err(error) => Err(Problem::unavailable(&error).into()),
    }
}

impl TryForm {
    fn judged(&self, rules: &RuleSet) -> Tried {
        let text = self.sql.as_bytes();
        let (judgement, reading) = match self.dialect.as_str() {
            "mysql" => {
                let state = MysqlState::default_mysql();
                (judge_mysql(text, &state, &()), Reading::Mysql(state))
            }
            "mariadb" => {
                let state = MysqlState::default_mariadb();
                (judge_mysql(text, &state, &()), Reading::Mysql(state))
            }
            _postgres => (
                judge_postgres(text, LexingState::default_postgres(), &()),
                Reading::POSTGRES,
            ),
        };
        let verdict = evaluate(rules, &judgement, &self.peer(), Timestamp::now());
        self.tried(&judgement, verdict, &reading)
    }

    /// As an agent of that name would come.
    fn peer(&self) -> Peer {
        let somebody = || PrincipalName::parse("somebody").expect("a valid name");
        let agent = PrincipalName::parse_any(&self.agent).unwrap_or_else(|_| somebody());
        Peer {
            database_user: agent.to_string(),
            principal: agent,
            owner: PersonName::parse("nobody").expect("a valid name"),
            profile: Profile::Standard,
            labels: BTreeMap::new(),
            session: SessionId(0),
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
            upstream: "main".to_owned(),
            database: self.database.clone(),
        }
    }

    fn tried(&self, judgement: &Judgement, verdict: Verdict, reading: &Reading) -> Tried {
        let actions = judgement.actions.iter();
        let tables = actions.clone().flat_map(|action| &action.tables);
        let mut tables: Vec<String> = tables.map(|table| visible_line(&table.to_string())).collect();
        tables.sort();
        tables.dedup();
        let reasons = actions.flat_map(|action| &action.reasons).chain(&verdict.reasons);
        let mut reasons: Vec<String> = reasons.map(|reason| visible_line(reason)).collect();
        reasons.dedup();
        let risk = verdict.risk.to_string();
        Tried {
            verdict: verdict.outcome().as_str(),
            class: judgement.class().to_string(),
            rule: verdict.rule.to_string(),
            line: verdict.line,
            sign: risk_sign(&risk),
            risk,
            reasons,
            tables,
            statement: StatementShown::of_text(self.sql.as_bytes(), reading),
        }
    }
}

async fn rules_page(visitor: &Visitor, rooms: &Rooms, asides: Asides) -> Result<Response, Trouble> {
    visitor.caller.needs(Scope::Read)?;
    let rules = rooms.rules.load_full();
    let filter = RequestFilter {
        states: StateKind::ALL
            .iter()
            .copied()
            .filter(|kind| !matches!(kind, StateKind::Pending | StateKind::Detached))
            .collect(),
        limit: REPORTED_MAX,
        ..RequestFilter::default()
    };
    let mut decided = rooms.desk.list(filter).await.map_err(desk_problem)?.items;
    decided.retain(|held| !held.decisions.is_empty());
    let in_force = || ReplayForm {
        rules: rules.text.to_string(),
        since: SINCES[1].0.to_owned(),
        ..ReplayForm::default()
    };
    Ok(shown(&RulesPage {
        shell: Shell::of(visitor, rooms, "rules", "Rules").await?,
        file: visible_line(&rules.file),
        generation: rules
            .generation
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        lines: rules.text.lines().enumerate().map(rule_line).collect(),
        reports: reports(&decided),
        reported: decided.len(),
        asked: asides.asked,
        tried: asides.tried,
        sees_log: visitor.may(Scope::Log),
        candidate: asides.candidate.unwrap_or_else(in_force),
        replayed: asides.replayed,
        refused: asides.refused,
    }))
}

fn rule_line((at, text): (usize, &str)) -> RuleLine {
    let bare = text.trim_start();
    RuleLine {
        number: at + 1,
        text: visible_line(text),
        kind: match bare {
            _ if bare.starts_with('#') => "comment",
            _ if bare.starts_with("[[") => "head",
            _ if bare.starts_with("name") => "rule-name",
            _ => "",
        },
    }
}

/// For each rule that people were asked about often enough: how they answered, and how fast.
fn reports(decided: &[HeldRequest]) -> Vec<Report> {
    let mut by_rule: BTreeMap<&str, Vec<(bool, u64)>> = BTreeMap::new();
    for held in decided {
        if let Some(last) = held.decisions.last() {
            let took = last.at.since(held.created_at).as_secs();
            by_rule.entry(&held.rule).or_default().push((last.approves, took));
        }
    }
    let mut reports: Vec<Report> = by_rule
        .into_iter()
        .filter(|(_, said)| said.len() >= REPORTED_MIN)
        .map(|(rule, said)| report(rule, said))
        .collect();
    reports.sort_by_key(|report| std::cmp::Reverse(report.decided));
    reports
}

fn report(rule: &str, mut said: Vec<(bool, u64)>) -> Report {
    said.sort_by_key(|(_, took)| *took);
    let median = said[said.len() / 2].1;
    let approved = said.iter().filter(|(approves, _)| *approves).count();
    let percent = approved * 100 / said.len();
    Report {
        rule: visible_line(rule),
        decided: said.len(),
        approved,
        percent,
        median: span(median),
        advice: match (percent >= ALWAYS_PERCENT, median < HASTY_SECONDS) {
            (true, true) => "always approved, and at once: narrow this rule, or let these statements pass",
            (true, false) => "nearly always approved: narrow this rule, or let some of it pass",
            (false, true) => "decided within seconds: is it read?",
            (false, false) => "",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_is_always_approved_at_once_is_told() {
        let hasty = report(
            "ddl",
            vec![(true, 2), (true, 1), (true, 3), (true, 90), (true, 2)],
        );
        assert_eq!((hasty.percent, hasty.median.as_str()), (100, "2 s"));
        assert!(hasty.advice.starts_with("always approved, and at once"));
        let careful = report(
            "ddl",
            vec![(true, 60), (false, 70), (true, 80), (true, 90), (true, 20)],
        );
        assert_eq!((careful.percent, careful.advice), (80, ""));
    }
}
