//! One record of the log, read back from its canonical bytes.
//! Never panics and never skips what it does not know: such bytes are an error.
//! Read `journal/read.rs` next, which finds records on disk.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use super::entry::{Kind, LanePosition, VERSION, tag};
use super::value::{Form, Salt, commitment};
use crate::clock::Timestamp;
use crate::identity::principal::{AttemptId, SessionId};

/// A record as people query it: flat, absent fields left out. Field names are those of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Where it stands in the journal; the reader fills it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<RecordId>,
    #[serde(serialize_with = "as_text")]
    pub time: Timestamp,
    #[serde(serialize_with = "as_word")]
    pub kind: Kind,
    #[serde(flatten)]
    pub fields: Fields,
}

/// What a record says. Which fields it has depends on its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fields {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_text")]
    pub session: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_text")]
    pub attempt: Option<AttemptId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_user: Option<String>,
    /// Of the principal, when the session began.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_as: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The standing grant that it is about, or that let it pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The request whose decision made that grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_in: Option<String>,
    /// The requests of a transaction.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The server's command tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// How a person showed who they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// When an approver had given a second factor last before deciding.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_text")]
    pub second_factor_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_hex")]
    pub text_sha256: Option<[u8; 32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_bytes: Option<u64>,
    /// The statement; the reader joins it to its attempt.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_statement")]
    pub text: Option<Vec<u8>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_hex")]
    pub fingerprint: Option<[u8; 32]>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_hex")]
    pub digest: Option<[u8; 32]>,
    /// SHA-256 of the rule file.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_hex")]
    pub generation: Option<[u8; 32]>,
    /// What stands in that file, if it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules_text: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// Labels of the columns that the attempt touches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub column_labels: Vec<String>,
    /// Not verified.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claimed: Vec<Claim>,
    /// What became of the attempt; the reader joins it when one attempt is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<Record>>,
    /// Of a pruning: how long records are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<String>,
    /// How many records are gone, how many of them by this pruning, with how many segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned_now: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segments: Option<u64>,
    /// The times of the oldest and of the newest of those that are gone.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_text")]
    pub oldest: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_text")]
    pub newest: Option<Timestamp>,
    /// Over the roots that stay of them.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_hex")]
    pub roots_sha256: Option<[u8; 32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<LanePosition>,
}

/// One parameter of an attempt, as it was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Parameter {
    pub index: u16,
    pub type_oid: u32,
    pub type_name: String,
    pub format: String,
    /// Absent with `hex` absent too: NULL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
    pub bytes: u64,
    /// The value is longer than what was kept of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// What the record itself says of the value (`audit/value.rs`); absent: NULL, or a record of version 0.1.0.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_hex")]
    pub commitment: Option<[u8; 32]>,
    /// With the value it gives the commitment; erased with it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_salt")]
    pub salt: Option<Salt>,
    /// It had a value, which has been erased.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub erased: bool,
    /// Labels of columns for which its value was never kept; `bytes` is then no less than its length.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<String>,
}

/// A value that was kept beside its attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeptValue {
    index: u16,
    form: Form,
    value: String,
    salt: Salt,
}

/// The record of an attempt's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    pub attempt: AttemptId,
    kept: Vec<KeptValue>,
    /// They were there, and zeros stand where they stood.
    pub is_erased: bool,
}

impl Values {
    /// Reads the record that stands before an attempt with values.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (head, fields) = Head::cut(bytes)?;
        if head.kind != Kind::Values {
            return Err(Malformed::Kind(head.kind as u8));
        }
        let (mut parts, mut kept, mut is_erased) = (AttemptParts::default(), Vec::new(), false);
        for field in fields {
            let (tag, value) = field?;
            match tag {
                tag::ATTEMPT_NUMBER => parts.number = Some(number(tag, value)?),
                tag::ATTEMPT_SESSION => parts.session = Some(session(tag, value)?),
                tag::KEPT => kept.push(kept_value(value)?),
                tag::ERASED if value.iter().all(|byte| *byte == 0) => is_erased = true,
                tag::ERASED => return Err(Malformed::Value(tag)),
                unknown => return Err(Malformed::Tag(unknown)),
            }
        }
        let attempt = parts.join()?.ok_or(Malformed::Missing(tag::ATTEMPT_NUMBER))?;
        // Erased values are all gone: there is no half.
        if is_erased && !kept.is_empty() {
            return Err(Malformed::Value(tag::ERASED));
        }
        Ok(Self {
            attempt,
            kept,
            is_erased,
        })
    }

    /// Whether each value is the one that the attempt's record was made with. An erased one is not missing.
    pub fn agree_with(&self, fields: &Fields) -> Result<(), Malformed> {
        let committed = |kept: &KeptValue| {
            let mut parameters = fields.parameters.iter();
            let parameter = parameters.find(|parameter| parameter.index == kept.index)?;
            parameter.commitment
        };
        let agrees = |kept: &KeptValue| {
            committed(kept).is_some_and(|known| known == commitment(&kept.salt, kept.form, &kept.value))
        };
        if fields.attempt == Some(self.attempt) && self.kept.iter().all(agrees) {
            Ok(())
        } else {
            Err(Malformed::Value(tag::COMMITMENT))
        }
    }
}

