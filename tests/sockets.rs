//! Recorded sessions of real clients, said again through sockets that cut, reset, pause and split, at every byte, on both
//! sides of the proxy.
//!
//! Never times anything: a run must come to its end, and what it left behind in the server's log and in the proxy's must
//! agree. Read `sockets/faulty.rs` for the socket, `sockets/session.rs` for what is recorded.
//!
//! `./test` tries every byte that `psql_simple` says to the proxy and the proxy to its server, log-in included, and every
//! third that comes back; of the other sessions a dozen at each place. Every byte of every session at each place, some
//! 50,000 runs: `COUNTERSIGN_FAULTS=every cargo nextest run --features faults -E 'binary(sockets)'`.

#[path = "sockets/clients.rs"]
mod clients;
#[path = "sockets/evidence.rs"]
mod evidence;
#[path = "sockets/faulty.rs"]
mod faulty;
#[path = "sockets/relay.rs"]
mod relay;
#[path = "sockets/replay.rs"]
mod replay;
#[path = "sockets/session.rs"]
mod session;
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use evidence::{Evidence, LINE_PREFIX};
use faulty::Fault;
use relay::{Faults, Passed, Relay};
use replay::{Ended, Place, Played, Player};
use serde_json::{Value, json};
use session::{RunNumber, Session};
use support::api::Api;
use support::child::Serve;
use support::server::{PROGRAM, Postgres};
use support::wire::{Message, Url};

/// Runs at one time. Each may hold a statement, and one agent may hold twenty.
const AT_ONCE: usize = 16;

/// Sessions whose client or server has gone are gone by then.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// The session of which every byte from the client and to the server is tried in every run of the tests.
const EVERY_BYTE_OF: &str = "psql_simple";

/// Faults at each place of each other session, evenly spread.
const SAMPLES: usize = 12;

/// A server, and a proxy that reaches it through a relay.
struct Stage {
    postgres: Postgres,
    proxy: Serve,
    reviewer: Api,
    road: Arc<Road>,
    _folder: tempfile::TempDir,
}

/// The way to the proxy, with the faults on it.
struct Road {
    relay: Relay,
    url: Url,
    player: Player,
    runs: AtomicU32,
}

/// One replay of a session, and what shall happen in it.
#[derive(Clone, Copy, Debug)]
struct Job<'a> {
    reference: &'a Reference,
    place: Place,
    fault: Fault,
}

/// A session as it goes when nothing disturbs it.
#[derive(Debug)]
struct Reference {
    session: Session,
    played: Played,
    passed: Passed,
}

impl Stage {
    async fn start() -> Self {
        let postgres = Postgres::start_with(&[("log_line_prefix", LINE_PREFIX), ("max_connections", "200")]);
        let owner = postgres.connect().await;
        owner
            .batch_execute("CREATE TABLE marks (mark text)")
            .await
            .expect("a table");
        let server = SocketAddr::from(([127, 0, 0, 1], postgres.server().port()));
        let relay = Relay::in_front_of(server).expect("a relay");
        let folder = tempfile::tempdir().expect("a scratch folder");
        std::fs::write(folder.path().join("password"), postgres.owner_password()).expect("written");
        let settings = settings(relay.address.port());
        std::fs::write(folder.path().join("countersign.toml"), &settings).expect("written");
        told(
            folder.path(),
            &["user", "add", "dba-1", "--role", "approver,auditor"],
        );
        let token = told(folder.path(), &["user", "token", "dba-1"]);
        let agent = told(folder.path(), &["agent", "add", "reporter", "--owner", "sam"]);
        let proxy = Serve::start(folder.path(), &settings);
        let url = Url {
            user: "reporter".to_owned(),
            password: agent["secret"].as_str().expect("a secret").to_owned(),
            host: proxy.listen.ip().to_string(),
            port: proxy.listen.port(),
            database: "shop".to_owned(),
        };
        let road = Road {
            relay,
            url,
            player: Player::default(),
            runs: AtomicU32::new(1),
        };
        Self {
            reviewer: Api::new(&proxy.api_url, token["token"].as_str().expect("a token")),
            postgres,
            proxy,
            road: Arc::new(road),
            _folder: folder,
        }
    }

