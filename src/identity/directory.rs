//! Agents, people, their roles and scopes; who may decide what (promise 4, in one place).
//! Never reads the store: records are handed in. Read `secret.rs` next.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::clock::Timestamp;
use crate::identity::behind::Behind;
use crate::identity::certificate::CertificateName;
use crate::identity::principal::{NotAName, PersonName, PrincipalName, Profile};
use crate::identity::secret::{MysqlCredential, NativePassword, ScramVerifier};

/// An agent's credential and what it reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub name: PrincipalName,
    /// The person who answers for it.
    pub owner: PersonName,
    /// Everybody who created or rotated it, and so has seen its secret, or has chosen whose certificate it is.
    pub has_seen_secret: BTreeSet<PersonName>,
    /// The person in whose name it works, if there is one.
    pub acts_for: Option<PersonName>,
    pub credential: Credential,
    /// Empty unless it logs in by a secret.
    pub mysql: MysqlCredential,
    /// Databases it may connect to; empty: all.
    pub databases: Vec<String>,
    /// The user of the database that it maps to.
    pub database_user: String,
    pub profile: Profile,
    pub labels: BTreeMap<String, String>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked: bool,
}

/// The one way in which an agent logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    Secret(ScramVerifier),
    /// A certificate with this name, signed by the authority that the settings name; no password.
    Certificate(CertificateName),
    /// The password of a user of the database, which is handed on to the server and never kept.
    PassedOn,
}

/// What is asked for when an agent is added.
#[derive(Clone, Debug)]
pub struct NewAgent {
    pub name: PrincipalName,
    pub owner: PersonName,
    pub acts_for: Option<PersonName>,
    pub databases: Vec<String>,
    pub database_user: String,
    pub profile: Profile,
    pub labels: BTreeMap<String, String>,
    pub expires_at: Option<Timestamp>,
    pub mysql_native: NativePassword,
}

#[derive(Clone, Debug)]
pub struct NewPerson {
    pub name: PersonName,
    pub roles: Vec<Role>,
    pub groups: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct NewToken {
    pub person: PersonName,
    /// `None`: all that the person's roles give.
    pub scopes: Option<Scopes>,
    pub expires_at: Option<Timestamp>,
    /// Who gets to see it besides the person and whoever may be behind the call that makes it; the operator of the machine
    /// of the store is trusted anyway.
    pub seen_by: BTreeSet<PersonName>,
    /// What becomes of the tokens that the person has.
    pub others: OtherTokens,
}

/// What becomes of a person's tokens when another is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherTokens {
    #[default]
    Stay,
    Revoked,
}

/// What a token says of whoever brings it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    pub person: Person,
    /// What it may be used for today.
    pub scopes: Scopes,
    pub extent: Extent,
    /// Everybody else who has seen the token, and so may be the one who brings it.
    pub token_seen_by: BTreeSet<PersonName>,
    pub expires_at: Option<Timestamp>,
}

/// Whether somebody may do all that their roles give, whatever those come to be. Kept from the making on, never worked
/// out: what was narrowed to all that a person may do today would otherwise grow with the person's roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Whole,
    Narrowed,
}

/// Who makes a change: a person, or anybody who has seen the token that is brought in that person's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hands {
    pub person: PersonName,
    pub token_seen_by: BTreeSet<PersonName>,
}

/// Why a credential no longer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    #[error("the credential was revoked")]
    Revoked,
    #[error("the credential has expired")]
    Expired,
}

/// Who has a stake in a request and so may not decide it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stakes {
    pub principal: PrincipalName,
    pub owner: PersonName,
    pub has_seen_secret: BTreeSet<PersonName>,
    pub acts_for: Option<PersonName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Approver,
    Auditor,
    Admin,
    /// Approves alone, whatever the rule asks for; somebody else reviews it afterwards. No other role has this in it.
    BreakGlass,
}

/// Somebody with a token for the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub name: PersonName,
    pub roles: BTreeSet<Role>,
    /// Groups that rules name; the names of the roles count as groups too.
    pub groups: BTreeSet<String>,
    pub active: bool,
}

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// See requests.
    Read,
    /// Approve and deny.
    Decide,
    /// Query the log.
    Log,
    /// Manage people, agents and grants.
    Manage,
    /// Approve alone, whatever the rule asks for.
    BreakGlass,
}

/// What a token may be used for, never more than its person's roles give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(BTreeSet<Scope>);

