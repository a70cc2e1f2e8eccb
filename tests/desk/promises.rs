//! What the desk promises, a test each.

use std::time::Duration;

use countersign::audit::Kind;
use countersign::clock::Timestamp;
use countersign::desk::{
    AskError, Asked, DecideError, Decision, Detach, NotStarted, RunOutcome, Settings, Transaction, Wake,
};
use countersign::hold::{State, StateKind};
use countersign::identity::directory::{Role, WhyNot};
use countersign::identity::secret::NativePassword;
use countersign::journal::{LogFilter, Order, Reader};
use countersign::policy::Requirement;
use countersign::store::sqlite::{Limits, Store};

use crate::world::{MINUTE, World, approval_seen_by, needs, person, principal, requires, store_path, word};

fn why_not(refused: Result<countersign::hold::HeldRequest, DecideError>) -> WhyNot {
    match refused.expect_err("a refusal") {
        DecideError::NotPermitted(why) => why,
        other => panic!("refused for another reason: {other}"),
    }
}

#[test]
fn an_approved_statement_runs_once_and_its_outcome_is_kept() {
    let mut world = World::new();
    let (ask, mut parked) = world.park("bot-a", 1);
    world.approve(parked.request, "dora").expect("an approval");
    let told = parked.woken.try_recv().expect("a word");
    assert_eq!(
        told,
        Wake::Approved {
            by: vec!["dora".to_owned()],
            reason: "because".to_owned()
        }
    );
    let permit = world.start_run(parked.request, &ask).expect("a permit");
    assert_eq!(permit.attempt(), ask.attempt);
    let again = world
        .start_run(parked.request, &ask)
        .expect_err("no second permit");
    assert_eq!(again, NotStarted::NotApproved(StateKind::Running));
    let now = world.now;
    let outcome = RunOutcome::Finished {
        rows: Some(0),
        tag: "DROP TABLE".to_owned(),
    };
    let state = world.core().finish(parked.request, outcome, now).expect("kept");
    assert_eq!(
        state,
        State::Finished {
            rows: Some(0),
            tag: "DROP TABLE".to_owned()
        }
    );
}

#[test]
fn a_denied_statement_gets_the_reason_and_no_permit() {
    let mut world = World::new();
    let (ask, mut parked) = world.park("bot-a", 1);
    world
        .decide(parked.request, "dora", Decision::Deny)
        .expect("a denial");
    let told = parked.woken.try_recv().expect("a word");
    assert_eq!(
        told,
        Wake::Denied {
            by: "dora".to_owned(),
            reason: "because".to_owned()
        }
    );
    let refused = world.start_run(parked.request, &ask).expect_err("no permit");
    assert_eq!(refused, NotStarted::NotApproved(StateKind::Denied));
}

#[test]
fn a_denial_without_a_reason_decides_nothing() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    let mut silent = word("dora", Decision::Deny);
    silent.reason = "  ".to_owned();
    let now = world.now;
    assert_eq!(
        world.core().decide(parked.request, &silent, now),
        Err(DecideError::ReasonMissing)
    );
    assert_eq!(world.state(parked.request), StateKind::Pending);
}

#[test]
fn the_loser_of_two_decisions_is_told_who_decided() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    world.approve(parked.request, "dora").expect("an approval");
    let refused = world
        .decide(parked.request, "dave", Decision::Deny)
        .expect_err("too late");
    let expected = DecideError::AlreadyDecided {
        by: Some(person("dora")),
        state: StateKind::Approved,
    };
    assert_eq!(refused, expected);
}

#[test]
fn a_decision_on_another_digest_or_version_decides_nothing() {
    let mut world = World::new();
    let (ask, parked) = world.park("bot-a", 1);
    let mut stale = word("dora", Decision::Approve);
    stale.digest = Some(crate::world::digest("bot-a", 2));
    let now = world.now;
    let expected = Err(DecideError::Stale {
        digest: ask.digest,
        version: 1,
    });
    assert_eq!(world.core().decide(parked.request, &stale, now), expected);
    stale.digest = Some(ask.digest);
    stale.version = Some(7);
    assert_eq!(world.core().decide(parked.request, &stale, now), expected);
    stale.version = Some(1);
    assert!(world.core().decide(parked.request, &stale, now).is_ok());
}

