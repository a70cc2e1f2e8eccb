//! Guards round approved runs in front of a real PostgreSQL: in force while the statement runs, gone before the next one,
//! whatever became of it. Never a mock: values are read on the client's own connection. MariaDB's are in `guards_mysql.rs`.

mod support;

use reqwest::StatusCode;
use serde_json::{Value, json};
use support::api::{Api, id_of};
use support::house::House;
use support::server::Postgres;
use support::wire::{Frames, Message, Wire, error, status, tags, value};

/// A server, a proxy with strict rules, and a reviewer.
struct Place {
    postgres: Postgres,
    house: House,
    dora: Api,
}

impl Place {
    async fn open() -> Self {
        let postgres = Postgres::start();
        let rules = std::fs::canonicalize("rules/strict.toml").expect("there");
        let house = House::open(&postgres, "", &format!("[rules]\nfile = {rules:?}"));
        house.run(&["user", "add", "dora", "--role", "approver,auditor"]);
        let token = house.run(&["user", "token", "dora"]);
        let token = token["token"].as_str().expect("shown once").to_owned();
        let place = Self {
            dora: Api::new(&house.serve.api_url, &token),
            postgres,
            house,
        };
        let owner = place.postgres.connect().await;
        let text = "CREATE TABLE jobs (id int PRIMARY KEY, note text);
                    INSERT INTO jobs SELECT n, '' FROM generate_series(1, 5) n;
                    CREATE TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
                    INSERT INTO late VALUES (1)";
        owner.batch_execute(text).await.expect("made");
        place
    }

    fn client(&self) -> Wire {
        Wire::connect(&self.house.url("127.0.0.1"))
    }

    async fn decide(&self, text: &str, guards: Value) -> (StatusCode, Value) {
        let held = self.dora.held(text).await;
        let body = json!({ "decision": "approve", "digest": held["digest"], "guards": guards });
        self.dora
            .post(&format!("/requests/{}/decision", id_of(&held)), &body)
            .await
    }

    /// Sends it, has it approved with these guards, and gives its answer and how its request ended.
    async fn guarded(
        &self,
        client: &mut Wire,
        frames: Frames,
        text: &str,
        guards: Value,
    ) -> (Vec<Message>, Value) {
        client.send(frames);
        let (code, decided) = self.decide(text, guards).await;
        assert_eq!(code, StatusCode::OK, "{decided}");
        let answer = client.until_ready();
        let ended = ["finished", "failed", "stale"];
        (answer, self.dora.until_state(&decided, &ended).await)
    }

    async fn rows(&self) -> i64 {
        let owner = self.postgres.connect_as_superuser().await;
        let row = owner.query_one("SELECT count(*) FROM jobs", &[]).await;
        row.expect("counted").get(0)
    }

    async fn note(&self, id: i32) -> String {
        let owner = self.postgres.connect_as_superuser().await;
        let row = owner
            .query_one("SELECT note FROM jobs WHERE id = $1", &[&id])
            .await;
        row.expect("there").get(0)
    }
}

fn query(text: &str) -> Frames {
    Frames::new().query(text)
}

fn timeouts() -> Value {
    json!({ "lock_timeout": "5s", "statement_timeout": "1min" })
}

/// What the client's next statements run under.
fn settings(client: &mut Wire) -> (String, String) {
    let lock = value(&client.query("SHOW lock_timeout"));
    (lock, value(&client.query("SHOW statement_timeout")))
}

fn own() -> (String, String) {
    ("0".to_owned(), "20s".to_owned())
}

const NOTES: &str =
    "UPDATE jobs SET note = current_setting('lock_timeout') || ' ' || current_setting('statement_timeout')";

