//! Promise 4 where somebody has set how another person signs in: for a day they count as that person, whatever it was they
//! set, whatever is then done, and by whatever they have seen. Nobody gives themselves roles or groups.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::clock::Timestamp;
use countersign::desk::{ActError, ActKind, Decide, DecideError, Decision, KeptPasskey, OpenedBy, Opening};
use countersign::desk::{PasskeyUse, SessionLife, Whence};
use countersign::hold::{Finding, RequestId};
use countersign::identity::assurance::{Assurance, Method};
use countersign::identity::certificate::CertificateName;
use countersign::identity::directory::{Hands, NewAgent, NewPerson, NewToken, OtherTokens, Role, WhyNot};
use countersign::identity::password::PasswordVerifier;
use countersign::identity::principal::{PersonName, Profile};
use countersign::identity::secret::{LinkHash, NativePassword};
use countersign::store::sqlite::Store;
use countersign::store::{CodeTaken, PeopleError};

use crate::break_glass::{breaking, equip, signing};
use crate::world::{World, act, needs, person, principal, word};

const DAY: Duration = Duration::from_secs(24 * 3600);
const JUST_BEFORE: Duration = Duration::from_secs(24 * 3600 - 1);

/// A call by `who`, by a token that `seen_by` have seen.
fn call(who: &str, seen_by: &[&str]) -> Hands {
    Hands {
        person: person(who),
        token_seen_by: seen_by.iter().map(|name| person(name)).collect(),
    }
}

fn verifier(text: &str) -> PasswordVerifier {
    PasswordVerifier::make(text, [7; 16])
}

/// What carl, who has seen the secrets of both bots, does to dora.
type Reset = fn(&mut Store, Timestamp);
const RESETS: [(&str, Reset); 8] = [
    ("makes a one-time code", |store, now| {
        let link = store.password_link(&person("dora"), call("carl", &[]), now);
        link.expect("made");
    }),
    ("sets the password by the one-time code", |store, now| {
        let carl = person("carl");
        // Made long ago; what counts is when it is used.
        let dora = person("dora");
        store
            .password_set(
                &dora,
                &verifier("set by carl himself"),
                &[carl].into(),
                &dora,
                now,
            )
            .expect("set");
    }),
    ("sets the password by a token that he has seen", |store, now| {
        let seen_by = [person("carl")].into();
        let is_set = store.password_change(&person("dora"), None, &verifier("another one"), &seen_by, now);
        assert!(is_set.expect("set"));
    }),
    ("takes the second factors away", |store, now| {
        store
            .factors_forget(&person("dora"), call("carl", &[]), now)
            .expect("forgotten");
    }),
    (
        "takes them away by a token of root that he has seen",
        |store, now| {
            store
                .factors_forget(&person("dora"), call("root", &["carl"]), now)
                .expect("forgotten");
        },
    ),
    ("lets her in again", |store, now| {
        for active in [false, true] {
            store
                .person_set_active(&person("dora"), active, call("carl", &[]), now)
                .expect("set");
        }
    }),
    ("enrols an app by a token that he has seen", |store, now| {
        let dora = person("dora");
        let secret = store
            .totp_begin(&dora, &[person("carl")].into(), now)
            .expect("begun");
        let app = totp_rs::Totp::from_url(secret.url(&dora)).expect("an app");
        let seconds = u64::try_from(now.micros() / 1_000_000).expect("after 1970");
        let code = app.generate(seconds).to_string();
        store
            .totp_confirm(&dora, &code, now)
            .expect("an answer")
            .expect("confirmed");
    }),
    ("registers a passkey by a token that he has seen", |store, now| {
        let passkey = KeptPasskey {
            id: b"carls".to_vec(),
            person: person("dora"),
            credential: "{}".to_owned(),
        };
        let is_kept = store.passkey_add(&passkey, "a key", &[person("carl")].into(), now);
        assert!(is_kept.expect("kept"));
    }),
];

fn refused_for_carl(why: &WhyNot) -> bool {
    matches!(why, WhyNot::WayInSetBy { set_by, why, .. }
        if *set_by == person("carl") && matches!(**why, WhyNot::HasSeenTheSecret(_)))
}

