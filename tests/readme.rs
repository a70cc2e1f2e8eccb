//! The README's second session, run from the README's own text: your own PostgreSQL, one person, one agent, one DROP.
//!
//! Never paraphrases: only the ports, the agent's secret and the request's id are put in where the text has examples.

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use mysql_async::prelude::Queryable;
use support::api::{Api, id_of};
use support::child::Process;
use support::mariadb::Mariadb;
use support::server::{PROGRAM, Postgres, eventually};
use support::terminal::Terminal;

#[tokio::test]
async fn session_of_the_readme_drops_a_table_after_its_approval() {
    let postgres = Postgres::start();
    let app = make_app(&postgres).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("app.password"), "app-password\n").unwrap();
    let session = Session::read(&postgres, folder.path());

    let (setup, serve) = session.blocks[0].trim_end().rsplit_once('\n').unwrap();
    assert_eq!(serve, "countersign serve");
    let output = session.shell(setup).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let secret = printed
        .lines()
        .find_map(|line| line.strip_prefix("secret  "))
        .expect("`agent add` prints it");
    let proxy = Process::spawn(session.shell(serve));
    let token = std::fs::read_to_string(folder.path().join("dba-1.token")).unwrap();
    let reviewer = Api::new(&session.api_url, token.trim());
    eventually("serve is ready", async || {
        std::net::TcpStream::connect(&session.proxy).is_ok()
    })
    .await;

    let mut agent = Process::spawn(session.shell(&session.blocks[1].replace("SECRET", secret)));
    let request = reviewer.held("DROP TABLE old_orders").await;
    assert!(!postgres.has_seen("DROP TABLE old_orders"));
    assert!(!agent.has_ended());

    let mut decide = Terminal::open(
        &session.blocks[2].replace("7K3F9Q", &id_of(&request)),
        folder.path(),
        &session.environment(),
    );
    decide.shows("DROP TABLE old_orders");
    decide.type_in("yes\n");
    let shown = decide.ends();
    assert!(shown.contains("approved") && shown.contains("dba-1"), "{shown}");
    assert!(agent.wait().success(), "{}{}", agent.messages(), proxy.messages());
    assert_eq!(agent.next_line().as_deref(), Some("DROP TABLE"));
    let gone = app
        .query_one("SELECT to_regclass('old_orders') IS NULL", &[])
        .await
        .unwrap();
    assert!(gone.get::<_, bool>(0));
}