/// Something a client says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Claim {
    pub key: String,
    pub value: String,
}

/// A record's place: the lane, and its number in it, counted from 0. Shown as `3.17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    pub lane: u16,
    pub number: u64,
}

/// Bytes that are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the record ends early")]
    Short,
    #[error("record version {0} is not known to this program; it may be newer")]
    Version(u8),
    #[error("record kind {0} is not known to this program; it may be newer")]
    Kind(u8),
    #[error("field {0:#04x} is not known to this program; it may be newer")]
    Tag(u8),
    #[error("field {0:#04x} is out of order or stands twice")]
    Order(u8),
    #[error("field {0:#04x} holds no valid value")]
    Value(u8),
    #[error("field {0:#04x} is missing")]
    Missing(u8),
}

impl Record {
    /// Reads one whole entry; `id` stays empty.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (head, fields) = Head::cut(bytes)?;
        let mut record = Self {
            id: None,
            time: head.time,
            kind: head.kind,
            fields: Fields::default(),
        };
        let mut attempt = AttemptParts::default();
        for field in fields {
            let (tag, value) = field?;
            record.fields.set(tag, value, &mut attempt)?;
        }
        record.fields.attempt = attempt.join()?;
        record.fields.check(head.kind)?;
        Ok(record)
    }
}

impl Fields {
    /// About how much memory the record takes: its statement and values, which have no small limit.
    pub fn bytes(&self) -> usize {
        let length = |value: &Option<String>| value.as_ref().map_or(0, String::len);
        let values = self
            .parameters
            .iter()
            .map(|parameter| length(&parameter.value) + length(&parameter.hex));
        let texts = self.text.as_ref().map_or(0, Vec::len) + length(&self.rules_text);
        texts + values.sum::<usize>() + size_of::<Self>()
    }

    /// Puts the values beside their parameters; `None`: they have been erased. Values of another attempt were left
    /// behind by a write that failed, and say nothing.
    pub fn join(&mut self, values: Option<Values>) -> Result<(), Malformed> {
        let values = values.filter(|values| Some(values.attempt) == self.attempt);
        if let Some(values) = &values {
            values.agree_with(self)?;
        }
        let mut kept = values.map_or_else(Vec::new, |values| values.kept);
        let committed = self
            .parameters
            .iter_mut()
            .filter(|parameter| parameter.commitment.is_some());
        for parameter in committed {
            let place = kept.iter().position(|kept| kept.index == parameter.index);
            match place.map(|place| kept.swap_remove(place)) {
                Some(found) => {
                    parameter.salt = Some(found.salt);
                    match found.form {
                        Form::Text => parameter.value = Some(found.value),
                        Form::Hex => parameter.hex = Some(found.value),
                    }
                }
                None => parameter.erased = true,
            }
        }
        Ok(())
    }

