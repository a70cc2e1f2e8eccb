//! People, their tokens, and agents: who may connect and who may decide. Never shows a secret twice.
//! Read `identity/directory.rs` for what roles give.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Rooms;
use super::browser::second_factors;
use super::login::Caller;
use super::problem::{Kind, Problem, ProblemDocument};
use super::read::{Body, Named, OptionalBody, parse_duration, unacceptable};
use super::requests::{Page, desk_problem};
use crate::clock::Timestamp;
use crate::desk::{Factors, GIVES_ONESELF_NEXT, Issued};
use crate::desk::{ManageError, NewAgent, NewPerson, NewToken, OtherTokens};
use crate::identity::assurance::Method;
use crate::identity::certificate::CertificateName;
use crate::identity::directory::{Agent, Credential, Person, Role, Scope, Scopes};
use crate::identity::principal::{PersonName, PrincipalName, Profile};
use crate::identity::secret::NativePassword;

/// Ways to log in, in the words of the protocols.
const SCRAM_SHA_256: &str = "scram-sha-256";
pub const CACHING_SHA2: &str = "caching_sha2_password";
pub const MYSQL_NATIVE: &str = "mysql_native_password";

/// Groups of one person, and the length of a group's name: more is a mistake, and a list still shows it.
const GROUPS_MAX: usize = 64;
const GROUP_BYTES_MAX: usize = 63;

/// Somebody with a token for this API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PersonShape {
    pub name: String,
    /// `approver`, `auditor`, `admin`.
    pub roles: Vec<String>,
    /// Groups that rules name.
    pub groups: Vec<String>,
    pub active: bool,
    /// What they can show besides a token: `password`, `totp`, `passkey`. Only where it was looked up: in the list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<String>,
}

/// The caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Me {
    #[serde(flatten)]
    pub person: PersonShape,
    /// What this token may be used for: `read`, `decide`, `log`, `manage`, `break_glass`.
    pub scopes: Vec<String>,
    /// Who else has seen this token: it decides nothing in which one of them has a stake.
    #[serde(default)]
    pub token_seen_by: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonBody {
    pub name: String,
    /// `approver`, `auditor`, `admin`.
    pub roles: Vec<String>,
    #[serde(default)]
    pub groups: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    /// Less than the person's roles give: `read`, `decide`, `log`, `manage`, `break_glass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// How long it is good: `30d`. Without it: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
    /// End every other token of the person, the one of this call too if it is theirs.
    #[serde(default)]
    pub replace: bool,
}

/// A token, shown this once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenShape {
    pub person: String,
    pub token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Who else has seen it: it decides nothing in which one of them has a stake.
    #[serde(default)]
    pub seen_by: Vec<String>,
}

/// An agent's credential, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentShape {
    pub name: String,
    /// The person who answers for it, and so never decides for it.
    pub owner: String,
    /// Who created or rotated it, and so never decides for it.
    pub secret_seen_by: Vec<String>,
    /// `CN=…`, `URI=…` or `DNS=…`: the name of the certificate by which alone it logs in; null: it has a secret.
    #[serde(default)]
    pub certificate: Option<String>,
    /// What it can log in with: `scram-sha-256` (PostgreSQL), `caching_sha2_password` and, where it was asked for,
    /// `mysql_native_password` (MySQL and MariaDB), `certificate`. One that is missing comes with the next rotation.
    #[serde(default)]
    pub log_in: Vec<String>,
    pub acts_for: Option<String>,
    /// Databases it may connect to; empty: all.
    pub databases: Vec<String>,
    /// The user of the database that it maps to.
    pub database_user: String,
    /// `standard` or `mcp`.
    pub profile: String,
    pub labels: BTreeMap<String, String>,
    pub created_at: String,
    pub expires_at: Option<String>,
    pub revoked: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentBody {
    pub name: String,
    /// The person who answers for it, and so never decides for it.
    pub owner: String,
    /// The user of the database that it maps to.
    pub database_user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_for: Option<String>,
    /// Databases it may connect to; empty: all.
    #[serde(default)]
    pub databases: Vec<String>,
    /// `standard` (the default) or `mcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How long it is good: `30d`. Without it: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
    /// Let it log in by its certificate alone, and give it no secret: `CN=…`, `URI=…` or `DNS=…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Let it log in by `mysql_native_password` as well, for MySQL clients that know nothing newer.
    #[serde(default)]
    pub mysql_native: bool,
}

