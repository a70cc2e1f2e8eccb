//! State behind state: whoever is allowed one thing must not get another through it. A name that means something else
//! than it seems, a setting that was undone, a message inside another's exchange, sizes that lie.
//!
//! Never believes the proxy alone: the table that each attack is after must be whole at the end. The corpus's own cases
//! are in `protocol.rs`.

mod support;

use support::child::Demo;
use support::house::House;
use support::server::Postgres;
use support::treatment::{Decide, Reviewer, Treatment};
use support::wire::{Frames, Wire, error, tags};

/// What is expected of one part of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// Goes to the server at once, whatever that says of it.
    Passes,
    /// A person is asked, and approves.
    Approved,
    /// A person is asked, or it is refused: nothing of it runs.
    Stopped,
}
use Expect::{Approved, Passes, Stopped};

/// A client's messages in parts: each ends with as many ReadyForQuery as it has Query and Sync messages.
struct Attack {
    name: &'static str,
    parts: Vec<(Expect, Frames)>,
}

fn attack(name: &'static str, parts: impl IntoIterator<Item = (Expect, Frames)>) -> Attack {
    let parts = parts.into_iter().collect();
    Attack { name, parts }
}

fn query(text: &str) -> Frames {
    Frames::new().query(text)
}

/// `p` runs this once a person has let it be prepared.
const WIPE: &str = "DELETE FROM reviews";

fn prepared() -> (Expect, Frames) {
    (Approved, query(&format!("PREPARE p AS {WIPE}")))
}

/// Parse, Bind and Execute without their Sync.
fn extended(frames: Frames, text: &str) -> Frames {
    frames.parse("", text).bind("", "", &[]).execute("")
}

fn run_p() -> Frames {
    Frames::new().bind("", "p", &[]).execute("").sync()
}

/// Tries each on a connection of its own, and looks at the table afterwards.
async fn check(attacks: Vec<Attack>) {
    for catalog in [None, Some("--catalog")] {
        check_with(&attacks, catalog).await;
    }
}

/// By a catalog more is held: in a transaction in which an admin statement has run, no name is known.
async fn check_by_text(attacks: Vec<Attack>) {
    check_with(&attacks, None).await;
}

async fn check_with(attacks: &[Attack], catalog: Option<&str>) {
    let postgres = Postgres::start();
    let upstream = postgres.upstream_url();
    let arguments = ["--upstream-postgres", &upstream].into_iter().chain(catalog);
    let demo = Demo::start(&arguments.collect::<Vec<_>>());
    let admin = postgres.connect_as_superuser().await;
    admin.batch_execute(TRAPS).await.expect("the traps are set");
    let before = victim(&admin).await;
    assert!(before.0 > 0, "there is something to lose");
    let reviewer = Reviewer::new(demo.reviewer());
    for attack in attacks {
        tokio::task::block_in_place(|| carry_out(&demo, &reviewer, attack));
        assert_eq!(
            victim(&admin).await,
            before,
            "{}, {catalog:?}: it went through",
            attack.name
        );
    }
}

fn carry_out(demo: &Demo, reviewer: &Reviewer, attack: &Attack) {
    let mut wire = Wire::connect(&demo.sheet.postgres_url);
    for (number, (expect, frames)) in attack.parts.iter().enumerate() {
        let decide = match expect {
            Approved => Decide::Approve,
            Passes | Stopped => Decide::Withdraw,
        };
        let answers = frames.answers();
        let treatment = reviewer.ask_with(&mut wire, frames.clone(), &Frames::new(), decide, answers);
        let met = match expect {
            Passes => treatment == Treatment::Passed,
            Approved => treatment == Treatment::Held,
            Stopped => treatment.is_stopped(),
        };
        assert!(
            met,
            "{}, part {number}: {expect:?} expected, {treatment:?}",
            attack.name
        );
    }
}

