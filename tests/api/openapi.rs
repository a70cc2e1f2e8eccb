//! The API against its own description, by programs that know neither: openapi-spec-validator reads the document,
//! schemathesis calls every operation with what the document allows and with what it does not.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::process::Command;

use super::{House, text};

/// Both take well under a minute; one that hangs is said to.
const CHECK_TIME_MAX: Duration = Duration::from_secs(150);
/// Streams do not end by themselves: `events_are_told_and_can_be_resumed` and others read them.
const STREAMS: [&str; 2] = ["/api/v1/events", "/api/v1/log/tail"];

/// Where `./test` installs both programs.
fn program(name: &str) -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_countersign"));
    let target = binary.ancestors().nth(2).expect("target/profile/binary");
    let path = target.join("drivers/api/bin").join(name);
    assert!(
        path.exists(),
        "{} is missing: run ./test, which installs it",
        path.display()
    );
    path
}

/// Runs to the end; what it printed, if it did not succeed.
async fn run(mut command: Command) -> Result<(), String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let done = tokio::time::timeout(CHECK_TIME_MAX, command.output())
        .await
        .map_err(|_| format!("not done within {CHECK_TIME_MAX:?}"))?
        .expect("the program starts");
    if done.status.success() {
        return Ok(());
    }
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Err(shown(&done.stdout) + &shown(&done.stderr))
}

/// The settings of schemathesis, which take 429 only from operations that are described to answer it: those at which
/// somebody could guess.
fn with_429(document: &serde_json::Value) -> String {
    let mut config = include_str!("schemathesis.toml").to_owned();
    let mut guessed = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            if operation["responses"]["429"].is_object() {
                guessed += 1;
                config.push_str(&format!(
                    "\n[[operations]]\ninclude-name = \"{} {path}\"\nchecks.positive_data_acceptance.expected-statuses = \
                     [\"2xx\", \"401\", \"403\", \"404\", \"409\", \"422\", \"429\"]\n",
                    method.to_uppercase()
                ));
            }
        }
    }
    assert!((1..25).contains(&guessed), "{guessed} operations answer 429");
    config
}

#[tokio::test]
async fn the_document_is_valid_openapi_3_1() {
    let house = House::build().await;
    let (status, document) = house.get("", "/api/v1/openapi.json").await;
    assert_eq!(status, StatusCode::OK);
    let file = house.folder.path().join("openapi.json");
    std::fs::write(&file, document.to_string()).expect("written");
    let mut command = Command::new(program("openapi-spec-validator"));
    command.args(["--schema", "3.1"]).arg(&file);
    if let Err(printed) = run(command).await {
        panic!("{printed}");
    }
}

#[tokio::test]
async fn schemathesis_finds_no_answer_that_is_not_described() {
    let house = House::build().await;
    let sam = json!({ "name": "sam", "roles": ["approver", "auditor", "admin"] });
    let (status, _) = house.call("dave", Method::POST, "/api/v1/users", Some(sam)).await;
    assert_eq!(status, StatusCode::CREATED);
    let path = "/api/v1/users/sam/tokens";
    let (status, made) = house.call("dave", Method::POST, path, Some(json!({}))).await;
    assert_eq!(status, StatusCode::CREATED);
    // Something to find in every list.
    let mut waiting = Vec::new();
    for statement in [
        "DROP TABLE orders",
        "DROP TABLE \"\u{202E}orders\" -- ☃",
        "DROP TABLE a;",
    ] {
        waiting.push(house.park(statement).await);
    }
    let (_, document) = house.get("", "/api/v1/openapi.json").await;
    let config = house.folder.path().join("schemathesis.toml");
    std::fs::write(&config, with_429(&document)).expect("written");
    let mut command = Command::new(program("st"));
    command
        .arg("--config-file")
        .arg(&config)
        .args(["--no-color", "run", "--checks", "all", "--warnings", "off"])
        .arg(format!("{}/api/v1/openapi.json", house.url))
        .args([
            "--header",
            &format!("Authorization: Bearer {}", text(&made, "token")),
        ])
        .current_dir(house.folder.path());
    for path in STREAMS {
        command.args(["--exclude-path", path]);
    }
    if let Err(printed) = run(command).await {
        panic!("{printed}");
    }
}
