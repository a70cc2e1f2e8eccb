//! A call that is sent again under its key counts once, on every route that changes something; and no key opens anything.

use countersign::api::idempotency::{Treatment, treatment};
use countersign::clock::Timestamp;
use countersign::store::sqlite::Store;
use countersign::store::{ANSWERS_BYTES_MAX, ANSWERS_MAX, KeptAnswer};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{House, ROUTES, approval, person, text};

struct Answer {
    status: StatusCode,
    body: Value,
    is_replayed: bool,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

async fn keyed(house: &House, who: &str, method: Method, path: &str, key: &str, body: &Value) -> Answer {
    let request = house
        .http
        .request(method, format!("{}/api/v1{path}", house.url))
        .bearer_auth(&house.tokens[who])
        .header("idempotency-key", key)
        .json(body);
    let response = request.send().await.expect("an answer");
    let status = response.status();
    let is_replayed = response.headers().contains_key("idempotency-replayed");
    let text = response.text().await.expect("a body");
    Answer {
        status,
        body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        is_replayed,
    }
}

async fn post(house: &House, who: &str, path: &str, key: &str, body: &Value) -> Answer {
    keyed(house, who, Method::POST, path, key, body).await
}

#[test]
fn every_route_that_changes_something_says_what_a_key_does() {
    let changing = ROUTES.iter().filter(|(method, _)| *method != "get");
    for (method, path) in changing {
        let path = path.strip_prefix("/api/v1").expect("a route of the API");
        assert!(treatment(method, path).is_some(), "{method} {path}");
    }
    assert_eq!(treatment("get", "/requests"), None);
}

#[tokio::test]
async fn the_document_tells_the_key_where_it_does_something() {
    let house = House::build().await;
    let (_, document) = house.get("", "/api/v1/openapi.json").await;
    for (method, path) in ROUTES.iter().filter(|(_, path)| path.starts_with("/api/v1")) {
        let operation = &document["paths"][path][method];
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let told: Vec<&Value> = parameters
            .iter()
            .filter(|parameter| parameter["name"] == "idempotency-key")
            .collect();
        let known = treatment(method, path.strip_prefix("/api/v1").expect("of the API"));
        let does = matches!(known, Some(Treatment::Again | Treatment::ShownOnce));
        assert_eq!(told.len(), usize::from(does), "{method} {path}: {told:?}");
        assert!(
            !does || operation["responses"]["409"].is_object(),
            "{method} {path} tells 409"
        );
    }
}

#[tokio::test]
async fn the_same_call_under_the_same_key_is_answered_as_before_and_done_once() {
    let house = House::build().await;
    let body = json!({ "name": "eve", "roles": ["approver"], "groups": ["dba"] });
    let first = post(&house, "dave", "/users", "key-1", &body).await;
    assert_eq!((first.status, first.is_replayed), (StatusCode::CREATED, false));
    for key in ["key-1", "\"key-1\""] {
        let again = post(&house, "dave", "/users", key, &body).await;
        assert_eq!(
            (again.status, again.is_replayed),
            (StatusCode::CREATED, true),
            "{}",
            again.body
        );
        assert_eq!(again.body, first.body);
    }
    let fresh = post(&house, "dave", "/users", "key-2", &body).await;
    assert_eq!(fresh.status, StatusCode::CONFLICT, "it is another call");
    // What was refused changed nothing: its key is free for the call as it should have been.
    let wrong = json!({ "name": "Not a name", "roles": ["approver"] });
    let refused = post(&house, "dave", "/users", "key-3", &wrong).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let right = json!({ "name": "erin", "roles": ["approver"] });
    let made = post(&house, "dave", "/users", "key-3", &right).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    // Without a body, and with nothing to say.
    for _ in 0..2 {
        let ended = keyed(
            &house,
            "dave",
            Method::DELETE,
            "/users/erin/tokens",
            "key-4",
            &json!({}),
        )
        .await;
        assert!(ended.status.is_success(), "{}", ended.body);
    }
}

#[tokio::test]
async fn a_key_of_another_call_or_that_cannot_be_read_is_refused() {
    let house = House::build().await;
    let body = json!({ "name": "eve", "roles": ["approver"] });
    let made = post(&house, "dave", "/users", "key", &body).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let other = json!({ "name": "erin", "roles": ["approver"] });
    let calls = [
        ("/users", &other),
        ("/users/eve/active", &json!({ "active": false })),
    ];
    for (path, body) in calls {
        let refused = post(&house, "dave", path, "key", body).await;
        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::UNPROCESSABLE_ENTITY, "key_reused"),
            "{path}"
        );
    }
    let (_, people) = house.get("dave", "/api/v1/users").await;
    let eve = people["items"].as_array().expect("items").iter();
    let eve: Vec<_> = eve
        .filter(|one| one["name"] == "eve" || one["name"] == "erin")
        .collect();
    assert_eq!((eve.len(), &eve[0]["active"]), (1, &json!(true)), "{people}");
    for key in ["", " ", &"k".repeat(129)] {
        let refused = post(&house, "dave", "/users", key, &other).await;
        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::BAD_REQUEST, "malformed"),
            "`{key}`"
        );
    }
    // A key is one person's: it neither finds nor blocks anybody else's.
    let comment = json!({ "text": "hm" });
    let (parked, _) = house.park("DROP TABLE orders").await;
    let path = format!("/requests/{}/comments", parked.request);
    for who in ["alice", "bob"] {
        let said = post(&house, who, &path, "key", &comment).await;
        assert_eq!((said.status, said.is_replayed), (StatusCode::OK, false), "{who}");
    }
}

