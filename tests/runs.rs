//! Runs in front of a real PostgreSQL: a migration under one decision, and every way to something that was not in it.
//! Never a mock: what is held must not have changed a table. Standing grants for one fingerprint are in `grants.rs`.

mod support;

use std::process::Command;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use support::api::{Api, id_of};
use support::house::House;
use support::server::{Postgres, connect};
use support::wire::{Frames, Wire, error, status, tags};

/// A server, a proxy, and a reviewer.
struct Place {
    postgres: Postgres,
    house: House,
    dora: Api,
}

impl Place {
    async fn open() -> Self {
        let postgres = Postgres::start();
        let house = House::open(&postgres, "", "");
        house.run(&["user", "add", "dora", "--role", "approver,auditor"]);
        let token = house.run(&["user", "token", "dora"]);
        let token = token["token"].as_str().expect("shown once").to_owned();
        let place = Self {
            dora: Api::new(&house.serve.api_url, &token),
            postgres,
            house,
        };
        let owner = place.postgres.connect().await;
        let text = "CREATE TABLE bills (id int PRIMARY KEY, note text);
                    INSERT INTO bills VALUES (1, 'a'), (2, 'b');
                    CREATE TABLE other (id int PRIMARY KEY);
                    CREATE TABLE bill_lines (bill int REFERENCES bills ON DELETE CASCADE);
                    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
                    CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq, COMMUTATOR = ===);
                    CREATE TABLE years (id int, year int) PARTITION BY LIST (year);
                    CREATE TABLE years_1 PARTITION OF years FOR VALUES IN (1);
                    CREATE TABLE years_2 PARTITION OF years FOR VALUES IN (2) PARTITION BY LIST (id);
                    CREATE TABLE years_2_1 PARTITION OF years_2 FOR VALUES IN (1)";
        owner.batch_execute(text).await.expect("made");
        place
    }

    fn client(&self) -> Wire {
        Wire::connect(&self.house.url("127.0.0.1"))
    }

    async fn decide(&self, held: &Value, scope: &Value) -> (StatusCode, Value) {
        let body = json!({ "decision": "approve", "digest": held["digest"], "scope": scope });
        self.dora
            .post(&format!("/requests/{}/decision", id_of(held)), &body)
            .await
    }

    /// Sends a statement, has it approved with a run, and gives the run.
    async fn begun(&self, client: &mut Wire, text: &str, scope: &Value) -> String {
        client.send(Frames::new().query(text));
        let held = self.dora.held(text).await;
        let (code, decided) = self.decide(&held, scope).await;
        assert_eq!(code, StatusCode::OK, "{decided}");
        let answer = client.until_ready();
        assert!(!tags(&answer).contains('E'), "{answer:?}");
        decided["standing_grant"].as_str().expect("made").to_owned()
    }

    /// Whether it runs without a person; what is held is denied.
    async fn runs(&self, client: &mut Wire, text: &str) -> bool {
        client.send(Frames::new().query(text));
        loop {
            let message = client.read();
            if message.tag == b'N' && message.fields().message.contains("HELD") {
                break;
            }
            if message.tag == b'Z' {
                return true;
            }
        }
        for held in self.dora.pending().await {
            self.dora.deny(&held, "held, as it should be").await;
        }
        assert_eq!(error(&client.until_ready()).sqlstate, "42501", "{text}");
        false
    }

    async fn grant(&self, id: &str) -> Value {
        self.dora.get(&format!("/grants/{id}")).await.1
    }
}

fn run(whose: &str, tables: &[&str], statements: u32) -> Value {
    run_of(
        &["alter table", "create table", "create index", "comment"],
        whose,
        tables,
        statements,
    )
}

fn run_of(verbs: &[&str], whose: &str, tables: &[&str], statements: u32) -> Value {
    json!({ "kind": "run", "for": whose, "classes": ["ddl"], "verbs": verbs, "tables": tables, "minutes": 15, "statements": statements })
}

