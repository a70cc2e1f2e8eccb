//! The whole program with a disk that fails and a store that is locked: statements are refused, and run again once the
//! fault is gone, without a restart. Needs the feature `faults`, which `./test` turns on.
#![cfg(feature = "faults")]

mod support;

use std::path::Path;

use support::api::Api;
use support::child::{Demo, Serve};
use support::server::{Postgres, eventually};
use support::wire::{Frames, Url, Wire, error, status, tags, value};

const FAULTS: &str = "COUNTERSIGN_JOURNAL_FAULTS";

fn demo_with(postgres: &Postgres, faults: &Path) -> Demo {
    let faults = faults.to_str().expect("UTF-8");
    Demo::in_front_of_with(postgres, &[(FAULTS, faults)])
}

/// Full, read-only, failing: each refuses, and none outlives its cause.
#[tokio::test(flavor = "multi_thread")]
async fn promise_3_a_log_that_cannot_be_written_refuses_statements_and_recovers() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let faults = folder.path().join("faults");
    std::fs::write(&faults, "").expect("written");
    let demo = demo_with(&postgres, &faults);
    let mut client = Wire::connect(&demo.sheet.postgres_url);
    assert_eq!(value(&client.query("SELECT 1")), "1");
    for fault in ["full", "read-only", "fail-write", "short-write"] {
        std::fs::write(&faults, format!("{fault}\n")).expect("written");
        let refused = client.query(&format!("SELECT 'under {fault}'"));
        assert_eq!(
            (error(&refused).sqlstate.as_str(), status(&refused)),
            ("58000", 'I'),
            "{fault}"
        );
        let batch = Frames::new()
            .parse("", "SELECT 2")
            .bind("", "", &[])
            .execute("")
            .sync();
        let refused = client.ask(batch);
        assert_eq!(
            (error(&refused).sqlstate.as_str(), tags(&refused).as_str()),
            ("58000", "EZ"),
            "{fault}"
        );
        std::fs::write(&faults, "").expect("written");
        assert_eq!(value(&client.query("SELECT 3")), "3", "after {fault}");
        assert!(!postgres.has_seen(&format!("under {fault}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_3_a_failed_fsync_refuses_what_must_be_on_disk_and_recovers() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let faults = folder.path().join("faults");
    std::fs::write(&faults, "").expect("written");
    let demo = demo_with(&postgres, &faults);
    let mut client = Wire::connect(&demo.sheet.postgres_url);
    std::fs::write(&faults, "fail-sync\n").expect("written");
    let write = "UPDATE countries SET name = 'Elsewhere' WHERE code = 'DE'";
    let refused = client.query(write);
    assert_eq!(
        (error(&refused).sqlstate.as_str(), status(&refused)),
        ("58000", 'I')
    );
    // What a person must decide needs the disk too.
    let refused = client.query("DROP TABLE reviews");
    assert_eq!(
        (error(&refused).sqlstate.as_str(), status(&refused)),
        ("58000", 'I')
    );
    std::fs::write(&faults, "").expect("written");
    assert!(!postgres.has_seen("Elsewhere"));
    eventually("it recovers", async || tags(&client.query(write)) == "CZ").await;
    client.send(Frames::new().query("DROP TABLE reviews"));
    demo.reviewer()
        .approve(&demo.reviewer().held("DROP TABLE reviews").await)
        .await;
    assert_eq!(tags(&client.until_ready()), "CZ");
}

/// A slow disk, as slow as can be: a sync that does not end.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_holds_up_what_must_be_on_disk_and_nobody_elses_reads() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let faults = folder.path().join("faults");
    std::fs::write(&faults, "").expect("written");
    let demo = demo_with(&postgres, &faults);
    let connect = || Wire::connect(&demo.sheet.postgres_url);
    let (mut writer, mut holder, mut readers) = (connect(), connect(), [connect(), connect(), connect()]);
    std::fs::write(&faults, "hang-sync\n").expect("written");
    let write = "UPDATE countries SET name = 'Elsewhere' WHERE code = 'DE'";
    writer.send(Frames::new().query(write));
    holder.send(Frames::new().query("DROP TABLE reviews"));
    for turn in 0..50 {
        for reader in &mut readers {
            assert_eq!(value(&reader.query(&format!("SELECT {turn}"))), turn.to_string());
        }
    }
    writer.is_silent(std::time::Duration::from_millis(300));
    assert!(
        !postgres.has_seen("Elsewhere"),
        "nothing goes before its record is on disk"
    );
    std::fs::write(&faults, "").expect("written");
    assert_eq!(tags(&writer.until_ready()), "CZ");
    let reviewer = demo.reviewer();
    reviewer.approve(&reviewer.held("DROP TABLE reviews").await).await;
    assert_eq!(tags(&holder.until_ready()), "CZ");
}

/// A Sync commits what ran before it and cannot be refused by itself, so it waits for the disk; its client need not.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_leave_while_its_commit_waits_for_the_disk() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let faults = folder.path().join("faults");
    std::fs::write(&faults, "").expect("written");
    let demo = demo_with(&postgres, &faults);
    let mut client = Wire::connect(&demo.sheet.postgres_url);
    let piped = |text: &str| {
        Frames::new()
            .parse("", text)
            .bind("", "", &[])
            .execute("")
            .flush()
    };
    client.send(piped("UPDATE countries SET name = 'Elsewhere' WHERE code = 'DE'"));
    client.until(b'C');
    client.send(piped("SELECT 'written, but not on disk'"));
    client.until(b'C');
    std::fs::write(&faults, "fail-sync\n").expect("written");
    client.send(Frames::new().sync());
    client.is_silent(std::time::Duration::from_millis(500));
    client.hang_up();
    let admin = postgres.connect_as_superuser().await;
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'shop_owner'";
    eventually("the server connection is closed", async || {
        let left: i64 = admin.query_one(sql, &[]).await.expect("an answer").get(0);
        left == 0
    })
    .await;
    let sql = "SELECT name FROM countries WHERE code = 'DE'";
    let name: String = admin.query_one(sql, &[]).await.expect("an answer").get(0);
    assert_ne!(name, "Elsewhere", "nothing is committed that is not on record");
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_3_a_locked_store_refuses_what_would_be_held_and_recovers() {
    let postgres = Postgres::start();
    let demo = Demo::in_front_of(&postgres);
    let mut client = Wire::connect(&demo.sheet.postgres_url);
    let store = std::fs::read_dir(&demo.sheet.data_dir)
        .expect("a folder")
        .filter_map(Result::ok)
        .map(|file| file.path())
        .find(|path| {
            path.extension()
                .is_some_and(|end| end == "db" || end == "sqlite" || end == "sqlite3")
        })
        .expect("the store's file");
    let locked = rusqlite::Connection::open(&store).expect("a second opening");
    locked.execute_batch("BEGIN EXCLUSIVE").expect("the lock");
    let refused = client.query("DROP TABLE reviews");
    assert_eq!(
        (error(&refused).sqlstate.as_str(), status(&refused)),
        ("58000", 'I')
    );
    assert_eq!(value(&client.query("SELECT 1")), "1", "reads need no store");
    locked.execute_batch("ROLLBACK").expect("unlocked");
    client.send(Frames::new().query("DROP TABLE reviews"));
    demo.reviewer()
        .approve(&demo.reviewer().held("DROP TABLE reviews").await)
        .await;
    assert_eq!(tags(&client.until_ready()), "CZ");
}

/// A proxy that is killed and started again in the same folder: pending requests are detached, and run when the agent
/// sends them again.
#[tokio::test(flavor = "multi_thread")]
async fn promise_6_a_restart_detaches_what_was_parked() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let keep = folder.path().join("data");
    let keep = keep.to_str().expect("UTF-8");
    let mut first = Demo::start(&["--upstream-postgres", &postgres.upstream_url(), "--keep", keep]);
    let mut client = Wire::connect(&first.sheet.postgres_url);
    client.send(Frames::new().query("DROP TABLE reviews"));
    let request = first.reviewer().held("DROP TABLE reviews").await;
    first.process().signal(rustix::process::Signal::KILL);
    first.process().wait();
    let settings = format!(
        "data_dir = {keep:?}\n[listen]\naddress = \"127.0.0.1:0\"\n[api]\naddress = \"127.0.0.1:0\"\n\
         [upstream]\nname = \"demo\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"disable\"\n\
         [[upstream.users]]\nname = \"shop_owner\"\npassword_file = \"password\"\n",
        postgres.upstream_port()
    );
    std::fs::write(folder.path().join("password"), postgres.owner_password()).expect("written");
    let second = Serve::start(folder.path(), &settings);
    let reviewer = Api::new(&second.api_url, &first.sheet.reviewer_token);
    let again = reviewer.held("DROP TABLE reviews").await;
    assert_eq!(again["id"], request["id"]);
    assert_eq!(again["detached"], true, "{again}");
    reviewer.approve(&again).await;
    let url = Url::parse(&first.sheet.postgres_url);
    let url = format!(
        "postgres://{}:{}@{}/{}",
        url.user, url.password, second.listen, url.database
    );
    let mut client = Wire::connect(&url);
    assert_eq!(
        tags(&client.query("DROP TABLE reviews")),
        "CZ",
        "the grant runs it once"
    );
}
