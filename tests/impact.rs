//! What a reviewer is told of a statement that waits: tables, estimates, cascades, triggers and locks, against a real
//! server. Never lets the asking change anything: the attacks here try to have code run by it.

mod support;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::catalog::keeper::Source as _;
use countersign::catalog::plan::explainable;
use countersign::catalog::postgres::{ListedFunctions, Reader, SessionState, Settings, View};
use countersign::sql::judge_postgres;
use countersign::sql::parse::PARSER_STACK_BYTES;
use countersign::sql::statement::LexingState;
use serde_json::Value;
use support::api::Api;
use support::house::House;
use support::server::{PROGRAM, Postgres, connect};
use support::wire::{Frames, Wire};

/// What switches the catalog on.
const CATALOG: &str =
    "[catalog]\nuser = \"catalog_reader\"\npassword_file = \"catalog-password\"\nrefresh_seconds = 1\n";

/// A server, a proxy in front of it, and a reviewer.
struct Scene {
    postgres: Postgres,
    house: House,
    token: String,
}

impl Scene {
    async fn start() -> Self {
        Self::start_with(CATALOG).await
    }

    async fn start_with(settings: &str) -> Self {
        let postgres = Postgres::start();
        let admin = postgres.connect_as_superuser().await;
        let reader = "CREATE ROLE catalog_reader LOGIN PASSWORD 'reads'";
        admin.batch_execute(reader).await.expect("a user");
        let house = House::open_with(&postgres, "", settings, |folder| {
            std::fs::write(folder.join("catalog-password"), "reads").expect("written");
        });
        house.run(&["user", "add", "dba", "--role", "approver,auditor"]);
        let token = house.run(&["user", "token", "dba"]);
        let token = token["token"].as_str().expect("shown once").to_owned();
        Self {
            postgres,
            house,
            token,
        }
    }