const FIRST: &str = "ALTER TABLE bills ADD COLUMN c0 int";

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_of_twenty_statements_in_one_transaction_needs_one_decision() {
    let place = Place::open().await;
    let mut script = String::from("BEGIN;\n");
    for number in 0..20 {
        script.push_str(&match number {
            5 => {
                "CREATE TABLE fresh (id int PRIMARY KEY, bill int REFERENCES bills (id) ON DELETE CASCADE);\n"
                    .to_owned()
            }
            6 => "CREATE INDEX fresh_by_bill ON fresh (bill);\n".to_owned(),
            7 => "COMMENT ON TABLE fresh IS 'made in a run';\n".to_owned(),
            _ => format!("ALTER TABLE bills ADD COLUMN c{number} int; -- step {number}\n"),
        });
    }
    script.push_str("COMMIT;\n");
    let file = tempfile::NamedTempFile::new().expect("a scratch file");
    std::fs::write(file.path(), script).expect("written");
    let url = place.house.url("127.0.0.1");
    let path = file.path().to_owned();
    let psql = tokio::task::spawn_blocking(move || {
        let mut psql = Command::new("psql");
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(path)
            .arg(url);
        psql.output().expect("psql runs")
    });
    let held = place.dora.held(FIRST).await;
    assert_eq!(held["run"]["tables"], json!(["bills"]), "{held}");
    let (code, decided) = place
        .decide(&held, &run("transaction", &["bills", "fresh"], 40))
        .await;
    assert_eq!(code, StatusCode::OK, "{decided}");
    let done = psql.await.expect("it ends");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let owner = place.postgres.connect().await;
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'bills' AND column_name LIKE 'c%'";
    let count: i64 = owner.query_one(columns, &[]).await.expect("counted").get(0);
    assert_eq!(count, 17);
    let id = decided["standing_grant"].as_str().expect("made");
    let (_, uses) = place.dora.get(&format!("/requests?grant={id}&limit=100")).await;
    assert_eq!(
        uses["items"].as_array().expect("items").len(),
        19,
        "each is a request of its own"
    );
    let grant = place.grant(id).await;
    assert_eq!(
        (&grant["kind"], &grant["standing"], &grant["uses"], &grant["for"]),
        (&json!("run"), &json!("lapsed"), &json!(20), &json!("transaction")),
        "{grant}"
    );
    assert_eq!(decided["decisions"][0]["scope"]["statements"], 40, "{decided}");
    let log = place.house.run(&["log", "query", "--kind", "decision"]);
    assert!(
        log.to_string()
            .contains("run of ddl (alter table, comment, create index, create table) on bills, fresh, for this transaction, 15 min, 40 uses"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_of_the_extended_protocol_run_under_it_too() {
    let place = Place::open().await;
    let agent = connect(&place.house.url("127.0.0.1")).await;
    let first = agent.execute(FIRST, &[]);
    let decided = async {
        let held = place.dora.held(FIRST).await;
        place
            .decide(&held, &run("session", &["bills", "fresh"], 30))
            .await
    };
    let (first, (code, decided)) = tokio::join!(first, decided);
    assert_eq!(code, StatusCode::OK, "{decided}");
    first.expect("approved");
    agent
        .execute("CREATE TABLE fresh (id int)", &[])
        .await
        .expect("no person");
    for number in 1..10 {
        let text = format!("ALTER TABLE fresh ADD COLUMN c{number} text DEFAULT 'x'");
        agent.execute(&text, &[]).await.expect("no person");
    }
    agent
        .execute("ALTER TABLE public.bills ADD COLUMN d int", &[])
        .await
        .expect("the same table by another name");
    assert_eq!(place.dora.pending().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_does_not_name_is_held() {
    let place = Place::open().await;
    let mut client = place.client();
    let id = place
        .begun(&mut client, FIRST, &run("session", &["bills", "fresh"], 40))
        .await;
    assert!(
        place
            .runs(&mut client, "ALTER TABLE bills ADD COLUMN c1 int")
            .await
    );
    let owner = place.postgres.connect().await;
    for text in [
        "DROP TABLE other",
        "DROP TABLE bills, other",
        "DROP TABLE bills CASCADE",
        "DROP TABLE bills /* */ CASCADE",
        "DROP TABLE bills",
        "ALTER TABLE other ADD COLUMN c1 int",
        "ALTER TABLE bills ADD COLUMN x int; DROP TABLE other",
        "ALTER TABLE bills ADD FOREIGN KEY (id) REFERENCES other (id)",
        "ALTER TABLE bills RENAME TO other2",
        "ALTER TABLE bills RENAME /* column */ TO other2",
        "ALTER TABLE bills SET SCHEMA pg_temp",
        "ALTER TABLE bills OWNER TO CURRENT_USER",
        "ALTER TABLE bills ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE bills ALTER COLUMN note SET DEFAULT pg_read_file('/etc/passwd')",
        "ALTER TABLE bills ALTER note SET /* */ DEFAULT \"pg_read_file\"('/etc/passwd')",
        "ALTER TABLE bills ADD COLUMN more text DEFAULT pg_read_file('/etc/passwd')",
        "ALTER TABLE bills ADD CHECK (pg_read_file(note) IS NULL)",
        "CREATE TABLE fresh (id text DEFAULT pg_read_file('/etc/passwd'))",
        "CREATE VIEW fresh AS SELECT pg_read_file('/etc/passwd')",
        "CREATE VIEW fresh AS SELECT id FROM other",
        "CREATE TABLE fresh AS SELECT id FROM other",
        "CREATE TABLE fresh (LIKE other)",
        "CREATE TABLE fresh () INHERITS (other)",
        "ALTER TABLE bills INHERIT other",
        "COMMENT ON COLUMN other.id IS 'mine'",
        "CREATE TABLE bills2 (id int)",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA more",
        "DROP SCHEMA public CASCADE",
        "CREATE TRIGGER t BEFORE DELETE ON bills FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "TRUNCATE bills CASCADE",
        "DELETE FROM bills WHERE id > 0",
        "GRANT SELECT ON bills TO PUBLIC",
        "COPY bills TO PROGRAM 'true'",
        "DO 'BEGIN DROP TABLE bills; END'",
        "PREPARE p AS DELETE FROM bills; EXECUTE p",
        "PREPARE q AS ALTER TABLE bills ADD COLUMN y int",
        "ALTER TABLE \"Bills\" ADD COLUMN y int",
        "ALTER TABLE pg_temp.bills ADD COLUMN y int",
        "SET search_path = pg_temp; ALTER TABLE bills ADD COLUMN y int",
        "SET ROLE shop_owner; ALTER TABLE bills ADD COLUMN y int",
        "EXPLAIN ANALYZE CREATE TABLE fresh AS SELECT 1",
        "CREATE TABLE fresh (id int) WITH (fillfactor = 70) TABLESPACE pg_default",
        "WITH d AS (DELETE FROM bills RETURNING id) SELECT id FROM d",
        "CREATE TEMP TABLE other (id int)",
        // Verbs that it does not name.
        "CREATE TEMP TABLE fresh (id int)",
        "DROP TABLE fresh",
        "CREATE SEQUENCE fresh",
        // Types, operators and operator classes whose code is somebody's.
        "ALTER TABLE bills ADD COLUMN x positive",
        "ALTER TABLE bills ALTER COLUMN id TYPE positive",
        "CREATE TABLE fresh (id positive)",
        "CREATE TABLE fresh (id int, EXCLUDE USING btree (id WITH OPERATOR(public.===)))",
        "ALTER TABLE bills ADD EXCLUDE USING btree (id WITH =) WHERE (id OPERATOR(public.===) 1)",
        "CREATE INDEX ON bills (id int4_more_ops)",
        "CREATE TABLE fresh (id int DEFAULT 1 CHECK (id OPERATOR(public.===) 1))",
        // What does not stand still while it runs.
        "ALTER TABLE bills DISABLE TRIGGER ALL",
        "ALTER TABLE bills SET TABLESPACE pg_default",
    ] {
        assert!(!place.runs(&mut client, text).await, "{text}");
    }
    // Neither another session, nor the same one under another search_path or role.
    let mut another = place.client();
    let next = "ALTER TABLE bills ADD COLUMN c2 int";
    assert!(!place.runs(&mut another, next).await);
    client.query("SET search_path = public, pg_temp");
    assert!(!place.runs(&mut client, next).await);
    client.query("RESET search_path");
    assert!(place.runs(&mut client, next).await, "as it was before");
    // Another table has its name.
    let swapped = "ALTER TABLE bills RENAME TO bills_old; CREATE TABLE bills (id int)";
    owner.batch_execute(swapped).await.expect("swapped");
    assert!(
        !place
            .runs(&mut client, "ALTER TABLE bills ADD COLUMN c3 int")
            .await
    );
    let grant = place.grant(&id).await;
    assert_eq!(
        (&grant["standing"], &grant["uses"]),
        (&json!("open"), &json!(3)),
        "{grant}"
    );
    drop(client);
    for _ in 0..200 {
        if place.grant(&id).await["standing"] == "lapsed" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it ends with its session: {}", place.grant(&id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_by_count_by_error_by_revocation_and_with_its_transaction() {
    let place = Place::open().await;
    let mut client = place.client();
    let next = |number: u32| format!("ALTER TABLE bills ADD COLUMN d{number} int");
    let id = place
        .begun(&mut client, FIRST, &run("session", &["bills"], 2))
        .await;
    assert!(place.runs(&mut client, &next(1)).await);
    assert!(!place.runs(&mut client, &next(2)).await);
    assert_eq!(place.grant(&id).await["standing"], "used_up");

    let id = place
        .begun(&mut client, &next(10), &run("session", &["bills"], 20))
        .await;
    client.query(&next(1));
    assert!(
        !place.runs(&mut client, &next(11)).await,
        "a column that is there already ended it"
    );
    let grant = place.grant(&id).await;
    assert_eq!(grant["standing"], "lapsed", "{grant}");
    assert!(
        grant["ended_why"]
            .as_str()
            .is_some_and(|why| why.contains("failed")),
        "{grant}"
    );

    let id = place
        .begun(&mut client, &next(20), &run("session", &["bills"], 20))
        .await;
    assert!(place.runs(&mut client, &next(21)).await);
    let (code, _) = place
        .dora
        .post(&format!("/grants/{id}/revoke"), &json!({ "reason": "enough" }))
        .await;
    assert_eq!(code, StatusCode::OK);
    assert!(!place.runs(&mut client, &next(22)).await);

    client.query("BEGIN");
    let id = place
        .begun(&mut client, &next(30), &run("transaction", &["bills"], 20))
        .await;
    assert!(place.runs(&mut client, &next(31)).await);
    assert_eq!(status(&client.query("COMMIT")), 'I');
    client.query("BEGIN");
    assert!(!place.runs(&mut client, &next(32)).await);
    assert_eq!(place.grant(&id).await["standing"], "lapsed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_makes_no_sense_is_refused_at_the_decision() {
    let place = Place::open().await;
    let mut client = place.client();
    client.send(Frames::new().query(FIRST));
    let held = place.dora.held(FIRST).await;
    for (scope, code) in [
        (
            run("transaction", &["bills"], 9),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (run("session", &["other"], 9), StatusCode::UNPROCESSABLE_ENTITY),
        (
            run("session", &["bills", "x.*"], 9),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            run_of(&["create index"], "session", &["bills"], 9),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            run_of(&["alter table add column", "grant"], "session", &["bills"], 9),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (run("session", &["bills"], 1), StatusCode::UNPROCESSABLE_ENTITY),
        (run("principal", &["bills"], 9), StatusCode::UNPROCESSABLE_ENTITY),
        (
            json!({ "kind": "run", "for": "session", "classes": ["ddl", "grant"], "minutes": 5, "statements": 9 }),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            json!({ "kind": "run", "for": "session", "classes": ["write"], "minutes": 5, "statements": 9 }),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
    ] {
        let (found, refused) = place.decide(&held, &scope).await;
        assert_eq!(found, code, "{scope}: {refused}");
    }
    // What is left out is what the statement itself does.
    let least = json!({ "kind": "run", "for": "session", "minutes": 5, "statements": 3 });
    let (code, decided) = place.decide(&held, &least).await;
    assert_eq!(code, StatusCode::OK, "{decided}");
    client.until_ready();
    let grant = place
        .grant(decided["standing_grant"].as_str().expect("made"))
        .await;
    assert_eq!(
        (&grant["classes"], &grant["verbs"], &grant["tables"]),
        (
            &json!(["ddl"]),
            &json!(["alter table add column"]),
            &json!(["bills"])
        ),
        "{grant}"
    );
    // What no run holds says so beforehand.
    client.send(Frames::new().query("DROP SCHEMA public"));
    let held = place.dora.held("DROP SCHEMA").await;
    assert!(
        held["no_run"].as_str().is_some() && held["run"].is_null(),
        "{held}"
    );
    let (code, _) = place.decide(&held, &least).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    place.dora.deny(&held, "no").await;
    client.until_ready();
}

#[tokio::test(flavor = "multi_thread")]
async fn guards_of_a_run_hold_for_each_of_its_statements() {
    let place = Place::open().await;
    let mut client = place.client();
    client.send(Frames::new().query(FIRST));
    let held = place.dora.held(FIRST).await;
    let body = json!({
        "decision": "approve", "digest": held["digest"], "scope": run("session", &["bills"], 9),
        "guards": { "lock_timeout": "300ms" },
    });
    let (code, decided) = place
        .dora
        .post(&format!("/requests/{}/decision", id_of(&held)), &body)
        .await;
    assert_eq!(code, StatusCode::OK, "{decided}");
    client.until_ready();
    let blocker = place.postgres.connect().await;
    blocker
        .batch_execute("BEGIN; LOCK TABLE bills IN SHARE MODE")
        .await
        .expect("locked");
    let answer = client.query("ALTER TABLE bills ADD COLUMN c1 int");
    assert_eq!(
        (error(&answer).sqlstate.as_str(), status(&answer)),
        ("55P03", 'I')
    );
    let grant = place
        .grant(decided["standing_grant"].as_str().expect("made"))
        .await;
    assert_eq!(grant["standing"], "lapsed", "{grant}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_reaches_no_partition_or_child_that_was_not_named_or_shown() {
    let place = Place::open().await;
    let mut client = place.client();
    let next =
        |name: &str, number: u32| format!("ALTER TABLE {name} ALTER COLUMN year SET STATISTICS {number}");
    // The leaf alone is named: what reaches it from above is not.
    let id = place
        .begun(
            &mut client,
            &next("years_1", 0),
            &run("session", &["years_1", "years"], 30),
        )
        .await;
    for text in [
        next("years", 1),
        next("ONLY years", 2),
        "CREATE INDEX ON years (year)".to_owned(),
        "ALTER TABLE years DETACH PARTITION years_2".to_owned(),
        "DROP TABLE years".to_owned(),
    ] {
        assert!(!place.runs(&mut client, &text).await, "{text}");
    }
    place
        .dora
        .post(&format!("/grants/{id}/revoke"), &json!({ "reason": "enough" }))
        .await;
    // All of them are shown with the parent, and are in what is approved unless others are named.
    client.send(Frames::new().query(&next("years", 3)));
    let held = place.dora.held("years").await;
    assert_eq!(
        held["run"]["tables"],
        json!(["years", "public.years_1", "public.years_2", "public.years_2_1"]),
        "{held}"
    );
    let least = json!({ "kind": "run", "for": "session", "minutes": 5, "statements": 9 });
    let (code, decided) = place.decide(&held, &least).await;
    assert_eq!(code, StatusCode::OK, "{decided}");
    client.until_ready();
    assert!(place.runs(&mut client, &next("years", 4)).await);
    assert!(place.runs(&mut client, &next("years", 5)).await);
    let owner = place.postgres.connect().await;
    let more = "CREATE TABLE years_3 PARTITION OF years FOR VALUES IN (3)";
    owner.batch_execute(more).await.expect("made");
    assert!(
        !place.runs(&mut client, &next("years", 6)).await,
        "a partition that nobody was shown"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_has_the_verbs_that_were_chosen_and_no_wider_writes_than_were_shown() {
    let place = Place::open().await;
    let mut client = place.client();
    let least = json!({ "kind": "run", "for": "session", "minutes": 5, "statements": 30 });
    place.begun(&mut client, FIRST, &least).await;
    assert!(
        place
            .runs(&mut client, "ALTER TABLE bills ADD COLUMN c1 int")
            .await
    );
    for text in [
        "ALTER TABLE bills DROP COLUMN note",
        "ALTER TABLE bills ADD COLUMN c2 int, DROP COLUMN note",
        "ALTER TABLE bills ALTER COLUMN note TYPE varchar(1) USING ''",
        "TRUNCATE bills",
        "DROP TABLE bills",
        "CREATE OR REPLACE VIEW bills AS SELECT 1",
    ] {
        assert!(!place.runs(&mut client, text).await, "{text}");
    }
    let owner = place.postgres.connect().await;
    owner.batch_execute("CREATE TABLE plain (id int PRIMARY KEY, note text); INSERT INTO plain SELECT generate_series(1, 9)").await.expect("made");
    let writes = |verbs: &[&str]| {
        json!({ "kind": "run", "for": "session", "classes": ["ddl", "write"], "verbs": verbs,
        "tables": ["plain"], "minutes": 5, "statements": 30 })
    };
    let first = "ALTER TABLE plain ADD COLUMN c int";
    place
        .begun(&mut client, first, &writes(&["alter table add column", "delete"]))
        .await;
    for text in [
        "DELETE FROM plain",
        "DELETE FROM plain WHERE id > 3",
        "UPDATE plain SET note = 'x'",
        "WITH u AS (UPDATE plain SET note = 'x' RETURNING id) DELETE FROM plain WHERE id = 1",
        "WITH d AS (DELETE FROM plain RETURNING id) SELECT id FROM d",
        "MERGE INTO plain USING (SELECT 1 AS one) o ON plain.id = o.one WHEN MATCHED THEN DELETE",
    ] {
        assert!(!place.runs(&mut client, text).await, "{text}");
    }
    let left: i64 = owner
        .query_one("SELECT count(*) FROM plain", &[])
        .await
        .expect("counted")
        .get(0);
    assert_eq!(left, 9);
}

/// How transactions ended, as the log tells it, oldest first.
fn ends(place: &Place) -> Vec<String> {
    let log = place.house.run(&["log", "query", "--kind", "transaction_end"]);
    let items = log["items"].as_array().expect("items").iter().rev();
    items
        .map(|record| record["outcome"].as_str().expect("told").to_owned())
        .collect()
}

/// Results are in the log soon after their answers: looks until there is what is wanted, and gives what there was last.
fn soon<T>(mut look: impl FnMut() -> T, is_wanted: impl Fn(&T) -> bool) -> T {
    for _ in 0..500 {
        let found = look();
        if is_wanted(&found) {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    look()
}

/// What the log tells of the newest statement with this text.
fn told_of(place: &Place, text: &str) -> String {
    let all = all_told_of(place, text);
    all.last().expect("an attempt").0.clone()
}

/// The results that the log tells of statements with this text, oldest first: how, and with which tag.
fn all_told_of(place: &Place, text: &str) -> Vec<(String, String)> {
    let look = || {
        let log = place.house.run(&["log", "query", "--limit", "200"]);
        let items = log["items"].as_array().expect("items");
        let of_text = |record: &&Value| record["kind"] == "attempt" && record["text"] == text;
        let result = |attempt: &Value| {
            let of_attempt =
                |record: &&Value| record["kind"] == "outcome" && record["attempt"] == attempt["attempt"];
            let outcome = items.iter().find(of_attempt)?;
            let word = |key: &str| outcome[key].as_str().unwrap_or_default().to_owned();
            Some((word("outcome"), word("tag")))
        };
        let told: Option<Vec<_>> = items.iter().filter(of_text).map(result).rev().collect();
        told.unwrap_or_default()
    };
    soon(look, |told| !told.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_ends_one_transaction_and_another_tells_the_log_of_both() {
    let place = Place::open().await;
    let owner = place.postgres.connect().await;
    let note = async || {
        let row = owner.query_one("SELECT note FROM bills WHERE id = 1", &[]).await;
        row.expect("there").get::<_, String>(0)
    };
    let mut told = 0;
    let write = |note: &str| format!("UPDATE bills SET note = '{note}' WHERE id = 1");
    for (number, (messages, ended, kept)) in [
        // What is kept must not look undone,
        (
            vec!["BEGIN", "{w}", "COMMIT; BEGIN; ROLLBACK"],
            vec!["committed", "rolled_back"],
            true,
        ),
        (
            vec!["BEGIN", "{w}", "COMMIT; BEGIN; ROLLBACK TO nope", "ROLLBACK"],
            vec!["committed", "rolled_back"],
            true,
        ),
        (
            vec!["BEGIN", "{w}", "COMMIT AND CHAIN; ROLLBACK"],
            vec!["committed", "rolled_back"],
            true,
        ),
        (vec!["BEGIN; {w}; COMMIT; SAVEPOINT a"], vec!["committed"], true),
        (vec!["{w}; COMMIT; SAVEPOINT a"], vec!["committed"], true),
        (
            vec!["{w}; COMMIT; BEGIN; ROLLBACK"],
            vec!["committed", "rolled_back"],
            true,
        ),
        // and what is undone must not look kept.
        (
            vec!["BEGIN", "{w}", "ROLLBACK; BEGIN; COMMIT"],
            vec!["rolled_back", "committed"],
            false,
        ),
        (
            vec!["BEGIN", "{w}", "ROLLBACK AND CHAIN; COMMIT"],
            vec!["rolled_back", "committed"],
            false,
        ),
        (
            vec!["{w}; ROLLBACK; BEGIN; COMMIT"],
            vec!["rolled_back", "committed"],
            false,
        ),
        // Where nothing is open, nothing ends.
        (vec!["COMMIT", "ROLLBACK"], vec![], false),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = place.client();
        let (before, wanted) = (note().await, format!("n{number}"));
        for message in &messages {
            client.query(&message.replace("{w}", &write(&wanted)));
        }
        assert_eq!(note().await, if kept { wanted } else { before }, "{messages:?}");
        let all = soon(|| ends(&place), |all| all.len() >= told + ended.len());
        assert_eq!(all[told..], ended, "{messages:?}");
        told = all.len();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_error_behind_it_undoes_is_not_told_as_done() {
    let place = Place::open().await;
    let owner = place.postgres.connect().await;
    let portal = |frames: Frames, text: &str| frames.parse("", text).bind("", "", &[]).execute("");
    let write = |note: &str| format!("UPDATE bills SET note = '{note}' WHERE id = 1");
    for (number, (behind, is_held, kept)) in [
        (vec!["SELECT 1"], false, true),
        (vec!["SELECT 1/0"], false, false),
        (vec!["SELECT nothing_like_it"], false, false),
        (vec!["COMMIT", "SELECT 1/0"], false, true),
        (vec!["BEGIN", "COMMIT", "SELECT 1/0"], false, true),
        // A person says no to what stands behind it.
        (vec!["DROP TABLE other"], true, false),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = place.client();
        let text = write(&format!("p{number}"));
        let mut frames = portal(Frames::new(), &text);
        for behind in &behind {
            frames = portal(frames, behind);
        }
        client.send(frames.sync());
        if is_held {
            let held = place.dora.held("DROP TABLE other").await;
            place.dora.deny(&held, "no").await;
        }
        client.until_ready();
        let row = owner.query_one("SELECT note FROM bills WHERE id = 1", &[]).await;
        let note: String = row.expect("there").get(0);
        assert_eq!(note == format!("p{number}"), kept, "{behind:?}");
        let outcome = told_of(&place, &text);
        assert_eq!(outcome, if kept { "ran" } else { "failed" }, "{behind:?}");
    }
}

/// What has been delivered, what is only parsed, and what commits by itself is not told as undone; of a block of code
/// nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_error_behind_it_cannot_undo_is_not_told_as_undone() {
    let place = Place::open().await;
    let owner = place.postgres.connect().await;
    let portal = |frames: Frames, text: &str| frames.parse("", text).bind("", "", &[]).execute("");
    let fails = |frames: Frames| portal(frames, "SELECT 1/0").sync();
    let insert = "INSERT INTO other VALUES (1), (2) RETURNING id";
    let parsed = "UPDATE bills SET note = 'parsed' WHERE id = 1";
    let comment = "UPDATE bills SET note = 'concurrently' WHERE id = 1 /* INDEX CONCURRENTLY */";
    for (frames, text, told) in [
        (
            portal(Frames::new(), "SELECT note FROM bills"),
            "SELECT note FROM bills",
            "ran",
        ),
        (Frames::new().parse("s", parsed), parsed, "ran"),
        (portal(Frames::new(), comment), comment, "failed"),
        // Some of its rows are still to be fetched when it is committed.
        (
            portal(
                Frames::new()
                    .parse("", insert)
                    .bind("", "", &[])
                    .execute_rows("", 1),
                "COMMIT",
            ),
            insert,
            "ran",
        ),
    ] {
        let mut client = place.client();
        client.send(fails(frames));
        client.until_ready();
        assert_eq!(told_of(&place, text), told, "{text}");
    }
    let count =
        "SELECT (SELECT count(*) FROM other) + 10 * (SELECT count(*) FROM bills WHERE note = 'concurrently')";
    let row = owner.query_one(count, &[]).await.expect("counted");
    assert_eq!(row.get::<_, i64>(0), 2);
    for (text, state, kept) in [
        (
            "DO $$ BEGIN INSERT INTO other VALUES (77); END $$",
            "outcome_unknown",
            false,
        ),
        (
            "CREATE INDEX CONCURRENTLY by_note ON bills (note)",
            "outcome_unknown",
            true,
        ),
        (
            "ALTER TABLE bills ADD COLUMN concurrently_made int",
            "failed",
            false,
        ),
    ] {
        let mut client = place.client();
        client.send(fails(portal(Frames::new(), text)));
        let held = place.dora.held(text).await;
        place.dora.approve(&held).await;
        client.until_ready();
        let ended = place
            .dora
            .until_state(&held, &["outcome_unknown", "finished", "failed"])
            .await;
        assert_eq!(ended["state"], state, "{text}: {ended}");
        let there = "SELECT (SELECT count(*) FROM other WHERE id = 77)
                     + (SELECT count(*) FROM pg_class WHERE relname = 'by_note') * 10
                     + (SELECT count(*) FROM pg_attribute WHERE attname = 'concurrently_made') * 100";
        let row = owner.query_one(there, &[]).await.expect("counted");
        assert_eq!(row.get::<_, i64>(0) > 0, kept, "{text}");
        owner
            .batch_execute("DROP INDEX IF EXISTS by_note")
            .await
            .expect("dropped");
    }
}

/// Which approved requests a transaction that ended held: not those of the next one, whose message ended it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_begins_with_the_end_of_a_transaction_counts_for_the_next() {
    let place = Place::open().await;
    let mut client = place.client();
    let message = "COMMIT; BEGIN; DELETE FROM bills";
    client.query("BEGIN");
    client.send(Frames::new().query(message));
    let held = place.dora.held(message).await;
    place.dora.approve(&held).await;
    assert_eq!(status(&client.until_ready()), 'T');
    client.query("ROLLBACK");
    let id = id_of(&held);
    let look = || {
        let log = place.house.run(&["log", "query", "--kind", "transaction_end"]);
        let items = log["items"].as_array().expect("items").iter().rev();
        let told = items.map(|item| (item["outcome"].clone(), item.to_string().contains(&id)));
        told.collect::<Vec<_>>()
    };
    let told = soon(look, |told| told.len() > 1);
    assert_eq!(told, [(json!("committed"), false), (json!("rolled_back"), true)]);
}

/// A transaction that has written is known to have, also if it began in the middle of a message.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_behind_a_commit_in_one_message_counts_for_the_next_transaction() {
    let place = Place::open().await;
    for message in [
        "COMMIT; BEGIN; UPDATE bills SET note = 'x' WHERE id = 1",
        "COMMIT AND CHAIN; UPDATE bills SET note = 'x' WHERE id = 1",
    ] {
        let mut client = place.client();
        client.query("BEGIN");
        client.send(Frames::new().query(message));
        let held = place.dora.held(message).await;
        place.dora.approve(&held).await;
        assert_eq!(status(&client.until_ready()), 'T');
        client.send(Frames::new().query("DROP TABLE other"));
        let held = place.dora.held("DROP TABLE other").await;
        assert_eq!(held["transaction"]["wrote"], true, "{held}");
        place.dora.deny(&held, "no").await;
        client.until_ready();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_counts_statements_and_not_the_messages_they_come_in() {
    let place = Place::open().await;
    let mut client = place.client();
    let next = |number: u32| format!("ALTER TABLE bills ADD COLUMN d{number} int");
    let many = |numbers: std::ops::Range<u32>| numbers.map(next).collect::<Vec<_>>().join("; ");
    let id = place
        .begun(&mut client, FIRST, &run("session", &["bills"], 4))
        .await;
    assert!(!place.runs(&mut client, &many(0..4)).await, "five of four");
    assert!(place.runs(&mut client, &many(0..2)).await);
    assert!(!place.runs(&mut client, &many(2..4)).await, "five of four");
    assert_eq!(place.grant(&id).await["uses"], 3);
    assert!(place.runs(&mut client, &next(4)).await);
    assert_eq!(place.grant(&id).await["standing"], "used_up");
    // What is decided counts with all that it holds.
    client.send(Frames::new().query(&many(10..13)));
    let held = place.dora.held(&next(10)).await;
    let (code, refused) = place.decide(&held, &run("session", &["bills"], 3)).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    let (code, decided) = place.decide(&held, &run("session", &["bills"], 4)).await;
    assert_eq!(code, StatusCode::OK, "{decided}");
    client.until_ready();
    assert_eq!(
        place
            .grant(decided["standing_grant"].as_str().expect("made"))
            .await["uses"],
        3
    );
    assert!(!place.runs(&mut client, &many(13..15)).await);
    assert!(place.runs(&mut client, &next(13)).await);
}

/// The same bytes mean another day, hour or amount under other settings, which any client may choose.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_for_values_as_they_were_read_when_it_was_asked_for() {
    let place = Place::open().await;
    let text = "UPDATE bills SET note = '01/02/2026'::date::text WHERE id > 0";
    for setting in [
        "SET datestyle = 'ISO, DMY'",
        "SET timezone = 'Asia/Tokyo'",
        "SET intervalstyle = 'sql_standard'",
        "SET extra_float_digits = 0",
        "SET default_tablespace = 'pg_default'",
        "SET gin_fuzzy_search_limit = 1",
        "SET xmlbinary = 'hex'",
    ] {
        let mut client = place.client();
        client.query("SET countersign.wait = '1s'");
        client.send(Frames::new().query(text));
        let held = place.dora.held(text).await;
        assert!(held["facts"].to_string().contains("DateStyle ISO, MDY"), "{held}");
        assert_eq!(error(&client.until_ready()).sqlstate, "55000");
        assert_eq!(place.dora.approve(&held).await["state"], "grant");
        let mut other = place.client();
        assert_eq!(tags(&other.query(setting)).replace('S', ""), "CZ", "{setting}");
        assert!(!place.runs(&mut other, text).await, "{setting}");
        let mut same = place.client();
        assert!(place.runs(&mut same, text).await, "{setting}");
        assert!(!place.runs(&mut same, text).await, "it was for once");
    }
}

/// That a client is refused, and told to prepare its statement anew.
fn is_refused_until_prepared_anew(answer: &[support::wire::Message]) {
    let refused = error(answer);
    assert_eq!(refused.sqlstate, "0A000", "{refused:?}");
    assert!(refused.message.contains("Prepare it again"), "{refused:?}");
}

/// PostgreSQL reads the literals of a statement when it parses it, not when it runs it: what is shown at the Bind must be
/// what was in force at the Parse.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_whose_literals_were_read_under_other_settings_must_be_prepared_anew() {
    let place = Place::open().await;
    let owner = place.postgres.connect().await;
    // So it is: the server folds the literal, and a later setting does not change it.
    owner
        .batch_execute("SET datestyle = 'ISO, DMY'")
        .await
        .expect("set");
    let prepared = owner
        .prepare("SELECT '01/02/2026'::date::text")
        .await
        .expect("parsed");
    owner
        .batch_execute("SET datestyle = 'ISO, MDY'")
        .await
        .expect("set");
    let row = owner.query_one(&prepared, &[]).await.expect("a row");
    assert_eq!(row.get::<_, String>(0), "2026-02-01");
    let note = async || {
        let row = owner.query_one("SELECT note FROM bills WHERE id = 1", &[]).await;
        row.expect("there").get::<_, String>(0)
    };
    let text = "UPDATE bills SET note = '01/02/2026'::date::text WHERE id > 0";
    let bound = || Frames::new().bind("", "p", &[]).execute("").sync();
    for (before, between) in [
        ("SET datestyle = 'ISO, DMY'", vec!["SET datestyle = 'ISO, MDY'"]),
        (
            "SELECT set_config('DateStyle', 'ISO, DMY', false)",
            vec!["RESET datestyle"],
        ),
        ("SET datestyle = 'ISO, DMY'", vec!["RESET ALL"]),
        ("BEGIN; SET LOCAL datestyle = 'ISO, DMY'", vec!["ROLLBACK"]),
        (
            "BEGIN; SAVEPOINT a; SET datestyle = 'ISO, DMY'",
            vec!["ROLLBACK TO a", "COMMIT"],
        ),
        // Back where it was: the server may have parsed it anew meanwhile.
        (
            "SELECT 1",
            vec!["SET datestyle = 'ISO, DMY'", "SET datestyle = 'ISO, MDY'"],
        ),
        (
            "SELECT 1",
            vec!["SET datestyle = 'ISO, DMY'; SET datestyle = 'ISO, MDY'"],
        ),
    ] {
        let mut client = place.client();
        assert!(!tags(&client.query(before)).contains('E'), "{before}");
        client.send(Frames::new().parse("p", text).sync());
        assert_eq!(tags(&client.until_ready()), "1Z", "{before}");
        for setting in &between {
            assert!(!tags(&client.query(setting)).contains('E'), "{setting}");
        }
        client.send(bound());
        is_refused_until_prepared_anew(&client.until_ready());
        assert!(place.dora.pending().await.is_empty());
        // Prepared anew, it means what is shown.
        client.send(Frames::new().close_statement("p").parse("p", text).sync());
        assert_eq!(tags(&client.until_ready()), "31Z", "{before}");
        client.send(bound());
        let held = place.dora.held(text).await;
        assert!(held["facts"].to_string().contains("DateStyle ISO, MDY"), "{held}");
        place.dora.approve(&held).await;
        assert!(!tags(&client.until_ready()).contains('E'), "{before}");
        assert_eq!(note().await, "2026-01-02");
    }
}

/// The same by SQL's own PREPARE and EXECUTE.
#[tokio::test(flavor = "multi_thread")]
async fn an_execute_of_what_was_prepared_under_other_settings_is_refused() {
    let place = Place::open().await;
    let text = "PREPARE p AS UPDATE bills SET note = '01/02/2026'::date::text WHERE id > 0";
    for (before, prepare) in [
        ("SET datestyle = 'ISO, DMY'", text.to_owned()),
        ("SELECT 1", format!("SET datestyle = 'ISO, DMY'; {text}")),
    ] {
        let mut client = place.client();
        client.query(before);
        client.send(Frames::new().query(&prepare));
        let held = place.dora.held(&prepare).await;
        place.dora.approve(&held).await;
        assert!(!tags(&client.until_ready()).contains('E'));
        client.query("SET datestyle = 'ISO, MDY'");
        is_refused_until_prepared_anew(&client.query("EXECUTE p"));
    }
}

/// Drivers that prepare at once and bind later: nothing that could be read otherwise is in their way.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_bound_as_often_as_is_liked_while_its_literals_mean_the_same() {
    let place = Place::open().await;
    let mut client = place.client();
    let bound = |name: &str, values: &[&str]| Frames::new().bind("", name, values).execute("").sync();
    let text = "UPDATE bills SET note = '01/02/2026'::date::text WHERE id > 0";
    let parameter = "UPDATE bills SET note = $1 WHERE id > 0";
    client.send(Frames::new().parse("p", text).sync().parse("q", parameter).sync());
    client.until_ready();
    client.until_ready();
    let approved = async |client: &mut Wire, frames: Frames, text: &str| {
        client.send(frames);
        let held = place.dora.held(text).await;
        place.dora.approve(&held).await;
        let answer = client.until_ready();
        assert!(!tags(&answer).contains('E'), "{answer:?}");
    };
    for setting in [
        "SELECT 1",
        "SET application_name = 'x'",
        "BEGIN; SET LOCAL statement_timeout = '1min'; COMMIT",
        "SET search_path = public",
        "LISTEN a",
    ] {
        client.query(setting);
        approved(&mut client, bound("p", &[]), text).await;
        approved(&mut client, bound("p", &[]), text).await;
    }
    // What comes as a parameter is read when it is bound.
    client.query("SET datestyle = 'ISO, DMY'");
    approved(&mut client, bound("q", &["01/02/2026"]), parameter).await;
    client.send(bound("p", &[]));
    is_refused_until_prepared_anew(&client.until_ready());
    // What a person let through at its Bind runs under the settings that were shown.
    client.query("BEGIN");
    client.send(Frames::new().bind("c", "q", &["b"]).sync());
    let held = place.dora.held(parameter).await;
    place.dora.approve(&held).await;
    assert_eq!(tags(&client.until_ready()), "2Z");
    client.query("SET datestyle = 'ISO, MDY'");
    client.send(Frames::new().execute("c").sync());
    assert_eq!(error(&client.until_ready()).sqlstate, "0A000");
}

/// One approval that two connections ask for at the same moment runs once.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_redeemed_by_one_of_many_connections() {
    let place = Place::open().await;
    let text = "INSERT INTO other SELECT max(id) + 1 FROM bills";
    let owner = place.postgres.connect().await;
    for _ in 0..3 {
        owner.batch_execute("DELETE FROM other").await.expect("emptied");
        let mut client = place.client();
        client.query("SET countersign.wait = '1s'");
        client.send(Frames::new().query(text));
        let held = place.dora.held(text).await;
        assert_eq!(error(&client.until_ready()).sqlstate, "55000");
        assert_eq!(place.dora.approve(&held).await["state"], "grant");
        let mut clients: Vec<Wire> = (0..4).map(|_| place.client()).collect();
        for client in &mut clients {
            client.query("SET countersign.wait = '1s'");
        }
        for client in &mut clients {
            client.send(Frames::new().query(text));
        }
        let ran = clients
            .iter_mut()
            .filter_map(|client| (!tags(&client.until_ready()).contains('E')).then_some(()))
            .count();
        assert_eq!(ran, 1);
        let rows = owner.query_one("SELECT count(*) FROM other", &[]).await;
        assert_eq!(rows.expect("counted").get::<_, i64>(0), 1);
        for held in place.dora.pending().await {
            place.dora.deny(&held, "no").await;
        }
    }
}

/// The server is lost while it commits: nobody knows whether it has, and the log says no more than that.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_not_answered_is_unknown() {
    let place = Place::open().await;
    let owner = place.postgres.connect().await;
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(30); RETURN NULL; END';
                CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON other DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION slow();
                INSERT INTO other VALUES (1)";
    owner.batch_execute(slow).await.expect("made");
    let superuser = place.postgres.connect_as_superuser().await;
    for (number, commit) in ["COMMIT", "COMMIT; BEGIN; ROLLBACK"].into_iter().enumerate() {
        let mut client = place.client();
        client.query("BEGIN");
        client.query("UPDATE other SET id = 1 WHERE id = 1");
        client.send(Frames::new().query(commit));
        let ends_it = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COMMIT%'";
        let ended = async || {
            superuser
                .query_one(ends_it, &[])
                .await
                .expect("counted")
                .get::<_, i64>(0)
        };
        while ended().await == 0 {}
        client.until(b'E');
        while ends(&place).len() <= number {}
        assert_eq!(ends(&place)[number..], ["unknown"], "{commit}");
    }
}

/// A portal bound in one pipeline and executed in another: what it does counts when it does it.
#[tokio::test(flavor = "multi_thread")]
async fn a_portal_that_is_executed_later_is_told_and_followed_when_it_runs() {
    let place = Place::open().await;
    let bound = |portal: &str, text: &str| Frames::new().parse("", text).bind(portal, "", &[]).sync();
    let later = |portal: &str| Frames::new().execute(portal).sync();
    let write = "UPDATE bills SET note = 'late' WHERE id = 1";
    // The end of its transaction,
    let mut client = place.client();
    client.query("BEGIN");
    client.query("UPDATE bills SET note = 'before' WHERE id = 2");
    client.ask(bound("c", "COMMIT"));
    client.ask(bound("w", write));
    client.ask(later("w"));
    assert_eq!(status(&client.ask(later("c"))), 'I');
    let all = soon(|| ends(&place), |all| !all.is_empty());
    assert_eq!(all, ["committed"]);
    let told = all_told_of(&place, write);
    assert_eq!(
        told.last().expect("told"),
        &("ran".to_owned(), "UPDATE 1".to_owned())
    );
    // all sent at once,
    let mut client = place.client();
    let frames = bound("c", "COMMIT").0;
    client.send(Frames::new().query("BEGIN").bytes(&frames).execute("c").sync());
    for status_then in ['T', 'T', 'I'] {
        assert_eq!(status(&client.until_ready()), status_then);
    }
    let all = soon(|| ends(&place), |all| all.len() > 1);
    assert_eq!(all, ["committed", "committed"]);
    // an error,
    let mut client = place.client();
    client.query("BEGIN");
    let fails = "UPDATE bills SET id = 2 WHERE id = 1";
    client.ask(bound("f", fails));
    assert_eq!(status(&client.ask(later("f"))), 'E');
    assert_eq!(all_told_of(&place, fails).last().expect("told").0, "failed");
    client.query("ROLLBACK");
    // and a setting of the proxy's own.
    client.query("BEGIN");
    client.ask(bound("s", "SET countersign.purpose = 'told late'"));
    client.query("SELECT 1");
    client.ask(later("s"));
    client.send(Frames::new().query("DROP TABLE other"));
    let held = place.dora.held("DROP TABLE other").await;
    assert_eq!(held["claimed"]["purpose"], "told late", "{held}");
    place.dora.deny(&held, "no").await;
    client.until_ready();
}

/// An approval is not over before what it is for has run, or cannot any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_lasts_until_its_portal_is_executed_or_gone() {
    let place = Place::open().await;
    let text = "DELETE FROM bills WHERE id > 0";
    let bound = |portal: &str| Frames::new().parse("", text).bind(portal, "", &[]).sync();
    let later = |portal: &str| Frames::new().execute(portal).sync();
    let left = async || {
        let owner = place.postgres.connect().await;
        let row = owner.query_one("SELECT count(*) FROM bills", &[]).await;
        row.expect("counted").get::<_, i64>(0)
    };
    let approved = async |client: &mut Wire, portal: &str| {
        client.query("BEGIN");
        client.send(bound(portal));
        let held = place.dora.held(text).await;
        place.dora.approve(&held).await;
        assert_eq!(tags(&client.until_ready()), "12Z");
        client.query("SELECT 1");
        assert_eq!(place.dora.show(&id_of(&held)).await["state"], "running");
        held
    };
    let over = ["finished", "failed", "outcome_unknown"];
    // Executed,
    let mut client = place.client();
    let held = approved(&mut client, "p").await;
    assert_eq!(tags(&client.ask(later("p"))), "CZ");
    let ended = place.dora.until_state(&held, &over).await;
    assert_eq!(
        (&ended["state"], &ended["outcome"]["rows"]),
        (&json!("finished"), &json!(2))
    );
    // a second time it is another attempt, which the server refuses.
    assert_eq!(tags(&client.ask(later("p"))), "EZ");
    client.query("ROLLBACK");
    // It failed,
    let owner = place.postgres.connect().await;
    let keeps = "CREATE TABLE keeps (bill int REFERENCES bills); INSERT INTO keeps VALUES (1)";
    owner.batch_execute(keeps).await.expect("made");
    let held = approved(&mut client, "p").await;
    assert_eq!(error(&client.ask(later("p"))).sqlstate, "23503");
    let ended = place.dora.until_state(&held, &over).await;
    assert_eq!(
        (&ended["state"], &ended["outcome"]["sqlstate"]),
        (&json!("failed"), &json!("23503"))
    );
    client.query("ROLLBACK");
    owner.batch_execute("DROP TABLE keeps").await.expect("dropped");
    // its portal is closed, replaced, or gone with its transaction or its connection,
    for ending in ["close", "replace", "rollback", "query", "leave"] {
        let mut client = place.client();
        let portal = if matches!(ending, "replace" | "query") {
            ""
        } else {
            "p"
        };
        let held = match portal {
            // A Query takes the unnamed one away.
            "" => {
                client.query("BEGIN");
                client.send(bound(""));
                let held = place.dora.held(text).await;
                place.dora.approve(&held).await;
                client.until_ready();
                held
            }
            portal => approved(&mut client, portal).await,
        };
        match ending {
            "close" => drop(client.ask(Frames::new().close_portal("p").sync())),
            "replace" => drop(client.ask(Frames::new().parse("", "SELECT 1").bind("", "", &[]).sync())),
            "rollback" => drop(client.query("ROLLBACK")),
            "query" => drop(client.query("SELECT 1")),
            _ => client.hang_up(),
        }
        let ended = place.dora.until_state(&held, &over).await;
        assert_eq!(
            (&ended["state"], &ended["outcome"]["sqlstate"]),
            (&json!("failed"), &json!("34000")),
            "{ending}: {ended}"
        );
        assert_eq!(left().await, 2, "{ending}");
    }
    // or FETCH may have run it, which names any portal.
    let mut client = place.client();
    client.query("BEGIN");
    let returns = "DELETE FROM bills WHERE id > 1 RETURNING id";
    client.send(Frames::new().parse("", returns).bind("p", "", &[]).sync());
    let held = place.dora.held(returns).await;
    place.dora.approve(&held).await;
    client.until_ready();
    assert_eq!(tags(&client.query("FETCH ALL FROM p")), "TDCZ");
    client.query("COMMIT");
    let ended = place.dora.until_state(&held, &over).await;
    assert_eq!(ended["state"], "outcome_unknown", "{ended}");
    assert_eq!(left().await, 1);
}

/// What stands behind the end of a transaction in its pipeline is in another one, and what stands behind its beginning is
/// in it, before the server says so with its next ReadyForQuery.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_an_end_in_its_pipeline_is_not_told_with_the_ended_transaction() {
    let place = Place::open().await;
    let portal = |frames: Frames, text: &str| frames.parse("", text).bind("", "", &[]).execute("");
    let write = "UPDATE bills SET note = 'x' WHERE id = 1";
    let drops = "DROP TABLE IF EXISTS other";
    let mut told = 0;
    for (before, ahead, (shown, wrote), decides, ended) in [
        (
            vec!["BEGIN", write],
            vec!["ROLLBACK"],
            ("implicit", false),
            "approve",
            vec!["rolled_back"],
        ),
        (
            vec!["BEGIN", write],
            vec!["COMMIT"],
            ("implicit", false),
            "deny",
            vec!["committed"],
        ),
        (
            vec!["BEGIN", write],
            vec!["COMMIT", write],
            ("implicit", true),
            "approve",
            vec!["committed"],
        ),
        (
            vec!["BEGIN", write],
            vec!["COMMIT", "SELECT 1"],
            ("implicit", false),
            "approve",
            vec!["committed"],
        ),
        (
            vec!["BEGIN", write],
            vec!["COMMIT", "BEGIN"],
            ("open", false),
            "approve",
            vec!["committed", "rolled_back"],
        ),
        (
            vec!["BEGIN", write],
            vec!["COMMIT AND CHAIN"],
            ("open", false),
            "approve",
            vec!["committed", "rolled_back"],
        ),
        (
            vec![],
            vec!["BEGIN"],
            ("open", false),
            "approve",
            vec!["rolled_back"],
        ),
        (
            vec![],
            vec!["BEGIN", write],
            ("open", true),
            "approve",
            vec!["rolled_back"],
        ),
        (vec![], vec![write], ("implicit", true), "approve", vec![]),
    ] {
        let mut client = place.client();
        for text in &before {
            client.query(text);
        }
        let frames = ahead
            .iter()
            .fold(Frames::new(), |frames, text| portal(frames, text));
        client.send(portal(frames, drops).sync());
        let held = place.dora.held(drops).await;
        assert_eq!(
            (&held["transaction"]["state"], &held["transaction"]["wrote"]),
            (&json!(shown), &json!(wrote)),
            "{ahead:?}: {held}"
        );
        match decides {
            "approve" => drop(place.dora.approve(&held).await),
            _ => drop(place.dora.deny(&held, "no").await),
        }
        if status(&client.until_ready()) == 'T' {
            client.query("ROLLBACK");
        }
        let id = id_of(&held);
        let look = || {
            let log = place.house.run(&["log", "query", "--kind", "transaction_end"]);
            let items = log["items"].as_array().expect("items").iter().rev().skip(told);
            let told = |item: &Value| {
                let outcome = item["outcome"].as_str().expect("told").to_owned();
                (outcome, item.to_string().contains(&id))
            };
            items.map(told).collect::<Vec<_>>()
        };
        // The request is in the last of them, if in any.
        let last = ended.len().wrapping_sub(1);
        let ended = ended.iter().enumerate();
        let expected: Vec<_> = ended
            .map(|(number, outcome)| ((*outcome).to_owned(), shown == "open" && number == last))
            .collect();
        let all = soon(look, |all| *all == expected);
        assert_eq!(all, expected, "{before:?} {ahead:?}");
        told += all.len();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_for_a_transaction_does_not_reach_behind_its_end_in_a_pipeline() {
    let place = Place::open().await;
    let portal = |frames: Frames, text: &str| frames.parse("", text).bind("", "", &[]).execute("");
    for end in ["COMMIT", "ROLLBACK", "COMMIT AND CHAIN"] {
        let mut client = place.client();
        client.query("BEGIN");
        let first = "ALTER TABLE bills ADD COLUMN IF NOT EXISTS c0 int";
        let scope = run("transaction", &["bills"], 10);
        place.begun(&mut client, first, &scope).await;
        assert!(
            place
                .runs(&mut client, "COMMENT ON TABLE bills IS 'within'")
                .await
        );
        let behind = "COMMENT ON TABLE bills IS 'behind'";
        client.send(portal(portal(Frames::new(), end), behind).sync());
        let held = place.dora.held(behind).await;
        place.dora.deny(&held, "no").await;
        client.until_ready();
    }
}

/// What is told of a statement goes by what it does, not by the strictest class of what stands in it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_behind_an_error_goes_by_what_a_statement_does() {
    let place = Place::open().await;
    let superuser = place.postgres.connect_as_superuser().await;
    let text = "CREATE SEQUENCE counts; CREATE TABLE copied (line text);
                GRANT ALL ON SEQUENCE counts TO PUBLIC; GRANT ALL ON copied TO PUBLIC;
                CREATE TABLE made_by (id int);
                CREATE TABLE days (day int) PARTITION BY LIST (day);
                CREATE TABLE days_1 PARTITION OF days FOR VALUES IN (1);
                ALTER TABLE days OWNER TO shop_owner; ALTER TABLE days_1 OWNER TO shop_owner;
                GRANT pg_execute_server_program TO shop_owner; GRANT SELECT ON pg_authid TO shop_owner";
    superuser.batch_execute(text).await.expect("made");
    let portal = |frames: Frames, text: &str| frames.parse("", text).bind("", "", &[]).execute("");
    let fails = |frames: Frames| portal(frames, "SELECT 1/0").sync();
    for (text, told) in [
        ("SELECT setval('counts', 7)", "outcome_unknown"),
        (
            "INSERT INTO copied SELECT nextval('counts')::text",
            "outcome_unknown",
        ),
        (
            "ALTER TABLE days DETACH PARTITION days_1 CONCURRENTLY",
            "outcome_unknown",
        ),
        (
            "CREATE INDEX CONCURRENTLY by_note ON bills (note)",
            "outcome_unknown",
        ),
        ("ALTER TABLE days ADD COLUMN \"concurrently\" int", "failed"),
        ("COPY copied FROM PROGRAM 'echo a'", "failed"),
        ("INSERT INTO copied SELECT rolname FROM pg_authid", "failed"),
        ("SELECT rolname INTO copied_again FROM pg_authid", "failed"),
        ("SELECT rolname FROM pg_authid", "finished"),
        ("NOTIFY news", "failed"),
        ("COPY bills TO STDOUT", "finished"),
        ("PREPARE wipe AS DELETE FROM bills WHERE id > 0", "finished"),
        ("DISCARD ALL", "ran"),
        ("SELECT pg_advisory_lock(7)", "ran"),
        ("SET countersign_tests.own = 'x'", "failed"),
    ] {
        let mut client = place.client();
        client.send(fails(portal(Frames::new(), text)));
        let is_held = std::iter::from_fn(|| Some(client.read()))
            .map(|message| match message.tag {
                b'N' if message.fields().message.contains("HELD") => Some(true),
                b'Z' => Some(false),
                _ => None,
            })
            .find_map(|seen| seen)
            .expect("an end");
        if !is_held {
            let told = if told == "finished" { "ran" } else { told };
            assert_eq!(told_of(&place, text), told, "{text}");
            continue;
        }
        let held = place.dora.held(text).await;
        place.dora.approve(&held).await;
        let answer = client.until_ready();
        assert_eq!(error(&answer).sqlstate, "22012", "{text}: {answer:?}");
        let ended = place
            .dora
            .until_state(&held, &["outcome_unknown", "finished", "failed"])
            .await;
        let told = if told == "ran" { "finished" } else { told };
        assert_eq!(ended["state"], told, "{text}: {ended}");
    }
    let there =
        "SELECT (SELECT count(*) FROM pg_inherits WHERE inhrelid = 'days_1'::regclass AND inhdetachpending),
                        (SELECT count(*) FROM pg_index WHERE indexrelid = 'by_note'::regclass AND NOT indisvalid),
                        (SELECT last_value FROM counts), (SELECT count(*) FROM copied)";
    let row = superuser.query_one(there, &[]).await.expect("counted");
    let left: [i64; 4] = [0, 1, 2, 3].map(|column| row.get(column));
    assert_eq!(left, [1, 1, 8, 0]);
}
