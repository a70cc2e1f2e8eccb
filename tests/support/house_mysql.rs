//! A running `serve` in front of a scratch MariaDB, with agents, a reviewer, and a way past the proxy.
//!
//! What reached the server is read from the server's own log, never from the proxy.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Handle;

use super::api::{Api, id_of};
use super::child::Serve;
use super::mariadb::Mariadb;
use super::mysql_answer::Answer;
use super::mysql_wire::MysqlWire;
use super::server::PROGRAM;
use super::treatment::{Decide, Treatment};

/// The database user that agents are mapped to; it may do everything, so that what passes has its effect.
pub const OWNER: &str = "app_owner";
const OWNER_PASSWORD: &str = "the owner's own";

/// A settings file with no more than a test needs.
#[derive(Clone, Debug)]
pub struct MysqlSettings {
    /// Further lines of `[mysql.listen]` and of `[mysql.upstream]`.
    pub listen: String,
    pub upstream: String,
    /// Whole further sections.
    pub sections: String,
    pub rules: String,
    /// Instead of the server's own: something stands in between.
    pub port: Option<u16>,
}

impl Default for MysqlSettings {
    fn default() -> Self {
        Self {
            listen: String::new(),
            upstream: String::new(),
            sections: String::new(),
            rules: "default".to_owned(),
            port: None,
        }
    }
}

/// A proxy with one agent, `bot`.
pub struct MysqlHouse {
    pub folder: tempfile::TempDir,
    pub serve: Serve,
    pub server: Mariadb,
    pub password: String,
    token: String,
}

impl MysqlHouse {
    pub fn open(server: Mariadb) -> Self {
        Self::open_with(server, &MysqlSettings::default(), |_| {})
    }

    pub fn open_with(server: Mariadb, settings: &MysqlSettings, furnish: impl FnOnce(&Path)) -> Self {
        server.run(&format!(
            "CREATE USER {OWNER}@'%' IDENTIFIED BY {OWNER_PASSWORD:?};
             GRANT ALL ON *.* TO {OWNER}@'%' WITH GRANT OPTION;
             SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = ON;"
        ));
        let folder = tempfile::tempdir().expect("a scratch folder");
        furnish(folder.path());
        std::fs::write(folder.path().join("password"), OWNER_PASSWORD).expect("written");
        let text = format!(
            "data_dir = \"data\"\n[rules]\nfile = {:?}\n[api]\naddress = \"127.0.0.1:0\"\n\
             [mysql.listen]\naddress = \"127.0.0.1:0\"\n{}\n\
             [mysql.upstream]\nport = {}\n{}\n\
             [[mysql.upstream.users]]\nname = \"{OWNER}\"\npassword_file = \"password\"\n{}\n",
            settings.rules,
            settings.listen,
            settings.port.unwrap_or(server.port()),
            settings.upstream,
            settings.sections,
        );
        let serve = Serve::start(folder.path(), &text);
        let mut house = Self {
            folder,
            serve,
            server,
            password: String::new(),
            token: String::new(),
        };
        house.run(&["user", "add", "ann", "--role", "admin"]);
        house.run(&["user", "add", "dba", "--role", "approver,auditor"]);
        let token = house.run(&["user", "token", "dba"]);
        token["token"]
            .as_str()
            .expect("shown once")
            .clone_into(&mut house.token);
        house.password = house.add_agent("bot", &["--mysql-native"]);
        house
    }

    /// Its secret.
    pub fn add_agent(&self, name: &str, arguments: &[&str]) -> String {
        let agent = ["agent", "add", name, "--owner", "ann", "--database-user", OWNER];
        let agent = self.run(&[&agent, arguments].concat());
        agent["secret"].as_str().expect("shown once").to_owned()
    }

