//! Anchors in a bucket: checkpoints go into moto's S3, which checks every signature and keeps every lock.
//!
//! Never skips a server that is missing: `./test` installs it. The bucket's own side is in `tests/s3/bucket.py`.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countersign::audit::{Body, Entry};
use countersign::clock::Timestamp;
use countersign::journal::tree::bucket::{Access, Bucket, Secret};
use countersign::journal::tree::verify::{Request, verify};
use countersign::journal::tree::{Anchor, TRACE_FILE, newest_in_bucket};
use countersign::journal::{Journal, JournalError, Settings};
use zeroize::Zeroizing;

/// Where `./test` installs the server.
fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let target = target.parent().expect("it is inside the target folder");
    let python = target.join("drivers/s3/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run ./test, which installs it",
        python.display()
    );
    python
}

/// A server with a bucket `locked` that has object lock, a bucket `plain` that has not, and one user.
struct Server {
    child: Child,
    endpoint: String,
    key_id: String,
    secret: String,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port().to_string();
        drop(listener);
        let child = Command::new(python())
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto is installed");
        let mut server = Self {
            child,
            endpoint: format!("http://127.0.0.1:{port}"),
            key_id: String::new(),
            secret: String::new(),
        };
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
            assert!(Instant::now() < end, "the server does not come up");
            std::thread::sleep(Duration::from_millis(100));
        }
        let made = server.script(&["prepare"]);
        server.key_id = made["key_id"].as_str().expect("an id").to_owned();
        server.secret = made["secret"].as_str().expect("a secret").to_owned();
        server
    }

    fn script(&self, words: &[&str]) -> serde_json::Value {
        let mut command = Command::new(python());
        command.arg("tests/s3/bucket.py").args(words).arg(&self.endpoint);
        if words != ["prepare"] {
            command.args([&self.key_id, &self.secret]);
        }
        let ran = command.output().expect("it runs");
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{errors}");
        serde_json::from_slice(&ran.stdout).expect("JSON")
    }

    fn access(&self, secret: &str) -> Access {
        Access {
            endpoint: self.endpoint.clone(),
            region: "eu-central-1".to_owned(),
            key_id: self.key_id.clone(),
            secret: Secret::Given(Zeroizing::new(secret.to_owned())),
            retain: Duration::from_secs(86_400),
        }
    }

    fn settings(&self, dir: &Path, bucket: &str, secret: &str) -> Settings {
        Settings {
            key_dir: dir.to_owned(),
            anchors: vec![Anchor::Bucket(Bucket::parse(bucket).expect("a bucket"))],
            bucket_access: Some(self.access(secret)),
            ..Settings::in_dir(dir.join("journal"))
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// One more record, and the end, at which a checkpoint is signed and handed on.
fn go_on(settings: Settings) -> u64 {
    let journal = Journal::open(settings).expect("it opens");
    let entry = Entry {
        time: Timestamp::now(),
        session: None,
        body: Body::SessionEnd { reason: "told" },
    };
    let mut lane = journal.lane(0);
    let recorded = lane.append(&[entry]).expect("the disk is well");
    lane.sync_blocking(&recorded).expect("the disk is well");
    let end = Instant::now() + Duration::from_secs(20);
    while journal.tree().anchored == 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    journal.tree().anchored
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a scratch folder");
    for file in std::fs::read_dir(from).expect("the folder") {
        let file = file.expect("a file of it").path();
        let target = to.join(file.file_name().expect("a name"));
        if file.is_dir() {
            copy(&file, &target);
        } else {
            std::fs::copy(&file, &target).expect("a copy");
        }
    }
}

#[test]
fn data_folder_turned_back_whole_is_found_by_a_locked_bucket_whatever_is_done_to_it() {
    let server = Server::start();
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let dir = scratch.path().join("data");
    let settings = |dir: &Path| server.settings(dir, "s3://locked/logs/one", &server.secret);
    assert!(
        go_on(settings(&dir)) > 0,
        "a checkpoint is taken and its lock read back"
    );
    let before = scratch.path().join("before");
    copy(&dir, &before);
    assert!(go_on(settings(&dir)) > 0);
    drop(Journal::open(settings(&dir)).expect("the log is whole"));
    // Whoever may write into the bucket covers what is there, and removes what they can.
    let done = server.script(&["attack"]);
    assert_eq!(done["versions"], done["refused"]);
    assert!(done["versions"].as_u64() >= Some(2), "{done}");
    drop(Journal::open(settings(&dir)).expect("what was locked is still there"));
    let error = Journal::open(settings(&before)).expect_err("it was turned back");
    assert!(
        matches!(&error, JournalError::Contradicted { file, .. } if file == Path::new("s3://locked/logs/one")),
        "{error}"
    );
    // Nothing in the folder itself tells.
    let alone = Settings {
        key_dir: before.clone(),
        ..Settings::in_dir(before.join("journal"))
    };
    drop(Journal::open(alone).expect("it agrees with itself"));
    assert!(before.join(TRACE_FILE).exists());
    // Offline, by what the bucket holds.
    let bucket = Bucket::parse("s3://locked/logs/one").expect("a bucket");
    let note = newest_in_bucket(&bucket, server.access(&server.secret)).expect("it answers");
    let anchor = scratch.path().join("anchor");
    std::fs::write(&anchor, format!("{}\n", note.expect("a checkpoint"))).expect("written");
    let verified = |dir: &Path| {
        let request = Request {
            journal: dir.join("journal"),
            key: None,
            key_dir: dir.to_owned(),
            anchors: vec![anchor.clone()],
            fetched: Vec::new(),
            retention: None,
        };
        verify(&request, |_, _| {}).expect("readable").finding
    };
    assert_eq!(verified(&dir), None);
    assert!(verified(&before).is_some());
}

/// `log verify --anchor s3://…` by the settings on the machine: each value counts, and what is missing is named.
#[test]
fn the_command_line_holds_a_log_against_its_bucket_by_the_settings() {
    let server = Server::start();
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let dir = scratch.path().join("data");
    let place = "s3://locked/logs/cli";
    let settings = |dir: &Path| server.settings(dir, place, &server.secret);
    assert!(go_on(settings(&dir)) > 0, "a checkpoint is in the bucket");
    copy(&dir, &scratch.path().join("before"));
    assert!(go_on(settings(&dir)) > 0);
    let file = scratch.path().join("secret");
    std::fs::write(&file, format!("{}\n", server.secret)).expect("written");
    let file = format!("secret_key_file = \"{}\"", file.display());
    let region = "region = \"eu-central-1\"";
    let key_id = format!("key_id = \"{}\"", server.key_id);
    // Runs it with these lines in [audit.s3]; gives its code and all that it says.
    let verify = |data: &str, lines: &[&str], variable: Option<&str>, anchor: &str| {
        let config = format!(
            "data_dir = \"{data}\"\n[[upstream.users]]\nname = \"app\"\n[audit.s3]\nendpoint = \"{}\"\n{}\n",
            server.endpoint,
            lines.join("\n")
        );
        std::fs::write(scratch.path().join("countersign.toml"), config).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.current_dir(scratch.path());
        command.args([
            "log",
            "verify",
            "--config",
            "countersign.toml",
            "--anchor",
            anchor,
        ]);
        for name in ["COUNTERSIGN_API_URL", "COUNTERSIGN_TOKEN", "COUNTERSIGN_CONFIG"] {
            command.env_remove(name);
        }
        if let Some(secret) = variable {
            command.env("COUNTERSIGN__AUDIT__S3__SECRET_KEY", secret);
        }
        let done = command.output().expect("the binary runs");
        let said = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8(said).expect("UTF-8"))
    };
    let right = [region, &key_id, &file];
    let check = |found: (Option<i32>, String), code: i32, words: &str, what: &str| {
        assert_eq!(found.0, Some(code), "{what}: {}", found.1);
        assert!(found.1.contains(words), "{what}: {}", found.1);
    };
    check(verify("data", &right, None, place), 0, "VERIFIED", "all is right");
    check(
        verify("before", &right, None, place),
        3,
        "FAILED",
        "the folder was turned back",
    );
    let no_file = [region, &key_id[..]];
    check(
        verify("data", &no_file, Some(&server.secret), place),
        0,
        "VERIFIED",
        "the secret is in a variable",
    );
    check(
        verify("data", &no_file, Some("another secret"), place),
        1,
        "s3",
        "another secret",
    );
    check(
        verify("data", &no_file, None, place),
        1,
        "secret_key_file",
        "no secret",
    );
    let written = format!("secret_key = \"{}\"", server.secret);
    check(
        verify("data", &[region, &key_id, &written], None, place),
        1,
        "does not belong into the settings file",
        "the secret is in the settings",
    );
    check(
        verify("data", &[&key_id, &file], None, place),
        1,
        "`region`",
        "no region",
    );
    check(
        verify("data", &[region, &file], None, place),
        1,
        "`key_id`",
        "no name of the key",
    );
    check(
        verify("data", &right, None, "s3://locked/logs/nothing"),
        3,
        "holds no checkpoint",
        "another place in the bucket",
    );
    check(
        verify("data", &right, None, "s3://nowhere/logs"),
        1,
        "s3",
        "another bucket",
    );
    let another = ["region = \"us-west-2\"", &key_id, &file];
    let (code, said) = verify("data", &another, None, place);
    assert_ne!(code, Some(3), "a wrong region is no broken log: {said}");
}

#[test]
fn bucket_that_does_not_lock_or_does_not_know_the_key_takes_nothing() {
    let server = Server::start();
    for (bucket, secret) in [
        ("s3://plain/logs", server.secret.as_str()),
        ("s3://locked/logs", "another secret"),
        ("s3://nowhere/logs", server.secret.as_str()),
    ] {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let settings = server.settings(scratch.path(), bucket, secret);
        let journal = Journal::open(settings).expect("a bucket that is away stops no start");
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            assert_eq!(journal.tree().anchored, 0, "{bucket}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
