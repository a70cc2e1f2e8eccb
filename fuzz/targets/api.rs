//! Any call of the API, by anybody, with any path, query and body, through the router that serves people: no panic and
//! no failure of ours; every error is a problem document; an agent's secret opens nothing, a token only what its roles
//! give; and nobody approves what is their own.
//!
//! Input: a method, a caller and the headers as one byte each, the path and query up to a line break, then the body.
//! In path and body `~0` to `~3` stand for the ids of held requests, and `~d` for the digest of the first.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Request, StatusCode, Uri};
use countersign::api::{self, Rooms};
use countersign::clock::Timestamp;
use countersign::desk::{Ask, Asked, Desk, Parked, Transaction};
use countersign::hold::DigestBuilder;
use countersign::identity::directory::{NewAgent, NewPerson, NewToken, OtherTokens, Role, Scope, Scopes};
use countersign::identity::principal::{AttemptId, Peer, PersonName, PrincipalName, Profile, SessionId};
use countersign::identity::secret::NativePassword;
use countersign::journal::{self, Journal};
use countersign::policy::Verdict;
use countersign::sql::judge_postgres;
use countersign::sql::statement::LexingState;
use countersign::store::sqlite::Store;
use countersign::telemetry::Metrics;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

const METHODS: [&str; 6] = ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD"];
/// Who calls, by token; the last two have none that counts.
const CALLERS: [&str; 9] = [
    "alice",
    "alice, reading",
    "bob",
    "carol",
    "dave",
    "olivia",
    "rita",
    "bot",
    "",
];
/// Who may approve what `bot` asks: olivia owns it, rita made its secret, and carol only audits.
const MAY_APPROVE: [&str; 3] = ["alice", "bob", "dave"];
/// What anybody may look at.
const OPEN: [&str; 4] = ["/livez", "/readyz", "/metrics", "/api/v1/openapi.json"];
/// A house is left for a new one after so many calls: its log grows, and people are switched off in it.
const CALLS_PER_HOUSE: usize = 2_000;
/// A long poll is not waited for.
const POLL_WAIT: Duration = Duration::from_millis(20);

fuzz_target!(|bytes: &[u8]| {
    let [method, caller, headers, rest @ ..] = bytes else {
        return;
    };
    let Ok(rest) = std::str::from_utf8(rest) else {
        return;
    };
    let mut house = HOUSE.lock().expect("a failed check ends the process");
    if house.as_ref().is_none_or(|house| house.calls >= CALLS_PER_HOUSE) {
        // The old one gives its folder back first.
        *house = None;
        *house = Some(House::build());
    }
    let house = house.as_mut().expect("built above");
    house.calls += 1;
    let method = METHODS[usize::from(*method) % METHODS.len()];
    house.call(
        method,
        CALLERS[usize::from(*caller) % CALLERS.len()],
        *headers,
        rest,
    );
});

/// The last one is never dropped: its runtime could not end while the process does.
static HOUSE: Mutex<Option<House>> = Mutex::new(None);

/// A desk with its store and log, the API's router, agents and people.
struct House {
    // Fields are dropped in this order: the log gives its folder back before the folder goes.
    router: Router,
    parked: Vec<Parked>,
    desk: Desk,
    runtime: Runtime,
    tokens: BTreeMap<&'static str, String>,
    digest: String,
    calls: usize,
    _folder: tempfile::TempDir,
}

impl Drop for House {
    fn drop(&mut self) {
        self.runtime.block_on(self.desk.stop());
    }
}

impl House {
    fn build() -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let mut store = Store::open(&folder.path().join("store.sqlite3")).expect("a store");
        let tokens = people(&mut store);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let mut settings = journal::Settings::in_dir(folder.path().join("journal"));
        settings.segment_bytes = 256 << 10;
        let (desk, router, parked) = runtime.block_on(async {
            let journal = Journal::open(settings).expect("a journal");
            let desk =
                Desk::start(store, journal.clone(), countersign::desk::Settings::default()).expect("a desk");
            let rooms = Rooms::new(desk.clone(), journal, Metrics::new(), Vec::new());
            let mut parked = Vec::new();
            for number in 0..4 {
                match desk.ask(ask(number)).await.expect("taken") {
                    Asked::Parked(one) => parked.push(one),
                    Asked::Granted(..) => panic!("nothing was approved"),
                }
            }
            (desk, api::router(rooms), parked)
        });
        let digest = ask(0).digest.to_string();
        Self {
            router,
            parked,
            desk,
            runtime,
            tokens,
            digest,
            calls: 0,
            _folder: folder,
        }
    }

    fn call(&self, method: &str, caller: &str, headers: u8, rest: &str) {
        let mut rest = rest.replace("~d", &self.digest);
        for (number, parked) in self.parked.iter().enumerate() {
            rest = rest.replace(&format!("~{number}"), parked.request.as_str());
        }
        let (target, body) = rest.split_once('\n').unwrap_or((rest.as_str(), ""));
        let Ok(uri) = target.parse::<Uri>() else { return };
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(token) = self.tokens.get(caller) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if headers & 1 == 0 {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if headers & 2 != 0 {
            request = request.header("idempotency-key", body.get(..8).unwrap_or("key").trim());
        }
        let Ok(request) = request.body(Body::from(body.to_owned())) else {
            return;
        };
        let path = request.uri().path().to_owned();
        let waits = request.uri().query().is_some_and(|query| query.contains("wait"));
        let answered = self.runtime.block_on(async {
            let answer = tokio::time::timeout(
                if waits { POLL_WAIT } else { Duration::from_secs(9) },
                self.router.clone().oneshot(request),
            );
            let response = match answer.await {
                Err(_) if waits => return None,
                answer => answer
                    .expect("an answer in time")
                    .expect("a router has no error of its own"),
            };
            let (head, body) = response.into_parts();
            let kind = head
                .headers
                .get(CONTENT_TYPE)
                .map(|kind| kind.to_str().expect("ASCII").to_owned());
            let kind = kind.unwrap_or_default();
            if kind == "text/event-stream" {
                return Some((head.status, kind, Vec::new()));
            }
            let body = axum::body::to_bytes(body, 64 << 20)
                .await
                .expect("a whole answer");
            Some((head.status, kind, body.to_vec()))
        });
        if let Some((status, kind, answer)) = answered {
            check(method, caller, &path, body, status, &kind, &answer);
        }
    }
}

