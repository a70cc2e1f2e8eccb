//! The process is killed between any two steps of a held run, and what the log had not on disk is lost.
//!
//! The test runs itself as a child that aborts at the named place, cuts the journal to what was synced, and looks at
//! what the next desk makes of it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use countersign::audit::Kind;
use countersign::clock::Timestamp;
use countersign::desk::{Asked, Decision, Desk, Reach, RequestFilter, RunOutcome, Settings, Terms, Wake};
use countersign::hold::{HeldRequest, StateKind};
use countersign::journal::{LogFilter, Order};
use countersign::store::sqlite::Store;

use crate::standing::{TERMS, sending, standing_word};
use crate::world::{World, block_on, open_journal, populate, scratch, store_path, word};

const CHILD: &str = "COUNTERSIGN_TEST_CHILD";

/// Where the process ends, what the request is then, whether the statement had been forwarded, and the events of the
/// request that the log has in the end.
const PLACES: &[(&str, StateKind, bool, &[&str])] = &[
    (
        "request_stored",
        StateKind::Detached,
        false,
        &["held", "detached"],
    ),
    (
        "request_logged",
        StateKind::Detached,
        false,
        &["held", "detached"],
    ),
    (
        "decision_stored",
        StateKind::Grant,
        false,
        &["held", "approve", "granted"],
    ),
    (
        "decision_logged",
        StateKind::Grant,
        false,
        &["held", "approve", "granted"],
    ),
    (
        "before_claim",
        StateKind::Grant,
        false,
        &["held", "approve", "granted"],
    ),
    (
        "claimed",
        StateKind::OutcomeUnknown,
        false,
        &["held", "approve", "started", "outcome_unknown"],
    ),
    (
        "started",
        StateKind::OutcomeUnknown,
        false,
        &["held", "approve", "started", "outcome_unknown"],
    ),
    (
        "forwarded",
        StateKind::OutcomeUnknown,
        true,
        &["held", "approve", "started", "outcome_unknown"],
    ),
    (
        "outcome_stored",
        StateKind::Finished,
        true,
        &["held", "approve", "started", "finished"],
    ),
    (
        "nowhere",
        StateKind::Finished,
        true,
        &["held", "approve", "started", "finished"],
    ),
];

#[test]
fn promise_5_a_kill_between_any_two_steps_leaves_the_truth_and_runs_nothing_twice() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return live(Path::new(&dir));
    }
    for (place, state, is_forwarded, events) in PLACES {
        let dir = scratch();
        let script = dir.path().join("faults");
        fs::write(&script, "").expect("a script");
        populate(
            &mut Store::open(&store_path(dir.path())).expect("a store"),
            Timestamp::now(),
        );
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "killed::promise_5_a_kill_between_any_two_steps_leaves_the_truth_and_runs_nothing_twice",
            ])
            .env(CHILD, dir.path())
            .env("COUNTERSIGN_CRASH_AT", place)
            .env("COUNTERSIGN_JOURNAL_FAULTS", &script)
            .output()
            .expect("a child");
        assert_eq!(child.status.success(), *place == "nowhere", "{place}: {child:?}");
        lose_power(dir.path());
        let held = look(dir.path(), place, events);
        assert_eq!(held.state.kind(), *state, "{place}");
        assert_eq!(dir.path().join("forwarded").exists(), *is_forwarded, "{place}");
        // A second restart finds nothing new to say.
        look(dir.path(), place, events);
        send_again(dir.path(), place, *state);
    }
}

/// Where the process ends in a use of a standing grant, what its request is then if there is one, and the uses counted.
const PLACES_OF_A_USE: &[(&str, Option<StateKind>, u32)] = &[
    ("before_use", None, 1),
    ("use_counted", Some(StateKind::OutcomeUnknown), 2),
    ("use_logged", Some(StateKind::OutcomeUnknown), 2),
    ("use_forwarded", Some(StateKind::OutcomeUnknown), 2),
];

#[test]
fn promise_5_a_kill_between_any_two_steps_of_a_use_gives_none_back_and_leaves_the_truth() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return use_once(Path::new(&dir));
    }
    for (place, state, uses) in PLACES_OF_A_USE {
        let dir = scratch();
        let script = dir.path().join("faults");
        fs::write(&script, "").expect("a script");
        populate(
            &mut Store::open(&store_path(dir.path())).expect("a store"),
            Timestamp::now(),
        );
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "killed::promise_5_a_kill_between_any_two_steps_of_a_use_gives_none_back_and_leaves_the_truth",
            ])
            .env(CHILD, dir.path())
            .env("COUNTERSIGN_CRASH_AT", place)
            .env("COUNTERSIGN_JOURNAL_FAULTS", &script)
            .output()
            .expect("a child");
        assert!(!child.status.success(), "{place}: {child:?}");
        lose_power(dir.path());
        let is_forwarded = dir.path().join("forwarded").exists();
        assert_eq!(is_forwarded, *place == "use_forwarded", "{place}");
        // A second restart finds nothing new to say.
        for _ in 0..2 {
            look_at_use(dir.path(), place, *state, *uses);
        }
    }
}

