//! `policy test`: runs the cases that stand beside rules, and shows what differs.
//! Never opens a connection, and never changes a case. Read `../offline.rs` next.

use std::collections::BTreeSet;

use clap::Args;
use serde::Serialize;

use super::cases::{self, Case};
use super::{open_rules, wrong};
use crate::cli::exit::{CliError, Exit};
use crate::cli::offline::{self, Said};
use crate::cli::output::Output;
use crate::policy::{Outcome, RuleError, RuleSet, SHIPPED};
use crate::render::visible_line;

/// What a case file's name ends with, beside rules of the same name.
const CASES_END: &str = ".cases.toml";

#[derive(Debug, Args)]
pub struct TestArgs {
    /// The cases [default: those beside the rules, RULES.cases.toml]
    #[arg(value_name = "FILE", required_unless_present = "rules")]
    cases: Option<String>,
    /// Rule file, or one of: default, strict, observe [default: the file beside the cases]
    #[arg(long, value_name = "FILE")]
    rules: Option<String>,
}

/// What is found instead of what was expected.
#[derive(Serialize)]
struct Difference {
    line: u32,
    case: String,
    expected: Answer,
    found: Answer,
    reasons: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize)]
struct Answer {
    verdict: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    people: Option<u32>,
    /// The piece that no reason has.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct Report {
    file: String,
    rules: String,
    cases: usize,
    failed: Vec<Difference>,
    /// Rules that decided no case.
    untried: Vec<String>,
}

/// Exit 0, or 1 if a case differs or a file is wrong.
pub fn run(args: TestArgs, output: Output) -> Result<Exit, CliError> {
    let rules_name = match (&args.rules, &args.cases) {
        (Some(rules), _) => rules.clone(),
        (None, Some(cases)) => rules_beside(cases)?,
        (None, None) => {
            return Err(CliError::usage(
                "neither cases nor rules are named",
                "add --rules FILE",
            ));
        }
    };
    let rules = open_rules(&rules_name)?;
    let (text, file) = match &args.cases {
        Some(file) => (read(file)?, file.clone()),
        None => cases_beside(&rules_name)?,
    };
    let names: BTreeSet<&str> = rules.names().collect();
    let cases = cases::read(&text, &file, &names).map_err(wrong)?;
    let report = offline::on_a_reader_stack(move || report(&cases, file, &rules))?.map_err(wrong)?;
    let failed = !report.failed.is_empty();
    output.either(&report, || shown(&report));
    if !report.untried.is_empty() && !output.is_json() {
        eprintln!("no case is decided by: {}", report.untried.join(", "));
    }
    Ok(if failed { Exit::Error } else { Exit::Done })
}

fn rules_beside(cases: &str) -> Result<String, CliError> {
    let rules = cases.strip_suffix(CASES_END).map(|name| format!("{name}.toml"));
    rules.ok_or_else(|| {
        let message = format!("`{cases}` does not say which rules it is for");
        CliError::usage(message, format!("name it RULES{CASES_END}, or add --rules FILE"))
    })
}

fn cases_beside(rules: &str) -> Result<(String, String), CliError> {
    if SHIPPED.contains(&rules) {
        return Ok((shipped(rules).to_owned(), format!("rules/{rules}{CASES_END}")));
    }
    let file = format!("{}{CASES_END}", rules.strip_suffix(".toml").unwrap_or(rules));
    Ok((read(&file)?, file))
}

/// The cases that come with the program.
fn shipped(rules: &str) -> &'static str {
    match rules {
        "default" => include_str!("../../../rules/default.cases.toml"),
        "observe" => include_str!("../../../rules/observe.cases.toml"),
        _strict => include_str!("../../../rules/strict.cases.toml"),
    }
}

fn read(file: &str) -> Result<String, CliError> {
    std::fs::read_to_string(file).map_err(|error| {
        let next_step = "write cases beside the rules (docs/rules.md shows how), or name their file";
        CliError::error(format!("`{file}` cannot be read: {error}"), next_step)
    })
}

fn report(cases: &[Case], file: String, rules: &RuleSet) -> Result<Report, RuleError> {
    let mut untried: BTreeSet<&str> = rules.names().collect();
    let mut failed = Vec::new();
    for case in cases {
        let Said { outcome, verdict } = said(case, rules, &file)?;
        untried.remove(verdict.rule.as_str());
        let expected = &case.expected;
        let lacks = |piece: &&String| {
            !verdict
                .reasons
                .iter()
                .any(|reason| reason.contains(piece.as_str()))
        };
        let expected = Answer {
            verdict: expected.outcome,
            rule: expected.rule.clone(),
            people: expected.people,
            reason: expected.reason.as_ref().filter(lacks).cloned(),
        };
        let found = Answer {
            verdict: outcome,
            rule: expected.rule.as_ref().map(|_| verdict.rule.as_str().to_owned()),
            people: expected.people.map(|_| verdict.requirement.people()),
            reason: None,
        };
        if expected != found {
            failed.push(Difference {
                line: case.line,
                case: case.title.clone(),
                expected,
                found: Answer {
                    rule: Some(verdict.rule.as_str().to_owned()),
                    ..found
                },
                reasons: verdict.reasons,
            });
        }
    }
    Ok(Report {
        file,
        rules: rules.file.clone(),
        cases: cases.len(),
        failed,
        untried: untried.into_iter().map(str::to_owned).collect(),
    })
}

fn said(case: &Case, rules: &RuleSet, file: &str) -> Result<Said, RuleError> {
    let judged = offline::judge(&case.dialect, &case.session, case.sql.as_bytes(), None);
    let mut judged = judged.map_err(|message| RuleError {
        file: file.to_owned(),
        line: case.line,
        column: 1,
        message,
        next_step: "correct the case".to_owned(),
    })?;
    for action in &mut judged.judgement.actions {
        action.rows = action.rows.or(case.rows);
        action.behind.extend(case.behind.iter().cloned());
    }
    Ok(judged.put_to(rules, &case.peer, case.at))
}

fn shown(report: &Report) -> String {
    let differences = report.failed.iter().map(|difference| {
        let Difference {
            line,
            case,
            expected,
            found,
            reasons,
        } = difference;
        let reasons: String = reasons
            .iter()
            .map(|reason| format!("      {}\n", visible_line(reason)))
            .collect();
        format!(
            "{}:{line}: {}\n  - {}\n  + {}\n{reasons}",
            report.file,
            visible_line(case),
            answer(expected),
            answer(found)
        )
    });
    let differences: String = differences.collect();
    let failed = match report.failed.len() {
        0 => "all as expected".to_owned(),
        failed => format!("{failed} not as expected"),
    };
    format!(
        "{differences}{} cases of {}: {failed}",
        report.cases, report.rules
    )
}

fn answer(answer: &Answer) -> String {
    let mut words = vec![answer.verdict.to_string()];
    words.extend(answer.rule.as_ref().map(|rule| format!("by `{rule}`")));
    words.extend(answer.people.map(|people| format!("by {people} people")));
    words.extend(
        answer
            .reason
            .as_ref()
            .map(|piece| format!("because of … {} …", visible_line(piece))),
    );
    words.join(" ")
}
