//! A data folder that the first version of the store has left: opened, brought up to date, and decided as before.

use countersign::desk::{Asked, NotStanding};
use countersign::hold::{Shape, StateKind};
use countersign::identity::directory::Credential;
use countersign::store::sqlite::{Store, StoreError};
use rusqlite::Connection;

use crate::standing::{TERMS, sending, standing_word};
use crate::world::{World, person, scratch, store_path};

/// The version that is written today: each file of the schema is one.
fn known() -> u32 {
    let dir = scratch();
    let path = store_path(dir.path());
    Store::open(&path).expect("a store");
    version(&path)
}

/// As versions before the second file of the schema made it.
const FIRST: &str = include_str!("../../src/store/schema/001_requests.sql");

/// What such a version kept of a request beside its columns, to the letter.
const CARD: &str = r#"{"owner":"olga","profile":"standard","labels":{"team":"data"},"session":77,"source":"127.0.0.1",
"upstream":"main","database_user":"app","attempt_session":77,"attempt_number":1,"protocol":"simple",
"statements":[{"text":"REVMRVRFIEZST00gb3JkZXJz","class":"write","bounded":false,"verb":"delete",
"tables":[[null,"orders"]],"functions":[],"reasons":["has no WHERE: every row is written"]}],"parameters":[],
"transaction":{"state":"idle"},"copies_in":false,"claimed":{"application_name":"psql"},
"facts":{"search_path":"public"},"names":"r .orders 1 2","rules":"0101010101010101010101010101010101010101010101010101010101010101",
"rule":"writes","rule_line":9,"risk":"medium","reasons":["has no WHERE"],"approvers":[],"approvals_needed":1,
"stakes":{"owner":"olga","has_seen_secret":["carl"],"acts_for":null}}"#;

/// Turns a store of today into one of the first version, with two requests in it: nobody waits for `AAAAAA`, and
/// `BBBBBB` was decided.
fn as_the_first_version_left_it(path: &std::path::Path) {
    let people = {
        let today = Connection::open(path).expect("a store");
        let names = ["people", "tokens", "agents"];
        let dump = |table: &str| -> Vec<Vec<rusqlite::types::Value>> {
            let mut rows = today.prepare(&format!("SELECT * FROM {table}")).expect("a table");
            let columns = rows.column_count();
            rows.query_map([], |row| (0..columns).map(|at| row.get(at)).collect())
                .expect("rows")
                .collect::<Result<_, _>>()
                .expect("rows")
        };
        names.map(|table| (table, dump(table)))
    };
    for end in ["db", "db-wal", "db-shm"] {
        // Those that are not there need not be taken away.
        let _gone = std::fs::remove_file(path.with_extension(end));
    }
    let old = Connection::open(path).expect("a store");
    old.execute_batch(FIRST).expect("the first schema");
    for (table, rows) in people {
        for row in rows {
            let places = vec!["?"; row.len()].join(", ");
            old.execute(
                &format!("INSERT INTO {table} VALUES ({places})"),
                rusqlite::params_from_iter(row),
            )
            .expect("kept");
        }
    }
    let request = "INSERT INTO requests (id, state, state_data, version, owner_node, owner_epoch, digest, principal,
        database, class, fingerprint, created_at, changed_at, wait_ends_at, expires_at, text, card, is_open)
        VALUES (?1, ?2, ?3, 2, 'node', 1, ?4, 'bot-a', 'shop', 'write', ?4, 1767225600000000, 1767225600000000,
        1767225600000000, 1767232800000000, x'44454c4554452046524f4d206f7264657273', ?5, ?6)";
    let digest = [7_u8; 32];
    old.execute(
        request,
        rusqlite::params!["AAAAAA", "detached", "{}", digest, CARD, 1],
    )
    .expect("kept");
    let approved = r#"{"text":"no","by":["dora"]}"#;
    old.execute(
        request,
        rusqlite::params!["BBBBBB", "denied", approved, digest, CARD, 0],
    )
    .expect("kept");
    let said = "INSERT INTO decisions (request, person, approves, reason, channel, token_seen_by, at)
        VALUES ('BBBBBB', 'dora', 0, 'no', 'cli', '[]', 1767225600000000)";
    old.execute(said, []).expect("kept");
    let note = r#"{"note":"decision","request":"BBBBBB","approves":false,"by":"dora","reason":"no","channel":"cli",
        "digest":"0707070707070707070707070707070707070707070707070707070707070707"}"#;
    old.execute(
        "INSERT INTO outbox (at, note) VALUES (1767225600000000, ?1)",
        [note],
    )
    .expect("kept");
    old.pragma_update(None, "user_version", 1).expect("a version");
}