    async fn server_connections(&self) -> String {
        let admin = self.postgres.connect_as_superuser().await;
        let sql = "SELECT string_agg(concat_ws(' ', application_name, state, wait_event, query), '; ')
                   FROM pg_stat_activity WHERE usename = 'shop_owner'";
        let row = admin.query_one(sql, &[]).await.expect("the server answers");
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }

    /// No session is left, nothing is held; both logs agree on every run.
    async fn nothing_is_left(&self) -> Vec<String> {
        let metrics = format!("{}/metrics", self.proxy.api_url);
        let deadline = Instant::now() + ENDS_WITHIN;
        loop {
            let text = reqwest::get(&metrics)
                .await
                .expect("an answer")
                .text()
                .await
                .expect("text");
            let is_there = |line: &&str| text.lines().any(|found| found == *line);
            if ["countersign_sessions_active 0", "countersign_held 0"]
                .iter()
                .all(is_there)
            {
                break;
            }
            if Instant::now() > deadline {
                panic!("sessions are left: {}", self.server_connections().await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        contradictions(&Evidence::gather(&self.postgres, &self.reviewer).await)
    }
}

fn settings(upstream_port: u16) -> String {
    format!(
        "data_dir = \"data\"
        [listen]
        address = \"127.0.0.1:0\"
        [api]
        address = \"127.0.0.1:0\"
        [upstream]
        host = \"127.0.0.1\"
        port = {upstream_port}
        [[upstream.users]]
        name = \"shop_owner\"
        password_file = \"password\"
        [limits]
        held_per_principal = 1000
        [log]
        level = \"error\"
        "
    )
}

/// What a command of countersign says as JSON.
fn told(folder: &Path, arguments: &[&str]) -> Value {
    let mut command = Command::new(PROGRAM);
    let told = command
        .args(arguments)
        .arg("--json")
        .current_dir(folder)
        .output()
        .expect("it runs");
    serde_json::from_slice(&told.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&told.stderr)))
}

impl Road {
    fn play(&self, session: &Session, place: Place, fault: Fault) -> Played {
        let run = RunNumber(self.runs.fetch_add(1, Ordering::Relaxed));
        let at = |here: Place| if here == place { fault } else { Fault::None };
        let faults = Faults {
            to_server: at(Place::ProxyToServer),
            to_proxy: at(Place::ServerToProxy),
        };
        self.relay.expect(run, faults);
        let (writing, reading) = (at(Place::ClientToProxy), at(Place::ProxyToClient));
        self.player.play(session, &self.url, run, writing, reading)
    }

    fn reference(&self, session: Session) -> Reference {
        let played = self.play(&session, Place::ClientToProxy, Fault::None);
        assert_eq!(played.ended, Ended::AllSaid, "{}", session.name);
        let passed = self.relay.passed_in_all(played.run);
        Reference {
            session,
            played,
            passed,
        }
    }

    /// Plays them all, several at a time, and gives what is wrong with any.
    fn play_all(&self, jobs: &[Job<'_>]) -> Vec<String> {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let work = || {
                let mut complaints = Vec::new();
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let played = self.play(&job.reference.session, job.place, job.fault);
                    complaints.extend(complaint(job, &played));
                }
                complaints
            };
            let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .flat_map(|worker| worker.join().expect("no panic"))
                .collect()
        })
    }
}

