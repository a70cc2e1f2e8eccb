//! One person approves alone, and somebody else reviews it: who may, how surely, how often, and what it never lets through.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use countersign::audit::{Kind, Record};
use countersign::clock::Timestamp;
use countersign::desk::{
    ActKind, Asked, BREAK_GLASS_PER_DAY, BreakGlass, Decide, DecideError, Decision, DecisionScope,
    KeptPasskey, NotStarted, NotSure, ReviewError, ReviewFilter, Settings, SignReview, Told, Transaction,
    Wake,
};
use countersign::hold::{Authority, Finding, HeldRequest, RemarkKind, RequestId, Review, StateKind};
use countersign::identity::assurance::{Assurance, Method};
use countersign::identity::directory::{NewPerson, Role, WhyNot};
use countersign::identity::secret::NativePassword;
use countersign::journal::{LogFilter, Order};
use countersign::store::sqlite::{Limits, Store};

use crate::standing::{TERMS, sending};
use crate::world::{MINUTE, World, act, open_journal, person, principal, requires, word};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Gives somebody the role, and a passkey enrolled now.
pub fn equip(store: &mut Store, who: &str, roles: &[Role], now: Timestamp) {
    let groups: [String; 0] = [];
    let new = NewPerson {
        name: person(who),
        roles: roles.to_vec(),
        groups: Vec::new(),
    };
    if store.person_add(&new, &person("root"), now).is_err() {
        store
            .person_change(&person(who), Some(roles), Some(&groups), &person("root"), now)
            .expect("changed");
    }
    let passkey = KeptPasskey {
        id: who.as_bytes().to_vec(),
        person: person(who),
        credential: "{}".to_owned(),
    };
    assert!(
        store
            .passkey_add(&passkey, "a key", &BTreeSet::new(), now)
            .expect("kept")
    );
}

/// A world in which `gina` can break glass: the role alone, and a passkey a day old.
fn world() -> World {
    world_with(Settings::default())
}

fn world_with(settings: Settings) -> World {
    let mut world = World::with(settings, Limits::default());
    let now = world.now.wall;
    equip(world.core().store(), "gina", &[Role::BreakGlass], now);
    world.pass(DAY);
    world.tick();
    world
}

/// By `who`, who has given a second factor just now.
pub fn breaking(who: &str, now: Timestamp) -> BreakGlass {
    BreakGlass {
        by: person(who),
        token_seen_by: BTreeSet::new(),
        assurance: Assurance {
            method: Method::Passkey,
            strong_at: Some(now),
        },
        signed_in_at: None,
        reason: "the shop is down and nobody answers".to_owned(),
        digest: None,
        version: None,
        guards: Default::default(),
        channel: "test".to_owned(),
        idempotency: None,
    }
}

fn break_glass(world: &mut World, id: RequestId, who: &str) -> Result<HeldRequest, DecideError> {
    let now = world.now;
    world.core().break_glass(id, &breaking(who, now.wall), now)
}

pub fn signing(who: &str, finding: Finding) -> SignReview {
    SignReview {
        by: person(who),
        token_seen_by: BTreeSet::new(),
        finding,
        text: "looked at the incident".to_owned(),
        channel: "test".to_owned(),
        idempotency: None,
    }
}

fn sign(world: &mut World, id: RequestId, who: &str) -> Result<Review, ReviewError> {
    let now = world.now;
    world.core().sign_review(id, &signing(who, Finding::Fine), now)
}

fn open_reviews(world: &mut World) -> Vec<RequestId> {
    let filter = ReviewFilter {
        is_open: Some(true),
        ..ReviewFilter::default()
    };
    let page = world.core().reviews(&filter).expect("a list");
    page.items.iter().map(|review| review.request).collect()
}

/// What the log has of a request: kind and event or decision, oldest first. The desk is closed for it.
pub fn told(dir: &Path, id: RequestId) -> Vec<Record> {
    let filter = LogFilter {
        request: Some(id.to_string()),
        order: Order::OldestFirst,
        ..LogFilter::default()
    };
    let journal = open_journal(dir);
    journal.reader().query(&filter).expect("the log").records
}

