//! The pages in real Chromium, with psql and mariadb as the agents, and the types of their modules.
//!
//! Never skips a browser that is missing. `tests/web/run.mjs` runs the files of cases that a test names; `./test` installs
//! what drives them.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::api::{Api, id_of};
use support::child::Demo;
use support::house::House;
use support::mariadb::Mariadb;
use support::server::{PROGRAM, Postgres, connect, eventually};

/// The shipped rules, below one whose requests can be handed on.
const SHIPPED: &str = include_str!("../rules/default.toml");
const HANDED_ON: &str = r#"groups = ["leads"]

[[rule]]
name = "handed-on"
tables = ["web_handed"]
outcome = "hold"
risk = "medium"
approvers = ["approver"]
escalate_to = ["leads"]
"#;

/// Before the rules that are shipped: what one case sees expire.
const SOON_OVER: &str = "[[rule]]\nname = \"soon-over\"\nclass = [\"ddl\"]\ntables = [\"web_expiring\"]\noutcome = \"hold\"\nexpires = \"6s\"\n\n";

/// One column of the file of labels is misspelt: a page tells of it.
const LABELS: &str =
    "[[column]]\ntable = \"public.persons\"\ncolumns = [\"ssn\", \"snn\"]\nlabels = [\"pii\"]\n";

const PERSONS: &str = "
    CREATE TABLE persons (id int PRIMARY KEY, ssn text, note text);
    INSERT INTO persons VALUES (1, 'old', 'old');
    GRANT ALL ON persons TO shop_owner;
    CREATE ROLE catalog_reader LOGIN PASSWORD 'reads';";

/// What each statement is told apart by, and the value that it binds to the labelled column.
const WITHHELD: [(&str, &str); 3] = [
    ("keyed", "078-Q7Zq-1120"),
    ("plain", "219-Q7Zq-9999"),
    ("contested", "457-Q7Zq-5462"),
];

/// Where `./test` installs what drives the browser.
fn modules() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("it is inside the target folder");
    let modules = target.join("drivers/web/node_modules");
    assert!(
        modules.exists(),
        "{} is missing: run ./test, which installs it",
        modules.display()
    );
    modules
}

/// Runs a program to its end; what it printed is in the message of a failure.
fn succeeds(command: &mut Command) {
    let ran = command.output().expect("node is installed");
    let out = String::from_utf8_lossy(&ran.stdout);
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{out}\n{errors}");
    assert!(!out.contains("not ok "), "{out}");
}

/// The files of cases that each test runs, in a demo of its own.
const DECIDING: [&str; 2] = ["cases/pages.mjs", "cases/expiry.mjs"];
const HANDING: [&str; 2] = ["cases/handing.mjs", "cases/rules.mjs"];
const PEOPLE: [&str; 1] = ["cases/people.mjs"];
const LOG: [&str; 1] = ["cases/log.mjs"];
const MARIADB: [&str; 1] = ["cases/mariadb.mjs"];
const LOOKS: [&str; 1] = ["cases/looks.mjs"];

/// Runs cases in Chromium on the pages of a demo in front of this server; `upstream` is its flag.
fn pass_in_a_browser(cases: &[&str], upstream: &str, url: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("rules.toml");
    std::fs::write(&rules, format!("{HANDED_ON}{SOON_OVER}{SHIPPED}")).expect("written");
    let demo = Demo::start(&[upstream, url, "--rules", rules.to_str().expect("a path")]);
    succeeds(&mut browser(&json!({
        "cases": cases,
        "program": PROGRAM,
        "data_dir": demo.sheet.data_dir,
        "postgres_url": demo.sheet.postgres_url,
        "mysql_url": demo.sheet.mysql_url,
        "api_url": demo.sheet.api_url,
        "web_url": demo.sheet.web_url,
        "log_ins": demo.sheet.log_ins,
    })));
}

fn pass_with_psql_as_the_agent(cases: &[&str]) {
    let postgres = Postgres::start();
    pass_in_a_browser(cases, "--upstream-postgres", &postgres.upstream_url());
}

/// Runs the cases that the sheet names.
fn browser(sheet: &Value) -> Command {
    let mut command = Command::new("node");
    command.arg("tests/web/run.mjs");
    command.env("COUNTERSIGN_SHEET", sheet.to_string());
    command.env("COUNTERSIGN_NODE_MODULES", modules());
    command
}

#[test]
fn every_file_of_cases_is_run() {
    let named = [&DECIDING[..], &HANDING, &PEOPLE, &LOG, &MARIADB, &LOOKS].concat();
    let named: BTreeSet<String> = named.into_iter().map(str::to_owned).collect();
    let entries = std::fs::read_dir("tests/web/cases").expect("the cases");
    let files = entries.map(|entry| entry.expect("a file").file_name());
    let there: BTreeSet<String> = files
        .map(|name| format!("cases/{}", name.to_str().expect("a name")))
        .collect();
    assert_eq!(named, there);
}

