//! The life of requests by a model of a few lines, beside the desk: after every step the store's contents, the log's
//! records, the answers and what sessions were told are what the model says they are.
//!
//! The model is written from the words of the promises and knows nothing of the desk's code. Time is simulated, the
//! order of events comes from a seed. A crash between two places of a step leaves what the model had after some of the
//! step's moves, as a restart finds it. `COUNTERSIGN_SEEDS=100..5000` runs other seeds than the default ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use countersign::audit::{Kind, Record};
use countersign::clock::Timestamp;
use countersign::desk::{
    Act, ActError, ActKind, Ask, AskError, Asked, Decide, DecideError, Decision, Detach, KeptPasskey, Moment,
    NotStarted, Parked, ReviewError, RunOutcome, Settings, Transaction, Wake,
};
use countersign::hold::{Finding, Permit, Presented, RemarkKind, RequestId};
use countersign::identity::assurance::{Assurance, Method};
use countersign::identity::directory::{Hands, Role};
use countersign::identity::principal::SessionId;
use countersign::journal::{LogFilter, Reader, Tail, TailFrom};
use countersign::store::sqlite::Limits;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

use crate::break_glass::{breaking, signing};
use crate::world::{MINUTE, World, act, digest, needs, person, principal, requires, word};

const SEEDS: std::ops::Range<u64> = 0..80;
const STEPS: usize = 60;
const UNDECIDED_MAX: usize = 4;
const LIFE: Duration = Duration::from_secs(1800);
const GRANT_LIFE: Duration = Duration::from_secs(1800);
/// A session that was told of its approval counts as gone when it has not begun by then.
const BEGIN_WITHIN: Duration = Duration::from_secs(900);
/// Who looks at the same thing again within this time is not noted again.
const VIEW_COUNTS_FOR: Duration = Duration::from_secs(900);
/// So long whoever has set how somebody signs in counts as that person; and so long breaking glass is counted.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How often one person may break glass within a day.
const GLASS_PER_DAY: usize = 3;
/// Who may.
const GLASS: [&str; 2] = ["dave", "anna"];
const AGENTS: [&str; 2] = ["bot-a", "bot-b"];
const PEOPLE: [&str; 7] = ["dora", "dave", "eve", "olga", "carl", "anna", "root"];

/// The id of a request whose own is not known yet; no desk of these seeds draws it.
fn new_id() -> RequestId {
    RequestId::from_random(0)
}

/// Promise 4 for the people of this world: olga owns both agents, carl made them, bot-a acts for anna.
fn has_stake(by: &str, who: &str) -> bool {
    matches!((by, who), ("olga" | "carl", _) | ("anna", "bot-a"))
}

/// Who has set how somebody else signs in, and when last.
#[derive(Clone, Debug, Default)]
struct Ways(BTreeMap<(String, String), Timestamp>);

impl Ways {
    /// Everybody who may be the one who speaks as this person.
    fn all(&self, by: &str, now: Moment) -> BTreeSet<String> {
        let set = self
            .0
            .iter()
            .filter(|((person, _), at)| person == by && now.wall < at.after(DAY));
        let set = set.map(|((_, setter), _)| setter.clone());
        set.chain([by.to_owned()]).collect()
    }

    /// Whoever may be the setter counts as one, and who may be one of those.
    fn set(&mut self, setter: &str, whose: &str, now: Moment) {
        let mut hands = BTreeSet::from([setter.to_owned()]);
        loop {
            let more: BTreeSet<String> = hands.iter().flat_map(|hand| self.all(hand, now)).collect();
            if more == hands {
                break;
            }
            hands = more;
        }
        for hand in hands.into_iter().filter(|hand| hand != whose) {
            self.0.insert((whose.to_owned(), hand), now.wall);
        }
    }

    fn has_stake(&self, by: &str, who: &str, now: Moment) -> bool {
        self.all(by, now).iter().any(|hand| has_stake(hand, who))
    }
}

/// Groups of those without a stake; root is only an administrator.
fn is_in(by: &str, group: &str) -> bool {
    match group {
        "approver" => by != "root",
        "dba" => ["dora", "dave", "anna"].contains(&by),
        "security" => by == "dave",
        other => panic!("no rule of this world names {other}"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Pending,
    Detached,
    Approved,
    Running,
    Finished,
    Failed,
    Unknown,
    Denied,
    Expired,
    Withdrawn,
    Stale,
    Grant,
    Redeemed,
    RedeemedAndRan,
    Lapsed,
}

impl At {
    /// As the store and the API spell it.
    fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Detached => "detached",
            Self::Approved => "approved",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Unknown => "outcome_unknown",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Stale => "stale",
            Self::Grant => "grant",
            Self::Redeemed | Self::RedeemedAndRan => "redeemed",
            Self::Lapsed => "lapsed",
        }
    }

    fn is_undecided(self) -> bool {
        matches!(self, Self::Pending | Self::Detached)
    }
}

/// What a client sends: who, which statement, under which rules and names, and whether its transaction has written.
#[derive(Clone, Copy, Debug)]
struct Sending {
    who: &'static str,
    what: u8,
    rules: u8,
    names: &'static str,
    wrote: bool,
    /// It answers its reviewer.
    replies: bool,
    session: u64,
}

/// A moment that comes on either clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Deadline {
    wall: Timestamp,
    boot: Duration,
}

impl Deadline {
    fn after(now: Moment, life: Duration) -> Self {
        Self {
            wall: now.wall.after(life),
            boot: now.boot + life,
        }
    }

    fn is_over(self, now: Moment) -> bool {
        self.wall <= now.wall || self.boot <= now.boot
    }

    /// The stored wall clock's alone survives a restart.
    fn reread(&mut self, now: Moment) {
        self.boot = now.boot + self.wall.since(now.wall);
    }
}

