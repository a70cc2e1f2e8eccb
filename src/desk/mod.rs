//! The one path from statement to permit: ask, decide, claim, run, finish; each step stored, then logged.
//! Never forwards a byte, never judges a statement. Read `core.rs` next, then `waiters.rs` and `expiry.rs`.
//!
//! Why one thread: the store has one writer and the order of a held run is a sequence; every caller gets its answer
//! through a channel, so that no wire thread touches SQLite or fsync.

mod act;
mod ask;
mod break_glass;
mod choices;
mod core;
mod crash;
mod decide;
mod deliveries;
mod expiry;
mod fault;
mod leave;
mod links;
mod notes;
mod record;
mod review;
mod run;
mod sessions;
mod sign_in;
mod standing;
mod thread;
mod waiters;
mod withheld;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

pub use self::act::{Act, ActError, ActKind, QUESTION_BYTES_MAX, REMARK_BYTES_MAX, REMARKS_MAX};
pub use self::break_glass::{BREAK_GLASS_PER_DAY, BreakGlass, FACTOR_AGE_MIN};
pub use self::choices::Choices;
pub use self::core::Core;
pub use self::crash::crash_point;
#[cfg(feature = "faults")]
pub use self::crash::{Crashed, crash_after};
pub use self::deliveries::{
    CHECKPOINT_EVENT, CheckpointNews, Delivery, DeliveryId, Endpoint, EndpointReport, is_meant,
};
pub use self::links::{LINK_CODE_LIFE, Link, LinkInfo};
pub use self::review::{ReviewError, ReviewFilter, ReviewPage, SignReview};
pub use self::sessions::{EndIt, EndSessionError, LiveSession, LiveSessions, Seat};
pub use self::sign_in::TurnedAway;
pub use self::thread::Desk;
use crate::clock::Timestamp;
pub use crate::hold::Transaction;
use crate::hold::{
    Digest, Guards, HeldRequest, NotGuarded, Parameter, Permit, RemarkKind, RequestId, StandingGrant,
    StandingGrantId, StandingKind, StateKind,
};
pub use crate::hold::{Reach, RunCovers, Terms};
use crate::identity::assurance::{Assurance, SecondFactor};
use crate::identity::directory::{Agent, WhyNot};
pub use crate::identity::directory::{Hands, NewAgent, NewPerson, NewToken, OtherTokens};
use crate::identity::principal::{AttemptId, Peer, PersonName, PrincipalName};
use crate::policy::{Risk, Verdict};
use crate::sql::action::Judgement;
pub use crate::store::{
    CodeTaken, Factors, GIVES_ONESELF_NEXT, Issued, KeptAnswer, KeptPasskey, LINK_LIFE, OpenedBy,
    OpenedSession, Opening, PASSKEYS_MAX, PasskeyInfo, PasskeyUse, SessionInfo, SessionLife, Whence,
};

/// The desk's part of the settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Undecided requests that one principal may have.
    pub held_per_principal_max: u32,
    /// How long an approval that nobody waited for lets the same bytes through.
    pub grant_life: Duration,
    pub standing: StandingLimits,
    /// Users of the database who log in with their own password: no store knows them.
    pub pass_through: Vec<Agent>,
    /// Who needs a second factor to approve what is of high or critical risk.
    pub second_factor: SecondFactor,
    /// How often one person may approve alone within 24 hours; 0: nobody may.
    pub break_glass_per_day: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            held_per_principal_max: 20,
            grant_life: Duration::from_secs(1800),
            standing: StandingLimits::default(),
            pass_through: Vec::new(),
            second_factor: SecondFactor::default(),
            break_glass_per_day: BREAK_GLASS_PER_DAY,
        }
    }
}

/// How far standing grants go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandingLimits {
    /// The longest life; 0: none are made.
    pub minutes_max: u32,
    /// The most uses, the decided run included; less than 2: none are made.
    pub uses_max: u32,
    /// Open ones that one principal may have.
    pub per_principal_max: u32,
}

impl Default for StandingLimits {
    fn default() -> Self {
        Self {
            minutes_max: 60,
            uses_max: 100,
            per_principal_max: 20,
        }
    }
}

/// Now, on both clocks. `boot` counts since the machine started and goes on while it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub wall: Timestamp,
    pub boot: Duration,
}

/// A statement that the rules hold, as the session puts it to the desk.
#[derive(Clone, Debug)]
pub struct Ask {
    pub peer: Arc<Peer>,
    pub attempt: AttemptId,
    pub digest: Digest,
    /// The bytes as they came; the desk masks secrets before it keeps them.
    pub text: Vec<u8>,
    pub judgement: Arc<Judgement>,
    pub verdict: Verdict,
    /// Values that are withheld are marked, and kept in memory alone.
    pub parameters: Vec<Parameter>,
    /// Of `facts` the values that are withheld there.
    pub withheld_facts: BTreeMap<String, String>,
    /// Labels of the columns that it touches.
    pub column_labels: Vec<String>,
    pub transaction: Transaction,
    pub claimed: BTreeMap<String, String>,
    /// Session facts that are shown and are in the digest: search_path, role …
    pub facts: BTreeMap<String, String>,
    /// Identity of the names it resolves to.
    pub names: String,
    /// Generation of the rules that held it.
    pub rules: [u8; 32],
    /// How long the session waits.
    pub wait: Duration,
    /// How long a person may decide.
    pub expires: Duration,
    /// `simple` or `extended`.
    pub protocol: &'static str,
    pub copies_in: bool,
    /// What the client answers to a reviewer's question: claimed, not verified, and no part of the digest.
    pub reply: Option<String>,
}

