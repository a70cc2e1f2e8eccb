//! Values that are withheld, over the API, on the command line and on the pages: shown to whoever has given what an
//! approval takes. The browser's own part of the pages is in `tests/web`.

use std::net::SocketAddr;
use std::time::Duration;

use countersign::api::{self, Api, Rooms};
use countersign::desk::{self, Asked, Desk, Parked};
use countersign::policy::Requirement;
use countersign::store::sqlite::Store;
use countersign::telemetry::Metrics;
use reqwest::{Method, RequestBuilder, StatusCode};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::break_glass::{self, age_factors, alone};
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

/// The pages on a port of their own, for somebody who is signed in by token. What a browser's modules do is not done.
struct Pages {
    url: String,
    http: reqwest::Client,
    cookie: String,
    csrf: String,
    _api: Api,
}

impl Pages {
    async fn of(house: &House, rooms: &Rooms, who: &str) -> Self {
        let settings = api::Settings {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            certificate: None,
            connections_per_address: api::PER_ADDRESS_DEFAULT,
            trusted_proxies: Default::default(),
        };
        let api = api::start_with(&settings, rooms.clone(), countersign::web::router()).expect("a free port");
        let url = format!("http://localhost:{}", api.local_addr.port());
        let signing_in = house
            .http
            .post(format!("{url}/api/v1/session"))
            .header("sec-fetch-site", "same-origin")
            .json(&json!({ "token": house.tokens[who] }));
        let signed_in = signing_in.send().await.expect("an answer");
        let set = signed_in.headers()["set-cookie"].to_str().expect("ASCII");
        let cookie = set.split(';').next().expect("a pair").to_owned();
        let session: Value = signed_in.json().await.expect("JSON");
        Self {
            url,
            http: house.http.clone(),
            cookie,
            csrf: text(&session, "csrf").to_owned(),
            _api: api,
        }
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        self.answer(self.http.get(format!("{}{path}", self.url))).await
    }

    /// Sends a form; no field of it holds what would have to be encoded, but blanks.
    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> (StatusCode, String) {
        let fields = fields.iter().map(|(name, value)| format!("&{name}={value}"));
        let body = format!("_csrf={}{}", self.csrf, fields.collect::<String>());
        let request = self
            .http
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.replace(' ', "+"));
        self.answer(request).await
    }

    async fn answer(&self, request: RequestBuilder) -> (StatusCode, String) {
        let request = request
            .header("cookie", &self.cookie)
            .header("sec-fetch-site", "same-origin");
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a page"))
    }
}

/// Every session gave its second factor so much earlier.
fn pass(house: &House, time: Duration) {
    let store = Connection::open(house.folder.path().join("store.sqlite3")).expect("the store");
    let micros = i64::try_from(time.as_micros()).expect("short");
    store
        .execute("UPDATE browser_sessions SET strong_at = strong_at - ?1", [micros])
        .expect("earlier");
}

fn assert_has(page: &str, pieces: &[&str]) {
    for piece in pieces {
        assert!(page.contains(piece), "no `{piece}` in {page}");
    }
}

#[tokio::test]
async fn what_was_typed_beside_values_is_kept_when_the_second_factor_has_ended_meanwhile() {
    let house = House::build().await;
    let app = App::of(&house, "alice").await;
    let (parked, card) = park(&house).await;
    let pages = Pages::of(&house, &house.rooms, "alice").await;
    let reveal = format!("/r/{}/reveal", parked.request);
    let decision = format!("/r/{}/decision", parked.request);

    // Without a code, and with one that was used, the form asks for it and says why.
    let used = app.code(-1);
    for fields in [Vec::new(), vec![("code", used.as_str())]] {
        let (status, page) = pages.send(&reveal, &fields).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{page}");
        assert_has(&page, &["id=\"reveal-code\"", "role=\"alert\">Not done: "]);
        assert!(!page.contains(VALUE), "{page}");
    }
    next_attempt().await;
    let code = app.code(0);
    let (status, page) = pages.send(&reveal, &[("code", code.as_str())]).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert_has(&page, &[VALUE, "id=\"approve\" data-approve>"]);

    pass(&house, Duration::from_secs(301));
    let version = card["version"].to_string();
    let typed = [
        ("decision", "approve"),
        ("reason", "agreed in the review"),
        ("lock_timeout", "5s"),
    ];
    let bound = [
        ("digest", text(&card, "digest")),
        ("version", version.as_str()),
        ("read", "yes"),
    ];
    let (status, page) = pages.send(&decision, &[typed, bound].concat()).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{page}");
    assert!(!page.contains(VALUE), "{page}");
    let kept = [
        "role=\"alert\">Not done: approving what is of high risk needs a second factor",
        "id=\"reveal-code\"",
        "<input type=\"hidden\" name=\"reason\" value=\"agreed in the review\">",
        "<input type=\"hidden\" name=\"lock_timeout\" value=\"5s\">",
    ];
    assert_has(&page, &kept);

    let code = app.code(1);
    let fields = [&typed[..], &[("code", code.as_str())]].concat();
    let (status, page) = pages.send(&reveal, &fields).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    let filled = [
        VALUE,
        "id=\"approve\" data-approve open>",
        "value=\"agreed in the review\"",
        "value=\"5s\"",
    ];
    assert_has(&page, &filled);
    let (status, page) = pages.send(&decision, &[typed, bound].concat()).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    let path = format!("/api/v1/requests/{}", parked.request);
    let (_, decided) = house.get("alice", &path).await;
    assert_eq!(decided["state"], "approved", "{decided}");
    assert_eq!(decided["decisions"][0]["reason"], "agreed in the review");
}

