//! What people do with a request besides deciding it, on a desk whose clock the test moves.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::desk::{
    ActError, ActKind, Asked, DecideError, Decision, NotSure, REMARKS_MAX, Transaction, Wake,
};
use countersign::hold::{HeldRequest, RemarkKind, RequestId, Speaker, StateKind};
use countersign::identity::assurance::{Assurance, Method};
use countersign::identity::directory::WhyNot;
use countersign::identity::secret::NativePassword;
use countersign::policy::Risk;

use crate::world::{MINUTE, World, act, person, principal, requires};

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

fn escalate() -> ActKind {
    ActKind::Escalate {
        reason: "it is beyond us".to_owned(),
    }
}

fn delegate(to: &str) -> ActKind {
    ActKind::Delegate {
        to: person(to),
        reason: "on leave".to_owned(),
    }
}

/// A statement that one of `dba` decides, and one of `security` once it is escalated.
fn of_two_groups(world: &mut World, what: u8) -> (countersign::desk::Ask, countersign::desk::Parked) {
    let mut ask = world.sending("bot-a", what);
    requires(&mut ask, "1 of dba");
    ask.verdict.escalate_to = vec!["security".to_owned()];
    let parked = world.expect_parked(&ask);
    (ask, parked)
}

fn why_not(refused: Result<HeldRequest, DecideError>) -> WhyNot {
    match refused.expect_err("a refusal") {
        DecideError::NotPermitted(why) => why,
        other => panic!("refused for another reason: {other}"),
    }
}

#[test]
fn once_escalated_the_next_group_approves_and_the_first_can_only_deny() {
    let mut world = World::new();
    let (_, parked) = of_two_groups(&mut world, 1);
    let id = parked.request;
    let before = world.show(id);
    world.pass(5 * MINUTE);
    let held = world.act(id, "dora", escalate()).expect("escalated");
    assert!(held.version > before.version, "another thing to decide");
    assert_eq!(
        held.expires_at,
        world.now.wall.after(30 * MINUTE),
        "as much time again"
    );
    let told = held.discussion.last().expect("a remark");
    assert_eq!(
        (told.kind, told.to.as_deref()),
        (RemarkKind::Escalated, Some("security"))
    );
    assert_eq!(
        why_not(world.approve(id, "dora")),
        WhyNot::NotInAGroup(person("dora"), vec!["security".to_owned()])
    );
    let again = world.act(id, "dora", escalate()).expect_err("once is enough");
    assert_eq!(again, ActError::EscalatedAlready);
    world.restart();
    assert_eq!(world.show(id).requirement_now().to_string(), "1 of security");
    world.approve(id, "dave").expect("the next group");
    let (_, parked) = of_two_groups(&mut world, 2);
    world.act(parked.request, "dora", escalate()).expect("escalated");
    world
        .decide(parked.request, "dora", Decision::Deny)
        .expect("the first group keeps its no");
    let (_, parked) = world.park("bot-b", 2);
    let nobody = world
        .act(parked.request, "dora", escalate())
        .expect_err("no next group");
    assert_eq!(nobody, ActError::NobodyNext);
}

#[test]
fn time_reminds_at_half_escalates_at_three_quarters_and_never_approves() {
    let mut world = World::new();
    let (_, mut parked) = of_two_groups(&mut world, 3);
    let id = parked.request;
    let kinds_after = |world: &mut World, time: Duration| {
        world.pass(time);
        world.tick();
        let discussion = world.show(id).discussion;
        discussion.iter().map(|remark| remark.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds_after(&mut world, 14 * MINUTE), []);
    assert_eq!(kinds_after(&mut world, MINUTE), [RemarkKind::Reminded]);
    assert_eq!(kinds_after(&mut world, 7 * MINUTE), [RemarkKind::Reminded]);
    let escalated = [RemarkKind::Reminded, RemarkKind::Escalated];
    assert_eq!(kinds_after(&mut world, MINUTE), escalated);
    let held = world.show(id);
    assert_eq!(held.discussion[1].by, Speaker::Clock);
    assert_eq!(held.expires_at, world.now.wall.after(30 * MINUTE));
    let reminded = [RemarkKind::Reminded, RemarkKind::Escalated, RemarkKind::Reminded];
    assert_eq!(
        kinds_after(&mut world, 16 * MINUTE),
        reminded,
        "the next group, too"
    );
    assert_eq!(kinds_after(&mut world, 14 * MINUTE), reminded);
    assert_eq!(world.state(id), StateKind::Expired);
    assert_eq!(parked.woken.try_recv(), Ok(Wake::Expired));
}

#[test]
fn a_rule_without_a_next_group_is_only_reminded_of() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    world.pass(29 * MINUTE);
    world.tick();
    assert_eq!(
        said(&mut world, parked.request),
        [(RemarkKind::Reminded, String::new())]
    );
    world.pass(MINUTE);
    world.tick();
    assert_eq!(world.state(parked.request), StateKind::Expired);
}