/// What the new secret is good for.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateBody {
    /// Let it log in by `mysql_native_password` as well, whatever was asked for before.
    #[serde(default)]
    pub mysql_native: bool,
}

/// By which certificate an agent is to log in.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateBody {
    /// `CN=…`, `URI=…` or `DNS=…`.
    pub certificate: String,
}

/// An agent with its secret, shown this once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AgentSecret {
    #[serde(flatten)]
    pub agent: AgentShape,
    /// The password of its connection string; none if it logs in by its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl PersonShape {
    pub fn of(person: &Person) -> Self {
        Self {
            name: person.name.to_string(),
            roles: person.roles.iter().map(ToString::to_string).collect(),
            groups: person.groups.iter().cloned().collect(),
            active: person.active,
            factors: Vec::new(),
        }
    }

    /// As a list shows them.
    pub fn with_factors(person: &Person, factors: &Factors) -> Self {
        let password = factors.has_password.then(|| Method::Password.to_string());
        Self {
            factors: password.into_iter().chain(second_factors(factors)).collect(),
            ..Self::of(person)
        }
    }
}

impl AgentShape {
    pub fn of(agent: &Agent) -> Self {
        Self {
            name: agent.name.to_string(),
            owner: agent.owner.to_string(),
            secret_seen_by: agent.has_seen_secret.iter().map(ToString::to_string).collect(),
            certificate: agent.certificate().map(ToString::to_string),
            log_in: log_in(agent),
            acts_for: agent.acts_for.as_ref().map(ToString::to_string),
            databases: agent.databases.clone(),
            database_user: agent.database_user.clone(),
            profile: profile_word(agent.profile).to_owned(),
            labels: agent.labels.clone(),
            created_at: agent.created_at.to_string(),
            expires_at: agent.expires_at.map(|at| at.to_string()),
            revoked: agent.revoked,
        }
    }
}

/// In the words of the protocols.
fn log_in(agent: &Agent) -> Vec<String> {
    let (secret, certificate) = match agent.credential {
        Credential::Secret(_) => (true, false),
        Credential::Certificate(_) => (false, true),
        Credential::PassedOn => (false, false),
    };
    let ways = [
        (SCRAM_SHA_256, secret),
        (CACHING_SHA2, agent.mysql.caching_sha2.is_some()),
        (MYSQL_NATIVE, agent.mysql.native.is_some()),
        ("certificate", certificate),
    ];
    let ways = ways.into_iter().filter(|(_, has_it)| *has_it);
    ways.map(|(way, _)| way.to_owned()).collect()
}

/// What `mysql_native` asks for.
pub fn native_password(is_wanted: bool) -> NativePassword {
    match is_wanted {
        true => NativePassword::Allowed,
        false => NativePassword::Refused,
    }
}

fn profile_word(profile: Profile) -> &'static str {
    match profile {
        Profile::Standard => "standard",
        Profile::Mcp => "mcp",
    }
}

impl PersonBody {
    pub fn checked(self) -> Result<NewPerson, Problem> {
        Ok(NewPerson {
            name: person_name("name", &self.name)?,
            roles: roles(&self.roles)?,
            groups: groups(self.groups)?,
        })
    }
}

/// What of a person is to change; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonChange {
    /// `approver`, `auditor`, `admin`: all that the person is to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// All groups that the person is to be in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
}

/// All roles and all groups that a person is to have; `None` leaves them.
pub type Wanted = (Option<Vec<Role>>, Option<Vec<String>>);

impl PersonChange {
    /// The roles and the groups that are to be, where they are to change.
    pub fn checked(self) -> Result<Wanted, Problem> {
        if self.roles.is_none() && self.groups.is_none() {
            return Err(unacceptable("roles", "", "send `roles`, `groups` or both"));
        }
        let roles = self.roles.as_deref().map(roles).transpose()?;
        Ok((roles, self.groups.map(groups).transpose()?))
    }
}