/// What becomes of an `Ask`.
#[derive(Debug)]
pub enum Asked {
    Parked(Parked),
    /// An approval was waiting for these bytes, or a standing grant covers them: run them now.
    Granted(Permit, RequestId),
}

/// A statement that waits. Dropping `woken` without a word counts as leaving.
#[derive(Debug)]
pub struct Parked {
    pub request: RequestId,
    pub reattached: bool,
    pub wait: Duration,
    pub woken: oneshot::Receiver<Wake>,
}

/// Sent to a waiting session, once, when what it tells is in store and log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wake {
    Approved {
        by: Vec<String>,
        reason: String,
    },
    Denied {
        by: String,
        reason: String,
    },
    Expired,
    Withdrawn {
        why: String,
    },
    /// A reviewer wants to know something first: it waits no longer, and stays undecided.
    Asked {
        by: String,
        question: String,
    },
    /// The proxy stops; the request is detached.
    Stopping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detach {
    ClientLeft,
    WaitOver,
}

/// How a run ended, as the session saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    Finished {
        rows: Option<u64>,
        tag: String,
    },
    Failed {
        sqlstate: String,
        message: String,
    },
    /// The server was lost while it ran.
    Unknown {
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("{limit} statements of this principal wait already")]
    TooMany { limit: u32 },
    #[error("audit log unavailable, statement not run")]
    LogUnavailable,
    #[error("store unavailable, statement not run")]
    StoreUnavailable,
    #[error("the credential was revoked or has expired")]
    CredentialEnded,
    #[error("the proxy is stopping")]
    Stopping,
}

/// Why an approved statement is not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStarted {
    #[error("no such request")]
    NotFound,
    #[error("the request is {0}")]
    NotApproved(StateKind),
    #[error("{why}: a fresh decision is needed")]
    Stale { why: String },
    #[error("the credential was revoked or has expired")]
    CredentialEnded,
    #[error("audit log unavailable, statement not run")]
    LogUnavailable,
    #[error("store unavailable, statement not run")]
    StoreUnavailable,
    #[error("the proxy is stopping")]
    Stopping,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    #[error("no such request")]
    NotFound,
    #[error("the cursor is not one that a list gave")]
    BadCursor,
    #[error("audit log unavailable")]
    LogUnavailable,
    #[error("store unavailable")]
    StoreUnavailable,
    #[error("another process serves this data folder")]
    AlreadyServed,
    #[error("the proxy is stopping")]
    Stopping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Approve,
    Deny,
}

/// What one approval covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DecisionScope {
    #[default]
    Once,
    /// This run, and then statements that differ only in literals and parameters: a standing grant.
    Fingerprint(Terms),
    /// This run, and then further statements of these classes on these tables; left empty, those of the statement itself.
    Run(Terms, RunCovers),
}

/// Why a decision makes no standing grant, and so is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStanding {
    #[error("standing grants are switched off by the settings")]
    Off,
    #[error("a standing grant lasts 1 to {max} minutes")]
    Minutes { max: u32 },
    #[error("a standing grant has 2 to {max} uses, the decided run included")]
    Uses { max: u32 },
    #[error("no standing grant can be made of it: {why}")]
    DecidedEachTime { why: String },
    #[error("`{by}` has approved it once, and everybody who is needed must ask for the standing grant")]
    ApprovedOnce { by: PersonName },
    #[error("no run can be made of it: {why}")]
    NoRun { why: String },
    #[error(
        "`{by}` has asked for another kind of standing grant, and everybody who is needed must ask for the same"
    )]
    OtherKind { by: PersonName },
    #[error("the agent has {limit} standing grants already")]
    TooMany { limit: u32 },
}

/// Why a standing grant is not ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndGrantError {
    #[error("no such standing grant")]
    NotFound,
    #[error("the standing grant is {0} already")]
    NotOpen(StandingKind),
    #[error("audit log unavailable")]
    LogUnavailable,
    #[error("store unavailable")]
    StoreUnavailable,
    #[error("the proxy is stopping")]
    Stopping,
}

/// What a person says of a request. `by` is the person whose token it was.
#[derive(Clone, Debug)]
pub struct Decide {
    pub by: PersonName,
    /// Everybody else who has seen that token, and so may be the one who speaks.
    pub token_seen_by: BTreeSet<PersonName>,
    /// How surely it is that person.
    pub assurance: Assurance,
    pub decision: Decision,
    /// Must not be empty for a denial.
    pub reason: String,
    /// What the person was shown; compared when given.
    pub digest: Option<Digest>,
    /// The version that the person was shown; compared when given.
    pub version: Option<u64>,
    pub scope: DecisionScope,
    /// What is to hold while it runs; for an approval alone.
    pub guards: Guards,
    /// `api`, `cli` …
    pub channel: String,
    /// The same key again gives the same answer again.
    pub idempotency: Option<String>,
}

