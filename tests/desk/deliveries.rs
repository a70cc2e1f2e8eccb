//! What people's channels have still to be told: shares of the queue, turns, and what is given up.

use countersign::store::sqlite::Store;
use countersign::store::{Delivery, Endpoint, GIVEN_UP_MAX, Happening, SHARE_MAX};

use crate::world::World;

const OPS: &str = "ops";

fn told(world: &mut World) {
    let endpoint = Endpoint {
        name: OPS.to_owned(),
        events: vec!["*".to_owned()],
    };
    world.core().store().set_endpoints(&[endpoint]).expect("kept");
}

fn due(world: &mut World, limit: u32) -> Vec<Delivery> {
    let now = world.now.wall;
    let store = world.core().store();
    store.due_deliveries(OPS, now, limit).expect("an answer")
}

/// What waits, what was given up, what found no room.
fn counts(world: &mut World) -> (i64, i64, u64) {
    let reports = world.core().store().endpoint_reports().expect("an answer");
    let report = &reports[0];
    let number = |count: u64| i64::try_from(count).expect("small");
    (number(report.waiting), number(report.failed), report.dropped)
}

/// Sends statements and takes them back, until so many messages about them have been queued or dropped.
fn flood(world: &mut World, who: &str, messages: i64) {
    for _ in 0..messages / 2 {
        let (_, parked) = world.park(who, 1);
        let now = world.now;
        world
            .core()
            .withdraw(parked.request, "as often as it likes", now)
            .expect("withdrawn");
    }
}

fn give_up(store: &mut Store, delivery: &Delivery) {
    let now = delivery.at;
    store
        .put_off_delivery(delivery.id, None, "nobody is there", now)
        .expect("kept");
}

#[test]
fn the_flood_of_one_agent_leaves_room_for_another_and_does_not_hold_it_up() {
    let mut world = World::new();
    told(&mut world);
    flood(&mut world, "bot-a", SHARE_MAX + 100);
    assert_eq!(counts(&mut world), (SHARE_MAX, 0, 100), "its share, and no more");
    let (_, parked) = world.park("bot-b", 1);
    assert_eq!(counts(&mut world), (SHARE_MAX + 1, 0, 100));
    let first = due(&mut world, 2);
    let requests: Vec<_> = first.iter().map(|delivery| delivery.request.clone()).collect();
    assert!(
        requests.contains(&Some(parked.request.to_string())),
        "it waits behind another's flood: {first:?}"
    );
    // Of one principal they go out in the order in which things happened.
    let all = due(&mut world, u32::MAX);
    let of_a: Vec<_> = all
        .iter()
        .filter(|delivery| delivery.request != Some(parked.request.to_string()))
        .map(|delivery| delivery.id)
        .collect();
    assert_eq!(of_a.len(), usize::try_from(SHARE_MAX).expect("small"));
    assert!(of_a.is_sorted());
}

#[test]
fn what_was_given_up_takes_no_room_and_is_kept_up_to_a_limit() {
    let mut world = World::new();
    told(&mut world);
    let now = world.now.wall;
    let happening = Happening {
        kind: "rules.changed",
        state: "loaded",
        detail: "root",
    };
    let rounds = GIVEN_UP_MAX / SHARE_MAX + 1;
    for round in 0..rounds {
        for _ in 0..SHARE_MAX + 1 {
            let store = world.core().store();
            store.tell_endpoints(&happening, now).expect("kept");
        }
        let (waiting, _, dropped) = counts(&mut world);
        assert_eq!(waiting, SHARE_MAX, "what failed before takes no room");
        assert_eq!(i64::try_from(dropped).expect("small"), round + 1);
        let all = due(&mut world, u32::MAX);
        let store = world.core().store();
        all.iter().for_each(|delivery| give_up(store, delivery));
    }
    assert_eq!(counts(&mut world).0, 0);
    assert_eq!(counts(&mut world).1, GIVEN_UP_MAX);
    // All that is kept comes again when somebody asks for it.
    let due = world.core().store().replay_endpoint(OPS, now).expect("an answer");
    assert_eq!(due, u64::try_from(GIVEN_UP_MAX).ok());
}
