//! `user …` and `agent …`: over the API when COUNTERSIGN_API_URL is set, else on the store of this machine, where a
//! running `serve` notices at once; so the first administrator needs no token. Never prints a secret twice.
//! Read `store/people.rs` for what each change leaves behind.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};

use super::client::Client;
use super::exit::{CliError, Exit};
use super::factors;
use super::output::Output;
use super::{SettingsArgs, make_private};
use crate::api::channels::{LinkedAccount, Unlinked};
use crate::api::factors::FactorsShape;
use crate::api::people::{
    ActiveBody, AgentBody, AgentSecret, AgentShape, CACHING_SHA2, CertificateBody, MYSQL_NATIVE, Me,
    PersonBody, PersonChange, PersonShape, Revoked, RotateBody, TokenBody, TokenShape, certificate_name,
    native_password, person_name, principal_name,
};
use crate::api::problem::Problem;
use crate::api::requests::Page;
use crate::clock::Timestamp;
use crate::config::{MYSQL, POSTGRES};
use crate::identity::principal::PersonName;
use crate::render::visible_line;
use crate::store::sqlite::{Limits, Store, StoreError};
use crate::store::{PeopleError, Which};

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a person
    Add(UserAddArgs),
    /// List everybody
    List(PlaceArgs),
    /// Make a token for a person; it is shown this once
    ///
    /// Over the API everybody makes one for themselves, and an administrator for anybody: the token then remembers
    /// that the administrator has seen it, and decides nothing in which the administrator has a stake. Made on the
    /// machine of the store it remembers nobody: whoever runs that machine is trusted anyway. Hand it over unread.
    Token(TokenArgs),
    /// Give a person other roles or groups
    Set(UserSetArgs),
    /// Set a password, or make a one-time code by which somebody sets theirs
    ///
    /// On the machine of the store: anybody's. Over the API: your own, with the old one; for anybody else a one-time code,
    /// which you have seen: sessions by that password decide nothing in which you have a stake.
    Passwd(factors::PasswdArgs),
    /// Enrol your authenticator app as a second factor, over the API; or take it away
    Totp(factors::TotpArgs),
    /// For somebody who has lost them: their authenticator app, recovery codes and passkeys count no longer
    ForgetFactors(UserNameArgs),
    /// The accounts of chats that speak for a person; or take them away
    ///
    /// Over the API your own, and for an administrator anybody's; on the machine of the store anybody's.
    Links(LinksArgs),
    /// Revoke every token of a person, end their sessions and unlink their accounts of chats
    Revoke(UserNameArgs),
    /// Let a person no longer sign in or decide
    Deactivate(UserNameArgs),
    /// Let a person sign in and decide again
    Activate(UserNameArgs),
}

#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Add an agent; its secret is shown this once
    Add(Box<AgentAddArgs>),
    /// List every agent
    List(PlaceArgs),
    /// Give an agent a new secret, shown this once, or another certificate; the old one ends
    Rotate(RotateArgs),
    /// Revoke an agent: its sessions end, what it has waiting is withdrawn
    Revoke(AgentNameArgs),
}

/// Where the change is made, and by whom.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Who makes the change on this machine, for the log, and sees a new secret [default: the user of this machine]
    #[arg(long = "as", value_name = "PERSON")]
    by: Option<String>,
}

