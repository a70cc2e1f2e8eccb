//! What people do with a request besides deciding it, on a desk whose clock the test moves.

use std::time::Duration;

use countersign::desk::{ActError, ActKind, Asked, Decision, REMARKS_MAX, Transaction, Wake};
use countersign::hold::{RemarkKind, RequestId, Speaker, StateKind};
use countersign::identity::directory::WhyNot;

use crate::world::{MINUTE, World, act, person, principal};

fn comment(text: &str) -> ActKind {
    ActKind::Comment {
        text: text.to_owned(),
    }
}

fn question(text: &str) -> ActKind {
    ActKind::Ask {
        question: text.to_owned(),
    }
}

fn said(world: &mut World, id: RequestId) -> Vec<(RemarkKind, String)> {
    let discussion = world.show(id).discussion;
    discussion
        .into_iter()
        .map(|remark| (remark.kind, remark.text))
        .collect()
}

#[test]
fn a_look_is_noted_once_for_each_person_and_version_within_a_quarter_of_an_hour() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    let id = parked.request;
    let views = |world: &mut World| {
        let held = world.act(id, "alan", ActKind::View).expect("a look");
        (held.version, held.discussion.last().map(|remark| remark.at))
    };
    let first = views(&mut world);
    world.pass(14 * MINUTE);
    assert_eq!(views(&mut world), first, "nothing new");
    world.pass(MINUTE);
    let second = views(&mut world);
    assert_eq!(
        (second.0, second.1 > first.1),
        (first.0, true),
        "its time is over"
    );
    world.act(id, "dora", question("why?")).expect("a question");
    let third = views(&mut world);
    assert!(third.0 > second.0, "another version is another thing to look at");
    let discussion = said(&mut world, id);
    let seen = discussion.iter().filter(|(kind, _)| *kind == RemarkKind::Viewed);
    assert_eq!(
        seen.count(),
        1,
        "a card tells each person's last look: {discussion:?}"
    );
}

#[test]
fn a_question_ends_the_wait_and_the_reply_comes_with_the_same_bytes() {
    let mut world = World::new();
    let (mut ask, mut parked) = world.park("bot-a", 1);
    let id = parked.request;
    world
        .act(id, "dora", question("which ticket?"))
        .expect("a question");
    let asked = Wake::Asked {
        by: "dora".to_owned(),
        question: "which ticket?".to_owned(),
    };
    assert_eq!(parked.woken.try_recv(), Ok(asked.clone()));
    assert_eq!(world.state(id), StateKind::Detached);
    // Sent again without an answer, it is asked again.
    let mut again = world.expect_parked(&ask);
    assert_eq!((again.request, again.woken.try_recv()), (id, Ok(asked)));
    assert_eq!(world.state(id), StateKind::Detached);
    ask.reply = Some(" OPS-7,\n the cleanup ".to_owned());
    let mut answered = world.expect_parked(&ask);
    assert_eq!((answered.request, answered.reattached), (id, true));
    answered.woken.try_recv().expect_err("it waits");
    let held = world.show(id);
    let reply = held.discussion.last().expect("a reply");
    assert_eq!(reply.by, Speaker::Agent(principal("bot-a")));
    assert_eq!(
        (reply.kind, reply.text.as_str()),
        (RemarkKind::Reply, "OPS-7,  the cleanup")
    );
    world.approve(id, "dora").expect("an approval");
    assert!(matches!(answered.woken.try_recv(), Ok(Wake::Approved { .. })));
    let _permit = world.start_run(id, &ask).expect("a permit");
}

#[test]
fn a_question_to_a_client_that_has_left_waits_for_it() {
    let mut world = World::new();
    let (mut ask, parked) = world.park("bot-a", 1);
    let id = parked.request;
    drop(parked);
    world.tick();
    let version = world.show(id).version;
    world
        .act(id, "dora", question("which ticket?"))
        .expect("a question");
    assert_eq!(world.show(id).version, version, "a decision is bound to the same");
    ask.reply = Some("OPS-7".to_owned());
    let mut parked = world.expect_parked(&ask);
    parked.woken.try_recv().expect_err("it waits");
    assert_eq!(world.state(id), StateKind::Pending);
}

