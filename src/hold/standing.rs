//! A standing grant: what one decision lets through later although its literals and parameters differ, for a time and
//! so often. Not the state `grant` of a request (`lifecycle.rs`), which is one approval that waits for its very bytes.
//! Never looks at a clock and never lets anything pass that is not the same but for its values. Read `permit.rs` next.
//!
//! Why one digest, its shape: a use is judged afresh, and whatever the judgement says of it (class, breadth, tables,
//! columns, functions, reasons) must be what was approved, to the letter. A difference that nobody thought of is a
//! difference all the same, and the statement is held.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::hold::{Digest, DigestBuilder, Guards, HeldRequest, Parameter, RequestId, RunBounds, Transaction};
use crate::identity::principal::{Peer, PersonName, PrincipalName, SessionId};
use crate::policy::Verdict;
use crate::sql::action::{Action, Breadth, Class, FunctionName, Judgement};
use crate::sql::classify::lists::{self, Known};

/// What people call a standing grant: as a request, behind `G-`. Shown as `G-7K3F9Q`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StandingGrantId(RequestId);

impl StandingGrantId {
    pub fn from_random(bits: u32) -> Self {
        Self(RequestId::from_random(bits))
    }

    /// Reads what `Display` writes, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        let letters = text.strip_prefix("G-").or_else(|| text.strip_prefix("g-"))?;
        RequestId::parse(letters).map(Self)
    }
}

impl fmt::Display for StandingGrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("G-{}", self.0))
    }
}

impl fmt::Debug for StandingGrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Whose statements a standing grant lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those of the session that asked, as long as it lasts.
    Session,
    /// Those of every session of its principal.
    Principal,
    /// Those of the transaction that asked; of a run alone.
    Transaction,
}

impl Reach {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Principal => "principal",
            Self::Transaction => "transaction",
        }
    }
}

/// For whom, how long and how often. The run of the decided request itself is the first of the `uses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub reach: Reach,
    pub minutes: u32,
    pub uses: u32,
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reach, minutes, uses } = self;
        write!(f, "for this {}, {minutes} min, {uses} uses", reach.as_str())
    }
}

impl Terms {
    pub fn life(self) -> Duration {
        Duration::from_secs(u64::from(self.minutes) * 60)
    }

    /// What both allow.
    #[must_use]
    pub fn narrowest(self, other: Self) -> Self {
        Self {
            reach: match (self.reach, other.reach) {
                (Reach::Transaction, _) | (_, Reach::Transaction) => Reach::Transaction,
                (Reach::Session, _) | (_, Reach::Session) => Reach::Session,
                (Reach::Principal, Reach::Principal) => Reach::Principal,
            },
            minutes: self.minutes.min(other.minutes),
            uses: self.uses.min(other.uses),
        }
    }
}

/// What a standing grant would be bound to: everything of a statement but its literals, the values of its parameters
/// and its session. Or why there can be none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    Of(Digest),
    DecidedEachTime { why: String },
}

/// All that a shape is made of.
#[derive(Clone, Copy)]
pub struct ShapeParts<'a> {
    pub peer: &'a Peer,
    pub protocol: &'a str,
    pub judgement: &'a Judgement,
    pub verdict: &'a Verdict,
    pub parameters: &'a [Parameter],
    pub transaction: Transaction,
    pub facts: &'a BTreeMap<String, String>,
    pub names: &'a str,
    pub rules: [u8; 32],
}

impl Shape {
    pub fn of(parts: ShapeParts<'_>) -> Self {
        match decided_each_time(parts) {
            Some(why) => Self::DecidedEachTime { why },
            None => Self::Of(digest(parts)),
        }
    }
}

/// Why a person must look at each sending, if so.
fn decided_each_time(parts: ShapeParts<'_>) -> Option<String> {
    let judgement = parts.judgement;
    if matches!(parts.transaction, Transaction::Failed) {
        return Some("its transaction has failed, so what its names mean could not be asked".to_owned());
    }
    if judgement.actions.is_empty() || judgement.depends_on_names {
        return Some("what it does depends on more than its text".to_owned());
    }
    judgement.actions.iter().find_map(|action| match action.class {
        Class::Read | Class::Write => literals_matter(action),
        // Literals of these are names, settings, programs or code.
        class @ (Class::Transaction
        | Class::Session
        | Class::Ddl
        | Class::Export
        | Class::Procedural
        | Class::Grant
        | Class::Admin
        | Class::Unknown) => Some(format!("a statement of class {class} is decided each time")),
    })
}

/// Why other literals could make it do another thing, and not only the same to other rows.
fn literals_matter(action: &Action) -> Option<String> {
    if action.copies_in {
        Some("the client's data follows it and is not shown".to_owned())
    } else if !action.effects.is_empty() {
        Some("it changes what later statements mean".to_owned())
    } else if let Some(called) = action.functions.iter().find(|called| !takes_values(called)) {
        Some(format!(
            "it calls `{called}`: a literal may name what that works on"
        ))
    } else if !action.secrets.is_empty() {
        Some("a literal in it is a secret".to_owned())
    } else {
        None
    }
}