/// Everything that decides, ends a wait or names who decides.
fn tries(world: &mut World, id: RequestId, who: &str) -> Vec<(&'static str, Option<WhyNot>)> {
    let mut tried = Vec::new();
    for (what, decision) in [("approve", Decision::Approve), ("deny", Decision::Deny)] {
        let why = match world.decide(id, who, decision) {
            Err(DecideError::NotPermitted(why)) => Some(why),
            _ => None,
        };
        tried.push((what, why));
    }
    let question = "why now".to_owned();
    let (to, reason) = (person("eve"), "away".to_owned());
    for (what, kind) in [
        ("ask", ActKind::Ask { question }),
        (
            "escalate",
            ActKind::Escalate {
                reason: reason.clone(),
            },
        ),
        ("delegate", ActKind::Delegate { to, reason }),
    ] {
        let now = world.now;
        let why = match world.core().act(id, &act(who, kind), now) {
            Err(ActError::NotPermitted(why)) => Some(why),
            _ => None,
        };
        tried.push((what, why));
    }
    tried
}

#[test]
fn promise_4_whoever_has_set_how_somebody_signs_in_counts_as_that_person_for_a_day() {
    for (what, reset) in RESETS {
        let mut world = World::new();
        let now = world.now.wall;
        reset(world.core().store(), now);
        world.pass(JUST_BEFORE);
        let until = now.after(DAY);
        let (_ask, parked) = world.park("bot-a", 1);
        for (act, why) in tries(&mut world, parked.request, "dora") {
            let why = why.unwrap_or_else(|| panic!("carl {what}, and {act} goes through"));
            assert!(refused_for_carl(&why), "carl {what}: {act}: {why}");
            assert!(why.to_string().contains(&until.to_string()), "{why}");
        }
        // Nor is she made the one who approves instead of somebody else.
        let (to, reason) = (person("dora"), "away".to_owned());
        let delegated = world.act(parked.request, "dave", ActKind::Delegate { to, reason });
        assert!(
            matches!(&delegated, Err(ActError::CannotBeDelegate { why, .. }) if refused_for_carl(why)),
            "carl {what}: {delegated:?}"
        );
        // Others decide, and so does she the next day.
        world.approve(parked.request, "eve").expect("eve is nobody's");
        world.pass(Duration::from_secs(1));
        world.tick();
        let (_ask, next) = world.park("bot-a", 2);
        // Who has a second factor by now, shows it.
        let shown = Assurance {
            method: Method::Passkey,
            strong_at: Some(world.now.wall),
        };
        let said = Decide {
            assurance: shown,
            ..word("dora", Decision::Approve)
        };
        let moment = world.now;
        world
            .core()
            .decide(next.request, &said, moment)
            .unwrap_or_else(|why| panic!("carl {what}: {why}"));
    }
}

#[test]
fn promise_4_a_person_made_up_by_somebody_with_a_stake_decides_nothing_in_it_for_a_day() {
    let mut world = World::new();
    let now = world.now.wall;
    let sock = NewPerson {
        name: person("sock"),
        roles: vec![Role::Approver, Role::BreakGlass, Role::Auditor],
        groups: vec!["dba".to_owned()],
    };
    world
        .core()
        .store()
        .person_add(&sock, call("carl", &[]), now)
        .expect("added");
    let (_ask, parked) = world.park("bot-b", 1);
    for (act, why) in tries(&mut world, parked.request, "sock") {
        assert!(
            why.is_some_and(|why| refused_for_carl(&why)),
            "{act} goes through"
        );
    }
    let moment = world.now;
    let alone = world
        .core()
        .break_glass(parked.request, &breaking("sock", now), moment);
    assert!(
        matches!(&alone, Err(DecideError::NotPermitted(why)) if refused_for_carl(why)),
        "{alone:?}"
    );
    // Where the machine's own operator has added somebody, nothing is remembered.
    let told = NewPerson {
        name: person("new"),
        ..sock
    };
    world
        .core()
        .store()
        .person_add(&told, &person("carl"), now)
        .expect("added");
    world.approve(parked.request, "new").expect("an approval");
}

