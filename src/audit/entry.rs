//! One record of the log before it is written, and its canonical bytes.
//! Never allocates while it encodes and never drops a field in silence: what is too long is cut and marked.
//! Read `record.rs` next, which turns the bytes back.
//!
//! The bytes, version 1 (`tests/golden/decode.py` reads them in thirty lines):
//!
//! ```text
//! entry   version u8 = 1, kind u8, time u64 (microseconds since 1970, big endian), field*
//! field   tag u8, length (LEB128, shortest form), value
//! value   by tag: 0x00-0x3F text, UTF-8 · 0x40-0x7F number, big endian without leading zero bytes ·
//!         0x80-0xBF bytes · 0xC0-0xFF group: field*
//! ```
//! Tags never fall; only those that may repeat stand twice in a row. An empty text or list has no field.
//! Parameter values stand beside their record: `value.rs`.
//!
//! Why not protobuf or JSON: these bytes are hashed, so there may be one spelling only, and an auditor without our
//! code must be able to read them in ten years.

use std::io::Write;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::record::Malformed;
use super::value::{Form, Kept, Salt, commitment};
use crate::clock::Timestamp;
use crate::identity::principal::{AttemptId, Peer, Profile, SessionId};
use crate::sql::action::Class;

/// The first byte of every entry.
pub const VERSION: u8 = 1;

/// Longest text of one field that is kept, except statement texts. Longer ones are cut at a letter.
pub const FIELD_BYTES_MAX: usize = 64 << 10;

/// All parameter values of one attempt together; the rest are named by type and length alone and marked as cut.
pub const PARAMETERS_BYTES_MAX: usize = 1 << 20;