/// The verifiers of `bot-a` as that version kept them, and as they are kept after an update.
const KEPT_OF_EVERY_SECRET: &str = r#"{"caching_sha2_password":"cW2ToZrtHQ6ynRqYAFlGjqYNj2wYXNrTF8hmHM0Wz6M=","mysql_native_password":"JHDAbeQu/RYYu5kAWtyi7J0eGQ==","scram-sha-256":"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="}"#;

/// The bytes of the store's files.
fn bytes(path: &std::path::Path) -> Vec<u8> {
    let files = ["db", "db-wal"].map(|end| path.with_extension(end));
    let files = files.iter().filter_map(|file| std::fs::read(file).ok());
    files.flatten().collect()
}

#[test]
fn native_verifiers_that_nobody_asked_for_are_gone_after_an_update_and_the_others_stay() {
    let mut world = World::new();
    world.core = None;
    let path = store_path(world.dir.path());
    as_the_first_version_left_it(&path);
    let old = Connection::open(&path).expect("a store");
    let changed = old.execute(
        "UPDATE agents SET verifiers = ?1 WHERE name = 'bot-a'",
        [KEPT_OF_EVERY_SECRET],
    );
    assert_eq!(changed.expect("kept"), 1);
    drop(old);
    let mut store = Store::open(&path).expect("brought up to date");
    let agent = store.agent("bot-a").expect("an answer").expect("known");
    assert!(agent.mysql.caching_sha2.is_some() && agent.mysql.native.is_none());
    assert!(matches!(agent.credential, Credential::Secret(_)));
    drop(store);
    let left = bytes(&path);
    let verifier = b"JHDAbeQu/RYYu5kAWtyi7J0eGQ==";
    assert!(!left.windows(verifier.len()).any(|window| window == verifier));
}

fn version(path: &std::path::Path) -> u32 {
    let connection = Connection::open(path).expect("a store");
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("a version")
}

#[test]
fn a_store_of_the_first_version_is_brought_up_to_date_and_its_requests_are_decided_as_before() {
    let mut world = World::new();
    world.core = None;
    let path = store_path(world.dir.path());
    as_the_first_version_left_it(&path);
    assert_eq!(version(&path), 1);
    world.restart();
    assert_eq!(version(&path), known());
    let waiting = countersign::hold::RequestId::parse("AAAAAA").expect("an id");
    let decided = countersign::hold::RequestId::parse("BBBBBB").expect("an id");
    assert_eq!(world.state(decided), StateKind::Denied);
    assert_eq!(world.show(decided).decisions[0].by, person("dora"));
    let held = world.show(waiting);
    assert!(
        matches!(held.shape, Shape::DecidedEachTime { .. }),
        "{:?}",
        held.shape
    );
    // What is needed was not kept then, so there is no standing grant of it; once is as before.
    let now = world.now;
    let refused = world.core().decide(waiting, &standing_word("dora", TERMS), now);
    assert!(
        matches!(
            &refused,
            Err(countersign::desk::DecideError::NotStanding(NotStanding::DecidedEachTime { why }))
                if why.contains("earlier version")
        ),
        "{refused:?}"
    );
    world.approve(waiting, "dora").expect("once");
    assert_eq!(world.state(waiting), StateKind::Grant);
    // And what comes now can have one.
    let ask = sending(&mut world, "bot-a", "DELETE FROM orders WHERE status = 'x'");
    let parked = world.expect_parked(&ask);
    let said = world
        .core()
        .decide(parked.request, &standing_word("dora", TERMS), now);
    assert!(said.expect("approved").standing_grant.is_some());
    let ask = sending(&mut world, "bot-a", "DELETE FROM orders WHERE status = 'y'");
    assert!(matches!(world.ask(&ask), Ok(Asked::Granted(..))));
}

#[test]
fn several_processes_that_open_a_store_of_the_first_version_change_it_once() {
    for _ in 0..10 {
        let world = World::new();
        let path = store_path(world.dir.path());
        drop(world.core);
        as_the_first_version_left_it(&path);
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| Store::open(&path).expect("a store"));
            }
        });
        assert_eq!(version(&path), known());
    }
}

#[test]
fn a_store_of_a_newer_version_is_not_touched() {
    let dir = scratch();
    let path = store_path(dir.path());
    Store::open(&path).expect("a store");
    let newest = known();
    let newer = Connection::open(&path).expect("a store");
    newer
        .pragma_update(None, "user_version", newest + 1)
        .expect("a version");
    drop(newer);
    let refused = Store::open(&path).expect_err("it is too new");
    assert!(
        matches!(refused, StoreError::TooNew { found, known } if (found, known) == (newest + 1, newest)),
        "{refused}"
    );
    assert_eq!(version(&path), newest + 1);
}
