//! Values that are withheld: shown to who may decide, approved by nobody who has not seen them, and never in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use countersign::desk::{ActError, ActKind, Ask, DecideError, Decision, NotSure, REMARKS_MAX};
use countersign::hold::{HeldRequest, Parameter, ParameterFormat, RemarkKind, RequestId, StateKind};
use countersign::identity::directory::WhyNot;
#[cfg(feature = "faults")]
use countersign::journal::disk::Fault;
use countersign::policy::Risk;
use rusqlite::Connection;

use crate::world::{World, act, person, store_path};

const VALUE: &str = "078-05-1120";

/// A statement with a value that is withheld and one that is not.
fn sending(world: &mut World, what: u8) -> Ask {
    let parameter = |index: u16, value: &str, redacted: &[&str]| Parameter {
        index,
        type_oid: 25,
        type_name: "text".to_owned(),
        format: ParameterFormat::Text,
        value: Some(value.to_owned()),
        hex: None,
        bytes: value.len() as u64,
        redacted: redacted.iter().map(|label| (*label).to_owned()).collect(),
    };
    let mut ask = world.sending("bot-a", what);
    ask.parameters = vec![parameter(1, VALUE, &["pii"]), parameter(2, "open", &[])];
    ask.column_labels = vec!["pii".to_owned()];
    ask
}

fn reveal(world: &mut World, id: RequestId, by: &str) -> Result<HeldRequest, ActError> {
    let now = world.now;
    world.core().reveal(id, &act(by, ActKind::Reveal), now)
}

fn stands_in_a_file(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.into_iter().any(|entry| {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => stands_in_a_file(&path),
            false => {
                let bytes = std::fs::read(&path).expect("a file");
                bytes.windows(VALUE.len()).any(|piece| piece == VALUE.as_bytes())
            }
        }
    })
}

#[test]
fn nobody_approves_a_value_that_was_not_shown_to_them() {
    let mut world = World::new();
    let ask = sending(&mut world, 1);
    let id = world.expect_parked(&ask).request;
    let held = world.show(id);
    assert!(held.has_withheld());
    assert_eq!(held.parameters[0].value, None);
    assert_eq!(held.parameters[1].value.as_deref(), Some("open"));
    assert_eq!(world.approve(id, "dora"), Err(DecideError::NotRevealed));

    // Promise 4 holds for looking, too.
    assert!(matches!(
        reveal(&mut world, id, "olga"),
        Err(ActError::NotPermitted(_))
    ));
    assert!(matches!(
        reveal(&mut world, id, "alan"),
        Err(ActError::NotPermitted(WhyNot::NotAnApprover(_)))
    ));
    let shown = reveal(&mut world, id, "dave").expect("it is shown");
    assert_eq!(shown.parameters[0].value.as_deref(), Some(VALUE));
    assert_eq!(
        world.approve(id, "dora"),
        Err(DecideError::NotRevealed),
        "what one has seen another has not"
    );
    reveal(&mut world, id, "dora").expect("it is shown");
    let discussion = world.show(id).discussion;
    let seen = discussion.iter().filter(|said| said.kind == RemarkKind::Revealed);
    assert_eq!(seen.count(), 2);
    assert!(world.show(id).parameters[0].value.is_none());
    world.approve(id, "dora").expect("an approval");
    assert!(matches!(
        reveal(&mut world, id, "dora"),
        Err(ActError::NotUndecided(_))
    ));
    assert!(!stands_in_a_file(world.dir.path()));
}

/// Facts hold text of the agent's own: what one says of itself counts for nothing.
#[test]
fn a_fact_is_withheld_where_its_value_is_and_not_where_it_says_so() {
    let mut world = World::new();
    let mut ask = world.sending("bot-a", 1);
    ask.facts = BTreeMap::from([("@a".to_owned(), "redacted (x)".to_owned())]);
    let id = world.expect_parked(&ask).request;
    assert!(!world.show(id).has_withheld());
    world.approve(id, "dora").expect("an approval");

    let mut ask = world.sending("bot-a", 2);
    ask.facts = BTreeMap::from([("@a".to_owned(), "redacted (pii)".to_owned())]);
    ask.withheld_facts = BTreeMap::from([("@a".to_owned(), VALUE.to_owned())]);
    let id = world.expect_parked(&ask).request;
    assert!(world.show(id).has_withheld());
    assert_eq!(world.approve(id, "dora"), Err(DecideError::NotRevealed));
    let shown = reveal(&mut world, id, "dora").expect("it is shown");
    assert_eq!(shown.facts["@a"], VALUE);
    world.restart();
    assert_eq!(world.approve(id, "dora"), Err(DecideError::ValuesGone));
    // As a version kept it that went by the words.
    world.core = None;
    let store = Connection::open(store_path(world.dir.path())).expect("a store");
    let changed = store.execute(
        "UPDATE requests SET card = json_remove(card, '$.withheld_facts') WHERE id = ?1",
        [id.as_str()],
    );
    assert_eq!(changed.expect("kept"), 1);
    drop(store);
    world.restart();
    assert!(world.show(id).has_withheld());
    assert_eq!(world.approve(id, "dora"), Err(DecideError::ValuesGone));
    assert!(!stands_in_a_file(world.dir.path()));
}