/// Longest rule file whose text is kept; of longer ones the digest alone. Rules that people read are far shorter.
pub const RULES_TEXT_BYTES_MAX: usize = 256 << 10;

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub time: Timestamp,
    /// The client connection it happened on, if any.
    pub session: Option<SessionId>,
    pub body: Body<'a>,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// The journal was opened. Written by the journal itself.
    Boot {
        boot: &'a str,
        version: &'a str,
        /// Up to where each lane was known to be on disk, and up to where it was found to be whole.
        positions: &'a [LanePosition],
        /// What was signed and is gone; empty if nothing is.
        detail: &'a str,
    },
    SessionStart {
        peer: &'a Peer,
        application_name: &'a str,
        /// `TLSv1.3` and the like; empty without TLS.
        tls: &'a str,
    },
    SessionEnd {
        reason: &'a str,
    },
    Login {
        /// As the client sent it, known or not; a user of the database who passes through as `db:NAME`.
        principal: &'a str,
        source: IpAddr,
        success: bool,
        reason: &'a str,
    },
    Attempt(Attempt<'a>),
    Outcome(StatementOutcome<'a>),
    TransactionEnd {
        outcome: TransactionOutcome,
        requests: &'a [&'a str],
    },
    /// `held`, `reattached`, `detached`, `withdrawn`, `expired`, `stale`, `started`, `granted`, `lapsed`, `redeemed`,
    /// `outcome_unknown`, `finished`, `failed`; what people do: `comment`, `reviewed` and the rest of `RemarkKind`.
    RequestEvent {
        request: &'a str,
        event: &'a str,
        by: Option<&'a str>,
        detail: &'a str,
    },
    Decision(PersonsDecision<'a>),
    StandingGrant(GrantEvent<'a>),
    RulesChange(RulesChange<'a>),
    PeopleChange {
        /// `agent_added`, `token_issued` and so on.
        what: &'a str,
        name: &'a str,
        by: &'a str,
        /// Of a change of roles or groups: both before and after, as JSON.
        detail: &'a str,
    },
    LogQuery {
        by: &'a str,
        query: &'a str,
    },
    /// The parameter values of an attempt are to be erased; they are once this is on disk.
    ValuesErased {
        by: &'a str,
        reason: &'a str,
        /// Lane and number of the attempt's record.
        record: &'a str,
    },
    SignIn(SignIn<'a>),
    /// Certificates, keys, authorities or revocations were read again.
    CertificatesChange {
        /// `loaded` or `rejected`.
        change: &'a str,
        /// The section of the settings that names the files: `api`, `listen`, `upstream`.
        section: &'a str,
        /// A person, or `signal`.
        by: &'a str,
        /// What is wrong with them.
        detail: &'a str,
    },
    Notification(NotificationEvent<'a>),
    Pruned(Pruning<'a>),
}

/// A statement, before any byte of it went upstream.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    pub id: AttemptId,
    pub principal: &'a str,
    pub database: &'a str,
    pub database_user: &'a str,
    /// The statement, secrets masked. Kept once per segment; the record names it by SHA-256.
    pub text: &'a [u8],
    pub class: Class,
    /// `allow`, `hold` or `deny`.
    pub verdict: &'a str,
    pub rule: &'a str,
    /// `schema.name`, or `name` where the statement names no schema.
    pub tables: &'a [String],
    /// Labels of the columns that it touches.
    pub column_labels: &'a [String],
    pub fingerprint: [u8; 32],
    pub parameters: &'a [ParameterRecord<'a>],
    /// The request that holds it, if one does.
    pub request: Option<&'a str>,
    /// The standing grant that lets it pass without a person, if one does.
    pub grant: Option<GrantUse<'a>>,
    /// `simple` or `extended`; of MySQL `text`, `binary` or `prepare`.
    pub protocol: &'a str,
    /// The server and the settings that the text was read under, as `MysqlState` tells them; empty for PostgreSQL.
    pub read_as: &'a str,
    /// What the client says of itself; nobody has verified it.
    pub claimed: &'a [(&'a str, &'a str)],
}

/// What goes into an entry's bytes besides itself: the hash of its text and the salts of its values.
#[derive(Clone, Debug, Default)]
pub struct Seal {
    pub text_sha256: Option<[u8; 32]>,
    salts: Vec<Salt>,
}

/// The parameter values of an attempt, to be kept beside it.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    attempt: &'a Attempt<'a>,
    seal: &'a Seal,
}

/// One parameter of a statement. Neither `value` nor `hex`: NULL, unless it was cut.
#[derive(Clone, Copy, Debug)]
pub struct ParameterRecord<'a> {
    /// Counted from 1, as in `$1`.
    pub index: u16,
    pub type_oid: u32,
    pub type_name: &'a str,
    /// `text` or `binary`.
    pub format: &'a str,
    pub value: Option<&'a str>,
    /// The bytes of a value that could not be decoded.
    pub hex: Option<&'a str>,
    /// Length on the wire; of a redacted value no less than it is.
    pub bytes: u64,
    /// Labels of columns for which the value is not kept: then it is not even known whether it is NULL.
    pub redacted: &'a [String],
}

/// What became of a statement.
#[derive(Clone, Copy, Debug)]
pub struct StatementOutcome<'a> {
    pub attempt: AttemptId,
    pub kind: OutcomeKind,
    pub rows: Option<u64>,
    /// The server's command tag, `SELECT 3`.
    pub tag: &'a str,
    pub sqlstate: &'a str,
    pub message: &'a str,
    pub request: Option<&'a str>,
}

/// How a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutcomeKind {
    Ran,
    /// The server answered with an error.
    Failed,
    /// Never sent: a rule, a person or a limit said no.
    Refused,
    /// Never run: an earlier statement of its pipeline failed.
    Skipped,
    Cancelled,
    /// Sent, and nobody knows what became of it.
    Unknown,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionOutcome {
    Committed,
    RolledBack,
    Unknown,
}

/// What a person said of a request.
#[derive(Clone, Copy, Debug)]
pub struct PersonsDecision<'a> {
    pub request: &'a str,
    /// `approve` or `deny`.
    pub decision: &'a str,
    /// `break_glass` where one person approved alone, whatever the rule asked for; else empty.
    pub event: &'a str,
    pub approver: &'a str,
    pub reason: &'a str,
    /// `api`, `cli` and so on.
    pub channel: &'a str,
    pub digest: [u8; 32],
    /// What it covers where that is more than one run; empty: once.
    pub scope: &'a str,
    /// How the approver had signed in: `token`, `password`, `totp` or `passkey`.
    pub method: &'a str,
    /// When they had given a second factor last, if they had.
    pub second_factor_at: Option<Timestamp>,
}

/// Which standing grant lets a statement pass.
#[derive(Clone, Copy, Debug)]
pub struct GrantUse<'a> {
    pub grant: &'a str,
    /// The request whose decision made the grant.
    pub decided_in: &'a str,
}

/// Something that happened to a standing grant.
#[derive(Clone, Copy, Debug)]
pub struct GrantEvent<'a> {
    pub grant: &'a str,
    /// Of a use: the request that ran by it. Else the one whose decision made it.
    pub request: &'a str,
    /// The request whose decision made it.
    pub decided_in: &'a str,
    /// `made`, `used`, `revoked` or `lapsed`.
    pub event: &'a str,
    pub by: Option<&'a str>,
    pub detail: &'a str,
}

/// Another rule set took hold, or was refused.
#[derive(Clone, Copy, Debug)]
pub struct RulesChange<'a> {
    /// `loaded` or `rejected`.
    pub change: &'a str,
    pub file: &'a str,
    /// SHA-256 of the file.
    pub generation: [u8; 32],
    /// A person, or `signal`, `start`.
    pub by: &'a str,
    pub detail: &'a str,
    /// What stands in the file, of which `generation` is the digest; empty where it is not kept.
    pub text: &'a str,
}

/// A person came in, was turned away, or left.
#[derive(Clone, Copy, Debug)]
pub struct SignIn<'a> {
    /// As it was typed, known or not; cut where it is too long for a name. Empty where none was given.
    pub person: &'a str,
    pub source: IpAddr,
    /// `signed_in`, `refused`, `signed_out` or `stepped_up`.
    pub event: &'a str,
    /// `token`, `password`, `totp` or `passkey`.
    pub method: &'a str,
    pub success: bool,
    pub reason: &'a str,
}