#[derive(Clone, Debug)]
struct Request {
    at: At,
    version: u64,
    sent: Sending,
    needed: usize,
    /// The group that decides first, and the one to which it can be escalated.
    groups: (&'static str, Option<&'static str>),
    is_escalated: bool,
    /// From whom, to whom.
    delegations: BTreeMap<String, String>,
    approved_by: BTreeSet<String>,
    expires: Deadline,
    /// When people are reminded, and then when it is escalated.
    milestone: Option<(Milestone, Deadline)>,
    made_at: Timestamp,
    grant: Option<Deadline>,
    begin_by: Option<Duration>,
    told: Option<&'static str>,
    keys: BTreeSet<(String, String)>,
    /// Asked by a reviewer, and not answered.
    is_asked: bool,
    /// What was said besides.
    remarks: usize,
    act_keys: BTreeSet<(String, &'static str, String)>,
    views: BTreeMap<(String, u64), Timestamp>,
    /// Who may be behind each approval.
    hands: Vec<BTreeSet<String>>,
    /// Somebody broke glass: who may be behind that, and whether the review is signed.
    review: Option<(BTreeSet<String>, bool)>,
    log: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Milestone {
    Remind,
    Escalate,
}

impl Request {
    /// The group whose people approve it now.
    fn asked(&self) -> &'static str {
        match self.groups {
            (_, Some(next)) if self.is_escalated => next,
            (first, _) => first,
        }
    }

    /// Whether a person counts for a group, in their own right or for who has delegated to them.
    fn counts(&self, by: &str, group: &str, ways: &Ways, now: Moment) -> bool {
        let has_stake = |who: &str| ways.has_stake(who, self.sent.who, now);
        let mut from = self.delegations.iter().filter(|(_, to)| *to == by);
        !has_stake(by) && (is_in(by, group) || from.any(|(from, _)| !has_stake(from) && is_in(from, group)))
    }

    /// Whether a person has any say: the first group keeps its no.
    fn is_concerned(&self, by: &str, ways: &Ways, now: Moment) -> bool {
        self.counts(by, self.groups.0, ways, now) || self.counts(by, self.asked(), ways, now)
    }

    /// Whether one of these may be behind an approval.
    fn is_approved_by_one_of(&self, all: &BTreeSet<String>) -> bool {
        self.hands.iter().any(|hands| !hands.is_disjoint(all))
    }

    fn refuses_signature(&self, by: &str, ways: &Ways, now: Moment) -> Option<Answer> {
        let Some((broken, is_signed)) = &self.review else {
            return Some(Answer::NoReview);
        };
        let all = ways.all(by, now);
        let is_reviewer = ["olga", "carl", "anna", "root"].contains(&by)
            || is_in(by, self.groups.0)
            || is_in(by, self.asked());
        if *is_signed {
            Some(Answer::SignedAlready)
        } else if ways.has_stake(by, self.sent.who, now) {
            Some(Answer::NotPermitted)
        } else if !broken.is_disjoint(&all) || self.is_approved_by_one_of(&all) {
            Some(Answer::NotAnother)
        } else {
            (!is_reviewer).then_some(Answer::NotAReviewer)
        }
    }
}

/// What the desk answers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Held,
    Reattached(RequestId),
    Granted(RequestId),
    TooMany,
    CredentialEnded,
    Decided,
    AlreadyDecided,
    NotWhatWasShown,
    NotPermitted,
    NobodyWaits,
    Begun,
    NotApproved,
    WentStale,
    Acted,
    NotUndecided,
    NobodyNext,
    EscalatedAlready,
    CannotBeDelegate,
    TooOften,
    NoReview,
    SignedAlready,
    NotAnother,
    NotAReviewer,
    Done,
}

impl Request {
    fn refuses_escalation(&self, by: &str, ways: &Ways, now: Moment) -> Option<Answer> {
        if !self.at.is_undecided() {
            Some(Answer::NotUndecided)
        } else if !self.is_concerned(by, ways, now) {
            Some(Answer::NotPermitted)
        } else if self.groups.1.is_none() {
            Some(Answer::NobodyNext)
        } else {
            self.is_escalated.then_some(Answer::EscalatedAlready)
        }
    }

    fn refuses_delegation(&self, by: &str, to: &str, ways: &Ways, now: Moment) -> Option<Answer> {
        let has_stake = |person: &str| ways.has_stake(person, self.sent.who, now);
        let is_own = !has_stake(by) && is_in(by, self.asked());
        if !self.at.is_undecided() {
            Some(Answer::NotUndecided)
        } else if !is_own || self.delegations.contains_key(by) || self.approved_by.contains(by) {
            Some(Answer::NotPermitted)
        } else {
            let cannot = to == by
                || has_stake(to)
                || self.delegations.contains_key(to)
                || self.approved_by.contains(to);
            cannot.then_some(Answer::CannotBeDelegate)
        }
    }

    /// The next group decides, and has as much time again.
    fn escalate(&mut self, now: Moment) {
        self.is_escalated = true;
        self.expires = Deadline::after(now, LIFE);
        self.milestone = Some((Milestone::Remind, Deadline::after(now, LIFE / 2)));
        self.remarks += 1;
        self.version += 1;
    }
}

/// All requests, and everything that can happen to them.
#[derive(Clone, Debug)]
struct Model {
    now: Moment,
    requests: BTreeMap<RequestId, Request>,
    /// Ids in the order in which they were made.
    order: Vec<RequestId>,
    revoked: BTreeSet<&'static str>,
    ways: Ways,
    /// Who broke glass, and when.
    broken: Vec<(String, Timestamp)>,
    /// The model before a step, and after each of its moves: what a crash may leave.
    moves: Vec<Model>,
}

impl Model {
    fn at(now: Moment) -> Self {
        Self {
            now,
            requests: BTreeMap::new(),
            order: Vec::new(),
            revoked: BTreeSet::new(),
            ways: Ways::default(),
            broken: Vec::new(),
            moves: Vec::new(),
        }
    }

    fn begin(&mut self, now: Moment) {
        self.now = now;
        self.moves.clear();
        self.keep();
    }

    fn keep(&mut self) {
        let mut now = self.clone();
        now.moves.clear();
        self.moves.push(now);
    }

    fn request(&mut self, id: RequestId) -> &mut Request {
        self.requests.get_mut(&id).expect("a request of this model")
    }

    /// One move, with what the log says of it.
    fn go(&mut self, id: RequestId, to: At, log: &[String]) {
        let now = self.now;
        let request = self.request(id);
        request.at = to;
        request.version += 1;
        request.log.extend_from_slice(log);
        request.begin_by = (to == At::Approved).then(|| now.boot + BEGIN_WITHIN);
        request.grant = (to == At::Grant).then(|| Deadline::after(now, GRANT_LIFE));
        self.keep();
    }

    fn event(&self, id: RequestId, word: &str) -> String {
        format!("{word} s{}", self.requests[&id].sent.session)
    }

    /// What is said of the attempt that still waits or runs; of one that has been answered before, nothing.
    fn outcome(&self, id: RequestId, word: &str) -> Vec<String> {
        let request = &self.requests[&id];
        match request.at {
            At::Pending | At::Approved | At::Running | At::Redeemed => {
                vec![format!("outcome {word} s{}", request.sent.session)]
            }
            _ => Vec::new(),
        }
    }

    /// Into a state that ends its attempt, with the log's word for the state and for the attempt.
    fn end(&mut self, id: RequestId, to: At, event: &str, outcome: &str) {
        let mut log = vec![self.event(id, event)];
        log.extend(self.outcome(id, outcome));
        self.go(id, to, &log);
    }

