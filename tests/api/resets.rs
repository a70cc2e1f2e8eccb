//! An administrator with an agent of their own, and all that they can do over the API to decide for it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{House, approval, text};

/// dave, an administrator, has rotated the agent's secret: what it asks is his to decide no longer.
async fn house() -> House {
    let house = House::build().await;
    let path = "/api/v1/agents/bot/rotate";
    let (status, rotated) = house.call("dave", Method::POST, path, None).await;
    assert_eq!(status, StatusCode::OK, "{rotated}");
    house
}

async fn refused(house: &House, who: &str, what: &str) {
    let (_parked, card) = house.park("DROP TABLE orders").await;
    let id = text(&card, "id").to_owned();
    for body in [approval(&card), json!({ "decision": "deny", "reason": "no" })] {
        let (status, problem) = house.decide(who, &id, body).await;
        let said = (status, text(&problem, "code"));
        assert_eq!(
            said,
            (StatusCode::FORBIDDEN, "not_permitted"),
            "{what}: {problem}"
        );
        let detail = text(&problem, "detail");
        assert!(
            detail.contains(&format!("`dave` has set how `{who}` signs in")) && detail.contains("until 20"),
            "{what}: {problem}"
        );
        assert!(text(&problem, "next_step").contains("somebody else"), "{problem}");
    }
    // The command line says the same.
    let digest = text(&card, "digest");
    let (exit, _, complaint) = house.run(who, &["approve", &id, "--digest", digest]).await;
    assert_ne!(exit, 0, "{what}");
    assert!(
        complaint.contains("has set how") && complaint.contains("somebody else"),
        "{what}: {complaint}"
    );
    let (status, card) = house.decide("bob", &id, approval(&card)).await;
    assert_eq!(status, StatusCode::OK, "{what}: bob is nobody's: {card}");
}

#[tokio::test]
async fn an_administrator_who_resets_somebody_does_not_decide_in_their_name() {
    let deactivated = |active| {
        (
            Method::POST,
            "/api/v1/users/alice/active",
            json!({ "active": active }),
        )
    };
    type Calls = Vec<(Method, &'static str, Value)>;
    let resets: [(&str, Calls); 3] = [
        (
            "a one-time code",
            vec![(Method::POST, "/api/v1/users/alice/password-link", json!({}))],
        ),
        (
            "forgotten factors",
            vec![(Method::DELETE, "/api/v1/users/alice/factors", json!({}))],
        ),
        ("let in again", vec![deactivated(false), deactivated(true)]),
    ];
    for (what, calls) in resets {
        let house = house().await;
        let (_parked, card) = house.park("DROP TABLE orders").await;
        let (status, _) = house.decide("alice", text(&card, "id"), approval(&card)).await;
        assert_eq!(status, StatusCode::OK, "before {what} alice is herself");
        for (method, path, body) in calls {
            let (status, done) = house.call("dave", method, path, Some(body)).await;
            assert!(status.is_success(), "{what}: {done}");
        }
        refused(&house, "alice", what).await;
    }
}

#[tokio::test]
async fn an_administrator_gives_themselves_nothing_and_another_one_does() {
    let mut house = house().await;
    let path = "/api/v1/users/dave";
    let more = [
        json!({ "roles": ["admin", "break_glass"] }),
        json!({ "groups": ["dba"] }),
    ];
    // Nor by somebody made up, whose token he has seen.
    let sock = json!({ "name": "sock", "roles": ["admin"] });
    house
        .call("dave", Method::POST, "/api/v1/users", Some(sock))
        .await;
    house.issue("dave", "sock", "sock", json!({})).await;
    for who in ["dave", "sock"] {
        for body in &more {
            let (status, problem) = house.call(who, Method::PATCH, path, Some(body.clone())).await;
            assert_eq!(
                (status, text(&problem, "code")),
                (StatusCode::FORBIDDEN, "forbidden"),
                "{who}: {problem}"
            );
            let next = text(&problem, "next_step");
            assert!(
                next.contains("another administrator") && next.contains("user set"),
                "{problem}"
            );
        }
    }
    // On the machine of the store it goes, and is recorded.
    let folder = house.folder.path().to_str().expect("UTF-8").to_owned();
    let arguments = [
        "user",
        "set",
        "dave",
        "--role",
        "admin,break_glass",
        "--data-dir",
        &folder,
        "--as",
        "dave",
    ];
    let (exit, _, complaint) = house.run("dave", &arguments).await;
    assert_eq!(exit, 0, "{complaint}");
    let (_, me) = house.get("dave", "/api/v1/me").await;
    assert_eq!(me["roles"], json!(["admin", "break_glass"]), "{me}");
    let less = Some(json!({ "roles": ["admin"] }));
    let (status, changed) = house.call("dave", Method::PATCH, path, less).await;
    assert_eq!(status, StatusCode::OK, "less is one's own affair: {changed}");
    let (_, log) = house
        .get("carol", "/api/v1/log?kind=people_change&limit=100")
        .await;
    let told = log["items"].as_array().expect("items");
    let told: Vec<&Value> = told
        .iter()
        .filter(|item| item["change"] == "person_changed")
        .collect();
    assert_eq!(told.len(), 2, "{log}");
}

/// dave comes as alice, whose second factors he has taken away, and makes as her what is to be somebody else's.
#[tokio::test]
async fn what_an_administrator_makes_as_somebody_whom_they_have_reset_is_seen_by_them() {
    let mut house = house().await;
    let more = Some(json!({ "roles": ["admin", "approver"] }));
    let (status, changed) = house
        .call("dave", Method::PATCH, "/api/v1/users/alice", more)
        .await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    let path = "/api/v1/users/alice/factors";
    let (status, forgotten) = house.call("dave", Method::DELETE, path, Some(json!({}))).await;
    assert!(status.is_success(), "{forgotten}");

    let made = house.issue("alice", "bob", "bob by alice", json!({})).await;
    assert_eq!(made["seen_by"], json!(["alice", "dave"]), "{made}");
    let own = house.issue("alice", "alice", "alice by alice", json!({})).await;
    assert_eq!(own["seen_by"], json!(["dave"]), "{own}");
    let path = "/api/v1/users/carol/password-link";
    let (_, link) = house.call("alice", Method::POST, path, Some(json!({}))).await;
    assert_eq!(link["seen_by"], json!(["alice", "dave"]), "{link}");

    let (_parked, card) = house.park("DROP TABLE orders").await;
    let id = text(&card, "id").to_owned();
    let (status, problem) = house.decide("bob by alice", &id, approval(&card)).await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::FORBIDDEN, "not_permitted"),
        "{problem}"
    );
    let detail = text(&problem, "detail");
    assert!(
        detail.contains("`dave` has seen what `bob` signs in by"),
        "{problem}"
    );
    let (status, card) = house.decide("bob", &id, approval(&card)).await;
    assert_eq!(status, StatusCode::OK, "bob's own token is nobody else's: {card}");
}
