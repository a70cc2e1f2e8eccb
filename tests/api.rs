//! The API and the command line as its client: each route allowed, forbidden and malformed, on a real desk with a
//! store and a journal of its own.

#[path = "api/break_glass.rs"]
mod break_glass;
#[path = "api/idempotency.rs"]
mod idempotency;
#[path = "api/openapi.rs"]
mod openapi;
#[path = "api/preview.rs"]
mod preview;
#[path = "api/resets.rs"]
mod resets;
#[path = "api/watch.rs"]
mod watch;
#[path = "api/withheld.rs"]
mod withheld;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign::api::{self, Api, Certificate, Rooms};
use countersign::clock::Timestamp;
use countersign::desk::{Ask, Asked, Desk, Parked, Transaction, Wake};
use countersign::hold::{DigestBuilder, Parameter, ParameterFormat};
use countersign::identity::directory::{NewAgent, NewPerson, NewToken, OtherTokens, Role, Scope};
use countersign::identity::principal::{AttemptId, Peer, PersonName, PrincipalName, Profile, SessionId};
use countersign::identity::secret::NativePassword;
use countersign::journal::{self, Journal};
use countersign::policy::{Requirement, Verdict};
use countersign::sql::action::{Action, Breadth, Class, Judgement, Steps, TableName};
use countersign::sql::judge_postgres;
use countersign::sql::statement::LexingState;
use countersign::store::sqlite::Store;
use countersign::telemetry::Metrics;
use futures_util::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A desk with an API on a free port, two agents, and a person for every role.
struct House {
    url: String,
    http: reqwest::Client,
    desk: Desk,
    rooms: Rooms,
    api: Api,
    tokens: BTreeMap<&'static str, String>,
    agent_secret: String,
    folder: tempfile::TempDir,
    attempts: AtomicU64,
}

fn person(name: &str) -> PersonName {
    PersonName::parse(name).expect("a name")
}

impl House {
    async fn build() -> Self {
        Self::build_with(None).await
    }

    async fn build_with(certificate: Option<Certificate>) -> Self {
        Self::build_for(certificate, countersign::desk::Settings::default()).await
    }

    async fn build_for(certificate: Option<Certificate>, settings: countersign::desk::Settings) -> Self {
        // The only error is that it is installed already.
        let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a scratch folder");
        let mut store = Store::open(&folder.path().join("store.sqlite3")).expect("a store");
        let now = Timestamp::now();
        let root = person("root");
        let people: [(&str, &[Role], &[&str]); 7] = [
            ("alice", &[Role::Approver], &["dba"]),
            ("bob", &[Role::Approver], &[]),
            ("carol", &[Role::Auditor], &[]),
            ("dave", &[Role::Admin], &[]),
            ("olivia", &[Role::Approver], &[]),
            ("rita", &[Role::Approver], &[]),
            ("frank", &[Role::Approver], &[]),
        ];
        let mut tokens = BTreeMap::new();
        for (name, roles, groups) in people {
            let new = NewPerson {
                name: person(name),
                roles: roles.to_vec(),
                groups: groups.iter().map(ToString::to_string).collect(),
            };
            store.person_add(&new, &root, now).expect("added");
            tokens.insert(name, token(&mut store, name, None));
        }
        let reading = [Scope::Read].into_iter().collect();
        tokens.insert("alice, reading", token(&mut store, "alice", Some(reading)));
        let new = NewAgent {
            name: PrincipalName::parse("bot").expect("a name"),
            owner: person("olivia"),
            acts_for: Some(person("frank")),
            databases: Vec::new(),
            database_user: "app".to_owned(),
            profile: Profile::Standard,
            labels: BTreeMap::new(),
            expires_at: None,
            mysql_native: NativePassword::Refused,
        };
        store.agent_add(&new, &root, now).expect("added");
        let secret = store
            .agent_rotate(&new.name, NativePassword::Refused, &person("rita"), now)
            .expect("rotated");
        let journal =
            Journal::open(journal::Settings::in_dir(folder.path().join("journal"))).expect("a journal");
        let desk = Desk::start(store, journal.clone(), settings).expect("a desk");
        let rooms = Rooms::new(desk.clone(), journal, Metrics::new(), Vec::new());
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let settings = api::Settings {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            certificate,
            connections_per_address: api::PER_ADDRESS_DEFAULT,
            trusted_proxies: Default::default(),
        };
        let api = api::start(&settings, rooms.clone()).expect("a free port");
        Self {
            url: format!("{scheme}://localhost:{}", api.local_addr.port()),
            http: reqwest::Client::new(),
            desk,
            rooms,
            api,
            tokens,
            agent_secret: secret.reveal().to_owned(),
            folder,
            attempts: AtomicU64::new(1),
        }
    }

    async fn call(&self, who: &str, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = self.tokens.get(who) {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&self, who: &str, path: &str) -> (StatusCode, Value) {
        self.call(who, Method::GET, path, None).await
    }

    async fn decide(&self, who: &str, id: &str, body: Value) -> (StatusCode, Value) {
        self.call(
            who,
            Method::POST,
            &format!("/api/v1/requests/{id}/decision"),
            Some(body),
        )
        .await
    }

    /// Parks a statement of `bot`, and gives it with its card.
    async fn park(&self, text: &str) -> (Parked, Value) {
        let asked = self.desk.ask(self.ask(text.as_bytes())).await.expect("taken");
        let Asked::Parked(parked) = asked else {
            panic!("no grant was there")
        };
        let (status, card) = self
            .get("alice", &format!("/api/v1/requests/{}", parked.request))
            .await;
        assert_eq!(status, StatusCode::OK, "{card}");
        (parked, card)
    }

    fn ask(&self, text: &[u8]) -> Ask {
        let number = self.attempts.fetch_add(1, Ordering::Relaxed);
        let session = SessionId(7);
        Ask {
            peer: Arc::new(Peer {
                principal: PrincipalName::parse("bot").expect("a name"),
                owner: person("olivia"),
                profile: Profile::Standard,
                labels: BTreeMap::new(),
                session,
                source: IpAddr::V4(Ipv4Addr::LOCALHOST),
                upstream: "main".to_owned(),
                database: "shop".to_owned(),
                database_user: "app".to_owned(),
            }),
            attempt: AttemptId { session, number },
            digest: DigestBuilder::new("test")
                .field("text", text)
                .field("n", &number.to_be_bytes())
                .finish(),
            text: text.to_vec(),
            judgement: Arc::new(drop_of_orders(text.len())),
            verdict: Verdict::held_because("it drops a table"),
            parameters: vec![Parameter {
                index: 1,
                type_oid: 25,
                type_name: "text".to_owned(),
                format: ParameterFormat::Text,
                value: Some("x\u{202E}y".to_owned()),
                hex: None,
                bytes: 5,
                redacted: Vec::new(),
            }],
            withheld_facts: BTreeMap::new(),
            column_labels: Vec::new(),
            transaction: Transaction::Idle,
            claimed: [("application_name".to_owned(), "psql".to_owned())].into(),
            facts: [("search_path".to_owned(), "public".to_owned())].into(),
            names: String::new(),
            rules: [0; 32],
            wait: Duration::from_secs(60),
            expires: Duration::from_secs(600),
            protocol: "simple",
            copies_in: false,
            reply: None,
        }
    }

    /// `who` makes a token for `whom`, to be known as `named`.
    async fn issue(&mut self, who: &str, whom: &str, named: &'static str, body: Value) -> Value {
        let path = format!("/api/v1/users/{whom}/tokens");
        let (status, made) = self.call(who, Method::POST, &path, Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{who} for {whom}: {made}");
        self.tokens.insert(named, text(&made, "token").to_owned());
        made
    }

    /// Runs the binary as a person with a token; gives exit code, stdout and stderr.
    async fn run(&self, who: &str, arguments: &[&str]) -> (i32, String, String) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_countersign"));
        command
            .args(arguments)
            .env("COUNTERSIGN_API_URL", &self.url)
            .env_remove("COUNTERSIGN_TOKEN");
        if let Some(token) = self.tokens.get(who) {
            command.env("COUNTERSIGN_TOKEN", token);
        }
        let done = command
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .expect("the binary runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (
            done.status.code().expect("no signal"),
            text(done.stdout),
            text(done.stderr),
        )
    }
}

fn token(store: &mut Store, name: &str, scopes: Option<countersign::identity::directory::Scopes>) -> String {
    let new = NewToken {
        person: person(name),
        scopes,
        expires_at: None,
        seen_by: BTreeSet::new(),
        others: OtherTokens::Stay,
    };
    let secret = store
        .token_issue(&new, &person("root"), Timestamp::now())
        .expect("issued");
    secret.reveal().to_owned()
}

fn drop_of_orders(bytes: usize) -> Judgement {
    let orders = TableName {
        schema: Some("public".to_owned()),
        name: "orders".to_owned(),
    };
    Judgement {
        actions: vec![Action {
            class: Class::Ddl,
            breadth: Breadth::Unbounded,
            verb: "drop table".to_owned(),
            tables: BTreeSet::from([orders]),
            columns: BTreeSet::new(),
            functions: BTreeSet::new(),
            behind: BTreeSet::new(),
            rows: None,
            reasons: vec!["it drops a table".to_owned()],
            effects: Vec::new(),
            span: 0..bytes,
            secrets: Vec::new(),
            parse_is_safe: false,
            copies_in: false,
            cancels: None,
            commits: true,
            reaches_unnamed: false,
            steps: Steps {
                words: BTreeSet::from(["drop table"]),
                beyond: None,
            },
        }],
        depends_on_names: false,
        fingerprint: [7; 32],
        sorts: [0; 32],
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no text `{key}` in {value}"))
}

fn approval(card: &Value) -> Value {
    json!({ "decision": "approve", "digest": card["digest"], "version": card["version"], "reason": "OPS-1" })
}

const ROUTES: &[(&str, &str)] = &[
    ("get", "/api/v1/requests"),
    ("get", "/api/v1/requests/{id}"),
    ("post", "/api/v1/requests/{id}/decision"),
    ("post", "/api/v1/requests/{id}/preview"),
    ("post", "/api/v1/requests/{id}/break-glass"),
    ("post", "/api/v1/requests/{id}/review"),
    ("get", "/api/v1/reviews"),
    ("post", "/api/v1/requests/{id}/comments"),
    ("post", "/api/v1/requests/{id}/questions"),
    ("post", "/api/v1/requests/{id}/escalations"),
    ("post", "/api/v1/requests/{id}/delegations"),
    ("post", "/api/v1/requests/{id}/views"),
    ("post", "/api/v1/requests/{id}/reveal"),
    ("get", "/api/v1/sessions"),
    ("delete", "/api/v1/sessions/{id}"),
    ("get", "/api/v1/events"),
    ("get", "/api/v1/log"),
    ("get", "/api/v1/log/checkpoint"),
    ("get", "/api/v1/log/evidence"),
    ("post", "/api/v1/log/{id}/erase"),
    ("get", "/api/v1/log/{id}/proof"),
    ("get", "/api/v1/log/tail"),
    ("get", "/api/v1/log/histogram"),
    ("get", "/api/v1/log/facets"),
    ("post", "/api/v1/rules/replay"),
    ("get", "/api/v1/log/{id}"),
    ("get", "/api/v1/log/{id}/around"),
    ("get", "/api/v1/grants"),
    ("get", "/api/v1/grants/{id}"),
    ("post", "/api/v1/grants/{id}/revoke"),
    ("post", "/api/v1/session"),
    ("get", "/api/v1/session"),
    ("delete", "/api/v1/session"),
    ("post", "/api/v1/session/step-up"),
    ("get", "/api/v1/me"),
    ("get", "/api/v1/me/factors"),
    ("post", "/api/v1/me/password"),
    ("post", "/api/v1/me/totp"),
    ("delete", "/api/v1/me/totp"),
    ("post", "/api/v1/me/totp/confirm"),
    ("post", "/api/v1/password"),
    ("post", "/api/v1/me/passkeys/begin"),
    ("post", "/api/v1/me/passkeys/finish"),
    ("delete", "/api/v1/me/passkeys/{id}"),
    ("post", "/api/v1/session/passkey/begin"),
    ("post", "/api/v1/session/passkey/finish"),
    ("post", "/api/v1/session/step-up/begin"),
    ("post", "/api/v1/session/step-up/finish"),
    ("patch", "/api/v1/users/{name}"),
    ("post", "/api/v1/users/{name}/password-link"),
    ("delete", "/api/v1/users/{name}/factors"),
    ("get", "/api/v1/users"),
    ("post", "/api/v1/users"),
    ("post", "/api/v1/users/{name}/tokens"),
    ("delete", "/api/v1/users/{name}/tokens"),
    ("post", "/api/v1/users/{name}/active"),
    ("get", "/api/v1/agents"),
    ("post", "/api/v1/agents"),
    ("post", "/api/v1/agents/{name}/rotate"),
    ("post", "/api/v1/agents/{name}/certificate"),
    ("delete", "/api/v1/agents/{name}"),
    ("get", "/api/v1/catalogs"),
    ("post", "/api/v1/catalogs/refresh"),
    ("get", "/api/v1/catalogs/{database}/functions"),
    ("get", "/api/v1/webhooks"),
    ("post", "/api/v1/me/links"),
    ("get", "/api/v1/me/links"),
    ("delete", "/api/v1/me/links/{id}"),
    ("get", "/api/v1/users/{name}/links"),
    ("delete", "/api/v1/users/{name}/links"),
    ("post", "/api/v1/channels/{name}/answers"),
    ("post", "/api/v1/webhooks/{name}/test"),
    ("post", "/api/v1/webhooks/{name}/replay"),
    ("get", "/livez"),
    ("get", "/readyz"),
    ("get", "/metrics"),
];

/// Whoever signs in is nobody yet. Each reads its body first.
const NEEDS_NOBODY: &[(&str, &str)] = &[
    ("post", "/api/v1/session"),
    ("post", "/api/v1/password"),
    ("post", "/api/v1/session/passkey/begin"),
    ("post", "/api/v1/session/passkey/finish"),
];

fn filled(path: &str) -> String {
    path.replace("{id}", "7K3F9Q")
        .replace("{name}", "bot")
        .replace("{database}", "shop")
}

fn method(word: &str) -> Method {
    word.to_uppercase().parse().expect("a method")
}

#[tokio::test]
async fn the_document_is_openapi_3_1_and_names_every_route() {
    let house = House::build().await;
    let (status, document) = house.get("", "/api/v1/openapi.json").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        text(&document, "openapi").starts_with("3.1."),
        "{}",
        document["openapi"]
    );
    let mut named: Vec<(String, String)> = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            named.push((method.clone(), path.clone()));
        }
    }
    named.sort();
    let mut expected: Vec<(String, String)> = ROUTES
        .iter()
        .map(|(method, path)| (method.to_string(), path.to_string()))
        .collect();
    expected.push(("get".to_owned(), "/api/v1/openapi.json".to_owned()));
    expected.sort();
    assert_eq!(named, expected);
    let references = document.to_string();
    for (start, _) in references.match_indices("#/components/schemas/") {
        let name = references[start..]
            .split('"')
            .next()
            .expect("a name")
            .rsplit('/')
            .next()
            .expect("a name");
        assert!(
            document["components"]["schemas"].get(name).is_some(),
            "{name} is named but not described"
        );
    }
}