/// What became of a way to tell people, or of one message on it.
#[derive(Clone, Copy, Debug)]
pub struct NotificationEvent<'a> {
    /// As the settings name it.
    pub channel: &'a str,
    /// `disabled`, `enabled`, `given_up` or `dropped`.
    pub event: &'a str,
    /// What the message was about, if it was one message.
    pub request: Option<&'a str>,
    pub by: Option<&'a str>,
    pub detail: &'a str,
}

/// Records past retention are to be removed; they are once this is under a checkpoint. What it says is of all records
/// that are gone by then, so the newest of its kind stands for those before it, which go the same way.
#[derive(Clone, Copy, Debug)]
pub struct Pruning<'a> {
    /// `countersign`: nobody asks for it but the settings.
    pub by: &'a str,
    /// How long records are kept, as settings write it: `400d`.
    pub retention: &'a str,
    /// All leaves below this one are gone; and how many of them go now, with how many segments.
    pub leaves: u64,
    pub now: u64,
    pub segments: u64,
    /// The times of the oldest and of the newest record that is gone.
    pub oldest: Timestamp,
    pub newest: Timestamp,
    /// SHA-256 over the roots that stay: of each 4,096 leaves one, from the left.
    pub roots_sha256: [u8; 32],
}

/// Where one lane of the journal stood when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct LanePosition {
    pub lane: u16,
    /// Records known to be on disk, counted from the lane's beginning.
    pub durable: u64,
    /// Records found whole.
    pub found: u64,
    /// Bytes of a torn end that were cut off.
    pub cut: u64,
}

/// The kind of a record; its number stands in the second byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Boot = 1,
    SessionStart = 2,
    SessionEnd = 3,
    Login = 4,
    Attempt = 5,
    Outcome = 6,
    TransactionEnd = 7,
    RequestEvent = 8,
    Decision = 9,
    RulesChange = 10,
    PeopleChange = 11,
    LogQuery = 12,
    /// A statement text, written before the first attempt of a segment that names it. Has no number of its own.
    Text = 13,
    CertificatesChange = 14,
    StandingGrant = 15,
    SignIn = 17,
    /// The parameter values of the attempt behind it. Has no number of its own, and can be erased.
    Values = 19,
    ValuesErased = 20,
    Notification = 18,
    Pruned = 21,
}

/// Field tags. The two high bits say how the value is read.
pub(crate) mod tag {
    pub const BOOT: u8 = 0x01;
    pub const VERSION: u8 = 0x02;
    pub const PRINCIPAL: u8 = 0x03;
    pub const OWNER: u8 = 0x04;
    pub const PROFILE: u8 = 0x05;
    pub const SOURCE: u8 = 0x06;
    pub const UPSTREAM: u8 = 0x07;
    pub const DATABASE: u8 = 0x08;
    pub const DATABASE_USER: u8 = 0x09;
    pub const APPLICATION_NAME: u8 = 0x0A;
    pub const TLS: u8 = 0x0B;
    pub const PROTOCOL: u8 = 0x0C;
    pub const CLASS: u8 = 0x0D;
    pub const VERDICT: u8 = 0x0E;
    pub const RULE: u8 = 0x0F;
    pub const REQUEST: u8 = 0x10;
    pub const OUTCOME: u8 = 0x11;
    pub const COMMAND_TAG: u8 = 0x12;
    pub const SQLSTATE: u8 = 0x13;
    pub const MESSAGE: u8 = 0x14;
    pub const EVENT: u8 = 0x15;
    pub const BY: u8 = 0x16;
    pub const DETAIL: u8 = 0x17;
    pub const DECISION: u8 = 0x18;
    pub const APPROVER: u8 = 0x19;
    pub const REASON: u8 = 0x1A;
    pub const CHANNEL: u8 = 0x1B;
    pub const CHANGE: u8 = 0x1C;
    pub const FILE: u8 = 0x1D;
    pub const NAME: u8 = 0x1E;
    pub const QUERY: u8 = 0x1F;
    pub const TYPE_NAME: u8 = 0x20;
    pub const FORMAT: u8 = 0x21;
    pub const VALUE: u8 = 0x22;
    pub const HEX: u8 = 0x23;
    pub const KEY: u8 = 0x24;
    pub const GRANT: u8 = 0x25;
    pub const DECIDED_IN: u8 = 0x26;
    pub const READ_AS: u8 = 0x27;
    pub const METHOD: u8 = 0x2C;
    pub const RULES_TEXT: u8 = 0x2E;
    pub const RETENTION: u8 = 0x2F;
    /// Repeats.
    pub const TABLE: u8 = 0x30;
    /// Repeats.
    pub const REQUESTS: u8 = 0x31;
    /// Of an attempt: a label of a column that it touches. In a parameter: one for which its value is not kept. Repeats.
    pub const COLUMN_LABEL: u8 = 0x38;