/// Why a person may not decide a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyNot {
    #[error("`{0}` is not active")]
    Inactive(PersonName),
    #[error("`{0}` has neither the role approver nor admin")]
    NotAnApprover(PersonName),
    #[error("`{0}` has not the role break_glass")]
    NotInTheRole(PersonName),
    #[error("`{0}` owns the agent")]
    OwnsTheAgent(PersonName),
    #[error("`{0}` created or rotated the agent's credential, and so has seen it")]
    HasSeenTheSecret(PersonName),
    #[error("the agent acts for `{0}`")]
    IsActedFor(PersonName),
    #[error("`{0}` has the agent's own name")]
    IsTheAgent(PersonName),
    #[error("`{0}` is in none of the groups that may decide: {groups}", groups = .1.join(", "))]
    NotInAGroup(PersonName, Vec<String>),
    #[error("`{0}` has approved already; another person is needed")]
    HasApproved(PersonName),
    #[error("enough people like `{0}` have approved; needed are {needed}", needed = .1)]
    NotNeeded(PersonName, String),
    #[error("`{0}` has delegated it to `{1}`")]
    HasDelegated(PersonName, PersonName),
    #[error("`{seen_by}` has seen what `{person}` signs in by here, or could be who made it, and {why}")]
    TokenSeenBy {
        person: PersonName,
        /// Or had set, within a day before it was made, how its maker signs in.
        seen_by: PersonName,
        /// The stake of that one.
        why: Box<WhyNot>,
    },
    #[error(
        "`{set_by}` has set how `{person}` signs in, and {why}: until {until} `{person}` decides here no more than `{set_by}`"
    )]
    WayInSetBy {
        person: PersonName,
        /// Who has added the person, or given or taken what the person signs in by.
        set_by: PersonName,
        until: Timestamp,
        /// The stake of the one who has set it.
        why: Box<WhyNot>,
    },
    #[error("`{hand}` may be behind this and behind the approval by `{with}`: both count as one person")]
    CountsAsOne {
        /// Who has approved already.
        with: PersonName,
        /// Who has said both, or has seen the tokens by which both were said.
        hand: PersonName,
    },
}

impl WhyNot {
    /// What the person can do now.
    pub fn next_step(&self) -> String {
        match self {
            Self::TokenSeenBy { person, seen_by, .. } => format!(
                "let `{person}` sign in by what `{seen_by}` has not seen: a token made beside serve by `countersign user \
                 token {person}`, or by `{person}` alone with such a one; or ask another reviewer"
            ),
            Self::WayInSetBy { person, until, .. } => {
                format!(
                    "let somebody else decide it, or `{person}` after {until}; at once only if the operator gives `{person}` a \
                     new password beside serve: `countersign user passwd {person}`, which is recorded"
                )
            }
            Self::CountsAsOne { hand, .. } => format!(
                "ask another reviewer, who signs in by what `{hand}` has neither seen nor, within a day, set"
            ),
            Self::Inactive(_)
            | Self::NotAnApprover(_)
            | Self::NotInTheRole(_)
            | Self::OwnsTheAgent(_)
            | Self::HasSeenTheSecret(_)
            | Self::IsActedFor(_)
            | Self::IsTheAgent(_)
            | Self::NotInAGroup(..)
            | Self::NotNeeded(..)
            | Self::HasDelegated(..)
            | Self::HasApproved(_) => "ask another reviewer to decide it".to_owned(),
        }
    }
}

impl Hands {
    /// Everybody who may be the one.
    pub fn all(&self) -> BTreeSet<PersonName> {
        let mut all = self.token_seen_by.clone();
        all.insert(self.person.clone());
        all
    }
}

impl From<&PersonName> for Hands {
    /// Somebody on the machine of the store, who brings no token.
    fn from(person: &PersonName) -> Self {
        Self {
            person: person.clone(),
            token_seen_by: BTreeSet::new(),
        }
    }
}

impl Stakes {
    /// The stake that a person has, if any.
    fn of(&self, person: &PersonName) -> Option<WhyNot> {
        if *person == self.owner {
            Some(WhyNot::OwnsTheAgent(person.clone()))
        } else if self.has_seen_secret.contains(person) {
            Some(WhyNot::HasSeenTheSecret(person.clone()))
        } else if self.acts_for.as_ref() == Some(person) {
            Some(WhyNot::IsActedFor(person.clone()))
        } else if self.is_called_like(person) {
            Some(WhyNot::IsTheAgent(person.clone()))
        } else {
            None
        }
    }

