//! People, their tokens, and agents. Every change leaves a note for the log, whichever process made it.
//! Never keeps a secret: only verifiers and hashes. Read `sqlite.rs` for the file.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::clock::Timestamp;
use crate::identity::behind::ChangedBy;
use crate::identity::certificate::CertificateName;
use crate::identity::directory::{
    Agent, Credential, Extent, NewAgent, NewPerson, NewToken, OtherTokens, Person, Role, Scope, Scopes,
    SignedIn,
};
use crate::identity::principal::{PersonName, PrincipalName};
use crate::identity::secret::{MysqlCredential, NativePassword, ScramVerifier, Secret, TokenHash};
use crate::store::card;
use crate::store::factors::find_password;
use crate::store::links::forget_links;
use crate::store::outbox::{Note, queue};
use crate::store::sessions::end_sessions;
use crate::store::sqlite::{Store, StoreError};
use crate::store::ways_in::{everybody_behind, forget_ways_in, makers, remember_way_in};

#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    #[error("`{0}` exists already")]
    Exists(String),
    #[error("there is no `{0}`")]
    Unknown(String),
    #[error("`{0}` was revoked")]
    Revoked(String),
    #[error("nobody gives themselves roles or groups, and `{0}` may be behind this call")]
    GivesOneself(PersonName),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PeopleError {
    /// What the person can do now.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Exists(_) => "choose another name",
            Self::Unknown(_) => "look at the list for its spelling",
            Self::Revoked(_) => "add one of another name",
            Self::GivesOneself(_) => GIVES_ONESELF_NEXT,
            Self::Store(error) => error.next_step(),
        }
    }
}

/// What was made to sign in by; shown this once.
#[derive(Debug)]
pub struct Issued {
    pub secret: Secret,
    /// Everybody but its person who gets to see it, or may be one who does.
    pub seen_by: BTreeSet<PersonName>,
}

impl Issued {
    pub fn reveal(&self) -> &str {
        self.secret.reveal()
    }
}

/// What a person may do, as the log tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
struct Standing {
    roles: Vec<&'static str>,
    groups: Vec<String>,
}

impl Standing {
    fn of(person: &Person) -> Self {
        Self {
            roles: person.roles.iter().map(|role| role.as_str()).collect(),
            groups: person.groups.iter().cloned().collect(),
        }
    }

    /// `{"roles":{"before":[],"after":["approver"]},"groups":{…}}`
    fn becomes(&self, after: &Self) -> Result<String, StoreError> {
        json(&serde_json::json!({
            "roles": { "before": self.roles, "after": after.roles },
            "groups": { "before": self.groups, "after": after.groups },
        }))
    }
}

/// A token without its secret.
#[derive(Clone, Debug)]
pub struct TokenInfo {
    pub hash: TokenHash,
    pub person: PersonName,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked: bool,
}

/// What whoever wants more roles or groups can do; also for the answer of the API.
pub const GIVES_ONESELF_NEXT: &str = "let another administrator do it, signed in by what you have neither seen nor set \
    within a day; where there is none: `countersign user set` on the machine of the store, which is recorded";

/// The names under which verifiers are kept, one for each way to log in.
const SCRAM: &str = "scram-sha-256";
const CACHING_SHA2: &str = "caching_sha2_password";
const NATIVE: &str = "mysql_native_password";
const CERTIFICATE: &str = "certificate";