    pub const ATTEMPT_NUMBER: u8 = 0x40;
    pub const TEXT_BYTES: u8 = 0x41;
    pub const ROWS: u8 = 0x42;
    pub const SUCCESS: u8 = 0x43;
    pub const INDEX: u8 = 0x44;
    pub const TYPE_OID: u8 = 0x45;
    pub const BYTES: u8 = 0x46;
    pub const CUT: u8 = 0x47;
    pub const LANE: u8 = 0x48;
    pub const DURABLE: u8 = 0x49;
    pub const FOUND: u8 = 0x4A;
    pub const PRUNED: u8 = 0x4B;
    pub const PRUNED_NOW: u8 = 0x4C;
    pub const SEGMENTS: u8 = 0x4D;
    pub const OLDEST: u8 = 0x4E;
    pub const NEWEST: u8 = 0x4F;
    /// In microseconds since 1970.
    pub const SECOND_FACTOR_AT: u8 = 0x50;

    pub const SESSION: u8 = 0x80;
    pub const ATTEMPT_SESSION: u8 = 0x81;
    pub const TEXT_SHA256: u8 = 0x82;
    pub const FINGERPRINT: u8 = 0x83;
    pub const DIGEST: u8 = 0x84;
    pub const GENERATION: u8 = 0x85;
    pub const TEXT: u8 = 0x86;
    pub const COMMITMENT: u8 = 0x8B;
    pub const SALT: u8 = 0x8C;
    /// Zeros where values stood. Repeats.
    pub const ERASED: u8 = 0x8D;
    pub const ROOTS_SHA256: u8 = 0x8E;

    /// Repeats.
    pub const PARAMETER: u8 = 0xC0;
    /// Repeats.
    pub const CLAIMED: u8 = 0xC1;
    /// Repeats.
    pub const POSITION: u8 = 0xC2;
    /// Repeats.
    pub const LABEL: u8 = 0xC3;
    /// Repeats.
    pub const KEPT: u8 = 0xC5;

    pub const fn repeats(tag: u8) -> bool {
        matches!(
            tag,
            TABLE | REQUESTS | COLUMN_LABEL | ERASED | PARAMETER | CLAIMED | POSITION | LABEL | KEPT
        )
    }
}

