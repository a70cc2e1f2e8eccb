//! Breaking glass over the API, the command line and what others are told of it.

use countersign::desk::Wake;
use reqwest::{Method, StatusCode};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{App, House, text};

/// `bob` may break glass, with an authenticator app that he has had for two days.
pub async fn house() -> (House, App) {
    let house = House::build().await;
    let (status, changed) = house
        .call(
            "dave",
            Method::PATCH,
            "/api/v1/users/bob",
            Some(json!({ "roles": ["approver", "break_glass"] })),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    let app = App::of(&house, "bob").await;
    age_factors(&house);
    (house, app)
}

/// Every app was enrolled two days earlier.
pub fn age_factors(house: &House) {
    let store = Connection::open(house.folder.path().join("store.sqlite3")).expect("the store");
    store
        .execute("UPDATE totp SET made_at = made_at - 172800000000", [])
        .expect("older");
}

async fn break_glass(
    house: &House,
    who: &str,
    id: &str,
    body: &Value,
    code: Option<&str>,
) -> (StatusCode, Value) {
    let mut request = house
        .http
        .post(format!("{}/api/v1/requests/{id}/break-glass", house.url))
        .bearer_auth(&house.tokens[who])
        .json(body);
    if let Some(code) = code {
        request = request.header("countersign-code", code);
    }
    let response = request.send().await.expect("an answer");
    (response.status(), response.json().await.expect("JSON"))
}

pub fn alone(card: &Value) -> Value {
    json!({ "reason": "the shop is down", "digest": card["digest"], "version": card["version"] })
}

#[tokio::test]
async fn one_person_alone_approves_and_somebody_else_reviews_it() {
    let (house, app) = house().await;
    let (parked, card) = house.park("DROP TABLE orders").await;
    let id = parked.request.to_string();
    let (status, problem) = break_glass(&house, "bob", &id, &alone(&card), None).await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::FORBIDDEN, "step_up_needed")
    );
    let mut silent = alone(&card);
    silent["reason"] = json!(" ");
    let (status, problem) = break_glass(&house, "bob", &id, &silent, None).await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::UNPROCESSABLE_ENTITY, "reason_required")
    );
    let code = app.code(0);
    let (status, decided) = break_glass(&house, "bob", &id, &alone(&card), Some(&code)).await;
    assert_eq!(status, StatusCode::OK, "{decided}");
    assert_eq!(decided["state"], "approved");
    assert_eq!(decided["decisions"][0]["break_glass"], true, "{decided}");
    assert!(matches!(parked.woken.await, Ok(Wake::Approved { by, .. }) if by == ["bob"]));

    // Everybody who looks is told.
    let (_, open) = house.get("carol", "/api/v1/reviews").await;
    assert_eq!(open["items"][0]["request"], id.as_str(), "{open}");
    assert_eq!(open["items"][0]["state"], "open");
    assert_eq!(open["items"][0]["reason"], "the shop is down");
    let (_, metrics) = house.get("", "/metrics").await;
    let metrics = metrics.as_str().expect("text").to_owned();
    assert!(metrics.contains("countersign_open_reviews 1\n"), "{metrics}");
    let (_, _, told) = house.run("alice", &["pending"]).await;
    assert!(
        told.contains("1 review is open: `countersign review list`"),
        "{told}"
    );
    let (_, listed, _) = house.run("alice", &["pending", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(
        (&listed["open_reviews"], &listed["items"]),
        (&json!(1), &json!([])),
        "{listed}"
    );
    let (_, log) = house.get("carol", "/api/v1/log?q=event:break_glass").await;
    let records = log["items"].as_array().expect("items");
    assert_eq!(records.len(), 1, "{log}");
    assert_eq!(
        (
            &records[0]["kind"],
            &records[0]["approver"],
            &records[0]["decision"]
        ),
        (&json!("decision"), &json!("bob"), &json!("approve"))
    );

    // Not by the one who did it, nor by the agent's owner; by an auditor, once.
    let path = format!("/api/v1/requests/{id}/review");
    let finding = json!({ "finding": "not_fine", "text": "rita was awake" });
    for who in ["bob", "olivia", "rita", "frank"] {
        let (status, problem) = house.call(who, Method::POST, &path, Some(finding.clone())).await;
        assert_eq!(
            (status, text(&problem, "code")),
            (StatusCode::FORBIDDEN, "not_permitted"),
            "{who}"
        );
        assert!(!text(&problem, "next_step").is_empty());
    }
    let (status, problem) = house
        .call(
            "carol",
            Method::POST,
            &path,
            Some(json!({ "finding": "good", "text": "x" })),
        )
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let arguments = ["review", "sign", &id, "--finding", "not_fine", "rita was awake"];
    let (exit, printed, complaint) = house.run("carol", &arguments).await;
    assert_eq!(exit, 0, "{complaint}");
    assert!(
        printed.contains("not_fine, signed by carol: rita was awake"),
        "{printed}"
    );
    let (status, problem) = house.call("dave", Method::POST, &path, Some(finding)).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    let (_, open) = house.get("carol", "/api/v1/reviews").await;
    assert_eq!(open["items"], json!([]));
    let (_, signed) = house.get("carol", "/api/v1/reviews?state=signed").await;
    assert_eq!(signed["items"][0]["signed_by"], "carol", "{signed}");
    let (_, metrics) = house.get("", "/metrics").await;
    assert!(
        metrics
            .as_str()
            .expect("text")
            .contains("countersign_open_reviews 0\n")
    );
}

#[tokio::test]
async fn a_stolen_token_breaks_no_glass_even_if_it_enrols_an_app_of_its_own() {
    let house = House::build().await;
    let roles = json!({ "roles": ["break_glass"] });
    let (status, _) = house
        .call("dave", Method::PATCH, "/api/v1/users/bob", Some(roles))
        .await;
    assert_eq!(status, StatusCode::OK);
    let (parked, card) = house.park("DROP TABLE orders").await;
    let id = parked.request.to_string();
    let (status, problem) = break_glass(&house, "bob", &id, &alone(&card), None).await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::FORBIDDEN, "second_factor_needed")
    );
    let app = App::of(&house, "bob").await;
    let code = app.code(0);
    let (status, problem) = break_glass(&house, "bob", &id, &alone(&card), Some(&code)).await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::FORBIDDEN, "second_factor_needed"),
        "{problem}"
    );
    assert!(text(&problem, "detail").contains("24 h"), "{problem}");
    let (_, card) = house.get("alice", &format!("/api/v1/requests/{id}")).await;
    assert_eq!(card["state"], "pending");
    // The role alone decides nothing in the usual way.
    let (status, _) = house.decide("bob", &id, super::approval(&card)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn glass_is_broken_on_the_command_line_with_a_reason_and_a_code() {
    let (house, app) = house().await;
    let (parked, card) = house.park("DROP TABLE orders").await;
    let id = parked.request.to_string();
    let digest = text(&card, "digest");
    let (exit, _, complaint) = house
        .run("bob", &["approve", &id, "--break-glass", "--digest", digest])
        .await;
    assert_eq!(exit, 2, "a reason is required: {complaint}");
    let code = app.code(0);
    let arguments = [
        "approve",
        &id,
        "--break-glass",
        "--reason",
        "the shop is down",
        "--digest",
        digest,
        "--code",
        &code,
    ];
    let (exit, printed, complaint) = house.run("bob", &arguments).await;
    assert_eq!(exit, 0, "{complaint}");
    assert!(
        printed.contains(&format!("countersign review sign {id}")),
        "{printed}"
    );
    let (exit, shown, _) = house.run("alice", &["show", &id]).await;
    assert_eq!(exit, 0);
    assert!(shown.contains("approve alone (break glass) by bob"), "{shown}");
    let (_, listed, _) = house.run("alice", &["review", "list"]).await;
    assert!(
        listed.contains(&format!("{id}  open  approved alone by bob")) && listed.contains("the shop is down"),
        "{listed}"
    );
}