#[test]
fn one_person_alone_approves_what_two_groups_were_needed_for_and_what_was_escalated() {
    let mut world = world();
    let mut ask = world.sending("bot-a", 1);
    requires(&mut ask, "dba:1 + security:1");
    ask.verdict.escalate_to = vec!["approver".to_owned()];
    let mut parked = world.expect_parked(&ask);
    let id = parked.request;
    let escalate = ActKind::Escalate {
        reason: "nobody answers".to_owned(),
    };
    world.act(id, "dora", escalate).expect("escalated");
    let held = break_glass(&mut world, id, "gina").expect("alone");
    assert_eq!(held.state.kind(), StateKind::Approved);
    let said = held.decisions.last().expect("a decision");
    assert_eq!(
        (said.by.clone(), said.authority),
        (person("gina"), Authority::BreakGlass)
    );
    assert!(matches!(parked.woken.try_recv(), Ok(Wake::Approved { by, .. }) if by == ["gina"]));
    let _permit = world.start_run(id, &ask).expect("a permit");
    world.start_run(id, &ask).expect_err("one run");
    assert_eq!(open_reviews(&mut world), [id]);
    let announced: Vec<_> = std::iter::from_fn(|| world.events.try_recv().ok())
        .filter(|event| event.what == Told::Said(RemarkKind::BreakGlass))
        .collect();
    assert_eq!(announced.len(), 1, "whoever listens is told");

    // What the log has is taken out of the store, so that nothing is told twice.
    world.tick();
    world.restart();
    let said = world.show(id).decisions;
    assert_eq!(
        said.last().map(|said| said.authority),
        Some(Authority::BreakGlass)
    );
    assert_eq!(open_reviews(&mut world), [id], "no restart closes it");
    world.core = None;
    let records = told(world.dir.path(), id);
    let broken: Vec<_> = records
        .iter()
        .filter(|record| record.fields.event.as_deref() == Some("break_glass"))
        .collect();
    assert_eq!(broken.len(), 1, "{records:?}");
    let fields = &broken[0].fields;
    assert_eq!(broken[0].kind, Kind::Decision);
    assert_eq!(
        (
            fields.decision.as_deref(),
            fields.approver.as_deref(),
            fields.reason.as_deref()
        ),
        (
            Some("approve"),
            Some("gina"),
            Some("the shop is down and nobody answers")
        )
    );
}

#[test]
fn whoever_has_given_the_first_of_two_approvals_can_still_break_glass() {
    let mut world = world();
    let now = world.now.wall;
    // The role was given today, the factor a day ago.
    equip(
        world.core().store(),
        "dora",
        &[Role::Approver, Role::BreakGlass],
        now,
    );
    world.pass(DAY);
    let mut ask = world.sending("bot-a", 1);
    crate::world::needs(&mut ask, 2);
    let parked = world.expect_parked(&ask);
    let id = parked.request;
    let at = world.now;
    let first = Decide {
        assurance: breaking("dora", at.wall).assurance,
        ..word("dora", Decision::Approve)
    };
    world.core().decide(id, &first, at).expect("the first of two");
    assert_eq!(world.state(id), StateKind::Pending);
    let again = world.core().decide(id, &first, at);
    assert!(matches!(
        again,
        Err(DecideError::NotPermitted(WhyNot::HasApproved(_)))
    ));
    let held = break_glass(&mut world, id, "dora").expect("alone");
    assert_eq!(held.state.kind(), StateKind::Approved);
    assert_eq!(
        held.approved_by(),
        [person("dora")],
        "one person, who spoke twice"
    );
    assert_eq!(held.decisions.len(), 2);
    world.core = None;
    let decisions: Vec<_> = told(world.dir.path(), id)
        .into_iter()
        .filter(|record| record.kind == Kind::Decision)
        .map(|record| record.fields.event)
        .collect();
    assert_eq!(decisions, [None, Some("break_glass".to_owned())]);
}