#[test]
fn the_same_decision_under_the_same_key_gives_the_same_answer() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    let mut keyed = word("dora", Decision::Approve);
    keyed.idempotency = Some("key".to_owned());
    let now = world.now;
    let first = world
        .core()
        .decide(parked.request, &keyed, now)
        .expect("an approval");
    let second = world
        .core()
        .decide(parked.request, &keyed, now)
        .expect("the same approval");
    assert_eq!(first, second);
}

#[test]
fn promise_4_the_owner_does_not_decide_administrator_or_not() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    assert_eq!(
        why_not(world.approve(parked.request, "olga")),
        WhyNot::OwnsTheAgent(person("olga"))
    );
    let denied = world.decide(parked.request, "olga", Decision::Deny);
    assert_eq!(why_not(denied), WhyNot::OwnsTheAgent(person("olga")));
}

#[test]
fn promise_4_whoever_created_the_credential_does_not_decide() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    assert_eq!(
        why_not(world.approve(parked.request, "carl")),
        WhyNot::HasSeenTheSecret(person("carl"))
    );
}

#[test]
fn promise_4_whoever_rotates_while_it_waits_does_not_decide() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    let now = world.now.wall;
    world
        .core()
        .store()
        .agent_rotate(&principal("bot-a"), NativePassword::Refused, &person("dora"), now)
        .expect("a new secret");
    assert_eq!(
        why_not(world.approve(parked.request, "dora")),
        WhyNot::HasSeenTheSecret(person("dora"))
    );
}

#[test]
fn promise_4_whom_the_agent_acts_for_does_not_decide() {
    let mut world = World::new();
    let (_, of_anna) = world.park("bot-a", 1);
    assert_eq!(
        why_not(world.approve(of_anna.request, "anna")),
        WhyNot::IsActedFor(person("anna"))
    );
    let (_, other) = world.park("bot-b", 1);
    assert!(world.approve(other.request, "anna").is_ok());
}

#[test]
fn promise_4_an_auditor_or_a_stranger_does_not_decide() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    assert_eq!(
        why_not(world.approve(parked.request, "alan")),
        WhyNot::NotAnApprover(person("alan"))
    );
    assert_eq!(
        why_not(world.approve(parked.request, "nobody")),
        WhyNot::Inactive(person("nobody"))
    );
    let now = world.now.wall;
    let store = world.core().store();
    store
        .person_set_active(&person("dora"), false, &person("root"), now)
        .expect("deactivated");
    assert_eq!(
        why_not(world.approve(parked.request, "dora")),
        WhyNot::Inactive(person("dora"))
    );
}

#[test]
fn promise_4_only_the_groups_of_the_rule_decide() {
    let mut world = World::new();
    let mut ask = world.sending("bot-a", 1);
    requires(&mut ask, "1 of security");
    let parked = world.expect_parked(&ask);
    let expected = WhyNot::NotInAGroup(person("dora"), vec!["security".to_owned()]);
    assert_eq!(why_not(world.approve(parked.request, "dora")), expected);
    assert!(world.approve(parked.request, "dave").is_ok());
}

#[test]
fn promise_4_people_are_counted_not_groups() {
    let mut world = World::new();
    let mut ask = world.sending("bot-a", 1);
    requires(&mut ask, "2 of dba or security");
    let mut parked = world.expect_parked(&ask);
    let held = world.approve(parked.request, "dave").expect("the first approval");
    assert_eq!(held.state, State::Pending);
    assert!(parked.woken.try_recv().is_err(), "woken by half an approval");
    assert_eq!(
        why_not(world.approve(parked.request, "dave")),
        WhyNot::HasApproved(person("dave"))
    );
    let held = world
        .approve(parked.request, "dora")
        .expect("the second approval");
    let by = vec![person("dave"), person("dora")];
    assert_eq!(
        held.state,
        State::Approved {
            by,
            reason: "because".to_owned()
        }
    );
}