impl Entry<'_> {
    /// Hashes its text and draws a salt for each of its values. `draw`: 16 random bytes each time.
    pub fn seal(&self, draw: impl FnMut() -> Salt) -> Seal {
        let values = self.attempt().map_or(0, |attempt| attempt.parameters.len());
        Seal {
            text_sha256: self.text().map(text_sha256),
            salts: std::iter::repeat_with(draw).take(values).collect(),
        }
    }

    /// Appends the canonical bytes. `seal` is its own; `time` does not lie before the lane's last record.
    pub fn encode(&self, time: Timestamp, seal: &Seal, out: &mut Vec<u8>) {
        put_head(self.kind(), time, out);
        match &self.body {
            Body::Boot {
                boot,
                version,
                positions,
                detail,
            } => {
                put_text(tag::BOOT, boot, out);
                put_text(tag::VERSION, version, out);
                put_text(tag::DETAIL, detail, out);
                self.put_session(out);
                positions.iter().for_each(|position| put_position(position, out));
            }
            Body::SessionStart {
                peer,
                application_name,
                tls,
            } => {
                put_peer(peer, out);
                put_text(tag::APPLICATION_NAME, application_name, out);
                put_text(tag::TLS, tls, out);
                self.put_session(out);
                peer.labels
                    .iter()
                    .for_each(|(name, value)| put_pair(tag::LABEL, name, value, out));
            }
            Body::SessionEnd { reason } => {
                put_text(tag::REASON, reason, out);
                self.put_session(out);
            }
            Body::Login {
                principal,
                source,
                success,
                reason,
            } => {
                put_text(tag::PRINCIPAL, principal, out);
                put_address(*source, out);
                put_text(tag::REASON, reason, out);
                put_number(tag::SUCCESS, u64::from(*success), out);
                self.put_session(out);
            }
            Body::Attempt(attempt) => self.put_attempt(attempt, seal, out),
            Body::Outcome(outcome) => self.put_outcome(outcome, out),
            Body::TransactionEnd { outcome, requests } => {
                put_text(tag::OUTCOME, outcome.as_str(), out);
                requests
                    .iter()
                    .for_each(|request| put_text(tag::REQUESTS, request, out));
                self.put_session(out);
            }
            Body::RequestEvent {
                request,
                event,
                by,
                detail,
            } => {
                put_text(tag::REQUEST, request, out);
                put_text(tag::EVENT, event, out);
                put_text(tag::BY, by.unwrap_or_default(), out);
                put_text(tag::DETAIL, detail, out);
                self.put_session(out);
            }
            Body::Decision(decision) => {
                put_text(tag::REQUEST, decision.request, out);
                put_text(tag::EVENT, decision.event, out);
                put_text(tag::DETAIL, decision.scope, out);
                put_text(tag::DECISION, decision.decision, out);
                put_text(tag::APPROVER, decision.approver, out);
                put_text(tag::REASON, decision.reason, out);
                put_text(tag::CHANNEL, decision.channel, out);
                put_text(tag::METHOD, decision.method, out);
                if let Some(at) = decision.second_factor_at {
                    put_number(
                        tag::SECOND_FACTOR_AT,
                        u64::try_from(at.micros()).unwrap_or(0),
                        out,
                    );
                }
                self.put_session(out);
                put_bytes(tag::DIGEST, &decision.digest, out);
            }
            Body::StandingGrant(told) => {
                put_text(tag::REQUEST, told.request, out);
                put_text(tag::EVENT, told.event, out);
                put_text(tag::BY, told.by.unwrap_or_default(), out);
                put_text(tag::DETAIL, told.detail, out);
                put_text(tag::GRANT, told.grant, out);
                put_text(tag::DECIDED_IN, told.decided_in, out);
                self.put_session(out);
            }
            Body::RulesChange(rules) => {
                put_text(tag::BY, rules.by, out);
                put_text(tag::DETAIL, rules.detail, out);
                put_text(tag::CHANGE, rules.change, out);
                put_text(tag::FILE, rules.file, out);
                // Half a rule file would say something else, so it is whole or not there.
                if (1..=RULES_TEXT_BYTES_MAX).contains(&rules.text.len()) {
                    put_bytes(tag::RULES_TEXT, rules.text.as_bytes(), out);
                }
                self.put_session(out);
                put_bytes(tag::GENERATION, &rules.generation, out);
            }
            Body::PeopleChange {
                what,
                name,
                by,
                detail,
            } => {
                put_text(tag::BY, by, out);
                put_text(tag::DETAIL, detail, out);
                put_text(tag::CHANGE, what, out);
                put_text(tag::NAME, name, out);
                self.put_session(out);
            }
            Body::CertificatesChange {
                change,
                section,
                by,
                detail,
            } => {
                put_text(tag::BY, by, out);
                put_text(tag::DETAIL, detail, out);
                put_text(tag::CHANGE, change, out);
                put_text(tag::NAME, section, out);
                self.put_session(out);
            }
            Body::Notification(told) => {
                put_text(tag::REQUEST, told.request.unwrap_or_default(), out);
                put_text(tag::EVENT, told.event, out);
                put_text(tag::BY, told.by.unwrap_or_default(), out);
                put_text(tag::DETAIL, told.detail, out);
                put_text(tag::CHANNEL, told.channel, out);
                self.put_session(out);
            }
            Body::Pruned(told) => self.put_pruning(told, out),
            Body::LogQuery { by, query } => {
                put_text(tag::BY, by, out);
                put_text(tag::QUERY, query, out);
                self.put_session(out);
            }
            Body::ValuesErased { by, reason, record } => {
                put_text(tag::BY, by, out);
                put_text(tag::REASON, reason, out);
                put_text(tag::NAME, record, out);
                self.put_session(out);
            }
            Body::SignIn(told) => {
                put_address(told.source, out);
                put_text(tag::EVENT, told.event, out);
                put_text(tag::REASON, told.reason, out);
                put_text(tag::NAME, told.person, out);
                put_text(tag::METHOD, told.method, out);
                put_number(tag::SUCCESS, u64::from(told.success), out);
                self.put_session(out);
            }
        }
    }

    pub const fn kind(&self) -> Kind {
        match self.body {
            Body::Boot { .. } => Kind::Boot,
            Body::SessionStart { .. } => Kind::SessionStart,
            Body::SessionEnd { .. } => Kind::SessionEnd,
            Body::Login { .. } => Kind::Login,
            Body::Attempt(_) => Kind::Attempt,
            Body::Outcome(_) => Kind::Outcome,
            Body::TransactionEnd { .. } => Kind::TransactionEnd,
            Body::RequestEvent { .. } => Kind::RequestEvent,
            Body::Decision(_) => Kind::Decision,
            Body::StandingGrant(_) => Kind::StandingGrant,
            Body::RulesChange(_) => Kind::RulesChange,
            Body::PeopleChange { .. } => Kind::PeopleChange,
            Body::LogQuery { .. } => Kind::LogQuery,
            Body::ValuesErased { .. } => Kind::ValuesErased,
            Body::CertificatesChange { .. } => Kind::CertificatesChange,
            Body::SignIn(_) => Kind::SignIn,
            Body::Notification(_) => Kind::Notification,
            Body::Pruned(_) => Kind::Pruned,
        }
    }

    /// The statement text that this entry refers to.
    pub fn text(&self) -> Option<&[u8]> {
        self.attempt().map(|attempt| attempt.text)
    }

    const fn attempt(&self) -> Option<&Attempt<'_>> {
        match &self.body {
            Body::Attempt(attempt) => Some(attempt),
            Body::Boot { .. }
            | Body::SessionStart { .. }
            | Body::SessionEnd { .. }
            | Body::Login { .. }
            | Body::Outcome(_)
            | Body::TransactionEnd { .. }
            | Body::RequestEvent { .. }
            | Body::Decision(_)
            | Body::StandingGrant(_)
            | Body::RulesChange(_)
            | Body::PeopleChange { .. }
            | Body::CertificatesChange { .. }
            | Body::Notification(_)
            | Body::Pruned(_)
            | Body::LogQuery { .. }
            | Body::ValuesErased { .. }
            | Body::SignIn(_) => None,
        }
    }

    fn put_session(&self, out: &mut Vec<u8>) {
        if let Some(session) = self.session {
            put_bytes(tag::SESSION, &session.0.to_be_bytes(), out);
        }
    }

    /// The values of an attempt, for the record before it; `None` if it has none.
    pub fn values<'s>(&'s self, seal: &'s Seal) -> Option<Values<'s>> {
        let attempt = self.attempt()?;
        let has_values = attempt.parameters.iter().any(ParameterRecord::has_value);
        has_values.then_some(Values { attempt, seal })
    }

    fn put_attempt(&self, attempt: &Attempt<'_>, seal: &Seal, out: &mut Vec<u8>) {
        put_text(tag::PRINCIPAL, attempt.principal, out);
        put_text(tag::DATABASE, attempt.database, out);
        put_text(tag::DATABASE_USER, attempt.database_user, out);
        put_text(tag::PROTOCOL, attempt.protocol, out);
        put_text(tag::CLASS, class_word(attempt.class), out);
        put_text(tag::VERDICT, attempt.verdict, out);
        put_text(tag::RULE, attempt.rule, out);
        put_text(tag::REQUEST, attempt.request.unwrap_or_default(), out);
        if let Some(used) = attempt.grant {
            put_text(tag::GRANT, used.grant, out);
            put_text(tag::DECIDED_IN, used.decided_in, out);
        }
        put_text(tag::READ_AS, attempt.read_as, out);
        attempt
            .tables
            .iter()
            .for_each(|table| put_text(tag::TABLE, table, out));
        put_labels(attempt.column_labels, out);
        put_number(tag::ATTEMPT_NUMBER, attempt.id.number, out);
        put_number(tag::TEXT_BYTES, attempt.text.len() as u64, out);
        self.put_session(out);
        put_bytes(tag::ATTEMPT_SESSION, &attempt.id.session.0.to_be_bytes(), out);
        if let Some(hash) = &seal.text_sha256 {
            put_bytes(tag::TEXT_SHA256, hash, out);
        }
        put_bytes(tag::FINGERPRINT, &attempt.fingerprint, out);
        for (parameter, kept, salt) in kept_of(attempt, seal) {
            put_parameter(parameter, kept, salt, out);
        }
        attempt
            .claimed
            .iter()
            .for_each(|(key, value)| put_pair(tag::CLAIMED, key, value, out));
    }

    fn put_pruning(&self, told: &Pruning<'_>, out: &mut Vec<u8>) {
        let micros = |time: Timestamp| u64::try_from(time.micros()).unwrap_or(0);
        put_text(tag::BY, told.by, out);
        put_text(tag::RETENTION, told.retention, out);
        put_number(tag::PRUNED, told.leaves, out);
        put_number(tag::PRUNED_NOW, told.now, out);
        put_number(tag::SEGMENTS, told.segments, out);
        put_number(tag::OLDEST, micros(told.oldest), out);
        put_number(tag::NEWEST, micros(told.newest), out);
        self.put_session(out);
        put_bytes(tag::ROOTS_SHA256, &told.roots_sha256, out);
    }

    fn put_outcome(&self, outcome: &StatementOutcome<'_>, out: &mut Vec<u8>) {
        put_text(tag::REQUEST, outcome.request.unwrap_or_default(), out);
        put_text(tag::OUTCOME, outcome.kind.as_str(), out);
        put_text(tag::COMMAND_TAG, outcome.tag, out);
        put_text(tag::SQLSTATE, outcome.sqlstate, out);
        put_text(tag::MESSAGE, outcome.message, out);
        put_number(tag::ATTEMPT_NUMBER, outcome.attempt.number, out);
        if let Some(rows) = outcome.rows {
            put_number(tag::ROWS, rows, out);
        }
        self.put_session(out);
        put_bytes(
            tag::ATTEMPT_SESSION,
            &outcome.attempt.session.0.to_be_bytes(),
            out,
        );
    }
}

