//! The log as read-only SQL, with real clients: psql, tokio-postgres, psycopg, asyncpg and pgjdbc, on a real desk with a
//! store and a journal of its own.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use countersign::audit::entry::{Attempt, Body, Entry, StatementOutcome};
use countersign::audit::{OutcomeKind, Record};
use countersign::clock::Timestamp;
use countersign::desk::Desk;
use countersign::identity::directory::{NewAgent, NewPerson, NewToken, OtherTokens, Role, Scope, Scopes};
use countersign::identity::principal::{AttemptId, PersonName, PrincipalName, Profile, SessionId};
use countersign::identity::secret::NativePassword;
use countersign::journal::{self, Journal, LogFilter, Reader};
use countersign::proxy::ListenTls;
use countersign::sql::action::Class;
use countersign::store::sqlite::Store;
use countersign::tables::{self, Limits, Settings, Tables};
use countersign::wire::postgres::frame;
use countersign::wire::postgres::message::Fields;
use countersign::wire::postgres::startup::{PROTOCOL_3_0, Startup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// 2026-11-22T10:00:00Z.
const TEN: i64 = 1_795_341_600_000_000;
const MINUTE: i64 = 60_000_000;

/// A log with some statements, and the listener that reads it.
struct House {
    tables: Tables,
    desk: Desk,
    reader: Reader,
    /// Kept open as long as the house stands.
    _journal: Journal,
    carol: String,
    reading: String,
    agent: String,
    _folder: tempfile::TempDir,
}

fn person(name: &str) -> PersonName {
    PersonName::parse(name).expect("a name")
}

fn token(store: &mut Store, name: &str, scopes: Option<Scopes>) -> String {
    let new = NewToken {
        person: person(name),
        scopes,
        expires_at: None,
        seen_by: BTreeSet::new(),
        others: OtherTokens::Stay,
    };
    let secret = store.token_issue(&new, &person("root"), Timestamp::now());
    secret.expect("issued").reveal().to_owned()
}

/// When, whose, what class, what the rules said, the text, and the rows or the error that it ended with.
type Sent = (
    i64,
    &'static str,
    Class,
    &'static str,
    &'static str,
    Result<u64, &'static str>,
);

const SENT: [Sent; 5] = [
    (0, "bot", Class::Read, "allow", "SELECT * FROM orders", Ok(3)),
    (
        1,
        "bot",
        Class::Write,
        "allow",
        "INSERT INTO orders VALUES (1, 'é')",
        Ok(1),
    ),
    (2, "loader", Class::Ddl, "hold", "DROP TABLE orders", Err("42501")),
    (3, "loader", Class::Write, "hold", "DELETE FROM orders", Ok(1200)),
    (61, "bot", Class::Read, "allow", "SELECT 1", Ok(1)),
];

fn fill(journal: &Journal) {
    let mut lane = journal.lane(1);
    for (number, (minute, principal, class, verdict, text, end)) in (0u64..).zip(SENT) {
        let session = SessionId(if principal == "bot" { 7 } else { 8 });
        let id = AttemptId { session, number };
        let attempt = Attempt {
            id,
            principal,
            database: "shop",
            database_user: "app",
            text: text.as_bytes(),
            class,
            verdict,
            rule: "a rule",
            tables: &["public.orders".to_owned(), "other".to_owned()],
            column_labels: &[],
            fingerprint: [number as u8; 32],
            parameters: &[],
            request: None,
            grant: None,
            protocol: "simple",
            claimed: &[],
            read_as: "",
        };
        let outcome = StatementOutcome {
            attempt: id,
            kind: if end.is_ok() {
                OutcomeKind::Ran
            } else {
                OutcomeKind::Refused
            },
            rows: end.ok(),
            tag: "",
            sqlstate: end.err().unwrap_or_default(),
            message: "",
            request: None,
        };
        let entry = |after: i64, body| Entry {
            time: Timestamp::from_micros(TEN + minute * MINUTE + after),
            session: Some(session),
            body,
        };
        for entry in [
            entry(0, Body::Attempt(attempt)),
            entry(1500, Body::Outcome(outcome)),
        ] {
            lane.append(&[entry]).expect("the disk is well");
        }
    }
}

impl House {
    async fn build() -> Self {
        Self::build_with(Limits::default()).await
    }

    async fn build_with(limits: Limits) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::build_at(loopback, limits).await
    }

    async fn build_at(address: SocketAddr, limits: Limits) -> Self {
        Self::build_full(address, limits, ListenTls::Off).await
    }

    async fn build_full(address: SocketAddr, limits: Limits, tls: ListenTls) -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let mut store = Store::open(&folder.path().join("store.sqlite3")).expect("a store");
        let now = Timestamp::now();
        for (name, role) in [("carol", Role::Auditor), ("alice", Role::Approver)] {
            let new = NewPerson {
                name: person(name),
                roles: vec![role],
                groups: Vec::new(),
            };
            store.person_add(&new, &person("root"), now).expect("added");
        }
        let carol = token(&mut store, "carol", None);
        let reading = token(&mut store, "carol", Some([Scope::Read].into_iter().collect()));
        let new = NewAgent {
            name: PrincipalName::parse("bot").expect("a name"),
            owner: person("alice"),
            acts_for: None,
            databases: Vec::new(),
            database_user: "app".to_owned(),
            profile: Profile::Standard,
            labels: std::collections::BTreeMap::new(),
            expires_at: None,
            mysql_native: NativePassword::Refused,
        };
        let agent = store.agent_add(&new, &person("root"), now).expect("added");
        let journal =
            Journal::open(journal::Settings::in_dir(folder.path().join("journal"))).expect("a journal");
        fill(&journal);
        let desk =
            Desk::start(store, journal.clone(), countersign::desk::Settings::default()).expect("a desk");
        let settings = Settings { address, tls, limits };
        let tables = tables::start(settings, desk.clone(), journal.reader())
            .await
            .expect("a free port");
        Self {
            tables,
            desk,
            reader: journal.reader(),
            _journal: journal,
            carol,
            reading,
            agent: agent.1.reveal().to_owned(),
            _folder: folder,
        }
    }

    fn url(&self) -> String {
        self.url_of("carol", &self.carol)
    }

    fn url_of(&self, user: &str, password: &str) -> String {
        format!(
            "postgres://{user}:{password}@127.0.0.1:{}/log",
            self.tables.local_addr.port()
        )
    }

    async fn connect(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.expect("let in");
        tokio::spawn(connection);
        client
    }

    /// Why nobody is let in with these.
    async fn refused(&self, user: &str, password: &str) -> String {
        let refused = tokio_postgres::connect(&self.url_of(user, password), NoTls).await;
        let error = refused.err().expect("nobody is let in");
        let error = error.as_db_error().expect("the server says why");
        format!(
            "{} {} {}",
            error.code().code(),
            error.message(),
            error.hint().unwrap_or_default()
        )
    }

    /// What psql prints; its errors stand behind.
    async fn psql(&self, arguments: &[&str]) -> String {
        self.psql_of(Path::new("psql"), arguments).await
    }

    /// What another psql prints.
    async fn psql_of(&self, program: &Path, arguments: &[&str]) -> String {
        let (url, program) = (self.url(), program.to_owned());
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let ran = tokio::task::spawn_blocking(move || {
            Command::new(program)
                .arg(url)
                .arg("-X")
                .args(arguments)
                .env("PGCONNECT_TIMEOUT", "10")
                .output()
        });
        let output = ran.await.expect("it ends").expect("psql is installed");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// What another psql prints of a script, which may hold commands of its own.
    async fn psql_script(&self, program: &Path, script: &str) -> String {
        let file = self._folder.path().join("script.sql");
        std::fs::write(&file, script).expect("the folder can be written");
        let file = file.to_str().expect("a path");
        self.psql_of(program, &["-At", "-f", file]).await
    }

    /// What is on record of who read the log.
    fn queries(&self) -> Vec<String> {
        let filter = LogFilter {
            kind: Some(countersign::audit::Kind::LogQuery),
            limit: 1000,
            ..LogFilter::default()
        };
        let page = self.reader.query(&filter).expect("the log can be read");
        let said = |record: Record| {
            assert_eq!(record.fields.by.as_deref(), Some("carol"));
            record.fields.query
        };
        page.records.into_iter().filter_map(said).collect()
    }
}

