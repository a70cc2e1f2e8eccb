//! Every MySQL case of the statement corpus, sent to the running proxy in front of a server with the corpus's fixtures:
//! texts as COM_QUERY and as a prepared statement, and the cases that are a sequence of commands.
//!
//! Never believes the proxy alone: what was stopped must be missing in the server's own log, and must have changed
//! nothing. Format of the cases: tests/corpus/README.md.

mod support;

use std::time::Duration;

use serde_json::Value;
use support::house_mysql::{MysqlHouse, MysqlReviewer, MysqlSettings, OWNER, Reader, Received};
use support::mariadb::Mariadb;
use support::mysql_answer::Answer;
use support::mysql_wire::{LogIn, MysqlWire, com, execute, flag};
use support::treatment::{Decide, Treatment};

/// Schema of the fixtures: the name is part of some cases.
const SCHEMA: &str = "app";

/// What a case that was stopped must not have changed: rows, calls, the sequence, tables, users, settings.
const FINGERPRINT: &str = "\
    SELECT CONCAT_WS('/', (SELECT GROUP_CONCAT(k, v ORDER BY k) FROM app.secrets), (SELECT COUNT(*) FROM app.audit_log), \
    (SELECT next_not_cached_value FROM app.audit_seq), (SELECT SUM(id) + COUNT(email) FROM app.customers), \
    (SELECT COUNT(*) + SUM(total) FROM app.orders), (SELECT COUNT(*) FROM big.events), \
    (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema <> 'performance_schema'), \
    (SELECT COUNT(*) FROM information_schema.routines), (SELECT COUNT(*) FROM mysql.global_priv), \
    @@global.max_connections, @@global.sql_mode, @@global.read_only, @@global.event_scheduler)";

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
            Some(hex) => from_hex(hex),
            None => text(&self.0["sql"]).into_bytes(),
        }
    }

    fn steps(&self) -> &[Value] {
        self.0["steps"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// How its connection begins.
    fn log_in(&self, url: &str) -> LogIn {
        let mut log_in = LogIn::of(url);
        let given = self.steps().iter().find_map(|step| step.get("handshake"));
        let Some(given) = given else {
            return log_in;
        };
        if let Some(schema) = given["database"].as_str() {
            log_in.schema = Some(schema.to_owned());
        }
        if let Some(charset) = given["charset"].as_u64() {
            log_in.charset = u8::try_from(charset).expect("one byte");
        }
        if given["flags"] == 0 {
            log_in = log_in.without(flag::MULTI_STATEMENTS);
        }
        log_in
    }

    /// The texts that the server must not have where the last command was stopped.
    fn must_be_missing(&self) -> Option<String> {
        if !self.steps().is_empty() {
            return None;
        }
        // The server's log does not show what is not UTF-8 as it came, and holds no blanks at the end.
        let text = String::from_utf8(self.bytes()).ok()?;
        let text = text.trim_end_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c', ';', '\0']);
        (!text.is_empty() && !self.list("session").iter().any(|before| before.contains(text)))
            .then(|| text.to_owned())
    }

    /// A KILL of the session's own number.
    fn ends_itself(&self) -> bool {
        self.id() == "my-admin-001" || self.steps().iter().any(|step| step.get("kill_self").is_some())
    }

    /// What MariaDB alone runs is a comment to others.
    fn is_of_mariadb_alone(&self) -> bool {
        text(&self.0["sql"]).contains("/*M!")
    }

    /// Why this treatment is wrong under the default rules, if it is.
    fn objection(&self, treatment: &Treatment, sight: Sight, server: Server) -> Option<&'static str> {
        let needs_more = (self.needs("catalog") && sight == Sight::Text) || self.needs("metering");
        if self.ends_itself() && *treatment == Treatment::Passed {
            // The proxy carries it out: tests/corpus/README.md.
            return None;
        }
        if server == Server::Mysql56 && self.is_of_mariadb_alone() {
            return None;
        }
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

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

/// What stands behind the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Mariadb,
    Mysql56,
}

/// By what names are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Text,
    Catalog,
}

/// How a text is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Query,
    Prepared,
}

/// One command and how its answer is read.
struct Sent {
    payload: Vec<u8>,
    read: Reader,
}

fn query(text: &[u8]) -> Sent {
    Sent {
        payload: [&[com::QUERY], text].concat(),
        read: MysqlWire::answers,
    }
}

fn prepare(text: &[u8]) -> Sent {
    Sent {
        payload: [&[com::STMT_PREPARE], text].concat(),
        read: |wire| vec![wire.prepared()],
    }
}

/// A proxy in front of a server with the fixtures, as its clients and its reviewer see it.
struct Stage {
    house: MysqlHouse,
    reviewer: MysqlReviewer,
    received: Received,
    admin: MysqlWire,
    fingerprint: String,
}

