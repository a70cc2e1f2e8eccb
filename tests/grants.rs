//! Standing grants in front of a real PostgreSQL: what runs by them without a person, and every way to something wider.
//! Never a mock: what is held must not have changed a row. How they are counted and ended is in `desk/standing.rs`.

mod support;

use std::process::Command;

use reqwest::StatusCode;
use serde_json::{Value, json};
use support::api::{Api, id_of};
use support::house::House;
use support::server::{PROGRAM, Postgres, connect};
use support::terminal::Terminal;
use support::wire::{Frames, Message, Wire, error, tags, value};

/// A server, a proxy with strict rules, and two reviewers.
struct Place {
    postgres: Postgres,
    house: House,
    dora: Api,
    token: String,
    _rules: tempfile::TempDir,
    rules: std::path::PathBuf,
}

impl Place {
    fn open() -> Self {
        let postgres = Postgres::start();
        let folder = tempfile::tempdir().expect("a scratch folder");
        let rules = folder.path().join("rules.toml");
        std::fs::copy("rules/strict.toml", &rules).expect("copied");
        let house = House::open(&postgres, "", &format!("[rules]\nfile = {rules:?}"));
        house.run(&["user", "add", "dora", "--role", "approver,auditor"]);
        let token = house.run(&["user", "token", "dora"]);
        let token = token["token"].as_str().expect("shown once").to_owned();
        Self {
            dora: Api::new(&house.serve.api_url, &token),
            token,
            postgres,
            house,
            _rules: folder,
            rules,
        }
    }

    fn client(&self) -> Wire {
        Wire::connect(&self.house.url("127.0.0.1"))
    }

    /// A table of three rows: `a`, `b`, `c`; with a child, a table that its deletes cascade to, and a trigger.
    async fn table(&self, name: &str) {
        let text = format!(
            "CREATE TABLE {name} (id int PRIMARY KEY, status text, note text);
             INSERT INTO {name} VALUES (1, 'a', ''), (2, 'b', ''), (3, 'c', '');
             CREATE TABLE {name}_child () INHERITS ({name});
             CREATE TABLE {name}_item (id int PRIMARY KEY REFERENCES {name} ON DELETE CASCADE);
             CREATE FUNCTION {name}_before() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
             CREATE TRIGGER before BEFORE DELETE ON {name} FOR EACH ROW EXECUTE FUNCTION {name}_before()"
        );
        let owner = self.postgres.connect().await;
        owner.batch_execute(&text).await.expect("made");
    }

    async fn rows(&self, table: &str) -> i64 {
        let text = format!("SELECT count(*) FROM ONLY {table}");
        let owner = self.postgres.connect_as_superuser().await;
        owner.query_one(&text, &[]).await.expect("counted").get(0)
    }

    /// Sends it, has it approved with this scope, and gives the standing grant when it has run.
    async fn granted(&self, client: &mut Wire, frames: Frames, text: &str, scope: &Value) -> String {
        client.send(frames);
        let held = self.dora.held(text).await;
        let (status, decided) = self.decide(&held, scope).await;
        assert_eq!(status, StatusCode::OK, "{decided}");
        let answer = client.until_ready();
        assert!(!tags(&answer).contains('E'), "{answer:?}");
        decided["standing_grant"].as_str().expect("made").to_owned()
    }

    async fn decide(&self, held: &Value, scope: &Value) -> (StatusCode, Value) {
        let body = json!({ "decision": "approve", "digest": held["digest"], "scope": scope });
        self.dora
            .post(&format!("/requests/{}/decision", id_of(held)), &body)
            .await
    }

    /// What it answers if it runs without a person; `None` if it was held, and is denied then.
    async fn runs(&self, client: &mut Wire, frames: Frames) -> Option<Vec<Message>> {
        client.send(frames);
        let mut answer = Vec::new();
        loop {
            let message = client.read();
            if message.tag == b'N' && message.fields().message.contains("HELD") {
                break;
            }
            let is_ready = message.tag == b'Z';
            answer.push(message);
            if is_ready {
                return Some(answer);
            }
        }
        for held in self.dora.pending().await {
            self.dora.deny(&held, "held, as it should be").await;
        }
        assert_eq!(error(&client.until_ready()).sqlstate, "42501");
        None
    }

