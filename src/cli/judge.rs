//! Offline: says what the proxy would decide of statements, by the proxy's own code and built-in knowledge.
//! Never opens a connection. Read `../sql/parse.rs` next.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::identity::principal::{Peer, PersonName, PrincipalName, Profile, SessionId};
use crate::policy::{Outcome, Risk, RuleError, RuleSet, Verdict, evaluate};
use crate::sql::action::{Action, Breadth, Effect, Judgement};
use crate::sql::classify::postgres::setting::Followed;
use crate::sql::classify::postgres::unknown_action;
use crate::sql::parse::{PARSER_STACK_BYTES, judge_and_follow};
use crate::sql::statement::{LexingState, PathTrust};

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
    // The readers are recursive; their own threads have the same stack.
    let work = move || lines(&args, &rules, &peer);
    let worker = std::thread::Builder::new()
        .stack_size(PARSER_STACK_BYTES)
        .spawn(work);
    match worker.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(code))) => code,
        Ok(Ok(Err(error))) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
        Ok(Err(_)) | Err(_) => {
            eprintln!("error: the judging thread could not be run");
            ExitCode::FAILURE
        }
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

fn lines(args: &JudgeArgs, rules: &RuleSet, peer: &Peer) -> std::io::Result<ExitCode> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut failed = false;
    let mut one = |line: &str, out: &mut dyn Write| -> std::io::Result<()> {
        let id = serde_json::from_str::<Value>(line)
            .ok()
            .and_then(|object| object.get("id").cloned())
            .unwrap_or(Value::Null);
        let result = serde_json::from_str::<Question>(line)
            .map_err(|error| format!("not a line of input: {error}"))
            .and_then(|question| answer(&question, args, rules, peer));
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

fn answer(question: &Question, args: &JudgeArgs, rules: &RuleSet, peer: &Peer) -> Result<String, String> {
    let bytes = match (&question.sql_hex, &question.sql) {
        (Some(hex), _) => unhex(hex).ok_or("`sql_hex` is not hexadecimal")?,
        (None, Some(sql)) => sql.clone().into_bytes(),
        (None, None) => return Err("`sql` is missing".to_owned()),
    };
    let dialect = question.dialect.as_deref().unwrap_or(&args.dialect);
    let now = Timestamp::now();
    let mut session = Session::new();
    let (judgement, before) = match dialect {
        "postgres" => {
            let before: Vec<Verdict> = question
                .session
                .iter()
                .map(|text| evaluate(rules, &session.run(text.as_bytes()), peer, now))
                .collect();
            (session.run(&bytes), before)
        }
        "mysql" | "mariadb" => (unserved(&bytes), Vec::new()),
        other => {
            return Err(format!(
                "unknown dialect `{other}`: write postgres, mysql or mariadb"
            ));
        }
    };
    let verdict = evaluate(rules, &judgement, peer, now);
    let held_before = before.iter().any(|verdict| verdict.outcome() != Outcome::Allow);
    let mut reasons = verdict.reasons.clone();
    if held_before {
        reasons.push("a statement of the session before it is held".to_owned());
    }
    let least = if held_before || dialect != "postgres" {
        Outcome::Hold
    } else {
        Outcome::Allow
    };
    let names = |pick: fn(&Action) -> Vec<String>| {
        let mut names: Vec<String> = judgement.actions.iter().flat_map(pick).collect();
        names.sort();
        names.dedup();
        names
    };
    Ok(json(&Answer {
        id: &question.id,
        verdict: verdict.outcome().max(least),
        class: judgement.class().as_str(),
        rule: verdict.rule.as_str(),
        risk: verdict.risk,
        reasons: &reasons,
        tables: names(|action| action.tables.iter().map(ToString::to_string).collect()),
        functions: names(|action| action.functions.iter().map(ToString::to_string).collect()),
        bounded: judgement
            .actions
            .iter()
            .all(|action| action.breadth == Breadth::Bounded),
    }))
}

fn unserved(bytes: &[u8]) -> Judgement {
    Judgement {
        actions: vec![unknown_action(
            0..bytes.len(),
            "MySQL is not served by this version".to_owned(),
        )],
        depends_on_names: false,
        fingerprint: [0; 32],
    }
}

/// What a connection would remember, by the words of its statements alone.
struct Session {
    lexing: LexingState,
    names: HashMap<String, Arc<Action>>,
}

impl Session {
    fn new() -> Self {
        Self {
            lexing: LexingState::default_postgres(),
            names: HashMap::new(),
        }
    }

    fn run(&mut self, text: &[u8]) -> Judgement {
        let (judgement, followed) = judge_and_follow(text, self.lexing, &self.names);
        self.follow(followed);
        for effect in judgement.actions.iter().flat_map(|action| &action.effects) {
            match effect {
                Effect::Prepares { name, inner } => {
                    self.names.insert(name.clone(), Arc::clone(inner));
                }
                Effect::Deallocates { name: Some(name) } => {
                    self.names.remove(name);
                }
                Effect::Deallocates { name: None } | Effect::DiscardsAll => self.names.clear(),
                Effect::BeginsTransaction
                | Effect::EndsTransaction { .. }
                | Effect::RollsBackToSavepoint
                | Effect::ChangesMeaning
                | Effect::RunsCursor
                | Effect::ProxySetting { .. } => {}
            }
        }
        judgement
    }

    /// A path that was ever not trusted stays so: a ROLLBACK may bring it back.
    fn follow(&mut self, followed: Followed) {
        if followed.path == Some(PathTrust::Shadowing) {
            self.lexing.path = PathTrust::Shadowing;
        }
        self.lexing.role = followed.role.unwrap_or(self.lexing.role);
        if followed.standard_conforming_strings == Some(false) {
            self.lexing.standard_conforming_strings = false;
        }
        self.lexing.encoding = followed.encoding.unwrap_or(self.lexing.encoding);
    }
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