impl Stage {
    fn set(rules: &str, sight: Sight) -> Self {
        let server = Mariadb::start_with(&[
            "--event-scheduler=ON",
            "--local-infile=1",
            "--secure-file-priv=",
            "--log-bin=binlog",
        ]);
        server.load_fixtures();
        let mut settings = MysqlSettings {
            rules: rules.to_owned(),
            ..MysqlSettings::default()
        };
        if sight == Sight::Catalog {
            settings.sections = format!(
                "[mysql.catalog]\nuser = \"{OWNER}\"\nrefresh_seconds = 1800\nstale_after_seconds = 3600\n"
            );
        }
        let house = MysqlHouse::open_with(server, &settings, |_| {});
        let reviewer = MysqlReviewer::of(&house, "bot", &house.url(SCHEMA));
        let mut stage = Self {
            received: house.received(),
            admin: house.admin(),
            reviewer,
            house,
            fingerprint: String::new(),
        };
        stage.fingerprint = stage.look();
        stage
    }

    fn look(&mut self) -> String {
        let text = if self.house.server.is_mariadb() {
            FINGERPRINT.to_owned()
        } else {
            FINGERPRINT
                .replace("SELECT next_not_cached_value FROM app.audit_seq", "SELECT 0")
                .replace("mysql.global_priv", "mysql.user")
        };
        support::mysql_answer::value(&self.admin.query(&text))
    }

    /// Whether the server takes this read at all: other kinds and versions lack what some cases are about.
    fn server_knows(&mut self, case: &Case) -> bool {
        assert!(self.admin.query("USE app")[0].is_ok());
        let answers = self.admin.query_bytes(&case.bytes());
        answers.iter().all(|answer| answer.error().is_none())
    }

    /// Puts the fixtures back where a case has changed them, and says whether it did.
    fn clean_up(&mut self) -> bool {
        if self.look() == self.fingerprint {
            return false;
        }
        self.house.server.run("DROP DATABASE IF EXISTS big;");
        self.house.server.load_fixtures();
        self.fingerprint = self.look();
        true
    }

    fn ask(&self, wire: &mut MysqlWire, sent: &Sent, decide: Decide) -> (Treatment, Vec<Answer>) {
        self.reviewer.ask(wire, &sent.payload, sent.read, decide)
    }

    /// What becomes of a case's last command, all that came before approved.
    fn try_case(&self, case: &Case, protocol: Protocol) -> Treatment {
        let mut wire = match MysqlWire::log_in(&case.log_in(&self.house.url(SCHEMA))) {
            Ok(wire) => wire,
            Err(error) => return Treatment::Refused(error.message),
        };
        for statement in case.list("session") {
            self.ask(&mut wire, &query(statement.as_bytes()), Decide::Approve);
        }
        let treatment = if !case.steps().is_empty() {
            self.try_steps(case, &mut wire)
        } else if protocol == Protocol::Query {
            self.ask(&mut wire, &query(&case.bytes()), Decide::Withdraw).0
        } else {
            self.try_prepared(case, &mut wire)
        };
        if treatment.is_stopped() {
            self.goes_on(case, &mut wire, &treatment);
        }
        treatment
    }

    fn try_prepared(&self, case: &Case, wire: &mut MysqlWire) -> Treatment {
        let (treatment, answers) = self.ask(wire, &prepare(&case.bytes()), Decide::Withdraw);
        if treatment.is_stopped() {
            return treatment;
        }
        let Some(Answer::Prepared { id, .. }) = answers.first() else {
            // A prepare that fails runs nothing, and cannot be executed.
            return match case.expects() {
                "pass" => treatment,
                _ => Treatment::Refused("by the server".to_owned()),
            };
        };
        let sent = Sent {
            payload: execute(*id, &[], 0),
            read: MysqlWire::answers,
        };
        self.ask(wire, &sent, Decide::Withdraw).0
    }

