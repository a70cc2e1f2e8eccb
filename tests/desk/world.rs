//! A desk's core in a scratch folder, with a clock that only the test moves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use countersign::clock::Timestamp;
use countersign::desk::{
    Act, ActError, ActKind, Ask, AskError, Asked, Core, CredentialEnded, Decide, DecideError, Decision,
    DecisionScope, DeskEvent, Moment, NewAgent, NewPerson, NotStarted, Parked, Settings, Transaction,
};
use countersign::hold::{Digest, DigestBuilder, HeldRequest, Permit, Presented, RequestId, StateKind};
use countersign::identity::assurance::Assurance;
use countersign::identity::directory::Role;
use countersign::identity::principal::{AttemptId, Peer, PersonName, PrincipalName, Profile, SessionId};
use countersign::identity::secret::NativePassword;
#[cfg(feature = "faults")]
use countersign::journal::disk::{Disk, Faults};
use countersign::journal::{self, Journal};
use countersign::policy::{Requirement, Verdict};
use countersign::sql::action::Judgement;
use countersign::store::sqlite::{Limits, Store};
use tokio::sync::broadcast;

pub const MINUTE: Duration = Duration::from_secs(60);

pub struct World {
    pub dir: tempfile::TempDir,
    pub core: Option<Core>,
    pub now: Moment,
    pub events: broadcast::Receiver<DeskEvent>,
    pub ended: broadcast::Receiver<CredentialEnded>,
    pub settings: Settings,
    pub limits: Limits,
    #[cfg(feature = "faults")]
    pub faults: Arc<Faults>,
    senders: (broadcast::Sender<DeskEvent>, broadcast::Sender<CredentialEnded>),
    attempts: u64,
    seed: u8,
}

/// A folder in memory where the machine has one: thousands of worlds sync often.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a scratch folder")
}

pub fn store_path(dir: &Path) -> PathBuf {
    dir.join("store.db")
}

pub fn open_journal(dir: &Path) -> Journal {
    let settings = journal::Settings {
        segment_bytes: 256 << 10,
        ..journal::Settings::in_dir(dir.join("journal"))
    };
    Journal::open(settings).expect("a journal")
}

/// A journal on a disk that fails as it is told.
#[cfg(feature = "faults")]
pub fn open_journal_on(dir: &Path, faults: &Arc<Faults>) -> Journal {
    let settings = journal::Settings {
        segment_bytes: 256 << 10,
        ..journal::Settings::in_dir(dir.join("journal"))
    };
    Journal::open_on(settings, Disk::with_faults(Arc::clone(faults))).expect("a journal")
}

pub fn person(name: &str) -> PersonName {
    PersonName::parse(name).expect("a valid name")
}

pub fn principal(name: &str) -> PrincipalName {
    PrincipalName::parse(name).expect("a valid name")
}

/// Agents `bot-a` and `bot-b` of `olga`, made by `carl`, the first acting for `anna`; approvers `dora`, `dave`, `eve`.
pub fn populate(store: &mut Store, now: Timestamp) {
    let people: [(&str, &[Role], &[&str]); 8] = [
        ("dora", &[Role::Approver], &["dba"]),
        ("dave", &[Role::Approver], &["dba", "security"]),
        ("eve", &[Role::Approver], &[]),
        ("olga", &[Role::Approver, Role::Admin], &["dba"]),
        ("carl", &[Role::Approver, Role::Admin], &["dba"]),
        ("anna", &[Role::Approver, Role::Admin], &["dba"]),
        ("root", &[Role::Admin], &[]),
        ("alan", &[Role::Auditor], &["dba"]),
    ];
    for (name, roles, groups) in people {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let new = NewPerson {
            name: person(name),
            roles: roles.to_vec(),
            groups,
        };
        store.person_add(&new, &person("root"), now).expect("a person");
    }
    for (name, acts_for) in [("bot-a", Some("anna")), ("bot-b", None)] {
        let new = NewAgent {
            name: principal(name),
            owner: person("olga"),
            acts_for: acts_for.map(person),
            databases: Vec::new(),
            database_user: "app".to_owned(),
            profile: Profile::Standard,
            labels: BTreeMap::new(),
            expires_at: None,
            mysql_native: NativePassword::Refused,
        };
        store.agent_add(&new, &person("carl"), now).expect("an agent");
    }
}

/// The bytes of a populated store; made once, because verifiers take their time.
fn populated(now: Timestamp) -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let dir = scratch();
        let path = store_path(dir.path());
        populate(&mut Store::open(&path).expect("a store"), now);
        std::fs::read(&path).expect("its bytes")
    })
}

impl World {
    pub fn new() -> Self {
        Self::with(Settings::default(), Limits::default())
    }

    pub fn with(settings: Settings, limits: Limits) -> Self {
        let dir = scratch();
        let wall = Timestamp::parse("2026-01-01T00:00:00Z").expect("a time");
        let now = Moment {
            wall,
            boot: Duration::from_secs(1000),
        };
        std::fs::write(store_path(dir.path()), populated(now.wall)).expect("a store");
        let senders = (broadcast::Sender::new(4096), broadcast::Sender::new(64));
        let mut world = Self {
            dir,
            core: None,
            now,
            events: senders.0.subscribe(),
            ended: senders.1.subscribe(),
            settings,
            limits,
            #[cfg(feature = "faults")]
            faults: Arc::default(),
            senders,
            attempts: 0,
            seed: 0,
        };
        world.open();
        world
    }

    /// The process ends here, without a word to anybody, and another starts.
    pub fn restart(&mut self) {
        self.core = None;
        self.open();
    }

