//! Values of labelled columns: they run, people who decide may see them and that is on record, and nothing on disk ever
//! holds them.
//!
//! Never believes a record alone: every file below the data folder is searched for the value itself.

#[path = "redaction/bound.rs"]
mod bound;
mod support;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::api::{Api, id_of};
use support::child::Process;
use support::house::House;
use support::house_mysql::{MysqlHouse, MysqlSettings};
use support::mariadb::Mariadb;
use support::mysql_answer::{error, value};
use support::server::{PROGRAM, Postgres, connect, eventually};
use support::wire::{Frames, Wire, error as wire_error};
use tokio_postgres::SimpleQueryMessage;

/// Values that must stand nowhere; each has the mark in it.
const MARK: &str = "Q7Zq";
const FIRST: &str = "078-Q7Zq-1120";
const SECOND: &str = "219-Q7Zq-9999";

const PERSONS: &str = "
    CREATE TABLE persons (id int PRIMARY KEY, ssn text UNIQUE, note text);
    CREATE VIEW seen AS SELECT id, ssn AS shown FROM persons;
    CREATE TABLE plain (id int, note text);
    GRANT ALL ON persons, seen, plain TO shop_owner;
    CREATE ROLE catalog_reader LOGIN PASSWORD 'reads';";

const LABELS: &str = "[[column]]\ntable = \"public.persons\"\ncolumns = [\"ssn\"]\nlabels = [\"pii\"]\n";

/// A table that no server has, and one that is there but whose schema no catalog reads.
const NOT_THERE: &str = "[[column]]\ntable = \"app.nobody\"\ncolumns = [\"ssn\"]\nlabels = [\"pii\"]\n\
                         [[column]]\ntable = \"mysql.user\"\ncolumns = [\"password\"]\nlabels = [\"pii\"]\n";

struct Stage {
    postgres: Postgres,
    house: House,
    token: String,
}

impl Stage {
    async fn open() -> Self {
        let postgres = Postgres::start();
        let admin = postgres.connect_as_superuser().await;
        admin.batch_execute(PERSONS).await.expect("the tables");
        let sections = "[catalog]\nuser = \"catalog_reader\"\npassword_file = \"catalog-password\"\n\
                        refresh_seconds = 1\nstale_after_seconds = 60\n[labels]\nfile = \"labels.toml\"\n\
                        [log_sql]\naddress = \"127.0.0.1:0\"\n";
        let house = House::open_with(&postgres, "", sections, |folder| {
            std::fs::write(folder.join("catalog-password"), "reads").expect("written");
            std::fs::write(folder.join("labels.toml"), LABELS).expect("written");
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

    async fn agent(&self) -> tokio_postgres::Client {
        connect(&self.house.url("127.0.0.1")).await
    }

    fn reviewer(&self) -> Api {
        Api::new(&self.house.serve.api_url, &self.token)
    }
}

/// The attempts whose text holds a word, newest first.
async fn attempts(api: &Api, text: &str) -> Vec<Value> {
    let (status, page) = api.get(&format!("/log?kind=attempt&q=text:{text}")).await;
    assert_eq!(status, 200, "{page}");
    page["items"].as_array().expect("items").clone()
}

/// How parameter `number` of the newest such attempt stands in the log.
async fn logged(api: &Api, text: &str, number: usize) -> Value {
    let found = attempts(api, text).await;
    let newest = found
        .first()
        .unwrap_or_else(|| panic!("nothing like `{text}` in the log"));
    newest["parameters"][number - 1].clone()
}

/// Every record as an auditor exports it, and everything that SQL says of the same log.
async fn exported(stage: &Stage) -> Vec<String> {
    let api = stage.reviewer();
    let mut all = Vec::new();
    for format in ["csv", "ndjson", "json", "ocsf"] {
        let (status, file) = api.get(&format!("/log?format={format}")).await;
        assert_eq!(status, 200, "{format}: {file}");
        all.push(file.as_str().map_or_else(|| file.to_string(), str::to_owned));
    }
    let address = stage.house.serve.log_sql.expect("it is served");
    let auditor = connect(&format!("postgres://dba:{}@{address}/log", stage.token)).await;
    for table in ["statements", "records"] {
        let rows = auditor.simple_query(&format!("SELECT * FROM {table}")).await;
        let rows = rows.unwrap_or_else(|error| panic!("{table}: {error}"));
        let values = rows.iter().flat_map(|row| match row {
            SimpleQueryMessage::Row(row) => (0..row.len()).filter_map(|at| row.get(at)).collect(),
            _ => Vec::new(),
        });
        all.push(values.collect::<Vec<_>>().join("\n"));
    }
    all
}

/// Fails if any file below `folder` holds the mark, as text or as hex digits of it.
fn assert_stands_nowhere(folder: &Path) {
    let hex: String = MARK.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut searched = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).expect("a file");
            searched += bytes.len();
            for mark in [MARK, hex.as_str()] {
                let found = bytes.windows(mark.len()).any(|piece| piece == mark.as_bytes());
                assert!(!found, "`{mark}` stands in {}", path.display());
            }
        }
    }
    assert!(searched > 10_000, "hardly anything was searched");
}

