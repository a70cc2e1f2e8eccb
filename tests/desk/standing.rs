//! Standing grants at the desk: what they let through, what they do not, and what ends them.
//!
//! The statements are judged by the product's own reader, so that what is alike here is alike there.

use std::sync::Arc;
use std::time::Duration;

use countersign::audit::{Kind, Record};
use countersign::desk::{
    ActKind, Ask, AskError, Asked, Decide, DecideError, Decision, DecisionScope, Detach, EndGrantError,
    NotStanding, Reach, RequestFilter, RunOutcome, Settings, StandingLimits, Terms, Transaction,
};
use countersign::hold::{
    HeldRequest, Parameter, ParameterFormat, Permit, RequestId, Standing, StandingGrant, StandingGrantId,
    StandingKind, State, StateKind,
};
use countersign::identity::principal::{AttemptId, SessionId};
use countersign::identity::secret::NativePassword;
use countersign::journal::{LogFilter, Order, Reader};
use countersign::policy::Verdict;
use countersign::sql::judge_postgres;
use countersign::sql::statement::LexingState;
use countersign::store::sqlite::{Limits, Store};

use crate::world::{MINUTE, World, needs, person, principal, requires, store_path, word};

pub const TERMS: Terms = Terms {
    reach: Reach::Session,
    minutes: 30,
    uses: 3,
};
const OF_PRINCIPAL: Terms = Terms {
    reach: Reach::Principal,
    ..TERMS
};
pub const SESSION: SessionId = SessionId(77);

/// A sending of a text, as the proxy would put it, always from the same session.
pub fn sending(world: &mut World, who: &str, text: &str) -> Ask {
    let mut ask = world.sending(who, 0);
    let mut peer = (*ask.peer).clone();
    ask.attempt = AttemptId {
        session: SESSION,
        // Numbers of one session never come twice.
        number: peer.session.0,
    };
    peer.session = SESSION;
    ask.peer = Arc::new(peer);
    ask.judgement = Arc::new(judge_postgres(
        text.as_bytes(),
        LexingState::default_postgres(),
        &(),
    ));
    ask.text = text.as_bytes().to_vec();
    ask.digest = countersign::hold::DigestBuilder::new("test")
        .field("principal", who.as_bytes())
        .field("text", text.as_bytes())
        .finish();
    ask.facts.insert("search_path".to_owned(), "public".to_owned());
    ask
}

pub fn standing_word(by: &str, terms: Terms) -> Decide {
    Decide {
        scope: DecisionScope::Fingerprint(terms),
        ..word(by, Decision::Approve)
    }
}

/// Parks it and has `dora` approve it on these terms; its own run is begun and done.
fn granted(world: &mut World, ask: &Ask, terms: Terms) -> StandingGrantId {
    let parked = world.expect_parked(ask);
    let now = world.now;
    let held = world
        .core()
        .decide(parked.request, &standing_word("dora", terms), now)
        .expect("an approval");
    let permit = world.start_run(parked.request, ask).expect("a permit");
    finish(world, &permit);
    held.standing_grant.expect("a standing grant")
}

fn finish(world: &mut World, permit: &Permit) {
    let outcome = RunOutcome::Finished {
        rows: Some(1),
        tag: "DELETE 1".to_owned(),
    };
    let (now, request) = (world.now, permit.request().expect("of a request"));
    world.core().finish(request, outcome, now).expect("kept");
}

/// Whether it runs without a person; the run is done.
fn runs(world: &mut World, ask: &Ask) -> Option<RequestId> {
    match world.ask(ask).expect("an answer") {
        Asked::Granted(permit, request) => {
            assert_eq!(permit.attempt(), ask.attempt, "the permit of another sending");
            finish(world, &permit);
            Some(request)
        }
        Asked::Parked(parked) => {
            let now = world.now;
            world
                .core()
                .withdraw(parked.request, "the test goes on", now)
                .expect("withdrawn");
            None
        }
    }
}

fn delete(world: &mut World, literal: &str) -> Ask {
    sending(
        world,
        "bot-a",
        &format!("DELETE FROM orders WHERE status = {literal}"),
    )
}

fn grant(world: &mut World, id: StandingGrantId) -> StandingGrant {
    world.core().standing_grant(id).expect("kept").grant
}

fn log_of(world: &mut World, grant: StandingGrantId) -> Vec<Record> {
    world.tick();
    let reader = Reader::open(&world.dir.path().join("journal"));
    let filter = LogFilter {
        grant: Some(grant.to_string()),
        order: Order::OldestFirst,
        ..LogFilter::default()
    };
    reader.query(&filter).expect("the log").records
}

