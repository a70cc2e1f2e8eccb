//! What people's channels are told: on a real desk with a store and a journal of its own, to receivers over HTTP.
//! Signatures are checked by somebody else's code, the `standardwebhooks` crate.

#[path = "notify/chat.rs"]
mod chat;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use countersign::clock::Timestamp;
use countersign::desk::{
    Ask, Asked, BreakGlass, Decide, Decision, DecisionScope, Desk, KeptPasskey, Parked, RunOutcome,
    Transaction,
};
use countersign::hold::{DigestBuilder, Guards, HeldRequest};
use countersign::identity::assurance::{Assurance, Method};
use countersign::identity::directory::{NewAgent, NewPerson, Role};
use countersign::identity::principal::{AttemptId, Peer, PersonName, PrincipalName, Profile, SessionId};
use countersign::identity::secret::NativePassword;
use countersign::journal::{self, Journal, LogFilter};
use countersign::notify::webhook::{Webhook, WebhookSettings};
use countersign::notify::{Channel, Notifier, Sent, Settings};
use countersign::policy::Verdict;
use countersign::sql::action::{Action, Breadth, Class, Judgement, Steps};
use countersign::store::sqlite::Store;
use countersign::telemetry::Metrics;
use serde_json::Value;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjU";
const OLD_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn person(name: &str) -> PersonName {
    PersonName::parse(name).expect("a name")
}

/// A desk in a scratch folder.
struct House {
    desk: Desk,
    journal: Journal,
    metrics: Metrics,
    attempts: AtomicU64,
    folder: tempfile::TempDir,
}