/// What is wrong with how a run went for its client.
fn complaint(job: &Job<'_>, played: &Played) -> Option<String> {
    let reference = normal(&job.reference.played);
    let mut came = normal(played);
    let told = match came.last() {
        Some((b'E', body)) if String::from_utf8_lossy(body).contains("SFATAL") => came.pop(),
        _ => None,
    };
    let is_prefix = reference.starts_with(&came);
    let ends = match job.fault {
        Fault::CutAfter(_) | Fault::ResetAfter(_) => true,
        Fault::None | Fault::PauseAfter(_) | Fault::ByteByByte => false,
    };
    let by_client = matches!(job.place, Place::ClientToProxy | Place::ProxyToClient);
    let is_fine = match &played.ended {
        // Between its last answer and its Terminate a client may be told that the server is gone, where that was cut.
        Ended::AllSaid => came.len() == reference.len() && (told.is_none() || (ends && !by_client)),
        Ended::Cut => ends && by_client,
        Ended::ByProxy { inside_a_message } => {
            ends && !by_client && (told.is_some() || (*inside_a_message && job.place == Place::ServerToProxy))
        }
        Ended::Hung { .. } | Ended::Strayed { .. } => false,
    };
    if is_prefix && is_fine {
        return None;
    }
    let tags: String = played
        .messages
        .iter()
        .map(|message| char::from(message.tag))
        .collect();
    let last = played
        .messages
        .last()
        .map(|message| String::from_utf8_lossy(&message.body).into_owned());
    Some(format!(
        "{}, {}, {:?} {:?}: {:?} after {tags}, the last one {last:?}",
        job.reference.session.name, played.run, job.place, job.fault, played.ended
    ))
}

/// Messages without what differs from run to run: its number, keys and nonces, the ids of requests.
fn normal(played: &Played) -> Vec<(u8, Vec<u8>)> {
    let number = played.run.to_string();
    let without_id = |text: String| match text.split_once("\"request\":\"").and_then(|(_, id)| id.get(..6)) {
        Some(id) => text.replace(id, "ID"),
        None => text,
    };
    let normal = |message: &Message| {
        let body = match message.tag {
            b'R' | b'K' | b'N' => Vec::new(),
            _ => without_id(String::from_utf8_lossy(&message.body).replace(&number, "run")).into_bytes(),
        };
        (message.tag, body)
    };
    played.messages.iter().map(normal).collect()
}

/// Where the two logs, or the requests, do not agree.
fn contradictions(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    for (run, texts) in &evidence.executed {
        for (text, times) in texts {
            let attempts = evidence
                .attempted
                .get(run)
                .and_then(|texts| texts.get(text))
                .copied();
            if attempts.unwrap_or(0) < *times {
                found.push(format!(
                    "{run}: reached the server {times} times, {attempts:?} attempts: {text}"
                ));
            }
            if text.contains("leave") {
                found.push(format!("{run}: nobody approved it, and it ran: {text}"));
            }
        }
    }
    for (run, state, text) in &evidence.requests {
        let times = evidence.times_executed(*run, text);
        let is_true = match state.as_str() {
            "finished" | "failed" => times == 1,
            "outcome_unknown" => times <= 1,
            "detached" | "grant" | "withdrawn" | "stale" => times == 0,
            _ => false,
        };
        if !is_true {
            found.push(format!(
                "{run}: {state}, and it reached the server {times} times: {text}"
            ));
        }
    }
    let without = evidence.without_outcome.iter();
    found.extend(without.map(|attempt| format!("an attempt without an outcome: {attempt}")));
    found
}

fn is_left(request: &Value) -> bool {
    request["text"]
        .as_str()
        .is_some_and(|text| text.contains("leave"))
}