    fn set(&mut self, tag: u8, value: &[u8], attempt: &mut AttemptParts) -> Result<(), Malformed> {
        let text = || text(tag, value).map(Some);
        let number = || number(tag, value).map(Some);
        match tag {
            tag::BOOT => self.boot = text()?,
            tag::VERSION => self.version = text()?,
            tag::PRINCIPAL => self.principal = text()?,
            tag::OWNER => self.owner = text()?,
            tag::PROFILE => self.profile = text()?,
            tag::SOURCE => self.source = text()?,
            tag::UPSTREAM => self.upstream = text()?,
            tag::DATABASE => self.database = text()?,
            tag::DATABASE_USER => self.database_user = text()?,
            tag::APPLICATION_NAME => self.application_name = text()?,
            tag::TLS => self.tls = text()?,
            tag::PROTOCOL => self.protocol = text()?,
            tag::CLASS => self.class = text()?,
            tag::VERDICT => self.verdict = text()?,
            tag::RULE => self.rule = text()?,
            tag::REQUEST => self.request = text()?,
            tag::OUTCOME => self.outcome = text()?,
            tag::COMMAND_TAG => self.tag = text()?,
            tag::SQLSTATE => self.sqlstate = text()?,
            tag::MESSAGE => self.message = text()?,
            tag::EVENT => self.event = text()?,
            tag::BY => self.by = text()?,
            tag::DETAIL => self.detail = text()?,
            tag::DECISION => self.decision = text()?,
            tag::APPROVER => self.approver = text()?,
            tag::REASON => self.reason = text()?,
            tag::CHANNEL => self.channel = text()?,
            tag::CHANGE => self.change = text()?,
            tag::FILE => self.file = text()?,
            tag::NAME => self.name = text()?,
            tag::QUERY => self.query = text()?,
            tag::GRANT => self.grant = text()?,
            tag::DECIDED_IN => self.decided_in = text()?,
            tag::READ_AS => self.read_as = text()?,
            tag::METHOD => self.method = text()?,
            tag::RULES_TEXT => self.rules_text = text()?,
            tag::RETENTION => self.retention = text()?,
            tag::TABLE => self.tables.extend(text()?),
            tag::REQUESTS => self.requests.extend(text()?),
            tag::ATTEMPT_NUMBER => attempt.number = number()?,
            tag::TEXT_BYTES => self.text_bytes = number()?,
            tag::ROWS => self.rows = number()?,
            tag::SECOND_FACTOR_AT => {
                let micros = i64::try_from(self::number(tag, value)?).map_err(|_| Malformed::Value(tag))?;
                self.second_factor_at = Some(Timestamp::from_micros(micros));
            }
            tag::PRUNED => self.pruned = number()?,
            tag::PRUNED_NOW => self.pruned_now = number()?,
            tag::SEGMENTS => self.segments = number()?,
            tag::OLDEST => self.oldest = Some(moment(tag, value)?),
            tag::NEWEST => self.newest = Some(moment(tag, value)?),
            tag::ROOTS_SHA256 => self.roots_sha256 = Some(array(tag, value)?),
            tag::SUCCESS => self.success = Some(flag(tag, value)?),
            tag::SESSION => self.session = Some(session(tag, value)?),
            tag::ATTEMPT_SESSION => attempt.session = Some(session(tag, value)?),
            tag::TEXT_SHA256 => self.text_sha256 = Some(array(tag, value)?),
            tag::FINGERPRINT => self.fingerprint = Some(array(tag, value)?),
            tag::DIGEST => self.digest = Some(array(tag, value)?),
            tag::GENERATION => self.generation = Some(array(tag, value)?),
            tag::TEXT => self.text = Some(value.to_vec()),
            tag::COLUMN_LABEL => self.column_labels.extend(text()?),
            tag::PARAMETER => self.parameters.push(parameter(value)?),
            tag::CLAIMED => self.claimed.push(claim(value)?),
            tag::POSITION => self.positions.push(position(value)?),
            tag::LABEL => {
                let label = claim(value)?;
                self.labels.insert(label.key, label.value);
            }
            unknown => return Err(Malformed::Tag(unknown)),
        }
        Ok(())
    }

    /// Whether the fields are there without which a record of this kind says nothing.
    fn check(&self, kind: Kind) -> Result<(), Malformed> {
        let is_there = |there: bool, tag: u8| {
            if there {
                Ok(())
            } else {
                Err(Malformed::Missing(tag))
            }
        };
        match kind {
            Kind::Boot => is_there(self.boot.is_some(), tag::BOOT),
            Kind::SessionStart => is_there(self.principal.is_some(), tag::PRINCIPAL),
            Kind::Login | Kind::SignIn => is_there(self.success.is_some(), tag::SUCCESS),
            Kind::Attempt => {
                is_there(self.attempt.is_some(), tag::ATTEMPT_NUMBER)?;
                is_there(self.text_sha256.is_some(), tag::TEXT_SHA256)?;
                is_there(self.verdict.is_some(), tag::VERDICT)
            }
            Kind::Outcome => {
                is_there(self.attempt.is_some(), tag::ATTEMPT_NUMBER)?;
                is_there(self.outcome.is_some(), tag::OUTCOME)
            }
            Kind::TransactionEnd => is_there(self.outcome.is_some(), tag::OUTCOME),
            Kind::RequestEvent => is_there(self.request.is_some() && self.event.is_some(), tag::EVENT),
            Kind::Decision => is_there(self.request.is_some() && self.decision.is_some(), tag::DECISION),
            Kind::RulesChange | Kind::PeopleChange | Kind::CertificatesChange => {
                is_there(self.change.is_some(), tag::CHANGE)
            }
            Kind::Notification => is_there(self.channel.is_some() && self.event.is_some(), tag::CHANNEL),
            Kind::StandingGrant => is_there(self.grant.is_some() && self.event.is_some(), tag::GRANT),
            Kind::Text => is_there(self.text_sha256.is_some() && self.text.is_some(), tag::TEXT),
            // Read by `Values::decode`.
            Kind::Values => Err(Malformed::Kind(kind as u8)),
            Kind::ValuesErased => is_there(self.name.is_some(), tag::NAME),
            Kind::Pruned => {
                is_there(self.pruned.is_some() && self.newest.is_some(), tag::PRUNED)?;
                is_there(self.roots_sha256.is_some(), tag::ROOTS_SHA256)
            }
            Kind::SessionEnd | Kind::LogQuery => Ok(()),
        }
    }
}

