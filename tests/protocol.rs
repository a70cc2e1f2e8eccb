//! Every PostgreSQL case of the statement corpus, sent to the running proxy in front of a server with the corpus's
//! fixtures: texts by the simple and the extended protocol, and the cases that are a sequence of messages.
//!
//! Never believes the proxy alone: what was stopped must be missing in the server's own log. Format of the cases:
//! tests/corpus/README.md. Cases of our own that go beyond the corpus: `state.rs`.

mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use support::api::Api;
use support::child::Demo;
use support::server::{Postgres, connect};
use support::treatment::{Decide, Reviewer, Treatment};
use support::wire::{Frames, Wire};

/// Connections that try cases at the same time.
const HANDS: usize = 4;

/// Database of the fixtures: the name is part of some cases.
const DATABASE: &str = "corpus";

/// One case of the corpus.
struct Case(Value);

impl Case {
    fn id(&self) -> &str {
        self.0["id"].as_str().expect("a name")
    }

    fn expects(&self) -> &str {
        self.0["expect"].as_str().expect("an expectation")
    }

    fn list(&self, key: &str) -> Vec<String> {
        let items = self.0[key].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().map(text).collect()
    }

    fn needs(&self, what: &str) -> bool {
        self.list("needs").iter().any(|need| need == what)
    }

    fn bytes(&self) -> Vec<u8> {
        match self.0["sql_hex"].as_str() {
            Some(hex) => (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"))
                .collect(),
            None => text(&self.0["sql"]).into_bytes(),
        }
    }

    /// What has to be sent: each part ends with an answer that is read whole.
    fn parts(&self, protocol: Protocol) -> Vec<Frames> {
        if let Some(steps) = self.0["steps"].as_array() {
            return parts_of(steps);
        }
        let mut body = self.bytes();
        body.push(0);
        match protocol {
            Protocol::Simple => vec![Frames::new().raw(b'Q', &body)],
            Protocol::Extended => {
                let parse = [b"\0".as_slice(), &body, &[0, 0]].concat();
                let values = self.list("params");
                let values: Vec<_> = values.iter().map(String::as_str).collect();
                let frames = Frames::new().raw(b'P', &parse).bind("", "", &values);
                vec![frames.describe_portal("").execute("").sync()]
            }
        }
    }

    /// What answers a CopyInResponse: the server ignores a Sync that it got before.
    fn copy_in(&self, protocol: Protocol) -> Frames {
        let data = text(&self.0["copy_in"]);
        let frames = Frames::new().raw(b'd', data.as_bytes()).raw(b'c', &[]);
        match protocol {
            Protocol::Simple => frames,
            Protocol::Extended => frames.sync(),
        }
    }

    fn start_up(&self) -> Vec<(String, String)> {
        let steps = self.0["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
        let given = steps.iter().filter_map(|step| step["startup"].as_object());
        let given = given.flatten().map(|(name, value)| (name.clone(), text(value)));
        // The server writes it into its log beside each statement.
        let mark = ("application_name".to_owned(), self.id().to_owned());
        std::iter::once(mark).chain(given).collect()
    }

    /// The texts that the server must not have where the last part was stopped. None where it is also sent before.
    fn must_be_missing(&self) -> Vec<String> {
        let Some(steps) = self.0["steps"].as_array() else {
            // The server's log does not show what is not UTF-8 as it came: such a text is in no list.
            let text = String::from_utf8(self.bytes()).unwrap_or_default();
            return (!self.list("session").contains(&text))
                .then_some(text)
                .into_iter()
                .collect();
        };
        if parts_of(steps).len() > 1 {
            return Vec::new();
        }
        let texts = steps.iter().filter_map(|step| step["query"].as_str());
        texts.map(str::to_owned).collect()
    }

    /// Why this treatment is wrong under the default rules, if it is.
    fn objection(&self, treatment: &Treatment, sight: Sight) -> Option<&'static str> {
        let is_unseen = sight == Sight::Text;
        let needs_more = (self.needs("catalog") && is_unseen) || self.needs("metering");
        match (self.expects(), treatment) {
            ("pass", Treatment::Passed) | ("deny", Treatment::Refused(_)) => None,
            ("pass", Treatment::Held | Treatment::Refused(_)) => {
                (!self.needs("catalog")).then_some("needlessly stopped")
            }
            ("deny", Treatment::Held) => Some("held where it must be refused"),
            ("hold" | "deny", Treatment::Passed) => (!needs_more).then_some("let through"),
            ("hold", Treatment::Held | Treatment::Refused(_)) => None,
            // Bounded writes pass under these rules; that none is a read shows under the strict ones.
            ("write-policy", Treatment::Passed | Treatment::Held | Treatment::Refused(_)) => None,
            (other, _) => panic!("an unknown expectation {other}"),
        }
    }
}

/// By what names are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Text,
    Catalog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Simple,
    Extended,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn parts_of(steps: &[Value]) -> Vec<Frames> {
    let mut parts = Vec::new();
    let mut frames = Frames::new();
    for step in steps {
        let (kind, what) = step
            .as_object()
            .and_then(|step| step.iter().next())
            .expect("one step");
        frames = match kind.as_str() {
            "startup" => frames,
            "query" => frames.query(&text(what)),
            "parse" => frames.parse(&text(&what[0]), &text(&what[1])),
            "bind" => {
                let values = what[2].as_array().map(Vec::as_slice).unwrap_or_default();
                let values: Vec<_> = values.iter().map(text).collect();
                let values: Vec<_> = values.iter().map(String::as_str).collect();
                frames.bind(&text(&what[0]), &text(&what[1]), &values)
            }
            "describe" if what[0] == "S" => frames.describe_statement(&text(&what[1])),
            "describe" => frames.describe_portal(&text(&what[1])),
            "execute" => {
                let rows = what[1].as_u64().expect("a number of rows");
                frames.execute_rows(&text(&what[0]), u32::try_from(rows).expect("not many"))
            }
            "close" if what[0] == "S" => frames.close_statement(&text(&what[1])),
            "close" => frames.close_portal(&text(&what[1])),
            "flush" => frames.flush(),
            "sync" => frames.sync(),
            // The function does not matter: the message itself is what is not served.
            "function_call" => frames.raw(b'F', &[0, 0, 4, 0, 0, 0, 0, 0, 0, 0]),
            other => panic!("an unknown step {other}"),
        };
        if matches!(kind.as_str(), "query" | "sync" | "function_call") {
            parts.push(std::mem::take(&mut frames));
        }
    }
    parts
}

/// A proxy in front of the server with the fixtures, as its clients and its reviewer see it.
struct Stage {
    url: String,
    api: Api,
    reviewer: Reviewer,
}

impl Stage {
    fn of(demo: &Demo) -> Self {
        Self {
            url: demo.sheet.postgres_url.clone(),
            api: demo.reviewer(),
            reviewer: Reviewer::new(demo.reviewer()),
        }
    }