#[tokio::test]
async fn the_reason_for_broken_glass_is_kept_when_the_second_log_in_has_ended_meanwhile() {
    let (house, app) = break_glass::house().await;
    let (parked, card) = park(&house).await;
    let pages = Pages::of(&house, &house.rooms, "bob").await;
    let reveal = format!("/r/{}/reveal", parked.request);
    let alone = format!("/r/{}/break-glass", parked.request);
    let code = app.code(0);
    let (status, page) = pages.send(&reveal, &[("code", code.as_str())]).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert_has(&page, &[VALUE, "id=\"break-glass\">"]);

    pass(&house, Duration::from_secs(301));
    let version = card["version"].to_string();
    let fields = [
        ("reason", "the shop is down"),
        ("digest", text(&card, "digest")),
        ("version", version.as_str()),
        ("read", "yes"),
    ];
    let (status, page) = pages.send(&alone, &fields).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{page}");
    assert!(!page.contains(VALUE), "{page}");
    let kept = [
        "role=\"alert\">Not done: breaking glass needs a second log-in",
        "<input type=\"hidden\" name=\"decision\" value=\"alone\">",
        "<input type=\"hidden\" name=\"reason\" value=\"the shop is down\">",
    ];
    assert_has(&page, &kept);

    let code = app.code(1);
    let typed = [
        ("code", code.as_str()),
        ("decision", "alone"),
        ("reason", "the shop is down"),
    ];
    let (status, page) = pages.send(&reveal, &typed).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    let filled = [VALUE, "id=\"break-glass\" open>", "value=\"the shop is down\""];
    assert_has(&page, &filled);
    let (status, page) = pages.send(&alone, &fields).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    let path = format!("/api/v1/requests/{}", parked.request);
    let (_, decided) = house.get("alice", &path).await;
    assert_eq!(decided["decisions"][0]["break_glass"], true, "{decided}");
}

#[tokio::test]
async fn whoever_may_only_break_glass_reads_why_they_cannot_beside_values_that_are_withheld() {
    let (house, _app) = break_glass::house().await;
    let (parked, _card) = park(&house).await;
    let card = format!("/r/{}", parked.request);
    let pages = Pages::of(&house, &house.rooms, "bob").await;
    let (_, page) = pages.get(&card).await;
    assert_has(
        &page,
        &[
            "You cannot break glass: values of it are withheld: have them shown, under Parameters",
            "Show withheld values",
        ],
    );

    // A desk that starts anew has none of them.
    house.desk.stop().await;
    let store = Store::open(&house.folder.path().join("store.sqlite3")).expect("the store again");
    let journal = house.rooms.journal.clone();
    let desk = Desk::start(store, journal.clone(), desk::Settings::default()).expect("a desk");
    let rooms = Rooms::new(desk, journal, Metrics::new(), Vec::new());
    let gone = "the values went with a restart of the proxy, or there were too many to keep: \
                have the agent send it again.";
    for (who, cannot) in [
        ("bob", "You cannot break glass"),
        ("alice", "You can deny this, but not approve it"),
    ] {
        let (_, page) = Pages::of(&house, &rooms, who).await.get(&card).await;
        assert_has(&page, &[&format!("{cannot}: {gone}")]);
        assert!(!page.contains("Show withheld values"), "{page}");
    }
}
