//! A request as JSON: its state's data and everything that a reviewer is shown of it.
//! Never reads a file. Read `outbox.rs` next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::catalog::impact::Impact;
use crate::clock::Timestamp;
use crate::hold::{
    ClaimId, CoveredBy, Delegation, Digest, HeldRequest, HeldStatement, InRun, Parameter, Ran, RequestId,
    Shape, StandingGrantId, State, StateKind, Touches, Transaction, withheld_by_their_words,
};
use crate::identity::directory::Stakes;
use crate::identity::principal::{AttemptId, Peer, PersonName, PrincipalName, Profile, SessionId};
use crate::policy::{Requirement, Risk, Term};
use crate::sql::action::{Breadth, Class, FunctionName, TableName};
use crate::store::sqlite::StoreError;

/// The data of a state; which fields are set follows from the state.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct StateData {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    by: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ran: Option<RanRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RanRow {
    Finished { rows: Option<u64>, tag: String },
    Failed { sqlstate: String, message: String },
}

impl StateData {
    pub(super) fn of(state: &State) -> Self {
        let why = |why: &str| Self {
            text: Some(why.to_owned()),
            ..Self::default()
        };
        match state {
            State::Pending | State::Detached | State::Expired => Self::default(),
            State::Approved { by, reason } => Self {
                by: by.iter().map(ToString::to_string).collect(),
                ..why(reason)
            },
            State::Denied { by, reason } => Self {
                by: vec![by.to_string()],
                ..why(reason)
            },
            State::Running { claim } => Self {
                claim: Some(claim.to_string()),
                ..Self::default()
            },
            State::Finished { rows, tag } => Self {
                ran: Some(RanRow::Finished {
                    rows: *rows,
                    tag: tag.clone(),
                }),
                ..Self::default()
            },
            State::Failed { sqlstate, message } => Self {
                ran: Some(RanRow::Failed {
                    sqlstate: sqlstate.clone(),
                    message: message.clone(),
                }),
                ..Self::default()
            },
            State::Grant { until } => Self {
                until: Some(until.micros()),
                ..Self::default()
            },
            State::Redeemed { claim, ran } => Self {
                claim: Some(claim.to_string()),
                ran: ran.as_ref().map(RanRow::of),
                ..Self::default()
            },
            State::OutcomeUnknown { why: text }
            | State::Withdrawn { why: text }
            | State::Stale { why: text }
            | State::Lapsed { why: text } => why(text),
        }
    }

    pub(super) fn into_state(self, kind: StateKind) -> Result<State, StoreError> {
        let missing = || StoreError::damaged(format!("a request that is {kind} lacks its data"));
        let why = |text: Option<String>| text.ok_or_else(missing);
        let claim = |text: Option<String>| text.and_then(|text| ClaimId::parse(&text)).ok_or_else(missing);
        Ok(match kind {
            StateKind::Pending => State::Pending,
            StateKind::Detached => State::Detached,
            StateKind::Expired => State::Expired,
            StateKind::Approved => State::Approved {
                by: self
                    .by
                    .iter()
                    .map(|name| person(name))
                    .collect::<Result<_, _>>()?,
                reason: why(self.text)?,
            },
            StateKind::Denied => State::Denied {
                by: person(self.by.first().ok_or_else(missing)?)?,
                reason: why(self.text)?,
            },
            StateKind::Running => State::Running {
                claim: claim(self.claim)?,
            },
            StateKind::Finished | StateKind::Failed => match self.ran.ok_or_else(missing)? {
                RanRow::Finished { rows, tag } => State::Finished { rows, tag },
                RanRow::Failed { sqlstate, message } => State::Failed { sqlstate, message },
            },
            StateKind::Grant => State::Grant {
                until: Timestamp::from_micros(self.until.ok_or_else(missing)?),
            },
            StateKind::Redeemed => State::Redeemed {
                claim: claim(self.claim)?,
                ran: self.ran.map(RanRow::into_ran),
            },
            StateKind::OutcomeUnknown => State::OutcomeUnknown { why: why(self.text)? },
            StateKind::Withdrawn => State::Withdrawn { why: why(self.text)? },
            StateKind::Stale => State::Stale { why: why(self.text)? },
            StateKind::Lapsed => State::Lapsed { why: why(self.text)? },
        })
    }
}