/// Where the process ends while one person approves alone and another signs the review; what the request is then, whether
/// its review is there and signed, and the events of the request that the log has in the end.
const PLACES_OF_GLASS: &[(&str, StateKind, Option<bool>, &[&str])] = &[
    ("request_logged", StateKind::Detached, None, &["held", "detached"]),
    (
        "glass_broken",
        StateKind::Grant,
        Some(false),
        &["held", "break_glass", "granted"],
    ),
    (
        "break_glass_logged",
        StateKind::Grant,
        Some(false),
        &["held", "break_glass", "granted"],
    ),
    (
        "review_stored",
        StateKind::Grant,
        Some(true),
        &["held", "break_glass", "reviewed", "granted"],
    ),
    (
        "review_logged",
        StateKind::Grant,
        Some(true),
        &["held", "break_glass", "reviewed", "granted"],
    ),
];

#[test]
fn a_kill_between_any_two_steps_of_breaking_glass_leaves_the_truth_and_an_open_review() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return break_and_review(Path::new(&dir));
    }
    for (place, state, review, events) in PLACES_OF_GLASS {
        let dir = scratch();
        let script = dir.path().join("faults");
        fs::write(&script, "").expect("a script");
        let mut store = Store::open(&store_path(dir.path())).expect("a store");
        let long_ago = Timestamp::from_micros(Timestamp::now().micros() - 100_000_000_000);
        populate(&mut store, long_ago);
        let role = countersign::identity::directory::Role::BreakGlass;
        crate::break_glass::equip(&mut store, "gina", &[role], long_ago);
        drop(store);
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "killed::a_kill_between_any_two_steps_of_breaking_glass_leaves_the_truth_and_an_open_review",
            ])
            .env(CHILD, dir.path())
            .env("COUNTERSIGN_CRASH_AT", place)
            .env("COUNTERSIGN_JOURNAL_FAULTS", &script)
            .output()
            .expect("a child");
        assert!(!child.status.success(), "{place}: {child:?}");
        lose_power(dir.path());
        // A second restart finds nothing new to say.
        for _ in 0..2 {
            let held = look(dir.path(), place, events);
            assert_eq!(held.state.kind(), *state, "{place}");
            let mut store = Store::open(&store_path(dir.path())).expect("a store");
            let found = store.review(held.id).expect("an answer");
            let found = found.map(|review| review.signed.is_some());
            assert_eq!(found, *review, "{place}");
        }
    }
}

fn break_and_review(dir: &Path) {
    use crate::break_glass::{breaking, signing};
    let desk = start(dir);
    let mut ask = World::new().sending("bot-a", 1);
    crate::world::needs(&mut ask, 2);
    block_on(async {
        let Ok(Asked::Parked(parked)) = desk.ask(ask.clone()).await else {
            panic!("not parked")
        };
        let said = breaking("gina", Timestamp::now());
        desk.break_glass(parked.request, said).await.expect("alone");
        let sign = signing("alan", countersign::hold::Finding::Fine);
        desk.sign_review(parked.request, sign).await.expect("signed");
    });
}

/// A decided run with a standing grant, done; then one use of it.
fn use_once(dir: &Path) {
    let desk = start(dir);
    let mut world = World::new();
    block_on(async {
        let ask = sending(&mut world, "bot-a", "DELETE FROM orders WHERE status = 'x'");
        let Ok(Asked::Parked(parked)) = desk.ask(ask.clone()).await else {
            panic!("not parked")
        };
        let terms = Terms {
            reach: Reach::Principal,
            ..TERMS
        };
        desk.decide(parked.request, standing_word("dora", terms))
            .await
            .expect("an approval");
        let started = desk.start_run(parked.request, ask.digest, &ask.names, ask.rules);
        let _permit = started.await.expect("a permit");
        let outcome = RunOutcome::Finished {
            rows: None,
            tag: "DELETE 1".to_owned(),
        };
        desk.finish(parked.request, outcome).await.expect("kept");
        let ask = sending(&mut world, "bot-a", "DELETE FROM orders WHERE status = 'y'");
        let Ok(Asked::Granted(..)) = desk.ask(ask).await else {
            panic!("held")
        };
        fs::write(dir.join("forwarded"), "").expect("forwarded");
        countersign::desk::crash_point("use_forwarded");
    });
}