    /// A countersign command of dora's.
    fn command(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(PROGRAM)
            .args(arguments)
            .env("COUNTERSIGN_API_URL", &self.house.serve.api_url)
            .env("COUNTERSIGN_TOKEN", &self.token)
            .output()
            .expect("the binary runs")
    }
}

fn query(text: &str) -> Frames {
    Frames::new().query(text)
}

fn scope(whose: &str, uses: u32) -> Value {
    json!({ "kind": "fingerprint", "for": whose, "minutes": 30, "uses": uses })
}

#[tokio::test(flavor = "multi_thread")]
async fn three_uses_let_two_more_run_with_other_literals_and_the_next_is_held() {
    let place = Place::open();
    place.table("tickets").await;
    let mut client = place.client();
    let first = "DELETE FROM tickets WHERE status = 'a'";
    client.send(query(first));
    let held = place.dora.held(first).await;
    assert_eq!(held["template"], "DELETE FROM tickets WHERE status = ?");
    let (status, decided) = place.decide(&held, &scope("session", 3)).await;
    assert_eq!(status, StatusCode::OK, "{decided}");
    assert_eq!(decided["decisions"][0]["scope"]["uses"], 3, "{decided}");
    client.until_ready();
    let id = decided["standing_grant"].as_str().expect("made").to_owned();

    for (literal, rows) in [("'b'", 1), ("'nobody''s'", 1)] {
        let text = format!("DELETE FROM tickets WHERE status = {literal}");
        let answer = place.runs(&mut client, query(&text)).await.expect("no person");
        assert_eq!(tags(&answer), "CZ");
        assert_eq!(place.rows("tickets").await, rows);
    }
    let last = "DELETE FROM tickets WHERE status = 'c'";
    assert!(place.runs(&mut client, query(last)).await.is_none());
    assert_eq!(place.rows("tickets").await, 1, "what is held changes nothing");

    let (_, grant) = place.dora.get(&format!("/grants/{id}")).await;
    assert_eq!(
        (&grant["standing"], &grant["uses"], &grant["made_by"][0]),
        (&json!("used_up"), &json!(3), &json!("dora")),
        "{grant}"
    );
    let (_, uses) = place.dora.get(&format!("/requests?grant={id}")).await;
    let uses = uses["items"].as_array().expect("items");
    assert_eq!(uses.len(), 2);
    assert_eq!(uses[0]["covered_by"]["use"], 3, "{}", uses[0]);
    assert_eq!(
        uses[0]["state"], "finished",
        "a use ends as an approval does: {}",
        uses[0]
    );
    assert_eq!(uses[0]["text"], "DELETE FROM tickets WHERE status = 'nobody''s'");
    let log = place.house.run(&["log", "query", "--grant", &id]);
    let attempts: Vec<_> = log["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter(|record| record["kind"] == "attempt")
        .collect();
    assert_eq!(attempts.len(), 2, "{log}");
    assert_eq!(attempts[0]["decided_in"], held["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_of_the_extended_protocol_may_vary() {
    let place = Place::open();
    place.table("tickets").await;
    let agent = connect(&place.house.url("127.0.0.1")).await;
    let statement = agent
        .prepare("DELETE FROM tickets WHERE status = $1 AND id < $2")
        .await
        .expect("prepared");
    let one = {
        let statement = statement.clone();
        async move {
            let ran = agent.execute(&statement, &[&"a", &100]).await;
            (agent, ran)
        }
    };
    let decided = async {
        let held = place.dora.held("DELETE FROM tickets").await;
        assert_eq!(
            held["template"],
            "DELETE FROM tickets WHERE status = $1 AND id < $2"
        );
        place.decide(&held, &scope("session", 3)).await
    };
    let ((agent, ran), (status, decided)) = tokio::join!(one, decided);
    assert_eq!(status, StatusCode::OK, "{decided}");
    assert_eq!(ran.expect("it runs"), 1);
    assert_eq!(
        agent.execute(&statement, &[&"b", &5]).await.expect("no person"),
        1
    );
    // In a transaction, too, by another name of the same text.
    let again = agent
        .prepare("DELETE FROM tickets WHERE status = $1 AND id < $2")
        .await
        .expect("prepared");
    agent.batch_execute("BEGIN").await.expect("begun");
    assert_eq!(agent.execute(&again, &[&"c", &5]).await.expect("no person"), 1);
    agent.batch_execute("ROLLBACK").await.expect("rolled back");
    assert_eq!(place.rows("tickets").await, 1);
    let (_, uses) = place
        .dora
        .get(&format!(
            "/requests?grant={}",
            decided["standing_grant"].as_str().expect("made")
        ))
        .await;
    assert_eq!(uses["items"][1]["parameters"][0]["value"], "b", "{uses}");
}

/// What happens between an approval and the next statement; `{t}` stands for the table.
enum Between {
    /// The owner of the tables, past the proxy.
    Beside(&'static str),
    /// The agent itself, and nothing of it is held.
    Itself(&'static str),
    /// The agent itself, with an approval.
    Approved(&'static str),
    Nothing,
}

/// What was done, and what is sent then. Every one of them must be held.
const WIDER: &[(&str, Between, &str)] = &[
    (
        "another table",
        Between::Beside("CREATE TABLE {t}2 (LIKE {t})"),
        "DELETE FROM {t}2 WHERE status = 'b'",
    ),
    ("another column", Between::Nothing, "DELETE FROM {t} WHERE note = ''"),
    (
        "every row, by a comment",
        Between::Nothing,
        "DELETE FROM {t} -- WHERE status = 'b'",
    ),
    (
        "every row, by a condition that holds",
        Between::Nothing,
        "DELETE FROM {t} WHERE status = 'b' OR 'b' = 'b'",
    ),
    (
        "every row, by a literal compared with a literal",
        Between::Nothing,
        "DELETE FROM {t} WHERE 'b' = 'b'",
    ),
    (
        "every row, by its own column",
        Between::Nothing,
        "DELETE FROM {t} WHERE status = status",
    ),
    (
        "a DROP in the same message",
        Between::Nothing,
        "DELETE FROM {t} WHERE status = 'b'; DROP TABLE {t}",
    ),
    (
        "a DROP behind a string that ends early",
        Between::Nothing,
        "DELETE FROM {t} WHERE status = ''; DROP TABLE {t}; --'",
    ),
    (
        "a DROP behind a backslash",
        Between::Nothing,
        "DELETE FROM {t} WHERE status = '\\'; DROP TABLE {t}; --'",
    ),
    ("a DROP", Between::Nothing, "DROP TABLE {t}"),
    (
        "a function that was not there",
        Between::Nothing,
        "DELETE FROM {t} WHERE status = cancel_order('1')::text",
    ),
    (
        "a cast to a domain",
        Between::Beside(
            "CREATE FUNCTION {t}_f(text) RETURNS bool LANGUAGE sql AS 'SELECT true';
             CREATE DOMAIN {t}_d AS text CHECK ({t}_f(VALUE))",
        ),
        "DELETE FROM {t} WHERE status = 'b'::{t}_d",
    ),
    (
        "another search_path",
        Between::Itself("SET search_path = public, pg_temp"),
        "DELETE FROM {t} WHERE status = 'b'",
    ),
    (
        "another role",
        Between::Approved("SET ROLE shop_owner"),
        "DELETE FROM {t} WHERE status = 'b'",
    ),
    (
        "a temporary table of the same name",
        Between::Approved("CREATE TEMP TABLE {t} AS SELECT * FROM public.{t}"),
        "DELETE FROM {t} WHERE status = 'b'",
    ),
    (
        "a column was added",
        Between::Beside("ALTER TABLE {t} ADD COLUMN more text"),
        "DELETE FROM {t} WHERE status = 'b'",
    ),
    (
        "the columns have changed places",
        Between::Beside(
            "ALTER TABLE {t} RENAME status TO old; ALTER TABLE {t} RENAME note TO status",
        ),
        "DELETE FROM {t} WHERE status = ''",
    ),
    (
        "another table has its name",
        Between::Beside("ALTER TABLE {t} RENAME TO {t}_old; CREATE TABLE {t} (LIKE {t}_old INCLUDING ALL)"),
        "DELETE FROM {t} WHERE status = 'b'",
    ),
    (
        "a trigger was added",
        Between::Beside(
            "CREATE FUNCTION {t}_g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM reviews; RETURN OLD; END';
             CREATE TRIGGER g BEFORE DELETE ON {t} FOR EACH ROW EXECUTE FUNCTION {t}_g()",
        ),
        "DELETE FROM {t} WHERE status = 'b'",
    ),
    (
        "the function of its trigger was replaced",
        Between::Beside(
            "CREATE OR REPLACE FUNCTION {t}_before() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN DELETE FROM reviews; RETURN OLD; END'",
        ),
        "DELETE FROM {t} WHERE status = 'b'",
    ),
    (
        "another child was made",
        Between::Beside("CREATE TABLE {t}_second () INHERITS ({t})"),
        "DELETE FROM {t} WHERE status = 'b'",
    ),
    (
        "its child has a trigger",
        Between::Beside(
            "CREATE TRIGGER before BEFORE DELETE ON {t}_child FOR EACH ROW EXECUTE FUNCTION {t}_before()",
        ),
        "DELETE FROM {t} WHERE status = 'b'",
    ),
    (
        "deletes cascade to a table more",
        Between::Beside("CREATE TABLE {t}_far (id int REFERENCES {t}_item ON DELETE CASCADE)"),
        "DELETE FROM {t} WHERE status = 'b'",
    ),
    (
        "a policy was added",
        Between::Beside("CREATE POLICY p ON {t} USING (true)"),
        "DELETE FROM {t} WHERE status = 'b'",
    ),
    (
        "a rule was added",
        Between::Beside("CREATE RULE r AS ON DELETE TO {t} DO ALSO DELETE FROM reviews"),
        "DELETE FROM {t} WHERE status = 'b'",
    ),
    (
        "a view has its name",
        Between::Beside("ALTER TABLE {t} RENAME TO {t}_old; CREATE VIEW {t} AS SELECT * FROM {t}_old"),
        "DELETE FROM {t} WHERE status = 'b'",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn promise_1_what_a_standing_grant_does_not_cover_is_held_by_a_real_server() {
    let place = Place::open();
    let owner = place.postgres.connect().await;
    for (number, (what, between, text)) in WIDER.iter().enumerate() {
        let table = format!("t{number}");
        let named = |text: &str| text.replace("{t}", &table);
        place.table(&table).await;
        let mut client = place.client();
        let first = named("DELETE FROM {t} WHERE status = 'a'");
        place
            .granted(&mut client, query(&first), &first, &scope("session", 5))
            .await;
        let second = named("DELETE FROM {t} WHERE status = 'a' ");
        let covered = place.runs(&mut client, query(&second)).await;
        assert!(covered.is_some(), "{what}: the grant does not work");
        match between {
            Between::Nothing => {}
            Between::Beside(text) => owner.batch_execute(&named(text)).await.expect(what),
            Between::Itself(text) => assert_eq!(tags(&client.query(&named(text))), "CZ", "{what}"),
            Between::Approved(text) => {
                client.send(query(&named(text)));
                let held = place.dora.held(&named(text)).await;
                place.dora.approve(&held).await;
                assert_eq!(tags(&client.until_ready()), "CZ", "{what}");
            }
        }
        let sent = named(text);
        assert!(
            place.runs(&mut client, query(&sent)).await.is_none(),
            "{what}: `{sent}` ran without a person"
        );
        let left = value(&client.query(&named("SELECT count(*) FROM {t}")));
        let expected = if what.starts_with("another table has") {
            "0"
        } else {
            "2"
        };
        assert_eq!(left, expected, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_session_protocol_or_rule_file_is_held_and_a_revoked_grant_lets_nothing_through() {
    let mut place = Place::open();
    place.table("tickets").await;
    let text = |literal: &str| format!("DELETE FROM tickets WHERE status = '{literal}'");
    let mut client = place.client();
    let first = text("x");
    place
        .granted(&mut client, query(&first), &first, &scope("session", 50))
        .await;
    let mut other = place.client();
    assert!(
        place.runs(&mut other, query(&text("y"))).await.is_none(),
        "another session"
    );
    assert!(place.runs(&mut client, query(&text("y"))).await.is_some());
    let extended = Frames::new()
        .parse("", &text("y"))
        .bind("", "", &[])
        .execute("")
        .sync();
    assert!(
        place.runs(&mut client, extended).await.is_none(),
        "another protocol"
    );

    // Of the principal: every session, until it is revoked.
    let second = text("of all");
    let id = place
        .granted(&mut other, query(&second), &second, &scope("principal", 50))
        .await;
    let mut third = place.client();
    assert!(place.runs(&mut third, query(&text("z"))).await.is_some());
    let listed = place.command(&["grant", "list"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        listed.contains(&id) && listed.contains("DELETE FROM tickets WHERE status = ?"),
        "{listed}"
    );
    let revoked = place.command(&["grant", "revoke", &id, "--reason", "enough", "--json"]);
    assert!(revoked.status.success(), "{revoked:?}");
    let revoked: Value = serde_json::from_slice(&revoked.stdout).expect("JSON");
    assert_eq!(
        (&revoked["standing"], &revoked["ended_why"]),
        (&json!("revoked"), &json!("enough"))
    );
    let again = place.command(&["grant", "revoke", &id]);
    assert_eq!(again.status.code(), Some(6), "{again:?}");
    assert!(
        place.runs(&mut third, query(&text("z"))).await.is_none(),
        "revoked"
    );

    // The same rules in other words are other rules.
    assert!(place.runs(&mut client, query(&text("y"))).await.is_some());
    let words = std::fs::read_to_string(&place.rules).expect("read");
    std::fs::write(&place.rules, format!("{words}\n# another comment\n")).expect("written");
    place.house.reload("are in force");
    assert!(
        place.runs(&mut client, query(&text("y"))).await.is_none(),
        "rules reload"
    );
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drop_never_gets_one_by_api_or_command() {
    let place = Place::open();
    let mut client = place.client();
    client.send(query("DROP TABLE reviews"));
    let held = place.dora.held("DROP TABLE reviews").await;
    assert_eq!(held["template"], Value::Null);
    assert!(
        held["decided_each_time"]
            .as_str()
            .is_some_and(|why| why.contains("ddl"))
    );
    let (status, problem) = place.decide(&held, &scope("session", 3)).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("unacceptable")),
        "{problem}"
    );
    let (id, digest) = (id_of(&held), held["digest"].as_str().expect("a digest"));
    let approve = ["approve", &id, "--digest", digest, "--for", "30m", "--uses", "3"];
    let refused = place.command(&approve);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    for scope in [
        json!({ "kind": "fingerprint", "for": "session", "minutes": 30 }),
        json!({ "kind": "run", "for": "session", "minutes": 30, "uses": 3 }),
        json!({ "kind": "fingerprint", "for": "everybody", "minutes": 30, "uses": 3 }),
        json!("ever"),
    ] {
        let (status, problem) = place.decide(&held, &scope).await;
        assert!(status.is_client_error(), "{scope}: {problem}");
    }
    assert_eq!(place.dora.show(&id).await["state"], "pending");
    let (status, _) = place.decide(&held, &json!("once")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(tags(&client.until_ready()), "CZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_the_reviewer_is_shown_what_may_vary_before_the_yes() {
    let place = Place::open();
    place.table("tickets").await;
    let text = "UPDATE tickets SET note = 'seen' WHERE id > 1 AND status = 'b'";
    let mut client = place.client();
    client.send(query(text));
    let held = place.dora.held(text).await;
    let id = id_of(&held);
    let environment = [
        ("COUNTERSIGN_API_URL", place.house.serve.api_url.as_str()),
        ("COUNTERSIGN_TOKEN", place.token.as_str()),
    ];
    let folder = std::path::Path::new(".");
    let approve = format!("{PROGRAM} approve {id} --for 1h --uses 2 --principal");
    let mut terminal = Terminal::open(&approve, folder, &environment);
    terminal.shows("may vary     UPDATE tickets SET note = ? WHERE id > ? AND status = ?");
    terminal.shows("every session of bot may run");
    terminal.shows("2 times in all, this one included, within 60 min");
    terminal.shows("How many rows one run reaches depends on these values.");
    terminal.type_in("no\n");
    assert!(terminal.ends().contains("not approved"));
    assert_eq!(place.dora.show(&id).await["state"], "pending");

    let mut terminal = Terminal::open(&approve, folder, &environment);
    terminal.shows("How many rows");
    terminal.type_in("yes\n");
    let shown = terminal.ends();
    let grant = shown
        .split_whitespace()
        .find(|word| word.starts_with("G-"))
        .unwrap_or_else(|| panic!("no grant in {shown}"));
    client.until_ready();
    let other = "UPDATE tickets SET note = 'seen twice' WHERE id > 0 AND status = 'c'";
    assert!(place.runs(&mut client, query(other)).await.is_some());
    let used = place.dora.get(&format!("/requests?grant={grant}")).await.1;
    let used = id_of(&used["items"][0]);
    let card = place.command(&["show", &used]);
    let card = String::from_utf8_lossy(&card.stdout).into_owned();
    assert!(
        card.contains(&format!(
            "covered by   standing grant {grant}, use 2 of 2, made by dora in {id}"
        )),
        "{card}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_race_for_the_last_uses_get_each_once() {
    const USES: u32 = 6;
    let place = Place::open();
    place.table("tickets").await;
    let mut client = place.client();
    let first = "UPDATE tickets SET note = note || 'x' WHERE id = 1";
    let id = place
        .granted(&mut client, query(first), first, &scope("principal", USES))
        .await;
    let mut clients: Vec<Wire> = (0..10).map(|_| place.client()).collect();
    // All are sent before any is looked at.
    for client in &mut clients {
        client.send(query("UPDATE tickets SET note = note || 'y' WHERE id = 1"));
    }
    let mut ran = 0;
    for client in &mut clients {
        let mut message = client.read();
        while message.tag == b'S' {
            message = client.read();
        }
        ran += u32::from(message.tag == b'C');
    }
    assert_eq!(ran, USES - 1, "the decided run was the first");
    let owner = place.postgres.connect().await;
    let note: String = owner
        .query_one("SELECT note FROM tickets WHERE id = 1", &[])
        .await
        .expect("read")
        .get(0);
    assert_eq!(note, "xyyyyy");
    assert_eq!(place.dora.pending().await.len(), 10 - 5);
    let (_, grant) = place.dora.get(&format!("/grants/{id}")).await;
    assert_eq!(
        (&grant["uses"], &grant["standing"]),
        (&json!(USES), &json!("used_up"))
    );
}

/// What is sent next, and whether it differs from `IN ('a') AND id < 9` in its literals alone.
const LITERALS: &[(&str, bool)] = &[
    ("status IN ('b') AND id < 8", true),
    ("status /* , 'b' */ IN ('') AND id < -0", false),
    ("status IN ( E'b' ) AND id < 1.5", true),
    ("status IN ('b', 'c') AND id < 9", false),
    ("status IN (\"status\") AND id < 9", false),
    ("status IN (\"b\") AND id < 9", false),
    ("status IN (note) AND id < 9", false),
    ("status IN (NULL) AND id < 9", false),
    ("status IN ('b'::text) AND id < 9", false),
    ("status IN (text 'b') AND id < 9", false),
    ("status IN (SELECT 'b') AND id < 9", false),
    ("status IN ('b') AND id < -9", false),
    ("status IN ('b') AND NOT id < 9", false),
    ("status IN ('b') AND id <= 9", false),
    ("status IN ('b') AND \"id\" < 9", false),
    ("status IN ('b') AND id < all ('{9}')", false),
    ("status IN (U&'b') AND id < 9", true),
    ("status IN ('b') AND id < id", false),
    ("status IN ('b') OR id < 9", false),
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_another_value_of_the_same_literal_is_covered() {
    let place = Place::open();
    place.table("tickets").await;
    let mut client = place.client();
    let text = |condition: &str| format!("DELETE FROM tickets WHERE {condition}");
    let first = text("status IN ('x') AND id < 9");
    place
        .granted(&mut client, query(&first), &first, &scope("session", 50))
        .await;
    for (condition, is_covered) in LITERALS {
        client.query("BEGIN");
        let ran = place.runs(&mut client, query(&text(condition))).await;
        assert_eq!(ran.is_some(), *is_covered, "{condition}");
        client.query("ROLLBACK");
    }
    assert_eq!(place.rows("tickets").await, 3);
}