impl House {
    fn build() -> Self {
        // The only error is that it is installed already.
        let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a scratch folder");
        let mut store = Store::open(&folder.path().join("store.sqlite3")).expect("a store");
        let (root, now) = (person("root"), Timestamp::now());
        for name in ["alice", "bob", "olivia"] {
            let new = NewPerson {
                name: person(name),
                roles: vec![Role::Approver],
                groups: Vec::new(),
            };
            store.person_add(&new, &root, now).expect("added");
        }
        let bot = NewAgent {
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
        store.agent_add(&bot, &root, now).expect("added");
        drop(store);
        let (desk, journal) = open(folder.path());
        Self {
            desk,
            journal,
            metrics: Metrics::new(),
            attempts: AtomicU64::new(1),
            folder,
        }
    }

    async fn notify(&self, channels: Vec<Arc<dyn Channel>>) -> Notifier {
        let settings = Settings {
            channels,
            pages: Some("https://countersign.example.org".to_owned()),
        };
        Notifier::start(self.desk.clone(), settings, self.metrics.clone())
            .await
            .expect("the desk runs")
    }

    /// A webhook to `receiver`, with these secrets.
    fn webhook(&self, name: &str, url: &str, secrets: &[&str]) -> WebhookSettings {
        let secret_file = self.folder.path().join(format!("{name}.secret"));
        std::fs::write(&secret_file, secrets.join("\n") + "\n").expect("written");
        WebhookSettings {
            name: name.to_owned(),
            url: url.to_owned(),
            secret_file,
            events: vec!["*".to_owned()],
            risks: Vec::new(),
            allow_private: true,
        }
    }

    async fn park(&self, text: &str) -> (Parked, HeldRequest) {
        let number = self.attempts.fetch_add(1, Ordering::Relaxed);
        let session = SessionId(7);
        let ask = Ask {
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
                .field("text", text.as_bytes())
                .field("n", &number.to_be_bytes())
                .finish(),
            text: text.as_bytes().to_vec(),
            judgement: Arc::new(drop_of_a_table(text.len())),
            verdict: Verdict::held_because("it drops a table"),
            parameters: Vec::new(),
            withheld_facts: BTreeMap::new(),
            column_labels: Vec::new(),
            transaction: Transaction::Idle,
            claimed: BTreeMap::new(),
            facts: BTreeMap::new(),
            names: String::new(),
            rules: [0; 32],
            wait: Duration::from_secs(60),
            expires: Duration::from_secs(600),
            protocol: "simple",
            copies_in: false,
            reply: None,
        };
        let Asked::Parked(parked) = self.desk.ask(ask).await.expect("taken") else {
            panic!("no grant was there")
        };
        let held = self.desk.show(parked.request).await.expect("it is held");
        (parked, held)
    }

    async fn decide(&self, held: &HeldRequest, decision: Decision) {
        let decide = Decide {
            by: person("alice"),
            token_seen_by: BTreeSet::new(),
            assurance: Assurance::TOKEN,
            decision,
            reason: "OPS-1".to_owned(),
            digest: Some(held.digest),
            version: None,
            scope: DecisionScope::Once,
            guards: Guards::default(),
            channel: "api".to_owned(),
            idempotency: None,
        };
        self.desk.decide(held.id, decide).await.expect("decided");
    }

    /// Events and channels of the records of notifications.
    fn recorded(&self) -> Vec<(String, String)> {
        let filter = LogFilter {
            kind: countersign::audit::Kind::parse("notification"),
            limit: 100,
            ..LogFilter::default()
        };
        let page = self.journal.reader().query(&filter).expect("read");
        let told = page.records.into_iter().map(|record| {
            let fields = record.fields;
            (
                fields.channel.unwrap_or_default(),
                fields.event.unwrap_or_default(),
            )
        });
        told.collect()
    }
}

fn open(folder: &Path) -> (Desk, Journal) {
    let store = Store::open(&folder.join("store.sqlite3")).expect("a store");
    let journal = Journal::open(journal::Settings::in_dir(folder.join("journal"))).expect("a journal");
    let settings = countersign::desk::Settings::default();
    let desk = Desk::start(store, journal.clone(), settings).expect("a desk");
    (desk, journal)
}

fn drop_of_a_table(bytes: usize) -> Judgement {
    Judgement {
        actions: vec![Action {
            class: Class::Ddl,
            breadth: Breadth::Unbounded,
            verb: "drop table".to_owned(),
            tables: BTreeSet::new(),
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

fn channel(settings: WebhookSettings) -> Arc<dyn Channel> {
    Arc::new(Webhook::new(settings).expect("a webhook"))
}

#[derive(Clone, Debug)]
struct Got {
    headers: HeaderMap,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().expect("ASCII")
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    fn kind(&self) -> String {
        self.json()["type"].as_str().expect("a type").to_owned()
    }
}

type Answer = Arc<dyn Fn(usize) -> Response + Send + Sync>;

/// Takes messages over HTTP, and answers the n-th as it is told.
#[derive(Clone)]
struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
    answer: Answer,
}

impl Receiver {
    async fn start(answer: impl Fn(usize) -> Response + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        let receiver = Self {
            url: format!("http://{address}/hook"),
            got: Arc::default(),
            answer: Arc::new(answer),
        };
        let router = Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    async fn taking_all() -> Self {
        Self::start(|_| StatusCode::NO_CONTENT.into_response()).await
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().expect("no panic under it").clone()
    }

    async fn until(&self, wanted: usize) -> Vec<Got> {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let got = self.got();
            if got.len() >= wanted {
                return got;
            }
            assert!(
                Instant::now() < deadline,
                "only {} of {wanted}: {got:?}",
                got.len()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: String) -> Response {
    let number = {
        let mut got = receiver.got.lock().expect("no panic under it");
        got.push(Got { headers, body });
        got.len() - 1
    };
    (receiver.answer)(number)
}

#[tokio::test]
async fn checkpoint_is_told_to_who_asked_for_it_and_once_a_minute_at_most() {
    let house = House::build();
    let (follower, other) = (Receiver::taking_all().await, Receiver::taking_all().await);
    let mut settings = house.webhook("follower", &follower.url, &[SECRET]);
    settings.events = vec!["log.checkpoint".to_owned()];
    let everything = house.webhook("other", &other.url, &[SECRET]);
    assert_eq!(
        everything.events,
        ["*"],
        "which means what happens, not what the clock brings"
    );
    house.notify(vec![channel(settings), channel(everything)]).await;
    let got = follower.until(1).await;
    let told = got[0].json();
    assert_eq!(told["type"], "log.checkpoint");
    assert_eq!(told["data"]["state"], "signed", "there are no anchors");
    // Decisions are signed within a second, and not told of before the minute is over.
    let (_parked, held) = house.park("DROP TABLE t").await;
    house.decide(&held, Decision::Approve).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    let first = told["data"]["size"].as_u64().expect("a number");
    while house.journal.tree().signed.is_none_or(|(size, _)| size <= first) {
        assert!(Instant::now() < deadline, "never signed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(follower.got().len(), 1);
    let others = other.until(2).await;
    assert!(others.iter().all(|got| got.kind() != "log.checkpoint"));
    // It says what the log's own checkpoint of that size says.
    let notes = std::fs::read_to_string(house.folder.path().join("journal/tree/checkpoints")).expect("notes");
    let root = told["data"]["root"].as_str().expect("a root");
    let origin = told["data"]["origin"].as_str().expect("an origin");
    assert!(notes.contains(&format!("{origin}\n{first}\n{root}\n")), "{told}");
}

#[tokio::test]
async fn what_happens_to_a_request_is_told_in_order_signed_and_without_its_statement() {
    let house = House::build();
    let receiver = Receiver::taking_all().await;
    let settings = house.webhook("ops", &receiver.url, &[SECRET]);
    house.notify(vec![channel(settings)]).await;
    let (parked, held) = house.park("DROP TABLE very_secret_name").await;
    house.decide(&held, Decision::Approve).await;
    let started = house.desk.start_run(held.id, held.digest, "", [0; 32]).await;
    drop(started.expect("approved"));
    let outcome = RunOutcome::Finished {
        rows: None,
        tag: "DROP TABLE".to_owned(),
    };
    house
        .desk
        .finish(parked.request, outcome)
        .await
        .expect("finished");
    let got = receiver.until(3).await;
    let kinds: Vec<String> = got.iter().map(Got::kind).collect();
    assert_eq!(kinds, ["request.held", "request.decided", "request.finished"]);
    let states: Vec<Value> = got
        .iter()
        .map(|got| got.json()["data"]["state"].clone())
        .collect();
    assert_eq!(states, ["pending", "approved", "finished"]);
    let verifier = standardwebhooks::Webhook::new(SECRET).expect("a secret");
    let mut ids = BTreeSet::new();
    for got in &got {
        verifier
            .verify(got.body.as_bytes(), &got.headers)
            .expect("signed");
        assert!(
            ids.insert(got.header("webhook-id").to_owned()),
            "an id of its own"
        );
        assert!(got.body.len() < 20_000);
        assert!(
            !got.body.contains("very_secret_name") && !got.body.contains("OPS-1"),
            "{}",
            got.body
        );
        assert_eq!(got.header("content-type"), "application/json");
    }
    let data = &got[0].json()["data"];
    assert_eq!(data["id"], held.id.to_string());
    assert_eq!(data["class"], "ddl");
    assert_eq!(data["database"], "shop");
    assert_eq!(data["principal"], "bot");
    assert_eq!(data["expires_at"], held.expires_at.to_string());
    assert_eq!(
        data["url"],
        format!("https://countersign.example.org/r/{}", held.id)
    );
    let metrics = house.metrics.text();
    let line = "countersign_notifications_total{channel=\"ops\",outcome=\"delivered\"} 3";
    assert!(metrics.contains(line), "{metrics}");
}

/// Queued with the decision, sent once, signed, and without the reason that people write for each other.
#[tokio::test]
async fn broken_glass_is_told_once_signed_and_without_its_reason() {
    let house = House::build();
    let mut store = Store::open(&house.folder.path().join("store.sqlite3")).expect("the store");
    let (alice, now) = (person("alice"), Timestamp::now());
    let roles = [Role::Approver, Role::BreakGlass];
    let changed = store.person_change(&alice, Some(&roles), None, &person("root"), now);
    changed.expect("changed");
    let two_days_ago = Timestamp::from_micros(now.micros() - 2 * 86_400_000_000);
    let passkey = KeptPasskey {
        id: b"alice".to_vec(),
        person: alice.clone(),
        credential: "{}".to_owned(),
    };
    let is_kept = store.passkey_add(&passkey, "a key", &BTreeSet::new(), two_days_ago);
    assert!(is_kept.expect("kept"));
    let (receiver, other) = (Receiver::taking_all().await, Receiver::taking_all().await);
    let mut named = house.webhook("pager", &receiver.url, &[SECRET]);
    named.events = vec!["request.break_glass".to_owned()];
    let all = house.webhook("ops", &other.url, &[SECRET]);
    house.notify(vec![channel(named), channel(all)]).await;
    let (_parked, held) = house.park("DROP TABLE very_secret_name").await;
    let said = BreakGlass {
        by: alice,
        token_seen_by: BTreeSet::new(),
        assurance: Assurance {
            method: Method::Passkey,
            strong_at: Some(Timestamp::now()),
        },
        signed_in_at: None,
        reason: "nobody else is awake".to_owned(),
        digest: Some(held.digest),
        version: None,
        guards: Guards::default(),
        channel: "api".to_owned(),
        idempotency: Some("a key".to_owned()),
    };
    for _again in 0..2 {
        house
            .desk
            .break_glass(held.id, said.clone())
            .await
            .expect("broken");
    }
    let got = other.until(3).await;
    let kinds: Vec<String> = got.iter().map(Got::kind).collect();
    assert_eq!(kinds, ["request.held", "request.decided", "request.break_glass"]);
    receiver.until(1).await;
    // A second one would come right behind.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let got = receiver.got();
    assert_eq!(got.len(), 1, "{got:?}");
    let verifier = standardwebhooks::Webhook::new(SECRET).expect("a secret");
    verifier
        .verify(got[0].body.as_bytes(), &got[0].headers)
        .expect("signed");
    let told = got[0].json();
    assert_eq!(
        (&told["type"], &told["data"]["id"], &told["data"]["state"]),
        (
            &"request.break_glass".into(),
            &held.id.to_string().into(),
            &"approved".into()
        ),
        "{told}"
    );
    for secret in ["very_secret_name", "nobody else is awake"] {
        assert!(!got[0].body.contains(secret), "{}", got[0].body);
    }
}

#[tokio::test]
async fn with_two_secrets_each_verifies_and_a_reload_takes_the_old_one_away() {
    let house = House::build();
    let receiver = Receiver::taking_all().await;
    let settings = house.webhook("ops", &receiver.url, &[SECRET, OLD_SECRET]);
    let secret_file = settings.secret_file.clone();
    let notifier = house.notify(vec![channel(settings)]).await;
    assert_eq!(notifier.test("ops").await, Ok(Sent::Delivered));
    std::fs::write(&secret_file, SECRET).expect("written");
    assert_eq!(notifier.reload(), [("ops".to_owned(), Ok(()))]);
    assert_eq!(notifier.test("ops").await, Ok(Sent::Delivered));
    std::fs::write(&secret_file, "whsec_short").expect("written");
    let reloaded = notifier.reload();
    assert!(
        reloaded[0]
            .1
            .as_ref()
            .is_err_and(|error| error.contains("whsec_")),
        "{reloaded:?}"
    );
    assert_eq!(notifier.test("ops").await, Ok(Sent::Delivered));
    let got = receiver.until(3).await;
    let verifies = |secret: &str, got: &Got| {
        let verifier = standardwebhooks::Webhook::new(secret).expect("a secret");
        verifier.verify(got.body.as_bytes(), &got.headers).is_ok()
    };
    let good: Vec<bool> = got.iter().map(|got| verifies(SECRET, got)).collect();
    assert_eq!(good, [true, true, true]);
    let good: Vec<bool> = got.iter().map(|got| verifies(OLD_SECRET, got)).collect();
    assert_eq!(good, [true, false, false]);
    assert_eq!(got[0].kind(), "webhook.test");
}

#[tokio::test]
async fn a_failed_delivery_comes_again_under_its_id_and_before_later_ones_of_its_request() {
    let house = House::build();
    let answer = |number| match number {
        0 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _later => StatusCode::OK.into_response(),
    };
    let receiver = Receiver::start(answer).await;
    let settings = house.webhook("ops", &receiver.url, &[SECRET]);
    let notifier = house.notify(vec![channel(settings)]).await;
    let (_parked, held) = house.park("DROP TABLE a").await;
    receiver.until(1).await;
    house.decide(&held, Decision::Deny).await;
    let (_other, other) = house.park("DROP TABLE b").await;
    let got = receiver.until(4).await;
    let of = |got: &Got| {
        (
            got.kind(),
            got.json()["data"]["id"].as_str().expect("an id").to_owned(),
        )
    };
    let (first, second) = (held.id.to_string(), other.id.to_string());
    let told: Vec<(String, String)> = got.iter().map(of).collect();
    let expected = [
        ("request.held", &first),
        ("request.held", &second),
        ("request.held", &first),
        ("request.decided", &first),
    ];
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(kind, id)| (kind.to_string(), id.to_string()))
        .collect();
    assert_eq!(told, expected);
    assert_eq!(got[0].header("webhook-id"), got[2].header("webhook-id"));
    assert_eq!(got[0].body, got[2].body);
    // The last is settled a moment after it was answered.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let status = notifier.status().await.expect("read");
    assert_eq!(
        (status[0].report.waiting, status[0].report.last_error.clone()),
        (0, None)
    );
}

#[tokio::test]
async fn gone_disables_a_webhook_and_a_replay_sends_what_waited() {
    let house = House::build();
    let answer = |number| match number {
        0 => StatusCode::GONE.into_response(),
        _later => StatusCode::OK.into_response(),
    };
    let receiver = Receiver::start(answer).await;
    let settings = house.webhook("ops", &receiver.url, &[SECRET]);
    let notifier = house.notify(vec![channel(settings)]).await;
    house.park("DROP TABLE a").await;
    receiver.until(1).await;
    house.park("DROP TABLE b").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(receiver.got().len(), 1, "nothing more is sent");
    let status = notifier.status().await.expect("read");
    assert!(status[0].report.disabled_at.is_some(), "{status:?}");
    assert_eq!(
        status[0].report.waiting,
        2 + 2,
        "held and, as nobody waits any more, detached"
    );
    assert_eq!(notifier.replay("ops", "dave").await, Ok(4));
    let got = receiver.until(5).await;
    assert_eq!(got[0].header("webhook-id"), got[1].header("webhook-id"));
    let recorded = house.recorded();
    let expected = [("ops", "enabled"), ("ops", "disabled")];
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(channel, event)| (channel.to_string(), event.to_string()))
        .collect();
    assert_eq!(recorded, expected);
    assert!(notifier.replay("other", "dave").await.is_err());
}

#[tokio::test]
async fn a_receiver_that_never_answers_delays_neither_another_nor_the_desk() {
    let house = House::build();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let url = format!("http://{}/", silent.local_addr().expect("bound"));
    let receiver = Receiver::taking_all().await;
    let slow = channel(house.webhook("slow", &url, &[SECRET]));
    let quick = channel(house.webhook("quick", &receiver.url, &[SECRET]));
    house.notify(vec![slow, quick]).await;
    let begun = Instant::now();
    let mut waiting = Vec::new();
    for number in 0..10 {
        waiting.push(house.park(&format!("DROP TABLE t{number}")).await);
    }
    receiver.until(10).await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_is_not_delivered_outlives_the_process() {
    let house = House::build();
    let receiver = Receiver::taking_all().await;
    let settings = house.webhook("ops", &receiver.url, &[SECRET]);
    // Named to the desk, but nothing delivers yet.
    let endpoint = countersign::desk::Endpoint {
        name: "ops".to_owned(),
        events: vec!["request.held".to_owned()],
    };
    house.desk.set_endpoints(vec![endpoint]).await.expect("named");
    let (_parked, held) = house.park("DROP TABLE a").await;
    house.desk.stop().await;
    let House { folder, journal, .. } = house;
    drop(journal);
    let (desk, journal) = open(folder.path());
    let house = House {
        desk,
        journal,
        metrics: Metrics::new(),
        attempts: AtomicU64::new(100),
        folder,
    };
    house.notify(vec![channel(settings)]).await;
    let got = receiver.until(1).await;
    assert_eq!(got[0].json()["data"]["id"], held.id.to_string());
    assert_eq!(
        got[0].json()["data"]["state"],
        "pending",
        "as it was when it happened"
    );
}

#[tokio::test]
async fn a_webhook_gets_the_events_and_risks_that_it_names() {
    let house = House::build();
    let receiver = Receiver::taking_all().await;
    let risky = Receiver::taking_all().await;
    let mut all = house.webhook("decisions", &receiver.url, &[SECRET]);
    all.events = vec!["request.decided".to_owned()];
    let mut critical = house.webhook("critical", &risky.url, &[SECRET]);
    let (_parked, held) = house.park("DROP TABLE a").await;
    let other = if held.risk.to_string() == "critical" {
        "low"
    } else {
        "critical"
    };
    critical.risks = vec![other.to_owned()];
    let notifier = house.notify(vec![channel(all), channel(critical)]).await;
    house.decide(&held, Decision::Deny).await;
    let got = receiver.until(1).await;
    assert_eq!(got[0].kind(), "request.decided");
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!((receiver.got().len(), risky.got().len()), (1, 0));
    let status = notifier.status().await.expect("read");
    let waiting: Vec<u64> = status.iter().map(|status| status.report.waiting).collect();
    assert_eq!(waiting, [0, 0]);
}

#[tokio::test]
async fn redirects_are_not_followed_and_private_addresses_are_not_reached() {
    let house = House::build();
    let inner = Receiver::taking_all().await;
    let target = inner.url.clone();
    let answer = move |_| (StatusCode::TEMPORARY_REDIRECT, [("location", target.clone())]).into_response();
    let receiver = Receiver::start(answer).await;
    let redirecting = channel(house.webhook("redirecting", &receiver.url, &[SECRET]));
    // A name that resolves to this machine, as a rebound one would.
    let port = inner.url.rsplit(':').next().expect("a port").to_owned();
    let mut rebound = house.webhook("rebound", &format!("https://localhost:{port}"), &[SECRET]);
    rebound.allow_private = false;
    let notifier = house.notify(vec![redirecting, channel(rebound)]).await;
    let Ok(Sent::Failed { why, .. }) = notifier.test("redirecting").await else {
        panic!("a redirect is no delivery")
    };
    assert_eq!(why, "it answered 307 Temporary Redirect");
    let Ok(Sent::Failed { why, .. }) = notifier.test("rebound").await else {
        panic!("it was not to be reached")
    };
    assert!(why.contains("resolves to no public address"), "{why}");
    assert_eq!(inner.got().len(), 0);
    for url in [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "http://example.org/",
    ] {
        let mut settings = house.webhook("literal", url, &[SECRET]);
        settings.allow_private = false;
        assert!(Webhook::new(settings).is_err(), "{url}");
    }
}