    fn ask(&mut self, sent: Sending, now: Moment, new: RequestId) -> Answer {
        self.begin(now);
        if self.revoked.contains(sent.who) {
            return Answer::CredentialEnded;
        }
        for id in self.order.clone() {
            let request = &self.requests[&id];
            let is_alike = (request.sent.who, request.sent.what) == (sent.who, sent.what);
            if !is_alike || !matches!(request.at, At::Detached | At::Grant) {
                continue;
            }
            let is_same = (request.sent.rules, request.sent.names) == (sent.rules, sent.names);
            let is_grant = request.at == At::Grant;
            match (is_same, is_grant) {
                (false, true) => self.end(id, At::Lapsed, "lapsed", ""),
                (false, false) => self.end(id, At::Stale, "stale", ""),
                (true, is_grant) => {
                    let request = self.request(id);
                    request.sent = sent;
                    request.told = None;
                    let is_asked = request.is_asked && !sent.replies;
                    let replies = !is_grant && sent.replies;
                    if replies {
                        request.is_asked = false;
                        request.remarks += 1;
                    }
                    let (to, word) = if is_grant {
                        (At::Redeemed, "redeemed")
                    } else {
                        (At::Pending, "reattached")
                    };
                    let mut log = vec![format!("attempt s{}", sent.session)];
                    log.extend(replies.then(|| self.event(id, "reply")));
                    log.push(self.event(id, word));
                    self.go(id, to, &log);
                    if is_asked && !is_grant {
                        self.left(id);
                        self.request(id).told = Some("asked");
                    }
                    return if is_grant {
                        Answer::Granted(id)
                    } else {
                        Answer::Reattached(id)
                    };
                }
            }
        }
        let undecided = self
            .requests
            .values()
            .filter(|request| request.sent.who == sent.who && request.at.is_undecided());
        if undecided.count() >= UNDECIDED_MAX {
            return Answer::TooMany;
        }
        let request = Request {
            at: At::Pending,
            version: 1,
            sent,
            needed: if sent.what == 2 { 2 } else { 1 },
            groups: if sent.what == 1 {
                ("dba", Some("security"))
            } else {
                ("approver", None)
            },
            is_escalated: false,
            delegations: BTreeMap::new(),
            approved_by: BTreeSet::new(),
            expires: Deadline::after(now, LIFE),
            milestone: Some((Milestone::Remind, Deadline::after(now, LIFE / 2))),
            made_at: now.wall,
            grant: None,
            begin_by: None,
            told: None,
            keys: BTreeSet::new(),
            is_asked: false,
            remarks: usize::from(sent.replies),
            act_keys: BTreeSet::new(),
            views: BTreeMap::new(),
            hands: Vec::new(),
            review: None,
            log: ["attempt", "held"]
                .into_iter()
                .chain(sent.replies.then_some("reply"))
                .map(|word| format!("{word} s{}", sent.session))
                .collect(),
        };
        self.requests.insert(new, request);
        self.order.push(new);
        self.keep();
        Answer::Held
    }

    fn decide(&mut self, id: RequestId, said: &Decide, now: Moment) -> Answer {
        self.begin(now);
        let by = said.by.to_string();
        let approves = said.decision == Decision::Approve;
        let key = said.idempotency.clone().map(|key| (by.clone(), key));
        let ways = self.ways.clone();
        let all = ways.all(&by, now);
        let request = self.request(id);
        if key.as_ref().is_some_and(|key| request.keys.contains(key)) {
            return Answer::Decided;
        }
        if !request.at.is_undecided() {
            return Answer::AlreadyDecided;
        }
        if said.version.is_some_and(|version| version != request.version)
            || said
                .digest
                .is_some_and(|shown| shown != digest(request.sent.who, request.sent.what))
        {
            return Answer::NotWhatWasShown;
        }
        let has_say = match approves {
            true => {
                request.counts(&by, request.asked(), &ways, now)
                    && !request.delegations.contains_key(&by)
                    && !request.is_approved_by_one_of(&all)
            }
            false => request.is_concerned(&by, &ways, now),
        };
        if !has_say || request.approved_by.contains(&by) {
            return Answer::NotPermitted;
        }
        let waits = request.at == At::Pending;
        if approves && !waits && request.sent.wrote {
            return Answer::NobodyWaits;
        }
        request.keys.extend(key);
        let word = format!("decision {} {by}", if approves { "approve" } else { "deny" });
        if !approves {
            request.told = waits.then_some("denied");
            let log: Vec<_> = [word].into_iter().chain(self.outcome(id, "refused")).collect();
            self.go(id, At::Denied, &log);
            return Answer::Decided;
        }
        request.approved_by.insert(by);
        request.hands.push(all);
        if request.approved_by.len() >= request.needed {
            self.approved(id, word);
        } else {
            request.version += 1;
            request.log.push(word);
            self.keep();
        }
        Answer::Decided
    }

    /// Enough have said so: it may run while its client waits, or once when the same comes again.
    fn approved(&mut self, id: RequestId, word: String) {
        let request = self.request(id);
        if request.at == At::Pending {
            request.told = Some("approved");
            self.go(id, At::Approved, &[word]);
        } else {
            let log = [word, self.event(id, "granted")];
            self.go(id, At::Grant, &log);
        }
    }

    /// One person approves alone, whatever the rule asks for, and a review is open from then on.
    fn break_glass(&mut self, id: RequestId, by: &str, now: Moment) -> Answer {
        self.begin(now);
        let (ways, all) = (self.ways.clone(), self.ways.all(by, now));
        let broken = self.broken.iter();
        let often = broken
            .filter(|(who, at)| who == by && now.wall < at.after(DAY))
            .count();
        let request = self.request(id);
        if !request.at.is_undecided() {
            return Answer::AlreadyDecided;
        }
        if ways.has_stake(by, request.sent.who, now) || !GLASS.contains(&by) {
            return Answer::NotPermitted;
        }
        if often >= GLASS_PER_DAY {
            return Answer::TooOften;
        }
        if request.at == At::Detached && request.sent.wrote {
            return Answer::NobodyWaits;
        }
        request.approved_by.insert(by.to_owned());
        request.hands.push(all.clone());
        request.review = Some((all, false));
        self.broken.push((by.to_owned(), now.wall));
        self.approved(id, format!("decision approve {by} alone"));
        Answer::Decided
    }