impl RanRow {
    fn of(ran: &Ran) -> Self {
        match ran.clone() {
            Ran::Finished { rows, tag } => Self::Finished { rows, tag },
            Ran::Failed { sqlstate, message } => Self::Failed { sqlstate, message },
        }
    }

    fn into_ran(self) -> Ran {
        match self {
            Self::Finished { rows, tag } => Ran::Finished { rows, tag },
            Self::Failed { sqlstate, message } => Ran::Failed { sqlstate, message },
        }
    }
}

/// What has no column of its own.
#[derive(Serialize, Deserialize)]
pub(super) struct Card {
    owner: String,
    profile: String,
    labels: BTreeMap<String, String>,
    session: u64,
    source: IpAddr,
    upstream: String,
    database_user: String,
    attempt_session: u64,
    attempt_number: u64,
    protocol: String,
    /// A request of an earlier version of the store has none.
    #[serde(default)]
    shape: ShapeRow,
    #[serde(default)]
    in_run: InRunRow,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    standing_grant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    covered_by: Option<CoveredRow>,
    statements: Vec<StatementRow>,
    parameters: Vec<Parameter>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    column_labels: Vec<String>,
    transaction: Transaction,
    copies_in: bool,
    claimed: BTreeMap<String, String>,
    facts: BTreeMap<String, String>,
    /// A request of an earlier version does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    withheld_facts: Option<BTreeSet<String>>,
    /// Requests of earlier versions have none.
    #[serde(default = "unasked")]
    impact: Impact,
    names: String,
    rules: String,
    rule: String,
    rule_line: u32,
    risk: Risk,
    reasons: Vec<String>,
    approvers: Vec<String>,
    approvals_needed: u32,
    /// Requests of earlier versions have only the two above.
    #[serde(default)]
    requirement: Vec<TermRow>,
    #[serde(default)]
    escalate_to: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    escalated_at: Option<i64>,
    /// From whom, to whom.
    #[serde(default)]
    delegations: Vec<(String, String)>,
    stakes: StakesRow,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ShapeRow {
    Digest(String),
    DecidedEachTime(String),
}

impl Default for ShapeRow {
    fn default() -> Self {
        Self::DecidedEachTime(
            "it was held by an earlier version, which did not keep what is needed".to_owned(),
        )
    }
}

#[derive(Serialize, Deserialize)]
struct TermRow {
    groups: Vec<String>,
    people: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum InRunRow {
    Fits {
        frame: String,
        classes: Vec<String>,
        /// Of a request that an earlier version kept: none, and so no run can be made of it.
        #[serde(default)]
        verbs: Vec<String>,
        #[serde(default)]
        is_unbounded: bool,
        /// Schema, name, and what tells it from another of its name.
        tables: Vec<(Option<String>, String, Option<String>)>,
    },
    DecidedEachTime(String),
}

impl Default for InRunRow {
    fn default() -> Self {
        Self::DecidedEachTime(
            "it was held by an earlier version, which did not keep what is needed".to_owned(),
        )
    }
}

#[derive(Serialize, Deserialize)]
struct CoveredRow {
    grant: String,
    decided_in: String,
    number: u32,
    uses_max: u32,
    made_by: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct StatementRow {
    text: String,
    class: String,
    bounded: bool,
    verb: String,
    tables: Vec<(Option<String>, String)>,
    functions: Vec<(Option<String>, String)>,
    reasons: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct StakesRow {
    owner: String,
    has_seen_secret: Vec<String>,
    acts_for: Option<String>,
}

/// The columns that a card needs to become a request again.
pub(super) struct Columns {
    pub state: State,
    pub id: crate::hold::RequestId,
    pub version: u64,
    pub owner: crate::hold::Owner,
    pub digest: Digest,
    pub principal: String,
    pub database: String,
    pub class: String,
    pub fingerprint: [u8; 32],
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
    pub wait_ends_at: Timestamp,
    pub expires_at: Timestamp,
    pub text: Vec<u8>,
    pub decisions: Vec<crate::hold::Approval>,
    pub discussion: Vec<crate::hold::Remark>,
}

impl Card {
    pub(super) fn of(held: &HeldRequest) -> Self {
        let peer = &held.peer;
        Self {
            owner: peer.owner.to_string(),
            profile: profile_word(peer.profile).to_owned(),
            labels: peer.labels.clone(),
            session: peer.session.0,
            source: peer.source,
            upstream: peer.upstream.clone(),
            database_user: peer.database_user.clone(),
            attempt_session: held.attempt.session.0,
            attempt_number: held.attempt.number,
            protocol: held.protocol.clone(),
            shape: ShapeRow::of(&held.shape),
            in_run: InRunRow::of(&held.in_run),
            standing_grant: held.standing_grant.map(|grant| grant.to_string()),
            covered_by: held.covered_by.as_ref().map(CoveredRow::of),
            statements: held.statements.iter().map(StatementRow::of).collect(),
            parameters: held.parameters.iter().map(Parameter::kept).collect(),
            column_labels: held.column_labels.clone(),
            transaction: held.transaction,
            copies_in: held.copies_in,
            claimed: held.claimed.clone(),
            facts: held.facts.clone(),
            withheld_facts: Some(held.withheld_facts.clone()),
            impact: held.impact.clone(),
            names: held.names.clone(),
            rules: Digest::from_bytes(held.rules).to_string(),
            rule: held.rule.clone(),
            rule_line: held.rule_line,
            risk: held.risk,
            reasons: held.reasons.clone(),
            approvers: held.requirement.groups(),
            approvals_needed: held.requirement.people(),
            requirement: held.requirement.terms().iter().map(TermRow::of).collect(),
            escalate_to: held.escalate_to.clone(),
            escalated_at: held.escalated_at.map(Timestamp::micros),
            delegations: held
                .delegations
                .iter()
                .map(|delegation| (delegation.from.to_string(), delegation.to.to_string()))
                .collect(),
            stakes: StakesRow {
                owner: held.stakes.owner.to_string(),
                has_seen_secret: held
                    .stakes
                    .has_seen_secret
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                acts_for: held.stakes.acts_for.as_ref().map(ToString::to_string),
            },
        }
    }

    pub(super) fn set_impact(&mut self, impact: &Impact) {
        self.impact = impact.clone();
    }

    pub(super) fn into_request(self, columns: Columns) -> Result<HeldRequest, StoreError> {
        let principal = principal(&columns.principal)?;
        Ok(HeldRequest {
            id: columns.id,
            state: columns.state,
            version: columns.version,
            owner: columns.owner,
            digest: columns.digest,
            peer: Peer {
                principal: principal.clone(),
                owner: person(&self.owner)?,
                profile: profile(&self.profile)?,
                labels: self.labels,
                session: SessionId(self.session),
                source: self.source,
                upstream: self.upstream,
                database: columns.database,
                database_user: self.database_user,
            },
            attempt: AttemptId {
                session: SessionId(self.attempt_session),
                number: self.attempt_number,
            },
            protocol: self.protocol,
            text: columns.text,
            statements: self
                .statements
                .into_iter()
                .map(StatementRow::into_statement)
                .collect::<Result<_, _>>()?,
            class: class(&columns.class)?,
            fingerprint: columns.fingerprint,
            shape: self.shape.into_shape()?,
            in_run: self.in_run.into_in_run()?,
            standing_grant: self.standing_grant.as_deref().map(standing_id).transpose()?,
            covered_by: self.covered_by.map(CoveredRow::into_covered).transpose()?,
            parameters: self.parameters,
            column_labels: self.column_labels,
            transaction: self.transaction,
            copies_in: self.copies_in,
            claimed: self.claimed,
            withheld_facts: self
                .withheld_facts
                .unwrap_or_else(|| withheld_by_their_words(&self.facts)),
            facts: self.facts,
            impact: self.impact,
            names: self.names,
            rules: *Digest::parse(&self.rules)
                .ok_or_else(|| StoreError::damaged("a rules generation"))?
                .as_bytes(),
            rule: self.rule,
            rule_line: self.rule_line,
            risk: self.risk,
            reasons: self.reasons,
            requirement: match self.requirement.is_empty() {
                true => Requirement::of(self.approvers, self.approvals_needed),
                false => {
                    Requirement::of_terms(self.requirement.into_iter().map(TermRow::into_term).collect())
                }
            },
            escalate_to: self.escalate_to,
            escalated_at: self.escalated_at.map(Timestamp::from_micros),
            delegations: self
                .delegations
                .iter()
                .map(|(from, to)| {
                    Ok(Delegation {
                        from: person(from)?,
                        to: person(to)?,
                    })
                })
                .collect::<Result<_, StoreError>>()?,
            stakes: Stakes {
                principal,
                owner: person(&self.stakes.owner)?,
                has_seen_secret: people(&self.stakes.has_seen_secret)?,
                acts_for: self.stakes.acts_for.as_deref().map(person).transpose()?,
            },
            decisions: columns.decisions,
            discussion: columns.discussion,
            created_at: columns.created_at,
            changed_at: columns.changed_at,
            wait_ends_at: columns.wait_ends_at,
            expires_at: columns.expires_at,
        })
    }
}

impl TermRow {
    fn of(term: &Term) -> Self {
        Self {
            groups: term.groups.clone(),
            people: term.people,
        }
    }

    fn into_term(self) -> Term {
        Term {
            groups: self.groups,
            people: self.people,
        }
    }
}

pub(super) fn breadth(is_unbounded: bool) -> Breadth {
    match is_unbounded {
        true => Breadth::Unbounded,
        false => Breadth::Bounded,
    }
}

impl InRunRow {
    fn of(in_run: &InRun) -> Self {
        match in_run {
            InRun::DecidedEachTime { why } => Self::DecidedEachTime(why.clone()),
            InRun::Fits(touches) => Self::Fits {
                frame: touches.frame.to_string(),
                classes: touches.classes.iter().map(ToString::to_string).collect(),
                verbs: touches.verbs.iter().cloned().collect(),
                is_unbounded: touches.breadth == Breadth::Unbounded,
                tables: touches
                    .tables
                    .iter()
                    .map(|(table, oid)| (table.schema.clone(), table.name.clone(), oid.clone()))
                    .collect(),
            },
        }
    }

    fn into_in_run(self) -> Result<InRun, StoreError> {
        match self {
            Self::DecidedEachTime(why) => Ok(InRun::DecidedEachTime { why }),
            Self::Fits {
                frame,
                classes,
                verbs,
                is_unbounded,
                tables,
            } => Ok(InRun::Fits(Touches {
                frame: Digest::parse(&frame).ok_or_else(|| StoreError::damaged("the frame of a run"))?,
                classes: classes.iter().map(|word| class(word)).collect::<Result<_, _>>()?,
                verbs: verbs.into_iter().collect(),
                breadth: breadth(is_unbounded),
                tables: tables
                    .into_iter()
                    .map(|(schema, name, oid)| (TableName { schema, name }, oid))
                    .collect(),
            })),
        }
    }
}

impl ShapeRow {
    fn of(shape: &Shape) -> Self {
        match shape {
            Shape::Of(digest) => Self::Digest(digest.to_string()),
            Shape::DecidedEachTime { why } => Self::DecidedEachTime(why.clone()),
        }
    }

    fn into_shape(self) -> Result<Shape, StoreError> {
        match self {
            Self::Digest(text) => {
                let digest = Digest::parse(&text).ok_or_else(|| StoreError::damaged("a shape"))?;
                Ok(Shape::Of(digest))
            }
            Self::DecidedEachTime(why) => Ok(Shape::DecidedEachTime { why }),
        }
    }
}

impl CoveredRow {
    fn of(covered: &CoveredBy) -> Self {
        Self {
            grant: covered.grant.to_string(),
            decided_in: covered.decided_in.to_string(),
            number: covered.number,
            uses_max: covered.uses_max,
            made_by: covered.made_by.iter().map(ToString::to_string).collect(),
        }
    }

    fn into_covered(self) -> Result<CoveredBy, StoreError> {
        Ok(CoveredBy {
            grant: standing_id(&self.grant)?,
            decided_in: request_id(&self.decided_in)?,
            number: self.number,
            uses_max: self.uses_max,
            made_by: self
                .made_by
                .iter()
                .map(|name| person(name))
                .collect::<Result<_, _>>()?,
        })
    }
}

pub(super) fn standing_id(text: &str) -> Result<StandingGrantId, StoreError> {
    StandingGrantId::parse(text).ok_or_else(|| StoreError::damaged(format!("standing grant `{text}`")))
}

pub(super) fn request_id(text: &str) -> Result<RequestId, StoreError> {
    RequestId::parse(text).ok_or_else(|| StoreError::damaged(format!("request id `{text}`")))
}

fn unasked() -> Impact {
    let mut impact = Impact::estimating(None);
    impact.give_up("it was held by an earlier version");
    impact
}

impl StatementRow {
    fn of(statement: &HeldStatement) -> Self {
        Self {
            text: STANDARD.encode(&statement.text),
            class: class_word(statement.class).to_owned(),
            bounded: statement.breadth == Breadth::Bounded,
            verb: statement.verb.clone(),
            tables: statement
                .tables
                .iter()
                .map(|table| (table.schema.clone(), table.name.clone()))
                .collect(),
            functions: statement
                .functions
                .iter()
                .map(|called| (called.schema.clone(), called.name.clone()))
                .collect(),
            reasons: statement.reasons.clone(),
        }
    }

    fn into_statement(self) -> Result<HeldStatement, StoreError> {
        Ok(HeldStatement {
            text: STANDARD.decode(&self.text).map_err(StoreError::damaged)?,
            class: class(&self.class)?,
            breadth: if self.bounded {
                Breadth::Bounded
            } else {
                Breadth::Unbounded
            },
            verb: self.verb,
            tables: self
                .tables
                .into_iter()
                .map(|(schema, name)| TableName { schema, name })
                .collect(),
            functions: self
                .functions
                .into_iter()
                .map(|(schema, name)| FunctionName { schema, name })
                .collect(),
            reasons: self.reasons,
        })
    }
}

pub(super) fn person(text: &str) -> Result<PersonName, StoreError> {
    PersonName::parse(text).map_err(StoreError::damaged)
}

pub(super) fn people(names: &[String]) -> Result<BTreeSet<PersonName>, StoreError> {
    names.iter().map(|name| person(name)).collect()
}

pub(super) fn principal(text: &str) -> Result<PrincipalName, StoreError> {
    PrincipalName::parse_any(text).map_err(StoreError::damaged)
}

pub(super) fn profile_word(profile: Profile) -> &'static str {
    match profile {
        Profile::Standard => "standard",
        Profile::Mcp => "mcp",
    }
}

pub(super) fn profile(text: &str) -> Result<Profile, StoreError> {
    [Profile::Standard, Profile::Mcp]
        .into_iter()
        .find(|profile| profile_word(*profile) == text)
        .ok_or_else(|| StoreError::damaged(format!("profile `{text}`")))
}

pub(super) fn class_word(class: Class) -> &'static str {
    match class {
        Class::Transaction => "transaction",
        Class::Session => "session",
        Class::Read => "read",
        Class::Write => "write",
        Class::Ddl => "ddl",
        Class::Export => "export",
        Class::Procedural => "procedural",
        Class::Grant => "grant",
        Class::Admin => "admin",
        Class::Unknown => "unknown",
    }
}

pub(super) fn class(text: &str) -> Result<Class, StoreError> {
    use Class::{Admin, Ddl, Export, Grant, Procedural, Read, Session, Transaction, Unknown, Write};
    [
        Transaction,
        Session,
        Read,
        Write,
        Ddl,
        Export,
        Procedural,
        Grant,
        Admin,
        Unknown,
    ]
    .into_iter()
    .find(|class| class_word(*class) == text)
    .ok_or_else(|| StoreError::damaged(format!("class `{text}`")))
}

/// What stands where an erased value stood.
const ERASED: &str = "[erased]";

/// A kept card whose parameters say that their values are erased; what was NULL stays so.
pub fn without_values(card: &str) -> Result<String, StoreError> {
    let mut card: Card = serde_json::from_str(card).map_err(StoreError::damaged)?;
    for parameter in &mut card.parameters {
        if parameter.value.is_some() || parameter.hex.is_some() {
            (parameter.value, parameter.hex) = (Some(ERASED.to_owned()), None);
        }
    }
    serde_json::to_string(&card).map_err(StoreError::damaged)
}