    /// What becomes of a case's last part, all that came before approved.
    fn try_case(&self, case: &Case, protocol: Protocol) -> Treatment {
        let start_up = case.start_up();
        let start_up: Vec<_> = start_up
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut wire = match Wire::connect_with(&self.url, &start_up) {
            Ok(wire) => wire,
            Err(fields) => return Treatment::Refused(fields.message),
        };
        let copy_in = case.copy_in(protocol);
        for statement in case.list("session") {
            self.reviewer
                .ask(&mut wire, Frames::new().query(&statement), Decide::Approve);
        }
        let mut parts = case.parts(protocol);
        let last = parts.pop().expect("something to send");
        for part in parts {
            self.reviewer.ask(&mut wire, part, Decide::Approve);
        }
        let treatment = self
            .reviewer
            .ask_with(&mut wire, last, &copy_in, Decide::Withdraw, 1);
        if treatment.is_stopped() {
            self.goes_on(case, &mut wire, &treatment);
        }
        treatment
    }

    /// Promise 7: whatever was stopped, the connection is usable (unless its bytes broke the protocol).
    fn goes_on(&self, case: &Case, wire: &mut Wire, treatment: &Treatment) {
        if matches!(treatment, Treatment::Refused(_)) && case.0.get("sql_hex").is_some() {
            return;
        }
        self.reviewer
            .ask(wire, Frames::new().query("ROLLBACK"), Decide::Withdraw);
        let answer = wire.query("SELECT 'goes on'");
        let rows = answer.iter().filter(|message| message.tag == b'D').count();
        assert_eq!(
            rows,
            1,
            "{}: not usable after {treatment:?}: {answer:?}",
            case.id()
        );
    }
}

/// A server with contrib, large objects and all that the cases ask for.
async fn server_of_the_corpus() -> Postgres {
    let postgres = Postgres::start_with(&[
        ("wal_level", "logical"),
        ("max_prepared_transactions", "20"),
        ("max_replication_slots", "20"),
        ("log_line_prefix", "%a "),
    ]);
    postgres.load_corpus(DATABASE).await;
    postgres
}

fn proxy(postgres: &Postgres, rules: &str, sight: Sight) -> Demo {
    let url = postgres.server().superuser_url(DATABASE);
    let mut arguments = vec!["--upstream-postgres", &url, "--rules", rules];
    arguments.extend((sight == Sight::Catalog).then_some("--catalog"));
    Demo::start(&arguments)
}

fn cases() -> Vec<Case> {
    let corpus = std::fs::read_to_string("tests/corpus/statements.jsonl").expect("the corpus");
    let mut cases: Vec<_> = corpus
        .lines()
        .map(|line| Case(serde_json::from_str(line).expect("a line of JSON")))
        .filter(|case| case.0["dialect"] == "postgres")
        .collect();
    assert!(
        cases.len() > 450,
        "the corpus has lost its cases: {}",
        cases.len()
    );
    // What is set up for one case stays for those behind it.
    cases.sort_by_key(|case| case.list("setup").len());
    cases
}

/// Tries all cases on several connections at a time, in their order.
async fn try_all<'a>(
    stage: &Stage,
    postgres: &Postgres,
    cases: &[(&'a Case, Protocol)],
) -> Vec<(&'a Case, Protocol, Treatment)> {
    let (alone, together): (Vec<_>, Vec<_>) =
        cases.iter().partition(|(case, _)| !case.list("setup").is_empty());
    let mut tried = tokio::task::block_in_place(|| on_several_hands(stage, &together));
    let superuser = connect(&postgres.server().superuser_url(DATABASE)).await;
    end_prepared_transactions(&superuser).await;
    for (case, protocol) in alone {
        for statement in case.list("setup") {
            let statement = statement.replace("{PGPORT}", &postgres.server().port().to_string());
            // It is there already where a case is tried a second time.
            let _there = superuser.batch_execute(&statement).await;
        }
        // It was made past the proxy.
        let (status, catalogs) = stage.api.post("/catalogs/refresh", &serde_json::json!({})).await;
        assert!(status.is_success(), "{catalogs}");
        let treatment = tokio::task::block_in_place(|| stage.try_case(case, protocol));
        tried.push((case, protocol, treatment));
        let undo = format!("ALTER DATABASE {DATABASE} RESET ALL");
        superuser
            .batch_execute(&undo)
            .await
            .expect("the settings go back");
    }
    tried
}

/// They outlive their sessions, and a replication slot is not made before they end.
async fn end_prepared_transactions(superuser: &tokio_postgres::Client) {
    let rows = superuser.query("SELECT gid FROM pg_prepared_xacts", &[]).await;
    for row in rows.expect("the server answers") {
        let gid: String = row.get(0);
        let undo = format!("ROLLBACK PREPARED '{gid}'");
        superuser.batch_execute(&undo).await.expect("it is there");
    }
}

fn on_several_hands<'a>(
    stage: &Stage,
    cases: &[(&'a Case, Protocol)],
) -> Vec<(&'a Case, Protocol, Treatment)> {
    let next = AtomicUsize::new(0);
    let tried = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..HANDS {
            scope.spawn(|| {
                while let Some((case, protocol)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let treatment = stage.try_case(case, *protocol);
                    tried
                        .lock()
                        .expect("no panic holds it")
                        .push((*case, *protocol, treatment));
                }
            });
        }
    });
    tried.into_inner().expect("no panic holds it")
}

/// Statements in the server's log by the application_name of their connection.
fn received(postgres: &Postgres) -> BTreeMap<String, Vec<String>> {
    let mut received: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in postgres.log().lines() {
        if let (Some(rest), Some(name)) = (line.strip_prefix('\t'), &current) {
            let texts = received.entry(name.clone()).or_default();
            let last = texts.last_mut().expect("begun with a first line");
            last.push('\n');
            last.push_str(rest);
            continue;
        }
        current = None;
        let Some((name, statement)) = line.split_once(" LOG:  ") else {
            continue;
        };
        let text = match statement.strip_prefix("statement: ") {
            Some(text) => Some(text),
            None => statement
                .strip_prefix("execute ")
                .and_then(|rest| rest.split_once(": "))
                .map(|(_, text)| text),
        };
        if let Some(text) = text {
            received.entry(name.to_owned()).or_default().push(text.to_owned());
            current = Some(name.to_owned());
        }
    }
    received
}

/// Tries cases and says of each what was wrong with its treatment.
async fn check(cases: &[(&Case, Protocol)], sight: Sight) {
    let postgres = server_of_the_corpus().await;
    let demo = proxy(&postgres, "rules/default.toml", sight);
    let tried = try_all(&Stage::of(&demo), &postgres, cases).await;
    let received = received(&postgres);
    let mut wrong = Vec::new();
    for (case, _, treatment) in &tried {
        let objection = case.objection(treatment, sight);
        wrong.extend(objection.map(|why| format!("{} {treatment:?}: {why}: {}", case.id(), case.0["sql"])));
        let texts = received.get(case.id()).map(Vec::as_slice).unwrap_or_default();
        if treatment.is_stopped() && case.must_be_missing().iter().any(|text| texts.contains(text)) {
            wrong.push(format!("{}: stopped, and yet the server has it", case.id()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} wrong: {wrong:#?}",
        wrong.len(),
        tried.len()
    );
    let passed = tried.iter().filter(|(_, _, treatment)| !treatment.is_stopped());
    let seen = passed.filter(|(case, _, _)| received.contains_key(case.id()));
    assert!(
        seen.count() > 0,
        "what passed is in the server's log, which can be read"
    );
}

fn texts(cases: &[Case], protocol: Protocol) -> Vec<(&Case, Protocol)> {
    let texts = cases.iter().filter(|case| case.0.get("steps").is_none());
    let texts: Vec<_> = texts.map(|case| (case, protocol)).collect();
    assert!(
        texts.len() > 430,
        "the corpus has lost its texts: {}",
        texts.len()
    );
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn every_text_of_the_corpus_is_treated_as_expected_as_a_query() {
    check(&texts(&cases(), Protocol::Simple), Sight::Text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_text_of_the_corpus_is_treated_as_expected_as_a_query_by_the_catalog() {
    check(&texts(&cases(), Protocol::Simple), Sight::Catalog).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_text_of_the_corpus_is_treated_as_expected_as_a_parse_and_bind() {
    check(&texts(&cases(), Protocol::Extended), Sight::Text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_text_of_the_corpus_is_treated_as_expected_as_a_parse_and_bind_by_the_catalog() {
    check(&texts(&cases(), Protocol::Extended), Sight::Catalog).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sequence_of_messages_of_the_corpus_is_treated_as_expected() {
    check_sequences(Sight::Text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sequence_of_messages_of_the_corpus_is_treated_as_expected_by_the_catalog() {
    check_sequences(Sight::Catalog).await;
}

async fn check_sequences(sight: Sight) {
    let cases = cases();
    let sequences = cases.iter().filter(|case| case.0.get("steps").is_some());
    let sequences: Vec<_> = sequences.map(|case| (case, Protocol::Simple)).collect();
    assert!(
        sequences.len() > 30,
        "the corpus has lost its sequences: {}",
        sequences.len()
    );
    check(&sequences, sight).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_of_the_corpus_is_treated_as_a_read() {
    let postgres = server_of_the_corpus().await;
    let demo = proxy(&postgres, "rules/strict.toml", Sight::Text);
    let cases = cases();
    let writes: Vec<_> = cases
        .iter()
        .filter(|case| case.expects() == "write-policy")
        .map(|case| (case, Protocol::Simple))
        .collect();
    assert!(writes.len() > 30, "the corpus has lost its writes");
    for (case, _, treatment) in try_all(&Stage::of(&demo), &postgres, &writes).await {
        assert!(treatment.is_stopped(), "let through: {}", case.0);
    }
}
