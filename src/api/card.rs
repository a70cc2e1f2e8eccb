//! A request as the API shows it: everything that a reviewer is to see, in the shape of DESIGN section 8.
//! Never re-renders a statement: its text is the exact bytes, secrets masked. Read `requests.rs` next.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::requests::{GuardsBody, ScopeBody};
use crate::catalog::impact::Impact;
use crate::hold::{
    self, Authority, HeldRequest, HeldStatement, InRun, Parameter, ParameterFormat, READ_AS, Ran, Shape,
    State, StateKind, Transaction, withheld_words,
};
use crate::render::{Layout, Reading, Statement as Rendered, Value, visible_line};
use crate::sql::action::Breadth;
use crate::sql::template;

/// A held statement and everything that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Card {
    /// Six Crockford base-32 characters.
    #[schema(example = "7K3F9Q")]
    pub id: String,
    /// `pending`, `detached`, `approved`, `running`, `finished`, `failed`, `outcome_unknown`, `denied`, `expired`,
    /// `withdrawn`, `stale`, `grant`, `redeemed` or `lapsed`.
    pub state: String,
    /// Nobody waits for it now: its client has left, or its wait is over. Approved, it becomes a grant.
    pub detached: bool,
    /// What a decision is bound to: 64 hex digits.
    pub digest: String,
    /// Grows with every change.
    pub version: u64,
    /// The strictest class in it.
    pub class: String,
    pub risk: String,
    /// The rule that held it.
    pub rule: String,
    /// Its line in the file of the rules; 0 if no rule matched.
    pub rule_line: u32,
    pub reasons: Vec<String>,
    /// The agent's credential: verified.
    pub principal: String,
    /// Who answers for the agent.
    pub owner: String,
    pub upstream: String,
    pub database: String,
    pub database_user: String,
    /// Network address that the agent came from.
    pub source: String,
    pub session: String,
    pub attempt: String,
    /// `simple` or `extended`.
    pub protocol: String,
    /// The whole message as it came, secrets masked; absent if it is no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes of a message that is no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_base64: Option<String>,
    pub statements: Vec<Statement>,
    pub parameters: Vec<ParameterValue>,
    /// Labels of the columns that it touches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub column_labels: Vec<String>,
    /// Values are withheld: `POST /requests/{id}/reveal` shows them, and comes before an approval.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withheld: bool,
    pub transaction: TransactionState,
    /// What the client says of itself: not verified.
    pub claimed: BTreeMap<String, String>,
    /// What the server says of the session: search_path, role …
    pub facts: BTreeMap<String, String>,
    /// What it would do to the tables around it; filled in while it waits, which an event with the same version tells.
    pub impact: Impact,
    /// The client's data follows an approval, and is not in the digest.
    pub copies_in: bool,
    /// Same statement shape, whatever its literals: 64 hex digits.
    pub fingerprint: String,
    /// Groups whose people approve it now; empty: every approver.
    pub approvers: Vec<String>,
    /// People in all; `requirement` says of which groups.
    pub approvals_needed: u32,
    /// Groups that approve it once it was escalated; empty: it cannot be.
    pub escalate_to: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalated_at: Option<String>,
    /// Who approves instead of whom.
    pub delegations: Vec<Delegation>,
    /// What people have said, oldest first.
    pub decisions: Vec<Said>,
    /// Who is needed, and who of them has approved.
    pub requirement: Vec<Need>,
    /// What was said besides, oldest first; of the views each person's last.
    pub discussion: Vec<Remark>,
    /// How it ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    pub created_at: String,
    pub changed_at: String,
    /// Until when its client waits.
    pub wait_ends_at: String,
    /// Until when a person may decide.
    pub expires_at: String,
    /// Of a request in state `grant`: until when the same bytes run once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_until: Option<String>,
    /// What a standing grant for statements like it would let vary: the message with `?` for each literal. `?` and
    /// parameters would stand for any value. Absent if none can be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Why no standing grant can be made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_each_time: Option<String>,
    /// What a run would cover if nothing else were named. Absent if none can be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunOffer>,
    /// Why no run can be made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_run: Option<String>,
    /// The standing grant that its decision made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing_grant: Option<String>,
    /// The standing grant by which it ran without a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered_by: Option<Covered>,
}

/// The classes, verbs and tables of a statement, as a run names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunOffer {
    pub classes: Vec<String>,
    /// What it does, for instance `alter table add column`.
    #[serde(default)]
    pub verbs: Vec<String>,
    /// Its tables, and those that are changed with them: partitions and children.
    pub tables: Vec<String>,
}

