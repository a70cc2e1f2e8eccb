//! What the catalog room says of the names in a real database, and what it refuses to say.
//!
//! Attacks are tried in a database of their own, so that the fixtures stay what they are.

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use countersign::catalog::keeper::{Snapshot as _, Source as _};
use countersign::catalog::postgres::{
    ListedFunction, ListedFunctions, Reader, SessionState, Settings, Snapshot, View,
};
use countersign::sql::action::{Class, TableName};
use countersign::sql::names::{Catalog, Concern, Relation};
use serde_json::{Value, json};
use support::server::{PROGRAM, Postgres, connect};

const DATABASE: &str = "corpus";

/// A server with the fixtures, and a user for the catalog that has been granted nothing.
struct Stage {
    postgres: Postgres,
}

impl Stage {
    async fn start() -> Self {
        let postgres = Postgres::start();
        postgres.load_corpus(DATABASE).await;
        let stage = Self { postgres };
        stage
            .run("CREATE ROLE countersign_catalog LOGIN PASSWORD 'reads names'")
            .await;
        stage
    }

    /// As superuser.
    async fn run(&self, sql: &str) {
        let client = connect(&self.postgres.server().superuser_url(DATABASE)).await;
        let sql = sql.replace("{PGPORT}", &self.postgres.server().port().to_string());
        client
            .batch_execute(&sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    fn settings(&self) -> Settings {
        Settings {
            host: "127.0.0.1".to_owned(),
            port: self.postgres.server().port(),
            user: "countersign_catalog".to_owned(),
            password: "reads names".to_owned().into(),
            tls: None,
            timeout: Duration::from_secs(20),
        }
    }

    fn reader(&self) -> Reader {
        Reader::open(Arc::new(self.settings()), DATABASE)
    }

    async fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot_with(&ListedFunctions::default()).await
    }

    async fn snapshot_with(&self, listed: &ListedFunctions) -> Arc<Snapshot> {
        self.reader().read(listed).await.expect("the catalog is read")
    }

    /// As a session sees it that has set nothing.
    async fn view(&self) -> View {
        view(&self.snapshot().await, "\"$user\", public")
    }
}

fn view(snapshot: &Arc<Snapshot>, search_path: &str) -> View {
    let session = SessionState {
        search_path,
        role: "app_rw",
        has_temporary_objects: false,
        has_uncommitted_ddl: false,
    };
    View::new(Arc::clone(snapshot), session)
}

fn table(name: &str) -> TableName {
    match name.split_once('.') {
        Some((schema, name)) => TableName {
            schema: Some(schema.to_owned()),
            name: name.to_owned(),
        },
        None => TableName {
            schema: None,
            name: name.to_owned(),
        },
    }
}

fn relation(view: &View, name: &str) -> Arc<Relation> {
    view.relation(&table(name)).expect("known")
}

fn strictest(concerns: &[Concern]) -> Option<Class> {
    concerns.iter().map(|concern| concern.class).max()
}

/// One case of `tests/cases/catalog`.
#[derive(Default)]
struct Case {
    name: String,
    setup: String,
    session: Vec<String>,
    trusted: Vec<String>,
    sql: String,
    class: Option<String>,
}

/// Format: a name, then indented lines of `setup`, `session` (statements apart by `; `), `trusted`, `sql` and `class`.
fn cases(file: &str) -> Vec<Case> {
    let path = format!("tests/cases/catalog/{file}");
    let text = std::fs::read_to_string(&path).expect("the cases");
    let mut cases: Vec<Case> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let Some(field) = line.strip_prefix("  ") else {
            cases.push(Case {
                name: line.to_owned(),
                ..Case::default()
            });
            continue;
        };
        let case = cases.last_mut().expect("a name first");
        let (key, value) = field.split_once(' ').expect("a key and a value");
        match key {
            "setup" => case.setup = value.to_owned(),
            "session" => case.session = value.split("; ").map(str::to_owned).collect(),
            "trusted" => case.trusted.push(value.to_owned()),
            "sql" => case.sql = value.to_owned(),
            "class" => case.class = Some(value.to_owned()),
            other => panic!("{path}: {}: no such key `{other}`", case.name),
        }
    }
    assert!(
        cases.iter().all(|case| !case.sql.is_empty()),
        "{path}: a case without `sql`"
    );
    cases
}