#[test]
fn promise_4_holds_for_whoever_breaks_glass_too() {
    let mut world = world();
    let now = world.now.wall;
    for who in ["olga", "carl", "anna", "bot-a"] {
        equip(world.core().store(), who, &[Role::Admin, Role::BreakGlass], now);
    }
    world.pass(DAY);
    let (_, parked) = world.park("bot-a", 1);
    let id = parked.request;
    for (who, why) in [
        ("olga", WhyNot::OwnsTheAgent(person("olga"))),
        ("carl", WhyNot::HasSeenTheSecret(person("carl"))),
        ("anna", WhyNot::IsActedFor(person("anna"))),
        ("bot-a", WhyNot::IsTheAgent(person("bot-a"))),
    ] {
        let refused = break_glass(&mut world, id, who).expect_err(who);
        assert_eq!(refused, DecideError::NotPermitted(why));
    }
    // By a token of somebody else that one of them has seen.
    let now = world.now;
    for who in ["olga", "carl", "anna"] {
        let said = BreakGlass {
            token_seen_by: [person("dave"), person(who)].into(),
            ..breaking("gina", now.wall)
        };
        let refused = world.core().break_glass(id, &said, now).expect_err(who);
        assert!(
            matches!(refused, DecideError::NotPermitted(WhyNot::TokenSeenBy { .. })),
            "{refused}"
        );
    }
    // Who has made a new secret since has a stake since.
    let store = world.core().store();
    store
        .agent_rotate(
            &principal("bot-a"),
            NativePassword::Refused,
            &person("gina"),
            now.wall,
        )
        .expect("rotated");
    let refused = break_glass(&mut world, id, "gina").expect_err("she could be the agent");
    assert_eq!(
        refused,
        DecideError::NotPermitted(WhyNot::HasSeenTheSecret(person("gina")))
    );
    assert_eq!(world.state(id), StateKind::Pending);
    assert_eq!(open_reviews(&mut world), []);
}

#[test]
fn no_other_role_and_no_delegate_breaks_glass() {
    let mut world = world();
    let now = world.now.wall;
    for (who, role) in [
        ("dora", Role::Approver),
        ("root", Role::Admin),
        ("alan", Role::Auditor),
    ] {
        equip(world.core().store(), who, &[role], now);
    }
    let dora = [Role::Approver, Role::BreakGlass];
    equip(world.core().store(), "dave", &dora, now);
    world.pass(DAY);
    let (_, parked) = world.park("bot-a", 1);
    let id = parked.request;
    let to_eve = ActKind::Delegate {
        to: person("dora"),
        reason: "on leave".to_owned(),
    };
    let mut delegation = act("dave", to_eve);
    delegation.assurance = breaking("dave", world.now.wall).assurance;
    let at = world.now;
    world.core().act(id, &delegation, at).expect("delegated");
    for who in ["dora", "root", "alan"] {
        let refused = break_glass(&mut world, id, who).expect_err(who);
        assert_eq!(
            refused,
            DecideError::NotPermitted(WhyNot::NotInTheRole(person(who)))
        );
    }
    // Nor does somebody who is not there any more.
    world
        .core()
        .store()
        .person_set_active(&person("gina"), false, &person("root"), now)
        .expect("inactive");
    let refused = break_glass(&mut world, id, "gina").expect_err("not active");
    assert_eq!(
        refused,
        DecideError::NotPermitted(WhyNot::Inactive(person("gina")))
    );
    // The role alone decides nothing in the usual way.
    equip(world.core().store(), "hans", &[Role::BreakGlass], now);
    let refused = world.approve(id, "hans").expect_err("no approver");
    assert_eq!(
        refused,
        DecideError::NotPermitted(WhyNot::NotAnApprover(person("hans")))
    );
}