    fn sign(&mut self, id: RequestId, by: &str, now: Moment) -> Answer {
        self.begin(now);
        let (ways, said) = (self.ways.clone(), self.event(id, "reviewed"));
        let request = self.request(id);
        if let Some(refused) = request.refuses_signature(by, &ways, now) {
            return refused;
        }
        request
            .review
            .iter_mut()
            .for_each(|(_, is_signed)| *is_signed = true);
        request.remarks += 1;
        request.log.push(said);
        self.keep();
        Answer::Acted
    }

    /// Something that a person does besides deciding.
    fn act(&mut self, id: RequestId, what: &Act, now: Moment) -> Answer {
        self.begin(now);
        let by = what.by.to_string();
        let word = what.what.kind().as_str();
        let key = what.idempotency.clone().map(|key| (by.clone(), word, key));
        let said = match &what.what {
            ActKind::View => format!("{} {by} {}", self.event(id, word), now.wall),
            ActKind::Reveal => unreachable!("never drawn: nothing is withheld in this world"),
            ActKind::Comment { text } | ActKind::Ask { question: text } => {
                format!("{} {by} {text}", self.event(id, word))
            }
            ActKind::Escalate { reason } => format!("{} {by} to security: {reason}", self.event(id, word)),
            ActKind::Delegate { to, reason } => format!("{} {by} to {to}: {reason}", self.event(id, word)),
        };
        let ways = self.ways.clone();
        let request = self.request(id);
        if key.as_ref().is_some_and(|key| request.act_keys.contains(key)) {
            return Answer::Acted;
        }
        match &what.what {
            ActKind::View => {
                let seen = (by, request.version);
                let last = request.views.get(&seen);
                if last.is_some_and(|last| now.wall < last.after(VIEW_COUNTS_FOR)) {
                    return Answer::Acted;
                }
                request.views.insert(seen, now.wall);
            }
            ActKind::Reveal => unreachable!("never drawn: nothing is withheld in this world"),
            ActKind::Comment { .. } => request.remarks += 1,
            ActKind::Ask { .. } => {
                if !request.at.is_undecided() {
                    return Answer::NotUndecided;
                }
                if !request.is_concerned(&by, &ways, now) {
                    return Answer::NotPermitted;
                }
                request.remarks += 1;
                request.is_asked = true;
            }
            ActKind::Escalate { .. } => {
                if let Some(refused) = request.refuses_escalation(&by, &ways, now) {
                    return refused;
                }
                request.escalate(now);
            }
            ActKind::Delegate { to, .. } => {
                let to = to.to_string();
                if let Some(refused) = request.refuses_delegation(&by, &to, &ways, now) {
                    return refused;
                }
                request.delegations.insert(by, to);
                request.remarks += 1;
                request.version += 1;
            }
        }
        let request = self.request(id);
        request.act_keys.extend(key);
        let ends_wait = matches!(what.what, ActKind::Ask { .. }) && request.at == At::Pending;
        if ends_wait {
            request.told = Some("asked");
            let mut log = vec![said, self.event(id, "detached")];
            log.extend(self.outcome(id, "refused"));
            self.go(id, At::Detached, &log);
        } else {
            request.log.push(said);
            self.keep();
        }
        Answer::Acted
    }

    /// The session that waits begins its run, under these rules.
    fn start_run(&mut self, id: RequestId, rules: u8, now: Moment) -> Answer {
        self.begin(now);
        let request = &self.requests[&id];
        if request.at != At::Approved {
            return Answer::NotApproved;
        }
        if request.sent.rules != rules {
            self.end(id, At::Stale, "stale", "refused");
            return Answer::WentStale;
        }
        let log = [self.event(id, "started")];
        self.go(id, At::Running, &log);
        Answer::Begun
    }

    fn finish(&mut self, id: RequestId, how: &RunOutcome, now: Moment) -> Answer {
        self.begin(now);
        let redeemed = (self.requests[&id].at == At::Redeemed).then_some(At::RedeemedAndRan);
        match how {
            RunOutcome::Finished { .. } => self.end(id, redeemed.unwrap_or(At::Finished), "finished", "ran"),
            RunOutcome::Failed { .. } => self.end(id, redeemed.unwrap_or(At::Failed), "failed", "failed"),
            RunOutcome::Unknown { .. } => self.end(id, At::Unknown, "outcome_unknown", "unknown"),
        }
        Answer::Done
    }

    /// A permit that was never used.
    fn take_back(&mut self, id: RequestId, now: Moment) -> Answer {
        self.begin(now);
        self.end(id, At::Withdrawn, "withdrawn", "cancelled");
        Answer::Done
    }

    fn leave(&mut self, id: RequestId, now: Moment) -> Answer {
        self.begin(now);
        self.left(id);
        Answer::Done
    }

    fn left(&mut self, id: RequestId) {
        let request = &self.requests[&id];
        match (request.at, request.sent.wrote) {
            (At::Pending, _) => self.end(id, At::Detached, "detached", "refused"),
            (At::Approved, true) => self.end(id, At::Withdrawn, "withdrawn", "cancelled"),
            (At::Approved, false) => self.end(id, At::Grant, "granted", "refused"),
            _ => {}
        }
    }

    fn cancel(&mut self, id: RequestId, now: Moment) -> Answer {
        self.begin(now);
        self.withdrawn(id);
        Answer::Done
    }

    fn withdrawn(&mut self, id: RequestId) {
        match self.requests[&id].at {
            At::Pending => {
                self.request(id).told = Some("withdrawn");
                self.end(id, At::Withdrawn, "withdrawn", "cancelled");
            }
            At::Detached | At::Approved => self.end(id, At::Withdrawn, "withdrawn", "cancelled"),
            At::Grant => self.end(id, At::Lapsed, "lapsed", ""),
            _ => {}
        }
    }

    /// Somebody's credential ends, and with it what it asked for.
    fn revoke(&mut self, who: &'static str, now: Moment) -> Answer {
        self.begin(now);
        self.revoked.insert(who);
        for id in self.order.clone() {
            if self.requests[&id].sent.who == who {
                self.withdrawn(id);
            }
        }
        Answer::Done
    }

    /// What is over by now ends; who was told to begin and did not is gone.
    fn time_is(&mut self, now: Moment) {
        self.begin(now);
        for id in self.order.clone() {
            let request = &self.requests[&id];
            match request.at {
                At::Approved if request.begin_by.is_some_and(|by| by <= now.boot) => self.left(id),
                At::Pending if request.expires.is_over(now) => {
                    self.request(id).told = Some("expired");
                    self.end(id, At::Expired, "expired", "refused");
                }
                At::Detached if request.expires.is_over(now) => self.end(id, At::Expired, "expired", ""),
                At::Grant if request.grant.is_some_and(|grant| grant.is_over(now)) => {
                    self.end(id, At::Lapsed, "lapsed", "");
                }
                _ => {}
            }
        }
        for id in self.order.clone() {
            self.reach_milestones(id);
        }
    }