#[tokio::test]
async fn no_call_but_health_goes_without_a_token() {
    let house = House::build().await;
    for &(word, path) in ROUTES {
        let (status, answer) = house.call("", method(word), &filled(path), Some(json!({}))).await;
        if NEEDS_NOBODY.contains(&(word, path)) {
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{word} {path}: {answer}");
            assert!(status.is_client_error(), "{word} {path}: {answer}");
        } else if path.starts_with("/api/") {
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{word} {path}: {answer}");
            assert_eq!(text(&answer, "code"), "unauthenticated");
        } else {
            assert_eq!(status, StatusCode::OK, "{word} {path}: {answer}");
        }
    }
    let response = house
        .http
        .get(format!("{}/api/v1/me", house.url))
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        response.headers()["www-authenticate"],
        "Bearer realm=\"countersign\""
    );
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn a_credential_that_submits_statements_opens_nothing() {
    let mut house = House::build().await;
    let secret = house.agent_secret.clone();
    let forged = format!("cs_{}", "A".repeat(43));
    house.tokens.insert("agent", secret);
    house.tokens.insert("forged", forged);
    house.tokens.insert(
        "verifier",
        "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy".to_owned(),
    );
    for who in ["agent", "forged", "verifier"] {
        for &(word, path) in ROUTES
            .iter()
            .filter(|route| route.1.starts_with("/api/") && !NEEDS_NOBODY.contains(route))
        {
            let (status, _) = house
                .call(who, method(word), &filled(path), Some(json!({})))
                .await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{who}: {word} {path}");
        }
    }
    let basic = house
        .http
        .get(format!("{}/api/v1/me", house.url))
        .basic_auth("bot", Some(&house.agent_secret));
    assert_eq!(
        basic.send().await.expect("an answer").status(),
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn every_route_wants_its_role() {
    let house = House::build().await;
    let forbidden = [
        ("carol", "post", "/api/v1/requests/7K3F9Q/decision"),
        ("alice, reading", "post", "/api/v1/requests/7K3F9Q/decision"),
        ("carol", "post", "/api/v1/requests/7K3F9Q/questions"),
        ("carol", "post", "/api/v1/requests/7K3F9Q/preview"),
        ("dave", "post", "/api/v1/requests/7K3F9Q/break-glass"),
        ("alice", "post", "/api/v1/requests/7K3F9Q/break-glass"),
        ("alice, reading", "post", "/api/v1/requests/7K3F9Q/review"),
        ("alice", "get", "/api/v1/webhooks"),
        ("carol", "post", "/api/v1/webhooks/ops/test"),
        ("bob", "post", "/api/v1/webhooks/ops/replay"),
        ("alice", "get", "/api/v1/log"),
        ("alice", "get", "/api/v1/log/tail"),
        ("alice", "get", "/api/v1/log/evidence?from=1d&to=2026-12-01"),
        ("alice", "get", "/api/v1/log/histogram"),
        ("alice", "get", "/api/v1/log/facets"),
        ("alice", "post", "/api/v1/rules/replay"),
        ("alice", "get", "/api/v1/log/0.1"),
        ("alice", "get", "/api/v1/log/0.1/around"),
        ("alice", "post", "/api/v1/log/0.1/erase"),
        ("carol", "post", "/api/v1/log/0.1/erase"),
        ("alice", "get", "/api/v1/users"),
        ("carol", "get", "/api/v1/users"),
        ("carol", "get", "/api/v1/agents"),
        ("alice", "patch", "/api/v1/users/bob"),
        ("carol", "post", "/api/v1/users/bob/password-link"),
        ("alice", "delete", "/api/v1/users/bob/factors"),
        ("alice, reading", "post", "/api/v1/me/totp"),
        ("alice, reading", "delete", "/api/v1/me/totp"),
        ("alice, reading", "post", "/api/v1/me/passkeys/begin"),
        ("alice, reading", "delete", "/api/v1/me/passkeys/AAAA"),
        ("alice", "delete", "/api/v1/agents/bot"),
        ("alice", "delete", "/api/v1/users/bob/tokens"),
        ("alice, reading", "delete", "/api/v1/users/alice/tokens"),
    ];
    for (who, word, path) in forbidden {
        let body = ["post", "patch"].contains(&word).then(|| match word {
            "patch" => json!({ "groups": [] }),
            _post => body_of(path),
        });
        let (status, problem) = house.call(who, method(word), path, body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{who}: {word} {path}: {problem}");
        assert_eq!(text(&problem, "code"), "forbidden");
        assert!(!text(&problem, "next_step").is_empty());
    }
    let bodies = [
        ("/api/v1/users", json!({ "name": "eve", "roles": ["admin"] })),
        ("/api/v1/users/bob/tokens", json!({})),
        (
            "/api/v1/agents",
            json!({ "name": "x", "owner": "alice", "database_user": "app" }),
        ),
        (
            "/api/v1/agents/bot/certificate",
            json!({ "certificate": "CN=mine" }),
        ),
        ("/api/v1/agents/bot/rotate", json!({ "mysql_native": true })),
    ];
    for (path, body) in bodies {
        let (status, _) = house.call("alice", Method::POST, path, Some(body)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
    }
    let rotate = "/api/v1/agents/bot/rotate";
    let (status, _) = house.call("alice", Method::POST, rotate, None).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "with no body either");
}

/// A body that the route can read.
fn body_of(path: &str) -> Value {
    match path.rsplit('/').next() {
        Some("questions") => json!({ "question": "why?" }),
        Some("preview") => json!({ "reason": "no" }),
        Some("replay") if path.starts_with("/api/v1/rules/") => json!({ "rules": "" }),
        Some("erase") => json!({ "reason": "a wish" }),
        Some("break-glass") => json!({ "reason": "down", "digest": "0".repeat(64) }),
        Some("review") => json!({ "finding": "fine", "text": "looked at it" }),
        _ => json!({ "decision": "approve" }),
    }
}

#[tokio::test]
async fn a_card_shows_the_exact_statement_and_all_that_is_known_of_it() {
    let house = House::build().await;
    let statement = "DROP TABLE\tpublic.orders -- \u{202E}gone\n";
    let (parked, card) = house.park(statement).await;
    assert_eq!(text(&card, "id"), parked.request.to_string());
    assert_eq!(text(&card, "state"), "pending");
    assert_eq!(card["detached"], json!(false));
    assert_eq!(text(&card, "text"), statement);
    assert_eq!(text(&card["statements"][0], "text"), statement);
    assert_eq!(card["statements"][0]["tables"], json!(["public.orders"]));
    assert_eq!(card["statements"][0]["bounded"], json!(false));
    assert_eq!(text(&card, "class"), "ddl");
    assert_eq!(text(&card, "risk"), "high");
    assert_eq!(text(&card, "principal"), "bot");
    assert_eq!(text(&card, "database"), "shop");
    assert_eq!(card["parameters"][0]["value"], json!("x\u{202E}y"));
    assert_eq!(card["claimed"], json!({ "application_name": "psql" }));
    assert_eq!(card["transaction"]["state"], json!("idle"));
    assert_eq!(
        card["impact"],
        json!({
            "status": "estimating",
            "estimated_rows": null,
            "tables": [{ "name": "public.orders", "rows": null, "bytes": null, "index_bytes": null }],
            "cascade": false,
            "locks": [],
            "locks_not_known": "being looked up",
        })
    );
    assert_eq!(text(&card, "digest").len(), 64);
    assert!(card["version"].is_u64() && Timestamp::parse(text(&card, "expires_at")).is_some());
}

#[tokio::test]
async fn a_list_filters_and_comes_in_pages() {
    let house = House::build().await;
    let mut parked = Vec::new();
    for number in 0..5 {
        parked.push(house.park(&format!("DROP TABLE orders{number}")).await.0);
    }
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = house
            .get("carol", &format!("/api/v1/requests?limit=2{cursor}"))
            .await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let items = page["items"].as_array().expect("items");
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|card| text(card, "id").to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 5);
    for (filter, count) in [
        ("principal=bot", 5),
        ("principal=other", 0),
        ("class=ddl", 5),
        ("class=read", 0),
        ("database=shop", 5),
        ("database=other", 0),
        ("state=pending", 5),
        ("state=approved,denied", 0),
    ] {
        let (_, page) = house.get("alice", &format!("/api/v1/requests?{filter}")).await;
        assert_eq!(page["items"].as_array().map(Vec::len), Some(count), "{filter}");
    }
}

#[tokio::test]
async fn pending_includes_what_nobody_waits_for_and_tells_it() {
    let house = House::build().await;
    let (parked, _) = house.park("DROP TABLE orders").await;
    house
        .desk
        .detach(parked.request, countersign::desk::Detach::ClientLeft)
        .await
        .expect("detached");
    for state in ["pending", "detached"] {
        let (_, page) = house
            .get("alice", &format!("/api/v1/requests?state={state}"))
            .await;
        assert_eq!(page["items"][0]["detached"], json!(true), "{state}: {page}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_said_with_a_next_step() {
    let house = House::build().await;
    let cases = [
        (
            "/api/v1/requests?principle=bot",
            StatusCode::BAD_REQUEST,
            "malformed",
        ),
        (
            "/api/v1/requests?state=waiting",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            "/api/v1/requests?class=drop",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            "/api/v1/requests?limit=0",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            "/api/v1/requests?limit=501",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            "/api/v1/requests?limit=many",
            StatusCode::BAD_REQUEST,
            "malformed",
        ),
        (
            "/api/v1/requests?cursor=nonsense",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        ("/api/v1/requests/7K3F9Q", StatusCode::NOT_FOUND, "not_found"),
        ("/api/v1/requests/nonsense", StatusCode::NOT_FOUND, "not_found"),
        (
            "/api/v1/requests/7K3F9Q?wait=soon",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            "/api/v1/log?since=yesterday",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            "/api/v1/log?verdict=maybe",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            "/api/v1/log?session=abc",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            "/api/v1/log?kind=thing",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            "/api/v1/log?order=random",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            "/api/v1/log?cursor=nonsense",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        ("/api/v1/log?verdikt=hold", StatusCode::BAD_REQUEST, "malformed"),
        (
            "/api/v1/log/evidence?from=1d",
            StatusCode::BAD_REQUEST,
            "malformed",
        ),
        (
            "/api/v1/log/evidence?from=1d&to=2d",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            "/api/v1/log?q=clas:ddl",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            "/api/v1/log/histogram?buckets=0",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            "/api/v1/log/0.0/around?count=201",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        ("/api/v1/log/0.999999/around", StatusCode::NOT_FOUND, "not_found"),
        ("/api/v1/log/nonsense", StatusCode::NOT_FOUND, "not_found"),
        ("/api/v1/log/0.999999", StatusCode::NOT_FOUND, "not_found"),
        ("/api/v1/nothing", StatusCode::NOT_FOUND, "not_found"),
    ];
    for (path, expected, code) in cases {
        let (status, problem) = house.get("dave", path).await;
        assert_eq!(
            (status, text(&problem, "code")),
            (expected, code),
            "{path}: {problem}"
        );
        assert_eq!(problem["status"], json!(expected.as_u16()));
        assert!(text(&problem, "type").ends_with(code));
        assert!(!text(&problem, "detail").is_empty() && !text(&problem, "next_step").is_empty());
    }
    let (status, problem) = house.call("dave", Method::PUT, "/api/v1/requests", None).await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
    );
}

#[tokio::test]
async fn an_approval_wakes_the_session_and_a_second_decision_learns_who_was_first() {
    let house = House::build().await;
    let (parked, card) = house.park("DROP TABLE orders").await;
    let id = text(&card, "id").to_owned();
    let (status, approved) = house.decide("alice", &id, approval(&card)).await;
    assert_eq!(status, StatusCode::OK, "{approved}");
    assert_eq!(text(&approved, "state"), "approved");
    assert_eq!(approved["decisions"][0]["by"], json!("alice"));
    assert_eq!(approved["decisions"][0]["channel"], json!("api"));
    let woken = parked.woken.await.expect("woken");
    assert_eq!(
        woken,
        Wake::Approved {
            by: vec!["alice".to_owned()],
            reason: "OPS-1".to_owned()
        }
    );
    let denial = json!({ "decision": "deny", "reason": "too late" });
    let (status, problem) = house.decide("bob", &id, denial).await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::CONFLICT, "already_decided"),
        "{problem}"
    );
    assert_eq!(problem["decided_by"], json!(["alice"]));
    assert_eq!(text(&problem, "state"), "approved");
}

#[tokio::test]
async fn a_denial_needs_a_reason_and_carries_it_to_the_agent() {
    let house = House::build().await;
    let (parked, card) = house.park("DROP TABLE orders").await;
    let id = text(&card, "id").to_owned();
    for body in [
        json!({ "decision": "deny" }),
        json!({ "decision": "deny", "reason": "  " }),
    ] {
        let (status, problem) = house.decide("bob", &id, body).await;
        let expected = (StatusCode::UNPROCESSABLE_ENTITY, "reason_required");
        assert_eq!((status, text(&problem, "code")), expected, "{problem}");
    }
    let (status, denied) = house
        .decide(
            "bob",
            &id,
            json!({ "decision": "deny", "reason": "billing reads it" }),
        )
        .await;
    assert_eq!(
        (status, text(&denied, "state")),
        (StatusCode::OK, "denied"),
        "{denied}"
    );
    let expected = Wake::Denied {
        by: "bob".to_owned(),
        reason: "billing reads it".to_owned(),
    };
    assert_eq!(parked.woken.await.expect("woken"), expected);
}

#[tokio::test]
async fn an_approval_binds_to_what_was_shown() {
    let house = House::build().await;
    let (_parked, card) = house.park("DROP TABLE orders").await;
    let id = text(&card, "id").to_owned();
    let other = "0".repeat(64);
    let cases = [
        (
            json!({ "decision": "approve" }),
            StatusCode::UNPROCESSABLE_ENTITY,
            "digest_required",
        ),
        (
            json!({ "decision": "approve", "digest": "abc" }),
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            json!({ "decision": "approve", "digest": other }),
            StatusCode::CONFLICT,
            "stale",
        ),
        (
            json!({ "decision": "approve", "digest": card["digest"], "version": 99 }),
            StatusCode::CONFLICT,
            "stale",
        ),
        (
            json!({ "decision": "approve", "digest": card["digest"], "scope": "session" }),
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            json!({ "decision": "maybe" }),
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            json!({ "decision": "approve", "minutes": 10 }),
            StatusCode::BAD_REQUEST,
            "malformed",
        ),
        (json!({}), StatusCode::BAD_REQUEST, "malformed"),
        (
            json!({ "decision": "deny", "reason": "a\u{1b}[2J" }),
            StatusCode::UNPROCESSABLE_ENTITY,
            "unacceptable",
        ),
        (
            json!({ "decision": "deny", "reason": "x".repeat(70_000) }),
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
        ),
    ];
    for (body, expected, code) in cases {
        let shown = body.to_string().chars().take(90).collect::<String>();
        let (status, problem) = house.decide("alice", &id, body).await;
        assert_eq!(
            (status, text(&problem, "code")),
            (expected, code),
            "{shown}: {problem}"
        );
    }
    let (_, card) = house.get("alice", &format!("/api/v1/requests/{id}")).await;
    assert_eq!(text(&card, "state"), "pending");
}

#[tokio::test]
async fn nobody_decides_on_their_own_work_over_the_api() {
    let house = House::build().await;
    let (_parked, card) = house.park("DROP TABLE orders").await;
    let id = text(&card, "id").to_owned();
    for who in ["olivia", "rita", "frank"] {
        for body in [approval(&card), json!({ "decision": "deny", "reason": "no" })] {
            let (status, problem) = house.decide(who, &id, body).await;
            assert_eq!(
                (status, text(&problem, "code")),
                (StatusCode::FORBIDDEN, "not_permitted"),
                "{who}"
            );
        }
    }
    let (_, page) = house
        .get(
            "carol",
            &format!("/api/v1/log?q=event:decision_refused+request:{id}"),
        )
        .await;
    let tried = page["items"].as_array().expect("items");
    let who: BTreeSet<&str> = tried.iter().map(|record| text(record, "by")).collect();
    assert_eq!(
        (tried.len(), who),
        (6, BTreeSet::from(["olivia", "rita", "frank"])),
        "{page}"
    );
    let (status, _) = house
        .call("dave", Method::POST, "/api/v1/agents/bot/rotate", None)
        .await;
    assert_eq!(status, StatusCode::OK);
    let (_parked, card) = house.park("DROP TABLE orders").await;
    let (status, problem) = house.decide("dave", text(&card, "id"), approval(&card)).await;
    assert_eq!(
        status,
        StatusCode::FORBIDDEN,
        "an administrator who rotated has seen the secret: {problem}"
    );
}

#[tokio::test]
async fn an_administrator_with_a_stake_does_not_decide_by_a_token_made_for_somebody_else() {
    let mut house = House::build().await;
    let bot = json!({ "name": "daves", "owner": "dave", "database_user": "app" });
    let (status, _) = house
        .call("dave", Method::POST, "/api/v1/agents", Some(bot))
        .await;
    assert_eq!(status, StatusCode::CREATED);
    let (_of_bot, on_bot) = house.park("DROP TABLE orders").await;
    let mut ask = house.ask(b"DROP TABLE orders");
    let mut peer = Peer::clone(&ask.peer);
    peer.principal = PrincipalName::parse("daves").expect("a name");
    peer.owner = person("dave");
    ask.peer = Arc::new(peer);
    let asked = house.desk.ask(ask).await.expect("taken");
    let Asked::Parked(parked) = asked else {
        panic!("no grant was there")
    };
    let id = parked.request.to_string();
    let (_, card) = house.get("alice", &format!("/api/v1/requests/{id}")).await;

    let made = house.issue("dave", "alice", "alice, by dave", json!({})).await;
    assert_eq!(made["seen_by"], json!(["dave"]));
    let (_, me) = house.get("alice, by dave", "/api/v1/me").await;
    assert_eq!(me["token_seen_by"], json!(["dave"]));
    // What is made with it is seen as well, for the same person, for another, and for a person made up.
    house
        .issue(
            "alice, by dave",
            "alice",
            "alice, by herself",
            json!({ "replace": false }),
        )
        .await;
    house.issue("dave", "dave", "dave, again", json!({})).await;
    let sock = json!({ "name": "sock", "roles": ["admin"] });
    house
        .call("dave", Method::POST, "/api/v1/users", Some(sock))
        .await;
    house.issue("dave", "sock", "sock", json!({})).await;
    let made = house.issue("sock", "bob", "bob, by sock", json!({})).await;
    assert_eq!(made["seen_by"], json!(["dave", "sock"]));

    for who in ["alice, by dave", "alice, by herself", "sock", "bob, by sock"] {
        for body in [approval(&card), json!({ "decision": "deny", "reason": "no" })] {
            let (status, problem) = house.decide(who, &id, body).await;
            let said = (status, text(&problem, "code"));
            assert_eq!(said, (StatusCode::FORBIDDEN, "not_permitted"), "{who}: {problem}");
            assert!(
                text(&problem, "detail").contains("`dave` owns the agent"),
                "{problem}"
            );
            assert!(
                text(&problem, "next_step").contains("`dave` has not seen"),
                "{problem}"
            );
        }
    }
    let (status, card) = house.decide("alice", &id, approval(&card)).await;
    assert_eq!(status, StatusCode::OK, "by her own token: {card}");
    let (status, card) = house
        .decide("alice, by dave", text(&on_bot, "id"), approval(&on_bot))
        .await;
    assert_eq!(status, StatusCode::OK, "dave has no stake in bot: {card}");
    assert_eq!(card["decisions"][0]["token_seen_by"], json!(["dave"]));
}

#[tokio::test]
async fn an_administrator_and_a_token_made_for_somebody_else_count_as_one() {
    for order in [["dave", "alice, by dave"], ["alice, by dave", "dave"]] {
        let mut house = House::build().await;
        house.issue("dave", "alice", "alice, by dave", json!({})).await;
        let mut ask = house.ask(b"DROP TABLE orders");
        ask.verdict.requirement = Requirement::of(Vec::new(), 2);
        let asked = house.desk.ask(ask).await.expect("taken");
        let Asked::Parked(parked) = asked else {
            panic!("no grant was there")
        };
        let id = parked.request.to_string();
        let [first, second] = order;
        let shown = |card: &Value| json!({ "decision": "approve", "digest": card["digest"] });
        let (_, card) = house.get("alice", &format!("/api/v1/requests/{id}")).await;
        let (status, card) = house.decide(first, &id, shown(&card)).await;
        assert_eq!(
            (status, text(&card, "state")),
            (StatusCode::OK, "pending"),
            "{card}"
        );
        let (status, problem) = house.decide(second, &id, shown(&card)).await;
        assert_eq!(
            (status, text(&problem, "code")),
            (StatusCode::FORBIDDEN, "not_permitted"),
            "{order:?}: {problem}"
        );
        let (status, card) = house.decide("bob", &id, shown(&card)).await;
        assert_eq!(
            (status, text(&card, "state")),
            (StatusCode::OK, "approved"),
            "{card}"
        );
    }
}

#[tokio::test]
async fn whoever_has_seen_a_token_has_seen_the_agents_secret_that_it_makes() {
    let mut house = House::build().await;
    let sock = json!({ "name": "sock", "roles": ["admin"] });
    house
        .call("dave", Method::POST, "/api/v1/users", Some(sock))
        .await;
    house.issue("dave", "sock", "sock", json!({})).await;
    let bot = json!({ "name": "bot-4", "owner": "olivia", "database_user": "app" });
    let (_, added) = house
        .call("sock", Method::POST, "/api/v1/agents", Some(bot))
        .await;
    assert_eq!(added["secret_seen_by"], json!(["dave", "sock"]), "{added}");
    let path = "/api/v1/agents/bot/rotate";
    let (_, rotated) = house.call("sock", Method::POST, path, None).await;
    assert_eq!(
        rotated["secret_seen_by"],
        json!(["dave", "rita", "root", "sock"]),
        "{rotated}"
    );
    let (_parked, card) = house.park("DROP TABLE orders").await;
    let (status, problem) = house.decide("dave", text(&card, "id"), approval(&card)).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{problem}");
}

#[tokio::test]
async fn people_make_their_own_tokens_which_do_no_more_than_the_one_they_have() {
    let mut house = House::build().await;
    let made = house.issue("alice", "alice", "alice, second", json!({})).await;
    assert_eq!(
        (&made["seen_by"], &made["expires_at"]),
        (&json!([]), &Value::Null)
    );
    let (_, me) = house.get("alice, second", "/api/v1/me").await;
    assert_eq!(
        (&me["scopes"], &me["token_seen_by"]),
        (&json!(["read", "decide"]), &json!([]))
    );
    let (_parked, card) = house.park("DROP TABLE orders").await;
    let (status, card) = house
        .decide("alice, second", text(&card, "id"), approval(&card))
        .await;
    assert_eq!(status, StatusCode::OK, "nobody else has seen it: {card}");

    house
        .issue("alice, reading", "alice", "still reading", json!({}))
        .await;
    let (_, me) = house.get("still reading", "/api/v1/me").await;
    assert_eq!(me["scopes"], json!(["read"]));
    let path = "/api/v1/users/alice/tokens";
    for body in [
        json!({ "scopes": ["read", "decide"] }),
        json!({ "replace": true }),
    ] {
        let (status, problem) = house
            .call("alice, reading", Method::POST, path, Some(body.clone()))
            .await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{body}: {problem}");
    }

    let short = house
        .issue("alice", "alice", "short", json!({ "expires_in": "12h" }))
        .await;
    let longer = house
        .issue("short", "alice", "longer", json!({ "expires_in": "30d" }))
        .await;
    assert_eq!(longer["expires_at"], short["expires_at"], "it lasts no longer");

    let (code, replaced, messages) = house.run("alice", &["user", "token", "alice", "--replace"]).await;
    assert_eq!(code, 0, "{messages}");
    house.tokens.insert("alice, new", replaced.trim().to_owned());
    for who in ["alice", "alice, second", "alice, reading", "longer"] {
        assert_eq!(
            house.get(who, "/api/v1/me").await.0,
            StatusCode::UNAUTHORIZED,
            "{who}"
        );
    }
    assert_eq!(house.get("alice, new", "/api/v1/me").await.0, StatusCode::OK);
    let (code, ended, _) = house.run("alice, new", &["user", "revoke", "alice"]).await;
    assert_eq!((code, ended.trim()), (0, "alice  tokens revoked: 1"));
    assert_eq!(
        house.get("alice, new", "/api/v1/me").await.0,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn the_same_idempotency_key_gives_the_same_answer() {
    let house = House::build().await;
    let (_parked, card) = house.park("DROP TABLE orders").await;
    let url = format!("{}/api/v1/requests/{}/decision", house.url, text(&card, "id"));
    for (key, expected) in [("k1", 200), ("k1", 200), ("k2", 409)] {
        let call = house
            .http
            .post(&url)
            .bearer_auth(&house.tokens["alice"])
            .json(&approval(&card));
        let answer = call
            .header("idempotency-key", key)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status().as_u16(), expected, "{key}");
    }
}

#[tokio::test]
async fn a_long_poll_answers_at_the_decision_or_at_its_end() {
    let house = House::build().await;
    let (_parked, card) = house.park("DROP TABLE orders").await;
    let id = text(&card, "id").to_owned();
    let (status, waited) = house
        .get("alice", &format!("/api/v1/requests/{id}?wait=1s"))
        .await;
    assert_eq!((status, text(&waited, "state")), (StatusCode::OK, "pending"));
    let path = format!("/api/v1/requests/{id}?wait=30s");
    let waiting = house.get("alice", &path);
    let deciding = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        house
            .decide("bob", &id, json!({ "decision": "deny", "reason": "no" }))
            .await
    };
    let started = std::time::Instant::now();
    let ((_, waited), _) = tokio::join!(waiting, deciding);
    assert_eq!(text(&waited, "state"), "denied");
    assert!(started.elapsed() < Duration::from_secs(10));
}

/// Reads events until `wanted` data lines have come; gives ids and data.
async fn read_events(response: reqwest::Response, wanted: usize) -> Vec<(String, Value)> {
    let mut chunks = response.bytes_stream();
    let mut text = String::new();
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while text.matches("data:").count() < wanted || !text.ends_with("\n\n") {
        let chunk = tokio::time::timeout_at(end, chunks.next())
            .await
            .expect("an event in time");
        text.push_str(std::str::from_utf8(&chunk.expect("open").expect("read")).expect("UTF-8"));
    }
    let field = |event: &str, name: &str| {
        let line = event
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default().to_owned()
    };
    let events = text.split("\n\n").filter(|event| event.contains("data:"));
    events
        .map(|event| {
            (
                field(event, "id"),
                serde_json::from_str(&field(event, "data")).expect("JSON"),
            )
        })
        .collect()
}

#[tokio::test]
async fn events_are_told_and_can_be_resumed() {
    let house = House::build().await;
    let url = format!("{}/api/v1/events", house.url);
    let listen = |last: Option<String>| {
        let call = house.http.get(&url).bearer_auth(&house.tokens["carol"]);
        last.iter()
            .fold(call, |call, last| call.header("last-event-id", last))
            .send()
    };
    let response = listen(None).await.expect("a stream");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (_parked, card) = house.park("DROP TABLE orders").await;
    let id = text(&card, "id").to_owned();
    house.decide("alice", &id, approval(&card)).await;
    let told = read_events(response, 2).await;
    assert_eq!(
        (text(&told[0].1, "request"), text(&told[0].1, "state")),
        (id.as_str(), "pending")
    );
    assert_eq!(text(&told[1].1, "state"), "approved");
    let resumed = read_events(listen(Some(told[0].0.clone())).await.expect("a stream"), 1).await;
    assert_eq!(resumed[0], told[1]);
    let unknown = read_events(listen(Some("00000000-5".to_owned())).await.expect("a stream"), 1).await;
    assert_eq!(
        unknown[0].1,
        json!({}),
        "whoever missed too much is told to list again"
    );
}

#[tokio::test]
async fn a_standing_grant_is_made_told_used_and_revoked() {
    let house = House::build().await;
    let stream = house
        .http
        .get(format!("{}/api/v1/events", house.url))
        .bearer_auth(&house.tokens["carol"])
        .send()
        .await
        .expect("a stream");
    let ask = |literal: &str| {
        let text = format!("DELETE FROM orders WHERE status = '{literal}'");
        let mut ask = house.ask(text.as_bytes());
        let judged = judge_postgres(text.as_bytes(), LexingState::default_postgres(), &());
        ask.judgement = Arc::new(judged);
        ask
    };
    let Asked::Parked(parked) = house.desk.ask(ask("x")).await.expect("taken") else {
        panic!("no grant was there")
    };
    let path = format!("/api/v1/requests/{}", parked.request);
    let (_, card) = house.get("alice", &path).await;
    assert_eq!(text(&card, "template"), "DELETE FROM orders WHERE status = ?");
    let mut said = approval(&card);
    said["scope"] = json!({ "kind": "fingerprint", "for": "principal", "minutes": 5, "uses": 9, "more": 1 });
    let (status, _) = house.decide("alice", text(&card, "id"), said.clone()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "an unknown field is no scope");
    said["scope"] = json!({ "kind": "fingerprint", "for": "principal", "minutes": 5, "uses": 9 });
    let (status, decided) = house.decide("alice", text(&card, "id"), said).await;
    assert_eq!(status, StatusCode::OK, "{decided}");
    let id = text(&decided, "standing_grant").to_owned();
    let Asked::Granted(_permit, used) = house.desk.ask(ask("y")).await.expect("taken") else {
        panic!("it is covered")
    };
    let (_, used) = house.get("carol", &format!("/api/v1/requests/{used}")).await;
    assert_eq!(
        used["covered_by"],
        json!({ "grant": id, "decided_in": card["id"], "use": 2, "uses_max": 9, "made_by": ["alice"] })
    );

    let revoke = format!("/api/v1/grants/{id}/revoke");
    let body = json!({ "reason": "enough" });
    let (status, _) = house
        .call("carol", Method::POST, &revoke, Some(body.clone()))
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN, "who reads does not end it");
    let (status, revoked) = house
        .call("alice", Method::POST, &revoke, Some(body.clone()))
        .await;
    assert_eq!(status, StatusCode::OK, "{revoked}");
    assert_eq!(
        (text(&revoked, "standing"), text(&revoked, "ended_by")),
        ("revoked", "alice")
    );
    let (status, _) = house.call("alice", Method::POST, &revoke, Some(body)).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let (status, _) = house.get("alice", "/api/v1/grants/7K3F9Q").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let asked = house.desk.ask(ask("z")).await.expect("taken");
    assert!(matches!(asked, Asked::Parked(_)), "revoked");

    for (query, count) in [
        ("", 0),
        ("?standing=all", 1),
        ("?standing=revoked&principal=other", 0),
    ] {
        let (_, page) = house.get("alice", &format!("/api/v1/grants{query}")).await;
        assert_eq!(
            page["items"].as_array().map(Vec::len),
            Some(count),
            "{query}: {page}"
        );
    }
    let told = read_events(stream, 7).await;
    let of_grant: Vec<_> = told
        .iter()
        .filter(|(_, data)| data["grant"] == json!(id))
        .map(|(_, data)| (text(data, "standing"), data["uses"].as_u64()))
        .collect();
    assert_eq!(
        of_grant,
        [("open", Some(1)), ("open", Some(2)), ("revoked", Some(2))]
    );
}

#[tokio::test]
async fn the_log_is_found_by_its_terms_and_each_look_is_recorded() {
    let house = House::build().await;
    let (_parked, card) = house.park("DROP TABLE orders").await;
    let id = text(&card, "id").to_owned();
    house.decide("alice", &id, approval(&card)).await;
    for filter in [
        "principal=bot",
        "class=ddl",
        "verdict=hold",
        "kind=attempt",
        "table=orders",
        "table=public.orders",
    ] {
        let (status, page) = house.get("carol", &format!("/api/v1/log?{filter}")).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let items = page["items"].as_array().expect("items");
        let attempt = items.iter().find(|record| record["kind"] == "attempt");
        let attempt = attempt.unwrap_or_else(|| panic!("no attempt for {filter}: {page}"));
        assert_eq!(text(attempt, "text"), "DROP TABLE orders");
        let (_, shown) = house
            .get("carol", &format!("/api/v1/log/{}", text(attempt, "id")))
            .await;
        assert_eq!(&shown["text"], &attempt["text"]);
    }
    let (_, page) = house
        .get(
            "carol",
            &format!("/api/v1/log?approver=alice&request={id}&since=1h"),
        )
        .await;
    assert_eq!(page["items"][0]["decision"], json!("approve"), "{page}");
    let (_, page) = house.get("carol", "/api/v1/log?limit=200").await;
    let looks: Vec<&Value> = page["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter(|record| record["kind"] == "log_query")
        .collect();
    assert!(
        looks.len() >= 13,
        "six queries, six looks at one record, and the last query: {page}"
    );
    assert!(looks.iter().all(|look| look["by"] == "carol"));
}

#[tokio::test]
async fn the_log_is_asked_in_one_language_by_api_and_command_line() {
    let house = House::build().await;
    let (_parked, card) = house.park("DROP TABLE orders").await;
    house.park("GRANT ALL ON orders TO bob").await;
    house.decide("alice", text(&card, "id"), approval(&card)).await;
    let found = async |q: &str| {
        let (status, page) = house.get("carol", &format!("/api/v1/log?q={q}")).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page["items"].as_array().expect("items").len()
    };
    assert_eq!(found("class:ddl,grant+kind:attempt+table:orders").await, 2);
    assert_eq!(found("kind:attempt+-%22drop+table%22").await, 1);
    assert_eq!(found("%22drop+table%22+since:1h").await, 1);
    assert_eq!(found("by:alice+event:approve").await, 1);
    let (_, page) = house.get("carol", "/api/v1/log?q=GRANT&class=ddl").await;
    assert_eq!(
        page["items"][0]["text"],
        json!("GRANT ALL ON orders TO bob"),
        "{page}"
    );

    let (_, problem) = house.get("carol", "/api/v1/log?q=class:ddl+klasse:ddl").await;
    assert!(
        text(&problem, "detail").contains("`klasse:ddl` at column 11"),
        "{problem}"
    );
    assert!(
        text(&problem, "next_step").contains("class, verdict, table"),
        "{problem}"
    );

    let (_, histogram) = house
        .get("carol", "/api/v1/log/histogram?q=kind:attempt&buckets=4")
        .await;
    let held: u64 = histogram["buckets"]
        .as_array()
        .expect("buckets")
        .iter()
        .filter_map(|bucket| bucket["hold"].as_u64())
        .sum();
    assert_eq!(held, 2, "{histogram}");
    let (_, facets) = house.get("carol", "/api/v1/log/facets?q=kind:attempt").await;
    let classes = facets["facets"]
        .as_array()
        .expect("facets")
        .iter()
        .find(|facet| facet["key"] == "class");
    assert_eq!(
        classes.expect("classes")["values"],
        json!([{ "value": "ddl", "records": 2 }])
    );
    let (_, page) = house.get("carol", "/api/v1/log?q=event:approve").await;
    let id = text(&page["items"][0], "id");
    let (_, around) = house
        .get("carol", &format!("/api/v1/log/{id}/around?count=1"))
        .await;
    assert_eq!(around["items"][1]["id"], json!(id), "{around}");
    let (_, page) = house.get("carol", "/api/v1/log?q=kind:log_query&limit=50").await;
    for look in ["histogram ", "facets ", "around "] {
        let items = page["items"].as_array().expect("items");
        let is_told = items.iter().any(|record| text(record, "query").starts_with(look));
        assert!(is_told, "no record of a look: {look}: {page}");
    }

    let (code, found, _) = house
        .run(
            "carol",
            &["log", "query", "class=ddl,grant", "text=drop table", "--json"],
        )
        .await;
    let page: Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!(
        (code, page["items"].as_array().map(Vec::len)),
        (0, Some(1)),
        "{page}"
    );
    let (code, _, messages) = house.run("carol", &["log", "query", "clas=ddl"]).await;
    assert!(
        code == 2 && messages.contains("column 1") && messages.contains("class"),
        "{messages}"
    );
    let (code, bars, _) = house.run("carol", &["log", "histogram", "kind=attempt"]).await;
    // A bar may be as short as a second.
    let held = bars.lines().filter_map(|bar| {
        let (before, _) = bar.split_once(" hold, 0 deny)")?;
        before.rsplit(' ').next()?.parse::<u64>().ok()
    });
    assert_eq!((code, held.sum::<u64>()), (0, 2), "{bars}");
    let (code, facets, _) = house.run("carol", &["log", "facets", "kind=attempt"]).await;
    assert!(code == 0 && facets.contains("           2  ddl"), "{facets}");
    let (code, shown, _) = house.run("carol", &["log", "show", id, "--around", "1"]).await;
    assert!(code == 0 && shown.lines().count() == 3, "{shown}");
    assert!(
        shown.lines().nth(1).is_some_and(|line| line.starts_with("> ")),
        "{shown}"
    );
    let data_dir = house.folder.path().to_str().expect("a path");
    let (code, offline, _) = house
        .run(
            "carol",
            &["log", "facets", "kind=attempt", "--data-dir", data_dir],
        )
        .await;
    assert!(code == 0 && offline.contains("           2  ddl"), "{offline}");
}

#[tokio::test]
async fn the_log_is_exported_whole_and_each_export_is_recorded() {
    let house = House::build().await;
    house.park("DROP TABLE orders").await;
    house.park("DROP TABLE customers").await;
    let export = async |path: &str, accept: &str| {
        let call = house
            .http
            .get(format!("{}{path}", house.url))
            .header("accept", accept);
        let answer = call
            .bearer_auth(&house.tokens["carol"])
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        let kind = answer.headers()["content-type"]
            .to_str()
            .expect("ASCII")
            .to_owned();
        (kind, answer.text().await.expect("a body"))
    };
    let (kind, table) = export("/api/v1/log?q=kind:attempt&limit=1", "text/csv").await;
    assert_eq!(kind, "text/csv; charset=utf-8");
    assert_eq!(
        table.lines().count(),
        3,
        "a head and both records, whatever the limit: {table}"
    );
    assert!(table.starts_with("id,time,kind,session,") && table.contains("DROP TABLE customers"));
    let (kind, lines) = export("/api/v1/log?q=kind:attempt", "application/x-ndjson, */*;q=0.1").await;
    assert_eq!((&kind[..], lines.lines().count()), ("application/x-ndjson", 2));
    let (_, events) = export("/api/v1/log?q=kind:attempt&format=ocsf", "*/*").await;
    assert!(
        events.lines().all(|line| line.contains("\"class_uid\":6005")),
        "{events}"
    );
    let (kind, page) = export("/api/v1/log?q=kind:attempt", "application/json, text/csv").await;
    assert!(
        kind == "application/json" && page.contains("next_cursor"),
        "{page}"
    );
    let (status, problem) = house.get("carol", "/api/v1/log?format=xls").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let (_, page) = house.get("carol", "/api/v1/log?q=kind:log_query+by:carol").await;
    let is_told = |what: &str| {
        let items = page["items"].as_array().expect("items");
        items.iter().any(|record| text(record, "query").starts_with(what))
    };
    assert!(is_told("export csv q=") && is_told("export ocsf "), "{page}");

    let file = house.folder.path().join("attempts.csv");
    let name = file.to_str().expect("a path");
    let of_files = ["--data-dir", house.folder.path().to_str().expect("a path")];
    for source in [&[][..], &of_files] {
        let arguments = [
            &["log", "export", "kind=attempt", "--format", "csv", "--out", name],
            source,
        ]
        .concat();
        let (code, _, messages) = house.run("carol", &arguments).await;
        assert!(code == 0 && messages.contains("3 lines"), "{messages}");
        assert_eq!(std::fs::read_to_string(&file).expect("it is there"), table);
    }
    let (code, _, _) = house.run("alice", &["log", "export"]).await;
    assert_eq!(code, 5);
}

#[tokio::test]
async fn rules_are_replayed_over_the_log_and_the_look_is_recorded() {
    let house = House::build().await;
    let (_parked, _card) = house.park("DROP TABLE orders").await;
    let replay = async |rules: &str| {
        let call = json!({ "rules": rules, "since": "1d" });
        house
            .call("carol", Method::POST, "/api/v1/rules/replay", Some(call))
            .await
    };
    let (status, report) = replay("[[rule]]\nname = \"all\"\noutcome = \"allow\"\n").await;
    assert_eq!(status, StatusCode::OK, "{report}");
    assert_eq!((&report["statements"], &report["judged"]), (&json!(1), &json!(0)));
    // Nothing is guessed of a session whose start is not on record.
    assert_eq!(report["not_judged"][0]["count"], 1);
    assert!(report.get("judged_to").is_none(), "{report}");
    let (status, problem) = replay("[[rule]]\nname = \"all\"\noutcome = \"perhaps\"\n").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(text(&problem, "detail").contains("the rules:3:"), "{problem}");
    let (_, page) = house.get("carol", "/api/v1/log?kind=log_query").await;
    let looks = page["items"].as_array().expect("a list").iter();
    let replays = looks.filter(|look| look["query"] == "replay since:1d").count();
    assert_eq!(
        replays, 1,
        "one look for one replay, none for rules that cannot be read: {page}"
    );
}

#[tokio::test]
async fn evidence_is_bundled_over_the_api_and_by_the_command_line_and_recorded() {
    let house = House::build().await;
    let (_parked, card) = house.park("DROP TABLE orders").await;
    house.decide("alice", text(&card, "id"), approval(&card)).await;
    let file = house.folder.path().join("bundle.zip");
    let name = file.to_str().expect("a path");
    let arguments = [
        "log",
        "export",
        "--evidence",
        "--from",
        "1h",
        "--to",
        "2099-01-01",
        "--out",
        name,
    ];
    // The decision is signed within a second or so.
    let mut bundled = String::new();
    for _ in 0..100 {
        let (code, _, messages) = house.run("carol", &arguments).await;
        let (_, told, _) = house.run("carol", &["log", "verify", "--evidence", name]).await;
        bundled = format!("{code} {messages} {told}");
        if code == 0 && told.contains("1 privileged") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        bundled.contains("1 privileged") && bundled.contains("VERIFIED"),
        "{bundled}"
    );
    let (_, page) = house.get("carol", "/api/v1/log?q=kind:log_query+by:carol").await;
    assert!(
        text(&page["items"][1], "query").starts_with("evidence from="),
        "{page}"
    );
    let (code, _, _) = house.run("alice", &arguments).await;
    assert_eq!(code, 5);
}

/// Every file below a folder that holds these bytes.
fn holding(folder: &std::path::Path, bytes: &[u8]) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let of = |path: std::path::PathBuf| {
        if path.is_dir() {
            return holding(&path, bytes);
        }
        let found = std::fs::read(&path).expect("a file");
        let holds = found.windows(bytes.len()).any(|window| window == bytes);
        if holds { vec![path] } else { Vec::new() }
    };
    entries
        .flat_map(|entry| of(entry.expect("an entry").path()))
        .collect()
}

#[tokio::test]
async fn values_are_erased_for_good_and_what_is_proved_stays_proved() {
    let house = House::build().await;
    let secret = "x\u{202E}y".as_bytes();
    let (_parked, card) = house.park("DROP TABLE orders").await;
    let id = text(&card, "id").to_owned();
    let (_, page) = house
        .get("carol", &format!("/api/v1/log?q=kind:attempt+request:{id}"))
        .await;
    let record = text(&page["items"][0], "id").to_owned();
    assert!(!holding(house.folder.path(), secret).is_empty(), "it was there");
    let path = format!("/api/v1/log/{record}/erase");
    let reason = json!({ "reason": "on the customer's wish" });
    let erase = async || {
        house
            .call("dave", Method::POST, &path, Some(reason.clone()))
            .await
    };
    let denied = json!({ "decision": "deny", "reason": "no" });
    // Under a key, so that the answer with the card is kept, too.
    let deny = async || {
        let path = format!("{}/api/v1/requests/{id}/decision", house.url);
        let call = house.http.post(path).bearer_auth(&house.tokens["alice"]);
        let answer = call
            .header("idempotency-key", "denied-once")
            .json(&denied)
            .send()
            .await;
        answer.expect("an answer").text().await.expect("a body")
    };
    // What waits keeps its values, and so does what is not signed; a denial is signed within a second or so.
    let mut refusals = Vec::new();
    let mut erased = Value::Null;
    for turn in 0..100 {
        let (status, answer) = erase().await;
        if status == StatusCode::OK {
            erased = answer;
            break;
        }
        assert_eq!(status, StatusCode::CONFLICT, "{answer}");
        refusals.push(text(&answer, "detail").to_owned());
        if refusals.last().is_some_and(|why| why.contains("not over")) || turn == 20 {
            deny().await;
            assert!(
                deny().await.contains("x\u{202E}y"),
                "it is answered again, with its values"
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        erased,
        json!({ "record": record, "values": 1, "request": id }),
        "{refusals:?}"
    );
    assert_eq!(
        holding(house.folder.path(), secret),
        Vec::<std::path::PathBuf>::new()
    );

    let again: Value = serde_json::from_str(&deny().await).expect("JSON");
    assert_eq!(
        text(&again, "code"),
        "answered_before",
        "it counts once all the same: {again}"
    );

    let (_, shown) = house.get("carol", &format!("/api/v1/log/{record}")).await;
    let parameter = &shown["parameters"][0];
    assert!(
        parameter["erased"] == json!(true) && parameter["value"].is_null(),
        "{shown}"
    );
    assert_eq!(text(&shown, "text"), "DROP TABLE orders");
    let (_, card) = house.get("alice", &format!("/api/v1/requests/{id}")).await;
    assert_eq!(card["parameters"][0]["value"], json!("[erased]"), "{card}");
    let (_, page) = house.get("carol", "/api/v1/log?q=kind:values_erased").await;
    let told = &page["items"][0];
    assert_eq!(
        (text(told, "by"), text(told, "name"), text(told, "reason")),
        ("dave", &record[..], "on the customer's wish")
    );
    assert_eq!(erase().await.0, StatusCode::NOT_FOUND, "there is nothing left");

    // The lane goes on behind it, and all of it is proved.
    house.park("DROP TABLE customers").await;
    let data_dir = house.folder.path().to_str().expect("a path");
    let key = house.folder.path().join("journal/log.pub");
    let key = key.to_str().expect("a path");
    let verify = ["log", "verify", "--data-dir", data_dir, "--key", key, "--json"];
    let (code, report, messages) = house.run("carol", &verify).await;
    let report: Value = serde_json::from_str(&report).unwrap_or_else(|_| panic!("{messages}"));
    assert_eq!((code, &report["erased_values"]), (0, &json!(1)), "{report}");
    let (status, _) = house.get("carol", &format!("/api/v1/log/{record}/proof")).await;
    assert_eq!(status, StatusCode::OK);
    let (code, told, _) = house
        .run("dave", &["log", "erase", &record, "--reason", "again"])
        .await;
    assert!(code == 1, "{told}");
}

#[tokio::test]
async fn the_end_of_the_log_can_be_followed() {
    let house = House::build().await;
    let call = house
        .http
        .get(format!("{}/api/v1/log/tail?q=class:ddl", house.url));
    let response = call
        .bearer_auth(&house.tokens["carol"])
        .send()
        .await
        .expect("a stream");
    let (_parked, _) = house.park("DROP TABLE orders").await;
    let told = read_events(response, 1).await;
    assert_eq!(text(&told[0].1, "text"), "DROP TABLE orders");
}

#[tokio::test]
async fn people_are_added_and_sign_in_with_their_token() {
    let mut house = House::build().await;
    let (_, me) = house.get("dave", "/api/v1/me").await;
    assert_eq!((text(&me, "name"), &me["roles"]), ("dave", &json!(["admin"])));
    assert_eq!(me["scopes"], json!(["read", "decide", "log", "manage"]));
    let eve = json!({ "name": "eve", "roles": ["auditor"], "groups": ["audit"] });
    let (status, added) = house
        .call("dave", Method::POST, "/api/v1/users", Some(eve.clone()))
        .await;
    assert_eq!(
        (status, &added["groups"]),
        (StatusCode::CREATED, &json!(["audit"])),
        "{added}"
    );
    let (status, problem) = house.call("dave", Method::POST, "/api/v1/users", Some(eve)).await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::CONFLICT, "conflict")
    );
    for (path, body, expected) in [
        (
            "/api/v1/users",
            json!({ "name": "No Name", "roles": ["admin"] }),
            422,
        ),
        ("/api/v1/users", json!({ "name": "x", "roles": ["king"] }), 422),
        ("/api/v1/users", json!({ "name": "x", "roles": [] }), 422),
        ("/api/v1/users", json!({ "name": "x" }), 400),
        ("/api/v1/users/nobody/tokens", json!({}), 404),
        ("/api/v1/users/eve/tokens", json!({ "scopes": ["all"] }), 422),
        ("/api/v1/users/eve/tokens", json!({ "expires_in": "soon" }), 422),
    ] {
        let (status, problem) = house.call("dave", Method::POST, path, Some(body.clone())).await;
        assert_eq!(status.as_u16(), expected, "{path} {body}: {problem}");
    }
    let body = json!({ "expires_in": "12h" });
    let (status, made) = house
        .call("dave", Method::POST, "/api/v1/users/eve/tokens", Some(body))
        .await;
    assert_eq!(status, StatusCode::CREATED);
    house.tokens.insert("eve", text(&made, "token").to_owned());
    assert_eq!(house.get("eve", "/api/v1/log").await.0, StatusCode::OK);
    let path = "/api/v1/users/eve/tokens";
    let (_, revoked) = house.call("dave", Method::DELETE, path, None).await;
    assert_eq!(revoked["revoked"], json!(1), "{revoked}");
    assert_eq!(house.get("eve", "/api/v1/me").await.0, StatusCode::UNAUTHORIZED);
    let path = "/api/v1/users/bob/active";
    let (status, _) = house
        .call("dave", Method::POST, path, Some(json!({ "active": false })))
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(house.get("bob", "/api/v1/me").await.0, StatusCode::UNAUTHORIZED);
    house
        .call("dave", Method::POST, path, Some(json!({ "active": true })))
        .await;
    assert_eq!(house.get("bob", "/api/v1/me").await.0, StatusCode::OK);
    let (_, people) = house.get("dave", "/api/v1/users").await;
    assert!(
        people["items"]
            .as_array()
            .expect("items")
            .iter()
            .any(|person| person["name"] == "eve")
    );
}

#[tokio::test]
async fn agents_are_added_rotated_and_revoked_and_the_secret_is_shown_once() {
    let house = House::build().await;
    let body = json!({ "name": "bot-2", "owner": "olivia", "database_user": "app", "profile": "mcp", "databases": ["shop"] });
    let (status, added) = house
        .call("dave", Method::POST, "/api/v1/agents", Some(body.clone()))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{added}");
    assert_eq!(
        (text(&added, "profile"), &added["secret_seen_by"]),
        ("mcp", &json!(["dave"]))
    );
    assert!(text(&added, "secret").len() > 20);
    assert_eq!(
        house
            .call("dave", Method::POST, "/api/v1/agents", Some(body))
            .await
            .0,
        StatusCode::CONFLICT
    );
    for (body, expected) in [
        (
            json!({ "name": "UPPER", "owner": "olivia", "database_user": "app" }),
            422,
        ),
        (
            json!({ "name": "x", "owner": "olivia", "database_user": "" }),
            422,
        ),
        (
            json!({ "name": "x", "owner": "olivia", "database_user": "app", "profile": "fast" }),
            422,
        ),
        (
            json!({ "name": "x", "owner": "olivia", "database_user": "app", "certificate": "CN=x", "mysql_native": true }),
            422,
        ),
        (json!({ "name": "x", "owner": "olivia" }), 400),
    ] {
        let (status, _) = house
            .call("dave", Method::POST, "/api/v1/agents", Some(body.clone()))
            .await;
        assert_eq!(status.as_u16(), expected, "{body}");
    }
    for certificate in ["bot-2", "CN=", "DNS=*.example.org"] {
        let body = json!({ "certificate": certificate });
        let path = "/api/v1/agents/bot-2/certificate";
        let (status, _) = house.call("dave", Method::POST, path, Some(body)).await;
        assert_eq!(status.as_u16(), 422, "{certificate}");
    }
    let body = json!({ "certificate": "CN=bot-2" });
    let path = "/api/v1/agents/bot-2/certificate";
    let (status, certified) = house.call("dave", Method::POST, path, Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{certified}");
    assert_eq!(text(&certified, "certificate"), "CN=bot-2");
    let body =
        json!({ "name": "bot-3", "owner": "olivia", "database_user": "app", "certificate": "CN=bot-2" });
    let (status, _) = house
        .call("dave", Method::POST, "/api/v1/agents", Some(body))
        .await;
    assert_eq!(status, StatusCode::CONFLICT, "one certificate is one agent");
    let (_, rotated) = house
        .call("dave", Method::POST, "/api/v1/agents/bot-2/rotate", None)
        .await;
    assert_ne!(rotated["secret"], added["secret"]);
    let (_, list) = house.get("dave", "/api/v1/agents").await;
    assert!(!list.to_string().contains(text(&rotated, "secret")));
    let (status, revoked) = house
        .call("dave", Method::DELETE, "/api/v1/agents/bot-2", None)
        .await;
    assert_eq!((status, &revoked["revoked"]), (StatusCode::OK, &json!(true)));
    let (status, _) = house
        .call("dave", Method::POST, "/api/v1/agents/bot-2/rotate", None)
        .await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(
        house
            .call("dave", Method::DELETE, "/api/v1/agents/none", None)
            .await
            .0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn an_agent_logs_in_by_mysql_native_password_only_where_it_is_asked_for() {
    let house = House::build().await;
    let modern = json!(["scram-sha-256", "caching_sha2_password"]);
    let native = json!(["scram-sha-256", "caching_sha2_password", "mysql_native_password"]);
    let agent = json!({ "name": "bot-2", "owner": "olivia", "database_user": "app" });
    let old = json!({ "name": "bot-3", "owner": "olivia", "database_user": "app", "mysql_native": true });
    for (body, log_in) in [(agent, &modern), (old, &native)] {
        let (status, added) = house
            .call("dave", Method::POST, "/api/v1/agents", Some(body))
            .await;
        assert_eq!(
            (status, &added["log_in"]),
            (StatusCode::CREATED, log_in),
            "{added}"
        );
    }
    let asked = Some(json!({ "mysql_native": true }));
    let cases = [(asked, &native), (None, &modern), (Some(json!({})), &modern)];
    for (body, log_in) in cases {
        let path = "/api/v1/agents/bot-2/rotate";
        let (status, rotated) = house.call("dave", Method::POST, path, body).await;
        assert_eq!(
            (status, &rotated["log_in"]),
            (StatusCode::OK, log_in),
            "{rotated}"
        );
    }
    let misspelt = Some(json!({ "mysql-native": true }));
    let path = "/api/v1/agents/bot-2/rotate";
    let (status, _) = house.call("dave", Method::POST, path, misspelt).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let body = Some(json!({ "certificate": "CN=bot-2" }));
    let path = "/api/v1/agents/bot-2/certificate";
    let (_, certified) = house.call("dave", Method::POST, path, body).await;
    assert_eq!(certified["log_in"], json!(["certificate"]));
}

#[tokio::test]
async fn health_and_metrics_tell_the_state_without_a_token() {
    let house = House::build().await;
    let (_parked, card) = house.park("DROP TABLE orders").await;
    house.decide("alice", text(&card, "id"), approval(&card)).await;
    let (status, ready) = house.get("", "/readyz").await;
    assert_eq!(
        (status, &ready["checks"]),
        (StatusCode::OK, &json!({ "journal": "ok", "store": "ok" }))
    );
    let response = house
        .http
        .get(format!("{}/metrics", house.url))
        .send()
        .await
        .expect("an answer");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("x-frame-options", "DENY"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        assert_eq!(response.headers()[name], value);
    }
    assert!(response.headers().get("access-control-allow-origin").is_none());
    let metrics = response.text().await.expect("a body");
    assert!(
        metrics.contains("countersign_decisions_total{decision=\"approve\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("countersign_held 0") && !metrics.contains("orders"),
        "{metrics}"
    );
}

#[tokio::test]
async fn silent_clients_are_sent_away_and_too_many_are_turned_away() {
    let house = House::build().await;
    let address = ("127.0.0.1", house.api.local_addr.port());
    let mut silent = Vec::new();
    for _ in 0..api::PER_ADDRESS_DEFAULT {
        silent.push(TcpStream::connect(address).await.expect("taken"));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    // There is room for others, and none for whoever has had their share.
    let elsewhere = tokio::net::TcpSocket::new_v4().expect("a socket");
    elsewhere
        .bind(([127, 0, 0, 2], 0).into())
        .expect("this machine's as well");
    let mut elsewhere = elsewhere
        .connect(([127, 0, 0, 1], address.1).into())
        .await
        .expect("taken");
    let live = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    elsewhere.write_all(live).await.expect("sent");
    let mut answer = [0; 12];
    elsewhere.read_exact(&mut answer).await.expect("answered");
    assert_eq!(&answer, b"HTTP/1.1 200");
    let mut late = TcpStream::connect(address).await.expect("taken by the system");
    let turned_away = tokio::time::timeout(Duration::from_secs(2), late.read(&mut [0])).await;
    assert!(!matches!(turned_away, Ok(Ok(1..)) | Err(_)), "{turned_away:?}");
    for mut client in silent {
        let ended = tokio::time::timeout(Duration::from_secs(30), client.read(&mut [0; 512])).await;
        assert!(ended.is_ok(), "a client that says nothing is sent away");
    }
    assert_eq!(house.get("dave", "/api/v1/me").await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_api_speaks_tls_when_it_has_a_certificate() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let pair = Certificate {
        cert_file: folder.path().join("crt"),
        key_file: folder.path().join("key"),
    };
    std::fs::write(&pair.cert_file, made.cert.pem()).expect("written");
    std::fs::write(&pair.key_file, made.signing_key.serialize_pem()).expect("written");
    let mut house = House::build_with(Some(pair)).await;
    let trusted = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).expect("PEM");
    house.http = reqwest::Client::builder()
        .tls_certs_only([trusted])
        .build()
        .expect("a client");
    assert_eq!(house.get("dave", "/api/v1/me").await.0, StatusCode::OK);
    let read = house.api.reload_certificate().expect("it has a certificate");
    read.expect("the same files");
    let plain = reqwest::Client::new()
        .get(house.url.replace("https", "http"))
        .send()
        .await;
    assert!(plain.is_err() || plain.is_ok_and(|answer| !answer.status().is_success()));
}

#[tokio::test]
async fn the_command_line_ends_with_the_code_that_its_help_promises() {
    let house = House::build().await;
    let (_parked, card) = house.park("DROP TABLE \u{202E}orders").await;
    let (id, digest) = (text(&card, "id").to_owned(), text(&card, "digest").to_owned());
    let (code, listed, _) = house.run("alice", &["pending"]).await;
    assert_eq!(code, 0);
    assert!(
        listed.contains(&id) && listed.contains("⟦U+202E⟧") && !listed.contains('\u{202E}'),
        "{listed}"
    );
    let (_, shown, _) = house.run("alice", &["show", &id]).await;
    let order = [
        "HIGH  DDL  main/shop  PENDING",
        "DROP TABLE ⟦U+202E⟧orders",
        "digest",
        "parameters",
        "impact",
        "who",
    ];
    let places: Vec<Option<usize>> = order.iter().map(|part| shown.find(part)).collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{places:?} in {shown}"
    );
    let (_, json, _) = house.run("alice", &["show", &id, "--json"]).await;
    assert_eq!(
        text(&serde_json::from_str(&json).expect("JSON"), "digest"),
        digest
    );
    let lower = id.to_lowercase();
    for (who, arguments, expected) in [
        ("", vec!["pending"], 4),
        ("alice", vec!["show", "7K3F9Q"], 1),
        ("alice", vec!["show", "nonsense"], 2),
        ("alice", vec!["approve", &id], 2),
        ("alice", vec!["deny", &id], 2),
        ("carol", vec!["approve", &id, "--digest", &digest], 5),
        ("olivia", vec!["approve", &id, "--digest", &digest], 5),
        ("alice", vec!["wait", &id, "--timeout", "0"], 12),
        (
            "alice",
            vec!["approve", &lower, "--digest", &digest, "--reason", "OPS-1"],
            0,
        ),
        ("bob", vec!["approve", &id, "--digest", &digest], 6),
        ("alice", vec!["wait", &id], 0),
        ("alice", vec!["log", "query"], 5),
        ("carol", vec!["log", "query", "--class", "ddl"], 0),
        ("alice", vec!["policy", "replay", "--rules", "strict"], 5),
        ("carol", vec!["policy", "replay", "--rules", "strict"], 0),
        ("carol", vec!["user", "list"], 5),
        ("dave", vec!["agent", "list", "--json"], 0),
        ("dave", vec!["version"], 0),
    ] {
        let (code, _, messages) = house.run(who, &arguments).await;
        assert_eq!(code, expected, "{arguments:?}: {messages}");
        assert!(
            code == 0 || code == 12 || messages.contains("error: "),
            "{arguments:?}: {messages}"
        );
    }
    let (_parked, card) = house.park("DROP TABLE orders").await;
    let id = text(&card, "id");
    assert_eq!(house.run("bob", &["deny", id, "--reason", "no"]).await.0, 0);
    assert_eq!(house.run("bob", &["wait", id]).await.0, 10);
}

#[tokio::test]
async fn people_look_comment_and_ask_over_the_api_and_the_command_line() {
    let house = House::build().await;
    let (mut parked, card) = house.park("DROP TABLE orders").await;
    let id = text(&card, "id").to_owned();
    let path = |what: &str| format!("/api/v1/requests/{id}/{what}");
    let post = async |who: &str, what: &str, body: Value| {
        house.call(who, Method::POST, &path(what), Some(body)).await
    };
    assert_eq!(
        card["requirement"],
        json!([{ "group": "any approver", "needed": 1, "by": [] }])
    );
    assert_eq!(card["discussion"], json!([]));
    // Whoever reads may look, and it is said once.
    for _ in 0..3 {
        let (status, seen) = post("carol", "views", json!({})).await;
        assert_eq!(
            (status, text(&seen, "state")),
            (StatusCode::OK, "pending"),
            "{seen}"
        );
        assert_eq!(seen["discussion"].as_array().expect("a list").len(), 1);
        assert_eq!(seen["version"], card["version"], "a look changes nothing");
    }
    let (status, _) = house.call("carol", Method::POST, &path("views"), None).await;
    assert_eq!(status, StatusCode::OK, "without a body, too");
    // Auditors look on; a stake keeps nobody from commenting.
    let (status, problem) = post("carol", "comments", json!({ "text": "hm" })).await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::FORBIDDEN, "not_permitted")
    );
    let (status, said) = post("olivia", "comments", json!({ "text": "mine,\nfor OPS-7" })).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    assert_eq!(said["discussion"][1]["text"], "mine,\nfor OPS-7");
    for (body, code) in [
        (json!({ "text": "  " }), "unacceptable"),
        (json!({ "text": "a\u{7}b" }), "unacceptable"),
        (json!({ "text": "x".repeat(2001) }), "unacceptable"),
        (json!({ "words": "x" }), "malformed"),
    ] {
        let (_, problem) = post("alice", "comments", body).await;
        assert_eq!(text(&problem, "code"), code, "{problem}");
    }
    // A question is for those who may decide, and ends the wait.
    let (status, problem) = post("olivia", "questions", json!({ "question": "why?" })).await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::FORBIDDEN, "not_permitted")
    );
    let (status, asked) = post("alice", "questions", json!({ "question": "which ticket?" })).await;
    assert_eq!(
        (status, text(&asked, "state")),
        (StatusCode::OK, "detached"),
        "{asked}"
    );
    assert_eq!(
        parked.woken.try_recv(),
        Ok(Wake::Asked {
            by: "alice".to_owned(),
            question: "which ticket?".to_owned()
        })
    );
    assert_eq!(house.run("bob", &["comment", &id, "seen"]).await.0, 0);
    assert_eq!(house.run("carol", &["comment", &id, "seen"]).await.0, 5);
    assert_eq!(house.run("bob", &["ask", &id, "and which table?"]).await.0, 0);
    let (_, shown, _) = house.run("bob", &["show", &id]).await;
    for part in [
        "0 of 1 by any approver",
        "viewed by carol",
        "question by alice: which ticket?",
        "    for OPS-7",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let (_, listed) = house
        .get("carol", &format!("/api/v1/log?kind=request_event&request={id}"))
        .await;
    let mut events: Vec<&str> = listed["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|record| text(record, "event"))
        .collect();
    events.sort_unstable();
    let expected = [
        "comment", "comment", "detached", "held", "question", "question", "viewed", "viewed",
    ];
    assert_eq!(events, expected, "{listed}");
    house
        .decide("alice", &id, json!({ "decision": "deny", "reason": "no" }))
        .await;
    let (status, problem) = post("alice", "questions", json!({ "question": "why?" })).await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::CONFLICT, "already_decided")
    );
    let (status, _) = post("alice", "comments", json!({ "text": "for the record" })).await;
    assert_eq!(status, StatusCode::OK, "a comment comes late, too");
}

#[tokio::test]
async fn without_a_terminal_approve_says_how_to_name_the_digest() {
    let house = House::build().await;
    let (_parked, card) = house.park("DROP TABLE orders").await;
    let (code, _, messages) = house.run("alice", &["approve", text(&card, "id")]).await;
    assert_eq!(code, 2);
    assert!(
        messages.contains("hint: ") && messages.contains("--digest"),
        "{messages}"
    );
}

#[tokio::test]
async fn people_and_agents_of_a_running_desk_are_managed_beside_it_without_a_token() {
    let mut house = House::build().await;
    let folder = house.folder.path().to_str().expect("UTF-8").to_owned();
    let (code, _, messages) = house
        .run(
            "",
            &["user", "add", "erin", "--role", "approver", "--data-dir", &folder],
        )
        .await;
    assert_eq!(code, 0, "{messages}");
    let (code, token, _) = house
        .run("", &["user", "token", "erin", "--data-dir", &folder])
        .await;
    assert_eq!(code, 0);
    house.tokens.insert("erin", token.trim().to_owned());
    assert_eq!(
        house.get("erin", "/api/v1/requests").await.0,
        StatusCode::OK,
        "it takes effect at once"
    );
    let add = [
        "agent",
        "add",
        "bot-3",
        "--owner",
        "olivia",
        "--database-user",
        "app",
        "--as",
        "erin",
        "--json",
    ];
    let (code, added, messages) = house
        .run("", &[&add[..], &["--data-dir", &folder]].concat())
        .await;
    assert_eq!(code, 0, "{messages}");
    let added: Value = serde_json::from_str(&added).expect("JSON");
    assert_eq!(added["secret_seen_by"], json!(["erin"]));
    let (code, _, _) = house
        .run("", &["agent", "revoke", "bot", "--data-dir", &folder])
        .await;
    assert_eq!(code, 0);
    assert!(
        house.desk.ask(house.ask(b"DROP TABLE orders")).await.is_err(),
        "a revoked agent asks no more"
    );
}

/// Somebody's authenticator app, enrolled over the API.
struct App(totp_rs::Totp);

impl App {
    async fn of(house: &House, who: &str) -> Self {
        let (status, begun) = house.call(who, Method::POST, "/api/v1/me/totp", None).await;
        assert_eq!(status, StatusCode::CREATED, "{begun}");
        let app = Self(totp_rs::Totp::from_url(text(&begun, "url")).expect("an app reads it"));
        // Codes of the steps around this one have to stay good to the end of the test.
        while Timestamp::now().micros() / 1_000_000 % 30 > 20 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let body = json!({ "code": app.code(-1) });
        let (status, confirmed) = house
            .call(who, Method::POST, "/api/v1/me/totp/confirm", Some(body))
            .await;
        assert_eq!(status, StatusCode::OK, "{confirmed}");
        assert_eq!(confirmed["recovery_codes"].as_array().map(Vec::len), Some(10));
        app
    }

    /// Of so many steps from now.
    fn code(&self, steps: i64) -> String {
        let seconds = Timestamp::now().micros() / 1_000_000 + steps * 30;
        self.0
            .generate(u64::try_from(seconds).expect("after 1970"))
            .to_string()
    }
}

#[tokio::test]
async fn whoever_has_a_second_factor_gives_it_to_approve_what_is_risky() {
    let house = House::build().await;
    let app = App::of(&house, "alice").await;
    let (parked, card) = house.park("DROP TABLE orders").await;
    assert_eq!(text(&card, "risk"), "high");
    let id = parked.request.to_string();
    let path = format!("/api/v1/requests/{id}/decision");
    let (status, problem) = house.decide("alice", &id, approval(&card)).await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::FORBIDDEN, "step_up_needed")
    );
    assert!(text(&problem, "next_step").contains("--code"), "{problem}");
    let by_code = async |code: String| {
        let request = house
            .http
            .post(format!("{}{path}", house.url))
            .bearer_auth(&house.tokens["alice"])
            .header("countersign-code", code)
            .json(&approval(&card));
        let response = request.send().await.expect("an answer");
        let status = response.status();
        (status, response.json::<Value>().await.expect("JSON"))
    };
    // The code that was used to enrol does not count again.
    let (status, problem) = by_code(app.code(-1)).await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::FORBIDDEN, "step_up_needed")
    );
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let (status, decided) = by_code(app.code(0)).await;
    assert_eq!(status, StatusCode::OK, "{decided}");

    // A denial never needs one; a person without one is not asked, unless the settings ask.
    let (parked, _) = house.park("DROP TABLE orders").await;
    let denial = json!({ "decision": "deny", "reason": "no" });
    let (status, _) = house.decide("alice", &parked.request.to_string(), denial).await;
    assert_eq!(status, StatusCode::OK);
    let (parked, card) = house.park("DROP TABLE orders").await;
    let (status, _) = house
        .decide("bob", &parked.request.to_string(), approval(&card))
        .await;
    assert_eq!(status, StatusCode::OK);

    // And on the command line.
    let (parked, card) = house.park("DROP TABLE orders").await;
    let id = parked.request.to_string();
    let arguments = ["approve", &id, "--digest", text(&card, "digest")];
    let (exit, _, complaint) = house.run("alice", &arguments).await;
    assert_eq!(exit, 5, "{complaint}");
    let code = app.code(1);
    let (exit, _, complaint) = house
        .run("alice", &[&arguments[..], &["--code", &code]].concat())
        .await;
    assert_eq!(exit, 0, "{complaint}");
}

#[tokio::test]
async fn where_a_second_factor_is_required_nobody_approves_without_one() {
    let house = House::build_for(
        None,
        countersign::desk::Settings {
            second_factor: countersign::identity::assurance::SecondFactor::Required,
            ..countersign::desk::Settings::default()
        },
    )
    .await;
    let (parked, card) = house.park("DROP TABLE orders").await;
    let id = parked.request.to_string();
    let (status, problem) = house.decide("bob", &id, approval(&card)).await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::FORBIDDEN, "second_factor_needed")
    );
    assert!(
        text(&problem, "next_step").contains("countersign user totp"),
        "{problem}"
    );
    let denial = json!({ "decision": "deny", "reason": "no" });
    let (status, _) = house.decide("bob", &id, denial).await;
    assert_eq!(status, StatusCode::OK);
}