#[test]
fn a_token_alone_or_a_factor_of_today_or_signing_in_alone_breaks_no_glass() {
    let mut world = world();
    let now = world.now.wall;
    let new = NewPerson {
        name: person("tom"),
        roles: vec![Role::BreakGlass],
        groups: Vec::new(),
    };
    world
        .core()
        .store()
        .person_add(&new, &person("root"), now)
        .expect("added");
    // Of low risk, where nothing is asked for otherwise.
    let mut ask = world.sending("bot-a", 1);
    ask.verdict.risk = countersign::policy::Risk::Low;
    let parked = world.expect_parked(&ask);
    let id = parked.request;
    let refused = |world: &mut World, said: &BreakGlass| {
        let now = world.now;
        match world.core().break_glass(id, said, now).expect_err("not sure") {
            DecideError::NotSure(why) => why,
            other => panic!("refused for another reason: {other}"),
        }
    };
    let by_tom = breaking("tom", now);
    assert_eq!(
        refused(&mut world, &by_tom),
        NotSure::NoSecondFactor { by: person("tom") }
    );
    // Whoever has stolen his token enrols a factor by it, and steps up by that.
    equip(world.core().store(), "tom", &[Role::BreakGlass], now);
    let too_new = NotSure::SecondFactorTooNew { by: person("tom") };
    assert_eq!(refused(&mut world, &by_tom), too_new);

    let weak = BreakGlass {
        assurance: Assurance::TOKEN,
        ..breaking("gina", now)
    };
    assert_eq!(refused(&mut world, &weak), NotSure::SecondLogInNeeded);
    let earlier = Timestamp::from_micros(now.micros() - 300_000_001);
    assert_eq!(
        refused(&mut world, &breaking("gina", earlier)),
        NotSure::SecondLogInNeeded
    );
    let ahead = Timestamp::from_micros(now.micros() + 1);
    assert_eq!(
        refused(&mut world, &breaking("gina", ahead)),
        NotSure::SecondLogInNeeded
    );
    // Signed in by a passkey this very moment: that is the first log-in, not the second.
    let signed_in = BreakGlass {
        signed_in_at: Some(now),
        ..breaking("gina", now)
    };
    assert_eq!(refused(&mut world, &signed_in), NotSure::SecondLogInNeeded);
    assert_eq!(world.state(id), StateKind::Pending);
    world.pass(MINUTE);
    let stepped_up = BreakGlass {
        signed_in_at: Some(now),
        ..breaking("gina", world.now.wall)
    };
    let at = world.now;
    world
        .core()
        .break_glass(id, &stepped_up, at)
        .expect("a second log-in");
    // A day later the factor is old enough.
    world.pass(DAY - MINUTE - Duration::from_micros(1));
    let (_, parked) = world.park("bot-b", 2);
    let at = world.now;
    let refused = world
        .core()
        .break_glass(parked.request, &breaking("tom", at.wall), at)
        .expect_err("a microsecond early");
    assert_eq!(refused, DecideError::NotSure(too_new));
    world.pass(Duration::from_micros(1));
    break_glass(&mut world, parked.request, "tom").expect("a day old");
}

#[test]
fn one_person_breaks_glass_so_often_a_day_and_midnight_doubles_nothing() {
    let mut world = world();
    for what in 1..=BREAK_GLASS_PER_DAY {
        let (_, parked) = world.park("bot-a", u8::try_from(what).expect("a few"));
        break_glass(&mut world, parked.request, "gina").expect("within the limit");
        world.pass(HOUR);
    }
    let (_, parked) = world.park("bot-a", 100);
    let too_often = DecideError::BreakGlassTooOften {
        by: person("gina"),
        limit: BREAK_GLASS_PER_DAY,
    };
    assert_eq!(
        break_glass(&mut world, parked.request, "gina").expect_err("too often"),
        too_often
    );
    world.restart();
    world.pass(DAY - 3 * HOUR - Duration::from_micros(1));
    let (_, parked) = world.park("bot-a", 101);
    assert_eq!(
        break_glass(&mut world, parked.request, "gina").expect_err("still"),
        too_often
    );
    world.pass(Duration::from_micros(1));
    break_glass(&mut world, parked.request, "gina").expect("the first is a day old");
    assert_eq!(open_reviews(&mut world).len(), 4);

    let mut world = world_with(Settings {
        break_glass_per_day: 0,
        ..Settings::default()
    });
    let (_, parked) = world.park("bot-a", 1);
    let off = break_glass(&mut world, parked.request, "gina").expect_err("off");
    assert_eq!(off, DecideError::BreakGlassOff);
}

#[test]
fn it_covers_one_run_whatever_was_asked_for_before() {
    let mut world = world();
    let mut ask = sending(&mut world, "bot-a", "DELETE FROM orders WHERE status = 'x'");
    requires(&mut ask, "2 of approver");
    let parked = world.expect_parked(&ask);
    let id = parked.request;
    let standing = Decide {
        scope: DecisionScope::Fingerprint(TERMS),
        ..word("dora", Decision::Approve)
    };
    let now = world.now;
    world.core().decide(id, &standing, now).expect("the first of two");
    let held = break_glass(&mut world, id, "gina").expect("alone");
    assert_eq!(held.standing_grant, None);
    let _permit = world.start_run(id, &ask).expect("a permit");
    let mut alike = sending(&mut world, "bot-a", "DELETE FROM orders WHERE status = 'y'");
    requires(&mut alike, "2 of approver");
    assert!(
        matches!(world.ask(&alike), Ok(Asked::Parked(_))),
        "held as before"
    );
}

