//! Builds the demo up and takes it down: server, folder, people, agent, then `serve` in this very process.
//!
//! Never has powers of its own: people and agent are made as `countersign user` and `agent` make them. Read
//! `upstream.rs` next.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::DemoArgs;
use super::postgres::{ScratchSettings, make_scratch_folder, write_secret};
use super::sheet::{Circumstances, Sheet};
use super::upstream::Upstream;
use super::watchdog::Watchdog;
use crate::cli::exit::CliError;
use crate::cli::serve::{self, Running};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::identity::directory::{NewAgent, NewPerson, NewToken, OtherTokens, Role};
use crate::identity::principal::{PersonName, PrincipalName, Profile};
use crate::identity::secret::NativePassword;
use crate::store::PeopleError;
use crate::store::sqlite::Store;

/// The person who answers for the agent, and so never decides for it.
const OWNER: &str = "sam";
const REVIEWERS: [&str; 2] = ["dba-1", "dba-2"];
const AGENT: &str = "shop-agent";

/// A demo that runs.
pub struct Stage {
    running: Running,
    sheet: Sheet,
    is_kept: bool,
    upstream: Upstream,
    /// Removes the demo's folder where no scratch server's watchdog does.
    _folder: Option<Watchdog>,
}

impl Stage {
    pub async fn build(args: &DemoArgs) -> Result<Self, CliError> {
        let program =
            std::env::current_exe().map_err(|error| CliError::error(error, "run it from a file"))?;
        let upstream = open_upstream(args, program.clone())?;
        let (folder, watchdog) = open_folder(&upstream, &program)?;
        let data_dir = args.keep.clone().unwrap_or_else(|| folder.join("countersign"));
        let data_dir = absolute(&data_dir)?;
        make_private_folder(&data_dir)?;
        let config = settings(args, &upstream, &folder, &data_dir)?;
        let secrets = make_people(&config, &upstream)?;
        let running = serve::start(config).await?;
        let agent_address = running.proxy_address.map(reachable);
        let agent_address = agent_address.expect("the demo's settings name a user of PostgreSQL");
        let sheet = Sheet {
            postgres_url: format!(
                "postgresql://{AGENT}:{}@{agent_address}/{}",
                secrets.agent, upstream.database
            ),
            admin_postgres_url: upstream.url.clone(),
            api_url: format!("http://{}", running.api_address),
            reviewer_token: secrets.reviewers[0].clone(),
            second_reviewer_token: secrets.reviewers[1].clone(),
            agent: String::from(AGENT),
            data_dir,
        };
        Ok(Stage {
            running,
            sheet,
            is_kept: args.keep.is_some(),
            upstream,
            _folder: watchdog,
        })
    }

    pub fn sheet(&self) -> &Sheet {
        &self.sheet
    }

    /// What a person pastes.
    pub fn text(&self) -> String {
        let program = std::env::args()
            .next()
            .unwrap_or_else(|| String::from("countersign"));
        let has_shop = self.upstream.scratch.is_some();
        let about = Circumstances {
            program: &program,
            reviewers: REVIEWERS,
            is_kept: self.is_kept,
            has_shop,
        };
        self.sheet.text(about)
    }

    /// Waits until the scratch server has ended by itself, and gives the end of its log; for ever if there is none.
    pub async fn server_ended(&mut self) -> String {
        let Some(server) = &mut self.upstream.scratch else {
            return std::future::pending().await;
        };
        while !server.has_ended() {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let log = server.log();
        log.lines().last().unwrap_or("none").to_owned()
    }

    /// Ends the proxy first, so that its sessions can say goodbye, then the server with its folder.
    pub async fn strike(self) {
        self.running.stop().await;
    }
}

/// Where a client on this machine finds a listener on all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

fn open_upstream(args: &DemoArgs, program: PathBuf) -> Result<Upstream, CliError> {
    let opened = match args.upstream_postgres.clone() {
        Some(url) => Upstream::existing(&url),
        None => {
            eprintln!("starting a scratch PostgreSQL with the sample database `shop` ...");
            let settings = ScratchSettings {
                program,
                configuration: Vec::new(),
                template: None,
                server_programs: None,
            };
            Upstream::scratch(&settings)
        }
    };
    opened.map_err(|error| CliError::error(&error, error.next_step()))
}

/// The scratch server's folder, or one of the demo's own with a watchdog of its own.
fn open_folder(upstream: &Upstream, program: &Path) -> Result<(PathBuf, Option<Watchdog>), CliError> {
    if let Some(server) = &upstream.scratch {
        return Ok((server.folder().to_owned(), None));
    }
    let folder = make_scratch_folder().map_err(|error| CliError::error(&error, error.next_step()))?;
    let watchdog = Watchdog::start(program, &folder, &[]).map_err(|error| {
        CliError::error(
            format!("cannot start the watchdog: {error}"),
            "free some processes",
        )
    })?;
    Ok((folder, Some(watchdog)))
}

fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|error| CliError::error(error, "run it in a folder that exists"))
}

