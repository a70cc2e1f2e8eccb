//! People sign in: sessions of browsers, what opens one, what ends one, and what a page of another site gets.
//! Over real HTTP, on a real desk with a store and a journal of its own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use countersign::api::{self, Api, Rooms, browser};
use countersign::clock::Timestamp;
use countersign::desk::Desk;
use countersign::identity::directory::{NewPerson, NewToken, OtherTokens, Role, Scope, Scopes};
use countersign::identity::principal::PersonName;
use countersign::journal::{self, Journal};
use countersign::store::SessionLife;
use countersign::store::sqlite::Store;
use countersign::telemetry::Metrics;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// A desk with an API on a free port, and three people without anything to sign in by.
struct House {
    url: String,
    http: reqwest::Client,
    /// Beside the desk's, like that of another process.
    store: Store,
    _api: Api,
    _folder: tempfile::TempDir,
}

/// A browser with at most one cookie, on a page of some site.
#[derive(Clone)]
struct Browser {
    url: String,
    http: reqwest::Client,
    cookie: Option<String>,
    csrf: Option<String>,
    site: &'static str,
}

struct Answer {
    status: StatusCode,
    body: Value,
    set_cookie: Option<String>,
}

fn person(name: &str) -> PersonName {
    PersonName::parse(name).expect("a name")
}

impl House {
    fn build() -> Self {
        Self::build_with(browser::Settings::default())
    }

    fn build_with(settings: browser::Settings) -> Self {
        // The only error is that it is installed already.
        let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a scratch folder");
        let file = folder.path().join("store.sqlite3");
        let mut store = Store::open(&file).expect("a store");
        let people: [(&str, &[Role]); 3] = [
            ("alice", &[Role::Approver]),
            ("carol", &[Role::Auditor]),
            ("dave", &[Role::Admin]),
        ];
        for (name, roles) in people {
            let new = NewPerson {
                name: person(name),
                roles: roles.to_vec(),
                groups: Vec::new(),
            };
            store
                .person_add(&new, &person("root"), Timestamp::now())
                .expect("added");
        }
        let journal =
            Journal::open(journal::Settings::in_dir(folder.path().join("journal"))).expect("a journal");
        let desk = Store::open(&file).expect("the store again");
        let desk = Desk::start(desk, journal.clone(), countersign::desk::Settings::default());
        let rooms = Rooms::new(desk.expect("a desk"), journal, Metrics::new(), Vec::new());
        let settings_of_api = api::Settings {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            certificate: None,
        };
        let api = api::start(&settings_of_api, rooms.with_people(settings)).expect("a free port");
        Self {
            url: format!("http://localhost:{}", api.local_addr.port()),
            http: reqwest::Client::new(),
            store,
            _api: api,
            _folder: folder,
        }
    }

    fn token(&mut self, name: &str, scopes: Option<Scopes>, seen_by: &[&str]) -> String {
        let new = NewToken {
            person: person(name),
            scopes,
            expires_at: None,
            seen_by: seen_by.iter().map(|name| person(name)).collect::<BTreeSet<_>>(),
            others: OtherTokens::Stay,
        };
        let secret = self.store.token_issue(&new, &person("root"), Timestamp::now());
        secret.expect("issued").reveal().to_owned()
    }

    fn browser(&self) -> Browser {
        Browser {
            url: self.url.clone(),
            http: self.http.clone(),
            cookie: None,
            csrf: None,
            site: "same-origin",
        }
    }

    /// A browser in which somebody has signed in by a token.
    async fn signed_in(&mut self, name: &str) -> Browser {
        let token = self.token(name, None, &[]);
        let mut browser = self.browser();
        let answer = browser.sign_in(json!({ "token": token })).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        browser
    }

    /// What the log says of people who came, were turned away or left: event, person, method, reason.
    async fn sign_ins(&mut self) -> Vec<(String, String, String, String)> {
        let token = self.token("carol", None, &[]);
        let log = self
            .http
            .get(format!("{}/api/v1/log?kind=sign_in&limit=100", self.url))
            .bearer_auth(token)
            .send()
            .await
            .expect("an answer");
        let log: Value = log.json().await.expect("JSON");
        let items = log["items"]
            .as_array()
            .unwrap_or_else(|| panic!("no items in {log}"));
        let word = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
        let mut told: Vec<_> = items
            .iter()
            .map(|item| {
                assert_eq!(item["source"], "127.0.0.1", "{item}");
                (
                    word(item, "event"),
                    word(item, "name"),
                    word(item, "method"),
                    word(item, "reason"),
                )
            })
            .collect();
        told.reverse();
        told
    }
}