    /// Whoever is called like a user of the database may well be the one who logs in as it, however it is written.
    fn is_called_like(&self, person: &PersonName) -> bool {
        match self.principal.database_user() {
            Some(user) => user.eq_ignore_ascii_case(person.as_str()),
            None => person.as_str() == self.principal.as_str(),
        }
    }
}

impl Agent {
    /// A user of the database who logs in with its own password, as the settings describe it.
    /// `known_to`: everybody besides the owner who can log in as it.
    pub fn passing_through(
        user: &str,
        owner: PersonName,
        known_to: BTreeSet<PersonName>,
    ) -> Result<Self, NotAName> {
        Ok(Self {
            name: PrincipalName::of_database_user(user)?,
            owner,
            has_seen_secret: known_to,
            acts_for: None,
            credential: Credential::PassedOn,
            mysql: MysqlCredential::default(),
            databases: Vec::new(),
            database_user: user.to_owned(),
            profile: Profile::Standard,
            labels: BTreeMap::new(),
            created_at: Timestamp::from_micros(0),
            expires_at: None,
            revoked: false,
        })
    }

    /// The name of the certificate by which it logs in, if it does.
    pub fn certificate(&self) -> Option<&CertificateName> {
        match &self.credential {
            Credential::Certificate(name) => Some(name),
            Credential::Secret(_) | Credential::PassedOn => None,
        }
    }

    pub fn stakes(&self) -> Stakes {
        Stakes {
            principal: self.name.clone(),
            owner: self.owner.clone(),
            has_seen_secret: self.has_seen_secret.clone(),
            acts_for: self.acts_for.clone(),
        }
    }

    /// Why it may no longer log in or run anything, if so.
    pub fn ended(&self, now: Timestamp) -> Option<Ended> {
        if self.revoked {
            Some(Ended::Revoked)
        } else {
            self.expires_at.filter(|end| *end <= now).map(|_| Ended::Expired)
        }
    }

    pub fn may_connect_to(&self, database: &str) -> bool {
        self.databases.is_empty() || self.databases.iter().any(|allowed| allowed == database)
    }
}

/// Whether `person` may decide what `stakes` describe, under a rule that names the groups `approvers`, where it may be
/// somebody of `behind` who speaks.
pub fn may_decide(
    person: &Person,
    behind: &Behind,
    stakes: &Stakes,
    approvers: &[String],
) -> Result<(), WhyNot> {
    let name = || person.name.clone();
    has_no_stake(person, behind, stakes)?;
    if !person.scopes().has(Scope::Decide) {
        Err(WhyNot::NotAnApprover(name()))
    } else if !approvers.is_empty() && !approvers.iter().any(|group| person.is_in(group)) {
        Err(WhyNot::NotInAGroup(name(), approvers.to_vec()))
    } else {
        Ok(())
    }
}

/// Whether `person` may approve alone what `stakes` describe: promise 4 as for every decision, and the role of its own.
pub fn may_break_glass(person: &Person, behind: &Behind, stakes: &Stakes) -> Result<(), WhyNot> {
    has_no_stake(person, behind, stakes)?;
    if person.roles.contains(&Role::BreakGlass) {
        Ok(())
    } else {
        Err(WhyNot::NotInTheRole(person.name.clone()))
    }
}

/// Promise 4 alone: an active person who has no stake, and whose way in nobody with one has seen, or set within a day.
pub fn has_no_stake(person: &Person, behind: &Behind, stakes: &Stakes) -> Result<(), WhyNot> {
    let seen = |other: &PersonName| {
        stakes.of(other).map(|why| WhyNot::TokenSeenBy {
            person: person.name.clone(),
            seen_by: other.clone(),
            why: Box::new(why),
        })
    };
    let set = |(other, until): (&PersonName, &Timestamp)| {
        stakes.of(other).map(|why| WhyNot::WayInSetBy {
            person: person.name.clone(),
            set_by: other.clone(),
            until: *until,
            why: Box::new(why),
        })
    };
    if !person.active {
        return Err(WhyNot::Inactive(person.name.clone()));
    }
    let own = stakes.of(&person.name);
    let other = || behind.seen_by.iter().find_map(seen);
    match own.or_else(other).or_else(|| behind.set_by.iter().find_map(set)) {
        Some(why) => Err(why),
        None => Ok(()),
    }
}

