//! The proxy in front of a real PostgreSQL, message by message: what is held, what goes on, what an error leaves.
//! Never a mock: each test starts its own server and reads that server's log. Drivers are in `clients.rs`.

mod support;

use std::time::Duration;

use serde_json::Value;
use support::child::Demo;
use support::server::Postgres;
use support::wire::{Frames, Wire, error, status, tags, value};

/// Long enough to see that nothing comes.
const A_WHILE: Duration = Duration::from_millis(300);

/// A server, a proxy in front of it, and one client.
struct Road {
    postgres: Postgres,
    demo: Demo,
}

impl Road {
    fn start() -> Self {
        let postgres = Postgres::start();
        let demo = Demo::in_front_of(&postgres);
        Self { postgres, demo }
    }

    fn client(&self) -> Wire {
        Wire::connect(&self.demo.sheet.postgres_url)
    }

    async fn held(&self, text: &str) -> Value {
        self.demo.reviewer().held(text).await
    }

    async fn approve(&self, text: &str) -> Value {
        let request = self.held(text).await;
        self.demo.reviewer().approve(&request).await
    }

    async fn deny(&self, text: &str, reason: &str) -> Value {
        let request = self.held(text).await;
        self.demo.reviewer().decide(&request, "deny", reason).await
    }

    async fn tables(&self, name: &str) -> i64 {
        let admin = self.postgres.connect().await;
        let sql = "SELECT count(*) FROM pg_class WHERE relname = $1 AND relkind = 'r'";
        admin
            .query_one(sql, &[&name])
            .await
            .expect("the server answers")
            .get(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_pass_and_a_drop_waits_for_a_person() {
    let road = Road::start();
    let mut client = road.client();
    assert_eq!(value(&client.query("SELECT 41 + 1")), "42");
    client.send(Frames::new().query("DROP TABLE reviews"));
    road.held("DROP TABLE reviews").await;
    client.is_silent(A_WHILE);
    assert!(
        !road.postgres.has_seen("DROP TABLE reviews"),
        "promise 2: nothing of it goes before the decision"
    );
    road.approve("DROP TABLE reviews").await;
    let answer = client.until_ready();
    assert_eq!((tags(&answer).as_str(), status(&answer)), ("CZ", 'I'));
    assert_eq!(road.tables("reviews").await, 0);
    assert_eq!(value(&client.query("SELECT 1")), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_statement_is_an_error_and_the_session_goes_on() {
    let road = Road::start();
    let mut client = road.client();
    client.send(Frames::new().query("DROP TABLE reviews"));
    road.deny("DROP TABLE reviews", "drops what billing reads").await;
    let answer = client.until_ready();
    let fields = error(&answer);
    assert_eq!(fields.sqlstate, "42501");
    assert!(
        fields.message.contains("DENIED by") && fields.message.contains("drops what billing reads"),
        "{fields:?}"
    );
    assert_eq!(status(&answer), 'I');
    assert_eq!(value(&client.query("SELECT 1")), "1");
    assert!(!road.postgres.has_seen("DROP TABLE reviews"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_in_begin_fails_the_servers_transaction_too() {
    let road = Road::start();
    let mut client = road.client();
    client.query("BEGIN");
    client.query("INSERT INTO countries VALUES ('XX', 'Nowhere', 1)");
    client.send(Frames::new().query("DROP TABLE reviews"));
    road.deny("DROP TABLE reviews", "no").await;
    let answer = client.until_ready();
    assert_eq!(
        (error(&answer).sqlstate.as_str(), status(&answer)),
        ("42501", 'E')
    );
    let refused = client.query("SELECT 1");
    assert_eq!(
        (error(&refused).sqlstate.as_str(), status(&refused)),
        ("25P02", 'E')
    );
    // In a failed transaction nobody is asked: the server would run nothing.
    let refused = client.query("DROP TABLE reviews");
    assert_eq!(
        (error(&refused).sqlstate.as_str(), status(&refused)),
        ("25P02", 'E')
    );
    let ended = client.query("COMMIT");
    assert_eq!(status(&ended), 'I');
    assert_eq!(
        value(&client.query("SELECT count(*) FROM countries WHERE code = 'XX'")),
        "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_in_a_pipeline_skips_to_its_sync() {
    let road = Road::start();
    let mut client = road.client();
    let frames = Frames::new()
        .parse("", "SELECT 7")
        .bind("", "", &[])
        .execute("")
        .parse("", "DROP TABLE reviews")
        .bind("", "", &[])
        .execute("")
        .parse("", "SELECT 8")
        .bind("", "", &[])
        .execute("")
        .sync();
    client.send(frames);
    // What came before is answered while the rest waits.
    let early = client.until(b'C');
    assert_eq!(tags(&early), "12DC");
    road.deny("DROP TABLE reviews", "no").await;
    let answer = client.until_ready();
    assert_eq!((tags(&answer).as_str(), status(&answer)), ("EZ", 'I'));
    assert!(!road.postgres.has_seen("DROP TABLE reviews") && !road.postgres.has_seen("SELECT 8"));
    assert_eq!(value(&client.query("SELECT 1")), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_statement_in_a_pipeline_runs_in_its_place() {
    let road = Road::start();
    let mut client = road.client();
    let frames = Frames::new()
        .parse("", "SELECT 7")
        .bind("", "", &[])
        .execute("")
        .parse("", "DROP TABLE reviews")
        .bind("", "", &[])
        .describe_portal("")
        .execute("")
        .parse("", "SELECT 8")
        .bind("", "", &[])
        .execute("")
        .sync();
    client.send(frames);
    road.approve("DROP TABLE reviews").await;
    let answer = client.until_ready();
    assert_eq!(tags(&answer), "12DC12nC12DCZ");
    assert_eq!(road.tables("reviews").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn parse_and_describe_answer_at_once_and_the_bind_is_held() {
    let road = Road::start();
    let mut client = road.client();
    let described = client.ask(
        Frames::new()
            .parse("s", "DELETE FROM reviews WHERE product_id > $1")
            .describe_statement("s")
            .sync(),
    );
    assert_eq!(tags(&described), "1tnZ");
    client.send(Frames::new().bind("", "s", &["3"]).execute("").sync());
    let request = road.held("DELETE FROM reviews").await;
    assert_eq!(request["parameters"][0]["value"], "3", "{request}");
    assert_eq!(request["parameters"][0]["type"], "integer", "{request}");
    client.is_silent(A_WHILE);
    road.approve("DELETE FROM reviews").await;
    assert_eq!(tags(&client.until_ready()), "2CZ");
    // One approval, one portal: the same again is a request of its own.
    client.send(Frames::new().bind("", "s", &["3"]).execute("").sync());
    road.deny("DELETE FROM reviews", "enough").await;
    assert_eq!(tags(&client.until_ready()), "EZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_ends_a_held_batch_as_a_sync_does() {
    let road = Road::start();
    let mut client = road.client();
    client.send(
        Frames::new()
            .parse("", "DROP TABLE reviews")
            .bind("", "", &[])
            .execute("")
            .flush(),
    );
    road.approve("DROP TABLE reviews").await;
    assert_eq!(tags(&client.until(b'C')), "12C");
    assert_eq!(tags(&client.ask(Frames::new().sync())), "Z");
    assert_eq!(road.tables("reviews").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_behind_a_parse_alone_is_let_go_at_once() {
    let road = Road::start();
    let mut client = road.client();
    let prepare = Frames::new().parse("s", "DROP TABLE reviews");
    client.send(prepare.describe_statement("s").flush());
    assert_eq!(tags(&client.until(b'n')), "1tn");
    client.send(Frames::new().terminate());
    let end = client.try_read().expect_err("nothing more comes");
    assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof, "{end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_unknown_after_its_parse_was_refused() {
    let road = Road::start();
    let mut client = road.client();
    client.send(
        Frames::new()
            .parse("s", "DROP TABLE reviews")
            .bind("", "s", &[])
            .execute("")
            .sync(),
    );
    road.deny("DROP TABLE reviews", "no").await;
    client.until_ready();
    let answer = client.ask(Frames::new().bind("", "s", &[]).execute("").sync());
    assert_eq!(
        (error(&answer).sqlstate.as_str(), tags(&answer).as_str()),
        ("26000", "EZ")
    );
}

/// The classic: a harmless text takes a name, but its Parse fails behind a Sync, and the name still means the DELETE.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_re_used_behind_a_server_error_keeps_its_meaning() {
    let road = Road::start();
    let mut client = road.client();
    client.ask(Frames::new().parse("s", "DELETE FROM reviews WHERE true").sync());
    let frames = Frames::new()
        .parse("s", "SELECT 1")
        .sync()
        .bind("", "s", &[])
        .execute("")
        .sync();
    client.send(frames);
    assert_eq!(
        tags(&client.until_ready()),
        "EZ",
        "the server says that the name exists"
    );
    road.held("DELETE FROM reviews").await;
    assert!(!road.postgres.has_seen("execute s: DELETE"));
    road.deny("DELETE FROM reviews", "no").await;
    assert_eq!(tags(&client.until_ready()), "EZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sql_level_prepare_carries_its_class_to_execute() {
    let road = Road::start();
    let mut client = road.client();
    client.query("PREPARE p AS SELECT 5");
    assert_eq!(value(&client.query("EXECUTE p")), "5");
    client.send(Frames::new().query("EXECUTE nobody_knows"));
    road.deny("EXECUTE nobody_knows", "no").await;
    client.until_ready();
    client.query("DEALLOCATE p");
    client.send(Frames::new().query("EXECUTE p"));
    road.deny("EXECUTE p", "no").await;
    assert_eq!(error(&client.until_ready()).sqlstate, "42501");
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_1_search_path_changed_in_the_same_message_is_judged_under_the_new_one() {
    let road = Road::start();
    let mut client = road.client();
    client.send(Frames::new().query("SET search_path = public, pg_catalog; SELECT lower('A')"));
    road.deny("SET search_path", "no").await;
    assert_eq!(error(&client.until_ready()).sqlstate, "42501");
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_1_an_approval_is_stale_when_the_search_path_has_changed() {
    let road = Road::start();
    let mut client = road.client();
    client.query("SET search_path = public");
    client.send(Frames::new().query("DROP TABLE reviews"));
    let request = road.held("DROP TABLE reviews").await;
    client.hang_up();
    road.demo
        .reviewer()
        .until_state(&request, &["pending", "detached"])
        .await;
    road.demo.reviewer().approve(&request).await;
    // The same bytes under another search_path are another statement.
    let mut other = road.client();
    other.send(Frames::new().query("DROP TABLE reviews"));
    let again = road.held("DROP TABLE reviews").await;
    assert_ne!(again["id"], request["id"]);
    assert_ne!(again["digest"], request["digest"]);
    assert_eq!(road.tables("reviews").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_1_a_table_swapped_while_parked_makes_the_approval_stale() {
    let road = Road::start();
    let mut client = road.client();
    client.send(Frames::new().query("DROP TABLE reviews"));
    let request = road.held("DROP TABLE reviews").await;
    let admin = road.postgres.connect().await;
    let swap = "ALTER TABLE reviews RENAME TO reviews_before; CREATE TABLE reviews (important text)";
    admin.batch_execute(swap).await.expect("the owner may");
    road.demo.reviewer().approve(&request).await;
    let answer = client.until_ready();
    assert_eq!(error(&answer).sqlstate, "55000", "{answer:?}");
    assert!(error(&answer).message.contains("STALE"));
    assert_eq!(road.tables("reviews").await, 1);
    assert_eq!(
        road.demo.reviewer().until_state(&request, &["stale"]).await["state"],
        "stale"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_1_another_parameter_than_the_approved_one_is_another_request() {
    let road = Road::start();
    let delete = |value: &str| {
        Frames::new()
            .parse("", "DELETE FROM reviews WHERE product_id > $1")
            .bind("", "", &[value])
            .execute("")
            .sync()
    };
    let mut client = road.client();
    client.send(delete("100000"));
    let request = road.held("DELETE FROM reviews").await;
    client.hang_up();
    road.demo
        .reviewer()
        .until_state(&request, &["pending", "detached"])
        .await;
    road.demo.reviewer().approve(&request).await;
    let mut client = road.client();
    client.send(delete("0"));
    let other = road.held("DELETE FROM reviews").await;
    assert_ne!(other["id"], request["id"]);
    road.demo.reviewer().decide(&other, "deny", "no").await;
    client.until_ready();
    client.send(delete("100000"));
    let ran = client.until_ready();
    assert_eq!(tags(&ran), "12CZ", "the approved bytes run once by their grant");
    client.send(delete("100000"));
    road.held("DELETE FROM reviews").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_2_a_parameter_of_somebodys_type_is_held_before_its_input_runs() {
    let road = Road::start();
    let admin = road.postgres.connect().await;
    admin
        .batch_execute(
            "CREATE SEQUENCE canary;
             CREATE DOMAIN checked AS int CHECK (nextval('canary') > 0)",
        )
        .await
        .expect("a domain whose check does something");
    let canary = "SELECT is_called FROM canary";
    let oid: u32 = admin
        .query_one("SELECT 'checked'::regtype::oid", &[])
        .await
        .expect("it")
        .get(0);
    let mut client = road.client();
    client.send(
        Frames::new()
            .parse_of("", "SELECT $1", &[oid])
            .bind("", "", &["5"])
            .execute("")
            .sync(),
    );
    let request = road.held("SELECT $1").await;
    let called: bool = admin.query_one(canary, &[]).await.expect("it").get(0);
    assert!(!called, "the check ran before the decision");
    road.demo.reviewer().decide(&request, "deny", "no").await;
    client.until_ready();
    let called: bool = admin.query_one(canary, &[]).await.expect("it").get(0);
    assert!(!called, "the check ran although it was denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_2_what_cannot_be_held_is_refused() {
    let road = Road::start();
    let mut client = road.client();
    let refused = client.ask(Frames::new().raw(b'F', &[0, 0, 4, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(
        (error(&refused).sqlstate.as_str(), status(&refused)),
        ("0A000", 'I')
    );
    assert_eq!(value(&client.query("SELECT 1")), "1");
    client.send(Frames::new().raw(b'y', b"?"));
    assert_eq!(client.read().fields().sqlstate, "08P01");
    for parameters in [[("replication", "database")], [("replication", "true")]] {
        let refused = Wire::connect_with(&road.demo.sheet.postgres_url, &parameters).err();
        assert_eq!(refused.map(|fields| fields.severity), Some("FATAL".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_2_start_up_settings_are_judged_as_the_sets_that_they_are() {
    let road = Road::start();
    let url = &road.demo.sheet.postgres_url;
    for parameters in [
        [("options", "-c standard_conforming_strings=off")],
        [("options", "--search-path=evil,pg_catalog")],
        [("client_encoding", "SJIS")],
        [("session_preload_libraries", "x")],
        [("role", "postgres")],
    ] {
        let refused = Wire::connect_with(url, &parameters)
            .err()
            .unwrap_or_else(|| panic!("{parameters:?} let in"));
        assert_eq!(refused.sqlstate, "42501", "{parameters:?}: {refused:?}");
    }
    for parameters in [
        [("application_name", "psql")],
        [("client_encoding", "UTF8")],
        [("client_encoding", "'utf-8'")],
        [("options", "-c statement_timeout=5s")],
        [("extra_float_digits", "2")],
        [("DateStyle", "ISO")],
        [("TimeZone", "Europe/Berlin")],
    ] {
        if let Err(fields) = Wire::connect_with(url, &parameters) {
            panic!("{parameters:?}: {fields:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_are_not_served_can_be_set_back_and_nothing_else_runs_under_them() {
    let road = Road::start();
    let mut client = road.client();
    let refused_under_them = [
        "SELECT 1",
        "DROP TABLE reviews",
        "SET standard_conforming_strings = on; DROP TABLE reviews",
        "ROLLBACK; SELECT 1",
        r"SET application_name = 'a\'; DROP TABLE reviews; --'",
        "SET application_name = 'é'; SET client_encoding = 'UTF8'",
        "SET ROLE postgres",
    ];
    for (away, back) in [
        (
            "SET standard_conforming_strings = off",
            "SET standard_conforming_strings TO on",
        ),
        ("SET client_encoding = 'SJIS'", "RESET client_encoding"),
    ] {
        client.send(Frames::new().query(away));
        road.approve(away).await;
        client.until_ready();
        // Where strings escape, this one ends elsewhere; elsewhere it is a setting like any other.
        let escaping = away.ends_with("off").then_some(r"SET application_name = 'a\\'");
        for text in refused_under_them.into_iter().chain(escaping) {
            let refused = client.query(text);
            assert_eq!(
                (error(&refused).sqlstate.as_str(), status(&refused)),
                ("0A000", 'I'),
                "{away}: {text}"
            );
        }
        let bound = Frames::new()
            .parse("", "DELETE FROM reviews")
            .bind("", "", &[])
            .execute("")
            .sync();
        assert_eq!(error(&client.ask(bound)).sqlstate, "0A000", "{away}");
        let again = Frames::new()
            .parse("back", back)
            .bind("", "back", &[])
            .execute("")
            .sync();
        assert_eq!(tags(&client.ask(again)).replace('S', ""), "12CZ", "{back}");
        assert_eq!(value(&client.query("SELECT 'back'")), "back");
        client.ask(Frames::new().close_statement("back").sync());
    }
    assert_eq!(road.tables("reviews").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_ends_settings_that_are_not_served_with_their_transaction() {
    let road = Road::start();
    let mut client = road.client();
    client.query("BEGIN");
    client.send(Frames::new().query("SET LOCAL client_encoding = 'LATIN1'"));
    road.approve("SET LOCAL").await;
    client.until_ready();
    let refused = client.query("SELECT 1");
    assert_eq!(
        (error(&refused).sqlstate.as_str(), status(&refused)),
        ("0A000", 'E')
    );
    assert_eq!(status(&client.query("ROLLBACK")), 'I');
    assert_eq!(value(&client.query("SELECT 1")), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_2_a_frame_inside_a_query_is_no_second_query() {
    let road = Road::start();
    let mut client = road.client();
    let mut body = b"SELECT 1\0".to_vec();
    body.extend(Frames::new().query("DROP TABLE reviews").0);
    client.send(Frames::new().raw(b'Q', &body));
    assert_eq!(client.read().fields().sqlstate, "08P01");
    assert_eq!(road.tables("reviews").await, 1);
    assert!(!road.postgres.has_seen("DROP"));
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_5_an_approval_runs_once() {
    let road = Road::start();
    let mut client = road.client();
    client.send(Frames::new().query("DELETE FROM reviews WHERE true"));
    road.approve("DELETE FROM reviews").await;
    assert_eq!(tags(&client.until_ready()), "CZ");
    client.send(Frames::new().query("DELETE FROM reviews WHERE true"));
    road.held("DELETE FROM reviews").await;
    client.is_silent(A_WHILE);
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_6_nothing_runs_for_a_client_that_has_left() {
    let road = Road::start();
    let mut client = road.client();
    client.send(Frames::new().query("DROP TABLE reviews"));
    let request = road.held("DROP TABLE reviews").await;
    client.hang_up();
    support::server::eventually("it is detached", async || {
        road.demo
            .reviewer()
            .show(request["id"].as_str().expect("text"))
            .await["detached"]
            == true
    })
    .await;
    road.demo.reviewer().approve(&request).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(road.tables("reviews").await, 1);
    // The same principal sends the same bytes: they run once.
    let mut client = road.client();
    assert_eq!(tags(&client.query("DROP TABLE reviews")), "CZ");
    assert_eq!(road.tables("reviews").await, 0);
    client.send(Frames::new().query("DROP TABLE reviews"));
    road.held("DROP TABLE reviews").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_6_a_re_send_while_pending_re_attaches() {
    let road = Road::start();
    let mut client = road.client();
    client.send(Frames::new().query("DROP TABLE reviews"));
    let request = road.held("DROP TABLE reviews").await;
    client.send(Frames::new().terminate());
    client.hang_up();
    support::server::eventually("it is detached", async || {
        road.demo
            .reviewer()
            .show(request["id"].as_str().expect("text"))
            .await["detached"]
            == true
    })
    .await;
    let mut client = road.client();
    client.send(Frames::new().query("DROP TABLE reviews"));
    let notice = client.until(b'N').pop().expect("one").fields();
    assert!(
        notice.message.contains(request["id"].as_str().expect("text")),
        "{notice:?}"
    );
    assert_eq!(road.demo.reviewer().count_requests().await, 1);
    road.demo
        .reviewer()
        .approve(&road.held("DROP TABLE reviews").await)
        .await;
    assert_eq!(tags(&client.until_ready()), "CZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_8_one_notice_at_once_and_one_at_the_decision() {
    let road = Road::start();
    let mut client = road.client();
    client.send(Frames::new().query("DROP TABLE reviews"));
    let held = client.until(b'N').pop().expect("one").fields();
    assert!(held.message.starts_with("countersign: HELD"), "{held:?}");
    road.approve("DROP TABLE reviews").await;
    let answer = client.until_ready();
    let notices: Vec<_> = answer.iter().filter(|message| message.tag == b'N').collect();
    assert_eq!(notices.len(), 1, "{answer:?}");
    assert!(notices[0].fields().message.contains("APPROVED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_8_a_session_that_wants_no_notices_gets_none() {
    let road = Road::start();
    let mut client = road.client();
    client.query("SET client_min_messages = warning");
    client.send(Frames::new().query("DROP TABLE reviews"));
    road.approve("DROP TABLE reviews").await;
    assert!(client.until_ready().iter().all(|message| message.tag != b'N'));
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_8_a_cancel_withdraws_a_held_statement_at_once() {
    let road = Road::start();
    let mut client = road.client();
    client.send(Frames::new().query("DROP TABLE reviews"));
    let request = road.held("DROP TABLE reviews").await;
    client.cancel();
    let answer = client.until_ready();
    assert_eq!(
        (error(&answer).sqlstate.as_str(), status(&answer)),
        ("57014", 'I')
    );
    let ended = road.demo.reviewer().until_state(&request, &["withdrawn"]).await;
    assert_eq!(ended["state"], "withdrawn");
    assert_eq!(value(&client.query("SELECT 1")), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_8_a_cancel_reaches_a_statement_that_the_server_runs() {
    let road = Road::start();
    let mut client = road.client();
    client.send(Frames::new().query("SELECT count(*) FROM generate_series(1, 1000000000000)"));
    tokio::time::sleep(A_WHILE).await;
    client.cancel();
    assert_eq!(error(&client.until_ready()).sqlstate, "57014");
}

/// A cancel that came too late must not hit what the client sends once its cancel is over.
#[tokio::test(flavor = "multi_thread")]
async fn promise_8_a_cancel_is_over_when_its_connection_closes() {
    let road = Road::start();
    let mut client = road.client();
    for _ in 0..20 {
        client.query("SELECT 'already over'");
        client.cancel();
        let next = client.query("SELECT count(*) FROM generate_series(1, 100000)");
        assert_eq!(value(&next), "100000");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_8_pg_cancel_backend_of_an_own_session_is_a_cancel() {
    let road = Road::start();
    let mut client = road.client();
    client.send(Frames::new().query("DROP TABLE reviews"));
    road.held("DROP TABLE reviews").await;
    let mut other = road.client();
    other.query(&format!("SELECT pg_cancel_backend({})", client.process));
    assert_eq!(error(&client.until_ready()).sqlstate, "57014");
    // By a parameter, as knex sends it.
    client.send(Frames::new().query("DROP TABLE reviews"));
    road.held("DROP TABLE reviews").await;
    let frames = Frames::new()
        .parse("", "SELECT pg_cancel_backend($1)")
        .bind("", "", &[&client.process.to_string()])
        .describe_portal("")
        .execute("")
        .sync();
    other.ask(frames);
    assert_eq!(error(&client.until_ready()).sqlstate, "57014");
    // Somebody else's is an administrator's business.
    other.send(Frames::new().query("SELECT pg_cancel_backend(4711)"));
    road.held("pg_cancel_backend(4711)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_out_is_held_as_an_export_and_copy_in_takes_its_data_after_approval() {
    let road = Road::start();
    let mut client = road.client();
    client.send(Frames::new().query("COPY countries TO STDOUT"));
    let request = road.held("COPY countries TO STDOUT").await;
    assert_eq!(request["class"], "export", "{request}");
    road.approve("COPY countries TO STDOUT").await;
    assert!(tags(&client.until_ready()).starts_with("Hd"));
    client.send(Frames::new().query("COPY countries FROM STDIN"));
    road.approve("COPY countries FROM STDIN").await;
    client.until(b'G');
    client.send(Frames::new().raw(b'd', b"XX\tNowhere\t1\n").raw(b'c', b""));
    let answer = client.until_ready();
    assert_eq!(tags(&answer), "CZ");
    assert_eq!(
        value(&client.query("SELECT name FROM countries WHERE code = 'XX'")),
        "Nowhere"
    );
    // In the extended protocol, with the Sync behind the Execute that the server swallows.
    client.send(
        Frames::new()
            .parse("", "COPY countries FROM STDIN")
            .bind("", "", &[])
            .execute("")
            .sync(),
    );
    road.approve("COPY countries FROM STDIN").await;
    client.until(b'G');
    client.send(
        Frames::new()
            .raw(b'd', b"XY\tElsewhere\t1\n")
            .raw(b'c', b"")
            .sync(),
    );
    assert_eq!(tags(&client.until_ready()), "CZ");
    assert_eq!(
        value(&client.query("SELECT name FROM countries WHERE code = 'XY'")),
        "Elsewhere"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_inside_a_copy_is_refused() {
    let road = Road::start();
    let mut client = road.client();
    client.send(Frames::new().query("COPY countries FROM STDIN"));
    road.approve("COPY countries FROM STDIN").await;
    client.until(b'G');
    client.send(Frames::new().query("DROP TABLE reviews"));
    let answer = client.until_ready();
    assert_eq!(
        (error(&answer).sqlstate.as_str(), status(&answer)),
        ("57014", 'I'),
        "the COPY has failed"
    );
    assert_eq!(value(&client.query("SELECT 1")), "1");
    assert!(!road.postgres.has_seen("DROP TABLE reviews"));
}

#[tokio::test(flavor = "multi_thread")]
async fn portals_with_row_limits_and_cursors_go_on() {
    let road = Road::start();
    let mut client = road.client();
    client.query("BEGIN");
    let first = client.ask(
        Frames::new()
            .parse("", "SELECT g FROM generate_series(1, 5) g")
            .bind("p", "", &[])
            .execute_rows("p", 2)
            .sync(),
    );
    assert_eq!(tags(&first), "12DDsZ");
    assert_eq!(
        tags(&client.ask(Frames::new().execute_rows("p", 2).sync())),
        "DDsZ"
    );
    client.query("DECLARE c CURSOR FOR SELECT 1 UNION SELECT 2");
    assert_eq!(tags(&client.query("FETCH ALL FROM c")), "TDDCZ");
    assert_eq!(tags(&client.ask(Frames::new().execute("c").sync())), "CZ");
    assert_eq!(status(&client.query("COMMIT")), 'I');
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_of_thousands_of_messages_is_answered_in_order() {
    let road = Road::start();
    let mut client = road.client();
    let mut frames = Frames::new().parse("s", "SELECT $1::int");
    for number in 0..2_000 {
        frames = frames.bind("", "s", &[&number.to_string()]).execute("");
    }
    let answer = client.ask(frames.sync());
    let rows: Vec<_> = answer.iter().filter(|message| message.tag == b'D').collect();
    assert_eq!(rows.len(), 2_000);
    assert_eq!(rows[1_999].body[6..], *b"1999");
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_10_a_statement_too_long_to_judge_is_refused_and_the_session_goes_on() {
    let road = Road::start();
    let mut client = road.client();
    let long = format!("SELECT '{}'", "x".repeat(3 << 20));
    assert_eq!(error(&client.query(&long)).sqlstate, "0A000");
    assert_eq!(value(&client.query("SELECT 1")), "1");
    // A large parameter of a statement that may run passes as it comes.
    let large = "y".repeat(20 << 20);
    let answer = client.ask(
        Frames::new()
            .parse("", "SELECT length($1)")
            .bind("", "", &[&large])
            .execute("")
            .sync(),
    );
    assert_eq!(value(&answer), (20 << 20).to_string());
    // One that would have to be shown cannot be, whether or not it could be gathered whole.
    for bytes in [2 << 20, 20 << 20] {
        let answer = client.ask(
            Frames::new()
                .parse("", "SELECT pg_sleep(length($1))")
                .bind("", "", &[&large[..bytes]])
                .execute("")
                .sync(),
        );
        assert_eq!(
            (error(&answer).sqlstate.as_str(), status(&answer)),
            ("0A000", 'I')
        );
    }
    assert_eq!(value(&client.query("SELECT 1")), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_is_found_in_the_log() {
    let road = Road::start();
    let mut client = road.client();
    client.query("SELECT 'a mark of its own'");
    client.ask(
        Frames::new()
            .parse("", "SELECT $1::text")
            .bind("", "", &["another mark"])
            .execute("")
            .sync(),
    );
    client.query("SELECT 1/0");
    let reviewer = road.demo.reviewer();
    support::server::eventually("the results are there", async || {
        let (status, log) = reviewer.get("/log?limit=100").await;
        let log = log.to_string();
        assert!(status.is_success(), "{log}");
        ["a mark of its own", "another mark", "division by zero"]
            .iter()
            .all(|mark| log.contains(mark))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_change_is_waited_for_before_the_next_statement_is_judged() {
    let road = Road::start();
    let mut client = road.client();
    // The SET is held, so what stands behind it in the pipeline waits too and is judged after it.
    let frames = Frames::new()
        .query("SET search_path = public, pg_catalog")
        .query("SELECT lower('A')");
    client.send(frames);
    road.approve("SET search_path").await;
    client.until_ready();
    road.held("SELECT lower('A')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_goes_on_behind_a_state_change_before_its_sync() {
    let road = Road::start();
    let mut client = road.client();
    let answer = client.ask(
        Frames::new()
            .parse("", "SET search_path = public")
            .bind("", "", &[])
            .execute("")
            .parse("", "SELECT 4711")
            .bind("", "", &[])
            .execute("")
            .sync(),
    );
    assert_eq!(tags(&answer), "12C12DCZ");
    // A portal that is bound, and executed only behind another statement.
    let answer = client.ask(
        Frames::new()
            .parse("set", "SET search_path = public")
            .bind("later", "set", &[])
            .parse("", "SELECT 4711")
            .bind("", "", &[])
            .execute("")
            .execute("later")
            .parse("", "SELECT 4712")
            .bind("", "", &[])
            .execute("")
            .sync(),
    );
    assert_eq!(tags(&answer), "1212DCC12DCZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_1_a_statement_behind_a_state_change_of_its_pipeline_is_judged_under_it() {
    let road = Road::start();
    let mut client = road.client();
    client.send(
        Frames::new()
            .parse("", "SET search_path = public, pg_catalog")
            .bind("", "", &[])
            .execute("")
            .parse("", "SELECT lower('A')")
            .bind("", "", &[])
            .execute("")
            .sync(),
    );
    road.approve("SET search_path").await;
    road.approve("SELECT lower('A')").await;
    assert_eq!(tags(&client.until_ready()).replace('N', ""), "12C12DCZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_1_what_a_commit_changes_is_waited_for_before_the_next_statement_is_judged() {
    let road = Road::start();
    let admin = road.postgres.connect().await;
    let deferred = "CREATE TABLE queue (n int);
         CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_sleep(0.5), set_config('search_path', 'public, pg_catalog', false); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON queue DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION at_commit();
         CREATE FUNCTION enqueue() RETURNS void LANGUAGE sql AS 'INSERT INTO queue VALUES (1)'";
    admin.batch_execute(deferred).await.expect("the owner may");
    let mut client = road.client();
    client.send(
        Frames::new()
            .parse("", "SELECT enqueue()")
            .bind("", "", &[])
            .execute("")
            .sync()
            .parse("", "SELECT lower('A')")
            .bind("", "", &[])
            .execute("")
            .sync(),
    );
    road.approve("SELECT enqueue()").await;
    client.until_ready();
    road.held("SELECT lower('A')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_ends_with_pending_and_the_same_bytes_run_once_after_the_decision() {
    let road = Road::start();
    let mut client = road.client();
    client.query("SET countersign.wait = '1s'");
    let answer = client.query("DROP TABLE reviews");
    let fields = error(&answer);
    assert_eq!((fields.sqlstate.as_str(), status(&answer)), ("55000", 'I'));
    assert!(fields.message.contains("PENDING"), "{fields:?}");
    road.approve("DROP TABLE reviews").await;
    assert_eq!(tags(&client.query("DROP TABLE reviews")), "CZ");
    assert_eq!(road.tables("reviews").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewers_question_ends_the_wait_and_is_answered_with_the_same_bytes() {
    let road = Road::start();
    let mut client = road.client();
    client.send(Frames::new().query("DROP TABLE reviews"));
    let request = road.held("DROP TABLE reviews").await;
    let reviewer = road.demo.reviewer();
    let path = format!("/requests/{}/questions", request["id"].as_str().expect("an id"));
    let question = serde_json::json!({ "question": "which \"ticket\" is it, \u{e9}?" });
    let (status_code, asked) = reviewer.post(&path, &question).await;
    assert!(status_code.is_success(), "{asked}");
    let answer = client.until_ready();
    let fields = error(&answer);
    assert_eq!((fields.sqlstate.as_str(), status(&answer)), ("55000", 'I'));
    assert_eq!(fields.routine, "countersign.question");
    let by = asked["discussion"][0]["by"].as_str().expect("a name");
    let expected = format!(
        "countersign: QUESTION {} from {by}: \"which 'ticket' is it, ??\" Re-send the same statement with SET \
         countersign.reply = '...' first.",
        request["id"].as_str().expect("an id")
    );
    assert_eq!(fields.message, expected);
    assert!(
        fields.detail.contains("\"retry\":\"same_bytes_after_reply\""),
        "{fields:?}"
    );
    // Without an answer it is asked again.
    let again = client.query("DROP TABLE reviews");
    assert_eq!(error(&again).message, expected);
    client.query("SET countersign.reply = 'OPS-7'");
    client.send(Frames::new().query("DROP TABLE reviews"));
    let waiting = reviewer.until_state(&request, &["pending"]).await;
    let reply = waiting["discussion"]
        .as_array()
        .expect("a list")
        .last()
        .expect("a reply");
    assert_eq!(
        (&reply["kind"], &reply["text"]),
        (&"reply".into(), &"OPS-7".into())
    );
    assert_eq!(
        (&waiting["id"], &waiting["digest"]),
        (&request["id"], &request["digest"])
    );
    reviewer.approve(&waiting).await;
    assert_eq!(tags(&client.until_ready()), "CZ");
    // The reply went with that one statement.
    client.send(Frames::new().query("DROP TABLE countries"));
    let next = road.held("DROP TABLE countries").await;
    assert_eq!(next["discussion"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_is_asked_and_answers() {
    let road = Road::start();
    let psql = std::process::Command::new(road.postgres.server().client_programs().join("psql"))
        .args(["--no-psqlrc", "-d", &road.demo.sheet.postgres_url])
        .args([
            "-c",
            "DROP TABLE reviews",
            "-c",
            "SET countersign.reply = 'OPS-7'",
            "-c",
            "DROP TABLE reviews",
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("psql runs");
    let request = road.held("DROP TABLE reviews").await;
    let reviewer = road.demo.reviewer();
    let path = format!("/requests/{}/questions", request["id"].as_str().expect("an id"));
    let question = serde_json::json!({ "question": "which ticket?" });
    let (status_code, asked) = reviewer.post(&path, &question).await;
    assert!(status_code.is_success(), "{asked}");
    let answered = loop {
        let shown = reviewer.until_state(&request, &["pending"]).await;
        if shown["discussion"].as_array().expect("a list").len() == 2 {
            break shown;
        }
    };
    reviewer.approve(&answered).await;
    let done = psql.wait_with_output().expect("psql ends");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        said.contains("ERROR:  countersign: QUESTION") && said.contains("which ticket?"),
        "{said}"
    );
    assert_eq!(String::from_utf8_lossy(&done.stdout), "SET\nDROP TABLE\n");
    assert_eq!(road.tables("reviews").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_the_sessions_and_ends_one_whatever_it_waits_for() {
    let road = Road::start();
    let reviewer = road.demo.reviewer();
    let mut idle = road.client();
    let mut waiting = road.client();
    assert_eq!(value(&idle.query("SELECT 1")), "1");
    waiting.send(Frames::new().query("DROP TABLE reviews"));
    let request = road.held("DROP TABLE reviews").await;
    let (_, listed) = reviewer.get("/sessions").await;
    let sessions = listed["items"].as_array().expect("a list");
    assert_eq!(sessions.len(), 2, "{listed}");
    for (session, held) in sessions.iter().zip([&Value::Null, &request["id"]]) {
        assert_eq!(
            (&session["held"], &session["protocol"]),
            (held, &"postgres".into()),
            "{session}"
        );
        assert_eq!(session["principal"], request["principal"]);
        assert!(session["active_at"].as_str() >= session["since"].as_str());
        let path = format!("/sessions/{}", session["session"].as_str().expect("an id"));
        let (status_code, refused) = reviewer
            .delete(&path, &serde_json::json!({ "reason": " " }))
            .await;
        assert_eq!(
            (status_code.as_u16(), &refused["code"]),
            (422, &"reason_required".into())
        );
        let (status_code, ended) = reviewer
            .delete(&path, &serde_json::json!({ "reason": "it runs wild" }))
            .await;
        assert_eq!(status_code.as_u16(), 200, "{ended}");
    }
    for client in [&mut idle, &mut waiting] {
        let last = loop {
            let message = client.try_read().expect("a last word");
            if message.tag == b'E' {
                break error(&[message]);
            }
        };
        assert_eq!(
            (last.severity.as_str(), last.sqlstate.as_str()),
            ("FATAL", "57P01")
        );
        assert!(
            last.message.contains("was ended by") && last.message.contains("it runs wild"),
            "{last:?}"
        );
        client.try_read().expect_err("the connection is closed");
    }
    let withdrawn = reviewer.until_state(&request, &["withdrawn"]).await;
    let why = withdrawn["outcome"]["why"].as_str().expect("a text");
    assert!(why.contains("it runs wild"), "{why}");
    let (_, listed) = reviewer.get("/sessions").await;
    assert_eq!(listed["items"], serde_json::json!([]));
    let gone = format!("/sessions/{}", request["session"].as_str().expect("an id"));
    let (status_code, _) = reviewer
        .delete(&gone, &serde_json::json!({ "reason": "again" }))
        .await;
    assert_eq!(status_code.as_u16(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_own_claims_are_shown_as_claims() {
    let road = Road::start();
    let mut client = road.client();
    client.query("SET application_name = 'nightly-cleanup'");
    client.query("SET countersign.purpose = 'tidy up'");
    client.send(Frames::new().query("DROP TABLE reviews"));
    let request = road.held("DROP TABLE reviews").await;
    assert_eq!(
        request["claimed"]["application_name"], "nightly-cleanup",
        "{request}"
    );
    assert_eq!(request["claimed"]["purpose"], "tidy up", "{request}");
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_1_a_set_undone_by_rollback_is_noticed() {
    let road = Road::start();
    let admin = road.postgres.connect().await;
    admin
        .batch_execute("CREATE FUNCTION public.lower(name) RETURNS text LANGUAGE sql AS $$ SELECT 'mine' $$")
        .await
        .expect("the owner may");
    let mut client = road.client();
    // Approved, so that the session has a search_path under which unqualified names are not the built-in ones.
    client.send(Frames::new().query("SET search_path = public, pg_catalog"));
    road.approve("SET search_path").await;
    client.until_ready();
    client.query("BEGIN");
    client.query("SET LOCAL search_path = public");
    assert_eq!(
        tags(&client.query("SELECT lower('A')")),
        "TDCZ",
        "the safe path holds in the transaction"
    );
    client.query("ROLLBACK");
    client.send(Frames::new().query("SELECT lower('A')"));
    road.held("SELECT lower('A')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_ends_the_wait_and_the_request_never_runs() {
    let road = Road::start();
    let mut client = road.client();
    let process = value(&client.query("SELECT pg_backend_pid()"));
    client.send(Frames::new().query("DROP TABLE reviews"));
    let request = road.held("DROP TABLE reviews").await;
    let admin = road.postgres.connect_as_superuser().await;
    admin
        .execute(&format!("SELECT pg_terminate_backend({process})"), &[])
        .await
        .expect("a superuser may");
    let withdrawn = road.demo.reviewer().until_state(&request, &["withdrawn"]).await;
    assert_eq!(withdrawn["state"], "withdrawn");
    while let Ok(message) = client.try_read() {
        assert_ne!(message.tag, b'Z', "the session is over");
    }
    let mut client = road.client();
    client.send(Frames::new().query("DROP TABLE reviews"));
    assert_ne!(road.held("DROP TABLE reviews").await["id"], request["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_and_notify_pass_while_nothing_is_asked() {
    let road = Road::start();
    let mut client = road.client();
    assert_eq!(tags(&client.query("LISTEN news")), "CZ");
    let admin = road.postgres.connect().await;
    admin
        .batch_execute("NOTIFY news, 'hello'")
        .await
        .expect("anybody may");
    let told = client.read();
    assert_eq!(told.tag, b'A');
    // And while a statement is held.
    client.send(Frames::new().query("DROP TABLE reviews"));
    road.held("DROP TABLE reviews").await;
    client.until(b'N');
    admin
        .batch_execute("NOTIFY news, 'again'")
        .await
        .expect("anybody may");
    road.approve("DROP TABLE reviews").await;
    client.until_ready();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_names_its_sender_as_the_senders_client_knows_it() {
    let road = Road::start();
    let mut listener = road.client();
    listener.query("LISTEN news");
    let mut sender = road.client();
    sender.send(Frames::new().query("NOTIFY news, 'hello'"));
    road.approve("NOTIFY news").await;
    sender.until_ready();
    let told = listener.read();
    assert_eq!(told.tag, b'A');
    assert_eq!(told.body[..4], sender.process.to_be_bytes());
    assert_eq!(told.body[4..], *b"news\0hello\0");
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_10_held_statements_of_one_agent_are_limited() {
    let road = Road::start();
    let mut clients = Vec::new();
    loop {
        let mut client = road.client();
        client.send(Frames::new().query(&format!("DROP TABLE reviews_{}", clients.len())));
        let first = loop {
            let message = client.read();
            if matches!(message.tag, b'N' | b'E') {
                break message;
            }
        };
        if first.tag == b'E' {
            let fields = first.fields();
            assert_eq!(fields.sqlstate, "53400", "{fields:?}");
            assert_eq!(status(&client.until_ready()), 'I');
            assert_eq!(value(&client.query("SELECT 1")), "1", "others go on");
            break;
        }
        clients.push(client);
        assert!(clients.len() < 200, "no limit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_up_is_seen_behind_bytes_that_nobody_reads() {
    let road = Road::start();
    let mut client = road.client();
    client.send(Frames::new().query("DROP TABLE reviews"));
    let request = road.held("DROP TABLE reviews").await;
    let read = Frames::new().query("SELECT 1").0;
    client.stuff(&read.repeat((40 << 20) / read.len()));
    client.hang_up();
    support::server::eventually("it is detached", async || {
        road.demo
            .reviewer()
            .show(request["id"].as_str().expect("text"))
            .await["detached"]
            == true
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_any_size_pass_without_being_kept() {
    let road = Road::start();
    let mut client = road.client();
    let before = memory_kib(&road);
    let answer = client.query("SELECT repeat('x', 200 << 20)");
    assert_eq!(tags(&answer), "TDCZ");
    assert_eq!(answer[1].body.len(), 6 + (200 << 20));
    let grown = memory_kib(&road).saturating_sub(before);
    assert!(grown < 32 << 10, "the proxy has grown by {grown} KiB");
}

/// The most that the proxy's process has ever had in memory.
fn memory_kib(road: &Road) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", road.demo.id())).expect("it runs");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("Linux tells");
    line.split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

/// Slow, because both intervals are what they are: the client hears something every 20 s, the server every 30 s.
#[tokio::test(flavor = "multi_thread")]
async fn promise_8_both_sides_are_kept_alive_while_a_statement_waits() {
    let postgres = Postgres::start_with(&[("idle_session_timeout", "32s")]);
    let demo = Demo::in_front_of(&postgres);
    let road = Road { postgres, demo };
    let mut client = road.client();
    client.query("SET application_name = 'patient'");
    client.send(Frames::new().query("DROP TABLE reviews"));
    client.until(b'N');
    let alive = client.read();
    assert_eq!(
        (alive.tag, alive.body.as_slice()),
        (b'S', b"application_name\0patient\0".as_slice())
    );
    tokio::time::sleep(Duration::from_secs(15)).await;
    road.approve("DROP TABLE reviews").await;
    assert_eq!(tags(&client.until_ready()), "CZ", "the server has not hung up");
}

/// The text of an EXECUTE says nothing of what it runs: a grant for it must not run what the name means by now.
#[tokio::test(flavor = "multi_thread")]
async fn promise_1_an_execute_is_bound_to_what_its_name_means() {
    let road = Road::start();
    let prepare = async |client: &mut Wire, statement: &str| {
        client.send(Frames::new().query(&format!("PREPARE p AS {statement}")));
        road.approve(&format!("PREPARE p AS {statement}")).await;
        client.until_ready();
    };
    let mut client = road.client();
    prepare(&mut client, "DELETE FROM reviews WHERE false").await;
    client.send(Frames::new().query("EXECUTE p"));
    let request = road.held("EXECUTE p").await;
    let facts = request["facts"].to_string();
    assert!(
        facts.contains("DELETE FROM reviews WHERE false"),
        "the reviewer sees what p is: {request}"
    );
    client.hang_up();
    support::server::eventually("it is detached", async || {
        road.demo
            .reviewer()
            .show(request["id"].as_str().expect("text"))
            .await["detached"]
            == true
    })
    .await;
    road.demo.reviewer().approve(&request).await;
    let mut other = road.client();
    prepare(&mut other, "DELETE FROM reviews WHERE true").await;
    other.send(Frames::new().query("EXECUTE p"));
    let again = road.held("EXECUTE p").await;
    assert_ne!(again["id"], request["id"]);
    assert!(!road.postgres.has_seen("EXECUTE p"));
}
