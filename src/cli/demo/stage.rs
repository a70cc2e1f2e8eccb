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

use super::postgres::ScratchSettings;
use super::scratch::{make_scratch_folder, write_secret};
use super::sheet::{Circumstances, LogIn, Sheet};
use super::upstream::{Scratch, Upstream, UpstreamError};
use super::watchdog::Watchdog;
use super::{DemoArgs, Speaks};
use crate::cli::exit::CliError;
use crate::cli::serve::{self, Running};
use crate::clock::Timestamp;
use crate::config::{self, Config, Sections};
use crate::identity::directory::{NewAgent, NewPerson, NewToken, OtherTokens, Role};
use crate::identity::principal::{PersonName, PrincipalName, Profile};
use crate::identity::secret::NativePassword;
use crate::store::PeopleError;
use crate::store::sqlite::Store;

/// The person who answers for the agent, and so never decides for it.
const OWNER: &str = "sam";
const REVIEWERS: [&str; 2] = ["dba-1", "dba-2"];
const REVIEWER_ROLES: [Role; 2] = [Role::Approver, Role::Auditor];
/// Who reads the log by SQL, and decides nothing.
const AUDITOR: &str = "auditor";
const AGENT: &str = "shop-agent";
/// Where MySQL's server knows its user by another name.
const MYSQL_AGENT: &str = "shop-agent-mysql";

/// A demo that runs.
pub struct Stage {
    running: Running,
    sheet: Sheet,
    is_kept: bool,
    upstreams: Upstreams,
    /// Removes the demo's folder where no scratch server's watchdog does.
    _folder: Option<Watchdog>,
}