#[test]
fn promise_4_somebody_in_two_groups_fills_one_place_of_a_requirement() {
    let mut world = World::new();
    let ask_again = |world: &mut World, what| {
        let mut ask = world.sending("bot-a", what);
        requires(&mut ask, "dba:1 + security:1");
        world.expect_parked(&ask)
    };
    // Dave is in both; whoever comes first, the two of them are enough and each counts once.
    for (what, order) in [(1, ["dave", "dora"]), (2, ["dora", "dave"])] {
        let parked = ask_again(&mut world, what);
        let held = world.approve(parked.request, order[0]).expect("the first");
        assert_eq!(held.state, State::Pending, "one person is not two");
        let held = world.approve(parked.request, order[1]).expect("the second");
        assert_eq!(held.state.kind(), StateKind::Approved);
        let filled: Vec<(String, Vec<String>)> = held
            .needs()
            .iter()
            .map(|need| {
                (
                    need.groups.join(" or "),
                    need.by.iter().map(ToString::to_string).collect(),
                )
            })
            .collect();
        let expected = [("dba", "dora"), ("security", "dave")];
        assert_eq!(
            filled,
            expected.map(|(group, by)| (group.to_owned(), vec![by.to_owned()]))
        );
    }
    let parked = ask_again(&mut world, 3);
    assert_eq!(
        why_not(world.approve(parked.request, "eve")),
        WhyNot::NotInAGroup(person("eve"), vec!["dba".to_owned(), "security".to_owned()])
    );
    world.approve(parked.request, "dora").expect("one of dba");
    let store = world.core().store();
    let new = countersign::desk::NewPerson {
        name: person("dina"),
        roles: vec![countersign::identity::directory::Role::Approver],
        groups: vec!["dba".to_owned()],
    };
    let now = countersign::clock::Timestamp::from_micros(0);
    store
        .person_add(&new, &person("root"), now)
        .expect("another of dba");
    assert_eq!(
        why_not(world.approve(parked.request, "dina")),
        WhyNot::NotNeeded(person("dina"), "1 of dba + 1 of security".to_owned())
    );
    world.restart();
    assert_eq!(world.show(parked.request).needs()[0].by, [person("dora")]);
    let held = world.approve(parked.request, "dave").expect("one of security");
    assert_eq!(
        held.state.kind(),
        StateKind::Grant,
        "its client left with the restart"
    );
}

#[test]
fn promise_4_a_token_that_a_person_with_a_stake_has_seen_does_not_decide() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    let now = world.now;
    let mut say = |decision, seen_by: &str| {
        let decide = countersign::desk::Decide {
            decision,
            ..approval_seen_by("dora", seen_by)
        };
        world.core().decide(parked.request, &decide, now)
    };
    for (seen_by, why) in [
        ("olga", WhyNot::OwnsTheAgent(person("olga"))),
        ("carl", WhyNot::HasSeenTheSecret(person("carl"))),
        ("anna", WhyNot::IsActedFor(person("anna"))),
        ("bot-a", WhyNot::IsTheAgent(person("bot-a"))),
    ] {
        for decision in [Decision::Approve, Decision::Deny] {
            let expected = WhyNot::TokenSeenBy {
                person: person("dora"),
                seen_by: person(seen_by),
                why: Box::new(why.clone()),
            };
            assert_eq!(why_not(say(decision, seen_by)), expected);
        }
    }
    let held = say(Decision::Approve, "root").expect("nobody with a stake has seen it");
    assert_eq!(held.decisions[0].token_seen_by, [person("root")].into());
}

#[test]
fn promise_4_a_stake_taken_while_it_waits_counts_for_tokens_too() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    let now = world.now;
    let store = world.core().store();
    store
        .agent_rotate(
            &principal("bot-a"),
            NativePassword::Refused,
            &person("root"),
            now.wall,
        )
        .expect("a new secret");
    let refused = world
        .core()
        .decide(parked.request, &approval_seen_by("dora", "root"), now);
    assert_eq!(
        why_not(refused),
        WhyNot::TokenSeenBy {
            person: person("dora"),
            seen_by: person("root"),
            why: Box::new(WhyNot::HasSeenTheSecret(person("root"))),
        }
    );
}