#[test]
fn promise_4_a_way_in_that_somebody_without_a_stake_has_set_hinders_nobody() {
    let mut world = World::new();
    let now = world.now.wall;
    world
        .core()
        .store()
        .factors_forget(&person("dora"), call("root", &[]), now)
        .expect("forgotten");
    world
        .core()
        .store()
        .factors_forget(&person("dave"), &person("carl"), now)
        .expect("forgotten on the machine of the store");
    let (_ask, first) = world.park("bot-a", 1);
    let held = world.approve(first.request, "dora").expect("root has no stake");
    assert_eq!(held.decisions[0].token_seen_by, [person("root")].into());
    let (_ask, second) = world.park("bot-a", 2);
    world
        .approve(second.request, "dave")
        .expect("the operator is trusted");
}

/// Two approvals behind which one person may be are one, also where that person has only set how the other signs in.
#[test]
fn promise_4_an_administrator_and_a_person_whose_way_in_they_have_set_count_as_one() {
    for order in [["eve", "dora"], ["dora", "eve"]] {
        let mut world = World::new();
        let now = world.now.wall;
        world
            .core()
            .store()
            .factors_forget(&person("dora"), call("eve", &[]), now)
            .expect("forgotten");
        let mut ask = world.sending("bot-a", 1);
        needs(&mut ask, 2);
        let parked = world.expect_parked(&ask);
        world.approve(parked.request, order[0]).expect("the first");
        let second = world.approve(parked.request, order[1]);
        assert!(
            matches!(&second, Err(DecideError::NotPermitted(WhyNot::CountsAsOne { hand, .. })) if *hand == person("eve")),
            "{order:?}: {second:?}"
        );
        world.approve(parked.request, "dave").expect("another person");
    }
}

/// The review of what was approved alone is no way round either.
#[test]
fn whoever_broke_glass_does_not_sign_the_review_as_somebody_whose_way_in_they_have_set() {
    let mut world = World::new();
    let now = world.now.wall;
    equip(
        world.core().store(),
        "gina",
        &[Role::BreakGlass, Role::Admin],
        now,
    );
    world.pass(DAY);
    let (_ask, parked) = world.park("bot-a", 1);
    let moment = world.now;
    world
        .core()
        .break_glass(parked.request, &breaking("gina", moment.wall), moment)
        .expect("broken");
    world
        .core()
        .store()
        .factors_forget(&person("alan"), call("gina", &[]), moment.wall)
        .expect("forgotten");
    let signed = world
        .core()
        .sign_review(parked.request, &signing("alan", Finding::Fine), moment);
    assert!(signed.is_err(), "{signed:?}");
    world.pass(DAY);
    let moment = world.now;
    world
        .core()
        .sign_review(parked.request, &signing("alan", Finding::Fine), moment)
        .expect("the next day it is alan");
}

#[test]
fn nobody_gives_themselves_roles_or_groups_by_whatever_they_are_behind() {
    let mut world = World::new();
    let now = world.now.wall;
    let carl = person("carl");
    let more: [Role; 3] = [Role::Approver, Role::Admin, Role::BreakGlass];
    let groups = ["dba".to_owned(), "security".to_owned()];
    let store = world.core().store();
    store
        .factors_forget(&person("anna"), call("carl", &[]), now)
        .expect("forgotten");
    let behind = [
        call("carl", &[]),
        call("root", &["carl"]),
        // Whose way in he has just set.
        call("anna", &[]),
    ];
    for hands in behind {
        for (roles, groups) in [(Some(&more[..]), None), (None, Some(&groups[..]))] {
            let given = store.person_change(&carl, roles, groups, hands.clone(), now);
            assert!(
                matches!(given, Err(PeopleError::GivesOneself(ref who)) if *who == carl),
                "{hands:?}: {given:?}"
            );
        }
    }
    let unchanged = store.person(&carl).expect("an answer").expect("known");
    assert_eq!(unchanged.roles, BTreeSet::from([Role::Approver, Role::Admin]));
    assert_eq!(unchanged.groups, BTreeSet::from(["dba".to_owned()]));
    // Less is one's own affair; more is somebody else's, or done on the machine of the store.
    store
        .person_change(&carl, Some(&[Role::Admin]), Some(&[]), call("carl", &[]), now)
        .expect("less");
    store
        .person_change(&carl, Some(&more), None, call("root", &[]), now)
        .expect("by another administrator");
    store
        .person_change(&carl, None, Some(&groups), &carl, now)
        .expect("on the machine of the store");
    store
        .person_change(
            &carl,
            Some(&[Role::Admin]),
            None,
            call("anna", &[]),
            now.after(DAY),
        )
        .expect("the next day it is anna");
}