    /// A countersign command on this house's store.
    pub fn run(&self, arguments: &[&str]) -> Value {
        let done = Command::new(PROGRAM)
            .current_dir(self.folder.path())
            .args(arguments)
            .args(["--data-dir", "data", "--json"])
            .output()
            .expect("the binary runs");
        assert!(
            done.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        serde_json::from_slice(&done.stdout).expect("JSON")
    }

    pub fn reviewer(&self) -> Api {
        Api::new(&self.serve.api_url, &self.token)
    }

    /// The reviewer's.
    pub fn token(&self) -> &str {
        &self.token
    }

    pub fn port(&self) -> u16 {
        self.serve.mysql_listen.expect("MySQL is served").port()
    }

    /// The agent's connection string.
    pub fn url(&self, schema: &str) -> String {
        self.url_of("bot", &self.password, schema)
    }

    pub fn url_of(&self, agent: &str, password: &str, schema: &str) -> String {
        format!("mysql://{agent}:{password}@127.0.0.1:{}/{schema}", self.port())
    }

    pub fn connect(&self) -> MysqlWire {
        MysqlWire::connect(&self.url("app"))
    }

    /// Past the proxy, as superuser.
    pub fn admin(&self) -> MysqlWire {
        MysqlWire::connect(&self.server.url("root", "", "mysql"))
    }

    pub fn received(&self) -> Received {
        Received(self.admin())
    }
}

/// The server's own log.
pub struct Received(MysqlWire);

impl Received {
    /// Texts that the server was sent by agents' connections, oldest first, by whatever protocol. A prepared one is there
    /// once for each execution, with its values in it.
    pub fn texts(&mut self) -> Vec<String> {
        self.of("command_type IN ('Query', 'Execute', 'Init DB', 'Field List', 'Refresh', 'Kill')")
    }

    /// Texts that were prepared.
    pub fn prepared(&mut self) -> Vec<String> {
        self.of("command_type = 'Prepare'")
    }

    fn of(&mut self, which: &str) -> Vec<String> {
        let asked = format!(
            "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log WHERE {which} AND user_host LIKE '{OWNER}[%' \
             OR {which} AND user_host LIKE '%[{OWNER}]%' ORDER BY event_time"
        );
        let answers = self.0.query(&asked);
        let rows = answers[0].rows().texts();
        rows.into_iter()
            .filter_map(|mut row| row.pop().flatten())
            .collect()
    }

    pub fn times(&mut self, text: &str) -> usize {
        self.texts().iter().filter(|one| one.contains(text)).count()
    }

    pub fn forget(&mut self) {
        assert!(self.0.query("TRUNCATE mysql.general_log")[0].is_ok());
    }
}

/// How an answer is read: it depends on the command.
pub type Reader = fn(&mut MysqlWire) -> Vec<Answer>;

/// A reviewer, for tests that wait on a blocking socket. Inside a runtime of several threads.
pub struct MysqlReviewer {
    api: Api,
    handle: Handle,
    agent_url: String,
    principal: String,
}

impl MysqlReviewer {
    /// Decides on what this agent asks, which has nothing else open at the time.
    pub fn of(house: &MysqlHouse, principal: &str, agent_url: &str) -> Self {
        Self {
            api: house.reviewer(),
            handle: Handle::current(),
            agent_url: agent_url.to_owned(),
            principal: principal.to_owned(),
        }
    }

    /// Sends one command and reads its answers, deciding on it if it is held.
    pub fn ask(
        &self,
        wire: &mut MysqlWire,
        payload: &[u8],
        read: Reader,
        decide: Decide,
    ) -> (Treatment, Vec<Answer>) {
        wire.send(payload);
        let mut decided = None;
        let until = Instant::now() + Duration::from_secs(60);
        while !wire.has_answer(Duration::from_millis(15)) {
            assert!(
                Instant::now() < until,
                "neither answered nor held: {payload:02x?}"
            );
            let Some(request) = self.waiting(decided.as_deref()) else {
                continue;
            };
            decided = Some(id_of(&request));
            match decide {
                Decide::Approve => {
                    self.handle.block_on(self.api.approve(&request));
                }
                Decide::Withdraw => self.kill(wire.greeting.connection),
            }
        }
        let answers = read(wire);
        let ours = answers
            .iter()
            .filter_map(Answer::error)
            .find(|error| error.is_ours());
        let treatment = match (decided, ours) {
            (Some(_), _) => Treatment::Held,
            (None, Some(error)) => Treatment::Refused(error.message.clone()),
            (None, None) => Treatment::Passed,
        };
        (treatment, answers)
    }

    pub fn query(&self, wire: &mut MysqlWire, text: &str, decide: Decide) -> (Treatment, Vec<Answer>) {
        let payload = [&[super::mysql_wire::com::QUERY], text.as_bytes()].concat();
        self.ask(wire, &payload, MysqlWire::answers, decide)
    }

    fn waiting(&self, but: Option<&str>) -> Option<Value> {
        let pending = self.handle.block_on(self.api.pending());
        pending.into_iter().find(|request| {
            request["principal"] == self.principal.as_str()
                && request["detached"] == false
                && but != Some(id_of(request).as_str())
        })
    }

    /// From a second connection of the same agent, as drivers cancel.
    pub fn kill(&self, connection: u32) {
        let answers = MysqlWire::connect(&self.agent_url).query(&format!("KILL QUERY {connection}"));
        assert!(answers[0].is_ok(), "{answers:?}");
    }
}