impl Decide {
    fn hands(&self) -> Hands {
        Hands {
            person: self.by.clone(),
            token_seen_by: self.token_seen_by.clone(),
        }
    }
}

/// Why it is not sure enough that it is the person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSure {
    #[error("approving what is of {risk} risk needs a second factor, given in the last 5 minutes")]
    StepUpNeeded { risk: Risk },
    #[error("approving what is of {risk} risk needs a second factor here, and `{by}` has none")]
    SecondFactorNeeded { by: PersonName, risk: Risk },
    #[error(
        "breaking glass needs a second log-in: a second factor given in the last 5 minutes, after signing in"
    )]
    SecondLogInNeeded,
    #[error("breaking glass needs a second factor, and `{by}` has none")]
    NoSecondFactor { by: PersonName },
    #[error(
        "breaking glass needs a second factor that was enrolled at least 24 h ago, and that of `{by}` was not"
    )]
    SecondFactorTooNew { by: PersonName },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    #[error("no such request")]
    NotFound,
    #[error("the request is {state} already{by}", by = .by.as_ref().map(|by| format!(", decided by `{by}`")).unwrap_or_default())]
    AlreadyDecided {
        by: Option<PersonName>,
        state: StateKind,
    },
    #[error("what you were shown is not what waits now")]
    Stale { digest: Digest, version: u64 },
    #[error("{0}")]
    NotPermitted(WhyNot),
    #[error("{0}")]
    NotSure(NotSure),
    #[error("nobody waits, and its transaction had written: it can be approved only while its client waits")]
    NobodyWaits,
    #[error("{0}")]
    NotStanding(NotStanding),
    #[error("{0}")]
    NotGuarded(NotGuarded),
    #[error("it has values that are withheld, and they were not shown to you")]
    NotRevealed,
    #[error(
        "it has values that are withheld, and they went with a restart of the proxy, or there were too many to keep"
    )]
    ValuesGone,
    #[error("a denial needs a reason")]
    ReasonMissing,
    #[error("breaking glass needs a reason")]
    NoReason,
    #[error("breaking glass is switched off by the settings")]
    BreakGlassOff,
    #[error("`{by}` has broken glass {limit} times within 24 h, which is the limit")]
    BreakGlassTooOften { by: PersonName, limit: u32 },
    #[error("audit log unavailable, nothing decided")]
    LogUnavailable,
    #[error("store unavailable, nothing decided")]
    StoreUnavailable,
    #[error("the proxy is stopping")]
    Stopping,
}

/// Why values are not erased.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgetError {
    #[error("the request is not over")]
    NotOver,
    #[error("{0}")]
    Desk(#[from] DeskError),
}

/// Which requests to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct RequestFilter {
    /// Empty: all.
    pub states: Vec<StateKind>,
    pub principal: Option<String>,
    pub database: Option<String>,
    /// As `sql::action::Class` spells it.
    pub class: Option<String>,
    pub fingerprint: Option<[u8; 32]>,
    /// Those that ran by it.
    pub standing_grant: Option<StandingGrantId>,
    /// 0 counts as 50; at most 500.
    pub limit: usize,
    pub cursor: Option<String>,
}

#[derive(Clone, Debug)]
pub struct RequestPage {
    pub items: Vec<HeldRequest>,
    pub next_cursor: Option<String>,
}

/// A request has moved, or more is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeskEvent {
    pub request: RequestId,
    pub what: Told,
    pub state: StateKind,
    pub version: u64,
    pub at: Timestamp,
}

/// What an event tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Moved,
    /// Its impact has come. It has not moved, and a decision is bound to the same as before.
    Impact,
    /// Something was said beside it. It has not moved by that.
    Said(RemarkKind),
}

/// A standing grant, and the request whose decision made it: what it covers is what was approved there.
#[derive(Clone, Debug)]
pub struct GrantShown {
    pub grant: StandingGrant,
    pub decided: HeldRequest,
}

/// A standing grant was made, used or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantEvent {
    pub grant: StandingGrantId,
    /// The request that ran by it, or the one that it was decided in.
    pub request: RequestId,
    pub standing: StandingKind,
    pub uses: u32,
    pub uses_max: u32,
    pub at: Timestamp,
}

/// A credential was revoked or has expired: its sessions end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialEnded {
    pub principal: PrincipalName,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManageError {
    #[error("`{0}` exists already")]
    Exists(String),
    #[error("there is no `{0}`")]
    Unknown(String),
    #[error("`{0}` was revoked; add an agent of another name")]
    Revoked(String),
    #[error("nobody gives themselves roles or groups, and `{0}` may be behind this call")]
    GivesOneself(PersonName),
    #[error("store unavailable")]
    StoreUnavailable,
    #[error("the proxy is stopping")]
    Stopping,
}