#[derive(Debug, Args)]
pub struct UserAddArgs {
    /// 1 to 63 of a-z 0-9 _ - . @
    name: String,
    /// approver, auditor, admin or break_glass; may be given several times
    #[arg(long = "role", required = true, value_delimiter = ',')]
    roles: Vec<String>,
    /// A group that rules name; may be given several times
    #[arg(long = "group", value_delimiter = ',')]
    groups: Vec<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub struct UserSetArgs {
    /// The person
    name: String,
    /// All roles that the person is to have: approver, auditor, admin or break_glass
    #[arg(long = "role", value_delimiter = ',')]
    roles: Vec<String>,
    /// All groups that the person is to be in
    #[arg(long = "group", value_delimiter = ',')]
    groups: Vec<String>,
    /// Take the person out of every group
    #[arg(long, conflicts_with = "groups")]
    no_groups: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub struct TokenArgs {
    /// The person
    name: String,
    /// Less than the person's roles give: read, decide, log, manage, break_glass
    #[arg(long = "scope", value_delimiter = ',')]
    scopes: Vec<String>,
    /// How long it is good: 12h, 30d
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// End every other token of the person
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub struct AgentAddArgs {
    /// 1 to 63 of a-z 0-9 _ - . (the user in its connection string)
    name: String,
    /// The person who answers for it, and so never decides for it
    #[arg(long)]
    owner: String,
    /// The user of the database that it maps to; may be left out if the settings name only one
    #[arg(long)]
    database_user: Option<String>,
    /// A database that it may connect to; may be given several times [default: all]
    #[arg(long = "database", value_delimiter = ',')]
    databases: Vec<String>,
    /// standard, or mcp: waits 25 s and gets no notices
    #[arg(long)]
    profile: Option<String>,
    /// The person in whose name it works, who so never decides for it
    #[arg(long)]
    acts_for: Option<String>,
    /// How long it is good: 12h, 30d
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// KEY=VALUE, for rules; may be given several times
    #[arg(long = "label", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Let it log in by its certificate alone: CN=NAME, URI=spiffe://NAME or DNS=NAME, exactly as it stands there
    #[arg(long, value_name = "KIND=NAME")]
    certificate: Option<String>,
    /// Let it log in by mysql_native_password too, for MySQL clients that know nothing newer
    #[arg(long, conflicts_with = "certificate")]
    mysql_native: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub struct UserNameArgs {
    /// The person
    name: String,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub struct LinksArgs {
    /// The person
    name: String,
    /// Unlink the one of this id
    #[arg(long, value_name = "ID")]
    remove: Option<String>,
    /// Unlink all of them
    #[arg(long, conflicts_with = "remove")]
    remove_all: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub struct RotateArgs {
    /// The agent
    name: String,
    /// Give it no secret, but let it log in by its certificate alone: CN=NAME, URI=spiffe://NAME or DNS=NAME
    #[arg(long, value_name = "KIND=NAME")]
    certificate: Option<String>,
    /// Let it log in by mysql_native_password too; without this it no longer does
    #[arg(long, conflicts_with = "certificate")]
    mysql_native: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub struct AgentNameArgs {
    /// The agent
    name: String,
    #[command(flatten)]
    place: PlaceArgs,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| "write KEY=VALUE".to_owned())?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The two ways to the store.
pub(super) enum Way {
    Api(Client),
    Here { store: Box<Store>, by: PersonName },
}

/// What agents connect by.
enum Protocol {
    Postgres,
    Mysql,
}

impl PlaceArgs {
    pub(super) fn way(&self) -> Result<Way, CliError> {
        let is_here = self.settings.data_dir.is_some() || self.settings.config.is_some();
        if Client::is_configured() && !is_here {
            return Ok(Way::Api(Client::from_environment()?));
        }
        let config = self.settings.load(Vec::new())?;
        make_private(&config.data_dir)?;
        let store = Store::open_with(&config.store_file(), Limits::of_a_command()).map_err(store_error)?;
        Ok(Way::Here {
            store: Box::new(store),
            by: self.person()?,
        })
    }

    /// The protocols of the settings on this machine; both where there are none.
    fn served(&self) -> Vec<Protocol> {
        let config = self.settings.load(Vec::new()).ok();
        let served = config.map(|config| (config.postgres.is_served(), config.mysql.is_served()));
        match served {
            Some((true, false)) => vec![Protocol::Postgres],
            Some((false, true)) => vec![Protocol::Mysql],
            Some((true, true) | (false, false)) | None => vec![Protocol::Postgres, Protocol::Mysql],
        }
    }

    fn person(&self) -> Result<PersonName, CliError> {
        let given = self.by.clone();
        let name = given.or_else(|| {
            ["SUDO_USER", "USER", "LOGNAME"]
                .iter()
                .find_map(|name| std::env::var(name).ok())
        });
        let name = name
            .map(|name| name.to_ascii_lowercase())
            .unwrap_or_else(|| "root".to_owned());
        PersonName::parse(&name)
            .map_err(|error| CliError::usage(error.to_string(), "name yourself with --as"))
    }
}

pub async fn run_user(command: UserCommand, output: Output) -> Result<Exit, CliError> {
    match command {
        UserCommand::Add(args) => add_user(args, output).await,
        UserCommand::List(place) => list_users(&place, output).await,
        UserCommand::Token(args) => issue_token(args, output).await,
        UserCommand::Set(args) => set_user(args, output).await,
        UserCommand::Passwd(args) => factors::passwd(&args, output).await,
        UserCommand::Totp(args) => factors::totp(&args, output).await,
        UserCommand::ForgetFactors(args) => forget_factors(&args, output).await,
        UserCommand::Links(args) => links(&args, output).await,
        UserCommand::Revoke(args) => revoke_tokens(&args, output).await,
        UserCommand::Deactivate(args) => set_active(&args, false, output).await,
        UserCommand::Activate(args) => set_active(&args, true, output).await,
    }
}

async fn add_user(args: UserAddArgs, output: Output) -> Result<Exit, CliError> {
    let body = PersonBody {
        name: args.name,
        roles: args.roles,
        groups: args.groups,
    };
    let person: PersonShape = match args.place.way()? {
        Way::Api(client) => client.post("/users", &body).await?,
        Way::Here { mut store, by } => {
            let new = body.checked().map_err(usage)?;
            PersonShape::of(
                &store
                    .person_add(&new, &by, Timestamp::now())
                    .map_err(people_error)?,
            )
        }
    };
    output.either(&person, || person_line(&person));
    eprintln!("next: countersign user token {}", person.name);
    Ok(Exit::Done)
}

async fn list_users(place: &PlaceArgs, output: Output) -> Result<Exit, CliError> {
    let page: Page<PersonShape> = match place.way()? {
        Way::Api(client) => client.get("/users", &[]).await?,
        Way::Here { mut store, .. } => {
            let people = store.people().map_err(store_error)?;
            let mut items = Vec::with_capacity(people.len());
            for person in &people {
                let factors = store.factors(&person.name).map_err(store_error)?;
                items.push(PersonShape::with_factors(person, &factors));
            }
            Page {
                items,
                next_cursor: None,
            }
        }
    };
    output.either(&page, || {
        page.items
            .iter()
            .map(|person| person_line(person) + "\n")
            .collect()
    });
    Ok(Exit::Done)
}

async fn set_user(args: UserSetArgs, output: Output) -> Result<Exit, CliError> {
    let name = person_name("name", &args.name).map_err(usage)?;
    let body = PersonChange {
        roles: Some(args.roles).filter(|roles| !roles.is_empty()),
        groups: Some(args.groups).filter(|groups| !groups.is_empty() || args.no_groups),
    };
    let person: PersonShape = match args.place.way()? {
        Way::Api(client) => client.patch(&format!("/users/{name}"), &body).await?,
        Way::Here { mut store, by } => {
            let (roles, groups) = body.checked().map_err(usage)?;
            let changed =
                store.person_change(&name, roles.as_deref(), groups.as_deref(), &by, Timestamp::now());
            PersonShape::of(&changed.map_err(people_error)?)
        }
    };
    output.either(&person, || person_line(&person));
    Ok(Exit::Done)
}

async fn links(args: &LinksArgs, output: Output) -> Result<Exit, CliError> {
    let name = person_name("name", &args.name).map_err(usage)?;
    let which = args.remove.as_deref().map(Which::One);
    let which = which.or(args.remove_all.then_some(Which::All));
    let unlinked: Unlinked = match (args.place.way()?, which) {
        (way, None) => return list_links(way, &name, output).await,
        (Way::Api(client), Some(Which::One(id))) => {
            let me: Me = client.get("/me", &[]).await?;
            if me.person.name != args.name {
                return Err(CliError::usage(
                    "over the API one by one are your own alone",
                    "take all of somebody else's with --remove-all",
                ));
            }
            client.delete(&format!("/me/links/{id}")).await?
        }
        (Way::Api(client), Some(Which::All)) => client.delete(&format!("/users/{name}/links")).await?,
        (Way::Here { mut store, by }, Some(which)) => Unlinked {
            person: name.to_string(),
            unlinked: store
                .unlink(&name, which, &by, Timestamp::now())
                .map_err(store_error)?,
        },
    };
    if unlinked.unlinked == 0 && args.remove.is_some() {
        return Err(CliError::error(
            "there is no such link",
            "look at the list: countersign user links NAME",
        ));
    }
    output.either(&unlinked, || format!("{name}  {} unlinked", unlinked.unlinked));
    Ok(Exit::Done)
}

async fn list_links(way: Way, name: &PersonName, output: Output) -> Result<Exit, CliError> {
    let page: Page<LinkedAccount> = match way {
        Way::Api(client) => {
            let me: Me = client.get("/me", &[]).await?;
            let is_own = me.person.name == name.as_str();
            let path = if is_own {
                "/me/links".to_owned()
            } else {
                format!("/users/{name}/links")
            };
            client.get(&path, &[]).await?
        }
        Way::Here { mut store, .. } => {
            let links = store.links_of(name).map_err(store_error)?;
            Page {
                items: links.iter().map(LinkedAccount::of).collect(),
                next_cursor: None,
            }
        }
    };
    let line = |link: &LinkedAccount| {
        let (channel, account) = (visible_line(&link.channel), visible_line(&link.account));
        format!("{}  {channel}  {account}  since {}\n", link.id, link.linked_at)
    };
    output.either(&page, || page.items.iter().map(line).collect());
    Ok(Exit::Done)
}

async fn forget_factors(args: &UserNameArgs, output: Output) -> Result<Exit, CliError> {
    let name = person_name("name", &args.name).map_err(usage)?;
    let factors: FactorsShape = match args.place.way()? {
        Way::Api(client) => client.delete(&format!("/users/{name}/factors")).await?,
        Way::Here { mut store, by } => {
            store
                .factors_forget(&name, &by, Timestamp::now())
                .map_err(people_error)?;
            FactorsShape::of(&store.factors(&name).map_err(store_error)?)
        }
    };
    output.either(&factors, || format!("{name}  no second factor"));
    Ok(Exit::Done)
}

async fn issue_token(args: TokenArgs, output: Output) -> Result<Exit, CliError> {
    let scopes = Some(args.scopes).filter(|scopes| !scopes.is_empty());
    let body = TokenBody {
        scopes,
        expires_in: args.expires,
        replace: args.replace,
    };
    let token: TokenShape = match args.place.way()? {
        Way::Api(client) => {
            client
                .post(
                    &format!(
                        "/users/{}/tokens",
                        person_name("name", &args.name).map_err(usage)?
                    ),
                    &body,
                )
                .await?
        }
        Way::Here { mut store, by } => {
            let new = body.checked(&args.name, Timestamp::now()).map_err(usage)?;
            let issued = store
                .token_issue(&new, &by, Timestamp::now())
                .map_err(people_error)?;
            TokenShape::of(&new, &issued)
        }
    };
    // Alone on stdout, so that `COUNTERSIGN_TOKEN=$(countersign user token alice)` works.
    output.either(&token, || token.token.clone());
    eprintln!(
        "shown this once; `{}` signs in with it as COUNTERSIGN_TOKEN",
        token.person
    );
    if !token.seen_by.is_empty() {
        eprintln!(
            "seen by {}: it decides nothing in which one of them has a stake",
            token.seen_by.join(", ")
        );
    }
    Ok(Exit::Done)
}

async fn revoke_tokens(args: &UserNameArgs, output: Output) -> Result<Exit, CliError> {
    let person = person_name("name", &args.name).map_err(usage)?;
    let revoked: Revoked = match args.place.way()? {
        Way::Api(client) => client.delete(&format!("/users/{person}/tokens")).await?,
        Way::Here { mut store, by } => {
            let revoked = store
                .tokens_revoke(&person, &by, Timestamp::now())
                .map_err(store_error)?;
            Revoked {
                person: person.to_string(),
                revoked,
            }
        }
    };
    output.either(&revoked, || {
        format!("{}  tokens revoked: {}", revoked.person, revoked.revoked)
    });
    Ok(Exit::Done)
}

async fn set_active(args: &UserNameArgs, active: bool, output: Output) -> Result<Exit, CliError> {
    let person = person_name("name", &args.name).map_err(usage)?;
    let body = match args.place.way()? {
        Way::Api(client) => {
            client
                .post(&format!("/users/{person}/active"), &ActiveBody { active })
                .await?
        }
        Way::Here { mut store, by } => {
            store
                .person_set_active(&person, active, &by, Timestamp::now())
                .map_err(people_error)?;
            ActiveBody { active }
        }
    };
    output.either(&body, || {
        format!("{person}  {}", if body.active { "active" } else { "not active" })
    });
    Ok(Exit::Done)
}

pub async fn run_agent(command: AgentCommand, output: Output) -> Result<Exit, CliError> {
    match command {
        AgentCommand::Add(args) => add_agent(*args, output).await,
        AgentCommand::List(place) => list_agents(&place, output).await,
        AgentCommand::Rotate(args) => rotate_agent(&args, output).await,
        AgentCommand::Revoke(args) => revoke_agent(&args, output).await,
    }
}

async fn add_agent(args: AgentAddArgs, output: Output) -> Result<Exit, CliError> {
    let way = args.place.way()?;
    let database_user = match (args.database_user, &way) {
        (Some(user), _) => user,
        (None, Way::Here { .. }) => only_database_user(&args.place)?,
        (None, Way::Api(_)) => {
            return Err(CliError::usage(
                "no database user",
                "name the one it maps to with --database-user",
            ));
        }
    };
    let body = AgentBody {
        name: args.name,
        owner: args.owner,
        database_user,
        acts_for: args.acts_for,
        databases: args.databases,
        profile: args.profile,
        labels: args.labels.into_iter().collect::<BTreeMap<_, _>>(),
        expires_in: args.expires,
        certificate: args.certificate,
        mysql_native: args.mysql_native,
    };
    let added: AgentSecret = match way {
        Way::Api(client) => client.post("/agents", &body).await?,
        Way::Here { mut store, by } => {
            let certificate = body.certificate.as_deref().map(certificate_name).transpose();
            let certificate = certificate.map_err(usage)?;
            let new = body.checked(Timestamp::now()).map_err(usage)?;
            let now = Timestamp::now();
            let (agent, secret) = match certificate {
                None => store
                    .agent_add(&new, &by, now)
                    .map(|(agent, secret)| (agent, Some(secret))),
                Some(name) => store
                    .agent_add_certified(&new, &name, &by, now)
                    .map(|agent| (agent, None)),
            }
            .map_err(people_error)?;
            AgentSecret {
                agent: AgentShape::of(&agent),
                secret: secret.map(|secret| secret.reveal().to_owned()),
            }
        }
    };
    print_secret(&added, &args.place, output);
    Ok(Exit::Done)
}

/// The settings may leave no choice.
fn only_database_user(place: &PlaceArgs) -> Result<String, CliError> {
    let config = place.settings.load(Vec::new())?;
    // An agent is mapped to a user of the same name at both servers.
    let users = config.fronts().flat_map(|front| &front.upstream.users);
    let names: BTreeSet<&str> = users.map(|user| user.name.as_str()).collect();
    match Vec::from_iter(names).as_slice() {
        [one] => Ok((*one).to_owned()),
        others => Err(CliError::usage(
            format!("the settings name {} database users", others.len()),
            "name the one that the agent maps to with --database-user",
        )),
    }
}

async fn list_agents(place: &PlaceArgs, output: Output) -> Result<Exit, CliError> {
    let page: Page<AgentShape> = match place.way()? {
        Way::Api(client) => client.get("/agents", &[]).await?,
        Way::Here { mut store, .. } => {
            let agents = store.agents().map_err(store_error)?;
            Page {
                items: agents.iter().map(AgentShape::of).collect(),
                next_cursor: None,
            }
        }
    };
    output.either(&page, || {
        page.items.iter().map(|agent| agent_line(agent) + "\n").collect()
    });
    Ok(Exit::Done)
}

async fn rotate_agent(args: &RotateArgs, output: Output) -> Result<Exit, CliError> {
    match &args.certificate {
        None => renew_secret(args, output).await,
        Some(certificate) => certify_agent(args, certificate, output).await,
    }
}

async fn certify_agent(args: &RotateArgs, certificate: &str, output: Output) -> Result<Exit, CliError> {
    let name = principal_name(&args.name).map_err(usage)?;
    let certificate = certificate_name(certificate).map_err(usage)?;
    let agent: AgentShape = match args.place.way()? {
        Way::Api(client) => {
            let body = CertificateBody {
                certificate: certificate.to_string(),
            };
            client.post(&format!("/agents/{name}/certificate"), &body).await?
        }
        Way::Here { mut store, by } => {
            store
                .agent_certify(&name, &certificate, &by, Timestamp::now())
                .map_err(people_error)?;
            stored_agent(&mut store, &args.name)?
        }
    };
    let certified = AgentSecret { agent, secret: None };
    print_secret(&certified, &args.place, output);
    Ok(Exit::Done)
}

async fn renew_secret(args: &RotateArgs, output: Output) -> Result<Exit, CliError> {
    let name = principal_name(&args.name).map_err(usage)?;
    let body = RotateBody {
        mysql_native: args.mysql_native,
    };
    let rotated: AgentSecret = match args.place.way()? {
        Way::Api(client) => client.post(&format!("/agents/{name}/rotate"), &body).await?,
        Way::Here { mut store, by } => {
            let secret = store
                .agent_rotate(&name, native_password(body.mysql_native), &by, Timestamp::now())
                .map_err(people_error)?;
            AgentSecret {
                agent: stored_agent(&mut store, &args.name)?,
                secret: Some(secret.reveal().to_owned()),
            }
        }
    };
    print_secret(&rotated, &args.place, output);
    Ok(Exit::Done)
}

async fn revoke_agent(args: &AgentNameArgs, output: Output) -> Result<Exit, CliError> {
    let name = principal_name(&args.name).map_err(usage)?;
    let revoked: AgentShape = match args.place.way()? {
        Way::Api(client) => client.delete(&format!("/agents/{name}")).await?,
        Way::Here { mut store, by } => {
            store
                .agent_revoke(&name, &by, Timestamp::now())
                .map_err(people_error)?;
            stored_agent(&mut store, &args.name)?
        }
    };
    output.either(&revoked, || agent_line(&revoked));
    Ok(Exit::Done)
}

fn stored_agent(store: &mut Store, name: &str) -> Result<AgentShape, CliError> {
    let agent = store.agent(name).map_err(store_error)?;
    let missing = || {
        CliError::error(
            format!("there is no `{name}`"),
            "look at `countersign agent list`",
        )
    };
    agent.as_ref().map(AgentShape::of).ok_or_else(missing)
}

fn print_secret(added: &AgentSecret, place: &PlaceArgs, output: Output) {
    let agent = &added.agent;
    output.either(added, || match &added.secret {
        Some(secret) => format!(
            "agent   {}\nsecret  {secret}\n{}",
            agent.name,
            urls(agent, secret, &place.served())
        ),
        None => format!(
            "agent        {}\ncertificate  {}\nurl          \
             postgres://{}@127.0.0.1:6432/{}?sslmode=verify-full&sslcert=FILE&sslkey=FILE\n",
            agent.name,
            visible_line(agent.certificate.as_deref().unwrap_or_default()),
            agent.name,
            database_of(agent)
        ),
    });
    let seen_by = agent.secret_seen_by.join(", ");
    let credential = match &added.secret {
        Some(_) => "the secret is shown this once",
        None => "it needs `client_ca_file` in `[listen]`",
    };
    eprintln!(
        "{credential}; never deciding for this agent: its owner {}, and {seen_by}",
        agent.owner
    );
}

/// One line for each protocol that is served. The address is the default one: where agents reach the proxy, no setting
/// says.
fn urls(agent: &AgentShape, secret: &str, served: &[Protocol]) -> String {
    let line = |protocol: &Protocol| {
        let (scheme, port) = match protocol {
            Protocol::Postgres => ("postgres", POSTGRES.listen_port),
            Protocol::Mysql => ("mysql", MYSQL.listen_port),
        };
        format!(
            "url     {scheme}://{}:{secret}@127.0.0.1:{port}/{}\n",
            agent.name,
            database_of(agent)
        )
    };
    served.iter().map(line).collect()
}

fn database_of(agent: &AgentShape) -> String {
    visible_line(agent.databases.first().map_or("DATABASE", String::as_str))
}

fn person_line(person: &PersonShape) -> String {
    let groups = if person.groups.is_empty() {
        String::new()
    } else {
        format!("  groups {}", person.groups.join(","))
    };
    let factors = if person.factors.is_empty() {
        String::new()
    } else {
        format!("  with {}", person.factors.join(","))
    };
    let active = if person.active { "" } else { "  not active" };
    format!(
        "{}  {}{}{factors}{active}",
        person.name,
        person.roles.join(","),
        visible_line(&groups)
    )
}

fn agent_line(agent: &AgentShape) -> String {
    let databases = if agent.databases.is_empty() {
        "all databases".to_owned()
    } else {
        agent.databases.join(",")
    };
    let state = match (agent.revoked, &agent.expires_at) {
        (true, _) => "revoked".to_owned(),
        (false, Some(at)) => format!("until {at}"),
        (false, None) => "active".to_owned(),
    };
    let log_in = match agent.certificate.as_deref() {
        Some(name) => format!("certificate {}", visible_line(name)),
        None => protocols(agent),
    };
    format!(
        "{}  {state}  owner {}  as {} on {}  profile {}  {log_in}",
        agent.name,
        agent.owner,
        visible_line(&agent.database_user),
        visible_line(&databases),
        agent.profile
    )
}

/// What an agent with a secret can log in to.
fn protocols(agent: &AgentShape) -> String {
    let has = |way: &str| agent.log_in.iter().any(|known| known == way);
    if !has(CACHING_SHA2) {
        return format!(
            "PostgreSQL only (for MySQL: countersign agent rotate {})",
            agent.name
        );
    }
    let native = if has(MYSQL_NATIVE) {
        ", MySQL also by mysql_native_password"
    } else {
        ""
    };
    format!("PostgreSQL, MySQL{native}")
}

pub(super) fn usage(problem: Problem) -> CliError {
    CliError::usage(problem.0.detail, problem.0.next_step)
}

pub(super) fn people_error(error: PeopleError) -> CliError {
    CliError::error(&error, error.next_step())
}

pub(super) fn store_error(error: StoreError) -> CliError {
    CliError::error(&error, error.next_step())
}