fn roles(words: &[String]) -> Result<Vec<Role>, Problem> {
    let role = |word: &String| Role::parse(word).ok_or_else(|| unknown("roles", word, &Role::ALL));
    if words.is_empty() {
        return Err(unacceptable(
            "roles",
            "[]",
            "name one of: approver, auditor, admin, break_glass",
        ));
    }
    words.iter().map(role).collect()
}

/// Names of groups are shown in lists and stand in rules: one short line each.
fn groups(names: Vec<String>) -> Result<Vec<String>, Problem> {
    let is_sound = |name: &String| {
        (1..=GROUP_BYTES_MAX).contains(&name.len()) && name.trim() == name && !name.contains(char::is_control)
    };
    if names.len() > GROUPS_MAX {
        return Err(unacceptable(
            "groups",
            &names.len().to_string(),
            format!("name at most {GROUPS_MAX}"),
        ));
    }
    match names.iter().find(|name| !is_sound(name)) {
        Some(wrong) => Err(unacceptable(
            "groups",
            wrong,
            format!("write 1 to {GROUP_BYTES_MAX} bytes without control characters"),
        )),
        None => Ok(names),
    }
}

impl TokenBody {
    pub fn checked(self, person: &str, now: Timestamp) -> Result<NewToken, Problem> {
        let scope = |word: &String| Scope::parse(word).ok_or_else(|| unknown("scopes", word, &Scope::ALL));
        let scopes = match self.scopes {
            Some(words) => Some(words.iter().map(scope).collect::<Result<Scopes, _>>()?),
            None => None,
        };
        Ok(NewToken {
            person: person_name("name", person)?,
            scopes,
            expires_at: expiry(self.expires_in.as_deref(), now)?,
            seen_by: BTreeSet::new(),
            others: if self.replace {
                OtherTokens::Revoked
            } else {
                OtherTokens::Stay
            },
        })
    }
}

impl TokenShape {
    /// What was made of `new`.
    pub fn of(new: &NewToken, issued: &Issued) -> Self {
        Self {
            person: new.person.to_string(),
            token: issued.reveal().to_owned(),
            expires_at: new.expires_at.map(|at| at.to_string()),
            seen_by: issued.seen_by.iter().map(ToString::to_string).collect(),
        }
    }
}

impl AgentBody {
    pub fn checked(self, now: Timestamp) -> Result<NewAgent, Problem> {
        let profile = match self.profile.as_deref() {
            None | Some("standard") => Profile::Standard,
            Some("mcp") => Profile::Mcp,
            Some(other) => return Err(unacceptable("profile", other, "write one of: standard, mcp")),
        };
        if self.database_user.is_empty() {
            return Err(unacceptable(
                "database_user",
                "",
                "name the database user that the agent maps to",
            ));
        }
        if self.mysql_native && self.certificate.is_some() {
            return Err(unacceptable(
                "mysql_native",
                "true",
                "leave it out: an agent with a certificate has no secret",
            ));
        }
        Ok(NewAgent {
            name: principal_name(&self.name)?,
            owner: person_name("owner", &self.owner)?,
            acts_for: self
                .acts_for
                .map(|name| person_name("acts_for", &name))
                .transpose()?,
            databases: self.databases,
            database_user: self.database_user,
            profile,
            labels: self.labels,
            expires_at: expiry(self.expires_in.as_deref(), now)?,
            mysql_native: native_password(self.mysql_native),
        })
    }
}

fn unknown(name: &str, value: &str, known: &[impl ToString]) -> Problem {
    let words: Vec<String> = known.iter().map(ToString::to_string).collect();
    unacceptable(name, value, format!("write one of: {}", words.join(", ")))
}

pub fn person_name(field: &str, text: &str) -> Result<PersonName, Problem> {
    PersonName::parse(text).map_err(|_| unacceptable(field, text, "write 1 to 63 of a-z 0-9 _ - . @"))
}