#[test]
fn promise_4_a_person_and_a_token_that_the_person_has_seen_count_as_one() {
    let own = |by| word(by, Decision::Approve);
    let cases = [
        // Dave, and dora's token that dave has seen, in both orders; then two tokens that dave has seen.
        (own("dave"), approval_seen_by("dora", "dave")),
        (approval_seen_by("dora", "dave"), own("dave")),
        (approval_seen_by("dora", "dave"), approval_seen_by("root", "dave")),
    ];
    for (first, second) in cases {
        let mut world = World::new();
        let mut ask = world.sending("bot-b", 1);
        ask.verdict.requirement = Requirement::of(Vec::new(), 2);
        let parked = world.expect_parked(&ask);
        let now = world.now;
        let mut say = |decide| world.core().decide(parked.request, decide, now);
        let held = say(&first).expect("the first approval");
        assert_eq!(held.decisions[0].token_seen_by, first.token_seen_by);
        let refused = why_not(say(&second));
        let expected = WhyNot::CountsAsOne {
            with: first.by.clone(),
            hand: person("dave"),
        };
        assert_eq!(refused, expected);
        let held = say(&word("eve", Decision::Approve)).expect("another person");
        assert_eq!(held.state.kind(), StateKind::Approved);
    }
}

#[test]
fn promise_4_whoever_may_have_approved_can_still_deny() {
    let mut world = World::new();
    let mut ask = world.sending("bot-b", 1);
    needs(&mut ask, 2);
    let parked = world.expect_parked(&ask);
    let now = world.now;
    world.approve(parked.request, "dave").expect("the first approval");
    let denial = countersign::desk::Decide {
        decision: Decision::Deny,
        ..approval_seen_by("dora", "dave")
    };
    let held = world
        .core()
        .decide(parked.request, &denial, now)
        .expect("a denial");
    assert_eq!(held.state.kind(), StateKind::Denied);
}

#[test]
fn promise_5_what_changed_since_the_approval_is_stale() {
    type Change = fn(&mut countersign::desk::Ask);
    let changes: [Change; 3] = [
        |ask| ask.digest = crate::world::digest("bot-a", 9),
        |ask| ask.names = "names-2".to_owned(),
        |ask| ask.rules = [2; 32],
    ];
    for change in changes {
        let mut world = World::new();
        let (mut ask, parked) = world.park("bot-a", 1);
        world.approve(parked.request, "dora").expect("an approval");
        change(&mut ask);
        let refused = world.start_run(parked.request, &ask).expect_err("no permit");
        assert!(matches!(refused, NotStarted::Stale { .. }), "{refused}");
        assert_eq!(world.state(parked.request), StateKind::Stale);
    }
}

#[test]
fn promise_6_a_detached_request_waits_for_the_same_bytes_of_the_same_principal() {
    let mut world = World::new();
    let (ask, parked) = world.park("bot-a", 1);
    let now = world.now;
    assert_eq!(
        world.core().detach(parked.request, Detach::ClientLeft, now),
        Ok(State::Detached)
    );
    let mut of_another = world.sending("bot-b", 1);
    of_another.digest = ask.digest;
    assert_ne!(world.expect_parked(&of_another).request, parked.request);
    world.pass(MINUTE);
    let again = world.sending("bot-a", 1);
    let reattached = world.expect_parked(&again);
    assert!(reattached.reattached);
    assert_eq!(
        (reattached.request, reattached.wait),
        (parked.request, 15 * MINUTE)
    );
    assert_eq!(world.show(parked.request).attempt, again.attempt);
}

#[test]
fn promise_6_the_same_bytes_beside_a_waiting_client_are_a_request_of_their_own() {
    let mut world = World::new();
    let (_, first) = world.park("bot-a", 1);
    let (_, second) = world.park("bot-a", 1);
    assert_ne!(first.request, second.request);
    assert!(!second.reattached);
}

