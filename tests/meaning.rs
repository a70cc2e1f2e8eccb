//! Statements that look like reads and run somebody's function, each tried on a real server: what touches the canary there
//! is not judged as a read here. And what does not touch it, though the names are there, is.

mod support;

use std::sync::Arc;
use std::time::Duration;

use countersign::catalog::keeper::Source as _;
use countersign::catalog::postgres::{ListedFunctions, Reader, SessionState, Settings, Snapshot, View};
use countersign::sql::action::Class;
use countersign::sql::judge_postgres;
use countersign::sql::names::NamesThen;
use countersign::sql::parse::PARSER_STACK_BYTES;
use countersign::sql::statement::LexingState;
use support::server::{Postgres, connect};
use tokio_postgres::Client;

const DATABASE: &str = "traps";

const TRAPS: &str = "
CREATE TABLE public.canary (n int);
CREATE SCHEMA clean;
CREATE FUNCTION public.sting(text) RETURNS text LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.canary VALUES (1); RETURN $1; END';
CREATE FUNCTION public.same(varchar, varchar) RETURNS boolean LANGUAGE sql AS 'SELECT public.sting($1) IS NOT NULL';
CREATE TABLE public.customers (id int PRIMARY KEY, name varchar);
CREATE TABLE public.others (id int, name varchar);
INSERT INTO public.customers VALUES (1, 'a');
INSERT INTO public.others VALUES (1, 'a');
CREATE FUNCTION public.lower(varchar) RETURNS text LANGUAGE sql AS 'SELECT public.sting($1)';
CREATE FUNCTION public.wipe(public.customers) RETURNS text LANGUAGE sql AS 'SELECT public.sting($1.name)';
CREATE FUNCTION public.whole(record) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN public.sting(''x''); END';
CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.same);
CREATE OPERATOR public.>= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.same);
CREATE OPERATOR public.~~ (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.same);
CREATE AGGREGATE public.sum (varchar) (SFUNC = public.sting_on, STYPE = text);
CREATE DOMAIN public.upper AS text CHECK (public.sting(VALUE) IS NOT NULL);
CREATE DOMAIN public.checked AS text CHECK (public.sting(VALUE) IS NOT NULL);
CREATE TYPE public.pair AS (a public.checked);
CREATE TYPE public.mood AS ENUM ('fine');
CREATE FUNCTION public.said(public.mood) RETURNS text LANGUAGE sql AS 'SELECT public.sting(''x'')';
CREATE CAST (public.mood AS varchar) WITH FUNCTION public.said(public.mood) AS IMPLICIT;
CREATE TABLE public.moods (m public.mood);
INSERT INTO public.moods VALUES ('fine');
CREATE VIEW public.looks_plain AS SELECT public.sting('x') AS a;
CREATE TABLE public.traced (id int, note text DEFAULT public.sting('x'));
CREATE TYPE public.size AS ENUM ('small');
";

/// The state function of the aggregate, which must stand before it.
const STING_ON: &str = "CREATE FUNCTION public.sting_on(text, varchar) RETURNS text LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.canary VALUES (1); RETURN $2; END';";

const ATTACKS: [&str; 37] = [
    "SELECT lower(name) FROM customers",
    "SELECT lower('X'::varchar)",
    "SELECT c.wipe FROM customers c",
    "SELECT (c).wipe FROM customers c",
    "SELECT wipe(c) FROM customers c",
    "SELECT wipe(customers) FROM customers",
    "SELECT wipe(ROW(1, 'a'))",
    "SELECT q.whole FROM (SELECT 1 AS a) q",
    "WITH q AS (SELECT 1 AS a) SELECT q.whole FROM q",
    "SELECT whole(j) FROM (customers a CROSS JOIN others b) j",
    "SELECT ('x'::text).sting",
    "SELECT (ARRAY['x'])[1].sting",
    "SELECT f.sting FROM unnest(ARRAY['x']) f",
    "SELECT unnest.sting FROM unnest(ARRAY['x'])",
    "SELECT upper('x')",
    "SELECT checked('x')",
    "SELECT ('x'::text).checked",
    "SELECT 'x'::checked",
    "SELECT checked 'x'",
    "SELECT '{x}'::checked[]",
    "SELECT '(x)'::pair",
    "SELECT * FROM json_populate_record(NULL::pair, '{\"a\": \"x\"}')",
    "SELECT * FROM json_to_record('{\"a\": \"x\"}') AS r(a checked)",
    "SELECT id FROM customers WHERE name = 'a'",
    "SELECT id FROM customers WHERE name IN ('a', 'b')",
    "SELECT id FROM customers WHERE name = ANY (ARRAY['a'::varchar])",
    "SELECT id FROM customers WHERE name IS NOT DISTINCT FROM 'a'",
    "SELECT NULLIF(name, 'a') FROM customers",
    "SELECT CASE name WHEN 'a' THEN 1 END FROM customers",
    "SELECT 1 FROM customers JOIN others USING (name)",
    "SELECT 1 FROM customers c WHERE name IN (SELECT name FROM others)",
    "SELECT id FROM customers WHERE name BETWEEN 'a' AND 'b'",
    "SELECT id FROM customers WHERE name LIKE 'a%'",
    "SELECT sum(name) FROM customers",
    "SELECT 'fine'::mood::varchar",
    "SELECT concat(m::varchar) FROM moods",
    "SELECT * FROM looks_plain",
];