impl Store {
    pub fn person_add(
        &mut self,
        new: &NewPerson,
        by: impl Into<ChangedBy>,
        now: Timestamp,
    ) -> Result<Person, PeopleError> {
        let by = by.into();
        let person = Person {
            name: new.name.clone(),
            roles: new.roles.iter().copied().collect(),
            groups: new.groups.iter().cloned().collect(),
            active: true,
        };
        let added = self.write(|transaction| {
            let text =
                "INSERT INTO people (name, roles, groups, active, created_at) VALUES (?1, ?2, ?3, 1, ?4)
                        ON CONFLICT (name) DO NOTHING";
            let roles: Vec<_> = person.roles.iter().map(|role| role.as_str()).collect();
            let values = params![
                person.name.as_str(),
                json(&roles)?,
                json(&person.groups)?,
                now.micros()
            ];
            let added = transaction.execute(text, values)? > 0;
            if added {
                let nobody = Standing::default();
                let detail = nobody.becomes(&Standing::of(&person))?;
                let name = &person.name;
                note_that(
                    transaction,
                    "person_added",
                    name.as_str(),
                    by.person(),
                    detail,
                    now,
                )?;
                remember_way_in(transaction, name, &by.hands(), now)?;
            }
            Ok(added)
        })?;
        added
            .then_some(person)
            .ok_or_else(|| PeopleError::Exists(new.name.to_string()))
    }

    /// Gives a person other roles or groups; `None` leaves them. They count from the person's next call. Nobody gives
    /// themselves any, by whatever they may be behind; on the machine of the store that is trusted, and recorded.
    pub fn person_change(
        &mut self,
        name: &PersonName,
        roles: Option<&[Role]>,
        groups: Option<&[String]>,
        by: impl Into<ChangedBy>,
        now: Timestamp,
    ) -> Result<Person, PeopleError> {
        let by = by.into();
        self.write(|transaction| {
            let Some(mut person) = find_person(transaction, name.as_str())? else {
                return Ok(Err(PeopleError::Unknown(name.to_string())));
            };
            let (had_roles, had_groups) = (person.roles.clone(), person.groups.clone());
            let before = Standing::of(&person);
            if let Some(roles) = roles {
                person.roles = roles.iter().copied().collect();
            }
            if let Some(groups) = groups {
                person.groups = groups.iter().cloned().collect();
            }
            let gains = !person.roles.is_subset(&had_roles) || !person.groups.is_subset(&had_groups);
            if gains && may_be_behind(transaction, &by, name, now)? {
                return Ok(Err(PeopleError::GivesOneself(name.clone())));
            }
            let after = Standing::of(&person);
            if before != after {
                let text = "UPDATE people SET roles = ?2, groups = ?3 WHERE name = ?1";
                let values = params![name.as_str(), json(&after.roles)?, json(&after.groups)?];
                transaction.execute(text, values)?;
                let detail = before.becomes(&after)?;
                note_that(
                    transaction,
                    "person_changed",
                    name.as_str(),
                    by.person(),
                    detail,
                    now,
                )?;
            }
            Ok(Ok(person))
        })?
    }

    /// A person who is not active neither signs in nor decides. Nothing is recorded or remembered where it was so already.
    pub fn person_set_active(
        &mut self,
        name: &PersonName,
        active: bool,
        by: impl Into<ChangedBy>,
        now: Timestamp,
    ) -> Result<(), PeopleError> {
        let by = by.into();
        let is_known = self.write(|transaction| {
            if find_person(transaction, name.as_str())?.is_none() {
                return Ok(false);
            }
            let text = "UPDATE people SET active = ?2 WHERE name = ?1 AND active <> ?2";
            let changed = transaction.execute(text, params![name.as_str(), active])? > 0;
            if changed {
                let what = if active {
                    "person_activated"
                } else {
                    "person_deactivated"
                };
                note(transaction, what, name.as_str(), by.person(), now)?;
            }
            if changed && active {
                remember_way_in(transaction, name, &by.hands(), now)?;
            }
            if !active {
                end_sessions(transaction, name)?;
                forget_links(transaction, name, by.person(), now)?;
            }
            Ok(true)
        })?;
        is_known
            .then_some(())
            .ok_or_else(|| PeopleError::Unknown(name.to_string()))
    }

