//! Says what the proxy would decide of statements, by the proxy's own code and built-in knowledge, or by a server's catalog.
//! Never runs a statement. Read `offline.rs` next.

use std::io::{BufRead, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::live::{Live, LiveArgs};
use super::offline::{self, Said};
use crate::clock::Timestamp;
use crate::identity::principal::{Peer, PersonName, PrincipalName, Profile, SessionId};
use crate::policy::{Outcome, Risk, RuleError, RuleSet};
use crate::sql::action::{Action, Breadth};

#[derive(Debug, Args)]
pub struct JudgeArgs {
    /// Rule file, or one of: default, strict, observe
    #[arg(long, value_name = "FILE", default_value = "default")]
    rules: String,
    /// Dialect of lines that do not name one: postgres, mysql or mariadb
    #[arg(long, value_name = "D", default_value = "postgres")]
    dialect: String,
    /// Read one JSON object a line from standard input and write one a line
    #[arg(long)]
    jsonl: bool,
    /// Judge as this agent, where rules ask for one
    #[arg(long, value_name = "NAME", default_value = "agent")]
    principal: String,
    /// Judge as in this database, where rules ask for one
    #[arg(long, value_name = "NAME", default_value = "postgres")]
    database: String,
    #[command(flatten)]
    live: LiveArgs,
    /// A statement to judge, in place of lines from standard input
    #[arg(
        value_name = "SQL",
        required_unless_present = "jsonl",
        conflicts_with = "jsonl"
    )]
    sql: Option<String>,
}

/// `countersign judge`: exit 0, or 1 if a line could not be judged.
pub fn run(args: JudgeArgs) -> ExitCode {
    let rules = match RuleSet::open(&args.rules) {
        Ok(rules) => rules,
        Err(error) => return complain(&error),
    };
    let Some(peer) = peer(&args) else {
        eprintln!("error: `{}` is not the name of an agent", args.principal);
        eprintln!("next: write 1 to 63 of a-z 0-9 _ - .");
        return ExitCode::from(2);
    };
    let live = match args.live.read() {
        Ok(live) => live,
        Err(error) => return error.report(),
    };
    match offline::on_a_reader_stack(move || lines(&args, &rules, &peer, live.as_ref())) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
        Err(error) => error.report(),
    }
}

fn complain(error: &RuleError) -> ExitCode {
    eprintln!("error: {error}");
    eprintln!("next: {}", error.next_step);
    ExitCode::FAILURE
}

fn peer(args: &JudgeArgs) -> Option<Peer> {
    Some(Peer {
        principal: PrincipalName::parse_any(&args.principal).ok()?,
        owner: PersonName::parse("nobody").ok()?,
        profile: Profile::Standard,
        labels: Default::default(),
        session: SessionId(0),
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        upstream: "main".to_owned(),
        database: args.database.clone(),
        database_user: args.principal.clone(),
    })
}

/// One line of input. Other keys are allowed, so that a corpus can be judged as it is.
#[derive(Deserialize)]
struct Question {
    #[serde(default)]
    id: Value,
    dialect: Option<String>,
    sql: Option<String>,
    /// The bytes of a statement that is not text, in place of `sql`.
    sql_hex: Option<String>,
    /// Statements that ran before on the same connection.
    #[serde(default)]
    session: Vec<String>,
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a Value,
    verdict: Outcome,
    class: &'a str,
    rule: &'a str,
    risk: Risk,
    reasons: &'a [String],
    tables: Vec<String>,
    functions: Vec<String>,
    bounded: bool,
}

#[derive(Serialize)]
struct Failure<'a> {
    id: &'a Value,
    error: &'a str,
}

fn lines(args: &JudgeArgs, rules: &RuleSet, peer: &Peer, live: Option<&Live>) -> std::io::Result<ExitCode> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut failed = false;
    let mut one = |line: &str, out: &mut dyn Write| -> std::io::Result<()> {
        let id = serde_json::from_str::<Value>(line)
            .ok()
            .and_then(|object| object.get("id").cloned())
            .unwrap_or(Value::Null);
        let result = serde_json::from_str::<Question>(line)
            .map_err(|error| format!("not a line of input: {error}"))
            .and_then(|question| answer(&question, args, rules, peer, live));
        match result {
            Ok(answer) => writeln!(out, "{answer}"),
            Err(error) => {
                failed = true;
                writeln!(
                    out,
                    "{}",
                    json(&Failure {
                        id: &id,
                        error: &error
                    })
                )
            }
        }
    };
    match &args.sql {
        Some(sql) => one(
            &serde_json::json!({ "id": null, "sql": sql }).to_string(),
            &mut out,
        )?,
        None => {
            for line in std::io::stdin().lock().split(b'\n') {
                let line = line?;
                match std::str::from_utf8(&line) {
                    Ok(line) if line.trim().is_empty() => {}
                    Ok(line) => one(line, &mut out)?,
                    // Not UTF-8, so not JSON; let it fail as such.
                    Err(_) => one("not UTF-8", &mut out)?,
                }
            }
        }
    }
    out.flush()?;
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

fn answer(
    question: &Question,
    args: &JudgeArgs,
    rules: &RuleSet,
    peer: &Peer,
    live: Option<&Live>,
) -> Result<String, String> {
    let bytes = match (&question.sql_hex, &question.sql) {
        (Some(hex), _) => unhex(hex).ok_or("`sql_hex` is not hexadecimal")?,
        (None, Some(sql)) => sql.clone().into_bytes(),
        (None, None) => return Err("`sql` is missing".to_owned()),
    };
    let dialect = question.dialect.as_deref().unwrap_or(&args.dialect);
    let judged = offline::judge(dialect, &question.session, &bytes, live)?;
    let Said { outcome, verdict } = judged.put_to(rules, peer, Timestamp::now());
    let judgement = &judged.judgement;
    let names = |pick: fn(&Action) -> Vec<String>| {
        let mut names: Vec<String> = judgement.actions.iter().flat_map(pick).collect();
        names.sort();
        names.dedup();
        names
    };
    Ok(json(&Answer {
        id: &question.id,
        verdict: outcome,
        class: judgement.class().as_str(),
        rule: verdict.rule.as_str(),
        risk: verdict.risk,
        reasons: &verdict.reasons,
        tables: names(|action| action.tables.iter().map(ToString::to_string).collect()),
        functions: names(|action| action.functions.iter().map(ToString::to_string).collect()),
        bounded: judgement
            .actions
            .iter()
            .all(|action| action.breadth == Breadth::Bounded),
    }))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits?;
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok())
        .collect()
}