/// The README's lines for MySQL, behind settings that serve nothing else.
#[tokio::test]
async fn session_of_the_readme_in_front_of_mysql_drops_a_table_after_its_approval() {
    let server = Mariadb::start();
    server.run(
        "CREATE DATABASE app; CREATE USER app@'%' IDENTIFIED BY 'app-password'; GRANT ALL ON app.* TO app@'%';
         CREATE TABLE app.old_orders (id BIGINT);",
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mysql-app.password"), "app-password\n").unwrap();
    let session = Session::of("## Your own MySQL or MariaDB", folder.path(), |block, proxy| {
        block
            .replace("6433", proxy)
            .replace("3306", &server.port().to_string())
    });
    let [settings, statement] = session.blocks.as_slice() else {
        panic!("two blocks");
    };
    let api = format!(
        "data_dir = \"data\"\n[api]\naddress = \"{}\"\n",
        &session.api_url[7..]
    );
    std::fs::write(folder.path().join("countersign.toml"), api).unwrap();
    let people = "countersign user add dba-1 --role approver,auditor\ncountersign user token dba-1 > dba-1.token\n\
                  countersign agent add reporter --owner sam --database app";
    let output = session.shell(&format!("{settings}{people}")).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let secret = printed
        .lines()
        .find_map(|line| line.strip_prefix("secret  "))
        .unwrap_or_else(|| panic!("{printed}{}", String::from_utf8_lossy(&output.stderr)));
    let proxy = Process::spawn(session.shell("countersign serve"));
    let token = std::fs::read_to_string(folder.path().join("dba-1.token")).unwrap();
    let reviewer = Api::new(&session.api_url, token.trim());
    eventually("serve is ready", async || {
        std::net::TcpStream::connect(&session.proxy).is_ok()
    })
    .await;

    let mut agent = Process::spawn(session.shell(&statement.trim_end().replace("SECRET", secret)));
    let request = reviewer.held("DROP TABLE old_orders").await;
    assert!(!agent.has_ended(), "it waits");
    reviewer.approve(&request).await;
    assert!(agent.wait().success(), "{}{}", agent.messages(), proxy.messages());
    let left: Vec<String> = server.connect().await.query("SHOW TABLES IN app").await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

/// The database, the role and the table that the README takes for granted; the role is no superuser.
async fn make_app(postgres: &Postgres) -> tokio_postgres::Client {
    let superuser = postgres.connect_as_superuser().await;
    superuser
        .batch_execute("CREATE ROLE app LOGIN PASSWORD 'app-password'")
        .await
        .unwrap();
    superuser
        .batch_execute("CREATE DATABASE app OWNER app")
        .await
        .unwrap();
    let app = support::server::connect(&postgres.server().url("app", "app-password", "app")).await;
    app.batch_execute("CREATE TABLE old_orders (id bigint)")
        .await
        .unwrap();
    app
}

/// The README's blocks with free ports in place of its examples.
struct Session {
    blocks: Vec<String>,
    proxy: String,
    api_url: String,
    folder: std::path::PathBuf,
    path: String,
}

impl Session {
    fn read(postgres: &Postgres, folder: &Path) -> Self {
        let mut session = Self::of("## Your own PostgreSQL", folder, |block, proxy| {
            block
                .replace("6432", proxy)
                .replace("5432", &postgres.upstream_port().to_string())
        });
        assert_eq!(session.blocks.len(), 3, "three terminals");
        let psql = postgres.server().client_programs().display().to_string();
        session.path = format!("{psql}:{}", session.path);
        session
    }

    /// The blocks of one section, with `ports` told the proxy's.
    fn of(title: &str, folder: &Path, ports: impl Fn(&str, &str) -> String) -> Self {
        let readme = std::fs::read_to_string("README.md").unwrap();
        let (_, section) = readme.split_once(title).expect("the README has this section");
        let (section, _) = section.split_once("\n## ").expect("another section follows");
        let [proxy, api] = [free_port(), free_port()].map(|port| port.to_string());
        let blocks: Vec<String> = section
            .split("```")
            .filter_map(|block| block.strip_prefix("sh\n"))
            .map(|block| ports(&block.replace("6480", &api), &proxy))
            .collect();
        let programs = Path::new(PROGRAM).parent().unwrap().display().to_string();
        Session {
            blocks,
            proxy: format!("127.0.0.1:{proxy}"),
            api_url: format!("http://127.0.0.1:{api}"),
            folder: folder.to_owned(),
            path: format!("{programs}:{}", std::env::var("PATH").unwrap_or_default()),
        }
    }

    fn environment(&self) -> [(&'static str, &str); 1] {
        [("PATH", &self.path)]
    }

    /// `exec` makes the last command the child itself, so that it gets the test's signals.
    fn shell(&self, script: &str) -> Command {
        let script = match script.lines().count() {
            1 => format!("exec {script}"),
            _ => format!("set -eu\n{script}"),
        };
        let mut command = Command::new("bash");
        command
            .args(["-c", &script])
            .current_dir(&self.folder)
            .envs(self.environment());
        command
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn settings_of_the_container_are_valid() {
    let config = countersign::config::Config::load(Some(Path::new("docker/countersign.toml")), Vec::new());
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        (
            config.postgres.upstream.host.as_str(),
            config.postgres.upstream.users.len()
        ),
        ("postgres", 1)
    );
}

#[test]
fn every_test_that_the_promises_and_the_threat_model_name_exists() {
    let mut sources = String::new();
    gather(Path::new("tests"), &mut sources);
    gather(Path::new("src"), &mut sources);
    for (page, at_least) in [
        ("docs/promises.md", 30),
        ("docs/reliability.md", 0),
        ("SECURITY.md", 25),
    ] {
        let text = std::fs::read_to_string(page).unwrap();
        let code = text.split('`').skip(1).step_by(2);
        let is_test_name =
            |word: &&str| word.len() > 20 && word.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'));
        let names: Vec<&str> = code.filter(is_test_name).collect();
        assert!(names.len() > at_least, "{page}: {names:?}");
        let missing: Vec<_> = names
            .iter()
            .filter(|name| !sources.contains(&format!("fn {name}(")))
            .collect();
        assert!(
            missing.is_empty(),
            "{page} names tests that are not there: {missing:?}"
        );
    }
}

fn gather(folder: &Path, sources: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