impl Browser {
    /// Sends what a script of a page would send.
    async fn call(&mut self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if !self.site.is_empty() {
            request = request.header("sec-fetch-site", self.site);
        }
        self.send(&mut request, body).await
    }

    async fn send(&mut self, request: &mut reqwest::RequestBuilder, body: Option<Value>) -> Answer {
        let mut request = request.try_clone().expect("no stream");
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", format!("theme=dark; {}={cookie}", browser::COOKIE_NAME));
        }
        if let Some(csrf) = &self.csrf {
            request = request.header("x-csrf-token", csrf);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let set_cookie = response
            .headers()
            .get("set-cookie")
            .map(|value| value.to_str().expect("ASCII").to_owned());
        let status = response.status();
        assert_eq!(response.headers()["cache-control"], "no-store");
        let text = response.text().await.expect("a body");
        Answer {
            status,
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
            set_cookie,
        }
    }

    /// Signs in, and keeps the cookie and the CSRF token if that worked.
    async fn sign_in(&mut self, body: Value) -> Answer {
        let answer = self.call(Method::POST, "/api/v1/session", Some(body)).await;
        if answer.status == StatusCode::OK {
            let set = answer.set_cookie.as_deref().expect("a cookie");
            let (name, rest) = set.split_once('=').expect("a pair");
            assert_eq!(name, browser::COOKIE_NAME);
            let (value, attributes) = rest.split_once("; ").expect("attributes");
            assert!(
                attributes.starts_with("Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age="),
                "{set}"
            );
            self.cookie = Some(value.to_owned());
            self.csrf = Some(answer.body["csrf"].as_str().expect("a CSRF token").to_owned());
        }
        answer
    }

    async fn me(&mut self) -> StatusCode {
        self.call(Method::GET, "/api/v1/me", None).await.status
    }
}

fn code(answer: &Answer) -> &str {
    answer.body["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_token_opens_a_session_and_the_log_says_who_came_and_went() {
    let mut house = House::build();
    let token = house.token("alice", None, &["dave"]);
    let mut browser = house.browser();
    let answer = browser.sign_in(json!({ "token": token })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["person"], "alice");
    assert_eq!(answer.body["method"], "token");
    assert_eq!(answer.body["strong_at"], Value::Null);
    // Whoever has seen the token may be the one who sits there.
    assert_eq!(answer.body["token_seen_by"], json!(["dave"]));

    let shown = browser.call(Method::GET, "/api/v1/session", None).await;
    assert_eq!(shown.body, answer.body);
    let me = browser.call(Method::GET, "/api/v1/me", None).await;
    assert_eq!(me.body["token_seen_by"], json!(["dave"]));

    let out = browser.call(Method::DELETE, "/api/v1/session", None).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT, "{}", out.body);
    let taken = out.set_cookie.expect("the cookie is taken away");
    assert!(
        taken.contains("countersign=; ") && taken.ends_with("Max-Age=0"),
        "{taken}"
    );
    assert_eq!(browser.me().await, StatusCode::UNAUTHORIZED);

    let away = house
        .browser()
        .sign_in(json!({ "token": format!("cs_{}", "A".repeat(43)) }))
        .await;
    assert_eq!(away.status, StatusCode::UNAUTHORIZED, "{}", away.body);
    assert_eq!(away.set_cookie, None);
    let told = house.sign_ins().await;
    let told: Vec<_> = told
        .iter()
        .map(|(event, name, method, _)| (event.as_str(), name.as_str(), method.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("signed_in", "alice", "token"),
            ("signed_out", "alice", "token"),
            ("refused", "", "token"),
        ]
    );
}

