//! A parked statement and everything a reviewer is shown of it.
//! Never holds a secret: passwords in a text are masked before it is kept. Read `lifecycle.rs` next.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::catalog::impact::Impact;
use crate::clock::Timestamp;
use crate::hold::{
    CoveredBy, Digest, Guards, InRun, Remark, RemarkKind, RunCovers, Shape, Speaker, StandingGrantId, State,
    Terms,
};
use crate::identity::directory::Stakes;
use crate::identity::principal::{AttemptId, CROCKFORD, Peer, PersonName};
use crate::policy::{Requirement, Risk};
use crate::sql::action::{Breadth, Class, FunctionName, Judgement, TableName};

/// What people call a request: six Crockford base-32 characters, unique in the store. Shown as `7K3F9Q`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId([u8; 6]);

impl RequestId {
    /// The low 30 bits, five to a character.
    pub fn from_random(bits: u32) -> Self {
        let mut letters = [0; 6];
        for (place, letter) in letters.iter_mut().rev().enumerate() {
            *letter = CROCKFORD[(bits >> (place * 5)) as usize & 31];
        }
        Self(letters)
    }

    /// Reads six characters of either case; O is read as 0, I and L as 1, as Crockford has it.
    pub fn parse(text: &str) -> Option<Self> {
        let letters: [u8; 6] = text.as_bytes().try_into().ok()?;
        let mut read = [0; 6];
        for (to, from) in read.iter_mut().zip(letters) {
            *to = match from.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
        }
        read.iter()
            .all(|letter| CROCKFORD.contains(letter))
            .then_some(Self(read))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made of ASCII letters only")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names one attempt at starting a run, so that an unclear commit can be settled by reading it. Shown as 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClaimId(pub u64);

impl ClaimId {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16)
            .ok()
            .filter(|_| text.len() == 16)
            .map(Self)
    }
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Which process holds the connection of a request; the epoch grows with every start of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub node: String,
    pub epoch: u64,
}

/// The transaction that a statement was parked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Transaction {
    Idle,
    /// Something was forwarded since the last Sync; `wrote` if that may have written.
    Implicit {
        wrote: bool,
    },
    Open {
        wrote: bool,
        #[serde(with = "micros")]
        opened_at: Timestamp,
    },
    Failed,
}

impl Transaction {
    /// Whether what went before in it may have written: then it never becomes a grant.
    pub fn has_written(self) -> bool {
        match self {
            Self::Idle | Self::Failed => false,
            Self::Implicit { wrote } | Self::Open { wrote, .. } => wrote,
        }
    }
}

mod micros {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::clock::Timestamp;

    pub fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(at.micros())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(from).map(Timestamp::from_micros)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterFormat {
    Text,
    Binary,
}

/// One parameter value, as a reviewer is shown it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// `$1` is 1.
    pub index: u16,
    pub type_oid: u32,
    pub type_name: String,
    pub format: ParameterFormat,
    /// Decoded; `None` is NULL, unless `hex` has the bytes.
    pub value: Option<String>,
    /// The raw bytes where they cannot be decoded.
    pub hex: Option<String>,
    /// Length of the raw value in bytes; of a withheld one no less than it is.
    pub bytes: u64,
    /// Labels of columns for which the value is withheld from the log and from people; empty: it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<String>,
}

impl Parameter {
    pub fn is_redacted(&self) -> bool {
        !self.redacted.is_empty()
    }

    /// What may be kept of it: of a redacted one its type and about how long it is, not even whether it is NULL.
    #[must_use]
    pub fn kept(&self) -> Self {
        if !self.is_redacted() {
            return self.clone();
        }
        Self {
            value: None,
            hex: None,
            bytes: length_class(self.bytes),
            ..self.clone()
        }
    }
}

/// What stands where a withheld value would.
pub fn withheld_words(labels: &[String]) -> String {
    format!("{WITHHELD_STARTS}{})", labels.join(", "))
}

const WITHHELD_STARTS: &str = "redacted (";

/// Of facts that were kept without it those whose values are withheld, or only say so: they are taken for it.
pub fn withheld_by_their_words(facts: &BTreeMap<String, String>) -> BTreeSet<String> {
    let withheld = facts
        .iter()
        .filter(|(_, value)| value.starts_with(WITHHELD_STARTS));
    withheld.map(|(name, _)| name.clone()).collect()
}

/// Withheld values of up to so many bytes are all of one length.
const LENGTH_CLASS_MIN: u64 = 16;

