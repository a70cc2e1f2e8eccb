//! A scratch PostgreSQL with the sample shop, its own log readable by the test.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use countersign::cli::demo::postgres::{ScratchServer, ScratchSettings};
use countersign::cli::demo::shop::{self, Shop};

use super::pooler::Pooler;

/// The countersign binary of this build.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign");

/// Folder of another version's server programs: `./test --versions` runs the tests once with each.
const SERVER_PROGRAMS: &str = "COUNTERSIGN_TEST_SERVER_PROGRAMS";

/// `pgbouncer`: the proxy reaches the server through one, in session mode. Tests themselves still ask the server.
const POOLER: &str = "COUNTERSIGN_TEST_POOLER";

/// A server of the test's own, with the sample shop in it. Gone when dropped.
pub struct Postgres {
    pooler: Option<Pooler>,
    server: ScratchServer,
    owner_password: String,
}

impl Postgres {
    /// Every statement that reaches this server is in `log()`.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As `start`, with further lines of postgresql.conf.
    pub fn start_with(configuration: &[(&str, &str)]) -> Self {
        let template = template();
        let owner_password = read(&template.join("owner-password"));
        let log_settings = [
            ("log_statement", "all"),
            ("log_min_messages", "info"),
            ("log_line_prefix", "%u@%d "),
        ];
        let lines = log_settings.iter().chain(configuration);
        let settings = ScratchSettings {
            program: PathBuf::from(PROGRAM),
            configuration: lines
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            template: Some(template),
            server_programs: server_programs(),
        };
        let server = ScratchServer::start(&settings).unwrap_or_else(|error| panic!("no server: {error}"));
        let pooler = has_pooler().then(|| Pooler::start(&server));
        Postgres {
            pooler,
            server,
            owner_password,
        }
    }

    pub fn server(&self) -> &ScratchServer {
        &self.server
    }

    /// Where the proxy connects to: the server, or the pooler in front of it.
    pub fn upstream_port(&self) -> u16 {
        self.pooler.as_ref().map_or(self.server.port(), Pooler::port)
    }

    /// As `owner_url`, for the proxy.
    pub fn upstream_url(&self) -> String {
        let (owner, password, port) = (shop::OWNER, &self.owner_password, self.upstream_port());
        format!(
            "postgresql://{owner}:{password}@127.0.0.1:{port}/{}",
            shop::DATABASE
        )
    }

    pub fn owner_password(&self) -> &str {
        &self.owner_password
    }

    /// The sample database as the owner of its schema: what a proxied agent is mapped to.
    pub fn owner_url(&self) -> String {
        self.server.url(shop::OWNER, &self.owner_password, shop::DATABASE)
    }

    /// The sample database as superuser.
    pub fn superuser_url(&self) -> String {
        self.server.superuser_url(shop::DATABASE)
    }

    /// A connection past the proxy, as the owner.
    pub async fn connect(&self) -> tokio_postgres::Client {
        connect(&self.owner_url()).await
    }

    /// A connection past the proxy, as superuser.
    pub async fn connect_as_superuser(&self) -> tokio_postgres::Client {
        connect(&self.superuser_url()).await
    }

    /// Makes a database of this name with the fixtures of the corpus in it.
    pub async fn load_corpus(&self, database: &str) {
        let superuser = self.connect_as_superuser().await;
        superuser
            .batch_execute(&format!(
                "CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8'"
            ))
            .await
            .expect("a database");
        let fixtures = std::fs::read_to_string("tests/corpus/fixtures.postgres.sql").expect("the fixtures");
        let inside = connect(&self.server.superuser_url(database)).await;
        // PostgreSQL 17 has dropped it: there its functions are unknown ones, and still held.
        let adminpack = "CREATE EXTENSION adminpack;";
        let has_adminpack = "SELECT current_setting('server_version_num')::int < 170000";
        let has_adminpack: bool = inside
            .query_one(has_adminpack, &[])
            .await
            .expect("a version")
            .get(0);
        assert!(fixtures.contains(adminpack), "the fixtures are others");
        let fixtures = if has_adminpack {
            fixtures
        } else {
            fixtures.replace(adminpack, "")
        };
        inside.batch_execute(&fixtures).await.expect("the fixtures load");
    }

    /// The server's own log: `LOG:  statement: …` and `LOG:  execute NAME: …`, one line per statement received.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Whether this text has reached the server. Ask after something that the server answered later.
    pub fn has_seen(&self, text: &str) -> bool {
        self.log().contains(text)
    }
}

/// A client on any connection string; its connection is driven in the background.
pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .expect("connects");
    tokio::spawn(connection);
    client
}

/// Waits for something that another process does, up to ten seconds.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn server_programs() -> Option<PathBuf> {
    std::env::var_os(SERVER_PROGRAMS).map(PathBuf::from)
}

fn has_pooler() -> bool {
    match std::env::var(POOLER).as_deref() {
        Ok("pgbouncer") => true,
        Ok(other) => panic!("{POOLER} is `{other}`: only pgbouncer is known"),
        Err(_) => false,
    }
}

/// The cluster that every test copies: made by the first test that needs it, one for each user, server and version of
/// the shop.
fn template() -> PathBuf {
    let version = std::fs::metadata("src/cli/demo/shop.sql").and_then(|file| file.modified());
    let stamp = version
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let user = rustix::process::geteuid().as_raw();
    let server = server_programs().map_or(0, |folder| {
        BuildHasherDefault::<DefaultHasher>::default().hash_one(folder)
    });
    let name = format!(
        "cluster-{user}-{server:x}-{}",
        stamp.map_or(0, |stamp| stamp.as_secs())
    );
    let template = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !template.exists() {
        make_template(&template);
    }
    template
}

fn make_template(template: &Path) {
    let settings = ScratchSettings {
        program: PathBuf::from(PROGRAM),
        configuration: Vec::new(),
        template: None,
        server_programs: server_programs(),
    };
    let server = ScratchServer::start(&settings).unwrap_or_else(|error| panic!("no server: {error}"));
    let shop = Shop::open(&server).unwrap_or_else(|error| panic!("no sample database: {error}"));
    let secrets = [("owner-password", shop.owner_password.as_str())];
    server
        .save_as_template(template, &secrets)
        .unwrap_or_else(|error| panic!("no template: {error}"));
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}
