//! Values that are withheld, over the API and on the command line: shown to whoever has given what an approval takes.

use std::time::Duration;

use countersign::desk::{Asked, Parked};
use countersign::policy::Requirement;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::break_glass::{age_factors, alone};
use super::{App, House, approval, text};

const VALUE: &str = "078-05-1120";

/// A statement of high risk with a value that is withheld, for the group of `alice`, and its card.
async fn park(house: &House) -> (Parked, Value) {
    let mut ask = house.ask(b"DROP TABLE orders");
    ask.verdict.requirement = Requirement::of(vec!["dba".to_owned()], 1);
    ask.parameters[0].value = Some(VALUE.to_owned());
    ask.parameters[0].redacted = vec!["pii".to_owned()];
    ask.column_labels = vec!["pii".to_owned()];
    let Asked::Parked(parked) = house.desk.ask(ask).await.expect("taken") else {
        panic!("no grant was there")
    };
    let (_, card) = house
        .get("alice", &format!("/api/v1/requests/{}", parked.request))
        .await;
    assert_eq!(
        (&card["withheld"], text(&card, "risk")),
        (&json!(true), "high"),
        "{card}"
    );
    assert_told_nowhere(&card);
    (parked, card)
}

fn assert_told_nowhere(answer: &Value) {
    assert!(!answer.to_string().contains(VALUE), "{answer}");
}

/// What somebody does with a request by token, with a one-time code or without.
async fn post(house: &House, who: &str, path: &str, body: &Value, code: Option<&str>) -> (StatusCode, Value) {
    let mut request = house
        .http
        .post(format!("{}/api/v1/requests/{path}", house.url))
        .bearer_auth(&house.tokens[who])
        .json(body);
    if let Some(code) = code {
        request = request.header("countersign-code", code);
    }
    let response = request.send().await.expect("an answer");
    (response.status(), response.json().await.expect("JSON"))
}

/// A wrong code is followed by a second in which none is taken.
async fn next_attempt() {
    tokio::time::sleep(Duration::from_millis(1100)).await;
}

#[tokio::test]
async fn a_token_is_shown_values_with_a_code_and_approves_with_a_later_one() {
    let house = House::build().await;
    let app = App::of(&house, "alice").await;
    let (parked, card) = park(&house).await;
    let reveal = format!("{}/reveal", parked.request);
    let decision = format!("{}/decision", parked.request);
    let needed = (StatusCode::FORBIDDEN, "step_up_needed");

    let (status, problem) = post(&house, "alice", &reveal, &json!({}), None).await;
    assert_eq!((status, text(&problem, "code")), needed);
    assert!(text(&problem, "next_step").contains("--code"), "{problem}");
    // The code that was used to enrol does not count again.
    let wrong = app.code(-1);
    let (status, problem) = post(&house, "alice", &reveal, &json!({}), Some(&wrong)).await;
    assert_eq!((status, text(&problem, "code")), needed);
    assert_told_nowhere(&problem);
    let (_, log) = house.get("carol", "/api/v1/log?q=event:revealed").await;
    assert_eq!(log["items"], json!([]), "{log}");

    next_attempt().await;
    let code = app.code(0);
    let (status, shown) = post(&house, "alice", &reveal, &json!({}), Some(&code)).await;
    assert_eq!(status, StatusCode::OK, "{shown}");
    assert_eq!(shown["parameters"][0]["value"], VALUE);
    let (_, log) = house.get("carol", "/api/v1/log?q=event:revealed").await;
    assert_eq!(log["items"][0]["by"], "alice", "{log}");
    assert_told_nowhere(&log);

    // A code counts once: what has shown the values approves nothing, and shows them no second time.
    let (status, problem) = post(&house, "alice", &decision, &approval(&card), Some(&code)).await;
    assert_eq!((status, text(&problem, "code")), needed);
    let (status, problem) = post(&house, "alice", &reveal, &json!({}), None).await;
    assert_eq!((status, text(&problem, "code")), needed);
    assert_told_nowhere(&problem);
    next_attempt().await;
    let code = app.code(1);
    let (status, decided) = post(&house, "alice", &decision, &approval(&card), Some(&code)).await;
    assert_eq!(status, StatusCode::OK, "{decided}");
    assert_eq!(decided["state"], "approved");
    assert_told_nowhere(&decided);
}

#[tokio::test]
async fn a_token_with_the_right_to_break_glass_alone_is_shown_values_with_a_second_log_in() {
    let house = House::build().await;
    let roles = json!({ "roles": ["break_glass"] });
    let (status, changed) = house
        .call("dave", Method::PATCH, "/api/v1/users/bob", Some(roles))
        .await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    let app = App::of(&house, "bob").await;
    age_factors(&house);
    let (parked, card) = park(&house).await;
    let reveal = format!("{}/reveal", parked.request);
    let (status, problem) = post(&house, "bob", &reveal, &json!({}), None).await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::FORBIDDEN, "step_up_needed")
    );
    assert_told_nowhere(&problem);
    let code = app.code(0);
    let (status, shown) = post(&house, "bob", &reveal, &json!({}), Some(&code)).await;
    assert_eq!(status, StatusCode::OK, "{shown}");
    assert_eq!(shown["parameters"][0]["value"], VALUE);
    let code = app.code(1);
    let path = format!("{}/break-glass", parked.request);
    let (status, decided) = post(&house, "bob", &path, &alone(&card), Some(&code)).await;
    assert_eq!(status, StatusCode::OK, "{decided}");
    assert_eq!(decided["decisions"][0]["break_glass"], true, "{decided}");
}

#[tokio::test]
async fn values_are_shown_on_the_command_line_with_a_code() {
    let house = House::build().await;
    let app = App::of(&house, "alice").await;
    let (parked, card) = park(&house).await;
    let id = parked.request.to_string();
    let (exit, _, complaint) = house.run("alice", &["show", &id, "--code", "123456"]).await;
    assert_eq!(exit, 2, "a code is for what is withheld: {complaint}");
    let (exit, printed, complaint) = house.run("alice", &["show", &id, "--reveal"]).await;
    assert_eq!(exit, 5, "{complaint}");
    assert!(complaint.contains("--code"), "{complaint}");
    assert!(!printed.contains(VALUE), "{printed}");
    let code = app.code(0);
    let (exit, printed, complaint) = house
        .run("alice", &["show", &id, "--reveal", "--code", &code])
        .await;
    assert_eq!(exit, 0, "{complaint}");
    assert!(printed.contains(VALUE), "{printed}");
    let code = app.code(1);
    let digest = text(&card, "digest");
    let (exit, _, complaint) = house
        .run("alice", &["approve", &id, "--digest", digest, "--code", &code])
        .await;
    assert_eq!(exit, 0, "{complaint}");
}
