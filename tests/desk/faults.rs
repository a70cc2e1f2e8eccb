//! Each fault of the store refuses statements, and is over when it is over, without a restart.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use countersign::desk::{AskError, Asked, DecideError, NotStarted, Settings};
use countersign::hold::StateKind;
use countersign::store::sqlite::{Limits, Store, StoreError};
use rusqlite::Connection;

use crate::world::{World, store_path};

fn fast() -> Limits {
    Limits {
        busy_wait: std::time::Duration::from_millis(5),
        pages_max: None,
    }
}

#[test]
fn a_locked_store_refuses_and_recovers() {
    let mut world = World::with(Settings::default(), fast());
    let (ask, parked) = world.park("bot-a", 1);
    world.approve(parked.request, "dora").expect("an approval");
    let (_, undecided) = world.park("bot-a", 2);
    let other = Connection::open(store_path(world.dir.path())).expect("a second connection");
    other.execute_batch("BEGIN EXCLUSIVE").expect("the lock");
    let refused = world.sending("bot-a", 3);
    assert_eq!(
        world.ask(&refused).expect_err("refused"),
        AskError::StoreUnavailable
    );
    assert_eq!(
        world.start_run(parked.request, &ask).expect_err("refused"),
        NotStarted::StoreUnavailable
    );
    let decided = world.approve(undecided.request, "dora");
    assert_eq!(decided.expect_err("refused"), DecideError::StoreUnavailable);
    drop(undecided);
    world.tick();
    other.execute_batch("ROLLBACK").expect("the lock is given back");
    world.tick();
    // The one session has left meanwhile, the other was refused; both moves were owed.
    let states: Vec<_> = world
        .core()
        .list(&countersign::desk::RequestFilter::default())
        .expect("a list")
        .items
        .into_iter()
        .map(|held| held.state.kind())
        .collect();
    assert_eq!(states, [StateKind::Detached, StateKind::Grant]);
    assert!(world.ask(&refused).is_ok());
    let again = world.sending("bot-a", 1);
    assert!(matches!(world.ask(&again), Ok(Asked::Granted(..))));
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let mut world = World::new();
    let pages: u32 = Connection::open(store_path(world.dir.path()))
        .and_then(|other| other.pragma_query_value(None, "page_count", |row| row.get(0)))
        .expect("a page count");
    world.limits.pages_max = Some(pages + 2);
    world.restart();
    let mut ask = world.sending("bot-a", 1);
    ask.text = vec![b'x'; 64 << 10];
    assert_eq!(world.ask(&ask).expect_err("refused"), AskError::StoreUnavailable);
    ask.text.truncate(100);
    assert!(world.ask(&ask).is_ok(), "room enough for a small one");
}

#[test]
fn a_read_only_file_is_an_error_and_no_panic() {
    if rustix::process::geteuid().is_root() {
        // Root writes what it likes: the same test again, as nobody.
        return run_as_nobody("faults::a_read_only_file_is_an_error_and_no_panic");
    }
    let dir = crate::world::scratch();
    let path = store_path(dir.path());
    drop(Store::open(&path).expect("a store"));
    let allow =
        |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    allow(0o400);
    let refused = Store::open(&path).expect_err("refused");
    assert!(matches!(refused, StoreError::ReadOnly), "{refused}");
    allow(0o600);
    Store::open(&path).expect("a store again");
}

fn run_as_nobody(test: &str) {
    let dir = crate::world::scratch();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let program = dir.path().join("desk-tests");
    std::fs::copy(std::env::current_exe().expect("this program"), &program).expect("a copy");
    let done = Command::new(&program)
        .args(["--exact", test])
        .uid(65534)
        .gid(65534)
        .output()
        .expect("a run");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn a_damaged_file_is_an_error_and_no_panic() {
    let dir = crate::world::scratch();
    let path = store_path(dir.path());
    std::fs::write(&path, vec![b'x'; 8192]).expect("written");
    let refused = Store::open(&path).expect_err("refused");
    assert!(matches!(refused, StoreError::Damaged(_)), "{refused}");
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let dir = crate::world::scratch();
    let path = store_path(dir.path());
    drop(Store::open(&path).expect("a store"));
    let other = Connection::open(&path).expect("a connection");
    other.pragma_update(None, "user_version", 99).expect("a version");
    let refused = Store::open(&path).expect_err("refused");
    assert!(
        matches!(refused, StoreError::TooNew { found: 99, .. }),
        "{refused}"
    );
}