impl ParameterRecord<'_> {
    const fn has_value(&self) -> bool {
        self.redacted.is_empty() && (self.value.is_some() || self.hex.is_some())
    }
}

impl Values<'_> {
    /// Appends the canonical bytes of the record of values.
    pub fn encode(&self, time: Timestamp, out: &mut Vec<u8>) {
        let Self { attempt, seal } = self;
        put_head(Kind::Values, time, out);
        put_number(tag::ATTEMPT_NUMBER, attempt.id.number, out);
        put_bytes(tag::ATTEMPT_SESSION, &attempt.id.session.0.to_be_bytes(), out);
        for (parameter, kept, salt) in kept_of(attempt, seal) {
            let Some(kept) = kept else { continue };
            let tag = match kept.form {
                Form::Text => tag::VALUE,
                Form::Hex => tag::HEX,
            };
            put_group(tag::KEPT, out, |out| {
                // An empty value differs from NULL, so it is written even when it is empty.
                put_bytes(tag, kept.value.as_bytes(), out);
                put_number(tag::INDEX, u64::from(parameter.index), out);
                put_bytes(tag::SALT, &salt, out);
            });
        }
    }
}

/// The bytes of a record of values without the values and their salts, as many as before: zeros stand where they stood.
pub fn erased_values(payload: &[u8]) -> Result<Vec<u8>, Malformed> {
    let attempt = super::record::Values::decode(payload)?.attempt;
    let mut out = payload[..HEAD_BYTES].to_vec();
    put_number(tag::ATTEMPT_NUMBER, attempt.number, &mut out);
    put_bytes(tag::ATTEMPT_SESSION, &attempt.session.0.to_be_bytes(), &mut out);
    let mut left = payload.len() - out.len();
    // A field cannot be of every length, because its own length takes more bytes as it grows; two can.
    if value_bytes(left).is_none() {
        put_bytes(tag::ERASED, &[], &mut out);
        left = payload.len() - out.len();
    }
    let zeros = value_bytes(left).ok_or(Malformed::Short)?;
    put_bytes(tag::ERASED, &vec![0; zeros], &mut out);
    Ok(out)
}