fn look_at_use(dir: &Path, place: &str, state: Option<StateKind>, uses: u32) {
    let desk = start(dir);
    let (grants, requests) = block_on(async {
        let grants = desk.standing_grants(None, None).await.expect("a list");
        let used = RequestFilter {
            standing_grant: Some(grants[0].grant.id),
            ..RequestFilter::default()
        };
        (grants, desk.list(used).await.expect("a list").items)
    });
    block_on(desk.stop());
    drop(desk);
    assert_eq!(grants[0].grant.uses, uses, "{place}");
    let states: Vec<_> = requests.iter().map(|held| held.state.kind()).collect();
    assert_eq!(states, Vec::from_iter(state), "{place}");
    let filter = LogFilter {
        grant: Some(grants[0].grant.id.to_string()),
        order: Order::OldestFirst,
        ..LogFilter::default()
    };
    let log = open_journal(dir).reader().query(&filter).expect("the log");
    let told: Vec<_> = log
        .records
        .iter()
        .map(|record| record.fields.event.as_deref().unwrap_or(record.kind.as_str()))
        .collect();
    let expected: &[&str] = match state {
        Some(_) => &["made", "attempt", "used"],
        None => &["made"],
    };
    assert_eq!(told, expected, "{place}: each once");
}

/// The life of one held run, to its end or to the place at which the process is to end.
fn live(dir: &Path) {
    let desk = start(dir);
    let ask = World::new().sending("bot-a", 1);
    block_on(async {
        let Ok(Asked::Parked(parked)) = desk.ask(ask.clone()).await else {
            panic!("not parked")
        };
        desk.decide(parked.request, word("dora", Decision::Approve))
            .await
            .expect("an approval");
        assert!(matches!(parked.woken.await, Ok(Wake::Approved { .. })));
        let start = desk.start_run(parked.request, ask.digest, &ask.names, ask.rules);
        let _permit = start.await.expect("a permit");
        fs::write(dir.join("forwarded"), "").expect("forwarded");
        countersign::desk::crash_point("forwarded");
        let outcome = RunOutcome::Finished {
            rows: None,
            tag: "DROP TABLE".to_owned(),
        };
        desk.finish(parked.request, outcome).await.expect("kept");
    });
}

fn start(dir: &Path) -> Desk {
    let store = Store::open(&store_path(dir)).expect("a store");
    Desk::start(store, open_journal(dir), Settings::default()).expect("a desk")
}

/// What the next desk says of the only request, and whether the log says the same.
fn look(dir: &Path, place: &str, events: &[&str]) -> HeldRequest {
    let desk = start(dir);
    let page = block_on(desk.list(RequestFilter::default())).expect("a list");
    block_on(desk.stop());
    let [held] = <[HeldRequest; 1]>::try_from(page.items).expect("one request");
    let filter = LogFilter {
        request: Some(held.id.to_string()),
        order: Order::OldestFirst,
        ..LogFilter::default()
    };
    drop(desk);
    let log = open_journal(dir).reader().query(&filter).expect("the log");
    let told: Vec<_> = log
        .records
        .iter()
        .filter_map(|record| {
            record
                .fields
                .event
                .as_deref()
                .or(record.fields.decision.as_deref())
        })
        .collect();
    assert_eq!(told, events, "{place}");
    let attempts = log
        .records
        .iter()
        .filter(|record| record.kind == Kind::Attempt)
        .count();
    let results = log
        .records
        .iter()
        .filter(|record| record.kind == Kind::Outcome)
        .count();
    assert_eq!((attempts, results), (1, 1), "{place}: one attempt and one result");
    held
}

/// The agent comes back with the same bytes.
fn send_again(dir: &Path, place: &str, state: StateKind) {
    let desk = start(dir);
    let ask = World::new().sending("bot-a", 1);
    let again = block_on(desk.ask(ask.clone())).expect("an answer");
    match (state, again) {
        (StateKind::Grant, Asked::Granted(..)) => {}
        (StateKind::Detached, Asked::Parked(parked)) => assert!(parked.reattached, "{place}"),
        (_, Asked::Parked(parked)) => assert!(!parked.reattached, "{place}"),
        (_, Asked::Granted(..)) => panic!("{place}: it runs again"),
    }
}

/// Every file of the journal loses what was not synced; the list of syncs says how much that is.
fn lose_power(dir: &Path) {
    let list = fs::read_to_string(dir.join("faults.synced")).expect("a list of syncs");
    let mut synced: BTreeMap<PathBuf, u64> = BTreeMap::new();
    for line in list.lines() {
        let (bytes, path) = line.split_once(' ').expect("bytes and path");
        synced.insert(PathBuf::from(path), bytes.parse().expect("a number"));
    }
    for (path, bytes) in synced {
        if !path.is_file() {
            // Renamed or taken away since.
            continue;
        }
        if bytes == 0 {
            fs::remove_file(&path).expect("removed");
        } else {
            let file = OpenOptions::new().write(true).open(&path).expect("a segment");
            file.set_len(bytes).expect("cut");
        }
    }
}