/// The fixed beginning of every entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub kind: Kind,
    pub time: Timestamp,
}

impl Head {
    /// Cuts the head off; what follows are the fields, not yet looked at.
    pub fn cut(bytes: &[u8]) -> Result<(Self, FieldCutter<'_>), Malformed> {
        let (head, rest) = bytes.split_first_chunk::<10>().ok_or(Malformed::Short)?;
        let [version, kind, time @ ..] = head;
        if *version != VERSION {
            return Err(Malformed::Version(*version));
        }
        let kind = Kind::from_number(*kind).ok_or(Malformed::Kind(*kind))?;
        let micros = i64::try_from(u64::from_be_bytes(*time)).map_err(|_| Malformed::Short)?;
        Ok((
            Self {
                kind,
                time: Timestamp::from_micros(micros),
            },
            FieldCutter { rest, last: None },
        ))
    }
}

/// Cuts a row of fields into tags and values, without looking at the values. Stops at the first error.
#[derive(Clone, Debug)]
pub struct FieldCutter<'a> {
    rest: &'a [u8],
    last: Option<u8>,
}

impl<'a> FieldCutter<'a> {
    const fn of(group: &'a [u8]) -> Self {
        Self {
            rest: group,
            last: None,
        }
    }

    fn field(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let (tag, rest) = self.rest.split_first().ok_or(Malformed::Short)?;
        let in_order = self
            .last
            .is_none_or(|last| last < *tag || (last == *tag && tag::repeats(*tag)));
        if !in_order {
            return Err(Malformed::Order(*tag));
        }
        let (length, rest) = length(*tag, rest)?;
        let (value, rest) = rest.split_at_checked(length).ok_or(Malformed::Short)?;
        self.rest = rest;
        self.last = Some(*tag);
        Ok((*tag, value))
    }
}