impl Stage {
    pub async fn build(args: &DemoArgs) -> Result<Self, CliError> {
        let program =
            std::env::current_exe().map_err(|error| CliError::error(error, "run it from a file"))?;
        let upstreams = Upstreams::open(args, &program)?;
        let (folder, watchdog) = open_folder(&upstreams, &program)?;
        let data_dir = args.keep.clone().unwrap_or_else(|| folder.join("countersign"));
        let data_dir = absolute(&data_dir)?;
        make_private_folder(&data_dir)?;
        let config = settings(args, &upstreams, &folder, &data_dir)?;
        let secrets = make_people(&config, &upstreams)?;
        let running = serve::start(config).await?;
        let url = |scheme: &str,
                   address: Option<SocketAddr>,
                   agent: &Option<AgentSecret>,
                   upstream: &Option<Upstream>| {
            let (address, agent, upstream) = (reachable(address?), agent.as_ref()?, upstream.as_ref()?);
            Some(format!(
                "{scheme}://{}:{}@{address}/{}",
                agent.name, agent.secret, upstream.database
            ))
        };
        let past = |upstream: &Option<Upstream>| upstream.as_ref().map(|upstream| upstream.url.clone());
        let sheet = Sheet {
            postgres_url: url(
                "postgresql",
                running.proxy_address,
                &secrets.postgres,
                &upstreams.postgres,
            ),
            admin_postgres_url: past(&upstreams.postgres),
            mysql_url: url("mysql", running.mysql_address, &secrets.mysql, &upstreams.mysql),
            admin_mysql_url: past(&upstreams.mysql),
            api_url: format!("http://{}", running.api_address),
            // By name: passkeys are bound to one, and this machine's is `localhost`.
            web_url: format!("http://localhost:{}/", running.api_address.port()),
            log_ins: log_ins(&secrets),
            auditor_url: running.log_sql_address.map(|address| {
                let address = reachable(address);
                format!("postgresql://{AUDITOR}:{}@{address}/log", secrets.auditor)
            }),
            reviewer_token: secrets.reviewers[0].clone(),
            second_reviewer_token: secrets.reviewers[1].clone(),
            agent: String::from(AGENT),
            data_dir,
        };
        Ok(Stage {
            running,
            sheet,
            is_kept: args.keep.is_some(),
            upstreams,
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
        let has_shop =
            |upstream: &Option<Upstream>| upstream.iter().any(|upstream| upstream.scratch.is_some());
        let about = Circumstances {
            program: &program,
            reviewers: REVIEWERS,
            is_kept: self.is_kept,
            has_postgres_shop: has_shop(&self.upstreams.postgres),
            has_mysql_shop: has_shop(&self.upstreams.mysql),
        };
        self.sheet.text(about)
    }

    /// Waits until a scratch server has ended by itself, and gives the end of its log; for ever if there is none.
    pub async fn server_ended(&mut self) -> String {
        loop {
            if let Some(server) = self
                .upstreams
                .scratch()
                .find_map(|server| server.has_ended().then_some(server))
            {
                return server.log().lines().last().unwrap_or("none").to_owned();
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Ends the proxy first, so that its sessions can say goodbye, then the servers with their folders.
    pub async fn strike(self) {
        self.running.stop().await;
    }
}

fn log_ins(secrets: &Secrets) -> Vec<LogIn> {
    let log_in = |person: &str, roles: &[Role], token: &String| LogIn {
        person: person.to_owned(),
        roles: roles.iter().map(ToString::to_string).collect(),
        token: token.clone(),
    };
    let reviewers = REVIEWERS.into_iter().zip(&secrets.reviewers);
    let reviewers = reviewers.map(|(person, token)| log_in(person, &REVIEWER_ROLES, token));
    reviewers
        .chain([log_in(AUDITOR, &[Role::Auditor], &secrets.auditor)])
        .collect()
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

/// The servers of this demo; at least one.
struct Upstreams {
    postgres: Option<Upstream>,
    mysql: Option<Upstream>,
}

impl Upstreams {
    /// Scratch servers are started at the same time.
    fn open(args: &DemoArgs, program: &Path) -> Result<Self, CliError> {
        let is_wanted = |speaks| args.only.is_none_or(|only| only == speaks);
        let unused = match args.only {
            Some(Speaks::Postgres) => args.upstream_mysql.as_ref().map(|_| "--upstream-mysql"),
            Some(Speaks::Mysql) => args.upstream_postgres.as_ref().map(|_| "--upstream-postgres"),
            None => None,
        };
        if let Some(flag) = unused {
            let message = format!("`{flag}` names a server that `--only` leaves out");
            return Err(CliError::usage(message, "take one of the two away"));
        }
        let open = |speaks, url: &Option<String>| {
            let opened = match url {
                Some(url) => Upstream::existing(speaks, url),
                None => open_scratch(speaks, program),
            };
            opened.map_err(|error| CliError::error(&error, error.next_step()))
        };
        let (postgres, mysql) = std::thread::scope(|threads| {
            let wanted = is_wanted(Speaks::Mysql);
            let mysql = wanted.then(|| threads.spawn(|| open(Speaks::Mysql, &args.upstream_mysql)));
            let wanted = is_wanted(Speaks::Postgres);
            let postgres = wanted.then(|| open(Speaks::Postgres, &args.upstream_postgres));
            let mysql = mysql.map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            (postgres, mysql)
        });
        Ok(Self {
            postgres: postgres.transpose()?,
            mysql: mysql.transpose()?,
        })
    }

    fn all(&self) -> impl Iterator<Item = &Upstream> {
        self.postgres.iter().chain(&self.mysql)
    }

    fn scratch(&mut self) -> impl Iterator<Item = &mut Scratch> {
        let all = self.postgres.iter_mut().chain(&mut self.mysql);
        all.filter_map(|upstream| upstream.scratch.as_mut())
    }
}

fn open_scratch(speaks: Speaks, program: &Path) -> Result<Upstream, UpstreamError> {
    match speaks {
        Speaks::Postgres => {
            eprintln!("starting a scratch PostgreSQL with the sample database `shop` ...");
            Upstream::scratch_postgres(&ScratchSettings {
                program: program.to_owned(),
                configuration: Vec::new(),
                template: None,
                server_programs: None,
            })
        }
        Speaks::Mysql => {
            eprintln!("starting a scratch MariaDB with the sample database `shop` ...");
            Upstream::scratch_mariadb(program)
        }
    }
}

/// A scratch server's folder, or one of the demo's own with a watchdog of its own.
fn open_folder(upstreams: &Upstreams, program: &Path) -> Result<(PathBuf, Option<Watchdog>), CliError> {
    if let Some(server) = upstreams.all().find_map(|upstream| upstream.scratch.as_ref()) {
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

/// The demo's settings are a settings file like any other; the passwords lie beside the data.
fn settings(
    args: &DemoArgs,
    upstreams: &Upstreams,
    folder: &Path,
    data_dir: &Path,
) -> Result<Config, CliError> {
    let rules = match args.rules.as_deref() {
        Some(file) => quoted_path(file)?,
        None => quoted("default"),
    };
    let mut text = format!(
        "data_dir = {}\n[api]\naddress = \"127.0.0.1:0\"\n[log_sql]\naddress = \"127.0.0.1:0\"\n[rules]\nfile = {rules}\n[log]\nlevel = \"warn\"\n",
        quoted_path(data_dir)?
    );
    let fronts = [
        (&upstreams.postgres, &config::POSTGRES, "demo", &args.listen),
        (&upstreams.mysql, &config::MYSQL, "demo-mysql", &args.mysql_listen),
    ];
    for (upstream, sections, name, listen) in fronts {
        if let Some(upstream) = upstream {
            text += &front_text(upstream, sections, name, listen, folder)?;
            if args.catalog {
                text += &catalog_text(upstream, sections, folder)?;
            }
        }
    }
    Ok(Config::parse("the demo's settings", &text, folder, Vec::new())?)
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn quoted_path(path: &Path) -> Result<String, CliError> {
    Ok(quoted(&absolute(path)?.display().to_string()))
}

/// Writes a password into a file of its own, and gives its name as the settings want it.
fn password_file(folder: &Path, name: &str, password: &str) -> Result<String, CliError> {
    let file = folder.join(format!("{name}.password"));
    write_secret(&file, password).map_err(|error| CliError::error(&error, error.next_step()))?;
    quoted_path(&file)
}

fn front_text(
    upstream: &Upstream,
    sections: &Sections,
    name: &str,
    listen: &SocketAddr,
    folder: &Path,
) -> Result<String, CliError> {
    let ca_file = match &upstream.ca_file {
        Some(file) => format!("ca_file = {}", quoted_path(Path::new(file))?),
        None => String::new(),
    };
    Ok(format!(
        "[{listen_section}]
address = {listen}
[{section}]
name = {name}
host = {host}
port = {port}
tls = {tls}
{ca_file}
databases = [{database}]
[[{section}.users]]
name = {user}
password_file = {password_file}
",
        listen_section = sections.listen,
        listen = quoted(&listen.to_string()),
        section = sections.upstream,
        name = quoted(name),
        host = quoted(&upstream.host),
        port = upstream.port,
        tls = quoted(&upstream.tls),
        database = quoted(&upstream.database),
        user = quoted(&upstream.account.user),
        password_file = password_file(folder, sections.upstream, &upstream.account.password)?,
    ))
}

fn catalog_text(upstream: &Upstream, sections: &Sections, folder: &Path) -> Result<String, CliError> {
    Ok(format!(
        "[{}]\nuser = {}\npassword_file = {}\n",
        sections.catalog,
        quoted(&upstream.catalog.user),
        password_file(folder, sections.catalog, &upstream.catalog.password)?,
    ))
}

/// What is shown once, when people and agent are made.
struct Secrets {
    /// `None`: PostgreSQL is not served.
    postgres: Option<AgentSecret>,
    mysql: Option<AgentSecret>,
    reviewers: [String; 2],
    auditor: String,
}

/// What an agent's connection string needs.
#[derive(Clone)]
struct AgentSecret {
    name: &'static str,
    secret: String,
}

/// A kept folder has them already: then only the secrets are new.
fn make_people(config: &Config, upstreams: &Upstreams) -> Result<Secrets, CliError> {
    let open = |error| {
        CliError::error(
            error,
            "name another folder with --keep, or end the demo that uses this one",
        )
    };
    let mut store = Store::open(&config.store_file()).map_err(open)?;
    let owner = person(OWNER);
    let [first, second] = REVIEWERS.map(|name| make_person(&mut store, name, &REVIEWER_ROLES, &owner));
    let auditor = make_person(&mut store, AUDITOR, &[Role::Auditor], &owner)?;
    let reviewers = [first?, second?];
    let (postgres, mysql) = make_agents(&mut store, upstreams, &owner)?;
    Ok(Secrets {
        postgres,
        mysql,
        reviewers,
        auditor,
    })
}

/// Gives the person's new token.
fn make_person(store: &mut Store, name: &str, roles: &[Role], by: &PersonName) -> Result<String, CliError> {
    let now = Timestamp::now();
    let new = NewPerson {
        name: person(name),
        roles: roles.to_vec(),
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

/// One agent for both servers if both know its user, as scratch servers do; otherwise one for each, because an agent is
/// mapped to one name.
fn make_agents(
    store: &mut Store,
    upstreams: &Upstreams,
    owner: &PersonName,
) -> Result<(Option<AgentSecret>, Option<AgentSecret>), CliError> {
    let users: BTreeSet<&str> = upstreams
        .all()
        .map(|upstream| upstream.account.user.as_str())
        .collect();
    if users.len() == 1 {
        let both: Vec<&Upstream> = upstreams.all().collect();
        let made = make_agent(store, AGENT, &both, owner)?;
        let of = |upstream: &Option<Upstream>| upstream.as_ref().map(|_| made.clone());
        return Ok((of(&upstreams.postgres), of(&upstreams.mysql)));
    }
    let mut of = |name, upstream: &Option<Upstream>| {
        let upstream = upstream.as_ref();
        upstream
            .map(|upstream| make_agent(store, name, &[upstream], owner))
            .transpose()
    };
    Ok((
        of(AGENT, &upstreams.postgres)?,
        of(MYSQL_AGENT, &upstreams.mysql)?,
    ))
}

fn make_agent(
    store: &mut Store,
    name: &'static str,
    upstreams: &[&Upstream],
    owner: &PersonName,
) -> Result<AgentSecret, CliError> {
    let now = Timestamp::now();
    let principal = PrincipalName::parse(name).expect("the demo's own names are valid");
    let databases: BTreeSet<&str> = upstreams
        .iter()
        .map(|upstream| upstream.database.as_str())
        .collect();
    let new = NewAgent {
        name: principal.clone(),
        owner: owner.clone(),
        acts_for: None,
        databases: databases.into_iter().map(str::to_owned).collect(),
        database_user: upstreams
            .first()
            .map(|upstream| upstream.account.user.clone())
            .unwrap_or_default(),
        profile: Profile::Standard,
        labels: BTreeMap::new(),
        expires_at: None,
        // So that every client gets in, old ones too.
        mysql_native: NativePassword::Allowed,
    };
    let secret = match store.agent_add(&new, owner, now) {
        Ok((_, secret)) => Ok(secret),
        Err(PeopleError::Exists(_)) => store.agent_rotate(&principal, new.mysql_native, owner, now),
        Err(error) => Err(error),
    };
    let secret = secret.map_err(|error| people_error(&error))?;
    Ok(AgentSecret {
        name,
        secret: secret.reveal().to_owned(),
    })
}

fn person(name: &str) -> PersonName {
    PersonName::parse(name).expect("the demo's own names are valid")
}

fn people_error(error: &PeopleError) -> CliError {
    CliError::error(error, "name an empty folder with --keep")
}