#[test]
fn what_was_not_shown_or_is_decided_or_has_changed_since_does_not_run_by_it() {
    let mut world = world();
    let (ask, parked) = world.park("bot-a", 1);
    let id = parked.request;
    let held = world.show(id);
    let now = world.now;
    let wrong = [
        BreakGlass {
            digest: Some(crate::world::digest("bot-a", 9)),
            ..breaking("gina", now.wall)
        },
        BreakGlass {
            version: Some(held.version + 1),
            ..breaking("gina", now.wall)
        },
    ];
    for said in &wrong {
        let refused = world.core().break_glass(id, said, now).expect_err("not shown");
        assert!(matches!(refused, DecideError::Stale { .. }), "{refused}");
    }
    let silent = BreakGlass {
        reason: " \t".to_owned(),
        ..breaking("gina", now.wall)
    };
    let refused = world.core().break_glass(id, &silent, now).expect_err("no reason");
    assert_eq!(refused, DecideError::NoReason);
    assert_eq!(open_reviews(&mut world), [], "nothing refused leaves a review");
    break_glass(&mut world, id, "gina").expect("alone");
    // The rules say something else by now, `deny` perhaps: nothing runs by what was approved before.
    let changed = countersign::desk::Ask {
        rules: [2; 32],
        ..ask
    };
    let stale = world
        .start_run(id, &changed)
        .expect_err("a fresh decision is needed");
    assert!(matches!(stale, NotStarted::Stale { .. }), "{stale}");
    assert!(matches!(
        break_glass(&mut world, id, "gina"),
        Err(DecideError::AlreadyDecided { .. })
    ));
    // What was denied stays denied.
    let (_, parked) = world.park("bot-a", 2);
    world
        .decide(parked.request, "dora", Decision::Deny)
        .expect("denied");
    assert!(matches!(
        break_glass(&mut world, parked.request, "gina"),
        Err(DecideError::AlreadyDecided { .. })
    ));
    // Nor does it run for somebody who has left a transaction that had written.
    let mut ask = world.sending("bot-a", 3);
    ask.transaction = Transaction::Implicit { wrote: true };
    let parked = world.expect_parked(&ask);
    let id_of_left = parked.request;
    drop(parked);
    world.tick();
    let refused = break_glass(&mut world, id_of_left, "gina").expect_err("nobody waits");
    assert_eq!(refused, DecideError::NobodyWaits);
    assert_eq!(open_reviews(&mut world), [id], "one was broken");
}

#[test]
fn the_same_key_breaks_glass_once() {
    let mut world = world();
    let (_, parked) = world.park("bot-a", 1);
    let now = world.now;
    let keyed = BreakGlass {
        idempotency: Some("key".to_owned()),
        ..breaking("gina", now.wall)
    };
    let first = world
        .core()
        .break_glass(parked.request, &keyed, now)
        .expect("alone");
    let again = world
        .core()
        .break_glass(parked.request, &keyed, now)
        .expect("the same");
    assert_eq!(first.decisions, again.decisions);
    // Replayed on another request it says nothing there: a key is of one request.
    let (_, other) = world.park("bot-a", 2);
    let weak = BreakGlass {
        assurance: Assurance::TOKEN,
        ..keyed
    };
    let refused = world
        .core()
        .break_glass(other.request, &weak, now)
        .expect_err("not sure");
    assert_eq!(refused, DecideError::NotSure(NotSure::SecondLogInNeeded));
    assert_eq!(world.state(other.request), StateKind::Pending);
}