/// Beside the same traps, where these cannot be meant: they are qualified, or not on the path, or not for these values.
const HARMLESS: [&str; 9] = [
    "SELECT pg_catalog.lower(name), id OPERATOR(pg_catalog.=) 1 FROM public.customers",
    "SELECT lower(name) FROM public.customers WHERE name = 'a' AND name LIKE 'a%'",
    "SELECT c.name, c.ctid FROM public.customers c ORDER BY c.name",
    "SELECT upper('x'), upper(name) FROM public.customers",
    "SELECT sum(id), count(*) FROM public.customers GROUP BY name",
    "SELECT 'small'::public.size, '{small}'::public.size[]",
    "SELECT 1 FROM public.customers JOIN public.others USING (name)",
    "SELECT * FROM json_to_record('{\"a\": \"x\"}') AS r(a text)",
    "SELECT s.name FROM (SELECT name FROM public.others) s, generate_series(1, 2) g(n) WHERE g.n = 1",
];

/// Whether the server, when it runs this, touches the canary; `None`: it does not run at all.
async fn touches(client: &Client, sql: &str) -> Option<bool> {
    let ran = client.batch_execute(&format!("BEGIN; {sql}")).await;
    let touched = match ran {
        Ok(()) => {
            let row = client.query_one("SELECT count(*) FROM public.canary", &[]).await;
            Some(row.expect("the canary").get::<_, i64>(0) > 0)
        }
        Err(_) => None,
    };
    client.batch_execute("ROLLBACK").await.expect("rolled back");
    touched
}

/// On the stack that readers are promised.
fn class(snapshot: &Arc<Snapshot>, search_path: &'static str, sql: &'static str) -> (Class, Vec<String>) {
    let snapshot = Arc::clone(snapshot);
    let judge = move || {
        let session = SessionState {
            search_path,
            role: "app_rw",
            has_temporary_objects: false,
            has_uncommitted_ddl: false,
        };
        let names = NamesThen {
            catalog: Some(Arc::new(View::new(snapshot, session))),
            ..NamesThen::default()
        };
        let judged = judge_postgres(sql.as_bytes(), LexingState::default_postgres(), &names);
        (judged.class(), judged.actions[0].reasons.clone())
    };
    let thread = std::thread::Builder::new()
        .stack_size(PARSER_STACK_BYTES)
        .spawn(judge);
    thread.expect("a thread").join().expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_somebodys_function_on_the_server_is_no_read_here() {
    let postgres = Postgres::start();
    let url = |database: &str| postgres.server().superuser_url(database);
    let setup = connect(&url("postgres")).await;
    for sql in [
        "CREATE DATABASE traps",
        "CREATE ROLE countersign_catalog LOGIN PASSWORD 'reads names'",
    ] {
        setup.batch_execute(sql).await.expect("made");
    }
    let client = connect(&url(DATABASE)).await;
    client.batch_execute(STING_ON).await.expect("made");
    client.batch_execute(TRAPS).await.expect("made");
    let settings = Settings {
        host: "127.0.0.1".to_owned(),
        port: postgres.server().port(),
        user: "countersign_catalog".to_owned(),
        password: "reads names".to_owned().into(),
        tls: None,
        timeout: Duration::from_secs(20),
    };
    let mut reader = Reader::open(Arc::new(settings), DATABASE);
    let snapshot = reader
        .read(&ListedFunctions::default())
        .await
        .expect("the catalog is read");
    let mut wrong = Vec::new();
    for sql in ATTACKS {
        if touches(&client, sql).await != Some(true) {
            wrong.push(format!("no attack at all: {sql}"));
        }
        if let (class @ (Class::Read | Class::Session | Class::Transaction), _) =
            class(&snapshot, "public", sql)
        {
            wrong.push(format!("{class}, and it calls: {sql}"));
        }
    }
    let insert = "INSERT INTO traced (id) VALUES (1)";
    assert_eq!(touches(&client, insert).await, Some(true));
    assert_eq!(class(&snapshot, "public", insert).0, Class::Procedural);
    client
        .batch_execute("SET search_path = clean")
        .await
        .expect("set");
    for sql in HARMLESS {
        if touches(&client, sql).await != Some(false) {
            wrong.push(format!("an attack, or nothing at all: {sql}"));
        }
        let (class, reasons) = class(&snapshot, "clean", sql);
        if class != Class::Read {
            wrong.push(format!("{class}, and it only reads: {sql}: {reasons:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