/// The rows of a query as texts, columns apart by `|`.
async fn rows(client: &tokio_postgres::Client, sql: &str) -> Vec<String> {
    let answered = client
        .simple_query(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {}", told(&error)));
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let values: Vec<&str> = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL")).collect();
            Some(values.join("|"))
        }
        _ => None,
    };
    answered.iter().filter_map(row).collect()
}

fn told(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} {}", error.code().code(), error.message()),
        None => error.to_string(),
    }
}

/// SQLSTATE and sentence of a query that is refused; the connection goes on.
async fn error(client: &tokio_postgres::Client, sql: &str) -> String {
    let refused = client
        .simple_query(sql)
        .await
        .err()
        .unwrap_or_else(|| panic!("{sql} is not refused"));
    let said = refused
        .as_db_error()
        .unwrap_or_else(|| panic!("{sql}: {refused}"));
    assert!(said.hint().is_some(), "{sql}: an error says what to do next");
    assert_eq!(
        rows(client, "SELECT 'still here'").await,
        ["still here"],
        "after {sql}"
    );
    told(&refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_rows_with_what_became_of_them() {
    let house = House::build().await;
    let client = house.connect().await;
    let sql = "SELECT time, principal, class, verdict, text, outcome, rows, sqlstate, duration_ms FROM statements ORDER BY time";
    let expected = [
        "2026-11-22 10:00:00+00|bot|read|allow|SELECT * FROM orders|ran|3|NULL|1.5",
        "2026-11-22 10:01:00+00|bot|write|allow|INSERT INTO orders VALUES (1, 'é')|ran|1|NULL|1.5",
        "2026-11-22 10:02:00+00|loader|ddl|hold|DROP TABLE orders|refused|NULL|42501|1.5",
        "2026-11-22 10:03:00+00|loader|write|hold|DELETE FROM orders|ran|1200|NULL|1.5",
        "2026-11-22 11:01:00+00|bot|read|allow|SELECT 1|ran|1|NULL|1.5",
    ];
    assert_eq!(rows(&client, sql).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_mean_what_they_mean_to_postgresql() {
    let house = House::build().await;
    let client = house.connect().await;
    let cases: &[(&str, &[&str])] = &[
        ("SELECT count(*) FROM statements", &["5"]),
        (
            "SELECT principal, count(*), sum(rows) FROM statements GROUP BY principal ORDER BY 2 DESC",
            &["bot|3|5", "loader|2|1200"],
        ),
        (
            "SELECT date_trunc('hour', time) AS hour, count(*) FILTER (WHERE verdict = 'hold') AS held FROM statements GROUP BY hour ORDER BY hour",
            &["2026-11-22 10:00:00+00|2", "2026-11-22 11:00:00+00|0"],
        ),
        (
            "SELECT floor(extract(epoch from time)/3600)*3600 AS \"time\", count(*) FROM statements WHERE time BETWEEN '2026-11-22T09:00:00Z' AND '2026-11-22T10:59:59Z' GROUP BY 1 ORDER BY 1",
            &["1795341600|4"],
        ),
        (
            "SELECT text FROM statements WHERE text ILIKE 'drop%'",
            &["DROP TABLE orders"],
        ),
        (
            "SELECT text FROM statements WHERE text ~ '^(DROP|DELETE) ' ORDER BY text",
            &["DELETE FROM orders", "DROP TABLE orders"],
        ),
        ("SELECT count(*) FROM statements WHERE text LIKE 'drop%'", &["0"]),
        (
            "SELECT tables FROM statements LIMIT 1",
            &["{public.orders,other}"],
        ),
        (
            "SELECT count(*) FROM statements WHERE 'other' = ANY(tables) AND tables @> ARRAY['public.orders']",
            &["5"],
        ),
        (
            "SELECT t.name, count(*) FROM statements s, unnest(s.tables) AS t(name) GROUP BY 1 ORDER BY 1",
            &["other|5", "public.orders|5"],
        ),
        (
            "SELECT max(rows) - min(rows), avg(rows) FROM statements WHERE principal = 'bot'",
            &["2|1.6666666666666667"],
        ),
        (
            "SELECT string_agg(class, ',' ORDER BY time DESC) FROM statements",
            &["read,write,ddl,write,read"],
        ),
        (
            "SELECT DISTINCT class FROM statements WHERE NOT verdict = 'allow' ORDER BY class",
            &["ddl", "write"],
        ),
        (
            "SELECT sqlstate FROM statements ORDER BY sqlstate LIMIT 1",
            &["42501"],
        ),
        (
            "SELECT sqlstate FROM statements ORDER BY sqlstate DESC LIMIT 1",
            &["NULL"],
        ),
        (
            "WITH held AS (SELECT * FROM statements WHERE verdict = 'hold') SELECT h.text, r.kind FROM held h JOIN records r USING (id) ORDER BY h.time",
            &["DROP TABLE orders|attempt", "DELETE FROM orders|attempt"],
        ),
        (
            "SELECT principal, text, row_number() OVER (PARTITION BY principal ORDER BY time) FROM statements WHERE class = 'read' ORDER BY 1, 3",
            &["bot|SELECT * FROM orders|1", "bot|SELECT 1|2"],
        ),
        (
            "SELECT time + interval '1 month', time::date, time::text FROM statements LIMIT 1",
            &["2026-12-22 10:00:00+00|2026-11-22|2026-11-22 10:00:00+00"],
        ),
        ("SELECT ended - time FROM statements LIMIT 1", &["00:00:00.0015"]),
        (
            "SELECT count(*) FROM statements WHERE time > now() - interval '100 years' AND time < now() + interval '100 years'",
            &["5"],
        ),
        (
            "SELECT kind, count(*) FROM records WHERE session = (SELECT session FROM statements WHERE principal = 'loader' LIMIT 1) GROUP BY kind ORDER BY kind",
            &["attempt|2", "outcome|2"],
        ),
        (
            "SELECT record->>'principal' FROM records WHERE kind = 'attempt' AND class = 'ddl'",
            &["loader"],
        ),
        (
            "SELECT 7/2, 7.0/2, 7 % 2, 'a' || 1, 1 = 1, NULL IS NULL, 'x' = 'y'",
            &["3|3.5|1|a1|t|t|f"],
        ),
        (
            "SELECT CASE WHEN rows > 100 THEN 'many' ELSE 'few' END AS size, count(*) FROM statements WHERE rows IS NOT NULL GROUP BY size ORDER BY size",
            &["few|3", "many|1"],
        ),
        ("SELECT n FROM generate_series(1, 5, 2) AS g(n)", &["1", "3", "5"]),
        (
            "SELECT to_char(d, 'YYYY-MM-DD') FROM generate_series('2026-01-31'::timestamptz, '2026-03-31', '1 month') d",
            &["2026-01-31", "2026-02-28", "2026-03-28"],
        ),
        (
            "(SELECT 1 AS n UNION SELECT 2) EXCEPT SELECT 2 ORDER BY n",
            &["1"],
        ),
        ("VALUES (1, 'a'), (2, NULL)", &["1|a", "2|NULL"]),
        (
            "SELECT a + 1 FROM (VALUES (1), (2)) AS v(a) ORDER BY a DESC",
            &["3", "2"],
        ),
        (
            "SELECT EXISTS (SELECT 1 FROM statements s WHERE s.rows > 1000), coalesce(NULL, 'x'), nullif(1, 1)",
            &["t|x|NULL"],
        ),
        (
            "SELECT split_part('a.b.c', '.', 2), left('abc', -1), substring('abc' from 2), lower('É'), length('é')",
            &["b|ab|bc|é|1"],
        ),
        (
            "SELECT current_user, current_database(), current_schema",
            &["carol|log|public"],
        ),
        (
            "SELECT count(*) > 0 FROM log_queries WHERE by_whom = 'carol'",
            &["t"],
        ),
        ("SELECT * FROM decisions", &[]),
        (
            "SELECT * FROM (SELECT principal p, count(*) c FROM statements GROUP BY 1) x WHERE c > 2",
            &["bot|3"],
        ),
        (
            "SELECT principal FROM statements GROUP BY principal HAVING count(*) > 2",
            &["bot"],
        ),
        (
            "SELECT date_part('hour', time), extract(dow from time) FROM statements LIMIT 1",
            &["10|0"],
        ),
        (
            "SELECT a.principal FROM statements a LEFT JOIN statements b ON a.id = b.id AND b.class = 'ddl' WHERE b.id IS NULL AND a.class = 'write' ORDER BY 1",
            &["bot", "loader"],
        ),
    ];
    let mut wrong = Vec::new();
    for (sql, expected) in cases {
        let got = match client.simple_query(sql).await {
            Ok(_) => rows(&client, sql).await,
            Err(error) => vec![told(&error)],
        };
        if got != *expected {
            wrong.push(format!("{sql}\n  expected {expected:?}\n  got      {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_the_extended_protocol_have_types() {
    let house = House::build().await;
    let client = house.connect().await;
    let since = std::time::UNIX_EPOCH + Duration::from_micros((TEN + MINUTE) as u64);
    let sql = "SELECT time, principal, rows, duration_ms, tables, rows > 5, text IS NULL FROM statements \
               WHERE time >= $1 AND principal = $2 AND class = ANY($3) ORDER BY time LIMIT $4";
    let classes = vec!["write", "ddl"];
    let found = client
        .query(sql, &[&since, &"loader", &classes, &1i64])
        .await
        .expect("rows");
    assert_eq!(found.len(), 1);
    let row = &found[0];
    let at = std::time::UNIX_EPOCH + Duration::from_micros((TEN + 2 * MINUTE) as u64);
    assert_eq!(row.get::<_, std::time::SystemTime>(0), at);
    assert_eq!(row.get::<_, &str>(1), "loader");
    assert_eq!(row.get::<_, Option<i64>>(2), None);
    assert_eq!(row.get::<_, f64>(3), 1.5);
    assert_eq!(row.get::<_, Vec<String>>(4), ["public.orders", "other"]);
    assert_eq!(row.get::<_, Option<bool>>(5), None);
    assert!(!row.get::<_, bool>(6));
    let prepared = client
        .prepare("SELECT $1::int4 + 1, $2 || 'x', count(*) FROM statements")
        .await
        .expect("prepared");
    let types: Vec<&str> = prepared.params().iter().map(|ty| ty.name()).collect();
    assert_eq!(types, ["int4", "text"]);
    for number in [1i32, 41] {
        let row = client
            .query_one(&prepared, &[&number, &"é"])
            .await
            .expect("a row");
        assert_eq!(
            (row.get::<_, i32>(0), row.get::<_, &str>(1), row.get::<_, i64>(2)),
            (number + 1, "éx", 5)
        );
    }
    let asked = house.queries();
    let recorded = asked
        .iter()
        .filter(|query| query.contains("LIMIT $4 -- $1 = 2026-11-22 10:01:00+00 -- $2 = loader"));
    assert_eq!(recorded.count(), 1, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_gives_its_rows_in_parts() {
    let house = House::build().await;
    let mut client = house.connect().await;
    let transaction = client.transaction().await.expect("begun");
    let portal = transaction
        .bind("SELECT n FROM generate_series(1, 5) g(n)", &[])
        .await
        .expect("bound");
    let mut sizes = Vec::new();
    loop {
        let part = transaction.query_portal(&portal, 2).await.expect("rows");
        sizes.push(part.len());
        if part.len() < 2 {
            break;
        }
    }
    assert_eq!(sizes, [2, 2, 1]);
    transaction.commit().await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_read_is_refused_and_the_session_goes_on() {
    let house = House::build().await;
    let client = house.connect().await;
    let refused = [
        ("DELETE FROM statements", "25006"),
        ("INSERT INTO records VALUES (1)", "25006"),
        ("UPDATE statements SET text = 'x'", "25006"),
        ("DROP TABLE statements", "25006"),
        ("CREATE TABLE x (a int)", "25006"),
        ("TRUNCATE statements", "25006"),
        ("SELECT * INTO x FROM statements", "25006"),
        (
            "WITH x AS (DELETE FROM statements RETURNING *) SELECT * FROM x",
            "25006",
        ),
        ("SELECT * FROM statements FOR UPDATE", "25006"),
        ("ATTACH DATABASE 'x' AS y", ""),
        ("PRAGMA query_only = off", ""),
        ("VACUUM", ""),
        ("SET ROLE postgres", "42501"),
        ("SET SESSION AUTHORIZATION postgres", ""),
        ("SET client_encoding TO latin1", "22023"),
        ("EXPLAIN SELECT 1", "0A000"),
        ("SELECT load_extension('x')", "42883"),
        ("SELECT readfile('/etc/passwd')", "42883"),
        ("SELECT pg_read_file('/etc/passwd')", "42883"),
        ("SELECT writefile('x', 'y')", "42883"),
        ("SELECT sqlite_version()", "42883"),
        ("SELECT cs_now()", "42883"),
        ("SELECT * FROM sqlite_master", "42P01"),
        ("SELECT * FROM sqlite_schema", "42P01"),
        ("SELECT * FROM \"public.statements\"", "42P01"),
        ("SELECT * FROM pragma_table_info('x')", "42883"),
        ("SELECT nothing FROM statements", "42703"),
        ("SELECT \"text is\" FROM statements", "42703"),
        ("SELECT * FROM nothing", "42P01"),
        ("SELECT text = 1 FROM statements", "42883"),
        ("SELECT time = 'yesteryear' FROM statements", "22007"),
        ("SELECT 'x'::int", "22P02"),
        ("SELECT 1/0", "22012"),
        ("SELECT principal, count(*) FROM statements", "42803"),
        ("SELECT text FROM statements WHERE text ~ '('", "2201B"),
        ("SELECT", ""),
        ("SELEC 1", "42601"),
        ("SELECT $1", "42P02"),
        ("COPY statements TO '/tmp/x'", "0A000"),
        ("SELECT id FROM statements a, statements b", "42702"),
        ("SELECT 9223372036854775807 + 1", "22003"),
    ];
    for (sql, code) in refused {
        if sql == "SELECT" {
            continue;
        }
        let said = error(&client, sql).await;
        assert!(said.starts_with(code), "{sql}: {said}");
        assert!(!said.starts_with("XX000"), "{sql}: {said}");
    }
    let asked = house.queries();
    for (sql, _) in refused.iter().filter(|(sql, _)| *sql != "SELECT") {
        assert!(asked.contains(&format!("sql {sql}")), "{sql} is on record");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_as_a_client_knows_it() {
    let house = House::build().await;
    let client = house.connect().await;
    client.batch_execute("BEGIN").await.expect("begun");
    assert!(client.batch_execute("SELECT nothing").await.is_err());
    let refused = client
        .batch_execute("SELECT 1")
        .await
        .expect_err("the transaction has failed");
    assert!(told(&refused).starts_with("25P02"), "{refused}");
    client.batch_execute("ROLLBACK").await.expect("rolled back");
    client
        .batch_execute(
            "BEGIN READ ONLY; SET search_path TO public; SET statement_timeout = 0; SELECT 1; COMMIT",
        )
        .await
        .expect("accepted");
    assert_eq!(rows(&client, "SHOW search_path").await, ["public"]);
    assert_eq!(
        rows(&client, "SHOW TRANSACTION ISOLATION LEVEL").await,
        ["read committed"]
    );
    assert_eq!(rows(&client, "SHOW timezone").await, ["UTC"]);
    client.batch_execute("").await.expect("nothing is asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_person_with_the_scope_log_comes_in() {
    let house = House::build().await;
    let wrong = format!("cs_{}", "A".repeat(43));
    for (user, password) in [
        ("carol", wrong.as_str()),
        ("carol", house.agent.as_str()),
        ("bot", house.agent.as_str()),
        ("alice", house.carol.as_str()),
        ("carol", "' OR 1=1"),
    ] {
        let said = house.refused(user, password).await;
        assert!(
            said.starts_with("28P01 password authentication failed"),
            "{user}: {said}"
        );
        assert!(said.contains("countersign user token"), "{said}");
    }
    let said = house.refused("carol", &house.reading).await;
    assert!(
        said.starts_with("42501") && said.contains("lacks the scope `log`"),
        "{said}"
    );
    let elsewhere = house.url().replace("/log", "/postgres");
    let refused = tokio_postgres::connect(&elsewhere, NoTls)
        .await
        .err()
        .expect("there is no such database");
    assert!(told(&refused).starts_with("3D000"), "{refused}");
    assert!(house.queries().is_empty(), "nobody has come in");
    house.connect().await;
    assert_eq!(house.queries(), ["sql connect from 127.0.0.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_token() {
    let house = House::build().await;
    let client = house.connect().await;
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    house
        .desk
        .tokens_revoke(person("carol"), person("root"))
        .await
        .expect("revoked");
    let refused = client
        .simple_query("SELECT 1")
        .await
        .expect_err("the token has ended");
    assert!(told(&refused).starts_with("28000 your token"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_from_another_machine_needs_tls() {
    let address = other_address();
    let house = House::build_at(SocketAddr::new(address, 0), Limits::default()).await;
    let url = house.url().replace("127.0.0.1", &address.to_string());
    let refused = tokio_postgres::connect(&url, NoTls)
        .await
        .err()
        .expect("a token would be overheard");
    assert!(
        told(&refused).starts_with("28000 tokens are taken inside TLS only"),
        "{refused}"
    );
}

/// An address of this machine by which it does not seem to be itself.
fn other_address() -> IpAddr {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).expect("a route");
    socket.local_addr().expect("an address").ip()
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_end_a_query_and_nothing_else() {
    let limits = Limits {
        time: Duration::from_millis(700),
        rows: 100,
        records: 12,
        ..Limits::default()
    };
    let house = House::build_with(limits).await;
    let client = house.connect().await;
    let endless = [
        "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT count(*) FROM x",
        "WITH RECURSIVE x(n) AS (SELECT 1 UNION SELECT n + 1 FROM x) SELECT count(*) FROM x",
        "SELECT count(*) FROM generate_series(1, 1000000000) a, generate_series(1, 1000000000) b",
    ];
    for sql in endless {
        let begun = Instant::now();
        let said = error(&client, sql).await;
        assert!(
            said.starts_with("57014 canceling statement due to statement timeout"),
            "{said}"
        );
        assert!(begun.elapsed() < Duration::from_secs(10), "{sql} ends in time");
    }
    let too_much = [
        "SELECT * FROM generate_series(1, 101)",
        "SELECT repeat('x', 1000000000)",
        "SELECT length(lpad('x', 1000000000))",
        "SELECT string_agg(repeat('x', 1000000), '') FROM generate_series(1, 100)",
        "SELECT count(*) FROM records",
    ];
    for sql in too_much {
        let said = error(&client, sql).await;
        assert!(said.starts_with("54000"), "{sql}: {said}");
    }
    let narrow = "SELECT count(*) FROM records WHERE time < '2026-11-22 10:02Z'";
    assert_eq!(rows(&client, narrow).await, ["4"], "what is narrowed may be read");
}

/// Whatever stands in front of it: a look at the log is on record whole, or does not happen.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_behind_many_blanks_is_on_record() {
    let house = House::build().await;
    let client = house.connect().await;
    let hidden = "SELECT text FROM statements WHERE principal = 'loader'";
    let behind = format!("{}{hidden}", " ".repeat(20 << 10));
    assert_eq!(rows(&client, &behind).await.len(), 2);
    let recorded = house.queries();
    assert!(recorded.contains(&format!("sql {behind}")), "not whole");
    // By the other way to ask, and with values.
    let found = client
        .query(
            &format!("{}SELECT $1::text", " ".repeat(20 << 10)),
            &[&"z".repeat(20 << 10)],
        )
        .await
        .expect("a row");
    assert_eq!(found.len(), 1);
    let recorded = house.queries();
    assert!(
        recorded
            .iter()
            .any(|query| query.ends_with(&"z".repeat(20 << 10))),
        "not whole"
    );

    let longer = format!("{}{hidden}", " ".repeat(70 << 10));
    let said = error(&client, &longer).await;
    assert!(
        said.starts_with("54000 the query with its values is longer than 65536 bytes"),
        "{said}"
    );
    let refused = client.prepare(&longer).await.expect_err("too long");
    assert!(told(&refused).starts_with("54000"), "{refused}");
    let refused = client
        .query("SELECT $1::text", &[&"z".repeat(70 << 10)])
        .await
        .expect_err("too long");
    assert!(told(&refused).starts_with("54000"), "{refused}");
    let unread = format!("{}{hidden}", " ".repeat(400 << 10));
    let said = error(&client, &unread).await;
    assert!(said.starts_with("54000"), "{said}");
    let recorded = house.queries();
    let refused = recorded.iter().filter(|query| query.contains("(refused: "));
    assert_eq!(refused.count(), 3, "what is refused is on record too");
    assert!(recorded.iter().any(|query| query.contains("refused unread")));
}

/// A sort of more than there is room for ends with an error; others go on.
#[tokio::test(flavor = "multi_thread")]
async fn what_sorts_put_on_disk_is_bounded() {
    let limits = Limits {
        spill_bytes: 4 << 20,
        ..Limits::default()
    };
    let house = House::build_with(limits).await;
    let (client, other) = (house.connect().await, house.connect().await);
    let large = "SELECT count(*) FROM (SELECT repeat('x', 10000) || n AS t FROM generate_series(1, 1000000) g(n) \
                 ORDER BY t DESC LIMIT 999999) s";
    for sql in [
        large,
        "SELECT count(*) FROM (SELECT DISTINCT repeat('x', 10000) || n AS t FROM generate_series(1, 1000000) g(n)) s",
    ] {
        let (said, alongside) = tokio::join!(
            error(&client, sql),
            rows(&other, "SELECT count(*) FROM statements")
        );
        assert!(
            said.starts_with("53400 temporary file size exceeds the limit"),
            "{sql}: {said}"
        );
        assert_eq!(alongside, ["5"]);
    }
    assert_eq!(rows(&client, "SELECT 'still here'").await, ["still here"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_get_an_error() {
    let house = House::build().await;
    let client = house.connect().await;
    let texts = [
        format!("SELECT {}1{}", "(".repeat(60_000), ")".repeat(60_000)),
        format!("SELECT {}1", "NOT ".repeat(50_000)),
        format!("SELECT {}", vec!["1"; 60_000].join("+")),
        format!("SELECT {}", vec!["SELECT 1"; 20_000].join(" UNION ALL ")),
        format!("SELECT '{}'", "x".repeat(300_000)),
        format!("SELECT 1 WHERE {}", vec!["1 = 1"; 20_000].join(" AND ")),
        format!(
            "SELECT * FROM {}statements{}",
            "(".repeat(5_000),
            ")".repeat(5_000)
        ),
        format!("SELECT {}", "CASE WHEN true THEN ".repeat(5_000)),
        format!("SELECT 'x' ~ '{}'", "(a{1000}){1000}"),
    ];
    for sql in texts {
        let said = error(&client, &sql).await;
        assert!(!said.starts_with("XX000"), "{}: {said}", &sql[..40]);
    }
    let huge = "x".repeat(2 << 20);
    let refused = client
        .simple_query(&format!("SELECT '{huge}'"))
        .await
        .expect_err("it is too long");
    assert!(told(&refused).starts_with("54000"), "{refused}");
    assert_eq!(rows(&client, "SELECT 'still here'").await, ["still here"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_the_query_alone() {
    let house = House::build().await;
    let client = house.connect().await;
    let cancel = client.cancel_token();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cancel.cancel_query(NoTls).await.expect("carried out");
    });
    let begun = Instant::now();
    let said = error(
        &client,
        "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT count(*) FROM x",
    )
    .await;
    assert!(
        said.starts_with("57014 canceling statement due to user request"),
        "{said}"
    );
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_that_cannot_be_recorded() {
    let house = House::build().await;
    let client = house.connect().await;
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    house.desk.stop().await;
    let refused = client
        .simple_query("SELECT text FROM statements")
        .await
        .expect_err("it is not on record");
    let said = told(&refused);
    assert!(said.starts_with("58"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_lists_and_describes_the_tables() {
    let house = House::build().await;
    for list in ["\\d", "\\dt+", "\\dp"] {
        let shown = house.psql(&["-c", list]).await;
        for table in ["statements", "records", "log_queries"] {
            assert!(shown.contains(&format!(" {table} ")), "{list}: {shown}");
        }
        assert!(
            !shown.contains("ERROR") && !shown.contains("pg_class"),
            "{list}: {shown}"
        );
    }
    let described = house.psql(&["-c", "\\d+ statements"]).await;
    assert!(described.contains("Table \"public.statements\""), "{described}");
    assert!(
        described.contains(" time ") && described.contains("timestamp with time zone"),
        "{described}"
    );
    assert!(
        described.contains("what the rules said: allow, hold or deny"),
        "{described}"
    );
    let plain = house.psql(&["-c", "\\d statements"]).await;
    assert!(
        plain.contains(" duration_ms ") && !plain.contains("ERROR"),
        "{plain}"
    );
    let databases = house.psql(&["-c", "\\l"]).await;
    assert!(
        databases.contains(" log ") && !databases.contains("ERROR"),
        "{databases}"
    );
    for list in [
        "\\dn",
        "\\du",
        "\\df",
        "\\dv",
        "\\di",
        "\\conninfo",
        "\\dT",
        "\\dx",
        "\\d nothing",
    ] {
        let shown = house.psql(&["-E", "-c", list]).await;
        assert!(!shown.contains("ERROR"), "{list}: {shown}");
    }
    let joined = house.psql(&["-At", "-c", "SELECT s.principal, count(r.id) FROM statements s JOIN records r ON r.session = s.session AND r.kind = 'outcome' GROUP BY 1 ORDER BY 1"]).await;
    assert_eq!(joined, "bot|9\nloader|4\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_tls_a_token_may_come_from_anywhere() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let address = other_address();
    let key = rcgen::KeyPair::generate().expect("a key");
    let asked = rcgen::CertificateParams::new(vec![address.to_string()]).expect("parameters");
    let certificate = asked.self_signed(&key).expect("a certificate").pem();
    let files = countersign::proxy::ListenFiles {
        cert_file: file("cert.pem", &certificate),
        key_file: file("key.pem", &key.serialize_pem()),
        clients: None,
    };
    let tls = ListenTls::Required(files);
    let house = House::build_full(SocketAddr::new(address, 0), Limits::default(), tls).await;
    let url = house.url().replace("127.0.0.1", &address.to_string());
    let psql = |mode: &str| {
        let url = format!(
            "{url}?sslmode={mode}&sslrootcert={}",
            folder.path().join("cert.pem").display()
        );
        Command::new("psql")
            .args([&url, "-X", "-At", "-c", "SELECT count(*) FROM statements"])
            .output()
    };
    let inside = psql("verify-full").expect("psql is installed");
    assert_eq!(
        String::from_utf8_lossy(&inside.stdout),
        "5\n",
        "{}",
        String::from_utf8_lossy(&inside.stderr)
    );
    let outside = psql("disable").expect("psql is installed");
    let said = String::from_utf8_lossy(&outside.stderr).into_owned();
    assert!(said.contains("tokens are taken inside TLS only"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nobody_knows_ends_the_session_with_a_reason() {
    let house = House::build().await;
    let mut stream = TcpStream::connect(house.tables.local_addr)
        .await
        .expect("a connection");
    let startup = Startup {
        protocol: PROTOCOL_3_0,
        parameters: vec![
            ("user".to_owned(), "carol".to_owned()),
            ("database".to_owned(), "log".to_owned()),
        ],
    };
    let mut out = startup.encode();
    frame::put(&mut out, b'p', |out| {
        out.extend(house.carol.as_bytes());
        out.push(0);
    });
    // CopyData outside a COPY is passed over, a function call is refused, and what has no name ends it.
    frame::put(&mut out, b'd', |out| out.extend(b"nothing"));
    frame::put(&mut out, b'F', |out| out.extend([0; 8]));
    frame::put(&mut out, b'@', |_| {});
    stream.write_all(&out).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("it closes");
    let (mut rest, mut said) = (answer.as_slice(), Vec::new());
    while let Some((header, body)) = frame::cut(rest).expect("frames") {
        rest = &rest[header.frame_bytes()..];
        if header.tag == b'E' {
            let fields = Fields::decode(body).expect("an error");
            said.push(format!("{} {}", fields.severity, fields.sqlstate));
        }
    }
    assert_eq!(said, ["ERROR 0A000", "FATAL 08P01"]);
}

/// What a program of `tests/clients` prints; it must end well.
async fn program(mut command: Command) -> String {
    let ran = tokio::task::spawn_blocking(move || command.output());
    let output = ran.await.expect("it ends").expect("it is installed: run ./test");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}\n{errors}");
    shown
}

/// Where `./test` puts the drivers.
fn drivers() -> std::path::PathBuf {
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    target.expect("it is inside the target folder").join("drivers")
}

#[tokio::test(flavor = "multi_thread")]
async fn grafana_finds_tables_and_columns_and_draws_them() {
    let house = House::build().await;
    let client = house.connect().await;
    // Its own probes, as it words them: which server, which tables in the search path first, which columns.
    let version = "SELECT current_setting('server_version_num')::int/100 AS version";
    assert_eq!(rows(&client, version).await, ["1500"]);
    let timescale = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'";
    assert!(rows(&client, timescale).await.is_empty());
    let in_path = "quote_ident(table_schema) IN (SELECT CASE WHEN trim(s[i]) = '\"$user\"' THEN user ELSE trim(s[i]) END \
                   FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1), \
                   array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i, \
                   string_to_array(current_setting('search_path'), ',') s)";
    let tables = format!(
        "SELECT CASE WHEN {in_path} THEN quote_ident(table_name) \
         ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS \"table\" \
         FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog') \
         ORDER BY CASE WHEN {in_path} THEN 0 ELSE 1 END, 1"
    );
    let tables = rows(&client, &tables).await;
    assert!(tables.contains(&"statements".to_owned()), "{tables:?}");
    let columns = format!(
        "SELECT quote_ident(column_name) AS \"column\", data_type AS \"type\" FROM information_schema.columns \
         WHERE CASE WHEN array_length(parse_ident('statements'), 1) = 2 \
         THEN quote_ident(table_schema) = (parse_ident('statements'))[1] \
         AND quote_ident(table_name) = (parse_ident('statements'))[2] \
         ELSE quote_ident(table_name) = 'statements' AND {in_path} END"
    );
    let columns = rows(&client, &columns).await;
    let is_time = |column: &String| column.ends_with("|timestamp with time zone");
    assert!(columns.iter().any(is_time), "{columns:?}");
    assert_eq!(
        rows(&client, "SELECT parse_ident('public.\"My Table\"')").await,
        ["{public,\"My Table\"}"]
    );
    assert!(
        error(&client, "SELECT parse_ident('a b')")
            .await
            .contains("22023")
    );
    let graph = "SELECT floor(extract(epoch from time)/60)*60 AS \"time\", count(*) FROM statements \
                 WHERE time BETWEEN '2000-01-01T00:00:00Z' AND '2100-01-01T00:00:00Z' GROUP BY 1 ORDER BY 1";
    assert!(!rows(&client, graph).await.is_empty());
}

/// What each psql lists without an error.
const LISTS: [&str; 31] = [
    "\\d",
    "\\d+",
    "\\dt",
    "\\dt+",
    "\\d statements",
    "\\d+ statements",
    "\\d+ records",
    "\\l",
    "\\l+",
    "\\dn",
    "\\dn+",
    "\\df",
    "\\df+",
    "\\du",
    "\\du+",
    "\\dg",
    "\\dv",
    "\\di",
    "\\ds",
    "\\dm",
    "\\dp",
    "\\z",
    "\\dT",
    "\\dx",
    "\\db",
    "\\dD",
    "\\dE",
    "\\dP",
    "\\dRp",
    "\\conninfo",
    "\\d nothing",
];

/// Commands of psql about what a log does not have: an empty list, not an error.
const EMPTY_LISTS: &str = "\\ddp\n\\des+\n\\do+\n\\dO+\n\\dy+\n\\dX\n\\dL+\n\\dRs+\n\\dFd+\n\\dFp+\n\\dFt+\n\\dF+\n\\dC+\n\
    \\dc+\n\\dAc+\n\\dAf+\n\\dAo+\n\\dAp+\n\\db+\n\\dew+\n\\deu+\n\\det+\n\\dl+\n\\df+\n\\dd\n\\da\n\\dA\n\\drds\n\\dRp+\n";

#[tokio::test(flavor = "multi_thread")]
async fn psql_finds_nothing_where_there_is_nothing() {
    let house = House::build().await;
    let newer = ["16", "17", "18"].map(|version| drivers().join("psql").join(version).join("bin/psql"));
    for program in [Path::new("psql").to_owned()].into_iter().chain(newer) {
        let shown = house.psql_script(&program, EMPTY_LISTS).await;
        let rows: Vec<&str> = shown.lines().filter(|line| !line.starts_with("heap|")).collect();
        assert!(
            rows.iter().all(|line| line.contains("Did not find any ")),
            "{}: {shown}",
            program.display()
        );
        let source = house.psql_of(&program, &["-c", "\\sf now"]).await;
        assert!(
            source.starts_with("ERROR:  function \"now\" does not exist"),
            "{source}"
        );
        let view = house.psql_of(&program, &["-c", "\\sv statements"]).await;
        assert!(view.contains("\"public.statements\" is not a view"), "{view}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_may_be_asked_for_by_its_name_alone() {
    let house = House::build().await;
    let client = house.connect().await;
    let ids = rows(&client, "SELECT id FROM statements ORDER BY time LIMIT 3").await;
    let whole = rows(&client, "TABLE statements ORDER BY time LIMIT 3").await;
    let firsts: Vec<&str> = whole.iter().filter_map(|row| row.split('|').next()).collect();
    assert_eq!(firsts, ids);
    for (query, same) in [
        ("TABLE public.decisions", "SELECT * FROM public.decisions"),
        ("WITH x AS (TABLE decisions) TABLE x", "SELECT * FROM decisions"),
        (
            "SELECT 1 AS n UNION ALL (WITH y(n) AS (VALUES (2)) TABLE y)",
            "VALUES (1), (2)",
        ),
        (
            "SELECT count(*) FROM (TABLE statements) AS s",
            "SELECT count(*) FROM statements",
        ),
    ] {
        assert_eq!(rows(&client, query).await, rows(&client, same).await, "{query}");
    }
    assert_eq!(
        error(&client, "TABLE nothing").await,
        "42P01 relation \"nothing\" does not exist"
    );
    assert!(
        error(&client, "CREATE TABLE x (y int)")
            .await
            .starts_with("25006")
    );
    assert_eq!(
        rows(&client, "SELECT format('%I.%s|%L', 'My', NULL, 'it''s'), 'decisions'::regclass::oid = (SELECT oid FROM pg_class WHERE relname = 'decisions'), array_remove(ARRAY['a', 'b', 'a'], 'a')").await,
        ["\"My\".|'it''s'|t|{b}"]
    );
    assert_eq!(
        rows(&client, "SELECT has_table_privilege('statements', 'SELECT'), has_table_privilege('statements', 'INSERT, UPDATE'), has_schema_privilege('public', 'CREATE'), has_table_privilege('statements', 'UPDATE, SELECT')").await,
        ["t|f|f|t"]
    );
    let tables = rows(
        &client,
        "SELECT DISTINCT tableoid = 'pg_class'::regclass FROM pg_class",
    )
    .await;
    assert_eq!(tables, ["t"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_16_17_and_18_list_describe_and_query() {
    let house = House::build().await;
    for version in ["16", "17", "18"] {
        let program = drivers().join("psql").join(version).join("bin/psql");
        let says = house.psql_of(&program, &["--version"]).await;
        assert!(
            says.starts_with(&format!("psql (PostgreSQL) {version}.")),
            "{says}"
        );
        for list in LISTS {
            let shown = house.psql_of(&program, &["-c", list]).await;
            let is_error = shown.contains("ERROR:") || shown.contains("error:") || shown.contains("FATAL:");
            assert!(!is_error, "{version} {list}: {shown}");
        }
        let described = house.psql_of(&program, &["-c", "\\d+ statements"]).await;
        assert!(
            described.contains("what the rules said: allow, hold or deny"),
            "{described}"
        );
        let tables = house.psql_of(&program, &["-c", "\\dt"]).await;
        assert!(
            tables.contains(" statements ") && tables.contains(" log_queries "),
            "{tables}"
        );
        let counted = "SELECT principal, count(*) FROM statements GROUP BY 1 ORDER BY 1";
        let known = house.psql(&["-At", "-c", counted]).await;
        assert!(known.contains("bot|"), "{known}");
        assert_eq!(house.psql_of(&program, &["-At", "-c", counted]).await, known);
        // By the extended protocol, with a parameter.
        let bound = "SELECT count(*) FROM statements WHERE principal = $1 \\bind bot \\g";
        let bound = house.psql_script(&program, bound).await;
        assert!(
            bound.trim().parse::<u64>().is_ok_and(|count| count > 0),
            "{bound}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jdbc_finds_tables_and_columns_and_reads_them() {
    let house = House::build().await;
    let port = house.tables.local_addr.port();
    let mut java = Command::new("java");
    let classes = format!(
        "/usr/share/java/postgresql.jar:{}",
        drivers().join("java").display()
    );
    java.args(["-cp", &classes, "LogClient"]).arg(format!(
        "jdbc:postgresql://127.0.0.1:{port}/log?user=carol&password={}",
        house.carol
    ));
    let shown = program(java).await;
    for line in [
        "product PostgreSQL 15",
        "table statements One row for each statement that an agent sent, with what became of it",
        "column time timestamptz",
        "column tables _text",
        "column rows int8",
        "schema public",
        "catalog log",
        "kind TABLE",
        "privilege SELECT",
        "type timestamptz",
        "row 2026-11-22T10:02:00Z null 1.5 2 true timestamptz",
        "row 2026-11-22T10:03:00Z 1200 1.5 2 true timestamptz",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    let found = shown.lines().filter(|line| line.starts_with("row ")).count();
    assert_eq!(found, 14, "seven runs of two rows\n{shown}");
    assert!(
        !shown.contains("primary key") && !shown.contains("index"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metabase_syncs_takes_samples_and_asks() {
    let house = House::build().await;
    let port = house.tables.local_addr.port();
    let mut java = Command::new("java");
    let classes = format!(
        "/usr/share/java/postgresql.jar:{}",
        drivers().join("java").display()
    );
    java.args(["-cp", &classes, "MetabaseClient"]).arg(format!(
        "jdbc:postgresql://127.0.0.1:{port}/log?user=carol&password={}",
        house.carol
    ));
    let shown = program(java).await;
    let lines: Vec<&str> = shown.lines().collect();
    for line in [
        "zone UTC",
        "version PostgreSQL 15",
        // It may select, and neither update, insert nor delete.
        "privileges null|public|statements|f|t|f|f",
        "table public|statements|TABLE|One row for each statement that an agent sent, with what became of it|null",
        "field time|timestamptz|1|public|statements|f|when, in UTC, to the microsecond|f|f",
        "field tables|_text|11|public|statements|f|the tables that the statement names|f|f",
        "may select done",
        "count 5",
        "distinct 2",
        "values bot",
        "by day 2026-11-22|5",
        "by month 2026-11-01 00:00:00+00|5",
        "nested ddl|1",
    ] {
        assert!(lines.contains(&line), "{line}\n{shown}");
    }
    assert!(
        lines.contains(&"sample 5 [timestamptz, text, int8, float8, _text]"),
        "{shown}"
    );
    let of = |word: &str| lines.iter().filter(|line| line.starts_with(word)).count();
    // Each of these says that it is done, and nothing else.
    assert_eq!(
        [of("foreign key "), of("index "), of("enum ")],
        [1, 1, 1],
        "{shown}"
    );
    assert_eq!(of("table "), 13, "twelve and the end\n{shown}");
    assert!(!shown.contains("|public|pg_"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn python_reads_with_every_driver() {
    let house = House::build().await;
    let mut python = Command::new(drivers().join("python/bin/python"));
    python.args(["tests/clients/log_client.py", &house.url()]);
    let shown = program(python).await;
    let row = "2026-11-22T10:02:00+00:00 loader None 1.5 ['public.orders', 'other'] True";
    let expected = [
        format!("psycopg binary=False {row}"),
        format!("psycopg binary=True {row}"),
        "psycopg refused".to_owned(),
        "psycopg counts 5".to_owned(),
        format!("psycopg2 {row}"),
        format!("asyncpg {row}"),
        "asyncpg cursor [1, 2, 3, 4, 5]".to_owned(),
        "asyncpg cancelled".to_owned(),
        "asyncpg after 1".to_owned(),
        "sqlalchemy tables ['decisions', 'erasures', 'grants']".to_owned(),
        "sqlalchemy columns [('id', 'TEXT'), ('time', 'TIMESTAMP'), ('request', 'TEXT')]".to_owned(),
        "sqlalchemy reflects 12 What people decided [[], [], [], []]".to_owned(),
        "sqlalchemy options {} [] []".to_owned(),
        "pandas frame 3 datetime64[us, UTC] loader".to_owned(),
        "pandas counts 5".to_owned(),
        "pandas table ['id', 'time', 'request']".to_owned(),
        "pandas parts [2, 2, 1]".to_owned(),
    ];
    assert_eq!(shown.lines().collect::<Vec<_>>(), expected, "{shown}");
}