/// By what a request ran without a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Covered {
    #[schema(example = "G-7K3F9Q")]
    pub grant: String,
    /// The request whose decision made the grant.
    pub decided_in: String,
    /// Which of its uses this is; the decided request's own run was the first.
    #[serde(rename = "use")]
    pub number: u32,
    pub uses_max: u32,
    pub made_by: Vec<String>,
}

/// One statement of the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Statement {
    /// Its own bytes, secrets masked; absent if they are no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_base64: Option<String>,
    pub class: String,
    #[schema(example = "drop table")]
    pub verb: String,
    pub bounded: bool,
    pub tables: Vec<String>,
    pub functions: Vec<String>,
    pub reasons: Vec<String>,
}

/// One parameter value: `value` decoded, or `hex` where it cannot be; neither is NULL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParameterValue {
    /// `$1` is 1.
    pub index: u16,
    #[serde(rename = "type")]
    pub type_name: String,
    /// `text` or `binary`.
    pub format: String,
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
    /// Of a withheld value no less than its length.
    pub bytes: u64,
    /// Labels of columns for which the log does not keep it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<String>,
    /// It is not shown here, not even whether it is NULL.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withheld: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TransactionState {
    /// `idle`, `implicit`, `open` or `failed`.
    pub state: String,
    /// It may have written already: its locks stay while the request waits, and it never becomes a grant.
    pub wrote: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<String>,
}

/// What one person said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Said {
    pub by: String,
    /// `approve` or `deny`.
    pub decision: String,
    /// By one person alone, whatever the rule asked for; somebody else reviews it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    pub reason: String,
    /// `api`, `cli` …
    pub channel: String,
    /// Who else has seen the token by which it was said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_seen_by: Vec<String>,
    /// The standing grant that was asked for; absent: one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<ScopeBody>,
    /// What is to hold while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guards: Option<GuardsBody>,
    pub at: String,
}

/// Somebody approves instead of somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delegation {
    pub from: String,
    pub to: String,
}

/// One part of what an approval takes: so many people of these groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Need {
    /// A group, or several of which any will do: `dba or security`.
    #[schema(example = "dba")]
    pub group: String,
    /// People in all.
    pub needed: u32,
    /// Those who have approved and count here.
    pub by: Vec<String>,
}

/// Something said beside a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Remark {
    pub at: String,
    /// A person; of a `reply` the agent; absent where time alone did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// `viewed`, `revealed`, `comment`, `question`, `reply` (of the agent: not verified), `escalated`, `delegated`, `reminded`,
    /// `break_glass` or `reviewed`.
    pub kind: String,
    /// As it was written; may be empty.
    pub text: String,
    /// Whom it was delegated or escalated to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// `api`, `cli` …; empty where no person spoke.
    pub channel: String,
}

