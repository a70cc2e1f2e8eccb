//! A reviewer's API client, as short as tests want it.

use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

/// One person's way to the decision API.
#[derive(Clone)]
pub struct Api {
    client: Client,
    url: String,
    token: String,
}

impl Api {
    pub fn new(url: &str, token: &str) -> Self {
        // Only the first test of a process installs it; the others find it there.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Api {
            client: Client::new(),
            url: url.to_owned(),
            token: token.to_owned(),
        }
    }

    /// `path` begins behind `/api/v1`.
    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = self
            .client
            .get(format!("{}/api/v1{path}", self.url))
            .bearer_auth(&self.token);
        answer(request).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = self
            .client
            .post(format!("{}/api/v1{path}", self.url))
            .bearer_auth(&self.token)
            .json(body);
        answer(request).await
    }

    pub async fn delete(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = self
            .client
            .delete(format!("{}/api/v1{path}", self.url))
            .bearer_auth(&self.token)
            .json(body);
        answer(request).await
    }

    /// The requests that wait for a decision, detached ones included.
    pub async fn pending(&self) -> Vec<Value> {
        let (status, page) = self.get("/requests?state=pending").await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page["items"].as_array().expect("items is a list").clone()
    }

    pub async fn show(&self, id: &str) -> Value {
        let (status, request) = self.get(&format!("/requests/{id}")).await;
        assert_eq!(status, StatusCode::OK, "{request}");
        request
    }

    /// The request that holds a statement with this text in it, once there is one.
    pub async fn held(&self, text: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let pending = self.pending().await;
            if let Some(request) = pending.iter().find(|request| text_of(request).contains(text)) {
                return request.clone();
            }
            assert!(
                Instant::now() < deadline,
                "nothing like `{text}` is held; pending: {pending:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a request is in one of these states, and gives it.
    pub async fn until_state(&self, request: &Value, states: &[&str]) -> Value {
        let id = id_of(request);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let request = self.show(&id).await;
            if states.iter().any(|state| request["state"] == *state) {
                return request;
            }
            assert!(Instant::now() < deadline, "not {states:?} within 30 s: {request}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn approve(&self, request: &Value) -> Value {
        self.decide(request, "approve", "looked at it").await
    }

    pub async fn deny(&self, request: &Value, reason: &str) -> Value {
        self.decide(request, "deny", reason).await
    }

    pub async fn decide(&self, request: &Value, decision: &str, reason: &str) -> Value {
        let body = json!({ "decision": decision, "reason": reason, "digest": request["digest"] });
        let (status, decided) = self
            .post(&format!("/requests/{}/decision", id_of(request)), &body)
            .await;
        assert_eq!(status, StatusCode::OK, "{decided}");
        decided
    }

    /// How many requests there are or were, in any state.
    pub async fn count_requests(&self) -> usize {
        let (status, page) = self.get("/requests?limit=500").await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page["items"].as_array().expect("items is a list").len()
    }
}

pub fn id_of(request: &Value) -> String {
    request["id"].as_str().expect("an id is text").to_owned()
}

/// The whole message, as it came.
pub fn text_of(request: &Value) -> String {
    request["text"].as_str().unwrap_or_default().to_owned()
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.expect("the API answers");
    let status = response.status();
    let body = response.text().await.expect("the API's answer ends");
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}