    pub fn people(&mut self) -> Result<Vec<Person>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT * FROM people ORDER BY name")?;
            let mut rows = statement.query([])?;
            let mut people = Vec::new();
            while let Some(row) = rows.next()? {
                people.push(person_of(row)?);
            }
            Ok(people)
        })
    }

    pub fn person(&mut self, name: &PersonName) -> Result<Option<Person>, StoreError> {
        self.read(|connection| find_person(connection, name.as_str()))
    }

    /// The token is shown this once; only its hash is kept. Whoever may be behind the call counts as one who has seen it.
    /// Made on the machine of the store in the place of all others, for somebody without a password, it is a new beginning.
    pub fn token_issue(
        &mut self,
        new: &NewToken,
        by: impl Into<ChangedBy>,
        now: Timestamp,
    ) -> Result<Issued, PeopleError> {
        let by = by.into();
        let secret = Secret::token(rand::random());
        let hash = TokenHash::of(secret.reveal()).expect("made as a token above");
        let issued = self.write(|transaction| {
            if find_person(transaction, new.person.as_str())?.is_none() {
                return Ok(None);
            }
            let hands = new.seen_by.iter().cloned().chain(by.hands()).collect();
            let mut seen_by = everybody_behind(transaction, &hands, now)?;
            seen_by.remove(&new.person);
            let scopes: Option<Vec<_>> = new
                .scopes
                .as_ref()
                .map(|scopes| scopes.iter().map(|scope| scope.as_str()).collect());
            let scopes = scopes.map(|scopes| json(&scopes)).transpose()?;
            let kept_seen_by = Some(&seen_by)
                .filter(|seen| !seen.is_empty())
                .map(names)
                .transpose()?;
            if new.others == OtherTokens::Revoked {
                revoke_tokens(transaction, &new.person, by.person(), now)?;
                let is_only_way_in = find_password(transaction, &new.person)?.is_none();
                if is_only_way_in && matches!(by, ChangedBy::Host(_)) {
                    forget_ways_in(transaction, &new.person)?;
                }
            }
            let text = "INSERT INTO tokens (hash, person, scopes, seen_by, created_at, expires_at)
                        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let ends = new.expires_at.map(Timestamp::micros);
            let values = params![
                hash.as_bytes(),
                new.person.as_str(),
                scopes,
                kept_seen_by,
                now.micros(),
                ends
            ];
            transaction.execute(text, values)?;
            note(transaction, "token_issued", new.person.as_str(), by.person(), now)?;
            Ok(Some(seen_by))
        })?;
        issued
            .map(|seen_by| Issued { secret, seen_by })
            .ok_or_else(|| PeopleError::Unknown(new.person.to_string()))
    }

    /// Revokes every token of a person, ends every session and unlinks every account of a chat; gives how many tokens there
    /// were.
    pub fn tokens_revoke(
        &mut self,
        person: &PersonName,
        by: &PersonName,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        self.write(|transaction| revoke_tokens(transaction, person, by, now))
    }

    pub fn tokens(&mut self) -> Result<Vec<TokenInfo>, StoreError> {
        self.read(|connection| {
            let text = "SELECT hash, person, created_at, expires_at, revoked FROM tokens ORDER BY person, created_at";
            let mut statement = connection.prepare_cached(text)?;
            let mut rows = statement.query([])?;
            let mut tokens = Vec::new();
            while let Some(row) = rows.next()? {
                let person: String = row.get(1)?;
                tokens.push(TokenInfo {
                    hash: TokenHash::from_bytes(row.get(0)?),
                    person: card::person(&person)?,
                    created_at: Timestamp::from_micros(row.get(2)?),
                    expires_at: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_micros),
                    revoked: row.get(4)?,
                });
            }
            Ok(tokens)
        })
    }

    /// Whose token it is, what it may be used for and who else has seen it; `None` for one that is unknown, revoked or over.
    pub fn authenticate(&mut self, hash: TokenHash, now: Timestamp) -> Result<Option<SignedIn>, StoreError> {
        self.read(|connection| find_signed_in(connection, hash, now))
    }

    /// The secret is shown this once; only verifiers are kept. Takes milliseconds.
    pub fn agent_add(
        &mut self,
        new: &NewAgent,
        by: impl Into<ChangedBy>,
        now: Timestamp,
    ) -> Result<(Agent, Secret), PeopleError> {
        let by = by.into();
        let secret = Secret::agent(rand::random());
        let verifier = ScramVerifier::make(secret.reveal(), rand::random());
        let mysql = MysqlCredential::make(secret.reveal(), new.mysql_native);
        let kept = verifiers(&verifier, &mysql)?;
        let mut agent = new_agent(new, Credential::Secret(verifier), now);
        agent.mysql = mysql;
        let added = self.write(|transaction| {
            agent.has_seen_secret = makers(transaction, &by, now)?;
            let added = insert_agent(transaction, &agent, &kept)?;
            if added {
                note(transaction, "agent_added", agent.name.as_str(), by.person(), now)?;
            }
            Ok(added)
        })?;
        added
            .then_some((agent, secret))
            .ok_or_else(|| PeopleError::Exists(new.name.to_string()))
    }

    /// An agent that logs in by its certificate alone. No other agent that is not revoked has the same name there.
    pub fn agent_add_certified(
        &mut self,
        new: &NewAgent,
        certificate: &CertificateName,
        by: impl Into<ChangedBy>,
        now: Timestamp,
    ) -> Result<Agent, PeopleError> {
        let by = by.into();
        let mut agent = new_agent(new, Credential::Certificate(certificate.clone()), now);
        let kept = certified(certificate)?;
        let added = self.write(|transaction| {
            if has_certified(transaction, certificate, &new.name)? {
                return Ok(Err(PeopleError::Exists(certificate.to_string())));
            }
            agent.has_seen_secret = makers(transaction, &by, now)?;
            if !insert_agent(transaction, &agent, &kept)? {
                return Ok(Err(PeopleError::Exists(new.name.to_string())));
            }
            note(transaction, "agent_added", agent.name.as_str(), by.person(), now)?;
            Ok(Ok(()))
        })?;
        added.map(|()| agent)
    }

    /// From now on it logs in by its certificate alone; its secret, or the name that it had, no longer does. Whoever
    /// chooses that counts as one who has seen its secret.
    pub fn agent_certify(
        &mut self,
        name: &PrincipalName,
        certificate: &CertificateName,
        by: impl Into<ChangedBy>,
        now: Timestamp,
    ) -> Result<(), PeopleError> {
        let by = by.into();
        let kept = certified(certificate)?;
        self.write(|transaction| {
            if has_certified(transaction, certificate, name)? {
                return Ok(Err(PeopleError::Exists(certificate.to_string())));
            }
            replace_credential(transaction, name, &kept, "agent_certified", &by, now)
        })?
    }

    pub fn agent(&mut self, name: &str) -> Result<Option<Agent>, StoreError> {
        self.read(|connection| find_agent(connection, name))
    }

    pub fn agents(&mut self) -> Result<Vec<Agent>, StoreError> {
        self.read(all_agents)
    }

    /// A new secret; the old one, or its certificate, no longer logs in. Whoever rotates has seen it. `native` counts
    /// from now on, whatever was asked for before.
    pub fn agent_rotate(
        &mut self,
        name: &PrincipalName,
        native: NativePassword,
        by: impl Into<ChangedBy>,
        now: Timestamp,
    ) -> Result<Secret, PeopleError> {
        let by = by.into();
        let secret = Secret::agent(rand::random());
        let mysql = MysqlCredential::make(secret.reveal(), native);
        let kept = verifiers(&ScramVerifier::make(secret.reveal(), rand::random()), &mysql)?;
        let rotated = self
            .write(|transaction| replace_credential(transaction, name, &kept, "agent_rotated", &by, now))?;
        rotated.map(|()| secret)
    }

    /// For good: its sessions end and what it has waiting is withdrawn.
    pub fn agent_revoke(
        &mut self,
        name: &PrincipalName,
        by: &PersonName,
        now: Timestamp,
    ) -> Result<(), PeopleError> {
        let known = self.write(|transaction| {
            let Some(agent) = find_agent(transaction, name.as_str())? else {
                return Ok(false);
            };
            if !agent.revoked {
                transaction.execute("UPDATE agents SET revoked = 1 WHERE name = ?1", [name.as_str()])?;
                note(transaction, "agent_revoked", name.as_str(), by, now)?;
            }
            Ok(true)
        })?;
        known
            .then_some(())
            .ok_or_else(|| PeopleError::Unknown(name.to_string()))
    }
}

