//! People sign in: sessions of browsers, what opens one, what ends one, and what a page of another site gets.
//! Over real HTTP, on a real desk with a store and a journal of its own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::api::{self, Api, Rooms, browser};
use countersign::clock::Timestamp;
use countersign::desk::Desk;
use countersign::identity::directory::{Hands, NewPerson, NewToken, OtherTokens, Role, Scope, Scopes};
use countersign::identity::password::PasswordVerifier;
use countersign::identity::principal::PersonName;
use countersign::journal::{self, Journal};
use countersign::store::sqlite::Store;
use countersign::store::{CodeTaken, SessionLife};
use countersign::telemetry::Metrics;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

#[path = "people/attacks.rs"]
mod attacks;

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
        Self::build_behind(settings, api::TrustedProxies::default())
    }

    fn build_behind(settings: browser::Settings, trusted_proxies: api::TrustedProxies) -> Self {
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
            connections_per_address: api::PER_ADDRESS_DEFAULT,
            trusted_proxies,
        };
        let rooms = rooms.with_people(settings);
        let api = api::start_with(&settings_of_api, rooms, countersign::web::router()).expect("a free port");
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

/// What was narrowed stays so, even to all that its person may do that day: it does not grow with the person's roles, nor
/// do the tokens and sessions that it makes.
#[tokio::test]
async fn what_was_narrowed_does_not_grow_with_the_roles_of_its_person() {
    let mut house = House::build();
    let all_of_an_approver: Scopes = [Scope::Read, Scope::Decide].into_iter().collect();
    let narrowed = house.token("alice", Some(all_of_an_approver), &[]);
    let mut browser = house.browser();
    let answer = browser.sign_in(json!({ "token": narrowed })).await;
    assert_eq!(answer.body["scopes"], json!(["read", "decide"]));
    let mut made = Vec::new();
    let (status, by_token) = house
        .call(&narrowed, Method::POST, "/api/v1/users/alice/tokens", json!({}))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{by_token}");
    made.push(by_token["token"].as_str().expect("a token").to_owned());
    let by_session = browser
        .call(Method::POST, "/api/v1/users/alice/tokens", Some(json!({})))
        .await;
    assert_eq!(by_session.status, StatusCode::CREATED, "{}", by_session.body);
    made.push(by_session.body["token"].as_str().expect("a token").to_owned());
    // None of them changes what its person signs in by, or links an account that decides for the person.
    for (path, body) in [
        (
            "/api/v1/me/password",
            json!({ "password": "somebody else's own" }),
        ),
        ("/api/v1/me/totp", json!({})),
        ("/api/v1/me/passkeys/begin", json!({})),
        ("/api/v1/me/links", json!({})),
    ] {
        let (status, answer) = house.call(&narrowed, Method::POST, path, body.clone()).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}: {answer}");
        let answer = browser.call(Method::POST, path, Some(body)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {}", answer.body);
    }

    let roles = [Role::Approver, Role::Admin];
    house
        .store
        .person_change(
            &person("alice"),
            Some(&roles),
            None,
            &person("root"),
            Timestamp::now(),
        )
        .expect("changed");
    made.push(narrowed);
    for token in &made {
        let (status, answer) = house.call(token, Method::GET, "/api/v1/users", json!({})).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    }
    let people = browser.call(Method::GET, "/api/v1/users", None).await;
    assert_eq!(people.status, StatusCode::FORBIDDEN, "{}", people.body);
    let shown = browser.call(Method::GET, "/api/v1/session", None).await;
    assert_eq!(shown.body["scopes"], json!(["read", "decide"]));
    // A whole one does grow.
    let whole = house.token("alice", None, &[]);
    let (status, answer) = house.call(&whole, Method::GET, "/api/v1/users", json!({})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
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

const PASSWORD: &str = "correct horse battery";

impl House {
    /// Sets a password as on the machine of the store.
    fn password(&mut self, name: &str, password: &str) {
        let verifier = PasswordVerifier::make(password, [7; 16]);
        let set = self.store.password_set(
            &person(name),
            &verifier,
            &BTreeSet::new(),
            &person("root"),
            Timestamp::now(),
        );
        set.expect("set");
    }

    async fn call(&self, token: &str, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = self.http.request(method, format!("{}{path}", self.url));
        let response = request
            .bearer_auth(token)
            .json(&body)
            .send()
            .await
            .expect("an answer");
        let status = response.status();
        (status, response.json().await.unwrap_or_default())
    }
}

fn with_password(name: &str, password: &str) -> Value {
    json!({ "person": name, "password": password })
}

#[tokio::test]
async fn a_password_signs_in_and_a_wrong_one_learns_nothing() {
    let mut house = House::build();
    house.password("alice", PASSWORD);
    let mut browser = house.browser();
    let answer = browser.sign_in(with_password("alice", PASSWORD)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["method"], "password");
    assert_eq!(answer.body["scopes"], json!(["read", "decide"]));
    // Wrong, without a password, unknown, no name at all, not active: the same words, so that nobody learns a name.
    house
        .store
        .person_set_active(&person("dave"), false, &person("root"), Timestamp::now())
        .expect("deactivated");
    house.password("dave", PASSWORD);
    let mut words = BTreeSet::new();
    for (name, password) in [
        ("alice", "correct horse batterx"),
        ("carol", PASSWORD),
        ("nobody", PASSWORD),
        ("No Name!", PASSWORD),
        ("dave", PASSWORD),
    ] {
        let answer = house.browser().sign_in(with_password(name, password)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}");
        words.insert(answer.body.to_string());
    }
    assert_eq!(words.len(), 1, "{words:?}");
    let told = house.sign_ins().await;
    let told: Vec<_> = told
        .iter()
        .map(|(event, name, method, _)| (event.as_str(), name.as_str(), method.as_str()))
        .collect();
    let refused = ["alice", "carol", "nobody", "No Name!", "dave"].map(|name| ("refused", name, "password"));
    assert_eq!(told[0], ("signed_in", "alice", "password"));
    assert_eq!(told[1..], refused);
    // Too little is said as such, before anything is looked at.
    for body in [
        json!({}),
        json!({ "person": "alice" }),
        json!({ "token": "cs_x", "person": "alice", "password": PASSWORD }),
    ] {
        let answer = house.browser().sign_in(body).await;
        assert_eq!(
            (answer.status, code(&answer)),
            (StatusCode::UNPROCESSABLE_ENTITY, "unacceptable")
        );
    }
}

/// Guesses at one name get slower, side by side as well; whoever has another way in, uses it.
#[tokio::test]
async fn guesses_get_slower_and_lock_nobody_out() {
    let mut house = House::build();
    house.password("alice", PASSWORD);
    let token = house.token("alice", None, &[]);
    let guesses: Vec<_> = (0..12)
        .map(|round| {
            let mut browser = house.browser();
            tokio::spawn(async move {
                browser
                    .sign_in(with_password("alice", &format!("guess number {round}")))
                    .await
            })
        })
        .collect();
    let mut slowed = 0;
    for guess in guesses {
        let answer = guess.await.expect("no panic");
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(code(&answer), "too_many_attempts");
            assert!(
                answer.body["retry_after_seconds"]
                    .as_u64()
                    .is_some_and(|seconds| seconds <= 6)
            );
            slowed += 1;
        } else {
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
        }
    }
    assert!(
        slowed >= 8,
        "only {slowed} of 12 guesses at once were told to wait"
    );
    // The token is no guess, and its address is known from then on: the password counts at once.
    let mut browser = house.browser();
    assert_eq!(
        browser.sign_in(json!({ "token": token })).await.status,
        StatusCode::OK
    );
    let answer = browser.sign_in(with_password("alice", PASSWORD)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    // Somebody else was never slowed down.
    house.password("carol", PASSWORD);
    let answer = house.browser().sign_in(with_password("carol", PASSWORD)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

/// A guess is counted before it is looked at, and is on record however soon its client hangs up. So whoever tries one
/// password with many names learns no faster by going away.
#[tokio::test]
async fn a_guess_counts_whether_or_not_its_client_waits_for_the_answer() {
    use tokio::io::AsyncWriteExt as _;
    let mut house = House::build();
    let names: Vec<String> = (0..10).map(|number| format!("name-{number}")).collect();
    let address = house.url.trim_start_matches("http://").to_owned();
    for name in &names {
        let body = with_password(name, PASSWORD).to_string();
        let call = format!(
            "POST /api/v1/session HTTP/1.1\r\nhost: {address}\r\nsec-fetch-site: same-origin\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut client = tokio::net::TcpStream::connect(&address)
            .await
            .expect("a connection");
        client.write_all(call.as_bytes()).await.expect("sent");
        // Long enough to be read, too short for an answer.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let told = house.sign_ins().await;
        let refused: BTreeSet<_> = told
            .iter()
            .filter(|(event, _, method, _)| event == "refused" && method == "password")
            .map(|(_, name, ..)| name.clone())
            .collect();
        if refused == names.iter().cloned().collect() {
            break;
        }
        assert!(Instant::now() < patience, "on record are only {refused:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Ten mistakes cost an address nothing; from then on it waits, whichever name it tries.
    let more: Vec<_> = (0..12)
        .map(|number| {
            let mut browser = house.browser();
            let body = with_password(&format!("another-{number}"), PASSWORD);
            tokio::spawn(async move { browser.sign_in(body).await })
        })
        .collect();
    let mut slowed = 0;
    for answer in more {
        slowed += u32::from(code(&answer.await.expect("no panic")) == "too_many_attempts");
    }
    assert!(slowed >= 8, "only {slowed} of 12 at once were told to wait");
    // Whoever has signed in from there before is not counted with those who never have.
    house.password("alice", PASSWORD);
    let token = house.token("alice", None, &[]);
    let mut browser = house.browser();
    assert_eq!(
        browser.sign_in(json!({ "token": token })).await.status,
        StatusCode::OK
    );
    let answer = browser.sign_in(with_password("alice", PASSWORD)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

#[tokio::test]
async fn a_password_is_changed_with_the_old_one_and_ends_every_session() {
    let mut house = House::build();
    house.password("alice", PASSWORD);
    let mut browser = house.browser();
    browser.sign_in(with_password("alice", PASSWORD)).await;
    let mut other = house.signed_in("alice").await;
    let change = |old: &str, new: &str| Some(json!({ "old_password": old, "password": new }));
    let short = browser
        .call(Method::POST, "/api/v1/me/password", change(PASSWORD, "short"))
        .await;
    assert_eq!(
        (short.status, code(&short)),
        (StatusCode::UNPROCESSABLE_ENTITY, "unacceptable")
    );
    assert!(
        !short.body.to_string().contains("short\""),
        "the password is repeated: {}",
        short.body
    );
    let wrong = browser
        .call(
            Method::POST,
            "/api/v1/me/password",
            change("wrong horse battery", "another good one"),
        )
        .await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", wrong.body);
    tokio::time::sleep(Duration::from_millis(150)).await;
    let changed = browser
        .call(
            Method::POST,
            "/api/v1/me/password",
            change(PASSWORD, "another good one"),
        )
        .await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    assert_eq!(browser.me().await, StatusCode::UNAUTHORIZED);
    assert_eq!(other.me().await, StatusCode::UNAUTHORIZED);
    let answer = browser.sign_in(with_password("alice", "another good one")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    // A token that may do less than its person sets nothing that would do more.
    let reading: Scopes = [Scope::Read].into_iter().collect();
    let reading = house.token("carol", Some(reading), &[]);
    let body = json!({ "password": "a password for more" });
    let (status, _) = house
        .call(&reading, Method::POST, "/api/v1/me/password", body)
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

/// Promise 4: whoever makes the one-time code has seen it, and may be the one who sets the password.
#[tokio::test]
async fn whoever_has_seen_what_a_password_was_set_by_may_be_behind_it() {
    let mut house = House::build();
    let admin = house.token("dave", None, &["erin"]);
    let (status, made) = house
        .call(
            &admin,
            Method::POST,
            "/api/v1/users/alice/password-link",
            json!({}),
        )
        .await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert_eq!(made["seen_by"], json!(["dave", "erin"]));
    let (status, _) = house
        .call(
            &admin,
            Method::POST,
            "/api/v1/users/dave/password-link",
            json!({}),
        )
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let by_link = |password: &str| json!({ "link": made["link"], "password": password });
    let (status, _) = house
        .call("", Method::POST, "/api/v1/password", by_link("short"))
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, set) = house
        .call("", Method::POST, "/api/v1/password", by_link(PASSWORD))
        .await;
    assert_eq!((status, &set["person"]), (StatusCode::OK, &json!("alice")));
    // Once.
    let (status, _) = house
        .call("", Method::POST, "/api/v1/password", by_link("mallory's own one"))
        .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let mut browser = house.browser();
    let answer = browser.sign_in(with_password("alice", PASSWORD)).await;
    assert_eq!(answer.body["token_seen_by"], json!(["dave", "erin"]));
    // Whoever knows the old password may be the one who sets the next.
    let body = json!({ "old_password": PASSWORD, "password": "another good one" });
    let changed = browser
        .call(Method::POST, "/api/v1/me/password", Some(body))
        .await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    let answer = browser.sign_in(with_password("alice", "another good one")).await;
    assert_eq!(answer.body["token_seen_by"], json!(["dave", "erin"]));
    // One that was set beside serve is nobody else's.
    house.password("alice", PASSWORD);
    let answer = house.browser().sign_in(with_password("alice", PASSWORD)).await;
    assert_eq!(answer.body["token_seen_by"], json!([]));
}

/// An authenticator app.
struct App(totp_rs::Totp);

impl App {
    /// Enrolled in a browser's session, with a code of the step before this one; gives the recovery codes, too.
    async fn of(browser: &mut Browser) -> (Self, Vec<String>) {
        let begun = browser.call(Method::POST, "/api/v1/me/totp", None).await;
        assert_eq!(begun.status, StatusCode::CREATED, "{}", begun.body);
        let word = |key: &str| begun.body[key].as_str().expect("a text").to_owned();
        assert!(word("svg").contains("<svg") && word("url").contains(&word("secret")));
        let app = Self(totp_rs::Totp::from_url(word("url")).expect("an app reads it"));
        // Codes of the steps around this one have to stay good to the end of the test.
        while Timestamp::now().micros() / 1_000_000 % 30 > 15 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let confirm = |code: String| Some(json!({ "code": code }));
        let wrong = browser
            .call(
                Method::POST,
                "/api/v1/me/totp/confirm",
                confirm("000000".to_owned()),
            )
            .await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", wrong.body);
        let confirmed = browser
            .call(Method::POST, "/api/v1/me/totp/confirm", confirm(app.code(-1)))
            .await;
        assert_eq!(confirmed.status, StatusCode::OK, "{}", confirmed.body);
        let codes = confirmed.body["recovery_codes"].as_array().expect("codes").iter();
        let codes = codes
            .map(|code| code.as_str().expect("a text").to_owned())
            .collect();
        (app, codes)
    }

    /// Of so many steps from now.
    fn code(&self, steps: i64) -> String {
        let seconds = Timestamp::now().micros() / 1_000_000 + steps * 30;
        self.0
            .generate(u64::try_from(seconds).expect("after 1970"))
            .to_string()
    }
}

fn with_code(name: &str, code: &str) -> Value {
    json!({ "person": name, "password": PASSWORD, "code": code })
}

#[tokio::test]
async fn a_code_of_the_app_is_asked_for_and_counts_once() {
    let mut house = House::build();
    house.password("alice", PASSWORD);
    let mut browser = house.browser();
    browser.sign_in(with_password("alice", PASSWORD)).await;
    let (app, recovery) = App::of(&mut browser).await;
    let shown = browser.call(Method::GET, "/api/v1/me/factors", None).await;
    assert_eq!(shown.body["second_factors"], json!(["totp"]));
    assert_eq!(
        (&shown.body["password"], &shown.body["recovery_codes"]),
        (&json!(true), &json!(10))
    );

    let answer = house.browser().sign_in(with_password("alice", PASSWORD)).await;
    assert_eq!(
        (answer.status, code(&answer)),
        (StatusCode::UNAUTHORIZED, "code_needed")
    );
    assert_eq!(answer.set_cookie, None);
    // Two browsers race with one code: one comes in.
    let now = app.code(0);
    let race: Vec<_> = (0..2)
        .map(|_| {
            let (mut browser, body) = (house.browser(), with_code("alice", &now));
            tokio::spawn(async move { browser.sign_in(body).await.status })
        })
        .collect();
    let mut came_in = 0;
    for racer in race {
        came_in += u32::from(racer.await.expect("no panic") == StatusCode::OK);
    }
    assert_eq!(came_in, 1);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let replayed = house.browser().sign_in(with_code("alice", &now)).await;
    assert_eq!(
        (replayed.status, code(&replayed)),
        (StatusCode::UNAUTHORIZED, "code_needed"),
        "{}",
        replayed.body
    );
    // A recovery code is not slowed down by guesses at the app's, and counts once as well.
    let mut browser = house.browser();
    let answer = browser
        .sign_in(with_code("alice", &recovery[0].to_lowercase()))
        .await;
    assert_eq!(
        (answer.status, &answer.body["method"]),
        (StatusCode::OK, &json!("totp")),
        "{}",
        answer.body
    );
    assert!(answer.body["strong_at"].is_string());
    let again = house.browser().sign_in(with_code("alice", &recovery[0])).await;
    assert_eq!(
        (again.status, code(&again)),
        (StatusCode::UNAUTHORIZED, "code_needed")
    );
    let shown = browser.call(Method::GET, "/api/v1/me/factors", None).await;
    assert_eq!(shown.body["recovery_codes"], 9);
    let guessed = house.browser().sign_in(with_code("alice", "123456")).await;
    assert!([StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS].contains(&guessed.status));
    let guessed = house.browser().sign_in(with_code("alice", "123457")).await;
    assert_eq!(
        (guessed.status, code(&guessed)),
        (StatusCode::TOO_MANY_REQUESTS, "too_many_attempts")
    );
    assert!(
        house
            .sign_ins()
            .await
            .iter()
            .any(|(event, name, ..)| event == "refused" && name == "alice")
    );
}

/// A stolen token or cookie does not bring its thief a second factor of their own, nor take the owner's away.
#[tokio::test]
async fn a_second_factor_is_changed_with_the_second_factor() {
    let mut house = House::build();
    house.password("alice", PASSWORD);
    let mut browser = house.signed_in("alice").await;
    let (app, _) = App::of(&mut browser).await;
    let stolen = house.token("alice", None, &[]);
    for (method, path) in [
        (Method::DELETE, "/api/v1/me/totp"),
        (Method::POST, "/api/v1/me/totp"),
        (Method::POST, "/api/v1/me/password"),
    ] {
        let body = json!({ "old_password": PASSWORD, "password": "the thief's own one" });
        let (status, answer) = house.call(&stolen, method.clone(), path, body.clone()).await;
        assert_eq!(
            (status, &answer["code"]),
            (StatusCode::FORBIDDEN, &json!("step_up_needed")),
            "{path}"
        );
        let answer = browser.call(method, path, Some(body)).await;
        assert_eq!(
            (answer.status, code(&answer)),
            (StatusCode::FORBIDDEN, "step_up_needed"),
            "{path}"
        );
    }
    let wrong = browser
        .call(
            Method::POST,
            "/api/v1/session/step-up",
            Some(json!({ "code": "000000" })),
        )
        .await;
    assert_eq!(
        (wrong.status, code(&wrong)),
        (StatusCode::FORBIDDEN, "step_up_needed")
    );
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let surer = browser
        .call(
            Method::POST,
            "/api/v1/session/step-up",
            Some(json!({ "code": app.code(0) })),
        )
        .await;
    assert_eq!(
        (surer.status, &surer.body["method"]),
        (StatusCode::OK, &json!("totp")),
        "{}",
        surer.body
    );
    assert!(surer.body["strong_at"].is_string());
    let (status, answer) = house
        .call(
            &stolen,
            Method::POST,
            "/api/v1/session/step-up",
            json!({ "code": app.code(1) }),
        )
        .await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    let twice = browser.call(Method::POST, "/api/v1/me/totp", None).await;
    assert_eq!((twice.status, code(&twice)), (StatusCode::CONFLICT, "conflict"));
    let gone = browser.call(Method::DELETE, "/api/v1/me/totp", None).await;
    assert_eq!(
        (gone.status, &gone.body["second_factors"]),
        (StatusCode::OK, &json!([])),
        "{}",
        gone.body
    );
    let told: Vec<_> = house.sign_ins().await;
    assert!(
        told.iter().any(
            |(event, name, method, _)| (event.as_str(), name.as_str(), method.as_str())
                == ("stepped_up", "alice", "totp")
        ),
        "{told:?}"
    );
}

/// What a factor may have opened, or made surer, ends with it; the session that took it away goes on, as sure as a
/// password makes it.
#[tokio::test]
async fn a_factor_that_is_taken_away_ends_what_it_may_have_opened() {
    let mut house = House::build();
    house.password("alice", PASSWORD);
    let mut owner = house.browser();
    owner.sign_in(with_password("alice", PASSWORD)).await;
    let (app, _) = App::of(&mut owner).await;
    let mut by_code = house.browser();
    let answer = by_code.sign_in(with_code("alice", &app.code(0))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let mut by_token = house.signed_in("alice").await;
    let surer = Some(json!({ "code": app.code(1) }));
    let surer = owner.call(Method::POST, "/api/v1/session/step-up", surer).await;
    assert_eq!(surer.status, StatusCode::OK, "{}", surer.body);
    let gone = owner.call(Method::DELETE, "/api/v1/me/totp", None).await;
    assert_eq!(gone.status, StatusCode::OK, "{}", gone.body);
    assert_eq!(by_code.me().await, StatusCode::UNAUTHORIZED);
    assert_eq!(by_token.me().await, StatusCode::UNAUTHORIZED);
    let shown = owner.call(Method::GET, "/api/v1/session", None).await;
    assert_eq!(
        (shown.status, &shown.body["strong_at"]),
        (StatusCode::OK, &Value::Null)
    );

    // A passkey likewise.
    let mut key = Key::new(1);
    let made = owner.register(&mut key, Says::right(1)).await;
    let id = made.body["passkeys"][0]["id"].as_str().expect("an id").to_owned();
    let mut by_key = house.browser();
    let answer = by_key.passkey_says(&key, Says::right(2)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let mut lost = house.browser();
    let answer = lost.passkey_says(&key, Says::right(3)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let path = format!("/api/v1/me/passkeys/{id}");
    let gone = by_key.call(Method::DELETE, &path, None).await;
    assert_eq!(gone.status, StatusCode::OK, "{}", gone.body);
    assert_eq!(lost.me().await, StatusCode::UNAUTHORIZED);
    assert_eq!(owner.me().await, StatusCode::UNAUTHORIZED);
    let shown = by_key.call(Method::GET, "/api/v1/session", None).await;
    assert_eq!(
        (shown.status, &shown.body["strong_at"]),
        (StatusCode::OK, &Value::Null)
    );

    // Where an administrator takes them away, nobody goes on.
    let admin = house.token("dave", None, &[]);
    let (status, answer) = house
        .call(&admin, Method::DELETE, "/api/v1/users/alice/factors", json!({}))
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(by_key.me().await, StatusCode::UNAUTHORIZED);
}

impl House {
    /// An account of a chat that has sent a code of this person's; whether it speaks for them.
    fn link(&mut self, name: &str, account: &str) -> bool {
        let code = format!("CODE{account}");
        self.code(name, &code);
        self.uses(account, &code)
    }

    fn code(&mut self, name: &str, code: &str) {
        let hands = Hands::from(&person(name));
        let now = Timestamp::now();
        let until = now.after(Duration::from_secs(600));
        self.store.keep_link_code(code, &hands, until, now).expect("kept");
    }

    fn uses(&mut self, account: &str, code: &str) -> bool {
        let linked = self.store.link_account("chat", account, code, Timestamp::now());
        linked.expect("an answer").is_some()
    }

    fn speaks(&mut self, account: &str) -> bool {
        self.store.link("chat", account).expect("an answer").is_some()
    }
}

#[tokio::test]
async fn an_account_of_a_chat_is_unlinked_by_its_person_by_an_administrator_and_by_every_reset() {
    let mut house = House::build();
    for account in ["U1", "U2"] {
        assert!(house.link("alice", account));
    }
    assert!(house.link("carol", "U3"));
    let token = house.token("alice", None, &[]);
    let reading: Scopes = [Scope::Read].into_iter().collect();
    let reading = house.token("alice", Some(reading), &[]);
    let admin = house.token("dave", None, &[]);
    let (_, shown) = house
        .call(&token, Method::GET, "/api/v1/me/links", json!({}))
        .await;
    let (one, other) = (&shown["items"][0], &shown["items"][1]);
    assert_eq!((&one["channel"], &one["account"]), (&json!("chat"), &json!("U1")));
    assert_ne!(one["id"], other["id"]);
    let path = format!("/api/v1/me/links/{}", one["id"].as_str().expect("an id"));
    for (who, status) in [
        (&reading, StatusCode::FORBIDDEN),
        // Somebody else's is none of one's own.
        (&admin, StatusCode::NOT_FOUND),
        (&token, StatusCode::OK),
        (&token, StatusCode::NOT_FOUND),
    ] {
        let (got, answer) = house.call(who, Method::DELETE, &path, json!({})).await;
        assert_eq!(got, status, "{answer}");
    }
    assert!(!house.speaks("U1") && house.speaks("U2"));
    let all = "/api/v1/users/alice/links";
    let (status, _) = house.call(&token, Method::DELETE, all, json!({})).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    house.code("alice", "WAITING");
    let (status, answer) = house.call(&admin, Method::DELETE, all, json!({})).await;
    assert_eq!((status, &answer["unlinked"]), (StatusCode::OK, &json!(1)));
    assert!(
        !house.speaks("U2") && house.speaks("U3"),
        "alice's, and nobody else's"
    );
    assert!(!house.uses("U2", "WAITING"), "nor a code that was made before");

    type Reset = fn(&mut Store, Timestamp);
    let resets: [(&str, Reset); 4] = [
        ("another password", |store, now| {
            let verifier = PasswordVerifier::make(PASSWORD, [7; 16]);
            store
                .password_set(
                    &person("alice"),
                    &verifier,
                    &BTreeSet::new(),
                    &person("root"),
                    now,
                )
                .expect("set");
        }),
        ("revoked tokens", |store, now| {
            store
                .tokens_revoke(&person("alice"), &person("root"), now)
                .expect("revoked");
        }),
        ("forgotten factors", |store, now| {
            store
                .factors_forget(&person("alice"), &person("root"), now)
                .expect("forgotten");
        }),
        ("leaving", |store, now| {
            for active in [false, true] {
                store
                    .person_set_active(&person("alice"), active, &person("root"), now)
                    .expect("set");
            }
        }),
    ];
    for (what, reset) in resets {
        assert!(house.link("alice", "U1"), "{what}");
        house.code("alice", "WAITING");
        reset(&mut house.store, Timestamp::now());
        assert!(!house.speaks("U1"), "{what}");
        assert!(!house.uses("U1", "WAITING"), "{what}");
    }
    // So many codes, and so many accounts; the oldest go.
    for number in 0..6 {
        house.code("alice", &format!("N{number}"));
    }
    assert!(!house.uses("U1", "N0") && house.uses("U1", "N5"));
    for number in 10..30 {
        assert!(house.link("alice", &format!("U{number}")));
    }
    assert!(!house.speaks("U1") && house.speaks("U10") && house.speaks("U29"));
    let (_, log) = house
        .call(
            &admin,
            Method::GET,
            "/api/v1/log?kind=people_change&limit=200",
            json!({}),
        )
        .await;
    assert!(log.to_string().contains("account_unlinked"), "{log}");
}

#[tokio::test]
async fn an_administrator_takes_lost_factors_away_from_others_alone() {
    let mut house = House::build();
    let mut browser = house.signed_in("alice").await;
    App::of(&mut browser).await;
    let admin = house.token("dave", None, &[]);
    let listed = house
        .call(&admin, Method::GET, "/api/v1/users", Value::Null)
        .await
        .1;
    assert_eq!(listed["items"][0]["factors"], json!(["totp"]), "{listed}");
    let (status, answer) = house
        .call(&admin, Method::DELETE, "/api/v1/users/alice/factors", Value::Null)
        .await;
    assert_eq!((status, &answer["second_factors"]), (StatusCode::OK, &json!([])));
    assert_eq!(browser.me().await, StatusCode::UNAUTHORIZED);
    let (status, _) = house
        .call(&admin, Method::DELETE, "/api/v1/users/dave/factors", Value::Null)
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, _) = house
        .call(
            &admin,
            Method::DELETE,
            "/api/v1/users/nobody/factors",
            Value::Null,
        )
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn roles_and_groups_change_at_once_and_the_log_says_from_what_to_what() {
    let mut house = House::build();
    let mut browser = house.signed_in("alice").await;
    let admin = house.token("dave", None, &[]);
    let path = "/api/v1/users/alice";
    let body = json!({ "roles": ["auditor"], "groups": ["dba", "security"] });
    let (status, changed) = house.call(&admin, Method::PATCH, path, body).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    let session = browser.call(Method::GET, "/api/v1/session", None).await;
    assert_eq!(session.body["scopes"], json!(["read", "log"]));
    let (status, changed) = house
        .call(&admin, Method::PATCH, path, json!({ "groups": [] }))
        .await;
    assert_eq!(
        (status, &changed["roles"]),
        (StatusCode::OK, &json!(["auditor"])),
        "{changed}"
    );
    for body in [
        json!({}),
        json!({ "roles": [] }),
        json!({ "roles": ["king"] }),
        json!({ "groups": ["a\nb"] }),
        json!({ "groups": ["x".repeat(64)] }),
    ] {
        let (status, _) = house.call(&admin, Method::PATCH, path, body.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
    let (status, _) = house
        .call(
            &admin,
            Method::PATCH,
            "/api/v1/users/nobody",
            json!({ "groups": [] }),
        )
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let log = house
        .call(
            &admin,
            Method::GET,
            "/api/v1/log?kind=people_change&limit=100",
            Value::Null,
        )
        .await
        .1;
    let details: Vec<Value> = log["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter(|item| item["change"] == "person_changed")
        .map(|item| serde_json::from_str(item["detail"].as_str().expect("a detail")).expect("JSON"))
        .collect();
    assert_eq!(details.len(), 2, "{log}");
    assert_eq!(
        details[1],
        json!({
            "roles": { "before": ["approver"], "after": ["auditor"] },
            "groups": { "before": [], "after": ["dba", "security"] },
        })
    );
}

/// A security key in software: one P-256 key, which signs whatever it is asked to.
struct Key {
    pair: EcdsaKeyPair,
    id: Vec<u8>,
    /// Whose it is, as it was told when it was made.
    of: Option<Vec<u8>>,
}

/// What a browser and a key say, right or wrong.
#[derive(Clone, Copy)]
struct Says {
    /// Users present 0x01, verified 0x04.
    flags: u8,
    counter: u32,
    origin: Option<&'static str>,
}

impl Says {
    const fn right(counter: u32) -> Self {
        Self {
            flags: 0x05,
            counter,
            origin: None,
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Key {
    fn new(id: u8) -> Self {
        let random = SystemRandom::new();
        let algorithm = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        Self {
            pair: EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref()).expect("a key"),
            id: vec![id; 32],
            of: None,
        }
    }

    fn client_data(&self, what: &str, options: &Value, url: &str, says: Says) -> Vec<u8> {
        json!({
            "type": what,
            "challenge": options["publicKey"]["challenge"],
            "origin": says.origin.unwrap_or(url),
            "crossOrigin": false,
        })
        .to_string()
        .into_bytes()
    }

    fn authenticator_data(says: Says, flags: u8) -> Vec<u8> {
        let mut data = Sha256::digest(b"localhost").to_vec();
        data.push(says.flags | flags);
        data.extend(says.counter.to_be_bytes());
        data
    }

    /// The answer of `navigator.credentials.create`.
    fn made(&self, options: &Value, url: &str, says: Says) -> Value {
        let mut data = Self::authenticator_data(says, 0x40);
        data.extend([0; 16]);
        data.extend([0, 32]);
        data.extend(&self.id);
        // COSE: a map of key type EC2, algorithm ES256, curve P-256, x and y.
        let point = self.pair.public_key().as_ref();
        data.extend([0xA5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20]);
        data.extend(&point[1..33]);
        data.extend([0x22, 0x58, 0x20]);
        data.extend(&point[33..65]);
        // CBOR: {"fmt": "none", "attStmt": {}, "authData": …}
        let mut attestation = vec![0xA3, 0x63];
        attestation.extend(b"fmt");
        attestation.push(0x64);
        attestation.extend(b"none");
        attestation.push(0x67);
        attestation.extend(b"attStmt");
        attestation.extend([0xA0, 0x68]);
        attestation.extend(b"authData");
        attestation.extend([0x58, u8::try_from(data.len()).expect("short")]);
        attestation.extend(data);
        json!({
            "id": base64(&self.id),
            "rawId": base64(&self.id),
            "type": "public-key",
            "extensions": {},
            "response": {
                "attestationObject": base64(&attestation),
                "clientDataJSON": base64(&self.client_data("webauthn.create", options, url, says)),
            },
        })
    }

    /// The answer of `navigator.credentials.get`.
    fn answer(&self, options: &Value, url: &str, says: Says) -> Value {
        let data = Self::authenticator_data(says, 0);
        let client = self.client_data("webauthn.get", options, url, says);
        let signed = [data.clone(), Sha256::digest(&client).to_vec()].concat();
        let signature = self.pair.sign(&SystemRandom::new(), &signed).expect("signed");
        json!({
            "id": base64(&self.id),
            "rawId": base64(&self.id),
            "type": "public-key",
            "extensions": {},
            "response": {
                "authenticatorData": base64(&data),
                "clientDataJSON": base64(&client),
                "signature": base64(signature.as_ref()),
                "userHandle": self.of.as_deref().map(base64),
            },
        })
    }
}

impl Browser {
    async fn register(&mut self, key: &mut Key, says: Says) -> Answer {
        let begun = self.call(Method::POST, "/api/v1/me/passkeys/begin", None).await;
        assert_eq!(begun.status, StatusCode::OK, "{}", begun.body);
        let options = &begun.body["options"]["publicKey"];
        assert_eq!(options["authenticatorSelection"]["residentKey"], "required");
        let user = options["user"]["id"].as_str().expect("a handle");
        key.of = Some(URL_SAFE_NO_PAD.decode(user).expect("base 64"));
        let body = json!({
            "ceremony": begun.body["ceremony"],
            "name": "laptop",
            "credential": key.made(&begun.body["options"], &self.url, says),
        });
        self.call(Method::POST, "/api/v1/me/passkeys/finish", Some(body))
            .await
    }

    /// What the server asks of whatever key there is.
    async fn asked(&mut self) -> Value {
        let begun = self
            .call(Method::POST, "/api/v1/session/passkey/begin", None)
            .await;
        assert_eq!(begun.status, StatusCode::OK, "{}", begun.body);
        assert_eq!(begun.body["options"]["publicKey"]["allowCredentials"], json!([]));
        assert_eq!(begun.body["options"]["mediation"], Value::Null);
        begun.body
    }

    async fn by_passkey(&mut self, ceremony: &Value, credential: Value) -> Answer {
        let body = json!({ "ceremony": ceremony, "credential": credential });
        let answer = self
            .call(Method::POST, "/api/v1/session/passkey/finish", Some(body))
            .await;
        if answer.status == StatusCode::OK {
            let set = answer.set_cookie.as_deref().expect("a cookie");
            let value = set
                .split_once('=')
                .and_then(|(_, rest)| rest.split_once(';'))
                .expect("a pair")
                .0;
            self.cookie = Some(value.to_owned());
            self.csrf = Some(answer.body["csrf"].as_str().expect("a CSRF token").to_owned());
        }
        answer
    }

    async fn passkey_says(&mut self, key: &Key, says: Says) -> Answer {
        let begun = self.asked().await;
        let credential = key.answer(&begun["options"], &self.url.clone(), says);
        self.by_passkey(&begun["ceremony"], credential).await
    }
}

#[tokio::test]
async fn a_passkey_is_registered_and_signs_in_for_sure() {
    let mut house = House::build();
    let token = house.token("alice", None, &["dave"]);
    let mut browser = house.browser();
    browser.sign_in(json!({ "token": token })).await;
    let mut key = Key::new(1);
    // A key that has not verified its user is none.
    let unverified = Says {
        flags: 0x01,
        ..Says::right(1)
    };
    let refused = browser.register(&mut key, unverified).await;
    assert_eq!(
        refused.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{}",
        refused.body
    );
    let made = browser.register(&mut key, Says::right(1)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    assert_eq!(made.body["second_factors"], json!(["passkey"]));
    assert_eq!(made.body["passkeys"][0]["name"], "laptop");

    let mut other = house.browser();
    let answer = other.passkey_says(&key, Says::right(2)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["method"], "passkey");
    assert!(answer.body["strong_at"].is_string());
    // Whoever had seen the token may have registered the key (promise 4).
    assert_eq!(answer.body["token_seen_by"], json!(["dave"]));
    assert_eq!(other.me().await, StatusCode::OK);
    let told = house.sign_ins().await;
    assert!(
        told.iter().any(
            |(event, name, method, _)| (event.as_str(), name.as_str(), method.as_str())
                == ("signed_in", "alice", "passkey")
        ),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_passkeys_answer_counts_once_and_only_when_all_of_it_is_right() {
    let mut house = House::build();
    let mut browser = house.signed_in("alice").await;
    let mut key = Key::new(1);
    browser.register(&mut key, Says::right(1)).await;
    let mut thief = house.browser();
    let begun = thief.asked().await;
    let answer = key.answer(&begun["options"], &house.url, Says::right(5));
    let first = thief.by_passkey(&begun["ceremony"], answer.clone()).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    let again = thief.by_passkey(&begun["ceremony"], answer.clone()).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", again.body);
    let begun = thief.asked().await;
    let replayed = thief.by_passkey(&begun["ceremony"], answer).await;
    assert_eq!(replayed.status, StatusCode::UNAUTHORIZED, "{}", replayed.body);
    for (what, says) in [
        (
            "user not verified",
            Says {
                flags: 0x01,
                ..Says::right(9)
            },
        ),
        (
            "user not there",
            Says {
                flags: 0x00,
                ..Says::right(9)
            },
        ),
        (
            "another site",
            Says {
                origin: Some("https://evil.example"),
                ..Says::right(9)
            },
        ),
        ("a copy of the key, whose counter lags", Says::right(3)),
    ] {
        let answer = thief.passkey_says(&key, says).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}: {}", answer.body);
        assert_eq!(answer.set_cookie, None, "{what}");
    }
    let mut stranger = Key::new(1);
    (stranger.id, stranger.of) = (key.id.clone(), key.of.clone());
    let answer = thief.passkey_says(&stranger, Says::right(9)).await;
    assert_eq!(
        answer.status,
        StatusCode::UNAUTHORIZED,
        "another key under the same id"
    );
    // A key that does not say whose it is, or says somebody else's name.
    for of in [None, Some(vec![7; 16])] {
        let mut other = Key::new(2);
        (other.id, other.of) = (key.id.clone(), of);
        std::mem::swap(&mut other.pair, &mut key.pair);
        let answer = thief.passkey_says(&other, Says::right(9)).await;
        std::mem::swap(&mut other.pair, &mut key.pair);
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
    }
    house
        .store
        .person_set_active(&person("alice"), false, &person("root"), Timestamp::now())
        .expect("deactivated");
    let answer = thief.passkey_says(&key, Says::right(10)).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "not active");
}

#[tokio::test]
async fn a_passkey_makes_a_session_surer_and_is_taken_away_by_itself_alone() {
    let mut house = House::build();
    let mut browser = house.signed_in("alice").await;
    let mut other = house.signed_in("alice").await;
    let mut key = Key::new(1);
    let made = browser.register(&mut key, Says::right(1)).await;
    let path = format!(
        "/api/v1/me/passkeys/{}",
        made.body["passkeys"][0]["id"].as_str().expect("an id")
    );
    // The session that registered it has not given it yet.
    for (method, path) in [
        (Method::DELETE, path.as_str()),
        (Method::POST, "/api/v1/me/passkeys/begin"),
    ] {
        let refused = browser.call(method, path, None).await;
        assert_eq!(
            (refused.status, code(&refused)),
            (StatusCode::FORBIDDEN, "step_up_needed"),
            "{path}"
        );
    }
    let begin = "/api/v1/session/step-up/begin";
    let finish = "/api/v1/session/step-up/finish";
    let begun = browser.call(Method::POST, begin, None).await.body;
    let body = json!({ "ceremony": begun["ceremony"], "credential": key.answer(&begun["options"], &house.url, Says::right(2)) });
    // What one session began, another does not end.
    let elsewhere = other.call(Method::POST, finish, Some(body.clone())).await;
    assert_eq!(
        elsewhere.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{}",
        elsewhere.body
    );
    let begun = browser.call(Method::POST, begin, None).await.body;
    let body = json!({ "ceremony": begun["ceremony"], "credential": key.answer(&begun["options"], &house.url, Says::right(3)) });
    let surer = browser.call(Method::POST, finish, Some(body.clone())).await;
    assert_eq!(
        (surer.status, &surer.body["method"]),
        (StatusCode::OK, &json!("passkey")),
        "{}",
        surer.body
    );
    let shown = browser.call(Method::GET, "/api/v1/session", None).await;
    assert!(shown.body["strong_at"].is_string(), "{}", shown.body);
    let again = browser.call(Method::POST, finish, Some(body)).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY);
    let shown = other.call(Method::GET, "/api/v1/session", None).await;
    assert_eq!(shown.body["strong_at"], Value::Null);
    let unknown = browser
        .call(Method::DELETE, "/api/v1/me/passkeys/AAAA", None)
        .await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let gone = browser.call(Method::DELETE, &path, None).await;
    assert_eq!(
        (gone.status, &gone.body["passkeys"]),
        (StatusCode::OK, &json!([])),
        "{}",
        gone.body
    );
    let answer = house.browser().passkey_says(&key, Says::right(9)).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}
