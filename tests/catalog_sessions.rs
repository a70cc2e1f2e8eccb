//! Sessions in front of a catalog: what a name means can change between two statements, by the session itself, by
//! another one, or past the proxy. Each test is an attempt to get somebody's code run by what looks like a read.
//!
//! Never believes the proxy alone: at the end of every test the trap must not have been sprung.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::api::Api;
use support::house::House;
use support::server::{PROGRAM, Postgres, connect};
use support::treatment::{Decide, Reviewer, Treatment};
use support::wire::{Frames, Wire, value};

/// Whatever calls `evil.spring()` leaves a trace that no rollback takes back. `bot` is the owner's agent.
const TRAPS: &str = "
    CREATE SCHEMA evil;
    GRANT ALL ON SCHEMA evil TO PUBLIC;
    CREATE SEQUENCE evil.sprung;
    GRANT ALL ON SEQUENCE evil.sprung TO PUBLIC;
    CREATE FUNCTION evil.spring() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''evil.sprung''); END';
    CREATE VIEW evil.armed AS SELECT evil.spring() AS a;
    CREATE TABLE evil.plain (a int);
    INSERT INTO evil.plain VALUES (1), (2), (3);
    GRANT ALL ON ALL TABLES IN SCHEMA evil TO PUBLIC;
    CREATE VIEW evil.window AS SELECT a FROM evil.plain;
    ALTER VIEW evil.window OWNER TO shop_owner;
    CREATE FUNCTION evil.net(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';
    ALTER FUNCTION evil.net(int) OWNER TO shop_owner;
    CREATE ROLE catalog_reader LOGIN PASSWORD 'reads';
";

/// Seconds between two looks at the catalog, in these tests.
const REFRESH: Duration = Duration::from_secs(1);

struct Stage {
    postgres: Postgres,
    house: House,
    reviewer: Reviewer,
    token: String,
    admin: tokio_postgres::Client,
}

impl Stage {
    async fn open() -> Self {
        Self::open_stale_after(60).await
    }

    async fn open_stale_after(seconds: u32) -> Self {
        let postgres = Postgres::start();
        let admin = postgres.connect_as_superuser().await;
        admin.batch_execute(TRAPS).await.expect("the traps are set");
        let upstream = format!(
            "[catalog]\nuser = \"catalog_reader\"\npassword_file = \"catalog-password\"\nrefresh_seconds = 1\n\
             stale_after_seconds = {seconds}\ntrusted_file = \"trusted.toml\"\n"
        );
        let house = House::open_with(&postgres, "", &upstream, |folder| {
            std::fs::write(folder.join("catalog-password"), "reads").expect("written");
            std::fs::write(folder.join("trusted.toml"), "").expect("written");
        });
        house.run(&["user", "add", "dba", "--role", "approver"]);
        let token = house.run(&["user", "token", "dba"]);
        let token = token["token"].as_str().expect("shown once").to_owned();
        let reviewer = Reviewer::new(Api::new(&house.serve.api_url, &token));
        Self {
            postgres,
            house,
            reviewer,
            token,
            admin,
        }
    }

    fn api(&self) -> Api {
        Api::new(&self.house.serve.api_url, &self.token)
    }

    /// A countersign command that asks the running proxy, as the reviewer.
    fn ask(&self, arguments: &[&str]) -> Vec<u8> {
        let done = Command::new(PROGRAM)
            .args(arguments)
            .env("COUNTERSIGN_API_URL", &self.house.serve.api_url)
            .env("COUNTERSIGN_TOKEN", &self.token)
            .output()
            .expect("the binary runs");
        assert!(
            done.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        done.stdout
    }

    fn catalogs(&self, command: &str) -> serde_json::Value {
        serde_json::from_slice(&self.ask(&["catalog", command, "--json"])).expect("JSON")
    }

    fn session(&self) -> Session<'_> {
        Session {
            stage: self,
            wire: Wire::connect(&self.house.url("127.0.0.1")),
        }
    }

    async fn past_the_proxy(&self, sql: &str) {
        self.admin.batch_execute(sql).await.expect("it runs");
    }

    async fn is_sprung(&self) -> bool {
        let row = self
            .admin
            .query_one("SELECT is_called FROM evil.sprung", &[])
            .await;
        row.expect("the server answers").get(0)
    }

    async fn nothing_was_sprung(&self) {
        assert!(!self.is_sprung().await, "somebody's code has run");
    }

    /// Long enough for a change past the proxy to be seen.
    async fn until_seen(&self) {
        tokio::time::sleep(REFRESH * 2).await;
    }
}

struct Session<'s> {
    stage: &'s Stage,
    wire: Wire,
}