/// How long a value is whose field takes so many bytes. `None`: no field does.
fn value_bytes(field: usize) -> Option<usize> {
    (1..=5).find_map(|length| {
        let value = field.checked_sub(1 + length)?;
        (length_bytes(value) == length).then_some(value)
    })
}

/// SHA-256 of a statement text: what `sha256sum` prints for it.
pub fn text_sha256(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Appends the canonical bytes of a text record.
pub fn encode_text(time: Timestamp, sha256: &[u8; 32], text: &[u8], out: &mut Vec<u8>) {
    put_head(Kind::Text, time, out);
    put_bytes(tag::TEXT_SHA256, sha256, out);
    put_bytes(tag::TEXT, text, out);
}

/// The word of a class, as rules and filters write it.
pub const fn class_word(class: Class) -> &'static str {
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

impl OutcomeKind {
    pub const ALL: [Self; 6] = [
        Self::Ran,
        Self::Failed,
        Self::Refused,
        Self::Skipped,
        Self::Cancelled,
        Self::Unknown,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ran => "ran",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }
}

impl TransactionOutcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::RolledBack => "rolled_back",
            Self::Unknown => "unknown",
        }
    }
}

impl Kind {
    pub const ALL: [Self; 20] = [
        Self::Boot,
        Self::SessionStart,
        Self::SessionEnd,
        Self::Login,
        Self::Attempt,
        Self::Outcome,
        Self::TransactionEnd,
        Self::RequestEvent,
        Self::Decision,
        Self::RulesChange,
        Self::PeopleChange,
        Self::LogQuery,
        Self::Text,
        Self::CertificatesChange,
        Self::StandingGrant,
        Self::SignIn,
        Self::Values,
        Self::Notification,
        Self::ValuesErased,
        Self::Pruned,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::SessionStart => "session_start",
            Self::SessionEnd => "session_end",
            Self::Login => "login",
            Self::Attempt => "attempt",
            Self::Outcome => "outcome",
            Self::TransactionEnd => "transaction_end",
            Self::RequestEvent => "request_event",
            Self::Decision => "decision",
            Self::RulesChange => "rules_change",
            Self::PeopleChange => "people_change",
            Self::LogQuery => "log_query",
            Self::Text => "text",
            Self::CertificatesChange => "certificates_change",
            Self::StandingGrant => "standing_grant",
            Self::SignIn => "sign_in",
            Self::Values => "values",
            Self::Notification => "notification",
            Self::ValuesErased => "values_erased",
            Self::Pruned => "pruned",
        }
    }

    /// Reads what `as_str` writes.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// Version, kind, time.
const HEAD_BYTES: usize = 10;

fn put_head(kind: Kind, time: Timestamp, out: &mut Vec<u8>) {
    out.push(VERSION);
    out.push(kind as u8);
    out.extend_from_slice(&u64::try_from(time.micros()).unwrap_or(0).to_be_bytes());
}

fn put_peer(peer: &Peer, out: &mut Vec<u8>) {
    put_text(tag::PRINCIPAL, peer.principal.as_str(), out);
    put_text(tag::OWNER, peer.owner.as_str(), out);
    let profile = match peer.profile {
        Profile::Standard => "standard",
        Profile::Mcp => "mcp",
    };
    put_text(tag::PROFILE, profile, out);
    put_address(peer.source, out);
    put_text(tag::UPSTREAM, &peer.upstream, out);
    put_text(tag::DATABASE, &peer.database, out);
    put_text(tag::DATABASE_USER, &peer.database_user, out);
}