#[test]
fn a_review_is_signed_once_by_somebody_who_had_no_part_in_it() {
    let mut world = world();
    let now = world.now.wall;
    equip(world.core().store(), "hans", &[Role::BreakGlass], now);
    let mut ask = world.sending("bot-a", 1);
    requires(&mut ask, "dba:1 + security:1");
    let parked = world.expect_parked(&ask);
    let id = parked.request;
    assert_eq!(sign(&mut world, id, "alan"), Err(ReviewError::NoReview));
    world.approve(id, "dora").expect("the first of two");
    break_glass(&mut world, id, "gina").expect("alone");
    // Those with a stake in the request.
    for (who, why) in [
        ("olga", WhyNot::OwnsTheAgent(person("olga"))),
        ("carl", WhyNot::HasSeenTheSecret(person("carl"))),
        ("anna", WhyNot::IsActedFor(person("anna"))),
        ("nobody", WhyNot::Inactive(person("nobody"))),
    ] {
        assert_eq!(sign(&mut world, id, who), Err(ReviewError::NotPermitted(why)));
    }
    // Those who approved it, and whoever may be one of them.
    for who in ["gina", "dora"] {
        let with = person(who);
        let hand = person(who);
        assert_eq!(
            sign(&mut world, id, who),
            Err(ReviewError::NotAnother { with, hand })
        );
        let seen = SignReview {
            token_seen_by: [person(who)].into(),
            ..signing("alan", Finding::Fine)
        };
        let at = world.now;
        let refused = world
            .core()
            .sign_review(id, &seen, at)
            .expect_err("may be the same");
        assert!(matches!(refused, ReviewError::NotAnother { .. }), "{refused}");
    }
    // Those who neither audit, nor administer, nor approve such requests.
    for who in ["eve", "hans"] {
        let refused = sign(&mut world, id, who).expect_err(who);
        assert!(matches!(refused, ReviewError::NotAReviewer { .. }), "{refused}");
    }
    let silent = SignReview {
        text: "  ".to_owned(),
        ..signing("alan", Finding::Fine)
    };
    let at = world.now;
    assert_eq!(
        world.core().sign_review(id, &silent, at),
        Err(ReviewError::TextMissing)
    );
    world.restart();
    assert_eq!(open_reviews(&mut world), [id]);
    let keyed = SignReview {
        idempotency: Some("key".to_owned()),
        ..signing("alan", Finding::NotFine)
    };
    let at = world.now;
    let signed = world.core().sign_review(id, &keyed, at).expect("an auditor");
    let signature = signed.signed.clone().expect("signed");
    assert_eq!(
        (signature.by, signature.finding),
        (person("alan"), Finding::NotFine)
    );
    assert_eq!(open_reviews(&mut world), []);
    let again = world.core().sign_review(id, &keyed, at).expect("the same key");
    assert_eq!(again.signed, signed.signed);
    assert_eq!(
        sign(&mut world, id, "dave"),
        Err(ReviewError::SignedAlready { by: person("alan") })
    );
    let remark = world.show(id).discussion.pop().expect("a remark");
    assert_eq!(
        (remark.kind, remark.text.as_str()),
        (RemarkKind::Reviewed, "not_fine: looked at the incident")
    );
    world.core = None;
    let reviewed: Vec<_> = told(world.dir.path(), id)
        .into_iter()
        .filter(|record| record.fields.event.as_deref() == Some("reviewed"))
        .map(|record| (record.kind, record.fields.by, record.fields.detail))
        .collect();
    let said = Some("not_fine: looked at the incident".to_owned());
    assert_eq!(reviewed, [(Kind::RequestEvent, Some("alan".to_owned()), said)]);
}

#[test]
fn auditors_administrators_and_approvers_of_the_groups_may_sign() {
    for who in ["alan", "root", "dave"] {
        let mut world = world();
        let mut ask = world.sending("bot-b", 1);
        requires(&mut ask, "2 of security");
        let parked = world.expect_parked(&ask);
        break_glass(&mut world, parked.request, "gina").expect("alone");
        sign(&mut world, parked.request, who).expect(who);
    }
}

/// As for every approval: it is looked at again when it is to run.
#[test]
fn it_runs_only_while_its_person_could_still_give_it() {
    let mut world = world();
    let (ask, parked) = world.park("bot-a", 1);
    break_glass(&mut world, parked.request, "gina").expect("approved");
    let now = world.now.wall;
    let roles = [Role::Approver];
    world
        .core()
        .store()
        .person_change(&person("gina"), Some(&roles), None, &person("root"), now)
        .expect("changed");
    let refused = world
        .start_run(parked.request, &ask)
        .expect_err("the role is gone");
    assert!(matches!(refused, NotStarted::Stale { .. }), "{refused:?}");
}