pub fn principal_name(text: &str) -> Result<PrincipalName, Problem> {
    PrincipalName::parse(text).map_err(|_| unacceptable("name", text, "write 1 to 63 of a-z 0-9 _ - ."))
}

/// Reads `CN=…`, `URI=…` or `DNS=…`.
pub fn certificate_name(text: &str) -> Result<CertificateName, Problem> {
    CertificateName::parse(text)
        .map_err(|_| unacceptable("certificate", text, "write CN=name, URI=spiffe://… or DNS=host"))
}

fn expiry(text: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let life = parse_duration(text).filter(|life| !life.is_zero());
    let life = life.ok_or_else(|| unacceptable("expires_in", text, "write it as 12h or 30d"))?;
    Ok(Some(now.after(life)))
}

pub(super) fn manage_problem(error: ManageError) -> Problem {
    let detail = error.to_string();
    match error {
        ManageError::Exists(_) => Problem::new(Kind::Conflict, detail, "choose another name"),
        ManageError::Revoked(_) => Problem::new(Kind::Conflict, detail, "choose another name"),
        ManageError::GivesOneself(_) => Problem::new(Kind::Forbidden, detail, GIVES_ONESELF_NEXT),
        ManageError::Unknown(_) => Problem::new(Kind::NotFound, detail, "list the names there are"),
        ManageError::StoreUnavailable | ManageError::Stopping => Problem::unavailable(&detail),
    }
}