/// Approves whatever is held, until told to stop; what says `leave` stays.
async fn approve_all(reviewer: Api, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        for request in reviewer
            .pending()
            .await
            .iter()
            .filter(|request| !is_left(request))
        {
            let body = json!({ "decision": "approve", "reason": "played", "digest": request["digest"] });
            let path = format!("/requests/{}/decision", support::api::id_of(request));
            // Whoever cancelled or left first has won.
            let (status, answer) = reviewer.post(&path, &body).await;
            assert!(status.is_success() || status == 409, "{answer}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How many of the bytes are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coverage {
    Sample,
    Every,
}

impl Coverage {
    fn asked_for() -> Self {
        match std::env::var("COUNTERSIGN_FAULTS").as_deref() {
            Ok("every") => Self::Every,
            Ok(_) | Err(_) => Self::Sample,
        }
    }
}

impl Reference {
    /// How many bytes pass at this place.
    fn bytes_at(&self, place: Place) -> usize {
        match place {
            Place::ClientToProxy => self.played.written,
            Place::ProxyToClient => self.played.read,
            Place::ProxyToServer => self.passed.to_server,
            Place::ServerToProxy => self.passed.to_proxy,
        }
    }

    /// From one fault to the next.
    fn stride(&self, place: Place, coverage: Coverage) -> usize {
        let is_whole = self.session.name == EVERY_BYTE_OF;
        match (coverage, place) {
            (Coverage::Every, _) => 1,
            (Coverage::Sample, Place::ClientToProxy | Place::ProxyToServer) if is_whole => 1,
            (Coverage::Sample, Place::ProxyToClient | Place::ServerToProxy) if is_whole => 3,
            (Coverage::Sample, _) => self.bytes_at(place).div_ceil(SAMPLES),
        }
    }

    /// What is tried of this session; `number` among the others moves the first fault, so that samples differ.
    fn jobs(&self, number: usize, coverage: Coverage) -> Vec<Job<'_>> {
        let job = |place, fault| Job {
            reference: self,
            place,
            fault,
        };
        let mut jobs = Vec::new();
        for place in [
            Place::ClientToProxy,
            Place::ProxyToClient,
            Place::ProxyToServer,
            Place::ServerToProxy,
        ] {
            let stride = self.stride(place, coverage);
            let bytes: Vec<usize> = (number % stride..self.bytes_at(place)).step_by(stride).collect();
            jobs.extend(bytes.iter().map(|byte| job(place, Fault::CutAfter(*byte))));
            let (resets, pauses) = match place {
                Place::ClientToProxy | Place::ServerToProxy => (true, true),
                Place::ProxyToServer => (true, false),
                Place::ProxyToClient => (false, false),
            };
            let some = bytes.iter().skip(1).step_by(5);
            if resets {
                jobs.extend(some.clone().map(|byte| job(place, Fault::ResetAfter(*byte))));
            }
            if pauses {
                jobs.push(job(place, Fault::ByteByByte));
                let paused: Box<dyn Iterator<Item = &usize>> = match coverage {
                    Coverage::Every => Box::new(bytes.iter()),
                    Coverage::Sample => Box::new(some),
                };
                jobs.extend(paused.map(|byte| job(place, Fault::PauseAfter(*byte))));
            }
        }
        jobs
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_cut_paused_or_split_at_any_byte_ends_as_it_should_and_nothing_runs_unrecorded() {
    let stage = Stage::start().await;
    let over = Arc::new(AtomicBool::new(false));
    let approver = tokio::spawn(approve_all(stage.reviewer.clone(), Arc::clone(&over)));
    let road = Arc::clone(&stage.road);
    let complaints = tokio::task::spawn_blocking(move || play_everything(&road)).await;
    over.store(true, Ordering::Relaxed);
    approver.await.expect("no panic");
    let mut complaints = complaints.expect("no panic");
    complaints.extend(stage.nothing_is_left().await);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn play_everything(road: &Road) -> Vec<String> {
    let coverage = Coverage::asked_for();
    let sessions = Session::read_all();
    assert!(sessions.len() >= 10, "recordings are lost");
    let references: Vec<_> = sessions
        .into_iter()
        .map(|session| road.reference(session))
        .collect();
    let jobs = references
        .iter()
        .enumerate()
        .flat_map(|(number, reference)| reference.jobs(number, coverage));
    let jobs: Vec<_> = jobs.collect();
    let started = Instant::now();
    let complaints = road.play_all(&jobs);
    eprintln!(
        "{} runs of {} sessions in {:?}",
        jobs.len(),
        references.len(),
        started.elapsed()
    );
    complaints
}