fn refusal(decided: Result<HeldRequest, DecideError>) -> NotStanding {
    match decided.expect_err("a refusal") {
        DecideError::NotStanding(why) => why,
        other => panic!("refused for another reason: {other}"),
    }
}

#[test]
fn other_literals_run_as_often_as_was_granted_and_no_more() {
    let mut world = World::new();
    let first = delete(&mut world, "'x'");
    let id = granted(&mut world, &first, TERMS);
    for literal in ["'y'", "''"] {
        let ask = delete(&mut world, literal);
        let request = runs(&mut world, &ask).expect(literal);
        let held = world.show(request);
        let by = held.covered_by.expect("covered");
        assert_eq!((by.grant, by.made_by), (id, vec![person("dora")]));
        assert_eq!(
            held.text, ask.text,
            "the text that runs is the text that was sent"
        );
    }
    let last = delete(&mut world, "'z'");
    assert_eq!(runs(&mut world, &last), None, "the fourth run is held");
    assert_eq!(grant(&mut world, id).standing, Standing::UsedUp);
    let uses = world.core().list(&RequestFilter {
        standing_grant: Some(id),
        ..RequestFilter::default()
    });
    let numbers: Vec<_> = uses
        .expect("a list")
        .items
        .iter()
        .map(|held| held.covered_by.as_ref().map(|by| by.number))
        .collect();
    assert_eq!(numbers, [Some(3), Some(2)]);
}