#[test]
fn an_unanswered_question_keeps_nobody_from_deciding() {
    let mut world = World::new();
    let (ask, parked) = world.park("bot-a", 1);
    let id = parked.request;
    world
        .act(id, "dora", question("which ticket?"))
        .expect("a question");
    world.approve(id, "dave").expect("an approval");
    assert_eq!(world.state(id), StateKind::Grant);
    let granted = world.ask(&ask).expect("an answer");
    assert!(matches!(granted, Asked::Granted(_, request) if request == id));
}

#[test]
fn a_question_in_a_transaction_that_has_written_makes_no_grant() {
    let mut world = World::new();
    let mut ask = world.sending("bot-a", 1);
    ask.transaction = Transaction::Implicit { wrote: true };
    let parked = world.expect_parked(&ask);
    world
        .act(parked.request, "dora", question("why?"))
        .expect("a question");
    world.approve(parked.request, "dora").expect_err("nobody waits");
}

#[test]
fn promise_4_nobody_with_a_stake_asks_and_auditors_only_look() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    let id = parked.request;
    for who in ["olga", "carl", "anna", "alan", "root", "nobody"] {
        let refused = world.act(id, who, question("why?"));
        assert!(
            matches!(refused, Err(ActError::NotPermitted(_))),
            "{who}: {refused:?}"
        );
    }
    let mut by_another = act("dora", question("why?"));
    by_another.token_seen_by = [person("carl")].into();
    let now = world.now;
    let refused = world
        .core()
        .act(id, &by_another, now)
        .expect_err("seen by one with a stake");
    assert!(matches!(
        refused,
        ActError::NotPermitted(WhyNot::TokenSeenBy { .. })
    ));
    let refused = world.act(id, "alan", comment("hm")).expect_err("an auditor");
    assert_eq!(
        refused,
        ActError::NotPermitted(WhyNot::NotAnApprover(person("alan")))
    );
    world
        .act(id, "olga", comment("it is mine"))
        .expect("a comment decides nothing");
    assert_eq!(world.state(id), StateKind::Pending);
}

#[test]
fn the_same_key_says_a_thing_once_and_so_much_is_enough() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    let id = parked.request;
    let mut keyed = act("dora", comment("once"));
    keyed.idempotency = Some("key".to_owned());
    let now = world.now;
    for _ in 0..3 {
        world.core().act(id, &keyed, now).expect("kept or known");
    }
    assert_eq!(said(&mut world, id).len(), 1);
    for _ in 1..REMARKS_MAX {
        world.act(id, "dora", comment("again")).expect("there is room");
    }
    let refused = world.act(id, "dora", comment("more")).expect_err("too much");
    assert_eq!(refused, ActError::TooMany { limit: REMARKS_MAX });
    world
        .act(id, "dora", ActKind::View)
        .expect("looking is no remark");
    world.decide(id, "dora", Decision::Deny).expect("nor is deciding");
}

#[test]
fn what_was_said_is_there_after_a_restart_and_after_the_end() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    let id = parked.request;
    world.act(id, "dora", comment("looks odd")).expect("a comment");
    world.act(id, "dora", question("why?")).expect("a question");
    let before = said(&mut world, id);
    world.restart();
    assert_eq!(said(&mut world, id), before);
    world.pass(31 * MINUTE + Duration::from_millis(1));
    world.tick();
    assert_eq!(world.state(id), StateKind::Expired);
    world.act(id, "dora", question("why?")).expect_err("it is over");
    world
        .act(id, "eve", comment("nobody answered"))
        .expect("a comment all the same");
    assert_eq!(said(&mut world, id).len(), before.len() + 1);
}
