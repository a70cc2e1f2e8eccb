//! Approve, deny, cancel and expiry at the same moment, on real threads and the real clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::clock::Timestamp;
use countersign::desk::{ActKind, Asked, Decision, Desk, RunOutcome, Settings, Wake};
use countersign::hold::{RemarkKind, RequestId, StateKind};
use countersign::store::sqlite::Store;

use crate::world::{World, block_on, open_journal, person, populate, principal, scratch, store_path, word};

const ROUNDS: usize = 1000;

fn desk(dir: &std::path::Path) -> Desk {
    let mut store = Store::open(&store_path(dir)).expect("a store");
    populate(&mut store, Timestamp::now());
    Desk::start(store, open_journal(dir), Settings::default()).expect("a desk")
}

/// What each racer of one round saw.
#[derive(Debug, Default)]
struct Round {
    approved: AtomicUsize,
    denied: AtomicUsize,
    permits: AtomicUsize,
}

#[test]
fn promise_5_a_race_of_decisions_cancel_and_expiry_has_one_winner_a_thousand_times() {
    let dir = scratch();
    let desk = desk(dir.path());
    // Only to make statements; its own desk is never asked.
    let mut sender = World::new();
    for round in 0..ROUNDS {
        let mut ask = sender.sending("bot-a", 1);
        // In every fourth round time is over just when the others come.
        ask.expires = if round % 4 == 0 {
            Duration::from_millis(1)
        } else {
            Duration::from_secs(600)
        };
        let seen = Arc::new(Round::default());
        let parked = match block_on(desk.ask(ask.clone())).expect("an answer") {
            Asked::Parked(parked) => parked,
            Asked::Granted(..) => panic!("round {round}: granted without an approval"),
        };
        let id = parked.request;
        std::thread::scope(|threads| {
            threads.spawn(|| decide(&desk, id, "dora", Decision::Approve, &seen.approved));
            threads.spawn(|| decide(&desk, id, "dave", Decision::Deny, &seen.denied));
            if round % 3 == 0 {
                threads.spawn(|| block_on(desk.withdraw(id, "cancelled")));
            }
            threads.spawn(|| run_when_approved(&desk, parked, &ask, &seen));
        });
        check(&desk, id, round, &seen);
    }
}

fn decide(desk: &Desk, id: RequestId, by: &str, decision: Decision, won: &AtomicUsize) {
    if block_on(desk.decide(id, word(by, decision))).is_ok() {
        won.fetch_add(1, Ordering::SeqCst);
    }
}

fn run_when_approved(
    desk: &Desk,
    parked: countersign::desk::Parked,
    ask: &countersign::desk::Ask,
    seen: &Round,
) {
    block_on(async {
        let id = parked.request;
        if !matches!(parked.woken.await, Ok(Wake::Approved { .. })) {
            return;
        }
        // Two at once: a session that is driven wrongly still gets one permit.
        let starts = futures_util::future::join(
            desk.start_run(id, ask.digest, &ask.names, ask.rules),
            desk.start_run(id, ask.digest, &ask.names, ask.rules),
        );
        let (first, second) = starts.await;
        for _permit in [first, second].into_iter().flatten() {
            seen.permits.fetch_add(1, Ordering::SeqCst);
            let done = RunOutcome::Finished {
                rows: Some(1),
                tag: "DROP TABLE".to_owned(),
            };
            desk.finish(id, done).await.expect("kept");
        }
    });
}

fn check(desk: &Desk, id: RequestId, round: usize, seen: &Round) {
    let held = block_on(desk.show(id)).expect("the request");
    let approved = seen.approved.load(Ordering::SeqCst);
    let denied = seen.denied.load(Ordering::SeqCst);
    let permits = seen.permits.load(Ordering::SeqCst);
    assert!(
        approved + denied <= 1,
        "round {round}: two decisions won: {seen:?}"
    );
    assert!(
        permits <= approved,
        "round {round}: a permit without an approval: {seen:?}"
    );
    let expected = match (approved, denied, permits) {
        (1, _, 1) => vec![StateKind::Finished],
        (1, _, _) => vec![StateKind::Withdrawn],
        (_, 1, _) => vec![StateKind::Denied],
        _ => vec![StateKind::Withdrawn, StateKind::Expired],
    };
    assert!(
        expected.contains(&held.state.kind()),
        "round {round}: {:?}, {seen:?}",
        held.state
    );
    assert!(held.decisions.len() <= 1, "round {round}: {:?}", held.decisions);
}