    /// The treatment of its last command; where something is to be stopped, it may be any of them.
    fn try_steps(&self, case: &Case, wire: &mut MysqlWire) -> Treatment {
        let mut last = Treatment::Passed;
        let mut statement = 0;
        let mut long = 0;
        let steps = case.steps();
        for (at, step) in steps.iter().enumerate() {
            let decide = match at + 1 == steps.len() {
                true => Decide::Withdraw,
                false => Decide::Approve,
            };
            let (kind, what) = step
                .as_object()
                .and_then(|step| step.iter().next())
                .expect("one step");
            let sent = match kind.as_str() {
                "handshake" => continue,
                "query" => query(text(what).as_bytes()),
                "query_hex" => query(&from_hex(&text(what))),
                "com" => command(what),
                "stmt_prepare" => prepare(text(what).as_bytes()),
                "stmt_long_data" => {
                    let parameter = what[0].as_u64().expect("a number");
                    let parameter = u16::try_from(parameter).expect("a small one");
                    wire.long_data(statement, parameter, text(&what[1]).as_bytes());
                    continue;
                }
                "stmt_execute" => {
                    let texts: Vec<_> = what["params"]
                        .as_array()
                        .map(Vec::as_slice)
                        .unwrap_or_default()
                        .iter()
                        .map(text)
                        .collect();
                    long = what["long"].as_u64().unwrap_or(long);
                    let mut values: Vec<_> = texts.iter().map(|text| Some(text.as_str())).collect();
                    values.extend((0..long).map(|_| None));
                    Sent {
                        payload: execute(statement, &values, 0),
                        read: MysqlWire::answers,
                    }
                }
                "change_user" => {
                    let mut log_in = LogIn::of(&self.house.url(SCHEMA));
                    log_in.user = text(&what["user"]);
                    log_in.password = String::new();
                    return match wire.change_user(&log_in) {
                        Ok(()) => Treatment::Passed,
                        Err(error) => Treatment::Refused(error.message),
                    };
                }
                "kill_self" => Sent {
                    payload: [&[com::PROCESS_KILL], &wire.greeting.connection.to_le_bytes()[..]].concat(),
                    read: MysqlWire::answers,
                },
                other => panic!("an unknown step {other}"),
            };
            let (treatment, answers) = self.ask(wire, &sent, decide);
            if let Some(Answer::Prepared { id, .. }) = answers.first() {
                statement = *id;
            }
            let is_over = matches!(treatment, Treatment::Refused(_));
            let is_the_servers = matches!(answers.as_slice(), [Answer::Error(_)]);
            if kind == "stmt_prepare" && is_the_servers && !treatment.is_stopped() {
                // Nothing is run by a prepare that fails.
                return Treatment::Refused("by the server".to_owned());
            }
            // A step that is itself stopped meets the case: tests/corpus/README.md.
            if treatment.is_stopped() || case.expects() == "pass" {
                last = treatment;
            }
            if is_over || answers.iter().any(|answer| matches!(answer, Answer::Closed(_))) {
                break;
            }
        }
        last
    }

    /// Promise 7: whatever was stopped, the connection is usable, unless the case itself ended it.
    fn goes_on(&self, case: &Case, wire: &mut MysqlWire, treatment: &Treatment) {
        let asks_for_its_end = case.steps().iter().any(|step| step.get("change_user").is_some());
        if asks_for_its_end {
            return;
        }
        self.ask(wire, &query(b"ROLLBACK"), Decide::Withdraw);
        let (after, answers) = self.ask(wire, &query(b"SELECT 4711"), Decide::Approve);
        // In a character set that is not read, everything waits.
        let may_wait = !case.list("session").is_empty();
        assert!(
            (after == Treatment::Passed || may_wait)
                && matches!(&answers[0], Answer::Rows(rows) if rows.rows.len() == 1),
            "{}: not usable after {treatment:?}: {after:?} {answers:?}",
            case.id()
        );
    }
}

fn command(what: &Value) -> Sent {
    let code = text(&what["code"]);
    let code = u8::from_str_radix(code.trim_start_matches("0x"), 16).expect("a command");
    let body = match what["hex"].as_str() {
        Some(hex) => from_hex(hex),
        None => text(&what["text"]).into_bytes(),
    };
    Sent {
        payload: [&[code], &body[..]].concat(),
        read: match what["read"].as_str() {
            Some("fields") => |wire| vec![wire.fields()],
            // COM_SET_OPTION gets an EOF, which is an answer like others; a stream's first packet is enough.
            Some("raw" | "rs") => MysqlWire::answers,
            other => panic!("an unknown reading {other:?}"),
        },
    }
}

fn cases() -> Vec<Case> {
    let corpus = std::fs::read_to_string("tests/corpus/statements.jsonl").expect("the corpus");
    let cases: Vec<_> = corpus
        .lines()
        .map(|line| Case(serde_json::from_str(line).expect("a line of JSON")))
        .filter(|case| case.0["dialect"] == "mysql")
        // What MariaDB lacks says nothing of what it would do there; offline judgement covers it.
        .filter(|case| case.0["family"] != "mysql8_only")
        // No steps are written down for it.
        .filter(|case| case.0["protocol"] != "com_stmt_fetch")
        .collect();
    assert!(
        cases.len() > 330,
        "the corpus has lost its cases: {}",
        cases.len()
    );
    cases
}