/// About how long a value is: 16 bytes, or the next power of four times as many.
pub fn length_class(bytes: u64) -> u64 {
    let mut class = LENGTH_CLASS_MIN;
    while class < bytes {
        class = class.saturating_mul(4);
    }
    class
}

/// The fact under which the settings are told that a text of MySQL was read under; the log has it with the attempt.
pub const READ_AS: &str = "read as";

/// The fact that a MySQL session may have temporary tables, which its names mean first. Left out where it has none.
pub const TEMPORARY_TABLES: &str = "temporary tables";

/// One statement of the held message, with what was judged of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldStatement {
    /// The bytes as they came, secrets masked.
    pub text: Vec<u8>,
    pub class: Class,
    pub breadth: Breadth,
    pub verb: String,
    pub tables: BTreeSet<TableName>,
    pub functions: BTreeSet<FunctionName>,
    pub reasons: Vec<String>,
}

/// What one person said of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    pub by: PersonName,
    /// Everybody else who had seen the token by which it was said, and so may have said it.
    pub token_seen_by: BTreeSet<PersonName>,
    /// The groups that the person was in, or stood in for; `None`: it was said when that was not kept, and counts everywhere.
    pub groups: Option<BTreeSet<String>>,
    /// `false` is a denial.
    pub approves: bool,
    /// By what right it was said.
    pub authority: Authority,
    pub reason: String,
    pub channel: String,
    /// The standing grant that it asks for besides the one run; `None`: only that run.
    pub terms: Option<Terms>,
    /// With terms: the run that it asks for; `None`: one fingerprint.
    pub run: Option<RunCovers>,
    /// What is to hold while it runs.
    pub guards: Guards,
    pub at: Timestamp,
}

/// By what right somebody decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// As the rule says: it counts for the groups that the person is in.
    Rule,
    /// By a role of its own: alone, whatever the rule asks for. Somebody else reviews it afterwards.
    BreakGlass,
}

/// Somebody stands in for somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    pub from: PersonName,
    pub to: PersonName,
}

/// One part of what an approval takes: so many people of these groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Any of them will do.
    pub groups: Vec<String>,
    pub needed: u32,
    /// Those who have approved and count here.
    pub by: Vec<PersonName>,
}

/// A parked statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRequest {
    pub id: RequestId,
    pub state: State,
    /// Grows with every change.
    pub version: u64,
    pub owner: Owner,
    pub digest: Digest,
    /// Who asks; session and source are those of the newest sending.
    pub peer: Peer,
    pub attempt: AttemptId,
    /// `simple` or `extended`.
    pub protocol: String,
    /// The bytes as they came, secrets masked.
    pub text: Vec<u8>,
    pub statements: Vec<HeldStatement>,
    /// The strictest class in it.
    pub class: Class,
    pub fingerprint: [u8; 32],
    /// What a standing grant for statements like it would be bound to.
    pub shape: Shape,
    /// What of it a run would compare.
    pub in_run: InRun,
    /// The standing grant that its decision made.
    pub standing_grant: Option<StandingGrantId>,
    /// The standing grant by which it ran without a person.
    pub covered_by: Option<CoveredBy>,
    /// Redacted ones without their values.
    pub parameters: Vec<Parameter>,
    /// Labels of the columns that it touches.
    pub column_labels: Vec<String>,
    pub transaction: Transaction,
    pub copies_in: bool,
    /// What the client says of itself: claimed, not verified.
    pub claimed: BTreeMap<String, String>,
    /// What the server says of the session: search_path, role …
    pub facts: BTreeMap<String, String>,
    /// The names of those facts whose values are withheld: what a value says of itself may be the agent's word.
    pub withheld_facts: BTreeSet<String>,
    /// What it would do to the tables around it; filled in while it waits.
    pub impact: Impact,
    /// Identity of the names it resolved to.
    pub names: String,
    /// Generation of the rules that held it.
    pub rules: [u8; 32],
    /// Name of the rule that held it.
    pub rule: String,
    /// Line of that rule in its file; 0 if no rule matched.
    pub rule_line: u32,
    pub risk: Risk,
    pub reasons: Vec<String>,
    /// Whose approvals the rule asks for.
    pub requirement: Requirement,
    /// The groups that decide once it was escalated; empty: it cannot be.
    pub escalate_to: Vec<String>,
    pub escalated_at: Option<Timestamp>,
    /// Who has asked whom to approve instead.
    pub delegations: Vec<Delegation>,
    pub stakes: Stakes,
    /// What people have said so far, oldest first.
    pub decisions: Vec<Approval>,
    /// What was said besides, oldest first.
    pub discussion: Vec<Remark>,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
    /// Until when its client waits; in the past once it has left.
    pub wait_ends_at: Timestamp,
    /// Until when a person may decide.
    pub expires_at: Timestamp,
}