/// Whether it may be this person who calls, in whoever's name: by what they have seen, or have set within a day.
fn may_be_behind(
    transaction: &Connection,
    by: &ChangedBy,
    person: &PersonName,
    now: Timestamp,
) -> Result<bool, StoreError> {
    Ok(everybody_behind(transaction, &by.hands(), now)?.contains(person))
}

/// Whose token it is, with what it may be used for.
pub(super) fn find_signed_in(
    connection: &Connection,
    hash: TokenHash,
    now: Timestamp,
) -> Result<Option<SignedIn>, StoreError> {
    type Found = (String, Option<String>, Option<String>, Option<i64>);
    let text = "SELECT person, scopes, seen_by, expires_at FROM tokens
                WHERE hash = ?1 AND revoked = 0 AND (expires_at IS NULL OR expires_at > ?2)";
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let found: Option<Found> = connection
        .query_row(text, params![hash.as_bytes(), now.micros()], read)
        .optional()?;
    let Some((name, narrowed, seen_by, ends)) = found else {
        return Ok(None);
    };
    let Some(person) = find_person(connection, &name)?.filter(|person| person.active) else {
        return Ok(None);
    };
    let (scopes, extent) = reach_of(&person, narrowed.as_deref())?;
    Ok(Some(SignedIn {
        person,
        scopes,
        extent,
        token_seen_by: seen_by.as_deref().map_or(Ok(BTreeSet::new()), from_names)?,
        expires_at: ends.map(Timestamp::from_micros),
    }))
}