impl Session<'_> {
    fn treatment(&mut self, frames: Frames, decide: Decide) -> Treatment {
        let answers = frames.answers();
        let (reviewer, wire) = (&self.stage.reviewer, &mut self.wire);
        tokio::task::block_in_place(|| reviewer.ask_with(wire, frames, &Frames::new(), decide, answers))
    }

    #[track_caller]
    fn passes(&mut self, text: &str) {
        self.frames_pass(Frames::new().query(text));
    }

    #[track_caller]
    fn frames_pass(&mut self, frames: Frames) {
        let treatment = self.treatment(frames.clone(), Decide::Withdraw);
        assert_eq!(treatment, Treatment::Passed, "{frames:?}");
    }

    #[track_caller]
    fn stopped(&mut self, text: &str) {
        self.frames_stopped(Frames::new().query(text));
    }

    #[track_caller]
    fn frames_stopped(&mut self, frames: Frames) {
        let treatment = self.treatment(frames.clone(), Decide::Withdraw);
        assert!(treatment.is_stopped(), "{frames:?}");
    }

    #[track_caller]
    fn approved(&mut self, text: &str) {
        let treatment = self.treatment(Frames::new().query(text), Decide::Approve);
        assert_eq!(treatment, Treatment::Held, "{text}");
    }

    /// Until a text meets the treatment, and no longer than it may take.
    async fn soon(&mut self, text: &str, stopped: bool, within: Duration) {
        let end = Instant::now() + within;
        loop {
            let treatment = self.treatment(Frames::new().query(text), Decide::Withdraw);
            if treatment.is_stopped() == stopped {
                return;
            }
            assert!(Instant::now() < end, "{text}: still {treatment:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn bound(text: &str) -> Frames {
    Frames::new().parse("", text).bind("", "", &[]).execute("").sync()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_over_somebodys_function_is_no_plain_read() {
    let stage = Stage::open().await;
    let mut session = stage.session();
    session.passes("SELECT a FROM evil.plain");
    session.passes("SELECT a FROM evil.window");
    session.frames_pass(bound("SELECT a FROM evil.window"));
    session.stopped("SELECT a FROM evil.armed");
    session.frames_stopped(bound("SELECT a FROM evil.armed"));
    session.stopped("EXPLAIN SELECT a FROM evil.armed");
    stage.nothing_was_sprung().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_the_proxy_saw_changing_counts_at_once_for_everybody() {
    let stage = Stage::open().await;
    let (mut one, mut other) = (stage.session(), stage.session());
    let read = "SELECT a FROM evil.window";
    other.frames_pass(Frames::new().parse("before", read).sync());
    for _ in 0..3 {
        one.passes(read);
        other.passes(read);
        other.frames_pass(Frames::new().bind("", "before", &[]).execute("").sync());
        one.approved("CREATE OR REPLACE VIEW evil.window AS SELECT evil.spring() AS a");
        one.stopped(read);
        other.stopped(read);
        other.frames_stopped(Frames::new().bind("", "before", &[]).execute("").sync());
        one.approved("CREATE OR REPLACE VIEW evil.window AS SELECT a FROM evil.plain");
    }
    one.passes(read);
    stage.nothing_was_sprung().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_changes_past_the_proxy_counts_within_the_time_that_is_stated() {
    let stage = Stage::open().await;
    let mut session = stage.session();
    let read = "SELECT a FROM evil.plain WHERE a = 7";
    session.passes(read);
    stage
        .past_the_proxy(
            "ALTER TABLE evil.plain ENABLE ROW LEVEL SECURITY;
             CREATE POLICY trap ON evil.plain USING (evil.spring() > 0)",
        )
        .await;
    stage.until_seen().await;
    session.stopped(read);
    stage
        .past_the_proxy("DROP POLICY trap ON evil.plain; ALTER TABLE evil.plain DISABLE ROW LEVEL SECURITY")
        .await;
    session.soon(read, false, REFRESH * 30).await;
    stage.nothing_was_sprung().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_on_demand_makes_a_change_past_the_proxy_count_at_once() {
    let stage = Stage::open().await;
    let mut session = stage.session();
    let read = "SELECT a FROM evil.window";
    session.passes(read);
    stage
        .past_the_proxy("CREATE OR REPLACE VIEW evil.window AS SELECT evil.spring() AS a")
        .await;
    let list = stage.catalogs("refresh");
    assert_eq!(list["items"][0]["state"], "read", "{list}");
    session.stopped(read);
    stage.nothing_was_sprung().await;
}

/// pg-proto-extended-027: the same prepared statement, another body.
#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_function_is_trusted_as_it_was_listed_and_no_other() {
    let mut stage = Stage::open().await;
    let call = "SELECT evil.net(7)";
    let mut session = stage.session();
    session.stopped(call);
    let listed = stage.ask(&["catalog", "functions", "shop"]);
    std::fs::write(stage.house.folder.path().join("trusted.toml"), listed).expect("written");
    drop(session);
    stage.house.reload("are trusted");
    let mut session = stage.session();
    session.passes(call);
    session.frames_pass(Frames::new().parse("net", call).sync());
    let run = || Frames::new().bind("", "net", &[]).execute("").sync();
    session.frames_pass(run());
    session.passes("PREPARE by_name AS SELECT evil.net(8)");
    session.passes("EXECUTE by_name");
    // A portal that has begun goes on with the body that the function has by then.
    session.passes("BEGIN");
    let cursor = "SELECT evil.net(a) FROM evil.plain";
    let begun = Frames::new()
        .parse("", cursor)
        .bind("c", "", &[])
        .execute_rows("c", 1);
    session.frames_pass(begun.sync());
    stage
        .past_the_proxy(
            "CREATE OR REPLACE FUNCTION evil.net(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT evil.spring()'",
        )
        .await;
    stage.until_seen().await;
    session.frames_stopped(Frames::new().execute_rows("c", 1).sync());
    session.passes("ROLLBACK");
    session.stopped(call);
    session.frames_stopped(run());
    session.stopped("EXECUTE by_name");
    session.frames_stopped(Frames::new().bind("", "by_name", &[]).execute("").sync());
    stage.nothing_was_sprung().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_outlive_changes_that_do_not_concern_them() {
    let stage = Stage::open().await;
    let mut session = stage.session();
    session.passes("PREPARE p AS SELECT a FROM evil.plain");
    session.frames_pass(Frames::new().parse("q", "SELECT a FROM evil.window").sync());
    stage.past_the_proxy("CREATE TABLE evil.unrelated (a int)").await;
    stage.until_seen().await;
    session.passes("EXECUTE p");
    session.frames_pass(Frames::new().bind("", "p", &[]).execute("").sync());
    session.frames_pass(Frames::new().bind("", "q", &[]).execute("").sync());
    stage.nothing_was_sprung().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_object_is_known_to_its_session_alone() {
    let stage = Stage::open().await;
    let (mut one, mut other) = (stage.session(), stage.session());
    let read = "SELECT count(*) FROM reviews";
    one.passes(read);
    one.approved("CREATE TEMP VIEW reviews AS SELECT evil.spring() AS a");
    one.stopped(read);
    one.frames_stopped(bound(read));
    one.stopped("SELECT * FROM pg_temp.reviews");
    one.passes("SELECT count(*) FROM products");
    other.passes(read);
    one.approved("DROP VIEW pg_temp.reviews");
    one.passes(read);
    // A plain table is as good as any other, for as long as it is there.
    stage
        .past_the_proxy("CREATE VIEW public.scratch AS SELECT evil.spring() AS a; GRANT SELECT ON public.scratch TO PUBLIC")
        .await;
    one.approved("CREATE TEMP TABLE scratch (a int)");
    one.passes("SELECT a FROM scratch");
    one.passes("INSERT INTO scratch VALUES (1)");
    one.stopped("DISCARD TEMP; SELECT a FROM scratch");
    one.frames_stopped(
        Frames::new()
            .parse("", "DISCARD TEMP")
            .bind("", "", &[])
            .execute("")
            .parse("", "SELECT a FROM scratch")
            .bind("", "", &[])
            .execute("")
            .sync(),
    );
    one.passes("DISCARD TEMP");
    one.stopped("SELECT a FROM scratch");
    stage.nothing_was_sprung().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_object_made_by_code_is_seen_too() {
    let stage = Stage::open().await;
    let mut session = stage.session();
    let read = "SELECT count(*) FROM reviews";
    session.passes(read);
    session.approved("DO 'BEGIN CREATE TEMP VIEW reviews AS SELECT evil.spring() AS a; END'");
    session.stopped(read);
    session.passes("DISCARD ALL");
    session.passes(read);
    stage
        .past_the_proxy("ALTER TABLE evil.plain OWNER TO shop_owner")
        .await;
    session.approved("CREATE TEMP TABLE child (trap int DEFAULT evil.spring()) INHERITS (evil.plain)");
    session.stopped("SELECT a FROM evil.plain");
    stage.nothing_was_sprung().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_type_named_like_a_function_is_the_cast_that_it_is() {
    let stage = Stage::open().await;
    let mut session = stage.session();
    let read = "SELECT lower('X'::varchar)";
    session.passes(read);
    session.approved("CREATE DOMAIN pg_temp.lower AS text CHECK (evil.spring() = 1)");
    session.stopped(read);
    session.passes("SELECT upper('x'::varchar)");
    stage.nothing_was_sprung().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_that_has_changed_the_catalog_knows_nothing_of_it() {
    let stage = Stage::open().await;
    let mut session = stage.session();
    let read = "SELECT a FROM evil.window";
    session.passes(read);
    session.passes("BEGIN");
    session.approved("CREATE OR REPLACE VIEW evil.window AS SELECT evil.spring() AS a");
    session.stopped(read);
    session.passes("ROLLBACK");
    session.passes(read);
    let both = "CREATE OR REPLACE VIEW evil.window AS SELECT evil.spring() AS a; SELECT a FROM evil.window";
    session.stopped(both);
    session.passes(read);
    stage.nothing_was_sprung().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_looked_up_along_the_search_path_of_now() {
    let stage = Stage::open().await;
    stage
        .past_the_proxy(
            "CREATE VIEW evil.reviews AS SELECT evil.spring() AS a; GRANT SELECT ON evil.reviews TO PUBLIC",
        )
        .await;
    let mut session = stage.session();
    let read = "SELECT count(*) FROM reviews";
    session.passes(read);
    session.frames_pass(
        Frames::new()
            .parse("r", read)
            .bind("", "r", &[])
            .execute("")
            .sync(),
    );
    session.passes("PREPARE p AS SELECT count(*) FROM reviews");
    session.stopped("SET search_path = evil; SELECT count(*) FROM reviews");
    session.passes("SET search_path = evil; SELECT a FROM evil.plain");
    session.passes("RESET search_path");
    // A view with code before a table of its name is told at once.
    session.stopped("SET search_path = evil, public");
    session.passes("SET search_path = evil");
    session.stopped(read);
    session.stopped("EXECUTE p");
    session.frames_stopped(Frames::new().bind("", "r", &[]).execute("").sync());
    session.frames_stopped(Frames::new().bind("", "p", &[]).execute("").sync());
    session.passes("RESET search_path");
    session.passes(read);
    session.passes("EXECUTE p");
    session.passes("BEGIN");
    session.passes("SET LOCAL search_path = evil");
    session.stopped(read);
    session.passes("ROLLBACK");
    session.passes(read);
    stage.nothing_was_sprung().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_in_the_search_path_is_whom_statements_run_as() {
    let stage = Stage::open().await;
    stage
        .past_the_proxy(
            "CREATE ROLE somebody; GRANT somebody TO shop_owner; CREATE SCHEMA somebody AUTHORIZATION somebody;
             GRANT USAGE ON SCHEMA public TO somebody; GRANT SELECT ON ALL TABLES IN SCHEMA public TO somebody;
             CREATE VIEW somebody.reviews AS SELECT evil.spring() AS a;
             GRANT SELECT ON somebody.reviews TO PUBLIC;
             ALTER ROLE shop_owner SET search_path = '$user', public",
        )
        .await;
    let mut session = stage.session();
    let read = "SELECT count(*) FROM reviews";
    session.passes(read);
    session.approved("SET ROLE somebody");
    session.stopped(read);
    session.approved("RESET ROLE");
    session.passes(read);
    stage.nothing_was_sprung().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_cannot_be_read_holds_what_it_would_have_let_pass_until_it_can() {
    let stage = Stage::open_stale_after(4).await;
    let mut session = stage.session();
    let read = "SELECT a FROM evil.plain";
    session.passes(read);
    stage
        .past_the_proxy(
            "ALTER ROLE catalog_reader NOLOGIN;
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'catalog_reader'",
        )
        .await;
    session.soon(read, true, REFRESH * 30).await;
    session.passes("BEGIN");
    session.passes("COMMIT");
    let list = stage.catalogs("status");
    assert_eq!(list["items"][0]["state"], "stale", "{list}");
    assert!(
        list["items"][0]["problem"]
            .as_str()
            .is_some_and(|why| !why.is_empty()),
        "{list}"
    );
    stage.past_the_proxy("ALTER ROLE catalog_reader LOGIN").await;
    session.soon(read, false, REFRESH * 30).await;
    stage.nothing_was_sprung().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judgement_for_one_database_is_none_for_another() {
    let stage = Stage::open().await;
    stage.past_the_proxy("CREATE DATABASE second").await;
    let second = connect(&stage.postgres.server().superuser_url("second")).await;
    second
        .batch_execute(&TRAPS.replace("CREATE ROLE catalog_reader LOGIN PASSWORD 'reads';", ""))
        .await
        .expect("the traps are set");
    second
        .batch_execute("CREATE OR REPLACE VIEW evil.window AS SELECT evil.spring() AS a")
        .await
        .expect("it runs");
    let read = "SELECT a FROM evil.window";
    let mut session = stage.session();
    session.passes(read);
    let url = stage.house.url("127.0.0.1").replace("/shop", "/second");
    let mut elsewhere = Session {
        stage: &stage,
        wire: Wire::connect(&url),
    };
    elsewhere.stopped(read);
    session.passes(read);
    elsewhere.passes("SELECT a FROM evil.plain");
    stage.nothing_was_sprung().await;
    let row = second.query_one("SELECT is_called FROM evil.sprung", &[]).await;
    assert!(
        !row.expect("the server answers").get::<_, bool>(0),
        "it went through"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_does_not_cover_what_a_name_has_come_to_mean_meanwhile() {
    let stage = Stage::open().await;
    let mut session = stage.session();
    stage
        .past_the_proxy(
            "CREATE VIEW evil.two AS SELECT evil.net(a) AS a FROM evil.window; GRANT SELECT ON evil.two TO PUBLIC",
        )
        .await;
    stage.until_seen().await;
    session.wire.send(Frames::new().query("SELECT a FROM evil.two"));
    let held = stage.api().held("evil.two").await;
    // The function stands behind a view: no name in the statement means another object now.
    stage
        .past_the_proxy(
            "CREATE OR REPLACE FUNCTION evil.net(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT evil.spring()'",
        )
        .await;
    stage.api().approve(&held).await;
    let answers = tokio::task::block_in_place(|| session.wire.until_ready());
    let refused = answers
        .iter()
        .find(|message| message.tag == b'E')
        .expect("an error");
    assert!(
        refused.fields().message.contains("means another object"),
        "{:?}",
        refused.fields()
    );
    assert_eq!(
        value(&tokio::task::block_in_place(|| session.wire.query("SELECT 7"))),
        "7"
    );
    stage.nothing_was_sprung().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_does_not_cover_an_operator_that_was_made_meanwhile() {
    let stage = Stage::open().await;
    let mut session = stage.session();
    let text = "DELETE FROM evil.plain WHERE a > 100 AND 'a'::varchar = 'b'::varchar";
    session.wire.send(Frames::new().query(text));
    let held = stage.api().held("DELETE FROM evil.plain").await;
    stage
        .past_the_proxy(
            "CREATE FUNCTION public.same(varchar, varchar) RETURNS bool LANGUAGE sql AS 'SELECT evil.spring() > 0';
             CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.same)",
        )
        .await;
    stage.until_seen().await;
    stage.api().approve(&held).await;
    let answers = tokio::task::block_in_place(|| session.wire.until_ready());
    let refused = answers
        .iter()
        .find(|message| message.tag == b'E')
        .expect("an error");
    assert!(
        refused.fields().message.contains("means another object"),
        "{:?}",
        refused.fields()
    );
    stage.nothing_was_sprung().await;
}