impl Stage {
    /// Makes what the cases need, in their order.
    async fn set_up(&self, cases: &[Case]) {
        self.run("CREATE SCHEMA t; CREATE ROLE countersign_writer LOGIN PASSWORD 'writes' IN ROLE app_rw")
            .await;
        for case in cases.iter().filter(|case| !case.setup.is_empty()) {
            self.run(&case.setup).await;
        }
        self.run(
            "GRANT USAGE, CREATE ON SCHEMA t TO app_rw; GRANT ALL ON ALL TABLES IN SCHEMA t TO app_rw; \
             GRANT ALL ON ALL SEQUENCES IN SCHEMA t TO app_rw",
        )
        .await;
    }

    /// What `countersign judge --upstream` says of them, as the catalog's own user.
    async fn judge(&self, cases: &[Case]) -> Vec<Value> {
        let mut answers = Vec::new();
        let hashes = self.snapshot().await.user_functions();
        for together in cases.chunk_by(|one, other| one.trusted == other.trusted) {
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            for signature in &together[0].trusted {
                let listed = hashes.iter().find(|function| function.function == *signature);
                let hash = &listed.unwrap_or_else(|| panic!("no function {signature}")).hash;
                writeln!(file, "[[trusted]]\nfunction = \"{signature}\"\nhash = \"{hash}\"")
                    .expect("written");
            }
            answers.extend(self.judge_with(together, file.path()));
        }
        answers
    }

    fn judge_with(&self, cases: &[Case], trusted: &Path) -> Vec<Value> {
        let url = format!(
            "postgresql://countersign_catalog@127.0.0.1:{}/{DATABASE}",
            self.postgres.server().port()
        );
        let mut child = Command::new(PROGRAM)
            .args(["judge", "--jsonl", "--upstream", &url, "--trusted"])
            .arg(trusted)
            .env("COUNTERSIGN_CATALOG_PASSWORD", "reads names")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let lines = cases
            .iter()
            .map(|case| json!({ "sql": case.sql, "session": case.session }));
        let lines: String = lines.map(|line| format!("{line}\n")).collect();
        child
            .stdin
            .take()
            .expect("its input")
            .write_all(lines.as_bytes())
            .expect("written");
        let output = child.wait_with_output().expect("its output");
        assert!(output.status.success(), "judge failed");
        let answers = String::from_utf8(output.stdout).expect("text");
        let answers: Vec<Value> = answers
            .lines()
            .map(|line| serde_json::from_str(line).expect("an answer"))
            .collect();
        assert_eq!(answers.len(), cases.len());
        answers
    }

    /// How often app.audit_log was written to, whatever was rolled back.
    async fn written(&self) -> i64 {
        let client = connect(&self.postgres.server().superuser_url(DATABASE)).await;
        let row = client
            .query_one("SELECT last_value FROM app.audit_log_id_seq", &[])
            .await;
        row.expect("a sequence").get(0)
    }

    /// Runs a case as its agent would.
    async fn run_as_agent(&self, case: &Case) -> Result<(), tokio_postgres::Error> {
        let client = connect(&self.postgres.server().superuser_url(DATABASE)).await;
        client.batch_execute("SET ROLE app_rw").await?;
        for statement in &case.session {
            client.batch_execute(statement).await?;
        }
        client.batch_execute(&case.sql).await
    }
}