fn assert_told_nowhere(answer: &Value) {
    assert!(!answer.to_string().contains(MARK), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_labelled_value_runs_and_is_nowhere_in_the_log() {
    let stage = Stage::open().await;
    let (agent, api) = (stage.agent().await, stage.reviewer());
    let insert = "INSERT INTO persons (id, ssn, note) VALUES ($1, $2, $3)";
    agent
        .execute(insert, &[&1_i32, &FIRST, &"hello"])
        .await
        .expect("it runs");
    let [id, ssn, note] = [1, 2, 3];
    assert_eq!(logged(&api, "INSERT", id).await["value"], "1");
    assert_eq!(logged(&api, "INSERT", note).await["value"], "hello");
    let withheld = logged(&api, "INSERT", ssn).await;
    assert_eq!(withheld["redacted"], json!(["pii"]), "{withheld}");
    for gone in ["value", "hex", "salt", "commitment", "erased"] {
        assert!(withheld.get(gone).is_none(), "{gone}: {withheld}");
    }
    assert_eq!(withheld["bytes"], 16, "not even its length");

    // By alias, in quotes, in capitals, through a view that calls it otherwise, behind a join, and where it cannot be told.
    for (mark, query) in [
        (
            "m1",
            "SELECT id, 'm1' FROM public.\"persons\" AS p WHERE p.\"ssn\" = $1",
        ),
        ("m2", "SELECT id, 'm2' FROM PERSONS WHERE SSN = $1"),
        ("m3", "SELECT id, 'm3' FROM seen WHERE shown = $1"),
        (
            "m4",
            "SELECT a.id, 'm4' FROM plain a RIGHT JOIN persons p ON p.ssn = a.note WHERE p.ssn = $1",
        ),
        ("m5", "SELECT id, 'm5' FROM persons WHERE upper($1) = upper(ssn)"),
        (
            "m6",
            "WITH q AS (SELECT id, ssn AS x FROM persons) SELECT id, 'm6' FROM q WHERE x = $1",
        ),
    ] {
        agent
            .query(query, &[&FIRST])
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        let withheld = logged(&api, mark, 1).await;
        assert_eq!(withheld["redacted"], json!(["pii"]), "{query}: {withheld}");
    }
    // A path on which its schema is found by another name is a path like any other.
    agent
        .batch_execute("SET search_path = pg_catalog, public")
        .await
        .expect("it is set");
    agent
        .query("SELECT id, 'm7' FROM persons WHERE ssn = $1", &[&FIRST])
        .await
        .expect("it runs");
    assert_eq!(logged(&api, "m7", 1).await["redacted"], json!(["pii"]));
    // What touches no labelled column is as it was.
    agent
        .query("SELECT id, 'm8' FROM plain WHERE note = $1", &[&"shown"])
        .await
        .expect("it runs");
    let shown = logged(&api, "m8", 1).await;
    assert_eq!(shown["value"], "shown");
    assert!(shown.get("redacted").is_none(), "{shown}");

    // What the server says of an error may hold the value.
    let twice = agent.execute(insert, &[&2_i32, &FIRST, &"again"]).await;
    assert!(twice.is_err(), "the same value twice");
    let wrong = "SELECT id, 'm9' FROM persons WHERE ssn::int = $1::text::int";
    let wrong = agent.query(wrong, &[&FIRST]).await.expect_err("no number");
    assert!(wrong.to_string().contains("db error"), "{wrong}");
    eventually("the error is in the log", async || {
        let newest = &attempts(&api, "m9").await[0];
        let (_, shown) = api
            .get(&format!("/log/{}", newest["id"].as_str().expect("an id")))
            .await;
        shown["result"]["sqlstate"] == "22P02" && {
            assert_told_nowhere(&shown);
            shown["result"]["message"]
                .as_str()
                .expect("a message")
                .contains("redacted")
        }
    })
    .await;
    // A cursor's rows are made when it is read, by a statement that names no table.
    for text in ["BEGIN", "DECLARE c CURSOR FOR SELECT ssn::int FROM persons"] {
        agent.batch_execute(text).await.expect("it runs");
    }
    let wrong = agent.batch_execute("FETCH c").await.expect_err("no number");
    assert!(wrong.to_string().contains("db error"), "{wrong}");
    agent.batch_execute("ROLLBACK").await.expect("it ends");
    // What stands before an error in its pipeline is undone, and its own record says no more than that.
    let mut wire = Wire::connect(&stage.house.url("127.0.0.1"));
    let frames = Frames::new()
        .parse("", "INSERT INTO plain (id, note) VALUES ($1, $2)")
        .bind("", "", &["9", "m10"])
        .execute("")
        .parse("", insert)
        .bind("", "", &["9", FIRST, "again"])
        .execute("")
        .sync();
    assert_eq!(wire_error(&wire.ask(frames)).sqlstate, "23505");
    for text in ["FETCH", "plain"] {
        eventually("the error is in the log", async || {
            let newest = &attempts(&api, text).await[0];
            let path = format!("/log/{}", newest["id"].as_str().expect("an id"));
            let (_, shown) = api.get(&path).await;
            assert_told_nowhere(&shown);
            ["22P02", "23505"].contains(&shown["result"]["sqlstate"].as_str().unwrap_or_default())
        })
        .await;
    }
    assert_eq!(attempts(&api, "m1").await[0]["column_labels"], json!(["pii"]));
    let (_, labelled) = api.get("/log?q=label:pii+text:m1").await;
    // Prepared, and then run.
    assert_eq!(labelled["items"].as_array().map(Vec::len), Some(2), "{labelled}");
    let (_, labelled) = api.get("/log?q=label:pii+text:m8").await;
    assert_eq!(labelled["items"].as_array().map(Vec::len), Some(0), "{labelled}");

    let (status, all) = api.get("/log?limit=500").await;
    assert_eq!(status, 200);
    assert_told_nowhere(&all);
    let exported = exported(&stage).await;
    for file in &exported {
        assert!(file.contains("INSERT INTO persons"), "not the log: {file}");
        assert!(!file.contains(MARK), "{file}");
    }
    // Not every format has parameters.
    let telling = exported.iter().filter(|file| file.contains("redacted"));
    assert!(telling.count() >= 4, "{exported:?}");
    drop(agent);
    let ssn: String = stage
        .postgres
        .connect_as_superuser()
        .await
        .query_one("SELECT ssn FROM persons WHERE id = 1", &[])
        .await
        .expect("a row")
        .get(0);
    assert_eq!(ssn, FIRST, "the statement ran with it");
    assert_stands_nowhere(&stage.house.folder.path().join("data"));

    let verified = stage.house.try_run(&["log", "verify"]);
    let told: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    assert!(verified.status.success(), "{told}");
    let out = stage.house.folder.path().join("bundle");
    let bundle = [
        "log",
        "export",
        "--evidence",
        "--from",
        "2020-01-01",
        "--to",
        "2100-01-01",
        "--out",
        "bundle",
    ];
    let exported = stage.house.try_run(&bundle);
    assert!(
        exported.status.success(),
        "{}",
        String::from_utf8_lossy(&exported.stderr)
    );
    assert_stands_nowhere(&out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_value_is_shown_to_who_decides_and_that_is_on_record() {
    let stage = Stage::open().await;
    let (agent, api) = (stage.agent().await, stage.reviewer());
    let admin = stage.postgres.connect_as_superuser().await;
    admin
        .batch_execute("INSERT INTO persons VALUES (1, 'old', 'old')")
        .await
        .expect("a row");
    let run = tokio::spawn(async move {
        let update = "UPDATE persons SET ssn = $1, note = $2";
        agent.execute(update, &[&SECOND, &"seen"]).await
    });
    let request = api.held("UPDATE persons").await;
    let id = id_of(&request);
    assert_eq!(request["withheld"], true, "{request}");
    assert_eq!(request["column_labels"], json!(["pii"]));
    assert_eq!(request["parameters"][0]["redacted"], json!(["pii"]));
    assert_eq!(request["parameters"][0]["value"], Value::Null);
    assert_eq!(request["parameters"][1]["value"], "seen");
    assert_told_nowhere(&request);
    assert_stands_nowhere(&stage.house.folder.path().join("data"));

    // Promise 1: nobody approves what they were not shown.
    let approval = json!({ "decision": "approve", "digest": request["digest"] });
    let (status, refused) = api.post(&format!("/requests/{id}/decision"), &approval).await;
    assert_eq!(status, 409, "{refused}");
    assert!(
        refused["next_step"]
            .as_str()
            .expect("a step")
            .contains("--reveal"),
        "{refused}"
    );
    let shown = Command::new(PROGRAM)
        .args(["show", &id])
        .env("COUNTERSIGN_API_URL", &stage.house.serve.api_url)
        .env("COUNTERSIGN_TOKEN", &stage.token)
        .output()
        .expect("the binary runs");
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(
        shown.contains("redacted (pii)") && !shown.contains(MARK),
        "{shown}"
    );

    let (status, revealed) = api.post(&format!("/requests/{id}/reveal"), &json!({})).await;
    assert_eq!(status, 200, "{revealed}");
    assert_eq!(revealed["parameters"][0]["value"], SECOND);
    assert_eq!(revealed["parameters"][0]["redacted"], json!(["pii"]));
    let (_, found) = api.get(&format!("/log?q=event:revealed+request:{id}")).await;
    assert_eq!(found["items"][0]["by"], "dba", "{found}");
    // The next look is without them again.
    assert_told_nowhere(&api.show(&id).await);

    api.approve(&request).await;
    assert_eq!(run.await.expect("no panic").expect("it runs"), 1);
    let ended = api.until_state(&request, &["finished"]).await;
    assert_told_nowhere(&ended);
    let (status, late) = api.post(&format!("/requests/{id}/reveal"), &json!({})).await;
    assert_eq!(status, 409, "what has ended is shown to nobody: {late}");
    assert_told_nowhere(&late);
    let ssn: String = admin
        .query_one("SELECT ssn FROM persons", &[])
        .await
        .expect("a row")
        .get(0);
    assert_eq!(ssn, SECOND);
    assert_stands_nowhere(&stage.house.folder.path().join("data"));
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_read_again_with_the_rules_and_a_mistake_changes_nothing() {
    let mut stage = Stage::open().await;
    let (agent, api) = (stage.agent().await, stage.reviewer());
    let labels = stage.house.folder.path().join("labels.toml");
    std::fs::write(
        &labels,
        "[[column]]\ntable = \"persons\"\ncolumns = [\"ssn\"]\nlabels = [\"pii\"]\n",
    )
    .expect("written");
    stage.house.reload("the old labels stay in force");
    let query = "SELECT id, 'r1' FROM persons WHERE ssn = $1";
    agent.query(query, &[&FIRST]).await.expect("it runs");
    assert_eq!(logged(&api, "r1", 1).await["redacted"], json!(["pii"]));
    let other = LABELS.replace("\"ssn\"", "\"note\"").replace("pii", "internal");
    std::fs::write(&labels, other).expect("written");
    stage.house.reload("entries of labels in");
    let query = "SELECT id, 'r2' FROM persons WHERE ssn = $1 AND note = $2";
    agent.query(query, &[&"open", &"closed"]).await.expect("it runs");
    assert_eq!(logged(&api, "r2", 1).await["value"], "open");
    assert_eq!(logged(&api, "r2", 2).await["redacted"], json!(["internal"]));
    let changes = stage.house.run(&["log", "query", "kind:rules_change"]);
    let told = changes.to_string();
    assert!(
        told.contains("rejected") && told.contains("labels.toml"),
        "{told}"
    );
}

/// Waits for a message of `serve`.
async fn says(process: &Process, words: &str) {
    eventually(words, async || process.messages().contains(words)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_labelled_and_is_not_there_is_told_once_for_each_reading() {
    let mut stage = Stage::open().await;
    let api = stage.reviewer();
    let labels = stage.house.folder.path().join("labels.toml");
    let missing = async |api: &Api| {
        let (status, list) = api.get("/catalogs").await;
        assert_eq!(status, 200, "{list}");
        list["labels_not_found"].clone()
    };
    // Nobody has logged in to any database yet, so nothing can be said.
    assert_eq!(missing(&api).await, json!([]));
    let _agent = stage.agent().await;
    eventually("the catalog is read", async || {
        let (_, list) = api.get("/catalogs").await;
        list["items"][0]["state"] == "read"
    })
    .await;
    assert_eq!(missing(&api).await, json!([]), "everything is there");
    let more = "[[column]]\ntable = \"public.persnos\"\ncolumns = [\"ssn\"]\nlabels = [\"pii\"]\n\
                [[column]]\ntable = \"public.perso_*\"\ncolumns = [\"ssn\"]\nlabels = [\"pii\"]\n\
                [[column]]\ntable = \"Public.Plain\"\ncolumns = [\"NOTE\", \"nota\"]\nlabels = [\"pii\"]\n";
    std::fs::write(&labels, format!("{LABELS}{more}")).expect("written");
    let told = [
        "a table whose name begins with `public.perso_`",
        "the column `nota` of `public.plain`",
        "the table `public.persnos`",
    ];
    for times in [1, 2] {
        stage
            .house
            .reload("labels the table `public.persnos`, which no database");
        let messages = stage.house.serve.process().messages();
        for words in told {
            assert_eq!(messages.matches(words).count(), times, "{words}: {messages}");
        }
        assert!(messages.contains("(shop)"), "{messages}");
    }
    assert_eq!(missing(&api).await, json!(told));
    let status = Command::new(PROGRAM)
        .args(["catalog", "status"])
        .env("COUNTERSIGN_API_URL", &stage.house.serve.api_url)
        .env("COUNTERSIGN_TOKEN", &stage.token)
        .output()
        .expect("the binary runs");
    let status = String::from_utf8(status.stdout).expect("text");
    assert!(told.iter().all(|words| status.contains(words)), "{status}");

    // A table that is made meanwhile is there at the next reading, without a word.
    let admin = stage.postgres.connect_as_superuser().await;
    let made =
        "CREATE TABLE persnos (ssn text); CREATE TABLE perso_1 (ssn text); ALTER TABLE plain ADD nota text";
    admin.batch_execute(made).await.expect("they are made");
    stage.house.reload("entries of labels in");
    eventually("all is found", async || missing(&api).await == json!([])).await;
    let messages = stage.house.serve.process().messages();
    assert_eq!(messages.matches(told[2]).count(), 2, "{messages}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_labelled_value_of_mariadb_is_nowhere_either() {
    let server = Mariadb::with_fixtures();
    server.run(
        "CREATE USER catalog_reader@'%' IDENTIFIED BY 'reads';
         GRANT SELECT, SHOW VIEW, TRIGGER ON *.* TO catalog_reader@'%';
         CREATE TABLE app.persons (id int PRIMARY KEY, ssn varchar(40) UNIQUE, note varchar(40));
         CREATE VIEW app.seen AS SELECT id, ssn AS shown FROM app.persons;",
    );
    let settings = MysqlSettings {
        sections: "[mysql.catalog]\nuser = \"catalog_reader\"\npassword_file = \"catalog-password\"\n\
                   refresh_seconds = 1\nstale_after_seconds = 60\n[labels]\nfile = \"labels.toml\"\n"
            .to_owned(),
        ..MysqlSettings::default()
    };
    let mut house = MysqlHouse::open_with(server, &settings, |folder| {
        std::fs::write(folder.join("catalog-password"), "reads").expect("written");
        std::fs::write(
            folder.join("labels.toml"),
            format!("{}{}", LABELS.replace("public.", "app."), NOT_THERE),
        )
        .expect("written");
    });
    says(
        house.serve.process(),
        "labels the table `app.nobody`, which no database",
    )
    .await;
    let messages = house.serve.process().messages();
    assert!(
        !messages.contains("labels the column") && !messages.contains("mysql.user"),
        "{messages}"
    );
    let api = house.reviewer();
    let mut wire = house.connect();
    let insert = wire
        .prepare("INSERT INTO `persons` (`id`, `SSN`, note) VALUES (?, ?, ?)")
        .statement();
    wire.execute(insert, &["1", FIRST, "hello"]);
    assert_eq!(logged(&api, "INSERT", 3).await["value"], "hello");
    let withheld = logged(&api, "INSERT", 2).await;
    assert_eq!(withheld["redacted"], json!(["pii"]), "{withheld}");
    // This server's error holds the value.
    let twice = error(&wire.execute(insert, &["2", FIRST, "again"]));
    assert!(twice.message.contains(FIRST), "{}", twice.message);
    for (mark, query) in [
        ("m1", "SELECT 'm1' FROM `app`.`persons` AS p WHERE p.`Ssn` = ?"),
        ("m2", "SELECT 'm2' FROM seen WHERE shown = ?"),
        ("m3", "SELECT 'm3' FROM persons WHERE CONCAT(?, '') = ssn"),
        (
            "m4",
            "SELECT 'm4' FROM (SELECT ssn AS x FROM persons) q WHERE x = ?",
        ),
    ] {
        let statement = wire.prepare(query).statement();
        let answers = wire.execute(statement, &[FIRST]);
        assert!(answers.iter().all(|answer| answer.error().is_none()), "{query}");
        let withheld = logged(&api, mark, 1).await;
        assert_eq!(withheld["redacted"], json!(["pii"]), "{query}: {withheld}");
    }
    // What it says is withheld, and not that the update has run.
    let message =
        "UPDATE persons SET note = 'kept' WHERE id = 1; INSERT INTO persons (id, note) VALUES (1, 'm5')";
    let answers = wire.query(message);
    assert_eq!(error(&answers[1..]).number, 1062, "a duplicate");
    // What a variable is set to may be written later.
    let set = wire.prepare("SET @later = ?").statement();
    wire.execute(set, &[FIRST]);
    let withheld = logged(&api, "later", 1).await;
    assert_eq!(withheld["redacted"], json!(["pii"]), "{withheld}");
    let update = wire.prepare("UPDATE persons SET ssn = ?, note = ?").statement();
    wire.send_execute(update, &[Some(SECOND), Some("seen")], 0);
    let request = api.held("UPDATE persons").await;
    assert_eq!(request["withheld"], true, "{request}");
    assert_eq!(request["parameters"][1]["value"], "seen");
    assert_told_nowhere(&request);
    let reveal = format!("/requests/{}/reveal", id_of(&request));
    let (status, revealed) = api.post(&reveal, &json!({})).await;
    assert_eq!(
        (status.as_u16(), &revealed["parameters"][0]["value"]),
        (200, &json!(SECOND))
    );
    api.approve(&request).await;
    api.until_state(&request, &["finished"]).await;
    assert_eq!(value(&house.admin().query("SELECT ssn FROM app.persons")), SECOND);

    // Values that EXECUTE takes from user variables.
    let mut other = house.connect();
    other.send_query(b"PREPARE s FROM 'UPDATE persons SET ssn = ?'");
    let prepare = api.held("PREPARE s").await;
    api.approve(&prepare).await;
    other.answers();
    other.query("SET @v = CONCAT('340-Q7', 'Zq-0001')");
    other.send_query(b"EXECUTE s USING @v");
    let request = api.held("EXECUTE s").await;
    assert_eq!(request["facts"]["@v"], "redacted (pii)", "{request}");
    assert_told_nowhere(&request);
    let reveal = format!("/requests/{}/reveal", id_of(&request));
    let (_, revealed) = api.post(&reveal, &json!({})).await;
    assert_eq!(revealed["facts"]["@v"], "340-Q7Zq-0001", "{revealed}");
    api.deny(&request, "not today").await;
    let (_, all) = api.get("/log?limit=500").await;
    let told = "that is withheld (statement 2 of 2 in its message; those before it have run)";
    assert!(all.to_string().contains(told), "{all}");
    assert_told_nowhere(&all);
    assert_stands_nowhere(&house.folder.path().join("data"));
}
