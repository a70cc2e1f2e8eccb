//! Promise 3 at the desk: what the log cannot take does not happen, and it happens again once the log can.

use countersign::desk::{AskError, Asked, DecideError, NotStarted, RequestFilter, Wake};
use countersign::hold::{State, StateKind};
use countersign::journal::disk::Fault;

use crate::world::World;

const FAULTS: [Fault; 5] = [
    Fault::Full,
    Fault::ReadOnly,
    Fault::FailWrite,
    Fault::ShortWrite,
    Fault::FailSync,
];

#[test]
fn promise_3_without_a_log_nothing_is_held_decided_or_run_until_it_is_back() {
    for fault in FAULTS {
        let mut world = World::new();
        let (ask, approved) = world.park("bot-a", 1);
        world.approve(approved.request, "dora").expect("an approval");
        let (_, mut undecided) = world.park("bot-a", 2);
        world.faults.hold(fault);
        let refused = world.sending("bot-a", 3);
        assert_eq!(
            world.ask(&refused).expect_err("refused"),
            AskError::LogUnavailable,
            "{fault:?}"
        );
        assert_eq!(
            world.ask(&refused).expect_err("refused"),
            AskError::LogUnavailable,
            "{fault:?}"
        );
        let decided = world.approve(undecided.request, "dora");
        assert_eq!(
            decided.expect_err("refused"),
            DecideError::LogUnavailable,
            "{fault:?}"
        );
        let started = world.start_run(approved.request, &ask);
        assert_eq!(
            started.expect_err("refused"),
            NotStarted::LogUnavailable,
            "{fault:?}"
        );
        world.tick();
        assert!(
            undecided.woken.try_recv().is_err(),
            "{fault:?}: woken without a record"
        );
        world.faults.clear();
        world.tick();
        let all = world
            .core()
            .list(&RequestFilter::default())
            .expect("a list")
            .items;
        let states: Vec<_> = all.iter().map(|held| held.state.kind()).collect();
        // What was refused was withdrawn, and asked for once only.
        assert_eq!(
            states,
            [StateKind::Withdrawn, StateKind::Pending, StateKind::Grant],
            "{fault:?}"
        );
        // The session was told to send it again later: then it runs.
        let again = world.sending("bot-a", 1);
        assert!(matches!(world.ask(&again), Ok(Asked::Granted(..))), "{fault:?}");
        assert!(world.approve(undecided.request, "dora").is_ok(), "{fault:?}");
        assert!(world.ask(&refused).is_ok(), "{fault:?}");
    }
}

#[test]
fn promise_3_a_decision_that_the_log_has_not_yet_wakes_nobody() {
    for fault in FAULTS {
        let mut world = World::new();
        let (ask, mut parked) = world.park("bot-a", 1);
        world.faults.hold(fault);
        let decided = world.approve(parked.request, "dora");
        assert_eq!(
            decided.expect_err("not yet"),
            DecideError::LogUnavailable,
            "{fault:?}"
        );
        assert!(
            parked.woken.try_recv().is_err(),
            "{fault:?}: woken without a record"
        );
        world.faults.clear();
        world.tick();
        assert!(
            matches!(parked.woken.try_recv(), Ok(Wake::Approved { .. })),
            "{fault:?}"
        );
        assert!(world.start_run(parked.request, &ask).is_ok(), "{fault:?}");
    }
}

#[test]
fn promise_3_a_claim_without_its_record_gives_no_permit_and_is_spent() {
    for fault in FAULTS {
        let mut world = World::new();
        let (ask, parked) = world.park("bot-a", 1);
        world.approve(parked.request, "dora").expect("an approval");
        world.faults.hold(fault);
        let started = world.start_run(parked.request, &ask);
        assert_eq!(
            started.expect_err("refused"),
            NotStarted::LogUnavailable,
            "{fault:?}"
        );
        world.faults.clear();
        world.tick();
        assert!(
            matches!(world.show(parked.request).state, State::Withdrawn { .. }),
            "{fault:?}"
        );
        assert!(world.start_run(parked.request, &ask).is_err(), "{fault:?}");
    }
}