#[test]
fn promise_6_an_approval_without_a_client_runs_the_same_bytes_once() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    let now = world.now;
    world
        .core()
        .detach(parked.request, Detach::WaitOver, now)
        .expect("detached");
    let held = world.approve(parked.request, "dora").expect("an approval");
    assert_eq!(
        held.state,
        State::Grant {
            until: now.wall.after(30 * MINUTE)
        }
    );
    let mut of_another = world.sending("bot-b", 1);
    of_another.digest = held.digest;
    assert_ne!(world.expect_parked(&of_another).request, parked.request);
    let again = world.sending("bot-a", 1);
    let Ok(Asked::Granted(permit, request)) = world.ask(&again) else {
        panic!("the grant is not redeemed")
    };
    assert_eq!((permit.attempt(), request), (again.attempt, parked.request));
    let third = world.sending("bot-a", 1);
    assert_ne!(world.expect_parked(&third).request, parked.request);
    let failed = RunOutcome::Failed {
        sqlstate: "42P01".to_owned(),
        message: "no such table".to_owned(),
    };
    assert_eq!(
        world
            .core()
            .finish(parked.request, failed, now)
            .map(|state| state.kind()),
        Ok(StateKind::Redeemed)
    );
}

#[test]
fn a_grant_lapses_when_names_rules_or_time_have_changed() {
    type Change = fn(&mut World, &mut countersign::desk::Ask);
    let changes: [Change; 3] = [
        |_, ask| ask.names = "names-2".to_owned(),
        |_, ask| ask.rules = [2; 32],
        |world, _| world.pass(30 * MINUTE),
    ];
    for change in changes {
        let mut world = World::new();
        let (_, parked) = world.park("bot-a", 1);
        let now = world.now;
        world
            .core()
            .detach(parked.request, Detach::ClientLeft, now)
            .expect("detached");
        world.approve(parked.request, "dora").expect("an approval");
        let mut again = world.sending("bot-a", 1);
        change(&mut world, &mut again);
        assert_ne!(world.expect_parked(&again).request, parked.request);
        assert_eq!(world.state(parked.request), StateKind::Lapsed);
    }
}

/// An administrator who makes somebody's token, or sets their password, may be the one who approves by it: an auditor sees
/// that in the record itself.
#[test]
fn promise_4_the_record_of_an_approval_says_who_else_may_have_given_it() {
    let mut world = World::new();
    let (_, seen) = world.park("bot-a", 1);
    let (_, unseen) = world.park("bot-a", 2);
    let now = world.now;
    let by_seen = approval_seen_by("dora", "root");
    world
        .core()
        .decide(seen.request, &by_seen, now)
        .expect("an approval");
    world.approve(unseen.request, "dora").expect("an approval");
    world.tick();
    let filter = LogFilter {
        kind: Some(Kind::Decision),
        order: Order::OldestFirst,
        ..LogFilter::default()
    };
    let reader = Reader::open(&world.dir.path().join("journal"));
    let records = reader.query(&filter).expect("the log").records;
    let details: Vec<_> = records.into_iter().map(|record| record.fields.detail).collect();
    let said = "once; signed in by what has been seen or lately set by root".to_owned();
    assert_eq!(details, [Some(said), None]);
}

