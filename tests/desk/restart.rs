//! What a new process makes of what a dead one left.

use countersign::desk::{Asked, Detach, RunOutcome, Transaction};
use countersign::hold::{State, StateKind};

use crate::world::World;

#[test]
fn what_waited_is_detached_and_can_be_taken_up_again() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    world.restart();
    assert_eq!(world.state(parked.request), StateKind::Detached);
    let again = world.sending("bot-a", 1);
    assert_eq!(world.expect_parked(&again).request, parked.request);
}

#[test]
fn what_was_approved_is_a_grant_unless_its_transaction_had_written() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    let mut ask = world.sending("bot-a", 2);
    ask.transaction = Transaction::Implicit { wrote: true };
    let wrote = world.expect_parked(&ask);
    world.approve(parked.request, "dora").expect("an approval");
    world.approve(wrote.request, "dora").expect("an approval");
    world.restart();
    assert_eq!(world.state(parked.request), StateKind::Grant);
    assert_eq!(world.state(wrote.request), StateKind::Withdrawn);
}

#[test]
fn what_ran_has_an_unknown_outcome_and_never_runs_again() {
    let mut world = World::new();
    let (ask, started) = world.park("bot-a", 1);
    world.approve(started.request, "dora").expect("an approval");
    let _permit = world.start_run(started.request, &ask).expect("a permit");
    let (_, parked) = world.park("bot-a", 2);
    let now = world.now;
    world
        .core()
        .detach(parked.request, Detach::ClientLeft, now)
        .expect("detached");
    world.approve(parked.request, "dora").expect("an approval");
    let again = world.sending("bot-a", 2);
    let Ok(Asked::Granted(_permit, redeemed)) = world.ask(&again) else {
        panic!("the grant is not redeemed")
    };
    world.restart();
    for request in [started.request, redeemed] {
        assert_eq!(world.state(request), StateKind::OutcomeUnknown);
        let late = RunOutcome::Finished {
            rows: None,
            tag: "DROP TABLE".to_owned(),
        };
        let state = world.core().finish(request, late, now).expect("an answer");
        assert!(matches!(state, State::OutcomeUnknown { .. }), "{state:?}");
    }
    let again = world.sending("bot-a", 1);
    assert_ne!(world.expect_parked(&again).request, started.request);
}

#[test]
fn a_grant_outlives_its_process() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    let now = world.now;
    world
        .core()
        .detach(parked.request, Detach::ClientLeft, now)
        .expect("detached");
    world.approve(parked.request, "dora").expect("an approval");
    world.restart();
    let again = world.sending("bot-a", 1);
    assert!(matches!(world.ask(&again), Ok(Asked::Granted(..))));
}