    /// Half of its time is over, or three quarters.
    fn reach_milestones(&mut self, id: RequestId) {
        let now = self.now;
        while let request = &self.requests[&id]
            && request.at.is_undecided()
            && let Some((milestone, at)) = request.milestone
            && at.is_over(now)
        {
            let session = request.sent.session;
            let request = self.request(id);
            match milestone {
                Milestone::Remind => {
                    request.log.push(format!("reminded s{session} {}", now.wall));
                    request.remarks += 1;
                    let wall = request.made_at.after(LIFE / 4 * 3);
                    let boot = now.boot + wall.since(now.wall);
                    let can_escalate = request.groups.1.is_some() && !request.is_escalated;
                    request.milestone =
                        can_escalate.then_some((Milestone::Escalate, Deadline { wall, boot }));
                }
                Milestone::Escalate => {
                    request.log.push(format!("escalated s{session}  to security"));
                    request.escalate(now);
                }
            }
            self.keep();
        }
    }

    /// The process ended and another began.
    fn restart(&mut self, now: Moment) {
        self.begin(now);
        for id in self.order.clone() {
            let request = self.request(id);
            request.told = None;
            request.expires.reread(now);
            request.grant.iter_mut().for_each(|grant| grant.reread(now));
            request.milestone.iter_mut().for_each(|(_, at)| at.reread(now));
            match request.at {
                At::Pending | At::Approved => self.left(id),
                At::Running | At::Redeemed => self.end(id, At::Unknown, "outcome_unknown", "unknown"),
                // The new process owns it.
                At::Detached | At::Grant => request.version += 1,
                _ => {}
            }
        }
        self.time_is(now);
    }

    /// The request that was made has this id.
    fn is_called(&mut self, id: RequestId) {
        if let Some(request) = self.requests.remove(&new_id()) {
            self.requests.insert(id, request);
        }
        self.order
            .iter_mut()
            .filter(|known| **known == new_id())
            .for_each(|known| *known = id);
    }

    /// What the store must hold: state, version, what was said besides, and who has approved.
    fn contents(&self) -> BTreeMap<RequestId, Contents> {
        let contents = self.requests.iter();
        contents
            .map(|(id, request)| {
                let approved = request.approved_by.iter().cloned().collect();
                let mut last: BTreeMap<&String, (Timestamp, u64)> = BTreeMap::new();
                for ((by, version), at) in &request.views {
                    let seen = last.entry(by).or_insert((*at, *version));
                    *seen = (*seen).max((*at, *version));
                }
                let views = last
                    .iter()
                    .map(|(by, (at, version))| format!("{by} {at} version {version}"));
                let contents = (
                    request.at.word(),
                    request.version,
                    request.remarks,
                    approved,
                    views.collect(),
                );
                (*id, contents)
            })
            .collect()
    }
}