fn check(method: &str, caller: &str, path: &str, sent: &str, status: StatusCode, kind: &str, answer: &[u8]) {
    let told = || {
        format!(
            "{caller}: {method} {path} {sent:?}: {status} {}",
            String::from_utf8_lossy(answer)
        )
    };
    assert!(!status.is_server_error(), "{}", told());
    let is_error = status.is_client_error();
    if is_error && method != "HEAD" {
        assert_eq!(kind, "application/problem+json", "{}", told());
        let problem: Value = serde_json::from_slice(answer).expect("a problem document");
        assert_eq!(problem["status"], status.as_u16(), "{}", told());
        for member in ["type", "title", "code", "detail", "next_step"] {
            let text = problem[member].as_str().unwrap_or_default();
            assert!(!text.is_empty() && !text.contains('\n'), "{member}: {}", told());
        }
    }
    if kind == "application/json" && method != "HEAD" {
        let _json: Value = serde_json::from_slice(answer).expect("JSON");
    }
    let is_open = OPEN.contains(&path);
    if matches!(caller, "bot" | "") && !is_open {
        assert!(is_error, "without a token: {}", told());
    }
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    if path.ends_with("/decision") && status == StatusCode::OK {
        let approves = serde_json::from_str::<Value>(sent).is_ok_and(|sent| sent["decision"] == "approve");
        assert!(!approves || MAY_APPROVE.contains(&caller), "approved: {}", told());
        assert!(
            !["alice, reading", "carol"].contains(&caller),
            "decided: {}",
            told()
        );
    }
    let changes_people = ["/api/v1/users", "/api/v1/agents"]
        .iter()
        .any(|route| path.starts_with(route));
    if changes_people && status.is_success() && matches!(method, "POST" | "DELETE") && caller != "dave" {
        // Everybody may end and renew their own tokens, and nothing else.
        assert!(
            path.ends_with("/tokens") && !caller.contains(','),
            "managed: {}",
            told()
        );
        assert!(path.contains(&format!("/{caller}/")), "of another: {}", told());
        assert_ne!(answer["person"], "dave", "{}", told());
    }
}

fn person(name: &str) -> PersonName {
    PersonName::parse(name).expect("a name")
}

/// The people and the agent of a house, and their tokens.
fn people(store: &mut Store) -> BTreeMap<&'static str, String> {
    let now = Timestamp::now();
    let root = person("root");
    let mut tokens = BTreeMap::new();
    for (name, role) in [
        ("alice", Role::Approver),
        ("bob", Role::Approver),
        ("carol", Role::Auditor),
        ("dave", Role::Admin),
        ("olivia", Role::Approver),
        ("rita", Role::Approver),
    ] {
        let new = NewPerson {
            name: person(name),
            roles: [role].to_vec(),
            groups: Vec::new(),
        };
        store.person_add(&new, &root, now).expect("added");
        tokens.insert(name, token(store, name, None));
    }
    let reading = [Scope::Read].into_iter().collect();
    tokens.insert("alice, reading", token(store, "alice", Some(reading)));
    let new = NewAgent {
        name: PrincipalName::parse("bot").expect("a name"),
        owner: person("olivia"),
        acts_for: None,
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
    tokens.insert("bot", secret.reveal().to_owned());
    tokens
}

fn token(store: &mut Store, name: &str, scopes: Option<Scopes>) -> String {
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

/// What `bot` wants to do.
fn ask(number: u64) -> Ask {
    let text = format!("DROP TABLE orders_{number}");
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
        digest: DigestBuilder::new("fuzz").field("text", text.as_bytes()).finish(),
        judgement: Arc::new(judge_postgres(
            text.as_bytes(),
            LexingState::default_postgres(),
            &(),
        )),
        text: text.into_bytes(),
        verdict: Verdict::held_because("it drops a table"),
        parameters: Vec::new(),
        withheld_facts: BTreeMap::new(),
        column_labels: Vec::new(),
        transaction: Transaction::Idle,
        reply: None,
        claimed: BTreeMap::new(),
        facts: BTreeMap::new(),
        names: String::new(),
        rules: [0; 32],
        wait: Duration::from_secs(600),
        expires: Duration::from_secs(6000),
        protocol: "simple",
        copies_in: false,
    }
}