/// What a token or a session reaches. `narrowed`: the scopes that it was narrowed to, as JSON.
pub(super) fn reach_of(person: &Person, narrowed: Option<&str>) -> Result<(Scopes, Extent), StoreError> {
    let Some(text) = narrowed else {
        return Ok((person.scopes(), Extent::Whole));
    };
    let words: Vec<String> = serde_json::from_str(text).map_err(StoreError::damaged)?;
    let kept = words.iter().filter_map(|word| Scope::parse(word)).collect();
    Ok((person.scopes().within(&kept), Extent::Narrowed))
}

fn revoke_tokens(
    transaction: &Connection,
    person: &PersonName,
    by: &PersonName,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let text = "UPDATE tokens SET revoked = 1 WHERE person = ?1 AND revoked = 0";
    let revoked = transaction.execute(text, [person.as_str()])?;
    if revoked > 0 {
        note(transaction, "tokens_revoked", person.as_str(), by, now)?;
    }
    end_sessions(transaction, person)?;
    forget_links(transaction, person, by, now)?;
    Ok(revoked)
}

/// Who has seen its secret is found in the transaction that keeps it.
fn new_agent(new: &NewAgent, credential: Credential, now: Timestamp) -> Agent {
    Agent {
        name: new.name.clone(),
        owner: new.owner.clone(),
        has_seen_secret: BTreeSet::new(),
        acts_for: new.acts_for.clone(),
        credential,
        mysql: MysqlCredential::default(),
        databases: new.databases.clone(),
        database_user: new.database_user.clone(),
        profile: new.profile,
        labels: new.labels.clone(),
        created_at: now,
        expires_at: new.expires_at,
        revoked: false,
    }
}