#[tokio::test]
async fn what_is_shown_once_is_made_once_and_never_kept() {
    let house = House::build().await;
    let agent = json!({ "name": "bot-2", "owner": "alice", "database_user": "app" });
    let calls: [(&str, &str, &Value, &str); 5] = [
        ("alice", "/users/alice/tokens", &json!({}), "token"),
        ("dave", "/agents", &agent, "secret"),
        ("dave", "/agents/bot-2/rotate", &json!({}), "secret"),
        ("dave", "/users/bob/password-link", &json!({}), "link"),
        ("bob", "/me/links", &json!({}), "code"),
    ];
    let mut secrets = Vec::new();
    for (who, path, body, shown) in calls {
        let key = format!("key-of-{path}");
        let first = post(&house, who, path, &key, body).await;
        assert!(first.status.is_success(), "{path}: {}", first.body);
        let secret = first.body[shown]
            .as_str()
            .unwrap_or_else(|| panic!("{path} shows no `{shown}`: {}", first.body));
        secrets.push(secret.to_owned());
        let again = post(&house, who, path, &key, body).await;
        assert_eq!(
            (again.status, again.code()),
            (StatusCode::CONFLICT, "answered_before"),
            "{path}"
        );
        assert!(!again.body.to_string().contains(secret), "{path}");
        assert!(text(&again.body, "next_step").contains("new key"));
    }
    let (_, log) = house
        .get("carol", "/api/v1/log?q=event:token_issued%20by:alice&limit=100")
        .await;
    assert_eq!(log["items"].as_array().map(Vec::len), Some(1), "one token: {log}");
    let files = ["sqlite3", "sqlite3-wal"].map(|end| house.folder.path().join("store").with_extension(end));
    let kept: Vec<u8> = files
        .iter()
        .filter_map(|file| std::fs::read(file).ok())
        .flatten()
        .collect();
    assert!(!kept.is_empty());
    for secret in secrets {
        let bytes = secret.as_bytes();
        assert!(
            !kept.windows(bytes.len()).any(|window| window == bytes),
            "a secret is in the store"
        );
    }
}

#[tokio::test]
async fn calls_at_the_same_moment_under_one_key_count_once() {
    let house = House::build().await;
    let body = json!({});
    let calls = (0..12).map(|_| post(&house, "alice", "/users/alice/tokens", "key", &body));
    let answers = futures_util::future::join_all(calls).await;
    let made = answers
        .iter()
        .filter(|answer| answer.status == StatusCode::CREATED);
    assert_eq!(made.count(), 1);
    for answer in answers
        .iter()
        .filter(|answer| answer.status != StatusCode::CREATED)
    {
        assert_eq!(answer.status, StatusCode::CONFLICT);
        assert!(
            ["in_progress", "answered_before"].contains(&answer.code()),
            "{}",
            answer.body
        );
    }
    let (_, log) = house
        .get("carol", "/api/v1/log?q=event:token_issued%20by:alice&limit=100")
        .await;
    assert_eq!(log["items"].as_array().map(Vec::len), Some(1), "{log}");
}

