//! The pages in real Chromium, with psql and mariadb as the agents, and the types of their modules.
//!
//! Never skips a browser that is missing. The cases are in `tests/web/run.mjs`; `./test` installs what drives them.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::child::Demo;
use support::mariadb::Mariadb;
use support::server::{PROGRAM, Postgres};

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

#[test]
fn people_decide_in_a_browser() {
    let postgres = Postgres::start();
    let mariadb = Mariadb::start();
    mariadb.run(
        "CREATE DATABASE shop; CREATE USER app@'%' IDENTIFIED BY 'secret'; GRANT ALL ON shop.* TO app@'%';",
    );
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("rules.toml");
    std::fs::write(&rules, format!("{HANDED_ON}{SOON_OVER}{SHIPPED}")).expect("written");
    let demo = Demo::start(&[
        "--upstream-postgres",
        &postgres.upstream_url(),
        "--upstream-mysql",
        &mariadb.url("app", "secret", "shop"),
        "--rules",
        rules.to_str().expect("a path"),
    ]);
    let sheet = serde_json::json!({
        "program": PROGRAM,
        "data_dir": demo.sheet.data_dir,
        "postgres_url": demo.sheet.postgres_url,
        "mysql_url": demo.sheet.mysql_url,
        "api_url": demo.sheet.api_url,
        "web_url": demo.sheet.web_url,
        "log_ins": demo.sheet.log_ins,
    });
    let mut command = Command::new("node");
    command.arg("tests/web/run.mjs");
    command.env("COUNTERSIGN_SHEET", sheet.to_string());
    command.env("COUNTERSIGN_NODE_MODULES", modules());
    succeeds(&mut command);
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