fn told(case: &Case, answer: &Value) -> String {
    format!(
        "{}: {}: {} {}",
        case.name, case.sql, answer["class"], answer["reasons"]
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_somebodys_objects_make_of_a_statement_passes() {
    let stage = Stage::start().await;
    let cases = cases("effect.case");
    stage.set_up(&cases).await;
    let answers = stage.judge(&cases).await;
    let passed: Vec<String> = cases
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer["verdict"] == "allow")
        .map(|(case, answer)| told(case, answer))
        .collect();
    // The server shows that each case is what it claims to be.
    let mut idle = Vec::new();
    for case in &cases {
        let before = stage.written().await;
        let ran = stage.run_as_agent(case).await;
        if stage.written().await == before {
            idle.push(format!("{}: {ran:?}", case.name));
        }
    }
    assert!(
        passed.is_empty() && idle.is_empty(),
        "passed: {passed:#?}\nwithout an effect: {idle:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reaches_files_credentials_and_settings_is_held() {
    let stage = Stage::start().await;
    let cases = cases("held.case");
    stage.set_up(&cases).await;
    let answers = stage.judge(&cases).await;
    let wrong: Vec<String> = cases
        .iter()
        .zip(&answers)
        .filter(|(case, answer)| {
            answer["verdict"] == "allow" || case.class.as_deref() != answer["class"].as_str()
        })
        .map(|(case, answer)| told(case, answer))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_have_in_their_databases_passes() {
    let stage = Stage::start().await;
    let cases = cases("pass.case");
    stage.set_up(&cases).await;
    let answers = stage.judge(&cases).await;
    let mut wrong: Vec<String> = cases
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer["verdict"] != "allow")
        .map(|(case, answer)| told(case, answer))
        .collect();
    for case in cases
        .iter()
        .filter(|case| case.name != "table that does not exist")
    {
        if let Err(error) = stage.run_as_agent(case).await {
            wrong.push(format!("{}: does not run: {error:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_harmless_views_have_no_concern() {
    let stage = Stage::start().await;
    let view = stage.view().await;
    for name in [
        "app.customers",
        "app.orders",
        "app.v_active_customers",
        "app.mv_sales",
        "app.events",
    ] {
        let found = relation(&view, name);
        assert_eq!(found.reading, [], "{name}");
        assert_eq!(found.inserting, [], "{name}");
    }
    let found = relation(&view, "app.v_active_customers");
    assert_eq!(found.columns, ["id", "name", "country"]);
    assert_eq!(
        found.behind.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["app.customers"]
    );
    assert_eq!(relation(&view, "app.events").rows, Some(50_000));
    for name in ["app.v_touch", "app.v_nested"] {
        let found = relation(&view, name);
        assert_eq!(strictest(&found.reading), Some(Class::Procedural), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_of_the_corpus_that_needs_a_catalog_is_judged_as_it_should() {
    let stage = Stage::start().await;
    let corpus = std::fs::read_to_string("tests/corpus/statements.jsonl").expect("the corpus");
    let mut lines: Vec<Value> = corpus
        .lines()
        .map(|line| serde_json::from_str(line).expect("a case"))
        .collect();
    let needs = |case: &Value| {
        case["needs"]
            .as_array()
            .is_some_and(|needs| needs.contains(&json!("catalog")))
    };
    lines.retain(|case| case["dialect"] == "postgres" && case.get("steps").is_none() && needs(case));
    // What is set up for one case stays for those behind it.
    lines.sort_by_key(|case| case.get("setup").is_some());
    assert!(lines.len() > 10, "the corpus has lost its cases");
    let texts = |value: &Value| -> Vec<String> {
        let texts = value.as_array().into_iter().flatten();
        texts
            .map(|text| text.as_str().expect("text").to_owned())
            .collect()
    };
    let mut wrong = Vec::new();
    for line in &lines {
        let mut case = Case {
            name: line["id"].to_string(),
            session: texts(&line["session"]),
            sql: line["sql"].as_str().expect("text").to_owned(),
            ..Case::default()
        };
        // A function passes only once an operator has listed it.
        if case.sql.contains("app.net") {
            let held = stage.judge(std::slice::from_ref(&case)).await;
            assert_eq!(held[0]["verdict"], "hold", "{held:?}");
            case.trusted.push("app.net(numeric,numeric)".to_owned());
        }
        for statement in texts(&line["setup"]) {
            stage.run(&statement).await;
        }
        let answer = stage.judge(std::slice::from_ref(&case)).await.remove(0);
        let expected = if line["expect"] == "pass" { "allow" } else { "hold" };
        if answer["verdict"] != expected {
            wrong.push(told(&case, &answer));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_changes_an_answer_is_noticed_and_nothing_else() {
    let stage = Stage::start().await;
    stage
        .run(
            "CREATE TABLE app.probe(a varchar(10), b int); CREATE VIEW app.probed AS SELECT a FROM app.probe; \
             CREATE FUNCTION app.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
             CREATE TRIGGER t BEFORE INSERT ON app.probe FOR EACH ROW EXECUTE FUNCTION app.fire()",
        )
        .await;
    let listed = ListedFunctions::default();
    let mut reader = stage.reader();
    let mut known = reader.read(&listed).await.expect("read");
    for harmless in [
        "SELECT 1",
        "INSERT INTO app.probe VALUES ('a', 1)",
        "ANALYZE app.probe",
        "VACUUM app.probe",
        "CREATE TEMP TABLE x(a int DEFAULT 1); CREATE TEMP VIEW y AS SELECT * FROM x",
        "BEGIN; DROP TABLE app.probe CASCADE; ROLLBACK",
    ] {
        stage.run(harmless).await;
        assert!(!reader.has_changed(&known).await.expect("looked"), "{harmless}");
        assert_eq!(
            reader.read(&listed).await.expect("read").generation(),
            known.generation(),
            "{harmless}"
        );
    }
    for change in [
        "CREATE OR REPLACE VIEW app.probed AS SELECT app.touch(a)::varchar(10) AS a FROM app.probe",
        "DROP VIEW app.probed",
        "ALTER TABLE app.probe ALTER a TYPE text",
        "ALTER TABLE app.probe ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON app.probe USING (true)",
        "ALTER POLICY p ON app.probe USING (app.touch() = 1)",
        "ALTER TABLE app.probe DISABLE TRIGGER t",
        "ALTER TABLE app.probe ALTER b SET DEFAULT 1",
        "CREATE OR REPLACE FUNCTION app.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
        "ALTER FUNCTION app.net(numeric, numeric) SECURITY DEFINER",
        "CREATE INDEX probe_index ON app.probe (lower(a))",
        "ALTER TABLE app.probe ADD CHECK (b > 0)",
        "CREATE CAST (app.probe AS text) WITH INOUT",
        "CREATE OPERATOR app.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
        "ALTER DOMAIN app.checked_int ADD CHECK (VALUE > 0)",
        "CREATE TABLE app.probe_child() INHERITS (app.probe)",
        "CREATE RULE r AS ON INSERT TO app.probe_child DO ALSO NOTHING",
        "ALTER SCHEMA evil RENAME TO good",
        "ALTER TYPE app.probe SET SCHEMA ext; SELECT 1",
    ] {
        let client = connect(&stage.postgres.server().superuser_url(DATABASE)).await;
        if client.batch_execute(change).await.is_err() {
            // A row type moves with its table only.
            stage.run("ALTER TABLE app.probe SET SCHEMA ext").await;
        }
        assert!(reader.has_changed(&known).await.expect("looked"), "{change}");
        let now = reader.read(&listed).await.expect("read");
        assert_ne!(now.generation(), known.generation(), "{change}");
        assert!(!reader.has_changed(&now).await.expect("looked"), "{change}");
        known = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_commits_after_a_later_one_is_noticed() {
    let stage = Stage::start().await;
    let slow = connect(&stage.postgres.server().superuser_url(DATABASE)).await;
    let replace = "BEGIN; CREATE OR REPLACE FUNCTION app.net(gross numeric, rate numeric) RETURNS numeric \
                   LANGUAGE sql IMMUTABLE AS 'SELECT 1.0'";
    slow.batch_execute(replace).await.expect("begun");
    stage.run("CREATE TABLE app.later(a int)").await;
    let mut reader = stage.reader();
    let known = reader.read(&ListedFunctions::default()).await.expect("read");
    assert!(!reader.has_changed(&known).await.expect("looked"));
    slow.batch_execute("COMMIT").await.expect("committed");
    assert!(reader.has_changed(&known).await.expect("looked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_whose_definition_has_changed_is_no_longer_trusted() {
    let stage = Stage::start().await;
    let net = |snapshot: &Snapshot| {
        let all = snapshot.user_functions();
        let net = all
            .into_iter()
            .find(|function| function.function == "app.net(numeric,numeric)");
        net.expect("it is listed")
    };
    let before = net(&*stage.snapshot().await);
    assert!(!before.harmless);
    let listed = ListedFunctions::new([ListedFunction {
        function: before.function.clone(),
        hash: before.hash.clone(),
    }]);
    assert!(net(&*stage.snapshot_with(&listed).await).harmless);
    for change in [
        "ALTER FUNCTION app.net(numeric, numeric) OWNER TO app_rw",
        "ALTER FUNCTION app.net(numeric, numeric) SET search_path = evil",
        "ALTER FUNCTION app.net(numeric, numeric) SECURITY DEFINER",
        "CREATE OR REPLACE FUNCTION app.net(gross numeric, rate numeric DEFAULT app.touch()) RETURNS numeric \
         LANGUAGE sql IMMUTABLE AS 'SELECT round(gross/(1+rate),2)'",
        "CREATE OR REPLACE FUNCTION app.net(gross numeric, rate numeric) RETURNS numeric LANGUAGE sql IMMUTABLE \
         BEGIN ATOMIC SELECT round(gross/(1+rate),2); END",
        "DROP FUNCTION app.net; CREATE PROCEDURE app.net(gross numeric, rate numeric) LANGUAGE sql AS 'SELECT 1'",
    ] {
        // Each on its own: what was changed before is changed back by making the function anew.
        let again = "DROP FUNCTION app.net(numeric, numeric); CREATE FUNCTION app.net(gross numeric, rate numeric) \
                     RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT round(gross/(1+rate),2)'";
        stage.run(again).await;
        assert!(
            net(&*stage.snapshot_with(&listed).await).harmless,
            "made anew before {change}"
        );
        stage.run(change).await;
        let after = net(&*stage.snapshot_with(&listed).await);
        assert!(!after.harmless && after.hash != before.hash, "{change}");
        assert!(after.reason.expect("a reason").contains("changed"), "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cast_between_built_in_types_makes_every_statement_uncertain() {
    let stage = Stage::start().await;
    assert_eq!(stage.view().await.hazard(), None);
    stage
        .run(
            "CREATE FUNCTION app.number(text) RETURNS int LANGUAGE sql AS 'SELECT app.touch()'; \
             CREATE CAST (text AS int) WITH FUNCTION app.number(text)",
        )
        .await;
    let hazard = stage.view().await.hazard().expect("a hazard");
    assert!(hazard.reason.contains("app.number(text)"), "{hazard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_may_have_changed_is_not_known() {
    let stage = Stage::start().await;
    let snapshot = stage.snapshot().await;
    let session = SessionState {
        search_path: "app",
        role: "app_rw",
        has_temporary_objects: true,
        has_uncommitted_ddl: false,
    };
    let temporary = View::new(Arc::clone(&snapshot), session);
    assert!(temporary.relation(&table("countries")).is_err());
    assert!(temporary.relation(&table("app.countries")).is_ok());
    let changed = View::new(
        Arc::clone(&snapshot),
        SessionState {
            has_uncommitted_ddl: true,
            ..session
        },
    );
    assert!(changed.relation(&table("app.countries")).is_err());
    assert!(changed.hazard().is_some());
    let lost = View::new(
        snapshot,
        SessionState {
            search_path: "a,",
            has_temporary_objects: false,
            ..session
        },
    );
    assert!(lost.relation(&table("countries")).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_cannot_be_read_is_an_error_with_a_next_step() {
    let stage = Stage::start().await;
    let listed = ListedFunctions::default();
    let read = async |settings: Settings, database: &str| {
        let error = Reader::open(Arc::new(settings), database)
            .read(&listed)
            .await
            .err();
        let error = error.expect("an error");
        assert!(!error.next_step().is_empty());
        error.to_string()
    };
    let mut wrong = stage.settings();
    wrong.password = "wrong".to_owned().into();
    assert!(read(wrong, DATABASE).await.contains("password"));
    assert!(read(stage.settings(), "nowhere").await.contains("nowhere"));
    let mut impatient = stage.settings();
    impatient.timeout = Duration::from_millis(1);
    assert!(read(impatient, DATABASE).await.contains("within"));
    let mut elsewhere = stage.settings();
    elsewhere.port = 1;
    assert!(read(elsewhere, DATABASE).await.contains("cannot be reached"));
}

#[tokio::test]
async fn an_operator_class_counts_where_it_is_used() {
    let stage = Stage::start().await;
    stage
        .run(
            "CREATE FUNCTION public.own_hash(int, bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT $2';
             CREATE OPERATOR CLASS public.own_ops FOR TYPE int USING hash
               AS OPERATOR 1 =, FUNCTION 2 public.own_hash(int, bigint);
             CREATE TABLE app.parted(a int) PARTITION BY HASH (a public.own_ops);
             CREATE TABLE app.part PARTITION OF app.parted FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        )
        .await;
    let catalog = stage.view().await;
    let table = |name: &str| TableName {
        schema: Some("app".to_owned()),
        name: name.to_owned(),
    };
    assert_eq!(catalog.hazard(), None, "nothing else can mean this class");
    let parted = catalog.relation(&table("parted")).expect("it is there");
    for concerns in [&parted.reading, &parted.inserting, &parted.updating] {
        assert!(
            concerns.iter().any(|concern| concern.reason.contains("own_hash")),
            "{concerns:?}"
        );
    }
    let plain = catalog.relation(&table("customers")).expect("it is there");
    assert_eq!(plain.reading, []);

    // A type that had no default class: from now on ORDER BY of a box calls it.
    stage
        .run(
            "CREATE FUNCTION public.own_cmp(box, box) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 0';
             CREATE OPERATOR CLASS public.own_box_ops DEFAULT FOR TYPE box USING btree
               AS OPERATOR 3 =, FUNCTION 1 public.own_cmp(box, box)",
        )
        .await;
    let hazard = stage
        .view()
        .await
        .hazard()
        .expect("every comparison may be one of boxes");
    assert!(hazard.reason.contains("own_cmp"), "{hazard:?}");
}

#[tokio::test]
async fn a_path_that_puts_a_view_with_code_before_a_table_is_told() {
    let catalog = Stage::start().await.view().await;
    let told = catalog
        .shadowing("\"evil\", \"app\"")
        .expect("evil.countries calls a function");
    assert!(
        told.reason.contains("evil.countries") && told.reason.contains("app.countries"),
        "{told:?}"
    );
    for harmless in ["app", "app, evil", "public, app", "app, nowhere", "\"", ""] {
        assert_eq!(catalog.shadowing(harmless), None, "{harmless}");
    }
}