impl<'a> Iterator for FieldCutter<'a> {
    type Item = Result<(u8, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// The two fields that name an attempt.
#[derive(Default)]
struct AttemptParts {
    session: Option<SessionId>,
    number: Option<u64>,
}

impl AttemptParts {
    const fn join(self) -> Result<Option<AttemptId>, Malformed> {
        match (self.session, self.number) {
            (Some(session), Some(number)) => Ok(Some(AttemptId { session, number })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(Malformed::Missing(tag::ATTEMPT_NUMBER)),
            (None, Some(_)) => Err(Malformed::Missing(tag::ATTEMPT_SESSION)),
        }
    }
}

/// LEB128 in its shortest form, at most five bytes.
fn length(tag: u8, bytes: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let mut length = 0_usize;
    for (place, byte) in bytes.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7F) << (place * 7);
        if byte & 0x80 == 0 {
            let is_shortest = *byte != 0 || place == 0;
            return if is_shortest {
                Ok((length, &bytes[place + 1..]))
            } else {
                Err(Malformed::Value(tag))
            };
        }
    }
    Err(Malformed::Short)
}

fn text(tag: u8, value: &[u8]) -> Result<String, Malformed> {
    std::str::from_utf8(value)
        .map(str::to_owned)
        .map_err(|_| Malformed::Value(tag))
}

/// Big endian, no leading zero byte, at most eight.
pub(crate) fn number(tag: u8, value: &[u8]) -> Result<u64, Malformed> {
    if value.len() > 8 || value.first() == Some(&0) {
        return Err(Malformed::Value(tag));
    }
    Ok(value.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn moment(tag: u8, value: &[u8]) -> Result<Timestamp, Malformed> {
    small(tag, value).map(Timestamp::from_micros)
}

fn small<T: TryFrom<u64>>(tag: u8, value: &[u8]) -> Result<T, Malformed> {
    T::try_from(number(tag, value)?).map_err(|_| Malformed::Value(tag))
}

fn flag(tag: u8, value: &[u8]) -> Result<bool, Malformed> {
    match number(tag, value)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed::Value(tag)),
    }
}

fn array<const N: usize>(tag: u8, value: &[u8]) -> Result<[u8; N], Malformed> {
    value.try_into().map_err(|_| Malformed::Value(tag))
}

fn session(tag: u8, value: &[u8]) -> Result<SessionId, Malformed> {
    array(tag, value).map(u64::from_be_bytes).map(SessionId)
}

fn parameter(group: &[u8]) -> Result<Parameter, Malformed> {
    let mut parameter = Parameter::default();
    for field in FieldCutter::of(group) {
        let (tag, value) = field?;
        match tag {
            tag::TYPE_NAME => parameter.type_name = text(tag, value)?,
            tag::FORMAT => parameter.format = text(tag, value)?,
            tag::VALUE => parameter.value = Some(text(tag, value)?),
            tag::HEX => parameter.hex = Some(text(tag, value)?),
            tag::INDEX => parameter.index = small(tag, value)?,
            tag::TYPE_OID => parameter.type_oid = small(tag, value)?,
            tag::BYTES => parameter.bytes = number(tag, value)?,
            tag::COLUMN_LABEL => parameter.redacted.push(text(tag, value)?),
            tag::CUT => parameter.cut = flag(tag, value)?,
            tag::COMMITMENT => parameter.commitment = Some(array(tag, value)?),
            unknown => return Err(Malformed::Tag(unknown)),
        }
    }
    Ok(parameter)
}

fn kept_value(group: &[u8]) -> Result<KeptValue, Malformed> {
    let (mut found, mut index, mut salt) = (None, None, None);
    for field in FieldCutter::of(group) {
        let (tag, value) = field?;
        match tag {
            tag::VALUE => found = Some((Form::Text, text(tag, value)?)),
            tag::HEX => found = Some((Form::Hex, text(tag, value)?)),
            tag::INDEX => index = Some(small(tag, value)?),
            tag::SALT => salt = Some(array(tag, value)?),
            unknown => return Err(Malformed::Tag(unknown)),
        }
    }
    let (form, value) = found.ok_or(Malformed::Missing(tag::VALUE))?;
    Ok(KeptValue {
        index: index.ok_or(Malformed::Missing(tag::INDEX))?,
        form,
        value,
        salt: salt.ok_or(Malformed::Missing(tag::SALT))?,
    })
}

fn claim(group: &[u8]) -> Result<Claim, Malformed> {
    let mut claim = Claim::default();
    for field in FieldCutter::of(group) {
        let (tag, value) = field?;
        match tag {
            tag::KEY => claim.key = text(tag, value)?,
            tag::VALUE => claim.value = text(tag, value)?,
            unknown => return Err(Malformed::Tag(unknown)),
        }
    }
    Ok(claim)
}

fn position(group: &[u8]) -> Result<LanePosition, Malformed> {
    let mut position = LanePosition {
        lane: 0,
        durable: 0,
        found: 0,
        cut: 0,
    };
    for field in FieldCutter::of(group) {
        let (tag, value) = field?;
        match tag {
            tag::LANE => position.lane = small(tag, value)?,
            tag::DURABLE => position.durable = number(tag, value)?,
            tag::FOUND => position.found = number(tag, value)?,
            tag::CUT => position.cut = number(tag, value)?,
            unknown => return Err(Malformed::Tag(unknown)),
        }
    }
    Ok(position)
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.lane, self.number)
    }
}

impl RecordId {
    /// Reads what `Display` writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (lane, number) = text.split_once('.')?;
        Some(Self {
            lane: lane.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

impl Serialize for RecordId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_word<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

fn as_optional_text<S: Serializer>(
    value: &Option<impl fmt::Display>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

fn as_optional_salt<S: Serializer>(value: &Option<Salt>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(bytes) => serializer.collect_str(&Hex(bytes)),
        None => serializer.serialize_none(),
    }
}

fn as_optional_hex<S: Serializer>(value: &Option<[u8; 32]>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(bytes) => serializer.collect_str(&Hex(bytes)),
        None => serializer.serialize_none(),
    }
}

/// UTF-8 as it is; anything else as `\x` and hex, the way PostgreSQL prints bytes.
fn as_statement<S: Serializer>(value: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    match value.as_deref().map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        Some((Ok(text), _)) => serializer.serialize_str(text),
        Some((Err(_), bytes)) => serializer.collect_str(&format_args!("\\x{}", Hex(bytes))),
        None => serializer.serialize_none(),
    }
}

/// Bytes in lower case hex.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