fn token_of(who: &str) -> NewToken {
    NewToken {
        person: person(who),
        scopes: None,
        expires_at: None,
        seen_by: BTreeSet::new(),
        others: OtherTokens::Stay,
    }
}

fn people(names: &[&str]) -> BTreeSet<PersonName> {
    names.iter().map(|name| person(name)).collect()
}

fn bot(name: &str) -> NewAgent {
    NewAgent {
        name: principal(name),
        owner: person("olga"),
        acts_for: None,
        databases: Vec::new(),
        database_user: "shop".to_owned(),
        profile: Profile::Standard,
        labels: std::collections::BTreeMap::new(),
        expires_at: None,
        mysql_native: NativePassword::Refused,
    }
}

/// Who may be behind a session that is opened by this, long after.
fn behind_session(store: &mut Store, by: &OpenedBy, now: Timestamp) -> BTreeSet<PersonName> {
    let whence = Whence {
        source: [127, 0, 0, 1].into(),
    };
    let life = SessionLife {
        idle: DAY,
        whole: DAY,
    };
    match store
        .session_open(by, None, &whence, life, now)
        .expect("an answer")
    {
        Opening::Opened(opened) => opened.signed_in.token_seen_by,
        other => panic!("not opened: {other:?}"),
    }
}

/// carl has made a way in of dora's anew and comes as her: the day ends, and what he makes as her lasts.
#[test]
fn promise_4_what_is_made_by_somebody_whose_way_in_was_set_remembers_who_set_it() {
    let mut world = World::new();
    let now = world.now.wall;
    let later = now.after(DAY + DAY);
    let store = world.core().store();
    store
        .factors_forget(&person("dora"), call("carl", &[]), now)
        .expect("forgotten");
    let as_dora = || call("dora", &[]);
    let nobody = BTreeSet::new();

    let for_eve = store
        .token_issue(&token_of("eve"), as_dora(), now)
        .expect("issued");
    assert_eq!(for_eve.seen_by, people(&["carl", "dora"]));
    let own = store
        .token_issue(&token_of("dora"), as_dora(), now)
        .expect("issued");
    assert_eq!(own.seen_by, people(&["carl"]));
    let hash = countersign::identity::secret::TokenHash::of(own.reveal()).expect("a token");
    let known = store
        .authenticate(hash, later)
        .expect("an answer")
        .expect("known");
    assert_eq!(known.token_seen_by, people(&["carl"]));

    let (agent, _) = store.agent_add(&bot("bot-c"), as_dora(), now).expect("added");
    assert_eq!(agent.has_seen_secret, people(&["carl", "dora"]));
    let (rotated, certified) = (principal("bot-d"), principal("bot-e"));
    for name in ["bot-d", "bot-e"] {
        store.agent_add(&bot(name), &person("root"), now).expect("added");
    }
    store
        .agent_rotate(&rotated, NativePassword::Refused, as_dora(), now)
        .expect("rotated");
    let certificate = CertificateName::parse("CN=bot-e").expect("a name");
    store
        .agent_certify(&certified, &certificate, as_dora(), now)
        .expect("certified");
    let other = CertificateName::parse("CN=bot-f").expect("a name");
    let added = store.agent_add_certified(&bot("bot-f"), &other, as_dora(), now);
    assert_eq!(added.expect("added").has_seen_secret, people(&["carl", "dora"]));
    for name in ["bot-c", "bot-d", "bot-e", "bot-f"] {
        let kept = store.agent(name).expect("an answer").expect("known");
        assert!(
            kept.has_seen_secret.is_superset(&people(&["carl", "dora"])),
            "{name}"
        );
    }

    store
        .keep_link_code("a code", &as_dora(), later, now)
        .expect("kept");
    store
        .link_account("chat", "somebody", "a code", now)
        .expect("linked");
    let link = store
        .link("chat", "somebody")
        .expect("an answer")
        .expect("linked");
    assert_eq!(link.seen_by, people(&["carl"]));

    let kept = KeptPasskey {
        id: b"doras".to_vec(),
        person: person("dora"),
        credential: "{}".to_owned(),
    };
    assert!(store.passkey_add(&kept, "a key", &nobody, now).expect("kept"));
    let used = OpenedBy::Passkey(PasskeyUse {
        after: kept.credential.clone(),
        before: kept,
    });
    assert_eq!(behind_session(store, &used, later), people(&["carl"]));

    let dora = person("dora");
    let secret = store.totp_begin(&dora, &nobody, now).expect("begun");
    let app = totp_rs::Totp::from_url(secret.url(&dora)).expect("an app");
    let code = |at: Timestamp| app.generate(u64::try_from(at.micros() / 1_000_000).expect("after 1970"));
    let confirmed = store.totp_confirm(&dora, &code(now).to_string(), now);
    assert!(confirmed.expect("an answer").is_some());
    let taken = store.code_take(&dora, &code(later).to_string(), later);
    assert_eq!(
        taken.expect("an answer"),
        CodeTaken::Taken {
            seen_by: people(&["carl"])
        }
    );
}