    fn open(&mut self) {
        let store = Store::open_with(&store_path(self.dir.path()), self.limits).expect("a store");
        #[cfg(feature = "faults")]
        let lane = open_journal_on(self.dir.path(), &self.faults).lane(0);
        #[cfg(not(feature = "faults"))]
        let lane = open_journal(self.dir.path()).lane(0);
        self.seed = self.seed.wrapping_add(1);
        let (events, ended) = self.senders.clone();
        let core = Core::open(
            store,
            lane,
            self.settings.clone(),
            events,
            ended,
            [self.seed; 32],
            self.now,
        );
        self.core = Some(core.expect("a desk"));
    }

    pub fn core(&mut self) -> &mut Core {
        self.core.as_mut().expect("the desk runs")
    }

    pub fn pass(&mut self, time: Duration) {
        self.now.wall = self.now.wall.after(time);
        self.now.boot += time;
    }

    pub fn tick(&mut self) {
        let now = self.now;
        self.core().tick(now);
    }

    /// The principal sends statement number `what`.
    pub fn sending(&mut self, who: &str, what: u8) -> Ask {
        self.attempts += 1;
        let mut verdict = Verdict::held_because("a test");
        verdict.requirement = Requirement::of(vec!["approver".to_owned()], 1);
        let session = SessionId(self.attempts);
        Ask {
            peer: Arc::new(Peer {
                principal: principal(who),
                owner: person("olga"),
                profile: Profile::Standard,
                labels: BTreeMap::new(),
                session,
                source: IpAddr::V4(Ipv4Addr::LOCALHOST),
                upstream: "main".to_owned(),
                database: "shop".to_owned(),
                database_user: "app".to_owned(),
            }),
            attempt: AttemptId { session, number: 1 },
            digest: digest(who, what),
            text: format!("DROP TABLE t{what}").into_bytes(),
            judgement: Arc::new(Judgement {
                actions: Vec::new(),
                depends_on_names: false,
                fingerprint: [what; 32],
                sorts: [0; 32],
            }),
            verdict,
            parameters: Vec::new(),
            withheld_facts: BTreeMap::new(),
            column_labels: Vec::new(),
            transaction: Transaction::Idle,
            claimed: BTreeMap::from([("application_name".to_owned(), "test".to_owned())]),
            facts: BTreeMap::new(),
            names: "names-1".to_owned(),
            rules: [1; 32],
            wait: 15 * MINUTE,
            expires: 30 * MINUTE,
            protocol: "simple",
            copies_in: false,
            reply: None,
        }
    }

    pub fn ask(&mut self, ask: &Ask) -> Result<Asked, AskError> {
        let now = self.now;
        self.core().ask(ask, now)
    }

    /// Sends it and expects it to be parked.
    pub fn park(&mut self, who: &str, what: u8) -> (Ask, Parked) {
        let ask = self.sending(who, what);
        let parked = self.expect_parked(&ask);
        (ask, parked)
    }

    pub fn expect_parked(&mut self, ask: &Ask) -> Parked {
        match self.ask(ask).expect("an answer") {
            Asked::Parked(parked) => parked,
            Asked::Granted(..) => panic!("granted without an approval"),
        }
    }

    pub fn decide(
        &mut self,
        id: RequestId,
        by: &str,
        decision: Decision,
    ) -> Result<HeldRequest, DecideError> {
        let now = self.now;
        self.core().decide(id, &word(by, decision), now)
    }

    pub fn act(&mut self, id: RequestId, by: &str, what: ActKind) -> Result<HeldRequest, ActError> {
        let now = self.now;
        self.core().act(id, &act(by, what), now)
    }

    pub fn approve(&mut self, id: RequestId, by: &str) -> Result<HeldRequest, DecideError> {
        self.decide(id, by, Decision::Approve)
    }

    pub fn start_run(&mut self, id: RequestId, ask: &Ask) -> Result<Permit, NotStarted> {
        let now = self.now;
        let presented = Presented {
            digest: ask.digest,
            names: &ask.names,
            rules: ask.rules,
        };
        self.core().start_run(id, presented, now)
    }

    pub fn state(&mut self, id: RequestId) -> StateKind {
        self.show(id).state.kind()
    }

    pub fn show(&mut self, id: RequestId) -> HeldRequest {
        self.core().show(id).expect("the request")
    }
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(work)
}

pub fn word(by: &str, decision: Decision) -> Decide {
    Decide {
        by: person(by),
        token_seen_by: BTreeSet::new(),
        assurance: Assurance::TOKEN,
        decision,
        reason: "because".to_owned(),
        digest: None,
        version: None,
        scope: DecisionScope::Once,
        guards: Default::default(),
        channel: "test".to_owned(),
        idempotency: None,
    }
}

/// So many people must approve it, of the groups that its rule names.
pub fn needs(ask: &mut Ask, people: u32) {
    ask.verdict.requirement = Requirement::of(ask.verdict.requirement.groups(), people);
}

/// Its rule says so in words.
pub fn requires(ask: &mut Ask, text: &str) {
    ask.verdict.requirement = Requirement::parse(text, |_| true).expect("a requirement");
}

pub fn act(by: &str, what: ActKind) -> Act {
    Act {
        by: person(by),
        token_seen_by: BTreeSet::new(),
        assurance: Assurance::TOKEN,
        signed_in_at: None,
        channel: "test".to_owned(),
        idempotency: None,
        what,
    }
}

/// An approval by a token that somebody else has seen.
pub fn approval_seen_by(by: &str, seen_by: &str) -> Decide {
    Decide {
        token_seen_by: [person(seen_by)].into(),
        ..word(by, Decision::Approve)
    }
}

pub fn digest(who: &str, what: u8) -> Digest {
    DigestBuilder::new("test")
        .field("principal", who.as_bytes())
        .field("what", &[what])
        .finish()
}
