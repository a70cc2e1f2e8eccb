//! What the server's own log and the proxy's say of each run, put side by side.
//!
//! Never takes the proxy's word for what reached the server: that is read in the server's log. Read `tests/sockets.rs`
//! for what must hold.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::session::RunNumber;
use super::support::api::Api;
use super::support::server::Postgres;

/// Goes before every line of the server's log: who, and the application name, which names the run.
pub const LINE_PREFIX: &str = "[%a] ";

/// What the proxy asks each server connection before it is a client's; no recorded client asks the same.
const OWN_AT_LOGIN: [&str; 6] = [
    "SHOW search_path",
    "SHOW role",
    "SHOW client_encoding",
    "SHOW server_encoding",
    "SHOW standard_conforming_strings",
    "SELECT pg_catalog.pg_backend_pid()",
];

/// Statements by their text, each as often as there are.
pub type Texts = BTreeMap<String, usize>;

/// What is known of each run from both logs.
#[derive(Default)]
pub struct Evidence {
    /// Statements that reached the server.
    pub executed: HashMap<RunNumber, Texts>,
    /// Attempts in the proxy's log.
    pub attempted: HashMap<RunNumber, Texts>,
    /// Attempts that have no outcome.
    pub without_outcome: Vec<Value>,
    /// Held statements: run, state and text.
    pub requests: Vec<(RunNumber, String, String)>,
}

impl Evidence {
    pub async fn gather(postgres: &Postgres, reviewer: &Api) -> Self {
        let mut evidence = Self {
            executed: executed(&postgres.log()),
            ..Self::default()
        };
        let mut open: HashMap<String, Value> = HashMap::new();
        for record in all(reviewer, "/log?order=oldest&limit=1000").await {
            let attempt = record["attempt"].as_str().unwrap_or_default().to_owned();
            match record["kind"].as_str() {
                Some("attempt") => {
                    if let Some(run) = record["claimed"][0]["value"].as_str().and_then(run_of) {
                        count(&mut evidence.attempted, run, text(&record));
                        open.insert(attempt, record);
                    }
                }
                Some("outcome") => drop(open.remove(&attempt)),
                _ => {}
            }
        }
        evidence.without_outcome = open.into_values().collect();
        for request in all(reviewer, "/requests?limit=500").await {
            let run = request["claimed"]["application_name"].as_str().and_then(run_of);
            let state = request["state"].as_str().unwrap_or_default().to_owned();
            if let Some(run) = run {
                evidence.requests.push((run, state, text(&request)));
            }
        }
        evidence
    }

    /// How often this very text of a run reached the server.
    pub fn times_executed(&self, run: RunNumber, text: &str) -> usize {
        self.executed
            .get(&run)
            .and_then(|texts| texts.get(text))
            .copied()
            .unwrap_or(0)
    }
}

/// `[run 00042] LOG:  statement: …` and `[run 00042] LOG:  execute NAME: …`, without what the proxy asks for itself.
fn executed(log: &str) -> HashMap<RunNumber, Texts> {
    let mut executed = HashMap::new();
    for line in log.lines() {
        let Some((name, rest)) = line
            .strip_prefix('[')
            .and_then(|line| line.split_once("] LOG:  "))
        else {
            continue;
        };
        let of_execute = rest
            .strip_prefix("execute ")
            .and_then(|rest| rest.split_once(": "));
        let statement = match (rest.strip_prefix("statement: "), of_execute) {
            (Some(text), _) => (!OWN_AT_LOGIN.contains(&text)).then_some(text),
            (None, Some((portal, text))) => (!portal.starts_with("_countersign")).then_some(text),
            (None, None) => None,
        };
        if let (Some(run), Some(text)) = (run_of(name), statement) {
            count(&mut executed, run, text.to_owned());
        }
    }
    executed
}

fn run_of(application_name: &str) -> Option<RunNumber> {
    RunNumber::find_in(application_name.as_bytes())
}

fn count(of: &mut HashMap<RunNumber, Texts>, run: RunNumber, text: String) {
    *of.entry(run).or_default().entry(text).or_default() += 1;
}

fn text(record: &Value) -> String {
    record["text"].as_str().unwrap_or_default().to_owned()
}

/// Every item of every page.
async fn all(reviewer: &Api, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = reviewer.get(&format!("{path}{cursor}")).await;
        assert!(status.is_success(), "{page}");
        items.extend(page["items"].as_array().expect("items").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}