impl Person {
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.contains(group) || self.roles.iter().any(|role| role.as_str() == group)
    }

    /// Every group that it is in; the names of its roles are among them.
    pub fn all_groups(&self) -> BTreeSet<String> {
        let roles = self.roles.iter().map(|role| role.as_str().to_owned());
        self.groups.iter().cloned().chain(roles).collect()
    }

    /// All that its roles give.
    pub fn scopes(&self) -> Scopes {
        Scopes(
            self.roles
                .iter()
                .flat_map(|role| role.gives().iter().copied())
                .collect(),
        )
    }
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Approver, Self::Auditor, Self::Admin, Self::BreakGlass];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
            Self::BreakGlass => "break_glass",
        }
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    const fn gives(self) -> &'static [Scope] {
        match self {
            Self::Approver => &[Scope::Read, Scope::Decide],
            Self::Auditor => &[Scope::Read, Scope::Log],
            Self::Admin => &[Scope::Read, Scope::Decide, Scope::Log, Scope::Manage],
            Self::BreakGlass => &[Scope::Read, Scope::BreakGlass],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Scope {
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Decide,
        Self::Log,
        Self::Manage,
        Self::BreakGlass,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Decide => "decide",
            Self::Log => "log",
            Self::Manage => "manage",
            Self::BreakGlass => "break_glass",
        }
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Scopes {
    pub fn has(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// What is in both.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = Scope> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PersonName {
        PersonName::parse(text).expect("a valid name")
    }

    fn person(text: &str, roles: &[Role], groups: &[&str]) -> Person {
        Person {
            name: name(text),
            roles: roles.iter().copied().collect(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            active: true,
        }
    }

    fn stakes() -> Stakes {
        Stakes {
            principal: PrincipalName::parse("bot").expect("a valid name"),
            owner: name("olga"),
            has_seen_secret: [name("carl"), name("rita")].into(),
            acts_for: Some(name("anna")),
        }
    }

    fn seen_by(names: &[&str]) -> Behind {
        Behind::seen(&names.iter().map(|text| name(text)).collect())
    }

    #[test]
    fn nobody_with_a_stake_decides_whatever_the_role() {
        let unseen = Behind::default();
        for role in Role::ALL {
            let check = |who| {
                may_decide(
                    &person(who, &[role, Role::Approver], &[]),
                    &unseen,
                    &stakes(),
                    &[],
                )
            };
            assert_eq!(check("olga"), Err(WhyNot::OwnsTheAgent(name("olga"))));
            assert_eq!(check("carl"), Err(WhyNot::HasSeenTheSecret(name("carl"))));
            assert_eq!(check("rita"), Err(WhyNot::HasSeenTheSecret(name("rita"))));
            assert_eq!(check("anna"), Err(WhyNot::IsActedFor(name("anna"))));
            assert_eq!(check("bot"), Err(WhyNot::IsTheAgent(name("bot"))));
            assert_eq!(check("dora"), Ok(()));
        }
    }

    #[test]
    fn only_the_role_breaks_glass_and_never_over_a_stake() {
        let unseen = Behind::default();
        for role in [Role::Approver, Role::Auditor, Role::Admin] {
            let other = person("dora", &[role], &["break_glass", "dba"]);
            let refused = may_break_glass(&other, &unseen, &stakes());
            assert_eq!(refused, Err(WhyNot::NotInTheRole(name("dora"))), "{role}");
        }
        let dora = person("dora", &[Role::BreakGlass], &[]);
        assert_eq!(may_break_glass(&dora, &unseen, &stakes()), Ok(()));
        // It decides nothing in the usual way.
        let refused = may_decide(&dora, &unseen, &stakes(), &[]);
        assert_eq!(refused, Err(WhyNot::NotAnApprover(name("dora"))));
        for who in ["olga", "carl", "rita", "anna", "bot"] {
            let staked = person(who, &[Role::BreakGlass, Role::Admin], &[]);
            may_break_glass(&staked, &unseen, &stakes()).expect_err(who);
            may_break_glass(&dora, &seen_by(&[who]), &stakes()).expect_err(who);
        }
        let mut gone = dora;
        gone.active = false;
        let refused = may_break_glass(&gone, &unseen, &stakes());
        assert_eq!(refused, Err(WhyNot::Inactive(name("dora"))));
    }

    #[test]
    fn nobody_with_a_stake_decides_by_a_token_of_somebody_else() {
        let dora = person("dora", &[Role::Approver], &[]);
        let cases = [
            ("olga", WhyNot::OwnsTheAgent(name("olga"))),
            ("carl", WhyNot::HasSeenTheSecret(name("carl"))),
            ("anna", WhyNot::IsActedFor(name("anna"))),
            ("bot", WhyNot::IsTheAgent(name("bot"))),
        ];
        for (who, why) in cases {
            let expected = WhyNot::TokenSeenBy {
                person: name("dora"),
                seen_by: name(who),
                why: Box::new(why),
            };
            let seen = seen_by(&["dave", who]);
            let refused = may_decide(&dora, &seen, &stakes(), &[]).expect_err("refused");
            assert_eq!(refused, expected);
            assert!(
                refused.next_step().contains("countersign user token dora"),
                "{}",
                refused.next_step()
            );
        }
        assert_eq!(may_decide(&dora, &seen_by(&["dave"]), &stakes(), &[]), Ok(()));
    }

    #[test]
    fn nobody_with_a_stake_decides_as_somebody_whose_way_in_they_have_set() {
        let dora = person("dora", &[Role::Approver, Role::BreakGlass], &[]);
        let until = Timestamp::from_micros(86_400_000_000);
        for who in ["olga", "carl", "rita", "anna", "bot"] {
            let behind = Behind {
                seen_by: BTreeSet::new(),
                set_by: [(name("dave"), until), (name(who), until)].into(),
            };
            let refused = may_decide(&dora, &behind, &stakes(), &[]).expect_err("refused");
            assert_eq!(may_break_glass(&dora, &behind, &stakes()), Err(refused.clone()));
            let (said, next) = (refused.to_string(), refused.next_step());
            assert!(
                said.contains(&format!("`{who}` has set how `dora` signs in")),
                "{said}"
            );
            assert!(said.contains(&until.to_string()), "{said}");
            assert!(
                next.contains("somebody else") && next.contains(&until.to_string()),
                "{next}"
            );
        }
        let behind = Behind {
            seen_by: BTreeSet::new(),
            set_by: [(name("dave"), until)].into(),
        };
        assert_eq!(may_decide(&dora, &behind, &stakes(), &[]), Ok(()));
    }

    #[test]
    fn whoever_can_log_in_as_a_user_of_the_database_does_not_decide_for_it() {
        let user = Agent::passing_through("Carol", name("olga"), [name("rita")].into()).expect("a user");
        let check = |who| {
            may_decide(
                &person(who, &[Role::Admin, Role::Approver], &[]),
                &Behind::default(),
                &user.stakes(),
                &[],
            )
        };
        assert_eq!(check("olga"), Err(WhyNot::OwnsTheAgent(name("olga"))));
        assert_eq!(check("rita"), Err(WhyNot::HasSeenTheSecret(name("rita"))));
        assert_eq!(check("carol"), Err(WhyNot::IsTheAgent(name("carol"))));
        assert_eq!(check("dora"), Ok(()));
    }

    #[test]
    fn an_auditor_or_an_inactive_person_does_not_decide() {
        let auditor = person("dora", &[Role::Auditor], &[]);
        assert_eq!(
            may_decide(&auditor, &Behind::default(), &stakes(), &[]),
            Err(WhyNot::NotAnApprover(name("dora")))
        );
        let mut gone = person("dora", &[Role::Approver], &[]);
        gone.active = false;
        assert_eq!(
            may_decide(&gone, &Behind::default(), &stakes(), &[]),
            Err(WhyNot::Inactive(name("dora")))
        );
    }

    #[test]
    fn a_named_group_excludes_everybody_else() {
        let groups = ["dba".to_owned(), "security".to_owned()];
        let unseen = Behind::default();
        let dora = person("dora", &[Role::Approver], &["dba"]);
        assert_eq!(may_decide(&dora, &unseen, &stakes(), &groups), Ok(()));
        let root = person("root", &[Role::Admin], &[]);
        let expected = WhyNot::NotInAGroup(name("root"), groups.to_vec());
        assert_eq!(may_decide(&root, &unseen, &stakes(), &groups), Err(expected));
        assert_eq!(
            may_decide(&root, &unseen, &stakes(), &["admin".to_owned()]),
            Ok(())
        );
    }
}