    /// As the schema's owner, past the proxy.
    async fn run(&self, sql: &str) {
        let client = self.postgres.connect().await;
        client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    fn client(&self) -> Wire {
        Wire::connect(&self.house.url("127.0.0.1"))
    }

    fn reviewer(&self) -> Api {
        Api::new(&self.house.serve.api_url, &self.token)
    }

    /// What a countersign command of the reviewer prints.
    fn ask(&self, arguments: &[&str]) -> String {
        let done = Command::new(PROGRAM)
            .args(arguments)
            .env("COUNTERSIGN_API_URL", &self.house.serve.api_url)
            .env("COUNTERSIGN_TOKEN", &self.token)
            .output()
            .expect("it runs");
        String::from_utf8(done.stdout).expect("text")
    }

    /// Has a statement held, and gives its impact once it is there.
    async fn impact_of(&self, sql: &str) -> Value {
        let mut client = self.client();
        client.send(Frames::new().query(sql));
        let impact = self.impact_once_held(sql).await;
        drop(client);
        impact
    }

    async fn impact_once_held(&self, sql: &str) -> Value {
        let request = self.reviewer().held(sql).await;
        let id = support::api::id_of(&request);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let shown = self.reviewer().show(&id).await;
            if shown["impact"]["status"] == "done" {
                return shown["impact"].clone();
            }
            assert!(Instant::now() < deadline, "no impact in time: {shown}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
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
    let scene = Scene::start().await;
    scene
        .run(
            "CREATE FUNCTION log_gone() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
             CREATE TRIGGER gone AFTER DELETE ON orders FOR EACH ROW EXECUTE FUNCTION log_gone();
             CREATE TRIGGER lines_gone AFTER DELETE ON order_items FOR EACH STATEMENT EXECUTE FUNCTION log_gone()",
        )
        .await;
    let impact = scene.impact_of("DELETE FROM orders WHERE id <= 1500").await;
    let rows = impact["estimated_rows"]
        .as_u64()
        .unwrap_or_else(|| panic!("no estimate: {impact}"));
    assert!((1_000..2_000).contains(&rows), "{impact}");
    assert_eq!(find(&impact["writes"], "operation", "delete")["table"], "orders");
    let orders = find(&impact["tables"], "name", "public.orders");
    assert_eq!(orders["rows"], 15_000);
    assert!(
        orders["bytes"].as_u64().is_some_and(|bytes| bytes > 500_000),
        "{orders}"
    );
    assert!(
        orders["index_bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > 100_000),
        "{orders}"
    );
    let lines = find(&impact["cascades"], "table", "public.order_items");
    assert_eq!(lines["constraint"], "order_items_order_id_fkey");
    assert_eq!(lines["then"], "its rows that refer are deleted too");
    let payments = find(&impact["cascades"], "table", "public.payments");
    assert_eq!(payments["then"], "its rows that refer make it fail");
    let trigger = find(&impact["triggers"], "name", "gone");
    assert_eq!(trigger["timing"], "after delete, each row");
    assert_eq!(
        find(&impact["triggers"], "name", "lines_gone")["table"],
        "public.order_items"
    );
    let lock = find(&impact["locks"], "table", "orders");
    assert_eq!(lock["mode"], "ROW EXCLUSIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drop_shows_what_goes_with_it() {
    let scene = Scene::start().await;
    let sql = "DROP TABLE orders CASCADE";
    let mut client = scene.client();
    client.send(Frames::new().query(sql));
    let impact = scene.impact_once_held(sql).await;
    let dependents: Vec<&str> = impact["dependents"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for wanted in [
        "view order_totals",
        "view customer_spending",
        "constraint payments_order_id_fkey on table payments",
    ] {
        let wanted = wanted.replace(" order", " public.order");
        let is_there = dependents
            .iter()
            .any(|words| words.replace("public.", "") == wanted.replace("public.", ""));
        assert!(is_there, "{wanted} not in {dependents:?}");
    }
    assert!(
        !dependents
            .iter()
            .any(|words| words.contains("index") || words.contains("rule")),
        "{dependents:?}"
    );
    assert_eq!(impact["cascade"], true);
    assert!(
        impact["estimated_rows"].is_null() && impact["no_estimate"] == "drop table has no plan",
        "{impact}"
    );
    let lock = find(&impact["locks"], "table", "orders");
    assert!(
        lock["blocks"]
            .as_str()
            .is_some_and(|text| text.starts_with("blocks reads and writes of orders"))
    );
    // The same in words, in the order of the card.
    let id = support::api::id_of(&scene.reviewer().held(sql).await);
    let shown = scene.ask(&["show", &id]);
    let order = [
        "parameters",
        "impact",
        "15,000 rows",
        "drops",
        "CASCADE takes along:",
        "locks",
        "ACCESS EXCLUSIVE",
        "who",
    ];
    let places: Vec<Option<usize>> = order.iter().map(|part| shown.find(part)).collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{places:?} in {shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bound_values_are_part_of_the_estimate_and_the_question_is_in_the_log() {
    let scene = Scene::start().await;
    let mut client = scene.client();
    let sql = "DELETE FROM reviews WHERE stars < $1 OR false";
    client.send(
        Frames::new()
            .parse("", sql)
            .bind("", "", &["2"])
            .execute("")
            .sync(),
    );
    let impact = scene.impact_once_held(sql).await;
    let few = impact["estimated_rows"]
        .as_u64()
        .unwrap_or_else(|| panic!("no estimate: {impact}"));
    drop(client);
    let mut client = scene.client();
    client.send(
        Frames::new()
            .parse("", &format!("{sql} OR false"))
            .bind("", "", &["6"])
            .execute("")
            .sync(),
    );
    let impact = scene.impact_once_held(&format!("{sql} OR false")).await;
    let all = impact["estimated_rows"]
        .as_u64()
        .unwrap_or_else(|| panic!("no estimate: {impact}"));
    assert!(all > few * 3, "{all} rows for all, {few} for the worst");
    let log = scene.ask(&["log", "query", "--json", "--limit", "200"]);
    let asked = log.lines().find(|line| {
        line.contains("EXPLAIN (FORMAT JSON) DELETE FROM reviews") && line.contains("countersign impact")
    });
    assert!(asked.is_some(), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_delays_nobody_and_has_no_estimate() {
    let scene = Scene::start().await;
    let other = scene.postgres.connect().await;
    other
        .batch_execute("BEGIN; LOCK TABLE reviews IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("a lock");
    let started = Instant::now();
    let mut client = scene.client();
    let sql = "DELETE FROM reviews";
    client.send(Frames::new().query(sql));
    scene.reviewer().held(sql).await;
    assert!(started.elapsed() < Duration::from_secs(5), "parked late");
    let impact = scene.impact_once_held(sql).await;
    assert_eq!(
        impact["no_estimate"], "a table is locked by somebody else",
        "{impact}"
    );
    assert!(impact["estimated_rows"].is_null());
    let reviews = find(&impact["tables"], "name", "public.reviews");
    assert!(
        reviews["rows"].as_u64().is_some_and(|rows| rows > 0),
        "statistics need no lock: {impact}"
    );
    other.batch_execute("ROLLBACK").await.expect("unlocked");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_planning_could_run_is_never_planned() {
    let scene = Scene::start().await;
    scene
        .run(
            "CREATE SEQUENCE proof;
             CREATE FUNCTION evil(n bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
               $$BEGIN PERFORM nextval('proof'); RAISE LOG 'planning ran it'; RETURN n; END$$;
             CREATE VIEW trap AS SELECT * FROM reviews WHERE evil(1) > 0;
             CREATE TABLE defaulted (id bigint DEFAULT evil(2), note text);
             CREATE TABLE ruled (id bigint);
             CREATE RULE r AS ON DELETE TO ruled DO ALSO INSERT INTO ruled SELECT evil(3)",
        )
        .await;
    for (sql, why) in [
        ("DELETE FROM reviews WHERE id < evil(10)", "planning it could run"),
        (
            "DELETE FROM reviews USING trap WHERE trap.id = reviews.id",
            "planning it could run",
        ),
        (
            "INSERT INTO defaulted (note) SELECT body FROM reviews",
            "planning it could run",
        ),
        ("DELETE FROM ruled", "planning it could run"),
    ] {
        let impact = scene.impact_of(sql).await;
        let told = impact["no_estimate"].as_str().unwrap_or_default();
        assert!(
            told.contains(why) && impact["estimated_rows"].is_null(),
            "{sql}: {impact}"
        );
    }
    assert!(
        !scene.postgres.has_seen("LOG:  planning ran it"),
        "somebody's code was run"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_the_session_alone_have_no_estimate() {
    let scene = Scene::start().await;
    let mut client = scene.client();
    let sql = "CREATE TEMP TABLE reviews AS SELECT 1 AS id";
    client.send(Frames::new().query(sql));
    let request = scene.reviewer().held(sql).await;
    scene.reviewer().approve(&request).await;
    client.until_ready();
    let sql = "DELETE FROM reviews";
    client.send(Frames::new().query(sql));
    let impact = scene.impact_once_held(sql).await;
    let told = impact["not_read"].as_str().unwrap_or_default();
    assert!(told.contains("temporary tables"), "{impact}");
    assert!(
        impact["estimated_rows"].is_null() && impact["tables"][0]["rows"].is_null(),
        "{impact}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_catalog_there_is_no_estimate_but_all_else() {
    let scene = Scene::start_with("").await;
    let impact = scene.impact_of("UPDATE customers SET name = upper(name)").await;
    let told = impact["no_estimate"].as_str().unwrap_or_default();
    assert!(told.starts_with("no catalog is configured"), "{impact}");
    assert_eq!(find(&impact["tables"], "name", "public.customers")["rows"], 8_000);
    let trigger = find(&impact["triggers"], "name", "customers_touch");
    assert_eq!(trigger["timing"], "before update, each row");
    assert!(!scene.postgres.has_seen("EXPLAIN"));
}

/// How EXPLAIN could run code, each as a statement that must not be explained, and its harmless sister that may be.
#[tokio::test(flavor = "multi_thread")]
async fn every_known_way_into_planning_is_closed() {
    let postgres = Postgres::start();
    let owner = postgres.connect_as_superuser().await;
    owner
        .batch_execute(
            "CREATE FUNCTION evil(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
               $$BEGIN RAISE LOG 'planning ran it'; RETURN n; END$$;
             CREATE FUNCTION evil2(a int, b int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
               $$BEGIN RAISE LOG 'planning ran it'; RETURN true; END$$;
             CREATE FUNCTION inlined(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT evil(n)';
             CREATE FUNCTION evil_input(text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
               $$BEGIN RAISE LOG 'planning ran it'; RETURN 1; END$$;
             CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = evil2);
             CREATE DOMAIN checked AS int CHECK (evil(VALUE) > 0);
             CREATE TYPE pair AS (a checked, b int);
             CREATE TABLE plain (id int PRIMARY KEY, note text);
             CREATE TABLE indexed (id int);
             CREATE INDEX ON indexed (id) WHERE evil(1) > 0;
             CREATE TABLE checks (id int CHECK (id > evil(1)));
             CREATE TABLE held (id int);
             ALTER TABLE held ENABLE ROW LEVEL SECURITY;
             CREATE POLICY p ON held USING (id > evil(1));
             CREATE VIEW seen AS SELECT id FROM plain WHERE id > evil(1);
             CREATE VIEW above AS SELECT id FROM seen;
             CREATE VIEW fine AS SELECT id FROM plain WHERE id > 1;
             CREATE TABLE parted (id int) PARTITION BY RANGE (evil(id));
             CREATE TABLE ruled (id int);
             CREATE RULE r AS ON INSERT TO ruled DO ALSO INSERT INTO plain SELECT evil(1);
             CREATE TABLE defaulted (id int DEFAULT evil(1), n int);
             CREATE TABLE with_domain (id checked);
             CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
             CREATE TRIGGER t BEFORE DELETE ON plain FOR EACH ROW EXECUTE FUNCTION gone();
             CREATE EXTENSION IF NOT EXISTS postgres_fdw;
             CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (use_remote_estimate 'true');
             CREATE FOREIGN TABLE far (id int) SERVER elsewhere",
        )
        .await
        .expect("the traps");
    let settings = Settings {
        host: "127.0.0.1".to_owned(),
        port: postgres.server().port(),
        user: countersign::cli::demo::shop::OWNER.to_owned(),
        password: postgres.owner_password().to_owned().into(),
        tls: None,
        timeout: Duration::from_secs(20),
    };
    let mut reader = Reader::open(Arc::new(settings), countersign::cli::demo::shop::DATABASE);
    let snapshot = reader
        .read(&ListedFunctions::default())
        .await
        .expect("the catalog");
    let session = SessionState {
        search_path: "\"$user\", public",
        role: "postgres",
        has_temporary_objects: false,
        has_uncommitted_ddl: false,
    };
    let view = View::new(snapshot, session);
    let traps: Vec<&str> = include_str!("cases/explain/traps.txt")
        .lines()
        .filter(|line| is_case(line))
        .collect();
    let fine: Vec<&str> = include_str!("cases/explain/fine.txt")
        .lines()
        .filter(|line| is_case(line))
        .collect();
    assert!(traps.len() >= 30 && fine.len() >= 12, "cases are missing");
    let explained: Vec<String> = on_a_large_stack(move || {
        let explain = |sql: &str| {
            let lexing = LexingState::default_postgres();
            let judged = judge_postgres(sql.as_bytes(), lexing, &());
            explainable(sql.as_bytes(), &judged, lexing, Some(&view))
        };
        for trap in traps {
            let found = explain(trap);
            assert!(found.is_err(), "may be explained: {trap}");
        }
        fine.into_iter()
            .map(|sql| {
                let found = explain(sql).unwrap_or_else(|why| panic!("{sql}: {why}"));
                String::from_utf8(found.text).expect("text")
            })
            .collect()
    });
    // Making an index has run it already.
    let runs = || postgres.log().matches("LOG:  planning ran it").count();
    let before = runs();
    // What may be explained is one statement that the server explains in a transaction that cannot write.
    let client = connect(&postgres.superuser_url()).await;
    for sql in explained {
        client.batch_execute("BEGIN READ ONLY").await.expect("begun");
        let rows = client
            .query(sql.as_str(), &[])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(rows.len(), 1, "{sql}");
        assert_eq!(runs(), before, "{sql} ran somebody's code");
        client.batch_execute("ROLLBACK").await.expect("ended");
    }
    assert_eq!(runs(), before, "somebody's code was run");
}

fn is_case(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#')
}

fn on_a_large_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new()
        .stack_size(PARSER_STACK_BYTES)
        .spawn(work);
    match thread.expect("a thread").join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The cases of `cases/locks`, compared with what a real server locks.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_locks_what_the_cases_say() {
    let postgres = Postgres::start();
    let client = postgres.connect_as_superuser().await;
    let fixture = include_str!("support/locks.sql");
    client.batch_execute(fixture).await.expect("the fixture");
    let cases = [
        include_str!("cases/locks/alter.case"),
        include_str!("cases/locks/others.case"),
        include_str!("cases/locks/queries.case"),
    ];
    let mut wrong = Vec::new();
    let mut compared = 0;
    for case in cases.iter().flat_map(|file| file.split("\n\n")) {
        let all = |key: &str| -> Vec<&str> {
            let lines = case.lines().filter_map(|line| line.strip_prefix("  "));
            lines
                .filter_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
                .map(str::trim)
                .collect()
        };
        let [sql] = all("sql")[..] else { continue };
        if case.lines().any(|line| line.trim() == "alone") {
            continue;
        }
        client.batch_execute("BEGIN").await.expect("begun");
        if let Err(error) = client.batch_execute(sql).await {
            wrong.push(format!("{sql}: {error:?}"));
        }
        // By their names before: some are gone or called otherwise by now.
        let asked =
            "SELECT n.name, array_agg(l.mode::text) FROM pg_locks l JOIN names n ON n.oid = l.relation
                      WHERE l.pid = pg_backend_pid() AND l.granted GROUP BY 1";
        let found = client.query(asked, &[]).await.unwrap_or_default();
        client.batch_execute("ROLLBACK").await.expect("ended");
        let also = all("also");
        let mut found: Vec<String> = found
            .iter()
            .map(|row| (row.get::<_, String>(0), strongest(&row.get::<_, Vec<String>>(1))))
            .filter(|(name, _)| !also.contains(&name.as_str()))
            .filter(|(name, mode)| !is_minor(name, mode, &all("lock")))
            .map(|(name, mode)| format!("{name} {mode}"))
            .collect();
        found.sort();
        let mut wanted: Vec<String> = all("lock").iter().map(|lock| (*lock).to_owned()).collect();
        wanted.sort();
        compared += 1;
        if found != wanted {
            wrong.push(format!("{sql}: the server has {found:?}, the case {wanted:?}"));
        }
    }
    assert!(compared > 70, "{compared} cases were compared");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is locked on the way to what is named: read, or an index of it.
fn is_minor(name: &str, mode: &str, named: &[&str]) -> bool {
    let is_index = ["orders_pkey", "orders_label", "sold_id_idx"].contains(&name);
    let is_named = named.iter().any(|lock| lock.split(' ').next() == Some(name));
    !is_named && (is_index || mode == "ACCESS SHARE")
}

fn strongest(modes: &[String]) -> String {
    const ORDER: [(&str, &str); 8] = [
        ("AccessExclusiveLock", "ACCESS EXCLUSIVE"),
        ("ExclusiveLock", "EXCLUSIVE"),
        ("ShareRowExclusiveLock", "SHARE ROW EXCLUSIVE"),
        ("ShareLock", "SHARE"),
        ("ShareUpdateExclusiveLock", "SHARE UPDATE EXCLUSIVE"),
        ("RowExclusiveLock", "ROW EXCLUSIVE"),
        ("RowShareLock", "ROW SHARE"),
        ("AccessShareLock", "ACCESS SHARE"),
    ];
    let found = ORDER
        .iter()
        .find(|(lock, _)| modes.iter().any(|mode| mode == lock));
    found.map_or_else(|| modes.join(" "), |(_, words)| (*words).to_owned())
}