/// How a request ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The server's command tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why it ended without a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Card {
    /// With the values that are withheld: `held` has them, and that they are shown is on record.
    pub fn revealed(held: &HeldRequest) -> Self {
        Self {
            parameters: held
                .parameters
                .iter()
                .map(|parameter| ParameterValue::of(parameter, false))
                .collect(),
            withheld: false,
            ..Self::of(held)
        }
    }

    pub fn of(held: &HeldRequest) -> Self {
        let (text, text_base64) = exact_text(&held.text);
        let statements: Vec<Statement> = held.statements.iter().map(Statement::of).collect();
        Self {
            id: held.id.to_string(),
            state: held.state.kind().to_string(),
            detached: held.state.kind() == StateKind::Detached,
            digest: held.digest.to_string(),
            version: held.version,
            class: held.class.to_string(),
            risk: held.risk.to_string(),
            rule: held.rule.to_string(),
            rule_line: held.rule_line,
            reasons: held.reasons.clone(),
            principal: held.peer.principal.to_string(),
            owner: held.peer.owner.to_string(),
            upstream: held.peer.upstream.clone(),
            database: held.peer.database.clone(),
            database_user: held.peer.database_user.clone(),
            source: held.peer.source.to_string(),
            session: held.peer.session.to_string(),
            attempt: held.attempt.to_string(),
            protocol: held.protocol.clone(),
            text,
            text_base64,
            statements,
            parameters: held
                .parameters
                .iter()
                .map(|parameter| ParameterValue::of(parameter, parameter.is_redacted()))
                .collect(),
            column_labels: held.column_labels.clone(),
            withheld: held.has_withheld() && held.state.is_undecided(),
            transaction: TransactionState::of(held.transaction),
            claimed: held.claimed.clone(),
            facts: held.facts.clone(),
            impact: held.impact.clone(),
            copies_in: held.copies_in,
            fingerprint: held
                .fingerprint
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            approvers: held.requirement_now().groups(),
            approvals_needed: held.requirement.people(),
            escalate_to: held.escalate_to.clone(),
            escalated_at: held.escalated_at.map(|at| at.to_string()),
            delegations: held.delegations.iter().map(Delegation::of).collect(),
            decisions: held
                .decisions
                .iter()
                .map(|said| Said {
                    by: said.by.to_string(),
                    decision: if said.approves { "approve" } else { "deny" }.to_owned(),
                    break_glass: said.authority == Authority::BreakGlass,
                    reason: said.reason.clone(),
                    channel: said.channel.clone(),
                    token_seen_by: said.token_seen_by.iter().map(ToString::to_string).collect(),
                    scope: ScopeBody::of(said),
                    guards: GuardsBody::of(said.guards),
                    at: said.at.to_string(),
                })
                .collect(),
            requirement: held.needs().iter().map(Need::of).collect(),
            discussion: held.discussion.iter().map(Remark::of).collect(),
            outcome: Outcome::of(&held.state),
            created_at: held.created_at.to_string(),
            changed_at: held.changed_at.to_string(),
            wait_ends_at: held.wait_ends_at.to_string(),
            expires_at: held.expires_at.to_string(),
            grant_until: match &held.state {
                State::Grant { until } => Some(until.to_string()),
                _other => None,
            },
            template: template_of(held),
            decided_each_time: match &held.shape {
                Shape::Of(_) => None,
                Shape::DecidedEachTime { why } => Some(why.clone()),
            },
            run: match &held.in_run {
                InRun::Fits(touches) => Some(RunOffer {
                    classes: touches.classes.iter().map(ToString::to_string).collect(),
                    verbs: touches.verbs.iter().cloned().collect(),
                    tables: touches.tables.keys().map(ToString::to_string).collect(),
                }),
                InRun::DecidedEachTime { .. } => None,
            },
            no_run: match &held.in_run {
                InRun::Fits(_) => None,
                InRun::DecidedEachTime { why } => Some(why.clone()),
            },
            standing_grant: held.standing_grant.map(|grant| grant.to_string()),
            covered_by: held.covered_by.as_ref().map(|by| Covered {
                grant: by.grant.to_string(),
                decided_in: by.decided_in.to_string(),
                number: by.number,
                uses_max: by.uses_max,
                made_by: by.made_by.iter().map(ToString::to_string).collect(),
            }),
        }
    }
}

impl Card {
    /// The bytes of the message, secrets masked.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match (&self.text, &self.text_base64) {
            (Some(text), _) => Cow::Borrowed(text.as_bytes()),
            (None, Some(encoded)) => {
                let decoded = STANDARD.decode(encoded);
                decoded.map_or(Cow::Borrowed(encoded.as_bytes()), Cow::Owned)
            }
            (None, None) => Cow::Borrowed(b""),
        }
    }

    /// The message as lines for a person, with the values of its parameters in their places; `bytes` are its own.
    pub fn rendered<'t>(&self, bytes: &'t [u8], layout: Layout) -> Rendered<'t> {
        let fact = |name: &str| self.facts.get(name).map(String::as_str);
        let reading = Reading::of(
            fact(READ_AS),
            fact("standard_conforming_strings"),
            fact("client_encoding"),
        );
        let values: Vec<Value> = self.parameters.iter().map(ParameterValue::shown).collect();
        Rendered::of(bytes, &reading, layout, &values)
    }
}

/// What a standing grant would let vary; `None` if none can be made.
pub fn template_of(held: &HeldRequest) -> Option<String> {
    match held.shape {
        Shape::Of(_) => {
            let conforming = held.facts.get("standard_conforming_strings");
            let conforming = conforming.is_none_or(|value| value == "on");
            std::str::from_utf8(&held.text)
                .ok()
                .map(|text| template(text, conforming))
        }
        Shape::DecidedEachTime { .. } => None,
    }
}