/// Gives an agent another way to log in, and remembers who did.
fn replace_credential(
    transaction: &Connection,
    name: &PrincipalName,
    verifiers: &str,
    what: &str,
    by: &ChangedBy,
    now: Timestamp,
) -> Result<Result<(), PeopleError>, StoreError> {
    let Some(mut agent) = find_agent(transaction, name.as_str())? else {
        return Ok(Err(PeopleError::Unknown(name.to_string())));
    };
    if agent.revoked {
        return Ok(Err(PeopleError::Revoked(name.to_string())));
    }
    agent.has_seen_secret.extend(makers(transaction, by, now)?);
    let text = "UPDATE agents SET has_seen_secret = ?2, verifiers = ?3 WHERE name = ?1";
    transaction.execute(
        text,
        params![name.as_str(), names(&agent.has_seen_secret)?, verifiers],
    )?;
    note(transaction, what, name.as_str(), by.person(), now)?;
    Ok(Ok(()))
}

/// Whether another agent than `name` logs in by this certificate.
fn has_certified(
    transaction: &Connection,
    certificate: &CertificateName,
    name: &PrincipalName,
) -> Result<bool, StoreError> {
    let agents = all_agents(transaction)?;
    Ok(agents
        .iter()
        .any(|agent| agent.name != *name && !agent.revoked && agent.certificate() == Some(certificate)))
}

fn insert_agent(transaction: &Connection, agent: &Agent, verifiers: &str) -> Result<bool, StoreError> {
    let text = "INSERT INTO agents (name, owner, has_seen_secret, acts_for, verifiers, databases, database_user, profile,
                  labels, created_at, expires_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (name) DO NOTHING";
    let values = params![
        agent.name.as_str(),
        agent.owner.as_str(),
        names(&agent.has_seen_secret)?,
        agent.acts_for.as_ref().map(PersonName::as_str),
        verifiers,
        json(&agent.databases)?,
        agent.database_user,
        card::profile_word(agent.profile),
        json(&agent.labels)?,
        agent.created_at.micros(),
        agent.expires_at.map(Timestamp::micros),
    ];
    Ok(transaction.execute(text, values)? > 0)
}

fn find_agent(connection: &Connection, name: &str) -> Result<Option<Agent>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT * FROM agents WHERE name = ?1")?;
    let mut rows = statement.query([name])?;
    rows.next()?.map(agent_of).transpose()
}

fn all_agents(connection: &Connection) -> Result<Vec<Agent>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT * FROM agents ORDER BY name")?;
    let mut rows = statement.query([])?;
    let mut agents = Vec::new();
    while let Some(row) = rows.next()? {
        agents.push(agent_of(row)?);
    }
    Ok(agents)
}

fn agent_of(row: &Row<'_>) -> Result<Agent, StoreError> {
    let name: String = row.get("name")?;
    let owner: String = row.get("owner")?;
    let acts_for: Option<String> = row.get("acts_for")?;
    let profile: String = row.get("profile")?;
    let seen: Vec<String> = from_json(row, "has_seen_secret")?;
    let verifiers: BTreeMap<String, String> = from_json(row, "verifiers")?;
    let damaged = || StoreError::damaged(format!("the verifier of `{name}`"));
    Ok(Agent {
        name: PrincipalName::parse(&name).map_err(StoreError::damaged)?,
        owner: card::person(&owner)?,
        has_seen_secret: card::people(&seen)?,
        acts_for: acts_for.as_deref().map(card::person).transpose()?,
        credential: credential_of(&verifiers).ok_or_else(damaged)?,
        mysql: mysql_of(&verifiers).ok_or_else(damaged)?,
        databases: from_json(row, "databases")?,
        database_user: row.get("database_user")?,
        profile: card::profile(&profile)?,
        labels: from_json(row, "labels")?,
        created_at: Timestamp::from_micros(row.get("created_at")?),
        expires_at: row
            .get::<_, Option<i64>>("expires_at")?
            .map(Timestamp::from_micros),
        revoked: row.get("revoked")?,
    })
}