#[test]
fn glass_is_broken_once_however_many_race_for_it_and_its_review_is_signed_once() {
    use crate::break_glass::{breaking, equip, signing};
    use countersign::hold::{Authority, Finding};
    use countersign::identity::directory::Role;

    let dir = scratch();
    let mut store = Store::open(&store_path(dir.path())).expect("a store");
    let long_ago = Timestamp::from_micros(Timestamp::now().micros() - 100_000_000_000);
    populate(&mut store, long_ago);
    for who in ["gina", "gary"] {
        equip(&mut store, who, &[Role::BreakGlass], long_ago);
    }
    let settings = Settings {
        break_glass_per_day: 1000,
        ..Settings::default()
    };
    let desk = Desk::start(store, open_journal(dir.path()), settings).expect("a desk");
    let mut sender = World::new();
    for round in 0..200 {
        let mut ask = sender.sending("bot-a", 1);
        crate::world::needs(&mut ask, 2);
        let Ok(Asked::Parked(parked)) = block_on(desk.ask(ask)) else {
            panic!("round {round}: not parked")
        };
        let id = parked.request;
        let (broken, approved, denied) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let break_it = |who: &str| {
            let said = breaking(who, Timestamp::now());
            if block_on(desk.break_glass(id, said)).is_ok() {
                broken.fetch_add(1, Ordering::SeqCst);
            }
        };
        std::thread::scope(|threads| {
            threads.spawn(|| break_it("gina"));
            threads.spawn(|| break_it("gary"));
            threads.spawn(|| decide(&desk, id, "dora", Decision::Approve, &approved));
            if round % 2 == 0 {
                threads.spawn(|| decide(&desk, id, "dave", Decision::Deny, &denied));
            }
        });
        let held = block_on(desk.show(id)).expect("the request");
        let (broken, denied) = (broken.into_inner(), denied.into_inner());
        assert_eq!(broken + denied, 1, "round {round}: {:?}", held.decisions);
        let alone = held
            .decisions
            .iter()
            .filter(|said| said.authority == Authority::BreakGlass);
        assert_eq!(alone.count(), broken, "round {round}");
        let review = block_on(desk.review(id)).expect("an answer");
        assert_eq!(review.is_some(), broken == 1, "round {round}");
        let signed = AtomicUsize::new(0);
        let sign = |who: &str, finding| {
            if block_on(desk.sign_review(id, signing(who, finding))).is_ok() {
                signed.fetch_add(1, Ordering::SeqCst);
            }
        };
        std::thread::scope(|threads| {
            threads.spawn(|| sign("alan", Finding::Fine));
            threads.spawn(|| sign("root", Finding::NotFine));
        });
        assert_eq!(signed.into_inner(), broken, "round {round}");
        block_on(desk.withdraw(id, "the next round")).expect("an answer");
    }
    let open = block_on(desk.open_reviews()).expect("a number");
    assert_eq!(open, 0);
}