/// Whatever code of this schema runs leaves a row; sequences keep it even if the transaction is rolled back.
const TRAPS: &str = "
    CREATE SCHEMA evil;
    CREATE SEQUENCE evil.sprung;
    CREATE FUNCTION evil.spring() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''evil.sprung''); END';
    CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE plpgsql
        AS 'BEGIN PERFORM evil.spring(); RETURN $1; END';
    CREATE DOMAIN evil.checked AS int CHECK (evil.spring() > 0);
    CREATE TYPE evil.pair AS (a evil.checked, b text);
    CREATE TABLE evil.once (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
    INSERT INTO evil.once VALUES (1);
    GRANT ALL ON evil.once TO PUBLIC;
    GRANT USAGE ON SCHEMA evil TO PUBLIC;
    GRANT ALL ON SEQUENCE evil.sprung TO PUBLIC;
";

/// Its second row puts the schema of the traps before the server's own.
const TURNING_PATH: &str = "SELECT set_config('search_path', CASE g WHEN 1 THEN 'public' ELSE 'evil, pg_catalog' END, \
                            false) FROM generate_series(1, 2) g";
const TURNING_CURSOR: &str = "DECLARE c CURSOR FOR SELECT set_config('search_path', CASE g WHEN 1 THEN 'public' \
                              ELSE 'evil, pg_catalog' END, false) FROM generate_series(1, 2) g";

/// Rows of the table that is to be wiped, and how often a trap was sprung.
async fn victim(admin: &tokio_postgres::Client) -> (i64, i64) {
    let sql = "SELECT (SELECT count(*) FROM reviews), CASE WHEN is_called THEN last_value ELSE 0 END FROM evil.sprung";
    let row = admin.query_one(sql, &[]).await.expect("the server answers");
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_name_means_what_the_server_says_it_means() {
    let long = "n".repeat(63);
    check(vec![
        attack(
            "a message fails before its DEALLOCATE",
            [
                prepared(),
                (Passes, query("SELECT 1/0; DEALLOCATE p; PREPARE p AS SELECT 1")),
                (Stopped, query("EXECUTE p")),
                (Stopped, run_p()),
            ],
        ),
        attack(
            "a message fails behind its PREPARE, which stays",
            [
                (Passes, query("PREPARE p AS SELECT 1; SELECT 1/0")),
                (Passes, query("EXECUTE p")),
                (Passes, run_p()),
            ],
        ),
        attack(
            "a pipeline fails before its DEALLOCATE",
            [
                prepared(),
                (
                    Passes,
                    extended(extended(Frames::new(), "SELECT 1/0"), "DEALLOCATE p").sync(),
                ),
                (Stopped, run_p()),
            ],
        ),
        attack(
            "a pipeline fails before its Close, and the next one uses the name",
            [
                prepared(),
                (
                    Stopped,
                    extended(Frames::new(), "SELECT 1/0")
                        .close_statement("p")
                        .parse("p", "SELECT 1")
                        .sync()
                        .bind("", "p", &[])
                        .execute("")
                        .sync(),
                ),
            ],
        ),
        attack(
            "a PREPARE of a name that is taken",
            [
                prepared(),
                (Passes, query("PREPARE p AS SELECT 1")),
                (Stopped, query("EXECUTE p")),
            ],
        ),
        attack(
            "a Parse of a name that is taken",
            [
                prepared(),
                (Passes, Frames::new().parse("p", "SELECT 1").sync()),
                (Stopped, run_p()),
            ],
        ),
        attack(
            "the second PREPARE of one message fails",
            [
                (
                    Approved,
                    query(&format!("PREPARE p AS {WIPE}; PREPARE p AS SELECT 1")),
                ),
                (Stopped, query("EXECUTE p")),
            ],
        ),
        attack(
            "a rollback does not undo a PREPARE",
            [
                (Passes, query("BEGIN")),
                prepared(),
                (Passes, query("ROLLBACK")),
                (Passes, query("PREPARE p AS SELECT 1")),
                (Stopped, query("EXECUTE p")),
            ],
        ),
        attack(
            "a DEALLOCATE in a failed transaction",
            [
                prepared(),
                (Passes, query("BEGIN; SELECT 1/0")),
                (Passes, query("DEALLOCATE ALL")),
                (Passes, query("ROLLBACK")),
                (Stopped, query("EXECUTE p")),
            ],
        ),
        attack(
            "a DISCARD ALL where the server takes none",
            [
                prepared(),
                (Passes, query("BEGIN")),
                (Passes, query("DISCARD ALL")),
                (Passes, query("ROLLBACK")),
                (Stopped, query("EXECUTE p")),
            ],
        ),
        attack(
            "a DISCARD PLANS forgets no name",
            [
                prepared(),
                (Passes, query("DISCARD PLANS")),
                (Stopped, query("EXECUTE p")),
            ],
        ),
        attack(
            "a Close of the portal of that name",
            [
                prepared(),
                (Passes, Frames::new().close_portal("p").sync()),
                (Stopped, run_p()),
            ],
        ),
        attack(
            "upper and lower case",
            [
                prepared(),
                (Passes, query("PREPARE \"P\" AS SELECT 1")),
                (Passes, query("EXECUTE \"P\"")),
                (Stopped, query("EXECUTE P")),
            ],
        ),
        attack(
            "a name that the server cuts",
            [
                (Approved, query(&format!("PREPARE {long}xyz AS {WIPE}"))),
                (Passes, query(&format!("PREPARE {long}abc AS SELECT 1"))),
                (Stopped, query(&format!("EXECUTE {long}"))),
                (Stopped, query(&format!("EXECUTE {long}abc"))),
            ],
        ),
        attack(
            "a long name in a Parse",
            [
                (Approved, query(&format!("PREPARE {long} AS {WIPE}"))),
                (
                    Stopped,
                    Frames::new()
                        .parse(&format!("{long}abc"), "SELECT 1")
                        .bind("", &long, &[])
                        .execute("")
                        .sync(),
                ),
            ],
        ),
        attack(
            "EXPLAIN of it",
            [
                prepared(),
                (Stopped, query("EXPLAIN EXECUTE p")),
                (Stopped, query("EXPLAIN (ANALYZE, COSTS OFF) EXECUTE p")),
                (Stopped, query("CREATE TEMP TABLE t AS EXECUTE p")),
            ],
        ),
        attack(
            "EXECUTE by the extended protocol, prepared before its name is given another meaning",
            [
                (Passes, query("PREPARE p AS SELECT 1")),
                (Passes, Frames::new().parse("e", "EXECUTE p").sync()),
                (Passes, query("DEALLOCATE p")),
                prepared(),
                (Stopped, Frames::new().bind("", "e", &[]).execute("").sync()),
            ],
        ),
    ])
    .await;
}

/// Over-blocking is a defect too: each of these is harmless.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_given_a_harmless_meaning_is_harmless_again() {
    check(vec![
        attack(
            "DEALLOCATE, PREPARE and EXECUTE sent together",
            [
                prepared(),
                (
                    Passes,
                    query("DEALLOCATE p")
                        .query("PREPARE p AS SELECT 1")
                        .query("EXECUTE p"),
                ),
            ],
        ),
        attack(
            "all in one message",
            [
                (Passes, query("PREPARE p AS SELECT 1")),
                (Passes, query("EXECUTE p; DEALLOCATE p")),
            ],
        ),
        attack(
            "Close, Parse, Bind and Execute in one pipeline",
            [
                prepared(),
                (
                    Passes,
                    Frames::new()
                        .close_statement("p")
                        .parse("p", "SELECT 1")
                        .bind("", "p", &[])
                        .execute("")
                        .sync(),
                ),
            ],
        ),
        attack(
            "PREPARE and EXECUTE in one pipeline",
            [(
                Passes,
                extended(extended(Frames::new(), "PREPARE p AS SELECT 1"), "EXECUTE p").sync(),
            )],
        ),
        attack(
            "DISCARD ALL, and the name anew",
            [
                prepared(),
                (Passes, query("DISCARD ALL")),
                (Passes, query("PREPARE p AS SELECT 1")),
                (Passes, query("EXECUTE p")),
            ],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn portals_and_cursors_share_their_names() {
    check(vec![
        attack(
            "a portal named as a cursor",
            [
                (Passes, query("BEGIN")),
                (Passes, query("DECLARE c CURSOR FOR SELECT 1")),
                (
                    Stopped,
                    Frames::new()
                        .parse("", WIPE)
                        .bind("c", "", &[])
                        .execute("c")
                        .sync(),
                ),
            ],
        ),
        attack(
            "a cursor closed, its name bound to something else, and run by its SQL name",
            [
                (Passes, query("BEGIN")),
                (Passes, query("DECLARE c CURSOR FOR SELECT 1; CLOSE c")),
                (
                    Stopped,
                    Frames::new()
                        .parse("", &format!("{WIPE} RETURNING 1"))
                        .bind("c", "", &[])
                        .sync()
                        .query("FETCH ALL FROM c"),
                ),
            ],
        ),
        attack(
            "a portal whose Bind failed",
            [
                (Passes, query("BEGIN")),
                (
                    Passes,
                    Frames::new()
                        .parse("s", "SELECT $1::int")
                        .bind("c", "s", &["no number"])
                        .sync(),
                ),
                (Passes, Frames::new().execute("c").sync()),
            ],
        ),
        attack(
            "a cursor over what deletes",
            [
                (Passes, query("BEGIN")),
                (
                    Stopped,
                    query(&format!(
                        "DECLARE c CURSOR FOR WITH w AS ({WIPE} RETURNING 1) SELECT * FROM w"
                    )),
                ),
            ],
        ),
    ])
    .await;
}

/// The unnamed portal runs whatever `p` means when it is executed: a read when it was bound, and by now what wipes.
fn turned_portal() -> [(Expect, Frames); 3] {
    [
        (Passes, query("BEGIN")),
        (
            Passes,
            Frames::new()
                .parse("p", "SELECT 1")
                .parse("x", "EXECUTE p")
                .bind("", "x", &[])
                .sync(),
        ),
        (Passes, Frames::new().close_statement("p").parse("p", WIPE).sync()),
    ]
}

/// A unit that is let go whole must be of one portal: another one in it would run with nobody asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_portal_does_not_run_inside_the_approval_of_another() {
    let harmless = || {
        Frames::new()
            .parse("c", "CREATE TABLE harmless (id int)")
            .bind("h", "c", &[])
    };
    let with = |name, last: Frames| {
        let parts = turned_portal()
            .into_iter()
            .chain([(Approved, last.execute("h").sync()), (Passes, query("COMMIT"))]);
        attack(name, parts)
    };
    check(vec![
        attack(
            "by itself",
            turned_portal().into_iter().chain([
                (Stopped, Frames::new().execute("").sync()),
                (Passes, query("COMMIT")),
            ]),
        ),
        with("behind the Bind of a held statement", harmless().execute("")),
        with(
            "between two Executes of a held statement",
            harmless().execute("h").execute(""),
        ),
        with(
            "behind a Describe of the held portal",
            harmless().describe_portal("h").execute(""),
        ),
        with(
            "behind a Close of the held statement and a Describe of its own",
            harmless().close_statement("c").describe_portal("").execute(""),
        ),
    ])
    .await;
}

/// An EXECUTE looks its name up when it runs, so it runs where that is looked at: FETCH runs any portal that has a name.
#[tokio::test(flavor = "multi_thread")]
async fn a_portal_of_an_execute_does_not_run_by_another_way() {
    let turned = || (Passes, Frames::new().close_statement("p").parse("p", WIPE).sync());
    let bound = |portal: &str| Frames::new().parse("x", "EXECUTE p").bind(portal, "x", &[]);
    let harmless = || {
        (
            Passes,
            Frames::new()
                .parse("p", "DELETE FROM reviews WHERE product_id < 0")
                .sync(),
        )
    };
    check(vec![
        attack(
            "by FETCH",
            [
                (Passes, query("BEGIN")),
                (Passes, Frames::new().parse("p", "SELECT 1").sync()),
                (Stopped, bound("px").sync()),
                (Passes, query("ROLLBACK")),
                turned(),
                (Passes, query("BEGIN")),
                (Passes, query("FETCH ALL FROM px")),
                (Passes, query("COMMIT")),
            ],
        ),
        attack(
            "by MOVE, in the pipeline that binds it",
            [
                (Passes, query("BEGIN")),
                (Passes, Frames::new().parse("p", "SELECT 1").sync()),
                (
                    Stopped,
                    extended(
                        bound("px").close_statement("p").parse("p", WIPE),
                        "MOVE ALL FROM px",
                    )
                    .sync(),
                ),
                (Passes, query("COMMIT")),
            ],
        ),
        attack(
            "held, and named",
            [
                (Passes, query("BEGIN")),
                harmless(),
                (Stopped, bound("px").sync()),
            ],
        ),
        attack(
            "approved, and executed once its name means something else",
            [
                (Passes, query("BEGIN")),
                harmless(),
                (Approved, bound("").sync()),
                turned(),
                (Stopped, Frames::new().execute("").sync()),
                (Passes, query("COMMIT")),
            ],
        ),
        attack(
            "approved, and executed in the same pipeline once its name means something else",
            [
                (Passes, query("BEGIN")),
                harmless(),
                (
                    Approved,
                    bound("")
                        .flush()
                        .close_statement("p")
                        .parse("p", WIPE)
                        .flush()
                        .execute("")
                        .sync(),
                ),
                (Passes, query("COMMIT")),
            ],
        ),
        attack(
            "as it should be",
            [
                (Passes, query("BEGIN")),
                harmless(),
                (Approved, bound("").describe_portal("").execute("").sync()),
                (Passes, query("COMMIT")),
            ],
        ),
    ])
    .await;
}

/// What is prepared may itself be an EXECUTE: what it did when it was prepared says nothing of now.
#[tokio::test(flavor = "multi_thread")]
async fn an_execute_of_an_execute_is_not_known_by_what_it_did() {
    let turned = |text: &str| {
        let prepared = Frames::new().parse("p", "SELECT 1").parse("e", text).sync();
        let parsed_anew = Frames::new().close_statement("p").parse("p", WIPE).sync();
        [(Passes, prepared), (Passes, parsed_anew)]
    };
    let with =
        |name, text: &str, last: Frames| attack(name, turned(text).into_iter().chain([(Stopped, last)]));
    check(vec![
        with("by Query", "EXECUTE p", query("EXECUTE e")),
        with(
            "by Execute",
            "EXECUTE p",
            extended(Frames::new(), "EXECUTE e").sync(),
        ),
        with(
            "by the portal of a statement",
            "EXECUTE p",
            Frames::new()
                .parse("e2", "EXECUTE e")
                .bind("", "e2", &[])
                .execute("")
                .sync(),
        ),
        with("explained", "EXPLAIN ANALYZE EXECUTE p", query("EXECUTE e")),
    ])
    .await;
}

/// The server keeps its unnamed portal where a Query has no statement in it.
#[tokio::test(flavor = "multi_thread")]
async fn the_unnamed_portal_is_not_forgotten() {
    let behind = |name, nothing: &str| {
        let [begin, bound, turned] = turned_portal();
        let last = (Stopped, Frames::new().execute("").sync());
        attack(
            name,
            [
                begin,
                bound,
                (Passes, query(nothing)),
                turned,
                last,
                (Passes, query("COMMIT")),
            ],
        )
    };
    check(vec![
        behind("an empty Query", ""),
        behind("a Query of a semicolon", ";"),
        behind("a Query of a comment", "-- nothing"),
        behind("a Query with a statement", "SELECT 1"),
    ])
    .await;
}

/// A text that nobody could read may be an EXECUTE as well: it is refused where its name is not looked at again, before
/// anybody is asked.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_execute_runs_where_its_name_is_looked_at_again() {
    let postgres = Postgres::start();
    let demo = Demo::in_front_of(&postgres);
    let mut wire = Wire::connect(&demo.sheet.postgres_url);
    let unreadable = format!("EXECUTE p{}", " /**/".repeat(600));
    wire.ask(Frames::new().parse("p", WIPE).sync());
    let frames = Frames::new().parse("x", &unreadable).bind("px", "x", &[]).sync();
    let answer = wire.ask(frames);
    assert_eq!(error(&answer).sqlstate, "0A000", "{answer:?}");
    // By itself it is held, with what its name means.
    wire.send(query(&unreadable));
    let request = demo.reviewer().held("EXECUTE p").await;
    let shown = demo.reviewer().show(request["id"].as_str().expect("an id")).await;
    assert!(
        shown.to_string().contains(WIPE),
        "what the name means is shown: {shown}"
    );
    demo.reviewer().decide(&request, "deny", "no").await;
    assert_eq!(error(&wire.until_ready()).sqlstate, "42501");
}

/// The last statement of a message is told as done behind the commit of them all, which what came before can make fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_whose_change_was_never_told_is_not_known() {
    let fails = "INSERT INTO evil.once VALUES (1);";
    check(vec![attack(
        "a commit that fails behind DEALLOCATE and PREPARE",
        [
            (Passes, query("PREPARE s AS SELECT 1")),
            (Passes, query(&format!("{fails} DEALLOCATE s"))),
            (Approved, query(&format!("{fails} PREPARE s AS {WIPE}"))),
            (Stopped, query("EXECUTE s")),
        ],
    )])
    .await;
    // The end of a Query commits the pipeline before it, too.
    let pipeline = || extended(Frames::new(), "INSERT INTO evil.once VALUES (1)");
    check(vec![attack(
        "a commit that fails behind a pipeline",
        [
            (Passes, query("PREPARE s AS SELECT 1")),
            (Passes, pipeline().query("DEALLOCATE s")),
            (Approved, pipeline().query(&format!("PREPARE s AS {WIPE}"))),
            (Stopped, query("EXECUTE s")),
        ],
    )])
    .await;
}

/// A cancel of an own session leaves behind what was prepared, which cancels anybody's; and is none where somebody's code
/// runs with it.
#[tokio::test(flavor = "multi_thread")]
async fn an_own_cancel_lets_no_other_pass() {
    let postgres = Postgres::start();
    let demo = Demo::in_front_of(&postgres);
    let admin = postgres.connect_as_superuser().await;
    admin.batch_execute(TRAPS).await.expect("the traps are set");
    let checked = "SELECT 'evil.checked'::regtype::oid";
    let checked: u32 = admin.query_one(checked, &[]).await.expect("it is there").get(0);
    let before = victim(&admin).await;
    let reviewer = Reviewer::new(demo.reviewer());
    let idle = Wire::connect(&demo.sheet.postgres_url);
    let process = idle.process.to_string();
    let cancels = |types: &[u32]| {
        Frames::new()
            .parse_of("c", "SELECT pg_cancel_backend($1)", types)
            .bind("", "c", &[&process])
            .execute("")
            .sync()
    };
    for (name, parts) in [
        (
            "with another value",
            vec![(Passes, cancels(&[])), (Stopped, query("EXECUTE c(1)"))],
        ),
        ("of a type with a check", vec![(Stopped, cancels(&[checked]))]),
    ] {
        let attack = attack(name, parts);
        tokio::task::block_in_place(|| carry_out(&demo, &reviewer, &attack));
        assert_eq!(victim(&admin).await, before, "{name}: it went through");
    }
}

/// Names are cut and folded in the encoding of the database: two here may be one there.
#[tokio::test(flavor = "multi_thread")]
async fn databases_of_another_encoding_are_not_served() {
    let postgres = Postgres::start();
    let admin = postgres.connect_as_superuser().await;
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let create = format!(
            "CREATE DATABASE {encoding} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        );
        admin.batch_execute(&create).await.expect("created");
    }
    let house = House::open(&postgres, "", "");
    Wire::connect(&house.url("127.0.0.1"));
    for database in ["latin1", "sql_ascii"] {
        let owner = ["--owner", "ann", "--database-user", "shop_owner"];
        let added = house.run(&[&["agent", "add", database, "--database", database][..], &owner].concat());
        let secret = added["secret"].as_str().expect("shown once");
        let port = house.serve.listen.port();
        let url = format!("postgres://{database}:{secret}@127.0.0.1:{port}/{database}");
        let refused = Wire::connect_with(&url, &[("client_encoding", "UTF8")]);
        let refused = refused.err().expect("it is refused");
        assert_eq!(refused.sqlstate, "0A000");
        let message = refused.message.to_lowercase();
        assert!(
            message.contains(&format!("the encoding {database} is not served")),
            "{message}"
        );
    }
}

/// A cancel of an own session goes without a person, and nothing goes with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_portal_does_not_run_inside_an_own_cancel() {
    let postgres = Postgres::start();
    let demo = Demo::in_front_of(&postgres);
    let idle = Wire::connect(&demo.sheet.postgres_url);
    let mut wire = Wire::connect(&demo.sheet.postgres_url);
    let reviewer = Reviewer::new(demo.reviewer());
    for (expect, frames) in turned_portal() {
        let answers = frames.answers();
        let none = Frames::new();
        let treatment = tokio::task::block_in_place(|| {
            reviewer.ask_with(&mut wire, frames, &none, Decide::Withdraw, answers)
        });
        assert_eq!((expect, treatment), (Passes, Treatment::Passed));
    }
    let frames = Frames::new()
        .parse("c", "SELECT pg_cancel_backend($1)")
        .bind("h", "c", &[&idle.process.to_string()])
        .execute("")
        .sync();
    let answer = wire.ask(frames);
    assert_eq!(tags(&answer), "12EZ", "{answer:?}");
    assert!(
        error(&answer).message.contains("has changed since it was bound"),
        "{answer:?}"
    );
    wire.query("COMMIT");
    let admin = postgres.connect_as_superuser().await;
    let left = admin.query_one("SELECT count(*) FROM reviews", &[]).await;
    assert!(left.expect("counted").get::<_, i64>(0) > 0);
    // It is a cancel all the same.
    let mut waiting = Wire::connect(&demo.sheet.postgres_url);
    waiting.send(query(WIPE));
    demo.reviewer().held(WIPE).await;
    let frames = Frames::new()
        .parse("c", "SELECT pg_cancel_backend($1)")
        .describe_statement("c")
        .bind("p", "c", &[&waiting.process.to_string()])
        .describe_portal("p")
        .execute("p")
        .close_portal("p")
        .close_statement("c")
        .sync();
    let mut other = Wire::connect(&demo.sheet.postgres_url);
    assert_eq!(tags(&other.ask(frames)), "1tT2TDC33Z");
    assert_eq!(error(&waiting.until_ready()).sqlstate, "57014");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_holds_as_long_as_the_server_says() {
    let path = "search_path = evil, pg_catalog";
    check_by_text(vec![
        attack("SET and SELECT in one message", [(
            Stopped,
            query(&format!("SET {path}; SELECT lower('A')")),
        )]),
        attack("set_config and a call in one statement", [(
            Stopped,
            query("SELECT set_config('search_path', 'evil, pg_catalog', false), lower('A')"),
        )]),
        attack("SET and Parse in one pipeline", [(
            Stopped,
            extended(extended(Frames::new(), &format!("SET {path}")), "SELECT lower('A')").sync(),
        )]),
        attack("SET, and what was prepared before it", [
            (Passes, Frames::new().parse("s", "SELECT lower('A')").sync()),
            (Approved, query(&format!("SET {path}"))),
            (Stopped, Frames::new().bind("", "s", &[]).execute("").sync()),
        ]),
        attack("SET LOCAL undone by ROLLBACK TO, then in force again by its release", [
            (Passes, query("BEGIN")),
            (Passes, query("SAVEPOINT a")),
            (Approved, query(&format!("SET LOCAL {path}"))),
            (Passes, query("ROLLBACK TO a")),
            (Passes, query("SELECT lower('A')")),
            (Passes, query("SAVEPOINT b")),
            (Approved, query(&format!("SET LOCAL {path}"))),
            (Passes, query("RELEASE b")),
            (Stopped, query("SELECT lower('A')")),
        ]),
        attack("SET LOCAL ends with its transaction", [
            (Passes, query("BEGIN")),
            (Approved, query(&format!("SET LOCAL {path}"))),
            (Passes, query("COMMIT")),
            (Passes, query("SELECT lower('A')")),
        ]),
        attack("SET stays after its transaction", [
            (Passes, query("BEGIN")),
            (Approved, query(&format!("SET {path}"))),
            (Passes, query("COMMIT")),
            (Stopped, query("SELECT lower('A')")),
        ]),
        attack("COMMIT of a SET and a SELECT behind it, sent together", [
            (Passes, query("BEGIN")),
            (Approved, query(&format!("SET {path}"))),
            (Stopped, query("COMMIT").query("SELECT lower('A')")),
        ]),
        attack("a cursor that changes it as it is read", [
            (Passes, query("BEGIN")),
            (Approved, query(TURNING_CURSOR)),
            (Passes, query("FETCH c")),
            (Passes, query("SELECT lower('A')")),
            (Passes, query("FETCH c")),
            (Stopped, query("SELECT lower('A')")),
        ]),
        attack("a cursor that changes it, moved over", [
            (Passes, query("BEGIN")),
            (Approved, query(TURNING_CURSOR)),
            (Stopped, query("MOVE ALL c").query("SELECT lower('A')")),
        ]),
        attack("a cursor that changes it, read in the same message", [
            (Passes, query("BEGIN")),
            (Approved, query(TURNING_CURSOR)),
            (Stopped, query("FETCH ALL c; SELECT lower('A')")),
        ]),
        attack("a cursor that changes it, read as a portal", [
            (Passes, query("BEGIN")),
            (Approved, query(TURNING_CURSOR)),
            (Passes, Frames::new().execute("c").sync()),
            (Stopped, query("SELECT lower('A')")),
        ]),
        attack("a cursor that changes it, read in one pipeline", [
            (Passes, query("BEGIN")),
            (Approved, query(TURNING_CURSOR)),
            (Stopped, extended(Frames::new().execute("c"), "SELECT lower('A')").sync()),
        ]),
        attack("a portal that changes it, run row by row", [
            (Passes, query("BEGIN")),
            (
                Approved,
                Frames::new()
                    .parse("", TURNING_PATH)
                    .bind("q", "", &[])
                    .execute_rows("q", 1)
                    .sync(),
            ),
            (Passes, query("SELECT lower('A')")),
            (Stopped, extended(Frames::new().execute_rows("q", 1), "SELECT lower('A')").sync()),
        ]),
        attack("a SET bound in one pipeline, and executed in another", [
            (Passes, query("BEGIN")),
            (
                Approved,
                Frames::new()
                    .parse("", &format!("SET {path}"))
                    .bind("later", "", &[])
                    .sync(),
            ),
            (Passes, query("SELECT lower('A')")),
            (Passes, Frames::new().execute("later").sync()),
            (Stopped, query("SELECT lower('A')")),
        ]),
        attack("a ROLLBACK TO bound in one pipeline, and executed in another", [
            (Passes, query("BEGIN")),
            (Approved, query(&format!("SET LOCAL {path}"))),
            (
                Passes,
                Frames::new()
                    .parse("", "ROLLBACK TO a")
                    .bind("later", "", &[])
                    .sync(),
            ),
            (Passes, query("SAVEPOINT a")),
            (Passes, query("SET LOCAL search_path = public")),
            (Passes, query("SELECT lower('A')")),
            (Passes, Frames::new().execute("later").sync()),
            (Stopped, query("SELECT lower('A')")),
        ]),
        attack("a SELECT behind the COMMIT of a SET LOCAL, in one pipeline", [
            (Approved, query(&format!("SET {path}"))),
            (Passes, query("BEGIN")),
            (Passes, query("SET LOCAL search_path = public")),
            (Passes, query("SELECT lower('A')")),
            (Stopped, extended(extended(Frames::new(), "COMMIT"), "SELECT lower('A')").sync()),
        ]),
        attack("a SELECT behind the COMMIT of a SET LOCAL, sent together", [
            (Approved, query(&format!("SET {path}"))),
            (Passes, query("BEGIN")),
            (Passes, query("SET LOCAL search_path = public")),
            (Stopped, query("COMMIT").query("SELECT lower('A')")),
        ]),
        attack("a SELECT behind the COMMIT of a SET LOCAL, in one message", [
            (Approved, query(&format!("SET {path}"))),
            (Passes, query("BEGIN")),
            (Passes, query("SET LOCAL search_path = public")),
            (Stopped, query("COMMIT; SELECT lower('A')")),
        ]),
        attack("a SELECT behind a ROLLBACK TO, in one message and in one pipeline", [
            (Passes, query("BEGIN")),
            (Approved, query(&format!("SET LOCAL {path}"))),
            (Passes, query("SAVEPOINT a")),
            (Passes, query("SET LOCAL search_path = public")),
            (Stopped, query("ROLLBACK TO a; SELECT lower('A')")),
            (Passes, query("ROLLBACK")),
            (Passes, query("BEGIN")),
            (Approved, query(&format!("SET LOCAL {path}"))),
            (Passes, query("SAVEPOINT a")),
            (Passes, query("SET LOCAL search_path = public")),
            (Stopped, extended(extended(Frames::new(), "ROLLBACK TO a"), "SELECT lower('A')").sync()),
        ]),
        attack("a SELECT behind the ROLLBACK of a failed transaction, in one pipeline", [
            (Approved, query(&format!("SET {path}"))),
            (Passes, query("BEGIN")),
            (Passes, query("SET LOCAL search_path = public")),
            (Passes, query("SELECT lower('A')")),
            (Passes, query("SELECT 1/0")),
            (Stopped, extended(extended(Frames::new(), "ROLLBACK"), "SELECT lower('A')").sync()),
        ]),
        attack("a SELECT behind a ROLLBACK TO in a failed transaction, in one pipeline", [
            (Passes, query("BEGIN")),
            (Approved, query(&format!("SET LOCAL {path}"))),
            (Passes, query("SAVEPOINT a")),
            (Passes, query("SET LOCAL search_path = public")),
            (Passes, query("SELECT lower('A')")),
            (Passes, query("SELECT 1/0")),
            (Stopped, extended(extended(Frames::new(), "ROLLBACK TO a"), "SELECT lower('A')").sync()),
        ]),
        attack("the end of what was set, and a beginning", [
            (Passes, query("BEGIN")),
            (Passes, query("SET LOCAL search_path = public")),
            (Passes, query("COMMIT; BEGIN")),
            (Passes, query("SET LOCAL search_path = public")),
            (Passes, extended(extended(Frames::new(), "ROLLBACK"), "SELECT lower('A')").sync()),
        ]),
        attack("the settings as a table", [
            (Stopped, query("UPDATE pg_settings SET setting = 'evil, pg_catalog' WHERE name = 'search_path'")),
            (Stopped, query("UPDATE pg_catalog.pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'")),
        ]),
        attack("every spelling of another encoding", [
            (Stopped, query("SET NAMES 'SJIS'")),
            (Stopped, query("SET client_encoding TO GBK")),
            (Stopped, query("SET client_encoding = 'LATIN1'")),
            (Stopped, query("SELECT set_config('client_encoding', 'BIG5', false)")),
            (Stopped, query("SET standard_conforming_strings = off")),
            (Stopped, query("SET SCHEMA 'evil'")),
        ]),
        attack("a SET behind an error of its message", [
            (Passes, query("BEGIN")),
            (Approved, query(&format!("SET {path}"))),
            (Passes, query("RELEASE nothing")),
            (Passes, query("ROLLBACK")),
            (Passes, query("SELECT lower('A')")),
        ]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn literals_of_a_foreign_type_do_not_run_its_code_at_parse() {
    let texts = [
        "SELECT evil.checked '5'",
        "SELECT '5'::evil.checked",
        "SELECT CAST('5' AS evil.checked)",
        "SELECT '{5}'::evil.checked[]",
        "SELECT ARRAY['5']::evil.checked[]",
        "SELECT '(5,b)'::evil.pair",
        "SELECT '{\"(5,b)\"}'::evil.pair[]",
        "SELECT $1::evil.checked",
        "SELECT ROW(5, 'b')::evil.pair",
        "SELECT (NULL::evil.pair).a",
        "SELECT * FROM json_to_record('{\"a\":5}') AS t(a evil.checked)",
        "SELECT 1 WHERE '5'::evil.checked = 5",
        "SELECT 1 LIMIT ('5'::evil.checked)",
    ];
    let parse_alone = texts.map(|text| {
        let frames = Frames::new().parse("s", text).describe_statement("s").sync();
        attack("a Parse alone", [(Stopped, frames)])
    });
    let flushed = texts.map(|text| {
        let frames = Frames::new().parse("s", text).flush().sync();
        attack("a Parse before a Flush", [(Stopped, frames)])
    });
    let simple = texts.map(|text| attack("a Query", [(Stopped, query(text))]));
    let bound = attack(
        "a parameter of that type",
        [(
            Stopped,
            Frames::new()
                .parse_of("t", "SELECT $1", &[999_999])
                .bind("", "t", &["5"])
                .sync(),
        )],
    );
    check(
        parse_alone
            .into_iter()
            .chain(flushed)
            .chain(simple)
            .chain([bound])
            .collect(),
    )
    .await;
}

/// The data of a COPY is data: no message among it is carried out, and the session goes on.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_data_passes_inside_a_copy() {
    let postgres = Postgres::start();
    let demo = Demo::in_front_of(&postgres);
    let reviewer = demo.reviewer();
    let inside = [
        (
            "a FunctionCall",
            Frames::new().raw(b'F', &[0, 0, 4, 0, 0, 0, 0, 0, 0, 0]),
        ),
        ("a Query", query(WIPE)),
        ("a pipeline", extended(Frames::new(), WIPE)),
        ("a Bind", Frames::new().bind("", "", &[])),
        ("a Close", Frames::new().close_statement("")),
    ];
    for (what, frames) in inside {
        let mut wire = Wire::connect(&demo.sheet.postgres_url);
        let text = format!("COPY countries FROM STDIN /* {what} */");
        wire.send(query(&text));
        let request = reviewer.held(&text).await;
        reviewer.approve(&request).await;
        wire.until(b'G');
        wire.send(Frames::new().raw(b'd', b"XA\tNowhere\t20\n"));
        wire.send(frames);
        let answer = wire.until_ready();
        assert!(
            answer.iter().any(|message| message.tag == b'E'),
            "{what}: the COPY fails: {answer:?}"
        );
        // Messages behind the first are looked at as if there had been no COPY, and may ask for their Sync.
        wire.ask(Frames::new().sync());
        let rows = wire.query("SELECT 1 FROM countries WHERE code = 'XA'");
        assert!(
            rows.iter().all(|message| message.tag != b'D'),
            "{what}: the COPY was taken back"
        );
    }
    assert!(!postgres.has_seen(WIPE));
}

/// Each of these lies about a size, and has a DELETE where a reader that believes it would look next.
#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_lies_hides_nothing() {
    let postgres = Postgres::start();
    let demo = Demo::in_front_of(&postgres);
    let hidden = query(WIPE).0;
    let with = |head: &[u8]| [head, &hidden].concat();
    let lies: Vec<(&str, Vec<u8>)> = vec![
        ("a Query of length 0", with(&[b'Q', 0, 0, 0, 0])),
        ("a Query of length 3", with(&[b'Q', 0, 0, 0, 3])),
        (
            "a Query of a negative length",
            with(&[b'Q', 0xff, 0xff, 0xff, 0xff]),
        ),
        ("a Query of 2 GiB", with(&[b'Q', 0x7f, 0xff, 0xff, 0xff])),
        ("a Sync with a body", with(&[b'S', 0, 0, 0, 5, 0])),
        ("a Flush with a body", with(&[b'H', 0, 0, 0, 6, 0, 0])),
        ("a Query without an end", Frames::new().raw(b'Q', b"SELECT 1").0),
        (
            "a Query with a second text",
            Frames::new().raw(b'Q', b"SELECT 1\0DELETE FROM reviews\0").0,
        ),
        (
            "a Parse with bytes behind its types",
            Frames::new()
                .raw(b'P', b"\0SELECT 1\0\0\0DELETE FROM reviews\0")
                .0,
        ),
        (
            "a Parse with more types than it has",
            Frames::new().raw(b'P', b"\0SELECT 1\0\xff\xff").0,
        ),
        (
            "a Bind with more values than it has",
            Frames::new().raw(b'B', b"\0\0\0\0\xff\xff\0\0").0,
        ),
        (
            "a Bind with a value that is too long",
            Frames::new().raw(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff\0\0").0,
        ),
        (
            "a Bind with a negative length",
            Frames::new().raw(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0").0,
        ),
        ("an Execute without its rows", Frames::new().raw(b'E', b"\0").0),
        ("a Describe of neither", Frames::new().raw(b'D', b"X\0").0),
        ("a Close without a name", Frames::new().raw(b'C', b"S").0),
    ];
    for (what, bytes) in lies {
        let mut wire = Wire::connect(&demo.sheet.postgres_url);
        wire.send(Frames::new().bytes(&bytes).sync());
        let mut last = None;
        while let Ok(message) = wire.try_read() {
            assert!(
                matches!(message.tag, b'E' | b'1' | b'2' | b'N' | b'S'),
                "{what}: {message:?}"
            );
            last = Some(message);
        }
        let fields = last.map(|message| message.fields());
        let sqlstate = fields.as_ref().map(|fields| fields.sqlstate.as_str());
        assert_eq!(sqlstate, Some("08P01"), "{what}: {fields:?}");
    }
    let mut wire = Wire::connect(&demo.sheet.postgres_url);
    wire.query("SELECT 1");
    assert!(!postgres.has_seen(WIPE));
}
