//! Sessions of MySQL in front of a catalog: what a name means can change between two statements, by the session itself, by
//! another one, or past the proxy; and what reviewers are told of what waits. Each test is an attempt to get somebody's
//! code run by what looks like a read, or by what is asked about it.
//!
//! Never believes the proxy alone: at the end the trap, a function that leaves a row, must not have been sprung.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::api::id_of;
use support::house_mysql::{MysqlHouse, MysqlReviewer, MysqlSettings};
use support::mariadb::Mariadb;
use support::mysql_wire::MysqlWire;
use support::server::PROGRAM;
use support::treatment::{Decide, Treatment};

/// Seconds between two looks at the catalog, in these tests.
const REFRESH: Duration = Duration::from_secs(1);

/// For one look and what the proxy does with it, on a machine that does much else.
const WITHIN: Duration = Duration::from_secs(15);

const READER: &str = "CREATE USER catalog_reader@'%' IDENTIFIED BY 'reads';
     GRANT SELECT, SHOW VIEW, TRIGGER ON *.* TO catalog_reader@'%';
     CREATE VIEW app.window AS SELECT code FROM app.countries;";

struct Stage {
    house: MysqlHouse,
    reviewer: MysqlReviewer,
}

impl Stage {
    fn open() -> Self {
        Self::open_with(Mariadb::with_fixtures(), 60, "default")
    }

    fn open_with(server: Mariadb, stale_after: u32, rules: &str) -> Self {
        server.run(READER);
        let settings = MysqlSettings {
            sections: format!(
                "[mysql.catalog]\nuser = \"catalog_reader\"\npassword_file = \"catalog-password\"\n\
                 refresh_seconds = 1\nstale_after_seconds = {stale_after}\ntrusted_file = \"trusted.toml\"\n"
            ),
            rules: rules.to_owned(),
            ..MysqlSettings::default()
        };
        let house = MysqlHouse::open_with(server, &settings, |folder| {
            std::fs::write(folder.join("catalog-password"), "reads").expect("written");
            std::fs::write(folder.join("trusted.toml"), "").expect("written");
        });
        let reviewer = MysqlReviewer::of(&house, "bot", &house.url("app"));
        Self { house, reviewer }
    }