/// Between the approval and the run: whoever could not approve it any more has not approved it.
#[test]
fn promise_4_an_approval_runs_only_while_its_approver_could_still_give_it() {
    type Beside = fn(&mut Store, Timestamp);
    let changes: [(&str, Beside); 5] = [
        ("is deactivated", |store, now| {
            store
                .person_set_active(&person("dora"), false, &person("root"), now)
                .expect("deactivated");
        }),
        ("has seen the agent's new secret", |store, now| {
            store
                .agent_rotate(&principal("bot-a"), NativePassword::Refused, &person("dora"), now)
                .expect("rotated");
        }),
        ("is no approver any more", |store, now| {
            let roles = [Role::Auditor];
            store
                .person_change(&person("dora"), Some(&roles), None, &person("root"), now)
                .expect("changed");
        }),
        ("has left the group that was asked", |store, now| {
            store
                .person_change(&person("dora"), None, Some(&[]), &person("root"), now)
                .expect("changed");
        }),
        ("nothing happens", |_, _| {}),
    ];
    for (what, change) in changes {
        for client_left in [false, true] {
            let mut world = World::new();
            let mut ask = world.sending("bot-a", 1);
            requires(&mut ask, "1 of dba");
            let parked = world.expect_parked(&ask);
            let id = parked.request;
            world.approve(id, "dora").expect("an approval");
            let now = world.now;
            if client_left {
                world
                    .core()
                    .detach(id, Detach::ClientLeft, now)
                    .expect("detached");
            }
            change(world.core().store(), now.wall);
            let runs = if client_left {
                matches!(world.ask(&ask), Ok(Asked::Granted(..)))
            } else {
                world.start_run(id, &ask).is_ok()
            };
            assert_eq!(
                runs,
                what == "nothing happens",
                "{what}, client left: {client_left}"
            );
            let expected = match (runs, client_left) {
                (true, false) => StateKind::Running,
                (true, true) => StateKind::Redeemed,
                (false, false) => StateKind::Stale,
                (false, true) => StateKind::Lapsed,
            };
            assert_eq!(world.state(id), expected, "{what}, client left: {client_left}");
        }
    }
}

#[test]
fn an_approval_whose_client_leaves_before_the_start_becomes_a_grant() {
    let mut world = World::new();
    let (ask, parked) = world.park("bot-a", 1);
    world.approve(parked.request, "dora").expect("an approval");
    let now = world.now;
    let state = world
        .core()
        .detach(parked.request, Detach::ClientLeft, now)
        .expect("detached");
    assert_eq!(state.kind(), StateKind::Grant);
    let refused = world
        .start_run(parked.request, &ask)
        .expect_err("its client has left");
    assert_eq!(refused, NotStarted::NotApproved(StateKind::Grant));
}

#[test]
fn a_request_of_a_transaction_that_has_written_never_becomes_a_grant() {
    let mut world = World::new();
    let mut ask = world.sending("bot-a", 1);
    ask.transaction = Transaction::Open {
        wrote: true,
        opened_at: world.now.wall,
    };
    let left_first = world.expect_parked(&ask);
    let now = world.now;
    world
        .core()
        .detach(left_first.request, Detach::WaitOver, now)
        .expect("detached");
    assert_eq!(
        world.approve(left_first.request, "dora"),
        Err(DecideError::NobodyWaits)
    );
    assert_eq!(world.state(left_first.request), StateKind::Detached);
    ask.digest = crate::world::digest("bot-a", 2);
    let approved_first = world.expect_parked(&ask);
    world
        .approve(approved_first.request, "dora")
        .expect("an approval");
    let state = world
        .core()
        .detach(approved_first.request, Detach::ClientLeft, now)
        .expect("detached");
    assert_eq!(state.kind(), StateKind::Withdrawn);
}

#[test]
fn a_session_that_vanishes_without_a_word_has_left() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    let request = parked.request;
    drop(parked);
    world.tick();
    assert_eq!(world.state(request), StateKind::Detached);
    let (_, parked) = world.park("bot-a", 2);
    let request = parked.request;
    world.approve(request, "dora").expect("an approval");
    world.pass(15 * MINUTE);
    world.tick();
    assert_eq!(world.state(request), StateKind::Grant);
}

#[test]
fn a_cancelled_statement_is_withdrawn_even_when_it_was_approved() {
    let mut world = World::new();
    let (ask, parked) = world.park("bot-a", 1);
    world.approve(parked.request, "dora").expect("an approval");
    let now = world.now;
    let state = world
        .core()
        .withdraw(parked.request, "cancelled by its client", now)
        .expect("withdrawn");
    assert_eq!(
        state,
        State::Withdrawn {
            why: "cancelled by its client".to_owned()
        }
    );
    assert!(world.start_run(parked.request, &ask).is_err());
}