fn make_private_folder(folder: &Path) -> Result<(), CliError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| {
        let message = format!("cannot make `{}`: {error}", folder.display());
        CliError::error(message, "name a folder of yours with --keep")
    })
}

/// The demo's settings are a settings file like any other; it lies beside the data for whoever wants to look.
fn settings(
    args: &DemoArgs,
    upstream: &Upstream,
    folder: &Path,
    data_dir: &Path,
) -> Result<Config, CliError> {
    let password_file = folder.join("upstream.password");
    write_secret(&password_file, &upstream.password)
        .map_err(|error| CliError::error(&error, error.next_step()))?;
    let text = settings_text(args, upstream, data_dir, &password_file)?;
    Ok(Config::parse("the demo's settings", &text, folder, Vec::new())?)
}

fn settings_text(
    args: &DemoArgs,
    upstream: &Upstream,
    data_dir: &Path,
    password_file: &Path,
) -> Result<String, CliError> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let quoted_path = |path: &Path| Ok::<_, CliError>(quoted(&absolute(path)?.display().to_string()));
    let rules = args
        .rules
        .as_deref()
        .map_or_else(|| Ok(quoted("default")), quoted_path)?;
    let ca_file = match &upstream.ca_file {
        Some(file) => format!("ca_file = {}", quoted_path(Path::new(file))?),
        None => String::new(),
    };
    let catalog = match args.catalog {
        true => format!("[catalog]\nuser = {}", quoted(&upstream.user)),
        false => String::new(),
    };
    Ok(format!(
        "data_dir = {data_dir}
[listen]
address = {listen}
[api]
address = \"127.0.0.1:0\"
[upstream]
name = \"demo\"
host = {host}
port = {port}
tls = {tls}
{ca_file}
databases = [{database}]
[[upstream.users]]
name = {user}
password_file = {password_file}
{catalog}
[rules]
file = {rules}
[log]
level = \"warn\"
",
        data_dir = quoted_path(data_dir)?,
        listen = quoted(&args.listen.to_string()),
        host = quoted(&upstream.host),
        port = upstream.port,
        tls = quoted(&upstream.tls),
        database = quoted(&upstream.database),
        user = quoted(&upstream.user),
        password_file = quoted_path(password_file)?,
    ))
}

/// What is shown once, when people and agent are made.
struct Secrets {
    agent: String,
    reviewers: [String; 2],
}

/// A kept folder has them already: then only the secrets are new.
fn make_people(config: &Config, upstream: &Upstream) -> Result<Secrets, CliError> {
    let open = |error| {
        CliError::error(
            error,
            "name another folder with --keep, or end the demo that uses this one",
        )
    };
    let mut store = Store::open(&config.store_file()).map_err(open)?;
    let owner = person(OWNER);
    let [first, second] = REVIEWERS.map(|name| make_reviewer(&mut store, name, &owner));
    let reviewers = [first?, second?];
    Ok(Secrets {
        agent: make_agent(&mut store, upstream, &owner)?,
        reviewers,
    })
}

fn make_reviewer(store: &mut Store, name: &str, by: &PersonName) -> Result<String, CliError> {
    let now = Timestamp::now();
    let new = NewPerson {
        name: person(name),
        roles: vec![Role::Approver, Role::Auditor],
        groups: Vec::new(),
    };
    match store.person_add(&new, by, now) {
        Ok(_) | Err(PeopleError::Exists(_)) => {}
        Err(error) => return Err(people_error(&error)),
    }
    let token = NewToken {
        person: new.name,
        scopes: None,
        expires_at: None,
        // Made on this machine, so nobody else counts as having seen it.
        seen_by: BTreeSet::new(),
        others: OtherTokens::Stay,
    };
    let secret = store
        .token_issue(&token, by, now)
        .map_err(|error| people_error(&error))?;
    Ok(secret.reveal().to_owned())
}

fn make_agent(store: &mut Store, upstream: &Upstream, owner: &PersonName) -> Result<String, CliError> {
    let now = Timestamp::now();
    let name = PrincipalName::parse(AGENT).expect("the demo's own names are valid");
    let new = NewAgent {
        name: name.clone(),
        owner: owner.clone(),
        acts_for: None,
        databases: vec![upstream.database.clone()],
        database_user: upstream.user.clone(),
        profile: Profile::Standard,
        labels: BTreeMap::new(),
        expires_at: None,
        // So that every client gets in, old ones too.
        mysql_native: NativePassword::Allowed,
    };
    let secret = match store.agent_add(&new, owner, now) {
        Ok((_, secret)) => Ok(secret),
        Err(PeopleError::Exists(_)) => store.agent_rotate(&name, new.mysql_native, owner, now),
        Err(error) => Err(error),
    };
    Ok(secret.map_err(|error| people_error(&error))?.reveal().to_owned())
}

fn person(name: &str) -> PersonName {
    PersonName::parse(name).expect("the demo's own names are valid")
}

fn people_error(error: &PeopleError) -> CliError {
    CliError::error(error, "name an empty folder with --keep")
}