#[test]
fn a_delegate_approves_in_place_of_who_delegated() {
    let mut world = World::new();
    let mut ask = world.sending("bot-a", 1);
    requires(&mut ask, "dba:1 + security:1");
    let parked = world.expect_parked(&ask);
    let id = parked.request;
    assert!(matches!(
        why_not(world.approve(id, "eve")),
        WhyNot::NotInAGroup(..)
    ));
    let held = world.act(id, "dora", delegate("eve")).expect("delegated");
    assert_eq!(
        held.discussion.last().expect("a remark").to.as_deref(),
        Some("eve")
    );
    assert_eq!(
        why_not(world.approve(id, "dora")),
        WhyNot::HasDelegated(person("dora"), person("eve"))
    );
    world.restart();
    let held = world.approve(id, "eve").expect("in dora's place");
    assert_eq!(held.needs()[0].by, [person("eve")]);
    let held = world.approve(id, "dave").expect("his own");
    assert_eq!(
        held.state.kind(),
        StateKind::Grant,
        "its client left with the restart"
    );
}

#[test]
fn promise_4_nobody_is_made_a_delegate_who_could_not_decide() {
    let mut world = World::new();
    let (_, parked) = of_two_groups(&mut world, 4);
    let id = parked.request;
    for (to, why) in [
        ("olga", WhyNot::OwnsTheAgent(person("olga"))),
        ("carl", WhyNot::HasSeenTheSecret(person("carl"))),
        ("anna", WhyNot::IsActedFor(person("anna"))),
        ("alan", WhyNot::NotAnApprover(person("alan"))),
        ("nobody", WhyNot::Inactive(person("nobody"))),
        ("dora", WhyNot::HasDelegated(person("dora"), person("dora"))),
    ] {
        let refused = world.act(id, "dora", delegate(to)).expect_err(to);
        let to = person(to);
        assert_eq!(refused, ActError::CannotBeDelegate { to, why });
    }
    for by in ["olga", "eve"] {
        let refused = world.act(id, by, delegate("root"));
        assert!(
            matches!(refused, Err(ActError::NotPermitted(_))),
            "{by}: {refused:?}"
        );
    }
    world
        .act(id, "dora", delegate("root"))
        .expect("an administrator may decide");
    let refused = world.act(id, "dora", delegate("eve")).expect_err("once");
    assert!(matches!(
        refused,
        ActError::NotPermitted(WhyNot::HasDelegated(..))
    ));
    let refused = world.act(id, "root", delegate("eve")).expect_err("not handed on");
    assert!(matches!(refused, ActError::NotPermitted(WhyNot::NotInAGroup(..))));
    // Who has lost the right since has none to hand on.
    let now = world.now.wall;
    let store = world.core().store();
    store
        .agent_rotate(&principal("bot-a"), NativePassword::Refused, &person("dora"), now)
        .expect("a new secret");
    assert!(matches!(
        why_not(world.approve(id, "root")),
        WhyNot::NotInAGroup(..)
    ));
    assert_eq!(world.state(id), StateKind::Pending);
}

/// Whoever is named approves in one's place: that takes as much as approving.
#[test]
fn delegating_what_is_risky_needs_a_second_factor_as_approving_does() {
    let mut world = World::new();
    let mut ask = world.sending("bot-a", 7);
    requires(&mut ask, "1 of dba");
    ask.verdict.risk = Risk::High;
    let parked = world.expect_parked(&ask);
    let id = parked.request;
    let now = world.now.wall;
    let store = world.core().store();
    let secret = store
        .totp_begin(&person("dora"), &BTreeSet::new(), now)
        .expect("begun");
    let app = totp_rs::Totp::from_url(secret.url(&person("dora"))).expect("an app reads it");
    let seconds = u64::try_from(now.micros() / 1_000_000).expect("after 1970");
    let code = app.generate(seconds).to_string();
    let confirmed = store.totp_confirm(&person("dora"), &code, now).expect("kept");
    assert!(confirmed.is_some(), "the code is right");

    let now = world.now;
    let mut asked = act("dora", delegate("eve"));
    let refused = world.core().act(id, &asked, now).expect_err("a token alone");
    let needed = NotSure::StepUpNeeded { risk: Risk::High };
    assert_eq!(refused, ActError::NotSure(needed));
    asked.assurance = Assurance {
        method: Method::Totp,
        strong_at: Some(now.wall),
    };
    world.pass(6 * MINUTE);
    let now = world.now;
    world.core().act(id, &asked, now).expect_err("given too long ago");
    assert!(world.show(id).delegations.is_empty());
    asked.assurance.strong_at = Some(now.wall);
    world.core().act(id, &asked, now).expect("given just now");
    assert_eq!(world.show(id).delegations.len(), 1);
    // Whoever has no second factor needs none where the settings only offer it.
    let (_, parked) = of_two_groups(&mut world, 8);
    world
        .act(parked.request, "dave", delegate("eve"))
        .expect("delegated");
}

/// However often an agent answers a question, there is room for what people say.
#[test]
fn the_replies_of_an_agent_crowd_nobody_out() {
    let mut world = World::new();
    let mut ask = world.sending("bot-a", 9);
    let parked = world.expect_parked(&ask);
    let id = parked.request;
    let mut answered = 0;
    for round in 0..40 {
        world
            .act(id, "dora", question("why?"))
            .expect("there is room to ask");
        ask.reply = Some(format!("because, for the {round}th time"));
        world.ask(&ask).expect("an answer");
        answered = said(&mut world, id)
            .iter()
            .filter(|(kind, _)| *kind == RemarkKind::Reply)
            .count();
    }
    assert_eq!(answered, 20, "so many are kept, and the others are not");
    for _ in 60..REMARKS_MAX {
        world
            .act(id, "dora", comment("mine"))
            .expect("there is room for people");
    }
}