#[test]
fn people_decide_in_a_browser() {
    pass_with_psql_as_the_agent(&DECIDING);
}

#[test]
fn requests_are_handed_on_and_rules_tried_in_a_browser() {
    pass_with_psql_as_the_agent(&HANDING);
}

#[test]
fn people_manage_in_a_browser_what_they_sign_in_by() {
    pass_with_psql_as_the_agent(&PEOPLE);
}

#[test]
fn the_log_is_asked_in_a_browser() {
    pass_with_psql_as_the_agent(&LOG);
}

#[test]
fn every_page_is_accessible_in_every_look() {
    pass_with_psql_as_the_agent(&LOOKS);
}

#[test]
fn people_decide_in_a_browser_what_the_mariadb_client_sends() {
    let mariadb = Mariadb::start();
    mariadb.run(
        "CREATE DATABASE shop; CREATE USER app@'%' IDENTIFIED BY 'secret'; GRANT ALL ON shop.* TO app@'%';",
    );
    let url = mariadb.url("app", "secret", "shop");
    pass_in_a_browser(&MARIADB, "--upstream-mysql", &url);
}

/// A house that labels a column, with two reviewers.
async fn labelled_house(postgres: &Postgres) -> (House, Vec<Value>) {
    let admin = postgres.connect_as_superuser().await;
    admin.batch_execute(PERSONS).await.expect("the table");
    let sections = "[catalog]\nuser = \"catalog_reader\"\npassword_file = \"catalog-password\"\n\
                    refresh_seconds = 1\nstale_after_seconds = 60\n[labels]\nfile = \"labels.toml\"\n";
    let house = House::open_with(postgres, "", sections, |folder| {
        std::fs::write(folder.join("catalog-password"), "reads").expect("written");
        std::fs::write(folder.join("labels.toml"), LABELS).expect("written");
    });
    let log_ins = ["dba-1", "dba-2"].map(|person| {
        house.run(&["user", "add", person, "--role", "approver,auditor"]);
        let token = house.run(&["user", "token", person]);
        json!({ "person": person, "token": token["token"] })
    });
    (house, log_ins.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn withheld_values_are_shown_in_a_browser_to_whoever_is_to_decide() {
    let postgres = Postgres::start();
    let (house, log_ins) = labelled_house(&postgres).await;
    let api = Api::new(
        &house.serve.api_url,
        log_ins[0]["token"].as_str().expect("a token"),
    );
    let (mut held, mut agents) = (Vec::new(), Vec::new());
    for (mark, value) in WITHHELD {
        let agent = connect(&house.url("127.0.0.1")).await;
        let update = format!("UPDATE persons SET ssn = $1, note = '{mark}'");
        agents.push(tokio::spawn(
            async move { agent.execute(&update, &[&value]).await },
        ));
        let request = api.held(mark).await;
        eventually("its impact is estimated", async || {
            api.show(&id_of(&request)).await["impact"]["status"] != "estimating"
        })
        .await;
        held.push(json!({ "id": id_of(&request), "value": value }));
    }
    let mut command = browser(&json!({
        "cases": ["withheld.mjs"],
        "api_url": house.serve.api_url,
        "web_url": house.serve.api_url,
        "log_ins": log_ins,
        "withheld": held,
    }));
    tokio::task::spawn_blocking(move || succeeds(&mut command))
        .await
        .expect("every case passes");

    let mut ran = Vec::new();
    for agent in agents {
        ran.push(agent.await.expect("no panic").is_ok());
    }
    assert_eq!(ran, [true, true, false], "two are approved, the third is denied");
    let admin = postgres.connect_as_superuser().await;
    let row = admin.query_one("SELECT ssn FROM persons", &[]).await;
    assert_eq!(row.expect("a row").get::<_, String>(0), WITHHELD[1].1);
}

#[test]
fn the_modules_of_the_pages_are_well_typed() {
    let folder = Path::new("src/web/assets");
    let entries = std::fs::read_dir(folder).expect("the modules");
    let files = entries.map(|entry| entry.expect("a file").path());
    let scripts: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "js"))
        .collect();
    assert!(scripts.len() >= 6, "{scripts:?}");
    let mut command = Command::new(modules().join(".bin/tsc"));
    command.args([
        "--noEmit",
        "--allowJs",
        "--checkJs",
        "--strict",
        "--target",
        "es2024",
    ]);
    command.args(["--module", "esnext", "--moduleResolution", "bundler"]);
    command.args(["--lib", "es2024,dom,dom.iterable"]);
    command.args(scripts);
    succeeds(&mut command);
}