/// Whether somebody with these groups is in one of those asked for.
fn is_in(has: Option<&BTreeSet<String>>, asked: &[String]) -> bool {
    has.is_none_or(|has| asked.iter().any(|group| has.contains(group)))
}

impl Approval {
    /// Somebody who may have said this and may be among `hands`, too.
    fn shared_with(&self, hands: &BTreeSet<PersonName>) -> Option<PersonName> {
        hands
            .iter()
            .find(|hand| self.by == **hand || self.token_seen_by.contains(hand))
            .cloned()
    }
}

impl HeldRequest {
    /// Whether a value of it is withheld until somebody who may decide asks for it.
    pub fn has_withheld(&self) -> bool {
        self.parameters.iter().any(Parameter::is_redacted) || !self.withheld_facts.is_empty()
    }

    /// Whether it is noted that a person was shown what is withheld of it.
    pub fn was_revealed_to(&self, person: &PersonName) -> bool {
        self.revealed_at(person).is_some()
    }

    /// When that was last.
    pub fn revealed_at(&self, person: &PersonName) -> Option<Timestamp> {
        let mut said = self.discussion.iter().rev();
        said.find(|said| {
            said.kind == RemarkKind::Revealed && matches!(&said.by, Speaker::Person(by) if by == person)
        })
        .map(|said| said.at)
    }

    /// The approver, and the one person who may be behind that approval and behind another one by `hands`.
    pub fn approved_by_one_of(&self, hands: &BTreeSet<PersonName>) -> Option<(PersonName, PersonName)> {
        let mut approvals = self.decisions.iter().filter(|said| said.approves);
        approvals.find_map(|said| Some((said.by.clone(), said.shared_with(hands)?)))
    }

    /// The question that the agent has not answered yet, and who asks.
    pub fn open_question(&self) -> Option<(&PersonName, &str)> {
        let said = self.discussion.iter().rev();
        let mut exchange =
            said.filter(|remark| matches!(remark.kind, RemarkKind::Question | RemarkKind::Reply));
        let last = exchange.next()?;
        match (&last.by, last.kind) {
            (Speaker::Person(by), RemarkKind::Question) => Some((by, &last.text)),
            _answered => None,
        }
    }

    /// Who is needed, and who of them has approved.
    pub fn needs(&self) -> Vec<Need> {
        let requirement = self.requirement_now();
        let approvals = self.approvals();
        let filled = requirement.filled(approvals.len(), |person, groups| {
            is_in(approvals[person].groups.as_ref(), groups)
        });
        let needs = requirement.terms().iter().zip(filled);
        needs
            .map(|(term, people)| Need {
                groups: match &term.groups[..] {
                    [] => vec!["any approver".to_owned()],
                    named => named.to_vec(),
                },
                needed: term.people,
                by: people
                    .iter()
                    .map(|person| approvals[*person].by.clone())
                    .collect(),
            })
            .collect()
    }

    /// Whose approvals it takes now: once escalated, as many people of the next groups.
    pub fn requirement_now(&self) -> Requirement {
        match self.escalated_at {
            Some(_) => Requirement::of(self.escalate_to.clone(), self.requirement.people()),
            None => self.requirement.clone(),
        }
    }

    /// The groups whose people may deny it, ask, escalate: the first ones stay among them. Empty: every approver.
    pub fn groups_concerned(&self) -> Vec<String> {
        let mut groups = self.requirement.groups();
        if self.escalated_at.is_some() && !groups.is_empty() {
            groups.extend(self.escalate_to.iter().cloned());
        }
        groups
    }

    /// The approval that one person gave alone, if one did.
    pub fn glass_broken(&self) -> Option<&Approval> {
        let mut said = self.decisions.iter();
        said.find(|said| said.approves && said.authority == Authority::BreakGlass)
    }

    /// Whether so many have approved as it takes; or one person has, who alone is enough.
    pub fn is_approved_by_enough(&self) -> bool {
        if self.glass_broken().is_some() {
            return true;
        }
        let approvals = self.approvals();
        self.requirement_now().is_met(approvals.len(), |person, groups| {
            is_in(approvals[person].groups.as_ref(), groups)
        })
    }