fn put_address(address: IpAddr, out: &mut Vec<u8>) {
    let start = begin(tag::SOURCE, out);
    write!(out, "{address}").expect("writing to a Vec cannot fail");
    finish(start, out);
}

fn put_position(position: &LanePosition, out: &mut Vec<u8>) {
    put_group(tag::POSITION, out, |out| {
        put_number(tag::CUT, position.cut, out);
        put_number(tag::LANE, u64::from(position.lane), out);
        put_number(tag::DURABLE, position.durable, out);
        put_number(tag::FOUND, position.found, out);
    });
}

/// Each parameter with what is kept of its value, and its salt.
fn kept_of<'a>(
    attempt: &Attempt<'a>,
    seal: &Seal,
) -> impl Iterator<Item = (&'a ParameterRecord<'a>, Option<Kept<'a>>, Salt)> {
    let mut room = PARAMETERS_BYTES_MAX;
    attempt
        .parameters
        .iter()
        .zip(&seal.salts)
        .map(move |(parameter, salt)| {
            let kept = Kept::of(parameter, FIELD_BYTES_MAX.min(room));
            room -= kept.map_or(0, |kept| kept.value.len());
            (parameter, kept, *salt)
        })
}

fn put_parameter(parameter: &ParameterRecord<'_>, kept: Option<Kept<'_>>, salt: Salt, out: &mut Vec<u8>) {
    put_group(tag::PARAMETER, out, |out| {
        put_text(tag::TYPE_NAME, parameter.type_name, out);
        put_text(tag::FORMAT, parameter.format, out);
        put_labels(parameter.redacted, out);
        put_number(tag::INDEX, u64::from(parameter.index), out);
        put_number(tag::TYPE_OID, u64::from(parameter.type_oid), out);
        put_number(tag::BYTES, parameter.bytes, out);
        if let Some(kept) = kept {
            if kept.is_cut {
                put_number(tag::CUT, 1, out);
            }
            put_bytes(tag::COMMITMENT, &commitment(&salt, kept.form, kept.value), out);
        }
    });
}

fn put_labels(labels: &[String], out: &mut Vec<u8>) {
    labels
        .iter()
        .for_each(|label| put_text(tag::COLUMN_LABEL, label, out));
}

fn put_pair(tag: u8, key: &str, value: &str, out: &mut Vec<u8>) {
    put_group(tag, out, |out| {
        put_text(tag::VALUE, value, out);
        put_text(tag::KEY, key, out);
    });
}

fn put_text(tag: u8, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        put_bytes(tag, cut(text, FIELD_BYTES_MAX).as_bytes(), out);
    }
}

fn put_number(tag: u8, number: u64, out: &mut Vec<u8>) {
    let bytes = number.to_be_bytes();
    let zeros = (number.leading_zeros() / 8) as usize;
    put_bytes(tag, &bytes[zeros..], out);
}

fn put_bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    put_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn put_group(tag: u8, out: &mut Vec<u8>, fields: impl FnOnce(&mut Vec<u8>)) {
    let start = begin(tag, out);
    fields(out);
    finish(start, out);
}

fn begin(tag: u8, out: &mut Vec<u8>) -> usize {
    out.push(tag);
    out.push(0);
    out.len()
}

/// Writes the length of what stands behind `start` into the byte before it, and moves it on if one byte is too few.
fn finish(start: usize, out: &mut Vec<u8>) {
    let length = out.len() - start;
    let more = length_bytes(length) - 1;
    if more > 0 {
        let end = out.len();
        out.resize(end + more, 0);
        out.copy_within(start..end, start + more);
    }
    let mut rest = length;
    for place in &mut out[start - 1..start + more] {
        *place = (rest & 0x7F) as u8 | 0x80;
        rest >>= 7;
    }
    out[start + more - 1] &= 0x7F;
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    let mut rest = length;
    while rest >= 0x80 {
        out.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

const fn length_bytes(length: usize) -> usize {
    let bits = usize::BITS - length.leading_zeros();
    if bits == 0 { 1 } else { bits.div_ceil(7) as usize }
}

/// The longest beginning of `text` that has at most `bytes_max` bytes and ends between letters.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_or_two_are_of_any_length() {
        for bytes in 2..40_000 {
            let both = value_bytes(bytes).or_else(|| value_bytes(bytes - 2));
            let value = both.unwrap_or_else(|| panic!("no fields take {bytes} bytes"));
            let mut out = Vec::new();
            if value_bytes(bytes).is_none() {
                put_bytes(tag::ERASED, &[], &mut out);
            }
            put_bytes(tag::ERASED, &vec![0; value], &mut out);
            assert_eq!(out.len(), bytes);
        }
    }
}