/// Built in, and harmless whatever its arguments are: `setval` and `lo_unlink` take names of what they change, and what
/// a function of one's own makes of a literal nobody knows.
fn takes_values(called: &FunctionName) -> bool {
    let built_in = matches!(called.schema.as_deref(), None | Some("pg_catalog"));
    built_in && lists::function(&called.name) == Known::Harmless
}

fn digest(parts: ShapeParts<'_>) -> Digest {
    let ShapeParts {
        peer,
        protocol,
        judgement,
        verdict,
        parameters,
        // Failed ones have no shape; in the others a statement means the same.
        transaction: _,
        facts,
        names,
        rules,
    } = parts;
    let types: Vec<u8> = parameters
        .iter()
        .flat_map(|parameter| parameter.type_oid.to_be_bytes())
        .collect();
    let mut digest = DigestBuilder::new("countersign standing grant 1")
        .field("principal", peer.principal.as_str().as_bytes())
        .field("upstream", peer.upstream.as_bytes())
        .field("database", peer.database.as_bytes())
        .field("database_user", peer.database_user.as_bytes())
        .field("protocol", protocol.as_bytes())
        .field("fingerprint", &judgement.fingerprint)
        .field("sorts", &judgement.sorts)
        .field("parameter_types", &types)
        .field("names", names.as_bytes())
        .field("rules", &rules)
        .field("rule", verdict.rule.as_str().as_bytes())
        .field("rule_line", &verdict.line.to_be_bytes())
        .field("risk", verdict.risk.to_string().as_bytes())
        .field("approvals_needed", &verdict.requirement.people().to_be_bytes());
    for group in &verdict.requirement.groups() {
        digest = digest.field("approvers", group.as_bytes());
    }
    if verdict.requirement.terms().len() > 1 {
        digest = digest.field("requirement", verdict.requirement.to_string().as_bytes());
    }
    for group in &verdict.escalate_to {
        digest = digest.field("escalate_to", group.as_bytes());
    }
    for reason in &verdict.reasons {
        digest = digest.field("verdict_reason", reason.as_bytes());
    }
    for (name, value) in facts {
        digest = digest
            .field("fact", name.as_bytes())
            .field("value", value.as_bytes());
    }
    judgement.actions.iter().fold(digest, put_action).finish()
}

/// No field is left out in silence: a new one does not compile until it is answered for.
fn put_action(digest: DigestBuilder, action: &Action) -> DigestBuilder {
    let Action {
        class,
        breadth,
        verb,
        tables,
        columns,
        functions,
        behind,
        reasons,
        parse_is_safe,
        commits,
        // Statistics of the server change by themselves; what a rule makes of them is in the verdict.
        rows: _,
        // Where it stands in the text moves with the length of literals.
        span: _,
        // With any of these there is no shape.
        effects: _,
        secrets: _,
        copies_in: _,
        // Carried out by the proxy itself, and never held.
        cancels: _,
        // Definitions have no shape.
        steps: _,
        // Says only which values are withheld.
        reaches_unnamed: _,
    } = action;
    let breadth: &[u8] = match breadth {
        Breadth::Bounded => b"bounded",
        Breadth::Unbounded => b"unbounded",
    };
    let mut digest = digest
        .field("class", class.as_str().as_bytes())
        .field("breadth", breadth)
        .field("verb", verb.as_bytes())
        .field("parse_is_safe", &[u8::from(*parse_is_safe)])
        .field("commits", &[u8::from(*commits)]);
    for table in tables {
        digest = digest
            .optional("table_schema", table.schema.as_deref().map(str::as_bytes))
            .field("table", table.name.as_bytes());
    }
    for table in behind {
        digest = digest
            .optional("behind_schema", table.schema.as_deref().map(str::as_bytes))
            .field("behind", table.name.as_bytes());
    }
    for column in columns {
        digest = digest.field("column", column.as_bytes());
    }
    for function in functions {
        digest = digest
            .optional("function_schema", function.schema.as_deref().map(str::as_bytes))
            .field("function", function.name.as_bytes());
    }
    for reason in reasons {
        digest = digest.field("reason", reason.as_bytes());
    }
    digest
}

/// How a standing grant stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Open,
    /// Its last use is spent.
    UsedUp,
    Revoked {
        by: PersonName,
        reason: String,
    },
    /// Its time is over, its principal's credential or its approvers have changed …
    Lapsed {
        why: String,
    },
}

/// `Standing` without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StandingKind {
    Open,
    UsedUp,
    Revoked,
    Lapsed,
}

impl Standing {
    pub fn kind(&self) -> StandingKind {
        match self {
            Self::Open => StandingKind::Open,
            Self::UsedUp => StandingKind::UsedUp,
            Self::Revoked { .. } => StandingKind::Revoked,
            Self::Lapsed { .. } => StandingKind::Lapsed,
        }
    }
}