/// Who the token belongs to, and what it may be used for.
#[utoipa::path(
    get,
    path = "/me",
    tag = "people",
    responses(
        (status = 200, body = Me),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn me(caller: Caller) -> Json<Me> {
    Json(Me {
        person: PersonShape::of(&caller.person),
        scopes: caller.scopes.iter().map(|scope| scope.to_string()).collect(),
        token_seen_by: caller.token_seen_by.iter().map(ToString::to_string).collect(),
    })
}

/// Everybody.
#[utoipa::path(
    get,
    path = "/users",
    tag = "people",
    responses(
        (status = 200, body = Page<PersonShape>),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn list_people(
    caller: Caller,
    State(rooms): State<Rooms>,
) -> Result<Json<Page<PersonShape>>, Problem> {
    caller.needs(Scope::Manage)?;
    let people = rooms.desk.people().await.map_err(desk_problem)?;
    let mut items = Vec::with_capacity(people.len());
    for person in &people {
        let factors = rooms
            .desk
            .factors(person.name.clone())
            .await
            .map_err(desk_problem)?;
        items.push(PersonShape::with_factors(person, &factors));
    }
    Ok(Json(Page {
        items,
        next_cursor: None,
    }))
}

/// Add a person. They sign in with a token: `POST /users/{name}/tokens`. For 24 hours they decide nothing in which whoever
/// has added them has a stake.
#[utoipa::path(
    post,
    path = "/users",
    tag = "people",
    request_body = PersonBody,
    responses(
        (status = 201, body = PersonShape),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn add_person(
    caller: Caller,
    State(rooms): State<Rooms>,
    Body(body): Body<PersonBody>,
) -> Result<(StatusCode, Json<PersonShape>), Problem> {
    caller.needs(Scope::Manage)?;
    let person = rooms
        .desk
        .person_add(body.checked()?, caller.hands())
        .await
        .map_err(manage_problem)?;
    Ok((StatusCode::CREATED, Json(PersonShape::of(&person))))
}

/// Give a person other roles or groups. They count from the person's next call on, of sessions and tokens that there are
/// already too; what was decided stands. Nobody gives themselves any, nor by somebody whom they may be behind: another
/// administrator does it.
#[utoipa::path(
    patch,
    path = "/users/{name}",
    tag = "people",
    params(("name" = String, Path, description = "the person")),
    request_body = PersonChange,
    responses(
        (status = 200, body = PersonShape),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn change_person(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(name): Named,
    Body(body): Body<PersonChange>,
) -> Result<Json<PersonShape>, Problem> {
    caller.needs(Scope::Manage)?;
    let person = person_name("name", &name)?;
    let (roles, groups) = body.checked()?;
    let changed = rooms
        .desk
        .person_change(person, roles, groups, caller.hands())
        .await;
    changed
        .map(|person| Json(PersonShape::of(&person)))
        .map_err(manage_problem)
}

/// Make a token for a person. It is shown this once. Everybody makes one for themselves, which does no more and lasts
/// no longer than the token of the call; an administrator makes one for anybody, has seen it then, and so has whoever
/// has seen the token of the call.
#[utoipa::path(
    post,
    path = "/users/{name}/tokens",
    tag = "people",
    params(("name" = String, Path, description = "the person")),
    request_body = TokenBody,
    responses(
        (status = 201, body = TokenShape),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn issue_token(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(name): Named,
    Body(body): Body<TokenBody>,
) -> Result<(StatusCode, Json<TokenShape>), Problem> {
    if caller.person.name.as_str() != name {
        caller.needs(Scope::Manage)?;
    }
    let new = issued_by(&caller, body.checked(&name, Timestamp::now())?)?;
    let issued = rooms
        .desk
        .token_issue(new.clone(), caller.hands())
        .await
        .map_err(manage_problem)?;
    Ok((StatusCode::CREATED, Json(TokenShape::of(&new, &issued))))
}

/// What the caller may make of the token that is asked for.
fn issued_by(caller: &Caller, mut new: NewToken) -> Result<NewToken, Problem> {
    if new.person == caller.person.name {
        for scope in new.scopes.iter().flat_map(Scopes::iter) {
            caller.needs(scope)?;
        }
        if new.others == OtherTokens::Revoked {
            caller.may_end_own_tokens()?;
        }
        if new.scopes.is_none() && !caller.is_whole() {
            new.scopes = Some(caller.scopes.clone());
        }
        new.expires_at = new.expires_at.into_iter().chain(caller.expires_at).min();
    }
    Ok(new)
}

/// How many tokens were revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revoked {
    pub person: String,
    pub revoked: usize,
}

/// Revoke every token of a person: an administrator anybody's, everybody their own.
#[utoipa::path(
    delete,
    path = "/users/{name}/tokens",
    tag = "people",
    params(("name" = String, Path, description = "the person")),
    responses(
        (status = 200, body = Revoked),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn revoke_tokens(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(name): Named,
) -> Result<Json<Revoked>, Problem> {
    if caller.person.name.as_str() == name {
        caller.may_end_own_tokens()?;
    } else {
        caller.needs(Scope::Manage)?;
    }
    let person = person_name("name", &name)?;
    let by = caller.person.name.clone();
    let revoked = rooms.desk.tokens_revoke(person, by).await;
    Ok(Json(Revoked {
        person: name,
        revoked: revoked.map_err(manage_problem)?,
    }))
}

/// Whether a person may sign in and decide.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActiveBody {
    pub active: bool,
}

/// Let a person sign in and decide, or no longer. What ran by their word stands; what they have approved and has not run
/// yet needs a fresh decision. For 24 hours somebody who was let in again decides nothing in which whoever did that has a
/// stake.
#[utoipa::path(
    post,
    path = "/users/{name}/active",
    tag = "people",
    params(("name" = String, Path, description = "the person")),
    request_body = ActiveBody,
    responses(
        (status = 200, body = ActiveBody),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn set_active(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(name): Named,
    Body(body): Body<ActiveBody>,
) -> Result<Json<ActiveBody>, Problem> {
    caller.needs(Scope::Manage)?;
    let person = person_name("name", &name)?;
    let set = rooms
        .desk
        .person_set_active(person, body.active, caller.hands())
        .await;
    set.map_err(manage_problem)?;
    Ok(Json(body))
}

/// Every agent, revoked ones included.
#[utoipa::path(
    get,
    path = "/agents",
    tag = "people",
    responses(
        (status = 200, body = Page<AgentShape>),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn list_agents(
    caller: Caller,
    State(rooms): State<Rooms>,
) -> Result<Json<Page<AgentShape>>, Problem> {
    caller.needs(Scope::Manage)?;
    let agents = rooms.desk.agents().await.map_err(desk_problem)?;
    Ok(Json(Page {
        items: agents.iter().map(AgentShape::of).collect(),
        next_cursor: None,
    }))
}

/// Add an agent. Its secret is shown this once, and the caller, who sees it, never decides for it. With `certificate`
/// it has none.
#[utoipa::path(
    post,
    path = "/agents",
    tag = "people",
    request_body = AgentBody,
    responses(
        (status = 201, body = AgentSecret),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn add_agent(
    caller: Caller,
    State(rooms): State<Rooms>,
    Body(body): Body<AgentBody>,
) -> Result<(StatusCode, Json<AgentSecret>), Problem> {
    caller.needs(Scope::Manage)?;
    let certificate = body.certificate.as_deref().map(certificate_name).transpose()?;
    let new = body.checked(Timestamp::now())?;
    let (agent, secret) = match certificate {
        None => {
            let added = rooms.desk.agent_add(new, caller.hands()).await;
            let (agent, secret) = added.map_err(manage_problem)?;
            (agent, Some(secret))
        }
        Some(name) => {
            let added = rooms.desk.agent_add_certified(new, name, caller.hands()).await;
            (added.map_err(manage_problem)?, None)
        }
    };
    let shape = AgentSecret {
        agent: AgentShape::of(&agent),
        secret: secret.map(|secret| secret.reveal().to_owned()),
    };
    Ok((StatusCode::CREATED, Json(shape)))
}

/// Give an agent a new secret, shown this once. The old one ends, and the caller never decides for it again.
#[utoipa::path(
    post,
    path = "/agents/{name}/rotate",
    tag = "people",
    params(("name" = String, Path, description = "the agent")),
    request_body = Option<RotateBody>,
    responses(
        (status = 200, body = AgentSecret),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn rotate_agent(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(name): Named,
    OptionalBody(body): OptionalBody<RotateBody>,
) -> Result<Json<AgentSecret>, Problem> {
    caller.needs(Scope::Manage)?;
    let principal = principal_name(&name)?;
    let native = native_password(body.mysql_native);
    let secret = rooms
        .desk
        .agent_rotate(principal, native, caller.hands())
        .await
        .map_err(manage_problem)?;
    let agent = agent_shape(&rooms, &name).await?;
    Ok(Json(AgentSecret {
        agent,
        secret: Some(secret.reveal().to_owned()),
    }))
}

/// Let an agent log in by its certificate alone. Its secret ends, and the caller never decides for it again.
#[utoipa::path(
    post,
    path = "/agents/{name}/certificate",
    tag = "people",
    params(("name" = String, Path, description = "the agent")),
    request_body = CertificateBody,
    responses(
        (status = 200, body = AgentShape),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn certify_agent(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(name): Named,
    Body(body): Body<CertificateBody>,
) -> Result<Json<AgentShape>, Problem> {
    caller.needs(Scope::Manage)?;
    let principal = principal_name(&name)?;
    let certificate = certificate_name(&body.certificate)?;
    rooms
        .desk
        .agent_certify(principal, certificate, caller.hands())
        .await
        .map_err(manage_problem)?;
    agent_shape(&rooms, &name).await.map(Json)
}

/// Revoke an agent: its sessions end, its waiting requests are withdrawn.
#[utoipa::path(
    delete,
    path = "/agents/{name}",
    tag = "people",
    params(("name" = String, Path, description = "the agent")),
    responses(
        (status = 200, body = AgentShape),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub async fn revoke_agent(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(name): Named,
) -> Result<Json<AgentShape>, Problem> {
    caller.needs(Scope::Manage)?;
    let principal = principal_name(&name)?;
    rooms
        .desk
        .agent_revoke(principal, caller.person.name)
        .await
        .map_err(manage_problem)?;
    agent_shape(&rooms, &name).await.map(Json)
}

async fn agent_shape(rooms: &Rooms, name: &str) -> Result<AgentShape, Problem> {
    let agent = rooms.desk.agent(name).await.map_err(desk_problem)?;
    agent
        .as_ref()
        .map(AgentShape::of)
        .ok_or_else(|| Problem::not_found("agent", name))
}