#[test]
fn promise_4_a_session_opened_on_the_day_remembers_who_set_the_way_in_when_it_is_over() {
    let mut world = World::new();
    let now = world.now.wall;
    let store = world.core().store();
    let known = verifier("known to carl all along");
    store
        .password_set(&person("dora"), &known, &BTreeSet::new(), &person("root"), now)
        .expect("set");
    let by = OpenedBy::Password {
        person: person("dora"),
        verifier: known,
    };
    assert_eq!(behind_session(store, &by, now), BTreeSet::new());
    store
        .factors_forget(&person("dora"), call("carl", &[]), now)
        .expect("forgotten");
    assert_eq!(behind_session(store, &by, now), people(&["carl"]));
    assert_eq!(behind_session(store, &by, now.after(DAY)), BTreeSet::new());
}

#[test]
fn promise_4_the_chain_of_who_set_whose_way_in_has_no_end_that_hides_somebody() {
    let mut world = World::new();
    let now = world.now.wall;
    let store = world.core().store();
    let resets = [
        ("dora", "carl"),
        ("dave", "dora"),
        ("carl", "dave"),
        ("eve", "dave"),
    ];
    for (whose, setter) in resets {
        store
            .password_link(&person(whose), call(setter, &[]), now)
            .expect("made");
    }
    let set: BTreeSet<PersonName> = store
        .ways_in_set(&person("eve"), now)
        .expect("an answer")
        .into_keys()
        .collect();
    assert_eq!(set, people(&["carl", "dave", "dora"]));
    // Nor where the setter is only one who has seen the token of the call.
    let given = store.person_change(
        &person("carl"),
        None,
        Some(&["security".to_owned()]),
        call("root", &["dora"]),
        now,
    );
    assert!(
        matches!(given, Err(PeopleError::GivesOneself(ref who)) if *who == person("carl")),
        "{given:?}"
    );
    // carl and the person whose token he has made as dora are one.
    let made = store
        .token_issue(&token_of("eve"), call("dora", &[]), now)
        .expect("issued");
    assert!(made.seen_by.contains(&person("carl")), "{made:?}");
}