/// What the server runs it under: the narrower of the client's 20 s and the guard of a minute, and five seconds for locks.
const NOTED: &str = "5s 20s";

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_is_in_force_while_the_statement_runs_and_gone_before_the_next() {
    let place = Place::open().await;
    let mut client = place.client();
    client.query("SET statement_timeout = '20s'");
    let (answer, ended) = place.guarded(&mut client, query(NOTES), NOTES, timeouts()).await;
    let notice = answer
        .iter()
        .filter(|message| message.tag == b'N')
        .map(|message| message.fields().message);
    let notice: Vec<_> = notice.collect();
    assert!(
        notice
            .iter()
            .any(|said| said.contains("with lock_timeout 5s, statement_timeout 1min")),
        "{notice:?}"
    );
    assert_eq!(
        (tags(&answer).replace('N', "").as_str(), status(&answer)),
        ("CZ", 'I')
    );
    assert_eq!(
        (&ended["state"], &ended["outcome"]["rows"]),
        (&json!("finished"), &json!(5)),
        "{ended}"
    );
    assert_eq!(ended["decisions"][0]["guards"], timeouts(), "{ended}");
    assert_eq!(place.note(1).await, NOTED);
    assert_eq!(settings(&mut client), own());
    let log = place.house.run(&["log", "query", "--kind", "decision"]);
    assert!(
        log.to_string()
            .contains("guards: lock_timeout 5s, statement_timeout 1min"),
        "{log}"
    );
    // Several statements in one message.
    let two = "UPDATE jobs SET note = current_setting('lock_timeout') WHERE id = 2; DELETE FROM jobs WHERE id = 3 RETURNING id";
    let (answer, _) = place
        .guarded(&mut client, query(two), "UPDATE jobs", timeouts())
        .await;
    assert_eq!(
        (tags(&answer).replace('N', "").as_str(), status(&answer)),
        ("CTDCZ", 'I')
    );
    assert_eq!((place.note(2).await.as_str(), place.rows().await), ("5s", 4));
    assert_eq!(settings(&mut client), own());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_outside_a_transaction_leaves_the_clients_own_settings() {
    let place = Place::open().await;
    let mut client = place.client();
    client.query("SET statement_timeout = '20s'");
    for (text, guards, sqlstate) in [
        ("INSERT INTO jobs VALUES (1, 'twice')", timeouts(), "23505"),
        (
            "UPDATE jobs SET note = pg_sleep(9)::text",
            json!({ "statement_timeout": "200ms" }),
            "57014",
        ),
        ("INSERT INTO late VALUES (1)", timeouts(), "23505"),
    ] {
        let (answer, ended) = place.guarded(&mut client, query(text), text, guards).await;
        assert_eq!(
            (error(&answer).sqlstate.as_str(), status(&answer)),
            (sqlstate, 'I'),
            "{text}"
        );
        assert_eq!(tags(&answer).replace('N', ""), "EZ", "{text}");
        assert_eq!(
            (&ended["state"], &ended["outcome"]["sqlstate"]),
            (&json!("failed"), &json!(sqlstate)),
            "{ended}"
        );
        assert_eq!(settings(&mut client), own(), "{text}");
    }
    let blocker = place.postgres.connect().await;
    blocker
        .batch_execute("BEGIN; LOCK TABLE jobs")
        .await
        .expect("locked");
    let text = "ALTER TABLE jobs ADD COLUMN more int";
    let (answer, _) = place
        .guarded(&mut client, query(text), text, json!({ "lock_timeout": "200ms" }))
        .await;
    assert_eq!(
        (error(&answer).sqlstate.as_str(), status(&answer)),
        ("55P03", 'I')
    );
    assert_eq!(settings(&mut client), own());
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_a_transaction_a_guard_goes_with_its_statement() {
    let place = Place::open().await;
    let mut client = place.client();
    client.query("SET statement_timeout = '20s'");
    client.query("BEGIN");
    client.query("SET LOCAL lock_timeout = '7s'");
    client.query("SAVEPOINT mine");
    let (answer, _) = place.guarded(&mut client, query(NOTES), NOTES, timeouts()).await;
    assert_eq!(
        (tags(&answer).replace('N', "").as_str(), status(&answer)),
        ("CZ", 'T')
    );
    assert_eq!(settings(&mut client), ("7s".to_owned(), "20s".to_owned()));
    let fails = "INSERT INTO jobs VALUES (1, 'twice')";
    let (answer, _) = place.guarded(&mut client, query(fails), fails, timeouts()).await;
    assert_eq!(
        (error(&answer).sqlstate.as_str(), status(&answer)),
        ("23505", 'E')
    );
    assert_eq!(status(&client.query("ROLLBACK TO mine")), 'T');
    assert_eq!(settings(&mut client), ("7s".to_owned(), "20s".to_owned()));
    let (answer, _) = place.guarded(&mut client, query(fails), fails, timeouts()).await;
    assert_eq!(status(&answer), 'E');
    assert_eq!(status(&client.query("ROLLBACK")), 'I');
    assert_eq!(settings(&mut client), own());
    client.query("BEGIN");
    place.guarded(&mut client, query(NOTES), NOTES, timeouts()).await;
    client.query("SET lock_timeout = '9s'");
    assert_eq!(status(&client.query("COMMIT")), 'I');
    assert_eq!(place.note(4).await, NOTED);
    assert_eq!(settings(&mut client), ("9s".to_owned(), "20s".to_owned()));
}

fn portal(frames: Frames, text: &str) -> Frames {
    frames
        .parse("", text)
        .bind("", "", &[])
        .describe_portal("")
        .execute("")
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_pipeline_what_stands_behind_runs_under_the_clients_own_settings() {
    let place = Place::open().await;
    let mut client = place.client();
    client.query("SET statement_timeout = '20s'");
    for begin in [None, Some("BEGIN")] {
        if let Some(begin) = begin {
            client.query(begin);
        }
        let frames = portal(portal(Frames::new(), "SELECT 7"), NOTES);
        let frames = portal(frames, "SHOW lock_timeout").sync();
        let (answer, _) = place.guarded(&mut client, frames, NOTES, timeouts()).await;
        assert_eq!(tags(&answer).replace('N', ""), "12TDC12nC12TDCZ", "{begin:?}");
        let last = answer
            .iter()
            .rev()
            .find(|message| message.tag == b'D')
            .expect("a row");
        assert!(last.body.ends_with(b"0"), "{last:?}");
        // An error, and what the server skips behind it.
        let fails = "INSERT INTO jobs VALUES (1, 'twice')";
        let frames = portal(portal(Frames::new(), fails), "SELECT 8").sync();
        let (answer, _) = place.guarded(&mut client, frames, fails, timeouts()).await;
        assert_eq!(error(&answer).sqlstate, "23505");
        let expected = if begin.is_some() { 'E' } else { 'I' };
        assert_eq!(status(&answer), expected);
        client.query("ROLLBACK");
        assert_eq!(settings(&mut client), own());
    }
    // Each by itself, as drivers do.
    let (answer, _) = place
        .guarded(
            &mut client,
            portal(Frames::new(), NOTES).sync(),
            NOTES,
            timeouts(),
        )
        .await;
    assert_eq!(tags(&answer).replace('N', ""), "12nCZ");
    assert_eq!(place.note(5).await, NOTED);
    assert_eq!(settings(&mut client), own());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_rows_than_were_allowed_are_undone() {
    let place = Place::open().await;
    let mut client = place.client();
    let text = "DELETE FROM jobs WHERE id > 2 RETURNING id";
    let max = |rows: u32| json!({ "rows_max": rows, "lock_timeout": "5s" });
    for is_simple in [true, false] {
        let frames = || match is_simple {
            true => query(text),
            false => portal(portal(Frames::new(), text), "SELECT 8").sync(),
        };
        for begin in [false, true] {
            if begin {
                client.query("BEGIN");
            }
            let (answer, ended) = place.guarded(&mut client, frames(), text, max(2)).await;
            let fields = error(&answer);
            assert_eq!(fields.sqlstate, "57014", "{fields:?}");
            assert!(
                fields
                    .message
                    .contains("would have affected 3 rows, and its approval allows 2"),
                "{fields:?}"
            );
            assert!(!tags(&answer).contains('C'), "{}", tags(&answer));
            assert_eq!(status(&answer), if begin { 'E' } else { 'I' });
            assert_eq!(
                (&ended["state"], &ended["outcome"]["sqlstate"]),
                (&json!("failed"), &json!("57014")),
                "{ended}"
            );
            assert_eq!(place.rows().await, 5);
            if begin {
                assert_eq!(status(&client.query("COMMIT")), 'I');
                assert_eq!(place.rows().await, 5);
                client.query("BEGIN");
            }
            let (answer, ended) = place.guarded(&mut client, frames(), text, max(3)).await;
            assert_eq!(ended["outcome"]["rows"], 3, "{ended}");
            assert!(tags(&answer).contains("DDDC"), "{}", tags(&answer));
            assert_eq!(status(&answer), if begin { 'T' } else { 'I' });
            if begin {
                assert_eq!(value(&client.query("SHOW lock_timeout")), "0");
                client.query("ROLLBACK");
            } else {
                assert_eq!(place.rows().await, 2);
                let owner = place.postgres.connect().await;
                let again = "INSERT INTO jobs VALUES (3, ''), (4, ''), (5, '')";
                owner.batch_execute(again).await.expect("back");
            }
            assert_eq!(value(&client.query("SHOW lock_timeout")), "0");
        }
    }
    let log = place.house.run(&["log", "query", "--kind", "transaction_end"]);
    assert!(log.to_string().contains("committed"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_in_no_transaction_is_guarded_by_the_sessions_settings() {
    let place = Place::open().await;
    let mut client = place.client();
    client.query("SET statement_timeout = '20s'");
    let text = "CREATE INDEX CONCURRENTLY by_note ON jobs (note)";
    let (answer, ended) = place.guarded(&mut client, query(text), text, timeouts()).await;
    assert_eq!(status(&answer), 'I');
    assert_eq!(ended["state"], "finished", "{ended}");
    assert_eq!(settings(&mut client), own());
    let text = "DROP INDEX CONCURRENTLY by_note";
    let blocker = place.postgres.connect().await;
    blocker
        .batch_execute("BEGIN; LOCK TABLE jobs IN SHARE MODE")
        .await
        .expect("locked");
    let (answer, _) = place
        .guarded(&mut client, query(text), text, json!({ "lock_timeout": "200ms" }))
        .await;
    assert_eq!(
        (error(&answer).sqlstate.as_str(), status(&answer)),
        ("55P03", 'I')
    );
    assert_eq!(settings(&mut client), own());
    let source = "SELECT source FROM pg_settings WHERE name = 'lock_timeout'";
    client.send(query(source));
    let held = place.dora.pending().await;
    if let Some(held) = held.first() {
        place.dora.approve(held).await;
    }
    assert_eq!(value(&client.until_ready()), "default");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_cannot_be_kept_is_refused_at_the_decision() {
    let place = Place::open().await;
    let mut client = place.client();
    let rows = json!({ "rows_max": 1 });
    let lock = json!({ "lock_timeout": "1s" });
    for (frames, text, guards) in [
        (query("DROP TABLE late"), "DROP TABLE late", &rows),
        (
            query("WITH gone AS (DELETE FROM jobs RETURNING *) INSERT INTO late VALUES (2)"),
            "WITH gone",
            &rows,
        ),
        (
            query("DELETE FROM jobs; DELETE FROM late"),
            "DELETE FROM jobs",
            &rows,
        ),
        (query("BEGIN; DROP TABLE late; COMMIT"), "BEGIN; DROP", &lock),
        // The text itself would take the guard away.
        (
            query("SET LOCAL lock_timeout = 0; DROP TABLE late"),
            "SET LOCAL",
            &lock,
        ),
        (
            query("SELECT set_config('lock_timeout', '0', true); DROP TABLE late"),
            "SELECT set_config",
            &lock,
        ),
        (
            query("UPDATE jobs SET note = set_config('lock_timeout', '0', true)"),
            "UPDATE jobs",
            &lock,
        ),
        (query("COPY jobs FROM STDIN"), "COPY jobs", &lock),
        (
            query("DROP TABLE late"),
            "DROP TABLE late",
            &json!({ "lock_timeout": "1us" }),
        ),
        (
            query("DROP TABLE late"),
            "DROP TABLE late",
            &json!({ "work_mem": "1s" }),
        ),
        (portal(Frames::new(), "VACUUM jobs").sync(), "VACUUM", &lock),
    ] {
        client.send(frames);
        let (code, refused) = place.decide(text, guards.clone()).await;
        assert!(
            code == StatusCode::UNPROCESSABLE_ENTITY || code == StatusCode::BAD_REQUEST,
            "{text}: {refused}"
        );
        assert!(
            refused["next_step"].as_str().is_some_and(|step| !step.is_empty()),
            "{refused}"
        );
        let held = place.dora.held(text).await;
        place.dora.deny(&held, "not so").await;
        assert_eq!(error(&client.until_ready()).sqlstate, "42501");
    }
    assert_eq!(place.rows().await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_only_the_session_finds_impossible_makes_the_request_stale() {
    let place = Place::open().await;
    let mut client = place.client();
    // Its Execute comes only later: nothing would hold round it.
    client.send(Frames::new().parse("", NOTES).bind("", "", &[]).sync());
    let (code, decided) = place.decide(NOTES, timeouts()).await;
    assert_eq!(code, StatusCode::OK, "{decided}");
    let answer = client.until_ready();
    assert_eq!(
        (error(&answer).sqlstate.as_str(), status(&answer)),
        ("55000", 'I')
    );
    let ended = place.dora.until_state(&decided, &["stale", "finished"]).await;
    assert_eq!(ended["state"], "stale", "{ended}");
    assert!(
        ended["outcome"]["why"]
            .as_str()
            .is_some_and(|why| why.contains("Execute")),
        "{ended}"
    );
    assert_eq!(place.note(1).await, "");
    assert_eq!(value(&client.query("SELECT 1")), "1");
}

/// What is counted and timed must be the portal that was approved.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_is_not_measured_on_another_portal() {
    let place = Place::open().await;
    let mut client = place.client();
    let deletes = "DELETE FROM jobs";
    for guards in [timeouts(), json!({ "rows_max": 1 })] {
        client.query("BEGIN");
        client.ask(Frames::new().parse("", "SELECT 1").bind("b", "", &[]).sync());
        let frames = Frames::new()
            .parse("", deletes)
            .bind("a", "", &[])
            .execute("b")
            .flush()
            .execute("a")
            .sync();
        let (answer, ended) = place.guarded(&mut client, frames, deletes, guards.clone()).await;
        assert_eq!(error(&answer).sqlstate, "55000", "{guards}");
        assert_eq!(ended["state"], "stale", "{ended}");
        client.query("COMMIT");
        assert_eq!(place.rows().await, 5);
    }
}

/// The proxy fails a transaction by a portal that is not there: nobody puts one in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_does_not_stand_in_for_the_failure_of_a_guard() {
    let place = Place::open().await;
    let mut client = place.client();
    client.query("DECLARE _countersign_refused CURSOR WITH HOLD FOR SELECT 1");
    client.query("BEGIN");
    let deletes = "DELETE FROM jobs";
    let guards = json!({ "rows_max": 1 });
    let (answer, _) = place.guarded(&mut client, query(deletes), deletes, guards).await;
    assert_eq!(
        (error(&answer).sqlstate.as_str(), status(&answer)),
        ("57014", 'E')
    );
    client.query("COMMIT");
    assert_eq!(place.rows().await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_commit_changes_nothing() {
    let place = Place::open().await;
    let mut client = place.client();
    let text = "UPDATE jobs SET note = pg_sleep(1)::text WHERE id = 1";
    client.send(query(text));
    let (code, decided) = place.decide(text, json!({ "rows_max": 1 })).await;
    assert_eq!(code, StatusCode::OK, "{decided}");
    let owner = place.postgres.connect_as_superuser().await;
    let works = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'UPDATE jobs SET note = pg_sleep%'";
    while owner
        .query_one(works, &[])
        .await
        .expect("counted")
        .get::<_, i64>(0)
        == 0
    {}
    drop(client);
    let ended = place
        .dora
        .until_state(&decided, &["failed", "finished", "outcome_unknown"])
        .await;
    assert_eq!(ended["state"], "failed", "{ended}");
    assert_eq!(place.note(1).await, "", "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn guards_wait_with_an_approval_that_nobody_waited_for() {
    let place = Place::open().await;
    let mut client = place.client();
    client.query("SET countersign.wait = '1s'");
    client.send(query(NOTES));
    let held = place.dora.held(NOTES).await;
    assert_eq!(error(&client.until_ready()).sqlstate, "55000");
    let body = json!({ "decision": "approve", "digest": held["digest"], "guards": { "lock_timeout": "3s", "rows_max": 4 } });
    let (code, decided) = place
        .dora
        .post(&format!("/requests/{}/decision", id_of(&held)), &body)
        .await;
    assert_eq!(
        (code, &decided["state"]),
        (StatusCode::OK, &json!("grant")),
        "{decided}"
    );
    let answer = client.query(NOTES);
    assert_eq!(
        (error(&answer).sqlstate.as_str(), status(&answer)),
        ("57014", 'I')
    );
    assert_eq!(place.note(1).await, "");
}

/// Takes from everybody but superusers what guards are taken away with, while a statement waits for a lock.
async fn without_set_config(place: &Place, locked: &tokio_postgres::Client, waiting: &str) {
    let waits = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '{waiting}%'"
    );
    let superuser = place.postgres.connect_as_superuser().await;
    let count = async || {
        superuser
            .query_one(&waits, &[])
            .await
            .expect("counted")
            .get::<_, i64>(0)
    };
    while count().await == 0 {}
    let revoke = "REVOKE EXECUTE ON FUNCTION set_config FROM PUBLIC";
    superuser.batch_execute(revoke).await.expect("revoked");
    locked.batch_execute("COMMIT").await.expect("unlocked");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_as_done_that_the_taking_away_of_its_guards_undoes() {
    let place = Place::open().await;
    let text = "UPDATE jobs SET note = 'x' WHERE id = 1";
    for begin in [false, true] {
        for is_simple in [true, false].into_iter().filter(|simple| begin || !simple) {
            let superuser = place.postgres.connect_as_superuser().await;
            let grant = "GRANT EXECUTE ON FUNCTION set_config TO PUBLIC";
            superuser.batch_execute(grant).await.expect("granted");
            let lock = "BEGIN; LOCK TABLE jobs";
            superuser.batch_execute(lock).await.expect("locked");
            let mut client = place.client();
            if begin {
                client.query("BEGIN");
            }
            client.send(match is_simple {
                true => query(text),
                false => portal(Frames::new(), text).sync(),
            });
            let (code, decided) = place.decide(text, json!({ "statement_timeout": "1min" })).await;
            assert_eq!(code, StatusCode::OK, "{decided}");
            without_set_config(&place, &superuser, "UPDATE jobs").await;
            let answer = client.until_ready();
            assert!(
                !tags(&answer).contains('C'),
                "{begin} {is_simple}: {}",
                tags(&answer)
            );
            assert!(
                error(&answer)
                    .message
                    .contains("its limits could not be taken away"),
                "{answer:?}"
            );
            assert_eq!(status(&answer), if begin { 'E' } else { 'I' });
            let ended = place.dora.until_state(&decided, &["failed", "finished"]).await;
            assert_eq!(ended["state"], "failed", "{ended}");
            client.query("COMMIT");
            assert_eq!(place.note(1).await, "");
            assert_eq!(value(&client.query("SHOW statement_timeout")), "0");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_does_not_end_with_the_first_part_of_what_is_read_in_parts() {
    let place = Place::open().await;
    let mut client = place.client();
    let deletes = "DELETE FROM jobs RETURNING id";
    for guards in [timeouts(), json!({ "rows_max": 100 })] {
        let frames = Frames::new()
            .parse("", deletes)
            .bind("p", "", &[])
            .execute_rows("p", 1)
            .execute_rows("p", 1)
            .sync();
        let (answer, ended) = place.guarded(&mut client, frames, deletes, guards.clone()).await;
        assert_eq!(error(&answer).sqlstate, "55000", "{guards}");
        assert_eq!(ended["state"], "stale", "{ended}");
        client.send(
            Frames::new()
                .parse("", deletes)
                .bind("p", "", &[])
                .execute_rows("p", 1)
                .sync(),
        );
        let (code, decided) = place.decide(deletes, guards).await;
        assert_eq!(code, StatusCode::OK, "{decided}");
        client.until_ready();
        let ended = place
            .dora
            .until_state(&decided, &["stale", "finished", "failed"])
            .await;
        assert!(
            ended["outcome"]["why"]
                .as_str()
                .is_some_and(|why| why.contains("in parts")),
            "{ended}"
        );
        assert_eq!(place.rows().await, 5);
    }
    client.query("BEGIN");
    let declares = "DECLARE c CURSOR FOR SELECT pg_sleep(1)";
    let (answer, ended) = place
        .guarded(&mut client, query(declares), declares, timeouts())
        .await;
    assert_eq!(
        (error(&answer).sqlstate.as_str(), &ended["state"]),
        ("55000", &json!("stale"))
    );
}

/// The ends of transactions that the log tells, oldest first.
fn ends(place: &Place) -> Vec<String> {
    let log = place.house.run(&["log", "query", "--kind", "transaction_end"]);
    let text = log.to_string();
    let words = ["committed", "rolled_back", "unknown"];
    let mut found: Vec<(usize, &str)> = words
        .iter()
        .flat_map(|word| {
            let quoted = format!("\"{word}\"");
            let places: Vec<usize> = text.match_indices(&quoted).map(|(at, _)| at).collect();
            places.into_iter().map(move |at| (at, *word))
        })
        .collect();
    // The newest comes first.
    found.sort_unstable_by(|one, other| other.cmp(one));
    found.into_iter().map(|(_, word)| word.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn chained_transactions_and_savepoints_end_as_the_server_says() {
    let place = Place::open().await;
    let mut client = place.client();
    let write = |id: u32| format!("INSERT INTO jobs VALUES ({id}, 'new')");
    for (ends_by, kept) in [("COMMIT AND CHAIN", true), ("ROLLBACK AND CHAIN", false)] {
        client.query("BEGIN");
        let (answer, _) = place
            .guarded(&mut client, query(&write(10)), &write(10), timeouts())
            .await;
        assert_eq!(status(&answer), 'T');
        assert_eq!(status(&client.query(ends_by)), 'T', "another one has begun");
        assert_eq!(settings(&mut client), ("0".to_owned(), "0".to_owned()));
        assert_eq!(place.rows().await, if kept { 6 } else { 5 });
        client.query("ROLLBACK");
        let owner = place.postgres.connect().await;
        owner
            .batch_execute("DELETE FROM jobs WHERE id = 10")
            .await
            .expect("gone");
    }
    // What a savepoint takes back is no end; what stands behind it is.
    client.query("BEGIN");
    client.query("SAVEPOINT a");
    place
        .guarded(&mut client, query(&write(11)), &write(11), timeouts())
        .await;
    client.query("ROLLBACK TO a");
    assert_eq!(status(&client.query("COMMIT")), 'I');
    client.query("BEGIN");
    client.query("SAVEPOINT a");
    let fails = "INSERT INTO jobs VALUES (1, 'twice')";
    place.guarded(&mut client, query(fails), fails, timeouts()).await;
    assert_eq!(status(&client.query("ROLLBACK TO a; COMMIT")), 'I');
    assert_eq!(place.rows().await, 5);
    let told = ends(&place);
    assert_eq!(
        told,
        [
            "committed",
            "rolled_back",
            "rolled_back",
            "rolled_back",
            "committed",
            "committed"
        ],
        "the chained one first, then what its chain began"
    );
}
