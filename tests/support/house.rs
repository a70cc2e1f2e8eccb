//! A running `serve` with one agent, and the certificates of an authority of the test's own.
//!
//! Never talks to the server by itself. Read `wire.rs` for a client.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{
    CertificateParams, CertificateRevocationListParams, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    RevokedCertParams, SignatureAlgorithm,
};

use super::child::Serve;
use super::server::{PROGRAM, Postgres};

/// An authority with one server certificate for `localhost`.
pub struct Certificates {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A client's certificate and key, as files that libpq takes.
pub struct ClientFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl ClientFiles {
    /// The options of a connection string.
    pub fn options(&self) -> String {
        format!(
            "sslcert={}&sslkey={}",
            self.certificate.display(),
            self.key.display()
        )
    }
}

impl Certificates {
    pub fn make(folder: &Path, host: &str) -> Self {
        Self::make_for(folder, host, &PKCS_ECDSA_P256_SHA256)
    }

    /// With keys for another way to sign.
    pub fn make_for(folder: &Path, host: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        let new_key = || KeyPair::generate_for(algorithm).expect("a key");
        let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
        // Two certificates of one name would look self-signed.
        authority
            .distinguished_name
            .push(rcgen::DnType::CommonName, "an authority of a test");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = new_key();
        let authority_pem = authority
            .self_signed(&authority_key)
            .expect("a certificate")
            .pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = new_key();
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
            issuer,
        }
    }

    /// Signs one for a client. `file`: how its files are called.
    pub fn client(&self, file: &str, asked: CertificateParams) -> ClientFiles {
        let key = KeyPair::generate().expect("a key");
        let signed = asked.signed_by(&key, &self.issuer).expect("a certificate");
        let folder = self.authority.parent().expect("it is in a folder");
        let files = ClientFiles {
            certificate: folder.join(format!("{file}.crt")),
            key: folder.join(format!("{file}.key")),
        };
        std::fs::write(&files.certificate, signed.pem()).expect("written");
        std::fs::write(&files.key, key.serialize_pem()).expect("written");
        // libpq takes no key that others can read.
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        files
    }

    /// Writes the authority's list of revoked certificates; it is good until `next_update`.
    pub fn revoke(&self, file: &Path, serials: &[u64], next_update: time::OffsetDateTime) {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: rcgen::date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update,
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let signed = list.signed_by(&self.issuer).expect("a list");
        std::fs::write(file, signed.pem().expect("PEM")).expect("written");
    }

    /// The server reads its key only if it is its own, or nobody else's.
    pub fn give_to(&self, user: u32) {
        for file in [&self.authority, &self.certificate, &self.key] {
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("a mode");
            chown(file, Some(user), None).expect("they are this user's, or this user is root");
        }
    }
}

/// A proxy with one agent, made as the README says.
pub struct House {
    pub folder: tempfile::TempDir,
    pub serve: Serve,
    pub password: String,
}

impl House {
    /// `listen` and `upstream`: further lines of those sections. The agent is `bot`, the database user `shop_owner`.
    pub fn open(postgres: &Postgres, listen: &str, upstream: &str) -> Self {
        Self::open_before(postgres, postgres.upstream_port(), listen, upstream)
    }

    /// As `open`, with the server reached at another port.
    pub fn open_before(postgres: &Postgres, port: u16, listen: &str, upstream: &str) -> Self {
        Self::furnished(postgres, port, listen, upstream, |_| {})
    }

    /// As `open`, with what `furnish` puts into the folder of the settings file.
    pub fn open_with(postgres: &Postgres, listen: &str, upstream: &str, furnish: impl FnOnce(&Path)) -> Self {
        Self::furnished(postgres, postgres.upstream_port(), listen, upstream, furnish)
    }

    fn furnished(
        postgres: &Postgres,
        port: u16,
        listen: &str,
        upstream: &str,
        furnish: impl FnOnce(&Path),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        furnish(folder.path());
        std::fs::write(folder.path().join("password"), postgres.owner_password()).expect("written");
        let settings = format!(
            "data_dir = \"data\"\n[listen]\naddress = \"127.0.0.1:0\"\n{listen}\n[api]\naddress = \"127.0.0.1:0\"\n\
             [upstream]\nport = {}\n{upstream}\n\
             [[upstream.users]]\nname = \"shop_owner\"\npassword_file = \"password\"\n",
            port
        );
        let serve = Serve::start(folder.path(), &settings);
        let mut house = Self {
            folder,
            serve,
            password: String::new(),
        };
        house.run(&["user", "add", "ann", "--role", "admin"]);
        let bot = [
            "agent",
            "add",
            "bot",
            "--owner",
            "ann",
            "--database-user",
            "shop_owner",
        ];
        let agent = house.run(&bot);
        house.password = agent["secret"].as_str().expect("shown once").to_owned();
        house
    }

    /// A countersign command on this house's store.
    pub fn run(&self, arguments: &[&str]) -> serde_json::Value {
        let done = self.try_run(arguments);
        assert!(
            done.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        serde_json::from_slice(&done.stdout).expect("JSON")
    }

    /// The same, whatever comes of it.
    pub fn try_run(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(PROGRAM)
            .current_dir(self.folder.path())
            .args(arguments)
            .args(["--data-dir", "data", "--json"])
            .output()
            .expect("the binary runs")
    }

    /// The newest records of log-ins, newest first.
    pub fn log_ins(&self) -> Vec<serde_json::Value> {
        let page = self.run(&["log", "query", "--kind", "login", "--limit", "100"]);
        page["items"].as_array().expect("items").clone()
    }

    /// Sends SIGHUP and waits until the log says so.
    pub fn reload(&mut self, words: &str) {
        let process = self.serve.process();
        let before = process.messages().len();
        process.signal(rustix::process::Signal::HUP);
        let end = Instant::now() + Duration::from_secs(20);
        while !process.messages()[before..].contains(words) {
            assert!(
                Instant::now() < end,
                "never said `{words}`: {}",
                process.messages()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn url(&self, host: &str) -> String {
        format!(
            "postgres://bot:{}@{host}:{}/shop",
            self.password,
            self.serve.listen.port()
        )
    }

    pub fn psql(&self, host: &str, options: &str) -> (bool, String) {
        Self::psql_at(&format!("{}?{options}", self.url(host)))
    }

    /// As somebody else, without a password.
    pub fn psql_as(&self, user: &str, options: &str) -> (bool, String) {
        let port = self.serve.listen.port();
        Self::psql_at(&format!("postgres://{user}@localhost:{port}/shop?{options}"))
    }

    fn psql_at(url: &str) -> (bool, String) {
        let done = Command::new("psql")
            .args(["-XwAtc", "SELECT 'let in'", url])
            .env_remove("PGPASSWORD")
            .output()
            .expect("psql runs");
        let said = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
}

pub fn tls_lines(mode: &str, certificates: &Certificates) -> String {
    format!(
        "tls = {mode:?}\ncert_file = {:?}\nkey_file = {:?}",
        certificates.certificate, certificates.key
    )
}
