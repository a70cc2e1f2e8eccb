//! Log-in on both sides as real clients do it: TLS to the proxy by psql, TLS and every password method to the server.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use countersign::wire::postgres::startup::PROTOCOL_3_0;
use rcgen::{CertificateParams, Issuer, KeyPair};
use support::child::Serve;
use support::server::{PROGRAM, Postgres};
use support::wire::{Frames, Wire, error, value};

/// An authority with one server certificate for `localhost`.
struct Certificates {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificates {
    fn make(folder: &Path, host: &str) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
        // Two certificates of one name would look self-signed.
        authority
            .distinguished_name
            .push(rcgen::DnType::CommonName, "an authority of a test");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().expect("a key");
        let authority_pem = authority
            .self_signed(&authority_key)
            .expect("a certificate")
            .pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().expect("a key");
        let server = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
        let signed = server.signed_by(&key, &issuer).expect("a certificate");
        let file = |name: &str, text: &str| {
            let path = folder.join(format!("{host}-{name}"));
            std::fs::write(&path, text).expect("written");
            path
        };
        Self {
            authority: file("ca.pem", &authority_pem),
            certificate: file("cert.pem", &signed.pem()),
            key: file("key.pem", &key.serialize_pem()),
        }
    }

    /// The server reads its key only if it is its own, or nobody else's.
    fn give_to(&self, user: u32) {
        for file in [&self.authority, &self.certificate, &self.key] {
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("a mode");
            chown(file, Some(user), None).expect("they are this user's, or this user is root");
        }
    }
}

/// A proxy with one agent, made as the README says.
struct House {
    folder: tempfile::TempDir,
    serve: Serve,
    password: String,
}

impl House {
    /// `listen` and `upstream`: further lines of those sections.
    fn open(postgres: &Postgres, listen: &str, upstream: &str) -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        std::fs::write(folder.path().join("password"), postgres.owner_password()).expect("written");
        let settings = format!(
            "data_dir = \"data\"\n[listen]\naddress = \"127.0.0.1:0\"\n{listen}\n[api]\naddress = \"127.0.0.1:0\"\n\
             [upstream]\nport = {}\n{upstream}\n\
             [[upstream.users]]\nname = \"shop_owner\"\npassword_file = \"password\"\n",
            postgres.port()
        );
        let serve = Serve::start(folder.path(), &settings);
        let run = |arguments: &[&str]| {
            let done = Command::new(PROGRAM)
                .current_dir(folder.path())
                .args(arguments)
                .args(["--data-dir", "data", "--json"])
                .output()
                .expect("the binary runs");
            assert!(
                done.status.success(),
                "{arguments:?}: {}",
                String::from_utf8_lossy(&done.stderr)
            );
            serde_json::from_slice::<serde_json::Value>(&done.stdout).expect("JSON")
        };
        run(&["user", "add", "ann", "--role", "admin"]);
        let agent = run(&[
            "agent",
            "add",
            "bot",
            "--owner",
            "ann",
            "--database-user",
            "shop_owner",
        ]);
        let password = agent["secret"].as_str().expect("shown once").to_owned();
        Self {
            folder,
            serve,
            password,
        }
    }

    fn url(&self, host: &str) -> String {
        format!(
            "postgres://bot:{}@{host}:{}/shop",
            self.password,
            self.serve.listen.port()
        )
    }

    fn psql(&self, host: &str, options: &str) -> (bool, String) {
        let done = Command::new("psql")
            .args([
                "-XAtc",
                "SELECT 'let in'",
                &format!("{}?{options}", self.url(host)),
            ])
            .output()
            .expect("psql runs");
        let said = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
}