impl StandingKind {
    pub const ALL: [Self; 4] = [Self::Open, Self::UsedUp, Self::Revoked, Self::Lapsed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::UsedUp => "used_up",
            Self::Revoked => "revoked",
            Self::Lapsed => "lapsed",
        }
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for StandingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One person whose approval made a standing grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maker {
    pub person: PersonName,
    /// Everybody else who had seen the token by which it was said.
    pub token_seen_by: BTreeSet<PersonName>,
    /// The groups that it counted for, those of `stands_for` among them; `None`: it was made when that was not kept.
    pub groups: Option<BTreeSet<String>>,
    /// Those who had delegated the request to this person.
    pub stands_for: BTreeSet<PersonName>,
}

impl Maker {
    /// The groups of `asked` that the approval counted for and that nobody behind it is `still` in. None of `asked` and
    /// an approval of which that was not kept: whether it is in none of them now.
    pub fn has_lost<'a>(&self, asked: &'a [String], still: &BTreeSet<String>) -> Vec<&'a str> {
        let lost = asked.iter().filter(|group| !still.contains(*group));
        match &self.groups {
            Some(counted) => lost
                .filter(|group| counted.contains(*group))
                .map(String::as_str)
                .collect(),
            None if asked.iter().any(|group| still.contains(group)) => Vec::new(),
            None => lost.map(String::as_str).collect(),
        }
    }
}

/// The right of a principal to run statements of one shape, for a time and so often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingGrant {
    pub id: StandingGrantId,
    pub standing: Standing,
    /// Grows with every change.
    pub version: u64,
    /// The request whose decision made it; it shows what was approved.
    pub request: RequestId,
    /// Of a run: what must be the same for all its statements.
    pub shape: Digest,
    /// What else a run lets through; `None`: statements of the one shape.
    pub run: Option<RunBounds>,
    pub principal: PrincipalName,
    /// The one session that may use it; `None`: every session of the principal.
    pub session: Option<SessionId>,
    /// What the principal logged in with when it was made.
    pub credential: Digest,
    /// Groups whose members may decide such statements; empty: every approver.
    pub approvers: Vec<String>,
    pub made_by: Vec<Maker>,
    /// What holds while each of its uses runs.
    pub guards: Guards,
    pub uses: u32,
    pub uses_max: u32,
    pub made_at: Timestamp,
    pub changed_at: Timestamp,
    pub until: Timestamp,
}

/// By what a request ran without a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoveredBy {
    pub grant: StandingGrantId,
    /// The request whose decision made the grant.
    pub decided_in: RequestId,
    /// Which of its uses this is; the decided request's own run was the first.
    pub number: u32,
    pub uses_max: u32,
    pub made_by: Vec<PersonName>,
}

/// How many statements a message holds; at least one.
pub fn statements_of(sent: &HeldRequest) -> u32 {
    u32::try_from(sent.statements.len()).unwrap_or(u32::MAX).max(1)
}

/// What ends a standing grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StandingEnd {
    Revoke { by: PersonName, reason: String },
    Lapse { why: String },
}

/// What has ended stays ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the standing grant is {0}")]
pub struct NotOpen(pub StandingKind);

impl StandingGrant {
    /// As it is after it was ended.
    pub fn ended(&self, end: StandingEnd) -> Result<Self, NotOpen> {
        match self.standing {
            Standing::Open => Ok(Self {
                standing: match end {
                    StandingEnd::Revoke { by, reason } => Standing::Revoked { by, reason },
                    StandingEnd::Lapse { why } => Standing::Lapsed { why },
                },
                version: self.version + 1,
                ..self.clone()
            }),
            Standing::UsedUp | Standing::Revoked { .. } | Standing::Lapsed { .. } => {
                Err(NotOpen(self.standing.kind()))
            }
        }
    }

    /// How many uses a sending takes: a run counts statements, however many a message holds; of one shape all messages hold
    /// as many as the decided one.
    fn cost(&self, sent: &HeldRequest) -> u32 {
        match self.run {
            Some(_) => statements_of(sent),
            None => 1,
        }
    }

    /// As it is after one more use; `None` if this sending may not use it. That its time is not over and its makers
    /// may still decide is for the caller to have seen to.
    pub fn used(&self, sent: &HeldRequest) -> Option<(Self, CoveredBy)> {
        let peer = &sent.peer;
        let is_alike = match &self.run {
            None => sent.shape == Shape::Of(self.shape),
            Some(run) => run.let_through(self.shape, sent),
        };
        let is_its_own = is_alike
            && self.principal == peer.principal
            && self.session.is_none_or(|session| session == peer.session);
        let number = self.uses.saturating_add(self.cost(sent));
        let is_open = matches!(self.standing, Standing::Open) && number <= self.uses_max;
        if !is_its_own || !is_open {
            return None;
        }
        let next = Self {
            uses: number,
            version: self.version + 1,
            standing: if number == self.uses_max {
                Standing::UsedUp
            } else {
                Standing::Open
            },
            ..self.clone()
        };
        let covered = CoveredBy {
            grant: self.id,
            decided_in: self.request,
            number,
            uses_max: self.uses_max,
            made_by: self.made_by.iter().map(|maker| maker.person.clone()).collect(),
        };
        Some((next, covered))
    }
}