    /// Whether one more approval, by somebody in these groups, would count.
    pub fn would_count(&self, more: &BTreeSet<String>) -> bool {
        let approvals = self.approvals();
        let requirement = self.requirement_now();
        let counted = |people: usize| -> usize {
            let filled = requirement.filled(people, |person, groups| {
                let said = approvals.get(person).map(|said| said.groups.as_ref());
                is_in(said.unwrap_or(Some(more)), groups)
            });
            filled.iter().map(Vec::len).sum()
        };
        counted(approvals.len() + 1) > counted(approvals.len())
    }

    /// To whom a person has delegated it.
    pub fn delegated_by(&self, person: &PersonName) -> Option<&PersonName> {
        let mut delegations = self.delegations.iter();
        delegations
            .find(|delegation| delegation.from == *person)
            .map(|delegation| &delegation.to)
    }

    /// Since when those who are asked now are asked.
    pub fn asked_since(&self) -> Timestamp {
        self.escalated_at.unwrap_or(self.created_at)
    }

    fn approvals(&self) -> Vec<&Approval> {
        self.decisions.iter().filter(|said| said.approves).collect()
    }

    /// What its approvals put round its run: of each guard the narrowest.
    pub fn guards(&self) -> Guards {
        let approvals = self.decisions.iter().filter(|said| said.approves);
        approvals.fold(Guards::default(), |all, said| all.narrowest(said.guards))
    }

    /// The people who approved it, each once.
    pub fn approved_by(&self) -> Vec<PersonName> {
        let mut people: Vec<PersonName> = Vec::new();
        for said in self.decisions.iter().filter(|said| said.approves) {
            if !people.contains(&said.by) {
                people.push(said.by.clone());
            }
        }
        people
    }
}

/// What stands in a text instead of a password or verifier.
const MASK: &[u8] = b"********";

/// `text` with every range that the judgement calls secret replaced by eight stars.
pub fn masked(text: &[u8], judgement: &Judgement) -> Vec<u8> {
    mask_within(text, 0..text.len(), judgement)
}

fn mask_within(text: &[u8], part: std::ops::Range<usize>, judgement: &Judgement) -> Vec<u8> {
    let mut secrets: Vec<_> = judgement
        .actions
        .iter()
        .flat_map(|action| action.secrets.iter().cloned())
        .collect();
    secrets.sort_by_key(|range| (range.start, range.end));
    let mut shown = Vec::new();
    let end = part.end.min(text.len());
    let mut at = part.start.min(end);
    for secret in secrets {
        if secret.end <= at || secret.start >= end {
            continue;
        }
        shown.extend_from_slice(&text[at..secret.start.max(at)]);
        shown.extend_from_slice(MASK);
        at = secret.end.min(end);
    }
    shown.extend_from_slice(&text[at..end]);
    shown
}

impl HeldStatement {
    /// The statements of a message, each with its own bytes.
    pub fn of(text: &[u8], judgement: &Judgement) -> Vec<Self> {
        judgement
            .actions
            .iter()
            .map(|action| Self {
                text: mask_within(text, action.span.clone(), judgement),
                class: action.class,
                breadth: action.breadth,
                verb: action.verb.clone(),
                tables: action.tables.clone(),
                functions: action.functions.clone(),
                reasons: action.reasons.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_withheld_value_tells_no_more_than_about_how_long_it_is() {
        let parameter = |value: Option<&str>| Parameter {
            index: 1,
            type_oid: 25,
            type_name: "text".to_owned(),
            format: ParameterFormat::Text,
            bytes: value.map_or(0, str::len) as u64,
            value: value.map(str::to_owned),
            hex: None,
            redacted: vec!["pii".to_owned()],
        };
        let kept = parameter(Some("123-45-6789")).kept();
        assert_eq!((kept.value.as_deref(), kept.bytes), (None, 16));
        assert_eq!(parameter(None).kept(), kept, "nor whether it is NULL");
        assert_eq!(parameter(Some(&"x".repeat(17))).kept().bytes, 64);
        assert_eq!(length_class(u64::MAX), u64::MAX);
    }

    #[test]
    fn an_id_is_read_as_people_type_it() {
        let id = RequestId::from_random(0x2a5f_1c3d);
        assert_eq!(RequestId::parse(id.as_str()), Some(id));
        assert_eq!(RequestId::parse(&id.as_str().to_lowercase()), Some(id));
        assert_eq!(RequestId::parse("7k3foq"), RequestId::parse("7K3F0Q"));
        assert_eq!(RequestId::parse("7K3FlQ"), RequestId::parse("7K3F1Q"));
        for wrong in ["", "7K3F9", "7K3F9QQ", "7K3F9U", "7K3F9é", "7K3F9 "] {
            assert_eq!(RequestId::parse(wrong), None, "{wrong}");
        }
    }
}