/// Version 3 of the protocol.
const fn version(minor: u32) -> u32 {
    PROTOCOL_3_0 | minor
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_of_the_protocol_gets_what_it_knows() {
    let postgres = Postgres::start();
    let house = House::open(&postgres, "", "tls = \"disable\"");
    let url = house.url("127.0.0.1");
    let grease = "_pq_.test_protocol_negotiation";
    // Asked for, options, then: spoken as told by NegotiateProtocolVersion, bytes of the cancel key.
    let cases = [
        (0, None, None, 4),
        (1, None, None, 4),
        (2, None, None, 32),
        (3, None, Some(2), 32),
        (9999, Some(grease), Some(2), 32),
        (0, Some(grease), Some(0), 4),
    ];
    for (asked, option, told, key_bytes) in cases {
        let options: Vec<_> = option.iter().map(|name| (*name, "x")).collect();
        let mut client = Wire::connect_at(version(asked), &url, &options).expect("let in");
        let negotiated = told.map(|minor| {
            let mut body = version(minor).to_be_bytes().to_vec();
            body.extend((options.len() as u32).to_be_bytes());
            for (name, _) in &options {
                body.extend(name.as_bytes());
                body.push(0);
            }
            body
        });
        assert_eq!(client.negotiated, negotiated, "3.{asked}");
        assert_eq!(client.key.len(), key_bytes, "3.{asked}");
        assert_eq!(value(&client.query("SELECT 1")), "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_counts_only_with_the_whole_key() {
    let postgres = Postgres::start();
    let house = House::open(&postgres, "", "tls = \"disable\"");
    let mut client = Wire::connect_at(version(2), &house.url("127.0.0.1"), &[]).expect("let in");
    client.send(Frames::new().query("DROP TABLE reviews"));
    client.until(b'N');
    let key = client.key.clone();
    let mut guessed = key.clone();
    guessed[31] ^= 1;
    let padded = [&key[..], &[0; 4]].concat();
    for no_key in [&key[..4], &key[..31], &padded, &guessed] {
        client.cancel_with(no_key);
    }
    client.is_silent(std::time::Duration::from_millis(300));
    client.cancel();
    assert_eq!(error(&client.until_ready()).sqlstate, "57014");
    assert_eq!(value(&client.query("SELECT 1")), "1");
    assert!(!postgres.has_seen("DROP TABLE"));
}

fn tls_lines(mode: &str, certificates: &Certificates) -> String {
    format!(
        "tls = {mode:?}\ncert_file = {:?}\nkey_file = {:?}",
        certificates.certificate, certificates.key
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_the_proxy_is_verified_required_or_offered() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let authority = certificates.authority.display();
    let house = House::open(
        &postgres,
        &tls_lines("required", &certificates),
        "tls = \"disable\"",
    );
    let verified = format!("sslmode=verify-full&sslrootcert={authority}");
    assert_eq!(house.psql("localhost", &verified), (true, "let in\n".to_owned()));
    let (let_in, said) = house.psql("localhost", "sslmode=disable");
    assert!(!let_in && said.contains("requires TLS"), "{said}");
    let (let_in, said) = house.psql("127.0.0.1", &verified);
    assert!(!let_in && said.contains("certificate"), "{said}");

    // Bytes behind an SSLRequest could be taken for part of the encrypted talk.
    let mut stream = TcpStream::connect(house.serve.listen).expect("it listens");
    let mut bytes = countersign::wire::postgres::startup::encode_ssl_request();
    bytes.extend(Frames::new().query("DROP TABLE reviews").0);
    stream.write_all(&bytes).expect("it reads");
    let mut answer = Vec::new();
    // A reset is as good an end as a close.
    let _reset = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer == b"S", "{answer:?}");
    assert!(!postgres.has_seen("DROP TABLE"));

    let offered = House::open(
        &postgres,
        &tls_lines("offered", &certificates),
        "tls = \"disable\"",
    );
    for mode in ["disable", "prefer", "require"] {
        let (let_in, said) = offered.psql("localhost", &format!("sslmode={mode}"));
        assert!(let_in, "{mode}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_a_wrong_name_and_a_revoked_agent_look_alike_and_are_recorded() {
    let postgres = Postgres::start();
    let house = House::open(&postgres, "", "tls = \"disable\"");
    let host = "127.0.0.1";
    assert_eq!(value(&Wire::connect(&house.url(host)).query("SELECT 1")), "1");
    let port = house.serve.listen.port();
    let mut messages = Vec::new();
    for (name, password) in [("bot", "wrong"), ("nobody", "wrong")] {
        let url = format!("postgres://{name}:{password}@{host}:{port}/shop");
        let refused = Wire::connect_with(&url, &[]).err().expect("not let in");
        assert_eq!(refused.sqlstate, "28P01");
        messages.push(refused.message.replace(name, "NAME"));
    }
    assert_eq!(messages[0], messages[1], "nobody learns which names exist");
    let revoked = Command::new(PROGRAM)
        .current_dir(house.folder.path())
        .args(["agent", "revoke", "bot", "--data-dir", "data", "--json"])
        .output()
        .expect("the binary runs");
    assert!(
        revoked.status.success(),
        "{}",
        String::from_utf8_lossy(&revoked.stderr)
    );
    assert!(
        Wire::connect_with(&house.url(host), &[]).is_err(),
        "at once, in a running serve"
    );
    let log = Command::new(PROGRAM)
        .current_dir(house.folder.path())
        .args(["log", "query", "--data-dir", "data", "--json", "--limit", "100"])
        .output()
        .expect("the binary runs");
    let log = String::from_utf8(log.stdout).expect("UTF-8");
    for reason in ["wrong password", "nobody", "credential revoked"] {
        assert!(log.contains(reason), "{reason}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_the_server_is_verified_as_the_settings_say() {
    let folder = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .expect("a scratch folder");
    let good = Certificates::make(folder.path(), "localhost");
    let other = Certificates::make(folder.path(), "elsewhere");
    let user = std::fs::metadata(Postgres::start().server().folder().join("data"))
        .expect("a cluster")
        .uid();
    good.give_to(user);
    let postgres = Postgres::start_with(&[
        ("ssl", "on"),
        ("ssl_cert_file", good.certificate.to_str().expect("UTF-8")),
        ("ssl_key_file", good.key.to_str().expect("UTF-8")),
    ]);
    let upstream = |host: &str, tls: &str, authority: Option<&Certificates>| {
        let authority = authority
            .map(|made| format!("ca_file = {:?}", made.authority))
            .unwrap_or_default();
        format!("host = {host:?}\ntls = {tls:?}\n{authority}")
    };
    for (lines, let_in) in [
        (upstream("localhost", "require", None), true),
        (upstream("localhost", "verify-full", Some(&good)), true),
        (upstream("127.0.0.1", "verify-ca", Some(&good)), true),
        (upstream("127.0.0.1", "verify-full", Some(&good)), false),
        (upstream("localhost", "verify-full", Some(&other)), false),
        (upstream("localhost", "verify-ca", Some(&other)), false),
    ] {
        let house = House::open(&postgres, "", &lines);
        let connected = Wire::connect_with(&house.url("127.0.0.1"), &[]);
        match connected {
            Ok(mut client) => {
                assert!(let_in, "{lines}");
                let encrypted = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
                assert_eq!(value(&client.query(encrypted)), "true");
            }
            Err(fields) => {
                assert!(!let_in, "{lines}: {fields:?}");
                assert_eq!(fields.sqlstate, "08006");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_not_used_where_tls_is_required() {
    let postgres = Postgres::start();
    let house = House::open(&postgres, "", "host = \"localhost\"\ntls = \"require\"");
    let refused = Wire::connect_with(&house.url("127.0.0.1"), &[])
        .err()
        .expect("no server");
    assert_eq!(refused.sqlstate, "08006");
}

#[tokio::test(flavor = "multi_thread")]
async fn md5_works_and_cleartext_only_inside_tls() {
    let folder = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .expect("a scratch folder");
    let access = folder.path().join("pg_hba.conf");
    std::fs::write(
        &access,
        "local all all trust\nhost all postgres all scram-sha-256\nhost all all all md5\n",
    )
    .expect("written");
    let postgres = Postgres::start_with(&[
        ("hba_file", access.to_str().expect("UTF-8")),
        ("password_encryption", "md5"),
    ]);
    let admin = postgres.connect_as_superuser().await;
    let password = format!("ALTER ROLE shop_owner PASSWORD '{}'", postgres.owner_password());
    admin.batch_execute(&password).await.expect("a superuser may");
    let house = House::open(&postgres, "", "tls = \"disable\"");
    assert_eq!(
        value(&Wire::connect(&house.url("127.0.0.1")).query("SELECT 1")),
        "1"
    );
    std::fs::write(&access, "local all all trust\nhost all all all password\n").expect("written");
    admin
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .expect("a superuser may");
    support::server::eventually("the server asks for the password itself", async || {
        Wire::connect_with(&house.url("127.0.0.1"), &[])
            .err()
            .is_some_and(|fields| fields.sqlstate == "08006")
    })
    .await;
}