#[test]
fn a_denial_needs_no_look() {
    let mut world = World::new();
    let ask = sending(&mut world, 1);
    let id = world.expect_parked(&ask).request;
    world.decide(id, "dora", Decision::Deny).expect("a denial");
    assert_eq!(world.state(id), StateKind::Denied);
    assert!(!stands_in_a_file(world.dir.path()));
}

#[test]
fn after_a_restart_the_values_are_gone_until_the_statement_is_sent_again() {
    let mut world = World::new();
    let ask = sending(&mut world, 1);
    let id = world.expect_parked(&ask).request;
    reveal(&mut world, id, "dora").expect("it is shown");
    world.restart();
    assert!(matches!(
        reveal(&mut world, id, "dora"),
        Err(ActError::ValuesGone)
    ));
    assert_eq!(world.approve(id, "dora"), Err(DecideError::ValuesGone));
    let again = sending(&mut world, 1);
    assert_eq!(world.expect_parked(&again).request, id);
    assert_eq!(
        world.approve(id, "dora"),
        Err(DecideError::NotRevealed),
        "what came after the restart was shown to nobody"
    );
    reveal(&mut world, id, "dora").expect("it is shown");
    world.approve(id, "dora").expect("an approval");
    assert!(!stands_in_a_file(world.dir.path()));
}

#[test]
fn what_withholds_nothing_has_nothing_to_show() {
    let mut world = World::new();
    let (_, parked) = world.park("bot-a", 1);
    assert!(matches!(
        reveal(&mut world, parked.request, "dora"),
        Err(ActError::NothingWithheld)
    ));
    world.approve(parked.request, "dora").expect("an approval");
}

#[cfg(feature = "faults")]
#[test]
fn what_could_not_be_recorded_was_shown_to_nobody() {
    let mut world = World::new();
    let ask = sending(&mut world, 1);
    let id = world.expect_parked(&ask).request;
    world.faults.hold(Fault::Full);
    assert_eq!(reveal(&mut world, id, "dora"), Err(ActError::LogUnavailable));
    world.faults.clear();
    assert_eq!(world.approve(id, "dora"), Err(DecideError::NotRevealed));
    reveal(&mut world, id, "dora").expect("it is shown");
    world.approve(id, "dora").expect("an approval");
}

#[test]
fn a_look_at_values_is_as_sure_as_what_may_come_of_it() {
    let mut world = World::new();
    let mut ask = sending(&mut world, 1);
    ask.verdict.risk = Risk::High;
    let id = world.expect_parked(&ask).request;
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
    let needed = ActError::NotSure(NotSure::StepUpNeeded { risk: Risk::High });
    assert_eq!(reveal(&mut world, id, "dora"), Err(needed));
    let mut sure = act("dora", ActKind::Reveal);
    sure.assurance.strong_at = Some(world.now.wall);
    let now = world.now;
    world.core().reveal(id, &sure, now).expect("it is shown");
}

#[test]
fn looks_take_no_room_from_what_is_said_and_are_recorded_once_a_minute() {
    let mut world = World::new();
    let ask = sending(&mut world, 1);
    let id = world.expect_parked(&ask).request;
    for _ in 0..REMARKS_MAX {
        let comment = ActKind::Comment {
            text: "again".to_owned(),
        };
        world.act(id, "dora", comment).expect("there is room");
    }
    for _ in 0..3 {
        reveal(&mut world, id, "dora").expect("looking is no remark");
    }
    let looks = |world: &mut World| {
        let discussion = world.show(id).discussion;
        let seen = discussion.iter().filter(|said| said.kind == RemarkKind::Revealed);
        seen.count()
    };
    assert_eq!(looks(&mut world), 1);
    world.pass(Duration::from_secs(61));
    reveal(&mut world, id, "dora").expect("it is shown");
    assert_eq!(looks(&mut world), 2);
    world.approve(id, "dora").expect("an approval");
}