/// The text itself, or base64 of what is no UTF-8.
fn exact_text(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

impl Statement {
    fn of(held: &HeldStatement) -> Self {
        let (text, text_base64) = exact_text(&held.text);
        let qualified = |schema: &Option<String>, name: &str| match schema {
            Some(schema) => format!("{schema}.{name}"),
            None => name.to_owned(),
        };
        Self {
            text,
            text_base64,
            class: held.class.to_string(),
            verb: held.verb.clone(),
            bounded: held.breadth == Breadth::Bounded,
            tables: held
                .tables
                .iter()
                .map(|table| qualified(&table.schema, &table.name))
                .collect(),
            functions: held
                .functions
                .iter()
                .map(|called| qualified(&called.schema, &called.name))
                .collect(),
            reasons: held.reasons.clone(),
        }
    }
}

impl Delegation {
    fn of(held: &hold::Delegation) -> Self {
        Self {
            from: held.from.to_string(),
            to: held.to.to_string(),
        }
    }
}

impl Need {
    fn of(need: &hold::Need) -> Self {
        Self {
            group: need.groups.join(" or "),
            needed: need.needed,
            by: need.by.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Remark {
    fn of(said: &hold::Remark) -> Self {
        Self {
            at: said.at.to_string(),
            by: said.by.name().map(str::to_owned),
            kind: said.kind.to_string(),
            text: said.text.clone(),
            to: said.to.clone(),
            channel: said.channel.clone(),
        }
    }
}

impl ParameterValue {
    fn shown(&self) -> Value {
        Value {
            index: self.index,
            shown: self.value_text(),
        }
    }

    /// The value on one line: a text in quotes, those in it doubled, NULL, or the hex digits of what cannot be decoded.
    pub fn value_text(&self) -> String {
        if self.withheld {
            return withheld_words(&self.redacted);
        }
        match (&self.value, &self.hex) {
            (Some(value), _) => format!("'{}'", visible_line(value).replace('\'', "''")),
            (None, Some(hex)) => format!("\\x{hex} ({} bytes, not decoded)", self.bytes),
            (None, None) => "NULL".to_owned(),
        }
    }

    fn of(held: &Parameter, withheld: bool) -> Self {
        let held = if withheld {
            Cow::Owned(held.kept())
        } else {
            Cow::Borrowed(held)
        };
        Self {
            index: held.index,
            type_name: held.type_name.clone(),
            format: match held.format {
                ParameterFormat::Text => "text",
                ParameterFormat::Binary => "binary",
            }
            .to_owned(),
            value: held.value.clone(),
            hex: held.hex.clone(),
            bytes: held.bytes,
            redacted: held.redacted.clone(),
            withheld,
        }
    }
}

impl TransactionState {
    fn of(held: Transaction) -> Self {
        let (state, opened_at) = match held {
            Transaction::Idle => ("idle", None),
            Transaction::Implicit { .. } => ("implicit", None),
            Transaction::Open { opened_at, .. } => ("open", Some(opened_at.to_string())),
            Transaction::Failed => ("failed", None),
        };
        Self {
            state: state.to_owned(),
            wrote: held.has_written(),
            opened_at,
        }
    }
}

impl Outcome {
    fn of(state: &State) -> Option<Self> {
        let ran = |rows: &Option<u64>, tag: &String| Self {
            rows: *rows,
            tag: Some(tag.clone()),
            ..Self::default()
        };
        let failed = |sqlstate: &String, message: &String| Self {
            sqlstate: Some(sqlstate.clone()),
            message: Some(message.clone()),
            ..Self::default()
        };
        match state {
            State::Finished { rows, tag }
            | State::Redeemed {
                ran: Some(Ran::Finished { rows, tag }),
                ..
            } => Some(ran(rows, tag)),
            State::Failed { sqlstate, message }
            | State::Redeemed {
                ran: Some(Ran::Failed { sqlstate, message }),
                ..
            } => Some(failed(sqlstate, message)),
            State::OutcomeUnknown { why }
            | State::Withdrawn { why }
            | State::Stale { why }
            | State::Lapsed { why } => Some(Self {
                why: Some(why.clone()),
                ..Self::default()
            }),
            State::Pending
            | State::Detached
            | State::Approved { .. }
            | State::Running { .. }
            | State::Denied { .. }
            | State::Expired
            | State::Grant { .. }
            | State::Redeemed { ran: None, .. } => None,
        }
    }
}

/// The classes as people write them.
pub const CLASS_WORDS: [&str; 10] = [
    "read",
    "write",
    "ddl",
    "grant",
    "export",
    "admin",
    "session",
    "transaction",
    "procedural",
    "unknown",
];