/// `None` unless it is exactly one of the two.
fn credential_of(verifiers: &BTreeMap<String, String>) -> Option<Credential> {
    match (verifiers.get(SCRAM), verifiers.get(CERTIFICATE)) {
        (Some(text), None) => ScramVerifier::parse(text).map(Credential::Secret),
        (None, Some(text)) => CertificateName::parse(text).ok().map(Credential::Certificate),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// `None` if one is there and cannot be read.
fn mysql_of(verifiers: &BTreeMap<String, String>) -> Option<MysqlCredential> {
    Some(MysqlCredential {
        caching_sha2: hash_of(verifiers.get(CACHING_SHA2))?,
        native: hash_of(verifiers.get(NATIVE))?,
    })
}

fn hash_of<const N: usize>(kept: Option<&String>) -> Option<Option<[u8; N]>> {
    match kept {
        Some(text) => STANDARD.decode(text).ok()?.try_into().ok().map(Some),
        None => Some(None),
    }
}

pub(super) fn find_person(connection: &Connection, name: &str) -> Result<Option<Person>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT * FROM people WHERE name = ?1")?;
    let mut rows = statement.query([name])?;
    rows.next()?.map(person_of).transpose()
}

fn person_of(row: &Row<'_>) -> Result<Person, StoreError> {
    let name: String = row.get("name")?;
    let roles: Vec<String> = from_json(row, "roles")?;
    let unknown = |role: &str| StoreError::damaged(format!("role `{role}`"));
    Ok(Person {
        name: card::person(&name)?,
        roles: roles
            .iter()
            .map(|role| Role::parse(role).ok_or_else(|| unknown(role)))
            .collect::<Result<BTreeSet<_>, _>>()?,
        groups: from_json(row, "groups")?,
        active: row.get("active")?,
    })
}

pub(super) fn note(
    transaction: &Connection,
    what: &str,
    name: &str,
    by: &PersonName,
    now: Timestamp,
) -> Result<(), StoreError> {
    note_that(transaction, what, name, by, String::new(), now)
}

/// `detail`: what has changed, as JSON, from which a roster of any day can be made.
fn note_that(
    transaction: &Connection,
    what: &str,
    name: &str,
    by: &PersonName,
    detail: String,
    now: Timestamp,
) -> Result<(), StoreError> {
    let note = Note::People {
        what: what.to_owned(),
        name: name.to_owned(),
        by: by.to_string(),
        detail,
    };
    queue(transaction, &[note], now)
}

/// All are made while the secret is at hand: later it is not.
fn verifiers(scram: &ScramVerifier, mysql: &MysqlCredential) -> Result<String, StoreError> {
    let mut kept = BTreeMap::from([(SCRAM, scram.to_string())]);
    kept.extend(
        mysql
            .caching_sha2
            .map(|hash| (CACHING_SHA2, STANDARD.encode(hash))),
    );
    kept.extend(mysql.native.map(|hash| (NATIVE, STANDARD.encode(hash))));
    json(&kept)
}

fn certified(certificate: &CertificateName) -> Result<String, StoreError> {
    json(&BTreeMap::from([(CERTIFICATE, certificate.to_string())]))
}

pub(super) fn names(people: &BTreeSet<PersonName>) -> Result<String, StoreError> {
    json(&people.iter().map(PersonName::as_str).collect::<Vec<_>>())
}

/// Reads what `names` writes.
pub(super) fn from_names(text: &str) -> Result<BTreeSet<PersonName>, StoreError> {
    let people: Vec<String> = serde_json::from_str(text).map_err(StoreError::damaged)?;
    card::people(&people)
}

fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(StoreError::damaged)
}

fn from_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T, StoreError> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(StoreError::damaged)
}