#[test]
fn letting_in_somebody_who_is_in_changes_nothing_and_starts_no_day() {
    let mut world = World::new();
    let now = world.now.wall;
    let store = world.core().store();
    let told = |store: &mut Store| store.queued(None).expect("the notes").len();
    let before = told(store);
    for _ in 0..2 {
        store
            .person_set_active(&person("dora"), true, call("carl", &[]), now)
            .expect("known");
    }
    assert_eq!(told(store), before, "nothing has changed");
    assert!(
        store
            .ways_in_set(&person("dora"), now)
            .expect("an answer")
            .is_empty()
    );
    for active in [false, true] {
        store
            .person_set_active(&person("dora"), active, call("carl", &[]), now)
            .expect("known");
    }
    assert_eq!(told(store), before + 2);
    assert_eq!(
        store.ways_in_set(&person("dora"), now).expect("an answer").len(),
        1
    );
    let unknown = store.person_set_active(&person("nobody"), true, call("carl", &[]), now);
    assert!(matches!(unknown, Err(PeopleError::Unknown(_))), "{unknown:?}");
}

/// At night there may be nobody else: what the operator of the machine makes anew is the person's from the first minute.
#[test]
fn a_way_in_that_is_made_anew_on_the_machine_of_the_store_ends_the_day() {
    type MakesAnew = fn(&mut Store, Timestamp);
    let ways: [(&str, MakesAnew); 3] = [
        ("a password", |store, now| {
            let nobody = BTreeSet::new();
            let set = store.password_set(&person("dora"), &verifier("anew"), &nobody, &person("root"), now);
            set.expect("set");
        }),
        ("a password by a code made there", |store, now| {
            let made = store
                .password_link(&person("dora"), &person("root"), now)
                .expect("made");
            let link = LinkHash::of(made.reveal()).expect("a link");
            let whose = store
                .password_by_link(link, &verifier("anew"), now)
                .expect("an answer");
            assert_eq!(whose, Some(person("dora")));
        }),
        (
            "a token in the place of all, where there is no password",
            |store, now| {
                let replacing = NewToken {
                    others: OtherTokens::Revoked,
                    ..token_of("dora")
                };
                store
                    .token_issue(&replacing, &person("root"), now)
                    .expect("issued");
            },
        ),
    ];
    for (what, make) in ways {
        let mut world = World::new();
        let now = world.now.wall;
        world
            .core()
            .store()
            .factors_forget(&person("dora"), call("carl", &[]), now)
            .expect("forgotten");
        let (_ask, parked) = world.park("bot-a", 1);
        let why = world
            .approve(parked.request, "dora")
            .expect_err("carl may be she");
        let DecideError::NotPermitted(why) = why else {
            panic!("{why}")
        };
        let next = why.next_step();
        assert!(next.contains("countersign user passwd dora"), "{next}");
        make(world.core().store(), now);
        world
            .approve(parked.request, "dora")
            .unwrap_or_else(|why| panic!("{what}: {why}"));
    }
}

/// carl knows her password: a token beside it, or the code that nobody has used yet, shut him out of nothing.
#[test]
fn what_leaves_another_way_in_as_it_was_does_not_end_the_day() {
    let mut world = World::new();
    let now = world.now.wall;
    let store = world.core().store();
    let nobody = BTreeSet::new();
    store
        .password_set(
            &person("dora"),
            &verifier("known to carl"),
            &nobody,
            &person("root"),
            now,
        )
        .expect("set");
    store
        .factors_forget(&person("dora"), call("carl", &[]), now)
        .expect("forgotten");
    let replacing = NewToken {
        others: OtherTokens::Revoked,
        ..token_of("dora")
    };
    store
        .token_issue(&replacing, &person("root"), now)
        .expect("issued");
    store
        .password_link(&person("dora"), &person("root"), now)
        .expect("made");
    store
        .factors_forget(&person("dora"), &person("root"), now)
        .expect("forgotten");
    let set = store.ways_in_set(&person("dora"), now).expect("an answer");
    assert!(set.contains_key(&person("carl")), "{set:?}");
    // Nor does the same call over the API.
    store
        .token_issue(&replacing, call("root", &[]), now)
        .expect("issued");
    assert!(
        store
            .ways_in_set(&person("dora"), now)
            .expect("an answer")
            .contains_key(&person("carl"))
    );
}