#[tokio::test]
async fn a_session_does_no_more_than_the_token_that_opened_it() {
    let mut house = House::build();
    let reading: Scopes = [Scope::Read].into_iter().collect();
    let token = house.token("dave", Some(reading), &[]);
    let mut browser = house.browser();
    let answer = browser.sign_in(json!({ "token": token })).await;
    assert_eq!(answer.body["scopes"], json!(["read"]));
    let people = browser.call(Method::GET, "/api/v1/users", None).await;
    assert_eq!(
        (people.status, code(&people)),
        (StatusCode::FORBIDDEN, "forbidden")
    );
    // Nor does a token that the session makes.
    let made = browser
        .call(Method::POST, "/api/v1/users/dave/tokens", Some(json!({})))
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let people = house
        .http
        .get(format!("{}/api/v1/users", house.url))
        .bearer_auth(made.body["token"].as_str().expect("a token"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(people.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn nothing_changes_by_a_cookie_from_another_page() {
    let mut house = House::build();
    let browser = house.signed_in("dave").await;
    let body = || Some(json!({ "name": "mallory", "roles": ["admin"] }));
    let forged: [(&str, &'static str, Option<&str>); 6] = [
        ("another site", "cross-site", None),
        ("another host of this site", "same-site", None),
        ("an address typed in", "none", None),
        ("no CSRF token", "same-origin", Some("")),
        (
            "another session's CSRF token",
            "same-origin",
            Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ),
        ("no word of the browser at all", "", None),
    ];
    for (what, site, csrf) in forged {
        let mut forger = browser.clone();
        forger.site = site;
        if let Some(csrf) = csrf {
            forger.csrf = Some(csrf.to_owned()).filter(|csrf| !csrf.is_empty());
        }
        let answer = forger.call(Method::POST, "/api/v1/users", body()).await;
        assert_eq!(
            (answer.status, code(&answer)),
            (StatusCode::FORBIDDEN, "cross_site"),
            "{what}"
        );
        let answer = forger.call(Method::DELETE, "/api/v1/session", None).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{what}");
    }
    // Browsers without Sec-Fetch-Site are known by their Origin.
    let mut old = browser.clone();
    let origins = [
        ("http://evil.example", StatusCode::FORBIDDEN),
        ("null", StatusCode::FORBIDDEN),
        (
            &house.url.replace("localhost", "localhost.evil.example"),
            StatusCode::FORBIDDEN,
        ),
        (&house.url, StatusCode::CREATED),
    ];
    for (origin, expected) in origins {
        let url = format!("{}/api/v1/users", house.url);
        let answer = old
            .send(&mut house.http.post(url).header("origin", origin), body())
            .await;
        assert_eq!(answer.status, expected, "{origin}: {}", answer.body);
    }
    // And nobody is signed in from another site's page, not even as the one who made that page.
    let token = house.token("alice", None, &[]);
    let mut elsewhere = house.browser();
    elsewhere.site = "cross-site";
    let answer = elsewhere.sign_in(json!({ "token": token })).await;
    assert_eq!(
        (answer.status, code(&answer)),
        (StatusCode::FORBIDDEN, "cross_site")
    );
    assert_eq!(answer.set_cookie, None);
}

#[tokio::test]
async fn a_bearer_token_counts_and_the_cookie_beside_it_does_not() {
    let mut house = House::build();
    let mut browser = house.signed_in("dave").await;
    let token = house.token("alice", None, &[]);
    let url = format!("{}/api/v1/me", house.url);
    let me = browser
        .send(&mut house.http.get(&url).bearer_auth(token), None)
        .await;
    assert_eq!(me.body["name"], "alice");
    // A token that does not count is not made good by a cookie that does.
    for header in ["Bearer cs_wrong", "Basic ZGF2ZTpkYXZl", "Bearer"] {
        let me = browser
            .send(&mut house.http.get(&url).header("authorization", header), None)
            .await;
        assert_eq!(me.status, StatusCode::UNAUTHORIZED, "{header}");
    }
}

#[tokio::test]
async fn a_cookie_that_somebody_else_has_put_there_is_worth_nothing() {
    let mut house = House::build();
    let planted = house.signed_in("carol").await;
    let token = house.token("alice", None, &[]);
    // The victim signs in with the attacker's cookie in the browser: a new one is made, and the planted one ends.
    let mut victim = planted.clone();
    let answer = victim.sign_in(json!({ "token": token })).await;
    assert_eq!(answer.body["person"], "alice");
    assert_ne!(victim.cookie, planted.cookie);
    assert_eq!(planted.clone().me().await, StatusCode::UNAUTHORIZED);
    // Nor does a made-up one, or one of two.
    let mut invented = house.browser();
    invented.cookie = Some("A".repeat(43));
    assert_eq!(invented.me().await, StatusCode::UNAUTHORIZED);
    let mut doubled = victim.clone();
    doubled.cookie = victim
        .cookie
        .as_ref()
        .map(|cookie| format!("{cookie}; {}={}", browser::COOKIE_NAME, "A".repeat(43)));
    assert_eq!(doubled.me().await, StatusCode::UNAUTHORIZED);
    assert_eq!(victim.me().await, StatusCode::OK);
}

/// Another process deactivates, revokes: the promise is 250 ms.
#[tokio::test]
async fn sessions_end_with_the_person_and_with_their_tokens() {
    let mut house = House::build();
    let root = person("root");
    for what in ["deactivated", "revoked"] {
        let mut browser = house.signed_in("alice").await;
        let mut other = house.signed_in("carol").await;
        assert_eq!(browser.me().await, StatusCode::OK);
        let ended = Instant::now();
        if what == "deactivated" {
            house
                .store
                .person_set_active(&person("alice"), false, &root, Timestamp::now())
                .expect("deactivated");
        } else {
            house
                .store
                .tokens_revoke(&person("alice"), &root, Timestamp::now())
                .expect("revoked");
        }
        while browser.me().await != StatusCode::UNAUTHORIZED {
            assert!(ended.elapsed() < Duration::from_millis(250), "{what}");
        }
        // Nor does it come back with the person.
        house
            .store
            .person_set_active(&person("alice"), true, &root, Timestamp::now())
            .expect("active");
        assert_eq!(browser.me().await, StatusCode::UNAUTHORIZED, "{what}");
        assert_eq!(other.me().await, StatusCode::OK, "{what}");
    }
}

#[tokio::test]
async fn no_session_outlives_a_revocation_that_runs_beside_its_making() {
    let mut house = House::build();
    let root = person("root");
    for round in 0..20 {
        let token = house.token("alice", None, &[]);
        let mut browser = house.browser();
        let opening = tokio::spawn(async move {
            browser.sign_in(json!({ "token": token })).await;
            browser
        });
        tokio::time::sleep(Duration::from_micros(300 * round)).await;
        let revoked = house
            .store
            .tokens_revoke(&person("alice"), &root, Timestamp::now());
        revoked.expect("revoked");
        let mut browser = opening.await.expect("no panic");
        assert_eq!(browser.me().await, StatusCode::UNAUTHORIZED, "round {round}");
    }
}

#[tokio::test]
async fn an_idle_session_is_over_and_so_is_an_old_one() {
    let lives = [
        (
            "idle",
            SessionLife {
                idle: Duration::from_millis(300),
                whole: Duration::from_secs(60),
            },
        ),
        (
            "old",
            SessionLife {
                idle: Duration::from_secs(60),
                whole: Duration::from_millis(300),
            },
        ),
    ];
    for (what, life) in lives {
        let mut house = House::build_with(browser::Settings {
            life,
            ..browser::Settings::default()
        });
        let mut browser = house.signed_in("alice").await;
        assert_eq!(browser.me().await, StatusCode::OK, "{what}");
        tokio::time::sleep(Duration::from_millis(400)).await;
        let answer = browser.call(Method::GET, "/api/v1/me", None).await;
        assert_eq!(
            (answer.status, code(&answer)),
            (StatusCode::UNAUTHORIZED, "unauthenticated"),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_person_has_so_many_sessions_and_the_least_used_one_makes_room() {
    let mut house = House::build();
    let mut first = house.signed_in("alice").await;
    let mut second = house.signed_in("alice").await;
    let mut other = house.signed_in("carol").await;
    for _ in 0..18 {
        house.signed_in("alice").await;
    }
    assert_eq!(first.me().await, StatusCode::OK);
    house.signed_in("alice").await;
    assert_eq!(first.me().await, StatusCode::UNAUTHORIZED);
    assert_eq!(
        (second.me().await, other.me().await),
        (StatusCode::OK, StatusCode::OK)
    );
}
