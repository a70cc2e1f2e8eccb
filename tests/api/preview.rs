//! What the agent would read of a denial: the same words over the API, on the command line and in its error.

use countersign::desk::Wake;
use countersign::hold::message::denied_by_person;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{House, text};

#[tokio::test]
async fn a_denial_is_previewed_in_the_very_words_that_the_agent_reads_and_nothing_is_decided() {
    let house = House::build().await;
    let (parked, _) = house.park("DROP TABLE orders").await;
    let request = parked.request;
    let path = format!("/api/v1/requests/{request}/preview");
    let reasons = [
        "billing reads it".to_owned(),
        "é \u{202e}".to_owned(),
        "x".repeat(900),
    ];
    let mut previews = Vec::new();
    for reason in &reasons {
        let body = json!({ "reason": reason });
        let (status, shown) = house.call("alice", Method::POST, &path, Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{shown}");
        let message = text(&shown, "message").to_owned();
        assert!(message.is_ascii() && message.len() <= 480, "{message}");
        assert_eq!(shown["is_cut"], reason.len() == 900, "{shown}");
        assert_eq!(denied_by_person("alice", request, reason).message, message);
        let arguments = ["deny", request.as_str(), "--preview", "--reason", reason];
        let (exit, printed, complaint) = house.run("alice", &arguments).await;
        assert_eq!((exit, printed.trim_end()), (0, message.as_str()), "{complaint}");
        assert_eq!(complaint.is_empty(), reason.len() != 900, "{complaint}");
        previews.push(message);
    }
    assert_eq!(
        previews[0],
        format!("countersign: DENIED by alice ({request}): billing reads it. Do not retry or rephrase.")
    );
    // What could not be said cannot be previewed either.
    for reason in [" ", "two\nlines"] {
        let body = json!({ "reason": reason });
        let (status, problem) = house.call("alice", Method::POST, &path, Some(body)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    }
    let (status, _) = house
        .call(
            "alice",
            Method::POST,
            "/api/v1/requests/ZZZZZZ/preview",
            Some(json!({ "reason": "no" })),
        )
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, card) = house.get("alice", &format!("/api/v1/requests/{request}")).await;
    assert_eq!((&card["state"], &card["version"]), (&json!("pending"), &json!(1)));

    let denial = json!({ "decision": "deny", "reason": reasons[0] });
    let (status, _) = house.decide("alice", request.as_str(), denial).await;
    assert_eq!(status, StatusCode::OK);
    let Ok(Wake::Denied { by, reason }) = parked.woken.await else {
        panic!("not denied")
    };
    let told = denied_by_person(&by, request, &reason);
    assert_eq!(told.message, previews[0], "what it reads is what was shown");
}