#[test]
fn promise_3_each_use_is_in_the_log_with_its_grant_before_it_may_run() {
    let mut world = World::new();
    let first = delete(&mut world, "'x'");
    let id = granted(&mut world, &first, TERMS);
    let made_in = grant(&mut world, id).request;
    let ask = delete(&mut world, "'y'");
    let Ok(Asked::Granted(permit, request)) = world.ask(&ask) else {
        panic!("held")
    };
    // No tick: what the log has now, it had before the permit was handed out.
    let reader = Reader::open(&world.dir.path().join("journal"));
    let filter = LogFilter {
        grant: Some(id.to_string()),
        order: Order::OldestFirst,
        ..LogFilter::default()
    };
    let told: Vec<_> = reader.query(&filter).expect("the log").records;
    let kinds: Vec<_> = told
        .iter()
        .map(|record| (record.kind, record.fields.event.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(
        kinds,
        [
            (Kind::StandingGrant, "made"),
            (Kind::Attempt, ""),
            (Kind::StandingGrant, "used")
        ]
    );
    let attempt = &told[1].fields;
    assert_eq!(attempt.decided_in, Some(made_in.to_string()));
    assert_eq!(attempt.request, Some(request.to_string()));
    assert_eq!(attempt.attempt, Some(ask.attempt));
    // Found by the request in which it was decided, too.
    let by_request = LogFilter {
        request: Some(made_in.to_string()),
        kind: Some(Kind::Attempt),
        ..LogFilter::default()
    };
    assert_eq!(reader.query(&by_request).expect("the log").records.len(), 2);
    finish(&mut world, &permit);
    let now = world.now;
    let revoked = world.core().revoke_standing(id, &person("eve"), "enough", now);
    assert_eq!(revoked.expect("revoked").grant.uses, 2);
    let last = log_of(&mut world, id).pop().expect("a record").fields;
    assert_eq!(
        (last.event.as_deref(), last.by.as_deref(), last.detail.as_deref()),
        (Some("revoked"), Some("eve"), Some("enough"))
    );
}

/// What is changed, and how. Each alone makes the statement another one.
type Change = (&'static str, fn(&mut Ask));

fn judge(ask: &mut Ask, text: &str) {
    ask.text = text.as_bytes().to_vec();
    ask.judgement = Arc::new(judge_postgres(&ask.text, LexingState::default_postgres(), &()));
}

fn parameter(index: u16, type_oid: u32) -> Parameter {
    Parameter {
        index,
        type_oid,
        type_name: "text".to_owned(),
        format: ParameterFormat::Text,
        value: Some("x".to_owned()),
        hex: None,
        bytes: 1,
        redacted: Vec::new(),
    }
}

fn peer(ask: &mut Ask) -> &mut countersign::identity::principal::Peer {
    Arc::make_mut(&mut ask.peer)
}

const CHANGES: &[Change] = &[
    ("upstream", |ask| peer(ask).upstream = "other".to_owned()),
    ("database", |ask| peer(ask).database = "other".to_owned()),
    ("database user", |ask| {
        peer(ask).database_user = "other".to_owned();
    }),
    ("principal", |ask| peer(ask).principal = principal("bot-b")),
    ("session", |ask| peer(ask).session = SessionId(78)),
    ("protocol", |ask| ask.protocol = "extended"),
    ("search_path", |ask| {
        ask.facts
            .insert("search_path".to_owned(), "evil, public".to_owned());
    }),
    ("role", |ask| {
        ask.facts.insert("role".to_owned(), "boss".to_owned());
    }),
    ("what names mean", |ask| ask.names = "names-2".to_owned()),
    ("rules", |ask| ask.rules = [2; 32]),
    ("rule", |ask| {
        ask.verdict = Verdict::held_because("another rule");
    }),
    ("people needed", |ask| needs(ask, 2)),
    ("groups that decide", |ask| {
        requires(ask, "1 of dba");
    }),
    ("a parameter's type", |ask| {
        ask.parameters = vec![parameter(1, 25)];
    }),
    ("failed transaction", |ask| {
        ask.transaction = Transaction::Failed;
    }),
    ("table", |ask| judge(ask, "DELETE FROM items WHERE status = 'y'")),
    ("schema", |ask| {
        judge(ask, "DELETE FROM public.orders WHERE status = 'y'");
    }),
    ("quoted table", |ask| {
        judge(ask, "DELETE FROM \"Orders\" WHERE status = 'y'");
    }),
    ("column", |ask| judge(ask, "DELETE FROM orders WHERE state = 'y'")),
    ("no WHERE", |ask| judge(ask, "DELETE FROM orders")),
    ("wider WHERE", |ask| {
        judge(ask, "DELETE FROM orders WHERE status = 'y' OR 'a' = 'a'");
    }),
    ("another operator", |ask| {
        judge(ask, "DELETE FROM orders WHERE status > ''");
    }),
    ("ends in a comment", |ask| {
        judge(ask, "DELETE FROM orders -- WHERE status = 'y'");
    }),
    ("the literal is commented out", |ask| {
        judge(ask, "DELETE FROM orders /* WHERE status = 'y' */");
    }),
    ("column for literal", |ask| {
        judge(ask, "DELETE FROM orders WHERE status = status");
    }),
    ("NULL for literal", |ask| {
        judge(ask, "DELETE FROM orders WHERE status = NULL");
    }),
    ("a cast to a type of one's own", |ask| {
        judge(ask, "DELETE FROM orders WHERE status = 'y'::evil");
    }),
    ("a function call", |ask| {
        judge(ask, "DELETE FROM orders WHERE status = lower('y')");
    }),
    ("a subquery", |ask| {
        judge(ask, "DELETE FROM orders WHERE status = (SELECT 'y')");
    }),
    ("RETURNING", |ask| {
        judge(ask, "DELETE FROM orders WHERE status = 'y' RETURNING *");
    }),
    ("a second statement", |ask| {
        judge(ask, "DELETE FROM orders WHERE status = 'y'; DROP TABLE orders");
    }),
    ("a DROP", |ask| judge(ask, "DROP TABLE orders")),
    ("a string that ends early", |ask| {
        judge(
            ask,
            "DELETE FROM orders WHERE status = ''; DROP TABLE orders; --'",
        );
    }),
    ("a dollar quote around the rest", |ask| {
        judge(ask, "DELETE FROM orders WHERE $a$status = 'y'$a$ = 'a'");
    }),
    ("a text that cannot be read", |ask| {
        judge(ask, "DELETE FROM orders WHERE status = 'y");
    }),
    ("another verb", |ask| {
        judge(ask, "UPDATE orders SET a = 'y' WHERE status = 'y'");
    }),
];

#[test]
fn promise_1_whatever_else_than_a_literal_differs_is_held() {
    for (what, change) in CHANGES {
        let mut world = World::new();
        let first = delete(&mut world, "'x'");
        granted(&mut world, &first, TERMS);
        let mut ask = delete(&mut world, "'y'");
        change(&mut ask);
        let asked = world.ask(&ask).expect("an answer");
        assert!(matches!(asked, Asked::Parked(_)), "{what}: runs without a person");
        // The same without that change runs, so that it is the change that was seen.
        let plain = delete(&mut world, "'y'");
        assert!(runs(&mut world, &plain).is_some(), "{what}: nothing runs at all");
    }
}

#[test]
fn what_may_vary_runs() {
    let texts = [
        "DELETE FROM orders WHERE status = 'it''s; DROP TABLE orders; --'",
        "delete  from orders\n where status = $$y$$",
        "DELETE FROM orders /* cleaning */ WHERE status = E'\\'y'",
        "DELETE FROM orders WHERE status = 42 -- all of them",
    ];
    for text in texts {
        let mut world = World::new();
        let first = delete(&mut world, "'x'");
        granted(&mut world, &first, TERMS);
        let ask = sending(&mut world, "bot-a", text);
        assert!(runs(&mut world, &ask).is_some(), "{text}");
    }
}

#[test]
fn there_is_none_for_classes_and_texts_that_are_decided_each_time() {
    let texts = [
        "DROP TABLE orders",
        "TRUNCATE orders",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "GRANT SELECT ON orders TO bob",
        "ALTER ROLE bob PASSWORD 'x'",
        "SET ROLE bob",
        "COPY orders TO STDOUT",
        "COPY orders FROM STDIN",
        "SELECT query_to_xml('SELECT 1', true, true, '')",
        "SELECT lo_get(1)",
        "DO $$ BEGIN END $$",
        "CALL p('x')",
        "SELECT f('x')",
        "SELECT pg_read_file('x')",
        "SELECT pg_terminate_backend(1)",
        "SELECT set_config('search_path', 'x', false)",
        "SET search_path = 'x'",
        "SET work_mem = '1MB'",
        "NOTIFY a, 'b'",
        "INSERT INTO orders VALUES (nextval('s'))",
        "SELECT setval('s', 1)",
        "SELECT lo_unlink(1)",
        "SELECT lo_put(1, 0, 'x')",
        "SELECT pg_catalog.lo_from_bytea(1, 'x')",
        "DELETE FROM orders WHERE id = lo_unlink(1)",
        "EXECUTE p('x')",
        "PREPARE p AS DELETE FROM orders",
        "BEGIN; DELETE FROM orders WHERE a = 1; COMMIT",
        "DELETE FROM orders WHERE a = 1; DROP TABLE orders",
        "DELETE FROM orders WHERE a = 'x'::evil",
        "DELETE FROM orders WHERE",
        "",
    ];
    for text in texts {
        let mut world = World::new();
        let ask = sending(&mut world, "bot-a", text);
        let parked = world.expect_parked(&ask);
        let now = world.now;
        let decided = world
            .core()
            .decide(parked.request, &standing_word("dora", TERMS), now);
        assert!(
            matches!(refusal(decided), NotStanding::DecidedEachTime { .. }),
            "{text}"
        );
        assert_eq!(
            world.state(parked.request),
            StateKind::Pending,
            "{text}: nothing was decided"
        );
        world.approve(parked.request, "dora").expect("once is possible");
    }
    for text in [
        "DELETE FROM orders WHERE a = 1; DELETE FROM items WHERE b = 'x'",
        "SELECT * FROM orders LIMIT 5",
        "INSERT INTO orders VALUES (1, 'x')",
        "UPDATE orders SET a = lower('X'), at = pg_catalog.now() WHERE b = 'y'",
    ] {
        let mut world = World::new();
        let ask = sending(&mut world, "bot-a", text);
        granted(&mut world, &ask, TERMS);
    }
}

#[test]
fn its_time_ends_it_on_either_clock() {
    for clock in ["both", "wall", "boot"] {
        let mut world = World::new();
        let first = delete(&mut world, "'x'");
        let id = granted(&mut world, &first, TERMS);
        let time = 30 * MINUTE;
        match clock {
            "wall" => world.now.wall = world.now.wall.after(time),
            "boot" => world.now.boot += time,
            _ => world.pass(time),
        }
        let ask = delete(&mut world, "'y'");
        assert_eq!(runs(&mut world, &ask), None, "{clock}");
        assert_eq!(
            grant(&mut world, id).standing.kind(),
            StandingKind::Lapsed,
            "{clock}"
        );
    }
    let mut world = World::new();
    let first = delete(&mut world, "'x'");
    let id = granted(&mut world, &first, TERMS);
    world.pass(30 * MINUTE - Duration::from_secs(1));
    let ask = delete(&mut world, "'y'");
    assert!(runs(&mut world, &ask).is_some(), "a second before its end");
    world.pass(Duration::from_secs(2));
    world.tick();
    assert_eq!(
        grant(&mut world, id).standing.kind(),
        StandingKind::Lapsed,
        "by itself"
    );
}

#[test]
fn a_revoked_one_lets_nothing_through_and_stays_revoked() {
    let mut world = World::new();
    let first = delete(&mut world, "'x'");
    let id = granted(&mut world, &first, TERMS);
    let now = world.now;
    world
        .core()
        .revoke_standing(id, &person("eve"), "", now)
        .expect("revoked");
    let ask = delete(&mut world, "'y'");
    assert_eq!(runs(&mut world, &ask), None);
    let again = world.core().revoke_standing(id, &person("dora"), "", now);
    assert_eq!(
        again.expect_err("ended"),
        EndGrantError::NotOpen(StandingKind::Revoked)
    );
    let unknown = world
        .core()
        .revoke_standing(StandingGrantId::from_random(1), &person("dora"), "", now);
    assert_eq!(unknown.expect_err("unknown"), EndGrantError::NotFound);
    world.restart();
    let ask = delete(&mut world, "'y'");
    assert_eq!(runs(&mut world, &ask), None, "after a restart");
}

#[test]
fn promise_4_it_lapses_when_whoever_made_it_may_no_longer_decide_or_the_credential_changes() {
    type Beside = fn(&mut Store, countersign::clock::Timestamp);
    let changes: [(&str, Beside); 4] = [
        ("the approver is deactivated", |store, now| {
            store
                .person_set_active(&person("dora"), false, &person("root"), now)
                .expect("deactivated");
        }),
        ("the approver rotates the credential", |store, now| {
            store
                .agent_rotate(&principal("bot-a"), NativePassword::Refused, &person("dora"), now)
                .expect("rotated");
        }),
        ("somebody else rotates the credential", |store, now| {
            store
                .agent_rotate(&principal("bot-a"), NativePassword::Refused, &person("carl"), now)
                .expect("rotated");
        }),
        ("the credential is revoked", |store, now| {
            store
                .agent_revoke(&principal("bot-a"), &person("root"), now)
                .expect("revoked");
        }),
    ];
    for (what, change) in changes {
        for ticked in [true, false] {
            let mut world = World::new();
            let first = delete(&mut world, "'x'");
            let id = granted(&mut world, &first, OF_PRINCIPAL);
            let mut beside = Store::open(&store_path(world.dir.path())).expect("a second connection");
            change(&mut beside, world.now.wall);
            if ticked {
                world.tick();
                assert_eq!(
                    grant(&mut world, id).standing.kind(),
                    StandingKind::Lapsed,
                    "{what}"
                );
            }
            let ask = delete(&mut world, "'y'");
            match world.ask(&ask) {
                Ok(Asked::Parked(_)) | Err(AskError::CredentialEnded) => {}
                other => panic!("{what}: {other:?}"),
            }
        }
    }
}

/// `eve` is in no group: she counts for `dba` because `dora` has asked her to, as long as `dora` could.
#[test]
fn what_a_delegate_made_runs_as_often_as_it_says_and_ends_with_whom_the_delegate_stands_for() {
    type Beside = fn(&mut Store, countersign::clock::Timestamp);
    let changes: [(&str, Beside); 3] = [
        ("who delegated it is deactivated", |store, now| {
            store
                .person_set_active(&person("dora"), false, &person("root"), now)
                .expect("deactivated");
        }),
        ("who delegated it leaves the group", |store, now| {
            store
                .person_change(&person("dora"), None, Some(&[]), &person("root"), now)
                .expect("changed");
        }),
        ("the delegate is deactivated", |store, now| {
            store
                .person_set_active(&person("eve"), false, &person("root"), now)
                .expect("deactivated");
        }),
    ];
    for (what, change) in changes {
        let mut world = World::new();
        let mut first = delete(&mut world, "'x'");
        requires(&mut first, "1 of dba");
        let parked = world.expect_parked(&first);
        let asked = ActKind::Delegate {
            to: person("eve"),
            reason: "on leave".to_owned(),
        };
        world.act(parked.request, "dora", asked).expect("delegated");
        let now = world.now;
        let terms = Terms {
            uses: 4,
            ..OF_PRINCIPAL
        };
        let held = world
            .core()
            .decide(parked.request, &standing_word("eve", terms), now)
            .expect("in dora's place");
        let id = held.standing_grant.expect("a standing grant");
        let permit = world.start_run(parked.request, &first).expect("a permit");
        finish(&mut world, &permit);
        for literal in ["'a'", "'b'"] {
            let mut ask = delete(&mut world, literal);
            requires(&mut ask, "1 of dba");
            assert!(runs(&mut world, &ask).is_some(), "{:?}", grant(&mut world, id));
            world.tick();
        }
        let mut beside = Store::open(&store_path(world.dir.path())).expect("a second connection");
        change(&mut beside, world.now.wall);
        let mut ask = delete(&mut world, "'c'");
        requires(&mut ask, "1 of dba");
        assert!(runs(&mut world, &ask).is_none(), "{what}");
        assert_eq!(
            grant(&mut world, id).standing.kind(),
            StandingKind::Lapsed,
            "{what}"
        );
    }
}

/// A group that an approval counted for and its maker has left: somebody of it has to be asked again.
#[test]
fn it_lapses_when_a_place_that_its_maker_filled_is_empty() {
    let mut world = World::new();
    let mut first = delete(&mut world, "'x'");
    requires(&mut first, "dba:1 + security:1");
    let parked = world.expect_parked(&first);
    let now = world.now;
    for by in ["dora", "dave"] {
        let said = standing_word(by, OF_PRINCIPAL);
        world
            .core()
            .decide(parked.request, &said, now)
            .expect("an approval");
    }
    let permit = world.start_run(parked.request, &first).expect("a permit");
    finish(&mut world, &permit);
    let id = world
        .show(parked.request)
        .standing_grant
        .expect("a standing grant");
    let mut beside = Store::open(&store_path(world.dir.path())).expect("a second connection");
    let only_dba = ["dba".to_owned()];
    beside
        .person_change(
            &person("dave"),
            None,
            Some(&only_dba),
            &person("root"),
            world.now.wall,
        )
        .expect("changed");
    world.tick();
    assert_eq!(grant(&mut world, id).standing.kind(), StandingKind::Lapsed);
}

#[test]
fn a_change_of_other_people_leaves_it_alone() {
    let mut world = World::new();
    let first = delete(&mut world, "'x'");
    granted(&mut world, &first, TERMS);
    let mut beside = Store::open(&store_path(world.dir.path())).expect("a second connection");
    beside
        .person_set_active(&person("eve"), false, &person("root"), world.now.wall)
        .expect("deactivated");
    beside
        .agent_revoke(&principal("bot-b"), &person("root"), world.now.wall)
        .expect("revoked");
    world.tick();
    let ask = delete(&mut world, "'y'");
    assert!(runs(&mut world, &ask).is_some());
}

#[test]
fn where_two_must_approve_both_must_ask_for_it_and_get_the_narrower_one() {
    let mut world = World::new();
    let ask_of_two = |world: &mut World| {
        let mut ask = delete(world, "'x'");
        needs(&mut ask, 2);
        ask
    };
    let ask = ask_of_two(&mut world);
    let parked = world.expect_parked(&ask);
    let now = world.now;
    let wide = Terms {
        reach: Reach::Principal,
        minutes: 60,
        uses: 9,
    };
    let said = world
        .core()
        .decide(parked.request, &standing_word("dora", wide), now)
        .expect("the first");
    assert_eq!(said.standing_grant, None, "one of two");
    let said = world
        .core()
        .decide(parked.request, &standing_word("eve", TERMS), now)
        .expect("the second");
    let id = said.standing_grant.expect("made");
    let made = grant(&mut world, id);
    assert_eq!((made.session, made.uses_max), (Some(SESSION), 3));
    assert_eq!(made.until, now.wall.after(30 * MINUTE));
    assert_eq!(made.made_by.len(), 2);
    let mut ask = ask_of_two(&mut world);
    judge(&mut ask, "DELETE FROM orders WHERE status = 'y'");
    assert!(runs(&mut world, &ask).is_some());

    // One of the two says once.
    let mut world = World::new();
    let ask = ask_of_two(&mut world);
    let parked = world.expect_parked(&ask);
    world.approve(parked.request, "dora").expect("once");
    let refused = world
        .core()
        .decide(parked.request, &standing_word("eve", TERMS), now);
    assert_eq!(refusal(refused), NotStanding::ApprovedOnce { by: person("dora") });
    assert_eq!(
        world.approve(parked.request, "eve").expect("once").standing_grant,
        None
    );

    let mut world = World::new();
    let ask = ask_of_two(&mut world);
    let parked = world.expect_parked(&ask);
    world
        .core()
        .decide(parked.request, &standing_word("dora", TERMS), now)
        .expect("the first");
    assert_eq!(
        world.approve(parked.request, "eve").expect("once").standing_grant,
        None
    );
    let mut ask = ask_of_two(&mut world);
    judge(&mut ask, "DELETE FROM orders WHERE status = 'y'");
    assert_eq!(runs(&mut world, &ask), None);
}

#[test]
fn promise_10_time_uses_and_number_are_limited_and_it_can_be_switched_off() {
    let limits = |standing| Settings {
        standing,
        ..Settings::default()
    };
    let decide = |world: &mut World, terms| {
        let ask = delete(world, "'x'");
        let parked = world.expect_parked(&ask);
        let now = world.now;
        let decided = world
            .core()
            .decide(parked.request, &standing_word("dora", terms), now);
        if decided.is_ok() {
            let permit = world.start_run(parked.request, &ask).expect("a permit");
            finish(world, &permit);
        } else {
            world.core().withdraw(parked.request, "", now).expect("withdrawn");
        }
        decided
    };
    let mut world = World::new();
    for minutes in [0, 61] {
        let refused = decide(&mut world, Terms { minutes, ..TERMS });
        assert_eq!(refusal(refused), NotStanding::Minutes { max: 60 });
    }
    for uses in [0, 1, 101] {
        let refused = decide(&mut world, Terms { uses, ..TERMS });
        assert_eq!(refusal(refused), NotStanding::Uses { max: 100 });
    }
    let edge = Terms {
        minutes: 60,
        uses: 100,
        ..TERMS
    };
    decide(&mut world, edge).expect("the edge");
    for off in [
        StandingLimits {
            minutes_max: 0,
            ..StandingLimits::default()
        },
        StandingLimits {
            uses_max: 0,
            ..StandingLimits::default()
        },
    ] {
        let mut world = World::with(limits(off), Limits::default());
        assert_eq!(refusal(decide(&mut world, TERMS)), NotStanding::Off);
    }
    let two = StandingLimits {
        per_principal_max: 2,
        ..StandingLimits::default()
    };
    let mut world = World::with(limits(two), Limits::default());
    for table in ["a", "b"] {
        let ask = sending(&mut world, "bot-a", &format!("DELETE FROM {table}"));
        granted(&mut world, &ask, TERMS);
    }
    assert_eq!(
        refusal(decide(&mut world, TERMS)),
        NotStanding::TooMany { limit: 2 }
    );
    let other = sending(&mut world, "bot-b", "DELETE FROM a");
    granted(&mut world, &other, TERMS);
}

#[test]
fn a_restart_keeps_the_count_and_ends_what_was_for_a_session() {
    let mut world = World::new();
    let first = delete(&mut world, "'x'");
    let id = granted(&mut world, &first, OF_PRINCIPAL);
    let ask = delete(&mut world, "'y'");
    let Ok(Asked::Granted(_permit, request)) = world.ask(&ask) else {
        panic!("held")
    };
    world.restart();
    assert_eq!(world.state(request), StateKind::OutcomeUnknown);
    assert_eq!(grant(&mut world, id).uses, 2, "what may have run is spent");
    let ask = delete(&mut world, "'y'");
    assert!(runs(&mut world, &ask).is_some());
    let ask = delete(&mut world, "'y'");
    assert_eq!(runs(&mut world, &ask), None);

    let mut world = World::new();
    let first = delete(&mut world, "'x'");
    let id = granted(&mut world, &first, TERMS);
    world.restart();
    assert_eq!(grant(&mut world, id).standing.kind(), StandingKind::Lapsed);
    let ask = delete(&mut world, "'y'");
    assert_eq!(runs(&mut world, &ask), None);
}

#[test]
fn it_ends_with_its_session_and_a_grant_of_the_principal_does_not() {
    for (terms, kind) in [(TERMS, StandingKind::Lapsed), (OF_PRINCIPAL, StandingKind::Open)] {
        let mut world = World::new();
        let first = delete(&mut world, "'x'");
        let id = granted(&mut world, &first, terms);
        let now = world.now;
        world.core().session_ended(SessionId(78), now);
        assert_eq!(grant(&mut world, id).standing.kind(), StandingKind::Open);
        world.core().session_ended(SESSION, now);
        assert_eq!(grant(&mut world, id).standing.kind(), kind);
    }
}

#[test]
fn promise_5_a_use_whose_permit_was_not_taken_is_spent() {
    let mut world = World::new();
    let first = delete(&mut world, "'x'");
    let id = granted(&mut world, &first, TERMS);
    let ask = delete(&mut world, "'y'");
    let asked = world.ask(&ask).expect("an answer");
    let Asked::Granted(_, request) = &asked else {
        panic!("held")
    };
    let (request, now) = (*request, world.now);
    world.core().take_back_ask(asked, now);
    assert_eq!(world.state(request), StateKind::Withdrawn);
    assert_eq!(grant(&mut world, id).uses, 2);
}

#[test]
fn what_waited_before_it_was_made_goes_on_waiting_and_runs_when_it_is_sent_again() {
    let mut world = World::new();
    let early = delete(&mut world, "'early'");
    let waiting = world.expect_parked(&early);
    let left = delete(&mut world, "'left'");
    let detached = world.expect_parked(&left);
    let now = world.now;
    world
        .core()
        .detach(detached.request, Detach::WaitOver, now)
        .expect("detached");
    let first = delete(&mut world, "'x'");
    granted(&mut world, &first, TERMS);
    assert_eq!(world.state(waiting.request), StateKind::Pending);
    let again = delete(&mut world, "'left'");
    let request = runs(&mut world, &again).expect("covered");
    assert_ne!(request, detached.request);
    let State::Withdrawn { why } = world.show(detached.request).state else {
        panic!("nobody needs to decide it any more")
    };
    assert!(why.contains("standing grant"), "{why}");
    assert_eq!(world.state(waiting.request), StateKind::Pending);
}

#[test]
fn an_approval_for_the_very_bytes_is_used_before_a_standing_grant() {
    let mut world = World::new();
    let left = delete(&mut world, "'left'");
    let detached = world.expect_parked(&left);
    let now = world.now;
    world
        .core()
        .detach(detached.request, Detach::WaitOver, now)
        .expect("detached");
    world.approve(detached.request, "dora").expect("an approval");
    let first = delete(&mut world, "'x'");
    let id = granted(&mut world, &first, TERMS);
    let again = delete(&mut world, "'left'");
    assert_eq!(runs(&mut world, &again), Some(detached.request));
    assert_eq!(grant(&mut world, id).uses, 1);
    let again = delete(&mut world, "'left'");
    assert!(runs(&mut world, &again).is_some_and(|request| request != detached.request));
    assert_eq!(grant(&mut world, id).uses, 2);
}

#[test]
fn promise_5_two_desks_cannot_take_the_last_use_twice() {
    let mut world = World::new();
    let first = delete(&mut world, "'x'");
    let id = granted(&mut world, &first, Terms { uses: 2, ..TERMS });
    let before = grant(&mut world, id);
    let ask = delete(&mut world, "'y'");
    runs(&mut world, &ask).expect("the last use");
    // Somebody who had read it before that comes second.
    let mut beside = Store::open(&store_path(world.dir.path())).expect("a second connection");
    let request = world.show(before.request);
    let (used, _) = before.used(&request).expect("one was left then");
    let mut held = request.clone();
    held.id = RequestId::from_random(99);
    held.standing_grant = None;
    let saved = beside.insert_covered(&held, &used, before.version, &[]);
    assert_eq!(saved.expect("an answer"), countersign::store::Covering::Lost);
    assert_eq!(
        beside.request(held.id).expect("an answer"),
        None,
        "both or neither"
    );
}

#[cfg(feature = "faults")]
#[test]
fn promise_3_without_a_log_no_use_runs_and_what_was_counted_is_spent() {
    use countersign::journal::disk::Fault;
    for fault in [Fault::Full, Fault::FailWrite, Fault::FailSync] {
        let mut world = World::new();
        let first = delete(&mut world, "'x'");
        let id = granted(&mut world, &first, TERMS);
        world.faults.hold(fault);
        let ask = delete(&mut world, "'y'");
        assert_eq!(
            world.ask(&ask).expect_err("refused"),
            AskError::LogUnavailable,
            "{fault:?}"
        );
        let now = world.now;
        let revoked = world.core().revoke_standing(id, &person("eve"), "", now);
        assert_eq!(
            revoked.expect_err("not told yet"),
            EndGrantError::LogUnavailable,
            "{fault:?}"
        );
        world.faults.clear();
        world.tick();
        let ask = delete(&mut world, "'y'");
        let ran = runs(&mut world, &ask);
        let uses = grant(&mut world, id).uses;
        let wasted = if ran.is_some() { 2..=3 } else { 1..=3 };
        assert!(wasted.contains(&uses), "{fault:?}: {uses} uses");
    }
}