/// State, version, remarks, approvers, and when each person has last looked at which version.
type Contents = (&'static str, u64, usize, Vec<String>, BTreeSet<String>);

/// A client that waits for its decision.
struct Session {
    ask: Ask,
    sent: Sending,
    parked: Parked,
    heard: Option<&'static str>,
}

struct Simulation {
    seed: u64,
    random: StdRng,
    world: World,
    model: Model,
    /// The model after the step that is under way.
    next: Model,
    sessions: Vec<Session>,
    running: Vec<Permit>,
    tail: Tail,
    /// What the log says of each request.
    logged: BTreeMap<RequestId, Vec<String>>,
    /// From then on the log may say a thing twice.
    has_crashed: bool,
    /// What happened, for whoever reads a failure.
    story: Vec<String>,
}

/// A quarter of the seeds, so that the quarters run beside each other; all of those that the environment names.
fn try_quarter(quarter: u64) {
    let named = std::env::var("COUNTERSIGN_SEEDS").ok().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    let seeds = named.unwrap_or(SEEDS);
    seeds.filter(|seed| seed % 4 == quarter).for_each(simulate);
}

#[test]
fn store_and_log_say_after_every_step_what_a_simple_model_says_1() {
    try_quarter(0);
}

#[test]
fn store_and_log_say_after_every_step_what_a_simple_model_says_2() {
    try_quarter(1);
}

#[test]
fn store_and_log_say_after_every_step_what_a_simple_model_says_3() {
    try_quarter(2);
}

#[test]
fn store_and_log_say_after_every_step_what_a_simple_model_says_4() {
    try_quarter(3);
}

fn simulate(seed: u64) {
    let settings = Settings {
        held_per_principal_max: UNDECIDED_MAX as u32,
        grant_life: GRANT_LIFE,
        ..Settings::default()
    };
    let mut world = World::with(settings, Limits::default());
    let now = world.now.wall;
    for who in GLASS {
        may_break_glass(world.core().store(), who, now);
    }
    world.pass(DAY);
    let tail = Reader::open(&world.dir.path().join("journal")).tail(TailFrom::Start, LogFilter::default());
    let model = Model::at(world.now);
    let mut simulation = Simulation {
        seed,
        random: StdRng::seed_from_u64(seed),
        world,
        next: model.clone(),
        model,
        sessions: Vec::new(),
        running: Vec::new(),
        tail: tail.expect("a log"),
        logged: BTreeMap::new(),
        has_crashed: false,
        story: Vec::new(),
    };
    for _step in 0..STEPS {
        simulation.step();
    }
}

/// The role besides those that there are, and a passkey that is a day old when it all begins.
fn may_break_glass(store: &mut countersign::store::sqlite::Store, who: &str, now: Timestamp) {
    let known = store.person(&person(who)).expect("an answer").expect("known");
    let roles: Vec<Role> = known.roles.into_iter().chain([Role::BreakGlass]).collect();
    store
        .person_change(&person(who), Some(&roles), None, &person("root"), now)
        .expect("changed");
    let passkey = KeptPasskey {
        id: who.as_bytes().to_vec(),
        person: person(who),
        credential: "{}".to_owned(),
    };
    let is_kept = store.passkey_add(&passkey, "a key", &BTreeSet::new(), now);
    assert!(is_kept.expect("kept"));
}

impl Simulation {
    fn step(&mut self) {
        if self.random.random_ratio(1, 25) {
            self.story.push("restart".to_owned());
            self.restart();
            self.model.restart(self.world.now);
            return self.compare();
        }
        let crash = self
            .random
            .random_ratio(1, 8)
            .then(|| self.random.random_range(0..4));
        if self.survives(crash) {
            self.world.tick();
            self.model.time_is(self.world.now);
            self.hear();
        } else {
            self.story.push("… and crashed".to_owned());
            self.has_crashed = true;
            self.restart();
            self.adopt();
        }
        self.compare();
    }

    fn restart(&mut self) {
        self.sessions.clear();
        self.running.clear();
        self.world.restart();
    }

    /// One event, with a crash after so many places if it comes to that many.
    #[cfg(feature = "faults")]
    fn survives(&mut self, crash: Option<u32>) -> bool {
        countersign::desk::crash_after(crash);
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.event()));
        countersign::desk::crash_after(None);
        match done {
            Ok(()) => true,
            Err(why) if why.is::<countersign::desk::Crashed>() => false,
            Err(why) => std::panic::resume_unwind(why),
        }
    }

    #[cfg(not(feature = "faults"))]
    fn survives(&mut self, _crash: Option<u32>) -> bool {
        self.event();
        true
    }

    fn event(&mut self) {
        self.next = self.model.clone();
        self.next.begin(self.world.now);
        match self.random.random_range(0..100) {
            0..26 => self.ask(),
            26..43 => self.decide(),
            43..46 => self.break_glass(),
            46..48 => self.sign(),
            48..57 => self.act(),
            57..60 => self.set_way_in(),
            60..70 => self.start_run(),
            70..77 => self.finish(),
            77..83 => self.leave(),
            83..87 => self.cancel(),
            87..90 => self.vanish(),
            90..99 => self.time_passes(),
            _ => self.revoke(),
        }
        self.model = self.next.clone();
    }

    fn told(&self) -> String {
        format!("seed {}, after:\n{}", self.seed, self.story.join("\n"))
    }

    fn agree(&self, model: &Answer, desk: &Answer) {
        assert_eq!(desk, model, "the desk's answer and the model's, {}", self.told());
    }

    fn ask(&mut self) {
        let who = AGENTS[self.random.random_range(0..AGENTS.len())];
        let what = self.random.random_range(0..3);
        let mut ask = self.world.sending(who, what);
        let sent = Sending {
            who,
            what,
            rules: if self.random.random_ratio(1, 12) { 2 } else { 1 },
            names: if self.random.random_ratio(1, 20) {
                "names-2"
            } else {
                "names-1"
            },
            wrote: self.random.random_ratio(1, 5),
            replies: self.random.random_ratio(1, 4),
            session: ask.attempt.session.0,
        };
        if what == 1 {
            requires(&mut ask, "1 of dba");
            ask.verdict.escalate_to = vec!["security".to_owned()];
        } else {
            needs(&mut ask, if what == 2 { 2 } else { 1 });
        }
        ask.reply = sent.replies.then(|| "OPS-7".to_owned());
        ask.rules = [sent.rules; 32];
        ask.names = sent.names.to_owned();
        ask.transaction = match (sent.wrote, self.random.random()) {
            (true, true) => Transaction::Open {
                wrote: true,
                opened_at: self.world.now.wall,
            },
            (wrote, false) => Transaction::Implicit { wrote },
            (false, true) => Transaction::Idle,
        };
        self.story.push(format!("{sent:?}"));
        let expected = self.next.ask(sent, self.world.now, new_id());
        let desk = match self.world.ask(&ask) {
            Ok(Asked::Parked(parked)) => {
                let id = parked.request;
                let answer = if parked.reattached {
                    Answer::Reattached(id)
                } else {
                    self.next.is_called(id);
                    Answer::Held
                };
                self.sessions.push(Session {
                    ask,
                    sent,
                    parked,
                    heard: None,
                });
                answer
            }
            Ok(Asked::Granted(permit, id)) => {
                let told = self.told();
                assert_eq!(
                    (permit.request(), permit.attempt()),
                    (Some(id), ask.attempt),
                    "{told}"
                );
                self.running.push(permit);
                Answer::Granted(id)
            }
            Err(AskError::TooMany { .. }) => Answer::TooMany,
            Err(AskError::CredentialEnded) => Answer::CredentialEnded,
            Err(error) => panic!("{error}: {}", self.told()),
        };
        self.agree(&expected, &desk);
    }

    fn decide(&mut self) {
        let Some(id) = self.any_request() else { return };
        let by = PEOPLE[self.random.random_range(0..PEOPLE.len())];
        let decision = if self.random.random_ratio(4, 5) {
            Decision::Approve
        } else {
            Decision::Deny
        };
        let mut said = word(by, decision);
        said.assurance = self.surely();
        let request = &self.model.requests[&id];
        if self.random.random_ratio(1, 4) {
            said.version = Some(request.version - u64::from(self.random.random_ratio(1, 3)));
            said.digest = Some(digest(request.sent.who, request.sent.what));
        } else if self.random.random_ratio(1, 20) {
            said.digest = Some(digest("another", 0));
        }
        if self.random.random_ratio(1, 3) {
            said.idempotency = Some(format!("key-{}", self.random.random_range(0..2)));
        }
        self.story.push(format!(
            "{by}: {decision:?} {id}, {:?} {:?}",
            said.version, said.idempotency
        ));
        let now = self.world.now;
        let expected = self.next.decide(id, &said, now);
        let desk = match self.world.core().decide(id, &said, now) {
            Ok(_) => Answer::Decided,
            Err(DecideError::AlreadyDecided { .. }) => Answer::AlreadyDecided,
            Err(DecideError::Stale { .. }) => Answer::NotWhatWasShown,
            Err(DecideError::NotPermitted(_)) => Answer::NotPermitted,
            Err(DecideError::NobodyWaits) => Answer::NobodyWaits,
            Err(error) => panic!("{error}: {}", self.told()),
        };
        self.agree(&expected, &desk);
    }

    fn break_glass(&mut self) {
        let Some(id) = self.any_request() else { return };
        let by = match self.random.random_ratio(2, 3) {
            true => GLASS[self.random.random_range(0..GLASS.len())],
            false => PEOPLE[self.random.random_range(0..PEOPLE.len())],
        };
        self.story.push(format!("{by} breaks glass for {id}"));
        let now = self.world.now;
        let expected = self.next.break_glass(id, by, now);
        let desk = match self.world.core().break_glass(id, &breaking(by, now.wall), now) {
            Ok(_) => Answer::Decided,
            Err(DecideError::AlreadyDecided { .. }) => Answer::AlreadyDecided,
            Err(DecideError::NotPermitted(_)) => Answer::NotPermitted,
            Err(DecideError::BreakGlassTooOften { .. }) => Answer::TooOften,
            Err(DecideError::NobodyWaits) => Answer::NobodyWaits,
            Err(error) => panic!("{error}: {}", self.told()),
        };
        self.agree(&expected, &desk);
    }

    /// Of a request for which somebody broke glass, if there is one.
    fn sign(&mut self) {
        let broken = self
            .model
            .requests
            .iter()
            .filter(|(_, request)| request.review.is_some());
        let broken: Vec<RequestId> = broken.map(|(id, _)| *id).collect();
        let any = self.any_request();
        let Some(id) = broken.last().copied().or(any) else {
            return;
        };
        let by = PEOPLE[self.random.random_range(0..PEOPLE.len())];
        self.story.push(format!("{by} signs the review of {id}"));
        let now = self.world.now;
        let expected = self.next.sign(id, by, now);
        let desk = match self
            .world
            .core()
            .sign_review(id, &signing(by, Finding::Fine), now)
        {
            Ok(_) => Answer::Acted,
            Err(ReviewError::NoReview) => Answer::NoReview,
            Err(ReviewError::SignedAlready { .. }) => Answer::SignedAlready,
            Err(ReviewError::NotPermitted(_)) => Answer::NotPermitted,
            Err(ReviewError::NotAnother { .. }) => Answer::NotAnother,
            Err(ReviewError::NotAReviewer { .. }) => Answer::NotAReviewer,
            Err(error) => panic!("{error}: {}", self.told()),
        };
        self.agree(&expected, &desk);
    }

    /// Whoever has a second factor gives it: how sure it is, is not this model's matter.
    fn surely(&self) -> Assurance {
        Assurance {
            method: Method::Passkey,
            strong_at: Some(self.world.now.wall),
        }
    }

    /// Somebody makes a one-time code for somebody else, and may be that person from then on.
    fn set_way_in(&mut self) {
        let mut any = || PEOPLE[self.random.random_range(0..PEOPLE.len())];
        let (setter, whose) = (any(), any());
        self.story.push(format!("{setter} sets how {whose} signs in"));
        let now = self.world.now;
        self.next.ways.set(setter, whose, now);
        let store = self.world.core().store();
        let made = store.password_link(&person(whose), Hands::from(&person(setter)), now.wall);
        made.expect("made");
    }

    fn act(&mut self) {
        let Some(id) = self.any_request() else { return };
        let by = PEOPLE[self.random.random_range(0..PEOPLE.len())];
        let number = self.story.len();
        let reason = format!("because {number}");
        let what = match self.random.random_range(0..6) {
            0 => ActKind::View,
            1 => ActKind::Comment {
                text: format!("seen before {number}"),
            },
            2 => ActKind::Escalate { reason },
            3 | 4 => ActKind::Delegate {
                to: person(PEOPLE[self.random.random_range(0..PEOPLE.len())]),
                reason,
            },
            _ => ActKind::Ask {
                question: format!("which ticket {number}?"),
            },
        };
        let mut act = act(by, what);
        act.assurance = self.surely();
        if act.what != ActKind::View && self.random.random_ratio(1, 3) {
            act.idempotency = Some(format!("key-{}", self.random.random_range(0..2)));
        }
        self.story
            .push(format!("{by}: {:?} {id}, {:?}", act.what, act.idempotency));
        let now = self.world.now;
        let expected = self.next.act(id, &act, now);
        let desk = match self.world.core().act(id, &act, now) {
            Ok(_) => Answer::Acted,
            Err(ActError::NotUndecided(_)) => Answer::NotUndecided,
            Err(ActError::NotPermitted(_)) => Answer::NotPermitted,
            Err(ActError::NobodyNext) => Answer::NobodyNext,
            Err(ActError::EscalatedAlready) => Answer::EscalatedAlready,
            Err(ActError::CannotBeDelegate { .. }) => Answer::CannotBeDelegate,
            Err(error) => panic!("{error}: {}", self.told()),
        };
        self.agree(&expected, &desk);
    }

    /// A session begins, told to or not, now and then under rules that have changed since.
    fn start_run(&mut self) {
        let Some(place) = self.any_session() else { return };
        let Session {
            ask, sent, parked, ..
        } = &self.sessions[place];
        let (id, attempt) = (parked.request, ask.attempt);
        let rules = if self.random.random_ratio(1, 10) {
            3
        } else {
            sent.rules
        };
        let (shown, names) = (ask.digest, ask.names.clone());
        self.story
            .push(format!("s{} begins {id} under rules {rules}", sent.session));
        let now = self.world.now;
        let expected = self.next.start_run(id, rules, now);
        let presented = Presented {
            digest: shown,
            names: &names,
            rules: [rules; 32],
        };
        let desk = match self.world.core().start_run(id, presented, now) {
            Ok(permit) => {
                assert_eq!(
                    (permit.request(), permit.attempt()),
                    (Some(id), attempt),
                    "{}",
                    self.told()
                );
                self.running.push(permit);
                Answer::Begun
            }
            Err(NotStarted::NotApproved(_)) => Answer::NotApproved,
            Err(NotStarted::Stale { .. }) => Answer::WentStale,
            Err(error) => panic!("{error}: {}", self.told()),
        };
        self.agree(&expected, &desk);
    }

    fn finish(&mut self) {
        let Some(permit) = self.running.pop() else { return };
        let id = permit.request().expect("of a request");
        let now = self.world.now;
        if self.random.random_ratio(1, 5) {
            self.story.push(format!("{id} is given back"));
            self.next.take_back(id, now);
            return self.world.core().take_back_permit(permit, now);
        }
        let outcome = match self.random.random_range(0..3) {
            0 => RunOutcome::Finished {
                rows: Some(1),
                tag: "DROP TABLE".to_owned(),
            },
            1 => RunOutcome::Failed {
                sqlstate: "42P01".to_owned(),
                message: "no such table".to_owned(),
            },
            _ => RunOutcome::Unknown {
                why: "the server was lost".to_owned(),
            },
        };
        self.story.push(format!("{id} ends: {outcome:?}"));
        self.next.finish(id, &outcome, now);
        self.world.core().finish(id, outcome, now).expect("kept");
    }

    fn leave(&mut self) {
        let Some(place) = self.any_session() else { return };
        let Session { sent, parked, .. } = self.sessions.swap_remove(place);
        let why = if self.random.random() {
            Detach::ClientLeft
        } else {
            Detach::WaitOver
        };
        self.story
            .push(format!("s{} leaves {}", sent.session, parked.request));
        let now = self.world.now;
        self.next.leave(parked.request, now);
        self.world
            .core()
            .detach(parked.request, why, now)
            .expect("an answer");
    }

    fn cancel(&mut self) {
        let Some(id) = self.any_request() else { return };
        self.story.push(format!("{id} is cancelled"));
        let now = self.world.now;
        self.next.cancel(id, now);
        self.world
            .core()
            .withdraw(id, "cancelled", now)
            .expect("an answer");
    }

    /// A session ends without a word. One that was told to begin has some time left.
    fn vanish(&mut self) {
        let Some(place) = self.any_session() else { return };
        let Session { sent, parked, .. } = self.sessions.swap_remove(place);
        self.story
            .push(format!("s{} is gone from {}", sent.session, parked.request));
        if self.model.requests[&parked.request].at == At::Pending {
            self.next.leave(parked.request, self.world.now);
        }
        drop(parked);
        self.world.tick();
    }

    fn time_passes(&mut self) {
        let time = match self.random.random_ratio(1, 12) {
            true => DAY,
            false => MINUTE * self.random.random_range(1..20),
        };
        match self.random.random_range(0..4) {
            // The wall clock is set, the machine's own goes on.
            0 => self.world.now.wall = self.world.now.wall.after(time),
            1 => self.world.now.boot += time,
            _ => self.world.pass(time),
        }
        self.story.push(format!("{time:?} pass"));
        self.world.pass(Duration::from_millis(1));
    }

    fn revoke(&mut self) {
        let who = AGENTS[self.random.random_range(0..AGENTS.len())];
        if self.model.revoked.contains(who) || self.random.random_ratio(2, 3) {
            return;
        }
        self.story.push(format!("{who} is revoked"));
        let now = self.world.now;
        self.next.revoke(who, now);
        let revoked = self
            .world
            .core()
            .store()
            .agent_revoke(&principal(who), &person("root"), now.wall);
        revoked.expect("an agent");
        self.world.core().people_changed(now);
    }

    fn any_request(&mut self) -> Option<RequestId> {
        let place = self.random.random_range(0..self.model.order.len().max(1));
        self.model.order.get(place).copied()
    }

    fn any_session(&mut self) -> Option<usize> {
        let place = self.random.random_range(0..self.sessions.len().max(1));
        (place < self.sessions.len()).then_some(place)
    }

    /// Each session was told what the model says, and once; those with nothing left to wait for go.
    fn hear(&mut self) {
        let told = self.told();
        let model = &self.model;
        for Session {
            sent, parked, heard, ..
        } in &mut self.sessions
        {
            match parked.woken.try_recv() {
                Ok(Wake::Approved { .. }) => *heard = Some("approved"),
                Ok(Wake::Denied { .. }) => *heard = Some("denied"),
                Ok(Wake::Expired) => *heard = Some("expired"),
                Ok(Wake::Withdrawn { .. }) => *heard = Some("withdrawn"),
                Ok(Wake::Asked { .. }) => *heard = Some("asked"),
                Ok(Wake::Stopping) => *heard = Some("stopping"),
                Err(_) => {}
            }
            let request = &model.requests[&parked.request];
            assert_eq!(*heard, request.told, "what s{} was told, {told}", sent.session);
        }
        self.sessions.retain(|session| {
            matches!(
                model.requests[&session.parked.request].at,
                At::Pending | At::Approved
            )
        });
    }

    /// After a crash: what was left is one of the places that the step came through.
    fn adopt(&mut self) {
        let now = self.world.now;
        let found = self.store();
        let unknown = found
            .keys()
            .find(|id| !self.model.requests.contains_key(*id))
            .copied();
        let mut left: Vec<Model> = self.next.moves.clone();
        for model in &mut left {
            if let Some(id) = unknown {
                model.is_called(id);
            }
            model.restart(now);
        }
        let adopted = left.iter().find(|model| model.contents() == found);
        let adopted = adopted.unwrap_or_else(|| panic!("the crash left {found:?}, {}", self.told()));
        self.model = adopted.clone();
    }

    fn store(&mut self) -> BTreeMap<RequestId, Contents> {
        let filter = countersign::desk::RequestFilter {
            limit: 500,
            ..Default::default()
        };
        let page = self.world.core().list(&filter).expect("a list");
        page.items
            .iter()
            .map(|held| {
                let approved: BTreeSet<_> = held.approved_by().iter().map(ToString::to_string).collect();
                let (views, said): (Vec<_>, Vec<_>) = held
                    .discussion
                    .iter()
                    .partition(|remark| remark.kind == RemarkKind::Viewed);
                let views = views.iter().map(|view| {
                    let by = view.by.name().expect("a person");
                    format!("{by} {} {}", view.at, view.text)
                });
                let contents = (
                    held.state.kind().as_str(),
                    held.version,
                    said.len(),
                    approved.into_iter().collect(),
                    views.collect(),
                );
                (held.id, contents)
            })
            .collect()
    }

    fn compare(&mut self) {
        let found = self.store();
        assert_eq!(
            found,
            self.model.contents(),
            "the store and the model, {}",
            self.told()
        );
        loop {
            let records = self.tail.next_batch(1000).expect("the log");
            if records.is_empty() {
                break;
            }
            for record in records {
                self.read(&record);
            }
        }
        for (id, request) in &self.model.requests {
            let logged = self.logged.get(id).map_or(&[][..], Vec::as_slice);
            assert_eq!(
                logged,
                request.log,
                "the log and the model of {id}, {}",
                self.told()
            );
        }
        assert_eq!(self.logged.len(), self.model.requests.len(), "{}", self.told());
    }

    fn read(&mut self, record: &Record) {
        let fields = &record.fields;
        let Some(id) = fields.request.as_deref().and_then(RequestId::parse) else {
            return;
        };
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let session = |id: Option<SessionId>| id.map_or(0, |id| id.0);
        let attempt = fields.attempt.map(|attempt| attempt.session);
        let word = match record.kind {
            Kind::Attempt => format!("attempt s{}", session(attempt)),
            Kind::RequestEvent => {
                let (event, by) = (text(&fields.event), text(&fields.by));
                let of = format!("{event} s{}", session(fields.session));
                match event.as_str() {
                    "viewed" => format!("{of} {by} {}", record.time),
                    "reminded" => format!("{of} {}", record.time),
                    "comment" | "question" | "escalated" | "delegated" => {
                        format!("{of} {by} {}", text(&fields.detail))
                    }
                    _other => of,
                }
            }
            Kind::Decision => {
                let alone = match fields.event.as_deref() {
                    Some("break_glass") => " alone",
                    _ => "",
                };
                format!(
                    "decision {} {}{alone}",
                    text(&fields.decision),
                    text(&fields.approver)
                )
            }
            Kind::Outcome => format!("outcome {} s{}", text(&fields.outcome), session(attempt)),
            other => panic!("{other:?} names a request, {}", self.told()),
        };
        let logged = self.logged.entry(id).or_default();
        if !(self.has_crashed && logged.contains(&word)) {
            logged.push(word);
        }
    }
}