#[test]
fn the_earlier_of_two_clocks_ends_a_request() {
    for (wall, boot) in [(30 * MINUTE, Duration::ZERO), (Duration::ZERO, 30 * MINUTE)] {
        let mut world = World::new();
        let (_, mut parked) = world.park("bot-a", 1);
        world.now.wall = world.now.wall.after(wall);
        world.now.boot += boot;
        let refused = world.approve(parked.request, "dora").expect_err("too late");
        assert_eq!(
            refused,
            DecideError::AlreadyDecided {
                by: None,
                state: StateKind::Expired
            }
        );
        world.tick();
        assert_eq!(parked.woken.try_recv(), Ok(Wake::Expired));
    }
}

#[test]
fn a_request_that_expires_before_its_wait_is_over_tells_so_while_its_session_waits() {
    let mut world = World::new();
    let mut ask = world.sending("bot-a", 1);
    ask.expires = Duration::from_secs(2);
    let mut parked = world.expect_parked(&ask);
    assert!(
        parked.wait > ask.expires && parked.wait < MINUTE,
        "{:?}",
        parked.wait
    );
    world.pass(ask.expires);
    world.tick();
    assert_eq!(parked.woken.try_recv(), Ok(Wake::Expired));
}

#[test]
fn promise_10_a_principal_has_so_many_undecided_requests_and_no_more() {
    let settings = Settings {
        held_per_principal_max: 3,
        ..Settings::default()
    };
    let mut world = World::with(settings, Limits::default());
    let parked: Vec<_> = (0..3).map(|what| world.park("bot-a", what).1).collect();
    let fourth = world.sending("bot-a", 4);
    assert_eq!(
        world.ask(&fourth).expect_err("too many"),
        AskError::TooMany { limit: 3 }
    );
    let (_, _of_another) = world.park("bot-b", 4);
    world
        .decide(parked[0].request, "dora", Decision::Deny)
        .expect("a denial");
    let (_, _one_more) = world.park("bot-a", 4);
}

#[test]
fn a_revoked_credential_ends_what_it_has_waiting() {
    let mut world = World::new();
    let (_, mut waiting) = world.park("bot-a", 1);
    let (approved_ask, approved) = world.park("bot-a", 2);
    world.approve(approved.request, "dora").expect("an approval");
    let (_, granted) = world.park("bot-a", 3);
    let now = world.now;
    world
        .core()
        .detach(granted.request, Detach::ClientLeft, now)
        .expect("detached");
    world.approve(granted.request, "dora").expect("an approval");
    // Another process does it, as the command line would.
    let mut beside = Store::open(&store_path(world.dir.path())).expect("a store");
    beside
        .agent_revoke(&principal("bot-a"), &person("root"), now.wall)
        .expect("revoked");
    let refused = world
        .start_run(approved.request, &approved_ask)
        .expect_err("no permit");
    assert_eq!(refused, NotStarted::CredentialEnded);
    world.tick();
    assert_eq!(world.state(waiting.request), StateKind::Withdrawn);
    assert_eq!(world.state(granted.request), StateKind::Lapsed);
    assert!(matches!(waiting.woken.try_recv(), Ok(Wake::Withdrawn { .. })));
    assert_eq!(
        world.ended.try_recv().map(|ended| ended.principal),
        Ok(principal("bot-a"))
    );
    let again = world.sending("bot-a", 3);
    assert_eq!(world.ask(&again).expect_err("refused"), AskError::CredentialEnded);
}

#[test]
fn every_move_is_announced_once() {
    let mut world = World::new();
    let (ask, parked) = world.park("bot-a", 1);
    world.approve(parked.request, "dora").expect("an approval");
    let _permit = world.start_run(parked.request, &ask).expect("a permit");
    let mut told = Vec::new();
    while let Ok(event) = world.events.try_recv() {
        told.push((event.state, event.version));
    }
    assert_eq!(
        told,
        [
            (StateKind::Pending, 1),
            (StateKind::Approved, 2),
            (StateKind::Running, 3)
        ]
    );
}