#[test]
fn acts_that_race_with_each_other_and_with_decisions_each_take_hold_once_or_not_at_all() {
    let dir = scratch();
    let desk = desk(dir.path());
    let mut sender = World::new();
    for round in 0..200 {
        let mut ask = sender.sending("bot-a", 1);
        crate::world::requires(&mut ask, "1 of dba");
        ask.verdict.escalate_to = vec!["security".to_owned()];
        let Ok(Asked::Parked(parked)) = block_on(desk.ask(ask)) else {
            panic!("round {round}: not parked")
        };
        let id = parked.request;
        let act = |by: &str, what| block_on(desk.act(id, crate::world::act(by, what))).is_ok();
        let escalate = || ActKind::Escalate {
            reason: "too hard".to_owned(),
        };
        let question = ActKind::Ask {
            question: "why?".to_owned(),
        };
        let (mut escalated, mut asked) = ([false; 2], false);
        let (approved, denied) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|threads| {
            let first = threads.spawn(|| act("dora", escalate()));
            let second = threads.spawn(|| act("dave", escalate()));
            let question = threads.spawn(|| act("dora", question));
            threads.spawn(|| decide(&desk, id, "dora", Decision::Approve, &approved));
            if round % 2 == 0 {
                threads.spawn(|| decide(&desk, id, "dave", Decision::Deny, &denied));
            }
            escalated = [first, second].map(|one| one.join().expect("an answer"));
            asked = question.join().expect("an answer");
        });
        let held = block_on(desk.show(id)).expect("the request");
        let count = |kind| held.discussion.iter().filter(|said| said.kind == kind).count();
        let escalations = escalated.iter().filter(|took_hold| **took_hold).count();
        assert!(escalations <= 1, "round {round}: escalated twice");
        assert_eq!(count(RemarkKind::Escalated), escalations, "round {round}");
        assert_eq!(count(RemarkKind::Question), usize::from(asked), "round {round}");
        let decided = approved.into_inner() + denied.into_inner();
        assert!(decided <= 1, "round {round}: decided twice");
        assert_eq!(held.decisions.len(), decided, "round {round}");
        assert_eq!(
            held.state.is_undecided(),
            decided == 0,
            "round {round}: {:?}",
            held.state
        );
        block_on(desk.withdraw(id, "the next round")).expect("an answer");
    }
}

#[test]
fn a_credential_revoked_by_another_process_ends_its_sessions_within_250_ms() {
    let dir = scratch();
    let desk = desk(dir.path());
    let mut sender = World::new();
    let ask = sender.sending("bot-a", 1);
    block_on(async {
        let Ok(Asked::Parked(parked)) = desk.ask(ask).await else {
            panic!("not parked")
        };
        let mut ended = desk.sessions_to_end();
        let mut beside = Store::open(&store_path(dir.path())).expect("a second connection");
        beside
            .agent_revoke(&principal("bot-a"), &person("root"), Timestamp::now())
            .expect("revoked");
        let told = tokio::time::timeout(Duration::from_millis(250), ended.recv()).await;
        assert_eq!(
            told.expect("in time").expect("told").principal,
            principal("bot-a")
        );
        assert!(matches!(parked.woken.await, Ok(Wake::Withdrawn { .. })));
    });
}

#[test]
fn a_desk_that_stops_wakes_everybody_and_the_next_one_takes_over() {
    let dir = scratch();
    let first = desk(dir.path());
    let mut sender = World::new();
    let ask = sender.sending("bot-a", 1);
    block_on(async {
        let Ok(Asked::Parked(parked)) = first.ask(ask).await else {
            panic!("not parked")
        };
        first.stop().await;
        assert_eq!(parked.woken.await, Ok(Wake::Stopping));
        let store = Store::open(&store_path(dir.path())).expect("a store");
        let second = Desk::start(store, open_journal(dir.path()), Settings::default()).expect("a desk");
        let held = second.show(parked.request).await.expect("the request");
        assert_eq!(held.state.kind(), StateKind::Detached);
    });
}

#[test]
fn two_desks_never_serve_one_store() {
    let dir = scratch();
    let _first = desk(dir.path());
    let store = Store::open(&store_path(dir.path())).expect("a store");
    let elsewhere = scratch();
    let second = Desk::start(store, open_journal(elsewhere.path()), Settings::default());
    assert_eq!(
        second.expect_err("refused"),
        countersign::desk::DeskError::AlreadyServed
    );
}

#[test]
fn an_answer_that_nobody_takes_is_given_back() {
    let dir = scratch();
    let desk = desk(dir.path());
    let mut sender = World::new();
    let ask = sender.sending("bot-a", 1);
    block_on(async {
        // Polled once, so that it is sent, and dropped before the answer comes.
        let asking = Box::pin(desk.ask(ask));
        let _ = futures_util::future::select(asking, std::future::ready(())).await;
        let mut events = desk.events();
        let held = loop {
            let page = desk
                .list(countersign::desk::RequestFilter::default())
                .await
                .expect("a list");
            match page.items.into_iter().next() {
                Some(held) if held.state.kind() == StateKind::Detached => break held,
                _ => events.recv().await.map(|_| ()).expect("an event"),
            }
        };
        assert_eq!(held.peer.principal, principal("bot-a"));
    });
}