    fn session(&self) -> Session<'_> {
        Session {
            stage: self,
            wire: self.house.connect(),
        }
    }

    /// A countersign command that asks the running proxy, as the reviewer.
    fn ask(&self, arguments: &[&str]) -> String {
        let done = Command::new(PROGRAM)
            .args(arguments)
            .env("COUNTERSIGN_API_URL", &self.house.serve.api_url)
            .env("COUNTERSIGN_TOKEN", self.house.token())
            .output()
            .expect("the binary runs");
        assert!(
            done.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8(done.stdout).expect("text")
    }

    fn catalog(&self, command: &str) -> Value {
        let list: Value = serde_json::from_str(&self.ask(&["catalog", command, "--json"])).expect("JSON");
        list["items"][0].clone()
    }

    fn past_the_proxy(&self, script: &str) {
        self.house.server.run(script);
    }

    fn nothing_was_sprung(&self) {
        let rows = self
            .house
            .admin()
            .query("SELECT COUNT(*) FROM app.audit_log WHERE what = 'touch'");
        assert_eq!(
            support::mysql_answer::value(&rows),
            "0",
            "somebody's code has run"
        );
    }

    /// Has a statement held, and gives its impact once it is there.
    async fn impact_of(&self, text: &str) -> Value {
        let mut wire = self.house.connect();
        wire.send_query(text.as_bytes());
        let request = self.house.reviewer().held(text).await;
        let id = id_of(&request);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let shown = self.house.reviewer().show(&id).await;
            if shown["impact"]["status"] == "done" {
                self.house.reviewer().deny(&request, "seen").await;
                tokio::task::block_in_place(|| wire.answers());
                return shown["impact"].clone();
            }
            assert!(Instant::now() < deadline, "no impact in time: {shown}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

struct Session<'s> {
    stage: &'s Stage,
    wire: MysqlWire,
}

impl Session<'_> {
    fn treatment(&mut self, text: &str, decide: Decide) -> Treatment {
        let (reviewer, wire) = (&self.stage.reviewer, &mut self.wire);
        tokio::task::block_in_place(|| reviewer.query(wire, text, decide)).0
    }

    #[track_caller]
    fn passes(&mut self, text: &str) {
        assert_eq!(
            self.treatment(text, Decide::Withdraw),
            Treatment::Passed,
            "{text}"
        );
    }

    #[track_caller]
    fn stopped(&mut self, text: &str) {
        assert!(self.treatment(text, Decide::Withdraw).is_stopped(), "{text}");
    }

    #[track_caller]
    fn approved(&mut self, text: &str) {
        assert_eq!(self.treatment(text, Decide::Approve), Treatment::Held, "{text}");
    }

    /// Until a text meets the treatment, and no longer than it may take.
    #[track_caller]
    fn soon(&mut self, text: &str, stopped: bool, within: Duration) {
        let end = Instant::now() + within;
        loop {
            let treatment = self.treatment(text, Decide::Withdraw);
            if treatment.is_stopped() == stopped {
                return;
            }
            assert!(Instant::now() < end, "{text}: still {treatment:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_over_somebodys_function_is_no_plain_read() {
    let stage = Stage::open();
    let mut session = stage.session();
    session.passes("SELECT code FROM countries");
    session.passes("SELECT code FROM window");
    session.stopped("SELECT t FROM v_touch");
    session.stopped("EXPLAIN SELECT t FROM v_touch");
    session.stopped("SELECT net(119.00, 0.19)");
    session.passes("USE big");
    session.stopped("SELECT t FROM app.v_touch");
    let replayed: Value =
        serde_json::from_str(&stage.ask(&["policy", "replay", "--rules", "default", "--json"]))
            .expect("JSON");
    assert!(
        replayed["judged"].as_u64().is_some_and(|judged| judged >= 2),
        "{replayed}"
    );
    let state = stage.catalog("status");
    assert_eq!(
        (&state["protocol"], &state["database"], &state["state"]),
        (&"mysql".into(), &"mysql".into(), &"read".into())
    );
    stage.nothing_was_sprung();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_the_proxy_saw_changing_counts_at_once_for_everybody() {
    let stage = Stage::open();
    let (mut one, mut other) = (stage.session(), stage.session());
    other.passes("SELECT code FROM window");
    one.approved("CREATE OR REPLACE VIEW window AS SELECT touch() AS code");
    other.stopped("SELECT code FROM window");
    one.stopped("SELECT code FROM window");
    one.approved("CREATE OR REPLACE VIEW window AS SELECT code FROM countries");
    other.passes("SELECT code FROM window");
    stage.nothing_was_sprung();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_changes_past_the_proxy_counts_within_the_time_that_is_stated() {
    let stage = Stage::open();
    let mut session = stage.session();
    session.passes("SELECT code FROM window");
    // What the reads before it see is known; the function may only run once the server has the new view, and it does
    // not write: the trap is looked at apart.
    stage.past_the_proxy("CREATE OR REPLACE VIEW app.window AS SELECT app.net(1, 0) AS code;");
    session.soon("SELECT code FROM window", true, REFRESH + WITHIN);
    stage.past_the_proxy("CREATE OR REPLACE VIEW app.window AS SELECT code FROM app.countries;");
    assert_eq!(stage.catalog("refresh")["state"], "read");
    session.passes("SELECT code FROM window");
    stage.past_the_proxy("CREATE TRIGGER app.tr AFTER DELETE ON app.countries FOR EACH ROW SET @a = 1;");
    session.soon("DELETE FROM countries WHERE code = 'XX'", true, REFRESH + WITHIN);
    stage.nothing_was_sprung();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_function_is_trusted_as_it_was_listed_and_no_other() {
    let mut stage = Stage::open();
    stage.session().stopped("SELECT touch()");
    let call = "SELECT net(119.00, 0.19)";
    stage.session().stopped(call);
    let lines = stage.ask(&["catalog", "functions", "mysql"]);
    let listed: String = lines
        .split_inclusive("\n\n")
        .filter(|piece| piece.contains("app.net("))
        .collect();
    assert!(!listed.is_empty(), "{lines}");
    std::fs::write(stage.house.folder.path().join("trusted.toml"), &listed).expect("written");
    stage.house.serve.process().signal(rustix::process::Signal::HUP);
    let mut session = stage.session();
    session.soon(call, false, WITHIN);
    session.stopped("SELECT touch()");
    stage.past_the_proxy(
        "DROP FUNCTION app.net;\nDELIMITER //\n
         CREATE FUNCTION app.net(g decimal(12,2), r decimal(5,4)) RETURNS decimal(12,2) NO SQL RETURN g//",
    );
    session.soon(call, true, REFRESH + WITHIN);
    stage.nothing_was_sprung();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_table_makes_its_session_know_nothing_and_no_other() {
    let stage = Stage::open();
    let (mut session, mut other) = (stage.session(), stage.session());
    session.passes("SELECT code FROM countries");
    session.approved("CREATE TEMPORARY TABLE countries (code int)");
    session.stopped("SELECT code FROM countries");
    session.stopped("SELECT id FROM app.orders");
    session.passes("SELECT 1");
    other.passes("SELECT code FROM countries");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_definitions_are_hidden_from_holds_what_it_would_have_let_pass_until_it_sees() {
    let stage = Stage::open_with(Mariadb::with_fixtures(), 5, "default");
    let mut session = stage.session();
    session.passes("SELECT code FROM countries");
    stage.past_the_proxy("REVOKE TRIGGER ON *.* FROM catalog_reader@'%';");
    session.soon("SELECT code FROM countries", true, Duration::from_secs(40));
    let state = stage.catalog("status");
    assert_eq!(state["state"], "stale");
    assert!(
        state["problem"]
            .as_str()
            .is_some_and(|words| words.contains("TRIGGER ON *.*")),
        "{state}"
    );
    session.passes("SELECT 1");
    stage.past_the_proxy("GRANT TRIGGER ON *.* TO catalog_reader@'%';");
    session.soon("SELECT code FROM countries", false, Duration::from_secs(40));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_the_server_finds_in_any_case_are_found_so_by_catalog_and_rules() {
    let server = Mariadb::start_with(&[
        "--lower-case-table-names=1",
        "--event-scheduler=ON",
        "--local-infile=1",
        "--secure-file-priv=",
    ]);
    server.load_fixtures();
    let rules = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(
        rules.path(),
        "[[rule]]\nname = \"no-secrets\"\ntables = [\"app.Secrets\"]\noutcome = \"deny\"\n\
         [[rule]]\nname = \"reads\"\nclass = [\"read\", \"session\"]\noutcome = \"allow\"\n",
    )
    .expect("written");
    let stage = Stage::open_with(server, 60, rules.path().to_str().expect("a path"));
    let mut session = stage.session();
    session.passes("SELECT code FROM APP.Countries");
    session.stopped("SELECT t FROM V_TOUCH");
    for text in [
        "SELECT v FROM app.SECRETS",
        "SELECT v FROM App.secrets",
        "SELECT v FROM Secrets",
    ] {
        let treatment = session.treatment(text, Decide::Withdraw);
        let Treatment::Refused(words) = &treatment else {
            panic!("{text}: {treatment:?}");
        };
        assert!(words.contains("no-secrets"), "{words}");
    }
    stage.nothing_was_sprung();
}

fn find<'v>(list: &'v Value, key: &str, wanted: &str) -> &'v Value {
    let items = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    items
        .iter()
        .find(|item| item[key] == wanted)
        .unwrap_or_else(|| panic!("no {key} `{wanted}` in {list}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_shows_how_many_rows_and_what_it_reaches() {
    let stage = Stage::open();
    stage.past_the_proxy(
        "CREATE TRIGGER app.gone AFTER DELETE ON app.orders FOR EACH ROW SET @a = app.touch();
         CREATE TABLE app.notes (id int, FOREIGN KEY (id) REFERENCES app.orders (id) ON DELETE CASCADE);
         CREATE VIEW app.v_orders AS SELECT id FROM app.orders; ANALYZE TABLE app.orders;",
    );
    assert_eq!(stage.catalog("refresh")["state"], "read");
    let impact = stage.impact_of("DELETE FROM orders WHERE id <= 100").await;
    let rows = impact["estimated_rows"]
        .as_u64()
        .unwrap_or_else(|| panic!("no estimate: {impact}"));
    assert!((50..200).contains(&rows), "{impact}");
    assert_eq!(
        find(&impact["writes"], "operation", "delete")["table"],
        "app.orders"
    );
    let orders = find(&impact["tables"], "name", "app.orders");
    assert_eq!(orders["kind"], "base table");
    assert!(
        orders["bytes"].as_u64().is_some_and(|bytes| bytes > 0),
        "{orders}"
    );
    assert_eq!(
        find(&impact["triggers"], "name", "gone")["timing"],
        "after delete, each row"
    );
    assert_eq!(
        find(&impact["cascades"], "table", "app.notes")["then"],
        "its rows that refer are deleted too"
    );
    assert_eq!(
        find(&impact["locks"], "table", "orders")["mode"],
        "SHARED_WRITE (metadata)"
    );
    let impact = stage
        .impact_of("UPDATE orders SET note = 'x', total = 0 WHERE id IN (1, 2, 3) OR total > 100000")
        .await;
    assert!(impact["estimated_rows"].as_u64().is_some(), "{impact}");
    let impact = stage.impact_of("DROP TABLE orders").await;
    assert_eq!(impact["dependents"][0], "view app.v_orders");
    assert_eq!(
        find(&impact["locks"], "table", "orders")["mode"],
        "EXCLUSIVE (metadata)"
    );
    assert!(
        impact["no_estimate"]
            .as_str()
            .is_some_and(|why| why.contains("has no plan")),
        "{impact}"
    );
    // What was asked is in the log, before the statement that it was asked about could run.
    let log = stage.ask(&["log", "query", "--principal", "countersign impact", "--json"]);
    assert!(
        log.contains("EXPLAIN SELECT 1 FROM orders WHERE id <= 100"),
        "{log}"
    );
    stage.nothing_was_sprung();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_explaining_would_run_is_explained() {
    let stage = Stage::open();
    stage.past_the_proxy(
        "CREATE VIEW app.derived AS SELECT code, COUNT(*) AS n FROM app.countries GROUP BY code;",
    );
    assert_eq!(stage.catalog("refresh")["state"], "read");
    for text in [
        "DELETE FROM orders WHERE id = touch()",
        "DELETE FROM orders WHERE id > (SELECT MAX(id) FROM customers)",
        "UPDATE orders SET note = touch() WHERE id > 5 AND total > touch()",
        "UPDATE orders SET note = 'x' WHERE id IN (SELECT t FROM v_touch)",
        "DELETE FROM orders WHERE id > 5 AND note = (SELECT touch())",
        "INSERT INTO audit_log (what) SELECT code FROM derived",
        "INSERT INTO audit_log (what) SELECT t FROM v_touch",
        "SELECT touch() FROM orders",
        "SELECT * FROM (SELECT touch() AS a) AS d",
        "WITH d AS (SELECT touch() AS a) SELECT a FROM d",
    ] {
        let impact = stage.impact_of(text).await;
        assert!(impact["estimated_rows"].is_null(), "{text}: {impact}");
        assert!(impact["no_estimate"].is_string(), "{text}: {impact}");
    }
    let log = stage.ask(&["log", "query", "--principal", "countersign impact", "--json"]);
    assert!(!log.contains("EXPLAIN"), "{log}");
    stage.nothing_was_sprung();
}