/// Tries cases and says of each what was wrong with its treatment.
fn check(cases: &[&Case], protocol: Protocol, sight: Sight) {
    let mut stage = Stage::set("default", sight);
    let server = match stage.house.server.is_mariadb() {
        true => Server::Mariadb,
        false => Server::Mysql56,
    };
    let mut wrong = Vec::new();
    let mut passed = 0;
    for case in cases {
        let is_new = stage.clean_up();
        for statement in case.list("setup") {
            // It is there already where a case is tried a second time; a plugin may not be installed.
            let _done = stage.admin.query(&statement);
        }
        if sight == Sight::Catalog && (is_new || !case.list("setup").is_empty()) {
            refresh(&stage);
        }
        let before = stage.look();
        stage.received.forget();
        let treatment = stage.try_case(case, protocol);
        if case.ends_itself() && stage.received.times("KILL") > 0 {
            wrong.push(format!("{}: the server has it", case.id()));
        }
        if let Some(why) = case.objection(&treatment, sight, server)
            && !(case.expects() == "pass" && case.steps().is_empty() && !stage.server_knows(case))
        {
            wrong.push(format!("{} {treatment:?}: {why}: {}", case.id(), case.0["sql"]));
        }
        if !treatment.is_stopped() {
            passed += 1;
            continue;
        }
        let texts = stage.received.texts();
        if let Some(text) = case.must_be_missing()
            && texts.iter().any(|one| one.contains(&text))
        {
            wrong.push(format!("{}: stopped, and yet the server has it", case.id()));
        }
        let has_effects_before = !case.list("session").is_empty() || case.steps().len() > 1;
        if !has_effects_before && stage.look() != before {
            wrong.push(format!("{}: stopped, and yet it had an effect", case.id()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} wrong: {wrong:#?}",
        wrong.len(),
        cases.len()
    );
    assert!(passed > 0 || cases.len() < 20, "something passes");
}

/// What was set up past the proxy is to be seen.
fn refresh(stage: &Stage) {
    let api = stage.house.reviewer();
    let handle = tokio::runtime::Handle::current();
    // On a busy machine the answer may come too late, though the catalog is being read.
    let is_read = (0..5).any(|_| {
        let (status, _) = handle.block_on(api.post("/catalogs/refresh", &serde_json::json!({})));
        status.is_success()
    });
    assert!(is_read, "the catalog is not read");
}

/// On a thread that may block.
async fn check_in_place(wanted: fn(&Case) -> bool, protocol: Protocol, sight: Sight) {
    let cases = cases();
    let cases: Vec<_> = cases.iter().filter(|case| wanted(case)).collect();
    assert!(cases.len() > 20, "the corpus has lost its cases: {}", cases.len());
    tokio::task::block_in_place(|| check(&cases, protocol, sight));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_text_of_the_corpus_is_treated_as_expected_as_a_query() {
    check_in_place(|case| case.steps().is_empty(), Protocol::Query, Sight::Text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_text_of_the_corpus_is_treated_as_expected_as_a_query_by_the_catalog() {
    check_in_place(|case| case.steps().is_empty(), Protocol::Query, Sight::Catalog).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_text_of_the_corpus_is_treated_as_expected_as_a_prepared_statement() {
    check_in_place(|case| case.steps().is_empty(), Protocol::Prepared, Sight::Text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sequence_of_commands_of_the_corpus_is_treated_as_expected() {
    check_in_place(|case| !case.steps().is_empty(), Protocol::Query, Sight::Text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_of_the_corpus_is_treated_as_a_read() {
    let cases = cases();
    let writes: Vec<_> = cases
        .iter()
        .filter(|case| case.expects() == "write-policy")
        .collect();
    assert!(writes.len() > 25, "the corpus has lost its writes");
    tokio::task::block_in_place(|| {
        let mut stage = Stage::set("strict", Sight::Text);
        for case in writes {
            stage.clean_up();
            if case.is_of_mariadb_alone() && !stage.house.server.is_mariadb() {
                continue;
            }
            let treatment = stage.try_case(case, Protocol::Query);
            assert!(treatment.is_stopped(), "let through: {}", case.0);
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_over_a_whole_table_is_fetched_in_slices() {
    tokio::task::block_in_place(|| {
        let stage = Stage::set("default", Sight::Text);
        let mut wire = stage.house.connect();
        let id = wire.prepare("SELECT id FROM big.events ORDER BY id").statement();
        wire.send_execute(id, &[], 1);
        let opened = wire.answers();
        assert!(opened[0].rows().has_cursor(), "{opened:?}");
        for _ in 0..3 {
            assert_eq!(wire.fetch(id, 1_000).rows().rows.len(), 1_000);
        }
        // What is left over does not stand in the way.
        assert!(wire.ask(com::STMT_RESET, &id.to_le_bytes()).is_ok());
        assert!(wire.ping().is_ok());
        wire.is_silent(Duration::from_millis(50));
    });
}
