//! Log-ins that only a current libpq makes, by psycopg's own: protocol 3.2, direct TLS.
//!
//! Never skips a client that is missing: `./test` installs it. What the program prints: `tests/clients/README.md`.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use support::child::{Demo, Process};
use support::house::{Certificates, House, tls_lines};
use support::server::Postgres;

/// psycopg, where `./test` installs it.
fn psycopg(url: &str, statement: &[&str]) -> Process {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("it is inside the target folder");
    let python = target.join("drivers/python/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run ./test, which installs the drivers",
        python.display()
    );
    let mut command = Command::new(python);
    command
        .arg("tests/clients/psycopg_login.py")
        .arg(url)
        .args(statement)
        .stdin(Stdio::piped());
    Process::spawn(command)
}

#[tokio::test]
async fn every_version_of_the_protocol_logs_in_and_cancels_with_its_own_key() {
    let postgres = Postgres::start();
    let demo = Demo::in_front_of(&postgres);
    let reviewer = demo.reviewer();
    for (asked, spoken) in [("3.0", "30000"), ("3.2", "30002"), ("latest", "30002")] {
        let table = format!("no_table_{}", asked.replace('.', "_"));
        let text = format!("DROP TABLE {table}");
        let url = format!("{}?max_protocol_version={asked}", demo.sheet.postgres_url);
        let mut client = psycopg(&url, &[&text]);
        assert_eq!(
            client.next_line_of(&["in", "refused"]),
            format!("in {spoken} plain")
        );
        let request = reviewer.held(&text).await;
        std::io::Write::write_all(&mut client.take_stdin(), b"cancel\n").expect("it reads");
        assert_eq!(client.next_line_of(&["ok", "error"]), "error 57014", "{asked}");
        assert_eq!(client.next_line_of(&["after"]), "after 1");
        reviewer.until_state(&request, &["withdrawn"]).await;
        assert!(!postgres.has_seen(&text));
    }
}

#[tokio::test]
async fn libpq_begins_with_tls_at_once_and_binds_to_it() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let house = House::open(
        &postgres,
        &tls_lines("required", &certificates),
        "tls = \"disable\"",
    );
    let authority = certificates.authority.display();
    let verified = format!("sslmode=verify-full&sslrootcert={authority}");
    for options in [
        "sslnegotiation=direct",
        "sslnegotiation=direct&channel_binding=require",
        "sslnegotiation=postgres&channel_binding=require",
        "sslnegotiation=direct&max_protocol_version=latest",
    ] {
        let mut client = psycopg(&format!("{}?{verified}&{options}", house.url("localhost")), &[]);
        let line = client.next_line_of(&["in", "refused"]);
        assert!(
            line.starts_with("in ") && line.ends_with(" tls"),
            "{options}: {line}"
        );
        assert_eq!(client.next_line_of(&["after"]), "after 1");
    }
    let plain = House::open(&postgres, "", "tls = \"disable\"");
    let mut client = psycopg(
        &format!("{}?{verified}&sslnegotiation=direct", plain.url("localhost")),
        &[],
    );
    assert!(client.next_line_of(&["in", "refused"]).starts_with("refused"));
}