#[tokio::test]
async fn a_replayed_key_approves_nothing_but_what_it_approved() {
    let mut house = House::build().await;
    let (parked, card) = house.park("DROP TABLE orders").await;
    let path = format!("/requests/{}/decision", parked.request);
    let first = post(&house, "alice", &path, "key", &approval(&card)).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    let again = post(&house, "alice", &path, "key", &approval(&card)).await;
    assert_eq!((again.status, again.is_replayed), (StatusCode::OK, true));
    assert_eq!(again.body["decisions"].as_array().map(Vec::len), Some(1));

    // On another statement, with its own digest or with the first one's.
    let (other, other_card) = house.park("DROP TABLE customers").await;
    let other_path = format!("/requests/{}/decision", other.request);
    for body in [approval(&card), approval(&other_card)] {
        let refused = post(&house, "alice", &other_path, "key", &body).await;
        assert_eq!(refused.code(), "key_reused", "{}", refused.body);
    }
    // By the agent's owner, who has seen the key: to that person it is a call like any other.
    let refused = post(&house, "olivia", &path, "key", &approval(&card)).await;
    assert_eq!(
        (refused.status, refused.is_replayed),
        (StatusCode::CONFLICT, false)
    );
    let refused = post(&house, "olivia", &other_path, "key", &approval(&other_card)).await;
    assert_eq!(refused.code(), "not_permitted", "{}", refused.body);
    // By a token that may only look: it does not even learn the answer.
    let refused = post(&house, "alice, reading", &path, "key", &approval(&card)).await;
    assert_eq!(refused.code(), "key_reused", "{}", refused.body);
    // By an agent, or by nobody.
    house.tokens.insert("agent", house.agent_secret.clone());
    let refused = post(&house, "agent", &path, "key", &approval(&card)).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    // And not by somebody who is not there any more.
    let (status, _) = house
        .call(
            "dave",
            Method::POST,
            "/api/v1/users/alice/active",
            Some(json!({ "active": false })),
        )
        .await;
    assert_eq!(status, StatusCode::OK);
    let refused = post(&house, "alice", &path, "key", &approval(&card)).await;
    assert_eq!(
        (refused.status, refused.is_replayed),
        (StatusCode::UNAUTHORIZED, false)
    );
    let (_, left) = house
        .get("bob", &format!("/api/v1/requests/{}", other.request))
        .await;
    assert_eq!(left["state"], "pending");
}

#[tokio::test]
async fn an_answer_is_given_again_for_a_day_and_by_the_next_process_too() {
    let house = House::build().await;
    let mut store = Store::open(&house.folder.path().join("store.sqlite3")).expect("the store");
    let now = Timestamp::now();
    let alice = person("alice");
    let answer = KeptAnswer {
        call: [7; 32],
        status: 200,
        body: Some("{}".to_owned()),
    };
    store.keep_answer(&alice, "key", &answer, now).expect("kept");
    drop(store);
    let mut store = Store::open(&house.folder.path().join("store.sqlite3")).expect("the store again");
    let day = 24 * 3600 * 1_000_000;
    let at = |micros: i64| Timestamp::from_micros(now.micros() + micros);
    let found = |store: &mut Store, at: Timestamp| store.kept_answer(&alice, "key", at).expect("an answer");
    assert_eq!(found(&mut store, at(day - 1)), Some(answer.clone()));
    assert_eq!(found(&mut store, at(day)), None, "a day is over");
    // One person has a share, and the oldest answers make room for newer ones.
    let share = usize::try_from(ANSWERS_BYTES_MAX).expect("some megabytes");
    let large = KeptAnswer {
        body: Some("x".repeat(share / 2)),
        ..answer.clone()
    };
    for key in ["large 1", "large 2"] {
        store.keep_answer(&alice, key, &large, now).expect("kept");
    }
    assert_eq!(found(&mut store, now), None, "there was no room for it");
    let kept = store.kept_answer(&alice, "large 1", now).expect("an answer");
    assert_eq!(kept, Some(large));
    let bob = person("bob");
    for number in 0..=ANSWERS_MAX {
        store
            .keep_answer(&bob, &number.to_string(), &answer, now)
            .expect("kept");
    }
    assert_eq!(store.kept_answer(&bob, "0", now).expect("an answer"), None);
    assert_eq!(
        store.kept_answer(&bob, "1", now).expect("an answer"),
        Some(answer)
    );
    // Another person's answers are not touched by that.
    assert!(
        store
            .kept_answer(&alice, "large 2", now)
            .expect("an answer")
            .is_some()
    );
}
