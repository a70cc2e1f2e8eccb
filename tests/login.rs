//! Log-in on both sides as real clients do it: TLS to the proxy by psql, TLS and every password method to the server.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::sync::Arc;

use countersign::wire::postgres::scram::Binding;
use countersign::wire::postgres::startup::{PROTOCOL_3_0, encode_ssl_request};
use rcgen::{CertificateParams, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use support::api::{Api, id_of};
use support::house::{Certificates, House, tls_lines};
use support::server::{PROGRAM, Postgres};
use support::wire::{Frames, TlsStart, Url, Wire, error, value};

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
    let mut bytes = encode_ssl_request();
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

/// A client that trusts one authority and offers these protocols inside TLS.
fn trusting(authority: &std::path::Path, protocols: &[&str]) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(authority).expect("PEM");
    roots.add(certificate).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

#[tokio::test(flavor = "multi_thread")]
async fn direct_tls_needs_its_protocol_named_and_no_other_is_answered() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let house = House::open(
        &postgres,
        &tls_lines("required", &certificates),
        "tls = \"disable\"",
    );
    let url = house.url("127.0.0.1");
    let ours = "postgresql";
    for (start, protocols, is_let_in) in [
        (TlsStart::Direct, &[ours][..], true),
        (TlsStart::Direct, &["http/1.1", ours], true),
        (TlsStart::Direct, &[], false),
        (TlsStart::Direct, &["http/1.1"], false),
        (TlsStart::AfterRequest, &[ours], true),
        (TlsStart::AfterRequest, &[], true),
        (TlsStart::AfterRequest, &["http/1.1"], false),
        (TlsStart::AfterRequest, &["postgresql2", "postgres"], false),
    ] {
        let config = trusting(&certificates.authority, protocols);
        let opened = Wire::open_tls(&url, &config, start);
        let mut client = match opened {
            Ok(client) => client,
            Err(error) => {
                assert!(!is_let_in, "{start:?} {protocols:?}: {error}");
                continue;
            }
        };
        if is_let_in {
            let parsed = Url::parse(&url);
            client.start(PROTOCOL_3_0, &parsed, &[]);
            client.log_in(&parsed.password, Binding::Unable).expect("let in");
            assert_eq!(value(&client.query("SELECT 1")), "1");
        } else {
            assert!(client.try_read().is_err(), "{start:?} {protocols:?}: closed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_smuggled_around_a_direct_handshake_reach_nobody() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let house = House::open(
        &postgres,
        &tls_lines("offered", &certificates),
        "tls = \"disable\"",
    );
    let config = trusting(&certificates.authority, &["postgresql"]);
    let drop_it = Frames::new().query("DROP TABLE reviews").0;

    // In plaintext behind the ClientHello.
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let mut hello = rustls::ClientConnection::new(Arc::clone(&config), name).expect("a client");
    let mut bytes = Vec::new();
    hello.write_tls(&mut bytes).expect("a ClientHello");
    bytes.extend(&drop_it);
    let mut stream = TcpStream::connect(house.serve.listen).expect("it listens");
    stream.write_all(&bytes).expect("it reads");
    let mut answer = Vec::new();
    // It ends with an alert or a reset, after what the server says of itself in TLS.
    let _end = stream.read_to_end(&mut answer);
    assert!(
        answer.iter().take(1).all(|byte| *byte == 0x16 || *byte == 0x15),
        "{answer:?}"
    );

    // TLS inside TLS.
    let mut client = Wire::open_tls(&house.url("127.0.0.1"), &config, TlsStart::Direct).expect("TLS");
    client.send(Frames::new().bytes(&encode_ssl_request()));
    assert!(client.try_read().is_err(), "closed");

    // Where there is no TLS there is no direct one.
    let plain = House::open(&postgres, "", "tls = \"disable\"");
    assert!(Wire::open_tls(&plain.url("127.0.0.1"), &config, TlsStart::Direct).is_err());
    assert!(!postgres.has_seen("DROP TABLE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_is_bound_to_the_tls_channel_where_the_client_can() {
    let postgres = Postgres::start();
    for (algorithm, can_bind) in [
        (&PKCS_ECDSA_P256_SHA256, true),
        (&PKCS_ECDSA_P384_SHA384, true),
        (&PKCS_ED25519, false),
    ] {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let certificates = Certificates::make_for(folder.path(), "localhost", algorithm);
        let house = House::open(
            &postgres,
            &tls_lines("offered", &certificates),
            "tls = \"disable\"",
        );
        let authority = certificates.authority.display();
        let verified = format!("sslmode=verify-full&sslrootcert={authority}");
        let (let_in, said) = house.psql("localhost", &format!("{verified}&channel_binding=require"));
        assert_eq!(let_in, can_bind, "{algorithm:?}: {said}");
        for binding in ["prefer", "disable"] {
            let (let_in, said) = house.psql("localhost", &format!("{verified}&channel_binding={binding}"));
            assert!(let_in, "{algorithm:?} {binding}: {said}");
        }
        let (let_in, _) = house.psql("localhost", "sslmode=disable&channel_binding=require");
        assert!(!let_in, "there is nothing to bind to");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_ends_the_tls_in_between_gets_no_session() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let house = House::open(
        &postgres,
        &tls_lines("required", &certificates),
        "tls = \"disable\"",
    );
    let config = trusting(&certificates.authority, &[]);

    // Somebody with a certificate of their own relays every byte; the client verifies nothing.
    let elsewhere = Certificates::make(folder.path(), "elsewhere");
    let between = relay(&elsewhere, &config, house.serve.listen).await;
    let port = house.serve.listen.port();
    let url = house
        .url("localhost")
        .replace(&format!(":{port}/"), &format!(":{}/", between.port()));
    let relayed = tokio::task::spawn_blocking(move || {
        let psql = |options: &str| {
            let done = Command::new("psql")
                .args([
                    "-XAtc",
                    "SELECT 'let in'",
                    &format!("{url}?sslmode=require&{options}"),
                ])
                .output()
                .expect("psql runs");
            String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned()
        };
        ["channel_binding=prefer", "channel_binding=disable"].map(psql)
    });
    let [bound, unbound] = relayed.await.expect("psql runs");
    assert!(bound.contains("channel binding check failed"), "{bound}");
    assert!(
        unbound.contains("let in"),
        "so it is the binding that stops it: {unbound}"
    );

    // Somebody took the offer out of the list.
    let url = Url::parse(&house.url("127.0.0.1"));
    let mut client = Wire::open_tls(&house.url("127.0.0.1"), &config, TlsStart::AfterRequest).expect("TLS");
    client.start(PROTOCOL_3_0, &url, &[]);
    let refused = client
        .log_in(&url.password, Binding::NotOffered)
        .expect_err("refused");
    assert_eq!(refused.sqlstate, "28000", "{refused:?}");

    // Another kind of binding than the one that was offered, and the one by which `tls-exporter` is asked for.
    let mut client = Wire::open_tls(&house.url("127.0.0.1"), &config, TlsStart::AfterRequest).expect("TLS");
    client.start(PROTOCOL_3_0, &url, &[]);
    let offered = client.until(b'R').pop().expect("an offer");
    assert_eq!(&offered.body[4..], b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
    let first = b"p=tls-exporter,,n=,r=abc";
    let body = [
        b"SCRAM-SHA-256-PLUS\0",
        &(first.len() as u32).to_be_bytes()[..],
        first,
    ]
    .concat();
    client.send(Frames::new().raw(b'p', &body));
    assert_eq!(client.read().fields().sqlstate, "28000");

    let reasons: Vec<String> = house
        .log_ins()
        .iter()
        .map(|record| record["reason"].to_string())
        .collect();
    for reason in ["another TLS channel", "did not reach the client"] {
        assert!(
            reasons.iter().any(|known| known.contains(reason)),
            "{reason}: {reasons:?}"
        );
    }
}

/// Ends the TLS of its clients with its own certificate, and begins another towards `proxy`.
async fn relay(
    shown: &Certificates,
    config: &Arc<rustls::ClientConfig>,
    proxy: std::net::SocketAddr,
) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let chain = vec![CertificateDer::from_pem_file(&shown.certificate).expect("PEM")];
    let key = PrivateKeyDer::from_pem_file(&shown.key).expect("PEM");
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(config.crypto_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (acceptor, connector) = (acceptor.clone(), connector.clone());
            tokio::spawn(async move {
                client.read_exact(&mut [0; 8]).await?;
                client.write_all(b"S").await?;
                let mut client = acceptor.accept(client).await?;
                let mut server = tokio::net::TcpStream::connect(proxy).await?;
                server.write_all(&encode_ssl_request()).await?;
                server.read_u8().await?;
                let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
                let mut server = connector.connect(name, server).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_take_hold_at_sighup_and_no_session_ends() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let old = Certificates::make(folder.path(), "localhost");
    let mut house = House::open(&postgres, &tls_lines("required", &old), "tls = \"disable\"");
    let url = house.url("127.0.0.1");
    let parsed = Url::parse(&url);
    let let_in = |config: &Arc<rustls::ClientConfig>| {
        let mut client = Wire::open_tls(&url, config, TlsStart::Direct).ok()?;
        client.start(PROTOCOL_3_0, &parsed, &[]);
        client.log_in(&parsed.password, Binding::Unable).expect("let in");
        Some(client)
    };
    let trusts_old = trusting(&old.authority, &["postgresql"]);
    let mut session = let_in(&trusts_old).expect("a session");
    // One that is still in its handshake's place: connected, and silent.
    let waiting = Wire::open_tls(&url, &trusts_old, TlsStart::Direct).expect("TLS");

    // The same names, other keys: make() writes over them.
    let new = Certificates::make(folder.path(), "localhost");
    let trusts_new = trusting(&new.authority, &["postgresql"]);
    house.reload("certificates are in force");
    assert!(let_in(&trusts_old).is_none(), "the old one is no longer shown");
    assert!(let_in(&trusts_new).is_some());
    assert_eq!(value(&session.query("SELECT 1")), "1", "the session goes on");
    let mut waiting = waiting;
    waiting.start(PROTOCOL_3_0, &parsed, &[]);
    let shown_then = {
        let der = waiting.shown_certificate().expect("TLS");
        <sha2::Sha256 as sha2::Digest>::digest(der).to_vec()
    };
    let bound = waiting.log_in(&parsed.password, Binding::EndPoint(&shown_then));
    bound.expect("bound to what was shown to it, not to what is shown now");
    let (is_let_in, said) = house.psql(
        "localhost",
        &format!(
            "sslmode=verify-full&channel_binding=require&sslrootcert={}",
            new.authority.display()
        ),
    );
    assert!(is_let_in, "{said}");

    std::fs::write(&new.key, "broken").expect("written");
    house.reload("the proxy keeps its old certificate");
    let again = let_in(&trusts_new);
    assert_eq!(value(&again.expect("the last good one").query("SELECT 1")), "1");
    assert_eq!(value(&session.query("SELECT 1")), "1");
    let page = house.run(&["log", "query", "--kind", "certificates_change"]);
    let changes: Vec<_> = page["items"].as_array().expect("items").iter().collect();
    let words = |record: &serde_json::Value| {
        [&record["change"], &record["name"], &record["by"]]
            .map(|word| word.as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!(words(changes[0]), ["rejected", "listen", "SIGHUP"]);
    assert!(
        changes[0]["detail"]
            .as_str()
            .is_some_and(|why| why.contains("key")),
        "{changes:?}"
    );
    assert_eq!(words(changes[1]), ["loaded", "listen", "SIGHUP"]);
}

/// What a client asks its authority for.
fn names(common: &str, alternatives: &[&str]) -> CertificateParams {
    let mut asked = CertificateParams::default();
    asked.distinguished_name = rcgen::DistinguishedName::new();
    asked.distinguished_name.push(rcgen::DnType::CommonName, common);
    asked.subject_alt_names = alternatives
        .iter()
        .map(|uri| rcgen::SanType::URI((*uri).try_into().expect("ASCII")))
        .collect();
    asked
}

const SPIFFE: &str = "spiffe://example.org/agents/reporter";

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_alone_logs_in_its_own_agent_and_no_other() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let authority = certificates.authority.display();
    let listen = tls_lines("offered", &certificates);
    let listen = format!("{listen}\nclient_ca_file = \"{authority}\"");
    let house = House::open(&postgres, &listen, "tls = \"disable\"");
    let add = |name: &str, certificate: &str| {
        let agent = [
            "agent",
            "add",
            name,
            "--owner",
            "ann",
            "--database-user",
            "shop_owner",
        ];
        house.run(&[&agent[..], &["--certificate", certificate, "--as", "carl"]].concat())
    };
    let added = add("reporter", &format!("URI={SPIFFE}"));
    assert!(
        added.get("secret").is_none(),
        "there is nothing to steal: {added}"
    );
    assert_eq!(
        added["secret_seen_by"],
        serde_json::json!(["carl"]),
        "who never decides for it"
    );
    add("billing", "CN=billing");

    let reporter = certificates.client("reporter", names("billing's neighbour", &[SPIFFE]));
    let billing = certificates.client("billing", names("billing", &[]));
    let two = certificates.client(
        "two",
        names("two", &[SPIFFE, "spiffe://example.org/agents/other"]),
    );
    let confused = certificates.client("confused", names(SPIFFE, &["spiffe://billing"]));
    let mut over = names("billing", &[]);
    over.not_after = rcgen::date_time_ymd(2026, 1, 1);
    let over = certificates.client("over", over);
    let mut for_servers = names("billing", &[]);
    for_servers.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let for_servers = certificates.client("for-servers", for_servers);
    let elsewhere =
        Certificates::make(folder.path(), "elsewhere").client("stranger", names("billing", &[SPIFFE]));

    let tls = format!("sslmode=verify-full&sslrootcert={authority}");
    let log_in = |user: &str, files: &support::house::ClientFiles| {
        house.psql_as(user, &format!("{tls}&{}", files.options()))
    };
    for (user, files) in [("reporter", &reporter), ("billing", &billing)] {
        assert_eq!(log_in(user, files), (true, "let in\n".to_owned()));
    }
    for (user, files, why) in [
        ("billing", &reporter, "a stolen certificate, another agent"),
        ("reporter", &billing, "the other way round"),
        ("bot", &reporter, "an agent with a password"),
        ("nobody", &reporter, "no agent"),
        ("reporter", &two, "two names of the kind"),
        ("reporter", &confused, "the name in another field"),
        ("billing", &over, "out of date"),
        ("billing", &for_servers, "not for clients"),
        ("billing", &elsewhere, "another authority"),
        ("reporter", &elsewhere, "another authority"),
    ] {
        let (let_in, said) = log_in(user, files);
        assert!(!let_in, "{user}, {why}: {said}");
    }
    for options in [tls.as_str(), "sslmode=disable"] {
        let (let_in, said) = house.psql_as("billing", options);
        assert!(!let_in, "without a certificate: {said}");
    }
    // Whatever password somebody tries, an agent with a certificate has none.
    let config = trusting(&certificates.authority, &["postgresql"]);
    let url = format!(
        "postgres://billing:guess@127.0.0.1:{}/shop",
        house.serve.listen.port()
    );
    let mut client = Wire::open_tls(&url, &config, TlsStart::Direct).expect("TLS");
    client.start(PROTOCOL_3_0, &Url::parse(&url), &[]);
    let refused = client.log_in("guess", Binding::Unable).expect_err("refused");
    assert_eq!(refused.sqlstate, "28P01");
    assert_eq!(
        refused.message,
        "password authentication failed for user \"billing\""
    );
    // It is on record before the client has answered anything, so nobody hides it by keeping silent.
    let stalling_url = url.replace("billing", "reporter");
    let mut stalling = Wire::open_tls(&stalling_url, &config, TlsStart::Direct).expect("TLS");
    stalling.start(PROTOCOL_3_0, &Url::parse(&stalling_url), &[]);
    stalling.until(b'R');
    let of_reporter = |record: &&serde_json::Value| {
        record["principal"] == "reporter" && record["reason"] == "no client certificate"
    };
    assert_eq!(house.log_ins().iter().filter(of_reporter).count(), 1);
    // An agent with a password keeps it, whatever certificate its host shows.
    let (let_in, said) = house.psql("localhost", &format!("{tls}&{}", reporter.options()));
    assert!(let_in, "{said}");

    let log_ins = house.log_ins();
    let has = |principal: &str, reason: &str| {
        log_ins
            .iter()
            .any(|record| record["principal"] == principal && record["reason"] == reason)
    };
    assert!(
        has("reporter", &format!("certificate URI={SPIFFE}")),
        "{log_ins:?}"
    );
    for (principal, reason) in [
        ("billing", "the client certificate is not that of the agent"),
        ("billing", "no client certificate"),
    ] {
        assert!(
            has(principal, reason),
            "{reason}, although psql hangs up: {log_ins:?}"
        );
    }

    house.run(&["agent", "revoke", "billing"]);
    let (let_in, said) = log_in("billing", &billing);
    assert!(!let_in && said.contains("credential revoked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_names_one_agent_and_whoever_chooses_it_never_decides() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let authority = certificates.authority.display();
    let listen = tls_lines("required", &certificates);
    let listen = format!("{listen}\nclient_ca_file = \"{authority}\"");
    let house = House::open(&postgres, &listen, "tls = \"disable\"");
    let files = certificates.client("bot", names("bot", &[]));
    let options = format!("sslmode=verify-full&sslrootcert={authority}&{}", files.options());
    let (let_in, _) = house.psql_as("bot", &options);
    assert!(!let_in, "it still has a password");
    let certified = house.run(&[
        "agent",
        "rotate",
        "bot",
        "--certificate",
        "CN=bot",
        "--as",
        "dora",
    ]);
    let seen_by = certified["secret_seen_by"].to_string();
    assert!(
        seen_by.contains("dora") && certified.get("secret").is_none(),
        "{certified}"
    );
    assert_eq!(house.psql_as("bot", &options), (true, "let in\n".to_owned()));
    let (let_in, said) = house.psql(
        "localhost",
        &format!("sslmode=verify-full&sslrootcert={authority}"),
    );
    assert!(!let_in, "the password has ended: {said}");
    let again = house.try_run(&[
        "agent",
        "add",
        "other",
        "--owner",
        "ann",
        "--database-user",
        "shop_owner",
        "--certificate",
        "CN=bot",
    ]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        !again.status.success() && said.contains("`CN=bot` exists already"),
        "{said}"
    );
    let listed = house.run(&["agent", "list"]);
    assert_eq!(listed["items"].as_array().expect("items").len(), 1, "{listed}");
    // And back to a secret.
    let renewed = house.run(&["agent", "rotate", "bot"]);
    assert!(
        renewed["secret"].is_string() && renewed["certificate"].is_null(),
        "{renewed}"
    );
    assert!(!house.psql_as("bot", &options).0, "the certificate has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_certificates_and_lists_out_of_date_let_nobody_in() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let authority = certificates.authority.display();
    let list = folder.path().join("agents.crl");
    let later = rcgen::date_time_ymd(2090, 1, 1);
    certificates.revoke(&list, &[], later);
    let listen = tls_lines("required", &certificates);
    let listen = format!("{listen}\nclient_ca_file = \"{authority}\"\nclient_crl_file = {list:?}");
    let mut house = House::open(&postgres, &listen, "tls = \"disable\"");
    house.run(&["agent", "rotate", "bot", "--certificate", "CN=bot"]);
    let mut asked = names("bot", &[]);
    asked.serial_number = Some(4711.into());
    let files = certificates.client("bot", asked);
    let options = format!("sslmode=verify-full&sslrootcert={authority}&{}", files.options());
    assert!(house.psql_as("bot", &options).0);
    certificates.revoke(&list, &[4711], later);
    house.reload("the certificates are in force");
    let (let_in, said) = house.psql_as("bot", &options);
    assert!(!let_in, "{said}");
    certificates.revoke(&list, &[], rcgen::date_time_ymd(2026, 2, 1));
    house.reload("the certificates are in force");
    assert!(
        !house.psql_as("bot", &options).0,
        "nobody knows who was revoked since"
    );
    std::fs::write(&list, "broken").expect("written");
    house.reload("the proxy keeps its old certificate");
    assert!(!house.psql_as("bot", &options).0, "a broken list opens nothing");
    certificates.revoke(&list, &[], later);
    house.reload("the certificates are in force");
    assert!(house.psql_as("bot", &options).0);
}

/// Users of the database who pass through: name, owner, and who else can log in as it. A pooler knows none of them, so
/// these tests go past it.
fn passing(users: &[(&str, &str, &[&str])]) -> String {
    let sections = users.iter().map(|(user, owner, known_to)| {
        format!("[[upstream.pass_through]]\nuser = {user:?}\nowner = {owner:?}\nknown_to = {known_to:?}\n")
    });
    let head = "tls = \"disable\"\n".to_owned();
    std::iter::once(head).chain(sections).collect()
}

/// A server with the role carol, who may do what the owner of the shop may.
async fn with_carol(postgres: &Postgres, password: &str) -> tokio_postgres::Client {
    let admin = postgres.connect_as_superuser().await;
    let script = format!("CREATE ROLE carol LOGIN PASSWORD '{password}'; GRANT shop_owner TO carol");
    admin.batch_execute(&script).await.expect("a superuser may");
    admin
}

const SESAME: &str = "open-sesame-4711";

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_the_database_logs_in_with_its_own_password_inside_tls() {
    let postgres = Postgres::start();
    with_carol(&postgres, SESAME).await;
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let upstream = passing(&[("carol", "olga", &[]), ("shop_owner", "olga", &[])]);
    let house = House::open_before(
        &postgres,
        postgres.server().port(),
        &tls_lines("offered", &certificates),
        &upstream,
    );
    let tls = format!(
        "sslmode=verify-full&sslrootcert={}",
        certificates.authority.display()
    );
    let log_in =
        |user: &str, password: &str, options: &str| house.psql_as(&format!("{user}:{password}"), options);

    assert_eq!(log_in("carol", SESAME, &tls), (true, "let in\n".to_owned()));
    // The right one has just been used: nothing of it may let in the wrong one.
    for wrong in ["open-sesame", "open-sesame-47111", "%20"] {
        let (let_in, said) = log_in("carol", wrong, &tls);
        assert!(
            !let_in && said.contains("password authentication failed"),
            "{wrong}: {said}"
        );
    }
    // Nor may what the proxy keeps of a password in its settings.
    assert!(
        house.psql("localhost", &tls).0,
        "the agent is mapped to shop_owner"
    );
    assert!(!log_in("shop_owner", "wrong", &tls).0);
    assert!(log_in("shop_owner", postgres.owner_password(), &tls).0);
    // Who is not in the settings does not pass, whatever the server would say.
    assert!(!log_in("postgres", "anything", &tls).0);

    // Outside TLS nobody is asked for it.
    let url = format!(
        "postgres://carol:{SESAME}@127.0.0.1:{}/shop",
        house.serve.listen.port()
    );
    let refused = Wire::connect_with(&url, &[]).err().expect("refused");
    assert_eq!(refused.sqlstate, "28000");
    assert!(refused.message.contains("sslmode=require"), "{refused:?}");

    let log_ins = house.log_ins();
    let count = |reason: &str| {
        log_ins
            .iter()
            .filter(|record| record["principal"] == "db:carol" && record["reason"] == reason)
            .count()
    };
    assert_eq!(count("its own password"), 1, "{log_ins:?}");
    assert_eq!(count("refused by the database server"), 3, "{log_ins:?}");
    assert_eq!(count("a password is taken inside TLS only"), 1);
    let kept = Command::new("grep")
        .args(["-rlaF", SESAME])
        .arg(house.folder.path())
        .output()
        .expect("grep runs");
    assert!(
        kept.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&kept.stdout)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_and_a_user_of_the_database_of_one_name_are_two() {
    let postgres = Postgres::start();
    with_carol(&postgres, SESAME).await;
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let house = House::open_before(
        &postgres,
        postgres.server().port(),
        &tls_lines("required", &certificates),
        &passing(&[("carol", "olga", &[])]),
    );
    let tls = format!(
        "sslmode=verify-full&sslrootcert={}",
        certificates.authority.display()
    );
    let log_in = |password: &str| house.psql_as(&format!("carol:{password}"), &tls);
    assert!(log_in(SESAME).0);
    let add = |name: &str| {
        house.try_run(&[
            "agent",
            "add",
            name,
            "--owner",
            "mallory",
            "--database-user",
            "shop_owner",
        ])
    };
    assert!(
        !add("db:carol").status.success(),
        "no agent takes the name of such a user"
    );
    let added = add("carol");
    let agent: serde_json::Value = serde_json::from_slice(&added.stdout).expect("JSON");
    let secret = agent["secret"].as_str().expect("shown once");
    assert!(log_in(secret).0, "the agent comes first");
    assert!(!log_in(SESAME).0, "and is not the user");
    house.run(&["agent", "revoke", "carol"]);
    for password in [secret, SESAME] {
        assert!(
            !log_in(password).0,
            "a name that was revoked does not become somebody else's"
        );
    }
    let principals: Vec<String> = house
        .log_ins()
        .iter()
        .filter(|record| record["success"] == true)
        .map(|record| record["principal"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(principals, ["carol", "db:carol"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_no_password_lets_nobody_pass() {
    let folder = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .expect("a scratch folder");
    let access = folder.path().join("pg_hba.conf");
    let rule = |method: &str| {
        let lines =
            format!("local all all trust\nhost all postgres all scram-sha-256\nhost all all all {method}\n");
        std::fs::write(&access, lines).expect("written");
    };
    rule("trust");
    let postgres = Postgres::start_with(&[("hba_file", access.to_str().expect("UTF-8"))]);
    let admin = with_carol(&postgres, SESAME).await;
    let certificates = Certificates::make(folder.path(), "localhost");
    let house = House::open_before(
        &postgres,
        postgres.server().port(),
        &tls_lines("required", &certificates),
        &passing(&[("carol", "olga", &[])]),
    );
    let tls = format!(
        "sslmode=verify-full&sslrootcert={}",
        certificates.authority.display()
    );
    for password in ["anything", SESAME] {
        let (let_in, said) = house.psql_as(&format!("carol:{password}"), &tls);
        assert!(!let_in, "any password would do: {said}");
    }
    assert!(
        house.psql("localhost", &tls).0,
        "an agent has proved itself to the proxy"
    );
    let reasons = house.log_ins();
    assert!(
        reasons
            .iter()
            .any(|record| record["reason"] == "the database server asks for no password"),
        "{reasons:?}"
    );
    // With MD5 the password that the server keeps has to be of that kind.
    rule("md5");
    let md5 = format!(
        "SET password_encryption = md5; ALTER ROLE carol PASSWORD '{SESAME}'; SELECT pg_reload_conf()"
    );
    admin.batch_execute(&md5).await.expect("a superuser may");
    support::server::eventually("the server asks for the password", async || {
        house.psql_as(&format!("carol:{SESAME}"), &tls).0
    })
    .await;
    assert!(!house.psql_as("carol:wrong", &tls).0);
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_4_nobody_who_can_log_in_as_a_user_of_the_database_decides_for_it() {
    let postgres = Postgres::start();
    with_carol(&postgres, SESAME).await;
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let house = House::open_before(
        &postgres,
        postgres.server().port(),
        &tls_lines("required", &certificates),
        &passing(&[("carol", "olga", &["rita"])]),
    );
    let person = |name: &str| {
        house.run(&["user", "add", name, "--role", "approver,admin"]);
        let token = house.run(&["user", "token", name]);
        Api::new(&house.serve.api_url, token["token"].as_str().expect("shown once"))
    };
    let dora = person("dora");
    let config = trusting(&certificates.authority, &["postgresql"]);
    let url = format!(
        "postgres://carol:{SESAME}@127.0.0.1:{}/shop",
        house.serve.listen.port()
    );
    let mut client = Wire::open_tls(&url, &config, TlsStart::Direct).expect("TLS");
    client.start(PROTOCOL_3_0, &Url::parse(&url), &[]);
    client.log_in(SESAME, Binding::Unable).expect("let in");
    assert_eq!(value(&client.query("SELECT current_user")), "carol");
    client.send(Frames::new().query("DROP TABLE reviews"));
    let request = dora.held("DROP TABLE reviews").await;
    assert_eq!(
        request["principal"]["name"]
            .as_str()
            .or(request["principal"].as_str()),
        Some("db:carol")
    );
    for (name, why) in [("olga", "owns"), ("rita", "has seen"), ("carol", "own name")] {
        let body = serde_json::json!({ "decision": "approve", "digest": request["digest"] });
        let path = format!("/requests/{}/decision", id_of(&request));
        let (status, problem) = person(name).post(&path, &body).await;
        assert_eq!(status, 403, "{name}: {problem}");
        assert!(problem.to_string().contains(why), "{name}: {problem}");
    }
    assert!(!postgres.has_seen("DROP TABLE"));
    dora.approve(&request).await;
    client.until(b'C');
    client.until_ready();
    assert!(postgres.has_seen("DROP TABLE reviews"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_reports_the_settings_that_the_server_reports_and_no_others() {
    let postgres = Postgres::start();
    let house = House::open(&postgres, "", "tls = \"disable\"");
    let parameters = [
        ("application_name", "a name"),
        ("DateStyle", "German"),
        ("TimeZone", "Asia/Tokyo"),
    ];
    let past = Wire::connect_with(&postgres.upstream_url(), &parameters)
        .unwrap_or_else(|fields| panic!("{fields:?}"));
    let through = Wire::connect_with(&house.url("127.0.0.1"), &parameters)
        .unwrap_or_else(|fields| panic!("{fields:?}"));
    assert_eq!(through.reported, past.reported);
    let version = Command::new(postgres.server().server_programs().join("postgres"))
        .arg("--version")
        .output()
        .expect("it runs");
    let version = String::from_utf8_lossy(&version.stdout).replace("postgres (PostgreSQL) ", "");
    assert_eq!(
        through.reported["server_version"],
        version.trim(),
        "the server that was asked for"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_that_takes_too_long_ends_and_nobody_else_notices() {
    let postgres = Postgres::start();
    let limits = "tls = \"disable\"\n[limits]\nlogin_seconds = 1";
    let house = House::open(&postgres, "", limits);
    let url = house.url("127.0.0.1");
    let mut session = Wire::connect(&url);
    // One says nothing, one stops within the start-up packet, one when it is asked for its proof.
    let mut silent = TcpStream::connect(house.serve.listen).expect("it listens");
    let mut halting = TcpStream::connect(house.serve.listen).expect("it listens");
    halting.write_all(&[0, 0, 0, 40, 0, 3]).expect("it reads");
    let mut proving = Wire::open_plain(&url);
    proving.start(PROTOCOL_3_0, &Url::parse(&url), &[]);
    proving.until(b'R');
    let mut nothing = Vec::new();
    assert_eq!(silent.read_to_end(&mut nothing).expect("closed"), 0);
    assert_eq!(halting.read_to_end(&mut nothing).expect("closed"), 0);
    let told = proving.read().fields();
    assert_eq!(told.sqlstate, "57014", "{told:?}");
    assert!(proving.try_read().is_err(), "closed");
    assert_eq!(
        value(&session.query("SELECT 1")),
        "1",
        "a session has no such limit"
    );
    assert_eq!(value(&Wire::connect(&url).query("SELECT 1")), "1");
    let log_ins = house.log_ins();
    assert!(
        log_ins
            .iter()
            .any(|record| record["reason"] == "it took too long"),
        "{log_ins:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn gssapi_is_declined_and_what_comes_next_goes_on() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let certificates = Certificates::make(folder.path(), "localhost");
    let house = House::open(
        &postgres,
        &tls_lines("offered", &certificates),
        "tls = \"disable\"",
    );
    let url = house.url("127.0.0.1");
    let parsed = Url::parse(&url);
    // GSSENCRequest: protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-GSSENCREQUEST
    let request = [0, 0, 0, 8, 4, 210, 22, 48];
    let mut plain = Wire::open_plain(&url);
    assert_eq!(plain.ask_byte(&request), b'N');
    plain.start(PROTOCOL_3_0, &parsed, &[]);
    plain.log_in(&parsed.password, Binding::Unable).expect("let in");
    assert_eq!(value(&plain.query("SELECT 1")), "1");
    let mut asked = Wire::open_plain(&url);
    assert_eq!(asked.ask_byte(&request), b'N');
    assert_eq!(asked.ask_byte(&encode_ssl_request()), b'S');
    let config = trusting(&certificates.authority, &["postgresql"]);
    let mut inside = asked.begin_tls(&config).expect("TLS");
    inside.start(PROTOCOL_3_0, &parsed, &[]);
    inside.log_in(&parsed.password, Binding::Unable).expect("let in");
    assert_eq!(value(&inside.query("SELECT 1")), "1");
    // libpq asks for GSSAPI first where it is built with it and has a ticket; without one it does as above.
    assert!(house.psql("localhost", "gssencmode=prefer&sslmode=disable").0);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_too_long_for_a_log_in_close_the_connection() {
    let postgres = Postgres::start();
    let house = House::open(&postgres, "", "tls = \"disable\"");
    let url = house.url("127.0.0.1");
    let closed = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(house.serve.listen).expect("it listens");
        stream.write_all(bytes).expect("it reads");
        let mut answer = Vec::new();
        // A reset is as good an end as a close.
        let _reset = stream.read_to_end(&mut answer);
        answer
    };
    // Lengths of start-up packets that lie, and a client of protocol 2.
    for first in [[0, 0, 39, 17], [0, 0, 0, 7], [255, 255, 255, 255], [0, 1, 0, 0]] {
        assert!(closed(&[&first[..], &[0; 4]].concat()).is_empty(), "{first:?}");
    }
    assert!(closed(&[0, 0, 0, 9, 0, 2, 0, 0, 0]).is_empty());
    // Bytes behind an SSLRequest, even where TLS is off.
    let behind = [encode_ssl_request(), Frames::new().query("DROP TABLE reviews").0].concat();
    let answer = closed(&behind);
    assert!(answer.is_empty() || answer == b"N", "{answer:?}");
    // The answer to the challenge: one byte over the limit, and a length of a gigabyte of which nothing comes.
    for length in [(8u32 << 10) + 5, 1 << 30] {
        let mut client = Wire::open_plain(&url);
        client.start(PROTOCOL_3_0, &Url::parse(&url), &[]);
        client.until(b'R');
        client.send(Frames::new().bytes(b"p").bytes(&length.to_be_bytes()));
        assert!(
            client.try_read().is_err(),
            "{length}: closed without waiting for it"
        );
    }
    // Another message than an answer.
    let mut client = Wire::open_plain(&url);
    client.start(PROTOCOL_3_0, &Url::parse(&url), &[]);
    client.until(b'R');
    client.send(Frames::new().query("DROP TABLE reviews"));
    assert_eq!(client.read().fields().sqlstate, "08P01");
    assert!(client.try_read().is_err(), "closed");
    assert!(!postgres.has_seen("DROP TABLE"));
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
async fn whoever_ends_the_tls_towards_the_server_gets_no_session() {
    let folder = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .expect("a scratch folder");
    let good = Certificates::make(folder.path(), "localhost");
    let elsewhere = Certificates::make(folder.path(), "elsewhere");
    let user = std::fs::metadata(Postgres::start().server().folder().join("data"))
        .expect("a cluster")
        .uid();
    good.give_to(user);
    let postgres = Postgres::start_with(&[
        ("ssl", "on"),
        ("ssl_cert_file", good.certificate.to_str().expect("UTF-8")),
        ("ssl_key_file", good.key.to_str().expect("UTF-8")),
    ]);
    let config = trusting(&good.authority, &[]);
    let server = std::net::SocketAddr::from(([127, 0, 0, 1], postgres.server().port()));
    // `require` looks at no certificate, so it is the binding alone that notices.
    let upstream = "host = \"localhost\"\ntls = \"require\"";
    let honest = relay(&good, &config, server).await;
    let house = House::open_before(&postgres, honest.port(), "", upstream);
    let url = house.url("127.0.0.1");
    let let_in = tokio::task::spawn_blocking(move || Wire::connect_with(&url, &[]).is_ok());
    assert!(
        let_in.await.expect("no panic"),
        "with the server's own certificate it is let in"
    );
    let between = relay(&elsewhere, &config, server).await;
    let house = House::open_before(&postgres, between.port(), "", upstream);
    let url = house.url("127.0.0.1");
    let refused = tokio::task::spawn_blocking(move || Wire::connect_with(&url, &[]).err());
    let refused = refused.await.expect("no panic").expect("not let in");
    assert!(refused.message.contains("channel binding"), "{refused:?}");
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
